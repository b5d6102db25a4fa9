package host_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/host/hosttest"
)

// Checks name the usual folder, and are told of the one that there is.
func TestState(t *testing.T) {
	m, err := hosttest.New([]guard.Entry{{Path: "/srv/a*b", Folder: true, Mode: 0o700}, {Path: "/srv/a*b/root.key", Mode: 0o600, Content: "key"}, {Path: "/srv/axb/root.key"},
		{Path: "/srv/a*b/rack/version", Content: "1.2.3\n"}, {Path: "/srv/a*b/version", Content: "\x1b[31m\n"}, {Path: "/var/lib/metalward-old/root.key"}, {Path: "/var/lib/metalward/root.key", Mode: 0o666}})
	if err != nil {
		t.Fatal(err)
	}
	f := host.New(m)
	f.State("/srv/a*b/", "bob")
	found, err := f.Glob("/var/lib/metalward/*.key")
	if diff := cmp.Diff([]string{"/srv/a*b/root.key"}, found); diff != "" || err != nil {
		t.Errorf("got %v, %v", found, err)
	}
	file, err := f.File("/var/lib/metalward/root.key")
	if err != nil || file.Real != "/srv/a*b/root.key" || file.Mode != 0o600 {
		t.Errorf("got %+v, %v", file, err)
	}
	if text, err := f.Read("/var/lib/metalward/root.key"); string(text) != "key" || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
	if file, err := f.File("/var/lib/metalward-old/root.key"); err != nil || file.Real != "/var/lib/metalward-old/root.key" {
		t.Errorf("another folder: got %+v, %v", file, err)
	}
	list, err := f.Products()
	if diff := cmp.Diff([]host.Installed{{Product: guard.Metalward, Version: "1.2.3", Why: "/srv/a*b"}}, list); diff != "" || err != nil {
		t.Errorf("got %v, %v, want the version that the rack's marker has, for the region's is none", list, err)
	}
	if accounts, err := f.Accounts(); err != nil || accounts.Metalward != "bob" {
		t.Errorf("got %q, %v", accounts.Metalward, err)
	}
}
