package watch

import (
	"bytes"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
)

const ownUnits = `
units:
  - id: site_backup_user
    title: Somebody tries the backup user
    why: Nobody logs in by that name.
    do: Ask the backup people.
    proves_source: true
    match:
      all:
        - {field: kind, is: ssh}
        - {field: outcome, is: failure}
        - any:
            - {field: user, is: [backup, bkp]}
            - {field: user, matches: "^backup[0-9]+$"}
        - not: {field: source, is: 192.0.2.1}
    key: [source]
    rungs:
      - {count: 2, window: 1h, severity: high}
change:
  ssh_bruteforce:
    rungs:
      - {count: 3, window: 10m, severity: low}
  web_burst: {off: true}
`

// TestOwnUnits: a site's units have the structure of the shipped ones; it may change numbers and turn units off.
func TestOwnUnits(t *testing.T) {
	all, err := ReadUnits([]byte(ownUnits), units.Every)
	if err != nil {
		t.Fatal(err)
	}
	log := ""
	for i, from := range []string{"198.51.100.7", "192.0.2.1", "198.51.100.7", "192.0.2.1"} {
		log += "Nov  7 06:13:0" + string(rune('0'+i)) + " host sshd[" + string(rune('1'+i)) + "]: Failed password for invalid user backup7 from " + from + " port 4 ssh2\n"
	}
	path := put(t, t.TempDir(), "log", []byte(log))
	before, after := scan(t, Options{}, path), scan(t, Options{Units: all}, path)
	d := Compare(before, after)
	if len(d.New) != 1 || d.New[0].Unit != "site_backup_user" || d.New[0].Source != "198.51.100.7" || len(d.Gone) != 2 {
		t.Errorf("new %v, gone %v", d.New, d.Gone)
	}
	var out bytes.Buffer
	if err := WriteDifference(&out, d, detect.Medium); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"+ high   site_backup_user: source 198.51.100.7; 2 events", "- info   ssh_bruteforce", "could be blocked at medium: 198.51.100.7"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if units.Every[11].Off {
		t.Error("the shipped units were changed")
	}
}

// TestOwnUnitsRefused: what is wrong with a file is named.
func TestOwnUnitsRefused(t *testing.T) {
	unit := func(fields string) string {
		return "units:\n  - {id: site_x, title: t, do: d, match: {field: kind, is: ssh}, key: [source], rungs: [{count: 1, window: 1h, severity: low}]" + fields + "}\n"
	}
	if _, err := ReadUnits([]byte(unit("")), units.Every); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"units: 5":                           "cannot unmarshal",
		unit(", more: 1"):                    "field more not found",
		unit(", gap: soon"):                  "gap: a duration",
		unit(", distinct: port_"):            `distinct: there is no field "port_"`,
		unit(", after: none, after_for: 1h"): "no unit none",
		unit(", after: ssh_bruteforce"):      "after_for",
		strings.Replace(unit(""), "count: 1", "count: 100000", 1):         "count 1 to 1000",
		strings.Replace(unit(""), "window: 1h", "window: 48h", 1):         "window up to 24h",
		strings.Replace(unit(""), "severity: low", "severity: lots", 1):   "severity: info, low, medium or high",
		strings.Replace(unit(""), "is: ssh", "is: ssh, starts: s", 1):     "one comparison",
		strings.Replace(unit(""), "field: kind", "field: kin", 1):         `no field "kin"`,
		strings.Replace(unit(""), "is: ssh", `matches: "(("`, 1):          "missing closing )",
		strings.Replace(unit(""), "site_x", "ssh_bruteforce", 1):          "there is one of this name",
		strings.Replace(unit(""), "site_x", "Site X", 1):                  "small letters",
		"change: {ssh_bruteforces: {off: true}}":                          `there is no "ssh_bruteforces"`,
		"change: {ssh_bruteforce: {rungs: [{window: x, severity: low}]}}": "window: a duration",
		"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n": "field a not found",
	} {
		if _, err := ReadUnits([]byte(text), units.Every); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

// TestRegexBomb: a site's expression that is slow elsewhere takes linear time here.
func TestRegexBomb(t *testing.T) {
	all, err := ReadUnits([]byte(`units: [{id: site_x, title: t, do: d, match: {field: agent, matches: "^(a+)+$"}, key: [source], rungs: [{count: 1, window: 1h, severity: low}]}]`), nil)
	if err != nil {
		t.Fatal(err)
	}
	path := put(t, t.TempDir(), "log", []byte(`198.51.100.7 - - [07/Nov/2026:06:13:45 +0000] "GET / HTTP/1.1" 200 1 "-" "`+strings.Repeat("a", 60_000)+"!\"\n"))
	if r := scan(t, Options{Units: all}, path); len(r.Alerts) != 0 {
		t.Errorf("got %v", r.Alerts)
	}
}

// FuzzUnits: no file of units panics.
func FuzzUnits(f *testing.F) {
	f.Add([]byte(ownUnits))
	f.Fuzz(func(_ *testing.T, data []byte) {
		all, err := ReadUnits(data, nil)
		if err != nil {
			return
		}
		if _, err := detect.New(all, detect.Site{}, nil, nil); err != nil {
			panic(err)
		}
	})
}
