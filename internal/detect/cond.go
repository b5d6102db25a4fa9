package detect

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/inspect"
	"github.com/metalward/metalward/internal/logs"
)

// Op is how a condition compares.
type Op string

// The comparisons. Text is compared without regard to case; a regular expression is RE2 and takes linear time.
const (
	Is       Op = "is" // one of the values
	Starts   Op = "starts"
	Ends     Op = "ends"
	Contains Op = "contains"
	Matches  Op = "matches"
	Between  Op = "between" // two numbers, both inclusive
	Has      Op = "has"     // a flag, or a kind of attack; any of the values
	Present  Op = "present" // not empty
)

// A Cond is a condition on an event: one comparison, or several with all, any or not. The zero Cond holds for nothing.
type Cond struct {
	Field  Field
	Op     Op
	Values []string
	All    []Cond
	Any    []Cond
	Not    *Cond
}

// The constructors that the catalogue is written with.
func All(c ...Cond) Cond                  { return Cond{All: c} }
func Any(c ...Cond) Cond                  { return Cond{Any: c} }
func Not(c Cond) Cond                     { return Cond{Not: &c} }
func If(f Field, op Op, v ...string) Cond { return Cond{Field: f, Op: op, Values: v} }

// Empty says whether a condition was left out.
func (c *Cond) Empty() bool {
	return c.Field == NoField && len(c.All) == 0 && len(c.Any) == 0 && c.Not == nil
}

type test func(*Event) bool

const (
	maxValues  = 1000 // of one comparison
	maxNesting = 8
	maxRegexp  = 512 // bytes of an expression
)

// compile makes a condition a function. Errors name the field and what is allowed.
func (c *Cond) compile(depth int) (test, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("conditions are nested more than %d deep", maxNesting)
	}
	several := func(cs []Cond) ([]test, error) {
		ts := make([]test, len(cs))
		for i := range cs {
			t, err := cs[i].compile(depth + 1)
			if err != nil {
				return nil, err
			}
			ts[i] = t
		}
		return ts, nil
	}
	switch {
	case len(c.All) > 0:
		ts, err := several(c.All)
		return func(e *Event) bool {
			for _, t := range ts {
				if !t(e) {
					return false
				}
			}
			return true
		}, err
	case len(c.Any) > 0:
		ts, err := several(c.Any)
		return func(e *Event) bool {
			for _, t := range ts {
				if t(e) {
					return true
				}
			}
			return false
		}, err
	case c.Not != nil:
		t, err := c.Not.compile(depth + 1)
		return func(e *Event) bool { return !t(e) }, err
	}
	return c.comparison()
}

func (c *Cond) comparison() (test, error) {
	f := c.Field
	if f == NoField {
		return nil, fmt.Errorf("a condition needs a field, or all, any or not")
	}
	if len(c.Values) > maxValues {
		return nil, fmt.Errorf("%v: at most %d values", f, maxValues)
	}
	if len(c.Values) == 0 && c.Op != Present {
		return nil, fmt.Errorf("%v: no value to compare with", f)
	}
	switch c.Op {
	case Present:
		return func(e *Event) bool {
			switch f {
			case Source:
				return e.Client.IsValid() || e.SourceName != ""
			case Net:
				return e.Client.IsValid()
			}
			return e.text(f) != ""
		}, nil
	case Has:
		switch f {
		case Flag:
			var want Flags
			for _, v := range c.Values {
				bit, ok := FlagNamed(v)
				if !ok {
					return nil, fmt.Errorf("flag: %q is none of %s", v, strings.Join(flagNames, ", "))
				}
				want |= bit
			}
			return func(e *Event) bool { return e.Flags&want != 0 }, nil
		case AttackIs:
			var want inspect.Attack
			for _, v := range c.Values {
				bit, ok := inspect.Named(v)
				if !ok {
					return nil, fmt.Errorf("attack: %q is no kind of attack", v)
				}
				want |= bit
			}
			return func(e *Event) bool { return e.Attack&want != 0 }, nil
		}
		return nil, fmt.Errorf("%v: has is for flag and attack", f)
	case Between:
		if len(c.Values) != 2 {
			return nil, fmt.Errorf("%v: between takes two numbers", f)
		}
		lo, err1 := strconv.Atoi(c.Values[0])
		hi, err2 := strconv.Atoi(c.Values[1])
		if err1 != nil || err2 != nil || lo > hi {
			return nil, fmt.Errorf("%v: between takes two numbers, the smaller one first", f)
		}
		number, ok := numbers[f]
		if !ok {
			return nil, fmt.Errorf("%v: between is for port, sport and status", f)
		}
		return func(e *Event) bool { n := number(e); return n >= lo && n <= hi }, nil
	case Matches:
		var all []*regexp.Regexp
		for _, v := range c.Values {
			if len(v) > maxRegexp {
				return nil, fmt.Errorf("%v: an expression has at most %d bytes", f, maxRegexp)
			}
			re, err := regexp.Compile(v)
			if err != nil {
				return nil, fmt.Errorf("%v: %v", f, err)
			}
			all = append(all, re)
		}
		return func(e *Event) bool {
			s := e.text(f)
			for _, re := range all {
				if re.MatchString(s) {
					return true
				}
			}
			return false
		}, nil
	case Is:
		if t, ok := c.quick(); ok {
			return t, nil
		}
		return text(f, c.Values, strings.EqualFold), nil
	case Starts:
		return text(f, c.Values, func(s, v string) bool { return len(s) >= len(v) && strings.EqualFold(s[:len(v)], v) }), nil
	case Ends:
		return text(f, c.Values, func(s, v string) bool { return len(s) >= len(v) && strings.EqualFold(s[len(s)-len(v):], v) }), nil
	case Contains:
		return text(f, c.Values, foldContains), nil
	}
	return nil, fmt.Errorf("%v: %q is no comparison: is, starts, ends, contains, matches, between, has, present", f, c.Op)
}

func text(f Field, values []string, same func(s, v string) bool) test {
	return func(e *Event) bool {
		s := e.text(f)
		for _, v := range values {
			if same(s, v) {
				return true
			}
		}
		return false
	}
}

// foldContains is linear in s for the short values that units have.
func foldContains(s, v string) bool {
	if v == "" {
		return false
	}
	for i := 0; i+len(v) <= len(s); i++ {
		if s[i]|0x20 == v[0]|0x20 && strings.EqualFold(s[i:i+len(v)], v) {
			return true
		}
	}
	return false
}

var numbers = map[Field]func(*Event) int{
	Port:   func(e *Event) int { return int(e.Dport) },
	Sport:  func(e *Event) int { return int(e.Record.Sport) },
	Status: func(e *Event) int { return e.Record.Status },
}

// quick compiles comparisons with the fields that are numbers, which most lines go through.
func (c *Cond) quick() (test, bool) {
	switch c.Field {
	case Kind:
		var want uint32
		for _, v := range c.Values {
			for k := logs.Unknown; k <= logs.Gap; k++ {
				if k.String() == v {
					want |= 1 << k
				}
			}
		}
		return func(e *Event) bool { return want&(1<<e.Record.Kind) != 0 }, want != 0
	case Outcome:
		var want uint32
		for _, v := range c.Values {
			for o := logs.Failure; o <= logs.Noise; o++ {
				if o.String() == v {
					want |= 1 << o
				}
			}
		}
		return func(e *Event) bool { return want&(1<<e.Record.Outcome) != 0 }, want != 0
	case Status, Port, Sport:
		number := numbers[c.Field]
		var all []int
		for _, v := range c.Values {
			n, err := strconv.Atoi(v)
			if err != nil {
				return nil, false
			}
			all = append(all, n)
		}
		return func(e *Event) bool {
			n := number(e)
			for _, w := range all {
				if n == w {
					return true
				}
			}
			return false
		}, true
	}
	return nil, false
}

// kinds are the kinds of records that a condition can hold for, as bits, so that the engine asks a unit about no others.
func (c *Cond) kinds() uint32 {
	const every = ^uint32(0)
	switch {
	case len(c.All) > 0:
		k := every
		for i := range c.All {
			k &= c.All[i].kinds()
		}
		return k
	case len(c.Any) > 0:
		var k uint32
		for i := range c.Any {
			k |= c.Any[i].kinds()
		}
		return k
	case c.Field == Kind && c.Op == Is:
		var k uint32
		for _, v := range c.Values {
			for kind := logs.Unknown; kind <= logs.Gap; kind++ {
				if kind.String() == v {
					k |= 1 << kind
				}
			}
		}
		return k
	}
	return every
}

// attacked says whether a condition can hold only for requests that carry some attack, so that the engine asks about no others.
func (c *Cond) attacked() bool {
	for i := range c.All {
		if c.All[i].attacked() {
			return true
		}
	}
	for i := range c.Any {
		if !c.Any[i].attacked() {
			return false
		}
	}
	return len(c.Any) > 0 || c.Field == AttackIs && c.Op == Has
}
