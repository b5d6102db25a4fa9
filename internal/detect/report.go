package detect

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Bounds of what a controller tells of the logs that it reads.
const (
	MaxReported     = 50   // alerts in a report
	MaxLogStates    = 64   // logs in a report
	maxReportedText = 256  // bytes of a name or key
	maxReportedLine = 1024 // bytes of evidence: MaxEvidenceLine as it is shown
	maxBacklog      = 1000 // alerts that wait to be told
	maxReportedKey  = 8    // parts of what an alert is about
	maxReportedN    = 1 << 40
)

// HostReport is what a controller tells the region of the logs that it reads: alerts that are new or went on, and when that changed which logs it can read.
// Its texts are safe to print where they come from one of our controllers; Bound makes them so.
type HostReport struct {
	Logs   []LogState  `json:"logs,omitempty"` // all of them; none says nothing new
	Alerts []HostAlert `json:"alerts,omitempty"`
}

// LogState says whether a controller reads a log.
type LogState struct {
	Name  string `json:"name"`  // a file, a pattern of files, "journal", "syslog udp"
	State string `json:"state"` // LogRead, LogDenied, …
	Note  string `json:"note,omitempty"`
}

// The states of a log.
const (
	LogRead   = "read"
	LogDenied = "denied" // it is there and may not be read
	LogAbsent = "absent"
	LogLeft   = "left" // not read, since another one has the same; the note says which
)

var logStates = []string{LogRead, LogDenied, LogAbsent, LogLeft}

// HostAlert is an alert as a controller tells it.
type HostAlert struct {
	Unit     string     `json:"unit"`
	Severity Severity   `json:"severity"`
	Key      []KeyValue `json:"key"`
	Client   netip.Addr `json:"client"`          // the zero one when nobody is known
	Known    bool       `json:"known,omitempty"` // somebody logged in from there in the week before
	User     string     `json:"user,omitempty"`
	Host     string     `json:"host,omitempty"`
	// Sender is the machine that sent the lines by syslog. What it says proves nothing: anybody can send a datagram in its name, and who took a machine
	// over has it write what he wants.
	Sender netip.Addr `json:"sender"`
	First  time.Time  `json:"first"` // stays, whatever comes late: with unit, key and sender it names the alert
	Last   time.Time  `json:"last"`
	Count  int64      `json:"count"`
	Lines  []Line     `json:"lines"`
}

// Ident tells alerts of one controller apart.
func (a *HostAlert) Ident() string {
	var b strings.Builder
	b.WriteString(a.Unit)
	for _, k := range a.Key {
		fmt.Fprintf(&b, " %q", k.Value)
	}
	fmt.Fprintf(&b, " %v %d", a.Sender, a.First.UnixMicro())
	return b.String()
}

// Report makes an engine's alert one that is told; show makes a text safe to print.
func (a *Alert) Report(show func(string) string) HostAlert {
	r := HostAlert{Unit: a.Unit, Severity: a.Severity, Client: a.Client, Known: a.Known, User: show(a.User), Host: show(a.Host), First: a.opened(), Last: time.UnixMicro(a.Last).UTC(), Count: a.Count}
	for _, k := range a.Key {
		r.Key = append(r.Key, KeyValue{k.Field, show(k.Value)})
	}
	for _, l := range a.Lines {
		r.Lines = append(r.Lines, Line{From: show(l.From), Number: l.Number, Text: show(l.Text)})
	}
	r.bound()
	return r
}

// opened is when an alert began, also of one that was saved before Opened was.
func (a *Alert) opened() time.Time { return time.UnixMicro(cmp.Or(a.Opened, a.First)).UTC() }

// Ident tells an engine's alerts apart.
func (a *Alert) Ident() string {
	r := HostAlert{Unit: a.Unit, Key: a.Key, First: a.opened()}
	return r.Ident()
}

// bound cuts texts, and moves times of clocks that were wrong to where one that reads a report still believes them: else the region would refuse
// the report for one line's sake, and all that is in it be lost.
func (a *HostAlert) bound() {
	a.First = between(a.First, earliest, latest)
	a.Last = between(a.Last, a.First, latest)
	a.User, a.Host = cutText(a.User, maxReportedText), cutText(a.Host, maxReportedText)
	a.Key = a.Key[:min(len(a.Key), maxReportedKey)]
	for i := range a.Key {
		a.Key[i].Value = cutText(a.Key[i].Value, maxReportedText)
	}
	a.Lines = a.Lines[:min(len(a.Lines), MaxEvidence)]
	for i := range a.Lines {
		a.Lines[i].From, a.Lines[i].Text = cutText(a.Lines[i].From, maxReportedText), cutText(a.Lines[i].Text, maxReportedLine)
	}
}

// Times that a report may have.
var earliest, latest = time.Unix(0, 0).UTC(), time.Date(9000, 12, 31, 23, 59, 59, 0, time.UTC)

func between(t, low, high time.Time) time.Time {
	switch {
	case t.Before(low):
		return low
	case t.After(high):
		return high
	}
	return t
}

// cutText is the beginning of a text, without half a character at its end.
func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// Err says what no controller of ours sends: too much, what is not printable, numbers out of range.
func (r *HostReport) Err() error {
	if len(r.Alerts) > MaxReported || len(r.Logs) > MaxLogStates {
		return fmt.Errorf("at most %d alerts and %d logs at a time", MaxReported, MaxLogStates)
	}
	texts := func(most int, list ...string) error {
		for _, s := range list {
			if len(s) > most || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) || c == utf8.RuneError }) {
				return fmt.Errorf("texts are printable and have at most %d bytes", most)
			}
		}
		return nil
	}
	for _, l := range r.Logs {
		if err := texts(maxReportedText, l.Name, l.Note); err != nil || !slices.Contains(logStates, l.State) {
			return cmp.Or(err, errors.New("the state of a log is none"))
		}
	}
	for i := range r.Alerts {
		a := &r.Alerts[i]
		err := texts(maxReportedText, a.Unit, a.User, a.Host)
		for _, k := range a.Key {
			err = cmp.Or(err, texts(maxReportedText, k.Field, k.Value))
		}
		for _, l := range a.Lines {
			err = cmp.Or(err, texts(maxReportedText, l.From), texts(maxReportedLine, l.Text))
		}
		switch {
		case err != nil:
			return err
		case a.Severity < Info || a.Severity > High:
			return errors.New("severity: info to high")
		case len(a.Key) > maxReportedKey || len(a.Lines) > MaxEvidence:
			return fmt.Errorf("at most %d parts of a key and %d lines", maxReportedKey, MaxEvidence)
		case a.Count < 1 || a.Count > maxReportedN || a.Last.Before(a.First) || a.First.Before(earliest) || a.Last.After(latest):
			return errors.New("count and times: out of range")
		}
	}
	return nil
}

// A Backlog holds what waits to be told: of each alert how it is now, so that an attack of a million lines is one alert however long nobody listens. Safe
// for concurrent use.
type Backlog struct {
	mu      sync.Mutex
	alerts  map[string]HostAlert // guarded by mu
	logs    map[string][]LogState
	who     []string // whose logs they are, in order
	fresh   bool     // logs wait to be told
	dropped int64
}

// Put adds alerts, and what somebody (a word: "host", "syslog") says of his logs; none says nothing new. Where there is no room the alert that matters least
// is left out and counted.
func (b *Backlog) Put(who string, r HostReport) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Logs != nil {
		if b.logs == nil {
			b.logs = map[string][]LogState{}
		}
		if _, known := b.logs[who]; !known {
			b.who = append(b.who, who)
			slices.Sort(b.who)
		}
		b.logs[who], b.fresh = r.Logs, true
	}
	for _, a := range r.Alerts {
		b.put(a, true)
	}
}

// put needs mu. What is there already is newer unless newer says otherwise.
func (b *Backlog) put(a HostAlert, newer bool) {
	if b.alerts == nil {
		b.alerts = map[string]HostAlert{}
	}
	id := a.Ident()
	if _, known := b.alerts[id]; known && !newer {
		return
	} else if !known && len(b.alerts) >= maxBacklog {
		least := id
		for other, x := range b.alerts {
			y, ok := b.alerts[least]
			if !ok {
				y = a
			}
			if x.Severity < y.Severity || x.Severity == y.Severity && x.Last.Before(y.Last) {
				least = other
			}
		}
		b.dropped++
		if least == id {
			return
		}
		delete(b.alerts, least)
	}
	b.alerts[id] = a
}

// Take gives the next report, the worst alerts first and at most MaxReported, and how many were left out for want of room since the last time; false when
// there is nothing to tell.
func (b *Backlog) Take() (r HostReport, dropped int64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.alerts) == 0 && !b.fresh {
		return r, 0, false
	}
	if b.fresh {
		r.Logs = []LogState{}
		for _, who := range b.who {
			r.Logs = append(r.Logs, b.logs[who]...)
		}
		r.Logs = r.Logs[:min(len(r.Logs), MaxLogStates)]
	}
	for _, a := range b.alerts {
		r.Alerts = append(r.Alerts, a)
	}
	slices.SortFunc(r.Alerts, func(x, y HostAlert) int {
		return cmp.Or(cmp.Compare(y.Severity, x.Severity), x.First.Compare(y.First), cmp.Compare(x.Ident(), y.Ident()))
	})
	r.Alerts = r.Alerts[:min(len(r.Alerts), MaxReported)]
	for i := range r.Alerts {
		delete(b.alerts, r.Alerts[i].Ident())
	}
	dropped, b.dropped, b.fresh = b.dropped, 0, false
	return r, dropped, true
}

// Return takes back a report that could not be told: what is newer stays.
func (b *Backlog) Return(r HostReport) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fresh = b.fresh || r.Logs != nil
	for _, a := range r.Alerts {
		b.put(a, false)
	}
}
