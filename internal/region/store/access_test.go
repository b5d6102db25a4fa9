package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

func testGroups(d *db) {
	names := func(list []metal.Group) (out []string) {
		for _, g := range list {
			out = append(out, g.Name)
		}
		return out
	}
	d.same(names(read(d, (*store.View).Groups)), []string{metal.GroupAdministrators, metal.GroupUsers})
	g := metal.Group{Name: "ops", Description: "They operate"}
	touches := d.do(func(tx *store.Tx) error { return tx.AddGroup(&g) })
	d.same(touches, []store.Touch{{Target: store.GroupTarget(g.ID), Created: true}})
	_, err := d.try(func(tx *store.Tx) error { return tx.AddGroup(&metal.Group{Name: "ops"}) })
	d.want(err, fault.Conflict)
	alice, bob := d.user("alice", false), d.user("bob", false)
	for range 2 { // the second time changes nothing
		touches = d.do(func(tx *store.Tx) error { return tx.AddMember(g.ID, alice.ID) })
	}
	d.same(touches, []store.Touch{{Target: store.GroupTarget(g.ID)}})
	d.do(func(tx *store.Tx) error { return tx.AddMember(g.ID, bob.ID) })
	d.same(read(d, func(v *store.View) ([]store.UserRow, error) { return v.Members(g.ID) }), []store.UserRow{alice, bob})
	d.same(names(read(d, func(v *store.View) ([]metal.Group, error) { return v.GroupsOf(alice.ID) })), []string{"ops"})
	for _, want := range []bool{true, false} {
		d.do(func(tx *store.Tx) error {
			ok, err := tx.RemoveMember(g.ID, bob.ID)
			if ok != want {
				d.t.Errorf("RemoveMember: got %v, want %v", ok, want)
			}
			return err
		})
	}
	g.Name, g.Description = "operators", ""
	d.do(func(tx *store.Tx) error { return tx.PutGroup(g) })
	d.same(read(d, func(v *store.View) (metal.Group, error) { return v.GroupByName("operators") }), g)
	d.same(read(d, func(v *store.View) (metal.Group, error) { return v.Group(g.ID) }), g)
	d.do(func(tx *store.Tx) error { return tx.DeleteGroup(g.ID) })
	_, err = d.try(func(tx *store.Tx) error { _, err := tx.Group(g.ID); return err })
	d.want(err, fault.NotFound)
	d.same(names(read(d, func(v *store.View) ([]metal.Group, error) { return v.GroupsOf(alice.ID) })), []string(nil))
}

func testRoles(d *db) {
	mine := authz.Role{Name: "DNS keeper", Description: "Keeps DNS", Permissions: authz.NewSet(authz.EditDNS)}
	d.do(func(tx *store.Tx) error { return tx.AddRole(mine) })
	_, err := d.try(func(tx *store.Tx) error { return tx.AddRole(mine) })
	d.want(err, fault.Conflict)
	d.same(read(d, (*store.View).Roles), append(slices.Clone(authz.Roles), mine))
	mine.Permissions = authz.NewSet(authz.EditDNS, authz.ViewTrail)
	d.do(func(tx *store.Tx) error { return tx.PutRole(mine) })
	d.same(read(d, func(v *store.View) (authz.Role, error) { return v.Role(mine.Name) }), mine)
	d.do(func(tx *store.Tx) error { return tx.DeleteRole(mine.Name) })
	_, err = d.try(func(tx *store.Tx) error { _, err := tx.Role(mine.Name); return err })
	d.want(err, fault.NotFound)
}

func testGrants(d *db) {
	alice := d.user("alice", false)
	g, p := metal.Group{Name: "ops"}, metal.ResourcePool{Name: "lab"}
	mine := authz.Role{Name: "DNS keeper", Permissions: authz.NewSet(authz.EditDNS)}
	d.do(func(tx *store.Tx) error {
		for _, err := range []error{tx.AddGroup(&g), tx.AddPool(&p), tx.AddRole(mine), tx.AddMember(g.ID, alice.ID)} {
			if err != nil {
				return err
			}
		}
		return nil
	})
	rights := func() *authz.Rights {
		return read(d, func(v *store.View) (*authz.Rights, error) { return v.Rights(alice.ID) })
	}
	if r := rights(); r.Anywhere(authz.ViewAvailable) || r.Has(authz.ViewZones) {
		d.t.Errorf("nothing was granted, got %v", r)
	}
	grants := []store.GrantRow{
		{UserID: alice.ID, User: "alice", Role: authz.Auditor, Pool: metal.DefaultPoolID},
		{GroupID: g.ID, Group: "ops", Role: authz.Operator, Pool: p.ID},
		{GroupID: g.ID, Group: "ops", Role: mine.Name, Pool: authz.AllPools},
		{UserID: alice.ID, User: "alice", Entitlement: authz.ViewControllers, Pool: authz.AllPools},
	}
	holders := []authz.Target{store.UserTarget(alice.User), store.GroupTarget(g.ID), store.GroupTarget(g.ID), store.UserTarget(alice.User)}
	for i := range grants {
		touches := d.do(func(tx *store.Tx) error { return tx.AddGrant(&grants[i]) })
		d.same(touches, []store.Touch{{Target: holders[i]}})
		_, err := d.try(func(tx *store.Tx) error { again := grants[i]; return tx.AddGrant(&again) })
		d.want(err, fault.Conflict)
	}
	r := rights()
	for _, c := range []struct {
		pool int64
		p    authz.Permission
		want bool
	}{
		{metal.DefaultPoolID, authz.ViewMachines, true}, {metal.DefaultPoolID, authz.EditMachines, false}, {p.ID, authz.EditMachines, true},
		{p.ID, authz.ReadSecrets, true}, {p.ID + 1, authz.ViewAvailable, false}, {authz.AllPools, authz.EditDNS, true},
		{authz.AllPools, authz.ViewControllers, true}, {authz.AllPools, authz.EditControllers, false}, {authz.AllPools, authz.ViewTrail, false},
	} {
		if got := r.In(c.pool, c.p); got != c.want {
			d.t.Errorf("%s on pool %d: got %v, want %v", c.p, c.pool, got, c.want)
		}
	}
	var got []store.GrantRow
	for _, row := range read(d, func(v *store.View) ([]store.GrantRow, error) { return v.Grants(store.GrantQuery{UserID: alice.ID}) }) {
		if row.Set == 0 {
			d.t.Errorf("grant %d amounts to nothing", row.ID)
		}
		row.Set, row.PoolName = 0, ""
		got = append(got, row)
	}
	d.same(got, grants)
	count := func(q store.GrantQuery) int {
		return len(read(d, func(v *store.View) ([]store.GrantRow, error) { return v.Grants(q) }))
	}
	def := metal.DefaultPoolID
	// Besides ours, the groups of the beginning hold a grant each.
	for q, want := range map[*store.GrantQuery]int{{GroupID: g.ID}: 2, {Pool: &p.ID}: 4, {Pool: &def}: 5, {Role: mine.Name}: 1, {}: 6} {
		if n := count(*q); n != want {
			d.t.Errorf("%+v: got %d grants, want %d", *q, n, want)
		}
	}
	one := read(d, func(v *store.View) (store.GrantRow, error) { return v.Grant(grants[1].ID) })
	if one.PoolName != "lab" || one.Group != "ops" || !one.Set.Has(authz.ReadSecrets) {
		d.t.Errorf("got %+v", one)
	}
	d.do(func(tx *store.Tx) error { return tx.DeleteGrant(one) })
	if rights().In(p.ID, authz.EditMachines) {
		d.t.Error("a deleted grant still gives")
	}
	d.do(func(tx *store.Tx) error { return tx.DeleteGroup(g.ID) })
	if rights().Has(authz.EditDNS) {
		d.t.Error("a deleted group's grant still gives")
	}

	// An administrator by his own grant, by a group's, and one who is disabled.
	if n := read(d, (*store.View).CountAdministrators); n != 0 {
		d.t.Errorf("got %d administrators, want none", n)
	}
	admins := read(d, func(v *store.View) (metal.Group, error) { return v.GroupByName(metal.GroupAdministrators) })
	d.do(func(tx *store.Tx) error { return tx.AddMember(admins.ID, alice.ID) })
	d.user("root", true)
	off := d.user("off", true)
	off.Disabled = true
	d.do(func(tx *store.Tx) error { return tx.PutUser(off) })
	if n := read(d, (*store.View).CountAdministrators); n != 2 {
		d.t.Errorf("got %d administrators, want 2", n)
	}
	if u := read(d, func(v *store.View) (store.UserRow, error) { return v.User(alice.ID) }); !u.Admin || !rights().Administrator() {
		d.t.Error("a member of the administrators' group should be one")
	}
}

// testFilter holds the SQL of a filter to what it says in Go, for random rights and machines.
func testFilter(d *db) {
	r := rand.New(rand.NewPCG(7, 8))
	pools := []int64{metal.DefaultPoolID}
	for i := range 3 {
		p := metal.ResourcePool{Name: fmt.Sprint("p", i)}
		d.do(func(tx *store.Tx) error { return tx.AddPool(&p) })
		pools = append(pools, p.ID)
	}
	var machines []metal.Machine
	for i := range 24 {
		machines = append(machines, d.machine(fmt.Sprint("m", i), func(m *metal.Machine) {
			m.PoolID, m.Owner = pools[i%4], []string{"", "alice", "bob"}[i/4%3]
		}))
	}
	for range 150 {
		var grants []authz.Grant
		for range r.IntN(4) {
			pool := authz.AllPools
			if r.IntN(6) > 0 {
				pool = pools[r.IntN(4)]
			}
			grants = append(grants, authz.Grant{Permissions: authz.Roles[r.IntN(4)].Permissions, Pool: pool})
		}
		p := authz.Principal{Kind: authz.User, Name: "alice", Rights: authz.NewRights(grants...)}
		for _, a := range []authz.Action{authz.MachineView, authz.MachineAllocate, authz.MachineRelease, authz.MachineDelete, authz.MachineReadPower} {
			var want, got []string
			for _, m := range machines {
				if authz.Decide(p, a, store.MachineTarget(m)) == authz.Allow {
					want = append(want, m.Hostname)
				}
			}
			d.view(func(v *store.View) error {
				list, err := v.Machines(store.MachineQuery{Filter: authz.Machines(p, a)})
				for _, m := range list {
					got = append(got, m.Hostname)
				}
				for _, m := range machines {
					_, err := v.MachineFor(p, m.SystemID)
					if seen := authz.Decide(p, authz.MachineView, store.MachineTarget(m)) == authz.Allow; seen != (err == nil) {
						d.t.Errorf("%s: seen %v, read: %v", m.Hostname, seen, err)
					}
				}
				return err
			})
			d.same(got, want)
		}
	}
}
