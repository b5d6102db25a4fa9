package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/harden"
)

// sshServers are real SSH servers on loopback, and what is needed to log in to them.
type sshServers struct {
	t    *testing.T
	dir  string
	user string
	sshd string
}

func (s sshServers) file(name, content string) string {
	s.t.Helper()
	at := filepath.Join(s.dir, name)
	if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return at
}

func (s sshServers) key(name string) (file, public string) {
	s.t.Helper()
	file = filepath.Join(s.dir, name)
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file).CombinedOutput(); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(file + ".pub")
	if err != nil {
		s.t.Fatal(err)
	}
	return file, string(text)
}

// start starts a server, with more lines of configuration, and returns where it listens.
func (s sshServers) start(name, hostKey, more string) string {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	at := l.Addr().String()
	_, port, _ := net.SplitHostPort(at)
	if err := l.Close(); err != nil {
		s.t.Fatal(err)
	}
	config := s.file(name+".conf", fmt.Sprintf("ListenAddress 127.0.0.1\nPort %s\nHostKey %s\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile %s/authorized\n%s\n",
		port, hostKey, s.dir, more))
	log, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(s.sshd, "-D", "-e", "-f", config)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})
	for range 6000 {
		if c, err := net.Dial("tcp", at); err == nil {
			_ = c.Close()
			return at
		}
		time.Sleep(10 * time.Millisecond)
	}
	said, _ := os.ReadFile(log.Name())
	s.t.Fatalf("sshd does not listen: %s", said)
	return ""
}

// TestHardenHosts has the program check hosts by ssh: good ones, and each kind of bad one.
func TestHardenHosts(t *testing.T) {
	s := sshServers{t: t, dir: t.TempDir(), sshd: "/usr/sbin/sshd"}
	for _, program := range []string{s.sshd, "ssh", "ssh-keygen"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("there is no " + program + ", so no host can be reached: install openssh-server and openssh-client")
		}
	}
	if os.Geteuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	who, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s.user = who.Username
	hostKey, hostPublic := s.key("host")
	_, otherPublic := s.key("other")
	mine, minePublic := s.key("mine")
	stranger, _ := s.key("stranger")
	s.file("authorized", minePublic)

	// The host: a region whose root key is open, in a folder of its own, and a folder for what is copied there.
	tree, scratch := filepath.Join(s.dir, "tree"), filepath.Join(s.dir, "scratch")
	if err := errors.Join(os.MkdirAll(tree+"/var/lib/metalward", 0o755), os.Mkdir(scratch, 0o700), os.WriteFile(tree+"/var/lib/metalward/root.key", []byte("x"), 0o600),
		os.Chmod(tree+"/var/lib/metalward/root.key", 0o644)); err != nil {
		t.Fatal(err)
	}
	env := "SetEnv XDG_RUNTIME_DIR=" + scratch
	good := s.start("good", hostKey, env)
	again := s.start("again", hostKey, env)
	changed := s.start("changed", hostKey, env)
	fresh := s.start("fresh", hostKey, env)
	answer := func(name, script string) string {
		at := s.file(name+".sh", "#!/bin/sh\n"+script+"\n")
		if err := os.Chmod(at, 0o700); err != nil {
			t.Fatal(err)
		}
		return s.start(name, hostKey, "ForceCommand "+at)
	}
	garbage := answer("garbage", `printf 'Welcome! \033]0;owned\007\n'`)
	endless := answer("endless", "exec yes")
	loud := answer("loud", `yes noise >&2 & sleep 1; kill $!; wait; printf '\noh \033[31mno\n' >&2; exit 7`)
	lying := answer("lying", `cat > /dev/null; printf '{"format":1,"tool":{"name":"metalward","version":"0.1"}}'`)

	known := ""
	for _, at := range []string{good, again, garbage, endless, loud, lying} {
		known += knownHost(at, hostPublic)
	}
	known += knownHost(changed, otherPublic)
	config := s.file("ssh_config", "Host *\n UserKnownHostsFile "+s.file("known_hosts", known)+"\n GlobalKnownHostsFile /dev/null\n IdentityFile "+mine+"\n IdentitiesOnly yes\n IdentityAgent none\n")
	refused := s.file("ssh_config_refused", "Host *\n UserKnownHostsFile "+filepath.Join(s.dir, "known_hosts")+"\n GlobalKnownHostsFile /dev/null\n IdentityFile "+stranger+"\n IdentitiesOnly yes\n IdentityAgent none\n")
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := closed.Addr().String()
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (out, told string, code int) {
		t.Helper()
		cmd := exec.Command(self)
		cmd.Args = append([]string{"metalward", "harden", "check"}, args...)
		var o, e strings.Builder
		cmd.Stdout, cmd.Stderr = &o, &e
		_ = cmd.Run() // ProcessState tells
		return o.String(), e.String(), cmd.ProcessState.ExitCode()
	}
	name := func(at string) string { return "ssh://" + s.user + "@" + at }
	only := []string{"--root", tree, "--only", "files-root-key", "--ssh-config", config}

	// One host, and the same as it sees itself.
	out, told, code := run(append(only, "--host", name(good), "--format", "json")...)
	var fleet harden.Fleet
	if err := json.Unmarshal([]byte(out), &fleet); err != nil || code != 1 || len(fleet.Hosts) != 1 || fleet.Hosts[0].Report == nil {
		t.Fatalf("got %d, %v: %s%s", code, err, out, told)
	}
	out, _, _ = run("--root", tree, "--only", "files-root-key", "--format", "json")
	var own harden.Report
	if err := json.Unmarshal([]byte(out), &own); err != nil {
		t.Fatal(err)
	}
	own.Time, fleet.Hosts[0].Report.Time = time.Time{}, time.Time{}
	if a, b := marshal(t, own), marshal(t, fleet.Hosts[0].Report); a != b {
		t.Errorf("by ssh:\n%s\nby itself:\n%s", b, a)
	}
	if f := fleet.Hosts[0].Report.Findings; len(f) != 1 || f[0].State != guard.Fail {
		t.Errorf("got %+v, want the open key", f)
	}

	// All of them at once: those that can be checked are, and what is wrong with the others is said.
	args := only
	wants := []struct{ at, says string }{
		{good, ""}, {again, ""},
		{changed, "its host key is not the one that is known"},
		{fresh, "its host key is not known"},
		{nowhere, "nothing answers at that port"},
		{garbage, "its answer is no report of this program"},
		{endless, "its answer has more than 33554432 bytes"},
		{loud, `it could not be checked (7): oh \x1b[31mno`},
		{lying, "by metalward 0.1"},
	}
	for _, w := range wants {
		args = append(args, "--host", name(w.at))
	}
	out, told, code = run(append(args, "--format", "json")...)
	fleet = harden.Fleet{}
	if err := json.Unmarshal([]byte(out), &fleet); err != nil || code != 2 || len(fleet.Hosts) != len(wants) {
		t.Fatalf("got %d, %v: %.2000s%s", code, err, out, told)
	}
	for i, w := range wants {
		h := fleet.Hosts[i]
		if h.Host != name(w.at) || (h.Report == nil) != (w.says != "") || !strings.Contains(h.Error, w.says) || h.Error != guard.Show(h.Error) {
			t.Errorf("%s: got %q, want %q in it", h.Host, h.Error, w.says)
		}
	}
	out, _, code = run("--root", tree, "--only", "files-root-key", "--ssh-config", refused, "--host", name(good))
	if code != 2 || !strings.Contains(out, "it does not let this user in") {
		t.Errorf("a key that it does not take: got %d: %s", code, out)
	}
	for _, format := range harden.Formats() {
		out, _, code := run(append(only, "--host", name(good), "--host", name(nowhere), "--format", format)...)
		if code != 2 || !strings.Contains(out, name(good)) && format != "sarif" || !strings.Contains(out, "nothing answers at that port") || strings.Contains(out, "\x1b") {
			t.Errorf("%s: got %d: %s", format, code, out)
		}
	}

	// Nothing is left there.
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left on the host: %v, %v", left, err)
	}
}

func knownHost(at, public string) string {
	host, port, _ := net.SplitHostPort(at)
	return fmt.Sprintf("[%s]:%s %s", host, port, public)
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
