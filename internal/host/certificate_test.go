package host_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
)

// issue makes a certificate, by itself if there is no issuer.
func issue(t testing.TB, name string, key, by any, issuer *x509.Certificate, public any) (*x509.Certificate, string) {
	t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), DNSNames: []string{name},
		IsCA: strings.HasPrefix(name, "ca"), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	if issuer == nil {
		issuer, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, public, by)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func elliptical(t testing.TB) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// pemPair writes cert.pem, key.pem and both.pem.
func pemPair(t testing.TB, dir string) {
	t.Helper()
	key, text := elliptical(t)
	_, cert := issue(t, "x.example", key, nil, nil, &key.PublicKey)
	for name, content := range map[string]string{"cert.pem": cert, "key.pem": text, "both.pem": cert + text} {
		if err := os.WriteFile(dir+"/"+name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificate(t *testing.T) {
	rootKey, _ := elliptical(t)
	root, rootPEM := issue(t, "ca root", rootKey, nil, nil, &rootKey.PublicKey)
	midKey, _ := elliptical(t)
	mid, midPEM := issue(t, "ca mid", midKey, rootKey, root, &midKey.PublicKey)
	key, keyPEM := elliptical(t)
	_, leaf := issue(t, "x.example", nil, midKey, mid, &key.PublicKey)
	_, otherPEM := elliptical(t)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, own := issue(t, "own.example", weak, nil, nil, &weak.PublicKey)
	const bundle = "/etc/ssl/certs/ca-certificates.crt"
	for _, c := range []struct {
		name, cert, key string
		more            []guard.Entry
		chain, match    bool
	}{
		{"whole", leaf + midPEM + rootPEM, keyPEM, nil, true, true},
		{"the root is trusted", leaf + midPEM, keyPEM, []guard.Entry{{Path: bundle, Content: rootPEM}}, true, true},
		{"no root", leaf + midPEM, keyPEM, nil, false, true},
		{"another's is trusted", leaf, keyPEM, []guard.Entry{{Path: bundle, Content: rootPEM}}, false, true},
		{"another's key", leaf + midPEM + rootPEM, otherPEM, nil, true, false},
		{"no key", leaf + midPEM + rootPEM, "x", nil, true, false},
	} {
		got, err := facts(t, append(c.more, guard.Entry{Path: "/c", Content: c.cert}, guard.Entry{Path: "/k", Content: c.key})...).Certificate(guard.Pair{Certificate: "/c", Key: "/k"})
		if err != nil || (got.Chain == nil) != c.chain || (got.Match == nil) != c.match || got.Key != "ECDSA" || got.Bits != 256 || got.Own || len(got.Names) != 1 {
			t.Errorf("%s: got %+v, %v", c.name, got, err)
		}
		if c.name == "another's key" && !errors.Is(got.Match, guard.ErrNoMatch) {
			t.Errorf("%s: got %v", c.name, got.Match)
		}
	}
	if got, err := facts(t, guard.Entry{Path: "/c", Content: own}).Certificate(guard.Pair{Certificate: "/c", Key: "/none"}); err != nil || !got.Own || got.Bits != 1024 || got.Key != "RSA" || got.Match == nil {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := facts(t, guard.Entry{Path: "/c", Content: "x"}).Certificate(guard.Pair{Certificate: "/c"}); err == nil {
		t.Error("no certificate: no error")
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not here, so nobody else makes parameters; install the package openssl")
	}
	out, err := exec.Command(openssl, "dhparam", "-dsaparam", "1024").Output()
	if n, bad := facts(t, guard.Entry{Path: "/dh", Content: string(out)}).DHBits("/dh"); err != nil || bad != nil || n != 1024 {
		t.Errorf("got %d, %v, %v", n, bad, err)
	}
}

// TestHandshake asks servers of each kind.
func TestHandshake(t *testing.T) {
	f, err := host.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	ask := func(s *httptest.Server) guard.Handshake {
		t.Helper()
		h, err := f.Handshake(netip.MustParseAddrPort(strings.SplitN(s.URL, "//", 2)[1]))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	quiet := func(s *httptest.Server) { s.Config.ErrorLog = nil }
	plain := httptest.NewServer(handler)
	defer plain.Close()
	if h := ask(plain); !h.Plain || h.Version != "" || h.Old != "" {
		t.Errorf("plain: got %+v", h)
	}
	away := httptest.NewServer(http.RedirectHandler("https://x/", http.StatusMovedPermanently))
	defer away.Close()
	if h := ask(away); h.Plain {
		t.Errorf("sent on: got %+v", h)
	}
	modern := httptest.NewUnstartedServer(handler)
	quiet(modern)
	modern.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	modern.StartTLS()
	defer modern.Close()
	if h := ask(modern); h.Plain || h.Version != "TLS 1.3" || h.Old != "" || len(h.Sum) != 64 {
		t.Errorf("modern: got %+v", h)
	}
	old := httptest.NewUnstartedServer(handler)
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12}
	old.StartTLS()
	defer old.Close()
	if h := ask(old); h.Old != "TLS 1.1" || h.Version != "TLS 1.2" {
		t.Errorf("old: got %+v", h)
	}
	if _, err := facts(t).Handshake(netip.MustParseAddrPort("127.0.0.1:1")); !errors.Is(err, guard.ErrNotAsked) {
		t.Errorf("a host of data: got %v", err)
	}
}
