package harden

import (
	"encoding/xml"
	"io"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// The elements of JUnit's reports that continuous integration reads: a suite is a product, a case a finding. There is no standard; this is
// what the schema of Jenkins' xUnit plugin has.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Name    string       `xml:"name,attr"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Timestamp string      `xml:"timestamp,attr,omitempty"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Errors    int         `xml:"errors,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Cases     []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Failure *junitOutcome `xml:"failure"`
		Error   *junitOutcome `xml:"error"`
		Skipped *junitOutcome `xml:"skipped"`
		Out     string        `xml:"system-out,omitempty"`
	}
	junitOutcome struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit has a failure for what counts, an error for what would count and could not be checked, and calls skipped what does not count.
func writeJUnit(w io.Writer, r *Report) error {
	return writeSuites(w, suitesOf(r, ""))
}

// writeJUnit has the suites of each host, whose names begin with it, and an error for one that could not be checked.
func (f *Fleet) writeJUnit(w io.Writer) error {
	var list []junitSuite
	for _, h := range f.Hosts {
		if h.Report != nil {
			list = append(list, suitesOf(h.Report, h.Host+": ")...)
			continue
		}
		list = append(list, junitSuite{Name: h.Host, Tests: 1, Errors: 1, Cases: []junitCase{{Class: "host", Name: h.Host, Error: &junitOutcome{Message: h.Error}}}})
	}
	return writeSuites(w, list)
}

func suitesOf(r *Report, prefix string) (list []junitSuite) {
	for _, p := range r.Products {
		suite := junitSuite{Name: prefix + productNames[p.Product], Timestamp: r.Time.Format("2006-01-02T15:04:05")}
		for _, f := range r.Findings {
			if f.Product != p.Product {
				continue
			}
			c := junitCase{Class: string(f.Product) + "." + f.Check, Name: strings.TrimSuffix(f.Title+": "+f.Subject, ": ")}
			text := strings.Join(f.Evidence, "\n")
			for _, line := range f.Fix {
				text += "\nfix: " + line
			}
			told := &junitOutcome{f.Severity.String() + ": " + f.Title, string(f.State), text}
			switch counts := f.Severity >= r.FailOn && !f.Known; {
			case f.State == guard.NotApplicable:
				c.Skipped = told
			case f.State == guard.Pass:
				c.Out = text
			case f.Waiver != nil:
				told.Message = "waived by " + f.Waiver.Owner + " until " + f.Waiver.Until + ": " + f.Waiver.Reason
				c.Skipped = told
			case !counts:
				c.Skipped = told
			case f.State == guard.Fail:
				c.Failure = told
			default:
				c.Error = told
			}
			suite.Tests++
			for count, there := range map[*int]bool{&suite.Failures: c.Failure != nil, &suite.Errors: c.Error != nil, &suite.Skipped: c.Skipped != nil} {
				if there {
					*count++
				}
			}
			suite.Cases = append(suite.Cases, c)
		}
		list = append(list, suite)
	}
	if len(r.Notes) > 0 { // not a product's
		suite := junitSuite{Name: prefix + "host", Timestamp: r.Time.Format("2006-01-02T15:04:05")}
		for _, n := range r.Notes {
			suite.Tests, suite.Errors = suite.Tests+1, suite.Errors+1
			suite.Cases = append(suite.Cases, junitCase{Class: "host", Name: "what is installed", Error: &junitOutcome{Message: n}})
		}
		list = append(list, suite)
	}
	return list
}

func writeSuites(w io.Writer, list []junitSuite) error {
	out := junitSuites{Name: "metalward harden check", Suites: list}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
