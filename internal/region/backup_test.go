package region

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// filled is a surface with something of everything that a backup has to bring back.
func filled(t *testing.T) (s *surface, machine string) {
	t.Helper()
	s = newSurface(t)
	m := s.must("admin", "POST", "/machines/", "hostname", "node", "architecture", "amd64", "mac_addresses", "52:54:00:00:00:01", "commission", "false",
		"power_type", "ipmi", "power_parameters_power_address", "192.0.2.9", "power_parameters_power_user", "root", "power_parameters_power_pass", "a BMC's password")
	if err := os.WriteFile(filepath.Join(s.dir, "images", "blob"), []byte("an image"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s, m["system_id"].(string)
}

// again opens what was restored or moved, as the region that it was.
func (s *surface) again(c config.Region, machine string) {
	s.t.Helper()
	c.HTTPS, c.Plain, c.RPC, c.PublicHost = "127.0.0.1:0", "off", "127.0.0.1:0", "localhost"
	r, err := New(context.Background(), Options{Config: c, Version: "test", Log: slog.New(slog.NewTextHandler(s.log, nil))})
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	if r.ID != s.r.ID || r.Fingerprint != s.r.Fingerprint {
		s.t.Errorf("it is another region: %s %s, want %s %s", r.ID, r.Fingerprint, s.r.ID, s.r.Fingerprint)
	}
	other := *s
	other.r, other.handler = r, r.Handler()
	if got := other.must("admin", "GET", "/machines/"+machine+"/?op=power_parameters"); got["power_user"] != "root" {
		s.t.Errorf("got power parameters %v", got)
	}
	err = r.reader.View(s.t.Context(), func(v *store.View) error {
		ref := secret.Ref("machine/" + machine + "/power")
		sealed, _, err := v.Secret(ref)
		if err != nil {
			return err
		}
		got, err := r.Secrets.Keys.Open(ref, sealed)
		if !strings.Contains(got.RevealString(), "a BMC's password") {
			s.t.Error("the BMC's password is lost")
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
	if n, err := r.VerifyTrail(s.t.Context()); err != nil || n == 0 {
		s.t.Errorf("the trail does not verify: %d, %v", n, err)
	}
}

// TestBackup brings a region back from a backup, on either engine, by either key, and from none that is damaged.
func TestBackup(t *testing.T) {
	regiontest.Slow(t)
	s, machine := filled(t)
	if _, err := s.r.Gate.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	write := func(recipient string, images bool) []byte {
		t.Helper()
		var b bytes.Buffer
		if err := s.r.Backup(t.Context(), &b, "test", recipient, images); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	rootKey := filepath.Join(s.dir, rootKeyFile)
	restore := func(b []byte, c config.Region, identity, key string) error {
		return Restore(t.Context(), bytes.NewReader(b), c, secret.FromString(identity), key, nil)
	}
	byRoot, byAge := write("", true), write(id.Recipient().String(), false)
	for _, plain := range []string{"a BMC's password", "machine_texts", "node", "an image"} {
		if bytes.Contains(byRoot, []byte(plain)) || bytes.Contains(byAge, []byte(plain)) {
			t.Errorf("the backup shows %q", plain)
		}
	}
	t.Run("root key", func(t *testing.T) {
		dir := t.TempDir()
		if err := restore(byRoot, config.Region{StateDir: dir}, "", rootKey); err != nil {
			t.Fatal(err)
		}
		s.again(config.Region{StateDir: dir}, machine)
		if b, err := os.ReadFile(filepath.Join(dir, "images", "blob")); err != nil || string(b) != "an image" {
			t.Errorf("got image %q, %v", b, err)
		}
		if err := restore(byRoot, config.Region{StateDir: dir}, "", rootKey); !fault.Is(err, fault.Conflict) {
			t.Errorf("restored over a region: %v", err)
		}
	})
	t.Run("age", func(t *testing.T) {
		dir := t.TempDir()
		if err := restore(byAge, config.Region{StateDir: dir}, "# my key\n"+id.String()+"\n", ""); err != nil {
			t.Fatal(err)
		}
		s.again(config.Region{StateDir: dir}, machine)
		if _, err := os.Stat(filepath.Join(dir, "images", "blob")); err == nil {
			t.Error("the image came, too")
		}
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		dir, dsn := t.TempDir(), regiontest.Postgres(t)
		if err := restore(byRoot, config.Region{StateDir: dir, Database: dsn}, "", rootKey); err != nil {
			t.Fatal(err)
		}
		s.again(config.Region{StateDir: dir}, machine)
		if err := restore(byRoot, config.Region{StateDir: t.TempDir(), Database: dsn}, "", rootKey); !fault.Is(err, fault.Conflict) {
			t.Errorf("restored into a database in use: %v", err)
		}
	})
	t.Run("wrong key", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "other.key")
		if _, err := secret.LoadOrCreateKey(other); err != nil {
			t.Fatal(err)
		}
		stranger, err := age.GenerateX25519Identity()
		if err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{"root key": restore(byRoot, config.Region{StateDir: t.TempDir()}, "", other), "identity": restore(byAge, config.Region{StateDir: t.TempDir()}, stranger.String(), ""),
			"no identity": restore(byAge, config.Region{StateDir: t.TempDir()}, "nothing", ""), "no root key": restore(byRoot, config.Region{StateDir: t.TempDir()}, "", "/nowhere"), "root key for age": restore(byAge, config.Region{StateDir: t.TempDir()}, "", rootKey)} {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: got %v, want Invalid", name, err)
			}
		}
	})
	t.Run("damaged", func(t *testing.T) {
		dir := t.TempDir()
		for i := range 24 {
			bad := bytes.Clone(byRoot)
			if at := i * len(bad) / 24; i%2 == 0 {
				bad[at] ^= 1
			} else {
				bad = bad[:at]
			}
			if err := restore(bad, config.Region{StateDir: dir}, "", rootKey); err == nil {
				t.Fatalf("restored from damaged number %d", i)
			}
		}
		if err := restore(byRoot, config.Region{StateDir: dir}, "", rootKey); err != nil { // in the same folder
			t.Fatal(err)
		}
		s.again(config.Region{StateDir: dir}, machine)
	})
	if err := s.r.Backup(t.Context(), &bytes.Buffer{}, "test", "ssh-ed25519 AAAA", false); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "age1") {
		t.Errorf("got %v", err)
	}
}

// TestMigrateStore moves a region from its own file to PostgreSQL: not while it runs, and once more after a crash in
// between.
func TestMigrateStore(t *testing.T) {
	s, machine := filled(t)
	c := config.Region{StateDir: s.dir, Database: regiontest.Postgres(t)}
	if err := MigrateStore(t.Context(), c, nil); !fault.Is(err, fault.Conflict) {
		t.Fatalf("moved while the region runs: %v", err)
	}
	if _, err := s.r.Gate.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.r.Close()
	if err := MigrateStore(t.Context(), c, nil); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.dir, "metalward.db")
	if _, err := os.Stat(file); err == nil {
		t.Error("the old database is still in its place")
	}
	// As a crash leaves it after the rows were moved.
	if err := os.Rename(file+".moved", file); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.dir, config.DatabaseFile)); err != nil {
		t.Fatal(err)
	}
	if err := MigrateStore(t.Context(), c, nil); err != nil {
		t.Fatalf("again after a crash: %v", err)
	}
	s.again(config.Region{StateDir: s.dir}, machine)
	if err := MigrateStore(t.Context(), c, nil); !fault.Is(err, fault.Conflict) {
		t.Errorf("moved twice: %v", err)
	}
}

// TestOneRegionAState refuses a second region in a state folder.
func TestOneRegionAState(t *testing.T) {
	s := newSurface(t)
	_, err := New(t.Context(), Options{Config: config.Region{StateDir: s.dir, HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0"}, Version: "test", Log: s.r.log})
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("got %v", err)
	}
}
