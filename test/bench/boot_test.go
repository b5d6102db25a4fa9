package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// bootEnv turns BenchmarkBoot on: a round takes some five minutes and needs what `make e2e` needs.
const bootEnv = "METALWARD_BENCH_BOOT"

// tailBytes is how much is shown of a run that failed: the failure, and the ends of the logs that follow it.
const tailBytes = 8 << 10

var (
	labToInit    = regexp.MustCompile(`power-on to /init over the network: ([0-9.]+) s`)
	storyToAgent = regexp.MustCompile(`([0-9.]+) s  power-on to agent`)
	storyToEnd   = regexp.MustCompile(`([0-9.]+) s  deployed`)
)

// boots are the figures of the rounds so far, in seconds. A benchmark is called with one round before it is called
// with those asked for: at minutes a round, that one counts.
var boots struct{ hand, agent, deployed, ratios []float64 }

// BenchmarkBoot compares the time from power-on to our agent with that of the same emulated machine with the same
// kernel and modules, compressed alike, that dnsmasq and a file server boot, and reports when the machine is deployed:
// enlisted, commissioned and installed. Emulation takes all of a core, so nothing else may be emulated meanwhile.
func BenchmarkBoot(b *testing.B) {
	if os.Getenv(bootEnv) == "" {
		b.Skipf("set %s=1; nothing else should run then", bootEnv)
	}
	if os.Getuid() != 0 {
		b.Skip("needs root for network namespaces")
	}
	comms, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range comms {
		if name, err := os.ReadFile(path); err == nil && strings.HasPrefix(string(name), "qemu-system") { // it may have ended
			b.Skip("another machine is emulated here just now")
		}
	}
	run := func(env, pattern, pkg string) string {
		b.Helper()
		cmd := exec.Command("go", "test", "-tags", "e2e", "-count=1", "-timeout", "20m", "-v", "-run", pattern, pkg)
		cmd.Env = append(os.Environ(), env)
		out, err := cmd.CombinedOutput()
		if err != nil { // what happens after the figures does not matter to them
			b.Logf("%s %s: %v; it ends with:\n%s", pkg, pattern, err, out[max(0, len(out)-tailBytes):])
		}
		return string(out)
	}
	seconds := func(re *regexp.Regexp, out string) float64 {
		b.Helper()
		m := re.FindStringSubmatch(out)
		if m == nil {
			b.Fatalf("no figure like %s in:\n%s", re, out)
		}
		v, _ := strconv.ParseFloat(m[1], 64)
		return v
	}
	for round := len(boots.ratios); round < b.N; round++ {
		lab := func() {
			boots.hand = append(boots.hand, seconds(labToInit, run("METALWARD_LAB_ZSTD=19", "^TestMachine$/^bios$", "../e2e/lab")))
		}
		story := func() {
			out := run("METALWARD_E2E_SMOKE=1", "^TestStoryBIOS$", "../e2e")
			boots.agent, boots.deployed = append(boots.agent, seconds(storyToAgent, out)), append(boots.deployed, seconds(storyToEnd, out))
		}
		if round%2 == 0 {
			lab()
			story()
		} else {
			story()
			lab()
		}
		boots.ratios = append(boots.ratios, boots.agent[round]/boots.hand[round])
		b.Logf("round %d: %.1f s to the agent, %.1f s to the hand-made lab's init", round+1, boots.agent[round], boots.hand[round])
	}
	b.ReportMetric(median(boots.ratios), "x_lab")
	b.ReportMetric(median(boots.hand), "s/lab_init")
	b.ReportMetric(median(boots.agent), "s/agent")
	b.ReportMetric(median(boots.deployed), "s/deployed")
	reportLoad(b)
}
