package web

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// echo serves who the client is over TLS, behind the PROXY protocol for trusted networks.
func echo(t *testing.T, trusted ...string) (address string) {
	t.Helper()
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	t.Cleanup(cert.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var nets []netip.Prefix
	for _, text := range trusted {
		nets = append(nets, netip.MustParsePrefix(text))
	}
	s := &Server{Trusted: nets}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, s.client(r)) })
	go func() {
		defer close(done)
		if err := Serve(ctx, Proxied(l, nets), h, &tls.Config{Certificates: cert.TLS.Certificates, MinVersion: tls.VersionTLS12}, slog.New(slog.DiscardHandler)); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return l.Addr().String()
}

// ask sends a header before TLS, and returns whom the server takes us for.
func ask(address, header string, fields ...string) (string, error) {
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 77)}}).DialContext(ctx, network, addr)
		if err == nil {
			_, err = io.WriteString(c, header)
		}
		return c, err
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // a test's own server
	req, err := http.NewRequest(http.MethodGet, "https://"+address, nil)
	if err != nil {
		return "", err
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// TestProxyProtocol believes trusted proxies alone, and these only with a header.
func TestProxyProtocol(t *testing.T) {
	const v1 = "PROXY TCP4 203.0.113.9 192.0.2.1 4711 5443\r\n"
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\xc0\x00\x02\x01\x12\x67\x15\x43"
	trusting, strict := echo(t, "127.0.0.0/8"), echo(t, "192.0.2.0/24")
	for _, c := range []struct {
		name, address, header, want string
		fields                      []string
	}{
		{"version 1", trusting, v1, "203.0.113.9", nil},
		{"version 2", trusting, v2, "203.0.113.9", nil},
		{"a client cannot add to it", trusting, v1, "203.0.113.9", []string{"X-Forwarded-For", "198.51.100.1"}},
		{"a trusted proxy without a header", trusting, "", "", nil},
		{"nonsense from a trusted proxy", trusting, "PROXY NONSENSE\r\n", "", nil},
		{"a stranger", strict, "", "127.0.0.77", nil},
		{"a stranger with a header", strict, v1, "", nil},
	} {
		got, err := ask(c.address, c.header, c.fields...)
		if got != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

// TestHAProxy has the real thing in front.
func TestHAProxy(t *testing.T) {
	program, err := exec.LookPath("haproxy")
	if err != nil {
		program = "/usr/sbin/haproxy"
		if _, err := os.Stat(program); err != nil {
			t.Skip("haproxy is not installed; TestProxyProtocol speaks its protocol by hand")
		}
	}
	behind := echo(t, "127.0.0.0/8")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	front := free.Addr().String()
	_ = free.Close()
	for _, version := range []string{"send-proxy", "send-proxy-v2"} {
		file := filepath.Join(t.TempDir(), "haproxy.cfg")
		text := fmt.Sprintf("defaults\n mode tcp\n timeout connect 5s\n timeout client 10s\n timeout server 10s\nfrontend f\n bind %s\n default_backend b\nbackend b\n server s %s %s\n", front, behind, version)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cmd := exec.CommandContext(ctx, program, "-db", "-f", file)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		got := ""
		for range 1200 {
			if got, err = ask(front, ""); err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		cancel()
		_ = cmd.Wait() // it was killed
		if err != nil || got != "127.0.0.77" {
			t.Errorf("%s: got %q, %v\n%s", version, got, err, out.String())
		}
	}
}
