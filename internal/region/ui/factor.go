package ui

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"

	"rsc.io/qr"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/web"
	"github.com/metalward/metalward/internal/secret"
)

// step is the secret of a login that waits for its second factor; empty when there is none.
func (q *request) step() secret.Value {
	c, err := q.http.Cookie(web.StepCookieName)
	if err != nil {
		return secret.Value{}
	}
	return secret.FromString(c.Value)
}

// factorData is the page that asks for a second factor, or for setting up the first.
type factorData struct {
	identity.Pending
	Next     string
	Passkeys bool // this site can use them
}

// Question is what the browser asks the passkey.
func (d factorData) Question() string { return string(d.Passkey) }

func (q *request) factorData(next string) (d factorData, err error) {
	d.Next, d.Passkeys = local(next), q.ui.Identity.HasPasskeys()
	d.Pending, err = q.ui.Identity.Pending(q.http.Context(), q.step())
	return d, err
}

// backToLogin answers a login that ended with the login page.
func (q *request) backToLogin(err error) error {
	if !fault.Is(err, fault.Unauthenticated) {
		return err
	}
	web.ClearStepCookie(q.w)
	return q.redirect("/login", "late")
}

func (q *request) factor() error {
	d, err := q.factorData(q.http.URL.Query().Get("next"))
	if err != nil {
		return q.backToLogin(err)
	}
	q.who = authz.Principal{Kind: authz.Anonymous}
	return q.show("factor", "Second factor", d)
}

func (q *request) finishLogin() error {
	d, err := q.factorData(q.form.Get("next"))
	if err != nil {
		return q.backToLogin(err)
	}
	var cookie secret.Value
	if answer := q.form.Get("passkey"); answer != "" {
		cookie, err = q.ui.Identity.FinishPasskey(q.http.Context(), q.step(), []byte(answer))
	} else {
		cookie, err = q.ui.Identity.FinishCode(q.http.Context(), q.step(), q.form.Get("code"))
	}
	if err != nil {
		q.who = authz.Principal{Kind: authz.Anonymous}
		return q.again(err, "factor", "Second factor", d)
	}
	web.ClearStepCookie(q.w)
	return q.admit(cookie, d.Next)
}

// setUpData is the page of a factor being set up.
type setUpData struct {
	identity.SetUp
	Next string
	Name string // of a passkey
}

// Question is what the browser asks the passkey.
func (d setUpData) Question() string { return string(d.Options) }

// Secret names the set-up to the next request.
func (d setUpData) Secret() string { return d.Step.RevealString() }

// Grouped is the key to be typed, in groups of four.
func (d setUpData) Grouped() string {
	var b strings.Builder
	for i, c := range d.Key {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// QR draws the code that apps scan, as an element of the page: the policy admits no image that is made on the fly.
func (d setUpData) QR() (template.HTML, error) {
	code, err := qr.Encode(d.URI, qr.M)
	if err != nil {
		return "", fmt.Errorf("cannot draw the code: %w", err)
	}
	const border = 4 // Source: ISO 18004, quiet zone
	var path strings.Builder
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x+border, y+border)
			}
		}
	}
	side := code.Size + 2*border
	return template.HTML(fmt.Sprintf(`<svg class="qr" viewBox="0 0 %d %d" width="240" height="240" role="img" aria-label="QR code" shape-rendering="crispEdges"><rect width="%d" height="%d" fill="#fff"/><path fill="#000" d="%s"/></svg>`,
		side, side, side, side, path.String())), nil // #nosec G203 -- numbers only
}

// mayFactor checks who sets up a factor: somebody who is logged in and says the password again, or somebody in the
// middle of a login that demands a first factor, who has just said it.
func (q *request) mayFactor() error {
	if q.who.Kind == authz.User {
		return q.ui.Identity.Confirm(q.http.Context(), secret.FromString(q.form.Get("current")))
	}
	return q.actOnLogin()
}

// actOnLogin acts as the user of the login under way; a session is left alone.
func (q *request) actOnLogin() error {
	ctx, err := q.ui.Identity.SettingUp(q.http.Context(), q.step())
	q.http = q.http.WithContext(ctx)
	return err
}

// factorAgain shows the page that the set-up began on.
func (q *request) factorAgain(err error) error {
	if q.who.Kind == authz.User {
		return q.accountDone(err, "")
	}
	d, missing := q.factorData(q.form.Get("next"))
	if missing != nil {
		return q.backToLogin(missing)
	}
	return q.again(err, "factor", "Second factor", d)
}

func (q *request) beginTOTP() error {
	if err := q.mayFactor(); err != nil {
		return q.factorAgain(err)
	}
	x, err := q.ui.Identity.BeginTOTP(q.http.Context())
	if err != nil {
		return q.factorAgain(err)
	}
	return q.show("factor_totp", "Authenticator app", setUpData{SetUp: x, Next: local(q.form.Get("next"))})
}

func (q *request) beginPasskey() error {
	if err := q.mayFactor(); err != nil {
		return q.factorAgain(err)
	}
	x, err := q.ui.Identity.BeginPasskey(q.http.Context())
	if err != nil {
		return q.factorAgain(err)
	}
	return q.show("factor_passkey", "Passkey", setUpData{SetUp: x, Next: local(q.form.Get("next")), Name: q.get("name")})
}

// codesData is the page of recovery codes, the only time that they are shown.
type codesData struct {
	Codes []string
	Next  string
}

func (q *request) confirmTOTP() error {
	if err := q.actOnLogin(); err != nil {
		return q.backToLogin(err)
	}
	step := secret.FromString(q.form.Get("step"))
	d, err := q.ui.Identity.FinishTOTP(q.http.Context(), step, q.form.Get("code"), identity.Via{Cookie: q.cookie(), Login: q.step()})
	if f, ok := fault.As(err); ok && (f.Kind == fault.Invalid || f.Kind == fault.Exhausted) {
		// The QR code is not shown again: it is in the app already, and the secret leaves this region once.
		return q.again(err, "factor_totp", "Authenticator app", setUpData{SetUp: identity.SetUp{Step: step}, Next: local(q.form.Get("next"))})
	}
	return q.factorDone(d, err)
}

func (q *request) confirmPasskey() error {
	if err := q.actOnLogin(); err != nil {
		return q.backToLogin(err)
	}
	d, err := q.ui.Identity.AddPasskey(q.http.Context(), secret.FromString(q.form.Get("step")), q.get("name"), []byte(q.form.Get("passkey")),
		identity.Via{Cookie: q.cookie(), Login: q.step()})
	if f, ok := fault.As(err); ok && f.Kind == fault.Invalid {
		return q.factorAgain(err)
	}
	return q.factorDone(d, err)
}

// factorDone gives the browser the session that has shown the factor.
func (q *request) factorDone(d identity.Done, err error) error {
	if err != nil {
		return q.backToLogin(err)
	}
	web.ClearStepCookie(q.w)
	web.SetCookie(q.w, d.Cookie)
	next := "/account"
	if q.who.Kind != authz.User {
		next = local(q.form.Get("next"))
	}
	if len(d.Codes) == 0 {
		return q.redirect(next, "factor")
	}
	return q.show("factor_codes", "Recovery codes", codesData{d.Codes, next})
}

func (q *request) newCodes() error {
	if err := q.mayFactor(); err != nil {
		return q.accountDone(err, "")
	}
	codes, err := q.ui.Identity.NewRecoveryCodes(q.http.Context())
	if err != nil {
		return q.accountDone(err, "")
	}
	return q.show("factor_codes", "Recovery codes", codesData{codes, "/account"})
}

func (q *request) removeFactor() error {
	if err := q.mayFactor(); err != nil {
		return q.accountDone(err, "")
	}
	id, _ := strconv.ParseInt(q.http.PathValue("id"), 10, 64)
	return q.accountDone(q.ui.Identity.RemoveFactor(q.http.Context(), id), "removedfactor")
}

func (q *request) resetFactors() error {
	if q.http.PathValue("name") == q.who.Name {
		return q.userDone(fault.New(fault.Invalid, "Change your own second factors under Account."), "")
	}
	return q.userDone(q.ui.Identity.ResetFactors(q.http.Context(), q.http.PathValue("name")), "saved")
}
