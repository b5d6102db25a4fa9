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

func writeHTML(w io.Writer, r *Report) error {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, struct {
		*Report
		Batches []batch
	}{r, r.batches()}); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}
