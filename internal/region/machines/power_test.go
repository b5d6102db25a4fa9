package machines_test

import (
	"context"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/wire"
)

// silent is a BMC that never answers.
func silent(context.Context, wire.PowerRequest) (wire.PowerResponse, error) {
	return wire.PowerResponse{}, fault.New(fault.Unavailable, "BMC 10.9.0.1 does not answer.")
}

// TestBMCNeverAnswers fails what waits for a BMC that never answers, with the reason, once the command's life is over.
func TestBMCNeverAnswers(t *testing.T) {
	no := false
	for name, c := range map[string]struct {
		begin  func(w *world, id string) error
		status metal.Status
		reason string
	}{
		"commission": {func(w *world, id string) error { _, err := w.Machines.Commission(w.Admin(t), id, ""); return err }, metal.FailedCommissioning, "Failed to power cycle: BMC 10.9.0.1 does not answer."},
		"deploy": {func(w *world, id string) error {
			_, err := w.Machines.Deploy(w.Admin(t), id, machines.DeployRequest{})
			return err
		}, metal.FailedDeployment, "Failed to power cycle: BMC 10.9.0.1 does not answer."},
		"release": {func(w *world, id string) error {
			w.rack.OnPower(nil)
			w.deployed(t, id)
			w.rack.OnPower(silent)
			_, err := w.Machines.Release(w.Admin(t), id, machines.ReleaseRequest{Erase: &no})
			return err
		}, metal.FailedReleasing, "Failed to power off: BMC 10.9.0.1 does not answer."},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.image(t, "debian12")
			id := w.m.Ready(t, "m").SystemID
			w.power(t)
			w.rack.OnPower(silent)
			if err := c.begin(w, id); err != nil {
				t.Fatal(err)
			}
			begun := w.clock.Now()
			for w.clock.Now().Sub(begun) <= machines.CommandLife {
				if s := w.Row(t, id).Status; s == c.status {
					t.Fatalf("it failed already after %v", w.clock.Now().Sub(begun))
				}
				w.clock.Advance(31 * time.Second)
				w.power(t)
			}
			w.want(t, id, c.status, c.reason)
			if row := w.Row(t, id); row.PowerState != metal.PowerError || row.PowerError == "" {
				t.Errorf("got power %s (%q), want an error", row.PowerState, row.PowerError)
			}
			if n, err := w.Machines.RunDue(context.Background()); n != 0 || err != nil {
				t.Errorf("got %d commands left, %v", n, err)
			}
		})
	}
}

// TestNoRackConnected fails with the reason, too.
func TestNoRackConnected(t *testing.T) {
	w := newWorld(t)
	id := w.m.Add(t, "m").SystemID
	w.Controllers.Detach(w.rack.ID, w.rack)
	if _, err := w.Machines.Commission(w.Admin(t), id, ""); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(machines.CommandLife + time.Second)
	w.power(t)
	w.want(t, id, metal.FailedCommissioning, "No rack controller is connected")
}

// TestPowerOfWhatIsOver carries out no network boot that nobody waits for any more: it would restart a machine
// that was released, failed or aborted meanwhile.
func TestPowerOfWhatIsOver(t *testing.T) {
	w := newWorld(t)
	w.image(t, "debian12")
	id := w.m.Ready(t, "m").SystemID // its agent was faster than the command
	w.power(t)
	if calls := w.rack.Power(); len(calls) != 0 {
		t.Errorf("a Ready machine was sent %+v", calls)
	}
	if _, err := w.Machines.Commission(w.Admin(t), id, ""); err != nil {
		t.Fatal(err)
	}
	w.m.Start(t)
	w.m.Done(t, "broken")
	w.power(t)
	if calls := w.rack.Power(); len(calls) != 0 {
		t.Errorf("a failed machine was sent %+v", calls)
	}
	w.want(t, id, metal.FailedCommissioning, "broken")
	if n, err := w.Machines.RunDue(context.Background()); n != 0 || err != nil {
		t.Errorf("got %d commands left, %v", n, err)
	}
}

// TestPowerOffWhileErasing does not end a release whose disks are not erased yet.
func TestPowerOffWhileErasing(t *testing.T) {
	w := newWorld(t)
	w.image(t, "debian12")
	id := w.m.Ready(t, "m").SystemID
	w.deployed(t, id)
	if _, err := w.Machines.Release(w.Admin(t), id, machines.ReleaseRequest{}); err != nil {
		t.Fatal(err)
	}
	w.power(t)
	w.m.Start(t)
	if _, err := w.Machines.Power(w.Admin(t), id, metal.ActionOff, "", ""); err != nil {
		t.Fatal(err)
	}
	w.power(t)
	w.want(t, id, metal.Releasing, "")
	w.clock.Advance(31 * time.Minute)
	w.expire(t)
	w.want(t, id, metal.FailedReleasing, "Timed out: the agent went silent during releasing.")
}

// TestPowerKeyTickets reveals power parameters for an open ticket on the right rack only.
func TestPowerKeyTickets(t *testing.T) {
	w := newWorld(t)
	id := w.m.Add(t, "m").SystemID
	other := w.AddRack(t, "rack1", prefix("10.0.1.2/24"))
	ctx := w.rack.Ctx()
	for _, audited := range []bool{true, false} {
		ticket, done := w.Machines.Ticket(w.rack.ID, id, audited)
		req := wire.PowerKeyRequest{CommandID: ticket, SystemID: id}
		resp, err := w.Machines.PowerKey(ctx, w.rack.ID, req)
		p := resp.Parameters
		if err != nil || p["power_pass"] != regiontest.BMCPassword || p["power_address"] != "10.9.0.1" {
			t.Errorf("got %v, %v, want the parameters", p, err)
		}
		refused := func(name string, rack *regiontest.Rack, req wire.PowerKeyRequest) {
			t.Helper()
			before := w.security(t, "power_key_refused")
			if p, err := w.Machines.PowerKey(rack.Ctx(), rack.ID, req); !fault.Is(err, fault.Forbidden) || len(p.Parameters) > 0 {
				t.Errorf("%s: got %v, %v, want Forbidden", name, p, err)
			}
			if n := w.security(t, "power_key_refused") - before; n != 1 {
				t.Errorf("%s: got %d events, want 1", name, n)
			}
		}
		refused("other rack", other, req)
		refused("other machine", w.rack, wire.PowerKeyRequest{CommandID: ticket, SystemID: "other"})
		refused("no ticket", w.rack, wire.PowerKeyRequest{CommandID: ticket + 1, SystemID: id})
		refused("zero", w.rack, wire.PowerKeyRequest{SystemID: id})
		done()
		refused("closed ticket", w.rack, req)
	}
	plain, set, err := w.Machines.PowerParameters(w.Admin(t), id)
	if err != nil || plain["power_pass"] != "" || len(set) != 1 || set[0] != "power_pass" {
		t.Errorf("got %v, %v, %v, want no secret", plain, set, err)
	}
}
