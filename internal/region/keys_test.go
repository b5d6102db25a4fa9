package region

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

const bmcPassword = "a BMC's password"

// beside opens the region's state once more, as a command on the host does.
func (s *surface) beside() *Region {
	s.t.Helper()
	r, err := New(s.t.Context(), Options{Config: config.Region{StateDir: s.dir}, Version: "test", Log: regiontest.Silent, Offline: true})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(r.Close)
	return r
}

// holds checks that a region opens the machine's secret.
func holds(t *testing.T, r *Region, machine string) {
	t.Helper()
	ref := secret.Ref("machine/" + machine + "/power")
	var sealed []byte
	if err := r.reader.View(t.Context(), func(v *store.View) (err error) { sealed, _, err = v.Secret(ref); return err }); err != nil {
		t.Fatal(err)
	}
	got, err := r.Secrets.Keys.OpenNow(t.Context(), ref, sealed)
	if err != nil || !strings.Contains(got.RevealString(), bmcPassword) {
		t.Errorf("the machine's secret is lost: %v", err)
	}
}

// sealedUnder lists the keys that secrets are sealed with.
func sealedUnder(t *testing.T, r *Region) map[uint32]bool {
	t.Helper()
	l, err := r.Secrets.List(authz.AsSystem(t.Context(), "test"), "", 1000)
	if err != nil || len(l.Secrets) < 5 {
		t.Fatalf("got %d secrets, %v", len(l.Secrets), err)
	}
	keys := map[uint32]bool{}
	for _, k := range l.Secrets {
		keys[k.Key] = true
	}
	return keys
}

// TestRotateKeys: a command on the host rotates the keys while the region runs, which goes on without a word.
func TestRotateKeys(t *testing.T) {
	s, machine := filled(t)
	host, ctx := s.beside(), authz.AsSystem(t.Context(), "host")
	set := func(pass string) {
		t.Helper()
		s.must("admin", "PUT", "/machines/"+machine+"/", "power_parameters_power_pass", pass)
	}
	if _, err := host.Secrets.RotateKeys(ctx, false, nil); err != nil {
		t.Fatal(err)
	}
	if keys := sealedUnder(t, host); len(keys) != 1 || !keys[2] {
		t.Errorf("secrets are sealed under the keys %v, want the second alone", keys)
	}
	if l, err := s.r.Secrets.List(ctx, "", 10); err != nil || l.Keys.Newest != 2 || l.Keys.Old != 1 || !l.Secrets[0].Current {
		t.Errorf("the region lists %+v, %v", l, err)
	}
	holds(t, s.r, machine)
	set(bmcPassword + " 2") // sealed with a key that the region learnt meanwhile
	// Retired at once, while the region believes in the second.
	if _, err := host.Secrets.RotateKeys(ctx, true, nil); err != nil {
		t.Fatal(err)
	}
	set(bmcPassword + " 3")
	holds(t, host, machine)
	if keys := sealedUnder(t, s.r); len(keys) != 1 || !keys[3] {
		t.Errorf("secrets are sealed under the keys %v, want the third alone", keys)
	}
	if set := s.r.Secrets.Keys.Keyring().Keyset(); len(set.Keys) != 1 {
		t.Errorf("the region still holds %d keys", len(set.Keys))
	}
	if _, err := s.r.Gate.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := s.r.VerifyTrail(t.Context()); err != nil || n == 0 {
		t.Errorf("the trail does not verify: %v", err)
	}
}

// TestRetireLate: until the older keys are gone for good somebody else may seal with one, or add one that this process does not know.
func TestRetireLate(t *testing.T) {
	for name, meanwhile := range map[string]func(s *surface) error{
		"sealed with the old key": func(s *surface) error { // by the region, which does not know the new one
			s.must("admin", "POST", "/machines/", "hostname", "late", "architecture", "amd64", "mac_addresses", "52:54:00:00:00:02", "commission", "false",
				"power_type", "ipmi", "power_parameters_power_address", "192.0.2.10", "power_parameters_power_user", "root", "power_parameters_power_pass", "another")
			return nil
		},
		"another key added": func(s *surface) error { // and broken off before anything was sealed with it
			ctx, cancel := context.WithCancel(authz.AsSystem(s.t.Context(), "host"))
			defer cancel()
			_, err := s.beside().Secrets.RotateKeys(ctx, false, func(int, int) { cancel() })
			if errors.Is(err, context.Canceled) {
				err = nil
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, machine := filled(t)
			host, asked := s.beside(), 0
			root := host.Secrets.Root
			host.Secrets.Root = func() (secret.Root, error) {
				if asked++; asked == 2 { // for dropping the older keys, once everything is sealed anew
					must(t, meanwhile(s))
				}
				return root()
			}
			if _, err := host.Secrets.RotateKeys(authz.AsSystem(t.Context(), "host"), true, nil); !fault.Is(err, fault.Conflict) || asked != 2 {
				t.Errorf("got %v after the root was asked for %d times, want a Conflict", err, asked)
			}
			holds(t, s.r, machine)
			holds(t, s.beside(), machine) // which has the keyset of the database alone
		})
	}
}

// TestRotateDaily rotates the keys more often than older ones are kept: those that were replaced long enough ago go all the same, and the
// others stay.
func TestRotateDaily(t *testing.T) {
	now := time.Now()
	r, err := New(t.Context(), Options{Config: config.Region{StateDir: t.TempDir()}, Log: regiontest.Silent, Offline: true, Now: func() time.Time { return now }})
	must(t, err)
	t.Cleanup(r.Close)
	ctx := authz.AsSystem(t.Context(), "host")
	for day := range 20 {
		if _, err := r.Secrets.RotateKeys(ctx, false, nil); err != nil {
			t.Fatalf("on day %d: %v", day, err)
		}
		must(t, r.Secrets.Tidy(ctx))
		if n := len(r.Secrets.Keys.Keyring().Keyset().Keys); n != min(day+2, 3) {
			t.Errorf("on day %d there are %d keys", day, n)
		}
		now = now.Add(24 * time.Hour)
	}
}

// TestListDamaged: a row whose key there never was is listed like the others, rather than taken for a sign of newer keys for ever.
func TestListDamaged(t *testing.T) {
	s, _ := filled(t)
	ctx := authz.AsSystem(t.Context(), "host")
	before, err := s.r.Secrets.List(ctx, "", 1000)
	must(t, err)
	must(t, s.r.writer.Do(ctx, func(tx *store.Tx) error {
		sealed, _, err := tx.Secret("site/id")
		if err != nil {
			return err
		}
		sealed[1] = 0xff
		return tx.PutSecret(siteTarget, "site/id", sealed, time.Now())
	}, func(*store.Tx) error { return nil }))
	if after, err := s.r.Secrets.List(ctx, "", 1000); err != nil || len(after.Secrets) != len(before.Secrets) {
		t.Errorf("got %d of %d secrets, %v", len(after.Secrets), len(before.Secrets), err)
	}
}

// TestRotateRoot breaks the rotation off after each of its steps. The region opens with what is there, and running it again ends it.
func TestRotateRoot(t *testing.T) {
	regiontest.Slow(t)
	for _, step := range []string{"next key", "wrapped", "replaced", "whole"} {
		t.Run(step, func(t *testing.T) {
			s, machine := filled(t)
			ctx, now, next := authz.AsSystem(t.Context(), "host"), filepath.Join(s.dir, rootKeyFile), filepath.Join(s.dir, rootKeyNext)
			old, err := os.ReadFile(now)
			if err != nil {
				t.Fatal(err)
			}
			host := s.beside()
			root, err := rootSource{dir: s.dir}.open()
			if err != nil {
				t.Fatal(err)
			}
			switch step {
			case "next key":
				_, err = secret.LoadOrCreateKey(next)
			case "wrapped": // as if the power went before the file took its place
				if _, err = host.replaceRoot(ctx, root, now, next); err == nil {
					if err = os.Rename(now, next); err == nil {
						err = os.WriteFile(now, old, 0o600)
					}
				}
			case "replaced":
				_, err = host.replaceRoot(ctx, root, now, next)
			}
			if err != nil {
				t.Fatal(err)
			}
			holds(t, s.beside(), machine)
			if step != "whole" && step != "next key" {
				if _, err := host.Secrets.RotateKeys(ctx, false, nil); !fault.Is(err, fault.Conflict) {
					t.Errorf("the keys were rotated in the middle: %v", err)
				}
			}
			if done, err := s.beside().RotateRoot(ctx, false); err != nil || !done {
				t.Fatalf("got %v, %v", done, err)
			}
			after := s.beside()
			holds(t, after, machine)
			if _, err := after.Secrets.RotateKeys(ctx, false, nil); err != nil {
				t.Error(err)
			}
			holds(t, s.r, machine) // which ran all the time
			info, err := os.Stat(now)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the new root key has mode %v, %v", info.Mode(), err)
			}
			if _, err := os.Stat(next); err == nil {
				t.Error("the next root key is there still")
			}
			// The old root key opens nothing.
			if err := os.WriteFile(now, old, 0o600); err != nil {
				t.Fatal(err)
			}
			if r, err := New(t.Context(), Options{Config: config.Region{StateDir: s.dir}, Log: regiontest.Silent, Offline: true}); err == nil || !strings.Contains(err.Error(), "another root key") {
				t.Errorf("the old root key opens the region: %v %v", r, err)
			}
		})
	}
}

// TestRotateRootOfTwo: while another region may start with the old root key, it stays; and the one without the new key cannot drop it.
func TestRotateRootOfTwo(t *testing.T) {
	s, machine := filled(t)
	ctx := authz.AsSystem(t.Context(), "host")
	err := s.r.writer.Do(ctx, func(tx *store.Tx) error {
		c, err := tx.Controller(s.r.ID)
		if err != nil {
			return err
		}
		c.SystemID, c.Hostname = "region2", "region2"
		return tx.AddController(c)
	}, func(*store.Tx) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	now := filepath.Join(s.dir, rootKeyFile)
	old, err := os.ReadFile(now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.beside().RotateRoot(ctx, true); !fault.Is(err, fault.Conflict) {
		t.Errorf("finished what was not begun: %v", err)
	}
	for range 2 { // again changes nothing
		if done, err := s.beside().RotateRoot(ctx, false); err != nil || done {
			t.Fatalf("got %v, %v", done, err)
		}
	}
	fresh, err := os.ReadFile(now)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(now, old, 0o600); err != nil { // the other region's folder
		t.Fatal(err)
	}
	second := s.beside()
	holds(t, second, machine)
	for _, finish := range []bool{false, true} {
		if _, err := second.RotateRoot(ctx, finish); !fault.Is(err, fault.Conflict) {
			t.Errorf("the region without the new key goes on: %v", err)
		}
	}
	must(t, second.Secrets.Tidy(ctx))
	if err := os.WriteFile(now, fresh, 0o600); err != nil {
		t.Fatal(err)
	}
	if done, err := s.beside().RotateRoot(ctx, true); err != nil || !done {
		t.Fatalf("got %v, %v", done, err)
	}
	holds(t, s.beside(), machine)
	// A region that did not get the new key goes on until it is started anew: it has to say so.
	must(t, os.WriteFile(now, old, 0o600))
	if err := second.Secrets.Tidy(ctx); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), rootKeyFile) {
		t.Errorf("got %v, want a word about %s", err, rootKeyFile)
	}
}

// TestRotateRootClockBack ends a rotation on a host whose clock went back since the keys were made, broken off before its end.
func TestRotateRootClockBack(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	open := func() *Region {
		t.Helper()
		r, err := New(t.Context(), Options{Config: config.Region{StateDir: dir}, Log: regiontest.Silent, Offline: true, Now: func() time.Time { return now }})
		must(t, err)
		t.Cleanup(r.Close)
		return r
	}
	r := open()
	now = now.Add(-time.Hour)
	root, err := r.root.open()
	must(t, err)
	r = open()
	_, err = r.replaceRoot(authz.AsSystem(t.Context(), "host"), root, filepath.Join(dir, rootKeyFile), filepath.Join(dir, rootKeyNext))
	must(t, err)
	if done, err := open().RotateRoot(t.Context(), false); err != nil || !done {
		t.Errorf("got %v, %v", done, err)
	}
}

// TestBeforeKeysets: an instance whose root key sealed all itself goes on as it is, and can rotate both.
func TestBeforeKeysets(t *testing.T) {
	dir := t.TempDir()
	t.Run("before", func(t *testing.T) {
		c := regiontest.Open(t, dir, filepath.Join(dir, "metalward.db"), time.Now)
		if c.Site.ID == "" {
			t.Fatal("no site")
		}
	})
	open := func() *Region {
		t.Helper()
		r, err := New(t.Context(), Options{Config: config.Region{StateDir: dir}, Log: regiontest.Silent, Offline: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		return r
	}
	// Another root key, such as the new one of a host that root.key was not copied to, must not become the keyset's for good.
	path := filepath.Join(dir, rootKeyFile)
	must(t, os.Rename(path, path+".kept"))
	if _, err := opens(t, config.Region{StateDir: dir}); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), "root key") {
		t.Errorf("with another root key: got %v", err)
	}
	must(t, os.Rename(path+".kept", path))
	r, ctx := open(), authz.AsSystem(t.Context(), "host")
	if keys := sealedUnder(t, r); len(keys) != 1 || !keys[0] {
		t.Errorf("secrets are sealed under the keys %v", keys)
	}
	before := r.Fingerprint
	if _, err := r.Secrets.RotateKeys(ctx, true, nil); err != nil {
		t.Fatal(err)
	}
	if done, err := r.RotateRoot(ctx, false); err != nil || !done {
		t.Fatalf("got %v, %v", done, err)
	}
	if after := open(); after.Fingerprint != before || !sealedUnder(t, after)[1] {
		t.Error("the instance is another one")
	}
}

// TestNothingInClear looks for secrets in the database and the state folder without the root key (security requirement 19).
func TestNothingInClear(t *testing.T) {
	s, machine := filled(t)
	s.must("admin", "POST", "/machines/", "hostname", "two", "architecture", "amd64", "mac_addresses", "52:54:00:00:00:02", "commission", "false",
		"power_type", "ipmi", "power_parameters_power_address", "192.0.2.10", "power_parameters_power_pass", "canary-6d1f")
	set := s.r.Secrets.Keys.Keyring().Keyset()
	hidden := map[string][]byte{"a BMC's password": []byte(bmcPassword), "another": []byte("canary-6d1f"), "the keyset's base": set.Base, "its key": set.Keys[0].Key}
	if err := s.r.reader.View(t.Context(), func(v *store.View) error { // every secret whole
		rows, err := v.Secrets("", 1000)
		for _, row := range rows {
			value, fail := s.r.Secrets.Keys.Open(row.Ref, row.Sealed)
			if fail != nil {
				return fail
			}
			if row.Ref != "site/id" { // names the instance in certificates
				hidden[string(row.Ref)] = value.Reveal()
			}
		}
		return err
	}); err != nil || len(hidden) < 8 {
		t.Fatalf("got %d secrets, %v", len(hidden), err)
	}
	holds(t, s.r, machine)
	err := filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == rootKeyFile || e.Name() == "shared-secret" || e.Name() == "secret" {
			return err // the two files that are secrets
		}
		data, err := os.ReadFile(path)
		for name, value := range hidden {
			for _, form := range [][]byte{value, []byte(hex.EncodeToString(value)), []byte(base64.StdEncoding.EncodeToString(value))} {
				if bytes.Contains(data, form) {
					t.Errorf("%s shows %s", e.Name(), name)
				}
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
