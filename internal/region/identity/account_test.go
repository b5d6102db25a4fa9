package identity_test

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// TestRehash brings a hash of old parameters up to date at login, and leaves a current one alone.
func TestRehash(t *testing.T) {
	c, _ := newCore(t)
	create(t, c, "alice")
	weak := identity.HashWith(t, password, 1, 8*1024)
	edit(t, c, "alice", func(u *store.UserRow) { u.Password = weak })
	session, err := login(c, "192.0.2.1", "alice", password)
	if err != nil {
		t.Fatal(err)
	}
	first := storedHash(t, c, "alice")
	if identity.HashWork(first) != identity.HashWork(identity.Dummy) {
		t.Errorf("got parameters %q after login, want those of new hashes", identity.HashWork(first))
	}
	if _, err := c.Identity.Session(from("192.0.2.1"), session); err != nil {
		t.Errorf("the session ended with the new hash: %v", err)
	}
	if _, err := login(c, "192.0.2.1", "alice", password); err != nil || storedHash(t, c, "alice") != first {
		t.Errorf("got %v, or another hash, of a second login", err)
	}
}

// TestChangePassword needs the old one, and counts wrong ones as logins.
func TestChangePassword(t *testing.T) {
	c, _ := newCore(t)
	u := create(t, c, "alice")
	alice := authz.With(from("192.0.2.66"), authz.Principal{Kind: authz.User, Name: "alice", UserID: u.ID})
	change := func(old, fresh string) error {
		_, err := c.Identity.ChangePassword(alice, secret.FromString(old), secret.FromString(fresh), secret.Value{})
		return err
	}
	wantKind(t, change("wrong", "seven violins, one lamp"), fault.Invalid)
	wantKind(t, change(password, "password1234"), fault.Invalid)
	wantKind(t, change(password, password), fault.Invalid)
	session, err := login(c, "192.0.2.1", "alice", password)
	if err != nil {
		t.Fatal(err)
	}
	if err := change(password, "seven violins, one lamp"); err != nil {
		t.Fatal(err)
	}
	_, err = c.Identity.Session(from("192.0.2.1"), session)
	wantKind(t, err, fault.Unauthenticated)
	for range 5 {
		wantKind(t, change("wrong", "another fresh phrase"), fault.Invalid)
	}
	wantKind(t, change("seven violins, one lamp", "another fresh phrase"), fault.Exhausted)
	_, err = c.Identity.ChangePassword(from("192.0.2.1"), secret.FromString(password), secret.FromString("another fresh phrase"), secret.Value{})
	wantKind(t, err, fault.Forbidden) // nobody
	_, err = c.Identity.ChangePassword(authz.With(from("192.0.2.1"), authz.From(alice).Limited(true, nil)), secret.FromString("seven violins, one lamp"), secret.FromString("another fresh phrase"), secret.Value{})
	wantKind(t, err, fault.Forbidden) // by a key that only reads
}

// TestKeyLimits holds a key to its expiry, networks, pools and to reading.
func TestKeyLimits(t *testing.T) {
	c, clock := newCore(t)
	alice := c.Admin(t)
	make := func(n identity.NewKey) identity.KeySecret {
		t.Helper()
		k, err := c.Identity.CreateKey(alice, n)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	use := func(k identity.KeySecret, source string) (authz.Principal, error) {
		p, _, err := c.Identity.VerifyOAuth(from(source), header(values(k, map[string]string{"oauth_timestamp": fmt.Sprint(clock.Now().Unix())})))
		return p, err
	}
	here := make(identity.NewKey{Networks: []netip.Prefix{prefix("10.0.0.0/8")}})
	if _, err := use(here, "10.1.2.3"); err != nil {
		t.Errorf("from its network: %v", err)
	}
	_, err := use(here, "192.0.2.1")
	wantKind(t, err, fault.Forbidden)
	found := false
	for _, e := range c.Trail(t) {
		found = found || e.Detail["event"] == "authz_fail_network" && e.Detail["key"] == here.TokenKey && e.Source == "192.0.2.1"
	}
	if !found {
		t.Error("the trail does not tell of the use from another network")
	}

	reader := make(identity.NewKey{ReadOnly: true})
	p, err := use(reader, "192.0.2.1")
	if err != nil || !authz.May(p, authz.MachineView) || authz.May(p, authz.MachineCreate) || authz.May(p, authz.KeyEdit) {
		t.Errorf("got %v; want one who reads and changes nothing", err)
	}
	wantKind(t, c.Identity.DeleteKey(authz.With(from("192.0.2.1"), p), here.TokenKey), fault.NotFound)

	pool := make(identity.NewKey{Pools: []int64{metal.DefaultPoolID}})
	p, err = use(pool, "192.0.2.1")
	in := func(id int64) bool {
		return authz.Decide(p, authz.MachineUpdate, authz.Target{Noun: authz.NounMachine, ID: "m", Pool: id}) == authz.Allow
	}
	if err != nil || !in(metal.DefaultPoolID) || in(7) || authz.May(p, authz.UserEdit) || authz.May(p, authz.KeyEdit) {
		t.Errorf("got %v; want one who works in the default pool alone", err)
	}
	_, err = c.Identity.CreateKey(authz.With(from("192.0.2.1"), p), identity.NewKey{})
	wantKind(t, err, fault.NotFound) // no wider key by a narrow one
	_, err = c.Identity.CreateKey(c.User(t, "bob", false), identity.NewKey{Pools: []int64{99}})
	wantKind(t, err, fault.Invalid)

	month := make(identity.NewKey{Days: 30})
	clock.Advance(30 * 24 * time.Hour)
	if _, err := use(month, "192.0.2.1"); err != nil {
		t.Errorf("on its last day: %v", err)
	}
	clock.Advance(2 * time.Second)
	_, err = use(month, "192.0.2.1")
	wantKind(t, err, fault.Unauthenticated)
	for _, n := range []identity.NewKey{{Days: -1}, {Days: 1 << 30}, {Name: "a\nb"}, {Networks: make2(200)}} {
		_, err := c.Identity.CreateKey(alice, n)
		wantKind(t, err, fault.Invalid)
	}
}

func make2(n int) []netip.Prefix { return make([]netip.Prefix, n) }

// TestLastUsed is written once a minute, with where from.
func TestLastUsed(t *testing.T) {
	c, clock := newCore(t)
	alice := c.User(t, "alice", false)
	k, err := c.Identity.CreateKey(alice, identity.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		wait   time.Duration
		source string
		want   time.Duration // after the start
		from   string
	}{{0, "192.0.2.1", 0, "192.0.2.1"}, {59 * time.Second, "192.0.2.2", 0, "192.0.2.1"}, {time.Second, "192.0.2.3", time.Minute, "192.0.2.3"},
		{time.Second, "203.0.113.7", time.Minute + time.Second, "203.0.113.7"}} { // another network counts for itself

		clock.Advance(x.wait)
		if _, _, err := c.Identity.VerifyOAuth(from(x.source), header(values(k, nil))); err != nil {
			t.Fatal(err)
		}
		keys, err := c.Identity.Keys(alice)
		if err != nil || !keys[0].LastUsed.Equal(regiontest.Start.Add(x.want)) || keys[0].LastAddress != x.from {
			t.Errorf("got %v from %s, %v; want %v after the start from %s", keys[0].LastUsed, keys[0].LastAddress, err, x.want, x.from)
		}
	}
	var strange []string
	for _, e := range c.Trail(t) {
		if e.Detail["event"] == "authn_key_new_network" {
			strange = append(strange, e.Source+" "+e.Detail["username"])
		}
	}
	if len(strange) != 1 || strange[0] != "203.0.113.7 alice" {
		t.Errorf("got %q of networks that the key was never used from, want the second", strange)
	}
}

// TestOAuthFallsBack takes the first of header, query and form that has all fields.
func TestOAuthFallsBack(t *testing.T) {
	c, _ := newCore(t)
	k, err := c.Identity.CreateKey(c.User(t, "alice", false), identity.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	part := func() url.Values { v := values(k, nil); v.Del("oauth_nonce"); return v }
	for name, x := range map[string]struct {
		header string
		values []url.Values
		ok     bool
	}{
		"incomplete header, query":       {header(part()), []url.Values{values(k, nil), nil}, true},
		"incomplete header, form":        {header(part()), []url.Values{nil, values(k, nil)}, true},
		"incomplete query, form":         {"", []url.Values{part(), values(k, nil)}, true},
		"all incomplete":                 {header(part()), []url.Values{part(), part()}, false},
		"wrong but complete header wins": {header(values(k, map[string]string{"oauth_signature": "&wrong"})), []url.Values{values(k, nil)}, false},
	} {
		p, _, err := c.Identity.VerifyOAuth(from("192.0.2.1"), x.header, x.values...)
		if x.ok != (err == nil && p.Name == "alice") {
			t.Errorf("%s: got %q, %v", name, p.Name, err)
		}
	}
}

// TestNobodyTakesAPlace keeps who may administer users, but is no administrator, from becoming one by way of an
// administrator's account.
func TestNobodyTakesAPlace(t *testing.T) {
	c, _ := newCore(t)
	c.User(t, "root", true)
	create(t, c, "bob")
	clerk := clerkCtx(t, c)
	fresh := secret.FromString("seven violins, one lamp")
	link := func(name string) error { _, err := c.Identity.RecoveryLink(clerk, name); return err }
	for name, fn := range map[string]func(string) error{
		"password":   func(name string) error { return c.Identity.SetPassword(clerk, name, fresh) },
		"link":       link,
		"email":      func(name string) error { return c.Identity.EditUser(clerk, name, "clerk@example.org") },
		"deactivate": func(name string) error { return c.Identity.SetActive(clerk, name, false) },
		"reactivate": func(name string) error { return c.Identity.SetActive(clerk, name, true) },
		"sessions":   func(name string) error { return c.Identity.EndSessions(clerk, name) },
	} {
		if err := fn("root"); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s of an administrator: got %v, want Forbidden", name, err)
		}
	}
	if err := c.Identity.SetPassword(clerk, "bob", fresh); err != nil {
		t.Errorf("password of a user: %v", err)
	}
	wantKind(t, c.Identity.DeleteUser(clerk, "root", ""), fault.Forbidden)
}

// clerkCtx acts as one who may administer users, and see and do what every user may.
func clerkCtx(t testing.TB, c *regiontest.Core) context.Context {
	t.Helper()
	ctx := c.User(t, "clerk", false)
	err := c.Gate.Do(c.Admin(t), authz.GrantEdit, func(call *gate.Call) error {
		u, err := call.Tx().UserByName("clerk")
		if err != nil {
			return err
		}
		if err := call.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		for _, p := range []authz.Permission{authz.EditIdentities, authz.ViewIdentities} {
			if err := call.Tx().AddGrant(&store.GrantRow{UserID: u.ID, User: u.Name, Entitlement: p, Pool: authz.AllPools}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p := authz.From(ctx)
	c.View(t, func(v *store.View) (err error) {
		p, err = identity.Principal(v, metal.User{ID: p.UserID, Name: p.Name})
		return err
	})
	return authz.With(ctx, p)
}

// TestPasswordsOfAllDoors refuses an easy password wherever one is chosen.
func TestPasswordsOfAllDoors(t *testing.T) {
	c, _ := newCore(t)
	first, _, err := c.Identity.FirstLink(from("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	easy := secret.FromString("password1234")
	_, err = c.Identity.CreateFirstAdmin(from("192.0.2.1"), first, identity.NewUser{Name: "root", Password: easy})
	wantKind(t, err, fault.Invalid)
	_, err = c.Identity.CreateUser(c.Admin(t), identity.NewUser{Name: "alice", Password: easy})
	wantKind(t, err, fault.Invalid)
	create(t, c, "alice")
	wantKind(t, c.Identity.SetPassword(c.Admin(t), "alice", easy), fault.Invalid)
	link, err := c.Identity.RecoveryLink(c.Admin(t), "alice")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Identity.SpendLink(from("192.0.2.1"), link, easy)
	wantKind(t, err, fault.Invalid)
	if _, err := c.Identity.SpendLink(from("192.0.2.1"), link, secret.FromString("seven violins, one lamp")); err != nil {
		t.Errorf("the link was spent by a password that was refused: %v", err)
	}
}

// TestLinkExpires after its time, and never makes an administrator.
func TestLinkExpires(t *testing.T) {
	c, clock := newCore(t)
	create(t, c, "alice")
	link, err := c.Identity.RecoveryLink(c.Admin(t), "alice")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Identity.CreateFirstAdmin(from("192.0.2.1"), link, identity.NewUser{Name: "evil", Password: secret.FromString(password)})
	wantKind(t, err, fault.Forbidden)
	clock.Advance(identity.LinkLife)
	if _, err := c.Identity.LinkUser(from("192.0.2.1"), link); err != nil {
		t.Errorf("at the end of its time: %v", err)
	}
	clock.Advance(time.Second)
	_, err = c.Identity.SpendLink(from("192.0.2.1"), link, secret.FromString("seven violins, one lamp"))
	wantKind(t, err, fault.Forbidden)
}

// TestDeleteUser gives what the user owned to another, or refuses.
func TestDeleteUser(t *testing.T) {
	c, _ := newCore(t)
	create(t, c, "alice")
	create(t, c, "bob")
	create(t, c, "carol")
	edit(t, c, "carol", func(u *store.UserRow) { u.Disabled = true })
	rack := c.AddRack(t, "rack0", prefix("10.0.0.2/24"))
	m := &regiontest.Machine{Core: c, Rack: rack, MAC: "52:54:00:00:01:01", IP: prefix("10.0.0.101/24").Addr()}
	id := m.Ready(t, "m").SystemID
	alice := c.Admin(t)
	c.View(t, func(v *store.View) error {
		u, err := v.UserByName("alice")
		if err != nil {
			return err
		}
		p, err := identity.Principal(v, u.User)
		alice = authz.With(alice, p)
		return err
	})
	if _, err := c.Machines.Allocate(alice, store.MachineQuery{SystemIDs: []string{id}}, "", "", false, ""); err != nil {
		t.Fatal(err)
	}
	wantKind(t, c.Identity.DeleteUser(c.Admin(t), "alice", ""), fault.Conflict)
	for _, heir := range []string{"nobody", "carol", "alice"} {
		wantKind(t, c.Identity.DeleteUser(c.Admin(t), "alice", heir), fault.Invalid)
	}
	// Who keeps users and holds all that alice does may still not take her machine.
	role, _ := authz.FindRole(authz.RoleUser)
	clerk := authz.Principal{Kind: authz.User, Name: "bob", UserID: 4711, Rights: authz.NewRights(authz.Grant{Permissions: authz.NewSet(authz.EditIdentities), Pool: authz.AllPools},
		authz.Grant{Permissions: role.Permissions, Pool: metal.DefaultPoolID})}
	wantKind(t, c.Identity.DeleteUser(authz.With(c.Admin(t), clerk), "alice", "bob"), fault.Forbidden)
	if err := c.Identity.DeleteUser(c.Admin(t), "alice", "bob"); err != nil {
		t.Fatal(err)
	}
	if got := c.Row(t, id); got.Owner != "bob" || got.Status != metal.Allocated {
		t.Errorf("got a machine of %q, %s; want it bob's and as it was", got.Owner, got.Status)
	}
	if err := c.Identity.DeleteUser(c.Admin(t), "carol", ""); err != nil {
		t.Errorf("one who owns nothing: %v", err)
	}
}

// TestDeactivated keeps a user out by every door, and lets him in again by each.
func TestDeactivated(t *testing.T) {
	c, _ := newCore(t)
	u := create(t, c, "alice")
	ctx := authz.With(from("192.0.2.1"), authz.Principal{Kind: authz.User, Name: "alice", UserID: u.ID})
	k, err := c.Identity.CreateKey(ctx, identity.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	key := func() error { _, _, err := verify(c, k, map[string]string{}); return err }
	if err := key(); err != nil {
		t.Fatal(err)
	}
	session, err := login(c, "192.0.2.1", "alice", password)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Identity.SetActive(c.Admin(t), "alice", false); err != nil {
		t.Fatal(err)
	}
	wantKind(t, key(), fault.Forbidden) // at once
	_, err = c.Identity.Session(ctx, session)
	wantKind(t, err, fault.Unauthenticated)
	_, err = login(c, "192.0.2.1", "alice", password)
	wantKind(t, err, fault.Unauthenticated)
	_, _, err = verify(c, k, map[string]string{"oauth_signature": "&wrong"})
	wantKind(t, err, fault.Unauthenticated) // who does not know the secret does not learn that
	if err := c.Identity.SetActive(c.Admin(t), "alice", true); err != nil {
		t.Fatal(err)
	}
	if err := key(); err != nil {
		t.Errorf("the key after reactivation: %v", err)
	}
	if _, err := login(c, "192.0.2.1", "alice", password); err != nil {
		t.Errorf("the password after reactivation: %v", err)
	}
	_, err = c.Identity.Session(ctx, session)
	wantKind(t, err, fault.Unauthenticated) // the old session stays ended
}
