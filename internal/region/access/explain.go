package access

import (
	"cmp"
	"context"
	"slices"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// Reach is what one user may do on a pool, and why.
type Reach struct {
	User    metal.User
	Set     authz.Set
	Because []store.GrantRow // that reach the pool
}

// Matrix lists who can do what on a pool: every user who can do anything, by name. Kinds: NotFound.
func (s *Service) Matrix(ctx context.Context, poolID int64) (pool metal.ResourcePool, list []Reach, err error) {
	err = s.gate.View(ctx, authz.AccessView, func(v *gate.Viewing) error {
		if pool, err = v.Pool(poolID); err != nil {
			return err
		}
		grants, err := v.Grants(store.GrantQuery{Pool: &poolID})
		if err != nil {
			return err
		}
		byUser, byGroup := map[int64][]store.GrantRow{}, map[int64][]store.GrantRow{}
		for _, g := range grants {
			if g.GroupID != 0 {
				byGroup[g.GroupID] = append(byGroup[g.GroupID], g)
			} else {
				byUser[g.UserID] = append(byUser[g.UserID], g)
			}
		}
		users := map[int64]metal.User{}
		for groupID, grants := range byGroup {
			members, err := v.Members(groupID)
			if err != nil {
				return err
			}
			for _, m := range members {
				users[m.ID] = m.User
				byUser[m.ID] = append(byUser[m.ID], grants...)
			}
		}
		for id, grants := range byUser {
			u, ok := users[id]
			if !ok {
				row, err := v.User(id)
				if err != nil {
					return err
				}
				u = row.User
			}
			grants = slices.DeleteFunc(grants, func(g store.GrantRow) bool { return g.Source != u.RightsFrom }) // what counts for him
			r := Reach{User: u, Because: grants}
			for _, g := range grants {
				r.Set |= authz.NewRights(g.Grant()).On(poolID)
			}
			if r.Set != 0 {
				list = append(list, r)
			}
		}
		return nil
	})
	slices.SortFunc(list, func(a, b Reach) int { return cmp.Compare(a.User.Name, b.User.Name) })
	return pool, list, err
}

// Question is whether a user may take an action on an object.
type Question struct {
	User, Action string
	Machine      string // system id or host name
	Pool         string // name, when there is no machine
}

// Answer says whether, and why.
type Answer struct {
	User     metal.User
	Action   authz.Action
	Decision authz.Decision
	Target   authz.Target
	Machine  metal.Machine      // when the question names one
	Pool     metal.ResourcePool // that the object is, or is in
	Needs    authz.Permission   // the permission that decides; without a name when none does
	Because  []store.GrantRow   // that give the permission there
	Held     []store.GrantRow   // all that reach the object's pool, or the site
}

// Explain answers why a user can or cannot do something. Kinds: Invalid, NotFound for a machine that the asker
// himself may not see.
func (s *Service) Explain(ctx context.Context, q Question) (a Answer, err error) {
	err = s.gate.View(ctx, authz.AccessView, func(v *gate.Viewing) error {
		bad := fault.Fields{}
		u, err := v.UserByName(q.User)
		if err != nil {
			bad.Add("user", "There is no user of this name.")
		}
		if a.Action = authz.Action(q.Action); !authz.Known(a.Action) {
			bad.Add("action", "There is no action of this name.")
		}
		if err := bad.Err(); err != nil {
			return err
		}
		a.User = u.User
		pool := authz.AllPools
		switch {
		case q.Machine != "":
			if a.Machine, err = machineNamed(v, q.Machine); err != nil {
				return err
			}
			a.Target, pool = store.MachineTarget(a.Machine), a.Machine.PoolID
			if a.Pool, err = v.Pool(pool); err != nil {
				return err
			}
		case q.Pool != "":
			if a.Pool, err = v.PoolByName(q.Pool); err != nil {
				return fault.Field("pool", "There is no pool of this name.")
			}
			a.Target, pool = store.PoolTarget(a.Pool.ID), a.Pool.ID
		case authz.OnMachines(a.Action):
			return fault.Field("machine", "Name the machine.")
		default:
			a.Target = authz.Target{Noun: "site", Owner: u.Name}
		}
		rights, err := v.Rights(u.ID)
		if err != nil {
			return err
		}
		who := authz.Principal{Kind: authz.User, Name: u.Name, UserID: u.ID, Rights: rights}
		if a.Decision = authz.Decide(who, a.Action, a.Target); u.Disabled {
			a.Decision = authz.Deny
		}
		a.Needs = authz.Needs(a.Action, a.Target, u.Name)
		gq := store.GrantQuery{UserID: u.ID}
		if pool != authz.AllPools {
			gq.Pool = &pool
		}
		if a.Held, err = v.Grants(gq); err != nil {
			return err
		}
		for _, g := range a.Held {
			if authz.NewRights(g.Grant()).In(pool, a.Needs) {
				a.Because = append(a.Because, g)
			}
		}
		return nil
	})
	return a, err
}

// machineNamed finds a machine by system id or host name among those that the asker may see. Kinds: NotFound.
func machineNamed(v *gate.Viewing, name string) (metal.Machine, error) {
	if m, err := v.MachineFor(v.Principal(), name); !fault.Is(err, fault.NotFound) {
		return m, err
	}
	list, err := v.Machines(store.MachineQuery{Filter: authz.Machines(v.Principal(), authz.MachineView), Hostnames: []string{name}, Limit: 1})
	if err != nil || len(list) == 0 {
		return metal.Machine{}, cmp.Or(err, authz.NotFound(authz.NounMachine))
	}
	return list[0], nil
}
