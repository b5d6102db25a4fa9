package detect

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/metalward/metalward/internal/logs"
)

func reported(i int, s Severity, count int64) HostAlert {
	at := time.Unix(1_800_000_000+int64(i), 0).UTC()
	return HostAlert{Unit: "ssh_bruteforce", Severity: s, Key: []KeyValue{{"source", fmt.Sprint(i)}}, First: at, Last: at, Count: count}
}

// The newest state of an alert is what is told, the worst first; what could not be told comes again, and what matters least makes room.
func TestBacklog(t *testing.T) {
	var b Backlog
	if _, _, ok := b.Take(); ok {
		t.Error("an empty one has something to tell")
	}
	for n := range 1000 { // a storm
		b.Put("host", HostReport{Alerts: []HostAlert{reported(1, Medium, int64(n+1))}})
	}
	b.Put("host", HostReport{Logs: []LogState{{Name: "a", State: LogRead}}})
	b.Put("syslog", HostReport{Logs: []LogState{{Name: "b", State: LogRead}}})
	b.Put("host", HostReport{Alerts: []HostAlert{reported(2, High, 1)}})
	r, lost, ok := b.Take()
	if !ok || lost != 0 || len(r.Alerts) != 2 || r.Alerts[0].Severity != High || r.Alerts[1].Count != 1000 || len(r.Logs) != 2 || r.Err() != nil {
		t.Fatalf("got %+v, %d, %v", r, lost, ok)
	}
	b.Put("host", HostReport{Alerts: []HostAlert{reported(1, High, 2000)}}) // meanwhile
	b.Return(r)
	if again, _, _ := b.Take(); len(again.Alerts) != 2 || again.Alerts[0].Count != 2000 || len(again.Logs) != 2 {
		t.Errorf("got %+v", again)
	}
	b.Put("host", HostReport{Alerts: []HostAlert{reported(0, High, 1)}})
	for i := range 2 * maxBacklog {
		b.Put("host", HostReport{Alerts: []HostAlert{reported(i+1, Info, 1)}})
	}
	r, lost, _ = b.Take()
	if len(r.Alerts) != MaxReported || r.Alerts[0].Severity != High || lost != maxBacklog+1 {
		t.Errorf("got %d alerts, the first %v, %d lost", len(r.Alerts), r.Alerts[0].Severity, lost)
	}
}

// What no controller of ours sends is told from what one does.
func TestReportErr(t *testing.T) {
	for name, change := range map[string]func(*HostReport){
		"as it is":         func(*HostReport) {},
		"too many":         func(r *HostReport) { r.Alerts = make([]HostAlert, MaxReported+1) },
		"a terminal's":     func(r *HostReport) { r.Alerts[0].Lines = []Line{{Text: "\x1b[2J"}} },
		"no UTF-8":         func(r *HostReport) { r.Alerts[0].User = "\xff" },
		"directions":       func(r *HostReport) { r.Alerts[0].Key[0].Value = "\u202e" },
		"long":             func(r *HostReport) { r.Alerts[0].Lines = []Line{{Text: strings.Repeat("x", maxReportedLine+1)}} },
		"severity":         func(r *HostReport) { r.Alerts[0].Severity = 9 },
		"count":            func(r *HostReport) { r.Alerts[0].Count = -1 },
		"before it began":  func(r *HostReport) { r.Alerts[0].Last = r.Alerts[0].First.Add(-time.Second) },
		"a state of a log": func(r *HostReport) { r.Logs = []LogState{{Name: "x", State: "<b>"}} },
	} {
		r := HostReport{Alerts: []HostAlert{reported(1, Low, 1)}, Logs: []LogState{{Name: "x", State: LogRead}}}
		change(&r)
		if err := r.Err(); (err == nil) != (name == "as it is") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// What hosts say counts for each apart, its logins vouch for no other's, and it proves nothing.
func TestHearsay(t *testing.T) {
	unit := Unit{ID: "ssh_x", Title: "t", Do: "d", Proves: true, Match: If(Outcome, Is, "failure"), Key: []Field{Source}, Rungs: []Rung{{Count: 3, Window: time.Minute, Severity: Medium}}}
	after := Unit{ID: "ssh_y", Title: "t", Do: "d", Match: If(Outcome, Is, "success"), Key: []Field{Source}, After: "ssh_x", AfterFor: time.Hour, Rungs: []Rung{{Count: 1, Window: time.Minute, Severity: High}}}
	g, err := New([]Unit{unit, after}, Site{Hearsay: true}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := int64(1_800_000_000_000_000)
	say := func(host string, o logs.Outcome) {
		at += 1000
		g.Take(&logs.Record{Kind: logs.SSH, Outcome: o, Count: 1, Host: host, Time: at, Source: netip.MustParseAddr("192.0.2.1"), SourceName: "192.0.2.1"}, Line{Text: "x"})
	}
	for range 2 {
		say("10.0.0.1", logs.Failure)
		say("10.0.0.2", logs.Failure)
	}
	if len(g.Alerts) != 0 {
		t.Fatalf("two hosts' words add up: %+v", g.Alerts)
	}
	say("10.0.0.1", logs.Failure)
	say("10.0.0.2", logs.Success)
	if len(g.Alerts) != 1 || g.Alerts[0].Proves || g.Alerts[0].Known || g.Alerts[0].Key[0] != (KeyValue{"host", "10.0.0.1"}) || g.Alerts[0].Key[1].Value != "192.0.2.1" {
		t.Fatalf("got %+v, want one of 10.0.0.1 that proves nothing", g.Alerts)
	}
	say("10.0.0.1", logs.Success)
	if len(g.Alerts) != 2 || g.Alerts[1].Unit != "ssh_y" {
		t.Errorf("got %+v", g.Alerts)
	}
}

// FuzzReport: whatever another program sends as a report, what passes is bounded and can be printed, and can be held back and told.
func FuzzReport(f *testing.F) {
	for _, r := range []HostReport{{}, {Alerts: []HostAlert{reported(1, High, 3)}, Logs: []LogState{{Name: "x", State: LogRead}}}} {
		text, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"alerts":[{"unit":"\u001b[2J","severity":"high","count":1,"key":[{"field":"a","value":"\u202e"}],"lines":[{"text":"\u0000"}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var r HostReport
		if json.Unmarshal(text, &r) != nil || r.Err() != nil {
			return
		}
		var b Backlog
		b.Put("x", r)
		again, _, _ := b.Take()
		if len(again.Alerts) > MaxReported || len(again.Logs) > MaxLogStates || again.Err() != nil {
			t.Errorf("got %+v", again)
		}
		for _, a := range again.Alerts {
			for _, s := range append([]string{a.Unit, a.User, a.Host, a.Ident()}, lineTexts(a.Lines)...) {
				if len(s) > 8<<10 || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
					t.Errorf("got %q", s)
				}
			}
		}
	})
}

func lineTexts(lines []Line) (list []string) {
	for _, l := range lines {
		list = append(list, l.From, l.Text)
	}
	return list
}

// TestReportClock: an alert of a log whose clock was wrong is one that a region takes.
func TestReportClock(t *testing.T) {
	for _, at := range [][2]int64{{-5_000_000, 1}, {-5_000_000, -4_000_000}, {1 << 62, 1 << 62}, {1, 1 << 62}} {
		a := Alert{Unit: "ssh_x", Severity: Low, Count: 1, Opened: at[0], First: at[0], Last: at[1]}
		r := HostReport{Alerts: []HostAlert{a.Report(func(s string) string { return s })}}
		if err := r.Err(); err != nil {
			t.Errorf("%v: %v", at, err)
		}
	}
}

// TestFired: the sources that a unit fired for stay as few as a snapshot may have, whoever goes on.
func TestFired(t *testing.T) {
	fails := If(Outcome, Is, "failure")
	asked := Unit{ID: "ssh_a", Title: "t", Do: "d", Match: fails, Key: []Field{Source}, Rungs: []Rung{{Count: 1, Window: time.Minute, Severity: Low}}}
	asks := Unit{ID: "ssh_b", Title: "t", Do: "d", Match: If(Outcome, Is, "success"), After: "ssh_a", AfterFor: time.Hour, Key: []Field{Source}, Rungs: asked.Rungs}
	g, err := New([]Unit{asked, asks}, Site{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	fail := func(i int) {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		g.Take(&logs.Record{Kind: logs.SSH, Outcome: logs.Failure, Count: 1, Time: 1_800_000_000_000_000, Source: a, SourceName: "x"}, Line{})
	}
	for i := range MaxFired {
		fail(i)
	}
	clear(g.fired) // as if others had taken all places
	for i := range MaxFired {
		g.fired[uint64(i)+1<<60] = 1
	}
	for i := range 100 {
		fail(i)
	}
	if len(g.fired) > MaxFired {
		t.Errorf("%d sources, at most %d", len(g.fired), MaxFired)
	}
}

// TestAlertBounds: what an alert keeps of texts that the writer of a line chooses is bounded.
func TestAlertBounds(t *testing.T) {
	long := strings.Repeat("x", 60<<10)
	g, err := New([]Unit{{ID: "ssh_x", Title: "t", Do: "d", Match: If(Outcome, Is, "failure"), Key: []Field{Source, User}, Rungs: []Rung{{Count: 1, Window: time.Minute, Severity: Low}}}}, Site{Hearsay: true}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.Take(&logs.Record{Kind: logs.SSH, Outcome: logs.Failure, Count: 1, Time: 1, SourceName: long, User: long, Host: long, Program: long}, Line{From: "f", Number: 1, Text: long})
	if len(g.Alerts) != 1 {
		t.Fatal("no alert")
	}
	a := g.Alerts[0]
	n := len(a.Source) + len(a.User) + len(a.Host) + len(a.Program)
	for _, k := range a.Key {
		n += len(k.Value)
	}
	for _, l := range a.Lines {
		n += len(l.From) + len(l.Text)
	}
	if n > 4<<10 {
		t.Errorf("%d bytes", n)
	}
}
