package networks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

// Render makes a rack's snapshot: what it serves, and the machines it may answer for by itself.
func (s *Service) Render(v *store.View, rackID string) (snap metal.RackSnapshot, err error) {
	snap = metal.RackSnapshot{MachineCA: string(s.machineCA), VLANs: []metal.SnapshotVLAN{}, Machines: []metal.SnapshotMachine{}}
	ctl, err := v.Controller(rackID)
	if err != nil {
		return snap, err
	}
	m, err := Load(v)
	if err != nil {
		return snap, err
	}
	served := map[int64]bool{}
	for _, vlan := range m.VLANs {
		if !vlan.DHCPOn || vlan.PrimaryRack != rackID {
			continue
		}
		sv := metal.SnapshotVLAN{ID: vlan.ID, MTU: vlan.MTU}
		for _, sub := range m.Subnets {
			iface, ip, ok := rackOn(ctl, sub)
			if sub.VLANID != vlan.ID || !ok || !sub.CIDR.Addr().Is4() {
				continue
			}
			ss := metal.SnapshotSubnet{ID: sub.ID, CIDR: sub.CIDR, RackIP: ip, Gateway: sub.Gateway, DNS: sub.DNSServers, Dynamic: []metal.AddrRange{}}
			for _, r := range m.Ranges {
				if r.SubnetID == sub.ID && r.Type == metal.RangeDynamic {
					ss.Dynamic = append(ss.Dynamic, metal.AddrRange{Start: r.Start, End: r.End})
				}
			}
			sv.Interface = iface
			sv.Subnets = append(sv.Subnets, ss)
		}
		if len(sv.Subnets) > 0 {
			snap.VLANs = append(snap.VLANs, sv)
			served[vlan.ID] = true
		}
	}
	if len(served) == 0 {
		return snap, nil
	}
	machines, err := v.Machines(store.MachineQuery{Filter: authz.AllMachines, Brief: true})
	if err != nil {
		return snap, err
	}
	byID := make(map[string]*metal.Machine, len(machines))
	for i := range machines {
		byID[machines[i].SystemID] = &machines[i]
	}
	ifaces, err := v.Interfaces()
	if err != nil {
		return snap, err
	}
	for _, n := range ifaces {
		mach := byID[n.SystemID]
		if mach == nil || !served[n.VLANID] {
			continue
		}
		snap.Machines = append(snap.Machines, metal.SnapshotMachine{MAC: n.MAC, IP: n.IP, Hostname: mach.Hostname, LocalBoot: mach.Status == metal.Deployed})
	}
	slices.SortFunc(snap.Machines, func(a, b metal.SnapshotMachine) int { return strings.Compare(string(a.MAC), string(b.MAC)) })
	return snap, nil
}

// Changed is told which objects calls have changed; what a snapshot shows wakes Run.
func (s *Service) Changed(touched []authz.Target) {
	for _, t := range touched {
		switch t.Noun {
		case authz.NounMachine, authz.NounVLAN, authz.NounSubnet, authz.NounController:
			s.Wake()
			return
		}
	}
}

// Wake has Run look for snapshots to send.
func (s *Service) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Joined forgets what a rack was sent: it gets its snapshot anew.
func (s *Service) Joined(rackID string) {
	s.mu.Lock()
	s.sent[rackID] = sent{version: s.sent[rackID].version}
	s.mu.Unlock()
	s.Wake()
}

// Holds notes the version of the snapshot that a rack says it has. A rack refuses an older one, and after a
// restart under a clock that was set back we would number from there. A rack that has another than it was sent
// gets its snapshot anew.
func (s *Service) Holds(rackID string, version int64) {
	s.mu.Lock()
	last := s.sent[rackID]
	same := last.version == version
	if !same {
		s.sent[rackID] = sent{version: max(last.version, version)}
	}
	s.mu.Unlock()
	if !same {
		s.Wake()
	}
}

// settle is how long Run waits for further changes before it renders: a burst is one snapshot.
const settle = 20 * time.Millisecond

// Run sends changed snapshots to connected racks until the context ends.
func (s *Service) Run(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "networks")
	retry := time.NewTicker(10 * time.Second)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			select {
			case <-ctx.Done():
				return
			case <-time.After(settle):
			}
		case <-retry.C:
		}
		for _, id := range s.racks.Connected() {
			if err := s.Sync(ctx, id); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "cannot send snapshot", "rack", id, "error", err)
			}
		}
	}
}

// Sync sends a rack its snapshot if it has an older one. Before a machine is started, its rack must know what
// to answer it.
func (s *Service) Sync(ctx context.Context, rackID string) error {
	var snap metal.RackSnapshot
	err := s.gate.View(authz.AsSystem(ctx, "networks"), authz.NetworkView, func(v *gate.Viewing) (err error) {
		snap, err = s.Render(v.View, rackID)
		return err
	})
	if err != nil {
		return err
	}
	body, err := json.Marshal(snap)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	s.mu.Lock()
	last := s.sent[rackID]
	s.mu.Unlock()
	if last.hash == hash {
		return nil
	}
	snap.Version = max(s.now().UnixMicro(), last.version+1)
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.racks.Call(ctx, rackID, wire.Snapshot, snap, nil); err != nil {
		return err
	}
	s.mu.Lock()
	s.sent[rackID] = sent{hash, snap.Version}
	s.mu.Unlock()
	return nil
}
