package firewall

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/firewall"
	"github.com/metalward/metalward/internal/firewall/firewalltest"
)

// watching is `metalward watch live --block` on the host, in its namespace.
type watching struct {
	t       *testing.T
	w       *firewalltest.Wire
	program string
	dir     string
	cmd     *exec.Cmd
	says    chan string
	n       int
}

func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "metalward")
	cmd := exec.Command("go", "build", "-o", program, "./cmd/metalward")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

func (v *watching) start(args ...string) {
	v.t.Helper()
	v.cmd = exec.Command(firewalltest.Tool(v.t, "ip"), append([]string{"netns", "exec", v.w.Host, v.program, "watch", "live", filepath.Join(v.dir, "auth.log"),
		"--state", filepath.Join(v.dir, "state"), "--blocks", filepath.Join(v.dir, "blocks.json"), "--zone", "UTC", "--block", "ssh_bruteforce"}, args...)...)
	v.cmd.Env = append(os.Environ(), "SSH_CONNECTION=10.99.1.2 40000 10.99.1.1 22")
	out, err := v.cmd.StderrPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	v.says = make(chan string, 1000)
	go func() {
		for sc := bufio.NewScanner(out); sc.Scan(); {
			v.says <- sc.Text()
		}
		close(v.says)
	}()
	v.hear("Watching")
}

func (v *watching) stop() {
	_ = v.cmd.Process.Signal(os.Interrupt)
	for range v.says {
	}
	_ = v.cmd.Wait()
}

// hear waits until the program says something.
func (v *watching) hear(what string) {
	v.t.Helper()
	var all []string
	late := time.After(time.Minute)
	for {
		select {
		case line, ok := <-v.says:
			if all = append(all, line); strings.Contains(line, what) {
				return
			}
			if ok {
				continue
			}
		case <-late:
		}
		break
	}
	v.t.Fatalf("it never said %q: %q", what, all)
}

// attack writes what sshd writes of five refused passwords.
func (v *watching) attack(from string) {
	v.t.Helper()
	f, err := os.OpenFile(filepath.Join(v.dir, "auth.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		v.t.Fatal(err)
	}
	defer f.Close()
	for range 5 {
		v.n++
		fmt.Fprintf(f, "%s host sshd[%d]: Failed password for root from %s port 4 ssh2\n", time.Now().UTC().Format(time.Stamp), v.n, from)
	}
}

// blocks runs `metalward watch blocks`.
func (v *watching) blocks(args ...string) string {
	v.t.Helper()
	return v.w.Run(v.w.Host, append([]string{"env", v.program, "watch", "blocks", "--blocks", filepath.Join(v.dir, "blocks.json")}, args...)...)
}

// becomes waits until a client's address is cut off, or let in again.
func becomes(t *testing.T, w *firewalltest.Wire, from netip.Addr, let bool) {
	t.Helper()
	for range 60 {
		p := firewall.Packet{Protocol: firewall.TCP, Source: from, Destination: firewalltest.HostAddrs[from.Is6()], Port: 22, Device: firewalltest.Device}
		if w.Reaches([]firewall.Packet{p}, firewalltest.Patience)[0] == let {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatalf("%v: never let=%v", from, let)
}

// TestBlocks: an attacker is cut off, in the middle of a connection too; the operator and machines are not; the block comes back after others flush all rules
// and after a restart, ends by itself, and is lifted by hand.
func TestBlocks(t *testing.T) {
	w := firewalltest.New(t, []int{22})
	firewalltest.Tool(t, "nft")
	v := &watching{t: t, w: w, program: build(t), dir: t.TempDir()}
	operator, attacker, attacker6 := firewalltest.ClientAddrs[0], firewalltest.ClientAddrs[1], firewalltest.ClientAddrs[3]
	// Rules of somebody else, which accept what is established before anything else.
	if _, err := w.Try(w.Host, "table inet other {\n chain first {\n type filter hook input priority -200;\n ct state established accept\n }\n}\n", "nft", "-f", "-"); err != nil {
		t.Skipf("nftables does not work in a namespace here: %v", err)
	}
	echo := make(chan net.Conn, 1)
	w.In(w.Host, func() {
		l, err := net.Listen("tcp", ":2222")
		if err != nil {
			t.Error(err)
			close(echo)
			return
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			if c, err := l.Accept(); err == nil {
				echo <- c
				_, _ = io.Copy(c, c)
			}
		}()
	})
	var open net.Conn
	w.In(w.Client, func() {
		var err error
		d := net.Dialer{Timeout: firewalltest.Stubborn, LocalAddr: &net.TCPAddr{IP: attacker.AsSlice()}}
		if open, err = d.Dial("tcp", netip.AddrPortFrom(firewalltest.HostAddrs[false], 2222).String()); err != nil {
			t.Error(err)
		}
	})
	if open == nil {
		t.Fatal("no connection to begin with")
	}
	defer open.Close()
	answers := func(patience time.Duration) bool {
		_ = open.SetDeadline(time.Now().Add(patience))
		if _, err := open.Write([]byte("x")); err != nil {
			return false
		}
		_, err := open.Read(make([]byte, 1))
		return err == nil
	}
	if !answers(firewalltest.Stubborn) {
		t.Fatal("the connection does not work to begin with")
	}

	v.start()
	began := time.Now()
	v.attack(attacker.String())
	v.hear("Blocked " + attacker.String())
	becomes(t, w, attacker, false)
	t.Logf("cut off %v after the fifth line was written, the client's patience of %v included", time.Since(began).Round(time.Millisecond), firewalltest.Patience)
	if answers(firewalltest.Patience) {
		t.Error("the established connection goes on")
	}
	v.attack(attacker6.String())
	v.hear("Blocked 2001:db8:7::/64")
	becomes(t, w, attacker6, false)

	// Whom it must not block: the operator who is logged in, the host itself, its neighbours' link.
	for _, who := range []string{operator.String(), firewalltest.HostAddrs[false].String()} {
		v.attack(who)
		v.hear("Not blocked: " + who)
	}
	becomes(t, w, operator, true)

	// Somebody flushes all rules.
	w.Run(w.Host, "nft", "flush", "ruleset")
	becomes(t, w, attacker, false)

	// A restart of the host: no rules, and the program is started anew.
	v.stop()
	w.Run(w.Host, "nft", "flush", "ruleset")
	becomes(t, w, attacker, true)
	v.start()
	becomes(t, w, attacker, false)
	if out := v.blocks(); !strings.Contains(out, attacker.String()) || !strings.Contains(out, "2 blocked") {
		t.Errorf("got %s", out)
	}

	// Lifted by hand; then the panic switch.
	v.blocks("lift", attacker.String())
	becomes(t, w, attacker, true)
	v.blocks("off")
	becomes(t, w, attacker6, true)
	v.stop()

	// A block ends by itself, though nobody is there to end it.
	v.blocks("on")
	v.dir = t.TempDir()
	v.start("--block-for", "3s", "--block-longest", "3s")
	v.attack(attacker.String())
	v.hear("Blocked " + attacker.String())
	v.stop()
	becomes(t, w, attacker, true)
}

// TestBlocksBesideUFW: ufw's rules, which accept what is established, change nothing about a block, and the block nothing about ufw's rules.
func TestBlocksBesideUFW(t *testing.T) {
	w := firewalltest.New(t, []int{22, 23})
	run := w.UFW()
	if err := run("ufw allow 22"); err != nil {
		t.Fatal(err)
	}
	v := &watching{t: t, w: w, program: build(t), dir: t.TempDir()}
	attacker, other := firewalltest.ClientAddrs[1], firewalltest.ClientAddrs[0]
	becomes(t, w, attacker, true)
	v.start()
	v.attack(attacker.String())
	v.hear("Blocked " + attacker.String())
	becomes(t, w, attacker, false)
	becomes(t, w, other, true)
	if err := run("ufw reload"); err != nil {
		t.Fatal(err)
	}
	becomes(t, w, attacker, false)
	if reaches(w, other, 23, false) {
		t.Error("ufw's own rules are gone")
	}
	v.stop()
	v.blocks("clear")
	becomes(t, w, attacker, true)
	if reaches(w, other, 23, false) {
		t.Error("ufw's own rules are gone after clear")
	}
}
