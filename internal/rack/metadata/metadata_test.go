package metadata_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/metadata"
	"github.com/metalward/metalward/internal/wire"
)

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	return &authority{cert, key}
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

func (a *authority) issue(t testing.TB, name, uri string, usage x509.ExtKeyUsage) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		tmpl.URIs = []*url.URL{u}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// region is a fake that records the last call and answers with a function.
type region struct {
	mu     sync.Mutex
	name   string
	req    []byte
	answer func(m wire.Message) (any, error)
}

func (r *region) Call(_ context.Context, m wire.Message, req, resp any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.name = m.Name
	r.req, _ = json.Marshal(req)
	if r.answer == nil {
		return nil
	}
	out, err := r.answer(m)
	if err == nil && resp != nil {
		b, _ := json.Marshal(out)
		err = json.Unmarshal(b, resp)
	}
	return err
}

type leases struct{}

func (leases) LeaseOf(ip netip.Addr) (metal.MAC, bool) {
	return "52:54:00:00:00:01", ip == netip.MustParseAddr("127.0.0.1")
}

type file struct{ *bytes.Reader }

func (file) Close() error { return nil }

type imageStore struct{}

func (imageStore) Open(_ context.Context, sum string) (io.ReadSeekCloser, int64, error) {
	if sum != "abc" {
		return nil, 0, fault.New(fault.NotFound, "There is no such image.")
	}
	return file{bytes.NewReader([]byte("0123456789"))}, 10, nil
}

// rack is a running metadata server.
type rack struct {
	h        *metadata.Handler
	base     string
	region   *region
	machines *authority
	servers  *authority
	log      *bytes.Buffer
	mu       sync.Mutex
	events   []wire.SecurityRequest
}

// lockedWriter lets the server's goroutines share a buffer.
type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func start(t *testing.T) *rack {
	t.Helper()
	k := &rack{region: &region{}, machines: newAuthority(t, "machines"), servers: newAuthority(t, "servers"), log: &bytes.Buffer{}}
	cert := k.servers.issue(t, "rack", "", x509.ExtKeyUsageServerAuth)
	k.h = metadata.New(metadata.Config{
		Log: slog.New(slog.NewTextHandler(lockedWriter{&k.mu, k.log}, &slog.HandlerOptions{Level: slog.LevelDebug})), Region: k.region, Leases: leases{}, Images: imageStore{},
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil },
		Security:    func(e wire.SecurityRequest) { k.mu.Lock(); defer k.mu.Unlock(); k.events = append(k.events, e) },
	})
	if err := k.h.SetSnapshot(metal.RackSnapshot{MachineCA: k.machines.pem()}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.base = "https://" + l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.h.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return k
}

func (k *rack) client(cert *tls.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(k.servers.cert)
	c := &tls.Config{RootCAs: pool}
	if cert != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c}, Timeout: 10 * time.Second}
}

func (k *rack) do(t *testing.T, cert *tls.Certificate, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, k.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(path, wire.PhoneHomePath) {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	c := k.client(cert)
	defer c.CloseIdleConnections()
	res, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, strings.TrimSpace(string(b))
}

func (k *rack) boot(t *testing.T) *tls.Certificate {
	return k.machines.issue(t, "boot/b1", "spiffe://cluster/boot/b1", x509.ExtKeyUsageClientAuth)
}

func TestWhoMayCallWhat(t *testing.T) {
	k := start(t)
	stranger := newAuthority(t, "machines")
	good := k.boot(t)
	tests := []struct {
		name string
		cert *tls.Certificate
		code int // 0: refused in the handshake
	}{
		{"none", nil, 401},
		{"good", good, 200},
		{"other authority", stranger.issue(t, "boot/b1", "spiffe://cluster/boot/b1", x509.ExtKeyUsageClientAuth), 0},
		{"a server's", k.machines.issue(t, "boot/b1", "spiffe://cluster/boot/b1", x509.ExtKeyUsageServerAuth), 0},
		{"another kind", k.machines.issue(t, "rack/r1", "spiffe://cluster/rack/r1", x509.ExtKeyUsageClientAuth), 401},
		{"no URI", k.machines.issue(t, "boot/b1", "", x509.ExtKeyUsageClientAuth), 401},
		{"URI of another boot", k.machines.issue(t, "boot/b1", "spiffe://cluster/boot/b2", x509.ExtKeyUsageClientAuth), 401},
		{"URI that only ends alike", k.machines.issue(t, "boot/b1", "spiffe://cluster/reboot/b1", x509.ExtKeyUsageClientAuth), 401},
		{"nested id", k.machines.issue(t, "boot/a/b", "spiffe://cluster/boot/a/b", x509.ExtKeyUsageClientAuth), 401},
	}
	calls := []struct{ method, path, body, message string }{
		{"GET", wire.TaskPath, "", "task"}, {"GET", wire.SeedPath, "", "seed"}, {"POST", wire.FoundPath, `{"inventory":{}}`, "inventory"},
		{"POST", wire.OutputPath, `{"script":"s","stream":"stdout","data":"aGk="}`, "output"}, {"POST", wire.ProgressPath, `{"stage":"x","percent":3}`, "progress"},
		{"POST", wire.DonePath, `{"ok":true}`, "done"}, {"GET", wire.ImagePath + "abc", "", ""},
	}
	sum := sha256.Sum256(good.Certificate[0])
	for _, tt := range tests {
		for _, c := range calls {
			t.Run(tt.name+" "+c.path, func(t *testing.T) {
				k.region.name = ""
				code, text := k.do(t, tt.cert, c.method, c.path, c.body)
				if code != tt.code {
					t.Fatalf("got %d %s; want %d", code, text, tt.code)
				}
				wanted := ""
				if code == 200 {
					wanted = c.message
				}
				if k.region.name != wanted {
					t.Errorf("the region was called with %q; want %q", k.region.name, wanted)
				}
				if wanted != "" {
					var ref wire.BootRef
					_ = json.Unmarshal(k.region.req, &ref)
					if ref.BootID != "b1" || ref.CertHash != hex.EncodeToString(sum[:]) {
						t.Errorf("got %+v", ref)
					}
				}
			})
		}
	}
	if code, text := k.do(t, good, "GET", wire.ImagePath+"abc", ""); code != 200 || text != "0123456789" {
		t.Errorf("image: got %d %q", code, text)
	}
	if code, _ := k.do(t, good, "GET", wire.ImagePath+"other", ""); code != 404 {
		t.Errorf("unknown image: got %d", code)
	}
}

// TestBodyDoesNotChooseBoot sends another boot's name in the body.
func TestBodyDoesNotChooseBoot(t *testing.T) {
	k := start(t)
	if code, text := k.do(t, k.boot(t), "POST", wire.DonePath, `{"boot_id":"b2","cert_hash":"00","ok":true}`); code != 200 || !strings.Contains(string(k.region.req), `"boot_id":"b1"`) {
		t.Errorf("got %d %s, relayed %s", code, text, k.region.req)
	}
}

func TestAuthorityIsReplaced(t *testing.T) {
	k := start(t)
	cert := k.boot(t)
	if code, _ := k.do(t, cert, "GET", wire.TaskPath, ""); code != 200 {
		t.Fatalf("got %d", code)
	}
	if err := k.h.SetSnapshot(metal.RackSnapshot{MachineCA: newAuthority(t, "new").pem()}); err != nil {
		t.Fatal(err)
	}
	if code, text := k.do(t, cert, "GET", wire.TaskPath, ""); code != 0 {
		t.Errorf("the old authority's certificate got %d %s", code, text)
	}
	if err := k.h.SetSnapshot(metal.RackSnapshot{MachineCA: "nonsense"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v; want Invalid", err)
	}
}

func TestClaim(t *testing.T) {
	k := start(t)
	k.region.answer = func(wire.Message) (any, error) { return wire.ClaimResponse{BootID: "b1"}, nil }
	code, text := k.do(t, nil, "POST", wire.ClaimPath, `{"token":"t","mac":"52:54:00:00:00:01","csr":"AQ==","ip":"10.9.9.9","lease_mac":"52:54:00:99:99:99"}`)
	if code != 200 || !strings.Contains(text, `"boot_id":"b1"`) {
		t.Fatalf("got %d %s", code, text)
	}
	var req wire.ClaimRequest
	_ = json.Unmarshal(k.region.req, &req)
	if req.IP.String() != "127.0.0.1" || req.LeaseMAC != "52:54:00:00:00:01" {
		t.Errorf("the body's address or lease was believed: %+v", req)
	}
	tests := []struct {
		name, body string
		answer     error
		code       int
		says       string
	}{
		{"unknown field", `{"token":"t","mac":"52:54:00:00:00:01","sudo":true}`, nil, 400, "sudo"},
		{"bad MAC", `{"token":"t","mac":"x"}`, nil, 400, "MAC"},
		{"too large", `{"token":"` + strings.Repeat("x", 40<<10) + `"}`, nil, 413, "larger"},
		{"region refuses", `{"token":"t","mac":"52:54:00:00:00:01"}`, fault.New(fault.Unauthenticated, "The token is spent."), 401, "The token is spent."},
		{"region away", `{"token":"t","mac":"52:54:00:00:00:01"}`, errors.New("yamux: secret detail"), 503, "does not answer"},
	}
	for _, tt := range tests {
		k.region.answer = func(wire.Message) (any, error) { return wire.ClaimResponse{}, tt.answer }
		code, text := k.do(t, nil, "POST", wire.ClaimPath, tt.body)
		var e struct{ Error string }
		if err := json.Unmarshal([]byte(text), &e); err != nil || code != tt.code || !strings.Contains(e.Error, tt.says) || strings.Contains(text, "yamux") {
			t.Errorf("%s: got %d %s; want %d %q", tt.name, code, text, tt.code, tt.says)
		}
	}
}

func TestPhoneHome(t *testing.T) {
	k := start(t)
	const secret = "abcdefghij_ABCDEFGHIJ-0123456789"
	if code, text := k.do(t, nil, "POST", wire.PhoneHomePath+secret, "instance_id=x&hostname=fox"); code != 200 {
		t.Fatalf("got %d %s", code, text)
	}
	var req wire.PhoneHomeRequest
	_ = json.Unmarshal(k.region.req, &req)
	if req != (wire.PhoneHomeRequest{Credential: secret, IP: netip.MustParseAddr("127.0.0.1"), Hostname: "fox"}) {
		t.Errorf("got %+v", req)
	}
	for _, path := range []string{"short", secret + "!", secret + "/x", strings.Repeat("x", 129), ""} {
		k.region.name = ""
		if code, _ := k.do(t, nil, "POST", wire.PhoneHomePath+path, ""); code != 404 || k.region.name != "" {
			t.Errorf("%q: got %d and call %q", path, code, k.region.name)
		}
	}
	if code, _ := k.do(t, nil, "POST", wire.PhoneHomePath+secret, "x="+strings.Repeat("x", 20<<10)); code != 413 {
		t.Errorf("too large: got %d", code)
	}
	k.region.answer = func(wire.Message) (any, error) { return nil, fault.New(fault.NotFound, "There is no such page.") }
	if code, _ := k.do(t, nil, "POST", wire.PhoneHomePath+secret, ""); code != 404 {
		t.Errorf("unknown credential: got %d", code)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if strings.Contains(k.log.String(), secret) {
		t.Errorf("a credential was logged: %s", k.log)
	}
}

func TestFlood(t *testing.T) {
	k := start(t)
	codes := map[int]int{}
	for range 60 {
		code, _ := k.do(t, nil, "POST", wire.PhoneHomePath+strings.Repeat("x", 20), "")
		codes[code]++
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if codes[429] < 30 || codes[200] < 20 || len(k.events) != 1 || k.events[0].Kind != "phone_home_flood" {
		t.Errorf("got %v and events %v", codes, k.events)
	}
}

func TestOldTLS(t *testing.T) {
	k := start(t)
	c := k.client(nil)
	c.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	if res, err := c.Get(k.base + wire.TaskPath); err == nil {
		t.Errorf("TLS 1.2 got %s", res.Status)
	}
}

func FuzzBodies(f *testing.F) {
	f.Add(wire.ClaimPath, []byte(`{"token":"t","mac":"52:54:00:00:00:01"}`))
	f.Add(wire.FoundPath, []byte(`{"inventory":{}}`))
	f.Add(wire.OutputPath, []byte(`{"script":"s"}`))
	ca := newAuthority(f, "machines")
	leaf, _ := x509.ParseCertificate(ca.issue(f, "boot/b1", "spiffe://cluster/boot/b1", x509.ExtKeyUsageClientAuth).Certificate[0])
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		u, err := url.Parse(path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		g := &region{}
		h := metadata.New(metadata.Config{Log: slog.New(slog.DiscardHandler), Region: g, Leases: leases{}, Images: imageStore{}})
		r := httptest.NewRequest("POST", "/", bytes.NewReader(body))
		r.URL, r.RemoteAddr = u, "127.0.0.1:9"
		r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf, ca.cert}}}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		var ref wire.BootRef
		if g.name != "" && g.name != "claim" && g.name != "phone-home" {
			if _ = json.Unmarshal(g.req, &ref); ref.BootID != "b1" {
				t.Errorf("relayed for boot %q", ref.BootID)
			}
		}
		if w.Code >= 500 {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
	})
}

// One address cannot keep the others out with connections that it does not use.
func TestConnectionsOfOneSource(t *testing.T) {
	k := start(t)
	ask := func(from string) error {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		client := http.Client{Transport: &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // whether it answers is all that is asked
		res, err := client.Get(k.base + wire.TaskPath)
		if err == nil {
			_ = res.Body.Close()
		}
		return err
	}
	if err := ask("127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		c, err := net.Dial("tcp", strings.TrimPrefix(k.base, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if err := ask("127.0.0.1"); err == nil {
		t.Error("it answered an address with a hundred connections")
	}
	if err := ask("127.0.0.2"); err != nil {
		t.Errorf("another address: %v", err)
	}
}
