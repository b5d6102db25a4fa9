package harden

import (
	"bytes"
	_ "embed"
	"html/template"
	"io"
)

//go:embed report.html
var page string

// pageTemplate escapes what it is given by where it stands; the page fetches nothing and runs nothing.
var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{"names": names, "verdict": verdict}).Parse(page))

func writeHTML(w io.Writer, r *Report) error { return writePage(w, []HostReport{{Report: r}}) }

func writePage(w io.Writer, hosts []HostReport) error {
	type part struct {
		HostReport
		*Report
		Batches []batch
	}
	parts := make([]part, len(hosts))
	for i, h := range hosts {
		if parts[i] = (part{HostReport: h, Report: h.Report}); h.Report != nil {
			parts[i].Batches = h.Report.batches()
		}
	}
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, parts); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}
