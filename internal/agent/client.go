package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

// Bounds of the conversation with the rack.
const (
	maxAnswer    = 4 << 20 // a task with its scripts, or a seed with large user data
	callTimeout  = time.Minute
	retryFor     = 3 * time.Minute // a rack that restarts is back well within this
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 10 * time.Second
)

// refusal is an answer that another try would not change.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string {
	if r.text == "" {
		return fmt.Sprintf("the rack refused with %d %s", r.status, http.StatusText(r.status))
	}
	return fmt.Sprintf("the rack refused with %d: %s", r.status, r.text)
}

// errUntrusted marks a server that does not prove to be our rack. It is final: whoever answers at that
// address will not become somebody else.
var errUntrusted = errors.New("the server is not the rack named on the kernel command line")

// client talks to the rack. Safe for concurrent use once claimed.
type client struct {
	args    Arguments
	console *Console
	base    string
	http    *http.Client
	key     *ecdsa.PrivateKey
	// now is the time that certificates are checked against. Before the claim there is none: the machine's
	// own clock may be years off.
	now func() time.Time
	// retry bounds, shortened by tests.
	retryFor, backoff time.Duration
}

func newClient(args Arguments, console *Console) *client {
	c := &client{args: args, console: console, base: "https://" + args.Rack.String(), retryFor: retryFor, backoff: firstBackoff}
	c.connect(nil)
	return c
}

// connect makes the HTTP client, with the certificate of the boot once there is one.
func (c *client) connect(cert *tls.Certificate) {
	conf := &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Replaced by, not freed from, verification: the anchor is known by digest only, and comes with the
		// handshake itself.
		InsecureSkipVerify: true,
		VerifyConnection:   c.verify,
	}
	if cert != nil {
		conf.Certificates = []tls.Certificate{*cert}
	}
	if c.http != nil {
		c.http.CloseIdleConnections()
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:       conf,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout:   20 * time.Second,
			ResponseHeaderTimeout: callTimeout,
			MaxIdleConnsPerHost:   2,
			IdleConnTimeout:       30 * time.Second,
			DisableCompression:    true, // images are read byte for byte
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// verify accepts a server that presents the pinned CA and a leaf of it for the rack's address. Name
// constraints of the CA are enforced by x509.
func (c *client) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errUntrusted
	}
	leaf := state.PeerCertificates[0]
	var ca *x509.Certificate
	for _, cert := range state.PeerCertificates {
		if sha256.Sum256(cert.Raw) == c.args.CA {
			ca = cert
		}
	}
	if ca == nil {
		return fmt.Errorf("%w: no certificate has the digest in %s", errUntrusted, wire.ArgCA)
	}
	if !ca.IsCA || !ca.BasicConstraintsValid || ca == leaf {
		return fmt.Errorf("%w: the certificate with the digest in %s is not a CA", errUntrusted, wire.ArgCA)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	// Without a clock, any moment at which leaf and CA were both valid will do: an attacker who holds an
	// expired key of this CA is a lesser evil than a machine that cannot be installed.
	at := leaf.NotBefore
	if ca.NotBefore.After(at) {
		at = ca.NotBefore
	}
	at = at.Add(time.Second)
	if c.now != nil {
		at = c.now()
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: at, DNSName: c.args.Rack.Addr().String(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("%w: %v", errUntrusted, err)
	}
	return nil
}

// claim spends the boot token for a certificate that is good for this boot only. The key never leaves memory.
func (c *client) claim(ctx context.Context) (wire.ClaimResponse, error) {
	var got wire.ClaimResponse
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return got, fmt.Errorf("cannot make a key: %w", err)
	}
	c.key = key
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return got, fmt.Errorf("cannot make a certificate request: %w", err)
	}
	// A token is good for one key. If an answer is lost on its way, the same request brings another; with another
	// key it would look like a second client.
	req := wire.ClaimRequest{Token: c.args.Token.RevealString(), MAC: c.args.MAC, CSR: csr}
	if err := c.call(ctx, http.MethodPost, wire.ClaimPath, req, &got); err != nil {
		return got, fmt.Errorf("cannot claim a certificate: %w", err)
	}
	cert, err := parseCertificate(got.Certificate, key)
	if err != nil {
		return got, fmt.Errorf("cannot use the certificate of this boot: %w", err)
	}
	// From here on time is the rack's, carried by the monotonic clock: right even where setting the system
	// clock fails.
	start := time.Now()
	c.now = func() time.Time { return got.Now.Add(time.Since(start)) }
	c.connect(cert)
	return got, nil
}

func parseCertificate(text []byte, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	cert := &tls.Certificate{PrivateKey: key}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			cert.Certificate = append(cert.Certificate, block.Bytes)
		}
	}
	if len(cert.Certificate) == 0 {
		return nil, errors.New("no PEM certificate in the answer")
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, errors.New("it is for another key")
	}
	cert.Leaf = leaf
	return cert, nil
}

// call sends a message and decodes the answer into out, if not nil. It tries again while the rack does not
// answer; a refusal is final. Every message may arrive twice: the protocol allows for that.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	return c.again(ctx, func(ctx context.Context) error { return c.once(ctx, method, path, in, out) })
}

// errBusy marks an answer that says: later. errComing marks one that says when: what was asked for is being prepared.
var (
	errBusy   = errors.New("the rack is not ready")
	errComing = errors.New("the rack prepares it")
)

// final stops the retries for an error that is not a refusal.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// again runs try until it works, fails for good, or the time is up.
func (c *client) again(ctx context.Context, try func(context.Context) error) error {
	deadline := time.Now().Add(c.retryFor)
	wait := c.backoff
	for {
		one, cancel := context.WithTimeout(ctx, callTimeout)
		err := try(one)
		cancel()
		if err == nil || isFinal(err) || ctx.Err() != nil {
			return err
		}
		if time.Now().Add(wait).After(deadline) {
			return fmt.Errorf("no success within %v: %w", c.retryFor, err)
		}
		c.console.Stage("retry", "in %v: %v", wait, err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, maxBackoff)
	}
}

func isFinal(err error) bool {
	var refused *refusal
	var stop final
	return errors.As(err, &refused) || errors.As(err, &stop) || errors.Is(err, errUntrusted)
}

func (c *client) once(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return final{fmt.Errorf("cannot encode the message: %w", err)}
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return final{err}
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := checkStatus(resp); err != nil {
		return err
	}
	if out == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return err
	}
	if len(data) > maxAnswer {
		return final{fmt.Errorf("the answer is larger than %d bytes", maxAnswer)}
	}
	if err := wire.Decode(data, out); err != nil {
		return final{err}
	}
	return nil
}

// checkStatus sorts answers: 2xx is success, 429 and 5xx mean later, the rest is a refusal.
func checkStatus(resp *http.Response) error {
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if resp.StatusCode == http.StatusServiceUnavailable && resp.Header.Get("Retry-After") != "" {
		return fmt.Errorf("%w: %s", errComing, metal.Printable(string(text), 300))
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 {
		return fmt.Errorf("%w: it answered %d %s", errBusy, resp.StatusCode, metal.Printable(string(text), 300))
	}
	return &refusal{status: resp.StatusCode, text: metal.Printable(string(text), 300)}
}
