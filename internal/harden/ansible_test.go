package harden

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/guard/catalog"
	"github.com/metalward/metalward/internal/host/hosttest"
)

type playbook []struct {
	Hosts  string
	Become bool
	Tasks  []struct {
		Name  string
		Tags  []string
		Block []struct {
			Shell struct{ Cmd, Executable string } `yaml:"ansible.builtin.shell"`
			Debug struct{ Msg any }                `yaml:"ansible.builtin.debug"`
		}
	}
}

// A playbook has each command of the plan as it is, and what is for a person as something to read.
func TestAnsible(t *testing.T) {
	r := checked(t, weak)
	var b bytes.Buffer
	if err := WritePlan(&b, r, "ansible"); err != nil {
		t.Fatal(err)
	}
	var book playbook
	if err := yaml.Unmarshal(b.Bytes(), &book); err != nil || len(book) != 1 || book[0].Hosts != "all" || !book[0].Become {
		t.Fatalf("got %v: %s", err, b.String())
	}
	steps := r.Plan()
	if len(book[0].Tasks) != len(steps) || len(steps) == 0 {
		t.Fatalf("got %d tasks, want %d", len(book[0].Tasks), len(steps))
	}
	for i, s := range steps {
		task := book[0].Tasks[i]
		if len(task.Tags) != 3 || task.Tags[0] != s.Severity.String() || task.Tags[1] != s.Check || len(task.Block) != len(s.Fix)+1 {
			t.Errorf("step %d: got %+v", s.Number, task)
			continue
		}
		for j, line := range s.Fix {
			one := task.Block[j+1]
			if byHand(line) && (one.Shell.Cmd != "" || one.Debug.Msg != line) || !byHand(line) && (one.Shell.Cmd != line || one.Shell.Executable != "/bin/bash") {
				t.Errorf("step %d: got %+v, want %q", s.Number, one, line)
			}
		}
	}
}

// No command of the catalogue that is run has a word in it that somebody has to fill in.
func TestAnsibleGuessesNothing(t *testing.T) {
	known := []string{"INPUT", "LOG", "APT", "ALTER", "SYSTEM", "SET", "ROLE", "NOSUPERUSER"} // of iptables, APT and SQL
	for _, c := range catalog.Checks() {
		for _, s := range c.Samples {
			h, err := hosttest.Of(s)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range c.Run(h, s.Product) {
				for _, line := range f.Observation.Fix {
					for word := range strings.FieldsFuncSeq(line, func(r rune) bool { return !(r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '_') }) {
						if !byHand(line) && len(word) > 2 && strings.ToUpper(word) == word && !slices.Contains(known, word) && f.State == guard.Fail {
							t.Errorf("%s: %q has %s in it; say behind # what that is", c.ID, line, word)
						}
					}
				}
			}
		}
	}
}

// Ansible itself reads a playbook, takes no text in it for a template, and runs what is to be run.
func TestAnsibleRuns(t *testing.T) {
	ansible, err := exec.LookPath("ansible-playbook")
	if err != nil {
		t.Skip("there is no ansible-playbook, so nobody else reads the playbook: install ansible-core")
	}
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	c := &guard.Check{ID: "files-x", Group: "files", Title: "{{ 1 + 1 }}", Severity: guard.High, Risk: "{% raw %} {# none #}"}
	f := finding(guard.Finding{Check: c, Product: guard.MAASDeb, Observation: guard.Observation{State: guard.Fail, Subject: "/a {{ 6 * 7 }}: 'x' \"y\"\x1b", Evidence: []string{"{{ lookup('pipe', 'id') }}"},
		Fix:  []string{"printf %s '{{ 6 * 7 }} {% raw %} {# x #} \"\\a' >> " + out, "# By hand: {{ 1 }}", "touch " + out + ".by-hand # once NAME is known"},
		Undo: []string{"rm " + out, "#", "#"}}})
	r := &Report{Root: "/", Findings: []Finding{f}}
	var b bytes.Buffer
	if err := WritePlan(&b, r, "ansible"); err != nil {
		t.Fatal(err)
	}
	book := filepath.Join(dir, "plan.yaml")
	if err := os.WriteFile(book, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--syntax-check"}, {"-e", "ansible_become=false", "--tags", "high"}, {"-e", "ansible_become=false", "--tags", "low"}} {
		cmd := exec.Command(ansible, append(args, "-i", "localhost,", "-c", "local", book)...)
		cmd.Env = append(os.Environ(), "ANSIBLE_LOCAL_TEMP="+dir, "ANSIBLE_REMOTE_TEMP="+dir, "ANSIBLE_HOME="+dir, "ANSIBLE_NOCOWS=1", "LC_ALL=C.UTF-8")
		said, err := cmd.CombinedOutput()
		if told := bytes.ReplaceAll(said, []byte(dir), nil); err != nil || bytes.Contains(told, []byte("42")) || bytes.Contains(told, []byte("uid=")) {
			t.Fatalf("%q: %v: %s", args, err, said)
		}
	}
	got, err := os.ReadFile(out)
	if want := `{{ 6 * 7 }} {% raw %} {# x #} "\a`; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q once", got, err, want)
	}
	if _, err := os.Stat(out + ".by-hand"); err == nil {
		t.Error("what is for a person was run")
	}
	// The whole of a weak host, too, is read by it.
	b.Reset()
	if err := WritePlan(&b, checked(t, weak), "ansible"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(book, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(ansible, "--syntax-check", "-i", "localhost,", book).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, said)
	}
}
