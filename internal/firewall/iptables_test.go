package firewall_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	. "github.com/metalward/metalward/internal/firewall" //nolint:revive // the package under test, from where its helper can be used
	"github.com/metalward/metalward/internal/firewall/firewalltest"
)

// iptMatch is like nftMatch.
func (m maker) iptMatch(v6 bool) string {
	p, q := m.port(), m.port()
	near, nearNet, farNet := "10.99.1.2", "10.99.0.0/16", "198.51.100.0/24"
	if v6 {
		near, nearNet, farNet = "fd99::2", "fd99::/64", "2001:db8::/32"
	}
	not := m.pick("", "", "! ")
	switch m.IntN(15) {
	case 0:
		return "-p tcp -m tcp " + not + "--dport " + p
	case 1:
		return "-p udp -m udp " + not + "--dport " + m.pick(p, p+":", ":"+p, "1000:5245")
	case 2:
		return fmt.Sprintf("-p %s -m multiport %s--dports %s,%s0,3000:6000", m.pick("tcp", "udp"), not, p, q)
	case 3:
		return not + "-s " + m.pick(near, nearNet, farNet)
	case 4:
		return not + "-i " + m.pick("fwhost0", "fwhost+", "lo", "eth+")
	case 5:
		return "-m conntrack " + not + "--ctstate " + m.pick("NEW", "RELATED,ESTABLISHED", "INVALID", "NEW,ESTABLISHED")
	case 6:
		return "-m state --state " + m.pick("NEW", "ESTABLISHED", "INVALID,NEW")
	case 7:
		return "-m addrtype " + not + "--dst-type " + m.pick("LOCAL", "BROADCAST", "LOCAL,MULTICAST")
	case 8:
		return "-m limit --limit 10000/second --limit-burst 10000"
	case 9:
		return "-m comment --comment " + m.pick("plain", `"two words"`, `"a \" and a \\"`)
	case 10:
		return not + "-p " + m.pick("tcp", "udp", "icmp", "sctp")
	case 11:
		return "-m mark " + not + "--mark " + m.pick("0x0/0xff", "0x1", "0x0")
	case 12:
		if v6 {
			return "-m rt --rt-type 0"
		}
		return "-m iprange " + not + "--src-range 10.99.0.1-10.99.1.2"
	case 13:
		return "-m pkttype " + not + "--pkt-type " + m.pick("unicast", "broadcast")
	default:
		return "-p tcp -m tcp --tcp-flags " + m.pick("FIN,RST NONE", "ALL ALL", "FIN FIN")
	}
}

func (m maker) ipt(v6 bool) string {
	var b strings.Builder
	for _, table := range []string{"raw", "mangle", "filter"} {
		if table != "filter" && m.IntN(2) == 0 {
			continue
		}
		hook := map[string]string{"raw": "PREROUTING", "mangle": "PREROUTING", "filter": "INPUT"}[table]
		chains := 1 + m.IntN(3)
		fmt.Fprintf(&b, "*%s\n:%s %s [0:0]\n", table, hook, m.pick("ACCEPT", "DROP", "ACCEPT"))
		for c := range chains {
			fmt.Fprintf(&b, ":c%d - [0:0]\n", c)
		}
		rule := func(in string, jumps int) {
			words := []string{"-A", in}
			for range m.IntN(3) {
				if match := m.iptMatch(v6); len(words) == 2 || !strings.Contains(match, "-p ") && !strings.Contains(match, "-i ") && !strings.Contains(match, "-s ") && !strings.Contains(words[2], strings.Fields(match)[1]) {
					words = append(words, match)
				}
			}
			reject := "REJECT"
			if table != "filter" {
				reject = "DROP"
			}
			action := "-j " + m.pick("ACCEPT", "DROP", reject, "RETURN", "ACCEPT", "DROP", "LOG")
			if jumps > 0 && m.IntN(3) == 0 {
				action = fmt.Sprintf("%s c%d", m.pick("-j", "-g"), m.IntN(jumps))
			}
			b.WriteString(strings.Join(append(words, action), " ") + "\n")
		}
		for c := range chains {
			for range m.IntN(4) {
				rule(fmt.Sprintf("c%d", c), c)
			}
		}
		if table != "raw" {
			fmt.Fprintf(&b, "-A %s -m conntrack --ctstate ESTABLISHED -j ACCEPT\n", hook)
		}
		for range 1 + m.IntN(6) {
			rule(hook, chains)
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// TestIPTablesKernel holds made rules of iptables against the kernel, in both of its kinds.
func TestIPTablesKernel(t *testing.T) {
	for _, kind := range []string{"nft", "legacy"} {
		t.Run(kind, func(t *testing.T) {
			firewalltest.Tool(t, "iptables-"+kind+"-save")
			w := firewalltest.New(t, someports)
			counts, refused := map[Verdict]int{}, 0
			for seed := range uint64(seeds) {
				var sets []*Ruleset
				var made string
				for i, name := range []string{"iptables", "ip6tables"} {
					m := maker{rand.New(rand.NewPCG(seed, uint64(i)))}
					text := m.ipt(i == 1)
					clear := ""
					for _, table := range []string{"raw", "mangle", "filter"} {
						clear += "*" + table + "\n:PREROUTING ACCEPT\n:INPUT ACCEPT\nCOMMIT\n"
					}
					clear = strings.ReplaceAll(strings.ReplaceAll(clear, "*raw\n:PREROUTING ACCEPT\n:INPUT ACCEPT", "*raw\n:PREROUTING ACCEPT"), "*filter\n:PREROUTING ACCEPT\n", "*filter\n")
					if out, err := w.Try(w.Host, clear, name+"-"+kind+"-restore"); err != nil {
						t.Skipf("this kernel has no %s: %s", kind, out)
					}
					if out, err := w.Try(w.Host, text, name+"-"+kind+"-restore"); err != nil {
						refused++
						t.Logf("seed %d: %s", seed, out)
					}
					rs, err := ParseIPTables([]byte(w.Run(w.Host, name+"-"+kind+"-save")), i == 1)
					if err != nil {
						t.Fatalf("seed %d: %v\n%s", seed, err, text)
					}
					sets, made = append(sets, rs), made+text
				}
				agree(t, w, Join(sets...), firewalltest.Packets(someports), counts, true)
				if t.Failed() {
					t.Fatalf("seed %d:\n%s", seed, made)
				}
			}
			t.Logf("verdicts: %v; refused: %d", counts, refused)
			if counts[Accepted] < 100 || counts[Dropped] < 100 || refused > seeds/4 {
				t.Errorf("got %v and %d refused, want a hundred of each verdict and few refused", counts, refused)
			}
		})
	}
}
