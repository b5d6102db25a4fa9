package detect

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/metalward/metalward/internal/inspect"
	"github.com/metalward/metalward/internal/logs"
)

// Limits of the engine's memory.
const (
	MaxStates = shelves * ways // keys of all units together; where there is no room the least suspicious of sixteen is dropped, counted and told
	MaxAlerts = 10_000         // alerts; further ones are counted by unit only
	MaxHours  = 50_000         // hours and units of the timeline
	MaxFired  = 50_000         // sources that units fired for, as others ask about, and sources that logged in
)

// silence is how long a key has to be quiet until the next finding about it is a new alert.
const silence = 24 * time.Hour

// compiled is a unit ready to run.
type compiled struct {
	*Unit
	match, reset test
	kinds        uint32
	most         int // greatest count of a rung
	distinct     int // greatest distinct count
	window       int64
	ignore       []netip.Prefix
	after        int // index of the unit asked about, or -1
	unless       int
	attacked     bool // only requests with an attack can count
	asked        bool // others ask whether this one fired
	hash         uint64
}

// An Engine runs units over events. It is used by one goroutine.
type Engine struct {
	site   Site
	units  []compiled
	byKind [16][]int // units by kind of record
	seed   uint64

	inspector inspect.Inspector
	event     Event

	states *states
	fired  map[uint64]int64 // unit and source, to when it fired last
	good   map[uint64]int64 // source, to when somebody last logged in from there

	Alerts  []Alert
	Evicted int64            // keys dropped for want of room
	Over    map[string]int64 // findings beyond MaxAlerts, by unit
	Seen    [16]int64        // records by kind
	Broken  int64            // records whose program is known and whose shape is not
	Hours   map[Hour]int64   // counted events of alerts, by unit and hour; at most MaxHours
	Newest  int64            // the newest time of a line, microseconds
	tell    func(*Alert, Change)
}

// Hour is one field of the timeline.
type Hour struct {
	Unit string
	Hour int64 // hours since 1970
}

func (g *Engine) hour(u *compiled, t int64, n int) {
	h := Hour{u.ID, t / (3600 * 1_000_000)}
	if _, ok := g.Hours[h]; ok || len(g.Hours) < MaxHours {
		g.Hours[h] += int64(n)
	}
}

// Change says what happened to an alert.
type Change uint8

// The changes.
const (
	Opened Change = iota + 1
	Raised        // its severity grew
	Again         // more of the same, told once a cool-down
)

// New makes an engine of units. Units that are off run only when they are named in on. Tell is called for each change; it may be nil.
func New(units []Unit, site Site, on []string, tell func(*Alert, Change)) (*Engine, error) {
	g := &Engine{site: site, seed: 0x6d657461, states: newStates(), fired: make(map[uint64]int64), good: make(map[uint64]int64), Over: make(map[string]int64), Hours: make(map[Hour]int64), tell: tell}
	index, off := make(map[string]int), make(map[string]bool)
	for i := range units {
		u := &units[i]
		if why := u.Problem(); why != "" {
			return nil, fmt.Errorf("unit %s: %s", u.ID, why)
		}
		if u.Off && !named(on, u.ID) {
			off[u.ID] = true
			continue
		}
		if _, twice := index[u.ID]; twice {
			return nil, fmt.Errorf("unit %s: there are two of this id", u.ID)
		}
		c := compiled{Unit: u, kinds: u.Match.kinds(), after: -1, unless: -1, hash: str(0, u.ID)}
		var err error
		if c.match, err = u.Match.compile(0); err != nil {
			return nil, fmt.Errorf("unit %s: %w", u.ID, err)
		}
		if !u.Reset.Empty() {
			if c.reset, err = u.Reset.compile(0); err != nil {
				return nil, fmt.Errorf("unit %s: reset: %w", u.ID, err)
			}
			c.kinds |= u.Reset.kinds()
		}
		c.attacked = u.Match.attacked() && u.Reset.Empty()
		for _, r := range u.Rungs {
			c.most = max(c.most, r.Count)
			c.distinct = max(c.distinct, r.Distinct)
			c.window = max(c.window, r.Window.Microseconds())
		}
		c.ignore = append(append(c.ignore, site.Ignore[""]...), site.Ignore[u.ID]...)
		index[u.ID] = len(g.units)
		g.units = append(g.units, c)
	}
	for i := range g.units {
		c := &g.units[i]
		for _, ask := range []struct {
			id  string
			put *int
		}{{c.After, &c.after}, {c.Unless, &c.unless}} {
			if ask.id == "" {
				continue
			}
			at, ok := index[ask.id]
			if off[ask.id] { // it never fires
				continue
			}
			if !ok {
				return nil, fmt.Errorf("unit %s: there is no unit %s to ask about", c.ID, ask.id)
			}
			*ask.put = at
			g.units[at].asked = true
		}
		for k := range g.byKind {
			if c.kinds&(1<<k) != 0 && !off[c.After] { // what comes after what never fires, never does either
				g.byKind[k] = append(g.byKind[k], i)
			}
		}
	}
	return g, nil
}

// Retune is an engine with other units, or other thresholds, that goes on where this one is, which is not to be used any more.
func (g *Engine) Retune(units []Unit, on []string) (*Engine, error) {
	next, err := New(units, g.site, on, g.tell)
	if err != nil {
		return nil, err
	}
	return next, next.Load(g.Save())
}

func named(ids []string, id string) bool {
	for _, s := range ids {
		if s == id {
			return true
		}
	}
	return false
}

// Seed makes keys depend on a number that attackers do not know, so that they cannot choose whom the engine forgets. It is for an engine that took nothing yet.
func (g *Engine) Seed(seed uint64) { g.seed = seed }

// Take runs the units over one record. Seen is the evidence: the line as it was read, and where.
func (g *Engine) Take(r *logs.Record, seen Line) {
	g.Seen[r.Kind]++
	if r.Malformed {
		g.Broken++
	}
	if r.Kind <= logs.Other || r.Again {
		return
	}
	if r.Time > g.Newest {
		g.Newest = r.Time
	}
	e := &g.event
	e.Record = r
	in := r.Outcome == logs.Success // says the program that let somebody in
	g.site.enrich(e, &g.inspector)
	// An answer of a web server may look like a good login and be none, but for MAAS's, which is known: it would be too easy to become somebody who is never blocked.
	if (in || r.Outcome == logs.Success && e.Flags&MAASLogin != 0) && e.Client.IsValid() {
		remember(g.good, g.sourceKey(e, g.seed), r.Time)
	}
	for _, i := range g.byKind[r.Kind] {
		u := &g.units[i]
		if u.attacked && e.Attack == 0 {
			continue
		}
		if u.reset != nil && u.reset(e) {
			if s := g.states.find(g.key(u, e)); s != nil {
				s.times, s.seen = s.times[:0], s.seen[:0]
			}
		}
		if u.match(e) && !(len(u.ignore) > 0 && e.Client.IsValid() && within(u.ignore, e.Client)) {
			g.count(u, i, e, seen)
		}
	}
}

func (g *Engine) key(u *compiled, e *Event) uint64 {
	h := mix(g.seed, u.hash)
	if g.site.Hearsay {
		h = e.hash(Host, h)
	}
	for _, f := range u.Key {
		h = e.hash(f, h)
	}
	return max(h, 1)
}

func (g *Engine) firedKey(unit int, e *Event) uint64 {
	return g.sourceKey(e, mix(g.seed^0xf1, g.units[unit].hash))
}

// sourceKey is a source, as one host knows it where hosts are told apart.
func (g *Engine) sourceKey(e *Event, h uint64) uint64 {
	if g.site.Hearsay {
		h = e.hash(Host, h)
	}
	return e.hash(Source, h)
}

// count puts an event into its key's state and climbs the rungs.
func (g *Engine) count(u *compiled, i int, e *Event, seen Line) {
	t := e.Time
	if u.after >= 0 {
		when, ok := g.fired[g.firedKey(u.after, e)]
		if !ok || t-when >= u.AfterFor.Microseconds() || when-t > 5_000_000 {
			return
		}
	}
	if u.unless >= 0 {
		if when, ok := g.fired[g.firedKey(u.unless, e)]; ok && t-when < silence.Microseconds() {
			return
		}
	}
	s, forgot := g.states.take(g.key(u, e), g.Newest)
	if forgot {
		g.Evicted++
	}
	defer g.rate(u, s)
	if u.Once != NoField {
		h := e.hash(u.Once, g.seed)
		same := s.once == h && abs(t-s.onceT) < u.OnceFor.Microseconds()
		s.once, s.onceT = h, t
		if same {
			return
		}
	}
	if u.Gap > 0 && s.last != 0 && abs(t-s.last) < u.Gap.Microseconds() {
		return
	}
	s.last = max(s.last, t)
	n := max(1, e.Record.Count)
	at := -1
	if u.most > 0 {
		at = s.add(t, n, u.most, u.window)
	}
	if u.distinct > 0 {
		s.note(e.hash(u.Distinct, g.seed), t, u.distinct)
	}
	if s.level != 0 {
		g.more(u, i, s, e, n, seen)
	}
	best := Severity(0)
	var why Rung
	for _, r := range u.Rungs {
		if r.Severity <= best || r.Severity <= s.level {
			continue
		}
		window := r.Window.Microseconds()
		if r.Count > 0 && (at < 0 || !s.within(at, r.Count, window)) {
			continue
		}
		if r.Distinct > 0 && s.different(t, window) < r.Distinct {
			continue
		}
		best, why = r.Severity, r
	}
	if best == 0 {
		return
	}
	if e.Flags&ClientUnknown != 0 && best > Info {
		if s.level == Info {
			return
		}
		best = Info
	}
	g.fire(u, i, s, e, best, why, n, seen)
}

// rate tells the states how far a key climbed.
func (g *Engine) rate(u *compiled, s *state) {
	if s.level > 0 {
		g.states.rate(s, 255, s.last+silence.Microseconds())
		return
	}
	part := 0
	if u.most > 0 {
		part = 254 * len(s.times) / u.most
	}
	if u.distinct > 0 {
		part = max(part, 254*len(s.seen)/u.distinct)
	}
	g.states.rate(s, uint8(min(part, 254)), s.last+u.window)
}

// remember notes when something was last, and makes room for it: any other will do, what goes on comes back by itself.
func remember(m map[uint64]int64, key uint64, t int64) {
	if _, ok := m[key]; !ok {
		for k := range m {
			if len(m) < MaxFired {
				break
			}
			delete(m, k)
		}
	}
	m[key] = max(m[key], t)
}

// trust is for how long a login speaks for an address.
const trust = 7 * 24 * time.Hour

func abs(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}

// fire opens an alert or raises it.
func (g *Engine) fire(u *compiled, i int, s *state, e *Event, sev Severity, why Rung, n int, seen Line) {
	if u.asked && sev >= Low { // info is not yet a finding that others build upon
		remember(g.fired, g.firedKey(i, e), e.Time)
	}
	if s.level != 0 {
		a := &g.Alerts[s.alert]
		a.Severity, s.level, a.Rung, a.Told = sev, sev, why, e.Time
		a.evidence(seen)
		g.say(a, Raised)
		return
	}
	if len(g.Alerts) >= MaxAlerts {
		g.Over[u.ID]++
		return
	}
	// What an alert before this one counted may still be there; this one begins within its own window.
	old := e.Time - u.window
	times, seenNow := s.times, 0
	for len(times) > 0 && times[0] <= old {
		times = times[1:]
	}
	for _, v := range s.seen {
		if v.time > old {
			seenNow++
		}
	}
	a := Alert{Unit: u.ID, Title: u.Title, Severity: sev, Rung: why, Proves: u.Proves && !g.site.Hearsay, First: e.Time, Last: e.Time, Told: e.Time, Count: int64(max(n, len(times), seenNow)),
		Host: clip(e.Record.Host, 200), Program: clip(e.Record.Program, 200), Client: e.Client, Source: clip(e.SourceName, 200), User: clip(e.Record.User, 64)}
	if len(times) > 0 {
		a.First = min(a.First, times[0])
	}
	if e.Client.IsValid() {
		when, ok := g.good[g.sourceKey(e, g.seed)]
		a.Known = ok && when < a.First && a.First-when < trust.Microseconds()
	}
	if g.site.Hearsay {
		a.Key = append(a.Key, KeyValue{Host.String(), a.Host})
	}
	for _, f := range u.Key {
		if f != Kind && !(f == Host && g.site.Hearsay) {
			a.Key = append(a.Key, KeyValue{f.String(), clip(e.text(f), 200)})
		}
	}
	a.evidence(seen)
	a.Opened = a.First
	g.hour(u, e.Time, int(a.Count))
	g.Alerts = append(g.Alerts, a)
	s.level, s.alert = sev, int32(len(g.Alerts)-1)
	g.say(&g.Alerts[s.alert], Opened)
}

// more counts further events of an open alert; after a long silence the alert is over.
func (g *Engine) more(u *compiled, i int, s *state, e *Event, n int, seen Line) {
	a := &g.Alerts[s.alert]
	if e.Time-a.Last >= silence.Microseconds() {
		s.level = 0
		return
	}
	a.Count += int64(n)
	g.hour(u, e.Time, n)
	a.Last = max(a.Last, e.Time)
	a.First = min(a.First, e.Time)
	if len(a.Lines) < MaxEvidence {
		a.evidence(seen)
	}
	if u.asked && s.level >= Low {
		remember(g.fired, g.firedKey(i, e), e.Time)
	}
	cool := 24 * time.Hour
	if time.Duration(u.window)*time.Microsecond <= time.Hour {
		cool = 10 * time.Minute
	}
	if e.Time-a.Told >= cool.Microseconds() {
		a.Told = e.Time
		g.say(a, Again)
	}
}

func (g *Engine) say(a *Alert, c Change) {
	if g.tell != nil {
		g.tell(a, c)
	}
}
