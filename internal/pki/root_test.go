package pki

import (
	"crypto/x509"
	"errors"
	"net/netip"
	"testing"
	"time"
)

// TestRoot has an issuer below a root: who knows the root trusts what the issuer signs, with what the server sends and no more.
func TestRoot(t *testing.T) {
	root, err := NewRoot("root", now)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := root.Below("issuer", IssuerLife, now)
	if err != nil {
		t.Fatal(err)
	}
	text, err := issuer.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if issuer, err = ParseCA(text); err != nil {
		t.Fatal(err)
	}
	if issuer.Fingerprint() != root.Fingerprint() || string(issuer.PEM()) != string(root.PEM()) || issuer.Cert.Equal(root.Cert) {
		t.Error("who trusts the issuer does not know the root")
	}
	chain, err := issuer.Region(newKey(t).Public(), "site", "abc", []string{"region.example"}, []netip.Addr{netip.MustParseAddr("192.0.2.1")}, now)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseCerts(chain)
	if err != nil || len(certs) != 3 {
		t.Fatalf("got %d certificates, %v", len(certs), err)
	}
	between := x509.NewCertPool()
	between.AddCert(certs[1])
	verify := func(c *x509.Certificate, use x509.ExtKeyUsage) error {
		_, err := c.Verify(x509.VerifyOptions{Roots: root.Pool(), Intermediates: between, CurrentTime: now.Add(time.Hour), KeyUsages: []x509.ExtKeyUsage{use}})
		return err
	}
	if err := verify(certs[0], x509.ExtKeyUsageServerAuth); err != nil || len(certs[0].URIs) != 1 || certs[0].URIs[0].String() != "spiffe://site/region/abc" {
		t.Errorf("got %v, names %v", err, certs[0].URIs)
	}
	if _, ok := Identity(certs[0], "site"); ok {
		t.Error("a region's certificate is one of a rack or a machine")
	}
	// Whoever has the issuer's key makes neither clients nor authorities of it.
	if chain, err = issuer.Client(newKey(t).Public(), "site", "/rack/x", RackLife, now); err != nil {
		t.Fatal(err)
	}
	if certs, err = ParseCerts(chain); err != nil || verify(certs[0], x509.ExtKeyUsageClientAuth) == nil {
		t.Errorf("the issuer signs clients: %v", err)
	}
	if _, err := issuer.Below("below", IssuerLife, now); !errors.Is(err, ErrNoneBelow) {
		t.Errorf("an issuer below an issuer: got %v", err)
	}
	if _, err := newCA(t).Below("below", IssuerLife, now); !errors.Is(err, ErrNoneBelow) {
		t.Errorf("an authority of before: got %v", err)
	}
	late, err := root.Below("late", IssuerLife, root.Cert.NotAfter.Add(-time.Hour))
	if err != nil || late.Cert.NotAfter.After(root.Cert.NotAfter) {
		t.Errorf("an issuer outlives its root: %v", err)
	}
}
