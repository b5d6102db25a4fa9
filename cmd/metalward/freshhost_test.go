package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/harden"
	"github.com/metalward/metalward/internal/region"
)

// debian is what the checks look at of a fresh Debian 12 with an SSH server, the programs that docs/howto/harden.md has one install, and what a
// running kernel of it says. Sources: the packages openssh-server, sudo, base-passwd and procps of Debian 12; its kernel, which has AppArmor on.
var debian = map[string]string{
	"etc/ssh/sshd_config":                    "Include /etc/ssh/sshd_config.d/*.conf\nKbdInteractiveAuthentication no\nUsePAM yes\nX11Forwarding yes\nPrintMotd no\nAcceptEnv LANG LC_*\n",
	"etc/sudoers":                            "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
	"etc/shadow":                             "root:*:20000:0:99999:7:::\nmetalward:!:20000::::::\nbob:$y$j9T$x$y:20000:0:99999:7:::\n",
	"etc/apt/apt.conf.d/20auto-upgrades":     "APT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n",
	"etc/os-release":                         "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n",
	"home/bob/.bash_history":                 "ls\nsudo metalward secrets root status\n",
	"var/log/journal/0123/system.journal":    "",
	"sys/module/apparmor/parameters/enabled": "Y\n",
	"proc/sys/kernel/ostype":                 "Linux\n",
	"var/lib/dpkg/status":                    "Package: openssh-server\nStatus: install ok installed\nVersion: 1:9.2p1-2+deb12u3\n\nPackage: unattended-upgrades\nStatus: install ok installed\nVersion: 2.9.1\n\nPackage: systemd-timesyncd\nStatus: install ok installed\nVersion: 252.31-1~deb12u1\n",
	"etc/systemd/journald.conf":              "[Journal]\n",
	"etc/systemd/system/sysinit.target.wants/systemd-timesyncd.service": "",
	"etc/logrotate.conf": "weekly\nrotate 4\ncreate\ninclude /etc/logrotate.d\n",
}

// kernel is what settings are at first. Source: the kernel's Documentation/networking/ip-sysctl.rst, Yama.rst; procps' 99-protect-links.conf.
var kernel = map[string]string{"fs.protected_symlinks": "1", "fs.protected_hardlinks": "1", "fs.suid_dumpable": "0", "kernel.yama.ptrace_scope": "1",
	"net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.default.rp_filter": "0", "net.ipv4.conf.all.accept_source_route": "0", "net.ipv4.conf.default.accept_source_route": "1",
	"net.ipv6.conf.all.accept_source_route": "0", "net.ipv6.conf.default.accept_source_route": "0", "net.ipv4.conf.all.accept_redirects": "1", "net.ipv4.conf.default.accept_redirects": "1",
	"net.ipv6.conf.all.accept_redirects": "1", "net.ipv6.conf.default.accept_redirects": "1", "net.ipv4.conf.all.send_redirects": "1", "net.ipv4.conf.default.send_redirects": "1",
	"net.ipv4.conf.all.log_martians": "0", "net.ipv4.conf.default.log_martians": "0"}

// deployed are the files of deploy/host and where they go, as docs/howto/harden.md has it.
var deployed = map[string]string{"sysctl.conf": "etc/sysctl.d/60-metalward.conf", "sshd.conf": "etc/ssh/sshd_config.d/10-metalward.conf", "apt.conf": "etc/apt/apt.conf.d/60-metalward"}

// freshHost lays out such a host, and on it what a region makes by itself at its first start.
func freshHost(t *testing.T, with bool) (root string, r *region.Region) {
	t.Helper()
	root = t.TempDir()
	write := func(at, text string) {
		t.Helper()
		path := filepath.Join(root, at)
		mode := os.FileMode(0o644)
		if at == "etc/shadow" || strings.HasPrefix(at, "var/log/journal/") || at == "etc/sudoers" || strings.HasPrefix(at, "home/") {
			mode = 0o600
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for at, text := range debian {
		write(at, text)
	}
	passwd := "root:x:0:0:root:/root:/bin/bash\n"
	if uid := os.Geteuid(); uid != 0 {
		passwd += fmt.Sprintf("metalward:x:%d:%d::/var/lib/metalward:/usr/sbin/nologin\n", uid, os.Getegid())
	}
	write("etc/passwd", passwd+"bob:x:61000:61000::/home/bob:/bin/bash\n")
	write("etc/group", fmt.Sprintf("root:x:0:\nmetalward:x:%d:\nbob:x:61000:\nsudo:x:27:\n", max(os.Getegid(), 1)))
	for name, at := range deployed {
		text, err := os.ReadFile(filepath.Join("../../deploy/host", name))
		if err != nil {
			t.Fatal(err)
		}
		if with {
			write(at, string(text))
		}
	}
	now := maps.Clone(kernel)
	if with { // as sysctl --system does
		text, err := os.ReadFile("../../deploy/host/sysctl.conf")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			key, value, ok := strings.Cut(line, " = ")
			if _, known := now[key]; ok && !strings.HasPrefix(line, "#") && !known {
				t.Errorf("deploy/host/sysctl.conf has %s, which this test does not know", key)
			} else if ok && known {
				now[key] = strings.TrimSpace(value)
			}
		}
	}
	for key, value := range now {
		write("proc/sys/"+strings.ReplaceAll(key, ".", "/"), value+"\n")
	}
	old := syscall.Umask(0o077) // as main does
	defer syscall.Umask(old)
	r, err := region.New(t.Context(), region.Options{Log: slog.New(slog.DiscardHandler), Version: "1.2.3",
		Config: config.Region{StateDir: filepath.Join(root, "var/lib/metalward"), HTTPS: "127.0.0.1:0", RPC: "127.0.0.1:0", Plain: "off"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return root, r
}

// A fresh Metalward host, as docs/howto/harden.md makes one of a fresh Debian, has no finding above low by the whole catalogue; without
// deploy/host the same Debian has some, and they are what deploy/host is about. What only a running host knows could not be checked.
func TestFreshHost(t *testing.T) {
	for _, with := range []bool{true, false} {
		s := harden.NewSelf("/var/lib/metalward", guard.AnyRole, "1.2.3")
		root, here := freshHost(t, with)
		s.Root, s.People = root, here.People
		r := s.Check(t.Context())
		if r.Problem != "" || r.Err() != nil {
			t.Fatalf("got %q, %v", r.Problem, r.Err())
		}
		above := map[string]bool{}
		for _, f := range r.Findings {
			if f.State == guard.Unchecked && !strings.HasPrefix(f.Check, "ports-") && f.Check != "transport-live" && f.Subject != guard.Journal {
				t.Errorf("could not check %s: %q", f.Check, f.Evidence)
			}
			if f.State == guard.Fail && f.Severity > guard.Low {
				above[f.Check] = true
				if with {
					t.Errorf("%s %s, %s: %q", f.Severity, f.Check, f.Subject, f.Evidence)
				}
			}
		}
		if !with {
			want := []string{"accounts-ssh-passwords", "confinement-redirects", "confinement-reverse-path", "confinement-source-route"}
			if got := slices.Sorted(maps.Keys(above)); !slices.Equal(got, want) {
				t.Errorf("without deploy/host: got %q, want %q", got, want)
			}
		}
		if r.Passed < 25 {
			t.Errorf("only %d passed: the host is too bare to prove anything", r.Passed)
		}
	}
}

// The same of a running host, in a network of its own: region and rack as "metalward up" starts them, at their usual ports, have no
// finding above low in files, ports and transport, on a private address or a public one, and without a firewall: that there is none is one.
func TestFreshHostRunning(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes network namespaces")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip (Debian package iproute2)")
	}
	for _, address := range []string{"10.0.0.2/24", "198.51.100.2/24"} {
		dir, err := os.MkdirTemp("/tmp", "fresh") // not below a folder that others may not pass
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		program := filepath.Join(dir, "metalward")
		self, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, self, 0o700)); err != nil {
			t.Fatal(err)
		}
		script := `set -e
			ip link set lo up; ip link add eth0 type veth peer name peer0; ip link set peer0 up; ip addr add ` + address + ` dev eth0; ip link set eth0 up
			./metalward up --state-dir state > log 2>&1 & up=$!
			trap 'kill $up; wait $up' EXIT
			for i in $(seq 300); do grep -q "connected to the region" log && break; sleep 0.1; done
			./metalward harden check --state state --only files,ports,transport --format json --output report || true`
		cmd := exec.Command("bash", "-c", script)
		cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		text, err := os.ReadFile(filepath.Join(dir, "report"))
		if err != nil {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("%v; %s", err, log)
		}
		var report harden.Report
		if err := json.Unmarshal(text, &report); err != nil {
			t.Fatal(err)
		}
		low := map[string]bool{}
		states := map[guard.State]int{}
		for _, f := range report.Findings {
			states[f.State]++
			if f.State != guard.Fail {
				continue
			}
			if low[f.Check] = true; f.Severity > guard.Low {
				t.Errorf("%s: %s %s, %s: %q", address, f.Severity, f.Check, f.Subject, f.Evidence)
			}
		}
		if want := []string{"ports-firewall", "ports-internal", "ports-machines"}; !slices.Equal(slices.Sorted(maps.Keys(low)), want) || states[guard.Pass] < 15 {
			t.Errorf("%s: got %v of severity low, and %v, want %q: else nothing was looked at", address, low, states, want)
		}
	}
}
