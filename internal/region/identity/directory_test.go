package identity_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// directories answers for a directory in which nobody has the right password, and remembers who was asked for.
type directories struct {
	asked []string
	err   error
	login metal.ExternalLogin // whose password is "right"

	rechecks atomic.Int32
	panics   bool // when asked about somebody
}

func (d *directories) KeepPasswords(context.Context) (bool, error) { return true, nil }

func (d *directories) CheckPassword(ctx context.Context, name string, password secret.Value) (metal.ExternalLogin, bool, error) {
	if ctx.Done() != nil {
		panic("the question ends with the request: a guess would not count")
	}
	d.asked = append(d.asked, name)
	return d.login, password.RevealString() == "right", d.err
}

func (d *directories) ConfirmPassword(context.Context, metal.ExternalIdentity, secret.Value) (bool, error) {
	return false, d.err
}

func (d *directories) Recheck(context.Context, metal.ExternalIdentity) (metal.ExternalLogin, bool, error) {
	d.rechecks.Add(1)
	if d.panics {
		panic("an answer that nobody expected")
	}
	return d.login, true, d.err
}

// TestDirectoryGuessing holds that few passwords go to a directory, from however many networks: it would lock the account.
// A name of this site is never asked for there, and its own password is right whatever happens there.
func TestDirectoryGuessing(t *testing.T) {
	c, clock := newCore(t)
	d := &directories{}
	c.Identity = identity.New(identity.Config{Gate: c.Gate, Now: clock.Now, Keys: c.Keys, Providers: d})
	create(t, c, "alice")
	for i := range 100 {
		if _, err := login(c, fmt.Sprintf("10.%d.0.1", i), "jane", "wrong"); tried(t, err) != (i < identity.Binds.Subject.Free) {
			t.Errorf("guess %d: got %v", i, err)
		}
	}
	if len(d.asked) != identity.Binds.Subject.Free {
		t.Errorf("the directory was asked %d times", len(d.asked))
	}
	for i := range 12 { // three hours, a guess each quarter
		clock.Advance(identity.Binds.Subject.Forgive + time.Second)
		for range 10 {
			_, err := login(c, fmt.Sprintf("10.%d.1.1", i), "jane", "wrong")
			tried(t, err)
		}
	}
	if n := len(d.asked) - identity.Binds.Subject.Free; n > 12 {
		t.Errorf("the directory was asked %d times in three hours", n)
	}
	clock.Advance(24 * time.Hour)
	d.asked = nil
	for i := range identity.Binds.Subject.Free + 10 {
		_, err := login(c, fmt.Sprintf("10.%d.0.1", i), "alice", "wrong")
		tried(t, err)
	}
	if len(d.asked) != identity.Binds.Subject.Free || strings.Contains(strings.Join(d.asked, " "), "alice") {
		t.Errorf("the directory was asked for %q", d.asked)
	}
	if _, err := login(c, "198.51.100.1", "alice", password); err != nil {
		t.Errorf("got %v", err)
	}
	if n := len(d.asked); n != identity.Binds.Subject.Free {
		t.Errorf("a right password went on to the directory: %q", d.asked)
	}
	// However it is written, it is one account to a directory.
	d.asked = nil
	for i, name := range []string{"joe.doe", "JOE.doe", " joe.doe", "Joe. Doe", "joe.do\u00eb", "\uff4aoe.doe", "joe.d\u00adoe"} {
		_, err := login(c, fmt.Sprintf("10.%d.2.1", i), name, "wrong")
		tried(t, err)
	}
	if len(d.asked) != identity.Binds.Subject.Free {
		t.Errorf("the directory was asked for %q", d.asked)
	}
	// When it cannot be asked, nothing tells whose name is local; guesses count all the same.
	clock.Advance(24 * time.Hour)
	d.err = fault.New(fault.Unavailable, "x")
	for _, name := range []string{"alice", "jane"} {
		for i := range 8 {
			_, err := login(c, "192.0.2.7", name, "wrong")
			if want := []fault.Kind{fault.Unavailable, fault.Exhausted}[min(1, i/5)]; !fault.Is(err, want) {
				t.Errorf("%s, guess %d: got %v, want %v", name, i, err, want)
			}
		}
		clock.Advance(24 * time.Hour)
	}
	if _, err := login(c, "192.0.2.7", "alice", password); err != nil {
		t.Errorf("got %v", err)
	}
}

// TestRecheckOnce holds that of all who come when what a directory said is old, one asks, and that while it cannot be asked
// it is left alone for a minute.
func TestRecheckOnce(t *testing.T) {
	c, clock := newCore(t)
	p := metal.Provider{Kind: metal.ProviderLDAP, Name: "Staff", Issuer: "ldap:x", CreateUsers: true, Enabled: true, Created: clock.Now()}
	err := c.Gate.Do(authz.AsSystem(t.Context(), "test"), authz.ProviderEdit, func(g *gate.Call) error {
		if err := g.Require(store.ProviderTarget(0)); err != nil {
			return err
		}
		return g.Tx().AddProvider(&p)
	})
	if err != nil {
		t.Fatal(err)
	}
	d := &directories{login: metal.ExternalLogin{ProviderID: p.ID, Issuer: p.Issuer, Subject: "1", Name: "jane"}}
	c.Identity = identity.New(identity.Config{Gate: c.Gate, Now: clock.Now, Keys: c.Keys, Providers: d})
	in, err := c.Identity.Login(authz.WithOrigin(t.Context(), authz.Origin{Source: "192.0.2.1"}), "jane", secret.FromString("right"))
	if err != nil || in.Cookie.Empty() {
		t.Fatalf("got %v, %v", in, err)
	}
	all := func(n int) {
		t.Helper()
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if who, err := c.Identity.Alive(context.Background(), in.Cookie); err != nil || who.Name != "jane" {
					t.Errorf("got %+v, %v", who, err)
				}
			})
		}
		wg.Wait()
	}
	all(1)
	if d.rechecks.Load() != 0 {
		t.Error("the directory was asked within the hour")
	}
	keep := func(after time.Duration) { // the session is in use all the time
		for ; after > 0; after -= 10 * time.Minute {
			clock.Advance(min(after, 10*time.Minute))
			if _, err := c.Identity.Session(context.Background(), in.Cookie); err != nil {
				t.Fatal(err)
			}
		}
	}
	keep(time.Hour)
	clock.Advance(time.Minute)
	all(40)
	if n := d.rechecks.Load(); n != 1 {
		t.Errorf("the directory was asked %d times", n)
	}
	d.err = fault.New(fault.Unavailable, "x")
	keep(time.Hour)
	clock.Advance(time.Minute)
	for range 3 {
		all(10)
		clock.Advance(30 * time.Second)
	}
	if n := d.rechecks.Load(); n != 3 { // at the hour, and a minute later
		t.Errorf("the directory was asked %d times", n)
	}
	// Whoever waits for an answer gets one, also when there is a bug.
	clock.Advance(time.Minute)
	d.panics = true
	func() {
		defer func() { _ = recover() }()
		_, _ = c.Identity.Alive(context.Background(), in.Cookie)
	}()
	all(10)
}
