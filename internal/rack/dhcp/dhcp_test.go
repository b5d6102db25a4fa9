package dhcp

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

var (
	start = time.Unix(1_800_000_000, 0)
	rack  = netip.MustParseAddr("10.0.0.2")
)

// lab is a snapshot with a VLAN of one small subnet, and a second VLAN for relays.
func lab() metal.RackSnapshot {
	return metal.RackSnapshot{
		VLANs: []metal.SnapshotVLAN{
			{ID: 7, Interface: "lab0", MTU: 9000, Subnets: []metal.SnapshotSubnet{{
				CIDR: netip.MustParsePrefix("10.0.0.0/24"), RackIP: rack, Gateway: netip.MustParseAddr("10.0.0.1"),
				DNS:     []netip.Addr{netip.MustParseAddr("10.0.0.53")},
				Dynamic: []metal.AddrRange{{Start: netip.MustParseAddr("10.0.0.100"), End: netip.MustParseAddr("10.0.0.103")}},
			}}},
			{ID: 8, Interface: "lab1", Subnets: []metal.SnapshotSubnet{{
				CIDR: netip.MustParsePrefix("10.0.1.0/24"), RackIP: netip.MustParseAddr("10.0.1.2"),
				Dynamic: []metal.AddrRange{{Start: netip.MustParseAddr("10.0.1.10"), End: netip.MustParseAddr("10.0.1.20")}},
			}}},
		},
		Machines: []metal.SnapshotMachine{
			{MAC: "52:54:00:00:00:aa", IP: netip.MustParseAddr("10.0.0.50"), Hostname: "fox.example.com"},
			{MAC: "52:54:00:00:00:bb", IP: netip.MustParseAddr("10.0.0.101")},
		},
	}
}

func newDecider(t testing.TB, s metal.RackSnapshot) *decider {
	t.Helper()
	x, err := newIndex(s)
	if err != nil {
		t.Fatal(err)
	}
	return &decider{x: x, t: newLeases(), http: "5248"}
}

// client builds packets with the DHCP library that many other programs use, and reads the answers with it.
type client struct {
	t   testing.TB
	d   *decider
	hw  string
	mod []dhcpv4.Modifier
	now time.Time
	in  string // interface
}

func (c *client) packet(kind dhcpv4.MessageType, more ...dhcpv4.Modifier) []byte {
	c.t.Helper()
	hw, err := net.ParseMAC(c.hw)
	if err != nil {
		c.t.Fatal(err)
	}
	mods := append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(hw), dhcpv4.WithMessageType(kind), dhcpv4.WithTransactionID(dhcpv4.TransactionID{1, 2, 3, 4})}, c.mod...)
	p, err := dhcpv4.New(append(mods, more...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	return p.ToBytes()
}

func (c *client) send(kind dhcpv4.MessageType, more ...dhcpv4.Modifier) (verdict, *dhcpv4.DHCPv4) {
	c.t.Helper()
	var p packet
	if err := p.parse(c.packet(kind, more...)); err != nil {
		c.t.Fatal(err)
	}
	if c.now.IsZero() {
		c.now = start
	}
	in := c.in
	if in == "" {
		in = "lab0"
	}
	v := c.d.decide(c.now, in, &p)
	if v.reply == nil {
		return v, nil
	}
	m, err := dhcpv4.FromBytes(v.reply)
	if err != nil {
		c.t.Fatalf("the reply is not DHCP: %v", err)
	}
	return v, m
}

func want(ip string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(ip)))
}

func from(server string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(server)))
}

// lease takes a client through the four steps.
func (c *client) lease() string {
	c.t.Helper()
	_, o := c.send(dhcpv4.MessageTypeDiscover)
	if o == nil {
		return ""
	}
	_, a := c.send(dhcpv4.MessageTypeRequest, want(o.YourIPAddr.String()), from(o.ServerIdentifier().String()))
	if a == nil || a.MessageType() != dhcpv4.MessageTypeAck || !a.YourIPAddr.Equal(o.YourIPAddr) {
		c.t.Fatalf("offered %v, then got %v", o.YourIPAddr, a)
	}
	return a.YourIPAddr.String()
}

func TestBootFiles(t *testing.T) {
	arch := func(a uint16) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptClientArch(iana.Arch(a))) }
	class := func(s string) dhcpv4.Modifier { return dhcpv4.WithOption(dhcpv4.OptClassIdentifier(s)) }
	ipxe := dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(optIPXE), []byte{1, 1, 1})
	const script, http = "http://10.0.0.2:5248/boot.ipxe", "http://10.0.0.2:5248/snponly.efi"
	tests := []struct {
		name, file, class string
		seconds           int
		mods              []dhcpv4.Modifier
	}{
		{"BIOS", "undionly.kpxe", "", 600, []dhcpv4.Modifier{arch(0), class("PXEClient:Arch:00000:UNDI:002001")}},
		{"UEFI", "snponly.efi", "", 600, []dhcpv4.Modifier{arch(7), class("PXEClient:Arch:00007")}},
		{"UEFI numbered 9", "snponly.efi", "", 600, []dhcpv4.Modifier{arch(9)}},
		{"UEFI HTTP", http, "HTTPClient", 600, []dhcpv4.Modifier{arch(16), class("HTTPClient:Arch:00016")}},
		{"iPXE by user class", script, "", 600, []dhcpv4.Modifier{arch(0), dhcpv4.WithUserClass("iPXE", false)}},
		{"iPXE by user class, RFC 3004", script, "", 600, []dhcpv4.Modifier{arch(7), dhcpv4.WithUserClass("iPXE", true)}},
		{"iPXE by option 175", script, "", 600, []dhcpv4.Modifier{arch(7), ipxe}},
		{"other architecture", "", "", 600, []dhcpv4.Modifier{arch(11)}},
		{"operating system", "", "", 3600, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &client{t: t, d: newDecider(t, lab()), hw: "52:54:00:00:00:01", mod: tt.mods}
			v, m := c.send(dhcpv4.MessageTypeDiscover)
			if m == nil || m.MessageType() != dhcpv4.MessageTypeOffer || v.to != toOffered {
				t.Fatalf("got %+v", v)
			}
			got := []any{m.BootFileName, m.BootFileNameOption(), m.ClassIdentifier(), int(m.IPAddressLeaseTime(0).Seconds())}
			if diff := cmp.Diff([]any{tt.file, tt.file, tt.class, tt.seconds}, got); diff != "" {
				t.Error(diff)
			}
			if strings.HasPrefix(tt.file, "http://10.0.0.2:5248/boot") != bytes.Equal(m.Options.Get(dhcpv4.GenericOptionCode(optIPXE)), []byte{176, 1, 1}) {
				t.Error("no-pxedhcp goes to iPXE and to nobody else")
			}
			if !m.ServerIPAddr.Equal(rack.AsSlice()) || !m.ServerIdentifier().Equal(rack.AsSlice()) {
				t.Errorf("next server %v, server id %v; want %v", m.ServerIPAddr, m.ServerIdentifier(), rack)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	c := &client{t: t, d: newDecider(t, lab()), hw: "52:54:00:00:00:aa", mod: []dhcpv4.Modifier{
		dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{1, 2, 3})),
		dhcpv4.WithGeneric(dhcpv4.GenericOptionCode(optClientUUID), bytes.Repeat([]byte{4}, 17)),
	}}
	_, m := c.send(dhcpv4.MessageTypeDiscover)
	got := map[string]string{
		"ip": m.YourIPAddr.String(), "mask": net.IP(m.SubnetMask()).String(), "router": fmt.Sprint(m.Router()), "dns": fmt.Sprint(m.DNS()),
		"host": m.HostName(), "mtu": fmt.Sprint(m.Options.Get(dhcpv4.OptionInterfaceMTU)), "t1": m.IPAddressRenewalTime(0).String(),
		"t2": m.IPAddressRebindingTime(0).String(), "id": fmt.Sprint(m.Options.Get(dhcpv4.OptionClientIdentifier)),
		"uuid": fmt.Sprint(len(m.Options.Get(dhcpv4.GenericOptionCode(optClientUUID)))),
	}
	wanted := map[string]string{
		"ip": "10.0.0.50", "mask": "255.255.255.0", "router": "[10.0.0.1]", "dns": "[10.0.0.53]", "host": "fox", "mtu": "[35 40]",
		"t1": "30m0s", "t2": "52m30s", "id": "[1 2 3]", "uuid": "17",
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Error(diff)
	}
}

func TestWhere(t *testing.T) {
	relay := func(ip string) dhcpv4.Modifier { return dhcpv4.WithRelay(net.ParseIP(ip)) }
	tests := []struct {
		name, in, ip string
		to           destination
		mods         []dhcpv4.Modifier
	}{
		{"unserved interface", "eth9", "", nowhere, nil},
		{"broadcast flag", "lab0", "10.0.0.100", toAll, []dhcpv4.Modifier{dhcpv4.WithBroadcast(true)}},
		{"client address made up", "lab0", "10.0.0.100", toOffered, []dhcpv4.Modifier{dhcpv4.WithClientIP(net.ParseIP("198.51.100.7"))}},
		{"relay of the same VLAN", "lab0", "10.0.0.100", toRelay, []dhcpv4.Modifier{relay("10.0.0.9")}},
		{"relay of another VLAN", "lab0", "10.0.1.10", toRelay, []dhcpv4.Modifier{relay("10.0.1.9")}},
		{"relay of nowhere", "lab0", "", nowhere, []dhcpv4.Modifier{relay("192.0.2.1")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &client{t: t, d: newDecider(t, lab()), hw: "52:54:00:00:00:01", in: tt.in, mod: tt.mods}
			v, m := c.send(dhcpv4.MessageTypeDiscover)
			ip := ""
			if m != nil {
				ip = m.YourIPAddr.String()
			}
			if v.to != tt.to || ip != tt.ip {
				t.Errorf("got %v to %d; want %v to %d", ip, v.to, tt.ip, tt.to)
			}
		})
	}
}

// server is one with a clock that stands still, and the list of the events it reports.
func server(t *testing.T, log slog.Handler) (s *Server, now *time.Time, told *[]wire.SecurityRequest) {
	t.Helper()
	now, told = new(time.Time), new([]wire.SecurityRequest)
	*now = start
	s, err := New(Config{Log: slog.New(log), LeaseFile: filepath.Join(t.TempDir(), "leases"), Now: func() time.Time { return *now },
		Security: func(e wire.SecurityRequest) { *told = append(*told, e) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.journal.close() })
	return s, now, told
}

// Whoever makes up servers fills the list of those that are told apart; it must not hide a real one for ever.
func TestRogues(t *testing.T) {
	s, now, told := server(t, slog.DiscardHandler)
	seen := func(other ip4) { s.tell(t.Context(), "lab0", &packet{mac: 1}, verdict{event: rogue, other: other}) }
	for i := range ip4(2 * maxRogues) {
		seen(0x0a000100 + i)
	}
	const actual = 0x0a000042
	seen(actual)
	if len(*told) != maxRogues {
		t.Fatalf("got %d reports, want %d", len(*told), maxRogues)
	}
	*now = now.Add(rogueEvery)
	for range 2 {
		seen(actual)
	}
	if n := len(*told); n != maxRogues+1 || (*told)[n-1].Source != ip4(actual).Addr() {
		t.Errorf("got %d reports, the last of %v; want one more, of the real server", n, (*told)[n-1].Source)
	}
}

// counter counts log records.
type counter struct {
	slog.Handler
	n int
}

func (c *counter) Enabled(context.Context, slog.Level) bool  { return true }
func (c *counter) Handle(context.Context, slog.Record) error { c.n++; return nil }
func (c *counter) WithAttrs([]slog.Attr) slog.Handler        { return c }

// An interface that is missing for good must not silence a disk that fails.
func TestComplaintsAreToldApart(t *testing.T) {
	log := &counter{Handler: slog.DiscardHandler}
	s, now, _ := server(t, log)
	for _, step := range []struct {
		text string
		wait time.Duration
		want int
	}{{"no interface", 0, 1}, {"no disk", 0, 2}, {"no interface", time.Second, 2}, {"no interface", complainEvery, 3}, {"no disk", 0, 4}} {
		*now = now.Add(step.wait)
		s.complain(t.Context(), step.text)
		if log.n != step.want {
			t.Errorf("%s after %v: got %d lines, want %d", step.text, step.wait, log.n, step.want)
		}
	}
}

func TestRequest(t *testing.T) {
	ciaddr := func(ip string) dhcpv4.Modifier { return dhcpv4.WithClientIP(net.ParseIP(ip)) }
	const me, other, fox = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:aa"
	tests := []struct {
		name, hw string
		mods     []dhcpv4.Modifier
		kind     dhcpv4.MessageType // 0: silence
		to       destination
	}{
		{"renews its own", me, []dhcpv4.Modifier{ciaddr("10.0.0.100")}, dhcpv4.MessageTypeAck, toClient},
		{"reboots with its own", me, []dhcpv4.Modifier{want("10.0.0.100")}, dhcpv4.MessageTypeAck, toOffered},
		{"wants another's", other, []dhcpv4.Modifier{want("10.0.0.100")}, dhcpv4.MessageTypeNak, toAll},
		{"wants another's, as if offered", other, []dhcpv4.Modifier{want("10.0.0.100"), from("10.0.0.2")}, dhcpv4.MessageTypeNak, toAll},
		{"wants a reserved one", other, []dhcpv4.Modifier{want("10.0.0.101")}, dhcpv4.MessageTypeNak, toAll},
		{"wants its reserved one", fox, []dhcpv4.Modifier{want("10.0.0.50")}, dhcpv4.MessageTypeAck, toOffered},
		{"wants a static one", other, []dhcpv4.Modifier{want("10.0.0.77")}, dhcpv4.MessageTypeNak, toAll},
		{"wants the rack's", other, []dhcpv4.Modifier{want("10.0.0.2")}, dhcpv4.MessageTypeNak, toAll},
		{"wants the gateway's", other, []dhcpv4.Modifier{want("10.0.0.1")}, dhcpv4.MessageTypeNak, toAll},
		{"wants the broadcast", other, []dhcpv4.Modifier{want("10.0.0.255")}, dhcpv4.MessageTypeNak, toAll},
		{"comes from elsewhere", other, []dhcpv4.Modifier{want("192.0.2.5")}, dhcpv4.MessageTypeNak, toAll},
		{"free one, unknown to us", other, []dhcpv4.Modifier{ciaddr("10.0.0.102")}, dhcpv4.MessageTypeAck, toClient},
		{"free one, as if offered", other, []dhcpv4.Modifier{want("10.0.0.102"), from("10.0.0.2")}, dhcpv4.MessageTypeNak, toAll},
		{"took another server's offer", other, []dhcpv4.Modifier{want("10.0.0.102"), from("10.0.0.66")}, 0, nowhere},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDecider(t, lab())
			if ip := (&client{t: t, d: d, hw: me}).lease(); ip != "10.0.0.100" {
				t.Fatalf("got %v", ip)
			}
			v, m := (&client{t: t, d: d, hw: tt.hw}).send(dhcpv4.MessageTypeRequest, tt.mods...)
			var kind dhcpv4.MessageType
			if m != nil {
				kind = m.MessageType()
			}
			if kind != tt.kind || v.to != tt.to || (v.lease != nil) != (kind == dhcpv4.MessageTypeAck) {
				t.Errorf("got %v to %d, lease %v; want %v to %d", kind, v.to, v.lease, tt.kind, tt.to)
			}
			if tt.to == nowhere && (v.event != rogue || v.other.Addr().String() != "10.0.0.66") {
				t.Errorf("got %+v; want the other server reported", v)
			}
		})
	}
}

func TestPool(t *testing.T) {
	d := newDecider(t, lab()) // 100, 102 and 103 are free for strangers
	mac := func(n int) *client { return &client{t: t, d: d, hw: fmt.Sprintf("52:54:00:00:01:%02x", n)} }
	first := []string{mac(1).lease(), mac(2).lease(), mac(3).lease()}
	if diff := cmp.Diff([]string{"10.0.0.100", "10.0.0.102", "10.0.0.103"}, first); diff != "" {
		t.Fatal(diff)
	}
	if v, _ := mac(4).send(dhcpv4.MessageTypeDiscover); v.event != exhausted || v.reply != nil {
		t.Errorf("got %+v; want silence", v)
	}
	if ip := mac(2).lease(); ip != "10.0.0.102" {
		t.Errorf("the same client got %v", ip)
	}
	mac(3).send(dhcpv4.MessageTypeRelease, dhcpv4.WithClientIP(net.ParseIP("10.0.0.103")), from("10.0.0.2"))
	if ip := mac(4).lease(); ip != "10.0.0.103" {
		t.Errorf("after a release: got %q", ip)
	}
	// Declined by its holder: nobody gets it for a while. Declined by a stranger: nothing happens.
	mac(9).send(dhcpv4.MessageTypeDecline, want("10.0.0.100"), from("10.0.0.2"))
	if d.t.byIP[toIP4(netip.MustParseAddr("10.0.0.100"))].state != bound {
		t.Error("a stranger's DECLINE was believed")
	}
	mac(1).send(dhcpv4.MessageTypeDecline, want("10.0.0.100"), from("10.0.0.2"))
	if ip := mac(1).lease(); ip != "" {
		t.Errorf("after a decline: got %v", ip)
	}
	late := mac(1)
	late.now = start.Add(declineHold + time.Minute)
	if ip := late.lease(); ip != "10.0.0.100" {
		t.Errorf("after the quarantine: got %q", ip)
	}
	// An offer that nobody takes comes free.
	later := mac(5)
	later.now = start.Add(2 * leaseTime)
	later.send(dhcpv4.MessageTypeDiscover)
	later.now = later.now.Add(offerHold + time.Second)
	for n := 6; n < 9; n++ {
		c := mac(n)
		c.now = later.now
		if c.lease() == "" {
			t.Error("an address was not free after its lease or offer ended")
		}
	}
}

// TestNewReservation gives a leased address to another machine by snapshot.
func TestNewReservation(t *testing.T) {
	d := newDecider(t, lab())
	old := &client{t: t, d: d, hw: "52:54:00:00:00:01"}
	if ip := old.lease(); ip != "10.0.0.100" {
		t.Fatal(ip)
	}
	s := lab()
	s.Machines = append(s.Machines, metal.SnapshotMachine{MAC: "52:54:00:00:00:cc", IP: netip.MustParseAddr("10.0.0.100")})
	d.x, _ = newIndex(s)
	if ip := (&client{t: t, d: d, hw: "52:54:00:00:00:cc"}).lease(); ip == "10.0.0.100" || ip == "" {
		t.Errorf("got %q; want a temporary address while the old lease runs", ip)
	}
	if _, m := old.send(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.ParseIP("10.0.0.100"))); m.MessageType() != dhcpv4.MessageTypeNak {
		t.Errorf("the old holder's renewal got %v", m.MessageType())
	}
}

// TestNoSharedAddress throws random packets of few clients at few addresses and checks that no two clients
// believe they hold the same address at the same time.
func TestNoSharedAddress(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		d := newDecider(t, lab())
		type holding struct {
			ip  string
			end time.Time
		}
		holds := map[string]holding{}
		now := start
		for range 400 {
			now = now.Add(time.Duration(r.IntN(400)) * time.Second)
			c := &client{t: t, d: d, now: now, hw: fmt.Sprintf("52:54:00:00:00:%02x", []byte{1, 2, 3, 4, 5, 6, 0xaa, 0xbb}[r.IntN(8)])}
			ip := fmt.Sprintf("10.0.0.%d", []int{50, 100, 101, 102, 103}[r.IntN(5)])
			var v verdict
			var m *dhcpv4.DHCPv4
			switch r.IntN(6) {
			case 0:
				c.send(dhcpv4.MessageTypeDiscover, want(ip))
			case 1:
				v, m = c.send(dhcpv4.MessageTypeRequest, want(ip))
			case 2:
				v, m = c.send(dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.ParseIP(ip)))
			case 3:
				_, o := c.send(dhcpv4.MessageTypeDiscover)
				if o != nil {
					v, m = c.send(dhcpv4.MessageTypeRequest, want(o.YourIPAddr.String()), from("10.0.0.2"))
				}
			case 4:
				c.send(dhcpv4.MessageTypeRelease, dhcpv4.WithClientIP(net.ParseIP(ip)))
				if holds[c.hw].ip == ip {
					delete(holds, c.hw)
				}
			case 5:
				c.send(dhcpv4.MessageTypeDecline, want(ip), from("10.0.0.2"))
				if holds[c.hw].ip == ip {
					delete(holds, c.hw)
				}
			}
			if m != nil && v.kind == ack {
				got := m.YourIPAddr.String()
				for hw, h := range holds {
					if hw != c.hw && h.ip == got && h.end.After(now) {
						t.Fatalf("seed %d: %s and %s both hold %s", seed, hw, c.hw, got)
					}
				}
				holds[c.hw] = holding{got, now.Add(m.IPAddressLeaseTime(0))}
			}
			for ip, l := range d.t.byIP {
				if l.ip != ip {
					t.Fatal("a lease is filed under another address")
				}
			}
			for o, l := range d.t.byOwner {
				if d.t.byIP[l.ip] != l || (owner{l.mac, l.vlan}) != o {
					t.Fatalf("seed %d: the tables disagree about %v", seed, o)
				}
			}
		}
	}
}

func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases")
	open := func() (*journal, *leases, int) {
		t.Helper()
		tables := newLeases()
		j, skipped, err := openJournal(path, tables)
		if err != nil {
			t.Fatal(err)
		}
		return j, tables, skipped
	}
	j, _, _ := open()
	all := []lease{
		{ip: 0x0a000064, mac: 0x525400000001, vlan: 7, expires: 1_800_000_600, state: bound, hostname: "web-1"},
		{ip: 0x0a000065, mac: 0x525400000002, vlan: 7, expires: 1_800_000_600, state: declined},
		{ip: 0x0a000066, mac: 0x525400000003, vlan: 8, expires: 1_800_000_600, state: released},
	}
	if err := j.append(all); err != nil {
		t.Fatal(err)
	}
	_ = j.close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if i := bytes.IndexByte(whole, 0); i < 0 || len(whole) != chunk {
		t.Fatalf("no room is laid out: %d bytes", len(whole))
	} else {
		whole = whole[:i+3]
	}
	// Cut anywhere, as by a crash in mid-write: every whole line survives.
	for n := len(whole); n >= 0; n -= 7 {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		j, tables, _ := open()
		lines := max(0, bytes.Count(whole[:n], []byte("\n"))-1)
		if len(tables.byIP) != lines {
			t.Fatalf("cut at %d: got %d leases, want %d", n, len(tables.byIP), lines)
		}
		if n == len(whole) {
			for _, l := range all {
				if got := tables.byIP[l.ip]; got == nil || *got != l {
					t.Errorf("got %+v, want %+v", got, l)
				}
			}
		}
		// What was left of the cut line must not spoil the next one.
		if err := j.append(all[:1]); err != nil {
			t.Fatal(err)
		}
		_ = j.close()
		if j, tables, skipped := open(); tables.byIP[all[0].ip] == nil || skipped != 0 {
			t.Fatalf("cut at %d: the lease written afterwards is lost", n)
		} else {
			_ = j.close()
		}
	}
	changed := bytes.Replace(whole, []byte("web-1"), []byte("web-2"), 1)
	if err := os.WriteFile(path, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	if j, tables, skipped := open(); skipped != 1 || len(tables.byIP) != 2 {
		t.Errorf("a changed line: got %d skipped, %d leases", skipped, len(tables.byIP))
	} else {
		_ = j.close()
	}
	if err := os.WriteFile(path, []byte("something else entirely\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openJournal(path, newLeases()); err == nil {
		t.Error("a file of another kind was taken for leases")
	}
}

func TestSnapshotRefused(t *testing.T) {
	s, err := New(Config{Log: slog.New(slog.DiscardHandler), LeaseFile: filepath.Join(t.TempDir(), "leases")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetSnapshot(lab()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*metal.RackSnapshot){
		"range outside":     func(s *metal.RackSnapshot) { s.VLANs[0].Subnets[0].Dynamic[0].End = netip.MustParseAddr("10.0.9.9") },
		"no rack address":   func(s *metal.RackSnapshot) { s.VLANs[0].Subnets[0].RackIP = netip.Addr{} },
		"interface twice":   func(s *metal.RackSnapshot) { s.VLANs[1].Interface = "lab0" },
		"IPv6 subnet":       func(s *metal.RackSnapshot) { s.VLANs[0].Subnets[0].CIDR = netip.MustParsePrefix("fd00::/64") },
		"MAC that is not":   func(s *metal.RackSnapshot) { s.Machines[0].MAC = "fox" },
		"network not valid": func(s *metal.RackSnapshot) { s.VLANs[0].Subnets[0].CIDR = netip.Prefix{} },
	} {
		bad := lab()
		spoil(&bad)
		if err := s.SetSnapshot(bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if s.d.x.byIface["lab0"] == nil {
		t.Error("a refused snapshot replaced the good one")
	}
}

func FuzzPacket(f *testing.F) {
	c := &client{t: f, hw: "52:54:00:00:00:01"}
	f.Add(c.packet(dhcpv4.MessageTypeDiscover))
	f.Add(c.packet(dhcpv4.MessageTypeRequest, want("10.0.0.100"), from("10.0.0.2"), dhcpv4.WithUserClass("iPXE", true)))
	f.Add(c.packet(dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(net.ParseIP("10.0.0.77"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p packet
		if p.parse(b) != nil {
			return
		}
		d := newDecider(t, lab())
		v := d.decide(start, "lab0", &p)
		if v.reply == nil {
			return
		}
		m, err := dhcpv4.FromBytes(v.reply)
		if err != nil {
			t.Fatalf("the reply is not DHCP: %v", err)
		}
		if m.OpCode != dhcpv4.OpcodeBootReply || len(v.reply) > maxPacket || (v.to == toRelay) != (p.giaddr != 0) {
			t.Fatalf("got %v", m)
		}
	})
}

func FuzzLeaseFile(f *testing.F) {
	f.Add([]byte(fileHeader))
	f.Add(appendRecord([]byte(fileHeader), &lease{ip: 1, mac: 2, vlan: 3, expires: 4, state: bound, hostname: "x"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		tables := newLeases()
		if _, _, err := readLeases(bytes.NewReader(b), tables); err != nil {
			return
		}
		for _, l := range tables.byIP { // what was read can be written and read again
			again, ok := parseRecord(strings.TrimSuffix(string(appendRecord(nil, l)), "\n"))
			if !ok || again != *l {
				t.Fatalf("got %+v, %v; want %+v", again, ok, *l)
			}
		}
	})
}

// bigLab has room for a benchmark's clients.
func bigLab(reservations int) metal.RackSnapshot {
	s := lab()
	s.VLANs[0].Subnets[0].CIDR = netip.MustParsePrefix("10.0.0.0/16")
	s.VLANs[0].Subnets[0].Dynamic = []metal.AddrRange{{Start: netip.MustParseAddr("10.0.64.0"), End: netip.MustParseAddr("10.0.255.250")}}
	s.VLANs = s.VLANs[:1]
	s.Machines = nil
	for n := range reservations {
		s.Machines = append(s.Machines, metal.SnapshotMachine{MAC: mac(0x525400000000 + n).MAC(), IP: ip4(0x0a000100 + n).Addr()})
	}
	return s
}

func BenchmarkFourWay(b *testing.B) {
	for _, reserved := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("reservations=%d", reserved), func(b *testing.B) {
			d := newDecider(b, bigLab(reserved))
			c := &client{t: b, d: d, hw: "52:54:00:00:00:00", mod: []dhcpv4.Modifier{dhcpv4.WithRelay(net.ParseIP("10.0.0.9"))}}
			disc, req := c.packet(dhcpv4.MessageTypeDiscover), c.packet(dhcpv4.MessageTypeRequest, want("0.0.0.0"), from("10.0.0.2"))
			at := bytes.Index(req, []byte{optRequestedIP, 4, 0, 0, 0, 0}) + 2
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				n = (n + 1) % 10_000
				for _, p := range [][]byte{disc, req} {
					p[32], p[33] = byte(n>>8), byte(n)
				}
				var p packet
				if p.parse(disc) != nil {
					b.Fatal("not parsed")
				}
				v := d.decide(start, "lab0", &p)
				copy(req[at:], v.reply[16:20])
				if p.parse(req) != nil {
					b.Fatal("not parsed")
				}
				if v = d.decide(start, "lab0", &p); v.kind != ack {
					b.Fatalf("got %+v", v)
				}
			}
		})
	}
}
