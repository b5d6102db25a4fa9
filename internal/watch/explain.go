package watch

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/logs"
)

// Explain says how a line is read, which units look at it and what they say. A line is looked at alone: of a unit that counts several, it says how many.
func Explain(w io.Writer, line string, o Options) error {
	p := logs.NewParser(o.Zone, o.Now().In(o.Zone).Year())
	var r logs.Record
	p.Parse(line, &r)
	engine, err := detect.New(o.Units, o.Site, o.On, nil)
	if err != nil {
		return err
	}
	var b strings.Builder
	looked := engine.Explain(&r)
	fmt.Fprintf(&b, "read as   %s\n", r.Kind)
	if r.Malformed {
		b.WriteString("          the program is known, but this is not what it writes\n")
	}
	if r.Cut {
		fmt.Fprintf(&b, "          cut after %d bytes\n", logs.MaxLine)
	}
	if r.Time != 0 {
		fmt.Fprintf(&b, "time      %s\n", time.UnixMicro(r.Time).UTC().Format("2006-01-02 15:04:05.999999 MST"))
	} else {
		b.WriteString("time      the line has none\n")
	}
	for _, f := range looked.Fields {
		fmt.Fprintf(&b, "%-9s %s\n", f.Field, guard.Show(f.Value))
	}
	if r.Count > 1 {
		fmt.Fprintf(&b, "events    %d\n", r.Count)
	}
	b.WriteString("\n")
	if len(looked.Units) == 0 {
		b.WriteString("No unit looks at lines of this kind.\n")
	}
	for _, u := range looked.Units {
		verdict := "does not count this line"
		if u.Counts {
			verdict = "counts this line"
			if u.Waits != "" {
				verdict += ", but only after " + u.Waits
			}
		}
		fmt.Fprintf(&b, "%-34s %s\n", u.ID, verdict)
		if u.Counts {
			for _, r := range u.Rungs {
				fmt.Fprintf(&b, "%-34s   %s: %s\n", "", r.Severity, r.String(u.Distinct))
			}
		}
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// List writes the units, one a line.
func List(w io.Writer, units []detect.Unit) {
	for _, u := range units {
		off := ""
		if u.Off {
			off = " (off)"
		}
		fmt.Fprintf(w, "%-34s %-7s %s%s\n", u.ID, u.Worst(), u.Title, off)
	}
}

// Describe writes one unit.
func Describe(w io.Writer, u *detect.Unit) {
	fmt.Fprintf(w, "%s\n%s\n\n%s\n%s\n\n", u.ID, u.Title, u.Why, u.Explanation)
	for _, r := range u.Rungs {
		fmt.Fprintf(w, "%-7s %s\n", r.Severity, r.String(u.Distinct))
	}
	var keys []string
	for _, k := range u.Key {
		keys = append(keys, k.String())
	}
	fmt.Fprintf(w, "\ncounted by    %s\nwhat to do    %s\nsource        %s\n", strings.Join(keys, ", "), u.Do, u.Source)
	if len(u.ATTACK) > 0 {
		fmt.Fprintf(w, "ATT&CK        %s\n", strings.Join(u.ATTACK, ", "))
	}
	if len(u.Quiet) > 0 {
		fmt.Fprintf(w, "stays quiet   %s\n", strings.Join(u.Quiet, "; "))
	}
	proof := "the evidence proves who the source is"
	if !u.Proves {
		proof = "the evidence does not prove who the source is: nobody is ever blocked for it"
	}
	fmt.Fprintf(w, "proof         %s\n", proof)
}
