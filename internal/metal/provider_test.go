package metal

import (
	"maps"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/fault"
)

func TestProviderValidate(t *testing.T) {
	good := Provider{Kind: ProviderOIDC, Name: "Example", Issuer: "https://id.example.org/realms/ops/"}
	if err := good.Set(map[string]string{"client_id": "c"}); err != nil {
		t.Fatal(err)
	}
	if err := good.Validate(); err != nil {
		t.Errorf("got %v", err)
	}
	for name, c := range map[string]struct {
		field string
		spoil func(*Provider)
	}{
		"no kind":            {"kind", func(p *Provider) { p.Kind = "x" }},
		"no name":            {"name", func(p *Provider) { p.Name = "" }},
		"markup in the name": {"name", func(p *Provider) { p.Name = "<b>" }},
		"plain HTTP":         {"issuer_url", func(p *Provider) { p.Issuer = "http://id.example.org" }},
		"no host":            {"issuer_url", func(p *Provider) { p.Issuer = "https:///x" }},
		"password in it":     {"issuer_url", func(p *Provider) { p.Issuer = "https://a:b@id.example.org" }},
		"query":              {"issuer_url", func(p *Provider) { p.Issuer = "https://id.example.org/?x" }},
		"fragment":           {"issuer_url", func(p *Provider) { p.Issuer = "https://id.example.org/#x" }},
		"long":               {"issuer_url", func(p *Provider) { p.Issuer = "https://id.example.org/" + strings.Repeat("x", 512) }},
		"no client":          {"client_id", func(p *Provider) { p.Options["client_id"] = "" }},
		"two lines":          {"client_id", func(p *Provider) { p.Options["client_id"] = "a\nb" }},
		"not OpenID":         {"scopes", func(p *Provider) { p.Options["scopes"] = "profile myopenid" }},
		"groups of no claim": {"group_claim", func(p *Provider) { p.Groups = make([]ProviderGroup, 1) }},
		"more groups than is": {"groups", func(p *Provider) {
			p.Options["group_claim"], p.Groups = "g", make([]ProviderGroup, MaxProviderGroups+1)
		}},
	} {
		p := good
		p.Options = maps.Clone(good.Options)
		c.spoil(&p)
		f, ok := fault.As(p.Validate())
		if !ok || f.Kind != fault.Invalid || len(f.Fields[c.field]) == 0 {
			t.Errorf("%s: got %v, want a complaint about %s", name, p.Validate(), c.field)
		}
	}
}

// TestProviderSet holds that what is not given stays, what is empty gets its default, and choices are MAAS's spellings.
func TestProviderSet(t *testing.T) {
	p := Provider{Kind: ProviderOIDC}
	for text, want := range map[string]string{"": "Generic", "generic": "Generic", "entra_id": "EntraID", "EntraID": "EntraID", "KEYCLOAK": "Keycloak", "auth0": "Auth0"} {
		if err := p.Set(map[string]string{"vendor": text}); err != nil || p.Options["vendor"] != want {
			t.Errorf("%q: got %q, %v, want %q", text, p.Options["vendor"], err, want)
		}
	}
	if err := p.Set(map[string]string{"vendor": "okta"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	if err := p.Set(map[string]string{"vendor": "auth0", "scopes": " openid\n email "}); err != nil || p.Options["scopes"] != "openid email" {
		t.Errorf("got %q, %v", p.Options["scopes"], err)
	}
	if err := p.Set(map[string]string{"client_id": "c", "unknown": "x"}); err != nil || p.Options["scopes"] != "openid email" || p.Options["client_id"] != "c" || len(p.Options) != 5 {
		t.Errorf("got %v, %v", p.Options, err)
	}
	if err := p.Set(map[string]string{"scopes": ""}); err != nil || p.Options["scopes"] != DefaultScopes {
		t.Errorf("got %v, %v", p.Options, err)
	}
}
