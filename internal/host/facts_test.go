package host_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/host/hosttest"
)

// open opens a tree made of entries on the real disk. The owners are whoever runs the test.
func open(t *testing.T, tree ...guard.Entry) (*host.Facts, string) {
	t.Helper()
	root := t.TempDir()
	if err := hosttest.Write(root, tree, nil); err != nil {
		t.Fatal(err)
	}
	f, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, root
}

// Links lead where they would on the host that the tree is of, and never out of it.
func TestLinks(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("outside"), 0o600); err != nil {
		t.Fatal(err)
	}
	up := strings.Repeat("../", 40)
	f, _ := open(t, guard.Entry{Path: "/data/file", Content: "inside"},
		guard.Entry{Path: "/absolute", Link: "/data/file"}, guard.Entry{Path: "/relative", Link: "data/../data/./file"},
		guard.Entry{Path: "/above", Link: up + "data/file"}, guard.Entry{Path: "/folder", Link: "data"}, guard.Entry{Path: "/out", Link: outside},
		guard.Entry{Path: "/up", Link: up + strings.TrimPrefix(outside, "/")}, guard.Entry{Path: "/loop", Link: "/loop2"}, guard.Entry{Path: "/loop2", Link: "loop"},
		guard.Entry{Path: "/self", Link: "self/x"}, guard.Entry{Path: "/dangling", Link: "nowhere"})
	for _, p := range []string{"/absolute", "/relative", "/above", "/folder/file", "/folder/../data/file", "/../../data//file"} {
		b, err := f.Read(p)
		if err != nil || string(b) != "inside" {
			t.Errorf("%s: got %q, %v, want the file inside", p, b, err)
		}
		if got, err := f.File(p); err != nil || got.Real != "/data/file" || got.Path != p {
			t.Errorf("%s: got %q, %v, want /data/file", p, got.Real, err)
		}
	}
	for _, p := range []string{"/out", "/up", "/dangling", "/data/file/x", "/nothing/at/all"} {
		if _, err := f.Read(p); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v, want that it does not exist", p, err)
		}
	}
	for _, p := range []string{"/loop", "/self", "/loop/x"} {
		if _, err := f.File(p); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "symbolic links") {
			t.Errorf("%s: got %v, want an error of links", p, err)
		}
	}
	got, err := f.File("/folder/file")
	if err != nil {
		t.Fatal(err)
	}
	var through []string
	for _, d := range got.Folders {
		through = append(through, d.Path)
	}
	if want := []string{"/", "/data"}; !slices.Equal(through, want) {
		t.Errorf("got the folders %q, want %q", through, want)
	}
}

// What is no file, too large or not to be read is told, and waited for at no moment.
func TestHostileFiles(t *testing.T) {
	f, root := open(t, guard.Entry{Path: "/x/binary", Content: "\x00\xff\x1b[2J"}, guard.Entry{Path: "/x/folder", Folder: true})
	if err := unix.Mkfifo(filepath.Join(root, "x/pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "x/huge"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(root, "x/huge"), 1<<40); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"\xff\xfe.key", "\x1b[31m.key", "new\nline.key", strings.Repeat("n", 251) + ".key"} {
		if err := os.WriteFile(filepath.Join(root, "x", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for p, want := range map[string]string{"/x/pipe": "no regular file", "/x/folder": "no regular file", "/x/huge": "larger than"} {
		if b, err := f.Read(p); err == nil || b != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %q, %v, want an error that says %q", p, b, err, want)
		}
	}
	if b, err := f.Read("/x/binary"); err != nil || !bytes.Equal(b, []byte("\x00\xff\x1b[2J")) {
		t.Errorf("got %q, %v", b, err)
	}
	if got, err := f.File("/x/pipe"); err != nil || got.Kind != fs.ModeNamedPipe {
		t.Errorf("the pipe: got %v, %v", got.Kind, err)
	}
	list, err := f.Glob("/x/*.key")
	if want := []string{"/x/\x1b[31m.key", "/x/new\nline.key", "/x/" + strings.Repeat("n", 251) + ".key", "/x/\xff\xfe.key"}; err != nil || !slices.Equal(list, want) {
		t.Errorf("got %q, %v, want %q", list, err, want)
	}
	if _, err := f.File("/" + strings.Repeat("x/../", 5000)); err == nil {
		t.Error("a path of 10,000 names: got no error")
	}
	if _, err := f.Glob("/x/[*.key"); err == nil {
		t.Error("a pattern that is none: got no error")
	}
}

// As an ordinary user: what may not be looked at is an error of permission, never "it is not there".
func TestShutOut(t *testing.T) {
	tree := []guard.Entry{{Path: "/shut/secret", Mode: 0o600}, {Path: "/shut", Folder: true, Mode: 0o700, Hidden: true}, {Path: "/shut/in/secret"},
		{Path: "/blind/secret"}, {Path: "/blind", Folder: true, Mode: 0o711}, {Path: "/closed", Mode: 0o600, Hidden: true}}
	f, root := open(t, tree...)
	m, err := hosttest.New(tree)
	if err != nil {
		t.Fatal(err)
	}
	asNobody(t, root)
	for _, p := range []string{"/shut", "/shut/secret", "/shut/none", "/shut/in", "/shut/in/secret", "/shut/*", "/shut/*/secret", "/*/in", "/closed", "/closed/x"} { // the fake says the same
		for _, ask := range []func(*host.Facts) error{
			func(f *host.Facts) error { _, err := f.File(p); return err },
			func(f *host.Facts) error { _, err := f.Read(p); return err },
			func(f *host.Facts) error { _, err := f.Glob(p); return err },
		} {
			if a, b := ask(f), ask(host.New(m)); kind(a) != kind(b) {
				t.Errorf("%s: the disk says %v, the fake %v", p, a, b)
			}
		}
	}
	for _, p := range []string{"/shut/secret", "/shut/x"} {
		if _, err := f.File(p); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: got %v, want no permission", p, err)
		}
		if list, err := f.Glob(p); !errors.Is(err, fs.ErrPermission) || list != nil {
			t.Errorf("%s: got %q, %v, want no permission", p, list, err)
		}
	}
	for _, pattern := range []string{"/shut/*", "/blind/*"} {
		if list, err := f.Glob(pattern); !errors.Is(err, fs.ErrPermission) || list != nil {
			t.Errorf("%s: got %q, %v, want no permission", pattern, list, err)
		}
	}
	if got, err := f.File("/blind/secret"); err != nil || got.Mode != 0o644 {
		t.Errorf("a folder that may be passed through: got %04o, %v", got.Mode, err)
	}
	if got, err := f.File("/closed"); err != nil || got.Mode != 0o600 {
		t.Errorf("a file that may be looked at only: got %04o, %v", got.Mode, err)
	}
	if _, err := f.Read("/closed"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a file that may be looked at only: got %v, want no permission to read", err)
	}
}

// asNobody has this thread look at files as an ordinary user until the test ends, where root runs the test.
// Source: credentials(7): the file system's user id is each thread's own, and setfsuid(2) drops root's rights to files with it.
func asNobody(t *testing.T, root string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	runtime.LockOSThread()
	const nobody = 65534
	if _, err := unix.SetfsuidRetUid(nobody); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setfsuid(0); err != nil {
			t.Fatal(err)
		}
		runtime.UnlockOSThread()
	})
	if was, _ := unix.SetfsuidRetUid(nobody); was != nobody {
		t.Fatalf("got the user %d, want %d", was, nobody)
	}
}

// The fake and the disk say the same of the same tree.
func TestFake(t *testing.T) {
	tree := []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640, Content: "database_pass: x\n"}, {Path: "/etc/maas", Folder: true, Mode: 0o750},
		{Path: "/var/snap/maas/current", Link: "41649"}, {Path: "/var/snap/maas/41649/a.key", Mode: 0o4600}, {Path: "/var/snap/maas/41649/b.key", Mode: 0o1666},
		{Path: "/var/snap/maas/41649/.hidden.key"}, {Path: "/tmp", Folder: true, Mode: 0o1777}, {Path: "/loop", Link: "loop"}, {Path: "/dangling", Link: "/nowhere"},
		{Path: "/lib", Link: "/usr/lib"}, {Path: "/usr/lib/x", Mode: 0o600}}
	m, err := hosttest.New(tree)
	if err != nil {
		t.Fatal(err)
	}
	real, _ := open(t, tree...)
	fake := host.New(m)
	same := cmp.Options{cmp.Transformer("error", func(err error) string { return kind(err) }), cmp.FilterPath(func(p cmp.Path) bool {
		return slices.Contains([]string{".UID", ".GID", ".Changed"}, p.Last().String()) // whoever runs the test, and when
	}, cmp.Ignore())}
	for _, p := range []string{"/", "/etc/maas", "/etc/maas/regiond.conf", "/etc/maas/", "/etc/maas/regiond.conf/x", "/var/snap/maas/current/a.key", "/var/snap/maas/current/b.key",
		"/var/snap/maas/current", "/tmp", "/loop", "/dangling", "/lib/x", "/lib/../lib/x", "/none", "/etc/passwd"} {
		type answer struct {
			File    guard.File
			Content string
			Errs    []error
		}
		ask := func(f *host.Facts) (a answer) {
			var err1, err2 error
			var b []byte
			a.File, err1 = f.File(p)
			b, err2 = f.Read(p)
			a.Content, a.Errs = string(b), []error{err1, err2}
			return a
		}
		if d := cmp.Diff(ask(real), ask(fake), same); d != "" {
			t.Errorf("%s (- the disk, + the fake):\n%s", p, d)
		}
	}
	for _, pattern := range []string{"/etc/maas/*", "/var/snap/maas/current/*.key", "/var/snap/maas/*/a.key", "/*", "/var/snap/maas/current/.*.key", "/etc/maas/regiond.conf", "/no*/x", "/loop*/x"} {
		a, err1 := real.Glob(pattern)
		b, err2 := fake.Glob(pattern)
		if d := cmp.Diff(a, b); d != "" || kind(err1) != kind(err2) {
			t.Errorf("%s: %v, %v (- the disk, + the fake):\n%s", pattern, err1, err2, d)
		}
	}
	a, err1 := real.Accounts()
	b, err2 := fake.Accounts()
	if d := cmp.Diff(a, b); d != "" || err1 != nil || err2 != nil {
		t.Errorf("accounts: %v, %v (- the disk, + the fake):\n%s", err1, err2, d)
	}
}

func kind(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, fs.ErrNotExist):
		return "not there"
	case errors.Is(err, fs.ErrPermission):
		return "not permitted"
	}
	return "other"
}

// An access list that the real disk has is read from there.
func TestACL(t *testing.T) {
	f, root := open(t, guard.Entry{Path: "/x", Mode: 0o640})
	list := []byte{2, 0, 0, 0}
	for _, e := range [][8]byte{{1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff}, {2, 0, 6, 0, 0xe8, 3, 0, 0}, {4, 0, 3, 0, 0xff, 0xff, 0xff, 0xff}, {8, 0, 7, 0, 50, 0, 0, 0},
		{0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff}, {0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff}} {
		list = append(list, e[:]...)
	}
	err := unix.Setxattr(filepath.Join(root, "x"), "system.posix_acl_access", list, 0)
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("the file system of the temporary folder has no access lists")
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.File("/x")
	if got.Group != 0 || got.Mode>>3&7 != 4 {
		t.Errorf("the group's: got %o, mode %04o", got.Group, got.Mode)
	}
	want := []guard.ACLEntry{{ID: 1000, Perm: 4}, {Group: true, ID: 50, Perm: 4}}
	if d := cmp.Diff(want, got.ACL); d != "" || err != nil || got.ACLErr != nil {
		t.Errorf("%v, %v (- wanted, + got):\n%s", err, got.ACLErr, d)
	}
}

func TestProducts(t *testing.T) {
	const dpkg = "Package: maas-cli\nStatus: install ok installed\nVersion: 1:3.7.0\n\nPackage: maas-region-api\nStatus: install ok installed\nPriority: optional\nVersion: 1:3.5.2-16382-g.1\n\n"
	for _, c := range []struct {
		name string
		tree []guard.Entry
		want []host.Installed
	}{
		{"nothing", nil, nil},
		{"the command line's package alone", []guard.Entry{{Path: "/var/lib/dpkg/status", Content: dpkg[:strings.Index(dpkg, "\n\n")+2]}}, nil},
		{"packages", []guard.Entry{{Path: "/var/lib/dpkg/status", Content: dpkg}}, []host.Installed{{Product: guard.MAASDeb, Version: "1:3.5.2-16382-g.1", Why: "package maas-region-api"}}},
		{"a package that was removed", []guard.Entry{{Path: "/var/lib/dpkg/status", Content: strings.ReplaceAll(dpkg, "install ok installed", "deinstall ok config-files")}}, nil},
		{"a removed package whose files are there", []guard.Entry{{Path: "/etc/maas/rackd.conf"}}, []host.Installed{{Product: guard.MAASDeb, Version: "unknown", Why: "/etc/maas/rackd.conf"}}},
		{"the snap", []guard.Entry{{Path: "/var/snap/maas", Folder: true}, {Path: "/snap/maas/current", Link: "41649"},
			{Path: "/snap/maas/41649/meta/snap.yaml", Content: "name: maas\nversion: '3.7.1-17500-g.abc'\n"}}, []host.Installed{{Product: guard.MAASSnap, Version: "3.7.1-17500-g.abc", Why: "/var/snap/maas"}}},
		{"the snap's description is not there", []guard.Entry{{Path: "/var/snap/maas", Folder: true}}, []host.Installed{{Product: guard.MAASSnap, Version: "unknown", Why: "/var/snap/maas"}}},
		{"a version that a terminal would obey", []guard.Entry{{Path: "/var/snap/maas", Folder: true}, {Path: "/snap/maas/current/meta/snap.yaml", Content: "version: 3\x1b[2J\n"}},
			[]host.Installed{{Product: guard.MAASSnap, Version: "unknown", Why: "/var/snap/maas"}}},
		{"two at once", []guard.Entry{{Path: "/var/lib/metalward", Folder: true}, {Path: "/var/lib/dpkg/status", Content: dpkg}},
			[]host.Installed{{Product: guard.MAASDeb, Version: "1:3.5.2-16382-g.1", Why: "package maas-region-api"}, {Product: guard.Metalward, Version: "unknown", Why: "/var/lib/metalward"}}},
	} {
		f, _ := open(t, c.tree...)
		got, err := f.Products()
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%s: %v (- wanted, + got):\n%s", c.name, err, d)
		}
	}
	m, err := hosttest.New([]guard.Entry{{Path: "/var/snap", Folder: true, Hidden: true}, {Path: "/var/lib/metalward", Folder: true}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := host.New(m).Products()
	if len(got) != 1 || !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a folder that may not be looked at: got %v, %v, want Metalward and no permission", got, err)
	}
}

func TestOpen(t *testing.T) {
	for _, root := range []string{"/none/such", "/etc/passwd", ""} {
		if f, err := host.Open(root); err == nil {
			t.Errorf("%q: got %v, want an error", root, f)
		}
	}
}
