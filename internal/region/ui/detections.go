package ui

import (
	"github.com/metalward/metalward/internal/region/alerts"
)

// detections lists when detections fire.
func (q *request) detections() error {
	list, err := q.ui.Alerts.Detections(q.http.Context())
	if err != nil {
		return err
	}
	return q.show("detections", "Detections", list)
}

type detectionData struct {
	alerts.Detection
	Wanted  string // thresholds of the form
	Unwant  bool   // the form has it not run
	Preview *alerts.Preview
}

// detection shows a detection; with thresholds in the address, also what they would have found.
func (q *request) detection() error {
	ctx, query := q.http.Context(), q.http.URL.Query()
	d, err := q.ui.Alerts.Detection(ctx, q.http.PathValue("unit"))
	if err != nil {
		return err
	}
	data := detectionData{Detection: d, Wanted: d.Text(), Unwant: d.Off}
	if query.Has("thresholds") {
		data.Wanted, data.Unwant = query.Get("thresholds"), query.Has("off")
		p, err := q.ui.Alerts.Preview(ctx, d.ID, data.Wanted, data.Unwant)
		if err != nil {
			return q.again(err, "detection", d.Title, data)
		}
		data.Preview = &p
	}
	return q.show("detection", d.Title, data)
}

func (q *request) setThresholds() error {
	ctx, unit := q.http.Context(), q.http.PathValue("unit")
	_, cause := q.ui.Alerts.SetThresholds(ctx, unit, q.get("thresholds"), q.form.Has("off"))
	if cause == nil {
		return q.redirect("/detections/"+unit, "saved")
	}
	d, err := q.ui.Alerts.Detection(ctx, unit)
	if err != nil {
		return err
	}
	return q.again(cause, "detection", d.Title, detectionData{Detection: d, Wanted: q.get("thresholds"), Unwant: q.form.Has("off")})
}
