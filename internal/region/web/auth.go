package web

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/secret"
)

// CookieName is the session cookie. The prefix makes browsers refuse it without Secure, with a Domain, or
// with another Path. Source: RFC 6265bis section 4.1.3.2.
const CookieName = "__Host-metalward"

// Auth turns a request's credentials into a principal.
type Auth struct {
	Identity *identity.Service
	csrf     http.CrossOriginProtection
}

// Authenticate puts the caller's principal into the context: of the session cookie if there is one, else of
// the API key. Without credentials it is Anonymous. The error says why credentials were refused; the context
// is good for the trail then, too. A request with a session from another site is refused.
func (a *Auth) Authenticate(r *http.Request, values ...url.Values) (context.Context, error) {
	ctx := r.Context()
	if c, err := r.Cookie(CookieName); err == nil && !identity.HasCredentials(r) {
		if err := a.csrf.Check(r); err != nil {
			return ctx, fault.New(fault.Forbidden, "This request comes from another site.")
		}
		p, err := a.Identity.Session(ctx, secret.FromString(c.Value))
		if err != nil {
			return ctx, err
		}
		return authz.With(ctx, p), nil
	}
	p, ok, err := a.Identity.VerifyOAuth(ctx, r.Header.Get("Authorization"), values...)
	if err != nil || !ok {
		return ctx, err
	}
	return authz.With(ctx, p), nil
}

// StepCookieName is the cookie of a login that waits for its second factor.
const StepCookieName = "__Host-metalward-login"

// SetStepCookie gives the browser its login under way.
func SetStepCookie(w http.ResponseWriter, v secret.Value) {
	http.SetCookie(w, &http.Cookie{Name: StepCookieName, Value: v.RevealString(), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode})
}

// ClearStepCookie takes it away.
func ClearStepCookie(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: StepCookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, Expires: time.Unix(1, 0), MaxAge: -1})
}

// SetCookie gives the browser its session.
func SetCookie(w http.ResponseWriter, v secret.Value) {
	http.SetCookie(w, &http.Cookie{Name: CookieName, Value: v.RevealString(), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// ClearCookie takes the session from the browser.
func ClearCookie(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: CookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, Expires: time.Unix(1, 0), MaxAge: -1})
}

// SignOnCookieName is the cookie of a login that is under way at an identity provider.
const SignOnCookieName = "__Host-metalward-signon"

// signOnAge is the cookie's life in seconds; what is in it says the same, sealed.
const signOnAge = 600

// SetSignOnCookie gives the browser its login under way. It comes back with the answer, which another site sends the
// browser here with: Strict would withhold it.
func SetSignOnCookie(w http.ResponseWriter, v secret.Value) {
	http.SetCookie(w, &http.Cookie{Name: SignOnCookieName, Value: v.RevealString(), Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: signOnAge})
}

// ClearSignOnCookie takes it away.
func ClearSignOnCookie(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: SignOnCookieName, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode, Expires: time.Unix(1, 0), MaxAge: -1})
}
