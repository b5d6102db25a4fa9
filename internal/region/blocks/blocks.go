// Package blocks shuts attackers out of the site: on alerts whose detection the site enforces, and by people. It keeps the list, which all regions share, has this
// region's own listeners and its host's packet filter follow it, and spreads it to racks.
//
// Nobody is shut out on a guess: the rules are those of package block, and addresses that the site needs are looked up for each decision. Start at Found, by which alerts
// come in, Run, which decides, follows and spreads, and Add, Lift and Clear, which people do.
package blocks

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

// Limits and times.
const (
	maxWaiting  = 1000             // sources that wait for a decision; more are decided about when they go on
	maxAsked    = 10_000           // sources that are not decided about again for a while
	askAgain    = 10 * time.Second // that while
	decideEvery = 100 * time.Millisecond
	retryEvery  = time.Second            // after a decision that could not be made
	giveUp      = time.Minute            // what could not be decided about for so long is left until the source goes on
	followLeast = 200 * time.Millisecond // between two readings of the list, and two words to a rack: an attack changes it often
	followEvery = time.Second            // for what other regions changed, and for whether the kernel still has the table
	spareEvery  = 10 * time.Second
	reportEvery = 30 * time.Second
	settleEvery = time.Minute
	reportLife  = 30 * 24 * time.Hour // of a controller's word, its host's needs among it
	maxEnded    = 10_000              // blocks that have ended and are kept
	maxWishes   = 1000                // blocks that would have been
	maxNeeds    = 4096                // that one region's host tells the others of
)

// Racks are the connected ones.
type Racks interface {
	Connected() []string
	Call(ctx context.Context, rackID string, m wire.Message, req, resp any) error
}

// Config is what the service is made of.
type Config struct {
	Gate   *gate.Gate
	Now    func() time.Time
	Log    *slog.Logger
	Region string        // system id of this one
	Units  []detect.Unit // that may be enforced, if their evidence proves its source
	Wall   *block.Wall   // in front of this region's listeners
	NFT    *block.NFT    // of this region's host; nil: the listeners alone
	Racks  Racks
	// Sources are from where racks are connected to this region, by system id: a rack behind another's address has none of its own.
	Sources func() map[string]netip.Addr
	Host    func() []block.Need // what this region's host needs now
	Trusted []netip.Prefix      // the proxies that this region trusts
}

// Service knows who is shut out. Safe for concurrent use.
type Service struct {
	Config
	mu      sync.Mutex
	waiting []found                             // guarded by mu
	asked   map[source]time.Time                // guarded by mu: when each was decided about
	sent    map[string]int64                    // guarded by mu: by rack, the version that it has
	busy    map[string]bool                     // guarded by mu: racks that are being told
	reports map[string]time.Time                // guarded by mu: by rack, when it was last asked
	wake    chan struct{}                       // the list may have changed
	current atomic.Pointer[current]             // nil before the first
	friends atomic.Pointer[map[netip.Addr]bool] // addresses of controllers
	known   atomic.Pointer[map[string]bool]     // their system ids
	problem string                              // Follow's and its callers'
	retry   time.Time                           // Run's: no decision is tried before
}

// found is evidence, and since when it waits.
type found struct {
	block.Evidence
	at time.Time
}

// source is what is decided about.
type source struct {
	whom netip.Prefix
	unit string
}

// current is the list as this region enforces it.
type current struct {
	version int64
	list    *block.List
	failed  bool // the packet filter does not have it
}

// New makes the service.
func New(c Config) *Service {
	if c.Sources == nil {
		c.Sources = func() map[string]netip.Addr { return nil }
	}
	return &Service{Config: c, asked: map[source]time.Time{}, sent: map[string]int64{}, busy: map[string]bool{}, reports: map[string]time.Time{}, wake: make(chan struct{}, 1)}
}

// Found takes an alert each time that it goes on. It never blocks: what there is no room for is taken when the source goes on.
func (s *Service) Found(a *detect.Alert) {
	e := block.Evidence{Unit: a.Unit, Reason: a.Title, Source: a.Client, Proves: a.Proves, Known: a.Known, Grave: a.Severity >= detect.Medium}
	whom, ok := block.Whom(e.Source)
	if !ok || !e.Grave {
		return
	}
	now, key := s.Now(), source{whom, e.Unit}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) >= maxWaiting || now.Sub(s.asked[key]) < askAgain {
		return
	}
	if len(s.asked) >= maxAsked {
		for k, at := range s.asked {
			if now.Sub(at) >= askAgain {
				delete(s.asked, k)
			}
		}
		if len(s.asked) >= maxAsked {
			return
		}
	}
	s.asked[key] = now
	s.waiting = append(s.waiting, found{e, now})
}

// Changed is told which objects calls have changed.
func (s *Service) Changed(touched []authz.Target) {
	if slices.ContainsFunc(touched, func(t authz.Target) bool { return t.Noun == authz.NounBlock }) {
		s.poke()
	}
}

func (s *Service) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run decides about alerts, follows the list and spreads it, until the context ends. Blocks stay in the kernel then, until their time is over.
func (s *Service) Run(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "blocks")
	var telling sync.WaitGroup
	defer telling.Wait()
	tick := time.NewTicker(decideEvery)
	defer tick.Stop()
	var followed, spared, reported, settled time.Time
	told := int64(0) // the version that was reported last
	woken := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.wake:
			woken = true
		}
		s.decideAll(ctx)
		now := s.Now()
		due := func(last *time.Time, every time.Duration) bool {
			if now.Sub(*last) < every && !now.Before(*last) {
				return false
			}
			*last = now
			return true
		}
		if due(&followed, followEvery) || woken && due(&followed, followLeast) {
			woken = false
			s.try(ctx, "cannot follow the list of blocks", s.Follow)
			s.spread(ctx, &telling)
		}
		if due(&spared, spareEvery) {
			s.try(ctx, "cannot see whom to spare", s.spare)
		}
		every, version := reportEvery, told
		if c := s.current.Load(); c != nil && c.version != told {
			every, version = followEvery, c.version
		}
		if due(&reported, every) {
			told = version
			s.try(ctx, "cannot tell what this region does with the list of blocks", s.report)
		}
		if due(&settled, settleEvery) {
			s.try(ctx, "cannot settle the list of blocks", s.settle)
		}
	}
}

func (s *Service) try(ctx context.Context, what string, fn func(context.Context) error) {
	if err := fn(ctx); err != nil && ctx.Err() == nil {
		s.Log.ErrorContext(ctx, what, "error", err)
	}
}

func (s *Service) settle(ctx context.Context) error {
	return s.Gate.Observe(ctx, gate.SeenBlocks, func(tx *store.Tx, now time.Time) error {
		return tx.SettleBlocks(now, now.Add(-block.Memory), maxEnded, maxWishes)
	})
}

// decideAll decides about what waits. An alert is told again only after a while, so what could not be decided about waits on.
func (s *Service) decideAll(ctx context.Context) {
	now := s.Now()
	if wait := s.retry.Sub(now); wait > 0 && wait <= retryEvery {
		return
	}
	s.mu.Lock()
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	for i, x := range waiting {
		if now.Sub(x.at) > giveUp {
			continue
		}
		err := s.Decide(ctx, x.Evidence)
		if err == nil || ctx.Err() != nil {
			continue
		}
		s.Log.ErrorContext(ctx, "cannot decide about a block", "error", err, "source", x.Source, "detection", x.Unit)
		s.retry = now.Add(retryEvery)
		s.mu.Lock()
		s.waiting = append(append(slices.Clone(waiting[i+1:]), x), s.waiting...) // the others first: it may be this one alone
		s.waiting = s.waiting[:min(len(s.waiting), maxWaiting)]
		s.mu.Unlock()
		return
	}
}

// already is why nothing has to be done.
const already = "blocked already"

// Decide blocks who is to be blocked for evidence, as the region itself: one event of the trail. Who is not, and why, is kept for people to see.
func (s *Service) Decide(ctx context.Context, e block.Evidence) error {
	whom, why := e.Whom()
	if !whom.IsValid() || !e.Proves {
		return nil // nobody could say who it was
	}
	ctx, own := authz.AsSystem(ctx, "blocks"), s.own()
	if why == "" {
		if err := s.Gate.View(ctx, authz.BlockView, func(v *gate.Viewing) (err error) { why, err = against(v.View, e, whom, own, v.Now()); return err }); err != nil {
			return err
		}
	}
	if why == "" {
		err := s.Gate.Do(ctx, authz.BlockDecide, func(c *gate.Call) (err error) {
			if err := c.Require(store.BlockTarget(whom)); err != nil {
				return err
			}
			if why, err = against(&c.Tx().View, e, whom, own, c.Now()); err != nil {
				return err
			}
			if why != "" { // another region was first, or somebody changed his mind
				return fault.New(fault.Conflict, "%s is not blocked: %s.", whom, why)
			}
			return s.add(c, &store.Block{Prefix: whom, Unit: e.Unit, Reason: e.Reason, By: "alerts"}, 0)
		})
		if why == "" && fault.Is(err, fault.Conflict) { // another region was first, at the same moment
			return nil
		}
		if why == "" {
			return err
		}
	}
	if why == already {
		return nil
	}
	return s.Gate.Observe(ctx, gate.SeenBlocks, func(tx *store.Tx, now time.Time) error {
		return tx.SeeBlockWish(store.BlockWish{Prefix: whom, Unit: e.Unit, Reason: e.Reason, Why: why, Last: now})
	})
}

// add stores a block. Without a time of its own it lasts as long as the policy says after those before it.
func (s *Service) add(c *gate.Call, b *store.Block, span time.Duration) error {
	if span == 0 {
		site, err := c.Tx().BlockSite()
		if err != nil {
			return err
		}
		times, err := c.Tx().TimesBlocked(b.Prefix, c.Now().Add(-block.Memory))
		if err != nil {
			return err
		}
		span = Policy(site.Policy).Span(times)
	}
	b.From, b.Until = c.Now(), c.Now().Add(span)
	for _, n := range [][2]string{{"change", "blocked"}, {"detection", b.Unit}, {"reason", b.Reason}, {"until", b.Until.Format(time.RFC3339)}} {
		if n[1] != "" {
			c.Note(n[0], n[1])
		}
	}
	return c.Tx().AddBlock(b)
}

// Policy is a site's in the terms of package block.
func Policy(p store.BlockPolicy) block.Policy {
	return block.Policy{Enforce: p.Enforce, First: p.First, Longest: p.Longest, Most: p.Most, Never: p.Never}
}

// against says in words for people why nobody is blocked for evidence now; it is empty when nothing speaks against it.
func against(v *store.View, e block.Evidence, whom netip.Prefix, own []block.Need, now time.Time) (string, error) {
	site, err := v.BlockSite()
	if err != nil {
		return "", err
	}
	why, err := obstacle(v, site, whom, own, now)
	switch {
	case err != nil || why != "":
		return why, err
	case !slices.Contains(site.Policy.Enforce, e.Unit):
		return "observed only", nil
	}
	return "", nil
}

// obstacle says why nothing at all of an address may be blocked now, whoever wants it.
func obstacle(v *store.View, site store.BlockSite, whom netip.Prefix, own []block.Need, now time.Time) (string, error) {
	if site.Off {
		return "blocking is switched off", nil
	}
	needs, err := needs(v, site, whom, own, now)
	if err != nil {
		return "", err
	}
	if why := block.NewSpare(needs).Why(whom); why != "" {
		return why, nil
	}
	if _, found, err := v.BlockOf(whom, now); err != nil || found {
		return already, err
	}
	n, err := v.CountBlocks(now)
	return Policy(site.Policy).Full(n), err
}

// needs are the addresses that the site needs now: of those that the database knows, the ones in whom, if that is given.
func needs(v *store.View, site store.BlockSite, whom netip.Prefix, own []block.Need, now time.Time) (list []block.Need, err error) {
	known, err := v.BlockNeeds(whom, now)
	if err != nil {
		return nil, err
	}
	reports, err := v.BlockReports()
	if err != nil {
		return nil, err
	}
	list = slices.Clone(own)
	for _, r := range reports { // other regions' hosts
		known = append(known, r.Needs...)
	}
	for _, n := range known {
		list = append(list, block.Need(n))
	}
	for _, p := range site.Policy.Never {
		list = append(list, block.Need{Prefix: p, What: "never blocked, as the site's policy says"})
	}
	return list, nil
}

// own is what this region needs that no database knows.
func (s *Service) own() (list []block.Need) {
	for _, n := range s.Host() {
		list = append(list, block.Need{Prefix: n.Prefix, What: n.What + " of a region's host"})
	}
	for _, p := range s.Trusted {
		list = append(list, block.Need{Prefix: p, What: "of a proxy that a region trusts"})
	}
	known := s.known.Load()
	for id, a := range s.Sources() {
		if known != nil && !(*known)[id] { // it was removed
			continue
		}
		for _, p := range block.Prefixes([]netip.Addr{a}) {
			list = append(list, block.Need{Prefix: p, What: "from where rack controller " + id + " is connected"})
		}
	}
	return list
}

// Follow reads the list if it changed, and has this region's listeners and its host's packet filter follow. It is Run's, and called once before the listeners open.
func (s *Service) Follow(ctx context.Context) error {
	ctx = authz.AsSystem(ctx, "blocks")
	old, next := s.current.Load(), &current{}
	err := s.Gate.View(ctx, authz.BlockView, func(v *gate.Viewing) (err error) {
		if next.version, err = v.BlockVersion(); err != nil || old != nil && old.version == next.version {
			return err
		}
		site, err := v.BlockSite()
		if err != nil {
			return err
		}
		rows, err := v.ActiveBlocks(v.Now(), 0, 0)
		next.list = &block.List{Off: site.Off}
		for _, b := range rows {
			next.list.Blocks = append(next.list.Blocks, block.Block{Prefix: b.Prefix, Unit: b.Unit, Reason: b.Reason, By: b.By, From: b.From, Until: b.Until})
		}
		return err
	})
	if err != nil {
		return err
	}
	changed := next.list != nil
	if changed {
		s.Wall.Use(block.NewSet(next.list))
	} else {
		*next = *old
		if now := s.Now(); slices.ContainsFunc(old.list.Blocks, func(b block.Block) bool { return !now.Before(b.Until) }) {
			next.list = &block.List{Off: old.list.Off, Blocks: slices.Clone(old.list.Blocks)} // others read the old one
			next.list.Expire(now)
		}
	}
	next.failed = s.filter(ctx, next, changed || next.failed) != nil // tried again
	s.current.Store(next)
	return nil
}

// filter has the packet filter of this host follow, and keeps what went wrong for people to see.
func (s *Service) filter(ctx context.Context, c *current, changed bool) error {
	if s.NFT == nil {
		return nil
	}
	err := s.NFT.Follow(ctx, c.list, changed, s.Now())
	problem := ""
	if err != nil {
		problem = "The packet filter cannot be used: " + err.Error()
	}
	if problem != s.problem {
		s.problem = problem
		if err != nil {
			s.Log.WarnContext(ctx, "cannot use the packet filter; the listeners alone refuse who is blocked", "error", err)
		}
		s.try(ctx, "cannot tell what this region does with the list of blocks", s.report)
	}
	return err
}

// report stores what this region does with the list, and what its host needs, for the other regions.
func (s *Service) report(ctx context.Context) error {
	r := store.BlockReport{Controller: s.Region, Seen: s.Now(), How: wire.BlocksListeners, Problem: printable(s.problem)}
	if c := s.current.Load(); c != nil {
		r.Version = c.version
		if !c.list.Off {
			r.Applied = len(c.list.Blocks)
		}
	}
	if s.NFT != nil {
		r.How = wire.BlocksNFTables
	}
	own := s.own()
	slices.SortStableFunc(own, func(a, b block.Need) int { return cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()) }) // networks are not left out
	for _, n := range own[:min(len(own), maxNeeds)] {
		r.Needs = append(r.Needs, store.BlockNeed(n))
	}
	return s.see(ctx, r)
}

func (s *Service) see(ctx context.Context, r store.BlockReport) error {
	return s.Gate.Observe(ctx, gate.SeenBlocks, func(tx *store.Tx, now time.Time) error {
		r.Seen = now
		return tx.SeeBlockReport(r, now.Add(-reportLife))
	})
}

// spare lets in again whom the site has come to need, and who would be shut out for longer than anybody may be, since the clock was set back; and it remembers the
// racks' addresses for their door.
func (s *Service) spare(ctx context.Context) error {
	friends, known := map[netip.Addr]bool{}, map[string]bool{}
	type lifting struct {
		store.Block
		why string
	}
	var hit []lifting
	err := s.Gate.View(ctx, authz.BlockView, func(v *gate.Viewing) error {
		controllers, err := v.Controllers()
		if err != nil {
			return err
		}
		for _, c := range controllers {
			known[c.SystemID] = true
			for _, i := range c.Interfaces {
				for _, a := range i.Addresses {
					friends[a.Addr().Unmap()] = true
				}
			}
		}
		s.known.Store(&known)
		active, err := v.ActiveBlocks(v.Now(), 0, 0)
		if err != nil || len(active) == 0 {
			return err
		}
		site, err := v.BlockSite()
		if err != nil {
			return err
		}
		needs, err := needs(v.View, site, netip.Prefix{}, s.own(), v.Now())
		spared, latest := block.NewSpare(needs), v.Now().Add(block.HardLongest)
		for _, b := range active {
			if why := spared.Why(b.Prefix); why != "" {
				hit = append(hit, lifting{b, why})
			} else if b.Until.After(latest) {
				hit = append(hit, lifting{b, "it would have lasted longer than any block may"})
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	for id, a := range s.Sources() {
		if known[id] {
			friends[a.Unmap()] = true
		}
	}
	s.friends.Store(&friends)
	for _, b := range hit {
		err := s.Gate.Do(ctx, authz.BlockDecide, func(c *gate.Call) error {
			if err := c.Require(store.BlockTarget(b.Prefix)); err != nil {
				return err
			}
			return lift(c, b.Block, "", b.why)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Rack reports whether an address is a controller's: the racks' door is open to it, whatever the list says.
func (s *Service) Rack(a netip.Addr) bool {
	friends := s.friends.Load()
	return friends != nil && (*friends)[a.Unmap()]
}

// Active is how many blocks this region enforces now.
func (s *Service) Active() int {
	c := s.current.Load()
	if c == nil || c.list.Off {
		return 0
	}
	n, now := 0, s.Now()
	for _, b := range c.list.Blocks {
		if now.Before(b.Until) {
			n++
		}
	}
	return n
}

// lift ends a block that lasts. Kinds: NotFound when it does not.
func lift(c *gate.Call, b store.Block, by, why string) error {
	now, found, err := c.Tx().BlockOf(b.Prefix, c.Now())
	if err != nil {
		return err
	}
	if !found {
		return store.NoBlock(b.Prefix)
	}
	c.Note("change", "lifted")
	if why != "" {
		c.Note("reason", why)
	}
	return c.Tx().LiftBlock(now, by, why, c.Now())
}

// printable is a text of a program's, or of a rack's, in one line, bounded and safe to print.
func printable(text string) string {
	const most = 300
	return metal.Printable(strings.Join(strings.Fields(text), " "), most)
}
