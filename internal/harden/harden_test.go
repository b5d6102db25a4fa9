package harden

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/host/hosttest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// weak is a host with much that is wrong, some of it in names.
var weak = []guard.Entry{
	{Path: "/etc/group", Content: "root:x:0:\nmaas:x:121:bob\nstaff:x:50:alice\n"},
	{Path: "/var/lib/dpkg/status", Content: "Package: maas-region-api\nStatus: install ok installed\nVersion: 1:3.5.2\n\n"},
	{Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "root:maas"},
	{Path: "/etc/maas/regiond.conf.bak", Owner: "root:maas"},
	{Path: "/etc/maas/rackd.conf", Mode: 0o640, Owner: "root:maas"},
	{Path: "/var/lib/maas", Folder: true, Owner: "maas:maas"},
	{Path: "/var/lib/maas/secret", Mode: 0o640, Owner: "maas:maas"},
	{Path: "/var/lib/maas/certificates/\x1b]0;title\a<script>'=cmd|' \xff\u202e.key", Mode: 0o644, Owner: "maas:maas"},
	{Path: "/var/lib/maas/temporal", Folder: true, Mode: 0o700, Owner: "maas:maas", Hidden: true},
	{Path: "/var/lib/maas/temporal/production.yaml", Mode: 0o600, Owner: "maas:maas"},
}

// strong has what one finds after the fixes.
var strong = []guard.Entry{
	{Path: "/var/lib/dpkg/status", Content: "Package: maas-rack-controller\nStatus: install ok installed\nVersion: 1:3.5.2\n\n"},
	{Path: "/etc/maas/rackd.conf", Mode: 0o640, Owner: "root:maas"},
	{Path: "/var/lib/maas", Folder: true, Owner: "maas:maas"},
	{Path: "/var/lib/maas/secret", Mode: 0o600, Owner: "maas:maas"},
}

func checked(t *testing.T, tree []guard.Entry, change ...func(*Options)) *Report {
	t.Helper()
	r, err := tried(t, tree, change...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tried(t *testing.T, tree []guard.Entry, change ...func(*Options)) (*Report, error) {
	t.Helper()
	m, err := hosttest.New(tree)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Root: "/", Only: []string{"files"}, FailOn: guard.Low, Version: "test", Now: now} // one group: another's new check is no change here
	for _, c := range change {
		c(&o)
	}
	checks, err := Select(o.Only)
	if err != nil {
		return nil, err
	}
	return run(o, checks, host.New(m))
}

func only(names ...string) func(*Options)      { return func(o *Options) { o.Only = names } }
func failOn(s guard.Severity) func(*Options)   { return func(o *Options) { o.FailOn = s } }
func profile(role guard.Role) func(o *Options) { return func(o *Options) { o.Profile = role } }
func state(r *Report, check string) guard.State {
	i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Check == check })
	if i < 0 {
		return ""
	}
	return r.Findings[i].State
}

func TestOutcome(t *testing.T) {
	hidden := append(slices.Clone(strong), guard.Entry{Path: "/etc/maas", Folder: true, Mode: 0o700, Hidden: true})
	for _, c := range []struct {
		name   string
		tree   []guard.Entry
		change []func(*Options)
		code   int
	}{
		{"weak", weak, nil, 1},
		{"strong", strong, nil, 0},
		{"what failed is less than what counts", append(slices.Clone(strong), guard.Entry{Path: "/var/lib/maas/maas_id", Mode: 0o644, Owner: "maas:maas"}), []func(*Options){failOn(guard.Medium)}, 0},
		{"and counts otherwise", append(slices.Clone(strong), guard.Entry{Path: "/var/lib/maas/maas_id", Mode: 0o644, Owner: "maas:maas"}), nil, 1},
		{"what could not be checked is no pass", hidden, nil, 2},
		{"unless it does not count", hidden, []func(*Options){only("files-rack-config"), failOn(guard.Critical)}, 0},
		{"what was found comes before what was not", append(slices.Clone(hidden), guard.Entry{Path: "/var/lib/maas/secret", Mode: 0o644}), nil, 1},
		{"whether more is installed is not known", append(slices.Clone(strong), guard.Entry{Path: "/var/snap", Folder: true, Mode: 0o700, Hidden: true}), []func(*Options){failOn(guard.Critical)}, 2},
	} {
		if r := checked(t, c.tree, c.change...); r.Code() != c.code {
			t.Errorf("%s: got %d, want %d: %+v", c.name, r.Code(), c.code, r.Findings)
		}
	}
}

func TestSelection(t *testing.T) {
	r := checked(t, weak, only("files-region-config", "files-copies"))
	if len(r.Checks) != 2 || state(r, "files-region-config") != guard.Fail || state(r, "files-shared-secret") != "" {
		t.Errorf("two checks: got %+v", r.Checks)
	}
	if r := checked(t, weak, profile(guard.Rack)); state(r, "files-region-config") != "" || state(r, "files-rack-config") != guard.Fail || state(r, "files-shared-secret") != guard.Fail {
		t.Errorf("a rack's profile: got %+v", r.Checks)
	}
	for name, c := range map[string]struct {
		tree   []guard.Entry
		change func(*Options)
		says   string
	}{
		"an unknown check":        {weak, only("files-nothing"), "files-nothing"},
		"an empty name":           {weak, only(""), "''"},
		"a check for another":     {weak, only("files-root-key"), "None of these checks"},
		"nothing is installed":    {nil, only("files"), "there is nothing to check"},
		"and not all can be seen": {[]guard.Entry{{Path: "/var", Folder: true, Hidden: true}}, only("files"), "was found below /. Whether more is installed could not be found out"},
	} {
		if r, err := tried(t, c.tree, c.change); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, %v, want an error that says %q", name, r, err, c.says)
		}
	}
	for _, root := range []string{"/none/such", "/etc/passwd"} {
		if r, err := Run(Options{Root: root, Now: now}); err == nil || !strings.Contains(err.Error(), "root: Name a folder") {
			t.Errorf("%s: got %v, %v, want an error", root, r, err)
		}
	}
}

// The formats of one report, as people and programs get them.
func TestGolden(t *testing.T) {
	waivers, err := Waivers([]byte(`{"waivers": [
		{"check": "files-shared-secret", "product": "maas-deb", "subject": "/var/lib/maas/secret", "owner": "carol\u001b[2J", "reason": "=until the next release", "until": "2026-11-22"},
		{"check": "files-region-config", "product": "maas-deb", "subject": "/etc/maas/regiond.conf", "owner": "dave", "reason": "bob is leaving", "until": "2026-11-21"},
		{"check": "files-rack-config", "product": "maas-deb", "subject": "/etc/maas/rackd.conf", "owner": "dave", "reason": "none", "until": "2027-01-01"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	r := checked(t, weak, only("files-region-config", "files-rack-config", "files-shared-secret", "files-certificate-keys", "files-workflow-config", "files-dhcp-key",
		"files-copies", "files-folders")) // by name: a new check is no change of a form
	r.Waive(waivers)
	out := map[string]string{}
	write := func(name string, do func(*bytes.Buffer) error) {
		var b bytes.Buffer
		if err := do(&b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = b.String()
		for i, line := range strings.Split(b.String(), "\n") {
			if shown := guard.Show(line); name != "report.colour" && shown != line {
				t.Errorf("%s, line %d: a terminal would obey it: %s", name, i+1, shown)
			}
		}
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if d := cmp.Diff(string(want), b.String()); err != nil || d != "" {
			t.Errorf("%s: %v: (- wanted, + got; -update rewrites it)\n%s", name, err, d)
		}
	}
	for _, format := range Formats() {
		write("report."+format, func(b *bytes.Buffer) error { return Write(b, r, format, false) })
	}
	for _, format := range PlanFormats {
		write("plan."+format, func(b *bytes.Buffer) error { return WritePlan(b, r, format) })
	}
	write("baseline.json", func(b *bytes.Buffer) error {
		text, err := r.Baseline()
		b.Write(text)
		return err
	})
	write("explain.text", func(b *bytes.Buffer) error { return Explain(b, r.checks["files-shared-secret"]) })

	var colour bytes.Buffer
	if err := Write(&colour, r, "text", true); err != nil || !strings.Contains(colour.String(), "\x1b[1;31mHIGH\x1b[0m") {
		t.Errorf("in colour: got %v, %s", err, colour.String())
	}
	if err := Write(&colour, r, "pdf", false); err == nil {
		t.Error("a format that there is none of: got no error")
	}
	if err := WritePlan(&colour, r, "pdf"); err == nil {
		t.Error("a plan's format that there is none of: got no error")
	}
	if strings.Contains(out["report.html"], "<script>") || !strings.Contains(out["report.html"], "&lt;script&gt;") {
		t.Error("the page has a name's markup in it")
	}
	if err := xml.Unmarshal([]byte(out["report.junit"]), new(junitSuites)); err != nil {
		t.Errorf("JUnit: %v", err)
	}
	rows, err := csv.NewReader(strings.NewReader(out["report.csv"])).ReadAll()
	if err != nil || len(rows) != 1+len(r.Findings)+len(r.Notes)+len(r.Remarks) {
		t.Fatalf("CSV: got %d rows, %v", len(rows), err)
	}
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
				t.Errorf("a spreadsheet would take %q for a formula", cell)
			}
		}
	}
	if msg, err := exec.Command("bash", "-n", filepath.Join("testdata", "plan.script")).CombinedOutput(); err != nil {
		t.Errorf("the script: %v: %s", err, msg)
	}
}

// Expired waivers hold nothing back, waived findings are shown and do not count.
func TestWaivers(t *testing.T) {
	w := Waiver{Check: "files-shared-secret", Product: guard.MAASDeb, Subject: "/var/lib/maas/secret", Owner: "carol", Reason: "r", Until: "2026-11-22"}
	tree := append(slices.Clone(strong), guard.Entry{Path: "/var/lib/maas/secret", Mode: 0o644, Owner: "maas:maas"})
	r := checked(t, tree)
	if before := r.Score.Value; r.Code() != 1 || before != 80 {
		t.Fatalf("without a waiver: got %d, score %d", r.Code(), before)
	}
	if r.Waive([]Waiver{w}); r.Code() != 0 || r.Score.Value != 100 || state(r, w.Check) != guard.Fail || r.Findings[0].Waiver == nil {
		t.Errorf("with a waiver: got %d, score %d, %+v", r.Code(), r.Score.Value, r.Findings[0])
	}
	w.Until = "2026-11-21"
	r = checked(t, tree)
	if r.Waive([]Waiver{w}); r.Code() != 1 || r.Score.Value != 80 || !strings.Contains(strings.Join(r.Findings[0].Evidence, " "), "A waiver of carol for it ended on 2026-11-21.") {
		t.Errorf("with one that has ended: got %d, %+v", r.Code(), r.Findings[0])
	}
	for name, text := range map[string]string{
		"no JSON":            `waivers:`,
		"cut off":            `{"waivers": [`,
		"two values":         `{"waivers": []} {}`,
		"an unknown key":     `{"waivers": [{"check": "files-copies", "expires": "2027-01-01"}]}`,
		"an unknown check":   `{"waivers": [{"check": "files-x", "product": "maas-deb", "subject": "/x", "owner": "o", "reason": "r", "until": "2027-01-01"}]}`,
		"a group":            `{"waivers": [{"check": "files", "product": "maas-deb", "subject": "/x", "owner": "o", "reason": "r", "until": "2027-01-01"}]}`,
		"another's check":    `{"waivers": [{"check": "files-root-key", "product": "maas-deb", "subject": "/x", "owner": "o", "reason": "r", "until": "2027-01-01"}]}`,
		"no subject":         `{"waivers": [{"check": "files-copies", "product": "maas-deb", "owner": "o", "reason": "r", "until": "2027-01-01"}]}`,
		"no owner":           `{"waivers": [{"check": "files-copies", "product": "maas-deb", "subject": "/x", "reason": "r", "until": "2027-01-01"}]}`,
		"no reason":          `{"waivers": [{"check": "files-copies", "product": "maas-deb", "subject": "/x", "owner": "o", "until": "2027-01-01"}]}`,
		"no end":             `{"waivers": [{"check": "files-copies", "product": "maas-deb", "subject": "/x", "owner": "o", "reason": "r"}]}`,
		"a day there is not": `{"waivers": [{"check": "files-copies", "product": "maas-deb", "subject": "/x", "owner": "o", "reason": "r", "until": "2027-02-30"}]}`,
		"too large":          strings.Repeat(" ", MaxFile+1),
	} {
		if list, err := Waivers([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "waivers: ") {
			t.Errorf("%s: got %v, %v, want an error that says waivers", name, list, err)
		}
	}
}

// Only what is new counts, and a finding whose evidence changed is new.
func TestBaseline(t *testing.T) {
	text, err := checked(t, weak).Baseline()
	if err != nil {
		t.Fatal(err)
	}
	base, err := ReadBaseline(text)
	if err != nil {
		t.Fatal(err)
	}
	again := checked(t, weak)
	if gone := again.Compare(base); len(gone) != 0 || again.Code() != 0 || again.Score.Value == 100 {
		t.Errorf("the same host: got %v gone, %d, score %s", gone, again.Code(), again.Score)
	}
	changed := append(slices.Clone(weak), guard.Entry{Path: "/etc/group", Content: "root:x:0:\nmaas:x:121:bob,alice\nstaff:x:50:alice\n"}, guard.Entry{Path: "/etc/maas/regiond.conf.bak", Mode: 0o600})
	r := checked(t, changed)
	gone := r.Compare(base)
	var b bytes.Buffer
	if err := WriteDiff(&b, r, gone); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"+ critical files-region-config", "alice is in the group maas (121)", "- critical files-copies, MAAS, Debian packages: /etc/maas/regiond.conf.bak (fail)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("got %s, want %q in it", b.String(), want)
		}
	}
	if r.Code() != 1 {
		t.Errorf("one more person in the group: got %d, want 1", r.Code())
	}
	for name, text := range map[string]string{"no JSON": "x", "another format": `{"format": 2, "time": "2026-11-22T12:00:00Z", "findings": []}`, "an unknown key": `{"format": 1, "x": 1}`,
		"a severity there is not": `{"format": 1, "findings": [{"severity": "grave"}]}`} {
		if b, err := ReadBaseline([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "baseline: ") {
			t.Errorf("%s: got %v, %v, want an error that says baseline", name, b, err)
		}
	}
}

// The plan of a host, carried out, leaves nothing to do; undone, it leaves the host as it was.
func TestPlanOnDisk(t *testing.T) {
	root := t.TempDir()
	tree := []guard.Entry{
		{Path: "/var/lib/metalward", Folder: true, Mode: 0o777}, {Path: "/var/lib/metalward/root.key", Mode: 0o666}, {Path: "/var/lib/metalward/shared-secret", Mode: 0o644},
		{Path: "/var/lib/metalward/root.key.bak", Mode: 0o604}, {Path: "/var/lib/metalward/it's \x1b[2J.key"}}
	if err := hosttest.Write(root, tree, nil); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		t.Skip("whoever is not root owns the files, which is a finding whose fix he may not carry out")
	}
	modes := func() (list []string) {
		paths, err := filepath.Glob(filepath.Join(root, "var/lib/metalward") + "*")
		if err != nil {
			t.Fatal(err)
		}
		more, err := filepath.Glob(filepath.Join(root, "var/lib/metalward/*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range append(paths, more...) {
			info, err := os.Stat(p)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, filepath.Base(p)+" "+info.Mode().String())
		}
		return list
	}
	check := func() *Report {
		r, err := Run(Options{Root: root, FailOn: guard.Low, Now: now, Only: []string{"files"}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	inside := func(lines []string) {
		t.Helper()
		script := strings.ReplaceAll(strings.Join(lines, "\n"), " /var/lib", " "+root+"/var/lib") // instead of chroot(2), which would need a shell in the tree
		if msg, err := exec.Command("bash", "-euc", script).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s\n%s", err, msg, script)
		}
	}
	before := modes()
	steps := check().Plan()
	if len(steps) != 4 || steps[0].Check != "files-folders" {
		t.Fatalf("got the steps %+v, want that of the folder and then three", steps)
	}
	for _, s := range steps {
		inside(s.Fix)
	}
	if r := check(); r.Code() != 0 {
		t.Errorf("after the fixes: got %+v", r.Findings)
	}
	for _, s := range slices.Backward(steps) {
		inside(s.Undo)
	}
	if d := cmp.Diff(before, modes()); d != "" {
		t.Errorf("after the undoing (- before, + now):\n%s", d)
	}
}

// Who has left a group does not leave it again; what has to be done again is.
func TestPlanRepeats(t *testing.T) {
	c := &guard.Check{ID: "files-x", Risk: "r"}
	one := func(fix, undo []string) Finding {
		return Finding{State: guard.Fail, Fix: fix, Undo: undo, fromCatalog: guard.Finding{Check: c}}
	}
	r := &Report{Findings: []Finding{
		one([]string{"edit a", "reload", "gpasswd -d bob maas"}, []string{"gpasswd -a bob maas", "unedit a", "reload"}),
		one([]string{"edit b", "reload", "gpasswd -d bob maas"}, []string{"gpasswd -a bob maas", "unedit b", "reload"}),
		one([]string{"gpasswd -d bob maas"}, []string{"gpasswd -a bob maas"}),
	}}
	want := [][2][]string{
		{{"edit a", "reload", "gpasswd -d bob maas"}, {"gpasswd -a bob maas", "unedit a", "reload"}},
		{{"edit b", "reload"}, {"unedit b", "reload"}},
		{{"# The steps before do it."}, {"# Those of the steps before."}},
	}
	for i, s := range r.Plan() {
		if d := cmp.Diff(want[i], [2][]string{s.Fix, s.Undo}); d != "" {
			t.Errorf("step %d (- wanted, + got):\n%s", s.Number, d)
		}
	}
}

// A tree that means harm on the real disk: the check ends, prints nothing that a terminal obeys, and calls nothing good that it did not see.
func TestHostileTree(t *testing.T) {
	root := t.TempDir()
	tree := []guard.Entry{
		{Path: "/etc/passwd", Content: strings.Repeat("x:x:1:1::/home/../../../../..:/bin/sh\n", 40_000)}, // more than is read
		{Path: "/etc/maas/regiond.conf", Link: "regiond.conf"},
		{Path: "/etc/maas/rackd.conf", Link: "/dev/zero"}, {Path: "/dev", Link: "/proc/self/fd"}, {Path: "/proc", Link: strings.Repeat("../", 60)},
		{Path: "/var/lib/maas/certificates", Link: "/loop/loop/loop"}, {Path: "/loop/loop", Link: "."},
		{Path: "/var/lib/maas/maas_id", Folder: true},
		{Path: "/var/lib/maas/http/certs/\x1b[2J\xff\n-key.pem", Mode: 0o666},
		{Path: "/var/lib/dpkg/status", Content: strings.Repeat("\x00\n\n", 1<<14) + "Package: maas-region-api\nStatus: install ok installed\nVersion: \x1b[1m\n\n"},
		{Path: "/var/snap/maas", Link: "/"}, {Path: "/snap/maas/current/meta/snap.yaml", Content: "version: \x1b]0;x\a\n"},
	}
	if err := hosttest.Write(root, tree, nil); err != nil {
		t.Fatal(err)
	}
	for _, pipe := range []string{"var/lib/maas/secret", "var/lib/maas/dhcpd.conf", "etc/group", "etc/maas/agent.yaml"} {
		at := filepath.Join(root, pipe)
		if err := os.Remove(at); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := unix.Mkfifo(at, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Run(Options{Root: root, FailOn: guard.Low, Now: now, Only: []string{"files"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range Formats() {
		var b bytes.Buffer
		if err := Write(&b, r, format, false); err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(b.String(), "\n") {
			if guard.Show(line) != line {
				t.Errorf("%s: a terminal would obey %q", format, line)
			}
		}
	}
	for _, want := range []struct {
		check, subject string
		state          guard.State
	}{
		{"files-region-config", "/etc/maas/regiond.conf", guard.Unchecked}, // a loop
		{"files-shared-secret", "/var/lib/maas/secret", guard.Unchecked},   // a pipe
		{"files-identity", "/var/lib/maas/maas_id", guard.Unchecked},       // a folder
		{"files-agent-config", "/etc/maas/agent.yaml", guard.Unchecked},
		{"files-certificate-keys", `/var/lib/maas/http/certs/\x1b[2J\xff\x0a-key.pem`, guard.Fail},
		{"files-cli-profiles", "~/.maascli.db", guard.Unchecked}, // whose homes there are is not known
	} {
		if !slices.ContainsFunc(r.Findings, func(f Finding) bool {
			return f.Check == want.check && f.Subject == want.subject && f.State == want.state
		}) {
			t.Errorf("got no %q of %s, %s", want.state, want.check, want.subject)
		}
	}
	for _, f := range r.Findings {
		if f.Check == "files-rack-config" && f.State == guard.Pass {
			t.Errorf("what is outside of the tree was judged: %+v", f)
		}
	}
}

// What people hand over is refused or understood, and can be printed either way.
func FuzzFiles(f *testing.F) {
	f.Add([]byte(`{"waivers": [{"check": "files-copies", "product": "maas-deb", "subject": "/x", "owner": "o", "reason": "r", "until": "2027-01-01"}]}`))
	f.Add([]byte(`{"format": 1, "time": "2026-11-22T12:00:00Z", "findings": [{"fingerprint": "x", "severity": "low"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := Waivers(text)
		base, err2 := ReadBaseline(text)
		for _, err := range []error{err, err2} {
			if err != nil && guard.Show(err.Error()) != err.Error() {
				t.Errorf("a terminal would obey the error %q", err)
			}
		}
		r := &Report{Time: now}
		r.Waive(list)
		var b bytes.Buffer
		if base != nil {
			if err := WriteDiff(&b, r, r.Compare(base)); err != nil {
				t.Fatal(err)
			}
		}
		for _, line := range append(r.Remarks, strings.Split(b.String(), "\n")...) {
			if guard.Show(line) != line {
				t.Errorf("a terminal would obey %q", line)
			}
		}
	})
}

// Files of known flaws are read before anything is checked, and what they know is a finding.
func TestFlaws(t *testing.T) {
	root, files := t.TempDir(), t.TempDir()
	if err := hosttest.Write(root, append([]guard.Entry{{Path: "/etc/os-release", Content: "ID=debian\nVERSION_ID=12\n"}}, strong...), nil); err != nil {
		t.Fatal(err)
	}
	file := func(name, text string) string {
		at := filepath.Join(files, name)
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return at
	}
	good := file("good.json", `{"id": "X-1", "affected": [{"package": {"ecosystem": "Debian:12", "name": "maas-rack-controller"}, "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1:3.5.9"}]}]}]}`)
	o := Options{Root: root, Only: []string{"versions-flaws"}, FailOn: guard.Low, Now: now, OSV: []string{good}}
	r, err := Run(o)
	if err != nil || len(r.Findings) != 1 || r.Code() != 1 || !strings.Contains(strings.Join(r.Findings[0].Evidence, ""), "X-1, fixed in 1:3.5.9") {
		t.Errorf("got %+v, %v", r, err)
	}
	for _, c := range []struct {
		osv, oval []string
		says      string
	}{
		{[]string{filepath.Join(files, "none")}, nil, "no such file"},
		{[]string{file("bad.json", "[")}, nil, "osv: "},
		{[]string{files}, nil, "is a directory"},
		{nil, []string{good}, "oval: "},
	} {
		o.OSV, o.OVAL = c.osv, c.oval
		if _, err := Run(o); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q %q: got %v, want %q", c.osv, c.oval, err, c.says)
		}
	}
}

// The database is asked of a region alone, and never by a copy of one's files.
func TestDatabase(t *testing.T) {
	rack, region := t.TempDir(), t.TempDir()
	if err := hosttest.Write(rack, strong, nil); err != nil {
		t.Fatal(err)
	}
	if err := hosttest.Write(region, append([]guard.Entry{{Path: "/etc/maas/regiond.conf", Content: "database_host: 192.0.2.1\ndatabase_pass: hunter2\n"}}, strong...), nil); err != nil {
		t.Fatal(err)
	}
	o := Options{Root: rack, Only: []string{"users"}, FailOn: guard.Low, Now: now, Database: true}
	if _, err := Run(o); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "No region of MAAS is here") {
		t.Errorf("a rack: got %v", err)
	}
	for o.Database, o.Root = range map[bool]string{true: region, false: region} {
		r, err := Run(o)
		if err != nil {
			t.Fatal(err)
		}
		want := map[bool]string{true: "run it on the region", false: "with --database"}[o.Database]
		if r.Code() != 2 || len(r.Findings) < 8 || !strings.Contains(strings.Join(r.Findings[0].Evidence, ""), want) {
			t.Errorf("asked %v: got %d, %+v", o.Database, r.Code(), r.Findings)
		}
	}
}
