package flaws

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// The parts of OVAL that Debian's and Ubuntu's files are made of. Source: the OVAL language 5.11, core and linux definition schemas; elements
// are told by their names without name space, since the two write the prefixes differently.
type (
	definition struct {
		ID       string `xml:"id,attr"`
		Class    string `xml:"class,attr"`
		Metadata struct {
			Title     string   `xml:"title"`
			Platforms []string `xml:"affected>platform"`
			Refs      []struct {
				ID string `xml:"ref_id,attr"`
			} `xml:"reference"`
		} `xml:"metadata"`
		Criteria criteria `xml:"criteria"`
	}
	criteria struct {
		Operator string     `xml:"operator,attr"`
		Negate   string     `xml:"negate,attr"`
		Criteria []criteria `xml:"criteria"`
		Tests    []struct {
			Ref    string `xml:"test_ref,attr"`
			Negate string `xml:"negate,attr"`
		} `xml:"criterion"`
		Extends []struct {
			Ref    string `xml:"definition_ref,attr"`
			Negate string `xml:"negate,attr"`
		} `xml:"extend_definition"`
	}
	test struct {
		ID        string `xml:"id,attr"`
		Check     string `xml:"check,attr"`
		Existence string `xml:"check_existence,attr"`
		Object    struct {
			Ref string `xml:"object_ref,attr"`
		} `xml:"object"`
		States []struct {
			Ref string `xml:"state_ref,attr"`
		} `xml:"state"`
		kind string
	}
	object struct {
		ID   string `xml:"id,attr"`
		Name struct {
			Value     string `xml:",chardata"`
			Operation string `xml:"operation,attr"`
			Var       string `xml:"var_ref,attr"`
		} `xml:"name"`
		Path     string     `xml:"path"`
		Filename string     `xml:"filename"`
		Filepath string     `xml:"filepath"`
		Set      []struct{} `xml:"set"`
		Filter   []struct{} `xml:"filter"`
	}
	state struct {
		ID       string `xml:"id,attr"`
		Children []struct {
			XMLName   xml.Name
			Value     string `xml:",chardata"`
			Operation string `xml:"operation,attr"`
			Var       string `xml:"var_ref,attr"`
		} `xml:",any"`
	}
	variable struct {
		ID     string   `xml:"id,attr"`
		Values []string `xml:"value"`
	}
)

// file is what was read of a file.
type file struct {
	definitions map[string]*definition
	order       []string
	tests       map[string]test
	objects     map[string]object
	states      map[string]state
	variables   map[string][]string
	system      System
	versions    map[string]string // of installed packages, by name
	memo        map[string]answer
	left        int // criteria, and packages in them, that may be looked at still: definitions that extend each other could be without end
}

// OVAL reads definitions of vulnerabilities and patches, and tells which are true of a system. A definition is for a system by its platforms.
// Evaluated are tests of dpkg's packages ("less than" a version); tests of which release is installed are taken from the platforms. A definition
// whose truth hangs on another test is counted as not clear. Errors tell what is no such file, or larger than it may be.
func OVAL(r io.Reader, s System) (*Result, error) {
	f := &file{definitions: map[string]*definition{}, tests: map[string]test{}, objects: map[string]object{}, states: map[string]state{}, variables: map[string][]string{},
		system: s, versions: map[string]string{}, memo: map[string]answer{}, left: maxCriteria}
	for _, p := range s.Packages {
		f.versions[p.Name] = p.Version
	}
	if err := f.read(&limited{r, MaxFile}); err != nil {
		return nil, err
	}
	out := &Result{Format: "OVAL"}
	for _, id := range f.order {
		d := f.definitions[id]
		if d.Class != "vulnerability" && d.Class != "patch" {
			continue
		}
		out.Records++
		if !f.ours(d) {
			out.Elsewhere++
			continue
		}
		a := f.criteria(d.Criteria, 0)
		switch a.truth {
		case unknown:
			out.notClear("%s", a.why)
		case yes:
			name, aliases := named(d)
			for _, h := range a.hits {
				if err := out.add(Match{name, aliases, h.name, f.versions[h.name], false, h.fixed}); err != nil {
					return nil, err
				}
			}
			if len(a.hits) == 0 {
				out.notClear("true without a package")
			}
		}
	}
	return out, nil
}

func (f *file) read(r io.Reader) error {
	d := xml.NewDecoder(r)
	d.CharsetReader = func(name string, _ io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("its encoding %.40q is not UTF-8", name)
	}
	kept, inside := 0, false
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		e, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		if !inside {
			if e.Name.Local != "oval_definitions" {
				return fmt.Errorf("it is no OVAL: it begins with the element %.40q", e.Name.Local)
			}
			inside = true
			continue
		}
		if kept++; kept > maxRecords {
			return fmt.Errorf("it has more than %d elements", maxRecords)
		}
		if err := f.element(d, e); err != nil {
			return err
		}
	}
	if !inside {
		return errors.New("it is no OVAL: it has no element oval_definitions")
	}
	return nil
}

// element keeps what is needed later.
func (f *file) element(d *xml.Decoder, e xml.StartElement) error {
	switch name := e.Name.Local; {
	case name == "definitions", name == "tests", name == "objects", name == "states", name == "variables":
		return nil // their children come next
	case name == "definition":
		var v definition
		if err := d.DecodeElement(&v, &e); err != nil {
			return err
		}
		if f.definitions[v.ID] == nil {
			f.order = append(f.order, v.ID)
		}
		f.definitions[v.ID] = &v
	case strings.HasSuffix(name, "_test"):
		v := test{kind: strings.TrimSuffix(name, "_test")}
		if err := d.DecodeElement(&v, &e); err != nil {
			return err
		}
		f.tests[v.ID] = v
	case strings.HasSuffix(name, "_object"):
		var v object
		if err := d.DecodeElement(&v, &e); err != nil {
			return err
		}
		f.objects[v.ID] = v
	case strings.HasSuffix(name, "_state"):
		var v state
		if err := d.DecodeElement(&v, &e); err != nil {
			return err
		}
		f.states[v.ID] = v
	case name == "constant_variable":
		var v variable
		if err := d.DecodeElement(&v, &e); err != nil {
			return err
		}
		f.variables[v.ID] = v.Values
	default:
		return d.Skip()
	}
	return nil
}

// ours tells whether one of a definition's platforms is the system.
func (f *file) ours(d *definition) bool {
	for _, p := range d.Metadata.Platforms {
		if f.system.platform(p) {
			return true
		}
	}
	return false
}

// named is what a definition is called: its CVE or advisory, else its own id.
func named(d *definition) (id string, aliases []string) {
	const most = 50
	for _, r := range d.Metadata.Refs {
		switch {
		case !word(r.ID):
		case id == "":
			id = r.ID
		case len(aliases) < most:
			aliases = append(aliases, r.ID)
		}
	}
	if title, _, _ := strings.Cut(d.Metadata.Title, " "); id == "" && word(title) {
		id = title
	}
	if id == "" && word(d.ID) {
		id = d.ID
	}
	if id == "" {
		id = "a definition without a name"
	}
	return id, aliases
}

type truth int

const (
	no truth = iota
	yes
	unknown
)

// answer is what criteria come to: the packages that make them true, or why that is not known.
type answer struct {
	truth truth
	hits  []hit
	why   string
}

type hit struct{ name, fixed string }

func unclear(format string, args ...any) answer {
	return answer{truth: unknown, why: fmt.Sprintf(format, args...)}
}

// turned is the answer to the opposite.
func (a answer) turned(negate string) answer {
	switch {
	case negate != "true" && negate != "1":
		return a
	case a.truth == yes:
		return answer{}
	case a.truth == no:
		return answer{truth: yes}
	}
	return a
}

// criteria joins what its parts say, in the logic of three values.
func (f *file) criteria(c criteria, depth int) answer {
	if f.left--; f.left < 0 || depth > maxDepth {
		return unclear("with more criteria, or deeper ones, than are looked at")
	}
	var parts []answer
	for _, in := range c.Criteria {
		parts = append(parts, f.criteria(in, depth+1))
	}
	for _, in := range c.Tests {
		parts = append(parts, f.test(in.Ref).turned(in.Negate))
	}
	for _, in := range c.Extends {
		d := f.definitions[in.Ref]
		if d == nil {
			parts = append(parts, unclear("with a definition that is not in the file"))
			continue
		}
		parts = append(parts, f.criteria(d.Criteria, depth+1).turned(in.Negate))
	}
	if len(parts) == 0 {
		return unclear("without criteria")
	}
	for _, p := range parts { // packages are looked at, too: what extends a definition twice has all of its packages twice
		f.left -= len(p.hits)
	}
	var all answer
	switch c.Operator {
	case "AND", "":
		all.truth = yes
		for _, p := range parts {
			if p.truth == no {
				return answer{}.turned(c.Negate)
			}
			if p.truth == unknown {
				all.truth, all.why = unknown, p.why
			}
			all.hits = append(all.hits, p.hits...)
		}
	case "OR":
		for _, p := range parts {
			switch {
			case p.truth == yes:
				all.truth, all.hits = yes, append(all.hits, p.hits...)
			case p.truth == unknown && all.truth == no:
				all.truth, all.why = unknown, p.why
			}
		}
	default:
		return unclear("with the operator %.20q", c.Operator)
	}
	return all.turned(c.Negate)
}

// test answers a test, each once.
func (f *file) test(id string) answer {
	a, ok := f.memo[id]
	if !ok {
		a = f.evaluate(id)
		f.memo[id] = a
	}
	return a
}

func (f *file) evaluate(id string) answer {
	t, ok := f.tests[id]
	if !ok {
		return unclear("with a test that is not in the file")
	}
	o := f.objects[t.Object.Ref]
	switch {
	case t.kind == "dpkginfo":
		return f.dpkginfo(t, o)
	case t.kind == "family", t.kind == "uname" && len(t.States) == 0: // there is a kernel, and it is a unix
		return answer{truth: yes}
	case t.kind == "textfilecontent54" && releaseFile(o): // the platform has said it
		return answer{truth: yes}
	}
	return unclear("with a test of the kind %.40q", t.kind)
}

// releaseFile tells whether an object is where the two distributions' files look for the release.
func releaseFile(o object) bool {
	at := strings.TrimSpace(o.Filepath)
	if at == "" {
		at = strings.TrimSpace(o.Path) + "/" + strings.TrimSpace(o.Filename)
	}
	return at == "/etc/debian_version" || at == "/etc/lsb-release" || at == "/etc/os-release"
}

// dpkginfo tells whether packages of the object's names have the state's version. Source: the OVAL language, linux-definitions-schema; "all"
// of those that are installed have to, or "at least one".
func (f *file) dpkginfo(t test, o object) answer {
	if t.Existence != "" && t.Existence != "at_least_one_exists" {
		return unclear("with check_existence %.40q", t.Existence)
	}
	if o.ID == "" || o.Name.Operation != "" && o.Name.Operation != "equals" || len(o.Set)+len(o.Filter) > 0 {
		return unclear("with an object of packages that is not a name")
	}
	names := []string{strings.TrimSpace(o.Name.Value)}
	if o.Name.Var != "" {
		if names = f.variables[o.Name.Var]; len(names) == 0 {
			return unclear("with a variable that has no values in the file")
		}
	}
	fixed := ""
	if len(t.States) > 1 {
		return unclear("with a test of several states")
	}
	if len(t.States) == 1 {
		s := f.states[t.States[0].Ref]
		if len(s.Children) != 1 || s.Children[0].XMLName.Local != "evr" || s.Children[0].Operation != "less than" || s.Children[0].Var != "" {
			return unclear("with a state that is not a version, less than")
		}
		fixed = strings.TrimSpace(s.Children[0].Value)
	}
	var hits []hit
	installed, seen := 0, map[string]bool{}
	for _, name := range names {
		name = strings.TrimSpace(name)
		v, ok := f.versions[name]
		if !ok || seen[name] {
			continue
		}
		seen[name] = true
		installed++
		if fixed == "" {
			hits = append(hits, hit{name: name})
			continue
		}
		d, err := Compare(v, fixed)
		if err != nil {
			return unclear("with a version that is none, of the package %.60q", name)
		}
		if d < 0 {
			hits = append(hits, hit{name, fixed})
		}
	}
	switch {
	case installed == 0:
		return answer{}
	case t.Check != "all" && t.Check != "at least one": // with "none satisfy" it is no hit that makes it true
		return unclear("with check %.40q", t.Check)
	case len(hits) == 0, t.Check == "all" && len(hits) < installed:
		return answer{}
	}
	return answer{truth: yes, hits: hits}
}
