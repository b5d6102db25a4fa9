package providers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/egress"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/throttle"
	"github.com/metalward/metalward/internal/secret"
)

// Candid: who somebody is says a macaroon that it discharged; which groups he is in it tells this site's agent. An RBAC
// service discharges in the same way and is asked by its own package. Source: Candid v1.12.0, docs/API.

// MacaroonCallbackPath is where Candid sends browsers back to, and an RBAC service's.
const MacaroonCallbackPath = "/login/macaroon/callback"

// waitAtMost is how long a request waits for somebody who has just logged in at Candid.
const waitAtMost = 5 * time.Second

// maxFlowCookie bounds the cookie of a login: browsers drop what has more than 4096 bytes.
const maxFlowCookie = 3800

// begins is how often logins may be begun and waited for, for which strangers make this site ask Candid; an office behind one
// address may come at nine o'clock.
var begins = throttle.Policy{
	Subject: throttle.Limits{Free: 60, First: time.Second, Most: time.Minute, Forgive: 2 * time.Second, Keys: 10_000},
	Address: throttle.Limits{Free: 60, First: time.Second, Most: time.Minute, Forgive: 2 * time.Second, Keys: 10_000},
	Block:   throttle.Limits{Free: 600, First: time.Second, Most: time.Minute, Forgive: 2 * time.Second, Keys: 10_000},
}

var errDischarge = fault.New(fault.Unauthenticated, "What the identity provider answered could not be verified. Begin again; an administrator finds the reason in the audit trail.")

// Describer says what a provider says of somebody whom it vouches for: his groups and his address. Kinds: NotFound when
// the provider does not know him, or does not let him in any more; Unavailable.
type Describer func(ctx context.Context, p metal.Provider, hidden secret.Value, username string) (metal.ExternalLogin, error)

// SetDescriber sets who describes the people of a kind of provider. It is called while the parts are joined.
func (s *Service) SetDescriber(kind metal.ProviderKind, d Describer) { s.describers[kind] = d }

// discharger is who has to vouch for people. Source: MAAS, macaroon_auth: an RBAC service's discharger is below /auth,
// and knows no domains.
func discharger(p metal.Provider, generation int64) macaroons.Discharger {
	d := macaroons.Discharger{Location: strings.TrimSuffix(p.Issuer, "/"), Domain: p.Options["domain"]}
	if p.Kind == metal.ProviderRBAC {
		d.Location, d.Domain = d.Location+"/auth", ""
	}
	// With its location: what one server discharged says nothing of people of another, which the provider was moved to.
	d.Realm = "provider " + authz.ID(p.ID) + " generation " + strconv.FormatInt(generation, 10) + " at " + d.Location
	return d
}

// vouching is an enabled provider whose people log in by macaroons.
type vouching struct {
	metal.Provider
	d      macaroons.Discharger
	hidden secret.Value // its agent's key
}

// vouching finds the provider by its id, or the one that is enabled when the id is 0. Kinds: NotFound.
func (s *Service) vouching(ctx context.Context, id int64) (v vouching, err error) {
	err = s.Gate.View(authz.AsSystem(ctx, "login"), authz.ProviderView, func(view *gate.Viewing) error {
		list, err := view.Providers()
		if err != nil {
			return err
		}
		for _, p := range list {
			if !p.Enabled || !p.Kind.Macaroons() || id != 0 && p.ID != id {
				continue
			}
			generation, err := view.MacaroonGeneration(p.ID)
			if err != nil {
				return err
			}
			v.Provider, v.d = p, discharger(p, generation)
			v.hidden, err = s.secretOf(view.View, p)
			return err
		}
		return authz.NotFound(authz.NounProvider)
	})
	return v, err
}

// ExternalAuth is the address of the provider whose people log in by macaroons; empty when there is none.
func (s *Service) ExternalAuth(ctx context.Context) (string, error) {
	v, err := s.vouching(ctx, 0)
	if fault.Is(err, fault.NotFound) {
		return "", nil
	}
	return v.d.Location, err
}

// Challenge is the body of a 401 that tells a client of a version of the bakery protocol how to log in. Kinds: NotFound
// when no provider whose people log in by macaroons is enabled, Unavailable when it does not answer.
func (s *Service) Challenge(ctx context.Context, version int) ([]byte, error) {
	v, err := s.vouching(ctx, 0)
	if err != nil {
		return nil, err
	}
	body, err := s.bakery.Challenge(ctx, v.d, version)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "The identity provider cannot be used. %s", fault.Message(err))
	}
	return body, nil
}

// Discharged returns whom the macaroons of a request vouch for; nothing is asked about him yet. Kinds: NotFound when no
// such provider is enabled, Unauthenticated, Exhausted with RetryAfter.
func (s *Service) Discharged(ctx context.Context, shown macaroons.Shown) (l metal.ExternalLogin, err error) {
	v, err := s.vouching(ctx, 0)
	if err != nil {
		return l, err
	}
	// Counted by macaroon: what has expired is shown once more by everybody behind an address.
	source, now, name := authz.OriginFrom(ctx).Source, s.Now(), "macaroon "+string(shown.ID())
	if wait := s.wrong.Wait(name, source, now); wait > 0 {
		return l, &fault.Error{Kind: fault.Exhausted, Message: errTooMany, RetryAfter: wait}
	}
	in, err := s.bakery.Verify(ctx, v.d, shown)
	if err != nil {
		if len(shown) == 0 {
			return l, errDischarge
		}
		s.wrong.Fail(name, source, now)
		return l, s.refuse(ctx, v.Provider, "macaroon: "+fault.Message(err), errDischarge)
	}
	return v.login(in), nil
}

// login is whom a provider vouches for. A macaroon works once for a session, by its id.
func (v vouching) login(in macaroons.Login) metal.ExternalLogin {
	return metal.ExternalLogin{ProviderID: v.ID, Issuer: v.Issuer, Subject: in.Username, Name: in.Username,
		State: secret.NewValue(append([]byte("macaroon "), in.ID...)).Hash(), StateEnds: in.Expires, Began: in.Made}
}

// Described adds what the provider says of somebody whom it vouched for. Kinds: Forbidden when it does not know him
// or does not let him in, Unavailable when it cannot be asked: then nobody is let in.
func (s *Service) Described(ctx context.Context, l metal.ExternalLogin) (metal.ExternalLogin, error) {
	v, err := s.vouching(ctx, l.ProviderID)
	if err != nil {
		return l, err
	}
	said, err := s.about(ctx, v, l.Subject)
	switch {
	case fault.Is(err, fault.NotFound):
		return l, s.refuse(ctx, v.Provider, "the provider does not let in "+l.Subject, fault.New(fault.Forbidden, "%s does not let you in.", v.Name))
	case err != nil:
		return l, s.refuse(ctx, v.Provider, "not described: "+fault.Message(err), fault.New(fault.Unavailable, "%s cannot be asked about you. Try again later.", v.Name))
	}
	l.Groups, l.Email = said.Groups, said.Email
	return l, nil
}

// about asks a provider about somebody. Kinds: NotFound, Unavailable.
func (s *Service) about(ctx context.Context, v vouching, username string) (metal.ExternalLogin, error) {
	d := s.describers[v.Kind]
	if d == nil {
		return metal.ExternalLogin{}, fault.New(fault.Unavailable, "There is nobody to ask about people of this provider.")
	}
	said, err := d(ctx, v.Provider, v.hidden, username)
	if err != nil && !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Unavailable) {
		err = fault.New(fault.Unavailable, "%s", fault.Message(err))
	}
	return said, err
}

// agent returns the client of a provider's agent, the same as before as long as the agent is: it keeps its login.
func (s *Service) agent(p metal.Provider, key secret.Value) (*macaroons.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	is := p.Issuer + " " + p.Options["agent_username"] + " " + key.Hash()
	if a, ok := s.agents[p.ID]; ok && a.is == is {
		return a.client, nil
	}
	k, err := macaroons.ParseKey(key)
	if err != nil {
		return nil, err
	}
	client, err := macaroons.NewClient(s.Client, macaroons.Agent{URL: strings.TrimSuffix(p.Issuer, "/"), Username: p.Options["agent_username"], Key: k})
	if err == nil {
		s.agents[p.ID] = agentClient{is, client}
	}
	return client, err
}

// agentClient is an agent that may have logged in.
type agentClient struct {
	is     string // what it was made of
	client *macaroons.Client
}

// describeCandid asks Candid about somebody. Kinds: NotFound, Unavailable. Source: Candid docs/API, GET /v1/u/{username}
// and /v1/u/{username}/groups.
func (s *Service) describeCandid(ctx context.Context, p metal.Provider, key secret.Value, username string) (l metal.ExternalLogin, err error) {
	c, err := s.agent(p, key)
	if err != nil {
		return l, err
	}
	ctx, cancel := context.WithTimeout(ctx, egress.Timeout)
	defer cancel()
	base := strings.TrimSuffix(p.Issuer, "/") + "/v1/u/" + url.PathEscape(username)
	var person struct {
		Username string `json:"username"`
		Email    string `json:"email"`
	}
	call := func(address string, out any) error {
		err := c.Call(ctx, http.MethodGet, address, nil, out)
		if status, ok := errors.AsType[*macaroons.StatusError](err); ok {
			if status.Status == http.StatusNotFound {
				return fault.New(fault.NotFound, "Candid does not know %.200s.", username)
			}
			return fault.New(fault.Unavailable, "Candid answers with status %d.", status.Status)
		}
		return err
	}
	if err := call(base, &person); err != nil {
		return l, err
	}
	if person.Username != username {
		return l, fault.New(fault.Unavailable, "Candid tells about somebody else.")
	}
	if err := call(base+"/groups", &l.Groups); err != nil {
		return l, err
	}
	if len(l.Groups) > metal.MaxClaims {
		return l, fault.New(fault.Unavailable, "Candid names more than %d groups.", metal.MaxClaims)
	}
	if len(metal.ValidateUser("x", person.Email)) == 0 {
		l.Email = person.Email
	}
	return l, nil
}

// recheckCandid asks Candid about somebody whom it vouched for; false when it does not know him any more, or its people of
// his domain are not let in now. Kinds: Unavailable.
func (s *Service) recheckCandid(ctx context.Context, p metal.Provider, key secret.Value, username string) (l metal.ExternalLogin, ok bool, err error) {
	if domain := p.Options["domain"]; domain != "" && !strings.HasSuffix(username, "@"+domain) {
		return l, false, nil
	}
	said, err := s.about(ctx, vouching{Provider: p, hidden: key}, username)
	if fault.Is(err, fault.NotFound) {
		return l, false, nil
	}
	return metal.ExternalLogin{ProviderID: p.ID, Issuer: p.Issuer, Subject: username, Name: username, Groups: said.Groups, Email: said.Email}, err == nil, err
}

// testMacaroons asks a provider for its public key, and as an agent about somebody.
func (s *Service) testMacaroons(ctx context.Context, p metal.Provider, key secret.Value, who string) (r Report) {
	v := vouching{Provider: p, d: discharger(p, 0), hidden: key}
	if err := s.bakery.Ask(ctx, v.d.Location); err != nil {
		r.Message = "The provider cannot be used. " + fault.Message(err)
		return r
	}
	if who == "" {
		who = p.Options["agent_username"]
	}
	said, err := s.about(ctx, v, who)
	switch {
	case fault.Is(err, fault.NotFound) && who != p.Options["agent_username"]:
		r.Message = "The provider answers and takes the agent, but does not know " + metal.Printable(who, 100) + "."
	case err != nil && !fault.Is(err, fault.NotFound):
		r.Message = "The provider answers, but not to the agent. " + fault.Message(err)
	default:
		r.OK, r.Message = true, "The provider answers and takes the agent."
		if len(said.Groups) > 0 {
			r.Message += " " + metal.Printable(who, 100) + " is in " + metal.Printable(strings.Join(said.Groups, ", "), 300) + "."
		}
	}
	return r
}

// MacaroonRedirectURI is what Candid has to trust as an address to return to.
func (s *Service) MacaroonRedirectURI() string { return s.BaseURL + MacaroonCallbackPath }

// BeginVisit starts a login of a browser at a provider that discharges. It returns where to send it, the cookie for it
// to keep, and whether it comes back by itself. Kinds: NotFound, Unavailable.
func (s *Service) BeginVisit(ctx context.Context, id int64, next string) (to string, cookie secret.Value, returns bool, err error) {
	v, err := s.vouching(ctx, id)
	if err != nil {
		return "", cookie, false, err
	}
	source, now := authz.OriginFrom(ctx).Source, s.Now()
	if wait := s.begun.Wait("", source, now); wait > 0 {
		return "", cookie, false, &fault.Error{Kind: fault.Exhausted, Message: "Too many logins were begun from here; wait a moment and try again.", RetryAfter: wait}
	}
	s.begun.Fail("", source, now)
	ways, err := s.bakery.Begin(ctx, v.d)
	if err != nil {
		return "", cookie, false, s.refuse(ctx, v.Provider, "begin: "+fault.Message(err), fault.New(fault.Unavailable, "The identity provider cannot be used. %s", fault.Message(err)))
	}
	if len(next) > 1024 {
		next = "" // the cookie has to fit
	}
	f := flow{Provider: id, Next: next, Secret: secret.Random(32).RevealString(), Ends: s.Now().Add(flowLife)}
	returns = ways.Login != "" && v.Options["return"] == "yes" || ways.Visit == ""
	if returns {
		f.Ways = &macaroons.Ways{Token: ways.Token}
		to = ways.LoginURL(s.MacaroonRedirectURI(), f.derive("state"))
	} else {
		f.Ways = &macaroons.Ways{Visit: ways.Visit, Wait: ways.Wait}
		to = ways.Visit
	}
	data, err := json.Marshal(f)
	if err != nil {
		return "", cookie, false, err
	}
	cookie, err = s.sealFlow(data)
	if err == nil && len(cookie.Reveal()) > maxFlowCookie {
		err = fault.New(fault.Unavailable, "The identity provider cannot be used. Its addresses are too long.")
	}
	return to, cookie, returns, err
}

// FinishVisit ends such a login: with what the browser brought back, or, where it does not come back by itself, with what
// the provider says meanwhile. Kinds: Unauthenticated, Unavailable, NotFound; Conflict while the login there goes on;
// Exhausted with RetryAfter.
func (s *Service) FinishVisit(ctx context.Context, cookie secret.Value, q url.Values) (a Answer, err error) {
	f, err := s.open(cookie)
	if err != nil || f.Ways == nil {
		return a, s.refuse(ctx, metal.Provider{}, "no login under way", errFlow)
	}
	a.Next, a.Visit = f.Next, f.Ways.Visit
	v, err := s.vouching(ctx, f.Provider)
	if err != nil {
		return a, err
	}
	if s.Now().After(f.Ends) {
		return a, s.refuse(ctx, v.Provider, "late", errFlow)
	}
	a.State, a.StateEnds = secret.FromString(f.derive("state")).Hash(), f.Ends
	if spent, err := s.spent(ctx, a.State); err != nil || spent {
		return a, errors.Join(err, s.refuse(ctx, v.Provider, "replayed", errFlow))
	}
	source, now := authz.OriginFrom(ctx).Source, s.Now()
	if wait := s.wrong.Wait("login", source, now); wait > 0 {
		return a, &fault.Error{Kind: fault.Exhausted, Message: errTooMany, RetryAfter: wait}
	}
	var proof macaroons.Proof
	if f.Ways.Token != "" {
		if !secret.FromString(q.Get("state")).Equal(secret.FromString(f.derive("state"))) {
			return a, s.refuse(ctx, v.Provider, "another state", errFlow)
		}
		if q.Get("error") != "" {
			return a, s.refuse(ctx, v.Provider, "the provider says "+metal.Printable(q.Get("error_code"), 64), errCode)
		}
		proof, err = s.bakery.Redeem(ctx, *f.Ways, q.Get("code"))
	} else {
		if wait := s.begun.Wait("", source, now); wait > 0 {
			return a, &fault.Error{Kind: fault.Exhausted, Message: errTooMany, RetryAfter: wait}
		}
		proof, err = s.bakery.Wait(ctx, *f.Ways, waitAtMost)
	}
	if errors.Is(err, macaroons.ErrPending) {
		s.begun.Fail("", source, now) // a request waited, here and there
		return a, fault.New(fault.Conflict, "You have not logged in at %s yet.", v.Name)
	}
	var in macaroons.Login
	if err == nil {
		in, err = s.bakery.Finish(ctx, v.d, proof)
	}
	switch {
	case err == nil:
	case fault.Is(err, fault.Unavailable):
		return a, s.refuse(ctx, v.Provider, fault.Message(err), fault.New(fault.Unavailable, "The identity provider cannot be used. %s", fault.Message(err)))
	default:
		s.wrong.Fail("login", source, now)
		return a, s.refuse(ctx, v.Provider, fault.Message(err), errCode)
	}
	login := v.login(in)
	login.State, login.StateEnds = a.State, a.StateEnds
	a.ExternalLogin, err = s.Described(ctx, login)
	return a, err
}
