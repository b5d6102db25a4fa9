package watch

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/fault"
)

var deskTime = time.Date(2026, 11, 7, 6, 0, 0, 0, time.UTC)

// found is an alert of an engine about an address.
func found(address string, severity detect.Severity, count int64, at time.Time) detect.Alert {
	return detect.Alert{Unit: "ssh_bruteforce", Title: "t", Severity: severity, Proves: true, Key: []detect.KeyValue{{Field: "source", Value: address}}, Client: netip.MustParseAddr(address), User: "bob",
		First: deskTime.UnixMicro(), Last: at.UnixMicro(), Count: count, Rung: detect.Rung{Count: 1, Window: time.Hour, Severity: severity}, Lines: []detect.Line{{From: "f", Text: "for bob \x1b[31m"}}}
}

func seen(list ...detect.Alert) []Alert { return Alerts(list, units.Every, detect.Info, false) }

func newDesk(t *testing.T, now *time.Time) *Desk {
	return &Desk{Path: filepath.Join(t.TempDir(), "alerts.json"), Now: func() time.Time { return *now }, Save: func(p string, data []byte) error { return os.WriteFile(p, data, 0o600) }}
}

// An alert is one entry however often it is seen; people look after it, deal with it, and more of the same opens it again. A silence is for the unit and what
// it is about, and ends by itself.
func TestDesk(t *testing.T) {
	now := deskTime.Add(time.Hour)
	d := newDesk(t, &now)
	see := func(list ...detect.Alert) *DeskList {
		t.Helper()
		l, err := d.See(seen(list...))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	must := func(l *DeskList, err error) *DeskList {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	kind := func(want fault.Kind, _ *DeskList, err error) {
		t.Helper()
		if !fault.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	see(found("198.51.100.7", detect.Low, 5, deskTime))
	l := see(found("198.51.100.7", detect.Medium, 9, deskTime.Add(time.Minute)), found("198.51.100.8", detect.Low, 1, deskTime))
	if len(l.Alerts) != 2 || l.Alerts[0].Count != 9 || l.Alerts[0].Severity != detect.Medium || l.Alerts[0].State != DeskOpen {
		t.Fatalf("got %+v", l.Alerts)
	}
	id := l.Alerts[0].ID
	l = must(d.Act(id[:6], DeskAcknowledged, "ann", "mine"))
	if a := l.Alerts[0]; a.State != DeskAcknowledged || a.By != "ann" || a.Reason != "mine" {
		t.Errorf("got %+v", a)
	}
	_, err := d.Act(id, DeskAcknowledged, "ann", "")
	kind(fault.Conflict, nil, err)
	_, err = d.Act("zz", DeskResolved, "ann", "")
	kind(fault.NotFound, nil, err)
	_, err = d.Act(id, DeskResolved, "ann", "two\nlines")
	kind(fault.Invalid, nil, err)
	must(d.Act(id, DeskResolved, "ann", ""))
	if l = see(found("198.51.100.7", detect.Medium, 9, deskTime.Add(time.Minute))); l.Alerts[1].State != DeskResolved {
		t.Error("what was before it was resolved opens it again")
	}
	if l = see(found("198.51.100.7", detect.Medium, 10, now.Add(time.Minute))); l.Alerts[0].State != DeskOpen || l.Alerts[0].By != "" {
		t.Error("more of the same does not open it again")
	}
	// Silence.
	for _, bad := range []struct {
		reason string
		during time.Duration
	}{{"", time.Hour}, {"x", 0}, {"x", MaxSilence + 1}, {"\x1b", time.Hour}} {
		_, err = d.Silence(id, "ann", bad.reason, bad.during)
		kind(fault.Invalid, nil, err)
	}
	l = must(d.Silence(id, "ann", "a scan of ours", time.Hour))
	same, other := seen(found("198.51.100.7", detect.High, 1, now))[0], seen(found("198.51.100.9", detect.High, 1, now))[0]
	same.ident = "a later one"
	if !l.Quiet(&same, now) || l.Quiet(&other, now) || l.Quiet(&same, now.Add(time.Hour)) {
		t.Error("the silence is not for the unit, what it is about, and an hour")
	}
	l = must(d.Unsilence(id))
	_, err = d.Unsilence(id)
	kind(fault.Conflict, nil, err)
	if l.Quiet(&same, now) {
		t.Error("a silence that was ended goes on")
	}
	must(d.Silence(id, "ann", "again", time.Minute))
	now = now.Add(2 * time.Minute)
	if l = see(); len(l.Silences) != 0 {
		t.Error("a silence that is over is kept")
	}
	var b strings.Builder
	if err := WriteDesk(&b, l, now, true, false); err != nil || !strings.Contains(b.String(), id) || !strings.Contains(b.String(), "2 alerts") {
		t.Errorf("got %q, %v", b.String(), err)
	}
	data, err := os.ReadFile(d.Path)
	if err != nil || strings.Contains(string(data), "\x1b") {
		t.Errorf("%v, or a sequence of terminals in the file", err)
	}
}

// Users that are masked stay apart: a silence about one is none about the next, and no name is in the file.
func TestDeskMasked(t *testing.T) {
	now := deskTime
	d := newDesk(t, &now)
	about := func(user string) []Alert {
		a := found("198.51.100.7", detect.Medium, 5, now)
		a.Key, a.User, a.Lines = []detect.KeyValue{{Field: "user", Value: user}}, user, []detect.Line{{Text: "for " + user}}
		return Alerts([]detect.Alert{a}, units.Every, detect.Info, true)
	}
	secret, other := about("hunter2"), about("carol")
	l, err := d.See(append(secret, other...))
	if err != nil || len(l.Alerts) != 2 {
		t.Fatalf("got %d alerts, %v", len(l.Alerts), err)
	}
	if l, err = d.Silence(deskID(&secret[0]), "ann", "x", time.Hour); err != nil || !l.Quiet(&secret[0], now) || l.Quiet(&other[0], now) {
		t.Errorf("%v, or the silence is about everybody", err)
	}
	if data, _ := os.ReadFile(d.Path); strings.Contains(string(data), "hunter2") {
		t.Error("the name is in the file")
	}
}

// A desk is bounded; what is resolved goes first, then what matters least.
func TestDeskBound(t *testing.T) {
	var list DeskList
	all := []detect.Alert{}
	for i := range maxDesk + 100 {
		all = append(all, found(fmt.Sprintf("10.0.%d.%d", i/250, i%250+1), detect.Low, 1, deskTime.Add(time.Duration(i)*time.Second)))
	}
	all[0].Severity = detect.High
	list.See(seen(all...))
	if len(list.Alerts) != maxDesk || list.Alerts[0].Severity != detect.High {
		t.Errorf("got %d alerts, the first %v", len(list.Alerts), list.Alerts[0].Severity)
	}
}

// What is no desk is refused and left as it is.
func TestDeskFile(t *testing.T) {
	now := deskTime
	d := newDesk(t, &now)
	for _, text := range []string{"x", "{}", `{"format":2}`, `{"format":1,"more":1}`} {
		if err := os.WriteFile(d.Path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := d.See(nil); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v", text, err)
		}
		if data, _ := os.ReadFile(d.Path); string(data) != text {
			t.Errorf("%s was changed", text)
		}
	}
}

// A screen has no more lines and columns than the terminal, and shows the worst.
func TestScreen(t *testing.T) {
	var list DeskList
	for i := range 50 {
		list.See(seen(found(fmt.Sprintf("198.51.100.%d", i+1), detect.Low, 1, deskTime)))
	}
	list.See(seen(found("203.0.113.5", detect.High, 1, deskTime)))
	var b strings.Builder
	s := Screen{Out: &b, Size: func() (int, int) { return 60, 12 }}
	for i := range 9 {
		s.Say(fmt.Sprint("message ", i))
	}
	if err := s.Draw(&list, deskTime); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(strings.ReplaceAll(strings.ReplaceAll(strings.TrimPrefix(b.String(), homeScreen), clearLine, ""), clearBelow, ""), "\r\n"), "\r\n")
	if len(lines) > 11 || !strings.Contains(lines[0], "51 alerts: 1 high") || !strings.HasPrefix(lines[2], "HIGH") || lines[len(lines)-1] != "message 8" {
		t.Errorf("got %d lines: %q", len(lines), lines)
	}
	for _, l := range lines {
		if n := len([]rune(l)); n > 60 {
			t.Errorf("%d columns: %q", n, l)
		}
	}
}
