package cli

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/metalward/metalward/internal/metal"
)

// siteProtocols ask an instance for the certificate of its own authority, whatever it shows to others.
var siteProtocols = []string{"http/1.1", metal.SiteProtocol}

// trustPEM trusts the authorities of a PEM text and no other; an empty text means those of the system.
func trustPEM(text string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if text == "" {
		return c, nil
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM([]byte(text)) {
		return nil, errors.New("there is no certificate in the CA file")
	}
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		if ca, err := x509.ParseCertificate(block.Bytes); err == nil && strings.HasPrefix(ca.Subject.CommonName, metal.SiteAuthority) {
			c.NextProtos = siteProtocols
		}
	}
	return c, nil
}

// parseFingerprint reads a SHA-256 as people copy it: hex in either case, perhaps with colons.
func parseFingerprint(s string) (sum [sha256.Size]byte, err error) {
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(s), ":", ""))
	if err != nil || len(b) != len(sum) {
		return sum, usage("login", "--ca-fingerprint takes the SHA-256 of the instance's CA certificate: 64 hexadecimal digits.")
	}
	copy(sum[:], b)
	return sum, nil
}

// trustFingerprint trusts the authority with this SHA-256, which the server sends behind its own certificate.
// found gets it as PEM once a connection was verified. host is what the certificate must be for.
func trustFingerprint(sum [sha256.Size]byte, host string, found func(pem string)) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         siteProtocols,
		InsecureSkipVerify: true, //nolint:gosec // replaced by VerifyConnection, as crypto/tls documents
		VerifyConnection: func(cs tls.ConnectionState) error {
			roots, between := x509.NewCertPool(), x509.NewCertPool()
			var ca *x509.Certificate
			for _, c := range cs.PeerCertificates {
				if sha256.Sum256(c.Raw) == sum && c.IsCA {
					ca = c
					roots.AddCert(c)
				} else {
					between.AddCert(c)
				}
			}
			if ca == nil {
				return errors.New("the server's certificate does not come from the authority with the given fingerprint")
			}
			// The name is the URL's: cs.ServerName is empty for an IP address.
			if _, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: between}); err != nil {
				return err
			}
			found(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})))
			return nil
		},
	}
}

// explainTLS says what to do about a server that cannot be verified.
func explainTLS(err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%w. If the instance has an authority of its own, log in with --ca-fingerprint, which its start prints, or with --ca-file", err)
	}
	return err
}
