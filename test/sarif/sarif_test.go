package sarif

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	_ "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif" // has the schema as a constant
	"github.com/xeipuuv/gojsonschema"
)

// official is OASIS' schema of SARIF 2.1.0, which the module has as a constant that it does not export.
func official(t *testing.T) string {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "pkg/report/v210/sarif/schema.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && len(lit.Value) > 10_000 {
			if found, err = strconv.Unquote(lit.Value); err != nil {
				t.Fatal(err)
			}
		}
		return true
	})
	if !strings.Contains(found, "sarif-schema-2.1.0.json") {
		t.Fatal("the module has no schema of SARIF 2.1.0 any more")
	}
	return found
}

// report is what the program says of a host with something wrong, something that is not, a waiver and a name that is no text.
func report(t *testing.T, format string) []byte {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "metalward")
	build := exec.Command("go", "build", "-o", program, "./cmd/metalward")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for path, mode := range map[string]os.FileMode{"root.key": 0o644, "root.key.bak": 0o644, "shared-secret": 0o644, "metalward.db": 0o600, "vault.json": 0o604} {
		at := filepath.Join(dir, "host/var/lib/metalward", path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, nil, 0o600), os.Chmod(at, mode)); err != nil {
			t.Fatal(err)
		}
	}
	odd := filepath.Join(dir, "host/var/lib/maas/certificates/a b\xff\x1b%#?.key")
	if err := errors.Join(os.MkdirAll(filepath.Dir(odd), 0o755), os.MkdirAll(filepath.Join(dir, "host/etc/maas"), 0o755), os.WriteFile(odd, nil, 0o644),
		os.Symlink("/dev/null", filepath.Join(dir, "host/etc/maas/loop")), os.Symlink("rackd.conf", filepath.Join(dir, "host/etc/maas/rackd.conf")),
		os.WriteFile(filepath.Join(dir, "host/etc/maas/regiond.conf"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "waivers"), []byte(`{"waivers": [{"check": "files-shared-secret", "product": "metalward", "subject": "/var/lib/metalward/shared-secret",
			"owner": "carol", "reason": "r", "until": "9999-12-31"}, {"check": "files-copies", "product": "metalward", "subject": "/none", "owner": "o", "reason": "r", "until": "9999-12-31"}]}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "harden", "check", "--root", filepath.Join(dir, "host"), "--waivers", filepath.Join(dir, "waivers"), "--format", format)
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("got %v, %s, want findings", err, out)
	}
	return out
}

func validate(t *testing.T, schema string, document []byte) bool {
	t.Helper()
	result, err := gojsonschema.Validate(gojsonschema.NewStringLoader(schema), gojsonschema.NewBytesLoader(document))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range result.Errors() {
		t.Log(problem)
	}
	return result.Valid()
}

func TestSARIF(t *testing.T) {
	schema, out := official(t), report(t, "sarif")
	for _, want := range []string{`"kind": "fail"`, `"kind": "pass"`, `"kind": "open"`, `"suppressions"`, "a%20b%FF%1B%25%23%3F.key"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the report has no %s: it proves too little", want)
		}
	}
	if !validate(t, schema, out) {
		t.Error("the report is no SARIF 2.1.0")
	}
	if validate(t, schema, []byte(strings.Replace(string(out), `"kind": "open"`, `"kind": "perhaps"`, 1))) {
		t.Error("the schema finds nothing wrong with what is wrong")
	}
}

func TestJSON(t *testing.T) {
	schema, err := os.ReadFile("../../docs/reference/harden-report.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	out := report(t, "json")
	if !validate(t, string(schema), out) {
		t.Error("the report is not what its schema says")
	}
	for name, spoiled := range map[string]string{
		"a state there is not": strings.Replace(string(out), `"state": "fail"`, `"state": "perhaps"`, 1),
		"a key too many":       strings.Replace(string(out), `"format": 1`, `"format": 1, "more": 1`, 1),
		"a key too few":        strings.Replace(string(out), `"outcome"`, `"result"`, 1),
		"no number":            strings.Replace(string(out), `"format": 1`, `"format": "1"`, 1),
	} {
		if validate(t, string(schema), []byte(spoiled)) {
			t.Errorf("%s: the schema finds nothing wrong", name)
		}
	}
}

// TestWatch holds the reports of metalward watch against the same schema.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "metalward")
	build := exec.Command("go", "build", "-o", program, "./cmd/metalward")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	log := filepath.Join(dir, "a b\xff%.log")
	if err := os.WriteFile(log, []byte("198.51.100.7 - - [07/Nov/2026:06:13:45 +0000] \"GET /b374k.php?\x1b HTTP/1.1\" 200 1 \"-\" \"sqlmap\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "watch", "scan", log, "--format", "sarif")
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("got %v, %s, want alerts", err, out)
	}
	if schema := official(t); !validate(t, schema, out) {
		t.Error("the report is no SARIF 2.1.0")
	}
}
