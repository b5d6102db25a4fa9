package units

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/logs"
)

// alone is an engine with one unit, whatever it asks of others.
func alone(t *testing.T, u detect.Unit) *detect.Engine {
	t.Helper()
	u.Off, u.After, u.Unless = false, "", ""
	g, err := detect.New([]detect.Unit{u}, sampleSite, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// fired is the worst that one unit alone says of records.
func fired(t *testing.T, u detect.Unit, records []logs.Record) (worst detect.Severity) {
	t.Helper()
	g := alone(t, u)
	for _, r := range records {
		g.Take(&r, detect.Line{})
	}
	for _, a := range g.Alerts {
		worst = max(worst, a.Severity)
	}
	return worst
}

// counter tells what each record counts for: an engine in which every one does.
type counter struct {
	g    *detect.Engine
	seen []int64
}

// key is what a record counts by; false when it does not.
func (c *counter) key(r logs.Record) (string, bool) {
	c.g.Take(&r, detect.Line{})
	for len(c.seen) < len(c.g.Alerts) {
		c.seen = append(c.seen, 0)
	}
	for i, a := range c.g.Alerts {
		if a.Count == c.seen[i] {
			continue
		}
		c.seen[i] = a.Count
		text := ""
		for _, k := range a.Key {
			text += k.Value + "\x00"
		}
		return text, true
	}
	return "", false
}

// matching are the records of a unit's samples that count for it, by what it counts them by; each with the value whose difference counts.
func matching(t *testing.T, u detect.Unit) map[string][]valued {
	one := u
	one.Rungs, one.Gap, one.Once, one.Reset = []detect.Rung{{Count: 1, Window: time.Second, Severity: detect.Info}}, 0, detect.NoField, detect.Cond{}
	who, what := &counter{g: alone(t, one)}, (*counter)(nil)
	if u.Distinct != detect.NoField {
		one.Key, one.Proves = []detect.Field{u.Distinct}, false
		what = &counter{g: alone(t, one)}
	}
	found := map[string][]valued{}
	for _, s := range u.Samples {
		p := logs.NewParser(time.UTC, 2026)
		for _, line := range s.Lines {
			var r logs.Record
			p.Parse(line, &r)
			r.Count = 1
			k, ok := who.key(r)
			if !ok {
				continue
			}
			v := valued{record: r}
			if what != nil {
				v.value, _ = what.key(r)
			}
			found[k] = append(found[k], v)
		}
	}
	return found
}

type valued struct {
	record logs.Record
	value  string
}

// events are n records about one key with d different values, or none when the samples have not so many.
func events(found map[string][]valued, n, d int) []logs.Record {
	keys := make([]string, 0, len(found))
	for k := range found {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if c := len(found[b]) - len(found[a]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	for _, k := range keys {
		var list []logs.Record
		seen := map[string]bool{}
		for _, v := range found[k] {
			if !seen[v.value] && len(seen) < max(d, 1) {
				seen[v.value] = true
				list = append(list, v.record)
			}
		}
		if len(list) < d {
			continue
		}
		for i := 0; len(list) < n; i++ {
			list = append(list, list[i])
		}
		return list
	}
	return nil
}

// spread puts records evenly over a time.
func spread(list []logs.Record, over time.Duration) []logs.Record {
	at := time.Date(2026, 11, 7, 6, 0, 0, 0, time.UTC).UnixMicro()
	out := slices.Clone(list)
	for i := range out {
		out[i].Time = at
		if len(out) > 1 {
			out[i].Time += int64(i) * over.Microseconds() / int64(len(out)-1)
		}
	}
	return out
}

// TestBoundaries: for each rung of each detection, one less is quiet, as many fire within the window, and not when the first and the last are a whole window apart.
func TestBoundaries(t *testing.T) {
	rungs := 0
	for _, u := range Every {
		found := matching(t, u)
		if len(found) == 0 {
			t.Errorf("%s: no line of its samples counts for it", u.ID)
		}
		for i, r := range u.Rungs {
			only := u
			only.Rungs, only.Once = []detect.Rung{r}, detect.NoField
			enough := events(found, r.Count, r.Distinct)
			if enough == nil {
				t.Errorf("%s, rung %d: its samples have not %d different values", u.ID, i+1, r.Distinct)
				continue
			}
			if u.Gap > 0 && r.Window/time.Duration(max(len(enough)-1, 1)) <= u.Gap {
				t.Errorf("%s, rung %d: so many, each %v after the one before, do not fit", u.ID, i+1, u.Gap)
				continue
			}
			rungs++
			if got := fired(t, only, spread(enough, r.Window-time.Microsecond)); got != r.Severity {
				t.Errorf("%s, %s: %v, want %v", u.ID, r.Text(), got, r.Severity)
			}
			if len(enough) == 1 {
				continue
			}
			if got := fired(t, only, spread(enough[1:], r.Window/2)); got != 0 {
				t.Errorf("%s, %s, one less: %v, want nothing", u.ID, r.Text(), got)
			}
			if got := fired(t, only, spread(enough, r.Window)); got != 0 {
				t.Errorf("%s, %s, over the whole window: %v, want nothing", u.ID, r.Text(), got)
			}
		}
	}
	t.Logf("%d rungs of %d detections", rungs, len(Every))
}
