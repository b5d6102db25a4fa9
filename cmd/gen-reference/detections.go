package main

import (
	"fmt"
	"strings"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/guard"
)

// detectionsFolder has a page for each unit.
const detectionsFolder = "detections"

// shownLines is how many lines of a sample a page shows.
const shownLines = 3

// detectionsPage lists the units of metalward watch.
func detectionsPage() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s# Detections\n\nWhat `metalward watch` finds in logs: %d units. [How to use them](../howto/watch.md). A window is half open: two events exactly that far\napart are not within it. Sources of IPv6 are counted by their /64.\n\n", generated, len(units.Every))
	b.WriteString("| Unit | Finds | At most | Evidence proves its source |\n|---|---|---|---|\n")
	for _, u := range units.Every {
		proves := "no"
		if u.Proves {
			proves = "yes"
		}
		fmt.Fprintf(&b, "| [%s](%s/%s.md) | %s | %s | %s |\n", u.ID, detectionsFolder, u.ID, u.Title, u.Worst(), proves)
	}
	return b.String()
}

// detectionPage describes a unit.
func detectionPage(u detect.Unit) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s# %s\n\n[All detections](../detections.md)\n\n**%s.** %s\n\n", generated, u.ID, u.Title, u.Why)
	if u.Off {
		fmt.Fprintf(&b, "Off unless turned on with `--on %s`. %s\n\n", u.ID, u.Explanation)
	}
	for _, r := range u.Rungs {
		fmt.Fprintf(&b, "- %s: %s\n", r.Severity, r.String(u.Distinct))
	}
	var keys []string
	for _, k := range u.Key {
		keys = append(keys, k.String())
	}
	fmt.Fprintf(&b, "\nCounted by %s.", strings.Join(keys, ", "))
	if u.After != "" {
		fmt.Fprintf(&b, " Only after [%s](%s.md) about the same source, at most %v before.", u.After, u.After, u.AfterFor)
	}
	if u.Unless != "" {
		fmt.Fprintf(&b, " Quiet while an alert of [%s](%s.md) about the same source is open.", u.Unless, u.Unless)
	}
	if u.Proves {
		b.WriteString(" Its evidence proves its source, who may be blocked for it.")
	} else {
		b.WriteString(" Its evidence does not prove its source: nobody is blocked for it.")
	}
	if len(u.Quiet) > 0 {
		fmt.Fprintf(&b, "\n\nStays quiet about: %s.", strings.Join(u.Quiet, "; "))
	}
	fmt.Fprintf(&b, "\n\n## What to do\n\n%s\n\n## Samples\n", u.Do)
	for _, s := range u.Samples {
		want := "quiet"
		if s.Want != 0 {
			want = s.Want.String()
		}
		fmt.Fprintf(&b, "\n%s: **%s**\n\n", s.Name, want)
		for _, line := range s.Lines[:min(len(s.Lines), shownLines)] {
			fmt.Fprintf(&b, "    %s\n", guard.Show(line[:min(len(line), 400)]))
		}
		if n := len(s.Lines) - shownLines; n > 0 {
			fmt.Fprintf(&b, "    (and %d more)\n", n)
		}
	}
	fmt.Fprintf(&b, "\n## Sources\n\n%s.", u.Source)
	if len(u.ATTACK) > 0 {
		var links []string
		for _, id := range u.ATTACK {
			links = append(links, fmt.Sprintf("[%s](https://attack.mitre.org/techniques/%s/)", id, strings.ReplaceAll(id, ".", "/")))
		}
		fmt.Fprintf(&b, " ATT&CK: %s.", strings.Join(links, ", "))
	}
	b.WriteString("\n")
	return b.String()
}
