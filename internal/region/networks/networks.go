// Package networks keeps the network model (fabrics, VLANs, subnets, ranges) and renders from it the snapshot
// that each rack serves its VLANs from.
package networks

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

// Racks reaches racks.
type Racks interface {
	Connected() []string
	Call(ctx context.Context, rackID string, m wire.Message, req, resp any) error
}

// Service keeps the network model. Safe for concurrent use.
type Service struct {
	gate      *gate.Gate
	now       func() time.Time
	log       *slog.Logger
	machineCA []byte
	racks     Racks

	wake chan struct{}
	mu   sync.Mutex
	sent map[string]sent // by rack, guarded by mu
}

type sent struct {
	hash    string
	version int64
}

// New makes the service. machineCA is the PEM of the authority of boot certificates.
func New(g *gate.Gate, now func() time.Time, log *slog.Logger, machineCA []byte) *Service {
	return &Service{gate: g, now: now, log: log, machineCA: machineCA, wake: make(chan struct{}, 1), sent: map[string]sent{}}
}

// SetRacks joins the service with the racks' sessions.
func (s *Service) SetRacks(r Racks) { s.racks = r }

// Discover adds a fabric, VLAN and subnet for each network of a rack's interfaces that the model does not
// have yet, as MAAS does. It changes nothing that exists.
func (s *Service) Discover(c *gate.Call, _ string, ifaces []metal.ControllerInterface) error {
	subnets, err := c.Tx().Subnets()
	if err != nil {
		return err
	}
	for _, n := range ifaces {
		for _, p := range n.Addresses {
			cidr := p.Masked()
			if !cidr.IsValid() || !cidr.Addr().Is4() || cidr.Bits() == 32 || cidr.Addr().IsLoopback() || overlapping(subnets, cidr, 0) != nil {
				continue
			}
			for _, noun := range []authz.Noun{authz.NounFabric, authz.NounVLAN, authz.NounSubnet} {
				if err := c.Require(authz.Target{Noun: noun}); err != nil {
					return err
				}
			}
			f := metal.Fabric{}
			if err := c.Tx().AddFabric(&f); err != nil {
				return err
			}
			v := metal.VLAN{FabricID: f.ID, Name: "untagged", MTU: 1500}
			if err := c.Tx().AddVLAN(&v); err != nil {
				return err
			}
			sub := metal.Subnet{VLANID: v.ID, Name: cidr.String(), CIDR: cidr, Managed: true}
			if err := c.Tx().AddSubnet(&sub); err != nil {
				return err
			}
			subnets = append(subnets, sub)
		}
	}
	return nil
}

func overlapping(subnets []metal.Subnet, cidr netip.Prefix, but int64) *metal.Subnet {
	for i, s := range subnets {
		if s.ID != but && s.CIDR.Overlaps(cidr) {
			return &subnets[i]
		}
	}
	return nil
}

// Model is the whole network model at one moment.
type Model struct {
	Fabrics []metal.Fabric
	VLANs   []metal.VLAN
	Subnets []metal.Subnet
	Ranges  []metal.IPRange
}

// Load reads the model.
func Load(v *store.View) (m Model, err error) {
	if m.Fabrics, err = v.Fabrics(); err != nil {
		return m, err
	}
	if m.VLANs, err = v.VLANs(); err != nil {
		return m, err
	}
	if m.Subnets, err = v.Subnets(); err != nil {
		return m, err
	}
	m.Ranges, err = v.IPRanges(0)
	return m, err
}

// Model returns the network model.
func (s *Service) Model(ctx context.Context) (m Model, err error) {
	err = s.gate.View(ctx, authz.NetworkView, func(v *gate.Viewing) (err error) {
		m, err = Load(v.View)
		return err
	})
	return m, err
}

// edit runs a change of the model.
func (s *Service) edit(ctx context.Context, target authz.Target, fn func(*gate.Call) error) error {
	return s.gate.Do(ctx, authz.NetworkEdit, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		return fn(c)
	})
}

// CreateFabric adds a fabric with its untagged VLAN, as MAAS does. Kinds: Invalid.
func (s *Service) CreateFabric(ctx context.Context, f metal.Fabric) (metal.Fabric, error) {
	if f.Name != "" {
		if err := metal.ValidateNamed(f.Name); err != nil {
			return f, err
		}
	}
	err := s.edit(ctx, authz.Target{Noun: authz.NounFabric}, func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounVLAN}); err != nil {
			return err
		}
		if err := freeFabric(c.Tx(), f); err != nil {
			return err
		}
		if err := c.Tx().AddFabric(&f); err != nil {
			return err
		}
		v := metal.VLAN{FabricID: f.ID, Name: "untagged", MTU: 1500}
		return c.Tx().AddVLAN(&v)
	})
	return f, err
}

func freeFabric(t *store.Tx, f metal.Fabric) error {
	all, err := t.Fabrics()
	if err != nil {
		return err
	}
	for _, o := range all {
		if o.ID != f.ID && o.Name == f.Name {
			return fault.Field("name", "Fabric with this Name already exists.")
		}
	}
	return nil
}

// UpdateFabric changes a fabric. Kinds: NotFound, Invalid.
func (s *Service) UpdateFabric(ctx context.Context, id int64, change func(*metal.Fabric)) (f metal.Fabric, err error) {
	err = s.edit(ctx, store.FabricTarget(id), func(c *gate.Call) (err error) {
		if f, err = c.Tx().Fabric(id); err != nil {
			return err
		}
		change(&f)
		if err := metal.ValidateNamed(f.Name); err != nil {
			return err
		}
		if err := freeFabric(c.Tx(), f); err != nil {
			return err
		}
		return c.Tx().PutFabric(f)
	})
	return f, err
}

// DeleteFabric deletes a fabric with its VLANs. Kinds: NotFound, Conflict while a subnet is on one of them.
func (s *Service) DeleteFabric(ctx context.Context, id int64) error {
	return s.edit(ctx, store.FabricTarget(id), func(c *gate.Call) error {
		if _, err := c.Tx().Fabric(id); err != nil {
			return err
		}
		m, err := Load(&c.Tx().View)
		if err != nil {
			return err
		}
		for _, v := range m.VLANs {
			if v.FabricID != id {
				continue
			}
			if err := c.Require(store.VLANTarget(v.ID)); err != nil {
				return err
			}
			if err := c.Tx().DeleteVLAN(v.ID); err != nil {
				return err
			}
		}
		return c.Tx().DeleteFabric(id)
	})
}

// CreateVLAN adds a VLAN to a fabric. Kinds: NotFound, Invalid.
func (s *Service) CreateVLAN(ctx context.Context, v metal.VLAN) (metal.VLAN, error) {
	if v.MTU == 0 {
		v.MTU = 1500
	}
	err := s.edit(ctx, authz.Target{Noun: authz.NounVLAN}, func(c *gate.Call) error {
		if _, err := c.Tx().Fabric(v.FabricID); err != nil {
			return err
		}
		if err := s.checkVLAN(c, v); err != nil {
			return err
		}
		return c.Tx().AddVLAN(&v)
	})
	return v, err
}

// checkVLAN checks a VLAN by itself and against the rest of the model: the VID must be free, the rack must
// be on it, and DHCP needs a range to hand out.
func (s *Service) checkVLAN(c *gate.Call, v metal.VLAN) error {
	if err := v.Validate(); err != nil {
		return err
	}
	m, err := Load(&c.Tx().View)
	if err != nil {
		return err
	}
	for _, o := range m.VLANs {
		if o.ID != v.ID && o.FabricID == v.FabricID && o.VID == v.VID {
			return fault.Field("vid", "The fabric has a VLAN with the VID %d already.", v.VID)
		}
	}
	if v.PrimaryRack == "" {
		return nil
	}
	ctl, err := c.Tx().Controller(v.PrimaryRack)
	if err != nil || ctl.Revoked || ctl.Type == metal.NodeRegionController {
		return fault.Field("primary_rack", "%.64s is not the system id of a rack controller.", v.PrimaryRack)
	}
	if !v.DHCPOn {
		return nil
	}
	for _, sub := range m.Subnets {
		if sub.VLANID != v.ID {
			continue
		}
		if _, _, ok := rackOn(ctl, sub); !ok {
			continue
		}
		for _, r := range m.Ranges {
			if r.SubnetID == sub.ID && r.Type == metal.RangeDynamic {
				return nil
			}
		}
	}
	return fault.Field("dhcp_on", "dhcp can only be turned on when a dynamic IP range is defined on a subnet in which the rack controller has an address.")
}

// rackOn returns the rack's interface and address on a subnet.
func rackOn(ctl metal.Controller, sub metal.Subnet) (iface string, ip netip.Addr, ok bool) {
	for _, n := range ctl.Interfaces {
		for _, a := range n.Addresses {
			if sub.CIDR.Contains(a.Addr()) {
				return n.Name, a.Addr(), true
			}
		}
	}
	return "", netip.Addr{}, false
}

// UpdateVLAN changes a VLAN. Kinds: NotFound, Invalid.
func (s *Service) UpdateVLAN(ctx context.Context, id int64, change func(*metal.VLAN)) (v metal.VLAN, err error) {
	err = s.edit(ctx, store.VLANTarget(id), func(c *gate.Call) (err error) {
		if v, err = c.Tx().VLAN(id); err != nil {
			return err
		}
		change(&v)
		if _, err := c.Tx().Fabric(v.FabricID); err != nil {
			return fault.Field("fabric", "No such fabric.")
		}
		if err := s.checkVLAN(c, v); err != nil {
			return err
		}
		return c.Tx().PutVLAN(v)
	})
	return v, err
}

// DeleteVLAN deletes a VLAN without subnets; the untagged one stays with its fabric. Kinds: NotFound, Conflict.
func (s *Service) DeleteVLAN(ctx context.Context, id int64) error {
	return s.edit(ctx, store.VLANTarget(id), func(c *gate.Call) error {
		v, err := c.Tx().VLAN(id)
		if err != nil {
			return err
		}
		if v.VID == 0 {
			return fault.New(fault.Conflict, "This VLAN is the default VLAN in the fabric, it cannot be deleted.")
		}
		return c.Tx().DeleteVLAN(id)
	})
}

// CreateSubnet adds a subnet. With no VLAN named, it is put on a new fabric's. Kinds: NotFound, Invalid.
func (s *Service) CreateSubnet(ctx context.Context, sub metal.Subnet) (metal.Subnet, error) {
	if sub.Name == "" {
		sub.Name = sub.CIDR.String()
	}
	asked := sub
	err := s.edit(ctx, authz.Target{Noun: authz.NounSubnet}, func(c *gate.Call) error {
		sub = asked // this may run again, when its VLAN was undone
		if sub.VLANID == 0 {
			if err := c.Require(authz.Target{Noun: authz.NounFabric}); err != nil {
				return err
			}
			if err := c.Require(authz.Target{Noun: authz.NounVLAN}); err != nil {
				return err
			}
		}
		if err := checkSubnet(c, sub); err != nil {
			return err
		}
		if sub.VLANID == 0 {
			f := metal.Fabric{}
			if err := c.Tx().AddFabric(&f); err != nil {
				return err
			}
			v := metal.VLAN{FabricID: f.ID, Name: "untagged", MTU: 1500}
			if err := c.Tx().AddVLAN(&v); err != nil {
				return err
			}
			sub.VLANID = v.ID
		}
		return c.Tx().AddSubnet(&sub)
	})
	return sub, err
}

func checkSubnet(c *gate.Call, sub metal.Subnet) error {
	if err := sub.Validate(); err != nil {
		return err
	}
	if err := metal.ValidateNamed(sub.Name); err != nil && sub.Name != sub.CIDR.String() {
		return err
	}
	if sub.VLANID != 0 {
		if _, err := c.Tx().VLAN(sub.VLANID); err != nil {
			return fault.Field("vlan", "No such VLAN.")
		}
	}
	all, err := c.Tx().Subnets()
	if err != nil {
		return err
	}
	if o := overlapping(all, sub.CIDR, sub.ID); o != nil {
		return fault.Field("cidr", "%s overlaps with the subnet %s (%s).", sub.CIDR, o.Name, o.CIDR)
	}
	ranges, err := c.Tx().IPRanges(sub.ID)
	if err != nil || sub.ID == 0 {
		return err
	}
	for _, r := range ranges {
		if !sub.CIDR.Contains(r.Start) || !sub.CIDR.Contains(r.End) {
			return fault.Field("cidr", "The range %s-%s would be outside; change or delete it first.", r.Start, r.End)
		}
	}
	return nil
}

// UpdateSubnet changes a subnet. Kinds: NotFound, Invalid.
func (s *Service) UpdateSubnet(ctx context.Context, id int64, change func(*metal.Subnet)) (sub metal.Subnet, err error) {
	err = s.edit(ctx, store.SubnetTarget(id), func(c *gate.Call) (err error) {
		if sub, err = c.Tx().Subnet(id); err != nil {
			return err
		}
		old := sub
		change(&sub)
		if old.Name == old.CIDR.String() && sub.Name == old.Name { // it was named by its network, and stays so
			sub.Name = sub.CIDR.String()
		}
		if err := checkSubnet(c, sub); err != nil {
			return err
		}
		return c.Tx().PutSubnet(sub)
	})
	return sub, err
}

// DeleteSubnet deletes a subnet with its ranges. Kinds: NotFound, Conflict while its VLAN serves DHCP on it.
func (s *Service) DeleteSubnet(ctx context.Context, id int64) error {
	return s.edit(ctx, store.SubnetTarget(id), func(c *gate.Call) error {
		sub, err := c.Tx().Subnet(id)
		if err != nil {
			return err
		}
		v, err := c.Tx().VLAN(sub.VLANID)
		if err != nil {
			return err
		}
		if v.DHCPOn {
			return fault.New(fault.Conflict, "DHCP is on for the VLAN of this subnet; turn it off first.")
		}
		return c.Tx().DeleteSubnet(id)
	})
}

// CreateRange adds an IP range. Kinds: NotFound, Invalid.
func (s *Service) CreateRange(ctx context.Context, r metal.IPRange) (metal.IPRange, error) {
	err := s.edit(ctx, store.SubnetTarget(r.SubnetID), func(c *gate.Call) error {
		r.User = c.Principal().Name
		if err := checkRange(c, r); err != nil {
			return err
		}
		return c.Tx().AddIPRange(&r)
	})
	return r, err
}

func checkRange(c *gate.Call, r metal.IPRange) error {
	sub, err := c.Tx().Subnet(r.SubnetID)
	if err != nil {
		return fault.Field("subnet", "No such subnet.")
	}
	others, err := c.Tx().IPRanges(r.SubnetID)
	if err != nil {
		return err
	}
	return r.Validate(sub, others)
}

// UpdateRange changes an IP range. Kinds: NotFound, Invalid.
func (s *Service) UpdateRange(ctx context.Context, id int64, change func(*metal.IPRange)) (r metal.IPRange, err error) {
	err = s.gate.Do(ctx, authz.NetworkEdit, func(c *gate.Call) (err error) {
		if r, err = c.Tx().IPRange(id); err != nil {
			return orElse(c.Require(authz.Target{Noun: authz.NounSubnet}), err)
		}
		if err := c.Require(store.SubnetTarget(r.SubnetID)); err != nil {
			return err
		}
		change(&r)
		if err := checkRange(c, r); err != nil {
			return err
		}
		return c.Tx().PutIPRange(r)
	})
	return r, err
}

// DeleteRange deletes an IP range. Kinds: NotFound.
func (s *Service) DeleteRange(ctx context.Context, id int64) error {
	return s.gate.Do(ctx, authz.NetworkEdit, func(c *gate.Call) error {
		r, err := c.Tx().IPRange(id)
		if err != nil {
			return orElse(c.Require(authz.Target{Noun: authz.NounSubnet}), err)
		}
		if err := c.Require(store.SubnetTarget(r.SubnetID)); err != nil {
			return err
		}
		return c.Tx().DeleteIPRange(r)
	})
}

func orElse(err, or error) error {
	if err != nil {
		return err
	}
	return or
}
