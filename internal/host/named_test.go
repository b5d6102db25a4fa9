package host_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestStranger holds what is said of strangers against what a real BIND gives one: each of many zones has a list of its own, and an address
// that none of them names asks for all. The first has no list: then this version gives it to everybody.
func TestStranger(t *testing.T) {
	for _, program := range []string{"named", "dig", "unshare", "ip"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not here", program)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("a network of its own takes root")
	}
	dir, err := os.MkdirTemp("", "mwnamed") // named gives root's rights up: folders of t.TempDir may be closed to it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // as above
			t.Fatal(err)
		}
	}
	words := []string{"any", "none", "!any", "!none", "localhost", "localnets", "!localnets", "10.9.0.0/16", "!10.9.0.0/16", "0.0.0.0/0", "!0.0.0.0/0", "192.0.2.1", "key k", "!key k", "near", "!near", "open", "!open", "closed", "!closed"}
	var conf strings.Builder
	conf.WriteString("options { directory \"" + dir + "\"; pid-file none; session-keyfile none; listen-on port 5533 { 10.1.0.1; }; listen-on-v6 { none; }; dnssec-validation no; recursion no; };\ncontrols { };\n" +
		"key k { algorithm hmac-sha256; secret \"aaaa\"; };\nacl near { 10.9.0.0/16; localnets; };\nacl open { near; any; };\nacl closed { !any; };\nzone \"z0\" { type master; file \"zone\"; };\n")
	const zones = 80
	rng := rand.New(rand.NewPCG(5, 6))
	for i := 1; i < zones; i++ {
		var list []string
		for range 1 + rng.IntN(4) {
			list = append(list, words[rng.IntN(len(words))]+";")
		}
		fmt.Fprintf(&conf, "zone \"z%d\" { type master; file \"zone\"; allow-transfer { %s }; };\n", i, strings.Join(list, " "))
	}
	write("zone", "$TTL 60\n@ IN SOA a. b. 1 1 1 1 1\n@ IN NS a.\nx IN A 192.0.2.9\n")
	write("named.conf", conf.String())
	write("ask", fmt.Sprintf("ip link set lo up; ip addr add 10.1.0.1/32 dev lo; ip route add local 10.2.0.0/24 dev lo\nnamed -g -c %s/named.conf >%s/log 2>&1 & p=$!\n"+
		"for i in $(seq 100); do dig +time=1 +tries=1 -b 10.2.0.9 @10.1.0.1 -p 5533 z0 SOA | grep -q 'status: NOERROR' && break; sleep 0.1; done\n"+
		"for i in $(seq 0 %d); do dig +time=5 +tries=2 -b 10.2.0.9 @10.1.0.1 -p 5533 z$i AXFR | grep -q 192.0.2.9 && echo yes || echo no; done; kill $p; wait\n", dir, dir, zones-1))
	out, err := exec.Command("unshare", "-n", "bash", filepath.Join(dir, "ask")).CombinedOutput()
	answers := strings.Fields(string(out))
	log, _ := os.ReadFile(filepath.Join(dir, "log")) // for who reads the failure
	if err != nil || len(answers) != zones || answers[0] != "yes" {
		t.Fatalf("%v: %s\n%s", err, out, log)
	}
	d := dns(t, map[string]string{"/etc/bind/named.conf": conf.String()})
	if d.Err != nil || len(d.Zones) != zones || d.Zones[0].Transfer != nil {
		t.Fatalf("got %d zones, %v", len(d.Zones), d.Err)
	}
	seen := map[string]int{}
	for i, z := range d.Zones[1:] {
		open, err := d.Stranger(z.Transfer)
		if err != nil {
			seen["contradictions"]++ // of which BIND makes one or the other
			continue
		}
		got := map[bool]string{true: "yes", false: "no"}[open]
		if seen[got]++; got != answers[i+1] {
			t.Errorf("{ %s; }: got %s, BIND has %s", strings.Join(z.Transfer, "; "), got, answers[i+1])
		}
	}
	if seen["yes"] < 10 || seen["no"] < 10 {
		t.Errorf("the lists are too alike: %v", seen)
	}
}
