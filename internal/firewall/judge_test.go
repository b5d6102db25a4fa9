package firewall

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
)

func parse(t testing.TB, text string, v6 bool) *Ruleset {
	t.Helper()
	rs, err := ParseIPTables([]byte(text), v6)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// filter is a table whose INPUT has some rules.
func filter(policy string, rules ...string) string {
	return "*filter\n:INPUT " + policy + " [0:0]\n:sub - [0:0]\n" + strings.Join(rules, "\n") + "\nCOMMIT\n"
}

func knock(port uint16) Packet {
	return Packet{Protocol: TCP, Source: netip.MustParseAddr("8.8.8.8"), Destination: netip.MustParseAddr("10.0.0.1"), Port: port, Device: "eth0"}
}

// What is not understood makes an answer less certain, and never another one.
func TestCannotTell(t *testing.T) {
	const odd = "-m bpf --bytecode x"
	for name, c := range map[string]struct {
		rules []string
		want  Verdict
		why   string
	}{
		"no rules":                          {nil, Dropped, "policy drop"},
		"an odd match accepts":              {[]string{"-A INPUT " + odd + " -j ACCEPT"}, CannotTell, "rule 1: -A INPUT -m bpf"},
		"an odd match drops before a drop":  {[]string{"-A INPUT " + odd + " -j DROP"}, Dropped, "policy drop"},
		"an odd match drops":                {[]string{"-A INPUT " + odd + " -j DROP", "-A INPUT -j ACCEPT"}, CannotTell, "bpf"},
		"an odd match accepts as all do":    {[]string{"-A INPUT " + odd + " -j ACCEPT", "-A INPUT -j ACCEPT"}, Accepted, "rule 2"},
		"an odd match of another port":      {[]string{"-A INPUT -p tcp -m tcp --dport 80 " + odd + " -j ACCEPT"}, Dropped, "policy"},
		"an odd match logs":                 {[]string{"-A INPUT " + odd + " -j LOG", "-A INPUT -j ACCEPT"}, Accepted, "rule 2"},
		"an odd jump that only returns":     {[]string{"-A INPUT " + odd + " -j sub", "-A sub -j RETURN"}, Dropped, "policy"},
		"an odd jump that accepts":          {[]string{"-A INPUT " + odd + " -j sub", "-A sub -j ACCEPT"}, CannotTell, "bpf"},
		"an odd target":                     {[]string{"-A INPUT -j XYZZY"}, CannotTell, "is not understood"},
		"an odd goto skips the rest":        {[]string{"-A INPUT " + odd + " -g sub", "-A INPUT -j ACCEPT", "-A sub -j RETURN"}, CannotTell, "bpf"},
		"marked by a rule":                  {[]string{"-A INPUT -j MARK --set-xmark 0x1/0xffffffff", "-A INPUT -m mark --mark 0x1 -j ACCEPT"}, CannotTell, "rule 2"},
		"not marked":                        {[]string{"-A INPUT -m mark --mark 0x1 -j ACCEPT"}, Dropped, "policy"},
		"a set that is elsewhere":           {[]string{"-A INPUT -m set --match-set good src -j ACCEPT"}, CannotTell, "-m set"},
		"a knock that was not made":         {[]string{"-A INPUT -m recent --rcheck --seconds 30 --name K --rsource -j ACCEPT"}, Dropped, "policy"},
		"too many connections, not yet":     {[]string{"-A INPUT -m connlimit --connlimit-above 3 --connlimit-mask 32 --connlimit-saddr -j REJECT", "-A INPUT -j ACCEPT"}, Accepted, "rule 2"},
		"not within a limit, in old words":  {[]string{"-A INPUT -m connlimit ! --connlimit-upto 3 -j ACCEPT"}, CannotTell, "connlimit"},
		"jumps that never end":              {[]string{"-A INPUT -j sub", "-A sub -j sub"}, CannotTell, "too deep"},
		"an odd address":                    {[]string{"-A INPUT -s somewhere -j ACCEPT"}, CannotTell, "somewhere"},
		"a mask with a hole":                {[]string{"-A INPUT -s 8.0.0.8/255.0.0.255 -j ACCEPT"}, CannotTell, "255.0.0.255"},
		"a mask in words":                   {[]string{"-A INPUT -s 8.8.0.0/255.255.0.0 -j ACCEPT"}, Accepted, "rule 1"},
		"a target's options are no matches": {[]string{"-A INPUT -j REJECT --reject-with tcp-reset -s 1.1.1.1"}, Dropped, "rule 1"},
	} {
		a := parse(t, filter("DROP", c.rules...), false).Judge(knock(22))
		if a.Verdict != c.want || !strings.Contains(strings.Join(a.Why, "\n"), c.why) {
			t.Errorf("%s: got %s for %q, want %s for %q", name, a.Verdict, a.Why, c.want, c.why)
		}
	}
}

// All chains on the way have to accept, and one that drops is enough; one that translates addresses may send it elsewhere.
func TestHooks(t *testing.T) {
	raw := func(rule string) string { return "*raw\n:PREROUTING ACCEPT\n" + rule + "\nCOMMIT\n" }
	nat := func(rule string) string { return "*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n" + rule + "\nCOMMIT\n" }
	for name, c := range map[string]struct {
		text string
		want Verdict
	}{
		"open":                            {filter("ACCEPT"), Accepted},
		"dropped before routing":          {raw("-A PREROUTING -j DROP") + filter("ACCEPT"), Dropped},
		"accepted before routing":         {raw("-A PREROUTING -j ACCEPT") + filter("DROP"), Dropped},
		"sent elsewhere":                  {nat("-A PREROUTING -p tcp -m tcp --dport 22 -j DNAT --to-destination 10.1.1.1") + filter("ACCEPT"), CannotTell},
		"another is sent elsewhere":       {nat("-A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080") + filter("ACCEPT"), Accepted},
		"dropped, wherever it is sent":    {nat("-A PREROUTING -p tcp -m tcp --dport 22 -j DNAT --to-destination 10.1.1.1") + filter("DROP"), Dropped},
		"untracked is not new":            {raw("-A PREROUTING -j NOTRACK") + filter("DROP", "-A INPUT -m conntrack --ctstate NEW -j ACCEPT"), Dropped},
		"untracked":                       {raw("-A PREROUTING -j CT --notrack") + filter("DROP", "-A INPUT -m conntrack --ctstate UNTRACKED -j ACCEPT"), Accepted},
		"no state before it is looked up": {raw("-A PREROUTING -m conntrack --ctstate NEW -j DROP") + filter("ACCEPT"), Accepted},
	} {
		if a := parse(t, c.text, false).Judge(knock(22)); a.Verdict != c.want {
			t.Errorf("%s: got %s for %q, want %s", name, a.Verdict, a.Why, c.want)
		}
	}
	if a := Join(parse(t, filter("DROP"), true)).Judge(knock(22)); a.Verdict != Accepted {
		t.Errorf("only IPv6 is dropped: got %s for IPv4, want accepted", a.Verdict)
	}
}

// A source that may be any is dropped only where nobody is let in.
func TestAnySource(t *testing.T) {
	for rule, want := range map[string]Verdict{
		"-A INPUT -s 10.0.0.0/8 -j ACCEPT":   CannotTell,
		"-A INPUT -p udp -j ACCEPT":          Dropped,
		"-A INPUT -s 0.0.0.0/0 -j ACCEPT":    Accepted,
		"-A INPUT ! -s 10.0.0.0/8 -j ACCEPT": CannotTell,
	} {
		p := knock(22)
		p.Source = netip.Addr{}
		if a := parse(t, filter("DROP", rule), false).Judge(p); a.Verdict != want {
			t.Errorf("%s: got %s, want %s", rule, a.Verdict, want)
		}
	}
}

func TestLogged(t *testing.T) {
	for _, c := range []struct {
		rules           []string
		logged, unknown bool
	}{
		{nil, false, false},
		{[]string{"-A INPUT -m limit --limit 3/min -j LOG"}, true, false},
		{[]string{"-A INPUT -p udp -j LOG"}, false, false},
		{[]string{"-A INPUT -m bpf --bytecode x -j LOG"}, false, true},
		{[]string{"-A INPUT -j sub", "-A sub -j NFLOG"}, true, false},
		{[]string{"-A INPUT -j DROP", "-A INPUT -j LOG"}, false, false},
	} {
		a := parse(t, filter("DROP", c.rules...), false).Judge(knock(22))
		if a.Logged != c.logged || a.Unlogged != (!c.logged && !c.unknown) {
			t.Errorf("%q: got %+v, want logged %t, unknown %t", c.rules, a, c.logged, c.unknown)
		}
	}
}

// TestStranger takes an address that no rule is about, whatever the rules name.
func TestStranger(t *testing.T) {
	for name, c := range map[string]struct {
		rules []string
		want  Verdict // of a stranger at a policy to drop
	}{
		"nothing is named":          {nil, Dropped},
		"one network is let in":     {[]string{"-A INPUT -s 10.0.0.0/8 -j ACCEPT", "-A INPUT -s 8.0.0.0/9 -j ACCEPT"}, Dropped},
		"all but one are let in":    {[]string{"-A INPUT ! -s 203.0.113.0/24 -j ACCEPT"}, Accepted},
		"half the Internet each":    {[]string{"-A INPUT -s 0.0.0.0/1 -j ACCEPT", "-A INPUT -s 128.0.0.0/1 -j ACCEPT"}, Accepted},
		"a quarter of the Internet": {[]string{"-A INPUT -s 64.0.0.0/2 -j DROP", "-A INPUT -j ACCEPT"}, Accepted},
	} {
		rs := parse(t, filter("DROP", c.rules...), false)
		a, ok := rs.Stranger(false)
		p := knock(22)
		if p.Source = a; !ok || a.IsPrivate() || !a.Is4() {
			t.Errorf("%s: got the stranger %s, %t", name, a, ok)
		}
		if got := rs.Judge(p); got.Verdict != c.want {
			t.Errorf("%s: got %s for %s, want %s", name, got.Verdict, a, c.want)
		}
	}
	if a, ok := parse(t, filter("DROP"), true).Stranger(true); !ok || !a.Is6() || !netip.MustParsePrefix("2000::/3").Contains(a) {
		t.Errorf("IPv6: got the stranger %s, %t", a, ok)
	}
	rs := parse(t, filter("DROP", "-A INPUT -p tcp -m multiport --dports 20011,20018,20025:20100 -j ACCEPT", "-A INPUT -p tcp -m tcp --dport 1024:65535 -j ACCEPT"), false)
	port, ok := rs.Quiet(func(p uint16) bool { return p < 30000 })
	if a := rs.Judge(knock(port)); !ok || port < 30000 || a.Verdict != Accepted {
		t.Errorf("got the quiet port %d, %t, which is %s; want one that the range lets in", port, ok, a.Verdict)
	}
}

// TestWords reads one of everything that nft prints: what it does not mean is in the kernel's test.
func TestWords(t *testing.T) {
	text, err := os.ReadFile("testdata/words.json")
	if err != nil {
		t.Fatal(err)
	}
	rs, partial, err := ParseNFT(text, []byte("table inet filter { # handle 1\n\tchain input { # handle 2\n\t\ttype filter hook input priority 0; policy drop;\n\t\ttcp dport 99 accept # handle 15\n\t}\n}\n"))
	if err != nil || len(partial) != 0 {
		t.Fatal(err, partial)
	}
	input := rs.Chains["inet filter input"]
	if input == nil || input.Hook != "input" || input.Policy != Drop || len(input.Rules) != 18 {
		t.Fatalf("got %+v, want the chain input with its 18 rules", input)
	}
	for _, r := range input.Rules {
		for _, m := range r.Matches {
			if m.Set == nil && m.What != "icmp type is not understood" {
				t.Errorf("rule %d: %s", r.Number, m.What)
			}
		}
	}
	if a := rs.Judge(knock(99)); a.Verdict != Accepted || a.Why[0] != "inet filter input, rule 6 (handle 15): tcp dport 99 accept" {
		t.Errorf("got %s for %q, want accepted by rule 6", a.Verdict, a.Why)
	}
}

// Bad lists are errors, not empty firewalls.
func TestBadLists(t *testing.T) {
	for _, text := range []string{"", "x", "[]", "{}", `{"nftables":1}`, `{"nftables":[{"rule":{"family":"ip","table":"t","chain":"gone","expr":[{"accept":null}]}}]}`, `{"nftables":[{"rule":[]}]}`} {
		if _, _, err := ParseNFT([]byte(text), nil); err == nil {
			t.Errorf("nft: %q: got no error", text)
		}
	}
	for _, text := range []string{"-A INPUT -j ACCEPT", "*filter\n-A GONE -j ACCEPT", "*filter\n:INPUT DROP\n-A INPUT -m comment --comment \"x", "*filter\nwhat is this", "*filter\n:INPUT DROP\n-D INPUT -j DROP"} {
		if _, err := ParseIPTables([]byte(text), false); err == nil {
			t.Errorf("iptables: %q: got no error", text)
		}
	}
}

// What nft has no words for, or what is new to us, is not passed over.
func TestUnknownParts(t *testing.T) {
	for part, want := range map[string]Verdict{`null`: CannotTell, `{}`: CannotTell, `{"xt":null}`: CannotTell, `{"xt":{"type":"match","name":"foo"}}`: CannotTell, `{"brandnew":{"key":1}}`: CannotTell,
		`{"match":{"op":"==","left":{"meta":{"key":"skuid"}},"right":0}}`: CannotTell, `{"match":{"op":"~","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":22}}`: CannotTell,
		`{"match":{"op":"==","left":null,"right":null}}`: CannotTell, `{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":"@gone"}}`: CannotTell,
		`{"match":{"op":"==","left":{"&":[{"payload":{"protocol":"ip","field":"saddr"}},255]},"right":8}}`: CannotTell, `{"limit":"named"}`: CannotTell, `{"quota":{"val":1}}`: CannotTell,
		`{"counter":null}`: Accepted, `{"match":{"op":"in","left":{"ct":{"key":"status"}},"right":"dnat"}}`: Dropped} {
		text := fmt.Sprintf(`{"nftables":[{"chain":{"family":"inet","table":"t","name":"i","type":"filter","hook":"input","prio":0,"policy":"drop"}},{"rule":{"family":"inet","table":"t","chain":"i","expr":[%s,{"accept":null}]}}]}`, part)
		rs, _, err := ParseNFT([]byte(text), nil)
		if err != nil {
			t.Fatal(part, err)
		}
		if a := rs.Judge(knock(22)); a.Verdict != want {
			t.Errorf("%s: got %s for %q, want %s", part, a.Verdict, a.Why, want)
		}
	}
}

// A table that sleeps filters nothing.
func TestDormant(t *testing.T) {
	for flags, want := range map[string]Verdict{`"dormant"`: Accepted, `["dormant"]`: Accepted, `[]`: Dropped} {
		rs, _, err := ParseNFT(fmt.Appendf(nil, `{"nftables":[{"table":{"family":"inet","name":"t","flags":%s}},{"chain":{"family":"inet","table":"t","name":"i","type":"filter","hook":"input","prio":0,"policy":"drop"}}]}`, flags), nil)
		if err != nil {
			t.Fatal(err)
		}
		if a := rs.Judge(knock(22)); a.Verdict != want {
			t.Errorf("%s: got %s, want %s", flags, a.Verdict, want)
		}
	}
}

// many is a ruleset of n rules, none of which is about port 22 until the last.
func many(n int) string {
	var b strings.Builder
	b.WriteString("*filter\n:INPUT DROP [0:0]\n")
	for i := range n {
		fmt.Fprintf(&b, "-A INPUT -s 10.%d.%d.0/24 -p tcp -m tcp --dport %d -m conntrack --ctstate NEW -j ACCEPT\n", i>>8&0xff, i&0xff, 1024+i)
	}
	b.WriteString("-A INPUT -j ACCEPT\nCOMMIT\n")
	return b.String()
}

// BenchmarkJudge reads 5,000 rules and judges 500 ports of both protocols at two devices.
func BenchmarkJudge(b *testing.B) {
	text := many(5000)
	b.ReportAllocs()
	for b.Loop() {
		rs, err := ParseIPTables([]byte(text), false)
		if err != nil {
			b.Fatal(err)
		}
		for i := range 500 {
			for _, dev := range []string{"eth0", "eth1"} {
				for _, protocol := range []uint8{TCP, UDP} { // twice as many as there are sockets
					p := knock(uint16(10000 + i))
					p.Device, p.Protocol = dev, protocol
					if a := rs.Judge(p); a.Verdict != Accepted {
						b.Fatal(a)
					}
				}
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/(1<<20), "MiB-sys")
}

func FuzzNFT(f *testing.F) {
	if text, err := os.ReadFile("testdata/words.json"); err == nil {
		f.Add(text)
	}
	f.Add([]byte(`{"nftables":[{"table":{"family":"ip","name":"t"}},{"chain":{"family":"ip","table":"t","name":"i","hook":"input"}},{"rule":{"family":"ip","table":"t","chain":"i","expr":[{"jump":{"target":"i"}},{"vmap":{"key":1,"data":{"set":[[1,2]]}}}]}}]}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		if rs, _, err := ParseNFT(text, text); err == nil {
			rs.Judge(knock(22))
			rs.Stranger(false)
			rs.Quiet(func(uint16) bool { return false })
		}
	})
}

func FuzzIPTables(f *testing.F) {
	f.Add([]byte(filter("DROP", "-A INPUT -p tcp -m multiport ! --dports 1,2:3 -m comment --comment \"a \\\" b\" -g sub", "-A sub -m rt --rt-type 0 -j INPUT")))
	f.Fuzz(func(_ *testing.T, text []byte) {
		for _, v6 := range []bool{false, true} {
			if rs, err := ParseIPTables(text, v6); err == nil {
				rs.Judge(knock(22))
				rs.Stranger(v6)
			}
		}
	})
}
