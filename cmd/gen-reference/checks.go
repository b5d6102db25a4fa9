package main

import (
	"fmt"
	"strings"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/guard/catalog"
	"github.com/metalward/metalward/internal/harden"
)

// checksPage describes each check of the catalogue.
func checksPage() string {
	var b strings.Builder
	checks := catalog.Checks()
	fmt.Fprintf(&b, "%s# Checks\n\nWhat `metalward harden check` looks at: %d checks. [How to run them](../howto/harden.md). The severity is of the worst that a check can find.\n\n", generated, len(checks))
	b.WriteString("| Check | Severity | For |\n|---|---|---|\n")
	roles := map[guard.Role]string{guard.AnyRole: "regions and racks", guard.Region: "regions", guard.Rack: "racks"}
	for _, c := range checks {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", c.ID, anchor(c.ID), c.Severity, roles[c.Role])
	}
	for _, c := range checks {
		fmt.Fprintf(&b, "\n## %s\n\n**%s.** %s\n\n", c.ID, c.Title, c.Why)
		for _, p := range guard.Products {
			if v := c.Versions[p]; v != "" {
				fmt.Fprintf(&b, "- %s, versions: %s\n", harden.ProductName(p), v)
			}
		}
		if why := catalog.WhyUnseen(c.ID); why != "" {
			fmt.Fprintf(&b, "\n*%s*\n", why)
		}
		fmt.Fprintf(&b, "\nFix: %s\n\nRisk: %s\n\nUndo: %s\n\nReferences: ", c.Fix, c.Risk, c.Undo)
		for i, r := range c.References {
			if i > 0 {
				b.WriteString("; ")
			}
			fmt.Fprintf(&b, "[%s](%s)", r.Title, r.URL)
		}
		b.WriteString(".\n")
	}
	b.WriteString("\n# Never seen live\n\nThese were tried on samples of files alone. Of the others, the tests beside their readers say what they were held against.\n\n| For want of | Checks | Tried by |\n|---|---|---|\n")
	for _, u := range catalog.NeverLive {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", cell(u.What), strings.Join(u.Checks, ", "), cell(u.Why))
	}
	return b.String()
}

// schemaPage is the schema of harden's reports, and fleetPage that of several hosts'.
func schemaPage() string { return constant(harden.Schema()) }

func fleetPage() string { return constant(harden.FleetSchema()) }

func constant(text []byte, err error) string {
	if err != nil {
		panic(err) // of constants alone
	}
	return string(text)
}
