package rbactest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery/checkers"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery/identchecker"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery/agent"
	"github.com/julienschmidt/httprouter"
	"gopkg.in/macaroon.v2"
)

// auth is the service's authentication: it wants macaroons, which its own discharger at /auth discharges to who proves
// that he has the key of an account.
type auth struct {
	location string
	key      *bakery.KeyPair

	mu     sync.Mutex
	keys   map[string]string      // public keys by account, guarded by mu
	visits map[string]chan string // who logged in with a browser, by visit; guarded by mu
	tokens map[string]string      // accounts by the tokens of their visits, guarded by mu
	serve  *identchecker.Bakery   // of the service, guarded by mu
	login  *bakery.Bakery         // of the discharger, guarded by mu
}

func newAuth(base string) *auth {
	a := &auth{location: base + "/auth", key: bakery.MustGenerateKey(), keys: map[string]string{}, visits: map[string]chan string{}, tokens: map[string]string{}}
	a.forget()
	return a
}

// forget has all macaroons end, and all keys.
func (a *auth) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	clear(a.keys)
	locator := bakery.NewThirdPartyStore()
	locator.AddInfo(a.location, bakery.ThirdPartyInfo{PublicKey: a.key.Public, Version: bakery.LatestVersion})
	a.serve = identchecker.NewBakery(identchecker.BakeryParams{Location: strings.TrimSuffix(a.location, "/auth"), Key: bakery.MustGenerateKey(), Locator: locator, IdentityClient: identities{a.location}})
	a.login = bakery.New(bakery.BakeryParams{Location: a.location, Key: a.key})
}

func (a *auth) add(account, publicKey string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[account] = publicKey
}

func (a *auth) bakeries() (serve *identchecker.Bakery, login *bakery.Bakery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.serve, a.login
}

func validKey(text string) bool {
	var k bakery.PublicKey
	return k.UnmarshalText([]byte(text)) == nil
}

// identities says how callers prove who they are.
type identities struct{ location string }

// IdentityFromContext is part of bakery.IdentityClient.
func (i identities) IdentityFromContext(context.Context) (identchecker.Identity, []checkers.Caveat, error) {
	return nil, []checkers.Caveat{{Location: i.location, Condition: "is-authenticated-user"}}, nil
}

// DeclaredIdentity is part of bakery.IdentityClient.
func (identities) DeclaredIdentity(_ context.Context, declared map[string]string) (identchecker.Identity, error) {
	if declared["username"] == "" {
		return nil, errors.New("no username declared")
	}
	return identchecker.SimpleIdentity(declared["username"]), nil
}

// caller is who calls; without right macaroons the answer says what has to be discharged.
func (a *auth) caller(w http.ResponseWriter, r *http.Request) (string, bool) {
	ctx := r.Context()
	serve, _ := a.bakeries()
	info, err := serve.Checker.Auth(httpbakery.RequestMacaroons(r)...).Allow(ctx, identchecker.LoginOp)
	if err == nil {
		return info.Identity.Id(), true
	}
	var wanted *bakery.DischargeRequiredError
	if !errors.As(err, &wanted) {
		wanted = &bakery.DischargeRequiredError{Ops: []bakery.Op{identchecker.LoginOp}, Caveats: []checkers.Caveat{{Location: a.location, Condition: "is-authenticated-user"}}, ForAuthentication: true}
	}
	caveats := append(wanted.Caveats, checkers.TimeBeforeCaveat(time.Now().Add(time.Hour)))
	m, err := serve.Oven.NewMacaroon(ctx, httpbakery.RequestVersion(r), caveats, wanted.Ops...)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "cannot mint: %v", err)
		return "", false
	}
	httpbakery.WriteError(ctx, w, httpbakery.NewDischargeRequiredError(httpbakery.DischargeRequiredErrorParams{Macaroon: m, OriginalError: err, Request: r, CookieNameSuffix: "rbac"}))
	return "", false
}

// routes serves the discharger.
func (a *auth) routes(mux *http.ServeMux) {
	router := httprouter.New()
	d := httpbakery.NewDischarger(httpbakery.DischargerParams{Key: a.key, CheckerP: httpbakery.ThirdPartyCaveatCheckerPFunc(a.check)})
	for _, h := range d.Handlers() {
		router.Handle(h.Method, h.Path, h.Handle)
	}
	for path, h := range map[string]http.HandlerFunc{"/login/agent": a.agentLogin, "/login": a.visit, "/wait-token": a.waitToken} {
		router.Handler(http.MethodGet, path, h)
	}
	mux.Handle("/auth/", http.StripPrefix("/auth", router))
}

// check discharges a caveat to who shows the token of an agent's login.
func (a *auth) check(ctx context.Context, p httpbakery.ThirdPartyCaveatCheckerParams) ([]checkers.Caveat, error) {
	if string(p.Caveat.Condition) != "is-authenticated-user" {
		return nil, checkers.ErrCaveatNotRecognized
	}
	if p.Token == nil {
		err := httpbakery.NewInteractionRequiredError(nil, p.Request)
		agent.SetInteraction(err, "/auth/login/agent")
		did := rand.Text()
		a.mu.Lock()
		a.visits[did] = make(chan string, 1)
		a.mu.Unlock()
		err.SetInteraction("browser-window", map[string]string{"VisitURL": a.location + "/login?did=" + did, "WaitTokenURL": a.location + "/wait-token?did=" + did})
		return nil, err
	}
	if p.Token.Kind == "visit" {
		a.mu.Lock()
		who := a.tokens[string(p.Token.Value)]
		a.mu.Unlock()
		if who == "" {
			return nil, errors.New("the token is not ours")
		}
		return []checkers.Caveat{checkers.DeclaredCaveat("username", who)}, nil
	}
	var ms macaroon.Slice
	if p.Token.Kind != "agent" || ms.UnmarshalBinary(p.Token.Value) != nil {
		return nil, errors.New("no token of an agent")
	}
	_, login := a.bakeries()
	ops, conditions, err := login.Oven.VerifyMacaroon(ctx, ms)
	if err != nil || len(ops) != 1 || ops[0].Action != "login" {
		return nil, errors.New("the token is not ours")
	}
	for _, c := range conditions {
		if err := checkers.New(nil).CheckFirstPartyCaveat(ctx, c); err != nil {
			return nil, err
		}
	}
	return []checkers.Caveat{checkers.DeclaredCaveat("username", ops[0].Entity)}, nil
}

// agentLogin gives who names an account and its key a macaroon that only the key's owner can discharge.
func (a *auth) agentLogin(w http.ResponseWriter, r *http.Request) {
	account, key := r.FormValue("username"), r.FormValue("public-key")
	a.mu.Lock()
	known := a.keys[account]
	a.mu.Unlock()
	var public bakery.PublicKey
	if known == "" || known != key || public.UnmarshalText([]byte(key)) != nil {
		refuse(w, http.StatusForbidden, "no agent %s with this key", account)
		return
	}
	_, login := a.bakeries()
	version := httpbakery.RequestVersion(r)
	m, err := login.Oven.NewMacaroon(r.Context(), version, []checkers.Caveat{bakery.LocalThirdPartyCaveat(&public, version), checkers.TimeBeforeCaveat(time.Now().Add(10 * time.Second))},
		bakery.Op{Entity: account, Action: "login"})
	if err != nil {
		refuse(w, http.StatusInternalServerError, "cannot mint: %v", err)
		return
	}
	reply(w, map[string]any{"macaroon": m})
}

// visit is the page where a person logs in: the browser of a test says in "username" who it is.
func (a *auth) visit(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	did, who := r.FormValue("did"), r.FormValue("username")
	if a.visits[did] == nil || a.keys[who] == "" {
		refuse(w, http.StatusForbidden, "no such visit, or no such person")
		return
	}
	select {
	case a.visits[did] <- who:
	default:
	}
}

// waitToken waits for a person to log in, and answers with the token that discharges for him.
func (a *auth) waitToken(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	visit := a.visits[r.FormValue("did")]
	a.mu.Unlock()
	if visit == nil {
		refuse(w, http.StatusNotFound, "no such visit")
		return
	}
	select {
	case who := <-visit:
		token := rand.Text()
		a.mu.Lock()
		a.tokens[token] = who
		a.mu.Unlock()
		reply(w, map[string]string{"kind": "visit", "token64": base64.StdEncoding.EncodeToString([]byte(token))})
	case <-r.Context().Done():
	}
}
