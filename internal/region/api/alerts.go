package api

import (
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/alerts"
	"github.com/metalward/metalward/internal/region/store"
)

// bindAlerts binds what detections found in security events.
func (a *API) bindAlerts() map[string]handler {
	// on does something about one alert.
	on := func(fn func(r *request, id int64) (store.Alert, error)) handler {
		return func(r *request) (any, error) {
			id, err := r.id("id", authz.NounAlert)
			if err != nil {
				return nil, err
			}
			x, err := fn(r, id)
			if err != nil {
				return nil, err
			}
			return a.alertJSON(x), nil
		}
	}
	return map[string]handler{
		"hostlogs.list": func(r *request) (any, error) {
			list, err := a.Alerts.Logs(r.ctx)
			return each(list, hostLogsJSON), err
		},
		"alerts.list": a.listAlerts,
		"alert.read":  on(func(r *request, id int64) (store.Alert, error) { return a.Alerts.Get(r.ctx, id) }),
		"alert.acknowledge": on(func(r *request, id int64) (store.Alert, error) {
			return a.Alerts.Acknowledge(r.ctx, id, r.form.Get("reason"))
		}),
		"alert.resolve": on(func(r *request, id int64) (store.Alert, error) {
			return a.Alerts.Resolve(r.ctx, id, r.form.Get("reason"))
		}),
		"alert.silence": on(func(r *request, id int64) (store.Alert, error) {
			return a.Alerts.Silence(r.ctx, id, r.form.Get("reason"), r.form.Get("until"))
		}),
		"alert.unsilence": on(func(r *request, id int64) (store.Alert, error) { return a.Alerts.Unsilence(r.ctx, id) }),
		"alertunits.list": func(r *request) (any, error) {
			list, err := a.Alerts.Detections(r.ctx)
			return each(list, alertUnitJSON), err
		},
		"alertunit.read": func(r *request) (any, error) {
			d, err := a.Alerts.Detection(r.ctx, r.path["unit"])
			return alertUnitJSON(d), err
		},
		"alertunit.update": func(r *request) (any, error) {
			off, err := r.off()
			if err != nil {
				return nil, err
			}
			d, err := a.Alerts.SetThresholds(r.ctx, r.path["unit"], r.form.Get("thresholds"), off)
			return alertUnitJSON(d), err
		},
		"alertunit.preview": func(r *request) (any, error) {
			off, err := r.off()
			if err != nil {
				return nil, err
			}
			p, err := a.Alerts.Preview(r.ctx, r.path["unit"], r.form.Get("thresholds"), off)
			return previewJSON(p), err
		},
		"alerts.hours": func(r *request) (any, error) {
			list, err := a.Alerts.Hours(r.ctx)
			return each(list, func(h store.AlertHour) any {
				return struct {
					Unit   string `json:"unit"`
					Hour   string `json:"hour"`
					Events int64  `json:"events"`
				}{h.Unit, h.Hour.Format(time.RFC3339), h.Events}
			}), err
		},
	}
}

func (a *API) listAlerts(r *request) (any, error) {
	q := store.AlertQuery{Unit: r.form.Get("unit")}
	if name := r.form.Get("state"); name != "" {
		state, ok := store.ParseAlertState(name)
		if !ok {
			return nil, fault.Field("state", "Use open, acknowledged or resolved.")
		}
		q.States = []store.AlertState{state}
	}
	if name := r.form.Get("severity"); name != "" {
		ok := false
		if q.Least, ok = detect.ParseSeverity(name); !ok {
			return nil, fault.Field("severity", "Use info, low, medium or high.")
		}
	}
	var err error
	if q.Before, _, q.Limit, err = r.page(); err != nil {
		return nil, err
	}
	list, err := a.Alerts.List(r.ctx, q)
	return each(list, a.alertJSON), err
}

func (a *API) alertJSON(x store.Alert) any {
	u := alerts.Unit(x.Unit)
	stamp := func(t time.Time) any {
		if t.IsZero() {
			return nil
		}
		return t.UTC().Format(time.RFC3339)
	}
	return struct {
		ID          int64             `json:"id"`
		Region      string            `json:"region"` // system id of the controller that found it
		Controller  string            `json:"controller"`
		Origin      string            `json:"origin"`  // events, logs or syslog
		Machine     string            `json:"machine"` // system id of the one that sent the lines by syslog, where that is known
		Unit        string            `json:"unit"`
		Title       string            `json:"title"`
		Severity    detect.Severity   `json:"severity"`
		Proves      bool              `json:"proves_source"`
		Key         []detect.KeyValue `json:"key"`
		Client      string            `json:"client"` // "" when nobody is known
		User        string            `json:"user"`
		Host        string            `json:"host"`
		First       any               `json:"first"`
		Last        any               `json:"last"`
		Count       int64             `json:"count"`
		Lines       []detect.Line     `json:"lines"`
		Do          string            `json:"do"`
		ATTACK      []string          `json:"attack"`
		State       string            `json:"state"`
		Acted       any               `json:"acted"` // null when nobody did anything yet
		ActedBy     string            `json:"acted_by"`
		ActedWhy    string            `json:"acted_reason"`
		Silenced    bool              `json:"silenced"`
		SilentUntil any               `json:"silenced_until"`
		SilentWhy   string            `json:"silence_reason"`
		SilentBy    string            `json:"silenced_by"`
		URI         string            `json:"resource_uri"`
	}{x.ID, x.Region, x.Controller, alertOrigin(x.Origin), x.Machine, x.Unit, u.Title, x.Severity, x.Proves, x.Key, x.Client, x.User, x.Host, stamp(x.First), stamp(x.Last), x.Count, x.Lines, u.Do, append([]string{}, u.ATTACK...),
		x.State.String(), stamp(x.Acted), x.ActedBy, x.ActedWhy, alerts.Silenced(x, a.Now()), stamp(x.SilentUntil), x.SilentWhy, x.SilentBy, uri("/alerts/%d/", x.ID)}
}

// off says whether a detection is not to run.
func (r *request) off() (bool, error) {
	off, err := metal.ParseBool(r.form.Get("off"))
	if err != nil {
		return false, fault.Field("off", "%s", fault.Message(err))
	}
	return off, nil
}

func previewJSON(p alerts.Preview) any {
	type found struct {
		Key      []detect.KeyValue `json:"key"`
		Severity detect.Severity   `json:"severity"`
		First    string            `json:"first"`
		Last     string            `json:"last"`
		Count    int64             `json:"count"`
	}
	one := func(x alerts.Previewed) found {
		return found{x.Key, x.Severity, x.First.Format(time.RFC3339), x.Last.Format(time.RFC3339), x.Count}
	}
	return struct {
		Events int     `json:"events"`
		All    bool    `json:"all"`
		Now    int     `json:"alerts_now"`
		Then   int     `json:"alerts_then"`
		New    []found `json:"new"`
		Gone   []found `json:"gone"`
	}{p.Events, p.All, p.Now, p.Then, each(p.New, one), each(p.Gone, one)}
}

func alertOrigin(o store.AlertOrigin) string {
	if o == store.FromEvents {
		return "events"
	}
	return string(o)
}

func hostLogsJSON(h store.HostLogs) any {
	return struct {
		SystemID string            `json:"system_id"`
		Hostname string            `json:"hostname"`
		Told     string            `json:"told"`
		Logs     []detect.LogState `json:"logs"`
	}{h.Controller, h.Hostname, h.At.UTC().Format(time.RFC3339), h.Logs}
}

func alertUnitJSON(d alerts.Detection) any {
	type rung struct {
		When     string          `json:"when"`
		Severity detect.Severity `json:"severity"`
	}
	return struct {
		ID         string   `json:"id"`
		Title      string   `json:"title"`
		Why        string   `json:"why"`
		Do         string   `json:"do"`
		ATTACK     []string `json:"attack"`
		Proves     bool     `json:"proves_source"`
		Rungs      []rung   `json:"rungs"`
		Thresholds string   `json:"thresholds"`
		Shipped    string   `json:"shipped_thresholds"`
		Off        bool     `json:"off"`
		Looks      string   `json:"looks_at"`   // security events, or logs
		ChangedBy  string   `json:"changed_by"` // "" when it is as it came
		URI        string   `json:"resource_uri"`
	}{d.ID, d.Title, d.Why, d.Do, append([]string{}, d.ATTACK...), d.Proves, each(d.Rungs, func(r detect.Rung) rung { return rung{r.String(d.Distinct), r.Severity} }), d.Text(), d.ShippedText(), d.Off, d.LooksIn(),
		d.Changed.ChangedBy, uri("/alert-units/%s/", d.ID)}
}
