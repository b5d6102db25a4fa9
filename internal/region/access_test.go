package region

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/macaroons/macaroonstest"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/directory/directorytest"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// company is a site with a person of each role in the pool "lab", and machines there and elsewhere.
type company struct {
	*surface
	lab, other int64
	serial     int
}

// people are the users by role; "none" is in no group.
var people = map[string]string{"admin": "", "oper": authz.Operator, "user": authz.RoleUser, "audit": authz.Auditor, "none": ""}

func newCompany(t *testing.T) *company { return newCompanyBy(t, byUser) }

// How people come by their roles.
const (
	byUser     = "their own grants"
	byGroup    = "groups"
	byProvider = "groups that an identity provider says"
	byLDAP     = "groups of a directory"
	byCandid   = "groups of Candid"
)

func newCompanyBy(t *testing.T, mode string) *company {
	t.Helper()
	var candid *macaroonstest.Candid
	c := &company{surface: newSurfaceWith(t, func(o *Options) {
		o.Config.EgressAllow = []string{"127.0.0.0/8"}
		if mode == byCandid {
			candid, o.Config.EgressCA = newCandid(t)
		}
	})}
	c.lab = int64(c.must("admin", "POST", "/resourcepools/", "name", "lab")["id"].(float64))
	c.other = int64(c.must("admin", "POST", "/resourcepools/", "name", "other")["id"].(float64))
	var provider metal.Provider
	if mode == byProvider {
		groups := ""
		for _, role := range []string{authz.Operator, authz.RoleUser, authz.Auditor} {
			c.must("admin", "POST", "/groups/", "name", role+"s of lab")
			c.must("admin", "POST", "/grants/", "group", role+"s of lab", "role", role, "pool", "lab")
			groups += role + "=" + role + "s of lab\n"
		}
		o := c.must("admin", "POST", "/oidc-providers/", "name", "sso", "issuer_url", "https://sso.example", "client_id", "x", "client_secret", "y", "enabled", "true",
			"create_users", "true", "group_claim", "groups", "groups", groups)
		provider.ID = int64(o["id"].(float64))
	}
	if mode == byLDAP {
		c.directory()
	}
	if mode == byCandid {
		c.agents(candid)
	}
	for name, role := range people {
		if name == "admin" {
			continue
		}
		switch mode {
		case byProvider:
			c.visitor(provider.ID, name, role)
		case byCandid: // he came already
		case byLDAP:
			var err error
			if c.keys[name], err = c.r.Identity.Authenticate(authz.WithOrigin(context.Background(), authz.Origin{Source: "192.0.2.1"}), name,
				secret.FromString(directorytest.Password), "test"); err != nil {
				t.Fatal(err)
			}
		default:
			c.person(name)
		}
		users := c.list("admin", "/groups/")
		for _, g := range users {
			if g["name"] == metal.GroupUsers {
				c.must("admin", "POST", fmt.Sprintf("/groups/%v/?op=remove_member", g["id"]), "username", name)
			}
		}
		switch {
		case role == "" || mode == byProvider || mode == byLDAP || mode == byCandid:
		case mode == byGroup:
			g := c.must("admin", "POST", "/groups/", "name", role+"s of lab")
			c.must("admin", "POST", "/grants/", "group", role+"s of lab", "role", role, "pool", "lab")
			c.must("admin", "POST", fmt.Sprintf("/groups/%v/?op=add_member", g["id"]), "username", name)
		default:
			c.must("admin", "POST", "/grants/", "user", name, "role", role, "pool", "lab")
		}
	}
	return c
}

// directory is an OpenLDAP server that has people, with a group for each role on the pool "lab".
func (c *company) directory() {
	c.t.Helper()
	d := directorytest.New(c.t)
	groups := ""
	for name, role := range people {
		d.Person(name)
		if role == "" {
			continue
		}
		d.Group(name+"s", name)
		c.must("admin", "POST", "/groups/", "name", role+"s of lab")
		c.must("admin", "POST", "/grants/", "group", role+"s of lab", "role", role, "pool", "lab")
		groups += directorytest.GroupDN(name+"s") + "=" + role + "s of lab\n"
	}
	c.must("admin", "POST", "/ldap-providers/", "name", "staff", "servers", d.URL(), "ca", d.CA, "bind_dn", directorytest.Searcher, "bind_password", directorytest.SearcherPassword,
		"base_dn", directorytest.People, "enabled", "true", "create_users", "true", "groups", groups)
}

// agents are people at a Candid server, with a group for each role on the pool "lab". They come as MAAS's clients do, and make
// keys.
func (c *company) agents(candid *macaroonstest.Candid) {
	c.t.Helper()
	s := &candidSite{signOn: &signOn{surface: c.surface}, candid: candid, agent: candid.Agent("maas@candid"), srv: httptest.NewTLSServer(c.handler)}
	c.t.Cleanup(s.srv.Close)
	groups := ""
	for _, role := range []string{authz.Operator, authz.RoleUser, authz.Auditor} {
		c.must("admin", "POST", "/groups/", "name", role+"s of lab")
		c.must("admin", "POST", "/grants/", "group", role+"s of lab", "role", role, "pool", "lab")
		groups += role + "=" + role + "s of lab\n"
	}
	c.must("admin", "POST", "/candid-providers/", "name", "Candid", "candid_url", candid.URL, "agent_username", s.agent.Username,
		"agent_key", s.agent.Key.Private().RevealString(), "enabled", "true", "create_users", "true", "groups", groups)
	for name, role := range people {
		if name == "admin" {
			continue
		}
		who := candid.Agent(name)
		candid.Set(name, role, "others")
		code, body := s.send(s.program(who), "POST", maasapi.Root+"/account/?op=create_authorisation_token", "name", "test")
		var k struct {
			Consumer string `json:"consumer_key"`
			Token    string `json:"token_key"`
			Secret   string `json:"token_secret"`
		}
		if err := json.Unmarshal([]byte(body), &k); err != nil || code != http.StatusOK {
			c.t.Fatalf("%s: got %d %s", name, code, body)
		}
		c.keys[name] = identity.KeySecret{APIKey: metal.APIKey{ConsumerKey: k.Consumer, TokenKey: k.Token}, Secret: secret.FromString(k.Secret)}
	}
}

// visitor is somebody whom a provider has verified, and of whom it says one group, or none.
func (c *company) visitor(provider int64, name, group string) {
	c.t.Helper()
	ctx := authz.WithOrigin(context.Background(), authz.Origin{Source: "192.0.2.1"})
	l := metal.ExternalLogin{ProviderID: provider, Issuer: "https://sso.example", Subject: "subject of " + name, Name: name, State: secret.Random(16).Hash(), StateEnds: time.Now().Add(time.Minute)}
	if group != "" {
		l.Groups = []string{group}
	}
	if _, err := c.r.Identity.SignOn(ctx, l); err != nil {
		c.t.Fatal(err)
	}
	p := c.principal(name)
	var err error
	if c.keys[name], err = c.r.Identity.CreateKey(authz.With(ctx, authz.Principal{Kind: authz.User, Name: name, UserID: p.UserID}), identity.NewKey{Name: "test"}); err != nil {
		c.t.Fatal(err)
	}
}

// person makes a user with a key. His password has no hash: making one takes longer than the rest.
func (c *company) person(name string) {
	c.t.Helper()
	ctx := authz.AsSystem(context.Background(), "test")
	u, err := c.r.Identity.CreateUser(ctx, identity.NewUser{Name: name, Password: secret.FromString("an unlikely pass phrase")})
	if err != nil {
		c.t.Fatal(err)
	}
	if c.keys[name], err = c.r.Identity.CreateKey(authz.With(ctx, authz.Principal{Kind: authz.User, Name: name, UserID: u.ID}), identity.NewKey{Name: "test"}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *company) list(user, path string) (list []map[string]any) {
	c.t.Helper()
	rec := c.call(user, "GET", path)
	if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil || rec.Code != http.StatusOK {
		c.t.Fatalf("%s as %s: got %d %.200s", path, user, rec.Code, rec.Body)
	}
	return list
}

// machine adds a machine as it is given, past the life cycle.
func (c *company) machine(pool int64, owner string, status metal.Status) metal.Machine {
	c.t.Helper()
	c.serial++
	m := metal.Machine{SystemID: metal.NewSystemID(), Hostname: fmt.Sprintf("node%d", c.serial), PoolID: pool, ZoneID: metal.DefaultZoneID, Owner: owner, Status: status,
		Architecture: "amd64/generic", PowerType: "manual", PowerState: metal.PowerUnknown, Created: time.Now().UTC(), Updated: time.Now().UTC()}
	err := c.r.Gate.Do(authz.AsSystem(context.Background(), "test"), authz.MachineCreate, func(g *gate.Call) error {
		if err := g.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		return g.Tx().AddMachine(&m)
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// principal is what a user acts as.
func (c *company) principal(name string) (p authz.Principal) {
	c.t.Helper()
	err := c.r.reader.View(context.Background(), func(v *store.View) error {
		u, err := v.UserByName(name)
		if err != nil {
			return err
		}
		p, err = identity.Principal(v, u.User)
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return p
}

// TestEveryRoleOnEveryMachine calls every operation on a machine as every role, on one that is free, his own, and
// another's, in his pool and in another: the server answers as the table says, however he came by the role.
func TestEveryRoleOnEveryMachine(t *testing.T) {
	regiontest.Slow(t)
	for _, mode := range []string{byUser, byGroup, byProvider, byCandid, byLDAP} {
		t.Run(mode, func(t *testing.T) { everyRole(newCompanyBy(t, mode)) })
	}
}

func everyRole(c *company) {
	t := c.t
	fields := map[string][]string{"machine.update": {"description", "x"}}
	cases := 0
	for i := range maasapi.Operations {
		o := &maasapi.Operations[i]
		if !strings.Contains(o.Path, "{system_id}") || !authz.OnMachines(o.Action) {
			continue
		}
		for name := range people {
			p := c.principal(name)
			for _, pool := range []int64{c.lab, c.other} {
				for _, owner := range []string{"", name, "somebody"} {
					status := metal.Deployed
					if owner == "" {
						status = metal.Ready
					}
					m := c.machine(pool, owner, status)
					path := strings.NewReplacer("{system_id}", m.SystemID, "{id}", "current-commissioning").Replace(o.Path)
					if o.Op != "" {
						path += "?op=" + o.Op
					}
					rec := c.call(name, o.Method, path, fields[o.ID]...)
					decision := authz.Decide(p, o.Action, store.MachineTarget(m))
					got := authz.Allow
					switch {
					case rec.Code == http.StatusForbidden:
						got = authz.Deny
					case rec.Code == http.StatusNotFound && !strings.Contains(rec.Body.String(), "ScriptSet"):
						got = authz.Hide
					case rec.Code >= 500 && rec.Code != http.StatusServiceUnavailable:
						t.Errorf("%s as %s: got %d %s", o.ID, name, rec.Code, rec.Body)
					}
					want := decision
					if !authz.May(p, o.Action) {
						want = authz.Deny
					}
					if got != want {
						t.Errorf("%s as %s, machine of %q in pool %d: got %d %.100s, want decision %v", o.ID, name, owner, pool, rec.Code, rec.Body, want)
					}
					cases++
				}
			}
		}
	}
	if cases < 15*len(people)*6 {
		t.Errorf("only %d cases: are there operations on machines that this test does not find?", cases)
	}
}

// TestListShowsWhatReadAllows makes people with random grants: one reads a machine just if his list has it, a count
// in a pool or an event says nothing of others, and a call on several refuses whole.
func TestListShowsWhatReadAllows(t *testing.T) {
	regiontest.Slow(t)
	c := newCompany(t)
	r := rand.New(rand.NewPCG(1, 2))
	var machines []metal.Machine
	pools := []int64{metal.DefaultPoolID, c.lab, c.other}
	for i := range 18 {
		m := c.machine(pools[i%3], []string{"", "p0", "somebody"}[i/3%3], metal.Deployed)
		c.must("admin", "PUT", "/machines/"+m.SystemID+"/", "description", "leaves an event")
		machines = append(machines, m)
	}
	for n := range 8 {
		name := fmt.Sprintf("p%d", n)
		c.person(name)
		for range r.IntN(3) {
			where := []string{"pool", []string{"default", "lab", "other"}[r.IntN(3)]}
			if r.IntN(5) == 0 {
				where = []string{"all_pools", "true"}
			}
			c.call("admin", "POST", "/grants/", append(where, "user", name, "role", authz.Roles[1+r.IntN(3)].Name)...) // twice the same is refused
		}
		seen := map[string]bool{}
		for _, m := range c.list(name, "/machines/") {
			seen[m["system_id"].(string)] = true
		}
		p := c.principal(name)
		for _, m := range machines {
			rec := c.call(name, "GET", "/machines/"+m.SystemID+"/")
			if (rec.Code == http.StatusOK) != seen[m.SystemID] || rec.Code != http.StatusOK && rec.Code != http.StatusNotFound {
				t.Errorf("%s reads %s: got %d, listed %v", name, m.Hostname, rec.Code, seen[m.SystemID])
			}
			if allowed := authz.Decide(p, authz.MachineView, store.MachineTarget(m)) == authz.Allow; allowed != seen[m.SystemID] {
				t.Errorf("%s: machine of %q in pool %d: allowed %v, listed %v", name, m.Owner, m.PoolID, allowed, seen[m.SystemID])
			}
			var page struct{ Events []map[string]any }
			if err := json.Unmarshal(c.call(name, "GET", "/events/?op=query&level=DEBUG&id="+m.SystemID).Body.Bytes(), &page); err != nil {
				t.Fatal(err)
			}
			if !seen[m.SystemID] && len(page.Events) > 0 {
				t.Errorf("%s sees events of %s", name, m.Hostname)
			}
		}
		var ids []string
		wanted := true
		for range 3 {
			m := machines[r.IntN(len(machines))]
			ids = append(ids, "machines", m.SystemID)
			wanted = wanted && authz.Decide(p, authz.MachineRelease, store.MachineTarget(m)) == authz.Allow
		}
		before := c.statuses(machines)
		rec := c.call(name, "POST", "/machines/?op=release", ids...)
		if (rec.Code == http.StatusOK) != wanted {
			t.Errorf("%s releases %v: got %d %s, want allowed %v", name, ids, rec.Code, rec.Body, wanted)
		}
		if after := c.statuses(machines); !wanted && !slices.Equal(before, after) {
			t.Errorf("%s was refused to release several, and some were", name)
		}
	}
}

// TestBulkIsBounded refuses calls that name no machine, or very many.
func TestBulkIsBounded(t *testing.T) {
	regiontest.Slow(t)
	c := newCompany(t)
	for _, ids := range []string{",", " , ", strings.Repeat("x,", 40000)} {
		for _, op := range []string{"release", "accept"} {
			if rec := c.call("admin", "POST", "/machines/?op="+op, "machines", ids); rec.Code != http.StatusBadRequest || !strings.Contains(rec.Body.String(), "Name 1 to") {
				t.Errorf("%s of %.10q…: got %d %.100s", op, ids, rec.Code, rec.Body)
			}
		}
	}
}

// TestConstraintsAreBounded sends more values of a constraint than a statement takes.
func TestConstraintsAreBounded(t *testing.T) {
	regiontest.Slow(t)
	c := newCompany(t)
	for _, name := range []string{"system_id", "name", "tags", "not_tags", "zone", "pool", "not_in_zone", "not_in_pool", "arch"} {
		if rec := c.call("admin", "POST", "/machines/?op=allocate", name, strings.Repeat("x,", 40000)); rec.Code != http.StatusBadRequest {
			t.Errorf("%s: got %d %.100s, want 400", name, rec.Code, rec.Body)
		}
	}
}

func (c *company) statuses(machines []metal.Machine) (list []string) {
	c.t.Helper()
	err := c.r.reader.View(context.Background(), func(v *store.View) error {
		for _, m := range machines {
			row, err := v.Machine(m.SystemID)
			if err != nil {
				return err
			}
			list = append(list, row.Status.String()+row.Owner)
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}

// TestNoExistenceOracle asks for machines that exist in another pool and for ids that do not exist: status, headers
// and body are the same, in every operation on a machine.
func TestNoExistenceOracle(t *testing.T) {
	regiontest.Slow(t)
	c := newCompany(t)
	var real, guessed []string
	for range 100 {
		real = append(real, c.machine(c.other, "", metal.Ready).SystemID)
	}
	for range 10000 {
		guessed = append(guessed, metal.NewSystemID())
	}
	answer := func(user, method, path, id string) string {
		rec := c.call(user, method, strings.ReplaceAll(path, "{system_id}", id))
		h := rec.Header().Clone()
		for _, name := range []string{"Date", "Maas-Trace-Id"} { // differ from call to call anyway
			h.Del(name)
		}
		keys := []string{}
		for k, v := range h {
			keys = append(keys, k+"="+strings.Join(v, ","))
		}
		slices.Sort(keys)
		return fmt.Sprint(rec.Code, keys, strings.ReplaceAll(rec.Body.String(), id, "{id}"))
	}
	for i := range maasapi.Operations {
		o := &maasapi.Operations[i]
		if !strings.Contains(o.Path, "{system_id}") || !authz.OnMachines(o.Action) {
			continue
		}
		path := o.Path
		if o.Op != "" {
			path += "?op=" + o.Op
		}
		for name := range people {
			if name == "admin" {
				continue
			}
			want, got := answer(name, o.Method, path, guessed[0]), answer(name, o.Method, path, real[0])
			if want != got {
				t.Errorf("%s as %s tells an existing machine from none (-none +existing):\n%s", o.ID, name, cmp.Diff(want, got))
			}
		}
	}
	for _, path := range []string{"/machines/?id={system_id}", "/events/?op=query&id={system_id}", "/machines/?op=list_allocated&id={system_id}"} {
		if want, got := answer("oper", "GET", path, guessed[0]), answer("oper", "GET", path, real[0]); want != got {
			t.Errorf("%s: (-none +existing)\n%s", path, cmp.Diff(want, got))
		}
	}
	for _, op := range []string{"release", "accept"} {
		ask := func(id string) string {
			rec := c.call("oper", "POST", "/machines/?op="+op, "machines", id)
			return fmt.Sprint(rec.Code, strings.ReplaceAll(rec.Body.String(), id, "{id}"))
		}
		if want, got := ask(guessed[0]), ask(real[0]); want != got {
			t.Errorf("%s of several: got %s, want %s", op, got, want)
		}
	}
	all := map[string]int{}
	for _, id := range slices.Concat(real, guessed) {
		all[answer("oper", "GET", "/machines/{system_id}/", id)]++
	}
	if len(all) != 1 {
		t.Errorf("got %d kinds of answers", len(all))
	}
	// Pools that one may not see are not there either: by id, by name, as a filter, as a destination.
	for _, ask := range [][2]func() string{
		{func() string { return answer("oper", "GET", fmt.Sprintf("/resourcepool/%d/", c.other), "-") }, func() string { return answer("oper", "GET", "/resourcepool/4711/", "-") }},
		{func() string {
			return strings.ReplaceAll(answer("oper", "GET", "/machines/?pool=other", "-"), "other", "X")
		},
			func() string {
				return strings.ReplaceAll(answer("oper", "GET", "/machines/?pool=never", "-"), "never", "X")
			}},
	} {
		if hidden, absent := ask[0](), ask[1](); hidden != absent {
			t.Errorf("a hidden pool and none differ (-none +hidden):\n%s", cmp.Diff(absent, hidden))
		}
	}
	mine := c.machine(c.lab, "", metal.Ready)
	hidden := c.call("oper", "PUT", "/machines/"+mine.SystemID+"/", "pool", "other")
	absent := c.call("oper", "PUT", "/machines/"+mine.SystemID+"/", "pool", "never")
	if hidden.Code != http.StatusBadRequest || strings.ReplaceAll(hidden.Body.String(), "other", "X") != strings.ReplaceAll(absent.Body.String(), "never", "X") {
		t.Errorf("a move to a hidden pool and to none differ: %s, %s", hidden.Body, absent.Body)
	}
}

// TestPoolMove needs rights on both ends.
func TestPoolMove(t *testing.T) {
	c := newCompany(t)
	c.must("admin", "POST", "/grants/", "user", "oper", "role", authz.Auditor, "pool", "other")
	m := c.machine(c.lab, "", metal.Ready)
	if rec := c.call("oper", "PUT", "/machines/"+m.SystemID+"/", "pool", "other"); rec.Code != http.StatusForbidden {
		t.Errorf("to a pool where he only looks: got %d %s, want 403", rec.Code, rec.Body)
	}
	theirs := c.machine(c.other, "", metal.Ready)
	if rec := c.call("oper", "PUT", "/machines/"+theirs.SystemID+"/", "pool", "lab"); rec.Code != http.StatusForbidden {
		t.Errorf("from a pool where he only looks: got %d %s, want 403", rec.Code, rec.Body)
	}
	c.must("admin", "POST", "/grants/", "user", "oper", "role", authz.Operator, "pool", "other")
	c.must("oper", "PUT", "/machines/"+m.SystemID+"/", "pool", "other")
	if rec := c.call("oper", "POST", "/machines/", "hostname", "new", "architecture", "amd64", "mac_addresses", "52:54:00:00:00:01", "pool", "default", "commission", "false"); rec.Code != http.StatusBadRequest {
		t.Errorf("a machine in a pool that he does not see: got %d %s, want 400", rec.Code, rec.Body)
	}
	c.must("oper", "POST", "/machines/", "hostname", "new", "architecture", "amd64", "mac_addresses", "52:54:00:00:00:01", "pool", "lab", "commission", "false", "power_type", "manual")
}

// TestRoleLossCountsAtOnce takes a role away: the next call has the new rights.
func TestRoleLossCountsAtOnce(t *testing.T) {
	c := newCompany(t)
	m := c.machine(c.lab, "", metal.Ready)
	if rec := c.call("oper", "GET", "/machines/"+m.SystemID+"/"); rec.Code != http.StatusOK {
		t.Fatalf("got %d", rec.Code)
	}
	for _, g := range c.list("admin", "/grants/?user=oper") {
		c.must("admin", "DELETE", fmt.Sprintf("/grants/%v/", g["id"]))
	}
	if rec := c.call("oper", "GET", "/machines/"+m.SystemID+"/"); rec.Code != http.StatusNotFound {
		t.Errorf("after losing his role: got %d, want 404", rec.Code)
	}
}
