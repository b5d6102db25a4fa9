package guard

import (
	"errors"
	"net/netip"

	"github.com/metalward/metalward/internal/firewall"
)

// Network is what is known of a running host's network.
type Network struct {
	Listeners  []Listener
	Interfaces []Interface
	Rules      *firewall.Ruleset // nil if not known
	RulesErr   error             // why the rules, or some of them, are not known
}

// Listener is a socket that others may connect or send to.
type Listener struct {
	Protocol string         // tcp or udp
	Address  netip.AddrPort // the address is unspecified where any of the host's does; that of IPv6 then takes IPv4, too
	UID      uint32         // whose it is
	User     string         // that user's name, "" if the host has none
	PID      int            // of the first process that holds it, 0 if that is not known
	Process  string         // its name, "" if not known
	Unit     string         // systemd's unit of it, "" if not known or none
}

// Interface is a device that packets come in by.
type Interface struct {
	Name     string
	Prefixes []netip.Prefix // its addresses, with the networks that they are in
}

// Wide reports whether strangers are in a network, though it may not be all there is: no private network is wider than 10.0.0.0/8 and
// fc00::/7. Sources: RFC 1918, RFC 4193.
func Wide(p netip.Prefix) bool {
	least := 8
	if p.Addr().Is6() {
		least = 7
	}
	return p.IsValid() && p.Bits() < least
}

// What Host.Connect may end in.
var (
	// ErrRefused means that the other host has answered, and that nothing listens there.
	ErrRefused = errors.New("it answers, and nothing listens there")
	// ErrNotAsked means that nobody has asked to try.
	ErrNotAsked = errors.New("connections are tried only when they are asked for")
	// ErrNoFiles means that nobody has named a file of known flaws.
	ErrNoFiles = errors.New("no file of known flaws was named")
)
