package ui

import (
	"html/template"
	"time"

	"github.com/metalward/metalward/internal/chart"
	"github.com/metalward/metalward/internal/region/alerts"
	"github.com/metalward/metalward/internal/region/store"
)

// Bounds of the page of alerts.
const (
	alertPage  = 200
	topSources = 10
)

// alertLine is an alert for people.
type alertLine struct {
	store.Alert
	Title, Do string
	ATTACK    []string
	Silent    bool
}

type alertList struct {
	State   string // of the filter: open, acknowledged, resolved; "" for what is not resolved
	Rows    []alertLine
	More    bool // there are more than the page has
	Units   []alertCount
	Sources []store.AlertSource

	Timeline, HeatMap template.HTML // of the last week
}

// alertCount is how many alerts of the page a detection has.
type alertCount struct {
	Unit, Title string
	Alerts      int
	Events      int64
}

func newAlertLine(a store.Alert, now time.Time) alertLine {
	u := alerts.Unit(a.Unit)
	return alertLine{a, u.Title, u.Do, u.ATTACK, alerts.Silenced(a, now)}
}

// alerts lists what detections found, the worst first.
func (q *request) alerts() error {
	d := alertList{State: q.http.URL.Query().Get("state")}
	query := store.AlertQuery{States: []store.AlertState{store.AlertOpen, store.AlertAcknowledged}, Worst: true, Limit: alertPage + 1}
	if s, ok := store.ParseAlertState(d.State); ok {
		query.States = []store.AlertState{s}
	} else {
		d.State = ""
	}
	list, err := q.ui.Alerts.List(q.http.Context(), query)
	if err != nil {
		return err
	}
	if d.More = len(list) > alertPage; d.More {
		list = list[:alertPage]
	}
	at := map[string]int{}
	for _, a := range list {
		line := newAlertLine(a, time.Now())
		d.Rows = append(d.Rows, line)
		i, ok := at[a.Unit]
		if !ok {
			i = len(d.Units)
			at[a.Unit] = i
			d.Units = append(d.Units, alertCount{Unit: a.Unit, Title: line.Title})
		}
		d.Units[i].Alerts++
		d.Units[i].Events += a.Count
	}
	if d.Sources, err = q.ui.Alerts.Sources(q.http.Context(), topSources); err != nil {
		return err
	}
	hours, err := q.ui.Alerts.Hours(q.http.Context())
	if err != nil {
		return err
	}
	fields := make([]chart.Hour, len(hours))
	for i, h := range hours {
		fields[i] = chart.Hour{Hour: h.Hour, Row: h.Unit, N: h.Events}
	}
	d.Timeline, d.HeatMap = chart.Timeline(fields), chart.HeatMap(fields)
	return q.show("alerts", "Alerts", d)
}

type alertData struct {
	alertLine
	Next   string // a day in a week, for a silence
	Block  alertBlock
	Source alertSource
}

func (q *request) alert() error { return q.alertAgain(nil) }

func (q *request) alertAgain(cause error) error {
	a, err := q.ui.Alerts.Get(q.http.Context(), q.pathID("id"))
	if err != nil {
		return err
	}
	now := time.Now()
	d := alertData{alertLine: newAlertLine(a, now), Next: now.UTC().AddDate(0, 0, 7).Format(time.DateOnly), Source: q.sourceOf(a.Client)}
	if d.Block, err = q.alertBlock(a); err != nil {
		return err
	}
	if cause != nil {
		return q.again(cause, "alert", d.Title, d)
	}
	return q.show("alert", d.Title, d)
}

// onAlert does something about an alert and shows it again.
func (q *request) onAlert(do func(id int64) (store.Alert, error)) error {
	if _, err := do(q.pathID("id")); err != nil {
		return q.alertAgain(err)
	}
	return q.redirect("/alerts/"+q.http.PathValue("id"), "saved")
}

func (q *request) acknowledgeAlert() error {
	return q.onAlert(func(id int64) (store.Alert, error) {
		return q.ui.Alerts.Acknowledge(q.http.Context(), id, q.get("reason"))
	})
}

func (q *request) resolveAlert() error {
	return q.onAlert(func(id int64) (store.Alert, error) { return q.ui.Alerts.Resolve(q.http.Context(), id, q.get("reason")) })
}

func (q *request) silenceAlert() error {
	return q.onAlert(func(id int64) (store.Alert, error) {
		return q.ui.Alerts.Silence(q.http.Context(), id, q.get("reason"), q.get("until"))
	})
}

func (q *request) unsilenceAlert() error {
	return q.onAlert(func(id int64) (store.Alert, error) { return q.ui.Alerts.Unsilence(q.http.Context(), id) })
}
