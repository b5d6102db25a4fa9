package rackrpc_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/alerts"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/rackrpc"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

// port is a region that serves racks on the loopback address.
type port struct {
	*regiontest.Core
	t     *testing.T
	clock *regiontest.Clock
	addr  string
}

func serve(t *testing.T) *port {
	t.Helper()
	p := &port{t: t, clock: regiontest.NewClock()}
	p.Core = regiontest.New(t, p.clock.Now)
	cert := p.ServerCertificate(t)
	found, err := alerts.New(alerts.Config{Gate: p.Gate, Now: p.clock.Now, Log: regiontest.Silent, Region: regiontest.RegionID, Tell: p.Notify})
	if err != nil {
		t.Fatal(err)
	}
	srv := &rackrpc.Server{Gate: p.Gate, Controllers: p.Controllers, Machines: p.Machines, Images: p.Images, Hosts: p.Hosts, Alerts: found, Now: p.clock.Now, Log: regiontest.Silent,
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p *port) config(cert *tls.Certificate, alpn ...string) *tls.Config {
	cfg := &tls.Config{RootCAs: p.Roots(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13, NextProtos: alpn, Time: p.clock.Now}
	if cert != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil } // whatever the server asks for
	}
	return cfg
}

// limit bounds what should happen at once; no test waits for it to pass.
const limit = 20 * time.Second

func (p *port) dial(cert *tls.Certificate, alpn ...string) (*tls.Conn, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: limit}, Config: p.config(cert, alpn...)}
	conn, err := d.Dial("tcp", p.addr)
	if err != nil {
		return nil, err
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		p.t.Fatal(err)
	}
	return conn.(*tls.Conn), nil
}

// session connects as a rack.
func (p *port) session(cert *tls.Certificate) *wire.Session {
	p.t.Helper()
	conn, err := p.dial(cert, wire.ALPN)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		p.t.Fatal(err)
	}
	answer := wire.Handlers{
		wire.Power.Name:    func(context.Context, []byte) (any, error) { return wire.PowerResponse{State: metal.PowerOn}, nil },
		wire.Snapshot.Name: func(context.Context, []byte) (any, error) { return nil, nil },
	}
	s, err := wire.NewSession(conn, true, answer, func(wire.Message) error { return nil }, regiontest.Silent)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = s.Close() })
	return s
}

func (p *port) want(err error, kind fault.Kind) {
	p.t.Helper()
	if !fault.Is(err, kind) {
		p.t.Errorf("got %v (kind %s), want kind %s", err, fault.KindOf(err), kind)
	}
}

// eventually waits for what another goroutine is about to do.
func (p *port) eventually(what string, ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("timed out waiting for: %s", what)
		}
	}
}

// security waits for a security event of a kind, whose reason contains a text.
func (p *port) security(kind, reason string) {
	p.t.Helper()
	p.eventually("event "+kind+" with "+reason, func() bool {
		return slices.ContainsFunc(p.Trail(p.t), func(e metal.AuditEvent) bool {
			return e.Action == string(authz.SecurityEvent) && e.Detail["event"] == kind && strings.Contains(e.Detail["reason"], reason)
		})
	})
}

// silent reads until the server ends the connection and returns what came.
func silent(conn net.Conn) []byte {
	got, _ := io.ReadAll(conn)
	return got
}

// TestStrangersGetNothing closes every connection that does not prove a rack before the first byte of a session
// (security requirements 1 and 3).
func TestStrangersGetNothing(t *testing.T) {
	for name, c := range map[string]struct {
		cert         func(p *port, id string) *tls.Certificate
		kind, reason string
	}{
		"no certificate": {func(*port, string) *tls.Certificate { return nil }, "rpc_handshake_failed", ""},
		"another authority": {func(p *port, id string) *tls.Certificate {
			foreign, err := pki.NewCA("racks", nil, p.clock.Now())
			if err != nil {
				p.t.Fatal(err)
			}
			return p.issue(foreign, "/rack/"+id, time.Hour)
		}, "rpc_certificate_refused", "not one of this instance's racks"},
		"the machines' CA":  {func(p *port, _ string) *tls.Certificate { return p.issue(p.Site.Machines, "/boot/abc", time.Hour) }, "rpc_certificate_refused", "not one of this instance's racks"},
		"a boot's rack":     {func(p *port, id string) *tls.Certificate { return p.issue(p.Site.Machines, "/rack/"+id, time.Hour) }, "rpc_certificate_refused", "not one of this instance's racks"},
		"no name of a rack": {func(p *port, _ string) *tls.Certificate { return p.issue(p.Site.Racks, "/boot/abc", time.Hour) }, "rpc_certificate_refused", "does not name a rack"},
		"a rack that is not": {func(p *port, _ string) *tls.Certificate {
			return p.issue(p.Site.Racks, "/rack/"+metal.NewSystemID(), time.Hour)
		}, "rpc_certificate_refused", "removed"},
		"a removed rack": {func(p *port, _ string) *tls.Certificate {
			id, cert := p.Enrol(p.t, "removed")
			if err := p.Controllers.Remove(p.Admin(p.t), id); err != nil {
				p.t.Fatal(err)
			}
			return cert
		}, "rpc_certificate_refused", "removed"},
		"expired beyond renewal": {func(p *port, _ string) *tls.Certificate {
			_, cert := p.Enrol(p.t, "old")
			p.clock.Advance(pki.RackLife + 30*24*time.Hour + time.Second)
			return cert
		}, "rpc_certificate_refused", "enrol it again"},
	} {
		t.Run(name, func(t *testing.T) {
			p := serve(t)
			id, _ := p.Enrol(t, "r")
			cert := c.cert(p, id)
			for _, alpn := range []string{wire.ALPN, wire.ALPNImage} {
				conn, err := p.dial(cert, alpn)
				if err != nil {
					continue
				}
				if _, err := conn.Write([]byte("GET /image/x HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
					continue
				}
				if got := silent(conn); len(got) != 0 {
					t.Errorf("over %s: got %q", alpn, got)
				}
			}
			p.security(c.kind, c.reason)
			if up := p.Controllers.Connected(); len(up) != 0 {
				t.Errorf("got racks %v connected", up)
			}
		})
	}
}

func (p *port) issue(ca *pki.CA, path string, life time.Duration) *tls.Certificate {
	return regiontest.ClientCertificate(p.t, ca, p.Site.ID, path, life, p.clock.Now())
}

// TestEcho closes a client that sends back every byte that it gets (security requirement 1).
func TestEcho(t *testing.T) {
	p := serve(t)
	tcp, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tcp.Close() }()
	_ = tcp.SetDeadline(time.Now().Add(limit))
	if _, err := tcp.Write([]byte{21, 3, 3, 0, 2, 2, 40}); err != nil { // an alert: what the server would say first
		t.Fatal(err)
	}
	if n, err := io.Copy(tcp, tcp); n > 7 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %d bytes to send back, %v", n, err)
	}
	foreign, err := pki.NewCA("racks", nil, p.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, cert := range map[string]*tls.Certificate{"without a certificate": nil, "with another's": regiontest.ClientCertificate(t, foreign, p.Site.ID, "/rack/x", time.Hour, p.clock.Now())} {
		conn, err := p.dial(cert, wire.ALPN)
		if err != nil {
			continue
		}
		if n, _ := io.Copy(conn, conn); n != 0 {
			t.Errorf("%s: got %d bytes to send back", name, n)
		}
	}
}

// TestPlainTCP gets no data but the alert that refuses it (security requirement 2).
func TestPlainTCP(t *testing.T) {
	p := serve(t)
	for name, hello := range map[string]string{"HTTP": "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/2": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "SSH": "SSH-2.0-x\r\n", "noise": "\x00\x01\x02\x03\x04\x05\x06\x07"} {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(limit))
		if _, err := conn.Write([]byte(hello)); err != nil {
			t.Fatal(err)
		}
		got := silent(conn)
		if len(got) > 7 || len(got) > 0 && got[0] != 21 { // RFC 8446 section 5.1: alert
			t.Errorf("%s: got %q", name, got)
		}
		_ = conn.Close()
	}
	old := p.config(nil, wire.ALPN)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if conn, err := tls.Dial("tcp", p.addr, old); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.2 is spoken")
	}
}

// TestClasses sends every message in every class of session (security requirement 3).
func TestClasses(t *testing.T) {
	p := serve(t)
	id, cert := p.Enrol(t, "r")
	p.Serve(t, id, netip.MustParsePrefix("10.0.0.2/24"))
	good := p.session(cert)
	if err := good.Call(t.Context(), wire.Hello, wire.HelloRequest{Protocol: wire.Protocol}, nil); err != nil {
		t.Fatal(err)
	}
	p.clock.Advance(pki.RackLife + time.Hour)
	expired := p.session(cert)
	for _, m := range wire.Messages {
		err := expired.Call(t.Context(), m, map[string]any{}, nil)
		var want fault.Kind
		switch {
		case m.From == wire.FromExpired:
			want = fault.Invalid // it is heard: the request is empty
		case m.From == wire.FromRack && m.Name != wire.Image.Name:
			want = fault.Forbidden
		default:
			want = fault.NotFound // not answered on this side
		}
		if !fault.Is(err, want) {
			t.Errorf("%s with an expired certificate: got %v, want kind %s", m.Name, err, want)
		}
	}
	if slices.Contains(p.Controllers.Connected(), id) && p.Controllers.Call(t.Context(), id, wire.Power, wire.PowerRequest{}, nil) != nil {
		t.Error("the session that may only renew took the rack's place")
	}
	fresh, _ := renew(t, expired)
	good = p.session(fresh)
	for _, m := range wire.Messages {
		err := good.Call(t.Context(), m, map[string]any{"no_such_field": 1}, nil)
		want := fault.Invalid
		if m.From == wire.FromRegion || m.Name == wire.Image.Name {
			want = fault.NotFound
		}
		if !fault.Is(err, want) {
			t.Errorf("%s with an unknown field: got %v, want kind %s", m.Name, err, want)
		}
	}
}

// renew gets a rack's next certificate.
func renew(t *testing.T, s *wire.Session) (*tls.Certificate, wire.CertificateResponse) {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	var resp wire.CertificateResponse
	if err := s.Call(t.Context(), wire.Renew, wire.CertificateRequest{CSR: csr}, &resp); err != nil {
		t.Fatal(err)
	}
	return regiontest.Renewed(t, resp, key), resp
}

// TestRenewAfterOutage has three racks come back by themselves after 72 hours without a region.
func TestRenewAfterOutage(t *testing.T) {
	p := serve(t)
	type member struct {
		id   string
		cert *tls.Certificate
	}
	var racks []member
	for i := range 3 {
		id, cert := p.Enrol(t, fmt.Sprint("r", i))
		racks = append(racks, member{id, cert})
	}
	p.clock.Advance(72 * time.Hour)
	for i, r := range racks {
		s := p.session(r.cert)
		p.want(s.Call(t.Context(), wire.Hello, wire.HelloRequest{Protocol: wire.Protocol}, nil), fault.Forbidden)
		cert, resp := renew(t, s)
		_ = s.Close()
		racks[i].cert = cert
		s = p.session(cert)
		var hello wire.HelloResponse
		if err := s.Call(t.Context(), wire.Hello, wire.HelloRequest{Protocol: wire.Protocol}, &hello); err != nil || hello.SystemID != r.id || !hello.Now.Equal(p.clock.Now()) {
			t.Errorf("got %+v, %v", hello, err)
		}
		if !resp.Expires.Equal(p.clock.Now().Add(pki.RackLife)) {
			t.Errorf("got a certificate until %s", resp.Expires)
		}
	}
	p.eventually("three racks", func() bool { return len(p.Controllers.Connected()) == 3 })
	told := 0
	for _, e := range p.Trail(t) {
		if e.Action == string(authz.RackRenew) && e.Detail["event"] == "renewed_with_expired_certificate" {
			told++
		}
	}
	if told != 3 {
		t.Errorf("got %d events of renewals after the end, want 3", told)
	}
	p.clock.Advance(31*24*time.Hour + pki.RackLife)
	if conn, err := p.dial(racks[0].cert, wire.ALPN); err == nil {
		if got := silent(conn); len(got) != 0 {
			t.Errorf("beyond the grace: got %q", got)
		}
	}
}

// TestRemovedWhileOpen ends the session of a rack that is removed, and refuses what still comes.
func TestRemovedWhileOpen(t *testing.T) {
	p := serve(t)
	id, cert := p.Enrol(t, "r")
	s := p.session(cert)
	if err := s.Call(t.Context(), wire.Hello, wire.HelloRequest{Protocol: wire.Protocol}, nil); err != nil {
		t.Fatal(err)
	}
	p.eventually("the rack", func() bool { return len(p.Controllers.Connected()) == 1 })
	digest := p.image()
	images, err := p.dial(cert, wire.ALPNImage)
	if err != nil {
		t.Fatal(err)
	}
	if res, body := fetch(t, images, "/image/"+digest, ""); res.StatusCode != http.StatusOK || body != imageText {
		t.Fatalf("got %s %q", res.Status, body)
	}
	if err := p.Controllers.Remove(p.Admin(t), id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Done():
	case <-time.After(5 * time.Second):
		t.Error("the session goes on after five seconds")
	}
	if err := s.Call(t.Context(), wire.Hello, wire.HelloRequest{Protocol: wire.Protocol}, nil); err == nil {
		t.Error("a message was answered")
	}
	if res, body := fetch(t, images, "/image/"+digest, ""); res.StatusCode != http.StatusUnauthorized || strings.Contains(body, imageText) {
		t.Errorf("the open connection for images: got %s %q", res.Status, body)
	}
}

// TestRevokedBetweenMessages refuses messages on a session that nobody closed.
func TestRevokedBetweenMessages(t *testing.T) {
	p := serve(t)
	id, cert := p.Enrol(t, "r")
	s := p.session(cert)
	if err := s.Call(t.Context(), wire.Hello, wire.HelloRequest{Protocol: wire.Protocol}, nil); err != nil {
		t.Fatal(err)
	}
	err := p.Gate.Do(authz.AsSystem(context.Background(), "other region"), authz.ControllerEdit, func(c *gate.Call) error {
		if err := c.Require(store.ControllerTarget(id)); err != nil {
			return err
		}
		ctl, err := c.Tx().Controller(id)
		ctl.Revoked = true
		return errors.Join(err, c.Tx().PutController(ctl))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range wire.Messages {
		if m.From == wire.FromRegion || m.Name == wire.Image.Name {
			continue
		}
		if err := s.Call(t.Context(), m, map[string]any{}, nil); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: got %v, want Unauthenticated", m.Name, err)
		}
	}
}

const imageText = "the bytes of an image"

func (p *port) image() (digest string) {
	p.t.Helper()
	sum := sha256.Sum256([]byte(imageText))
	digest = hex.EncodeToString(sum[:])
	admin := p.Admin(p.t)
	b, err := p.Images.Announce(admin, metal.BootResource{Name: "custom/tiny", Architecture: "amd64", FileType: "ddraw", SizeBytes: int64(len(imageText)), SHA256: digest})
	if err == nil {
		_, err = p.Images.Append(admin, b.ID, strings.NewReader(imageText), int64(len(imageText)))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return digest
}

func fetch(t *testing.T, conn net.Conn, path, ranges string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://region"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ranges != "" {
		req.Header.Set("Range", ranges)
	}
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res, string(body)
}

// TestImages serves ranges of complete images by digest, and nothing else.
func TestImages(t *testing.T) {
	p := serve(t)
	_, cert := p.Enrol(t, "r")
	digest := p.image()
	conn, err := p.dial(cert, wire.ALPNImage)
	if err != nil {
		t.Fatal(err)
	}
	if res, body := fetch(t, conn, "/image/"+digest, "bytes=4-8"); res.StatusCode != http.StatusPartialContent || body != imageText[4:9] {
		t.Errorf("got %s %q", res.Status, body)
	}
	for _, path := range []string{"/", "/image/", "/image/" + strings.Repeat("0", 64), "/image/../root.key", "/image/" + digest + "/x", "/v1/hello", "/image/" + strings.Repeat("../", 21) + "x"} {
		if res, body := fetch(t, conn, path, ""); res.StatusCode == http.StatusOK || strings.Contains(body, imageText) {
			t.Errorf("%s: got %s %q", path, res.Status, body)
		}
	}
	p.clock.Advance(pki.RackLife + time.Minute)
	if res, _ := fetch(t, conn, "/image/"+digest, ""); res.StatusCode != http.StatusForbidden {
		t.Errorf("after the certificate's end: got %s", res.Status)
	}
	if late, err := p.dial(cert, wire.ALPNImage); err == nil {
		if got := silent(late); len(got) != 0 {
			t.Errorf("a connection with an expired certificate: got %q", got)
		}
	}
}

// TestAnotherRacksMachine refuses everything that a rack says of a machine of another (security requirement 6).
func TestAnotherRacksMachine(t *testing.T) {
	p := serve(t)
	mine, mineCert := p.Enrol(t, "mine")
	theirs, theirCert := p.Enrol(t, "theirs")
	p.Serve(t, mine, netip.MustParsePrefix("10.0.0.2/24"))
	p.Serve(t, theirs, netip.MustParsePrefix("10.1.0.2/24"))
	own, other := p.session(mineCert), p.session(theirCert)
	ctx := t.Context()
	boot := wire.BootRequest{MAC: "52:54:00:00:00:01", IP: netip.MustParseAddr("10.0.0.101")}
	var d metal.BootDecision
	if err := own.Call(ctx, wire.Boot, boot, &d); err != nil || d.Token == "" {
		t.Fatalf("got %+v, %v", d, err)
	}
	p.want(other.Call(ctx, wire.Boot, boot, nil), fault.Forbidden)
	claim := wire.ClaimRequest{Token: d.Token, MAC: boot.MAC, IP: boot.IP, LeaseMAC: boot.MAC, CSR: regiontest.CSR(t)}
	p.want(other.Call(ctx, wire.Claim, claim, nil), fault.Unauthenticated)
	var claimed wire.ClaimResponse
	if err := own.Call(ctx, wire.Claim, claim, &claimed); err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCerts(claimed.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	ref := wire.BootRef{BootID: claimed.BootID, CertHash: pki.Fingerprint(certs[0].Raw)}
	if err := own.Call(ctx, wire.Task, ref, nil); err != nil {
		t.Fatal(err)
	}
	for m, req := range map[wire.Message]any{wire.Task: ref, wire.Seed: ref, wire.Found: wire.FoundRequest{BootRef: ref, Inventory: metal.Inventory{Architecture: "amd64"}}, wire.Output: wire.OutputRequest{BootRef: ref},
		wire.Progress: wire.ProgressRequest{BootRef: ref}, wire.Done: wire.DoneRequest{BootRef: ref, OK: true}, wire.PhoneHome: wire.PhoneHomeRequest{Credential: "x"}} {
		if err := other.Call(ctx, m, req, nil); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: got %v, want Unauthenticated", m.Name, err)
		}
	}
	p.want(other.Call(ctx, wire.PowerKey, wire.PowerKeyRequest{CommandID: 1, SystemID: "x"}, nil), fault.Forbidden)
	if err := own.Call(ctx, wire.Task, ref, nil); err != nil {
		t.Errorf("the machine's own rack is hindered: %v", err)
	}
	// Nor with a certificate of the machine itself.
	agent := regiontest.ClientCertificate(t, p.Site.Machines, p.Site.ID, "/boot/"+claimed.BootID, time.Hour, p.clock.Now())
	if conn, err := p.dial(agent, wire.ALPN); err == nil {
		if got := silent(conn); len(got) != 0 {
			t.Errorf("a machine's certificate: got %q", got)
		}
	}
}

// TestNewerSession takes the place of an older one of the same rack.
func TestNewerSession(t *testing.T) {
	p := serve(t)
	id, cert := p.Enrol(t, "r")
	first := p.session(cert)
	if err := first.Call(t.Context(), wire.Hello, wire.HelloRequest{Protocol: wire.Protocol}, nil); err != nil {
		t.Fatal(err)
	}
	second := p.session(cert)
	if err := second.Call(t.Context(), wire.Hello, wire.HelloRequest{Protocol: wire.Protocol}, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.Done():
	case <-time.After(limit):
		t.Error("the older session goes on")
	}
	var resp wire.PowerResponse
	if err := p.Controllers.Call(t.Context(), id, wire.Power, wire.PowerRequest{}, &resp); err != nil || resp.State != metal.PowerOn {
		t.Errorf("got %+v, %v over the newer one", resp, err)
	}
}

// TestObservations takes leases without audit events, and security events with one.
func TestObservations(t *testing.T) {
	p := serve(t)
	id, cert := p.Enrol(t, "r")
	s := p.session(cert)
	before := len(p.Trail(t))
	lease := metal.Lease{MAC: "52:54:00:00:00:01", IP: netip.MustParseAddr("10.0.0.101"), Expires: p.clock.Now().Add(time.Hour)}
	if err := s.Call(t.Context(), wire.Leases, wire.LeasesRequest{Leases: []metal.Lease{lease}}, nil); err != nil {
		t.Fatal(err)
	}
	p.View(t, func(v *store.View) error {
		list, err := v.Leases(id, p.clock.Now())
		if len(list) != 1 || list[0].IP != lease.IP {
			t.Errorf("got leases %+v", list)
		}
		return err
	})
	// What a rack's checks of its host found is one, too; a report that no rack of ours makes is refused.
	for _, c := range []struct {
		state guard.State
		ok    bool
		kind  fault.Kind
	}{{state: "pass", kind: fault.Invalid}, {state: guard.Fail, ok: true}, {state: guard.Fail, kind: fault.Exhausted}} {
		r := guard.HostReport{At: p.clock.Now(), Findings: []guard.HostFinding{{Check: "files-x", State: c.state, Severity: guard.Medium}}}
		if err := s.Call(t.Context(), wire.HostChecks, wire.HostChecksRequest{Report: r}, nil); (err == nil) != c.ok || err != nil && !fault.Is(err, c.kind) {
			t.Errorf("a report of state %q: got %v, want %v, %v", c.state, err, c.ok, c.kind)
		}
	}
	if n := len(p.Trail(t)); n != before {
		t.Errorf("got %d events of reports, want none", n-before)
	}
	if st, err := p.Hosts.Get(p.Admin(t), id); err != nil || st.Score.Value != 92 {
		t.Errorf("got %+v, %v", st.Score, err)
	}
	for sent, want := range map[string]string{"rogue_dhcp": "rogue_dhcp", "rogue_dhcp\x1b": "rack_other", "trail_broken": "rack_other"} { // no rack says what regions say
		before = len(p.Trail(t))
		if err := s.Call(t.Context(), wire.Security, wire.SecurityRequest{Kind: sent, Source: lease.IP, MAC: lease.MAC, Detail: "x"}, nil); err != nil {
			t.Fatal(err)
		}
		list := p.Trail(t)
		e := list[len(list)-1]
		if len(list) != before+1 || e.Principal != "rack:"+id || e.Detail["event"] != want || strings.Contains(e.Detail["kind"], "\x1b") || e.Detail["seen_at"] != "10.0.0.101" || e.Source != "127.0.0.1" {
			t.Errorf("%q: got %d events, the last %+v", sent, len(list)-before, e)
		}
	}
}
