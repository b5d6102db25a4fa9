package firewalltest

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// away is a copy of a folder of /etc that a program in a mount namespace sees in its place.
func away(t testing.TB, folder string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "etc")
	if _, err := os.Stat(folder); err != nil {
		t.Skipf("%s is not here: its program is not installed, so its rules are not held against the kernel", folder)
	}
	if out, err := exec.Command("cp", "-a", folder, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir
}

// Shell runs command lines on the host.
func (w *Wire) Shell() func(line string) error {
	return func(line string) error {
		out, err := w.Try(w.Host, "", "sh", "-c", line)
		if err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, out)
		}
		return nil
	}
}

// UFW switches Debian's ufw on, with its defaults, and returns what runs command lines where its files are a copy of this host's.
func (w *Wire) UFW() func(line string) error {
	Tool(w.t, "ufw")
	etc, defaults := away(w.t, "/etc/ufw"), away(w.t, "/etc/default")
	run := func(line string) error {
		out, err := w.Try(w.Host, "", "unshare", "-m", "sh", "-c", "mount --bind '"+etc+"' /etc/ufw && mount --bind '"+defaults+"' /etc/default && "+line)
		if err != nil {
			return fmt.Errorf("%s: %w: %s", line, err, out)
		}
		return nil
	}
	// Debian's default, whatever this host's is now.
	if err := run(`sed -i 's/^DEFAULT_INPUT_POLICY=.*/DEFAULT_INPUT_POLICY="DROP"/' /etc/default/ufw && ufw --force enable`); err != nil {
		w.t.Skipf("ufw does not work in a namespace here: %v", err)
	}
	return run
}

// Firewalld starts Debian's firewalld, with its defaults and a bus of its own, and returns what runs command lines beside it.
func (w *Wire) Firewalld() func(line string) error {
	for _, name := range []string{"firewalld", "firewall-cmd", "dbus-daemon"} {
		Tool(w.t, name)
	}
	script := `mount -t tmpfs none /run && mkdir -p /run/dbus && mount --bind '` + away(w.t, "/etc/firewalld") + `' /etc/firewalld || exit 1
dbus-daemon --system --nofork --nopidfile >/dev/null 2>&1 & bus=$!
firewalld --nofork --nopid >/dev/null 2>&1 & wall=$!
trap 'kill $wall $bus; wait' EXIT
for i in $(seq 100); do firewall-cmd --state >/dev/null 2>&1 && break; sleep 0.2; done
firewall-cmd --state 2>&1
while read -r line; do eval "$line" >/dev/null 2>&1; echo "done $?"; done`
	cmd := exec.Command(Tool(w.t, "ip"), "netns", "exec", w.Host, Tool(w.t, "unshare"), "-m", "sh", "-c", script)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() || strings.TrimSpace(lines.Text()) != "running" {
		w.t.Skipf("firewalld does not work in a namespace here: %q", lines.Text())
	}
	return func(line string) error {
		if _, err := fmt.Fprintln(in, line); err != nil {
			return err
		}
		if !lines.Scan() || lines.Text() != "done 0" {
			return fmt.Errorf("%s: %s", line, lines.Text())
		}
		return nil
	}
}
