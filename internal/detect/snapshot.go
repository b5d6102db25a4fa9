package detect

import (
	"errors"
	"time"
)

// Snapshot is all that an engine remembers, so that it can go on after a restart as if there had been none. Its fields are for encoding only.
type Snapshot struct {
	Seed    uint64
	States  []SavedState
	Alerts  []Alert
	Fired   map[uint64]int64
	Good    map[uint64]int64
	Hours   map[Hour]int64
	Over    map[string]int64
	Seen    [16]int64
	Evicted int64
	Broken  int64
	Newest  int64
}

// SavedState is one key's state.
type SavedState struct {
	Key   uint64
	Level Severity
	Alert int32
	Last  int64
	Once  uint64
	OnceT int64
	Times []int64
	Seen  []SavedValue
	Score uint8
	Until int64
}

// SavedValue is one of the different values of a state.
type SavedValue struct {
	Hash uint64
	Time int64
}

// Save gives what the engine remembers. The snapshot shares nothing with the engine.
func (g *Engine) Save() *Snapshot {
	s := &Snapshot{Seed: g.seed, Fired: make(map[uint64]int64, len(g.fired)), Good: make(map[uint64]int64, len(g.good)), Hours: make(map[Hour]int64, len(g.Hours)), Over: make(map[string]int64, len(g.Over)),
		Seen: g.Seen, Evicted: g.Evicted, Broken: g.Broken, Newest: g.Newest, Alerts: append([]Alert(nil), g.Alerts...)}
	for i := range s.Alerts {
		s.Alerts[i].Lines = append([]Line(nil), s.Alerts[i].Lines...)
	}
	for k, v := range g.fired {
		s.Fired[k] = v
	}
	for k, v := range g.good {
		s.Good[k] = v
	}
	for k, v := range g.Hours {
		s.Hours[k] = v
	}
	for k, v := range g.Over {
		s.Over[k] = v
	}
	for at := range g.states.shelves {
		b := &g.states.shelves[at]
		for i, key := range b.keys {
			if key == 0 {
				continue
			}
			st := &g.states.slots[at*ways+i]
			saved := SavedState{Key: key, Level: st.level, Alert: st.alert, Last: st.last, Once: st.once, OnceT: st.onceT, Times: append([]int64(nil), st.times...),
				Score: b.score[i], Until: b.until[i]}
			for _, v := range st.seen {
				saved.Seen = append(saved.Seen, SavedValue{v.hash, v.time})
			}
			s.States = append(s.States, saved)
		}
	}
	return s
}

// Load makes an engine that took nothing yet go on from a snapshot. Units may have changed since: what belongs to none any more is left behind by itself.
// A snapshot that contradicts itself is an error, and the engine is not to be used then.
func (g *Engine) Load(s *Snapshot) error {
	bad := errors.New("the saved state contradicts itself")
	if len(s.Alerts) > MaxAlerts || len(s.States) > MaxStates || len(s.Fired) > MaxFired || len(s.Good) > MaxFired || len(s.Hours) > MaxHours {
		return bad
	}
	g.seed, g.Alerts, g.Evicted, g.Broken, g.Newest, g.Seen = s.Seed, s.Alerts, s.Evicted, s.Broken, s.Newest, s.Seen
	for i := range g.Alerts {
		if a := &g.Alerts[i]; a.Severity < Info || a.Severity > High || len(a.Lines) > MaxEvidence {
			return bad
		}
	}
	for k, v := range s.Fired {
		g.fired[k] = v
	}
	for k, v := range s.Good {
		g.good[k] = v
	}
	for k, v := range s.Hours {
		g.Hours[k] = v
	}
	for k, v := range s.Over {
		g.Over[k] = v
	}
	for i := range s.States {
		saved := &s.States[i]
		if saved.Key == 0 || saved.Level > High || saved.Level > 0 && (saved.Alert < 0 || int(saved.Alert) >= len(s.Alerts)) ||
			len(saved.Times) > MaxCount || len(saved.Seen) > MaxCount {
			return bad
		}
		st, _ := g.states.take(saved.Key, g.Newest)
		st.level, st.alert, st.last, st.once, st.onceT, st.times = saved.Level, saved.Alert, saved.Last, saved.Once, saved.OnceT, saved.Times
		for _, v := range saved.Seen {
			st.seen = append(st.seen, value{v.Hash, v.Time})
		}
		g.states.rate(st, saved.Score, saved.Until)
	}
	return nil
}

// Forget drops alerts that have been quiet since a time and hours of the timeline before it, so that an engine that runs for years stays bounded.
func (g *Engine) Forget(before time.Time) {
	t := before.UnixMicro()
	place := make([]int32, len(g.Alerts))
	kept := g.Alerts[:0]
	for i := range g.Alerts {
		place[i] = -1
		if g.Alerts[i].Last >= t {
			place[i] = int32(len(kept))
			kept = append(kept, g.Alerts[i])
		}
	}
	if len(kept) < len(place) {
		clear(g.Alerts[len(kept):])
		g.Alerts = kept
		for i := range g.states.slots {
			s := &g.states.slots[i]
			if s.level == 0 {
				continue
			}
			if int(s.alert) >= len(place) || place[s.alert] < 0 {
				s.level = 0
				continue
			}
			s.alert = place[s.alert]
		}
	}
	for h := range g.Hours {
		if h.Hour < before.Unix()/3600 {
			delete(g.Hours, h)
		}
	}
	for _, m := range []map[uint64]int64{g.fired, g.good} {
		for k, when := range m {
			if when < t {
				delete(m, k)
			}
		}
	}
}
