package watch

import (
	"encoding/json"
	"io"
	"strings"

	"github.com/metalward/metalward/internal/detect"
)

// sarifLevels are SARIF's words for severities (OASIS SARIF 2.1.0, 3.27.10).
var sarifLevels = map[detect.Severity]string{detect.High: "error", detect.Medium: "warning", detect.Low: "note", detect.Info: "note"}

func writeSARIF(w io.Writer, r *Report) error {
	type object = map[string]any
	rules, results := []object{}, []object{}
	index := make(map[string]int)
	for _, a := range r.Alerts {
		at, ok := index[a.Unit]
		if !ok {
			at = len(rules)
			index[a.Unit] = at
			rules = append(rules, object{"id": a.Unit, "shortDescription": object{"text": a.Title}, "help": object{"text": a.Do},
				"properties": object{"tags": append([]string{"security"}, a.ATTACK...)}})
		}
		locations := []object{}
		if len(a.Lines) > 0 {
			locations = append(locations, object{"physicalLocation": object{"artifactLocation": object{"uri": uri(a.Lines[0].From)},
				"region": object{"startLine": max(1, a.Lines[0].Number), "snippet": object{"text": a.Lines[0].Text}}}})
		}
		results = append(results, object{"ruleId": a.Unit, "ruleIndex": at, "level": sarifLevels[a.Severity], "occurrenceCount": max(1, a.Count),
			"message":    object{"text": a.Title + ": " + a.about() + "; " + a.Because + "."},
			"locations":  locations,
			"properties": object{"severity": a.Severity.String(), "first": a.First, "last": a.Last, "provesSource": a.Proves}})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(object{"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
		"runs": []object{{"tool": object{"driver": object{"name": "metalward watch", "version": r.Version, "rules": rules}}, "results": results, "columnKind": "unicodeCodePoints"}}})
}

// uri writes a path as SARIF's relative or file reference.
func uri(path string) string {
	var b strings.Builder
	if strings.HasPrefix(path, "/") {
		b.WriteString("file://")
	}
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-~"
	for i := 0; i < len(path); i++ {
		if c := path[i]; strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
		} else {
			const hex = "0123456789ABCDEF"
			b.WriteString("%" + string(hex[c>>4]) + string(hex[c&15]))
		}
	}
	return b.String()
}
