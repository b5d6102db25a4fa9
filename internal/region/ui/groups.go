package ui

import (
	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/region/access"
)

func (q *request) groupsAgain(cause error) error {
	list, err := q.ui.Access.Groups(q.http.Context())
	if err != nil {
		return err
	}
	if cause != nil {
		return q.again(cause, "groups", "Groups", list)
	}
	return q.show("groups", "Groups", list)
}

func (q *request) groups() error { return q.groupsAgain(nil) }

func (q *request) createGroup() error {
	g, err := q.ui.Access.CreateGroup(q.http.Context(), q.get("name"), q.get("description"))
	if err != nil {
		return q.groupsAgain(err)
	}
	return q.redirect("/groups/"+authz.ID(g.ID), "added")
}

func (q *request) groupAgain(cause error) error {
	g, err := q.ui.Access.Group(q.http.Context(), q.pathID("id"))
	if err != nil {
		return err
	}
	if cause != nil {
		return q.again(cause, "group", "Group "+g.Name, g)
	}
	return q.show("group", "Group "+g.Name, g)
}

func (q *request) group() error { return q.groupAgain(nil) }

// onGroup answers a change of the group of the address.
func (q *request) onGroup(err error, notice string) error {
	if err != nil {
		return q.groupAgain(err)
	}
	return q.redirect("/groups/"+q.http.PathValue("id"), notice)
}

func (q *request) saveGroup() error {
	name, description := q.get("name"), q.get("description")
	_, err := q.ui.Access.UpdateGroup(q.http.Context(), q.pathID("id"), &name, &description)
	return q.onGroup(err, "saved")
}

func (q *request) deleteGroup() error {
	if err := q.ui.Access.DeleteGroup(q.http.Context(), q.pathID("id")); err != nil {
		return q.groupAgain(err)
	}
	return q.redirect("/groups", "deleted")
}

func (q *request) addMember() error {
	return q.onGroup(q.ui.Access.AddMember(q.http.Context(), q.pathID("id"), q.get("username")), "added")
}

func (q *request) removeMember() error {
	return q.onGroup(q.ui.Access.RemoveMember(q.http.Context(), q.pathID("id"), q.get("username")), "deleted")
}

// rolesData is all roles, or one, with the permissions that a role can be made of.
type rolesData struct {
	Roles       []authz.Role
	Role        authz.Role
	Permissions []authz.Permission
	Grants      int // of the one role
}

func (q *request) rolesAgain(cause error) error {
	list, err := q.ui.Access.Roles(q.http.Context())
	if err != nil {
		return err
	}
	d := rolesData{Roles: list, Permissions: authz.Permissions()}
	if cause != nil {
		return q.again(cause, "roles", "Roles", d)
	}
	return q.show("roles", "Roles", d)
}

func (q *request) roles() error { return q.rolesAgain(nil) }

func (q *request) createRole() error {
	if _, err := q.ui.Access.CreateRole(q.http.Context(), q.get("name"), q.get("description"), q.checked("permission")); err != nil {
		return q.rolesAgain(err)
	}
	return q.redirect("/roles", "added")
}

func (q *request) roleAgain(cause error) error {
	ctx, name := q.http.Context(), q.http.PathValue("name")
	r, err := q.ui.Access.Role(ctx, name)
	if err != nil {
		return err
	}
	grants, err := q.ui.Access.Grants(ctx, access.GrantFilter{Role: name})
	if err != nil {
		return err
	}
	d := rolesData{Role: r, Permissions: authz.Permissions(), Grants: len(grants)}
	if cause != nil {
		return q.again(cause, "role", "Role "+name, d)
	}
	return q.show("role", "Role "+name, d)
}

func (q *request) role() error { return q.roleAgain(nil) }

func (q *request) saveRole() error {
	description, permissions := q.get("description"), q.checked("permission")
	if _, err := q.ui.Access.UpdateRole(q.http.Context(), q.http.PathValue("name"), &description, &permissions); err != nil {
		return q.roleAgain(err)
	}
	return q.redirect("/roles", "saved")
}

func (q *request) deleteRole() error {
	if err := q.ui.Access.DeleteRole(q.http.Context(), q.http.PathValue("name")); err != nil {
		return q.roleAgain(err)
	}
	return q.redirect("/roles", "deleted")
}
