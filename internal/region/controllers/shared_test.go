package controllers_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/controllers"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/site"
)

// TestRotateShared lets tokens of before work until they expire, or refuses them when told to.
func TestRotateShared(t *testing.T) {
	for name, tt := range map[string]struct {
		rotations int
		refuse    bool
		wait      time.Duration
		works     bool
	}{
		"overlap":           {rotations: 1, works: true},
		"overlap's end":     {rotations: 1, wait: controllers.TokenLife + time.Second},
		"refused by choice": {rotations: 1, refuse: true},
		"rotated twice":     {rotations: 2},
	} {
		t.Run(name, func(t *testing.T) {
			clock := regiontest.NewClock()
			c := regiontest.New(t, clock.Now)
			client, server := c.TLSPair(t)
			key, err := pki.NewKey()
			if err != nil {
				t.Fatal(err)
			}
			req := regiontest.EnrolRequest(t, c.Mint(t, "r"), client, key)
			for range tt.rotations {
				if _, err := c.Controllers.RotateShared(c.Admin(t), tt.refuse); err != nil {
					t.Fatal(err)
				}
			}
			clock.Advance(tt.wait)
			_, err = c.Controllers.Enrol(stranger, req, server.ConnectionState())
			if tt.works && err != nil || !tt.works && !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("the old token: got %v", err)
			}
			fresh := regiontest.EnrolRequest(t, c.Mint(t, "r2"), client, key)
			if _, err := c.Controllers.Enrol(stranger, fresh, server.ConnectionState()); err != nil {
				t.Errorf("a new token: %v", err)
			}
		})
	}
}

// TestSharedConverges has two regions on one database: what one rotates the other mints and verifies with at once, and
// its file follows.
func TestSharedConverges(t *testing.T) {
	clock := regiontest.NewClock()
	dsn, dir := regiontest.Postgres(t), t.TempDir()
	a := regiontest.Open(t, dir, dsn, clock.Now)
	elsewhere := t.TempDir() // the other region's state folder: it shares the root key alone
	copyKey(t, dir, elsewhere)
	b := regiontest.Open(t, elsewhere, dsn, clock.Now)
	if was := read(t, dir); was != read(t, elsewhere) || len(was) != 45 {
		t.Fatal("the regions begin with different secrets")
	}
	if _, err := a.Controllers.RotateShared(a.Admin(t), true); err != nil {
		t.Fatal(err)
	}
	client, server := b.TLSPair(t)
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	req := regiontest.EnrolRequest(t, a.Mint(t, "r"), client, key)
	if _, err := b.Controllers.Enrol(stranger, req, server.ConnectionState()); err != nil {
		t.Errorf("a token of one region, at the other: %v", err)
	}
	for _, r := range []struct {
		c   *regiontest.Core
		dir string
	}{{a, dir}, {b, elsewhere}} {
		before := read(t, r.dir)
		if err := r.c.Site.WriteShared(t.Context(), r.dir); err != nil {
			t.Fatal(err)
		}
		if read(t, r.dir) == before {
			t.Error("the file does not follow")
		}
	}
	if read(t, dir) != read(t, elsewhere) {
		t.Error("the regions' files differ")
	}
	if info, err := os.Stat(filepath.Join(elsewhere, site.SharedFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v; want mode 0600", info, err)
	}
}

// TestSharedOfBefore keeps the secret of an instance that had it in the file alone, and refuses a file that others may read.
func TestSharedOfBefore(t *testing.T) {
	dir := t.TempDir()
	const old = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	if err := os.WriteFile(filepath.Join(dir, site.SharedFile), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	c := regiontest.Open(t, dir, filepath.Join(dir, "metalward.db"), regiontest.NewClock().Now)
	if shared, err := c.Controllers.RevealShared(c.Admin(t)); err != nil || shared.Text().RevealString()+"\n" != old {
		t.Errorf("got another secret than the file's, %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, site.SharedFile), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := c.Site.LoadShared(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v, want a refusal of the mode", err)
	}
}

// TestRevealShared leaves an event for each time, and shows nothing to others.
func TestRevealShared(t *testing.T) {
	c := regiontest.New(t, regiontest.NewClock().Now)
	admin, alice := c.Admin(t), c.User(t, "alice", false)
	for range 2 {
		if s, err := c.Controllers.RevealShared(admin); err != nil || s.Current.Empty() {
			t.Fatalf("got %v", err)
		}
	}
	s, err := c.Controllers.RevealShared(alice)
	wantKind(t, err, fault.Forbidden)
	if !s.Current.Empty() {
		t.Error("a user is shown the secret")
	}
	_, err = c.Controllers.RotateShared(alice, false)
	wantKind(t, err, fault.Forbidden)
	outcomes := map[string]int{}
	for _, e := range c.Trail(t) {
		if e.Action == string(authz.SharedSecretReveal) {
			outcomes[e.Principal+" "+e.Outcome]++
		}
	}
	if outcomes["user:root success"] != 2 || outcomes["user:alice denied"] != 1 {
		t.Errorf("got events %v", outcomes)
	}
}

func read(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, site.SharedFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func copyKey(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(from, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, "root.key"), b, 0o600); err != nil {
		t.Fatal(err)
	}
}
