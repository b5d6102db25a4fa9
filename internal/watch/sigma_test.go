package watch

import (
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/detect"
)

const sigmaSample = `
title: Somebody asks for backups
id: 11111111-2222-3333-4444-555555555555
description: Names of archives that nobody links to.
logsource: {category: webserver}
tags: [attack.reconnaissance, attack.t1595.003]
level: medium
detection:
  selection_path:
    cs-uri-stem|endswith: ['.bak', '.old']
    cs-method: GET
  selection_query:
    c-uri-query|contains|all: [dump, sql]
  filter:
    c-ip: 192.0.2.1
  ok:
    sc-status: 200
  condition: (1 of selection_* and ok) and not filter
falsepositives: [none]
`

// TestSigma: a rule of Sigma becomes a unit that matches what the rule says.
func TestSigma(t *testing.T) {
	u, err := ReadSigma([]byte(sigmaSample))
	if err != nil {
		t.Fatal(err)
	}
	if u.ID != "sigma_11111111_2222_3333_4444_555555555555" || len(u.ATTACK) != 1 || u.ATTACK[0] != "T1595.003" || u.Worst() != detect.Medium || u.Proves {
		t.Errorf("%+v", u)
	}
	line := func(from, method, target, status string) string {
		return from + ` - - [07/Nov/2026:06:13:45 +0000] "` + method + " " + target + ` HTTP/1.1" ` + status + ` 1 "-" "-"` + "\n"
	}
	for text, want := range map[string]int{
		line("198.51.100.7", "GET", "/site.bak", "200"):       1,
		line("198.51.100.7", "GET", "/x?a=dump&b=SQL", "200"): 1,
		line("198.51.100.7", "POST", "/site.bak", "200"):      0,
		line("198.51.100.7", "GET", "/site.bak", "404"):       0,
		line("192.0.2.1", "GET", "/site.bak", "200"):          0,
		line("198.51.100.7", "GET", "/site.bak.html", "200"):  0,
		line("198.51.100.7", "GET", "/x?a=dump", "200"):       0,
	} {
		if r := scan(t, Options{Units: []detect.Unit{*u}}, put(t, t.TempDir(), "log", []byte(text))); len(r.Alerts) != want {
			t.Errorf("%s%d alerts", text, len(r.Alerts))
		}
	}
	for from, c := range map[string]struct{ to, want string }{
		"category: webserver": {"category: process_creation, product: windows", "logsource"},
		"level: medium":       {"level: bad", "level"},
		"cs-method: GET":      {"Image: GET", `field "Image"`},
		"|endswith":           {"|base64offset", "modifier"},
		"['.bak', '.old']":    {"['a*b']", "in the middle"},
		"not filter":          {"not filters", `no selection "filters"`},
		"and ok)":             {"and ok", "not closed"},
		"1 of selection_*":    {"1 of nothing_*", "no selection"},
		"condition: (1":       {"condition: ok | count() by c-ip > 5 # (1", "counting"},
		"level: medium\n":     {"level: medium\n: x: y: z\n", "yaml"},
	} {
		_, err := ReadSigma([]byte(strings.Replace(sigmaSample, from, c.to, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.to, err, c.want)
		}
	}
	if _, err := ReadSigma([]byte(strings.Replace(sigmaSample, "(1 of", strings.Repeat("(", 10_000)+"1 of", 1))); err == nil {
		t.Error("ten thousand brackets are taken")
	}
}

// FuzzSigma: no rule panics.
func FuzzSigma(f *testing.F) {
	f.Add([]byte(sigmaSample))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = ReadSigma(data) })
}
