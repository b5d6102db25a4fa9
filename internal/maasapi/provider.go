package maasapi

import (
	"slices"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

// providerOperations are a collection for each kind of identity provider, of the same shape. OpenID Connect's is MAAS
// 3.8's. A secret is never returned; groups, new users and the test are Metalward's own.
var providerOperations = func() (rows []Operation) {
	for _, t := range metal.ProviderTypes {
		rows = append(rows, providerRows(t)...)
	}
	return rows
}()

func providerRows(t metal.ProviderType) []Operation {
	kind := string(t.Kind)
	path, many, one := "/"+kind+"-providers/", providerHandler(t, "s"), providerHandler(t, "")
	row := func(id, handler, method, path string, action authz.Action, doc string) Operation {
		return Operation{ID: kind + "_" + id, Handler: handler, Method: method, Path: path, Action: action, Returns: "the provider", Doc: doc + " (" + t.Title + ")."}
	}
	list := row("providers.list", many, "GET", path, authz.ProviderView, "List the identity providers")
	create := row("providers.create", many, "POST", path, authz.ProviderEdit, "Add an identity provider")
	read := row("provider.read", one, "GET", path+"{id}/", authz.ProviderView, "Read an identity provider")
	update := row("provider.update", one, "PUT", path+"{id}/", authz.ProviderEdit, "Change an identity provider. Disabling it ends the sessions that began there")
	remove := row("provider.delete", one, "DELETE", path+"{id}/", authz.ProviderEdit, "Delete an identity provider that is disabled. Users whom it brought stay")
	test := row("provider.test", one, "POST", path+"{id}/", authz.ProviderEdit, "Ask an identity provider whether it can be used")
	list.Returns, remove.Returns, test.Returns = "a list of providers", "", "what was found, in words"
	create.Params, update.Params, create.Status, remove.Status, test.Op = providerParams(t, true), providerParams(t, false), 201, 204, "test"
	if !t.Redirects {
		test.Params = []Param{opt("username", "Somebody to look for.")}
	}
	if t.Kind != metal.ProviderOIDC {
		return []Operation{list, create, read, update, remove, test}
	}
	active := row("providers.get_active", many, "GET", path, authz.ProviderView, "Read the provider that is enabled, of several the first by name")
	active.Op = "get_active"
	// What MAAS demands but is not needed here: the redirect URI follows from this site's address, and of the tokens only
	// the ID token is read, which is a JWT.
	uri := opt("redirect_uri", "Where the provider sends browsers back to: this site's address, or nothing.")
	for _, o := range []*Operation{&create, &update} {
		o.Compat, o.Params = []string{"token_type"}, append(o.Params, uri)
	}
	return []Operation{list, create, active, read, update, remove, test}
}

// providerHandler is the class name of a kind's collection ("s") or of one in it: "OidcProvidersHandler".
func providerHandler(t metal.ProviderType, s string) string {
	kind := []byte(t.Kind)
	kind[0] -= 'a' - 'A'
	return string(kind) + "Provider" + s + "Handler"
}

// withProviders adds what documents the collections of providers.
func withProviders(info map[string]string) map[string]string {
	for _, t := range metal.ProviderTypes {
		info[providerHandler(t, "s")] = "Manage identity providers (" + t.Title + ")."
		info[providerHandler(t, "")] = "Manage an identity provider (" + t.Title + ")."
	}
	return info
}

func providerParams(t metal.ProviderType, creates bool) []Param {
	field := func(f metal.ProviderField) Param {
		return Param{Name: f.Name, Required: f.Required && creates, Doc: f.Doc}
	}
	list := []Param{{Name: "name", Required: creates, Doc: "Name, unique; people see it where they log in."}}
	if t.Address.Name != "" {
		list = append(list, Param{Name: t.Address.Name, Required: creates, Doc: t.Address.Doc})
	}
	for _, f := range t.Fields {
		list = append(list, field(f))
	}
	if t.Secret.Name != "" {
		hidden := field(t.Secret)
		hidden.Secret = true
		list = append(list, hidden)
	}
	return slices.Concat(list, []Param{opt("enabled", "true: people can log in by it."),
		opt("groups", "A line a mapping: what the provider calls a group, =, and the name of a group here."), opt("create_users", "true: whoever the provider lets in becomes a user.")})
}
