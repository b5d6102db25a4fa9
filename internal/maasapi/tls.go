package maasapi

import "github.com/metalward/metalward/internal/authz"

// tlsOperations are what MAAS has as config-tls on its host only.
var tlsOperations = []Operation{
	{ID: "tls.read", Handler: "TLSHandler", Method: "GET", Path: "/tls/", Action: authz.TLSView,
		Returns: "the certificate, its chain, warnings, and all that the site depends on with when they end", Doc: "Read which certificate the pages and the API show."},
	{ID: "tls.enable", Handler: "TLSHandler", Method: "POST", Path: "/tls/", Op: "enable", Action: authz.TLSEdit,
		Params: []Param{{Name: "key", Required: true, Secret: true, Doc: "The private key, PEM. It is sealed, and never shown again."}, req("cert", "The certificate and those between it and its authority, PEM, in any order."),
			opt("cacert", "The authority's certificate, PEM, if clients do not know it anyway.")},
		Returns: "as read", Doc: "Show a certificate that you bring. It is checked first, and no connection is dropped."},
	{ID: "tls.disable", Handler: "TLSHandler", Method: "POST", Path: "/tls/", Op: "disable", Action: authz.TLSEdit,
		Params:  []Param{req("confirm", "true: yes, people who trust the other authority only will be refused from now on.")},
		Returns: "as read", Doc: "Go back to a certificate of the site's own authority. TLS itself stays on."},
	{ID: "tls.renew", Handler: "TLSHandler", Method: "POST", Path: "/tls/", Op: "renew", Action: authz.TLSEdit,
		Returns: "as read", Doc: "Make the certificate of the site's own authority anew."},
}
