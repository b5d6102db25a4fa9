package firewall

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/firewall/firewalltest"
)

// site is a region and a rack on the host, in its namespace, and an operator in the client's.
type site struct {
	t       *testing.T
	w       *firewalltest.Wire
	program string
	dir     string
}

// start runs a controller and returns what stops it.
func (s *site) start(args ...string) (stop func()) {
	s.t.Helper()
	cmd := exec.Command(firewalltest.Tool(s.t, "ip"), append([]string{"netns", "exec", s.w.Host, s.program}, args...)...)
	cmd.Env = append(os.Environ(), "SSH_CONNECTION=")
	log, err := os.Create(filepath.Join(s.dir, args[0]+".log"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Signal(os.Interrupt)
			_ = cmd.Wait()
			log.Close()
		}
	}
	s.t.Cleanup(func() {
		stop()
		if text, _ := os.ReadFile(log.Name()); s.t.Failed() {
			s.t.Logf("%s said: %s", args[0], text)
		}
	})
	return stop
}

// on runs the program in a namespace.
func (s *site) on(ns, input string, args ...string) (string, error) {
	return s.w.Try(ns, input, append([]string{"env", "HOME=" + s.dir, s.program}, args...)...)
}

// operator calls the API from the client's first address.
func (s *site) operator(args ...string) (string, error) {
	return s.on(s.w.Client, "", append([]string{"op"}, args...)...)
}

// asks sends a request to the region from an address and returns the first line of the answer; "" when there is none.
func (s *site) asks(from netip.Addr, request string) (line string) {
	s.w.In(s.w.Client, func() {
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: firewalltest.Patience, LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}, Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // a test's own region
		c, err := d.Dial("tcp", netip.AddrPortFrom(firewalltest.HostAddrs[false], 5443).String())
		if err != nil {
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(firewalltest.Stubborn))
		if _, err := c.Write([]byte(request)); err == nil {
			line, _ = bufio.NewReader(c).ReadString('\n')
		}
	})
	return strings.TrimSpace(line)
}

func (s *site) guess(from netip.Addr) string {
	form := url.Values{"username": {"root"}, "password": {"wrong"}, "consumer": {"x"}}.Encode()
	return s.asks(from, fmt.Sprintf("POST /MAAS/accounts/authenticate/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form))
}

func (s *site) eventually(what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("never: %s", what)
		}
	}
}

// holds reports whether a table of the kernel has an address.
func (s *site) holds(table string, a netip.Addr) bool {
	out, err := s.w.Try(s.w.Host, "", "nft", "list", "table", "inet", table)
	return err == nil && strings.Contains(out, a.String())
}

// TestSiteBlocks: who guesses a region's passwords is cut off from the region's and the rack's host by the kernel, the operator is not; nobody can block what the site needs; the rack's list outlives
// a restart without the region; the panic switch opens all again.
func TestSiteBlocks(t *testing.T) {
	w := firewalltest.New(t, []int{22})
	firewalltest.Tool(t, "nft")
	if _, err := w.Try(w.Host, "table inet probe {\n}\ndelete table inet probe\n", "nft", "-f", "-"); err != nil {
		t.Skipf("nftables does not work in a namespace here: %v", err)
	}
	s := &site{t, w, build(t), t.TempDir()}
	attacker, operator := firewalltest.ClientAddrs[1], firewalltest.ClientAddrs[0]
	regionDir, rackDir := filepath.Join(s.dir, "region"), filepath.Join(s.dir, "rack")
	must := func(ns, input string, args ...string) string {
		t.Helper()
		out, err := s.on(ns, input, args...)
		if err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
		return out
	}
	here := firewalltest.HostAddrs[false].String()
	region := []string{"region", "--state-dir", regionDir, "--public-host", here, "--watch", "off", "--blocks", "nftables"}
	stopRegion := s.start(region...)
	s.eventually("the region answers", func() bool {
		return strings.Contains(s.asks(operator, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"), "200")
	})
	must(w.Host, "a long enough password\n", "createadmin", "--state-dir", regionDir, "--username", "root", "--email", "root@example.com")
	key := filepath.Join(s.dir, "key")
	if err := os.WriteFile(key, []byte(must(w.Host, "", "apikey", "--state-dir", regionDir, "--username", "root")), 0o600); err != nil {
		t.Fatal(err)
	}
	must(w.Host, must(w.Host, "", "rack", "token", "--state-dir", regionDir, "--name", "rack1"), "rack", "enrol", "--region", "https://"+here+":5443", "--state-dir", rackDir)
	rack := []string{"rack", "--state-dir", rackDir, "--watch", "off", "--blocks", "nftables"}
	stopRack := s.start(rack...)
	must(w.Client, "", "login", "op", "https://"+here+":5443", "--ca-file", filepath.Join(regionDir, "ca.pem"), "--api-key-file", key)
	if out, err := s.operator("block-policy", "update", "enforce=maas_login_bruteforce"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}

	for range 6 {
		s.guess(attacker)
	}
	began := time.Now()
	becomes(t, w, attacker, false)
	t.Logf("cut off %v after the sixth guess, the client's patience of %v included", time.Since(began).Round(time.Millisecond), firewalltest.Patience)
	s.eventually("both tables have the attacker", func() bool {
		return s.holds(block.TableRegion, attacker) && s.holds(block.TableRack, attacker)
	})
	if line := s.guess(attacker); line != "" {
		t.Errorf("the attacker got %q", line)
	}
	becomes(t, w, operator, true)
	if out, err := s.operator("blocks", "read"); err != nil || !strings.Contains(out, attacker.String()) {
		t.Errorf("the operator got %v: %s", err, out)
	}
	// The host is needed for several reasons, of which one is told.
	for address, why := range map[string]string{operator.String(): "from where", here: "cannot be blocked: " + here + " is "} {
		if out, err := s.operator("blocks", "create", "address="+address, "reason=x"); err == nil || !strings.Contains(out+err.Error(), why) {
			t.Errorf("%s: got %v %s", address, err, out)
		}
	}

	// Both stop, the host starts anew: the rack alone keeps the attacker out.
	stopRegion()
	stopRack()
	w.Run(w.Host, "nft", "flush", "ruleset")
	becomes(t, w, attacker, true)
	stopRack = s.start(rack...)
	becomes(t, w, attacker, false)
	s.start(region...)
	s.eventually("the region's table is back", func() bool { return s.holds(block.TableRegion, attacker) })

	if out, err := s.operator("blocks", "clear"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	becomes(t, w, attacker, true)
	if s.holds(block.TableRegion, attacker) || s.holds(block.TableRack, attacker) {
		t.Error("a table has the attacker still")
	}
	stopRack()
}
