package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/fault"
)

func TestCheck(t *testing.T) {
	c := Config{Denied: func(a netip.Addr) bool { return netip.MustParsePrefix("10.20.0.0/16").Contains(a) }, Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}}
	for address, ok := range map[string]bool{
		"93.184.216.34": true, "10.0.0.5": true, "192.168.1.1": true, "2606:4700::1111": true, "fd12:3456::1": true, "127.0.0.9": true,
		"127.0.0.1": false, "127.1.2.3": false, "0.0.0.0": false, "169.254.169.254": false, "100.100.100.200": false, "10.20.3.4": false, "224.0.0.1": false, "255.255.255.255": false,
		"::1": false, "::": false, "fe80::1": false, "fe80::1%eth0": false, "ff02::1": false, "fd00:ec2::254": false,
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:10.20.0.1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b::5db8:d822": true, "2002:7f00:1::": false, "2002:a9fe:a9fe::1": false,
		"::127.0.0.1": false, "::ffff:10.0.0.5": true,
	} {
		err := c.Check(netip.MustParseAddr(address))
		if (err == nil) != ok || err != nil && !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: got %v, want allowed %v", address, err, ok)
		}
	}
}

// inside is a server on this host, and a client that may or may not reach it.
func inside(t *testing.T, h http.Handler) (*httptest.Server, func(allowed bool) *http.Client) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return s, func(allowed bool) *http.Client {
		c := Config{Roots: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
		if allowed {
			c.Allowed = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
		}
		return c.Client()
	}
}

func get(t *testing.T, c *http.Client, url string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// TestClient reaches what it may, and neither by a name nor by a redirect what it may not.
func TestClient(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "plain") }))
	defer plain.Close()
	calls := 0
	s, client := inside(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls++
		switch r.URL.Path {
		case "/plain":
			http.Redirect(w, r, plain.URL, http.StatusFound)
		case "/metadata":
			http.Redirect(w, r, "https://169.254.169.254/latest/meta-data/", http.StatusFound)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/large":
			_, _ = io.WriteString(w, strings.Repeat("x", MaxBody+1))
		case "/most":
			_, _ = io.WriteString(w, strings.Repeat("x", MaxBody))
		default:
			_, _ = io.WriteString(w, "hello")
		}
	}))
	if body, err := get(t, client(true), s.URL); err != nil || body != "hello" {
		t.Errorf("got %q, %v", body, err)
	}
	if body, err := get(t, client(true), s.URL+"/most"); err != nil || len(body) != MaxBody {
		t.Errorf("got %d bytes, %v", len(body), err)
	}
	_, port, _ := strings.Cut(s.Listener.Addr().String(), ":")
	calls = 0
	for _, url := range []string{s.URL, "https://localhost:" + port, "https://[::ffff:127.0.0.1]:" + port, "https://0:" + port, "https://2130706433:" + port} {
		if _, err := get(t, client(false), url); err == nil {
			t.Errorf("%s was reached", url)
		}
	}
	if calls != 0 {
		t.Errorf("the server was reached %d times", calls)
	}
	for path, want := range map[string]string{"/plain": "https://", "/metadata": "not allowed", "/loop": "one address to the next", "/large": "cannot read more than"} {
		if _, err := get(t, client(true), s.URL+path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	if _, err := get(t, client(true), "https://user:secret@"+s.Listener.Addr().String()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("a password in the address: got %v", err)
	}
	if _, err := get(t, client(true), plain.URL); !fault.Is(unwrap(err), fault.Forbidden) {
		t.Errorf("got %v, want forbidden", err)
	}
}

func unwrap(err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return f
	}
	return err
}

func TestMessage(t *testing.T) {
	s, client := inside(t, http.NotFoundHandler())
	_, refused := get(t, client(false), s.URL)
	_, untrusted := get(t, Config{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}.Client(), s.URL)
	for want, err := range map[string]error{"not allowed": refused, "certificate is not trusted": untrusted, "in time": fmt.Errorf("x: %w", context.DeadlineExceeded), "could not be reached": errors.New("dial tcp 10.0.0.1:80: connection refused")} {
		if got := Message(err); !strings.Contains(got, want) || strings.Contains(got, "10.0.0.1:80") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
