package bench

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/region"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/secret"
)

// BenchmarkRequestRules makes the same calls of three regions, which differ in their request rules alone: what clients send all day, a change with
// prose in it, and an attack. It reports what off takes, and detect and block as ratios to it; and what the rules hold of memory.
func BenchmarkRequestRules(b *testing.B) {
	modes := []string{"off", "detect", "block"}
	regions := map[string]*region.Region{}
	keys := map[string]identity.KeySecret{}
	for _, mode := range modes {
		before := heap()
		start := time.Now()
		r, err := region.New(b.Context(), region.Options{Config: config.Region{StateDir: b.TempDir(), HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0", PublicHost: "localhost", RequestRules: mode},
			Version: "bench", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(r.Close)
		b.Logf("%s: New took %v, the heap grew by %.1f MiB", mode, time.Since(start).Round(time.Millisecond), float64(int64(heap()-before))/(1<<20))
		u, err := r.Identity.CreateUser(authz.AsSystem(b.Context(), "bench"), identity.NewUser{Name: "admin", Password: secret.FromString("a long enough password"), Admin: true})
		if err != nil {
			b.Fatal(err)
		}
		if keys[mode], err = r.Identity.CreateKey(authz.With(b.Context(), authz.Principal{Kind: authz.User, Name: "admin", UserID: u.ID}), identity.NewKey{Name: "bench"}); err != nil {
			b.Fatal(err)
		}
		regions[mode] = r
	}
	nonce := 0
	call := func(mode, method, path string, form url.Values) (time.Duration, int) {
		req := httptest.NewRequest(method, "https://localhost/MAAS/api/2.0"+path, strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("User-Agent", "Go-http-client/1.1")
		k := keys[mode]
		nonce++
		req.Header.Set("Authorization", fmt.Sprintf(`OAuth realm="", oauth_version="1.0", oauth_signature_method="PLAINTEXT", oauth_consumer_key="%s", oauth_token="%s", oauth_signature="%%26%s", oauth_timestamp="%d", oauth_nonce="n%d"`,
			k.ConsumerKey, k.TokenKey, k.Secret.RevealString(), time.Now().Unix(), nonce))
		rec := httptest.NewRecorder()
		start := time.Now()
		regions[mode].Handler().ServeHTTP(rec, req)
		return time.Since(start), rec.Code
	}
	for _, c := range []struct {
		name, method, path string
		form               url.Values
		refused            bool // in block
	}{
		{"read", http.MethodGet, "/users/?op=whoami", nil, false},
		{"list", http.MethodGet, "/machines/?zone=default&status=ready", nil, false},
		{"change", http.MethodPut, "/resourcepool/0/", url.Values{"description": {"cards"}}, false},
		{"change_with_prose", http.MethodPut, "/resourcepool/0/", url.Values{"description": {"Rack 3, by the window (left)"}}, false},
		{"attack", http.MethodPut, "/resourcepool/0/", url.Values{"description": {"x' OR '1'='1' --"}}, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			times := map[string][]float64{}
			for i := range 20 * b.N {
				for j := range modes {
					mode := modes[(i+j)%len(modes)]
					took, code := call(mode, c.method, c.path, c.form)
					if refused := c.refused && mode == "block"; (code == http.StatusForbidden) != refused || !refused && code != http.StatusOK {
						b.Fatalf("%s: got %d", mode, code)
					}
					times[mode] = append(times[mode], ms(took))
				}
			}
			off := median(times["off"])
			b.ReportMetric(off, "ms/off")
			for _, mode := range modes[1:] {
				b.ReportMetric(median(times[mode])/off, mode+"/off")
			}
			reportLoad(b)
		})
	}
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
