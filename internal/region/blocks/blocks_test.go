package blocks_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/blocks"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

func TestMain(m *testing.M) { regiontest.Main(m) }

const brute, spread = "maas_login_bruteforce", "maas_login_spray_user" // of which the second proves no source

// racks answer from memory.
type racks struct {
	mu    sync.Mutex
	asks  int                                 // guarded by mu
	has   map[string]wire.BlocksRequest       // guarded by mu
	reply func(id string) wire.BlocksResponse // of one that took the list
	up    []string
}

func (r *racks) Connected() []string { return r.up }

func (r *racks) Call(_ context.Context, id string, _ wire.Message, req, resp any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asks++
	if x := req.(wire.BlocksRequest); x.All {
		r.has[id] = x
	}
	out := wire.BlocksResponse{How: wire.BlocksListeners}
	if r.reply != nil {
		out = r.reply(id)
	}
	out.Version, out.Applied = r.has[id].Version, len(r.has[id].Blocks)
	*resp.(*wire.BlocksResponse) = out
	return nil
}

func (r *racks) list(id string) wire.BlocksRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.has[id]
}

// region is one of a site.
type region struct {
	*blocks.Service
	wall    *block.Wall
	racks   *racks
	sources map[string]netip.Addr
}

func newRegion(c *regiontest.Core, id string, now func() time.Time, host ...block.Need) *region {
	r := &region{wall: &block.Wall{Now: now}, racks: &racks{has: map[string]wire.BlocksRequest{}}}
	r.Service = blocks.New(blocks.Config{Gate: c.Gate, Now: now, Log: regiontest.Silent, Region: id, Wall: r.wall, Racks: r.racks, Host: func() []block.Need { return host },
		Units: []detect.Unit{{ID: brute, Title: "Guesses", Proves: true}, {ID: spread}}, Trusted: []netip.Prefix{netip.MustParsePrefix("203.0.113.64/28")},
		Sources: func() map[string]netip.Addr { return r.sources }})
	return r
}

// blocks reports whether a region keeps an address out, once it has looked at the list.
func (r *region) blocks(t *testing.T, address string) bool {
	t.Helper()
	if err := r.Follow(context.Background()); err != nil {
		t.Fatal(err)
	}
	return r.wall.Blocks(netip.MustParseAddr(address))
}

func evidence(source string) block.Evidence {
	return block.Evidence{Unit: brute, Reason: "Guesses", Source: netip.MustParseAddr(source), Proves: true, Grave: true}
}

func decide(t *testing.T, r *region, e block.Evidence) {
	t.Helper()
	if err := r.Decide(context.Background(), e); err != nil {
		t.Fatal(err)
	}
}

func enforce(t *testing.T, ctx context.Context, r *region, change blocks.Change) {
	t.Helper()
	ids := brute
	change.Enforce = &ids
	if _, err := r.Change(ctx, change); err != nil {
		t.Fatal(err)
	}
}

func text(s string) *string { return &s }

// world runs a test on both engines, with two regions of a site.
func world(t *testing.T, fn func(t *testing.T, c *regiontest.Core, clock *regiontest.Clock, a, b *region)) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		clock := regiontest.NewClock()
		c := regiontest.Open(t, t.TempDir(), dsn, clock.Now)
		fn(t, c, clock, newRegion(c, "region-a", clock.Now), newRegion(c, "region-b", clock.Now))
	})
}

// Nothing is enforced until the site says so; then a block is one event of the trail, is the same for both regions, is not made twice, grows, has an end, and there is a most.
func TestDecide(t *testing.T) {
	world(t, func(t *testing.T, c *regiontest.Core, clock *regiontest.Clock, a, b *region) {
		admin := c.Admin(t)
		decide(t, a, evidence("198.51.100.7"))
		if st, err := a.Get(admin, 10); err != nil || len(st.Wishes) != 1 || st.Wishes[0].Why != "observed only" || st.Count != 0 || a.blocks(t, "198.51.100.7") {
			t.Fatalf("observing: got %+v, %v", st, err)
		}
		enforce(t, admin, a, blocks.Change{Most: text("2")})
		var wg sync.WaitGroup
		for range 4 { // both regions at the same moment
			for _, r := range []*region{a, b} {
				wg.Go(func() {
					if err := r.Decide(context.Background(), evidence("198.51.100.7")); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		list, err := b.List(admin, 0, 0)
		if err != nil || len(list) != 1 || list[0].Until.Sub(list[0].From) != block.DefaultFirst || list[0].Unit != brute || list[0].By != "alerts" {
			t.Fatalf("got %+v, %v", list, err)
		}
		if !a.blocks(t, "198.51.100.7") || !b.blocks(t, "198.51.100.7") || b.blocks(t, "198.51.100.8") {
			t.Error("the regions do not follow")
		}
		events := 0
		for _, e := range c.Trail(t) {
			if e.Action == string(authz.BlockDecide) && e.Outcome == metal.OutcomeSuccess {
				if events++; e.Principal != "system:blocks" || e.Target != "block:198.51.100.7/32" || e.Detail["detection"] != brute {
					t.Errorf("got the event %+v", e)
				}
			}
		}
		if events != 1 {
			t.Errorf("got %d events of the trail, want 1", events)
		}
		clock.Advance(block.DefaultFirst)
		if a.blocks(t, "198.51.100.7") {
			t.Error("the block did not end by itself")
		}
		decide(t, a, evidence("198.51.100.7"))
		if list, err := a.List(admin, 0, 0); err != nil || len(list) != 1 || list[0].Until.Sub(list[0].From) != 4*block.DefaultFirst {
			t.Errorf("the second: got %+v, %v", list, err)
		}
		decide(t, a, evidence("2001:db8:7::7"))
		decide(t, a, evidence("198.51.100.9"))
		st, err := a.Get(admin, 1)
		if err != nil || st.Count != 2 || !strings.Contains(st.Wishes[0].Why, "the most that are allowed") || !a.blocks(t, "2001:db8:7::8") {
			t.Errorf("more than the most: got %+v, %v", st, err)
		}
		// A new service, as after a restart, knows whom to keep out before it does anything else.
		if again := newRegion(c, "region-a", clock.Now); !again.blocks(t, "198.51.100.7") {
			t.Error("the restart opened the door")
		}
	})
}

// What cannot be a reason to block, is none: evidence that proves nothing, a trifle, who logged in from there before.
func TestNoReason(t *testing.T) {
	c := regiontest.New(t, regiontest.NewClock().Now)
	r, admin := newRegion(c, "region-a", regiontest.NewClock().Now), c.Admin(t)
	enforce(t, admin, r, blocks.Change{})
	for name, change := range map[string]func(*block.Evidence){
		"forged":           func(e *block.Evidence) { e.Proves = false },
		"a trifle":         func(e *block.Evidence) { e.Grave = false },
		"known":            func(e *block.Evidence) { e.Known = true },
		"another unit":     func(e *block.Evidence) { e.Unit = spread },
		"loopback":         func(e *block.Evidence) { e.Source = netip.MustParseAddr("127.0.0.1") },
		"nobody":           func(e *block.Evidence) { e.Source = netip.Addr{} },
		"the whole subnet": func(e *block.Evidence) { e.Source = netip.MustParseAddr("255.255.255.255") },
	} {
		e := evidence("198.51.100.7")
		change(&e)
		decide(t, r, e)
		if st, err := r.Get(admin, 10); err != nil || st.Count != 0 {
			t.Errorf("%s: got %+v, %v", name, st, err)
		}
	}
}

// Whom the site needs nobody shuts out, neither a person nor an alert, and both are told why; who is blocked and then comes to be needed is let in again.
func TestSpared(t *testing.T) {
	world(t, func(t *testing.T, c *regiontest.Core, clock *regiontest.Clock, a, b *region) {
		a = newRegion(c, "region-a", clock.Now, block.Need{Prefix: netip.MustParsePrefix("203.0.113.1/32"), What: "a gateway"}, block.Need{Prefix: netip.MustParsePrefix("203.0.113.2/32"), What: "its own"})
		admin := c.Admin(t)
		enforce(t, admin, a, blocks.Change{Never: text("203.0.113.128/25, 2001:db8:99::/48")})
		rack := c.AddRack(t, "rack1", netip.MustParsePrefix("10.0.0.2/24"))
		a.sources = map[string]netip.Addr{rack.ID: netip.MustParseAddr("203.0.113.99"), "removed": netip.MustParseAddr("203.0.113.98")}
		m := &regiontest.Machine{Core: c, Rack: rack, MAC: "52:54:00:00:00:09", IP: netip.MustParseAddr("10.0.0.109")}
		m.Add(t, "web3")
		if err := c.Gate.Observe(rack.Ctx(), gate.SeenLeases, func(tx *store.Tx, now time.Time) error {
			return tx.PutLeases(rack.ID, []metal.Lease{{IP: netip.MustParseAddr("198.51.100.30"), MAC: "52:54:00:00:00:30", Hostname: "leased", Expires: now.Add(time.Hour)}})
		}); err != nil {
			t.Fatal(err)
		}
		session(t, c, "carol", "198.51.100.40")
		if err := b.Service.Decide(context.Background(), block.Evidence{}); err != nil { // nobody
			t.Fatal(err)
		}
		// The other region knows what this one's host needs once that has told.
		runFor(t, a, clock)
		for address, why := range map[string]string{
			"10.0.0.2": "an address of controller", "10.0.0.77": "where racks serve machines", "10.9.0.9": "the BMC of machine web3", "198.51.100.30": "leased by a rack to leased",
			"198.51.100.40": "a session lasts of carol", "203.0.113.1": "a gateway of a region's host", "203.0.113.2": "its own of a region's host", "203.0.113.70": "a proxy that a region trusts",
			"203.0.113.99": "from where rack controller " + rack.ID + " is connected", "203.0.113.200": "as the site's policy says", "2001:db8:99:1::1": "as the site's policy says",
			"192.0.2.10": "from where you ask for this",
		} {
			for _, r := range []*region{a, b} {
				if _, err := r.Add(admin, blocks.Wanted{Address: address, Reason: "x"}); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), why) {
					t.Errorf("%s: got %v, want %q", address, err, why)
				}
				if address == "192.0.2.10" {
					continue // it is the caller's alone
				}
				decide(t, r, evidence(address))
				seen, err := r.Observed(admin, address)
				if err != nil || len(seen) != 1 || !strings.Contains(seen[0].Why, why) {
					t.Errorf("%s by an alert: got %+v, %v, want %q", address, seen, err, why)
				}
			}
		}
		if list, err := a.List(admin, 0, 0); err != nil || len(list) != 0 {
			t.Fatalf("got %+v, %v", list, err)
		}

		decide(t, a, evidence("203.0.113.98"))
		if err := a.Lift(admin, "203.0.113.98", "a test"); err != nil {
			t.Errorf("of a rack that was removed: %v", err)
		}
		decide(t, a, evidence("198.51.100.50"))
		decide(t, a, evidence("198.51.100.51"))
		session(t, c, "carol", "198.51.100.50")
		runFor(t, a, clock)
		list, err := a.List(admin, 0, 0)
		if err != nil || len(list) != 1 || list[0].Prefix.String() != "198.51.100.51/32" || a.blocks(t, "198.51.100.50") {
			t.Errorf("got %+v, %v", list, err)
		}
		if ended, err := a.Ended(admin, 0, 10); err != nil || len(ended) != 2 || ended[0].How != store.BlockLifted || !strings.Contains(ended[0].EndedWhy, "carol") {
			t.Errorf("got %+v, %v", ended, err)
		}
		enforce(t, admin, a, blocks.Change{Never: text("198.51.100.51")})
		if list, err := a.List(admin, 0, 0); err != nil || len(list) != 0 {
			t.Errorf("of a network that is never blocked now: got %+v, %v", list, err)
		}
		if !a.Rack(netip.MustParseAddr("10.0.0.2")) || !a.Rack(netip.MustParseAddr("203.0.113.99")) || a.Rack(netip.MustParseAddr("198.51.100.7")) {
			t.Error("the racks' door is open for the wrong ones")
		}
	})
}

// A block that was made while the clock was ahead does not last until then.
func TestClockSetBack(t *testing.T) {
	clock := regiontest.NewClock()
	c := regiontest.New(t, clock.Now)
	r, admin := newRegion(c, "region-a", clock.Now), c.Admin(t)
	enforce(t, admin, r, blocks.Change{})
	clock.Advance(400 * 24 * time.Hour)
	decide(t, r, evidence("198.51.100.7"))
	clock.Advance(-400 * 24 * time.Hour)
	if _, err := r.Add(admin, blocks.Wanted{Address: "198.51.100.8", Reason: "x", For: "7d"}); err != nil {
		t.Fatal(err)
	}
	runFor(t, r, clock)
	if list, err := r.List(admin, 0, 0); err != nil || len(list) != 1 || list[0].Prefix.String() != "198.51.100.8/32" || r.blocks(t, "198.51.100.7") {
		t.Errorf("got %+v, %v", list, err)
	}
}

// session has somebody be logged in from an address.
func session(t *testing.T, c *regiontest.Core, name, address string) {
	t.Helper()
	c.User(t, name, false)
	if err := c.Gate.Do(authz.AsSystem(context.Background(), "test"), authz.UserLogin, func(call *gate.Call) error {
		u, err := call.Tx().UserByName(name)
		if err != nil {
			return err
		}
		if err := call.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		return call.Tx().AddSession(u.User, metal.Session{Hash: name + address, UserID: u.ID, Address: address, Created: call.Now(), LastSeen: call.Now(), Expires: call.Now().Add(time.Hour)})
	}); err != nil {
		t.Fatal(err)
	}
}

// runFor runs a region until it has done everything that it does now and then.
func runFor(t *testing.T, r *region, clock *regiontest.Clock) {
	t.Helper()
	clock.Advance(2 * time.Minute)
	began := clock.Now()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	r.racks.up = append(r.racks.up, "sentinel") // told at the end of a round, and in its own goroutine
	go func() { defer close(done); r.Run(ctx) }()
	told := func() bool {
		list, err := r.Get(authz.AsSystem(ctx, "test"), 0)
		return err == nil && len(list.Reports) >= 0 && r.racks.list("sentinel").Version == list.Site.Version && r.settled(began)
	}
	for deadline := time.Now().Add(time.Minute); !told(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not get done")
		}
		clock.Advance(time.Second)
	}
	cancel()
	<-done
}

// settled reports whether the region told others what its host needs since a moment.
func (r *region) settled(began time.Time) bool {
	ok := false
	_ = r.Gate.View(authz.AsSystem(context.Background(), "test"), authz.BlockView, func(v *gate.Viewing) error {
		list, err := v.BlockReports()
		for _, x := range list {
			ok = ok || x.Controller == r.Region && !x.Seen.Before(began)
		}
		return err
	})
	return ok
}

// The panic switch lets everybody in, in all regions and on racks, and nobody is blocked until it is switched on.
func TestPanic(t *testing.T) {
	world(t, func(t *testing.T, c *regiontest.Core, clock *regiontest.Clock, a, b *region) {
		admin := c.Admin(t)
		enforce(t, admin, a, blocks.Change{})
		for i := range 5 {
			decide(t, a, evidence(fmt.Sprint("198.51.100.", i+1)))
		}
		b.racks.up = []string{"rack1"}
		runFor(t, b, clock)
		if got := b.racks.list("rack1"); len(got.Blocks) != 5 {
			t.Fatalf("the rack has %+v", got)
		}
		if n, err := a.Clear(admin, "too much"); err != nil || n != 5 || a.blocks(t, "198.51.100.1") || b.blocks(t, "198.51.100.1") {
			t.Errorf("got %d, %v", n, err)
		}
		runFor(t, b, clock)
		if got := b.racks.list("rack1"); len(got.Blocks) != 0 {
			t.Errorf("the rack has %+v", got)
		}
		decide(t, b, evidence("198.51.100.1"))
		_, err := a.Add(admin, blocks.Wanted{Address: "198.51.100.1", Reason: "x"})
		if st, _ := a.Get(admin, 1); st.Count != 0 || !st.Site.Off || st.Site.OffBy != "root" || st.Wishes[0].Why != "blocking is switched off" || !fault.Is(err, fault.Conflict) {
			t.Errorf("got %+v, %v", st, err)
		}
		if err := a.On(admin); err != nil {
			t.Fatal(err)
		}
		decide(t, b, evidence("198.51.100.1"))
		if !a.blocks(t, "198.51.100.1") || fault.KindOf(a.On(admin)) != fault.Conflict {
			t.Error("it is off still")
		}
	})
}

// Racks are told at once, at session start, and asked now and then; what they say is kept for people to see.
func TestSpread(t *testing.T) {
	clock := regiontest.NewClock()
	c := regiontest.New(t, clock.Now)
	r, admin := newRegion(c, regiontest.RegionID, clock.Now), c.Admin(t)
	rack := c.AddRack(t, "rack1", netip.MustParsePrefix("10.0.0.2/24"))
	enforce(t, admin, r, blocks.Change{})
	decide(t, r, evidence("198.51.100.7"))
	hit := netip.MustParsePrefix("198.51.100.7/32")
	r.racks.up, r.racks.reply = []string{rack.ID}, func(string) wire.BlocksResponse {
		return wire.BlocksResponse{How: wire.BlocksNFTables, Refused: []wire.RefusedBlock{{Prefix: hit, Why: "a gateway\n of mine"}}, Problem: "no nft\x1b\u009b\x00"}
	}
	runFor(t, r, clock)
	got := r.racks.list(rack.ID)
	if len(got.Blocks) != 1 || got.Blocks[0].Prefix != hit || !got.Blocks[0].Until.After(clock.Now()) {
		t.Errorf("the rack has %+v", got)
	}
	st, err := r.Get(admin, 0)
	if err != nil || len(st.Reports) != 1 || st.Reports[0].How != wire.BlocksNFTables || st.Reports[0].Behind || st.Reports[0].Problem != "no nft" || len(st.Reports[0].Refused) != 1 || st.Reports[0].Refused[0].Why != "a gateway of mine" {
		t.Errorf("got %+v, %v", st.Reports, err)
	}
	// One that lost its list gets it again when it is asked.
	r.racks.mu.Lock()
	delete(r.racks.has, rack.ID)
	r.racks.mu.Unlock()
	runFor(t, r, clock)
	if got := r.racks.list(rack.ID); len(got.Blocks) != 1 {
		t.Errorf("the rack that lost it has %+v", got)
	}
}

// What the service does with alerts that come in by itself: within two seconds, once for a storm, again for who goes on after the end.
func TestFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := regiontest.New(t, time.Now)
		admin, r := c.Admin(t), newRegion(c, "region-a", time.Now)
		enforce(t, admin, r, blocks.Change{First: text("1m")})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		defer func() { cancel(); <-done }()
		a := &detect.Alert{Unit: brute, Title: "Guesses", Severity: detect.Medium, Proves: true, Client: netip.MustParseAddr("198.51.100.7")}
		for range 10_000 {
			r.Found(a)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !r.wall.Blocks(a.Client) {
			t.Fatal("not blocked within two seconds")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if r.wall.Blocks(a.Client) || r.Active() != 0 {
			t.Error("the block did not end")
		}
		r.Found(a)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if list, err := r.List(admin, 0, 0); err != nil || len(list) != 1 || list[0].Until.Sub(list[0].From) != 4*time.Minute {
			t.Errorf("got %+v, %v", list, err)
		}
	})
}

// An alert that cannot be decided about, since the database does not answer, is decided about when it does.
func TestFoundLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := regiontest.New(t, time.Now)
		admin, r := c.Admin(t), newRegion(c, "region-a", time.Now)
		enforce(t, admin, r, blocks.Change{})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		defer func() { cancel(); <-done }()
		for _, x := range []struct {
			rename, source string
			want           bool
		}{{"block_site RENAME TO gone", "198.51.100.7", false}, {"gone RENAME TO block_site", "198.51.100.8", true}} {
			c.SQL(t, "ALTER TABLE "+x.rename)
			for range 3 {
				r.Found(&detect.Alert{Unit: brute, Title: "Guesses", Severity: detect.Medium, Proves: true, Client: netip.MustParseAddr(x.source)})
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
			for _, source := range []string{"198.51.100.7", x.source} {
				if got := r.wall.Blocks(netip.MustParseAddr(source)); got != x.want {
					t.Errorf("%s: %s is blocked: %v", x.rename, source, got)
				}
			}
		}
	})
}

// Who may do what: administrators all, who audits reads, others nothing.
func TestRoles(t *testing.T) {
	clock := regiontest.NewClock()
	c := regiontest.New(t, clock.Now)
	r := newRegion(c, "region-a", clock.Now)
	for name, ctx := range map[string]context.Context{"a user": c.User(t, "alice", false), "nobody": context.Background(), "a rack": regiontest.RackCtx("abc")} {
		_, add := r.Add(ctx, blocks.Wanted{Address: "198.51.100.7", Reason: "x"})
		_, policy := r.Change(ctx, blocks.Change{Most: text("3")})
		_, off := r.Clear(ctx, "")
		_, list := r.List(ctx, 0, 0)
		_, state := r.Get(ctx, 0)
		for i, err := range []error{add, r.Lift(ctx, "198.51.100.7", ""), r.Lift(ctx, "nobody", ""), policy, off, r.On(ctx), list, state} {
			if !fault.Is(err, fault.Forbidden) {
				t.Errorf("%s, %d: got %v", name, i, err)
			}
		}
	}
	admin := c.Admin(t)
	for address, want := range map[string]fault.Kind{"198.51.100.7": fault.NotFound, "nobody": fault.Invalid} {
		if err := r.Lift(admin, address, ""); !fault.Is(err, want) {
			t.Errorf("%s: got %v", address, err)
		}
	}
}

// A policy that could not be meant is refused, with the field and the remedy.
func TestChange(t *testing.T) {
	c := regiontest.New(t, regiontest.NewClock().Now)
	r, admin := newRegion(c, "region-a", regiontest.NewClock().Now), c.Admin(t)
	for name, x := range map[string]struct {
		blocks.Change
		want string
	}{
		"no proof":        {blocks.Change{Enforce: text(spread)}, "does not prove its source"},
		"no detection":    {blocks.Change{Enforce: text("nope")}, `no detection "nope"`},
		"too long":        {blocks.Change{Longest: text("8d")}, "to 7 days"},
		"nonsense":        {blocks.Change{First: text("soon")}, "such as 90m"},
		"first > longest": {blocks.Change{First: text("2d"), Longest: text("1d")}, "at least as long"},
		"none":            {blocks.Change{Most: text("0")}, "from 1 to"},
		"no network":      {blocks.Change{Never: text("10.0.0.1/8")}, "no network such as"},
		"too many":        {blocks.Change{Never: text(strings.Repeat("192.0.2.1 ", 1001))}, "at most 1000"},
	} {
		if _, err := r.Change(admin, x.Change); !fault.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), x.want) {
			t.Errorf("%s: got %v, want %q", name, err, x.want)
		}
	}
	p, err := r.Change(admin, blocks.Change{Enforce: text(brute + ", " + brute), First: text("5m"), Never: text("192.0.2.0/24\n2001:db8::7 ::ffff:10.0.0.0/104 ::ffff:203.0.113.9")})
	if err != nil || len(p.Enforce) != 1 || p.First != 5*time.Minute || fmt.Sprint(p.Never) != "[192.0.2.0/24 2001:db8::7/128 10.0.0.0/8 203.0.113.9/32]" {
		t.Errorf("got %+v, %v", p, err)
	}
	if p, err = r.Change(admin, blocks.Change{Most: text("7")}); err != nil || len(p.Enforce) != 1 || p.Most != 7 {
		t.Errorf("what is not given stays: got %+v, %v", p, err)
	}
}
