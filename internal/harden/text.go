package harden

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// colours of headings. Source: ECMA-48, "select graphic rendition".
var colours = map[string]string{"critical": "1;37;41", "high": "1;31", "medium": "1;33", "low": "1;36", waivedHeading: "2", blindHeading: "1;35", passedHeading: "32", neitherHeading: "2"}

// writeText writes a report for people, what is to be done first.
func writeText(w io.Writer, r *Report, colour bool) error {
	var b bytes.Buffer
	paint := func(style, text string) string {
		if !colour {
			return text
		}
		return "\x1b[" + style + "m" + text + "\x1b[0m"
	}
	fmt.Fprintf(&b, "%s below %s, %s\n", paint("1", "Checked "+names(r)), r.Root, r.Time.Format("2006-01-02 15:04:05 UTC"))
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "%s %s\n", paint(colours[blindHeading], "note:"), n)
	}
	for _, n := range r.Remarks {
		fmt.Fprintf(&b, "remark: %s\n", n)
	}
	passed, neither := 0, 0
	for _, c := range r.batches() {
		switch c.Heading {
		case passedHeading:
			passed++
			continue
		case neitherHeading:
			neither++
			continue
		}
		fmt.Fprintf(&b, "\n%s  %s  %s (%s)\n", paint(colours[c.Heading], strings.ToUpper(c.Heading)), paint("1", c.Title), c.ID, c.Product)
		if c.Heading != blindHeading {
			for _, line := range wrap(c.Why, 100) {
				fmt.Fprintf(&b, "  %s\n", line)
			}
		}
		for _, f := range c.Findings {
			known := ""
			if f.Known {
				known = " (in the baseline)"
			}
			fmt.Fprintf(&b, "  %s%s\n", paint("4", f.Subject), known)
			for _, e := range f.Evidence {
				fmt.Fprintf(&b, "    %s\n", e)
			}
			if f.Waiver != nil {
				fmt.Fprintf(&b, "    Waived by %s until %s: %s\n", f.Waiver.Owner, f.Waiver.Until, f.Waiver.Reason)
				continue
			}
			for _, line := range f.Fix {
				fmt.Fprintf(&b, "    fix:  %s\n", line)
			}
			for _, line := range f.Undo {
				fmt.Fprintf(&b, "    undo: %s\n", line)
			}
		}
	}
	fmt.Fprintf(&b, "\n%s %s\n", paint("1", "Score:"), r.Score)
	fmt.Fprintf(&b, "Checks that passed: %d; that found nothing to judge: %d. Each product's check counts once.\n", passed, neither)
	waived := 0
	for _, f := range r.Findings {
		if f.Waiver != nil {
			waived++
		}
	}
	if waived > 0 {
		fmt.Fprintf(&b, "Findings that are waived, and take nothing from the score: %d.\n", waived)
	}
	fmt.Fprintf(&b, "%s\n", verdict(r))
	_, err := w.Write(b.Bytes())
	return err
}

func names(r *Report) string {
	var list []string
	for _, p := range r.Products {
		list = append(list, fmt.Sprintf("%s, version %s (%s)", productNames[p.Product], p.Version, guard.Show(p.Why)))
	}
	return strings.Join(list, "; ")
}

// verdict says what the exit code says.
func verdict(r *Report) string {
	switch r.Outcome {
	case Clean:
		return fmt.Sprintf("Clean: nothing that counts is of severity %s or above.", r.FailOn)
	case Failed:
		return fmt.Sprintf("Failed: there are findings of severity %s or above.", r.FailOn)
	}
	return fmt.Sprintf("Incomplete: nothing found, but what is of severity %s or above could not all be checked; the reasons are above. Root may see more.", r.FailOn)
}

// wrap breaks a text at spaces so that lines have about the width, in bytes.
func wrap(text string, width int) (lines []string) {
	var line string
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
