package ui

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"github.com/metalward/metalward/internal/browsertest"
	"github.com/metalward/metalward/internal/region/web"
)

// code computes a code of an authenticator app apart from the region's own code. Source: RFC 6238.
func code(t *testing.T, page string, ahead time.Duration) string {
	t.Helper()
	found := regexp.MustCompile(`id="totp-key">([A-Z2-7 ]+)<`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("got no key: %s", excerpt(page))
	}
	key, err := base32.StdEncoding.DecodeString(strings.ReplaceAll(found[1], " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	var step [8]byte
	binary.BigEndian.PutUint64(step[:], uint64(time.Now().Add(ahead).Unix()/30))
	m := hmac.New(sha1.New, key)
	m.Write(step[:])
	sum := m.Sum(nil)
	at := sum[19] & 15
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[at:])&0x7fffffff%1000000)
}

func hidden(t *testing.T, page, name string) string {
	t.Helper()
	found := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(page)
	if found == nil {
		t.Fatalf("got no field %s: %s", name, excerpt(page))
	}
	return html.UnescapeString(found[1])
}

// TestSecondFactor walks the pages: set-up with the password, login in two steps, recovery code, reset.
func TestSecondFactor(t *testing.T) {
	e := newEnv(t)
	e.want(e.post("/factors/totp", e.user, "current", "wrong"), 400, "This is not your current password.")
	e.want(e.post("/factors/totp", nil), 303) // nobody: to the login
	w := e.post("/factors/totp", e.user, "current", userPassword)
	e.want(w, 200, "<svg", "<path", "!data:")
	page := w.Body.String()
	e.want(e.post("/factors/totp/confirm", e.user, "step", hidden(t, page, "step"), "code", "000000"), 400, "This code is wrong.", "!<svg")
	w = e.post("/factors/totp/confirm", e.user, "step", hidden(t, page, "step"), "code", code(t, page, 0))
	e.want(w, 200, "Recovery codes")
	codes := regexp.MustCompile(`[a-z2-7]{4}-[a-z2-7]{4}-[a-z2-7]{4}-[a-z2-7]{4}`).FindAllString(w.Body.String(), -1)
	if len(codes) != 10 {
		t.Fatalf("got %d recovery codes", len(codes))
	}
	var fresh *http.Cookie
	for _, c := range w.Result().Cookies() {
		if c.Name == web.CookieName {
			fresh = c
		}
	}
	e.goes(e.get("/account", e.user), "/login?next=%2Faccount") // a new id at step-up
	e.want(e.get("/account", fresh), 200, "10 recovery codes are left", "!"+codes[0])

	login := func(next string) *http.Cookie {
		w := e.post("/login", nil, "username", "alice", "password", userPassword, "next", next)
		e.goes(w, "/login/factor?"+url.Values{"next": {next}}.Encode())
		cookies := w.Result().Cookies()
		if len(cookies) != 1 || cookies[0].Name != web.StepCookieName || !cookies[0].HttpOnly || !cookies[0].Secure || cookies[0].SameSite != http.SameSiteStrictMode {
			t.Fatalf("got cookies %+v, want the step's alone, strict", cookies)
		}
		return cookies[0]
	}
	step := login("/subnets")
	session := *step
	session.Name = web.CookieName
	e.goes(e.get("/machines", &session), "/login?next=%2Fmachines") // the step is no session
	e.want(e.get("/login/factor?next=/subnets", step), 200, `name="code"`, `value="/subnets"`, "!class=\"side\"")
	e.want(e.post("/login/factor", step, "code", "123456", "next", "/subnets"), 401, "This code is wrong or was used already.")
	w = e.post("/login/factor", step, "code", code(t, page, 30*time.Second), "next", "https://evil.example/")
	e.goes(w, "/machines")
	e.goes(e.post("/login/factor", step, "code", codes[0]), "/login?notice=late")

	w = e.post("/login/factor", login("/machines"), "code", codes[0], "next", "/subnets")
	e.goes(w, "/subnets")
	e.goes(e.get("/login/factor", nil), "/login?notice=late")

	e.want(e.get("/users/alice", e.admin), 200, "Authenticator app", "Reset second factors")
	e.want(e.post("/users/alice/factors/reset", e.user), 303)
	e.goes(e.post("/users/alice/factors/reset", e.admin), "/users/alice?notice=saved")
	e.login("alice", userPassword)
	e.want(e.post("/users/root/factors/reset", e.admin), 400)
}

// TestFirstFactorAtLogin sets up what the role demands before there is a session.
func TestFirstFactorAtLogin(t *testing.T) {
	e := newEnv(t)
	fields := []string{}
	for _, name := range regexp.MustCompile(`name="([a-z_]+)"[^>]*value="([^"]*)"`).FindAllStringSubmatch(e.get("/settings", e.admin).Body.String(), -1) {
		value := name[2]
		if name[1] == "mfa_required_roles" {
			value = "User"
		}
		fields = append(fields, name[1], html.UnescapeString(value))
	}
	e.goes(e.post("/settings", e.admin, fields...), "/settings?notice=saved")
	e.goes(e.get("/account", e.user), "/login?next=%2Faccount") // the session by password alone has ended
	w := e.post("/login", nil, "username", "alice", "password", userPassword)
	e.goes(w, "/login/factor?next=%2Fmachines")
	step := w.Result().Cookies()[0]
	e.want(e.get("/login/factor", step), 200, "Your role demands a second factor", "Set up an app")
	w = e.post("/factors/totp", step, "next", "/subnets")
	e.want(w, 200, "<svg")
	page := w.Body.String()
	w = e.post("/factors/totp/confirm", step, "step", hidden(t, page, "step"), "code", code(t, page, 0), "next", "/subnets")
	e.want(w, 200, "Recovery codes", `href="/subnets"`)
	for _, c := range w.Result().Cookies() {
		if c.Name == web.CookieName {
			e.want(e.get("/account", c), 200, "10 recovery codes are left")
			return
		}
	}
	t.Error("got no session")
}

// TestPasskey makes a passkey with a browser's virtual authenticator, and logs in with it.
func TestPasskey(t *testing.T) {
	e := newEnv(t)
	base := e.listen()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	const site = "https://region.example:5443" // passkeys belong to names
	ctx, complaints := browsertest.Start(t, chromedp.Flag("host-resolver-rules", "MAP region.example:5443 "+u.Host))
	fail := func(what string, err error) {
		t.Helper()
		if err != nil {
			where, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.querySelector("main")?.innerText`))
			t.Fatalf("%s: %v; at %s; complaints: %q", what, err, where, complaints())
		}
	}
	off := false
	fail("authenticator", chromedp.Do(ctx, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		if _, err := chromedp.Call(ctx, webauthn.Enable, webauthn.EnableParams{EnableUI: &off}); err != nil {
			return err
		}
		_, err := chromedp.Call(ctx, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
			Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportUsb, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true}})
		return err
	})))
	const account = `form[action="/factors/totp"]`
	fail("set-up", chromedp.Do(ctx, logIn(site, "alice", userPassword), chromedp.Navigate(site+"/account"),
		chromedp.SendKeys(account+` [name="current"]`, userPassword), chromedp.Click(account+` [formaction="/factors/passkey"]`),
		chromedp.WaitVisible(`form[data-passkey="create"]`), chromedp.SendKeys(`#f-name`, "key ring"), chromedp.Click(`form[data-passkey] button.main`),
		chromedp.WaitVisible(`pre[aria-label="Recovery codes"]`)))
	e.want(e.get("/users/alice", e.admin), 200, "key ring")
	fail("login", chromedp.Do(ctx, chromedp.Navigate(site+"/account"), chromedp.Click(`form[action="/logout"] button`), chromedp.WaitVisible("#f-username"),
		chromedp.SendKeys("#f-username", "alice"), chromedp.SendKeys("#f-password", userPassword), chromedp.Click("form button.main"),
		chromedp.WaitVisible(`form[data-passkey="get"]`), chromedp.Click(`form[data-passkey] button.main`), chromedp.WaitVisible("#machine-list")))
	if got := complaints(); len(got) > 0 {
		t.Errorf("got complaints in the browser's console: %s", strings.Join(got, "\n"))
	}
	list, _, err := e.ids.Factors(e.as("alice"))
	if err != nil || len(list) != 1 || !list[0].LastUsed.After(list[0].Created) {
		t.Errorf("got factors %+v, %v; want one that was used", list, err)
	}
}
