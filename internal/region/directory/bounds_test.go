package directory_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/directory"
	"github.com/metalward/metalward/internal/secret"
)

// silent is a configuration of servers that are named, but never answer.
func silent(t testing.TB) directory.Config {
	t.Helper()
	p := metal.Provider{Kind: metal.ProviderLDAP}
	if err := p.Set(map[string]string{"servers": "ldaps://a\nldaps://b\nldaps://c\nldaps://d\nldaps://e", "base_dn": "dc=example"}); err != nil {
		t.Fatal(err)
	}
	d, err := directory.Parse(p)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestSilence holds that servers that take a connection and say nothing cost a question its time and no more, and that
// questions at once are few.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		dialled, ends := 0, []net.Conn(nil) // guarded by mu
		c := directory.New(func(context.Context, string, string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dialled++
			here, there := net.Pipe()
			ends = append(ends, there)
			return here, nil
		}, time.Now)
		d := silent(t)
		began := time.Now()
		if _, answer, err := c.Login(context.Background(), d, "jane", secret.FromString("x"), nil); answer == directory.Right || !fault.Is(err, fault.Unavailable) {
			t.Errorf("got %v, %v", answer, err)
		}
		if took := time.Since(began); took > directory.Timeout || dialled != 3 {
			t.Errorf("a question took %v and asked %d servers", took, dialled)
		}
		// Of many at once some have to wait, and give up with the rest.
		began, dialled = time.Now(), 0
		answers := make(chan error)
		for range 100 {
			go func() {
				_, _, err := c.Look(context.Background(), d, "x", nil)
				answers <- err
			}()
		}
		for range 100 {
			if err := <-answers; !fault.Is(err, fault.Unavailable) {
				t.Errorf("got %v", err)
			}
		}
		if took := time.Since(began); took > directory.Timeout || dialled > 3*16 {
			t.Errorf("100 questions took %v and made %d connections", took, dialled)
		}
		for _, c := range ends {
			_ = c.Close()
		}
	})
}

// FuzzName holds that whatever somebody enters as his name is compared as a whole, and changes nothing else of the filter.
func FuzzName(f *testing.F) {
	for _, s := range []string{"jane", "*", ")(uid=*", "\x00", "\\2a", "zoë", "\xff", "(", "\\"} {
		f.Add(s)
	}
	d := silent(f)
	f.Fuzz(func(t *testing.T, name string) {
		p, err := ldap.CompileFilter(d.ByName(name))
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		// (&(objectClass=person)(uid=…)): two comparisons for equality, the second with the name.
		if p.Tag != ldap.FilterAnd || len(p.Children) != 2 || p.Children[1].Tag != ldap.FilterEqualityMatch && name != "" {
			t.Fatalf("%q makes the filter %s", name, d.ByName(name))
		}
		if got := p.Children[1].Children[1].Data.String(); got != name {
			t.Fatalf("%q is compared as %q", name, got)
		}
	})
}
