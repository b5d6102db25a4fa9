package ui

import (
	"slices"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/store"
)

// action is a button on a machine's page. One with a form of its own is a link, the others post at once.
type action struct {
	Path, Label string
	Form        bool
	Kind        string // "main", "" or "danger"
}

// actions lists what can be done with a machine now: what its status allows and the caller may. The services
// decide again; a button that is missing here only saves a refusal.
func (q *request) actions(m metal.Machine) (list []action) {
	t := store.MachineTarget(m)
	add := func(a authz.Action, possible bool, b action) {
		if possible && q.can(a, t) {
			list = append(list, b)
		}
	}
	in := func(s ...metal.Status) bool { return slices.Contains(s, m.Status) }
	pt, _ := metal.FindPowerType(m.PowerType)
	add(authz.MachineLock, m.Locked, action{Path: "unlock", Label: "Unlock"})
	add(authz.MachinePower, pt.Queryable, action{Path: "power/query", Label: "Query power"})
	if m.Locked {
		return list
	}
	label := "Commission"
	if m.Status == metal.New {
		label = "Accept and commission"
	}
	kind := ""
	if !in(metal.Ready) {
		kind = "main"
	}
	add(authz.MachineCommission, in(metal.New, metal.FailedCommissioning, metal.Ready, metal.Broken) && m.PowerType != "", action{Path: "commission", Label: label, Kind: kind})
	add(authz.MachineAllocate, in(metal.Ready), action{Path: "allocate", Label: "Allocate"})
	add(authz.MachineDeploy, in(metal.Ready) || in(metal.Allocated) && m.Owner == q.who.Name, action{Path: "deploy", Label: "Deploy…", Form: true, Kind: "main"})
	add(authz.MachineAbort, in(metal.Commissioning, metal.Deploying, metal.DiskErasing, metal.Testing), action{Path: "abort", Label: "Abort"})
	// An Allocated machine that is turned on is deployed, as in MAAS: here that is the Deploy button.
	add(authz.MachinePower, m.PowerType != "" && m.Status != metal.Allocated && (m.Owner != "" || in(metal.Broken)), action{Path: "power/on", Label: "Power on"})
	add(authz.MachinePower, m.PowerType != "", action{Path: "power/off", Label: "Power off"})
	if pt.Rotates && q.can(authz.MachineRotateBMC, t) {
		list = append(list, action{Path: "bmc", Label: "BMC account…", Form: true})
	}
	add(authz.MachineLock, in(metal.Deployed, metal.Deploying), action{Path: "lock", Label: "Lock"})
	releasable, err := m.Releasable()
	add(authz.MachineRelease, releasable && err == nil, action{Path: "release", Label: "Release…", Form: true, Kind: "danger"})
	return list
}

// act runs an action on the machine of the address and goes back to its page.
func (q *request) act(notice string, fn func(systemID string) error) error {
	id := q.http.PathValue("id")
	if err := fn(id); err != nil {
		return q.machineAgain(id, err)
	}
	return q.redirect("/machines/"+id, notice)
}

func (q *request) commission() error {
	return q.act("accepted", func(id string) error {
		_, err := q.ui.Machines.Commission(q.http.Context(), id, "")
		return err
	})
}

func (q *request) allocate() error {
	return q.act("allocated", func(id string) error {
		_, err := q.ui.Machines.Allocate(q.http.Context(), store.MachineQuery{SystemIDs: []string{id}}, "", "", false, "This machine cannot be allocated now: it is not Ready.")
		return err
	})
}

func (q *request) abort() error {
	return q.act("aborted", func(id string) error {
		_, err := q.ui.Machines.Abort(q.http.Context(), id, "")
		return err
	})
}

func (q *request) power() error {
	what := metal.PowerAction(q.http.PathValue("what"))
	switch what {
	case metal.ActionQuery:
		return q.act("queried", func(id string) error {
			// Asking a BMC is work for a rack: who may only look at the machine may not.
			d, err := q.ui.Machines.Get(q.http.Context(), id)
			if err != nil {
				return err
			}
			if t := store.MachineTarget(d.Machine); !q.can(authz.MachinePower, t) {
				return authz.Decide(q.who, authz.MachinePower, t).Err(t)
			}
			_, err = q.ui.Machines.QueryPower(q.http.Context(), id)
			return err
		})
	case metal.ActionOn, metal.ActionOff:
		return q.act("power", func(id string) error {
			_, err := q.ui.Machines.Power(q.http.Context(), id, what, "", "")
			return err
		})
	}
	return fault.New(fault.NotFound, "There is no such power command.")
}

func (q *request) lock() error {
	return q.act("locked", func(id string) error {
		_, err := q.ui.Machines.SetLock(q.http.Context(), id, true)
		return err
	})
}

func (q *request) unlock() error {
	return q.act("unlocked", func(id string) error {
		_, err := q.ui.Machines.SetLock(q.http.Context(), id, false)
		return err
	})
}

// verb is a form about one machine.
type verb struct {
	machineForm
	Images []metal.BootResource // deploy
	Erase  bool                 // release: what the site does by default
}

// theMachine reads the machine of the address for a form and refuses who may not use it.
func (q *request) theMachine() (m metal.Machine, err error) {
	d, err := q.ui.Machines.Get(q.http.Context(), q.http.PathValue("id"))
	if err != nil {
		return m, err
	}
	t := store.MachineTarget(d.Machine)
	return d.Machine, authz.Decide(q.who, q.row.Action, t).Err(t)
}

func (q *request) deployData() (d verb, err error) {
	if d.Machine, err = q.theMachine(); err != nil {
		return d, err
	}
	all, err := q.ui.Images.List(q.http.Context())
	for _, b := range all {
		if _, ok := b.Deployable(); ok && b.Architecture == d.Machine.Architecture {
			d.Images = append(d.Images, b)
		}
	}
	return d, err
}

func (q *request) deployForm() error {
	d, err := q.deployData()
	if err != nil {
		return err
	}
	return q.show("machine_deploy", "Deploy "+d.Machine.Hostname, d)
}

func (q *request) deploy() error {
	r := machines.DeployRequest{Series: q.get("distro_series"), UserData: q.form.Get("user_data")}
	m, err := q.ui.Machines.Deploy(q.http.Context(), q.http.PathValue("id"), r)
	if err == nil {
		return q.redirect("/machines/"+m.SystemID, "deploying")
	}
	d, formErr := q.deployData()
	if formErr != nil {
		return formErr
	}
	return q.again(err, "machine_deploy", "Deploy "+d.Machine.Hostname, d)
}

func (q *request) releaseForm() error {
	m, err := q.theMachine()
	if err != nil {
		return err
	}
	erase, err := q.setting("enable_disk_erasing_on_release")
	if err != nil {
		return err
	}
	d := verb{machineForm: machineForm{Machine: m}, Erase: erase == true && m.Status != metal.Allocated}
	return q.show("machine_release", "Release "+m.Hostname, d)
}

func (q *request) release() error {
	erase := q.form.Has("erase")
	return q.act("releasing", func(id string) error {
		_, err := q.ui.Machines.Release(q.http.Context(), id, machines.ReleaseRequest{Erase: &erase, Quick: q.form.Has("quick")})
		return err
	})
}

func (q *request) deleteMachineForm() error {
	m, err := q.theMachine()
	if err != nil {
		return err
	}
	return q.show("machine_delete", "Delete "+m.Hostname, verb{machineForm: machineForm{Machine: m}})
}

func (q *request) deleteMachine() error {
	id := q.http.PathValue("id")
	if err := q.ui.Machines.Delete(q.http.Context(), id); err != nil {
		return q.machineAgain(id, err)
	}
	return q.redirect("/machines", "deleted")
}

func (q *request) editData() (d machineForm, err error) {
	if d, err = q.machineForm(); err != nil {
		return d, err
	}
	if d.Machine, err = q.theMachine(); err != nil {
		return d, err
	}
	d.Pool, d.Zone = poolName(d.Pools, d.Machine.PoolID), zoneName(d.Zones, d.Machine.ZoneID)
	plain, set, err := q.ui.Machines.PowerParameters(q.http.Context(), d.Machine.SystemID)
	d.Parameters, d.Set = plain, map[string]bool{}
	for _, name := range set {
		d.Set[name] = true
	}
	return d, err
}

func (q *request) editMachine() error {
	d, err := q.editData()
	if err != nil {
		return err
	}
	return q.show("machine_edit", "Edit "+d.Machine.Hostname, d)
}

func (q *request) saveMachine() error {
	n := q.sentMachine()
	if *n.PowerType == "" {
		n.PowerType = nil // a machine that was enlisted without one may stay so
	}
	m, err := q.ui.Machines.Update(q.http.Context(), q.http.PathValue("id"), n)
	if err == nil {
		return q.redirect("/machines/"+m.SystemID, "saved")
	}
	d, formErr := q.editData()
	if formErr != nil {
		return formErr
	}
	return q.again(err, "machine_edit", "Edit "+d.Machine.Hostname, d)
}
