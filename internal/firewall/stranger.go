package firewall

import (
	"encoding/binary"
	"net/netip"
)

// everyone is all addresses of a family.
func everyone(v6 bool) Range {
	if v6 {
		return prefix(netip.MustParsePrefix("::/0"))
	}
	return prefix(netip.MustParsePrefix("0.0.0.0/0"))
}

// strangers are where addresses of the Internet are taken from: unicast ones that are for no special use. Source: IANA's registries of
// special-purpose addresses (RFC 6890) and of unicast assignments.
var strangers = map[bool][]netip.Prefix{
	false: prefixes("8.0.0.0/7", "11.0.0.0/8", "12.0.0.0/6", "16.0.0.0/4", "32.0.0.0/3", "64.0.0.0/3", "128.0.0.0/3", "208.0.0.0/4"),
	true:  prefixes("2400::/6", "2600::/7", "2800::/5", "2a00::/7"),
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// maxProbes is how many addresses are tried in each block; lists of whole countries leave most of the space.
const maxProbes = 4096

// Stranger is an address of the Internet that no rule names, as far as rules name less than a sixteenth of the addresses there are (for
// IPv6, than a /16): what it may do, anybody may. ok is false if none is found.
func (rs *Ruleset) Stranger(v6 bool) (netip.Addr, bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	a, ok := rs.strangers[v6]
	if !ok {
		if a, ok = rs.stranger(v6); ok {
			if rs.strangers == nil {
				rs.strangers = map[bool]netip.Addr{}
			}
			rs.strangers[v6] = a
		}
	}
	return a, ok
}

func (rs *Ruleset) stranger(v6 bool) (a netip.Addr, ok bool) {
	named := newSet(rs.named(Source, func(r Range) bool { return !wide(r) }))
	for try := range maxProbes {
		for _, p := range strangers[v6] {
			if a = probe(p, try); covers(named.ranges, one(Address(a))) == no {
				return a, true
			}
		}
	}
	return netip.Addr{}, false
}

// probe is one of a block's addresses, each try another: multiples of the golden ratio lie evenly.
func probe(p netip.Prefix, try int) netip.Addr {
	const golden = 0x9e3779b97f4a7c15
	x := uint64(try+1) * golden
	r := prefix(p)
	v := Value{r.Lo.hi | x&(r.Lo.hi^r.Hi.hi), r.Lo.lo | (x>>32|x<<32)&(r.Lo.lo^r.Hi.lo)} // the first bits vary the most: IPv4 has its last 32
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], v.hi)
	binary.BigEndian.PutUint64(b[8:], v.lo)
	return netip.AddrFrom16(b).Unmap()
}

// wide reports whether a range of addresses is so large that it stands for the Internet.
func wide(r Range) bool {
	if r.Hi.hi == 0 { // IPv4
		return r.Hi.lo-r.Lo.lo >= 1<<28
	}
	return r.Hi.hi-r.Lo.hi >= 1<<48
}

// Quiet is a port that no rule names, and not one of those in use: what becomes of it is what becomes of all that nobody thought of. ok is
// false if there is none.
func (rs *Ruleset) Quiet(used func(port uint16) bool) (port uint16, ok bool) {
	const few = 1024 // ports that a rule names together; more are a class of them
	named := newSet(rs.named(Port, func(r Range) bool { return r.Hi.lo-r.Lo.lo < few }))
	for p := uint64(20011); p < 1<<16; p += 7 {
		if covers(named.ranges, one(Number(p))) == no && !used(uint16(p)) {
			return uint16(p), true
		}
	}
	return 0, false
}

// named are the ranges of a field that matches have, if they are wanted.
func (rs *Ruleset) named(f Field, want func(Range) bool) (list []Range) {
	seen := map[*Set]bool{}
	add := func(m *Match) {
		if m.Set == nil || seen[m.Set] {
			return
		}
		for i, field := range m.Fields {
			if field != f {
				continue
			}
			seen[m.Set] = true
			if len(m.Fields) == 1 {
				for _, r := range m.Set.ranges {
					if want(r) {
						list = append(list, r)
					}
				}
			}
			for _, t := range m.Set.tuples {
				if want(t[i]) {
					list = append(list, t[i])
				}
			}
		}
	}
	for _, c := range rs.Chains {
		for i := range c.Rules {
			for j := range c.Rules[i].Matches {
				add(&c.Rules[i].Matches[j])
			}
			for j := range c.Rules[i].Cases {
				add(&c.Rules[i].Cases[j].Match)
			}
		}
	}
	return list
}
