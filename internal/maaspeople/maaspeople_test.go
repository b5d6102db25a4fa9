package maaspeople

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/secret"
)

// answers are MAAS's, by path and query. Source: MAAS's API 2.0 as its source code and documentation have it (see the package's comment).
func answers() map[string]string {
	return map[string]string{
		"/MAAS/api/2.0/version/":                                `{"version": "3.5.2", "subversion": "16329-g.1234", "capabilities": ["networks-management"]}`,
		"/MAAS/api/2.0/maas/?name=session_length&op=get_config": `1209600`,
		"/MAAS/accounts/login/":                                 `{"authenticated": false, "external_auth_url": "", "no_users": false}`,
		"/MAAS/api/2.0/users/":                                  `[{"username": "MAAS", "email": "maas@localhost", "is_local": true, "is_superuser": false, "resource_uri": "/MAAS/api/2.0/users/MAAS/"}, {"username": "carol", "email": "", "is_local": true, "is_superuser": true}, {"username": "maas-init-node", "is_local": true, "is_superuser": false}, {"username": "dave", "is_local": false, "is_superuser": false}]`,
		"/MAAS/api/2.0/users/?op=security":                      `[{"username": "carol", "is_superuser": true, "is_active": true, "is_local": true, "has_password": true, "created": "2026-01-02T03:04:05.678Z", "second_factors": 1, "sessions": 0, "keys": 2, "keys_without_end": 1, "oldest_key_without_end": "2026-01-02T03:04:05Z"}]`,
	}
}

// served is a region that answers so, and knows one key.
func served(t *testing.T, list map[string]string) Access {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if auth := r.Header.Get("Authorization"); !strings.Contains(auth, `oauth_consumer_key="con"`) || !strings.Contains(auth, `oauth_token="tok"`) || !strings.Contains(auth, `oauth_signature="%26sec%253Fret"`) {
			http.Error(w, "Authorization Error: Invalid API key.", http.StatusUnauthorized)
			return
		}
		body, ok := list[r.URL.RequestURI()]
		status := http.StatusOK
		if !ok {
			status, body = http.StatusBadRequest, `{"x": ["no"]}`
		}
		if rest, is := strings.CutPrefix(body, "STATUS "); is {
			_, _ = fmt.Sscan(rest, &status)
			w.Header().Set("Location", "http://127.0.0.1:1/")
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	a, err := NewAccess(srv.URL+"/MAAS/", secret.FromString("con:tok:sec?ret\n"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestMAAS(t *testing.T) {
	d, ours, err := served(t, answers()).Read(t.Context())
	if err != nil || ours {
		t.Fatalf("got %v, ours %v", err, ours)
	}
	if got := fmt.Sprint(d.People.Value); d.People.Err != nil || len(d.People.Value) != 2 || !d.People.Value[0].Admin || d.People.Value[1].Local {
		t.Errorf("got the people %s, %v", got, d.People.Err)
	}
	if d.Settings.Value["session_length"] != "1209600" || d.External.Err != nil || d.External.Value != (guard.ExternalAuth{}) {
		t.Errorf("got %+v, %+v", d.Settings, d.External)
	}
	for name, err := range map[string]error{"logins": d.Logins, "hashes": d.Hashes, "keys": d.Keys, "audit": d.Audit.Err, "roles": d.Roles.Err, "secrets": d.Secrets.Err, "server": d.Server.Err, "encrypted": d.Encrypted.Err} {
		if err == nil {
			t.Errorf("%s: what MAAS's API does not tell is taken for known", name)
		}
	}
}

func TestMetalward(t *testing.T) {
	list := answers()
	list["/MAAS/api/2.0/version/"] = `{"version": "3.5.0", "subversion": "metalward-1.2", "capabilities": []}`
	d, ours, err := served(t, list).Read(t.Context())
	if err != nil || !ours || d.People.Err != nil || len(d.People.Value) != 1 {
		t.Fatalf("got %+v, ours %v, %v", d.People, ours, err)
	}
	if p := d.People.Value[0]; p.Factors != 1 || p.Keys != 1 || p.OldestKey.Unix() != 1767323045 || d.Keys != nil {
		t.Errorf("got %+v", p)
	}
}

// Whatever is not as MAAS answers is said, and nothing of an answer is repeated.
func TestOtherAnswers(t *testing.T) {
	for _, c := range []struct{ name, path, body, in, part string }{
		{"no JSON", "api/2.0/version/", "<html>secret</html>", "read", "not of the form"},
		{"another program", "api/2.0/version/", `{}`, "read", "not answer as"},
		{"elsewhere", "api/2.0/version/", "STATUS 302", "read", "sends elsewhere"},
		{"not to be told", "api/2.0/users/", "STATUS 403", "read", "not that of an administrator"},
		{"too much", "api/2.0/version/", `"` + strings.Repeat("x", maxAnswer) + `"`, "read", "more than"},
		{"a fault", "api/2.0/users/", "STATUS 500", "people", "status 500"},
		{"no rights said", "api/2.0/users/", `[{"username": "x", "is_local": true}]`, "people", "not listed in the form"},
		{"no name", "api/2.0/users/", `[{"is_superuser": true, "is_local": true}]`, "people", "not listed in the form"},
		{"other types", "api/2.0/users/", `[{"username": "x", "is_superuser": "yes", "is_local": true}]`, "people", "not of the form"},
		{"two values", "api/2.0/users/", `[] []`, "people", "not of the form"},
		{"no such setting", "api/2.0/maas/?name=session_length&op=get_config", "STATUS 400", "settings", "status 400"},
		{"Candid", "accounts/login/", `{"external_auth_url": "https://candid.example"}`, "external", "https://candid.example"},
	} {
		list := answers()
		list["/MAAS/"+c.path] = c.body
		d, _, err := served(t, list).Read(t.Context())
		got := map[string]error{"read": err, "people": d.People.Err, "settings": d.Settings.Err, "external": d.External.Err}[c.in]
		if got == nil || !strings.Contains(got.Error(), c.part) || strings.Contains(got.Error(), "secret") {
			t.Errorf("%s: got %v, want %q in it", c.name, got, c.part)
		}
	}
}

func TestNewAccess(t *testing.T) {
	const key = "con:tok:hidden"
	for _, c := range []struct {
		address, key string
		ok           bool
	}{
		{"https://maas.example", key, true}, {"https://maas.example:5443/MAAS/api/2.0/", key, true}, {"http://127.0.0.1:5240/MAAS", key, true}, {"http://[::1]:5240", key, true}, {"http://localhost:5240/", key, true},
		{"http://maas.example:5240", key, false}, {"http://127.0.0.1.example", key, false}, {"http://localhost.example", key, false}, {"ftp://maas.example", key, false}, {"maas.example", key, false}, {"", key, false},
		{"https://user:x@maas.example", key, false}, {"https://maas.example/?x", key, false}, {"https://maas.example/elsewhere", key, false}, {"https://maas.example/#x", key, false},
		{"https://maas.example", "", false}, {"https://maas.example", "con:tok", false}, {"https://maas.example", "con::hidden", false}, {"https://maas.example", key + ":x", false}, {"https://maas.example", "con:tok:hid\nden", false},
	} {
		_, err := NewAccess(c.address, secret.FromString(c.key), "")
		if (err == nil) != c.ok || err != nil && strings.Contains(err.Error(), "hidden") {
			t.Errorf("%q, %q: got %v, want it taken: %v", c.address, c.key, err, c.ok)
		}
	}
	if _, err := NewAccess("https://maas.example", secret.FromString(key), "nothing"); err == nil {
		t.Error("a file of authorities without one is taken")
	}
}
