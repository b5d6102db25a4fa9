package maasapi

import "github.com/metalward/metalward/internal/authz"

const pemUnruled = "base64 is arbitrary text; the certificates are parsed"

// tlsOperations are what MAAS has as config-tls on its host only.
var tlsOperations = []Operation{
	{ID: "tls.read", Handler: "TLSHandler", Method: "GET", Path: "/tls/", Action: authz.TLSView,
		Returns: "the certificate, its chain, warnings, and all that the site depends on with when they end", Doc: "Read which certificate the pages and the API show."},
	{ID: "tls.enable", Handler: "TLSHandler", Method: "POST", Path: "/tls/", Op: "enable", Action: authz.TLSEdit,
		Params: []Param{{Name: "key", Required: true, Secret: true, Doc: "The private key, PEM. It is sealed, and never shown again."}, {Name: "cert", Required: true, Doc: "The certificate and those between it and its authority, PEM, in any order.", Unruled: pemUnruled},
			{Name: "cacert", Doc: "The authority's certificate, PEM, if clients do not know it anyway.", Unruled: pemUnruled}},
		Returns: "as read", Doc: "Show a certificate that you bring. It is checked first, and no connection is dropped."},
	{ID: "tls.acme", Handler: "TLSHandler", Method: "POST", Path: "/tls/", Op: "acme", Action: authz.TLSEdit,
		Params: []Param{req("directory", "The https:// address of an authority's ACME directory."), req("agree_tos", "true: yes, to the authority's terms of service."),
			opt("email", "Where the authority writes to."), opt("challenge", "How to prove the names: http-01 (the default), tls-alpn-01, or dns-01 once its program was set on the region's host."),
			opt("names", "The names to be certified, separated by spaces; the one that people reach the region by, if not given."),
			opt("eab_kid", "The id of the key that the authority gave its customer."), {Name: "eab_key", Secret: true, Doc: "That key, base64url."}},
		Returns: "as read", Doc: "Get the certificate of an ACME directory, and renew it by itself. What is shown stays until it is there."},
	{ID: "tls.disable", Handler: "TLSHandler", Method: "POST", Path: "/tls/", Op: "disable", Action: authz.TLSEdit,
		Params:  []Param{req("confirm", "true: yes, people who trust the other authority only will be refused from now on.")},
		Returns: "as read", Doc: "Go back to a certificate of the site's own authority, and end ACME. TLS itself stays on."},
	{ID: "tls.renew", Handler: "TLSHandler", Method: "POST", Path: "/tls/", Op: "renew", Action: authz.TLSEdit,
		Returns: "as read", Doc: "Make the certificate of the site's own authority anew, or ask the ACME directory for a new one at once."},
}
