package gate_test

import (
	"testing"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/regiontest"
)

// Of a stranger's guesses the trail has some; who counts hears of every one, of each once.
func TestHeard(t *testing.T) {
	d := newDoor(t, regiontest.SQLite(t))
	told, heard := 0, 0
	d.g = gate.New(gate.Config{Region: regiontest.RegionID, Reader: d.r, Writer: d.w, Log: regiontest.Silent, Now: d.clock.Now, Key: key,
		Told: func(authz.Principal, authz.Origin, metal.AuditEvent) { told++ }, Noise: func(authz.Principal, authz.Origin, metal.AuditEvent) { heard++ }})
	stranger := authz.With(origin("192.0.2.66"), authz.Principal{Kind: authz.Anonymous})
	for range 20 {
		d.g.Denied(stranger, authz.MachineView, fault.New(fault.Unauthenticated, "no"))
		d.g.Security(stranger, "x", nil)
	}
	before := len(d.trail())
	for i := range 20 { // a rack that was taken over fills no trail either, and hides no other kind
		d.g.Security(authz.With(origin("192.0.2.67"), authz.Principal{Kind: authz.Rack, Name: "rack01"}), []string{"a", "b"}[i/15], nil)
	}
	if n := len(d.trail()) - before; n != 15 {
		t.Errorf("twenty events of a rack are %d rows, want 10 and 5", n)
	}
	if n := len(d.trail()); told != n || told+heard != 60 || heard == 0 {
		t.Errorf("told of %d, heard of %d, the trail has %d", told, heard, n)
	}
}
