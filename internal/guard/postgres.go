package guard

import (
	"net/netip"
	"slices"
	"strings"
)

// Postgres is a PostgreSQL server as its configuration on a host has it.
type Postgres struct {
	Name     string // such as 15/main
	Version  int    // major; 0 where nothing says it
	Config   string // the path of postgresql.conf
	HBA      string // of pg_hba.conf
	Data     string // of the data directory; "" where nothing says it
	Settings map[string]PostgresSetting
	Rules    []HBARule // in the order in which the server tries them
	Err      error     // what could not be read or is no configuration: Settings and Rules are then not all
}

// PostgresSetting is a setting, by its name in small letters.
type PostgresSetting struct {
	Value string
	File  string
	Line  int
}

// Setting is a setting's value, or what it is where nothing sets it.
func (p Postgres) Setting(name, otherwise string) string {
	if s, ok := p.Settings[name]; ok {
		return s.Value
	}
	return otherwise
}

// On reports whether a boolean setting is on. Source: PostgreSQL's documentation, "Setting Parameters": any prefix that is not ambiguous.
func (p Postgres) On(name string, otherwise bool) bool {
	s, ok := p.Settings[name]
	if !ok {
		return otherwise
	}
	v := strings.ToLower(s.Value)
	return v != "" && (v == "on" || v == "1" || strings.HasPrefix("true", v) || strings.HasPrefix("yes", v))
}

// HBARule is a line of pg_hba.conf.
type HBARule struct {
	File      string
	Line      int    // where it begins, from 1
	Type      string // local, host, hostssl, hostnossl, hostgssenc or hostnogssenc
	Databases []HBAName
	Users     []HBAName
	Address   string       // as written, a mask behind it after a slash; "" for local
	From      netip.Prefix // of an address; not valid for local, all, samehost, samenet and names of hosts
	Method    string
	Options   []string // such as clientcert=verify-full
}

// HBAName is a name of a database or user. Quoted, all and the like are names like any other.
type HBAName struct {
	Name   string
	Quoted bool
}

func (n HBAName) is(keyword string) bool { return !n.Quoted && n.Name == keyword }

// String is the rule as a line.
func (r HBARule) String() string {
	list := func(names []HBAName) string {
		words := make([]string, len(names))
		for i, n := range names {
			if words[i] = n.Name; n.Quoted {
				words[i] = `"` + n.Name + `"`
			}
		}
		return strings.Join(words, ",")
	}
	words := append([]string{r.Type, list(r.Databases), list(r.Users)}, r.Address, r.Method)
	return strings.Join(slices.DeleteFunc(append(words, r.Options...), func(s string) bool { return s == "" }), " ")
}

// Reach is from where a rule lets in.
type Reach int

// The reaches, the nearest first.
const (
	BySocket   Reach = iota // a Unix socket
	ByLoopback              // this host's own addresses
	ByNetwork               // other hosts
	ByAnybody               // every address of IPv4 or IPv6, or so many that strangers are among them
)

// Reach tells from where the rule lets in. Names of hosts, samehost and samenet count as what they may at most be.
func (r HBARule) Reach() Reach {
	switch {
	case r.Type == "local":
		return BySocket
	case r.Address == "all", Wide(r.From):
		return ByAnybody
	case r.Address == "samehost", r.Address == "localhost", r.From.IsValid() && r.From.Addr().IsLoopback():
		return ByLoopback
	}
	return ByNetwork
}

// Plain reports whether the rule matches connections that are not encrypted.
func (r HBARule) Plain() bool {
	return r.Type == "host" || r.Type == "hostnossl" || r.Type == "hostnogssenc"
}

// Everybody reports whether the rule is for every user.
func (r HBARule) Everybody() bool {
	return slices.ContainsFunc(r.Users, func(n HBAName) bool { return n.is("all") })
}

// types tells which types of connection a type matches: with TLS, with GSSAPI's encryption, with neither. Source: PostgreSQL's
// documentation, "The pg_hba.conf File".
var types = map[string][]string{"host": {"tls", "gss", "plain"}, "hostssl": {"tls"}, "hostnossl": {"gss", "plain"}, "hostgssenc": {"gss"}, "hostnogssenc": {"tls", "plain"}, "local": {"local"}}

// Covers reports whether whatever o matches is matched by r, too: behind r, o is never tried. It says no where it cannot tell.
func (r HBARule) Covers(o HBARule) bool {
	for _, t := range types[o.Type] {
		if !slices.Contains(types[r.Type], t) {
			return false
		}
	}
	return r.coversAddress(o) && covers(r.Databases, o.Databases, "replication") && covers(r.Users, o.Users, "")
}

func (r HBARule) coversAddress(o HBARule) bool {
	if r.Type == "local" || r.Address == "all" {
		return true
	}
	if r.From.IsValid() {
		return o.From.IsValid() && r.From.Bits() <= o.From.Bits() && r.From.Contains(o.From.Addr())
	}
	return r.Address == o.Address
}

// covers: "all" is every name but one.
func covers(wide, narrow []HBAName, but string) bool {
	all := slices.ContainsFunc(wide, func(n HBAName) bool { return n.is("all") })
	for _, n := range narrow {
		if (!all || but != "" && n.is(but)) && !slices.Contains(wide, n) {
			return false
		}
	}
	return len(narrow) > 0
}

// Decides is the first rule that covers this one, the rule itself if none before does, by its index.
func (p Postgres) Decides(rule int) int {
	for i, r := range p.Rules[:rule] {
		if r.Covers(p.Rules[rule]) {
			return i
		}
	}
	return rule
}

// Abroad reports whether the server listens for other hosts, as far as its configuration says. Source: PostgreSQL's documentation,
// "Connections and Authentication": the default is localhost, and an empty list is none.
func (p Postgres) Abroad() bool {
	for word := range strings.SplitSeq(p.Setting("listen_addresses", "localhost"), ",") {
		word = strings.TrimSpace(word)
		if addr, err := netip.ParseAddr(word); word != "" && word != "localhost" && (err != nil || !addr.IsLoopback()) {
			return true
		}
	}
	return false
}
