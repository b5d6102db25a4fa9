package store

import (
	"slices"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

func scanPool(scan func(...any) error) (p metal.ResourcePool, err error) {
	err = scan(&p.ID, &p.Name, &p.Description)
	return p, err
}

// Pools lists all resource pools by name.
func (v *View) Pools() ([]metal.ResourcePool, error) {
	return all(v, scanPool, "SELECT id, name, description FROM pools ORDER BY name")
}

// PoolsIn lists the resource pools of a set, by name.
func (v *View) PoolsIn(s authz.PoolSet) ([]metal.ResourcePool, error) {
	pools, err := v.Pools()
	return slices.DeleteFunc(pools, func(p metal.ResourcePool) bool { return !s.Has(p.ID) }), err
}

// Pool returns a resource pool. Kinds: NotFound.
func (v *View) Pool(id int64) (metal.ResourcePool, error) {
	return one(v, authz.NounPool, scanPool, "SELECT id, name, description FROM pools WHERE id = ?", id)
}

// PoolByName returns a resource pool. Kinds: NotFound.
func (v *View) PoolByName(name string) (metal.ResourcePool, error) {
	return one(v, authz.NounPool, scanPool, "SELECT id, name, description FROM pools WHERE name = ?", name)
}

// PoolTarget is a pool as the object of an action.
func PoolTarget(id int64) authz.Target { return authz.Target{Noun: authz.NounPool, ID: authz.ID(id)} }

// AddPool inserts a pool and sets its ID. Kinds: Conflict when the name is taken.
func (t *Tx) AddPool(p *metal.ResourcePool) (err error) {
	p.ID, err = t.insert("INSERT INTO pools (name, description) VALUES (?, ?)", p.Name, p.Description)
	t.touch(PoolTarget(p.ID), true)
	if err != nil {
		return err
	}
	return t.queuePool(RBACAdd, p.ID)
}

// PutPool updates a pool.
func (t *Tx) PutPool(p metal.ResourcePool) error {
	t.touch(PoolTarget(p.ID), false)
	_, err := t.exec("UPDATE pools SET name = ?, description = ? WHERE id = ?", p.Name, p.Description, p.ID)
	if err != nil {
		return err
	}
	return t.queuePool(RBACUpdate, p.ID)
}

// DeletePool deletes an empty pool. Kinds: Conflict while machines are in it.
func (t *Tx) DeletePool(id int64) error {
	t.touch(PoolTarget(id), false)
	if _, err := t.exec("DELETE FROM pools WHERE id = ?", id); err != nil {
		return err
	}
	return t.queuePool(RBACRemove, id)
}

func scanZone(scan func(...any) error) (z metal.Zone, err error) {
	err = scan(&z.ID, &z.Name, &z.Description)
	return z, err
}

// Zones lists all zones by name.
func (v *View) Zones() ([]metal.Zone, error) {
	return all(v, scanZone, "SELECT id, name, description FROM zones ORDER BY name")
}

// ZoneByName returns a zone. Kinds: NotFound.
func (v *View) ZoneByName(name string) (metal.Zone, error) {
	return one(v, authz.NounZone, scanZone, "SELECT id, name, description FROM zones WHERE name = ?", name)
}

// ZoneTarget is a zone as the object of an action.
func ZoneTarget(id int64) authz.Target { return authz.Target{Noun: authz.NounZone, ID: authz.ID(id)} }

// AddZone inserts a zone and sets its ID. Kinds: Conflict when the name is taken.
func (t *Tx) AddZone(z *metal.Zone) (err error) {
	z.ID, err = t.insert("INSERT INTO zones (name, description) VALUES (?, ?)", z.Name, z.Description)
	t.touch(ZoneTarget(z.ID), true)
	return err
}

// PutZone updates a zone.
func (t *Tx) PutZone(z metal.Zone) error {
	t.touch(ZoneTarget(z.ID), false)
	_, err := t.exec("UPDATE zones SET name = ?, description = ? WHERE id = ?", z.Name, z.Description, z.ID)
	return err
}

// DeleteZone deletes an empty zone. Kinds: Conflict while machines are in it.
func (t *Tx) DeleteZone(id int64) error {
	t.touch(ZoneTarget(id), false)
	_, err := t.exec("DELETE FROM zones WHERE id = ?", id)
	return err
}

// PoolCount is how many machines are in a pool, and how many of these are Ready.
type PoolCount struct {
	Pool         int64
	Total, Ready int
}

// CountByPool counts the machines that a filter lets through, by pool; empty pools are left out.
func (v *View) CountByPool(f authz.MachineFilter) ([]PoolCount, error) {
	cond, args := permitted(f)
	if cond != "" {
		cond = " WHERE " + cond
	}
	return all(v, func(scan func(...any) error) (c PoolCount, err error) {
		err = scan(&c.Pool, &c.Total, &c.Ready)
		return c, err
	}, "SELECT m.pool_id, COUNT(*), COALESCE(SUM(CASE WHEN m.status = ? THEN 1 ELSE 0 END), 0) FROM machines m"+cond+" GROUP BY m.pool_id",
		append([]any{int(metal.Ready)}, args...)...)
}
