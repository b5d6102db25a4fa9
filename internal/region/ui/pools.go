package ui

import (
	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/access"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/store"
)

// poolLine is a pool with what the reader sees in it.
type poolLine struct {
	metal.ResourcePool
	machines.PoolCount
}

func (q *request) poolsAgain(cause error) error {
	ctx := q.http.Context()
	pools, err := q.ui.Machines.Pools(ctx)
	if err != nil {
		return err
	}
	counts, err := q.ui.Machines.PoolCounts(ctx)
	if err != nil {
		return err
	}
	lines := make([]poolLine, len(pools))
	for i, p := range pools {
		lines[i] = poolLine{p, counts[p.ID]}
	}
	if cause != nil {
		return q.again(cause, "pools", "Resource pools", lines)
	}
	return q.show("pools", "Resource pools", lines)
}

func (q *request) pools() error { return q.poolsAgain(nil) }

func (q *request) createPool() error {
	p, err := q.ui.Machines.CreatePool(q.http.Context(), q.get("name"), q.get("description"))
	if err != nil {
		return q.poolsAgain(err)
	}
	return q.redirect("/pools/"+authz.ID(p.ID), "added")
}

// poolData is a pool and, for who may see it, who can do what there.
type poolData struct {
	Pool                          metal.ResourcePool
	Reach                         []access.Reach
	Columns                       []authz.Permission
	MayEdit, MayDelete, MaySeeWho bool
}

func (q *request) poolAgain(cause error) error {
	ctx := q.http.Context()
	p, err := q.ui.Machines.Pool(ctx, q.http.PathValue("id"))
	if err != nil {
		return err
	}
	d := poolData{Pool: p, MayEdit: q.can(authz.PoolEdit, store.PoolTarget(p.ID)), MaySeeWho: authz.May(q.who, authz.AccessView),
		MayDelete: authz.May(q.who, authz.PoolDelete) && p.ID != metal.DefaultPoolID}
	if d.MaySeeWho {
		for _, perm := range authz.Permissions() {
			if perm.OfPool() {
				d.Columns = append(d.Columns, perm)
			}
		}
		if _, d.Reach, err = q.ui.Access.Matrix(ctx, p.ID); err != nil {
			return err
		}
	}
	if cause != nil {
		return q.again(cause, "pool", "Pool "+p.Name, d)
	}
	return q.show("pool", "Pool "+p.Name, d)
}

func (q *request) pool() error { return q.poolAgain(nil) }

func (q *request) savePool() error {
	name, description := q.get("name"), q.get("description")
	p, err := q.ui.Machines.Pool(q.http.Context(), q.http.PathValue("id"))
	if err != nil {
		return err
	}
	if _, err := q.ui.Machines.UpdatePool(q.http.Context(), p.ID, &name, &description); err != nil {
		return q.poolAgain(err)
	}
	return q.redirect("/pools/"+q.http.PathValue("id"), "saved")
}

func (q *request) deletePool() error {
	p, err := q.ui.Machines.Pool(q.http.Context(), q.http.PathValue("id"))
	if err != nil {
		return err
	}
	if err := q.ui.Machines.DeletePool(q.http.Context(), p.ID); err != nil {
		return q.poolAgain(err)
	}
	return q.redirect("/pools", "deleted")
}
