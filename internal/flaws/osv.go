package flaws

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// record is a record of OSV. Source: the OSV schema 1.7.4; fields that are not known are to be passed over, it says.
type record struct {
	ID        string     `json:"id"`
	Withdrawn string     `json:"withdrawn"`
	Aliases   []string   `json:"aliases"`
	Upstream  []string   `json:"upstream"` // of distributions' records: the CVEs
	Affected  []affected `json:"affected"`
}

type affected struct {
	Package struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
	} `json:"package"`
	Ranges []struct {
		Type   string  `json:"type"`
		Events []event `json:"events"`
	} `json:"ranges"`
	Versions []string `json:"versions"`
}

type event struct {
	Introduced   string `json:"introduced"`
	Fixed        string `json:"fixed"`
	LastAffected string `json:"last_affected"`
	Limit        string `json:"limit"`
}

// OSV reads records, and tells which are about a system: one record, an array of them, or an object with an array "vulns", as OSV's own
// API answers. Errors tell what is not of that form, or larger than it may be.
func OSV(r io.Reader, s System) (*Result, error) {
	in := bufio.NewReaderSize(&limited{r, MaxFile}, 1<<16)
	out := &Result{Format: "OSV"}
	bySource := map[string][]Package{}
	for _, p := range s.Packages {
		bySource[p.Source] = append(bySource[p.Source], p)
	}
	take := func(rec record) error {
		if out.Records++; out.Records > maxRecords {
			return fmt.Errorf("it has more than %d records", maxRecords)
		}
		return out.osv(rec, s, bySource)
	}
	first, err := firstByte(in)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(in)
	switch first {
	case '[':
		err = array(d, take)
	case '{':
		var one struct {
			record
			Vulns *json.RawMessage `json:"vulns"`
		}
		if err = d.Decode(&one); err == nil && one.Vulns != nil {
			err = array(json.NewDecoder(bytes.NewReader(*one.Vulns)), take)
		} else if err == nil {
			err = take(one.record)
		}
	default:
		err = errors.New("it is no JSON of OSV: an object or an array of objects is expected")
	}
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind its end")
	}
	return out, nil
}

// firstByte is the first byte that is no space; it is not taken.
func firstByte(in *bufio.Reader) (byte, error) {
	for {
		b, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			return 0, errors.New("it is empty")
		}
		if err != nil {
			return 0, err
		}
		if b != ' ' && b != '\t' && b != '\r' && b != '\n' {
			return b, in.UnreadByte()
		}
	}
}

func array(d *json.Decoder, take func(record) error) error {
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return errors.Join(err, errors.New("an array of records is expected"))
	}
	for d.More() {
		var rec record
		if err := d.Decode(&rec); err != nil {
			return err
		}
		if err := take(rec); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// osv judges a record. Source: the OSV schema, "Evaluation".
func (r *Result) osv(rec record, s System, bySource map[string][]Package) error {
	if !word(rec.ID) {
		return errors.New("a record has no id, or one that is none")
	}
	if rec.Withdrawn != "" {
		r.Withdrawn++
		return nil
	}
	ours := false
	for _, a := range rec.Affected {
		here, understood := s.ecosystem(a.Package.Ecosystem)
		if !here {
			continue
		}
		ours = true
		installed := bySource[a.Package.Name]
		if len(installed) > 0 && !understood {
			r.notClear("for the kind of release %.60q", a.Package.Ecosystem)
			continue
		}
		for _, p := range installed {
			hit, fixed, err := a.has(p.SourceVersion)
			if err != nil {
				r.notClear("%v", err)
				break
			}
			if !hit {
				continue
			}
			if err := r.add(Match{rec.ID, cves(rec), p.Name, p.SourceVersion, true, fixed}); err != nil {
				return err
			}
		}
	}
	if !ours {
		r.Elsewhere++
	}
	return nil
}

// cves are other names of a record's flaw.
func cves(rec record) (list []string) {
	const most = 50
	for _, id := range slices.Concat(rec.Aliases, rec.Upstream) {
		if word(id) && id != rec.ID && !slices.Contains(list, id) && len(list) < most {
			list = append(list, id)
		}
	}
	return list
}

// has tells whether a version has the flaw, and the first version after it that has not.
func (a affected) has(v string) (hit bool, fixed string, err error) {
	hit = slices.Contains(a.Versions, v)
	understood := len(a.Versions) > 0
	for _, in := range a.Ranges {
		switch in.Type {
		case "GIT":
			continue // commits, beside versions
		case "ECOSYSTEM":
		default:
			return false, "", fmt.Errorf("with a range of the type %.20q, which versions of packages are not", in.Type)
		}
		understood = true
		affected, end, err := within(v, in.Events)
		if err != nil {
			return false, "", err
		}
		if affected {
			hit = true
		}
		if end != "" {
			fixed = end
		}
	}
	if !understood {
		return false, "", errors.New("without versions")
	}
	if !hit {
		fixed = ""
	}
	return hit, fixed, nil
}

// within sorts events, and tells what the last that is not after the version says; fixed is the first later one that ends it.
func within(v string, events []event) (affected bool, fixed string, err error) {
	type step struct {
		version string // "" before all
		kind    int
	}
	const ends, begins, endsAfter = 0, 1, 2 // in this order where they are of one version
	var steps []step
	for _, e := range events {
		if e.Limit != "" {
			return false, "", errors.New("with an event of the kind limit")
		}
		for kind, at := range map[int]string{begins: e.Introduced, ends: e.Fixed, endsAfter: e.LastAffected} {
			if at == "" {
				continue
			}
			if at == "0" && kind == begins {
				at = ""
			} else if _, err := parseVersion(at); err != nil {
				return false, "", fmt.Errorf("with a version that is none: %.60q", at)
			}
			steps = append(steps, step{at, kind})
		}
	}
	if _, err := parseVersion(v); err != nil {
		return false, "", fmt.Errorf("of a package whose version is none: %.60q", v)
	}
	order := func(a, b string) int {
		switch {
		case a == "" && b == "":
			return 0
		case a == "":
			return -1
		case b == "":
			return 1
		}
		d, _ := Compare(a, b) // both were parsed
		return d
	}
	slices.SortStableFunc(steps, func(a, b step) int {
		if d := order(a.version, b.version); d != 0 {
			return d
		}
		return a.kind - b.kind
	})
	for _, s := range steps {
		d := order(s.version, v)
		switch {
		case s.kind == begins && d <= 0:
			affected = true
		case s.kind == ends && d <= 0, s.kind == endsAfter && d < 0:
			affected = false
		case s.kind == ends && fixed == "":
			fixed = s.version
		}
	}
	return affected, fixed, nil
}
