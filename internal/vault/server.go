// Package vault speaks to a HashiCorp Vault or OpenBao server: health, response wrapping, AppRole, tokens and the KV secrets
// engine of version 2. It is the protocol and nothing else: what is kept there, and what happens when it is away, is for others
// to say.
//
// Start with Server, which is an address and how to trust it, then Client, which is a role there. Secrets travel in bodies and
// headers, never in addresses. Every error is a fault whose message is safe to show, and nothing that a server wrote is in what
// is wrapped around it: a server could write back what it was sent. Errors are of kind Unavailable unless a method says
// otherwise.
//
// Source: https://developer.hashicorp.com/vault/api-docs, and Vault 1.14.1, against which test/vault holds what does not need Enterprise.
package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// Limits of requests and answers.
const (
	Timeout    = 20 * time.Second // of a whole operation: login, tries and waiting
	tryTimeout = 8 * time.Second  // of one request
	tries      = 3                // of a request that may be repeated
	firstWait  = 200 * time.Millisecond
	maxWait    = 5 * time.Second // a longer Retry-After is told to the caller instead
	maxHeader  = 64 << 10        // bytes
	maxAnswer  = 16 << 20        // bytes; a folder of 100,000 names has about 4 MiB
	maxCA      = 1 << 20         // bytes
	maxText    = 512             // bytes of a path, name or namespace
	maxToken   = 16 << 10        // bytes of a token or secret id; a service token has about 100, a batch token hundreds
)

// Config is where a Vault server is, and how to trust it.
type Config struct {
	URL       string // beginning with https://; http:// to this host's loopback alone
	Namespace string // of Vault Enterprise or OpenBao, empty for the root
	CA        []byte // PEM certificates that sign the server's; empty means the host's
	// Saw, if set, looks at each connection once the server was verified: a tls.Config's VerifyConnection.
	Saw func(tls.ConnectionState) error
	// Now and Wait are the clock; nil means the real one. Wait returns early with the context's error.
	Now  func() time.Time
	Wait func(context.Context, time.Duration) error
}

// Server is a Vault server. Safe for concurrent use.
type Server struct {
	base      *url.URL
	namespace string
	http      *http.Client
	now       func() time.Time
	wait      func(context.Context, time.Duration) error
}

// NewServer checks a configuration; it connects to nothing. Kinds: Invalid on "vault_url", "vault_namespace", "vault_ca".
func NewServer(c Config) (*Server, error) {
	bad := fault.Fields{}
	u, err := url.Parse(strings.TrimRight(c.URL, "/"))
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || len(c.URL) > maxText {
		bad.Add("vault_url", "Use the server's address, beginning with https:// and without user, query or fragment.")
	} else if u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())) {
		bad.Add("vault_url", "Use https://. Plain http:// serves for 127.0.0.1 and ::1 alone.")
	}
	ns := strings.Trim(c.Namespace, "/")
	if ns != "" && checkPath(ns) != nil {
		bad.Add("vault_namespace", "Use names of printable characters, divided by slashes.")
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12, VerifyConnection: c.Saw}
	if len(c.CA) > 0 {
		conf.RootCAs = x509.NewCertPool()
		if len(c.CA) > maxCA || !conf.RootCAs.AppendCertsFromPEM(c.CA) {
			bad.Add("vault_ca", "Use certificates in PEM, of at most %d KiB.", maxCA>>10)
		}
	}
	if err := bad.Err(); err != nil {
		return nil, err
	}
	s := &Server{base: u, namespace: ns, now: c.Now, wait: c.Wait, http: &http.Client{
		// No proxy of the environment: what passes here is for nobody else to carry.
		Transport: &http.Transport{TLSClientConfig: conf, TLSHandshakeTimeout: tryTimeout, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 4,
			IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: maxHeader, DialContext: (&net.Dialer{Timeout: tryTimeout}).DialContext},
		// A standby that cannot forward sends on to the active node. A token goes only where the operator said.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if s.now == nil {
		s.now = time.Now
	}
	if s.wait == nil {
		s.wait = sleep
	}
	return s, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() // not the name localhost, which something else may resolve
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// State is what a server can do now.
type State string

// The states.
const (
	Active        State = "active"
	Standby       State = "standby" // asks the active node for everything; that is as good
	Sealed        State = "sealed"  // answers nothing before somebody unseals it
	Uninitialized State = "uninitialized"
)

// Health is what a server says of itself.
type Health struct {
	State   State
	Version string // as the server writes it, printable, at most 64 bytes
}

// Health asks a server how it is. It needs no role.
func (s *Server) Health(ctx context.Context) (Health, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	var said struct {
		Initialized, Sealed, Standby *bool
		Version                      string
	}
	// States are told by status unless asked otherwise: then 429 would be a standby as well as a limit of rate.
	q := url.Values{"standbycode": {"200"}, "sealedcode": {"200"}, "uninitcode": {"200"}, "drsecondarycode": {"200"}, "performancestandbycode": {"200"}}
	if err := s.do(ctx, call{method: http.MethodGet, path: "sys/health", query: q, again: true, root: true}, &said); err != nil {
		return Health{}, err
	}
	if said.Initialized == nil || said.Sealed == nil || said.Standby == nil {
		return Health{}, errRead
	}
	h := Health{State: Active, Version: printable(said.Version)}
	switch {
	case !*said.Initialized:
		h.State = Uninitialized
	case *said.Sealed:
		h.State = Sealed
	case *said.Standby:
		h.State = Standby
	}
	return h, nil
}

// SecretID is the credential of a role.
type SecretID struct {
	Value    secret.Value
	Accessor string        // names it without opening anything: for revoking it
	TTL      time.Duration // 0: without end
	Role     string        // name of the role, which Vault's paths have
}

// The errors that callers tell apart.
var (
	// ErrUsed is an alarm unless the caller itself used the token: somebody else may hold the secret id.
	ErrUsed = fault.New(fault.Forbidden, "The wrapping token was used before, or has expired. Unless it was you, somebody else may have the secret id: "+
		"destroy it in Vault, and have another one wrapped.")
	// ErrLost says that the wrapping token may be spent without anybody having got what was in it.
	ErrLost = fault.New(fault.Unavailable, "The connection to Vault ended before the answer: the wrapping token may be spent. Destroy its secret id in Vault, and have another one wrapped.")
	// ErrLogin says that the role's credentials are wrong, have expired or were revoked.
	ErrLogin = fault.New(fault.Forbidden, "Vault does not accept this role id and secret id: they may have expired or been revoked. Configure a new secret id.")

	errWrap     = fault.New(fault.Invalid, "The wrapping token does not hold a secret id of an AppRole mounted at \"approle\". Have one wrapped: vault write -wrap-ttl=5m -f auth/approle/role/NAME/secret-id")
	errReach    = fault.New(fault.Unavailable, "Vault cannot be reached now.")
	errTrust    = fault.New(fault.Unavailable, "Vault's certificate is not trusted: configure the authority that signed it, and the name that is in it.")
	errSealed   = fault.New(fault.Unavailable, "Vault is sealed, or has no active node.")
	errBusy     = fault.New(fault.Unavailable, "Vault has too many requests, or fails.")
	errRedirect = fault.New(fault.Unavailable, "Vault sends on to another address: configure the address of its active node, or of its load balancer.")
	errRead     = fault.New(fault.Unavailable, "Vault's answer cannot be read.")
	errInvalid  = fault.New(fault.Invalid, "Vault does not take this request: check the mount, which must be of the KV engine in version 2.")
	errDenied   = fault.New(fault.Forbidden, "Vault does not allow this to the site's role: its policy lacks a right.")
	errAbsent   = fault.New(fault.NotFound, "Vault has no such secret.")
)

// Unwrap returns the secret id that a wrapping token holds. It can be had once: whoever comes second gets ErrUsed, and then the
// first one should have been us. It is asked for once and never repeated; ErrLost says that nobody knows how that went, any other
// error of kind Unavailable that the token still stands. Kinds: Forbidden (ErrUsed), Invalid for a token that holds something else.
//
// That it holds a secret id of a role is looked up first, without spending it: a token that was swapped for one made elsewhere
// would otherwise pass. Source: Vault's "Response wrapping", validation of the creation path.
func (s *Server) Unwrap(ctx context.Context, token secret.Value) (SecretID, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	if !usable(token) {
		return SecretID{}, errWrap
	}
	var look struct {
		Data struct {
			Path string `json:"creation_path"`
		}
	}
	err := s.do(ctx, call{method: http.MethodPost, path: "sys/wrapping/lookup", in: map[string]any{"token": token.RevealString()}, again: true}, &look)
	if refused(err) {
		return SecretID{}, fmt.Errorf("%w (%w)", ErrUsed, err)
	}
	if err != nil {
		return SecretID{}, err
	}
	role, ok := strings.CutPrefix(look.Data.Path, "auth/approle/role/")
	role, ok2 := strings.CutSuffix(role, "/secret-id")
	if !ok || !ok2 || checkPath(role) != nil || strings.Contains(role, "/") {
		return SecretID{}, errWrap
	}
	var got struct {
		Data struct {
			ID       string `json:"secret_id"`
			Accessor string `json:"secret_id_accessor"`
			TTL      int64  `json:"secret_id_ttl"` // seconds
		}
	}
	var sent atomic.Bool
	trace := &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}
	err = s.once(httptrace.WithClientTrace(ctx, trace), call{method: http.MethodPost, path: "sys/wrapping/unwrap", token: token}, &got)
	r, answered := errors.AsType[*Refusal](err)
	switch id := secret.FromString(got.Data.ID); {
	case refused(err):
		return SecretID{}, fmt.Errorf("%w (%w)", ErrUsed, err)
	case err != nil && sent.Load() && !(answered && (r.transient() || r.Status < 500)), err == nil && !usable(id):
		return SecretID{}, fmt.Errorf("%w (%v)", ErrLost, err)
	case err != nil:
		return SecretID{}, err
	default:
		return SecretID{Value: id, Accessor: printable(got.Data.Accessor), TTL: seconds(got.Data.TTL), Role: role}, nil
	}
}

// usable reports whether a token or secret id can be one, and can be sent in a header.
func usable(v secret.Value) bool {
	for _, b := range v.Reveal() {
		if b <= ' ' || b >= 0x7f {
			return false
		}
	}
	return !v.Empty() && len(v.Reveal()) <= maxToken
}

// call is a request.
type call struct {
	method, path string // the path is escaped, below /v1/
	query        url.Values
	token        secret.Value
	in           any
	again        bool // a repetition changes nothing, so one that may have arrived can be sent again
	root         bool // belongs to no namespace
}

// Refusal is an answer that is an error: what was asked and its status. The server's words are left out.
type Refusal struct {
	Method, Path string
	Status       int
	conflict     bool // check-and-set
	gone         bool // of an accessor: there is none, with a status of 404 or, in Vault 1.14, 500
	explained    bool // Vault said why: of 404, that nothing serves the path, while what is merely absent is not explained
	retryAfter   time.Duration
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("status %d of %s %s", r.Status, r.Method, r.Path)
}

// Unwrap is what the status means. Source: Vault, "HTTP API", HTTP status codes.
func (r *Refusal) Unwrap() error {
	switch {
	case r.conflict:
		return errConflict
	case r.gone:
		return errAbsent
	case r.Status >= 300 && r.Status < 400:
		return errRedirect
	case r.Status == http.StatusForbidden || r.Status == http.StatusUnauthorized:
		return errDenied
	case r.Status == http.StatusNotFound && r.Method == http.MethodGet && !r.explained:
		return errAbsent
	case r.Status == http.StatusServiceUnavailable:
		return r.later(errSealed)
	case r.Status == http.StatusTooManyRequests || r.Status >= 500 || r.Status == http.StatusPreconditionFailed:
		return r.later(errBusy)
	}
	return errInvalid
}

func (r *Refusal) later(f *fault.Error) error {
	e := *f
	e.RetryAfter = r.retryAfter
	return &e
}

// transient reports whether another try makes sense. 412 is a replica of Vault Enterprise that is behind.
func (r *Refusal) transient() bool {
	return r.Status == http.StatusTooManyRequests || r.Status == http.StatusServiceUnavailable || r.Status == http.StatusPreconditionFailed
}

// refused reports whether Vault itself, which gives a reason, answered that a token or credential is no good.
func refused(err error) bool {
	r, ok := errors.AsType[*Refusal](err)
	return ok && r.explained && (r.Status == http.StatusBadRequest || r.Status == http.StatusForbidden)
}

// do sends a request until there is an answer, a few times at most, and decodes it into out unless that is nil.
func (s *Server) do(ctx context.Context, c call, out any) error {
	for try, pause := 1, firstWait; ; try, pause = try+1, 2*pause {
		err := s.once(ctx, c, out)
		r, answered := errors.AsType[*Refusal](err)
		wait := pause/2 + rand.N(pause)
		switch {
		case err == nil || try == tries || ctx.Err() != nil:
			return err
		case answered && r.transient(), answered && c.again && r.Status >= 500:
			wait = max(wait, r.retryAfter)
		case !answered && c.again && !errors.Is(err, errTrust) && !errors.Is(err, errRead):
		default:
			return err
		}
		if end, ok := ctx.Deadline(); wait > maxWait || ok && time.Until(end) < wait {
			return err
		}
		if s.wait(ctx, wait) != nil {
			return err
		}
	}
}

func (s *Server) once(ctx context.Context, c call, out any) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	var body io.Reader
	if c.in != nil {
		b, err := json.Marshal(c.in)
		if err != nil {
			return fmt.Errorf("cannot encode a request for %s", c.path)
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, c.method, s.base.String()+"/v1/"+c.path+"?"+c.query.Encode(), body)
	if err != nil {
		return fmt.Errorf("cannot make a request for %s", c.path)
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("X-Vault-Request", "true") // some servers demand it, against forged requests of browsers
	if c.in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if !c.token.Empty() {
		r.Header.Set("X-Vault-Token", c.token.RevealString())
	}
	if s.namespace != "" && !c.root {
		r.Header.Set("X-Vault-Namespace", s.namespace)
	}
	resp, err := s.http.Do(r)
	if err != nil {
		return unreached(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return unreached(err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("%w (more than %d bytes)", errRead, maxAnswer)
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return refusal(c, resp, b)
	}
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return errRead // not err, which quotes the answer
	}
	return nil
}

// refusal reads an error. Kinds of 400 differ by their text alone; the conformance test holds it against the server.
func refusal(c call, resp *http.Response, body []byte) error {
	var said struct{ Errors []string }
	bad := json.Unmarshal(body, &said) != nil
	r := &Refusal{Method: c.method, Path: c.path, Status: resp.StatusCode, explained: len(said.Errors) > 0}
	if after, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && after > 0 && after <= 24*60*60 {
		r.retryAfter = time.Duration(after) * time.Second
	}
	switch {
	case resp.StatusCode == http.StatusBadRequest && strings.Contains(strings.Join(said.Errors, " "), "check-and-set parameter did not match"):
		r.conflict = true
	case strings.Contains(strings.Join(said.Errors, " "), "failed to find accessor entry"):
		r.gone = true
	case bad && resp.StatusCode >= 400 && resp.StatusCode < 500 && !r.transient():
		return fmt.Errorf("%w (status %d of %s %s, which is not Vault's)", errRead, r.Status, r.Method, r.Path) // a proxy's page must not look like "no such secret"
	}
	return r
}

// unreached says why there is no answer, without what came instead of one.
func unreached(err error) error {
	var cert *tls.CertificateVerificationError
	var op *net.OpError
	switch {
	case errors.As(err, &cert):
		return fmt.Errorf("%w (%v)", errTrust, cert.Err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w (no answer in time)", errReach)
	case errors.As(err, &op) && op.Op == "dial": // nothing was said yet
		return fmt.Errorf("%w (cannot connect: %w)", errReach, op)
	}
	return fmt.Errorf("%w (the connection ended, or what answers does not speak HTTP)", errReach)
}

func seconds(n int64) time.Duration {
	return time.Duration(min(max(n, 0), 100*365*24*60*60)) * time.Second
}
