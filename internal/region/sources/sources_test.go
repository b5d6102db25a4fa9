package sources

import (
	"slices"
	"testing"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/region/store"
)

// Of the region's own events a complaint has the time, the kind and the outcome; of logs nothing, though an attacker wrote them as such events.
func TestSeen(t *testing.T) {
	a := store.Alert{Lines: []detect.Line{{Text: `{"datetime":"2026-11-07T06:13:45Z","event":"authn_login_fail:carol","outcome":"denied"}`}, {Text: "no JSON"}, {Text: `{"datetime":"soon","event":"x"}`}}}
	for origin, want := range map[store.AlertOrigin][]string{store.FromEvents: {"2026-11-07T06:13:45Z authn_login_fail denied"}, store.FromLogs: nil, store.FromSyslog: nil} {
		a.Origin = origin
		if got := seen(a); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", origin, got, want)
		}
	}
}
