package watch

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"time"

	"github.com/metalward/metalward/internal/chart"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"events": events,
	"span":   func(a Alert) string { return a.span() },
	"when":   func(t time.Time) string { return t.Format("2006-01-02 15:04:05") },
}).Parse(page))

func writeHTML(w io.Writer, r *Report) error {
	hours := make([]chart.Hour, len(r.Hours))
	for i, h := range r.Hours {
		hours[i] = chart.Hour{Hour: h.Hour, Row: h.Unit, N: h.N}
	}
	return pageTemplate.Execute(w, struct {
		*Report
		Timeline, HeatMap template.HTML
		Text              string
	}{r, chart.Timeline(hours), chart.HeatMap(hours), summary(r)})
}

func summary(r *Report) string {
	n := make(map[string]int)
	for _, a := range r.Alerts {
		n[a.Severity.String()]++
	}
	return fmt.Sprintf("%d alerts: %d high, %d medium, %d low, %d info, in %d lines of %d files", len(r.Alerts), n["high"], n["medium"], n["low"], n["info"], r.Lines, len(r.Sources))
}
