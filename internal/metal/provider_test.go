package metal

import (
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/fault"
)

func TestProviderValidate(t *testing.T) {
	good := Provider{Name: "Example", Issuer: "https://id.example.org/realms/ops/", ClientID: "c", Scopes: DefaultScopes}
	if err := good.Validate(); err != nil {
		t.Errorf("got %v", err)
	}
	for name, c := range map[string]struct {
		field string
		spoil func(*Provider)
	}{
		"no name":             {"name", func(p *Provider) { p.Name = "" }},
		"markup in the name":  {"name", func(p *Provider) { p.Name = "<b>" }},
		"plain HTTP":          {"issuer_url", func(p *Provider) { p.Issuer = "http://id.example.org" }},
		"no host":             {"issuer_url", func(p *Provider) { p.Issuer = "https:///x" }},
		"password in it":      {"issuer_url", func(p *Provider) { p.Issuer = "https://a:b@id.example.org" }},
		"query":               {"issuer_url", func(p *Provider) { p.Issuer = "https://id.example.org/?x" }},
		"fragment":            {"issuer_url", func(p *Provider) { p.Issuer = "https://id.example.org/#x" }},
		"long":                {"issuer_url", func(p *Provider) { p.Issuer = "https://id.example.org/" + strings.Repeat("x", 512) }},
		"no client":           {"client_id", func(p *Provider) { p.ClientID = "" }},
		"two lines":           {"client_id", func(p *Provider) { p.ClientID = "a\nb" }},
		"not OpenID":          {"scopes", func(p *Provider) { p.Scopes = "profile myopenid" }},
		"groups of no claim":  {"group_claim", func(p *Provider) { p.Groups = make([]ProviderGroup, 1) }},
		"more groups than is": {"groups", func(p *Provider) { p.GroupClaim, p.Groups = "g", make([]ProviderGroup, MaxProviderGroups+1) }},
	} {
		p := good
		c.spoil(&p)
		f, ok := fault.As(p.Validate())
		if !ok || f.Kind != fault.Invalid || len(f.Fields[c.field]) == 0 {
			t.Errorf("%s: got %v, want a complaint about %s", name, p.Validate(), c.field)
		}
	}
}

func TestParseVendor(t *testing.T) {
	for text, want := range map[string]string{"": "Generic", "generic": "Generic", "entra_id": "EntraID", "EntraID": "EntraID", "KEYCLOAK": "Keycloak", "auth0": "Auth0"} {
		if got, err := ParseVendor(text); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	if _, err := ParseVendor("okta"); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
}
