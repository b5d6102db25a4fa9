package wire

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/secret"
)

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// bodies is a value of every body that travels, by name.
var bodies = map[string]func() any{
	"hello": func() any { return &HelloRequest{} }, "hello answer": func() any { return &HelloResponse{} }, "certificate": func() any { return &CertificateRequest{} },
	"certificate answer": func() any { return &CertificateResponse{} }, "boot": func() any { return &BootRequest{} }, "claim": func() any { return &ClaimRequest{} },
	"claim answer": func() any { return &ClaimResponse{} }, "ref": func() any { return &BootRef{} }, "task": func() any { return &TaskResponse{} }, "found": func() any { return &FoundRequest{} },
	"output": func() any { return &OutputRequest{} }, "progress": func() any { return &ProgressRequest{} }, "seed": func() any { return &SeedResponse{} }, "done": func() any { return &DoneRequest{} },
	"phone home": func() any { return &PhoneHomeRequest{} }, "leases": func() any { return &LeasesRequest{} }, "power": func() any { return &PowerRequest{} },
	"power answer": func() any { return &PowerResponse{} }, "power key": func() any { return &PowerKeyRequest{} }, "power key answer": func() any { return &PowerKeyResponse{} },
	"security": func() any { return &SecurityRequest{} }, "host checks": func() any {
		return &HostChecksRequest{Report: guard.HostReport{Findings: []guard.HostFinding{{Check: "a-b", State: guard.Fail, Severity: guard.Low}}}}
	}, "enrol": func() any { return &EnrolRequest{} }, "enrol answer": func() any { return &EnrolResponse{} }, "token": func() any { return &EnrolToken{} },
}

// FuzzDecode reads bytes as every message. What is accepted must survive being written and read again.
func FuzzDecode(f *testing.F) {
	for _, make := range bodies {
		b, err := json.Marshal(make())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"a":1}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, make := range bodies {
			v := make()
			if err := Decode(data, v); err != nil {
				if !fault.Is(err, fault.Invalid) {
					t.Errorf("%s: got %v, want Invalid", name, err)
				}
				continue
			}
			if !json.Valid(data) {
				t.Errorf("%s: accepted what is not one JSON value: %q", name, data)
			}
			b, err := json.Marshal(v)
			if err != nil {
				t.Errorf("%s: cannot write what was read from %q: %v", name, data, err)
				continue
			}
			again := make()
			if err := Decode(b, again); err != nil {
				t.Errorf("%s: cannot read %s again: %v", name, b, err)
			}
		}
	})
}

func TestDecode(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"plain": {`{"boot_id":"b","cert_hash":"c"}`, true}, "blanks": {" {} \n", true}, "unknown field": {`{"boot_id":"b","admin":true}`, false},
		"second value": {`{} {}`, false}, "closing brace behind": {`{}}`, false}, "closing bracket behind": {`{}]`, false}, "text behind": {`{} x`, false},
		"wrong type": {`{"boot_id":1}`, false}, "list": {`[]`, false}, "nothing": {``, false}, "cut": {`{"boot_id":"b"`, false}, "nested unknown": {`{"boot_id":{"x":1}}`, false},
	} {
		var r BootRef
		err := Decode([]byte(c.text), &r)
		if (err == nil) != c.ok || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want accepted %v", name, err, c.ok)
		}
	}
}

func FuzzParseEnrolToken(f *testing.F) {
	f.Add(token().Text().RevealString())
	f.Add("mwrack1_")
	f.Add("mwrack1_e30")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := ParseEnrolToken(secret.FromString(text))
		if err != nil {
			if !fault.Is(err, fault.Invalid) || strings.Contains(err.Error(), text) && len(text) > len(tokenPrefix) {
				t.Errorf("got %v for %q", err, text)
			}
			return
		}
		if len(tok.Key) != 32 || tok.ID == "" || len(tok.CA) != 64 {
			t.Errorf("accepted %+v", tok)
		}
		if _, err := ParseEnrolToken(tok.Text()); err != nil {
			t.Errorf("cannot read again what was read: %v", err)
		}
	})
}

var expires = time.Date(2027, 3, 1, 12, 15, 0, 0, time.UTC)

func token() EnrolToken {
	return EnrolToken{ID: "abc", RackName: "r1", CA: strings.Repeat("a", 64), Expires: expires, Key: TokenKey([]byte("shared"), "abc", "r1", expires)}
}

func TestEnrolToken(t *testing.T) {
	want := token()
	got, err := ParseEnrolToken(secret.FromString(" " + want.Text().RevealString() + "\n"))
	if err != nil || !cmp.Equal(want, got) {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
	text := want.Text().RevealString()
	for name, bad := range map[string]string{"no prefix": text[8:], "cut": text[:len(text)-4], "empty": "", "prefix alone": tokenPrefix, "no base64": tokenPrefix + "???", "long": tokenPrefix + strings.Repeat("A", 5000)} {
		if _, err := ParseEnrolToken(secret.FromString(bad)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
	for name, key := range map[string][]byte{"secret": TokenKey([]byte("other"), "abc", "r1", expires), "id": TokenKey([]byte("shared"), "abd", "r1", expires),
		"rack": TokenKey([]byte("shared"), "abc", "r2", expires), "time": TokenKey([]byte("shared"), "abc", "r1", expires.Add(time.Second)), "shifted": TokenKey([]byte("shared"), "abc\nr1", "", expires)} {
		if bytes.Equal(key, want.Key) {
			t.Errorf("another %s gives the same key", name)
		}
	}
}

// tlsPair is both ends of a TLS connection.
func tlsPair(t *testing.T) (client, server *tls.Conn) {
	t.Helper()
	ca, err := pki.NewCA("test", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Server(key.Public(), "region", nil, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCerts(chain)
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	client = tls.Client(a, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13})
	server = tls.Server(b, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certs[0].Raw}, PrivateKey: key}}, MinVersion: tls.VersionTLS13})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return client, server
}

// TestEnrolProof binds a proof to the connection, the request and the key (security requirement 1).
func TestEnrolProof(t *testing.T) {
	client, server := tlsPair(t)
	key, csr := []byte("key"), []byte("csr")
	proof := func(key []byte, c *tls.Conn, csr []byte) string {
		p, err := EnrolProof(key, c.ConnectionState(), csr)
		if err != nil {
			t.Fatal(err)
		}
		return string(p)
	}
	want := proof(key, client, csr)
	if proof(key, server, csr) != want {
		t.Error("the two ends do not agree")
	}
	_, elsewhere := tlsPair(t)
	for name, got := range map[string]string{"another connection": proof(key, elsewhere, csr), "another key": proof([]byte("other"), server, csr), "another request": proof(key, server, []byte("CSR"))} {
		if got == want {
			t.Errorf("%s: the proof is good there too", name)
		}
	}
}

// answering are handlers that say who called.
func answering(class Class, other ...Class) Handlers {
	h := Handlers{}
	for _, m := range Messages {
		if m.Name == Image.Name || m.From != class && (len(other) == 0 || m.From != other[0]) {
			continue
		}
		h[m.Name] = func(_ context.Context, body []byte) (any, error) { return map[string]int{m.Name: len(body)}, nil }
	}
	return h
}

func TestHandlersCheck(t *testing.T) {
	full := func() Handlers { return answering(FromRack, FromExpired) }
	if err := full().Check(FromRack, FromExpired); err != nil {
		t.Error(err)
	}
	missing := full()
	delete(missing, Seed.Name)
	extra := full()
	extra["no-such-message"] = extra[Seed.Name]
	side := full()
	side[Power.Name] = side[Seed.Name]
	for name, h := range map[string]Handlers{"missing": missing, "not in the table": extra, "of the other side": side, "none": {}} {
		if err := h.Check(FromRack, FromExpired); err == nil {
			t.Errorf("%s: passed", name)
		}
	}
	if err := answering(FromRegion).Check(FromRegion); err != nil {
		t.Error(err)
	}
}

// bubble runs a test under a clock of its own. yamux keeps timers in a pool, and those of one bubble are of no
// use in another: two collections empty the pool. All tests with sessions run in bubbles, one after the other.
func bubble(t *testing.T, fn func(*testing.T)) {
	t.Helper()
	runtime.GC()
	runtime.GC()
	synctest.Test(t, fn)
}

func everything(Message) error { return nil }

// sessions are both sides of a session over a pipe.
func sessions(t *testing.T, region, rack Handlers, allow Allow) (toRegion, toRack *Session, cut func()) {
	t.Helper()
	a, b := net.Pipe()
	made := make(chan *Session, 1)
	go func() {
		s, err := NewSession(b, false, region, allow, silent)
		if err != nil {
			t.Error(err)
		}
		made <- s
	}()
	toRegion, err := NewSession(a, true, rack, everything, silent)
	if err != nil {
		t.Fatal(err)
	}
	toRack = <-made
	cut = func() { _ = a.Close(); _ = b.Close() }
	return toRegion, toRack, cut
}

func end(cut func(), list ...*Session) {
	for _, s := range list {
		_ = s.Close()
	}
	cut()
	for _, s := range list {
		<-s.Done()
		s.client.CloseIdleConnections()
	}
	time.Sleep(5 * time.Minute) // of the bubble: whatever still lingers ends
}

func TestSession(t *testing.T) { bubble(t, testSession) }

func testSession(t *testing.T) {
	region := answering(FromRack, FromExpired)
	region[Hello.Name] = func(context.Context, []byte) (any, error) { return HelloResponse{SystemID: "r"}, nil }
	region[Done.Name] = func(context.Context, []byte) (any, error) {
		return nil, &fault.Error{Kind: fault.Invalid, Fields: map[string][]string{"ok": {"Wrong."}}}
	}
	region[Boot.Name] = func(context.Context, []byte) (any, error) { return nil, errors.New("database password hunter2") }
	region[Progress.Name] = func(context.Context, []byte) (any, error) { return nil, nil }
	rack := Handlers{Power.Name: func(_ context.Context, body []byte) (any, error) {
		var r PowerRequest
		if err := Decode(body, &r); err != nil {
			return nil, err
		}
		return PowerResponse{State: "on"}, nil
	}}
	allow := func(m Message) error {
		if m.Name == Seed.Name {
			return fault.New(fault.Forbidden, "Not for you.")
		}
		return nil
	}
	toRegion, toRack, cut := sessions(t, region, rack, allow)
	defer end(cut, toRegion, toRack)
	ctx := t.Context()
	var hello HelloResponse
	if err := toRegion.Call(ctx, Hello, HelloRequest{}, &hello); err != nil || hello.SystemID != "r" {
		t.Errorf("got %+v, %v", hello, err)
	}
	var power PowerResponse
	if err := toRack.Call(ctx, Power, PowerRequest{CommandID: 7}, &power); err != nil || power.State != "on" {
		t.Errorf("the other way: got %+v, %v", power, err)
	}
	if err := toRegion.Call(ctx, Progress, ProgressRequest{}, nil); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct {
		s    *Session
		m    Message
		req  any
		resp any
		kind fault.Kind
		text string
	}{
		"a fault comes back whole":    {toRegion, Done, DoneRequest{}, nil, fault.Invalid, "ok: Wrong."},
		"a defect shows nothing":      {toRegion, Boot, BootRequest{}, nil, fault.Internal, ""},
		"not allowed":                 {toRegion, Seed, BootRef{}, nil, fault.Forbidden, "Not for you."},
		"no message of this side":     {toRegion, Power, PowerRequest{}, nil, fault.NotFound, ""},
		"no message of that side":     {toRack, Hello, HelloRequest{}, nil, fault.NotFound, ""},
		"no message at all":           {toRegion, Message{Name: "shell"}, nil, nil, fault.NotFound, ""},
		"images need no session":      {toRegion, Image, nil, nil, fault.NotFound, ""},
		"unknown field":               {toRack, Power, map[string]any{"sudo": true}, nil, fault.Invalid, ""},
		"an answer of another kind":   {toRegion, Task, BootRef{}, &TaskResponse{}, fault.Invalid, ""},
		"larger than the limit":       {toRegion, Task, BootRef{BootID: strings.Repeat("x", 5*kib)}, nil, fault.TooLarge, ""},
		"larger than an odd's limit":  {toRegion, Leases, map[string]string{"x": strings.Repeat("x", 2*mib)}, nil, fault.TooLarge, ""},
		"far larger than the limit":   {toRack, Power, map[string]string{"x": strings.Repeat("x", 4*mib)}, nil, fault.TooLarge, ""},
		"and the session still works": {toRegion, Done, DoneRequest{}, nil, fault.Invalid, "ok: Wrong."},
	} {
		err := c.s.Call(ctx, c.m, c.req, c.resp)
		if !fault.Is(err, c.kind) || c.text != "" && fault.Message(err) != c.text {
			t.Errorf("%s: got %v (kind %s), want kind %s", name, err, fault.KindOf(err), c.kind)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the other side sees what is for operators: %v", name, err)
		}
	}
	at := strings.Repeat("x", int(Task.Limit)-len(`{"boot_id":"","cert_hash":""}`))
	if err := toRegion.Call(ctx, Task, BootRef{BootID: at}, nil); err != nil {
		t.Errorf("refused at the limit: %v", err)
	}
}

// TestBrokenLink answers at once when the connection ends under a call, and afterwards.
func TestBrokenLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		region := answering(FromRack, FromExpired)
		region[Boot.Name] = func(ctx context.Context, _ []byte) (any, error) { <-ctx.Done(); return nil, ctx.Err() }
		toRegion, toRack, cut := sessions(t, region, Handlers{}, everything)
		done := make(chan error, 1)
		began := time.Now()
		go func() { done <- toRegion.Call(context.Background(), Boot, BootRequest{}, nil) }()
		synctest.Wait()
		cut()
		if err := <-done; !fault.Is(err, fault.Unavailable) {
			t.Errorf("got %v, want Unavailable", err)
		}
		if err := toRegion.Call(context.Background(), Boot, BootRequest{}, nil); !fault.Is(err, fault.Unavailable) {
			t.Errorf("afterwards: got %v, want Unavailable", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %s", took)
		}
		end(cut, toRegion, toRack)
	})
}

// silentConn takes what is written and never answers: a link that was cut without a word.
type silentConn struct {
	net.Conn
	mute chan struct{}
}

func (c *silentConn) Write(b []byte) (int, error) {
	select {
	case <-c.mute:
		return len(b), nil
	default:
		return c.Conn.Write(b)
	}
}

// TestSilentLink ends a session whose other side is gone without a word, and its calls, within the keep-alive.
func TestSilentLink(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := net.Pipe()
		mute := make(chan struct{})
		other := make(chan *Session, 1)
		go func() {
			s, err := NewSession(&silentConn{b, mute}, false, answering(FromRack, FromExpired), everything, silent)
			if err != nil {
				t.Error(err)
			}
			other <- s
		}()
		s, err := NewSession(&silentConn{a, mute}, true, Handlers{}, everything, silent)
		if err != nil {
			t.Fatal(err)
		}
		peer := <-other
		if err := s.Call(context.Background(), Done, DoneRequest{}, nil); err != nil {
			t.Fatal(err)
		}
		close(mute)
		began := time.Now()
		if err := s.Call(context.Background(), Done, DoneRequest{}, nil); !fault.Is(err, fault.Unavailable) {
			t.Errorf("got %v, want Unavailable", err)
		}
		<-s.Done()
		if took := time.Since(began); took > keepAlive+2*writeTimeout {
			t.Errorf("took %s to notice", took)
		}
		end(func() { _ = a.Close(); _ = b.Close() }, s, peer)
	})
}

// TestDeadline gives up on a side that does not answer, as Unavailable, so that nobody is told of a defect.
func TestDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		region := answering(FromRack, FromExpired)
		release := make(chan struct{})
		region[Boot.Name] = func(ctx context.Context, _ []byte) (any, error) {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil, ctx.Err()
		}
		toRegion, toRack, cut := sessions(t, region, Handlers{}, everything)
		began := time.Now()
		err := toRegion.Call(context.Background(), Boot, BootRequest{}, nil)
		if took := time.Since(began); !fault.Is(err, fault.Unavailable) || !errors.Is(err, context.DeadlineExceeded) || took != DefaultCall {
			t.Errorf("got %v after %s, want Unavailable after %s", err, took, DefaultCall)
		}
		short, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		began = time.Now()
		if err := toRegion.Call(short, Boot, BootRequest{}, nil); !fault.Is(err, fault.Unavailable) || time.Since(began) != time.Second {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
		gone, leave := context.WithCancel(context.Background())
		leave()
		if err := toRegion.Call(gone, Boot, BootRequest{}, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v of a caller who left", err)
		}
		close(release)
		end(cut, toRegion, toRack)
	})
}

// TestFaults carries every kind there and back.
func TestFaults(t *testing.T) {
	for kind := fault.Internal; kind <= fault.TooLarge; kind++ {
		in := fault.New(kind, "text of %s", kind)
		w := httptest.NewRecorder()
		EncodeFault(w, in)
		out := DecodeFault(w.Code, w.Body.Bytes())
		if diff := cmp.Diff(error(in), out, cmp.AllowUnexported(fault.Error{}), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
	for _, body := range []string{"", "<html>", "null", `{"error":1}`} {
		if err := DecodeFault(503, []byte(body)); !fault.Is(err, fault.Unavailable) || fault.Message(err) == "" {
			t.Errorf("%q: got %v", body, err)
		}
	}
	if err := DecodeFault(418, nil); !fault.Is(err, fault.Internal) {
		t.Errorf("got %v for a status that is not ours", err)
	}
}

// TestMessages holds the table to itself: names are unique and limits set.
func TestMessages(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Messages {
		if seen[m.Name] || m.Limit <= 0 || m.Limit > 16*mib || m.Doc == "" || m.From != FromRack && m.From != FromExpired && m.From != FromRegion {
			t.Errorf("row %+v", m)
		}
		seen[m.Name] = true
	}
	for name, make := range bodies { // strictness needs exported fields with names of their own
		typ := reflect.TypeOf(make()).Elem()
		for i := range typ.NumField() {
			if f := typ.Field(i); !f.Anonymous && f.Tag.Get("json") == "" {
				t.Errorf("%s: field %s has no name on the wire", name, f.Name)
			}
		}
	}
}
