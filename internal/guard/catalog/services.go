package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/flaws"
	"github.com/metalward/metalward/internal/guard"
)

var (
	bindLists  = guard.Reference{Title: "ISC, bind-users, Mark Andrews on allow-recursion and allow-query-cache", URL: "https://www.isc.org/bind-users-list-archive/2008-July/071024.html"}
	maasAXFR   = guard.Reference{Title: "MAAS documentation, release notes of 3.7.1: MAAS allows AXFR from all sources (2110046)", URL: "https://canonical.com/maas/docs/release-notes-and-upgrade-instructions"}
	chronyConf = guard.Reference{Title: "chrony.conf(5): allow, cmdallow, bindcmdaddress", URL: "https://chrony-project.org/doc/4.3/chrony.conf.html"}
	squidConf  = guard.Reference{Title: "Squid, squid.conf.documented: http_access, acl", URL: "https://www.squid-cache.org/Doc/config/http_access/"}
	dhcpdMan   = guard.Reference{Title: "dhcpd(8)", URL: "https://manpages.debian.org/bookworm/isc-dhcp-server/dhcpd.8.en.html"}
)

// nameServers judges each configuration of BIND. What could not be read is said beside what could, unless that is a failure by itself.
func nameServers(judge func(h guard.Host, p guard.Product, d guard.DNS) []guard.Observation) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, p guard.Product) (list []guard.Observation) {
		found, err := h.DNS(p)
		if err != nil {
			list = append(list, guard.Blind("BIND", err))
		}
		for _, d := range found {
			list = append(list, besidesUnread(judge(h, p, d), d.Config, d.Err)...)
		}
		return list
	}
}

// besidesUnread has what was judged of a configuration that could not be read in whole: what failed, and that.
func besidesUnread(seen []guard.Observation, config string, err error) []guard.Observation {
	if err == nil {
		return seen
	}
	return append(slices.DeleteFunc(seen, func(o guard.Observation) bool { return o.State != guard.Fail }), guard.Blind(config, err))
}

// transferAll tells whether a BIND in which nothing sets allow-transfer lets everybody have the zones. Up to 9.18 it does: MAAS 3.7.0 and
// before wrote nothing of it, and transfers were for all (named above). Of later ones it is not known here.
func transferAll(h guard.Host, p guard.Product) (bool, error) {
	if p == guard.MAASSnap {
		_, text, n, _ := maasInstalled(h, p)
		if text != "" && less(n, [3]int{3, 7, 1}) {
			return true, nil
		}
		return false, errors.New("nothing sets allow-transfer, and what then holds depends on the version of BIND in the snap")
	}
	name, v, err := h.Package("bind9")
	if err != nil {
		return false, err
	}
	old, err := flaws.Compare(v, "1:9.19")
	if name == "" || err != nil || old >= 0 {
		return false, fmt.Errorf("nothing sets allow-transfer, and what then holds depends on the version of BIND, which is %q", v)
	}
	return true, nil
}

func zoneTransfers(h guard.Host, p guard.Product, d guard.DNS) (list []guard.Observation) {
	fix := "# In options of " + guard.Show(d.Config) + " (MAAS: /etc/bind/named.conf.options): allow-transfer { none; }; or the secondaries by key; then rndc reconfig. Since MAAS 3.7.1 its setting allow_only_trusted_transfers does it."
	for _, z := range d.Zones {
		subject := "zone " + z.Name
		if z.Transfer == nil {
			all, err := transferAll(h, p)
			switch {
			case err != nil:
				list = append(list, guard.Blind(subject, err))
			case all:
				list = append(list, failed(guard.Medium, subject, fix, "# Take allow-transfer out again.", "%s:%d: nothing sets allow-transfer, and this BIND then gives the whole zone to whoever asks.", z.File, z.Line))
			}
			continue
		}
		open, err := d.Stranger(z.Transfer)
		switch {
		case err != nil:
			list = append(list, guard.Blind(subject, err))
		case open:
			list = append(list, failed(guard.Medium, subject, fix, "# Put back: allow-transfer { "+guard.Show(strings.Join(z.Transfer, "; "))+"; };", "%s:%d: allow-transfer is { %s; }: whoever asks has the names and addresses of all machines.", z.File, z.Line, strings.Join(z.Transfer, "; ")))
		}
	}
	if len(list) == 0 && len(d.Zones) > 0 {
		list = append(list, passed(d.Config, "None of its %d zones is given to strangers as a whole.", len(d.Zones)))
	}
	return list
}

// recursionFor is who is answered recursively. Source: ISC, named above: the two lists stand in for each other, then allow-query does, then
// localnets and localhost.
func recursionFor(s guard.DNSScope) []string {
	for _, list := range [][]string{s.Recurse, s.QueryCache, s.Query} {
		if list != nil {
			return list
		}
	}
	return []string{"localnets", "localhost"}
}

func openResolver(_ guard.Host, _ guard.Product, d guard.DNS) (list []guard.Observation) {
	for _, s := range d.Scopes {
		subject := d.Config
		if s.View != "" {
			subject += ", view " + s.View
		}
		if slices.Contains([]string{"no", "false", "0"}, s.Recursion) {
			list = append(list, passed(subject, "Recursion is off."))
			continue
		}
		who := recursionFor(s)
		open, err := d.Stranger(who)
		words := strings.Join(who, "; ")
		switch {
		case err != nil:
			list = append(list, guard.Blind(subject, err))
		case open:
			list = append(list, failed(guard.Medium, subject, "# In options (MAAS: /etc/bind/named.conf.options): allow-recursion { trusted; }; and allow-query-cache { trusted; }; with the networks of machines in the list trusted; then rndc reconfig.",
				"# Take the two lines out again.", "Whoever asks is answered recursively ({ %s; }): the server floods others for whom a request was made up, and its cache can be poisoned.", words))
		default:
			list = append(list, passed(subject, "Answered recursively are { %s; }, which no stranger is.", words))
		}
	}
	return list
}

func validates(_ guard.Host, _ guard.Product, d guard.DNS) (list []guard.Observation) {
	for _, s := range d.Scopes {
		subject := d.Config
		if s.View != "" {
			subject += ", view " + s.View
		}
		switch s.Validation {
		case "no":
			list = append(list, failed(guard.Low, subject, "# Settings > Network > DNS: DNSSEC validation automatic, once the servers that MAAS forwards to pass signatures on; or dnssec-validation auto in options.", "# Set dnssec-validation no again.",
				"dnssec-validation is no: machines believe whatever answer comes first."))
		case "auto", "yes":
			list = append(list, passed(subject, "dnssec-validation is %s.", s.Validation))
		case "":
			list = append(list, guard.Blind(subject, errors.New("nothing sets dnssec-validation, and what then holds depends on how BIND was built")))
		default:
			list = append(list, guard.Blind(subject, fmt.Errorf("dnssec-validation is %.40q, which is not known", s.Validation)))
		}
	}
	return list
}

func openProxy(h guard.Host, p guard.Product) (list []guard.Observation) {
	found, err := h.Proxies(p)
	if err != nil {
		list = append(list, guard.Blind("Squid", err))
	}
	for _, q := range found {
		rule, err := q.Open()
		var seen guard.Observation
		fix, undo := "# Settings > Network > Proxy and each subnet's own setting say which networks MAAS lets in; for another Squid: http_access allow for the networks of machines, then http_access deny all.", "# Put the rule back."
		switch {
		case err != nil:
			seen = guard.Blind(q.Config, err)
		case rule == len(q.Rules):
			seen = failed(guard.High, q.Config, fix, undo, "Its last rule forbids, so that what no rule matches is allowed: strangers use it to reach what this host reaches.")
		case rule >= 0:
			r := q.Rules[rule]
			seen = failed(guard.High, q.Config, fix, undo, "Line %d: http_access allow %s lets strangers in, who use it to reach what this host reaches.", r.Line, strings.Join(r.ACLs, " "))
		default:
			seen = passed(q.Config, "None of its %d rules lets an address in that none of its lists names.", len(q.Rules))
		}
		list = append(list, besidesUnread([]guard.Observation{seen}, q.Config, q.Err)...)
	}
	return list
}

// timeServers judges each configuration of chrony.
func timeServers(judge func(n guard.NTP) guard.Observation) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, p guard.Product) (list []guard.Observation) {
		found, err := h.NTP(p)
		if err != nil {
			list = append(list, guard.Blind("chrony", err))
		}
		for _, n := range found {
			list = append(list, besidesUnread([]guard.Observation{judge(n)}, n.Config, n.Err)...)
		}
		return list
	}
}

func openTime(n guard.NTP) guard.Observation {
	if r, open := guard.Anybody(n.Allow); open {
		return failed(guard.Low, n.Config, "# Keep strangers from UDP 123 by the firewall: MAAS writes this line anew at each change. Of a file of your own: allow with the networks of machines.", "# Put the line allow back.",
			"%s:%d: allow without a network, or with one that strangers are in: whoever asks is told the time, and answers go to whom a request was made up for.", r.File, r.Line)
	}
	return passed(n.Config, "The time is told to the %d networks that its rules name, and to no stranger.", len(n.Allow))
}

func openCommands(n guard.NTP) guard.Observation {
	var far []string
	for _, b := range n.Bind {
		if a, err := netip.ParseAddr(b); err != nil || !a.IsLoopback() {
			far = append(far, b)
		}
	}
	rule, open := guard.Anybody(n.Commands)
	switch {
	case len(far) == 0:
		return passed(n.Config, "Commands are taken at the loopback addresses and the socket alone.")
	case open:
		return failed(guard.Medium, n.Config, "# Take bindcmdaddress and cmdallow out, and restart chrony.", "# Put the two lines back.", "It takes commands at %s, and %s:%d allows everybody: strangers are told of its clients.", strings.Join(far, ", "), rule.File, rule.Line)
	}
	return passed(n.Config, "It takes commands at %s, of the %d networks that its rules name.", strings.Join(far, ", "), len(n.Commands))
}

// dhcpdValues are dhcpd's options that take a value. Source: dhcpd(8).
var dhcpdValues = []string{"-p", "-4o6", "-s", "-cf", "-lf", "-pf", "-user", "-group", "-chroot", "-tf", "-play"}

// dhcpServers are the running dhcpd: the interfaces that each was given, by its process.
func dhcpServers(h guard.Host) (byProcess map[string][]string, order []string, err error) {
	found, err := h.Glob("/proc/[0-9]*/cmdline")
	byProcess = map[string][]string{}
	for _, at := range found {
		text, bad := h.Read(at)
		if errors.Is(bad, fs.ErrNotExist) {
			continue // it ended
		}
		if bad != nil {
			if err == nil {
				err = bad
			}
			continue
		}
		words := strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
		if path.Base(words[0]) != "dhcpd" {
			continue
		}
		process := path.Base(path.Dir(at))
		order, byProcess[process] = append(order, process), []string{}
		for i := 1; i < len(words); i++ {
			switch {
			case slices.Contains(dhcpdValues, words[i]):
				i++
			case words[i] != "" && words[i][0] != '-':
				byProcess[process] = append(byProcess[process], words[i])
			}
		}
	}
	return byProcess, order, err
}

func dhcpWhere(h guard.Host, _ guard.Product) (list []guard.Observation) {
	servers, order, err := dhcpServers(h)
	if err != nil {
		list = append(list, guard.Blind("/proc", err))
	}
	if len(order) == 0 {
		return list
	}
	wanted, err := dhcpInterfaces(h)
	if err != nil {
		return append(list, guard.Blind("MAAS's dhcpd-interfaces", err))
	}
	for _, process := range order {
		subject, names := "dhcpd, process "+process, servers[process]
		var other []string
		for _, n := range names {
			if !slices.Contains(wanted, n) {
				other = append(other, n)
			}
		}
		fix, undo := "# systemctl status "+process+" says what started it: where it is not MAAS's, stop and disable it; else turn DHCP of the VLAN on or off in MAAS, which starts it anew.", "# Start it as it was."
		switch {
		case len(names) == 0:
			list = append(list, failed(guard.Medium, subject, fix, undo, "It was given no interface, and so serves all whose network it has a declaration for."))
		case len(other) > 0:
			list = append(list, failed(guard.Medium, subject, fix, undo, "It serves %s, which MAAS did not name (it named: %s).", strings.Join(other, ", "), strings.Join(append(wanted, "nothing else"), ", ")))
		default:
			list = append(list, passed(subject, "It serves %s, as MAAS has it.", strings.Join(names, ", ")))
		}
	}
	return list
}

// bootFiles is where TFTP serves from. Source: MAAS's documentation of custom images; tftp_root of its agent: boot-resources/current below
// its data.
var bootFiles = map[guard.Product]string{guard.MAASDeb: "/var/lib/maas/boot-resources/current", guard.MAASSnap: "/var/snap/maas/common/maas/boot-resources/current"}

func bootFilesOpen(h guard.Host, p guard.Product) (list []guard.Observation) {
	root := bootFiles[p]
	if _, err := h.File(root); err != nil {
		return beside(root, err)
	}
	const deepest = 8 // os/arch/subarch/release/label/file, and two more
	n := 0
	for pattern, depth := root, 0; depth <= deepest; pattern, depth = pattern+"/*", depth+1 {
		found, err := h.Glob(pattern)
		if err != nil {
			list = append(list, guard.Blind(pattern, err))
		}
		for _, at := range found {
			f, err := h.File(at)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				continue // it went meanwhile
			case err != nil:
				list = append(list, guard.Blind(at, err))
				continue
			case depth == deepest && f.Kind.IsDir():
				list = append(list, guard.Blind(at, errors.New("folders so deep in it are not looked through")))
			}
			n++
			if f.Mode&0o002 == 0 || f.Kind&fs.ModeSymlink != 0 || f.Kind.IsDir() && f.Mode&guard.Sticky != 0 {
				continue
			}
			fix, undo := chmod(f, f.Mode&^uint32(0o002))
			o := failed(guard.High, at, fix[0], undo[0], "Mode %04o: everybody with an account on the host may change what machines boot.", f.Mode)
			list = append(list, o)
		}
	}
	if len(list) == 0 {
		list = append(list, passed(root, "None of %d files and folders of what machines boot may be changed by everybody.", n))
	}
	return list
}

// machineServices is the group of checks of what serves machines.
func machineServices() []*guard.Check {
	none := guard.Sample{Name: "nothing of the kind", Want: guard.NotApplicable}
	bind := func(name string, want guard.State, text string) (list []guard.Sample) {
		for _, p := range guard.Products {
			at := map[guard.Product]string{guard.MAASDeb: "/etc/bind/named.conf", guard.Metalward: "/etc/bind/named.conf", guard.MAASSnap: snapData + "bind/named.conf"}[p]
			list = append(list, guard.Sample{Name: name, Product: p, Want: want, Tree: []guard.Entry{{Path: at, Content: text},
				{Path: "/var/lib/dpkg/status", Content: "Package: bind9\nStatus: install ok installed\nVersion: 1:9.18.28-1\n\n"}, {Path: "/snap/maas/current/meta/snap.yaml", Content: "version: 3.6.1\n"}}})
		}
		return list
	}
	proxies := func(name string, want guard.State, text string) (list []guard.Sample) {
		for p, at := range map[guard.Product]string{guard.MAASDeb: "/var/lib/maas/maas-proxy.conf", guard.MAASSnap: snapData + "proxy/maas-proxy.conf", guard.Metalward: "/etc/squid/squid.conf"} {
			list = append(list, guard.Sample{Name: name, Product: p, Want: want, Tree: []guard.Entry{{Path: at, Content: text}}})
		}
		return list
	}
	chrony := func(name string, want guard.State, text string) guard.Sample {
		return treeOf(name, want, guard.Entry{Path: "/etc/chrony/chrony.conf", Content: text})
	}
	dhcpd := func(name string, want guard.State, args ...string) guard.Sample {
		return treeOf(name, want, guard.Entry{Path: "/proc/12/cmdline", Content: strings.Join(append([]string{"/usr/sbin/dhcpd", "-user", "dhcpd", "-f", "-4", "-cf", "/var/lib/maas/dhcpd.conf"}, args...), "\x00") + "\x00"},
			guard.Entry{Path: "/var/lib/maas/dhcpd-interfaces", Content: "eth1 eth2"})
	}
	boot := func(name string, want guard.State, mode uint32) (list []guard.Sample) {
		for _, p := range []guard.Product{guard.MAASDeb, guard.MAASSnap} {
			list = append(list, guard.Sample{Name: name, Product: p, Want: want, Tree: []guard.Entry{{Path: bootFiles[p] + "/ubuntu/amd64/ga-22.04/jammy/stable/boot-kernel", Mode: mode}}})
		}
		return list
	}
	const zone, end = "zone \"maas\" { type master; file \"x\"; ", "};\n"
	list := []*guard.Check{
		{ID: "services-dns-transfer", Title: "Zones are not given to strangers as a whole", Severity: guard.Medium, Versions: everyProduct(),
			Why: "A transfer has the names and addresses of all machines in one answer: it is what an attacker asks for first.",
			Fix: "Set allow-transfer to none, or to the secondaries.", Risk: "Secondaries that are not named no longer get the zones.", Undo: "Put the old list back.",
			References: []guard.Reference{maasAXFR, source}, Judge: nameServers(zoneTransfers),
			Samples: slices.Concat(onEach(none), bind("no zones", guard.NotApplicable, "options { };\n"), bind("to nobody", guard.Pass, zone+"allow-transfer { none; }; "+end), bind("to everybody", guard.Fail, zone+"allow-transfer { any; }; "+end),
				bind("nothing is set", guard.Fail, zone+end), bind("a name that a terminal would obey", guard.Fail, "zone \"\x1b[2J$(id)'\" { type master; file \"x\"; allow-transfer { any; }; };\n"), bind("a word that a terminal would obey", guard.Unchecked, zone+"allow-transfer { \"\x1b]0;x\a\"; }; "+end), bind("by a list that is unknown", guard.Unchecked, zone+"allow-transfer { x; }; "+end), bind("half", guard.Unchecked, zone),
				bind("by the options", guard.Pass, "options { allow-transfer { key k; }; };\n"+zone+end), bind("in a view", guard.Fail, "view v { allow-transfer { !10.0.0.1; any; }; "+zone+end+"};\n"))},
		{ID: "services-dns-recursion", Title: "Strangers are not answered recursively", Severity: guard.Medium, Versions: everyProduct(),
			Why: "An open resolver is used to flood others, and each stranger's question is a try to poison what machines are answered.",
			Fix: "Let the networks of machines alone ask so.", Risk: "Machines in networks that are not named get no answers for names of the internet.", Undo: "Take the lists out again.",
			References: []guard.Reference{bindLists, source}, Judge: nameServers(openResolver),
			Samples: slices.Concat(onEach(none), bind("as BIND has it", guard.Pass, "options { };\n"), bind("as MAAS writes it", guard.Pass, "options { allow-query { any; }; allow-recursion { t; }; allow-query-cache { t; }; };\nacl t { 10.0.0.0/8; localnets; };\n"),
				bind("any", guard.Fail, "options { allow-recursion { any; }; };\n"), bind("by allow-query", guard.Fail, "options { allow-query { any; }; };\n"), bind("off", guard.Pass, "options { recursion no; allow-query { any; }; };\n"),
				bind("a list that is unknown", guard.Unchecked, "options { allow-recursion { t; }; };\n"))},
		{ID: "services-dns-validation", Title: "Signatures of DNS are checked", Severity: guard.Low, Versions: everyProduct(),
			Why: "Machines fetch packages and keys by names.",
			Fix: "Set DNSSEC validation to automatic.", Risk: "Names do not resolve if the servers that MAAS forwards to drop signatures.", Undo: "Set it to no again.",
			References: []guard.Reference{source}, Judge: nameServers(validates),
			Samples: slices.Concat(onEach(none), bind("auto", guard.Pass, "options { dnssec-validation auto; };\n"), bind("no", guard.Fail, "options { dnssec-validation no; };\n"), bind("not set", guard.Unchecked, "options { };\n"))},
		{ID: "services-proxy", Title: "The proxy is not open to strangers", Severity: guard.High, Versions: everyProduct(),
			Why: "It reaches what the controller reaches: the machines' networks, BMCs, and addresses that clouds tell secrets at.",
			Fix: "Let the networks of machines alone in.", Risk: "Machines in networks that are not named cannot fetch packages.", Undo: "Put the rule back.",
			References: []guard.Reference{squidConf, source}, Judge: openProxy,
			Samples: slices.Concat(onEach(none), proxies("for networks", guard.Pass, "acl localnet src 10.0.0.0/8\nhttp_access allow localnet\nhttp_access deny all\n"), proxies("for all", guard.Fail, "acl localnet src 0.0.0.0/0\nhttp_access allow localnet\nhttp_access deny all\n"),
				proxies("by the last rule", guard.Fail, "acl bad src 192.0.2.0/24\nhttp_access deny bad\n"), proxies("a list elsewhere", guard.Unchecked, "acl localnet src \"/etc/x\"\nhttp_access deny all\n"), proxies("all, as a range", guard.Fail, "acl x src 0.0.0.0-255.255.255.255\nhttp_access allow x\nhttp_access deny all\n"), proxies("a range of one's own", guard.Pass, "acl x src 10.0.0.9-10.0.7.7/32\nhttp_access allow x\nhttp_access deny all\n"),
				proxies("half of all", guard.Fail, "acl x src 128.0.0.0/128.0.0.0\nhttp_access allow x\nhttp_access deny all\n"), proxies("a network by its mask", guard.Pass, "acl x src 10.0.0.0/255.0.0.0 fc00::/7\nhttp_access allow x\nhttp_access deny all\n"),
				proxies("all of IPv6", guard.Fail, "acl x src 2000::/3\nhttp_access allow x\nhttp_access deny all\n"), proxies("IPv4 alone forbidden", guard.Fail, "acl x src ipv4\nhttp_access deny x\nhttp_access allow all\n"), proxies("a range of a device", guard.Unchecked, "acl x src fe80::1-fe80::2%eth0\nhttp_access allow x\nhttp_access deny all\n"), proxies("a range that is none", guard.Unchecked, "acl x src 10.0.0.1-x\nhttp_access allow x\nhttp_access deny all\n"),
				proxies("no such list", guard.Unchecked, "http_access allow x\n"))},
		{ID: "services-ntp", Title: "Strangers are not told the time", Severity: guard.Low, Versions: everyProduct(),
			Why: "Answers go to whom a request was made up for; MAAS lets everybody ask, and says in its source that it might not.",
			Fix: "Name the networks, or let the firewall keep strangers out.", Risk: "Machines in networks that are not named keep no time.", Undo: "Put allow back.",
			References: []guard.Reference{chronyConf, source}, Judge: timeServers(openTime),
			Samples: onEach(none, chrony("nobody", guard.Pass, "server 192.0.2.1\n"), chrony("networks", guard.Pass, "allow 10.0.0.0/8\n"), chrony("all", guard.Fail, "allow\n"), chrony("half of all", guard.Fail, "allow 128.0.0.0/1\n"), chrony("a file that is absent", guard.Unchecked, "include /etc/none\n"))},
		{ID: "services-ntp-commands", Title: "The time server takes no commands of strangers", Severity: guard.Medium, Versions: everyProduct(),
			Why: "Its commands tell who its clients are, and are answered with more than was asked.",
			Fix: "Take commands at the loopback addresses alone.", Risk: "A monitor on another host is no longer answered.", Undo: "Put the lines back.",
			References: []guard.Reference{chronyConf}, Judge: timeServers(openCommands),
			Samples: onEach(none, chrony("as it comes", guard.Pass, "cmdallow all\n"), chrony("loopback", guard.Pass, "bindcmdaddress ::1\ncmdallow\n"), chrony("all, everywhere", guard.Fail, "bindcmdaddress 0.0.0.0\ncmdallow all\n"),
				chrony("a network, everywhere", guard.Pass, "bindcmdaddress 0.0.0.0\ncmdallow 10.0.0.0/8\n"), chrony("a loop", guard.Unchecked, "include /etc/chrony/chrony.conf\n"))},
		{ID: "services-dhcp", Title: "DHCP serves the interfaces that MAAS named, and no others", Severity: guard.Medium, Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27}, Role: guard.Rack,
			Why: "A DHCP server in an office's network gives its computers a boot server, and them away to who has the rack.",
			Fix: "Stop what MAAS did not start, and turn DHCP of VLANs on and off in MAAS.", Risk: "Machines of that network boot no more.", Undo: "Start it as it was.",
			References: []guard.Reference{dhcpdMan, source}, Judge: dhcpWhere,
			Samples: onMAAS(none, dhcpd("as MAAS has it", guard.Pass, "eth1"), dhcpd("another, too", guard.Fail, "eth1", "wlan0"), dhcpd("all", guard.Fail),
				treeOf("what MAAS named may not be read", guard.Unchecked, guard.Entry{Path: "/proc/12/cmdline", Content: "dhcpd\x00eth1\x00"}, guard.Entry{Path: "/var/lib/maas/dhcpd-interfaces", Hidden: true}))},
		{ID: "services-boot-files", Title: "What machines boot may not be changed by everybody", Severity: guard.High, Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27}, Role: guard.Rack,
			Why: "TFTP and HTTP hand these files to machines before anything could check them.",
			Fix: "Take the right to write from everybody.", Risk: "None: MAAS writes them as itself.", Undo: "Give the right back.",
			References: []guard.Reference{inode, source}, Judge: bootFilesOpen,
			Samples: slices.Concat(onMAAS(none), boot("as it should be", guard.Pass, 0o644), boot("for all to write", guard.Fail, 0o666))},
	}
	for _, c := range list {
		c.Group = "services"
	}
	return list
}
