package machines

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"strings"
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

// The rotation of a BMC's account has two steps. The new account is sealed into the store before a rack hears of it; the rack makes
// it beside the one in use and logs in with it; only then it is the one in use, and the old one is shut out. Whatever breaks off,
// wherever, is done again from the last thing that was stored, and until the end both accounts are known here. So there is no moment
// at which none of those that the region knows works.

// Budgets of rotations.
const (
	maxRotations     = 8                  // steps under way at once
	rotateCallTime   = 2 * time.Minute    // one step, through the rack: several logins at a slow BMC
	rotationLife     = time.Hour          // until a step that does not get on is given up
	rotationPause    = 24 * time.Hour     // after a failure, until the schedule tries again
	keepCredentials  = 7 * 24 * time.Hour // of accounts that are not in use any more, after the end
	maxScheduled     = 50                 // rotations that the schedule begins at once
	scheduleInterval = time.Minute
)

// The names of the two accounts that rotations go back and forth between: a BMC needs two free slots, once. At most 16 bytes.
const (
	accountA = "metalward-a"
	accountB = "metalward-b"
)

const (
	passwordBytes   = 20 // IPMI 2.0's longest
	shortPassword   = 16 // what has to do where the BMC takes no more
	passwordLetters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
)

func nextRef(systemID string) secret.Ref { return secret.Ref("machine/" + systemID + "/power_next") }
func previousRef(systemID string) secret.Ref {
	return secret.Ref("machine/" + systemID + "/power_previous")
}

// keptAccount is an account with who it was given by, as it is sealed.
type keptAccount struct {
	metal.BMCCredentials
	Managed bool `json:"managed,omitempty"`
}

// newPassword makes a password that BMCs with rules take, too: letters of both cases and digits, within the first 16 bytes.
func newPassword() string {
	for {
		b := make([]byte, passwordBytes)
		for i := range b {
			for { // no letter more often than another
				var one [1]byte
				_, _ = rand.Read(one[:])
				if n := len(passwordLetters); int(one[0]) < 256/n*n {
					b[i] = passwordLetters[int(one[0])%n]
					break
				}
			}
		}
		short := string(b[:shortPassword])
		if strings.ContainsAny(short, "23456789") && strings.ToLower(short) != short && strings.ToUpper(short) != short {
			return string(b)
		}
	}
}

func (s *Service) kept(v *store.View, ref secret.Ref) (a keptAccount, found bool, err error) {
	sealed, err := s.unseal(v, ref)
	if err != nil || sealed.Empty() {
		return a, false, err
	}
	return a, true, json.Unmarshal(sealed.Reveal(), &a)
}

func (s *Service) keep(c *gate.Call, m *metal.Machine, ref secret.Ref, a keptAccount) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return s.seal(c, m, ref, secret.NewValue(b))
}

// use makes an account the one that the BMC is spoken to with.
func (s *Service) use(c *gate.Call, m *metal.Machine, a metal.BMCCredentials) error {
	secrets, err := s.powerSecrets(&c.Tx().View, m.SystemID)
	if err != nil {
		return err
	}
	if secrets == nil {
		secrets = metal.PowerParameters{}
	}
	secrets["power_pass"] = a.Password
	b, err := json.Marshal(secrets)
	if err != nil {
		return err
	}
	if err := s.seal(c, m, powerRef(m.SystemID), secret.NewValue(b)); err != nil {
		return err
	}
	m.PowerParameters = maps.Clone(m.PowerParameters)
	m.PowerParameters["power_user"], m.PowerError = a.User, ""
	return c.Tx().PutMachine(*m)
}

// inUse is the account that the BMC is spoken to with.
func (s *Service) inUse(v *store.View, m *metal.Machine) (a metal.BMCCredentials, err error) {
	secrets, err := s.powerSecrets(v, m.SystemID)
	return metal.BMCCredentials{User: m.PowerParameters["power_user"], Password: secrets["power_pass"]}, err
}

// RotateBMC begins to replace the account by which a machine's BMC is spoken to. One that a person gave is replaced, and shut out
// in the end, only with takeOver. Kinds: NotFound, Forbidden, Invalid on "power_type", Conflict.
func (s *Service) RotateBMC(ctx context.Context, systemID string, takeOver bool, comment string) (metal.Machine, error) {
	if err := s.ownBMC(ctx, systemID); err != nil {
		return metal.Machine{}, err
	}
	password := newPassword() // what is sealed has to be the same whenever the transaction is run again
	return s.change(ctx, authz.MachineRotateBMC, systemID, func(c *gate.Call, m *metal.Machine) error {
		if t, _ := metal.FindPowerType(m.PowerType); !t.Rotates {
			return fault.Field("power_type", "The BMC account of %s cannot be rotated: its power type has none that can.", m.Hostname)
		}
		a, err := c.Tx().BMCAccount(systemID)
		if err != nil {
			return err
		}
		if a.State != metal.RotationNone {
			return fault.New(fault.Conflict, "The BMC account of %s is being rotated already.", m.Hostname)
		}
		if !a.Managed && !takeOver {
			return fault.New(fault.Conflict, "The BMC account of %s was given by a person. A rotation makes another one and shuts it out: say take_over=true if that is wanted.", m.Hostname)
		}
		next, found, err := s.kept(&c.Tx().View, nextRef(systemID))
		if err != nil {
			return err
		}
		// What an earlier try may have left on the BMC is tried again: nothing that a BMC may have accepted is ever forgotten first.
		if user := m.PowerParameters["power_user"]; !found || next.User == user {
			next = keptAccount{metal.BMCCredentials{User: accountA, Password: password}, true}
			if user == accountA {
				next.User = accountB
			}
		}
		if err := s.keep(c, m, nextRef(systemID), next); err != nil {
			return err
		}
		if err := request(c, m, "User rotating the BMC account", comment); err != nil {
			return err
		}
		a.State, a.Attempts, a.NotUntil, a.Deadline, a.Problem, a.Wanted = metal.RotationSetting, 0, c.Now(), c.Now().Add(rotationLife), "", false
		c.After(s.wakeRotations)
		return c.Tx().PutBMCAccount(&a)
	})
}

// ownBMC refuses a machine whose BMC another one has, too, such as one that was added twice: what one of them makes of the account shuts the
// other out. It looks before the change, which would else collide with all that is written of machines. Kinds: Conflict.
func (s *Service) ownBMC(ctx context.Context, systemID string) error {
	shared := false
	err := s.gate.View(ctx, authz.MachineRotateBMC, func(v *gate.Viewing) error {
		m, err := v.MachineFor(v.Principal(), systemID)
		if err != nil || v.Require(store.MachineTarget(m)) != nil {
			return err
		}
		shared, err = v.SharesBMC(systemID, m.PowerType, m.PowerParameters["power_address"])
		return err
	})
	if err == nil && shared {
		return fault.New(fault.Conflict, "Another machine has the same BMC, and would be shut out: delete the one that is there twice, or correct its power_address.")
	}
	return nil // whatever else is wrong the change says, and leaves its event
}

// Rotations is what a call on several machines came to.
type Rotations struct {
	Begun   []string          // system ids
	Skipped map[string]string // why, by system id
}

// RotateBMCs begins rotations of the machines that the query selects among those that the caller administers. Machines whose
// account cannot be rotated, or was given by a person, are skipped. Kinds: Invalid on "machines" for more than MaxBulk.
func (s *Service) RotateBMCs(ctx context.Context, q store.MachineQuery, takeOver bool, comment string) (r Rotations, err error) {
	r.Skipped = map[string]string{}
	var list []metal.Machine
	err = s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) (err error) {
		q.Filter, q.Limit = authz.Machines(v.Principal(), authz.MachineRotateBMC), MaxBulk+1
		list, err = v.Machines(q)
		return err
	})
	if err != nil {
		return r, err
	}
	if len(list) > MaxBulk {
		return r, fault.Field("machines", "These are more than %d machines: name fewer.", MaxBulk)
	}
	for _, m := range list {
		switch _, err := s.RotateBMC(ctx, m.SystemID, takeOver, comment); {
		case err == nil:
			r.Begun = append(r.Begun, m.SystemID)
		case ctx.Err() != nil || fault.Is(err, fault.Internal) || fault.Is(err, fault.Unavailable):
			return r, err
		default:
			r.Skipped[m.SystemID] = fault.Message(err)
		}
	}
	return r, nil
}

// given notes that somebody changes how the BMC is spoken to: a rotation under way ends, and what is sealed of accounts that are not
// in use then is kept for a while, also the one that was in use if only the region knows its password. m is as it will be, sent are the
// parameters that came, kept the secrets of before.
func (s *Service) given(c *gate.Call, m *metal.Machine, sent, kept metal.PowerParameters) error {
	a, err := c.Tx().BMCAccount(m.SystemID)
	if err != nil || a.Revision == 0 {
		return err
	}
	was, err := c.Tx().Machine(m.SystemID)
	if err != nil {
		return err
	}
	pass, ok := sent["power_pass"]
	if was.PowerType == m.PowerType && was.PowerParameters["power_user"] == m.PowerParameters["power_user"] &&
		was.PowerParameters["power_address"] == m.PowerParameters["power_address"] && (!ok || pass == kept["power_pass"]) {
		return nil
	}
	if a.Managed {
		old := metal.BMCCredentials{User: was.PowerParameters["power_user"], Password: kept["power_pass"]}
		if err := s.keep(c, m, previousRef(m.SystemID), keptAccount{old, true}); err != nil {
			return err
		}
	}
	a.Managed, a.State, a.Problem = false, metal.RotationNone, ""
	a.KeepUntil = c.Now().Add(keepCredentials)
	return c.Tx().PutBMCAccount(&a)
}

// BMCAccount tells how the rotation of a machine's BMC account stands. Kinds: NotFound.
func (s *Service) BMCAccount(ctx context.Context, systemID string) (a metal.BMCAccount, err error) {
	err = s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
		m, err := v.MachineFor(v.Principal(), systemID)
		if err != nil {
			return err
		}
		if err := v.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		a, err = v.BMCAccount(systemID)
		return err
	})
	return a, err
}

// BMCSecrets are the accounts of a machine's BMC that the region knows, and until when it knows those that are not in use.
type BMCSecrets struct {
	metal.BMCAccount
	InUse          metal.BMCCredentials
	Next, Previous *metal.BMCCredentials
}

// ShowBMC shows the accounts of a machine's BMC to an administrator: those in use, and those of a rotation under way or a short
// while ago, for the day on which the BMC knows only them. He has to be allowed to read the machine's power parameters besides. Each
// time leaves an event. Kinds: NotFound, Forbidden.
func (s *Service) ShowBMC(ctx context.Context, systemID string) (b BMCSecrets, err error) {
	var t authz.Target
	err = s.gate.View(ctx, authz.MachineReadPower, func(v *gate.Viewing) error {
		m, err := v.MachineFor(v.Principal(), systemID)
		t = store.MachineTarget(m)
		if err != nil {
			return err
		}
		return v.Require(t)
	})
	if err != nil {
		return b, err
	}
	err = s.gate.Reveal(ctx, authz.MachineShowBMC, t, nil, func(v *gate.Viewing) error {
		m, err := v.MachineFor(v.Principal(), systemID)
		if err != nil {
			return err
		}
		now := store.MachineTarget(m) // it may have another pool by now
		if err := authz.Decide(v.Principal(), authz.MachineReadPower, now).Err(now); err != nil {
			return err
		}
		if b.BMCAccount, err = v.BMCAccount(systemID); err != nil {
			return err
		}
		if b.InUse, err = s.inUse(v.View, &m); err != nil {
			return err
		}
		for ref, into := range map[secret.Ref]**metal.BMCCredentials{nextRef(systemID): &b.Next, previousRef(systemID): &b.Previous} {
			if a, found, err := s.kept(v.View, ref); err != nil {
				return err
			} else if found {
				*into = &a.BMCCredentials
			}
		}
		return nil
	})
	return b, err
}

func (s *Service) wakeRotations() {
	select {
	case s.wakeRotate <- struct{}{}:
	default:
	}
}

// runRotations carries out steps of rotations, begins those that the schedule wants, and forgets credentials in time.
func (s *Service) runRotations(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "rotation")
	slots := make(chan struct{}, maxRotations)
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	var scheduled time.Time
	for {
		if now := s.now(); !now.Before(scheduled) {
			scheduled = now.Add(scheduleInterval)
			if err := errors.Join(s.scheduleRotations(ctx), s.forgetCredentials(ctx)); err != nil && ctx.Err() == nil {
				s.log.ErrorContext(ctx, "cannot schedule rotations of BMC accounts", "error", err)
			}
		}
		for _, a := range s.dueRotations(ctx) {
			if !s.enter(a.SystemID) {
				continue
			}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				s.leave(a.SystemID)
				return
			}
			wg.Go(func() {
				defer func() { s.leave(a.SystemID); <-slots }()
				if err := s.rotateStep(ctx, a); err != nil && ctx.Err() == nil {
					s.log.ErrorContext(ctx, "cannot rotate a BMC account", "machine", a.SystemID, "error", err)
				}
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wakeRotate:
		case <-tick.C:
		}
	}
}

// dueRotations are the steps to be carried out; none while no rack is connected here, as another region may have one.
func (s *Service) dueRotations(ctx context.Context) (due []metal.BMCAccount) {
	if len(s.racks.Connected()) == 0 {
		return nil
	}
	err := s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) (err error) {
		due, err = v.DueRotations(v.Now(), 4*maxRotations)
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "cannot read rotations of BMC accounts", "error", err)
	}
	return due
}

// errOvertaken says that somebody else has dealt with a rotation meanwhile.
var errOvertaken = errors.New("overtaken")

// onRotation runs a change on a rotation that is still as it was.
func (s *Service) onRotation(ctx context.Context, a *metal.BMCAccount, fn func(c *gate.Call, m *metal.Machine, a *metal.BMCAccount) error) (m metal.Machine, err error) {
	var is metal.BMCAccount
	m, err = s.change(ctx, authz.MachineRotateBMC, a.SystemID, func(c *gate.Call, m *metal.Machine) (err error) {
		if is, err = c.Tx().BMCAccount(a.SystemID); err != nil {
			return err
		}
		if is.Revision != a.Revision {
			return errOvertaken
		}
		c.Note("step", string(is.State))
		if err := fn(c, m, &is); err != nil {
			return err
		}
		return c.Tx().PutBMCAccount(&is)
	})
	if err == nil {
		*a = is
	}
	return m, err
}

// rotateStep carries out the step that a rotation is in. Of several regions one does: that which puts the next try off first.
func (s *Service) rotateStep(ctx context.Context, a metal.BMCAccount) error {
	step := a.State
	m, err := s.onRotation(ctx, &a, func(c *gate.Call, _ *metal.Machine, a *metal.BMCAccount) error {
		a.Attempts++
		a.NotUntil = c.Now().Add(rotateCallTime + 10*time.Second)
		return nil
	})
	if errors.Is(err, errOvertaken) || fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	resp, callErr := s.callRotate(ctx, m, step)
	if ctx.Err() != nil {
		return nil // stopping: the step is done again
	}
	_, err = s.onRotation(ctx, &a, func(c *gate.Call, m *metal.Machine, a *metal.BMCAccount) error {
		switch {
		case callErr != nil:
			return s.stepFailed(c, m, a, callErr)
		case step == metal.RotationSetting:
			return s.accountSet(c, m, a, resp.PasswordBytes)
		case resp.Lost:
			return s.accountLost(c, m, a)
		default:
			return s.accountRetired(c, m, a, resp.Stays)
		}
	})
	if errors.Is(err, errOvertaken) || fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

func (s *Service) callRotate(ctx context.Context, m metal.Machine, step metal.RotationState) (resp wire.RotateResponse, err error) {
	rackID, err := s.rackFor(ctx, m)
	if err != nil {
		return resp, err
	}
	ctx, cancel := context.WithTimeout(ctx, rotateCallTime)
	defer cancel()
	id, done := s.tickets.issue(ticket{rackID: rackID, systemID: m.SystemID, audited: true, step: step})
	defer done()
	err = s.racks.Call(ctx, rackID, wire.Rotate, wire.RotateRequest{CommandID: id, SystemID: m.SystemID, PowerType: m.PowerType, Step: step, Timeout: rotateCallTime - 5*time.Second}, &resp)
	if err == nil && step == metal.RotationSetting && (resp.PasswordBytes < shortPassword || resp.PasswordBytes > passwordBytes) {
		// What is stored as the password has to be one; the whole is forgotten then.
		err = fault.New(fault.Internal, "The rack says that it set %d bytes of a password, which cannot be.", resp.PasswordBytes)
	}
	return resp, err
}

// other is the account that a step is about, besides the one in use.
func (s *Service) other(v *store.View, systemID string, step metal.RotationState) (*metal.BMCCredentials, error) {
	ref := nextRef(systemID)
	if step == metal.RotationRetiring {
		ref = previousRef(systemID)
	}
	a, found, err := s.kept(v, ref)
	if err == nil && !found {
		err = fault.New(fault.Conflict, "The rotation has no account to deal with.")
	}
	return &a.BMCCredentials, err
}

// accountSet makes the new account the one in use: the BMC has let it in.
func (s *Service) accountSet(c *gate.Call, m *metal.Machine, a *metal.BMCAccount, bytes int) error {
	next, found, err := s.kept(&c.Tx().View, nextRef(m.SystemID))
	if err != nil {
		return err
	}
	if !found || bytes > len(next.Password) {
		return fault.New(fault.Internal, "The rack set an account that was not to be set.")
	}
	old, err := s.inUse(&c.Tx().View, m)
	if err != nil {
		return err
	}
	next.Password = next.Password[:bytes]
	if err := s.keep(c, m, previousRef(m.SystemID), keptAccount{old, a.Managed}); err != nil {
		return err
	}
	if err := s.use(c, m, next.BMCCredentials); err != nil {
		return err
	}
	if err := s.seal(c, m, nextRef(m.SystemID), secret.Value{}); err != nil {
		return err
	}
	a.State, a.Managed, a.Attempts, a.NotUntil, a.Deadline = metal.RotationRetiring, true, 0, c.Now(), c.Now().Add(rotationLife)
	c.After(s.wakeRotations)
	return event(c, m, metal.LevelInfo, "BMC account set", "The BMC is spoken to as "+next.User+" from now on; the old account is shut out next.")
}

// accountLost goes back to the old account, which is the only one that the BMC knows, and begins again.
func (s *Service) accountLost(c *gate.Call, m *metal.Machine, a *metal.BMCAccount) error {
	old, found, err := s.kept(&c.Tx().View, previousRef(m.SystemID))
	if err != nil || !found {
		return err
	}
	lost, err := s.inUse(&c.Tx().View, m)
	if err != nil {
		return err
	}
	if err := s.keep(c, m, nextRef(m.SystemID), keptAccount{lost, true}); err != nil {
		return err
	}
	if err := s.use(c, m, old.BMCCredentials); err != nil {
		return err
	}
	if err := s.seal(c, m, previousRef(m.SystemID), secret.Value{}); err != nil {
		return err
	}
	a.State, a.Managed, a.NotUntil = metal.RotationSetting, old.Managed, c.Now().Add(backoff(a.Attempts))
	return event(c, m, metal.LevelWarning, "BMC account lost", "The BMC has lost the new account and knows the old one: the rotation begins again.")
}

// accountRetired ends a rotation.
func (s *Service) accountRetired(c *gate.Call, m *metal.Machine, a *metal.BMCAccount, stays bool) error {
	a.State, a.Rotated, a.KeepUntil, a.Problem, a.NotUntil = metal.RotationNone, c.Now(), c.Now().Add(keepCredentials), "", time.Time{}
	if !stays {
		return event(c, m, metal.LevelInfo, "BMC account rotated", "The old account is shut out.")
	}
	a.Problem = "The BMC keeps letting the old account in: disable it by hand."
	c.Note("problem", a.Problem)
	return event(c, m, metal.LevelWarning, "BMC account rotated", a.Problem)
}

// stepFailed has a step tried again, or gives the rotation up: at once for what does not go away by itself.
func (s *Service) stepFailed(c *gate.Call, m *metal.Machine, a *metal.BMCAccount, cause error) error {
	c.Note("error", fault.Message(cause))
	if fault.Is(cause, fault.Unavailable) && c.Now().Before(a.Deadline) {
		a.NotUntil = c.Now().Add(backoff(a.Attempts))
		return nil
	}
	problem := metal.Printable(fault.Message(cause), 512)
	if a.State == metal.RotationRetiring {
		a.Rotated = c.Now()
		problem = "The old account may still work: " + problem
	}
	a.State, a.Problem, a.NotUntil, a.KeepUntil = metal.RotationNone, problem, c.Now().Add(rotationPause), c.Now().Add(keepCredentials)
	return event(c, m, metal.LevelError, "Failed to rotate the BMC account", problem)
}

// backoff is the pause after the n-th try of a step.
func backoff(n int) time.Duration { return min(15*time.Second<<min(n, 10), 10*time.Minute) }

// released has the schedule rotate a released machine's account, if the site wants that: who had the machine may have learnt its
// password from the BMC's own side.
func (s *Service) released(c *gate.Call, m *metal.Machine) error {
	v, err := c.Tx().SettingValue("metalward_bmc_rotation_on_release")
	if err != nil || v != true {
		return err
	}
	a, err := c.Tx().BMCAccount(m.SystemID)
	if err != nil || !a.Managed || a.State == metal.RotationSetting { // that one is new enough
		return err
	}
	a.Wanted = true
	return c.Tx().PutBMCAccount(&a)
}

// scheduleRotations begins the rotations of accounts that are older than the site wants.
func (s *Service) scheduleRotations(ctx context.Context) error {
	var aged []metal.BMCAccount
	err := s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
		days, err := v.SettingInt("metalward_bmc_rotation_days")
		if err != nil {
			return err
		}
		before := time.Time{} // none but those that are wanted
		if days > 0 {
			before = v.Now().AddDate(0, 0, -days)
		}
		aged, err = v.AgedBMCAccounts(before, v.Now(), maxScheduled)
		return err
	})
	for _, a := range aged {
		_, e := s.RotateBMC(ctx, a.SystemID, false, "by schedule")
		switch {
		case e == nil, fault.Is(e, fault.Conflict), fault.Is(e, fault.NotFound):
		case fault.Is(e, fault.Unavailable), fault.Is(e, fault.Forbidden):
			return errors.Join(err, e) // the database, or what has the secrets: the next would fare no better
		default:
			err = errors.Join(err, e)
		}
	}
	return err
}

// forgetCredentials drops credentials that are not in use and were kept long enough.
func (s *Service) forgetCredentials(ctx context.Context) error {
	var old []metal.BMCAccount
	err := s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) (err error) {
		old, err = v.KeptTooLong(v.Now(), maxScheduled)
		return err
	})
	for _, a := range old {
		_, e := s.onRotation(ctx, &a, func(c *gate.Call, m *metal.Machine, a *metal.BMCAccount) error {
			c.Note("forgotten", "credentials not in use")
			a.KeepUntil = time.Time{}
			return errors.Join(s.seal(c, m, nextRef(m.SystemID), secret.Value{}), s.seal(c, m, previousRef(m.SystemID), secret.Value{}))
		})
		if e != nil && !errors.Is(e, errOvertaken) && !fault.Is(e, fault.NotFound) {
			err = errors.Join(err, e)
		}
	}
	return err
}
