package rack

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
)

// enrolled is the state folder of a rack.
func enrolled(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	ca, err := pki.NewCA("test", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, der, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Client(key.Public(), "site", "/rack/r", pki.RackLife, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := (&identity{SystemID: "r", Site: "site", Region: "127.0.0.1:1", CA: ca.PEM(), Chain: chain, Key: der}).save(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newRack(t *testing.T, dir string) *Rack {
	t.Helper()
	r, err := New(Options{Config: config.Rack{StateDir: dir}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A kept snapshot that cannot be used is not a reason not to start: only a running rack can get a good one.
func TestKeptSnapshot(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":       "{",
		"another's type": `{"Version": "seven"}`,
		"no certificate": `{"version": 7, "machine_ca": "-----BEGIN"}`,
		"two of one":     `{"version": 7, "vlans": [{"id": 1, "interface": ""}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := enrolled(t)
			if err := os.WriteFile(newRack(t, dir).snapshotFile(), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			r := newRack(t, dir)
			if r.snapshot.Load() != nil {
				t.Error("it serves from the snapshot")
			}
			if err := r.takeSnapshot(metal.RackSnapshot{Version: 1}, []byte(`{"version":1}`)); err != nil {
				t.Errorf("the region's next: %v", err)
			}
		})
	}
}

// Whatever the order that snapshots arrive in, the newest is the one in use and the one that is kept.
func TestSnapshotsInAnyOrder(t *testing.T) {
	dir := enrolled(t)
	r := newRack(t, dir)
	const last = 50
	var wg sync.WaitGroup
	for v := int64(1); v <= last; v++ {
		wg.Go(func() {
			s := metal.RackSnapshot{Version: v, VLANs: []metal.SnapshotVLAN{{ID: v, Interface: fmt.Sprint("absent", v), Subnets: []metal.SnapshotSubnet{
				{CIDR: netip.MustParsePrefix("10.0.0.0/24"), RackIP: netip.AddrFrom4([4]byte{10, 0, 0, byte(v)})}}}}}
			text, err := json.Marshal(s)
			if err != nil {
				t.Error(err)
			}
			if err := r.takeSnapshot(s, text); err != nil && !fault.Is(err, fault.Conflict) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	want := []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, last})}
	for name, r := range map[string]*Rack{"in use": r, "after a restart": newRack(t, dir)} {
		if s := r.snapshot.Load(); s == nil || s.Version != last || !slices.Equal(bootAddresses(*s), want) {
			t.Errorf("%s: got %+v, want version %d", name, s, last)
		}
	}
}
