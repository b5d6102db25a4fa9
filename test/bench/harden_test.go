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

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host/hosttest"
)

// BenchmarkHarden checks a host with 1,000 accounts, each with a home and a profile of MAAS's command line, and a folder with 4,000 certificate
// keys, all open to everybody: each is a finding. The floor is the same program's "version".
func BenchmarkHarden(b *testing.B) {
	const users, keys = 1_000, 4_000
	dir := b.TempDir()
	program := filepath.Join(dir, "metalward")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "github.com/metalward/metalward/cmd/metalward")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
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
	run := func(want int, args ...string) (took time.Duration, peakKiB int64) {
		cmd := exec.Command(program, args...)
		start := time.Now()
		out, err := cmd.CombinedOutput()
		took = time.Since(start)
		if cmd.ProcessState.ExitCode() != want {
			b.Fatalf("%v: %.2000s", err, out)
		}
		return took, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss // kibibytes, getrusage(2)
	}
	var check, floor, rss []float64
	b.ResetTimer()
	for range b.N {
		f, _ := run(0, "version")
		c, kib := run(1, "harden", "check", "--root", root, "--format", "json")
		floor, check, rss = append(floor, f.Seconds()*1e3), append(check, c.Seconds()*1e3), append(rss, float64(kib)/1024)
	}
	b.ReportMetric(median(check), "ms/check")
	b.ReportMetric(median(floor), "ms/start")
	b.ReportMetric(median(rss), "MiB")
	reportLoad(b)
}
