package block

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

var start = time.Date(2026, 11, 7, 6, 0, 0, 0, time.UTC)

func evidence(source string) Evidence {
	return Evidence{Unit: "ssh_bruteforce", Reason: "r", Source: netip.MustParseAddr(source), Proves: true, Grave: true}
}

// TestDecide: who is blocked, and who never is.
func TestDecide(t *testing.T) {
	nets := func(s ...string) (all []netip.Prefix) {
		for _, n := range s {
			all = append(all, netip.MustParsePrefix(n))
		}
		return all
	}
	policy := Policy{Enforce: []string{"ssh_bruteforce"}, Never: nets("10.0.0.0/8", "2001:db8:5::/48", "::ffff:192.0.2.0/120")}
	needed := nets("203.0.113.1/32", "2001:db8:9::1/128", "::ffff:203.0.113.2/128")
	for name, c := range map[string]struct {
		change func(*Evidence, *List)
		source string
		whom   string
		why    string
	}{
		"a stranger":                          {source: "198.51.100.7", whom: "198.51.100.7/32"},
		"a stranger of IPv6":                  {source: "2001:db8:7::7", whom: "2001:db8:7::/64"},
		"an address that is IPv4 in disguise": {source: "::ffff:198.51.100.7", whom: "198.51.100.7/32"},
		"a forged packet":                     {source: "198.51.100.7", change: func(e *Evidence, _ *List) { e.Proves = false }, why: "does not prove"},
		"a trifle":                            {source: "198.51.100.7", change: func(e *Evidence, _ *List) { e.Grave = false }, why: "severity"},
		"where somebody logged in before":     {source: "198.51.100.7", change: func(e *Evidence, _ *List) { e.Known = true }, why: "logged in"},
		"observed only":                       {source: "198.51.100.7", change: func(e *Evidence, _ *List) { e.Unit = "web_burst" }, why: "observed"},
		"a rack":                              {source: "10.1.2.3", why: "never"},
		"within a network of ours":            {source: "2001:db8:5:1::1", why: "never"},
		"a network written as one of IPv6":    {source: "192.0.2.77", why: "never"},
		"an address written as one of IPv6":   {source: "203.0.113.2", why: "needs"},
		"IPv4 behind a translator":            {source: "64:ff9b::c633:6407", why: "no address"},
		"behind a translator of the site's":   {source: "64:ff9b:1:7::c633:6407", why: "no address"},
		"one of a server's clients of Teredo": {source: "2001:0:4136:e378:8000:63bf:3fff:fdd2", why: "no address"},
		"the gateway":                         {source: "203.0.113.1", why: "needs"},
		"beside the operator, in his /64":     {source: "2001:db8:9::2", why: "needs"},
		"this host":                           {source: "127.0.0.1", why: "no address"},
		"everybody":                           {source: "0.0.0.0", why: "no address"},
		"a neighbour's link":                  {source: "fe80::1", why: "no address"},
		"multicast":                           {source: "224.0.0.1", why: "no address"},
		"after panic":                         {source: "198.51.100.7", change: func(_ *Evidence, l *List) { l.Off = true }, why: "switched off"},
		"twice":                               {source: "198.51.100.7", change: func(e *Evidence, l *List) { l.Decide(*e, policy, nil, start) }, why: "already"},
	} {
		t.Run(name, func(t *testing.T) {
			e, l := evidence(c.source), &List{Format: listFormat}
			if c.change != nil {
				c.change(&e, l)
			}
			b, why := l.Decide(e, policy, needed, start)
			switch {
			case c.whom != "" && (b == nil || b.Prefix.String() != c.whom || !b.Until.After(start) || len(l.Blocks) != 1):
				t.Errorf("got %v %q", b, why)
			case c.why != "" && (b != nil || !strings.Contains(why, c.why)):
				t.Errorf("got %v %q, want %q", b, why, c.why)
			}
		})
	}
}

// TestGrow: each block of an address is longer than the one before, up to the most; a lifted one begins anew.
func TestGrow(t *testing.T) {
	p := Policy{Enforce: []string{"ssh_bruteforce"}, Longest: 1000 * time.Hour}
	l, now := &List{Format: listFormat}, start
	var spans []time.Duration
	for range 8 {
		b, why := l.Decide(evidence("198.51.100.7"), p, nil, now)
		if b == nil {
			t.Fatal(why)
		}
		spans = append(spans, b.Until.Sub(b.From))
		now = b.Until
	}
	for i, s := range spans {
		if i > 0 && s < spans[i-1] || s > HardLongest {
			t.Errorf("%v", spans)
		}
	}
	if spans[0] != DefaultFirst || spans[7] != HardLongest {
		t.Errorf("%v", spans)
	}
	l.Decide(evidence("198.51.100.7"), p, nil, now)
	if _, err := l.Lift(netip.MustParsePrefix("198.51.100.7/32")); err != nil {
		t.Fatal(err)
	}
	if b, _ := l.Decide(evidence("198.51.100.7"), p, nil, now); b == nil || b.Until.Sub(b.From) != DefaultFirst {
		t.Errorf("after lifting: %v", b)
	}
	if _, err := l.Lift(netip.MustParsePrefix("192.0.2.1/32")); fault.KindOf(err) != fault.NotFound {
		t.Errorf("got %v", err)
	}
}

// TestForgets: what an address was blocked for long ago makes no block longer, since it may be somebody else's by now.
func TestForgets(t *testing.T) {
	p := Policy{Enforce: []string{"ssh_bruteforce"}}
	l, now := &List{Format: listFormat}, start
	for _, c := range []struct {
		after, want time.Duration
	}{{0, DefaultFirst}, {Memory, grow * DefaultFirst}, {Memory + time.Second, DefaultFirst}, {time.Hour, grow * DefaultFirst}} {
		now = now.Add(c.after)
		if b, why := l.Decide(evidence("198.51.100.7"), p, nil, now); b == nil || b.Until.Sub(b.From) != c.want {
			t.Errorf("after %v: got %+v %s, want %v", c.after, b, why, c.want)
		}
	}
}

// TestSpare: networks and single addresses are told apart, those of IPv4 that are written as of IPv6 too.
func TestSpare(t *testing.T) {
	need := func(prefix string) Need { return Need{netip.MustParsePrefix(prefix), "ours"} }
	s := NewSpare([]Need{need("192.0.2.0/24"), need("::ffff:198.51.100.0/120"), need("::ffff:203.0.113.7/128"), need("2001:db8:7::1/128"), need("2001:db8:9::/48"), {}})
	for address, want := range map[string]bool{"192.0.2.9": true, "198.51.100.0": true, "198.51.100.9": true, "203.0.113.7": true, "203.0.113.8": false,
		"2001:db8:7::2": true, "2001:db8:7:1::1": false, "2001:db8:9:1::1": true} {
		if whom, _ := Whom(netip.MustParseAddr(address)); (s.Why(whom) != "") != want {
			t.Errorf("%s: got %q, want %v", address, s.Why(whom), want)
		}
	}
}

// TestMost: there is a most, however many attack.
func TestMost(t *testing.T) {
	l, p := &List{Format: listFormat}, Policy{Enforce: []string{"ssh_bruteforce"}, Most: 10}
	blocked := 0
	for i := range 100 {
		if b, _ := l.Decide(evidence(netip.AddrFrom4([4]byte{198, 51, 100, byte(i + 1)}).String()), p, nil, start); b != nil {
			blocked++
		}
	}
	if blocked != 10 || len(l.Blocks) != 10 {
		t.Errorf("%d are blocked", blocked)
	}
}

func testFile(t *testing.T, now *time.Time) *File {
	return &File{Path: filepath.Join(t.TempDir(), "blocks.json"), Now: func() time.Time { return *now },
		Save: func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }}
}

// TestFile: the list survives, the history says what happened, and a file that was tampered with blocks nobody for ever.
func TestFile(t *testing.T) {
	now := start
	f := testFile(t, &now)
	p := Policy{Enforce: []string{"ssh_bruteforce"}}
	l, err := f.Change(func(l *List) ([]Entry, error) {
		b, _ := l.Decide(evidence("198.51.100.7"), p, nil, now)
		return []Entry{About("blocked", "watch", *b)}, nil
	})
	if err != nil || len(l.Blocks) != 1 {
		t.Fatal(l, err)
	}
	if l, err = f.Read(); err != nil || len(l.Blocks) != 1 || l.Past[l.Blocks[0].Prefix].Times != 1 {
		t.Errorf("%+v %v", l, err)
	}
	history, err := os.ReadFile(f.Path + ".log")
	if err != nil || !strings.Contains(string(history), `"what":"blocked","by":"watch","prefix":"198.51.100.7/32"`) {
		t.Errorf("%s %v", history, err)
	}
	for text, want := range map[string]string{
		`{`:                        "cannot be used",
		`{"format":2}`:             "format 2",
		`{"format":1,"more":true}`: "unknown field",
		`{"format":1,"blocks":[{"prefix":"0.0.0.0/0"}]}`:       "nothing that is blocked",
		`{"format":1,"blocks":[{"prefix":"198.51.100.0/24"}]}`: "nothing that is blocked",
	} {
		if err := os.WriteFile(f.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Read(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	if err := os.WriteFile(f.Path, []byte(`{"format":1,"blocks":[{"prefix":"64:ff9b::/64"},{"prefix":"198.51.100.7/32","until":"9999-01-01T00:00:00Z"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := f.Read(); err != nil || len(l.Blocks) != 1 || l.Blocks[0].Until.After(now.Add(HardLongest)) {
		t.Errorf("%v %v", l, err)
	}
}

// TestClockSetBack: a block that was made while the clock was ahead ends, and does not last until then.
func TestClockSetBack(t *testing.T) {
	now := start.AddDate(1, 0, 0)
	f, p := testFile(t, &now), Policy{Enforce: []string{"ssh_bruteforce"}}
	block := func(source string) *List {
		t.Helper()
		l, err := f.Change(func(l *List) (entries []Entry, _ error) {
			for _, b := range l.Expire(now) {
				entries = append(entries, About("ended", "watch", b))
			}
			b, why := l.Decide(evidence(source), p, nil, now)
			if b == nil {
				t.Fatal(why)
			}
			return append(entries, About("blocked", "watch", *b)), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	block("198.51.100.7")
	now = start
	if l := block("198.51.100.8"); len(l.Blocks) != 1 || l.Blocks[0].Prefix.String() != "198.51.100.8/32" {
		t.Errorf("got %+v", l.Blocks)
	}
}

// TestScript: the kernel gets what the list says and nothing else, and with nobody blocked the table goes.
func TestScript(t *testing.T) {
	l := &List{Format: listFormat, Blocks: []Block{{Prefix: netip.MustParsePrefix("198.51.100.7/32"), Until: start.Add(time.Minute)},
		{Prefix: netip.MustParsePrefix("2001:db8::/64"), Until: start.Add(time.Hour)}, {Prefix: netip.MustParsePrefix("192.0.2.1/32"), Until: start}}}
	s := script(Table, l, start)
	for _, want := range []string{"198.51.100.7 timeout 60s", "2001:db8::/64 timeout 3600s", "priority -310"} {
		if !strings.Contains(s, want) {
			t.Errorf("no %q in %s", want, s)
		}
	}
	if strings.Contains(s, "192.0.2.1") {
		t.Error("a block that ended is in it")
	}
	l.Off = true
	if s := script(Table, l, start); strings.Contains(s, "198.51.100.7") || !strings.Contains(s, "delete table inet "+Table) {
		t.Errorf("switched off: %s", s)
	}
}

// TestHolds: whether the kernel has the table is asked without its addresses, which would be megabytes each second.
func TestHolds(t *testing.T) {
	var asked []string
	n := &NFT{Table: TableRack, Run: func(_ context.Context, _ string, args ...string) (string, error) {
		asked = append(asked, strings.Join(args, " "))
		return "ip saddr @v4 ip6 saddr @v6 hook prerouting", nil
	}}
	if want := []string{"--terse list table inet " + TableRack}; !n.Holds(t.Context()) || !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}

// TestNeeded reads gateways, name servers and sessions.
func TestNeeded(t *testing.T) {
	if got := routes(strings.NewReader("Iface\tDestination\tGateway\tFlags\neth0\t00000000\t0100000A\t0003\neth0\t0000000A\t00000000\t0001\nbad\tx\tzzzzzzzz\t0\n")); len(got) != 1 || got[0].String() != "10.0.0.1" {
		t.Errorf("%v", got)
	}
	if got := routes6(strings.NewReader(strings.Repeat("0", 32) + " 00 " + strings.Repeat("0", 32) + " 00 fe800000000000000000000000000001 00000400 0 0 0 eth0\n")); len(got) != 1 || got[0].String() != "fe80::1" {
		t.Errorf("%v", got)
	}
	if got := resolvers(strings.NewReader("# x\nnameserver 192.0.2.53\nnameserver\nsearch nameserver\n")); len(got) != 1 {
		t.Errorf("%v", got)
	}
	rec := make([]byte, 2*utmpSize)
	rec[0] = userProcess
	copy(rec[utmpAddress:], []byte{198, 51, 100, 7})
	rec[utmpSize] = userProcess
	copy(rec[utmpSize+utmpAddress:], []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	if got := sessions(strings.NewReader(string(rec) + "half a record")); len(got) != 2 || got[0].String() != "198.51.100.7" || got[1].String() != "2001:db8::1" {
		t.Errorf("%v", got)
	}
	if len(Needed()) == 0 {
		t.Error("not even this host's own addresses")
	}
}

// TestNeedsIn: the name servers that systemd-resolved asks are spared, and not itself alone; so is from where somebody is logged in whom logind alone knows.
func TestNeedsIn(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{"etc/resolv.conf": "nameserver 127.0.0.53\n", "run/systemd/resolve/resolv.conf": "# its own\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n",
		"run/systemd/sessions/7": "# This is private data. Do not parse.\nUID=0\nREMOTE=1\nREMOTE_HOST=198.51.100.7\n", "run/systemd/sessions/8": "REMOTE=0\n", "run/systemd/sessions/9": "REMOTE_HOST=office.example\n"} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "run/systemd/sessions/7.ref"), 0o600); err != nil { // which nobody may wait for
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(needsIn(root)), "[{127.0.0.53/32 a name server} {192.0.2.53/32 a name server} {2001:db8::53/128 a name server} {198.51.100.7/32 from where somebody is logged in}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzNeeded: what the kernel or anybody wrote does not panic.
func FuzzNeeded(f *testing.F) {
	f.Add([]byte("a b 0100000A d\nnameserver 1.2.3.4\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		for _, read := range []func() int{func() int { return len(routes(strings.NewReader(string(data)))) }, func() int { return len(routes6(strings.NewReader(string(data)))) },
			func() int { return len(resolvers(strings.NewReader(string(data)))) }, func() int { return len(sessions(strings.NewReader(string(data)))) }} {
			read()
		}
	})
}
