package store_test

import (
	"fmt"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/store"
)

// testAlerts keeps one row for each unit, key and first event, what people did about it, and no more than so many.
func testAlerts(d *db) {
	a := store.Alert{Region: "r", Unit: "maas_x", Severity: detect.Medium, Proves: true, Key: []detect.KeyValue{{Field: "source", Value: "192.0.2.1"}}, Client: "192.0.2.1", User: `a"<b>`, Host: "h",
		First: t0, Last: t0, Count: 5, Lines: []detect.Line{{From: "f", Text: "t"}}}
	see := func(list ...store.Alert) {
		d.t.Helper()
		for _, a := range list {
			if touched := d.do(func(tx *store.Tx) error { return tx.SeeAlert(a) }); len(touched) > 0 {
				d.t.Fatalf("an observation touched %v", touched)
			}
		}
	}
	list := func(q store.AlertQuery) []store.Alert {
		d.t.Helper()
		if q.Limit == 0 {
			q.Limit = 100
		}
		return read(d, func(v *store.View) ([]store.Alert, error) { return v.Alerts(q) })
	}
	see(a)
	a.ID = list(store.AlertQuery{})[0].ID
	d.same(list(store.AlertQuery{}), []store.Alert{a})
	a.Severity, a.Count, a.Last = detect.High, 20, t0.Add(time.Minute)
	see(a)
	d.same(list(store.AlertQuery{}), []store.Alert{a})
	d.same(read(d, func(v *store.View) ([]store.AlertSum, error) { return v.AlertSums(t0) }), []store.AlertSum{{Unit: "maas_x", Severity: detect.High, Alerts: 1, Untold: 1, Newest: a.ID}})
	d.same(read(d, func(v *store.View) ([]store.AlertSource, error) { return v.AlertSources(5) }), []store.AlertSource{{Client: "192.0.2.1", Alerts: 1, Events: 20, Worst: detect.High}})

	// Further events count in the hour of the last one; a week is kept.
	hours := func() []store.AlertHour {
		return read(d, func(v *store.View) ([]store.AlertHour, error) { return v.AlertHours(t0.Add(-store.AlertHours)) })
	}
	hour := t0.Truncate(time.Hour)
	d.same(hours(), []store.AlertHour{{Unit: "maas_x", Hour: hour, Events: 20}})
	more := a
	more.Count, more.Last = 25, t0.Add(2*time.Hour)
	see(more, more)
	d.same(hours(), []store.AlertHour{{Unit: "maas_x", Hour: hour, Events: 20}, {Unit: "maas_x", Hour: hour.Add(2 * time.Hour), Events: 5}})
	d.do(func(tx *store.Tx) error { return tx.SettleAlerts(t0, t0.Add(store.AlertHours+time.Hour), 100) })
	d.same(hours(), []store.AlertHour{{Unit: "maas_x", Hour: hour.Add(2 * time.Hour), Events: 5}})

	// What a site changes of a detection: one row each.
	changes := func() []store.Threshold { return read(d, (*store.View).Thresholds) }
	d.same(len(changes()), 0)
	x := store.Threshold{Threshold: detect.Threshold{Unit: "maas_x", Rungs: []detect.Rung{{Count: 3, Window: time.Minute, Severity: detect.High}}}, Changed: t0, ChangedBy: "root"}
	d.same(d.do(func(tx *store.Tx) error { return tx.PutThreshold(x) }), []store.Touch{{Target: store.ThresholdTarget("maas_x")}})
	d.same(changes(), []store.Threshold{x})
	x.Off, x.Rungs = true, []detect.Rung{}
	d.do(func(tx *store.Tx) error { return tx.PutThreshold(x) })
	d.same(changes(), []store.Threshold{x})
	d.do(func(tx *store.Tx) error { return tx.DeleteThreshold("maas_x") })
	d.same(len(changes()), 0)

	a.Count = 25 // which never goes back
	// Told once; resolved, and open again by what comes after.
	d.do(func(tx *store.Tx) error { return tx.SeeAlertsTold("maas_x", detect.Medium, t0) })
	a.Told = true
	a.State, a.Acted, a.ActedBy, a.ActedWhy = store.AlertResolved, t0.Add(time.Hour), "root", "why"
	d.do(func(tx *store.Tx) error { return tx.PutAlert(a) })
	see(a) // of before that
	d.same(list(store.AlertQuery{States: []store.AlertState{store.AlertResolved}}), []store.Alert{a})
	d.same(len(list(store.AlertQuery{States: []store.AlertState{store.AlertOpen, store.AlertAcknowledged}})), 0)
	a.Last, a.State, a.Told = t0.Add(2*time.Hour), store.AlertOpen, false
	see(a)
	d.same(list(store.AlertQuery{}), []store.Alert{a})

	// Silence is for the unit and key: the next alert has it too, and it ends.
	a.SilentUntil, a.SilentWhy, a.SilentBy = t0.Add(48*time.Hour), "known", "root"
	d.do(func(tx *store.Tx) error { return tx.PutAlert(a) })
	d.same(len(read(d, func(v *store.View) ([]store.AlertSum, error) { return v.AlertSums(t0.Add(47 * time.Hour)) })), 0)
	d.same(len(read(d, func(v *store.View) ([]store.AlertSum, error) { return v.AlertSums(t0.Add(48 * time.Hour)) })), 1)
	next := a
	next.First, next.Last, next.SilentUntil, next.SilentWhy, next.SilentBy = t0.Add(30*time.Hour), t0.Add(30*time.Hour), time.Time{}, "", ""
	see(next)
	later := next
	later.First, later.Last = t0.Add(60*time.Hour), t0.Add(60*time.Hour)
	see(later)
	got := list(store.AlertQuery{})
	if len(got) != 3 || !got[1].SilentUntil.Equal(a.SilentUntil) || got[1].SilentBy != "root" || !got[0].SilentUntil.IsZero() {
		d.t.Errorf("got %+v, want the silence for the second and not for the third", got)
	}

	// Filters, pages, order.
	info := a
	info.Unit, info.Severity, info.Last = "mw_y", detect.Info, t0.Add(90*time.Hour)
	see(info)
	all := list(store.AlertQuery{})
	d.same(len(list(store.AlertQuery{Unit: "mw_y"})), 1)
	d.same(len(list(store.AlertQuery{Least: detect.Low})), 3)
	d.same(list(store.AlertQuery{Before: all[1].ID, Limit: 1})[0].ID, all[2].ID)
	d.same(list(store.AlertQuery{Worst: true})[3].Unit, "mw_y")
	d.view(func(v *store.View) error { _, err := v.Alert(all[0].ID + 1); d.want(err, fault.NotFound); return nil })

	// What is quiet settles; of too many go the resolved ones first, then what matters least.
	settle := func(most int) {
		d.do(func(tx *store.Tx) error { return tx.SettleAlerts(t0.Add(100*time.Hour), t0.Add(124*time.Hour), most) })
	}
	settle(4)
	d.same(list(store.AlertQuery{Unit: "mw_y"})[0].State, store.AlertResolved)
	settle(3)
	d.same(len(list(store.AlertQuery{Unit: "mw_y"})), 0)
	for i := range 3 {
		low := later
		low.Unit, low.Severity, low.First = fmt.Sprint("low", i), detect.Low, t0
		see(low)
	}
	settle(3)
	d.same(len(list(store.AlertQuery{Least: detect.High})), 3)
}
