package inspect

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// labelled are payloads with labels that lie beside the project where it is built by its makers; who clones it has none.
const labelled = "../../../shared/data/logs/payloads"

var kindOf = map[string]Attack{"web_sqli": SQLi, "web_xss": XSS, "web_rce": Command, "web_php": PHP, "web_rfi": RemoteFile, "web_path_traversal": Traversal,
	"web_generic": ^Attack(0), "web_shell": Shell, "web_attack": ^Attack(0)}

type tally struct{ right, missed, wrong, quiet int }

func (c tally) recall() float64 { return float64(c.right) / float64(max(1, c.right+c.missed)) }
func (c tally) alarms() float64 { return float64(c.wrong) / float64(max(1, c.wrong+c.quiet)) }

// TestPayloads holds the inspection against published payloads and harmless values.
func TestPayloads(t *testing.T) {
	root := os.Getenv("METALWARD_LOGS")
	if root != "" {
		root = filepath.Join(root, "payloads")
	} else {
		root = labelled
	}
	f, err := os.Open(filepath.Join(root, "labels.jsonl"))
	if err != nil {
		t.Skip("the labelled payloads are not beside the project")
	}
	defer f.Close()
	lines := make(map[string][]string)
	count := make(map[string]*tally)
	harmless := &tally{}
	var in Inspector
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var l struct {
			File, Kind string
			Line       int `json:"line_no"`
			Truth      bool
		}
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		if l.Kind == "rule_negative" {
			continue
		}
		if lines[l.File] == nil {
			data, err := os.ReadFile(filepath.Join(root, l.File))
			if err != nil {
				t.Fatal(err)
			}
			lines[l.File] = strings.Split(string(data), "\n")
		}
		v := lines[l.File][l.Line-1]
		var got Attack
		switch l.File {
		case "crs-requests.txt":
			method, target, _ := strings.Cut(v, " ")
			got = in.Request(method, target, "", "")
		case "webshell-names.txt":
			got = in.Request("GET", "/"+v, "", "") & Shell
		default:
			got = in.Request("GET", "/x?q="+v, "", "")
		}
		name := l.File + " " + l.Kind
		if count[name] == nil {
			count[name] = &tally{}
		}
		said := got&kindOf[l.Kind] != 0
		switch c := count[name]; {
		case l.Truth && said:
			c.right++
		case l.Truth:
			c.missed++
			if os.Getenv("SHOW") == l.Kind {
				t.Logf("missed %s: %.220q", l.File, v)
			}
		case said:
			c.wrong++
			t.Logf("wrong %s: %v %.200q", l.File, got, v)
		default:
			c.quiet++
		}
		if !l.Truth && l.File != "webshell-names.txt" {
			if said {
				harmless.wrong++
			} else {
				harmless.quiet++
			}
		}
	}
	var sqli tally
	for name, c := range count {
		t.Logf("%-40s recall %.4f (%d of %d), false alarms %.4f%% (%d of %d)", name, c.recall(), c.right, c.right+c.missed, 100*c.alarms(), c.wrong, c.wrong+c.quiet)
		if strings.HasSuffix(name, "web_sqli") {
			sqli.right += c.right
			sqli.missed += c.missed
		}
	}
	// The rest of the names are words such as "css" and "forum", which are folders of honest servers (docs/benchmarks.md).
	for name, c := range count {
		if strings.HasSuffix(name, "web_shell") && strings.HasPrefix(name, "webshell-names") && (c.recall() < 0.83 || c.alarms() > 0.005) {
			t.Errorf("%s: recall %.4f, false alarms %.4f%%", name, c.recall(), 100*c.alarms())
		}
	}
	t.Logf("SQL injection: recall %.4f; harmless values: false alarms %.4f%%", sqli.recall(), 100*harmless.alarms())
	if sqli.recall() < 0.985 {
		t.Errorf("recall of SQL injection %.4f, goal 0.985", sqli.recall())
	}
	if harmless.alarms() > 0.0005 {
		t.Errorf("false alarms %.4f%%, goal 0.05%%", 100*harmless.alarms())
	}
}
