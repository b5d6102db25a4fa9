package access

import (
	"context"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// Roles lists the built-in roles, then the site's own.
func (s *Service) Roles(ctx context.Context) (list []authz.Role, err error) {
	err = s.gate.View(ctx, authz.AccessView, func(v *gate.Viewing) error { list, err = v.Roles(); return err })
	return list, err
}

// Role returns a role. Kinds: NotFound.
func (s *Service) Role(ctx context.Context, name string) (r authz.Role, err error) {
	err = s.gate.View(ctx, authz.AccessView, func(v *gate.Viewing) error { r, err = v.Role(name); return err })
	return r, err
}

// parseRole makes a role of what a form says. Permissions are names separated by blanks or commas.
func parseRole(name, description, permissions string) (authz.Role, error) {
	bad := fault.Fields{}
	if err := metal.ValidateDescribed(name, description); err != nil {
		f, _ := fault.As(err)
		bad = f.Fields
	}
	set, err := authz.ParseSet(permissions)
	if err != nil {
		bad.Add("permissions", "%v; the roles page and `roles permissions` list them.", err)
	} else if set == 0 {
		bad.Add("permissions", "Name at least one permission.")
	}
	return authz.Role{Name: name, Description: description, Permissions: set}, bad.Err()
}

// CreateRole adds a role of the site. It gives nothing to anybody until it is granted. Kinds: Invalid,
// Forbidden, Exhausted.
func (s *Service) CreateRole(ctx context.Context, name, description, permissions string) (authz.Role, error) {
	r, err := parseRole(name, description, permissions)
	if err != nil {
		return r, err
	}
	return r, s.gate.Do(ctx, authz.RoleEdit, func(c *gate.Call) error {
		if err := c.Require(store.RoleTarget("")); err != nil {
			return err
		}
		roles, err := c.Tx().Roles()
		if err != nil {
			return err
		}
		if len(roles) >= MaxRoles {
			return fault.New(fault.Exhausted, "There are %d roles; delete some first.", len(roles))
		}
		for _, o := range roles {
			if o.Name == name {
				return fault.Field("name", "A role with that name already exists.")
			}
		}
		c.Note("after", r.Permissions.String())
		return c.Tx().AddRole(r)
	})
}

// onRole runs a change of one of the site's own roles.
func (s *Service) onRole(ctx context.Context, name string, fn func(*gate.Call, authz.Role) error) error {
	return s.gate.Do(ctx, authz.RoleEdit, func(c *gate.Call) error {
		if err := c.Require(store.RoleTarget(name)); err != nil {
			return err
		}
		r, err := c.Tx().Role(name)
		if err != nil {
			return err
		}
		if r.BuiltIn {
			return fault.New(fault.Invalid, "Role %s is built in and does not change; make a role of your own.", name)
		}
		c.Note("before", r.Permissions.String())
		return fn(c, r)
	})
}

// UpdateRole changes a role's description and permissions; nil leaves one alone. Whoever holds the role has
// what it gives from then on. Kinds: NotFound, Invalid, Forbidden.
func (s *Service) UpdateRole(ctx context.Context, name string, description, permissions *string) (r authz.Role, err error) {
	err = s.onRole(ctx, name, func(c *gate.Call, old authz.Role) error {
		text, perms := old.Description, old.Permissions.String()
		if description != nil {
			text = *description
		}
		if permissions != nil {
			perms = *permissions
		}
		if r, err = parseRole(name, text, perms); err != nil {
			return err
		}
		grants, err := c.Tx().Grants(store.GrantQuery{Role: name})
		if err != nil {
			return err
		}
		for _, g := range grants { // what its holders have now, and what they would have
			after := g
			after.Set = r.Permissions
			if err := mayHandle(c, g, after); err != nil {
				return err
			}
		}
		c.Note("after", r.Permissions.String())
		return c.Tx().PutRole(r)
	})
	return r, err
}

// DeleteRole deletes a role that nobody holds. Kinds: NotFound, Invalid, Conflict.
func (s *Service) DeleteRole(ctx context.Context, name string) error {
	return s.onRole(ctx, name, func(c *gate.Call, _ authz.Role) error {
		grants, err := c.Tx().Grants(store.GrantQuery{Role: name})
		if err != nil {
			return err
		}
		if len(grants) > 0 {
			return fault.New(fault.Conflict, "Role %s is granted %d times; revoke these grants first.", name, len(grants))
		}
		return c.Tx().DeleteRole(name)
	})
}
