package firewall

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Packet is the first one of a new connection to this host, or a datagram that belongs to none: not fragmented, with no options or
// extension headers, correctly summed, its source a unicast address that this host would answer by the same device. It comes after a long
// silence, so that no limit of rates or of connections has been met, and from a sender that is on no list that fills itself.
type Packet struct {
	Protocol    uint8      // TCP or UDP
	Source      netip.Addr // the zero Addr for "whatever it is"
	Destination netip.Addr // an address of this host; its family is the packet's
	Port        uint16
	Device      string // where it comes in
}

// The protocols. Source: IANA's protocol numbers.
const (
	TCP = 6
	UDP = 17
)

// Verdict is what becomes of a packet.
type Verdict uint8

// The verdicts.
const (
	CannotTell Verdict = iota
	Accepted
	Dropped
)

func (v Verdict) String() string { return [...]string{"cannot tell", "accepted", "dropped"}[v] }

// Answer is a verdict with its reasons.
type Answer struct {
	Verdict Verdict
	// Why names the rules or policies that decided, in order; where it cannot be told, those that are not understood.
	Why []string
	// Logged means that a rule on the way certainly logs it, Unlogged that none does. Both false: it cannot be told.
	Logged, Unlogged bool
}

// Limits of a walk: the kernel allows 16 jumps deep in nftables (NFT_JUMP_STACK_SIZE); legacy iptables has no number.
const (
	maxJumps = 64
	maxTries = 2_000_000 // rules that one packet is held against: jumps can multiply them
	maxWhy   = 3
)

// ways is a set of what may happen at a chain.
type ways uint8

const (
	accepts ways = 1 << iota
	drops
	next   // goes on with the next rule
	leaves // goes back to whoever jumped here, or to the policy
)

// fact is what is known of a packet's field.
type fact struct {
	is    Range
	known bool
}

// place is a rule, or with none a chain's policy.
type place struct {
	chain *Chain
	rule  *Rule
}

func (p place) String() string {
	if p.rule == nil {
		return fmt.Sprintf("%s: policy %s", p.chain.Name, map[bool]string{true: "drop", false: "accept"}[p.chain.Policy == Drop])
	}
	return p.rule.name(p.chain)
}

// doubt is what is not certain, and where.
type doubt struct {
	place
	format string // of the place and of what
	what   string
}

type walk struct {
	*Ruleset
	fields [fields]fact
	v6     bool
	tries  int
	log    truth
	by     place   // who decided last
	doubts []doubt // why it is not certain
	lost   bool    // a limit was met

	untracked bool // a rule may have said so
}

// connection states as the bits of ct(8) in nft's "ct state": only that there are different numbers matters here.
var states = map[string]uint64{"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}

// Numbers of address types. Source: linux/rtnetlink.h.
var kinds = map[string]uint64{"unspec": 0, "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6, "unreachable": 7, "prohibit": 8}

// flags of TCP. Source: RFC 9293, section 3.1.
var flags = map[string]uint64{"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}

// Families, by numbers of their own.
const family4, family6 = 4, 6

// maxKnown is how many answers a Ruleset remembers: a host has some hundred listeners, a few devices and two families.
const maxKnown = 100_000

// Judge tells what becomes of a packet, and remembers it.
func (rs *Ruleset) Judge(p Packet) Answer {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.known == nil {
		rs.known = map[Packet]Answer{}
		for _, c := range rs.Chains {
			glancing(c)
		}
	}
	a, ok := rs.known[p]
	if !ok {
		a = rs.judge(p)
		if len(rs.known) < maxKnown {
			rs.known[p] = a
		}
	}
	return a
}

// judge walks the way: every chain that it meets at ingress, before routing and on its way to this host has to accept it.
func (rs *Ruleset) judge(p Packet) Answer {
	w := &walk{Ruleset: rs, v6: p.Destination.Is6() && !p.Destination.Is4In6()}
	know := func(f Field, lo, hi Value) { w.fields[f] = fact{Range{lo, hi}, true} }
	number := func(f Field, n uint64) { know(f, Number(n), Number(n)) }
	number(Family, map[bool]uint64{false: family4, true: family6}[w.v6])
	number(Protocol, uint64(p.Protocol))
	number(Port, uint64(p.Port))
	know(SourcePort, Number(32768), Number(60999)) // net.ipv4.ip_local_port_range of Linux; others' are within or above
	know(Destination, Address(p.Destination), Address(p.Destination))
	if p.Source.IsValid() {
		know(Source, Address(p.Source), Address(p.Source))
	} else {
		all := everyone(w.v6)
		know(Source, all.Lo, all.Hi)
	}
	know(Device, Name(p.Device), Name(p.Device))
	number(Status, 0)
	number(Mark, 0)
	if p.Protocol == TCP {
		number(Flags, flags["syn"])
	}
	number(Local, kinds["local"])
	number(Remote, kinds["unicast"])
	number(Cast, 0)
	return w.hooks(p)
}

// path is the order of the hooks to a process of this host.
var path = []string{"ingress", "prerouting", "input"}

// base are the chains at those hooks, in order.
func (rs *Ruleset) base() (list []*Chain) {
	for _, c := range rs.Chains {
		if slices.Contains(path, c.Hook) {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *Chain) int {
		return cmp.Or(cmp.Compare(slices.Index(path, a.Hook), slices.Index(path, b.Hook)), cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Name, b.Name))
	})
	return list
}

// Empty reports whether nothing filters what comes in: no chain at the hooks has a rule, or a policy other than to accept.
func (rs *Ruleset) Empty() bool {
	return !slices.ContainsFunc(rs.base(), func(c *Chain) bool { return c.Policy == Drop || len(c.Rules) > 0 })
}

func (w *walk) hooks(p Packet) Answer {
	certain, why := true, []string{}
	for _, c := range w.base() {
		met := w.meets(c, p)
		if met == no {
			continue
		}
		w.by = place{c, nil}
		w.track(c)
		out := w.chain(c, 0, met == yes)
		if out&leaves != 0 {
			out &^= leaves
			if c.Policy == Drop {
				out |= drops
			} else {
				out |= accepts
			}
			if out == drops || out == accepts {
				w.by = place{c, nil}
			}
		}
		switch {
		case met == maybe && out != accepts:
			w.doubt(c, nil, "%s: whether the packet passes there is not known", "")
			certain = false
		case out == drops:
			return w.answer(Dropped, []string{w.by.String()})
		case out != accepts:
			certain = false
		case len(c.Rules) > 0 && !c.Nat:
			why = append(why, w.by.String())
		}
	}
	if !certain || len(w.doubts) > 0 && w.redirected() {
		return w.answer(CannotTell, w.reasons())
	}
	if len(why) == 0 {
		why = []string{"no rule is about it"}
	}
	return w.answer(Accepted, why)
}

// conntrack's priority before routing: what comes earlier sees no state of a connection, which is called invalid. Source:
// linux/netfilter_ipv4.h, NF_IP_PRI_CONNTRACK; the kernel's net/netfilter/nft_ct.c.
const conntrack = -200

// track tells the state that a chain sees, unless a rule has said that there will be none.
func (w *walk) track(c *Chain) {
	switch early := c.Hook == "ingress" || c.Hook == "prerouting" && c.Priority <= conntrack; {
	case w.untracked:
	case !early:
		w.fields[State] = fact{one(Number(states["new"])), true}
	default:
		w.fields[State] = fact{one(Number(states["invalid"])), c.Hook == "ingress" || c.Priority < conntrack}
	}
}

// elsewhere begins the doubts that a translation of addresses makes; they hold even when all chains accept.
const elsewhere = "it is sent elsewhere by %s"

func (w *walk) redirected() bool {
	return slices.ContainsFunc(w.doubts, func(d doubt) bool { return d.format == elsewhere })
}

func (w *walk) answer(v Verdict, why []string) Answer {
	return Answer{v, slices.Clip(why), w.log == yes, w.log == no}
}

// meets tells whether a packet comes to a chain at a hook at all.
func (w *walk) meets(c *Chain, p Packet) truth {
	switch c.Family {
	case "ip":
		if w.v6 {
			return no
		}
	case "ip6":
		if !w.v6 {
			return no
		}
	case "bridge":
		return maybe // if the device is a port of a bridge
	}
	if c.Hook != "ingress" {
		return yes
	}
	switch {
	case len(c.Devices) == 0:
		return maybe
	case slices.Contains(c.Devices, p.Device):
		return yes
	}
	return no
}

func (w *walk) doubt(c *Chain, r *Rule, format, what string) {
	d := doubt{place{c, r}, format, what}
	if len(w.doubts) < maxWhy && !slices.Contains(w.doubts, d) {
		w.doubts = append(w.doubts, d)
	}
}

func (w *walk) reasons() (list []string) {
	for _, d := range w.doubts {
		where := d.chain.Name
		if d.rule != nil {
			where = d.place.String()
		}
		s := fmt.Sprintf(d.format, where)
		if d.what != "" {
			s += ": " + d.what
		}
		list = append(list, s)
	}
	return list
}

// giveUp ends the walk: everything may happen.
func (w *walk) giveUp(c *Chain, why string) ways {
	if !w.lost {
		w.doubts = append(w.doubts[:min(len(w.doubts), maxWhy-1)], doubt{place{c, nil}, "%s", why})
		w.lost = true
	}
	return accepts | drops | leaves
}

// chain walks through a chain's rules. sure means that the packet certainly comes here. What does not end here leaves.
func (w *walk) chain(c *Chain, depth int, sure bool) (out ways) {
	if depth > maxJumps {
		return w.giveUp(c, "the jumps are too deep")
	}
	for i := range c.Rules {
		if c.glances[i].other(&w.fields) {
			continue
		}
		r := &c.Rules[i]
		if w.tries++; w.tries > maxTries || w.lost {
			return w.giveUp(c, "there are too many rules on the way")
		}
		match, unclear := w.matches(r)
		if match == no {
			continue
		}
		certainly := sure && match == yes
		w.effects(r, certainly)
		var may ways
		if len(r.Cases) > 0 {
			may = w.cases(r, c, depth, certainly)
		} else {
			may = w.act(r.Action, r, c, depth, certainly)
		}
		if match == maybe && may != next {
			w.doubt(c, r, "%s", unclear)
			may |= next
		}
		out |= may &^ next
		if may&next == 0 {
			return out
		}
		sure = sure && may == next
	}
	return out | leaves
}

// glance is one match of a rule, that often tells that the rule is about something else: thousands lie close together in memory, where
// rules do not.
type glance struct {
	field Field // Opaque if there is none such
	not   bool
	is    Range
}

// other reports whether the rule certainly does not match.
func (g *glance) other(known *[fields]fact) bool {
	f := &known[g.field]
	if g.field == Opaque || !f.known {
		return false
	}
	if g.not { // all of the packet's is what the rule leaves out
		return !f.is.Lo.less(g.is.Lo) && !g.is.Hi.less(f.is.Hi)
	}
	return f.is.Hi.less(g.is.Lo) || g.is.Hi.less(f.is.Lo)
}

// glancing makes a chain's glances: of matches of one range, the one that tells the most rules apart.
func glancing(c *Chain) {
	order := map[Field]int{Port: 3, Source: 2, Device: 1}
	c.glances = make([]glance, len(c.Rules))
	for i := range c.Rules {
		for _, m := range c.Rules[i].Matches {
			g := &c.glances[i]
			if len(m.Fields) == 1 && m.Mask == 0 && m.Set != nil && !m.Set.vague && len(m.Set.ranges) == 1 && (g.field == Opaque || order[m.Fields[0]] > order[g.field]) {
				*g = glance{m.Fields[0], m.Not, m.Set.ranges[0]}
			}
		}
	}
}

// name is a rule as an operator finds it.
func (r *Rule) name(c *Chain) string {
	s := fmt.Sprintf("%s, rule %d", c.Name, r.Number)
	if r.Handle != 0 {
		s += fmt.Sprintf(" (handle %d)", r.Handle)
	}
	if r.Text != "" {
		s += ": " + r.Text
	}
	return s
}

// matches tells whether a rule is for the packet, and if that is not certain, what of it is not.
func (w *walk) matches(r *Rule) (all truth, unclear string) {
	all = yes
	for i := range r.Matches {
		m := &r.Matches[i]
		t := w.match(m)
		if t == no {
			return no, ""
		}
		if t < all {
			all = t
			unclear = cmp.Or(m.What, "whether it matches depends on the packet")
		}
	}
	return all, unclear
}

func (w *walk) match(m *Match) truth {
	if known := &w.fields[m.Fields[0]]; len(m.Fields) == 1 && m.Mask == 0 && known.known && m.Fields[0] != Opaque && !m.Set.vague {
		t := covers(m.Set.ranges, known.is) // nearly all are of this kind
		if m.Not {
			t = t.not()
		}
		return t
	}
	var few [4]Range
	f := few[:0]
	for _, field := range m.Fields {
		known := w.fields[field]
		if field == Opaque || !known.known {
			return maybe
		}
		if m.Mask != 0 {
			if known.is.Lo != known.is.Hi {
				return maybe
			}
			known.is = one(Number(known.is.Lo.lo & m.Mask))
		}
		f = append(f, known.is)
	}
	t := m.Set.has(f)
	if m.Not {
		t = t.not()
	}
	return t
}

// effects are what a rule does besides its verdict.
func (w *walk) effects(r *Rule, certainly bool) {
	switch {
	case r.Logs && certainly:
		w.log = yes
	case r.Logs:
		w.log = max(w.log, maybe)
	}
	if r.Marks {
		w.fields[Mark].known = false
	}
	if r.Untrack {
		w.fields[State] = fact{one(Number(states["untracked"])), certainly}
		w.untracked = true
	}
}

func (w *walk) act(a Action, r *Rule, c *Chain, depth int, certainly bool) ways {
	switch a.Kind {
	case Continue:
		return next
	case Accept:
		w.by = place{c, r}
		return accepts
	case Drop:
		w.by = place{c, r}
		return drops
	case Return:
		return leaves
	case Elsewhere:
		w.doubt(c, r, elsewhere, "")
		w.fields[Status].known = false
		w.by = place{c, r}
		return accepts
	case Jump, Goto:
		to := w.Chains[a.Target]
		if to == nil {
			w.doubt(c, r, "%s", "the chain that it jumps to is not known")
			return accepts | drops | next
		}
		out := w.chain(to, depth+1, certainly)
		if a.Kind == Jump && out&leaves != 0 {
			out = out&^leaves | next
		}
		return out
	default:
		w.doubt(c, r, "%s", "what it does is not understood")
		return accepts | drops | next
	}
}

// cases does what a verdict map says.
func (w *walk) cases(r *Rule, c *Chain, depth int, certainly bool) (out ways) {
	for i := range r.Cases {
		t := w.match(&r.Cases[i].Match)
		if t == no {
			continue
		}
		out |= w.act(r.Cases[i].Action, r, c, depth, certainly && t == yes)
		if t == yes {
			return out
		}
		w.doubt(c, r, "%s", "what it looks up is not known")
	}
	return out | next
}
