package catalog

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/metalward/metalward/internal/firewall"
	"github.com/metalward/metalward/internal/guard"
)

// Rules that samples have, as iptables-save prints them. "refused" lets in SSH alone, and logs the rest now and then.
const (
	allowAll   = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 23 -j DROP\nCOMMIT\n"
	refused    = "*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\nLOG\nCOMMIT\n"
	uncertain  = "*filter\n:INPUT DROP [0:0]\n-A INPUT -m bpf --bytecode x -j ACCEPT\nCOMMIT\n"
	withLog    = "-A INPUT -m limit --limit 3/min -j LOG"
	fromInside = "-A INPUT -s 10.0.0.0/8 -j ACCEPT"
)

// walls is a sample's firewall. A text of ours that is none is a mistake in this file, which every test finds.
func walls(four, six string) *firewall.Ruleset {
	rs4, err4 := firewall.ParseIPTables([]byte(four), false)
	rs6, err6 := firewall.ParseIPTables([]byte(six), true)
	if err := errors.Join(err4, err6); err != nil {
		panic(err)
	}
	return firewall.Join(rs4, rs6)
}

// with puts words in the place of LOG in rules; none leaves it out.
func with(rules, words string) string {
	return strings.ReplaceAll(strings.ReplaceAll(rules, "LOG\nCOMMIT", words+"\nCOMMIT"), "\n\n", "\n")
}

// on is a network with some listeners, as "tcp 0.0.0.0:5432 process".
func on(rs *firewall.Ruleset, listeners ...string) guard.Network {
	n := guard.Network{Rules: rs, Interfaces: []guard.Interface{{Name: "eth0", Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24"), netip.MustParsePrefix("2001:db8::10/64"),
		netip.MustParsePrefix("fe80::1/64")}}}}
	for _, s := range listeners {
		w := strings.Fields(s)
		n.Listeners = append(n.Listeners, guard.Listener{Protocol: w[0], Address: netip.MustParseAddrPort(w[1]), Process: w[2], PID: 1, User: "root"})
	}
	return n
}

// networks makes a sample of each product.
func networks(products []guard.Product, name string, want guard.State, n guard.Network, tree ...guard.Entry) (list []guard.Sample) {
	for _, p := range products {
		list = append(list, guard.Sample{Name: name, Product: p, Want: want, Network: n, Tree: tree})
	}
	return list
}

func together(lists ...[]guard.Sample) (all []guard.Sample) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

var errHidden = errors.New("nft may be run by root alone")

func samplesDatabase() []guard.Sample {
	const everywhere, here = "tcp 0.0.0.0:5432 postgres", "tcp 127.0.0.1:5432 postgres"
	no, yes := walls(with(refused, ""), with(refused, "")), walls(allowAll, allowAll)
	hidden := on(nil, everywhere)
	hidden.RulesErr = errHidden
	return together(
		networks(allThree, "open", guard.Fail, on(yes, everywhere)),
		networks(allThree, "on another port", guard.Fail, on(yes, "tcp [::]:6000 postgres")),
		networks(allThree, "no rules at all", guard.Fail, on(walls("", ""), everywhere)),
		networks(allThree, "from the private networks alone", guard.Pass, on(walls(with(refused, fromInside), with(refused, "")), everywhere)),
		networks(allThree, "refused", guard.Pass, on(no, everywhere)),
		networks(allThree, "on this host alone", guard.Pass, on(yes, here)),
		networks(allThree, "a rule is not understood", guard.Unchecked, on(walls(uncertain, uncertain), everywhere)),
		networks(allThree, "the rules may not be seen", guard.Unchecked, hidden),
		networks(allThree, "no database", guard.NotApplicable, on(yes, "tcp 0.0.0.0:22 sshd")))
}

func samplesPlain() []guard.Sample {
	const tls, plainPort = "tcp 0.0.0.0:5443 nginx", "tcp 0.0.0.0:5240 nginx"
	return together(
		networks(bothMAAS, "both open", guard.Fail, on(walls(allowAll, allowAll), tls, plainPort)),
		networks(bothMAAS, "plain text from the private networks alone", guard.Pass, on(walls(with(refused, fromInside), with(refused, "")), tls, plainPort)),
		networks(bothMAAS, "no TLS, which is another check", guard.NotApplicable, on(walls(allowAll, allowAll), plainPort)))
}

func samplesOpen(four, six string) []guard.Sample {
	return together(
		networks(allThree, "open", guard.Fail, on(walls(allowAll, allowAll), "tcp "+four+" x")),
		networks(allThree, "open by IPv6", guard.Fail, on(walls(with(refused, ""), allowAll), "tcp "+six+" x")),
		networks(allThree, "refused", guard.Pass, on(walls(with(refused, ""), with(refused, "")), "tcp "+four+" x", "tcp "+six+" x")),
		networks(allThree, "on this host alone", guard.Pass, on(walls(allowAll, allowAll), "tcp "+strings.Replace(four, "0.0.0.0", "127.0.0.1", 1)+" x")),
		networks(allThree, "a rule is not understood", guard.Unchecked, on(walls(uncertain, uncertain), "tcp "+four+" x")))
}

func samplesFirewall() []guard.Sample {
	const ssh = "tcp 0.0.0.0:22 sshd"
	hidden := on(nil, ssh)
	hidden.RulesErr = errHidden
	return together(
		networks(allThree, "no rules", guard.Fail, on(walls("", ""), ssh)),
		networks(allThree, "chains without rules", guard.Fail, on(walls("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", ""), ssh)),
		networks(allThree, "some rules", guard.Pass, on(walls(allowAll, ""), ssh)),
		networks(allThree, "the rules may not be seen", guard.Unchecked, hidden),
		networks(allThree, "nobody comes here", guard.NotApplicable, on(walls("", ""), "tcp 127.0.0.1:22 sshd")))
}

func samplesPolicy() []guard.Sample {
	const ssh = "tcp [::]:22 sshd"
	last := "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n-A INPUT -j REJECT\nCOMMIT\n"
	return together(
		networks(allThree, "all but one port", guard.Fail, on(walls(allowAll, allowAll), ssh)),
		networks(allThree, "IPv6 has no rules", guard.Fail, on(walls(with(refused, ""), ""), ssh)),
		networks(allThree, "by policy", guard.Pass, on(walls(with(refused, ""), with(refused, "")), ssh)),
		networks(allThree, "by the last rule", guard.Pass, on(walls(last, last), ssh)),
		networks(allThree, "a rule is not understood", guard.Unchecked, on(walls(uncertain, uncertain), ssh)),
		networks(allThree, "no firewall, which is another check", guard.NotApplicable, on(walls("", ""), ssh)))
}

func samplesIPv6() []guard.Sample {
	const service = "tcp [::]:5240 nginx"
	return together(
		networks(allThree, "IPv6 has no rules", guard.Fail, on(walls(with(refused, ""), ""), service)),
		networks(allThree, "IPv6 accepts, in two sockets", guard.Fail, on(walls(with(refused, ""), allowAll), "tcp 0.0.0.0:5240 nginx", service)),
		networks(allThree, "both refuse", guard.Pass, on(walls(with(refused, ""), with(refused, "")), service)),
		networks(allThree, "both accept", guard.Pass, on(walls(allowAll, allowAll), service)),
		networks(allThree, "a rule is not understood", guard.Unchecked, on(walls(with(refused, ""), uncertain), service)),
		networks(allThree, "IPv4 alone", guard.NotApplicable, on(walls(with(refused, ""), ""), "tcp 0.0.0.0:5240 nginx")))
}

func samplesLogging() []guard.Sample {
	const ssh = "tcp [::]:22 sshd"
	return together(
		networks(allThree, "not logged", guard.Fail, on(walls(with(refused, ""), with(refused, "")), ssh)),
		networks(allThree, "ufw's is off", guard.Fail, on(walls("*filter\n:INPUT DROP [0:0]\n:ufw-user-input - [0:0]\n-A INPUT -j ufw-user-input\nCOMMIT\n", with(refused, withLog)), ssh),
			guard.Entry{Path: "/etc/ufw/ufw.conf", Content: "ENABLED=yes\nLOGLEVEL=off\n"}),
		networks(allThree, "logged", guard.Pass, on(walls(with(refused, withLog), with(refused, withLog)), ssh)),
		networks(allThree, "nothing is refused, which is another check", guard.NotApplicable, on(walls(allowAll, allowAll), ssh)))
}

func samplesNeeded() []guard.Sample {
	const boot = "tcp 0.0.0.0:5248 nginx"
	return together(
		networks(allThree, "refused to all", guard.Fail, on(walls(with(refused, ""), ""), boot)),
		networks(allThree, "from the private networks", guard.Pass, on(walls(with(refused, fromInside), ""), boot)),
		networks(allThree, "no rules", guard.Pass, on(walls("", ""), boot)),
		networks(bothMAAS, "calls of racks, on a host that may have the only one", guard.NotApplicable, on(walls(with(refused, ""), ""), "tcp 0.0.0.0:5250 x", "tcp 0.0.0.0:5432 postgres",
			"tcp 0.0.0.0:2222 sshd")),
		networks([]guard.Product{guard.MAASDeb}, "calls of racks, on a region alone", guard.Fail, on(walls(with(refused, ""), ""), "tcp 0.0.0.0:5250 x"), guard.Entry{Path: "/etc/maas/regiond.conf"}),
		networks([]guard.Product{guard.MAASDeb}, "a region's database for itself", guard.NotApplicable, on(walls(with(refused, ""), ""), "tcp 0.0.0.0:5432 postgres"),
			guard.Entry{Path: "/etc/maas/regiond.conf"}),
		networks(allThree, "none of the product's", guard.NotApplicable, on(walls(with(refused, ""), ""), "tcp 0.0.0.0:8081 x")))
}

func samplesOutgoing() (list []guard.Sample) {
	silent := errors.New("i/o timeout")
	files := map[guard.Product]guard.Entry{guard.MAASDeb: {Path: "/etc/maas/rackd.conf", Content: "cluster_uuid: x\nmaas_url:\n- http://10.0.0.2:5240/MAAS\n"},
		guard.MAASSnap:  {Path: snapData + "rackd.conf", Content: "maas_url: http://10.0.0.2:5240/MAAS\n"},
		guard.Metalward: {Path: ourState + "rack-identity.json", Content: `{"system_id":"abc123","region":"10.0.0.2:5240"}`}}
	for _, p := range allThree {
		answers := func(first, second, others error) map[string]error {
			m := map[string]error{"10.0.0.2:5240": first, "10.0.0.2:5250": second, "10.0.0.2:5242": others}
			for _, port := range []string{"5251", "5252", "5253", "5254", "5255", "5256", "5257", "5258", "5259", "5271", "5272", "5273", "5274"} {
				m["10.0.0.2:"+port] = others
			}
			return m
		}
		add := func(name string, want guard.State, m map[string]error, tree ...guard.Entry) {
			list = append(list, guard.Sample{Name: name, Product: p, Want: want, Tree: tree, Answers: m})
		}
		add("all connect", guard.Pass, answers(nil, nil, nil), files[p])
		add("an older region with one worker", guard.Pass, answers(nil, nil, guard.ErrRefused), files[p])
		add("no answer", guard.Fail, answers(silent, silent, silent), files[p])
		add("the first is refused", guard.Fail, answers(guard.ErrRefused, nil, nil), files[p])
		add("not asked for", guard.Unchecked, nil, files[p])
		add("no rack", guard.NotApplicable, nil)
		hidden := files[p]
		hidden.Hidden = true
		add("its configuration may not be read", guard.Unchecked, nil, hidden)
	}
	return list
}
