package api

import (
	"context"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/access"
	"github.com/metalward/metalward/internal/region/store"
)

// bindAccess binds groups, roles and grants.
func (a *API) bindAccess() map[string]handler {
	return map[string]handler{
		"groups.list": func(r *request) (any, error) {
			list, err := a.Access.Groups(r.ctx)
			return each(list, groupJSON), err
		},
		"groups.create": func(r *request) (any, error) {
			g, err := a.Access.CreateGroup(r.ctx, strings.TrimSpace(r.form.Get("name")), r.form.Get("description"))
			return groupJSON(g), err
		},
		"group.read": a.onGroup(func(r *request, id int64) (any, error) {
			g, err := a.Access.Group(r.ctx, id)
			return groupJSON(g.Group), err
		}),
		"group.update": a.onGroup(func(r *request, id int64) (any, error) {
			g, err := a.Access.UpdateGroup(r.ctx, id, r.get("name"), r.get("description"))
			return groupJSON(g), err
		}),
		"group.delete": a.onGroup(func(r *request, id int64) (any, error) { return nil, a.Access.DeleteGroup(r.ctx, id) }),
		"group.list_members": a.onGroup(func(r *request, id int64) (any, error) {
			g, err := a.Access.Group(r.ctx, id)
			return each(g.Members, memberJSON), err
		}),
		"group.add_member": a.onGroup(func(r *request, id int64) (any, error) {
			return text{200, "OK"}, a.Access.AddMember(r.ctx, id, r.form.Get("username"))
		}),
		"group.remove_member": a.onGroup(func(r *request, id int64) (any, error) {
			return nil, a.Access.RemoveMember(r.ctx, id, r.form.Get("username"))
		}),
		"group.list_entitlements": a.onGroup(func(r *request, id int64) (any, error) {
			list, err := a.Access.Entitlements(r.ctx, id)
			return each(list, entitlementJSON), err
		}),
		"group.add_entitlement":    a.onEntitlement(a.Access.AddEntitlement, text{200, "OK"}),
		"group.remove_entitlement": a.onEntitlement(a.Access.RemoveEntitlement, nil),

		"roles.list": func(r *request) (any, error) {
			list, err := a.Access.Roles(r.ctx)
			return each(list, roleJSON), err
		},
		"roles.permissions": func(*request) (any, error) { return each(authz.Permissions(), permissionJSON), nil },
		"roles.create": func(r *request) (any, error) {
			role, err := a.Access.CreateRole(r.ctx, strings.TrimSpace(r.form.Get("name")), r.form.Get("description"), strings.Join(r.form["permissions"], " "))
			return roleJSON(role), err
		},
		"role.read": func(r *request) (any, error) {
			role, err := a.Access.Role(r.ctx, r.path["name"])
			return roleJSON(role), err
		},
		"role.update": func(r *request) (any, error) {
			permissions := r.get("permissions")
			if permissions != nil {
				joined := strings.Join(r.form["permissions"], " ")
				permissions = &joined
			}
			role, err := a.Access.UpdateRole(r.ctx, r.path["name"], r.get("description"), permissions)
			return roleJSON(role), err
		},
		"role.delete": func(r *request) (any, error) { return nil, a.Access.DeleteRole(r.ctx, r.path["name"]) },

		"grants.list": func(r *request) (any, error) {
			list, err := a.Access.Grants(r.ctx, access.GrantFilter{User: r.form.Get("user"), Group: r.form.Get("group"), Pool: r.form.Get("pool"), Role: r.form.Get("role")})
			return each(list, grantJSON), err
		},
		"grants.create": a.createGrant,
		"grant.delete": func(r *request) (any, error) {
			id, err := r.id("id", "Grant")
			if err != nil {
				return nil, err
			}
			return nil, a.Access.Revoke(r.ctx, id)
		},
		"access.matrix":  a.accessMatrix,
		"access.explain": a.explain,
	}
}

func (a *API) onGroup(fn func(*request, int64) (any, error)) handler {
	return func(r *request) (any, error) {
		id, err := r.id("id", authz.NounGroup)
		if err != nil {
			return nil, err
		}
		return fn(r, id)
	}
}

func (a *API) onEntitlement(change func(context.Context, int64, access.Entitlement) error, done any) handler {
	return a.onGroup(func(r *request, id int64) (any, error) {
		resource, err := strconv.ParseInt(r.form.Get("resource_id"), 10, 64)
		if err != nil {
			return nil, fault.Field("resource_id", "Enter a whole number.")
		}
		e := access.Entitlement{ResourceType: r.form.Get("resource_type"), ResourceID: resource, Name: r.form.Get("entitlement")}
		return done, change(r.ctx, id, e)
	})
}

func (a *API) createGrant(r *request) (any, error) {
	all := r.form.Get("all_pools")
	if all != "" && all != "true" && all != "false" {
		return nil, fault.Field("all_pools", "Send true or false.")
	}
	list, err := a.Access.Grant(r.ctx, access.NewGrant{User: r.form.Get("user"), Group: r.form.Get("group"), Role: r.form.Get("role"), Pools: r.form["pool"], AllPools: all == "true"})
	return each(list, grantJSON), err
}

func (a *API) accessMatrix(r *request) (any, error) {
	pool, err := a.Machines.Pool(r.ctx, r.form.Get("pool"))
	if fault.Is(err, fault.NotFound) {
		return nil, fault.Field("pool", "There is no pool of this name.")
	}
	if err != nil {
		return nil, err
	}
	_, list, err := a.Access.Matrix(r.ctx, pool.ID)
	return each(list, func(reach access.Reach) any {
		return struct {
			User        string   `json:"user"`
			Disabled    bool     `json:"disabled"`
			Permissions []string `json:"permissions"`
			Because     []any    `json:"because"`
		}{reach.User.Name, reach.User.Disabled, each(reach.Set.List(), authz.Permission.String), each(reach.Because, grantJSON)}
	}), err
}

func (a *API) explain(r *request) (any, error) {
	e, err := a.Access.Explain(r.ctx, access.Question{User: r.form.Get("user"), Action: r.form.Get("action"), Machine: r.form.Get("machine"), Pool: r.form.Get("pool")})
	return struct {
		User     string `json:"user"`
		Disabled bool   `json:"disabled"`
		Action   string `json:"action"`
		Object   string `json:"object"`
		Pool     any    `json:"pool"`
		Owner    any    `json:"owner"`
		Allowed  bool   `json:"allowed"`
		Hidden   bool   `json:"hidden"`
		Needs    any    `json:"needs"`
		Because  []any  `json:"because"`
		Held     []any  `json:"held"`
	}{e.User.Name, e.User.Disabled, string(e.Action), e.Target.String(), orNull(e.Pool.Name), orNull(e.Machine.Owner), e.Decision == authz.Allow, e.Decision == authz.Hide,
		orNull(e.Needs.String()), each(e.Because, grantJSON), each(e.Held, grantJSON)}, err
}

func groupJSON(g metal.Group) any {
	return struct {
		ID          int64  `json:"id"`
		Name        string `json:"name"`
		Description string `json:"description"`
		URI         string `json:"resource_uri"`
	}{g.ID, g.Name, g.Description, uri("/groups/%d/", g.ID)}
}

func memberJSON(u metal.User) any {
	return struct {
		Username string `json:"username"`
		Email    string `json:"email"`
	}{u.Name, u.Email}
}

func entitlementJSON(e access.Entitlement) any {
	return struct {
		ResourceType string `json:"resource_type"`
		ResourceID   int64  `json:"resource_id"`
		Entitlement  string `json:"entitlement"`
	}{e.ResourceType, e.ResourceID, e.Name}
}

func permissionJSON(p authz.Permission) any {
	return struct {
		Name        string `json:"name"`
		Description string `json:"description"`
		Pool        bool   `json:"pool"`
	}{p.String(), p.Doc(), p.OfPool()}
}

func roleJSON(r authz.Role) any {
	return struct {
		Name        string   `json:"name"`
		Description string   `json:"description"`
		Permissions []string `json:"permissions"`
		BuiltIn     bool     `json:"built_in"`
		URI         string   `json:"resource_uri"`
	}{r.Name, r.Description, each(r.Permissions.List(), authz.Permission.String), r.BuiltIn, uri("/roles/%s/", r.Name)}
}

func grantJSON(g store.GrantRow) any {
	var source any // people's
	if g.Source != 0 {
		source = uri("/rbac-providers/%d/", g.Source)
	}
	return struct {
		ID          int64  `json:"id"`
		User        any    `json:"user"`
		Group       any    `json:"group"`
		Role        any    `json:"role"`
		Entitlement any    `json:"entitlement"`
		Pool        any    `json:"pool"`
		AllPools    bool   `json:"all_pools"`
		Source      any    `json:"source"` // the RBAC service whose word it is; null for people's
		URI         string `json:"resource_uri"`
	}{g.ID, orNull(g.User), orNull(g.Group), orNull(g.Role), orNull(g.Entitlement.String()), orNull(g.PoolName), g.Pool == authz.AllPools, source, uri("/grants/%d/", g.ID)}
}
