package catalog

import (
	"fmt"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/guard"
)

// The table's rows say what they are about, and who has to reach it; what is to be narrowed has a severity.
func TestPortTable(t *testing.T) {
	for _, r := range portTable {
		if r.low == 0 || r.high != 0 && r.high <= r.low || r.what == "" || len(r.products) == 0 || whoWords[r.from] == "" {
			t.Errorf("%+v is not whole", r)
		}
		if (r.from == controllers || r.from == monitors || r.from == itself) && r.severity == 0 {
			t.Errorf("%+v is not for everybody, and has no severity", r)
		}
	}
	// What the guide's list of ports to open forgets is in the table, so that fixes keep it open.
	for _, s := range []string{"tcp 22", "tcp 53", "udp 53", "udp 67", "udp 68", "udp 69", "tcp 80", "udp 123", "tcp 5443", "tcp 5271", "tcp 5274", "tcp 5281", "tcp 5284", "tcp 8000", "tcp 3128"} {
		var l guard.Listener
		var port uint16
		if _, err := fmt.Sscanf(s, "%s %d", &l.Protocol, &port); err != nil {
			t.Fatal(err)
		}
		l = on(nil, fmt.Sprintf("%s 0.0.0.0:%d x", l.Protocol, port)).Listeners[0]
		if _, ok := rowOf(guard.MAASDeb, guard.AnyRole, l); !ok {
			t.Errorf("%s is not in the table", s)
		}
	}
}

// Evidence has the rule with its number, and the listener with its process but not the number of it, which is another at each start.
func TestEvidence(t *testing.T) {
	n := on(walls(allowAll, allowAll), "tcp 0.0.0.0:5432 postgres")
	n.Listeners[0].Unit, n.Listeners[0].PID = "postgresql@15-main.service", 4711
	f := find(t, "ports-database", n)[0]
	for _, want := range []string{"tcp 0.0.0.0:5432 (postgres of postgresql@15-main.service)", "ip filter INPUT: policy accept", "192.0.2.10 on eth0"} {
		if !strings.Contains(strings.Join(f.Evidence, "\n"), want) {
			t.Errorf("got %q, want %q in it", f.Evidence, want)
		}
	}
	if strings.Contains(fmt.Sprint(f.Observation), "4711") {
		t.Errorf("got %q, want no number of a process", f.Observation)
	}
	n.Rules = walls(with(refused, "-A INPUT -p tcp -m tcp --dport 5000:6000 -j ACCEPT"), "")
	if f := find(t, "ports-database", n)[0]; !strings.Contains(strings.Join(f.Evidence, "\n"), "ip filter INPUT, rule 4: -A INPUT -p tcp -m tcp --dport 5000:6000 -j ACCEPT") {
		t.Errorf("got %q, want the rule with its number", f.Evidence)
	}
	// A process that calls itself something else is shown harmlessly.
	n.Listeners[0].Process = "a\x1b[2Jb"
	proper(t, find(t, "ports-database", n)[0])
}

// What is the region's is none of a rack's, as its files have it.
func TestRoles(t *testing.T) {
	region, rack := guard.Entry{Path: "/etc/maas/regiond.conf"}, guard.Entry{Path: "/etc/maas/rackd.conf"}
	for _, c := range []struct {
		tree []guard.Entry
		want guard.State // of what listens at 5240, as something that the table does not name
	}{{nil, guard.NotApplicable}, {[]guard.Entry{region}, guard.NotApplicable}, {[]guard.Entry{rack}, guard.Fail}, {[]guard.Entry{region, rack}, guard.NotApplicable}} {
		s := guard.Sample{Tree: c.tree, Network: on(walls(allowAll, allowAll), "tcp 0.0.0.0:5240 x")}
		for _, k := range ports() {
			if got := worst(k.Run(sampleHost(t, s), guard.MAASDeb)); k.ID == "ports-unknown" && got != c.want {
				t.Errorf("%v: got %s, want %s", c.tree, got, c.want)
			}
		}
	}
}

func find(t *testing.T, id string, n guard.Network) []guard.Finding {
	t.Helper()
	for _, c := range Checks() {
		if c.ID == id {
			return c.Run(sampleHost(t, guard.Sample{Network: n}), guard.MAASDeb)
		}
	}
	t.Fatalf("there is no check %s", id)
	return nil
}

// A controller's copy of its files says nothing of its network: no check of this group passes or fails there.
func TestNoNetwork(t *testing.T) {
	for _, c := range ports() {
		if c.ID == "ports-outgoing" {
			continue
		}
		for _, f := range c.Run(copied{sampleHost(t, guard.Sample{})}, guard.MAASDeb) {
			if f.State != guard.Unchecked {
				t.Errorf("%s: got %s, want could not check", c.ID, f.State)
			}
		}
	}
}

// copied is a copy of a host's files.
type copied struct{ guard.Host }

func (copied) Network() (guard.Network, error) { return guard.Network{}, errHidden }

// BenchmarkPorts runs the group on a host with 500 listeners and 5,000 rules for each family, which are read from text first.
func BenchmarkPorts(b *testing.B) {
	var rules [2]strings.Builder
	for i := range rules {
		rules[i].WriteString("*filter\n:INPUT DROP [0:0]\n")
		for n := range 5000 {
			from := fmt.Sprintf("10.%d.%d.0/24", n>>8, n&0xff)
			if i == 1 {
				from = fmt.Sprintf("2001:db8:%x::/48", n)
			}
			fmt.Fprintf(&rules[i], "-A INPUT -s %s -p tcp -m tcp --dport %d -m conntrack --ctstate NEW -j ACCEPT\n", from, 1024+n)
		}
		rules[i].WriteString("COMMIT\n")
	}
	var listeners []string
	for n := range 500 {
		listeners = append(listeners, fmt.Sprintf("tcp [::]:%d x", 5000+n))
	}
	b.ReportAllocs()
	for b.Loop() {
		h := networkHost{n: on(walls(rules[0].String(), rules[1].String()), listeners...)}
		for _, c := range ports() {
			c.Run(h, guard.MAASDeb)
		}
	}
}

// networkHost has a network and nothing else.
type networkHost struct {
	guard.Host
	n guard.Network
}

func (h networkHost) Network() (guard.Network, error) { return h.n, nil }
func (networkHost) File(string) (guard.File, error)   { return guard.File{}, errHidden }
func (networkHost) Read(string) ([]byte, error)       { return nil, errHidden }
func (networkHost) Connect(string) error              { return guard.ErrNotAsked }
