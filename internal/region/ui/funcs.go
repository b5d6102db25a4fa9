package ui

import (
	"fmt"
	"html/template"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/access"
)

// funcs are what templates call. All return plain text; the templates escape it.
var funcs = template.FuncMap{
	"bytes": bytesText, "mib": func(n int64) string { return bytesText(n << 20) }, "tone": tone, "powerTone": powerTone, "scriptTone": scriptTone,
	"levelTone": levelTone, "severityTone": severityTone, "alertTone": alertTone, "when": when, "date": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }, "iso": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"field": newField, "text": text, "dash": dash, "short": short, "under": under, "percent": percent, "add": func(a, b int) int { return a + b },
	"addrs": addrs, "truth": func(x any) bool { return x == true },
	"granted": access.Describe, "list": func(s ...string) []string { return s },
}

// bytesText writes a size in the binary unit that keeps it readable.
func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 || f >= 100 || f == float64(int64(f)) {
		return fmt.Sprintf("%.0f %s", f, units[i])
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// tone is the colour of a status: it only repeats what the label says.
func tone(s metal.Status) string {
	if _, working := s.Failed(); working {
		return "busy"
	}
	switch s {
	case metal.Ready, metal.Deployed:
		return "good"
	case metal.New, metal.Retired:
		return "plain"
	case metal.Allocated, metal.Reserved, metal.RescueMode:
		return "held"
	}
	return "bad"
}

func powerTone(p metal.PowerState) string {
	return map[metal.PowerState]string{metal.PowerOn: "good", metal.PowerOff: "plain", metal.PowerError: "bad"}[p]
}

func scriptTone(s metal.ScriptStatus) string {
	switch s {
	case metal.ScriptPassed:
		return "good"
	case metal.ScriptRunning:
		return "busy"
	case metal.ScriptFailed, metal.ScriptTimedOut, metal.ScriptAborted:
		return "bad"
	}
	return "plain"
}

func levelTone(l metal.Level) string {
	switch {
	case l >= metal.LevelError:
		return "bad"
	case l >= metal.LevelWarning:
		return "held"
	}
	return "plain"
}

func when(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04:05") + " UTC"
}

// text makes what a machine wrote safe to show: valid UTF-8 without control characters but line ends and tabs.
func text(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(string(b), "\ufffd"))
}

func dash(s any) string {
	if t := fmt.Sprint(s); t != "" && t != "0" {
		return t
	}
	return "–"
}

func short(s string) string {
	if len(s) > 12 {
		return s[:12] + "…"
	}
	return s
}

// under reports whether a path is a section or below it: the navigation marks where the reader is.
func under(path, section string) bool { return path == section || strings.HasPrefix(path, section+"/") }

func percent(part, whole int64) string {
	if whole <= 0 {
		return "0"
	}
	return strconv.FormatInt(part*100/whole, 10)
}

// field is an input with its label, hint and complaints; the template "input" draws it.
type field struct {
	ID, Name, Label, Type, Auto, Value, Hint string
	Required                                 bool
	Errs                                     []string
}

// newField makes a field. kind is the input's type, optionally followed by "required" and an autocomplete token.
// A password is never sent back.
func newField(p *page, name, label, kind string, def any, hint ...string) field {
	words := strings.Fields(kind)
	f := field{ID: "f-" + name, Name: name, Label: label, Type: words[0], Hint: strings.Join(hint, " "), Errs: p.Errs(name)}
	for _, w := range words[1:] {
		if w == "required" {
			f.Required = true
		} else {
			f.Auto = w
		}
	}
	if f.Type != "password" {
		f.Value = p.Val(name, def)
	}
	return f
}

// addrs writes addresses as a form takes them.
func addrs(list []netip.Addr) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

// alertTone is the colour of an alert's severity, which its word says, too.
func alertTone(severity string) string {
	switch severity {
	case "high":
		return "bad"
	case "medium":
		return "held"
	}
	return "plain"
}
