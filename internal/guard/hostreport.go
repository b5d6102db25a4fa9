package guard

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// VersionFile is the file in a state folder of Metalward with the version of the program that ran there last.
const VersionFile = "version"

// Limits of a report of a controller's own host: it is sent, and kept whole.
const (
	MaxHostReport   = 512 << 10 // bytes as JSON
	MaxHostFindings = 200       // there are some 140 checks, of which most pass
	maxHostLines    = 40        // of evidence, fix or undo
	maxHostText     = 4_000     // bytes of a line
)

// HostReport is what a controller's checks of its own host came to, bounded: what passes is counted alone.
type HostReport struct {
	At      time.Time     `json:"at"`
	Version string        `json:"version"` // of the program that checked
	Account string        `json:"account"` // that it runs as: what that one may not read could not be checked
	Took    time.Duration `json:"took"`
	// Problem is why nothing could be checked; "" where it could be.
	Problem string `json:"problem"`
	Passed  int    `json:"passed"` // observations
	// Findings are what failed and what could not be checked, the worst first.
	Findings []HostFinding `json:"findings"`
	// Cut is how many more there were. Each check keeps its worst.
	Cut int `json:"cut"`
}

// HostFinding is what a check saw of one subject, in words that can be printed.
type HostFinding struct {
	Check    string   `json:"check"`
	Title    string   `json:"title"` // what holds when the check passes
	Why      string   `json:"why"`
	Risk     string   `json:"risk"`  // of the fix
	State    State    `json:"state"` // Fail or Unchecked
	Severity Severity `json:"severity"`
	Subject  string   `json:"subject"`
	Evidence []string `json:"evidence"`
	Fix      []string `json:"fix"`
	Undo     []string `json:"undo"`
}

// Add takes a finding in.
func (r *HostReport) Add(f Finding) {
	switch f.State {
	case Pass:
		r.Passed++
	case Fail, Unchecked:
		r.Findings = append(r.Findings, HostFinding{Check: f.ID, Title: Show(f.Title), Why: Show(f.Why), Risk: Show(f.Risk), State: f.State, Severity: f.Worst(),
			Subject: cut(f.Subject), Evidence: lines(f.Evidence), Fix: whole(f.Observation.Fix), Undo: whole(f.Observation.Undo)})
	}
}

func cut(s string) string {
	if s = Show(s); len(s) > maxHostText {
		return strings.ToValidUTF8(s[:maxHostText-3], "") + "…"
	}
	return s
}

func lines(list []string) []string {
	out := make([]string, 0, len(list))
	for i, l := range list {
		if i == maxHostLines-1 && len(list) > maxHostLines {
			return append(out, fmt.Sprintf("There are %d more lines; see metalward harden check on the host.", len(list)-i))
		}
		out = append(out, cut(l))
	}
	return out
}

// whole is a list of commands, or where to get them: half a command is worse than none.
func whole(list []string) []string {
	for _, l := range list {
		if len(list) > maxHostLines || len(Show(l)) > maxHostText {
			return []string{"# It is too long to be shown here: metalward harden plan, on the host, has it."}
		}
	}
	return lines(list)
}

// Bound sorts the findings, the worst first, and leaves out the least ones until the limits hold.
func (r *HostReport) Bound() {
	slices.SortStableFunc(r.Findings, compareHost)
	seen := map[string]bool{}
	var first, rest []HostFinding
	for _, f := range r.Findings {
		if key := f.Check + string(f.State); !seen[key] {
			seen[key] = true
			first = append(first, f)
			continue
		}
		rest = append(rest, f)
	}
	all := append(first, rest...)
	size := 0
	for i, f := range all {
		text, _ := json.Marshal(f) // strings and numbers
		if size += len(text) + 1; i == MaxHostFindings || size > MaxHostReport-maxHostText {
			r.Cut += len(all) - i
			all = all[:i]
			break
		}
	}
	r.Findings = slices.Clone(all)
	slices.SortStableFunc(r.Findings, compareHost)
}

func compareHost(a, b HostFinding) int {
	return cmp.Or(slices.Index(States, a.State)-slices.Index(States, b.State), int(b.Severity-a.Severity), strings.Compare(a.Check, b.Check), strings.Compare(a.Subject, b.Subject))
}

var checkID = regexp.MustCompile(`^[a-z][a-z0-9-]{2,59}$`)

// Err says what is wrong with a report that somebody else made, or nil: it is bounded, and has nothing in it that a terminal would obey.
func (r *HostReport) Err() error {
	bad := func(format string, args ...any) error { return fmt.Errorf("the report is none: "+format, args...) }
	words := func(what string, list ...string) error {
		for _, s := range list {
			if len(s) > maxHostText || Show(s) != s {
				return bad("%s is longer than %d bytes or cannot be printed", what, maxHostText)
			}
		}
		return nil
	}
	if len(r.Findings) > MaxHostFindings || r.Cut < 0 || r.Passed < 0 || r.Took < 0 || r.At.IsZero() || r.Cut > 1_000_000 || r.Passed > 1_000_000 {
		return bad("a number of it is not possible")
	}
	if err := words("version, account or problem", r.Version, r.Account, r.Problem); err != nil {
		return err
	}
	for i, f := range r.Findings {
		switch {
		case !checkID.MatchString(f.Check):
			return bad("finding %d is of no check", i+1)
		case f.State != Fail && f.State != Unchecked:
			return bad("finding %d is none", i+1)
		case f.Severity < Low || f.Severity > Critical:
			return bad("finding %d has no severity", i+1)
		case len(f.Evidence) > maxHostLines || len(f.Fix) > maxHostLines || len(f.Undo) > maxHostLines:
			return bad("finding %d has more than %d lines", i+1, maxHostLines)
		}
		if err := words(fmt.Sprintf("what finding %d says", i+1), slices.Concat([]string{f.Title, f.Why, f.Risk, f.Subject}, f.Evidence, f.Fix, f.Undo)...); err != nil {
			return err
		}
	}
	return nil
}

// Score adds up what is not waived.
func (r *HostReport) Score(waived func(HostFinding) bool) Score {
	var counted []Finding
	for _, f := range r.Findings {
		if waived == nil || !waived(f) {
			counted = append(counted, Finding{&Check{ID: f.Check, Severity: f.Severity}, Metalward, Observation{State: f.State}})
		}
	}
	s := Sum(counted)
	if r.Problem != "" {
		s.Unchecked++
	}
	return s
}
