package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/web"
)

// Logins by macaroons, as MAAS's clients make them while a Candid server or RBAC service is enabled: a call without
// credentials is answered with a macaroon, and comes again with its discharges. Source: MAAS API 2.0, external
// authentication; MAAS, macaroon_auth.

// shown are the macaroons of a request: of its header, which no other site can have a browser send, or of its cookies.
// Cookies count for programs alone: a browser has a session here, and another host of its domain could plant one.
func shown(r *http.Request) macaroons.Shown {
	if s := macaroons.FromHeader(r); len(s) > 0 {
		return s
	}
	if r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "" {
		return nil
	}
	return macaroons.FromCookies(r)
}

// byMacaroon puts the principal of whom a request's macaroons vouch for into the context, if there are any. Kinds:
// Forbidden when he may not come, Unavailable, Exhausted; with macaroons that are good for nothing he is Anonymous.
func (a *API) byMacaroon(ctx context.Context, r *http.Request) (context.Context, error) {
	ms := shown(r)
	if len(ms) == 0 {
		return ctx, nil
	}
	l, err := a.Providers.Discharged(ctx, ms)
	if fault.Is(err, fault.NotFound) || fault.Is(err, fault.Unauthenticated) {
		return ctx, nil
	}
	if err != nil {
		return ctx, err
	}
	p, err := a.Identity.Vouched(ctx, l)
	if fault.Is(err, fault.NotFound) {
		if l, err = a.Providers.Described(ctx, l); err == nil {
			p, err = a.Identity.Admit(ctx, l)
		}
	}
	if errors.Is(err, identity.ErrEnded) {
		return ctx, nil
	}
	if err != nil {
		return ctx, notAllowed(err)
	}
	return authz.With(ctx, p), nil
}

// notAllowed is why somebody whom a macaroon vouches for may not come: not Unauthenticated, for a client would have the
// next macaroon discharged then.
func notAllowed(err error) error {
	switch fault.KindOf(err) {
	case fault.Unauthenticated, fault.Forbidden, fault.Conflict, fault.NotFound:
		return fault.New(fault.Forbidden, "User login not allowed. %s", fault.Message(err))
	}
	return err
}

// challenge answers 401 with a macaroon to be discharged; false when there is none.
func (a *API) challenge(w http.ResponseWriter, r *http.Request) bool {
	body, err := a.Providers.Challenge(r.Context(), macaroons.Version(r))
	if err != nil {
		return false
	}
	macaroons.Challenged(w.Header())
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write(body)
	return true
}

// Accounts answers /MAAS/accounts/login/ and /MAAS/accounts/discharge-request/, and the logins of the command line.
func (a *API) Accounts() http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, fn func(http.ResponseWriter, *http.Request) error) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			if err := fn(w, r); err != nil {
				a.fail(w, r, err)
			}
		})
	}
	handle("GET /MAAS/accounts/login/", a.loginState)
	handle("GET /MAAS/accounts/discharge-request/", a.dischargeRequest)
	handle("POST /MAAS/accounts/device/", bounded(a.beginDevice))
	handle("POST /MAAS/accounts/device/poll/", bounded(a.pollDevice))
	return mux
}

// loginState says how one logs in here.
func (a *API) loginState(w http.ResponseWriter, r *http.Request) error {
	ctx, err := a.Auth.Authenticate(r)
	if err != nil { // what was shown is no good: nobody is logged in
		ctx = r.Context()
	}
	address, err := a.Providers.ExternalAuth(ctx)
	if err != nil {
		return err
	}
	needed, err := a.Identity.NeedsFirstAdmin(ctx)
	if err != nil {
		return err
	}
	out := map[string]any{"authenticated": authz.From(ctx).Kind == authz.User, "external_auth_url": nil, "no_users": needed}
	if address != "" {
		out["external_auth_url"] = address
	}
	return sendJSON(w, out)
}

// dischargeRequest starts a session for discharged macaroons, and answers others with one to be discharged. A macaroon
// starts one session; MAAS's starts any number.
func (a *API) dischargeRequest(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	address, err := a.Providers.ExternalAuth(ctx)
	if err != nil {
		return err
	}
	if address == "" {
		return fault.New(fault.NotFound, "Not found")
	}
	var l metal.ExternalLogin
	if l, err = a.Providers.Discharged(ctx, shown(r)); err == nil {
		if l, err = a.Providers.Described(ctx, l); err != nil {
			return notAllowed(err)
		}
		cookie, err := a.Identity.SignOn(ctx, l)
		if errors.Is(err, identity.ErrEnded) {
			return a.challenged(w, r)
		}
		if err != nil {
			return notAllowed(err)
		}
		p, err := a.Identity.Session(ctx, cookie)
		if err != nil {
			return err
		}
		web.SetCookie(w, cookie)
		return sendJSON(w, map[string]any{"id": p.UserID, "username": p.Name, "is_superuser": p.Rights.Administrator()})
	}
	if !fault.Is(err, fault.Unauthenticated) {
		return err
	}
	return a.challenged(w, r)
}

// challenged is challenge where nothing else can be answered. Kinds: Unavailable.
func (a *API) challenged(w http.ResponseWriter, r *http.Request) error {
	if !a.challenge(w, r) {
		return fault.New(fault.Unavailable, "The identity provider cannot be used.")
	}
	return nil
}

func sendJSON(w http.ResponseWriter, v any) error {
	body, err := json.Marshal(v)
	if err == nil {
		send(w, http.StatusOK, "application/json", body)
	}
	return err
}
