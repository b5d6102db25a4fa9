package region

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery/agent"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/macaroons/macaroonstest"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/providers"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/web"
)

// candidSite is a region with a Candid server, whose group lab-ops operates the pool lab.
type candidSite struct {
	*signOn
	candid *macaroonstest.Candid
	agent  macaroons.Agent
	srv    *httptest.Server // the region, for clients that want one
}

// newCandid starts a Candid server, and returns the file of its certificate.
func newCandid(t *testing.T) (c *macaroonstest.Candid, ca string) {
	t.Helper()
	c, ca = macaroonstest.New(t), filepath.Join(t.TempDir(), "candid.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return c, ca
}

func newCandidSite(t *testing.T, fields ...string) *candidSite {
	t.Helper()
	s := &candidSite{signOn: &signOn{}}
	candid, ca := newCandid(t)
	s.candid = candid
	clock := func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
	s.surface = newSurfaceWith(t, func(o *Options) {
		o.Now = clock
		o.Config.EgressAllow, o.Config.EgressCA = []string{"127.0.0.0/8"}, ca
	})
	s.now = clock
	s.agent = s.candid.Agent("maas@candid")
	s.lab = int64(s.must("admin", "POST", "/resourcepools/", "name", "lab")["id"].(float64))
	s.must("admin", "POST", "/groups/", "name", "Lab operators")
	s.must("admin", "POST", "/grants/", "group", "Lab operators", "role", authz.Operator, "pool", "lab")
	p := s.must("admin", "POST", "/candid-providers/", append([]string{"name", "Candid", "candid_url", s.candid.URL, "agent_username", s.agent.Username,
		"agent_key", s.agent.Key.Private().RevealString(), "enabled", "true", "create_users", "true", "groups", "lab-ops = Lab operators"}, fields...)...)
	s.id = fmt.Sprint(p["id"])
	s.srv = httptest.NewTLSServer(s.handler)
	t.Cleanup(s.srv.Close)
	return s
}

// program is a client of the bakery protocol for somebody who is an agent at Candid; with a zero agent it has no way to
// prove who it is.
func (s *candidSite) program(a macaroons.Agent) *httpbakery.Client {
	s.t.Helper()
	jar, _ := cookiejar.New(nil)                                                                                                                                      // never fails
	c := &httpbakery.Client{Client: &http.Client{Jar: jar, Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}} //nolint:gosec // a test's own servers
	if a.Username != "" {
		var key bakery.KeyPair
		if err := key.Private.UnmarshalText(a.Key.Private().Reveal()); err != nil {
			s.t.Fatal(err)
		}
		key.Public = key.Private.Public()
		if err := agent.SetUpAuth(c, &agent.AuthInfo{Key: &key, Agents: []agent.Agent{{URL: a.URL, Username: a.Username}}}); err != nil {
			s.t.Fatal(err)
		}
	}
	return c
}

// send calls the region as a program, and returns status and body.
func (s *candidSite) send(c *httpbakery.Client, method, path string, fields ...string) (int, string) {
	s.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	var body io.Reader
	if method == http.MethodPost {
		body = bytes.NewReader([]byte(form.Encode()))
	}
	r, err := http.NewRequest(method, s.srv.URL+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if body == nil {
		r.Body = nil
	} else {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// groupsOf names a user's groups.
func (s *candidSite) groupsOf(name string) (names string) {
	s.t.Helper()
	err := s.r.reader.View(s.t.Context(), func(v *store.View) error {
		u, err := v.UserByName(name)
		if err != nil {
			return err
		}
		list, err := v.GroupsOf(u.ID)
		for _, g := range list {
			names += g.Name + "\n"
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return names
}

const dischargeRequest = "/MAAS/accounts/discharge-request/"

// TestCandidClient is what MAAS's clients do: a discharged macaroon starts a session, and lets an API key be made.
func TestCandidClient(t *testing.T) {
	s := newCandidSite(t)
	pat := s.candid.Agent("pat@site")
	s.candid.Set("pat@site", "lab-ops", "others")
	c := s.program(pat)
	if code, body := s.send(c, "GET", "/MAAS/accounts/login/"); code != http.StatusOK || body != `{"authenticated":false,"external_auth_url":"`+s.candid.URL+`","no_users":false}` {
		t.Errorf("got %d %s", code, body)
	}
	code, body := s.send(c, "GET", dischargeRequest)
	var me struct {
		ID          int64 `json:"id"`
		Username    string
		IsSuperuser bool `json:"is_superuser"`
	}
	if err := json.Unmarshal([]byte(body), &me); code != http.StatusOK || err != nil || me.Username != "pat@site" || me.ID == 0 || me.IsSuperuser {
		t.Fatalf("got %d %s", code, body)
	}
	u, _ := url.Parse(s.srv.URL)
	var session *http.Cookie
	for _, k := range c.Jar.Cookies(u) {
		if k.Name == web.CookieName {
			session = k
		}
	}
	if session == nil {
		t.Fatal("there is no session")
	}
	if code, body := s.send(c, "GET", "/MAAS/accounts/login/"); code != http.StatusOK || !strings.Contains(body, `"authenticated":true`) {
		t.Errorf("got %d %s", code, body)
	}
	// Another program has no session, only the macaroon that it has discharged.
	c = s.program(pat)
	code, body = s.send(c, "POST", maasapi.Root+"/account/?op=create_authorisation_token", "name", "maas login")
	if code != http.StatusOK || !strings.Contains(body, "token_secret") {
		t.Fatalf("got %d %s", code, body)
	}
	if code, body := s.send(c, "GET", maasapi.Root+"/users/?op=whoami"); code != http.StatusOK || !strings.Contains(body, `"username":"pat@site"`) {
		t.Errorf("got %d %s", code, body)
	}
	asked := s.candid.Asked
	if s.send(c, "GET", maasapi.Root+"/resourcepools/"); s.candid.Asked != asked {
		t.Error("Candid is asked again although it was asked just now")
	}
	if groups := s.groupsOf("pat@site"); !strings.Contains(groups, "Lab operators") {
		t.Errorf("got groups %v", groups)
	}
	// Without a way to prove who one is there is nothing but the question.
	if code, body := s.send(s.program(macaroons.Agent{}), "GET", maasapi.Root+"/machines/"); code != 0 || !strings.Contains(body, "interaction required but not possible") {
		t.Errorf("got %d %s", code, body)
	}
}

// TestCandidRefuses lets in nobody whom it should not.
func TestCandidRefuses(t *testing.T) {
	regiontest.Slow(t)
	empty := ""
	for _, x := range []struct {
		name   string
		spoil  func(*candidSite)
		code   int
		answer string
		fields []string
	}{
		{"unknown at Candid", func(s *candidSite) { s.candid.Set("pat@site") }, http.StatusForbidden, "User login not allowed", nil},
		{"an account of the site", func(s *candidSite) {
			s.must("admin", "POST", "/users/", "username", "pat@site", "email", "pat@example.com", "password", "a long enough password", "is_superuser", "0")
		}, http.StatusForbidden, "User login not allowed", nil},
		{"no new users", func(s *candidSite) { s.must("admin", "PUT", "/candid-providers/"+s.id+"/", "create_users", "false") }, http.StatusForbidden, "", nil},
		{"Candid does not take the agent", func(s *candidSite) { s.candid.Agents["maas@candid"] = "another" }, http.StatusServiceUnavailable, "cannot be asked", nil},
		{"another domain", func(*candidSite) {}, 0, "interaction required", []string{"domain", "elsewhere"}},
		{"no name", func(s *candidSite) { s.candid.Declares = &empty }, 0, "too many", nil},
		{"Candid is down", func(s *candidSite) { s.candid.Down = true }, http.StatusServiceUnavailable, "cannot be used", nil},
		{"provider off", func(s *candidSite) { s.must("admin", "PUT", "/candid-providers/"+s.id+"/", "enabled", "false") }, http.StatusNotFound, "", nil},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := newCandidSite(t, x.fields...)
			s.t = t
			pat := s.candid.Agent("pat@site")
			s.candid.Set("pat@site", "lab-ops")
			x.spoil(s)
			if code, body := s.send(s.program(pat), "GET", dischargeRequest); code != x.code || !strings.Contains(body, x.answer) {
				t.Errorf("discharge-request: got %d %s, want %d %s", code, body, x.code, x.answer)
			}
			want := x.code
			if s.candid.Down || want == http.StatusNotFound {
				want = http.StatusUnauthorized // and no macaroon
			}
			if code, body := s.send(s.program(pat), "GET", maasapi.Root+"/machines/"); code != want && code != http.StatusTooManyRequests {
				t.Errorf("API: got %d %s, want %d", code, body, want)
			}
			for _, u := range s.list("/users/") {
				if u["username"] == "pat@site" && u["is_local"] == false {
					t.Error("there is a user of Candid's")
				}
			}
		})
	}
}

// TestCandidMacaroonEnds holds how long a macaroon is good, and that it starts one session.
func TestCandidMacaroonEnds(t *testing.T) {
	s := newCandidSite(t)
	pat := s.candid.Agent("pat@site")
	s.candid.Set("pat@site", "lab-ops")
	c := s.program(pat)
	if code, body := s.send(c, "GET", dischargeRequest); code != http.StatusOK {
		t.Fatalf("got %d %s", code, body)
	}
	was := c.Jar
	deaf := func() *httpbakery.Client { // shows what it has, and can get nothing else
		d := s.program(macaroons.Agent{})
		u, _ := url.Parse(s.srv.URL)
		for _, k := range was.Cookies(u) {
			if strings.HasPrefix(k.Name, "macaroon-") {
				d.Jar.SetCookies(u, []*http.Cookie{k})
			}
		}
		return d
	}
	whoami := func() int { code, _ := s.send(deaf(), "GET", maasapi.Root+"/users/?op=whoami"); return code }
	if code := whoami(); code != http.StatusOK {
		t.Fatalf("got %d", code)
	}
	if code, body := s.send(deaf(), "GET", dischargeRequest); code != http.StatusForbidden || !strings.Contains(body, "finished already") {
		t.Errorf("a second session: got %d %s", code, body)
	}
	s.must("admin", "POST", "/users/pat@site/?op=end_sessions")
	if code := whoami(); code != 0 {
		t.Errorf("after his sessions were ended: got %d", code)
	}
	if code, body := s.send(deaf(), "GET", dischargeRequest); code == http.StatusOK {
		t.Errorf("a session by a macaroon that was ended: got %d %s", code, body)
	}
	if code, _ := s.send(c, "GET", maasapi.Root+"/users/?op=whoami"); code != http.StatusOK {
		t.Errorf("a new one after that: got %d", code)
	}
	if code := whoami(); code != http.StatusOK { // deaf shows the new one now
		t.Fatalf("got %d", code)
	}
	s.must("admin", "POST", "/users/pat@site/?op=deactivate")
	if code := whoami(); code != http.StatusForbidden {
		t.Errorf("of a deactivated user: got %d", code)
	}
	s.must("admin", "POST", "/users/pat@site/?op=reactivate")
	s.must("admin", "PUT", "/candid-providers/"+s.id+"/", "enabled", "false")
	if code := whoami(); code != http.StatusUnauthorized {
		t.Errorf("of a disabled provider: got %d", code)
	}
	s.must("admin", "PUT", "/candid-providers/"+s.id+"/", "enabled", "true")
	if code := whoami(); code != 0 {
		t.Errorf("of another generation: got %d", code)
	}
	if code, _ := s.send(c, "GET", maasapi.Root+"/users/?op=whoami"); code != http.StatusOK {
		t.Errorf("a new one: got %d", code)
	}
	// What Candid said is old: it is asked again, and while it cannot be, nobody is let in.
	s.ahead.Store(int64(time.Hour + time.Minute))
	s.candid.Set("pat@site", "others")
	s.candid.Down = true
	if code := whoami(); code != http.StatusServiceUnavailable {
		t.Errorf("Candid cannot be asked: got %d", code)
	}
	s.candid.Down = false
	if code := whoami(); code != http.StatusOK {
		t.Errorf("Candid can be asked again: got %d", code)
	}
	if groups := s.groupsOf("pat@site"); strings.Contains(groups, "Lab operators") {
		t.Errorf("got groups %v", groups)
	}
	s.ahead.Store(int64(25 * time.Hour))
	if code := whoami(); code != 0 {
		t.Errorf("a day later: got %d", code)
	}
}

// TestCandidRecheck asks Candid again about whoever is in, after an hour: groups follow, and nobody goes on while it cannot
// be asked, or when it does not know him.
func TestCandidRecheck(t *testing.T) {
	s := newCandidSite(t)
	s.candid.Set("pat@site", "lab-ops")
	s.candid.Person = "pat@site"
	s.must("admin", "PUT", "/candid-providers/"+s.id+"/", "return", "yes")
	s.must("admin", "POST", "/maas/?op=set_config", "name", "metalward_session_idle", "value", "86400")
	login := func() *browser {
		t.Helper()
		b := s.browser()
		c := *s.candid.Client()
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, err := c.Get(b.send("GET", "/login/candid/"+s.id).Header().Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		b.send("GET", strings.TrimPrefix(resp.Header.Get("Location"), s.r.BaseURL))
		b.isIn("pat@site")
		return b
	}
	b := login()
	key, err := s.r.Identity.CreateKey(authz.With(t.Context(), b.isIn("pat@site")), identity.NewKey{Name: "kept"})
	if err != nil {
		t.Fatal(err)
	}
	s.keys["pat"] = key
	later := func(d time.Duration) { s.ahead.Add(int64(d)) }
	both := func(what string, session, api int) {
		t.Helper()
		if rec := b.send("GET", "/pools"); rec.Code != session {
			t.Errorf("%s: got page %d, want %d", what, rec.Code, session)
		}
		if rec := s.call("pat", "GET", "/resourcepools/"); rec.Code != api {
			t.Errorf("%s: got %d %s, want %d", what, rec.Code, rec.Body, api)
		}
	}
	asked := s.candid.Asked
	both("at once", http.StatusOK, http.StatusOK)
	later(59 * time.Minute)
	both("within the hour", http.StatusOK, http.StatusOK)
	if s.candid.Asked != asked {
		t.Errorf("Candid was asked %d times within the hour", s.candid.Asked-asked)
	}
	s.candid.Set("pat@site", "others")
	later(2 * time.Minute)
	both("out of the group", http.StatusOK, http.StatusOK)
	if groups := s.groupsOf("pat@site"); strings.Contains(groups, "Lab operators") {
		t.Errorf("got groups %v", groups)
	}
	s.candid.Down = true
	later(61 * time.Minute)
	both("Candid is down", http.StatusServiceUnavailable, http.StatusServiceUnavailable)
	s.candid.Down = false
	later(2 * time.Minute)
	both("Candid is back", http.StatusOK, http.StatusOK)
	s.candid.Set("pat@site")
	later(61 * time.Minute)
	both("unknown", http.StatusSeeOther, http.StatusForbidden)
	s.candid.Set("pat@site", "lab-ops")
	both("known again, not logged in", http.StatusSeeOther, http.StatusForbidden)
	b = login()
	both("logged in again", http.StatusOK, http.StatusOK)
	ctx, ps := authz.AsSystem(t.Context(), "configauth"), s.r.Providers
	p, _, err := ps.External(ctx)
	if err == nil {
		err = ps.ChangeCandid(ctx, p, func(domain, _ *string) { *domain = "elsewhere" })
	}
	if err != nil {
		t.Fatal(err)
	}
	later(2 * time.Second) // keys are remembered for a moment
	both("of another domain", http.StatusSeeOther, http.StatusForbidden)
}

// TestCandidOtherSite holds that a browser's macaroon cookie says nothing: another site could make it send one, and
// another host of the domain could plant one.
func TestCandidOtherSite(t *testing.T) {
	s := newCandidSite(t)
	pat := s.candid.Agent("pat@site")
	s.candid.Set("pat@site", "lab-ops")
	c := s.program(pat)
	if code, body := s.send(c, "GET", maasapi.Root+"/users/?op=whoami"); code != http.StatusOK {
		t.Fatalf("got %d %s", code, body)
	}
	u, _ := url.Parse(s.srv.URL)
	for _, header := range [][2]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-origin"}, {"", ""}} {
		r, _ := http.NewRequest(http.MethodPost, s.srv.URL+maasapi.Root+"/account/?op=create_authorisation_token", http.NoBody)
		if header[0] != "" {
			r.Header.Set(header[0], header[1])
		}
		for _, k := range c.Jar.Cookies(u) {
			r.AddCookie(k)
		}
		resp, err := s.srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if want := map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[header[0] == ""]; resp.StatusCode != want {
			t.Errorf("%v: got %d, want %d", header, resp.StatusCode, want)
		}
	}
}

// TestCandidBrowser logs in by the pages, both ways.
func TestCandidBrowser(t *testing.T) {
	s := newCandidSite(t)
	s.candid.Set("pat@site", "lab-ops")
	begin := func(b *browser) string {
		t.Helper()
		rec := b.send("GET", "/login")
		if !strings.Contains(rec.Body.String(), `href="/login/candid/`+s.id+`?next=`) {
			t.Fatalf("the login page has no button: %s", rec.Body)
		}
		rec = b.send("GET", "/login/candid/"+s.id+"?next=/pools")
		if rec.Code == http.StatusSeeOther {
			return rec.Header().Get("Location")
		}
		_, after, _ := strings.Cut(rec.Body.String(), `<a class="button" href="`)
		to, _, ok := strings.Cut(after, `"`)
		if !ok || rec.Code != http.StatusOK {
			t.Fatalf("got %d %s", rec.Code, rec.Body)
		}
		return strings.ReplaceAll(to, "&amp;", "&")
	}
	visit := func(to string) string {
		t.Helper()
		c := *s.candid.Client()
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, err := c.Get(to)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return strings.TrimPrefix(resp.Header.Get("Location"), s.r.BaseURL)
	}
	const visited = "/login/macaroon/visited"

	// By hand.
	b := s.browser()
	to := begin(b)
	b.refused(b.send("POST", visited), http.StatusConflict, "You have not logged in at Candid yet.")
	s.candid.Person = "pat@site"
	visit(to)
	if rec := b.send("POST", visited); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/pools" {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	first := b.isIn("pat@site")
	if !first.Rights.In(s.lab, authz.EditMachines) {
		t.Errorf("got rights %+v", first.Rights)
	}

	// By themselves.
	s.must("admin", "PUT", "/candid-providers/"+s.id+"/", "return", "yes")
	b = s.browser()
	back := visit(begin(b))
	thief := s.browser()
	thief.refused(thief.send("GET", back), http.StatusUnauthorized, "took too long")
	other := s.browser()
	begin(other)
	other.refused(other.send("GET", back), http.StatusUnauthorized, "took too long")
	kept := map[string]*http.Cookie{}
	for k, v := range b.cookies {
		kept[k] = v
	}
	if rec := b.send("GET", back); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/pools" {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	if p := b.isIn("pat@site"); p.UserID != first.UserID {
		t.Errorf("got another user")
	}
	again := s.browser()
	again.cookies = kept
	again.refused(again.send("GET", back), http.StatusUnauthorized, "took too long")

	s.candid.Person = ""
	b = s.browser()
	b.refused(b.send("GET", visit(begin(b))), http.StatusUnauthorized, "did not confirm")
	s.candid.Person = "nobody@site"
	b = s.browser()
	b.refused(b.send("GET", visit(begin(b))), http.StatusForbidden, "Candid does not let you in.")
	s.candid.Person = "pat@site"
	b = s.browser()
	back = visit(begin(b))
	s.candid.Down = true
	b.refused(b.send("GET", back), http.StatusServiceUnavailable, "cannot be")
	s.ahead.Store(int64(2 * time.Hour))
	b = s.browser()
	b.refused(b.send("GET", "/login/candid/"+s.id), http.StatusServiceUnavailable, "cannot be used")
}

// TestCandidBounds holds how often a stranger makes the region ask Candid.
func TestCandidBounds(t *testing.T) {
	s := newCandidSite(t)
	b, refused := s.browser(), 0
	for range 100 {
		if rec := b.send("GET", "/login/candid/"+s.id); rec.Code == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 20 || s.candid.Discharges > 80 {
		t.Errorf("got %d of 100 refused, and %d questions to Candid", refused, s.candid.Discharges)
	}
	other := s.browser()
	if rec := other.send("GET", "/login/candid/"+s.id); rec.Code != http.StatusOK {
		t.Errorf("somebody else: got %d", rec.Code)
	}
}

// TestCandidProvider holds the provider's configuration: its key is nowhere to be read, one of its sort is enabled at a
// time, and a test says what is wrong.
func TestCandidProvider(t *testing.T) {
	s := newCandidSite(t)
	key := s.agent.Key.Private().RevealString()
	test := func() string {
		return fmt.Sprint(s.must("admin", "POST", "/candid-providers/"+s.id+"/?op=test")["message"])
	}
	if got := test(); !strings.Contains(got, "takes the agent") {
		t.Errorf("got %s", got)
	}
	s.candid.Agents["maas@candid"] = "another"
	if got := test(); got != "The provider answers and takes the agent." { // it is logged in still
		t.Errorf("got %s", got)
	}
	s.candid.Down = true
	if got := test(); !strings.Contains(got, "cannot be used") {
		t.Errorf("got %s", got)
	}
	if rec := s.call("admin", "POST", "/candid-providers/", "name", "Second", "candid_url", "https://second.example", "agent_username", "a", "agent_key", key, "enabled", "true"); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "one at a time") {
		t.Errorf("a second one: got %d %s", rec.Code, rec.Body)
	}
	b := s.browser()
	b.send("POST", "/login", "username", "admin", "password", "a long enough password")
	page := b.send("GET", "/providers/"+s.id).Body.String()
	if !strings.Contains(page, s.r.BaseURL+"/login/macaroon/callback") || !strings.Contains(page, "Agent&#39;s private key") {
		t.Errorf("the page does not say where browsers return to: %s", page)
	}
	if page := b.send("GET", "/account").Body.String(); strings.Contains(page, "Link my identity") {
		t.Error("an account of the site can be linked")
	}
	all := page + s.log.String() + fmt.Sprint(s.list("/trail/?limit=1000")) + s.call("admin", "GET", "/candid-providers/").Body.String()
	if strings.Contains(all, key) {
		t.Error("the agent's key can be read")
	}
	if rec := s.call("alice", "GET", "/candid-providers/"); strings.Contains(rec.Body.String(), "maas@candid") {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
}

// TestConfigAuth sets external authentication on the region's host: one of its sort, with the groups that were mapped.
func TestConfigAuth(t *testing.T) {
	s := newCandidSite(t)
	ctx, ps := authz.AsSystem(t.Context(), "configauth"), s.r.Providers
	state := func() string {
		text := ""
		for _, p := range s.list("/candid-providers/") {
			text += fmt.Sprint(p["name"], " ", p["enabled"], " ", p["agent_username"], " ", p["domain"])
			for _, g := range p["groups"].([]any) {
				g := g.(map[string]any)
				text += fmt.Sprintf(" %v=%v", g["value"], g["group"])
			}
			text += "\n"
		}
		return strings.ReplaceAll(text, strings.TrimPrefix(s.candid.URL, "https://"), "ADDRESS")
	}
	want := func(what, text string, err error) {
		t.Helper()
		if got := state(); got != text || err != nil {
			t.Errorf("%s: got %v and\n%swant\n%s", what, err, got, text)
		}
	}
	other := s.candid.Agent("other@candid")
	_, err := ps.SetExternal(ctx, providers.CandidExternal(other, "site", "admins"))
	want("the same address", "Candid true other@candid site admins=Administrators lab-ops=Lab operators\n", err)
	p, _, err := ps.External(ctx)
	if err == nil {
		err = ps.ChangeCandid(ctx, p, func(domain, admins *string) { *domain, *admins = "", "" })
	}
	want("other values", "Candid true other@candid  lab-ops=Lab operators\n", err)
	other.URL = "https://candid.example:8081"
	_, err = ps.SetExternal(ctx, providers.CandidExternal(other, "", ""))
	want("another address", "Candid false other@candid  lab-ops=Lab operators\nCandid candid.example 8081 true other@candid \n", err)
	want("none", "Candid false other@candid  lab-ops=Lab operators\nCandid candid.example 8081 false other@candid \n", ps.ClearExternal(ctx, metal.ProviderCandid))
	if _, ok, err := ps.External(ctx); ok || err != nil {
		t.Errorf("got %v, %v, want none", ok, err)
	}
	if e := s.last("identity_provider.edit"); e["principal"] != "system:configauth" {
		t.Errorf("got event %v", e)
	}
}
