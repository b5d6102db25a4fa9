package ui

import (
	"fmt"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/region/hostchecks"
	"github.com/metalward/metalward/internal/region/store"
)

// hosts is what pages show of the controllers' own hosts.
type hosts struct {
	List    []hostLine
	Waivers []waiverLine
}

type hostLine struct {
	hostchecks.Standing
	Course course
}

type waiverLine struct {
	store.HostWaiver
	Name  string // of the controller; "" for all
	Last  string // day
	Ended bool
}

// hosts are all of them, with all waivers.
func (q *request) hosts() (h hosts, err error) {
	list, err := q.ui.Hosts.List(q.http.Context())
	if err != nil {
		return h, err
	}
	names := map[string]string{}
	for _, s := range list {
		h.List = append(h.List, hostLine{s, newCourse(s.Points)})
		names[s.Controller.SystemID] = s.Controller.Hostname
	}
	waivers, err := q.ui.Hosts.Waivers(q.http.Context())
	for _, w := range waivers {
		l := waiverLine{HostWaiver: w, Last: w.Until.AddDate(0, 0, -1).UTC().Format(time.DateOnly), Ended: hostchecks.Ended(w, time.Now())}
		if l.Name = names[w.Controller]; l.Name == "" && w.Controller != "" {
			l.Name = w.Controller + ", which was removed"
		}
		h.Waivers = append(h.Waivers, l)
	}
	return h, err
}

// course is a controller's scores as a line: of SVG, and in words for who does not see it.
type course struct {
	Points string // of a polyline in a box of courseWidth by courseHeight
	Text   string
}

// The box of a course in pixels; a score of 100 is at its top.
const (
	courseWidth  = 120
	courseHeight = 24
	courseEdge   = 2 // so that the line's ends are not cut off
)

func newCourse(points []store.HostPoint) course {
	if len(points) == 0 {
		return course{Text: "No scores yet"}
	}
	first, last := points[0], points[len(points)-1]
	days := last.Day.Sub(first.Day)
	low := last.Score
	var b strings.Builder
	for _, p := range points {
		low = min(low, p.Score)
		x := float64(courseWidth - courseEdge)
		if days > 0 {
			x = courseEdge + float64(courseWidth-2*courseEdge)*float64(p.Day.Sub(first.Day))/float64(days)
		}
		y := courseEdge + float64(courseHeight-2*courseEdge)*float64(100-p.Score)/100
		if days == 0 { // a point is no line
			fmt.Fprintf(&b, "%d,%.1f ", courseEdge, y)
		}
		fmt.Fprintf(&b, "%.1f,%.1f ", x, y)
	}
	text := fmt.Sprintf("%d on %s, the only day yet", last.Score, last.Day.UTC().Format(time.DateOnly))
	if days > 0 {
		text = fmt.Sprintf("from %d on %s to %d on %s, %d at the lowest", first.Score, first.Day.UTC().Format(time.DateOnly), last.Score, last.Day.UTC().Format(time.DateOnly), low)
	}
	return course{strings.TrimSpace(b.String()), text}
}

// severityTone is the colour of a severity, which its word says, too.
func severityTone(s guard.Severity) string {
	if s >= guard.High {
		return "bad"
	}
	if s == guard.Medium {
		return "held"
	}
	return "plain"
}

type hostReport struct {
	hostLine
	Failing, Dark []hostchecks.Finding // what fails, and what could not be checked
	Checks        []waivable           // that find something
	Next          string               // a day in half a year, for a waiver
}

// waivable is a check that finds something, for a form.
type waivable struct{ ID, Title string }

func (q *request) hostReport() error { return q.hostAgain(nil) }

func (q *request) hostAgain(cause error) error {
	s, err := q.ui.Hosts.Get(q.http.Context(), q.http.PathValue("id"))
	if err != nil {
		return err
	}
	d := hostReport{hostLine: hostLine{s, newCourse(s.Points)}, Next: time.Now().UTC().AddDate(0, 6, 0).Format(time.DateOnly)}
	seen := map[string]bool{}
	for _, f := range s.Findings {
		if f.State == guard.Fail {
			d.Failing = append(d.Failing, f)
		} else {
			d.Dark = append(d.Dark, f)
		}
		if f.Waiver == nil && !seen[f.Check] {
			seen[f.Check] = true
			d.Checks = append(d.Checks, waivable{f.Check, f.Title})
		}
	}
	title := "Host of " + s.Controller.Hostname
	if cause != nil {
		return q.again(cause, "host", title, d)
	}
	return q.show("host", title, d)
}

func (q *request) hostPath() string { return "/settings/security/hosts/" + q.http.PathValue("id") }

func (q *request) checkHost() error {
	if err := q.ui.Hosts.Again(q.http.Context(), q.http.PathValue("id")); err != nil {
		return q.hostAgain(err)
	}
	return q.redirect(q.hostPath(), "checking")
}

func (q *request) waive() error {
	w := hostchecks.Waiver{Check: q.get("check"), Controller: q.http.PathValue("id"), Owner: q.get("owner"), Reason: q.get("reason"), Until: q.get("until")}
	if q.form.Has("everywhere") {
		w.Controller = ""
	}
	if _, err := q.ui.Hosts.Waive(q.http.Context(), w); err != nil {
		return q.hostAgain(err)
	}
	return q.redirect(q.hostPath(), "saved")
}

func (q *request) unwaive() error {
	if err := q.ui.Hosts.Unwaive(q.http.Context(), q.pathID("id")); err != nil {
		return err
	}
	return q.redirect("/settings/security", "deleted")
}
