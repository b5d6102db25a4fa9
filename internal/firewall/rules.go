// Package firewall says what the rules of Linux's packet filter do with a new connection to this host: let it in, keep it out, or that this
// cannot be told. It is pure: it reads what nft and iptables-save print (ParseNFT, ParseIPTables), and runs nothing.
//
// What it does not understand of a rule may match or not, so that a rule can only make an answer less certain, never wrong. Start at
// Packet, then Ruleset.Judge.
//
// Sources: nft(8), libnftables-json(5), iptables(8), iptables-extensions(8); the kernel's include/uapi/linux/netfilter.h for the hooks.
package firewall

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
)

// Ruleset is all that a packet may meet. It is not changed once it is made, and safe for concurrent use then.
type Ruleset struct {
	Chains map[string]*Chain // by what they are called in rules' targets: family, table and name
}

// Chain is a list of rules. One with a hook is met by packets, the others only by jumps.
type Chain struct {
	Name     string // such as "inet filter input"
	Family   string // ip, ip6, inet, bridge, netdev
	Hook     string // such as input; "" for none
	Nat      bool   // it is met to translate addresses, not to filter
	Priority int
	Devices  []string // of a chain at ingress
	Policy   Kind     // Accept or Drop
	Rules    []Rule
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
	Mark
	Flags
	Local  // what kind of address the destination is to this host
	Remote // what kind of address the source is
	Cast   // how the frame was addressed
	fields // how many there are
)

// Value is any field's value, such that values of one field compare as their bytes do: an address (IPv4 as ::ffff:a.b.c.d), a number in
// the last bytes, or a device's name, which has at most 15 (IFNAMSIZ of linux/if.h).
type Value [16]byte

// Number is a number as a value.
func Number(n uint64) (v Value) {
	binary.BigEndian.PutUint64(v[8:], n)
	return v
}

func (v Value) number() uint64 { return binary.BigEndian.Uint64(v[8:]) }

// Address is an address as a value. A zone is left out.
func Address(a netip.Addr) Value { return a.As16() }

// Name is a device's name as a value.
func Name(s string) (v Value) {
	copy(v[:15], s)
	return v
}

// Range is all values from Lo to Hi, both included.
type Range struct{ Lo, Hi Value }

func one(v Value) Range { return Range{v, v} }

func prefix(p netip.Prefix) Range {
	r := one(Address(p.Addr()))
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	for i := bits; i < 128; i++ {
		r.Lo[i/8] &^= 0x80 >> (i % 8)
		r.Hi[i/8] |= 0x80 >> (i % 8)
	}
	return r
}

// begins is every name that begins with s.
func begins(s string) Range {
	r := one(Name(s))
	for i := min(len(s), 15); i < 15; i++ {
		r.Hi[i] = 0xff
	}
	return r
}

// Set is what a match compares with.
type Set struct {
	ranges []Range   // of one field, in order and apart
	tuples [][]Range // of several
	vague  bool      // some of it is not understood
}

// newSet makes a set of one field's ranges.
func newSet(list []Range) *Set {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Range) int { return bytes.Compare(a.Lo[:], b.Lo[:]) })
	s := &Set{}
	for _, r := range list {
		if n := len(s.ranges); n > 0 && bytes.Compare(r.Lo[:], s.ranges[n-1].Hi[:]) <= 0 {
			if bytes.Compare(r.Hi[:], s.ranges[n-1].Hi[:]) > 0 {
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
	i, _ := slices.BinarySearchFunc(list, r.Lo, func(e Range, lo Value) int { return bytes.Compare(e.Hi[:], lo[:]) })
	switch {
	case i == len(list) || bytes.Compare(list[i].Lo[:], r.Hi[:]) > 0:
		return no
	case bytes.Compare(list[i].Lo[:], r.Lo[:]) <= 0 && bytes.Compare(r.Hi[:], list[i].Hi[:]) <= 0:
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
