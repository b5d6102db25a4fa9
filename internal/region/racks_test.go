package region

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/rack"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
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
func runRegion(t *testing.T, dir string, now func() time.Time) *Region {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := New(ctx, Options{Config: config.Region{StateDir: dir, HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0", PublicHost: "localhost"}, Version: "test", Now: now,
		Log: slog.New(slog.DiscardHandler)})
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
func startRack(t *testing.T, dir string, now func() time.Time) (stop func()) {
	t.Helper()
	k, err := rack.New(rack.Options{Config: config.Rack{StateDir: dir, Metadata: freePort(t), BootHTTP: 1}, Version: "test", Now: now, Log: slog.New(slog.DiscardHandler)})
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
