package watch

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/logs"
	"github.com/metalward/metalward/internal/logs/source"
)

// Times of a controller's watch.
const (
	reportEvery = 5 * time.Second // how often it is told that alerts go on; new ones, and those that got worse, are at once
	lookEvery   = time.Minute     // how often it is looked which logs can be read
	tellLogs    = time.Hour       // how often that is told without a change, so that what the region shows is of today
)

// HostOptions are how a controller watches its own host.
type HostOptions struct {
	Units    []detect.Unit
	Tuning   *detect.Tuning // other thresholds, which may change; nil for none
	Site     detect.Site
	Patterns []string
	Journal  *source.Journal
	State    string // a file for what is remembered over restarts
	Save     func(path string, data []byte) error
	Now      func() time.Time
	Log      *slog.Logger
}

// HostUnits are the detections that a controller runs on its host's logs: all but those of Metalward's security events, which the region counts itself.
func HostUnits(all []detect.Unit) (list []detect.Unit) {
	for _, u := range all {
		if !strings.HasPrefix(u.ID, "mw_") {
			list = append(list, u)
		}
	}
	return list
}

// own tells the security events of a Metalward on the host: its region counts them when they happen.
func own(r *logs.Record) bool { return r.Kind == logs.MAAS && r.Program == "metalward" }

// Host follows the logs of a controller's own host until the context ends, and tells what it can read of them and what it finds: an alert again whenever
// it changed, and all after a start. What goes wrong is logged once. Saved state that cannot be used is moved aside.
func Host(ctx context.Context, o HostOptions, tell func(detect.HostReport)) {
	h := host{o: o, tell: tell, said: map[string]bool{}}
	h.look(ctx)
	ready, looking := make(chan struct{}), make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	go func() { defer close(looking); h.lookOn(ctx, ready) }()
	defer func() { stop(); <-looking }()
	live := LiveOptions{Options: Options{Units: o.Units, Site: o.Site, Zone: time.Local, Least: detect.Info, Journal: o.Journal, Now: o.Now}, Patterns: o.Patterns, FollowJournal: h.journal, Tuning: o.Tuning,
		State: o.State, Save: o.Save, Tell: func(Alert, detect.Change) { h.news = true }, Ready: sync.OnceFunc(func() { close(ready) }), Found: func(list []detect.Alert) bool { return h.found(list, ctx.Err() != nil) }, Skip: own, Trouble: h.trouble}
	err := Live(ctx, live)
	if fault.Is(err, fault.Invalid) && ctx.Err() == nil {
		o.Log.WarnContext(ctx, "what the watch of this host's logs counted before is lost; it begins anew", "error", err)
		if err = os.Rename(o.State, o.State+".bad"); err == nil {
			err = Live(ctx, live)
		}
	}
	if err != nil {
		o.Log.ErrorContext(ctx, "this host's logs are not watched", "error", err)
	}
}

// host is a running watch of a host.
type host struct {
	o       HostOptions
	tell    func(detect.HostReport)
	journal bool

	// These are the goroutine's that looks for logs, once the watch runs.
	states   []detect.LogState
	changed  bool // states are not as they were told
	toldLogs time.Time

	// These are the watch's.
	changes
	said map[string]bool // troubles that were logged
}

// mark is how an alert was when it was told.
type mark struct {
	count    int64
	severity detect.Severity
}

// lookOn tells what can be read once it is, and looks again until the context ends.
func (h *host) lookOn(ctx context.Context, ready <-chan struct{}) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ready:
			ready = nil
			h.tellLogs()
		case <-tick.C:
			if h.look(ctx); ready == nil && (h.changed || h.o.Now().Sub(h.toldLogs) >= tellLogs) {
				h.tellLogs()
			}
		}
	}
}

func (h *host) tellLogs() {
	h.changed, h.toldLogs = false, h.o.Now()
	h.tell(detect.HostReport{Logs: h.states[:min(len(h.states), detect.MaxLogStates)]})
}

// look finds out which logs can be read, and decides at first whether the journal is followed: where syslog's files can be
// read they have the same, and nothing is to count twice.
func (h *host) look(ctx context.Context) {
	var states []detect.LogState
	files := false
	for _, s := range source.Look(h.o.Patterns) {
		l := detect.LogState{Name: guard.Show(s.Pattern), State: detect.LogAbsent}
		switch {
		case s.Read > 0:
			l.State = detect.LogRead
			if s.Denied > 0 {
				l.Note = "some files may not be read"
			}
			files = files || source.OfSystem(s.Pattern)
		case s.Denied > 0:
			l.State = detect.LogDenied
		}
		states = append(states, l)
	}
	j := detect.LogState{Name: source.JournalName, State: detect.LogAbsent}
	if h.o.Journal != nil && h.o.Journal.Here() {
		there, readable := h.o.Journal.Readable()
		if h.states == nil {
			h.journal = readable && !files
		}
		switch {
		case !there:
		case h.journal:
			j.State = detect.LogRead
		case files:
			j.State, j.Note = detect.LogLeft, "syslog's files have the same"
		case readable: // it came later
			j.State, j.Note = detect.LogLeft, "read from the next start on"
		default:
			j.State = detect.LogDenied
		}
	}
	states = append(states, j)
	h.changed = h.changed || !slices.Equal(states, h.states)
	for i := range states {
		if states[i].State == detect.LogDenied && (len(h.states) <= i || h.states[i] != states[i]) {
			h.o.Log.InfoContext(ctx, "a log of this host may not be read, and attacks that it shows are not seen", "log", states[i].Name)
		}
	}
	h.states = states
}

// changes tells which of an engine's alerts changed since they were told.
type changes struct {
	marks map[string]mark // by alert, what of it was told
	told  time.Time
	news  bool // an alert is new or worse
}

// of are the alerts that changed; false when it is too early to tell.
func (c *changes) of(list []detect.Alert, now time.Time, last bool) (changed []*detect.Alert, ok bool) {
	if !c.news && !last && now.Sub(c.told) < reportEvery {
		return nil, false
	}
	c.news, c.told = false, now
	if c.marks == nil || len(c.marks) > 2*len(list)+100 { // of alerts that were forgotten
		c.marks = map[string]mark{}
	}
	for i := range list {
		a := &list[i]
		if id, m := a.Ident(), (mark{a.Count, a.Severity}); c.marks[id] != m {
			c.marks[id] = m
			changed = append(changed, a)
		}
	}
	return changed, true
}

// found tells alerts that changed; false when it is too early for that.
func (h *host) found(list []detect.Alert, last bool) bool {
	changed, ok := h.of(list, h.o.Now(), last)
	if len(changed) > 0 {
		var r detect.HostReport
		for _, a := range changed {
			r.Alerts = append(r.Alerts, a.Report(guard.Show))
		}
		h.tell(r)
	}
	return ok
}

// trouble logs what goes wrong, once; that a file may not be read is told as the state of a log.
func (h *host) trouble(err error) {
	if text := err.Error(); !h.said[text] && len(h.said) < 1000 && !strings.Contains(text, "permission denied") {
		h.said[text] = true
		h.o.Log.Warn("this host's logs: something goes wrong and is tried again", "error", text)
	}
}
