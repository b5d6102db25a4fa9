package maasapi

import "github.com/metalward/metalward/internal/authz"

var (
	groupParam = req("name", "Name, unique.")
	freeText   = opt("description", "Free text.")
	permParam  = "Names of permissions, separated by blanks or commas."
	// entitlementParams name a single entitlement.
	entitlementParams = []Param{req("resource_type", "maas for the whole site, or pool."), req("resource_id", "0 for maas, or the pool's id."),
		req("entitlement", "Such as can_view_machines.")}
)

// accessOperations are groups as MAAS 3.8 has them, and ours: roles, grants, and what they amount to.
var accessOperations = []Operation{
	{ID: "groups.list", Handler: "UserGroupsHandler", Method: "GET", Path: "/groups/", Action: authz.AccessView, Returns: "a list of groups", Doc: "List the user groups."},
	{ID: "groups.create", Handler: "UserGroupsHandler", Method: "POST", Path: "/groups/", Action: authz.GroupEdit, Params: []Param{groupParam, freeText},
		Returns: "the group", Doc: "Create a user group."},
	{ID: "group.read", Handler: "UserGroupHandler", Method: "GET", Path: "/groups/{id}/", Action: authz.AccessView, Returns: "the group", Doc: "Read a user group."},
	{ID: "group.update", Handler: "UserGroupHandler", Method: "PUT", Path: "/groups/{id}/", Action: authz.GroupEdit, Params: []Param{opt("name", "Its new name."), freeText},
		Returns: "the group", Doc: "Change a user group."},
	{ID: "group.delete", Handler: "UserGroupHandler", Method: "DELETE", Path: "/groups/{id}/", Action: authz.GroupEdit, Status: 204,
		Doc: "Delete a user group. Its members lose what they had by it."},
	{ID: "group.list_members", Handler: "UserGroupHandler", Method: "GET", Path: "/groups/{id}/", Op: "list_members", Action: authz.AccessView,
		Returns: "names and e-mail addresses", Doc: "List the members of a group."},
	{ID: "group.add_member", Handler: "UserGroupHandler", Method: "POST", Path: "/groups/{id}/", Op: "add_member", Action: authz.GroupEdit,
		Params: []Param{req("username", "Name of the user.")}, Doc: "Put a user into a group."},
	{ID: "group.remove_member", Handler: "UserGroupHandler", Method: "POST", Path: "/groups/{id}/", Op: "remove_member", Action: authz.GroupEdit,
		Params: []Param{req("username", "Name of the user.")}, Status: 204, Doc: "Take a user out of a group."},
	{ID: "group.list_entitlements", Handler: "UserGroupHandler", Method: "GET", Path: "/groups/{id}/", Op: "list_entitlements", Action: authz.AccessView,
		Returns: "a list of entitlements", Doc: "List what a group gives, its roles spelled out."},
	{ID: "group.add_entitlement", Handler: "UserGroupHandler", Method: "POST", Path: "/groups/{id}/", Op: "add_entitlement", Action: authz.GrantEdit,
		Params: entitlementParams, Doc: "Grant a group a single entitlement."},
	{ID: "group.remove_entitlement", Handler: "UserGroupHandler", Method: "POST", Path: "/groups/{id}/", Op: "remove_entitlement", Action: authz.GrantEdit,
		Params: entitlementParams, Status: 204, Doc: "Take a single entitlement from a group."},

	{ID: "roles.list", Handler: "RolesHandler", Method: "GET", Path: "/roles/", Action: authz.AccessView, Returns: "a list of roles", Doc: "List the built-in roles and the site's own."},
	{ID: "roles.permissions", Handler: "RolesHandler", Method: "GET", Path: "/roles/", Op: "permissions", Action: authz.AccessView, Returns: "a list of permissions",
		Doc: "List the permissions that a role can be made of."},
	{ID: "roles.create", Handler: "RolesHandler", Method: "POST", Path: "/roles/", Action: authz.RoleEdit,
		Params: []Param{req("name", "Name, unique."), freeText, req("permissions", permParam)}, Returns: "the role", Doc: "Create a role."},
	{ID: "role.read", Handler: "RoleHandler", Method: "GET", Path: "/roles/{name}/", Action: authz.AccessView, Returns: "the role", Doc: "Read a role."},
	{ID: "role.update", Handler: "RoleHandler", Method: "PUT", Path: "/roles/{name}/", Action: authz.RoleEdit, Params: []Param{freeText, opt("permissions", permParam)},
		Returns: "the role", Doc: "Change a role of the site. Built-in roles do not change."},
	{ID: "role.delete", Handler: "RoleHandler", Method: "DELETE", Path: "/roles/{name}/", Action: authz.RoleEdit, Status: 204, Doc: "Delete a role that nobody holds."},

	{ID: "grants.list", Handler: "GrantsHandler", Method: "GET", Path: "/grants/", Action: authz.AccessView,
		Params:  []Param{opt("user", "Only this user's own and his groups'."), opt("group", "Only this group's."), opt("pool", "Only those that reach this pool."), opt("role", "Only of this role.")},
		Returns: "a list of grants", Doc: "List who is granted what."},
	{ID: "grants.create", Handler: "GrantsHandler", Method: "POST", Path: "/grants/", Action: authz.GrantEdit,
		Params: []Param{opt("user", "Name of the user."), opt("group", "Name of the group, in place of a user."), req("role", "Name of the role."),
			opt("pool", "Name of a pool; repeat the field for several."), opt("all_pools", "true: on all pools, and the site.")},
		Returns: "the grants", Doc: "Grant a role to a user or a group on one pool, several, or all."},
	{ID: "grant.delete", Handler: "GrantHandler", Method: "DELETE", Path: "/grants/{id}/", Action: authz.GrantEdit, Status: 204, Doc: "Take a grant back."},

	{ID: "access.matrix", Handler: "AccessHandler", Method: "GET", Path: "/access/", Op: "matrix", Action: authz.AccessView, Params: []Param{req("pool", "Name of the pool.")},
		Returns: "users with their permissions and the grants that give them", Doc: "List who can do what on a pool."},
	{ID: "access.explain", Handler: "AccessHandler", Method: "GET", Path: "/access/", Op: "explain", Action: authz.AccessView,
		Params: []Param{req("user", "Name of the user."), req("action", "Such as machine.deploy; the reference lists them."), opt("machine", "System id or host name."),
			opt("pool", "Name of a pool, where no machine is meant.")},
		Returns: "the decision, the permission it hangs on and the grants that give it", Doc: "Explain why a user can or cannot do something."},
}
