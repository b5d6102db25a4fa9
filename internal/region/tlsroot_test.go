package region

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/rack"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// TestTLSRoot takes the root's key out of an instance: everything goes on, to a rack and to a client who knew the root from the first
// day; only the issuer's renewal, years later, has to wait for the key to come back.
func TestTLSRoot(t *testing.T) {
	regiontest.Slow(t)
	c, dir, racks := &clock{}, t.TempDir(), t.TempDir()
	ctx := authz.AsSystem(context.Background(), "test")
	start := func(rpc string) (r *Region, stop func()) {
		t.Helper()
		r, err := New(ctx, Options{Config: config.Region{StateDir: dir, HTTPS: "127.0.0.1:0", Plain: "off", RPC: rpc, PublicHost: "localhost"}, Version: "test", Now: c.now,
			Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		run, end := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- r.Run(run) }()
		return r, func() {
			t.Helper()
			end()
			if err := <-done; err != nil {
				t.Error(err)
			}
			r.Close()
		}
	}
	r, stop := start("127.0.0.1:0")
	first, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	known := x509.NewCertPool()
	known.AppendCertsFromPEM(first)
	// trusted returns the issuer that a client who knows the root is shown.
	trusted := func(r *Region) *x509.Certificate {
		t.Helper()
		conn, err := tls.Dial("tcp", r.https.Addr().String(), &tls.Config{RootCAs: known, ServerName: "localhost", Time: c.now, MinVersion: tls.VersionTLS13})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		certs := conn.ConnectionState().PeerCertificates
		if len(certs) != 3 || pki.Fingerprint(certs[2].Raw) != r.Fingerprint || !certs[1].MaxPathLenZero || len(certs[0].URIs) != 1 || certs[0].URIs[0].String() != "spiffe://"+r.site.ID+"/region/"+r.ID {
			t.Errorf("got %d certificates, names %v", len(certs), certs[0].URIs)
		}
		return certs[1]
	}
	enrol := func(r *Region, name string) {
		t.Helper()
		at := filepath.Join(racks, name)
		if _, err := rack.Enrol(ctx, at, r.BaseURL, r.mintFor(t, name)); err != nil {
			t.Fatal(err)
		}
		end := startRack(t, at, c.now)
		waitFor(t, name, func() bool { return len(r.Controllers.Connected()) > 0 })
		end()
		waitFor(t, name+" to be gone", func() bool { return len(r.Controllers.Connected()) == 0 })
	}
	issuer := trusted(r)
	enrol(r, "before")

	pass, wrong := secret.FromString("a long passphrase"), secret.FromString("another passphrase")
	var file bytes.Buffer
	if err := r.ExportTLSRoot(ctx, &file, "", secret.FromString("short")); !fault.Is(err, fault.Invalid) {
		t.Errorf("a short passphrase: got %v", err)
	}
	if err := r.ExportTLSRoot(ctx, &file, "", pass); err != nil || bytes.Contains(file.Bytes(), []byte("PRIVATE")) {
		t.Fatalf("got %v, or the key in clear", err)
	}
	kept := file.Bytes()
	other, err := pki.NewRoot("Metalward site other", c.now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := other.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var strange bytes.Buffer
	to, err := recipientOf("", pass)
	if err == nil {
		err = encrypt(&strange, to, text)
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		file []byte
		pass secret.Value
	}{"the wrong passphrase": {kept, wrong}, "another site's": {strange.Bytes(), pass}, "cut off": {kept[:len(kept)-20], pass}, "nothing": {nil, pass}} {
		if err := r.RemoveTLSRoot(ctx, bytes.NewReader(x.file), secret.Value{}, x.pass); !fault.Is(err, fault.Invalid) {
			t.Errorf("removed with %s: got %v", name, err)
		}
		if err := r.ImportTLSRoot(ctx, bytes.NewReader(x.file), secret.Value{}, x.pass); !fault.Is(err, fault.Invalid) {
			t.Errorf("imported %s: got %v", name, err)
		}
	}
	if err := r.RemoveTLSRoot(ctx, bytes.NewReader(kept), secret.Value{}, pass); err != nil {
		t.Fatal(err)
	}
	has := func(r *Region) (here, row bool) {
		t.Helper()
		here, err := r.HasTLSRoot(ctx)
		if err == nil {
			err = r.reader.View(ctx, func(v *store.View) (err error) { _, row, err = v.Secret("site/ca/site-root"); return err })
		}
		if err != nil {
			t.Fatal(err)
		}
		return here, row
	}
	if here, row := has(r); here || row {
		t.Error("the root's key is still in the instance")
	}
	if err := r.ExportTLSRoot(ctx, &bytes.Buffer{}, "", pass); !fault.Is(err, fault.Conflict) {
		t.Errorf("exported what is not there: got %v", err)
	}
	enrol(r, "without")
	bring := func() {
		t.Helper()
		if err := r.ImportTLSRoot(ctx, bytes.NewReader(kept), secret.Value{}, pass); err != nil {
			t.Fatal(err)
		}
	}
	bring()
	if _, err := r.RenewTLSIssuer(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveTLSRoot(ctx, bytes.NewReader(kept), secret.Value{}, pass); err != nil {
		t.Fatal(err)
	}
	port := r.RPCAddress
	stop()
	r, stop = start(port)
	if got := trusted(r); got.Equal(issuer) {
		t.Error("the issuer was not renewed")
	} else {
		issuer = got
	}
	end := startRack(t, filepath.Join(racks, "without"), c.now)
	waitFor(t, "a rack that knows the root", func() bool { return len(r.Controllers.Connected()) == 1 })
	end()
	stop()

	c.ahead.Add(int64(4 * 365 * 24 * time.Hour)) // two thirds of the issuer's life are over
	r, stop = start("127.0.0.1:0")
	if here, row := has(r); here || row {
		t.Error("a start made a new root")
	}
	if got := trusted(r); !got.Equal(issuer) {
		t.Error("the issuer changed without the root's key")
	}
	if _, err := r.RenewTLSIssuer(ctx); !fault.Is(err, fault.Conflict) {
		t.Errorf("renewed without the key: got %v", err)
	}
	bring()
	stop()
	r, stop = start("127.0.0.1:0") // renews by itself, now that it can
	defer func() { stop() }()
	if got := trusted(r); got.Equal(issuer) || !got.NotAfter.After(issuer.NotAfter) {
		t.Errorf("the issuer was not renewed: it ends %s", got.NotAfter)
	}
	if now, err := os.ReadFile(filepath.Join(dir, "ca.pem")); err != nil || !bytes.Equal(now, first) {
		t.Errorf("the root changed: %v", err)
	}
	changes := map[string]int{}
	if err := r.reader.View(ctx, func(v *store.View) error {
		rows, err := v.AuditEvents(store.AuditQuery{Limit: 10000})
		for _, e := range rows {
			if e.Action == string(authz.SiteKeys) && e.Detail["root"] != "" {
				changes[e.Detail["root"]]++
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]int{"exported": 1, "removed": 2, "imported": 2, "issuer renewed": 2} {
		if changes[what] != want {
			t.Errorf("the trail has %d events of %q, want %d", changes[what], what, want)
		}
	}
}
