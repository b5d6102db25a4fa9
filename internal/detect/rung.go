package detect

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxRungs is how many rungs a unit may have by a site's word.
const MaxRungs = 8

// Text is a rung as people write it, such as "5 within 1m0s: medium", "15 different within 24h0m0s: high" or "20 and 5 different within 10m0s: low".
func (r Rung) Text() string {
	var parts []string
	if r.Count > 0 {
		parts = append(parts, strconv.Itoa(r.Count))
	}
	if r.Distinct > 0 {
		parts = append(parts, strconv.Itoa(r.Distinct)+" different")
	}
	return strings.Join(parts, " and ") + " within " + short(r.Window) + ": " + r.Severity.String()
}

// short writes a duration without the zeros at its end.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// ParseRungs reads rungs as Text writes them, one in each line. The error names the line and what it should look like.
func ParseRungs(text string) ([]Rung, error) {
	var list []Rung
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if len(list) == MaxRungs {
			return nil, fmt.Errorf("at most %d lines", MaxRungs)
		}
		r, ok := parseRung(line)
		if !ok {
			return nil, fmt.Errorf("line %d: write it like \"5 within 1m: medium\" or \"15 different within 24h: high\", with info, low, medium or high", len(list)+1)
		}
		list = append(list, r)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("at least one line, such as \"5 within 1m: medium\"")
	}
	return list, nil
}

func parseRung(line string) (r Rung, ok bool) {
	rest, severity, ok := strings.Cut(line, ":")
	if !ok {
		return r, false
	}
	if r.Severity, ok = ParseSeverity(strings.TrimSpace(severity)); !ok {
		return r, false
	}
	what, window, ok := strings.Cut(rest, " within ")
	if !ok {
		return r, false
	}
	var err error
	if r.Window, err = time.ParseDuration(strings.TrimSpace(window)); err != nil || r.Window <= 0 || r.Window > MaxWindow {
		return r, false
	}
	for i, part := range strings.Split(what, " and ") {
		n, different := strings.CutSuffix(strings.TrimSpace(part), " different")
		count, err := strconv.Atoi(strings.TrimSpace(n))
		if err != nil || count < 1 || count > MaxCount || i > 1 || i == 1 && !different || r.Distinct > 0 {
			return r, false
		}
		if different {
			r.Distinct = count
		} else {
			r.Count = count
		}
	}
	return r, true
}
