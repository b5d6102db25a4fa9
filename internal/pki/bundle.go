package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// Bundle is a server certificate that somebody brings, with its key and the certificates between it and its authority.
type Bundle struct {
	Key   crypto.Signer
	Chain []*x509.Certificate // the server's first, each followed by its issuer
	Root  *x509.Certificate   // the authority, if it was among the files
}

// Part is one of the files of a bundle; its name is in the messages.
type Part struct {
	Name string
	Data []byte
}

// Limits of bundles.
const (
	MaxBundlePart  = 256 << 10 // bytes of one file
	maxBundleCerts = 20
	minRSABits     = 2048 // NIST SP 800-57 part 1, table 2: 112 bits until 2030
)

// ParseBundle sorts out the certificates and the key in some PEM files, whichever is in which and in whatever order.
// Certificates that do not belong to the chain are left out. Kinds: Invalid, naming the file.
func ParseBundle(parts ...Part) (b Bundle, err error) {
	var certs []*x509.Certificate
	var keyIn, certIn string
	for _, p := range parts {
		found, key, err := readPart(p)
		if err != nil {
			return b, err
		}
		if key != nil && b.Key != nil && !samePublic(key.Public(), b.Key.Public()) {
			return b, fault.Field(p.Name, "There are two private keys; give the one of the certificate.")
		}
		if key != nil {
			b.Key, keyIn = key, p.Name
		}
		if len(found) > 0 && certIn == "" {
			certIn = p.Name
		}
		certs = append(certs, found...)
	}
	names := func(i int) string { return parts[min(i, len(parts)-1)].Name }
	switch {
	case len(certs) > maxBundleCerts:
		return b, fault.Field(certIn, "There are %d certificates; a chain has at most %d.", len(certs), maxBundleCerts)
	case b.Key == nil:
		return b, fault.Field(names(0), "There is no private key in the files.")
	case len(certs) == 0:
		return b, fault.Field(names(1), "There is no certificate in the files.")
	}
	mine := func(c *x509.Certificate) bool { return samePublic(c.PublicKey, b.Key.Public()) }
	i := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return mine(c) && !c.IsCA })
	if i < 0 {
		i = slices.IndexFunc(certs, func(c *x509.Certificate) bool { return mine(c) && selfSigned(c) })
	}
	if i < 0 {
		return b, fault.Field(keyIn, "The key belongs to none of the server certificates: the first of them is for %s.", subject(certs[0]))
	}
	for next := certs[i]; ; {
		if b.Chain = append(b.Chain, next); selfSigned(next) {
			b.Root = next
			return b, nil
		}
		at := slices.IndexFunc(certs, func(c *x509.Certificate) bool {
			return c.IsCA && bytes.Equal(c.RawSubject, next.RawIssuer) && next.CheckSignatureFrom(c) == nil && !slices.ContainsFunc(b.Chain, c.Equal)
		})
		if at < 0 {
			return b, nil
		}
		if next = certs[at]; selfSigned(next) {
			b.Root = next
			return b, nil
		}
	}
}

func selfSigned(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }

// readPart reads the certificates and the key of one file. Kinds: Invalid.
func readPart(p Part) (certs []*x509.Certificate, key crypto.Signer, err error) {
	bad := func(format string, args ...any) error { return fault.Field(p.Name, format, args...) }
	if len(p.Data) > MaxBundlePart {
		return nil, nil, bad("The file has more than %d bytes.", MaxBundlePart)
	}
	rest := p.Data
	for n := 0; ; n++ {
		block, more := pem.Decode(rest)
		switch {
		case block == nil && n > 0:
			return certs, key, nil
		case block == nil && len(p.Data) > 1 && p.Data[0] == 0x30: // an ASN.1 sequence
			return nil, nil, bad("The file is in binary form (DER, PFX); convert it to PEM, as with openssl x509 -inform der, or openssl pkcs12 -nodes.")
		case block == nil:
			return nil, nil, bad("There is nothing in PEM form, which begins with -----BEGIN, in the file.")
		}
		rest = more
		var found crypto.Signer
		switch block.Type {
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, nil, bad("Certificate number %d cannot be read: it is damaged.", len(certs)+1)
			}
			certs = append(certs, c)
			continue
		case "ENCRYPTED PRIVATE KEY":
			return nil, nil, bad("The private key has a passphrase; take it off first, as with openssl pkey.")
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
			if block.Headers["DEK-Info"] != "" { // RFC 1421, OpenSSL's old form
				return nil, nil, bad("The private key has a passphrase; take it off first, as with openssl pkey.")
			}
			if found, err = parseKey(block); err != nil {
				return nil, nil, bad("The private key cannot be read: it is damaged or of a kind that servers do not use.")
			}
		case "EC PARAMETERS":
			continue
		case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
			return nil, nil, bad("This is a signing request, not a certificate: give what the authority made of it.")
		default:
			return nil, nil, bad("%.40q is neither a certificate nor a private key.", block.Type)
		}
		if key != nil && !samePublic(key.Public(), found.Public()) {
			return nil, nil, bad("There are two private keys; give the one of the certificate.")
		}
		key = found
	}
}

func parseKey(block *pem.Block) (crypto.Signer, error) {
	switch block.Type {
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if s, ok := k.(crypto.Signer); ok {
		return s, nil
	}
	return nil, errors.New("not a key that signs")
}

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// subject names a certificate as people know it.
func subject(c *x509.Certificate) string {
	if names := SANs(c); len(names) > 0 {
		return strings.Join(names, ", ")
	}
	return c.Subject.String()
}

// SANs lists the names and addresses that a certificate is for.
func SANs(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// Check tells whether clients will take a bundle for a host's: kind and size of the key, times, chain, names. roots are
// those that clients know besides the bundle's own. Kinds: Invalid on "cert" or "key".
func (b Bundle) Check(host string, roots *x509.CertPool, now time.Time) error {
	leaf := b.Chain[0]
	switch k := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSABits {
			return fault.Field("key", "The RSA key has %d bits; browsers want at least %d.", k.N.BitLen(), minRSABits)
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return fault.Field("key", "The key is on the curve %s; use P-256 or P-384.", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return fault.Field("key", "The key is neither RSA nor ECDSA nor Ed25519.")
	}
	pool := x509.NewCertPool()
	if roots != nil {
		pool = roots.Clone()
	}
	all := b.Chain
	if b.Root != nil {
		pool.AddCert(b.Root)
		all = append(slices.Clone(all), b.Root)
	}
	between := x509.NewCertPool()
	for i, c := range all {
		if i > 0 {
			between.AddCert(c)
		}
		if !now.Before(c.NotAfter) {
			return fault.Field("cert", "The certificate of %s has expired on %s.", subject(c), day(c.NotAfter))
		}
		if now.Before(c.NotBefore) {
			return fault.Field("cert", "The certificate of %s is not valid before %s.", subject(c), c.NotBefore.UTC().Format(time.RFC3339))
		}
	}
	if err := leaf.VerifyHostname(host); err != nil {
		return fault.Field("cert", "The certificate is for %s, not for %s, by which people reach this region.", subject(leaf), host)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	last := b.Chain[len(b.Chain)-1]
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		return fault.Field("cert", "The chain ends at %s, which %s issued: add that certificate to the file, or give the authority's as cacert if it is your own.", subject(last), last.Issuer)
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return fault.Field("cert", "The certificate is not for servers: its extended key usage leaves out server authentication.")
	}
	return fault.Field("cert", "Clients will refuse the certificate: %s.", strings.TrimPrefix(err.Error(), "x509: "))
}

func day(t time.Time) string { return t.UTC().Format("2 January 2006") }

// Marshal returns the bundle, key included, as PEM for the sealed store; ParseBundle reads it.
func (b Bundle) Marshal() (secret.Value, error) {
	der, err := x509.MarshalPKCS8PrivateKey(b.Key)
	if err != nil {
		return secret.Value{}, err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, c := range b.Chain {
		out = append(out, EncodeCert(c.Raw)...)
	}
	if b.Root != nil && b.Root != b.Chain[0] {
		out = append(out, EncodeCert(b.Root.Raw)...)
	}
	return secret.NewValue(out), nil
}

// TLS is the bundle as servers use it. The authority stays out: clients know it or do not.
func (b Bundle) TLS() *tls.Certificate {
	c := &tls.Certificate{PrivateKey: b.Key, Leaf: b.Chain[0]}
	for _, x := range b.Chain {
		c.Certificate = append(c.Certificate, x.Raw)
	}
	return c
}
