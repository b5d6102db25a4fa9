package harden

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
)

func TestParseHost(t *testing.T) {
	for text, want := range map[string]Host{
		"ssh://maas":                        {"ssh://maas", "", "maas", ""},
		"ssh://root@maas.example:2222":      {"ssh://root@maas.example:2222", "root", "maas.example", "2222"},
		"ssh://bob@[2001:db8::1]:22/":       {"ssh://bob@[2001:db8::1]:22", "bob", "2001:db8::1", "22"},
		"ssh://10.0.0.1":                    {"ssh://10.0.0.1", "", "10.0.0.1", ""},
		"maas":                              {},
		"http://maas":                       {},
		"ssh://":                            {},
		"ssh://-oProxyCommand=id":           {},
		"ssh://-l@maas":                     {},
		"ssh://@maas":                       {},
		"ssh://maas:":                       {},
		"ssh://maas:0":                      {},
		"ssh://maas:x":                      {},
		"ssh://bob:secret@maas":             {},
		"ssh://maas/etc":                    {},
		"ssh://maas?x":                      {},
		"ssh://maas#x":                      {},
		"ssh://a b":                         {},
		"ssh://a;id":                        {},
		"ssh://$(id)":                       {},
		"ssh://%2doProxyCommand=id":         {},
		"ssh://m\x1baas":                    {},
		"ssh://[fe80::1%25eth0]":            {},
		"ssh:maas":                          {},
		"ssh://maas.":                       {},
		"ssh://" + strings.Repeat("a", 300): {},
	} {
		got, err := ParseHost(text)
		if (err == nil) != (want.Name != "") || got != want && err == nil || err != nil && fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
	}
}

// here runs what ssh would run on a host, on this one, with programs of its own before the usual ones.
func here(t *testing.T, programs map[string]string) (r Remote, scratch string) {
	t.Helper()
	dir := t.TempDir()
	scratch = filepath.Join(dir, "scratch")
	write := func(name, text string) string {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, []byte("#!/bin/sh\n"+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(at, 0o700); err != nil {
			t.Fatal(err)
		}
		return at
	}
	if err := os.Mkdir(scratch, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range programs {
		write(name, text)
	}
	ssh := write("ssh", `for command; do :; done; PATH="`+dir+`:$PATH" XDG_RUNTIME_DIR="`+scratch+`" sh -c "$command"`)
	return Remote{SSH: ssh, Program: write("program", programs["metalward"])}, scratch
}

// What is run on a host says why it cannot be, and leaves nothing there.
func TestRemoteScript(t *testing.T) {
	report := &bytes.Buffer{}
	if err := writeJSON(report, checked(t, weak)); err != nil {
		t.Fatal(err)
	}
	answers := filepath.Join(t.TempDir(), "report")
	if err := os.WriteFile(answers, report.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		programs map[string]string
		sudo     bool
		says     string // "" for a report
	}{
		"good":                  {map[string]string{"metalward": "cat " + answers + "; exit 1"}, false, ""},
		"by sudo":               {map[string]string{"metalward": "test -n \"$BY\" && cat " + answers + "; exit 1", "sudo": `test "$1" = -n && shift && BY=sudo "$@"`}, true, ""},
		"another machine":       {map[string]string{"uname": "echo OpenBSD"}, false, "it is OpenBSD, and this program is for Linux"},
		"no folder":             {map[string]string{"mktemp": "exit 1"}, false, "it has no folder"},
		"sudo asks":             {map[string]string{"sudo": "echo 'sudo: a password is required' >&2; exit 1"}, true, "sudo does not let this user run it"},
		"a full disk":           {map[string]string{"wc": "echo 12"}, false, "the program did not arrive whole"},
		"nothing is installed":  {map[string]string{"metalward": "echo metalward: there is nothing to check. >&2; exit 2"}, false, "it could not be checked (2): there is nothing to check."},
		"killed":                {map[string]string{"metalward": "kill -9 $$"}, false, "(137)"},
		"another version":       {map[string]string{"metalward": "sed 's/\"version\": \"test\"/\"version\": \"old\"/' " + answers}, false, "by metalward old"},
		"half an answer":        {map[string]string{"metalward": "head -c 1000 " + answers}, false, "its answer is no report of this program"},
		"an answer and more":    {map[string]string{"metalward": "cat " + answers + "; echo x"}, false, "something follows the value"},
		"a silent host":         {map[string]string{"metalward": "exec sleep 20"}, false, "it did not answer within"},
		"a name for a terminal": {map[string]string{"metalward": `sed 's/"subject": "[^"]*/&\\u001b[31m/' ` + answers}, false, "a terminal may obey"},
	} {
		r, scratch := here(t, c.programs)
		if r.Sudo = c.sudo; name == "a silent host" {
			r.Time = 2 * time.Second
		}
		o := Options{Root: "/", Only: []string{"files"}, FailOn: guard.Low, Version: "test", Now: now}
		f, err := RunHosts(t.Context(), o, r, []Host{{Name: "ssh://h", host: "h"}})
		if err != nil {
			t.Fatal(err)
		}
		if h := f.Hosts[0]; (h.Report == nil) != (c.says != "") || !strings.Contains(h.Error, c.says) {
			t.Errorf("%s: got %q, want %q", name, h.Error, c.says)
		}
		if left, err := os.ReadDir(scratch); name != "a silent host" && (err != nil || len(left) > 0) { // there the script ends when it notices that nobody listens
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
	r, _ := here(t, nil)
	for name, run := range map[string]func() error{
		"twice": func() error {
			_, err := RunHosts(t.Context(), Options{Root: "/"}, r, []Host{{Name: "a"}, {Name: "a"}})
			return err
		},
		"too many": func() error {
			_, err := RunHosts(t.Context(), Options{Root: "/"}, r, make([]Host, maxHosts+1))
			return err
		},
		"a root": func() error { _, err := RunHosts(t.Context(), Options{Root: "/x;id"}, r, nil); return err },
		"a check": func() error {
			_, err := RunHosts(t.Context(), Options{Root: "/", Only: []string{"x"}}, r, nil)
			return err
		},
	} {
		if err := run(); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
}

// A report of another host is read as it was written, and not where it says what this program does not.
func TestReadAnswer(t *testing.T) {
	want := checked(t, weak)
	var text bytes.Buffer
	if err := writeJSON(&text, want); err != nil {
		t.Fatal(err)
	}
	o := Options{Root: "/", Only: []string{"files"}, FailOn: guard.Low, Version: "test", Now: now}
	got, err := readAnswer(text.Bytes(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range Formats() {
		var a, b bytes.Buffer
		if err := Write(&a, want, format, false); err != nil {
			t.Fatal(err)
		}
		if err := Write(&b, got, format, false); err != nil {
			t.Fatal(err)
		}
		if format != "sarif" && a.String() != b.String() { // SARIF has a name as its bytes are, which the report does not have
			t.Errorf("%s: it is not the same report once it was read", format)
		}
	}
	for name, change := range map[string]func(r map[string]any, f map[string]any){
		"another format":      func(r, _ map[string]any) { r["format"] = 2 },
		"an unknown field":    func(r, _ map[string]any) { r["x"] = 1 },
		"an unknown check":    func(_, f map[string]any) { f["check"] = "files-x" },
		"a check of none":     func(_, f map[string]any) { f["check"] = "ports-policy" },
		"an unknown state":    func(_, f map[string]any) { f["state"] = "fine" },
		"an unknown severity": func(_, f map[string]any) { f["severity"] = "none" },
		"an unknown product":  func(_, f map[string]any) { f["product"] = "x" },
		"a waiver of its own": func(_, f map[string]any) { f["waiver"] = map[string]any{"check": "x"} },
		"known to itself":     func(_, f map[string]any) { f["known"] = true },
		"no fingerprint":      func(_, f map[string]any) { f["fingerprint"] = "x" },
		"an escape":           func(_, f map[string]any) { f["evidence"] = []string{"\x1b[2J"} },
		"directions":          func(_, f map[string]any) { f["fix"] = []string{"rm \u202e x"} },
		"lines of its own":    func(r, _ map[string]any) { r["notes"] = []string{"a\nb"} },
		"another root":        func(r, _ map[string]any) { r["root"] = "/x" },
		"another profile":     func(r, _ map[string]any) { r["profile"] = "rack" },
		"nothing":             func(r, _ map[string]any) { r["findings"] = []any{} },
		"another's product": func(r, _ map[string]any) {
			r["products"] = []any{map[string]any{"product": "x", "version": "1", "why": "x"}}
		},
		"no products":          func(r, _ map[string]any) { r["products"] = nil },
		"a fix without undo":   func(_, f map[string]any) { f["undo"] = []string{} },
		"other fail-on":        func(r, _ map[string]any) { r["fail_on"] = "high" },
		"an unknown check run": func(r, _ map[string]any) { r["checks"].([]any)[0].(map[string]any)["id"] = "files-x" },
	} {
		var r map[string]any
		if err := json.Unmarshal(text.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		change(r, r["findings"].([]any)[0].(map[string]any))
		spoiled, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := readAnswer(spoiled, o); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	// What it says of a check, of the outcome and of the score is not taken from it.
	lying := strings.NewReplacer(`"outcome": "failed"`, `"outcome": "clean"`, `"title": "Nobody`, `"title": "Everybody`).Replace(text.String())
	if r, err := readAnswer([]byte(lying), o); err != nil || r.Outcome != Failed || strings.Contains(r.Findings[0].Title, "Everybody") || r.Score.Value != want.Score.Value {
		t.Errorf("got %v, %v", r, err)
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte(`{"format": 1, "tool": {"name": "metalward", "version": "test"}, "findings": [{"check": "files-x"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := readAnswer(text, Options{Root: "/", FailOn: guard.Low, Version: "test"})
		if err != nil && guard.Show(err.Error()) != err.Error() {
			t.Errorf("%q cannot be printed", err)
		}
		if err == nil {
			var b bytes.Buffer
			if err := Write(&b, r, "text", false); err != nil {
				t.Error(err)
			}
		}
	})
}
