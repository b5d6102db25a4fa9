package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/harden"
	"github.com/metalward/metalward/internal/region"
)

// TestMain makes "metalward" a command of the scripts: this test binary, run as a process of its own.
func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"metalward": main}) }

// The stories of testdata/harden run on trees that they bring.
func TestHarden(t *testing.T) { stories(t, "testdata/harden") }

// The stories of testdata/watch read logs that they bring.
func TestWatch(t *testing.T) { stories(t, "testdata/watch") }

// stories runs a folder's scripts. "exits CODE COMMAND…" holds a command against its exit code.
func stories(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": func(ts *testscript.TestScript, _ bool, args []string) {
			code, exit := 0, (*exec.ExitError)(nil)
			if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				ts.Fatalf("%v", err)
			}
			if strconv.Itoa(code) != args[0] {
				ts.Fatalf("got the exit code %d, want %s", code, args[0])
			}
		}},
	})
}

// What a region makes by itself has no finding: whoever runs it, by the name of metalward.
func TestHardenFresh(t *testing.T) {
	root := t.TempDir()
	old := syscall.Umask(0o077) // as main does
	t.Cleanup(func() { syscall.Umask(old) })
	passwd := fmt.Sprintf("metalward:x:%d:%d::/var/lib/metalward:/usr/sbin/nologin\n", os.Geteuid(), os.Getegid())
	if err := errors.Join(os.Mkdir(filepath.Join(root, "etc"), 0o755), os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(passwd), 0o644),
		os.WriteFile(filepath.Join(root, "etc/group"), fmt.Appendf(nil, "metalward:x:%d:\n", os.Getegid()), 0o644)); err != nil {
		t.Fatal(err)
	}
	r, err := region.New(t.Context(), region.Options{Log: slog.New(slog.DiscardHandler),
		Config: config.Region{StateDir: filepath.Join(root, "var/lib/metalward"), HTTPS: "127.0.0.1:0", RPC: "127.0.0.1:0", Plain: "off"}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := harden.Run(harden.Options{Root: root, FailOn: guard.Low, Now: time.Now(), Only: []string{"files"}})
	if err != nil {
		t.Fatal(err)
	}
	judged := 0
	for _, f := range report.Findings {
		switch f.State {
		case guard.Pass:
			judged++
		case guard.Fail, guard.Unchecked:
			t.Errorf("got %s of %s, %s: %q", f.State, f.Check, f.Subject, f.Evidence)
		}
	}
	if judged < 9 || report.Code() != 0 { // root.key, shared-secret, the database's three, ca.pem, region-id; and folders
		t.Errorf("got %d files and folders judged, and the exit code %d", judged, report.Code())
	}
}

// An ordinary user gets a report of what he may see, and it is no pass.
func TestHardenAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run a program as another user")
	}
	dir, err := os.MkdirTemp("/tmp", "harden")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	program := filepath.Join(dir, "metalward")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{"root/var/lib/metalward": 0o700, "root": 0o755, "root/var": 0o755, "root/var/lib": 0o755} {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+"/root/var/lib/metalward/root.key", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(program, self, 0o600), os.Chmod(program, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "harden", "check", "--root", dir+"/root", "--only", "files-root-key")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}} // nobody's, on Debian
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "COULD NOT CHECK") || !strings.Contains(string(out), "permission denied") {
		t.Errorf("got %v: %s, want exit code 2 and that it could not be checked", err, out)
	}
}
