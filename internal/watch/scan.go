// Package watch is `metalward watch`: it reads logs with package logs, lets package detect find attacks in them, and says what it found, for people and
// for programs. It changes nothing on the host that it runs on.
package watch

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/logs"
	"github.com/metalward/metalward/internal/logs/source"
)

// Options are how logs are looked at.
type Options struct {
	Units    []detect.Unit
	Site     detect.Site
	On       []string       // units that are off unless named
	Zone     *time.Location // of stamps without a zone
	Since    time.Time      // earlier records are left out; zero for all
	Until    time.Time      // later ones too
	Least    detect.Severity
	Mask     bool                    // names of users are not shown: they are passwords in the wrong field often enough
	Stdin    io.Reader               // read for the path "-"
	Journal  *source.Journal         // read for the path "journal:"
	Progress func(read, total int64) // bytes on disk
	Now      func() time.Time        // for stamps without a year on standard input
}

// Report is what a scan found.
type Report struct {
	Version   string           `json:"version"`
	Started   time.Time        `json:"started"`
	Seconds   float64          `json:"seconds"`
	Bytes     int64            `json:"bytes"` // after decompression
	Lines     int64            `json:"lines"`
	Kinds     map[string]int64 `json:"kinds"` // lines by what they are about
	Unknown   int64            `json:"unknown"`
	Malformed int64            `json:"malformed"` // the program is known, the line is not what it writes
	Evicted   int64            `json:"evicted"`   // sources forgotten for want of room
	Over      map[string]int64 `json:"over,omitempty"`
	From      *time.Time       `json:"from,omitempty"` // of the lines
	To        *time.Time       `json:"to,omitempty"`
	Sources   []Source         `json:"sources"`
	Alerts    []Alert          `json:"alerts"`
	Hours     []Hour           `json:"timeline"`
}

// Source is one file that was read.
type Source struct {
	Path    string   `json:"path"`
	Lines   int64    `json:"lines"`
	Unknown int64    `json:"unknown"`
	Samples []string `json:"unknown_samples,omitempty"` // the first few lines of no known shape
	Error   string   `json:"error,omitempty"`
}

// Alert is one finding for people and programs: its texts are safe to print.
type Alert struct {
	Unit     string            `json:"unit"`
	Title    string            `json:"title"`
	Severity detect.Severity   `json:"severity"`
	Key      []detect.KeyValue `json:"key"`
	Source   string            `json:"source,omitempty"`
	User     string            `json:"user,omitempty"`
	Host     string            `json:"host,omitempty"`
	First    time.Time         `json:"first"`
	Last     time.Time         `json:"last"`
	Count    int64             `json:"count"`
	Proves   bool              `json:"proves_source"`
	Known    bool              `json:"known_source"` // somebody logged in from there in the week before
	Because  string            `json:"because"`
	Do       string            `json:"do"`
	ATTACK   []string          `json:"attack,omitempty"`
	Lines    []detect.Line     `json:"lines"`

	ident, subject string // tell alerts of one engine apart, and what they are about, whether names are masked or not
}

// Hour is how many events of alerts there were.
type Hour struct {
	Unit string    `json:"unit"`
	Hour time.Time `json:"hour"`
	N    int64     `json:"count"`
}

// JournalPath names the host's journal among paths.
const JournalPath = "journal:"

// unknownSamples is how many lines of no known shape are shown of each file.
const unknownSamples = 3

// Scan reads files and folders from their beginning and says what it found. What cannot be read is told in the report. Kinds: Invalid for units that
// contradict each other, NotFound for a path that is not there.
func Scan(ctx context.Context, paths []string, o Options) (*Report, error) {
	engine, err := detect.New(o.Units, o.Site, o.On, nil)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s", err)
	}
	r := &Report{Started: o.Now().UTC().Truncate(time.Second), Kinds: make(map[string]int64), Over: engine.Over}
	began := o.Now()
	var named []string
	stdin, journal := false, false
	for _, p := range paths {
		switch p {
		case "-":
			stdin = true
			continue
		case JournalPath:
			journal = true
			continue
		}
		named = append(named, p)
	}
	files, err := source.Find(named, o.Zone)
	if err != nil {
		return nil, fault.New(fault.NotFound, "path: %s", err)
	}
	var total, read int64
	for _, f := range files {
		total += f.Size
	}
	var oldest, newest int64
	var kinds [16]int64
	take := func(s *Source, twice *doubles) func(*logs.Record, string) error {
		n := 0
		return func(rec *logs.Record, line string) error {
			if n++; n&0xfff == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			s.Lines++
			r.Bytes += int64(len(line)) + 1
			kinds[rec.Kind]++
			if rec.Malformed {
				r.Malformed++
			}
			if rec.Kind == logs.Unknown {
				if s.Unknown++; len(s.Samples) < unknownSamples && !o.Mask { // nobody knows whom it names
					s.Samples = append(s.Samples, guard.Show(line[:min(len(line), 200)]))
				}
			}
			if rec.Time != 0 {
				if !o.Since.IsZero() && rec.Time < o.Since.UnixMicro() || !o.Until.IsZero() && rec.Time >= o.Until.UnixMicro() {
					return nil
				}
				if oldest == 0 || rec.Time < oldest {
					oldest = rec.Time
				}
				newest = max(newest, rec.Time)
			}
			if rec.Kind == logs.Firewall && twice.known(rec) {
				return nil
			}
			engine.Take(rec, detect.Line{From: s.Path, Number: s.Lines, Text: line, User: rec.User})
			return nil
		}
	}
	var twice doubles
	var parser *logs.Parser
	group := ""
	for i := range files {
		f := &files[i]
		if parser == nil || f.Group != group {
			parser, group = logs.NewParser(o.Zone, f.Changed.Year()), f.Group
			twice.next()
		}
		s := Source{Path: guard.Show(f.Path)}
		err := f.Read(parser, func(n int64) {
			read += n
			if o.Progress != nil {
				o.Progress(read, total)
			}
		}, take(&s, &twice))
		r.source(&s, err)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	if stdin {
		s := Source{Path: "standard input"}
		parser = logs.NewParser(o.Zone, o.Now().In(o.Zone).Year())
		twice.next()
		in, err := source.Decompress(o.Stdin)
		if err == nil {
			err = source.Records(in, parser, take(&s, &twice))
		}
		r.source(&s, err)
	}
	if journal {
		s := Source{Path: source.JournalName}
		twice.next()
		each := take(&s, &twice)
		r.source(&s, o.Journal.Read(ctx, "", false, logs.NewParser(o.Zone, o.Now().In(o.Zone).Year()), func(_ string, rec *logs.Record, line string) error { return each(rec, line) }))
	}
	r.Evicted = engine.Evicted
	for k, n := range kinds {
		if n > 0 {
			r.Kinds[logs.Kind(k).String()] = n
		}
	}
	if oldest != 0 {
		from, to := time.UnixMicro(oldest).UTC(), time.UnixMicro(newest).UTC()
		r.From, r.To = &from, &to
	}
	for h, n := range engine.Hours {
		r.Hours = append(r.Hours, Hour{h.Unit, time.Unix(h.Hour*3600, 0).UTC(), n})
	}
	slices.SortFunc(r.Hours, func(a, b Hour) int {
		if c := a.Hour.Compare(b.Hour); c != 0 {
			return c
		}
		return strings.Compare(a.Unit, b.Unit)
	})
	r.Alerts = Alerts(engine.Alerts, o.Units, o.Least, o.Mask)
	r.Seconds = o.Now().Sub(began).Seconds()
	return r, nil
}

func (r *Report) source(s *Source, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		s.Error = guard.Show(err.Error())
	}
	r.Lines += s.Lines
	r.Unknown += s.Unknown
	r.Sources = append(r.Sources, *s)
}

// maxDoubles bounds the packets that are remembered to recognise them in another file.
const maxDoubles = 500_000

// doubles recognises a packet that another log has as well: ufw.log, kern.log and syslog hold the same ones.
type doubles struct {
	before map[packet]struct{} // of earlier groups of files
	now    []packet            // of this one
	first  bool
}

type packet struct {
	time         int64 // seconds: precision differs between files
	src, dst     netip.Addr
	sport, dport uint16
	id           uint32
}

func (d *doubles) next() {
	if d.before == nil {
		d.before = make(map[packet]struct{})
	}
	for _, p := range d.now {
		if len(d.before) < maxDoubles {
			d.before[p] = struct{}{}
		}
	}
	d.now = d.now[:0]
}

func packetOf(r *logs.Record) packet {
	return packet{r.Time / 1_000_000, r.Source, r.Dest, r.Sport, r.Dport, r.ID}
}

func (d *doubles) known(r *logs.Record) bool {
	p := packetOf(r)
	if len(d.before) > 0 {
		if _, ok := d.before[p]; ok {
			return true
		}
	}
	if len(d.now) < maxDoubles {
		d.now = append(d.now, p)
	}
	return false
}

// Alerts makes an engine's alerts safe to print, the worst first, and leaves out what matters less than least.
func Alerts(found []detect.Alert, units []detect.Unit, least detect.Severity, mask bool) []Alert {
	about := make(map[string]*detect.Unit)
	for i := range units {
		about[units[i].ID] = &units[i]
	}
	out := []Alert{}
	for _, a := range found {
		if a.Severity < least {
			continue
		}
		u := about[a.Unit]
		if u == nil { // of a saved state, from before the unit was taken away
			continue
		}
		v := Alert{ident: a.Ident(), subject: subject(&a), Unit: a.Unit, Title: a.Title, Severity: a.Severity, Source: guard.Show(a.Source), User: guard.Show(a.User), Host: guard.Show(a.Host),
			First: time.UnixMicro(a.First).UTC(), Last: time.UnixMicro(a.Last).UTC(), Count: a.Count, Proves: a.Proves, Known: a.Known, Because: a.Rung.String(u.Distinct), Do: u.Do, ATTACK: u.ATTACK}
		if a.Client.IsValid() {
			v.Source = a.Client.String()
		}
		for _, k := range a.Key {
			if mask && k.Field == "user" {
				k.Value = masked
			}
			v.Key = append(v.Key, detect.KeyValue{Field: k.Field, Value: guard.Show(k.Value)})
		}
		for _, l := range a.Lines {
			text := l.Text
			if mask {
				text = unnamed(l, a.User)
			}
			v.Lines = append(v.Lines, detect.Line{From: guard.Show(l.From), Number: l.Number, Text: guard.Show(text)})
		}
		if mask && v.User != "" {
			v.User = masked
		}
		out = append(out, v)
	}
	slices.SortStableFunc(out, func(a, b Alert) int {
		switch {
		case a.Severity != b.Severity:
			return int(b.Severity) - int(a.Severity)
		case a.Count != b.Count:
			if a.Count > b.Count {
				return -1
			}
			return 1
		case a.Unit != b.Unit:
			return strings.Compare(a.Unit, b.Unit)
		case !a.First.Equal(b.First):
			return a.First.Compare(b.First)
		}
		return strings.Compare(a.Source, b.Source)
	})
	return out
}

const masked = "***"

// unnamed is a line without the name that it holds, nor the one that its alert is about. Where the name is not in it as it was read, such as one that was
// escaped or cut off, nothing is shown of the line.
func unnamed(l detect.Line, about string) string {
	if !strings.Contains(l.Text, l.User) {
		return masked
	}
	text := l.Text
	for _, name := range []string{l.User, about} {
		if name != "" {
			text = strings.ReplaceAll(text, name, masked)
		}
	}
	return text
}
