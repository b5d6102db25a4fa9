package detect

import (
	"slices"
	"sync/atomic"
)

// MaxThresholds is how many units a site may change.
const MaxThresholds = 1000

// A Threshold is what a site has other than a unit came with.
type Threshold struct {
	Unit  string `json:"unit"`
	Off   bool   `json:"off"`
	Rungs []Rung `json:"rungs"` // none: those that it came with
}

// Equal reports whether two are the same.
func (c Threshold) Equal(other Threshold) bool {
	return c.Unit == other.Unit && c.Off == other.Off && slices.Equal(c.Rungs, other.Rungs)
}

// Tuned are units with a site's changes. Rungs that do not fit their unit, because another version counts otherwise, are left out.
func Tuned(units []Unit, changes []Threshold) []Unit {
	all := slices.Clone(units)
	for _, c := range changes {
		i := slices.IndexFunc(all, func(u Unit) bool { return u.ID == c.Unit })
		if i < 0 {
			continue
		}
		u := all[i]
		u.Off = c.Off
		if len(c.Rungs) > 0 && len(c.Rungs) <= MaxRungs {
			u.Rungs = c.Rungs
			if u.Problem() != "" {
				u.Rungs = all[i].Rungs
			}
		}
		all[i] = u
	}
	return all
}

// Tuning hands a site's changes to those who count. A nil one has none. Safe for concurrent use.
type Tuning struct {
	changes atomic.Pointer[[]Threshold]
}

// Set has changes count from now on. They are not to be changed afterwards.
func (t *Tuning) Set(changes []Threshold) {
	if t != nil {
		t.changes.Store(&changes)
	}
}

// Changes are those that count.
func (t *Tuning) Changes() []Threshold {
	if t == nil {
		return nil
	}
	if p := t.changes.Load(); p != nil {
		return *p
	}
	return nil
}

// Moved reports whether the changes are others than those that somebody counts by, and which they are.
func (t *Tuning) Moved(from []Threshold) ([]Threshold, bool) {
	now := t.Changes()
	return now, !slices.EqualFunc(now, from, Threshold.Equal)
}

// Scan is what was found in logs of the last hours.
type Scan struct {
	Lines  int64
	Alerts []HostAlert
}
