package catalog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/metalward/metalward/internal/firewall"
	"github.com/metalward/metalward/internal/guard"
)

// What the products' documentation and the tools say.
var (
	guidePorts = guard.Reference{Title: "MAAS documentation, MAAS security: firewalls", URL: "https://maas.io/docs/how-to-enhance-maas-security"}
	nftManual  = guard.Reference{Title: "nft(8)", URL: "https://netfilter.org/projects/nftables/manpage.html"}
)

const (
	closing     = "Let the firewall keep strangers from the port, and let in the networks of those who need it. The finding has the commands for what keeps the host's rules: ufw, firewalld or nftables."
	closingRisk = "Who reaches the port from a network that is not let in, over a router or a tunnel, is cut off: look at who is connected first (ss -tn). SSH is not touched."
	opening     = "Take the rules back with the commands beside the fix, the last one first."
	strangers   = "A stranger here is an address of the Internet that no rule names, knocking at each device of the host."
)

// ports are the checks of what listens and of the firewall.
func ports() []*guard.Check {
	all := map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27, guard.Metalward: anyOurs}
	list := []*guard.Check{
		{ID: "ports-database", Title: "Strangers do not reach the database", Severity: guard.High,
			Why: "The database is all that the controller knows, secrets included: who reaches its port can guess passwords, read what goes by without TLS, and use its flaws. " +
				"Only controllers need it. " + strangers,
			Versions: all, References: []guard.Reference{guidePorts, about}, Judge: database5432, Samples: samplesDatabase()},
		{ID: "ports-plain", Title: "Strangers do not reach the plain-text port while TLS is on", Severity: guard.Medium,
			Why: "With TLS on (5443), MAAS still answers 5240 without it: calls of racks, metadata, images and API paths of machines. Machines and racks need it, so that it " +
				"cannot be closed; others do not. " + strangers,
			Versions: map[guard.Product]string{guard.MAASDeb: "3.2 to 3.8", guard.MAASSnap: "3.2 to 3.8"}, References: []guard.Reference{about, source}, Judge: plainOpen, Samples: samplesPlain()},
		{ID: "ports-internal", Title: "Strangers do not reach what controllers use among themselves", Severity: guard.High,
			Why: "MAAS's calls between region and racks (5250 and up) carry passwords of BMCs in plain text in every version, and Temporal's membership (5281 to 5284) asks for no " +
				"password. Until July 2024 regions answered calls before they had asked for the secret (CVE-2024-6107). Metalward's racks come by mutual TLS. " + strangers,
			Versions: all, References: []guard.Reference{guidePorts, source, ours}, Judge: open(controllers, monitors, itself), Samples: samplesOpen("0.0.0.0:5250", "[::]:5250")},
		{ID: "ports-machines", Title: "Strangers do not reach what serves machines", Severity: guard.Medium,
			Why:      "A name server, a proxy or a time server that answers everybody is used against others; TFTP, boot files and metadata tell strangers about the site. " + strangers,
			Versions: all, References: []guard.Reference{guidePorts, source, ours}, Judge: open(machines), Samples: samplesOpen("0.0.0.0:5248", "[::]:5248")},
		{ID: "ports-unknown", Title: "Nothing else answers strangers", Severity: guard.Low,
			Why: "What listens and is none of the product's is one more way in, and often nobody knows of it. " + strangers, Versions: all,
			References: []guard.Reference{guidePorts, source}, Judge: unnamed, Samples: samplesOpen("0.0.0.0:8081", "[::]:8081")},
		{ID: "ports-firewall", Title: "The host has a firewall", Severity: guard.Medium,
			Why:      "Without rules each service that starts is open to whoever has a route to the host.",
			Versions: all, References: []guard.Reference{guidePorts, nftManual}, Judge: anyRules, Samples: samplesFirewall()},
		{ID: "ports-policy", Title: "The firewall refuses what no rule allows", Severity: guard.Medium,
			Why: "Rules that only name what is refused let in all that nobody thought of. What becomes of a packet to a port that no rule names is tried, so that it does not matter " +
				"whether a policy or a last rule refuses it.",
			Versions: all, References: []guard.Reference{guidePorts, nftManual}, Judge: quietPort, Samples: samplesPolicy()},
		{ID: "ports-ipv6", Title: "What IPv4 refuses, IPv6 refuses", Severity: guard.High,
			Why:      "Rules are often written for IPv4 alone, while the same service answers over IPv6, too.",
			Versions: all, References: []guard.Reference{guidePorts, nftManual}, Judge: unlike, Samples: samplesIPv6()},
		{ID: "ports-logging", Title: "The firewall logs what it refuses", Severity: guard.Low,
			Why:      "Without it nobody sees who looks for open ports, nor why a machine does not boot.",
			Versions: all, References: []guard.Reference{guidePorts, nftManual}, Judge: logged, Samples: samplesLogging()},
		{ID: "ports-needed", Title: "The firewall lets in what the product needs", Severity: guard.Medium,
			Why: "MAAS's guide lists ports to open that are not all: with DNS, TFTP, NTP, the proxy, HTTPS or Temporal refused, machines do not boot, and controllers lose each other. " +
				"What is refused to every source, whatever its address, is of no use to anybody.",
			Versions: all, References: []guard.Reference{guidePorts, source, ours}, Judge: admitted, Samples: samplesNeeded()},
		{ID: "ports-outgoing", Role: guard.Rack, Title: "The rack reaches its regions", Severity: guard.Medium,
			Why: "Racks begin all connections to regions. A firewall on the way that lets only some ports through makes a rack that boots machines and then loses them. " +
				"Each port is tried by connecting, when that is asked for (--connect).",
			Versions: all, References: []guard.Reference{guidePorts, source, ours}, Judge: outgoing, Samples: samplesOutgoing()},
	}
	for _, c := range list {
		c.Group = "ports"
		c.Fix, c.Risk, c.Undo = cmp.Or(c.Fix, closing), cmp.Or(c.Risk, closingRisk), cmp.Or(c.Undo, opening)
	}
	return list
}

// weight is a finding's severity: Metalward's own ports ask for certificates, so that its firewall is a second line.
func weight(p guard.Product, s guard.Severity) guard.Severity {
	if p == guard.Metalward {
		return min(s, guard.Low)
	}
	return s
}

// closed is a failure whose fix is to narrow a port.
func (v *view) closed(l guard.Listener, r row, s seen, severity guard.Severity, say string) guard.Observation {
	fix := v.narrow(l.Protocol, l.Address.Port(), r.from, s)
	return guard.Observation{State: guard.Fail, Severity: severity, Evidence: append([]string{say}, s.evidence...), Fix: fix.fix, Undo: fix.undo}
}

func database5432(h guard.Host, p guard.Product) []guard.Observation {
	v, blind := look(h, p)
	if v == nil {
		return blind
	}
	return v.each(func(l guard.Listener, _ row, _ bool) bool { return isDatabase(l) }, func(l guard.Listener, r row, s seen) guard.Observation {
		return v.closed(l, r, s, 0, name(l)+" is PostgreSQL, which only the other controllers need.")
	})
}

// Ports of MAAS's pages. Source: MAAS's documentation of TLS; 5443 is what it proposes.
const (
	portHTTPS = 5443
	portPlain = 5240
)

func plainOpen(h guard.Host, p guard.Product) []guard.Observation {
	v, blind := look(h, p)
	if v == nil {
		return blind
	}
	if !slices.ContainsFunc(v.Listeners, func(l guard.Listener) bool { return l.Protocol == "tcp" && l.Address.Port() == portHTTPS }) {
		return nil
	}
	want := func(l guard.Listener, _ row, _ bool) bool {
		return l.Protocol == "tcp" && l.Address.Port() == portPlain
	}
	return v.each(want, func(l guard.Listener, r row, s seen) guard.Observation {
		r.from = machines
		return v.closed(l, r, s, 0, fmt.Sprintf("TLS is on: %d listens. %s answers in plain text, which racks and machines need and others do not.", portHTTPS, name(l)))
	})
}

// open judges the table's ports of some.
func open(by ...who) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, p guard.Product) []guard.Observation {
		v, blind := look(h, p)
		if v == nil {
			return blind
		}
		// DHCP is asked for by machines that have no address yet, with severity 0: nothing is to be narrowed.
		want := func(l guard.Listener, r row, known bool) bool {
			return known && slices.Contains(by, r.from) && r.severity != 0 && !isDatabase(l)
		}
		return v.each(want, func(l guard.Listener, r row, s seen) guard.Observation {
			return v.closed(l, r, s, r.severity, fmt.Sprintf("%s is %s: for %s.", name(l), r.what, whoWords[r.from]))
		})
	}
}

func unnamed(h guard.Host, p guard.Product) []guard.Observation {
	v, blind := look(h, p)
	if v == nil {
		return blind
	}
	return v.each(func(_ guard.Listener, _ row, known bool) bool { return !known }, func(l guard.Listener, r row, s seen) guard.Observation {
		r.from = controllers
		o := v.closed(l, r, s, 0, name(l)+" is none of the product's, and strangers reach it.")
		o.Fix, o.Undo = append([]string{"# If nobody needs it, stop it instead; or bind it to 127.0.0.1."}, o.Fix...), append([]string{"# (Start it again.)"}, o.Undo...)
		return o
	})
}

// reachable are the ways by which something of the host is reached at all.
func (v *view) reachable() (list []way) {
	for _, l := range v.Listeners {
		for _, w := range v.ways(l) {
			if !slices.ContainsFunc(list, func(o way) bool { return o.addr == w.addr }) {
				list = append(list, w)
			}
		}
	}
	return list
}

func anyRules(h guard.Host, p guard.Product) []guard.Observation {
	v, blind := look(h, p)
	if v == nil {
		return blind
	}
	ways := v.reachable()
	o := guard.Observation{State: guard.Pass, Subject: "firewall", Evidence: []string{"There are rules for what comes in."}}
	switch {
	case len(ways) == 0:
		return nil
	case v.Rules == nil:
		return []guard.Observation{guard.Blind("firewall", v.errNoRules())}
	case v.Rules.Empty():
		s := v.shut()
		o = guard.Observation{State: guard.Fail, Severity: weight(p, guard.Medium), Subject: "firewall", Fix: s.fix, Undo: s.undo,
			Evidence: []string{fmt.Sprintf("No chain of nftables or iptables has a rule for what comes in, and the host is reached at %s.", ways[0])}}
	}
	return []guard.Observation{o}
}

// quiet is a probe of a port that nobody thought of, by one way.
type quiet struct {
	guard.Listener
	way
	firewall.Answer
}

// quiets knocks at such a port by all ways. Where nothing listens or there is no firewall, there is nothing to knock at.
func (v *view) quiets() ([]quiet, []guard.Observation) {
	ways := v.reachable()
	if len(ways) == 0 {
		return nil, nil
	}
	if v.Rules == nil {
		return nil, []guard.Observation{guard.Blind("firewall", v.errNoRules())}
	}
	if v.Rules.Empty() {
		return nil, nil // which is a check of its own
	}
	port, ok := v.Rules.Quiet(func(port uint16) bool {
		return slices.ContainsFunc(v.Listeners, func(l guard.Listener) bool { return l.Address.Port() == port })
	})
	if !ok {
		return nil, []guard.Observation{guard.Blind("firewall", errors.New("the rules name every port"))}
	}
	var list []quiet
	for _, w := range ways {
		q := quiet{Listener: guard.Listener{Protocol: "tcp"}, way: w}
		q.Answer = v.Rules.Judge(firewall.Packet{Protocol: firewall.TCP, Source: v.strangers[w.addr.Is6()], Destination: w.addr, Port: port, Device: w.Name})
		list = append(list, q)
	}
	return list, nil
}

func quietPort(h guard.Host, p guard.Product) (list []guard.Observation) {
	v, blind := look(h, p)
	if v == nil {
		return blind
	}
	probes, blind := v.quiets()
	for _, q := range probes {
		o := guard.Observation{State: guard.Pass, Subject: q.way.String(), Evidence: []string{fmt.Sprintf("A packet to %s, to a port that no rule names: %s (%s).", q.way, q.Verdict, reasons(q.Answer))}}
		switch q.Verdict {
		case firewall.Accepted:
			s := v.shut()
			o.State, o.Severity, o.Fix, o.Undo = guard.Fail, weight(p, guard.Medium), s.fix, s.undo
		case firewall.CannotTell:
			o.State = guard.Unchecked
		}
		list = append(list, o)
	}
	return append(merge(list), blind...)
}

func unlike(h guard.Host, p guard.Product) (list []guard.Observation) {
	v, blind := look(h, p)
	if v == nil {
		return blind
	}
	type service struct {
		protocol string
		port     uint16
	}
	done := map[service]bool{}
	for _, l := range v.Listeners {
		key := service{l.Protocol, l.Address.Port()}
		// All sockets of a port together: one may be for each family.
		var ways []way
		for _, o := range v.Listeners {
			if o.Protocol == l.Protocol && o.Address.Port() == l.Address.Port() {
				ways = append(ways, v.ways(o)...)
			}
		}
		families := map[bool]seen{}
		for _, v6 := range []bool{false, true} {
			s := seen{verdict: firewall.Dropped}
			for _, w := range ways {
				if w.addr.Is6() != v6 {
					continue
				}
				if v.Rules == nil {
					return []guard.Observation{guard.Blind("firewall", v.errNoRules())}
				}
				a := v.judge(l, w, v.strangers[v6])
				s.open = append(s.open, w)
				if a.Verdict == firewall.Accepted || a.Verdict == firewall.CannotTell && s.verdict == firewall.Dropped {
					s.verdict = a.Verdict
				}
				s.evidence = append(s.evidence, fmt.Sprintf("A stranger to %s: %s (%s).", w, a.Verdict, reasons(a)))
			}
			families[v6] = s
		}
		four, six := families[false], families[true]
		if done[key] || len(four.open) == 0 || len(six.open) == 0 {
			continue
		}
		done[key] = true
		o := guard.Observation{State: guard.Pass, Subject: name(l), Evidence: []string{four.evidence[0], six.evidence[0]}}
		switch {
		case four.verdict == firewall.CannotTell && six.verdict != firewall.Dropped, six.verdict == firewall.CannotTell && four.verdict == firewall.Dropped:
			o.State = guard.Unchecked
		case four.verdict == firewall.Dropped && six.verdict == firewall.Accepted:
			r, known := v.row(l)
			if !known {
				r.from = controllers
			}
			f := v.closed(l, r, six, weight(p, max(r.severity, guard.Medium)), "IPv4 refuses strangers, IPv6 lets them in.")
			o.State, o.Severity, o.Fix, o.Undo = guard.Fail, f.Severity, f.Fix, f.Undo
		}
		list = append(list, o)
	}
	return list
}

// handled finds the handle of nftables in a rule's name.
var handled = regexp.MustCompile(`^((?:ip|ip6|inet) \S+ \S+), rule \d+ \(handle (\d+)\)`)

func logged(h guard.Host, p guard.Product) (list []guard.Observation) {
	v, blind := look(h, p)
	if v == nil {
		return blind
	}
	probes, blind := v.quiets()
	for _, q := range probes {
		if q.Verdict != firewall.Dropped {
			continue // whether it should be is a check of its own
		}
		o := guard.Observation{State: guard.Pass, Subject: q.way.String(), Evidence: []string{fmt.Sprintf("What is refused by %s is logged.", reasons(q.Answer))}}
		switch {
		case q.Unlogged:
			o.State, o.Evidence = guard.Fail, []string{fmt.Sprintf("What is refused by %s is not logged.", reasons(q.Answer))}
			s := v.logging(q.Why)
			o.Fix, o.Undo = s.fix, s.undo
			o.Evidence = append(o.Evidence, settings(h, v.keeper())...)
		case !q.Logged:
			o.State, o.Evidence = guard.Unchecked, []string{"Whether a rule logs it depends on what is not understood of the rules."}
		}
		list = append(list, o)
	}
	return append(merge(list), blind...)
}

// settings are what the keeper's own configuration says of logging.
func settings(h guard.Host, k manager) []string {
	file, key := map[manager]string{ufw: "/etc/ufw/ufw.conf", firewalld: "/etc/firewalld/firewalld.conf"}[k], map[manager]string{ufw: "LOGLEVEL", firewalld: "LogDenied"}[k]
	text, err := h.Read(file)
	if file == "" || err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, key+"=") {
			return []string{fmt.Sprintf("%s: %s", file, guard.Show(strings.TrimSpace(line)))}
		}
	}
	return nil
}

// logging are the commands to log what is refused. They change no verdict.
func (v *view) logging(why []string) (s steps) {
	const words = `limit rate 3/minute log prefix "refused: "`
	chain, policy, _ := strings.Cut(why[0], ": policy ")
	family, rest, _ := strings.Cut(chain, " ")
	at := handled.FindStringSubmatch(why[0])
	switch k := v.keeper(); {
	case k == ufw:
		s.add("ufw logging low", "ufw logging off")
	case k == firewalld:
		s.add("firewall-cmd --set-log-denied=unicast", "firewall-cmd --set-log-denied=off")
	case policy != "" && strings.HasSuffix(rest, " INPUT"):
		tool := map[string]string{"ip": "iptables", "ip6": "ip6tables"}[family]
		rule := `INPUT -m limit --limit 3/min -j LOG --log-prefix "refused: "`
		s.add(cmp.Or(tool, "iptables-legacy")+" -A "+rule, cmp.Or(tool, "iptables-legacy")+" -D "+rule)
	case policy != "":
		s.add("nft "+guard.Quote("add rule "+chain+" "+words), "# nft -a list chain "+guard.Show(chain)+", and then: nft delete rule "+guard.Show(chain)+" handle NUMBER")
	case at != nil:
		s.add("nft "+guard.Quote("insert rule "+at[1]+" handle "+at[2]+" "+words), "# nft -a list chain "+at[1]+", and then: nft delete rule "+at[1]+" handle NUMBER")
	default:
		s.say("Put a rule that logs, with a limit, before this one: " + reasons(firewall.Answer{Why: why}))
	}
	return s
}

func admitted(h guard.Host, p guard.Product) (list []guard.Observation) {
	v, blind := look(h, p)
	if v == nil {
		return blind
	}
	for _, l := range v.Listeners {
		r, known := v.row(l)
		ways := v.ways(l)
		// DHCP servers take packets before the firewall sees them (packet sockets). Other controllers are known to be there only where a
		// region has no rack beside it; a database that nobody else reaches is as it should be, and SSH is the operator's.
		if !known || len(ways) == 0 || r.low == 67 || r.low == 546 || r.what == "SSH" || r.from == itself || r.from == monitors ||
			r.from == controllers && (v.role != guard.Region || isDatabase(l)) {
			continue
		}
		if v.Rules == nil {
			return []guard.Observation{guard.Blind("firewall", v.errNoRules())}
		}
		refused := []string{}
		for _, w := range ways {
			if a := v.judge(l, w, netip.Addr{}); a.Verdict == firewall.Dropped {
				refused = append(refused, fmt.Sprintf("Every source to %s: dropped (%s).", w, reasons(a)))
			}
		}
		o := guard.Observation{State: guard.Pass, Subject: name(l), Evidence: []string{"The firewall lets in some or all of those who use it: " + r.what + "."}}
		if len(refused) == len(ways) {
			o.State, o.Evidence = guard.Fail, append([]string{fmt.Sprintf("%s is %s, for %s, and the firewall refuses all of them.", name(l), r.what, whoWords[r.from])}, refused...)
			s := v.admit(l, r, refused)
			o.Fix, o.Undo = s.fix, s.undo
		}
		list = append(list, o)
	}
	return same(list)
}

// admit lets the site's networks reach a port.
func (v *view) admit(l guard.Listener, r row, why []string) (s steps) {
	protocol, port := l.Protocol, l.Address.Port()
	s.say("Private networks and those that this host is in are let in; write those of " + whoWords[r.from] + " in their place, if you know them.")
	for _, v6 := range []bool{false, true} {
		for _, n := range v.home(v6) {
			switch v.keeper() {
			case ufw:
				rule := fmt.Sprintf("allow in proto %s from %s to any port %d", protocol, n, port)
				s.add("ufw "+rule, "ufw delete "+rule)
			case firewalld:
				rule := fmt.Sprintf(`rule family="%s" source address="%s" port port="%d" protocol="%s" accept`, map[bool]string{false: "ipv4", true: "ipv6"}[v6], n, port, protocol)
				s.add(fmt.Sprintf("firewall-cmd %s--add-rich-rule='%s'", zone(why), rule), fmt.Sprintf("firewall-cmd %s--remove-rich-rule='%s'", zone(why), rule))
			}
		}
	}
	if v.keeper() == plain {
		s.say(fmt.Sprintf("Put a rule that accepts %s port %d from them before what refuses it.", protocol, port))
	}
	return s
}

// regionURLs finds the regions in a rack's configuration: MAAS's maas_url is one URL or a list of them.
var regionURLs = regexp.MustCompile(`https?://[^\s"',\]]+`)

// regions are the hosts and ports that a rack calls first.
func regions(h guard.Host, p guard.Product) (list []string, err error) {
	files := map[guard.Product][]string{guard.MAASDeb: {"/etc/maas/rackd.conf"}, guard.MAASSnap: {snapData + "rackd.conf"},
		guard.Metalward: {ourState + "rack-identity.json", ourState + "rack/rack-identity.json"}}[p]
	for _, file := range files {
		text, err := h.Read(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if p == guard.Metalward {
			var identity struct {
				Region string `json:"region"`
			}
			if err := json.Unmarshal(text, &identity); err != nil {
				return nil, fmt.Errorf("%s: it is no JSON", file)
			}
			list = append(list, identity.Region)
			continue
		}
		for _, s := range regionURLs.FindAllString(string(text), -1) {
			if u, err := url.Parse(s); err == nil && u.Hostname() != "" {
				list = append(list, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])))
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// outward are the ports of a region that racks call, by what they are for; of those together, one that connects is enough: each worker of a
// MAAS region takes the next. Sources as of portTable.
var outward = []struct {
	low, high int
	what      string
	together  bool
}{{5250, 5259, "calls between region and racks", true}, {5242, 5242, "internal API (3.5 and later)", false}, {5271, 5274, "Temporal (3.5 and later)", false}}

func outgoing(h guard.Host, p guard.Product) (list []guard.Observation) {
	first, err := regions(h, p)
	if err != nil {
		return []guard.Observation{guard.Blind("regions", err)}
	}
	var all []string
	for _, at := range first {
		host, _, err := net.SplitHostPort(at)
		if err != nil {
			return []guard.Observation{guard.Blind("region "+guard.Show(at), err)}
		}
		all = append(all, at)
		for _, o := range outward {
			for port := o.low; p != guard.Metalward && port <= o.high; port++ {
				all = append(all, net.JoinHostPort(host, strconv.Itoa(port)))
			}
		}
	}
	results := connectAll(h, all)
	for _, err := range results {
		if errors.Is(err, guard.ErrNotAsked) {
			return []guard.Observation{guard.Blind("regions", errors.New("connections are tried only when they are asked for: run it on the rack, with --connect"))}
		}
	}
	for _, at := range first {
		host, port, _ := net.SplitHostPort(at)
		n, _ := strconv.Atoi(port)
		list = append(list, tried(host, n, n, "what the rack calls first", true, results))
		for _, o := range outward {
			switch {
			case p == guard.Metalward:
			case o.together:
				list = append(list, tried(host, o.low, o.high, o.what, true, results))
			default:
				for port := o.low; port <= o.high; port++ {
					list = append(list, tried(host, port, port, o.what, false, results))
				}
			}
		}
	}
	return list
}

// connectAll tries all at once: what does not answer takes its whole patience.
func connectAll(h guard.Host, list []string) map[string]error {
	results := make([]error, len(list))
	var wg sync.WaitGroup
	for i, at := range list {
		wg.Go(func() { results[i] = h.Connect(at) })
	}
	wg.Wait()
	found := map[string]error{}
	for i, at := range list {
		found[at] = results[i]
	}
	return found
}

// tried judges connections to some ports of a region. must means that one of them has to be taken; else an answer is enough, for older versions
// do not have it.
func tried(host string, low, high int, what string, must bool, results map[string]error) guard.Observation {
	subject := fmt.Sprintf("tcp %s (%s)", net.JoinHostPort(guard.Show(host), strconv.Itoa(low)), what)
	if high != low {
		subject = fmt.Sprintf("tcp %s-%d (%s)", net.JoinHostPort(guard.Show(host), strconv.Itoa(low)), high, what)
	}
	taken, refused, silent := 0, 0, error(nil)
	for port := low; port <= high; port++ {
		switch err := results[net.JoinHostPort(host, strconv.Itoa(port))]; {
		case err == nil:
			taken++
		case errors.Is(err, guard.ErrRefused):
			refused++
		default:
			silent = err
		}
	}
	o := guard.Observation{State: guard.Pass, Subject: subject, Evidence: []string{fmt.Sprintf("%d connected, %d answered that nothing listens there.", taken, refused)}}
	if taken > 0 || refused > 0 && !must && silent == nil {
		return o
	}
	if silent != nil {
		o.Evidence = append(o.Evidence, "The others: "+guard.Show(silent.Error())+".")
	}
	o.State = guard.Fail
	o.Fix = []string{"# Let what is between rack and region pass TCP from the rack to these ports, and look whether the region listens there: ss -tlnp"}
	o.Undo = []string{"# (Take that rule back.)"}
	return o
}
