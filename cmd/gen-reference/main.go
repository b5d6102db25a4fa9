// Command gen-reference writes docs/reference from the tables in the code: the API's operations, the site
// settings, the messages between region and rack, what roles allow, the checks of hosts with the schema of their
// reports, and MAAS's guide beside them. A test fails when the committed pages differ.
//
// Usage, in the module's root: go run ./cmd/gen-reference [DIR]
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/metalward/metalward/internal/detect/units"
)

// pages are the generated files by name.
var pages = withDetections(map[string]func() string{"api.md": apiPage, "settings.md": settingsPage, "messages.md": messagesPage, "roles.md": rolesPage,
	"checks.md": checksPage, "guide.md": guidePage, "detections.md": detectionsPage, "harden-report.schema.json": schemaPage, "harden-hosts.schema.json": fleetPage})

// withDetections adds a page for each unit of metalward watch.
func withDetections(all map[string]func() string) map[string]func() string {
	for _, u := range units.Every {
		all[filepath.Join(detectionsFolder, u.ID+".md")] = func() string { return detectionPage(u) }
	}
	return all
}

func main() {
	dir := filepath.Join("docs", "reference")
	if len(os.Args) > 1 {
		dir = os.Args[1]
	}
	if err := write(dir); err != nil {
		fmt.Fprintln(os.Stderr, "gen-reference:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, detectionsFolder)); err != nil { // pages of units that are gone
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, detectionsFolder), 0o755); err != nil { //nolint:gosec // documentation is for everyone
		return err
	}
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(page()), 0o644); err != nil { //nolint:gosec // documentation is for everyone
			return err
		}
	}
	return nil
}
