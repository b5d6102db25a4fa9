package rbac_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/rbac"
	"github.com/metalward/metalward/internal/rbac/rbactest"
)

// as makes a client of the service for who has a key.
func as(t *testing.T, s *rbactest.Server, username string, key macaroons.Key) *rbac.Client {
	t.Helper()
	base := *s.Client()
	base.CheckRedirect = rbac.SameHost
	doer, err := macaroons.NewClient(&base, macaroons.Agent{URL: s.URL + "/auth", Username: username, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	c, err := rbac.NewClient(s.URL, doer)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// site is a registered site's client.
func site(t *testing.T) (*rbactest.Server, *rbac.Client) {
	s, key := rbactest.New(t), macaroons.NewKey()
	return s, as(t, s, s.Register("Site", key.Public()), key)
}

func TestSync(t *testing.T) {
	s, c := site(t)
	push := func(since string, updates []rbac.Resource, removals ...string) (string, error) {
		return c.Push(t.Context(), rbac.TypePool, rbac.Change{Since: since, Updates: updates, Removals: removals})
	}
	first, err := push("", []rbac.Resource{{"0", "default"}, {"7", "lab"}})
	if err != nil {
		t.Fatal(err)
	}
	second, err := push(first, []rbac.Resource{{"7", "lab <2>"}}, "0")
	if err != nil || second == first {
		t.Fatalf("got %q, %v", second, err)
	}
	if d := cmp.Diff(map[string]string{"7": "lab <2>"}, s.Pools()); d != "" {
		t.Error(d)
	}
	if _, err := push(first, nil); !errors.Is(err, rbac.ErrStale) || !fault.Is(err, fault.Conflict) {
		t.Errorf("a stale id: got %v", err)
	}
	if _, err := push(second, nil); err != nil {
		t.Errorf("nothing new: %v", err)
	}
	if _, err := push("", nil); err != nil || len(s.Pools()) != 0 {
		t.Errorf("nothing at all: %v, %v", err, s.Pools())
	}
	if list, err := c.Resources(t.Context(), rbac.TypePool); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v", list, err)
	}
	if _, err := push("", []rbac.Resource{{"1", "x"}}); err != nil {
		t.Error(err)
	}
	if list, err := c.Resources(t.Context(), rbac.TypePool); err != nil || !cmp.Equal(list, []rbac.Resource{{ID: "1", Name: "x"}}) {
		t.Errorf("got %v, %v", list, err)
	}
}

func TestRights(t *testing.T) {
	s, c := site(t)
	for _, name := range []string{"jane", "a b/c?d&u=x"} {
		s.AddPerson(name, macaroons.NewKey().Public())
		s.Allow(name, "resource-pool", "view", "1", "4")
		s.Allow(name, "resource-pool", "edit", "")
		got, err := c.Allowed(t.Context(), rbac.TypePool, name, "view", "view-all", "edit")
		want := map[string]rbac.Set{"view": {IDs: []string{"1", "4"}}, "view-all": {IDs: []string{}}, "edit": {All: true}}
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
		p, err := c.Person(t.Context(), name)
		if err != nil || p.Username != name || p.Email != name+"@example.com" {
			t.Errorf("%s: got %v, %v", name, p, err)
		}
	}
	if got, err := c.Allowed(t.Context(), rbac.TypeMAAS, "nobody", "admin"); err != nil || !got["admin"].Empty() {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := c.Person(t.Context(), "nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"", ".", "..", "a\x00b", strings.Repeat("x", 300)} {
		if _, err := c.Person(t.Context(), name); !fault.Is(err, fault.NotFound) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

// TestFaults holds that no wrong answer passes for one without rights, and that none is waited for for long.
func TestFaults(t *testing.T) {
	s, c := site(t)
	s.AddPerson("jane", macaroons.NewKey().Public())
	s.Allow("jane", "maas", "admin", "")
	ask := func(ctx context.Context) error {
		_, err := c.Allowed(ctx, rbac.TypeMAAS, "jane", "admin")
		return err
	}
	if err := ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]rbactest.Fault{"500": rbactest.Error500, "truncated": rbactest.Truncated, "HTML": rbactest.Garbage, "another shape": rbactest.WrongType,
		"huge": rbactest.Huge, "redirect": rbactest.Away, "lost": rbactest.Forgotten, "hang": rbactest.Hang} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if f == rbactest.Hang {
			ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
		}
		s.Down(f)
		err := ask(ctx)
		if !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v, want one of kind unavailable", name, err)
		}
		if err != nil && (strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 1000 || strings.Contains(fault.Message(err), "fire")) {
			t.Errorf("%s: the service's own words should be bounded, printable and not for users: %q", name, err)
		}
		s.Down(rbactest.None)
		cancel()
		if f == rbactest.Hang {
			continue
		}
		for what, err := range map[string]error{"list": second(c.Resources(t.Context(), rbac.TypePool)), "person": second(c.Person(t.Context(), "jane"))} {
			if err != nil {
				t.Errorf("after %s, %s: %v", name, what, err)
			}
		}
	}
	s.RotateKeys()
	if err := ask(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after rotation of keys: got %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

// answers is a service that answers every request with one text.
type answers struct{ text, kind string }

// Do answers.
func (a answers) Do(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {a.kind}}, Body: io.NopCloser(strings.NewReader(a.text)), Request: r}, nil
}

func client(t *testing.T, text string) *rbac.Client {
	t.Helper()
	c, err := rbac.NewClient("https://rbac.example", answers{text, "application/json"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestStrict holds what an answer about rights has to be.
func TestStrict(t *testing.T) {
	for text, want := range map[string]rbac.Set{
		`{"view":[""]}`: {All: true}, `{"view":[]}`: {IDs: []string{}}, `{"view":["1"],"other":["2"]}`: {IDs: []string{"1"}}, ` {"view":["1","x"]} `: {IDs: []string{"1", "x"}},
	} {
		got, err := client(t, text).Allowed(t.Context(), rbac.TypePool, "jane", "view")
		if err != nil || !cmp.Equal(got["view"], want) {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{``, `null`, `{}`, `[]`, `{"view":null}`, `{"view":""}`, `{"view":[1]}`, `{"view":["","1"]}`, `{"view":["1",""]}`, `{"view":["a\u0000"]}`,
		`{"view":["` + strings.Repeat("1", 65) + `"]}`, `{"view":[]}{"view":[""]}`, `{"view":[]} x`, `{"view-all":[""]}`, `{"view":["1"]`} {
		if got, err := client(t, text).Allowed(t.Context(), rbac.TypePool, "jane", "view"); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{`{}`, `{"sync-id":""}`, `{"sync-id":null}`, `{"sync-id":7}`, `{"sync-id":"a\nb"}`} {
		if got, err := client(t, text).Push(t.Context(), rbac.TypePool, rbac.Change{}); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	if _, err := client(t, `{"username":"joe","name":"","email":""}`).Person(t.Context(), "jane"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("another person: got %v", err)
	}
	for _, address := range []string{"", "http://rbac.example", "https://", "https://u:p@rbac.example", "https://rbac.example?x", "ftp://x"} {
		if _, err := rbac.NewClient(address, answers{}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v", address, err)
		}
	}
}

func TestRegister(t *testing.T) {
	s := rbactest.New(t)
	key := macaroons.NewKey()
	s.AddPerson("boss", key.Public())
	c := as(t, s, "boss", key)
	mine := macaroons.NewKey()
	a, err := c.Register(t.Context(), "Site", mine.Public(), false)
	if err != nil {
		t.Fatal(err)
	}
	if a.AuthURL != s.URL+"/auth" {
		t.Errorf("got %v", a)
	}
	if _, err := as(t, s, a.Username, mine).Push(t.Context(), rbac.TypePool, rbac.Change{}); err != nil {
		t.Errorf("the registered agent: %v", err)
	}
	if _, err := c.Push(t.Context(), rbac.TypePool, rbac.Change{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a person pushes: got %v", err)
	}
	if _, err := as(t, s, a.Username, mine).Register(t.Context(), "By an agent", mine.Public(), false); !fault.Is(err, fault.Forbidden) {
		t.Errorf("an agent registers: got %v", err)
	}
	if _, err := c.Register(t.Context(), "Site", mine.Public(), false); !fault.Is(err, fault.Invalid) {
		t.Errorf("again: got %v", err)
	}
	other := macaroons.NewKey()
	if a, err = c.Register(t.Context(), "Site", other.Public(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := as(t, s, a.Username, other).Push(t.Context(), rbac.TypePool, rbac.Change{}); err != nil {
		t.Errorf("the new key: %v", err)
	}
	if _, err := as(t, s, a.Username, mine).Push(t.Context(), rbac.TypePool, rbac.Change{}); err == nil {
		t.Error("the old key should work no more")
	}
	s.RefuseServices()
	if _, err := c.Register(t.Context(), "Another", mine.Public(), false); !fault.Is(err, fault.Conflict) {
		t.Errorf("a service that one may not create: got %v", err)
	}
	if _, err := c.Register(t.Context(), "Bad", "no key", false); err == nil {
		t.Error("no key should do")
	}
	s.Down(rbactest.Garbage)
	if _, err := c.Register(t.Context(), "Site", mine.Public(), true); !fault.Is(err, fault.Unavailable) {
		t.Errorf("garbage: got %v", err)
	}
}
