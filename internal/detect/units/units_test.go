package units

import (
	"testing"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/logs"
	"net/netip"
)

// sampleSite is the site that samples come from.
var sampleSite = detect.Site{Inside: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}

func run(t *testing.T, on []string, lines []string) []detect.Alert {
	t.Helper()
	g, err := detect.New(Every, sampleSite, on, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := logs.NewParser(time.UTC, 2026)
	var r logs.Record
	for _, line := range lines {
		p.Parse(line, &r)
		g.Take(&r, detect.Line{From: "sample", Text: line})
	}
	return g.Alerts
}

// TestUnits refuses a unit that is described badly, and holds each against its samples: those that must fire and those that must not.
func TestUnits(t *testing.T) {
	for _, u := range Every {
		t.Run(u.ID, func(t *testing.T) {
			if why := u.Problem(); why != "" {
				t.Fatal(why)
			}
			if u.Why == "" || u.Source == "" {
				t.Error("why and source are for who reads the alert")
			}
			if u.Off && u.Explanation == "" {
				t.Error("a unit that is off says why")
			}
			fires, quiet := false, false
			for _, s := range u.Samples {
				var got detect.Severity
				for _, a := range run(t, []string{u.ID}, s.Lines) {
					if a.Unit == u.ID {
						got = max(got, a.Severity)
					}
				}
				if got != s.Want {
					t.Errorf("%s: %v, want %v", s.Name, got, s.Want)
				}
				fires = fires || s.Want != 0
				quiet = quiet || s.Want < u.Rungs[len(u.Rungs)-1].Severity
			}
			if !fires || !quiet {
				t.Error("samples that must fire, and samples that must not")
			}
		})
	}
}
