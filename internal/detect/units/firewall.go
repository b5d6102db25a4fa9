package units

import (
	"time"

	. "github.com/metalward/metalward/internal/detect"
)

// blockedProbe is a packet that begins something, was refused, and comes from elsewhere.
var blockedProbe = All(is(Kind, "firewall"), has(Flag, "blocked"), has(Flag, "probe"), Not(has(Flag, "outbound", "group")))

var firewall = []Unit{
	{
		ID: "fw_portscan", Title: "One source tries many ports", Source: guide + "; " + reference + " 2.3", ATTACK: []string{"T1046", "T1595.001"},
		Why:   "Fifteen ports that nothing answers on are beyond mistakes. ufw writes three lines a minute by default, so the same number counts over a day as well.",
		Do:    "See whether any of the ports is open. A scan is routine on the Internet; from inside it is an intruder or a forgotten scanner.",
		Match: blockedProbe, Key: []Field{Source}, Distinct: Service,
		Rungs: []Rung{{Distinct: 3, Window: minute, Severity: Info}, {Distinct: 15, Window: day, Severity: Medium}},
		Quiet: []string{"answers of DNS, NTP and HTTPS", "answers of neighbours to SSDP and printer discovery", "multicast and broadcast", "leftovers of connections (ACK, FIN, RST)"},
		Samples: []Sample{
			{Name: "fifteen ports in a minute", Lines: packets(15, func(i int) packet { return packet{at: i, dport: 1000 + i} }), Want: Medium},
			{Name: "fifteen ports in twelve hours, as ufw's limit leaves them", Lines: packets(15, func(i int) packet { return packet{at: i * 2880, dport: 1000 + i} }), Want: Medium},
			{Name: "fourteen ports", Lines: packets(14, func(i int) packet { return packet{at: i * 60, dport: 1000 + i} })},
			{Name: "answers of web servers", Lines: packets(30, func(i int) packet { return packet{at: i, sport: 443, dport: 40000 + i, flags: "ACK FIN"} })},
			{Name: "answers of a television to SSDP", Lines: packets(30, func(i int) packet {
				return packet{at: i, src: "192.168.1.20", proto: "UDP", sport: 1900, dport: 40000 + i}
			})},
			{Name: "allowed connections", Lines: packets(30, func(i int) packet { return packet{at: i, prefix: "[UFW ALLOW]", dport: 1000 + i} })},
			{Name: "fifteen ports of broadcasts", Lines: packets(15, func(i int) packet { return packet{at: i, dst: "255.255.255.255", proto: "UDP", dport: 1000 + i} })},
			{Name: "fifteen ports over more than a day", Lines: packets(15, func(i int) packet { return packet{at: i * 6600, dport: 1000 + i} })},
		},
	},
	{
		ID: "fw_flagscan", Title: "One source sends packets that no connection has", Source: reference + " 2.3", ATTACK: []string{"T1046", "T1595.001"},
		Why:   "FIN alone, no flag at all, or FIN, PSH and URG together are how nmap's quiet scans look; a leftover of a connection is one packet, not fifteen ports.",
		Do:    "As for a port scan: see which ports are open.",
		Match: All(is(Kind, "firewall"), has(Flag, "blocked"), has(Flag, "flagscan"), Not(has(Flag, "outbound"))), Key: []Field{Source}, Distinct: Service,
		Rungs: []Rung{{Distinct: 15, Window: minute, Severity: Medium}},
		Quiet: []string{"single FIN packets of connections that ended"},
		Samples: []Sample{
			{Name: "FIN to fifteen ports", Lines: packets(15, func(i int) packet { return packet{at: i, dport: 20 + i, flags: "FIN"} }), Want: Medium},
			{Name: "FIN to fourteen ports", Lines: packets(14, func(i int) packet { return packet{at: i, dport: 20 + i, flags: "FIN"} })},
			{Name: "FIN ACK leftovers", Lines: packets(20, func(i int) packet { return packet{at: i, dport: 20 + i, flags: "ACK FIN"} })},
		},
	},
	{
		ID: "fw_hostsweep", Title: "One source tries the same port on many hosts", Source: reference + " 2.3", ATTACK: []string{"T1046", "T1018"},
		Why:   "Ten hosts of a site on one port within a day is a search for one weakness.",
		Do:    "See whether any of the hosts has the port open, and whether the source is inside.",
		Match: blockedProbe, Key: []Field{Source, Service}, Distinct: Dest,
		Rungs: []Rung{{Distinct: 10, Window: day, Severity: Medium}},
		Samples: []Sample{
			{Name: "ten hosts", Lines: packets(10, func(i int) packet { return packet{at: i * 60, dst: "203.0.113." + itoa(10+i), dport: 22} }), Want: Medium},
			{Name: "nine hosts", Lines: packets(9, func(i int) packet { return packet{at: i * 60, dst: "203.0.113." + itoa(10+i), dport: 22} })},
		},
	},
	{
		ID: "fw_hacker_port", Title: "A port of a known intruder's tool is tried", Source: guide + "; " + reference + " 2.5", ATTACK: []string{"T1571", "T1595.001"},
		Why:   "Nothing of MAAS, and nothing configured here, uses the port; tools for back doors do.",
		Do:    "Make sure that nothing listens on it. If something does, take the host off the network and look at it.",
		Match: All(blockedProbe, has(Flag, "tool")), Key: []Field{Source, Port},
		Rungs: []Rung{{Count: 1, Window: day, Severity: Info}},
		Quiet: []string{"ports of MAAS and Metalward", "ports that a service here uses"},
		Samples: []Sample{
			{Name: "Back Orifice", Lines: packets(1, func(int) packet { return packet{dport: 31337} }), Want: Info},
			{Name: "the guide's line", Lines: []string{"blocked incoming tcp connection request from 198.51.100.43:49343 to 203.0.113.18:31337"}, Want: Info},
			{Name: "a port of MAAS", Lines: packets(1, func(int) packet { return packet{dport: 5250} })},
		},
	},
	{
		ID: "fw_probed_service", Title: "A service that should not be open to strangers is tried", Source: reference + " 2.5", ATTACK: []string{"T1595.001"},
		Why: "Databases, remote desktops and container engines are looked for all day.", Do: "Make sure that the port is closed to strangers: metalward harden check --only ports.",
		Match: All(blockedProbe, has(Flag, "attacked")), Key: []Field{Source, Port},
		Rungs: []Rung{{Count: 1, Window: day, Severity: Info}},
		Samples: []Sample{
			{Name: "SQL Server", Lines: packets(1, func(int) packet { return packet{dport: 1433} }), Want: Info},
			{Name: "an ordinary port", Lines: packets(1, func(int) packet { return packet{dport: 8443} })},
		},
	},
	{
		ID: "fw_repeat", Title: "One source keeps trying the same port", Source: guide + "; " + reference + " 2.3", ATTACK: []string{"T1595"},
		Why:   "Ten refused tries in a day, each at least a second after the one before, are no retry of TCP.",
		Do:    "See what listens on the port, and whether the source has business here: a client with old settings looks the same.",
		Match: blockedProbe, Key: []Field{Source, Service}, Gap: time.Second, Once: Sport, OnceFor: minute,
		Rungs: []Rung{{Count: 10, Window: day, Severity: Low}},
		Quiet: []string{"retries of one connection: the same source port within a minute"},
		Samples: []Sample{
			{Name: "ten tries", Lines: packets(10, func(i int) packet { return packet{at: i * 600, sport: 40000 + i, dport: 8443} }), Want: Low},
			{Name: "nine tries", Lines: packets(9, func(i int) packet { return packet{at: i * 600, sport: 40000 + i, dport: 8443} })},
			{Name: "TCP's retries", Lines: packets(20, func(i int) packet { return packet{at: i * 3, sport: 40000, dport: 8443} })},
		},
	},
	{
		ID: "fw_subnet_repeat", Title: "Sources of one network try the same port", Source: guide + "; " + reference + " 2.3", ATTACK: []string{"T1595.001"},
		Why: "A scan that rotates its address stays within the block that its owner rents.", Do: "Look the network's owner up; report it if it goes on.",
		Match: All(blockedProbe, known(Net)), Key: []Field{Net, Service}, Distinct: Source,
		Rungs: []Rung{{Distinct: 5, Window: day, Severity: Low}},
		Samples: []Sample{
			{Name: "five of a /24", Lines: packets(5, func(i int) packet { return packet{at: i * 60, src: "198.51.100." + itoa(10+i), dport: 8443} }), Want: Low},
			{Name: "four of a /24", Lines: packets(4, func(i int) packet { return packet{at: i * 60, src: "198.51.100." + itoa(10+i), dport: 8443} })},
			{Name: "five of one /48", Lines: packets(5, func(i int) packet {
				return packet{at: i * 60, src: "2001:0db8:0001:000" + itoa(i+1) + ":0000:0000:0000:0007", dport: 8443}
			}), Want: Low},
			{Name: "one /64 is one source", Lines: packets(5, func(i int) packet {
				return packet{at: i * 60, src: "2001:0db8:0001:0001:0000:0000:0000:000" + itoa(i+1), dport: 8443}
			})},
		},
	},
	{
		ID: "fw_outbound_blocked", Title: "Something inside was kept from calling out", Source: guide + "; " + reference + " 2.3", ATTACK: []string{"T1071", "T1571"},
		Why:   "What calls out against the rules is a wrong setting or a program that should not be there. It usually repeats.",
		Do:    "Find the program on the host: ss -tnp, or its logs around the time.",
		Match: All(is(Kind, "firewall"), has(Flag, "blocked"), has(Flag, "outbound"), Not(has(Flag, "group")), Not(If(Port, Is, "67", "68", "123", "5353", "5355", "1900"))),
		Key:   []Field{Source, Dest, Port}, Gap: time.Second,
		Rungs: []Rung{{Count: 1, Window: day, Severity: Low}, {Count: 5, Window: hour, Severity: High}},
		Quiet: []string{"DHCP renewals", "mDNS, SSDP, LLMNR and NTP"},
		Samples: []Sample{
			{Name: "once", Lines: packets(1, func(int) packet { return packet{out: true, src: "10.0.0.7", dst: "198.51.100.7", dport: 6667} }), Want: Low},
			{Name: "five times in an hour", Lines: packets(5, func(i int) packet {
				return packet{at: i * 600, out: true, src: "10.0.0.7", dst: "198.51.100.7", dport: 6667}
			}), Want: High},
			{Name: "the guide's line", Lines: []string{"blocked outgoing tcp packet from 192.168.23.100:5240 to 198.51.100.18:443 as FIN:ACK received, but there is no active connection."}, Want: Low},
			{Name: "a DHCP renewal", Lines: packets(5, func(i int) packet {
				return packet{at: i * 600, out: true, src: "10.0.0.7", dst: "10.0.0.1", proto: "UDP", sport: 68, dport: 67}
			})},
		},
	},
	{
		ID: "fw_spoofed_source", Title: "Packets with a source that cannot be", Source: reference + " 2.3, 2.4", ATTACK: []string{"T1557"},
		Why:   "An address of inside that arrives from outside, or a loopback address on a wire, is forged or a wrong route.",
		Do:    "Look at routing and cabling first; then at who can send on that interface. metalward harden explain confinement-sysctl tells of rp_filter.",
		Match: All(is(Kind, "firewall", "martian"), has(Flag, "spoofed")), Key: []Field{Inbound, Source},
		Rungs: []Rung{{Count: 1, Window: day, Severity: Low}, {Count: 20, Window: hour, Severity: Medium}},
		Samples: []Sample{
			{Name: "the kernel's word", Lines: []string{"Nov  7 06:13:45 host kernel: IPv4: martian source 203.0.113.5 from 10.0.0.7, on dev eth0"}, Want: Low},
			{Name: "loopback on a wire", Lines: packets(1, func(int) packet { return packet{src: "127.0.0.1", dport: 5432} }), Want: Low},
			{Name: "a stranger", Lines: packets(1, func(int) packet { return packet{dport: 5432} })},
		},
	},
	{
		ID: "fw_required_blocked", Title: "A port that MAAS needs is refused", Source: "Metalward's table of ports", ATTACK: nil,
		Why:   "Racks, regions and machines stop working when their own ports are dropped; this is seldom an attack and often a rule too many.",
		Do:    "Run metalward harden check --only ports: it names the rule and the fix.",
		Match: All(is(Kind, "firewall"), has(Flag, "blocked"), has(Flag, "required"), has(Flag, "inside")), Key: []Field{Source, Service},
		Rungs: []Rung{{Count: 3, Window: hour, Severity: Medium}},
		Quiet: []string{"strangers who try them"},
		Samples: []Sample{
			{Name: "a rack's calls", Lines: packets(3, func(i int) packet { return packet{at: i * 60, src: "10.9.0.7", dport: 5250} }), Want: Medium},
			{Name: "a stranger's", Lines: packets(3, func(i int) packet { return packet{at: i * 60, dport: 5250} })},
		},
	},
	{
		ID: "fw_allowed_tool", Title: "Traffic to a port that nothing should use was let through", Source: guide + "; " + reference + " 2.5", ATTACK: []string{"T1571"},
		Why: "The rules allow a connection to a port of a known tool.", Do: "See what listens there, and close the port.",
		Match: All(is(Kind, "firewall"), has(Flag, "allowed"), has(Flag, "probe"), has(Flag, "tool")), Key: []Field{Source, Port},
		Rungs: []Rung{{Count: 1, Window: day, Severity: Medium}},
		Samples: []Sample{
			{Name: "let through", Lines: packets(1, func(int) packet { return packet{prefix: "[UFW ALLOW]", dport: 31337} }), Want: Medium},
			{Name: "only looked at an ordinary port", Lines: packets(1, func(int) packet { return packet{prefix: "[UFW AUDIT]", dport: 443} })},
		},
	},
}
