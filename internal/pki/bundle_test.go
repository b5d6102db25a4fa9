package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// estate is an authority that works as public ones do: a root, an intermediate, and servers' certificates.
type estate struct {
	t       *testing.T
	root    *x509.Certificate
	middle  *x509.Certificate
	rootKey crypto.Signer
	key     crypto.Signer // the intermediate's
}

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func newEstate(t *testing.T) *estate {
	e := &estate{t: t, rootKey: ecKey(t, elliptic.P256()), key: ecKey(t, elliptic.P256())}
	ca := func(cn string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: cn}, NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	}
	t1 := ca("Test root")
	e.root = e.sign(t1, t1, e.rootKey.Public(), e.rootKey)
	e.middle = e.sign(ca("Test intermediate"), e.root, e.key.Public(), e.rootKey)
	return e
}

func ecKey(t *testing.T, c elliptic.Curve) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (e *estate) sign(c, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	e.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, key)
	if err != nil {
		e.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

// server issues a certificate for metal.example, changed by fn.
func (e *estate) server(key crypto.Signer, fn func(*x509.Certificate)) *x509.Certificate {
	c := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: "metal.example"}, DNSNames: []string{"metal.example"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
		NotBefore: noon.AddDate(0, 0, -10), NotAfter: noon.AddDate(0, 0, 80), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if fn != nil {
		fn(c)
	}
	return e.sign(c, e.middle, key.Public(), e.key)
}

func pemKey(t *testing.T, k crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func pems(certs ...*x509.Certificate) (out []byte) {
	for _, c := range certs {
		out = append(out, EncodeCert(c.Raw)...)
	}
	return out
}

// TestBundle is the matrix of what people give, in whatever order, and of what they get wrong.
func TestBundle(t *testing.T) {
	e := newEstate(t)
	key, other := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P384())
	leaf := e.server(key, nil)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	old224 := ecKey(t, elliptic.P224())
	alone := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: "x"}, DNSNames: []string{"metal.example"}, NotBefore: noon, NotAfter: noon.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true}
	self := e.sign(alone, alone, key.Public(), key)
	rsaPEM := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})
	ecDER, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	ecPEM := append(pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 1, 0}}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ecDER})...)
	old := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("x")})
	pub := x509.NewCertPool()
	pub.AddCert(e.root)
	for _, c := range []struct {
		name            string
		key, cert, ca   []byte
		public          bool // the root is one that clients know
		field, contains string
	}{
		{"as it should be", pemKey(t, key), pems(leaf, e.middle), pems(e.root), false, "", ""},
		{"of an authority that clients know", pemKey(t, key), pems(leaf, e.middle), nil, true, "", ""},
		{"the chain backwards", pemKey(t, key), pems(e.root, e.middle, leaf), nil, false, "", ""},
		{"with what does not belong to it", pemKey(t, key), pems(e.server(other, nil), leaf, e.middle), pems(e.root), false, "", ""},
		{"swapped files", pems(leaf, e.middle), pemKey(t, key), pems(e.root), false, "", ""},
		{"all in one", append(pems(leaf, e.middle, e.root), pemKey(t, key)...), nil, nil, false, "", ""},
		{"RSA", rsaPEM, pems(e.server(rsaKey, nil), e.middle), pems(e.root), false, "", ""},
		{"OpenSSL's EC form", ecPEM, pems(leaf, e.middle), pems(e.root), false, "", ""},
		{"Ed25519", pemKey(t, edKey), pems(e.server(edKey, nil), e.middle), pems(e.root), false, "", ""},
		{"its own authority", pemKey(t, key), pems(self), nil, false, "", ""},
		{"another key", pemKey(t, other), pems(leaf, e.middle), nil, true, "key", "belongs to none"},
		{"no key", pems(leaf), pems(e.middle), nil, true, "key", "no private key"},
		{"no certificate", pemKey(t, key), nil, nil, true, "cert", "nothing in PEM"},
		{"two keys", append(pemKey(t, key), pemKey(t, other)...), pems(leaf), nil, true, "key", "two private keys"},
		{"no intermediate", pemKey(t, key), pems(leaf), pems(e.root), false, "cert", "which CN=Test intermediate issued"},
		{"an authority nobody knows", pemKey(t, key), pems(leaf, e.middle), nil, false, "cert", "which CN=Test root issued"},
		{"expired", pemKey(t, key), pems(e.server(key, func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Second) }), e.middle), nil, true, "cert", "has expired on 1 June 2026"},
		{"not yet valid", pemKey(t, key), pems(e.server(key, func(c *x509.Certificate) { c.NotBefore = noon.Add(time.Hour) }), e.middle), nil, true, "cert", "not valid before 2026-06-01T13:00:00Z"},
		{"for another name", pemKey(t, key), pems(e.server(key, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"other.example"}, nil }), e.middle), nil, true, "cert", "for other.example, not for metal.example"},
		{"a name in the subject only", pemKey(t, key), pems(e.server(key, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = nil, nil }), e.middle), nil, true, "cert", "not for metal.example"},
		{"for clients", pemKey(t, key), pems(e.server(key, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), e.middle), nil, true, "cert", "not for servers"},
		{"a short RSA key", pemKey(t, weak), pems(e.server(weak, nil), e.middle), nil, true, "key", "1024 bits"},
		{"an old curve", pemKey(t, old224), pems(e.server(old224, nil), e.middle), nil, true, "key", "P-224"},
		{"a passphrase", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), pems(leaf), nil, true, "key", "passphrase"},
		{"a passphrase, old form", old, pems(leaf), nil, true, "key", "passphrase"},
		{"binary", pemKey(t, key), leaf.Raw, nil, true, "cert", "binary form"},
		{"a request", pemKey(t, key), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: []byte("x")}), nil, true, "cert", "signing request"},
		{"damaged", pemKey(t, key), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw[:100]}), nil, true, "cert", "damaged"},
		{"a damaged key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), pems(leaf), nil, true, "key", "damaged"},
		{"something else", pemKey(t, key), pem.EncodeToMemory(&pem.Block{Type: "PGP MESSAGE", Bytes: []byte("x")}), nil, true, "cert", "neither"},
		{"too large", bytes.Repeat([]byte("x"), MaxBundlePart+1), pems(leaf), nil, true, "key", "more than"},
		{"too many", pemKey(t, key), bytes.Repeat(pems(leaf), maxBundleCerts+1), nil, true, "cert", "at most 20"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parts := []Part{{"key", c.key}}
			if c.cert != nil || c.name == "no certificate" {
				parts = append(parts, Part{"cert", c.cert})
			}
			if c.ca != nil {
				parts = append(parts, Part{"cacert", c.ca})
			}
			var roots *x509.CertPool
			if c.public {
				roots = pub
			}
			b, err := ParseBundle(parts...)
			if err == nil {
				err = b.Check("metal.example", roots, noon)
			}
			if c.field != "" {
				f, ok := fault.As(err)
				if !ok || f.Kind != fault.Invalid || !strings.Contains(strings.Join(f.Fields[c.field], " "), c.contains) {
					t.Fatalf("got %v, want Invalid on %s with %q", err, c.field, c.contains)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !samePublic(b.Chain[0].PublicKey, b.Key.Public()) {
				t.Error("the first certificate is not the key's")
			}
			v, err := b.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseBundle(Part{"stored", v.Reveal()})
			if err != nil || len(again.Chain) != len(b.Chain) || !again.Chain[0].Equal(b.Chain[0]) || !samePublic(again.Key.Public(), b.Key.Public()) || (b.Root == nil) != (again.Root == nil) {
				t.Errorf("got %+v, %v from what was stored", again, err)
			}
			if got := b.TLS(); len(got.Certificate) != len(b.Chain) || !bytes.Equal(got.Certificate[0], b.Chain[0].Raw) {
				t.Errorf("servers show %d certificates", len(got.Certificate))
			}
		})
	}
}

// FuzzParseBundle gives ParseBundle files of any kind.
func FuzzParseBundle(f *testing.F) {
	block := func(kind string, headers map[string]string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Headers: headers, Bytes: []byte{0x30, 0}})
	}
	f.Add(block("CERTIFICATE", nil), block("PRIVATE KEY", nil))
	f.Add([]byte{0x30, 0}, block("RSA PRIVATE KEY", map[string]string{"DEK-Info": "x"}))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		got, err := ParseBundle(Part{"key", a}, Part{"cert", b})
		if err == nil && (got.Key == nil || len(got.Chain) == 0) {
			t.Errorf("got %+v without an error", got)
		}
	})
}
