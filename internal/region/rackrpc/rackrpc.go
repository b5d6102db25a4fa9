// Package rackrpc is the racks' side door: it accepts their connections, holds each message against the
// rack's certificate, and calls the services.
//
// The listener speaks TLS 1.3 with a client certificate or not at all. Before a byte of a session is read, the
// certificate must be one of our racks', in its time, and of a rack that was not removed; a rack whose
// certificate ended within the renewal grace may renew it and nothing else.
package rackrpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/alerts"
	"github.com/metalward/metalward/internal/region/controllers"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/hostchecks"
	"github.com/metalward/metalward/internal/region/images"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

// Limits of the listener.
const (
	handshakeTime  = 10 * time.Second
	sessionGrace   = time.Minute // for a rack that may only renew
	maxConnections = 4096
	maxPerSource   = 64 // connections of one address at once: a rack needs one, and a few for images
)

// Server accepts racks.
type Server struct {
	Gate        *gate.Gate
	Controllers *controllers.Service
	Machines    *machines.Service
	Images      *images.Service
	Hosts       *hostchecks.Service
	Alerts      *alerts.Service
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Now         func() time.Time
	Log         *slog.Logger

	mu      sync.Mutex
	sources map[string]int        // guarded by mu
	total   int                   // guarded by mu
	peers   map[string]netip.Addr // guarded by mu: from where each rack's session comes
}

// TLS is the listener's configuration: the certificate is asked for here and judged in accept, because one
// that has ended may still renew itself.
func (s *Server) TLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert, GetCertificate: s.Certificate,
		NextProtos: []string{wire.ALPN, wire.ALPNImage}, SessionTicketsDisabled: true}
}

// Serve accepts connections until the listener closes or the context ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if err := s.handlers("", controllers.Peer{}).Check(wire.FromRack, wire.FromExpired); err != nil {
		return err
	}
	s.sources = map[string]int{}
	cfg := s.TLS()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		source := sourceOf(conn)
		if !s.enter(source) {
			_ = conn.Close()
			continue
		}
		wg.Go(func() {
			defer s.leave(source)
			s.accept(ctx, tls.Server(conn, cfg), source)
		})
	}
}

func sourceOf(c net.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return host
}

func (s *Server) enter(source string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxConnections || s.sources[source] >= maxPerSource {
		return false
	}
	s.total++
	s.sources[source]++
	return true
}

func (s *Server) leave(source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.sources[source]--; s.sources[source] == 0 {
		delete(s.sources, source)
	}
}

// seePeer remembers from where a rack is connected, until it comes from elsewhere.
func (s *Server) seePeer(rackID, source string) {
	a, err := netip.ParseAddr(source)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peers == nil {
		s.peers = map[string]netip.Addr{}
	}
	s.peers[rackID] = a.Unmap().WithZone("")
}

// Peers are from where the racks come that are connected or were since the start, by system id.
func (s *Server) Peers() map[string]netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.peers)
}

// accept judges one connection and serves it to its end.
func (s *Server) accept(ctx context.Context, conn *tls.Conn, source string) {
	defer func() { _ = conn.Close() }()
	ctx = authz.WithOrigin(ctx, authz.Origin{Source: source})
	hs, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	if err := conn.HandshakeContext(hs); err != nil {
		if ctx.Err() == nil && !errors.Is(err, io.EOF) { // one that ends without a word is a balancer's or monitoring's
			s.Gate.Security(ctx, "rpc_handshake_failed", map[string]string{"reason": metal.Printable(err.Error(), 200)})
		}
		return
	}
	state := conn.ConnectionState()
	peer, err := s.Controllers.VerifyPeer(ctx, state.PeerCertificates)
	if err != nil {
		s.Gate.Security(ctx, "rpc_certificate_refused", map[string]string{"reason": fault.Message(err)})
		return
	}
	ctx = authz.With(ctx, authz.Principal{Kind: authz.Rack, Name: peer.RackID})
	if state.NegotiatedProtocol != wire.ALPN {
		if !peer.Expired {
			s.serveImages(ctx, conn, peer.RackID, state.PeerCertificates[0].NotAfter)
		}
		return
	}
	allow := func(m wire.Message) error {
		if peer.Expired && m.From != wire.FromExpired {
			return fault.New(fault.Forbidden, "The rack's certificate has expired; renew it first.")
		}
		return nil
	}
	session, err := wire.NewSession(conn, false, s.handlers(source, peer), allow, s.Log)
	if err != nil {
		s.Log.WarnContext(ctx, "cannot start session", "rack", peer.RackID, "error", err)
		return
	}
	defer func() { _ = session.Close() }()
	if !peer.Expired {
		s.seePeer(peer.RackID, source)
		s.Controllers.Attach(peer.RackID, session)
		defer s.Controllers.Detach(peer.RackID, session)
		s.Log.InfoContext(ctx, "rack connected", "rack", peer.RackID, "source", source)
		defer s.Log.InfoContext(ctx, "rack disconnected", "rack", peer.RackID)
	}
	// A session does not outlive the certificate that it was let in by: the rack renews at two thirds and comes
	// back with the new one.
	life := sessionGrace
	if !peer.Expired {
		life = state.PeerCertificates[0].NotAfter.Sub(s.Now())
	}
	end := time.NewTimer(life)
	defer end.Stop()
	select {
	case <-session.Done():
	case <-end.C:
	case <-ctx.Done():
	}
}

// serveImages answers ranged requests for the bytes of images on one connection, while the rack is one of ours
// and its certificate has not ended.
func (s *Server) serveImages(ctx context.Context, conn net.Conn, rackID string, until time.Time) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		digest, ok := strings.CutPrefix(r.URL.Path, "/image/")
		if !ok || r.Method != http.MethodGet || len(digest) != 64 {
			http.NotFound(w, r)
			return
		}
		err := s.alive(ctx, rackID)
		if err == nil && s.Now().After(until) {
			err = fault.New(fault.Forbidden, "The rack's certificate has expired; renew it first.")
		}
		if err != nil {
			wire.EncodeFault(w, err)
			return
		}
		f, err := s.Images.Open(ctx, digest)
		if err != nil {
			wire.EncodeFault(w, err)
			return
		}
		defer func() { _ = f.Close() }()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	})
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: handshakeTime, IdleTimeout: time.Minute, MaxHeaderBytes: 8 << 10}
	l := &oneConn{conn: conn, done: make(chan struct{})}
	srv.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateClosed || st == http.StateHijacked {
			l.close()
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	_ = srv.Serve(l)
}

// oneConn is a listener that yields one connection and ends with it.
type oneConn struct {
	conn net.Conn
	done chan struct{}
	once sync.Once
	used bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.used {
		l.used = true
		return l.conn, nil
	}
	<-l.done
	return nil, io.EOF
}
func (l *oneConn) close()         { l.once.Do(func() { close(l.done) }) }
func (l *oneConn) Close() error   { l.close(); return nil }
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// on makes a handler that decodes a message strictly and acts as the rack.
func on[T any](s *Server, source string, peer controllers.Peer, fn func(ctx context.Context, req T) (any, error)) wire.Handler {
	return func(ctx context.Context, body []byte) (any, error) {
		ctx = authz.WithOrigin(ctx, authz.Origin{Source: source, RequestID: metal.NewSystemID()})
		ctx = authz.With(ctx, authz.Principal{Kind: authz.Rack, Name: peer.RackID})
		if err := s.alive(ctx, peer.RackID); err != nil {
			return nil, err
		}
		var req T
		if err := wire.Decode(body, &req); err != nil {
			return nil, err
		}
		return fn(ctx, req)
	}
}

// alive refuses messages of a rack that was removed while its session was open.
func (s *Server) alive(ctx context.Context, rackID string) error {
	return s.Gate.View(authz.AsSystem(ctx, "sessions"), authz.ControllerView, func(v *gate.Viewing) error {
		ctl, err := v.Controller(rackID)
		if err != nil || ctl.Revoked {
			return fault.New(fault.Unauthenticated, "The rack was removed.")
		}
		return nil
	})
}

// handlers binds every message that racks send.
func (s *Server) handlers(source string, peer controllers.Peer) wire.Handlers {
	id := peer.RackID
	return wire.Handlers{
		wire.Hello.Name: on(s, source, peer, func(ctx context.Context, r wire.HelloRequest) (any, error) {
			err := s.Controllers.Hello(ctx, id, r)
			if err != nil {
				return nil, err
			}
			resp := wire.HelloResponse{SystemID: id, Now: s.Now().UTC()}
			resp.Thresholds, err = s.Alerts.Thresholds(ctx)
			return resp, err
		}),
		wire.Renew.Name: on(s, source, peer, func(ctx context.Context, r wire.CertificateRequest) (any, error) {
			return s.Controllers.Renew(ctx, peer, r.CSR)
		}),
		wire.ServeCert.Name: on(s, source, peer, func(ctx context.Context, r wire.CertificateRequest) (any, error) {
			return s.Controllers.ServeCertificate(ctx, id, r.CSR)
		}),
		wire.Boot.Name: on(s, source, peer, func(ctx context.Context, r wire.BootRequest) (any, error) {
			return s.Machines.BootDecision(ctx, r)
		}),
		wire.Claim.Name: on(s, source, peer, func(ctx context.Context, r wire.ClaimRequest) (any, error) {
			return s.Machines.Claim(ctx, r)
		}),
		wire.Task.Name: on(s, source, peer, func(ctx context.Context, r wire.BootRef) (any, error) {
			return s.Machines.Task(ctx, r)
		}),
		wire.Found.Name: on(s, source, peer, func(ctx context.Context, r wire.FoundRequest) (any, error) {
			return nil, s.Machines.Found(ctx, r.BootRef, r.Inventory)
		}),
		wire.Output.Name: on(s, source, peer, func(ctx context.Context, r wire.OutputRequest) (any, error) {
			return nil, s.Machines.Output(ctx, r)
		}),
		wire.Progress.Name: on(s, source, peer, func(ctx context.Context, r wire.ProgressRequest) (any, error) {
			return nil, s.Machines.Progress(ctx, r)
		}),
		wire.Seed.Name: on(s, source, peer, func(ctx context.Context, r wire.BootRef) (any, error) {
			return s.Machines.Seed(ctx, r)
		}),
		wire.Done.Name: on(s, source, peer, func(ctx context.Context, r wire.DoneRequest) (any, error) {
			return nil, s.Machines.Done(ctx, r)
		}),
		wire.PhoneHome.Name: on(s, source, peer, func(ctx context.Context, r wire.PhoneHomeRequest) (any, error) {
			return nil, s.Machines.PhoneHome(ctx, r)
		}),
		wire.Leases.Name: on(s, source, peer, func(ctx context.Context, r wire.LeasesRequest) (any, error) {
			return nil, s.Gate.Observe(ctx, gate.SeenLeases, func(tx *store.Tx, _ time.Time) error { return tx.PutLeases(id, r.Leases) })
		}),
		wire.PowerKey.Name: on(s, source, peer, func(ctx context.Context, r wire.PowerKeyRequest) (any, error) {
			return s.Machines.PowerKey(ctx, id, r)
		}),
		wire.HostChecks.Name: on(s, source, peer, func(ctx context.Context, r wire.HostChecksRequest) (any, error) {
			return nil, s.Hosts.Report(ctx, id, r.Report)
		}),
		wire.HostAlerts.Name: on(s, source, peer, func(ctx context.Context, r wire.HostAlertsRequest) (any, error) {
			return nil, s.Alerts.Report(ctx, id, r.Report)
		}),
		wire.Security.Name: on(s, source, peer, func(ctx context.Context, r wire.SecurityRequest) (any, error) {
			kind, detail := r.Kind, map[string]string{"seen_at": addrText(r.Source), "mac": string(r.MAC), "detail": r.Detail}
			if !slices.Contains(wire.SecurityKinds, kind) { // no rack says what regions say, nor makes up kinds without end
				detail["kind"], kind = metal.Printable(kind, 64), "rack_other"
			}
			s.Gate.Security(ctx, kind, detail)
			return nil, nil
		}),
	}
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
