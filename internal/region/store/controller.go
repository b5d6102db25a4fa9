package store

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

const controllerCols = "system_id, hostname, type, version, interfaces, last_seen, created, cert_serial, previous_serial, cert_expires, revoked"

func scanController(scan func(...any) error) (c metal.Controller, err error) {
	var seen, created, expires int64
	var ifaces string
	if err = scan(&c.SystemID, &c.Hostname, &c.Type, &c.Version, &ifaces, &seen, &created, &c.CertSerial, &c.PreviousSerial, &expires, &c.Revoked); err != nil {
		return c, err
	}
	c.LastSeen, c.Created, c.CertExpires = fromMicros(seen), fromMicros(created), fromMicros(expires)
	return c, json.Unmarshal([]byte(ifaces), &c.Interfaces)
}

// Controllers lists the controllers that were not removed.
func (v *View) Controllers() ([]metal.Controller, error) {
	return all(v, scanController, "SELECT "+controllerCols+" FROM controllers WHERE revoked = 0 ORDER BY created, system_id")
}

// ControllerIDs lists the ids of the controllers that were not removed, in order.
func (v *View) ControllerIDs() ([]string, error) {
	list, err := all(v, func(scan func(...any) error) (id string, err error) { err = scan(&id); return id, err }, "SELECT system_id FROM controllers WHERE revoked = 0")
	slices.Sort(list) // not by the database, whose order of text may be another
	return list, err
}

// Controller returns a controller, a removed one too. Kinds: NotFound.
func (v *View) Controller(id string) (metal.Controller, error) {
	return one(v, authz.NounController, scanController, "SELECT "+controllerCols+" FROM controllers WHERE system_id = ?", id)
}

// ControllerTarget is a controller as the object of an action.
func ControllerTarget(id string) authz.Target {
	return authz.Target{Noun: authz.NounController, ID: id}
}

func controllerArgs(c metal.Controller) []any {
	ifaces := c.Interfaces
	if ifaces == nil {
		ifaces = []metal.ControllerInterface{}
	}
	return []any{c.Hostname, int(c.Type), c.Version, toJSON(ifaces), micros(c.LastSeen), micros(c.Created), c.CertSerial, c.PreviousSerial, micros(c.CertExpires), bit(c.Revoked)}
}

// AddController inserts a controller.
func (t *Tx) AddController(c metal.Controller) error {
	t.touch(ControllerTarget(c.SystemID), true)
	_, err := t.exec(`INSERT INTO controllers (hostname, type, version, interfaces, last_seen, created, cert_serial, previous_serial, cert_expires, revoked, system_id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		append(controllerArgs(c), c.SystemID)...)
	return err
}

// PutController updates a controller.
func (t *Tx) PutController(c metal.Controller) error {
	t.touch(ControllerTarget(c.SystemID), false)
	_, err := t.exec(`UPDATE controllers SET hostname = ?, type = ?, version = ?, interfaces = ?, last_seen = ?, created = ?, cert_serial = ?, previous_serial = ?, cert_expires = ?, revoked = ?
		WHERE system_id = ?`,
		append(controllerArgs(c), c.SystemID)...)
	return err
}

// SeeController notes a controller's sign of life: an observation.
func (t *Tx) SeeController(id string, now time.Time) error {
	_, err := t.exec("UPDATE controllers SET last_seen = ? WHERE system_id = ?", micros(now), id)
	return err
}

func scanEnrolment(scan func(...any) error) (e metal.EnrolmentToken, err error) {
	var created, expires int64
	err = scan(&e.ID, &e.RackName, &created, &expires, &e.Spent)
	e.Created, e.Expires = fromMicros(created), fromMicros(expires)
	return e, err
}

// Enrolment returns the record of a minted token. Kinds: NotFound.
func (v *View) Enrolment(id string) (metal.EnrolmentToken, error) {
	return one(v, authz.NounEnrolment, scanEnrolment, "SELECT id, rack_name, created, expires, spent FROM enrolments WHERE id = ?", id)
}

// AddEnrolment records a minted token and drops the ones that ended a day ago.
func (t *Tx) AddEnrolment(e metal.EnrolmentToken) error {
	t.touch(authz.Target{Noun: authz.NounEnrolment, ID: e.ID}, true)
	if _, err := t.exec("DELETE FROM enrolments WHERE expires < ?", micros(e.Created.Add(-24*time.Hour))); err != nil {
		return err
	}
	_, err := t.exec("INSERT INTO enrolments (id, rack_name, created, expires, spent) VALUES (?, ?, ?, ?, 0)", e.ID, e.RackName, micros(e.Created), micros(e.Expires))
	return err
}

// SpendEnrolment marks a token as used; false when it was already.
func (t *Tx) SpendEnrolment(id string) (bool, error) {
	t.touch(authz.Target{Noun: authz.NounEnrolment, ID: id}, false)
	n, err := t.exec("UPDATE enrolments SET spent = 1 WHERE id = ? AND spent = 0", id)
	return n > 0, err
}
