package host

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// authorities are those that a host trusts, as Debian's ca-certificates keeps them.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

const maxChain = 10 // certificates between a server's and its authority's

// Certificate implements guard.Host. Nothing of a key is kept.
func (f *Facts) Certificate(p guard.Pair) (guard.Certificate, error) {
	if s, ok := f.src.(interface {
		Certificate(guard.Pair) (guard.Certificate, error)
	}); ok {
		return s.Certificate(p)
	}
	text, err := f.Read(p.Certificate)
	if err != nil {
		return guard.Certificate{}, err
	}
	chain, err := certificates(text)
	if err != nil {
		return guard.Certificate{}, fmt.Errorf("%s: %w", p.Certificate, err)
	}
	leaf := chain[0]
	c := describeCertificate(leaf)
	c.DHBits = dhBits(text)
	if !c.Own {
		bundle, err := f.Read(authorities)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
		trusted, _ := certificates(bundle) // without it, the file has to lead to an authority by itself
		c.Chain = leadsUp(leaf, chain[1:], trusted)
	}
	c.Match = f.matches(leaf, p.Key, text)
	return c, nil
}

// certificates are those of a PEM file, the first being the server's.
func certificates(text []byte) (list []*x509.Certificate, err error) {
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" && b.Type != "TRUSTED CERTIFICATE" {
			continue
		}
		c, bad := x509.ParseCertificate(b.Bytes)
		if bad != nil && len(list) == 0 {
			return nil, errors.New("the first certificate is none that can be read")
		}
		if bad == nil {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return nil, errors.New("there is no certificate in PEM")
	}
	return list, nil
}

func describeCertificate(x *x509.Certificate) guard.Certificate {
	sum := sha256.Sum256(x.Raw)
	c := guard.Certificate{Subject: x.Subject.String(), Names: x.DNSNames, From: x.NotBefore, To: x.NotAfter, Key: x.PublicKeyAlgorithm.String(), Signature: x.SignatureAlgorithm.String(),
		Sum: hex.EncodeToString(sum[:]), Own: string(x.RawIssuer) == string(x.RawSubject)}
	for _, ip := range x.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	switch k := x.PublicKey.(type) {
	case *rsa.PublicKey:
		c.Bits = k.N.BitLen()
	case *ecdsa.PublicKey:
		c.Bits = k.Curve.Params().BitSize
	case ed25519.PublicKey:
		c.Bits = 256
	}
	return c
}

// leadsUp says why a certificate does not lead to an authority, by others that its file has.
func leadsUp(c *x509.Certificate, more, trusted []*x509.Certificate) error {
	for range maxChain {
		by := func(list []*x509.Certificate) *x509.Certificate {
			for _, i := range list {
				if string(i.RawSubject) == string(c.RawIssuer) && c.CheckSignatureFrom(i) == nil {
					return i
				}
			}
			return nil
		}
		if by(trusted) != nil {
			return nil
		}
		next := by(more)
		if next == nil {
			return errors.New("the issuer " + c.Issuer.String() + " is neither in the file nor among the authorities that this host trusts")
		}
		if string(next.RawIssuer) == string(next.RawSubject) {
			return nil
		}
		c = next
	}
	return fmt.Errorf("more than %d certificates lead nowhere", maxChain)
}

// matches says why a key is not known to be a certificate's.
func (f *Facts) matches(c *x509.Certificate, key string, same []byte) error {
	text := same
	if key == "" {
		return errors.New("no key is named")
	}
	if read, err := f.Read(key); err == nil {
		text = read
	} else {
		return err
	}
	defer clear(text)
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return errors.New("the file has no key in PEM")
		}
		if !strings.HasSuffix(b.Type, "PRIVATE KEY") {
			continue
		}
		if b.Type == "ENCRYPTED PRIVATE KEY" || b.Headers["DEK-Info"] != "" {
			return errors.New("the key has a passphrase")
		}
		return isKeyOf(c, b.Bytes)
	}
}

func isKeyOf(c *x509.Certificate, der []byte) error {
	var key any
	var err error
	for _, parse := range []func([]byte) (any, error){x509.ParsePKCS8PrivateKey, func(b []byte) (any, error) { return x509.ParsePKCS1PrivateKey(b) },
		func(b []byte) (any, error) { return x509.ParseECPrivateKey(b) }} {
		if key, err = parse(der); err == nil {
			break
		}
	}
	if err != nil {
		return errors.New("the key is none that can be read")
	}
	same := false
	switch k := key.(type) {
	case *rsa.PrivateKey:
		same = k.PublicKey.Equal(c.PublicKey)
	case *ecdsa.PrivateKey:
		same = k.PublicKey.Equal(c.PublicKey)
	case ed25519.PrivateKey:
		public, _ := k.Public().(ed25519.PublicKey)
		same = public.Equal(c.PublicKey)
	}
	if !same {
		return guard.ErrNoMatch
	}
	return nil
}

// dhBits is the size of the parameters of Diffie-Hellman that a PEM file has, 0 for none. Source: PKCS #3, RFC 2631.
func dhBits(text []byte) int {
	for rest := text; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return 0
		}
		if b.Type != "DH PARAMETERS" && b.Type != "X9.42 DH PARAMETERS" {
			continue
		}
		var all asn1.RawValue // the prime is the first of both kinds
		prime := new(big.Int)
		if _, err := asn1.Unmarshal(b.Bytes, &all); err != nil {
			continue
		}
		if _, err := asn1.Unmarshal(all.Bytes, &prime); err == nil {
			return prime.BitLen()
		}
	}
}

// DHBits implements guard.Host.
func (f *Facts) DHBits(file string) (int, error) {
	text, err := f.Read(file)
	if err != nil {
		return 0, err
	}
	if n := dhBits(text); n > 0 {
		return n, nil
	}
	return 0, errors.New(file + ": there are no parameters of Diffie-Hellman in PEM")
}
