package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
)

// AlertState says what somebody did about an alert.
type AlertState int

// The states of an alert.
const (
	AlertOpen AlertState = iota
	AlertAcknowledged
	AlertResolved
)

var alertStates = []string{"open", "acknowledged", "resolved"}

// String is the state's name.
func (s AlertState) String() string { return alertStates[s] }

// ParseAlertState is the state of a name.
func ParseAlertState(name string) (AlertState, bool) {
	for i, n := range alertStates {
		if n == name {
			return AlertState(i), true
		}
	}
	return 0, false
}

// Alert is what a detection found about one key, however often, and what people did about it. Its texts are safe to print.
type Alert struct {
	ID          int64
	Region      string // system id of the controller that found it
	Controller  string // its name; "" when it was removed. Not stored
	Origin      AlertOrigin
	Machine     string // system id of the machine that sent the lines by syslog, where it is known
	MachineName string // not stored
	Unit        string
	Severity    detect.Severity
	Proves      bool // the evidence proves the source
	Key         []detect.KeyValue
	Client      string // "" when nobody is known
	User        string
	Host        string // as the events have it; of lines that came by syslog, the address that they came from
	First, Last time.Time
	Count       int64 // events
	Lines       []detect.Line

	State    AlertState
	Told     bool // administrators heard of it
	Acted    time.Time
	ActedBy  string // who acknowledged or resolved it; "" is the region itself
	ActedWhy string

	SilentUntil time.Time // nobody is told until then
	SilentWhy   string
	SilentBy    string
}

// AlertOrigin says what an alert was found in.
type AlertOrigin string

// The origins of alerts.
const (
	FromEvents AlertOrigin = ""       // the region's own security events
	FromLogs   AlertOrigin = "logs"   // the logs of a controller's own host
	FromSyslog AlertOrigin = "syslog" // what a machine sent to a controller: it proves nothing
)

// String is the origin in words.
func (o AlertOrigin) String() string {
	switch o {
	case FromLogs:
		return "logs of the controller's host"
	case FromSyslog:
		return "syslog that a machine sent"
	}
	return "security events"
}

// AlertTarget is an alert as the object of an action.
func AlertTarget(id int64) authz.Target {
	return authz.Target{Noun: authz.NounAlert, ID: authz.ID(id)}
}

const alertQuery = `SELECT id, region, unit, about, first_seen, last_seen, severity, proves, client, user_name, host, events, lines, state, told, acted, acted_by, acted_why,
	silent_until, silent_why, silent_by, origin, machine, COALESCE((SELECT hostname FROM controllers WHERE system_id = alerts.region), ''),
	COALESCE((SELECT hostname FROM machines WHERE system_id = alerts.machine), '') FROM alerts`

func scanAlert(scan func(...any) error) (a Alert, err error) {
	var first, last, acted, silent, proves, told int64
	var about, lines string
	if err = scan(&a.ID, &a.Region, &a.Unit, &about, &first, &last, &a.Severity, &proves, &a.Client, &a.User, &a.Host, &a.Count, &lines, &a.State, &told, &acted, &a.ActedBy, &a.ActedWhy,
		&silent, &a.SilentWhy, &a.SilentBy, &a.Origin, &a.Machine, &a.Controller, &a.MachineName); err != nil {
		return a, err
	}
	a.First, a.Last, a.Acted, a.SilentUntil, a.Proves, a.Told = fromMicros(first), fromMicros(last), fromMicros(acted), fromMicros(silent), proves != 0, told != 0
	if err = json.Unmarshal([]byte(about), &a.Key); err == nil {
		err = json.Unmarshal([]byte(lines), &a.Lines)
	}
	if err == nil && (a.Severity < detect.Info || a.Severity > detect.High || a.State < AlertOpen || a.State > AlertResolved) {
		err = fmt.Errorf("severity %d, state %d", int(a.Severity), int(a.State))
	}
	if err != nil {
		err = fmt.Errorf("cannot read alert %d: %w", a.ID, err)
	}
	return a, err
}

// AlertQuery selects alerts; zero fields select all.
type AlertQuery struct {
	States []AlertState
	Least  detect.Severity
	Unit   string
	Before int64 // id
	Limit  int   // at most; has to be given
	// Worst lists the worst first, and of these the latest; otherwise those come first that were found last.
	Worst bool
}

// Alerts lists alerts.
func (v *View) Alerts(q AlertQuery) ([]Alert, error) {
	where, args := []string{"severity >= ?"}, []any{int(q.Least)}
	if len(q.States) > 0 {
		where = append(where, "state IN (?"+strings.Repeat(", ?", len(q.States)-1)+")")
		for _, s := range q.States {
			args = append(args, int(s))
		}
	}
	if q.Unit != "" {
		where, args = append(where, "unit = ?"), append(args, q.Unit)
	}
	if q.Before != 0 {
		where, args = append(where, "id < ?"), append(args, q.Before)
	}
	order := "id DESC"
	if q.Worst {
		order = "severity DESC, last_seen DESC, id DESC"
	}
	return all(v, scanAlert, alertQuery+" WHERE "+strings.Join(where, " AND ")+" ORDER BY "+order+" LIMIT ?", append(args, q.Limit)...)
}

// Alert returns an alert. Kinds: NotFound.
func (v *View) Alert(id int64) (Alert, error) {
	return one(v, authz.NounAlert, scanAlert, alertQuery+" WHERE id = ?", id)
}

// AlertSum is how many alerts of a unit and severity are open and not silenced.
type AlertSum struct {
	Unit     string
	Severity detect.Severity
	Alerts   int
	Untold   int   // of these administrators did not hear of
	Newest   int64 // id
}

// AlertSums counts the open alerts that are not silenced.
func (v *View) AlertSums(now time.Time) ([]AlertSum, error) {
	return all(v, func(scan func(...any) error) (s AlertSum, err error) {
		return s, scan(&s.Unit, &s.Severity, &s.Alerts, &s.Untold, &s.Newest)
	}, `SELECT unit, severity, COUNT(*), CAST(SUM(1 - told) AS BIGINT), MAX(id) FROM alerts WHERE state = 0 AND silent_until <= ? GROUP BY unit, severity ORDER BY unit, severity`, micros(now))
}

// AlertSource is a client that alerts which are not resolved are about.
type AlertSource struct {
	Client string
	Alerts int
	Events int64
	Worst  detect.Severity
}

// AlertSources lists the clients of alerts that are not resolved, the worst first.
func (v *View) AlertSources(limit int) ([]AlertSource, error) {
	return all(v, func(scan func(...any) error) (s AlertSource, err error) {
		return s, scan(&s.Client, &s.Alerts, &s.Events, &s.Worst)
	}, `SELECT client, COUNT(*), CAST(SUM(events) AS BIGINT), MAX(severity) FROM alerts WHERE state <> 2 AND client <> '' GROUP BY client ORDER BY 4 DESC, 3 DESC, client LIMIT ?`, limit)
}

// SeeAlert stores what a detection found: an observation. The same region, unit, key and first event are the same alert. One that was resolved is open
// again by an event after that; its count never goes back. A new one is silent for as long as one of the same unit and key was to be.
func (t *Tx) SeeAlert(a Alert) error {
	about, lines := toJSON(append([]detect.KeyValue{}, a.Key...)), toJSON(append([]detect.Line{}, a.Lines...))
	last := micros(a.Last)
	var before int64
	if err := t.row("SELECT COALESCE(MAX(events), 0) FROM alerts WHERE region = ? AND unit = ? AND about = ? AND first_seen = ?", a.Region, a.Unit, about, micros(a.First)).Scan(&before); err != nil {
		return err
	}
	if err := t.seeAlertHour(a.Unit, a.Last, a.Count-before); err != nil {
		return err
	}
	n, err := t.exec(`UPDATE alerts SET last_seen = ?, severity = ?, client = ?, user_name = ?, host = ?, events = CASE WHEN events > ? THEN events ELSE ? END, lines = ?, machine = ?,
		told = CASE WHEN state = 2 AND acted < ? THEN 0 ELSE told END, state = CASE WHEN state = 2 AND acted < ? THEN 0 ELSE state END
		WHERE region = ? AND unit = ? AND about = ? AND first_seen = ?`, last, int(a.Severity), a.Client, a.User, a.Host, a.Count, a.Count, lines, a.Machine, last, last, a.Region, a.Unit, about, micros(a.First))
	if err != nil || n > 0 {
		return err
	}
	silent, err := all(&t.View, scanAlert, alertQuery+" WHERE unit = ? AND about = ? AND silent_until > ? ORDER BY silent_until DESC LIMIT 1", a.Unit, about, last)
	if err != nil {
		return err
	}
	if len(silent) > 0 {
		a.SilentUntil, a.SilentWhy, a.SilentBy = silent[0].SilentUntil, silent[0].SilentWhy, silent[0].SilentBy
	}
	_, err = t.exec(`INSERT INTO alerts (region, unit, about, first_seen, last_seen, severity, proves, client, user_name, host, events, lines, state, told, acted, acted_by, acted_why,
		silent_until, silent_why, silent_by, origin, machine) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, '', '', ?, ?, ?, ?, ?)`, a.Region, a.Unit, about, micros(a.First), last, int(a.Severity), bit(a.Proves),
		a.Client, a.User, a.Host, a.Count, lines, micros(a.SilentUntil), a.SilentWhy, a.SilentBy, string(a.Origin), a.Machine)
	return err
}

// SettleAlerts resolves open alerts of severity info that have been quiet since a time, and drops what is more than most alerts, the oldest resolved ones
// first, then those that matter least, and hours that no picture shows any more: an observation.
func (t *Tx) SettleAlerts(quiet, now time.Time, most int) error {
	if _, err := t.exec("DELETE FROM alert_hours WHERE hour < ? OR hour > ?", hourOf(now.Add(-AlertHours)), hourOf(now)+1); err != nil {
		return err
	}
	if _, err := t.exec("UPDATE alerts SET state = 2, acted = ?, acted_by = '', acted_why = 'It was quiet for a day.' WHERE state = 0 AND severity = 1 AND last_seen < ?", micros(now), micros(quiet)); err != nil {
		return err
	}
	var n int
	if err := t.row("SELECT COUNT(*) FROM alerts").Scan(&n); err != nil || n <= most {
		return err
	}
	_, err := t.exec(`DELETE FROM alerts WHERE id IN (SELECT id FROM alerts ORDER BY CASE WHEN state = 2 THEN 0 ELSE 1 END, CASE WHEN state = 2 THEN 0 ELSE severity END,
		last_seen, id LIMIT ?)`, n-most)
	return err
}

// SettleReported drops what is more than most of the alerts that a controller reported of an origin, in SettleAlerts' order, so that none pushes out what others
// found, nor machines what their rack did: an observation.
func (t *Tx) SettleReported(controller string, from AlertOrigin, most int) error {
	var n int
	if err := t.row("SELECT COUNT(*) FROM alerts WHERE region = ? AND origin = ?", controller, string(from)).Scan(&n); err != nil || n <= most {
		return err
	}
	_, err := t.exec(`DELETE FROM alerts WHERE id IN (SELECT id FROM alerts WHERE region = ? AND origin = ? ORDER BY CASE WHEN state = 2 THEN 0 ELSE 1 END,
		CASE WHEN state = 2 THEN 0 ELSE severity END, last_seen, id LIMIT ?)`, controller, string(from), n-most)
	return err
}

// SeeAlertsTold stores that administrators heard of the open alerts of a unit that are not silent: an observation.
func (t *Tx) SeeAlertsTold(unit string, least detect.Severity, now time.Time) error {
	_, err := t.exec("UPDATE alerts SET told = 1 WHERE unit = ? AND severity >= ? AND state = 0 AND told = 0 AND silent_until <= ?", unit, int(least), micros(now))
	return err
}

// PutAlert stores what somebody did about an alert.
func (t *Tx) PutAlert(a Alert) error {
	t.touch(AlertTarget(a.ID), false)
	_, err := t.exec("UPDATE alerts SET state = ?, acted = ?, acted_by = ?, acted_why = ?, silent_until = ?, silent_why = ?, silent_by = ? WHERE id = ?",
		int(a.State), micros(a.Acted), a.ActedBy, a.ActedWhy, micros(a.SilentUntil), a.SilentWhy, a.SilentBy, a.ID)
	return err
}
