package harden

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
)

var csvHeads = []string{"severity", "state", "check", "title", "product", "subject", "evidence", "fix", "undo", "known", "waived by", "waived until", "reason", "fingerprint"}

func writeCSV(w io.Writer, r *Report) error {
	return writeRows(w, append([][]string{slices.Clone(csvHeads)}, rowsOf(r)...))
}

// writeCSV has the host as another column, the first.
func (f *Fleet) writeCSV(w io.Writer) error {
	rows := [][]string{append([]string{"host"}, csvHeads...)}
	for _, h := range f.Hosts {
		if h.Report == nil {
			rows = append(rows, []string{h.Host, "", "error", "", "", "", "", h.Error, "", "", "", "", "", "", ""})
			continue
		}
		for _, row := range rowsOf(h.Report) {
			rows = append(rows, append([]string{h.Host}, row...))
		}
	}
	return writeRows(w, rows)
}

func rowsOf(r *Report) (rows [][]string) {
	for _, f := range r.Findings {
		waiver := Waiver{}
		if f.Waiver != nil {
			waiver = *f.Waiver
		}
		rows = append(rows, []string{f.Severity.String(), string(f.State), f.Check, f.Title, string(f.Product), f.Subject, strings.Join(f.Evidence, "\n"), strings.Join(f.Fix, "\n"),
			strings.Join(f.Undo, "\n"), strconv.FormatBool(f.Known), waiver.Owner, waiver.Until, waiver.Reason, f.ID})
	}
	for _, n := range r.Notes {
		rows = append(rows, []string{"", "note", "", "", "", "", n, "", "", "", "", "", "", ""})
	}
	for _, n := range r.Remarks {
		rows = append(rows, []string{"", "remark", "", "", "", "", n, "", "", "", "", "", "", ""})
	}
	return rows
}

func writeRows(w io.Writer, rows [][]string) error {
	out := csv.NewWriter(w)
	for _, row := range rows {
		for i := range row {
			row[i] = inert(row[i])
		}
		_ = out.Write(row) // Error tells
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
