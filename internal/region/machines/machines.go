// Package machines runs the life cycle of machines: enlist, commission, allocate, deploy, release, power.
//
// One file per verb. The rules are in metal; here they meet the store, the racks and the clock. A machine that
// is worked on always has a deadline: whatever goes wrong, it ends in a failure status with a reason.
package machines

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/site"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

// Racks reaches racks.
type Racks interface {
	Connected() []string
	Call(ctx context.Context, rackID string, m wire.Message, req, resp any) error
	MetadataCA(ctx context.Context, rackID string) ([]byte, error)
}

// Snapshots brings a rack's snapshot up to date.
type Snapshots interface {
	Sync(ctx context.Context, rackID string) error
}

// Service runs the life cycle. Safe for concurrent use.
type Service struct {
	gate  *gate.Gate
	site  *site.Site
	keys  *secret.Safe
	racks Racks
	snaps Snapshots
	now   func() time.Time
	log   *slog.Logger

	metadataPort uint16
	wake         chan struct{} // a power command may be due
	wakeRotate   chan struct{} // a step of a rotation may be
	tickets      tickets
	mu           sync.Mutex
	busy         map[string]bool // machines with a power call under way, guarded by mu
	stages       map[string]Stage
}

// Config is what the service is made of.
type Config struct {
	Gate      *gate.Gate
	Site      *site.Site
	Keys      *secret.Safe
	Racks     Racks
	Snapshots Snapshots
	Now       func() time.Time
	Log       *slog.Logger
	// MetadataPort is the port of the racks' HTTPS, which deployed systems report to.
	MetadataPort uint16
}

// New makes the service.
func New(c Config) *Service {
	return &Service{gate: c.Gate, site: c.Site, keys: c.Keys, racks: c.Racks, snaps: c.Snapshots, now: c.Now, log: c.Log, metadataPort: c.MetadataPort,
		wake: make(chan struct{}, 1), wakeRotate: make(chan struct{}, 1), busy: map[string]bool{}, stages: map[string]Stage{}}
}

// Stage is what an agent said last of its work.
type Stage struct {
	Name    string
	Percent int // -1 when unknown
}

// Stage returns what a machine's agent said last; false when it is not at work.
func (s *Service) Stage(systemID string) (Stage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.stages[systemID]
	return st, ok
}

// change runs a mutating call on one machine: it is loaded, required and handed over.
func (s *Service) change(ctx context.Context, action authz.Action, systemID string, fn func(*gate.Call, *metal.Machine) error) (metal.Machine, error) {
	var m metal.Machine
	err := s.gate.Do(ctx, action, func(c *gate.Call) (err error) {
		// Who may not do this to any machine is told so, whether this one exists or not; to who may, an absent
		// and a hidden one are the same.
		if !authz.May(c.Principal(), action) {
			return authz.Deny.Err(authz.Target{})
		}
		if m, err = c.Tx().MachineFor(c.Principal(), systemID); err != nil {
			return err
		}
		if err := c.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		if m.Locked && action != authz.MachineLock && c.Principal().Kind == authz.User {
			return fault.New(fault.Forbidden, "Machine %s is locked; unlock it first.", m.Hostname)
		}
		return fn(c, &m)
	})
	return m, err
}

// event records what happened to a machine inside a call.
func event(c *gate.Call, m *metal.Machine, level metal.Level, kind, description string) error {
	e := metal.Event{SystemID: m.SystemID, Type: kind, Level: level, Description: description, Created: c.Now()}
	if c.Principal().Kind == authz.User {
		e.Username = c.Principal().Name
	}
	return c.Tx().AddEvent(e)
}

// moved records a change of status as MAAS does.
func moved(c *gate.Call, m *metal.Machine, from metal.Status) error {
	if from == m.Status {
		return nil
	}
	text := "From '" + from.String() + "' to '" + m.Status.String() + "'"
	if m.Status == metal.Allocated {
		text += " (to " + m.Owner + ")"
	}
	if err := event(c, m, metal.LevelDebug, "Node changed status", text); err != nil {
		return err
	}
	c.Note("status", m.Status.String())
	level, detail := metal.LevelInfo, ""
	if failed := m.Status.String(); strings.Contains(strings.ToLower(failed), "failed") {
		level, detail = metal.LevelError, m.ErrorText
	}
	return event(c, m, level, m.Status.String(), detail)
}

// request records who asked for what, as MAAS does.
func request(c *gate.Call, m *metal.Machine, what, comment string) error {
	text := "(" + c.Principal().Name + ")"
	if comment != "" {
		text += " - " + metal.Printable(comment, 255)
	}
	return event(c, m, metal.LevelDebug, what, text)
}

// fail ends a machine's working status with a reason, and everything that was under way with it.
func (s *Service) fail(c *gate.Call, m *metal.Machine, reason string) error {
	from := m.Status
	did, err := m.Fail(metal.Printable(reason, 512), c.Now())
	if err != nil || !did {
		return err
	}
	if from == metal.Commissioning {
		m.Owner = ""
	}
	c.Note("reason", m.ErrorText)
	if err := s.endWork(c, m); err != nil {
		return err
	}
	if err := c.Tx().PutMachine(*m); err != nil {
		return err
	}
	return moved(c, m, from)
}

// endWork ends a machine's boots and scripts and drops the user data of a deployment that is over.
func (s *Service) endWork(c *gate.Call, m *metal.Machine) error {
	if b, ok, err := c.Tx().OpenBoot(m.SystemID); err != nil {
		return err
	} else if ok {
		if set, ok, err := c.Tx().ScriptSetOfBoot(b.ID); err != nil {
			return err
		} else if ok {
			if err := c.Tx().EndScriptSet(set, c.Now()); err != nil {
				return err
			}
		}
	}
	if err := c.Tx().EndBoots(m.SystemID, c.Now()); err != nil {
		return err
	}
	c.After(func() {
		s.mu.Lock()
		delete(s.stages, m.SystemID)
		s.mu.Unlock()
	})
	return c.Tx().DeleteSecret(store.MachineTarget(*m), userDataRef(m.SystemID))
}

func userDataRef(systemID string) secret.Ref { return secret.Ref("machine/" + systemID + "/user_data") }
func powerRef(systemID string) secret.Ref    { return secret.Ref("machine/" + systemID + "/power") }

// deadline is when a working status that starts now has to be over.
func deadline(c *gate.Call) (time.Time, error) {
	minutes, err := c.Tx().SettingInt("node_timeout")
	return c.Now().Add(time.Duration(minutes) * time.Minute), err
}

// expectBoot ends what went before, expects the machine to boot for a purpose, and has it power-cycled if we
// can: the only moment at which a boot token may be minted begins here.
func (s *Service) expectBoot(c *gate.Call, m *metal.Machine, purpose metal.Purpose, task []byte) (store.BootRow, error) {
	b := store.BootRow{Boot: metal.Boot{ID: metal.NewSystemID() + metal.NewSystemID(), SystemID: m.SystemID, Purpose: purpose, State: metal.BootExpected,
		Created: c.Now(), Expires: m.Deadline}, Task: task}
	if err := c.Tx().EndBoots(m.SystemID, c.Now()); err != nil {
		return b, err
	}
	if err := c.Tx().PutBoot(b); err != nil {
		return b, err
	}
	if m.PowerType == "manual" {
		return b, event(c, m, metal.LevelInfo, "Manual power", "Power the machine on now, with network boot first.")
	}
	return b, s.enqueue(c, m, metal.ActionCycle, metal.BootNetwork)
}

// List lists the machines that the caller may see among those that the query selects.
func (s *Service) List(ctx context.Context, q store.MachineQuery) (list []metal.Machine, total int, err error) {
	err = s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
		q.Filter = authz.Machines(v.Principal(), authz.MachineView)
		if list, err = v.Machines(q); err != nil {
			return err
		}
		total = len(list)
		if q.Limit > 0 {
			total, err = v.CountMatching(q)
		}
		return err
	})
	return list, total, err
}

// MaxBulk bounds the machines that one call names.
const MaxBulk = 5000

// MayAll refuses a call on several machines, before it changes any, unless all of them exist for the caller and
// he may take the action on each. Kinds: Invalid naming those that do not exist for him, Forbidden.
func (s *Service) MayAll(ctx context.Context, action authz.Action, ids []string) error {
	if len(ids) == 0 || len(ids) > MaxBulk { // none would select all
		return fault.Field("machines", "Name 1 to %d machines.", MaxBulk)
	}
	return s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
		found := map[string]metal.Machine{}
		list, err := v.Machines(store.MachineQuery{Filter: authz.Machines(v.Principal(), authz.MachineView), SystemIDs: ids})
		if err != nil {
			return err
		}
		for _, m := range list {
			found[m.SystemID] = m
		}
		var unknown []string
		for _, id := range ids {
			if _, ok := found[id]; !ok {
				unknown = append(unknown, metal.Printable(id, 64))
			}
		}
		if len(unknown) > 0 {
			return fault.New(fault.Invalid, "Unknown machine(s): %s.", strings.Join(unknown, ", "))
		}
		for _, m := range list {
			t := store.MachineTarget(m)
			if err := authz.Decide(v.Principal(), action, t).Err(t); err != nil {
				return err
			}
		}
		return nil
	})
}

// Details is a machine with all that belongs to it.
type Details struct {
	metal.Machine
	Interfaces []metal.Interface
	Disks      []metal.BlockDevice
	Sets       []metal.ScriptSet // newest of each type, without output
	Events     []metal.Event     // newest first
}

// Get returns a machine with what belongs to it. Kinds: NotFound, also for one the caller may not see.
func (s *Service) Get(ctx context.Context, systemID string) (d Details, err error) {
	err = s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
		if d.Machine, err = v.MachineFor(v.Principal(), systemID); err != nil {
			return err
		}
		if err := v.Require(store.MachineTarget(d.Machine)); err != nil {
			return err
		}
		if d.Interfaces, err = v.Interfaces(systemID); err != nil {
			return err
		}
		if d.Disks, err = v.BlockDevices(systemID); err != nil {
			return err
		}
		if d.Sets, err = v.LatestScriptSets(systemID); err != nil {
			return err
		}
		q := store.EventQuery{Machines: store.MachineQuery{Filter: authz.AllMachines, SystemIDs: []string{systemID}}, Level: metal.LevelDebug, Limit: 50}
		d.Events, err = v.Events(q)
		return err
	})
	return d, err
}

// ScriptSets returns a machine's script sets, newest first; with output if asked. Kinds: NotFound.
func (s *Service) ScriptSets(ctx context.Context, systemID string, output bool) (sets []metal.ScriptSet, err error) {
	err = s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
		m, err := v.MachineFor(v.Principal(), systemID)
		if err != nil {
			return err
		}
		if err := v.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		if sets, err = v.ScriptSets(systemID); err != nil || !output {
			return err
		}
		for i := range sets {
			for j := range sets[i].Results {
				if err := v.LoadOutput(&sets[i].Results[j]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return sets, err
}

// Events lists events of the machines that the caller may see.
func (s *Service) Events(ctx context.Context, q store.EventQuery) (list []metal.Event, names map[string]string, err error) {
	err = s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
		q.Machines.Filter = authz.Machines(v.Principal(), authz.MachineView)
		if list, err = v.Events(q); err != nil {
			return err
		}
		names = map[string]string{}
		var ids []string
		for _, e := range list {
			if _, ok := names[e.SystemID]; !ok {
				names[e.SystemID] = ""
				ids = append(ids, e.SystemID)
			}
		}
		if len(ids) == 0 {
			return nil
		}
		machines, err := v.Machines(store.MachineQuery{Filter: q.Machines.Filter, SystemIDs: ids})
		for _, m := range machines {
			names[m.SystemID] = m.Hostname
		}
		return err
	})
	return list, names, err
}

// NewMachine describes a machine to create or the fields of one to update; nil fields stay as they are.
type NewMachine struct {
	Hostname, Description, Architecture *string
	MACs                                []string
	PowerType                           *string
	PowerParameters                     metal.PowerParameters // sent ones; others keep their values
	Pool, Zone                          *string
	CPUCount                            *int
	MemoryMiB                           *int64
	// Commission starts commissioning at once, as MAAS does when an administrator creates a machine.
	Commission bool
}

// Create adds a machine. Kinds: Invalid, Forbidden.
func (s *Service) Create(ctx context.Context, n NewMachine) (metal.Machine, error) {
	var m metal.Machine
	id := metal.NewSystemID() // once: its secrets are named after it
	err := s.gate.Do(ctx, authz.MachineCreate, func(c *gate.Call) error {
		m = metal.Machine{SystemID: id, Status: metal.New, PoolID: metal.DefaultPoolID, ZoneID: metal.DefaultZoneID, PowerState: metal.PowerUnknown,
			Architecture: "amd64/generic", Created: c.Now(), Updated: c.Now()}
		if !authz.May(c.Principal(), authz.MachineCreate) {
			return authz.Deny.Err(authz.Target{})
		}
		bad := fault.Fields{}
		if n.Architecture == nil && ptr(n.PowerType) != "ipmi" {
			bad.Add("architecture", "This field is required.")
		}
		macs := parseMACs(n.MACs, bad)
		if len(macs) == 0 && ptr(n.PowerType) != "ipmi" && len(bad["mac_addresses"]) == 0 {
			bad.Add("mac_addresses", "This field is required.")
		}
		if err := s.apply(c, &m, n, bad); err != nil {
			return err
		}
		for _, mac := range macs {
			if _, err := c.Tx().InterfaceByMAC(mac); err == nil {
				bad.Add("mac_addresses", "MAC address %s is already in use by another machine.", mac)
			}
		}
		if err := bad.Err(); err != nil {
			return err
		}
		if m.Hostname == "" {
			m.Hostname = petName(m.SystemID)
		}
		if err := c.Require(authz.Target{Noun: authz.NounMachine, ID: m.SystemID, Pool: m.PoolID}); err != nil {
			return err
		}
		if err := c.Tx().AddMachine(&m); err != nil {
			return err
		}
		if err := s.putPower(c, &m, n); err != nil {
			return err
		}
		for i, mac := range macs {
			nic := metal.Interface{SystemID: m.SystemID, Name: "eth" + itoa(i), MAC: mac, Boot: i == 0, Enabled: true, MTU: 1500}
			if err := c.Tx().PutInterface(&nic); err != nil {
				return err
			}
		}
		c.Note("hostname", m.Hostname)
		return event(c, &m, metal.LevelInfo, "New", "")
	})
	if err != nil || !n.Commission {
		return m, err
	}
	return s.Commission(ctx, m.SystemID, "")
}

func ptr(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func itoa(n int) string { return authz.ID(int64(n)) }

func parseMACs(texts []string, bad fault.Fields) (macs []metal.MAC) {
	for _, text := range texts {
		for _, one := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
			mac, err := metal.ParseMAC(one)
			if err != nil {
				bad.AddErr("mac_addresses", err)
			} else if slices.Contains(macs, mac) {
				bad.Add("mac_addresses", "%s is named twice.", mac)
			} else {
				macs = append(macs, mac)
			}
		}
	}
	return macs
}

// petName is a host name for a machine that was given none.
func petName(systemID string) string { return "machine-" + systemID[:6] }

// apply sets the fields that were sent, collecting complaints in bad.
func (s *Service) apply(c *gate.Call, m *metal.Machine, n NewMachine, bad fault.Fields) error {
	if n.Hostname != nil && *n.Hostname != "" && *n.Hostname != m.Hostname {
		name, _, _ := strings.Cut(strings.ToLower(*n.Hostname), ".")
		if !metal.ValidHostname(name) {
			bad.Add("hostname", "'%.64s' is not a valid host name: use letters, digits and '-'.", *n.Hostname)
		} else if taken, err := c.Tx().HostnameTaken(name, m.SystemID); err != nil {
			return err
		} else if taken {
			bad.Add("hostname", "Node with hostname '%s' already exists.", name)
		}
		m.Hostname = name
	}
	if n.Description != nil {
		m.Description = metal.Printable(*n.Description, 4096)
	}
	if n.Architecture != nil {
		arch, err := metal.ParseArchitecture(*n.Architecture, "")
		if f, ok := fault.As(err); ok {
			bad["architecture"] = f.Fields["architecture"]
		}
		m.Architecture = arch
	}
	if n.Pool != nil && *n.Pool != "" {
		p, err := c.Tx().PoolByName(*n.Pool)
		if err != nil || c.Principal().Kind == authz.User && authz.Decide(c.Principal(), authz.PoolView, store.PoolTarget(p.ID)) != authz.Allow {
			bad.Add("pool", "Select a valid choice. '%.64s' is not one of the available choices.", *n.Pool)
		}
		m.PoolID = p.ID
	}
	if n.Zone != nil && *n.Zone != "" {
		z, err := c.Tx().ZoneByName(*n.Zone)
		if err != nil {
			bad.Add("zone", "Select a valid choice. '%.64s' is not one of the available choices.", *n.Zone)
		}
		m.ZoneID = z.ID
	}
	if n.CPUCount != nil {
		m.CPUCount = max(0, *n.CPUCount)
	}
	if n.MemoryMiB != nil {
		m.MemoryMiB = max(0, *n.MemoryMiB)
	}
	return s.applyPower(c, m, n, bad)
}

// Update changes a machine's fields. Kinds: NotFound, Forbidden, Invalid.
func (s *Service) Update(ctx context.Context, systemID string, n NewMachine) (metal.Machine, error) {
	return s.change(ctx, authz.MachineUpdate, systemID, func(c *gate.Call, m *metal.Machine) error {
		bad, pool := fault.Fields{}, m.PoolID
		if err := s.apply(c, m, n, bad); err != nil {
			return err
		}
		if err := bad.Err(); err != nil {
			return err
		}
		if m.PoolID != pool { // rights on where it goes, besides on where it was
			if err := c.Require(store.MachineTarget(*m)); err != nil {
				return err
			}
		}
		m.Updated = c.Now()
		if err := s.putPower(c, m, n); err != nil {
			return err
		}
		return c.Tx().PutMachine(*m)
	})
}

// Delete removes a machine. Kinds: NotFound, Forbidden.
func (s *Service) Delete(ctx context.Context, systemID string) error {
	_, err := s.change(ctx, authz.MachineDelete, systemID, func(c *gate.Call, m *metal.Machine) error {
		c.Note("hostname", m.Hostname)
		return c.Tx().DeleteMachine(*m)
	})
	return err
}

// SetLock locks or unlocks a deployed machine. Kinds: NotFound, Forbidden, Conflict.
func (s *Service) SetLock(ctx context.Context, systemID string, lock bool) (metal.Machine, error) {
	return s.change(ctx, authz.MachineLock, systemID, func(c *gate.Call, m *metal.Machine) error {
		switch {
		case m.Locked == lock && lock:
			return fault.New(fault.Conflict, "Machine is already locked.")
		case m.Locked == lock:
			return fault.New(fault.Conflict, "Machine is already unlocked.")
		case lock && m.Status != metal.Deployed && m.Status != metal.Deploying:
			return fault.New(fault.Conflict, "Can't lock, machine is not deployed.")
		}
		m.Locked, m.Updated = lock, c.Now()
		return c.Tx().PutMachine(*m)
	})
}

// Run carries out power commands, polls power states and enforces deadlines until the context ends.
func (s *Service) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, loop := range []func(context.Context){s.runCommands, s.runPolls, s.runDeadlines, s.runRotations} {
		wg.Go(func() { loop(ctx) })
	}
	wg.Wait()
}

// runDeadlines fails what is overdue.
func (s *Service) runDeadlines(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "deadlines")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.Expire(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "cannot enforce deadlines", "error", err)
		}
		if n%600 == 0 { // boots are kept a week for those who look into one
			err := s.gate.Observe(ctx, gate.SeenAge, func(tx *store.Tx, now time.Time) error { return tx.DropOldBoots(now.Add(-7 * 24 * time.Hour)) })
			if err != nil && ctx.Err() == nil {
				s.log.ErrorContext(ctx, "cannot drop old boots", "error", err)
			}
		}
	}
}

// Expire fails every machine whose working status has passed its deadline.
func (s *Service) Expire(ctx context.Context) error {
	ctx = authz.AsSystem(ctx, "deadlines")
	var due []metal.Machine
	err := s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) (err error) {
		due, err = v.OverdueMachines(v.Now())
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range due {
		_, err := s.change(ctx, authz.MachineExpire, m.SystemID, func(c *gate.Call, m *metal.Machine) error {
			if m.Deadline.IsZero() || c.Now().Before(m.Deadline) {
				return nil
			}
			return s.fail(c, m, overdue(c, m))
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// overdue says what a machine was waiting for when its time was up.
func overdue(c *gate.Call, m *metal.Machine) string {
	b, ok, err := c.Tx().OpenBoot(m.SystemID)
	what := strings.ToLower(m.Status.String())
	switch {
	case err != nil || !ok:
		return "Timed out: " + what + " did not end in time."
	case b.State == metal.BootExpected:
		return "Timed out: the machine did not network-boot. Check that it is powered on, boots from the network first, and is on a VLAN with DHCP on."
	case b.State == metal.BootOffered:
		return "Timed out: the machine network-booted, but its agent did not report. Look at its console."
	case b.State == metal.BootClaimed:
		return "Timed out: the agent went silent during " + what + "."
	case m.Status == metal.Deploying:
		return "Timed out: the image was installed, but the deployed system did not report back. Look at its console and at cloud-init's log."
	default:
		return "Timed out: " + what + " did not end in time."
	}
}
