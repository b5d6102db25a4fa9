package maasapi

import "github.com/metalward/metalward/internal/authz"

// What MAAS demands but is not needed here: the redirect URI follows from this site's address, and of the tokens only the
// ID token is read, which is a JWT.
var providerCompat = []string{"token_type"}

func providerParams(need func(name, doc string) Param, secret bool) []Param {
	return []Param{need("name", "Name, unique; it is on the login page's button."), need("issuer_url", "The provider's https address, as its tokens have it, to the letter."),
		need("client_id", "The client's id at the provider."), {Name: "client_secret", Required: secret, Secret: true, Doc: "The client's secret. It is sealed, and never shown again."},
		opt("enabled", "true: people can log in by it."), opt("vendor", "Generic, Auth0, EntraID or Keycloak."), opt("scopes", "Separated by blanks; openid profile email by default."),
		opt("redirect_uri", "Where the provider sends browsers back to: this site's address, or nothing."), opt("group_claim", "The claim of ID tokens that lists groups."),
		opt("groups", "A line a mapping: a value of the claim, =, and the name of a group."), opt("create_users", "true: whoever the provider lets in becomes a user.")}
}

// providerOperations are identity providers as MAAS 3.8 has them. A client's secret is never returned; groups, new users
// and the test are Metalward's own.
var providerOperations = []Operation{
	{ID: "oidc_providers.list", Handler: "OidcProvidersHandler", Method: "GET", Path: "/oidc-providers/", Action: authz.ProviderView, Returns: "a list of providers",
		Doc: "List the identity providers."},
	{ID: "oidc_providers.create", Handler: "OidcProvidersHandler", Method: "POST", Path: "/oidc-providers/", Action: authz.ProviderEdit, Params: providerParams(req, true),
		Compat: providerCompat, Status: 201, Returns: "the provider", Doc: "Add an identity provider."},
	{ID: "oidc_providers.get_active", Handler: "OidcProvidersHandler", Method: "GET", Path: "/oidc-providers/", Op: "get_active", Action: authz.ProviderView,
		Returns: "the provider", Doc: "Read the provider that is enabled, of several the first by name."},
	{ID: "oidc_provider.read", Handler: "OidcProviderHandler", Method: "GET", Path: "/oidc-providers/{id}/", Action: authz.ProviderView, Returns: "the provider",
		Doc: "Read an identity provider."},
	{ID: "oidc_provider.update", Handler: "OidcProviderHandler", Method: "PUT", Path: "/oidc-providers/{id}/", Action: authz.ProviderEdit, Params: providerParams(opt, false),
		Compat: providerCompat, Returns: "the provider", Doc: "Change an identity provider. Disabling it ends the sessions that began there."},
	{ID: "oidc_provider.delete", Handler: "OidcProviderHandler", Method: "DELETE", Path: "/oidc-providers/{id}/", Action: authz.ProviderEdit, Status: 204,
		Doc: "Delete an identity provider that is disabled. Users whom it brought stay."},
	{ID: "oidc_provider.test", Handler: "OidcProviderHandler", Method: "POST", Path: "/oidc-providers/{id}/", Op: "test", Action: authz.ProviderEdit,
		Returns: "whether the provider answers and has keys, in words", Doc: "Ask an identity provider about itself and for its keys."},
}
