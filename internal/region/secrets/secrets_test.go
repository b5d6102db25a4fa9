package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// memory is a back end elsewhere, in memory.
type memory struct {
	mu    sync.Mutex
	held  map[string]secret.Value
	n     int
	after func(n int) error // of the nth value written
	lies  bool              // reads give something else
}

func (m *memory) Seal(_ context.Context, ref secret.Ref, v secret.Value) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.n++
	id := fmt.Sprintf("%c%d %s", rune(secret.RemoteFormat), m.n, ref)
	m.held[id] = v
	if m.after != nil {
		if err := m.after(m.n); err != nil {
			return nil, err
		}
	}
	return []byte(id), nil
}

func (m *memory) Open(ctx context.Context, ref secret.Ref, sealed []byte) (secret.Value, error) {
	return m.Fetch(ctx, ref, sealed)
}

func (m *memory) Fetch(_ context.Context, _ secret.Ref, sealed []byte) (secret.Value, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lies {
		return secret.FromString("something else"), nil
	}
	v, ok := m.held[string(sealed)]
	if !ok {
		return v, errors.New("gone")
	}
	return v, nil
}

func (m *memory) Peek(_ secret.Ref, sealed []byte) (secret.Value, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.held[string(sealed)]
	return v, ok
}

type fixture struct {
	t *testing.T
	*regiontest.Core
	*secrets.Service
	ctx context.Context
	far *memory
}

var target = authz.Target{Noun: authz.NounSite, ID: "site"}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	c := regiontest.New(t, regiontest.NewClock().Now)
	f := &fixture{t: t, Core: c, far: &memory{held: map[string]secret.Value{}}, ctx: authz.AsSystem(t.Context(), "test"),
		Service: secrets.New(secrets.Config{Gate: c.Gate, Keys: c.Keys, Now: regiontest.NewClock().Now, Log: regiontest.Silent})}
	for i := range 5 {
		f.set(fmt.Sprintf("x/%d", i), fmt.Sprintf("value %d", i))
	}
	return f
}

func (f *fixture) set(name, value string) {
	f.t.Helper()
	err := f.Core.Gate.Do(f.ctx, authz.SiteKeys, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		sealed, err := f.Core.Keys.Seal(secret.Ref(name), secret.FromString(value))
		if err != nil {
			return err
		}
		return c.Tx().PutSecret(target, secret.Ref(name), sealed, c.Now())
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// values opens everything.
func (f *fixture) values() map[string]string {
	f.t.Helper()
	got := map[string]string{}
	f.View(f.t, func(v *store.View) error {
		clear(got)
		rows, err := v.Secrets("", 1000)
		for _, row := range rows {
			value, fail := f.Core.Keys.OpenNow(f.ctx, row.Ref, row.Sealed)
			if fail != nil {
				return fail
			}
			got[string(row.Ref)] = value.RevealString()
		}
		return err
	})
	return got
}

func (f *fixture) where() (database, elsewhere int) {
	f.t.Helper()
	l, err := f.List(f.ctx, "", secrets.MaxList)
	if err != nil {
		f.t.Fatal(err)
	}
	for _, k := range l.Secrets {
		switch {
		case k.Where == secrets.InVault:
			elsewhere++
		default:
			database++
		}
	}
	return database, elsewhere
}

// TestResealBrokenOff breaks the move off at every write, in both ways that a write can end: nothing is lost, and it is finished later.
func TestResealBrokenOff(t *testing.T) {
	f := newFixture(t)
	want := f.values()
	same := func(when string) {
		t.Helper()
		if got := f.values(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s: got %v, want %v", when, got, want)
		}
	}
	away := fault.New(fault.Unavailable, "away")
	f.Core.Keys.Use(f.far, true)
	for n := range len(want) {
		begin := f.far.n
		f.far.after = func(i int) error {
			if i-begin > n/2 {
				return away // it was written, and nobody hears of it
			}
			return nil
		}
		_, err := f.Reseal(f.ctx, nil)
		if database, _ := f.where(); database > 0 && !fault.Is(err, fault.Unavailable) {
			t.Errorf("got %v with %d left in the database", err, database)
		}
		same(fmt.Sprintf("broken off after %d", n/2))
	}
	f.far.after = nil
	var told []int
	if _, err := f.Reseal(f.ctx, func(done, of int) { told = append(told, of-done) }); err != nil || len(told) > 0 && told[len(told)-1] != 0 {
		t.Errorf("got %v, progress %v", err, told)
	}
	if database, elsewhere := f.where(); database != 0 || elsewhere != len(want) {
		t.Errorf("got %d in the database and %d elsewhere", database, elsewhere)
	}
	same("moved")
	f.set("x/1", "new") // goes there at once
	want["x/1"] = "new"
	same("set")

	// And back.
	f.Core.Keys.Use(f.far, false)
	if moved, err := f.Reseal(f.ctx, nil); err != nil || moved != len(want) {
		t.Errorf("moved %d back, %v", moved, err)
	}
	f.Core.Keys.Use(nil, false)
	same("back")
	if moved, err := f.Reseal(f.ctx, nil); err != nil || moved != 0 {
		t.Errorf("moved %d that were where they belong, %v", moved, err)
	}
}

// TestResealVerifies: what reads back as something else does not replace what is there.
func TestResealVerifies(t *testing.T) {
	f := newFixture(t)
	want := f.values()
	f.Core.Keys.Use(f.far, true)
	f.far.lies = true
	if moved, err := f.Reseal(f.ctx, nil); err == nil || moved != 0 {
		t.Errorf("moved %d, %v", moved, err)
	}
	f.Core.Keys.Use(nil, false)
	if got := f.values(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestResealLosesRaces: a value that somebody sets meanwhile stays.
func TestResealLosesRaces(t *testing.T) {
	f := newFixture(t)
	f.Core.Keys.Use(f.far, true)
	f.far.after = func(n int) error {
		if n == 1 {
			f.far.mu.Unlock()
			f.Core.Keys.Use(nil, false)
			for i := range 5 {
				f.set(fmt.Sprintf("x/%d", i), "newer")
			}
			f.Core.Keys.Use(f.far, true)
			f.far.mu.Lock()
		}
		return nil
	}
	if _, err := f.Reseal(f.ctx, nil); err != nil {
		t.Fatal(err)
	}
	for name, value := range f.values() {
		if name[0] == 'x' && value != "newer" {
			t.Errorf("%s is %q: what was set meanwhile is lost", name, value)
		}
	}
}

// TestListShowsNoSecret: to whom may see the configuration, and to nobody else.
func TestListShowsNoSecret(t *testing.T) {
	f := newFixture(t)
	if _, err := f.List(f.User(t, "alice", false), "", 10); !fault.Is(err, fault.Forbidden) {
		t.Errorf("got %v for a user without rights", err)
	}
	var list []secrets.Kept
	admin, after := f.Admin(t), ""
	for more := true; more; {
		l, err := f.List(admin, after, 3)
		if err != nil || len(l.Secrets) == 0 || len(l.Secrets) > 3 || l.Secrets[0].Name <= after {
			t.Fatalf("got %+v, %v", l, err)
		}
		list, more, after = append(list, l.Secrets...), l.More, l.Secrets[len(l.Secrets)-1].Name
	}
	if len(list) != len(f.values()) {
		t.Errorf("got %d secrets, want %d", len(list), len(f.values()))
	}
	for _, k := range list {
		if k.Made.IsZero() || k.Set.Before(k.Made) || k.Where != secrets.InDatabase || !k.Current {
			t.Errorf("got %+v", k)
		}
	}
}
