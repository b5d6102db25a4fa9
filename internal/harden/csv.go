package harden

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
)

func writeCSV(w io.Writer, r *Report) error {
	out := csv.NewWriter(w)
	row := func(cells ...string) {
		for i := range cells {
			cells[i] = inert(cells[i])
		}
		_ = out.Write(cells) // Error tells
	}
	row("severity", "state", "check", "title", "product", "subject", "evidence", "fix", "undo", "known", "waived by", "waived until", "reason", "fingerprint")
	for _, f := range r.Findings {
		waiver := Waiver{}
		if f.Waiver != nil {
			waiver = *f.Waiver
		}
		row(f.Severity.String(), string(f.State), f.Check, f.Title, string(f.Product), f.Subject, strings.Join(f.Evidence, "\n"), strings.Join(f.Fix, "\n"),
			strings.Join(f.Undo, "\n"), strconv.FormatBool(f.Known), waiver.Owner, waiver.Until, waiver.Reason, f.ID)
	}
	for _, n := range r.Notes {
		row("", "note", "", "", "", "", n, "", "", "", "", "", "", "")
	}
	for _, n := range r.Remarks {
		row("", "remark", "", "", "", "", n, "", "", "", "", "", "", "")
	}
	out.Flush()
	return out.Error()
}

// inert keeps a spreadsheet from taking a cell for a formula. Source: OWASP, CSV Injection.
func inert(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
