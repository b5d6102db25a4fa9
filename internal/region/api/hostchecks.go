package api

import (
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/region/hostchecks"
	"github.com/metalward/metalward/internal/region/store"
)

// bindHostChecks binds what the checks of the controllers' own hosts found.
func (a *API) bindHostChecks() map[string]handler {
	return map[string]handler{
		"hostchecks.list": func(r *request) (any, error) {
			list, err := a.Hosts.List(r.ctx)
			return each(list, hostJSON), err
		},
		"hostcheck.read": func(r *request) (any, error) {
			s, err := a.Hosts.Get(r.ctx, r.path["system_id"])
			return hostReportJSON(s), err
		},
		"hostcheck.run": func(r *request) (any, error) {
			if err := a.Hosts.Again(r.ctx, r.path["system_id"]); err != nil {
				return nil, err
			}
			s, err := a.Hosts.Get(r.ctx, r.path["system_id"])
			return hostJSON(s), err
		},
		"hostwaivers.list": func(r *request) (any, error) {
			list, err := a.Hosts.Waivers(r.ctx)
			return each(list, a.hostWaiverJSON), err
		},
		"hostwaivers.create": func(r *request) (any, error) {
			w, err := a.Hosts.Waive(r.ctx, hostchecks.Waiver{Check: r.form.Get("check"), Controller: r.form.Get("controller"), Owner: r.form.Get("owner"), Reason: r.form.Get("reason"), Until: r.form.Get("until")})
			return a.hostWaiverJSON(w), err
		},
		"hostwaiver.delete": func(r *request) (any, error) {
			id, err := r.id("id", authz.NounHostWaiver)
			if err != nil {
				return nil, err
			}
			return nil, a.Hosts.Unwaive(r.ctx, id)
		},
	}
}

type hostStandJSON struct {
	SystemID  string         `json:"system_id"`
	Hostname  string         `json:"hostname"`
	Checked   string         `json:"checked"` // "" where it was not yet
	Stale     bool           `json:"stale"`
	Pending   bool           `json:"pending"`
	Problem   string         `json:"problem"`
	Score     int            `json:"score"`
	Sum       string         `json:"score_arithmetic"`
	Failing   map[string]int `json:"failing"` // findings, by severity
	Unchecked int            `json:"could_not_check"`
	Waived    int            `json:"waived"`
	URI       string         `json:"resource_uri"`
}

func hostStand(s hostchecks.Standing) hostStandJSON {
	j := hostStandJSON{SystemID: s.Controller.SystemID, Hostname: s.Controller.Hostname, Stale: s.Stale, Pending: s.Wanted, Problem: s.Report.Problem, Failing: map[string]int{},
		Unchecked: s.Score.Unchecked, Waived: s.Waived(), URI: uri("/host-checks/%s/", s.Controller.SystemID)}
	for _, sev := range guard.Severities {
		j.Failing[sev.String()] = s.Count(sev.String())
	}
	if !s.At.IsZero() {
		j.Checked, j.Score, j.Sum = s.At.UTC().Format(time.RFC3339), s.Score.Value, s.Score.String()
	}
	return j
}

func hostJSON(s hostchecks.Standing) any { return hostStand(s) }

type hostFindingJSON struct {
	guard.HostFinding
	Waiver any `json:"waiver"` // null for none
}

type hostPointJSON struct {
	Day       string `json:"day"`
	Score     int    `json:"score"`
	Critical  int    `json:"critical"`
	High      int    `json:"high"`
	Medium    int    `json:"medium"`
	Low       int    `json:"low"`
	Unchecked int    `json:"could_not_check"`
}

func hostReportJSON(s hostchecks.Standing) any {
	return struct {
		hostStandJSON
		Version  string            `json:"version"`
		Account  string            `json:"account"`
		Seconds  float64           `json:"seconds"`
		Passed   int               `json:"passed"`
		Cut      int               `json:"findings_left_out"`
		Findings []hostFindingJSON `json:"findings"`
		Course   []hostPointJSON   `json:"course"`
	}{hostStand(s), s.Report.Version, s.Report.Account, s.Report.Took.Seconds(), s.Report.Passed, s.Report.Cut, each(s.Findings, func(f hostchecks.Finding) hostFindingJSON {
		j := hostFindingJSON{HostFinding: f.HostFinding}
		if f.Waiver != nil {
			j.Waiver = map[string]any{"id": f.Waiver.ID, "owner": f.Waiver.Owner, "reason": f.Waiver.Reason, "until": lastDay(*f.Waiver)}
		}
		return j
	}), each(s.Points, func(p store.HostPoint) hostPointJSON {
		return hostPointJSON{p.Day.UTC().Format(time.DateOnly), p.Score, p.Critical, p.High, p.Medium, p.Low, p.Unchecked}
	})}
}

// lastDay is the last day of a waiver, as it was written.
func lastDay(w store.HostWaiver) string { return w.Until.UTC().AddDate(0, 0, -1).Format(time.DateOnly) }

func (a *API) hostWaiverJSON(w store.HostWaiver) any {
	var controller any
	if w.Controller != "" {
		controller = w.Controller
	}
	return struct {
		ID         int64          `json:"id"`
		Check      string         `json:"check"`
		Controller any            `json:"controller"` // null for all
		Severity   guard.Severity `json:"up_to_severity"`
		Owner      string         `json:"owner"`
		Reason     string         `json:"reason"`
		Until      string         `json:"until"`
		Ended      bool           `json:"ended"`
		Created    string         `json:"created"`
		CreatedBy  string         `json:"created_by"`
		URI        string         `json:"resource_uri"`
	}{w.ID, w.Check, controller, w.Severity, w.Owner, w.Reason, lastDay(w), hostchecks.Ended(w, a.Now()), w.Created.UTC().Format(time.RFC3339), w.CreatedBy, uri("/host-check-waivers/%d/", w.ID)}
}
