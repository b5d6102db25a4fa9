package vault_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
	"github.com/metalward/metalward/internal/vault/vaulttest"
)

// clock is a time that moves by itself only when somebody waits for it.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	waits []time.Duration
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

func (c *clock) wait(ctx context.Context, d time.Duration) error {
	c.add(d)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = append(c.waits, d)
	return ctx.Err()
}

// site is a fake Vault with a role, and a client; both have the same clock.
func site(t *testing.T, ttl, most time.Duration) (*vaulttest.Site, *vaulttest.Fake, *vault.Client, *vault.Server, *clock) {
	t.Helper()
	clk := &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	f := vaulttest.NewFake()
	f.Now = clk.Now
	s := vaulttest.Serve(t, f)
	v, err := vault.NewServer(vault.Config{URL: s.URL, CA: s.CA, Now: clk.Now, Wait: clk.wait, Namespace: "/team/a/"})
	if err != nil {
		t.Fatal(err)
	}
	id := f.SetRole(t, "r", vaulttest.SitePolicy("secret", "p"), ttl, most)
	sid, err := v.Unwrap(t.Context(), secret.FromString(f.Wrap(t, "r")))
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.NewClient(vault.Role{ID: id, SecretID: sid.Value, Mount: "secret", Prefix: "p"})
	if err != nil {
		t.Fatal(err)
	}
	return s, f, c, v, clk
}

// TestLeases renews at two thirds, logs in anew when renewals shorten, and goes on with a token that lives while Vault is away.
func TestLeases(t *testing.T) {
	s, f, c, _, clk := site(t, 30*time.Minute, 70*time.Minute)
	away := func(is bool) {
		if !is {
			s.Spoil(nil)
			return
		}
		s.Spoil(func(w http.ResponseWriter, r *http.Request) bool {
			down := strings.Contains(r.URL.Path, "/auth/")
			if down {
				w.WriteHeader(http.StatusBadGateway)
			}
			return down
		})
	}
	for i, step := range []struct {
		later           time.Duration
		away            bool
		logins, renewed int
		kind            fault.Kind
	}{
		{0, false, 1, 0, fault.NotFound},
		{20*time.Minute - time.Second, false, 1, 0, fault.NotFound},
		{time.Second, false, 1, 1, fault.NotFound},        // at 20 minutes
		{20 * time.Minute, false, 1, 2, fault.NotFound},   // at 40: 70 is 30 away
		{20 * time.Minute, false, 2, 3, fault.NotFound},   // at 60: 10 minutes are left, so it logs in
		{20 * time.Minute, true, 2, 6, fault.NotFound},    // three tries to renew
		{5 * time.Second, true, 2, 6, fault.NotFound},     // not again so soon
		{10 * time.Second, true, 2, 9, fault.NotFound},    // but then
		{10 * time.Minute, true, 3, 9, fault.Unavailable}, // it has ended; a login is not repeated after 502
		{0, false, 4, 9, fault.NotFound},
		{31 * time.Minute, false, 5, 9, fault.NotFound}, // ended while nobody asked
	} {
		clk.add(step.later)
		away(step.away)
		_, err := c.Get(t.Context(), "none", 0)
		if !fault.Is(err, step.kind) {
			t.Errorf("step %d: got %v, want kind %s", i, err, step.kind)
		}
		if l, r := s.Count("approle/login"), s.Count("renew-self"); l != step.logins || r != step.renewed {
			t.Errorf("step %d: got %d logins and %d renewals, want %d and %d", i, l, r, step.logins, step.renewed)
		}
	}
	f.SetRole(t, "r", vaulttest.Policy{}, time.Hour, time.Hour)
	n := s.Count("approle/login")
	for range 5 {
		if _, err := c.Get(t.Context(), "none", 0); !fault.Is(err, fault.Forbidden) {
			t.Errorf("got %v, want forbidden", err)
		}
	}
	if s.Count("approle/login") != n {
		t.Error("a right that is lacking led to logins")
	}
}

// TestRepeats repeats what may be, a few times, and no sooner than Vault says.
func TestRepeats(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		after      string
		times      int
		put, get   int // requests seen
		fails      bool
		atLeast    time.Duration
		retryAfter time.Duration
	}{
		"429 once":           {429, "", 1, 2, 2, false, 0, 0},
		"429 with a time":    {429, "3", 1, 2, 2, false, 3 * time.Second, 0},
		"429 for long":       {429, "60", 1, 1, 1, true, 0, time.Minute},
		"429 with nonsense":  {429, "-1", 1, 2, 2, false, 0, 0},
		"429 for good":       {429, "1", 9, 3, 3, true, time.Second, time.Second},
		"503 once":           {503, "", 1, 2, 2, false, 0, 0},
		"500 once":           {500, "", 1, 1, 2, false, 0, 0},
		"412 of a replica":   {412, "", 1, 2, 2, false, 0, 0},
		"502 for good":       {502, "", 9, 1, 3, true, 0, 0},
		"404 that is a page": {404, "", 9, 1, 1, true, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, client, _, clk := site(t, time.Hour, time.Hour)
			if _, err := client.Put(t.Context(), "a", vault.Fields{"k": secret.FromString("v")}, 0); err != nil {
				t.Fatal(err)
			}
			for _, put := range []bool{false, true} {
				left, before := c.times, s.Count("/data/")
				clk.waits = nil
				s.Spoil(func(w http.ResponseWriter, r *http.Request) bool {
					left--
					if left < 0 {
						return false
					}
					if c.after != "" {
						w.Header().Set("Retry-After", c.after)
					}
					w.WriteHeader(c.status)
					return true
				})
				want, fails := c.get, c.fails
				_, err := client.Get(t.Context(), "a", 0)
				if put {
					want, fails = c.put, c.fails || c.status == 500
					before, left = s.Count("/data/"), c.times
					_, err = client.Put(t.Context(), "a", vault.Fields{"k": secret.FromString("v")}, 1)
				}
				if n := s.Count("/data/") - before; n != want || fails != (err != nil) || fails && !fault.Is(err, fault.Unavailable) {
					t.Errorf("put %v: got %d requests and %v, want %d", put, n, err, want)
				}
				if e, ok := fault.As(err); ok && e.RetryAfter != c.retryAfter {
					t.Errorf("got RetryAfter %v, want %v", e.RetryAfter, c.retryAfter)
				}
				for _, w := range clk.waits {
					if w < c.atLeast || w > 5*time.Second || w < 100*time.Millisecond {
						t.Errorf("waited for %v, want at least %v", w, c.atLeast)
					}
				}
			}
		})
	}
}

// TestHostile has servers write back what they were sent, and more, in every place there is; none of it gets into an error.
func TestHostile(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, all string){
		"an error": func(w http.ResponseWriter, all string) {
			w.WriteHeader(400)
			say(w, map[string]any{"errors": []string{all}})
		},
		"a right": func(w http.ResponseWriter, all string) {
			w.WriteHeader(403)
			say(w, map[string]any{"errors": []string{all}})
		},
		"a page":       func(w http.ResponseWriter, all string) { w.WriteHeader(404); _, _ = io.WriteString(w, all) },
		"no JSON":      func(w http.ResponseWriter, all string) { _, _ = io.WriteString(w, all) },
		"another type": func(w http.ResponseWriter, all string) { say(w, map[string]any{"data": all, "auth": all}) },
		"a number": func(w http.ResponseWriter, all string) {
			say(w, map[string]any{"data": map[string]any{"version": all}})
		},
		"foreign fields": func(w http.ResponseWriter, all string) {
			say(w, map[string]any{"data": map[string]any{"data": map[string]any{all: []string{all}}, "metadata": map[string]any{"version": 1}}})
		},
		"a redirect": func(w http.ResponseWriter, all string) {
			w.Header().Set("Location", "https://127.0.0.1:1/"+all)
			w.WriteHeader(307)
		},
		"endless":         func(w http.ResponseWriter, all string) { endless(w) },
		"a status line":   func(w http.ResponseWriter, all string) { raw(w, "HTTP/1.1 "+all+"\r\n\r\n") },
		"a header":        func(w http.ResponseWriter, all string) { raw(w, "HTTP/1.1 200 OK\r\n"+all+"\r\n\r\n") },
		"a length":        func(w http.ResponseWriter, all string) { raw(w, "HTTP/1.1 200 OK\r\nContent-Length: "+all+"\r\n\r\n") },
		"nothing":         func(w http.ResponseWriter, all string) { w.WriteHeader(204) },
		"an empty object": func(w http.ResponseWriter, all string) { say(w, map[string]any{}) },
		"null":            func(w http.ResponseWriter, all string) { say(w, nil) },
		"a token of lines": func(w http.ResponseWriter, all string) {
			say(w, map[string]any{"auth": map[string]any{"client_token": all + "\r\nX: y"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, good, v, _ := site(t, time.Hour, time.Hour)
			spoil := func(w http.ResponseWriter, r *http.Request) bool {
				body, _ := io.ReadAll(r.Body) // as much as there is
				answer(w, strings.Map(func(r rune) rune {
					if r < ' ' {
						return -1
					}
					return r
				}, r.Header.Get("X-Vault-Token")+string(body)))
				return true
			}
			if _, err := good.Put(t.Context(), "known", vault.Fields{"k": secret.FromString("canary-77")}, 0); err != nil {
				t.Fatal(err)
			}
			bad, err := v.NewClient(vault.Role{ID: "id", SecretID: secret.FromString("canary-77"), Mount: "secret", Prefix: "p"})
			if err != nil {
				t.Fatal(err)
			}
			s.Spoil(spoil)
			calls := map[string]func(context.Context) error{
				"login": func(ctx context.Context) error { _, err := bad.Get(ctx, "a", 0); return err },
				"put": func(ctx context.Context) error {
					_, err := good.Put(ctx, "a", vault.Fields{"k": secret.FromString("canary-77")}, 0)
					return err
				},
				"get":    func(ctx context.Context) error { _, err := good.Get(ctx, "known", 0); return err },
				"unwrap": func(ctx context.Context) error { _, err := v.Unwrap(ctx, secret.FromString("canary-77")); return err },
				"health": func(ctx context.Context) error { _, err := v.Health(ctx); return err },
			}
			for what, do := range calls {
				err := do(t.Context())
				if err == nil {
					t.Errorf("%s: got no error", what)
					continue
				}
				for _, text := range []string{err.Error(), fmt.Sprintf("%#v", err), fault.Message(err)} {
					if strings.Contains(text, "canary") || strings.Contains(text, "hvs.") {
						t.Errorf("%s: a secret is in %s", what, text)
					}
				}
				if fault.Is(err, fault.Internal) || fault.Is(err, fault.NotFound) {
					t.Errorf("%s: got %v of kind %s", what, err, fault.KindOf(err))
				}
				if errors.Is(err, vault.ErrUsed) != (what == "unwrap" && (name == "an error" || name == "a right")) {
					t.Errorf("%s: got %v, which is the alarm or is not", what, err)
				}
			}
		})
	}
}

func say(w io.Writer, v any) { _ = json.NewEncoder(w).Encode(v) } // the client may hang up

func endless(w io.Writer) {
	for b := []byte(strings.Repeat(" ", 1<<20)); ; {
		if _, err := w.Write(b); err != nil {
			return
		}
	}
}

func raw(w http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, text)
	_ = conn.Close()
}

// TestNamespace names the namespace in every request but health, which belongs to none.
func TestNamespace(t *testing.T) {
	s, _, c, v, _ := site(t, time.Hour, time.Hour)
	got := map[string]string{}
	s.Spoil(func(_ http.ResponseWriter, r *http.Request) bool {
		got[r.URL.Path] = r.Header.Get("X-Vault-Namespace")
		return false
	})
	if err := c.Prove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, ns := range got {
		if want := map[bool]string{false: "team/a"}[path == "/v1/sys/health"]; ns != want {
			t.Errorf("%s: got namespace %q, want %q", path, ns, want)
		}
	}
	if len(got) < 4 {
		t.Errorf("got %v", got)
	}
}

func TestStates(t *testing.T) {
	for body, want := range map[string]vault.State{
		`{"initialized":true,"sealed":false,"standby":false}`: vault.Active, `{"initialized":true,"sealed":false,"standby":true}`: vault.Standby,
		`{"initialized":true,"sealed":true,"standby":true}`: vault.Sealed, `{"initialized":false,"sealed":true,"standby":true}`: vault.Uninitialized,
		`{"initialized":true,"sealed":false}`: "", `{}`: "", `[]`: "", ``: "",
	} {
		s := vaulttest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		got, err := s.Connect(t, nil).Health(t.Context())
		if got.State != want || (err == nil) != (want != "") || err != nil && !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v, %v", body, got, err)
		}
	}
}

// TestAway gives up in time, and those who wait for another's login give up on their own.
func TestAway(t *testing.T) {
	s, _, c, _, _ := site(t, time.Hour, time.Hour)
	asked, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.Spoil(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "login") {
			once.Do(func() { close(asked) })
			<-release
		}
		return false
	})
	first, cancelFirst := context.WithCancel(t.Context())
	errs := make(chan error, 2)
	go func() { _, err := c.Get(first, "none", 0); errs <- err }()
	<-asked
	cancelFirst()
	if err := <-errs; !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v of who gave up", err)
	}
	go func() { _, err := c.Get(t.Context(), "none", 0); errs <- err }()
	close(release)
	if err := <-errs; !fault.Is(err, fault.NotFound) || s.Count("login") != 1 {
		t.Errorf("got %v after %d logins, want the one who came later to have the first's login", err, s.Count("login"))
	}
}

func TestConfig(t *testing.T) {
	for address, ok := range map[string]bool{
		"https://vault.example:8200": true, "https://vault.example/": true, "https://[::1]:8200": true, "https://proxy.example/vault": true, "http://127.0.0.1:8200": true, "http://[::1]:8200": true,
		"http://vault.example": false, "http://localhost:8200": false, "http://10.0.0.1": false, "http://127.0.0.1.example": false, "https://u:p@vault.example": false, "https://vault.example?x=1": false,
		"https://vault.example#f": false, "ftp://vault.example": false, "https://": false, "vault.example": false, "": false, "https://" + strings.Repeat("a", 600): false,
	} {
		if _, err := vault.NewServer(vault.Config{URL: address}); (err == nil) != ok || err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v, want accepted %v", address, err, ok)
		}
	}
	for _, c := range []vault.Config{{URL: "https://v", CA: []byte("no PEM")}, {URL: "https://v", Namespace: "a//b"}, {URL: "https://v", Namespace: "a\r\nb"}} {
		if _, err := vault.NewServer(c); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v: got %v, want invalid", c, err)
		}
	}
	s, err := vault.NewServer(vault.Config{URL: "https://v"})
	if err != nil {
		t.Fatal(err)
	}
	id := secret.FromString("canary-77")
	for name, r := range map[string]vault.Role{
		"vault_role_id": {ID: "", SecretID: id, Mount: "m", Prefix: "p"}, "role id": {ID: "a/../b", SecretID: id, Mount: "m", Prefix: "p"}, "vault_secret_id": {ID: "i", Mount: "m", Prefix: "p"},
		"secret_id": {ID: "i", SecretID: secret.FromString("canary-77\n"), Mount: "m", Prefix: "p"}, "vault_mount": {ID: "i", SecretID: id, Prefix: "p"}, "vault_path": {ID: "i", SecretID: id, Mount: "m", Prefix: "/p"},
	} {
		if _, err := s.NewClient(r); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), strings.ReplaceAll(name, "role id", "vault_role_id")) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := s.NewClient(vault.Role{ID: "i", SecretID: id, Mount: "team/kv", Prefix: "a/b"}); err != nil {
		t.Error(err)
	}
}

// TestRedirect sends neither a token nor anything else to where a server points.
func TestRedirect(t *testing.T) {
	visited := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited = true }))
	defer other.Close()
	s, _, c, _, _ := site(t, time.Hour, time.Hour)
	s.Spoil(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, other.URL+r.URL.Path, http.StatusTemporaryRedirect)
		return true
	})
	if _, err := c.Get(t.Context(), "a", 0); !fault.Is(err, fault.Unavailable) || visited {
		t.Errorf("got %v, visited %v", err, visited)
	}
}

// TestOldTLS speaks to no server that has TLS 1.1 at most.
func TestOldTLS(t *testing.T) {
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true} {
		s := httptest.NewUnstartedServer(vaulttest.NewFake())
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version}
		s.StartTLS()
		defer s.Close()
		v, err := vault.NewServer(vault.Config{URL: s.URL, CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
		if err != nil {
			t.Fatal(err)
		}
		if h, err := v.Health(t.Context()); (err == nil) != ok || err != nil && !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v, %v", tls.VersionName(version), h, err)
		}
	}
}

// TestUnwrapAsksOnce spends a wrapping token once whatever the answer, and tells whether it may be spent.
func TestUnwrapAsksOnce(t *testing.T) {
	for status, lost := range map[int]bool{429: false, 503: false, 500: true, 502: true, 504: true, 307: false} {
		s, f, _, v, _ := site(t, time.Hour, time.Hour)
		token, before := secret.FromString(f.Wrap(t, "r")), s.Count("unwrap")
		s.Spoil(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "unwrap") {
				w.WriteHeader(status)
				return true
			}
			return false
		})
		_, err := v.Unwrap(t.Context(), token)
		if n := s.Count("unwrap") - before; n != 1 || !fault.Is(err, fault.Unavailable) || errors.Is(err, vault.ErrLost) != lost {
			t.Errorf("status %d: got %v after %d requests, want lost %v after one", status, err, n, lost)
		}
	}
}

// TestAlarm is raised by Vault's own words alone, not by a gateway's refusal.
func TestAlarm(t *testing.T) {
	for body, alarm := range map[string]bool{`{"errors":["wrapping token is not valid or does not exist"]}`: true, `{}`: false, `{"message":"go away"}`: false, `<html>`: false, ``: false} {
		s, f, _, v, _ := site(t, time.Hour, time.Hour)
		token := secret.FromString(f.Wrap(t, "r"))
		s.Spoil(func(w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, body)
			return true
		})
		if _, err := v.Unwrap(t.Context(), token); err == nil || errors.Is(err, vault.ErrUsed) != alarm {
			t.Errorf("%s: got %v, want the alarm %v", body, err, alarm)
		}
	}
}

// TestNumber has a server write back a secret where a number belongs, which the decoder of JSON would quote.
func TestNumber(t *testing.T) {
	s, _, c, _, _ := site(t, time.Hour, time.Hour)
	const digits = "31415926535897932384626433832795"
	s.Spoil(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "login") {
			return false
		}
		_, _ = io.WriteString(w, `{"data":{"version":`+digits+`}}`)
		return true
	})
	if _, err := c.Put(t.Context(), "a", vault.Fields{"k": secret.FromString(digits)}, 0); !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), digits) {
		t.Errorf("got %v", err)
	}
}
