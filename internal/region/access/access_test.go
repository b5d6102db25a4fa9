package access_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/access"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

func TestMain(m *testing.M) { regiontest.Main(m) }

type env struct {
	*regiontest.Core
	t     *testing.T
	s     *access.Service
	admin context.Context
	lab   metal.ResourcePool
}

// newEnv makes a site with an administrator, users alice and bob, and a pool "lab".
func newEnv(t *testing.T) *env {
	t.Helper()
	c := regiontest.New(t, time.Now)
	e := &env{Core: c, t: t, s: access.New(c.Gate), admin: c.Admin(t)}
	c.User(t, "alice", false)
	c.User(t, "bob", false)
	lab, err := c.Machines.CreatePool(e.admin, "lab", "")
	e.ok(err)
	e.lab = lab
	return e
}

func (e *env) ok(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) fails(err error, kind fault.Kind, text string) {
	e.t.Helper()
	if !fault.Is(err, kind) || !strings.Contains(err.Error(), text) {
		e.t.Errorf("got %v, want an error of kind %s with %q", err, kind, text)
	}
}

// rights are what a user holds now.
func (e *env) rights(name string) *authz.Rights {
	e.t.Helper()
	return authz.From(e.User(e.t, name, false)).Rights
}

func (e *env) last() metal.AuditEvent {
	e.t.Helper()
	trail := e.Trail(e.t)
	return trail[len(trail)-1]
}

func TestGroups(t *testing.T) {
	e := newEnv(t)
	g, err := e.s.CreateGroup(e.admin, "ops", "They operate")
	e.ok(err)
	_, err = e.s.CreateGroup(e.admin, "ops", "")
	e.fails(err, fault.Invalid, "already exists")
	_, err = e.s.CreateGroup(e.admin, "no/slash", "")
	e.fails(err, fault.Invalid, "name")
	name := "operators"
	g, err = e.s.UpdateGroup(e.admin, g.ID, &name, nil)
	e.ok(err)
	if g.Name != name || g.Description != "They operate" {
		t.Errorf("got %+v", g)
	}
	if d := e.last().Detail; d["before"] != "ops: They operate" || d["after"] != "operators: They operate" {
		t.Errorf("the trail should have before and after, got %v", d)
	}
	taken := metal.GroupUsers
	_, err = e.s.UpdateGroup(e.admin, g.ID, &taken, nil)
	e.fails(err, fault.Invalid, "already exists")
	e.ok(e.s.AddMember(e.admin, g.ID, "alice"))
	e.fails(e.s.AddMember(e.admin, g.ID, "nobody"), fault.Invalid, "no user")
	e.fails(e.s.AddMember(e.admin, 4711, "alice"), fault.NotFound, "UserGroup")
	_, err = e.s.Grant(e.admin, access.NewGrant{Group: name, Role: authz.Operator, Pools: []string{"lab"}})
	e.ok(err)
	if !e.rights("alice").In(e.lab.ID, authz.EditMachines) {
		t.Error("a member should have what his group is granted")
	}
	full, err := e.s.Group(e.admin, g.ID)
	e.ok(err)
	if len(full.Members) != 1 || full.Members[0].Name != "alice" || len(full.Grants) != 1 {
		t.Errorf("got %+v", full)
	}
	e.ok(e.s.RemoveMember(e.admin, g.ID, "alice"))
	e.fails(e.s.RemoveMember(e.admin, g.ID, "alice"), fault.Invalid, "not a member")
	if e.rights("alice").In(e.lab.ID, authz.EditMachines) {
		t.Error("who has left a group keeps nothing of it")
	}
	e.ok(e.s.DeleteGroup(e.admin, g.ID))
	if _, err := e.s.Group(e.admin, g.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v, want not found", err)
	}
}

func TestRoles(t *testing.T) {
	e := newEnv(t)
	_, err := e.s.CreateRole(e.admin, "Keeper", "", "can_edit_dns can_fly")
	e.fails(err, fault.Invalid, "can_fly")
	_, err = e.s.CreateRole(e.admin, "Keeper", "", " , ")
	e.fails(err, fault.Invalid, "at least one")
	_, err = e.s.CreateRole(e.admin, authz.Operator, "", "can_edit_dns")
	e.fails(err, fault.Invalid, "already exists")
	role, err := e.s.CreateRole(e.admin, "Keeper", "Keeps DNS", "can_edit_dns,can_view_machines")
	e.ok(err)
	if !role.Permissions.Has(authz.ViewDNS) || !role.Permissions.Has(authz.ViewAvailable) {
		t.Errorf("a role should hold what its permissions imply: %s", role.Permissions)
	}
	_, err = e.s.Grant(e.admin, access.NewGrant{User: "alice", Role: "Keeper", AllPools: true})
	e.ok(err)
	perms := "can_edit_zones"
	_, err = e.s.UpdateRole(e.admin, "Keeper", nil, &perms)
	e.ok(err)
	if d := e.last().Detail; !strings.Contains(d["before"], "can_edit_dns") || !strings.Contains(d["after"], "can_edit_zones") {
		t.Errorf("the trail should have before and after, got %v", d)
	}
	if r := e.rights("alice"); r.Has(authz.EditDNS) || !r.Has(authz.EditZones) {
		t.Error("whoever holds a role has what it gives now")
	}
	e.fails(e.s.DeleteRole(e.admin, "Keeper"), fault.Conflict, "revoke")
	_, err = e.s.UpdateRole(e.admin, authz.Auditor, nil, &perms)
	e.fails(err, fault.Invalid, "built in")
	e.fails(e.s.DeleteRole(e.admin, authz.RoleUser), fault.Invalid, "built in")
	e.fails(e.s.DeleteRole(e.admin, "nothing"), fault.NotFound, "Role")
	list, err := e.s.Grants(e.admin, access.GrantFilter{Role: "Keeper"})
	e.ok(err)
	e.ok(e.s.Revoke(e.admin, list[0].ID))
	e.ok(e.s.DeleteRole(e.admin, "Keeper"))
}

func TestGrants(t *testing.T) {
	e := newEnv(t)
	for name, c := range map[string]struct {
		n    access.NewGrant
		kind fault.Kind
		text string
	}{
		"nobody":                  {access.NewGrant{Role: authz.Operator, AllPools: true}, fault.Invalid, "a user or a group"},
		"both":                    {access.NewGrant{User: "alice", Group: "Users", Role: authz.Operator, AllPools: true}, fault.Invalid, "a user or a group"},
		"unknown user":            {access.NewGrant{User: "x", Role: authz.Operator, AllPools: true}, fault.Invalid, "no user"},
		"unknown group":           {access.NewGrant{Group: "x", Role: authz.Operator, AllPools: true}, fault.Invalid, "no group"},
		"unknown role":            {access.NewGrant{User: "alice", Role: "x", AllPools: true}, fault.Invalid, "no role"},
		"no pool":                 {access.NewGrant{User: "alice", Role: authz.Operator}, fault.Invalid, "one or more pools"},
		"pools and all":           {access.NewGrant{User: "alice", Role: authz.Operator, Pools: []string{"lab"}, AllPools: true}, fault.Invalid, "one or more pools"},
		"unknown pool":            {access.NewGrant{User: "alice", Role: authz.Operator, Pools: []string{"lab", "x"}}, fault.Invalid, "no pool 'x'"},
		"administrator of a pool": {access.NewGrant{User: "alice", Role: authz.Administrator, Pools: []string{"lab"}}, fault.Invalid, "all pools"},
		"there already":           {access.NewGrant{Group: "Users", Role: authz.RoleUser, Pools: []string{"default"}}, fault.Conflict, "already"},
	} {
		if _, err := e.s.Grant(e.admin, c.n); !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %s with %q", name, err, c.kind, c.text)
		}
	}
	list, err := e.s.Grant(e.admin, access.NewGrant{User: "alice", Role: authz.Auditor, Pools: []string{"lab", "default"}})
	e.ok(err)
	if d := e.last().Detail; len(list) != 2 || d["to"] != "alice" || d["before"] != "" || d["after"] != "Auditor on pool lab, Auditor on pool default" {
		t.Errorf("got %d grants and the event %v", len(list), d)
	}
	of, err := e.s.Grants(e.admin, access.GrantFilter{User: "alice"})
	e.ok(err)
	if len(of) != 3 { // and what the group Users gives
		t.Errorf("got %d grants of alice, want 3", len(of))
	}
	if _, err := e.s.Grants(e.admin, access.GrantFilter{User: "x", Group: "y", Pool: "z"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v, want complaints", err)
	}
	e.ok(e.s.Revoke(e.admin, list[0].ID))
	if d := e.last().Detail; d["from"] != "alice" || d["after"] != "Auditor on pool default" {
		t.Errorf("got the event %v", d)
	}
	e.fails(e.s.Revoke(e.admin, list[0].ID), fault.NotFound, "Grant")
	e.ok(e.Machines.DeletePool(e.admin, e.lab.ID))
}

// TestNobodyGivesMoreThanHeHolds has bob keep users without being an administrator.
func TestNobodyGivesMoreThanHeHolds(t *testing.T) {
	e := newEnv(t)
	_, err := e.s.CreateRole(e.admin, "Clerk", "", "can_edit_identities")
	e.ok(err)
	for _, n := range []access.NewGrant{{User: "bob", Role: "Clerk", AllPools: true}, {User: "bob", Role: authz.Operator, Pools: []string{"lab"}}} {
		_, err := e.s.Grant(e.admin, n)
		e.ok(err)
	}
	bob := e.User(t, "bob", false)
	_, err = e.s.Grant(bob, access.NewGrant{User: "alice", Role: authz.RoleUser, Pools: []string{"lab"}})
	e.ok(err)
	for name, n := range map[string]access.NewGrant{
		"himself an administrator": {User: "bob", Role: authz.Administrator, AllPools: true},
		"operator elsewhere":       {User: "bob", Role: authz.Operator, Pools: []string{"default"}},
		"operator everywhere":      {User: "alice", Role: authz.Operator, AllPools: true},
	} {
		if _, err := e.s.Grant(bob, n); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: got %v, want forbidden", name, err)
		}
	}
	admins := group(e, metal.GroupAdministrators)
	e.fails(e.s.AddMember(bob, admins, "bob"), fault.Forbidden, "Administrator on all pools")
	e.fails(e.s.RemoveMember(bob, admins, "root"), fault.Forbidden, "only what you hold")
	e.fails(e.s.DeleteGroup(bob, admins), fault.Forbidden, "only what you hold")
	other := "Former"
	_, err = e.s.UpdateGroup(bob, admins, &other, nil)
	e.fails(err, fault.Forbidden, "only what you hold")
	perms := "can_edit_identities can_edit_controllers"
	_, err = e.s.UpdateRole(bob, "Clerk", nil, &perms)
	e.fails(err, fault.Forbidden, "only what you hold")
	all, err := e.s.Grants(e.admin, access.GrantFilter{Group: metal.GroupAdministrators})
	e.ok(err)
	e.fails(e.s.Revoke(bob, all[0].ID), fault.Forbidden, "only what you hold")
	e.fails(e.s.AddEntitlement(bob, group(e, metal.GroupUsers), access.Entitlement{ResourceType: "maas", Name: "can_edit_machines"}), fault.Forbidden, "only what you hold")
	_, err = e.Identity.CreateUser(bob, identity.NewUser{Name: "eve", Password: secret.FromString("an unlikely pass phrase"), Admin: true})
	e.fails(err, fault.Invalid, "only if you are one")

	alice := e.User(t, "alice", false)
	for name, try := range map[string]func() error{
		"groups": func() error { _, err := e.s.Groups(alice); return err },
		"grants": func() error { _, err := e.s.Grants(alice, access.GrantFilter{}); return err },
		"grant": func() error {
			_, err := e.s.Grant(alice, access.NewGrant{User: "alice", Role: authz.RoleUser, Pools: []string{"lab"}})
			return err
		},
		"revoke": func() error { return e.s.Revoke(alice, 4711) },
		"create": func() error { _, err := e.s.CreateGroup(alice, "g", ""); return err },
		"role":   func() error { _, err := e.s.CreateRole(alice, "r", "", "can_view_dns"); return err },
		"matrix": func() error { _, _, err := e.s.Matrix(alice, 0); return err },
		"explain": func() error {
			_, err := e.s.Explain(alice, access.Question{User: "alice", Action: "pool.view"})
			return err
		},
	} {
		if err := try(); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s as a user: got %v, want forbidden", name, err)
		}
	}
}

func group(e *env, name string) int64 {
	e.t.Helper()
	list, err := e.s.Groups(e.admin)
	e.ok(err)
	for _, g := range list {
		if g.Name == name {
			return g.ID
		}
	}
	e.t.Fatalf("no group %s", name)
	return 0
}

// TestLastAdministrator tries every way to leave the site without one.
func TestLastAdministrator(t *testing.T) {
	e := newEnv(t)
	admins := group(e, metal.GroupAdministrators)
	grants, err := e.s.Grants(e.admin, access.GrantFilter{Group: metal.GroupAdministrators})
	e.ok(err)
	e.fails(e.s.RemoveMember(e.admin, admins, "root"), fault.Conflict, "without an administrator")
	e.fails(e.s.DeleteGroup(e.admin, admins), fault.Conflict, "without an administrator")
	e.fails(e.s.Revoke(e.admin, grants[0].ID), fault.Conflict, "without an administrator")
	_, err = e.s.Grant(e.admin, access.NewGrant{User: "alice", Role: authz.Administrator, AllPools: true})
	e.ok(err)
	e.ok(e.s.DeleteGroup(e.admin, admins))
	if !e.rights("alice").Administrator() || e.rights("root").Administrator() {
		t.Error("alice should be the administrator now, and root none")
	}
}

// TestEntitlements is MAAS's view on the same model.
func TestEntitlements(t *testing.T) {
	e := newEnv(t)
	g, err := e.s.CreateGroup(e.admin, "ops", "")
	e.ok(err)
	list := func() (out []string) {
		all, err := e.s.Entitlements(e.admin, g.ID)
		e.ok(err)
		for _, x := range all {
			out = append(out, x.ResourceType+" "+authz.ID(x.ResourceID)+" "+x.Name)
		}
		return out
	}
	view := access.Entitlement{ResourceType: "pool", ResourceID: e.lab.ID, Name: "can_view_machines"}
	e.ok(e.s.AddEntitlement(e.admin, g.ID, view))
	e.fails(e.s.AddEntitlement(e.admin, g.ID, view), fault.Conflict, "already")
	e.ok(e.s.AddEntitlement(e.admin, g.ID, access.Entitlement{ResourceType: "maas", Name: "can_edit_controllers"}))
	lab := authz.ID(e.lab.ID)
	if got := strings.Join(list(), ", "); got != "maas 0 can_edit_controllers, pool "+lab+" can_view_machines" {
		t.Errorf("got %s", got)
	}
	for name, bad := range map[string]access.Entitlement{
		"unknown": {ResourceType: "maas", Name: "can_fly"}, "of the site on a pool": {ResourceType: "pool", ResourceID: e.lab.ID, Name: "can_edit_controllers"},
		"no such pool": {ResourceType: "pool", ResourceID: 4711, Name: "can_view_machines"}, "maas 1": {ResourceType: "maas", ResourceID: 1, Name: "can_view_machines"},
		"resource": {ResourceType: "zone", Name: "can_view_machines"}, "not there": {ResourceType: "maas", Name: "can_view_machines"},
	} {
		if err := e.s.RemoveEntitlement(e.admin, g.ID, bad); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
	e.ok(e.s.RemoveEntitlement(e.admin, g.ID, view))
	_, err = e.s.Grant(e.admin, access.NewGrant{Group: "ops", Role: authz.RoleUser, Pools: []string{"lab"}})
	e.ok(err)
	if got := strings.Join(list(), ", "); got != "maas 0 can_edit_controllers, pool "+lab+" can_view_available_machines, pool "+lab+" can_deploy_machines" {
		t.Errorf("a role should be spelled out, got %s", got)
	}
	e.fails(e.s.RemoveEntitlement(e.admin, g.ID, access.Entitlement{ResourceType: "pool", ResourceID: e.lab.ID, Name: "can_deploy_machines"}), fault.Conflict, "User on pool lab")
}

func TestMatrixAndExplain(t *testing.T) {
	e := newEnv(t)
	_, err := e.s.Grant(e.admin, access.NewGrant{User: "alice", Role: authz.Auditor, Pools: []string{"lab"}})
	e.ok(err)
	_, list, err := e.s.Matrix(e.admin, e.lab.ID)
	e.ok(err)
	var got []string
	for _, r := range list {
		got = append(got, r.User.Name+": "+r.Set.String())
	}
	if want := "alice: can_view_available_machines can_view_machines, root: can_view_available_machines can_view_machines can_deploy_machines can_administer_machines can_edit_pools can_edit_machines can_read_secrets"; strings.Join(got, ", ") != want {
		t.Errorf("got %s, want %s", strings.Join(got, ", "), want)
	}

	m := metal.Machine{SystemID: metal.NewSystemID(), Hostname: "node", PoolID: e.lab.ID, ZoneID: 1, Owner: "bob", Architecture: "amd64/generic"}
	e.ok(e.Gate.Do(authz.AsSystem(e.admin, "test"), authz.MachineCreate, func(c *gate.Call) error {
		if err := c.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		return c.Tx().AddMachine(&m)
	}))
	for _, c := range []struct {
		q       access.Question
		want    authz.Decision
		needs   authz.Permission
		because string
	}{
		{access.Question{User: "alice", Action: "machine.view", Machine: "node"}, authz.Allow, authz.ViewMachines, "Auditor on pool lab"},
		{access.Question{User: "alice", Action: "machine.release", Machine: m.SystemID}, authz.Deny, authz.AdministerMachines, ""},
		{access.Question{User: "bob", Action: "machine.release", Machine: "node"}, authz.Hide, authz.DeployMachines, ""},
		{access.Question{User: "root", Action: "machine.release", Machine: "node"}, authz.Allow, authz.AdministerMachines, "Administrator on all pools"},
		{access.Question{User: "bob", Action: "pool.view", Pool: "default"}, authz.Allow, authz.ViewAvailable, "User on pool default"},
		{access.Question{User: "bob", Action: "pool.view", Pool: "lab"}, authz.Hide, authz.ViewAvailable, ""},
		{access.Question{User: "bob", Action: "setting.edit"}, authz.Deny, authz.EditConfigurations, ""},
		{access.Question{User: "root", Action: "setting.edit"}, authz.Allow, authz.EditConfigurations, "Administrator on all pools"},
		{access.Question{User: "bob", Action: "image.view"}, authz.Allow, authz.ViewBootEntities, "User on pool default"},
	} {
		a, err := e.s.Explain(e.admin, c.q)
		if err != nil {
			t.Errorf("%+v: %v", c.q, err)
			continue
		}
		var because []string
		for _, g := range a.Because {
			because = append(because, access.Describe(g))
		}
		if a.Decision != c.want || a.Needs != c.needs || strings.Join(because, ", ") != c.because {
			t.Errorf("%+v: got %v, %s, %q; want %v, %s, %q", c.q, a.Decision, a.Needs, because, c.want, c.needs, c.because)
		}
	}
	for name, q := range map[string]access.Question{"user": {User: "x", Action: "pool.view"}, "action": {User: "alice", Action: "x"}, "machine missing": {User: "alice", Action: "machine.view"},
		"pool": {User: "alice", Action: "pool.view", Pool: "x"}} {
		if _, err := e.s.Explain(e.admin, q); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want invalid", name, err)
		}
	}
	_, err = e.s.Explain(e.admin, access.Question{User: "alice", Action: "machine.view", Machine: "nothing"})
	e.fails(err, fault.NotFound, "Machine")
}

// TestRBACDecides holds that nobody here gives to or takes from a user whose rights an RBAC service decides, and that what is
// explained is what counts.
func TestRBACDecides(t *testing.T) {
	e := newEnv(t)
	p := metal.Provider{Kind: metal.ProviderRBAC, Name: "estate", Issuer: "https://rbac.example", Enabled: true}
	e.ok(e.Gate.Do(e.admin, authz.ProviderEdit, func(c *gate.Call) error {
		if err := c.Require(store.ProviderTarget(0)); err != nil {
			return err
		}
		return c.Tx().AddProvider(&p)
	}))
	u := store.UserRow{User: metal.User{Name: "jane", External: true, RightsFrom: p.ID}}
	g := store.GrantRow{Role: authz.RBACViewAll.Role(), Pool: e.lab.ID, Source: p.ID}
	e.ok(e.Gate.Do(authz.AsSystem(e.admin, "test"), authz.UserEdit, func(c *gate.Call) error {
		if err := c.Require(store.NewUserTarget); err != nil {
			return err
		}
		if err := c.Tx().AddUser(&u); err != nil {
			return err
		}
		g.UserID, g.User = u.ID, u.Name
		return c.Tx().AddGrant(&g)
	}))
	ops, err := e.s.CreateGroup(e.admin, "ops", "")
	e.ok(err)
	_, err = e.s.Grant(e.admin, access.NewGrant{Group: "ops", Role: authz.Operator, Pools: []string{"lab"}})
	e.ok(err)
	_, err = e.s.Grant(e.admin, access.NewGrant{User: "jane", Role: authz.Operator, AllPools: true})
	e.fails(err, fault.Conflict, "RBAC service estate")
	e.fails(e.s.AddMember(e.admin, ops.ID, "jane"), fault.Conflict, "RBAC service estate")
	e.fails(e.s.Revoke(e.admin, g.ID), fault.Conflict, "RBAC service estate")
	_, err = e.s.Grant(e.admin, access.NewGrant{Group: "ops", Role: g.Role, AllPools: true})
	e.fails(err, fault.Invalid, "no role of this name")
	_, err = e.s.CreateRole(e.admin, g.Role, "", "can_view_machines")
	e.fails(err, fault.Invalid, "name")
	_, list, err := e.s.Matrix(e.admin, e.lab.ID)
	e.ok(err)
	for _, r := range list {
		if r.User.Name == "jane" && (len(r.Because) != 1 || r.Set.Has(authz.DeployMachines)) {
			t.Errorf("got %+v", r)
		}
	}
	a, err := e.s.Explain(e.admin, access.Question{User: "jane", Action: "pool.view", Pool: "lab"})
	e.ok(err)
	if a.Decision != authz.Allow || len(a.Because) != 1 || access.Describe(a.Because[0]) != "rbac:view-all on pool lab" {
		t.Errorf("got %+v", a)
	}
	if e.rights("jane").In(e.lab.ID, authz.DeployMachines) {
		t.Error("the service said view-all, no more")
	}
}
