package maasapi

import "github.com/metalward/metalward/internal/authz"

var isSuperuser = opt("is_superuser", "1 for an administrator, 0 for a user.")

// userOperations are the administration of users. Those on one user besides read and delete are Metalward's own.
var userOperations = []Operation{
	{ID: "users.list", Handler: "UsersHandler", Method: "GET", Path: "/users/", Action: authz.UserView, Returns: "a list of users", Doc: "List the users."},
	{ID: "users.create", Handler: "UsersHandler", Method: "POST", Path: "/users/", Action: authz.UserEdit,
		Params: []Param{req("username", "Name to log in with."), opt("email", "E-mail address."),
			{Name: "password", Required: true, Secret: true, Doc: "Password of at least 12 characters, not easy to guess."}, isSuperuser},
		Returns: "the user", Doc: "Create a user."},
	{ID: "users.invite", Handler: "UsersHandler", Method: "POST", Path: "/users/", Op: "invite", Action: authz.UserEdit,
		Params: []Param{req("username", "Name to log in with."), opt("email", "E-mail address."), isSuperuser}, Returns: "the user, with the link, which is shown this once",
		Doc: "Create a user, and a link that works once, for 30 minutes, to choose a password."},
	{ID: "users.whoami", Handler: "UsersHandler", Method: "GET", Path: "/users/", Op: "whoami", Action: authz.UserView, Returns: "the current user", Doc: "Read who is logged in."},
	{ID: "users.security", Handler: "UsersHandler", Method: "GET", Path: "/users/", Op: "security", Action: authz.UserInspect,
		Returns: "a list of users: how each gets in, and how many keys and sessions each has", Doc: "List how users get in: passwords, second factors, API keys, sessions. A key that only reads will do."},
	{ID: "user.read", Handler: "UserHandler", Method: "GET", Path: "/users/{username}/", Action: authz.UserView, Returns: "the user", Doc: "Read a user."},
	{ID: "user.update", Handler: "UserHandler", Method: "PUT", Path: "/users/{username}/", Action: authz.UserEdit, Params: []Param{opt("email", "E-mail address.")},
		Returns: "the user", Doc: "Change a user."},
	{ID: "user.delete", Handler: "UserHandler", Method: "DELETE", Path: "/users/{username}/", Action: authz.UserEdit, Status: 204,
		Params: []Param{opt("transfer_resources_to", "Name of the user who takes over the machines; without it the user must own none.")}, Doc: "Delete a user."},
	{ID: "user.set_password", Handler: "UserHandler", Method: "POST", Path: "/users/{username}/", Op: "set_password", Action: authz.UserEdit,
		Params: []Param{{Name: "password", Required: true, Secret: true, Doc: "Password of at least 12 characters, not easy to guess."}}, Status: 204,
		Doc: "Set another user's password. All of the user's sessions end."},
	{ID: "user.recovery_link", Handler: "UserHandler", Method: "POST", Path: "/users/{username}/", Op: "recovery_link", Action: authz.UserEdit,
		Returns: "the link, which is shown this once", Doc: "Make a link that works once, for 30 minutes, by which a user chooses a new password."},
	{ID: "user.deactivate", Handler: "UserHandler", Method: "POST", Path: "/users/{username}/", Op: "deactivate", Action: authz.UserEdit, Returns: "the user",
		Doc: "Deactivate a user: nobody gets in as this user, what the user owns stays."},
	{ID: "user.reactivate", Handler: "UserHandler", Method: "POST", Path: "/users/{username}/", Op: "reactivate", Action: authz.UserEdit, Returns: "the user",
		Doc: "Let a deactivated user in again."},
	{ID: "user.reset_factors", Handler: "UserHandler", Method: "POST", Path: "/users/{username}/", Op: "reset_factors", Action: authz.UserEdit, Status: 204,
		Doc: "Remove a user's second factors, for one who lost them. Sessions end."},
	{ID: "user.end_sessions", Handler: "UserHandler", Method: "POST", Path: "/users/{username}/", Op: "end_sessions", Action: authz.UserEdit, Status: 204,
		Doc: "End all of a user's sessions in browsers."},
}
