package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// site is a region in process with machines of real size.
type site struct {
	r       *region.Region
	dir     string
	handler http.Handler
	key     identity.KeySecret
	nonce   int
}

func newSite(b *testing.B, machines int) *site {
	b.Helper()
	ctx := context.Background()
	s := &site{dir: b.TempDir()}
	r, err := region.New(ctx, region.Options{Config: config.Region{StateDir: s.dir, HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0", PublicHost: "localhost"},
		Version: "bench", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.Close)
	s.r, s.handler = r, r.Handler()
	sys := authz.AsSystem(ctx, "bench")
	u, err := r.Identity.CreateUser(sys, identity.NewUser{Name: "admin", Password: secret.FromString("a long enough password"), Admin: true})
	if err != nil {
		b.Fatal(err)
	}
	if s.key, err = r.Identity.CreateKey(authz.With(ctx, authz.Principal{Kind: authz.User, Name: u.Name, UserID: u.ID, Admin: true}), "bench"); err != nil {
		b.Fatal(err)
	}
	s.fill(b, machines)
	return s
}

// fill makes machines as MAAS's own scenarios have them: 8 interfaces with a subnet, 6 disks, script results; and
// owner data that brings each machine's JSON to about 49 KB.
func (s *site) fill(b *testing.B, n int) {
	b.Helper()
	ctx := authz.AsSystem(context.Background(), "bench")
	var vlan metal.VLAN
	var sub metal.Subnet
	err := s.r.Gate.Do(ctx, authz.NetworkEdit, func(c *gate.Call) error {
		for _, noun := range []authz.Noun{authz.NounFabric, authz.NounVLAN, authz.NounSubnet} {
			if err := c.Require(authz.Target{Noun: noun}); err != nil {
				return err
			}
		}
		f := metal.Fabric{}
		if err := c.Tx().AddFabric(&f); err != nil {
			return err
		}
		vlan = metal.VLAN{FabricID: f.ID, Name: "untagged", MTU: 1500}
		if err := c.Tx().AddVLAN(&vlan); err != nil {
			return err
		}
		sub = metal.Subnet{VLANID: vlan.ID, Name: "bench", CIDR: mustPrefix("10.0.0.0/8"), Managed: true}
		return c.Tx().AddSubnet(&sub)
	})
	if err != nil {
		b.Fatal(err)
	}
	pad := strings.Repeat("x", 1000)
	for done := 0; done < n; {
		batch := min(500, n-done)
		err := s.r.Gate.Do(ctx, authz.MachineCreate, func(c *gate.Call) error {
			if err := c.Require(authz.Target{Noun: authz.NounMachine, Pool: metal.DefaultPoolID}); err != nil {
				return err
			}
			for i := range batch {
				k := done + i
				m := metal.Machine{SystemID: metal.NewSystemID(), Hostname: fmt.Sprintf("node%05d", k), Status: metal.Deployed, PoolID: metal.DefaultPoolID, ZoneID: metal.DefaultZoneID,
					Architecture: "amd64/generic", CPUCount: 64, CPUSpeedMHz: 2400, MemoryMiB: 262144, PowerType: "manual", PowerState: metal.PowerOn, OSystem: "custom",
					DistroSeries: "debian12", Commissioned: true, Owner: "admin", OwnerData: map[string]string{}, Created: c.Now(), Updated: c.Now()}
				for j := range 15 {
					m.OwnerData[fmt.Sprintf("key-%02d", j)] = pad
				}
				if err := c.Tx().AddMachine(&m); err != nil {
					return err
				}
				for j := range 8 {
					nic := metal.Interface{SystemID: m.SystemID, Name: fmt.Sprintf("eth%d", j), MAC: metal.MAC(fmt.Sprintf("52:54:%02x:%02x:%02x:%02x", k>>16, k>>8&255, k&255, j)),
						VLANID: vlan.ID, Boot: j == 0, SubnetID: sub.ID, Enabled: true, MTU: 1500, LinkUp: true, SpeedMbps: 25000, LinkSpeedMbps: 25000, Vendor: "0x15b3", Product: "0x1017"}
					if err := c.Tx().PutInterface(&nic); err != nil {
						return err
					}
				}
				for j := range 6 {
					d := metal.BlockDevice{SystemID: m.SystemID, Name: fmt.Sprintf("nvme%dn1", j), Model: "BENCH 3.84TB", Serial: fmt.Sprintf("S%05d%d", k, j), SizeBytes: 3840e9, BlockSize: 512, Tags: []string{"ssd"}}
					if err := c.Tx().PutBlockDevice(&d); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		done += batch
	}
}

// get makes an authenticated request in process and returns the number of bytes of the answer.
func (s *site) get(b *testing.B, path string) int64 {
	b.Helper()
	s.nonce++
	req := httptest.NewRequest(http.MethodGet, "https://localhost/MAAS/api/2.0"+path, nil)
	req.Header.Set("Authorization", fmt.Sprintf(`OAuth oauth_version="1.0", oauth_signature_method="PLAINTEXT", oauth_consumer_key="%s", oauth_token="%s", oauth_signature="%%26%s", oauth_timestamp="%d", oauth_nonce="%d"`,
		s.key.ConsumerKey, s.key.TokenKey, s.key.Secret.RevealString(), time.Now().Unix(), s.nonce))
	w := &counter{header: http.Header{}}
	s.handler.ServeHTTP(w, req)
	if w.status != 0 && w.status != http.StatusOK {
		b.Fatalf("got status %d for %s", w.status, path)
	}
	return w.n
}

// counter is a response that keeps nothing but its size: the machine's memory is measured beside it.
type counter struct {
	header http.Header
	status int
	n      int64
}

func (c *counter) Header() http.Header         { return c.header }
func (c *counter) WriteHeader(status int)      { c.status = status }
func (c *counter) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// BenchmarkMachinesList compares the list of machines with streaming rows of the same size out of the same
// database: the floor that no list can beat. Rounds alternate.
func BenchmarkMachinesList(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("machines=%d", n), func(b *testing.B) {
			s := newSite(b, n)
			first := time.Now()
			size := s.get(b, "/machines/") // renders what was never rendered
			cold := time.Since(first)
			r, w, err := store.Open(context.Background(), filepath.Join(s.dir, "metalward.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer w.Close()
			defer r.Close()
			var list, floor time.Duration
			before := peak()
			b.ResetTimer()
			for range b.N {
				t := time.Now()
				s.get(b, "/machines/")
				list += time.Since(t)
				t = time.Now()
				rows := int64(0)
				err := r.View(context.Background(), func(v *store.View) error {
					return v.EachMachineText(store.MachineQuery{Filter: authz.MachineFilter{All: true}}, func(m *store.MachineText) error {
						k, err := io.Discard.Write(m.Text)
						rows += int64(k)
						return err
					})
				})
				if err != nil || rows == 0 {
					b.Fatalf("got %d bytes, %v", rows, err)
				}
				floor += time.Since(t)
			}
			b.StopTimer()
			b.ReportMetric(float64(list)/float64(floor), "x_floor")
			b.ReportMetric(list.Seconds()*1000/float64(b.N), "ms/list")
			b.ReportMetric(cold.Seconds()*1000, "ms/first_list")
			b.ReportMetric(float64(size)/float64(n)/1000, "KB/machine")
			b.ReportMetric(float64(peak()-before)/(1<<20), "MiB_growth")
		})
	}
}

// peak is the heap in use after the list, with what was not collected yet.
func peak() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// BenchmarkMachineRead reads one machine, authenticated and authorized.
func BenchmarkMachineRead(b *testing.B) {
	s := newSite(b, 1000)
	var list []struct {
		ID string `json:"system_id"`
	}
	rec := httptest.NewRecorder()
	s.nonce++
	req := httptest.NewRequest(http.MethodGet, "https://localhost/MAAS/api/2.0/machines/?hostname=node00500", nil)
	req.Header.Set("Authorization", fmt.Sprintf(`OAuth oauth_signature_method="PLAINTEXT", oauth_consumer_key="%s", oauth_token="%s", oauth_signature="%%26%s", oauth_timestamp="%d", oauth_nonce="%d"`,
		s.key.ConsumerKey, s.key.TokenKey, s.key.Secret.RevealString(), time.Now().Unix(), s.nonce))
	s.handler.ServeHTTP(rec, req)
	if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil || len(list) != 1 {
		b.Fatalf("got %d machines, %v", len(list), err)
	}
	b.ResetTimer()
	start := time.Now()
	for range b.N {
		s.get(b, "/machines/"+list[0].ID+"/")
	}
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "req/s")
}

// BenchmarkPoolRename renames a pool that holds 10,000 machines, and lists them: no machine is rewritten.
func BenchmarkPoolRename(b *testing.B) {
	s := newSite(b, 10000)
	s.get(b, "/machines/")
	ctx := authz.With(context.Background(), authz.Principal{Kind: authz.User, Name: "admin", Admin: true})
	b.ResetTimer()
	for i := range b.N {
		err := s.r.Gate.Do(ctx, authz.PoolEdit, func(c *gate.Call) error {
			if err := c.Require(store.PoolTarget(metal.DefaultPoolID)); err != nil {
				return err
			}
			return c.Tx().PutPool(metal.ResourcePool{ID: metal.DefaultPoolID, Name: fmt.Sprintf("pool-%d", i)})
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRegionStart opens a region on an existing state folder, up to listening.
func BenchmarkRegionStart(b *testing.B) {
	dir := b.TempDir()
	open := func() {
		r, err := region.New(context.Background(), region.Options{Config: config.Region{StateDir: dir, HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0"}, Version: "bench",
			Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
	open()
	b.ResetTimer()
	for range b.N {
		open()
	}
}

func mustPrefix(s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		panic(err)
	}
	return p
}
