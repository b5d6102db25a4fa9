package machines_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

const canaryData = "#cloud-config\nruncmd: [echo canary-user-data]\n"

// TestWholeLife leads a machine from its first boot back to the stock. Nothing secret is left in events and trail.
func TestWholeLife(t *testing.T) {
	w := newWorld(t)
	w.image(t, "debian12")
	admin := w.Admin(t)

	w.m.Start(t)
	w.m.Found(t)
	w.m.Done(t, "")
	var id string
	w.View(t, func(v *store.View) error {
		m, err := v.MachineByMAC(w.m.MAC)
		id = m.SystemID
		return err
	})
	w.want(t, id, metal.New, "")
	if d := w.m.Boot(t); d.Kind != metal.BootRefuse || d.Token != "" {
		t.Errorf("a New machine boots: got %+v, want refuse", d)
	}

	kind := "ipmi"
	power := metal.PowerParameters{"power_address": "10.9.0.1", "power_user": "admin", "power_pass": regiontest.BMCPassword}
	if _, err := w.Machines.Update(admin, id, machines.NewMachine{PowerType: &kind, PowerParameters: power}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Machines.Commission(admin, id, ""); err != nil {
		t.Fatal(err)
	}
	w.want(t, id, metal.Commissioning, "")
	w.power(t)
	if calls := w.rack.Power(); len(calls) != 1 || calls[0].Action != metal.ActionCycle || calls[0].Boot != metal.BootNetwork {
		t.Errorf("got power commands %+v, want one cycle into the network", calls)
	}
	w.m.Start(t)
	w.m.Found(t)
	w.m.Pass(t)
	w.m.Done(t, "")
	w.want(t, id, metal.Ready, "")

	w.deploying(t, id, canaryData)
	w.want(t, id, metal.Deploying, "")
	seed, err := w.Machines.Seed(w.rack.Ctx(), w.m.Ref)
	if err != nil {
		t.Fatal(err)
	}
	if string(seed.UserData) != canaryData || len(seed.MetadataCA) == 0 {
		t.Errorf("got user data %q and a CA of %d bytes", seed.UserData, len(seed.MetadataCA))
	}
	credential := phone(t, seed)
	call := wire.PhoneHomeRequest{Credential: credential, IP: w.m.IP}
	wantKind(t, w.Machines.PhoneHome(w.rack.Ctx(), call), fault.Unauthenticated) // the agent is still at work
	w.m.Done(t, "")
	if d, err := w.Machines.BootDecision(w.rack.Ctx(), wire.BootRequest{MAC: w.m.MAC, IP: w.m.IP}); err != nil || d.Kind != metal.BootLocal {
		t.Errorf("after the installation: got %+v, %v, want local", d, err)
	}
	if _, err := w.Machines.Seed(w.rack.Ctx(), w.m.Ref); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a seed after the end: got %v, want Unauthenticated", err)
	}
	other := w.AddRack(t, "rack1", prefix("10.0.1.2/24"))
	wantKind(t, w.Machines.PhoneHome(other.Ctx(), call), fault.Unauthenticated)
	wantKind(t, w.Machines.PhoneHome(w.rack.Ctx(), wire.PhoneHomeRequest{Credential: "guess", IP: w.m.IP}), fault.Unauthenticated)
	if err := w.Machines.PhoneHome(w.rack.Ctx(), call); err != nil {
		t.Fatal(err)
	}
	w.want(t, id, metal.Deployed, "")
	if got := w.ip(t, id); got != w.m.IP {
		t.Errorf("got address %v, want %v", got, w.m.IP)
	}
	wantKind(t, w.Machines.PhoneHome(w.rack.Ctx(), call), fault.Unauthenticated) // it works once
	if n := w.security(t, "phone_home_refused"); n != 3 {
		t.Errorf("got %d events of refused reports, want 3", n)
	}

	if _, err := w.Machines.Release(admin, id, machines.ReleaseRequest{}); err != nil {
		t.Fatal(err)
	}
	w.want(t, id, metal.Releasing, "")
	w.power(t)
	w.m.Start(t)
	task, err := w.Machines.Task(w.rack.Ctx(), w.m.Ref)
	if err != nil || task.Purpose != metal.PurposeErase || task.Erase == nil {
		t.Errorf("got task %+v, %v, want an erasure", task, err)
	}
	w.m.Done(t, "")
	w.want(t, id, metal.Ready, "")
	if row := w.Row(t, id); row.Owner != "" || row.OSystem != "" {
		t.Errorf("the released machine keeps owner %q and system %q", row.Owner, row.OSystem)
	}
	if got := w.ip(t, id); got.IsValid() {
		t.Errorf("the released machine keeps address %v", got)
	}

	var text strings.Builder
	for _, e := range w.Trail(t) {
		fmt.Fprintln(&text, e)
	}
	for _, e := range w.events(t, id) {
		fmt.Fprintln(&text, e)
	}
	for _, canary := range []string{regiontest.BMCPassword, "canary-user-data", credential, w.m.Token} {
		if strings.Contains(text.String(), canary) {
			t.Errorf("the trail or the events contain %q", canary)
		}
	}
	var refs []string
	for _, e := range w.Trail(t) {
		if e.Action == "machine.read_seed" && e.Outcome == metal.OutcomeSuccess {
			refs = append(refs, e.Target)
		}
	}
	if len(refs) != 1 || refs[0] != "machine:"+id {
		t.Errorf("the trail has seeds of %v, want one of this machine", refs)
	}
}

// TestEnlistExistingMAC has an unknown machine claim an interface of a known one: nothing changes.
func TestEnlistExistingMAC(t *testing.T) {
	w := newWorld(t)
	known := w.m.Ready(t, "known")
	before, nics := w.Row(t, known.SystemID), w.ip(t, known.SystemID)
	liar := w.machine(2)
	liar.Start(t)
	inv := liar.Inventory()
	inv.HardwareUUID = "other"
	inv.Interfaces = append(inv.Interfaces, metal.InventoryInterface{Name: "eth1", MAC: string(w.m.MAC)})
	wantKind(t, w.Machines.Found(w.rack.Ctx(), liar.Ref, inv), fault.Conflict)
	if after := w.Row(t, known.SystemID); fmt.Sprint(after) != fmt.Sprint(before) || w.ip(t, known.SystemID) != nics {
		t.Errorf("the record changed:\n%+v\n%+v", before, after)
	}
	if n := w.security(t, "enlistment_with_known_mac"); n != 1 {
		t.Errorf("got %d events, want 1", n)
	}
	inv = liar.Inventory() // without the interface that it booted from
	inv.Interfaces[0].MAC = "52:54:00:00:09:09"
	wantField(t, w.Machines.Found(w.rack.Ctx(), liar.Ref, inv), "interfaces", string(liar.MAC))
	w.View(t, func(v *store.View) error {
		n, err := v.CountMachines(metal.New)
		if n != 0 {
			t.Errorf("got %d New machines, want none", n)
		}
		return err
	})
	liar.Found(t)
	liar.Found(t) // a retry makes no second machine
	w.View(t, func(v *store.View) error {
		if n, err := v.CountMachines(metal.New); n != 1 {
			t.Errorf("got %d New machines, %v, want 1", n, err)
		}
		return nil
	})
}

// TestCandidateQuota bounds how many unknown machines wait.
func TestCandidateQuota(t *testing.T) {
	w := newWorld(t)
	w.set(t, "metalward_max_candidates", 2)
	for n := 1; n <= 2; n++ {
		m := w.machine(n)
		m.Start(t)
		m.Found(t)
		m.Done(t, "")
	}
	third := w.machine(3)
	req := wire.BootRequest{MAC: third.MAC, IP: third.IP}
	_, err := w.Machines.BootDecision(w.rack.Ctx(), req)
	wantKind(t, err, fault.Exhausted)
	w.set(t, "metalward_max_candidates", 3)
	third.Start(t)
}

// TestCommissioningNotPassed names the script that did not pass, or what the agent said.
func TestCommissioningNotPassed(t *testing.T) {
	for name, c := range map[string]struct {
		run    func(t *testing.T, m *regiontest.Machine)
		reason string
	}{
		"script": {func(t *testing.T, m *regiontest.Machine) {
			for i, s := range metal.CommissioningScripts {
				if i == 1 {
					m.Script(t, s.Name, metal.ScriptFailed, 3)
				} else {
					m.Script(t, s.Name, metal.ScriptPassed, 0)
				}
			}
			m.Done(t, "")
		}, "Commissioning scripts did not pass: " + metal.CommissioningScripts[1].Name + " (Failed)."},
		"missing": {func(t *testing.T, m *regiontest.Machine) { m.Done(t, "") }, metal.CommissioningScripts[0].Name + " (Pending)"},
		"agent":   {func(t *testing.T, m *regiontest.Machine) { m.Done(t, "no room in memory") }, "no room in memory"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			row := w.m.Add(t, "m")
			if _, err := w.Machines.Commission(w.Admin(t), row.SystemID, ""); err != nil {
				t.Fatal(err)
			}
			w.m.Start(t)
			w.m.Found(t)
			c.run(t, w.m)
			w.want(t, row.SystemID, metal.FailedCommissioning, c.reason)
			if err := w.Machines.Done(w.rack.Ctx(), wire.DoneRequest{BootRef: w.m.Ref, OK: true}); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("the ended boot is still heard: %v", err)
			}
		})
	}
}

// TestAllocate gives every machine to at most one user, and none when there is none.
func TestAllocate(t *testing.T) {
	w := newWorld(t)
	const none = "No machine is available."
	allocate := func(ctx context.Context, dry bool) (metal.Machine, error) {
		return w.Machines.Allocate(ctx, store.MachineQuery{}, "", "", dry, none)
	}
	if _, err := allocate(w.Admin(t), false); !fault.Is(err, fault.Conflict) || fault.Message(err) != none {
		t.Errorf("got %v, want Conflict", err)
	}
	const n = 4
	for i := 1; i <= n; i++ {
		w.machine(i).Ready(t, fmt.Sprint("m", i))
	}
	if m, err := allocate(w.Admin(t), true); err != nil || w.Row(t, m.SystemID).Status != metal.Ready {
		t.Errorf("a dry run: got %+v, %v", m, err)
	}
	var users []context.Context
	for i := range 2 * n {
		users = append(users, w.User(t, fmt.Sprint("user", i), false))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken, refused := map[string]int{}, 0
	for _, ctx := range users {
		wg.Go(func() {
			m, err := allocate(ctx, false)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				taken[m.SystemID]++
			case fault.Is(err, fault.Conflict):
				refused++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(taken) != n || refused != n {
		t.Errorf("got %d machines taken and %d refusals, want %d of each", len(taken), refused, n)
	}
	for id, times := range taken {
		if times != 1 {
			t.Errorf("machine %s was given to %d users", id, times)
		}
	}
}

// TestDeployNeeds names what a deployment lacks.
func TestDeployNeeds(t *testing.T) {
	w := newWorld(t)
	row := w.m.Ready(t, "m")
	deploy := func(r machines.DeployRequest) error {
		_, err := w.Machines.Deploy(w.Admin(t), row.SystemID, r)
		return err
	}
	wantField(t, deploy(machines.DeployRequest{}), "distro_series", "There is no complete image")
	wantField(t, deploy(machines.DeployRequest{Series: "noble"}), "distro_series", "'noble' is not a complete image")
	w.image(t, "debian12")
	w.image(t, "debian13")
	wantField(t, deploy(machines.DeployRequest{}), "distro_series", "There are 2 images")
	w.want(t, row.SystemID, metal.Ready, "")

	if _, err := w.Machines.Commission(w.Admin(t), row.SystemID, ""); err != nil {
		t.Fatal(err)
	}
	w.m.Start(t)
	bare := w.m.Inventory()
	bare.Disks = nil
	if err := w.Machines.Found(w.rack.Ctx(), w.m.Ref, bare); err != nil {
		t.Fatal(err)
	}
	w.m.Pass(t)
	w.m.Done(t, "")
	wantField(t, deploy(machines.DeployRequest{Series: "debian12"}), "storage", "no disk")
	w.want(t, row.SystemID, metal.Ready, "")
	w.recommission(t, row.SystemID)
	if err := deploy(machines.DeployRequest{Series: "custom/debian12"}); err != nil {
		t.Error(err)
	}
	wantKind(t, deploy(machines.DeployRequest{Series: "debian12"}), fault.Conflict) // while it deploys
}

// TestSeed is for the claimed boot of a deployment only.
func TestSeed(t *testing.T) {
	w := newWorld(t)
	w.image(t, "debian12")
	row := w.m.Add(t, "m")
	if _, err := w.Machines.Commission(w.Admin(t), row.SystemID, ""); err != nil {
		t.Fatal(err)
	}
	w.m.Start(t)
	_, err := w.Machines.Seed(w.rack.Ctx(), w.m.Ref)
	wantKind(t, err, fault.Conflict) // this boot is a commissioning
	w.m.Found(t)
	w.m.Pass(t)
	w.m.Done(t, "")
	w.deploying(t, row.SystemID, "")
	other := w.AddRack(t, "rack1", prefix("10.0.1.2/24"))
	for name, try := range map[string]func() error{
		"other rack": func() error { _, err := w.Machines.Seed(other.Ctx(), w.m.Ref); return err },
		"no hash": func() error {
			_, err := w.Machines.Seed(w.rack.Ctx(), wire.BootRef{BootID: w.m.Ref.BootID})
			return err
		},
		"other hash": func() error {
			_, err := w.Machines.Seed(w.rack.Ctx(), wire.BootRef{BootID: w.m.Ref.BootID, CertHash: strings.Repeat("0", 64)})
			return err
		},
		"unknown boot": func() error {
			_, err := w.Machines.Seed(w.rack.Ctx(), wire.BootRef{BootID: "x", CertHash: w.m.Ref.CertHash})
			return err
		},
	} {
		if err := try(); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: got %v, want Unauthenticated", name, err)
		}
	}
	if n := w.security(t, "boot_certificate_refused"); n != 4 {
		t.Errorf("got %d events, want 4", n)
	}
	first, err := w.Machines.Seed(w.rack.Ctx(), w.m.Ref)
	if err != nil {
		t.Fatal(err)
	}
	// Somebody presents the token again: the boot is over, and so is the credential handed out before.
	_, err = w.Machines.Claim(w.rack.Ctx(), w.m.ClaimRequest(t))
	wantKind(t, err, fault.Forbidden)
	_, err = w.Machines.Seed(w.rack.Ctx(), w.m.Ref)
	wantKind(t, err, fault.Unauthenticated)
	wantKind(t, w.Machines.PhoneHome(w.rack.Ctx(), wire.PhoneHomeRequest{Credential: phone(t, first), IP: w.m.IP}), fault.Unauthenticated)
	w.want(t, row.SystemID, metal.FailedDeployment, "Two clients presented")
}

// TestUserDataForms decodes base64 as MAAS does, and refuses what would hide the end of a deployment.
func TestUserDataForms(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "",
		"#!/bin/sh\necho":             "#!/bin/sh\necho",
		"IyEvYmluL3NoCg==":            "#!/bin/sh\n",
		"IyEvYmlu\n L3NoCg==\n":       "#!/bin/sh\n",
		"IyEvYmluL3NoCh==":            "IyEvYmluL3NoCh==", // encodes differently: taken verbatim
		"abc":                         "abc",
		"#cloud-config\nphones: {}\n": "#cloud-config\nphones: {}\n",
	} {
		if got, err := machines.DecodeUserData(in); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for in, text := range map[string]string{
		"#cloud-config\nphone_home: {url: x}\n":            "phone_home",
		"I2Nsb3VkLWNvbmZpZwpwaG9uZV9ob21lOiB7dXJsOiB4fQo=": "phone_home",
		"#cloud-config\n{":                                 "not valid YAML",
		strings.Repeat("x ", machines.MaxUserData/2) + "x": "at most",
	} {
		_, err := machines.DecodeUserData(in)
		wantField(t, err, "user_data", text)
	}
}

// TestImageReplacedMeanwhile lets a deployment have the version of the image that it began with, until it is over.
func TestImageReplacedMeanwhile(t *testing.T) {
	w := newWorld(t)
	id := w.m.Ready(t, "m").SystemID
	w.image(t, "disk")
	w.deploying(t, id, "")
	task, err := w.Machines.Task(w.rack.Ctx(), w.m.Ref)
	if err != nil {
		t.Fatal(err)
	}
	there := func() error {
		f, err := w.Images.Open(w.rack.Ctx(), task.Deploy.ImageSHA256)
		if err == nil {
			_ = f.Close()
		}
		return err
	}
	w.upload(t, "disk", "the next")
	w.upload(t, "disk", "the one after that")
	if err := there(); err != nil {
		t.Errorf("the version that the deployment began with: %v", err)
	}
	if _, err := w.Machines.Abort(w.Admin(t), id, ""); err != nil {
		t.Fatal(err)
	}
	w.upload(t, "disk", "the last")
	wantKind(t, there(), fault.NotFound)
}
