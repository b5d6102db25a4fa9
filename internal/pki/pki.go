// Package pki is the instance's own certificate authority: the authorities, the fixed profiles of what they
// issue, and the TLS settings that go with them.
//
// There are four kinds of authority, so that a certificate of one kind is worth nothing in another's place:
// "site" signs the region's own servers: a root, which racks and clients know, and below it an issuer, so that the root's key need not be
// in the instance; "racks" the racks' client certificates, "machines" those of boots,
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
	// rootLife is that of an authority whose key may be kept elsewhere; IssuerLife of those below it.
	rootLife   = 20 * 365 * 24 * time.Hour
	IssuerLife = 5 * 365 * 24 * time.Hour
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
	// Above are the authorities that it is below, up to the root; none for a root.
	Above []*x509.Certificate
	key   crypto.Signer
}

// Anchor is the certificate that whoever trusts the authority knows: its root's.
func (ca *CA) Anchor() *x509.Certificate {
	if n := len(ca.Above); n > 0 {
		return ca.Above[n-1]
	}
	return ca.Cert
}

// NewRoot makes an authority that has others below it.
func NewRoot(name string, now time.Time) (*CA, error) {
	return signItself(&x509.Certificate{Subject: named(name), NotAfter: now.Add(rootLife), MaxPathLen: 1}, now)
}

// ErrNoneBelow is of an authority that says of itself that there is none below it: nobody who trusts it would follow.
var ErrNoneBelow = errors.New("this authority signs servers itself, and has no other below it")

// Below makes an authority below this one, for servers, with a key of its own.
func (ca *CA) Below(name string, life time.Duration, now time.Time) (*CA, error) {
	if ca.Cert.MaxPathLen < 1 {
		return nil, ErrNoneBelow
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	t := authority(&x509.Certificate{Subject: named(name), NotAfter: now.Add(life), MaxPathLenZero: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, now)
	if t.NotBefore = now.Add(-backdate); t.NotAfter.After(ca.Cert.NotAfter) {
		t.NotAfter = ca.Cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.Cert, key.Public(), ca.key)
	if err != nil {
		return nil, fmt.Errorf("cannot make authority %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	return &CA{cert, append([]*x509.Certificate{ca.Cert}, ca.Above...), key}, err
}

func named(name string) pkix.Name {
	return pkix.Name{CommonName: name, Organization: []string{"Metalward"}}
}

// authority completes a template with what all authorities have.
func authority(t *x509.Certificate, now time.Time) *x509.Certificate {
	t.SerialNumber, t.NotBefore, t.KeyUsage, t.BasicConstraintsValid, t.IsCA = serial(), now.Add(-metadataBackdate), x509.KeyUsageCertSign|x509.KeyUsageCRLSign, true, true
	return t
}

func signItself(t *x509.Certificate, now time.Time) (*CA, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	t = authority(t, now)
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("cannot make authority %s: %w", t.Subject.CommonName, err)
	}
	cert, err := x509.ParseCertificate(der)
	return &CA{Cert: cert, key: key}, err
}

// NewCA makes an authority. With permitted prefixes it is constrained to IP addresses in them and to no DNS
// name (RFC 5280 section 4.2.1.10; a name type that is not listed would not be limited).
func NewCA(name string, permitted []netip.Prefix, now time.Time) (*CA, error) {
	t := &x509.Certificate{Subject: named(name), NotAfter: now.Add(caLife), MaxPathLenZero: true}
	if len(permitted) > 0 {
		t.PermittedDNSDomainsCritical = true
		t.PermittedDNSDomains = []string{"invalid"} // RFC 6761: no such name exists
		for _, p := range permitted {
			t.PermittedIPRanges = append(t.PermittedIPRanges, &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
		}
	}
	return signItself(t, now)
}

// Marshal returns the authority, key included, as PEM for the sealed store.
func (ca *CA) Marshal() (secret.Value, error) {
	key, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return secret.Value{}, fmt.Errorf("cannot encode authority: %w", err)
	}
	return secret.NewValue(append(ca.chain(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)), nil
}

// ParseCA reads what Marshal wrote.
func ParseCA(v secret.Value) (*CA, error) {
	var certs []*x509.Certificate
	for rest := v.Reveal(); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return nil, errors.New("cannot read authority: not PEM")
		}
		if b.Type == "CERTIFICATE" {
			cert, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				return nil, fmt.Errorf("cannot read authority: %w", err)
			}
			certs = append(certs, cert)
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(b.Bytes)
		if err != nil {
			return nil, fmt.Errorf("cannot read authority's key: %w", err)
		}
		signer, ok := key.(*ecdsa.PrivateKey)
		if !ok || len(certs) == 0 || !signer.PublicKey.Equal(certs[0].PublicKey) {
			return nil, errors.New("cannot use authority's key: not the one of its certificate")
		}
		return &CA{certs[0], certs[1:], signer}, nil
	}
}

// chain is the authority's certificate and those above it, as PEM.
func (ca *CA) chain() []byte {
	text := EncodeCert(ca.Cert.Raw)
	for _, c := range ca.Above {
		text = append(text, EncodeCert(c.Raw)...)
	}
	return text
}

// PEM returns the authority's anchor.
func (ca *CA) PEM() []byte { return EncodeCert(ca.Anchor().Raw) }

// Pool holds this authority's anchor alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.Anchor())
	return p
}

// Fingerprint is the SHA-256 of the authority's anchor, hex.
func (ca *CA) Fingerprint() string { return Fingerprint(ca.Anchor().Raw) }

// Fingerprint is the SHA-256 of a certificate in DER, hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// Server issues a server certificate for names and addresses, with the leaf first and the authorities behind, the
// anchor too: who knows it by its hash alone finds it there.
func (ca *CA) Server(public crypto.PublicKey, cn string, names []string, ips []netip.Addr, life time.Duration, now time.Time) (chainPEM []byte, err error) {
	return ca.issue(ca.server(cn, names, ips, life, now), public)
}

// Region is Server for a region, which has its SPIFFE ID among its names: spiffe://SITE/region/ID.
func (ca *CA) Region(public crypto.PublicKey, site, id string, names []string, ips []netip.Addr, now time.Time) (chainPEM []byte, err error) {
	t := ca.server("metalward region", names, ips, ServerLife, now)
	t.URIs = []*url.URL{{Scheme: "spiffe", Host: site, Path: "/region/" + id}}
	return ca.issue(t, public)
}

func (ca *CA) server(cn string, names []string, ips []netip.Addr, life time.Duration, now time.Time) *x509.Certificate {
	t := ca.template(cn, now, life)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.DNSNames = names
	for _, ip := range ips {
		t.IPAddresses = append(t.IPAddresses, ip.AsSlice())
	}
	return t
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
	return append(EncodeCert(der), ca.chain()...), nil
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
