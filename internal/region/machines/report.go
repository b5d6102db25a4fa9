package machines

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

var errBoot = fault.New(fault.Unauthenticated, "This boot has ended; its certificate is not valid any more.")

// current checks that a relayed call comes from the agent of an open, uncontested boot on the rack that
// relays it. Kinds: Unauthenticated.
func current(v *store.View, rackID string, ref wire.BootRef) (store.BootRow, error) {
	b, err := v.Boot(ref.BootID)
	if fault.Is(err, fault.NotFound) {
		return b, errBoot
	}
	if err == nil && (b.State != metal.BootClaimed || b.RackID != rackID || ref.CertHash == "" || b.CertHash != ref.CertHash || !b.Ended.IsZero()) {
		err = errBoot
	}
	return b, err
}

// asAgent acts as the agent of a boot, once its certificate was checked.
func (s *Service) asAgent(ctx context.Context, ref wire.BootRef) (context.Context, store.BootRow, error) {
	rackID := authz.From(ctx).Name
	var b store.BootRow
	err := s.gate.View(authz.AsSystem(ctx, "agents"), authz.MachineView, func(v *gate.Viewing) (err error) {
		b, err = current(v.View, rackID, ref)
		return err
	})
	if err != nil {
		s.gate.Security(ctx, "boot_certificate_refused", map[string]string{"boot": metal.Printable(ref.BootID, 40)})
		return ctx, b, err
	}
	return authz.With(ctx, authz.Principal{Kind: authz.Machine, Name: b.SystemID}), b, nil
}

// Task returns the agent's work order. Kinds: Unauthenticated.
func (s *Service) Task(ctx context.Context, ref wire.BootRef) (t wire.TaskResponse, err error) {
	_, b, err := s.asAgent(ctx, ref)
	if err != nil {
		return t, err
	}
	t = wire.TaskResponse{SystemID: b.SystemID, Purpose: b.Purpose, Then: wire.ThenPowerOff}
	if b.SystemID != "" {
		err = s.gate.View(authz.AsSystem(ctx, "agents"), authz.MachineView, func(v *gate.Viewing) error {
			m, err := v.Machine(b.SystemID)
			t.Hostname = m.Hostname
			return err
		})
		if err != nil {
			return t, err
		}
	}
	switch b.Purpose {
	case metal.PurposeCommission:
		t.Scripts = metal.CommissioningScripts
	case metal.PurposeDeploy:
		t.Deploy, t.Then = &wire.DeployTask{}, wire.ThenReboot
		err = json.Unmarshal(b.Task, t.Deploy)
	case metal.PurposeErase:
		t.Erase = &wire.EraseTask{}
		err = json.Unmarshal(b.Task, t.Erase)
	}
	return t, err
}

// Found takes an agent's inventory: of an unknown machine it makes a New one, a candidate that edits no
// existing record; of a machine that is commissioned it updates the record. Kinds: Unauthenticated, Invalid,
// Conflict when an interface belongs to another machine.
func (s *Service) Found(ctx context.Context, ref wire.BootRef, inv metal.Inventory) error {
	agent, b, err := s.asAgent(ctx, ref)
	if err != nil {
		return err
	}
	if err := inv.Clean(); err != nil {
		return err
	}
	switch {
	case b.Purpose == metal.PurposeEnlist && b.SystemID == "":
		return s.enlist(ctx, ref, inv)
	case b.Purpose == metal.PurposeCommission:
		_, err := s.change(agent, authz.MachineReport, b.SystemID, func(c *gate.Call, m *metal.Machine) error {
			if _, err := current(&c.Tx().View, b.RackID, ref); err != nil {
				return err
			}
			return s.takeInventory(c, m, b.Boot, inv)
		})
		return err
	default:
		return nil // a deployment or erasure changes no inventory
	}
}

// enlist makes a New machine of what an unknown machine's agent found.
func (s *Service) enlist(ctx context.Context, ref wire.BootRef, inv metal.Inventory) error {
	rackID := authz.From(ctx).Name
	err := s.gate.Do(ctx, authz.MachineEnlist, func(c *gate.Call) error {
		b, err := current(&c.Tx().View, rackID, ref)
		if err != nil {
			return err
		}
		if b.SystemID != "" {
			return fault.New(fault.Conflict, "This machine has reported already.")
		}
		for _, n := range inv.Interfaces {
			if _, err := c.Tx().InterfaceByMAC(metal.MAC(n.MAC)); err == nil {
				c.Note("event", "enlistment_with_known_mac")
				c.Note("mac", n.MAC)
				return fault.New(fault.Conflict, "Interface %s belongs to a machine that is known already. Nothing was changed.", n.MAC)
			}
		}
		if !slices.ContainsFunc(inv.Interfaces, func(n metal.InventoryInterface) bool { return metal.MAC(n.MAC) == b.MAC }) {
			return fault.Field("interfaces", "The interface %s that the machine booted from is not in its inventory.", b.MAC)
		}
		m := metal.Machine{SystemID: metal.NewSystemID(), Status: metal.New, PoolID: metal.DefaultPoolID, ZoneID: metal.DefaultZoneID,
			PowerState: metal.PowerUnknown, RackID: rackID, Created: c.Now(), Updated: c.Now()}
		m.Hostname = petName(m.SystemID)
		if err := c.Require(authz.Target{Noun: authz.NounMachine, ID: m.SystemID, Pool: m.PoolID, Rack: rackID}); err != nil {
			return err
		}
		if err := c.Require(authz.Target{Noun: authz.NounMachine, Pool: m.PoolID, Rack: rackID}); err != nil { // the boot, until now nobody's
			return err
		}
		if m.Architecture, err = metal.ParseArchitecture(inv.Architecture, ""); err != nil {
			return err
		}
		if err := c.Tx().AddMachine(&m); err != nil {
			return err
		}
		b.SystemID = m.SystemID
		if err := c.Tx().PutBoot(b); err != nil {
			return err
		}
		if err := s.takeInventory(c, &m, b.Boot, inv); err != nil {
			return err
		}
		c.Note("hostname", m.Hostname)
		return event(c, &m, metal.LevelInfo, "New", "Enlisted from "+b.IP.String())
	})
	return err
}

// takeInventory writes what an agent found into a machine's record. Interfaces are matched by address, disks
// by serial or name; those that are gone are deleted.
func (s *Service) takeInventory(c *gate.Call, m *metal.Machine, b metal.Boot, inv metal.Inventory) error {
	m.HardwareUUID, m.FirmwareUEFI, m.TPM, m.Hardware = inv.HardwareUUID, inv.UEFI, inv.TPM, inv.DMI
	m.CPUCount, m.CPUSpeedMHz, m.MemoryMiB, m.Updated = inv.CPUCount, inv.CPUSpeedMHz, inv.MemoryMiB, c.Now()
	if m.Hardware.CPUModel == "" {
		m.Hardware.CPUModel = inv.CPUModel
	}
	if inv.BMC != nil && m.PowerType == "" {
		m.PowerType, m.PowerParameters = inv.BMC.PowerType, metal.PowerParameters{"power_address": inv.BMC.Address}
		if mac, err := metal.ParseMAC(inv.BMC.MAC); err == nil {
			m.PowerParameters["mac_address"] = string(mac)
		}
	}
	if err := s.takeInterfaces(c, m, b, inv.Interfaces); err != nil {
		return err
	}
	if err := s.takeDisks(c, m, inv.Disks); err != nil {
		return err
	}
	return c.Tx().PutMachine(*m)
}

func (s *Service) takeInterfaces(c *gate.Call, m *metal.Machine, b metal.Boot, found []metal.InventoryInterface) error {
	old, err := c.Tx().Interfaces(m.SystemID)
	if err != nil {
		return err
	}
	vlan, sub, err := vlanOf(&c.Tx().View, b.RackID, b.IP)
	if err != nil {
		return err
	}
	seen := map[metal.MAC]bool{}
	for _, f := range found {
		mac := metal.MAC(f.MAC)
		if seen[mac] {
			continue
		}
		seen[mac] = true
		n := metal.Interface{SystemID: m.SystemID, MAC: mac, Enabled: true}
		if i := slices.IndexFunc(old, func(o metal.Interface) bool { return o.MAC == mac }); i >= 0 {
			n = old[i]
		} else if other, err := c.Tx().InterfaceByMAC(mac); err == nil {
			c.Note("event", "two_machines_one_mac")
			return fault.New(fault.Conflict, "Interface %s belongs to another machine already (%s). Nothing was changed.", mac, other.SystemID)
		}
		n.Name, n.Driver, n.Vendor, n.Product, n.FirmwareVersion = f.Name, f.Driver, f.Vendor, f.Product, f.FirmwareVersion
		n.LinkUp, n.SpeedMbps, n.LinkSpeedMbps, n.MTU, n.NUMANode = f.LinkUp, f.SpeedMbps, f.LinkSpeedMbps, f.MTU, f.NUMANode
		if n.Boot = mac == b.MAC; n.Boot {
			n.VLANID, n.SubnetID = vlan.ID, sub.ID
		}
		if err := c.Tx().PutInterface(&n); err != nil {
			return err
		}
	}
	for _, o := range old {
		if !seen[o.MAC] {
			if err := c.Tx().DeleteInterface(o); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Service) takeDisks(c *gate.Call, m *metal.Machine, found []metal.InventoryDisk) error {
	old, err := c.Tx().BlockDevices(m.SystemID)
	if err != nil {
		return err
	}
	kept := map[int64]bool{}
	for _, f := range found {
		d := metal.BlockDevice{SystemID: m.SystemID}
		if i := slices.IndexFunc(old, func(o metal.BlockDevice) bool {
			return !kept[o.ID] && (f.Serial != "" && o.Serial == f.Serial || f.Serial == "" && o.Serial == "" && o.Name == f.Name)
		}); i >= 0 {
			d = old[i]
		}
		d.Name, d.Model, d.Serial, d.IDPath, d.FirmwareVersion = f.Name, f.Model, f.Serial, f.IDPath, f.FirmwareVersion
		d.SizeBytes, d.BlockSize, d.Rotational, d.NUMANode = f.SizeBytes, f.BlockSize, f.Rotational, f.NUMANode
		d.Tags = []string{"ssd"}
		if d.Rotational {
			d.Tags = []string{"rotary"}
		}
		if err := c.Tx().PutBlockDevice(&d); err != nil {
			return err
		}
		kept[d.ID] = true
		if m.BootDiskID == 0 {
			m.BootDiskID = d.ID
		}
	}
	for _, o := range old {
		if !kept[o.ID] {
			if err := c.Tx().DeleteBlockDevice(o); err != nil {
				return err
			}
			if m.BootDiskID == o.ID {
				m.BootDiskID = 0
			}
		}
	}
	return nil
}

// Output takes a piece of a script's output, or its end. Kinds: Unauthenticated, Invalid, NotFound.
func (s *Service) Output(ctx context.Context, req wire.OutputRequest) error {
	agent, b, err := s.asAgent(ctx, req.BootRef)
	if err != nil {
		return err
	}
	if req.Stream != "stdout" && req.Stream != "stderr" && req.Stream != "result" {
		return fault.Field("stream", "Use stdout, stderr or result.")
	}
	if req.Offset < 0 || req.Status < metal.ScriptPending || req.Status > metal.ScriptAborted {
		return fault.Field("status", "Offset or status is out of range.")
	}
	var result metal.ScriptResult
	err = s.gate.View(authz.AsSystem(ctx, "agents"), authz.MachineView, func(v *gate.Viewing) error {
		set, _, err := v.ScriptSetOfBoot(b.ID)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(set.Results, func(r metal.ScriptResult) bool { return r.Name == req.Script })
		if i < 0 {
			return fault.New(fault.NotFound, "This boot runs no script of this name.")
		}
		result = set.Results[i]
		return nil
	})
	if err != nil {
		return err
	}
	if room := metal.MaxScriptOutput - req.Offset; int64(len(req.Data)) > room {
		req.Data = req.Data[:max(0, room)]
	}
	if len(req.Data) > 0 {
		err := s.gate.Observe(agent, gate.SeenOutput, func(tx *store.Tx, _ time.Time) error {
			return tx.AppendOutput(result.ID, req.Stream, req.Offset, req.Data)
		})
		if err != nil {
			return err
		}
	}
	if req.Status == result.Status || result.Status.Final() {
		return nil
	}
	_, err = s.change(agent, authz.MachineReport, b.SystemID, func(c *gate.Call, m *metal.Machine) error {
		c.Note("script", req.Script)
		result.Status, result.Updated = req.Status, c.Now()
		if result.Started.IsZero() {
			result.Started = c.Now()
		}
		if req.Status.Final() {
			result.Ended, result.ExitCode, result.HasExit = c.Now(), req.ExitCode, req.Status != metal.ScriptAborted
			level := metal.LevelDebug
			if req.Status != metal.ScriptPassed {
				level = metal.LevelError
			}
			if err := event(c, m, level, "Script result", req.Script+" changed status from 'Running' to '"+req.Status.String()+"'"); err != nil {
				return err
			}
		}
		return c.Tx().PutScriptResult(m.SystemID, result)
	})
	return err
}

// Progress takes what an agent says of its work. A new stage is an event; the percentage is kept in memory
// for those who watch. Kinds: Unauthenticated.
func (s *Service) Progress(ctx context.Context, req wire.ProgressRequest) error {
	agent, b, err := s.asAgent(ctx, req.BootRef)
	if err != nil || b.SystemID == "" {
		return err
	}
	st := Stage{metal.Printable(req.Stage, 80), max(-1, min(req.Percent, 100))}
	s.mu.Lock()
	fresh := s.stages[b.SystemID].Name != st.Name
	s.stages[b.SystemID] = st
	s.mu.Unlock()
	if !fresh {
		return nil
	}
	_, err = s.change(agent, authz.MachineReport, b.SystemID, func(c *gate.Call, m *metal.Machine) error {
		c.Note("stage", st.Name)
		return event(c, m, metal.LevelInfo, m.Status.String(), st.Name)
	})
	return err
}

// Seed hands the agent of a deployment what cloud-init will read: user data, the owner's SSH keys, network
// configuration, and the credential for one report back. Only an uncontested boot gets it, and the trail
// records it. Kinds: Unauthenticated, Conflict.
func (s *Service) Seed(ctx context.Context, ref wire.BootRef) (seed wire.SeedResponse, err error) {
	agent, b, err := s.asAgent(ctx, ref)
	if err != nil {
		return seed, err
	}
	if b.Purpose != metal.PurposeDeploy {
		return seed, fault.New(fault.Conflict, "This boot is not a deployment.")
	}
	ca, err := s.racks.MetadataCA(ctx, b.RackID)
	if err != nil {
		return seed, err
	}
	phone := secret.Random(32)
	_, err = s.change(agent, authz.MachineSeed, b.SystemID, func(c *gate.Call, m *metal.Machine) error {
		b, err := current(&c.Tx().View, b.RackID, ref)
		if err != nil {
			return err
		}
		if m.Status != metal.Deploying {
			return fault.New(fault.Conflict, "The machine is not being deployed.")
		}
		userData, err := s.unseal(&c.Tx().View, userDataRef(m.SystemID))
		if err != nil {
			return err
		}
		keys, err := c.Tx().SSHKeysOf(m.Owner)
		if err != nil {
			return err
		}
		nics, err := c.Tx().Interfaces(m.SystemID)
		if err != nil {
			return err
		}
		rackIP, err := rackAddress(&c.Tx().View, b.Boot)
		if err != nil {
			return err
		}
		b.PhoneHash = phone.Hash()
		if err := c.Tx().PutBoot(b); err != nil {
			return err
		}
		seed, err = renderSeed(*m, b.Boot, keys, nics, userData, "https://"+netip.AddrPortFrom(rackIP, s.metadataPort).String()+wire.PhoneHomePath+phone.RevealString())
		seed.MetadataCA = ca
		return err
	})
	return seed, err
}

// rackAddress is the rack's address in the subnet that the machine booted from.
func rackAddress(v *store.View, b metal.Boot) (netip.Addr, error) {
	ctl, err := v.Controller(b.RackID)
	if err != nil {
		return netip.Addr{}, err
	}
	_, sub, err := vlanOf(v, b.RackID, b.IP)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, n := range ctl.Interfaces {
		for _, p := range n.Addresses {
			if sub.CIDR.Contains(p.Addr()) {
				return p.Addr(), nil
			}
		}
	}
	return netip.Addr{}, fault.New(fault.Conflict, "The rack has no address in %s any more.", sub.CIDR)
}

// renderSeed makes the NoCloud seed. Sources: cloud-init, NoCloud datasource and network configuration
// version 2; phone_home module.
func renderSeed(m metal.Machine, b metal.Boot, keys []metal.SSHKey, nics []metal.Interface, userData secret.Value, phoneURL string) (seed wire.SeedResponse, err error) {
	public := make([]string, 0, len(keys))
	for _, k := range keys {
		public = append(public, k.Key)
	}
	type ethernet struct {
		Match   map[string]string `yaml:"match"`
		SetName string            `yaml:"set-name"`
		DHCP4   bool              `yaml:"dhcp4"`
	}
	ethernets := map[string]ethernet{}
	for _, n := range nics {
		if n.Boot {
			ethernets[n.Name] = ethernet{map[string]string{"macaddress": string(n.MAC)}, n.Name, true}
		}
	}
	docs := []struct {
		into   *[]byte
		header string
		doc    any
	}{
		{&seed.MetaData, "", map[string]any{"instance-id": b.ID, "local-hostname": m.Hostname, "public-keys": public}},
		{&seed.VendorData, "#cloud-config\n", map[string]any{
			"locale":     "C.UTF-8",
			"growpart":   map[string]any{"mode": "auto", "devices": []string{"/"}},
			"phone_home": map[string]any{"url": phoneURL, "post": []string{"instance_id", "hostname"}, "tries": 20},
		}},
		{&seed.NetworkConfig, "", map[string]any{"version": 2, "ethernets": ethernets}},
	}
	for _, d := range docs {
		text, err := yaml.Marshal(d.doc)
		if err != nil {
			return seed, fmt.Errorf("cannot render seed: %w", err)
		}
		*d.into = append([]byte(d.header), text...)
	}
	seed.UserData = userData.Reveal()
	if len(seed.UserData) == 0 {
		seed.UserData = []byte("#cloud-config\n{}\n")
	}
	return seed, nil
}

// Done takes the end of an agent's task. Kinds: Unauthenticated.
func (s *Service) Done(ctx context.Context, req wire.DoneRequest) error {
	agent, b, err := s.asAgent(ctx, req.BootRef)
	if err != nil {
		return err
	}
	if b.SystemID == "" { // an enlistment that failed before there was a machine
		return s.gate.Do(ctx, authz.MachineBoot, func(c *gate.Call) error {
			if err := c.Require(authz.Target{Noun: authz.NounMachine, Pool: metal.DefaultPoolID, Rack: b.RackID}); err != nil {
				return err
			}
			c.Note("error", metal.Printable(req.Error, 200))
			b.State, b.Ended = metal.BootEnded, c.Now()
			return c.Tx().PutBoot(b)
		})
	}
	var commission bool
	_, err = s.change(agent, authz.MachineReport, b.SystemID, func(c *gate.Call, m *metal.Machine) error {
		commission = false
		b, err := current(&c.Tx().View, b.RackID, req.BootRef)
		if err != nil {
			return err
		}
		c.Note("ok", strconv.FormatBool(req.OK))
		if !req.OK {
			reason := metal.Printable(req.Error, 512)
			if reason == "" {
				reason = "The agent failed without a reason."
			}
			if b.Purpose == metal.PurposeEnlist {
				return s.endWork(c, m)
			}
			return s.fail(c, m, reason)
		}
		switch b.Purpose {
		case metal.PurposeEnlist:
			if commission, err = c.Tx().SettingBool("enlist_commissioning"); err != nil {
				return err
			}
			commission = commission && powerConfigured(m) == nil
			return s.endWork(c, m)
		case metal.PurposeCommission:
			return s.finishCommissioning(c, m, b.Boot)
		case metal.PurposeDeploy:
			// The certificate is over; the credential of the one report back lives on.
			b.State, b.CertHash, b.TokenHash = metal.BootEnded, "", ""
			if err := c.Tx().PutBoot(b); err != nil {
				return err
			}
			return event(c, m, metal.LevelInfo, "Rebooting", "into the deployed system")
		case metal.PurposeErase:
			if err := event(c, m, metal.LevelInfo, "Disks erased", ""); err != nil {
				return err
			}
			m.PowerState = metal.PowerOff // the agent powers off next
			return s.finishRelease(c, m)
		}
		return nil
	})
	if err == nil && commission {
		_, err = s.Commission(authz.AsSystem(ctx, "enlist"), b.SystemID, "")
	}
	return err
}

// finishCommissioning makes the machine Ready if every script passed.
func (s *Service) finishCommissioning(c *gate.Call, m *metal.Machine, b metal.Boot) error {
	set, ok, err := c.Tx().ScriptSetOfBoot(b.ID)
	if err != nil {
		return err
	}
	var failed []string
	for _, r := range set.Results {
		if r.Status != metal.ScriptPassed {
			failed = append(failed, r.Name+" ("+r.Status.String()+")")
		}
	}
	if !ok || len(failed) > 0 {
		return s.fail(c, m, "Commissioning scripts did not pass: "+strings.Join(failed, ", ")+".")
	}
	from := m.Status
	if err := m.Move(metal.Ready, c.Now(), time.Time{}); err != nil {
		return err
	}
	m.Owner, m.Commissioned, m.ErrorText = "", true, ""
	if err := s.endWork(c, m); err != nil {
		return err
	}
	if err := c.Tx().PutMachine(*m); err != nil {
		return err
	}
	return moved(c, m, from)
}

// PhoneHome takes the report of a deployed system: its credential works once, and ends the deployment. The
// principal is the rack. Kinds: Unauthenticated.
func (s *Service) PhoneHome(ctx context.Context, req wire.PhoneHomeRequest) error {
	refused := fault.New(fault.Unauthenticated, "This credential is not valid any more.")
	hash := secret.FromString(req.Credential).Hash()
	return s.gate.Do(ctx, authz.MachinePhoneHome, func(c *gate.Call) error {
		c.Note("ip", req.IP.String())
		b, ok, err := c.Tx().BootByPhone(hash)
		if err != nil {
			return err
		}
		if !ok || b.RackID != c.Principal().Name || !b.Ended.IsZero() {
			c.Note("event", "phone_home_refused")
			return refused
		}
		m, err := c.Tx().Machine(b.SystemID)
		if err != nil {
			return err
		}
		if err := c.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		if m.Status != metal.Deploying || b.State != metal.BootEnded {
			return refused
		}
		if err := m.Move(metal.Deployed, c.Now(), time.Time{}); err != nil {
			return err
		}
		if err := s.endWork(c, &m); err != nil {
			return err
		}
		if err := c.Tx().PutMachine(m); err != nil {
			return err
		}
		if err := s.setAddress(c, m, b.Boot, req.IP); err != nil {
			return err
		}
		return moved(c, &m, metal.Deploying)
	})
}

// setAddress notes the address that a deployed machine reported from, if it is on the network it booted from.
func (s *Service) setAddress(c *gate.Call, m metal.Machine, b metal.Boot, ip netip.Addr) error {
	_, sub, err := vlanOf(&c.Tx().View, b.RackID, ip)
	if err != nil {
		return nil //nolint:nilerr // reported through another network: nothing to note
	}
	nics, err := c.Tx().Interfaces(m.SystemID)
	if err != nil {
		return err
	}
	for i := range nics {
		if nics[i].Boot {
			nics[i].IP, nics[i].SubnetID = ip, sub.ID
			return c.Tx().PutInterface(&nics[i])
		}
	}
	return nil
}
