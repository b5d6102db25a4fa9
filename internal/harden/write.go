package harden

import (
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
)

// writers are the formats of a report.
var writers = map[string]func(io.Writer, *Report) error{
	"text":  func(w io.Writer, r *Report) error { return writeText(w, r, false) },
	"json":  writeJSON,
	"sarif": writeSARIF,
	"junit": writeJUnit,
	"csv":   writeCSV,
	"html":  writeHTML,
}

// Formats are their names.
func Formats() []string { return slices.Sorted(maps.Keys(writers)) }

// Write writes a report in a format; colour is for text on a terminal. Kinds: Invalid for a format that there is none of.
func Write(w io.Writer, r *Report, format string, colour bool) error {
	if format == "text" {
		return writeText(w, r, colour)
	}
	write := writers[format]
	if write == nil {
		return fault.New(fault.Invalid, "format: %s is none of %s.", guard.Quote(format), strings.Join(Formats(), ", "))
	}
	return write(w, r)
}

func writeJSON(w io.Writer, r *Report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Titles of the products, for people.
var productNames = map[guard.Product]string{guard.MAASSnap: "MAAS, snap", guard.MAASDeb: "MAAS, Debian packages", guard.Metalward: "Metalward"}

// ProductName is a product's title, or what a file has instead of one.
func ProductName(p guard.Product) string {
	if name := productNames[p]; name != "" {
		return name
	}
	return guard.Show(string(p))
}

// batch are findings of one check, product and kind, as people read them.
type batch struct {
	*Check
	Product  string
	Heading  string // the severity, or that it is waived or could not be checked
	Severity guard.Severity
	Findings []Finding
}

// The headings of batches that are not severities.
const (
	waivedHeading  = "waived"
	blindHeading   = "could not check"
	passedHeading  = "pass"
	neitherHeading = "not applicable"
)

// batches groups findings by what a reader does about them, the worst first.
func (r *Report) batches() (list []batch) {
	at := map[string]int{}
	for _, f := range r.Findings {
		heading := f.Severity.String()
		switch {
		case f.Waiver != nil:
			heading = waivedHeading
		case f.State != guard.Fail:
			heading = string(f.State)
		}
		key := heading + f.Check + string(f.Product)
		i, ok := at[key]
		if !ok {
			i = len(list)
			at[key] = i
			c := slices.IndexFunc(r.Checks, func(c Check) bool { return c.ID == f.Check })
			list = append(list, batch{Check: &r.Checks[c], Product: productNames[f.Product], Heading: heading, Severity: f.Severity})
		}
		list[i].Findings = append(list[i].Findings, f)
	}
	rank := func(b batch) int {
		order := []string{"critical", "high", "medium", "low", waivedHeading, blindHeading, passedHeading, neitherHeading}
		return slices.Index(order, b.Heading)
	}
	slices.SortStableFunc(list, func(a, b batch) int { return rank(a) - rank(b) })
	return list
}
