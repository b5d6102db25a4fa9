package macaroons_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-macaroon-bakery/macaroon-bakery/v3/bakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery"
	"github.com/go-macaroon-bakery/macaroon-bakery/v3/httpbakery/agent"
	"gopkg.in/macaroon.v2"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/macaroons/macaroonstest"
	"github.com/metalward/metalward/internal/secret"
)

// site has a bakery with a clock, and a Candid that knows the agent ann.
type site struct {
	*macaroons.Bakery
	candid *macaroonstest.Candid
	d      macaroons.Discharger
	ann    macaroons.Agent
	at     time.Time
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{candid: macaroonstest.New(t), at: time.Now()}
	s.Bakery = bakeryOf(t, 1, s)
	s.d = macaroons.Discharger{Location: s.candid.URL, Realm: "provider 1, generation 1"}
	s.ann = s.candid.Agent("ann@site")
	return s
}

// bakeryOf makes the bakery of an instance, whose root key consists of one byte's repetition.
func bakeryOf(t *testing.T, root byte, s *site) *macaroons.Bakery {
	t.Helper()
	key := make([]byte, 32)
	for i := range key {
		key[i] = root
	}
	keys, err := secret.NewKeyring(key)
	if err != nil {
		t.Fatal(err)
	}
	return macaroons.New(keys, func() time.Time { return s.at }, s.candid.Client())
}

// login does what a client of the given protocol version does: it takes a challenge and comes back with a header.
func (s *site) login(t *testing.T, b *macaroons.Bakery, version int, change func(macaroon.Slice) macaroon.Slice) *http.Request {
	t.Helper()
	body, err := b.Challenge(t.Context(), s.d, version)
	if err != nil {
		t.Fatal(err)
	}
	var e httpbakery.Error
	if err := json.Unmarshal(body, &e); err != nil || e.Code != httpbakery.ErrDischargeRequired {
		t.Fatalf("got %q, %v", body, err)
	}
	h := *s.candid.Client()
	h.Jar, _ = cookiejar.New(nil) // never fails
	c := &httpbakery.Client{Client: &h}
	key := bakery.KeyPair{}
	if err := key.Private.UnmarshalText(s.ann.Key.Private().Reveal()); err != nil {
		t.Fatal(err)
	}
	key.Public = key.Private.Public()
	if err := agent.SetUpAuth(c, &agent.AuthInfo{Key: &key, Agents: []agent.Agent{{URL: s.ann.URL, Username: s.ann.Username}}}); err != nil {
		t.Fatal(err)
	}
	ms, err := c.DischargeAll(t.Context(), e.Info.Macaroon)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		ms = change(ms)
	}
	data, err := json.Marshal(ms)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Macaroons", base64.StdEncoding.EncodeToString(data))
	return r
}

// TestVersions speaks every version of the protocol that clients have.
func TestVersions(t *testing.T) {
	s := newSite(t)
	for version := 1; version <= 3; version++ {
		r := s.login(t, s.Bakery, version, nil)
		r.Header.Set("Bakery-Protocol-Version", strconv.Itoa(version))
		l, err := s.Verify(t.Context(), s.d, macaroons.FromHeader(r))
		if err != nil || l.Username != "ann@site" || len(l.ID) == 0 || l.Expires.After(s.at.Add(macaroons.Life)) || macaroons.Version(r) != version {
			t.Errorf("version %d: got %+v, %v", version, l, err)
		}
	}
}

// TestVerifyRefuses knows what is no login.
func TestVerifyRefuses(t *testing.T) {
	s := newSite(t)
	shown := func(r *http.Request) macaroons.Shown { return macaroons.FromHeader(r) }
	good := shown(s.login(t, s.Bakery, 3, nil))
	declare := func(text string) func(macaroon.Slice) macaroon.Slice {
		return func(ms macaroon.Slice) macaroon.Slice {
			if err := ms[0].AddFirstPartyCaveat([]byte(text)); err != nil {
				t.Fatal(err)
			}
			return ms
		}
	}
	elsewhere, empty := "bob@elsewhere", ""
	for _, c := range []struct {
		name  string
		shown func() macaroons.Shown
		d     func(macaroons.Discharger) macaroons.Discharger
		after time.Duration
	}{
		{name: "nothing", shown: func() macaroons.Shown { return nil }},
		{name: "expired", after: macaroons.Life + time.Second},
		{name: "long expired", after: 3 * macaroons.Life},
		{name: "of another generation", d: func(d macaroons.Discharger) macaroons.Discharger { d.Realm = "provider 1, generation 2"; return d }},
		{name: "of another provider", d: func(d macaroons.Discharger) macaroons.Discharger { d.Realm = "provider 2, generation 1"; return d }},
		{name: "of another instance", shown: func() macaroons.Shown { return shown(s.login(t, bakeryOf(t, 2, s), 3, nil)) }},
		{name: "not discharged", shown: func() macaroons.Shown {
			return shown(s.login(t, s.Bakery, 3, func(ms macaroon.Slice) macaroon.Slice { return ms[:1] }))
		}},
		{name: "discharged for another", shown: func() macaroons.Shown {
			other := macaroon.Slice(good[0])
			return shown(s.login(t, s.Bakery, 3, func(ms macaroon.Slice) macaroon.Slice { return macaroon.Slice{ms[0], other[1]} }))
		}},
		{name: "further caveat", shown: func() macaroons.Shown { return shown(s.login(t, s.Bakery, 3, declare("error for sure"))) }},
		{name: "two names", shown: func() macaroons.Shown { return shown(s.login(t, s.Bakery, 3, declare("declared username admin"))) }},
		{name: "a name that the discharger left out", shown: func() macaroons.Shown {
			s.candid.Declares = &empty
			defer func() { s.candid.Declares = nil }()
			return shown(s.login(t, s.Bakery, 3, declare("declared username admin")))
		}},
		{name: "a name of another domain", d: func(d macaroons.Discharger) macaroons.Discharger { d.Domain = "site"; return d }, shown: func() macaroons.Shown {
			s.candid.Declares = &elsewhere
			defer func() { s.candid.Declares = nil }()
			return shown(s.login(t, s.Bakery, 3, nil))
		}},
	} {
		d, now := s.d, s.at
		if c.d != nil {
			d = c.d(d)
		}
		show := good
		if c.shown != nil {
			show = c.shown()
		}
		s.at = now.Add(c.after)
		if l, err := s.Verify(t.Context(), d, show); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: got %+v, %v, want Unauthenticated", c.name, l, err)
		}
		s.at = now
	}
	if _, err := s.Verify(t.Context(), s.d, good); err != nil {
		t.Errorf("and the good one: got %v", err)
	}
}

// TestBrowser logs a person in by a browser, by both ways.
func TestBrowser(t *testing.T) {
	s := newSite(t)
	s.candid.Person = "pat@site"
	s.d.Domain = "site"
	noFollow := *s.candid.Client()
	noFollow.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	get := func(address string) *http.Response {
		resp, err := noFollow.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp
	}
	w, err := s.Begin(t.Context(), s.d)
	if err != nil {
		t.Fatal(err)
	}
	back, err := get(w.LoginURL("https://site.example/back", "a-state")).Location()
	if err != nil || back.Query().Get("state") != "a-state" {
		t.Fatalf("got %v, %v", back, err)
	}
	p, err := s.Redeem(t.Context(), w, back.Query().Get("code"))
	if err != nil {
		t.Fatal(err)
	}
	if l, err := s.Finish(t.Context(), s.d, p); err != nil || l.Username != "pat@site" {
		t.Errorf("by a redirect: got %+v, %v", l, err)
	}
	if _, err := s.Redeem(t.Context(), w, "a code that nobody made"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("an unknown code: got %v", err)
	}
	if _, err := s.Finish(t.Context(), s.d, macaroons.Proof{Kind: "macaroon", Value: []byte("no proof")}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("an unknown proof: got %v", err)
	}
	if _, err := s.Wait(t.Context(), w, time.Millisecond); err != macaroons.ErrPending {
		t.Errorf("before the visit: got %v, want ErrPending", err)
	}
	get(w.Visit)
	if p, err = s.Wait(t.Context(), w, time.Minute); err != nil {
		t.Fatal(err)
	}
	if l, err := s.Finish(t.Context(), s.d, p); err != nil || l.Username != "pat@site" {
		t.Errorf("by a visit: got %+v, %v", l, err)
	}
}

// TestVisitor is a person at a terminal, who is told where to go and goes there.
func TestVisitor(t *testing.T) {
	candid := macaroonstest.New(t)
	candid.Set("ann", "staff")
	candid.Person = "admin@candid"
	candid.Agent("admin@candid") // may read about people
	told := 0
	c := macaroons.NewVisitor(candid.Client(), func(address string) {
		told++
		go func() {
			resp, err := candid.Client().Get(address)
			if err == nil {
				_ = resp.Body.Close()
			}
		}()
	})
	for range 2 {
		var groups []string
		if err := c.Call(t.Context(), http.MethodGet, candid.URL+"/v1/u/ann/groups", nil, &groups); err != nil || len(groups) != 1 {
			t.Errorf("got %v, %v", groups, err)
		}
	}
	if told != 1 {
		t.Errorf("he was told %d times where to go, want once", told)
	}
}

// TestDischargerDown asks again after a while, and not at once.
func TestDischargerDown(t *testing.T) {
	s := newSite(t)
	s.candid.Down = true
	challenge := func() error { _, err := s.Challenge(context.Background(), s.d, 3); return err }
	if err := challenge(); !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Forbidden) {
		t.Errorf("got %v, want Unavailable or Forbidden", err)
	}
	s.candid.Down = false
	if err := challenge(); err == nil {
		t.Error("got a challenge, want what was remembered")
	}
	s.at = s.at.Add(11 * time.Second)
	if err := challenge(); err != nil {
		t.Errorf("a while later: got %v", err)
	}
}

// FuzzShown reads whatever a header holds.
func FuzzShown(f *testing.F) {
	for _, text := range []string{"", "bnVsbA==", "W10=", "W251bGxd", base64.StdEncoding.EncodeToString([]byte(`[{"identifier":"","signature":"aa"}]`)),
		base64.StdEncoding.EncodeToString([]byte(`[{"i":"A","s64":"AAAA"}]`)), base64.StdEncoding.EncodeToString([]byte(`[{"i64":"AwoA","s64":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","v":2}]`)), strings.Repeat("A", 1<<15)} {
		f.Add(text)
	}
	key := make([]byte, 32)
	keys, err := secret.NewKeyring(key)
	if err != nil {
		f.Fatal(err)
	}
	b := macaroons.New(keys, time.Now, http.DefaultClient)
	f.Fuzz(func(t *testing.T, text string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Macaroons"] = []string{text}
		r.AddCookie(&http.Cookie{Name: "macaroon-maas", Value: base64.StdEncoding.EncodeToString([]byte(text))})
		for _, shown := range []macaroons.Shown{macaroons.FromHeader(r), macaroons.FromCookies(r)} {
			if _, err := b.Verify(t.Context(), macaroons.Discharger{Location: "https://candid.example"}, shown); err == nil {
				t.Errorf("%q logs somebody in", text)
			}
		}
	})
}
