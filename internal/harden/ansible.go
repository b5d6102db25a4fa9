package harden

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"gopkg.in/yaml.v3"
)

// writeAnsible writes a plan as a playbook of one play: a block of tasks for each step, with its severity and its check as tags. What is
// prose, or a command with a comment that asks something of who runs it, is shown and not run. Source: Ansible's documentation, "Blocks",
// "Tags", "ansible.builtin.shell", "ansible.builtin.debug"; "Unsafe or raw strings" for what keeps it from taking texts for templates.
func writeAnsible(w io.Writer, r *Report, steps []Step) error {
	tasks := list()
	for _, s := range steps {
		name := fmt.Sprintf("%d. %s of %s: %s", s.Number, s.Check, s.Product, s.Subject)
		about := list(unsafe("Seen: " + strings.Join(s.Evidence, " ")))
		about.Content = append(about.Content, unsafe("Risk: "+s.Risk))
		for _, line := range s.Undo {
			about.Content = append(about.Content, unsafe("Undo: "+line))
		}
		block := list(show(name+", what was seen", about))
		for i, line := range s.Fix {
			task := fmt.Sprintf("%s, fix %d", name, i+1)
			if byHand(line) {
				block.Content = append(block.Content, show(task+", by hand", unsafe(line)))
				continue
			}
			block.Content = append(block.Content, pairs("name", unsafe(task), "ansible.builtin.shell", pairs("cmd", unsafe(line), "executable", plain("/bin/bash"))))
		}
		tasks.Content = append(tasks.Content, pairs("name", unsafe(name), "tags", list(plain(s.Severity.String()), plain(s.Check), plain(string(s.Product))), "block", block))
	}
	play := pairs("name", unsafe(fmt.Sprintf("metalward harden plan for the host whose files are below %s, %s", r.Root, r.Time.Format("2006-01-02 15:04:05 UTC"))),
		"hosts", plain("all"), "become", boolean(true), "gather_facts", boolean(false), "environment", pairs("DEBIAN_FRONTEND", plain("noninteractive")), "tasks", tasks)
	var b bytes.Buffer
	b.WriteString("# What metalward harden plan proposes for one host. Read it, and run it for that host alone: ansible-playbook --limit HOST FILE\n" +
		"# --tags high,critical picks severities, --tags files-copies a check. It stops at the first error. Run it once, then check anew.\n")
	if n := r.unchecked(); n > 0 {
		fmt.Fprintf(&b, "# Could not be checked, and is not in this plan: %d. See: metalward harden check\n", n)
	}
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(list(play)); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// byHand reports whether a line of a fix is for a person: a sentence, or a command with one behind it.
func byHand(line string) bool { return strings.HasPrefix(line, "#") || strings.Contains(line, " # ") }

func show(name string, message *yaml.Node) *yaml.Node {
	return pairs("name", unsafe(name), "ansible.builtin.debug", pairs("msg", message))
}

func list(of ...*yaml.Node) *yaml.Node { return &yaml.Node{Kind: yaml.SequenceNode, Content: of} }

// pairs are names and values, by turns.
func pairs(of ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, v := range of {
		if name, ok := v.(string); ok {
			v = plain(name)
		}
		n.Content = append(n.Content, v.(*yaml.Node))
	}
	return n
}

func plain(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

func boolean(v bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)}
}

// unsafe is a text that Ansible takes as it is.
func unsafe(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!unsafe", Value: s, Style: yaml.DoubleQuotedStyle}
}
