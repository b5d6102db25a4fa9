// Package dhcp serves DHCPv4 on the VLANs of the rack's snapshot, for machines that boot from the network and
// for the systems they run.
//
// A packet takes four steps, each in a file of its own: packet.go parses it, decide.go turns it into a verdict
// from the snapshot (index.go) and the lease tables (leases.go) without any I/O, file.go makes granted leases
// durable, and listen.go and commit.go move packets between those and the network. Invariants: an ACK is sent
// only after its lease is on disk; two clients never hold one address; only interfaces in the snapshot are
// served, and no other is ever listened on.
//
// Beside DHCP the server answers IPv6 router solicitations with an empty advertisement (ra.go), because iPXE
// waits some 13 seconds for one, and reports other DHCP servers that it sees.
//
// Sources: RFC 2131, 2132, 3046, 4578, 6842; UEFI 2.10 chapter 24; ipxe.org.
package dhcp

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/throttle"
	"github.com/metalward/metalward/internal/wire"
)

// DefaultHTTPPort is the port of the rack's first-stage HTTP server. Source: MAAS.
const DefaultHTTPPort = 5248

const (
	// reconcileEvery is how often interfaces that could not be opened are tried again: a VLAN interface may
	// appear long after the snapshot that names it.
	reconcileEvery = 10 * time.Second
	// complainEvery spaces log lines and reports about a condition that lasts.
	complainEvery = time.Minute
	// rogueEvery spaces reports of one other server; maxRogues bounds how many are told apart.
	rogueEvery = time.Hour
	maxRogues  = 64
	// Strangers are hardware addresses of no machine and without a lease. So many new ones on one interface within a minute are made up: a rack of machines that
	// is switched on has some dozen.
	maxStrangers, strangersWithin, strangersRest = 256, time.Minute, time.Hour
	maxInterfaces                                = 4096 // whose strangers are counted
)

// Config is what a Server needs.
type Config struct {
	Log *slog.Logger
	// LeaseFile is where leases survive a restart; its directory must exist. Required.
	LeaseFile string
	// HTTPPort is where boot files are; 0 means DefaultHTTPPort.
	HTTPPort int
	// Observe is told of leases that were given or renewed, once they are durable, in order. It must return
	// soon: it delays the answers that follow. May be nil.
	Observe func([]metal.Lease)
	// Security is told of what an attack would look like: kinds "rogue_dhcp" and "dhcp_starvation". Must return soon. May be nil.
	Security func(wire.SecurityRequest)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Stats counts since start.
type Stats struct {
	Received  uint64 // packets read
	Malformed uint64
	Offers    uint64
	Acks      uint64
	Naks      uint64
	Exhausted uint64 // DISCOVERs without a free address
	Declined  uint64
	Dropped   uint64 // grants given up because the disk did not keep up or failed
	Commits   uint64 // fsyncs
}

// Server is a DHCP server. Make it with New, give it a snapshot, Run it. Safe for concurrent use.
type Server struct {
	cfg     Config
	log     *slog.Logger
	changed chan struct{} // signals that the snapshot names other interfaces
	pending chan grant    // grants on their way to the disk

	mu      sync.Mutex // guards all below
	d       decider
	rogues  map[netip.Addr]time.Time
	strange *throttle.Crowd[string, mac] // by interface
	lastLog map[string]time.Time         // by text, which are few

	journal *journal // used by New, then by commit alone

	received, malformed, offers, acks, naks, exhausted, declined, dropped, commits atomic.Uint64
}

// New makes a server and reads its lease file. It serves nothing until it has a snapshot.
func New(cfg Config) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.HTTPPort == 0 {
		cfg.HTTPPort = DefaultHTTPPort
	}
	if cfg.LeaseFile == "" {
		return nil, errors.New("cannot serve DHCP without a lease file")
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, changed: make(chan struct{}, 1), pending: make(chan grant, maxPending),
		strange: throttle.NewCrowd[string, mac](maxStrangers, strangersWithin, strangersRest, maxInterfaces),
		rogues:  map[netip.Addr]time.Time{}, lastLog: map[string]time.Time{},
	}
	x, _ := newIndex(metal.RackSnapshot{})
	s.d = decider{x: x, t: newLeases(), http: strconv.Itoa(cfg.HTTPPort)}
	j, skipped, err := openJournal(cfg.LeaseFile, s.d.t)
	if err != nil {
		return nil, err
	}
	if skipped > 0 {
		s.log.Warn("lease file had unreadable lines", "path", cfg.LeaseFile, "count", skipped)
	}
	s.journal = j
	return s, nil
}

// SetSnapshot replaces what is served, at once and as a whole. Kinds: Invalid, and then the old snapshot stays.
func (s *Server) SetSnapshot(snapshot metal.RackSnapshot) error {
	x, err := newIndex(snapshot)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.d.x = x
	s.d.t.freed() // ranges may have grown
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
	return nil
}

// LeaseOf returns the hardware address that holds an IP address by a lease which has not ended.
func (s *Server) LeaseOf(ip netip.Addr) (metal.MAC, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := toIP4(ip)
	l := s.d.t.byIP[a]
	if a == 0 || l == nil || l.state != bound || !l.held(s.cfg.Now().Unix()) {
		return "", false
	}
	return l.mac.MAC(), true
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	return Stats{
		Received: s.received.Load(), Malformed: s.malformed.Load(), Offers: s.offers.Load(), Acks: s.acks.Load(),
		Naks: s.naks.Load(), Exhausted: s.exhausted.Load(), Declined: s.declined.Load(), Dropped: s.dropped.Load(),
		Commits: s.commits.Load(),
	}
}

// Run serves until ctx ends, then closes everything. It needs root, or CAP_NET_RAW and CAP_NET_BIND_SERVICE.
func (s *Server) Run(ctx context.Context) error {
	open := map[string]*listener{}
	var wg sync.WaitGroup
	wg.Go(func() { s.commit(ctx) }) // ends with ctx
	defer func() {
		for _, l := range open {
			l.close()
		}
		wg.Wait()
	}()
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	for {
		s.reconcile(ctx, open)
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
		case <-tick.C:
		}
	}
}

// reconcile opens and closes listeners so that they are those of the snapshot.
func (s *Server) reconcile(ctx context.Context, open map[string]*listener) {
	s.mu.Lock()
	x := s.d.x
	s.mu.Unlock()
	for name, l := range open {
		if x.byIface[name] == nil || l.dead() {
			l.close()
			delete(open, name)
			s.log.Info("dhcp stopped on interface", "interface", name)
		}
	}
	for name := range x.byIface {
		if open[name] != nil {
			continue
		}
		l, err := s.listen(ctx, name)
		if err != nil {
			s.complain(ctx, "cannot serve dhcp on interface", "interface", name, "error", err)
			continue
		}
		open[name] = l
		s.log.Info("dhcp serves interface", "interface", name)
	}
}

// complain logs a warning, at most once in a while for each text.
func (s *Server) complain(ctx context.Context, text string, args ...any) {
	now := s.cfg.Now()
	s.mu.Lock()
	quiet := now.Sub(s.lastLog[text]) < complainEvery
	if !quiet {
		s.lastLog[text] = now
	}
	s.mu.Unlock()
	if !quiet {
		s.log.WarnContext(ctx, text, args...)
	}
}

// stranger counts a client that asks for its first address here.
func (s *Server) stranger(ctx context.Context, iface string, p *packet) {
	if s.strange.Note(iface, p.mac, s.cfg.Now()) {
		s.log.WarnContext(ctx, "very many new hardware addresses ask for addresses", "interface", iface, "within", strangersWithin)
		if s.cfg.Security != nil {
			s.cfg.Security(wire.SecurityRequest{Kind: "dhcp_starvation", MAC: p.mac.MAC(), Detail: strconv.Itoa(maxStrangers) + " new hardware addresses within a minute on " + iface})
		}
	}
}

// tell reports what a verdict wants told.
func (s *Server) tell(ctx context.Context, iface string, p *packet, v verdict) {
	switch v.event {
	case exhausted:
		s.exhausted.Add(1)
		s.complain(ctx, "no free address in the dynamic ranges", "interface", iface, "mac", string(p.mac.MAC()))
	case conflict:
		s.declined.Add(1)
		s.complain(ctx, "a machine found its address in use", "interface", iface, "mac", string(p.mac.MAC()), "ip", v.yi.Addr())
	case rogue:
		other, now := v.other.Addr(), s.cfg.Now()
		s.mu.Lock()
		if len(s.rogues) >= maxRogues { // made-up ones must not hide a real one for ever
			maps.DeleteFunc(s.rogues, func(_ netip.Addr, seen time.Time) bool { return now.Sub(seen) >= rogueEvery })
		}
		seen, known := s.rogues[other]
		fresh := now.Sub(seen) >= rogueEvery && (known || len(s.rogues) < maxRogues)
		if fresh {
			s.rogues[other] = now
		}
		s.mu.Unlock()
		if fresh {
			s.log.WarnContext(ctx, "another dhcp server answers on a served interface", "interface", iface, "server", other)
			if s.cfg.Security != nil {
				s.cfg.Security(wire.SecurityRequest{Kind: "rogue_dhcp", Source: other, MAC: p.mac.MAC(), Detail: "another DHCP server on " + iface})
			}
		}
	}
}
