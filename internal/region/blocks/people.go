package blocks

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// Limits of what people say.
const (
	maxReason = 1000 // bytes
	maxNever  = 1000 // networks
	leastSpan = time.Minute
	usualSpan = time.Hour
)

// Standing is how blocking stands.
type Standing struct {
	Site    store.BlockSite
	Count   int // blocks that last
	Wishes  []store.BlockWish
	Reports []Report
}

// Report is what a controller did with the list.
type Report struct {
	store.BlockReport
	Controller metal.Controller
	Behind     bool // it has not told of the list as it is now
}

// Get is how blocking stands, with so many of those who would have been blocked.
func (s *Service) Get(ctx context.Context, wishes int) (st Standing, err error) {
	err = s.Gate.View(ctx, authz.BlockView, func(v *gate.Viewing) (err error) {
		st = Standing{}
		if st.Site, err = v.BlockSite(); err != nil {
			return err
		}
		if st.Count, err = v.CountBlocks(v.Now()); err != nil {
			return err
		}
		if st.Wishes, err = v.BlockWishes(netip.Prefix{}, wishes); err != nil {
			return err
		}
		controllers, err := v.Controllers()
		if err != nil {
			return err
		}
		reports, err := v.BlockReports()
		for _, c := range controllers {
			r := Report{Controller: c, Behind: true}
			if i := slices.IndexFunc(reports, func(r store.BlockReport) bool { return r.Controller == c.SystemID }); i >= 0 {
				r.BlockReport, r.Behind = reports[i], reports[i].Version != st.Site.Version
			}
			st.Reports = append(st.Reports, r)
		}
		return err
	})
	return st, err
}

// List lists the blocks that last, the newest first, those before an id; 0 is no bound.
func (s *Service) List(ctx context.Context, before int64, limit int) (list []store.Block, err error) {
	err = s.Gate.View(ctx, authz.BlockView, func(v *gate.Viewing) (err error) { list, err = v.ActiveBlocks(v.Now(), before, limit); return err })
	return list, err
}

// Ended lists blocks that last no more, the newest first.
func (s *Service) Ended(ctx context.Context, before int64, limit int) (list []store.Block, err error) {
	err = s.Gate.View(ctx, authz.BlockView, func(v *gate.Viewing) (err error) { list, err = v.EndedBlocks(v.Now(), before, limit); return err })
	return list, err
}

// Find is the block of an address. Kinds: Invalid on "address"; NotFound.
func (s *Service) Find(ctx context.Context, address string) (b store.Block, err error) {
	whom, err := whomOf(address)
	if err != nil {
		return b, fault.Field("address", "%s", fault.Message(err))
	}
	err = s.Gate.View(ctx, authz.BlockView, func(v *gate.Viewing) error {
		var found bool
		if b, found, err = v.BlockOf(whom, v.Now()); err == nil && !found {
			err = store.NoBlock(whom)
		}
		return err
	})
	return b, err
}

// Observed are the detections that would have blocked an address, and why they did not. Kinds: Invalid on "address".
func (s *Service) Observed(ctx context.Context, address string) (list []store.BlockWish, err error) {
	whom, err := whomOf(address)
	if err != nil {
		return nil, fault.Field("address", "%s", fault.Message(err))
	}
	err = s.Gate.View(ctx, authz.BlockView, func(v *gate.Viewing) (err error) { list, err = v.BlockWishes(whom, len(s.Units)+1); return err })
	return list, err
}

// whomOf is what is blocked of an address that somebody wrote. Kinds: Invalid without a field.
func whomOf(text string) (netip.Prefix, error) {
	text = strings.TrimSpace(text)
	a, err := netip.ParseAddr(text)
	if p, err2 := netip.ParsePrefix(text); err != nil && err2 == nil { // as lists show it
		if whom, ok := block.Whom(p.Addr()); ok && whom == p {
			return p, nil
		}
		return netip.Prefix{}, fault.New(fault.Invalid, "Only single addresses are blocked, or the /64 of an IPv6 address: %s is another network.", p)
	}
	if err != nil {
		return netip.Prefix{}, fault.New(fault.Invalid, "Enter an address such as 198.51.100.7 or 2001:db8::7.")
	}
	whom, ok := block.Whom(a)
	if !ok {
		return netip.Prefix{}, fault.New(fault.Invalid, "%s is no address of a single host that could be shut out.", a)
	}
	return whom, nil
}

// Wanted is a block that somebody wants.
type Wanted struct {
	Address string
	Reason  string
	For     string // such as 90m, 12h or 7d; "" is an hour
}

// Add blocks an address. Kinds: Invalid, which names the reason for an address that the site needs; Conflict when it is blocked already, blocking is switched off, or there are
// too many.
func (s *Service) Add(ctx context.Context, n Wanted) (b store.Block, err error) {
	own := s.own()
	err = s.Gate.Do(ctx, authz.BlockEdit, func(c *gate.Call) error {
		bad := fault.Fields{}
		whom, err := whomOf(n.Address)
		bad.AddErr("address", err)
		target := store.BlocksTarget()
		if err == nil {
			target = store.BlockTarget(whom)
		}
		if err := c.Require(target); err != nil {
			return err
		}
		why, problem := reason(n.Reason)
		if why == "" && problem == "" {
			problem = "Say why it is to be blocked."
		}
		if problem != "" {
			bad.Add("reason", "%s", problem)
		}
		span, err := spanOf(n.For, usualSpan)
		bad.AddErr("for", err)
		if err := bad.Err(); err != nil {
			return err
		}
		site, err := c.Tx().BlockSite()
		if err != nil {
			return err
		}
		mine := slices.Clone(own)
		if a, err := netip.ParseAddr(authz.OriginFrom(ctx).Source); err == nil {
			for _, p := range block.Prefixes([]netip.Addr{a}) {
				mine = append(mine, block.Need{Prefix: p, What: "from where you ask for this"})
			}
		}
		switch against, err := obstacle(&c.Tx().View, site, whom, mine, c.Now()); {
		case err != nil:
			return err
		case site.Off:
			return fault.New(fault.Conflict, "Blocking is switched off: switch it on first.")
		case against == already:
			return fault.New(fault.Conflict, "%s is blocked already. Lift that block first to give it another time.", whom)
		case against != "":
			return fault.Field("address", "%s cannot be blocked: %s.", whom, against)
		}
		b = store.Block{Prefix: whom, Reason: why, By: c.Principal().Name}
		return s.add(c, &b, span)
	})
	return b, err
}

// Lift lets an address in again. Kinds: Invalid on "address" or "reason"; NotFound when it is not blocked.
func (s *Service) Lift(ctx context.Context, address, why string) error {
	whom, bad := whomOf(address)
	target := store.BlocksTarget()
	if bad == nil {
		target = store.BlockTarget(whom)
	}
	return s.Gate.Do(ctx, authz.BlockEdit, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		if bad != nil {
			return fault.Field("address", "%s", fault.Message(bad))
		}
		why, problem := reason(why)
		if problem != "" {
			return fault.Field("reason", "%s", problem)
		}
		return lift(c, store.Block{Prefix: whom}, c.Principal().Name, why)
	})
}

// Clear is the panic switch: it lets everybody in again, and nobody is blocked until On. It returns how many were. Kinds: Invalid on "reason".
func (s *Service) Clear(ctx context.Context, why string) (n int64, err error) {
	err = s.site(ctx, "switched off", func(c *gate.Call, site *store.BlockSite) error {
		why, problem := reason(why)
		if problem != "" {
			return fault.Field("reason", "%s", problem)
		}
		if why != "" {
			c.Note("reason", why)
		}
		if n, err = c.Tx().ClearBlocks(c.Principal().Name, why, c.Now()); err != nil {
			return err
		}
		c.Note("blocks", strconv.FormatInt(n, 10))
		site.Off, site.OffBy, site.OffAt = true, c.Principal().Name, c.Now()
		return nil
	})
	return n, err
}

// On has blocking be possible again. Kinds: Conflict when it is.
func (s *Service) On(ctx context.Context) error {
	return s.site(ctx, "switched on", func(_ *gate.Call, site *store.BlockSite) error {
		if !site.Off {
			return fault.New(fault.Conflict, "Blocking is switched on already.")
		}
		site.Off, site.OffBy, site.OffAt = false, "", time.Time{}
		return nil
	})
}

// Change is what somebody wants of the policy; nil leaves it as it is. Lists are separated by commas or blanks.
type Change struct {
	Enforce *string // ids of detections
	First   *string // such as 10m
	Longest *string // at most 7d
	Most    *string
	Never   *string // networks
}

// Change changes the policy. Whom the new one spares is let in again. Kinds: Invalid.
func (s *Service) Change(ctx context.Context, n Change) (p store.BlockPolicy, err error) {
	err = s.site(ctx, "policy", func(c *gate.Call, site *store.BlockSite) error {
		if err := s.apply(n, &site.Policy); err != nil {
			return err
		}
		p = site.Policy
		c.Note("enforced", strings.Join(p.Enforce, " "))
		active, err := c.Tx().ActiveBlocks(c.Now(), 0, 0)
		if err != nil {
			return err
		}
		for _, b := range active {
			if !slices.ContainsFunc(p.Never, b.Prefix.Overlaps) {
				continue
			}
			if err := c.Require(store.BlockTarget(b.Prefix)); err != nil {
				return err
			}
			if err := c.Tx().LiftBlock(b, c.Principal().Name, "never blocked, as the site's policy says", c.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	return p, err
}

// apply makes changes to a policy. Kinds: Invalid.
func (s *Service) apply(n Change, p *store.BlockPolicy) error {
	bad := fault.Fields{}
	words := func(text string) []string {
		return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' })
	}
	if n.Enforce != nil {
		p.Enforce = nil
		for _, id := range words(*n.Enforce) {
			if err := s.enforceable(id); err != nil {
				bad.AddErr("enforce", err)
			} else if !slices.Contains(p.Enforce, id) {
				p.Enforce = append(p.Enforce, id)
			}
		}
	}
	for _, x := range []struct {
		name string
		text *string
		into *time.Duration
	}{{"first", n.First, &p.First}, {"longest", n.Longest, &p.Longest}} {
		if x.text != nil {
			var err error
			*x.into, err = spanOf(*x.text, 0)
			bad.AddErr(x.name, err)
		}
	}
	if Policy(*p).Span(0) < p.First {
		bad.Add("longest", "Use at least as long as the first block lasts.")
	}
	if n.Most != nil {
		var err error
		if p.Most, err = strconv.Atoi(strings.TrimSpace(*n.Most)); err != nil || p.Most < 1 || p.Most > block.HardMost {
			bad.Add("most", "Use a number from 1 to %d.", block.HardMost)
		}
	}
	if n.Never != nil {
		p.Never = nil
		list := words(*n.Never)
		if len(list) > maxNever {
			bad.Add("never", "Use at most %d networks.", maxNever)
			list = nil
		}
		for _, text := range list {
			net, err := netip.ParsePrefix(text)
			if a, err2 := netip.ParseAddr(text); err != nil && err2 == nil {
				net, err = a.WithZone("").Prefix(a.BitLen())
			}
			if net = block.Unmap(net); err != nil || net != net.Masked() {
				bad.Add("never", "%q is no network such as 10.0.0.0/8 or 192.0.2.9.", metal.Printable(text, 64))
				continue
			}
			p.Never = append(p.Never, net)
		}
	}
	return bad.Err()
}

// Enforceable are the detections that may be enforced.
func (s *Service) Enforceable() (list []detect.Unit) {
	for _, u := range s.Units {
		if u.Proves {
			list = append(list, u)
		}
	}
	return list
}

// enforceable says why a detection may not be enforced. Kinds: Invalid.
func (s *Service) enforceable(id string) error {
	i := slices.IndexFunc(s.Units, func(u detect.Unit) bool { return u.ID == id })
	switch {
	case i < 0:
		return fault.New(fault.Invalid, "There is no detection %q here.", metal.Printable(id, 64))
	case !s.Units[i].Proves:
		return fault.New(fault.Invalid, "%s cannot be enforced: its evidence does not prove its source, so that somebody innocent could be blocked.", id)
	}
	return nil
}

// site changes the switch or the policy: one event of the trail.
func (s *Service) site(ctx context.Context, what string, fn func(*gate.Call, *store.BlockSite) error) error {
	return s.Gate.Do(ctx, authz.BlockEdit, func(c *gate.Call) error {
		if err := c.Require(store.BlocksTarget()); err != nil {
			return err
		}
		c.Note("change", what)
		site, err := c.Tx().BlockSite()
		if err != nil {
			return err
		}
		if err := fn(c, &site); err != nil {
			return err
		}
		return c.Tx().PutBlockSite(site)
	})
}

// spanOf reads how long a block is to last. Kinds: Invalid without a field.
func spanOf(text string, usual time.Duration) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if text == "" && usual > 0 {
		return usual, nil
	}
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n int
		if n, err = strconv.Atoi(days); err == nil {
			d = time.Duration(max(-1, min(n, 1000))) * 24 * time.Hour
		}
	}
	if err != nil || d < leastSpan || d > block.HardLongest {
		return 0, fault.New(fault.Invalid, "Use a time such as 90m, 12h or 7d: from a minute to %d days.", block.HardLongest/(24*time.Hour))
	}
	return d, nil
}

// reason is what somebody wrote, or what is wrong with it.
func reason(text string) (string, string) {
	text = strings.TrimSpace(text)
	if len(text) > maxReason || guard.Show(text) != text {
		return "", fmt.Sprintf("Use at most %d printable characters, in one line.", maxReason)
	}
	return text, ""
}
