package region

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rbac/rbactest"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// withRBAC has a region trust a service that runs in the test.
func withRBAC(t *testing.T, server *rbactest.Server) func(*Options) {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "rbac.pem")
	if err := os.WriteFile(ca, server.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	return func(o *Options) { o.Config.EgressAllow, o.Config.EgressCA = []string{"127.0.0.0/8"}, ca }
}

// addRBAC configures a service as a provider, and returns its id.
func (s *surface) addRBAC(server *rbactest.Server) int64 {
	s.t.Helper()
	key := macaroons.NewKey()
	o := s.must("admin", "POST", "/rbac-providers/", "name", "estate", "rbac_url", server.URL, "agent_username", server.Register("Site", key.Public()),
		"agent_key", key.Private().RevealString(), "enabled", "true", "create_users", "true")
	if err := s.r.RBAC.Sync(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return int64(o["id"].(float64))
}

// allowRole has a service give somebody what a role of ours amounts to there, in a pool.
func allowRole(server *rbactest.Server, name, role string, pool int64) {
	id := fmt.Sprint(pool)
	for _, p := range map[string][]string{
		authz.Operator:  {"view", "view-all", "deploy-machines", "admin-machines", "edit"},
		authz.RoleUser:  {"view", "deploy-machines"},
		authz.Auditor:   {"view", "view-all"},
		"only to be in": {"view"},
	}[role] {
		server.Allow(name, "resource-pool", p, id)
	}
}

// estate is a region whose people an RBAC service brings, and what they may do.
type estate struct {
	*candidSite
	server *rbactest.Server
	rbac   int64 // the provider
	other  int64 // a pool beside lab
}

func newEstate(t *testing.T) *estate {
	t.Helper()
	server := rbactest.New(t)
	e := &estate{candidSite: &candidSite{signOn: &signOn{}}, server: server}
	clock := func() time.Time { return time.Now().Add(time.Duration(e.ahead.Load())) }
	e.surface = newSurfaceWith(t, func(o *Options) {
		o.Now = clock
		withRBAC(t, server)(o)
	})
	e.now = clock
	e.lab = int64(e.must("admin", "POST", "/resourcepools/", "name", "lab")["id"].(float64))
	e.other = int64(e.must("admin", "POST", "/resourcepools/", "name", "other")["id"].(float64))
	e.rbac = e.addRBAC(server)
	e.id = fmt.Sprint(e.rbac)
	e.srv = httptest.NewTLSServer(e.handler)
	t.Cleanup(e.srv.Close)
	return e
}

// person is somebody whom the service knows, and who can prove who he is.
func (e *estate) person(name string) macaroons.Agent {
	key := macaroons.NewKey()
	e.server.AddPerson(name, key.Public())
	return macaroons.Agent{URL: e.server.URL + "/auth", Username: name, Key: key}
}

// company is the estate with what makes machines.
func (e *estate) company() *company { return &company{surface: e.surface, lab: e.lab, other: e.other} }

// TestRBACEstate is how the people of an existing estate come and work: the service vouches for them and says what they may
// do, and is told of the pools.
func TestRBACEstate(t *testing.T) {
	e := newEstate(t)
	if got := e.server.Pools(); got["0"] != "default" || got[fmt.Sprint(e.lab)] != "lab" || len(got) != 3 {
		t.Errorf("the service knows %v", got)
	}
	jane, boss, joe, alice := e.person("jane"), e.person("boss"), e.person("joe"), e.person("alice")
	allowRole(e.server, "jane", authz.Operator, e.lab)
	allowRole(e.server, "alice", authz.Operator, e.lab)
	e.server.Allow("boss", "maas", "admin", "")
	c := e.company()
	mine, theirs := c.machine(e.lab, "", metal.Ready), c.machine(e.other, "", metal.Ready)

	client := e.program(jane)
	if code, body := e.send(client, "GET", dischargeRequest); code != http.StatusOK || !strings.Contains(body, `"username":"jane"`) || !strings.Contains(body, `"is_superuser":false`) {
		t.Fatalf("jane: got %d %s", code, body)
	}
	machine := func(m metal.Machine) string { return "/MAAS/api/2.0/machines/" + m.SystemID + "/" }
	if code, body := e.send(client, "GET", machine(mine)); code != http.StatusOK {
		t.Errorf("in her pool: got %d %s", code, body)
	}
	if code, body := e.send(client, "GET", machine(theirs)); code != http.StatusNotFound {
		t.Errorf("in another pool: got %d %s", code, body)
	}
	if names := e.groupsOf("jane"); names != "" {
		t.Errorf("jane joined %q: the service alone decides", names)
	}
	administrator := e.program(boss)
	if code, body := e.send(administrator, "GET", dischargeRequest); code != http.StatusOK || !strings.Contains(body, `"is_superuser":true`) {
		t.Errorf("boss: got %d %s", code, body)
	}
	for page, want := range map[string]string{"/providers/" + e.id: "Pools known there</dt><dd>3<", "/users/jane": "decided by the RBAC service estate alone", "/access?user=jane": `<span class="mono">rbac:admin-machines</span> <a class="dim" href="/providers/` + e.id + `">`} {
		if code, body := e.send(administrator, "GET", page); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: got %d, without %q", page, code, want)
		}
	}
	for who, a := range map[string]macaroons.Agent{"joe, who has no rights": joe, "alice, who is a local user": alice} {
		if code, body := e.send(e.program(a), "GET", dischargeRequest); code != http.StatusForbidden || !strings.Contains(body, "User login not allowed") {
			t.Errorf("%s: got %d %s", who, code, body)
		}
	}
	// Who is not an administrator cannot say who decides, nor can anybody beside the service.
	if rec := e.call("admin", "POST", "/grants/", "user", "jane", "role", authz.Auditor, "all_pools", "true"); rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "RBAC service estate") {
		t.Errorf("a grant beside the service's: got %d %s", rec.Code, rec.Body)
	}
	for _, g := range c.list("admin", "/grants/?user=jane") {
		if g["source"] != "/MAAS/api/2.0/rbac-providers/"+e.id+"/" {
			t.Errorf("got grant %v", g)
		}
		if rec := e.call("admin", "DELETE", fmt.Sprintf("/grants/%v/", g["id"])); rec.Code != http.StatusConflict {
			t.Errorf("a grant of the service's is revoked: got %d %s", rec.Code, rec.Body)
		}
	}
	link := metal.ExternalLogin{ProviderID: e.rbac, Issuer: e.server.URL, Subject: "alice", Name: "alice", State: secret.Random(16).Hash(), StateEnds: e.now().Add(time.Minute)}
	p := c.principal("alice")
	if err := e.r.Identity.LinkIdentity(authz.With(t.Context(), p), link); !fault.Is(err, fault.Conflict) {
		t.Errorf("a local user links an identity of the service's: got %v", err)
	}
	// The service's administrators may be gone with it: they do not count as the ones that a site has to keep.
	e.keyOf("boss")
	for _, call := range [][2]string{{"POST", "/users/admin/?op=deactivate"}, {"DELETE", "/users/admin/"}} {
		if rec := e.call("boss", call[0], call[1]); rec.Code != http.StatusConflict {
			t.Errorf("%v, the last local administrator: got %d %s", call, rec.Code, rec.Body)
		}
	}
	e.must("admin", "POST", "/roles/", "name", "Clerk", "permissions", "can_edit_identities")
	e.must("admin", "POST", "/grants/", "user", "alice", "role", "Clerk", "all_pools", "true")
	for _, call := range [][]string{{"PUT", "/rbac-providers/" + e.id + "/", "name", "mine"}, {"POST", "/rbac-providers/", "name", "x", "rbac_url", "https://x.example", "agent_username", "x", "agent_key", "x"}} {
		if rec := e.call("alice", call[0], call[1], call[2:]...); rec.Code != http.StatusForbidden {
			t.Errorf("%v by a clerk: got %d %s", call, rec.Code, rec.Body)
		}
	}
	read := e.must("admin", "GET", "/rbac-providers/"+e.id+"/")
	if sync, _ := read["sync"].(map[string]any); sync["pools"] != 3.0 || sync["error"] != "" || sync["last"] == nil || sync["waiting"] != 0.0 {
		t.Errorf("got sync %v", read["sync"])
	}
	if u := e.must("admin", "GET", "/users/jane/"); u["rights_from"] != "/MAAS/api/2.0/rbac-providers/"+e.id+"/" || u["is_local"] != false {
		t.Errorf("got user %v", u)
	}
	if u := e.must("admin", "GET", "/users/alice/"); u["rights_from"] != nil {
		t.Errorf("got user %v", u)
	}
	if s := fmt.Sprint(read); !strings.Contains(s, "agent_key:map[set:true]") {
		t.Errorf("the provider shows its key: %s", s)
	}
}

// TestRBACBrowser logs in with a browser, at the service's own page.
func TestRBACBrowser(t *testing.T) {
	e := newEstate(t)
	e.person("jane")
	visit := regexp.MustCompile(`https://[^"]*/auth/login\?did=[A-Z0-9]+`)
	login := func() *browser {
		t.Helper()
		b := e.browser()
		rec := b.send("GET", "/login/rbac/"+e.id+"?next=/pools")
		to := visit.FindString(rec.Body.String())
		if rec.Code != http.StatusOK || to == "" {
			t.Fatalf("got %d %s", rec.Code, rec.Body)
		}
		if resp, err := e.server.Client().Get(to + "&username=jane"); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("at the service: got %v, %v", resp, err)
		}
		return b
	}
	b := login()
	b.refused(b.send("POST", "/login/macaroon/visited"), http.StatusForbidden, "does not let you in")
	allowRole(e.server, "jane", authz.RoleUser, e.lab)
	b = login()
	if rec := b.send("POST", "/login/macaroon/visited"); rec.Code != http.StatusSeeOther || rec.Header().Get("Location") != "/pools" {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	if p := b.isIn("jane"); !p.Rights.In(e.lab, authz.DeployMachines) || p.Rights.In(e.other, authz.ViewAvailable) {
		t.Errorf("got %v", p.Rights)
	}
	if rec := b.send("GET", "/pools"); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), ">lab<") || strings.Contains(rec.Body.String(), ">other<") {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
}

// keyOf gives somebody whom the service brought an API key.
func (e *estate) keyOf(name string) {
	e.t.Helper()
	ctx := authz.WithOrigin(e.t.Context(), authz.Origin{Source: "192.0.2.1"})
	l := metal.ExternalLogin{ProviderID: e.rbac, Issuer: e.server.URL, Subject: name, Name: name, State: secret.Random(16).Hash(), StateEnds: e.now().Add(time.Minute)}
	cookie, err := e.r.Identity.SignOn(ctx, l)
	if err != nil {
		e.t.Fatal(err)
	}
	p, err := e.r.Identity.Session(ctx, cookie)
	if err != nil {
		e.t.Fatal(err)
	}
	if e.keys[name], err = e.r.Identity.CreateKey(authz.With(ctx, p), identity.NewKey{Name: "test"}); err != nil {
		e.t.Fatal(err)
	}
}

// operator logs somebody in who is Operator of a pool at the service. It returns his client, a machine of that pool, and him.
func (e *estate) operator(name string) (client *httpbakery.Client, m metal.Machine, who macaroons.Agent) {
	e.t.Helper()
	who = e.person(name)
	allowRole(e.server, name, authz.Operator, e.lab)
	e.keyOf(name)
	client = e.program(who)
	if code, body := e.send(client, "GET", dischargeRequest); code != http.StatusOK {
		e.t.Fatalf("got %d %s", code, body)
	}
	return client, e.company().machine(e.lab, "", metal.Ready), who
}

// later moves the clock to where no answer of the service counts any more.
func (e *estate) later() { e.ahead.Add(int64(metal.RightsAge + time.Second)) }

// TestRBACLossCounts takes rights away at the service: they are gone within ten seconds, and with the last one the sessions.
func TestRBACLossCounts(t *testing.T) {
	e := newEstate(t)
	client, m, who := e.operator("jane")
	path := "/machines/" + m.SystemID + "/"
	both := func(code int) {
		t.Helper()
		if rec := e.call("jane", "GET", path); rec.Code != code {
			t.Errorf("by key: got %d %s, want %d", rec.Code, rec.Body, code)
		}
		if got, body := e.send(client, "GET", "/MAAS/api/2.0"+path); got != code {
			t.Errorf("by session: got %d %s, want %d", got, body, code)
		}
	}
	both(http.StatusOK)
	if rec := e.call("jane", "PUT", path, "description", "x"); rec.Code != http.StatusOK {
		t.Errorf("as operator: got %d %s", rec.Code, rec.Body)
	}
	e.server.Allow("jane", "resource-pool", "admin-machines")
	e.later()
	both(http.StatusOK) // view-all is left
	if rec := e.call("jane", "PUT", path, "description", "y"); rec.Code != http.StatusForbidden {
		t.Errorf("without admin-machines: got %d %s", rec.Code, rec.Body)
	}
	for _, p := range []string{"view", "view-all", "deploy-machines"} {
		e.server.Allow("jane", "resource-pool", p, fmt.Sprint(e.other))
	}
	e.later()
	both(http.StatusNotFound)
	for _, p := range []string{"view", "view-all", "deploy-machines"} {
		e.server.Allow("jane", "resource-pool", p)
	}
	e.later()
	if rec := e.call("jane", "GET", path); rec.Code != http.StatusForbidden {
		t.Errorf("by key, without rights: got %d %s", rec.Code, rec.Body)
	}
	err := e.r.reader.View(t.Context(), func(v *store.View) error {
		u, err := v.UserByName("jane")
		if err != nil {
			return err
		}
		list, err := v.Sessions(u.ID)
		if len(list) != 0 {
			t.Errorf("%d sessions go on without rights", len(list))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if code, body := e.send(e.program(who), "GET", dischargeRequest); code != http.StatusForbidden {
		t.Errorf("a login without rights: got %d %s", code, body)
	}
	allowRole(e.server, "jane", authz.Auditor, e.lab)
	if rec := e.call("jane", "GET", path); rec.Code != http.StatusOK { // at once: that there were none is not remembered
		t.Errorf("with rights again: got %d %s", rec.Code, rec.Body)
	}
}

// TestRBACAway holds that the service's people do not act while it cannot be asked, that this site's own go on, and that
// nobody without a key's secret has the service asked.
func TestRBACAway(t *testing.T) {
	e := newEstate(t)
	client, m, who := e.operator("jane")
	path := "/machines/" + m.SystemID + "/"
	for _, f := range []rbactest.Fault{rbactest.Error500, rbactest.Garbage, rbactest.Truncated, rbactest.WrongType, rbactest.Away} {
		e.later()
		if rec := e.call("jane", "GET", path); rec.Code != http.StatusOK {
			t.Fatalf("before fault %d: got %d %s", f, rec.Code, rec.Body)
		}
		e.server.Down(f)
		if rec := e.call("jane", "GET", path); rec.Code != http.StatusOK {
			t.Errorf("fault %d, with an answer that is young enough: got %d %s", f, rec.Code, rec.Body)
		}
		e.later()
		rec := e.call("jane", "GET", path)
		if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" || strings.Contains(rec.Body.String(), m.Hostname) {
			t.Errorf("fault %d, by key: got %d %s", f, rec.Code, rec.Body)
		}
		if code, body := e.send(client, "GET", "/MAAS/api/2.0"+path); code != http.StatusServiceUnavailable {
			t.Errorf("fault %d, by session: got %d %s", f, code, body)
		}
		if code, body := e.send(client, "GET", "/machines"); code != http.StatusServiceUnavailable || !strings.Contains(body, "cannot be asked now") {
			t.Errorf("fault %d, a page: got %d %s", f, code, body)
		}
		if code, _ := e.send(e.program(who), "GET", dischargeRequest); code == http.StatusOK {
			t.Errorf("fault %d: a login went through", f)
		}
		if rec := e.call("admin", "GET", path); rec.Code != http.StatusOK {
			t.Errorf("fault %d, the local administrator: got %d %s", f, rec.Code, rec.Body)
		}
		e.server.Down(rbactest.None)
		if rec := e.call("jane", "GET", path); rec.Code != http.StatusOK {
			t.Errorf("after fault %d: got %d %s", f, rec.Code, rec.Body)
		}
	}
	// A key is remembered for a second, but not beyond the age of what its user may do.
	if rec := e.call("jane", "GET", path); rec.Code != http.StatusOK {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
	e.later()
	e.server.Down(rbactest.Error500)
	e.ahead.Add(-int64(900 * time.Millisecond))
	if rec := e.call("jane", "GET", path); rec.Code != http.StatusServiceUnavailable {
		t.Errorf("a tenth of a second after its rights ended: got %d %s", rec.Code, rec.Body)
	}
	e.server.Down(rbactest.None)
	e.later()
	const question = "/api/service/v1/resources/resource-pool/allowed-for-user"
	before, k := e.server.Count("GET", question), e.keys["jane"]
	e.keys["thief"] = identity.KeySecret{APIKey: k.APIKey, Secret: secret.FromString("guessed")}
	if rec := e.call("thief", "GET", path); rec.Code != http.StatusUnauthorized || e.server.Count("GET", question) != before {
		t.Errorf("a wrong secret: got %d, and %d questions", rec.Code, e.server.Count("GET", question)-before)
	}
}

// TestRBACDisabled ends what a service gave when it is disabled, and lets the site's own people decide when it is deleted.
func TestRBACDisabled(t *testing.T) {
	e := newEstate(t)
	e.person("jane")
	allowRole(e.server, "jane", authz.Operator, e.lab)
	e.keyOf("jane")
	if rec := e.call("jane", "GET", "/machines/"); rec.Code != http.StatusOK {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	e.must("admin", "PUT", "/rbac-providers/"+e.id+"/", "enabled", "false")
	if rec := e.call("jane", "GET", "/machines/"); rec.Code != http.StatusForbidden {
		t.Errorf("with the service disabled: got %d %s", rec.Code, rec.Body)
	}
	e.must("admin", "DELETE", "/rbac-providers/"+e.id+"/")
	if rec := e.call("jane", "GET", "/machines/"); rec.Code != http.StatusForbidden {
		t.Errorf("with the service deleted: got %d %s", rec.Code, rec.Body)
	}
	if p := e.company().principal("jane"); p.Rights.Anywhere(authz.ViewAvailable) {
		t.Errorf("what the service gave is still there: %v", p.Rights)
	}
	e.must("admin", "POST", "/grants/", "user", "jane", "role", authz.Auditor, "pool", "lab")
}
