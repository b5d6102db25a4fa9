package ui

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/web"
	"github.com/metalward/metalward/internal/secret"
)

func (q *request) home() error {
	if q.who.Kind == authz.User {
		return q.redirect("/machines", "")
	}
	return q.redirect("/login", "")
}

// firstData is the page of the link that creates the first administrator.
type firstData struct {
	Token  string
	Needed bool
}

func (q *request) firstData() (d firstData, err error) {
	d.Token = q.http.PathValue("token")
	d.Needed, err = q.ui.Identity.NeedsFirstAdmin(q.http.Context())
	return d, err
}

func (q *request) first() error {
	d, err := q.firstData()
	if err != nil {
		return err
	}
	return q.show("first", "Create the first administrator", d)
}

func (q *request) createFirst() error {
	d, err := q.firstData()
	if err != nil {
		return err
	}
	const title = "Create the first administrator"
	password := secret.FromString(q.form.Get("password"))
	if q.form.Get("password") != q.form.Get("again") {
		return q.again(fault.Field("again", "The two passwords differ."), "first", title, d)
	}
	n := identity.NewUser{Name: q.get("username"), Email: q.get("email"), Password: password}
	if _, err := q.ui.Identity.CreateFirstAdmin(q.http.Context(), secret.FromString(d.Token), n); err != nil {
		return q.again(err, "first", title, d)
	}
	return q.enter(n.Name, password, "/machines")
}

// enter starts a session and goes on to a page.
func (q *request) enter(name string, password secret.Value, next string) error {
	in, err := q.ui.Identity.Login(q.http.Context(), name, password)
	if err != nil {
		return err
	}
	if !in.Step.Empty() {
		web.SetStepCookie(q.w, in.Step)
		return q.redirect("/login/factor?"+url.Values{"next": {next}}.Encode(), "")
	}
	return q.admit(in.Cookie, next)
}

// admit gives the browser a new session and goes on to a page. The session that it had ends.
func (q *request) admit(cookie secret.Value, next string) error {
	if q.who.Kind == authz.User && !q.cookie().Empty() {
		if err := q.ui.Identity.Logout(q.http.Context(), q.cookie()); err != nil {
			return err
		}
	}
	web.SetCookie(q.w, cookie)
	http.Redirect(q.w, q.http, next, http.StatusSeeOther)
	return nil
}

type loginData struct {
	Next        string
	Needed      bool
	Fingerprint string
	Providers   []metal.Provider
}

func (q *request) loginData(next string) (d loginData, err error) {
	d.Next, d.Fingerprint = local(next), q.ui.CAFingerprint
	if d.Needed, err = q.ui.Identity.NeedsFirstAdmin(q.http.Context()); err != nil {
		return d, err
	}
	d.Providers, err = q.ui.Providers.Buttons(q.http.Context())
	return d, err
}

// local returns an address of this site to go to after login; anything else becomes the start page.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Host != "" || u.Scheme != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/machines"
	}
	return next
}

func (q *request) login() error {
	d, err := q.loginData(q.http.URL.Query().Get("next"))
	if err != nil {
		return err
	}
	if q.who.Kind == authz.User {
		return q.redirect("/machines", "")
	}
	return q.show("login", "Log in", d)
}

func (q *request) doLogin() error {
	d, err := q.loginData(q.form.Get("next"))
	if err != nil {
		return err
	}
	if err := q.enter(q.get("username"), secret.FromString(q.form.Get("password")), d.Next); err != nil {
		q.who = authz.Principal{Kind: authz.Anonymous} // a failed login shows the login page, whoever was logged in
		return q.again(err, "login", "Log in", d)
	}
	return nil
}

func (q *request) logout() error {
	var provider int64
	if c, err := q.http.Cookie(web.CookieName); err == nil {
		provider = q.ui.Identity.SessionProvider(q.http.Context(), secret.FromString(c.Value))
		if err := q.ui.Identity.Logout(q.http.Context(), secret.FromString(c.Value)); err != nil {
			return err
		}
	}
	web.ClearCookie(q.w)
	if provider != 0 {
		return q.leave(provider)
	}
	return q.redirect("/login", "")
}
