package store

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
)

// Threshold is what the site changed of a detection, and who did.
type Threshold struct {
	detect.Threshold
	Changed   time.Time
	ChangedBy string
}

// ThresholdTarget is a detection as the object of an action.
func ThresholdTarget(unit string) authz.Target {
	return authz.Target{Noun: authz.NounDetection, ID: unit}
}

// Thresholds lists what the site changed.
func (v *View) Thresholds() ([]Threshold, error) {
	return all(v, func(scan func(...any) error) (x Threshold, err error) {
		var off, changed int64
		var rungs string
		if err = scan(&x.Unit, &off, &rungs, &changed, &x.ChangedBy); err != nil {
			return x, err
		}
		if err = json.Unmarshal([]byte(rungs), &x.Rungs); err != nil {
			return x, fmt.Errorf("cannot read the thresholds of %s: %w", x.Unit, err)
		}
		x.Off, x.Changed = off != 0, fromMicros(changed)
		return x, nil
	}, "SELECT unit, off, rungs, changed, changed_by FROM alert_thresholds ORDER BY unit")
}

// PutThreshold stores what the site changes of a detection.
func (t *Tx) PutThreshold(x Threshold) error {
	t.touch(ThresholdTarget(x.Unit), false)
	_, err := t.exec(`INSERT INTO alert_thresholds (unit, off, rungs, changed, changed_by) VALUES (?, ?, ?, ?, ?) ON CONFLICT (unit) DO UPDATE SET off = excluded.off, rungs = excluded.rungs,
		changed = excluded.changed, changed_by = excluded.changed_by`, x.Unit, bit(x.Off), toJSON(append([]detect.Rung{}, x.Rungs...)), micros(x.Changed), x.ChangedBy)
	return err
}

// DeleteThreshold has a detection be as it is shipped.
func (t *Tx) DeleteThreshold(unit string) error {
	t.touch(ThresholdTarget(unit), false)
	_, err := t.exec("DELETE FROM alert_thresholds WHERE unit = ?", unit)
	return err
}
