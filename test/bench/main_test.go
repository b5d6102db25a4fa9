package bench

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/region/regiontest"
)

// TestMain runs the benchmarks, or one of the servers under test when the binary has started itself.
func TestMain(m *testing.M) {
	if dir := os.Getenv(dhcpServerEnv); dir != "" {
		if err := serveDHCP(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	regiontest.Main(m)
}

// procKiB reads a size such as VmRSS or VmHWM (the highest VmRSS) of a process. Source: proc_pid_status(5).
func procKiB(pid int, field string) int64 {
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		if rest, ok := strings.CutPrefix(in.Text(), field+":"); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return n
		}
	}
	return 0
}

// watchRSS samples the resident memory of this process until stop is called, which returns the highest value in
// KiB and how far above the start that is.
func watchRSS() (stop func() (peak, growth int64)) {
	before := procKiB(os.Getpid(), "VmRSS")
	peak, done, ended := before, make(chan struct{}), make(chan struct{})
	go func() { // ended by stop
		defer close(ended)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			peak = max(peak, procKiB(os.Getpid(), "VmRSS"))
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return func() (int64, int64) {
		close(done)
		<-ended
		peak = max(peak, procKiB(os.Getpid(), "VmRSS"))
		return peak, peak - before
	}
}

// reportLoad adds the machine's load average of the last minute, which says how far to trust the figures.
func reportLoad(b *testing.B) {
	b.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return
	}
	if load, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64); err == nil {
		b.ReportMetric(load, "load")
	}
}
