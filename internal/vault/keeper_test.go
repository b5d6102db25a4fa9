package vault_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/secret/secrettest"
	"github.com/metalward/metalward/internal/vault"
	"github.com/metalward/metalward/internal/vault/vaulttest"
)

// keeper makes a Keeper over a fake Vault; both have the same clock.
func keeper(t *testing.T) (*vault.Keeper, *vaulttest.Fake, *vaulttest.Site, *clock) {
	t.Helper()
	s, f, c, _, clk := site(t, 24*time.Hour, 24*time.Hour)
	return keeperOf(t, c, clk, 1), f, s, clk
}

func keeperOf(t *testing.T, c *vault.Client, clk *clock, key byte) *vault.Keeper {
	t.Helper()
	k, err := vault.NewKeeper(vault.KeeperConfig{Client: c, Site: "site1", Key: bytes.Repeat([]byte{key}, 32), Now: clk.Now})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestKeeperConformance runs the suite of back ends; the stranger uses the same folder of the same Vault, and has another key.
func TestKeeperConformance(t *testing.T) {
	_, _, c, _, clk := site(t, 24*time.Hour, 24*time.Hour)
	secrettest.Suite(t, keeperOf(t, c, clk, 1), keeperOf(t, c, clk, 2))
}

func down(w http.ResponseWriter, _ *http.Request) bool {
	w.WriteHeader(http.StatusBadGateway)
	return true
}

// TestOutage follows a Keeper through an outage by the clock: what was read serves until Bridge is over, writes are refused, few
// requests are made, and all is well again without anybody's doing.
func TestOutage(t *testing.T) {
	k, _, s, clk := keeper(t)
	ctx := t.Context()
	sealed, err := k.Seal(ctx, "a", secret.FromString("v"))
	if err != nil {
		t.Fatal(err)
	}
	cold, err := k.Seal(ctx, "cold", secret.FromString("v"))
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		later    time.Duration
		down     bool
		ok       bool // a reads
		state    vault.KeeperState
		mostAsks int
	}{
		{0, false, true, vault.KeeperOK, 0},
		{vault.Fresh, false, true, vault.KeeperOK, 1},
		{time.Second, true, true, vault.KeeperOK, 0}, // nobody has noticed
		{vault.Fresh, true, true, vault.KeeperAway, 3},
		{time.Second, true, true, vault.KeeperAway, 0},
		{5 * time.Second, true, true, vault.KeeperAway, 3},
		{10 * time.Minute, true, true, vault.KeeperAway, 3},
		{vault.Bridge - 17*time.Minute, true, true, vault.KeeperAway, 3},
		{2 * time.Minute, true, false, vault.KeeperAway, 3},
		{time.Second, false, false, vault.KeeperAway, 0}, // not before somebody may ask
		{5 * time.Second, false, true, vault.KeeperOK, 1},
		{0, false, true, vault.KeeperOK, 0},
	} {
		clk.add(step.later)
		if s.Spoil(nil); step.down {
			s.Spoil(down)
		}
		n := s.Count("")
		got, err := k.Open(ctx, "a", sealed)
		if peeked, ok := k.Peek("a", sealed); ok != (err == nil) || ok && !peeked.Equal(got) {
			t.Errorf("step %d: a peek after it got %v", i, ok)
		}
		if (err == nil) != step.ok || err == nil && got.RevealString() != "v" || err != nil && !fault.Is(err, fault.Unavailable) {
			t.Errorf("step %d: got %v, want it read: %v", i, err, step.ok)
		}
		if err != nil && !strings.Contains(fault.Message(err), "Settings > Security") {
			t.Errorf("step %d: %q does not say what to do", i, fault.Message(err))
		}
		if asks := s.Count("") - n; asks > step.mostAsks {
			t.Errorf("step %d: got %d requests, want at most %d", i, asks, step.mostAsks)
		}
		if st := k.Status(); st.State != step.state {
			t.Errorf("step %d: got state %s, want %s", i, st.State, step.state)
		}
	}
	s.Spoil(down)
	clk.add(vault.Fresh)
	if err := k.Check(ctx); !fault.Is(err, fault.Unavailable) {
		t.Errorf("check: got %v", err)
	}
	began := k.Status().Since
	n := s.Count("")
	for range 50 {
		if _, err := k.Seal(ctx, "b", secret.FromString("v")); !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.Message(err), "nothing was changed") {
			t.Errorf("a write: got %v", err)
		}
	}
	if s.Count("") != n {
		t.Errorf("got %d requests while it was known to be away", s.Count("")-n)
	}
	clk.add(4 * time.Minute)
	_ = k.Check(ctx) // away still
	if st := k.Status(); st.State != vault.KeeperAway || !st.Since.Equal(began) || st.Message == "" || !st.Asked.After(began) {
		t.Errorf("got %+v, want away since %v", st, began)
	}
	s.Spoil(nil)
	if err := k.Check(ctx); err != nil || k.Status().State != vault.KeeperOK {
		t.Errorf("got %v, %+v", err, k.Status())
	}
	if _, err := k.Open(ctx, "cold", cold); err != nil {
		t.Error(err)
	}
}

// TestSafe has a safe over a Keeper: a transaction never asks Vault, and is run again once what it needs is there, also in an outage.
func TestSafe(t *testing.T) {
	k, f, s, clk := keeper(t)
	safe := secret.NewSafe(secret.NewKeyset(clk.Now()).Keyring(), clk.Now, nil)
	safe.Use(k, true)
	var sealed [2][]byte
	runs, asked := 0, 0
	transaction := func(fn func() error) error {
		return safe.Settle(t.Context(), func() error {
			runs++
			before := s.Count("")
			defer func() { asked += s.Count("") - before }()
			return fn()
		})
	}
	seal := func() error {
		for i, ref := range []secret.Ref{"a", "b"} {
			got, err := safe.Seal(ref, secret.FromString("v-"+string(ref)))
			if err != nil {
				return err
			}
			sealed[i] = got
		}
		return nil
	}
	open := func() error {
		for i, ref := range []secret.Ref{"a", "b"} {
			if v, err := safe.Open(ref, sealed[i]); err != nil {
				return err
			} else if v.RevealString() != "v-"+string(ref) {
				t.Errorf("got another secret for %s", ref)
			}
		}
		return nil
	}
	for i, step := range []struct {
		later time.Duration
		down  bool
		fn    func() error
		runs  int
		ok    bool
	}{
		{0, false, seal, 3, true}, {0, false, open, 1, true}, {vault.Fresh, false, open, 3, true}, {time.Minute, true, open, 1, true}, {vault.Fresh, true, open, 2, true},
		{2 * time.Minute, true, seal, 1, false}, {10 * time.Minute, true, open, 2, true}, {vault.Bridge, true, open, 1, false}, {time.Minute, false, open, 3, true}, {2 * time.Minute, false, seal, 3, true},
	} {
		clk.add(step.later)
		if s.Spoil(nil); step.down {
			s.Spoil(down)
		}
		runs = 0
		err := transaction(step.fn)
		if (err == nil) != step.ok || err != nil && !fault.Is(err, fault.Unavailable) || runs != step.runs {
			t.Errorf("step %d: got %d runs and %v, want %d and %v", i, runs, err, step.runs, step.ok)
		}
	}
	if asked != 0 || len(f.Entries()) != 4 {
		t.Errorf("got %d requests inside transactions, and entries %v", asked, f.Entries())
	}
}

// TestFetch asks Vault whatever is in memory.
func TestFetch(t *testing.T) {
	k, f, s, _ := keeper(t)
	sealed, err := k.Seal(t.Context(), "a", secret.FromString("v"))
	if err != nil {
		t.Fatal(err)
	}
	n := s.Count("/data/")
	if v, err := k.Fetch(t.Context(), "a", sealed); err != nil || v.RevealString() != "v" || s.Count("/data/") != n+1 {
		t.Errorf("got %v after %d requests", err, s.Count("/data/")-n)
	}
	f.Alter(f.Entries()[0], "value", func(string) string { return "ZXZpbA==" })
	if _, err := k.Fetch(t.Context(), "a", sealed); err == nil {
		t.Error("fetched what somebody changed")
	}
	s.Spoil(down)
	if _, err := k.Fetch(t.Context(), "a", sealed); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v while Vault is away", err)
	}
	if _, ok := k.Peek("b", sealed); ok {
		t.Error("a pointer moved to another ref was opened from memory")
	}
}

// TestOutageByTheCaller has a caller who hangs up say nothing about Vault.
func TestOutageByTheCaller(t *testing.T) {
	k, _, _, _ := keeper(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Seal(gone, "a", secret.FromString("v")); err == nil {
		t.Error("sealed for nobody")
	}
	if _, err := k.Seal(t.Context(), "a", secret.FromString("v")); err != nil {
		t.Error(err)
	}
}

// TestWithdrawn has what Vault takes back leave memory at once: an outage is bridged, a refusal is not.
func TestWithdrawn(t *testing.T) {
	_, f, c, _, clk := site(t, 24*time.Hour, 24*time.Hour)
	k := keeperOf(t, c, clk, 1)
	sealed, err := k.Seal(t.Context(), "a", secret.FromString("v"))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range f.Accessors("r") {
		f.RevokeSecretID(t, "r", a)
	}
	f.RevokeTokens(t)
	if _, err := k.Open(t.Context(), "a", sealed); err != nil {
		t.Errorf("while it is fresh: got %v", err)
	}
	clk.add(vault.Fresh)
	for range 2 {
		if _, err := k.Open(t.Context(), "a", sealed); !errors.Is(err, vault.ErrLogin) {
			t.Errorf("got %v, want ErrLogin", err)
		}
	}
	if st := k.Status(); st.State != vault.KeeperRefused || st.Cached != 0 {
		t.Errorf("got %+v", st)
	}
}

// TestCheck tells a Vault that is well from one that has no such mount, or whose policy lacks the right.
func TestCheck(t *testing.T) {
	s, f, c, v, clk := site(t, 24*time.Hour, 24*time.Hour)
	k := keeperOf(t, c, clk, 1)
	want := func(what string, state vault.KeeperState, kind ...fault.Kind) {
		t.Helper()
		if err := k.Check(t.Context()); err != nil && len(kind) == 0 || len(kind) > 0 && !fault.Is(err, kind[0]) {
			t.Errorf("%s: got %v, want %v", what, err, kind)
		}
		if st := k.Status(); st.State != state || (st.Message == "") != (state == vault.KeeperOK) {
			t.Errorf("%s: got %+v, want %s", what, st, state)
		}
	}
	want("well", vault.KeeperOK)
	f.SetRole(t, "r", vaulttest.Policy{}, time.Hour, time.Hour)
	want("no right", vault.KeeperRefused, fault.Forbidden)
	f.SetRole(t, "r", vaulttest.SitePolicy("secret", "p"), time.Hour, time.Hour)
	want("well again", vault.KeeperOK)
	f.Seal(t)
	want("sealed", vault.KeeperAway, fault.Unavailable)
	f.Unseal(t)
	want("unsealed", vault.KeeperOK)
	id := f.SetRole(t, "r", vaulttest.SitePolicy("gone", "p"), time.Hour, time.Hour)
	sid, err := v.Unwrap(t.Context(), secret.FromString(f.Wrap(t, "r")))
	if err != nil {
		t.Fatal(err)
	}
	gone, err := v.NewClient(vault.Role{ID: id, SecretID: sid.Value, Mount: "gone", Prefix: "p"})
	if err != nil {
		t.Fatal(err)
	}
	k.Use(gone)
	want("no mount", vault.KeeperRefused, fault.Invalid)
	if s.Count("/site1/check") == 0 {
		t.Error("it asked for something else")
	}
}

// TestAltered changes what Vault has: another value, that of another secret, none.
func TestAltered(t *testing.T) {
	k, f, _, clk := keeper(t)
	ctx := t.Context()
	seal := func(v string) ([]byte, string) {
		t.Helper()
		sealed, err := k.Seal(ctx, "a", secret.FromString(v))
		if err != nil {
			t.Fatal(err)
		}
		id, ok := vault.ID(sealed)
		if !ok {
			t.Fatal("what was sealed is no pointer")
		}
		return sealed, "p/site1/" + id
	}
	one, path := seal("one")
	_, other := seal("two")
	var taken string
	f.Alter(other, "value", func(s string) string { taken = s; return s })
	for what, change := range map[string]func(string) string{
		"another value": func(string) string { return base64.StdEncoding.EncodeToString([]byte("evil")) }, "another's value": func(string) string { return taken },
		"no base64": func(string) string { return "!" }, "nothing": func(string) string { return "" },
	} {
		var was string
		f.Alter(path, "value", func(s string) string { was = s; return change(s) })
		clk.add(vault.Bridge)
		if got, err := k.Open(ctx, "a", one); err == nil || strings.Contains(err.Error(), "evil") {
			t.Errorf("%s: got %d bytes, %v", what, len(got.Reveal()), err)
		}
		f.Alter(path, "value", func(string) string { return was })
	}
	if _, err := k.Open(ctx, "a", one); err != nil {
		t.Errorf("as it was: got %v", err)
	}
	for range 2 {
		if _, err := k.Collect(ctx, func() (map[string]bool, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
		clk.add(vault.Grace)
	}
	if _, err := k.Open(ctx, "a", one); !fault.Is(err, fault.NotFound) {
		t.Errorf("gone: got %v", err)
	}
}

// TestPutCut has a write whose answer is lost count if it arrived, and not if it did not.
func TestPutCut(t *testing.T) {
	k, f, s, clk := keeper(t)
	if err := k.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.CutAfter(f, "/data/", 1)
	sealed, err := k.Seal(t.Context(), "a", secret.FromString("v"))
	if err != nil {
		t.Fatalf("it had arrived: got %v", err)
	}
	clk.add(vault.Bridge)
	if got, err := k.Open(t.Context(), "a", sealed); err != nil || got.RevealString() != "v" || len(f.Entries()) != 1 {
		t.Errorf("got %v, entries %v", err, f.Entries())
	}
	s.Spoil(func(w http.ResponseWriter, r *http.Request) bool { return r.Method == http.MethodPost && down(w, r) })
	if _, err := k.Seal(t.Context(), "a", secret.FromString("v")); !fault.Is(err, fault.Unavailable) || len(f.Entries()) != 1 {
		t.Errorf("it never arrived: got %v, entries %v", err, f.Entries())
	}
}

// TestCollect removes what nothing has referred to for long enough, and that alone, however old it is.
func TestCollect(t *testing.T) {
	k, f, s, clk := keeper(t)
	ctx := t.Context()
	var ids []string
	seal := func(value string) string {
		sealed, err := k.Seal(ctx, "a", secret.FromString(value))
		if err != nil {
			t.Fatal(err)
		}
		id, _ := vault.ID(sealed)
		return id
	}
	for i := range 3 {
		ids = append(ids, seal(fmt.Sprint(i)))
	}
	keep := map[string]bool{ids[0]: true, ids[1]: true}
	collect := func(what string, used func() (map[string]bool, error), want int, left ...*string) {
		t.Helper()
		n, err := k.Collect(ctx, used)
		var names []string
		for _, id := range left {
			names = append(names, "p/site1/"+*id)
		}
		slices.Sort(names)
		if err != nil || n != want || !slices.Equal(f.Entries(), names) {
			t.Errorf("%s: got %d removed, %v, and %v left; want %d and %v", what, n, err, f.Entries(), want, names)
		}
	}
	now := func() (map[string]bool, error) { return keep, nil }
	clk.add(30 * vault.Grace)
	collect("the last is old, but was in use for all that is known", now, 0, &ids[0], &ids[1], &ids[2])
	clk.add(vault.Grace - 1)
	delete(keep, ids[1])
	collect("the second was replaced a moment ago", now, 0, &ids[0], &ids[1], &ids[2])
	clk.add(1)
	if _, err := k.Collect(ctx, func() (map[string]bool, error) { return nil, errors.New("no database") }); err == nil || len(f.Entries()) != 3 {
		t.Errorf("without a list: got %v, entries %v", err, f.Entries())
	}
	staged := ""
	collect("while somebody seals after Vault was listed", func() (map[string]bool, error) { staged = seal("staged"); return keep, nil }, 1, &ids[0], &ids[1], &staged)
	keep[ids[1]] = true
	collect("the database was put back to what it was", now, 0, &ids[0], &ids[1], &staged)
	clk.add(vault.Grace)
	collect("what was staged came to nothing", now, 1, &ids[0], &ids[1])
	if s.Count("/data/") != 4 {
		t.Error("a secret was read to find out whether it is in use")
	}
	s.Spoil(down)
	if n, err := k.Collect(ctx, now); n != 0 || !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %d, %v while Vault is away", n, err)
	}
}

// TestWarm has secrets in memory that nobody read lately, so that an outage does not find them missing.
func TestWarm(t *testing.T) {
	k, _, s, clk := keeper(t)
	ctx := t.Context()
	sealed, err := k.Seal(ctx, "a", secret.FromString("v"))
	if err != nil {
		t.Fatal(err)
	}
	asked := s.Count("/data/")
	for range int(2 * vault.Bridge / time.Minute) {
		clk.add(time.Minute)
		if err := k.Warm(ctx, "a", sealed); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Count("/data/") - asked; n < 5 || n > 6 {
		t.Errorf("got %d reads in an hour, want 6", n)
	}
	s.Spoil(down)
	clk.add(vault.Bridge / 3)
	if _, err := k.Open(ctx, "a", sealed); err != nil {
		t.Error(err)
	}
	if err := k.Warm(ctx, "b", []byte{1, 2, 3}); err != nil {
		t.Errorf("what is not in Vault: got %v", err)
	}
}

// TestPointerShowsNothing looks through pointers and addresses; the cache's own test looks inside of that.
func TestPointerShowsNothing(t *testing.T) {
	k, f, s, _ := keeper(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			sealed, err := k.Seal(t.Context(), "a", secret.FromString("canary-11"))
			if err != nil || bytes.Contains(sealed, []byte("canary")) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if len(f.Entries()) != 4 || s.Count("canary") != 0 {
		t.Errorf("got %v, and %d addresses with the secret", f.Entries(), s.Count("canary"))
	}
}
