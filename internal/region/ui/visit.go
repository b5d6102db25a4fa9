package ui

import (
	"net/http"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/web"
	"github.com/metalward/metalward/internal/secret"
)

// Logins at a Candid server or RBAC service. The site makes the discharge requests, so that the pages need no script and
// no request to another site: the browser goes there by a link, and comes back by itself or by a button.

// visitData is a page for somebody who logs in elsewhere and comes back by hand.
type visitData struct{ To string }

// beginVisit sends the browser to a provider, or shows where to go.
func (q *request) beginVisit() error {
	next := local(q.http.URL.Query().Get("next"))
	to, cookie, returns, err := q.ui.Providers.BeginVisit(q.http.Context(), q.pathID("id"), next)
	if err != nil {
		return q.signOnFailed(err, next)
	}
	web.SetSignOnCookie(q.w, cookie)
	if returns {
		http.Redirect(q.w, q.http, to, http.StatusSeeOther)
		return nil
	}
	return q.show("visit", "Log in", visitData{to})
}

// endVisit ends a login of a browser that came back. One that has not ended there goes on.
func (q *request) endVisit() error {
	var cookie secret.Value
	if c, err := q.http.Cookie(web.SignOnCookieName); err == nil {
		cookie = secret.FromString(c.Value)
	}
	ctx := q.http.Context()
	a, err := q.ui.Providers.FinishVisit(ctx, cookie, q.http.URL.Query())
	if fault.Is(err, fault.Conflict) && a.Visit != "" {
		q.who = authz.Principal{Kind: authz.Anonymous}
		return q.again(err, "visit", "Log in", visitData{a.Visit})
	}
	web.ClearSignOnCookie(q.w)
	if err != nil {
		return q.signOnFailed(err, a.Next)
	}
	session, err := q.ui.Identity.SignOn(ctx, a.ExternalLogin)
	if err != nil {
		return q.signOnFailed(err, a.Next)
	}
	return q.admit(session, local(a.Next))
}
