package rack

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

// shield shuts out who the region says: at this rack's own listeners and, where its configuration has it, in the packet filter of its host. It keeps the list on disk, so
// that a restart without the region opens no door, and ends each block by itself. What the rack itself needs it does not shut out, whatever the region says.
type shield struct {
	wall  *block.Wall
	nft   *block.NFT // nil: the listeners alone
	file  string
	now   func() time.Time
	needs func() []block.Need
	log   *slog.Logger

	mu      sync.Mutex
	told    wire.BlocksRequest  // guarded by mu: what the region said last
	list    *block.List         // guarded by mu: of it, what is carried out
	refused []wire.RefusedBlock // guarded by mu
	dropped int                 // guarded by mu: how many were refused
	behind  bool                // guarded by mu: the packet filter does not have the list
	problem string              // guarded by mu
}

// Times of a shield.
const (
	shieldEvery = time.Second      // whether the kernel still has the table, and what has ended
	needsEvery  = 10 * time.Second // what the rack needs changes
)

// load takes up the kept list. One that cannot be used is not a reason not to start.
func (s *shield) load() {
	data, err := os.ReadFile(s.file)
	var req wire.BlocksRequest
	if err == nil {
		err = wire.Decode(data, &req)
	}
	if err == nil {
		err = s.use(req)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("cannot use the kept list of who is blocked; waiting for the region", "error", err)
	}
}

// use carries out a list from now on. Kinds: Invalid for one that no region of ours makes.
func (s *shield) use(req wire.BlocksRequest) error {
	list := &block.List{}
	for _, b := range req.Blocks {
		list.Blocks = append(list.Blocks, block.Block{Prefix: b.Prefix, Until: b.Until})
	}
	if err := list.Bound(s.now()); err != nil {
		return fault.New(fault.Invalid, "The list of blocks cannot be used: %v.", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.list
	s.told, s.list = wire.BlocksRequest{Version: req.Version, All: req.All}, list
	for _, b := range list.Blocks { // with the ends that they have here: taken up again later, none is put off
		s.told.Blocks = append(s.told.Blocks, wire.Blocked{Prefix: b.Prefix, Until: b.Until})
	}
	s.spareLocked()
	// The kernel's table is made anew only for a list that is another one.
	s.behind = s.behind || was == nil || !slices.EqualFunc(was.Blocks, list.Blocks, func(a, b block.Block) bool { return a.Prefix == b.Prefix && a.Until.Equal(b.Until) })
	return nil
}

// spareLocked takes out of the list what the rack needs, and has the listeners follow.
func (s *shield) spareLocked() {
	spare, now := block.NewSpare(s.needs()), s.now()
	s.refused, s.dropped = []wire.RefusedBlock{}, 0
	s.list.Blocks = slices.DeleteFunc(s.list.Blocks, func(b block.Block) bool {
		why := spare.Why(b.Prefix)
		if why == "" {
			return !now.Before(b.Until)
		}
		if s.dropped++; len(s.refused) < wire.MaxRefused {
			s.refused = append(s.refused, wire.RefusedBlock{Prefix: b.Prefix, Why: why})
		}
		return true
	})
	s.wall.Use(block.NewSet(s.list))
}

// take answers the region.
func (s *shield) take(ctx context.Context, req wire.BlocksRequest) (resp wire.BlocksResponse, err error) {
	if req.All {
		if err := s.use(req); err != nil {
			return resp, err
		}
		s.follow(ctx)
		s.mu.Lock()
		text, err := json.Marshal(s.told)
		s.mu.Unlock()
		if err != nil {
			return resp, err
		}
		if err := secret.WriteFile(s.file, text); err != nil {
			return resp, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	resp = wire.BlocksResponse{Version: s.told.Version, How: wire.BlocksListeners, Refused: s.refused, Problem: s.problem}
	if s.list != nil {
		resp.Applied = len(s.list.Blocks)
	}
	if s.nft != nil {
		resp.How = wire.BlocksNFTables
	}
	if resp.Refused == nil {
		resp.Refused = []wire.RefusedBlock{}
	}
	return resp, nil
}

// follow drops what has ended, and has the packet filter follow if it is to.
func (s *shield) follow(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == nil {
		return
	}
	now := s.now()
	s.list.Expire(now)
	if s.nft == nil {
		return
	}
	err := s.nft.Follow(ctx, s.list, s.behind, now)
	was := s.problem
	s.behind, s.problem = err != nil, ""
	if err != nil {
		if s.problem = "The packet filter cannot be used: " + err.Error(); was == "" {
			s.log.WarnContext(ctx, "cannot use the packet filter; the listeners alone refuse who is blocked", "error", err)
		}
	}
}

// run follows until the context ends. Blocks stay in the kernel then, until their time is over.
func (s *shield) run(ctx context.Context) {
	tick := time.NewTicker(shieldEvery)
	defer tick.Stop()
	looked := s.now()
	for {
		s.follow(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := s.now(); now.Sub(looked) >= needsEvery {
			looked = now
			s.again(ctx)
		}
	}
}

// again holds what the region said against what the rack needs now: whom it refused before may be blocked, and the other way round.
func (s *shield) again(ctx context.Context) {
	s.mu.Lock()
	told := s.told
	s.mu.Unlock()
	if len(told.Blocks) == 0 {
		return
	}
	if err := s.use(told); err != nil {
		s.log.WarnContext(ctx, "cannot use the list of who is blocked", "error", err)
	}
}

// blockNeeds is what this rack needs: its host, the region, and those whom it serves.
func (r *Rack) blockNeeds() []block.Need {
	var list []block.Need
	for _, n := range block.Needs() {
		list = append(list, block.Need{Prefix: n.Prefix, What: n.What + " of the rack's host"})
	}
	addr := func(what string, addrs ...netip.Addr) {
		for _, p := range block.Prefixes(addrs) {
			list = append(list, block.Need{Prefix: p, What: what})
		}
	}
	addr("the region's", r.regionAddrs()...)
	snap := r.snapshot.Load()
	if snap == nil {
		return list
	}
	for _, v := range snap.VLANs {
		for _, sub := range v.Subnets {
			list = append(list, block.Need{Prefix: sub.CIDR, What: "where this rack serves machines"})
			addr("a gateway of machines", sub.Gateway)
			addr("a name server of machines", sub.DNS...)
		}
	}
	for _, m := range snap.Machines {
		addr("machine "+m.Hostname, m.IP)
	}
	return list
}

// regionAddrs are the addresses at which the region is, as far as they are known: that of its enrolment, and that of the last connection.
func (r *Rack) regionAddrs() (list []netip.Addr) {
	r.mu.Lock()
	region := r.id.Region
	r.mu.Unlock()
	if host, _, err := net.SplitHostPort(region); err == nil {
		if a, err := netip.ParseAddr(host); err == nil {
			list = append(list, a.Unmap())
		}
	}
	if a := r.regionAddr.Load(); a != nil {
		list = append(list, a.Unmap())
	}
	return list
}

func (r *Rack) isRegion(a netip.Addr) bool { return slices.Contains(r.regionAddrs(), a.Unmap()) }
