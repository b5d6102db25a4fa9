package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

var now = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

func newCA(t testing.TB, permitted ...netip.Prefix) *CA {
	t.Helper()
	ca, err := NewCA("test", permitted, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// greedy is a signing request that asks for everything.
func greedy(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	yes, err := asn1.Marshal(struct{ CA bool }{true})
	if err != nil {
		t.Fatal(err)
	}
	usage, err := asn1.Marshal(asn1.BitString{Bytes: []byte{0xff}, BitLength: 8})
	if err != nil {
		t.Fatal(err)
	}
	eku, err := asn1.Marshal([]asn1.ObjectIdentifier{{2, 5, 29, 37, 0}, {1, 3, 6, 1, 5, 5, 7, 3, 1}})
	if err != nil {
		t.Fatal(err)
	}
	validity, err := asn1.Marshal([]time.Time{now, now.AddDate(100, 0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "rack/other", Organization: []string{"Evil"}},
		DNSNames: []string{"region.example"}, EmailAddresses: []string{"a@example.net"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "site", Path: "/rack/other"}},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: yes}, {Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Value: usage},
			{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: eku}, {Id: asn1.ObjectIdentifier{2, 5, 29, 16}, Value: validity}},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// TestRequestIsIgnored holds what is issued to the fixed profile, whatever the request asked for (security
// requirement 5).
func TestRequestIsIgnored(t *testing.T) {
	key := newKey(t)
	pub, err := PublicKey(greedy(t, key))
	if err != nil {
		t.Fatal(err)
	}
	ca := newCA(t)
	chain, err := ca.Client(pub, "site", "/rack/mine", RackLife, now)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseCerts(chain)
	if err != nil || len(certs) != 2 {
		t.Fatalf("got %d certificates, %v", len(certs), err)
	}
	c := certs[0]
	if !key.PublicKey.Equal(c.PublicKey) {
		t.Error("the certificate is of another key")
	}
	if c.IsCA || c.MaxPathLen > 0 || !c.BasicConstraintsValid || c.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("got CA %v, usage %b", c.IsCA, c.KeyUsage)
	}
	if len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth || len(c.UnknownExtKeyUsage) != 0 {
		t.Errorf("got extended usages %v %v", c.ExtKeyUsage, c.UnknownExtKeyUsage)
	}
	if c.Subject.String() != "CN=rack/mine" || len(c.DNSNames)+len(c.EmailAddresses)+len(c.IPAddresses) != 0 || len(c.URIs) != 1 || c.URIs[0].String() != "spiffe://site/rack/mine" {
		t.Errorf("got names %s, %v %v %v %v", c.Subject, c.DNSNames, c.EmailAddresses, c.IPAddresses, c.URIs)
	}
	if !c.NotAfter.Equal(now.Add(RackLife)) {
		t.Errorf("got end %s, want after %s", c.NotAfter, RackLife)
	}
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 16}) {
			t.Error("the validity extension was taken over")
		}
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Error(err)
	}
	if _, err := c.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("a client certificate serves as a server's")
	}
	// What it signs is worth nothing.
	forged := &CA{Cert: c, key: key}
	leaf, err := forged.Client(newKey(t).Public(), "site", "/rack/other", RackLife, now)
	if err != nil {
		t.Fatal(err)
	}
	below, err := ParseCerts(leaf)
	if err != nil {
		t.Fatal(err)
	}
	middle := x509.NewCertPool()
	middle.AddCert(c)
	if _, err := below[0].Verify(x509.VerifyOptions{Roots: ca.Pool(), Intermediates: middle, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err == nil {
		t.Error("a rack's certificate signs others")
	}
}

func TestPublicKeyRefused(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good, err := Request(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	broken := bytes.Clone(good)
	broken[len(broken)-5] ^= 1
	bad := map[string][]byte{"nothing": nil, "noise": []byte("noise"), "unsigned": broken, "large": make([]byte, 9<<10), "trailing": append(bytes.Clone(good), 0)}
	for name, k := range map[string]any{"ed25519": ed, "P-384": p384, "RSA": rs} {
		if bad[name], err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k); err != nil {
			t.Fatal(err)
		}
	}
	for name, csr := range bad {
		if _, err := PublicKey(csr); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
	if _, err := PublicKey(good); err != nil {
		t.Error(err)
	}
}

func FuzzPublicKey(f *testing.F) {
	good, err := Request(newKey(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(greedy(f, newKey(f)))
	f.Add([]byte("0"))
	f.Fuzz(func(t *testing.T, csr []byte) {
		pub, err := PublicKey(csr)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v, want Invalid", err)
			}
			return
		}
		if k, ok := pub.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
			t.Errorf("got a key of type %T", pub)
		}
	})
}

// TestMetadataCA holds an authority for machines to its addresses: with Go's verification and, if there is one,
// with OpenSSL's.
func TestMetadataCA(t *testing.T) {
	at := time.Now() // OpenSSL's clock
	ca, err := NewCA("metadata", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.7.7.9/16")}, at)
	if err != nil {
		t.Fatal(err)
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Log("openssl is not installed: Go's verification alone")
	}
	dir := t.TempDir()
	anchor := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(anchor, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		names []string
		ips   []string
		host  string
		ok    bool
	}{
		"its address":           {nil, []string{"10.0.0.2"}, "10.0.0.2", true},
		"both networks":         {nil, []string{"10.0.0.2", "10.7.1.1"}, "10.7.1.1", true},
		"outside":               {nil, []string{"10.0.1.2"}, "10.0.1.2", false},
		"one outside":           {nil, []string{"10.0.0.2", "192.0.2.1"}, "10.0.0.2", false},
		"IPv6":                  {nil, []string{"2001:db8::1"}, "2001:db8::1", false},
		"a name":                {[]string{"example.com"}, nil, "example.com", false},
		"a name beside":         {[]string{"example.com"}, []string{"10.0.0.2"}, "10.0.0.2", false},
		"localhost":             {[]string{"localhost"}, nil, "localhost", false},
		"wildcard":              {[]string{"*.com"}, nil, "a.com", false},
		"not the asked address": {nil, []string{"10.0.0.2"}, "10.0.0.3", false},
	} {
		var ips []netip.Addr
		for _, ip := range c.ips {
			ips = append(ips, netip.MustParseAddr(ip))
		}
		chain, err := ca.Server(newKey(t).Public(), "metalward rack", c.names, ips, ServerLife, at)
		if err != nil {
			t.Fatal(err)
		}
		certs, err := ParseCerts(chain)
		if err != nil {
			t.Fatal(err)
		}
		_, err = certs[0].Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: c.host, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
		if (err == nil) != c.ok {
			t.Errorf("%s: Go says %v, want accepted %v", name, err, c.ok)
		}
		if openssl == "" {
			continue
		}
		leaf := filepath.Join(dir, "leaf.pem")
		if err := os.WriteFile(leaf, EncodeCert(certs[0].Raw), 0o600); err != nil {
			t.Fatal(err)
		}
		flag := "-verify_ip"
		if net.ParseIP(c.host) == nil {
			flag = "-verify_hostname"
		}
		out, err := exec.Command(openssl, "verify", "-x509_strict", "-CAfile", anchor, "-purpose", "sslserver", flag, c.host, leaf).CombinedOutput()
		if (err == nil) != c.ok {
			t.Errorf("%s: openssl says %v, want accepted %v: %s", name, err, c.ok, out)
		}
	}
	if !ca.Cert.PermittedDNSDomainsCritical || ca.Cert.MaxPathLen != 0 || !ca.Cert.MaxPathLenZero {
		t.Error("the constraint is not critical, or authorities may be made below")
	}
	// A machine's clock may be far behind.
	chain, err := ca.Server(newKey(t).Public(), "r", nil, []netip.Addr{netip.MustParseAddr("10.0.0.2")}, ServerLife, at)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseCerts(chain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := certs[0].Verify(x509.VerifyOptions{Roots: ca.Pool(), DNSName: "10.0.0.2", CurrentTime: at.Add(-300 * 24 * time.Hour)}); err != nil {
		t.Errorf("refused by a clock 300 days behind: %v", err)
	}
}

func TestIdentity(t *testing.T) {
	ca := newCA(t)
	issue := func(path string) *x509.Certificate {
		chain, err := ca.Client(newKey(t).Public(), "site", path, BootLife, now)
		if err != nil {
			t.Fatal(err)
		}
		certs, err := ParseCerts(chain)
		if err != nil {
			t.Fatal(err)
		}
		return certs[0]
	}
	if path, ok := Identity(issue("/rack/abc"), "site"); !ok || path != "/rack/abc" {
		t.Errorf("got %q, %v", path, ok)
	}
	if _, ok := Identity(issue("/rack/abc"), "other"); ok {
		t.Error("took the certificate of another site")
	}
	u := func(s string) *url.URL {
		x, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for name, c := range map[string]x509.Certificate{
		"none": {}, "two": {URIs: []*url.URL{u("spiffe://site/rack/a"), u("spiffe://site/rack/b")}}, "scheme": {URIs: []*url.URL{u("https://site/rack/a")}},
		"with a name": {URIs: []*url.URL{u("spiffe://site/rack/a")}, DNSNames: []string{"x"}}, "with an address": {URIs: []*url.URL{u("spiffe://site/rack/a")}, IPAddresses: []net.IP{net.IPv4zero}},
		"with mail": {URIs: []*url.URL{u("spiffe://site/rack/a")}, EmailAddresses: []string{"x@y"}}, "port": {URIs: []*url.URL{u("spiffe://site:1/rack/a")}},
	} {
		if path, ok := Identity(&c, "site"); ok {
			t.Errorf("%s: took it as %s", name, path)
		}
	}
}

func TestMarshal(t *testing.T) {
	ca := newCA(t, netip.MustParsePrefix("10.0.0.0/24"))
	v, err := ca.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseCA(v)
	if err != nil || back.Fingerprint() != ca.Fingerprint() || !ca.key.Public().(*ecdsa.PublicKey).Equal(back.key.Public()) {
		t.Errorf("got another authority back: %v", err)
	}
	for _, text := range []string{"", "x", string(ca.PEM()), strings.ReplaceAll(v.RevealString(), "\n", "")} {
		if _, err := ParseCA(secret.FromString(text)); err == nil {
			t.Errorf("parsed %.20q", text)
		}
	}
	if _, err := ParseCerts([]byte("no certificate")); err == nil {
		t.Error("parsed what is none")
	}
}

func TestRenewAt(t *testing.T) {
	chain, err := newCA(t).Client(newKey(t).Public(), "site", "/rack/a", RackLife, now)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseCerts(chain)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := RenewAt(certs[0]), now.Add(16*time.Hour); !got.Equal(want) {
		t.Errorf("got %s, want %s: two thirds of 24 hours", got, want)
	}
	if !certs[0].NotBefore.Before(now.Add(-time.Hour)) {
		t.Error("a peer whose clock is an hour behind refuses it")
	}
	long, err := newCA(t).Client(newKey(t).Public(), "site", "/rack/a", 50*365*24*time.Hour, now)
	if err != nil {
		t.Fatal(err)
	}
	if certs, err = ParseCerts(long); err != nil || certs[0].NotAfter.After(certs[1].NotAfter) {
		t.Errorf("a certificate outlives its authority: %v", err)
	}
}
