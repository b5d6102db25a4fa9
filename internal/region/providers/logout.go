package providers

import (
	"context"
	"encoding/json"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/secret"
)

// Logout tokens are good for a moment: the provider sends them at once.
const (
	logoutLife = 5 * time.Minute
	logoutSkew = time.Minute // of the provider's clock
)

// logoutEvent is what makes a token one of a logout. Source: OpenID Connect Back-Channel Logout 1.0 section 2.4.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

var errLogout = fault.New(fault.Invalid, "This is not a logout token for this client.")

// ReadLogout verifies a logout token. Of what it returns, Subject or Session may be empty, not both. Kinds: Invalid,
// NotFound, Unavailable; Exhausted with RetryAfter.
func (s *Service) ReadLogout(ctx context.Context, id int64, raw string) (l metal.ExternalLogin, err error) {
	p, _, err := s.usable(ctx, metal.ProviderOIDC, id)
	if err != nil {
		return l, err
	}
	source, now := authz.OriginFrom(ctx).Source, s.Now()
	if wait := s.wrong.Wait("logout", source, now); wait > 0 {
		return l, &fault.Error{Kind: fault.Exhausted, Message: errTooMany, RetryAfter: wait}
	}
	_, provider, err := s.discover(ctx, p)
	if err != nil {
		return l, err
	}
	l, reason := s.logout(ctx, p, provider, raw)
	if reason != "" {
		s.wrong.Fail("logout", source, now)
		return l, s.refuse(ctx, p, "logout token: "+reason, errLogout)
	}
	return l, nil
}

// logout checks a logout token; the reason is empty when it is good. Source: OpenID Connect Back-Channel Logout 1.0
// section 2.6. exp came late to that standard: iat bounds the life of a token without one.
func (s *Service) logout(ctx context.Context, p metal.Provider, provider *oidc.Provider, raw string) (l metal.ExternalLogin, reason string) {
	t, err := provider.Verifier(&oidc.Config{ClientID: p.Options["client_id"], SupportedSigningAlgs: algorithms, SkipExpiryCheck: true}).Verify(ctx, raw)
	if err != nil {
		return l, err.Error()
	}
	var c struct {
		ID      string                     `json:"jti"`
		Session string                     `json:"sid"`
		Events  map[string]json.RawMessage `json:"events"`
		Nonce   *string                    `json:"nonce"`
		Expiry  *int64                     `json:"exp"`
	}
	if err := t.Claims(&c); err != nil {
		return l, "unreadable claims"
	}
	event, logsOut := c.Events[logoutEvent]
	now := s.Now()
	switch {
	case t.Issuer != p.Issuer:
		return l, "another issuer"
	case !logsOut || len(event) == 0 || event[0] != '{':
		return l, "no logout event"
	case c.Nonce != nil:
		return l, "it has a nonce"
	case now.Sub(t.IssuedAt) > logoutLife || t.IssuedAt.Sub(now) > logoutSkew || c.Expiry != nil && now.Unix() > *c.Expiry:
		return l, "not of now"
	case c.ID == "":
		return l, "no id"
	case t.Subject == "" && c.Session == "":
		return l, "nobody named"
	}
	return metal.ExternalLogin{ProviderID: p.ID, Issuer: p.Issuer, Subject: t.Subject, Session: c.Session,
		State: secret.FromString("logout " + authz.ID(p.ID) + " " + c.ID).Hash(), StateEnds: t.IssuedAt.Add(logoutLife)}, ""
}
