package machines_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

// account is a BMC that knows passwords, as the rack's driver uses it.
type account struct {
	t     *testing.T
	w     *world
	known map[string]string // password by user
	takes int               // bytes of a password that it keeps
	// before and after are what goes wrong around a step: the rack dies before it has done anything, or after.
	before, after error
	stubborn      bool // does not shut anybody out
	steps         []metal.RotationState
}

func newAccount(t *testing.T, w *world) *account {
	b := &account{t: t, w: w, known: map[string]string{"admin": regiontest.BMCPassword}, takes: 20}
	w.rack.OnRotate(b.rotate)
	return b
}

func (b *account) lets(user, password string) bool {
	p, ok := b.known[user]
	return ok && p == password
}

func (b *account) rotate(_ context.Context, req wire.RotateRequest) (resp wire.RotateResponse, err error) {
	b.steps = append(b.steps, req.Step)
	if b.before != nil {
		return resp, b.before
	}
	key, err := b.w.Machines.PowerKey(b.w.rack.Ctx(), b.w.rack.ID, wire.PowerKeyRequest{CommandID: req.CommandID, SystemID: req.SystemID})
	if err != nil || key.Other == nil {
		b.t.Errorf("got %v: %v", key.Other, err)
		return resp, err
	}
	in, no := b.lets(key.Parameters["power_user"], key.Parameters["power_pass"]), fault.New(fault.Forbidden, "The BMC does not accept the credentials.")
	switch cut := key.Other.Password[:min(len(key.Other.Password), b.takes)]; {
	case req.Step == metal.RotationSetting && !in && !b.lets(key.Other.User, cut):
		return resp, no
	case req.Step == metal.RotationSetting:
		b.known[key.Other.User] = cut
		resp.PasswordBytes = len(cut)
	case !in && b.lets(key.Other.User, key.Other.Password):
		resp.Lost = true
	case !in:
		return resp, no
	case b.stubborn:
		resp.Stays = true
	default:
		delete(b.known, key.Other.User)
	}
	if b.after != nil {
		return wire.RotateResponse{}, b.after
	}
	return resp, nil
}

// reachable checks that the BMC lets in one of the accounts that the region shows to an administrator.
func (b *account) reachable(id string) {
	b.t.Helper()
	s, err := b.w.Machines.ShowBMC(b.w.Admin(b.t), id)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, a := range []*metal.BMCCredentials{&s.InUse, s.Next, s.Previous} {
		if a != nil && (b.lets(a.User, a.Password) || b.lets(a.User, a.Password[:min(len(a.Password), b.takes)])) {
			return
		}
	}
	b.t.Fatalf("in state %q the region knows no account that the BMC %v lets in", s.State, b.known)
}

func (w *world) rotations(t *testing.T) int {
	t.Helper()
	n, err := w.Machines.RunRotations(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (w *world) bmc(t *testing.T, id string) (a metal.BMCAccount) {
	t.Helper()
	w.View(t, func(v *store.View) (err error) { a, err = v.BMCAccount(id); return err })
	return a
}

// settle runs a rotation to its end.
func (b *account) settle(id string) metal.BMCAccount {
	b.t.Helper()
	for range 20 {
		if a := b.w.bmc(b.t, id); a.State == metal.RotationNone {
			return a
		}
		b.w.rotations(b.t)
		b.reachable(id)
		b.w.clock.Advance(3 * time.Minute)
	}
	b.t.Fatal("the rotation does not end")
	return metal.BMCAccount{}
}

// TestRotateBMC replaces a person's account when asked to, then its own without, and keeps what was before for a week.
func TestRotateBMC(t *testing.T) {
	w := newWorld(t)
	id := w.m.Add(t, "m").SystemID
	b := newAccount(t, w)
	_, err := w.Machines.RotateBMC(w.Admin(t), id, false, "")
	wantKind(t, err, fault.Conflict)
	if !strings.Contains(fault.Message(err), "take_over=true") {
		t.Errorf("got %v", err)
	}
	for i, user := range []string{"metalward-a", "metalward-b", "metalward-a"} {
		if _, err := w.Machines.RotateBMC(w.Admin(t), id, i == 0, ""); err != nil {
			t.Fatal(err)
		}
		_, err := w.Machines.RotateBMC(w.Admin(t), id, true, "")
		wantKind(t, err, fault.Conflict) // under way
		was, err := w.Machines.ShowBMC(w.Admin(t), id)
		if err != nil {
			t.Fatal(err)
		}
		a := b.settle(id)
		if !a.Managed || a.Problem != "" || a.Rotated.IsZero() {
			t.Errorf("got %+v", a)
		}
		s, err := w.Machines.ShowBMC(w.Admin(t), id)
		if err != nil || s.InUse.User != user || len(s.InUse.Password) != 20 || s.Next != nil || s.Previous == nil || *s.Previous != was.InUse {
			t.Errorf("got user %q, next %v, %v", s.InUse.User, s.Next, err)
		}
		if len(b.known) != 1 || !b.lets(s.InUse.User, s.InUse.Password) {
			t.Errorf("the BMC knows %d accounts", len(b.known))
		}
	}
	w.clock.Advance(machines.KeepCredentials + time.Second)
	w.rotations(t)
	if s, err := w.Machines.ShowBMC(w.Admin(t), id); err != nil || s.Previous != nil || !s.KeepUntil.IsZero() || !b.lets(s.InUse.User, s.InUse.Password) {
		t.Errorf("after a week: got %v, %v", s.Previous, err)
	}
	trail := fmt.Sprintf("%+v %+v", w.Trail(t), w.events(t, id))
	for user, password := range b.known {
		if strings.Contains(trail, password) || !strings.Contains(trail, user) {
			t.Error("the trail has a password, or does not name the account")
		}
	}
	shown := 0
	for _, e := range w.Trail(t) {
		if e.Action == string(authz.MachineShowBMC) && e.Principal == "user:root" && e.Target == "machine:"+id {
			shown++
		}
	}
	if shown == 0 {
		t.Error("no event of a look at the credentials")
	}
}

// TestRotateBMCShared leaves the account alone of a BMC that two machines have: each would be shut out by the other's rotation.
func TestRotateBMCShared(t *testing.T) {
	w := newWorld(t)
	one := w.m.Add(t, "one").SystemID
	other := (&regiontest.Machine{Core: w.Core, MAC: "52:54:00:00:01:99"}).Add(t, "other").SystemID
	at := func(address string) {
		t.Helper()
		if _, err := w.Machines.Update(w.Admin(t), other, machines.NewMachine{PowerParameters: metal.PowerParameters{"power_address": address}}); err != nil {
			t.Fatal(err)
		}
	}
	at("10.9.0.1")
	for _, id := range []string{one, other} {
		_, err := w.Machines.RotateBMC(w.Admin(t), id, true, "")
		wantKind(t, err, fault.Conflict)
		if !strings.Contains(fault.Message(err), "same BMC") {
			t.Errorf("got %v", err)
		}
	}
	_, err := w.Machines.RotateBMC(w.User(t, "alice", false), one, true, "")
	wantKind(t, err, fault.Forbidden) // and is told nothing of other machines
	at("10.9.0.10")                   // begins alike
	if _, err := w.Machines.RotateBMC(w.Admin(t), one, true, ""); err != nil {
		t.Error(err)
	}
}

// TestRotateBMCBrokenOff breaks each step off, before and after the BMC has done it, by a rack that dies and by a region that
// does: always one account works that the region knows, and in the end all is well.
func TestRotateBMCBrokenOff(t *testing.T) {
	gone := fault.New(fault.Unavailable, "The rack went away.")
	for _, takes := range []int{20, 16} {
		for _, killed := range []string{"rack", "region"} {
			for _, at := range []metal.RotationState{metal.RotationSetting, metal.RotationRetiring} {
				for _, when := range []string{"before", "after"} {
					t.Run(fmt.Sprintf("%d bytes, %s, %s %s", takes, killed, when, at), func(t *testing.T) {
						w := newWorld(t)
						id := w.m.Add(t, "m").SystemID
						b := newAccount(t, w)
						b.takes = takes
						if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
							t.Fatal(err)
						}
						b.reachable(id)
						for w.bmc(t, id).State != at {
							w.rotations(t)
							w.clock.Advance(3 * time.Minute)
						}
						b.before, b.after = nil, gone
						if when == "before" {
							b.before, b.after = gone, nil
						}
						ctx, kill := context.WithCancel(context.Background())
						defer kill()
						if killed == "region" {
							w.rack.OnRotate(func(ctx context.Context, r wire.RotateRequest) (wire.RotateResponse, error) {
								resp, err := b.rotate(ctx, r)
								kill()
								return resp, err
							})
						}
						if _, err := w.Machines.RunRotations(ctx); err != nil && killed == "rack" {
							t.Fatal(err)
						}
						b.reachable(id)
						if got := w.bmc(t, id).State; got != at {
							t.Fatalf("got state %q, want %q as before", got, at)
						}
						b.before, b.after = nil, nil
						w.rack.OnRotate(b.rotate)
						if killed == "region" { // another one takes over
							w.Machines = w.reopen(t)
						}
						w.clock.Advance(3 * time.Minute)
						if a := b.settle(id); a.Problem != "" || !a.Managed {
							t.Errorf("got %+v", a)
						}
						s, err := w.Machines.ShowBMC(w.Admin(t), id)
						if err != nil || !b.lets(s.InUse.User, s.InUse.Password) || len(b.known) != 1 || len(s.InUse.Password) != takes {
							t.Errorf("the account in use does not work, or others do: %v", err)
						}
					})
				}
			}
		}
	}
}

// reopen is the service of a region that started anew over the same store, with the rack connected to it.
func (w *world) reopen(t *testing.T) *machines.Service {
	t.Helper()
	return machines.New(machines.Config{Gate: w.Gate, Site: w.Site, Keys: w.Keys, Racks: w.Controllers, Snapshots: w.Networks, Now: w.clock.Now, Log: regiontest.Silent, MetadataPort: 5246})
}

// TestRotateBMCGoneWrong ends with the account that works in use, and says why.
func TestRotateBMCGoneWrong(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		w := newWorld(t)
		id := w.m.Add(t, "m").SystemID
		b := newAccount(t, w)
		if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
			t.Fatal(err)
		}
		b.before = fault.New(fault.Conflict, "The BMC has no room for another account.")
		if a := b.settle(id); a.Managed || !strings.Contains(a.Problem, "no room") || len(b.steps) != 1 {
			t.Errorf("got %+v after %v", a, b.steps)
		}
		if s, err := w.Machines.ShowBMC(w.Admin(t), id); err != nil || s.InUse.User != "admin" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("unreachable", func(t *testing.T) {
		w := newWorld(t)
		id := w.m.Add(t, "m").SystemID
		b := newAccount(t, w)
		if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
			t.Fatal(err)
		}
		begun, first := w.clock.Now(), ""
		b.after = fault.New(fault.Unavailable, "The BMC does not answer.")
		for w.bmc(t, id).State != metal.RotationNone {
			w.rotations(t)
			b.reachable(id)
			if first == "" {
				first = b.known["metalward-a"]
			}
			w.clock.Advance(5 * time.Minute)
		}
		if d := w.clock.Now().Sub(begun); d < machines.RotationLife || d > machines.RotationLife+20*time.Minute {
			t.Errorf("given up after %v", d)
		}
		// What the BMC may have accepted is what is tried again.
		b.after = nil
		if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
			t.Fatal(err)
		}
		b.settle(id)
		if b.known["metalward-a"] != first {
			t.Error("another password was made although the BMC may know the first")
		}
	})
	t.Run("the BMC was reset in between", func(t *testing.T) {
		w := newWorld(t)
		id := w.m.Add(t, "m").SystemID
		b := newAccount(t, w)
		if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
			t.Fatal(err)
		}
		w.rotations(t)
		delete(b.known, "metalward-a")
		if a := b.settle(id); a.Problem != "" || !a.Managed {
			t.Errorf("got %+v", a)
		}
		if s, err := w.Machines.ShowBMC(w.Admin(t), id); err != nil || !b.lets(s.InUse.User, s.InUse.Password) || len(b.known) != 1 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nonsense from the rack", func(t *testing.T) {
		for _, said := range []int{-1, 0, 1, 15, 21} {
			w := newWorld(t)
			id := w.m.Add(t, "m").SystemID
			b := newAccount(t, w)
			w.rack.OnRotate(func(ctx context.Context, r wire.RotateRequest) (wire.RotateResponse, error) {
				resp, err := b.rotate(ctx, r)
				resp.PasswordBytes = said
				return resp, err
			})
			if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
				t.Fatal(err)
			}
			if a := b.settle(id); a.Managed || a.Problem == "" || len(b.steps) != 1 {
				t.Errorf("%d bytes of a password set: got %+v after %v", said, a, b.steps)
			}
			if s, err := w.Machines.ShowBMC(w.Admin(t), id); err != nil || s.InUse.User != "admin" || !b.lets(s.InUse.User, s.InUse.Password) {
				t.Errorf("%d bytes of a password set: the account in use does not work, %v", said, err)
			}
		}
	})
	t.Run("the old account stays", func(t *testing.T) {
		w := newWorld(t)
		id := w.m.Add(t, "m").SystemID
		b := newAccount(t, w)
		b.stubborn = true
		if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
			t.Fatal(err)
		}
		if a := b.settle(id); !a.Managed || !strings.Contains(a.Problem, "by hand") {
			t.Errorf("got %+v", a)
		}
	})
	t.Run("somebody gives another account meanwhile", func(t *testing.T) {
		w := newWorld(t)
		id := w.m.Add(t, "m").SystemID
		b := newAccount(t, w)
		if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
			t.Fatal(err)
		}
		b.known["boss"] = "given-by-hand"
		w.rack.OnRotate(func(ctx context.Context, r wire.RotateRequest) (wire.RotateResponse, error) {
			resp, err := b.rotate(ctx, r)
			if _, e := w.Machines.Update(w.Admin(t), id, machines.NewMachine{PowerParameters: metal.PowerParameters{"power_user": "boss", "power_pass": "given-by-hand"}}); e != nil {
				t.Error(e)
			}
			return resp, err
		})
		w.rotations(t)
		b.reachable(id)
		a := w.bmc(t, id)
		if s, err := w.Machines.ShowBMC(w.Admin(t), id); err != nil || s.InUse.User != "boss" || a.State != metal.RotationNone || a.Managed || a.KeepUntil.IsZero() {
			t.Errorf("got %+v, %v", a, err)
		}
	})
	t.Run("somebody overwrites what only the region knew", func(t *testing.T) {
		w := newWorld(t)
		id := w.m.Add(t, "m").SystemID
		b := newAccount(t, w)
		if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
			t.Fatal(err)
		}
		b.settle(id)
		if _, err := w.Machines.Update(w.Admin(t), id, machines.NewMachine{PowerParameters: metal.PowerParameters{"power_pass": "mistake"}}); err != nil {
			t.Fatal(err)
		}
		b.reachable(id)
	})
}

// TestRotateBMCSchedule rotates accounts of Metalward's own when they are old, if the site wants that, and no person's.
func TestRotateBMCSchedule(t *testing.T) {
	w := newWorld(t)
	own, given := w.m.Add(t, "own").SystemID, w.machine(2).Add(t, "given").SystemID
	b := newAccount(t, w)
	r, err := w.Machines.RotateBMCs(w.Admin(t), store.MachineQuery{SystemIDs: []string{own}}, true, "")
	if err != nil || len(r.Begun) != 1 {
		t.Fatalf("got %+v, %v", r, err)
	}
	first := b.settle(own).Rotated
	r, err = w.Machines.RotateBMCs(w.Admin(t), store.MachineQuery{}, false, "")
	if err != nil || len(r.Begun) != 1 || r.Begun[0] != own || !strings.Contains(r.Skipped[given], "given by a person") {
		t.Fatalf("got %+v, %v", r, err)
	}
	first = b.settle(own).Rotated
	w.clock.Advance(400 * 24 * time.Hour)
	w.rotations(t)
	if a := w.bmc(t, own); a.State != metal.RotationNone {
		t.Error("rotated although the schedule is off")
	}
	w.set(t, "metalward_bmc_rotation_days", 90)
	w.rotations(t)
	if a := b.settle(own); !a.Rotated.After(first) || w.bmc(t, given).Revision != 0 {
		t.Errorf("got %+v", a)
	}
	begun := w.bmc(t, own).Rotated
	w.clock.Advance(89 * 24 * time.Hour)
	w.rotations(t)
	if a := w.bmc(t, own); a.State != metal.RotationNone || !a.Rotated.Equal(begun) {
		t.Error("rotated before it was time")
	}
}

// TestRotateBMCOnRelease rotates the account of a released machine when the site wants that, and no person's.
func TestRotateBMCOnRelease(t *testing.T) {
	w := newWorld(t)
	w.image(t, "debian12")
	id := w.m.Ready(t, "m").SystemID
	b := newAccount(t, w)
	no := false
	cycle := func() metal.BMCAccount {
		t.Helper()
		w.power(t)
		w.deployed(t, id)
		if _, err := w.Machines.Release(w.Admin(t), id, machines.ReleaseRequest{Erase: &no}); err != nil {
			t.Fatal(err)
		}
		w.power(t)
		w.want(t, id, metal.Ready, "")
		w.rotations(t)
		return w.bmc(t, id)
	}
	w.set(t, "metalward_bmc_rotation_on_release", true)
	if a := cycle(); a.Revision != 0 {
		t.Errorf("a person's account: got %+v", a)
	}
	if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
		t.Fatal(err)
	}
	first := b.settle(id)
	cycle()
	if a := b.settle(id); !a.Rotated.After(first.Rotated) || a.Wanted {
		t.Errorf("got %+v, want it rotated after %v", a, first.Rotated)
	}
	w.set(t, "metalward_bmc_rotation_on_release", false)
	if a := cycle(); a.State != metal.RotationNone || a.Wanted {
		t.Errorf("with the setting off: got %+v", a)
	}
}

// TestRotateBMCOvertaken lets one of two regions that find the same step carry it out.
func TestRotateBMCOvertaken(t *testing.T) {
	w := newWorld(t)
	id := w.m.Add(t, "m").SystemID
	b := newAccount(t, w)
	if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
		t.Fatal(err)
	}
	second := w.reopen(t)
	w.rack.OnRotate(func(ctx context.Context, r wire.RotateRequest) (wire.RotateResponse, error) {
		if n, err := second.RunRotations(context.Background()); n != 0 || err != nil { // while the first is at it
			t.Errorf("the other region found %d steps, %v", n, err)
		}
		return b.rotate(ctx, r)
	})
	stale := w.bmc(t, id)
	w.rotations(t)
	if err := second.RotateStep(context.Background(), stale); err != nil { // it had found the step before the first began
		t.Fatal(err)
	}
	if got := fmt.Sprint(b.steps); got != "[setting]" {
		t.Errorf("got steps %s, want one", got)
	}
	w.rack.OnRotate(b.rotate)
	if a := b.settle(id); a.Problem != "" {
		t.Errorf("got %+v", a)
	}
}

// TestRotateBMCRights keeps rotations and credentials to those who may.
func TestRotateBMCRights(t *testing.T) {
	w := newWorld(t)
	id := w.m.Add(t, "m").SystemID
	alice := w.User(t, "alice", false)
	if _, err := w.Machines.RotateBMC(alice, id, true, ""); err == nil {
		t.Error("a user rotates")
	}
	if s, err := w.Machines.ShowBMC(alice, id); err == nil || s.InUse.Password != "" {
		t.Error("a user sees credentials")
	}
	m := w.machine(3).Add(t, "manual")
	manual := "manual"
	if _, err := w.Machines.Update(w.Admin(t), m.SystemID, machines.NewMachine{PowerType: &manual}); err != nil {
		t.Fatal(err)
	}
	_, err := w.Machines.RotateBMC(w.Admin(t), m.SystemID, true, "")
	wantField(t, err, "power_type", "cannot be rotated")
}

func TestNewPassword(t *testing.T) {
	seen := map[string]bool{}
	for range 500 {
		p := machines.NewPassword()
		short := p[:16]
		if len(p) != 20 || seen[p] || strings.ToLower(short) == short || strings.ToUpper(short) == short || !strings.ContainsAny(short, "23456789") {
			t.Fatalf("got %q", p)
		}
		seen[p] = true
	}
}

// elsewhere is a back end of secrets that has to be asked, as Vault has.
type elsewhere struct {
	mu   sync.Mutex
	kept map[string]secret.Value // guarded by mu
	seen map[string]bool         // what was fetched a short while ago; guarded by mu
	asks int                     // guarded by mu
	away bool                    // guarded by mu
}

func (e *elsewhere) Seal(_ context.Context, ref secret.Ref, v secret.Value) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.asks++; e.away {
		return nil, fault.New(fault.Unavailable, "Vault is away.")
	}
	key := fmt.Sprint(string(secret.RemoteFormat), len(e.kept), ref)
	e.kept[key], e.seen[key] = v, true
	return []byte(key), nil
}

func (e *elsewhere) Open(_ context.Context, _ secret.Ref, sealed []byte) (secret.Value, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asks++
	v, ok := e.kept[string(sealed)]
	if !ok {
		return v, fault.New(fault.NotFound, "no such secret")
	}
	e.seen[string(sealed)] = true
	return v, nil
}

func (e *elsewhere) Fetch(ctx context.Context, ref secret.Ref, sealed []byte) (secret.Value, error) {
	return e.Open(ctx, ref, sealed)
}

func (e *elsewhere) Peek(_ secret.Ref, sealed []byte) (secret.Value, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.kept[string(sealed)], e.seen[string(sealed)]
}

// TestRotateBMCScheduleAway: while the secrets are away the schedule tries one machine at a time, not each of those that are due, every minute.
func TestRotateBMCScheduleAway(t *testing.T) {
	w := newWorld(t)
	e := &elsewhere{kept: map[string]secret.Value{}, seen: map[string]bool{}}
	w.Keys.Use(e, true)
	for n := range 3 {
		id := w.machine(n+1).Add(t, fmt.Sprint("m", n)).SystemID
		if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
			t.Fatal(err)
		}
		newAccount(t, w).settle(id)
	}
	w.set(t, "metalward_bmc_rotation_days", 1)
	w.clock.Advance(48 * time.Hour)
	before := len(w.Trail(t))
	e.away = true
	if _, err := w.Machines.RunRotations(context.Background()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	if n := len(w.Trail(t)) - before; n != 1 {
		t.Errorf("%d events were left, want 1", n)
	}
}

// TestRotateBMCElsewhere rotates while secrets are kept elsewhere: no transaction asks, and each can be run again.
func TestRotateBMCElsewhere(t *testing.T) {
	w := newWorld(t)
	e := &elsewhere{kept: map[string]secret.Value{}, seen: map[string]bool{}}
	w.Keys.Use(e, true)
	id := w.m.Add(t, "m").SystemID
	b := newAccount(t, w)
	for range 2 {
		clear(e.seen)
		if _, err := w.Machines.RotateBMC(w.Admin(t), id, true, ""); err != nil {
			t.Fatal(err)
		}
		if a := b.settle(id); a.Problem != "" || !a.Managed {
			t.Errorf("got %+v", a)
		}
	}
	s, err := w.Machines.ShowBMC(w.Admin(t), id)
	if err != nil || !b.lets(s.InUse.User, s.InUse.Password) || s.Previous == nil || e.asks == 0 {
		t.Errorf("got %v after asking %d times", err, e.asks)
	}
	if _, err := w.Controllers.RotateShared(w.Admin(t), false); err != nil {
		t.Errorf("the shared secret: %v", err)
	}
	if _, err := w.Controllers.RevealShared(w.Admin(t)); err != nil {
		t.Errorf("the shared secret: %v", err)
	}
}
