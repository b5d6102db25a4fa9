package firewall

import (
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/firewall/firewalltest"
	"github.com/metalward/metalward/internal/guard"
)

// TestNmap holds what a check says of a port against what nmap finds from a stranger's address, of the same host, closed and open.
func TestNmap(t *testing.T) {
	firewalltest.Tool(t, "nmap")
	w := firewalltest.New(t, []int{22, 5432})
	run := w.UFW()
	if err := run("ufw allow 22/tcp"); err != nil {
		t.Fatal(err)
	}
	open := func(port string) bool {
		t.Helper()
		out := w.Run(w.Client, "nmap", "-n", "-Pn", "-sS", "-S", far4.String(), "-e", "fwpeer0", "-p", "22,5432", "-oG", "-", firewalltest.HostAddrs[false].String())
		if !strings.Contains(out, "22/open/tcp") {
			t.Fatalf("nmap does not even find SSH: %s", out)
		}
		return strings.Contains(out, port+"/open/tcp")
	}
	for _, step := range []struct {
		do   string
		open bool
	}{{"ufw status", false}, {"ufw allow 5432/tcp", true}, {"ufw delete allow 5432/tcp", false}, {"ufw allow from " + near4.String() + " to any port 5432 proto tcp", false}} {
		if err := run(step.do); err != nil {
			t.Fatal(err)
		}
		f := checked(t, w, "ports-database", ":5432")
		if found := open("5432"); found != step.open || (f.State == guard.Fail) != found || f.State == guard.Unchecked {
			t.Errorf("after %s: nmap finds it open: %t, the check says %s: %q", step.do, found, f.State, f.Evidence)
		}
	}
}
