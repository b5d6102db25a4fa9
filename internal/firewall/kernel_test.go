package firewall_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/metalward/metalward/internal/firewall" //nolint:revive // the package under test, from where its helper can be used
	"github.com/metalward/metalward/internal/firewall/firewalltest"
)

// someports are what the made rules speak of.
var someports = []int{22, 53, 80, 1024, 5240, 5250}

// maker makes rules that are all understood.
type maker struct{ *rand.Rand }

func (m maker) pick(list ...string) string { return list[m.IntN(len(list))] }

func (m maker) port() string { return fmt.Sprint(someports[m.IntN(len(someports))]) }

// nftMatch is one match, or several words that are.
func (m maker) nftMatch() string {
	p, q := m.port(), m.port()
	switch m.IntN(24) {
	case 0:
		return "tcp dport " + p
	case 1:
		return "udp dport " + p
	case 2:
		return "tcp dport != " + p
	case 3:
		return fmt.Sprintf("%s dport { %s, %s, 3000-4000 }", m.pick("tcp", "udp", "th"), p, q+"0")
	case 4:
		return fmt.Sprintf("tcp dport %s-65535", p)
	case 5:
		return "ip saddr " + m.pick("10.99.1.2", "10.99.0.0/16", "!= 10.99.1.0/24", "198.51.100.0/24", "{ 10.0.0.0/8, 198.51.100.7 }", "@near", "!= @near", "192.0.2.1-198.51.100.6")
	case 6:
		return "ip6 saddr " + m.pick("fd99::2", "fd99::/64", "!= fd00::/8", "2001:db8::/32", "{ fd99::/16, 2001:db8:7::7 }", "@near6", "!= @near6")
	case 7:
		return "iifname " + m.pick(`"fwhost0"`, `"fwhost*"`, `"lo"`, `"eth*"`, `!= "lo"`, `{ "lo", "fwhost0" }`)
	case 8:
		return "ct state " + m.pick("new", "established,related", "!= new", "invalid", "{ new, established }", "! new", "! established,related", "!= { invalid, untracked }")
	case 9:
		return "meta l4proto " + m.pick("tcp", "udp", "{ tcp, udp }", "!= tcp", "icmp")
	case 10:
		return "meta nfproto " + m.pick("ipv4", "ipv6")
	case 11:
		return fmt.Sprintf("ip saddr . tcp dport { 10.99.1.2 . %s, 198.51.100.7 . %s }", p, q)
	case 12:
		return "fib daddr type " + m.pick("local", "!= local", "broadcast", "{ local, multicast }")
	case 13:
		return "tcp flags " + m.pick("syn,ack", "& (fin|rst) == 0", "& (urg|fin) == urg", "fin", "!= rst")
	case 14:
		return "limit rate " + m.pick("100000/second burst 100000 packets", "over 100000/second burst 100000 packets")
	case 15:
		return "tcp dport " + m.pick("<", ">=", ">", "<=") + " " + p
	case 16:
		return "ip daddr " + m.pick("10.99.1.1", "10.99.1.2", "!= 10.99.1.1")
	case 17:
		return "ip protocol " + m.pick("tcp", "udp")
	case 18:
		return "tcp sport " + m.pick("1024-65535", "< 1024", "22")
	case 19:
		return "ip6 nexthdr " + m.pick("tcp", "udp", "icmpv6")
	case 20:
		return "meta mark & 0xf " + m.pick("==", "!=") + " 0"
	case 21:
		return "fib saddr . iif oif " + m.pick("missing", "exists")
	case 22:
		return "meta pkttype " + m.pick("host", "broadcast", "!= multicast")
	default:
		return m.pick("counter", "ct status != dnat", "ct status dnat", "ct status { snat, dnat }", "meta protocol ip", "icmp type echo-request", "exthdr frag missing", "udp sport 67")
	}
}

// nft is a whole ruleset, loadable.
func (m maker) nft() string {
	var b strings.Builder
	for t := range 1 + m.IntN(2) {
		family := m.pick("inet", "inet", "ip", "ip6")
		fmt.Fprintf(&b, "table %s t%d {\n set near { type ipv4_addr; flags interval; elements = { 10.99.1.0/24, 192.0.2.9 }; }\n set near6 { type ipv6_addr; flags interval; elements = { fd99::/64 }; }\n", family, t)
		fmt.Fprintf(&b, " map ways { type inet_service : verdict; elements = { %s : accept, %s0-%s9 : drop, %s : jump c0 }; flags interval; }\n", "22", "52", "52", "5240")
		chains := 1 + m.IntN(3)
		for c := range chains {
			fmt.Fprintf(&b, " chain c%d {\n", c)
			m.nftRules(&b, family, c, m.IntN(4))
			b.WriteString(" }\n")
		}
		for c := range 1 + m.IntN(2) {
			hook, priority := m.pick("input", "input", "prerouting"), m.IntN(600)-400
			fmt.Fprintf(&b, " chain base%d {\n type filter hook %s priority %d; policy %s;\n", c, hook, priority, m.pick("accept", "drop", "accept"))
			if hook == "input" || priority > -200 { // else what follows the first packet is met like it
				b.WriteString("  ct state established accept\n")
			}
			m.nftRules(&b, family, chains, 1+m.IntN(7))
			b.WriteString(" }\n")
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// nftRules writes rules that jump to the first few chains only.
func (m maker) nftRules(b *strings.Builder, family string, chains, n int) {
	for range n {
		var matches []string
		for range m.IntN(3) {
			match := m.nftMatch()
			if family != "inet" && (strings.HasPrefix(match, "meta nfproto") || strings.HasPrefix(match, "exthdr")) {
				continue
			}
			if family == "ip" && strings.Contains(match, "6 ") && strings.HasPrefix(match, "ip6") || family == "ip6" && strings.HasPrefix(match, "ip ") {
				continue
			}
			if strings.Contains(match, "dport") || strings.Contains(match, "sport") || strings.Contains(match, "flags") || strings.Contains(match, "icmp") || strings.Contains(match, "proto") || strings.Contains(match, "nexthdr") || strings.HasPrefix(match, "exthdr") {
				// Two of these may contradict, which nft refuses.
				if len(matches) > 0 {
					continue
				}
			}
			if strings.HasPrefix(match, "th ") {
				match = "meta l4proto { tcp, udp } " + match
			}
			matches = append(matches, match)
		}
		action := m.pick("accept", "drop", "reject", "return", "accept", "drop", "counter", "log")
		if chains > 0 && m.IntN(3) == 0 {
			action = fmt.Sprintf("%s c%d", m.pick("jump", "goto"), m.IntN(chains))
			if m.IntN(4) == 0 {
				matches, action = nil, m.pick(fmt.Sprintf("tcp dport vmap { 22 : accept, 5250-5259 : drop, 80 : jump c%d }", m.IntN(chains)), "ct state vmap { established : accept, related : accept, invalid : drop }", "meta l4proto vmap { tcp : continue, udp : return }",
					m.pick("tcp", "udp")+" dport vmap @ways", fmt.Sprintf("%s saddr . tcp dport vmap { %s . 22 : accept, %s . 53 : drop }", map[bool]string{false: "ip", true: "ip6"}[family == "ip6"],
						map[bool]string{false: "10.99.1.2", true: "fd99::2"}[family == "ip6"], map[bool]string{false: "198.51.100.7", true: "2001:db8:7::7"}[family == "ip6"]))
			}
		}
		fmt.Fprintf(b, "  %s %s\n", strings.Join(matches, " "), action)
	}
}

// agree holds what is judged against what really happens.
func agree(t *testing.T, w *firewalltest.Wire, rs *Ruleset, list []Packet, counts map[Verdict]int, tell bool) {
	t.Helper()
	found := w.Reaches(list, firewalltest.Patience)
	for i, p := range list {
		a := rs.Judge(p)
		counts[a.Verdict]++
		if a.Verdict == Accepted && !found[i] {
			found[i] = w.Reaches([]Packet{p}, firewalltest.Stubborn)[0]
		}
		if a.Verdict == Dropped && found[i] && p.Protocol == UDP { // a flow of the ruleset before may have had this port of the client's: it is established still
			found[i] = w.Reaches([]Packet{p}, firewalltest.Patience)[0]
		}
		if a.Verdict == Accepted != found[i] && a.Verdict != CannotTell {
			t.Errorf("%+v: judged %s for %q, but it reaches: %t", p, a.Verdict, a.Why, found[i])
		}
		if a.Verdict == CannotTell && tell {
			t.Errorf("%+v: cannot tell, for %q", p, a.Why)
		}
	}
}

// seeds is how many rulesets of each kind are made: each takes about as long as patience.
const seeds = 20

// TestIngress drops at the device, before anything else; chains of other devices are not met.
func TestIngress(t *testing.T) {
	firewalltest.Tool(t, "nft")
	w := firewalltest.New(t, someports)
	w.Run(w.Host, "ip", "link", "add", "other0", "type", "veth", "peer", "name", "other1")
	for _, text := range []string{
		"table netdev t {\n chain own {\n type filter hook ingress device fwhost0 priority 0;\n tcp dport 22 drop\n udp dport 53 drop\n }\n chain others {\n type filter hook ingress device other0 priority 0; policy drop;\n }\n}\n",
		"table inet t {\n chain own {\n type filter hook ingress devices = { fwhost0, other0 } priority 0;\n ip saddr 10.99.1.2 tcp dport { 22, 80 } drop\n }\n}\n",
	} {
		w.Run(w.Host, "nft", "flush", "ruleset")
		if out, err := w.Try(w.Host, text, "nft", "-f", "-"); err != nil {
			t.Skipf("this kernel has no ingress: %s", out)
		}
		list := w.Run(w.Host, "nft", "-j", "list", "ruleset")
		rs, _, err := ParseNFT([]byte(list), []byte(w.Run(w.Host, "nft", "-a", "list", "ruleset")))
		if err != nil {
			t.Fatal(err)
		}
		counts := map[Verdict]int{}
		agree(t, w, rs, firewalltest.Packets(someports), counts, true)
		if rs, _, err = ParseNFT([]byte(list), nil); err != nil {
			t.Fatal(err)
		}
		agree(t, w, rs, firewalltest.Packets(someports), map[Verdict]int{}, false) // the devices may not be known
		if counts[Dropped] == 0 || counts[Accepted] == 0 {
			t.Errorf("got %v, want some of each", counts)
		}
	}
}

// TestNFTKernel holds made rulesets of nftables against the kernel.
func TestNFTKernel(t *testing.T) {
	firewalltest.Tool(t, "nft")
	w := firewalltest.New(t, someports)
	counts := map[Verdict]int{}
	refused := 0
	for seed := range uint64(seeds) {
		text := maker{rand.New(rand.NewPCG(seed, 1))}.nft()
		w.Run(w.Host, "nft", "flush", "ruleset")
		if out, err := w.Try(w.Host, text, "nft", "-f", "-"); err != nil {
			refused++
			t.Logf("seed %d: %s", seed, out)
			continue
		}
		rs, partial, err := ParseNFT([]byte(w.Run(w.Host, "nft", "-j", "list", "ruleset")), []byte(w.Run(w.Host, "nft", "-a", "list", "ruleset")))
		if err != nil || len(partial) > 0 {
			t.Fatalf("seed %d: %v, %q", seed, err, partial)
		}
		agree(t, w, rs, firewalltest.Packets(someports), counts, true)
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, text)
		}
	}
	t.Logf("verdicts: %v; rulesets that nft refused: %d", counts, refused)
	if counts[Accepted] < 100 || counts[Dropped] < 100 || refused > seeds/4 {
		t.Errorf("got %v and %d refused, want a hundred of each verdict and few refused", counts, refused)
	}
}
