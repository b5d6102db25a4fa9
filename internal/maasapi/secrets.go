package maasapi

import "github.com/metalward/metalward/internal/authz"

// secretsOperations are what MAAS has nothing like.
var secretsOperations = []Operation{
	{ID: "secrets.read", Handler: "SecretsHandler", Method: "GET", Path: "/secrets/", Action: authz.SecretsView,
		Params:  []Param{opt("after", "The name that the page follows."), opt("limit", "How many at most, 1 to 1000; 1000 if not given.")},
		Returns: "the keys in use, and the secrets' names, ages, and where they are kept; never what they are",
		Doc:     "List the instance's secrets, a page at a time."},
	{ID: "vault.read", Handler: "VaultHandler", Method: "GET", Path: "/vault/", Action: authz.SecretsView,
		Returns: "status as of MAAS's config-vault, how many secrets are where, and of each region whether it has a Vault and how that is",
		Doc:     "Read where the secrets are kept, and how Vault is. It is configured on each region's host: metalward config-vault."},
}
