package region

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/browsertest"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/web"
)

// The sites of these tests: ours, a stranger's, and a stranger's whom the browser takes for the same site as ours, which
// SameSite cookies do not keep out.
const (
	ours    = "https://metal.example"
	theirs  = "https://evil.test"
	sibling = "https://evil.metal.example"
)

// hostileWeb is a browser with those sites on its network.
type hostileWeb struct {
	*surface
	ctx        context.Context
	complaints func() []string

	mu    sync.Mutex
	pages map[string]string // of the strangers, by path; guarded by mu
}

func newHostileWeb(t *testing.T) *hostileWeb {
	s := newSurfaceWith(t, func(o *Options) { o.Config.PublicHost = "metal.example" })
	h := &hostileWeb{surface: s, pages: map[string]string{}}
	listen := func(fn http.HandlerFunc) string {
		srv := httptest.NewTLSServer(fn)
		t.Cleanup(srv.Close)
		t.Cleanup(srv.CloseClientConnections) // live pages keep streams open
		return strings.TrimPrefix(srv.URL, "https://")
	}
	mine := listen(s.handler.ServeHTTP)
	evil := listen(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		page, ok := h.pages[r.URL.Path]
		h.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.URL.Path == "/cookies" {
			for _, name := range []string{web.CookieName, web.StepCookieName, "metalward"} {
				w.Header().Add("Set-Cookie", name+"=chosen; Domain=metal.example; Path=/; Secure")
			}
		}
		_, _ = w.Write([]byte("<!doctype html><title>x</title><body>" + page))
	})
	rules := "MAP metal.example:443 " + mine
	for _, u := range []string{theirs, sibling} {
		rules += ",MAP " + strings.TrimPrefix(u, "https://") + ":443 " + evil
	}
	h.ctx, h.complaints = browsertest.Start(t, chromedp.Flag("host-resolver-rules", rules))
	return h
}

// visit opens a stranger's page, and waits until its script says that it has done what it came for.
func (h *hostileWeb) visit(site, path, page string) string {
	h.t.Helper()
	h.mu.Lock()
	h.pages[path] = page
	h.mu.Unlock()
	h.do("visit "+site+path, chromedp.Navigate(site+path), chromedp.WaitReady("body"))
	return h.eval(`new Promise(done => { const look = () => window.result !== undefined ? done(String(window.result)) : setTimeout(look, 20); setTimeout(() => done("no result"), 5000); look() })`)
}

func (h *hostileWeb) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	h.t.Helper()
	if err := chromedp.Do(h.ctx, actions...); err != nil {
		where, _ := chromedp.Run(h.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body?.innerText`))
		h.t.Fatalf("%s: %v; at %s; complaints: %q", what, err, where, h.complaints())
	}
}

func (h *hostileWeb) eval(script string) string {
	h.t.Helper()
	got, err := chromedp.Run(h.ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		h.t.Fatalf("%s: %v", script, err)
	}
	return got
}

// cookie is one that the browser would send us, with what it says of itself.
func (h *hostileWeb) cookie(name string) (found *network.Cookie) {
	h.t.Helper()
	err := chromedp.Do(h.ctx, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		got, err := chromedp.Call(ctx, network.GetCookies, network.GetCookiesParams{URLs: []string{ours + "/"}})
		for _, c := range got.Cookies {
			if c.Name == name {
				found = c
			}
		}
		return err
	}))
	if err != nil {
		h.t.Fatal(err)
	}
	return found
}

func (h *hostileWeb) logIn(path string) {
	h.t.Helper()
	h.do("login", chromedp.Navigate(ours+path), chromedp.SendKeys("#f-username", "admin"), chromedp.SendKeys("#f-password", "a long enough password"),
		chromedp.Click("form button.main"), chromedp.WaitVisible("#machine-list"))
}

// TestHostileSites lets a person who is logged in visit strangers' pages that do what such pages do.
func TestHostileSites(t *testing.T) {
	regiontest.Slow(t)
	h := newHostileWeb(t)
	h.logIn("/login")
	if c := h.cookie(web.CookieName); c == nil || !c.HTTPOnly || !c.Secure || c.SameSite != network.CookieSameSiteLax || c.Path != "/" || c.Domain != "metal.example" || !c.Session {
		t.Fatalf("got cookie %+v; want one of this host alone, Secure, HttpOnly, SameSite=Lax, and gone with the browser", c)
	}
	if got := h.eval(`document.cookie`); got != "" {
		t.Errorf("scripts read the cookies %q", got)
	}
	successes := func() (n int) {
		err := h.r.reader.View(t.Context(), func(v *store.View) error {
			rows, err := v.AuditEvents(store.AuditQuery{Limit: 100000})
			for _, r := range rows {
				if r.Outcome == metal.OutcomeSuccess {
					n++
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := successes()
	const send = `<form method="post" target="f" action="%s%s" enctype="%s"><input name="name" value="forged"><input name="confirm" value="on"></form><iframe name="f"></iframe>
		<script>const f = document.querySelector("iframe"), form = document.querySelector("form"); f.onload = () => { if (form.sent) window.result = "sent" }; form.sent = true; form.submit()</script>`
	const fetched = `<script>fetch("%s%s", {method: "%s", mode: "%s", credentials: "include", headers: {"Content-Type": "%s"}, body: %s})
		.then(r => r.text()).then(text => window.result = "read " + text.length).catch(() => window.result = "blocked")</script>`
	forged := `"name=forged&description="`
	for _, site := range []string{theirs, sibling} {
		for _, path := range []string{"/pools", "/logout", "/users", "/MAAS/api/2.0/resourcepools/", "/MAAS/accounts/logout/"} {
			for _, enc := range []string{"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"} {
				h.visit(site, "/form", fmt.Sprintf(send, ours, path, enc))
			}
			if got := h.visit(site, "/fetch", fmt.Sprintf(fetched, ours, path, "POST", "no-cors", "application/x-www-form-urlencoded", forged)); got != "read 0" && got != "blocked" {
				t.Errorf("%s: posting to %s: %s", site, path, got)
			}
			if got := h.visit(site, "/cors", fmt.Sprintf(fetched, ours, path, "POST", "cors", "application/json", `"{}"`)); got != "blocked" {
				t.Errorf("%s: asking whether it may post to %s: %s", site, path, got)
			}
		}
		for _, path := range []string{"/machines", "/users", "/audit", "/MAAS/api/2.0/users/", "/MAAS/api/2.0/machines/", "/MAAS/api/2.0/account/?op=list_authorisation_tokens", "/assets/app.js", "/icon.svg"} {
			if got := h.visit(site, "/read", fmt.Sprintf(fetched, ours, path, "GET", "cors", "text/plain", "undefined")); got != "blocked" {
				t.Errorf("%s reads %s: %s", site, path, got)
			}
			if got := h.visit(site, "/include", fmt.Sprintf(`<script src="%s%s" onload="window.result = 'loaded'" onerror="window.result = 'blocked'"></script>`, ours, path)); got != "blocked" {
				t.Errorf("%s includes %s: %s", site, path, got)
			}
		}
		for _, path := range []string{"/logout", "/pools?name=forged"} { // a GET changes nothing
			h.visit(site, "/image", fmt.Sprintf(`<img src="%s%s" onerror="window.result = 'no image'">`, ours, path))
		}
		if got := h.visit(site, "/stream", fmt.Sprintf(`<script>const s = new EventSource("%s/events?view=machines", {withCredentials: true}); s.onmessage = s.onopen = () => window.result = "open"; s.onerror = () => window.result = "blocked"</script>`, ours)); got != "blocked" {
			t.Errorf("%s listens to live pages: %s", site, got)
		}
		seen := len(h.complaints())
		h.visit(site, "/frame", fmt.Sprintf(`<iframe src="%s/machines" onload="window.result = 'done'"></iframe>`, ours))
		if got := strings.Join(h.complaints()[seen:], "\n"); !strings.Contains(got, "frame-ancestors") && !strings.Contains(got, "X-Frame-Options") {
			t.Errorf("%s frames a page, and the browser has nothing against it: %q", site, got)
		}
	}
	if got := successes(); got != before {
		t.Errorf("got %d events of what strangers did, beside %d of before", got, before)
	}
	if rec := h.call("admin", "GET", "/resourcepools/"); strings.Contains(rec.Body.String(), "forged") {
		t.Error("a stranger's page added a pool")
	}
	h.do("still logged in", chromedp.Navigate(ours+"/machines"), chromedp.WaitVisible("#machine-list"))
}

// TestForcedLogin proves that a stranger's page cannot log its visitor in as somebody whom the stranger knows, and that a
// session whose cookie he chose is none.
func TestForcedLogin(t *testing.T) {
	h := newHostileWeb(t)
	const form = `<form method="post" target="f" action="%s%s"><input name="username" value="alice"><input name="password" value="a long enough password"></form><iframe name="f"></iframe>
		<script>const f = document.querySelector("iframe"), form = document.querySelector("form"); f.onload = () => { if (form.sent) window.result = "sent" }; form.sent = true; form.submit()</script>`
	for _, site := range []string{theirs, sibling} {
		for _, path := range []string{"/login", "/MAAS/accounts/login/", "/MAAS/accounts/authenticate/"} {
			h.visit(site, "/login", fmt.Sprintf(form, ours, path))
			if c := h.cookie(web.CookieName); c != nil {
				t.Fatalf("%s logged its visitor in at %s: %+v", site, path, c)
			}
		}
	}
	h.visit(sibling, "/cookies", `<script>window.result = ""</script>`)
	if c := h.cookie(web.CookieName); c != nil {
		t.Fatalf("the browser took a cookie of ours from another host: %+v", c)
	}
	h.do("a cookie that somebody chose", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, network.SetCookie, network.SetCookieParams{Name: web.CookieName, Value: "chosen", URL: ours + "/", Secure: new(true), HTTPOnly: new(true), Path: "/"})
		return err
	}))
	h.logIn("/login")
	if c := h.cookie(web.CookieName); c == nil || c.Value == "chosen" || len(c.Value) < 40 {
		t.Fatalf("got cookie %+v after the login, want a new one", c)
	}
	req := httptest.NewRequest("GET", ours+"/machines", nil)
	req.AddCookie(&http.Cookie{Name: web.CookieName, Value: "chosen"})
	rec := httptest.NewRecorder()
	h.handler.ServeHTTP(rec, req)
	if rec.Code != http.StatusSeeOther {
		t.Errorf("the chosen cookie got %d, want to be sent to the login", rec.Code)
	}
}

// TestNoOpenRedirect has the browser, which reads addresses as it likes, say where each way on from a login leads.
func TestNoOpenRedirect(t *testing.T) {
	h := newHostileWeb(t)
	h.do("a page of ours", chromedp.Navigate(ours+"/login"), chromedp.WaitVisible("#f-username"))
	for _, next := range []string{theirs, "//evil.test/", `/\evil.test/`, `\\evil.test`, "/\t/evil.test", "https:evil.test", "/%09/evil.test", "javascript:alert(1)", "data:text/html,x",
		"/\n/evil.test", "http:/\\evil.test", "/login/../\\/evil.test", "%2f%2fevil.test", "/@evil.test", ".evil.test"} {
		form := url.Values{"username": {"admin"}, "password": {"a long enough password"}, "next": {next}}
		req := httptest.NewRequest("POST", ours+"/login", strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		h.handler.ServeHTTP(rec, req)
		to := rec.Header().Get("Location")
		if rec.Code != http.StatusSeeOther || to == "" {
			t.Fatalf("%q: got %d %.200s", next, rec.Code, rec.Body)
		}
		if got := h.eval(fmt.Sprintf(`new URL(%q, location.href).origin`, to)); got != ours {
			t.Errorf("%q leads to %s", next, got)
		}
	}
}

// TestStoredMarkup shows markup that a machine or a user brought in, in the browser.
func TestStoredMarkup(t *testing.T) {
	h := newHostileWeb(t)
	const evil = `"><img src=x onerror="window.pwned=1"><script>window.pwned=1</script>'-window.pwned=1-'{{7*7}}`
	var id string
	err := h.r.writer.Do(t.Context(), func(tx *store.Tx) error {
		m := metal.Machine{SystemID: metal.NewSystemID(), Hostname: "node", Description: evil, Owner: evil, ErrorText: evil, OSystem: evil, DistroSeries: evil, AgentName: evil, PowerError: evil, HardwareUUID: evil,
			Tags: []string{evil}, Status: metal.Deployed, PoolID: metal.DefaultPoolID, ZoneID: metal.DefaultZoneID, Architecture: "amd64/generic", Created: time.Now(), Updated: time.Now()}
		id = m.SystemID
		return tx.AddMachine(&m)
	}, func(*store.Tx) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	admin := authz.With(t.Context(), authz.Principal{Kind: authz.User, Name: "admin", Rights: authz.Everything()})
	if _, err := h.r.Machines.CreatePool(admin, "pool", evil); err != nil {
		t.Fatal(err)
	}
	h.logIn("/login")
	for _, path := range []string{"/machines", "/machines/" + id, "/machines/" + id + "/edit", "/machines/" + id + "/release", "/machines/" + id + "/delete", "/machines?q=" + url.QueryEscape(evil), "/pools", "/audit?object=" + url.QueryEscape(evil),
		"/nowhere/" + url.PathEscape(evil)} {
		h.do(path, chromedp.Navigate(ours+path), chromedp.WaitReady("body"))
		if got := h.eval(`String(window.pwned)`); got != "undefined" {
			t.Errorf("%s runs what is stored", path)
		}
	}
	if got := strings.Join(h.complaints(), "\n"); strings.Contains(got, "Content Security Policy") {
		t.Errorf("only the policy stopped it: %s", got)
	}
}
