package machines_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

func TestMain(m *testing.M) { regiontest.Main(m) }

const (
	userData = "#cloud-config\nwrite_files: [{path: /x, content: canary-user-data}]\n"
	sshKey   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl alice@desk"
)

// lab is a region with a rack, under a clock that stands still until everybody waits.
type lab struct {
	*testing.T
	*regiontest.Core
	rack  *regiontest.Rack
	other *regiontest.Rack // serves another network
	admin context.Context
	alice context.Context
	n     int
}

// in runs a story in a bubble of its own.
func in(t *testing.T, story func(*lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		core := regiontest.New(t, time.Now)
		story(newLab(t, core))
	})
}

func newLab(t *testing.T, core *regiontest.Core) *lab {
	l := &lab{T: t, Core: core, admin: core.Admin(t), alice: core.User(t, "alice", false)}
	l.rack = core.AddRack(t, "rack1", netip.MustParsePrefix("10.0.0.2/24"))
	l.other = core.AddRack(t, "rack2", netip.MustParsePrefix("10.1.0.2/24"))
	image := metal.BootResource{Name: "custom/tiny", Architecture: "amd64/generic", FileType: "ddraw", SizeBytes: 4, SHA256: strings.Repeat("ab", 32), Received: 4, Complete: true}
	l.must(core.Gate.Do(l.admin, authz.ImageEdit, func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounImage}); err != nil {
			return err
		}
		return c.Tx().AddBootResource(&image)
	}))
	_, err := core.Identity.AddSSHKey(l.alice, sshKey)
	l.must(err)
	return l
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// ok takes a machine call's results and fails on an error.
func (l *lab) ok(m metal.Machine, err error) metal.Machine {
	l.Helper()
	l.must(err)
	return m
}

// machine is the next machine on the rack's VLAN.
func (l *lab) machine() *regiontest.Machine {
	l.n++
	return &regiontest.Machine{Core: l.Core, Rack: l.rack, MAC: metal.MAC(fmt.Sprintf("52:54:00:00:00:%02x", l.n)), IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + l.n)})}
}

func (l *lab) status(id string, want metal.Status, reason string) metal.Machine {
	l.Helper()
	m := l.Row(l.T, id)
	if m.Status != want || !strings.Contains(m.ErrorText, reason) {
		l.Errorf("got %s (%q), want %s with %q", m.Status, m.ErrorText, want, reason)
	}
	return m
}

func (l *lab) want(err error, kind fault.Kind) {
	l.Helper()
	if !fault.Is(err, kind) {
		l.Errorf("got %v (kind %s), want kind %s", err, fault.KindOf(err), kind)
	}
}

// work runs the service's loops for a while.
func (l *lab) work(d time.Duration) {
	l.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Machines.Run(ctx) }()
	time.Sleep(d)
	cancel()
	<-done
}

// noted reports whether the trail has an event with a detail.
func (l *lab) noted(outcome, key, value string) bool {
	l.Helper()
	return slices.ContainsFunc(l.Trail(l.T), func(e metal.AuditEvent) bool { return e.Outcome == outcome && e.Detail[key] == value })
}

func (l *lab) event(id, kind string) bool {
	l.Helper()
	d, err := l.Machines.Get(l.admin, id)
	l.must(err)
	return slices.ContainsFunc(d.Events, func(e metal.Event) bool { return e.Type == kind })
}

func (l *lab) deploy(id string) metal.Machine {
	l.Helper()
	return l.ok(l.Machines.Deploy(l.alice, id, machines.DeployRequest{Series: "tiny", UserData: base64.StdEncoding.EncodeToString([]byte(userData))}))
}

// noSecrets looks for secrets in the trail and in events.
func noSecrets(l *lab, more ...string) {
	l.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%+v", l.Trail(l.T))
	events, _, err := l.Machines.Events(l.admin, store.EventQuery{Limit: 10000})
	l.must(err)
	fmt.Fprintf(&b, "%+v", events)
	for _, s := range append(more, "canary-user-data", regiontest.BMCPassword, base64.StdEncoding.EncodeToString([]byte(userData))) {
		if s == "" || strings.Contains(b.String(), s) {
			l.Errorf("the trail or an event shows %q", s)
		}
	}
}

// TestTwoMachinesOneMAC refuses an inventory that claims another machine's interface.
func TestTwoMachinesOneMAC(t *testing.T) {
	in(t, func(l *lab) {
		a, b := l.machine(), l.machine()
		a.Add(t, "a")
		row := b.Add(t, "b")
		l.ok(l.Machines.Commission(l.admin, row.SystemID, ""))
		b.Start(t)
		inv := b.Inventory()
		inv.Interfaces = append(inv.Interfaces, metal.InventoryInterface{Name: "eth1", MAC: string(a.MAC)})
		l.want(l.Machines.Found(l.rack.Ctx(), b.Ref, inv), fault.Conflict)
		if got := l.Row(t, row.SystemID); got.CPUCount != 0 {
			t.Error("part of the inventory was taken")
		}
	})
}

// TestAllocateApart has many take machines at once: no two share one.
func TestAllocateOnBothEngines(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		core := regiontest.Open(t, t.TempDir(), dsn, regiontest.NewClock().Now)
		l := newLab(t, core)
		const have, want = 4, 10
		for i := range have {
			l.machine().Ready(t, fmt.Sprint("m", i))
		}
		var mu sync.Mutex
		taken, none := map[string]int{}, 0
		var wg sync.WaitGroup
		for i := range want {
			user := core.User(t, fmt.Sprint("user", i), false)
			wg.Go(func() {
				m, err := core.Machines.Allocate(user, store.MachineQuery{}, "", "", false, "none")
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					taken[m.SystemID]++
				case fault.Is(err, fault.Conflict):
					none++
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(taken) != have || none != want-have {
			t.Errorf("got %d machines taken and %d without, want %d and %d", len(taken), none, have, want-have)
		}
		for id, n := range taken {
			if n != 1 || core.Row(t, id).Owner == "" {
				t.Errorf("machine %s was taken %d times", id, n)
			}
		}
	})
}

// TestDeadlineLoop needs no hands.
func TestDeadlineLoop(t *testing.T) {
	in(t, func(l *lab) {
		m := l.machine()
		row := l.deploy(m.Ready(t, "m").SystemID)
		time.Sleep(29*time.Minute + 50*time.Second)
		l.work(15 * time.Second)
		l.status(row.SystemID, metal.FailedDeployment, "did not network-boot")
	})
}

// TestSilentBMC fails a deployment whose BMC never answers, within the life of a command, with the reason.
func TestBMCTakesTooLong(t *testing.T) {
	for name, answer := range map[string]func(context.Context, wire.PowerRequest) (wire.PowerResponse, error){
		"never answers": func(ctx context.Context, _ wire.PowerRequest) (wire.PowerResponse, error) {
			<-ctx.Done()
			return wire.PowerResponse{}, fmt.Errorf("cannot call power: %w: %w", fault.New(fault.Unavailable, "The other controller did not answer in time."), ctx.Err())
		},
		"says no": func(context.Context, wire.PowerRequest) (wire.PowerResponse, error) {
			return wire.PowerResponse{State: metal.PowerError, Error: "wrong password at the BMC did not answer in time"}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(l *lab) {
				m := l.machine()
				ready := m.Ready(t, "m")
				l.work(2 * time.Second) // the power cycle of commissioning
				l.rack.OnPower(answer)
				row := l.deploy(ready.SystemID)
				l.work(2 * time.Minute)
				l.status(row.SystemID, metal.Deploying, "") // tried again for a while
				l.work(2 * time.Minute)
				l.status(row.SystemID, metal.FailedDeployment, "Failed to power cycle")
				l.status(row.SystemID, metal.FailedDeployment, "did not answer in time")
				if !l.event(row.SystemID, "Failed to power cycle node") {
					t.Error("no event tells of it")
				}
				if n := len(l.rack.Power()); n < 3 {
					t.Errorf("got %d tries", n)
				}
				if got := l.Row(t, row.SystemID); got.PowerState != metal.PowerError || got.PowerError == "" {
					t.Errorf("got power %s, %q", got.PowerState, got.PowerError)
				}
			})
		})
	}
}

// TestNoRack keeps a command until a rack is there.
func TestRackComesBack(t *testing.T) {
	in(t, func(l *lab) {
		m := l.machine()
		ready := m.Ready(t, "m")
		l.work(2 * time.Second)
		n := len(l.rack.Power())
		l.Controllers.Detach(l.rack.ID, l.rack)
		l.Controllers.Detach(l.other.ID, l.other)
		row := l.deploy(ready.SystemID)
		l.work(30 * time.Second)
		l.status(row.SystemID, metal.Deploying, "")
		l.Controllers.Attach(l.rack.ID, l.rack)
		l.work(40 * time.Second)
		if calls := l.rack.Power(); len(calls) != n+1 || calls[n].Action != metal.ActionCycle {
			t.Errorf("got %+v, want the one cycle", calls[n:])
		}
	})
}

// TestReplacedCommand carries out the command that replaced one under way: an abort turns the machine off
// after the power cycle that it came too late for.
func TestReplacedCommand(t *testing.T) {
	in(t, func(l *lab) {
		m := l.machine()
		row := m.Ready(t, "m")
		l.work(2 * time.Second)
		n := len(l.rack.Power())
		l.rack.OnPower(func(_ context.Context, r wire.PowerRequest) (wire.PowerResponse, error) {
			if r.Action == metal.ActionCycle {
				time.Sleep(5 * time.Second)
			}
			return wire.PowerResponse{State: metal.PowerOn}, nil
		})
		l.deploy(row.SystemID)
		time.AfterFunc(3*time.Second, func() { l.ok(l.Machines.Abort(l.alice, row.SystemID, "")) })
		l.work(20 * time.Second)
		var did []metal.PowerAction
		for _, c := range l.rack.Power()[n:] {
			did = append(did, c.Action)
		}
		if !slices.Equal(did, []metal.PowerAction{metal.ActionCycle, metal.ActionOff}) {
			t.Errorf("got %v, want the cycle and then off", did)
		}
		l.status(row.SystemID, metal.Allocated, "")
	})
}

// TestReleaseAllocated writes to no disk of a machine that nothing was deployed on.
func TestReleaseAllocated(t *testing.T) {
	in(t, func(l *lab) {
		m := l.machine()
		row := m.Ready(t, "m")
		l.ok(l.Machines.Allocate(l.alice, store.MachineQuery{}, "", "", false, ""))
		l.ok(l.Machines.Release(l.alice, row.SystemID, machines.ReleaseRequest{}))
		l.work(2 * time.Second)
		l.status(row.SystemID, metal.Ready, "")
		if d := m.Boot(t); d.Kind != metal.BootLocal {
			t.Errorf("got %+v, want the disk", d)
		}
	})
}

// TestUserDataRefused refuses what would keep us from hearing of the end, and changes nothing then.
func TestUserDataRefused(t *testing.T) {
	in(t, func(l *lab) {
		m := l.machine()
		row := m.Ready(t, "m")
		for name, c := range map[string]struct{ text, why string }{
			"phone_home":           {"#cloud-config\nphone_home: {url: http://x}\n", "phone_home"},
			"phone_home in base64": {base64.StdEncoding.EncodeToString([]byte("#cloud-config\nphone_home: {url: http://x}\n")), "phone_home"},
			"quoted phone_home":    {"#cloud-config\n\"phone_home\": {url: http://x}\n", "phone_home"},
			"merged phone_home":    {"#cloud-config\n<<: {phone_home: {url: http://x}}\n", "phone_home"},
			"not YAML":             {"#cloud-config\n\t:", "not valid YAML"},
			"too large":            {strings.Repeat("x", machines.MaxUserData+1), "at most"},
		} {
			_, err := l.Machines.Deploy(l.alice, row.SystemID, machines.DeployRequest{UserData: c.text})
			if f, ok := fault.As(err); !ok || f.Kind != fault.Invalid || !strings.Contains(strings.Join(f.Fields["user_data"], " "), c.why) {
				t.Errorf("%s: got %v, want Invalid on user_data with %q", name, err, c.why)
			}
			l.status(row.SystemID, metal.Ready, "")
		}
	})
}

// TestLock keeps everybody from changing a locked machine.
func TestLock(t *testing.T) {
	in(t, func(l *lab) {
		row := l.deploy(l.machine().Ready(t, "m").SystemID)
		l.ok(l.Machines.SetLock(l.alice, row.SystemID, true))
		_, err := l.Machines.SetLock(l.alice, row.SystemID, true)
		l.want(err, fault.Conflict)
		for _, ctx := range []context.Context{l.alice, l.admin} {
			_, err = l.Machines.Release(ctx, row.SystemID, machines.ReleaseRequest{})
			l.want(err, fault.Forbidden)
			_, err = l.Machines.Power(ctx, row.SystemID, metal.ActionOff, "", "")
			l.want(err, fault.Forbidden)
		}
		l.want(l.Machines.Delete(l.admin, row.SystemID), fault.Forbidden)
		l.ok(l.Machines.SetLock(l.alice, row.SystemID, false))
		l.ok(l.Machines.Release(l.alice, row.SystemID, machines.ReleaseRequest{}))
	})
}

// TestPowerKey gives power parameters to the rack that carries out a command, while it does, and to no other.
func TestPowerKeyDuringCommand(t *testing.T) {
	in(t, func(l *lab) {
		m := l.machine()
		row := m.Ready(t, "m")
		decoy := l.machine()
		decoyRow := decoy.Add(t, "decoy")
		l.work(2 * time.Second)
		var seen wire.PowerRequest
		l.rack.OnPower(func(_ context.Context, r wire.PowerRequest) (wire.PowerResponse, error) {
			if r.SystemID != row.SystemID || r.Action != metal.ActionCycle {
				return wire.PowerResponse{State: metal.PowerOn}, nil
			}
			seen = r
			key := wire.PowerKeyRequest{CommandID: r.CommandID, SystemID: r.SystemID}
			resp, err := l.Machines.PowerKey(l.rack.Ctx(), l.rack.ID, key)
			p := resp.Parameters
			if err != nil || resp.Other != nil || p["power_pass"] != regiontest.BMCPassword || p["power_user"] != "admin" {
				t.Errorf("got %v, %v", p, err)
			}
			for name, c := range map[string]struct {
				rack *regiontest.Rack
				key  wire.PowerKeyRequest
			}{
				"another rack":    {l.other, key},
				"another machine": {l.rack, wire.PowerKeyRequest{CommandID: r.CommandID, SystemID: decoyRow.SystemID}},
				"another command": {l.rack, wire.PowerKeyRequest{CommandID: r.CommandID + 1, SystemID: r.SystemID}},
				"no command":      {l.rack, wire.PowerKeyRequest{SystemID: r.SystemID}},
			} {
				if p, err := l.Machines.PowerKey(c.rack.Ctx(), c.rack.ID, c.key); !fault.Is(err, fault.Forbidden) || len(p.Parameters) != 0 {
					t.Errorf("%s: got %v, %v; want Forbidden", name, p, err)
				}
			}
			return wire.PowerResponse{State: metal.PowerOn}, nil
		})
		l.deploy(row.SystemID)
		l.work(3 * time.Second)
		if seen.CommandID == 0 {
			t.Fatal("no power command came")
		}
		_, err := l.Machines.PowerKey(l.rack.Ctx(), l.rack.ID, wire.PowerKeyRequest{CommandID: seen.CommandID, SystemID: row.SystemID})
		l.want(err, fault.Forbidden) // the call is over
		if !l.noted(metal.OutcomeDenied, "event", "power_key_refused") {
			t.Error("the trail does not tell of refusals")
		}
		uses := 0
		for _, e := range l.Trail(t) {
			if e.Action == string(authz.MachinePowerKey) && e.Outcome == metal.OutcomeSuccess {
				uses++
			}
		}
		if uses != 1 {
			t.Errorf("got %d uses of the key in the trail, want 1", uses)
		}
		plain, set, err := l.Machines.PowerParameters(l.admin, row.SystemID)
		if err != nil || plain["power_pass"] != "" || !slices.Equal(set, []string{"power_pass"}) {
			t.Errorf("reading them back: got %v, %v, %v", plain, set, err)
		}
		_, _, err = l.Machines.PowerParameters(l.alice, row.SystemID)
		l.want(err, fault.Forbidden)
		noSecrets(l)
	})
}

// TestPowerParametersKept changes only what is sent.
func TestPowerParametersKept(t *testing.T) {
	in(t, func(l *lab) {
		row := l.machine().Add(t, "m")
		l.ok(l.Machines.Update(l.admin, row.SystemID, machines.NewMachine{PowerParameters: metal.PowerParameters{"power_address": "10.9.0.2"}}))
		plain, set, err := l.Machines.PowerParameters(l.admin, row.SystemID)
		if err != nil || plain["power_address"] != "10.9.0.2" || plain["power_user"] != "admin" || !slices.Contains(set, "power_pass") {
			t.Errorf("got %v, %v, %v", plain, set, err)
		}
		manual := "manual"
		l.ok(l.Machines.Update(l.admin, row.SystemID, machines.NewMachine{PowerType: &manual}))
		if plain, set, err = l.Machines.PowerParameters(l.admin, row.SystemID); err != nil || len(plain)+len(set) != 0 {
			t.Errorf("of another power type: got %v, %v, %v", plain, set, err)
		}
	})
}
