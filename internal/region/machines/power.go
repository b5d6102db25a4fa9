package machines

import (
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

// Budgets of power work.
const (
	powerCallTime  = 30 * time.Second // one try at a BMC, through the rack
	commandLife    = 3 * time.Minute  // until a command that does not succeed is given up
	maxPowerCalls  = 32               // calls under way at once
	maxPollsAround = 200              // machines asked in one round of polling
)

// tickets are the rack's right to fetch one machine's power parameters for one call.
type tickets struct {
	mu   sync.Mutex
	open map[int64]ticket // guarded by mu
}

type ticket struct {
	rackID, systemID string
	audited          bool                // false for the rounds of polling, which would flood the trail
	step             metal.RotationState // of a rotation: which other account comes along
}

func (t *tickets) issue(k ticket) (id int64, done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[int64]ticket{}
	}
	for id == 0 || t.open[id] != (ticket{}) {
		id = rand.Int64()
	}
	t.open[id] = k
	return id, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.open, id)
	}
}

// applyPower sets the power type and checks parameters, merging those sent with those kept.
func (s *Service) applyPower(c *gate.Call, m *metal.Machine, n NewMachine, bad fault.Fields) error {
	if n.PowerType == nil && n.PowerParameters == nil {
		return nil
	}
	merged := metal.PowerParameters{}
	if n.PowerType == nil || *n.PowerType == m.PowerType {
		maps.Copy(merged, m.PowerParameters)
	}
	if n.PowerType != nil && *n.PowerType != "" {
		m.PowerType = *n.PowerType
	}
	t, ok := metal.FindPowerType(m.PowerType)
	if !ok {
		bad.Add("power_type", "Select a valid choice. '%.32s' is not one of the available choices: ipmi, manual.", m.PowerType)
		return nil
	}
	maps.Copy(merged, n.PowerParameters)
	checked, err := t.Validate(merged, false)
	if f, ok := fault.As(err); ok {
		maps.Copy(bad, f.Fields)
		return nil
	}
	for _, name := range t.Secrets() {
		delete(checked, name)
	}
	m.PowerParameters, m.PowerError = checked, ""
	return nil
}

// putPower seals the secret parameters that were sent. Those not sent keep their values unless the type changed.
func (s *Service) putPower(c *gate.Call, m *metal.Machine, n NewMachine) error {
	if n.PowerType == nil && n.PowerParameters == nil {
		return nil
	}
	kept, err := s.powerSecrets(&c.Tx().View, m.SystemID)
	if err != nil {
		return err
	}
	if err := s.given(c, m, n.PowerParameters, kept); err != nil {
		return err
	}
	t, _ := metal.FindPowerType(m.PowerType)
	secrets := metal.PowerParameters{}
	for _, name := range t.Secrets() {
		if v, sent := n.PowerParameters[name]; sent {
			secrets[name] = v
		} else if v, ok := kept[name]; ok {
			secrets[name] = v
		}
	}
	if len(secrets) == 0 {
		return s.seal(c, m, powerRef(m.SystemID), secret.Value{})
	}
	b, err := json.Marshal(secrets)
	if err != nil {
		return err
	}
	return s.seal(c, m, powerRef(m.SystemID), secret.NewValue(b))
}

func (s *Service) powerSecrets(v *store.View, systemID string) (metal.PowerParameters, error) {
	sealed, err := s.unseal(v, powerRef(systemID))
	if err != nil || sealed.Empty() {
		return nil, err
	}
	var p metal.PowerParameters
	return p, json.Unmarshal(sealed.Reveal(), &p)
}

// PowerParameters returns a machine's power parameters without the secret ones, whose names come beside: a
// secret is written, used by the rack, and never read back. Kinds: NotFound, Forbidden.
func (s *Service) PowerParameters(ctx context.Context, systemID string) (plain metal.PowerParameters, set []string, err error) {
	err = s.gate.View(ctx, authz.MachineReadPower, func(v *gate.Viewing) error {
		m, err := v.MachineFor(v.Principal(), systemID)
		if err != nil {
			return err
		}
		if err := v.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		plain = m.PowerParameters
		secrets, err := s.powerSecrets(v.View, systemID)
		for name := range secrets {
			set = append(set, name)
		}
		return err
	})
	return plain, set, err
}

// enqueue puts a power command into the outbox, in the transaction that decided it.
func (s *Service) enqueue(c *gate.Call, m *metal.Machine, action metal.PowerAction, boot metal.BootDevice) error {
	if m.PowerType == "" {
		return fault.Field("power_type", "Set a power type first: power must be configured.")
	}
	c.Note("power", string(action))
	c.After(s.wakeCommands)
	return c.Tx().AddCommand(&store.CommandRow{Command: metal.Command{SystemID: m.SystemID, Action: action, Boot: boot, Created: c.Now(), Deadline: c.Now().Add(commandLife)}})
}

func (s *Service) wakeCommands() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Power turns a machine on or off. Turning on an Allocated machine deploys it, as in MAAS. Kinds: NotFound,
// Forbidden, Conflict, Invalid.
func (s *Service) Power(ctx context.Context, systemID string, action metal.PowerAction, userData, comment string) (metal.Machine, error) {
	if action == metal.ActionOn {
		if d, err := s.Get(ctx, systemID); err == nil && d.Status == metal.Allocated {
			return s.Deploy(ctx, systemID, DeployRequest{UserData: userData, Comment: comment})
		}
	}
	return s.change(ctx, authz.MachinePower, systemID, func(c *gate.Call, m *metal.Machine) error {
		if action == metal.ActionOn && m.Owner == "" && m.Status != metal.Broken {
			return fault.New(fault.Conflict, "Machine %s has no owner; allocate it first.", m.Hostname)
		}
		if m.PowerType == "manual" {
			return event(c, m, metal.LevelInfo, "Manual power", "Power the machine "+string(action)+" by hand.")
		}
		if err := request(c, m, "User powering "+string(action), comment); err != nil {
			return err
		}
		return s.enqueue(c, m, action, metal.BootKeep)
	})
}

// QueryPower asks a machine's BMC now. Kinds: NotFound, Forbidden, Unavailable.
func (s *Service) QueryPower(ctx context.Context, systemID string) (metal.PowerState, error) {
	d, err := s.Get(ctx, systemID)
	if err != nil {
		return "", err
	}
	if d.PowerType == "" || d.PowerType == "manual" {
		return metal.PowerUnknown, nil
	}
	return s.call(ctx, d.Machine, metal.ActionQuery, metal.BootKeep, true, "")
}

// rackFor chooses the rack that talks to a machine's BMC: the one that serves the machine, else one with an
// address in the BMC's network, else any that is connected.
func (s *Service) rackFor(ctx context.Context, m metal.Machine) (string, error) {
	up := s.racks.Connected()
	if len(up) == 0 {
		return "", fault.New(fault.Unavailable, "No rack controller is connected.")
	}
	best := up[0]
	address, _ := netip.ParseAddr(m.PowerParameters["power_address"])
	err := s.gate.View(authz.AsSystem(ctx, "power"), authz.ControllerView, func(v *gate.Viewing) error {
		for _, id := range up {
			if id == m.RackID {
				best = id
				return nil
			}
			ctl, err := v.Controller(id)
			if err != nil {
				return err
			}
			for _, n := range ctl.Interfaces {
				for _, p := range n.Addresses {
					if address.IsValid() && p.Contains(address) {
						best = id
					}
				}
			}
		}
		return nil
	})
	return best, err
}

// call carries one power action through a rack and records what the BMC said. Kinds: Unavailable and what the
// rack reports.
func (s *Service) call(ctx context.Context, m metal.Machine, action metal.PowerAction, boot metal.BootDevice, audited bool, rackID string) (metal.PowerState, error) {
	if rackID == "" {
		var err error
		if rackID, err = s.rackFor(ctx, m); err != nil {
			return "", err
		}
	}
	caller := ctx
	ctx, cancel := context.WithTimeout(ctx, powerCallTime)
	defer cancel()
	id, done := s.tickets.issue(ticket{rackID: rackID, systemID: m.SystemID, audited: audited})
	defer done()
	if action != metal.ActionQuery {
		if err := s.snaps.Sync(ctx, rackID); err != nil {
			return "", err
		}
	}
	var resp wire.PowerResponse
	err := s.racks.Call(ctx, rackID, wire.Power, wire.PowerRequest{CommandID: id, SystemID: m.SystemID, PowerType: m.PowerType, Action: action, Boot: boot,
		UEFI: m.FirmwareUEFI, Timeout: powerCallTime - 2*time.Second}, &resp)
	if err == nil && resp.Error != "" {
		err = fault.New(fault.Unavailable, "%s", metal.Printable(resp.Error, 512))
	}
	state, problem := resp.State, ""
	if err != nil {
		state, problem = metal.PowerError, fault.Message(err)
	}
	// In the caller's time: that of a call that ran out is over, and this is what there is to record.
	seen := s.gate.Observe(authz.AsSystem(caller, "power"), gate.SeenPower, func(tx *store.Tx, now time.Time) error {
		return tx.SetPower(m.SystemID, state, problem, now)
	})
	if err == nil {
		err = seen
	}
	return state, err
}

// PowerKey reveals a machine's power parameters to the rack that carries out a call for it, and the other account of a rotation.
// Kinds: Forbidden.
func (s *Service) PowerKey(ctx context.Context, rackID string, req wire.PowerKeyRequest) (resp wire.PowerKeyResponse, err error) {
	s.tickets.mu.Lock()
	k, ok := s.tickets.open[req.CommandID]
	s.tickets.mu.Unlock()
	if !ok || k.rackID != rackID || k.systemID != req.SystemID {
		s.gate.Security(ctx, "power_key_refused", map[string]string{"machine": metal.Printable(req.SystemID, 32)})
		return resp, fault.New(fault.Forbidden, "No power command for this machine is under way on this rack.")
	}
	read := func(v *store.View) (authz.Target, error) {
		m, err := v.Machine(req.SystemID)
		if err != nil {
			return authz.Target{}, err
		}
		secrets, err := s.powerSecrets(v, req.SystemID)
		resp.Parameters = metal.PowerParameters{}
		maps.Copy(resp.Parameters, m.PowerParameters)
		maps.Copy(resp.Parameters, secrets)
		if err == nil && k.step != metal.RotationNone {
			resp.Other, err = s.other(v, req.SystemID, k.step)
		}
		t := store.MachineTarget(m)
		t.Rack = rackID // by the ticket: a machine that never booted belongs to no rack yet
		return t, err
	}
	if !k.audited {
		return resp, s.gate.View(ctx, authz.MachinePowerKey, func(v *gate.Viewing) error {
			t, err := read(v.View)
			if err != nil {
				return err
			}
			return v.Require(t)
		})
	}
	err = s.gate.Do(ctx, authz.MachinePowerKey, func(c *gate.Call) error {
		t, err := read(&c.Tx().View)
		if err != nil {
			return err
		}
		return c.Require(t)
	})
	return resp, err
}

// enter marks a machine as having a power call under way; false when it has one already.
func (s *Service) enter(systemID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[systemID] {
		return false
	}
	s.busy[systemID] = true
	return true
}

func (s *Service) leave(systemID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, systemID)
}

// runCommands takes due commands out of the outbox and carries them out.
func (s *Service) runCommands(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "power")
	slots := make(chan struct{}, maxPowerCalls)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-tick.C:
		}
		var due []store.CommandRow
		err := s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) (err error) {
			due, err = v.Commands(v.Now(), maxPowerCalls)
			return err
		})
		if err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "cannot read power commands", "error", err)
		}
		for _, cmd := range due {
			if !s.enter(cmd.SystemID) {
				continue
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				s.leave(cmd.SystemID)
				return
			}
			wg.Go(func() {
				defer func() { s.leave(cmd.SystemID); <-slots; s.wakeIfMore() }()
				if err := s.execute(ctx, cmd); err != nil && ctx.Err() == nil {
					s.log.ErrorContext(ctx, "cannot carry out power command", "machine", cmd.SystemID, "error", err)
				}
			})
		}
	}
}

// wakeIfMore looks again at once: a command may have been replaced while its predecessor ran.
func (s *Service) wakeIfMore() { s.wakeCommands() }

// execute carries out one command and records its end.
func (s *Service) execute(ctx context.Context, cmd store.CommandRow) error {
	var m metal.Machine
	over := false
	err := s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) (err error) {
		if m, err = v.Machine(cmd.SystemID); err != nil || cmd.Boot != metal.BootNetwork {
			return err
		}
		b, ok, err := v.OpenBoot(cmd.SystemID)
		over = !ok || b.State == metal.BootEnded
		return err
	})
	if err != nil {
		return err
	}
	if over { // the boot that the command was for has failed, was aborted or is done: nobody expects another one
		_, err := s.change(ctx, authz.MachinePowerResult, cmd.SystemID, func(c *gate.Call, _ *metal.Machine) error {
			c.Note("power", "dropped "+string(cmd.Action))
			_, err := c.Tx().DeleteCommand(cmd)
			return err
		})
		return err
	}
	state, callErr := s.call(ctx, m, cmd.Action, cmd.Boot, true, "")
	if ctx.Err() != nil {
		return nil // stopping: the command stays in the outbox and is carried out again
	}
	_, err = s.change(ctx, authz.MachinePowerResult, cmd.SystemID, func(c *gate.Call, m *metal.Machine) error {
		c.Note("power", string(cmd.Action))
		if callErr != nil && c.Now().Before(cmd.Deadline) {
			c.Note("error", fault.Message(callErr))
			next := cmd // this may run again
			next.Attempts++
			next.NotUntil = c.Now().Add(min(time.Duration(next.Attempts)*2*time.Second, 30*time.Second))
			return c.Tx().PutCommand(next)
		}
		if current, err := c.Tx().DeleteCommand(cmd); err != nil || !current {
			return err
		}
		if callErr != nil {
			reason := "Failed to power " + string(cmd.Action) + ": " + fault.Message(callErr)
			if err := event(c, m, metal.LevelError, "Failed to power "+string(cmd.Action)+" node", fault.Message(callErr)); err != nil {
				return err
			}
			return s.fail(c, m, reason)
		}
		m.PowerState = state
		if err := event(c, m, metal.LevelDebug, "Node powered "+map[metal.PowerAction]string{metal.ActionOn: "on", metal.ActionOff: "off", metal.ActionCycle: "on"}[cmd.Action], ""); err != nil {
			return err
		}
		if m.Status != metal.Releasing || cmd.Action != metal.ActionOff {
			return nil
		}
		// Somebody's power off during an erasure does not end it: the disks are not erased yet.
		if _, erasing, err := c.Tx().OpenBoot(m.SystemID); err != nil || erasing {
			return err
		}
		return s.finishRelease(c, m)
	})
	return err
}

// runPolls asks BMCs for the power state, each at most once an interval, within a budget.
func (s *Service) runPolls(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "power-poll")
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	slots := make(chan struct{}, maxPowerCalls/2)
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if len(s.racks.Connected()) == 0 {
			continue
		}
		var due []metal.Machine
		err := s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
			seconds, err := v.SettingInt("metalward_power_poll_interval")
			if err != nil {
				return err
			}
			due, err = v.DueForPowerQuery(v.Now().Add(-time.Duration(seconds)*time.Second), maxPollsAround)
			return err
		})
		if err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "cannot find machines to poll", "error", err)
		}
		for _, m := range due {
			if !s.enter(m.SystemID) {
				continue
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				s.leave(m.SystemID)
				return
			}
			wg.Go(func() {
				defer func() { s.leave(m.SystemID); <-slots }()
				_, _ = s.call(ctx, m, metal.ActionQuery, metal.BootKeep, false, "") // recorded on the machine
			})
		}
	}
}
