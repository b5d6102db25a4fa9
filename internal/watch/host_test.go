package watch

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
)

// told is what a watch of a host told.
type told struct {
	mu      sync.Mutex
	backlog detect.Backlog // guarded by mu, as are the others
	reports int
	logs    []detect.LogState
	alerts  map[string]detect.HostAlert // by unit, the newest
}

func (x *told) take(r detect.HostReport) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if r.Logs != nil {
		x.logs = r.Logs
	}
	if len(r.Alerts) > 0 {
		x.reports++
	}
	for _, a := range r.Alerts {
		x.alerts[a.Unit] = a
	}
	x.backlog.Put("host", r)
}

func (x *told) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		x.mu.Lock()
		done := ok()
		x.mu.Unlock()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("timed out waiting for ", what)
		}
	}
}

func runHost(t *testing.T, dir string) (x *told, stop func()) {
	t.Helper()
	x = &told{alerts: map[string]detect.HostAlert{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		peer := func(a netip.Addr) bool { return a == netip.MustParseAddr("203.0.113.2") } // a rack
		Host(ctx, HostOptions{Site: detect.Site{Peer: peer}, Units: HostUnits(units.Every), Patterns: []string{filepath.Join(dir, "*.log"), filepath.Join(dir, "absent")}, State: filepath.Join(dir, "state"), Now: time.Now,
			Log: slog.New(slog.DiscardHandler), Save: func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }}, x.take)
	}()
	x.until(t, "the logs", func() bool { return x.logs != nil })
	return x, func() { cancel(); <-done }
}

// A storm is one alert and a handful of reports, with evidence that can be printed whatever name was tried; it goes on over a restart, and state that is damaged is
// no reason not to watch. A region's own security events are not counted a second time.
func TestHost(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "auth.log")
	appendTo(t, log, "")
	if err := os.WriteFile(filepath.Join(dir, "state"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	x, stop := runHost(t, dir)
	if want := []detect.LogState{{Name: filepath.Join(dir, "*.log"), State: detect.LogRead}, {Name: filepath.Join(dir, "absent"), State: detect.LogAbsent}, {Name: "journal", State: detect.LogAbsent}}; !slices.Equal(x.logs, want) {
		t.Errorf("got logs %+v, want %+v", x.logs, want)
	}
	const storm = 50_000
	now := time.Now().UTC()
	var b strings.Builder
	for i := range storm {
		fmt.Fprintf(&b, "%s host sshd[%d]: Failed password for \x1b[2J\x00\xff from 198.51.100.7 port 40022 ssh2\n", now.Format("2006-01-02T15:04:05.000000-07:00"), 1000+i)
	}
	for i := range 9 {
		fmt.Fprintf(&b, `{"type":"security","appid":"metalward","timestamp":"%s","message":"AUTHN_login_unsuccessful","action":"user.login","request_remote_ip":"203.0.113.9","principal":"anonymous","user_id":"u%d"}`+"\n",
			now.Format("2006-01-02T15:04:05.000000Z"), i)
	}
	appendTo(t, log, b.String())
	x.until(t, "the storm", func() bool { return x.alerts["ssh_bruteforce"].Count >= storm-1000 }) // what sshd says of one attempt, and pids that come again, are fewer
	stop()
	a := x.alerts["ssh_bruteforce"]
	if a.Client.String() != "198.51.100.7" || x.reports > 10 {
		t.Errorf("got %+v in %d reports", a, x.reports)
	}
	for _, l := range a.Lines {
		if strings.ContainsAny(l.Text, "\x1b\x00\xff") {
			t.Errorf("got %q", l.Text)
		}
	}
	for unit := range x.alerts {
		if strings.HasPrefix(unit, "maas_") || strings.HasPrefix(unit, "mw_") {
			t.Errorf("got %s of the region's own events", unit)
		}
	}
	for {
		r, _, ok := x.backlog.Take()
		if !ok {
			break
		}
		if err := r.Err(); err != nil {
			t.Errorf("the region would refuse it: %v", err)
		}
	}
	before := a
	x, stop = runHost(t, dir)
	x.until(t, "the alert again", func() bool { return x.alerts["ssh_bruteforce"].Count == before.Count })
	stop()
	if a := x.alerts["ssh_bruteforce"]; a.Ident() != before.Ident() {
		t.Errorf("after a restart it is another alert: %q and %q", a.Ident(), before.Ident())
	}
}

// What may not be read is told, and is no reason not to read the rest.
func TestHostDenied(t *testing.T) {
	const child = "METALWARD_TEST_UNPRIVILEGED"
	if dir := os.Getenv(child); dir != "" {
		x, stop := runHost(t, dir)
		defer stop()
		fmt.Println(x.logs)
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o711); err != nil { // its logs can be opened by name, and not be listed
		t.Fatal(err)
	}
	self := filepath.Join(dir, "self")
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(self, program, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=TestHostDenied")
	cmd.Env, cmd.Dir = append(os.Environ(), child+"="+dir), "/"
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}} // nobody's, on Debian
	} else if err := os.Chmod(dir, 0o100); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if want := filepath.Join(dir, "*.log") + " denied"; err != nil || !strings.Contains(string(out), want) {
		t.Errorf("got %s, %v, want %q", out, err, want)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// Other thresholds count from the moment that they are set, with what was counted before.
func TestHostTuning(t *testing.T) {
	dir := t.TempDir()
	var tuning detect.Tuning
	x := &told{alerts: map[string]detect.HostAlert{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Host(ctx, HostOptions{Units: HostUnits(units.Every), Tuning: &tuning, Patterns: []string{filepath.Join(dir, "*.log")}, State: filepath.Join(dir, "state"), Now: time.Now,
			Log: slog.New(slog.DiscardHandler), Save: func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }}, x.take)
	}()
	defer func() { cancel(); <-done }()
	x.until(t, "the logs", func() bool { return x.logs != nil })
	f, err := os.Create(filepath.Join(dir, "auth.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fail := func(n int) {
		if _, err := fmt.Fprintf(f, "%s host sshd[%d]: Failed password for root from 198.51.100.7 port 40022 ssh2\n", time.Now().UTC().Format(time.RFC3339Nano), 1000+n); err != nil {
			t.Fatal(err)
		}
	}
	fail(0)
	fail(1)
	x.until(t, "the first", func() bool { return x.alerts["ssh_bruteforce"].Severity == detect.Info })
	tuning.Set([]detect.Threshold{{Unit: "ssh_bruteforce", Rungs: []detect.Rung{{Count: 3, Window: time.Hour, Severity: detect.High}}}})
	n := 1
	x.until(t, "one more", func() bool { // those that come before the others count make it medium at most
		n++
		fail(n)
		return x.alerts["ssh_bruteforce"].Severity == detect.High
	})
}

// What another controller is refused that it needs is told as such; what a stranger is refused at the same ports is not.
func TestHostRefusesPeer(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "ufw.log")
	appendTo(t, log, "")
	x, stop := runHost(t, dir)
	defer stop()
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000000-07:00")
	for i := range 3 {
		for _, from := range []string{"198.51.100.7", "203.0.113.2"} {
			appendTo(t, log, fmt.Sprintf("%s host kernel: [%d.0] [UFW BLOCK] IN=eth0 OUT= MAC=x SRC=%s DST=203.0.113.1 LEN=60 TTL=64 ID=%[2]d PROTO=TCP SPT=%[4]d DPT=5250 WINDOW=1 RES=0x00 SYN URGP=0\n", now, 100+i, from, 40000+i))
		}
	}
	x.until(t, "the rack's calls", func() bool { return x.alerts["fw_required_blocked"].Count > 0 })
	x.mu.Lock()
	defer x.mu.Unlock()
	if a := x.alerts["fw_required_blocked"]; a.Client.String() != "203.0.113.2" || a.Severity != detect.Medium {
		t.Errorf("got %+v", a)
	}
}
