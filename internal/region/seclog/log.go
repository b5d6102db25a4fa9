package seclog

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

// Limits of the log.
const (
	maxQueue     = 8192             // events that wait for one slow destination; more are counted and left out
	dialTimeout  = 10 * time.Second // to a syslog server
	writeTimeout = 10 * time.Second
	firstRetry   = time.Second
	lastRetry    = time.Minute
)

// Config names the destinations. Empty ones are off.
type Config struct {
	File    string // path; made with mode 0600, appended to, opened anew when it was moved away
	Journal bool   // the systemd journal of this host
	Syslog  string // host:port of a server that speaks RFC 5425
	// TLS is for the syslog server; nil trusts the host's authorities. Its server name is Syslog's host.
	TLS  *tls.Config
	Log  *slog.Logger
	Host string // of this controller
}

// Log sends events. Safe for concurrent use.
type Log struct {
	host  string
	log   *slog.Logger
	sinks []*sink
}

// sink is one destination with its queue.
type sink struct {
	name    string
	write   func(context.Context, Event, []byte) error
	close   func()
	queue   chan queued
	dropped atomic.Int64
}

type queued struct {
	event Event
	text  []byte
}

// New makes the log. A file that cannot be opened is an error; a syslog server may come later.
func New(c Config) (*Log, error) {
	l := &Log{host: c.Host, log: c.Log}
	if c.File != "" {
		f := &file{path: c.File}
		if err := f.open(); err != nil {
			return nil, fmt.Errorf("cannot open the security log: %w", err)
		}
		l.add("file", f.write, f.close)
	}
	if c.Journal {
		j := &journal{}
		if err := j.open(); err != nil {
			return nil, fmt.Errorf("cannot open the journal: %w", err)
		}
		l.add("journal", j.write, j.close)
	}
	if c.Syslog != "" {
		host, _, err := net.SplitHostPort(c.Syslog)
		if err != nil {
			return nil, fmt.Errorf("cannot use %q as a syslog server: %w", c.Syslog, err)
		}
		conf := &tls.Config{MinVersion: tls.VersionTLS12}
		if c.TLS != nil {
			conf = c.TLS.Clone()
		}
		if conf.ServerName == "" {
			conf.ServerName = host
		}
		s := &syslog{address: c.Syslog, tls: conf, host: c.Host}
		l.add("syslog", s.write, s.close)
	}
	return l, nil
}

func (l *Log) add(name string, write func(context.Context, Event, []byte) error, closing func()) {
	l.sinks = append(l.sinks, &sink{name: name, write: write, close: closing, queue: make(chan queued, maxQueue)})
}

// Record takes an audited call and sends it if it is a security event. It never blocks: a destination that is too
// slow loses events, which are counted and reported to it.
func (l *Log) Record(p authz.Principal, o authz.Origin, e metal.AuditEvent) {
	if len(l.sinks) == 0 {
		return
	}
	ev, ok := Make(p, o, e, l.host)
	if !ok {
		return
	}
	text, err := json.Marshal(ev)
	if err != nil {
		panic("cannot encode a security event: " + err.Error()) // texts and a map of texts
	}
	for _, s := range l.sinks {
		select {
		case s.queue <- queued{ev, text}:
		default:
			s.dropped.Add(1)
		}
	}
}

// Run writes what is recorded until the context ends, and then what is left.
func (l *Log) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range l.sinks {
		wg.Go(func() { l.drain(ctx, s) })
	}
	wg.Wait()
}

// drain writes a sink's queue, trying again what cannot be written.
func (l *Log) drain(ctx context.Context, s *sink) {
	defer s.close()
	retry := firstRetry
	for {
		var q queued
		select {
		case q = <-s.queue:
		case <-ctx.Done():
			select {
			case q = <-s.queue:
			default:
				return
			}
		}
		for {
			err := s.write(ctx, q.event, q.text)
			if err == nil {
				retry = firstRetry
				l.report(ctx, s)
				break
			}
			l.log.ErrorContext(ctx, "cannot write security events", "to", s.name, "error", err, "waiting", len(s.queue), "retry_in", retry)
			select {
			case <-time.After(retry):
			case <-ctx.Done():
				return // what is left is in the trail
			}
			retry = min(2*retry, lastRetry)
		}
	}
}

// report tells a destination that has recovered what it missed.
func (l *Log) report(ctx context.Context, s *sink) {
	n := s.dropped.Swap(0)
	if n == 0 {
		return
	}
	now := time.Now().UTC()
	e := metal.AuditEvent{Time: now, Principal: "system:seclog", Action: string(authz.SecurityEvent), Outcome: metal.OutcomeFailed,
		Detail: map[string]string{"event": "sys_monitor_disabled", "count": strconv.FormatInt(n, 10), "reason": "the destination was too slow; the trail has these events"}}
	ev, _ := Make(authz.Principal{Kind: authz.System, Name: "seclog"}, authz.Origin{}, e, l.host)
	text, _ := json.Marshal(ev) // as in Record
	if err := s.write(ctx, ev, text); err != nil {
		s.dropped.Add(n)
	}
}

// file appends lines.
type file struct {
	path string
	f    *os.File
}

func (d *file) open() (err error) {
	d.close()
	d.f, err = os.OpenFile(d.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	return err
}

// write looks whether the file is still there under its name: rotation moves it away.
func (d *file) write(_ context.Context, _ Event, text []byte) error {
	there, err := os.Stat(d.path)
	if d.f != nil && err == nil {
		if here, err := d.f.Stat(); err == nil && os.SameFile(here, there) {
			return d.line(text)
		}
	}
	if err := d.open(); err != nil {
		return err
	}
	return d.line(text)
}

func (d *file) line(text []byte) error {
	_, err := d.f.Write(append(bytes.Clone(text), '\n'))
	return err
}

func (d *file) close() {
	if d.f != nil {
		_ = d.f.Close() // each line was written as it came
		d.f = nil
	}
}
