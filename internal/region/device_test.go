package region

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/providers"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/secret"
)

// newDevice is a region whose provider lets the command line log in.
func newDevice(t *testing.T) *signOn {
	s := newSignOn(t)
	s.must("admin", "PUT", "/oidc-providers/"+s.id+"/", "device_login", "yes")
	c := jane()
	c["groups"] = []string{"lab-ops"}
	s.op.is(c)
	s.op.says("authorization_pending")
	return s
}

// device begins a login, and returns the handle of it.
func (b *browser) device() string {
	b.s.t.Helper()
	rec := b.send("POST", "/MAAS/accounts/device/")
	var d map[string]any
	if err := json.Unmarshal(rec.Body.Bytes(), &d); err != nil || rec.Code != http.StatusOK {
		b.s.t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	if d["user_code"] != "WDJB-MJHT" || d["interval"] != 5.0 || d["expires_in"] != 900.0 || d["provider"] != "Example" || !strings.HasPrefix(fmt.Sprint(d["verification_uri"]), "https://") ||
		strings.Contains(rec.Body.String(), "canary") || rec.Header().Get("Cache-Control") != "no-store" {
		b.s.t.Errorf("got %s", rec.Body)
	}
	return fmt.Sprint(d["device_code"])
}

func (b *browser) poll(handle string) *httptest.ResponseRecorder {
	return b.send("POST", "/MAAS/accounts/device/poll/", "device_code", handle, "name", "laptop")
}

// says demands an answer.
func says(t *testing.T, rec *httptest.ResponseRecorder, code int, text string) {
	t.Helper()
	if rec.Code != code || !strings.Contains(rec.Body.String(), text) || strings.Contains(rec.Body.String(), "canary") {
		t.Errorf("got %d %s, want %d and %q", rec.Code, rec.Body, code, text)
	}
}

// TestDeviceLogin is a login of the command line: it waits as the provider says, ends with a key of the user's rights that
// has an end, once, and nothing of the provider's tokens or code is seen.
func TestDeviceLogin(t *testing.T) {
	s := newDevice(t)
	b := s.browser()
	handle := b.device()
	says(t, b.poll(handle), http.StatusBadRequest, `"authorization_pending"`)
	says(t, b.poll(handle), http.StatusBadRequest, `"slow_down"`) // too soon: the provider is not asked
	if s.op.asked != 1 {
		t.Errorf("the provider was asked %d times", s.op.asked)
	}
	s.ahead.Add(int64(11 * time.Second))
	s.op.says("slow_down")
	says(t, b.poll(handle), http.StatusBadRequest, `"slow_down"`)
	s.ahead.Add(int64(11 * time.Second))
	s.op.says("")
	says(t, b.poll(handle), http.StatusBadRequest, `"slow_down"`) // it has to wait longer now
	s.ahead.Add(int64(time.Minute))
	rec := b.poll(handle)
	var k map[string]string
	if err := json.Unmarshal(rec.Body.Bytes(), &k); err != nil || rec.Code != http.StatusOK || k["name"] != "laptop" {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	key := identity.KeySecret{Secret: secret.FromString(k["token_secret"])}
	key.ConsumerKey, key.TokenKey = k["consumer_key"], k["token_key"]
	s.keys["jane"] = key
	if p, err := s.r.Identity.User(authz.AsSystem(t.Context(), "test"), "jane"); err != nil || p.Email != "jane@example.com" {
		t.Errorf("got %v, %v", p, err)
	}
	s.must("jane", "GET", "/users/?op=whoami")
	s.ahead.Add(int64(time.Minute))
	says(t, s.browser().poll(handle), http.StatusUnauthorized, "finished already") // replayed
	s.ahead.Add(int64(identity.DeviceKeyDays*24*time.Hour - time.Hour))
	s.must("jane", "GET", "/users/?op=whoami")
	s.ahead.Add(int64(2 * time.Hour))
	if rec := s.call("jane", "GET", "/users/?op=whoami"); rec.Code != http.StatusUnauthorized {
		t.Errorf("the key has no end: got %d", rec.Code)
	}
	all := s.log.String() + fmt.Sprint(s.list("/trail/?limit=1000"))
	s.op.mu.Lock()
	defer s.op.mu.Unlock()
	for _, token := range append(s.op.used, s.op.key, handle, k["token_secret"]) {
		if strings.Contains(all, token) {
			t.Errorf("the log or the trail has %.20s…", token)
		}
	}
}

// TestDeviceRefused holds that whoever does not confirm, is late, guesses, or is not let in gets no key.
func TestDeviceRefused(t *testing.T) {
	s := newDevice(t)
	for _, said := range []string{"access_denied", "expired_token", "invalid_grant", "something\x1b[31m"} {
		b := s.browser()
		handle := b.device()
		s.op.says(said)
		says(t, b.poll(handle), http.StatusUnauthorized, "did not confirm")
	}
	s.op.says("")
	late := s.browser()
	handle := late.device()
	s.ahead.Add(int64(16 * time.Minute))
	says(t, late.poll(handle), http.StatusUnauthorized, "took too long")
	for _, guess := range []string{"", "x", strings.Repeat("A", 9000), handle[:len(handle)-8] + "AAAAAAAA"} {
		says(t, s.browser().poll(guess), http.StatusUnauthorized, "took too long, was begun")
	}
	// What an ID token lacks or has wrong counts here, too.
	for name, spoil := range map[string]func(map[string]any){
		"audience": func(c map[string]any) { c["aud"] = "another" }, "issuer": func(c map[string]any) { c["iss"] = "https://issuer.example" }, "no subject": func(c map[string]any) { delete(c, "sub") },
	} {
		s.op.spoils(spoil)
		b := s.browser()
		if rec := b.poll(b.device()); rec.Code != http.StatusUnauthorized {
			t.Errorf("%s: got %d %s", name, rec.Code, rec.Body)
		}
		s.op.spoils(nil)
	}
	s.op.is(map[string]any{"sub": "mallory", "preferred_username": "admin"})
	b := s.browser()
	says(t, b.poll(b.device()), http.StatusConflict, "link your identity")
	for _, u := range s.list("/users/") {
		if u["username"] != "admin" && u["username"] != "alice" {
			t.Errorf("a refused login made the user %v", u["username"])
		}
	}
	// A provider that does not allow it, and more begun than is let through.
	b = s.browser()
	for range providers.DeviceBegins.Subject.Free {
		b.device()
	}
	says(t, b.send("POST", "/MAAS/accounts/device/"), http.StatusTooManyRequests, "Too many logins were begun")
	handle = s.browser().device()
	s.must("admin", "PUT", "/oidc-providers/"+s.id+"/", "device_login", "no")
	says(t, s.browser().send("POST", "/MAAS/accounts/device/"), http.StatusNotFound, "No identity provider here lets")
	says(t, s.browser().poll(handle), http.StatusUnauthorized, "took too long")
}

// TestUserInfo holds that claims which the ID token lacks are taken from UserInfo, of the same subject, and none that it has.
func TestUserInfo(t *testing.T) {
	regiontest.Slow(t)
	info := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = w.Write([]byte(text))
		}
	}
	const full = `{"sub": "1", "groups": ["lab-ops"], "email": "jane@example.com", "email_verified": true, "preferred_username": "jane"}`
	for name, x := range map[string]struct {
		token    map[string]any
		info     http.HandlerFunc
		refused  string
		email    string
		operates bool
	}{
		"all missing":             {map[string]any{}, info(full), "", "jane@example.com", true},
		"groups missing":          {map[string]any{"email": "j@example.org", "email_verified": true}, info(full), "", "j@example.org", true},
		"groups there":            {map[string]any{"groups": []string{}}, info(full), "", "jane@example.com", false},
		"verified is the address": {map[string]any{"email_verified": true, "groups": []string{}}, info(`{"sub": "1", "email": "root@example.com"}`), "", "", false},
		"another subject":         {map[string]any{}, info(strings.Replace(full, `"1"`, `"2"`, 1)), "could not be verified", "", false},
		"no subject":              {map[string]any{}, info(`{"groups": ["lab-ops"]}`), "could not be verified", "", false},
		"signed":                  {map[string]any{}, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/jwt") }, "cannot be asked for your groups", "", false},
		"refused":                 {map[string]any{}, http.NotFound, "cannot be asked for your groups", "", false},
		"sent on": {map[string]any{}, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
			"cannot be asked for your groups", "", false},
		"refused, groups there": {map[string]any{"groups": []string{"lab-ops"}}, http.NotFound, "", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSignOn(t)
			s.op.info = x.info
			x.token["sub"], x.token["preferred_username"] = "1", "jane"
			s.op.is(x.token)
			b := s.browser()
			rec := b.login()
			if x.refused != "" {
				if _, in := b.principal(); in || !strings.Contains(rec.Body.String(), x.refused) {
					t.Errorf("got a session: %v, %s", in, rec.Body)
				}
				return
			}
			if got := b.isIn("jane").Rights.In(s.lab, authz.EditMachines); got != x.operates {
				t.Errorf("got %v, want %v", got, x.operates)
			}
			if u := s.must("admin", "GET", "/users/jane/"); u["email"] != x.email {
				t.Errorf("got e-mail %v, want %q", u["email"], x.email)
			}
		})
	}
}
