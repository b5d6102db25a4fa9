package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region"
	"github.com/metalward/metalward/internal/region/regiontest"
)

// BenchmarkRegionStart starts the program with a region alone: first on an empty folder, where it makes keys and
// database, then again. It reports the time from exec to the first HTTPS answer, and what it then holds of memory.
func BenchmarkRegionStart(b *testing.B) {
	program := filepath.Join(b.TempDir(), "metalward")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", program, "github.com/metalward/metalward/cmd/metalward")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, Timeout: 5 * time.Second} //nolint:gosec // only timed
	var first, again, rss, hwm []float64
	b.ResetTimer()
	for range b.N {
		dir := b.TempDir()
		for _, into := range []*[]float64{&first, &again} {
			addr := freePort(b)
			cmd := exec.Command(program, "up", "--no-rack", "--state-dir", dir, "--listen-https", addr, "--listen-plain", "off", "--listen-rpc", freePort(b))
			var log bytes.Buffer
			cmd.Stdout, cmd.Stderr = &log, &log
			start := time.Now()
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			for {
				resp, err := client.Get("https://" + addr + "/MAAS/api/2.0/version/")
				if err == nil {
					_ = resp.Body.Close()
					break
				}
				if time.Since(start) > time.Minute {
					_ = cmd.Process.Kill()
					b.Fatalf("the region does not answer: %v: %s", err, &log)
				}
				time.Sleep(2 * time.Millisecond)
			}
			*into = append(*into, ms(time.Since(start)))
			time.Sleep(500 * time.Millisecond) // idle
			rss = append(rss, float64(procKiB(cmd.Process.Pid, "VmRSS"))/1024)
			hwm = append(hwm, float64(procKiB(cmd.Process.Pid, "VmHWM"))/1024)
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait() // how it ends is not measured
		}
	}
	b.StopTimer()
	b.ReportMetric(median(first), "ms/first_start")
	b.ReportMetric(median(again), "ms/start")
	b.ReportMetric(median(rss), "MiB_idle")
	b.ReportMetric(median(hwm), "MiB_peak")
	reportLoad(b)
}

func freePort(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// BenchmarkTLS compares the API over TLS with a bare Go server that answers with as many bytes: kept-alive
// connections of 8 clients in this process, which cost both the same. The version is what anybody may read; a
// machine is read with authentication and authorization.
func BenchmarkTLS(b *testing.B) {
	s := newSite(b, 10)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.r.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}()
	var body atomic.Pointer[[]byte]
	var headers atomic.Pointer[http.Header] // of our answer
	bare := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/dressed" {
			maps.Copy(w.Header(), *headers.Load())
		}
		_, _ = w.Write(*body.Load())
	}))
	// A key of the kind that the region has: a signature by an RSA key would cost it several times as much.
	ca, err := pki.NewRoot("bench", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	key, err := pki.NewKey()
	if err != nil {
		b.Fatal(err)
	}
	issuer, err := ca.Below("bench issuer", pki.IssuerLife, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	chain, err := issuer.Server(&key.PublicKey, "bench", []string{"localhost"}, nil, pki.ServerLife, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	certs, err := pki.ParseCerts(chain)
	if err != nil {
		b.Fatal(err)
	}
	pair := tls.Certificate{PrivateKey: key, Leaf: certs[0]}
	for _, c := range certs {
		pair.Certificate = append(pair.Certificate, c.Raw)
	}
	bare.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}
	bare.StartTLS()
	defer bare.Close()
	shake := func(u string) {
		to, err := url.Parse(u)
		if err != nil {
			panic(err)
		}
		conn, err := tls.Dial("tcp", to.Host, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) //nolint:gosec // only timed
		if err != nil {
			panic(err)
		}
		_ = conn.Close()
	}
	b.Run("handshakes", func(b *testing.B) {
		var ours, floor, ratios []float64
		for round := range b.N {
			api := func() { ours = append(ours, perSecond(8, func(int) { shake(s.r.BaseURL) })) }
			plain := func() { floor = append(floor, perSecond(8, func(int) { shake(bare.URL) })) }
			if round%2 == 0 {
				api()
				plain()
			} else {
				plain()
				api()
			}
			ratios = append(ratios, ours[round]/floor[round])
		}
		b.ReportMetric(median(ratios), "x_bare")
		b.ReportMetric(median(ours), "handshakes/s")
		b.ReportMetric(median(floor), "bare_handshakes/s")
		reportLoad(b)
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}, MaxIdleConnsPerHost: 8}, Timeout: time.Minute} //nolint:gosec // only timed
	get := func(u, auth string) (int, http.Header) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
		if err != nil {
			panic(err)
		}
		if auth != "" {
			req.Header.Set("Authorization", auth)
		}
		resp, err := client.Do(req)
		if err != nil {
			panic(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			panic(fmt.Sprintf("got %d for %s: %v", resp.StatusCode, u, err))
		}
		return int(n), resp.Header
	}
	fetch := func(u, auth string) int { n, _ := get(u, auth); return n }
	base := s.r.BaseURL + "/MAAS/api/2.0"
	m := systemID.FindSubmatch(s.get(b, "/machines/?hostname=node00005").head)
	if m == nil {
		b.Fatal("no machine node00005")
	}
	for _, c := range []struct {
		name, url string
		auth      func() string
	}{
		{"version", base + "/version/", func() string { return "" }},
		{"machine", base + "/machines/" + string(m[1]) + "/", s.oauth},
	} {
		b.Run(c.name, func(b *testing.B) {
			size, sent := get(c.url, c.auth())
			answer := make([]byte, size)
			body.Store(&answer)
			headers.Store(&sent)
			var ours, floor, ratios, dressed []float64
			b.ResetTimer()
			for round := range b.N {
				api := func() { ours = append(ours, perSecond(8, func(int) { fetch(c.url, c.auth()) })) }
				plain := func() { floor = append(floor, perSecond(8, func(int) { fetch(bare.URL, "") })) }
				if round%2 == 0 {
					api()
					plain()
				} else {
					plain()
					api()
				}
				ratios = append(ratios, ours[round]/floor[round])
				dressed = append(dressed, ours[round]/perSecond(8, func(int) { fetch(bare.URL+"/dressed", "") }))
			}
			b.StopTimer()
			b.ReportMetric(median(ratios), "x_bare")
			b.ReportMetric(median(dressed), "x_bare_same_headers")
			b.ReportMetric(median(ours), "req/s")
			b.ReportMetric(median(floor), "bare_req/s")
			b.ReportMetric(float64(len(answer)), "bytes")
			reportLoad(b)
		})
	}
}

// TestQueriesOfAList counts the statements that reach PostgreSQL for a list of machines: the number must not depend
// on how many machines there are. The region talks to the server through a socket of ours.
func TestQueriesOfAList(t *testing.T) {
	u, err := url.Parse(regiontest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "mwq") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	const socket = ".s.PGSQL.5432"
	q := u.Query()
	server := filepath.Join(q.Get("host"), socket)
	if q.Get("host") == "" {
		t.Skip("the server is not reached by a socket")
	}
	q.Set("host", dir)
	u.RawQuery = q.Encode()
	l, err := net.Listen("unix", filepath.Join(dir, socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var executed atomic.Int64
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go countStatements(c, server, &executed)
		}
	}()

	ctx := t.Context()
	s := &site{dir: t.TempDir()}
	if s.r, err = region.New(ctx, region.Options{Config: config.Region{StateDir: s.dir, Database: u.String(), HTTPS: "127.0.0.1:0", Plain: "off", RPC: "127.0.0.1:0", PublicHost: "localhost"},
		Version: "bench", Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.r.Close)
	s.admin(t)
	var counts []int64
	for _, n := range []int{10, 400} {
		s.fill(t, n)
		stop := s.work(t, s.r.API.Run)
		s.settle(t)
		stop()                 // its statements are not the list's
		s.get(t, "/machines/") // prepares what is prepared
		before := executed.Load()
		s.get(t, "/machines/")
		counts = append(counts, executed.Load()-before)
	}
	t.Logf("statements for a list of 10 and of 410 machines, transactions included: %d", counts)
	if counts[0] != counts[1] || counts[0] == 0 || counts[0] > 20 {
		t.Errorf("got %d statements for 10 and 410 machines, want the same few", counts)
	}
}

// countStatements passes a connection on to the server and counts simple queries and executions of prepared ones.
// Source: PostgreSQL's documentation, "Message Formats": a message is a letter and a length that counts itself; the
// first of a connection has no letter.
func countStatements(c net.Conn, server string, executed *atomic.Int64) {
	defer c.Close()
	s, err := net.Dial("unix", server)
	if err != nil {
		return
	}
	defer s.Close()
	go func() { // ends with either connection
		_, _ = io.Copy(c, s)
		_ = c.Close()
	}()
	in, head := bufio.NewReader(c), 0
	for ; ; head = 1 {
		h := make([]byte, head+4)
		if _, err := io.ReadFull(in, h); err != nil {
			return
		}
		if head == 1 && (h[0] == 'Q' || h[0] == 'E') {
			executed.Add(1)
		}
		if _, err := s.Write(h); err != nil {
			return
		}
		if _, err := io.CopyN(s, in, int64(binary.BigEndian.Uint32(h[head:]))-4); err != nil {
			return
		}
	}
}
