// Package firewall says what the rules of Linux's packet filter do with a new connection to this host: let it in, keep it out, or that this
// cannot be told. It is pure: it reads what nft and iptables-save print (ParseNFT, ParseIPTables), and runs nothing.
//
// What it does not understand of a rule may match or not, so that a rule can only make an answer less certain, never wrong. Start at
// Packet, then Ruleset.Judge.
//
// Sources: nft(8), libnftables-json(5), iptables(8), iptables-extensions(8); the kernel's include/uapi/linux/netfilter.h for the hooks.
package firewall

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
)

// Ruleset is all that a packet may meet. Its chains are not changed once it is made; it is safe for concurrent use then, but
// not beside another that Join made of the same chains.
type Ruleset struct {
	Chains map[string]*Chain // by what they are called in rules' targets: family, table and name

	mu        sync.Mutex // guards what is remembered below, and the chains' glances
	known     map[Packet]Answer
	strangers map[bool]netip.Addr // by whether of IPv6
}

// Chain is a list of rules. One with a hook is met by packets, the others only by jumps.
type Chain struct {
	Name     string // such as "inet filter input"
	Family   string // ip, ip6, inet, bridge, netdev
	Hook     string // such as input; "" for none
	Nat      bool   // it is met to translate addresses, not to filter
	Priority int
	Devices  []string // of a chain at ingress; none if they are not known
	Policy   Kind     // Accept or Drop
	Rules    []Rule

	glances []glance // one for each rule, made by the first Judge
}

// Rule does something with a packet that all of its matches are true for.
type Rule struct {
	Number  int    // in its chain, from 1
	Handle  int    // nftables' name for it, 0 for none
	Text    string // as its own tool prints it, if that is known
	Matches []Match
	Logs    bool
	Marks   bool // changes what later matches of marks see
	Untrack bool // the connection will have no state
	Action  Action
	Cases   []Case // of a verdict map: the first that matches is done instead of Action
}

// Match is true for a packet whose fields are in the set.
type Match struct {
	Fields []Field // several for a concatenation
	Mask   uint64  // of a number, before it is compared; 0 for none
	Not    bool
	Set    *Set
	What   string // of an Opaque one, in its tool's words
}

// Case is an entry of a verdict map.
type Case struct {
	Match  Match
	Action Action
}

// Kind is what an action is.
type Kind uint8

// The kinds. Elsewhere sends the packet to another address or port; Unclear may be anything.
const (
	Continue Kind = iota
	Accept
	Drop
	Return
	Jump
	Goto
	Elsewhere
	Unclear
)

// Action is what becomes of a packet.
type Action struct {
	Kind   Kind
	Target string // of Jump and Goto: the chain
}

// Field is what of a packet is looked at.
type Field uint8

// The fields. Opaque is everything else.
const (
	Opaque Field = iota
	Family
	Protocol
	Source
	Destination
	SourcePort
	Port
	Device
	State
	Status // what else is known of its connection: 0, as long as it is not sent elsewhere
	Mark
	Flags
	Local  // what kind of address the destination is to this host
	Remote // what kind of address the source is
	Cast   // how the frame was addressed
	fields // how many there are
)

// Value is any field's value, such that values of one field compare as numbers of 128 bits do: an address (IPv4 as ::ffff:a.b.c.d), a
// number, or a device's name, which has at most 15 bytes (IFNAMSIZ of linux/if.h).
type Value struct{ hi, lo uint64 }

func (v Value) less(o Value) bool { return v.hi < o.hi || v.hi == o.hi && v.lo < o.lo }

// Number is a number as a value.
func Number(n uint64) Value { return Value{lo: n} }

func ofBytes(b [16]byte) Value {
	return Value{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// Address is an address as a value. A zone is left out.
func Address(a netip.Addr) Value { return ofBytes(a.As16()) }

// Name is a device's name as a value.
func Name(s string) Value {
	var b [16]byte
	copy(b[:15], s)
	return ofBytes(b)
}

// Range is all values from Lo to Hi, both included.
type Range struct{ Lo, Hi Value }

func one(v Value) Range { return Range{v, v} }

// fixed is all values whose first bits are v's.
func fixed(v Value, bits int) Range {
	free := Value{^uint64(0), ^uint64(0)}
	if bits >= 64 {
		free = Value{0, ^uint64(0) >> (bits - 64)}
	} else {
		free.hi >>= bits
	}
	return Range{Value{v.hi &^ free.hi, v.lo &^ free.lo}, Value{v.hi | free.hi, v.lo | free.lo}}
}

func prefix(p netip.Prefix) Range {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	return fixed(Address(p.Addr()), bits)
}

// begins is every name that begins with s.
func begins(s string) Range { return fixed(Name(s), 8*min(len(s), 15)) }

// Set is what a match compares with.
type Set struct {
	ranges []Range   // of one field, in order and apart
	tuples [][]Range // of several
	vague  bool      // some of it is not understood
}

// newSet makes a set of one field's ranges.
func newSet(list []Range) *Set {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Range) int {
		return cmp.Or(cmp.Compare(a.Lo.hi, b.Lo.hi), cmp.Compare(a.Lo.lo, b.Lo.lo))
	})
	s := &Set{}
	for _, r := range list {
		if n := len(s.ranges); n > 0 && !s.ranges[n-1].Hi.less(r.Lo) {
			if s.ranges[n-1].Hi.less(r.Hi) {
				s.ranges[n-1].Hi = r.Hi
			}
			continue
		}
		s.ranges = append(s.ranges, r)
	}
	return s
}

// truth is a statement's: what is Maybe may be either.
type truth uint8

const (
	no truth = iota
	maybe
	yes
)

func (t truth) not() truth { return yes - t }

// covers tells whether what lies within a range is in a list of ranges that are in order and apart.
func covers(list []Range, r Range) truth {
	i, end := 0, len(list)
	for i < end { // the first that does not end before r begins
		if m := int(uint(i+end) >> 1); list[m].Hi.less(r.Lo) {
			i = m + 1
		} else {
			end = m
		}
	}
	switch {
	case i == len(list) || r.Hi.less(list[i].Lo):
		return no
	case !r.Lo.less(list[i].Lo) && !list[i].Hi.less(r.Hi):
		return yes
	}
	return maybe
}

// has tells whether a packet's fields are in the set.
func (s *Set) has(f []Range) truth {
	found := no
	if len(f) == 1 {
		found = covers(s.ranges, f[0])
	} else {
		for _, t := range s.tuples {
			all := yes
			for i := range f {
				all = min(all, covers(t[i:i+1], f[i]))
			}
			found = max(found, all)
		}
	}
	if s.vague {
		found = max(found, maybe)
	}
	return found
}
