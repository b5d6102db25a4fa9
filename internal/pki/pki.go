// Package pki is the instance's own certificate authority: the authorities, the fixed profiles of what they
// issue, and the TLS settings that go with them.
//
// There are four kinds of authority, so that a certificate of one kind is worth nothing in another's place:
// "site" signs the region's own servers, "racks" the racks' client certificates, "machines" those of boots,
// and one "metadata" authority per rack, constrained to the rack's boot addresses, signs what booting and
// deployed machines trust. Of a signing request only the public key is ever used.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// Lives of what is issued.
const (
	caLife = 10 * 365 * 24 * time.Hour
	// backdate lets a machine whose clock is behind accept what was issued a moment ago.
	backdate = 24 * time.Hour
	// metadataBackdate is longer: deployed machines start with whatever their clock chip says.
	metadataBackdate = 366 * 24 * time.Hour

	ServerLife = 90 * 24 * time.Hour
	// RackLife is the life of a rack's certificate: short, because renewal is automatic.
	RackLife = 24 * time.Hour
	// BootLife bounds an agent's certificate; it ends with its boot before that.
	BootLife = 12 * time.Hour
)

// RenewAt is the moment at which a certificate should be renewed: two thirds of its life.
func RenewAt(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore.Add(backdate)) / 3)
}

// CA is an authority.
type CA struct {
	Cert *x509.Certificate
	key  crypto.Signer
}

// NewCA makes an authority. With permitted prefixes it is constrained to IP addresses in them and to no DNS
// name (RFC 5280 section 4.2.1.10; a name type that is not listed would not be limited).
func NewCA(name string, permitted []netip.Prefix, now time.Time) (*CA, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: name, Organization: []string{"Metalward"}},
		NotBefore: now.Add(-metadataBackdate), NotAfter: now.Add(caLife), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: 0, MaxPathLenZero: true}
	if len(permitted) > 0 {
		t.PermittedDNSDomainsCritical = true
		t.PermittedDNSDomains = []string{"invalid"} // RFC 6761: no such name exists
		for _, p := range permitted {
			t.PermittedIPRanges = append(t.PermittedIPRanges, &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("cannot make authority %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	return &CA{cert, key}, err
}

// Marshal returns the authority, key included, as PEM for the sealed store.
func (ca *CA) Marshal() (secret.Value, error) {
	key, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return secret.Value{}, fmt.Errorf("cannot encode authority: %w", err)
	}
	return secret.NewValue(append(ca.PEM(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)), nil
}

// ParseCA reads what Marshal wrote.
func ParseCA(v secret.Value) (*CA, error) {
	certBlock, rest := pem.Decode(v.Reveal())
	keyBlock, _ := pem.Decode(rest)
	if certBlock == nil || keyBlock == nil {
		return nil, errors.New("cannot read authority: not PEM")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read authority: %w", err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read authority's key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("cannot use authority's key: not a signing key")
	}
	return &CA{cert, signer}, nil
}

// PEM returns the authority's certificate.
func (ca *CA) PEM() []byte { return EncodeCert(ca.Cert.Raw) }

// Pool holds this authority alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.Cert)
	return p
}

// Fingerprint is the SHA-256 of the authority's certificate, hex.
func (ca *CA) Fingerprint() string { return Fingerprint(ca.Cert.Raw) }

// Fingerprint is the SHA-256 of a certificate in DER, hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// Server issues a server certificate for names and addresses, with the leaf first and the authority behind.
func (ca *CA) Server(public crypto.PublicKey, cn string, names []string, ips []netip.Addr, life time.Duration, now time.Time) (chainPEM []byte, err error) {
	t := ca.template(cn, now, life)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.DNSNames = names
	for _, ip := range ips {
		t.IPAddresses = append(t.IPAddresses, ip.AsSlice())
	}
	return ca.issue(t, public)
}

// Client issues a client certificate whose only name is a path of this site, such as "/rack/abc". The
// profile is fixed: client authentication, no authority, no other name.
func (ca *CA) Client(public crypto.PublicKey, site, path string, life time.Duration, now time.Time) (chainPEM []byte, err error) {
	t := ca.template(path[1:], now, life)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	t.URIs = []*url.URL{{Scheme: "spiffe", Host: site, Path: path}}
	return ca.issue(t, public)
}

func (ca *CA) template(cn string, now time.Time, life time.Duration) *x509.Certificate {
	before := now.Add(-backdate)
	if ca.Cert.PermittedDNSDomainsCritical {
		before = now.Add(-metadataBackdate + time.Hour)
	}
	after := now.Add(life)
	if after.After(ca.Cert.NotAfter) {
		after = ca.Cert.NotAfter
	}
	return &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: cn}, NotBefore: before, NotAfter: after,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true}
}

func (ca *CA) issue(t *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, ca.Cert, public, ca.key)
	if err != nil {
		return nil, fmt.Errorf("cannot issue certificate: %w", err)
	}
	return append(EncodeCert(der), ca.PEM()...), nil
}

// NewKey makes a P-256 key.
func NewKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// Request makes a signing request that holds the public key and nothing else.
func Request(key crypto.Signer) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}

// PublicKey takes the public key out of a signing request and ignores all else in it: whatever subject,
// name, usage or validity it asks for is without effect. Kinds: Invalid on "csr".
func PublicKey(csr []byte) (crypto.PublicKey, error) {
	const maxCSR = 8 << 10
	if len(csr) > maxCSR {
		return nil, fault.Field("csr", "The signing request is larger than %d bytes.", maxCSR)
	}
	req, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fault.Field("csr", "The signing request cannot be read.")
	}
	if err := req.CheckSignature(); err != nil {
		return nil, fault.Field("csr", "The signing request is not signed by its own key.")
	}
	pub, ok := req.PublicKey.(*ecdsa.PublicKey)
	if !ok || pub.Curve != elliptic.P256() {
		return nil, fault.Field("csr", "Use a key on the curve P-256.")
	}
	return pub, nil
}

// EncodeCert writes a certificate as PEM.
func EncodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// ParseCerts reads all certificates of a PEM text, leaf first.
func ParseCerts(text []byte) (certs []*x509.Certificate, err error) {
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("cannot read certificate: %w", err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errors.New("cannot find a certificate in the PEM text")
	}
	return certs, nil
}

// Identity is the path of a certificate's one name on a site, such as "/rack/abc"; false when it has another
// form.
func Identity(c *x509.Certificate, site string) (string, bool) {
	if len(c.URIs) != 1 || len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses) > 0 {
		return "", false
	}
	u := c.URIs[0]
	return u.Path, u.Scheme == "spiffe" && u.Host == site
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}
