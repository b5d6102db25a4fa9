package api

import (
	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

type bmcJSON struct {
	Managed      bool    `json:"managed"`
	State        string  `json:"state"`
	Rotated      *string `json:"rotated"`
	Problem      string  `json:"problem"`
	EarlierUntil *string `json:"earlier_credentials_until"`
}

func bmcAccountJSON(a metal.BMCAccount) bmcJSON {
	return bmcJSON{a.Managed, string(a.State), timeOrNull(a.Rotated), a.Problem, timeOrNull(a.KeepUntil)}
}

func (a *API) readBMC(r *request) (any, error) {
	b, err := a.Machines.BMCAccount(r.ctx, r.path["system_id"])
	return bmcAccountJSON(b), err
}

func (r *request) takeOver() (bool, error) {
	yes, err := metal.ParseBool(r.form.Get("take_over"))
	if err != nil {
		err = fault.Field("take_over", "%s", fault.Message(err))
	}
	return yes, err
}

func (a *API) rotateBMC(r *request) (any, error) {
	takeOver, err := r.takeOver()
	if err != nil {
		return nil, err
	}
	if _, err := a.Machines.RotateBMC(r.ctx, r.path["system_id"], takeOver, r.form.Get("comment")); err != nil {
		return nil, err
	}
	return a.readBMC(r)
}

func (a *API) rotateBMCs(r *request) (any, error) {
	takeOver, err := r.takeOver()
	if err != nil {
		return nil, err
	}
	all, err := metal.ParseBool(r.form.Get("all"))
	q := store.MachineQuery{SystemIDs: r.list("machines"), Pools: r.form["pool"]}
	switch {
	case err != nil:
		return nil, fault.Field("all", "%s", fault.Message(err))
	case !all && len(q.SystemIDs) == 0 && len(q.Pools) == 0:
		return nil, fault.Field("machines", "Name machines or pools, or say all=true.")
	case len(q.SystemIDs) > 0:
		if err := a.Machines.MayAll(r.ctx, authz.MachineRotateBMC, q.SystemIDs); err != nil {
			return nil, err
		}
	}
	done, err := a.Machines.RotateBMCs(r.ctx, q, takeOver, r.form.Get("comment"))
	if err != nil {
		return nil, err
	}
	return map[string]any{"begun": each(done.Begun, func(id string) string { return id }), "skipped": done.Skipped}, nil
}

// showBMC answers with passwords: for the day on which somebody has to reach a BMC by hand.
func (a *API) showBMC(r *request) (any, error) {
	b, err := a.Machines.ShowBMC(r.ctx, r.path["system_id"])
	if err != nil {
		return nil, err
	}
	r.w.Header().Set("Cache-Control", "no-store")
	return map[string]any{"in_use": b.InUse, "next": b.Next, "previous": b.Previous, "earlier_credentials_until": timeOrNull(b.KeepUntil)}, nil
}
