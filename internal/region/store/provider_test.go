package store_test

import (
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

func testProviders(d *db) {
	g, jane, bob := metal.Group{Name: "ops"}, d.user("jane", true), d.user("bob", true)
	d.do(func(t *store.Tx) error { return t.AddGroup(&g) })
	p := metal.Provider{Kind: metal.ProviderOIDC, Name: "Example", Issuer: "https://op.example", Options: map[string]string{"client_id": "c", "scopes": "openid", "group_claim": "groups"}, CreateUsers: true, Enabled: true, Created: t0,
		Groups: []metal.ProviderGroup{{Value: "a", GroupID: g.ID, Group: "ops"}, {Value: "b", GroupID: g.ID, Group: "ops"}}}
	d.do(func(t *store.Tx) error { return t.AddProvider(&p) })
	get := func() metal.Provider {
		return read(d, func(v *store.View) (metal.Provider, error) { return v.Provider(p.ID) })
	}
	d.same(get(), p)
	for _, taken := range []metal.Provider{{Name: "Example", Issuer: "https://x.example"}, {Name: "x", Issuer: p.Issuer}} {
		_, err := d.try(func(t *store.Tx) error { return t.AddProvider(&taken) })
		d.want(err, fault.Conflict)
	}
	_, err := d.try(func(t *store.Tx) error { _, err := t.Provider(p.ID + 1); return err })
	d.want(err, fault.NotFound)
	p.Groups, p.Enabled = p.Groups[:1], false
	d.do(func(t *store.Tx) error { return t.PutProvider(p) })
	d.same(get(), p)

	// Macaroons are of a generation.
	for want := range int64(3) {
		d.same(read(d, func(v *store.View) (int64, error) { return v.MacaroonGeneration(p.ID) }), want)
		d.do(func(t *store.Tx) error { return t.EndMacaroons(p.ID) })
	}
	d.same(read(d, func(v *store.View) (int64, error) { return v.MacaroonGeneration(p.ID + 1) }), int64(0))

	// An identity is one user's, and stays his.
	id := metal.ExternalIdentity{Issuer: p.Issuer, Subject: "1", ProviderID: p.ID, Provider: p.Name, Kind: p.Kind, UserID: jane.ID, Created: t0, LastUsed: t0, Checked: t0}
	d.do(func(t *store.Tx) error { return t.PutIdentity(jane.User, id) })
	id.LastUsed = t0.Add(time.Hour)
	d.do(func(t *store.Tx) error { return t.PutIdentity(jane.User, id) })
	_, err = d.try(func(t *store.Tx) error { return t.PutIdentity(bob.User, id) })
	d.want(err, fault.Conflict)
	d.same(read(d, func(v *store.View) (metal.ExternalIdentity, error) { return v.ExternalIdentity(p.Issuer, "1") }), id)
	d.same(read(d, func(v *store.View) ([]metal.ExternalIdentity, error) { return v.ExternalIdentities(bob.ID) }), []metal.ExternalIdentity(nil))
	for _, other := range [][2]string{{p.Issuer, "2"}, {p.Issuer + "/", "1"}} {
		_, err := d.try(func(t *store.Tx) error { _, err := t.ExternalIdentity(other[0], other[1]); return err })
		d.want(err, fault.NotFound)
	}

	// Who has no password comes in by an enabled provider only.
	jane.Password, jane.External, bob.Disabled = "", true, true
	d.do(func(t *store.Tx) error { return t.PutUser(jane) })
	d.do(func(t *store.Tx) error { return t.PutUser(bob) })
	for _, enabled := range []bool{false, true} {
		p.Enabled = enabled
		d.do(func(t *store.Tx) error { return t.PutProvider(p) })
		d.same(read(d, (*store.View).CountReachable) == 1, enabled)
		d.same(read(d, func(v *store.View) (bool, error) { return v.Dormant(jane) }), !enabled)
	}

	// Sessions of the provider end, others do not; what works once does so once.
	for hash, s := range map[string]metal.Session{"local": {}, "one": {ProviderID: p.ID, ProviderSession: "s1"}, "two": {ProviderID: p.ID, ProviderSession: "s2"}} {
		s.Hash, s.UserID, s.Created, s.LastSeen, s.Expires = hash, jane.ID, t0, t0, t0.Add(time.Hour)
		d.do(func(t *store.Tx) error { return t.AddSession(jane.User, s) })
	}
	left := func() (n int) {
		return len(read(d, func(v *store.View) ([]metal.Session, error) { return v.Sessions(jane.ID) }))
	}
	d.same(read(d, func(v *store.View) (int64, error) { return v.ProviderSessionUser(p.ID, "s1") }), jane.ID)
	d.same(read(d, func(v *store.View) (int64, error) { return v.ProviderSessionUser(p.ID, "s3") }), int64(0))
	d.do(func(t *store.Tx) error { return t.DeleteProviderSessions(jane.User, p.ID, "s1") })
	d.same(left(), 2)
	d.do(func(t *store.Tx) error { return t.DeleteProviderSessions(jane.User, p.ID, "") })
	d.same(left(), 1)
	spend := func(now time.Time) (fresh bool) {
		d.do(func(t *store.Tx) (err error) {
			fresh, err = t.Spend(jane.User, "state", t0.Add(time.Minute), now)
			return err
		})
		return fresh
	}
	d.same([]bool{spend(t0), spend(t0), spend(t0.Add(2 * time.Minute))}, []bool{true, false, true})

	for name, want := range map[string][2]bool{"jane": {true, false}, "JANE": {true, false}, "Bob": {true, true}, "kim": {}} {
		var taken, local bool
		d.view(func(v *store.View) (err error) { taken, local, err = v.NameTaken(name); return err })
		d.same([2]bool{taken, local}, want)
	}
	d.do(func(t *store.Tx) error { return t.DeleteGroup(g.ID) })
	d.same(len(get().Groups), 0)
	d.do(func(t *store.Tx) error { return t.DeleteProvider(p.ID) })
	d.same(read(d, func(v *store.View) (int, error) { return v.CountIdentities(p.ID) }), 0)
	d.same(read(d, func(v *store.View) (string, error) { u, err := v.User(jane.ID); return u.Name, err }), "jane")
}
