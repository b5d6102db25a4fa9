package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/firewall"
	"github.com/metalward/metalward/internal/firewall/firewalltest"
	"github.com/metalward/metalward/internal/guard"
)

func opened(t testing.TB, root string) *Facts {
	t.Helper()
	f, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// ssLine makes a listener of a line that `ss -tulnpH` prints.
func ssLine(t *testing.T, line string) string {
	t.Helper()
	w := strings.Fields(line)
	addr, port, _ := strings.Cut(w[4], "]:")
	if !strings.HasPrefix(w[4], "[") {
		i := strings.LastIndex(w[4], ":")
		addr, port = w[4][:i], w[4][i+1:]
	}
	addr, _, _ = strings.Cut(strings.TrimPrefix(addr, "["), "%")
	if addr == "*" {
		addr = "::"
	}
	name, pid := "", "0"
	if len(w) > 6 {
		_, rest, _ := strings.Cut(w[6], `(("`)
		name, rest, _ = strings.Cut(rest, `"`)
		_, rest, _ = strings.Cut(rest, "pid=")
		pid, _, _ = strings.Cut(rest, ",")
	}
	return fmt.Sprintf("%s %s %s %s %s", w[0], addr, port, name, pid)
}

// TestListeners holds what is found against ss, in a network namespace where this test has opened sockets of all kinds.
func TestListeners(t *testing.T) {
	ss := firewalltest.Tool(t, "ss")
	w := firewalltest.New(t, []int{5240, 5432})
	w.In(w.Host, func() {
		for _, s := range []struct{ network, addr string }{{"tcp4", "127.0.0.1:7001"}, {"tcp4", "0.0.0.0:7002"}, {"tcp6", "[::1]:7003"}, {"tcp", "[::]:7004"}, {"tcp4", "10.99.1.1:7005"},
			{"udp4", "127.0.0.1:7006"}, {"udp4", "0.0.0.0:7007"}, {"udp6", "[fd99::1]:7008"}} {
			var c interface{ Close() error }
			var err error
			if s.network[:3] == "udp" {
				c, err = net.ListenPacket(s.network, s.addr)
			} else {
				c, err = net.Listen(s.network, s.addr)
			}
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.Close() }()
		}
		// One that is connected listens to nobody else.
		talk, err := net.Dial("udp4", "127.0.0.1:7006")
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = talk.Close() }()

		text, err := exec.Command(ss, "-tulnpH").Output()
		if err != nil {
			t.Error(err)
			return
		}
		var want []string
		for line := range strings.Lines(string(text)) {
			want = append(want, ssLine(t, line))
		}
		n, err := opened(t, "/").Network()
		if err != nil {
			t.Error(err)
			return
		}
		var got []string
		for _, l := range n.Listeners {
			got = append(got, fmt.Sprintf("%s %s %d %s %d", l.Protocol, l.Address.Addr(), l.Address.Port(), l.Process, l.PID))
			if l.User != "root" || l.PID != os.Getpid() {
				t.Errorf("got %+v, want this process and its user", l)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if len(want) != 8+4 || !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant, as ss has it,\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if len(n.Interfaces) != 1 || n.Interfaces[0].Name != firewalltest.Device || !slices.Contains(n.Interfaces[0].Prefixes, netip.MustParsePrefix("10.99.1.1/24")) {
			t.Errorf("got the interfaces %+v, want %s alone", n.Interfaces, firewalltest.Device)
		}
	})
}

// TestNobody is an ordinary user: what listens is known, whose it is and the rules are not, and that is said.
func TestNobody(t *testing.T) {
	if os.Getenv("METALWARD_TEST_NOBODY") != "" {
		n, err := opened(t, "/").Network()
		if err != nil || n.RulesErr == nil || n.Rules != nil {
			t.Fatalf("got the rules %v (%v), %v; want them unknown", n.Rules, n.RulesErr, err)
		}
		i := slices.IndexFunc(n.Listeners, func(l guard.Listener) bool { return fmt.Sprint(l.Address.Port()) == os.Getenv("METALWARD_TEST_NOBODY") })
		if i < 0 || n.Listeners[i].PID != 0 || n.Listeners[i].Process != "" || n.Listeners[i].User != "root" {
			t.Fatalf("got %+v, want the listener with no process", n.Listeners)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("becoming another user needs root")
	}
	firewalltest.Tool(t, "nft")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	// The program is in a folder that is root's alone.
	program := filepath.Join(t.TempDir(), "test")
	text, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = errors.Join(os.WriteFile(program, text, 0o755), os.Chmod(filepath.Dir(program), 0o755), os.Chmod(filepath.Dir(filepath.Dir(program)), 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run", "^TestNobody$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprint("METALWARD_TEST_NOBODY=", l.Addr().(*net.TCPAddr).Port))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v: %s", err, out)
	}
}

// A copy of a host's files says nothing of its network, and connections are made only when they are asked for.
func TestNotLive(t *testing.T) {
	dir := t.TempDir()
	if _, err := opened(t, dir).Network(); !errors.Is(err, errCopy) {
		t.Errorf("a copy: got %v, want %v", err, errCopy)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		root string
		ask  bool
		want error
	}{{"/", false, guard.ErrNotAsked}, {dir, true, guard.ErrNotAsked}, {"/", true, nil}} {
		f := opened(t, c.root)
		if c.ask {
			f.Connecting(time.Minute)
		}
		if err := f.Connect(l.Addr().String()); !errors.Is(err, c.want) {
			t.Errorf("%+v: got %v", c, err)
		}
	}
	_ = l.Close()
	f := opened(t, "/")
	f.Connecting(time.Minute)
	if err := f.Connect(l.Addr().String()); !errors.Is(err, guard.ErrRefused) {
		t.Errorf("nothing listens: got %v, want %v", err, guard.ErrRefused)
	}
}

// What a program prints is bounded, and so is how it fails.
func TestRun(t *testing.T) {
	d, err := openDisk("/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.close() }()
	if _, err := d.Run("/bin/sh", "-c", "echo no such thing >&2; exit 3"); err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("got %v, want what the program says", err)
	}
	if _, err := d.Run("/bin/sh", "-c", "yes | head -c 70000000"); err == nil {
		t.Error("70 MB: got no error")
	}
	if _, err := d.Run("/nowhere/nft"); err == nil {
		t.Error("a program that is not there: got no error")
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]string{
		"0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n": "postgresql@15-main.service",
		"0::/system.slice/snap.maas.pebble.service\n":                           "snap.maas.pebble.service",
		"12:pids:/system.slice/no\n1:name=systemd:/system.slice/ssh.service\n":  "ssh.service",
		"0::/user.slice/user-0.slice/session-3.scope\n":                         "session-3.scope",
		"0::/\n":    "",
		"nonsense":  "",
		"0::/a/b\n": "",
	} {
		if got := parseUnit(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// mixed has rules of nftables, and of both kinds of iptables.
func mixed(w *firewalltest.Wire) {
	_, _ = w.Try(w.Host, "table inet own {\n chain input {\n type filter hook input priority -5;\n tcp dport 5432 drop\n }\n}\n", "nft", "-f", "-")
	w.Run(w.Host, "iptables-nft", "-A", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", "5240,5241", "-m", "comment", "--comment", "no users", "-j", "REJECT")
	w.Run(w.Host, "iptables-legacy", "-A", "INPUT", "-p", "udp", "--dport", "53", "-j", "DROP")
}

// judged holds the rules, as Facts reads them, against the kernel: each answer has to be certain, and true.
func judged(t *testing.T, w *firewalltest.Wire, ports []int) *firewall.Ruleset {
	t.Helper()
	var n guard.Network
	w.In(w.Host, func() {
		var err error
		if n, err = opened(t, "/").Network(); err != nil || n.RulesErr != nil {
			t.Errorf("got %v, %v", err, n.RulesErr)
		}
	})
	if n.Rules == nil {
		t.Fatal("there are no rules")
	}
	list := firewalltest.Packets(ports)
	for i, really := range w.Reaches(list, firewalltest.Patience) {
		a := n.Rules.Judge(list[i])
		if a.Verdict == firewall.Accepted && !really {
			really = w.Reaches(list[i:i+1], firewalltest.Stubborn)[0]
		}
		if a.Verdict == firewall.CannotTell || a.Verdict == firewall.Accepted != really {
			t.Errorf("%+v: judged %s for %q, really %t", list[i], a.Verdict, a.Why, really)
		}
	}
	return n.Rules
}

func TestMixedRules(t *testing.T) {
	for _, name := range []string{"nft", "iptables-nft", "iptables-legacy"} {
		firewalltest.Tool(t, name)
	}
	ports := []int{53, 80, 5240, 5432}
	w := firewalltest.New(t, ports)
	mixed(w)
	rs := judged(t, w, ports)
	p := firewalltest.Packets([]int{5240})[0]
	if a := rs.Judge(p); a.Verdict != firewall.Dropped || !strings.Contains(a.Why[0], `--dports 5240,5241 -m comment --comment "no users"`) {
		t.Errorf("got %s for %q, want dropped by iptables' rule in its own words", a.Verdict, a.Why)
	}
	p.Protocol, p.Port = firewall.UDP, 53
	if a := rs.Judge(p); a.Verdict != firewall.Dropped || !strings.HasPrefix(a.Why[0], "legacy ip filter INPUT, rule 1") {
		t.Errorf("got %s for %q, want dropped by the older iptables", a.Verdict, a.Why)
	}
}

// bare is this host without nft.
type bare struct{ *disk }

func (b bare) Lstat(path string) (Node, error) {
	if filepath.Base(path) == "nft" {
		return Node{}, &fs.PathError{Op: "look at", Path: path, Err: fs.ErrNotExist}
	}
	return b.disk.Lstat(path)
}

// TestWithoutNFT reads the rules where only iptables is installed; what nftables has besides makes them unknown, and is named.
func TestWithoutNFT(t *testing.T) {
	for _, name := range []string{"nft", "iptables-nft"} {
		firewalltest.Tool(t, name)
	}
	w := firewalltest.New(t, []int{5240})
	look := func() (rs *firewall.Ruleset, err error) {
		w.In(w.Host, func() {
			d, err1 := openDisk("/")
			if err1 != nil {
				t.Error(err1)
				return
			}
			defer func() { _ = d.close() }()
			n, err1 := New(bare{d}).Network()
			if err1 != nil {
				t.Error(err1)
			}
			rs, err = n.Rules, n.RulesErr
		})
		return rs, err
	}
	p := firewalltest.Packets([]int{5240})[0]
	if rs, err := look(); err != nil || !rs.Empty() {
		t.Errorf("no rules: got %v, want none", err)
	}
	w.Run(w.Host, "iptables-nft", "-A", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", "5240", "-j", "DROP")
	if rs, err := look(); err != nil || rs.Judge(p).Verdict != firewall.Dropped {
		t.Errorf("rules of iptables: got %v, want them", err)
	}
	w.Run(w.Host, "nft", "add table inet own")
	if rs, err := look(); !errors.Is(err, errNoNFT) || rs != nil || !strings.Contains(err.Error(), "inet own") {
		t.Errorf("a table of nftables' own: got %v, want it named", err)
	}
}

func FuzzTables(f *testing.F) {
	f.Add([]byte("\x2c\x00\x00\x00\x00\x0a\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x08\x00\x01\x00own\x00\x08\x00\x02\x00\x00\x00\x00\x00\x08\x00\x03\x00\x00\x00\x00\x00"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _, _ = parseTables(b) })
}

// TestUFW holds Debian's ufw against the kernel: its defaults, a rule, one for a network, one with a limit, one that denies.
func TestUFW(t *testing.T) {
	ports := []int{22, 53, 80, 5240, 5432}
	w := firewalltest.New(t, ports)
	run := w.UFW()
	judged(t, w, ports)
	for _, args := range []string{"allow 22/tcp", "allow from 10.99.0.0/16 to any port 5240 proto tcp", "limit 80/tcp", "allow 53", "deny 5432/tcp", "allow from 2001:db8::/32"} {
		if err := run("ufw " + args); err != nil {
			t.Fatal(err)
		}
	}
	judged(t, w, ports)
	for _, args := range []string{"default allow incoming", "--force disable"} {
		if err := run("ufw " + args); err != nil {
			t.Fatal(err)
		}
		judged(t, w, ports)
	}
}

// TestFirewalld holds Debian's firewalld against the kernel: its defaults, a port, rich rules, other zones for a network and for the device.
func TestFirewalld(t *testing.T) {
	ports := []int{22, 53, 80, 5240, 5432}
	w := firewalltest.New(t, ports)
	run := w.Firewalld()
	judged(t, w, ports)
	for _, args := range []string{"--add-port=80/tcp", `--add-rich-rule='rule family="ipv4" source address="10.99.0.0/16" port port="5240" protocol="tcp" accept'`,
		"--zone=trusted --add-source=2001:db8::/32", `--add-rich-rule='rule family="ipv4" source address="198.51.100.0/24" drop'`, "--zone=drop --change-interface=" + firewalltest.Device} {
		if err := run("firewall-cmd " + args); err != nil {
			t.Fatal(err)
		}
		judged(t, w, ports)
	}
}

// BenchmarkListeners finds 500 sockets of this process and whose they are.
func BenchmarkListeners(b *testing.B) {
	for range 500 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = l.Close() }()
	}
	b.ReportAllocs()
	for b.Loop() {
		f, err := Open("/")
		if err != nil {
			b.Fatal(err)
		}
		list, err := f.listeners()
		if err != nil || len(list) < 500 {
			b.Fatal(len(list), err)
		}
		_ = f.Close()
	}
}

func FuzzSockets(f *testing.F) {
	f.Add("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0\n")
	f.Add("   0: 00000000000000000000000000000000:1538 0:0 0A 0 0 0 0 1 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range parseSockets(text, "tcp") {
			if !s.addr.IsValid() {
				t.Errorf("got %+v, want an address", s)
			}
		}
		if u := parseUnit(text); strings.Contains(u, "/") || strings.Contains(u, "\n") {
			t.Errorf("got the unit %q", u)
		}
	})
}
