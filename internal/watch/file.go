package watch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
)

// Limits of a file of units.
const (
	MaxUnitsFile = 1 << 20 // bytes
	maxSiteUnits = 500
)

// unitsFile is a site's own units, and what it changes of those that are shipped. Unknown keys are errors.
type unitsFile struct {
	Units  []siteUnit            `yaml:"units"`
	Change map[string]changeUnit `yaml:"change"`
}

// siteUnit is a unit as a file has it: the structure of detect.Unit.
type siteUnit struct {
	ID       string     `yaml:"id"`
	Title    string     `yaml:"title"`
	Why      string     `yaml:"why"`
	Do       string     `yaml:"do"`
	ATTACK   []string   `yaml:"attack"`
	Proves   bool       `yaml:"proves_source"`
	Match    siteCond   `yaml:"match"`
	Key      []string   `yaml:"key"`
	Distinct string     `yaml:"distinct"`
	Rungs    []siteRung `yaml:"rungs"`
	Gap      string     `yaml:"gap"`
	Reset    *siteCond  `yaml:"reset"`
	After    string     `yaml:"after"`
	AfterFor string     `yaml:"after_for"`
	Unless   string     `yaml:"unless"`
	Off      bool       `yaml:"off"`
}

type changeUnit struct {
	Off   *bool      `yaml:"off"`
	Rungs []siteRung `yaml:"rungs"`
}

type siteRung struct {
	Count    int    `yaml:"count"`
	Distinct int    `yaml:"distinct"`
	Window   string `yaml:"window"`
	Severity string `yaml:"severity"`
}

// siteCond is a condition: all, any or not, or a field with one comparison.
type siteCond struct {
	All   []siteCond `yaml:"all"`
	Any   []siteCond `yaml:"any"`
	Not   *siteCond  `yaml:"not"`
	Field string     `yaml:"field"`

	Is       values `yaml:"is"`
	Starts   values `yaml:"starts"`
	Ends     values `yaml:"ends"`
	Contains values `yaml:"contains"`
	Matches  values `yaml:"matches"`
	Between  values `yaml:"between"`
	Has      values `yaml:"has"`
	Present  bool   `yaml:"present"`
}

// values are one value or a list of them.
type values []string

func (v *values) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*v = values{n.Value}
		return nil
	}
	var list []string
	if err := n.Decode(&list); err != nil {
		return err
	}
	*v = list
	return nil
}

// ReadUnits adds a file's units to those that are shipped, and changes those that it names. Kinds: Invalid, naming the unit, the field and what is allowed.
func ReadUnits(data []byte, shipped []detect.Unit) ([]detect.Unit, error) {
	invalid := func(format string, args ...any) ([]detect.Unit, error) {
		return nil, fault.New(fault.Invalid, "units: %s", guard.Show(fmt.Sprintf(format, args...)))
	}
	if len(data) > MaxUnitsFile {
		return invalid("the file has more than %d bytes", MaxUnitsFile)
	}
	var f unitsFile
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return invalid("%v", err)
	}
	if len(f.Units) > maxSiteUnits {
		return invalid("more than %d units", maxSiteUnits)
	}
	all := slices.Clone(shipped)
	for id, c := range f.Change {
		i := slices.IndexFunc(all, func(u detect.Unit) bool { return u.ID == id })
		if i < 0 {
			return invalid("change: there is no %q", id)
		}
		if c.Off != nil {
			all[i].Off = *c.Off
		}
		if len(c.Rungs) > 0 {
			rungs, err := rungsOf(c.Rungs)
			if err != nil {
				return invalid("change: %s: %v", id, err)
			}
			all[i].Rungs = rungs
		}
	}
	for i, s := range f.Units {
		u, err := s.unit()
		if err == nil && slices.ContainsFunc(all, func(o detect.Unit) bool { return o.ID == u.ID }) {
			err = errors.New("id: there is one of this name; change: changes those that are shipped")
		}
		if err != nil {
			return invalid("number %d, %s: %v", i+1, s.ID, err)
		}
		all = append(all, *u)
	}
	if _, err := detect.New(all, detect.Site{}, nil, nil); err != nil {
		return invalid("%v", err)
	}
	return all, nil
}

func (s *siteUnit) unit() (*detect.Unit, error) {
	u := &detect.Unit{ID: s.ID, Title: s.Title, Why: s.Why, Do: s.Do, Source: "this site", ATTACK: s.ATTACK, Proves: s.Proves, After: s.After, Unless: s.Unless, Off: s.Off}
	var err error
	if u.Match, err = s.Match.cond(0); err != nil {
		return nil, fmt.Errorf("match: %w", err)
	}
	if s.Reset != nil {
		if u.Reset, err = s.Reset.cond(0); err != nil {
			return nil, fmt.Errorf("reset: %w", err)
		}
	}
	for _, k := range s.Key {
		f, ok := detect.FieldNamed(k)
		if !ok {
			return nil, fmt.Errorf("key: there is no field %q", k)
		}
		u.Key = append(u.Key, f)
	}
	if s.Distinct != "" {
		f, ok := detect.FieldNamed(s.Distinct)
		if !ok {
			return nil, fmt.Errorf("distinct: there is no field %q", s.Distinct)
		}
		u.Distinct = f
	}
	for _, d := range []struct {
		name, text string
		to         *time.Duration
	}{{"gap", s.Gap, &u.Gap}, {"after_for", s.AfterFor, &u.AfterFor}} {
		if d.text == "" {
			continue
		}
		if *d.to, err = time.ParseDuration(d.text); err != nil || *d.to < 0 || *d.to > detect.MaxWindow {
			return nil, fmt.Errorf("%s: a duration such as 10m, at most 24h", d.name)
		}
	}
	if u.After != "" && u.AfterFor == 0 {
		return nil, errors.New("after_for: how long after the other unit this one counts")
	}
	if u.Rungs, err = rungsOf(s.Rungs); err != nil {
		return nil, err
	}
	if why := u.Problem(); why != "" {
		return nil, errors.New(why)
	}
	return u, nil
}

func rungsOf(list []siteRung) ([]detect.Rung, error) {
	var rungs []detect.Rung
	for i, r := range list {
		window, err := time.ParseDuration(r.Window)
		if err != nil {
			return nil, fmt.Errorf("rung %d: window: a duration such as 10m", i+1)
		}
		sev, ok := detect.ParseSeverity(r.Severity)
		if !ok {
			return nil, fmt.Errorf("rung %d: severity: info, low, medium or high", i+1)
		}
		rungs = append(rungs, detect.Rung{Count: r.Count, Distinct: r.Distinct, Window: window, Severity: sev})
	}
	return rungs, nil
}

func (s *siteCond) cond(depth int) (detect.Cond, error) {
	if depth > 8 {
		return detect.Cond{}, errors.New("nested more than 8 deep")
	}
	parts := 0
	for _, is := range []bool{len(s.All) > 0, len(s.Any) > 0, s.Not != nil, s.Field != ""} {
		if is {
			parts++
		}
	}
	if parts != 1 {
		return detect.Cond{}, errors.New("one of all, any, not and field")
	}
	several := func(list []siteCond) ([]detect.Cond, error) {
		var out []detect.Cond
		for i := range list {
			c, err := list[i].cond(depth + 1)
			if err != nil {
				return nil, err
			}
			out = append(out, c)
		}
		return out, nil
	}
	var c detect.Cond
	var err error
	switch {
	case len(s.All) > 0:
		c.All, err = several(s.All)
	case len(s.Any) > 0:
		c.Any, err = several(s.Any)
	case s.Not != nil:
		var n detect.Cond
		n, err = s.Not.cond(depth + 1)
		c.Not = &n
	default:
		f, ok := detect.FieldNamed(s.Field)
		if !ok {
			return c, fmt.Errorf("there is no field %q", s.Field)
		}
		c.Field = f
		ops := 0
		for op, v := range map[detect.Op]values{detect.Is: s.Is, detect.Starts: s.Starts, detect.Ends: s.Ends, detect.Contains: s.Contains, detect.Matches: s.Matches,
			detect.Between: s.Between, detect.Has: s.Has} {
			if v != nil {
				c.Op, c.Values = op, v
				ops++
			}
		}
		if s.Present {
			c.Op = detect.Present
			ops++
		}
		if ops != 1 {
			return c, fmt.Errorf("%s: one comparison: is, starts, ends, contains, matches, between, has or present", s.Field)
		}
	}
	return c, err
}

// Difference is what other units or numbers find that the first ones do not, or no longer find.
type Difference struct {
	Gone []Alert
	New  []Alert
}

// Compare holds two scans of the same logs against each other.
func Compare(before, after *Report) Difference {
	name := func(a *Alert) string {
		var b strings.Builder
		fmt.Fprint(&b, a.Unit, a.Severity)
		for _, k := range a.Key {
			fmt.Fprint(&b, "\x00", k.Field, "\x00", k.Value)
		}
		return b.String()
	}
	had := make(map[string]bool)
	for i := range before.Alerts {
		had[name(&before.Alerts[i])] = true
	}
	var d Difference
	has := make(map[string]bool)
	for i := range after.Alerts {
		n := name(&after.Alerts[i])
		has[n] = true
		if !had[n] {
			d.New = append(d.New, after.Alerts[i])
		}
	}
	for i := range before.Alerts {
		if !has[name(&before.Alerts[i])] {
			d.Gone = append(d.Gone, before.Alerts[i])
		}
	}
	return d
}

// WriteDifference writes what another set of numbers changes, and which sources could then be blocked: those of whom the evidence proves who they are.
func WriteDifference(w io.Writer, d Difference, blockAt detect.Severity) error {
	var b strings.Builder
	for _, part := range []struct {
		mark   string
		alerts []Alert
	}{{"+", d.New}, {"-", d.Gone}} {
		for _, a := range part.alerts {
			fmt.Fprintf(&b, "%s %-6s %s: %s; %s\n", part.mark, a.Severity, a.Unit, a.about(), events(a.Count))
		}
	}
	if len(d.New)+len(d.Gone) == 0 {
		b.WriteString("Nothing changes.\n")
	}
	var block []string
	for _, a := range d.New {
		if a.Proves && !a.Known && a.Severity >= blockAt && a.Source != "" && !slices.Contains(block, a.Source) {
			block = append(block, a.Source)
		}
	}
	if len(block) > 0 {
		slices.Sort(block)
		fmt.Fprintf(&b, "Besides, these could be blocked at %s: %s\n", blockAt, strings.Join(block, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// about says what an alert is about.
func (a *Alert) about() string {
	var keys []string
	for _, k := range a.Key {
		keys = append(keys, k.Field+" "+k.Value)
	}
	return strings.Join(keys, ", ")
}
