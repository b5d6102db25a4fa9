// Package firewalltest has a host and a client in network namespaces, to hold what is judged of rules against what the kernel does.
package firewalltest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/firewall"
)

// Wire is a host with a client beside it, each in a network namespace of its own, and every port that is asked for listening on the host.
// Host and Client are the namespaces' names.
type Wire struct {
	t            testing.TB
	Host, Client string
}

// The addresses of both. The client has a near one and a far one of each family; neighbours are told, so that rules cannot keep them from
// finding each other.
var (
	HostAddrs   = map[bool]netip.Addr{false: netip.MustParseAddr("10.99.1.1"), true: netip.MustParseAddr("fd99::1")}
	ClientAddrs = []netip.Addr{netip.MustParseAddr("10.99.1.2"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("fd99::2"), netip.MustParseAddr("2001:db8:7::7")}
)

// Device is the host's.
const Device = "fwhost0"

// Tool is the path of a program; the test is skipped where there is none.
func Tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"} {
		if _, err := os.Stat(dir + name); err == nil {
			return dir + name
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// wires counts them: tests may run side by side.
var wires atomic.Int64

// New makes both, or skips the test where that may not be done, and in short runs.
func New(t testing.TB, ports []int) *Wire {
	t.Helper()
	if testing.Short() {
		t.Skip("network namespaces are left out of short runs, which have the race detector: make test runs them once without")
	}
	ip := Tool(t, "ip")
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	n := wires.Add(1)
	w := &Wire{t, fmt.Sprintf("fwh%d-%d", os.Getpid(), n), fmt.Sprintf("fwc%d-%d", os.Getpid(), n)}
	for _, ns := range []string{w.Host, w.Client} {
		if out, err := exec.Command(ip, "netns", "add", ns).CombinedOutput(); err != nil {
			t.Skipf("network namespaces cannot be made here: %s", out)
		}
		t.Cleanup(func() { _ = exec.Command(ip, "netns", "del", ns).Run() })
	}
	const hostMAC, clientMAC = "02:00:00:00:99:01", "02:00:00:00:99:02"
	w.Run(w.Client, "ip", "link", "add", "fwpeer0", "address", clientMAC, "type", "veth", "peer", "name", Device, "address", hostMAC, "netns", w.Host)
	for _, end := range []struct{ ns, dev, neighbour string }{{w.Host, Device, clientMAC}, {w.Client, "fwpeer0", hostMAC}} {
		w.Run(end.ns, "ip", "link", "set", "lo", "up")
		w.Run(end.ns, "ip", "link", "set", end.dev, "up")
	}
	for _, a := range HostAddrs {
		w.Run(w.Host, "ip", "addr", "add", a.String()+"/"+map[bool]string{true: "64", false: "24"}[a.Is6()], "dev", Device, "nodad")
		w.Run(w.Client, "ip", "neigh", "replace", a.String(), "lladdr", hostMAC, "dev", "fwpeer0", "nud", "permanent")
	}
	for _, a := range ClientAddrs {
		w.Run(w.Client, "ip", "addr", "add", a.String()+"/"+map[bool]string{true: "64", false: "24"}[a.Is6()], "dev", "fwpeer0", "nodad")
		w.Run(w.Host, "ip", "route", "replace", a.String(), "dev", Device)
		w.Run(w.Host, "ip", "neigh", "replace", a.String(), "lladdr", clientMAC, "dev", Device, "nud", "permanent")
	}
	w.In(w.Host, func() {
		for _, port := range ports {
			l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() { // ends when l is closed
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_ = c.Close()
				}
			}()
			u, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = u.Close() })
			go func() { // ends when u is closed
				b := make([]byte, 64)
				for {
					n, from, err := u.ReadFrom(b)
					if err != nil {
						return
					}
					_, _ = u.WriteTo(b[:n], from)
				}
			}()
		}
	})
	return w
}

// Run runs a program in a namespace.
func (w *Wire) Run(ns string, args ...string) string {
	w.t.Helper()
	out, err := w.Try(ns, "", args...)
	if err != nil {
		w.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// Try is Run with an input, that may fail. Warnings of the tools are not in what it returns if they did not fail.
func (w *Wire) Try(ns, input string, args ...string) (string, error) {
	cmd := exec.Command(Tool(w.t, "ip"), append([]string{"netns", "exec", ns, Tool(w.t, args[0])}, args[1:]...)...)
	cmd.Stdin = strings.NewReader(input)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		return errs.String(), err
	}
	return out.String(), nil
}

// In calls a function in a namespace. Sockets that it makes itself, in no other goroutine, stay there.
func (w *Wire) In(ns string, do func()) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		f, err := os.Open("/var/run/netns/" + ns)
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			_ = f.Close()
		}
		if err == nil {
			do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		w.t.Error(err)
	}
}

// How long an answer may take: both ends are in this kernel. What does not come as judged is tried again with more patience, for the
// machine may be busy.
const (
	Patience = 200 * time.Millisecond
	Stubborn = 5 * time.Second
)

// Reaches really tries each packet, all at once.
func (w *Wire) Reaches(list []firewall.Packet, patience time.Duration) []bool {
	found := make([]bool, len(list))
	var wg sync.WaitGroup
	for i, p := range list {
		wg.Go(func() { w.In(w.Client, func() { found[i] = reach(p, patience) }) })
	}
	wg.Wait()
	return found
}

func reach(p firewall.Packet, patience time.Duration) bool {
	network, from := "tcp", net.Addr(&net.TCPAddr{IP: p.Source.AsSlice()})
	if p.Protocol == firewall.UDP {
		network, from = "udp", &net.UDPAddr{IP: p.Source.AsSlice()}
	}
	d := net.Dialer{Timeout: patience, LocalAddr: from}
	c, err := d.Dial(network, netip.AddrPortFrom(p.Destination, p.Port).String())
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	if p.Protocol == firewall.TCP {
		return true
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	_, err = c.Read(make([]byte, 8))
	return err == nil
}

// Packets are all that the client can send to some ports.
func Packets(ports []int) (list []firewall.Packet) {
	for _, port := range ports {
		for _, from := range ClientAddrs {
			for _, protocol := range []uint8{firewall.TCP, firewall.UDP} {
				list = append(list, firewall.Packet{Protocol: protocol, Source: from, Destination: HostAddrs[from.Is6()], Port: uint16(port), Device: Device})
			}
		}
	}
	return list
}
