// Package providers knows identity providers (OpenID Connect): how they are configured, whether they answer, and what
// they say of somebody who logs in there. Who that is here, and what he may do, is identity's to decide.
//
// A login is the authorization code flow with PKCE. What ties the answer to the question is one secret in a cookie of
// the browser: state, nonce and verifier follow from it, so nothing of a login is stored before it has ended. No token
// is kept, and none appears in a log: of the ID token the claims are read, the others are never looked at.
//
// Sources: OpenID Connect Core 1.0, Discovery 1.0, RP-Initiated Logout 1.0, Back-Channel Logout 1.0; RFC 7636 (PKCE),
// RFC 9207 (issuer in the answer).
package providers

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/throttle"
	"github.com/metalward/metalward/internal/secret"
)

// Service knows identity providers. Safe for concurrent use.
type Service struct {
	Config
	wrong *throttle.Throttle // answers that did not verify

	mu    sync.Mutex
	known map[int64]*known // what providers say of themselves, by id; guarded by mu
}

// Config is what the service is made of. All fields are required.
type Config struct {
	Gate *gate.Gate
	Now  func() time.Time
	Keys *secret.Keyring // seals clients' secrets and the cookies of logins
	// Client speaks to providers: it must keep requests away from the site's own inside.
	Client *http.Client
	// BaseURL is where browsers reach the pages, "https://host:port".
	BaseURL string
}

// New makes the service.
func New(c Config) *Service {
	return &Service{Config: c, wrong: throttle.New(throttle.Tokens), known: map[int64]*known{}}
}

// CallbackPath is where providers send browsers back to.
const CallbackPath = "/login/oidc/callback"

// RedirectURI is what has to be registered at a provider.
func (s *Service) RedirectURI() string { return s.BaseURL + CallbackPath }

// LogoutURI is where a provider reports that somebody has logged out there.
func (s *Service) LogoutURI(id int64) string {
	return s.BaseURL + "/login/oidc/" + authz.ID(id) + "/logout"
}

func secretRef(id int64) secret.Ref {
	return secret.Ref("provider/" + authz.ID(id) + "/client_secret")
}

// Providers lists all providers, with their groups.
func (s *Service) Providers(ctx context.Context) (list []metal.Provider, err error) {
	err = s.Gate.View(ctx, authz.ProviderView, func(v *gate.Viewing) error {
		rows, err := v.Providers()
		for _, p := range rows {
			if p, err = v.Provider(p.ID); err != nil {
				return err
			}
			list = append(list, p)
		}
		return err
	})
	return list, err
}

// Provider returns a provider. Kinds: NotFound.
func (s *Service) Provider(ctx context.Context, id int64) (p metal.Provider, err error) {
	err = s.Gate.View(ctx, authz.ProviderView, func(v *gate.Viewing) (err error) {
		p, err = v.Provider(id)
		return err
	})
	return p, err
}

// Enabled lists the providers that people can log in by: what the login page shows to everybody.
func (s *Service) Enabled(ctx context.Context) (list []metal.Provider, err error) {
	err = s.Gate.View(authz.AsSystem(ctx, "login"), authz.ProviderView, func(v *gate.Viewing) error {
		list, err = v.Providers()
		list = slices.DeleteFunc(list, func(p metal.Provider) bool { return !p.Enabled })
		return err
	})
	return list, err
}

// Edit says what to change of a provider; nil leaves a field alone.
type Edit struct {
	Name, Vendor, Issuer, ClientID, Scopes, GroupClaim *string
	Secret                                             *secret.Value
	CreateUsers, Enabled                               *bool
	// Groups has a mapping a line: a value of the claim, "=", and the name of a group.
	Groups *string
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// apply changes a provider as an edit says. Kinds: Invalid.
func (e Edit) apply(c *gate.Call, p *metal.Provider) (err error) {
	set(&p.Name, e.Name)
	set(&p.Issuer, e.Issuer)
	set(&p.ClientID, e.ClientID)
	set(&p.Scopes, e.Scopes)
	set(&p.GroupClaim, e.GroupClaim)
	set(&p.CreateUsers, e.CreateUsers)
	set(&p.Enabled, e.Enabled)
	if p.Scopes = strings.Join(strings.Fields(p.Scopes), " "); p.Scopes == "" {
		p.Scopes = metal.DefaultScopes
	}
	if e.Vendor != nil {
		if p.Vendor, err = metal.ParseVendor(*e.Vendor); err != nil {
			return err
		}
	}
	if e.Groups != nil {
		if p.Groups, err = parseGroups(c, *e.Groups); err != nil {
			return err
		}
	}
	if err := p.Validate(); err != nil {
		return err
	}
	others, err := c.Tx().Providers()
	for _, o := range others {
		switch {
		case o.ID == p.ID:
		case o.Name == p.Name:
			return fault.Field("name", "A provider with that name already exists.")
		case o.Issuer == p.Issuer:
			return fault.Field("issuer_url", "The provider %s has this issuer already.", o.Name)
		}
	}
	return err
}

// parseGroups reads mappings. Names of groups have no "=", values may. Kinds: Invalid on "groups".
func parseGroups(c *gate.Call, text string) (list []metal.ProviderGroup, err error) {
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		i := strings.LastIndexByte(line, '=')
		if i < 0 {
			return nil, fault.Field("groups", "Write a line a mapping, as in value = group; there is none in %.64q.", line)
		}
		m := metal.ProviderGroup{Value: strings.TrimSpace(line[:i]), Group: strings.TrimSpace(line[i+1:])}
		if m.Value == "" || len(m.Value) > metal.MaxClaim || metal.Printable(m.Value, metal.MaxClaim) != m.Value {
			return nil, fault.Field("groups", "Values of the claim have 1 to %d printable characters; %.64q has not.", metal.MaxClaim, m.Value)
		}
		g, err := c.Tx().GroupByName(m.Group)
		if err != nil {
			return nil, fault.Field("groups", "There is no group %.64q.", m.Group)
		}
		m.GroupID = g.ID
		if list = append(list, m); len(list) > metal.MaxProviderGroups {
			return nil, fault.Field("groups", "Map at most %d groups.", metal.MaxProviderGroups)
		}
	}
	return list, nil
}

// mayHandle refuses to touch a provider that gives more than the caller holds: who configures it could log in as a
// member of any group that it is mapped to.
func mayHandle(c *gate.Call, p metal.Provider) error {
	if c.Principal().Kind != authz.User {
		return nil
	}
	for _, m := range p.Groups {
		grants, err := c.Tx().Grants(store.GrantQuery{GroupID: m.GroupID})
		if err != nil {
			return err
		}
		for _, g := range grants {
			if !c.Principal().Rights.Covers(g.Grant()) {
				return fault.New(fault.Forbidden, "The group %s gives what you do not hold yourself: only somebody who holds as much can map it or change this provider.", m.Group)
			}
		}
	}
	return nil
}

// describe writes a provider for the trail, without its secret.
func describe(p metal.Provider) string {
	b := []string{p.Name, p.Issuer, "client " + p.ClientID, p.Scopes}
	if p.CreateUsers {
		b = append(b, "creates users")
	}
	if p.Enabled {
		b = append(b, "enabled")
	}
	for i, g := range p.Groups {
		if i == maxNoted {
			return strings.Join(append(b, "…"), ", ")
		}
		b = append(b, g.Value+"="+g.Group)
	}
	return strings.Join(b, ", ")
}

// maxNoted bounds the mappings that one audit event lists.
const maxNoted = 20

func (s *Service) putSecret(c *gate.Call, id int64, v secret.Value) error {
	if v.Empty() || len(v.Reveal()) > 4096 {
		return fault.Field("client_secret", "Enter the client's secret, of at most 4096 bytes.")
	}
	sealed, err := s.Keys.Seal(secretRef(id), v)
	if err != nil {
		return err
	}
	c.Note("client_secret", "set")
	return c.Tx().PutSecret(store.ProviderTarget(id), secretRef(id), sealed, c.Now())
}

// Create adds a provider. Kinds: Invalid, Forbidden, Exhausted.
func (s *Service) Create(ctx context.Context, e Edit) (p metal.Provider, err error) {
	err = s.Gate.Do(ctx, authz.ProviderEdit, func(c *gate.Call) error {
		if err := c.Require(store.ProviderTarget(0)); err != nil {
			return err
		}
		list, err := c.Tx().Providers()
		if err != nil {
			return err
		}
		if len(list) >= metal.MaxProviders {
			return fault.New(fault.Exhausted, "There are %d identity providers; delete some first.", len(list))
		}
		p = metal.Provider{Kind: metal.ProviderOIDC, Vendor: metal.ProviderVendors[0], Created: c.Now()}
		if err := e.apply(c, &p); err != nil {
			return err
		}
		if err := mayHandle(c, p); err != nil {
			return err
		}
		if e.Secret == nil {
			return fault.Field("client_secret", "This field is required.")
		}
		c.Note("after", describe(p))
		if err := c.Tx().AddProvider(&p); err != nil {
			return err
		}
		return s.putSecret(c, p.ID, *e.Secret)
	})
	return p, err
}

// Update changes a provider. Disabling one ends the sessions that began there. Kinds: NotFound, Invalid, Forbidden,
// Conflict when nobody could administer the site any more, or people are known by the old issuer.
func (s *Service) Update(ctx context.Context, id int64, e Edit) (p metal.Provider, err error) {
	err = s.Gate.Do(ctx, authz.ProviderEdit, func(c *gate.Call) error {
		if err := c.Require(store.ProviderTarget(id)); err != nil {
			return err
		}
		was, err := c.Tx().Provider(id)
		if err != nil {
			return err
		}
		p = was
		if err := e.apply(c, &p); err != nil {
			return err
		}
		if err := mayHandle(c, was); err != nil {
			return err
		}
		if err := mayHandle(c, p); err != nil {
			return err
		}
		if p.Issuer != was.Issuer {
			n, err := c.Tx().CountIdentities(id)
			if err != nil {
				return err
			}
			if n > 0 {
				return fault.New(fault.Conflict, "%d users are known by the issuer %s; add another provider for the new one.", n, was.Issuer)
			}
			if e.Secret == nil { // it would go to somebody else than who gave it
				return fault.Field("client_secret", "Enter the secret that belongs to the new issuer.")
			}
		}
		c.Note("before", describe(was))
		c.Note("after", describe(p))
		if err := c.Tx().PutProvider(p); err != nil {
			return err
		}
		if e.Secret != nil {
			if err := s.putSecret(c, id, *e.Secret); err != nil {
				return err
			}
		}
		return keepReachable(c, was)
	})
	s.forget(id)
	return p, err
}

// keepReachable refuses a change of a provider after which no administrator could log in.
func keepReachable(c *gate.Call, was metal.Provider) error {
	if !was.Enabled {
		return nil
	}
	n, err := c.Tx().CountReachable()
	if err == nil && n == 0 {
		err = fault.New(fault.Conflict, "All administrators log in by this provider; give one of them a password first.")
	}
	return err
}

// Delete removes a provider and whom it knows here: users whom it brought stay, but cannot log in until they are given a
// password. Kinds: NotFound, Forbidden, Conflict for an enabled one, as MAAS's.
func (s *Service) Delete(ctx context.Context, id int64) error {
	err := s.Gate.Do(ctx, authz.ProviderEdit, func(c *gate.Call) error {
		if err := c.Require(store.ProviderTarget(id)); err != nil {
			return err
		}
		p, err := c.Tx().Provider(id)
		if err != nil {
			return err
		}
		if p.Enabled {
			return fault.New(fault.Conflict, "%s is enabled; disable it first.", p.Name)
		}
		if err := mayHandle(c, p); err != nil {
			return err
		}
		c.Note("before", describe(p))
		if err := c.Tx().DeleteSecret(store.ProviderTarget(id), secretRef(id)); err != nil {
			return err
		}
		return c.Tx().DeleteProvider(id)
	})
	s.forget(id)
	return err
}

// usable reads an enabled provider and the secret of its client. Kinds: NotFound.
func (s *Service) usable(ctx context.Context, id int64) (p metal.Provider, client secret.Value, err error) {
	err = s.Gate.View(authz.AsSystem(ctx, "login"), authz.ProviderView, func(v *gate.Viewing) error {
		if p, err = v.Provider(id); err != nil {
			return err
		}
		if !p.Enabled || p.Kind != metal.ProviderOIDC {
			return authz.NotFound(authz.NounProvider)
		}
		sealed, ok, err := v.Secret(secretRef(id))
		if err == nil && ok {
			client, err = s.Keys.Open(secretRef(id), sealed)
		}
		return err
	})
	return p, client, err
}
