package detect_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/logs"
)

// Thresholds travel as JSON; those that do not fit their unit, or are of no unit, change nothing but whether it runs.
func TestTuned(t *testing.T) {
	high := []detect.Rung{{Count: 2, Window: time.Minute, Severity: detect.High}}
	text, err := json.Marshal([]detect.Threshold{{Unit: "ssh_bruteforce", Rungs: high}, {Unit: "web_burst", Off: true}, {Unit: "ssh_probe", Rungs: []detect.Rung{{Distinct: 3, Window: time.Hour, Severity: detect.Low}}}, {Unit: "none"},
		{Unit: "maas_login_blank"}})
	if err != nil {
		t.Fatal(err)
	}
	var list []detect.Threshold
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	tuned := detect.Tuned(units.Every, list)
	if len(tuned) != len(units.Every) {
		t.Fatalf("%d units of %d", len(tuned), len(units.Every))
	}
	for i, u := range tuned {
		came := units.Every[i]
		rungs, off := came.Rungs, came.Off
		switch u.ID {
		case "ssh_bruteforce":
			rungs = high
		case "web_burst":
			off = true
		case "maas_login_blank": // came turned off
			off = false
		}
		if !slices.Equal(u.Rungs, rungs) || u.Off != off {
			t.Errorf("%s: got %v, off %v", u.ID, u.Rungs, u.Off)
		}
	}
	if err := json.Unmarshal([]byte(`[{"unit":"x","rungs":[{"Count":1,"Window":1,"Severity":"grave"}]}]`), &list); err == nil {
		t.Error("a severity that there is none of is read")
	}
}

// An engine that is given other thresholds goes on with what it counted.
func TestRetune(t *testing.T) {
	opened := 0
	g, err := detect.New(units.Every, detect.Site{}, nil, func(a *detect.Alert, c detect.Change) {
		if a.Unit == "ssh_bruteforce" && a.Severity == detect.High {
			opened++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	p := logs.NewParser(time.UTC, 2026)
	fail := func(n int) {
		var r logs.Record
		p.Parse(fmt.Sprintf("Nov  7 06:00:%02d h sshd[%d]: Failed password for root from 198.51.100.7 port 1 ssh2", n, n), &r)
		g.Take(&r, detect.Line{})
	}
	fail(1)
	fail(2)
	if g, err = g.Retune(detect.Tuned(units.Every, []detect.Threshold{{Unit: "ssh_bruteforce", Rungs: []detect.Rung{{Count: 3, Window: time.Minute, Severity: detect.High}}}}), nil); err != nil {
		t.Fatal(err)
	}
	if opened != 0 {
		t.Error("two are high")
	}
	fail(3)
	if opened != 1 {
		t.Errorf("the third: %d alerts, or what was counted before is lost", opened)
	}
	var none *detect.Tuning
	none.Set(nil)
	if _, moved := none.Moved(nil); moved || none.Changes() != nil {
		t.Error("a nil tuning has changes")
	}
}

// TestRetuneFewer: where a site makes a count smaller, a source that counted more does not count without end from then on.
func TestRetuneFewer(t *testing.T) {
	unit := func(n int) []detect.Unit {
		return []detect.Unit{{ID: "ssh_x", Title: "t", Do: "d", Match: detect.If(detect.Outcome, detect.Is, "failure"), Key: []detect.Field{detect.Source},
			Rungs: []detect.Rung{{Count: n, Window: time.Hour, Severity: detect.Medium}}}}
	}
	g, err := detect.New(unit(100), detect.Site{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	take := func(n int) {
		for i := range n {
			g.Take(&logs.Record{Kind: logs.SSH, Outcome: logs.Failure, Count: 1, Time: 1_800_000_000_000_000 + int64(i), Source: netip.MustParseAddr("198.51.100.7"), SourceName: "198.51.100.7"}, detect.Line{})
		}
	}
	take(50)
	if g, err = g.Retune(unit(10), nil); err != nil {
		t.Fatal(err)
	}
	take(2000)
	for _, s := range g.Save().States {
		if len(s.Times) > 10 {
			t.Errorf("%d times are kept, want 10", len(s.Times))
		}
	}
	if _, err := g.Retune(unit(10), nil); err != nil {
		t.Error(err)
	}
}
