package watch

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
)

var writers = map[string]func(io.Writer, *Report) error{"json": writeJSON, "sarif": writeSARIF, "html": writeHTML}

// Formats are the formats of a report.
func Formats() []string { return append(slices.Sorted(maps.Keys(writers)), "text") }

// Write writes a report; colour is for text on a terminal. Kinds: Invalid for a format that there is none of.
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

// changeNames say what happened to an alert.
var changeNames = map[detect.Change]string{detect.Opened: "opened", detect.Raised: "raised", detect.Again: "again"}

// WriteEvent writes one event of a live watch: a few lines for people, or a line of JSON.
func WriteEvent(w io.Writer, a Alert, c detect.Change, format string, colour bool) error {
	if format == "json" {
		return json.NewEncoder(w).Encode(struct {
			Change string `json:"change"`
			Alert
		}{changeNames[c], a})
	}
	mark, end := "", ""
	if colour {
		mark, end = colours[a.Severity], "\x1b[0m"
	}
	_, err := fmt.Fprintf(w, "%s  %s%-6s%s  %s (%s): %s; %s; %s\n", a.Last.Format("2006-01-02 15:04:05"), mark, strings.ToUpper(a.Severity.String()), end, a.Title, a.Unit, a.about(), events(a.Count), a.Because)
	if err == nil && c != detect.Again && len(a.Lines) > 0 {
		_, err = fmt.Fprintf(w, "                     | %s\n", a.Lines[len(a.Lines)-1].Text)
	}
	return err
}

func writeJSON(w io.Writer, r *Report) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
