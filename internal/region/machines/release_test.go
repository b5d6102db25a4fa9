package machines_test

import (
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// TestReleaseShows follows a release of a deployed machine: what clients see depends on what they asked for.
func TestReleaseShows(t *testing.T) {
	yes, no := true, false
	for name, c := range map[string]struct {
		setting bool
		erase   *bool
		status  metal.Status
		erases  bool
	}{
		"default":         {true, nil, metal.Releasing, true},
		"asked":           {true, &yes, metal.DiskErasing, true},
		"asked, site off": {false, &yes, metal.DiskErasing, true},
		"site off":        {false, nil, metal.Releasing, false},
		"asked not to":    {true, &no, metal.Releasing, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.image(t, "debian12")
			id := w.m.Ready(t, "m").SystemID
			w.deployed(t, id)
			w.set(t, "enable_disk_erasing_on_release", c.setting)
			before := len(w.rack.Power())
			if _, err := w.Machines.Release(w.Admin(t), id, machines.ReleaseRequest{Erase: c.erase}); err != nil {
				t.Fatal(err)
			}
			w.want(t, id, c.status, "")
			w.power(t)
			calls := w.rack.Power()[before:]
			want := metal.ActionOff
			if c.erases {
				want = metal.ActionCycle
			}
			if len(calls) != 1 || calls[0].Action != want {
				t.Errorf("got power commands %+v, want one %s", calls, want)
			}
			if c.erases {
				w.want(t, id, c.status, "")
				w.m.Start(t)
				w.m.Done(t, "")
			}
			w.want(t, id, metal.Ready, "")
			if got := w.ip(t, id); got.IsValid() {
				t.Errorf("it keeps address %v", got)
			}
			if _, err := w.Machines.Release(w.Admin(t), id, machines.ReleaseRequest{}); err != nil {
				t.Errorf("a release of a Ready machine: %v", err)
			}
			w.want(t, id, metal.Ready, "")
		})
	}
}

// TestReleaseRefused keeps other people's and locked machines, and those that are not given out.
func TestReleaseRefused(t *testing.T) {
	w := newWorld(t)
	w.image(t, "debian12")
	id := w.m.Add(t, "m").SystemID
	release := func() error {
		_, err := w.Machines.Release(w.Admin(t), id, machines.ReleaseRequest{})
		return err
	}
	wantKind(t, release(), fault.Conflict)
	w.recommission(t, id)
	w.deployed(t, id)
	_, err := w.Machines.Release(w.User(t, "bob", false), id, machines.ReleaseRequest{})
	wantKind(t, err, fault.NotFound)
	if _, err := w.Machines.SetLock(w.Admin(t), id, true); err != nil {
		t.Fatal(err)
	}
	wantKind(t, release(), fault.Forbidden)
	w.want(t, id, metal.Deployed, "")
}

// TestErasureFails ends in the failure status of what the machine showed, with the agent's reason.
func TestErasureFails(t *testing.T) {
	yes := true
	for _, c := range []struct {
		erase  *bool
		status metal.Status
	}{{nil, metal.FailedReleasing}, {&yes, metal.FailedDiskErasing}} {
		w := newWorld(t)
		w.image(t, "debian12")
		id := w.m.Ready(t, "m").SystemID
		w.deployed(t, id)
		if _, err := w.Machines.Release(w.Admin(t), id, machines.ReleaseRequest{Erase: c.erase}); err != nil {
			t.Fatal(err)
		}
		w.m.Start(t)
		w.m.Done(t, "sda: input/output error")
		w.want(t, id, c.status, "sda: input/output error")
		if w.Row(t, id).Owner != "root" {
			t.Error("a machine that was not erased has no owner")
		}
	}
}

// TestTimedOut fails each working status when its time is up, with what it waited for.
func TestTimedOut(t *testing.T) {
	yes := true
	commission := func(w *world, t *testing.T, id string) {
		if _, err := w.Machines.Commission(w.Admin(t), id, ""); err != nil {
			t.Fatal(err)
		}
	}
	release := func(erase *bool) func(*world, *testing.T, string) {
		return func(w *world, t *testing.T, id string) {
			w.deployed(t, id)
			if _, err := w.Machines.Release(w.Admin(t), id, machines.ReleaseRequest{Erase: erase}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		begin  func(*world, *testing.T, string)
		status metal.Status
		reason string
	}{
		"commissioning, dark": {commission, metal.FailedCommissioning, "Timed out: the machine did not network-boot."},
		"commissioning, asked": {func(w *world, t *testing.T, id string) {
			commission(w, t, id)
			w.m.Boot(t)
		}, metal.FailedCommissioning, "Timed out: the machine network-booted, but its agent did not report."},
		"commissioning, claimed": {func(w *world, t *testing.T, id string) {
			commission(w, t, id)
			w.m.Start(t)
		}, metal.FailedCommissioning, "Timed out: the agent went silent during commissioning."},
		"deploying, claimed": {func(w *world, t *testing.T, id string) { w.deploying(t, id, "") }, metal.FailedDeployment, "Timed out: the agent went silent during deploying."},
		"deploying, rebooted": {func(w *world, t *testing.T, id string) {
			w.deploying(t, id, "")
			w.m.Done(t, "")
		}, metal.FailedDeployment, "Timed out: the image was installed, but the deployed system did not report back."},
		"releasing":    {release(nil), metal.FailedReleasing, "Timed out: the machine did not network-boot."},
		"disk erasing": {release(&yes), metal.FailedDiskErasing, "Timed out: the machine did not network-boot."},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.image(t, "debian12")
			w.set(t, "node_timeout", 7)
			id := w.m.Ready(t, "m").SystemID
			c.begin(w, t, id)
			status := w.Row(t, id).Status
			w.clock.Advance(7*time.Minute - time.Second)
			w.expire(t)
			w.want(t, id, status, "")
			w.clock.Advance(2 * time.Second)
			w.expire(t)
			w.want(t, id, c.status, c.reason)
			if got := w.userData(t, id); got {
				t.Error("user data outlives the work")
			}
		})
	}
}

// userData reports whether the store keeps user data of a machine.
func (w *world) userData(t testing.TB, id string) (ok bool) {
	t.Helper()
	w.View(t, func(v *store.View) (err error) {
		_, ok, err = v.Secret(secret.Ref("machine/" + id + "/user_data"))
		return err
	})
	return ok
}
