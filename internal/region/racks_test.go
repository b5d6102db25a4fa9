package region

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack"
	"github.com/metalward/metalward/internal/rack/power"
	"github.com/metalward/metalward/internal/rack/power/ipmi"
	"github.com/metalward/metalward/internal/rack/power/powertest"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

// clock is a time that tests set.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// runRegion serves a region in the background until the test ends.
func runRegion(t *testing.T, dir string, now func() time.Time, change ...func(*Options)) *Region {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	o := Options{Config: config.Region{StateDir: dir, HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0", PublicHost: "localhost"}, Version: "test", Now: now,
		Log: slog.New(slog.DiscardHandler)}
	for _, fn := range change {
		fn(&o)
	}
	r, err := New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.Close()
	})
	return r
}

// startRack runs an enrolled rack and returns what stops it.
func startRack(t *testing.T, dir string, now func() time.Time, change ...func(*rack.Options)) (stop func()) {
	t.Helper()
	o := rack.Options{Config: config.Rack{StateDir: dir, Metadata: freePort(t), BootHTTP: 1}, Version: "test", Now: now, Log: slog.New(slog.DiscardHandler)}
	for _, fn := range change {
		fn(&o)
	}
	k, err := rack.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return stop
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func (r *Region) mintFor(t *testing.T, name string) secret.Value {
	t.Helper()
	token, err := r.Controllers.MintToken(authz.AsSystem(context.Background(), "test"), name)
	if err != nil {
		t.Fatal(err)
	}
	return token.Text()
}

// TestRacksComeBackAfterAnOutage enrols three racks, cuts them off for 72 hours, which is three times the life of
// their certificates, and finds them back without hands: renewed, with an event each.
func TestRacksComeBackAfterAnOutage(t *testing.T) {
	c := &clock{}
	r := runRegion(t, t.TempDir(), c.now)
	dirs := make([]string, 3)
	var stops []func()
	for i := range dirs {
		dirs[i] = filepath.Join(t.TempDir(), "rack")
		if _, err := rack.Enrol(context.Background(), dirs[i], r.BaseURL, r.mintFor(t, fmt.Sprintf("rack%d", i))); err != nil {
			t.Fatal(err)
		}
		stops = append(stops, startRack(t, dirs[i], c.now))
	}
	waitFor(t, "three racks to connect", func() bool { return len(r.Controllers.Connected()) == 3 })
	for _, stop := range stops {
		stop()
	}
	waitFor(t, "the racks to be gone", func() bool { return len(r.Controllers.Connected()) == 0 })
	c.ahead.Add(int64(72 * time.Hour))
	for _, dir := range dirs {
		defer startRack(t, dir, c.now)()
	}
	waitFor(t, "three racks to come back", func() bool { return len(r.Controllers.Connected()) == 3 })
	renewed := 0
	err := r.reader.View(context.Background(), func(v *store.View) error {
		rows, err := v.AuditEvents(store.AuditQuery{Limit: 1000})
		for _, row := range rows {
			if row.Detail["event"] == "renewed_with_expired_certificate" {
				renewed++
			}
		}
		return err
	})
	if err != nil || renewed != 3 {
		t.Errorf("got %d events of renewal with an expired certificate, %v, want 3", renewed, err)
	}

}

// TestEnrolmentToken spends a token once, within its life, against the region that its fingerprint names.
func TestEnrolmentToken(t *testing.T) {
	c := &clock{}
	r := runRegion(t, t.TempDir(), c.now)
	ctx := context.Background()
	token := r.mintFor(t, "rack0")
	if _, err := rack.Enrol(ctx, filepath.Join(t.TempDir(), "a"), r.BaseURL, token); err != nil {
		t.Fatal(err)
	}
	if _, err := rack.Enrol(ctx, filepath.Join(t.TempDir(), "b"), r.BaseURL, token); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a token spent twice: got %v, want Unauthenticated", err)
	}
	token = r.mintFor(t, "rack1")
	c.ahead.Add(int64(16 * time.Minute))
	if _, err := rack.Enrol(ctx, filepath.Join(t.TempDir(), "c"), r.BaseURL, token); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("an expired token: got %v, want Unauthenticated", err)
	}
	other := runRegion(t, t.TempDir(), c.now)
	if _, err := rack.Enrol(ctx, filepath.Join(t.TempDir(), "d"), other.BaseURL, r.mintFor(t, "rack2")); err == nil || !strings.Contains(err.Error(), "CA") {
		t.Errorf("another region's token: got %v, want its CA refused", err)
	}
	if _, err := rack.Enrol(ctx, filepath.Join(t.TempDir(), "e"), r.BaseURL, secret.FromString("mwrack1_nonsense")); !fault.Is(err, fault.Invalid) {
		t.Errorf("nonsense: got %v, want Invalid", err)
	}
}

// TestRemovedRackIsOut removes a connected rack: its session ends, and it does not come back.
func TestRemovedRackIsOut(t *testing.T) {
	c := &clock{}
	r := runRegion(t, t.TempDir(), c.now)
	dir := filepath.Join(t.TempDir(), "rack")
	id, err := rack.Enrol(context.Background(), dir, r.BaseURL, r.mintFor(t, "rack0"))
	if err != nil {
		t.Fatal(err)
	}
	defer startRack(t, dir, c.now)()
	waitFor(t, "the rack to connect", func() bool { return len(r.Controllers.Connected()) == 1 })
	if err := r.Controllers.Remove(authz.With(context.Background(), authz.Principal{Kind: authz.User, Name: "admin", Rights: authz.Everything()}), id); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the session to end", func() bool { return len(r.Controllers.Connected()) == 0 })
	refused := func() (n int) {
		if err := r.reader.View(context.Background(), func(v *store.View) error {
			rows, err := v.AuditEvents(store.AuditQuery{Limit: 1000})
			for _, row := range rows {
				if row.Detail["event"] == "rpc_certificate_refused" {
					n++
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	waitFor(t, "the removed rack to be refused", func() bool { return refused() > 0 })
	if n := len(r.Controllers.Connected()); n != 0 {
		t.Errorf("got %d connected racks after the removal", n)
	}
}

// TestRotateSharedSecret rotates while a rack is connected, which stays, and shows the new secret by the API, uncached.
func TestRotateSharedSecret(t *testing.T) {
	r := runRegion(t, t.TempDir(), time.Now)
	dir := filepath.Join(t.TempDir(), "rack")
	if _, err := rack.Enrol(context.Background(), dir, r.BaseURL, r.mintFor(t, "rack0")); err != nil {
		t.Fatal(err)
	}
	defer startRack(t, dir, time.Now)()
	waitFor(t, "the rack to connect", func() bool { return len(r.Controllers.Connected()) == 1 })
	before := r.mintFor(t, "rack1")
	if _, err := r.RotateShared(authz.AsSystem(context.Background(), "test"), false); err != nil {
		t.Fatal(err)
	}
	if _, err := rack.Enrol(context.Background(), filepath.Join(t.TempDir(), "a"), r.BaseURL, before); err != nil {
		t.Errorf("a token of before: %v", err)
	}
	id := r.Controllers.Connected()
	if len(id) != 1 {
		t.Fatal("the connected rack was disturbed")
	}
	// It answers still, if only that it was refused the parameters of a command that nobody gave.
	if err := r.Controllers.Call(context.Background(), id[0], wire.Power, wire.PowerRequest{PowerType: "ipmi", Action: metal.ActionQuery}, nil); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a call to the connected rack: %v", err)
	}
}

// TestRackTokenByAPI makes a token and the command to run by the API, and shows and rotates the shared secret.
func TestRackTokenByAPI(t *testing.T) {
	s := newSurface(t)
	path := "/rackcontrollers/"
	res := s.call("admin", "POST", path+"?op=generate_token", "name", "rack-1")
	var got struct{ Name, Token, Expires, Command, Secret string }
	if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil || res.Code != 200 || got.Name != "rack-1" || !strings.HasPrefix(got.Token, "mwrack1_") ||
		!strings.Contains(got.Command, "metalward rack enrol --region "+s.r.BaseURL) || got.Expires == "" || res.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v: %s", res.Code, res.Header(), res.Body)
	}
	show := func() string {
		t.Helper()
		res := s.call("admin", "POST", path+"?op=show_shared_secret")
		if err := json.Unmarshal(res.Body.Bytes(), &got); err != nil || res.Code != 200 || len(got.Secret) != 44 || res.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("got %d %v", res.Code, res.Header())
		}
		return got.Secret
	}
	first := show()
	if res := s.call("admin", "POST", path+"?op=rotate_shared_secret", "refuse_tokens", "true"); res.Code != 200 || !strings.Contains(res.Body.String(), `"old_tokens_until":null`) {
		t.Errorf("got %d %s", res.Code, res.Body)
	}
	if show() == first {
		t.Error("the secret is the same after the rotation")
	}
	for _, op := range []string{"generate_token", "show_shared_secret", "rotate_shared_secret"} {
		if res := s.call("alice", "POST", path+"?op="+op, "name", "x"); res.Code != 403 {
			t.Errorf("alice, %s: got %d", op, res.Code)
		}
	}
}

// TestRotateBMCThroughRack has a region rotate the account of OpenIPMI's simulator through a rack: nothing in between is made up.
func TestRotateBMCThroughRack(t *testing.T) {
	drive := ipmi.New()
	query := func(ctx context.Context, p metal.PowerParameters) error {
		_, err := drive.Do(ctx, power.Request{Action: metal.ActionQuery, Parameters: power.NewParameters(p)})
		return err
	}
	given, _ := powertest.OpenIPMI(t, query)
	r := runRegion(t, t.TempDir(), time.Now)
	dir := filepath.Join(t.TempDir(), "rack")
	if _, err := rack.Enrol(context.Background(), dir, r.BaseURL, r.mintFor(t, "rack0")); err != nil {
		t.Fatal(err)
	}
	defer startRack(t, dir, time.Now)()
	waitFor(t, "the rack to connect", func() bool { return len(r.Controllers.Connected()) == 1 })
	admin := authz.With(context.Background(), authz.Principal{Kind: authz.User, Name: "admin", Rights: authz.Everything()})
	arch, kind := "amd64/generic", "ipmi"
	m, err := r.Machines.Create(admin, machines.NewMachine{Architecture: &arch, PowerType: &kind, PowerParameters: given, MACs: []string{"52:54:00:00:00:01"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, user := range []string{"metalward-a", "metalward-b"} {
		if _, err := r.Machines.RotateBMC(admin, m.SystemID, i == 0, ""); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the rotation", func() bool {
			a, err := r.Machines.BMCAccount(admin, m.SystemID)
			return err == nil && a.State == metal.RotationNone
		})
		a, err := r.Machines.BMCAccount(admin, m.SystemID)
		if err != nil || a.Problem != "" || !a.Managed {
			t.Fatalf("got %+v, %v", a, err)
		}
		s, err := r.Machines.ShowBMC(admin, m.SystemID)
		if err != nil || s.InUse.User != user || s.Previous == nil {
			t.Fatalf("got %q, %v", s.InUse.User, err)
		}
		login := func(c metal.BMCCredentials) error {
			p := maps.Clone(given)
			p["power_user"], p["power_pass"] = c.User, c.Password
			return query(context.Background(), p)
		}
		if err := login(s.InUse); err != nil {
			t.Errorf("the account in use: %v", err)
		}
		if err := login(*s.Previous); !fault.Is(err, fault.Forbidden) {
			t.Errorf("the account before: got %v, want it shut out", err)
		}
		if state, err := r.Machines.QueryPower(admin, m.SystemID); err != nil || state == metal.PowerUnknown {
			t.Errorf("got power %s, %v", state, err)
		}
	}
}

// TestBMCCredentialsAreAdministrators: who keeps a pool's machines rotates accounts and does not see their passwords; neither does a
// key that only reads.
func TestBMCCredentialsAreAdministrators(t *testing.T) {
	c := newCompany(t)
	m := c.must("admin", "POST", "/machines/", "hostname", "node", "architecture", "amd64", "mac_addresses", "52:54:00:00:00:01", "pool", "lab", "commission", "false",
		"power_type", "ipmi", "power_parameters_power_address", "192.0.2.9", "power_parameters_power_user", "root", "power_parameters_power_pass", "canary-bmc")
	path := "/machines/" + m["system_id"].(string) + "/"
	reads, err := c.r.Identity.CreateKey(authz.With(context.Background(), c.principal("admin")), identity.NewKey{Name: "reads", ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	c.keys["reads"] = reads
	for user, code := range map[string]int{"admin": 200, "oper": 403, "audit": 403, "user": 403, "none": 403, "reads": 403} {
		res := c.call(user, "POST", path+"?op=show_bmc_credentials")
		if res.Code != code && !(code == 403 && res.Code == 404) || (code == 200) != strings.Contains(res.Body.String(), "canary-bmc") {
			t.Errorf("%s: got %d %s", user, res.Code, res.Body)
		}
		if res := c.call(user, "POST", "/rackcontrollers/?op=show_shared_secret"); res.Code != code {
			t.Errorf("%s, shared secret: got %d %s", user, res.Code, res.Body)
		}
	}
	if res := c.call("oper", "POST", path+"?op=rotate_bmc", "take_over", "true"); res.Code != 200 || strings.Contains(res.Body.String(), "canary-bmc") {
		t.Errorf("an operator's rotation: got %d %s", res.Code, res.Body)
	}
}

// TestBMCByAPI keeps credentials to who may read them, uncached, and answers what a rotation of many came to.
func TestBMCByAPI(t *testing.T) {
	s := newSurface(t)
	var m struct {
		ID string `json:"system_id"`
	}
	res := s.call("admin", "POST", "/machines/", "hostname", "node", "architecture", "amd64", "mac_addresses", "52:54:00:00:00:01", "commission", "false",
		"power_type", "ipmi", "power_parameters_power_address", "192.0.2.9", "power_parameters_power_user", "root", "power_parameters_power_pass", "canary-bmc")
	if err := json.Unmarshal(res.Body.Bytes(), &m); err != nil || m.ID == "" {
		t.Fatalf("got %d %s", res.Code, res.Body)
	}
	path := "/machines/" + m.ID + "/"
	for _, c := range []struct {
		user, method, path string
		fields             []string
		code               int
		says               string
	}{
		{"admin", "POST", path + "?op=rotate_bmc", nil, 409, "take_over=true"},
		{"admin", "POST", path + "?op=rotate_bmc", []string{"take_over", "perhaps"}, 400, "take_over"},
		{"alice", "POST", path + "?op=rotate_bmc", []string{"take_over", "true"}, 403, ""},
		{"alice", "POST", path + "?op=show_bmc_credentials", nil, 403, ""},
		{"admin", "POST", "/machines/?op=rotate_bmc", nil, 400, "all=true"},
		{"admin", "POST", "/machines/?op=rotate_bmc", []string{"all", "true"}, 200, `"begun":[]`},
		{"admin", "GET", path + "?op=bmc_account", nil, 200, `"managed":false`},
		{"admin", "POST", "/machines/?op=rotate_bmc", []string{"pool", "default", "take_over", "true"}, 200, `"begun":["` + m.ID + `"]`},
		{"admin", "GET", path + "?op=bmc_account", nil, 200, `"state":"setting"`},
		{"admin", "POST", path + "?op=show_bmc_credentials", nil, 200, `"in_use":{"power_user":"root","power_pass":"canary-bmc"}`},
		{"admin", "POST", path + "?op=show_bmc_credentials", nil, 200, `"next":{"power_user":"metalward-a"`},
	} {
		res := s.call(c.user, c.method, c.path, c.fields...)
		if res.Code != c.code || !strings.Contains(res.Body.String(), c.says) {
			t.Errorf("%s %s %s %v: got %d %s", c.user, c.method, c.path, c.fields, res.Code, res.Body)
		}
		if strings.Contains(c.path, "show") && c.code == 200 && res.Header().Get("Cache-Control") != "no-store" {
			t.Error("credentials may be cached")
		}
		if c.code != 200 && strings.Contains(res.Body.String(), "canary-bmc") {
			t.Error("a refusal has the password")
		}
	}
}
