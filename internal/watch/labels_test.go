package watch

import (
	"bufio"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
)

// labelled are real logs with labels that lie beside the project where it is built by its makers; who clones it has none. METALWARD_LOGS names others.
const labelled = "../../../shared/data/logs"

// unitsOf are the units that a label's kind asks for.
var unitsOf = map[string][]string{
	"ssh_bruteforce":       {"ssh_bruteforce", "ssh_bruteforce_slow", "ssh_spray"},
	"ssh_refused":          {"ssh_refused"},
	"ssh_timeout_exploit":  {"ssh_timeout_exploit"},
	"fw_portscan":          {"fw_portscan", "fw_flagscan"},
	"fw_known_attack_port": {"fw_hacker_port", "fw_probed_service"},
	"web_probe":            {"web_probe", "web_probe_known", "web_open_proxy", "web_malformed", "web_exploit"},
	"web_sqli":             {"web_sqli"},
	"web_shell":            {"web_shell", "web_shell_answered"},
	"web_path_traversal":   {"web_path_traversal"},
	"web_login_bruteforce": {"web_login_bruteforce", "web_login_access"},
	"web_login_failure":    {"web_login_bruteforce"},
	"web_burst":            {"web_burst", "web_limit", "web_malformed"},
	"web_bad_agent":        {"web_bad_agent"},
	"web_exploit":          {"web_exploit", "web_probe_known", "web_path_traversal", "web_code"},
	"maas_login_failure":   {"maas_login_bruteforce"},
}

// foreign are files of formats that are not read: logs of single applications.
var foreign = []string{"crowdsec-litespeed-admin-bf.log", "crowdsec-http-magento-bf.log"}

type label struct {
	File, Kind string
	Line       int    `json:"line_no"`
	Source     string `json:"source_ip"`
	Truth      bool
	Mode, Note string
}

func labelsOf(t testing.TB) (string, map[string][]label) {
	t.Helper()
	root := os.Getenv("METALWARD_LOGS")
	if root == "" {
		root = labelled
	}
	all := make(map[string][]label)
	for _, folder := range []string{"sshd", "firewall", "web", "maas", "syslog"} {
		f, err := os.Open(filepath.Join(root, folder, "labels.jsonl"))
		if err != nil {
			t.Skip("the labelled logs are not beside the project")
		}
		for sc := bufio.NewScanner(f); sc.Scan(); {
			var l label
			if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(root, folder, l.File)
			all[path] = append(all[path], l)
		}
		f.Close()
	}
	return root, all
}

func scan(t testing.TB, o Options, paths ...string) *Report {
	t.Helper()
	if o.Units == nil {
		o.Units = units.Every
	}
	o.Zone = time.UTC
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Least == 0 {
		o.Least = detect.Info
	}
	r, err := Scan(t.Context(), paths, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sameSource(a, b string) bool {
	if a == b {
		return true
	}
	x, err1 := netip.ParseAddr(a)
	y, err2 := netip.ParseAddr(b)
	return err1 == nil && err2 == nil && x.Unmap() == y.Unmap()
}

// TestLabelledFiles holds findings against labels about whole files: of each kind that must be found, and where nothing must.
func TestLabelledFiles(t *testing.T) {
	_, all := labelsOf(t)
	type tally struct{ hit, missed, quiet, alarm int }
	count := make(map[string]*tally)
	for path, labels := range all {
		if slices.Contains(foreign, filepath.Base(path)) {
			continue
		}
		r := scan(t, Options{}, path)
		positive := make(map[string]bool)
		for _, l := range labels {
			if l.Line == 0 && l.Truth {
				positive[l.Kind] = true
			}
		}
		for _, l := range labels {
			if l.Line != 0 {
				continue
			}
			c := count[l.Kind]
			if c == nil {
				c = &tally{}
				count[l.Kind] = c
			}
			found := slices.ContainsFunc(r.Alerts, func(a Alert) bool {
				if l.Kind == "none" {
					return a.Severity > detect.Low
				}
				want := a.Severity
				if !l.Truth && want <= detect.Info {
					return false
				}
				return slices.Contains(unitsOf[l.Kind], a.Unit) && sameSource(a.Source, l.Source)
			})
			switch {
			case l.Truth && found:
				c.hit++
			case l.Truth:
				c.missed++
				var got []string
				for _, a := range r.Alerts {
					got = append(got, a.Unit+" "+a.Source)
				}
				slices.Sort(got)
				t.Logf("missed: %s in %s of %s (%s); got %s", l.Kind, filepath.Base(path), l.Source, l.Note, strings.Join(slices.Compact(got), ", "))
			case found:
				c.alarm++
				for _, a := range r.Alerts {
					if a.Severity > detect.Low {
						t.Logf("alarm: %s in %s: %s %s %v", l.Kind, filepath.Base(path), a.Unit, a.Source, a.Severity)
					}
				}
			default:
				c.quiet++
			}
		}
		// Findings of a kind that is asked for, about somebody who is not named.
		for kind := range positive {
			for _, a := range r.Alerts {
				if a.Severity > detect.Info && slices.Contains(unitsOf[kind][:1], a.Unit) && !slices.ContainsFunc(labels, func(l label) bool { return sameSource(l.Source, a.Source) }) {
					t.Logf("besides: %s in %s: %s %s", kind, filepath.Base(path), a.Unit, a.Source)
				}
			}
		}
	}
	kinds := make([]string, 0, len(count))
	for k := range count {
		kinds = append(kinds, k)
	}
	sort.Strings(kinds)
	for _, k := range kinds {
		t.Logf("%-24s found %d of %d, alarms %d of %d", k, count[k].hit, count[k].hit+count[k].missed, count[k].alarm, count[k].alarm+count[k].quiet)
	}
	for _, k := range []string{"ssh_bruteforce", "fw_portscan", "web_probe", "web_burst", "web_login_bruteforce"} {
		if c := count[k]; c != nil && c.missed > 0 {
			t.Errorf("%s: %d missed", k, c.missed)
		}
	}
}

// TestOrdinary reads ordinary traffic: nothing above info.
func TestOrdinary(t *testing.T) {
	root, _ := labelsOf(t)
	r := scan(t, Options{Least: detect.Low}, filepath.Join(root, "web", "zanbil-access.log"))
	for _, a := range r.Alerts {
		t.Errorf("%v %s %s: %v", a.Severity, a.Unit, a.Source, a.Lines[0].Text)
	}
}
