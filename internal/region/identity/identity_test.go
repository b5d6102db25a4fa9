package identity_test

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

const password = "canary-password-1"

func newCore(t testing.TB) (*regiontest.Core, *regiontest.Clock) {
	t.Helper()
	clock := regiontest.NewClock()
	return regiontest.New(t, clock.Now), clock
}

func from(source string) context.Context {
	return authz.WithOrigin(context.Background(), authz.Origin{Source: source})
}

func wantKind(t testing.TB, err error, kind fault.Kind) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("got error %v, want kind %s", err, kind)
	}
}

// create makes a user with the password.
func create(t testing.TB, c *regiontest.Core, name string) metal.User {
	t.Helper()
	u, err := c.Identity.CreateUser(c.Admin(t), identity.NewUser{Name: name, Password: secret.FromString(password)})
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// edit changes a user's row.
func edit(t testing.TB, c *regiontest.Core, name string, fn func(*store.UserRow)) {
	t.Helper()
	err := c.Gate.Do(c.Admin(t), authz.UserEdit, func(call *gate.Call) error {
		u, err := call.Tx().UserByName(name)
		if err != nil {
			return err
		}
		if err := call.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		fn(&u)
		return call.Tx().PutUser(u)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func set(t testing.TB, c *regiontest.Core, name string, value int) {
	t.Helper()
	err := c.Gate.Do(c.Admin(t), authz.SettingEdit, func(call *gate.Call) error {
		if err := call.Require(authz.Target{Noun: authz.NounSetting, ID: name}); err != nil {
			return err
		}
		return call.Tx().PutSetting(name, fmt.Sprint(value))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func login(c *regiontest.Core, source, name, word string) (secret.Value, error) {
	e, err := c.Identity.Login(from(source), name, secret.FromString(word))
	return e.Cookie, err
}

// TestFirstLink makes the first administrator once, within half an hour, and the last link only.
func TestFirstLink(t *testing.T) {
	c, clock := newCore(t)
	ctx := from("192.0.2.1")
	link := func() secret.Value {
		t.Helper()
		v, needed, err := c.Identity.FirstLink(ctx)
		if err != nil || !needed {
			t.Fatalf("got needed=%v, %v, want a link", needed, err)
		}
		return v
	}
	spend := func(v secret.Value, name string) error {
		_, err := c.Identity.CreateFirstAdmin(ctx, v, identity.NewUser{Name: name, Password: secret.FromString(password)})
		return err
	}
	wantKind(t, spend(secret.FromString(""), "root"), fault.Forbidden)
	wantKind(t, spend(secret.FromString("guess"), "root"), fault.Forbidden)
	first := link()
	second := link()
	wantKind(t, spend(first, "root"), fault.Forbidden) // replaced
	clock.Advance(identity.FirstLinkLife + time.Second)
	wantKind(t, spend(second, "root"), fault.Forbidden) // expired
	third := link()
	clock.Advance(identity.FirstLinkLife)
	if err := spend(third, "root"); err != nil {
		t.Fatal(err)
	}
	if u, err := c.Identity.User(authz.AsSystem(ctx, "test"), "root"); err != nil || !u.Admin {
		t.Errorf("got %+v, %v, want an administrator", u, err)
	}
	wantKind(t, spend(third, "other"), fault.Forbidden) // spent
	if _, needed, err := c.Identity.FirstLink(ctx); needed || err != nil {
		t.Errorf("got needed=%v, %v, want no link any more", needed, err)
	}
	if needed, err := c.Identity.NeedsFirstAdmin(ctx); needed || err != nil {
		t.Errorf("got needed=%v, %v", needed, err)
	}
}

// TestLogin answers the same to a wrong password, an unknown user and a disabled one.
func TestLogin(t *testing.T) {
	c, _ := newCore(t)
	create(t, c, "alice")
	create(t, c, "bob")
	edit(t, c, "bob", func(u *store.UserRow) { u.Disabled = true })
	c.User(t, "nopassword", false)
	cookie, err := login(c, "192.0.2.1", "alice", password)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := c.Identity.Session(from("192.0.2.1"), cookie); err != nil || p.Name != "alice" || p.Rights.Administrator() {
		t.Errorf("got %+v, %v, want alice", p, err)
	}
	for i, try := range [][2]string{{"alice", "wrong"}, {"alice", ""}, {"alice", strings.Repeat("x", 2000)}, {"alice", password + "\x00"}, {"ALICE", password},
		{"nobody", password}, {"", password}, {"bob", password}, {"nopassword", ""}, {strings.Repeat("n", 200), password}} {
		_, err := login(c, fmt.Sprint("192.0.2.", 10+i), try[0], try[1])
		if !fault.Is(err, fault.Unauthenticated) || fault.Message(err) != "Please enter a correct username and password." {
			t.Errorf("%.20q, %.20q: got %v", try[0], try[1], err)
		}
	}
	failed := 0
	for _, e := range c.Trail(t) {
		if e.Action == string(authz.UserLogin) && e.Outcome == metal.OutcomeDenied {
			failed++
		}
	}
	if failed != 10 {
		t.Errorf("the trail has %d failed logins, want 10", failed)
	}
}

// TestSession ends when idle, when its time is over, at logout, and when the user's rights change.
func TestSession(t *testing.T) {
	c, clock := newCore(t)
	u := create(t, c, "alice")
	ctx := from("192.0.2.1")
	open := func() secret.Value {
		t.Helper()
		v, err := login(c, "192.0.2.1", "alice", password)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	alive := func(v secret.Value, what string, want bool) {
		t.Helper()
		_, err := c.Identity.Session(ctx, v)
		if want && err != nil || !want && !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: got %v, want alive=%v", what, err, want)
		}
	}
	alive(secret.FromString(""), "no cookie", false)
	alive(secret.FromString("guess"), "unknown cookie", false)

	s := open()
	clock.Advance(time.Hour)
	alive(s, "idle for an hour", true)
	clock.Advance(time.Hour)
	alive(s, "seen an hour ago", true)
	clock.Advance(time.Hour + time.Second)
	alive(s, "idle for longer", false)

	set(t, c, "session_length", 600)
	s = open()
	for range 10 {
		clock.Advance(time.Minute)
		alive(s, "at work", true)
	}
	clock.Advance(time.Second)
	alive(s, "after its whole time", false)
	set(t, c, "session_length", 3600)

	set(t, c, "metalward_session_idle", 60)
	s = open()
	for range 6 {
		clock.Advance(30 * time.Second)
		alive(s, "at work with a short idle time", true)
	}
	clock.Advance(61 * time.Second)
	alive(s, "idle with a short idle time", false)
	set(t, c, "metalward_session_idle", 3600)

	s = open()
	edit(t, c, "alice", func(u *store.UserRow) { u.Epoch++ })
	alive(s, "rights changed", false)
	s = open()
	if err := c.Identity.SetPassword(c.Admin(t), "alice", secret.FromString(password)); err != nil {
		t.Fatal(err)
	}
	alive(s, "password changed", false)
	s = open()
	edit(t, c, "alice", func(u *store.UserRow) { u.Disabled = true })
	alive(s, "disabled", false)
	edit(t, c, "alice", func(u *store.UserRow) { u.Disabled = false })
	s = open()
	other := open()
	if err := c.Identity.Logout(authz.With(ctx, authz.Principal{Kind: authz.User, Name: "alice", UserID: u.ID}), s); err != nil {
		t.Fatal(err)
	}
	alive(s, "logged out", false)
	alive(other, "the other session", true)
}

// TestKeys lists keys without secrets, each to its owner only.
func TestKeys(t *testing.T) {
	c, _ := newCore(t)
	alice, bob := c.User(t, "alice", false), c.User(t, "bob", false)
	k, err := c.Identity.CreateKey(alice, identity.NewKey{})
	if err != nil {
		t.Fatal(err)
	}
	if parts := strings.Split(k.Text().RevealString(), ":"); len(parts) != 3 || len(parts[0]) != 18 || len(parts[1]) != 18 || parts[2] != k.Secret.RevealString() {
		t.Errorf("the key has the parts %d, want consumer, token and secret", len(parts))
	}
	keys, err := c.Identity.Keys(alice)
	if err != nil || len(keys) != 1 || keys[0].Name != "API key" {
		t.Fatalf("got %+v, %v, want one key", keys, err)
	}
	if text := fmt.Sprintf("%+v %#v", keys, keys); strings.Contains(text, k.Secret.RevealString()) {
		t.Error("the list contains the secret")
	}
	if text := fmt.Sprintf("%+v %#v %s", k, k, k.Secret); strings.Contains(text, k.Secret.RevealString()) {
		t.Error("the key prints its secret")
	}
	if keys, err := c.Identity.Keys(bob); err != nil || len(keys) != 0 {
		t.Errorf("bob sees %+v, %v", keys, err)
	}
	wantKind(t, c.Identity.DeleteKey(bob, k.TokenKey), fault.NotFound)
	wantKind(t, c.Identity.RenameKey(bob, k.TokenKey, "mine"), fault.NotFound)
	wantKind(t, c.Identity.RenameKey(alice, k.TokenKey, "a\nb"), fault.Invalid)
	if err := c.Identity.RenameKey(alice, k.TokenKey, "laptop"); err != nil {
		t.Error(err)
	}
	if _, _, err := verify(c, k, map[string]string{}); err != nil {
		t.Error(err)
	}
	if err := c.Identity.DeleteKey(alice, k.TokenKey); err != nil {
		t.Error(err)
	}
	_, _, err = verify(c, k, map[string]string{})
	wantKind(t, err, fault.Unauthenticated) // at once, although keys are remembered for a moment
}

// TestNoSecretInTheFile reads the database file for everything that must not be in it.
func TestNoSecretInTheFile(t *testing.T) {
	c, _ := newCore(t)
	create(t, c, "alice")
	admin := c.Admin(t)
	cookie, err := login(c, "192.0.2.1", "alice", password)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := login(c, "192.0.2.1", "alice", "canary-wrong-word"); err == nil {
		t.Fatal("a wrong password works")
	}
	key, err := c.Identity.CreateKey(admin, identity.NewKey{Name: "k"})
	if err != nil {
		t.Fatal(err)
	}
	rack := c.AddRack(t, "rack0", prefix("10.0.0.2/24"))
	m := &regiontest.Machine{Core: c, Rack: rack, MAC: "52:54:00:00:01:01", IP: prefix("10.0.0.101/24").Addr()}
	id := m.Ready(t, "m").SystemID
	b := metal.BootResource{Name: "debian12", Architecture: "amd64", FileType: "ddraw", SizeBytes: 3, SHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
	if b, err = c.Images.Announce(admin, b); err == nil {
		_, err = c.Images.Append(admin, b.ID, strings.NewReader("abc"), 3)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Machines.Deploy(admin, id, machines.DeployRequest{UserData: "#!/bin/sh\necho canary-user-data\n"}); err != nil {
		t.Fatal(err)
	}
	m.Start(t)
	if seed, err := c.Machines.Seed(rack.Ctx(), m.Ref); err != nil || !bytes.Contains(seed.UserData, []byte("canary-user-data")) {
		t.Fatalf("got user data %q, %v", seed.UserData, err)
	}
	found := map[string]bool{}
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(c.DSN + suffix)
		if err != nil && suffix == "" {
			t.Fatal(err)
		}
		for name, canary := range map[string]string{"password": password, "wrong password": "canary-wrong-word", "API secret": key.Secret.RevealString(),
			"cookie": cookie.RevealString(), "BMC password": regiontest.BMCPassword, "user data": "canary-user-data", "boot token": m.Token} {
			if bytes.Contains(data, []byte(canary)) {
				t.Errorf("metalward.db%s contains the %s", suffix, name)
			}
		}
		for _, plain := range []string{key.TokenKey, "alice", "10.9.0.1"} {
			found[plain] = found[plain] || bytes.Contains(data, []byte(plain))
		}
	}
	if len(found) != 3 || !found[key.TokenKey] || !found["alice"] || !found["10.9.0.1"] {
		t.Errorf("the search is blind: %v", found)
	}
}

// values of an OAuth signature of a key.
func values(k identity.KeySecret, change map[string]string) url.Values {
	v := url.Values{"oauth_consumer_key": {k.ConsumerKey}, "oauth_token": {k.TokenKey}, "oauth_signature_method": {"PLAINTEXT"},
		"oauth_signature": {"&" + k.Secret.RevealString()}, "oauth_timestamp": {fmt.Sprint(regiontest.Start.Unix())},
		"oauth_nonce": {secret.Random(9).RevealString()}, "oauth_version": {"1.0"}}
	for name, value := range change {
		v.Set(name, value)
	}
	return v
}

func verify(c *regiontest.Core, k identity.KeySecret, change map[string]string) (authz.Principal, bool, error) {
	return c.Identity.VerifyOAuth(from("192.0.2.1"), header(values(k, change)), nil)
}
