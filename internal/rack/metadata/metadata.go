// Package metadata serves HTTPS to the agents of booting machines and to deployed systems, on port 5246.
//
// It relays and does not decide: it bounds and checks what comes in, adds what only the rack knows for sure —
// the address a request came from, who holds its lease, which certificate was presented — and hands it to the
// region. Nothing that a body says about those is believed.
//
// A claim needs a boot token, a phone-home its one-time credential; everything else needs the certificate of
// the boot that the claim was answered with. Start with Handler and TLSConfig.
package metadata

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/throttle"
	"github.com/metalward/metalward/internal/wire"
)

// Limits.
const (
	headerTimeout = 10 * time.Second
	// bodyTimeout bounds reading a body and answering it; imageTimeout serving an image over a slow link.
	bodyTimeout    = time.Minute
	imageTimeout   = 2 * time.Hour
	idleTimeout    = 2 * time.Minute
	maxHeader      = 16 << 10
	maxConnections = 2048
	// maxPerSource is what one address may have of them: an agent has two, and there may be NAT.
	maxPerSource = 64
	// callTime bounds a call to the region.
	callTime = 30 * time.Second
	// A source address may claim or phone home throttleBurst times at once, then once per throttleEvery. A
	// machine needs one of each per boot; the rest is room for NAT and retries.
	throttleEvery, throttleBurst, maxSources = 6 * time.Second, 20, 8192
	maxHostname                              = 253
	maxBootID                                = 128
)

// credential is the form of a phone-home credential.
var credential = regexp.MustCompile(`^[A-Za-z0-9_-]{20,128}$`)

// Region is the link to the region. Call sends a message and decodes the answer into resp, which may be nil.
type Region interface {
	Call(ctx context.Context, m wire.Message, req, resp any) error
}

// Leases tells who holds an address.
type Leases interface {
	LeaseOf(ip netip.Addr) (metal.MAC, bool)
}

// Images opens images by the SHA-256 of their file in hex.
type Images interface {
	Open(ctx context.Context, sha256 string) (io.ReadSeekCloser, int64, error)
}

// Config is what a Handler needs.
type Config struct {
	Log    *slog.Logger
	Region Region
	Leases Leases
	Images Images
	// Certificate returns the server certificate.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Security is told of what an attack would look like: kinds "claim_flood", "phone_home_flood", "metadata_scraping"
	// and "metadata_handshake_failed". Must
	// return soon. May be nil.
	Security func(wire.SecurityRequest)
}

// Handler is the http.Handler for port 5246. Safe for concurrent use.
type Handler struct {
	cfg   Config
	mux   *http.ServeMux
	ca    atomic.Pointer[x509.CertPool]
	claim *throttle.Limiter[netip.Addr]
	phone *throttle.Limiter[netip.Addr]
	bare  *throttle.Limiter[netip.Addr] // of requests without the certificate of a boot
	told  *throttle.Limiter[netip.Addr] // of reports about floods
	knock *throttle.Limiter[netip.Addr] // of reports about failed handshakes
}

// New makes a handler. It accepts no certificate until it has a snapshot.
func New(cfg Config) *Handler {
	limiter := func() *throttle.Limiter[netip.Addr] {
		return throttle.New[netip.Addr](throttleEvery, throttleBurst, maxSources)
	}
	h := &Handler{cfg: cfg, mux: http.NewServeMux(), claim: limiter(), phone: limiter(), bare: limiter(), knock: throttle.New[netip.Addr](time.Hour, 1, 256), told: throttle.New[netip.Addr](time.Hour, 1, 256)}
	h.ca.Store(x509.NewCertPool())
	h.mux.HandleFunc("POST "+wire.ClaimPath, h.answer(h.serveClaim))
	h.mux.HandleFunc("POST "+wire.PhoneHomePath+"{credential}", h.answer(h.servePhoneHome))
	h.mux.HandleFunc("GET "+wire.TaskPath, h.answer(relay[wire.TaskResponse](h, wire.Task)))
	h.mux.HandleFunc("GET "+wire.SeedPath, h.answer(relay[wire.SeedResponse](h, wire.Seed)))
	h.mux.HandleFunc("POST "+wire.FoundPath, h.answer(relayBody(h, wire.Found, func(r *wire.FoundRequest) *wire.BootRef { return &r.BootRef })))
	h.mux.HandleFunc("POST "+wire.OutputPath, h.answer(relayBody(h, wire.Output, func(r *wire.OutputRequest) *wire.BootRef { return &r.BootRef })))
	h.mux.HandleFunc("POST "+wire.ProgressPath, h.answer(relayBody(h, wire.Progress, func(r *wire.ProgressRequest) *wire.BootRef { return &r.BootRef })))
	h.mux.HandleFunc("POST "+wire.DonePath, h.answer(relayBody(h, wire.Done, func(r *wire.DoneRequest) *wire.BootRef { return &r.BootRef })))
	h.mux.HandleFunc("GET "+wire.ImagePath+"{digest}", h.serveImage)
	return h
}

// SetSnapshot takes the authority of boot certificates from a snapshot. Kinds: Invalid, and then the old one
// stays.
func (h *Handler) SetSnapshot(s metal.RackSnapshot) error {
	pool := x509.NewCertPool()
	if s.MachineCA != "" && !pool.AppendCertsFromPEM([]byte(s.MachineCA)) {
		return fault.New(fault.Invalid, "The machine CA in the snapshot is not a PEM certificate.")
	}
	h.ca.Store(pool)
	return nil
}

// TLSConfig returns the server's TLS profile: TLS 1.3 only, client certificates verified against the newest
// snapshot's machine CA if they are presented.
func (h *Handler) TLSConfig() *tls.Config {
	profile := func() *tls.Config {
		return &tls.Config{
			MinVersion: tls.VersionTLS13, GetCertificate: h.cfg.Certificate, NextProtos: []string{"http/1.1"},
			ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: h.ca.Load(),
			// A resumed session would keep a certificate alive past its authority's removal.
			SessionTicketsDisabled: true,
		}
	}
	c := profile()
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return profile(), nil }
	return c
}

// Serve serves HTTPS on a plain TCP listener with the limits of this package until ctx ends.
func (h *Handler) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: stdlog.New(&handshakes{h}, "", 0),
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(tls.NewListener(netutil.LimitListener(throttle.PerSource(l, maxPerSource), maxConnections), h.TLSConfig())); ctx.Err() == nil {
		return err
	}
	return nil
}

// handshakes takes what net/http logs: failed handshakes, of a machine with a wrong clock or authority, or of who has no business here.
type handshakes struct{ h *Handler }

// failed is how net/http's server says that a handshake failed; the address and the reason follow.
const failed = "http: TLS handshake error from "

// Write takes a line.
func (w *handshakes) Write(line []byte) (int, error) {
	h, text := w.h, metal.Printable(strings.TrimSpace(string(line)), 300)
	h.cfg.Log.Info(text)
	rest, ok := strings.CutPrefix(text, failed)
	at, reason, _ := strings.Cut(rest, ": ")
	from, err := netip.ParseAddrPort(at)
	// A connection that ends without a word is no knock: balancers and monitoring make them.
	if ok && err == nil && reason != "EOF" && h.cfg.Security != nil && h.knock.Allow(from.Addr().Unmap(), time.Now()) {
		h.cfg.Security(wire.SecurityRequest{Kind: "metadata_handshake_failed", Source: from.Addr().Unmap(), Detail: reason})
	}
	return len(line), nil
}

// ServeHTTP routes a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	limit := bodyTimeout
	if strings.HasPrefix(r.URL.Path, wire.ImagePath) {
		limit = imageTimeout
	}
	deadline := time.Now().Add(limit)
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(deadline) // not supported only by test recorders
	_ = c.SetWriteDeadline(deadline)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	h.mux.ServeHTTP(w, r)
}

// answer turns a function into a handler: its result becomes JSON, its error a status with {"error": text}.
func (h *Handler) answer(f func(http.ResponseWriter, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		result, err := f(w, r)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if result == nil {
			result = struct{}{}
		}
		_ = json.NewEncoder(w).Encode(result) // the client went away
	}
}

// status of a fault's kind.
var status = map[fault.Kind]int{
	fault.Invalid: http.StatusBadRequest, fault.Unauthenticated: http.StatusUnauthorized, fault.Forbidden: http.StatusForbidden,
	fault.NotFound: http.StatusNotFound, fault.Conflict: http.StatusConflict, fault.Exhausted: http.StatusTooManyRequests,
	fault.Unavailable: http.StatusServiceUnavailable, fault.TooLarge: http.StatusRequestEntityTooLarge,
}

// refused counts a request without the certificate of a boot, and reports who makes many.
func (h *Handler) refused(r *http.Request) {
	from, err := source(r)
	now := time.Now()
	if err != nil || h.cfg.Security == nil || h.bare.Allow(from, now) || !h.told.Allow(from, now) {
		return
	}
	mac, _ := h.cfg.Leases.LeaseOf(from)
	h.cfg.Security(wire.SecurityRequest{Kind: "metadata_scraping", Source: from, MAC: mac, Detail: "many requests without the certificate of a boot"})
}

// fail writes an error. The log gets the route, never the path: a path may hold a credential.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	code := status[fault.KindOf(err)]
	level := slog.LevelInfo
	if code == 0 {
		code, level = http.StatusInternalServerError, slog.LevelError
	}
	h.cfg.Log.Log(r.Context(), level, "request refused", "route", r.Pattern, "source", r.RemoteAddr, "status", code, "error", err)
	if f, ok := fault.As(err); ok && f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(f.RetryAfter.Seconds()))))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": fault.Message(err)})
}

// source returns the address a request came from.
func source(r *http.Request) (netip.Addr, error) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, err
	}
	return from.Addr().Unmap(), nil
}

// bootRef returns the boot that the client's certificate was issued for: its subject is "boot/ID", and one of
// its URIs ends with the same. Kinds: Unauthenticated.
func bootRef(r *http.Request) (wire.BootRef, error) {
	none := fault.New(fault.Unauthenticated, "This needs the certificate of a boot.")
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return wire.BootRef{}, none
	}
	leaf := r.TLS.VerifiedChains[0][0]
	name := leaf.Subject.CommonName
	id, ok := strings.CutPrefix(name, "boot/")
	inURI := slices.ContainsFunc(leaf.URIs, func(u *url.URL) bool { return strings.HasSuffix(u.String(), "/"+name) })
	if !ok || id == "" || len(id) > maxBootID || strings.Contains(id, "/") || !inURI {
		return wire.BootRef{}, none
	}
	sum := sha256.Sum256(leaf.Raw)
	return wire.BootRef{BootID: id, CertHash: hex.EncodeToString(sum[:])}, nil
}

// body reads a request body within the limit of its message. Kinds: TooLarge, Invalid.
func body(w http.ResponseWriter, r *http.Request, m wire.Message) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, m.Limit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, fault.New(fault.TooLarge, "The body is larger than %d bytes.", m.Limit)
	}
	if err != nil {
		return nil, errors.Join(fault.New(fault.Invalid, "The body could not be read."), err)
	}
	return b, nil
}

// call asks the region. An error without a kind is the link's fault, not the client's.
func (h *Handler) call(r *http.Request, m wire.Message, req, resp any) error {
	ctx, cancel := context.WithTimeout(r.Context(), callTime)
	defer cancel()
	err := h.cfg.Region.Call(ctx, m, req, resp)
	if _, ok := fault.As(err); err != nil && !ok {
		return errors.Join(fault.New(fault.Unavailable, "The region controller does not answer."), err)
	}
	return err
}

// relay passes on a question that has no body.
func relay[Resp any](h *Handler, m wire.Message) func(http.ResponseWriter, *http.Request) (any, error) {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		ref, err := bootRef(r)
		if err != nil {
			h.refused(r)
			return nil, err
		}
		resp := new(Resp)
		return resp, h.call(r, m, ref, resp)
	}
}

// relayBody passes on a report, with the boot it belongs to.
func relayBody[Req any](h *Handler, m wire.Message, ref func(*Req) *wire.BootRef) func(http.ResponseWriter, *http.Request) (any, error) {
	return func(w http.ResponseWriter, r *http.Request) (any, error) {
		boot, err := bootRef(r)
		if err != nil {
			h.refused(r)
			return nil, err
		}
		b, err := body(w, r, m)
		if err != nil {
			return nil, err
		}
		req := new(Req)
		if err := wire.Decode(b, req); err != nil {
			return nil, err
		}
		*ref(req) = boot
		return nil, h.call(r, m, req, nil)
	}
}

// allow counts a request of a source, and reports the source if it asks too often.
func (h *Handler) allow(r *http.Request, l *throttle.Limiter[netip.Addr], kind string) (netip.Addr, error) {
	from, err := source(r)
	if err != nil {
		return from, err
	}
	now := time.Now()
	if l.Allow(from, now) {
		return from, nil
	}
	if h.cfg.Security != nil && h.told.Allow(from, now) {
		mac, _ := h.cfg.Leases.LeaseOf(from)
		h.cfg.Security(wire.SecurityRequest{Kind: kind, Source: from, MAC: mac, Detail: "too many requests from one address"})
	}
	e := fault.New(fault.Exhausted, "Too many requests.")
	e.RetryAfter = throttleEvery
	return from, e
}

// serveClaim relays the exchange of a boot token for a certificate.
func (h *Handler) serveClaim(w http.ResponseWriter, r *http.Request) (any, error) {
	from, err := h.allow(r, h.claim, "claim_flood")
	if err != nil {
		return nil, err
	}
	b, err := body(w, r, wire.Claim)
	if err != nil {
		return nil, err
	}
	var req wire.ClaimRequest
	if err := wire.Decode(b, &req); err != nil {
		return nil, err
	}
	if req.MAC, err = metal.ParseMAC(string(req.MAC)); err != nil {
		return nil, err
	}
	req.IP = from
	req.LeaseMAC, _ = h.cfg.Leases.LeaseOf(from) // none: the region refuses
	resp := new(wire.ClaimResponse)
	return resp, h.call(r, wire.Claim, req, resp)
}

// servePhoneHome relays a deployed system's report. What is wrong with a credential is nobody's business: a
// malformed one is as unknown as a wrong one.
func (h *Handler) servePhoneHome(w http.ResponseWriter, r *http.Request) (any, error) {
	from, err := h.allow(r, h.phone, "phone_home_flood")
	if err != nil {
		return nil, err
	}
	secret := r.PathValue("credential")
	if !credential.MatchString(secret) {
		return nil, fault.New(fault.NotFound, "There is no such page.")
	}
	r.Body = http.MaxBytesReader(w, r.Body, wire.PhoneHome.Limit)
	hostname := ""
	if err := r.ParseForm(); err == nil { // cloud-init posts a form; anything else just has no host name
		hostname = r.PostForm.Get("hostname")
	} else if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, fault.New(fault.TooLarge, "The body is larger than %d bytes.", wire.PhoneHome.Limit)
	}
	if len(hostname) > maxHostname || !metal.ValidHostname(hostname) {
		hostname = ""
	}
	return nil, h.call(r, wire.PhoneHome, wire.PhoneHomeRequest{Credential: secret, IP: from, Hostname: hostname}, nil)
}

// serveImage serves an image, whole or by range, from the rack's cache. Any boot may read any image: images
// hold no secrets, and the digest comes from its task.
func (h *Handler) serveImage(w http.ResponseWriter, r *http.Request) {
	if _, err := bootRef(r); err != nil {
		h.refused(r)
		h.fail(w, r, err)
		return
	}
	digest := r.PathValue("digest")
	f, _, err := h.cfg.Images.Open(r.Context(), digest)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("ETag", `"`+digest+`"`) // the content can never change
	http.ServeContent(w, r, "", time.Time{}, f)
}
