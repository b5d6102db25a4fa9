package detect_test

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/logs"
	"github.com/metalward/metalward/internal/logs/source"
)

func engine(t testing.TB, site detect.Site) *detect.Engine {
	t.Helper()
	g, err := detect.New(units.Every, site, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func take(t testing.TB, g *detect.Engine, p *logs.Parser, text string) {
	t.Helper()
	if err := source.Records(strings.NewReader(text), p, func(r *logs.Record, line string) error { g.Take(r, detect.Line{From: "f", Text: line}); return nil }); err != nil {
		t.Fatal(err)
	}
}

func parser() *logs.Parser { return logs.NewParser(time.UTC, 2026) }

// mixed is a log with attacks of several kinds in it and ordinary lines between.
func mixed(n int, seed uint64) []string {
	roll := rand.New(rand.NewPCG(seed, 1))
	lines := make([]string, 0, n)
	at := time.Date(2026, 12, 30, 0, 0, 0, 0, time.UTC)
	for range n {
		at = at.Add(time.Duration(roll.IntN(20)) * time.Second)
		ip := fmt.Sprintf("198.51.100.%d", roll.IntN(12))
		stamp := at.Format("Jan _2 15:04:05")
		switch roll.IntN(5) {
		case 0:
			lines = append(lines, fmt.Sprintf("%s host sshd[%d]: Failed password for u%d from %s port 4 ssh2", stamp, 1+roll.IntN(9999), roll.IntN(30), ip))
		case 1:
			lines = append(lines, fmt.Sprintf("%s host kernel: [UFW BLOCK] IN=eth0 OUT= SRC=%s DST=203.0.113.5 LEN=44 ID=%d PROTO=TCP SPT=%d DPT=%d SYN ", stamp, ip, roll.IntN(9), roll.IntN(65535), roll.IntN(40)))
		case 2:
			lines = append(lines, fmt.Sprintf("%s host nginx: %s - - [%s] \"GET /p%d HTTP/1.1\" 404 1 \"-\" \"-\"", stamp, ip, at.Format("02/Jan/2006:15:04:05 -0700"), roll.IntN(60)))
		case 3:
			lines = append(lines, fmt.Sprintf("%s host sshd[%d]: Accepted password for u%d from %s port 4 ssh2", stamp, 1+roll.IntN(9999), roll.IntN(30), ip))
		default:
			lines = append(lines, stamp+" host CRON[1]: session opened")
		}
	}
	return lines
}

// TestPieces: the same lines in pieces of any size give the same alerts as in one.
func TestPieces(t *testing.T) {
	for seed := range uint64(5) {
		lines := mixed(3000, seed)
		whole := engine(t, detect.Site{})
		take(t, whole, parser(), strings.Join(lines, "\n")+"\n")
		if len(whole.Alerts) < 10 {
			t.Fatalf("%d alerts: the log is too quiet to prove anything", len(whole.Alerts))
		}
		pieces, p := engine(t, detect.Site{}), parser()
		roll := rand.New(rand.NewPCG(seed, 2))
		for rest := lines; len(rest) > 0; {
			n := min(1+roll.IntN(200), len(rest))
			take(t, pieces, p, strings.Join(rest[:n], "\n"))
			rest = rest[n:]
		}
		if again := restarted(t, lines, seed); !reflect.DeepEqual(whole.Alerts, again.Alerts) {
			t.Fatalf("seed %d: with restarts %d alerts, whole %d, or others", seed, len(again.Alerts), len(whole.Alerts))
		}
		if !reflect.DeepEqual(whole.Alerts, pieces.Alerts) {
			t.Fatalf("seed %d: in pieces %d alerts, whole %d, or others", seed, len(pieces.Alerts), len(whole.Alerts))
		}
	}
}

// restarted takes lines with restarts in between, each through the encoding that is kept on disk.
func restarted(t *testing.T, lines []string, seed uint64) *detect.Engine {
	t.Helper()
	g, p := engine(t, detect.Site{}), parser()
	roll := rand.New(rand.NewPCG(seed, 4))
	for rest := lines; len(rest) > 0; {
		n := min(1+roll.IntN(700), len(rest))
		take(t, g, p, strings.Join(rest[:n], "\n"))
		rest = rest[n:]
		var b bytes.Buffer
		if err := gob.NewEncoder(&b).Encode(g.Save()); err != nil {
			t.Fatal(err)
		}
		var s detect.Snapshot
		if err := gob.NewDecoder(&b).Decode(&s); err != nil {
			t.Fatal(err)
		}
		saved := p.Save()
		g, p = engine(t, detect.Site{}), parser()
		if err := g.Load(&s); err != nil {
			t.Fatal(err)
		}
		if err := p.Load(saved); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// TestKnown: an address from which somebody logged in before is told apart from one that got in by guessing.
func TestKnown(t *testing.T) {
	line := func(minute int, what, from string) string {
		return fmt.Sprintf("Nov  7 06:%02d:00 host sshd[%d]: %s password for ann from %s port 4 ssh2\n", minute, minute+1, what, from)
	}
	text := line(0, "Accepted", "198.51.100.7")
	for i := range 6 {
		text += line(i+1, "Failed", "198.51.100.7") + line(i+1, "Failed", "198.51.100.8")
	}
	text += line(8, "Accepted", "198.51.100.8")
	g := engine(t, detect.Site{})
	take(t, g, parser(), text)
	seen := 0
	for _, a := range g.Alerts {
		if a.Unit == "ssh_bruteforce" {
			seen++
			if want := a.Client.String() == "198.51.100.7"; a.Known != want {
				t.Errorf("%v: %v", a.Client, a.Known)
			}
		}
		if a.Unit == "ssh_success_after_failures" && a.Client.String() == "198.51.100.8" && a.Known {
			t.Error("who got in by guessing is known")
		}
	}
	if seen != 2 {
		t.Errorf("%d alerts", seen)
	}
}

// TestKnownByAnswer: that a web server sent somebody elsewhere after a POST to a login page, as it does after a wrong password, too, does not make him known.
func TestKnownByAnswer(t *testing.T) {
	for _, c := range []struct {
		path  string
		good  int
		known bool
	}{{"/login", 302, false}, {"/MAAS/accounts/login/", 204, true}} {
		line := func(second, status int) string {
			return fmt.Sprintf("198.51.100.7 - - [07/Nov/2026:06:13:%02d +0000] \"POST %s HTTP/1.1\" %d 1 \"-\" \"-\"\n", second, c.path, status)
		}
		text := line(0, c.good)
		for i := range 6 {
			text += line(i+1, 403)
		}
		g := engine(t, detect.Site{})
		take(t, g, parser(), text)
		seen := false
		for _, a := range g.Alerts {
			if a.Unit == "web_login_bruteforce" {
				if seen = true; a.Known != c.known {
					t.Errorf("%s: known %v", c.path, a.Known)
				}
			}
		}
		if !seen {
			t.Errorf("%s: no alert", c.path)
		}
	}
}

// TestForget: what is long over is dropped, and what goes on is found again.
func TestForget(t *testing.T) {
	g, p := engine(t, detect.Site{}), parser()
	lines := mixed(1000, 7)
	take(t, g, p, strings.Join(lines, "\n"))
	all := len(g.Alerts)
	g.Forget(time.UnixMicro(g.Newest).Add(time.Minute))
	if all == 0 || len(g.Alerts) != 0 || len(g.Hours) > 20 {
		t.Fatalf("%d alerts of %d are left, %d hours", len(g.Alerts), all, len(g.Hours))
	}
	take(t, g, p, strings.Join(lines, "\n"))
	if len(g.Alerts) == 0 {
		t.Error("nothing is found after that")
	}
}

// TestDisorder: lines that come a little late change nothing about what is found.
func TestDisorder(t *testing.T) {
	for seed := range uint64(3) {
		lines := mixed(2000, seed)
		for i := range lines { // single logs are told apart: each keeps to itself
			if !strings.Contains(lines[i], "[UFW BLOCK]") {
				lines[i] = ""
			}
		}
		keys := func(lines []string) map[string]bool {
			g := engine(t, detect.Site{})
			take(t, g, parser(), strings.Join(lines, "\n"))
			found := make(map[string]bool)
			for _, a := range g.Alerts {
				found[fmt.Sprint(a.Unit, a.Severity, a.Key)] = true
			}
			return found
		}
		want := keys(lines)
		roll := rand.New(rand.NewPCG(seed, 3))
		for i := 0; i+2 < len(lines); i += 2 {
			if roll.IntN(2) == 0 {
				lines[i], lines[i+1] = lines[i+1], lines[i]
			}
		}
		got := keys(lines)
		for k := range want {
			// Tries closer than a second are one: which of two neighbours that is depends on their order.
			if !got[k] && !strings.HasPrefix(k, "fw_repeat") {
				t.Errorf("seed %d: %s is not found in disorder", seed, k)
			}
		}
	}
}

// TestStorm: a million lines of one attack are one alert of each unit that sees it.
func TestStorm(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	told := 0
	g, err := detect.New(units.Every, detect.Site{}, nil, func(*detect.Alert, detect.Change) { told++ })
	if err != nil {
		t.Fatal(err)
	}
	p := parser()
	var r logs.Record
	for i := range n {
		line := fmt.Sprintf("%s host sshd[%d]: Failed password for root from 198.51.100.7 port 4 ssh2",
			time.Date(2026, 11, 7, 0, 0, 0, 0, time.UTC).Add(time.Duration(i)*30*time.Millisecond).Format(time.Stamp), 1+i%60000)
		p.Parse(line, &r)
		g.Take(&r, detect.Line{From: "f", Text: line})
	}
	if len(g.Alerts) != 2 { // fast and slow
		t.Errorf("%d alerts", len(g.Alerts))
	}
	if told > 100 {
		t.Errorf("told %d times", told)
	}
	for _, a := range g.Alerts {
		if a.Count < int64(n*9/10) {
			t.Errorf("%s counts %d of %d", a.Unit, a.Count, n)
		}
	}
}

// TestManySources: a million sources take bounded memory, the least suspicious are forgotten and counted, and the one that goes on is found.
func TestManySources(t *testing.T) {
	if testing.Short() {
		t.Skip("a million sources take long with the race detector")
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	g, p := engine(t, detect.Site{}), parser()
	var r logs.Record
	for i := range 1_000_000 {
		line := fmt.Sprintf("%s host sshd[%d]: Failed password for invalid user u%d from 2001:db8:%x:%x::1 port 4 ssh2",
			time.Date(2026, 11, 7, 0, 0, 0, 0, time.UTC).Add(time.Duration(i)*3*time.Millisecond).Format(time.Stamp), 1+i%60000, i, i>>16, i&0xffff)
		if i%20_000 == 0 {
			line = fmt.Sprintf("%s host sshd[%d]: Failed password for root from 198.51.100.7 port 4 ssh2", line[:15], 1+i%60000)
		}
		p.Parse(line, &r)
		g.Take(&r, detect.Line{From: "f", Text: line})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	mib := float64(after.HeapAlloc-min(before.HeapAlloc, after.HeapAlloc)) / (1 << 20)
	t.Logf("%.0f MiB, %d forgotten", mib, g.Evicted)
	if mib > 128 {
		t.Errorf("%.0f MiB, goal 128", mib)
	}
	if g.Evicted == 0 {
		t.Error("nothing was forgotten")
	}
	found := false
	for _, a := range g.Alerts {
		found = found || a.Client == netip.MustParseAddr("198.51.100.7") && a.Severity >= detect.Medium
	}
	if !found {
		t.Error("the one that goes on is not found")
	}
}

// TestProxy: behind a balancer the client is the first of X-Forwarded-For from the right that is no balancer, and never what the client itself wrote.
func TestProxy(t *testing.T) {
	site := detect.Site{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}}
	line := func(peer, forwarded string) string {
		return fmt.Sprintf(`%s - - [07/Nov/2026:06:13:45 +0000] "GET /x?id=1%%27+union+select+1,2--+- HTTP/1.1" 200 1 "-" "-" "%s"`, peer, forwarded)
	}
	for name, c := range map[string]struct {
		peer, forwarded, client string
		severity                detect.Severity
	}{
		"behind one":             {"10.0.0.2", "198.51.100.7", "198.51.100.7", detect.Medium},
		"behind two":             {"10.0.0.2", "198.51.100.7, 10.0.0.3", "198.51.100.7", detect.Medium},
		"forged on the left":     {"10.0.0.2", "192.0.2.1, 198.51.100.7", "198.51.100.7", detect.Medium},
		"no balancer of ours":    {"198.51.100.7", "192.0.2.1", "198.51.100.7", detect.Medium},
		"a balancer that is mum": {"10.0.0.2", "-", "10.0.0.2", detect.Info},
		"nonsense":               {"10.0.0.2", "x", "10.0.0.2", detect.Info},
	} {
		g := engine(t, site)
		take(t, g, parser(), line(c.peer, c.forwarded))
		ok := false
		for _, a := range g.Alerts {
			ok = ok || a.Unit == "web_sqli" && a.Client.String() == c.client && a.Severity == c.severity
		}
		if !ok {
			t.Errorf("%s: %+v", name, g.Alerts)
		}
	}
}

// TestTurnOfYear: stamps without a year go on over New Year, and a clock that goes back an hour loses nothing.
func TestTurnOfYear(t *testing.T) {
	var b bytes.Buffer
	for i := range 5 {
		at := time.Date(2026, 12, 31, 23, 58, 0, 0, time.UTC).Add(time.Duration(i) * time.Minute)
		fmt.Fprintf(&b, "%s host sshd[%d]: Failed password for root from 198.51.100.7 port 4 ssh2\n", at.Format(time.Stamp), i+1)
	}
	g := engine(t, detect.Site{})
	take(t, g, parser(), b.String())
	if len(g.Alerts) != 1 || g.Alerts[0].Severity != detect.Medium || time.UnixMicro(g.Alerts[0].Last).UTC().Year() != 2027 {
		t.Errorf("%+v", g.Alerts)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("no time zones on this host")
	}
	p := logs.NewParser(berlin, 2026)
	g = engine(t, detect.Site{})
	take(t, g, p, strings.Repeat("Oct 25 02:30:00 host sshd[1]: Accepted password for a from 198.51.100.7 port 4 ssh2\nOct 25 02:10:00 host sshd[2]: Failed password for a from 198.51.100.7 port 4 ssh2\n", 3))
}

// Each unit can be turned off, though others ask about it: what comes after one that never fires never does either, and what is quiet while it is open speaks.
func TestOffAndAsked(t *testing.T) {
	for _, u := range units.Every {
		all := slices.Clone(units.Every)
		all[slices.IndexFunc(all, func(x detect.Unit) bool { return x.ID == u.ID })].Off = true
		g, err := detect.New(all, detect.Site{}, nil, nil)
		if err != nil {
			t.Fatalf("%s is off: %v", u.ID, err)
		}
		p := logs.NewParser(time.UTC, 2026)
		for _, x := range units.Every {
			for _, s := range x.Samples {
				for _, line := range s.Lines {
					var r logs.Record
					p.Parse(line, &r)
					g.Take(&r, detect.Line{Text: line})
				}
			}
		}
		for _, a := range g.Alerts {
			if at := slices.IndexFunc(all, func(x detect.Unit) bool { return x.ID == a.Unit }); all[at].Off || all[at].After == u.ID {
				t.Errorf("%s is off: %s fired", u.ID, a.Unit)
			}
		}
	}
	if _, err := detect.New([]detect.Unit{{ID: "mw_x", Title: "x", Do: "x", Match: detect.If(detect.Kind, detect.Is, "maas"), Key: []detect.Field{detect.Source}, Rungs: []detect.Rung{{Count: 1, Window: time.Second, Severity: detect.Low}},
		After: "no_such"}}, detect.Site{}, nil, nil); err == nil {
		t.Error("a unit after one that does not exist runs")
	}
}

// TestIgnored: what the operator ignores is quiet, for all units or one.
func TestIgnored(t *testing.T) {
	net := netip.MustParsePrefix("198.51.100.0/24")
	text := strings.Join(mixed(500, 1), "\n")
	g := engine(t, detect.Site{Ignore: map[string][]netip.Prefix{"": {net}}})
	take(t, g, parser(), text)
	if len(g.Alerts) != 0 {
		t.Errorf("%d alerts", len(g.Alerts))
	}
	g = engine(t, detect.Site{Ignore: map[string][]netip.Prefix{"fw_portscan": {net}}})
	take(t, g, parser(), text)
	for _, a := range g.Alerts {
		if a.Unit == "fw_portscan" {
			t.Error("fw_portscan is ignored and fires")
		}
	}
	if len(g.Alerts) == 0 {
		t.Error("nothing else fires")
	}
}
