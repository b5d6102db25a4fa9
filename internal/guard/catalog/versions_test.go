package catalog

import (
	"os"
	"strings"
	"testing"
	"time"
)

// The table of releases is Debian's own list, as far as this host has it: an older package of it knows fewer releases.
func TestSystems(t *testing.T) {
	for id, list := range systems {
		text, err := os.ReadFile("/usr/share/distro-info/" + id + ".csv")
		if err != nil {
			t.Skip("Debian's distro-info-data is not here")
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		column := func(line, name string) string {
			for i, n := range strings.Split(lines[0], ",") {
				if values := strings.Split(line, ","); n == name && i < len(values) {
					return values[i]
				}
			}
			return ""
		}
		end, long := "eol", "eol-lts"
		if id == "ubuntu" {
			end, long = "eol", "eol-esm"
		}
		seen := 0
		for _, line := range lines[1:] {
			version, _, _ := strings.Cut(column(line, "version"), " ")
			s, ok := list[version]
			if !ok {
				continue
			}
			seen++
			if got := s.end.Format(time.DateOnly); got != column(line, end) {
				t.Errorf("%s %s ends on %s, the list has %s", id, version, got, column(line, end))
			}
			if got := s.long.Format(time.DateOnly); !s.long.IsZero() && got != column(line, long) || s.long.IsZero() && column(line, long) != "" {
				t.Errorf("%s %s ends at last on %s, the list has %s", id, version, got, column(line, long))
			}
		}
		if seen != len(list) {
			t.Errorf("%s: %d of %d releases are in the list", id, seen, len(list))
		}
	}
}

func TestNumber(t *testing.T) {
	for text, want := range map[string][3]int{"1:3.5.2-16329-g.f5a2-0ubuntu1~22.04.1": {3, 5, 2}, "3.7.0": {3, 7, 0}, "3.6.0~rc1": {3, 6, 0}, "3.8": {3, 8, 0}, "2.9.3~beta1-9200": {2, 9, 3}, "3.5.10.1": {3, 5, 10}} {
		if got, ok := number(text); !ok || got != want {
			t.Errorf("%s: got %v %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "edge", "3", "1:", "3.", "3.x", "99999999999999999999.1", "unknown"} {
		if got, ok := number(text); ok {
			t.Errorf("%q: got %v, want none", text, got)
		}
	}
}
