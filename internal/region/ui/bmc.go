package ui

import (
	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/store"
)

// bmcData is the page of the account of a machine's BMC.
type bmcData struct {
	Machine            metal.Machine
	Account            metal.BMCAccount
	MayRotate, MayShow bool
	Days               any // of the schedule
	Secrets            *machines.BMCSecrets
}

func (q *request) bmcData() (d bmcData, err error) {
	details, err := q.ui.Machines.Get(q.http.Context(), q.http.PathValue("id"))
	if err != nil {
		return d, err
	}
	d.Machine = details.Machine
	if d.Account, err = q.ui.Machines.BMCAccount(q.http.Context(), d.Machine.SystemID); err != nil {
		return d, err
	}
	t := store.MachineTarget(d.Machine)
	pt, _ := metal.FindPowerType(d.Machine.PowerType)
	d.MayRotate = pt.Rotates && !d.Machine.Locked && q.can(authz.MachineRotateBMC, t)
	d.MayShow = q.can(authz.MachineShowBMC, t) && q.can(authz.MachineReadPower, t)
	d.Days, err = q.setting("metalward_bmc_rotation_days")
	return d, err
}

func (q *request) bmc() error {
	d, err := q.bmcData()
	if err != nil {
		return err
	}
	return q.show("machine_bmc", "BMC account of "+d.Machine.Hostname, d)
}

func (q *request) rotateBMC() error {
	id := q.http.PathValue("id")
	_, err := q.ui.Machines.RotateBMC(q.http.Context(), id, q.form.Has("take_over"), "")
	if err == nil {
		return q.redirect("/machines/"+id+"/bmc", "rotating")
	}
	d, failed := q.bmcData()
	if failed != nil {
		return err
	}
	return q.again(err, "machine_bmc", "BMC account of "+d.Machine.Hostname, d)
}

// showBMC shows the credentials, once for each click: the event is written first.
func (q *request) showBMC() error {
	d, err := q.bmcData()
	if err != nil {
		return err
	}
	s, err := q.ui.Machines.ShowBMC(q.http.Context(), d.Machine.SystemID)
	if err != nil {
		return err
	}
	d.Secrets = &s
	return q.show("machine_bmc", "BMC account of "+d.Machine.Hostname, d)
}
