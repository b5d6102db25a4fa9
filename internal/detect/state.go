package detect

// state is what the engine remembers of one unit and key.
type state struct {
	at    int32    // its own place
	level Severity // of the open alert; 0 when none is open
	alert int32    // its place, when level is not 0
	last  int64    // time of the newest event
	once  uint64   // hash of the last value of the unit's Once field
	onceT int64
	times []int64 // of counted events, ascending; at most the unit's greatest count
	seen  []value // different values, the latest first seen last; at most the unit's greatest distinct count
}

// value is one different value and when it came last.
type value struct {
	hash uint64
	time int64
}

// add puts n events at time t into a bounded, ascending list and says where the last of them is, or -1 when it is older than all that is kept.
func (s *state) add(t int64, n, most int, window int64) int {
	at := -1
	for range min(n, most) {
		if len(s.times) == cap(s.times) && len(s.times) < most {
			s.forget(window)
		}
		if over := len(s.times) - most; over >= 0 { // more than one, where a site made the count smaller
			if t < s.times[over] {
				return at
			}
			s.times = s.times[:copy(s.times, s.times[over+1:])]
		}
		s.times = append(s.times, t)
		at = len(s.times) - 1
		for at > 0 && s.times[at-1] > t { // a line that came late
			s.times[at] = s.times[at-1]
			at--
			s.times[at] = t
		}
	}
	return at
}

// forget drops events that no window reaches any more, before the list grows.
func (s *state) forget(window int64) {
	if len(s.times) == 0 {
		return
	}
	old := s.times[len(s.times)-1] - window
	i := 0
	for i < len(s.times) && s.times[i] < old {
		i++
	}
	if i > 0 {
		s.times = s.times[:copy(s.times, s.times[i:])]
	}
}

// within says whether n events, that at at among them, lie closer together than window.
func (s *state) within(at, n int, window int64) bool {
	for j := max(0, at-n+1); j <= at && j+n <= len(s.times); j++ {
		if s.times[j+n-1]-s.times[j] < window {
			return true
		}
	}
	return false
}

// note remembers a value and gives how many different ones were seen within window around t.
func (s *state) note(h uint64, t int64, most int) {
	for i := range s.seen {
		if s.seen[i].hash == h {
			s.seen[i].time = max(s.seen[i].time, t)
			return
		}
	}
	if len(s.seen) >= most {
		oldest := 0
		for i := range s.seen {
			if s.seen[i].time < s.seen[oldest].time {
				oldest = i
			}
		}
		if s.seen[oldest].time > t {
			return
		}
		s.seen[oldest] = value{h, t}
		return
	}
	s.seen = append(s.seen, value{h, t})
}

// different counts the values seen closer to t than window.
func (s *state) different(t, window int64) int {
	n := 0
	for i := range s.seen {
		if d := t - s.seen[i].time; d < window && -d < window {
			n++
		}
	}
	return n
}

// The states lie on shelves of sixteen places; a key belongs to one shelf. Finding one takes a look at one shelf's keys. What decides who has to go lies
// beside the keys, so that an attacker with a million addresses costs little more than one with few.
const (
	shelves = 16 << 10
	ways    = 16
)

type shelf struct {
	keys  [ways]uint64 // 0 is an empty place
	until [ways]int64  // when what is remembered stops to matter
	score [ways]uint8  // how far up its rungs: 255 with an open alert
}

type states struct {
	shelves []shelf
	slots   []state
}

func newStates() *states {
	return &states{shelves: make([]shelf, shelves), slots: make([]state, shelves*ways)}
}

// find is a key's state, or nil.
func (t *states) find(key uint64) *state {
	at := int(key>>40) % shelves
	for i, k := range &t.shelves[at].keys {
		if k == key {
			return &t.slots[at*ways+i]
		}
	}
	return nil
}

// take is the state of a key, which may be new. When its shelf is full, the least suspicious there is forgotten: the one of the lowest score, and of those
// the one that stops to matter first.
func (t *states) take(key uint64, now int64) (s *state, forgot bool) {
	at := int(key>>40) % shelves
	b := &t.shelves[at]
	for i, k := range &b.keys {
		if k == key {
			return &t.slots[at*ways+i], false
		}
		if k == 0 {
			b.keys[i] = key
			s = &t.slots[at*ways+i]
			s.at = int32(at*ways + i)
			return s, false
		}
	}
	worst := 0
	for i := range b.keys {
		if b.until[i] < now {
			b.score[i] = 0
		}
		if b.score[i] < b.score[worst] || b.score[i] == b.score[worst] && b.until[i] < b.until[worst] {
			worst = i
		}
	}
	b.keys[worst], b.score[worst] = key, 0
	s = &t.slots[at*ways+worst]
	times, seen := s.times[:0], s.seen[:0]
	if cap(times) > 16 {
		times = nil
	}
	if cap(seen) > 16 {
		seen = nil
	}
	*s = state{at: s.at, times: times, seen: seen}
	return s, true
}

// rate says how suspicious a state is, and until when it matters.
func (t *states) rate(s *state, score uint8, until int64) {
	b := &t.shelves[s.at/ways]
	b.score[s.at%ways], b.until[s.at%ways] = score, until
}
