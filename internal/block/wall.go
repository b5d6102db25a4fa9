package block

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Set tells quickly whether an address is blocked: it is asked for each connection and request. It never changes, and so is safe for concurrent use.
type Set struct {
	v4 map[uint32]int64 // when it ends, microseconds since 1970
	v6 map[uint64]int64 // by /64
}

// NewSet makes a set of a list's blocks; of one that is switched off, an empty one.
func NewSet(l *List) *Set {
	s := &Set{v4: map[uint32]int64{}, v6: map[uint64]int64{}}
	if l.Off {
		return s
	}
	for _, b := range l.Blocks {
		if until := b.Until.UnixMicro(); b.Prefix.Addr().Is4() {
			s.v4[key4(b.Prefix.Addr())] = until
		} else {
			s.v6[key6(b.Prefix.Addr())] = until
		}
	}
	return s
}

func key4(a netip.Addr) uint32 { b := a.As4(); return binary.BigEndian.Uint32(b[:]) }
func key6(a netip.Addr) uint64 { b := a.As16(); return binary.BigEndian.Uint64(b[:8]) }

// Has reports whether an address is blocked at a moment.
func (s *Set) Has(a netip.Addr, now time.Time) bool {
	var until int64
	switch a = a.Unmap(); {
	case a.Is4():
		until = s.v4[key4(a)]
	case a.Is6():
		until = s.v6[key6(a)]
	}
	return until != 0 && now.UnixMicro() < until
}

// Wall keeps who is blocked out of listeners: of connections when they are accepted, and of those that were accepted before as soon as somebody is blocked.
// Safe for concurrent use.
type Wall struct {
	Now func() time.Time

	set     atomic.Pointer[Set] // nil before the first
	refused atomic.Int64
	mu      sync.Mutex
	held    map[*conn]struct{} // guarded by mu: what was accepted and is open
}

// Use has a set count from now on, and cuts open connections of who is in it.
func (w *Wall) Use(s *Set) {
	w.set.Store(s)
	now := w.Now()
	var cut []*conn
	w.mu.Lock()
	for c := range w.held {
		if s.Has(c.from, now) && !c.spared() {
			cut = append(cut, c)
		}
	}
	w.mu.Unlock()
	for _, c := range cut {
		w.refused.Add(1)
		_ = c.Close()
	}
}

// Blocks reports whether an address is blocked now, and counts it if so.
func (w *Wall) Blocks(a netip.Addr) bool {
	s := w.set.Load()
	if s == nil || !s.Has(a, w.Now()) {
		return false
	}
	w.refused.Add(1)
	return true
}

// Refused is how many connections and requests were refused or cut.
func (w *Wall) Refused() int64 { return w.refused.Load() }

// Listener keeps who is blocked out of a listener. Spare, if not nil, makes exceptions.
func (w *Wall) Listener(l net.Listener, spare func(netip.Addr) bool) net.Listener {
	return &listener{l, w, spare}
}

type listener struct {
	net.Listener
	wall  *Wall
	spare func(netip.Addr) bool
}

// Accept closes connections of who is blocked, and returns the next of somebody else.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, ok := c.RemoteAddr().(*net.TCPAddr)
		if !ok {
			return c, nil
		}
		x := &conn{Conn: c, wall: l.wall, from: peer.AddrPort().Addr().Unmap(), spare: l.spare}
		l.wall.mu.Lock()
		if l.wall.held == nil {
			l.wall.held = map[*conn]struct{}{}
		}
		l.wall.held[x] = struct{}{}
		l.wall.mu.Unlock()
		// Looked up once it is held: who is blocked between the two is cut by Use.
		if x.spared() || !l.wall.Blocks(x.from) {
			return x, nil
		}
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // nothing is kept of it, nor in the kernel
		}
		_ = x.Close()
	}
}

type conn struct {
	net.Conn
	wall  *Wall
	from  netip.Addr
	spare func(netip.Addr) bool
}

func (c *conn) spared() bool { return c.spare != nil && c.spare(c.from) }

func (c *conn) Close() error {
	c.wall.mu.Lock()
	delete(c.wall.held, c)
	c.wall.mu.Unlock()
	return c.Conn.Close()
}
