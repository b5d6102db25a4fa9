package region

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

const fresh = "seven violins, one lamp"

// TestAccountOverTheAPI changes the caller's password and ends sessions.
func TestAccountOverTheAPI(t *testing.T) {
	s := newSurface(t)
	s.must("admin", "POST", "/users/", "username", "carol", "email", "", "password", fresh, "is_superuser", "0")
	key := func(password string) int {
		form := url.Values{"username": {"carol"}, "password": {password}}
		req := httptest.NewRequest("POST", "https://localhost/MAAS/accounts/authenticate/", strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		s.handler.ServeHTTP(rec, req)
		return rec.Code
	}
	if got := key(fresh); got != http.StatusOK {
		t.Fatalf("got status %d for the right password", got)
	}
	for _, x := range []struct {
		fields []string
		want   int
		text   string
	}{
		{[]string{"old_password", "wrong", "new_password", "another fresh phrase"}, 400, "not your current password"},
		{[]string{"old_password", "a long enough password", "new_password", "password1234"}, 400, "easy to guess"},
		{[]string{"old_password", "a long enough password"}, 400, "required"},
		{[]string{"old_password", "a long enough password", "new_password", fresh}, 204, ""},
		{[]string{"old_password", fresh, "new_password", fresh}, 400, "choose another one"},
	} {
		if rec := s.call("alice", "POST", "/account/?op=change_password", x.fields...); rec.Code != x.want || !strings.Contains(rec.Body.String(), x.text) {
			t.Errorf("%q: got %d %s", x.fields, rec.Code, rec.Body)
		}
	}
	var limited struct {
		ConsumerKey string `json:"consumer_key"`
		TokenKey    string `json:"token_key"`
	}
	rec := s.call("alice", "POST", "/account/?op=create_authorisation_token", "name", "ci", "days", "7", "read_only", "true", "networks", "10.0.0.0/8", "pools", "default")
	if err := json.Unmarshal(rec.Body.Bytes(), &limited); err != nil || rec.Code != 200 {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	list := s.call("alice", "GET", "/account/?op=list_authorisation_tokens").Body.String()
	for _, want := range []string{`"token":"` + limited.ConsumerKey + ":" + limited.TokenKey + `:"`, `"read_only":true`, `"networks":["10.0.0.0/8"]`, `"pools":[0]`} {
		if !strings.Contains(list, want) {
			t.Errorf("got a list without %s: %s", want, list)
		}
	}
	if rec := s.call("alice", "POST", "/account/?op=create_authorisation_token", "pools", "nowhere"); rec.Code != 400 {
		t.Errorf("a key for a pool that is not there: got %d", rec.Code)
	}
	if rec := s.call("alice", "GET", "/account/?op=list_sessions"); rec.Code != 200 || rec.Body.String() != "[]" {
		t.Errorf("got %d %s, want no session", rec.Code, rec.Body)
	}
}

// How everybody gets in is for administrators and auditors to know, and what the region says of itself is the same.
func TestUsersSecurity(t *testing.T) {
	s := newSurface(t)
	if rec := s.call("alice", "GET", "/users/?op=security"); rec.Code != 403 {
		t.Errorf("a user: got %d %s, want 403", rec.Code, rec.Body)
	}
	var list []map[string]any
	rec := s.call("admin", "GET", "/users/?op=security")
	if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil || rec.Code != 200 || len(list) != 2 {
		t.Fatalf("got %d %s, %v", rec.Code, rec.Body, err)
	}
	for field, want := range map[string]any{"username": "admin", "is_superuser": true, "is_active": true, "has_password": true, "second_factors": 0.0, "keys": 1.0, "keys_without_end": 1.0} {
		if list[0][field] != want {
			t.Errorf("%s: got %v, want %v", field, list[0][field], want)
		}
	}
	d, err := s.r.People(t.Context())
	if err != nil || d.People.Err != nil || d.Settings.Err != nil || len(d.People.Value) != 2 || d.Settings.Value["session_length"] != "1209600" {
		t.Fatalf("got %+v, %v", d, err)
	}
	if p := d.People.Value[0]; p.Name != "admin" || !p.Admin || !p.HasPassword || p.Keys != 1 || p.OldestKey.IsZero() {
		t.Errorf("got %+v", p)
	}
}

// TestUserAdministration runs through a user's life over the API, and finds the door shut when the site keeps it to
// the pages.
func TestUserAdministration(t *testing.T) {
	s := newSurface(t)
	invited := s.must("admin", "POST", "/users/?op=invite", "username", "carol", "email", "carol@example.org", "is_superuser", "0")
	if link, _ := invited["link"].(string); !strings.Contains(link, "/link/") || invited["username"] != "carol" {
		t.Fatalf("got %v, want the user with a link", invited)
	}
	if got := s.must("admin", "PUT", "/users/carol/", "email", "c@example.org"); got["email"] != "c@example.org" {
		t.Errorf("got %v", got)
	}
	if got := s.must("admin", "POST", "/users/carol/?op=deactivate"); got["is_active"] != false {
		t.Errorf("got %v, want it inactive", got)
	}
	if got := s.must("admin", "POST", "/users/carol/?op=reactivate"); got["is_active"] != true {
		t.Errorf("got %v, want it active", got)
	}
	s.must("admin", "POST", "/users/carol/?op=set_password", "password", fresh)
	s.must("admin", "POST", "/users/carol/?op=end_sessions")
	s.must("admin", "POST", "/users/carol/?op=recovery_link")

	calls := []struct {
		method, path string
		fields       []string
	}{
		{"POST", "/users/", []string{"username", "dave", "password", fresh}}, {"POST", "/users/?op=invite", []string{"username", "dave"}},
		{"PUT", "/users/carol/", []string{"email", ""}}, {"POST", "/users/carol/?op=set_password", []string{"password", fresh}}, {"POST", "/users/carol/?op=recovery_link", nil},
		{"POST", "/users/carol/?op=deactivate", nil}, {"POST", "/users/carol/?op=reactivate", nil}, {"POST", "/users/carol/?op=end_sessions", nil}, {"POST", "/users/carol/?op=reset_factors", nil}, {"DELETE", "/users/carol/", nil},
	}
	for _, c := range calls {
		if rec := s.call("alice", c.method, c.path, c.fields...); rec.Code != 403 && rec.Code != 404 {
			t.Errorf("%s %s as a user: got %d", c.method, c.path, rec.Code)
		}
	}
	s.must("admin", "POST", "/maas/?op=set_config", "name", "user_admin_ui_only", "value", "true")
	for _, c := range calls {
		if rec := s.call("admin", c.method, c.path, c.fields...); rec.Code != 403 || !strings.Contains(rec.Body.String(), "in the pages only") {
			t.Errorf("%s %s with user_admin_ui_only: got %d %s", c.method, c.path, rec.Code, rec.Body)
		}
	}
	if rec := s.call("admin", "GET", "/users/carol/"); rec.Code != 200 {
		t.Errorf("reading with user_admin_ui_only: got %d", rec.Code)
	}
	s.must("admin", "POST", "/maas/?op=set_config", "name", "user_admin_ui_only", "value", "false")
	s.must("admin", "DELETE", "/users/carol/")
}

// TestGuessingOverTheAPI answers MAAS's 403 to a wrong password, and 429 with Retry-After to too many, whether the user
// exists or not.
func TestGuessingOverTheAPI(t *testing.T) {
	s := newSurface(t)
	for i, name := range []string{"alice", "nobody"} {
		wrong := 0
		var rec *httptest.ResponseRecorder
		for range 50 { // a slow machine may wait out the first waits
			form := url.Values{"username": {name}, "password": {"wrong"}}
			req := httptest.NewRequest("POST", "https://localhost/MAAS/accounts/authenticate/", strings.NewReader(form.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.RemoteAddr = []string{"192.0.2.66:1", "198.51.100.66:1"}[i]
			rec = httptest.NewRecorder()
			s.handler.ServeHTTP(rec, req)
			if rec.Code != http.StatusForbidden || rec.Body.Len() > 0 {
				break
			}
			wrong++
		}
		if wrong < 5 || rec.Code != http.StatusTooManyRequests || rec.Header().Get("Retry-After") == "" {
			t.Errorf("%s: got %d times 403, then %d with Retry-After %q; want at least 5 times, then 429", name, wrong, rec.Code, rec.Header().Get("Retry-After"))
		}
	}
}

// TestSecondFactorOverTheAPI makes no key for a password alone where a role demands more.
func TestSecondFactorOverTheAPI(t *testing.T) {
	s := newSurface(t)
	s.must("admin", "POST", "/maas/?op=set_config", "name", "mfa_required_roles", "value", "User")
	if rec := s.call("admin", "POST", "/maas/?op=set_config", "name", "mfa_required_roles", "value", "Usr"); rec.Code != 400 {
		t.Errorf("a role that is not there: got %d", rec.Code)
	}
	form := url.Values{"username": {"alice"}, "password": {"a long enough password"}}
	req := httptest.NewRequest("POST", "https://localhost/MAAS/accounts/authenticate/", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, req)
	if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "second factor") || strings.Contains(rec.Body.String(), "token") {
		t.Errorf("got %d %s, want 403 that says why", rec.Code, rec.Body)
	}
	if rec := s.call("alice", "GET", "/users/?op=whoami"); rec.Code != 200 {
		t.Errorf("a key that was made before: got %d", rec.Code)
	}
}
