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
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/directory"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/throttle"
	"github.com/metalward/metalward/internal/secret"
)

// Service knows identity providers. Safe for concurrent use.
type Service struct {
	Config
	wrong       *throttle.Throttle // answers that did not verify
	begun       *throttle.Throttle // logins at providers that discharge
	bakery      *macaroons.Bakery
	describers  map[metal.ProviderKind]Describer
	directories *directory.Client
	begins      *throttle.Throttle // device logins that were begun
	polls       polls

	mu     sync.Mutex
	known  map[int64]*known      // what providers say of themselves, by id; guarded by mu
	agents map[int64]agentClient // of providers that are asked as an agent, by id; guarded by mu
}

// Config is what the service is made of. All fields are required, Roots and Saw aside.
type Config struct {
	Gate *gate.Gate
	Now  func() time.Time
	Keys *secret.Safe // seals clients' secrets and the cookies of logins
	// Client speaks to providers: it must keep requests away from the site's own inside.
	Client *http.Client
	// Dial connects to directories, with the same care.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Roots are the authorities of providers' certificates; nil: the host's.
	Roots *tls.Config
	// Saw is shown the certificates of directories.
	Saw func(server string, leaf *x509.Certificate)
	// BaseURL is where browsers reach the pages, "https://host:port".
	BaseURL string
}

// New makes the service.
func New(c Config) *Service {
	s := &Service{Config: c, wrong: throttle.New(throttle.Tokens), begun: throttle.New(begins), bakery: macaroons.New(c.Keys, c.Now, c.Client), describers: map[metal.ProviderKind]Describer{}, directories: directory.New(c.Dial, c.Now), begins: throttle.New(DeviceBegins), polls: polls{next: map[string]poll{}},
		known: map[int64]*known{}, agents: map[int64]agentClient{}}
	s.directories.Saw = c.Saw
	s.SetDescriber(metal.ProviderCandid, s.describeCandid)
	return s
}

// CallbackPath is where providers send browsers back to.
const CallbackPath = "/login/oidc/callback"

// RedirectURI is what has to be registered at a provider.
func (s *Service) RedirectURI() string { return s.BaseURL + CallbackPath }

// LogoutURI is where a provider reports that somebody has logged out there.
func (s *Service) LogoutURI(id int64) string {
	return s.BaseURL + metal.Provider{Kind: metal.ProviderOIDC, ID: id}.LoginPath() + "/logout"
}

// secretRef names the one secret that a provider has: what its type calls it.
func secretRef(p metal.Provider) secret.Ref {
	return secret.Ref("provider/" + authz.ID(p.ID) + "/" + p.Type().Secret.Name)
}

// Any stands for all kinds of providers.
const Any metal.ProviderKind = ""

// Entry is a provider as it is shown.
type Entry struct {
	metal.Provider
	HasSecret bool
	RBAC      *RBACState // of an RBAC service
}

// find reads a provider of a kind, or of any. Kinds: NotFound, also for one of another kind.
func find(v *store.View, kind metal.ProviderKind, id int64) (metal.Provider, error) {
	p, err := v.Provider(id)
	if err == nil && kind != Any && p.Kind != kind {
		err = authz.NotFound(authz.NounProvider)
	}
	return p, err
}

func entry(v *store.View, kind metal.ProviderKind, id int64) (e Entry, err error) {
	if e.Provider, err = find(v, kind, id); err != nil {
		return e, err
	}
	if _, e.HasSecret, err = v.Secret(secretRef(e.Provider)); err != nil {
		return e, err
	}
	e.RBAC, err = rbacState(v, e.Provider)
	return e, err
}

// Providers lists the providers of a kind, or all, with their groups.
func (s *Service) Providers(ctx context.Context, kind metal.ProviderKind) (list []Entry, err error) {
	err = s.Gate.View(ctx, authz.ProviderView, func(v *gate.Viewing) error {
		rows, err := v.Providers()
		for _, p := range rows {
			if kind != Any && p.Kind != kind {
				continue
			}
			e, err := entry(v.View, kind, p.ID)
			if err != nil {
				return err
			}
			list = append(list, e)
		}
		return err
	})
	return list, err
}

// Provider returns a provider of a kind, or of any. Kinds: NotFound.
func (s *Service) Provider(ctx context.Context, kind metal.ProviderKind, id int64) (e Entry, err error) {
	err = s.Gate.View(ctx, authz.ProviderView, func(v *gate.Viewing) (err error) {
		e, err = entry(v.View, kind, id)
		return err
	})
	return e, err
}

// Written is a provider as it is shown to whoever has just written it.
func (s *Service) Written(ctx context.Context, p metal.Provider) (e Entry, err error) {
	err = s.Gate.View(authz.AsSystem(ctx, "providers"), authz.ProviderView, func(v *gate.Viewing) (err error) {
		e, err = entry(v.View, p.Kind, p.ID)
		return err
	})
	return e, err
}

// Buttons lists the enabled providers that people leave for: what the login page shows to everybody.
func (s *Service) Buttons(ctx context.Context) (list []metal.Provider, err error) {
	err = s.Gate.View(authz.AsSystem(ctx, "login"), authz.ProviderView, func(v *gate.Viewing) error {
		list, err = v.Providers()
		list = slices.DeleteFunc(list, func(p metal.Provider) bool { return !p.Enabled || !p.Type().Redirects })
		return err
	})
	return list, err
}

// Edit says what to change of a provider; nil, or no value, leaves a field alone.
type Edit struct {
	Name *string
	// Fields are the type's own, its address included, by name.
	Fields               map[string]string
	Secret               *secret.Value
	CreateUsers, Enabled *bool
	// Groups has a mapping a line: what the provider calls a group, "=", and the name of a group here.
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
	set(&p.CreateUsers, e.CreateUsers)
	set(&p.Enabled, e.Enabled)
	address := p.Type().Address.Name
	if s, ok := e.Fields[address]; ok && address != "" {
		p.Issuer = s
	}
	if err := p.Set(e.Fields); err != nil {
		return err
	}
	if e.Groups != nil {
		if p.Groups, err = parseGroups(c, *e.Groups); err != nil {
			return err
		}
	}
	if err := errors2(p.Validate(), checkOptions(*p)); err != nil {
		return err
	}
	others, err := c.Tx().Providers()
	for _, o := range others {
		switch {
		case o.ID == p.ID:
		case o.Name == p.Name:
			return fault.Field("name", "A provider with that name already exists.")
		case p.Enabled && o.Enabled && p.Kind.Macaroons() && o.Kind.Macaroons():
			return fault.Field("enabled", "%s is enabled; of Candid servers and RBAC services one at a time can be.", o.Name)
		case o.Issuer == p.Issuer:
			return fault.Field(address, "The provider %s has this address already.", o.Name)
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
// member of any group that it is mapped to, of an RBAC service as anybody, of a directory with what people type for others.
func mayHandle(c *gate.Call, p metal.Provider) error {
	if c.Principal().Kind != authz.User {
		return nil
	}
	if !c.Principal().Rights.Administrator() {
		switch p.Kind {
		case metal.ProviderRBAC:
			return fault.New(fault.Forbidden, "An RBAC service decides who may do what here: only an administrator can configure one.")
		case metal.ProviderLDAP: // its servers are shown the passwords of everybody whom another directory may know
			return fault.New(fault.Forbidden, "A directory is shown the passwords that people log in with: only an administrator can configure one.")
		}
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
	b := []string{p.Name, p.Type().Title, p.Address()}
	for _, f := range p.Type().Fields {
		if text := p.Options[f.Name]; text != "" && !f.Where && !f.Lines {
			b = append(b, f.Name+" "+text)
		}
	}
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

func (s *Service) putSecret(c *gate.Call, p metal.Provider, v secret.Value) error {
	name := p.Type().Secret.Name
	if v.Empty() || len(v.Reveal()) > maxSecret {
		return fault.Field(name, "Enter the secret, of at most %d bytes.", maxSecret)
	}
	sealed, err := s.Keys.Seal(secretRef(p), v)
	if err != nil {
		return err
	}
	c.Note(name, "set")
	return c.Tx().PutSecret(store.ProviderTarget(p.ID), secretRef(p), sealed, c.Now())
}

// needsSecret reports whether a provider is of no use without a secret: a directory that everybody may search has none.
func needsSecret(p metal.Provider) bool {
	return p.Type().Secret.Required || p.Options["bind_dn"] != ""
}

// maxSecret bounds a provider's secret, in bytes.
const maxSecret = 4096

// Create adds a provider of a kind. Kinds: Invalid, Forbidden, Exhausted.
func (s *Service) Create(ctx context.Context, kind metal.ProviderKind, e Edit) (p metal.Provider, err error) {
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
		id := p.ID // of a run before this one, after which its secret is named
		if slices.ContainsFunc(list, func(o metal.Provider) bool { return o.ID == id }) {
			id = 0
		}
		p = metal.Provider{ID: id, Kind: kind, Created: c.Now()}
		if p.Type().Address.Name == "" {
			p.Issuer = string(kind) + ":" + secret.Random(16).RevealString()
		}
		if err := e.apply(c, &p); err != nil {
			return err
		}
		if err := mayHandle(c, p); err != nil {
			return err
		}
		if e.Secret == nil && needsSecret(p) {
			return fault.Field(p.Type().Secret.Name, "This field is required.")
		}
		c.Note("after", describe(p))
		if err := c.Tx().AddProvider(&p); err != nil || e.Secret == nil {
			return err
		}
		return s.putSecret(c, p, *e.Secret)
	})
	return p, err
}

// Update changes a provider. Disabling one ends the sessions that began there. Kinds: NotFound, Invalid, Forbidden,
// Conflict when nobody could administer the site any more, or people are known by the old issuer.
func (s *Service) Update(ctx context.Context, kind metal.ProviderKind, id int64, e Edit) (p metal.Provider, err error) {
	err = s.Gate.Do(ctx, authz.ProviderEdit, func(c *gate.Call) error {
		if err := c.Require(store.ProviderTarget(id)); err != nil {
			return err
		}
		was, err := find(&c.Tx().View, kind, id)
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
		if err := mayMove(c, was, p); err != nil {
			return err
		}
		_, has, err := c.Tx().Secret(secretRef(p))
		switch {
		case err != nil:
			return err
		case has && e.Secret == nil && !was.SameAddress(p): // it would go to somebody else than who gave it
			return fault.Field(p.Type().Secret.Name, "Enter the secret that belongs to the new address.")
		case !has && e.Secret == nil && needsSecret(p):
			return fault.Field(p.Type().Secret.Name, "This field is required.")
		}
		c.Note("before", describe(was))
		c.Note("after", describe(p))
		if err := c.Tx().PutProvider(p); err != nil {
			return err
		}
		if e.Secret != nil {
			if err := s.putSecret(c, p, *e.Secret); err != nil {
				return err
			}
		}
		if was.Enabled && !p.Enabled { // for good: enabling it again brings none of them back
			if err := errors2(c.Tx().EndProviderSessions(id), c.Tx().EndMacaroons(id)); err != nil {
				return err
			}
		}
		return keepReachable(c, was)
	})
	s.forget(id)
	return p, err
}

// mayMove refuses to have the people whom a provider knows vouched for by somebody else: who answers there could be
// anyone of them. A provider that is known by its address cannot get another; a directory's servers come and go, and only an
// administrator says which they are.
func mayMove(c *gate.Call, was, p metal.Provider) error {
	n, err := c.Tx().CountIdentities(p.ID)
	if err != nil || n == 0 {
		return err
	}
	if p.Issuer != was.Issuer {
		return fault.New(fault.Conflict, "%d users are known by the address %s; add another provider for the new one.", n, was.Issuer)
	}
	return nil
}

func errors2(a, b error) error {
	if a != nil {
		return a
	}
	return b
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
func (s *Service) Delete(ctx context.Context, kind metal.ProviderKind, id int64) error {
	err := s.Gate.Do(ctx, authz.ProviderEdit, func(c *gate.Call) error {
		if err := c.Require(store.ProviderTarget(id)); err != nil {
			return err
		}
		p, err := find(&c.Tx().View, kind, id)
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
		if err := c.Tx().DeleteSecret(store.ProviderTarget(id), secretRef(p)); err != nil {
			return err
		}
		return c.Tx().DeleteProvider(id)
	})
	s.forget(id)
	return err
}

// usable reads an enabled provider of a kind and its secret, an empty one if it has none. Kinds: NotFound.
func (s *Service) usable(ctx context.Context, kind metal.ProviderKind, id int64) (p metal.Provider, hidden secret.Value, err error) {
	err = s.Gate.View(authz.AsSystem(ctx, "login"), authz.ProviderView, func(v *gate.Viewing) error {
		if p, err = find(v.View, kind, id); err != nil {
			return err
		}
		if !p.Enabled {
			return authz.NotFound(authz.NounProvider)
		}
		hidden, err = s.secretOf(v.View, p)
		return err
	})
	return p, hidden, err
}

func (s *Service) secretOf(v *store.View, p metal.Provider) (hidden secret.Value, err error) {
	sealed, ok, err := v.Secret(secretRef(p))
	if err == nil && ok {
		hidden, err = s.Keys.Open(secretRef(p), sealed)
	}
	return hidden, err
}
