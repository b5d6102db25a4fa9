package region

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/certs"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/secret"
)

// corporate is an operator's own authority.
type corporate struct {
	t   *testing.T
	ca  *pki.CA
	now func() time.Time
}

func newCorporate(t *testing.T, now func() time.Time) *corporate {
	t.Helper()
	ca, err := pki.NewCA("Corporate root", nil, now())
	if err != nil {
		t.Fatal(err)
	}
	return &corporate{t, ca, now}
}

// issue returns a key and a certificate, with its authority, as PEM.
func (c *corporate) issue(life time.Duration, names ...string) (key, cert string) {
	c.t.Helper()
	k, err := pki.NewKey()
	if err != nil {
		c.t.Fatal(err)
	}
	chain, err := c.ca.Server(&k.PublicKey, names[0], names, nil, life, c.now())
	if err != nil {
		c.t.Fatal(err)
	}
	return keyPEM(c.t, k), string(chain)
}

func keyPEM(t *testing.T, k *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// running starts a region's listeners and returns where HTTPS is.
func (s *surface) running() (https, rpc string) {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.r.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	})
	return s.r.https.Addr().String(), s.r.rpcListener.Addr().String()
}

// shows returns who issued the certificate that a server shows to a client with these protocols.
func shows(t *testing.T, addr string, protos ...string) string {
	t.Helper()
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: protos}) //nolint:gosec // looks only
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].Issuer.CommonName
}

// eventually waits for what happens beside the test, in its own time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not " + what)
		}
	}
}

// TestBringACertificate follows a certificate through a site's life: enabled, seen by people and not by racks, kept over
// a connection, a command on the host and a restart, refused when it will not do, and gone back from.
func TestBringACertificate(t *testing.T) {
	s := newSurface(t)
	corp := newCorporate(t, time.Now)
	https, rpc := s.running()
	if got := shows(t, https); !strings.HasPrefix(got, metal.SiteAuthority) {
		t.Fatalf("at first it shows a certificate of %q", got)
	}
	open, err := tls.Dial("tcp", https, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // looks only
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	ask := func() {
		t.Helper()
		_, _ = fmt.Fprintf(open, "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(open), nil)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("the open connection got %v, %v", res, err)
		}
	}
	ask()

	key, cert := corp.issue(48*time.Hour, "localhost")
	o := s.must("admin", "POST", "/tls/?op=enable", "key", key, "cert", cert)
	if o["source"] != "given" || strings.Contains(fmt.Sprint(o), "PRIVATE") || !strings.Contains(fmt.Sprint(o["certificate"]), "BEGIN CERTIFICATE") {
		t.Fatalf("got %v", o)
	}
	if got := shows(t, https, "h2", "http/1.1"); got != "Corporate root" {
		t.Errorf("browsers see a certificate of %q", got)
	}
	if got := shows(t, https, "http/1.1", metal.SiteProtocol); !strings.HasPrefix(got, metal.SiteAuthority) {
		t.Errorf("racks that enrol see a certificate of %q", got)
	}
	ask()

	// What will not do leaves the one in use alone.
	_, other := corp.issue(48*time.Hour, "other.example")
	for name, fields := range map[string][]string{"another's key": {"key", key, "cert", other}, "no key": {"cert", cert}, "empty": {"key", "", "cert", ""}} {
		if rec := s.call("admin", "POST", "/tls/?op=enable", fields...); rec.Code != http.StatusBadRequest || strings.Contains(rec.Body.String(), "PRIVATE KEY-----\\n") {
			t.Errorf("%s: got %d %s", name, rec.Code, rec.Body)
		}
	}
	key2, wrong := corp.issue(48*time.Hour, "other.example")
	if rec := s.call("admin", "POST", "/tls/?op=enable", "key", key2, "cert", wrong); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "not for localhost") {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	if got := shows(t, https); got != "Corporate root" {
		t.Errorf("after a refused one it shows a certificate of %q", got)
	}
	if rec := s.call("alice", "GET", "/tls/"); rec.Code != http.StatusForbidden {
		t.Errorf("a user reads it: %d", rec.Code)
	}
	if rec := s.call("admin", "POST", "/tls/?op=renew"); rec.Code != http.StatusConflict {
		t.Errorf("renewing what was brought: got %d %s", rec.Code, rec.Body)
	}

	// A command on the host changes it, and the region that runs follows.
	host, err := New(t.Context(), Options{Config: config.Region{StateDir: s.dir}, Version: "test", Log: s.r.log, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	ctx := authz.AsSystem(t.Context(), "config-tls")
	if err := host.Certs.Disable(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "back to its own", func() bool { return strings.HasPrefix(shows(t, https), metal.SiteAuthority) })
	if rec := s.call("admin", "POST", "/tls/?op=disable", "confirm", "true"); rec.Code != http.StatusConflict {
		t.Errorf("disabled twice: got %d", rec.Code)
	}
	serial := func(addr string) string {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // looks only
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial(https)
	if err := host.Certs.Renew(ctx); err != nil {
		t.Fatal(err)
	}
	eventually(t, "renewed", func() bool { return serial(https) != before })
	s.must("admin", "POST", "/tls/?op=enable", "key", key, "cert", cert)
	if rec := s.call("admin", "POST", "/tls/?op=disable"); rec.Code != http.StatusBadRequest {
		t.Errorf("disabled without a word: got %d", rec.Code)
	}
	again, err := New(t.Context(), Options{Config: config.Region{StateDir: s.dir}, Version: "test", Log: s.r.log, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if c := again.Certs.Given(); c == nil || c.Leaf.Issuer.CommonName != "Corporate root" {
		t.Error("a restart forgot it")
	}
	if got := shows(t, rpc); !strings.HasPrefix(got, metal.SiteAuthority) {
		t.Errorf("racks see a certificate of %q", got)
	}
}

// TestCertificateEnds moves the clock over each boundary of a certificate's life, and looks at what two administrators
// are told.
func TestCertificateEnds(t *testing.T) {
	var clock atomic.Int64
	clock.Store(time.Now().UnixNano())
	now := func() time.Time { return time.Unix(0, clock.Load()) }
	s := newSurfaceWith(t, func(o *Options) { o.Now = now })
	s.now = now
	ctx := authz.AsSystem(t.Context(), "test")
	if _, err := s.r.Identity.CreateUser(ctx, identity.NewUser{Name: "bob", Password: secret.FromString("a long enough password"), Admin: true}); err != nil {
		t.Fatal(err)
	}
	u, err := s.r.Identity.User(ctx, "bob")
	if err != nil {
		t.Fatal(err)
	}
	if s.keys["bob"], err = s.r.Identity.CreateKey(authz.With(t.Context(), authz.Principal{Kind: authz.User, Name: "bob", UserID: u.ID}), identity.NewKey{Name: "test"}); err != nil {
		t.Fatal(err)
	}
	key, cert := newCorporate(t, now).issue(40*24*time.Hour, "localhost")
	s.must("admin", "POST", "/tls/?op=enable", "key", key, "cert", cert)
	end := s.r.Certs.Given().Leaf.NotAfter
	told := func(user string) (texts []string) {
		t.Helper()
		for _, n := range (&company{surface: s}).list(user, "/notifications/") {
			if m := fmt.Sprint(n["message"]); strings.Contains(m, "certificate of") {
				for k, v := range n["context"].(map[string]any) {
					m = strings.ReplaceAll(m, "{"+k+"}", fmt.Sprint(v))
				}
				texts = append(texts, m)
			}
		}
		return texts
	}
	var next time.Time
	at := func(left time.Duration) {
		t.Helper()
		clock.Store(end.Add(-left).UnixNano())
		if next, err = s.r.Certs.Remind(ctx, now()); err != nil {
			t.Fatal(err)
		}
	}
	const day = 24 * time.Hour
	want := func(what string, user string, texts ...string) {
		t.Helper()
		if got := told(user); !slices.Equal(got, texts) {
			t.Errorf("%s: %s is told %q, want %q", what, user, got, texts)
		}
	}
	says := func(n int) string { return fmt.Sprintf("The certificate of pages and API expires in %d days.", n) }
	at(30*day + time.Second)
	want("a second before", "admin")
	if got := next.Sub(now()); got != time.Second {
		t.Errorf("looks again in %s, want when it begins", got)
	}
	at(30 * day)
	want("30 days", "admin", says(30))
	want("30 days", "alice")
	at(29*day + time.Second)
	want("still 30 begun days", "bob", says(30))
	if got := next.Sub(now()); got != time.Second {
		t.Errorf("looks again in %s, want when the count changes", got)
	}
	at(29 * day)
	want("29 days", "bob", says(29))
	id := (&company{surface: s}).list("admin", "/notifications/")
	s.must("admin", "POST", fmt.Sprintf("/notifications/%v/?op=dismiss", id[len(id)-1]["id"]))
	want("dismissed", "admin")
	at(14 * day)
	want("dismissed for good", "admin")
	want("not by the other", "bob", says(14))
	s.must("admin", "POST", "/maas/?op=set_config", "name", "metalward_tls_cert_reminders", "value", "true")
	at(7*day + time.Hour)
	want("no reminder at 8", "admin")
	at(7 * day)
	want("reminded at 7", "admin", says(7))
	at(time.Hour)
	want("the last day", "bob", "The certificate of pages and API expires in 1 day.")
	s.must("admin", "POST", "/maas/?op=set_config", "name", "tls_cert_expiration_notification_enabled", "value", "false")
	at(time.Minute)
	want("switched off", "bob")
	s.must("admin", "POST", "/maas/?op=set_config", "name", "tls_cert_expiration_notification_enabled", "value", "true")
	at(time.Second)
	want("a second left", "bob", "The certificate of pages and API expires in 1 day.")
	at(0)
	want("expired", "admin", "The certificate of pages and API has expired.")
	want("expired", "bob", "The certificate of pages and API has expired.")
	if got := s.must("admin", "GET", "/tls/"); !strings.Contains(fmt.Sprint(got["warnings"]), "expired") {
		t.Errorf("the page does not warn: %v", got["warnings"])
	}
	key, cert = newCorporate(t, now).issue(90*24*time.Hour, "localhost")
	s.must("admin", "POST", "/tls/?op=enable", "key", key, "cert", cert)
	if _, err := s.r.Certs.Remind(ctx, now()); err != nil {
		t.Fatal(err)
	}
	want("renewed", "admin")
}

// TestACMEByAPI sets and ends ACME over the network, which cannot name a program that the region would run.
func TestACMEByAPI(t *testing.T) {
	s := newSurface(t)
	settings := []string{"directory", "https://ca.example/dir", "agree_tos", "true"}
	o := s.must("admin", "POST", "/tls/?op=acme", settings...)
	if a, ok := o["acme"].(map[string]any); !ok || a["pending"] != true || a["challenge"] != "http-01" || fmt.Sprint(a["names"]) != "[localhost]" || o["source"] != "own" {
		t.Fatalf("got %v", o)
	}
	for name, more := range map[string][]string{"dns-01 without its program": {"challenge", "dns-01"}, "another's name": {"names", "other.example"}} {
		if rec := s.call("admin", "POST", "/tls/?op=acme", append(slices.Clone(settings), more...)...); rec.Code != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", name, rec.Code, rec.Body)
		}
	}
	if rec := s.call("alice", "POST", "/tls/?op=acme", settings...); rec.Code != http.StatusForbidden {
		t.Errorf("a user sets it: got %d", rec.Code)
	}
	u, err := s.r.Identity.User(authz.AsSystem(t.Context(), "test"), "admin")
	if err != nil {
		t.Fatal(err)
	}
	admin := authz.With(t.Context(), authz.Principal{Kind: authz.User, Name: "admin", UserID: u.ID})
	if _, err := s.r.Certs.SetACME(admin, certs.ACME{Directory: "https://ca.example/dir", AgreeTOS: true, Challenge: certs.DNS01, Hook: "/bin/true"}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("somebody who is not on the host names a program: got %v", err)
	}
	key, cert := newCorporate(t, time.Now).issue(48*time.Hour, "localhost")
	if o := s.must("admin", "POST", "/tls/?op=enable", "key", key, "cert", cert); o["acme"] != nil || o["source"] != "given" {
		t.Errorf("a certificate that is brought does not end ACME: %v", o["acme"])
	}
	s.must("admin", "POST", "/tls/?op=acme", settings...)
	if o := s.must("admin", "POST", "/tls/?op=disable", "confirm", "true"); o["acme"] != nil || o["source"] != "own" {
		t.Errorf("disable does not end ACME: %v", o["acme"])
	}
}
