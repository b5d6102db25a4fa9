package identity

import (
	"context"
	"maps"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// NewUser describes a user to create.
type NewUser struct {
	Name, Email string
	Password    secret.Value
	Admin       bool
	Invited     bool // has no password, but a link to choose one
}

// CreateUser adds a local user. Kinds: Invalid, Forbidden.
func (s *Service) CreateUser(ctx context.Context, n NewUser) (metal.User, error) {
	return s.addUser(ctx, authz.UserEdit, n, nil, nil)
}

// addUser adds a user in a call that may check something first and do more afterwards.
func (s *Service) addUser(ctx context.Context, action authz.Action, n NewUser, first func(*gate.Call) error, after func(*gate.Call, metal.User) error) (metal.User, error) {
	bad, hash := metal.ValidateUser(n.Name, n.Email), ""
	if !n.Invited {
		var err error
		hash, err = s.newHash(ctx, "password", n.Name, n.Email, n.Password)
		if f, ok := fault.As(err); ok && f.Kind == fault.Invalid {
			maps.Copy(bad, f.Fields)
		} else if err != nil {
			return metal.User{}, err
		}
	}
	if err := bad.Err(); err != nil {
		return metal.User{}, err
	}
	var u store.UserRow
	err := s.gate.Do(ctx, action, func(c *gate.Call) error {
		if err := c.Require(store.NewUserTarget); err != nil {
			return err
		}
		if first != nil {
			if err := first(c); err != nil {
				return err
			}
		}
		c.Note("username", n.Name)
		c.Note("change", "created")
		if _, err := c.Tx().UserByName(n.Name); err == nil {
			return fault.Field("username", "A user with that username already exists.")
		}
		u = store.UserRow{User: metal.User{Name: n.Name, Email: n.Email, Admin: n.Admin, Created: c.Now()}, Password: hash}
		if err := c.Tx().AddUser(&u); err != nil {
			return err
		}
		if err := join(c, u.User); err != nil {
			return err
		}
		if after == nil {
			return nil
		}
		return after(c, u.User)
	})
	return u.User, err
}

// join puts a new user into the group for administrators or for all others. Where an operator has deleted that
// group, an administrator is granted the role himself, and another user starts without rights.
func join(c *gate.Call, u metal.User) error {
	name, grant := metal.GroupUsers, authz.Grant{}
	if u.Admin {
		role, _ := authz.FindRole(authz.Administrator)
		name, grant = metal.GroupAdministrators, authz.Grant{Permissions: role.Permissions, Pool: authz.AllPools}
	}
	if c.Principal().Kind == authz.User && !c.Principal().Rights.Covers(grant) {
		return fault.Field("is_superuser", "You can make administrators only if you are one.")
	}
	g, err := c.Tx().GroupByName(name)
	switch {
	case fault.Is(err, fault.NotFound) && u.Admin:
		return c.Tx().AddGrant(&store.GrantRow{UserID: u.ID, User: u.Name, Role: authz.Administrator, Pool: authz.AllPools})
	case fault.Is(err, fault.NotFound):
		return nil
	case err != nil:
		return err
	}
	if err := c.Require(store.GroupTarget(g.ID)); err != nil {
		return err
	}
	c.Note("group", g.Name)
	return c.Tx().AddMember(g.ID, u.ID)
}

// Users lists the users that the caller may see: all, or himself.
func (s *Service) Users(ctx context.Context) (list []metal.User, err error) {
	err = s.gate.View(ctx, authz.UserView, func(v *gate.Viewing) error {
		rows, err := v.Users()
		for _, r := range rows {
			if v.Require(store.UserTarget(r.User)) == nil {
				list = append(list, r.User)
			}
		}
		return err
	})
	return list, err
}

// User returns a user. Kinds: NotFound, also for one that the caller may not see.
func (s *Service) User(ctx context.Context, name string) (u metal.User, err error) {
	err = s.gate.View(ctx, authz.UserView, func(v *gate.Viewing) error {
		row, err := v.UserByName(name)
		if err != nil {
			return err
		}
		u = row.User
		return v.Require(store.UserTarget(u))
	})
	return u, err
}

// onUser runs a change of another user. Nobody takes the place of one who may do more than himself: what a call
// lets one do with a password, a link or a second factor would be a way to more rights.
func (s *Service) onUser(ctx context.Context, name string, fn func(*gate.Call, store.UserRow) error) error {
	return s.gate.Do(ctx, authz.UserEdit, func(c *gate.Call) error {
		u, err := c.Tx().UserByName(name)
		if err != nil {
			return errors2(c.Require(store.NewUserTarget), err)
		}
		if err := c.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		c.Note("username", u.Name)
		if p := c.Principal(); p.Kind == authz.User && p.UserID != u.ID {
			theirs, err := c.Tx().Rights(u.ID)
			if err != nil {
				return err
			}
			if !p.Rights.CoversAll(theirs) {
				return fault.New(fault.Forbidden, "%s may do more than you: only somebody who may do as much can change this account.", u.Name)
			}
		}
		return fn(c, u)
	})
}

// EditUser changes a user's e-mail address. Kinds: NotFound, Invalid.
func (s *Service) EditUser(ctx context.Context, name, email string) error {
	if err := metal.ValidateUser(name, email).Err(); err != nil {
		return err
	}
	return s.onUser(ctx, name, func(c *gate.Call, u store.UserRow) error {
		c.Note("change", "email changed")
		c.Note("email", email)
		u.Email = email
		return c.Tx().PutUser(u)
	})
}

// SetActive deactivates a user, or lets him in again. A deactivated one keeps what he owns; his sessions end, and
// his API keys rest. Kinds: NotFound, Invalid, Conflict for the last administrator.
func (s *Service) SetActive(ctx context.Context, name string, active bool) error {
	return s.onUser(ctx, name, func(c *gate.Call, u store.UserRow) error {
		if u.Name == c.Principal().Name {
			return fault.New(fault.Invalid, "You cannot deactivate yourself.")
		}
		c.Note("change", map[bool]string{true: "reactivated", false: "deactivated"}[active])
		if u.Disabled == !active {
			return nil
		}
		u.Disabled = !active
		u.Epoch++
		if err := c.Tx().PutUser(u); err != nil {
			return err
		}
		if err := keepAdministrator(c, u); err != nil {
			return err
		}
		if err := c.Tx().PutLink(u.User, "", c.Now()); err != nil {
			return err
		}
		return c.Tx().DeleteSessions(u.User, "", c.Now())
	})
}

// EndSessions ends all sessions of a user. Kinds: NotFound.
func (s *Service) EndSessions(ctx context.Context, name string) error {
	return s.onUser(ctx, name, func(c *gate.Call, u store.UserRow) error {
		c.Note("change", "all sessions ended")
		u.Epoch++
		if err := c.Tx().PutUser(u); err != nil {
			return err
		}
		return c.Tx().DeleteSessions(u.User, "", c.Now())
	})
}

// DeleteUser removes a user. What he owns goes to another, named heir; without one he must own nothing. Kinds: NotFound,
// Conflict, Invalid.
func (s *Service) DeleteUser(ctx context.Context, name, heir string) error {
	return s.onUser(ctx, name, func(c *gate.Call, u store.UserRow) error {
		if u.Name == c.Principal().Name {
			return fault.New(fault.Invalid, "You cannot delete yourself.")
		}
		c.Note("change", "deleted")
		if err := transfer(c, name, heir); err != nil {
			return err
		}
		if err := c.Tx().PutLink(u.User, "", c.Now()); err != nil {
			return err
		}
		if err := dropFactors(c, u.User); err != nil {
			return err
		}
		if err := c.Tx().DeleteUser(u.User); err != nil {
			return err
		}
		return keepAdministrator(c, u)
	})
}

// keepAdministrator refuses a change of a user after which nobody of this site's own could administer it: an RBAC service's
// administrator may be gone with the service. Kinds: Conflict.
func keepAdministrator(c *gate.Call, was store.UserRow) error {
	if !was.Admin || was.RightsFrom != 0 {
		return nil
	}
	n, err := c.Tx().CountAdministrators()
	if err == nil && n == 0 {
		err = fault.New(fault.Conflict, "%s is the last administrator of this site's own; make another one first.", was.Name)
	}
	return err
}

// transfer gives a user's machines to another.
func transfer(c *gate.Call, name, heir string) error {
	n, err := c.Tx().CountOwned(name)
	if err != nil || n == 0 && heir == "" {
		return err
	}
	if heir == "" {
		return fault.New(fault.Conflict, "User %s still owns %d machines; release them first, or name a user who takes them over.", name, n)
	}
	to, err := c.Tx().UserByName(heir)
	if err != nil || to.Disabled || heir == name {
		return fault.Field("transfer_resources_to", "There is no other active user %.150q.", heir)
	}
	c.Note("transfer_to", heir)
	list, err := c.Tx().Machines(store.MachineQuery{Filter: authz.AllMachines, Owners: []string{name}})
	for _, m := range list {
		// Who keeps users may not have the run of machines: he could make himself the heir.
		if p := c.Principal(); p.Kind == authz.User && authz.Decide(p, authz.MachineUpdate, store.MachineTarget(m)) != authz.Allow {
			return fault.New(fault.Forbidden, "User %s owns machines that you may not change; somebody who may has to release or transfer them.", name)
		}
		for _, owner := range []string{name, heir} { // as it was, and as it is
			m.Owner = owner
			if err := c.Require(store.MachineTarget(m)); err != nil {
				return err
			}
		}
		if err := c.Tx().PutMachine(m); err != nil {
			return err
		}
	}
	return err
}

// UserDetail is what administrators see of a user.
type UserDetail struct {
	User                     metal.User
	HasPassword              bool
	Sessions, Keys, Machines int
	Factors                  []metal.Factor
	RightsFrom               string // name of the RBAC service that decides what he may do
}

// Detail describes a user to who may administer users. Kinds: NotFound.
func (s *Service) Detail(ctx context.Context, name string) (d UserDetail, err error) {
	err = s.gate.View(ctx, authz.UserEdit, func(v *gate.Viewing) error {
		u, err := v.UserByName(name)
		if err != nil {
			return err
		}
		d.User, d.HasPassword = u.User, u.Password != ""
		list, err := s.liveSessions(v.View, u.User)
		if err != nil {
			return err
		}
		keys, err := v.APIKeys(u.ID)
		if err != nil {
			return err
		}
		d.Sessions, d.Keys = len(list), len(keys)
		if d.Factors, err = v.Factors(u.ID); err != nil {
			return err
		}
		if u.RightsFrom != 0 {
			p, err := v.Provider(u.RightsFrom)
			if err != nil {
				return err
			}
			d.RightsFrom = p.Name
		}
		d.Machines, err = v.CountOwned(name)
		return err
	})
	return d, err
}
