package store_test

import (
	"fmt"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

// testRBAC holds that changes of pools are queued for enabled services only, in the transaction that makes them, and that
// of a user whose rights are a service's only its word counts.
func testRBAC(d *db) {
	p := metal.Provider{Kind: metal.ProviderRBAC, Name: "rbac", Issuer: "https://rbac.example", Created: t0}
	other := metal.Provider{Kind: metal.ProviderOIDC, Name: "oidc", Issuer: "https://op.example", Enabled: true, Created: t0}
	pool := metal.ResourcePool{Name: "lab"}
	queued := func() (out []string) {
		for _, c := range read(d, func(v *store.View) ([]store.RBACChange, error) { return v.RBACChanges(p.ID, 100) }) {
			out = append(out, fmt.Sprint(c.Action, " ", c.PoolID))
		}
		return out
	}
	state := func() store.RBACSync {
		return read(d, func(v *store.View) (store.RBACSync, error) { return v.RBACSync(p.ID) })
	}
	d.do(func(tx *store.Tx) error { return tx.AddProvider(&p) })
	d.do(func(tx *store.Tx) error { return tx.AddProvider(&other) })
	d.do(func(tx *store.Tx) error { return tx.AddPool(&pool) })
	d.same(queued(), []string(nil))
	d.same(state(), store.RBACSync{})

	want := store.RBACSync{SyncID: "a", Synced: t0, Pools: 2, RetryAt: t0, Failures: 3, Error: "no", Leader: "r1", Lease: t0.Add(time.Minute)}
	d.do(func(tx *store.Tx) error { return tx.PutRBACSync(p.ID, want) })
	d.same(state(), want)
	p.Enabled = true
	d.do(func(tx *store.Tx) error { return tx.PutProvider(p) })
	want.SyncID, want.RetryAt, want.Failures, want.Error = "", time.Time{}, 0, ""
	d.same(state(), want) // configured anew: what it was sent counts for nothing
	p.Options = map[string]string{"agent_username": "other"}
	d.do(func(tx *store.Tx) error { return tx.PutProvider(p) })
	want.Synced = time.Time{}
	d.same(state(), want) // another agent: another service was told

	next := metal.ResourcePool{Name: "next"}
	if _, err := d.try(func(tx *store.Tx) error {
		if err := tx.AddPool(&metal.ResourcePool{Name: "undone"}); err != nil {
			return err
		}
		return fmt.Errorf("no")
	}); err == nil {
		d.t.Error("the transaction should have failed")
	}
	d.do(func(tx *store.Tx) error { return tx.AddPool(&next) })
	d.do(func(tx *store.Tx) error { pool.Name = "lab2"; return tx.PutPool(pool) })
	d.do(func(tx *store.Tx) error { return tx.DeletePool(next.ID) })
	d.same(queued(), []string{fmt.Sprint("add ", next.ID), fmt.Sprint("update ", pool.ID), fmt.Sprint("remove ", next.ID)})
	list := read(d, func(v *store.View) ([]store.RBACChange, error) { return v.RBACChanges(p.ID, 2) })
	d.do(func(tx *store.Tx) error { return tx.DropRBACChanges(list[1:]) })
	d.same(queued(), []string{fmt.Sprint("add ", next.ID), fmt.Sprint("remove ", next.ID)})

	local := d.user("local", true)
	u := store.UserRow{User: metal.User{Name: "jane", External: true, RightsFrom: p.ID, Created: t0}}
	d.do(func(tx *store.Tx) error { return tx.AddUser(&u) })
	admins := read(d, func(v *store.View) (metal.Group, error) { return v.GroupByName(metal.GroupAdministrators) })
	d.do(func(tx *store.Tx) error { return tx.AddMember(admins.ID, u.ID) })
	own := store.GrantRow{UserID: u.ID, User: "jane", Role: authz.Operator, Pool: pool.ID}
	d.do(func(tx *store.Tx) error { return tx.AddGrant(&own) })
	rights := func() *authz.Rights {
		return read(d, func(v *store.View) (*authz.Rights, error) { return v.Rights(u.ID) })
	}
	row := func() store.UserRow {
		return read(d, func(v *store.View) (store.UserRow, error) { return v.User(u.ID) })
	}
	if rights().Anywhere(authz.ViewAvailable) || row().Admin || row().RightsFrom != p.ID {
		d.t.Errorf("people and groups here gave rights to a user whose rights are a service's: %v", row())
	}
	given := store.GrantRow{UserID: u.ID, User: "jane", Role: authz.RBACAdminMachines.Role(), Pool: pool.ID, Source: p.ID}
	d.do(func(tx *store.Tx) error { return tx.AddGrant(&given) })
	if !rights().In(pool.ID, authz.AdministerMachines) || rights().In(pool.ID, authz.EditPools) {
		d.t.Error("the service's word should count, and no more than it")
	}
	if list := read(d, func(v *store.View) ([]store.GrantRow, error) { return v.Grants(store.GrantQuery{UserID: u.ID}) }); len(list) != 1 || list[0].Source != p.ID {
		d.t.Errorf("got %+v, want the one grant that counts", list)
	}
	d.do(func(tx *store.Tx) error {
		return tx.AddGrant(&store.GrantRow{UserID: u.ID, User: "jane", Role: authz.Administrator, Pool: authz.AllPools, Source: p.ID})
	})
	if !row().Admin {
		d.t.Error("the service's administrator should be one")
	}
	if n := read(d, (*store.View).CountAdministrators); n != 1 {
		d.t.Errorf("got %d administrators, want %s alone: the service's do not keep a site", n, local.Name)
	}
	if asked := read(d, func(v *store.View) (time.Time, error) { return v.RightsAsked(u.ID) }); !asked.IsZero() {
		d.t.Errorf("got %v", asked)
	}
	for _, at := range []time.Time{t0, t0.Add(time.Second)} {
		d.do(func(tx *store.Tx) error { return tx.PutRightsAsked(u.ID, at) })
		if asked := read(d, func(v *store.View) (time.Time, error) { return v.RightsAsked(u.ID) }); !asked.Equal(at) {
			d.t.Errorf("got %v, want %v", asked, at)
		}
	}
	d.do(func(tx *store.Tx) error { return tx.DeleteProvider(p.ID) })
	if row().RightsFrom != 0 || len(queued()) != 0 {
		d.t.Error("a deleted service decides nothing and is told nothing")
	}
	for _, g := range read(d, func(v *store.View) ([]store.GrantRow, error) { return v.Grants(store.GrantQuery{}) }) {
		if g.Source != 0 {
			d.t.Errorf("got %+v, want people's grants alone", g)
		}
	}
}
