package guard

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

var someTime = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// However much checks find, the report fits, keeps the worst of each check, says how much it left out, and is one that the region takes.
func TestHostReportBound(t *testing.T) {
	r := HostReport{At: someTime}
	for i := range 90 {
		c := &Check{ID: fmt.Sprintf("files-%d", i), Title: "a\x1b[31m", Severity: Medium}
		for j := range 50 {
			o := Observation{State: Fail, Subject: strings.Repeat("\xff", 9000), Evidence: []string{strings.Repeat("x", 5000), "b\nc"}, Fix: []string{fmt.Sprintf("fix %d", j)}}
			if j == 7 {
				o.Severity = Critical
			}
			r.Add(Finding{c, Metalward, o})
		}
		r.Add(Finding{c, Metalward, Observation{State: Pass}})
	}
	r.Bound()
	text, err := json.Marshal(r)
	if err != nil || len(text) > MaxHostReport {
		t.Fatalf("got %d bytes, %v", len(text), err)
	}
	if err := r.Err(); err != nil {
		t.Errorf("got %v, want a report that is taken", err)
	}
	if len(r.Findings)+r.Cut != 90*50 || r.Passed != 90 || len(r.Findings) > MaxHostFindings || r.Findings[0].Severity != Critical {
		t.Errorf("got %d findings, %d cut, %d passed", len(r.Findings), r.Cut, r.Passed)
	}
	worst := map[string]bool{}
	for _, f := range r.Findings {
		worst[f.Check] = worst[f.Check] || f.Severity == Critical
	}
	for check, ok := range worst {
		if !ok {
			t.Errorf("%s: its worst finding was left out before another", check)
		}
	}
}

// Half a command is worse than none.
func TestHostReportLongFix(t *testing.T) {
	r := HostReport{}
	r.Add(Finding{&Check{ID: "files-a"}, Metalward, Observation{State: Fail, Severity: Low, Fix: []string{"rm -rf /tmp/" + strings.Repeat("x", maxHostText)}}})
	if fix := r.Findings[0].Fix; len(fix) != 1 || !strings.HasPrefix(fix[0], "# ") {
		t.Errorf("got %.80q, want where to get it", fix)
	}
}

// What no controller of ours sends is refused.
func TestHostReportErr(t *testing.T) {
	for name, change := range map[string]func(*HostReport){
		"":                    func(*HostReport) {},
		"no time":             func(r *HostReport) { r.At = time.Time{} },
		"negative":            func(r *HostReport) { r.Cut = -1 },
		"a pass":              func(r *HostReport) { r.Findings[0].State = Pass },
		"no severity":         func(r *HostReport) { r.Findings[0].Severity = 0 },
		"unknown severity":    func(r *HostReport) { r.Findings[0].Severity = 9 },
		"no check":            func(r *HostReport) { r.Findings[0].Check = "../x" },
		"escape":              func(r *HostReport) { r.Findings[0].Evidence = []string{"\x1b[2J"} },
		"escape in a problem": func(r *HostReport) { r.Problem = "\u202e" },
		"long":                func(r *HostReport) { r.Findings[0].Fix = []string{strings.Repeat("x", maxHostText+1)} },
		"many lines":          func(r *HostReport) { r.Findings[0].Undo = make([]string, maxHostLines+1) },
		"many findings":       func(r *HostReport) { r.Findings = make([]HostFinding, MaxHostFindings+1) },
	} {
		r := HostReport{At: someTime, Findings: []HostFinding{{Check: "files-a", State: Fail, Severity: Low, Evidence: []string{"“ä”"}}}}
		change(&r)
		if err := r.Err(); (err == nil) != (name == "") {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

// What is waived takes nothing from the score, and what could not be checked at all is not a full score without a word.
func TestHostReportScore(t *testing.T) {
	r := HostReport{Findings: []HostFinding{{Check: "files-a", State: Fail, Severity: High}, {Check: "files-a", State: Fail, Severity: Low}, {Check: "files-b", State: Fail, Severity: Low}}}
	if got := r.Score(nil).Value; got != 78 {
		t.Errorf("got %d, want 78", got)
	}
	if got := r.Score(func(f HostFinding) bool { return f.Check == "files-a" }).Value; got != 98 {
		t.Errorf("with a waiver: got %d, want 98", got)
	}
	if got := (&HostReport{Problem: "x"}).Score(nil).String(); got != "100 of 100; at most that, for 1 could not be checked" {
		t.Errorf("nothing checked: got %q", got)
	}
}
