package ui

import (
	"bufio"
	"context"
	"fmt"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

const freshPassword = "a new long password"

// TestOwnPassword is changed by every user; the browser that did it goes on under a new cookie.
func TestOwnPassword(t *testing.T) {
	e := newEnv(t)
	other := e.login("alice", userPassword)
	change := func(old, fresh, again string) []string {
		return []string{"old_password", old, "new_password", fresh, "again", again}
	}
	for name, x := range map[string]struct {
		fields []string
		want   string
	}{
		"wrong":  {change("wrong", freshPassword, freshPassword), "This is not your current password."},
		"differ": {change(userPassword, freshPassword, "another"), "The two passwords differ."},
		"short":  {change(userPassword, "short", "short"), "Use at least 12 characters."},
		"common": {change(userPassword, "password1234", "password1234"), "easy to guess"},
		"name":   {change(userPassword, "alicealicealice", "alicealicealice"), "Do not use your name"},
		"same":   {change(userPassword, userPassword, userPassword), "choose another one"},
	} {
		t.Run(name, func(t *testing.T) {
			e.want(e.post("/account/password", e.user, x.fields...), 400, x.want, "!"+userPassword, "!"+freshPassword)
		})
	}
	e.want(e.get("/account", e.user), 200)
	w := e.post("/account/password", e.user, change(userPassword, freshPassword, freshPassword)...)
	e.goes(w, "/account?notice=password")
	fresh := w.Result().Cookies()[0]
	e.goes(e.get("/account", e.user), "/login?next=%2Faccount")
	e.goes(e.get("/account", other), "/login?next=%2Faccount")
	e.want(e.get("/account?notice=password", fresh), 200, "The password was changed.")
	e.login("alice", freshPassword)
}

// TestSessions lists one's own and ends them.
func TestSessions(t *testing.T) {
	e := newEnv(t)
	r := e.form("/login", nil, "username", "alice", "password", userPassword)
	r.Header.Set("User-Agent", "Phone/7 <script>")
	phone := e.serve(r).Result().Cookies()[0]
	third := e.login("alice", userPassword)
	page := e.get("/account", e.user).Body.String()
	if !strings.Contains(page, html.EscapeString("Phone/7 <script>")) || strings.Count(page, "This one") != 1 {
		t.Errorf("got a page without the other browser, or without the mark of this one: %s", excerpt(page))
	}
	id := metal.Session{Hash: secret.FromString(phone.Value).Hash()}.ID()
	e.want(e.post("/account/sessions/"+id+"/end", e.admin), 404) // another's
	e.goes(e.post("/account/sessions/"+id+"/end", e.user), "/account?notice=ended")
	e.goes(e.get("/account", phone), "/login?next=%2Faccount")
	e.want(e.get("/account", third), 200)
	e.goes(e.post("/account/sessions/end", e.user), "/account?notice=ended")
	e.goes(e.get("/account", third), "/login?next=%2Faccount")
	e.want(e.get("/account", e.user), 200, "This one")
}

// TestStreamsEnd holds a stream open while its login ends in each way. It ends with the change that another call
// makes here, and by its own looking when the change was made elsewhere.
func TestStreamsEnd(t *testing.T) {
	e := newEnv(t)
	base := e.listen()
	users := 0
	// elsewhere is another region on the same database: its changes are not told here.
	elsewhere := gate.New(gate.Config{Region: "region2", Reader: e.reader, Writer: e.writer, Now: time.Now, Log: e.log})
	raise := func(name string) error {
		return elsewhere.Do(authz.AsSystem(t.Context(), "test"), authz.UserEdit, func(c *gate.Call) error {
			u, err := c.Tx().UserByName(name)
			if err != nil {
				return err
			}
			if err := c.Require(store.UserTarget(u.User)); err != nil {
				return err
			}
			u.Epoch++
			return c.Tx().PutUser(u)
		})
	}
	post := func(path string, who *http.Cookie, fields ...string) error {
		if w := e.post(path, who, fields...); w.Code != http.StatusSeeOther {
			return fmt.Errorf("got status %d: %s", w.Code, excerpt(w.Body.String()))
		}
		return nil
	}
	for name, end := range map[string]func(name string, own *http.Cookie) error{
		"password changed": func(_ string, own *http.Cookie) error {
			return post("/account/password", own, "old_password", userPassword, "new_password", freshPassword, "again", freshPassword)
		},
		"password set": func(name string, _ *http.Cookie) error {
			return post("/users/"+name+"/password", e.admin, "password", freshPassword)
		},
		"deactivated":     func(name string, _ *http.Cookie) error { return post("/users/"+name+"/deactivate", e.admin) },
		"deleted":         func(name string, _ *http.Cookie) error { return post("/users/"+name+"/delete", e.admin) },
		"sessions ended":  func(name string, _ *http.Cookie) error { return post("/users/"+name+"/sessions/end", e.admin) },
		"logged out":      func(_ string, own *http.Cookie) error { return post("/logout", own) },
		"ended elsewhere": func(name string, _ *http.Cookie) error { return raise(name) },
	} {
		t.Run(name, func(t *testing.T) {
			users++
			user := fmt.Sprint("user", users)
			if err := post("/users", e.admin, "username", user, "password", userPassword); err != nil {
				t.Fatal(err)
			}
			own := e.login(user, userPassword)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			r, _ := http.NewRequestWithContext(ctx, http.MethodGet, base+"/events", nil)
			r.AddCookie(own)
			resp, err := e.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			lines := bufio.NewScanner(resp.Body)
			if resp.StatusCode != 200 || !lines.Scan() {
				t.Fatalf("got %d and no stream", resp.StatusCode)
			}
			if err := end(user, own); err != nil {
				t.Fatal(err)
			}
			for lines.Scan() {
			}
			if ctx.Err() != nil || lines.Err() != nil {
				t.Errorf("the stream goes on: %v", lines.Err())
			}
			e.goes(e.get("/account", own), "/login?next=%2Faccount")
		})
	}
}

var linkRE = regexp.MustCompile(`https://region\.example:5443(/link/[A-Za-z0-9_-]{32})`)

// TestInvitation makes a user choose a password by a link that works once, and a forgotten one anew.
func TestInvitation(t *testing.T) {
	e := newEnv(t)
	w := e.post("/users", e.admin, "username", "carol", "invite", "on")
	e.want(w, 200, "shown only now")
	link := linkRE.FindStringSubmatch(w.Body.String())
	if link == nil {
		t.Fatalf("got no link: %s", excerpt(w.Body.String()))
	}
	e.want(e.post("/login", nil, "username", "carol", "password", ""), 401)
	e.want(e.get("/users/carol", e.admin), 200, "none: the invitation was not taken up")
	for range 3 {
		e.want(e.get(link[1], nil), 200, "carol") // looking spends nothing
	}
	e.want(e.post(link[1], nil, "password", "short", "again", "short"), 400, "Use at least 12 characters.")
	e.want(e.post(link[1], nil, "password", freshPassword, "again", "another"), 400, "The two passwords differ.")
	e.goes(e.post(link[1], nil, "password", freshPassword, "again", freshPassword), "/login?notice=chosen")
	e.want(e.post(link[1], nil, "password", userPassword, "again", userPassword), 403, "used already or has expired")
	e.want(e.get(link[1], nil), 403)
	own := e.login("carol", freshPassword)

	// Recovery: the old password works until the link is used, then it and its sessions are gone.
	e.want(e.post("/users/carol/link", e.user), 403)
	w = e.post("/users/carol/link", e.admin)
	e.want(w, 200, "shown only now")
	first := linkRE.FindStringSubmatch(w.Body.String())
	second := linkRE.FindStringSubmatch(e.post("/users/carol/link", e.admin).Body.String())
	e.want(e.get(first[1], nil), 403) // replaced
	e.login("carol", freshPassword)
	e.goes(e.post(second[1], nil, "password", userPassword, "again", userPassword), "/login?notice=chosen")
	e.goes(e.get("/account", own), "/login?next=%2Faccount")
	e.want(e.post("/login", nil, "username", "carol", "password", freshPassword), 401)
	e.login("carol", userPassword)

	// A deactivated user has no way back but an administrator's.
	third := linkRE.FindStringSubmatch(e.post("/users/carol/link", e.admin).Body.String())
	e.goes(e.post("/users/carol/deactivate", e.admin), "/users/carol?notice=saved")
	e.want(e.post(third[1], nil, "password", freshPassword, "again", freshPassword), 403)
	e.want(e.post("/users/carol/link", e.admin), 400, "deactivated")
	e.want(e.post("/login", nil, "username", "carol", "password", userPassword), 401)
	e.goes(e.post("/users/carol/reactivate", e.admin), "/users/carol?notice=saved")
	e.login("carol", userPassword)
	e.want(e.post("/users/root/deactivate", e.admin), 400, "You cannot deactivate yourself.")
	e.goes(e.post("/users/carol", e.admin, "email", "carol@example.org"), "/users/carol?notice=saved")
	e.want(e.get("/users", e.admin), 200, "carol@example.org")

	// No secret of a link is in the trail.
	trail := e.get("/audit", e.admin).Body.String()
	for _, l := range [][]string{link, first, second, third} {
		if strings.Contains(trail, strings.TrimPrefix(l[1], "/link/")) {
			t.Error("the trail has the secret of a link")
		}
	}
}

// TestKeyLimits makes a key with limits and shows them.
func TestKeyLimits(t *testing.T) {
	e := newEnv(t)
	e.want(e.post("/account/keys", e.user, "name", "ci", "days", "30", "read_only", "on", "pools", "0", "networks", "10.0.0.0/8, 192.0.2.7"), 200, "shown only now")
	e.want(e.get("/account", e.user), 200, "reads only", "default", "10.0.0.0/8", "192.0.2.7/32")
	for _, bad := range [][]string{{"days", "soon"}, {"days", "-1"}, {"days", "99999999"}, {"networks", "everywhere"}, {"pools", "99"}, {"pools", "x"}, {"name", "a\nb"}} {
		if w := e.post("/account/keys", e.user, bad...); w.Code != 400 {
			t.Errorf("%q: got status %d, want 400", bad, w.Code)
		}
	}
}
