// Package block decides who may be shut out and for how long, keeps the list of who is, and has the packet filter of this host follow it. Nobody is shut
// out on a guess: only alerts whose evidence proves their source count, never an address that the site needs, never more than a few at a time, and every
// block has an end, a reason and a way back.
package block

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// Memory is for how long after its beginning a block makes the next one of the same address longer.
const Memory = 30 * 24 * time.Hour

// Bounds of blocking.
const (
	DefaultFirst   = 10 * time.Minute
	DefaultLongest = 24 * time.Hour
	HardLongest    = 7 * 24 * time.Hour // whatever is configured
	DefaultMost    = 1000               // blocks at the same time
	HardMost       = 50_000
	maxRemembered  = 100_000 // addresses whose earlier blocks make the next one longer
	grow           = 4       // each further block of an address lasts so many times as long
)

// Policy is what may be done. Without Enforce nothing is blocked; what would be is told.
type Policy struct {
	Enforce []string       // ids of detections
	First   time.Duration  // of an address's first block
	Longest time.Duration  // of any
	Most    int            // at the same time
	Never   []netip.Prefix // whom the site needs: controllers, racks, machines, BMCs, balancers, VPNs, operators
}

// Evidence is why somebody is to be blocked.
type Evidence struct {
	Unit   string
	Reason string // for people
	Source netip.Addr
	Proves bool // an answer reached the source, so that it is no forgery
	Grave  bool // at least medium
	Known  bool // somebody logged in from there before: a person who mistyped, an office, or a balancer that nobody named
}

// A Block is somebody shut out. Prefix is one IPv4 address or the /64 of an IPv6 address.
type Block struct {
	Prefix netip.Prefix `json:"prefix"`
	Unit   string       `json:"unit"`
	Reason string       `json:"reason"`
	By     string       `json:"by"`
	From   time.Time    `json:"from"`
	Until  time.Time    `json:"until"`
}

// Past is how often an address was blocked.
type Past struct {
	Times int       `json:"times"`
	Last  time.Time `json:"last"`
}

// List is who is blocked, and who was.
type List struct {
	Format int                   `json:"format"`
	Off    bool                  `json:"off"` // the panic switch: nothing is blocked until it is turned on again
	Blocks []Block               `json:"blocks"`
	Past   map[netip.Prefix]Past `json:"past"`
}

// crowds are the networks in a /64 of which many strangers are: addresses of IPv4 behind a translator (RFC 6052, RFC 8215), all of the clients of a server of
// Teredo (RFC 4380), and addresses of IPv4 in the form that nobody uses any more (RFC 4291).
var crowds = []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("::/96")}

func crowded(a netip.Addr) bool {
	return slices.ContainsFunc(crowds, func(n netip.Prefix) bool { return n.Contains(a) })
}

// Whom is what is blocked of an address: itself, or the /64 of an IPv6 address, which is one customer's at least.
func Whom(a netip.Addr) (netip.Prefix, bool) {
	a = a.Unmap().WithZone("")
	if crowded(a) {
		return netip.Prefix{}, false
	}
	if !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return netip.Prefix{}, false
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	return p, err == nil
}

// Unmap is a network of IPv4 as such where it is written as one of IPv6, such as ::ffff:10.0.0.0/104, in which no address of IPv4 would be.
func Unmap(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p
}

// Whom is what could be blocked for evidence; why says in words for people why nobody is, and is empty otherwise.
func (e Evidence) Whom() (whom netip.Prefix, why string) {
	whom, ok := Whom(e.Source)
	switch {
	case !ok:
		return whom, "its source is no address of a single host"
	case !e.Proves:
		return whom, "its evidence does not prove the source: anybody can write any source into such a packet"
	case !e.Grave:
		return whom, "it is of severity low or info"
	case e.Known:
		return whom, "somebody logged in from there before the attack began"
	}
	return whom, ""
}

// Decide blocks who is to be blocked. What it returns says why not, in a word for people; the block is nil then. Needed are addresses that the host needs at
// this moment: its own, its gateways and name servers, and those from which somebody is logged in.
func (l *List) Decide(e Evidence, p Policy, needed []netip.Prefix, now time.Time) (b *Block, why string) {
	whom, why := e.Whom()
	switch {
	case why != "":
		return nil, why
	case l.Off:
		return nil, "blocking is switched off"
	}
	for _, n := range needed {
		if Unmap(n).Overlaps(whom) {
			return nil, fmt.Sprintf("this host needs %s", n)
		}
	}
	for _, n := range p.Never {
		if Unmap(n).Overlaps(whom) {
			return nil, fmt.Sprintf("%s is never blocked", n)
		}
	}
	if !slices.Contains(p.Enforce, e.Unit) {
		return nil, "observed only"
	}
	l.Expire(now)
	for i := range l.Blocks {
		if l.Blocks[i].Prefix.Overlaps(whom) {
			return nil, "blocked already"
		}
	}
	if why := p.Full(len(l.Blocks)); why != "" {
		return nil, why
	}
	past := l.Past[whom]
	if now.Sub(past.Last) > Memory { // an address may be somebody else's by now
		past = Past{}
	}
	b = &Block{Prefix: whom, Unit: e.Unit, Reason: e.Reason, By: "watch", From: now, Until: now.Add(p.Span(past.Times))}
	l.Blocks = append(l.Blocks, *b)
	l.remember(whom, past.Times+1, now)
	return b, ""
}

// Filled is the policy with the defaults where it says nothing, and within the bounds whatever it says.
func (p Policy) Filled() Policy {
	if p.First <= 0 {
		p.First = DefaultFirst
	}
	if p.Longest <= 0 {
		p.Longest = DefaultLongest
	}
	if p.Most <= 0 {
		p.Most = DefaultMost
	}
	p.Longest, p.Most = min(p.Longest, HardLongest), min(p.Most, HardMost)
	return p
}

// Full says in words for people that with so many blocks there is room for no more; else it is empty.
func (p Policy) Full(blocks int) string {
	if blocks >= p.Filled().Most {
		return fmt.Sprintf("%d are blocked already, the most that are allowed", blocks)
	}
	return ""
}

// Span is how long the block after n earlier ones lasts.
func (p Policy) Span(n int) time.Duration {
	p = p.Filled()
	d, longest := p.First, p.Longest
	for ; n > 0 && d < longest; n-- {
		d *= grow
	}
	return min(d, longest)
}

func (l *List) remember(whom netip.Prefix, times int, now time.Time) {
	if l.Past == nil {
		l.Past = make(map[netip.Prefix]Past)
	}
	if len(l.Past) >= maxRemembered {
		for k, v := range l.Past {
			if now.Sub(v.Last) > Memory || len(l.Past) >= maxRemembered {
				delete(l.Past, k)
			}
		}
	}
	l.Past[whom] = Past{times, now}
}

// Expire drops blocks that have ended, and says which.
func (l *List) Expire(now time.Time) (ended []Block) {
	l.Blocks = slices.DeleteFunc(l.Blocks, func(b Block) bool {
		if now.Before(b.Until) {
			return false
		}
		ended = append(ended, b)
		return true
	})
	return ended
}

// Lift ends the block of an address or network before its time, and forgets what it had been blocked for. Kinds: NotFound.
func (l *List) Lift(what netip.Prefix) ([]Block, error) {
	var lifted []Block
	l.Blocks = slices.DeleteFunc(l.Blocks, func(b Block) bool {
		if !b.Prefix.Overlaps(what) {
			return false
		}
		lifted = append(lifted, b)
		return true
	})
	if len(lifted) == 0 {
		return nil, fault.New(fault.NotFound, "address: nothing of %s is blocked.", what)
	}
	for _, b := range lifted {
		delete(l.Past, b.Prefix)
	}
	return lifted, nil
}

// Clear ends all blocks; with off, nobody is blocked until On.
func (l *List) Clear(off bool) []Block {
	all := l.Blocks
	l.Blocks, l.Off = nil, off
	return all
}

// Bound refuses a list that nobody who keeps these rules writes. Whatever it says, nothing lasts for ever, and no crowd is shut out: lists of before may say so.
func (l *List) Bound(now time.Time) error {
	if len(l.Blocks) > HardMost || len(l.Past) > maxRemembered {
		return fmt.Errorf("more than %d blocks", HardMost)
	}
	l.Blocks = slices.DeleteFunc(l.Blocks, func(b Block) bool { return crowded(b.Prefix.Addr()) })
	for i := range l.Blocks {
		b := &l.Blocks[i]
		whom, ok := Whom(b.Prefix.Addr())
		if !ok || whom != b.Prefix {
			return fmt.Errorf("%v is nothing that is blocked", b.Prefix)
		}
		if latest := now.Add(HardLongest); b.Until.After(latest) {
			b.Until = latest
		}
		if b.From.After(now.Add(time.Hour)) { // the clock was ahead, and would not come to its end for as long
			b.Until = now
		}
	}
	return nil
}
