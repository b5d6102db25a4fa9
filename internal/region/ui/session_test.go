package ui

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/web"
)

func TestFirstAdministrator(t *testing.T) {
	e := newEmptyEnv(t)
	e.want(e.get("/login", nil), http.StatusOK, "No administrator exists yet")
	token, needed, err := e.ids.FirstLink(t.Context())
	if err != nil || !needed {
		t.Fatalf("got needed %v, error %v", needed, err)
	}
	path := "/first/" + token.RevealString()
	e.want(e.get(path, nil), http.StatusOK, "Create the first administrator", `name="username"`)
	fields := []string{"username", "root", "password", adminPassword, "again", adminPassword}

	e.want(e.post(path, nil, "username", "root", "password", adminPassword, "again", "different one"), http.StatusBadRequest, "The two passwords differ.")
	e.want(e.post(path, nil, "username", "root", "password", "short", "again", "short"), http.StatusBadRequest, "Use at least 12 characters.", `value="root"`)
	e.want(e.post("/first/wrong", nil, fields...), http.StatusForbidden, "This link was used already or has expired.")

	cross := e.form(path, nil, fields...)
	cross.Header.Set("Sec-Fetch-Site", "cross-site")
	e.want(e.serve(cross), http.StatusForbidden, "This request comes from another site.")

	w := e.post(path, nil, fields...)
	e.goes(w, "/machines")
	cookie := w.Result().Cookies()[0]
	if cookie.Name != web.CookieName || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode {
		t.Errorf("got cookie %+v, want Secure, HttpOnly and SameSite=Lax", cookie)
	}
	e.want(e.get("/machines", cookie), http.StatusOK, "There are no machines yet.", "Add machine")

	e.want(e.get(path, nil), http.StatusOK, "The link worked once.", "!name=\"username\"")
	e.want(e.post(path, nil, "username", "evil", "password", adminPassword, "again", adminPassword), http.StatusForbidden, "used already")
}

func TestLogin(t *testing.T) {
	e := newEnv(t)
	e.goes(e.get("/", nil), "/login")
	e.goes(e.get("/", e.admin), "/machines")
	e.goes(e.get("/machines?q=web", nil), "/login?next=%2Fmachines%3Fq%3Dweb")
	e.goes(e.get("/login", e.admin), "/machines")
	e.want(e.get("/login?next=/subnets", nil), http.StatusOK, `name="next" value="/subnets"`, e.site.Web.Fingerprint(), "!class=\"side\"")

	e.want(e.post("/login", nil, "username", "root", "password", "wrong"), http.StatusUnauthorized, "Please enter a correct username and password.", `value="root"`, "!value=\"wrong\"")
	e.goes(e.post("/login", nil, "username", "root", "password", adminPassword, "next", "/subnets"), "/subnets")
	for _, evil := range []string{"https://evil.example/", "//evil.example/", `/\evil.example`, "javascript:alert(1)", "/\t/evil.example"} {
		e.goes(e.post("/login", nil, "username", "root", "password", adminPassword, "next", evil), "/machines")
	}

	cross := e.form("/login", nil, "username", "root", "password", adminPassword)
	cross.Header.Set("Sec-Fetch-Site", "cross-site")
	e.want(e.serve(cross), http.StatusForbidden, "This request comes from another site.")

	var w *httptest.ResponseRecorder
	for range 20 {
		if w = e.post("/login", nil, "username", "root", "password", "wrong"); w.Code == http.StatusTooManyRequests {
			break
		}
	}
	e.want(w, http.StatusTooManyRequests, "Too many failed logins", "Wait ")
	if w.Header().Get("Retry-After") == "" {
		t.Error("got no Retry-After")
	}
}

func TestLogout(t *testing.T) {
	e := newEnv(t)
	w := e.post("/logout", e.user)
	e.goes(w, "/login")
	if c := w.Result().Cookies()[0]; c.MaxAge >= 0 || c.Value != "" {
		t.Errorf("got cookie %+v, want it cleared", c)
	}
	w = e.get("/machines", e.user)
	e.goes(w, "/login?next=%2Fmachines")
	e.want(e.get("/login", e.user), http.StatusOK, "Log in") // a dead cookie does not keep the login page away
}

// TestEveryRow walks the table: nobody gets in without a login, users do not get where administrators do, and
// no row changes anything for another site's page.
func TestEveryRow(t *testing.T) {
	e := newEnv(t)
	fill := strings.NewReplacer("{id}", "abcdefghijkmnpqr", "{token}", "abc", "{result}", "1", "{range}", "1", "{what}", "on", "{name}", "root", "{$}", "")
	nobody, alice := authz.Principal{Kind: authz.Anonymous}, authz.Principal{Kind: authz.User, Name: "alice", Rights: userRights()}
	for _, row := range routes {
		t.Run(row.Method+" "+row.Pattern, func(t *testing.T) {
			path := "https://region.example:5443" + fill.Replace(row.Pattern)
			ask := func(c *http.Cookie, site string) *httptest.ResponseRecorder {
				r := httptest.NewRequestWithContext(t.Context(), row.Method, path, nil)
				if row.Method != http.MethodGet {
					r.Header.Set("Sec-Fetch-Site", site)
				}
				if c != nil {
					r.AddCookie(c)
				}
				return e.serve(r)
			}
			if !authz.May(nobody, row.Action) {
				w := ask(nil, "same-origin")
				to := w.Header().Get("Location")
				if row.fragment && w.Code != http.StatusUnauthorized || !row.fragment && !strings.HasPrefix(to, "/login") {
					t.Errorf("got %d to %q without a login", w.Code, to)
				}
			}
			if !authz.May(alice, row.Action) {
				if w := ask(e.user, "same-origin"); w.Code != http.StatusForbidden {
					t.Errorf("got %d for a user, want 403", w.Code)
				}
			}
			if row.Method != http.MethodGet {
				for _, c := range []*http.Cookie{e.admin, nil} {
					if w := ask(c, "cross-site"); w.Code != http.StatusForbidden {
						t.Errorf("got %d for a cross-site request, want 403", w.Code)
					}
				}
			}
		})
	}
}

func TestTableIsChecked(t *testing.T) {
	handle := func(*request) error { return nil }
	for name, r := range map[string]row{
		"unknown action":  {Method: "GET", Pattern: "/x", Action: "machine.fly", handle: handle},
		"no action":       {Method: "GET", Pattern: "/x", handle: handle},
		"reading changes": {Method: "POST", Pattern: "/x", Action: authz.MachineView, handle: handle},
		"no handler":      {Method: "GET", Pattern: "/x", Action: authz.MachineView},
	} {
		t.Run(name, func(t *testing.T) {
			u := &UI{mux: http.NewServeMux()}
			if err := u.bind([]row{r}); err == nil {
				t.Error("got no error")
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	e := newEnv(t)
	want := http.Header{
		"Content-Security-Policy": {"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"},
		"X-Content-Type-Options":       {"nosniff"},
		"X-Frame-Options":              {"DENY"},
		"Referrer-Policy":              {"no-referrer"},
		"Cross-Origin-Opener-Policy":   {"same-origin"},
		"Cross-Origin-Resource-Policy": {"same-origin"},
		"Cache-Control":                {"no-store"},
		"Content-Type":                 {"text/html; charset=utf-8"},
	}
	for _, path := range []string{"/login", "/machines", "/nothing/here", "/settings"} {
		w := e.get(path, e.admin)
		if path == "/login" {
			w = e.get(path, nil)
		}
		if diff := cmp.Diff(want, w.Header()); diff != "" {
			t.Errorf("%s: headers differ (-want +got):\n%s", path, diff)
		}
		for _, inline := range []string{"<style", " style=", " onclick", " onsubmit", "javascript:", "http://", "https://"} {
			if strings.Contains(w.Body.String(), inline) {
				t.Errorf("%s: got a page with %q, which the policy blocks", path, inline)
			}
		}
	}
}

func TestAssets(t *testing.T) {
	e := newEnv(t)
	for name, kind := range map[string]string{"app.css": "text/css; charset=utf-8", "app.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"} {
		w := e.get("/assets/"+name, nil)
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != kind {
			t.Errorf("%s: got %d, %q, want 200, %q", name, w.Code, got, kind)
		}
		if got := w.Header().Get("Cache-Control"); got != "no-cache" {
			t.Errorf("%s: got Cache-Control %q without its digest", name, got)
		}
	}
	page := e.get("/login", nil).Body.String()
	_, rest, _ := strings.Cut(page, `href="/assets/app.css`)
	query, _, _ := strings.Cut(rest, `"`)
	w := e.get("/assets/app.css"+query, nil)
	if got := w.Header().Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("got Cache-Control %q under the address that pages use", got)
	}
	e.want(e.get("/assets/../ui.go", nil), http.StatusTemporaryRedirect)
	e.want(e.get("/assets/nothing.css", nil), http.StatusNotFound)
}

func TestErrorPages(t *testing.T) {
	e := newEnv(t)
	e.want(e.get("/nothing/here", e.admin), http.StatusNotFound, "There is no such page.", "Go to the machines")
	e.want(e.get("/nothing/here", nil), http.StatusNotFound, "Go to the login page")
	e.want(e.get("/machines/abcdefghijkmnpqr", e.admin), http.StatusNotFound, "No Machine matches the given query.")
	e.want(e.get("/audit", e.user), http.StatusForbidden, "You are not allowed to do this.")

	// A defect shows its request id and nothing of itself.
	u := e.ui.(*UI)
	u.mux.HandleFunc("GET /broken", func(w http.ResponseWriter, r *http.Request) {
		u.serve(w, r, row{Action: authz.PublicView, handle: func(*request) error { return http.ErrAbortHandler }})
	})
	e.want(e.get("/broken", e.admin), http.StatusInternalServerError, "req-42", "!abort")
}

// userRights are those of a user whom nobody granted anything: the role User on the default pool.
func userRights() *authz.Rights {
	role, _ := authz.FindRole(authz.RoleUser)
	return authz.NewRights(authz.Grant{Permissions: role.Permissions, Pool: metal.DefaultPoolID})
}
