package watch

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/detect"
)

// colours of severities on a terminal.
var colours = map[detect.Severity]string{detect.High: "\x1b[1;31m", detect.Medium: "\x1b[33m", detect.Low: "\x1b[36m", detect.Info: "\x1b[2m"}

// shownAlerts is how many alerts of one unit the text lists; the rest is counted, and is in JSON.
const shownAlerts = 10

// span says when an alert's events were.
func (a *Alert) span() string {
	if a.Last.Unix() == 0 {
		return "in lines without a time, which may be far apart"
	}
	const form = "2006-01-02 15:04:05"
	if first, last := a.First.Format(form), a.Last.Format(form); first != last {
		return first + " to " + last
	}
	return a.First.Format(form)
}

func events(n int64) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

func writeText(w io.Writer, r *Report, colour bool) error {
	paint := func(s detect.Severity, text string) string {
		if !colour {
			return text
		}
		return colours[s] + text + "\x1b[0m"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d lines of %d files", r.Lines, len(r.Sources))
	if r.From != nil {
		fmt.Fprintf(&b, ", %s to %s", r.From.Format("2006-01-02 15:04:05"), r.To.Format("2006-01-02 15:04:05 MST"))
	}
	if r.Seconds > 0 {
		fmt.Fprintf(&b, ", %.1f MB in %.2f s", float64(r.Bytes)/1e6, r.Seconds)
	}
	b.WriteString("\n")
	shown := make(map[string]int)
	for _, a := range r.Alerts {
		if shown[a.Unit]++; shown[a.Unit] > shownAlerts {
			continue
		}
		fmt.Fprintf(&b, "\n%s  %s  (%s)\n", paint(a.Severity, strings.ToUpper(a.Severity.String())), a.Title, a.Unit)
		fmt.Fprintf(&b, "  %s; %s, %s; %s\n", a.about(), events(a.Count), a.span(), a.Because)
		for _, l := range a.Lines[:min(len(a.Lines), 2)] {
			fmt.Fprintf(&b, "  | %s\n", l.Text)
		}
		if shown[a.Unit] == 1 {
			fmt.Fprintf(&b, "  do: %s\n", a.Do)
		}
	}
	for _, a := range r.Alerts {
		if n := shown[a.Unit]; n > shownAlerts {
			fmt.Fprintf(&b, "\n%s: %d more, listed with --format json\n", a.Unit, n-shownAlerts)
			shown[a.Unit] = 0
		}
	}
	b.WriteString("\n")
	counts := make(map[detect.Severity]int)
	for _, a := range r.Alerts {
		counts[a.Severity]++
	}
	fmt.Fprintf(&b, "%d alerts: %d high, %d medium, %d low, %d info\n", len(r.Alerts), counts[detect.High], counts[detect.Medium], counts[detect.Low], counts[detect.Info])
	if r.Unknown > 0 || r.Malformed > 0 {
		fmt.Fprintf(&b, "%d lines of no known shape, %d that are not what their program writes\n", r.Unknown, r.Malformed)
	}
	for _, s := range r.Sources {
		if s.Error != "" {
			fmt.Fprintf(&b, "could not read %s: %s\n", s.Path, s.Error)
		}
		if s.Unknown > 0 && len(s.Samples) > 0 {
			fmt.Fprintf(&b, "%s: %d of %d lines not understood, such as %q\n", s.Path, s.Unknown, s.Lines, s.Samples[0])
		}
	}
	if r.Evicted > 0 {
		fmt.Fprintf(&b, "%d sources were forgotten for want of room: slow attacks may be missing\n", r.Evicted)
	}
	for _, unit := range slices.Sorted(maps.Keys(r.Over)) {
		fmt.Fprintf(&b, "%s: %d findings beyond the limit of alerts\n", unit, r.Over[unit])
	}
	_, err := io.WriteString(w, b.String())
	return err
}
