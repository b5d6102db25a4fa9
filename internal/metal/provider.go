package metal

import (
	"net/url"
	"strconv"
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

// Provider is an identity provider that people log in by. Names of fields: MAAS 3.8.
type Provider struct {
	ID   int64
	Kind ProviderKind
	Name string
	// Issuer is what identities are known by, together with their subject: the https URL that an OpenID provider's tokens
	// carry as iss, to the letter; the address of a service; a random name where servers come and go.
	Issuer string
	// Options are the values of its type's fields, by name; no secret is among them.
	Options map[string]string
	// CreateUsers lets in whom we do not know yet: as a new user.
	CreateUsers bool
	Enabled     bool
	Created     time.Time
	Groups      []ProviderGroup
}

// ProviderField describes a field that a kind of provider has. Forms, the API's parameters and its answers follow.
type ProviderField struct {
	Name, Label, Doc string
	Required         bool
	Default          string
	Choices          []string
	Lines            bool // may have several lines
	Max              int  // bytes; 512 if zero
	// Where says that the field is part of the address: whoever changes it has to give the secret again, which would
	// else go to somebody else than who gave it.
	Where bool
}

// ProviderType describes a kind of providers.
type ProviderType struct {
	Kind  ProviderKind
	Title string
	// Redirects: people leave for it by a button of the login page. The others take the password of the login form.
	Redirects bool
	// Rechecks: whom it brought is asked about while his sessions and keys are in use.
	Rechecks bool
	// Decides: it alone says what its people may do here; groups give them nothing.
	Decides bool
	// Address describes Provider.Issuer, an https URL. Without a name the issuer is made at random.
	Address ProviderField
	Secret  ProviderField
	Fields  []ProviderField
	check   func(Provider, fault.Fields)
}

// ProviderTypes are the kinds that this site can have. A further one is a row here, and whatever asks it.
var ProviderTypes = []ProviderType{oidcType, ldapType, candidType, rbacType}

var oidcType = ProviderType{Kind: ProviderOIDC, Title: "OpenID Connect", Redirects: true,
	Address: ProviderField{Name: "issuer_url", Label: "Issuer", Doc: "The provider's https address, as its tokens have it, to the letter."},
	Secret:  ProviderField{Name: "client_secret", Label: "Client secret", Required: true, Doc: "The client's secret. It is sealed, and never shown again."},
	Fields: []ProviderField{
		{Name: "client_id", Label: "Client ID", Required: true, Doc: "The client's id at the provider."},
		{Name: "vendor", Label: "Vendor", Default: ProviderVendors[0], Choices: ProviderVendors, Doc: "Generic, Auth0, EntraID or Keycloak. It changes nothing here."},
		{Name: "scopes", Label: "Scopes", Default: DefaultScopes, Doc: "Separated by blanks; openid profile email by default."},
		{Name: "group_claim", Label: "Group claim", Max: MaxClaim, Doc: "The claim that lists groups. Empty: groups are not synchronized."},
		{Name: "device_login", Label: "Logins of the command line", Default: "No", Choices: []string{"No", "Yes"}, Doc: "Yes: people get an API key at the command line by a code that they enter at the provider."}},
	check: func(p Provider, bad fault.Fields) {
		if s := p.Options["scopes"]; s != "" && !strings.Contains(" "+s+" ", " openid ") {
			bad.Add("scopes", "The scope openid must be among them.")
		}
		if len(p.Groups) > 0 && p.Options["group_claim"] == "" {
			bad.Add("group_claim", "Name the claim that lists the groups.")
		}
	}}

// ldapType's options are checked where they are used, in region/directory. The last four defaults are those of OpenLDAP;
// docs/howto/ldap.md has Active Directory's.
var ldapType = ProviderType{Kind: ProviderLDAP, Title: "LDAP directory", Rechecks: true,
	Secret: ProviderField{Name: "bind_password", Label: "Password of the account", Doc: "The password of the account that searches. It is sealed, and never shown again."},
	Fields: []ProviderField{
		{Name: "servers", Label: "Servers", Required: true, Lines: true, Max: 2048, Where: true, Doc: "Addresses such as ldaps://ldap.example.org, a line each; the first that answers is asked."},
		{Name: "ca", Label: "Certificate authority", Lines: true, Max: 32 << 10, Where: true, Doc: "Certificates in PEM form that the servers' have to come from. Empty: those that this host trusts."},
		{Name: "bind_dn", Label: "Account that searches", Max: 1024, Doc: "Its distinguished name. Empty: the directory lets everybody search."},
		{Name: "base_dn", Label: "Search below", Required: true, Max: 1024, Doc: "Distinguished name, such as ou=people,dc=example,dc=org."},
		{Name: "user_filter", Label: "Filter for people", Max: 1024, Default: "(&(objectClass=person)(uid={name}))", Doc: "Who may log in; {name} stands for the user name."},
		{Name: "subject_attribute", Label: "Known by", Max: 64, Default: "entryUUID", Doc: "The attribute that stays when somebody is renamed and is never given again; objectGUID in Active Directory."},
		{Name: "name_attribute", Label: "User name", Max: 64, Default: "uid", Doc: "The attribute that new users are named after; sAMAccountName in Active Directory."},
		{Name: "email_attribute", Label: "E-mail", Max: 64, Default: "mail", Doc: "The attribute of the e-mail address; none for none."},
		{Name: "member_attribute", Label: "Groups of a person", Max: 64, Default: "memberOf", Doc: "The attribute of a person that names his groups; none for none."},
		{Name: "group_filter", Label: "Filter for groups", Max: 1024, Doc: "A search for the groups of a person, such as (member={dn}); {dn} stands for the person's entry. Empty: none."},
		{Name: "group_base_dn", Label: "Search groups below", Max: 1024, Doc: "Distinguished name; where people are, if it is empty."}}}

// ProviderTypeOf returns the type of a kind; false for one that is not known.
func ProviderTypeOf(k ProviderKind) (ProviderType, bool) {
	for _, t := range ProviderTypes {
		if t.Kind == k {
			return t, true
		}
	}
	return ProviderType{}, false
}

// Collection is the type's collection in the API and the beginning of its operations' ids: "oidc_providers".
func (t ProviderType) Collection() string { return string(t.Kind) + "_providers" }

// Type is the provider's type; an empty one if it is not known any more.
func (p Provider) Type() ProviderType {
	t, _ := ProviderTypeOf(p.Kind)
	return t
}

// LoginPath is where the login page's button leads.
func (p Provider) LoginPath() string {
	return "/login/" + string(p.Kind) + "/" + strconv.FormatInt(p.ID, 10)
}

// Address says for people where the provider is.
func (p Provider) Address() string {
	t := p.Type()
	if t.Address.Name != "" {
		return p.Issuer
	}
	for _, f := range t.Fields {
		if f.Where {
			return p.Options[f.Name]
		}
	}
	return ""
}

// SameAddress reports whether two states of a provider ask the same server.
func (p Provider) SameAddress(q Provider) bool {
	for _, f := range p.Type().Fields {
		if f.Where && p.Options[f.Name] != q.Options[f.Name] {
			return false
		}
	}
	return p.Issuer == q.Issuer
}

// SyncsGroups reports whether memberships in the groups that are mapped follow what the provider says.
func (p Provider) SyncsGroups() bool { return p.Kind != ProviderOIDC || p.Options["group_claim"] != "" }

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

// parseChoice reads a value of a field with choices, in whatever case and with or without MAAS's underscores; "" is the
// default.
func (f ProviderField) parseChoice(text string) (string, bool) {
	plain := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", "") }
	for _, c := range f.Choices {
		if text == "" && c == f.Default || plain(c) == plain(text) {
			return c, true
		}
	}
	return text, false
}

// Set changes the options that are given by name, and gives those that are empty their defaults. Kinds: Invalid on a
// field with choices.
func (p *Provider) Set(options map[string]string) error {
	was, bad := p.Options, fault.Fields{}
	p.Options = map[string]string{}
	for _, f := range p.Type().Fields {
		text := was[f.Name]
		if s, ok := options[f.Name]; ok {
			if text = strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n")); !f.Lines {
				text = strings.Join(strings.Fields(text), " ")
			}
		}
		if text == "" {
			text = f.Default
		}
		if f.Choices != nil {
			var ok bool
			if text, ok = f.parseChoice(text); !ok {
				bad.Add(f.Name, "Use one of %s.", strings.Join(f.Choices, ", "))
			}
		}
		p.Options[f.Name] = text
	}
	return bad.Err()
}

// Validate checks a provider. Kinds: Invalid on MAAS's names of fields.
func (p Provider) Validate() error {
	bad := fault.Fields{}
	t, known := ProviderTypeOf(p.Kind)
	if !known {
		return fault.Field("kind", "There is no such kind of identity provider.")
	}
	value := func(f ProviderField, s string) {
		most := f.Max
		if most == 0 {
			most = 512
		}
		plain := s
		if f.Lines {
			plain = strings.ReplaceAll(s, "\n", " ")
		}
		switch {
		case s == "" && f.Required:
			bad.Add(f.Name, "This field is required.")
		case len(s) > most || Printable(plain, most) != plain:
			bad.Add(f.Name, "Use at most %d printable characters.", most)
		}
	}
	if p.Name == "" {
		bad.Add("name", "This field is required.")
	} else if !ValidName(p.Name) {
		bad.Add("name", "Use letters, digits, blanks, '.', '_' and '-', at most 256.")
	}
	for _, f := range t.Fields {
		value(f, p.Options[f.Name])
	}
	if address := t.Address; address.Name != "" {
		address.Required = true
		value(address, p.Issuer)
		if u, err := url.Parse(p.Issuer); p.Issuer != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.ContainsAny(p.Issuer, "?# ")) {
			bad.Add(address.Name, "Use the provider's address, beginning with https:// and without query or fragment, as it says itself.")
		}
	}
	if t.check != nil {
		t.check(p, bad)
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
	Began           time.Time // of a macaroon: when it was made; zero for another login
}

// ExternalIdentity is a user's identity at a provider.
type ExternalIdentity struct {
	Issuer, Subject   string
	ProviderID        int64
	Provider          string // its name
	Kind              ProviderKind
	Enabled           bool // the provider is
	UserID            int64
	Created, LastUsed time.Time
	Checked           time.Time // when the provider was last asked about him
	Gone              bool      // and did not know him, or did not let him in any more
}
