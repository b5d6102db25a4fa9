package gate_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/audit"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
)

func TestMain(m *testing.M) { regiontest.Main(m) }

// door is a gate over a store of its own.
type door struct {
	t       testing.TB
	g       *gate.Gate
	r       *store.Reader
	w       *store.Writer
	clock   *regiontest.Clock
	changed [][]authz.Target
}

func newDoor(t testing.TB, dsn string) *door {
	t.Helper()
	r, w, err := store.Open(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Close(), w.Close()); err != nil {
			t.Error(err)
		}
	})
	d := &door{t: t, r: r, w: w, clock: regiontest.NewClock()}
	d.g = gate.New(gate.Config{Region: regiontest.RegionID, Reader: r, Writer: w, Log: regiontest.Silent, Now: d.clock.Now, Key: key,
		Changed: func(x []authz.Target) { d.changed = append(d.changed, x) }})
	return d
}

var (
	key   = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	root  = authz.With(origin("192.0.2.1"), authz.Principal{Kind: authz.User, Name: "root", Rights: authz.Everything()})
	alice = authz.With(origin("192.0.2.2"), authz.Principal{Kind: authz.User, Name: "alice"})
)

func origin(source string) context.Context {
	return authz.WithOrigin(context.Background(), authz.Origin{Source: source, RequestID: "req"})
}

// trail is the trail, oldest first.
func (d *door) trail() (list []metal.AuditEvent) {
	d.t.Helper()
	err := d.r.View(context.Background(), func(v *store.View) error {
		rows, err := v.AuditEvents(store.AuditQuery{Limit: 1 << 20})
		for _, r := range slices.Backward(rows) {
			list = append(list, r.AuditEvent)
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

// last is the newest event, after checking that a call left exactly one.
func (d *door) one(before int) metal.AuditEvent {
	d.t.Helper()
	list := d.trail()
	if len(list) != before+1 {
		d.t.Fatalf("got %d audit events, want exactly one", len(list)-before)
	}
	return list[len(list)-1]
}

func (d *door) pools() (names []string) {
	d.t.Helper()
	if err := d.r.View(context.Background(), func(v *store.View) error {
		list, err := v.Pools()
		for _, p := range list {
			names = append(names, p.Name)
		}
		return err
	}); err != nil {
		d.t.Fatal(err)
	}
	return names
}

func addPool(name string) func(*gate.Call) error {
	return func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounPool}); err != nil {
			return err
		}
		c.Note("name", name)
		return c.Tx().AddPool(&metal.ResourcePool{Name: name})
	}
}

// TestOneEvent holds every way that a call can end to exactly one audit event, and to what is stored.
func TestOneEvent(t *testing.T) {
	boom := errors.New("disk on fire, password hunter2")
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		d := newDoor(t, dsn)
		for _, c := range []struct {
			name    string
			ctx     context.Context
			action  authz.Action
			fn      func(*gate.Call) error
			kind    fault.Kind
			fails   bool
			outcome string
			target  string
		}{
			{name: "success", ctx: root, action: authz.PoolEdit, fn: addPool("kept"), outcome: metal.OutcomeSuccess, target: "pool"},
			{name: "denied by policy", ctx: alice, action: authz.PoolEdit, fn: addPool("refused"), fails: true, kind: fault.Forbidden, outcome: metal.OutcomeDenied, target: "pool"},
			{name: "hidden", ctx: alice, action: authz.MachineRelease, fn: func(c *gate.Call) error {
				return c.Require(authz.Target{Noun: authz.NounMachine, ID: "m", Owner: "bob"})
			}, fails: true, kind: fault.NotFound, outcome: metal.OutcomeDenied, target: "machine:m"},
			{name: "unknown action", ctx: root, action: "pool.explode", fn: addPool("refused"), fails: true, kind: fault.Forbidden, outcome: metal.OutcomeDenied, target: "pool"},
			{name: "bad credentials", ctx: root, action: authz.UserLogin, fn: func(*gate.Call) error { return fault.New(fault.Unauthenticated, "no") }, fails: true, kind: fault.Unauthenticated, outcome: metal.OutcomeDenied},
			{name: "forbidden by the service", ctx: root, action: authz.FirstAdmin, fn: func(*gate.Call) error { return fault.New(fault.Forbidden, "no") }, fails: true, kind: fault.Forbidden, outcome: metal.OutcomeDenied},
			{name: "invalid", ctx: root, action: authz.PoolEdit, fn: func(c *gate.Call) error {
				return errors.Join(addPool("half")(c), fault.Field("name", "Taken."))
			}, fails: true, kind: fault.Invalid, outcome: metal.OutcomeFailed, target: "pool"},
			{name: "our defect", ctx: root, action: authz.PoolEdit, fn: func(c *gate.Call) error { return errors.Join(addPool("half")(c), boom) }, fails: true, kind: fault.Internal, outcome: metal.OutcomeFailed, target: "pool"},
			{name: "nothing required", ctx: root, action: authz.PoolEdit, fn: func(c *gate.Call) error { return nil }, fails: true, kind: fault.Internal, outcome: metal.OutcomeFailed},
			{name: "undeclared noun", ctx: root, action: authz.ZoneEdit, fn: addPool("half"), fails: true, kind: fault.Internal, outcome: metal.OutcomeFailed, target: "pool"},
			{name: "required another", ctx: root, action: authz.PoolEdit, fn: func(c *gate.Call) error {
				if err := c.Require(store.PoolTarget(7)); err != nil {
					return err
				}
				return c.Tx().AddPool(&metal.ResourcePool{Name: "half"})
			}, fails: true, kind: fault.Internal, outcome: metal.OutcomeFailed, target: "pool:7"},
			{name: "uniqueness", ctx: root, action: authz.PoolEdit, fn: addPool("kept"), fails: true, kind: fault.Conflict, outcome: metal.OutcomeFailed, target: "pool"},
		} {
			before, notified := len(d.trail()), len(d.changed)
			err := d.g.Do(c.ctx, c.action, c.fn)
			e := d.one(before)
			if c.fails != (err != nil) || err != nil && fault.KindOf(err) != c.kind {
				t.Errorf("%s: got error %v, want kind %s", c.name, err, c.kind)
			}
			if e.Outcome != c.outcome || e.Action != string(c.action) || e.Target != c.target || e.RequestID != "req" || e.Region != regiontest.RegionID || !e.Time.Equal(d.clock.Now()) {
				t.Errorf("%s: got event %+v, want outcome %s of %q", c.name, e, c.outcome, c.target)
			}
			if strings.Contains(fmt.Sprint(e), "hunter2") {
				t.Errorf("%s: the trail shows what is for operators: %v", c.name, e.Detail)
			}
			if (len(d.changed) > notified) == c.fails {
				t.Errorf("%s: told of a change: %v", c.name, len(d.changed) > notified)
			}
		}
		if got := d.pools(); !cmp.Equal(got, []string{"default", "kept"}) {
			t.Errorf("got pools %v: something of a refused call is stored", got)
		}
	})
}

// TestRetry repeats a call that collides: one event, one change, hooks once and only after the commit.
func TestRetry(t *testing.T) {
	for _, c := range []struct {
		name       string
		collisions int
		want       []string
	}{{"third time", 2, []string{"default", "run3"}}, {"never", 1000, []string{"default"}}} {
		d := newDoor(t, regiontest.SQLite(t))
		runs, hooks := 0, 0
		err := d.g.Do(root, authz.PoolEdit, func(call *gate.Call) error {
			runs++
			call.After(func() { hooks++ })
			if err := addPool(fmt.Sprint("run", runs))(call); err != nil {
				return err
			}
			if runs <= c.collisions {
				return &pgconn.PgError{Code: "40001"}
			}
			if hooks > 0 {
				t.Errorf("%s: a hook ran before the commit", c.name)
			}
			return nil
		})
		e, failed := d.one(0), len(c.want) == 1
		if (err != nil) != failed || failed != (e.Outcome == metal.OutcomeFailed) {
			t.Errorf("%s: got %v and outcome %s", c.name, err, e.Outcome)
		}
		if failed && runs > 20 || !failed && (hooks != 1 || e.Detail["name"] != "run3") || failed && hooks != 0 {
			t.Errorf("%s: got %d runs, %d hooks, detail %v", c.name, runs, hooks, e.Detail)
		}
		if got := d.pools(); !cmp.Equal(got, c.want) {
			t.Errorf("%s: got pools %v, want %v", c.name, got, c.want)
		}
	}
}

// TestRealCollisions has calls collide on a real PostgreSQL: one event each, hooks once each, nothing lost.
func TestRealCollisions(t *testing.T) {
	d := newDoor(t, regiontest.Postgres(t))
	d.g = gate.New(gate.Config{Region: regiontest.RegionID, Reader: d.r, Writer: d.w, Log: regiontest.Silent, Now: d.clock.Now, Key: key})
	const callers, rounds = 6, 8
	var wg sync.WaitGroup
	var mu sync.Mutex
	hooks, runs := 0, 0
	for range callers {
		wg.Go(func() {
			for range rounds {
				err := d.g.Do(root, authz.SettingEdit, func(c *gate.Call) error {
					mu.Lock()
					runs++
					mu.Unlock()
					if err := c.Require(authz.Target{Noun: authz.NounSetting, ID: "node_timeout"}); err != nil {
						return err
					}
					n, err := c.Tx().SettingInt("node_timeout")
					if err != nil {
						return err
					}
					c.After(func() { mu.Lock(); defer mu.Unlock(); hooks++ })
					return c.Tx().PutSetting("node_timeout", fmt.Sprint(n+1))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	if err := d.r.View(context.Background(), func(v *store.View) (err error) { n, err = v.SettingInt("node_timeout"); return err }); err != nil {
		t.Fatal(err)
	}
	if events := len(d.trail()); n != 30+callers*rounds || events != callers*rounds || hooks != callers*rounds {
		t.Errorf("got the number raised by %d, %d events, %d hooks; want %d of each", n-30, events, hooks, callers*rounds)
	}
	t.Logf("%d calls ran %d times", callers*rounds, runs)
}

// TestPanic rolls back and leaves the door open for the next.
func TestPanic(t *testing.T) {
	d := newDoor(t, regiontest.SQLite(t))
	hooks := 0
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = d.g.Do(root, authz.PoolEdit, func(c *gate.Call) error {
			c.After(func() { hooks++ })
			_ = addPool("half")(c)
			panic("defect")
		})
	}()
	if got := d.pools(); hooks != 0 || len(got) != 1 {
		t.Errorf("got pools %v and %d hooks after a panic", got, hooks)
	}
	e := d.one(0)
	if e.Outcome != metal.OutcomeFailed || e.Action != string(authz.PoolEdit) {
		t.Errorf("got event %+v of a panic", e)
	}
	if err := d.g.Do(root, authz.PoolEdit, addPool("next")); err != nil {
		t.Error(err)
	}
}

// TestCallerGone records a call whose caller went away: the event is written all the same.
func TestCallerGone(t *testing.T) {
	d := newDoor(t, regiontest.SQLite(t))
	ctx, cancel := context.WithCancel(root)
	err := d.g.Do(ctx, authz.PoolEdit, func(c *gate.Call) error { cancel(); return addPool("half")(c) })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if e := d.one(0); e.Outcome != metal.OutcomeFailed || len(d.pools()) != 1 {
		t.Errorf("got event %+v and pools %v", e, d.pools())
	}
}

// step is one change in a random call, with what it touches: the model that the gate is held against.
type step struct {
	name    string
	do      func(tx *store.Tx) error
	touched []touch
}

type touch struct {
	noun    authz.Noun
	id      string
	pool    int64
	created bool
}

// TestOnlyWhatIsRequired runs random calls with random requirements: a call commits if and only if each object
// that it touched, as it was before and as it is after, was required under its noun, id and pool, or made in a
// pool where making one was required, and its action declares the noun.
func TestOnlyWhatIsRequired(t *testing.T) {
	d := newDoor(t, regiontest.SQLite(t))
	pools := []int64{metal.DefaultPoolID}
	if err := d.g.Do(root, authz.PoolEdit, func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounPool}); err != nil {
			return err
		}
		for _, name := range []string{"alpha", "beta"} {
			p := metal.ResourcePool{Name: name}
			if err := c.Tx().AddPool(&p); err != nil {
				return err
			}
			pools = append(pools, p.ID)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	newMachine := func(pool int64) metal.Machine {
		id := metal.NewSystemID()
		return metal.Machine{SystemID: id, Hostname: id, PoolID: pool, ZoneID: metal.DefaultZoneID}
	}
	var ids []string
	for _, pool := range pools {
		if err := d.g.Do(root, authz.MachineCreate, func(c *gate.Call) error {
			m := newMachine(pool)
			if err := c.Require(store.MachineTarget(m)); err != nil {
				return err
			}
			ids = append(ids, m.SystemID)
			return c.Tx().AddMachine(&m)
		}); err != nil {
			t.Fatal(err)
		}
	}
	all := func() (list []metal.Machine) {
		if err := d.r.View(context.Background(), func(v *store.View) (err error) {
			list, err = v.Machines(store.MachineQuery{Filter: authz.AllMachines})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return list
	}
	revisions := func() string {
		var b strings.Builder
		for _, m := range all() {
			fmt.Fprintf(&b, "%s %d %d\n", m.SystemID, m.PoolID, m.Revision)
		}
		return b.String() + strings.Join(d.pools(), " ")
	}
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		action := rapid.SampledFrom([]authz.Action{authz.MachineUpdate, authz.MachineCreate, authz.PoolEdit, authz.ZoneEdit, authz.MachineDeploy, authz.PoolView}).Draw(rt, "action")
		where := map[string]int64{} // pool of each machine as the call goes on
		for _, m := range all() {
			where[m.SystemID] = m.PoolID
		}
		names := append([]string(nil), ids...) // machines that the call may change
		var steps []step
		for range rapid.IntRange(0, 5).Draw(rt, "steps") {
			switch rapid.SampledFrom([]string{"edit", "move", "add", "event", "pool", "zone"}).Draw(rt, "kind") {
			case "edit":
				id := rapid.SampledFrom(names).Draw(rt, "machine")
				steps = append(steps, step{"edit", func(tx *store.Tx) error { m, err := tx.Machine(id); return errors.Join(err, tx.PutMachine(m)) },
					[]touch{{authz.NounMachine, id, where[id], false}}})
			case "event":
				id := rapid.SampledFrom(names).Draw(rt, "machine")
				steps = append(steps, step{"event", func(tx *store.Tx) error { return tx.AddEvent(metal.Event{SystemID: id, Level: metal.LevelDebug}) },
					[]touch{{authz.NounMachine, id, where[id], false}}})
			case "move":
				id, pool := rapid.SampledFrom(names).Draw(rt, "machine"), rapid.SampledFrom(pools).Draw(rt, "to")
				steps = append(steps, step{"move", func(tx *store.Tx) error {
					m, err := tx.Machine(id)
					m.PoolID = pool
					return errors.Join(err, tx.PutMachine(m))
				}, []touch{{authz.NounMachine, id, where[id], false}, {authz.NounMachine, id, pool, false}}})
				where[id] = pool
			case "add":
				m := newMachine(rapid.SampledFrom(pools).Draw(rt, "in"))
				steps = append(steps, step{"add", func(tx *store.Tx) error { c := m; return tx.AddMachine(&c) }, []touch{{authz.NounMachine, m.SystemID, m.PoolID, true}}})
				where[m.SystemID] = m.PoolID
				names = append(names, m.SystemID)
			case "pool":
				id := pools[1]
				n++
				name := fmt.Sprint("alpha", n)
				steps = append(steps, step{"pool", func(tx *store.Tx) error { return tx.PutPool(metal.ResourcePool{ID: id, Name: name}) }, []touch{{authz.NounPool, authz.ID(id), 0, false}}})
			case "zone":
				n++
				name := fmt.Sprint("zone", n)
				steps = append(steps, step{"zone", func(tx *store.Tx) error { return tx.AddZone(&metal.Zone{Name: name}) }, []touch{{authz.NounZone, "*", 0, true}}})
			}
		}
		// Requirements: mostly of what is touched, sometimes with one left out, sometimes others.
		var required []authz.Target
		for _, s := range steps {
			for _, x := range s.touched {
				if rapid.IntRange(0, 9).Draw(rt, "skip") == 0 {
					continue
				}
				target := authz.Target{Noun: x.noun, ID: x.id, Pool: x.pool}
				if x.created && (x.id == "*" || rapid.Bool().Draw(rt, "by kind")) {
					target.ID = ""
				}
				required = append(required, target)
			}
		}
		for range rapid.IntRange(0, 2).Draw(rt, "others") {
			required = append(required, authz.Target{Noun: rapid.SampledFrom([]authz.Noun{authz.NounMachine, authz.NounPool, authz.NounZone}).Draw(rt, "noun"),
				ID: rapid.SampledFrom(append([]string{"", "1"}, ids...)).Draw(rt, "id"), Pool: rapid.SampledFrom(pools).Draw(rt, "pool")})
		}
		allowed := len(required) > 0
		for _, x := range required {
			allowed = allowed && authz.Decide(authz.From(root), action, x) == authz.Allow
		}
		made := map[touch]bool{}
		for _, s := range steps {
			for _, x := range s.touched {
				exact, kind := false, false
				for _, r := range required {
					same := r.Noun == x.noun && r.Pool == x.pool
					exact = exact || same && r.ID == x.id
					kind = kind || same && r.ID == ""
				}
				here := touch{x.noun, x.id, x.pool, false}
				if x.created && (exact || kind) {
					made[here] = true
				}
				allowed = allowed && authz.MayTouch(action, x.noun) && (exact || x.created && kind || made[here])
			}
		}
		before, events := revisions(), len(d.trail())
		hooks := 0
		err := d.g.Do(root, action, func(c *gate.Call) error {
			c.After(func() { hooks++ })
			for _, x := range required {
				if err := c.Require(x); err != nil {
					return err
				}
			}
			for _, s := range steps {
				if err := s.do(c.Tx()); err != nil {
					rt.Fatalf("%s: %v", s.name, err)
				}
			}
			return nil
		})
		if (err == nil) != allowed {
			rt.Errorf("got %v, want allowed %v: action %s, steps %+v, required %+v", err, allowed, action, steps, required)
		}
		if (hooks == 1) != allowed || hooks > 1 {
			rt.Errorf("hooks ran %d times, allowed %v", hooks, allowed)
		}
		if after := revisions(); !allowed && after != before {
			rt.Errorf("something of a refused call is stored:\n%s", cmp.Diff(before, after))
		}
		list := d.trail()
		if len(list) != events+1 || (list[len(list)-1].Outcome == metal.OutcomeSuccess) != allowed {
			rt.Errorf("got %d events, want one that fits allowed %v", len(list)-events, allowed)
		}
	})
}

// TestPoolMove needs rights on where a machine comes from and on where it goes.
func TestPoolMove(t *testing.T) {
	d := newDoor(t, regiontest.SQLite(t))
	var pool int64
	m := metal.Machine{SystemID: metal.NewSystemID(), Hostname: "m", ZoneID: metal.DefaultZoneID}
	for _, err := range []error{
		d.g.Do(root, authz.PoolEdit, func(c *gate.Call) error {
			p := metal.ResourcePool{Name: "alpha"}
			err := errors.Join(c.Require(authz.Target{Noun: authz.NounPool}), c.Tx().AddPool(&p))
			pool = p.ID
			return err
		}),
		d.g.Do(root, authz.MachineCreate, func(c *gate.Call) error {
			return errors.Join(c.Require(store.MachineTarget(m)), c.Tx().AddMachine(&m))
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	from, to := store.MachineTarget(m), store.MachineTarget(m)
	to.Pool = pool
	for name, c := range map[string]struct {
		required []authz.Target
		ok       bool
	}{"from alone": {[]authz.Target{from}, false}, "to alone": {[]authz.Target{to}, false}, "both": {[]authz.Target{from, to}, true}} {
		err := d.g.Do(root, authz.MachineUpdate, func(call *gate.Call) error {
			for _, x := range c.required {
				if err := call.Require(x); err != nil {
					return err
				}
			}
			moved := m
			moved.PoolID = pool
			if err := call.Tx().PutMachine(moved); err != nil || !c.ok {
				return err
			}
			return call.Tx().PutMachine(m) // and back, for the next case
		})
		if (err == nil) != c.ok {
			t.Errorf("%s: got %v, want allowed %v", name, err, c.ok)
		}
	}
}

// TestObserve refuses principals and changes that observations are not for.
func TestObserve(t *testing.T) {
	d := newDoor(t, regiontest.SQLite(t))
	who := map[authz.Kind]context.Context{authz.User: root, authz.Anonymous: origin("x"), authz.System: authz.AsSystem(context.Background(), "t"),
		authz.Rack: authz.With(context.Background(), authz.Principal{Kind: authz.Rack, Name: "r"}), authz.Machine: authz.With(context.Background(), authz.Principal{Kind: authz.Machine, Name: "m"})}
	may := map[gate.Observation]authz.Kind{gate.SeenController: authz.Rack, gate.SeenLeases: authz.Rack, gate.SeenPower: authz.System, gate.SeenOutput: authz.Machine,
		gate.SeenSession: authz.System, gate.SeenText: authz.System, gate.SeenAge: authz.System, "anything": ""}
	for o, kind := range may {
		for k, ctx := range who {
			ran := false
			err := d.g.Observe(ctx, o, func(*store.Tx, time.Time) error { ran = true; return nil })
			if want := k == kind; ran != want || (err == nil) != want || err != nil && !fault.Is(err, fault.Forbidden) {
				t.Errorf("%q by %s: ran %v, %v; want %v", o, k, ran, err, want)
			}
		}
	}
	err := d.g.Observe(who[authz.System], gate.SeenPower, func(tx *store.Tx, _ time.Time) error { return tx.PutPool(metal.ResourcePool{ID: 0, Name: "stolen"}) })
	if !fault.Is(err, fault.Internal) || err == nil || d.pools()[0] != "default" {
		t.Errorf("an observation changed an object: %v, %v", err, d.pools())
	}
	if n := len(d.trail()); n != 0 {
		t.Errorf("observations left %d audit events", n)
	}
}

// TestView holds reads to the action and to the principal.
func TestView(t *testing.T) {
	d := newDoor(t, regiontest.SQLite(t))
	for name, c := range map[string]struct {
		ctx    context.Context
		action authz.Action
		want   bool
	}{
		"a user":          {alice, authz.PoolView, true},
		"a stranger":      {origin("x"), authz.PoolView, false},
		"not for a user":  {alice, authz.TrailView, false},
		"unknown action":  {root, "pool.look", false},
		"public":          {origin("x"), authz.PublicView, true},
		"a system's read": {authz.AsSystem(context.Background(), "x"), authz.UserView, true},
	} {
		ran := false
		err := d.g.View(c.ctx, c.action, func(v *gate.Viewing) error {
			ran = true
			if v.Principal() != authz.From(c.ctx) || !v.Now().Equal(d.clock.Now()) {
				t.Errorf("%s: got principal %v at %v", name, v.Principal(), v.Now())
			}
			return nil
		})
		if ran != c.want || (err == nil) != c.want {
			t.Errorf("%s: ran %v, %v; want %v", name, ran, err, c.want)
		}
	}
	err := d.g.View(alice, authz.MachineView, func(v *gate.Viewing) error {
		return v.Require(authz.Target{Noun: authz.NounMachine, ID: "m", Owner: "bob"})
	})
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v for another's machine, want NotFound", err)
	}
}

// TestNoise bounds what strangers write: ten rows an hour and source, and of each kind of security event, then one with the count.
func TestNoise(t *testing.T) {
	d := newDoor(t, regiontest.SQLite(t))
	ctx := origin("203.0.113.9")
	for range 40 {
		d.g.Denied(ctx, authz.UserLogin, fault.New(fault.Unauthenticated, "no"))
	}
	for range 20 {
		_ = d.g.Do(ctx, authz.UserLogin, func(c *gate.Call) error { return fault.New(fault.Unauthenticated, "no") })
		d.g.Security(ctx, "key_exposed", nil)
	}
	d.g.Denied(origin("203.0.113.10"), authz.UserLogin, fault.New(fault.Unauthenticated, "no"))
	for range 30 { // one who is known is never noise
		_ = d.g.Do(alice, authz.PoolEdit, addPool("x"))
	}
	if n := len(d.trail()); n != 10+10+1+30 {
		t.Fatalf("got %d rows, want 10 and 10 of the one source, 1 of the other, 30 of the user", n)
	}
	run, cancel := context.WithCancel(context.Background())
	cancel()
	d.g.Run(run) // the last round seals, and writes what was counted in the hour that has not ended
	list := d.trail()
	counts := map[string]string{}
	for _, e := range list[51:] {
		counts[e.Detail["event"]] = e.Detail["count"]
		if e.Source != "203.0.113.9" || e.Principal != "anonymous" {
			t.Errorf("got %+v", e)
		}
	}
	if want := map[string]string{"": "50", "key_exposed": "10"}; !maps.Equal(counts, want) {
		t.Errorf("got %v, want %v", counts, want)
	}
	d.g.Denied(ctx, authz.UserLogin, fault.New(fault.Unauthenticated, "no"))
	if n := len(d.trail()); n != 54 {
		t.Errorf("got %d rows, want one of the new hour", n)
	}
	if _, err := audit.Verify(context.Background(), d.r, key.Public().(ed25519.PublicKey)); err != nil {
		t.Error(err)
	}
}

// TestSecurity records what an operator should see.
func TestSecurity(t *testing.T) {
	d := newDoor(t, regiontest.SQLite(t))
	d.g.Security(alice, "key_exposed", map[string]string{"path": "/x\x1b"})
	e := d.one(0)
	if e.Action != string(authz.SecurityEvent) || e.Detail["event"] != "key_exposed" || e.Detail["path"] != "/x" || e.Principal != "user:alice" || e.Outcome != metal.OutcomeDenied {
		t.Errorf("got %+v", e)
	}
}

// TestRun seals within a second of the clock.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoor(t, regiontest.SQLite(t))
		run, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); d.g.Run(run) }()
		if err := d.g.Do(root, authz.PoolEdit, addPool("x")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if e := d.one(0); e.Sequence != 1 || e.Hash == "" {
			t.Errorf("got %+v, want it sealed", e)
		}
		cancel()
		<-done
	})
}
