package ui

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/web"
	"github.com/metalward/metalward/internal/secret"
)

// Logins by an identity provider. The policy forbids forms that end elsewhere, redirects included, so a browser leaves
// for the provider by a link, never by a form.

// beginSignOn sends the browser to a provider.
func (q *request) beginSignOn() error {
	next := local(q.http.URL.Query().Get("next"))
	to, cookie, err := q.ui.Providers.Begin(q.http.Context(), q.pathID("id"), next, 0)
	if err != nil {
		return q.signOnFailed(err, next)
	}
	web.SetSignOnCookie(q.w, cookie)
	http.Redirect(q.w, q.http, to, http.StatusSeeOther)
	return nil
}

// signOnFailed shows the login page with the reason; whoever was logged in still is.
func (q *request) signOnFailed(cause error, next string) error {
	d, err := q.loginData(next)
	if err != nil {
		return err
	}
	q.who = authz.Principal{Kind: authz.Anonymous}
	return q.again(cause, "login", "Log in", d)
}

// endSignOn takes what the browser brings back from a provider. Its cookie is good for one answer.
func (q *request) endSignOn() error {
	var cookie secret.Value
	if c, err := q.http.Cookie(web.SignOnCookieName); err == nil {
		cookie = secret.FromString(c.Value)
	}
	web.ClearSignOnCookie(q.w)
	a, err := q.ui.Providers.Finish(q.http.Context(), cookie, q.http.URL.Query())
	if a.User != 0 {
		return q.endLink(a.User, a.ExternalLogin, err)
	}
	if err != nil {
		return q.signOnFailed(err, a.Next)
	}
	session, err := q.ui.Identity.SignOn(q.http.Context(), a.ExternalLogin)
	if err != nil {
		return q.signOnFailed(err, a.Next)
	}
	return q.admit(session, local(a.Next))
}

// endLink links what a provider said to the user who began, if he is still the one who is logged in.
func (q *request) endLink(user int64, l metal.ExternalLogin, err error) error {
	if err == nil && (q.who.Kind != authz.User || q.who.UserID != user) {
		err = fault.New(fault.Conflict, "You are not logged in any more as the user who wanted to link this identity.")
	}
	if err == nil {
		err = q.ui.Identity.LinkIdentity(q.http.Context(), l)
	}
	if q.who.Kind != authz.User {
		return q.signOnFailed(err, "")
	}
	if fault.Is(err, fault.Unauthenticated) { // by the provider: here somebody is logged in
		err = fault.New(fault.Conflict, "%s", fault.Message(err))
	}
	return q.accountDone(err, "linked")
}

// beginLink starts the linking of an identity, after the password was said again.
func (q *request) beginLink() error {
	if err := q.ui.Identity.Confirm(q.http.Context(), secret.FromString(q.form.Get("current"))); err != nil {
		return q.accountDone(err, "")
	}
	to, cookie, err := q.ui.Providers.Begin(q.http.Context(), q.pathID("id"), "/account", q.who.UserID)
	if err != nil {
		return q.accountDone(err, "")
	}
	web.SetSignOnCookie(q.w, cookie)
	return q.show("leave", "Link an identity", leaveData{to, "Link an identity", "Log in at the identity provider to show which identity is yours.", "Go on"})
}

// unlink takes a linked identity away, after the password was said again.
func (q *request) unlink() error {
	err := q.ui.Identity.Confirm(q.http.Context(), secret.FromString(q.form.Get("current")))
	if err == nil {
		err = q.ui.Identity.UnlinkIdentity(q.http.Context(), q.form.Get("issuer"), q.form.Get("subject"))
	}
	return q.accountDone(err, "unlinked")
}

// leaveData is a page that ends in a link to a provider.
type leaveData struct{ To, Title, Text, Label string }

// leave shows how to end the session at the provider, too.
func (q *request) leave(provider int64) error {
	to := q.ui.Providers.EndSessionURL(q.http.Context(), provider)
	if to == "" {
		return q.redirect("/login", "")
	}
	q.who = authz.Principal{Kind: authz.Anonymous}
	return q.show("leave", "Logged out", leaveData{to, "You are logged out", "You are still logged in at the identity provider: who uses this browser next can log in as you.", "Log out there, too"})
}

// signOff takes a provider's word that somebody has logged out there. Source of the answers: OpenID Connect Back-Channel
// Logout 1.0 section 2.8.
func (q *request) signOff() error {
	ctx := q.http.Context()
	l, err := q.ui.Providers.ReadLogout(ctx, q.pathID("id"), q.form.Get("logout_token"))
	if err == nil {
		err = q.ui.Identity.SignOff(ctx, l)
	}
	var body bytes.Buffer
	code := http.StatusOK
	if f, ok := fault.As(err); ok {
		if code = http.StatusBadRequest; f.Kind == fault.Exhausted || f.Kind == fault.Unavailable {
			code = status(f.Kind)
		}
		err = json.NewEncoder(&body).Encode(map[string]string{"error": "invalid_request", "error_description": f.Message})
		q.w.Header().Set("Content-Type", "application/json")
	}
	if err != nil {
		return err
	}
	q.w.WriteHeader(code)
	_, _ = q.w.Write(body.Bytes())
	return nil
}
