// Command gen-reference writes docs/reference from the tables in the code: the API's operations, the site
// settings, the messages between region and rack, what roles allow, and the checks of hosts with the schema of their
// reports. A test fails when the committed pages differ.
//
// Usage, in the module's root: go run ./cmd/gen-reference [DIR]
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// pages are the generated files by name.
var pages = map[string]func() string{"api.md": apiPage, "settings.md": settingsPage, "messages.md": messagesPage, "roles.md": rolesPage,
	"checks.md": checksPage, "harden-report.schema.json": schemaPage}

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
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // documentation is for everyone
		return err
	}
	for name, page := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(page()), 0o644); err != nil { //nolint:gosec // documentation is for everyone
			return err
		}
	}
	return nil
}
