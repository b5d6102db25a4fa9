package region

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/rack"
	"github.com/metalward/metalward/internal/telemetry"
)

const metricsToken = "0123456789abcdef0123456789abcdef"

// ask gets a path, with a token or none, and returns status and body.
func ask(t *testing.T, url, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, //nolint:gosec // looks only
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// TestObservation asks every listener of a region and a rack for metrics and profiles, as nobody and with the token (security
// requirement 28).
func TestObservation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(metricsToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	loop := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s := newSurfaceWith(t, func(o *Options) {
		o.Config.Plain, o.Config.Observation = "127.0.0.1:0", config.Observation{Metrics: loop, MetricsToken: file}
	})
	https, _ := s.running()
	without := newSurface(t) // neither token nor listener
	bare, _ := without.running()

	dir := filepath.Join(t.TempDir(), "rack")
	if _, err := rack.Enrol(t.Context(), dir, s.r.BaseURL, s.r.mintFor(t, "rack1")); err != nil {
		t.Fatal(err)
	}
	meta, rackLoop := freePort(t), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	k, err := rack.New(rack.Options{Config: config.Rack{StateDir: dir, Metadata: meta, BootHTTP: 1, Observation: config.Observation{Metrics: rackLoop, MetricsToken: file}}, Version: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	waitFor(t, "the rack", func() bool { return len(s.r.Controllers.Connected()) == 1 })

	for _, c := range []struct{ base, token string }{{"https://" + https, ""}, {"https://" + bare, ""}, {"https://" + bare, metricsToken}, {"http://" + s.r.plain.Addr().String(), ""},
		{"http://" + loop, ""}, {"http://" + rackLoop, ""}} {
		for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/vars"} {
			code, body := ask(t, c.base+path, c.token)
			plain := strings.HasPrefix(c.base, "http://"+s.r.plain.Addr().String()) && code == http.StatusMovedPermanently // to HTTPS, which refuses
			if code != http.StatusUnauthorized && code != http.StatusNotFound && !plain || strings.Contains(body, "goroutine") {
				t.Errorf("%s%s: got %d %.80s", c.base, path, code, body)
			}
		}
	}
	s.call("admin", "GET", "/machines/")
	s.must("admin", "POST", "/machines/", "hostname", "m1", "architecture", "amd64", "mac_addresses", "52:54:00:00:00:01", "power_type", "manual")
	for _, base := range []string{"https://" + https, "http://" + loop} {
		code, body := ask(t, base+"/metrics", metricsToken)
		for _, want := range []string{`metalward_region_http_requests_total{class="api",code="200"}`, `metalward_region_http_request_seconds_bucket{class="api",le="0.001"}`,
			"metalward_region_racks_connected 1", `metalward_region_machines{status="`, `metalward_region_database_info{engine="sqlite"} 1`, `metalward_certificate_left_days{certificate="pages and API"} 89.`,
			`metalward_certificate_end_timestamp_seconds{certificate="rack controller rack1"}`, `metalward_health{check="certificates"} 0`, "go_goroutines "} {
			if !strings.Contains(body, want) {
				t.Errorf("%s: no %s in the metrics", base, want)
			}
		}
		if code != http.StatusOK || strings.Contains(body, "admin") || strings.Contains(body, "m1") || strings.Contains(body, metricsToken) {
			t.Errorf("%s: got %d, or names in %s", base, code, body)
		}
	}
	if code, body := ask(t, "http://"+rackLoop+"/metrics", metricsToken); code != http.StatusOK || !strings.Contains(body, "metalward_rack_region_connected 1") {
		t.Errorf("the rack: got %d %s", code, body)
	}
	for _, path := range []string{filepath.Join(s.dir, "profile.sock"), filepath.Join(dir, "profile.sock")} {
		info, err := os.Lstat(path)
		if err != nil && len(path) < 100 || err == nil && (info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket) {
			t.Errorf("got %v, %v, want a socket of mode 0600", info, err)
		}
	}
	for _, o := range []config.Observation{{Metrics: "0.0.0.0:0"}, {MetricsToken: filepath.Join(t.TempDir(), "none")}} {
		if _, err := New(t.Context(), Options{Config: config.Region{StateDir: t.TempDir(), HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0", Observation: o}, Log: slog.New(slog.DiscardHandler)}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: got %v, want that it does not start", o, err)
		}
	}
}

// browse gets a path as nobody and returns status and body.
func (s *surface) browse(path string) string {
	s.t.Helper()
	rec := httptest.NewRecorder()
	s.handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "https://localhost"+path, nil))
	return fmt.Sprint(rec.Code, " ", rec.Body)
}

// TestHealth shows a certificate that ends although its notice was dismissed, and a database that is gone, to people and to proxies.
func TestHealth(t *testing.T) {
	c := &clock{}
	s := newSurfaceWith(t, func(o *Options) { o.Now = c.now })
	s.now = c.now
	state := func(check string) (string, string) {
		t.Helper()
		o := s.must("admin", "GET", "/health/")
		for _, x := range o["checks"].([]any) {
			if x := x.(map[string]any); x["name"] == check {
				return fmt.Sprint(x["state"]), fmt.Sprint(x["text"])
			}
		}
		return "", ""
	}
	if rec := s.call("alice", "GET", "/health/"); rec.Code != http.StatusForbidden {
		t.Errorf("a user reads the health: got %d", rec.Code)
	}
	key, cert := newCorporate(t, c.now).issue(20*24*time.Hour, "localhost")
	s.must("admin", "POST", "/tls/?op=enable", "key", key, "cert", cert)
	if got, text := state("certificates"); got != "warning" || text != "Expires soon: pages and API." {
		t.Errorf("got %s %q", got, text)
	}
	if _, err := s.r.Certs.Remind(t.Context(), c.now()); err != nil {
		t.Fatal(err)
	}
	for _, n := range (&company{surface: s}).list("admin", "/notifications/") {
		s.must("admin", "POST", fmt.Sprintf("/notifications/%v/?op=dismiss", n["id"]))
	}
	c.ahead.Store(int64(21 * 24 * time.Hour))
	if got, text := state("certificates"); got != "bad" || text != "Expired: pages and API." {
		t.Errorf("dismissed, and then expired: got %s %q", got, text)
	}
	if got, _ := state("database"); got != "ok" {
		t.Errorf("the database is %s", got)
	}
	if got := s.browse("/health"); got != "200 ok" {
		t.Errorf("got %s", got)
	}
	s.r.Health.Add("example", func(context.Context) (telemetry.State, string) { return telemetry.Warning, "It is sealed." })
	if got, text := state("example"); got != "warning" || text != "It is sealed." {
		t.Errorf("got %s %q", got, text)
	}
	c.ahead.Add(int64(time.Minute))
	if err := s.r.reader.Close(); err != nil {
		t.Fatal(err)
	}
	if got := s.browse("/health"); got != "503 The database does not answer." {
		t.Errorf("without a database: got %s", got)
	}
	if err := s.r.ready(t.Context()); !errors.As(err, new(*fault.Error)) {
		t.Errorf("got %v", err)
	}
}

// TestHSTS tunes the header, behind a proxy and without one (security requirement 38).
func TestHSTS(t *testing.T) {
	s := newSurfaceWith(t, func(o *Options) { o.Config.Plain, o.Config.TrustedProxies = "127.0.0.1:0", []string{"127.0.0.0/8"} })
	https, _ := s.running()
	header := func(url string, fields ...string) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(fields); i += 2 {
			req.Header.Set(fields[i], fields[i+1])
		}
		resp, err := (&http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}).RoundTrip(req) //nolint:gosec // looks only
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return strings.Join(resp.Header.Values("Strict-Transport-Security"), "|")
	}
	plain := "http://" + s.r.plain.Addr().String()
	if got := header("https://" + https + "/login"); got != "max-age=31536000" {
		t.Errorf("at first: got %q", got)
	}
	if got := header(plain + "/login"); got != "" {
		t.Errorf("on the plain port, where browsers ignore it: got %q", got)
	}
	for _, c := range []struct{ name, value, want string }{
		{"metalward_hsts_include_subdomains", "true", "max-age=31536000; includeSubDomains"},
		{"metalward_hsts_max_age", "300", "max-age=300; includeSubDomains"},
		{"metalward_hsts_max_age", "0", "max-age=0; includeSubDomains"},
		{"metalward_hsts_include_subdomains", "false", "max-age=0"},
	} {
		s.must("admin", "POST", "/maas/?op=set_config", "name", c.name, "value", c.value)
		eventually(t, c.want, func() bool { return header("https://"+https+"/login") == c.want })
		if got := header(plain+"/login", "X-Forwarded-Proto", "https"); got != c.want {
			t.Errorf("behind a proxy: got %q, want %q", got, c.want)
		}
	}
	if rec := s.call("admin", "POST", "/maas/?op=set_config", "name", "metalward_hsts_max_age", "value", "-1"); rec.Code != http.StatusBadRequest {
		t.Errorf("got %d", rec.Code)
	}
}
