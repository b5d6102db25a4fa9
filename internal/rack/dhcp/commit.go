package dhcp

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/metal"
)

const (
	// maxPending bounds the grants that wait for the disk; beyond it they are dropped, and clients ask again.
	maxPending = 4096
	// maxBatch bounds one write, so that the first of a long queue does not wait for the last, and answers do not
	// leave in bursts that overrun a relay's socket buffer (208 KiB by default on Linux: some 270 packets).
	maxBatch = 256
)

// grant is a lease to make durable, and the answer to send then, if any.
type grant struct {
	lease lease
	l     *listener
	out   *outgoing // nil: nothing to send
}

// outgoing is a reply that owns its bytes.
type outgoing struct {
	to  destination
	ip  ip4 // giaddr, ciaddr or yiaddr
	src ip4
	mac mac
	b   []byte
}

var outgoingPool = sync.Pool{New: func() any { return &outgoing{b: make([]byte, 0, maxPacket)} }}

// commit makes grants durable in groups: while one group is synced to disk the next gathers, so the cost of an
// fsync is shared by as many clients as asked meanwhile, and a single client waits for one fsync only. When ctx
// ends it writes what is pending and returns.
func (s *Server) commit(ctx context.Context) {
	defer func() { _ = s.journal.close() }()
	grants := make([]grant, 0, maxBatch)
	batch := make([]lease, 0, maxBatch)
	for {
		grants, batch = grants[:0], batch[:0]
		select {
		case g := <-s.pending:
			grants = append(grants, g)
		case <-ctx.Done():
			select {
			case g := <-s.pending:
				grants = append(grants, g)
			default:
				return
			}
		}
	gather:
		for len(grants) < maxBatch {
			select {
			case g := <-s.pending:
				grants = append(grants, g)
			default:
				break gather
			}
		}
		for i := range grants {
			batch = append(batch, grants[i].lease)
		}
		s.commits.Add(1)
		if err := s.journal.append(batch); err != nil {
			s.dropped.Add(uint64(len(grants)))
			s.complain(ctx, "dhcp gives no leases", "error", err)
			continue
		}
		for i := range grants {
			if g := &grants[i]; g.out != nil {
				s.acks.Add(1)
				g.l.send(g.out)
				outgoingPool.Put(g.out)
				g.out = nil
			}
		}
		s.observe(batch)
		s.compact(ctx)
	}
}

func (s *Server) observe(batch []lease) {
	if s.cfg.Observe == nil {
		return
	}
	out := make([]metal.Lease, 0, len(batch))
	for i := range batch {
		if l := &batch[i]; l.state != declined {
			out = append(out, metal.Lease{MAC: l.mac.MAC(), IP: l.ip.Addr(), Hostname: l.hostname, Expires: time.Unix(l.expires, 0).UTC()})
		}
	}
	if len(out) > 0 {
		s.cfg.Observe(out)
	}
}

// compact rewrites the journal when it has grown. A grant decided but not yet written is in the tables already,
// so it may reach the disk early, never late.
func (s *Server) compact(ctx context.Context) {
	s.mu.Lock()
	n := len(s.d.t.byIP)
	if !s.journal.grown(n) {
		s.mu.Unlock()
		return
	}
	all := make([]lease, 0, n)
	for _, l := range s.d.t.byIP {
		all = append(all, *l)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b lease) int { return int(int64(a.ip) - int64(b.ip)) })
	if err := s.journal.rewrite(all); err != nil {
		s.complain(ctx, "cannot compact the lease file", "error", err)
	}
}

// handle takes one packet through parse and decide. What needs no disk is written to l at once.
func (s *Server) handle(ctx context.Context, l *listener, b []byte) {
	s.received.Add(1)
	var p packet
	if err := p.parse(b); err != nil {
		s.malformed.Add(1)
		return
	}
	s.mu.Lock()
	new := p.op == bootRequest && p.kind == discover && s.d.stranger(l.iface, &p)
	v := s.d.decide(s.cfg.Now(), l.iface, &p)
	var g grant
	if v.lease != nil {
		g = grant{lease: *v.lease, l: l}
	}
	var out *outgoing
	if v.reply != nil {
		out = outgoingPool.Get().(*outgoing)
		*out = outgoing{to: v.to, mac: p.mac, src: v.src, b: append(out.b[:0], v.reply...)}
		switch v.to {
		case toRelay:
			out.ip = p.giaddr
		case toClient:
			out.ip = p.ciaddr
		default:
			out.ip = v.yi
		}
	}
	s.mu.Unlock()
	if new {
		s.stranger(ctx, l.iface, &p)
	}
	if v.event != nothing {
		s.tell(ctx, l.iface, &p, v)
	}
	switch {
	case v.lease != nil:
		g.out = out
		select {
		case s.pending <- g:
		default: // the disk does not keep up
			s.dropped.Add(1)
		}
	case out != nil:
		switch v.kind {
		case offer:
			s.offers.Add(1)
		case nak:
			s.naks.Add(1)
		default:
			s.acks.Add(1)
		}
		l.send(out)
		outgoingPool.Put(out)
	}
}

func addrPort(a ip4, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), port) }
