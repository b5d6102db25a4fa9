package cli

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/pki"
)

// newServer starts an HTTPS server on a loopback address, with an authority of its own. It knows one API key,
// and hands calls with this key to h; without h it answers all of them like whoami.
func newServer(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	ca, err := pki.NewCA("test", nil, time.Now())
	must(err)
	key, err := pki.NewKey()
	must(err)
	chain, err := ca.Server(key.Public(), "test", nil, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, time.Hour, time.Now())
	must(err)
	certs, err := pki.ParseCerts(chain)
	must(err)
	cert := tls.Certificate{PrivateKey: key}
	for _, c := range certs {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-MAAS-API-Hash", maasapi.Hash())
		if !strings.Contains(r.Header.Get("Authorization"), `oauth_token="token"`) || !strings.Contains(r.Header.Get("Authorization"), "%26the") {
			http.Error(w, "Authorization Error: Invalid API key.", http.StatusUnauthorized)
			return
		}
		if h == nil {
			whoami(w, r)
			return
		}
		h(w, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are the point of some tests
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func whoami(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"username": "alice"}`)
}
