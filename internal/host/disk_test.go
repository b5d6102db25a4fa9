package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// tree writes an archive as a tree: a file's name that ends with "@" is a link to its content. What stands before the files are the
// test's words, by name.
func tree(t *testing.T, file string) (root string, words map[string]string) {
	t.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	words = map[string]string{}
	for line := range strings.Lines(string(a.Comment)) {
		name, value, _ := strings.Cut(line, ":")
		words[name] = strings.TrimSpace(value)
	}
	root = t.TempDir()
	for _, f := range a.Files {
		path := filepath.Join(root, strings.TrimSuffix(f.Name, "@"))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f.Name, "@") {
			err = os.Symlink(strings.TrimSpace(string(f.Data)), path)
		} else {
			err = os.WriteFile(path, f.Data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root, words
}

// TestDisk judges each host in testdata.
func TestDisk(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 10 {
		t.Fatalf("got %d hosts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			root, words := tree(t, file)
			h := Tree{Root: root, Attributes: func(path string) bool { return words["fscrypt"] != "" && path == filepath.Join(root, words["fscrypt"]) }}
			if words["zfs"] != "" {
				h.ZFS = func(string) (string, error) { return words["zfs"], nil }
			}
			d := h.Disk(words["path"])
			if got := strings.Join(d.Stack, "; "); string(d.Verdict) != words["verdict"] || got != words["stack"] || d.Why == "" {
				t.Errorf("got %s, %q (%s)\nwant %s, %q", d.Verdict, got, d.Why, words["verdict"], words["stack"])
			}
		})
	}
}

// TestThisHost looks at a folder of the host that runs the test: whatever it is kept on, there is a reason and no panic.
func TestThisHost(t *testing.T) {
	d := Tree{Root: "/"}.Disk(t.TempDir())
	if d.Why == "" || len(d.Stack) == 0 {
		t.Errorf("got %+v", d)
	}
	t.Logf("%+v", d)
}

func FuzzMounts(f *testing.F) {
	f.Add("22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
	f.Add("22 1 0:1 / /a\\040b rw - overlay x upperdir=/a\\\n- - -\n")
	f.Fuzz(func(t *testing.T, text string) {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "proc/self"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "proc/self/mountinfo"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if d := (Tree{Root: root}).Disk("/proc"); d.Verdict == Yes && !strings.Contains(text, "ecryptfs") {
			t.Errorf("got %+v of mounts without devices", d)
		}
	})
}
