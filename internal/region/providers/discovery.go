package providers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/metalward/metalward/internal/egress"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

// How long what a provider says of itself is believed, a key that it has withdrawn included, and how long one that did not answer is left alone.
const (
	knownFor  = time.Hour
	failedFor = 10 * time.Second
)

// algorithms are the signatures accepted, whatever a provider offers.
var algorithms = []string{oidc.RS256, oidc.ES256}

// metadata is what is read of a provider's discovery document. Source: OpenID Connect Discovery 1.0 section 3.
type metadata struct {
	Issuer      string   `json:"issuer"`
	Auth        string   `json:"authorization_endpoint"`
	Token       string   `json:"token_endpoint"`
	JWKS        string   `json:"jwks_uri"`
	EndSession  string   `json:"end_session_endpoint"`
	UserInfo    string   `json:"userinfo_endpoint"`
	Device      string   `json:"device_authorization_endpoint"` // RFC 8628
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	SaysIssuer  bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
	BackChannel bool     `json:"backchannel_logout_supported"`
}

// known is what a provider says of itself, and its keys.
type known struct {
	mu       sync.Mutex // held while asking, so that one question is asked
	issuer   string
	until    time.Time
	meta     metadata
	provider *oidc.Provider
	err      error
}

// discover asks a provider about itself, or remembers what it said. Kinds: Unavailable with what is wrong.
func (s *Service) discover(ctx context.Context, p metal.Provider) (metadata, *oidc.Provider, error) {
	s.mu.Lock()
	k := s.known[p.ID]
	if k == nil {
		k = &known{}
		s.known[p.ID] = k
	}
	s.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := s.Now(); k.issuer != p.Issuer || !now.Before(k.until) {
		// One caller who goes away must not spoil the answer for the others.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), egress.Timeout)
		defer cancel()
		k.issuer, k.until = p.Issuer, now.Add(knownFor)
		if k.meta, k.err = s.fetchMetadata(ctx, p.Issuer); k.err != nil {
			k.until = now.Add(failedFor)
		}
		c := oidc.ProviderConfig{IssuerURL: p.Issuer, AuthURL: k.meta.Auth, TokenURL: k.meta.Token, JWKSURL: k.meta.JWKS, Algorithms: algorithms}
		k.provider = c.NewProvider(oidc.ClientContext(ctx, s.Client))
	}
	return k.meta, k.provider, k.err
}

// forget drops what a provider said of itself.
func (s *Service) forget(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, id)
}

// get fetches a JSON document. Kinds: Unavailable.
func (s *Service) get(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return fault.New(fault.Unavailable, "The address cannot be used.")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := s.Client.Do(req)
	if err != nil {
		return fault.New(fault.Unavailable, "%s", egress.Message(err))
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fault.New(fault.Unavailable, "The server answers with status %d.", resp.StatusCode)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fault.New(fault.Unavailable, "What the server answers is not the document that was asked for.")
	}
	return nil
}

// fetchMetadata reads a discovery document. Kinds: Unavailable.
func (s *Service) fetchMetadata(ctx context.Context, issuer string) (m metadata, err error) {
	if err := s.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &m); err != nil {
		return m, fault.New(fault.Unavailable, "The identity provider cannot be used. %s", fault.Message(err))
	}
	if m.Issuer != issuer {
		return m, fault.New(fault.Unavailable, "The identity provider cannot be used. It calls itself %.200q, not %.200q: the issuer has to be the same to the letter.", m.Issuer, issuer)
	}
	for name, address := range map[string]string{"authorization_endpoint": m.Auth, "token_endpoint": m.Token, "jwks_uri": m.JWKS} {
		if u, err := url.Parse(address); err != nil || u.Scheme != "https" || u.Host == "" {
			return m, fault.New(fault.Unavailable, "The identity provider cannot be used. Its %s is not an https:// address.", name)
		}
	}
	for _, optional := range []*string{&m.EndSession, &m.UserInfo, &m.Device} {
		if u, err := url.Parse(*optional); err != nil || u.Scheme != "https" || u.Host == "" {
			*optional = ""
		}
	}
	return m, nil
}

// oauth is the client's configuration at a provider.
func (s *Service) oauth(p metal.Provider, m metadata, secret string) oauth2.Config {
	style := oauth2.AuthStyleInHeader // the default. Source: OpenID Connect Discovery 1.0 section 3
	if len(m.AuthMethods) > 0 && !slices.Contains(m.AuthMethods, "client_secret_basic") {
		style = oauth2.AuthStyleInParams
	}
	return oauth2.Config{ClientID: p.Options["client_id"], ClientSecret: secret, RedirectURL: s.RedirectURI(), Scopes: strings.Fields(p.Options["scopes"]),
		Endpoint: oauth2.Endpoint{AuthURL: m.Auth, TokenURL: m.Token, AuthStyle: style}}
}

// testOIDC asks a provider about itself and for its keys.
func (s *Service) testOIDC(ctx context.Context, p metal.Provider) (r Report) {
	m, err := s.fetchMetadata(ctx, p.Issuer)
	if err != nil {
		return Report{Message: fault.Message(err)}
	}
	r = Report{EndSession: m.EndSession != "", BackChannel: m.BackChannel}
	var set jose.JSONWebKeySet
	if err := s.get(ctx, m.JWKS, &set); err != nil {
		r.Message = "The provider answers, but its keys cannot be read. " + fault.Message(err)
		return r
	}
	for _, k := range set.Keys {
		if k.Valid() && k.IsPublic() && (k.Use == "" || k.Use == "sig") && (k.Algorithm == "" || slices.Contains(algorithms, k.Algorithm)) {
			r.Keys++
		}
	}
	if r.Keys == 0 {
		r.Message = "The provider answers, but has no key for RS256 or ES256."
		return r
	}
	says := func(yes bool, no string) string {
		if yes {
			return "yes"
		}
		return no
	}
	r.OK, r.Message = true, fmt.Sprintf("The provider answers and has %d keys that can be used. Log out there, too: %s. It reports logouts: %s.", r.Keys,
		says(r.EndSession, "not offered"), says(r.BackChannel, "does not say so"))
	return r
}

// EndSessionURL is where a browser ends its session at a provider, too; empty when the provider has no such place.
// No token goes along: the provider may ask its user. Source: OpenID Connect RP-Initiated Logout 1.0.
func (s *Service) EndSessionURL(ctx context.Context, id int64) string {
	p, _, err := s.usable(ctx, metal.ProviderOIDC, id)
	if err != nil {
		return ""
	}
	m, _, err := s.discover(ctx, p)
	if err != nil || m.EndSession == "" {
		return ""
	}
	u, err := url.Parse(m.EndSession)
	if err != nil {
		return ""
	}
	q := u.Query()
	q.Set("client_id", p.Options["client_id"])
	q.Set("post_logout_redirect_uri", s.BaseURL+"/login")
	u.RawQuery = q.Encode()
	return u.String()
}
