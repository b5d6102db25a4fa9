package candid

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	v3 "github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery/agent"
	"gopkg.in/macaroon-bakery.v3/bakery"
)

// browser keeps cookies and goes where pages lead.
type browser struct {
	t *testing.T
	*http.Client
}

func newBrowser(t *testing.T) *browser {
	jar, _ := cookiejar.New(nil) // never fails
	return &browser{t, newClient(jar)}
}

// do sends a request, and returns where it ended and the body.
func (b *browser) do(method, address string, form url.Values) (*http.Response, string) {
	b.t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(body)
}

var (
	button  = regexp.MustCompile(`href="(/login/candid/\d+)\?`)
	leave   = regexp.MustCompile(`class="button" href="(https://[^"]+)"`)
	chooses = regexp.MustCompile(`href="(https://[^"]+/login/static/login[^"]*)"`)
)

func found(t *testing.T, re *regexp.Regexp, page string) string {
	t.Helper()
	m := re.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("there is no %s in %s", re, page)
	}
	return strings.ReplaceAll(m[1], "&amp;", "&")
}

// login logs somebody in as a browser does, and returns the last answer.
func (b *browser) login(name, password string) (*http.Response, string) {
	b.t.Helper()
	_, page := b.do("GET", site.url+"/login", nil)
	resp, page := b.do("GET", site.url+found(b.t, button, page)+"?next=/pools", nil)
	byHand := resp.Request.URL.String() != "" && strings.HasPrefix(resp.Request.URL.String(), site.url)
	if byHand { // the page says where to go
		_, page = b.do("GET", found(b.t, leave, page), nil)
	}
	to := found(b.t, chooses, page)
	b.do("GET", to, nil)
	resp, page = b.do("POST", to, url.Values{"username": {name}, "password": {password}})
	if byHand {
		resp, page = b.do("POST", site.url+"/login/macaroon/visited", url.Values{})
	}
	return resp, page
}

// whoami asks the region who somebody is.
func (b *browser) whoami() (name string, admin bool) {
	b.t.Helper()
	resp, body := b.do("GET", site.url+"/MAAS/api/2.0/users/?op=whoami", nil)
	var u struct {
		Username string
		Admin    bool `json:"is_superuser"`
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal([]byte(body), &u); err != nil {
			b.t.Fatal(err)
		}
	}
	return u.Username, u.Admin
}

// returns sets whether browsers come back by themselves, as an administrator.
func returns(t *testing.T, how string) {
	t.Helper()
	if code, body := admin(t, "GET", "/candid-providers/", nil); code != http.StatusOK {
		t.Fatalf("got %d %s", code, body)
	}
	if code, body := admin(t, "PUT", "/candid-providers/1/", url.Values{"return": {how}}); code != http.StatusOK {
		t.Fatalf("got %d %s", code, body)
	}
}

var calls int

// admin calls the API as the administrator of the site.
func admin(t *testing.T, method, path string, form url.Values) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, site.url+"/MAAS/api/2.0"+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	calls++
	key := strings.Split(site.key, ":")
	r.Header.Set("Authorization", fmt.Sprintf(`OAuth oauth_version="1.0", oauth_signature_method="PLAINTEXT", oauth_consumer_key="%s", oauth_token="%s", oauth_signature="%%26%s", oauth_timestamp="%d", oauth_nonce="%d"`,
		key[0], key[1], key[2], time.Now().Unix(), calls))
	resp, err := newClient(nil).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestBrowser logs people in by the static provider's form, both ways, and takes their groups over each time.
func TestBrowser(t *testing.T) {
	for _, how := range []string{"no", "yes"} {
		t.Run("return "+how, func(t *testing.T) {
			returns(t, how)
			name := "ann" + how
			site.set(name, "admins", "others")
			b := newBrowser(t)
			if resp, page := b.login(name, "of "+name); resp.StatusCode != http.StatusOK || resp.Request.URL.Path != "/pools" {
				t.Fatalf("got %d %s at %s", resp.StatusCode, page, resp.Request.URL)
			}
			if who, admin := b.whoami(); who != name+"@site" || !admin {
				t.Errorf("got %s, administrator %v", who, admin)
			}
			site.set(name, "others")
			c := newBrowser(t)
			c.login(name, "of "+name)
			if who, admin := c.whoami(); who != name+"@site" || admin {
				t.Errorf("out of the group: got %s, administrator %v", who, admin)
			}
			if _, admin := b.whoami(); admin {
				t.Error("his other session is an administrator's still")
			}
			d := newBrowser(t)
			d.login(name, "a wrong password")
			if who, _ := d.whoami(); who != "" {
				t.Errorf("a wrong password logs %s in", who)
			}
			d = newBrowser(t)
			d.login("nobody", "of nobody")
			if who, _ := d.whoami(); who != "" {
				t.Errorf("an unknown name logs %s in", who)
			}
		})
	}
}

// program is a client of the bakery protocol.
func program(t *testing.T, username string, key *bakery.KeyPair) *httpbakery.Client {
	t.Helper()
	jar, _ := cookiejar.New(nil) // never fails
	c := &httpbakery.Client{Client: newClient(jar)}
	if key != nil {
		k := &v3.KeyPair{Public: v3.PublicKey{Key: v3.Key(key.Public.Key)}, Private: v3.PrivateKey{Key: v3.Key(key.Private.Key)}}
		if err := agent.SetUpAuth(c, &agent.AuthInfo{Key: k, Agents: []agent.Agent{{URL: site.URL, Username: username}}}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func get(t *testing.T, c *httpbakery.Client, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, site.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

const dischargeRequest = "/MAAS/accounts/discharge-request/"

// TestAgent logs programs in, as unmodified bakery clients.
func TestAgent(t *testing.T) {
	key := bakery.MustGenerateKey()
	site.program(t, "ci@site", key)
	if code, body := get(t, program(t, "ci@site", key), dischargeRequest); code != http.StatusOK || !strings.Contains(body, `"username":"ci@site"`) || strings.Contains(body, `"is_superuser":true`) {
		t.Errorf("got %d %s", code, body)
	}
	if code, body := get(t, program(t, "ci@site", key), "/MAAS/api/2.0/users/?op=whoami"); code != http.StatusOK || !strings.Contains(body, "ci@site") {
		t.Errorf("with the macaroon alone: got %d %s", code, body)
	}
	if code, _ := get(t, program(t, "ci@site", bakery.MustGenerateKey()), dischargeRequest); code == http.StatusOK {
		t.Error("another key logs in")
	}
	if code, _ := get(t, program(t, "", nil), dischargeRequest); code == http.StatusOK {
		t.Error("nobody logs in")
	}
	other := bakery.MustGenerateKey()
	site.program(t, "ci@elsewhere", other)
	if code, _ := get(t, program(t, "ci@elsewhere", other), dischargeRequest); code == http.StatusOK {
		t.Error("a program of another domain logs in")
	}
}

// TestCommandLine logs in with an agent file.
func TestCommandLine(t *testing.T) {
	key := bakery.MustGenerateKey()
	file := site.program(t, "cli@site", key)
	if out, err := command("", "login", "--ca-file", state()+"/ca.pem", "--agent-file", file, "cli", site.url+"/MAAS/"); err != nil || !strings.Contains(out, "as cli@site") {
		t.Fatalf("got %s, %v", out, err)
	}
	if out, err := command("", "cli", "users", "whoami"); err != nil || !strings.Contains(out, "cli@site") {
		t.Errorf("got %s, %v", out, err)
	}
	wrong := site.file(t, "cli@site", bakery.MustGenerateKey())
	if out, err := command("", "login", "--ca-file", state()+"/ca.pem", "--agent-file", wrong, "wrong", site.url+"/MAAS/"); err == nil {
		t.Errorf("another key logs in: %s", out)
	}
}

// TestCommandLineBrowser logs in as a person at a terminal, who goes where it says.
func TestCommandLineBrowser(t *testing.T) {
	site.set("terminal", "others")
	cmd := prepared("login", "--ca-file", state()+"/ca.pem", "--browser", "person", site.url+"/MAAS/")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := ""
	for lines := bufio.NewScanner(stderr); told == "" && lines.Scan(); {
		if text := strings.TrimSpace(lines.Text()); strings.HasPrefix(text, site.URL) {
			told = text
		}
	}
	b := newBrowser(t)
	_, page := b.do("GET", told, nil)
	to := found(t, chooses, page)
	b.do("GET", to, nil)
	b.do("POST", to, url.Values{"username": {"terminal"}, "password": {"of terminal"}})
	_, _ = io.Copy(io.Discard, stderr)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if out, err := command("", "person", "users", "whoami"); err != nil || !strings.Contains(out, "terminal@site") {
		t.Errorf("got %s, %v", out, err)
	}
}

// TestOwnAccount refuses a name that an account of the site has.
func TestOwnAccount(t *testing.T) {
	for _, name := range []string{"own", "own2"} {
		if code, body := admin(t, "POST", "/users/", url.Values{"username": {name + "@site"}, "email": {name + "@example.com"}, "password": {"correct horse battery staple"}, "is_superuser": {"0"}}); code != http.StatusOK {
			t.Fatalf("got %d %s", code, body)
		}
	}
	returns(t, "no")
	site.set("own")
	b := newBrowser(t)
	_, page := b.login("own", "of own")
	if who, _ := b.whoami(); who != "" || !strings.Contains(page, "of this site already") {
		t.Errorf("got %q: %s", who, page)
	}
	key := bakery.MustGenerateKey()
	site.program(t, "own2@site", key)
	if code, body := get(t, program(t, "own2@site", key), dischargeRequest); code != http.StatusForbidden || !strings.Contains(body, "User login not allowed") {
		t.Errorf("got %d %s", code, body)
	}
}

// shown are the macaroons that a client has for the region.
func shown(t *testing.T, c *httpbakery.Client) string {
	t.Helper()
	u, _ := url.Parse(site.url)
	for _, k := range c.Jar.Cookies(u) { // Candid's are among them: cookies know no ports
		if k.Name == "macaroon-maas" {
			return k.Value
		}
	}
	t.Fatal("it has none")
	return ""
}

// showing asks who one is with macaroons and nothing else.
func showing(t *testing.T, value string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, site.url+"/MAAS/api/2.0/users/?op=whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Macaroons", value)
	resp, err := newClient(nil).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestForged takes macaroons as Candid discharged them, and no others; and none of before a new configuration.
func TestForged(t *testing.T) {
	key, other := bakery.MustGenerateKey(), bakery.MustGenerateKey()
	site.program(t, "forger@site", key)
	site.program(t, "victim@site", other)
	c, v := program(t, "forger@site", key), program(t, "victim@site", other)
	for _, x := range []*httpbakery.Client{c, v} {
		if code, body := get(t, x, "/MAAS/api/2.0/users/?op=whoami"); code != http.StatusOK {
			t.Fatalf("got %d %s", code, body)
		}
	}
	good := shown(t, c)
	list := func(value string) (list []json.RawMessage) {
		data, err := base64.StdEncoding.DecodeString(value)
		if err == nil {
			err = json.Unmarshal(data, &list)
		}
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	pack := func(list []json.RawMessage) string {
		data, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(data)
	}
	mine, his := list(good), list(shown(t, v))
	for name, value := range map[string]string{
		"not discharged":          pack(mine[:1]),
		"discharged for another":  pack([]json.RawMessage{mine[0], his[1]}),
		"another's, mine to show": pack([]json.RawMessage{his[0], mine[1]}),
		"a changed byte":          pack([]json.RawMessage{mine[0], json.RawMessage(strings.Replace(string(mine[1]), `"s64":"`, `"s64":"A`, 1))}),
		"no macaroon":             "bm9uZQ==",
	} {
		if code := showing(t, value); code != http.StatusUnauthorized {
			t.Errorf("%s: got %d", name, code)
		}
	}
	if code := showing(t, good); code != http.StatusOK {
		t.Errorf("the good one: got %d", code)
	}
	b := newBrowser(t)
	site.set("leaver")
	returns(t, "no")
	b.login("leaver", "of leaver")
	if who, _ := b.whoami(); who != "leaver@site" {
		t.Fatalf("got %q", who)
	}
	if out, err := command("", "configauth", "--state-dir", state(), "--candid-admin-group", "admins@site"); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if code := showing(t, good); code != http.StatusUnauthorized {
		t.Errorf("after configauth: got %d", code)
	}
	if who, _ := b.whoami(); who != "" {
		t.Errorf("after configauth: the session of %s goes on", who)
	}
}

// TestDown lets nobody in while Candid does not answer.
func TestDown(t *testing.T) {
	key := bakery.MustGenerateKey()
	site.program(t, "down@site", key)
	c := program(t, "down@site", key)
	site.setDown(true)
	defer site.setDown(false)
	if code, _ := get(t, c, dischargeRequest); code == http.StatusOK {
		t.Error("somebody is logged in")
	}
	b := newBrowser(t)
	if resp, page := b.do("GET", site.url+"/login/candid/1", nil); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(page, "cannot be used") {
		t.Errorf("got %d %s", resp.StatusCode, page)
	}
}
