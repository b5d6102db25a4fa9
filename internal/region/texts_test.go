package region

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
)

func TestMain(m *testing.M) { regiontest.Main(m, func() { _ = os.RemoveAll(first.dir) }) }

// TestTexts lists machines while none, all and some of their texts are kept: the answers are the same byte for byte,
// reading keeps nothing, and Run keeps everything.
func TestTexts(t *testing.T) {
	regiontest.Slow(t)
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		if !strings.HasPrefix(dsn, "postgres") {
			dsn = "" // the file in the state folder
		}
		s := newSurfaceOn(t, dsn)
		ctx := authz.AsSystem(context.Background(), "test")
		const n = 300 // some windows of those that are rendered at a time
		var ids []string
		err := s.r.Gate.Do(ctx, authz.MachineCreate, func(c *gate.Call) error {
			ids = nil
			if err := c.Require(authz.Target{Noun: authz.NounMachine, Pool: metal.DefaultPoolID}); err != nil {
				return err
			}
			for i := range n {
				m := metal.Machine{SystemID: metal.NewSystemID(), Hostname: fmt.Sprintf("m%03d", i), PoolID: metal.DefaultPoolID, ZoneID: metal.DefaultZoneID, Architecture: "amd64/generic",
					PowerState: metal.PowerOff, OwnerData: map[string]string{"i": fmt.Sprint(i)}, Created: c.Now(), Updated: c.Now()}
				if err := c.Tx().AddMachine(&m); err != nil {
					return err
				}
				nic := metal.Interface{SystemID: m.SystemID, Name: "eth0", MAC: metal.MAC(fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&255)), Boot: true}
				if err := c.Tx().PutInterface(&nic); err != nil {
					return err
				}
				ids = append(ids, m.SystemID)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		stale := func() (n int) {
			t.Helper()
			err := s.r.reader.View(ctx, func(v *store.View) error {
				list, err := v.StaleMachines(store.MachineQuery{Filter: authz.AllMachines}, 1000)
				n = len(list)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		list := func(query string) []byte {
			t.Helper()
			rec := s.call("admin", "GET", "/machines/"+query)
			if rec.Code != 200 {
				t.Fatalf("got %d %s", rec.Code, rec.Body)
			}
			return rec.Body.Bytes()
		}
		// keep runs the rendering in the background until nothing is left to render.
		keep := func() {
			t.Helper()
			run, stop := context.WithCancel(ctx)
			ended := make(chan struct{})
			go func() { defer close(ended); s.r.API.Run(run) }()
			for stale() > 0 {
				time.Sleep(time.Millisecond)
			}
			stop()
			<-ended
		}

		cold := list("")
		var got []struct {
			Hostname string            `json:"hostname"`
			Data     map[string]string `json:"owner_data"`
			NICs     []struct {
				MAC string `json:"mac_address"`
			} `json:"interface_set"`
		}
		if err := json.Unmarshal(cold, &got); err != nil || len(got) != n {
			t.Fatalf("got %d machines, %v", len(got), err)
		}
		for i, m := range got {
			if m.Hostname != fmt.Sprintf("m%03d", i) || m.Data["i"] != fmt.Sprint(i) || len(m.NICs) != 1 || m.NICs[0].MAC != fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&255) {
				t.Fatalf("got %+v at place %d", m, i)
			}
		}
		one := s.call("admin", "GET", "/machines/"+ids[7]+"/").Body.Bytes()
		if !bytes.Contains(cold, one) {
			t.Errorf("one machine reads other than in the list: %s", one)
		}
		if old := stale(); old != n {
			t.Errorf("reading kept %d texts", n-old)
		}

		keep()
		if warm := list(""); !bytes.Equal(warm, cold) {
			t.Error("the kept texts differ from those rendered for the list")
		}
		if again := s.call("admin", "GET", "/machines/"+ids[7]+"/").Body.Bytes(); !bytes.Equal(again, one) {
			t.Errorf("got %s, want %s", again, one)
		}

		for i := 0; i < n; i += 70 { // some, far apart
			s.must("admin", "PUT", "/machines/"+ids[i]+"/", "description", "changed")
		}
		mixed := list("")
		if k := bytes.Count(mixed, []byte(`"description":"changed"`)); k != 5 || bytes.Count(mixed, []byte(`"description":""`)) != n-5 {
			t.Errorf("got %d changed machines, want 5", k)
		}
		if some := list("?hostname=m070&hostname=m071"); bytes.Count(some, []byte(`"description":"changed"`)) != 1 || bytes.Count(some, []byte(`"hostname":"m07`)) != 2 {
			t.Errorf("got %s", some)
		}
		if old := stale(); old != 5 {
			t.Errorf("%d texts are old, want 5", old)
		}
		keep()
		if warm := list(""); !bytes.Equal(warm, mixed) {
			t.Error("the kept texts differ from those rendered for the list")
		}
	})
}

// TestNewFails: a region that cannot be made is an error, and what was opened is closed.
func TestNewFails(t *testing.T) {
	_, err := New(context.Background(), Options{Config: config.Region{StateDir: t.TempDir(), HTTPS: "192.0.2.1:1", Plain: "off", RPC: "127.0.0.1:0", PublicHost: "localhost"}, Version: "test",
		Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "192.0.2.1") {
		t.Errorf("got %v, want that it cannot listen there", err)
	}
}
