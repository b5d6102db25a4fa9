package identity_test

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// tried reports whether an attempt was compared, by its error.
func tried(t testing.TB, err error) bool {
	t.Helper()
	f, ok := fault.As(err)
	switch {
	case ok && f.Kind == fault.Unauthenticated:
		return true
	case ok && f.Kind == fault.Exhausted && f.RetryAfter > 0:
		return false
	}
	t.Fatalf("got %v, want Unauthenticated, or Exhausted with the time to wait", err)
	return false
}

// TestGuessing makes 1,000 wrong logins in each of three ways, one a second. Few are compared, and the owner logs
// in from another network in the middle of it.
func TestGuessing(t *testing.T) {
	for _, x := range []struct {
		name      string
		who, from func(i int) string
		most      int
	}{
		{"1,000 at one account from one address", func(int) string { return "alice" }, func(int) string { return "192.0.2.66" }, 17},
		{"1,000 at one account from 1,000 addresses of one /64", func(int) string { return "alice" }, func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) }, 17},
		{"one password at 1,000 accounts from one address", func(i int) string { return map[bool]string{true: "alice", false: fmt.Sprint("user", i)}[i%10 == 0] }, func(int) string { return "192.0.2.66" }, 42},
	} {
		t.Run(x.name, func(t *testing.T) {
			c, clock := newCore(t)
			create(t, c, "alice")
			compared := 0
			for i := range 1000 {
				if _, err := login(c, x.from(i), x.who(i), "Spring2027!Spring"); tried(t, err) {
					compared++
				}
				if i%250 == 0 {
					if _, err := login(c, "198.51.100.1", "alice", password); err != nil {
						t.Fatalf("after %d guesses the owner cannot log in from another network: %v", i+1, err)
					}
				}
				clock.Advance(time.Second)
			}
			t.Logf("%d of 1,000 were compared", compared)
			if compared > x.most {
				t.Errorf("%d of 1,000 were compared, want at most %d", compared, x.most)
			}
			alarms := 0
			for _, e := range c.Trail(t) {
				if e.Action == string(authz.SecurityEvent) && e.Detail["event"] == "authn_login_fail_max" {
					alarms++
				}
			}
			if alarms == 0 {
				t.Error("the trail has no alarm")
			}
		})
	}
}

// TestGuessingAtOnce bounds guesses that come at the same moment, too.
func TestGuessingAtOnce(t *testing.T) {
	c, _ := newCore(t)
	create(t, c, "alice")
	var wg sync.WaitGroup
	var mu sync.Mutex
	compared := 0
	for range 60 {
		wg.Go(func() {
			_, err := login(c, "192.0.2.66", "alice", "wrong")
			mu.Lock()
			defer mu.Unlock()
			if fault.Is(err, fault.Unauthenticated) {
				compared++
			} else if !fault.Is(err, fault.Exhausted) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if compared != 5 {
		t.Errorf("%d of 60 guesses were compared, want 5", compared)
	}
}

// TestUnknownUsers cost as much as known ones: the same number of hashes with the same parameters, the same
// answers, the same waits.
func TestUnknownUsers(t *testing.T) {
	c, clock := newCore(t)
	create(t, c, "alice")
	for i := range 30 {
		_, known := login(c, "192.0.2.66", "alice", "wrong")
		_, unknown := login(c, "192.0.2.166", "nobody", "wrong")
		a, _ := fault.As(known)
		b, ok := fault.As(unknown)
		if !ok || a.Kind != b.Kind || a.Message != b.Message || a.RetryAfter != b.RetryAfter {
			t.Fatalf("attempt %d: got %v for a known user, %v for an unknown one", i, known, unknown)
		}
		clock.Advance(time.Duration(i) * time.Second)
	}
	if known, unknown := identity.HashWork(storedHash(t, c, "alice")), identity.HashWork(identity.Dummy); known != unknown || known == "" {
		t.Errorf("got work %q for a known user, %q for an unknown one", known, unknown)
	}
}

// TestWrongTokens slows wrong API keys and links down, and nobody elsewhere.
func TestWrongTokens(t *testing.T) {
	c, clock := newCore(t)
	k, err := c.Identity.CreateKey(c.User(t, "alice", false), identity.NewKey{Name: "k"})
	if err != nil {
		t.Fatal(err)
	}
	stamp := func() string { return fmt.Sprint(clock.Now().Unix()) }
	ask := func(source string, change map[string]string) error {
		change["oauth_timestamp"] = stamp()
		_, _, err := c.Identity.VerifyOAuth(from(source), header(values(k, change)), url.Values{})
		return err
	}
	link := func(source string) error {
		_, err := c.Identity.CreateFirstAdmin(from(source), secret.FromString("guess"), identity.NewUser{Name: "root", Password: secret.FromString(password)})
		if fault.Is(err, fault.Forbidden) {
			return fault.New(fault.Unauthenticated, "wrong link") // as tried counts
		}
		return err
	}
	for name, x := range map[string]struct {
		try  func(i int) error
		most int
	}{
		"one key, wrong secret": {func(int) error { return ask("192.0.2.66", map[string]string{"oauth_signature": "&wrong"}) }, 5},
		"many keys":             {func(i int) error { return ask("192.0.2.67", map[string]string{"oauth_token": fmt.Sprint("token", i)}) }, 100},
		"first link":            {func(int) error { return link("192.0.2.68") }, 5},
	} {
		compared := 0
		for i := range 1000 {
			if tried(t, x.try(i)) {
				compared++
			}
		}
		if t.Logf("%s: %d of 1,000 were compared", name, compared); compared != x.most {
			t.Errorf("%s: %d of 1,000 were compared, want %d", name, compared, x.most)
		}
	}
	if err := ask("198.51.100.1", map[string]string{}); err != nil {
		t.Errorf("the right key is refused elsewhere: %v", err)
	}
	clock.Advance(5 * time.Minute)
	if err := ask("192.0.2.66", map[string]string{}); err != nil {
		t.Errorf("after the wait the right key is refused: %v", err)
	}
}

func storedHash(t testing.TB, c *regiontest.Core, name string) (hash string) {
	t.Helper()
	err := c.Reader.View(context.Background(), func(v *store.View) error {
		u, err := v.UserByName(name)
		hash = u.Password
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hash
}
