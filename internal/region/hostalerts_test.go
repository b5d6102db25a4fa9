package region

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/logs"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/watch"
)

// watches is a watch of logs in a folder, as cmd/metalward makes one of the host's.
func watches(dir string) func(context.Context, func(netip.Addr) bool, func(detect.HostReport)) {
	return func(ctx context.Context, peer func(netip.Addr) bool, tell func(detect.HostReport)) {
		watch.Host(ctx, watch.HostOptions{Site: detect.Site{Peer: peer}, Units: watch.HostUnits(units.Every), Patterns: []string{filepath.Join(dir, "auth.log")}, State: filepath.Join(dir, "state"), Now: time.Now,
			Log: slog.New(slog.DiscardHandler), Save: func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }}, tell)
	}
}

// A machine's lines over TCP become alerts of that machine, with its name, and prove nothing; the rack's own host has none by them.
func TestSyslogAlerts(t *testing.T) {
	r := runRegion(t, t.TempDir(), time.Now)
	dir, state := filepath.Join(t.TempDir(), "rack"), t.TempDir()
	id, err := rack.Enrol(t.Context(), dir, r.BaseURL, r.mintFor(t, "rack0"))
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	defer startRack(t, dir, time.Now, func(o *rack.Options) {
		o.Config.SyslogTCP, o.Config.SyslogFrom = fmt.Sprintf("127.0.0.1:%d", port), []string{"127.0.0.1/32"}
		o.WatchHost = watches(state)
		o.ReadSyslog = func(ctx context.Context, lines <-chan logs.Sent, tell func(detect.HostReport)) {
			watch.Hear(ctx, watch.HearOptions{Units: watch.HostUnits(units.Every), State: filepath.Join(state, "syslog"), Now: time.Now, Log: slog.New(slog.DiscardHandler),
				Save: func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }}, lines, tell)
		}
	})()
	waitFor(t, "the rack to connect", func() bool { return len(r.Controllers.Connected()) == 1 })
	admin := authz.With(context.Background(), authz.Principal{Kind: authz.User, Name: "admin", UserID: 1, Rights: authz.Everything()})
	name, arch := "web-1", "amd64/generic"
	m, err := r.Machines.Create(admin, machines.NewMachine{Hostname: &name, Architecture: &arch, MACs: []string{"52:54:00:00:00:09"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Gate.Observe(authz.With(context.Background(), authz.Principal{Kind: authz.Rack, Name: id}), gate.SeenLeases, func(tx *store.Tx, now time.Time) error {
		return tx.PutLeases(id, []metal.Lease{{MAC: "52:54:00:00:00:09", IP: netip.MustParseAddr("127.0.0.1"), Expires: now.Add(time.Hour)}})
	}); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for n := range 20 {
		if _, err := fmt.Fprintf(conn, "<38>1 2026-11-07T06:00:00Z rack0 sshd %d - - Failed password for root from 198.51.100.7 port 40022 ssh2\n", 1000+n); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the alert", func() bool {
		list, err := r.Alerts.List(admin, store.AlertQuery{Unit: "ssh_bruteforce", Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 1 || len(list) == 1 && (list[0].Proves || list[0].Origin != store.FromSyslog || list[0].Region != id) {
			t.Fatalf("got %+v", list)
		}
		return len(list) == 1 && list[0].Machine == m.SystemID && list[0].MachineName == "web-1" && list[0].Host == "127.0.0.1" && list[0].Count == 20
	})
	logs, err := r.Alerts.Logs(admin)
	if err != nil || len(logs) != 1 || !slices.ContainsFunc(logs[0].Logs, func(l detect.LogState) bool {
		return strings.HasPrefix(l.Name, "syslog tcp") && l.State == detect.LogRead
	}) {
		t.Errorf("got logs %+v, %v", logs, err)
	}
}

// Lines in the logs of a region's host and of a rack's become alerts of those controllers, and the region knows which logs each reads.
func TestHostAlerts(t *testing.T) {
	regionLogs, rackLogs := t.TempDir(), t.TempDir()
	var tuned, here detect.Tuning // of the rack and of the region
	scanned := detect.Scan{Lines: 7, Alerts: []detect.HostAlert{{Unit: "ssh_bruteforce", Severity: detect.High, Key: []detect.KeyValue{{Field: "source", Value: "198.51.100.1"}}, Count: 3}}}
	peers := make(chan func(netip.Addr) bool, 2) // who the region's and the rack's watch take for controllers
	tellPeers := func(watch func(context.Context, func(netip.Addr) bool, func(detect.HostReport))) func(context.Context, func(netip.Addr) bool, func(detect.HostReport)) {
		return func(ctx context.Context, peer func(netip.Addr) bool, tell func(detect.HostReport)) {
			peers <- peer
			watch(ctx, peer, tell)
		}
	}
	r := runRegion(t, t.TempDir(), time.Now, func(o *Options) {
		o.WatchHost, o.Tuning = tellPeers(watches(regionLogs)), &here
		o.ScanHost = func(_ context.Context, all []detect.Unit, since time.Time) (detect.Scan, error) {
			if time.Since(since) > 25*time.Hour {
				t.Errorf("asked for logs since %v", since)
			}
			if slices.ContainsFunc(all, func(u detect.Unit) bool { return u.ID == "ssh_bruteforce" && u.Rungs[0].Count == 3 }) {
				return scanned, nil
			}
			return detect.Scan{Lines: 7}, nil
		}
	})
	dir := filepath.Join(t.TempDir(), "rack")
	id, err := rack.Enrol(t.Context(), dir, r.BaseURL, r.mintFor(t, "rack0"))
	if err != nil {
		t.Fatal(err)
	}
	admin := authz.With(context.Background(), authz.Principal{Kind: authz.User, Name: "admin", UserID: 1, Rights: authz.Everything()})
	// The site's thresholds of a detection in logs: tried on the region's own logs, then told everybody who counts in logs.
	if p, err := r.Alerts.Preview(admin, "ssh_bruteforce", "3 within 1m: high", false); err != nil || p.Events != 7 || p.Now != 0 || p.Then != 1 || len(p.New) != 1 || p.New[0].Count != 3 {
		t.Errorf("preview: got %+v, %v", p, err)
	}
	if _, err := r.Alerts.SetThresholds(admin, "ssh_bruteforce", "3 within 1m: high", false); err != nil {
		t.Fatal(err)
	}
	defer startRack(t, dir, time.Now, func(o *rack.Options) { o.WatchHost, o.Tuning = tellPeers(watches(rackLogs)), &tuned })()
	for range 2 { // all controllers of this test are at one address
		peer := <-peers
		waitFor(t, "the other controller's address", func() bool { return peer(netip.MustParseAddr("127.0.0.1")) })
		if peer(netip.MustParseAddr("198.51.100.7")) {
			t.Error("a stranger is taken for a controller")
		}
	}
	want := []detect.Threshold{{Unit: "ssh_bruteforce", Rungs: []detect.Rung{{Count: 3, Window: time.Minute, Severity: detect.High}}}}
	waitFor(t, "the thresholds", func() bool {
		_, fresh := tuned.Moved(want)
		_, own := here.Moved(want)
		return !fresh && !own
	})
	logs := func() map[string]string {
		list, err := r.Alerts.Logs(admin)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]string{}
		for _, h := range list {
			found[h.Controller] = h.Logs[0].State
		}
		return found
	}
	waitFor(t, "both to tell of their logs", func() bool { return len(logs()) == 2 })
	if got := logs(); got[r.ID] != detect.LogAbsent || got[id] != detect.LogAbsent {
		t.Errorf("got %v", got)
	}
	for i, path := range []string{regionLogs, rackLogs} {
		var b strings.Builder
		for n := range 20 {
			fmt.Fprintf(&b, "%s host sshd[%d]: Failed password for root from 198.51.100.%d port 40022 ssh2\n", time.Now().UTC().Format(time.RFC3339Nano), 1000+n, i+1)
		}
		if err := os.WriteFile(filepath.Join(path, "auth.log"), []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for controller, source := range map[string]string{r.ID: "198.51.100.1", id: "198.51.100.2"} {
		waitFor(t, "the alert of "+controller, func() bool {
			list, err := r.Alerts.List(admin, store.AlertQuery{Unit: "ssh_bruteforce", Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range list {
				if a.Region == controller && a.Client == source && a.Count == 20 && a.Controller != "" && a.Origin == store.FromLogs {
					return true
				}
			}
			return false
		})
	}
}
