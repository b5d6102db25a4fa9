package ui

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/egress"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/access"
	"github.com/metalward/metalward/internal/region/alerts"
	"github.com/metalward/metalward/internal/region/blocks"
	"github.com/metalward/metalward/internal/region/certs"
	"github.com/metalward/metalward/internal/region/controllers"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/hostchecks"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/images"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/networks"
	"github.com/metalward/metalward/internal/region/notify"
	"github.com/metalward/metalward/internal/region/providers"
	"github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/region/site"
	"github.com/metalward/metalward/internal/region/sources"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/web"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/telemetry"
	"github.com/metalward/metalward/internal/wire"
)

const (
	adminPassword = "correct horse battery"
	userPassword  = "quite another long one"
)

// feed hands changes to every subscriber.
type feed struct {
	mu   sync.Mutex
	subs map[chan []authz.Target]bool // guarded by mu
}

func (f *feed) publish(t []authz.Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.subs {
		select {
		case c <- t:
		default:
		}
	}
}

func (f *feed) subscribe() (<-chan []authz.Target, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := make(chan []authz.Target, 64)
	f.subs[c] = true
	return c, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.subs, c)
	}
}

func (f *feed) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs)
}

// link is a connected rack that answers power calls.
type link struct{}

func (link) Call(_ context.Context, m wire.Message, _, resp any) error {
	if m == wire.Power {
		resp.(*wire.PowerResponse).State = metal.PowerOn
	}
	return nil
}
func (link) Close() error { return nil }

// noSnapshots stands for racks that have everything already.
type noSnapshots struct{}

func (noSnapshots) Sync(context.Context, string) error { return nil }

// env is a region's inside with the pages on top.
type env struct {
	t      *testing.T
	reader *store.Reader
	writer *store.Writer
	log    *slog.Logger
	gate   *gate.Gate
	site   *site.Site
	ids    *identity.Service
	ms     *machines.Service
	ns     *networks.Service
	cs     *controllers.Service
	is     *images.Service
	ps     *providers.Service
	feed   *feed
	notify *notify.Service
	hosts  *hostchecks.Service
	alerts *alerts.Service
	blocks *blocks.Service
	ui     http.Handler

	admin, user *http.Cookie
	client      *http.Client // for listen's server
}

// newEnv makes a region with an administrator, root, and a user, alice.
func newEnv(t *testing.T) *env {
	t.Helper()
	e := newEmptyEnv(t)
	ctx := authz.AsSystem(t.Context(), "test")
	for _, n := range []identity.NewUser{{Name: "root", Password: secret.FromString(adminPassword), Admin: true}, {Name: "alice", Password: secret.FromString(userPassword)}} {
		if _, err := e.ids.CreateUser(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	e.admin, e.user = e.login("root", adminPassword), e.login("alice", userPassword)
	return e
}

func newEmptyEnv(t *testing.T) *env {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	r, w, err := store.OpenWith(ctx, store.Database{DSN: filepath.Join(dir, "region.db"), Rehearse: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close(); _ = r.Close() })
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e := &env{t: t, reader: r, writer: w, log: log, feed: &feed{subs: map[chan []authz.Target]bool{}}}
	e.gate = gate.New(gate.Config{Region: "region1", Reader: r, Writer: w, Log: log, Now: time.Now, Key: key, Changed: e.feed.publish})
	ring, err := secret.OpenKeyring(filepath.Join(dir, "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	keys := secret.NewSafe(ring, time.Now, nil)
	if e.site, err = site.Load(ctx, e.gate, keys, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := e.site.LoadShared(ctx, dir); err != nil {
		t.Fatal(err)
	}
	e.ids = identity.New(identity.Config{Gate: e.gate, Now: time.Now, Keys: keys, Origin: "https://region.example:5443"})
	e.ns = networks.New(e.gate, time.Now, log, e.site.Machines.PEM())
	e.cs = controllers.New(controllers.Config{Gate: e.gate, Site: e.site, Network: e.ns, Now: time.Now, Log: log})
	e.ns.SetRacks(e.cs)
	e.ms = machines.New(machines.Config{Gate: e.gate, Site: e.site, Keys: keys, Racks: e.cs, Snapshots: noSnapshots{}, Now: time.Now, Log: log, MetadataPort: 5248})
	if e.is, err = images.New(e.gate, filepath.Join(dir, "images")); err != nil {
		t.Fatal(err)
	}
	e.notify = notify.New(notify.Config{Gate: e.gate, Log: log, Now: time.Now, Keys: keys})
	e.ps = providers.New(providers.Config{Gate: e.gate, Now: time.Now, Keys: keys, Client: egress.Config{}.Client(), Dial: egress.Config{}.Dial, BaseURL: "https://region.example:5443"})
	e.hosts = hostchecks.New(hostchecks.Config{Gate: e.gate, Now: time.Now, Log: log, Racks: e.cs, Tell: e.notify})
	if e.alerts, err = alerts.New(alerts.Config{Gate: e.gate, Now: time.Now, Log: log, Region: "region1", Host: "region", Tell: e.notify}); err != nil {
		t.Fatal(err)
	}
	e.blocks = blocks.New(blocks.Config{Gate: e.gate, Now: time.Now, Log: log, Region: "region1", Units: alerts.Units(), Wall: &block.Wall{Now: time.Now}, Racks: e.cs, Host: func() []block.Need {
		return []block.Need{{Prefix: netip.MustParsePrefix("203.0.113.1/32"), What: "a gateway"}}
	}})
	e.ui, err = New(Config{Gate: e.gate, Alerts: e.alerts, Blocks: e.blocks, Sources: sources.New(sources.Config{Gate: e.gate}), Identity: e.ids, Access: access.New(e.gate), Notify: e.notify, Machines: e.ms, Networks: e.ns, Controllers: e.cs, Images: e.is, Providers: e.ps, Health: telemetry.NewHealth(time.Now), Disks: func(context.Context) []host.Disk {
		return []host.Disk{{What: "state folder", Path: "/x", Verdict: host.Yes, Stack: []string{"ext4 on /", "dm-0 (a, LUKS2)"}}}
	}, Hosts: e.hosts, Secrets: secrets.New(secrets.Config{Gate: e.gate, Keys: keys, Now: time.Now, Log: log}), Certs: certs.New(certs.Config{Gate: e.gate, Keys: keys, Now: time.Now, Log: log, Host: "region.example", Authorities: map[string]*x509.Certificate{"site": e.site.Web.Anchor(), certs.Issuer: e.site.Web.Cert}}), Auth: &web.Auth{Identity: e.ids},
		BaseURL: "https://region.example:5443", CAFingerprint: e.site.Web.Fingerprint(), Version: "1.0-test", Log: log, Changes: e.feed.subscribe})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// as acts as a user by name.
func (e *env) as(name string) context.Context {
	e.t.Helper()
	u, err := e.ids.User(authz.AsSystem(e.t.Context(), "test"), name)
	if err != nil {
		e.t.Fatal(err)
	}
	return authz.With(e.t.Context(), authz.Principal{Kind: authz.User, Name: name, UserID: u.ID})
}

func (e *env) login(name, password string) *http.Cookie {
	e.t.Helper()
	in, err := e.ids.Login(e.t.Context(), name, secret.FromString(password))
	if err != nil {
		e.t.Fatal(err)
	}
	return &http.Cookie{Name: web.CookieName, Value: in.Cookie.RevealString()}
}

// serve runs a request as the region's listener would hand it over.
func (e *env) serve(r *http.Request) *httptest.ResponseRecorder {
	r = r.WithContext(authz.WithOrigin(r.Context(), authz.Origin{Source: "192.0.2.7", RequestID: "req-42", UserAgent: r.UserAgent()}))
	w := httptest.NewRecorder()
	e.ui.ServeHTTP(w, r)
	return w
}

func (e *env) get(path string, who *http.Cookie) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "https://region.example:5443"+path, nil)
	if who != nil {
		r.AddCookie(who)
	}
	return e.serve(r)
}

// post sends a form as a browser on our own page does. Fields are name, value, name, value …
func (e *env) post(path string, who *http.Cookie, fields ...string) *httptest.ResponseRecorder {
	return e.serve(e.form(path, who, fields...))
}

func (e *env) form(path string, who *http.Cookie, fields ...string) *http.Request {
	v := url.Values{}
	for i := 0; i+1 < len(fields); i += 2 {
		v.Add(fields[i], fields[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "https://region.example:5443"+path, strings.NewReader(v.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Origin", "https://region.example:5443")
	if who != nil {
		r.AddCookie(who)
	}
	return r
}

// want checks status and that the page has each of the texts; one that starts with "!" must be absent.
func (e *env) want(w *httptest.ResponseRecorder, status int, texts ...string) {
	e.t.Helper()
	body := w.Body.String()
	if w.Code != status {
		e.t.Fatalf("got status %d, want %d: %s", w.Code, status, excerpt(body))
	}
	for _, text := range texts {
		if no, ok := strings.CutPrefix(text, "!"); ok {
			if strings.Contains(body, no) {
				e.t.Errorf("got a page with %q, want one without: %s", no, excerpt(body))
			}
		} else if !strings.Contains(body, text) {
			e.t.Errorf("got a page without %q: %s", text, excerpt(body))
		}
	}
}

func excerpt(body string) string {
	if i := strings.Index(body, `<main`); i >= 0 {
		body = body[i:]
	}
	return body[:min(len(body), 2500)]
}

// goes checks for a redirect.
func (e *env) goes(w *httptest.ResponseRecorder, to string) {
	e.t.Helper()
	if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != to {
		e.t.Fatalf("got status %d to %q, want 303 to %q: %s", w.Code, got, to, excerpt(w.Body.String()))
	}
}

// machine adds a machine as it is, past the services and their checks.
func (e *env) machine(m metal.Machine, macs ...metal.MAC) string {
	e.t.Helper()
	if m.SystemID == "" {
		m.SystemID = metal.NewSystemID()
	}
	if m.Architecture == "" {
		m.Architecture = "amd64/generic"
	}
	if m.PowerState == "" {
		m.PowerState = metal.PowerUnknown
	}
	m.ZoneID, m.Created = metal.DefaultZoneID, time.Now()
	err := e.gate.Do(authz.AsSystem(e.t.Context(), "test"), authz.MachineCreate, func(c *gate.Call) error {
		if err := c.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		if err := c.Tx().AddMachine(&m); err != nil {
			return err
		}
		for i, mac := range macs {
			n := metal.Interface{SystemID: m.SystemID, Name: fmt.Sprint("eth", i), MAC: mac, Boot: i == 0, Enabled: true, LinkUp: true, LinkSpeedMbps: 10000, Vendor: "Intel Corporation", Product: "82599ES", Driver: "ixgbe"}
			if err := c.Tx().PutInterface(&n); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return m.SystemID
}

// alter changes a machine behind the services' back.
func (e *env) alter(id string, fn func(*metal.Machine)) {
	e.t.Helper()
	err := e.gate.Do(authz.AsSystem(e.t.Context(), "test"), authz.MachineExpire, func(c *gate.Call) error {
		m, err := c.Tx().Machine(id)
		if err != nil {
			return err
		}
		if err := c.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		fn(&m)
		if err := c.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		return c.Tx().PutMachine(m)
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

// within runs a change of a machine's belongings behind the services' back.
func (e *env) within(id string, fn func(tx *store.Tx) error) {
	e.t.Helper()
	err := e.gate.Do(authz.AsSystem(e.t.Context(), "test"), authz.MachineExpire, func(c *gate.Call) error {
		m, err := c.Tx().Machine(id)
		if err != nil {
			return err
		}
		if err := c.Require(store.MachineTarget(m)); err != nil {
			return err
		}
		return fn(c.Tx())
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

// rack adds a rack controller that is connected, with an address.
func (e *env) rack(id, name, address string) {
	e.t.Helper()
	ctl := metal.Controller{SystemID: id, Hostname: name, Type: metal.NodeRackController, Version: "1.0-test", CertExpires: time.Now().Add(80 * 24 * time.Hour),
		Interfaces: []metal.ControllerInterface{{Name: "eth0", MAC: "52:54:00:aa:00:01", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix(address)}}}}
	if err := e.cs.RegisterRegion(e.t.Context(), ctl); err != nil {
		e.t.Fatal(err)
	}
	e.cs.Attach(id, link{})
}
