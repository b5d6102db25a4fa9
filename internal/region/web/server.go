// Package web is what stands between the network and the region's pages and API: listeners, TLS, request ids,
// limits, and the plain-text port that serves nobody but says where to go.
//
// Sessions, cookies and the check for requests from other sites are in auth.go.
package web

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/controllers"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/telemetry"
	"github.com/metalward/metalward/internal/wire"
)

// Limits of the listeners.
const (
	headerTime     = 10 * time.Second
	readTime       = 10 * time.Minute // of a whole request: an image's chunk over a slow line
	idleTime       = 2 * time.Minute
	maxHeaderBytes = 32 << 10
	maxEnrolBytes  = 32 << 10
	maxLoginBytes  = 16 << 10
)

// acmeProtocol is what an ACME directory says that looks for a certificate that proves a name. Source: RFC 8737 section 3.
const acmeProtocol = "acme-tls/1"

// acmePath is where it looks for a token by HTTP. Source: RFC 8555 section 8.3.
const acmePath = "/.well-known/acme-challenge/"

// Certificate is a server certificate of the instance's own authority, renewed at two thirds of its life
// without a restart. Safe for concurrent use.
type Certificate struct {
	CA *pki.CA
	// Site and Region are the ids of the instance and of this region.
	Site, Region string

	Names []string
	IPs   []netip.Addr
	Now   func() time.Time

	// Given returns a certificate that somebody brought for people; nil: they see the instance's own, as racks do.
	Given func() *tls.Certificate
	// Challenge returns what an ACME directory is shown that asks for a name; nil for a name that it does not ask for.
	Challenge func(*tls.ClientHelloInfo) *tls.Certificate

	current atomic.Pointer[issued]
}

type issued struct {
	cert  *tls.Certificate
	until time.Time
}

// Get returns the certificate for a client; it fits tls.Config.GetCertificate. Racks that enrol and command lines that
// know the instance's authority say so, and see its own.
func (c *Certificate) Get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.Challenge != nil && len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acmeProtocol {
		if cert := c.Challenge(hello); cert != nil {
			return cert, nil
		}
		return nil, errors.New("no ACME directory asks for this name")
	}
	if c.Given != nil && !slices.Contains(hello.SupportedProtos, metal.SiteProtocol) {
		if given := c.Given(); given != nil {
			return given, nil
		}
	}
	return c.Own(false)
}

// Own returns the certificate of the instance's own authority; made anew if it is time, or again says so.
func (c *Certificate) Own(again bool) (*tls.Certificate, error) {
	now := c.Now()
	if cur := c.current.Load(); cur != nil && now.Before(cur.until) && !again {
		return cur.cert, nil
	}
	key, err := pki.NewKey()
	if err != nil {
		return nil, err
	}
	chain, err := c.CA.Region(&key.PublicKey, c.Site, c.Region, c.Names, c.IPs, now)
	if err != nil {
		return nil, err
	}
	certs, err := pki.ParseCerts(chain)
	if err != nil {
		return nil, err
	}
	cert := &tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, x := range certs {
		cert.Certificate = append(cert.Certificate, x.Raw)
	}
	c.current.Store(&issued{cert, pki.RenewAt(certs[0])})
	return cert, nil
}

// Server serves the region's HTTPS.
type Server struct {
	Gate        *gate.Gate
	Identity    *identity.Service
	Controllers *controllers.Service
	Auth        *Auth
	Certificate *Certificate
	API         Surface      // below /MAAS/api/2.0
	Accounts    http.Handler // the logins of MAAS's clients
	UI          Surface      // everything else
	CA          []byte       // PEM, offered to those who verify its fingerprint
	// Rules stands before what people and clients send; nil: nothing does.
	Rules *RequestRules
	// Challenge is what an ACME directory is told that asks for a token; empty for one that it does not ask for.
	Challenge func(ctx context.Context, token string) string
	// Requests is told of each request that was answered; Metrics, if not nil, serves those over the network; Ready says why this
	// region cannot serve, for proxies to send people elsewhere. HSTS is the header Strict-Transport-Security.
	Requests func(class string, code int, took time.Duration)
	Metrics  http.Handler
	Ready    func(context.Context) error
	HSTS     func() string
	// Trusted are the proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; none by default.
	Trusted []netip.Prefix
	// Blocked reports whether somebody is shut out, and counts him; nil: nobody is. Connections are refused before; this is for those who come by way of a proxy.
	Blocked func(netip.Addr) bool
	BaseURL string // "https://host:port"
	RPCPort int    // where enrolled racks connect
	Log     *slog.Logger
}

// Handler is the HTTPS port's.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/MAAS/api/2.0/", s.Rules.before(s.API, s.API))
	mux.HandleFunc("GET /MAAS/api/version/", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "2.0") })
	mux.HandleFunc("/MAAS/api/1.0/", func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusGone, "The 1.0 API is no longer available.")
	})
	mux.Handle("POST /MAAS/accounts/authenticate/", s.Rules.before(http.HandlerFunc(s.authenticate), s.API))
	for _, path := range []string{"GET /MAAS/accounts/login/{$}", "GET /MAAS/accounts/discharge-request/{$}", "POST /MAAS/accounts/device/{$}", "POST /MAAS/accounts/device/poll/{$}"} {
		mux.Handle(path, s.Rules.before(s.Accounts, s.API))
	}
	mux.HandleFunc("/MAAS/", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/MAAS/" && r.Method == http.MethodGet {
			http.Redirect(w, r, "/", http.StatusFound)
			return
		}
		plain(w, http.StatusNotFound, "Unknown endpoint: "+r.URL.Path+".")
	})
	mux.HandleFunc("POST "+wire.EnrolPath, s.enrol)
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_, _ = w.Write(s.CA)
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Ready(r.Context()); err != nil {
			plain(w, http.StatusServiceUnavailable, fault.Message(err))
			return
		}
		plain(w, http.StatusOK, "ok")
	})
	if s.Metrics != nil {
		mux.Handle(telemetry.Path, s.Metrics)
	} else {
		mux.HandleFunc(telemetry.Path, http.NotFound)
	}
	mux.HandleFunc("GET "+acmePath+"{token}", func(w http.ResponseWriter, r *http.Request) { s.challenge(w, r, r.PathValue("token")) })
	mux.Handle("/", s.Rules.before(s.UI, s.UI))
	return s.wrap(mux, true)
}

// class is the kind of a request, by which requests are counted. A stream of events is one that takes long by itself.
func class(path string) string {
	switch {
	case strings.HasPrefix(path, "/MAAS/api/"):
		return "api"
	case strings.HasPrefix(path, "/MAAS/accounts/"):
		return "accounts"
	case path == wire.EnrolPath:
		return "enrol"
	case path == "/events":
		return "events"
	case path == "/health", path == telemetry.Path:
		return "monitoring"
	}
	return "ui"
}

// counted keeps the status of an answer, and what kind of request it is counted as.
type counted struct {
	http.ResponseWriter
	code int
	kind string
}

func (c *counted) WriteHeader(code int) {
	if c.code == 0 && code >= 200 { // else more of them follow
		c.code = code
	}
	c.ResponseWriter.WriteHeader(code)
}

func (c *counted) Write(b []byte) (int, error) {
	if c.code == 0 {
		c.code = http.StatusOK
	}
	return c.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// challenge answers an ACME directory, on both ports: it asks the plain one, and a proxy may have sent it to the other.
func (s *Server) challenge(w http.ResponseWriter, r *http.Request, token string) {
	if answer := s.Challenge(r.Context(), token); answer != "" {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = io.WriteString(w, answer)
		return
	}
	plain(w, http.StatusNotFound, "No ACME directory asks for this.")
}

func plain(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

// wrap gives every request an id, an origin and the security headers, and survives a panic of its handler.
func (s *Server) wrap(next http.Handler, secure bool) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		began, kind := time.Now(), "plain"
		if secure {
			kind = class(r.URL.Path)
		}
		w, inner := out.(*counted) // of the plain port, for a proxy
		if !inner {
			w = &counted{ResponseWriter: out}
			defer func() {
				if s.Requests != nil {
					s.Requests(w.kind, cmp.Or(w.code, http.StatusOK), time.Since(began))
				}
			}()
		}
		w.kind = kind
		id := metal.NewSystemID()
		source := s.client(r)
		if s.blocked(source) {
			plain(w, http.StatusForbidden, "Requests from your address are refused for now.")
			return
		}
		h := w.Header()
		h.Set("MAAS-trace-id", id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		if secure {
			h.Set("Strict-Transport-Security", s.HSTS())
		}
		ctx := authz.WithOrigin(r.Context(), authz.Origin{Source: source, RequestID: id, TraceID: traceID(r), Method: metal.Printable(r.Method, 16),
			Path: metal.Printable(loggable(r.URL.Path), 256), UserAgent: metal.Printable(r.UserAgent(), 256)})
		defer func() {
			if p := recover(); p != nil {
				if e, ok := p.(error); ok && errors.Is(e, http.ErrAbortHandler) {
					panic(p)
				}
				s.Log.ErrorContext(ctx, "handler panicked", "request_id", id, "path", loggable(r.URL.Path), "panic", p)
				plain(w, http.StatusInternalServerError, "Internal error "+id)
			}
		}()
		// The mux would redirect doubled slashes; clients of MAAS rely on their being taken as one.
		if strings.Contains(r.URL.Path, "//") {
			u := *r.URL
			for strings.Contains(u.Path, "//") {
				u.Path = strings.ReplaceAll(u.Path, "//", "/")
			}
			u.RawPath = ""
			r.URL = &u
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

var traceParent = regexp.MustCompile(`^00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$`)

// traceID is the id of the trace that a caller says the request belongs to; empty when it says none, or none that is
// well-formed. Source: W3C Trace Context, traceparent.
func traceID(r *http.Request) string {
	m := traceParent.FindStringSubmatch(r.Header.Get("traceparent"))
	if m == nil {
		return ""
	}
	return m[1]
}

// loggable is a path without the secret that a one-use link carries.
func loggable(path string) string {
	for _, page := range []string{"/first/", "/link/"} {
		if strings.HasPrefix(path, page) {
			return page + "…"
		}
	}
	return path
}

// client is the address that a request counts for: the peer's, or behind a trusted proxy the last address in
// X-Forwarded-For that is not a trusted proxy itself.
func (s *Server) client(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	if !s.trusts(host) {
		return host
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop := strings.TrimSpace(hops[i])
		if _, err := netip.ParseAddr(hop); err != nil {
			return host // a proxy that we trust would not have written this
		}
		if !s.trusts(hop) {
			return hop
		}
	}
	return host
}

func (s *Server) blocked(source string) bool {
	if s.Blocked == nil {
		return false
	}
	a, err := netip.ParseAddr(source)
	return err == nil && s.Blocked(a)
}

func (s *Server) trusts(host string) bool {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, p := range s.Trusted {
		if p.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// Plain is the handler of the plain-text port (5240). It redirects a GET or HEAD without credentials. A
// request with credentials is refused and reported: its key was exposed on the network. An ACME directory is answered. A trusted proxy that
// says that its client came by HTTPS is served.
func (s *Server) Plain(full http.Handler) http.Handler {
	return s.wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token, ok := strings.CutPrefix(r.URL.Path, acmePath); ok && r.Method == http.MethodGet {
			s.challenge(w, r, token)
			return
		}
		peer, _, _ := net.SplitHostPort(r.RemoteAddr)
		if s.trusts(peer) && strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
			full.ServeHTTP(w, r)
			return
		}
		_, cookie := r.Cookie(CookieName)
		exposed := identity.HasCredentials(r) || r.Header.Get("Authorization") != "" || cookie == nil || hasMacaroon(r)
		if exposed || r.Method != http.MethodGet && r.Method != http.MethodHead {
			if exposed {
				s.Gate.Security(r.Context(), "key_exposed", map[string]string{"path": metal.Printable(loggable(r.URL.Path), 200),
					"advice": "credentials were sent without TLS: delete the key and make a new one"})
			}
			plain(w, http.StatusForbidden, "This port does not take credentials or changes. Use "+s.BaseURL+" instead. If you sent an API key, it was readable on the network: delete it and make a new one.")
			return
		}
		target := s.BaseURL + (&url.URL{Path: r.URL.Path, RawQuery: r.URL.RawQuery}).RequestURI()
		http.Redirect(w, r, target, http.StatusMovedPermanently)
	}), false)
}

// hasMacaroon reports whether a request carries what may be a discharged macaroon.
func hasMacaroon(r *http.Request) bool {
	return r.Header.Get("Macaroons") != "" || slices.ContainsFunc(r.Cookies(), func(c *http.Cookie) bool { return strings.HasPrefix(c.Name, "macaroon-") })
}

// Serve serves a handler on a listener until the context ends, then lets what is under way finish.
func Serve(ctx context.Context, l net.Listener, h http.Handler, cfg *tls.Config, log *slog.Logger) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: readTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeaderBytes, TLSConfig: cfg,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if srv.Shutdown(end) != nil {
			_ = srv.Close()
		}
	})
	defer stop()
	var err error
	if cfg != nil {
		err = srv.ServeTLS(l, "", "")
	} else {
		err = srv.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) || ctx.Err() != nil {
		return nil
	}
	return err
}

// TLS is the HTTPS port's configuration.
func (s *Server) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.Certificate.Get, NextProtos: []string{"h2", "http/1.1", acmeProtocol},
		CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}}
}

// authenticate trades a name and password for a new API key, as MAAS's clients do.
func (s *Server) authenticate(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLoginBytes)
	if err := r.ParseMultipartForm(maxLoginBytes); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		plain(w, http.StatusBadRequest, "The form cannot be read.")
		return
	}
	k, err := s.Identity.Authenticate(r.Context(), r.PostFormValue("username"), secret.FromString(r.PostFormValue("password")), r.PostFormValue("consumer"))
	switch {
	case fault.Is(err, fault.Unauthenticated):
		w.WriteHeader(http.StatusForbidden) // as MAAS: 403, empty
		return
	case err != nil:
		wire.EncodeFault(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]string{"consumer_key": k.ConsumerKey, "token_key": k.TokenKey, "token_secret": k.Secret.RevealString(), "name": k.Name})
}

// enrol is the one call of a rack that has no certificate yet.
func (s *Server) enrol(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil {
		wire.EncodeFault(w, fault.New(fault.Forbidden, "Enrol over TLS, directly: a proxy in between breaks the proof."))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxEnrolBytes))
	if err != nil {
		wire.EncodeFault(w, fault.New(fault.TooLarge, "The request is larger than %d bytes or broke off.", maxEnrolBytes))
		return
	}
	var req wire.EnrolRequest
	if err := wire.Decode(body, &req); err != nil {
		wire.EncodeFault(w, err)
		return
	}
	resp, err := s.Controllers.Enrol(r.Context(), req, *r.TLS)
	if err != nil {
		wire.EncodeFault(w, err)
		return
	}
	resp.RPCPort = s.RPCPort
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(resp)
}
