package harden

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
)

// Step is one fix, to be looked at and done by itself.
type Step struct {
	Number   int            `json:"number"`
	Finding  string         `json:"fingerprint"`
	Check    string         `json:"check"`
	Product  guard.Product  `json:"product"`
	Severity guard.Severity `json:"severity"`
	Subject  string         `json:"subject"`
	Evidence []string       `json:"evidence"`
	Risk     string         `json:"risk"`
	Fix      []string       `json:"fix"`
	Undo     []string       `json:"undo"`
}

// leaves takes an account out of a group, joins takes it back in.
const leaves, joins = "gpasswd -d ", "gpasswd -a "

// Plan are the fixes of what failed and is not waived: folders first, since whoever may write to one could undo what is done below it,
// then the worst first. Who leaves a group in one step does not in the next: gpasswd(1) fails then, and the script with it. Other commands
// are repeated, such as those that let a service read its configuration anew.
func (r *Report) Plan() []Step {
	list, done := []Step{}, map[string]bool{}
	for _, folders := range []bool{true, false} {
		for _, f := range r.Findings {
			if f.State != guard.Fail || f.Waiver != nil || folders != (f.Check == "files-folders") {
				continue
			}
			s := Step{len(list) + 1, f.ID, f.Check, f.Product, f.Severity, f.Subject, f.Evidence, f.fromCatalog.Risk, nil, slices.Clone(f.Undo)}
			for _, line := range f.Fix {
				if out, ok := strings.CutPrefix(line, leaves); ok && done[line] {
					s.Undo = slices.DeleteFunc(s.Undo, func(undo string) bool { return undo == joins+out })
					continue
				}
				s.Fix, done[line] = append(s.Fix, line), true
			}
			if len(s.Fix) == 0 {
				s.Fix, s.Undo = []string{"# The steps before do it."}, []string{"# Those of the steps before."}
			}
			list = append(list, s)
		}
	}
	return list
}

// PlanFormats are the forms of a plan.
var PlanFormats = []string{"text", "json", "script", "ansible"}

// WritePlan writes a plan. Kinds: Invalid for a format that there is none of.
func WritePlan(w io.Writer, r *Report, format string) error {
	steps := r.Plan()
	var b bytes.Buffer
	switch format {
	case "text":
		if len(steps) == 0 {
			b.WriteString("Of what could be checked there is nothing to fix.\n")
		}
		for _, s := range steps {
			fmt.Fprintf(&b, "%d. %s %s, %s: %s\n", s.Number, strings.ToUpper(s.Severity.String()), s.Check, productNames[s.Product], s.Subject)
			for _, e := range s.Evidence {
				fmt.Fprintf(&b, "   %s\n", e)
			}
			fmt.Fprintf(&b, "   risk: %s\n", s.Risk)
			for _, line := range s.Fix {
				fmt.Fprintf(&b, "   +  %s\n", line)
			}
			for _, line := range s.Undo {
				fmt.Fprintf(&b, "   undo:  %s\n", line)
			}
			b.WriteByte('\n')
		}
	case "json":
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]any{"format": 1, "time": r.Time, "root": r.Root, "steps": steps, "unchecked": r.unchecked()}); err != nil {
			return err
		}
	case "script":
		fmt.Fprintf(&b, "#!/bin/bash\n# What metalward harden plan proposes for the host whose files are below %s, %s.\n", r.Root, r.Time.Format("2006-01-02 15:04:05 UTC"))
		b.WriteString("# Nothing was changed. Read it, take out what you do not want, and run it as root on that host: it stops at the first error.\n# The undo of a step is beside it, to be run from the last step to the first.\nset -eu\n")
		for _, s := range steps {
			fmt.Fprintf(&b, "\n# %d. %s, %s: %s\n", s.Number, s.Severity, s.Check, s.Subject)
			for _, e := range s.Evidence {
				fmt.Fprintf(&b, "#    %s\n", e)
			}
			fmt.Fprintf(&b, "#    Risk: %s\n", s.Risk)
			for _, line := range s.Fix {
				fmt.Fprintf(&b, "%s\n", line)
			}
			for _, line := range s.Undo {
				fmt.Fprintf(&b, "#    undo: %s\n", line)
			}
		}
	case "ansible":
		return writeAnsible(w, r, steps)
	default:
		return fault.New(fault.Invalid, "format: %s is none of %s.", guard.Quote(format), strings.Join(PlanFormats, ", "))
	}
	if n := r.unchecked(); n > 0 && format != "json" {
		fmt.Fprintf(&b, "# Could not be checked, and is not in this plan: %d. See: metalward harden check\n", n)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// unchecked counts what is not known.
func (r *Report) unchecked() int {
	n := len(r.Notes)
	for _, f := range r.Findings {
		if f.State == guard.Unchecked {
			n++
		}
	}
	return n
}
