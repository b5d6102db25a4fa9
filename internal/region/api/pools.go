package api

import (
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// pool finds the pool of the path by id or name.
func (a *API) pool(r *request) (metal.ResourcePool, error) {
	return a.Machines.Pool(r.ctx, r.path["id"])
}

// named reads the name and description of a pool or zone.
func named(r *request, name, description *string) error {
	if v := r.get("name"); v != nil {
		*name = strings.TrimSpace(*v)
	}
	if v := r.get("description"); v != nil {
		*description = metal.Printable(*v, 4096)
	}
	return metal.ValidateNamed(*name)
}

func (a *API) createPool(r *request) (any, error) {
	p, err := a.Machines.CreatePool(r.ctx, strings.TrimSpace(r.form.Get("name")), r.form.Get("description"))
	return poolJSON(p), err
}

// onPool finds the pool of the path by id or name and runs a change of it.
func (a *API) onPool(r *request, fn func(id int64) (metal.ResourcePool, error)) (any, error) {
	p, err := a.pool(r)
	if err == nil {
		p, err = fn(p.ID)
	}
	return poolJSON(p), err
}

func (a *API) updatePool(r *request) (any, error) {
	return a.onPool(r, func(id int64) (metal.ResourcePool, error) {
		return a.Machines.UpdatePool(r.ctx, id, r.get("name"), r.get("description"))
	})
}

func (a *API) deletePool(r *request) (any, error) {
	_, err := a.onPool(r, func(id int64) (metal.ResourcePool, error) {
		return metal.ResourcePool{}, a.Machines.DeletePool(r.ctx, id)
	})
	return nil, err
}

func (a *API) zone(r *request) (z metal.Zone, err error) {
	err = a.Gate.View(r.ctx, authz.ZoneView, func(v *gate.Viewing) error {
		z, err = v.ZoneByName(r.path["name"])
		return err
	})
	return z, err
}

func (a *API) createZone(r *request) (any, error) {
	var z metal.Zone
	err := a.Gate.Do(r.ctx, authz.ZoneEdit, func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounZone}); err != nil {
			return err
		}
		if err := named(r, &z.Name, &z.Description); err != nil {
			return err
		}
		if _, err := c.Tx().ZoneByName(z.Name); err == nil {
			return fault.Field("name", "Physical zone with this Name already exists.")
		}
		c.Note("name", z.Name)
		return c.Tx().AddZone(&z)
	})
	return zoneJSON(z), err
}

func (a *API) onZone(r *request, fn func(*gate.Call, *metal.Zone) error) (z metal.Zone, err error) {
	err = a.Gate.Do(r.ctx, authz.ZoneEdit, func(c *gate.Call) error {
		if z, err = c.Tx().ZoneByName(r.path["name"]); err != nil {
			if denied := c.Require(authz.Target{Noun: authz.NounZone}); denied != nil {
				return denied
			}
			return err
		}
		if err := c.Require(store.ZoneTarget(z.ID)); err != nil {
			return err
		}
		c.Note("name", z.Name)
		return fn(c, &z)
	})
	return z, err
}

func (a *API) updateZone(r *request) (any, error) {
	z, err := a.onZone(r, func(c *gate.Call, z *metal.Zone) error {
		if err := named(r, &z.Name, &z.Description); err != nil {
			return err
		}
		if o, err := c.Tx().ZoneByName(z.Name); err == nil && o.ID != z.ID {
			return fault.Field("name", "Physical zone with this Name already exists.")
		}
		return c.Tx().PutZone(*z)
	})
	return zoneJSON(z), err
}

func (a *API) deleteZone(r *request) (any, error) {
	_, err := a.onZone(r, func(c *gate.Call, z *metal.Zone) error {
		if z.ID == metal.DefaultZoneID {
			return fault.New(fault.Invalid, "This zone is the default zone, it cannot be deleted.")
		}
		return c.Tx().DeleteZone(z.ID)
	})
	return nil, err
}
