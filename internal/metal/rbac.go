package metal

import (
	"net/url"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// RightsAge is how old the answer of an RBAC service may be by which a user acts. Without a younger one he does not act.
const RightsAge = 10 * time.Second

// rbacType is an RBAC service: it vouches for people as Candid does, and says what they may do here. Names of fields follow
// MAAS's `configauth`, where it has them.
var rbacType = ProviderType{Kind: ProviderRBAC, Title: "RBAC service", Redirects: true, Decides: true,
	Address: ProviderField{Name: "rbac_url", Label: "URL", Doc: "The service's https address."},
	Secret:  ProviderField{Name: "agent_key", Label: "Agent's private key", Required: true, Doc: "The private key of this site's agent, base64; its public half is registered at the service. It is sealed, and never shown again."},
	Fields: []ProviderField{
		{Name: "agent_username", Label: "Agent", Required: true, Max: MaxClaim, Where: true, Doc: "The agent's user name, which the service gave it when the key was registered."},
		{Name: "auth_url", Label: "Agent's login", Where: true, Doc: "Where the agent logs in, as the service said when the key was registered. Empty: /auth below the service's address."}},
	check: func(p Provider, bad fault.Fields) {
		if strings.ContainsAny(p.Options["agent_username"], " /?#") {
			bad.Add("agent_username", "Use no blanks and none of / ? #.")
		}
		if text := p.Options["auth_url"]; text != "" {
			if u, err := url.Parse(text); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.ContainsAny(text, "?# ") {
				bad.Add("auth_url", "Use an address that begins with https://, without query or fragment.")
			}
		}
		if len(p.Groups) > 0 {
			bad.Add("groups", "The service alone decides what its people may do: groups would give them nothing.")
		}
	}}
