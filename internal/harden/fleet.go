package harden

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
)

// WriteFleet writes what came out of several hosts, in the formats of Write. Kinds: Invalid for a format that there is none of.
func WriteFleet(w io.Writer, f *Fleet, format string, colour bool) error {
	switch format {
	case "text":
		return f.writeText(w, colour)
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(f)
	case "sarif":
		return f.writeSARIF(w)
	case "junit":
		return f.writeJUnit(w)
	case "csv":
		return f.writeCSV(w)
	case "html":
		return writePage(w, f.Hosts)
	}
	return fault.New(fault.Invalid, "format: %s is none of %s.", guard.Quote(format), strings.Join(Formats(), ", "))
}

// writeText has host by host, and a line for each at the end.
func (f *Fleet) writeText(w io.Writer, colour bool) error {
	var b bytes.Buffer
	for _, h := range f.Hosts {
		fmt.Fprintf(&b, "==== %s ====\n", h.Host)
		if h.Report == nil {
			fmt.Fprintf(&b, "It could not be checked: %s.\n\n", h.Error)
			continue
		}
		if err := writeText(&b, h.Report, colour); err != nil {
			return err
		}
		b.WriteByte('\n')
	}
	b.WriteString("==== All hosts ====\n")
	for _, h := range f.Hosts {
		if h.Report == nil {
			fmt.Fprintf(&b, "%s: could not be checked\n", h.Host)
			continue
		}
		fmt.Fprintf(&b, "%s: %s, %s\n", h.Host, h.Report.Outcome, h.Report.Score)
	}
	_, err := w.Write(b.Bytes())
	return err
}
