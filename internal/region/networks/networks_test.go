package networks_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

func wantField(t *testing.T, err error, field, text string) {
	t.Helper()
	f, ok := fault.As(err)
	if !ok || f.Kind != fault.Invalid || !strings.Contains(strings.Join(f.Fields[field], " "), text) {
		t.Errorf("got %v, want Invalid on %s with %q", err, field, text)
	}
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("got %v (kind %s), want kind %s", err, fault.KindOf(err), kind)
	}
}

// TestModel keeps the network model whole: what is refused names the field and changes nothing.
func TestModel(t *testing.T) {
	c := regiontest.New(t, regiontest.NewClock().Now)
	ctx := c.Admin(t)
	n := c.Networks
	r := c.AddRack(t, "rack", netip.MustParsePrefix("10.0.0.2/24"))
	f, err := n.CreateFabric(ctx, metal.Fabric{Name: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	v, err := n.CreateVLAN(ctx, metal.VLAN{FabricID: f.ID, VID: 10})
	if err != nil || v.MTU != 1500 {
		t.Fatalf("got %+v, %v", v, err)
	}
	sub, err := n.CreateSubnet(ctx, metal.Subnet{VLANID: v.ID, CIDR: netip.MustParsePrefix("10.5.0.0/24"), Gateway: netip.MustParseAddr("10.5.0.1")})
	if err != nil || sub.Name != "10.5.0.0/24" {
		t.Fatalf("got %+v, %v", sub, err)
	}
	rng, err := n.CreateRange(ctx, metal.IPRange{SubnetID: sub.ID, Type: metal.RangeDynamic, Start: netip.MustParseAddr("10.5.0.100"), End: netip.MustParseAddr("10.5.0.110")})
	if err != nil || rng.User != "root" {
		t.Fatalf("got %+v, %v", rng, err)
	}
	before, err := n.Model(ctx)
	if err != nil {
		t.Fatal(err)
	}
	trail := len(c.Trail(t))
	calls := 0
	field := func(name, text string, err error) { calls++; t.Helper(); wantField(t, err, name, text) }
	kind := func(k fault.Kind, err error) { calls++; t.Helper(); wantKind(t, err, k) }
	only := func(_ any, err error) error { return err }
	a := netip.MustParseAddr
	field("name", "already exists", only(n.CreateFabric(ctx, metal.Fabric{Name: "lab"})))
	field("vid", "already", only(n.CreateVLAN(ctx, metal.VLAN{FabricID: f.ID, VID: 10})))
	field("vid", "between 0 and 4094", only(n.CreateVLAN(ctx, metal.VLAN{FabricID: f.ID, VID: 4095})))
	kind(fault.NotFound, only(n.CreateVLAN(ctx, metal.VLAN{FabricID: 999, VID: 11})))
	field("cidr", "overlaps", only(n.CreateSubnet(ctx, metal.Subnet{VLANID: v.ID, CIDR: netip.MustParsePrefix("10.5.0.128/25")})))
	field("cidr", "overlaps", only(n.CreateSubnet(ctx, metal.Subnet{VLANID: v.ID, CIDR: netip.MustParsePrefix("10.5.0.0/16")})))
	field("cidr", "host bits", only(n.CreateSubnet(ctx, metal.Subnet{VLANID: v.ID, CIDR: netip.MustParsePrefix("10.6.0.1/24")})))
	field("cidr", "CIDR notation", only(n.CreateSubnet(ctx, metal.Subnet{VLANID: v.ID, Name: "x"})))
	field("gateway_ip", "not inside", only(n.CreateSubnet(ctx, metal.Subnet{VLANID: v.ID, CIDR: netip.MustParsePrefix("10.6.0.0/24"), Gateway: a("10.7.0.1")})))
	field("vlan", "No such", only(n.CreateSubnet(ctx, metal.Subnet{VLANID: 999, CIDR: netip.MustParsePrefix("10.6.0.0/24")})))
	mk := func(kind metal.RangeType, start, end string) error {
		s, _ := netip.ParseAddr(start)
		e, _ := netip.ParseAddr(end)
		_, err := n.CreateRange(ctx, metal.IPRange{SubnetID: sub.ID, Type: kind, Start: s, End: e})
		return err
	}
	field("__all__", "overlaps", mk(metal.RangeReserved, "10.5.0.110", "10.5.0.120"))
	field("end_ip", "before its start", mk(metal.RangeDynamic, "10.5.0.50", "10.5.0.40"))
	field("start_ip", "not inside", mk(metal.RangeDynamic, "10.4.0.50", "10.5.0.60"))
	field("end_ip", "valid IP", mk(metal.RangeDynamic, "10.5.0.50", ""))
	field("start_ip", "gateway", mk(metal.RangeDynamic, "10.5.0.1", "10.5.0.9"))
	field("type", "not one of", mk("static", "10.5.0.50", "10.5.0.60"))
	field("subnet", "No such", only(n.CreateRange(ctx, metal.IPRange{SubnetID: 999, Type: metal.RangeDynamic})))
	field("dhcp_on", "primary rack", only(n.UpdateVLAN(ctx, v.ID, func(v *metal.VLAN) { v.DHCPOn = true })))
	field("dhcp_on", "dynamic IP range", only(n.UpdateVLAN(ctx, v.ID, func(v *metal.VLAN) { v.DHCPOn, v.PrimaryRack = true, r.ID }))) // the rack has no address there
	field("primary_rack", "not the system id", only(n.UpdateVLAN(ctx, v.ID, func(v *metal.VLAN) { v.PrimaryRack = "nonsense" })))
	field("fabric", "No such", only(n.UpdateVLAN(ctx, v.ID, func(v *metal.VLAN) { v.FabricID = 999 })))
	field("cidr", "would be outside", only(n.UpdateSubnet(ctx, sub.ID, func(s *metal.Subnet) { s.CIDR, s.Gateway = netip.MustParsePrefix("10.5.0.0/26"), netip.Addr{} })))
	kind(fault.NotFound, only(n.UpdateFabric(ctx, 999, func(*metal.Fabric) {})))
	kind(fault.NotFound, only(n.UpdateVLAN(ctx, 999, func(*metal.VLAN) {})))
	kind(fault.NotFound, only(n.UpdateSubnet(ctx, 999, func(*metal.Subnet) {})))
	kind(fault.NotFound, only(n.UpdateRange(ctx, 999, func(*metal.IPRange) {})))
	kind(fault.NotFound, n.DeleteRange(ctx, 999))
	kind(fault.NotFound, n.DeleteSubnet(ctx, 999))
	kind(fault.Conflict, n.DeleteVLAN(ctx, v.ID))                   // a subnet is on it
	kind(fault.Conflict, n.DeleteFabric(ctx, f.ID))                 // so is its fabric
	kind(fault.Conflict, n.DeleteVLAN(ctx, before.VLANs[0].ID))     // untagged
	kind(fault.Conflict, n.DeleteSubnet(ctx, before.Subnets[0].ID)) // DHCP is on
	alice := c.User(t, "alice", false)
	kind(fault.Forbidden, only(n.CreateFabric(alice, metal.Fabric{Name: "mine"})))
	kind(fault.Forbidden, n.DeleteSubnet(alice, sub.ID))
	after, err := n.Model(ctx)
	if err != nil {
		t.Fatal(err)
	}
	was, _ := json.Marshal(before)
	is, _ := json.Marshal(after)
	if string(was) != string(is) {
		t.Errorf("refused calls changed the model:\n%s\n%s", was, is)
	}
	if got := len(c.Trail(t)) - trail; got != calls+1 { // and alice was created
		t.Errorf("got %d audit events for %d refused calls", got-1, calls)
	}
	if _, err := n.Model(context.Background()); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a stranger reads the model: %v", err)
	}
	if err := n.DeleteRange(ctx, rng.ID); err != nil {
		t.Error(err)
	}
	if sub, err = n.UpdateSubnet(ctx, sub.ID, func(s *metal.Subnet) { s.CIDR, s.Gateway = netip.MustParsePrefix("10.6.0.0/24"), netip.Addr{} }); err != nil || sub.Name != "10.6.0.0/24" {
		t.Errorf("a subnet named by its network: got %+v, %v", sub, err)
	}
	for _, err := range []error{n.DeleteSubnet(ctx, sub.ID), n.DeleteVLAN(ctx, v.ID), n.DeleteFabric(ctx, f.ID)} {
		if err != nil {
			t.Error(err)
		}
	}
}

// TestSnapshot shows a rack the VLANs that it serves, and the machines on them, and no others.
func TestSnapshot(t *testing.T) {
	c := regiontest.New(t, regiontest.NewClock().Now)
	r1, r2 := c.AddRack(t, "r1", netip.MustParsePrefix("10.0.0.2/24")), c.AddRack(t, "r2", netip.MustParsePrefix("10.1.0.2/24"))
	m := &regiontest.Machine{Core: c, Rack: r1, MAC: "52:54:00:00:00:01", IP: netip.MustParseAddr("10.0.0.101")}
	row := m.Ready(t, "m")
	ctx := context.Background()
	for _, r := range []*regiontest.Rack{r1, r2} {
		if err := c.Networks.Sync(ctx, r.ID); err != nil {
			t.Fatal(err)
		}
	}
	s := r1.Snapshot()
	if len(s.VLANs) != 1 || len(s.VLANs[0].Subnets) != 1 || s.VLANs[0].Interface != "eth0" || s.VLANs[0].Subnets[0].RackIP.String() != "10.0.0.2" || len(s.VLANs[0].Subnets[0].Dynamic) != 1 {
		t.Errorf("got VLANs %+v", s.VLANs)
	}
	if len(s.Machines) != 1 || s.Machines[0].Hostname != "m" || s.Machines[0].LocalBoot {
		t.Errorf("got machines %+v", s.Machines)
	}
	if !strings.Contains(s.MachineCA, "BEGIN CERTIFICATE") || strings.Contains(s.MachineCA, "PRIVATE") {
		t.Error("the machines' authority is not there, or its key is")
	}
	if other := r2.Snapshot(); len(other.Machines) != 0 || len(other.VLANs) != 1 || other.VLANs[0].Subnets[0].CIDR.String() != "10.1.0.0/24" {
		t.Errorf("another rack got %+v", other)
	}
	version := s.Version
	if err := c.Networks.Sync(ctx, r1.ID); err != nil || r1.Snapshot().Version != version {
		t.Errorf("the same snapshot was sent again: %v", err)
	}
	if err := c.Gate.Do(c.Admin(t), authz.MachineUpdate, func(call *gate.Call) error {
		m, err := call.Tx().Machine(row.SystemID)
		if err != nil {
			return err
		}
		m.Status = metal.Deployed
		return errors.Join(call.Require(store.MachineTarget(m)), call.Tx().PutMachine(m))
	}); err != nil {
		t.Fatal(err)
	}
	if err := c.Networks.Sync(ctx, r1.ID); err != nil {
		t.Fatal(err)
	}
	if s := r1.Snapshot(); s.Version <= version || !s.Machines[0].LocalBoot {
		t.Errorf("got version %d after %d, machines %+v", s.Version, version, s.Machines)
	}
	c.Networks.Joined(r1.ID)
	version = r1.Snapshot().Version
	if err := c.Networks.Sync(ctx, r1.ID); err != nil || r1.Snapshot().Version < version {
		t.Errorf("a rack that came back got nothing: %v", err)
	}
	if r1.Snapshot().Version == version {
		t.Error("the snapshot was not sent anew")
	}
	wantKind(t, c.Networks.Sync(ctx, "absentabsentabse"), fault.NotFound)

	// The region was restarted with its clock set back: the rack says what it has, and gets a newer one.
	ahead := r1.Snapshot().Version + int64(time.Hour/time.Microsecond)
	hello := wire.HelloRequest{Protocol: wire.Protocol, Version: "1", SnapshotVersion: ahead}
	ctl, err := c.Controllers.Get(c.Admin(t), r1.ID)
	if err != nil {
		t.Fatal(err)
	}
	hello.Interfaces = ctl.Interfaces
	if err := c.Controllers.Hello(r1.Ctx(), r1.ID, hello); err != nil {
		t.Fatal(err)
	}
	if err := c.Networks.Sync(ctx, r1.ID); err != nil || r1.Snapshot().Version <= ahead {
		t.Errorf("got version %d, %v; the rack has %d and refuses older ones", r1.Snapshot().Version, err, ahead)
	}
	hello.SnapshotVersion = r1.Snapshot().Version
	if err := c.Controllers.Hello(r1.Ctx(), r1.ID, hello); err != nil {
		t.Fatal(err)
	}
	if err := c.Networks.Sync(ctx, r1.ID); err != nil || r1.Snapshot().Version != hello.SnapshotVersion {
		t.Errorf("sent again to a rack that has it: %v", err)
	}
}

// TestRun sends what changed by itself, to those who are connected.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := regiontest.New(t, time.Now)
		r := c.AddRack(t, "r", netip.MustParsePrefix("10.0.0.2/24"))
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); c.Networks.Run(ctx) }()
		time.Sleep(time.Second)
		if len(r.Snapshot().VLANs) != 1 {
			t.Errorf("got %+v a second after the change", r.Snapshot())
		}
		admin := c.Admin(t)
		model, err := c.Networks.Model(admin)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Networks.UpdateVLAN(admin, model.VLANs[0].ID, func(v *metal.VLAN) { v.DHCPOn = false }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if len(r.Snapshot().VLANs) != 0 {
			t.Errorf("got %+v a second after DHCP was turned off", r.Snapshot())
		}
		cancel()
		<-done
	})
}
