package machines

import (
	"context"
	"crypto/x509"
	"net/netip"
	"slices"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

// Limits of boots.
const (
	tokenLife      = 10 * time.Minute // from the boot decision to the agent's claim
	maxOldTokens   = 32               // firmware that asks again and again; more asks and the boot is refused
	maxEnlistments = 256
)

// vlanOf finds the VLAN that an address is on, of those the rack serves. Kinds: Forbidden.
func vlanOf(v *store.View, rackID string, ip netip.Addr) (metal.VLAN, metal.Subnet, error) {
	subnets, err := v.Subnets()
	if err != nil {
		return metal.VLAN{}, metal.Subnet{}, err
	}
	for _, sub := range subnets {
		if !sub.CIDR.Contains(ip) {
			continue
		}
		vlan, err := v.VLAN(sub.VLANID)
		if err != nil {
			return vlan, sub, err
		}
		if vlan.DHCPOn && vlan.PrimaryRack == rackID {
			return vlan, sub, nil
		}
	}
	return metal.VLAN{}, metal.Subnet{}, fault.New(fault.Forbidden, "This rack does not serve the network of %s.", ip)
}

// BootDecision says what a machine that network-boots should do. A token is minted only while the region
// expects this boot: it had the machine power-cycled, or the machine is unknown. The principal is the rack.
func (s *Service) BootDecision(ctx context.Context, req wire.BootRequest) (d metal.BootDecision, err error) {
	rackID := authz.From(ctx).Name
	mac, err := metal.ParseMAC(string(req.MAC))
	if err != nil {
		return d, err
	}
	var m metal.Machine
	var open store.BootRow
	var isOpen bool
	var args string
	err = s.gate.View(authz.AsSystem(ctx, "boot"), authz.MachineView, func(v *gate.Viewing) error {
		if _, _, err := vlanOf(v.View, rackID, req.IP); err != nil {
			return err
		}
		opts, err := v.SettingValue("kernel_opts")
		if err != nil {
			return err
		}
		args, _ = opts.(string)
		m, err = v.MachineByMAC(mac)
		if fault.Is(err, fault.NotFound) {
			open, isOpen, err = v.OpenBootByMAC(mac)
			return err
		}
		if err != nil {
			return err
		}
		open, isOpen, err = v.OpenBoot(m.SystemID)
		return err
	})
	if err != nil {
		return d, err
	}
	switch {
	case m.SystemID == "":
		return s.offer(ctx, rackID, mac, req, "", args)
	case isOpen && (open.State == metal.BootExpected || open.State == metal.BootOffered):
		return s.offer(ctx, rackID, mac, req, m.SystemID, args)
	case isOpen && open.State == metal.BootClaimed:
		return s.restarted(ctx, rackID, m, req)
	case m.Status == metal.New:
		return waitsForAcceptance(m), nil
	default:
		return metal.BootDecision{Kind: metal.BootLocal}, nil
	}
}

func waitsForAcceptance(m metal.Machine) metal.BootDecision {
	return metal.BootDecision{Kind: metal.BootRefuse, Reason: m.Hostname + " is New: it waits to be accepted (commissioned)."}
}

// offer mints a boot token, in place of an earlier one that was not spent.
func (s *Service) offer(ctx context.Context, rackID string, mac metal.MAC, req wire.BootRequest, systemID, args string) (d metal.BootDecision, err error) {
	token := secret.Random(32)
	err = s.gate.Do(ctx, authz.MachineBoot, func(c *gate.Call) error {
		vlan, sub, err := vlanOf(&c.Tx().View, rackID, req.IP)
		if err != nil {
			return err
		}
		var b store.BootRow
		var ok bool
		until := c.Now().Add(tokenLife)
		if systemID == "" {
			if err := c.Require(authz.Target{Noun: authz.NounMachine, Pool: metal.DefaultPoolID, Rack: rackID}); err != nil {
				return err
			}
			if b, ok, err = c.Tx().OpenBootByMAC(mac); err != nil {
				return err
			}
			if ok && b.State != metal.BootOffered {
				ok = false
				b.Ended = c.Now() // an agent that restarted: begin anew
				if err := c.Tx().PutBoot(b); err != nil {
					return err
				}
			}
			if !ok {
				if err := s.roomForCandidate(c); err != nil {
					return err
				}
				b = store.BootRow{Boot: metal.Boot{ID: metal.NewSystemID() + metal.NewSystemID(), Purpose: metal.PurposeEnlist, Created: c.Now()}}
			}
		} else {
			m, err := c.Tx().Machine(systemID)
			if err != nil {
				return err
			}
			if m.Deadline.Before(until) && !m.Deadline.IsZero() {
				until = m.Deadline
			}
			// The machine belongs to the rack on whose VLAN it boots.
			m.RackID, m.FirmwareUEFI = rackID, req.UEFI
			if err := c.Require(store.MachineTarget(m)); err != nil {
				return err
			}
			if b, ok, err = c.Tx().OpenBoot(systemID); err != nil {
				return err
			}
			if !ok || b.State != metal.BootExpected && b.State != metal.BootOffered {
				return fault.New(fault.Conflict, "This boot is not expected.")
			}
			if err := c.Tx().PutMachine(m); err != nil {
				return err
			}
			if err := s.bootInterface(c, m, mac, vlan.ID, sub.ID); err != nil {
				return err
			}
			if err := event(c, &m, metal.LevelInfo, "Performing PXE boot", string(mac)+" at "+req.IP.String()); err != nil {
				return err
			}
		}
		if b.TokenHash != "" {
			if len(b.OldHashes) >= maxOldTokens {
				return fault.New(fault.Exhausted, "The machine asked for its boot files too often.")
			}
			b.OldHashes = append(b.OldHashes, b.TokenHash)
		}
		b.State, b.MAC, b.IP, b.RackID, b.TokenHash, b.Expires = metal.BootOffered, mac, req.IP, rackID, token.Hash(), until
		c.Note("purpose", string(b.Purpose))
		c.Note("mac", string(mac))
		d = metal.BootDecision{Kind: metal.BootEphemeral, Token: token.RevealString(), BootID: b.ID, Purpose: b.Purpose, KernelArgs: args}
		return c.Tx().PutBoot(b)
	})
	return d, err
}

// roomForCandidate bounds what strangers on a boot VLAN can fill the store with.
func (s *Service) roomForCandidate(c *gate.Call) error {
	limit, err := c.Tx().SettingInt("metalward_max_candidates")
	if err != nil {
		return err
	}
	waiting, err := c.Tx().CountMachines(metal.New)
	if err != nil {
		return err
	}
	booting, err := c.Tx().CountEnlistments(c.Now())
	if err != nil {
		return err
	}
	if waiting >= limit || booting >= maxEnlistments {
		return fault.New(fault.Exhausted, "Too many machines wait to be accepted (%d New, %d booting). Accept or delete some.", waiting, booting)
	}
	return nil
}

// bootInterface notes on which VLAN the booting interface is.
func (s *Service) bootInterface(c *gate.Call, m metal.Machine, mac metal.MAC, vlanID, subnetID int64) error {
	nics, err := c.Tx().Interfaces(m.SystemID)
	if err != nil {
		return err
	}
	for i := range nics {
		n := &nics[i]
		boots := n.MAC == mac
		if n.Boot == boots && (!boots || n.VLANID == vlanID && n.SubnetID == subnetID) {
			continue
		}
		n.Boot = boots
		if boots {
			n.VLANID, n.SubnetID = vlanID, subnetID
		}
		if err := c.Tx().PutInterface(n); err != nil {
			return err
		}
	}
	return nil
}

// restarted handles a machine that asks for boot files although its agent is at work: it lost power, or
// somebody uses its address. Nothing is handed out, and what was under way fails. An enlistment that has reported
// has nothing left to fail: its boot ends.
func (s *Service) restarted(ctx context.Context, rackID string, m metal.Machine, req wire.BootRequest) (metal.BootDecision, error) {
	const reason = "The machine asked to boot again before its agent was done: it restarted or lost power, or another client uses its MAC address."
	_, err := s.change(ctx, authz.MachineBoot, m.SystemID, func(c *gate.Call, m *metal.Machine) error {
		c.Note("event", "boot_while_at_work")
		c.Note("mac", string(req.MAC))
		if m.Status == metal.New {
			return s.endWork(c, m)
		}
		return s.fail(c, m, reason)
	})
	if err == nil && m.Status == metal.New {
		return waitsForAcceptance(m), nil
	}
	return metal.BootDecision{Kind: metal.BootRefuse, Reason: reason}, err
}

// Claim spends a boot token for the certificate of that boot. The token is bound to MAC, lease, rack and
// boot. A second presentation, or that of a token replaced before, shows that two clients have it: the
// certificate is revoked and the boot fails closed. One with the key that the token was spent for is no second
// client, since nobody else can sign its request: the answer was lost on its way, and is given again. The
// principal is the rack. Kinds: Unauthenticated.
func (s *Service) Claim(ctx context.Context, req wire.ClaimRequest) (resp wire.ClaimResponse, err error) {
	rackID := authz.From(ctx).Name
	refused := fault.New(fault.Unauthenticated, "This boot token is not valid.")
	hash := secret.FromString(req.Token).Hash()
	public, err := pki.PublicKey(req.CSR)
	if err != nil {
		return resp, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return resp, err
	}
	key := pki.Fingerprint(der)
	var contested bool
	err = s.gate.Do(ctx, authz.MachineClaim, func(c *gate.Call) error {
		resp, contested = wire.ClaimResponse{}, false
		c.Note("mac", metal.Printable(string(req.MAC), 32))
		c.Note("ip", req.IP.String())
		b, ok, err := c.Tx().BootByToken(hash)
		if err != nil {
			return err
		}
		if !ok || b.RackID != rackID {
			c.Note("event", "boot_token_unknown")
			return refused
		}
		target := authz.Target{Noun: authz.NounMachine, Pool: metal.DefaultPoolID, Rack: rackID}
		var m *metal.Machine
		if b.SystemID != "" {
			row, err := c.Tx().Machine(b.SystemID)
			if err != nil {
				return err
			}
			m, target = &row, store.MachineTarget(row)
		}
		if err := c.Require(target); err != nil {
			return err
		}
		again := b.State == metal.BootClaimed && b.ClaimKey == key
		switch {
		case b.State != metal.BootOffered && !again || slices.Contains(b.OldHashes, hash):
			contested = true
			return s.contest(c, b, m)
		case req.MAC != b.MAC || req.LeaseMAC != b.MAC || req.IP != b.IP:
			c.Note("event", "boot_token_elsewhere")
			return refused
		case c.Now().After(b.Expires):
			c.Note("event", "boot_token_expired")
			return refused
		}
		chain, err := s.site.Machines.Client(public, s.site.ID, "/boot/"+b.ID, pki.BootLife, c.Now())
		if err != nil {
			return err
		}
		certs, err := pki.ParseCerts(chain)
		if err != nil {
			return err
		}
		b.State, b.ClaimKey, b.CertHash = metal.BootClaimed, key, pki.Fingerprint(certs[0].Raw)
		resp = wire.ClaimResponse{BootID: b.ID, Purpose: b.Purpose, Certificate: chain, Now: c.Now()}
		if m != nil && !again {
			if err := event(c, m, metal.LevelInfo, "Loading ephemeral", string(b.Purpose)); err != nil {
				return err
			}
		}
		return c.Tx().PutBoot(b)
	})
	if err == nil && contested {
		return resp, fault.New(fault.Forbidden, "This boot token was used already; the boot is ended.")
	}
	return resp, err
}

// contest ends a boot that two clients claim. What its certificate was for fails with the reason.
func (s *Service) contest(c *gate.Call, b store.BootRow, m *metal.Machine) error {
	const reason = "Two clients presented this machine's boot token: another machine on the boot VLAN may be impersonating it. Nothing secret was handed out after that."
	c.Note("event", "boot_contested")
	if b.State == metal.BootContested || b.State == metal.BootEnded {
		return nil
	}
	b.State, b.CertHash, b.PhoneHash, b.Ended = metal.BootContested, "", "", c.Now()
	if err := c.Tx().PutBoot(b); err != nil || m == nil {
		return err
	}
	if err := event(c, m, metal.LevelError, "Boot contested", reason); err != nil {
		return err
	}
	return s.fail(c, m, reason)
}
