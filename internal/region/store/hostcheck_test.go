package store_test

import (
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/store"
)

// testHostChecks keeps the newest report of each controller, a point for each of the last days, and the waivers.
func testHostChecks(d *db) {
	d.do(func(tx *store.Tx) error {
		return tx.AddController(metal.Controller{SystemID: "c1", Hostname: "one", Type: metal.NodeRackController, Created: t0})
	})
	got := func() store.HostCheck {
		return read(d, func(v *store.View) (store.HostCheck, error) { return v.HostCheck("c1") })
	}
	d.view(func(v *store.View) error { _, err := v.HostCheck("c1"); d.want(err, fault.NotFound); return nil })
	d.do(func(tx *store.Tx) error { return tx.WantHostCheck("c1", t0) })
	d.same(got(), store.HostCheck{Controller: "c1", Told: []string{}, Wanted: t0})
	d.same(read(d, func(v *store.View) (map[string]time.Time, error) { return v.HostChecksWanted() }), map[string]time.Time{"c1": t0})

	report := guard.HostReport{At: t0, Findings: []guard.HostFinding{{Check: "files-x", State: guard.Fail, Severity: guard.High, Evidence: []string{"“it”"}}}}
	for day := range store.MaxHostPoints + 3 {
		for hour := range 2 { // the day's last stays
			at := t0.Add(time.Duration(day)*24*time.Hour + time.Duration(hour)*time.Hour)
			if touched := d.do(func(tx *store.Tx) error {
				return tx.PutHostCheck("c1", report, &store.HostPoint{Score: day % 100, High: hour}, at)
			}); len(touched) > 0 {
				d.t.Fatalf("an observation touched %v", touched)
			}
		}
	}
	d.do(func(tx *store.Tx) error {
		return tx.PutHostCheck("c1", report, nil, t0.Add((store.MaxHostPoints+2)*24*time.Hour+time.Hour))
	})
	d.do(func(tx *store.Tx) error { return tx.SeeHostTold("c1", []string{"files-x"}) })
	last := t0.Add((store.MaxHostPoints+2)*24*time.Hour + time.Hour)
	d.same(got(), store.HostCheck{Controller: "c1", At: last, Report: report, Told: []string{"files-x"}, Wanted: t0})
	d.same(read(d, func(v *store.View) (map[string]time.Time, error) { return v.HostChecksWanted() }), map[string]time.Time{})
	points := read(d, func(v *store.View) ([]store.HostPoint, error) { return v.HostPoints("c1") })
	d.same(len(points), store.MaxHostPoints)
	d.same(read(d, func(v *store.View) (map[string][]store.HostPoint, error) { return v.HostCourses() }), map[string][]store.HostPoint{"c1": points})
	d.same(points[len(points)-1], store.HostPoint{Day: last.Truncate(24 * time.Hour), Score: (store.MaxHostPoints + 2) % 100, High: 1})

	w := store.HostWaiver{Check: "files-x", Severity: guard.High, Owner: "o", Reason: "r", Until: t0, Created: t0, CreatedBy: "admin"}
	d.do(func(tx *store.Tx) error { return tx.AddHostWaiver(&w) })
	_, err := d.try(func(tx *store.Tx) error { again := w; return tx.AddHostWaiver(&again) })
	d.want(err, fault.Conflict)
	d.same(read(d, func(v *store.View) ([]store.HostWaiver, error) { return v.HostWaivers() }), []store.HostWaiver{w})
	d.do(func(tx *store.Tx) error { return tx.DeleteHostWaiver(w.ID) })
	d.view(func(v *store.View) error { _, err := v.HostWaiver(w.ID); d.want(err, fault.NotFound); return nil })

	d.do(func(tx *store.Tx) error { // a rack that was removed has no host
		return tx.PutController(metal.Controller{SystemID: "c1", Hostname: "one", Type: metal.NodeRackController, Created: t0, Revoked: true})
	})
	d.view(func(v *store.View) error { _, err := v.HostCheck("c1"); d.want(err, fault.NotFound); return nil })
}
