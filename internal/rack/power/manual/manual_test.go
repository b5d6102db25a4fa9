package manual_test

import (
	"log/slog"
	"testing"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/power"
	"github.com/metalward/metalward/internal/rack/power/manual"
)

func TestNothingIsKnown(t *testing.T) {
	d := manual.New(slog.New(slog.DiscardHandler))
	for _, a := range []metal.PowerAction{metal.ActionOn, metal.ActionOff, metal.ActionCycle, metal.ActionQuery} {
		if state, err := d.Do(t.Context(), power.Request{Action: a}); err != nil || state != metal.PowerUnknown {
			t.Errorf("%s: got %q, %v; want unknown", a, state, err)
		}
	}
	if _, err := d.Do(t.Context(), power.Request{Action: "explode"}); err == nil {
		t.Error("an unknown action was accepted")
	}
}
