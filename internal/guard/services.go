package guard

import (
	"fmt"
	"net/netip"
	"strings"
)

// Services is the part of Host that tells how services for machines are configured.
type Services interface {
	// DNS are the BIND servers whose configuration is on the host, of a product or beside it.
	DNS(p Product) ([]DNS, error)
	// Proxies are Squid's configurations, NTP those of chrony, likewise.
	Proxies(p Product) ([]Proxy, error)
	NTP(p Product) ([]NTP, error)
}

// DNS is a configuration of BIND. What names a list of addresses is such a list's statements, in order: nil where it is not set.
type DNS struct {
	Config string
	Scopes []DNSScope // the views, or the one that there is without
	Zones  []DNSZone
	ACLs   map[string][]string
	Err    error // what could not be read: the rest is then not all
}

// DNSScope is a view, or all where there are none.
type DNSScope struct {
	View       string // "" for all
	Recursion  string // yes, no, or "" where it is not set
	Validation string // dnssec-validation; "" where it is not set
	Query      []string
	QueryCache []string
	Recurse    []string // allow-recursion
}

// DNSZone is a zone that the server itself holds.
type DNSZone struct {
	Name     string
	File     string // that says so, and where
	Line     int
	Transfer []string // allow-transfer, the zone's or what it has from its view or the options
}

// Stranger tells whether a list of BIND's matches an address that it does not name, such as one of the internet, of IPv4 or of IPv6. The first
// statement that matches decides, and none of the local words do. Of statements that contradict each other BIND makes what its tree of
// addresses keeps, so that is an error, as what is not understood is. Source: BIND's reference manual, "address_match_list"; named itself,
// which a test asks.
func (d DNS) Stranger(list []string) (bool, error) {
	for _, six := range []bool{false, true} {
		if open, err := d.stranger(list, six, 0, map[string]bool{}); open || err != nil {
			return open, err
		}
	}
	return false, nil
}

// stranger looks at each named list once: lists that name each other many times would else be looked at without end.
func (d DNS) stranger(list []string, six bool, depth int, named map[string]bool) (open bool, err error) {
	const deepest = 10
	if depth > deepest {
		return false, fmt.Errorf("its lists name each other more than %d deep", deepest)
	}
	decided := false
	for _, word := range list {
		name, not := strings.CutPrefix(word, "!")
		matches := false
		switch inner, known := d.ACLs[name]; {
		case name == "any":
			matches = true
		case name == "none": // is what !any is
			matches, not = true, !not
		case name == "localhost", name == "localnets", strings.HasPrefix(name, "key "):
		case known:
			var seen bool
			if matches, seen = named[name]; !seen {
				if matches, err = d.stranger(inner, six, depth+1, named); err != nil {
					return false, err
				}
				named[name] = matches
			}
		default:
			p, err := netip.ParsePrefix(name)
			if _, single := netip.ParseAddr(name); err != nil && single != nil {
				return false, fmt.Errorf("it has %q, which is neither a network nor a list that is known", Show(name))
			}
			matches = err == nil && Wide(p) && p.Addr().Is6() == six
		}
		if !matches {
			continue
		}
		if decided && open == not {
			return false, fmt.Errorf("its statements contradict each other: %q", Show(strings.Join(list, "; ")))
		}
		open, decided = !not, true
	}
	return open, nil
}

// Proxy is a configuration of Squid.
type Proxy struct {
	Config string
	Rules  []ProxyRule
	ACLs   map[string][]ProxyACL
	Err    error
}

// ProxyRule is a line http_access.
type ProxyRule struct {
	Line  int
	Allow bool
	ACLs  []string // all have to match; "!" before a name is its opposite
}

// ProxyACL is a line acl.
type ProxyACL struct {
	Kind   string // src, port and so on
	Values []string
}

// NTP is a configuration of chrony.
type NTP struct {
	Config   string
	Allow    []NTPRule // who may ask for the time; the narrowest rule that holds decides
	Commands []NTPRule // who may ask the server about itself
	Bind     []string  // addresses that commands are taken at; none for the loopback alone
	Err      error
}

// NTPRule is a line allow or deny.
type NTPRule struct {
	File  string
	Line  int
	Allow bool
	From  netip.Prefix // not valid for all
	Name  string       // of a host, where it is no network
}
