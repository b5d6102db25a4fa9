package bench

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/web"
	"github.com/metalward/metalward/internal/secret"
)

// site is a region in process with machines of real size.
type site struct {
	r   *region.Region
	dir string
	// database is the URL of PostgreSQL; empty for SQLite.
	database string

	handler http.Handler
	key     identity.KeySecret
	nonce   atomic.Int64
	filled  int          // machines
	vlan    metal.VLAN   // of all machines
	sub     metal.Subnet // of all machines
}

func newSite(b testing.TB, machines int) *site {
	b.Helper()
	return newSiteOn(b, "", machines)
}

// newSiteOn makes a region on a database; "" for SQLite.
func newSiteOn(b testing.TB, database string, machines int) *site {
	b.Helper()
	ctx := context.Background()
	s := &site{dir: b.TempDir(), database: database}
	r, err := region.New(ctx, region.Options{Config: config.Region{StateDir: s.dir, Database: database, HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0", PublicHost: "localhost"},
		Version: "bench", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.Close)
	s.r = r
	s.work(b, r.Gate.Run)
	s.work(b, r.API.Run)
	s.admin(b)
	s.fill(b, machines)
	return s
}

// work runs what a region does in the background, until the benchmark or the returned function ends it.
func (s *site) work(b testing.TB, run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { run(ctx) })
	stop = func() {
		cancel()
		wg.Wait()
	}
	b.Cleanup(stop)
	return stop
}

// settle waits until every machine is rendered.
func (s *site) settle(b testing.TB) {
	b.Helper()
	for old := 1; old > 0; time.Sleep(5 * time.Millisecond) {
		err := s.r.Gate.View(authz.AsSystem(context.Background(), "bench"), authz.MachineView, func(v *gate.Viewing) error {
			list, err := v.StaleMachines(store.MachineQuery{Filter: authz.AllMachines}, 1)
			old = len(list)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// open opens the region's database beside it.
func (s *site) open(b testing.TB) *sql.DB {
	b.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.dir, "metalward.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	return db
}

const password = "a long enough password"

// admin makes an administrator and a key.
func (s *site) admin(b testing.TB) {
	b.Helper()
	ctx := context.Background()
	s.handler = s.r.Handler()
	sys := authz.AsSystem(ctx, "bench")
	u, err := s.r.Identity.CreateUser(sys, identity.NewUser{Name: "admin", Password: secret.FromString(password), Admin: true})
	if err != nil {
		b.Fatal(err)
	}
	if s.key, err = s.r.Identity.CreateKey(authz.With(ctx, authz.Principal{Kind: authz.User, Name: u.Name, UserID: u.ID, Rights: authz.Everything()}), identity.NewKey{Name: "bench"}); err != nil {
		b.Fatal(err)
	}
}

// fill makes machines as MAAS's own scenarios have them: 8 interfaces with a subnet, 6 disks, script results; and
// owner data that brings each machine's JSON to about 49 KB.
func (s *site) fill(b testing.TB, n int) {
	b.Helper()
	ctx := authz.AsSystem(context.Background(), "bench")
	if s.filled == 0 {
		if err := s.network(ctx); err != nil {
			b.Fatal(err)
		}
	}
	vlan, sub := s.vlan, s.sub
	pad := strings.Repeat("x", 1000)
	for done := 0; done < n; {
		batch := min(500, n-done)
		err := s.r.Gate.Do(ctx, authz.MachineCreate, func(c *gate.Call) error {
			if err := c.Require(authz.Target{Noun: authz.NounMachine, Pool: metal.DefaultPoolID}); err != nil {
				return err
			}
			for i := range batch {
				k := s.filled + done + i
				m := metal.Machine{SystemID: metal.NewSystemID(), Hostname: fmt.Sprintf("node%05d", k), Status: metal.Deployed, PoolID: metal.DefaultPoolID, ZoneID: metal.DefaultZoneID,
					Architecture: "amd64/generic", CPUCount: 8 << (k % 4), CPUSpeedMHz: 2400, MemoryMiB: 65536 << (k % 4), PowerType: "manual", PowerState: metal.PowerOn, OSystem: "custom",
					DistroSeries: "debian12", Commissioned: true, Owner: "admin", OwnerData: map[string]string{}, Created: c.Now(), Updated: c.Now()}
				for j := range 15 {
					m.OwnerData[fmt.Sprintf("key-%02d", j)] = pad
				}
				if err := c.Tx().AddMachine(&m); err != nil {
					return err
				}
				for j := range 8 {
					nic := metal.Interface{SystemID: m.SystemID, Name: fmt.Sprintf("eth%d", j), MAC: metal.MAC(fmt.Sprintf("52:54:%02x:%02x:%02x:%02x", k>>16, k>>8&255, k&255, j)),
						VLANID: vlan.ID, Boot: j == 0, SubnetID: sub.ID, Enabled: true, MTU: 1500, LinkUp: true, SpeedMbps: 25000, LinkSpeedMbps: 25000, Vendor: "0x15b3", Product: "0x1017"}
					if err := c.Tx().PutInterface(&nic); err != nil {
						return err
					}
				}
				for j := range 6 {
					d := metal.BlockDevice{SystemID: m.SystemID, Name: fmt.Sprintf("nvme%dn1", j), Model: "BENCH 3.84TB", Serial: fmt.Sprintf("S%05d%d", k, j), SizeBytes: 3840e9, BlockSize: 512, Tags: []string{"ssd"}}
					if err := c.Tx().PutBlockDevice(&d); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		done += batch
	}
	s.filled += n
}

// call makes an authenticated request in process. The form is the body of a request that changes something.
func (s *site) call(method, path string, form url.Values) *counter {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req := httptest.NewRequest(method, "https://localhost/MAAS/api/2.0"+path, body)
	req.Header.Set("Authorization", s.oauth())
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := &counter{header: http.Header{}}
	s.handler.ServeHTTP(w, req)
	return w
}

func (s *site) oauth() string {
	return fmt.Sprintf(`OAuth oauth_version="1.0", oauth_signature_method="PLAINTEXT", oauth_consumer_key="%s", oauth_token="%s", oauth_signature="%%26%s", oauth_timestamp="%d", oauth_nonce="%d"`,
		s.key.ConsumerKey, s.key.TokenKey, s.key.Secret.RevealString(), time.Now().Unix(), s.nonce.Add(1))
}

// get reads something and returns the answer, of which only the size is kept.
func (s *site) get(b testing.TB, path string) *counter {
	b.Helper()
	w := s.call(http.MethodGet, path, nil)
	if w.status != http.StatusOK {
		b.Fatalf("got status %d for %s", w.status, path)
	}
	return w
}

// counter is a response that keeps nothing but its size, its beginning and when that came: the memory of a whole
// list would be measured otherwise.
type counter struct {
	header http.Header
	status int
	n      int64
	first  time.Time // of the first byte
	head   []byte    // up to headBytes
}

const headBytes = 1 << 10

func (c *counter) Header() http.Header { return c.header }

func (c *counter) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
}

func (c *counter) Write(p []byte) (int, error) {
	c.WriteHeader(http.StatusOK)
	if c.n == 0 {
		c.first = time.Now()
	}
	c.n += int64(len(p))
	c.head = append(c.head, p[:min(len(p), headBytes-len(c.head))]...)
	return len(p), nil
}

var systemID = regexp.MustCompile(`"system_id": ?"([a-z0-9]+)"`)

// BenchmarkMachines measures what is asked of many machines. The site is made once for all that is measured on it.
func BenchmarkMachines(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("machines=%d", n), func(b *testing.B) {
			s := newSite(b, n)
			s.settle(b)
			b.Run("list", func(b *testing.B) { benchList(b, s, n) })
			b.Run("cold_list", func(b *testing.B) { benchColdList(b, s, n) })
			b.Run("page", func(b *testing.B) { benchPage(b, s, n) })
			b.Run("read", func(b *testing.B) { benchRead(b, s) })
			b.Run("pool_rename", func(b *testing.B) { benchPoolRename(b, s) })
		})
	}
}

// BenchmarkPostgresList is the list of many machines on PostgreSQL.
func BenchmarkPostgresList(b *testing.B) {
	const n = 10000
	s := newSiteOn(b, regiontest.Postgres(b), n)
	s.settle(b)
	b.Run(fmt.Sprintf("machines=%d", n), func(b *testing.B) { benchList(b, s, n) })
}

// benchList compares the list of machines with streaming rows of the same size out of the same database: the
// floor that no list can beat. Rounds alternate.
func benchList(b *testing.B, s *site, n int) {
	r, w, err := store.Open(context.Background(), cmp.Or(s.database, filepath.Join(s.dir, "metalward.db")))
	if err != nil {
		b.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	var lists, floors, firsts, ratios []float64
	var growth, size int64
	debug.FreeOSMemory()
	b.ResetTimer()
	for round := range b.N {
		list := func() {
			stop := watchRSS()
			start := time.Now()
			got := s.get(b, "/machines/")
			lists = append(lists, ms(time.Since(start)))
			firsts = append(firsts, ms(got.first.Sub(start)))
			size = got.n
			_, grown := stop()
			growth = max(growth, grown)
		}
		floor := func() {
			start := time.Now()
			rows := int64(0)
			err := r.View(context.Background(), func(v *store.View) error {
				return v.EachMachineText(store.MachineQuery{Filter: authz.AllMachines}, func(m *store.MachineText) error {
					k, err := io.Discard.Write(m.Text)
					rows += int64(k)
					return err
				})
			})
			if err != nil || rows == 0 {
				b.Fatalf("got %d bytes, %v", rows, err)
			}
			floors = append(floors, ms(time.Since(start)))
		}
		if round%2 == 0 {
			list()
			floor()
		} else {
			floor()
			list()
		}
		ratios = append(ratios, lists[round]/floors[round])
	}
	b.StopTimer()
	b.ReportMetric(median(ratios), "x_floor")
	b.ReportMetric(median(lists), "ms/list")
	b.ReportMetric(median(floors), "ms/floor")
	b.ReportMetric(median(firsts), "ms/first_byte")
	b.ReportMetric(float64(size)/float64(n)/1000, "KB/machine")
	b.ReportMetric(float64(growth)/1024, "MiB_growth")
	reportLoad(b)
}

// benchColdList lists machines none of which is rendered, as after an upgrade, and then waits until the region has
// rendered and kept them all. The floor is one processor turning as much into JSON as the list holds.
func benchColdList(b *testing.B, s *site, n int) {
	db := s.open(b)
	var lists, firsts, kept, floors []float64
	var growth int64
	sample := make(map[string]string, 50)
	for i := range 50 {
		sample[fmt.Sprintf("key-%02d", i)] = strings.Repeat("x", 1000)
	}
	debug.FreeOSMemory()
	b.ResetTimer()
	for range b.N {
		if _, err := db.Exec("UPDATE machines SET text_revision = 0; DELETE FROM machine_texts"); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		for range n {
			if _, err := json.Marshal(sample); err != nil {
				b.Fatal(err)
			}
		}
		floors = append(floors, ms(time.Since(start)))
		stop := watchRSS()
		start = time.Now()
		got := s.get(b, "/machines/")
		lists = append(lists, ms(time.Since(start)))
		firsts = append(firsts, ms(got.first.Sub(start)))
		_, grown := stop()
		growth = max(growth, grown)
		s.settle(b)
		kept = append(kept, ms(time.Since(start)))
	}
	b.StopTimer()
	b.ReportMetric(median(lists), "ms/list")
	b.ReportMetric(median(firsts), "ms/first_byte")
	b.ReportMetric(median(kept), "ms/all_kept")
	b.ReportMetric(median(floors), "ms/floor")
	b.ReportMetric(median(lists)/median(floors), "x_floor")
	b.ReportMetric(float64(growth)/1024, "MiB_growth")
	reportLoad(b)
}

// benchPage reads the first and a later page of 50 in the browser's form, logged in, filtered and sorted on each column
// in turn. The floor is to look at each machine's status and name once, in the same database.
func benchPage(b *testing.B, s *site, n int) {
	entry, err := s.r.Identity.Login(context.Background(), "admin", secret.FromString(password))
	if err != nil {
		b.Fatal(err)
	}
	db := s.open(b)
	byOrder := map[string][]float64{}
	var all, floors []float64
	b.ResetTimer()
	for range b.N {
		for _, order := range []string{"hostname", "status", "owner", "power", "cpu", "memory", "pool", "zone"} {
			start := time.Now()
			var seen int
			if err := db.QueryRow("SELECT COUNT(*) FROM machines WHERE status = 6 AND hostname LIKE '%node%'").Scan(&seen); err != nil || seen != n {
				b.Fatalf("got %d machines, %v", seen, err)
			}
			floors = append(floors, ms(time.Since(start)))
			for _, offset := range []int{0, 500} {
				req := httptest.NewRequest(http.MethodGet, fmt.Sprintf("https://localhost/machines?q=node&status=Deployed&sort=%s&dir=desc&offset=%d", order, offset), nil)
				req.AddCookie(&http.Cookie{Name: web.CookieName, Value: entry.Cookie.RevealString()})
				w := httptest.NewRecorder()
				start := time.Now()
				s.handler.ServeHTTP(w, req)
				took := ms(time.Since(start))
				if rows := strings.Count(w.Body.String(), "<tr"); w.Code != http.StatusOK || rows < 50 {
					b.Fatalf("got status %d with %d rows", w.Code, rows)
				}
				byOrder[order], all = append(byOrder[order], took), append(all, took)
			}
		}
	}
	b.StopTimer()
	worst := 0.0
	for order, v := range byOrder {
		worst = max(worst, median(v))
		b.Logf("sorted by %s: %.1f ms", order, median(v))
	}
	b.ReportMetric(median(all), "ms/page")
	b.ReportMetric(worst, "ms/worst_column")
	b.ReportMetric(median(floors), "ms/floor")
	b.ReportMetric(median(all)/median(floors), "x_floor")
	reportLoad(b)
}

// benchRead reads one machine, authenticated and authorized, for a second with one client and with 8.
func benchRead(b *testing.B, s *site) {
	m := systemID.FindSubmatch(s.get(b, "/machines/?hostname=node00500").head)
	if m == nil {
		b.Fatal("no machine node00500")
	}
	path := "/machines/" + string(m[1]) + "/"
	var one, eight []float64
	b.ResetTimer()
	for range b.N {
		one = append(one, perSecond(1, func(int) { s.get(b, path) }))
		eight = append(eight, perSecond(8, func(int) { s.get(b, path) }))
	}
	b.StopTimer()
	b.ReportMetric(median(one), "req/s")
	b.ReportMetric(median(eight), "req/s_8clients")
	b.ReportMetric(1000/median(one), "ms/req")
	reportLoad(b)
}

// perSecond runs fn in as many goroutines for a second, and returns how often it ran in a second.
func perSecond(clients int, fn func(client int)) float64 {
	var n atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for client := range clients {
		wg.Go(func() {
			for time.Since(start) < time.Second {
				fn(client)
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(start).Seconds()
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// benchPoolRename renames the pool that holds all machines: no machine is rewritten.
func benchPoolRename(b *testing.B, s *site) {
	ctx := authz.With(context.Background(), authz.Principal{Kind: authz.User, Name: "admin", Rights: authz.Everything()})
	b.ResetTimer()
	for range b.N {
		err := s.r.Gate.Do(ctx, authz.PoolEdit, func(c *gate.Call) error {
			if err := c.Require(store.PoolTarget(metal.DefaultPoolID)); err != nil {
				return err
			}
			return c.Tx().PutPool(metal.ResourcePool{ID: metal.DefaultPoolID, Name: fmt.Sprintf("pool-%d", s.nonce.Add(1))})
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWrites has 8 clients create machines, and then change their status, through the API. The floor is the
// disk's: small appends to a file, each synced, by one writer. The region may be faster, if it shares a sync.
func BenchmarkWrites(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { benchWrites(b, newSite(b, 1)) })
	b.Run("postgres", func(b *testing.B) { benchWrites(b, newSiteOn(b, regiontest.Postgres(b), 1)) })
}

func benchWrites(b *testing.B, s *site) {
	f, err := os.Create(filepath.Join(b.TempDir(), "floor"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	const clients = 8
	var creates, changes, syncs, create1 []float64
	var serial atomic.Int64
	post := func(path string, form url.Values) []byte {
		w := s.call(http.MethodPost, path, form)
		if w.status != http.StatusOK {
			panic(fmt.Sprintf("got status %d for %s: %s", w.status, path, w.head))
		}
		return w.head
	}
	create := func() string {
		k := serial.Add(1)
		body := post("/machines/", url.Values{"hostname": {fmt.Sprintf("new%07d", k)}, "architecture": {"amd64/generic"}, "power_type": {"manual"}, "commission": {"false"},
			"mac_addresses": {fmt.Sprintf("52:55:%02x:%02x:%02x:%02x", k>>24&255, k>>16&255, k>>8&255, k&255)}})
		m := systemID.FindSubmatch(body)
		if m == nil {
			// Fields come in the order of their names: the id may lie behind what is kept.
			m = systemID.FindSubmatch(s.get(b, fmt.Sprintf("/machines/?hostname=new%07d", k)).head)
		}
		if m == nil {
			return ""
		}
		return string(m[1])
	}
	b.ResetTimer()
	for range b.N {
		block := make([]byte, 4096)
		syncs = append(syncs, perSecond(1, func(int) {
			if _, err := f.Write(block); err != nil {
				panic(err)
			}
			if err := f.Sync(); err != nil {
				panic(err)
			}
		}))
		create1 = append(create1, perSecond(1, func(int) { create() }))
		creates = append(creates, perSecond(clients, func(int) { create() }))
		ids, busy := make([]string, clients), make([]bool, clients)
		for i := range ids {
			if ids[i] = create(); ids[i] == "" {
				b.Fatal("a machine that was created has no id")
			}
		}
		changes = append(changes, perSecond(clients, func(client int) {
			op := "commission"
			if busy[client] {
				op = "abort"
			}
			post("/machines/"+ids[client]+"/?op="+op, url.Values{})
			busy[client] = !busy[client]
		}))
	}
	b.StopTimer()
	b.ReportMetric(median(create1), "creates/s_1client")
	b.ReportMetric(median(creates), "creates/s")
	b.ReportMetric(median(changes), "changes/s")
	b.ReportMetric(median(syncs), "fsyncs/s")
	b.ReportMetric(median(creates)/median(syncs), "creates_x_fsync")
	b.ReportMetric(median(changes)/median(syncs), "changes_x_fsync")
	reportLoad(b)
}

// network makes what the machines are connected to.
func (s *site) network(ctx context.Context) error {
	return s.r.Gate.Do(ctx, authz.NetworkEdit, func(c *gate.Call) error {
		for _, noun := range []authz.Noun{authz.NounFabric, authz.NounVLAN, authz.NounSubnet} {
			if err := c.Require(authz.Target{Noun: noun}); err != nil {
				return err
			}
		}
		f := metal.Fabric{}
		if err := c.Tx().AddFabric(&f); err != nil {
			return err
		}
		s.vlan = metal.VLAN{FabricID: f.ID, Name: "untagged", MTU: 1500}
		if err := c.Tx().AddVLAN(&s.vlan); err != nil {
			return err
		}
		s.sub = metal.Subnet{VLANID: s.vlan.ID, Name: "bench", CIDR: mustPrefix("10.0.0.0/8"), Managed: true}
		return c.Tx().AddSubnet(&s.sub)
	})
}

func mustPrefix(s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		panic(err)
	}
	return p
}
