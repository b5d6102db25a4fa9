// Package detect finds attacks in records of logs. A unit describes one detection as data: which records it looks at, by what it counts them, how many
// within how long make a finding, and whether the evidence proves who the source is. The engine runs all units over a stream of records in bounded
// memory and keeps alerts: one for each unit and key, however many lines there are.
//
// It is pure: windows run on the time in the lines, nothing waits, nothing is blocked here. Start at Unit, then Engine.Take.
package detect

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/logs"
)

// Severity is how much a finding matters.
type Severity uint8

// The severities. Info is worth a line to who looks, and never a message to who does not.
const (
	Info Severity = iota + 1
	Low
	Medium
	High
)

var severities = []string{"", "info", "low", "medium", "high"}

// String is the severity's name.
func (s Severity) String() string { return severities[s] }

// MarshalText is the severity's name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(severities[s]), nil }

// UnmarshalText takes a severity's name.
func (s *Severity) UnmarshalText(text []byte) error {
	v, ok := ParseSeverity(string(text))
	if !ok {
		return fmt.Errorf("%q is no severity: info, low, medium or high", text)
	}
	*s = v
	return nil
}

// ParseSeverity is the severity of a name.
func ParseSeverity(name string) (Severity, bool) {
	i := slices.Index(severities[1:], name)
	return Severity(i + 1), i >= 0
}

// Limits of a unit.
const (
	MaxCount  = 1000           // events or values that a rung may ask for
	MaxWindow = 24 * time.Hour // of a rung
)

// A Rung is one step of a unit: so many events, or different values, within a window. The window is half open: two events exactly a window apart are
// not within it.
type Rung struct {
	Count    int           // events; at least this many
	Distinct int           // different values of the unit's Distinct field; 0 when events alone count
	Window   time.Duration // at most MaxWindow
	Severity Severity
}

// A Unit is one detection.
type Unit struct {
	ID     string // such as ssh_bruteforce; begins with fw_, web_, maas_, ssh_, mw_ or log_
	Title  string
	Why    string   // what the numbers are based on
	Do     string   // what to do next
	Source string   // where the definition comes from
	ATTACK []string // techniques of MITRE ATT&CK

	// Proves says whether the evidence proves its source: a completed TCP or TLS connection or a login does, since answers reached the source; a dropped
	// SYN or a UDP packet does not, since anybody can write any source into it. Only what proves its source may ever be blocked; what is not counted by its source
	// has none that could be.
	Proves bool

	Match    Cond    // which records count
	Key      []Field // what they are counted by
	Distinct Field   // the field whose different values rungs count
	Rungs    []Rung
	Gap      time.Duration // events of one key that are closer than this are one
	Once     Field         // an event with the same value of this field as the last one, within OnceFor, is the same event
	OnceFor  time.Duration

	Reset       Cond   // records that begin the count anew, such as a login that succeeds
	After       string // counts only where this unit fired for the same source, at most AfterFor ago
	AfterFor    time.Duration
	Unless      string // does not count while this unit's alert about the same source is open
	Off         bool   // not run unless it is turned on
	Explanation string // of an option that is off

	Quiet   []string // the benign cases that stay quiet, in words
	Samples []Sample
}

// A Sample is a piece of a log, with what must come of it.
type Sample struct {
	Name  string
	Lines []string
	Want  Severity // 0: the unit must stay quiet
}

// Problem says what is wrong with a unit's description, or nothing.
func (u *Unit) Problem() string {
	switch {
	case u.ID == "" || strings.Trim(u.ID, "abcdefghijklmnopqrstuvwxyz0123456789_") != "":
		return "id: small letters, digits and _ only"
	case u.Title == "" || u.Do == "":
		return "title and do: say what was found and what to do next"
	case len(u.Rungs) == 0:
		return "rungs: at least one"
	case len(u.Key) == 0:
		return "key: at least one field"
	case u.Proves && !slices.Contains(u.Key, Source):
		return "proves: who is not counted by his address cannot be blamed by it"
	case u.Once != NoField && u.OnceFor <= 0:
		return "once: needs a time"
	}
	for i, r := range u.Rungs {
		switch {
		case r.Severity < Info || r.Severity > High:
			return fmt.Sprintf("rung %d: severity", i+1)
		case r.Count < 1 && r.Distinct < 1 || r.Count > MaxCount || r.Distinct > MaxCount:
			return fmt.Sprintf("rung %d: count 1 to %d", i+1, MaxCount)
		case r.Window <= 0 || r.Window > MaxWindow:
			return fmt.Sprintf("rung %d: window up to %v", i+1, MaxWindow)
		case r.Distinct > 0 && u.Distinct == NoField:
			return fmt.Sprintf("rung %d: of which field different values count", i+1)
		}
	}
	return ""
}

// String says a rung in words: "5 within 10m0s", "15 different values of service within 24h0m0s".
func (r Rung) String(distinct Field) string {
	var parts []string
	if r.Count > 0 {
		parts = append(parts, fmt.Sprintf("%d", r.Count))
	}
	if r.Distinct > 0 {
		parts = append(parts, fmt.Sprintf("%d different values of %s", r.Distinct, distinct))
	}
	return strings.Join(parts, " and ") + " within " + span(r.Window)
}

// span writes a duration without the zeros of Go's form.
func span(d time.Duration) string {
	for _, u := range []struct {
		d    time.Duration
		name string
	}{{time.Hour, "hour"}, {time.Minute, "minute"}, {time.Second, "second"}} {
		if d >= u.d && d%u.d == 0 {
			n := int(d / u.d)
			if n == 1 {
				return "1 " + u.name
			}
			return fmt.Sprintf("%d %ss", n, u.name)
		}
	}
	return d.String()
}

// LooksAt reports whether records of a kind can count for the unit.
func (u *Unit) LooksAt(k logs.Kind) bool { return u.Match.kinds()&(1<<k) != 0 }

// Worst is the highest severity of the unit's rungs.
func (u *Unit) Worst() Severity {
	var worst Severity
	for _, r := range u.Rungs {
		worst = max(worst, r.Severity)
	}
	return worst
}
