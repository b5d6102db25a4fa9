package metal

import (
	"strings"

	"github.com/metalward/metalward/internal/fault"
)

// candidType is a Candid server. It vouches for people by discharging macaroons, and is asked about them as an agent.
// Names of fields follow MAAS's `configauth`, where it has them.
var candidType = ProviderType{Kind: ProviderCandid, Title: "Candid", Redirects: true, Rechecks: true,
	Address: ProviderField{Name: "candid_url", Label: "URL", Doc: "Candid's https address, as its configuration has it under location."},
	Secret:  ProviderField{Name: "agent_key", Label: "Agent's private key", Required: true, Doc: "The private key of the agent, base64, as its agent file has it. It is sealed, and never shown again."},
	Fields: []ProviderField{
		{Name: "agent_username", Label: "Agent", Required: true, Max: MaxClaim, Doc: "The agent's user name at Candid. It must be allowed to read people's groups there."},
		{Name: "domain", Label: "Domain", Max: MaxClaim, Doc: "Only people of this domain of Candid's may log in. Empty: all that it knows."},
		{Name: "return", Label: "Browsers return by themselves", Default: "no", Choices: []string{"no", "yes"},
			Doc: "yes: Candid sends browsers back after the login; the redirect URI must be among its redirect-login-trusted-urls. no: people return by hand."}},
	check: func(p Provider, bad fault.Fields) {
		for _, name := range []string{"agent_username", "domain"} {
			if strings.ContainsAny(p.Options[name], " /?#") {
				bad.Add(name, "Use no blanks and none of / ? #.")
			}
		}
		if strings.Contains(p.Options["domain"], "@") {
			bad.Add("domain", "Leave out the @.")
		}
	}}

// Links reports whether the owner of an account here can link an identity at such a provider to it.
func (k ProviderKind) Links() bool { return k == ProviderOIDC }

// Macaroons reports whether people log in by a discharged macaroon: one such provider at a time can be enabled, because
// an API call without credentials is answered with where to go.
func (k ProviderKind) Macaroons() bool { return k == ProviderCandid || k == ProviderRBAC }
