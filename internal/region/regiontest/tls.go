package regiontest

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/wire"
)

// Loopback is the address that test servers' certificates are for.
var Loopback = netip.MustParseAddr("127.0.0.1")

// ServerCertificate is a certificate of the region for the loopback address.
func (c *Core) ServerCertificate(t testing.TB) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	chain, err := c.Site.Web.Server(key.Public(), "region", nil, []netip.Addr{Loopback}, 10*pki.ServerLife, c.now())
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, chain, key)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func certificate(t testing.TB, chain []byte, key *ecdsa.PrivateKey) *tls.Certificate {
	t.Helper()
	certs, err := pki.ParseCerts(chain)
	if err != nil {
		t.Fatal(err)
	}
	out := &tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, x := range certs {
		out.Certificate = append(out.Certificate, x.Raw)
	}
	return out
}

// ClientCertificate is a client certificate of an authority for a path of a site.
func ClientCertificate(t testing.TB, ca *pki.CA, site, path string, life time.Duration, now time.Time) *tls.Certificate {
	t.Helper()
	key := newKey(t)
	chain, err := ca.Client(key.Public(), site, path, life, now)
	if err != nil {
		t.Fatal(err)
	}
	return certificate(t, chain, key)
}

// TLSPair is both ends of a TLS connection to the region, as an enrolling rack makes one.
func (c *Core) TLSPair(t testing.TB) (client, server *tls.Conn) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	client = tls.Client(a, &tls.Config{RootCAs: c.Site.Web.Pool(), ServerName: Loopback.String(), MinVersion: tls.VersionTLS13, Time: c.now})
	server = tls.Server(b, &tls.Config{Certificates: []tls.Certificate{*c.ServerCertificate(t)}, MinVersion: tls.VersionTLS13, Time: c.now})
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// Mint makes an enrolment token.
func (c *Core) Mint(t testing.TB, name string) wire.EnrolToken {
	t.Helper()
	token, err := c.Controllers.MintToken(c.Admin(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// EnrolRequest spends a token over a connection, for a key.
func EnrolRequest(t testing.TB, token wire.EnrolToken, conn *tls.Conn, key *ecdsa.PrivateKey) wire.EnrolRequest {
	t.Helper()
	csr, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := wire.EnrolProof(token.Key, conn.ConnectionState(), csr)
	if err != nil {
		t.Fatal(err)
	}
	return wire.EnrolRequest{ID: token.ID, RackName: token.RackName, Expires: token.Expires, CSR: csr, Proof: proof}
}

// Enrol joins a rack as one on another host would and returns its id and certificate.
func (c *Core) Enrol(t testing.TB, name string) (id string, cert *tls.Certificate) {
	t.Helper()
	client, server := c.TLSPair(t)
	key := newKey(t)
	ctx := authz.WithOrigin(context.Background(), authz.Origin{Source: "198.51.100.7"})
	resp, err := c.Controllers.Enrol(ctx, EnrolRequest(t, c.Mint(t, name), client, key), server.ConnectionState())
	if err != nil {
		t.Fatal(err)
	}
	return resp.SystemID, certificate(t, resp.Certificate, key)
}

// Renewed is what a rack makes of the answer to Renew.
func Renewed(t testing.TB, resp wire.CertificateResponse, key *ecdsa.PrivateKey) *tls.Certificate {
	t.Helper()
	return certificate(t, resp.Certificate, key)
}

// Roots trusts the region.
func (c *Core) Roots() *x509.CertPool { return c.Site.Web.Pool() }
