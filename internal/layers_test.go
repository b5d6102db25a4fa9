package internal

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/metalward/metalward/"

// row is a line of ARCHITECTURE.md's table.
type row struct {
	level   int
	imports []string
}

// groups are the short names that the table uses.
var groups = map[string][]string{
	"V":        {"fault", "metal", "authz"},
	"services": {"region/identity", "region/access", "region/notify", "region/providers", "region/machines", "region/networks", "region/controllers", "region/images", "region/rbac", "region/certs", "region/secrets", "region/hostchecks", "region/alerts", "region/blocks", "region/sources"},
}

// readMap reads the table of packages out of ARCHITECTURE.md.
func readMap(t *testing.T) map[string]row {
	t.Helper()
	f, err := os.Open("../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := map[string]row{}
	for sc := bufio.NewScanner(f); sc.Scan(); {
		cells := strings.Split(sc.Text(), "|")
		if len(cells) != 6 {
			continue
		}
		level, err := strconv.Atoi(strings.TrimSpace(cells[1]))
		if err != nil {
			continue
		}
		r := row{level: level}
		for word := range strings.FieldsFuncSeq(cells[4], func(c rune) bool { return c == ',' || c == ' ' || c == '`' }) {
			if g, ok := groups[word]; ok {
				r.imports = append(r.imports, g...)
			} else if word != "nothing" {
				r.imports = append(r.imports, word)
			}
		}
		rows[strings.Trim(strings.TrimSpace(cells[2]), "`")] = r
	}
	return rows
}

// TestLayers holds the map against the code: a package or an import that is not on the map fails, with the row
// to edit; so does a row without a package.
func TestLayers(t *testing.T) {
	rows := readMap(t)
	if len(rows) < 20 {
		t.Fatalf("got %d rows in ARCHITECTURE.md, want the whole table", len(rows))
	}
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Doc", "../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Doc string
			Imports         []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "internal/")
		if strings.HasPrefix(name, "test/") || name == "internal" {
			continue
		}
		if p.Doc == "" {
			t.Errorf("%s has no package comment", name)
		}
		r, ok := rows[name]
		if !ok {
			t.Errorf("package %s is not on the map: add its row to ARCHITECTURE.md", name)
			continue
		}
		seen[name] = true
		for _, imp := range p.Imports {
			dep, ours := strings.CutPrefix(imp, module)
			if !ours {
				continue
			}
			dep = strings.TrimPrefix(dep, "internal/")
			to, ok := rows[dep]
			switch {
			case !ok:
				t.Errorf("%s imports %s, which is not on the map", name, dep)
			case to.level >= r.level:
				t.Errorf("%s (level %d) imports %s (level %d): imports run downwards only", name, r.level, dep, to.level)
			case !slices.Contains(r.imports, dep):
				t.Errorf("%s imports %s: its row in ARCHITECTURE.md does not name it", name, dep)
			}
		}
	}
	for name := range rows {
		if !seen[name] {
			t.Errorf("ARCHITECTURE.md has a row for %s, but there is no such package", name)
		}
	}
}
