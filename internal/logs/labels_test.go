package logs

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// labelled are real log lines with labels that lie beside the project where it is built by its makers; who clones it has none.
const labelled = "../../../shared/data/logs"

type label struct {
	File   string `json:"file"`
	Line   int    `json:"line_no"`
	Kind   string `json:"kind"`
	Source string `json:"source_ip"`
	Truth  bool   `json:"truth"`
	Mode   string `json:"mode"`
	Note   string `json:"note"`
}

// labelsOf reads the labels of a folder, by file and line.
func labelsOf(t *testing.T, folder string) map[string]map[int][]label {
	t.Helper()
	root := os.Getenv("METALWARD_LOGS")
	if root == "" {
		root = labelled
	}
	f, err := os.Open(filepath.Join(root, folder, "labels.jsonl"))
	if err != nil {
		t.Skip("the labelled logs are not beside the project")
	}
	defer f.Close()
	all := make(map[string]map[int][]label)
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var l label
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			t.Fatal(err)
		}
		l.Note = strings.TrimSpace(l.Note)
		l.File = filepath.Join(root, folder, l.File)
		if all[l.File] == nil {
			all[l.File] = make(map[int][]label)
		}
		all[l.File][l.Line] = append(all[l.File][l.Line], l)
	}
	return all
}

func read(t *testing.T, path string, each func(no int, r *Record)) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := NewParser(time.UTC, 2020)
	var r Record
	for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		p.Parse(line, &r)
		each(i+1, &r)
	}
}

// basic says whether a judgement holds for a basic reading, and not only for a stricter mode of the program that labelled it.
func (l label) basic() bool {
	return l.Mode == "" || strings.Contains(l.Mode, "normal")
}

// TestSSHLines holds the reading of sshd's lines against real ones.
func TestSSHLines(t *testing.T) {
	var tp, fp, fn int
	for file, lines := range labelsOf(t, "sshd") {
		read(t, file, func(no int, r *Record) {
			for _, l := range lines[no] {
				if l.Kind != "ssh_auth_failure" || !l.basic() {
					continue
				}
				right := r.SourceName == l.Source
				if a, ok := address(l.Source); ok {
					right = right || r.Source == a
				}
				said := r.Outcome == Failure
				switch {
				case l.Truth && said && right:
					tp++
				case l.Truth:
					fn++
					t.Logf("missed %s:%d %q: %v %q (want %q)", filepath.Base(file), no, r.Message, r.Outcome, r.SourceName, l.Source)
				case said:
					fp++
					t.Logf("wrong %s:%d %q: blames %q", filepath.Base(file), no, r.Message, r.SourceName)
				}
			}
		})
	}
	t.Logf("right %d, missed %d, wrong %d: recall %.4f, precision %.4f", tp, fn, fp, float64(tp)/float64(tp+fn), float64(tp)/float64(tp+fp))
	if recall := float64(tp) / float64(tp+fn); recall < 0.99 {
		t.Errorf("recall %.4f, goal 0.99", recall)
	}
	if precision := float64(tp) / float64(tp+fp); precision < 0.995 {
		t.Errorf("precision %.4f, goal 0.995", precision)
	}
}

// TestKnownShapes reads every labelled file: lines of an unknown shape are named.
func TestKnownShapes(t *testing.T) {
	for _, folder := range []string{"sshd", "firewall", "web", "maas", "syslog"} {
		for file := range labelsOf(t, folder) {
			unknown, total := 0, 0
			read(t, file, func(no int, r *Record) {
				total++
				if r.Kind == Unknown || r.Malformed {
					if unknown++; unknown <= 2 {
						t.Logf("%s:%d %v %.160q", filepath.Base(file), no, r.Kind, r.Message)
					}
				}
			})
			if unknown > 0 {
				t.Logf("%s: %d of %d not understood", filepath.Base(file), unknown, total)
			}
		}
	}
}
