package detect

import "github.com/metalward/metalward/internal/logs"

// Looked says what one record is to the units.
type Looked struct {
	Fields []KeyValue // all that are not empty
	Units  []LookedUnit
}

// LookedUnit is one unit that looks at records of this kind.
type LookedUnit struct {
	*Unit
	Counts bool
	Waits  string // the unit that has to have fired before
}

// Explain says which units look at a record and whether they count it. Nothing is counted.
func (g *Engine) Explain(r *logs.Record) Looked {
	e := &g.event
	e.Record = r
	g.site.enrich(e, &g.inspector)
	var l Looked
	for f := Kind + 1; int(f) < len(fieldNames); f++ {
		if f == Net && !e.Client.IsValid() || f == Message {
			continue
		}
		if v := e.text(f); v != "" && v != "0" && !(f == Service && e.Dport == 0) {
			l.Fields = append(l.Fields, KeyValue{f.String(), v})
		}
	}
	for _, i := range g.byKind[r.Kind] {
		u := &g.units[i]
		l.Units = append(l.Units, LookedUnit{u.Unit, u.match(e) && !r.Again, u.After})
	}
	return l
}
