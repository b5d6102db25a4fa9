package vaulttest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
)

// Backend is a Vault under test, with its administrator's doings. It has a KV engine of version 2 at "secret" and AppRole at
// "approle".
type Backend interface {
	http.Handler
	// SetRole makes or changes a role whose tokens live for ttl, and with renewals for most. It returns the role id.
	SetRole(t testing.TB, name string, p Policy, ttl, most time.Duration) string
	// Wrap wraps a new secret id of a role, and WrapOther something else.
	Wrap(t testing.TB, name string) string
	WrapOther(t testing.TB) string
	// RevokeSecretID destroys a secret id, by its accessor.
	RevokeSecretID(t testing.TB, name, accessor string)
	// RevokeTokens ends all tokens of roles.
	RevokeTokens(t testing.TB)
	Seal(t testing.TB)
	Unseal(t testing.TB)
}

// Site is a Vault served on loopback by TLS, which counts requests and may spoil them.
type Site struct {
	*httptest.Server
	CA []byte

	mu    sync.Mutex // guards what follows
	seen  []string   // methods and addresses
	spoil func(w http.ResponseWriter, r *http.Request) bool
	texts []string // errors
	http2 bool     // the last request came by it
}

// Serve serves a handler, by version 1 of HTTP.
func Serve(t testing.TB, h http.Handler) *Site { return serve(t, h, false) }

func serve(t testing.TB, h http.Handler, http2 bool) *Site {
	s := &Site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen, s.http2 = append(s.seen, r.Method+" "+r.URL.String()), r.ProtoMajor == 2
		spoil := s.spoil
		s.mu.Unlock()
		if spoil == nil || !spoil(w, r) {
			h.ServeHTTP(w, r)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are meant to fail
	s.EnableHTTP2 = http2
	s.StartTLS()
	t.Cleanup(s.Close)
	s.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return s
}

// Spoil has a function answer requests in the server's place, if it returns true; nil has it answer all again.
func (s *Site) Spoil(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoil = f
}

// Count tells how many requests had an address with a text in it.
func (s *Site) Count(text string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.seen {
		if strings.Contains(a, text) {
			n++
		}
	}
	return n
}

// CutAfter ends the connection in the middle of the handler's answers to requests whose address has a text in it, some times.
func (s *Site) CutAfter(h http.Handler, text string, times int) {
	var mu sync.Mutex
	s.Spoil(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if times == 0 || !strings.Contains(r.URL.Path, text) {
			return false
		}
		times--
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(rec.Body.Len()+1))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2]) // cut anyway
		panic(http.ErrAbortHandler)
	})
}

// Connect makes a vault.Server of a site, which repeats requests without waiting.
func (s *Site) Connect(t testing.TB, now func() time.Time) *vault.Server {
	t.Helper()
	v, err := vault.NewServer(vault.Config{URL: s.URL, CA: s.CA, Now: now, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// mark is in everything that the suite keeps, and must be in no error and no address.
const mark = "canary-5e1f"

type fixture struct {
	*testing.T
	Backend
	site    *Site
	server  *vault.Server
	prefix  string
	id      vault.SecretID
	roleID  string
	secrets []string
}

// want takes an error of a kind, and has it looked through for secrets at the end.
func (f *fixture) want(err error, kind fault.Kind, what string) {
	f.Helper()
	if !fault.Is(err, kind) {
		f.Errorf("%s: got %v, want kind %s", what, err, kind)
	}
	if err != nil {
		f.site.mu.Lock()
		defer f.site.mu.Unlock()
		f.site.texts = append(f.site.texts, err.Error(), fmt.Sprintf("%+v %#v", err, err))
	}
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatalf("got %v", err)
	}
}

// client makes a role with a policy and a client of it.
func (f *fixture) client(p Policy, ttl, most time.Duration) *vault.Client {
	f.Helper()
	f.roleID = f.SetRole(f.T, f.prefix, p, ttl, most)
	w := f.Wrap(f.T, f.prefix)
	var err error
	f.id, err = f.server.Unwrap(f.Context(), secret.FromString(w))
	f.ok(err)
	if f.id.Accessor == "" || f.id.Value.Empty() {
		f.Fatalf("got %v", f.id)
	}
	f.secrets = append(f.secrets, w, f.id.Value.RevealString())
	c, err := f.server.NewClient(vault.Role{ID: f.roleID, SecretID: f.id.Value, Mount: "secret", Prefix: f.prefix})
	f.ok(err)
	return c
}

func fields(s string) vault.Fields { return vault.Fields{"secret": secret.FromString(mark + s)} }

// Suite runs everything that a vault.Client does against a Vault.
func Suite(t *testing.T, b Backend) {
	cases := []struct {
		name string
		run  func(*fixture)
	}{
		{"operations", operations}, {"paths", paths}, {"large", large}, {"absent", absent}, {"unwrap once", unwrapOnce}, {"unwrap cut", unwrapCut}, {"rights", rights},
		{"tokens revoked", tokensRevoked}, {"token expires", tokenExpires}, {"token renewed", tokenRenewed}, {"secret id revoked", secretIDRevoked}, {"seal", seal},
		{"trust", trust}, {"connection cut", cut}, {"together", together}, {"wrong mount", wrongMount},
		{"rotation", rotation},
	}
	for i, c := range cases {
		for _, http2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", c.name, http2), func(t *testing.T) {
				site := serve(t, b, http2)
				f := &fixture{T: t, Backend: b, site: site, server: site.Connect(t, nil), prefix: fmt.Sprintf("site%d%v", i, http2), secrets: []string{mark}}
				c.run(f)
				if len(site.seen) == 0 || site.http2 != http2 {
					t.Errorf("got %d requests, by HTTP/2 %v", len(site.seen), site.http2)
				}
				for _, text := range append(site.texts, site.seen...) {
					for _, s := range f.secrets {
						if strings.Contains(text, s) {
							t.Errorf("a secret is in %s", text)
						}
					}
				}
			})
		}
	}
}

func operations(f *fixture) {
	c, ctx := f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour), f.Context()
	h, err := f.server.Health(ctx)
	if err != nil || h.State != vault.Active || !strings.HasPrefix(h.Version, "1.14") {
		f.Errorf("got %v, %v", h, err)
	}
	f.ok(c.Prove(ctx))
	f.ok(c.Prove(ctx))
	for n := range 3 {
		v, err := c.Put(ctx, "machine/a/power", fields(fmt.Sprint(n)), n)
		if err != nil || v != n+1 {
			f.Fatalf("got version %d, %v", v, err)
		}
	}
	for _, cas := range []int{0, 2, 4} {
		_, err = c.Put(ctx, "machine/a/power", fields("lost"), cas)
		f.want(err, fault.Conflict, fmt.Sprint("check-and-set of version ", cas))
	}
	_, err = c.Put(ctx, "machine/none", fields("lost"), 1)
	f.want(err, fault.Conflict, "check-and-set of an absent one")
	for version, want := range map[int]string{0: "2", 1: "0", 2: "1", 3: "2"} {
		got, err := c.Get(ctx, "machine/a/power", version)
		if err != nil || got.Version != max(version, 1) && version != 0 || !got.Fields["secret"].Equal(secret.FromString(mark+want)) || got.Created.IsZero() {
			f.Errorf("version %d: got %v, %v", version, got, err)
		}
	}
	_, err = c.Put(ctx, "machine/b", vault.Fields{"a": secret.FromString(""), "b": secret.FromString("<&>\n\x00ü"), "": secret.Value{}}, 0)
	f.want(err, fault.Invalid, "a field without a name")
	_, err = c.Put(ctx, "machine/b", vault.Fields{"a": secret.NewValue([]byte{0xff})}, 0)
	f.want(err, fault.Invalid, "bytes that are no text")
	odd := "<&>\n\x00ü"
	_, err = c.Put(ctx, "machine/b", vault.Fields{"a": secret.FromString(""), "b ü": secret.FromString(odd)}, 0)
	f.ok(err)
	if got, err := c.Get(ctx, "machine/b", 0); err != nil || len(got.Fields) != 2 || got.Fields["b ü"].RevealString() != odd || !got.Fields["a"].Empty() {
		f.Errorf("got %v, %v", got, err)
	}
	_, err = c.Put(ctx, "rack/x", fields("x"), 0)
	f.ok(err)
	for below, want := range map[string]string{"": "machine/a/power machine/b rack/x", "machine": "machine/a/power machine/b", "machine/a": "machine/a/power", "none": "", "mach": ""} {
		if got := f.list(c, below); got != want {
			f.Errorf("below %q: got %s, want %s", below, got, want)
		}
	}
	before := f.site.Count("metadata")
	for range c.List(ctx, "") {
		break
	}
	if n := f.site.Count("metadata") - before; n > 3 {
		f.Errorf("got %d questions for one name", n)
	}
	for range 2 {
		f.ok(c.Delete(ctx, "machine/a/power"))
	}
	_, err = c.Get(ctx, "machine/a/power", 1)
	f.want(err, fault.NotFound, "a deleted one's version")
	if v, err := c.Put(ctx, "machine/a/power", fields("new"), 0); err != nil || v != 1 {
		f.Errorf("after it was deleted: got version %d, %v", v, err)
	}
	if n := f.site.Count("approle/login"); n != 1 {
		f.Errorf("got %d logins, want 1", n)
	}
}

func (f *fixture) list(c *vault.Client, below string) string {
	f.Helper()
	var names []string
	for name, err := range c.List(f.Context(), below) {
		f.ok(err)
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func paths(f *fixture) {
	c, ctx := f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour), f.Context()
	odd := []string{"a b", "50%", "%2F", "a+b", "q?x=1", "#f", "ü/ß", "日本", "a&b=c", "*", "+", `"quoted"`, `back\slash`, "data/x", "metadata", "a:b@c", "~", ".hidden", "UPPER", "upper", strings.Repeat("n", 200)}
	for i, p := range odd {
		_, err := c.Put(ctx, p, fields(fmt.Sprint(i)), 0)
		if err != nil {
			f.Errorf("%q: got %v", p, err)
		}
	}
	for i, p := range odd {
		if got, err := c.Get(ctx, p, 0); err != nil || !got.Fields["secret"].Equal(fields(fmt.Sprint(i))["secret"]) {
			f.Errorf("%q: got %v, %v", p, got, err)
		}
	}
	slices.Sort(odd)
	if got, want := f.list(c, ""), strings.Join(odd, " "); got != want {
		f.Errorf("got  %s\nwant %s", got, want)
	}
	for _, p := range odd {
		f.ok(c.Delete(ctx, p))
	}
	if got := f.list(c, ""); got != "" {
		f.Errorf("%s is left", got)
	}
	asked := f.site.Count("")
	for _, p := range []string{"", "/a", "a/", "a//b", "..", "a/../b", "a..b", ".", "a/.", "a\nb", "a\x00", "\xff", " a", "a /b", "a\u00a0b", strings.Repeat("n", 513)} {
		_, err := c.Put(ctx, p, fields(""), 0)
		f.want(err, fault.Invalid, "put "+p)
		_, err = c.Get(ctx, p, 0)
		f.want(err, fault.Invalid, "get "+p)
		f.want(c.Delete(ctx, p), fault.Invalid, "delete "+p)
		for _, err := range c.List(ctx, p) {
			if p != "" {
				f.want(err, fault.Invalid, "list "+p)
			}
		}
	}
	if n := f.site.Count("") - asked; n > 1 { // the list of everything
		f.Errorf("%d of them were asked for", n)
	}
}

func large(f *fixture) {
	c, ctx := f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour), f.Context()
	most := vault.Fields{"secret": secret.NewValue(append([]byte(mark), bytes.Repeat([]byte("<"), vault.MaxSecret-len("secret")-len(mark))...))} // six bytes each in JSON
	_, err := c.Put(ctx, "large", most, 0)
	f.ok(err)
	if got, err := c.Get(ctx, "large", 0); err != nil || !got.Fields["secret"].Equal(most["secret"]) {
		f.Errorf("got %v, %v", got, err)
	}
	most["b"] = secret.Value{}
	_, err = c.Put(ctx, "large", most, 1)
	f.want(err, fault.TooLarge, "a byte more")
	for i := range 300 {
		_, err := c.Put(ctx, fmt.Sprintf("many/%03d", i), fields(""), 0)
		f.ok(err)
	}
	if got := strings.Fields(f.list(c, "many")); len(got) != 300 || got[299] != "many/299" {
		f.Errorf("got %d names", len(got))
	}
}

func absent(f *fixture) {
	c, ctx := f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour), f.Context()
	_, err := c.Get(ctx, "none", 0)
	f.want(err, fault.NotFound, "absent")
	_, err = c.Get(ctx, "none", 7)
	f.want(err, fault.NotFound, "a version of an absent one")
	_, err = c.Put(ctx, "one", fields(""), 0)
	f.ok(err)
	_, err = c.Get(ctx, "one", 2)
	f.want(err, fault.NotFound, "an absent version")
	f.ok(c.Delete(ctx, "none"))
}

func unwrapOnce(f *fixture) {
	f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour)
	for what, token := range map[string]string{"a used one": f.secrets[0], "an unknown one": "hvs.CAESIJunknown" + mark, "another's words": mark} {
		_, err := f.server.Unwrap(f.Context(), secret.FromString(token))
		f.want(err, fault.Forbidden, what)
		if !errors.Is(err, vault.ErrUsed) {
			f.Errorf("%s: got %v, want ErrUsed", what, err)
		}
	}
	n := f.site.Count("unwrap")
	other := f.WrapOther(f.T)
	_, err := f.server.Unwrap(f.Context(), secret.FromString(other))
	f.want(err, fault.Invalid, "something else wrapped")
	_, err = f.server.Unwrap(f.Context(), secret.FromString("two\nlines"))
	f.want(err, fault.Invalid, "no token")
	if f.site.Count("unwrap") != n || n != 1 {
		f.Errorf("got %d tokens spent, want 1", f.site.Count("unwrap"))
	}
	f.site.Close()
	_, err = f.server.Unwrap(f.Context(), secret.FromString(other))
	f.want(err, fault.Unavailable, "unreachable")
	if errors.Is(err, vault.ErrUsed) || errors.Is(err, vault.ErrLost) {
		f.Errorf("unreachable: got %v", err)
	}
}

func unwrapCut(f *fixture) {
	f.SetRole(f.T, f.prefix, SitePolicy("secret", f.prefix), time.Hour, time.Hour)
	token := f.Wrap(f.T, f.prefix)
	f.secrets = append(f.secrets, token)
	f.site.CutAfter(f.Backend, "wrapping/unwrap", 1)
	_, err := f.server.Unwrap(f.Context(), secret.FromString(token))
	f.want(err, fault.Unavailable, "cut")
	if !errors.Is(err, vault.ErrLost) || f.site.Count("unwrap") != 1 {
		f.Errorf("got %v after %d tries, want ErrLost after one", err, f.site.Count("unwrap"))
	}
	_, err = f.server.Unwrap(f.Context(), secret.FromString(token))
	if !errors.Is(err, vault.ErrUsed) {
		f.Errorf("then got %v, want ErrUsed", err)
	}
}

func rights(f *fixture) {
	data, meta := "secret/data/"+f.prefix+"/*", "secret/metadata/"+f.prefix+"/*"
	for _, c := range []struct{ path, right, want string }{
		{data, "create", "create"}, {data, "update", "update"}, {data, "read", "read"}, {meta, "delete", "delete"}, {"secret/metadata/" + f.prefix + "/", "list", "list"},
	} {
		p := SitePolicy("secret", f.prefix)
		p[c.path] = slices.DeleteFunc(p[c.path], func(s string) bool { return s == c.right })
		if len(p[c.path]) == 0 {
			p[c.path] = []string{"deny"}
		}
		err := f.client(p, time.Hour, time.Hour).Prove(f.Context())
		f.want(err, fault.Forbidden, c.want)
		if !strings.Contains(fault.Message(err), fmt.Sprintf("%q", c.want)) {
			f.Errorf("without %s on %s: got %v", c.right, c.path, err)
		}
		f.ok(f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour).Prove(f.Context())) // whatever the other left behind
	}
	c := f.client(SitePolicy("secret", f.prefix+"x"), time.Hour, time.Hour)
	f.want(c.Prove(f.Context()), fault.Forbidden, "another prefix")
}

func tokensRevoked(f *fixture) {
	c, ctx := f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour), f.Context()
	_, err := c.Put(ctx, "a", fields(""), 0)
	f.ok(err)
	f.RevokeTokens(f.T)
	_, err = c.Put(ctx, "a", fields("2"), 1)
	f.ok(err)
	f.RevokeTokens(f.T)
	_, err = c.Get(ctx, "a", 0)
	f.ok(err)
	f.RevokeTokens(f.T)
	f.ok(c.Delete(ctx, "a"))
	if n := f.site.Count("approle/login"); n != 4 {
		f.Errorf("got %d logins, want 4", n)
	}
}

// tokenExpires lets a token's second pass at the server, while the client's clock stands still.
func tokenExpires(f *fixture) {
	start := time.Now()
	f.server = f.site.Connect(f.T, func() time.Time { return start })
	c := f.client(SitePolicy("secret", f.prefix), time.Second, time.Second)
	_, err := c.Put(f.Context(), "a", fields(""), 0)
	f.ok(err)
	time.Sleep(1500 * time.Millisecond) // Vault's clock cannot be set
	_, err = c.Get(f.Context(), "a", 0)
	f.ok(err)
	if n := f.site.Count("approle/login"); n != 2 {
		f.Errorf("got %d logins, want 2", n)
	}
}

// tokenRenewed moves the client's clock alone: to Vault, the token is new each time.
func tokenRenewed(f *fixture) {
	var mu sync.Mutex
	now := time.Now()
	f.server = f.site.Connect(f.T, func() time.Time { mu.Lock(); defer mu.Unlock(); return now })
	c := f.client(SitePolicy("secret", f.prefix), 30*time.Minute, 2*time.Hour)
	for i, want := range []struct {
		later           time.Duration
		logins, renewed int
	}{{0, 1, 0}, {19 * time.Minute, 1, 0}, {2 * time.Minute, 1, 1}, {19 * time.Minute, 1, 1}, {time.Minute, 1, 2}, {31 * time.Minute, 2, 2}} {
		mu.Lock()
		now = now.Add(want.later)
		mu.Unlock()
		_, err := c.Get(f.Context(), "none", 0)
		f.want(err, fault.NotFound, "get")
		if l, r := f.site.Count("approle/login"), f.site.Count("renew-self"); l != want.logins || r != want.renewed {
			f.Errorf("step %d: got %d logins and %d renewals, want %d and %d", i, l, r, want.logins, want.renewed)
		}
	}
}

func secretIDRevoked(f *fixture) {
	c, ctx := f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour), f.Context()
	f.ok(c.Prove(ctx))
	f.RevokeSecretID(f.T, f.prefix, f.id.Accessor)
	f.ok(c.Prove(ctx)) // its token lives
	f.RevokeTokens(f.T)
	_, err := c.Get(ctx, "a", 0)
	f.want(err, fault.Forbidden, "revoked")
	if !errors.Is(err, vault.ErrLogin) {
		f.Errorf("got %v, want ErrLogin", err)
	}
	if err := c.Prove(ctx); !errors.Is(err, vault.ErrLogin) || strings.Contains(fault.Message(err), "policy") {
		f.Errorf("got %v, want ErrLogin", err)
	}
}

func seal(f *fixture) {
	c, ctx := f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour), f.Context()
	_, err := c.Put(ctx, "a", fields(""), 0)
	f.ok(err)
	token := f.Wrap(f.T, f.prefix)
	f.Seal(f.T)
	if h, err := f.server.Health(ctx); err != nil || h.State != vault.Sealed {
		f.Errorf("got %v, %v", h, err)
	}
	_, err = c.Get(ctx, "a", 0)
	f.want(err, fault.Unavailable, "get")
	_, err = c.Put(ctx, "a", fields(""), 1)
	f.want(err, fault.Unavailable, "put")
	_, err = f.server.Unwrap(ctx, secret.FromString(token))
	f.want(err, fault.Unavailable, "unwrap")
	if errors.Is(err, vault.ErrLost) {
		f.Errorf("got %v: the token still stands", err)
	}
	f.Unseal(f.T)
	if h, err := f.server.Health(ctx); err != nil || h.State != vault.Active {
		f.Errorf("got %v, %v", h, err)
	}
	_, err = f.server.Unwrap(ctx, secret.FromString(token))
	f.ok(err)
	if got, err := c.Get(ctx, "a", 0); err != nil || got.Version != 1 {
		f.Errorf("got %v, %v", got, err)
	}
}

func trust(f *fixture) {
	f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour)
	n := f.site.Count("")
	for what, ca := range map[string][]byte{"the host's authorities": nil, "another": otherCA(f.T)} {
		s, err := vault.NewServer(vault.Config{URL: f.site.URL, CA: ca})
		f.ok(err)
		_, err = s.Health(f.Context())
		f.want(err, fault.Unavailable, what)
		if !strings.Contains(fault.Message(err), "not trusted") {
			f.Errorf("%s: got %v", what, err)
		}
		c, err := s.NewClient(vault.Role{ID: f.roleID, SecretID: f.id.Value, Mount: "secret", Prefix: f.prefix})
		f.ok(err)
		f.want(c.Prove(f.Context()), fault.Unavailable, what)
	}
	if f.site.Count("") != n {
		f.Error("something was said to a server that is not trusted")
	}
}

func cut(f *fixture) {
	c, ctx := f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour), f.Context()
	_, err := c.Put(ctx, "a", fields(""), 0)
	f.ok(err)
	f.site.CutAfter(f.Backend, "/data/", 1)
	if got, err := c.Get(ctx, "a", 0); err != nil || got.Version != 1 {
		f.Errorf("cut once: got %v, %v", got, err)
	}
	f.site.CutAfter(f.Backend, "/data/", -1)
	_, err = c.Get(ctx, "a", 0)
	f.want(err, fault.Unavailable, "always cut")
	n := f.site.Count("/data/")
	f.site.CutAfter(f.Backend, "/data/", 1)
	_, err = c.Put(ctx, "a", fields("2"), 1)
	f.want(err, fault.Unavailable, "put")
	if f.site.Count("/data/") != n+1 {
		f.Error("a put that may have arrived was sent again")
	}
	f.site.Spoil(nil)
	if got, err := c.Get(ctx, "a", 0); err != nil || got.Version != 2 {
		f.Errorf("then got %v, %v; it had arrived", got, err)
	}
}

func together(f *fixture) {
	c := f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour)
	var wg sync.WaitGroup
	wins := make(chan int, 20)
	for i := range 20 {
		wg.Go(func() {
			_, err := c.Put(f.Context(), "a", fields(fmt.Sprint(i)), 0)
			if err == nil {
				wins <- i
			} else {
				f.want(err, fault.Conflict, "put")
			}
		})
	}
	wg.Wait()
	got, err := c.Get(f.Context(), "a", 0)
	if err != nil || len(wins) != 1 || !got.Fields["secret"].Equal(fields(fmt.Sprint(<-wins))["secret"]) {
		f.Errorf("got %v, %v and %d winners", got, err, len(wins)+1)
	}
	if n := f.site.Count("approle/login"); n != 1 {
		f.Errorf("got %d logins, want 1", n)
	}
}

// rotation has a role make itself another secret id, and destroy the old one.
func rotation(f *fixture) {
	c, ctx := f.client(SitePolicy("secret", f.prefix).With(RotatePolicy(f.prefix)), time.Hour, time.Hour), f.Context()
	if f.id.Role != f.prefix {
		f.Errorf("got role %q of the wrapping token, want %q", f.id.Role, f.prefix)
	}
	f.ok(c.Check(ctx))
	next, err := c.NewSecretID(ctx, f.prefix)
	f.ok(err)
	f.secrets = append(f.secrets, next.Value.RevealString())
	if next.Accessor == "" || next.Value.Equal(f.id.Value) {
		f.Fatalf("got accessor %q", next.Accessor)
	}
	newer, err := f.server.NewClient(vault.Role{ID: f.roleID, SecretID: next.Value, Mount: "secret", Prefix: f.prefix})
	f.ok(err)
	f.ok(newer.Prove(ctx))
	for range 2 { // a command that was cut short does it again
		f.ok(newer.DestroySecretID(ctx, f.prefix, f.id.Accessor))
	}
	f.ok(c.Check(ctx)) // its token lives
	f.ok(c.Logout(ctx))
	err = c.Check(ctx)
	f.want(err, fault.Forbidden, "the destroyed secret id")
	if !errors.Is(err, vault.ErrLogin) {
		f.Errorf("got %v, want ErrLogin", err)
	}
	f.ok(newer.Check(ctx))
	poor := f.client(SitePolicy("secret", f.prefix), time.Hour, time.Hour)
	_, err = poor.NewSecretID(ctx, f.prefix)
	f.want(err, fault.Forbidden, "without the right")
	f.want(poor.DestroySecretID(ctx, f.prefix, f.id.Accessor), fault.Forbidden, "without the right")
}

func wrongMount(f *fixture) {
	f.client(Policy{"*": {"create", "read", "update", "delete", "list"}}, time.Hour, time.Hour)
	c, err := f.server.NewClient(vault.Role{ID: f.roleID, SecretID: f.id.Value, Mount: "nothing", Prefix: f.prefix})
	f.ok(err)
	_, err = c.Get(f.Context(), "a", 0)
	f.want(err, fault.Invalid, "nothing is mounted")
	_, err = c.Put(f.Context(), "a", fields(""), 0)
	f.want(err, fault.Invalid, "nothing is mounted")
	for _, err := range c.List(f.Context(), "") {
		f.want(err, fault.Invalid, "nothing is mounted")
	}
}

// WrongEngine has a mount refused that is not of the KV engine in version 2.
func WrongEngine(t *testing.T, b Backend, mount string) {
	site := Serve(t, b)
	f := &fixture{T: t, Backend: b, site: site, server: site.Connect(t, nil), prefix: "wrong"}
	f.client(SitePolicy(mount, f.prefix), time.Hour, time.Hour)
	c, err := f.server.NewClient(vault.Role{ID: f.roleID, SecretID: f.id.Value, Mount: mount, Prefix: f.prefix})
	f.ok(err)
	f.want(c.Prove(t.Context()), fault.Invalid, "prove")
}

// Uninitialized tells a Vault that nobody has initialized.
func Uninitialized(t *testing.T, h http.Handler) {
	s := Serve(t, h).Connect(t, nil)
	if got, err := s.Health(t.Context()); err != nil || got.State != vault.Uninitialized {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := s.Unwrap(t.Context(), secret.FromString("hvs.x")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("unwrap: got %v, want unavailable", err)
	}
}

// otherCA makes an authority that signed nothing here.
func otherCA(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
