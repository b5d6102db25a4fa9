package site_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/site"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

func TestMain(m *testing.M) { regiontest.Main(m) }

// TestLoad finds the same identity again, and none without the root key.
func TestLoad(t *testing.T) {
	c := regiontest.New(t, regiontest.NewClock().Now)
	ctx := context.Background()
	again, err := site.Load(ctx, c.Gate, c.Keys, regiontest.Start)
	if err != nil {
		t.Fatal(err)
	}
	if again.ID != c.Site.ID || again.Web.Fingerprint() != c.Site.Web.Fingerprint() || again.Racks.Fingerprint() != c.Site.Racks.Fingerprint() || again.Machines.Fingerprint() != c.Site.Machines.Fingerprint() {
		t.Error("the identity changed")
	}
	seen := map[string]bool{c.Site.Web.Fingerprint(): true, c.Site.Racks.Fingerprint(): true, c.Site.Machines.Fingerprint(): true}
	if len(seen) != 3 {
		t.Error("two authorities are the same")
	}
	other, err := secret.NewKeyring(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := site.Load(ctx, c.Gate, secret.NewSafe(other, nil, nil), regiontest.Start); err == nil {
		t.Error("loaded with another root key")
	}
	if after, err := site.Load(ctx, c.Gate, c.Keys, regiontest.Start); err != nil || after.ID != c.Site.ID {
		t.Errorf("the failed start changed something: %v", err)
	}
}

// TestLoadTogether has regions start on one empty database at once: they agree.
func TestLoadTogether(t *testing.T) {
	dsn, dir := regiontest.Postgres(t), t.TempDir()
	const regions = 4
	if _, err := secret.OpenKeyring(filepath.Join(dir, "root.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := secret.LoadOrCreateKey(filepath.Join(dir, "shared-secret")); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	cores := make([]*regiontest.Core, regions)
	for i := range regions {
		wg.Go(func() { cores[i] = regiontest.Open(t, dir, dsn, regiontest.NewClock().Now) })
	}
	wg.Wait()
	for _, c := range cores[1:] {
		if c == nil || c.Site.ID != cores[0].Site.ID || c.Site.Racks.Fingerprint() != cores[0].Site.Racks.Fingerprint() {
			t.Error("two regions of an instance have different identities")
		}
	}
}

// TestMetadata makes an authority for each rack and set of networks, once.
func TestMetadata(t *testing.T) {
	c := regiontest.New(t, regiontest.NewClock().Now)
	ctx := context.Background()
	a, b := netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.1.0.0/24")
	get := func(rack string, nets ...netip.Prefix) string {
		ca, err := c.Site.Metadata(ctx, rack, nets, regiontest.Start)
		if err != nil {
			t.Fatal(err)
		}
		return ca.Fingerprint()
	}
	if get("r1", a, b) != get("r1", b, a) {
		t.Error("the order of networks makes another authority")
	}
	if get("r1", a) == get("r1", a, b) || get("r1", a) == get("r2", a) {
		t.Error("racks or networks share an authority")
	}
}

// TestNothingWithoutTheRootKey reads everything that an instance keeps, but the two key files, for secrets in
// any form (security requirement 19).
func TestNothingWithoutTheRootKey(t *testing.T) {
	c := regiontest.New(t, regiontest.NewClock().Now)
	r := c.AddRack(t, "r", netip.MustParsePrefix("10.0.0.2/24"))
	m := &regiontest.Machine{Core: c, Rack: r, MAC: "52:54:00:00:00:01", IP: netip.MustParseAddr("10.0.0.101")}
	m.Ready(t, "m")
	token := c.Mint(t, "rack9")
	link, needed, err := c.Identity.FirstLink(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if needed {
		t.Log("no administrator: the link is searched for, too")
	}
	key, err := c.Identity.CreateKey(c.User(t, "alice", false), identity.NewKey{Name: "k"})
	if err != nil {
		t.Fatal(err)
	}
	canaries := map[string][]byte{"enrolment token's key": token.Key, "enrolment token": token.Text().Reveal(), "first-administrator link": link.Reveal(), "BMC password": []byte(regiontest.BMCPassword),
		"boot token": []byte(m.Token), "API secret": key.Secret.Reveal(), "a private key": []byte("PRIVATE KEY"), "root key": rootKey(t, c.Dir), "shared secret": c.Shared}
	files := 0
	err = filepath.WalkDir(c.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "root.key" || d.Name() == "shared-secret" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for name, canary := range canaries {
			for form, x := range map[string]string{"as it is": string(canary), "in hex": hex.EncodeToString(canary), "in base64": base64.RawStdEncoding.EncodeToString(canary), "in base64url": base64.RawURLEncoding.EncodeToString(canary)} {
				if bytes.Contains(data, []byte(strings.TrimRight(x, "="))) {
					t.Errorf("%s has the %s %s", d.Name(), name, form)
				}
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("read %d files, %v", files, err)
	}
	for _, e := range c.Trail(t) {
		if e.Action == string(authz.SiteKeys) && e.Detail["made"] == "" {
			t.Errorf("the trail does not say which key was made: %+v", e)
		}
	}
}

func rootKey(t *testing.T, dir string) []byte {
	t.Helper()
	key, err := secret.LoadOrCreateKey(filepath.Join(dir, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestExportWritesNothing: what is in the instance stays as it is when the root's key is exported, so that a removal meanwhile is not undone.
func TestExportWritesNothing(t *testing.T) {
	clk := regiontest.NewClock()
	c := regiontest.New(t, clk.Now)
	row := func() (x store.SealedSecret) {
		t.Helper()
		c.View(t, func(v *store.View) error {
			rows, err := v.Secrets("site/ca/site-roo", 1)
			if err == nil && len(rows) == 1 {
				x = rows[0]
			}
			return err
		})
		return x
	}
	was, before := row(), len(c.Trail(t))
	clk.Advance(time.Hour)
	v, err := c.Site.ExportRoot(authz.AsSystem(t.Context(), "test"))
	if is := row(); err != nil || v.Empty() || was.Ref != "site/ca/site-root" || !reflect.DeepEqual(is, was) {
		t.Errorf("got %v, %v; the secret of %s was set at %s, then at %s", v, err, was.Ref, was.Updated, is.Updated)
	}
	if events := c.Trail(t); len(events) != before+1 {
		t.Errorf("%d events were left, want 1", len(events)-before)
	}
}

// TestOlderInstance starts on an instance whose authority was made before there were roots: it goes on with it, and says why its key
// cannot be taken out.
func TestOlderInstance(t *testing.T) {
	c := regiontest.New(t, regiontest.NewClock().Now)
	ctx := authz.AsSystem(t.Context(), "test")
	old, err := pki.NewCA("Metalward site old", nil, regiontest.Start)
	if err != nil {
		t.Fatal(err)
	}
	text, err := old.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	target := authz.Target{Noun: authz.NounSite, ID: "site"}
	err = c.Gate.Do(ctx, authz.SiteKeys, func(call *gate.Call) error {
		if err := call.Require(target); err != nil {
			return err
		}
		sealed, err := c.Keys.Seal("site/ca/site", text)
		if err != nil {
			return err
		}
		return errors.Join(call.Tx().DeleteSecret(target, "site/ca/site-root"), call.Tx().PutSecret(target, "site/ca/site", sealed, call.Now()))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []time.Time{regiontest.Start, old.Cert.NotAfter.Add(-time.Hour)} { // at its end, too, no other takes its place
		s, err := site.Load(ctx, c.Gate, c.Keys, at)
		if err != nil || s.Web.Fingerprint() != old.Fingerprint() || len(s.Web.Above) != 0 {
			t.Fatalf("got another authority, %v", err)
		}
		if here, err := s.HasRoot(ctx); err != nil || !here {
			t.Errorf("got %v, %v", here, err)
		}
		_, exported := s.ExportRoot(ctx)
		_, renewed := s.RenewIssuer(ctx, at)
		for what, err := range map[string]error{"export": exported, "remove": s.RemoveRoot(ctx, text), "import": s.ImportRoot(ctx, text), "renew": renewed} {
			if !fault.Is(err, fault.Conflict) {
				t.Errorf("%s: got %v", what, err)
			}
		}
	}
}
