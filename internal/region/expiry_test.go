package region

import (
	"crypto/ecdsa"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/rack"
	"github.com/metalward/metalward/internal/region/certs"
	"github.com/metalward/metalward/internal/region/directory/directorytest"
	"github.com/metalward/metalward/internal/region/regiontest"
)

// knows returns how a certificate stands in the API's answer; "" for one that is not listed.
func (s *surface) knows(what string) string {
	s.t.Helper()
	for _, k := range s.must("admin", "GET", "/tls/")["known"].([]any) {
		if k := k.(map[string]any); k["what"] == what {
			return fmt.Sprint(k["state"])
		}
	}
	return ""
}

// TestOthersCertificates finds among the certificates that the site depends on those of racks, of an OpenID provider and of a
// directory, once it has talked to them.
func TestOthersCertificates(t *testing.T) {
	regiontest.Slow(t)
	s := newSignOn(t)
	if got := s.knows("identity provider 127.0.0.1"); got != "" {
		t.Errorf("a provider that was not talked to is %q", got)
	}
	if rec := s.browser().send("GET", "/login/oidc/"+s.id); rec.Code/100 != 3 {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	if got := s.knows("identity provider 127.0.0.1"); got != "ok" {
		t.Errorf("the OpenID provider's certificate is %q", got)
	}

	d, _ := newDirectory(t)
	if rec := d.browser().enter("jane", directorytest.Password); rec.Code != http.StatusSeeOther {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	if got := d.knows("identity provider 127.0.0.1"); got != "soon" && got != "ok" {
		t.Errorf("the directory's certificate is %q", got)
	}

	c := &clock{}
	s = &signOn{surface: newSurfaceWith(t, func(o *Options) { o.Now = c.now })}
	s.now = c.now
	s.running()
	if _, err := rack.Enrol(t.Context(), filepath.Join(t.TempDir(), "rack"), s.r.BaseURL, s.r.mintFor(t, "rack1")); err != nil {
		t.Fatal(err)
	}
	for _, at := range []struct {
		age  time.Duration
		want certs.State
	}{{0, certs.OK}, {19 * time.Hour, certs.OK}, {21 * time.Hour, certs.Soon}, {25 * time.Hour, certs.Expired}} {
		c.ahead.Store(int64(at.age))
		if got := s.knows("rack controller rack1"); got != string(at.want) {
			t.Errorf("%s after it was issued the rack's certificate is %q, want %q", at.age, got, at.want)
		}
	}
	if _, err := s.r.Certs.Remind(authz.AsSystem(t.Context(), "test"), c.now()); err != nil {
		t.Fatal(err)
	}
	found := false
	for _, n := range (&company{surface: s.surface}).list("admin", "/notifications/") {
		found = found || fmt.Sprint(n["context"]) == "map[days:0 unit:days what:rack controller rack1]"
	}
	if !found {
		t.Error("nobody is told of the rack's certificate")
	}
}

// TestProviderHasEnded sees that a provider's certificate has ended: the connection is refused, and the reason is listed.
func TestProviderHasEnded(t *testing.T) {
	ca, err := pki.NewCA("Provider root", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Server(&key.PublicKey, "idp", nil, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, -time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair(t, key, chain)}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSurfaceWith(t, func(o *Options) { o.Config.EgressAllow, o.Config.EgressCA = []string{"127.0.0.0/8"}, file })
	p := s.must("admin", "POST", "/oidc-providers/", "name", "Old", "issuer_url", srv.URL, "client_id", "x", "client_secret", "y", "enabled", "true", "vendor", "keycloak",
		"token_type", "JWT", "redirect_uri", s.r.BaseURL+"/login/oidc/callback", "scopes", "openid")
	b := (&signOn{surface: s}).browser()
	if rec := b.send("GET", "/login/oidc/"+fmt.Sprint(p["id"])); rec.Code/100 == 3 && rec.Header().Get("Location")[:5] == "https" {
		t.Fatalf("the browser was sent to %s", rec.Header().Get("Location"))
	}
	if got := s.knows("identity provider 127.0.0.1"); got != "expired" {
		t.Errorf("its certificate is %q", got)
	}
}

func pair(t *testing.T, key *ecdsa.PrivateKey, chain []byte) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(chain, []byte(keyPEM(t, key)))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
