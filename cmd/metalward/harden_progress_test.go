package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// How far it is stands on a terminal while it runs, and is gone at the end; what is no terminal sees nothing of it.
func TestHardenProgress(t *testing.T) {
	master, screen := terminal(t)
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "var/lib/metalward"), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The terminal's buffer holds what little is written: nobody has to read meanwhile.
	for _, c := range []struct {
		more  []string
		shown bool
	}{{nil, true}, {[]string{"--output", "-"}, false}} {
		cmd := exec.Command(self)
		cmd.Args = append([]string{"metalward", "harden", "check", "--root", root, "--only", "files-root-key,files-copies"}, c.more...)
		cmd.Stderr = screen
		if out, _ := cmd.Output(); !strings.Contains(string(out), "Score:") || strings.Contains(string(out), "checking:") {
			t.Errorf("%q: got %q", c.more, out)
		}
		if _, err := screen.WriteString("END"); err != nil {
			t.Fatal(err)
		}
		var seen strings.Builder
		b := make([]byte, 4096)
		for !strings.Contains(seen.String(), "END") {
			n, err := master.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			seen.Write(b[:n])
		}
		if got := seen.String(); strings.Contains(got, "checking: 1 of 2 checks") != c.shown || c.shown && !strings.HasSuffix(got, "\r\x1b[KEND") || !c.shown && got != "END" {
			t.Errorf("%q: got %q on the terminal", c.more, got)
		}
	}
}
