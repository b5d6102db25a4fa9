// Package egress is the way out for requests that people make the server send: identity providers, webhooks, and
// their test buttons. It keeps them from becoming requests to the server's own inside.
//
// The decision is made on the address that is really connected to, after name resolution and again after each
// redirect, so a name that changes its address between check and use gains nothing.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// Limits of a request.
const (
	Timeout      = 15 * time.Second // whole
	dialTimeout  = 5 * time.Second
	maxRedirects = 3
	MaxBody      = 1 << 20 // bytes of an answer; more is an error
	maxHeader    = 64 << 10
)

// Config says where requests may go besides the public and private networks.
type Config struct {
	// Denied reports further addresses that nothing may connect to: the controllers' own and the machines' networks.
	// nil denies none.
	Denied func(netip.Addr) bool
	// Allowed are networks that may be connected to although they are denied: an operator's provider on this host.
	Allowed []netip.Prefix
	// Roots are the authorities of servers' certificates; nil means the host's.
	Roots *tls.Config
	// Saw, if set, is shown the certificate of each server that a client of this connects to by TLS: one that was verified, or one
	// that was refused because it has ended.
	Saw func(server string, leaf *x509.Certificate)
}

// never are the networks that nothing on the other side of a request has: this host, this link, and what clouds
// answer with credentials. Source: IANA special-purpose address registries; vendors' metadata services.
var never = func() (list []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"100.100.100.200/32", "::/128", "::1/128", "fe80::/10", "fec0::/10", "ff00::/8", "100::/64", "2001:db8::/32", "fd00:ec2::254/128",
	} {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}()

// embedded returns the IPv4 address that an IPv6 one stands for, or the address itself.
func embedded(a netip.Addr) netip.Addr {
	b := a.As16()
	switch {
	case !a.Is6() || a.IsLoopback() || a.IsUnspecified():
	case b[0] == 0x20 && b[1] == 0x02: // 6to4, RFC 3056
		return netip.AddrFrom4([4]byte(b[2:6]))
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a), netip.MustParsePrefix("::/96").Contains(a): // RFC 6052, RFC 4291
		return netip.AddrFrom4([4]byte(b[12:16]))
	}
	return a
}

// Check decides on an address. Kinds: Forbidden.
func (c Config) Check(a netip.Addr) error {
	a = a.WithZone("").Unmap()
	for _, p := range c.Allowed {
		if p.Contains(a) {
			return nil
		}
	}
	a = embedded(a)
	denied := c.Denied != nil && c.Denied(a)
	for _, p := range never {
		denied = denied || p.Contains(a)
	}
	if denied {
		return fault.New(fault.Forbidden, "Requests to %s are not allowed: it is an address of this host, this network or the site's own.", a)
	}
	return nil
}

// Dial connects to a TCP port that Check allows.
func (c Config) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: dialTimeout, ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil || network != "tcp4" && network != "tcp6" {
			return fault.New(fault.Forbidden, "Requests go to TCP ports only.")
		}
		return c.Check(ap.Addr())
	}}
	return dialer.DialContext(ctx, network, address)
}

// Client makes a client for a purpose. It speaks HTTPS only, follows few redirects, to HTTPS only, uses no proxy of
// the environment, keeps no cookies, and gives up after Timeout.
func (c Config) Client() *http.Client {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.Roots != nil {
		conf = c.Roots.Clone()
	}
	return &http.Client{
		Timeout: Timeout,
		Transport: bounded{c.Saw, &http.Transport{DialContext: c.Dial, TLSClientConfig: conf, TLSHandshakeTimeout: dialTimeout, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2,
			IdleConnTimeout: time.Minute, ResponseHeaderTimeout: Timeout, MaxResponseHeaderBytes: maxHeader}},
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fault.New(fault.Forbidden, "The server sends on from one address to the next.")
			}
			return nil
		},
	}
}

// bounded refuses what is not HTTPS, redirects included, and bodies that are too large.
type bounded struct {
	saw  func(server string, leaf *x509.Certificate)
	next http.RoundTripper
}

// RoundTrip sends a request.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, fault.New(fault.Forbidden, "Use an address that begins with https://.")
	}
	if r.URL.User != nil {
		return nil, fault.New(fault.Forbidden, "Leave the user name and password out of the address.")
	}
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		if ended := Ended(err); ended != nil && b.saw != nil {
			b.saw(r.URL.Hostname(), ended)
		}
		return nil, err
	}
	if b.saw != nil && resp.TLS != nil {
		b.saw(r.URL.Hostname(), resp.TLS.PeerCertificates[0])
	}
	resp.Body = &limited{resp.Body, MaxBody}
	return resp, nil
}

// limited is a body that fails when it is too large, rather than end as if it were whole.
type limited struct {
	io.ReadCloser
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		if n, err := l.ReadCloser.Read(make([]byte, 1)); n == 0 && err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("cannot read more than %d bytes of an answer", MaxBody)
	}
	n, err := l.ReadCloser.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// Ended is the certificate for which a connection failed because it has ended; nil if it failed for another reason.
func Ended(err error) *x509.Certificate {
	var refused *tls.CertificateVerificationError
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &refused) || !errors.As(refused.Err, &invalid) || invalid.Reason != x509.Expired || len(refused.UnverifiedCertificates) == 0 {
		return nil
	}
	return refused.UnverifiedCertificates[0]
}

// Message says in words why a request failed: for the test button, without what an attacker could map a network by.
func Message(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Message
	}
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert):
		return "The server's certificate is not trusted: " + cert.Err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "The server did not answer in time."
	}
	return "The server could not be reached."
}
