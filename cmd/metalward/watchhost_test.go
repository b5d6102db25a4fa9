package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
)

// A preview reads the current logs of the host since a moment: not what was rotated, nor what has not changed since.
func TestScanHost(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, n int, at time.Time) {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%s host sshd[%d]: Failed password for root from 198.51.100.7 port 40022 ssh2\n", at.Add(time.Duration(i)*time.Second).UTC().Format(time.RFC3339), 1000+i)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	write("auth.log", 3, now.Add(-time.Hour))
	write("old.log", 50, now.Add(-48*time.Hour))
	write("auth.log.1", 50, now.Add(-2*time.Hour))
	none := func() ([]netip.Prefix, error) { return nil, nil }
	if scanHost("off", nil, none) != nil {
		t.Error("read although watching is off")
	}
	scan := scanHost("on", []string{filepath.Join(dir, "*.log")}, none)
	tuned := detect.Tuned(units.Every, []detect.Threshold{{Unit: "ssh_bruteforce", Rungs: []detect.Rung{{Count: 3, Window: time.Minute, Severity: detect.High}}}})
	got, err := scan(t.Context(), tuned, now.Add(-24*time.Hour))
	if err != nil || got.Lines != 3 {
		t.Fatalf("got %+v, %v", got, err)
	}
	for _, a := range got.Alerts {
		if a.Unit == "ssh_bruteforce" && a.Severity == detect.High && a.Count == 3 {
			return
		}
	}
	t.Errorf("got %+v", got.Alerts)
}
