package machines

import (
	"context"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// Pools lists the resource pools that the caller may see, by name.
func (s *Service) Pools(ctx context.Context) (list []metal.ResourcePool, err error) {
	err = s.gate.View(ctx, authz.PoolView, func(v *gate.Viewing) error {
		list, err = v.PoolsIn(authz.Pools(v.Principal()))
		return err
	})
	return list, err
}

// Pool finds a resource pool by its id or name. Kinds: NotFound, also for one that the caller may not see.
func (s *Service) Pool(ctx context.Context, key string) (p metal.ResourcePool, err error) {
	err = s.gate.View(ctx, authz.PoolView, func(v *gate.Viewing) error {
		if id, notNumber := strconv.ParseInt(key, 10, 64); notNumber == nil {
			p, err = v.Pool(id)
		} else {
			p, err = v.PoolByName(key)
		}
		if err != nil {
			return err
		}
		return v.Require(store.PoolTarget(p.ID))
	})
	if err != nil {
		return metal.ResourcePool{}, err
	}
	return p, nil
}

// PoolCount is how many machines of a pool the caller may see, and how many of these are in a status.
type PoolCount struct{ Total, Ready int }

// PoolCounts counts the machines that the caller may see, by pool.
func (s *Service) PoolCounts(ctx context.Context) (counts map[int64]PoolCount, err error) {
	err = s.gate.View(ctx, authz.MachineView, func(v *gate.Viewing) error {
		rows, err := v.CountByPool(authz.Machines(v.Principal(), authz.MachineView))
		counts = map[int64]PoolCount{}
		for _, r := range rows {
			counts[r.Pool] = PoolCount{r.Total, r.Ready}
		}
		return err
	})
	return counts, err
}

func cleanPool(p *metal.ResourcePool) error {
	p.Name, p.Description = strings.TrimSpace(p.Name), metal.Printable(p.Description, 4096)
	return metal.ValidateNamed(p.Name)
}

// CreatePool adds a resource pool. Who may work there is for grants to say. Kinds: Invalid, Forbidden.
func (s *Service) CreatePool(ctx context.Context, name, description string) (p metal.ResourcePool, err error) {
	err = s.gate.Do(ctx, authz.PoolCreate, func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounPool}); err != nil {
			return err
		}
		p = metal.ResourcePool{Name: name, Description: description}
		if err := cleanPool(&p); err != nil {
			return err
		}
		if _, err := c.Tx().PoolByName(p.Name); err == nil {
			return fault.Field("name", "Resource pool with this Name already exists.")
		}
		c.Note("name", p.Name)
		return c.Tx().AddPool(&p)
	})
	return p, err
}

// onPool runs a change of one pool.
func (s *Service) onPool(ctx context.Context, action authz.Action, id int64, fn func(*gate.Call, *metal.ResourcePool) error) (p metal.ResourcePool, err error) {
	err = s.gate.Do(ctx, action, func(c *gate.Call) error {
		if err := c.Require(store.PoolTarget(id)); err != nil {
			return err
		}
		if p, err = c.Tx().Pool(id); err != nil {
			return err
		}
		c.Note("name", p.Name)
		return fn(c, &p)
	})
	return p, err
}

// UpdatePool changes a pool's name or description; nil leaves one alone. Kinds: NotFound, Forbidden, Invalid.
func (s *Service) UpdatePool(ctx context.Context, id int64, name, description *string) (metal.ResourcePool, error) {
	return s.onPool(ctx, authz.PoolEdit, id, func(c *gate.Call, p *metal.ResourcePool) error {
		if name != nil {
			p.Name = *name
		}
		if description != nil {
			p.Description = *description
		}
		if err := cleanPool(p); err != nil {
			return err
		}
		if o, err := c.Tx().PoolByName(p.Name); err == nil && o.ID != p.ID {
			return fault.Field("name", "Resource pool with this Name already exists.")
		}
		return c.Tx().PutPool(*p)
	})
}

// DeletePool deletes an empty pool with the grants on it. Kinds: NotFound, Forbidden, Invalid for the default pool,
// Conflict while machines are in it.
func (s *Service) DeletePool(ctx context.Context, id int64) error {
	_, err := s.onPool(ctx, authz.PoolDelete, id, func(c *gate.Call, p *metal.ResourcePool) error {
		if p.ID == metal.DefaultPoolID {
			return fault.New(fault.Invalid, "The default pool cannot be deleted.")
		}
		n, err := c.Tx().CountMatching(store.MachineQuery{Filter: authz.AllMachines, Pools: []string{p.Name}})
		if err != nil {
			return err
		}
		if n > 0 {
			return fault.New(fault.Conflict, "Cannot delete resource pool: %d machines are in it.", n)
		}
		return c.Tx().DeletePool(p.ID)
	})
	return err
}
