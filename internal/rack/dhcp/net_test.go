package dhcp

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

// insideEnv tells the copy of the test binary that runs inside a network namespace of its own what it is.
const insideEnv = "METALWARD_TEST_NETNS"

// inNamespace runs the calling test again in a fresh network namespace and returns true there.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideEnv) == t.Name() {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("needs root for a network namespace and raw sockets")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("ip (package iproute2) is not installed")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), insideEnv+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// TestOnTheWire runs a server on one end of a cable and clients on the other.
func TestOnTheWire(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	ip(t, "link", "set", "lo", "up")
	ip(t, "link", "add", "lab0", "type", "veth", "peer", "name", "cl0")
	ip(t, "addr", "add", "10.0.0.2/24", "dev", "lab0")
	ip(t, "link", "set", "lab0", "up")
	ip(t, "link", "set", "cl0", "up")

	var mu sync.Mutex
	var events []wire.SecurityRequest
	observed := make(chan metal.Lease, 16)
	s, err := New(Config{
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), LeaseFile: filepath.Join(t.TempDir(), "leases"),
		Observe: func(l []metal.Lease) {
			for _, l := range l {
				observed <- l
			}
		},
		Security: func(e wire.SecurityRequest) { mu.Lock(); defer mu.Unlock(); events = append(events, e) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	snapshot := lab()
	snapshot.VLANs = snapshot.VLANs[:1]
	if err := s.SetSnapshot(snapshot); err != nil {
		t.Fatal(err)
	}

	hw, _ := net.ParseMAC("52:54:00:00:00:01")
	for _, broadcast := range []bool{false, true} { // a raw answer to the hardware address, and a broadcast
		c, err := nclient4.New("cl0", nclient4.WithHWAddr(hw), nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(4))
		if err != nil {
			t.Fatal(err)
		}
		l, err := c.Request(ctx, dhcpv4.WithBroadcast(broadcast))
		_ = c.Close()
		if err != nil {
			t.Fatalf("broadcast %v: %v", broadcast, err)
		}
		if got := l.ACK.YourIPAddr.String(); got != "10.0.0.100" {
			t.Errorf("broadcast %v: got %s", broadcast, got)
		}
		if got := <-observed; got.MAC != "52:54:00:00:00:01" || got.IP != netip.MustParseAddr("10.0.0.100") {
			t.Errorf("observed %+v", got)
		}
	}
	if mac, ok := s.LeaseOf(netip.MustParseAddr("10.0.0.100")); !ok || mac != "52:54:00:00:00:01" {
		t.Errorf("lease of .100: got %v, %v", mac, ok)
	}
	if _, ok := s.LeaseOf(netip.MustParseAddr("10.0.0.102")); ok {
		t.Error("an address nobody has has a holder")
	}

	t.Run("router advertisement", func(t *testing.T) { routerAdvertisement(t) })

	t.Run("rogue server", func(t *testing.T) {
		cl, err := net.InterfaceByName("cl0")
		if err != nil {
			t.Fatal(err)
		}
		offer, _ := dhcpv4.New(dhcpv4.WithHwAddr(hw), dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer), from("10.0.0.66"), dhcpv4.WithYourIP(net.IPv4(10, 0, 0, 200)))
		offer.OpCode = dhcpv4.OpcodeBootReply
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		to := unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: cl.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
		for range 3 { // told once
			if err := unix.Sendto(fd, frame(0x0a000042, 0xffffffff, offer.ToBytes()), 0, &to); err != nil {
				t.Fatal(err)
			}
		}
		for range 3000 {
			mu.Lock()
			n := len(events)
			mu.Unlock()
			if n > 0 {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(events) != 1 || events[0].Kind != "rogue_dhcp" || events[0].Source.String() != "10.0.0.66" {
			t.Errorf("got %+v", events)
		}
	})

	// Without the VLAN in the snapshot nothing answers any more.
	if err := s.SetSnapshot(metal.RackSnapshot{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	c, err := nclient4.New("cl0", nclient4.WithHWAddr(hw), nclient4.WithTimeout(500*time.Millisecond), nclient4.WithRetry(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.DiscoverOffer(ctx); err == nil {
		t.Error("an interface that is not in the snapshot is served")
	}
	if st := s.Stats(); st.Acks < 2 || st.Offers < 2 || st.Commits < 2 || st.Dropped != 0 {
		t.Errorf("got %+v", st)
	}
}

// routerAdvertisement solicits routers on cl0 and reads the answer.
func routerAdvertisement(t *testing.T) {
	cl, err := net.InterfaceByName("cl0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	defer pc.Close()
	c := pc.IPv6PacketConn()
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	_ = c.SetICMPFilter(&filter)
	_ = c.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true)
	if err := c.SetMulticastHopLimit(255); err != nil {
		t.Fatal(err)
	}
	rs, _ := (&icmp.Message{Type: ipv6.ICMPTypeRouterSolicitation, Body: &icmp.RawBody{Data: make([]byte, 4)}}).Marshal(nil)
	to := &net.IPAddr{IP: net.ParseIP("ff02::2"), Zone: "cl0"}
	buf := make([]byte, 1500)
	for range 50 { // the link-local addresses need a second or two to be usable
		_, _ = c.WriteTo(rs, &ipv6.ControlMessage{HopLimit: 255, IfIndex: cl.Index}, to)
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, cm, _, err := c.ReadFrom(buf)
		if err != nil || cm.IfIndex != cl.Index {
			continue
		}
		m, err := icmp.ParseMessage(58, buf[:n])
		if err != nil || m.Type != ipv6.ICMPTypeRouterAdvertisement || cm.HopLimit != 255 {
			t.Fatalf("got %+v, %v, hop limit %d", m, err, cm.HopLimit)
		}
		if data := m.Body.(*icmp.RawBody).Data; !bytes.Equal(data, make([]byte, 12)) || binary.BigEndian.Uint16(data[2:]) != 0 {
			t.Errorf("got % x; want no flags, no router, no prefix", data)
		}
		return
	}
	t.Error("no router advertisement came")
}
