package machines_test

import (
	"context"
	"flag"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

// TestAnyOrder takes operations in any order, sensible or not. Whatever comes, every change of status is one of
// the life cycle, work has a deadline and rest has none, user data lives with its deployment only, and when the
// time is up nothing is left at work.
func TestAnyOrder(t *testing.T) {
	w := newWorld(t)
	w.image(t, "debian12")
	label := map[string]metal.Status{}
	for s := metal.New; s <= metal.FailedTesting; s++ {
		label[s.String()] = s
	}
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue { // each walk is long
		if err := f.Value.Set("40"); err != nil {
			t.Fatal(err)
		}
	}
	reached := map[metal.Status]bool{}
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n = n%90 + 1
		ctx, rack := w.Admin(t), w.rack.Ctx()
		m := w.machine(n)
		row := m.Add(t, "")
		id := row.SystemID
		defer func() {
			if err := w.Machines.Delete(ctx, id); err != nil {
				rt.Fatal(err)
			}
		}()
		w.rack.OnPower(nil)
		var credential string
		var seen int64 // the last event that was checked
		yes, no := true, false
		ops := map[string]func() error{
			"commission": func() error { _, err := w.Machines.Commission(ctx, id, ""); return err },
			"allocate": func() error {
				_, err := w.Machines.Allocate(ctx, store.MachineQuery{SystemIDs: []string{id}}, "", "", false, "none")
				return err
			},
			"deploy":           func() error { _, err := w.Machines.Deploy(ctx, id, machines.DeployRequest{UserData: "x"}); return err },
			"release":          func() error { _, err := w.Machines.Release(ctx, id, machines.ReleaseRequest{}); return err },
			"release erased":   func() error { _, err := w.Machines.Release(ctx, id, machines.ReleaseRequest{Erase: &yes}); return err },
			"release unerased": func() error { _, err := w.Machines.Release(ctx, id, machines.ReleaseRequest{Erase: &no}); return err },
			"abort":            func() error { _, err := w.Machines.Abort(ctx, id, ""); return err },
			"power on":         func() error { _, err := w.Machines.Power(ctx, id, metal.ActionOn, "", ""); return err },
			"power off":        func() error { _, err := w.Machines.Power(ctx, id, metal.ActionOff, "", ""); return err },
			"BMC obeys": func() error {
				w.rack.OnPower(nil)
				_, err := w.Machines.RunDue(context.Background())
				return err
			},
			"BMC silent": func() error {
				w.rack.OnPower(silent)
				w.clock.Advance(time.Minute)
				_, err := w.Machines.RunDue(context.Background())
				return err
			},
			"boot": func() error {
				d, err := w.Machines.BootDecision(rack, wire.BootRequest{MAC: m.MAC, IP: m.IP})
				if d.Token != "" {
					m.Token = d.Token
				}
				return err
			},
			"claim": func() error {
				req := m.ClaimRequest(t)
				b, err := w.Machines.Claim(rack, req)
				if err == nil {
					m.Ref = wire.BootRef{BootID: b.BootID, CertHash: w.boot(t, b.BootID).CertHash}
				}
				return err
			},
			"found": func() error { return w.Machines.Found(rack, m.Ref, m.Inventory()) },
			"scripts pass": func() error {
				for _, s := range metal.CommissioningScripts {
					if err := w.Machines.Output(rack, wire.OutputRequest{BootRef: m.Ref, Script: s.Name, Stream: "stdout", Status: metal.ScriptPassed}); err != nil {
						return err
					}
				}
				return nil
			},
			"seed": func() error {
				seed, err := w.Machines.Seed(rack, m.Ref)
				if err == nil {
					credential = phone(t, seed)
				}
				return err
			},
			"done":   func() error { return w.Machines.Done(rack, wire.DoneRequest{BootRef: m.Ref, OK: true}) },
			"failed": func() error { return w.Machines.Done(rack, wire.DoneRequest{BootRef: m.Ref, Error: "no"}) },
			"phone home": func() error {
				return w.Machines.PhoneHome(rack, wire.PhoneHomeRequest{Credential: credential, IP: m.IP})
			},
			"wait": func() error {
				w.clock.Advance(5 * time.Minute)
				return w.Machines.Expire(context.Background())
			},
			"lock":   func() error { _, err := w.Machines.SetLock(ctx, id, true); return err },
			"unlock": func() error { _, err := w.Machines.SetLock(ctx, id, false); return err },
		}
		// Chains of steps that belong together, so that random walks get far; each step is checked.
		chains := [][]string{{"commission", "boot", "claim", "found", "scripts pass", "done"}, {"deploy", "boot", "claim", "seed", "done", "phone home"},
			{"release erased", "boot", "claim", "done"}, {"release", "boot", "claim", "done"}, {"release unerased", "BMC obeys"}, {"BMC silent", "BMC silent", "BMC silent", "BMC silent"}, {"boot", "claim"}, {"deploy", "boot", "claim", "failed"}}
		names := slices.Sorted(maps.Keys(ops))
		step := rapid.OneOf(rapid.SampledFrom(chains), rapid.Map(rapid.SampledFrom(names), func(s string) []string { return []string{s} }))
		check := func(name string, before metal.Machine) metal.Machine {
			after := w.Row(t, id)
			reached[after.Status] = true
			at := before.Status
			for _, e := range w.events(t, id) {
				text, ok := strings.CutPrefix(e.Description, "From '")
				if e.Type != "Node changed status" || e.ID <= seen || !ok {
					continue
				}
				seen = e.ID
				one, two, _ := strings.Cut(text, "' to '")
				two, _, _ = strings.Cut(two, "'")
				if label[one] != at || !metal.CanMove(at, label[two]) {
					rt.Fatalf("%s: moved from %s to %s, was %s", name, one, two, at)
				}
				at = label[two]
			}
			if at != after.Status {
				rt.Fatalf("%s: it is %s, its events end in %s", name, after.Status, at)
			}
			_, working := after.Status.Failed()
			if working == after.Deadline.IsZero() {
				rt.Fatalf("%s: in %s the deadline is %v", name, after.Status, after.Deadline)
			}
			if after.Status != metal.Deploying && w.userData(t, id) {
				rt.Fatalf("%s: in %s there is user data", name, after.Status)
			}
			w.View(t, func(v *store.View) error {
				b, ok, err := v.OpenBoot(id)
				if ok && !working {
					rt.Fatalf("%s: in %s a boot for %s is open", name, after.Status, b.Purpose)
				}
				return err
			})
			return after
		}
		now := w.Row(t, id)
		for i := range 8 {
			steps := chains[0]
			if i > 0 || !rapid.Bool().Draw(rt, "commissioned") {
				steps = step.Draw(rt, "step")
			}
			for _, name := range steps {
				if err := ops[name](); err != nil && fault.KindOf(err) == fault.Internal {
					rt.Fatalf("%s in %s: %v", name, now.Status, err)
				}
				now = check(name, now)
			}
		}
		w.clock.Advance(31 * time.Minute)
		w.expire(t)
		now = check("the end", now)
		if _, working := now.Status.Failed(); working {
			rt.Fatalf("it is still %s", now.Status)
		}
		w.rack.OnPower(nil)
		w.power(t)
		if after := w.Row(t, id); after.Status != now.Status {
			rt.Fatalf("a command that was left moved it from %s to %s", now.Status, after.Status)
		}
		if now.Locked {
			if _, err := w.Machines.SetLock(ctx, id, false); err != nil {
				rt.Fatal(err)
			}
		}
	})
	for _, s := range []metal.Status{metal.Ready, metal.Allocated, metal.Deploying, metal.Deployed, metal.Releasing} {
		if !reached[s] {
			t.Logf("by chance no walk reached %s this time; TestWholeLife does", s)
		}
	}
}
