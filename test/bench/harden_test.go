package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/firewall/firewalltest"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host/hosttest"
)

// BenchmarkHarden checks a host with 1,000 accounts, each with a home and a profile of MAAS's command line, and a folder with 4,000 certificate
// keys, all open to everybody: each is a finding. The floor is the same program's "version".
func BenchmarkHarden(b *testing.B) {
	const users, keys = 1_000, 4_000
	dir := b.TempDir()
	program := built(b, dir)
	tree := []guard.Entry{{Path: "/etc/maas/regiond.conf"}, {Path: "/var/lib/maas/secret"}}
	var passwd strings.Builder
	for i := range users {
		_, _ = fmt.Fprintf(&passwd, "u%d:x:%d:%d::/home/u%d:/bin/sh\n", i, 2000+i, 2000+i, i)
		tree = append(tree, guard.Entry{Path: fmt.Sprintf("/home/u%d/.maascli.db", i)})
	}
	for i := range keys {
		tree = append(tree, guard.Entry{Path: fmt.Sprintf("/var/lib/maas/certificates/%d.key", i)})
	}
	tree = append(tree, guard.Entry{Path: "/etc/passwd", Content: passwd.String()})
	root := filepath.Join(dir, "host")
	if err := os.Mkdir(root, 0o755); err != nil { //nolint:gosec // a host's
		b.Fatal(err)
	}
	if err := hosttest.Write(root, tree, nil); err != nil {
		b.Fatal(err)
	}
	run := func(want int, args ...string) (time.Duration, float64) { return timed(b, want, program, args...) }
	var check, floor, rss []float64
	b.ResetTimer()
	for range b.N {
		f, _ := run(0, "version")
		c, mib := run(1, "harden", "check", "--root", root, "--format", "json")
		floor, check, rss = append(floor, f.Seconds()*1e3), append(check, c.Seconds()*1e3), append(rss, mib)
	}
	b.ReportMetric(median(check), "ms/check")
	b.ReportMetric(median(floor), "ms/start")
	b.ReportMetric(median(rss), "MiB")
	reportLoad(b)
}

// BenchmarkHardenListeners checks all that there is to check of a host with 500 listening sockets and 5,000 rules of nftables, which each packet
// meets all: in a network namespace, with this machine's files, and a state folder of Metalward's. The floor is nft's own listing of the rules.
func BenchmarkHardenListeners(b *testing.B) {
	const sockets, rules = 500, 5_000
	nft := firewalltest.Tool(b, "nft")
	ports := make([]int, sockets/2) // each by TCP and UDP
	for i := range ports {
		ports[i] = 20_000 + i
	}
	w := firewalltest.New(b, ports)
	var text strings.Builder
	text.WriteString("table inet f { chain input { type filter hook input priority 0; policy drop;\n ct state established accept\n")
	for i := range rules - 1 {
		_, _ = fmt.Fprintf(&text, "iifname %q ip saddr 10.%d.%d.0/24 tcp dport %d ct state new accept\n", firewalltest.Device, i/250, i%250, 30_000+i)
	}
	if out, err := w.Try(w.Host, text.String()+"}\n}\n", "nft", "-f", "-"); err != nil {
		b.Fatalf("%v: %.500s", err, out)
	}
	dir := b.TempDir()
	program, state, ip := built(b, dir), filepath.Join(dir, "state"), firewalltest.Tool(b, "ip")
	if err := os.Mkdir(state, 0o700); err != nil {
		b.Fatal(err)
	}
	report := filepath.Join(dir, "report.json")
	var check, floor, rss []float64
	b.ResetTimer()
	for range b.N {
		f, _ := timed(b, 0, ip, "netns", "exec", w.Host, nft, "list", "ruleset")
		c, mib := timed(b, 1, ip, "netns", "exec", w.Host, program, "harden", "check", "--state", state, "--format", "json", "--output", report)
		floor, check, rss = append(floor, f.Seconds()*1e3), append(check, c.Seconds()*1e3), append(rss, mib)
	}
	b.StopTimer()
	seen, err := os.ReadFile(report)
	if n := strings.Count(string(seen), `"subject": "udp [::]:20`); err != nil || n < sockets/2 {
		b.Fatalf("%v: %d of %d sockets are in the report", err, n, sockets/2)
	}
	b.ReportMetric(median(check), "ms/check")
	b.ReportMetric(median(floor), "ms/nft")
	b.ReportMetric(median(rss), "MiB")
	reportLoad(b)
}

// built is the program, as it is released.
func built(b *testing.B, dir string) string {
	b.Helper()
	program := filepath.Join(dir, "metalward")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "github.com/metalward/metalward/cmd/metalward")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return program
}

// timed runs a program that is to end with a code: how long it took, and its highest memory in MiB.
func timed(b *testing.B, want int, program string, args ...string) (time.Duration, float64) {
	b.Helper()
	cmd := exec.Command(program, args...)
	start := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(start)
	if cmd.ProcessState.ExitCode() != want {
		b.Fatalf("%v: %.2000s", err, out)
	}
	return took, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss) / 1024 // kibibytes, getrusage(2)
}
