package store_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

// testLogins keeps what people log in with: sessions, keys, links, second factors, steps in between.
func testLogins(d *db) {
	alice, bob := store.UserRow{User: metal.User{Name: "alice"}}, store.UserRow{User: metal.User{Name: "bob"}}
	d.do(func(tx *store.Tx) error { return tx.AddUser(&alice) })
	d.do(func(tx *store.Tx) error { return tx.AddUser(&bob) })

	session := func(hash string, u metal.User, seen time.Time) metal.Session {
		return metal.Session{Hash: hash, UserID: u.ID, Epoch: 3, Address: "192.0.2.1", Agent: "Browser/1.0", Factor: metal.FactorTOTP, Created: t0, LastSeen: seen, Expires: t0.Add(time.Hour)}
	}
	sessions := func(u metal.User) []metal.Session {
		return read(d, func(v *store.View) ([]metal.Session, error) { return v.Sessions(u.ID) })
	}
	a1, a2, b1 := session("a1", alice.User, t0), session("a2", alice.User, t0.Add(time.Minute)), session("b1", bob.User, t0)
	for _, s := range []metal.Session{a1, a2} {
		d.do(func(tx *store.Tx) error { return tx.AddSession(alice.User, s) })
	}
	d.do(func(tx *store.Tx) error { return tx.AddSession(bob.User, b1) })
	d.same(sessions(alice.User), []metal.Session{a2, a1})
	d.do(func(tx *store.Tx) error { return tx.DeleteSessions(alice.User, "a1", t0) })
	d.same(sessions(alice.User), []metal.Session{a1})
	d.do(func(tx *store.Tx) error { return tx.DeleteSessions(alice.User, "", t0) })
	d.same(sessions(alice.User), []metal.Session(nil))
	d.same(sessions(bob.User), []metal.Session{b1})
	d.do(func(tx *store.Tx) error {
		for i := range 150 {
			if err := tx.AddSession(alice.User, session(fmt.Sprintf("s%03d", i), alice.User, t0.Add(time.Duration(i)*time.Second))); err != nil {
				return err
			}
		}
		return nil
	})
	if list := sessions(alice.User); len(list) != 100 || list[0].Hash != "s149" {
		d.t.Errorf("got %d sessions, the last used %s; want the last 100", len(list), list[0].Hash)
	}

	key := metal.APIKey{UserID: alice.ID, Name: "k", ConsumerKey: "c", TokenKey: "t", SecretHash: "h", Created: t0, Expires: t0.Add(time.Hour), ReadOnly: true, Pools: []int64{0, 7},
		Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}}
	d.do(func(tx *store.Tx) error { return tx.AddAPIKey(alice.User, &key) })
	for i, c := range []struct {
		network string
		strange bool
	}{{"10.0.1.0/24", false}, {"10.0.1.0/24", false}, {"10.0.2.0/24", true}, {"10.0.2.0/24", false}, {"10.0.0.0/24", true}} { // the first is not strange
		d.do(func(tx *store.Tx) error {
			strange, err := tx.SeeAPIKey(key.ID, "10.0.0.9", c.network, t0.Add(time.Second))
			if strange != c.strange {
				d.t.Errorf("use %d from %s: strange %v", i, c.network, strange)
			}
			return err
		})
	}
	for i := range 200 { // bounded: the oldest are forgotten
		d.do(func(tx *store.Tx) error {
			_, err := tx.SeeAPIKey(key.ID, "10.0.0.9", fmt.Sprintf("10.1.%d.0/24", i), t0.Add(time.Second))
			return err
		})
	}
	d.do(func(tx *store.Tx) error {
		strange, err := tx.SeeAPIKey(4711, "10.0.0.9", "10.0.1.0/24", t0) // deleted meanwhile
		if strange {
			d.t.Error("a key that is gone is strange")
		}
		return err
	})
	key.LastUsed, key.LastAddress = t0.Add(time.Second), "10.0.0.9"
	d.same(read(d, func(v *store.View) (metal.APIKey, error) { return v.APIKeyByToken("t") }), key)

	// The first administrator's link and each user's are replaced apart.
	for _, l := range []struct {
		u    metal.User
		hash string
	}{{metal.User{}, "f1"}, {metal.User{}, "f2"}, {alice.User, "l1"}, {alice.User, "l2"}, {bob.User, "l3"}, {bob.User, ""}} {
		d.do(func(tx *store.Tx) error { return tx.PutLink(l.u, l.hash, t0) })
	}
	for hash, want := range map[string]int64{"f1": -1, "f2": 0, "l1": -1, "l2": alice.ID, "l3": -1, "": -1} {
		d.view(func(v *store.View) error {
			l, err := v.Link(hash)
			if want < 0 {
				d.want(err, fault.NotFound)
				return nil
			}
			d.same(l, store.Link{UserID: want, Expires: t0})
			return err
		})
	}

	totp := metal.Factor{Kind: metal.FactorTOTP, Name: "phone", Credential: "totp:1", Created: t0}
	passkey := metal.Factor{Kind: metal.FactorPasskey, Name: "laptop", Credential: "AAEC", Data: "{}", Created: t0}
	d.do(func(tx *store.Tx) error { return tx.AddFactor(alice.User, &totp) })
	d.do(func(tx *store.Tx) error { return tx.AddFactor(alice.User, &passkey) })
	_, err := d.try(func(tx *store.Tx) error {
		return tx.AddFactor(bob.User, &metal.Factor{Kind: metal.FactorPasskey, Credential: "AAEC"})
	})
	d.want(err, fault.Conflict)
	totp.LastStep, totp.LastUsed = 12345, t0.Add(time.Minute)
	d.do(func(tx *store.Tx) error { return tx.UseFactor(alice.User, totp) })
	d.do(func(tx *store.Tx) error { return tx.UseFactor(bob.User, metal.Factor{ID: totp.ID, LastStep: 99}) }) // not his: nothing
	d.same(read(d, func(v *store.View) ([]metal.Factor, error) { return v.Factors(alice.ID) }), []metal.Factor{totp, passkey})
	deleted := func(u metal.User) (ok bool) {
		d.do(func(tx *store.Tx) (err error) { ok, err = tx.DeleteFactor(u, passkey.ID); return err })
		return ok
	}
	if deleted(bob.User) || !deleted(alice.User) || deleted(alice.User) {
		d.t.Error("a factor can be deleted by another, or twice, or not at all")
	}

	d.do(func(tx *store.Tx) error { return tx.PutRecoveryCodes(alice.User, []string{"old"}) })
	d.do(func(tx *store.Tx) error { return tx.PutRecoveryCodes(alice.User, []string{"r1", "r2", "r3"}) })
	spend := func(u metal.User, hash string) (ok bool) {
		d.do(func(tx *store.Tx) (err error) { ok, err = tx.SpendRecoveryCode(u, hash); return err })
		return ok
	}
	if spend(bob.User, "r1") || spend(alice.User, "old") || !spend(alice.User, "r1") || spend(alice.User, "r1") {
		d.t.Error("a recovery code works for another, after its replacement, or twice")
	}
	if n := read(d, func(v *store.View) (int, error) { return v.CountRecoveryCodes(alice.ID) }); n != 2 {
		d.t.Errorf("%d codes are left, want 2", n)
	}

	step := store.Step{Hash: "p1", UserID: alice.ID, Epoch: 3, Kind: "login", Data: "{}", Expires: t0.Add(time.Minute)}
	d.do(func(tx *store.Tx) error { return tx.PutStep(alice.User, step, t0) })
	step.Data = `{"n":1}`
	d.do(func(tx *store.Tx) error { return tx.PutStep(alice.User, step, t0) })
	d.same(read(d, func(v *store.View) (store.Step, error) { return v.Step("login", "p1") }), step)
	_, err = d.try(func(tx *store.Tx) error { _, err := tx.Step("passkey", "p1"); return err })
	d.want(err, fault.NotFound) // of another kind
	d.do(func(tx *store.Tx) error {
		for i := range 50 {
			if err := tx.PutStep(alice.User, store.Step{Hash: fmt.Sprint("q", i), Kind: "login", Expires: t0.Add(time.Hour)}, t0.Add(2*time.Minute)); err != nil {
				return err
			}
		}
		return nil
	})
	_, err = d.try(func(tx *store.Tx) error { _, err := tx.Step("login", "p1"); return err })
	d.want(err, fault.NotFound) // it ended
	n := 0
	d.do(func(tx *store.Tx) error {
		for i := range 50 {
			if ok, err := tx.DeleteStep(alice.User, fmt.Sprint("q", i)); err != nil {
				return err
			} else if ok {
				n++
			}
		}
		return nil
	})
	if n != 20 {
		d.t.Errorf("%d steps were kept, want 20", n)
	}

	d.do(func(tx *store.Tx) error { return tx.DeleteUser(alice.User) })
	d.same(read(d, func(v *store.View) ([]metal.Factor, error) { return v.Factors(alice.ID) }), []metal.Factor(nil))
	d.same(sessions(alice.User), []metal.Session(nil))
}

// testDemandedRoles refuses a role that is not there: it would demand a second factor of nobody.
func testDemandedRoles(d *db) {
	put := func(value string) error {
		_, err := d.try(func(tx *store.Tx) error { return tx.PutSetting("mfa_required_roles", value) })
		return err
	}
	d.do(func(tx *store.Tx) error { return tx.AddRole(authz.Role{Name: "night shift"}) })
	for value, ok := range map[string]bool{`""`: true, `"Administrator"`: true, `"operator, Night shift"`: true, `"Adminstrator"`: false, `"User,"`: false} {
		if err := put(value); ok != (err == nil) || !ok && !fault.Is(err, fault.Invalid) {
			d.t.Errorf("%s: got %v", value, err)
		}
	}
}

func TestKeyNetworks(t *testing.T) {
	k := metal.APIKey{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}}
	for address, want := range map[string]bool{"10.1.2.3": true, "::ffff:10.1.2.3": true, "2001:db8::1%eth0": true, "11.0.0.1": false, "": false, "nonsense": false} {
		if got := k.From(address); got != want {
			t.Errorf("%q: got %v, want %v", address, got, want)
		}
	}
	if !(metal.APIKey{}).From("") {
		t.Error("a key without networks is limited")
	}
}
