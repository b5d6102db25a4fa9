package identity_test

import (
	"bytes"
	"context"
	"encoding/base32"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/secret"
)

// TestTOTPVectors are those of RFC 6238, appendix B, to six digits.
func TestTOTPVectors(t *testing.T) {
	key := secret.FromString("12345678901234567890")
	for seconds, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if got := identity.TOTPCode(key, seconds/30); got != want {
			t.Errorf("at %d: got %s, want %s", seconds, got, want)
		}
	}
}

// app is somebody's authenticator app.
type app struct{ key secret.Value }

func (a app) code(now time.Time) string { return identity.TOTPCode(a.key, now.Unix()/30) }

// person is a user who is logged in.
type someone struct {
	t      *testing.T
	c      *regiontest.Core
	clock  *regiontest.Clock
	name   string
	ctx    context.Context
	cookie secret.Value
	app    app
	codes  []string
}

func newSomeone(t *testing.T, c *regiontest.Core, clock *regiontest.Clock, name string) *someone {
	t.Helper()
	u := create(t, c, name)
	s := &someone{t: t, c: c, clock: clock, name: name, ctx: authz.With(from("192.0.2.1"), authz.Principal{Kind: authz.User, Name: name, UserID: u.ID})}
	e, err := c.Identity.Login(s.ctx, name, secret.FromString(password))
	if err != nil {
		t.Fatal(err)
	}
	s.cookie = e.Cookie
	return s
}

// setUp adds an authenticator app.
func (s *someone) setUp() {
	s.t.Helper()
	x, err := s.c.Identity.BeginTOTP(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	key, err := base32.StdEncoding.DecodeString(x.Key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.app = app{secret.NewValue(key)}
	d, err := s.c.Identity.FinishTOTP(s.ctx, x.Step, s.app.code(s.clock.Now()), identity.Via{Cookie: s.cookie})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.c.Identity.Session(s.ctx, s.cookie); !fault.Is(err, fault.Unauthenticated) {
		s.t.Errorf("the session before the set-up goes on: %v", err)
	}
	s.cookie, s.codes = d.Cookie, d.Codes
}

// begin says the right password and gets no session.
func (s *someone) begin(source string) secret.Value {
	s.t.Helper()
	e, err := s.c.Identity.Login(from(source), s.name, secret.FromString(password))
	if err != nil || !e.Cookie.Empty() || e.Step.Empty() {
		s.t.Fatalf("got session: %v, step: %v, %v; want a step alone", !e.Cookie.Empty(), !e.Step.Empty(), err)
	}
	if _, err := s.c.Identity.Session(from(source), e.Step); !fault.Is(err, fault.Unauthenticated) {
		s.t.Fatalf("the step passes for a session: %v", err)
	}
	return e.Step
}

func (s *someone) finish(source string, step secret.Value, code string) error {
	cookie, err := s.c.Identity.FinishCode(from(source), step, code)
	if err == nil {
		_, err = s.c.Identity.Session(from(source), cookie)
	}
	return err
}

// TestAuthenticatorApp logs in with codes: each once, none too old or too early, in this login only.
func TestAuthenticatorApp(t *testing.T) {
	c, clock := newCore(t)
	s := newSomeone(t, c, clock, "alice")
	s.setUp()
	if _, err := c.Identity.Session(s.ctx, s.cookie); err != nil {
		t.Fatalf("the session after the set-up: %v", err)
	}
	at := func(d time.Duration) string { return s.app.code(clock.Now().Add(d)) }
	step := s.begin("192.0.2.1")
	for name, code := range map[string]string{"the one of the set-up": at(0), "too old": at(-60 * time.Second), "too early": at(60 * time.Second), "none": ""} {
		if err := s.finish("192.0.2.1", step, code); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: got %v, want Unauthenticated", name, err)
		}
	}
	clock.Advance(30 * time.Second)
	if err := s.finish("192.0.2.1", step, at(0)[:3]+" "+at(0)[3:]); err != nil {
		t.Errorf("the right code, with a blank: %v", err)
	}
	if err := s.finish("192.0.2.1", step, at(30*time.Second)); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("the step works twice: %v", err)
	}
	step = s.begin("192.0.2.1")
	if err := s.finish("192.0.2.1", step, at(0)); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a code works twice: %v", err)
	}
	if err := s.finish("192.0.2.1", step, at(30*time.Second)); err != nil {
		t.Errorf("the code of a clock that is ahead: %v", err)
	}
	step = s.begin("192.0.2.1")
	clock.Advance(5*time.Minute + time.Second)
	if err := s.finish("192.0.2.1", step, at(0)); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a login of a while ago: %v", err)
	}
	step = s.begin("192.0.2.1")
	if err := c.Identity.SetPassword(c.Admin(t), "alice", secret.FromString("seven violins, one lamp")); err != nil {
		t.Fatal(err)
	}
	if err := s.finish("192.0.2.1", step, at(0)); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a login with the password before it was changed: %v", err)
	}
}

// TestRecoveryCodes work once each, for their owner.
func TestRecoveryCodes(t *testing.T) {
	c, clock := newCore(t)
	s := newSomeone(t, c, clock, "alice")
	s.setUp()
	other := newSomeone(t, c, clock, "bob")
	other.setUp()
	if len(s.codes) != 10 || len(slices.Compact(slices.Sorted(slices.Values(s.codes)))) != 10 {
		t.Fatalf("got %d codes", len(s.codes))
	}
	if err := s.finish("192.0.2.1", s.begin("192.0.2.1"), other.codes[0]); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("another's code: %v", err)
	}
	if err := s.finish("192.0.2.1", s.begin("192.0.2.1"), strings.ToUpper(s.codes[3])); err != nil {
		t.Errorf("a code: %v", err)
	}
	if err := s.finish("192.0.2.1", s.begin("192.0.2.1"), s.codes[3]); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a code twice: %v", err)
	}
	fresh, err := c.Identity.NewRecoveryCodes(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.finish("192.0.2.1", s.begin("192.0.2.1"), s.codes[4]); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a code that was replaced: %v", err)
	}
	if err := s.finish("192.0.2.1", s.begin("192.0.2.1"), fresh[0]); err != nil {
		t.Errorf("a new code: %v", err)
	}
}

// TestCodeGuessing counts wrong codes for the network, and for the account as a whole: who knows the password may come
// from everywhere. The owner gets in with a recovery code all the same.
func TestCodeGuessing(t *testing.T) {
	c, clock := newCore(t)
	s := newSomeone(t, c, clock, "alice")
	s.setUp()
	clock.Advance(time.Minute)
	compared := 0
	for i := range 13 { // five from each, until ten have used up what the account has
		source := fmt.Sprintf("2001:db8:%x::1", i)
		e, err := c.Identity.Login(from(source), "alice", secret.FromString(password))
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := s.finish(source, e.Step, "000000"); tried(t, err) {
				compared++
			} else {
				break
			}
		}
	}
	if t.Logf("%d wrong codes were compared", compared); compared != 50 {
		t.Errorf("%d wrong codes from many networks were compared, want 50", compared)
	}
	step := s.begin("198.51.100.1")
	if err := s.finish("198.51.100.1", step, s.app.code(clock.Now())); !fault.Is(err, fault.Exhausted) {
		t.Errorf("a code: got %v, want Exhausted", err)
	}
	if err := s.finish("198.51.100.1", step, s.codes[0]); err != nil {
		t.Errorf("the owner's recovery code: %v", err)
	}
}

// demand sets which roles need a second factor.
func demand(t testing.TB, c *regiontest.Core, roles string) {
	t.Helper()
	err := c.Gate.Do(c.Admin(t), authz.SettingEdit, func(call *gate.Call) error {
		if err := call.Require(authz.Target{Noun: authz.NounSetting, ID: "mfa_required_roles"}); err != nil {
			return err
		}
		return call.Tx().PutSetting("mfa_required_roles", fmt.Sprintf("%q", roles))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDemanded lets nobody of a role in by password alone: not with an old session, not for an API key. The first
// factor is set up in the middle of the login.
func TestDemanded(t *testing.T) {
	c, clock := newCore(t)
	s := newSomeone(t, c, clock, "alice")
	demand(t, c, "Operator")
	if _, err := c.Identity.Session(s.ctx, s.cookie); err != nil {
		t.Errorf("a role that alice does not have: %v", err)
	}
	demand(t, c, "Operator, user")
	if _, err := c.Identity.Session(s.ctx, s.cookie); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("the session by password alone goes on: %v", err)
	}
	_, err := c.Identity.Authenticate(from("192.0.2.1"), "alice", secret.FromString(password), "k")
	if !fault.Is(err, fault.Forbidden) || !strings.Contains(fault.Message(err), "second factor") {
		t.Errorf("an API key by password alone: got %v", err)
	}
	login := s.begin("192.0.2.1")
	if p, err := c.Identity.Pending(from("192.0.2.1"), login); err != nil || !p.SetUp || p.Name != "alice" {
		t.Errorf("got %+v, %v, want a set-up", p, err)
	}
	ctx, err := c.Identity.SettingUp(from("192.0.2.1"), login)
	if err != nil {
		t.Fatal(err)
	}
	x, err := c.Identity.BeginTOTP(ctx)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := base32.StdEncoding.DecodeString(x.Key)
	s.app = app{secret.NewValue(key)}
	if _, err := c.Identity.FinishTOTP(ctx, x.Step, "000000", identity.Via{Login: login}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a wrong code: got %v", err)
	}
	if _, err := c.Identity.FinishTOTP(ctx, x.Step, s.app.code(clock.Now()), identity.Via{}); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("without the login: got %v", err)
	}
	d, err := c.Identity.FinishTOTP(ctx, x.Step, s.app.code(clock.Now()), identity.Via{Login: login})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Identity.Session(s.ctx, d.Cookie); err != nil {
		t.Errorf("the session after the set-up: %v", err)
	}
	factors, _, err := c.Identity.Factors(s.ctx)
	if err != nil || len(factors) != 1 {
		t.Fatalf("got %d factors, %v", len(factors), err)
	}
	wantKind(t, c.Identity.RemoveFactor(s.ctx, factors[0].ID), fault.Conflict) // demanded
	if _, err := c.Identity.SettingUp(from("192.0.2.1"), s.begin("192.0.2.1")); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("who has a factor sets up another one without showing it: %v", err)
	}
	demand(t, c, "")
	if err := c.Identity.RemoveFactor(s.ctx, factors[0].ID); err != nil {
		t.Error(err)
	}
	if e, err := c.Identity.Login(from("192.0.2.1"), "alice", secret.FromString(password)); err != nil || e.Cookie.Empty() {
		t.Errorf("without factors the password alone logs in: %v", err)
	}
	if _, n, err := c.Identity.Factors(s.ctx); err != nil || n != 0 {
		t.Errorf("%d recovery codes are left, %v", n, err)
	}
}

// TestResetFactors is for who lost them. Only somebody who may do as much does it, and the trail tells.
func TestResetFactors(t *testing.T) {
	c, clock := newCore(t)
	s := newSomeone(t, c, clock, "alice")
	s.setUp()
	wantKind(t, c.Identity.ResetFactors(s.ctx, "alice"), fault.Forbidden)
	if err := c.Identity.ResetFactors(c.Admin(t), "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Identity.Session(s.ctx, s.cookie); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("the session goes on: %v", err)
	}
	if e, err := c.Identity.Login(from("192.0.2.1"), "alice", secret.FromString(password)); err != nil || e.Cookie.Empty() {
		t.Errorf("got %v, want a session by password alone", err)
	}
	found := false
	for _, e := range c.Trail(t) {
		found = found || e.Action == string(authz.UserEdit) && e.Detail["change"] == "second factors reset"
	}
	if !found {
		t.Error("the trail does not tell")
	}
	admin := newSomeone(t, c, clock, "boss")
	admin.setUp()
	c.User(t, "root", true)
	wantKind(t, c.Identity.ResetFactors(clerkCtx(t, c), "root"), fault.Forbidden)
}

// TestFactorsAtRest finds neither the secret of an app nor a recovery code in the database.
func TestFactorsAtRest(t *testing.T) {
	c, clock := newCore(t)
	s := newSomeone(t, c, clock, "alice")
	s.setUp()
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(c.DSN + suffix)
		if err != nil && suffix == "" {
			t.Fatal(err)
		}
		for name, canary := range map[string][]byte{"secret": s.app.key.Reveal(), "secret as text": []byte(base32.StdEncoding.EncodeToString(s.app.key.Reveal())),
			"recovery code": []byte(s.codes[0]), "recovery code without dashes": []byte(strings.ReplaceAll(s.codes[0], "-", "")), "cookie": s.cookie.Reveal()} {
			if bytes.Contains(data, canary) {
				t.Errorf("metalward.db%s contains the %s", suffix, name)
			}
		}
	}
}

// TestNoPasskeysWithoutAName refuses them where pages are reached by an address.
func TestNoPasskeysWithoutAName(t *testing.T) {
	c, clock := newCore(t)
	s := newSomeone(t, c, clock, "alice")
	for origin, want := range map[string]bool{"https://region.example:5443": true, "https://localhost:5443": true, "https://192.0.2.1:5443": false, "https://[2001:db8::1]:5443": false, "": false} {
		ids := identity.New(identity.Config{Gate: c.Gate, Now: clock.Now, Keys: c.Keys, Origin: origin})
		if got := ids.HasPasskeys(); got != want {
			t.Errorf("%q: got %v, want %v", origin, got, want)
		}
		if _, err := ids.BeginPasskey(s.ctx); want != (err == nil) {
			t.Errorf("%q: got %v", origin, err)
		}
	}
}
