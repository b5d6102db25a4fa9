package rbac_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rbac/rbactest"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/rbac"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

func TestMain(m *testing.M) { regiontest.Main(m) }

// env is a site with an RBAC service.
type env struct {
	*regiontest.Core
	t      testing.TB
	clock  *regiontest.Clock
	server *rbactest.Server
	key    secret.Value
	p      metal.Provider
	s      *rbac.Service
	admin  context.Context
	asking func() // before a service is asked, if it is set
}

func newEnv(t testing.TB, dsn string) *env {
	t.Helper()
	e := &env{t: t, clock: regiontest.NewClock(), server: rbactest.New(t)}
	e.Core = regiontest.Open(t, t.TempDir(), dsn, e.clock.Now)
	e.admin = e.Admin(t)
	key := macaroons.NewKey()
	e.key = key.Private()
	e.p = metal.Provider{Kind: metal.ProviderRBAC, Name: "rbac", Issuer: e.server.URL, Enabled: true, CreateUsers: true,
		Options: map[string]string{"agent_username": e.server.Register("Site", key.Public())}}
	made := e.p
	e.edit(func(tx *store.Tx) error { made.ID = 0; return tx.AddProvider(&made) })
	e.p = made
	e.s = e.region("region-one")
	return e
}

// region is the service as a region controller runs it.
func (e *env) region(id string) *rbac.Service {
	return rbac.New(rbac.Config{Gate: e.Gate, Region: id, Providers: e, Client: e.server.Client(), Now: e.clock.Now, Log: regiontest.Silent})
}

// Usable is the provider as it is stored, and its key.
func (e *env) Usable(_ context.Context, kind metal.ProviderKind, id int64) (p metal.Provider, key secret.Value, err error) {
	if fn := e.asking; fn != nil {
		e.asking = nil
		fn()
	}
	err = e.Reader.View(context.Background(), func(v *store.View) error { p, err = v.Provider(id); return err })
	if err == nil && (!p.Enabled || p.Kind != kind) {
		err = authz.NotFound(authz.NounProvider)
	}
	return p, e.key, err
}

func (e *env) ok(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// edit changes the provider.
func (e *env) edit(fn func(*store.Tx) error) {
	e.t.Helper()
	e.ok(e.Gate.Do(e.admin, authz.ProviderEdit, func(c *gate.Call) error {
		if err := c.Require(store.ProviderTarget(e.p.ID)); err != nil {
			return err
		}
		return fn(c.Tx())
	}))
}

func (e *env) put() { e.t.Helper(); e.edit(func(tx *store.Tx) error { return tx.PutProvider(e.p) }) }

func (e *env) sync() { e.t.Helper(); e.ok(e.s.Sync(e.t.Context())) }

// state is how the service is told of pools, and how many changes it has not been told.
type state struct {
	store.RBACSync
	Waiting int
}

func (e *env) state() (st state) {
	e.t.Helper()
	e.View(e.t, func(v *store.View) (err error) {
		if st.RBACSync, err = v.RBACSync(e.p.ID); err != nil {
			return err
		}
		list, err := v.RBACChanges(e.p.ID, 1000)
		st.Waiting = len(list)
		return err
	})
	return st
}

func (e *env) pool(name string) metal.ResourcePool {
	e.t.Helper()
	p, err := e.Machines.CreatePool(e.admin, name, "")
	e.ok(err)
	return p
}

func (e *env) rename(id int64, name string) {
	e.t.Helper()
	_, err := e.Machines.UpdatePool(e.admin, id, &name, nil)
	e.ok(err)
}

// same demands that the service knows just our pools.
func (e *env) same() {
	e.t.Helper()
	want := map[string]string{}
	e.View(e.t, func(v *store.View) error {
		list, err := v.Pools()
		for _, p := range list {
			want[strconv.FormatInt(p.ID, 10)] = p.Name
		}
		return err
	})
	if d := cmp.Diff(want, e.server.Pools()); d != "" {
		e.t.Errorf("the service knows other pools (-ours +its):\n%s", d)
	}
}

const pushes = "/api/service/v1/resources/resource-pool"

// pushed is how often the service was told something since the last time.
func (e *env) pushed(want int) {
	e.t.Helper()
	if got := e.server.Count("POST", pushes); got != want {
		e.t.Errorf("the service was told %d times, want %d", got, want)
	}
}

func TestSync(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		e := newEnv(t, dsn)
		e.sync()
		e.same()
		e.pushed(1)
		e.sync()
		e.pushed(1) // nothing new
		lab, tmp := e.pool("lab"), e.pool("tmp")
		e.rename(lab.ID, "lab two")
		e.rename(lab.ID, "lab three")
		e.ok(e.Machines.DeletePool(e.admin, tmp.ID))
		if st := e.state(); st.Waiting != 5 || st.Pools != 1 {
			t.Errorf("got %+v", st)
		}
		e.sync()
		e.same()
		e.pushed(2)
		if st := e.state(); st.Waiting != 0 || st.Pools != 2 || st.Error != "" || !st.Synced.Equal(e.clock.Now()) {
			t.Errorf("got %+v", st)
		}
		again := e.pool("again")
		e.ok(e.Machines.DeletePool(e.admin, again.ID))
		e.sync()
		e.pushed(2) // came and went: not worth a word
		if st := e.state(); st.Waiting != 0 {
			t.Errorf("got %+v", st)
		}

		// The service was restored from a backup: it says so at the next change, and gets everything.
		e.server.Forget()
		e.pool("late")
		e.sync()
		e.same()
		e.pushed(4)

		// It is away: the next tries come after 10 s, 20 s, … up to five minutes, and tell it all that it missed.
		e.server.Down(rbactest.Error500)
		e.ok(e.Machines.DeletePool(e.admin, lab.ID))
		e.sync()
		for i, wait := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
			if st := e.state(); st.Failures != int64(i+1) || !strings.Contains(st.Error, "cannot be asked") || !st.RetryAt.Equal(e.clock.Now().Add(wait*time.Second)) {
				t.Errorf("failure %d: got %+v", i+1, st)
			}
			before := e.server.Count("POST", pushes)
			e.clock.Advance(wait*time.Second - time.Second)
			e.sync()
			e.pushed(before)
			e.clock.Advance(2 * time.Second)
			e.sync()
			if e.server.Count("POST", pushes) <= before {
				t.Error("it should have tried again")
			}
		}
		e.server.Down(rbactest.None)
		e.clock.Advance(10 * time.Minute)
		e.sync()
		e.same()
		if st := e.state(); st.Failures != 0 || st.Error != "" || st.Waiting != 0 {
			t.Errorf("got %+v", st)
		}
		// Told, but the answer was lost: what it is told next is stale, and then everything.
		e.server.Break(rbactest.Forgotten)
		e.pool("lost")
		e.sync()
		e.clock.Advance(time.Minute)
		e.sync()
		e.same()

		// Configured anew, or not enabled for a while: everything.
		e.p.Enabled = false
		e.put()
		e.pool("unnoticed")
		before := e.server.Count("POST", pushes)
		e.sync()
		e.pushed(before)
		if st := e.state(); st.Waiting != 0 {
			t.Errorf("changes are queued for a service that is not enabled: %+v", st)
		}
		e.p.Enabled = true
		e.put()
		e.sync()
		e.same()
	})
}

// TestForeignPools registers as a site that another one was before: as long as one of its pools has the id of another one here,
// nothing is sent and nobody acts.
func TestForeignPools(t *testing.T) {
	e := newEnv(t, regiontest.SQLite(t))
	lab := e.pool("lab")
	e.server.Forget() // it knows a pool 4711 of another site
	e.server.Know(strconv.FormatInt(lab.ID, 10), "production")
	e.sync()
	if st := e.state(); !strings.Contains(st.Error, `"production"`) || !st.Synced.IsZero() {
		t.Errorf("got %+v", st)
	}
	e.pushed(0)
	if _, err := e.s.Describe(t.Context(), e.p, e.key, "jane"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a login before the service was told: got %v", err)
	}
	u := e.jane()
	e.allow("admin-machines", lab.ID)
	if err := e.s.Freshen(t.Context(), u); !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.Message(err), "not been told") || e.holds(u) != nil {
		t.Errorf("got %v, %v", err, e.holds(u))
	}
	e.rename(lab.ID, "production")
	e.clock.Advance(time.Minute)
	e.sync()
	e.same()
	e.ok(e.s.Freshen(t.Context(), u))
	// Told once, the service may be behind by a name.
	e.server.Forget()
	e.server.Know(strconv.FormatInt(lab.ID, 10), "lab")
	e.put()
	e.sync()
	e.same()
	// Another agent is another site there.
	e.p.Options["agent_username"] += "-other"
	e.put()
	if err := e.s.Freshen(t.Context(), u); !fault.Is(err, fault.Unavailable) || !e.asked(u).IsZero() {
		t.Errorf("as another agent: got %v, asked %v", err, e.asked(u))
	}
}

// TestSyncConverges makes random changes of pools while the service fails at random: in the end it knows just our pools.
func TestSyncConverges(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			e := newEnv(t, regiontest.SQLite(t))
			r := rand.New(rand.NewPCG(seed, 99))
			other := e.region("region-two")
			faults := []rbactest.Fault{rbactest.Error500, rbactest.Truncated, rbactest.Garbage, rbactest.WrongType, rbactest.Forgotten, rbactest.Away}
			var ids []int64
			for i := range 120 {
				switch n := r.IntN(12); {
				case n < 3:
					ids = append(ids, e.pool(fmt.Sprint("pool ", i)).ID)
				case n < 5 && len(ids) > 0:
					e.rename(ids[r.IntN(len(ids))], fmt.Sprint("renamed ", i))
				case n < 7 && len(ids) > 0:
					k := r.IntN(len(ids))
					e.ok(e.Machines.DeletePool(e.admin, ids[k]))
					ids = slices.Delete(ids, k, k+1)
				case n == 7:
					e.server.Break(faults[r.IntN(len(faults))])
				case n == 8 && r.IntN(4) == 0:
					e.server.Forget()
				case n == 9 && r.IntN(4) == 0:
					e.s = e.region("region-one") // it starts anew
				case n == 10:
					e.clock.Advance(time.Duration(r.IntN(400)) * time.Second)
					e.ok(other.Sync(t.Context()))
				default:
					e.sync()
					e.clock.Advance(time.Second)
				}
			}
			for range 30 { // whatever is still to go wrong
				e.clock.Advance(6 * time.Minute)
				e.sync()
			}
			e.same()
			if st := e.state(); st.Error != "" || st.Waiting != 0 || st.Leader != "region-one" && st.Leader != "region-two" {
				t.Errorf("got %+v", st)
			}
		})
	}
}

// TestOneRegionTells has two regions on one database: one tells the service, and the other when that is gone.
func TestOneRegionTells(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		e := newEnv(t, dsn)
		second := regiontest.Open(t, e.Dir, dsn, e.clock.Now)
		two := rbac.New(rbac.Config{Gate: second.Gate, Region: "region-two", Providers: e, Client: e.server.Client(), Now: e.clock.Now, Log: regiontest.Silent})
		round := func() {
			t.Helper()
			var wg sync.WaitGroup
			for _, s := range []*rbac.Service{e.s, two} {
				wg.Go(func() {
					if err := s.Sync(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		round()
		e.pushed(1)
		_, err := second.Machines.CreatePool(second.Admin(t), "of the second", "")
		e.ok(err)
		round()
		round()
		e.same()
		e.pushed(2)
		leader := e.state().Leader
		alone, want := two, "region-two"
		if leader == "region-two" {
			alone, want = e.s, "region-one"
		}
		e.pool("more")
		e.ok(alone.Sync(t.Context())) // the leader is gone, but may be back
		e.pushed(2)
		e.clock.Advance(91 * time.Second)
		e.ok(alone.Sync(t.Context()))
		e.same()
		e.pushed(3)
		if st := e.state(); st.Leader != want {
			t.Errorf("got leader %s, want %s", st.Leader, want)
		}
	})
}

// TestRun tells the service at start, at a change, and resigns in the end.
func TestRun(t *testing.T) {
	e := newEnv(t, regiontest.SQLite(t))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { e.s.Run(ctx) })
	wait := func(what string, done func() bool) {
		t.Helper()
		for range 6000 {
			if done() {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("%s did not happen", what)
	}
	wait("the sync at start", func() bool { return len(e.server.Pools()) == 1 })
	e.pool("lab")
	e.s.Changed([]authz.Target{store.PoolTarget(1)})
	wait("the sync after a change", func() bool { return len(e.server.Pools()) == 2 })
	wait("the note of it", func() bool { return e.state().Pools == 2 })
	cancel()
	wg.Wait()
	if st := e.state(); st.Lease.After(e.clock.Now()) {
		t.Errorf("it should have resigned: %+v", st)
	}
}

// jane is a user whose rights are the service's.
func (e *env) jane() metal.User {
	e.t.Helper()
	u := store.UserRow{User: metal.User{Name: "jane", External: true, RightsFrom: e.p.ID}}
	e.ok(e.Gate.Do(authz.AsSystem(e.admin, "test"), authz.UserEdit, func(c *gate.Call) error {
		if err := c.Require(store.NewUserTarget); err != nil {
			return err
		}
		if err := c.Tx().AddUser(&u); err != nil {
			return err
		}
		return c.Tx().PutIdentity(u.User, metal.ExternalIdentity{Issuer: e.p.Issuer, Subject: "jane", ProviderID: e.p.ID})
	}))
	e.server.AddPerson("jane", macaroons.NewKey().Public())
	e.sync()
	return u.User
}

func (e *env) allow(permission string, ids ...any) {
	kind, texts := "resource-pool", []string{}
	if permission == "admin" {
		kind = "maas"
	}
	for _, id := range ids {
		texts = append(texts, fmt.Sprint(id))
	}
	e.server.Allow("jane", kind, permission, texts...)
}

// holds are a user's grants that count, as texts.
func (e *env) holds(u metal.User) (out []string) {
	e.t.Helper()
	e.View(e.t, func(v *store.View) error {
		list, err := v.Grants(store.GrantQuery{UserID: u.ID})
		for _, g := range list {
			out = append(out, fmt.Sprint(g.Role, " ", g.Pool))
		}
		slices.Sort(out)
		return err
	})
	return out
}

func (e *env) asked(u metal.User) (at time.Time) {
	e.t.Helper()
	e.View(e.t, func(v *store.View) (err error) { at, err = v.RightsAsked(u.ID); return err })
	return at
}

func TestRights(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		e := newEnv(t, dsn)
		u, lab := e.jane(), e.pool("lab")
		fresh := func(want ...string) {
			t.Helper()
			e.clock.Advance(time.Minute)
			e.ok(e.s.Freshen(t.Context(), u))
			if d := cmp.Diff(want, e.holds(u)); d != "" {
				t.Errorf("grants (-want +got):\n%s", d)
			}
			if !e.asked(u).Equal(e.clock.Now()) {
				t.Errorf("asked at %v, want %v", e.asked(u), e.clock.Now())
			}
		}
		l := fmt.Sprint(" ", lab.ID)
		e.allow("view", lab.ID, 0)
		e.allow("deploy-machines", lab.ID, 4711, "01", "x", "-1", "+0") // what is no pool here is none
		fresh("rbac:deploy-machines"+l, "rbac:view 0", "rbac:view"+l)
		events := len(e.Trail(t))
		fresh("rbac:deploy-machines"+l, "rbac:view 0", "rbac:view"+l)
		if n := len(e.Trail(t)); n != events {
			t.Errorf("an answer that changes nothing left %d events", n-events)
		}
		e.allow("deploy-machines")
		e.allow("admin-machines", lab.ID)
		e.allow("edit", "")
		e.allow("view", 0)
		fresh("rbac:admin-machines"+l, "rbac:edit -1", "rbac:view 0")
		if ev := e.last(); ev.Action != "user.rights" || ev.Detail["given"] != "rbac:admin-machines on pool lab, rbac:edit on all pools" ||
			!strings.Contains(ev.Detail["taken"], "rbac:deploy-machines on pool lab") || ev.Principal != "system:rbac" {
			t.Errorf("got %+v", ev)
		}
		e.allow("admin", 5) // nothing that there is
		fresh("rbac:admin-machines"+l, "rbac:edit -1", "rbac:view 0")
		e.allow("admin", "")
		fresh("Administrator -1", "rbac:admin-machines"+l, "rbac:edit -1", "rbac:view 0")
		e.View(t, func(v *store.View) error {
			row, err := v.User(u.ID)
			if !row.Admin {
				t.Error("admin on maas should be the administrator")
			}
			return err
		})
		e.allow("admin")
		e.ok(e.Machines.DeletePool(e.admin, lab.ID))
		fresh("rbac:edit -1", "rbac:view 0")

		// With nothing but edit one is not active, as in MAAS.
		e.session(u)
		e.allow("view")
		for range 2 {
			e.clock.Advance(time.Minute)
			if err := e.s.Freshen(t.Context(), u); !fault.Is(err, fault.Forbidden) {
				t.Errorf("without rights: got %v", err)
			}
			if e.holds(u) != nil || !e.asked(u).IsZero() || e.sessions(u) != 0 {
				t.Errorf("got %v, asked %v, %d sessions", e.holds(u), e.asked(u), e.sessions(u))
			}
		}
		e.allow("view", 0)
		fresh("rbac:edit -1", "rbac:view 0")
	})
}

func (e *env) last() metal.AuditEvent {
	e.t.Helper()
	trail := e.Trail(e.t)
	return trail[len(trail)-1]
}

// session adds a session of a user by the service.
func (e *env) session(u metal.User) {
	e.t.Helper()
	ctx := authz.With(e.t.Context(), authz.Principal{Kind: authz.User, Name: u.Name, UserID: u.ID})
	e.ok(e.Gate.Do(ctx, authz.KeyEdit, func(c *gate.Call) error {
		if err := c.Require(store.UserTarget(u)); err != nil {
			return err
		}
		return c.Tx().AddSession(u, metal.Session{Hash: secret.Random(8).Hash(), UserID: u.ID, ProviderID: e.p.ID, Created: c.Now(), LastSeen: c.Now(), Expires: c.Now().Add(time.Hour)})
	}))
}

func (e *env) sessions(u metal.User) (n int) {
	e.t.Helper()
	e.View(e.t, func(v *store.View) error { list, err := v.Sessions(u.ID); n = len(list); return err })
	return n
}

// TestNoAnswerNoRights holds that what goes wrong at the service is an error, changes no grant and is not remembered.
func TestNoAnswerNoRights(t *testing.T) {
	e := newEnv(t, regiontest.SQLite(t))
	u := e.jane()
	e.allow("view", 0)
	e.ok(e.s.Freshen(t.Context(), u))
	asked := e.asked(u)
	for _, f := range []rbactest.Fault{rbactest.Error500, rbactest.Truncated, rbactest.Garbage, rbactest.WrongType, rbactest.Huge, rbactest.Away, rbactest.Forgotten} {
		e.server.Down(f)
		e.clock.Advance(time.Minute)
		err := e.s.Freshen(t.Context(), u)
		if got, ok := fault.As(err); !ok || got.Kind != fault.Unavailable || got.RetryAfter == 0 {
			t.Errorf("fault %d: got %v", f, err)
		}
		if !cmp.Equal(e.holds(u), []string{"rbac:view 0"}) || !e.asked(u).Equal(asked) {
			t.Errorf("fault %d: got %v, asked %v", f, e.holds(u), e.asked(u))
		}
		e.server.Down(rbactest.None)
		if _, err := e.s.Describe(t.Context(), e.p, e.key, "jane"); err != nil {
			t.Errorf("after fault %d: %v", f, err)
		}
		if f == rbactest.Forgotten { // a question that is lost once is asked again below
			continue
		}
		e.server.Break(rbactest.None, f) // the second answer of two
		if err := e.s.Freshen(t.Context(), u); !fault.Is(err, fault.Unavailable) || !e.asked(u).Equal(asked) {
			t.Errorf("fault %d in the second answer: got %v", f, err)
		}
	}
	e.server.RotateKeys()
	if err := e.s.Freshen(t.Context(), u); !fault.Is(err, fault.Unavailable) {
		t.Errorf("with a key that the service does not know: got %v", err)
	}
}

// TestOneQuestion has many requests of a user at once: they share a question, and one that leaves does not end it.
func TestOneQuestion(t *testing.T) {
	e := newEnv(t, regiontest.SQLite(t))
	u := e.jane()
	e.allow("view", 0)
	e.ok(e.s.Freshen(t.Context(), u)) // logs the agent in
	before := e.server.Count("GET", pushes+"/allowed-for-user")
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := e.s.Freshen(gone, u); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("who left: got %v", err)
	}
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range 40 {
		wg.Go(func() {
			<-start
			if err := e.s.Freshen(t.Context(), u); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	if n := e.server.Count("GET", pushes+"/allowed-for-user") - before; n > 10 {
		t.Errorf("41 requests at once asked %d times", n)
	}
}

// TestLateAnswer has a region be slow: its answer does not replace that to a later question of another one.
func TestLateAnswer(t *testing.T) {
	e := newEnv(t, regiontest.SQLite(t))
	two, lab := e.region("region-two"), e.pool("lab")
	u := e.jane()
	e.allow("view-all", 0, lab.ID)
	e.ok(e.s.Freshen(t.Context(), u))
	e.clock.Advance(time.Minute)
	e.asking = func() {
		e.clock.Advance(time.Second)
		e.allow("view-all", 0)
		e.ok(two.Freshen(t.Context(), u))
		e.allow("view-all", 0, lab.ID) // as the first had been told
	}
	later := e.clock.Now().Add(time.Second)
	e.ok(e.s.Freshen(t.Context(), u))
	if got := e.holds(u); !cmp.Equal(got, []string{"rbac:view-all 0"}) || !e.asked(u).Equal(later) {
		t.Errorf("got %v, asked %v", got, e.asked(u))
	}
	// An answer from the future is of a clock that was set back.
	e.clock.Advance(-time.Hour)
	e.ok(e.s.Freshen(t.Context(), u))
	if got := e.holds(u); len(got) != 2 || !e.asked(u).Equal(e.clock.Now()) {
		t.Errorf("got %v, asked %v", got, e.asked(u))
	}
}

// meanwhile is a transport that runs fn once, after the service has said what somebody may do.
type meanwhile struct {
	http.RoundTripper
	fn func()
}

func (m *meanwhile) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := m.RoundTripper.RoundTrip(r)
	if fn := m.fn; fn != nil && strings.HasSuffix(r.URL.Path, "resource-pool/allowed-for-user") {
		m.fn = nil
		fn()
	}
	return resp, err
}

// TestAnswerOfTheDeleted takes no answer of a service that was moved, or disabled and deleted, while it was asked.
func TestAnswerOfTheDeleted(t *testing.T) {
	e := newEnv(t, regiontest.SQLite(t))
	client := *e.server.Client()
	m := &meanwhile{RoundTripper: client.Transport}
	client.Transport = m
	e.s = rbac.New(rbac.Config{Gate: e.Gate, Region: "region-one", Providers: e, Client: &client, Now: e.clock.Now, Log: regiontest.Silent})
	u := e.jane()
	e.allow("view-all", 0)
	e.ok(e.s.Freshen(t.Context(), u))
	before := e.asked(u)
	e.clock.Advance(time.Minute)
	m.fn = func() { e.p.Enabled = false; e.put() }
	if err := e.s.Freshen(t.Context(), u); !fault.Is(err, fault.Unavailable) || !e.asked(u).Equal(before) {
		t.Errorf("got %v, asked %v", err, e.asked(u))
	}
	e.p.Enabled = true
	e.put()
	e.sync()
	e.allow("admin-machines", 0)
	m.fn = func() {
		e.edit(func(tx *store.Tx) error { return tx.DeleteProvider(e.p.ID) })
	}
	if err := e.s.Freshen(t.Context(), u); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want Unavailable", err)
	}
	if got := e.holds(u); len(got) > 0 {
		t.Errorf("somebody keeps %v by the word of a service that is gone", got)
	}
}

func TestDescribe(t *testing.T) {
	e := newEnv(t, regiontest.SQLite(t))
	e.jane()
	describe := func(name string) (metal.ExternalLogin, error) {
		return e.s.Describe(t.Context(), e.p, e.key, name)
	}
	if _, err := describe("jane"); !fault.Is(err, fault.NotFound) {
		t.Errorf("without rights: got %v", err)
	}
	e.allow("edit", 0)
	if _, err := describe("jane"); !fault.Is(err, fault.NotFound) {
		t.Errorf("with edit alone: got %v", err)
	}
	e.allow("view-all", 0)
	want := metal.ExternalLogin{ProviderID: e.p.ID, Issuer: e.p.Issuer, Subject: "jane", Name: "jane", Email: "jane@example.com"}
	if l, err := describe("jane"); err != nil || !cmp.Equal(l, want) {
		t.Errorf("got %+v, %v", l, err)
	}
	if _, err := describe("nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("unknown: got %v", err)
	}
	e.server.Down(rbactest.Error500)
	if _, err := describe("jane"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("service away: got %v", err)
	}
}

// TestRegister registers a site in the name of a person who logs in with a browser; its provider then works.
func TestRegister(t *testing.T) {
	e := newEnv(t, regiontest.SQLite(t))
	e.server.AddPerson("boss", macaroons.NewKey().Public())
	as := macaroons.NewVisitor(e.server.Client(), func(address string) {
		resp, err := e.server.Client().Get(address + "&username=boss")
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("the browser: got %v, %v", resp, err)
			return
		}
		_ = resp.Body.Close()
	})
	fields, key, err := rbac.Register(t.Context(), e.server.URL+"/", as, rbac.Registration{Service: "Metal"})
	e.ok(err)
	e.p.Issuer, e.key = fields["rbac_url"], key
	e.p.Options = map[string]string{"agent_username": fields["agent_username"], "auth_url": fields["auth_url"]}
	e.put()
	e.sync()
	e.same()
	if strings.Contains(fmt.Sprint(fields, key), key.RevealString()) {
		t.Error("the key is among what is shown")
	}
}

// BenchmarkFreshen is what a person's first request after ten seconds waits for: two questions over TLS on this host, and
// the answer written, the same as before.
func BenchmarkFreshen(b *testing.B) {
	e := newEnv(b, filepath.Join(b.TempDir(), "metalward.db"))
	u := e.jane()
	e.allow("view", "")
	e.ok(e.s.Freshen(b.Context(), u))
	for b.Loop() {
		e.clock.Advance(time.Minute)
		e.ok(e.s.Freshen(b.Context(), u))
	}
}

// BenchmarkFreshenMany changes rights on each of 1000 pools.
func BenchmarkFreshenMany(b *testing.B) {
	e := newEnv(b, filepath.Join(b.TempDir(), "metalward.db"))
	u := e.jane()
	var ids []any
	for i := range 1000 {
		ids = append(ids, e.pool(fmt.Sprint("pool ", i)).ID)
	}
	e.ok(e.s.Sync(b.Context()))
	for b.Loop() {
		e.allow("view", ids...)
		e.clock.Advance(time.Minute)
		e.ok(e.s.Freshen(b.Context(), u))
		e.allow("view", 0)
		e.clock.Advance(time.Minute)
		e.ok(e.s.Freshen(b.Context(), u))
	}
}
