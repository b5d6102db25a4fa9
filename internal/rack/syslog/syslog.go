// Package syslog receives the logs that machines and BMCs send to a rack: by UDP (RFC 5426), by TCP (RFC 6587) and over TLS (RFC 5425). What a line says is
// read elsewhere; here is who may send, how much, and where a message ends.
//
// A sender proves nothing: anybody can send a datagram in another's name, and a machine that somebody took over writes what he wants. So each sender has a
// share of his own, and what is beyond it is left out, counted and said.
//
// Start at Serve and ServeUDP.
package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"github.com/metalward/metalward/internal/logs"
	"github.com/metalward/metalward/internal/rack/throttle"
)

// Limits.
const (
	MaxLine        = logs.MaxLine // bytes of a message that are kept
	maxFrame       = 1 << 20      // bytes of a message on a connection; who sends more is cut off
	maxConnections = 512
	maxPerSource   = 8                // connections of one address: there may be NAT
	idleTime       = time.Hour        // a sender keeps its connection open while it has nothing to say
	handshakeTime  = 10 * time.Second // of TLS
	// A source may send lineBurst lines at once, and then one each lineEvery: a busy machine logs some hundred lines a second, and the detections
	// read a hundred thousand.
	lineEvery, lineBurst = 2 * time.Millisecond, 5000
	maxSources           = 8192
	sayEvery             = time.Minute
)

// Config is what a Server needs.
type Config struct {
	Log *slog.Logger
	// Allowed says who may send.
	Allowed func(netip.Addr) bool
	// Take takes a line; false when there is no room for it. It must not block.
	Take func(logs.Sent) bool
	Now  func() time.Time
}

// Server receives. Safe for concurrent use.
type Server struct {
	cfg   Config
	lines *throttle.Limiter[netip.Addr]
	said  *throttle.Limiter[netip.Addr] // of sources, that they send too much or may not
	lost  atomic.Int64
}

// New makes a server.
func New(c Config) *Server {
	return &Server{cfg: c, lines: throttle.New[netip.Addr](lineEvery, lineBurst, maxSources), said: throttle.New[netip.Addr](sayEvery, 1, 256)}
}

// Lost is how many lines were left out since the start, because a source sent more than its share or all together more than could be read.
func (s *Server) Lost() int64 { return s.lost.Load() }

// take hands on a line, if its sender has room.
func (s *Server) take(ctx context.Context, from netip.Addr, line string) {
	now := s.cfg.Now()
	if line == "" {
		return
	}
	if s.lines.Allow(from, now) && s.cfg.Take(logs.Sent{From: from, At: now, Text: line}) {
		return
	}
	s.lost.Add(1)
	if s.said.Allow(from, now) {
		s.cfg.Log.WarnContext(ctx, "syslog: more lines than are read; some are left out", "source", from, "left_out_in_all", s.lost.Load())
	}
}

// allowed says whether a source may send, and once a minute that one may not.
func (s *Server) allowed(ctx context.Context, from netip.Addr) bool {
	if s.cfg.Allowed(from) {
		return true
	}
	if s.said.Allow(from, s.cfg.Now()) {
		s.cfg.Log.InfoContext(ctx, "syslog: refused from a network that this rack does not serve; --syslog-from allows one", "source", from)
	}
	return false
}

// pause waits a moment after an error that may pass, such as no more files.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(100 * time.Millisecond):
	}
}

// ServeUDP receives datagrams, a message each, until ctx ends; it closes the socket.
func (s *Server) ServeUDP(ctx context.Context, conn *net.UDPConn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	_ = conn.SetReadBuffer(4 << 20) // only an improvement
	b := make([]byte, MaxLine)
	for {
		n, addr, err := conn.ReadFromUDPAddrPort(b)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			pause(ctx)
			continue
		}
		if from := addr.Addr().Unmap().WithZone(""); s.allowed(ctx, from) {
			s.take(ctx, from, clean(b[:n]))
		}
	}
}

// Serve receives connections until ctx ends; with a TLS profile they begin with its handshake. It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener, profile *tls.Config) error {
	l = netutil.LimitListener(throttle.PerSource(l, maxPerSource), maxConnections)
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			pause(ctx)
			continue
		}
		wg.Go(func() { s.serve(ctx, conn, profile) })
	}
}

func (s *Server) serve(ctx context.Context, conn net.Conn, profile *tls.Config) {
	defer func() { _ = conn.Close() }()
	below := conn // the connection itself: the end may come while TLS is put over it, and needs no word of farewell
	stop := context.AfterFunc(ctx, func() { _ = below.Close() })
	defer stop()
	addr, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return
	}
	from := addr.Addr().Unmap().WithZone("")
	if !s.allowed(ctx, from) {
		return
	}
	if profile != nil {
		t := tls.Server(conn, profile)
		_ = conn.SetDeadline(s.cfg.Now().Add(handshakeTime))
		if err := t.HandshakeContext(ctx); err != nil {
			return
		}
		conn = t
	}
	f := newFrames(conn)
	for ctx.Err() == nil {
		_ = conn.SetDeadline(s.cfg.Now().Add(idleTime))
		line, err := f.next()
		if errors.Is(err, errFrame) && s.said.Allow(from, s.cfg.Now()) {
			s.cfg.Log.InfoContext(ctx, "syslog: what a connection brings is no syslog, or a message is too long; it is ended", "source", from)
		}
		if err != nil {
			return
		}
		s.take(ctx, from, line)
	}
}
