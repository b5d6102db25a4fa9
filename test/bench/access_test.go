package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/access"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// as is the site seen by another user, who is made with a role on pools (none: on all).
func (s *site) as(b testing.TB, name, role string, pools ...string) *site {
	b.Helper()
	ctx := authz.AsSystem(context.Background(), "bench")
	u, err := s.r.Identity.CreateUser(ctx, identity.NewUser{Name: name, Password: secret.FromString(password)})
	if err != nil {
		b.Fatal(err)
	}
	if role != "" {
		admin := authz.With(ctx, authz.Principal{Kind: authz.User, Name: "admin", Rights: authz.Everything()})
		if _, err := s.r.Access.Grant(admin, access.NewGrant{User: name, Role: role, Pools: pools, AllPools: len(pools) == 0}); err != nil {
			b.Fatal(err)
		}
	}
	other := &site{r: s.r, dir: s.dir, handler: s.handler}
	if other.key, err = s.r.Identity.CreateKey(authz.With(ctx, authz.Principal{Kind: authz.User, Name: u.Name, UserID: u.ID}), identity.NewKey{Name: "bench"}); err != nil {
		b.Fatal(err)
	}
	return other
}

// BenchmarkAccess measures what deciding costs: beside the same work as administrator, for whom there is nothing to
// decide.
func BenchmarkAccess(b *testing.B) {
	b.Run("list=10000", func(b *testing.B) {
		s := newSite(b, 10000)
		s.settle(b)
		oper := s.as(b, "oper", authz.Operator, "default")
		benchShare(b, s, oper)
	})
	b.Run("large", benchLarge)
	b.Run("oracle", benchOracle)
	b.Run("login", benchLogin)
}

// benchShare compares a list as administrator with the same list as Operator of the pool that all machines are in.
func benchShare(b *testing.B, admin, oper *site) {
	var ratios []float64
	took := func(s *site) float64 {
		start := time.Now()
		s.get(b, "/machines/")
		return time.Since(start).Seconds()
	}
	took(admin)
	took(oper)
	for range b.N {
		a1, o, a2 := took(admin), took(oper), took(admin)
		ratios = append(ratios, o/((a1+a2)/2))
	}
	b.ReportMetric((median(ratios)-1)*100, "%_share")
	b.ReportMetric(0, "ns/op")
	reportLoad(b)
}

// The site of benchLarge.
const (
	largeMachines = 100_000
	largePools    = 1000
	largeUsers    = 10_000
)

// benchLarge shows a page of 50 machines of a large site: to an administrator, and to a user with a role on each pool
// by a group of 10,000.
func benchLarge(b *testing.B) {
	s := newSite(b, 0)
	db := s.open(b)
	exec := func(q string, args ...any) {
		b.Helper()
		if _, err := db.Exec(q, args...); err != nil {
			b.Fatal(err)
		}
	}
	const count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) "
	exec(fmt.Sprintf(count, largePools) + "INSERT INTO pools (name, description) SELECT 'pool-' || i, '' FROM n")
	exec("INSERT INTO user_groups (name, description) VALUES ('everybody', '')")
	exec(fmt.Sprintf(count, largeUsers) + "INSERT INTO users (name, email, password, disabled, epoch, created) SELECT 'user-' || i, '', '', 0, 0, 0 FROM n")
	exec("INSERT INTO group_members (group_id, user_id) SELECT g.id, u.id FROM user_groups g JOIN users u ON u.name LIKE 'user-%' WHERE g.name = 'everybody'")
	exec("INSERT INTO grants (group_id, role, entitlement, pool_id) SELECT g.id, 'Auditor', '', p.id FROM user_groups g JOIN pools p ON p.id > 0 WHERE g.name = 'everybody'")
	first := int64(0)
	if err := db.QueryRow("SELECT MIN(id) FROM pools WHERE id > 0").Scan(&first); err != nil {
		b.Fatal(err)
	}
	ctx := authz.AsSystem(context.Background(), "bench")
	for done := 0; done < largeMachines; done += 1000 {
		err := s.r.Gate.Do(ctx, authz.MachineCreate, func(c *gate.Call) error {
			for i := range 1000 {
				m := metal.Machine{SystemID: metal.NewSystemID(), Hostname: fmt.Sprintf("node%06d", done+i), Status: metal.Ready, PoolID: first + int64((done+i)%largePools), ZoneID: metal.DefaultZoneID,
					Architecture: "amd64/generic", CPUCount: 8, MemoryMiB: 65536, PowerState: metal.PowerOn, Created: c.Now(), Updated: c.Now()}
				if err := c.Require(authz.Target{Noun: authz.NounMachine, ID: m.SystemID, Pool: m.PoolID}); err != nil {
					return err
				}
				if err := c.Tx().AddMachine(&m); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	user := s.as(b, "one", "")
	exec("INSERT INTO group_members (group_id, user_id) SELECT g.id, u.id FROM user_groups g JOIN users u ON u.name = 'one' WHERE g.name = 'everybody'")
	page := func(of *site) float64 {
		req := httptest.NewRequest(http.MethodGet, "https://localhost/machines", nil)
		req.Header.Set("Authorization", of.oauth())
		rec := httptest.NewRecorder()
		start := time.Now()
		s.handler.ServeHTTP(rec, req)
		took := ms(time.Since(start))
		if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "node0") {
			b.Fatalf("got %d", rec.Code)
		}
		return took
	}
	page(s)
	page(user)
	var admins, users []float64
	for range b.N {
		for range 20 {
			admins, users = append(admins, page(s)), append(users, page(user))
		}
	}
	b.ReportMetric(quantile(users, 0.5), "ms/p50")
	b.ReportMetric(quantile(users, 0.99), "ms/p99")
	b.ReportMetric(quantile(admins, 0.5), "ms/admin_p50")
	b.ReportMetric(quantile(admins, 0.99), "ms/admin_p99")
	b.ReportMetric(0, "ns/op")
	reportLoad(b)
}

func quantile(v []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[min(len(s)-1, int(q*float64(len(s))))]
}

// benchOracle asks for machines of another pool and for ids that do not exist, in turn, and holds the times against
// each other by Mann and Whitney's test: the chance that one of a hidden machine takes longer than one of none
// should be a half.
func benchOracle(b *testing.B) {
	s := newSite(b, 200)
	s.settle(b)
	ctx := authz.AsSystem(context.Background(), "bench")
	if _, err := s.r.Machines.CreatePool(authz.With(ctx, authz.Principal{Kind: authz.User, Name: "admin", Rights: authz.Everything()}), "lab", ""); err != nil {
		b.Fatal(err)
	}
	oper := s.as(b, "oper", authz.Operator, "lab")
	list, _, err := s.r.Machines.List(authz.With(ctx, authz.Principal{Kind: authz.User, Name: "admin", Rights: authz.Everything()}), store.MachineQuery{})
	if err != nil {
		b.Fatal(err)
	}
	var hidden, absent, control []float64
	ask := func(id string) float64 {
		start := time.Now()
		if w := oper.call(http.MethodGet, "/machines/"+id+"/", nil); w.status != http.StatusNotFound {
			b.Fatalf("got %d", w.status)
		}
		return float64(time.Since(start))
	}
	for range b.N {
		for _, m := range list { // in any order: who comes second finds warmer caches
			ids := []string{m.SystemID, metal.NewSystemID(), metal.NewSystemID()}
			into := []*[]float64{&hidden, &absent, &control}
			for _, i := range rand.Perm(len(ids)) {
				*into[i] = append(*into[i], ask(ids[i]))
			}
		}
	}
	u, z := mannWhitney(hidden, absent)
	_, noise := mannWhitney(control, absent)
	b.ReportMetric(noise, "z_of_none_against_none")
	b.ReportMetric(u, "chance_longer")
	b.ReportMetric(z, "z")
	b.ReportMetric(median(hidden)/median(absent), "x_median")
	b.ReportMetric(0, "ns/op")
	reportLoad(b)
}

// mannWhitney returns the chance that a value of x is larger than one of y, and how many standard deviations that is
// from a half. Source: Mann and Whitney, 1947; the normal approximation for large samples.
func mannWhitney(x, y []float64) (chance, z float64) {
	sorted := slices.Sorted(slices.Values(y))
	u := 0.0
	for _, v := range x {
		below, _ := slices.BinarySearch(sorted, v)
		upTo, _ := slices.BinarySearch(sorted, math.Nextafter(v, math.Inf(1)))
		u += float64(below) + float64(upTo-below)/2
	}
	n, m := float64(len(x)), float64(len(y))
	return u / (n * m), (u - n*m/2) / math.Sqrt(n*m*(n+m+1)/12)
}

// TestMannWhitney holds the test against samples whose answer is known.
func TestMannWhitney(t *testing.T) {
	if c, z := mannWhitney([]float64{1, 2, 3}, []float64{1, 2, 3}); c != 0.5 || z != 0 {
		t.Errorf("the same: got %v, %v", c, z)
	}
	if c, z := mannWhitney([]float64{4, 5, 6}, []float64{1, 2, 3}); c != 1 || z < 1.9 || z > 2 {
		t.Errorf("all larger: got %v, %v", c, z)
	}
}

// benchLogin compares logins with hashing alone: nothing but Argon2 should bound them.
func benchLogin(b *testing.B) {
	s := newSite(b, 0)
	ctx := authz.WithOrigin(context.Background(), authz.Origin{Source: "192.0.2.1"})
	var ratios, rates []float64
	salt := make([]byte, 16)
	const each = 20
	for range b.N {
		floor := perSecond(1, func(int) { argon2.IDKey([]byte(password), salt, 2, 19*1024, 1, 32) })
		start := time.Now()
		for range each {
			if _, err := s.r.Identity.Login(ctx, "admin", secret.FromString(password)); err != nil {
				b.Fatal(err)
			}
		}
		rate := each / time.Since(start).Seconds()
		rates, ratios = append(rates, rate), append(ratios, rate/floor)
	}
	b.ReportMetric(median(rates), "logins/s")
	b.ReportMetric(median(ratios), "x_argon2")
	b.ReportMetric(0, "ns/op")
	reportLoad(b)
}
