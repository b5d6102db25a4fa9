package watch

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
)

// Limits of a desk.
const (
	maxDesk     = 2_000 // alerts; the resolved go first, then those that matter least
	maxSilences = 1_000
	maxDeskFile = 64 << 20 // bytes
	deskFormat  = 1
	maxReason   = 1_000 // bytes
	// MaxSilence is for how long an alert may be silent at a time.
	MaxSilence = 90 * 24 * time.Hour
)

// The states of an alert on a desk.
const (
	DeskOpen         = "open"
	DeskAcknowledged = "acknowledged"
	DeskResolved     = "resolved"
)

// A Desk is a file with the alerts of a live watch, where people of this host work them off. Several processes may use it: each change locks it.
type Desk struct {
	Path string
	Now  func() time.Time
	Save func(path string, data []byte) error // all or nothing, mode 0600
}

// DeskAlert is an alert on a desk, and what people did about it.
type DeskAlert struct {
	ID string `json:"id"` // short, for people; that of the unit, the key and the first event
	Alert
	Subject string    `json:"subject"` // of the unit and the key
	State   string    `json:"state"`
	Acted   time.Time `json:"acted,omitzero"`
	By      string    `json:"acted_by,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

// Silence has nobody told of a unit's alerts about one key, its subject, until its end.
type Silence struct {
	Subject string    `json:"subject"`
	Until   time.Time `json:"until"`
	By      string    `json:"by"`
	Reason  string    `json:"reason"`
}

// DeskList is what is on a desk.
type DeskList struct {
	Format   int         `json:"format"`
	Alerts   []DeskAlert `json:"alerts"`
	Silences []Silence   `json:"silences"`
}

// subject is a unit and what an alert of it is about, as a hash: names are not to be read in it.
func subject(a *detect.Alert) string {
	h := fnv.New128a()
	_, _ = io.WriteString(h, a.Unit)
	for _, k := range a.Key {
		fmt.Fprintf(h, " %s %q", k.Field, k.Value)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func deskID(a *Alert) string {
	h := fnv.New64a()
	_, _ = io.WriteString(h, a.ident)
	return hex.EncodeToString(h.Sum(nil))[:10]
}

// Quiet reports whether nobody is to be told of an alert, because it is silenced.
func (l *DeskList) Quiet(a *Alert, now time.Time) bool { return l.silenced(a.subject, now) }

func (l *DeskList) silenced(subject string, now time.Time) bool {
	return slices.ContainsFunc(l.Silences, func(s Silence) bool { return s.Subject == subject && now.Before(s.Until) })
}

// Read is what is on the desk; no file is an empty one. Kinds: Invalid for a file that was not written by this program.
func (d *Desk) Read() (*DeskList, error) {
	f, err := os.Open(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return &DeskList{Format: deskFormat}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var l DeskList
	j := json.NewDecoder(io.LimitReader(f, maxDeskFile))
	j.DisallowUnknownFields()
	if err = j.Decode(&l); err == nil && l.Format != deskFormat {
		err = fmt.Errorf("format %d, this program writes %d", l.Format, deskFormat)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "alerts: %s cannot be used (%s). Move it away to begin anew.", guard.Quote(d.Path), guard.Show(err.Error()))
	}
	return &l, nil
}

// change reads the desk, has it changed, and writes it. Nobody else changes it meanwhile.
func (d *Desk) change(fn func(*DeskList) error) (*DeskList, error) {
	lock, err := os.OpenFile(d.Path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer lock.Close() // which unlocks
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return nil, fmt.Errorf("cannot lock the alerts: %w", err)
	}
	l, err := d.Read()
	if err != nil {
		return nil, err
	}
	if err := fn(l); err != nil {
		return nil, err
	}
	now := d.Now()
	l.Silences = slices.DeleteFunc(l.Silences, func(s Silence) bool { return !now.Before(s.Until) })
	l.bound()
	var b bytes.Buffer
	j := json.NewEncoder(&b)
	j.SetIndent("", " ")
	if err := j.Encode(l); err != nil {
		return nil, err
	}
	return l, d.Save(d.Path, b.Bytes())
}

// worse orders alerts for people: what is not resolved first, then by severity, then the latest.
func worse(a, b DeskAlert) int {
	rank := func(x *DeskAlert) int {
		if x.State == DeskResolved {
			return 0
		}
		return int(x.Severity)
	}
	if d := rank(&b) - rank(&a); d != 0 {
		return d
	}
	if c := b.Last.Compare(a.Last); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

func (l *DeskList) bound() {
	slices.SortFunc(l.Alerts, worse)
	l.Alerts = l.Alerts[:min(len(l.Alerts), maxDesk)]
}

// See puts alerts on the desk, or what is new of them.
func (d *Desk) See(list []Alert) (*DeskList, error) {
	return d.change(func(l *DeskList) error { l.See(list); return nil })
}

// See puts alerts on the list, or what is new of them. One that was resolved is open again by an event after that.
func (l *DeskList) See(list []Alert) {
	at := make(map[string]int, len(l.Alerts))
	for i := range l.Alerts {
		at[l.Alerts[i].ID] = i
	}
	for _, a := range list {
		id := deskID(&a)
		i, ok := at[id]
		if !ok {
			at[id] = len(l.Alerts)
			l.Alerts = append(l.Alerts, DeskAlert{ID: id, Alert: a, Subject: a.subject, State: DeskOpen})
			continue
		}
		x := &l.Alerts[i]
		if x.State == DeskResolved && a.Last.After(x.Acted) {
			x.State, x.Acted, x.By, x.Reason = DeskOpen, time.Time{}, "", ""
		}
		x.Alert = a
	}
	l.bound()
}

// one finds an alert by its id or the beginning of one.
func (l *DeskList) one(id string) (*DeskAlert, error) {
	var found *DeskAlert
	for i := range l.Alerts {
		if id != "" && strings.HasPrefix(l.Alerts[i].ID, id) {
			if found != nil {
				return nil, fault.New(fault.Invalid, "alert: several begin with %s; write more of it.", guard.Quote(id))
			}
			found = &l.Alerts[i]
		}
	}
	if found == nil {
		return nil, fault.New(fault.NotFound, "alert: there is no %s; metalward watch alerts lists them.", guard.Quote(id))
	}
	return found, nil
}

// Act says that somebody looks after an alert, or has dealt with it. Kinds: NotFound; Invalid; Conflict when it is so already.
func (d *Desk) Act(id, state, by, reason string) (*DeskList, error) {
	if err := checkReason(reason); err != nil {
		return nil, err
	}
	return d.change(func(l *DeskList) error {
		a, err := l.one(id)
		if err != nil {
			return err
		}
		if a.State == state {
			return fault.New(fault.Conflict, "This alert is %s already.", state)
		}
		a.State, a.Acted, a.By, a.Reason = state, d.Now().UTC(), by, reason
		return nil
	})
}

// Silence has nobody told of an alert, and of later ones of the same unit about the same, for some time. Kinds: NotFound, Invalid.
func (d *Desk) Silence(id, by, reason string, during time.Duration) (*DeskList, error) {
	if err := checkReason(reason); err != nil {
		return nil, err
	}
	switch {
	case reason == "":
		return nil, fault.New(fault.Invalid, "reason: say why nobody has to be told.")
	case during <= 0 || during > MaxSilence:
		return nil, fault.New(fault.Invalid, "for: up to %v.", MaxSilence)
	}
	return d.change(func(l *DeskList) error {
		a, err := l.one(id)
		if err != nil {
			return err
		}
		if len(l.Silences) >= maxSilences {
			return fault.New(fault.Exhausted, "There are %d silences already, the most that are kept.", maxSilences)
		}
		l.unsilence(a)
		l.Silences = append(l.Silences, Silence{a.Subject, d.Now().UTC().Add(during), by, reason})
		return nil
	})
}

// Unsilence ends a silence at once. Kinds: NotFound, Conflict where there is none.
func (d *Desk) Unsilence(id string) (*DeskList, error) {
	return d.change(func(l *DeskList) error {
		a, err := l.one(id)
		if err != nil {
			return err
		}
		if !l.unsilence(a) {
			return fault.New(fault.Conflict, "This alert is not silenced.")
		}
		return nil
	})
}

func (l *DeskList) unsilence(a *DeskAlert) bool {
	n := len(l.Silences)
	l.Silences = slices.DeleteFunc(l.Silences, func(s Silence) bool { return s.Subject == a.Subject })
	return len(l.Silences) < n
}

func checkReason(text string) error {
	if len(text) > maxReason || guard.Show(text) != text {
		return fault.New(fault.Invalid, "reason: at most %d printable characters, in one line.", maxReason)
	}
	return nil
}

// WriteDesk lists what is on a desk, for people.
func WriteDesk(w io.Writer, l *DeskList, now time.Time, all, colour bool) error {
	var b strings.Builder
	shown := 0
	for i := range l.Alerts {
		a := &l.Alerts[i]
		if a.State == DeskResolved && !all {
			continue
		}
		shown++
		mark, end := "", ""
		if colour {
			mark, end = colours[a.Severity], "\x1b[0m"
		}
		state := a.State
		if a.By != "" {
			state += " by " + a.By
		}
		if l.silenced(a.Subject, now) {
			state += ", silenced"
		}
		fmt.Fprintf(&b, "%s  %s%-6s%s  %s (%s): %s; %s, %s; %s\n", a.ID, mark, strings.ToUpper(a.Severity.String()), end, a.Title, a.Unit, a.about(), events(a.Count), a.span(), state)
	}
	fmt.Fprintf(&b, "%d alerts\n", shown)
	_, err := io.WriteString(w, b.String())
	return err
}
