package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wire is a host with a client beside it, each in a network namespace of its own, and every port that is asked for listening on the host.
type wire struct {
	t            *testing.T
	host, client string
}

// The addresses of both. The client has a near one and a far one of each family; neighbours are told, so that rules cannot keep them from
// finding each other.
var (
	hostAddrs   = map[bool]netip.Addr{false: netip.MustParseAddr("10.99.1.1"), true: netip.MustParseAddr("fd99::1")}
	clientAddrs = []netip.Addr{netip.MustParseAddr("10.99.1.2"), netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("fd99::2"), netip.MustParseAddr("2001:db8:7::7")}
)

const hostDevice = "fwhost0"

// tool is the path of a program; the test is skipped where there is none.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"} {
		if _, err := os.Stat(dir + name); err == nil {
			return dir + name
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func newWire(t *testing.T, ports []int) *wire {
	t.Helper()
	ip := tool(t, "ip")
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	w := &wire{t, fmt.Sprintf("fwh%d", os.Getpid()), fmt.Sprintf("fwc%d", os.Getpid())}
	for _, ns := range []string{w.host, w.client} {
		if out, err := exec.Command(ip, "netns", "add", ns).CombinedOutput(); err != nil {
			t.Skipf("network namespaces cannot be made here: %s", out)
		}
		t.Cleanup(func() { _ = exec.Command(ip, "netns", "del", ns).Run() })
	}
	const hostMAC, clientMAC = "02:00:00:00:99:01", "02:00:00:00:99:02"
	w.run(w.client, "ip", "link", "add", "fwpeer0", "address", clientMAC, "type", "veth", "peer", "name", hostDevice, "address", hostMAC, "netns", w.host)
	for _, end := range []struct{ ns, dev, neighbour string }{{w.host, hostDevice, clientMAC}, {w.client, "fwpeer0", hostMAC}} {
		w.run(end.ns, "ip", "link", "set", "lo", "up")
		w.run(end.ns, "ip", "link", "set", end.dev, "up")
	}
	for _, a := range hostAddrs {
		w.run(w.host, "ip", "addr", "add", a.String()+"/"+map[bool]string{true: "64", false: "24"}[a.Is6()], "dev", hostDevice, "nodad")
		w.run(w.client, "ip", "neigh", "replace", a.String(), "lladdr", hostMAC, "dev", "fwpeer0", "nud", "permanent")
	}
	for _, a := range clientAddrs {
		w.run(w.client, "ip", "addr", "add", a.String()+"/"+map[bool]string{true: "64", false: "24"}[a.Is6()], "dev", "fwpeer0", "nodad")
		w.run(w.host, "ip", "route", "replace", a.String(), "dev", hostDevice)
		w.run(w.host, "ip", "neigh", "replace", a.String(), "lladdr", clientMAC, "dev", hostDevice, "nud", "permanent")
	}
	w.in(w.host, func() {
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

// run runs a program in a namespace.
func (w *wire) run(ns string, args ...string) string {
	w.t.Helper()
	out, err := w.try(ns, "", args...)
	if err != nil {
		w.t.Fatalf("%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// try is run with an input, that may fail. Warnings of the tools are not in what it returns if they did not fail.
func (w *wire) try(ns, input string, args ...string) (string, error) {
	cmd := exec.Command(tool(w.t, "ip"), append([]string{"netns", "exec", ns, tool(w.t, args[0])}, args[1:]...)...)
	cmd.Stdin = strings.NewReader(input)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		return errs.String(), err
	}
	return out.String(), nil
}

// in calls a function in a namespace. Sockets that it makes itself, in no other goroutine, stay there.
func (w *wire) in(ns string, do func()) {
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
	patience = 200 * time.Millisecond
	stubborn = 5 * time.Second
)

// reaches really tries each packet, all at once.
func (w *wire) reaches(list []Packet, patience time.Duration) []bool {
	found := make([]bool, len(list))
	var wg sync.WaitGroup
	for i, p := range list {
		wg.Go(func() { w.in(w.client, func() { found[i] = reach(p, patience) }) })
	}
	wg.Wait()
	return found
}

func reach(p Packet, patience time.Duration) bool {
	network, from := "tcp", net.Addr(&net.TCPAddr{IP: p.Source.AsSlice()})
	if p.Protocol == UDP {
		network, from = "udp", &net.UDPAddr{IP: p.Source.AsSlice()}
	}
	d := net.Dialer{Timeout: patience, LocalAddr: from}
	c, err := d.Dial(network, netip.AddrPortFrom(p.Destination, p.Port).String())
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	if p.Protocol == TCP {
		return true
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	_, err = c.Read(make([]byte, 8))
	return err == nil
}

// packets are all that the client can send to some ports.
func packets(ports []int) (list []Packet) {
	for _, port := range ports {
		for _, from := range clientAddrs {
			for _, protocol := range []uint8{TCP, UDP} {
				list = append(list, Packet{Protocol: protocol, Source: from, Destination: hostAddrs[from.Is6()], Port: uint16(port), Device: hostDevice})
			}
		}
	}
	return list
}
