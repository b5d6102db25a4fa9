package catalog

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/firewall"
	"github.com/metalward/metalward/internal/guard"
)

// view is a host's network as the checks of ports look at it.
type view struct {
	guard.Network
	product   guard.Product
	role      guard.Role
	strangers map[bool]netip.Addr // by whether it is of IPv6; the zero Addr where none could be found
}

// look asks the host for its network. Where nothing is known of it, it says so instead.
func look(h guard.Host, p guard.Product) (*view, []guard.Observation) {
	n, err := h.Network()
	if err != nil {
		return nil, []guard.Observation{guard.Blind("network", err)}
	}
	v := &view{Network: n, product: p, role: roleOf(h, p), strangers: map[bool]netip.Addr{}}
	if n.Rules != nil {
		v.strangers[false], _ = n.Rules.Stranger(false)
		v.strangers[true], _ = n.Rules.Stranger(true)
	}
	return v, nil
}

// errNoRules is why nothing can be said without rules.
func (v *view) errNoRules() error {
	if v.RulesErr != nil {
		return v.RulesErr
	}
	return errors.New("the rules of the firewall are not known")
}

func (v *view) row(l guard.Listener) (row, bool) { return rowOf(v.product, v.role, l) }

// name is a listener as an operator knows it. Its process's number is left out: it is another after each start.
func name(l guard.Listener) string {
	by := "process unknown: root may see it"
	switch {
	case l.Process != "" && l.Unit != "":
		by = l.Process + " of " + l.Unit
	case l.Process != "":
		by = l.Process
	case l.User != "":
		by += "; user " + l.User
	}
	return fmt.Sprintf("%s %s (%s)", l.Protocol, l.Address, guard.Show(by))
}

// way is one by which a listener may be reached.
type way struct {
	guard.Interface
	addr netip.Addr
}

func (w way) String() string { return fmt.Sprintf("%s on %s", w.addr, guard.Show(w.Name)) }

// ways are those by which packets come to a listener from other hosts, one for each device and family. Addresses of the link alone are not
// among them: strangers are not on it.
func (v *view) ways(l guard.Listener) (list []way) {
	at := l.Address.Addr().WithZone("")
	// IPv6's "any" takes IPv4, too, but not beside a socket of IPv4's own.
	alone := slices.ContainsFunc(v.Listeners, func(o guard.Listener) bool {
		return o.Protocol == l.Protocol && o.Address.Port() == l.Address.Port() && o.Address.Addr() == netip.IPv4Unspecified()
	})
	for _, i := range v.Interfaces {
		for _, v6 := range []bool{false, true} {
			for _, p := range i.Prefixes {
				a := p.Addr().WithZone("")
				if a.Is6() != v6 || a.IsLinkLocalUnicast() || a.IsLoopback() {
					continue
				}
				if at == a || at.IsUnspecified() && (at.Is6() && (v6 || !alone) || at.Is4() && !v6) {
					list = append(list, way{i, a})
					break
				}
			}
		}
	}
	return list
}

var protocols = map[string]uint8{"tcp": firewall.TCP, "udp": firewall.UDP}

// judge tells what becomes of a packet that comes such a way. from is the zero Addr for any source.
func (v *view) judge(l guard.Listener, w way, from netip.Addr) firewall.Answer {
	return v.Rules.Judge(firewall.Packet{Protocol: protocols[l.Protocol], Source: from, Destination: w.addr, Port: l.Address.Port(), Device: w.Name})
}

// seen is what strangers come to at a listener.
type seen struct {
	verdict  firewall.Verdict // Accepted if any way is open, CannotTell if that is not known of one, else Dropped
	evidence []string
	open     []way
}

// strange lets a stranger knock at a listener by all ways.
func (v *view) strange(l guard.Listener) seen {
	s := seen{verdict: firewall.Dropped}
	for _, w := range v.ways(l) {
		a := v.judge(l, w, v.strangers[w.addr.Is6()])
		switch a.Verdict {
		case firewall.Accepted:
			if s.verdict != firewall.Accepted {
				s.evidence = nil
			}
			s.verdict = firewall.Accepted
			s.open = append(s.open, w)
		case firewall.CannotTell:
			if s.verdict == firewall.Accepted {
				continue
			}
			if s.verdict != firewall.CannotTell {
				s.evidence = nil
			}
			s.verdict = firewall.CannotTell
		default:
			if s.verdict != firewall.Dropped {
				continue
			}
		}
		s.evidence = append(s.evidence, fmt.Sprintf("A stranger to %s: %s (%s).", w, a.Verdict, reasons(a)))
	}
	const few = 4 // ways that are written out
	if n := len(s.evidence); n > few {
		s.evidence = append(s.evidence[:few], fmt.Sprintf("And by %d more ways.", n-few))
	}
	return s
}

func reasons(a firewall.Answer) string { return guard.Show(strings.Join(a.Why, "; ")) }

// each judges those listeners that are wanted by what strangers come to there. wrong makes what is found of an open one.
func (v *view) each(want func(guard.Listener, row, bool) bool, wrong func(guard.Listener, row, seen) guard.Observation) (list []guard.Observation) {
	for _, l := range v.Listeners {
		r, known := v.row(l)
		if !want(l, r, known) {
			continue
		}
		o := guard.Observation{State: guard.Pass, Subject: name(l)}
		if len(v.ways(l)) == 0 {
			o.Evidence = []string{name(l) + " listens where no other host comes."}
			list = append(list, o)
			continue
		}
		if v.Rules == nil {
			list = append(list, guard.Blind(name(l), v.errNoRules()))
			continue
		}
		switch s := v.strange(l); s.verdict {
		case firewall.Accepted:
			o = wrong(l, r, s)
			o.Subject = name(l)
		case firewall.CannotTell:
			o.State, o.Evidence = guard.Unchecked, s.evidence
		default:
			o.Evidence = s.evidence
		}
		list = append(list, o)
	}
	return same(list)
}

// merge makes one of those that have the same fix, so that it is done once.
func merge(list []guard.Observation) (out []guard.Observation) {
	for _, o := range list {
		i := slices.IndexFunc(out, func(p guard.Observation) bool {
			return p.State == o.State && len(o.Fix) > 0 && slices.Equal(p.Fix, o.Fix)
		})
		if i < 0 {
			out = append(out, o)
			continue
		}
		out[i].Subject += ", " + o.Subject
		for _, e := range o.Evidence {
			if !slices.Contains(out[i].Evidence, e) {
				out[i].Evidence = append(out[i].Evidence, e)
			}
		}
	}
	return out
}

// same leaves out what has been said: a server may listen at one address with several sockets.
func same(list []guard.Observation) []guard.Observation {
	return slices.CompactFunc(list, func(a, b guard.Observation) bool { return a.Subject == b.Subject && a.State == b.State })
}
