package metal

import (
	"net/url"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// ProviderKind says how people log in by a provider.
type ProviderKind string

// The kinds of providers.
const (
	ProviderOIDC   ProviderKind = "oidc"   // OpenID Connect
	ProviderLDAP   ProviderKind = "ldap"   // a directory that takes passwords
	ProviderCandid ProviderKind = "candid" // macaroons that a Candid server discharges
	ProviderRBAC   ProviderKind = "rbac"   // macaroons that an RBAC service discharges, which says what people may do, too
)

// Provider is an identity provider that people log in by. Source: OpenID Connect Core 1.0; names of fields: MAAS 3.8.
type Provider struct {
	ID   int64
	Kind ProviderKind
	Name string
	// Vendor is one of ProviderVendors; it changes nothing here.
	Vendor string
	// Issuer is the https URL that its tokens carry as iss, to the letter; the address of a provider that is not
	// OpenID Connect's.
	Issuer   string
	ClientID string
	Scopes   string // separated by blanks
	// GroupClaim is the claim of ID tokens that lists groups; empty: groups are not synchronized.
	GroupClaim string
	// CreateUsers lets in whom we do not know yet: as a new user.
	CreateUsers bool
	Enabled     bool
	Created     time.Time
	Groups      []ProviderGroup
}

// ProviderGroup says which group a value of the group claim stands for.
type ProviderGroup struct {
	Value   string
	GroupID int64
	Group   string // its name
}

// ProviderVendors are MAAS's names. Source: MAAS 3.8, OIDCProvider.
var ProviderVendors = []string{"Generic", "Auth0", "EntraID", "Keycloak"}

// DefaultScopes are what a provider is asked for when nothing else is said.
const DefaultScopes = "openid profile email"

// Limits of providers.
const (
	MaxProviders      = 20
	MaxProviderGroups = 500 // mappings of one
	MaxClaim          = 256 // bytes of a subject, a group, a session's id
	MaxClaims         = 2000
)

// ParseVendor reads a vendor's name in any of MAAS's spellings; "" is Generic. Kinds: Invalid on "vendor".
func ParseVendor(text string) (string, error) {
	plain := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "") }
	for _, v := range ProviderVendors {
		if text == "" || plain(v) == plain(text) {
			return v, nil
		}
	}
	return "", fault.Field("vendor", "Use one of %s.", strings.Join(ProviderVendors, ", "))
}

// Validate checks a provider. Kinds: Invalid on MAAS's names of fields.
func (p Provider) Validate() error {
	bad := fault.Fields{}
	line := func(field, s string, required bool, most int) {
		switch {
		case s == "" && required:
			bad.Add(field, "This field is required.")
		case len(s) > most || Printable(s, most) != s:
			bad.Add(field, "Use at most %d printable characters.", most)
		}
	}
	if p.Name == "" {
		bad.Add("name", "This field is required.")
	} else if !ValidName(p.Name) {
		bad.Add("name", "Use letters, digits, blanks, '.', '_' and '-', at most 256.")
	}
	line("issuer_url", p.Issuer, true, 512)
	line("client_id", p.ClientID, true, 512)
	line("scopes", p.Scopes, true, 512)
	line("group_claim", p.GroupClaim, false, MaxClaim)
	if u, err := url.Parse(p.Issuer); p.Issuer != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.ContainsAny(p.Issuer, "?# ")) {
		bad.Add("issuer_url", "Use the provider's address, beginning with https:// and without query or fragment, as its tokens have it.")
	}
	if p.Scopes != "" && !strings.Contains(" "+p.Scopes+" ", " openid ") {
		bad.Add("scopes", "The scope openid must be among them.")
	}
	if len(p.Groups) > 0 && p.GroupClaim == "" {
		bad.Add("group_claim", "Name the claim that lists the groups.")
	}
	if len(p.Groups) > MaxProviderGroups {
		bad.Add("groups", "Map at most %d groups.", MaxProviderGroups)
	}
	return bad.Err()
}

// ExternalLogin is what a provider says of somebody who just logged in there, verified.
type ExternalLogin struct {
	ProviderID      int64
	Issuer, Subject string // who it is: nothing else is
	Name            string // preferred_username: a wish
	Email           string // empty unless the provider says that it is verified
	Groups          []string
	Session         string // the provider's id of its session, for its logout
	State           string // hash of the login's state, which works once
	StateEnds       time.Time
}

// ExternalIdentity is a user's identity at a provider.
type ExternalIdentity struct {
	Issuer, Subject   string
	ProviderID        int64
	Provider          string // its name
	UserID            int64
	Created, LastUsed time.Time
}
