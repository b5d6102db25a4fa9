package firewall

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/firewall"
	"github.com/metalward/metalward/internal/firewall/firewalltest"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/guard/catalog"
	"github.com/metalward/metalward/internal/host"
)

// checked is what a check finds of this host, in a namespace, about a port; "" for the firewall or whatever comes first.
func checked(t *testing.T, w *firewalltest.Wire, id, about string) guard.Finding {
	t.Helper()
	var found []guard.Finding
	w.In(w.Host, func() {
		f, err := host.Open("/")
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = f.Close() }()
		i := slices.IndexFunc(catalog.Checks(), func(c *guard.Check) bool { return c.ID == id })
		found = catalog.Checks()[i].Run(f, guard.MAASDeb)
	})
	i := slices.IndexFunc(found, func(f guard.Finding) bool { return strings.Contains(f.Subject, about) })
	if i < 0 {
		t.Fatalf("%s: got %+v, want one about %q", id, found, about)
	}
	return found[i]
}

// reaches tells whether the client, from an address, really reaches a port by TCP. Where it should, it is tried with more patience, for the
// machine may be busy.
func reaches(w *firewalltest.Wire, from netip.Addr, port uint16, should bool) bool {
	patience := firewalltest.Patience
	if should {
		patience = firewalltest.Stubborn
	}
	p := firewall.Packet{Protocol: firewall.TCP, Source: from, Destination: firewalltest.HostAddrs[from.Is6()], Port: port, Device: firewalltest.Device}
	return w.Reaches([]firewall.Packet{p}, patience)[0]
}

// apply runs a fix's commands, as an operator would paste them. What needs systemd, which is not here, is left out.
func apply(t *testing.T, run func(string) error, commands []string) {
	t.Helper()
	for _, c := range commands {
		if strings.HasPrefix(c, "#") || strings.HasPrefix(c, "systemd-run ") || strings.HasPrefix(c, "systemctl ") {
			continue
		}
		if err := run(c); err != nil {
			t.Fatal(err)
		}
	}
}

// The addresses of the client: near ones are in private networks, far ones are strangers'.
var (
	near4, far4 = netip.MustParseAddr("10.99.1.2"), netip.MustParseAddr("198.51.100.7")
	near6, far6 = netip.MustParseAddr("fd99::2"), netip.MustParseAddr("2001:db8:7::7")
)

// TestNarrow breaks a host, looks, applies the fix, and takes it back, with each keeper of rules: what was open is open to private networks
// alone, SSH is as it was, and afterwards all is as before.
func TestNarrow(t *testing.T) {
	for name, start := range map[string]func(*testing.T, *firewalltest.Wire) (run func(string) error, open string){
		"nftables": func(t *testing.T, w *firewalltest.Wire) (func(string) error, string) {
			firewalltest.Tool(t, "nft")
			return w.Shell(), "nft 'add table inet f; add chain inet f input { type filter hook input priority 0; policy drop; }; add rule inet f input ct state established accept; add rule inet f input tcp dport { 22, 5432 } accept'"
		},
		"ufw": func(_ *testing.T, w *firewalltest.Wire) (func(string) error, string) {
			return w.UFW(), "ufw allow 22/tcp && ufw allow 5432/tcp"
		},
		"firewalld": func(_ *testing.T, w *firewalltest.Wire) (func(string) error, string) {
			return w.Firewalld(), "firewall-cmd --zone=public --change-interface=" + firewalltest.Device + " && firewall-cmd --zone=public --add-port=5432/tcp"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := firewalltest.New(t, []int{22, 5432})
			run, open := start(t, w)
			if err := run(open); err != nil {
				t.Fatal(err)
			}
			want := func(when string, state guard.State, far bool) guard.Finding {
				t.Helper()
				f := checked(t, w, "ports-database", ":5432")
				if f.State != state {
					t.Errorf("%s: got %s, want %s: %q", when, f.State, state, f.Evidence)
				}
				for from, want := range map[netip.Addr]bool{near4: true, near6: true, far4: far, far6: far} {
					if got := reaches(w, from, 5432, want); got != want {
						t.Errorf("%s: %s reaches the database: got %t, want %t", when, from, got, want)
					}
					if !reaches(w, from, 22, true) {
						t.Errorf("%s: %s does not reach SSH", when, from)
					}
				}
				return f
			}
			f := want("open", guard.Fail, true)
			apply(t, run, f.Observation.Fix)
			want("fixed", guard.Pass, false)
			undo := slices.Clone(f.Observation.Undo)
			slices.Reverse(undo)
			apply(t, run, undo)
			want("taken back", guard.Fail, true)
		})
	}
}

// TestShut closes a host that has no firewall, and one whose ufw lets all in: SSH and what is in the table stay open, what nobody thought of
// is closed, and taking it back opens the host again.
func TestShut(t *testing.T) {
	for name, c := range map[string]struct {
		id    string
		start func(*testing.T, *firewalltest.Wire) func(string) error
	}{
		"no firewall": {"ports-firewall", func(t *testing.T, w *firewalltest.Wire) func(string) error {
			firewalltest.Tool(t, "nft")
			return w.Shell()
		}},
		"firewalld's zone accepts": {"ports-policy", func(t *testing.T, w *firewalltest.Wire) func(string) error {
			run := w.Firewalld()
			for _, args := range []string{"--permanent --zone=public --set-target=ACCEPT", "--permanent --zone=public --add-interface=" + firewalltest.Device, "--reload"} {
				if err := run("firewall-cmd " + args); err != nil {
					t.Fatal(err)
				}
			}
			return run
		}},
		"ufw lets all in": {"ports-policy", func(t *testing.T, w *firewalltest.Wire) func(string) error {
			run := w.UFW()
			if err := run("ufw default allow incoming"); err != nil {
				t.Fatal(err)
			}
			return run
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := firewalltest.New(t, []int{22, 69, 5240, 5250, 8081})
			run := c.start(t, w)
			f := checked(t, w, c.id, "")
			if f.State != guard.Fail || !reaches(w, far4, 8081, true) {
				t.Fatalf("got %s, want a host that is open: %q", f.State, f.Evidence)
			}
			apply(t, run, f.Observation.Fix)
			if again := checked(t, w, "ports-policy", ""); again.State != guard.Pass {
				t.Errorf("fixed: got %s: %q", again.State, again.Evidence)
			}
			for _, from := range []netip.Addr{near4, far4, near6, far6} {
				for _, port := range []uint16{22, 5240, 5250, 8081} {
					if want := port != 8081; reaches(w, from, port, want) != want {
						t.Errorf("fixed: %s reaches %d: got %t, want %t", from, port, !want, want)
					}
				}
			}
			undo := slices.Clone(f.Observation.Undo)
			slices.Reverse(undo)
			apply(t, run, undo)
			if again := checked(t, w, c.id, ""); again.State != guard.Fail || !reaches(w, far4, 8081, true) {
				t.Errorf("taken back: got %s: %q", again.State, again.Evidence)
			}
		})
	}
}

// TestAdmit lets in what the guide's list forgets: ufw as the guide has it refuses TFTP and DNS to everybody, until the fix.
func TestAdmit(t *testing.T) {
	for name, start := range map[string]func(*firewalltest.Wire) func(string) error{
		"ufw":       (*firewalltest.Wire).UFW,
		"firewalld": (*firewalltest.Wire).Firewalld,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := firewalltest.New(t, []int{53})
			run := start(w)
			f := checked(t, w, "ports-needed", "tcp [::]:53")
			if f.State != guard.Fail || reaches(w, near4, 53, false) {
				t.Fatalf("got %s, want DNS refused: %q", f.State, f.Evidence)
			}
			apply(t, run, f.Observation.Fix)
			if again := checked(t, w, "ports-needed", "tcp [::]:53"); again.State != guard.Pass || !reaches(w, near4, 53, true) || !reaches(w, near6, 53, true) || reaches(w, far4, 53, false) {
				t.Errorf("fixed: got %s: %q", again.State, again.Evidence)
			}
			undo := slices.Clone(f.Observation.Undo)
			slices.Reverse(undo)
			apply(t, run, undo)
			if again := checked(t, w, "ports-needed", "tcp [::]:53"); again.State != guard.Fail || reaches(w, near4, 53, false) {
				t.Errorf("taken back: got %s: %q", again.State, again.Evidence)
			}
		})
	}
}

// TestLoggingFix logs what is refused, and changes nothing else.
func TestLoggingFix(t *testing.T) {
	firewalltest.Tool(t, "nft")
	for name, rules := range map[string]string{
		"a policy":       "nft 'add table inet f; add chain inet f input { type filter hook input priority 0; policy drop; }; add rule inet f input ct state established accept; add rule inet f input tcp dport 22 accept'",
		"the last rule":  "nft 'add table inet f; add chain inet f input { type filter hook input priority 0; }; add rule inet f input ct state established accept; add rule inet f input tcp dport 22 accept; add rule inet f input reject'",
		"iptables' both": "for i in iptables ip6tables; do $i -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT; $i -A INPUT -p tcp --dport 22 -j ACCEPT; $i -P INPUT DROP; done",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(rules, "for i") {
				firewalltest.Tool(t, "iptables")
			}
			w := firewalltest.New(t, []int{22})
			run := w.Shell()
			if err := run(rules); err != nil {
				t.Fatal(err)
			}
			for range 2 { // one for each family, where they have chains of their own
				for _, about := range []string{"10.99.1.1", "fd99::1"} {
					if f := checked(t, w, "ports-logging", about); f.State == guard.Fail {
						apply(t, run, f.Observation.Fix)
					}
				}
			}
			for _, about := range []string{"10.99.1.1", "fd99::1"} {
				if f := checked(t, w, "ports-logging", about); f.State != guard.Pass {
					t.Errorf("%s: got %s: %q", about, f.State, f.Evidence)
				}
			}
			if !reaches(w, far4, 22, true) || reaches(w, far4, 23, false) {
				t.Error("what is let in has changed")
			}
		})
	}
}
