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
	"os"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/logs"
	"github.com/metalward/metalward/internal/logs/source"
)

// Times and limits of a live watch.
const (
	pollEvery   = 200 * time.Millisecond
	saveEvery   = time.Minute
	keepAlerts  = 7 * 24 * time.Hour // an alert that was quiet for longer is forgotten
	forgetEvery = time.Hour
	maxState    = 256 << 20 // bytes of a file of saved state
)

// LiveOptions are how logs are followed.
type LiveOptions struct {
	Options
	Patterns      []string // files, or patterns of files
	FollowJournal bool     // follow Journal too
	State         string   // a file for what is remembered over restarts; empty for nothing
	Save          func(path string, data []byte) error
	Tell          func(Alert, detect.Change)
	Found         func([]detect.Alert) bool // may be nil; called with the alerts there are after each pass that read anything, at the end, and until it says that it looked. Not to be kept
	Tuning        *detect.Tuning            // other thresholds, which may change; nil for none
	Skip          func(*logs.Record) bool   // may be nil: says what does not count
	Trouble       func(error)               // what goes wrong and is tried again
	Ready         func()                    // called once, when all that is written from then on will be read
}

// live is a running watch.
type live struct {
	o       LiveOptions
	engine  *detect.Engine
	follow  *source.Follower
	parsers map[string]*logs.Parser
	parsed  map[string]logs.Snapshot // of logs that had no line yet
	numbers map[string]int64
	recent  recent
	saved   time.Time
	forgot  time.Time
	told    map[string]string  // troubles that were told
	entries chan entry         // of the journal
	cursor  string             // of the journal's last entry that was counted
	changes []detect.Threshold // by which is counted
	read    bool               // something was counted since Found was called, or loaded
}

// entry is one entry of the journal.
type entry struct {
	cursor string
	record logs.Record
	line   string
	err    error
}

// state is what is kept on disk.
type state struct {
	Format    int
	Positions []source.Position
	Parsers   map[string]logs.Snapshot
	Engine    *detect.Snapshot
	Cursor    string // of the journal
}

const stateFormat = 1

// Live follows logs until the context ends, tells of alerts as they come, and goes on after a restart where it was: positions and counts are saved together,
// so that each line counts once. Kinds: Invalid for units that contradict each other or saved state that cannot be used, with what to do.
func Live(ctx context.Context, o LiveOptions) error {
	l, err := start(o)
	if err != nil {
		return err
	}
	defer l.follow.Close()
	l.follow.Poll(l.take)
	if o.Ready != nil {
		o.Ready()
	}
	if o.FollowJournal {
		reading := make(chan struct{})
		go func() { l.journal(ctx, l.cursor); close(reading) }()
		defer func() { <-reading }()
	}
	l.follow.Follow(ctx, pollEvery, l.take, l.due)
	l.found()
	return l.save()
}

func start(o LiveOptions) (*live, error) {
	l := &live{o: o, parsers: make(map[string]*logs.Parser), parsed: make(map[string]logs.Snapshot), numbers: make(map[string]int64), told: make(map[string]string),
		saved: o.Now(), forgot: o.Now(), entries: make(chan entry, 1000), read: true}
	l.changes = o.Tuning.Changes()
	var err error
	l.engine, err = detect.New(detect.Tuned(o.Units, l.changes), o.Site, o.On, func(a *detect.Alert, c detect.Change) {
		for _, v := range Alerts([]detect.Alert{*a}, o.Units, o.Least, o.Mask) {
			o.Tell(v, c)
		}
	})
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s", err)
	}
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, err
	}
	l.engine.Seed(binary.LittleEndian.Uint64(seed[:]))
	s, err := l.load()
	if err != nil {
		return nil, fault.New(fault.Invalid, "state: %s cannot be used (%s). Move it away to begin anew.", guard.Quote(o.State), guard.Show(err.Error()))
	}
	var positions []source.Position
	if s != nil {
		positions = s.Positions
		if positions == nil {
			positions = []source.Position{}
		}
		l.parsed, l.cursor = s.Parsers, s.Cursor
	}
	l.follow = source.NewFollower(o.Patterns, positions)
	return l, nil
}

// load reads the saved state; there may be none.
func (l *live) load() (*state, error) {
	if l.o.State == "" {
		return nil, nil
	}
	f, err := os.Open(l.o.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var s state
	if err := gob.NewDecoder(io.LimitReader(f, maxState)).Decode(&s); err != nil {
		return nil, err
	}
	if s.Format != stateFormat || s.Engine == nil {
		return nil, fmt.Errorf("format %d, this program writes %d", s.Format, stateFormat)
	}
	if s.Parsers == nil {
		s.Parsers = make(map[string]logs.Snapshot)
	}
	return &s, l.engine.Load(s.Engine)
}

// save writes what is remembered, all or nothing.
func (l *live) save() error {
	if l.o.State == "" {
		return nil
	}
	s := state{Format: stateFormat, Positions: l.follow.Positions(), Parsers: l.parsed, Engine: l.engine.Save(), Cursor: l.cursor}
	for path, p := range l.parsers {
		s.Parsers[path] = p.Save()
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(&s); err != nil {
		return err
	}
	if err := l.o.Save(l.o.State, b.Bytes()); err != nil {
		return fmt.Errorf("cannot save what was seen: %w", err)
	}
	return nil
}

// take reads one line of a log.
func (l *live) take(path, line string) {
	p := l.parsers[path]
	if p == nil {
		p = logs.NewParser(l.o.Zone, l.o.Now().In(l.o.Zone).Year())
		if s, ok := l.parsed[path]; ok {
			if err := p.Load(s); err != nil {
				l.o.Trouble(err)
			}
			delete(l.parsed, path)
		}
		l.parsers[path] = p
	}
	var r logs.Record
	p.Parse(line, &r)
	if r.Time == 0 { // the kernel's own stamps count from boot: the time of reading has to do
		r.Time = l.o.Now().UnixMicro()
	}
	if r.Kind == logs.Firewall && l.recent.elsewhere(path, &r) {
		return
	}
	l.numbers[path]++
	l.count(&r, detect.Line{From: path, Number: l.numbers[path], Text: line, User: r.User})
}

func (l *live) count(r *logs.Record, seen detect.Line) {
	if l.o.Skip == nil || !l.o.Skip(r) {
		l.read = true
		l.engine.Take(r, seen)
	}
}

// found shows the alerts.
func (l *live) found() {
	if l.o.Found != nil && l.read {
		l.read = !l.o.Found(l.engine.Alerts)
	}
}

// journalAgain is how long to wait until the journal is read again after that went wrong.
const journalAgain = 5 * time.Second

// journal reads the journal until the context ends. What sshd's lines share is not kept over a restart.
func (l *live) journal(ctx context.Context, cursor string) {
	p := logs.NewParser(l.o.Zone, l.o.Now().In(l.o.Zone).Year())
	for ctx.Err() == nil {
		err := l.o.Journal.Read(ctx, cursor, true, p, func(at string, r *logs.Record, line string) error {
			cursor = at
			select {
			case l.entries <- entry{at, *r, line, nil}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("journalctl ended")
		}
		select {
		case l.entries <- entry{err: err}:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(journalAgain):
		case <-ctx.Done():
		}
	}
}

// fromJournal counts what came from the journal.
func (l *live) fromJournal() {
	const most = 50_000
	for range most {
		select {
		case e := <-l.entries:
			switch {
			case e.err != nil:
				l.o.Trouble(fmt.Errorf("journal: %s", guard.Show(e.err.Error())))
			case e.record.Kind == logs.Firewall && l.recent.elsewhere(source.JournalName, &e.record):
				l.cursor = e.cursor
			default:
				l.cursor = e.cursor
				l.count(&e.record, detect.Line{From: source.JournalName, Text: e.line, User: e.record.User})
			}
		default:
			return
		}
	}
}

// retune counts by other thresholds, if there are.
func (l *live) retune() {
	changes, moved := l.o.Tuning.Moved(l.changes)
	if !moved {
		return
	}
	l.changes = changes
	g, err := l.engine.Retune(detect.Tuned(l.o.Units, changes), l.o.On)
	if err != nil {
		l.o.Trouble(fmt.Errorf("other thresholds cannot be used: %w", err))
		return
	}
	l.engine = g
}

// due does what is due by time, after each pass.
func (l *live) due() {
	l.retune()
	l.fromJournal()
	l.found()
	now := l.o.Now()
	for path, why := range l.follow.Errors {
		if l.told[path] != why {
			l.told[path] = why
			l.o.Trouble(fmt.Errorf("%s: %s", guard.Show(path), guard.Show(why)))
		}
	}
	if now.Sub(l.forgot) >= forgetEvery {
		l.forgot = now
		l.engine.Forget(now.Add(-keepAlerts))
	}
	if now.Sub(l.saved) >= saveEvery {
		l.saved = now
		if err := l.save(); err != nil {
			l.o.Trouble(err)
		}
	}
}

// recentPackets is how many packets are remembered to recognise them in another log.
const recentPackets = 8192

// recent recognises a packet that another log had a moment ago.
type recent struct {
	from map[packet]string
	ring [recentPackets]packet
	next int
}

func (d *recent) elsewhere(path string, r *logs.Record) bool {
	p := packetOf(r)
	if from, ok := d.from[p]; ok {
		return from != path
	}
	if d.from == nil {
		d.from = make(map[packet]string, recentPackets)
	}
	delete(d.from, d.ring[d.next])
	d.ring[d.next] = p
	d.from[p] = path
	d.next = (d.next + 1) % recentPackets
	return false
}
