package access

import (
	"context"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// GrantFilter selects grants by names. Empty fields select all.
type GrantFilter struct {
	User  string // his own and his groups'
	Group string
	Pool  string // those that reach it
	Role  string
}

// Grants lists grants. Kinds: Invalid for a name that is not there.
func (s *Service) Grants(ctx context.Context, f GrantFilter) (list []store.GrantRow, err error) {
	err = s.gate.View(ctx, authz.AccessView, func(v *gate.Viewing) error {
		q := store.GrantQuery{Role: f.Role}
		bad := fault.Fields{}
		if f.User != "" {
			u, err := v.UserByName(f.User)
			if err != nil {
				bad.Add("user", "There is no user of this name.")
			}
			q.UserID = u.ID
		}
		if f.Group != "" {
			g, err := v.GroupByName(f.Group)
			if err != nil {
				bad.Add("group", "There is no group of this name.")
			}
			q.GroupID = g.ID
		}
		if f.Pool != "" {
			p, err := v.PoolByName(f.Pool)
			if err != nil {
				bad.Add("pool", "There is no pool of this name.")
			}
			q.Pool = &p.ID
		}
		if err := bad.Err(); err != nil {
			return err
		}
		list, err = v.Grants(q)
		return err
	})
	return list, err
}

// NewGrant says what to give to whom.
type NewGrant struct {
	User, Group string // one of them
	Role        string
	Pools       []string // names; none when AllPools
	AllPools    bool
}

// Grant gives a role to a user or a group on one pool, several, or all. Kinds: Invalid, Forbidden, Conflict
// for one that is there already.
func (s *Service) Grant(ctx context.Context, n NewGrant) (list []store.GrantRow, err error) {
	err = s.gate.Do(ctx, authz.GrantEdit, func(c *gate.Call) error {
		list = nil
		if !authz.May(c.Principal(), authz.GrantEdit) {
			return authz.Deny.Err(authz.Target{})
		}
		holder, target, err := holder(c, n.User, n.Group)
		if err != nil {
			return err
		}
		role, err := c.Tx().Role(n.Role)
		if err != nil {
			return fault.Field("role", "There is no role of this name.")
		}
		switch {
		case n.AllPools == (len(n.Pools) > 0):
			return fault.Field("pool", "Name one or more pools, or say all_pools=true.")
		case role.Name == authz.Administrator && !n.AllPools:
			return fault.Field("pool", "An administrator administers everything: grant this role on all pools, or grant Operator on these.")
		}
		holder.Role, holder.Set, holder.Pool = role.Name, role.Permissions, authz.AllPools
		rows := []store.GrantRow{holder}
		if !n.AllPools {
			rows = nil
			for _, name := range n.Pools {
				p, err := c.Tx().PoolByName(name)
				if err != nil {
					return fault.Field("pool", "There is no pool '%.64s'.", name)
				}
				row := holder
				row.Pool, row.PoolName = p.ID, p.Name
				rows = append(rows, row)
			}
		}
		list, err = give(c, target, rows)
		return err
	})
	return list, err
}

// holder finds the user or group that a grant names, as the beginning of a row and as a target.
func holder(c *gate.Call, user, group string) (g store.GrantRow, t authz.Target, err error) {
	if (user == "") == (group == "") {
		return g, t, fault.Field("user", "Name a user or a group.")
	}
	if user != "" {
		u, err := c.Tx().UserByName(user)
		if err != nil {
			return g, t, fault.Field("user", "There is no user of this name.")
		}
		if err := decidedHere(c, u.Name, u.RightsFrom); err != nil {
			return g, t, err
		}
		return store.GrantRow{UserID: u.ID, User: u.Name}, store.UserTarget(u.User), nil
	}
	o, err := c.Tx().GroupByName(group)
	if err != nil {
		return g, t, fault.Field("group", "There is no group of this name.")
	}
	return store.GrantRow{GroupID: o.ID, Group: o.Name}, store.GroupTarget(o.ID), nil
}

// give inserts grants of one holder.
func give(c *gate.Call, target authz.Target, rows []store.GrantRow) ([]store.GrantRow, error) {
	if err := c.Require(target); err != nil {
		return nil, err
	}
	if err := mayHandle(c, rows...); err != nil {
		return nil, err
	}
	before, err := heldBy(c, rows[0])
	if err != nil {
		return nil, err
	}
	if len(before)+len(rows) > metal.MaxGrants {
		return nil, fault.New(fault.Exhausted, "That would be more than %d grants; use all pools, or groups.", metal.MaxGrants)
	}
	c.Note("to", rows[0].User+rows[0].Group)
	c.Note("before", describeAll(before))
	for i := range rows {
		if slices.ContainsFunc(before, func(g store.GrantRow) bool {
			return g.Role == rows[i].Role && g.Entitlement == rows[i].Entitlement && g.Pool == rows[i].Pool
		}) {
			return nil, fault.New(fault.Conflict, "This is granted already: %s.", Describe(rows[i]))
		}
		if err := c.Tx().AddGrant(&rows[i]); err != nil {
			return nil, err
		}
	}
	c.Note("after", describeAll(append(before, rows...)))
	return rows, nil
}

// heldBy lists the grants of a grant's holder itself.
func heldBy(c *gate.Call, g store.GrantRow) ([]store.GrantRow, error) {
	list, err := c.Tx().Grants(store.GrantQuery{UserID: g.UserID, GroupID: g.GroupID})
	return slices.DeleteFunc(list, func(o store.GrantRow) bool { return o.UserID != g.UserID || o.GroupID != g.GroupID }), err
}

// Revoke takes a grant back. Kinds: NotFound, Forbidden, Conflict for the last administrator's.
func (s *Service) Revoke(ctx context.Context, id int64) error {
	return s.gate.Do(ctx, authz.GrantEdit, func(c *gate.Call) error {
		if !authz.May(c.Principal(), authz.GrantEdit) {
			return authz.Deny.Err(authz.Target{})
		}
		g, err := c.Tx().Grant(id)
		if err != nil {
			return err
		}
		return take(c, g)
	})
}

func take(c *gate.Call, g store.GrantRow) error {
	target := store.GroupTarget(g.GroupID)
	if g.GroupID == 0 {
		target = store.UserTarget(metal.User{ID: g.UserID, Name: g.User})
	}
	if err := c.Require(target); err != nil {
		return err
	}
	if err := mayHandle(c, g); err != nil {
		return err
	}
	if err := decidedHere(c, g.User, g.Source); err != nil {
		return err
	}
	before, err := heldBy(c, g)
	if err != nil {
		return err
	}
	c.Note("from", g.User+g.Group)
	c.Note("before", describeAll(before))
	c.Note("after", describeAll(slices.DeleteFunc(before, func(o store.GrantRow) bool { return o.ID == g.ID })))
	if err := c.Tx().DeleteGrant(g); err != nil {
		return err
	}
	return keepAdministrator(c, g)
}

// Entitlement is a grant as MAAS shows it. Source: MAAS 3.8, user groups and entitlements.
type Entitlement struct {
	ResourceType string // "maas" or "pool"
	ResourceID   int64  // 0 for maas
	Name         string
}

// Entitlements lists what a group gives, roles spelled out. Kinds: NotFound.
func (s *Service) Entitlements(ctx context.Context, groupID int64) ([]Entitlement, error) {
	g, err := s.Group(ctx, groupID)
	list := []Entitlement{}
	for _, grant := range g.Grants {
		set := grant.Set
		if grant.Role == "" {
			set = authz.Set(0)
			list = append(list, entitlement(grant.Pool, grant.Entitlement))
		}
		for _, p := range set.List() {
			if p.Entitlement() && (grant.Pool == authz.AllPools || p.OfPool()) {
				list = append(list, entitlement(grant.Pool, p))
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Entitlement) int {
		if a.ResourceType != b.ResourceType {
			return strings.Compare(a.ResourceType, b.ResourceType)
		}
		return int(a.ResourceID - b.ResourceID)
	})
	return slices.Compact(list), err
}

func entitlement(pool int64, p authz.Permission) Entitlement {
	if pool == authz.AllPools {
		return Entitlement{"maas", 0, p.String()}
	}
	return Entitlement{"pool", pool, p.String()}
}

// readEntitlement makes a grant of MAAS's form of it. Kinds: Invalid.
func readEntitlement(c *gate.Call, g metal.Group, e Entitlement) (row store.GrantRow, err error) {
	bad := fault.Fields{}
	p, ok := authz.ParsePermission(e.Name)
	if !ok {
		bad.Add("entitlement", "'%.64s' is not an entitlement.", e.Name)
	}
	row = store.GrantRow{GroupID: g.ID, Group: g.Name, Entitlement: p, Set: authz.NewSet(p), Pool: authz.AllPools}
	switch e.ResourceType {
	case "maas":
		if e.ResourceID != 0 {
			bad.Add("resource_id", "The resource maas has the id 0.")
		}
	case "pool":
		o, err := c.Tx().Pool(e.ResourceID)
		if err != nil {
			bad.Add("resource_id", "There is no pool of this id.")
		}
		row.Pool, row.PoolName = o.ID, o.Name
		if ok && !p.OfPool() {
			bad.Add("entitlement", "'%s' concerns the whole site: use the resource maas, id 0.", e.Name)
		}
	default:
		bad.Add("resource_type", "Use maas or pool.")
	}
	return row, bad.Err()
}

// AddEntitlement grants a group a single entitlement. Kinds: NotFound, Invalid, Forbidden, Conflict for one that it
// has by a grant of its own already.
func (s *Service) AddEntitlement(ctx context.Context, groupID int64, e Entitlement) error {
	_, err := s.onGroup(ctx, authz.GrantEdit, groupID, func(c *gate.Call, g *metal.Group) error {
		row, err := readEntitlement(c, *g, e)
		if err != nil {
			return err
		}
		_, err = give(c, store.GroupTarget(g.ID), []store.GrantRow{row})
		return err
	})
	return err
}

// RemoveEntitlement takes a single entitlement from a group. Kinds: NotFound, Invalid, Forbidden, Conflict for one
// that comes with a role.
func (s *Service) RemoveEntitlement(ctx context.Context, groupID int64, e Entitlement) error {
	_, err := s.onGroup(ctx, authz.GrantEdit, groupID, func(c *gate.Call, g *metal.Group) error {
		row, err := readEntitlement(c, *g, e)
		if err != nil {
			return err
		}
		grants, err := c.Tx().Grants(store.GrantQuery{GroupID: g.ID})
		if err != nil {
			return err
		}
		for _, o := range grants {
			if o.Role == "" && o.Entitlement == row.Entitlement && o.Pool == row.Pool {
				return take(c, o)
			}
		}
		for _, o := range grants {
			if o.Set.Has(row.Entitlement) && o.Pool == row.Pool {
				return fault.New(fault.Conflict, "The group has this with %s; revoke that grant instead.", Describe(o))
			}
		}
		return fault.Field("entitlement", "The group does not have it.")
	})
	return err
}
