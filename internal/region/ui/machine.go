package ui

import (
	"slices"
	"strconv"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/store"
)

// machineData is a machine's page.
type machineData struct {
	machines.Details
	Pool, Zone string
	Rack       string // host name of the rack that serves it
	Subnets    map[int64]string
	Sets       []metal.ScriptSet
	Stage      machines.Stage
	AtWork     bool // an agent is at work on it
	Busy       bool // in a status that ends by itself
	Actions    []action
	MayEdit    bool
	MayDelete  bool
}

func (q *request) machineData(systemID string) (d machineData, err error) {
	ctx := q.http.Context()
	if d.Details, err = q.ui.Machines.Get(ctx, systemID); err != nil {
		return d, err
	}
	if d.Sets, err = q.ui.Machines.ScriptSets(ctx, systemID, false); err != nil {
		return d, err
	}
	pools, zones, err := q.places()
	if err != nil {
		return d, err
	}
	d.Pool, d.Zone = poolName(pools, d.PoolID), zoneName(zones, d.ZoneID)
	model, err := q.ui.Networks.Model(ctx)
	if err != nil {
		return d, err
	}
	d.Subnets = map[int64]string{}
	for _, s := range model.Subnets {
		d.Subnets[s.ID] = s.Name
	}
	if d.RackID != "" {
		racks, err := q.racks()
		if err != nil {
			return d, err
		}
		if i := slices.IndexFunc(racks, func(c metal.Controller) bool { return c.SystemID == d.RackID }); i >= 0 {
			d.Rack = racks[i].Hostname
		}
	}
	d.Stage, d.AtWork = q.ui.Machines.Stage(systemID)
	_, d.Busy = d.Status.Failed()
	d.Actions = q.actions(d.Machine)
	t := store.MachineTarget(d.Machine)
	d.MayEdit = q.can(authz.MachineUpdate, t) && !d.Locked
	d.MayDelete = q.can(authz.MachineDelete, t) && !d.Locked
	return d, nil
}

func (q *request) machine() error {
	d, err := q.machineData(q.http.PathValue("id"))
	if err != nil {
		return err
	}
	return q.show("machine", d.Hostname, d)
}

// machineLive is the part of the page that changes while one looks at it.
func (q *request) machineLive() error {
	d, err := q.machineData(q.http.PathValue("id"))
	if err != nil {
		return err
	}
	return q.fragment("machine", "live", d)
}

// machineAgain shows a machine's page with what went wrong with an action on it.
func (q *request) machineAgain(systemID string, cause error) error {
	d, err := q.machineData(systemID)
	if err != nil {
		return cause // most likely the same: it is hidden or gone
	}
	return q.again(cause, "machine", d.Hostname, d)
}

// resultData is what one script printed.
type resultData struct {
	Machine metal.Machine
	Type    metal.ResultType
	Result  metal.ScriptResult
}

// loadResult reads one result with its output; the sets of the machine's page come without.
func (q *request) loadResult() (d resultData, err error) {
	id, _ := strconv.ParseInt(q.http.PathValue("result"), 10, 64)
	err = q.ui.Gate.View(q.http.Context(), authz.MachineView, func(v *gate.Viewing) error {
		if d.Machine, err = v.MachineFor(v.Principal(), q.http.PathValue("id")); err != nil {
			return err
		}
		if err := v.Require(store.MachineTarget(d.Machine)); err != nil {
			return err
		}
		sets, err := v.ScriptSets(d.Machine.SystemID)
		if err != nil {
			return err
		}
		for _, set := range sets {
			for _, r := range set.Results {
				if r.ID == id {
					d.Type, d.Result = set.Type, r
					return v.LoadOutput(&d.Result)
				}
			}
		}
		return fault.New(fault.NotFound, "This machine has no such script result. Only the newest runs are kept.")
	})
	return d, err
}

func (q *request) result() error {
	d, err := q.loadResult()
	if err != nil {
		return err
	}
	return q.show("result", d.Result.Name+" on "+d.Machine.Hostname, d)
}

func (q *request) resultLive() error {
	d, err := q.loadResult()
	if err != nil {
		return err
	}
	return q.fragment("result", "live", d)
}
