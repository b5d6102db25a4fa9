package harden

import (
	"bytes"
	"fmt"
	"io"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/guard/catalog"
)

// Explain writes what there is to say of a check.
func Explain(w io.Writer, c *guard.Check) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s\n\n", c.ID, c.Title)
	for _, part := range []struct{ heading, text string }{{"Why", c.Why}, {"Fix", c.Fix}, {"Risk", c.Risk}, {"Undo", c.Undo}} {
		fmt.Fprintf(&b, "%s\n", part.heading)
		for _, line := range wrap(part.text, 100) {
			fmt.Fprintf(&b, "  %s\n", line)
		}
	}
	fmt.Fprintf(&b, "Severity\n  %s at most; for %s\n", c.Severity, map[guard.Role]string{guard.AnyRole: "regions and racks", guard.Region: "regions", guard.Rack: "racks"}[c.Role])
	b.WriteString("Versions\n")
	for _, p := range guard.Products {
		if v := c.Versions[p]; v != "" {
			fmt.Fprintf(&b, "  %s: %s\n", productNames[p], v)
		}
	}
	if why := catalog.WhyUnseen(c.ID); why != "" {
		fmt.Fprintf(&b, "Proof\n  %s\n", why)
	}
	b.WriteString("References\n")
	for _, r := range c.References {
		fmt.Fprintf(&b, "  %s\n    %s\n", r.Title, r.URL)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// WriteDiff writes what a report has that a baseline does not, and what is gone since.
func WriteDiff(w io.Writer, r *Report, gone []Known) error {
	var b bytes.Buffer
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	for _, f := range r.Findings {
		if f.State != guard.Fail && f.State != guard.Unchecked || f.Known {
			continue
		}
		waived := ""
		if f.Waiver != nil {
			waived = ", waived by " + f.Waiver.Owner + " until " + f.Waiver.Until
		}
		fmt.Fprintf(&b, "+ %s %s, %s: %s (%s%s)\n", f.Severity, f.Check, productNames[f.Product], f.Subject, f.State, waived)
		for _, e := range f.Evidence {
			fmt.Fprintf(&b, "    %s\n", e)
		}
	}
	for _, k := range gone {
		fmt.Fprintf(&b, "- %s %s, %s: %s (%s)\n", k.Severity, guard.Show(k.Check), ProductName(k.Product), guard.Show(k.Subject), guard.Show(string(k.State)))
	}
	if b.Len() == 0 {
		b.WriteString("Nothing is new and nothing is gone.\n")
	}
	_, err := w.Write(b.Bytes())
	return err
}
