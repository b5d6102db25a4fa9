package watch

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/logs"
)

const (
	// maxOfSender is how many alerts of one sender are told: a machine that invents attacks hides no other's.
	maxOfSender = 100
	crowd       = detect.MaxAlerts / 2
)

// HearOptions are how what machines send by syslog is looked at.
type HearOptions struct {
	Units  []detect.Unit
	Tuning *detect.Tuning // other thresholds, which may change; nil for none
	State  string         // a file for what is counted, over restarts
	Save   func(path string, data []byte) error
	Now    func() time.Time
	Log    *slog.Logger
}

// hearsay is the state that is kept on disk.
type hearsay struct {
	Format int
	Engine *detect.Snapshot
}

// Hear looks at lines that machines sent by syslog until the channel is closed or the context ends, and tells what it finds. The engine is another than that of the host's own logs, counts for
// each sender apart, and takes no sender's word for a proof.
func Hear(ctx context.Context, o HearOptions, lines <-chan logs.Sent, tell func(detect.HostReport)) {
	l := listener{o: o, tell: tell, parser: logs.NewParser(time.UTC, o.Now().Year())}
	if err := l.begin(); err == nil {
		if err := l.load(); err != nil {
			o.Log.WarnContext(ctx, "what was counted of syslog before is lost; it begins anew", "error", err)
			if err := l.begin(); err != nil {
				o.Log.ErrorContext(ctx, "syslog is not looked at", "error", err)
				return
			}
		}
	} else {
		o.Log.ErrorContext(ctx, "syslog is not looked at", "error", err)
		return
	}
	defer l.save(ctx)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	l.saved, l.forgot = o.Now(), o.Now()
	for {
		select {
		case <-ctx.Done():
			l.found(true)
			return
		case s, ok := <-lines:
			if !ok {
				l.found(true)
				return
			}
			l.take(s)
		case <-tick.C:
			l.found(false)
			l.due(ctx)
		}
	}
}

type listener struct {
	o      HearOptions
	tell   func(detect.HostReport)
	engine *detect.Engine
	parser *logs.Parser
	tuned  []detect.Threshold // by which is counted
	changes
	read, dirty   bool // something was counted since it was told; since it was saved
	saved, forgot time.Time
}

func (l *listener) begin() (err error) {
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return err
	}
	l.tuned = l.o.Tuning.Changes()
	l.engine, err = detect.New(detect.Tuned(l.o.Units, l.tuned), detect.Site{Hearsay: true}, nil, func(_ *detect.Alert, c detect.Change) { l.news = l.news || c != detect.Again })
	if err == nil {
		l.engine.Seed(binary.LittleEndian.Uint64(seed[:]))
		l.read = true // what was counted before is told again
	}
	return err
}

func (l *listener) take(s logs.Sent) {
	var r logs.Record
	l.parser.Sent = s
	l.parser.Parse(s.Text, &r)
	if own(&r) {
		return
	}
	l.read, l.dirty = true, true
	l.engine.Take(&r, detect.Line{From: "syslog " + s.From.String(), Text: s.Text})
}

// found tells alerts that changed.
func (l *listener) found(last bool) {
	if !l.read {
		return
	}
	changed, ok := l.of(l.engine.Alerts, l.o.Now(), last)
	l.read = !ok
	if len(changed) == 0 {
		return
	}
	of := map[string]int{}
	for i := range l.engine.Alerts {
		of[l.engine.Alerts[i].Host]++
	}
	var r detect.HostReport
	for _, a := range changed {
		sender, err := netip.ParseAddr(a.Host)
		if err != nil || of[a.Host] > maxOfSender && a.Severity < detect.High || of[a.Host] > 2*maxOfSender {
			continue
		}
		x := a.Report(guard.Show)
		x.Sender = sender
		r.Alerts = append(r.Alerts, x)
	}
	if len(r.Alerts) > 0 {
		l.tell(r)
	}
}

// due keeps the engine bounded, and what it knows on disk.
func (l *listener) due(ctx context.Context) {
	if to, moved := l.o.Tuning.Moved(l.tuned); moved {
		l.tuned = to
		if g, err := l.engine.Retune(detect.Tuned(l.o.Units, to), nil); err == nil {
			l.engine = g
		} else {
			l.o.Log.ErrorContext(ctx, "other thresholds cannot be used", "error", err)
		}
	}
	now := l.o.Now()
	if now.Sub(l.forgot) >= forgetEvery || len(l.engine.Alerts) > crowd {
		l.forgot = now
		for i, quiet := range []time.Duration{keepAlerts, 24 * time.Hour, time.Hour, time.Minute} {
			if i == 0 || len(l.engine.Alerts) > crowd {
				l.engine.Forget(now.Add(-quiet))
			}
		}
	}
	if now.Sub(l.saved) >= saveEvery {
		l.saved = now
		l.save(ctx)
	}
}

func (l *listener) load() error {
	f, err := os.Open(l.o.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var s hearsay
	if err := gob.NewDecoder(io.LimitReader(f, maxState)).Decode(&s); err != nil {
		return err
	}
	if s.Format != stateFormat || s.Engine == nil {
		return fmt.Errorf("format %d, this program writes %d", s.Format, stateFormat)
	}
	return l.engine.Load(s.Engine)
}

func (l *listener) save(ctx context.Context) {
	if !l.dirty {
		return
	}
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(hearsay{stateFormat, l.engine.Save()})
	if err == nil {
		err = l.o.Save(l.o.State, b.Bytes())
	}
	if err != nil {
		l.o.Log.ErrorContext(ctx, "cannot save what was counted of syslog", "error", err)
		return
	}
	l.dirty = false
}
