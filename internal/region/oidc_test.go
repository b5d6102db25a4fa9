package region

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/web"
	"github.com/metalward/metalward/internal/secret"
)

// signOn is a region with an identity provider.
type signOn struct {
	*surface
	op    *op
	id    string // of the provider here
	group string // id of "Lab operators", who operate the pool lab
	lab   int64
	ahead atomic.Int64 // how far the clock is ahead
	count int          // of browsers
}

func newSignOn(t *testing.T) *signOn {
	t.Helper()
	s := &signOn{op: newOP(t)}
	clock := func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
	s.op.clock = clock
	s.surface = newSurfaceWith(t, func(o *Options) {
		o.Now = clock
		o.Config.EgressAllow, o.Config.EgressCA = []string{"127.0.0.0/8"}, s.op.ca
	})
	s.now = clock
	s.op.redirect = s.r.BaseURL + "/login/oidc/callback"
	s.lab = int64(s.must("admin", "POST", "/resourcepools/", "name", "lab")["id"].(float64))
	s.group = fmt.Sprint(s.must("admin", "POST", "/groups/", "name", "Lab operators")["id"])
	s.must("admin", "POST", "/grants/", "group", "Lab operators", "role", authz.Operator, "pool", "lab")
	p := s.must("admin", "POST", "/oidc-providers/", "name", "Example", "issuer_url", s.op.srv.URL, "client_id", s.op.id, "client_secret", s.op.key,
		"enabled", "true", "create_users", "true", "vendor", "keycloak", "token_type", "JWT", "redirect_uri", s.op.redirect, "scopes", "openid profile email groups",
		"group_claim", "groups", "groups", "lab-ops = Lab operators")
	s.id = fmt.Sprint(p["id"])
	return s
}

// browser keeps cookies, as browsers do.
type browser struct {
	s       *signOn
	address string
	cookies map[string]*http.Cookie
}

// browser is somebody's at an address of his own: strangers' noise is bounded by address, and so are wrong answers.
func (s *signOn) browser() *browser {
	s.count++
	return &browser{s, fmt.Sprintf("10.0.%d.7:1024", s.count), map[string]*http.Cookie{}}
}

func (b *browser) send(method, path string, fields ...string) *httptest.ResponseRecorder {
	b.s.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	req := httptest.NewRequest(method, "https://localhost"+path, strings.NewReader(form.Encode()))
	if method == "POST" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.RemoteAddr = b.address
	for _, c := range b.cookies {
		req.AddCookie(c)
	}
	rec := httptest.NewRecorder()
	b.s.handler.ServeHTTP(rec, req)
	for _, c := range rec.Result().Cookies() {
		if b.cookies[c.Name] = c; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return rec
}

// visit goes to the provider, and returns the address that it sends the browser back to, below this site's.
func (b *browser) visit(to string) string {
	b.s.t.Helper()
	client := b.s.op.srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Get(to)
	if err != nil {
		b.s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	back, ok := strings.CutPrefix(resp.Header.Get("Location"), b.s.r.BaseURL)
	if !ok || resp.StatusCode != http.StatusFound {
		b.s.t.Fatalf("the provider answered %d %q", resp.StatusCode, resp.Header.Get("Location"))
	}
	return back
}

// begin starts a login, and returns the address that the provider sends the browser back to.
func (b *browser) begin() string {
	b.s.t.Helper()
	rec := b.send("GET", "/login/oidc/"+b.s.id+"?next=/pools")
	if rec.Code != http.StatusSeeOther {
		b.s.t.Fatalf("begin: got %d %s", rec.Code, rec.Body)
	}
	return b.visit(rec.Header().Get("Location"))
}

// login goes the whole way.
func (b *browser) login() *httptest.ResponseRecorder {
	b.s.t.Helper()
	return b.send("GET", b.begin())
}

// principal is who the browser's session is; false when it has none.
func (b *browser) principal() (authz.Principal, bool) {
	c := b.cookies[web.CookieName]
	if c == nil {
		return authz.Principal{}, false
	}
	p, err := b.s.r.Identity.Session(b.s.t.Context(), secret.FromString(c.Value))
	return p, err == nil
}

// isIn demands a session of a user.
func (b *browser) isIn(name string) authz.Principal {
	b.s.t.Helper()
	p, ok := b.principal()
	if !ok || p.Name != name {
		b.s.t.Fatalf("got session of %q (%v), want %q", p.Name, ok, name)
	}
	return p
}

// refused demands a page with a text, and no session.
func (b *browser) refused(rec *httptest.ResponseRecorder, code int, text string) {
	b.s.t.Helper()
	if rec.Code != code || !strings.Contains(rec.Body.String(), text) {
		b.s.t.Errorf("got %d, want %d and %q in %s", rec.Code, code, text, rec.Body)
	}
	if p, ok := b.principal(); ok {
		b.s.t.Errorf("got a session of %s", p.Name)
	}
}

// last is the newest event of an action.
func (s *signOn) last(action string) map[string]any {
	s.t.Helper()
	list := s.list("/trail/?limit=1&action=" + action)
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

func (s *signOn) list(path string) (list []map[string]any) {
	s.t.Helper()
	rec := s.call("admin", "GET", path)
	if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil {
		s.t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
	}
	return list
}

func jane() map[string]any {
	return map[string]any{"sub": "248289761001", "preferred_username": "jane", "email": "jane@example.com", "email_verified": true, "sid": "op-session-1"}
}

// TestSignOn is the way that most go: a new subject becomes a user, the same subject is the same user, with the ordinary
// session; and the provider's secret is nowhere to be read.
func TestSignOn(t *testing.T) {
	s := newSignOn(t)
	s.op.is(jane())
	b := s.browser()
	if page := b.send("GET", "/login").Body.String(); !strings.Contains(page, "/login/oidc/"+s.id) || !strings.Contains(page, "Log in with Example") {
		t.Errorf("the login page has no button: %s", page)
	}
	rec := b.login()
	if rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/pools" {
		t.Fatalf("got %d %q: %s", rec.Code, rec.Header().Get("Location"), rec.Body)
	}
	first := b.isIn("jane")
	if c := b.cookies[web.CookieName]; !c.Secure || !c.HttpOnly || c.Path != "/" {
		t.Errorf("got cookie %+v", c)
	}
	if b.cookies[web.SignOnCookieName] != nil {
		t.Error("the login's cookie is still there")
	}
	u := s.must("admin", "GET", "/users/jane/")
	if u["email"] != "jane@example.com" || u["is_local"] != false || u["is_superuser"] != false {
		t.Errorf("got user %v", u)
	}
	s.op.rotate(jose.RS256)
	other := s.browser()
	other.login()
	if p := other.isIn("jane"); p.UserID != first.UserID {
		t.Errorf("the same subject is another user: %d, %d", p.UserID, first.UserID)
	}
	s.op.rotate(jose.ES256)
	third := s.browser()
	third.login()
	third.isIn("jane")
	if page := third.send("GET", "/account").Body.String(); strings.Count(page, "/account/sessions/") < 2 || strings.Contains(page, "new_password") {
		t.Errorf("sessions are not listed, or a password is asked for: %s", page)
	}
	third.send("POST", "/account/sessions/end")
	if _, ok := b.principal(); ok {
		t.Error("an ended session goes on")
	}
	third.isIn("jane")

	for _, path := range []string{"/oidc-providers/", "/oidc-providers/" + s.id + "/", "/oidc-providers/?op=get_active"} {
		if body := s.call("admin", "GET", path).Body.String(); strings.Contains(body, s.op.key) || !strings.Contains(body, `"client_secret":{"set":true}`) {
			t.Errorf("%s: got %s", path, body)
		}
	}
	all := s.log.String() + fmt.Sprint(s.list("/trail/?limit=1000"))
	s.op.mu.Lock()
	defer s.op.mu.Unlock()
	for _, token := range append(s.op.used, s.op.key, "canary-description") {
		if strings.Contains(all, token) {
			t.Errorf("the log or the trail has %.20s…", token)
		}
	}
}

// TestSignOnForged holds that a token which is not this login's, or not to be trusted, leads to no session and no user,
// and leaves an event.
func TestSignOnForged(t *testing.T) {
	s := newSignOn(t)
	s.op.is(jane())
	in := func(d time.Duration) int64 { return s.op.clock().Add(d).Unix() }
	for name, x := range map[string]struct {
		reason string // as the trail has it
		spoil  func(map[string]any)
	}{
		"audience":         {"expected audience", func(c map[string]any) { c["aud"] = "another client" }},
		"two audiences":    {"issued to another party", func(c map[string]any) { c["aud"] = []string{s.op.id, "another client"} }},
		"other party":      {"issued to another party", func(c map[string]any) { c["aud"], c["azp"] = []string{s.op.id, "another"}, "another" }},
		"issuer":           {"a different provider", func(c map[string]any) { c["iss"] = "https://issuer.example" }},
		"nonce":            {"another nonce", func(c map[string]any) { c["nonce"] = "another" }},
		"no nonce":         {"another nonce", func(c map[string]any) { delete(c, "nonce") }},
		"expired":          {"expired", func(c map[string]any) { c["exp"] = in(-time.Second) }},
		"no expiry":        {"expired", func(c map[string]any) { delete(c, "exp") }},
		"not yet":          {"not before", func(c map[string]any) { c["nbf"] = in(time.Hour) }},
		"no subject":       {"unusable subject", func(c map[string]any) { delete(c, "sub") }},
		"long subject":     {"unusable subject", func(c map[string]any) { c["sub"] = strings.Repeat("x", 300) }},
		"strange groups":   {"unreadable groups", func(c map[string]any) { c["groups"] = map[string]any{"lab-ops": true} }},
		"unreadable email": {"unreadable claims", func(c map[string]any) { c["email"] = []int{1} }},
	} {
		t.Run(name, func(t *testing.T) {
			s.op.spoils(x.spoil)
			defer s.op.spoils(nil)
			b := s.browser()
			b.refused(b.login(), http.StatusUnauthorized, "could not be verified")
			if e := s.last("user.sign_on"); e["outcome"] != "denied" || !strings.Contains(fmt.Sprint(e), x.reason) {
				t.Errorf("got event %v, want the reason %q", e, x.reason)
			}
		})
	}
	t.Run("alg none", func(t *testing.T) {
		s.op.alg = "none"
		defer func() { s.op.alg = jose.RS256 }()
		b := s.browser()
		b.refused(b.login(), http.StatusUnauthorized, "could not be verified")
	})
	t.Run("HMAC with the client's secret", func(t *testing.T) {
		keys := s.op.keys
		s.op.alg, s.op.keys = jose.HS256, []jose.JSONWebKey{{Key: []byte(s.op.key + "-padded-to-32-bytes-at-least")}}
		defer func() { s.op.alg, s.op.keys = jose.RS256, keys }()
		b := s.browser()
		b.refused(b.login(), http.StatusUnauthorized, "could not be verified")
	})
	t.Run("key of somebody else", func(t *testing.T) {
		o := newOP(t)
		keys := s.op.keys
		b := s.browser()
		back := b.begin()
		s.op.mu.Lock() // the region learns the true keys, the token is signed by others under their name
		forged := o.keys[0]
		forged.KeyID = keys[0].KeyID
		s.op.keys = []jose.JSONWebKey{keys[0], forged}
		s.op.mu.Unlock()
		stop := s.hideLastKey()
		defer stop()
		b.refused(b.send("GET", back), http.StatusUnauthorized, "could not be verified")
	})
	for _, u := range s.list("/users/") {
		if u["username"] != "admin" && u["username"] != "alice" {
			t.Errorf("a forged login made the user %v", u["username"])
		}
	}
}

// hideLastKey makes the provider sign with a key that it does not publish.
func (s *signOn) hideLastKey() (stop func()) {
	handler := s.op.srv.Config.Handler
	s.op.srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			s.op.mu.Lock()
			defer s.op.mu.Unlock()
			s.op.answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{s.op.keys[0].Public()}})
			return
		}
		handler.ServeHTTP(w, r)
	})
	return func() {
		s.op.mu.Lock()
		defer s.op.mu.Unlock()
		s.op.srv.Config.Handler, s.op.keys = handler, s.op.keys[:1]
	}
}

// TestSignOnState holds that an answer is taken from the browser that asked, in time, once.
func TestSignOnState(t *testing.T) {
	s := newSignOn(t)
	s.op.is(jane())
	mallory, b := s.browser(), s.browser()
	mallory.refused(mallory.send("GET", b.begin()), http.StatusUnauthorized, "another browser") // has no cookie

	stolen := mallory.begin() // an answer for Mallory, pushed on somebody who is logging in
	_ = b.begin()
	b.refused(b.send("GET", stolen), http.StatusUnauthorized, "another browser")

	back := b.begin()
	kept := b.cookies[web.SignOnCookieName]
	if rec := b.send("GET", back); rec.Code != http.StatusSeeOther {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	again := s.browser()
	again.cookies[web.SignOnCookieName] = kept
	again.refused(again.send("GET", back), http.StatusUnauthorized, "was finished already")
	if e := s.last("user.sign_on"); !strings.Contains(fmt.Sprint(e), "replayed") {
		t.Errorf("got event %v", e)
	}

	late := s.browser()
	back = late.begin()
	s.ahead.Add(int64(11 * time.Minute))
	late.refused(late.send("GET", back), http.StatusUnauthorized, "took too long")

	changed := s.browser()
	back = changed.begin()
	c := *changed.cookies[web.SignOnCookieName]
	c.Value = c.Value[:len(c.Value)-8] + "AAAAAAAA"
	changed.cookies[c.Name] = &c
	changed.refused(changed.send("GET", back), http.StatusUnauthorized, "another browser")

	mixed := s.browser()
	mixed.refused(mixed.send("GET", strings.Replace(mixed.begin(), "iss=", "iss=https%3A%2F%2Fissuer.example&was=", 1)), http.StatusUnauthorized, "could not be verified")

	said := s.browser()
	u, err := url.Parse(said.begin())
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Del("code")
	q.Set("error", "access_denied")
	said.refused(said.send("GET", u.Path+"?"+q.Encode()), http.StatusUnauthorized, "did not confirm")

	wrong := s.browser()
	u, _ = url.Parse(wrong.begin())
	q = u.Query()
	q.Set("code", rand.Text())
	wrong.refused(wrong.send("GET", u.Path+"?"+q.Encode()), http.StatusUnauthorized, "did not confirm")
}

// TestSignOnIsNobodyElse holds that what a provider lets people call themselves leads to no account: not a local user's
// name, not his address, not an address that changed.
func TestSignOnIsNobodyElse(t *testing.T) {
	s := newSignOn(t)
	admin := s.must("admin", "GET", "/users/admin/")
	for _, name := range []string{"admin", "Admin", "ALICE"} {
		s.op.is(map[string]any{"sub": "mallory-" + name, "preferred_username": name})
		b := s.browser()
		b.refused(b.login(), http.StatusConflict, "link your identity under Account")
	}
	s.must("admin", "PUT", "/users/admin/", "email", "root@example.com")
	s.op.is(map[string]any{"sub": "mallory", "preferred_username": "mallory", "email": "root@example.com", "email_verified": true})
	b := s.browser()
	b.login()
	if p := b.isIn("mallory"); float64(p.UserID) == admin["id"] || p.Rights.Administrator() {
		t.Errorf("an address made somebody an administrator: %+v", p)
	}
	for _, x := range []struct {
		claims      map[string]any
		name, email string
	}{
		{map[string]any{"sub": "1", "preferred_username": "jane", "email": "jane@example.com"}, "jane", ""},
		{map[string]any{"sub": "2", "preferred_username": "jane", "email": "jane@example.com", "email_verified": false}, "jane-2", ""},
		{map[string]any{"sub": "3", "preferred_username": "JANE", "email": "j3@example.com", "email_verified": "true"}, "JANE-3", "j3@example.com"},
		{map[string]any{"sub": "4", "email": "kim@example.com", "email_verified": true}, "kim@example.com", "kim@example.com"},
		// The same subject after a change of name and address is the same user, of the address that is verified.
		{map[string]any{"sub": "4", "preferred_username": "admin", "email": "kim@example.org", "email_verified": true}, "kim@example.com", "kim@example.org"},
		{map[string]any{"sub": "4", "preferred_username": "kim", "email": "root@example.com"}, "kim@example.com", "kim@example.org"},
	} {
		s.op.is(x.claims)
		b := s.browser()
		b.login()
		b.isIn(x.name)
		if u := s.must("admin", "GET", "/users/"+x.name+"/"); u["email"] != x.email {
			t.Errorf("%v: got e-mail %v, want %q", x.claims, u["email"], x.email)
		}
	}
	s.op.is(map[string]any{"sub": "5", "preferred_username": "<b>"})
	b = s.browser()
	b.login()
	if p, ok := b.principal(); !ok || !strings.HasPrefix(p.Name, "user-") {
		t.Errorf("got %q", p.Name)
	}
	// No password leads in, and none can be given.
	for _, rec := range []*httptest.ResponseRecorder{s.call("admin", "POST", "/users/jane/?op=set_password", "password", "a long enough password"),
		s.call("admin", "POST", "/users/jane/?op=recovery_link")} {
		if rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "has no password here") {
			t.Errorf("got %d %s", rec.Code, rec.Body)
		}
	}
	s.must("admin", "PUT", "/oidc-providers/"+s.id+"/", "create_users", "false")
	s.op.is(map[string]any{"sub": "6", "preferred_username": "nobody"})
	b = s.browser()
	b.refused(b.login(), http.StatusForbidden, "this site does not")
}

// TestSignOnGroups holds that the claim makes an operator of one pool, whose loss is felt by sessions under way, and
// that it touches no other group and not the last administrator.
func TestSignOnGroups(t *testing.T) {
	s := newSignOn(t)
	other := fmt.Sprint(s.must("admin", "POST", "/groups/", "name", "Other")["id"])
	in := func(groups ...any) *browser {
		c := jane()
		if groups != nil {
			c["groups"] = groups
		}
		s.op.is(c)
		b := s.browser()
		b.login()
		return b
	}
	operates := func(b *browser) bool { return b.isIn("jane").Rights.In(s.lab, authz.EditMachines) }
	b := in("staff", "lab-ops")
	if p := b.isIn("jane"); !operates(b) || p.Rights.In(0, authz.EditMachines) || p.Rights.Has(authz.EditIdentities) {
		t.Errorf("got rights %+v", p.Rights)
	}
	s.must("admin", "POST", "/groups/"+other+"/?op=add_member", "username", "jane")
	key, err := s.r.Identity.CreateKey(authz.With(t.Context(), b.isIn("jane")), identity.NewKey{Name: "kept"})
	if err != nil {
		t.Fatal(err)
	}
	s.keys["jane"] = key
	again := in("Lab operators", "LAB-OPS") // neither is the value
	if operates(again) || operates(b) {
		t.Error("who lost the claim still operates the pool")
	}
	if !strings.Contains(fmt.Sprint(s.list("/groups/"+other+"/?op=list_members")), "jane") {
		t.Error("a group that is not mapped lost a member")
	}
	if !operates(in("lab-ops")) || operates(in()) {
		t.Error("a claim that is gone leaves the right, or one that is back does not give it")
	}

	s.must("admin", "POST", "/maas/?op=set_config", "name", "mfa_required_roles", "value", authz.Operator)
	if !operates(in("lab-ops")) {
		t.Error("a second factor is demanded of a login by a provider")
	}
	s.must("admin", "POST", "/maas/?op=set_config", "name", "mfa_required_roles", "value", "")

	// The last administrator came by the claim: it stays one without it.
	s.must("admin", "PUT", "/oidc-providers/"+s.id+"/", "groups", "root = Administrators")
	b = in("root")
	if !b.isIn("jane").Rights.Administrator() {
		t.Fatal("the claim makes no administrator")
	}
	if rec := s.call("admin", "PUT", "/oidc-providers/"+s.id+"/", "enabled", "false"); rec.Code != http.StatusOK {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	if _, ok := b.principal(); ok {
		t.Error("a session goes on although its provider is disabled")
	}
	if rec := s.call("jane", "GET", "/users/?op=whoami"); rec.Code/100 == 2 {
		t.Errorf("an API key works although its user's provider is disabled: %s", rec.Body)
	}
	s.must("admin", "PUT", "/oidc-providers/"+s.id+"/", "enabled", "true")
	if _, ok := b.principal(); ok {
		t.Error("a session came back with its provider")
	}
	s.keys["admin"], s.keys["local"] = key, s.keys["admin"]
	s.must("admin", "POST", "/users/admin/?op=deactivate")
	if b = in(); !b.isIn("jane").Rights.Administrator() {
		t.Error("the last administrator is none any more")
	}
	if rec := s.call("admin", "PUT", "/oidc-providers/"+s.id+"/", "enabled", "false"); rec.Code != http.StatusConflict {
		t.Errorf("the only way in was closed: %d %s", rec.Code, rec.Body)
	}
}

// TestProviderIsNoLadder holds that who may edit identities, but holds no more, gets no more by a provider.
func TestProviderIsNoLadder(t *testing.T) {
	s := newSignOn(t)
	s.must("admin", "POST", "/roles/", "name", "Clerk", "permissions", "can_edit_identities")
	s.must("admin", "POST", "/grants/", "user", "alice", "role", "Clerk", "all_pools", "true")
	path := "/oidc-providers/" + s.id + "/"
	s.must("admin", "PUT", path, "enabled", "false")
	for name, rec := range map[string]*httptest.ResponseRecorder{
		"map a group": s.call("alice", "POST", "/oidc-providers/", "name", "Mine", "issuer_url", "https://op.example", "client_id", "x", "client_secret", "y", "group_claim", "g",
			"groups", "all = Administrators"),
		"change a provider that is mapped": s.call("alice", "PUT", path, "client_id", "mine"),
		"take the mapping away":            s.call("alice", "PUT", path, "groups", ""),
		"delete it":                        s.call("alice", "DELETE", path),
	} {
		if rec.Code != http.StatusForbidden {
			t.Errorf("%s: got %d %s", name, rec.Code, rec.Body)
		}
	}
	s.must("alice", "POST", "/oidc-providers/", "name", "Mine", "issuer_url", "https://op.example", "client_id", "x", "client_secret", "y")
	s.must("admin", "PUT", path, "groups", "")
	if rec := s.call("alice", "PUT", path, "issuer_url", "https://mine.example"); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "client_secret") {
		t.Errorf("a secret would go to another issuer: %d %s", rec.Code, rec.Body)
	}
	s.must("admin", "PUT", path, "enabled", "true")
	s.op.is(jane())
	b := s.browser()
	b.login()
	b.isIn("jane")
	if rec := s.call("admin", "PUT", path, "issuer_url", "https://mine.example", "client_secret", "z"); rec.Code != http.StatusConflict {
		t.Errorf("people known by an issuer became another's: %d %s", rec.Code, rec.Body)
	}
	if rec := s.call("admin", "DELETE", path); rec.Code != http.StatusConflict {
		t.Errorf("an enabled provider was deleted: %d %s", rec.Code, rec.Body)
	}
	for _, who := range []string{"", "jane"} {
		if rec := s.call(who, "GET", "/oidc-providers/"); rec.Code/100 == 2 {
			t.Errorf("%q reads the providers: %s", who, rec.Body)
		}
	}
	s.must("admin", "PUT", path, "enabled", "false")
	s.must("admin", "DELETE", path)
	if _, ok := b.principal(); ok {
		t.Error("a session goes on although its provider is gone")
	}
	s.must("admin", "POST", "/users/jane/?op=set_password", "password", "a long enough password")
	if u := s.must("admin", "GET", "/users/jane/"); u["is_local"] != true {
		t.Errorf("got user %v", u)
	}
}

// TestLinking holds that an account is linked by its user alone, who says his password again, and in the browser that
// he is logged in with.
func TestLinking(t *testing.T) {
	s := newSignOn(t)
	s.must("admin", "PUT", "/oidc-providers/"+s.id+"/", "create_users", "false")
	s.op.is(jane())
	b := s.browser()
	const password = "a long enough password"
	if rec := b.send("POST", "/login", "username", "alice", "password", password); rec.Code != http.StatusSeeOther {
		t.Fatalf("got %d", rec.Code)
	}
	path := "/account/identities/" + s.id + "/link"
	if rec := b.send("POST", path, "current", "wrong"); rec.Code != http.StatusBadRequest {
		t.Errorf("got %d, want the password asked for", rec.Code)
	}
	leave := func() string {
		t.Helper()
		page := b.send("POST", path, "current", password).Body.String()
		_, rest, _ := strings.Cut(page, `class="button main" href="`)
		to, _, ok := strings.Cut(rest, `"`)
		if !ok {
			t.Fatalf("no way to the provider: %s", page)
		}
		return html.UnescapeString(to)
	}
	mallory := s.browser()
	back := mallory.visit(leave())
	stranger := s.browser()
	stranger.cookies[web.SignOnCookieName] = b.cookies[web.SignOnCookieName]
	stranger.refused(stranger.send("GET", back), http.StatusConflict, "not logged in any more")
	if rec := b.send("GET", b.visit(leave())); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/account?notice=linked" {
		t.Fatalf("got %d %s: %s", rec.Code, rec.Header().Get("Location"), rec.Body)
	}
	other := s.browser()
	other.login()
	other.isIn("alice")
	if rec := b.send("GET", b.visit(leave())); rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "linked to your account already") {
		t.Errorf("got %d", rec.Code)
	}
	if u := s.must("admin", "GET", "/users/alice/"); u["email"] != "" || u["is_local"] != true {
		t.Errorf("the provider changed a local account: %v", u)
	}
	issuer, subject := s.op.srv.URL, "248289761001"
	if rec := b.send("POST", "/account/identities/unlink", "issuer", issuer, "subject", subject, "current", password); rec.Code != http.StatusSeeOther {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	if _, ok := other.principal(); ok {
		t.Error("a session by an identity that is not linked any more goes on")
	}
	b.isIn("alice")
	other = s.browser()
	other.refused(other.login(), http.StatusForbidden, "this site does not")
}

// TestSignOff holds that a provider's logout ends the sessions that began there at once, and that nothing else does.
func TestSignOff(t *testing.T) {
	s := newSignOn(t)
	s.op.is(jane())
	token := func(change func(map[string]any)) string {
		now := s.op.clock()
		c := map[string]any{"iss": s.op.srv.URL, "aud": s.op.id, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix(), "jti": rand.Text(), "sub": jane()["sub"],
			"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}
		change(c)
		return s.op.sign(c)
	}
	post := func(token string) int {
		t.Helper()
		return s.browser().send("POST", "/login/oidc/"+s.id+"/logout", "logout_token", token).Code
	}
	b := s.browser()
	b.login()
	b.isIn("jane")
	for name, bad := range map[string]string{
		"":         "",
		"nonce":    token(func(c map[string]any) { c["nonce"] = "x" }),
		"event":    token(func(c map[string]any) { delete(c, "events") }),
		"audience": token(func(c map[string]any) { c["aud"] = "another" }),
		"issuer":   token(func(c map[string]any) { c["iss"] = "https://issuer.example" }),
		"old":      token(func(c map[string]any) { c["iat"] = s.op.clock().Add(-time.Hour).Unix() }),
		"future":   token(func(c map[string]any) { c["iat"] = s.op.clock().Add(time.Hour).Unix() }),
		"expired":  token(func(c map[string]any) { c["exp"] = s.op.clock().Add(-time.Minute).Unix() }),
		"nobody":   token(func(c map[string]any) { delete(c, "sub") }),
		"no id":    token(func(c map[string]any) { delete(c, "jti") }),
	} {
		if code := post(bad); code != http.StatusBadRequest {
			t.Errorf("%s: got %d", name, code)
		}
		b.isIn("jane")
	}
	if code := post(token(func(c map[string]any) { c["sub"] = "somebody else" })); code != http.StatusOK {
		t.Errorf("got %d for somebody who is not here", code)
	}
	b.isIn("jane")
	good := token(func(map[string]any) {})
	if code := post(good); code != http.StatusOK {
		t.Fatalf("got %d", code)
	}
	if _, ok := b.principal(); ok {
		t.Error("the session goes on after the provider's logout")
	}
	b.login()
	b.isIn("jane")
	if code := post(good); code != http.StatusBadRequest {
		t.Errorf("a logout token works twice: %d", code)
	}
	b.isIn("jane")
	post(token(func(c map[string]any) { delete(c, "sub"); c["sid"] = "another" }))
	b.isIn("jane")
	post(token(func(c map[string]any) { delete(c, "sub"); c["sid"] = "op-session-1" }))
	if _, ok := b.principal(); ok {
		t.Error("the session goes on after the logout of the provider's session")
	}

	b.login()
	rec := b.send("POST", "/logout")
	if !strings.Contains(rec.Body.String(), s.op.srv.URL+"/logout?client_id=metalward") {
		t.Errorf("nothing leads to the provider's logout: %d %s", rec.Code, rec.Body)
	}
	if _, ok := b.principal(); ok {
		t.Error("the session goes on after logout")
	}
}

// TestProviderDown holds that a provider which does not answer leads to a page that says so, and that its test says what
// is wrong in words.
func TestProviderDown(t *testing.T) {
	s := newSignOn(t)
	s.op.is(jane())
	test := func() map[string]any { return s.must("admin", "POST", "/oidc-providers/"+s.id+"/?op=test") }
	if r := test(); r["ok"] != true || r["keys"] != 1.0 || r["end_session"] != true {
		t.Errorf("got %v", r)
	}
	s.op.setDown(true)
	s.ahead.Add(int64(2 * time.Hour))
	b := s.browser()
	rec := b.send("GET", "/login/oidc/"+s.id)
	b.refused(rec, http.StatusServiceUnavailable, "The server answers with status 502.")
	if r := test(); r["ok"] != false || !strings.Contains(r["message"].(string), "502") {
		t.Errorf("got %v", r)
	}
	page := s.browser()
	page.send("POST", "/login", "username", "admin", "password", "a long enough password")
	if text := page.send("POST", "/providers/"+s.id+"/test").Body.String(); !strings.Contains(text, "status 502") {
		t.Errorf("the page does not say what is wrong: %s", text)
	}
	s.op.setDown(false)
	s.ahead.Add(int64(time.Minute))
	b.login()
	b.isIn("jane")

	s.must("admin", "POST", "/oidc-providers/", "name", "Inside", "issuer_url", "https://169.254.169.254", "client_id", "x", "client_secret", "y")
	for _, p := range s.list("/oidc-providers/") {
		if p["name"] != "Inside" {
			continue
		}
		if r := s.must("admin", "POST", fmt.Sprintf("/oidc-providers/%v/?op=test", p["id"])); r["ok"] != false || !strings.Contains(r["message"].(string), "not allowed") {
			t.Errorf("got %v", r)
		}
	}
	var events []store.AuditRow
	err := s.r.reader.View(t.Context(), func(v *store.View) (err error) {
		events, err = v.AuditEvents(store.AuditQuery{Limit: 1000})
		return err
	})
	if err != nil || !slices.ContainsFunc(events, func(e store.AuditRow) bool {
		return e.Action == "identity_provider.edit" && e.Detail["change"] == "tested"
	}) {
		t.Errorf("a test leaves no event: %v", err)
	}
}
