package maasapi

import "github.com/metalward/metalward/internal/authz"

// accountOperations are about one's own account. The last four are Metalward's own.
var accountOperations = []Operation{
	{ID: "account.create_token", Handler: "AccountHandler", Method: "POST", Path: "/account/", Op: "create_authorisation_token", Action: authz.KeyEdit,
		Params: []Param{opt("name", "Name of the key."), opt("days", "Days until it expires; it does not by default."), opt("read_only", "Whether it can only read."),
			opt("pools", "Names of the resource pools that it works in, separated by commas; in all of the user's by default."),
			opt("networks", "Networks that it works from, such as 10.0.0.0/24, separated by commas; from everywhere by default.")},
		Returns: "the new key; its secret is shown this once", Doc: "Create an API key for the current user."},
	{ID: "account.delete_token", Handler: "AccountHandler", Method: "POST", Path: "/account/", Op: "delete_authorisation_token", Action: authz.KeyEdit,
		Params: []Param{req("token_key", "The token part of the key.")}, Status: 204, Doc: "Delete an API key of the current user."},
	{ID: "account.list_tokens", Handler: "AccountHandler", Method: "GET", Path: "/account/", Op: "list_authorisation_tokens", Action: authz.KeyView,
		Returns: "names, token parts, limits and last use, never secrets", Doc: "List the API keys of the current user."},
	{ID: "account.update_token", Handler: "AccountHandler", Method: "POST", Path: "/account/", Op: "update_token_name", Action: authz.KeyEdit,
		Params: []Param{req("token", "The token part of the key, or the key's first two parts."), req("name", "Its new name.")}, Status: 202, Doc: "Rename an API key."},
	{ID: "account.change_password", Handler: "AccountHandler", Method: "POST", Path: "/account/", Op: "change_password", Action: authz.KeyEdit,
		Params: []Param{{Name: "old_password", Required: true, Secret: true, Doc: "The current password."},
			{Name: "new_password", Required: true, Secret: true, Doc: "The new one: at least 12 characters, not easy to guess."}},
		Status: 204, Doc: "Change the current user's password. All sessions end; API keys stay."},
	{ID: "account.list_sessions", Handler: "AccountHandler", Method: "GET", Path: "/account/", Op: "list_sessions", Action: authz.KeyView,
		Returns: "a list of sessions", Doc: "List the current user's sessions in browsers."},
	{ID: "account.end_session", Handler: "AccountHandler", Method: "POST", Path: "/account/", Op: "end_session", Action: authz.KeyEdit,
		Params: []Param{req("id", "The session's id.")}, Status: 204, Doc: "End one of the current user's sessions."},
	{ID: "account.end_sessions", Handler: "AccountHandler", Method: "POST", Path: "/account/", Op: "end_sessions", Action: authz.KeyEdit,
		Status: 204, Doc: "End all of the current user's sessions in browsers."},
}
