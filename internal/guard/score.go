package guard

import (
	"fmt"
	"strings"
)

// weights are what a failed check takes from 100. The numbers are chosen, not measured: two and a half critical ones leave nothing, and
// many small ones weigh as much as a large one.
var weights = map[Severity]int{Critical: 40, High: 20, Medium: 8, Low: 2}

// Score is 100 less what each failed check weighs, by the worst of what it found and once a product; it is at least 0. What could not be
// checked takes nothing, and is said beside the score: it is then the most that the host can have.
type Score struct {
	Value     int        `json:"value"` // 0 to 100
	Terms     []Term     `json:"terms"`
	Unchecked int        `json:"unchecked"` // findings
	Counts    []StateSum `json:"counts"`
}

// Term is a part of the score's arithmetic.
type Term struct {
	Severity Severity `json:"severity"`
	Checks   int      `json:"checks"`
	Weight   int      `json:"weight"`
}

// StateSum counts the findings of a state.
type StateSum struct {
	State State `json:"state"`
	Count int   `json:"count"`
}

// Sum adds findings up.
func Sum(list []Finding) Score {
	type unit struct {
		id      string
		product Product
	}
	worst, counts := map[unit]Severity{}, map[State]int{}
	for _, f := range list {
		counts[f.State]++
		if f.State == Fail {
			u := unit{f.ID, f.Product}
			worst[u] = max(worst[u], f.Worst())
		}
	}
	s := Score{Value: 100, Terms: []Term{}, Unchecked: counts[Unchecked]}
	for _, severity := range Severities {
		n := 0
		for _, w := range worst {
			if w == severity {
				n++
			}
		}
		if n > 0 {
			s.Terms = append(s.Terms, Term{severity, n, weights[severity]})
			s.Value -= n * weights[severity]
		}
	}
	s.Value = max(s.Value, 0)
	for _, state := range States {
		s.Counts = append(s.Counts, StateSum{state, counts[state]})
	}
	return s
}

// String is the score with its arithmetic.
func (s Score) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of 100", s.Value)
	if len(s.Terms) > 0 {
		b.WriteString(" = 100")
		for _, t := range s.Terms {
			fmt.Fprintf(&b, " - %d %s × %d", t.Checks, t.Severity, t.Weight)
		}
		if s.Value == 0 {
			b.WriteString(", and no less than 0")
		}
	}
	if s.Unchecked > 0 {
		fmt.Fprintf(&b, "; at most that, for %d could not be checked", s.Unchecked)
	}
	return b.String()
}
