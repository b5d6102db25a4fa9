package region

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/directory/directorytest"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/secret"
)

// newDirectory is a region with an OpenLDAP server, whose group ops operates the pool lab.
func newDirectory(t *testing.T) (*signOn, *directorytest.Server) {
	t.Helper()
	d := directorytest.New(t)
	s := &signOn{}
	clock := func() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }
	s.surface = newSurfaceWith(t, func(o *Options) {
		o.Now = clock
		o.Config.EgressAllow = []string{"127.0.0.0/8"}
	})
	s.now = clock
	s.lab = int64(s.must("admin", "POST", "/resourcepools/", "name", "lab")["id"].(float64))
	s.group = fmt.Sprint(s.must("admin", "POST", "/groups/", "name", "Lab operators")["id"])
	s.must("admin", "POST", "/grants/", "group", "Lab operators", "role", authz.Operator, "pool", "lab")
	p := s.must("admin", "POST", "/ldap-providers/", "name", "Staff", "servers", d.URL(), "ca", d.CA, "bind_dn", directorytest.Searcher, "bind_password", directorytest.SearcherPassword,
		"base_dn", directorytest.People, "enabled", "true", "create_users", "true", "groups", directorytest.GroupDN("ops")+" = Lab operators")
	s.id = fmt.Sprint(p["id"])
	return s, d
}

// enter sends the login form.
func (b *browser) enter(name, password string) *httptest.ResponseRecorder {
	return b.send("POST", "/login", "username", name, "password", password, "next", "/pools")
}

// trade asks for an API key for a password, as MAAS's clients do.
func (b *browser) trade(name, password string) *httptest.ResponseRecorder {
	return b.send("POST", "/MAAS/accounts/authenticate/", "username", name, "password", password)
}

const wrongLogin = "Please enter a correct username and password."

// TestDirectoryLogin is the way in by a directory's password: who is let in, as whom, and that the refusals do not tell who
// exists.
func TestDirectoryLogin(t *testing.T) {
	s, d := newDirectory(t)
	d.Person("admin") // as the administrator here is called
	b := s.browser()
	if page := b.send("GET", "/login").Body.String(); strings.Contains(page, "Log in with Staff") {
		t.Errorf("a directory has a button: %s", page)
	}
	if rec := b.enter("jane", directorytest.Password); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/pools" {
		t.Fatalf("got %d %q: %s", rec.Code, rec.Header().Get("Location"), rec.Body)
	}
	jane := b.isIn("jane")
	if !jane.Rights.In(s.lab, authz.EditMachines) || jane.Rights.Has(authz.EditIdentities) {
		t.Errorf("got rights %+v", jane.Rights)
	}
	if u := s.must("admin", "GET", "/users/jane/"); u["email"] != "x4@example.org" || u["is_local"] != false {
		t.Errorf("got user %v", u)
	}
	other := s.browser()
	other.enter("bob", directorytest.Password)
	if other.isIn("bob").Rights.In(s.lab, authz.EditMachines) {
		t.Error("who is in no group operates the pool")
	}
	for name, x := range map[string][2]string{
		"wrong password":        {"jane", "wrong"},
		"unknown":               {"nobody", directorytest.Password},
		"empty password":        {"jane", ""},
		"a name of this site":   {"admin", directorytest.Password},
		"in other letters":      {"ADMIN", directorytest.Password},
		"everybody":             {"*", directorytest.Password},
		"end of the filter":     {"x)(uid=jane", directorytest.Password},
		"the searching account": {"searcher", directorytest.SearcherPassword},
	} {
		b := s.browser()
		b.refused(b.enter(x[0], x[1]), http.StatusUnauthorized, wrongLogin)
		if rec := b.trade(x[0], x[1]); rec.Code != http.StatusForbidden || rec.Body.Len() > 0 && strings.Contains(rec.Body.String(), "consumer") {
			t.Errorf("%s: got %d %s", name, rec.Code, rec.Body)
		}
	}
	if rec := s.browser().trade("jane", directorytest.Password); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "token_secret") {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	// No password of this site is for them, and what asks for the password again asks the directory.
	if err := s.r.Identity.Confirm(authz.With(t.Context(), jane), secret.FromString(directorytest.Password)); err != nil {
		t.Errorf("got %v", err)
	}
	if err := s.r.Identity.Confirm(authz.With(t.Context(), jane), secret.FromString("wrong")); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	if rec := s.call("admin", "POST", "/users/jane/?op=set_password", "password", "a long enough password"); rec.Code != http.StatusConflict {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	// A second factor that a role demands is demanded of them, too.
	s.must("admin", "POST", "/maas/?op=set_config", "name", "mfa_required_roles", "value", authz.Operator)
	if _, ok := b.principal(); ok {
		t.Error("a session without the factor goes on")
	}
	again := s.browser()
	if rec := again.enter("jane", directorytest.Password); rec.Code != http.StatusSeeOther || !strings.HasPrefix(rec.Header().Get("Location"), "/login/factor") {
		t.Errorf("got %d %q", rec.Code, rec.Header().Get("Location"))
	}
	if rec := again.trade("jane", directorytest.Password); rec.Code == http.StatusOK {
		t.Errorf("got a key for the password alone: %s", rec.Body)
	}
	// Secrets are nowhere to be read; disabling the directory ends its sessions.
	all := s.log.String() + fmt.Sprint(s.list("/trail/?limit=1000"))
	for _, path := range []string{"/ldap-providers/", "/ldap-providers/" + s.id + "/"} {
		all += s.call("admin", "GET", path).Body.String()
	}
	if strings.Contains(all, "canary") || !strings.Contains(all, `"bind_password":{"set":true}`) {
		t.Errorf("a password is shown, or it is not said that one is set")
	}
	s.must("admin", "PUT", "/ldap-providers/"+s.id+"/", "create_users", "false")
	d.Person("late")
	late := s.browser()
	late.refused(late.enter("late", directorytest.Password), http.StatusForbidden, "Ask an administrator")
	s.must("admin", "PUT", "/ldap-providers/"+s.id+"/", "enabled", "false")
	if _, ok := other.principal(); ok {
		t.Error("a session of a directory that was disabled goes on")
	}
	off := s.browser()
	off.refused(off.enter("bob", directorytest.Password), http.StatusUnauthorized, wrongLogin)
}

// TestDirectoriesInOrder holds that of several directories the first that knows a name decides, and that one that is down is
// not passed by.
func TestDirectoriesInOrder(t *testing.T) {
	s, staff := newDirectory(t)
	guests := directorytest.New(t)
	guests.Person("kim")
	guests.Set(directorytest.DN("jane"), "userPassword", "of the other jane")
	s.must("admin", "POST", "/ldap-providers/", "name", "Zeta guests", "servers", guests.URL(), "ca", guests.CA, "base_dn", directorytest.People, "bind_dn", directorytest.Searcher,
		"bind_password", directorytest.SearcherPassword, "enabled", "true", "create_users", "true")
	for name, password := range map[string]string{"jane": directorytest.Password, "kim": directorytest.Password} {
		b := s.browser()
		b.enter(name, password)
		b.isIn(name)
	}
	b := s.browser()
	b.refused(b.enter("jane", "of the other jane"), http.StatusUnauthorized, wrongLogin)
	if e := s.list("/users/"); strings.Contains(fmt.Sprint(e), "jane-2") {
		t.Errorf("the other jane came in: %v", e)
	}
	staff.Stop()
	down := s.browser()
	down.refused(down.enter("kim", directorytest.Password), http.StatusServiceUnavailable, "cannot be asked now")
}

// TestDirectoryRecheck holds that what happens to people in the directory is felt here within the hour, and that a
// directory that cannot be asked keeps nobody in for ever.
func TestDirectoryRecheck(t *testing.T) {
	s, d := newDirectory(t)
	s.must("admin", "POST", "/maas/?op=set_config", "name", "metalward_session_idle", "value", "86400")
	b, kim := s.browser(), s.browser()
	b.enter("jane", directorytest.Password)
	kim.enter("bob", directorytest.Password)
	for name, in := range map[string]*browser{"jane": b, "bob": kim} {
		key, err := s.r.Identity.CreateKey(authz.With(t.Context(), in.isIn(name)), identity.NewKey{Name: "kept"})
		if err != nil {
			t.Fatal(err)
		}
		s.keys[name] = key
	}
	call := func(name string) int { return s.call(name, "GET", "/users/?op=whoami").Code }
	first := b.isIn("jane")

	// Within the hour nobody asks; after it a group that was left is left here, for sessions and keys.
	d.Leave("ops", "jane")
	d.Rename("jane", "joan")
	if !b.isIn("jane").Rights.In(s.lab, authz.EditMachines) {
		t.Error("the directory was asked within the hour")
	}
	s.ahead.Add(int64(identity.RecheckAfter + time.Minute))
	if p := b.isIn("jane"); p.Rights.In(s.lab, authz.EditMachines) || p.UserID != first.UserID {
		t.Errorf("got %+v", p)
	}
	if e := s.last("user.sign_on"); !strings.Contains(fmt.Sprint(e), "asked again") || !strings.Contains(fmt.Sprint(e), "Lab operators") {
		t.Errorf("got event %v", e)
	}
	// The entry has another name, and is the same person.
	again := s.browser()
	again.enter("joan", directorytest.Password)
	if p := again.isIn("jane"); p.UserID != first.UserID {
		t.Errorf("a renamed entry is another user: %d, %d", p.UserID, first.UserID)
	}
	d.Person("jane") // a newcomer gets no old account
	newcomer := s.browser()
	newcomer.enter("jane", directorytest.Password)
	if p := newcomer.isIn("jane-2"); p.UserID == first.UserID {
		t.Error("a newcomer has an old account")
	}

	// Who is gone loses sessions and keys.
	d.Delete("bob")
	s.ahead.Add(int64(identity.RecheckAfter + time.Minute))
	if code := call("bob"); code != http.StatusForbidden {
		t.Errorf("the key of who is gone: got %d", code)
	}
	if _, ok := kim.principal(); ok {
		t.Error("the session of who is gone goes on")
	}
	if code := call("bob"); code != http.StatusForbidden {
		t.Errorf("asked again: got %d", code)
	}
	gone := s.browser()
	gone.refused(gone.enter("bob", directorytest.Password), http.StatusUnauthorized, wrongLogin)
	if code := call("jane"); code != http.StatusOK {
		t.Errorf("got %d", code)
	}

	// A directory that is down is believed for a while.
	d.Stop()
	down := s.browser()
	for _, name := range []string{"joan", "nobody", "admin"} { // which names are local does not show
		down.refused(down.enter(name, "x"), http.StatusServiceUnavailable, "The directory cannot be asked now.")
	}
	s.ahead.Add(int64(identity.RecheckAfter + identity.RecheckGrace - time.Minute))
	if code := call("jane"); code != http.StatusOK {
		t.Errorf("within the grace: got %d", code)
	}
	s.ahead.Add(int64(2 * time.Minute))
	if code := call("jane"); code != http.StatusServiceUnavailable {
		t.Errorf("after the grace: got %d", code)
	}
	if _, ok := again.principal(); ok {
		t.Error("a session goes on after the grace")
	}
	if rec := again.send("GET", "/machines"); rec.Code != http.StatusServiceUnavailable || !strings.Contains(rec.Body.String(), "has not answered for too long") {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	again.enter("admin", "a long enough password") // in the same browser
	again.isIn("admin")
}

// TestDirectoryProviders holds that each collection has its own kind, that a secret stays with its address, and that who
// cannot make himself an administrator cannot have somebody else vouch for one.
func TestDirectoryProviders(t *testing.T) {
	s, d := newDirectory(t)
	s.browser().enter("jane", directorytest.Password)
	path := "/ldap-providers/" + s.id + "/"
	for _, x := range [][2]string{{"GET", ""}, {"PUT", ""}, {"DELETE", ""}, {"POST", "?op=test"}} {
		if rec := s.call("admin", x[0], "/oidc-providers/"+s.id+"/"+x[1]); rec.Code != http.StatusNotFound {
			t.Errorf("%s %s: got %d %s", x[0], x[1], rec.Code, rec.Body)
		}
	}
	if list := s.list("/oidc-providers/"); len(list) != 0 {
		t.Errorf("got %v", list)
	}
	for field, value := range map[string]string{"servers": "ldaps://other.example", "ca": ""} {
		if rec := s.call("admin", "PUT", path, field, value); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "bind_password") {
			t.Errorf("%s: got %d %s", field, rec.Code, rec.Body)
		}
	}
	for _, bad := range [][2]string{{"servers", "ldap://127.0.0.1"}, {"groups", "ops = Lab operators"}, {"user_filter", "(uid=jane)"}} {
		if rec := s.call("admin", "PUT", path, bad[0], bad[1], "bind_password", "x"); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), bad[0]) {
			t.Errorf("%v: got %d %s", bad, rec.Code, rec.Body)
		}
	}
	s.must("admin", "PUT", path, "servers", d.URL()+"/", "bind_password", directorytest.SearcherPassword)
	for name, want := range map[string]string{"": "accepts the service account", "jane": "in " + directorytest.GroupDN("ops"), "nobody": "no entry"} {
		if r := s.must("admin", "POST", path+"?op=test", "username", name); r["ok"] != true || !strings.Contains(fmt.Sprint(r["message"]), want) {
			t.Errorf("%q: got %v", name, r)
		}
	}
	s.must("admin", "POST", "/roles/", "name", "registrar", "permissions", "can_edit_identities can_view_identities")
	s.must("admin", "POST", "/grants/", "user", "alice", "role", "registrar", "all_pools", "true")
	s.must("admin", "PUT", path, "groups", "")
	if rec := s.call("alice", "PUT", path, "base_dn", directorytest.Base); rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), "only an administrator") {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	// A directory of hers would be shown the passwords of everybody who is not in it.
	if rec := s.call("alice", "POST", "/ldap-providers/", "name", "A", "servers", "ldaps://hers.example", "base_dn", directorytest.Base, "enabled", "true"); rec.Code != http.StatusForbidden {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	admin := s.browser()
	admin.enter("admin", "a long enough password")
	// A further one by the form, of a directory that everybody may search: an account needs its password.
	form := []string{"kind", "ldap", "name", "Guests", "servers", d.URL(), "ca", d.CA, "base_dn", directorytest.Groups, "user_filter", "(uid={name})", "create_users", "on"}
	if page := admin.send("GET", "/providers?kind=ldap").Body.String(); !strings.Contains(page, `name="bind_dn"`) || strings.Contains(page, `name="client_id"`) {
		t.Errorf("got page %s", page)
	}
	if rec := admin.send("POST", "/providers", append(form, "bind_dn", directorytest.Searcher)...); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "This field is required.") {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	rec := admin.send("POST", "/providers", form...)
	if rec.Code != http.StatusSeeOther || !strings.HasPrefix(rec.Header().Get("Location"), "/providers/") {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	if rec := admin.send("POST", strings.TrimSuffix(rec.Header().Get("Location"), "?notice=added"), append(form, "bind_dn", directorytest.Searcher)...); rec.Code != http.StatusBadRequest {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	page := admin.send("GET", "/providers/"+s.id).Body.String()
	if !strings.Contains(page, "LDAP directory") || !strings.Contains(page, "Is set. Leave empty to keep it.") || strings.Contains(page, "canary") {
		t.Errorf("got page %s", page)
	}
}
