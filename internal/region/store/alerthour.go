package store

import "time"

// AlertHours is for how long it is kept how many events alerts had in each hour.
const AlertHours = 7 * 24 * time.Hour

// AlertHour is how many events the alerts of a unit had in an hour.
type AlertHour struct {
	Unit   string
	Hour   time.Time // its beginning
	Events int64
}

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// AlertHours lists the events of alerts by hour since a time, the oldest first. A unit has one an hour at most.
func (v *View) AlertHours(since time.Time) ([]AlertHour, error) {
	return all(v, func(scan func(...any) error) (h AlertHour, err error) {
		var hour int64
		err = scan(&h.Unit, &hour, &h.Events)
		h.Hour = time.Unix(hour*3600, 0).UTC()
		return h, err
	}, "SELECT unit, hour, events FROM alert_hours WHERE hour >= ? ORDER BY hour, unit", hourOf(since))
}

// seeAlertHour counts further events of a unit's alerts.
func (t *Tx) seeAlertHour(unit string, at time.Time, events int64) error {
	if events <= 0 {
		return nil
	}
	_, err := t.exec("INSERT INTO alert_hours (unit, hour, events) VALUES (?, ?, ?) ON CONFLICT (unit, hour) DO UPDATE SET events = alert_hours.events + excluded.events", unit, hourOf(at), events)
	return err
}
