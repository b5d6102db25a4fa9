package seclog

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

var (
	at    = time.Date(2027, 3, 1, 12, 0, 0, 123456000, time.UTC)
	alice = authz.Principal{Kind: authz.User, Name: "alice", Rights: authz.NewRights()}
	root  = authz.Principal{Kind: authz.User, Name: "root", Rights: authz.Everything()}
	quiet = slog.New(slog.DiscardHandler)
)

func event(p authz.Principal, action authz.Action, target, outcome string, detail ...string) metal.AuditEvent {
	e := metal.AuditEvent{Region: "r1", Time: at, Principal: p.String(), Action: string(action), Target: target, Outcome: outcome, Source: "192.0.2.1", RequestID: "req", Detail: map[string]string{}}
	for i := 0; i < len(detail); i += 2 {
		e.Detail[detail[i]] = detail[i+1]
	}
	return e
}

// TestNames gives each kind of event the names of both vocabularies.
func TestNames(t *testing.T) {
	anon := authz.Principal{Kind: authz.Anonymous}
	rack := authz.Principal{Kind: authz.Rack, Name: "rack1"}
	service := authz.Principal{Kind: authz.System, Name: "rbac"}
	for _, c := range []struct {
		p                  authz.Principal
		e                  metal.AuditEvent
		owasp, maas, level string
	}{
		{alice, event(alice, authz.UserLogin, "user:1", "success"), "authn_login_success:alice", "AUTHN_login_successful", Info},
		{anon, event(anon, authz.UserLogin, "", "denied", "username", "bob"), "authn_login_fail:bob", "AUTHN_login_unsuccessful", Warn},
		{alice, event(alice, authz.UserSignOn, "user:1", "success", "provider", "Example"), "authn_login_success:alice", "AUTHN_login_successful", Info},
		{anon, event(anon, authz.UserSignOn, "", "success", "change", "created", "username", "jane"), "user_created:jane", "USER_created:jane", Warn},
		{anon, event(anon, authz.UserSignOn, "", "denied", "reason", "another nonce"), "authn_login_fail", "AUTHN_login_unsuccessful", Warn},
		{anon, event(anon, authz.MachineView, "", "denied"), "authn_login_fail", "AUTHN_authentication_failed", Warn},
		{alice, event(alice, authz.MachineDelete, "machine:abc", "denied"), "authz_fail:alice,machine:abc", "AUTHZ_fail", Critical},
		{alice, event(alice, authz.SettingView, "", "denied"), "authz_fail:alice,setting.view", "AUTHZ_fail", Critical},
		{root, event(root, authz.GrantEdit, "user:2", "success"), "privilege_permissions_changed:root,grant.edit", "AUTHZ_administrative:user:edit:2", Warn},
		{service, event(service, authz.UserRights, "user:3", "success", "username", "jane", "given", "rbac:view on pool lab"), "privilege_permissions_changed:jane,user.rights", "AUTHZ_administrative:user:rights:3", Warn},
		{root, event(root, authz.UserEdit, "user:7", "success", "change", "created", "username", "bob"), "user_created:root", "USER_created:bob", Warn},
		{root, event(root, authz.UserEdit, "user:7", "success", "change", "something new"), "user_updated:root", "USER_updated:root", Warn},
		{alice, event(alice, authz.KeyEdit, "user:1", "success", "change", "password changed"), "authn_password_change:alice", "AUTHN_password_changed:alice", Info},
		{root, event(root, authz.MachineReadPower, "machine:abc", "success"), "sensitive_read:root,machine.read_power_parameters", "AUTHZ_administrative:machine:read_power_parameters:abc", Warn},
		{root, event(root, authz.MachineDeploy, "machine:abc", "success"), "authz_admin:root,machine.deploy", "AUTHZ_administrative:machine:deploy:abc", Warn},
		{anon, event(anon, authz.SecurityEvent, "", "denied", "event", "key_exposed"), "key_exposed", "SECURITY_key_exposed", Critical},
		{rack, event(rack, authz.MachineReport, "machine:abc", "success"), "", "", ""},
		{alice, event(alice, authz.MachineDeploy, "machine:abc", "failed"), "", "", ""},
	} {
		ev, ok := Make(c.p, authz.Origin{}, c.e, "host")
		if ok != (c.owasp != "") || ev.Event != c.owasp || ev.Message != c.maas || ev.Level != c.level {
			t.Errorf("%s %s %s: got %q, %q, %s (%v), want %q, %q, %s", c.e.Principal, c.e.Action, c.e.Outcome, ev.Event, ev.Message, ev.Level, ok, c.owasp, c.maas, c.level)
		}
	}
}

// TestFields holds a line to the fields that both vocabularies ask for.
func TestFields(t *testing.T) {
	ev, _ := Make(root, authz.Origin{TraceID: strings.Repeat("a", 32), Method: "POST", Path: "/MAAS/api/2.0/users/", UserAgent: "curl\"}"}, event(root, authz.UserEdit, "user:7", "success", "change", "created"), "ctl1")
	b, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{"datetime": "2027-03-01T12:00:00.123456Z", "timestamp": "2027-03-01T12:00:00.123456Z", "appid": "metalward", "type": "security", "level": "WARN", "user_id": "root",
		"role": "Admin", "trace_id": strings.Repeat("a", 32), "request_id": "req", "request_method": "POST", "request_path": "/MAAS/api/2.0/users/", "request_remote_ip": "192.0.2.1", "useragent": "curl\"}",
		"hostname": "ctl1", "region": "r1", "action": "user.edit", "target": "user:7", "outcome": "success"} {
		if m[k] != want {
			t.Errorf("%s: got %v, want %s", k, m[k], want)
		}
	}
	if strings.ContainsAny(string(b), "\n\r") {
		t.Error("a line has line ends")
	}
}

// start runs a log and stops it at the end of the test, or before by the function.
func start(t *testing.T, c Config) (*Log, func()) {
	t.Helper()
	c.Log, c.Host = quiet, "ctl1"
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return l, stop
}

// until waits for what another goroutine does.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 12_000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// TestFile writes lines that only the owner reads, survives rotation, and writes what is left at the end.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "security.log")
	l, stop := start(t, Config{File: path})
	l.Record(alice, authz.Origin{}, event(alice, authz.UserLogin, "user:1", "success"))
	l.Record(alice, authz.Origin{}, event(alice, authz.MachineDeploy, "machine:m", "failed")) // no security event
	read := func(p string) string { b, _ := os.ReadFile(p); return string(b) }
	until(t, "first line", func() bool { return strings.Count(read(path), "\n") == 1 })
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want mode 0600", info.Mode(), err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		l.Record(alice, authz.Origin{}, event(alice, authz.UserLogout, "user:1", "success"))
	}
	stop()
	if n := strings.Count(read(path), "session_expired:alice"); n != 10 || strings.Count(read(path+".1"), "\n") != 1 {
		t.Errorf("got %d lines after rotation, and %q before", n, read(path+".1"))
	}
	if _, err := New(Config{File: filepath.Join(path, "below", "a file")}); err == nil {
		t.Error("a file that cannot be opened should be refused at start")
	}
}

// server is a syslog server over TLS.
type server struct {
	net.Listener
	pool *x509.CertPool
	got  chan string
}

func newServer(t *testing.T, address string) *server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "logs"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{pool: x509.NewCertPool(), got: make(chan string, 100)}
	s.pool.AddCert(cert)
	if s.Listener, err = tls.Listen("tcp", address, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	go func() { // ends with the listener
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			go s.read(c)
		}
	}()
	return s
}

// read takes frames apart by their own length, as RFC 5425 says.
func (s *server) read(c net.Conn) {
	defer func() { _ = c.Close() }()
	in := bufio.NewReader(c)
	for {
		var n int
		if _, err := fmt.Fscanf(in, "%d ", &n); err != nil {
			return
		}
		msg := make([]byte, n)
		if _, err := io.ReadFull(in, msg); err != nil {
			return
		}
		s.got <- string(msg)
	}
}

var header = regexp.MustCompile(`^<(\d+)>1 2027-03-01T12:00:00\.123456Z ctl1 metalward \d+ security - \{`)

// TestSyslog sends frames over TLS to a server that it can trust, and to none that it cannot.
func TestSyslog(t *testing.T) {
	s := newServer(t, "127.0.0.1:0")
	l, _ := start(t, Config{Syslog: s.Addr().String(), TLS: &tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12}})
	l.Record(alice, authz.Origin{}, event(alice, authz.MachineDelete, "machine:m", "denied"))
	l.Record(alice, authz.Origin{}, event(alice, authz.UserLogin, "user:1", "success"))
	for _, want := range []string{"106", "110"} { // 13*8 + critical, informational
		msg := <-s.got
		m := header.FindStringSubmatch(msg)
		if m == nil || m[1] != want || !json.Valid([]byte(msg[len(m[0])-1:])) {
			t.Errorf("got %q, want priority %s", msg, want)
		}
	}
	strange := newServer(t, "127.0.0.1:0")
	l, stop := start(t, Config{Syslog: strange.Addr().String(), TLS: &tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12}})
	l.Record(alice, authz.Origin{}, event(alice, authz.UserLogin, "user:1", "success"))
	time.Sleep(50 * time.Millisecond)
	stop()
	if len(strange.got) != 0 {
		t.Error("a server with a strange certificate got an event")
	}
}

// TestSlowDestination loses events rather than stop the caller, and tells the destination how many.
func TestSlowDestination(t *testing.T) {
	s := &sink{name: "slow", queue: make(chan queued, 2), close: func() {}}
	hold, got := make(chan struct{}), make(chan Event, 10)
	s.write = func(_ context.Context, e Event, _ []byte) error { <-hold; got <- e; return nil }
	l := &Log{host: "h", log: quiet, sinks: []*sink{s}}
	for range 6 {
		l.Record(alice, authz.Origin{}, event(alice, authz.UserLogin, "user:1", "success"))
	}
	if n := s.dropped.Load(); n != 4 {
		t.Fatalf("got %d dropped, want 4", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx) }()
	close(hold)
	first, report := <-got, <-got
	if first.Event != "authn_login_success:alice" || report.Detail["count"] != "4" || report.Event != "sys_monitor_disabled" {
		t.Errorf("got %+v and %+v", first, report)
	}
	cancel()
	<-done
}

// TestJournal speaks the journal's protocol: a text with its length, so that nothing in it is a field.
func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	j := &journal{path: path}
	if err := j.write(t.Context(), Event{Level: Critical}, []byte("{\"a\":\"b\nPRIORITY=0\"}")); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	b := make([]byte, 4096)
	n, err := l.Read(b)
	if want := "SYSLOG_IDENTIFIER=metalward\nPRIORITY=2\nMETALWARD_TYPE=security\nMESSAGE\n\x14\x00\x00\x00\x00\x00\x00\x00{\"a\":\"b\nPRIORITY=0\"}\n"; err != nil || string(b[:n]) != want {
		t.Errorf("got %q, %v, want %q", b[:n], err, want)
	}
}
