package providers

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/mail"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/egress"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/secret"
)

// flowLife is how long somebody has for logging in at the provider.
const flowLife = 10 * time.Minute

// flow is a login under way: what the browser's cookie holds, sealed.
type flow struct {
	Provider int64
	User     int64 // who links an identity; 0 for a login
	Next     string
	Secret   string
	Ends     time.Time
	Ways     *macaroons.Ways `json:",omitempty"` // of a login at a provider that discharges macaroons
}

const flowRef secret.Ref = "login by an identity provider"

// derive makes a value that belongs to a flow's secret: state and nonce, which the browser's address bar and the
// provider see, say nothing of it, nor of the verifier.
func (f flow) derive(what string) string {
	sum := sha256.Sum256([]byte(what + " " + f.Secret))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Begin starts a login, or the linking of an identity to a user (0 for none). It returns where to send the browser, and
// the cookie for it to keep. Kinds: NotFound, Unavailable.
func (s *Service) Begin(ctx context.Context, id int64, next string, user int64) (to string, cookie secret.Value, err error) {
	p, client, err := s.usable(ctx, metal.ProviderOIDC, id)
	if err != nil {
		return "", cookie, err
	}
	m, _, err := s.discover(ctx, p)
	if err != nil {
		return "", cookie, s.refuse(ctx, p, "discovery", err)
	}
	if len(next) > 1024 {
		next = "" // the cookie has to fit
	}
	f := flow{Provider: id, User: user, Next: next, Secret: secret.Random(32).RevealString(), Ends: s.Now().Add(flowLife)}
	data, err := json.Marshal(f)
	if err != nil {
		return "", cookie, err
	}
	if cookie, err = s.sealFlow(data); err != nil {
		return "", cookie, err
	}
	conf := s.oauth(p, m, client.RevealString())
	to = conf.AuthCodeURL(f.derive("state"), oauth2.S256ChallengeOption(f.derive("verifier")), oidc.Nonce(f.derive("nonce")))
	return to, cookie, nil
}

// sealFlow makes the cookie of a flow.
func (s *Service) sealFlow(data []byte) (secret.Value, error) {
	sealed, err := s.Keys.SealLocal(flowRef, secret.NewValue(data))
	return secret.FromString(base64.RawURLEncoding.EncodeToString(sealed)), err
}

var (
	errFlow    = fault.New(fault.Unauthenticated, "This login took too long, was begun in another browser, or was finished already. Begin again.")
	errAnswer  = fault.New(fault.Unauthenticated, "What the identity provider answered could not be verified. Begin again; an administrator finds the reason in the audit trail.")
	errCode    = fault.New(fault.Unauthenticated, "The identity provider did not confirm this login. Begin again; an administrator finds the reason in the audit trail.")
	errTooMany = "Too many logins by identity providers failed from here; wait a moment and try again."
)

// Answer is a login that came back.
type Answer struct {
	metal.ExternalLogin
	User  int64 // who links it; 0 for a login
	Next  string
	Visit string // where the login goes on, of one that has not ended
}

// refuse records a login that failed, and returns why. The reason holds nothing of tokens.
func (s *Service) refuse(ctx context.Context, p metal.Provider, reason string, cause error) error {
	return s.Gate.Do(ctx, authz.UserSignOn, func(c *gate.Call) error {
		c.Note("provider", p.Name)
		c.Note("reason", metal.Printable(reason, 200))
		return cause
	})
}

// Finish reads the answer of a provider, which the browser brings. Kinds: Unauthenticated, Unavailable, NotFound;
// Exhausted with RetryAfter.
func (s *Service) Finish(ctx context.Context, cookie secret.Value, q url.Values) (a Answer, err error) {
	f, err := s.open(cookie)
	if err != nil {
		return a, s.refuse(ctx, metal.Provider{}, "no login under way", errFlow)
	}
	a.User, a.Next = f.User, f.Next
	p, client, err := s.usable(ctx, metal.ProviderOIDC, f.Provider)
	if err != nil {
		return a, err
	}
	if s.Now().After(f.Ends) {
		return a, s.refuse(ctx, p, "late", errFlow)
	}
	if !secret.FromString(q.Get("state")).Equal(secret.FromString(f.derive("state"))) {
		return a, s.refuse(ctx, p, "another state", errFlow)
	}
	a.State, a.StateEnds = secret.FromString(f.derive("state")).Hash(), f.Ends
	if spent, err := s.spent(ctx, a.State); err != nil || spent {
		return a, errors.Join(err, s.refuse(ctx, p, "replayed", errFlow))
	}
	m, provider, err := s.discover(ctx, p)
	if err != nil {
		return a, s.refuse(ctx, p, "discovery", err)
	}
	if iss := q.Get("iss"); iss != p.Issuer && (iss != "" || m.SaysIssuer) {
		return a, s.refuse(ctx, p, "answer of another issuer", errAnswer)
	}
	if code := q.Get("error"); code != "" {
		return a, s.refuse(ctx, p, "the provider says "+metal.Printable(code, 64), errCode)
	}
	source, now := authz.OriginFrom(ctx).Source, s.Now()
	if wait := s.wrong.Wait("login", source, now); wait > 0 {
		return a, &fault.Error{Kind: fault.Exhausted, Message: errTooMany, RetryAfter: wait}
	}
	login, reason, err := s.exchange(ctx, p, m, provider, client, f, q.Get("code"))
	if err != nil {
		if fault.Is(err, fault.Unauthenticated) {
			s.wrong.Fail("login", source, now)
		}
		return a, s.refuse(ctx, p, reason, err)
	}
	login.State, login.StateEnds = a.State, a.StateEnds
	a.ExternalLogin = login
	return a, nil
}

func (s *Service) open(cookie secret.Value) (f flow, err error) {
	sealed, err := base64.RawURLEncoding.DecodeString(cookie.RevealString())
	if err != nil {
		return f, err
	}
	data, err := s.Keys.Open(flowRef, sealed)
	if err != nil {
		return f, err
	}
	return f, json.Unmarshal(data.Reveal(), &f)
}

func (s *Service) spent(ctx context.Context, hash string) (spent bool, err error) {
	err = s.Gate.View(authz.AsSystem(ctx, "login"), authz.ProviderView, func(v *gate.Viewing) (err error) {
		spent, err = v.Spent(hash)
		return err
	})
	return spent, err
}

// exchange trades the code for an ID token and verifies it. The reason is for the trail.
func (s *Service) exchange(ctx context.Context, p metal.Provider, m metadata, provider *oidc.Provider, client secret.Value, f flow, code string) (l metal.ExternalLogin, reason string, err error) {
	if code == "" || len(code) > 4096 {
		return l, "no code", errCode
	}
	ctx = oidc.ClientContext(ctx, s.Client)
	conf := s.oauth(p, m, client.RevealString())
	token, err := conf.Exchange(ctx, code, oauth2.VerifierOption(f.derive("verifier")))
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		return l, "code refused: " + refused.ErrorCode, errCode // its description may repeat what was sent
	}
	if err != nil {
		return l, "no token", fault.New(fault.Unavailable, "The identity provider cannot be used. %s", egress.Message(err))
	}
	raw, _ := token.Extra("id_token").(string)
	return s.verify(ctx, p, m, provider, tokens{ID: raw, Access: token.AccessToken}, func(id *oidc.IDToken) bool {
		return secret.FromString(id.Nonce).Equal(secret.FromString(f.derive("nonce")))
	})
}

// tokens are what a provider's token endpoint answered.
type tokens struct {
	ID     string `json:"id_token"`
	Access string `json:"access_token"`
	Error  string `json:"error"`
}

// verify reads what the tokens say of somebody. The reason is for the trail.
func (s *Service) verify(ctx context.Context, p metal.Provider, m metadata, provider *oidc.Provider, t tokens, fresh func(*oidc.IDToken) bool) (l metal.ExternalLogin, reason string, err error) {
	if t.ID == "" {
		return l, "no ID token", errAnswer
	}
	ctx = oidc.ClientContext(ctx, s.Client)
	id, err := provider.Verifier(&oidc.Config{ClientID: p.Options["client_id"], SupportedSigningAlgs: algorithms, Now: s.Now}).Verify(ctx, t.ID)
	if err != nil {
		return l, err.Error(), errAnswer
	}
	if id.Issuer != p.Issuer { // the library lets one well-known provider leave out https://
		return l, "another issuer", errAnswer
	}
	if !fresh(id) {
		return l, "another nonce", errAnswer
	}
	var all map[string]json.RawMessage
	if err := id.Claims(&all); err != nil {
		return l, "unreadable claims", errAnswer
	}
	if reason, err := s.complete(ctx, p, m, id.Subject, t.Access, all); err != nil {
		return l, reason, err
	}
	return readClaims(p, id, all)
}

// claims are what is read of an ID token, or of UserInfo, besides what the library checks. Source: OpenID Connect Core 1.0 sections 2
// and 5.1, Back-Channel Logout 1.0 section 2.1.
type claims struct {
	Party    string `json:"azp"`
	Name     string `json:"preferred_username"`
	Email    string `json:"email"`
	Verified any    `json:"email_verified"` // some providers write a text
	Session  string `json:"sid"`
}

func readClaims(p metal.Provider, id *oidc.IDToken, all map[string]json.RawMessage) (l metal.ExternalLogin, reason string, err error) {
	var c claims
	text, err := json.Marshal(all)
	if err != nil || json.Unmarshal(text, &c) != nil {
		return l, "unreadable claims", errAnswer
	}
	if c.Party != p.Options["client_id"] && (c.Party != "" || len(id.Audience) > 1) {
		return l, "issued to another party", errAnswer
	}
	if id.Subject == "" || len(id.Subject) > metal.MaxClaim || metal.Printable(id.Subject, metal.MaxClaim) != id.Subject {
		return l, "unusable subject", errAnswer
	}
	l = metal.ExternalLogin{ProviderID: p.ID, Issuer: p.Issuer, Subject: id.Subject, Name: c.Name}
	if len(c.Session) <= metal.MaxClaim {
		l.Session = c.Session
	}
	if c.Verified == true || c.Verified == "true" {
		if a, err := mail.ParseAddress(c.Email); err == nil && a.Address == c.Email && len(metal.ValidateUser("x", c.Email)) == 0 {
			l.Email = c.Email
		}
	}
	if p.Options["group_claim"] == "" {
		return l, "", nil
	}
	if l.Groups, err = readGroups(all[p.Options["group_claim"]]); err != nil {
		return l, "unreadable groups", errAnswer
	}
	return l, "", nil
}

// readGroups reads a claim that is a list of texts, or one. None is no groups: what a provider does not say, nobody has.
func readGroups(raw json.RawMessage) ([]string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var list []string
	if err := json.Unmarshal(raw, &list); err != nil {
		var one string
		if err := json.Unmarshal(raw, &one); err != nil {
			return nil, err
		}
		list = []string{one}
	}
	if len(list) > metal.MaxClaims {
		return nil, errors.New("too many groups")
	}
	return list, nil
}
