package guard

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// matching is whether a list matches some request of a stranger.
type matching int

const (
	never matching = iota
	sometimes
	always
)

// logins are kinds of lists by which Squid has somebody say who he is. Source: squid.conf.documented, acl.
var logins = []string{"proxy_auth", "proxy_auth_regex", "ident", "ident_regex", "ext_user", "ext_user_regex", "user_cert", "ca_cert", "external"}

// Open tells by which rule a stranger, an address that no list names, may use the proxy for some request: its index, or -1 where none lets
// him; len(Rules) where no rule says so and the last forbids, since what no rule matches is then allowed. Source: squid.conf.documented,
// http_access: the first rule whose lists all match decides, else the opposite of the last.
func (p Proxy) Open() (rule int, err error) {
	for i, r := range p.Rules {
		m := always
		for _, name := range r.ACLs {
			one, bad := p.acl(name)
			if bad != nil {
				return -1, bad
			}
			m = min(m, one)
		}
		if r.Allow && m != never {
			return i, nil
		}
		if !r.Allow && m == always {
			return -1, nil
		}
	}
	if n := len(p.Rules); n > 0 && !p.Rules[n-1].Allow {
		return n, nil
	}
	return -1, nil
}

func (p Proxy) acl(name string) (m matching, err error) {
	name, not := strings.CutPrefix(name, "!")
	lists, known := p.ACLs[name]
	switch {
	case known:
		for _, l := range lists { // lines of a name add up
			one, bad := l.stranger()
			if bad != nil {
				return never, bad
			}
			m = max(m, one)
		}
	case name == "all":
		m = always
	case name == "localhost":
		m = never
	case slices.Contains([]string{"manager", "to_localhost", "to_linklocal", "CONNECT"}, name):
		m = sometimes
	default:
		return never, fmt.Errorf("a rule names the list %q, which there is none of", Show(name))
	}
	if not {
		m = always - m
	}
	return m, nil
}

func (a ProxyACL) stranger() (matching, error) {
	if slices.Contains(logins, a.Kind) {
		return never, nil
	}
	if a.Kind != "src" {
		return sometimes, nil // what is asked for, and when: there is such a request
	}
	m := never
	for _, v := range a.Values {
		one, err := strangersIn(v)
		if err != nil {
			return never, err
		}
		m = max(m, one)
	}
	return m, nil
}

// strangersIn tells whether strangers are among the addresses of a value of the kind src. Source: squid.conf.documented, acl: an address, a
// network by bits or a mask, or the first and last of a range with either behind it.
func strangersIn(v string) (matching, error) {
	switch v {
	case "all":
		return always, nil
	case "ipv4", "ipv6":
		return sometimes, nil
	}
	bad := fmt.Errorf("a list has the address %q, which is none", Show(v))
	text, bits, masked := strings.Cut(v, "/")
	first, last, between := strings.Cut(text, "-")
	from, err := netip.ParseAddr(first)
	if err != nil || from.Zone() != "" {
		return never, bad
	}
	n := from.BitLen()
	if mask, err := netip.ParseAddr(bits); masked && err == nil {
		for n = 0; n < 8 && mask.AsSlice()[0]<<n&0x80 != 0; n++ { // more than the first byte's do not matter
		}
	} else if masked {
		if n, err = strconv.Atoi(bits); err != nil || n < 0 || n > from.BitLen() {
			return never, bad
		}
	}
	if between {
		to, err := netip.ParseAddr(last)
		if err != nil || to.Is6() != from.Is6() || to.Zone() != "" {
			return never, bad
		}
		for !netip.PrefixFrom(from, n).Masked().Contains(to) { // until it is the network that both are in
			n--
		}
	}
	switch {
	case n == 0 && !between:
		return always, nil
	case Wide(netip.PrefixFrom(from, n)):
		return sometimes, nil
	}
	return never, nil
}

// Anybody tells whether rules let an address in that no rule names, or that only a wide one does, and by which. Source: chrony.conf(5), allow:
// the narrowest rule decides, and without one nobody is let in.
func Anybody(rules []NTPRule) (NTPRule, bool) {
	var all, wide NTPRule
	for _, r := range rules { // of two that are for all the later one holds
		switch {
		case r.Name == "" && (!r.From.IsValid() || r.From.Bits() == 0):
			all = r
		case r.Allow && Wide(r.From):
			wide = r
		}
	}
	if all.Allow {
		return all, true
	}
	return wide, wide.Allow
}
