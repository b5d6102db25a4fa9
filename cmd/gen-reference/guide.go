package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/guard/catalog"
)

// guidePage lists the advice of MAAS's security guide with the checks that cover it, and the checks that it does not ask for.
func guidePage() string {
	var b strings.Builder
	asked, byHand := map[string]bool{}, 0
	for _, a := range catalog.Guide {
		for _, id := range a.Checks {
			asked[id] = true
		}
		if len(a.Checks)+len(a.Detections) == 0 {
			byHand++
		}
	}
	fmt.Fprintf(&b, "%s# The guide's advice, and the checks\n\nWhat MAAS's security guide advises, in our words: %d sentences, of which checks, or detections of `metalward watch`, cover %d. A test fails when one has neither and no reason why.\n\n",
		generated, len(catalog.Guide), len(catalog.Guide)-byHand)
	b.WriteString("The guide was rewritten several times, and each form has advice that the others lack. It was read as:\n\n")
	for _, f := range catalog.GuideForms {
		fmt.Fprintf(&b, "- %s\n", f)
	}
	section := ""
	for _, a := range catalog.Guide {
		if a.Section != section {
			section = a.Section
			fmt.Fprintf(&b, "\n## %s\n\n| Advice | Checks and detections |\n|---|---|\n", section)
		}
		var links []string
		for _, id := range a.Checks {
			links = append(links, fmt.Sprintf("[%s](checks.md#%s)", id, anchor(id)))
		}
		for _, id := range a.Detections {
			links = append(links, fmt.Sprintf("[%s](%s/%s.md)", id, detectionsFolder, id))
		}
		if a.ByHand != "" {
			links = []string{"*none:* " + cell(a.ByHand)}
		}
		fmt.Fprintf(&b, "| %s | %s |\n", cell(a.Text), strings.Join(links, ", "))
	}
	fmt.Fprintf(&b, "\n## By hand\n\nNeither covers these %d sentences:\n\n", byHand)
	for _, a := range catalog.Guide {
		if a.ByHand != "" {
			fmt.Fprintf(&b, "- %s: %s\n", a.Section, a.Text)
		}
	}
	b.WriteString("\n## Checks that the guide does not ask for\n\n")
	for _, c := range slices.DeleteFunc(catalog.Checks(), func(c *guard.Check) bool { return asked[c.ID] }) {
		fmt.Fprintf(&b, "- [%s](checks.md#%s): %s\n", c.ID, anchor(c.ID), c.Title)
	}
	return b.String()
}
