package telemetry

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// TestText holds the text form to Prometheus' own description of it.
func TestText(t *testing.T) {
	var m Metrics
	c := m.Counter("a_total", "What \\ is\ncounted.", "kind")
	c.Add(1, "b\"\n\\")
	c.Add(2, "a")
	c.Add(0.5, "a")
	h := m.Histogram("b_seconds", "Times.", []float64{0.1, 1}, "class")
	for _, d := range []time.Duration{50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second} {
		h.Observe(d, "x")
	}
	m.Gauge("c", "Read.", nil, func(_ context.Context, set func(float64, ...string)) error { set(3); return nil })
	m.Gauge("fails", "Cannot be read.", nil, func(_ context.Context, set func(float64, ...string)) error { set(1); return errors.New("no") })
	m.Counter("unused_total", "Never counted.")
	var got strings.Builder
	if err := m.Write(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	const want = `# HELP a_total What \\ is\ncounted.
# TYPE a_total counter
a_total{kind="a"} 2.5
a_total{kind="b\"\n\\"} 1
# HELP b_seconds Times.
# TYPE b_seconds histogram
b_seconds_bucket{class="x",le="0.1"} 2
b_seconds_bucket{class="x",le="1"} 3
b_seconds_bucket{class="x",le="+Inf"} 4
b_seconds_sum{class="x"} 2.65
b_seconds_count{class="x"} 4
# HELP c Read.
# TYPE c gauge
c 3
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
	for i := range 2 * maxSeries {
		c.Add(1, strings.Repeat("x", i+1))
	}
	got.Reset()
	_ = m.Write(t.Context(), &got)
	if n := strings.Count(got.String(), "\na_total{"); n != maxSeries {
		t.Errorf("got %d series of one metric, want no more than %d", n, maxSeries)
	}
}

// TestToken asks with and without the token, in every place but the right one too.
func TestToken(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	var m Metrics
	m.Process("region", "test", time.Unix(1, 0))
	for _, c := range []struct {
		name, method, path, auth string
		token                    string
		want                     int
	}{
		{"on the loopback", "GET", "/metrics", "", "", 200},
		{"with it", "GET", "/metrics", "Bearer " + token, token, 200},
		{"anonymous", "GET", "/metrics", "", token, 401},
		{"another", "GET", "/metrics", "Bearer " + token[1:] + "x", token, 401},
		{"its beginning", "GET", "/metrics", "Bearer " + token[:31], token, 401},
		{"an empty one", "GET", "/metrics", "Bearer ", token, 401},
		{"as a password", "GET", "/metrics", "Basic " + token, token, 401},
		{"in the address", "GET", "/metrics?token=" + token + "&access_token=" + token, "", token, 401},
		{"POST", "POST", "/metrics", "Bearer " + token, token, 405},
		{"the profiler", "GET", "/debug/pprof/", "Bearer " + token, token, 404},
		{"the profiler, on the loopback", "GET", "/debug/pprof/heap", "", "", 404},
	} {
		req := httptest.NewRequest(c.method, c.path, nil)
		if c.auth != "" {
			req.Header.Set("Authorization", c.auth)
		}
		rec := httptest.NewRecorder()
		m.Handler(secret.FromString(c.token)).ServeHTTP(rec, req)
		if rec.Code != c.want || strings.Contains(rec.Body.String(), "go_goroutines") != (c.want == 200) {
			t.Errorf("%s: got %d %s", c.name, rec.Code, rec.Body)
		}
	}
}

func TestReadToken(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		ok   bool
	}{
		"good": {"0123456789abcdef0123456789abcdef\n", 0o600, true}, "open": {"0123456789abcdef0123456789abcdef", 0o640, false}, "short": {"secret", 0o600, false},
		"two words": {"0123456789abcdef 0123456789abcdef", 0o600, false}, "long": {strings.Repeat("x", maxTokenBytes+1), 0o600, false}, "empty": {"", 0o600, false},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		got, err := ReadToken(path)
		if (err == nil) != c.ok || err != nil && (!fault.Is(err, fault.Invalid) || c.text != "" && strings.Contains(err.Error(), c.text)) || c.ok && got.RevealString() != strings.TrimSpace(c.text) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := ReadToken(filepath.Join(dir, "none")); !fault.Is(err, fault.Invalid) {
		t.Errorf("no file: got %v", err)
	}
}

func TestLoopback(t *testing.T) {
	for addr, ok := range map[string]bool{"127.0.0.1:9240": true, "[::1]:9240": true, "127.9.9.9:1": true, "0.0.0.0:9240": false, ":9240": false, "[::]:9240": false, "10.0.0.1:9240": false,
		"localhost:9240": false, "127.0.0.1": false, "[::ffff:127.0.0.1]:1": true, "[::ffff:10.0.0.1]:1": false, "": false} {
		if err := Loopback(addr); (err == nil) != ok {
			t.Errorf("%q: got %v, want allowed %v", addr, err, ok)
		}
	}
}

// TestProfiler finds profiles on a socket that nobody else may open, over what an earlier run left.
func TestProfiler(t *testing.T) {
	dir, err := os.MkdirTemp("", "mwp") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "profile.sock")
	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = old.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Profiler(ctx, path, slog.New(slog.DiscardHandler)) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	var body []byte
	for range 1200 {
		resp, err := client.Get("http://profile/debug/pprof/goroutine?debug=1")
		if err == nil {
			body, _ = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !strings.Contains(string(body), "goroutine profile:") {
		t.Errorf("got %.80q", body)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v, want 0600", info.Mode(), err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Profiler(t.Context(), file, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it took the place of a file")
	}
}

// TestHealth asks no more often than it says, and keeps its order.
func TestHealth(t *testing.T) {
	now := time.Unix(1000, 0)
	h := NewHealth(func() time.Time { return now })
	asked := 0
	h.Add("database", func(context.Context) (State, string) { asked++; return Bad, "It does not answer." })
	h.Add("certificates", func(context.Context) (State, string) { return Warning, "One ends soon." })
	for range 10 {
		h.Checks(t.Context())
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	now = now.Add(healthAge + 1)
	list := h.Checks(gone)
	if asked != 2 || len(list) != 2 || list[0].Name != "database" || Worst(list) != Bad || Worst(list[1:]) != Warning || Worst(nil) != Good {
		t.Errorf("asked %d times, got %+v", asked, list)
	}
	if c, ok := h.Check(t.Context(), "certificates"); !ok || c.State != Warning {
		t.Errorf("got %+v", c)
	}
	if _, ok := h.Check(t.Context(), "vault"); ok {
		t.Error("found a check that was not added")
	}
	var m Metrics
	h.Gauge(&m)
	var text strings.Builder
	_ = m.Write(t.Context(), &text)
	if !strings.Contains(text.String(), `metalward_health{check="database"} 2`) {
		t.Errorf("got %s", text.String())
	}
}

// TestHealthSlow: who waited while an answer took long has that one, and does not ask for another. Else those who ask a database that
// hangs would wait one after the other, and more and more of them.
func TestHealthSlow(t *testing.T) {
	now, asked := time.Unix(1000, 0), 0
	h := NewHealth(func() time.Time { return now })
	h.Add("database", func(context.Context) (State, string) {
		asked++
		now = now.Add(healthTime)
		return Bad, "It does not answer."
	})
	for range 20 {
		h.Check(t.Context(), "database")
	}
	if asked != 1 {
		t.Errorf("asked %d times, want once", asked)
	}
}
