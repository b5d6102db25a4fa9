package store

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/guard"
)

// HostCheck is what the newest check of a controller's own host came to.
type HostCheck struct {
	Controller string
	At         time.Time // zero where there was none yet
	Report     guard.HostReport
	Told       []string  // findings that administrators were told of, as hostchecks names them
	Wanted     time.Time // since when somebody wants another
}

// HostPoint is a day's last check, as numbers.
type HostPoint struct {
	Day                                    time.Time // its beginning, UTC
	Score                                  int       // 0 to 100
	Critical, High, Medium, Low, Unchecked int       // checks that fail, by their worst, and findings that could not be checked
}

// MaxHostPoints is how many days a controller's course of points has.
const MaxHostPoints = 400

const hostDay = 24 * time.Hour

func scanHostCheck(scan func(...any) error) (h HostCheck, err error) {
	var at, wanted int64
	var report, told string
	if err = scan(&h.Controller, &at, &report, &told, &wanted); err != nil {
		return h, err
	}
	h.At, h.Wanted = fromMicros(at), fromMicros(wanted)
	if err = json.Unmarshal([]byte(told), &h.Told); err == nil && report != "" {
		err = json.Unmarshal([]byte(report), &h.Report)
	}
	if err != nil {
		err = fmt.Errorf("cannot read the host check of controller %s: %w", h.Controller, err)
	}
	return h, err
}

const hostCheckQuery = "SELECT h.controller, h.at, h.report, h.told, h.wanted FROM host_checks h JOIN controllers c ON c.system_id = h.controller WHERE c.revoked = 0"

// HostChecks lists the newest checks of the controllers that were not removed.
func (v *View) HostChecks() ([]HostCheck, error) {
	return all(v, scanHostCheck, hostCheckQuery)
}

// HostCheck is a controller's. Kinds: NotFound where it has none, or was removed.
func (v *View) HostCheck(controller string) (HostCheck, error) {
	return one(v, authz.NounController, scanHostCheck, hostCheckQuery+" AND h.controller = ?", controller)
}

// HostChecksWanted lists since when somebody wants controllers checked again whose last check is older.
func (v *View) HostChecksWanted() (map[string]time.Time, error) {
	wanted := map[string]time.Time{}
	_, err := all(v, func(scan func(...any) error) (none struct{}, err error) {
		var id string
		var at int64
		err = scan(&id, &at)
		wanted[id] = fromMicros(at)
		return none, err
	}, "SELECT controller, wanted FROM host_checks WHERE wanted > at")
	return wanted, err
}

const hostPointQuery = "SELECT controller, day, score, critical, high, medium, low, unchecked FROM host_check_points"

func (v *View) hostPoints(query string, args ...any) (map[string][]HostPoint, error) {
	of := map[string][]HostPoint{}
	_, err := all(v, func(scan func(...any) error) (none struct{}, err error) {
		var controller string
		var day int64
		var p HostPoint
		err = scan(&controller, &day, &p.Score, &p.Critical, &p.High, &p.Medium, &p.Low, &p.Unchecked)
		p.Day = fromMicros(day)
		of[controller] = append(of[controller], p)
		return none, err
	}, query, args...)
	return of, err
}

// HostCourses are how the controllers' checks went on, by day, oldest first.
func (v *View) HostCourses() (map[string][]HostPoint, error) {
	return v.hostPoints(hostPointQuery + " ORDER BY controller, day")
}

// HostPoints is how a controller's checks went on, by day, oldest first.
func (v *View) HostPoints(controller string) ([]HostPoint, error) {
	of, err := v.hostPoints(hostPointQuery+" WHERE controller = ? ORDER BY day", controller)
	return of[controller], err
}

// PutHostCheck stores what a controller's check came to, and the day's point, unless it came to none: an observation.
func (t *Tx) PutHostCheck(controller string, r guard.HostReport, p *HostPoint, at time.Time) error {
	if _, err := t.exec(`INSERT INTO host_checks (controller, at, report, told, wanted) VALUES (?, ?, ?, '[]', 0)
		ON CONFLICT (controller) DO UPDATE SET at = excluded.at, report = excluded.report`, controller, micros(at), toJSON(r)); err != nil {
		return err
	}
	if p == nil {
		return nil
	}
	if _, err := t.exec(`INSERT INTO host_check_points (controller, day, score, critical, high, medium, low, unchecked) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (controller, day) DO UPDATE SET score = excluded.score, critical = excluded.critical, high = excluded.high, medium = excluded.medium, low = excluded.low, unchecked = excluded.unchecked`,
		controller, micros(at.UTC().Truncate(hostDay)), p.Score, p.Critical, p.High, p.Medium, p.Low, p.Unchecked); err != nil {
		return err
	}
	_, err := t.exec("DELETE FROM host_check_points WHERE controller = ? AND day <= ?", controller, micros(at.UTC().Truncate(hostDay).Add(-MaxHostPoints*hostDay)))
	return err
}

// SeeHostTold stores which findings administrators were told of: an observation.
func (t *Tx) SeeHostTold(controller string, findings []string) error {
	_, err := t.exec("UPDATE host_checks SET told = ? WHERE controller = ?", toJSON(append([]string{}, findings...)), controller)
	return err
}

// WantHostCheck stores that somebody wants a controller checked again.
func (t *Tx) WantHostCheck(controller string, now time.Time) error {
	t.touch(ControllerTarget(controller), false)
	_, err := t.exec("INSERT INTO host_checks (controller, at, report, told, wanted) VALUES (?, 0, '', '[]', ?) ON CONFLICT (controller) DO UPDATE SET wanted = excluded.wanted", controller, micros(now))
	return err
}

// HostWaiver says that somebody answers for what a check finds, until a moment.
type HostWaiver struct {
	ID         int64
	Check      string
	Controller string         // "" for all
	Severity   guard.Severity // up to which
	Owner      string
	Reason     string
	Until      time.Time
	Created    time.Time
	CreatedBy  string
}

// HostWaiverTarget is a waiver as the object of an action; with id 0 one about to be made.
func HostWaiverTarget(id int64) authz.Target {
	t := authz.Target{Noun: authz.NounHostWaiver}
	if id != 0 {
		t.ID = authz.ID(id)
	}
	return t
}

func scanHostWaiver(scan func(...any) error) (w HostWaiver, err error) {
	var until, created int64
	err = scan(&w.ID, &w.Check, &w.Controller, &w.Severity, &w.Owner, &w.Reason, &until, &created, &w.CreatedBy)
	w.Until, w.Created = fromMicros(until), fromMicros(created)
	return w, err
}

const hostWaiverQuery = "SELECT id, check_id, controller, severity, owner, reason, until, created, created_by FROM host_waivers"

// HostWaivers lists the waivers, those that have ended too, oldest first.
func (v *View) HostWaivers() ([]HostWaiver, error) {
	return all(v, scanHostWaiver, hostWaiverQuery+" ORDER BY id")
}

// HostWaiver returns a waiver. Kinds: NotFound.
func (v *View) HostWaiver(id int64) (HostWaiver, error) {
	return one(v, authz.NounHostWaiver, scanHostWaiver, hostWaiverQuery+" WHERE id = ?", id)
}

// AddHostWaiver inserts a waiver and sets its ID. Kinds: Conflict where there is one of the same check and controller.
func (t *Tx) AddHostWaiver(w *HostWaiver) (err error) {
	w.ID, err = t.insert("INSERT INTO host_waivers (check_id, controller, severity, owner, reason, until, created, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		w.Check, w.Controller, int(w.Severity), w.Owner, w.Reason, micros(w.Until), micros(w.Created), w.CreatedBy)
	t.touch(HostWaiverTarget(w.ID), true)
	return err
}

// DeleteHostWaiver deletes a waiver.
func (t *Tx) DeleteHostWaiver(id int64) error {
	t.touch(HostWaiverTarget(id), false)
	_, err := t.exec("DELETE FROM host_waivers WHERE id = ?", id)
	return err
}
