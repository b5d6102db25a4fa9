package telemetry

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// Path is where metrics are.
const Path = "/metrics"

// Limits.
const (
	readTime      = 10 * time.Second
	writeTime     = 2 * time.Minute // a profile takes half of one
	maxHeader     = 16 << 10
	minTokenBytes = 32
	maxTokenBytes = 4 << 10
)

// ReadToken reads the token that whoever asks for metrics must have, from a file of mode 0600. Kinds: Invalid on "metrics-token-file".
func ReadToken(path string) (secret.Value, error) {
	const field = "metrics-token-file"
	info, err := os.Stat(path)
	if err != nil {
		return secret.Value{}, fault.Field(field, "The file cannot be read: %v.", err)
	}
	if mode := info.Mode(); !mode.IsRegular() || mode.Perm()&0o077 != 0 || info.Size() > maxTokenBytes {
		return secret.Value{}, fault.Field(field, "%s must be a file of at most %d bytes that nobody else may read; run: chmod 600 %s", path, maxTokenBytes, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return secret.Value{}, fault.Field(field, "The file cannot be read: %v.", err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < minTokenBytes || strings.ContainsAny(token, " \t\r\n\x00") {
		return secret.Value{}, fault.Field(field, "The token must be one word of at least %d characters; make one with: openssl rand -hex 32", minTokenBytes)
	}
	return secret.FromString(token), nil
}

// Loopback says whether an address to listen at is this host's loopback, by number: a name may come to mean something else.
// Kinds: Invalid on "listen-metrics".
func Loopback(addr string) error {
	a, err := netip.ParseAddrPort(addr)
	if err != nil || !a.Addr().Unmap().IsLoopback() {
		return fault.Field("listen-metrics", "%q is not on this host's loopback, such as 127.0.0.1:9240: for others there is %s on HTTPS with a token.", addr, Path)
	}
	return nil
}

// Handler serves metrics by GET, and nothing else. With a token, who does not have it gets 401: it comes in the header Authorization
// and nowhere else.
func (m *Metrics) Handler(token secret.Value) http.Handler {
	want := sha256.Sum256(token.Reveal())
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, r *http.Request) {
		scheme, said, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(said)) // of one length, whatever was said
		if !token.Empty() && (!strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], want[:]) != 1) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="metrics"`)
			http.Error(w, "Metrics need the token, as Authorization: Bearer.", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		_ = m.Write(r.Context(), w) // a client that left
	})
	return mux
}

// Serve serves metrics on the loopback until the context ends.
func (m *Metrics) Serve(ctx context.Context, l net.Listener, token secret.Value, log *slog.Logger) error {
	return serve(ctx, l, m.Handler(token), log)
}

// Profiler serves the runtime's profiles on a socket that its owner and root alone may use, until the context ends. Look with
// curl --unix-socket PATH http://profile/debug/pprof/heap.
func Profiler(ctx context.Context, path string, log *slog.Logger) error {
	// Of an earlier run: whoever calls this is alone in the folder.
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("cannot listen for profiles: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // until here the folder, of mode 0700, keeps others away
		_ = l.Close()
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	return serve(ctx, l, mux, log)
}

func serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{Handler: h, ReadTimeout: readTime, WriteTimeout: writeTime, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); ctx.Err() == nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
