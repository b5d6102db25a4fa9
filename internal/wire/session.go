package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/yamux"

	"github.com/metalward/metalward/internal/fault"
)

// ALPN protocols on the RPC port: the session, and plain HTTP for the bytes of images, which need no session.
const (
	ALPN      = "metalward/1"
	ALPNImage = "http/1.1"
)

// Limits of a session.
const (
	keepAlive     = 10 * time.Second
	writeTimeout  = 20 * time.Second
	maxStreams    = 256
	streamWindow  = 1 << 20
	DefaultCall   = 30 * time.Second // deadline of a call whose context has none
	maxReplyBytes = 16 * mib
)

// Handler answers one message. body is at most the message's limit; what it returns is sent as JSON.
type Handler func(ctx context.Context, body []byte) (any, error)

// Handlers are the messages that one side of a session answers.
type Handlers map[string]Handler

// Check holds handlers against the table: each must be a row of one of the classes, and each such row must
// have a handler. It is called before a side starts to serve.
func (h Handlers) Check(classes ...Class) error {
	seen := 0
	for _, m := range Messages {
		if !slices.Contains(classes, m.From) || m.Name == Image.Name {
			continue
		}
		if h[m.Name] == nil {
			return fmt.Errorf("cannot serve: message %q has no handler", m.Name)
		}
		seen++
	}
	if seen != len(h) {
		return errors.New("cannot serve: a handler is not in the table of messages, or not of this side")
	}
	return nil
}

// Allow decides whether a message may be answered on this session.
type Allow func(m Message) error

// Session is one side of a connection between region and rack. Both sides call and both answer.
// Safe for concurrent use.
type Session struct {
	mux    *yamux.Session
	client *http.Client
	done   chan struct{}
}

// NewSession starts a session over an authenticated connection. dialled is true on the side that dialled.
// It ends when the connection ends or Close is called.
func NewSession(conn net.Conn, dialled bool, h Handlers, allow Allow, log *slog.Logger) (*Session, error) {
	cfg := yamux.DefaultConfig()
	cfg.KeepAliveInterval, cfg.ConnectionWriteTimeout, cfg.MaxStreamWindowSize = keepAlive, writeTimeout, streamWindow
	cfg.AcceptBacklog = maxStreams
	cfg.StreamOpenTimeout, cfg.StreamCloseTimeout = DefaultCall, time.Minute
	cfg.LogOutput = io.Discard // what matters comes back as errors of calls
	var mux *yamux.Session
	var err error
	if dialled {
		mux, err = yamux.Client(conn, cfg)
	} else {
		mux, err = yamux.Server(conn, cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot start session: %w", err)
	}
	s := &Session{mux: mux, done: make(chan struct{})}
	s.client = &http.Client{Transport: &http.Transport{
		DialContext:         func(context.Context, string, string) (net.Conn, error) { return mux.Open() },
		MaxIdleConnsPerHost: 16, MaxConnsPerHost: maxStreams, IdleConnTimeout: time.Minute, DisableCompression: true,
	}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	srv := &http.Server{Handler: serve(h, allow, log), ReadHeaderTimeout: DefaultCall, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 8 * kib,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	go func() { // ends with the connection
		_ = srv.Serve(mux)
		_ = srv.Close()
		_ = mux.Close()
		close(s.done)
	}()
	return s, nil
}

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Close ends the session.
func (s *Session) Close() error { return s.mux.Close() }

// Call sends a message and waits for the answer. resp may be nil. The other side's fault comes back with its
// kind; a broken connection is Unavailable.
func (s *Session) Call(ctx context.Context, m Message, req, resp any) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DefaultCall)
		defer cancel()
	}
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", m.Name, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://peer/v1/"+m.Name, bytes.NewReader(body))
	if err != nil {
		return err
	}
	res, err := s.client.Do(r)
	if err != nil {
		switch ctx.Err() {
		case nil:
		case context.DeadlineExceeded:
			return fmt.Errorf("cannot call %s: %w: %w", m.Name, fault.New(fault.Unavailable, "The other controller did not answer in time."), ctx.Err())
		default:
			return fmt.Errorf("cannot call %s: %w", m.Name, ctx.Err())
		}
		return fmt.Errorf("cannot call %s: %w: %v", m.Name, fault.New(fault.Unavailable, "The other controller does not answer."), err)
	}
	defer func() { _ = res.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxReplyBytes))
	if err != nil {
		return fmt.Errorf("cannot read answer to %s: %w: %v", m.Name, fault.New(fault.Unavailable, "The other controller does not answer."), err)
	}
	if res.StatusCode != http.StatusOK {
		return DecodeFault(res.StatusCode, data)
	}
	if resp == nil {
		return nil
	}
	return Decode(data, resp)
}

// serve routes messages to handlers.
func serve(h Handlers, allow Allow, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	for _, m := range Messages {
		fn := h[m.Name]
		if fn == nil {
			continue
		}
		mux.HandleFunc("POST /v1/"+m.Name, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), 2*time.Minute)
			defer cancel()
			reply, err := answer(ctx, m, fn, allow, http.MaxBytesReader(w, r.Body, m.Limit))
			if err != nil {
				if fault.KindOf(err) == fault.Internal {
					log.ErrorContext(ctx, "cannot answer message", "message", m.Name, "error", err)
				}
				EncodeFault(w, err)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(reply)
		})
	}
	return mux
}

func answer(ctx context.Context, m Message, fn Handler, allow Allow, body io.Reader) ([]byte, error) {
	if err := allow(m); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, fault.New(fault.TooLarge, "The message %s is larger than %d bytes.", m.Name, m.Limit)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "The message %s broke off.", m.Name)
	}
	v, err := fn(ctx, data)
	if err != nil {
		return nil, err
	}
	if v == nil {
		v = struct{}{}
	}
	return json.Marshal(v)
}
