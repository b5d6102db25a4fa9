// Package macaroonstest is a small Candid for tests: it discharges "is-authenticated-user" for people who log in with a
// browser, by either way, and for agents; and it tells agents about people. The real one is in test/candid.
package macaroonstest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery/checkers"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery/identchecker"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery/agent"
	"github.com/julienschmidt/httprouter"
	"gopkg.in/macaroon.v2"

	"github.com/metalward/metalward/internal/macaroons"
)

// Candid is a discharger. Its fields may be changed at any time under Lock.
type Candid struct {
	sync.Mutex
	*httptest.Server
	// Groups has everybody whom it knows.
	Groups map[string][]string
	// Agents are the public keys of agents, base64, by username. They may read about everybody.
	Agents map[string]string
	// Person logs in when a browser comes; empty: the login fails.
	Person string
	// Declares overrides what a discharge declares of the username, when it is not nil.
	Declares *string
	// Down answers nothing but errors.
	Down bool
	// Asked counts the requests about people, Discharges the attempts to discharge.
	Asked, Discharges int

	key    *bakery.KeyPair
	oven   *bakery.Oven
	check  *identchecker.Checker
	tokens map[string]string // of people who have logged in
	waits  map[string]string // tokens by discharge id
	seq    int
}

// New starts a Candid, until the test ends.
func New(t testing.TB) *Candid {
	c := &Candid{Groups: map[string][]string{}, Agents: map[string]string{}, key: bakery.MustGenerateKey(), tokens: map[string]string{}, waits: map[string]string{}}
	router := httprouter.New()
	for _, h := range httpbakery.NewDischarger(httpbakery.DischargerParams{Key: c.key, CheckerP: c}).Handlers() {
		router.Handle(h.Method, h.Path, h.Handle)
	}
	router.HandlerFunc(http.MethodGet, "/login/agent", c.agentLogin)
	router.HandlerFunc(http.MethodGet, "/login-redirect", c.redirect)
	router.HandlerFunc(http.MethodPost, "/discharge-token", c.dischargeToken)
	router.HandlerFunc(http.MethodGet, "/login", c.visit)
	router.HandlerFunc(http.MethodGet, "/wait-token", c.waitToken)
	router.HandlerFunc(http.MethodGet, "/v1/u/:name", c.user)
	router.HandlerFunc(http.MethodGet, "/v1/u/:name/groups", c.user)
	c.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.Lock()
		defer c.Unlock()
		if c.Down {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		router.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	locator := bakery.NewThirdPartyStore()
	locator.AddInfo(c.URL, bakery.ThirdPartyInfo{PublicKey: c.key.Public, Version: bakery.LatestVersion})
	c.oven = bakery.NewOven(bakery.OvenParams{Key: c.key, Locator: locator})
	c.check = identchecker.NewChecker(identchecker.CheckerParams{Checker: checkers.New(nil), MacaroonVerifier: c.oven, IdentityClient: declared{}})
	return c
}

// Agent makes an agent that may read about people.
func (c *Candid) Agent(name string) macaroons.Agent {
	a := macaroons.Agent{URL: c.URL, Username: name, Key: macaroons.NewKey()}
	c.Lock()
	defer c.Unlock()
	c.Agents[name] = a.Key.Public()
	return a
}

// Set gives a person groups; with none at all he is unknown.
func (c *Candid) Set(name string, groups ...string) {
	c.Lock()
	defer c.Unlock()
	if c.Groups[name] = groups; groups == nil {
		delete(c.Groups, name)
	}
}

type declared struct{}

// IdentityFromContext is part of identchecker.IdentityClient.
func (declared) IdentityFromContext(context.Context) (identchecker.Identity, []checkers.Caveat, error) {
	return nil, nil, nil
}

// DeclaredIdentity is part of identchecker.IdentityClient.
func (declared) DeclaredIdentity(_ context.Context, d map[string]string) (identchecker.Identity, error) {
	return identchecker.SimpleIdentity(d["username"]), nil
}

// CheckThirdPartyCaveat discharges for whom the token is of, and else says how to get one.
func (c *Candid) CheckThirdPartyCaveat(ctx context.Context, p httpbakery.ThirdPartyCaveatCheckerParams) ([]checkers.Caveat, error) {
	c.Discharges++
	condition, domain, _ := strings.Cut(string(p.Caveat.Condition), " ")
	if condition != "is-authenticated-user" {
		return nil, checkers.ErrCaveatNotRecognized
	}
	name := ""
	switch {
	case p.Token == nil:
	case p.Token.Kind == "agent":
		var ms macaroon.Slice
		if err := ms.UnmarshalBinary(p.Token.Value); err != nil {
			return nil, err
		}
		info, err := c.check.Auth(ms).Allow(ctx, identchecker.LoginOp)
		if err != nil {
			return nil, err
		}
		name = info.Identity.Id()
	default:
		name = c.tokens[string(p.Token.Value)]
	}
	if name == "" || !strings.HasSuffix(name, domain) {
		c.seq++
		id := "?did=" + string(rune('a'+c.seq%26)) + time.Now().Format("150405.000000000")
		e := httpbakery.NewInteractionRequiredError(nil, p.Request)
		agent.SetInteraction(e, "/login/agent")
		httpbakery.SetWebBrowserInteraction(e, "/login"+id, "/wait-token"+id)
		e.SetInteraction("browser-redirect", map[string]string{"LoginURL": c.URL + "/login-redirect", "DischargeTokenURL": c.URL + "/discharge-token"})
		return nil, e
	}
	if c.Declares != nil {
		name = *c.Declares
		if name == "" {
			return nil, nil
		}
	}
	return []checkers.Caveat{checkers.DeclaredCaveat("username", name), checkers.TimeBeforeCaveat(time.Now().Add(24 * time.Hour))}, nil
}

func (c *Candid) agentLogin(w http.ResponseWriter, r *http.Request) {
	name, public := r.FormValue("username"), r.FormValue("public-key")
	var key bakery.PublicKey
	if c.Agents[name] != public || key.UnmarshalText([]byte(public)) != nil {
		httpbakery.WriteError(r.Context(), w, httpbakery.ErrPermissionDenied)
		return
	}
	m, err := c.oven.NewMacaroon(r.Context(), bakery.LatestVersion, []checkers.Caveat{bakery.LocalThirdPartyCaveat(&key, bakery.LatestVersion),
		checkers.DeclaredCaveat("username", name), checkers.TimeBeforeCaveat(time.Now().Add(10 * time.Second))}, identchecker.LoginOp)
	answer(w, r, map[string]any{"macaroon": m}, err)
}

// token logs the Person in.
func (c *Candid) token() string {
	t := macaroons.NewKey().Public()
	c.tokens[t] = c.Person
	return t
}

func (c *Candid) redirect(w http.ResponseWriter, r *http.Request) {
	q := url.Values{"state": {r.FormValue("state")}}
	if c.Person == "" {
		q.Set("error", "authentication failed")
	} else {
		q.Set("code", c.token())
	}
	http.Redirect(w, r, r.FormValue("return_to")+"?"+q.Encode(), http.StatusSeeOther)
}

func (c *Candid) dischargeToken(w http.ResponseWriter, r *http.Request) {
	var in struct{ Code string }
	_ = json.NewDecoder(r.Body).Decode(&in) // no code is an unknown one
	if c.tokens[in.Code] == "" {
		http.Error(w, `{"message":"not found"}`, http.StatusNotFound)
		return
	}
	answer(w, r, map[string]any{"token": map[string]any{"kind": "macaroon", "value": []byte(in.Code)}}, nil)
}

func (c *Candid) visit(w http.ResponseWriter, r *http.Request) {
	if c.Person != "" {
		c.waits[r.FormValue("did")] = c.token()
	}
	_, _ = w.Write([]byte("logged in"))
}

func (c *Candid) waitToken(w http.ResponseWriter, r *http.Request) {
	for c.waits[r.FormValue("did")] == "" {
		c.Unlock()
		select {
		case <-r.Context().Done():
			c.Lock()
			return
		case <-time.After(5 * time.Millisecond):
		}
		c.Lock()
	}
	answer(w, r, map[string]string{"kind": "macaroon", "token": c.waits[r.FormValue("did")]}, nil)
}

// user answers agents: whom it knows, and his groups.
func (c *Candid) user(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	info, err := c.check.Auth(httpbakery.RequestMacaroons(r)...).Allow(ctx, identchecker.LoginOp)
	if err != nil {
		m, err := c.oven.NewMacaroon(ctx, httpbakery.RequestVersion(r), []checkers.Caveat{checkers.TimeBeforeCaveat(time.Now().Add(time.Hour)),
			{Location: c.URL, Condition: "is-authenticated-user"}}, identchecker.LoginOp)
		if err == nil {
			err = httpbakery.NewDischargeRequiredError(httpbakery.DischargeRequiredErrorParams{Macaroon: m, CookiePath: "/"})
		}
		httpbakery.WriteError(ctx, w, err)
		return
	}
	c.Asked++
	if _, ok := c.Agents[info.Identity.Id()]; !ok {
		http.Error(w, `{"message":"permission denied"}`, http.StatusForbidden)
		return
	}
	name := httprouter.ParamsFromContext(ctx).ByName("name")
	groups, ok := c.Groups[name]
	switch {
	case !ok:
		http.Error(w, `{"message":"user not found"}`, http.StatusNotFound)
	case strings.HasSuffix(r.URL.Path, "/groups"):
		answer(w, r, slices.Concat([]string{}, groups), nil)
	default:
		answer(w, r, map[string]string{"username": name, "fullname": name, "email": strings.Split(name, "@")[0] + "@example.com"}, nil)
	}
}

func answer(w http.ResponseWriter, r *http.Request, v any, err error) {
	if err != nil {
		httpbakery.WriteError(r.Context(), w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}
