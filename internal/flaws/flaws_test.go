package flaws

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A random version, of the characters that dpkg treats differently, now and then none at all.
func randomVersion(rng *rand.Rand) string {
	var b strings.Builder
	if rng.IntN(4) == 0 {
		fmt.Fprintf(&b, "%d:", rng.IntN(3))
	}
	if rng.IntN(20) != 0 {
		b.WriteByte("0123456789"[rng.IntN(10)])
	}
	for range rng.IntN(6) {
		b.WriteByte("0012aAzZ.+~~-:"[rng.IntN(14)])
	}
	if rng.IntN(2) == 0 {
		b.WriteString("-" + string("01a~+."[rng.IntN(6)]))
	}
	return b.String()
}

// TestCompare holds the order against dpkg's own, for chosen and random versions, and what is no version.
func TestCompare(t *testing.T) {
	pairs := [][2]string{{"1.0~rc1", "1.0"}, {"1.0", "1.0-0"}, {"0:1", "1"}, {"1:0", "9"}, {"1.0a", "1.0+"}, {"1.09", "1.9"}, {"2.2.1-1ubuntu1.4", "2.2.1-1ubuntu1.10"},
		{"99999999999999999999999", "100000000000000000000000"}, {"1~~", "1~~a"}, {"1-1~", "1-1"}, {"", "1"}, {"a1", "1"}, {":1", "1"}, {"x:1", "1"}, {"1-", "1"}, {"1_2", "1"}, {"1:", "1"}}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 400 {
		pairs = append(pairs, [2]string{randomVersion(rng), randomVersion(rng)})
	}
	// One run of a shell asks dpkg for all. It prints lt, eq, gt, or a warning of a version that is none.
	var script strings.Builder
	script.WriteString("ask() { w=$(dpkg --compare-versions \"$1\" lt \"$2\" 2>&1); a=$?; [ -n \"$w\" ] && { echo bad; return; }; [ $a = 0 ] && { echo lt; return; }; dpkg --compare-versions \"$1\" eq \"$2\" && echo eq || echo gt; }\n")
	for _, p := range pairs {
		fmt.Fprintf(&script, "ask '%s' '%s'\n", p[0], p[1])
	}
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("dpkg is not here")
	}
	cmd := exec.Command("sh")
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Fields(string(out))
	if len(answers) != len(pairs) {
		t.Fatalf("got %d answers to %d questions", len(answers), len(pairs))
	}
	seen := map[string]int{}
	for i, p := range pairs {
		d, err := Compare(p[0], p[1])
		got := []string{"lt", "eq", "gt"}[max(-1, min(1, d))+1]
		if err != nil {
			got = "bad"
		}
		if p[0] == "" || p[1] == "" { // dpkg has an order for no version at all, which none of ours is
			continue
		}
		if seen[got]++; got != answers[i] {
			t.Errorf("%q and %q: got %s, dpkg has %s", p[0], p[1], got, answers[i])
		}
	}
	if seen["lt"] < 50 || seen["gt"] < 50 || seen["bad"] < 20 || seen["eq"] < 1 {
		t.Errorf("the questions are too alike: %v", seen)
	}
}

var bookworm = System{ID: "debian", Version: "12", Packages: []Package{
	{"libssl3", "3.0.11-1~deb12u2", "openssl", "3.0.11-1~deb12u2"}, {"openssl", "3.0.11-1~deb12u2", "openssl", "3.0.11-1~deb12u2"},
	{"bash", "5.2.15-2+b2", "bash", "5.2.15-2"}, {"curl", "7.88.1-10", "curl", "7.88.1-10"}}}

func rec(id, more string) string { return `{"id": "` + id + `", ` + more + `}` }

func affects(ecosystem, name, more string) string {
	return `"affected": [{"package": {"ecosystem": "` + ecosystem + `", "name": "` + name + `"}, ` + more + `}]`
}

func events(list ...string) string {
	var parts []string
	for i := 0; i < len(list); i += 2 {
		parts = append(parts, `{"`+list[i]+`": "`+list[i+1]+`"}`)
	}
	return `"ranges": [{"type": "ECOSYSTEM", "events": [` + strings.Join(parts, ",") + `]}]`
}

func TestOSV(t *testing.T) {
	deb12 := func(more string) string { return rec("X-1", affects("Debian:12", "curl", more)) }
	for _, c := range []struct {
		name, text string
		want       string // id package fixed, for each
		elsewhere  int
		notClear   string // a reason
	}{
		{"fixed later", deb12(events("introduced", "0", "fixed", "7.88.1-10+deb12u1")), "X-1 curl 7.88.1-10+deb12u1", 0, ""},
		{"fixed in it", deb12(events("introduced", "0", "fixed", "7.88.1-10")), "", 0, ""},
		{"never fixed", deb12(events("introduced", "0")), "X-1 curl ", 0, ""},
		{"introduced later", deb12(events("introduced", "8")), "", 0, ""},
		{"of the last that has it", deb12(events("introduced", "0", "last_affected", "7.88.1-10")), "X-1 curl ", 0, ""},
		{"of one version only", deb12(events("introduced", "7.88.1-10", "last_affected", "7.88.1-10")), "X-1 curl ", 0, ""},
		{"behind the only version that has it", deb12(events("introduced", "7", "last_affected", "7")), "", 0, ""},
		{"introduced again, in any order", deb12(events("fixed", "7.80", "introduced", "7.88", "introduced", "0", "fixed", "8.0", "fixed", "9")), "X-1 curl 8.0", 0, ""},
		{"listed", deb12(`"versions": ["7.88.1-10"]`), "X-1 curl ", 0, ""},
		{"not listed", deb12(`"versions": ["7.88.1-9"]`), "", 0, ""},
		{"by source", rec("X-1", affects("Debian:12", "openssl", events("introduced", "0", "fixed", "3.0.13-1~deb12u1"))),
			"X-1 libssl3 3.0.13-1~deb12u1, X-1 openssl 3.0.13-1~deb12u1", 0, ""},
		{"by the version of the source", rec("X-1", affects("Debian:12", "bash", events("introduced", "0", "fixed", "5.2.15-2"))), "", 0, ""},
		{"of every release", rec("X-1", affects("Debian", "curl", events("introduced", "0"))), "X-1 curl ", 0, ""},
		{"of another release", rec("X-1", affects("Debian:11", "curl", events("introduced", "0"))), "", 1, ""},
		{"of another distribution", rec("X-1", affects("Ubuntu:22.04:LTS", "curl", events("introduced", "0"))), "", 1, ""},
		{"of no distribution", rec("X-1", affects("PyPI", "curl", events("introduced", "0"))), "", 1, ""},
		{"of a package that is not here", rec("X-1", affects("Debian:12", "wget", events("introduced", "0"))), "", 0, ""},
		{"withdrawn", rec("X-1", `"withdrawn": "2026-01-01T00:00:00Z", `+affects("Debian:12", "curl", events("introduced", "0"))), "", 0, ""},
		{"of a range that versions are not", deb12(`"ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}]`), "", 0, `with a range of the type "SEMVER"`},
		{"of commits alone", deb12(`"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]`), "", 0, "without versions"},
		{"with a limit", deb12(`"ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"limit": "8"}]}]`), "", 0, "of the kind limit"},
		{"with no version", deb12(events("introduced", "0", "fixed", "soon")), "", 0, `a version that is none: "soon"`},
		{"an array", "[" + deb12(events("introduced", "0")) + "," + rec("X-2", `"affected": []`) + "]", "X-1 curl ", 1, ""},
		{"an answer of OSV's API", `{"vulns": [` + deb12(events("introduced", "0")) + "]}", "X-1 curl ", 0, ""},
		{"twice", "[" + deb12(events("introduced", "0")) + "," + deb12(events("introduced", "0")) + "]", "X-1 curl ", 0, ""},
	} {
		r, err := OSV(strings.NewReader(c.text), bookworm)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := told(r); got != c.want || r.Elsewhere != c.elsewhere {
			t.Errorf("%s: got %q and %d elsewhere, want %q and %d", c.name, got, r.Elsewhere, c.want, c.elsewhere)
		}
		if got := strings.Join(r.Reasons(), "\n"); (got == "") != (c.notClear == "") || !strings.Contains(got, c.notClear) || (r.NotClear > 0) != (c.notClear != "") {
			t.Errorf("%s: not clear %d, %q, want %q", c.name, r.NotClear, got, c.notClear)
		}
	}
	ubuntu := System{ID: "ubuntu", Version: "18.04", Packages: []Package{{"curl", "7.58", "curl", "7.58"}}}
	for ecosystem, want := range map[string]string{"Ubuntu:18.04:LTS": "X-1 curl ", "Ubuntu:Pro:18.04:LTS": "X-1 curl ", "Ubuntu:22.04:LTS": "", "Ubuntu:Pro:FIPS:18.04:LTS": "", "Ubuntu": ""} {
		r, err := OSV(strings.NewReader(rec("X-1", affects(ecosystem, "curl", events("introduced", "0")))), ubuntu)
		if err != nil || told(r) != want || (r.NotClear > 0) != strings.Contains(ecosystem, "FIPS") {
			t.Errorf("%s: got %q, not clear %d, %v; want %q", ecosystem, told(r), r.NotClear, err, want)
		}
	}
	for name, text := range map[string]string{"nothing": "", "spaces": " \n", "no JSON": "id: x", "half": `{"id": "x"`, "no id": `{"affected": []}`, "an id with an escape": `{"id": "\u001b[2J"}`,
		"more behind": `{"id": "x"} {"id": "y"}`, "an array of words": `["x"]`, "vulns that are none": `{"vulns": {}}`, "a number": "1", "an array without an end": `[{"id":"x"}`} {
		if r, err := OSV(strings.NewReader(text), bookworm); err == nil {
			t.Errorf("%s: got %+v, want an error", name, r)
		}
	}
}

func told(r *Result) string {
	var list []string
	for _, m := range r.Matches {
		list = append(list, m.ID+" "+m.Package+" "+m.Fixed)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// oval is a file as Debian writes it: a release, an architecture and a package.
func oval(platform, criteria, check, name, evr string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>
<oval_definitions xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5" xmlns:oval="http://oval.mitre.org/XMLSchema/oval-common-5">
<generator><oval:schema_version>5.11.2</oval:schema_version><oval:timestamp>2026-01-01T00:00:00</oval:timestamp></generator>
<definitions><definition id="oval:x:def:1" version="1" class="vulnerability"><metadata><title>CVE-2026-1 thing</title><affected family="unix"><platform>` + platform + `</platform></affected>
<reference ref_id="CVE-2026-1" ref_url="https://x" source="CVE"/><description>d</description></metadata>` + criteria + `</definition></definitions>
<tests>
<textfilecontent54_test id="oval:x:tst:1" version="1" check="all" check_existence="at_least_one_exists" comment="c" xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5#independent">
 <object object_ref="oval:x:obj:1"/></textfilecontent54_test>
<uname_test id="oval:x:tst:2" version="1" check="all" check_existence="at_least_one_exists" comment="c" xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5#unix"><object object_ref="oval:x:obj:2"/></uname_test>
<dpkginfo_test id="oval:x:tst:3" version="1" check="` + check + `" check_existence="at_least_one_exists" comment="c" xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5#linux">
 <object object_ref="oval:x:obj:3"/><state state_ref="oval:x:ste:3"/></dpkginfo_test>
<variable_test id="oval:x:tst:4" version="1" check="all" comment="c" xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5#independent"><object object_ref="oval:x:obj:4"/></variable_test>
</tests><objects>
<textfilecontent54_object id="oval:x:obj:1" version="1" xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5#independent"><path>/etc</path><filename>debian_version</filename>
 <pattern operation="pattern match">.</pattern><instance datatype="int">1</instance></textfilecontent54_object>
<uname_object id="oval:x:obj:2" version="1" xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5#unix"/>
<dpkginfo_object id="oval:x:obj:3" version="1" xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5#linux">` + name + `</dpkginfo_object>
<variable_object id="oval:x:obj:4" version="1" xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5#independent"><var_ref>oval:x:var:1</var_ref></variable_object>
</objects><states>
<dpkginfo_state id="oval:x:ste:3" version="1" xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5#linux">` + evr + `</dpkginfo_state>
</states><variables><constant_variable id="oval:x:var:1" version="1" datatype="string" comment="c"><value>curl</value><value>bash</value><value>none</value></constant_variable></variables>
</oval_definitions>`
}

// doubled is a definition that extends another one twice, which extends another one twice, and so on.
func doubled(times int) string {
	twice := func(i int) string {
		return fmt.Sprintf(`<criteria operator="AND"><extend_definition definition_ref="d%d"/><extend_definition definition_ref="d%[1]d"/></criteria>`, i)
	}
	text := twice(times)
	for i := times; i > 0; i-- {
		text += fmt.Sprintf(`</definition><definition id="d%d" class="inventory">`, i) + twice(i-1)
	}
	return text + `</definition><definition id="d0" class="inventory"><criteria><criterion test_ref="oval:x:tst:3"/></criteria>`
}

const (
	whole  = `<criteria operator="AND"><criterion test_ref="oval:x:tst:1"/><criteria operator="OR"><criteria operator="AND"><criterion test_ref="oval:x:tst:2"/><criterion test_ref="oval:x:tst:3"/></criteria></criteria></criteria>`
	curl   = `<name>curl</name>`
	twelve = "Debian GNU/Linux 12"
)

func less(v string) string {
	return `<evr datatype="debian_evr_string" operation="less than">` + v + `</evr>`
}

func TestOVAL(t *testing.T) {
	for _, c := range []struct {
		name, text, want string
		elsewhere        int
		notClear         string
	}{
		{"fixed later", oval(twelve, whole, "all", curl, less("0:7.88.1-10+deb12u1")), "CVE-2026-1 curl 0:7.88.1-10+deb12u1", 0, ""},
		{"fixed in it", oval(twelve, whole, "all", curl, less("7.88.1-10")), "", 0, ""},
		{"not installed", oval(twelve, whole, "all", "<name>wget</name>", less("9")), "", 0, ""},
		{"another release", oval("Debian GNU/Linux 11", whole, "all", curl, less("9")), "", 1, ""},
		{"another distribution", oval("Ubuntu 12 LTS", whole, "all", curl, less("9")), "", 1, ""},
		{"names of a variable, one of them", oval(twelve, whole, "at least one", `<name var_ref="oval:x:var:1" var_check="at least one"/>`, less("6")), "CVE-2026-1 bash 6", 0, ""},
		{"names of a variable, not all", oval(twelve, whole, "all", `<name var_ref="oval:x:var:1" var_check="at least one"/>`, less("6")), "", 0, ""},
		{"an unknown variable", oval(twelve, whole, "all", `<name var_ref="oval:x:var:2"/>`, less("6")), "", 0, "a variable that has no values"},
		{"a pattern of names", oval(twelve, whole, "all", `<name operation="pattern match">c.*</name>`, less("9")), "", 0, "not a name"},
		{"another operation", oval(twelve, whole, "all", curl, `<evr operation="greater than">1</evr>`), "", 0, "less than"},
		{"a state of more", oval(twelve, whole, "all", curl, less("9")+"<arch>amd64</arch>"), "", 0, "less than"},
		{"no version", oval(twelve, whole, "all", curl, less("soon")), "", 0, "a version that is none"},
		{"none is to exist", strings.Replace(oval(twelve, whole, "all", curl, less("9")), `check="all" check_existence="at_least_one_exists" comment="c" xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5#linux"`,
			`check="all" check_existence="none_exist" comment="c" xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5#linux"`, 1), "", 0, "none_exist"},
		{"hangs on another test", oval(twelve, `<criteria operator="AND"><criterion test_ref="oval:x:tst:3"/><criterion test_ref="oval:x:tst:4"/></criteria>`, "all", curl, less("9")), "", 0, `of the kind "variable"`},
		{"another test, but the package is good", oval(twelve, `<criteria operator="AND"><criterion test_ref="oval:x:tst:3"/><criterion test_ref="oval:x:tst:4"/></criteria>`, "all", curl, less("1")), "", 0, ""},
		{"another test beside", oval(twelve, `<criteria operator="OR"><criterion test_ref="oval:x:tst:4"/><criterion test_ref="oval:x:tst:3"/></criteria>`, "all", curl, less("9")), "CVE-2026-1 curl 9", 0, ""},
		{"not so", oval(twelve, `<criteria><criterion test_ref="oval:x:tst:3" negate="true"/></criteria>`, "all", curl, less("9")), "", 0, ""},
		{"a test that is not there", oval(twelve, `<criteria><criterion test_ref="oval:x:tst:9"/></criteria>`, "all", curl, less("9")), "", 0, "not in the file"},
		{"an extension of itself", oval(twelve, `<criteria><extend_definition definition_ref="oval:x:def:1"/><extend_definition definition_ref="oval:x:def:1"/></criteria>`, "all", curl, less("9")), "", 0, "than are looked at"},
		{"extensions that double its packages", oval(twelve, doubled(19), "all", curl, less("9")), "", 0, "than are looked at"},
		{"extensions", oval(twelve, doubled(5), "all", curl, less("9")), "CVE-2026-1 curl 9", 0, ""},
		{"true where nothing matches", oval(twelve, whole, "none satisfy", curl, less("1")), "", 0, `check "none satisfy"`},
		{"another check of what is not installed", oval(twelve, whole, "none satisfy", "<name>wget</name>", less("1")), "", 0, ""},
		{"another operator", oval(twelve, `<criteria operator="XOR"><criterion test_ref="oval:x:tst:3"/></criteria>`, "all", curl, less("9")), "", 0, "XOR"},
	} {
		r, err := OVAL(strings.NewReader(c.text), bookworm)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := told(r); got != c.want || r.Elsewhere != c.elsewhere || r.Records != 1 {
			t.Errorf("%s: got %q and %d elsewhere, want %q and %d", c.name, got, r.Elsewhere, c.want, c.elsewhere)
		}
		if got := strings.Join(r.Reasons(), "\n"); (got == "") != (c.notClear == "") || !strings.Contains(got, c.notClear) {
			t.Errorf("%s: not clear %q, want %q", c.name, got, c.notClear)
		}
	}
	good := oval(twelve, whole, "all", curl, less("9"))
	for name, text := range map[string]string{"nothing": "", "another document": "<html/>", "no end": good[:len(good)-10], "an entity": strings.Replace(good, "CVE-2026-1 thing", "&x;", 1),
		"another encoding": strings.Replace(good, "UTF-8", "ISO-8859-1", 1)} {
		if r, err := OVAL(strings.NewReader(text), bookworm); err == nil {
			t.Errorf("%s: got %+v, want an error", name, r)
		}
	}
}

// TestOscap holds the evaluation against OpenSCAP's, of definitions about this host's own packages.
func TestOscap(t *testing.T) {
	if _, err := exec.LookPath("oscap"); err != nil {
		t.Skip("oscap (Debian's openscap-scanner) is not here")
	}
	release, _ := os.ReadFile("/etc/os-release") // without it the next line says so
	if !bytes.Contains(release, []byte("\nID=debian\n")) {
		t.Skip("the files are made for Debian, which this is not")
	}
	version := regexp.MustCompile(`\nVERSION_ID="?([0-9]+)`).FindSubmatch(release)
	out, err := exec.Command("dpkg-query", "-Wf", `${Package} ${Version} ${db:Status-Status}\n`, "bash", "dpkg", "coreutils", "tar", "grep").Output()
	if err != nil || version == nil {
		t.Fatal(err)
	}
	s := System{ID: "debian", Version: string(version[1])}
	for line := range strings.Lines(string(out)) {
		w := strings.Fields(line)
		s.Packages = append(s.Packages, Package{w[0], w[1], w[0], w[1]})
	}
	// One file has all definitions: each is the sample with numbers of its own.
	rng := rand.New(rand.NewPCG(3, 4))
	text := oval("Debian GNU/Linux "+s.Version, whole, "all", curl, less("9"))
	var about []string
	for i := range 60 {
		p := s.Packages[rng.IntN(len(s.Packages))]
		v := p.Version + []string{"", "~", "+", ".1", "a"}[rng.IntN(5)]
		if rng.IntN(3) == 0 {
			v = randomVersion(rng)
		}
		if _, err := parseVersion(v); err != nil {
			continue
		}
		about = append(about, p.Name+" "+p.Version+" less than "+v)
		one := oval("Debian GNU/Linux "+s.Version, whole, []string{"all", "at least one"}[rng.IntN(2)], "<name>"+p.Name+"</name>", less(v))
		number := strings.NewReplacer("x:def:1\"", fmt.Sprintf("x:def:%d\"", 100+len(about)), ":3\"", fmt.Sprintf(":%d\"", 100+i), "CVE-2026-1\"", fmt.Sprintf("CVE-2026-%d\"", 100+len(about)))
		for _, part := range []string{"definitions>|<definition |</definition>", "tests>|<dpkginfo_test |</dpkginfo_test>", "objects>|<dpkginfo_object |</dpkginfo_object>", "states>|<dpkginfo_state |</dpkginfo_state>"} {
			w := strings.Split(part, "|")
			_, rest, _ := strings.Cut(one, w[1])
			body, _, _ := strings.Cut(rest, w[2])
			text = strings.Replace(text, "</"+w[0], number.Replace(w[1]+body+w[2])+"</"+w[0], 1)
		}
	}
	at := filepath.Join(t.TempDir(), "oval.xml")
	if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command("oscap", "oval", "eval", at).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	r, err := OVAL(strings.NewReader(text), s)
	if err != nil || r.NotClear > 0 || r.Records != len(about)+1 {
		t.Fatalf("got %+v, %v", r, err)
	}
	seen := map[bool]int{}
	for i, what := range about {
		want := bytes.Contains(said, []byte(fmt.Sprintf("oval:x:def:%d: true", 101+i)))
		if !want && !bytes.Contains(said, []byte(fmt.Sprintf("oval:x:def:%d: false", 101+i))) {
			t.Fatalf("oscap says nothing of %s: %s", what, said)
		}
		got := slices.ContainsFunc(r.Matches, func(m Match) bool { return m.ID == fmt.Sprintf("CVE-2026-%d", 101+i) })
		if seen[want]++; got != want {
			t.Errorf("%s: got %v, oscap has %v", what, got, want)
		}
	}
	if seen[true] < 5 || seen[false] < 5 {
		t.Errorf("the questions are too alike: %v", seen)
	}
}

// What is larger than it may be is an error, not a part.
func TestTooLarge(t *testing.T) {
	l := &limited{strings.NewReader("[ ]"), 2}
	b := make([]byte, 10)
	if n, err := l.Read(b); n != 2 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := l.Read(b); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v, want %v", err, ErrTooLarge)
	}
}

func FuzzCompare(f *testing.F) {
	f.Add("1:2.3~rc1-4", "2.3-4")
	f.Fuzz(func(t *testing.T, a, b string) {
		d, err := Compare(a, b)
		back, errBack := Compare(b, a)
		if (err == nil) != (errBack == nil) || err == nil && (d > 0) != (back < 0) || err == nil && (d == 0) != (back == 0) {
			t.Errorf("%q and %q: %d, %v; the other way %d, %v", a, b, d, err, back, errBack)
		}
	})
}

func FuzzOSV(f *testing.F) {
	f.Add([]byte(rec("X-1", affects("Debian:12", "curl", events("introduced", "0", "fixed", "8")))))
	f.Add([]byte(`[{"id": "x", "affected": [{"package": {"ecosystem": "Debian", "name": "bash"}, "versions": ["1"]}]}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := OSV(bytes.NewReader(b), bookworm); err == nil {
			sane(t, r)
		}
	})
}

func FuzzOVAL(f *testing.F) {
	f.Add([]byte(oval(twelve, whole, "all", curl, less("9"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := OVAL(bytes.NewReader(b), bookworm); err == nil {
			sane(t, r)
		}
	})
}

func sane(t *testing.T, r *Result) {
	t.Helper()
	for _, m := range r.Matches {
		if m.Package == "" || m.ID == "" || len(m.ID) > maxWord || !slices.ContainsFunc(bookworm.Packages, func(p Package) bool { return p.Name == m.Package }) {
			t.Errorf("got %+v", m)
		}
	}
	if len(r.Why) > maxReasons+1 || (r.NotClear > 0) != (len(r.Why) > 0) {
		t.Errorf("got %d reasons of %d", len(r.Why), r.NotClear)
	}
}
