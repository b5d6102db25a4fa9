package host

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/guard"
)

// A folder of too many names is an error, not a part of the answer.
func TestManyNames(t *testing.T) {
	d, err := openDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.close() }()
	d.most = 3
	for i, name := range []string{"a", "b", "c", "d"} {
		if err := unix.Mknodat(d.root, name, unix.S_IFREG|0o600, 0); err != nil {
			t.Fatal(err)
		}
		if list, err := d.List("/"); (err != nil) != (i == 3) || err == nil && len(list) != i+1 {
			t.Errorf("a folder of %d: got %q, %v", i+1, list, err)
		}
	}
}

func TestAccounts(t *testing.T) {
	users := parseUsers("root:x:0:0:root:/root:/bin/bash\n#bob:x:1:1::/:/\nbroken\nbob:x:-1:0::/:/\nbob:x:4294967296:0::/:/\nmaas:x:115:121::/var/lib/maas:/bin/sh\n+::::::\n")
	want := []guard.User{{Name: "root", Home: "/root", Shell: "/bin/bash"}, {Name: "maas", UID: 115, GID: 121, Home: "/var/lib/maas", Shell: "/bin/sh"}}
	if d := cmp.Diff(want, users); d != "" {
		t.Errorf("(- wanted, + got):\n%s", d)
	}
	groups := parseGroups("root:x:0:\nmaas:x:121:bob,alice\nbad:x:y:\nshort:x\nspaced:x:7:a, b\n")
	wantGroups := []guard.Group{{Name: "root", Members: []string{}}, {Name: "maas", GID: 121, Members: []string{"bob", "alice"}}, {Name: "spaced", GID: 7, Members: []string{"a", "b"}}}
	if d := cmp.Diff(wantGroups, groups); d != "" {
		t.Errorf("(- wanted, + got):\n%s", d)
	}
}

func FuzzPasswd(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/bash\n")
	f.Add("maas:x:121:bob,alice\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, u := range parseUsers(text) {
			if u.Name == "" || strings.ContainsAny(u.Name+u.Home+u.Shell, ":\n") {
				t.Errorf("got the user %+v", u)
			}
		}
		for _, g := range parseGroups(text) {
			if g.Name == "" || strings.ContainsAny(g.Name, ":\n") || strings.ContainsAny(strings.Join(g.Members, ""), ":\n, ") {
				t.Errorf("got the group %+v", g)
			}
		}
	})
}

func FuzzVersions(f *testing.F) {
	f.Add("Package: maas-region-api\nStatus: install ok installed\nVersion: 1:3.5.2\n\n")
	f.Add("version: '3.7.1'\n")
	f.Fuzz(func(t *testing.T, text string) {
		name, v := dpkgVersion(text, packages)
		if v2 := snapVersion(text); guard.Show(v2) != v2 || v2 == "" || len(v2) > 100 {
			t.Errorf("got the version %q of a snap", v2)
		}
		if (name == "") != (v == "") || guard.Show(v) != v || len(v) > 100 {
			t.Errorf("got %q %q of packages", name, v)
		}
	})
}

func FuzzACL(f *testing.F) {
	f.Add([]byte{2, 0, 0, 0, 2, 0, 6, 0, 0xe8, 3, 0, 0, 0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseACL(b)
		if err == nil && len(list.Named) > len(b)/8 || list.Group > 7 {
			t.Errorf("got %+v of %d bytes", list, len(b))
		}
		for _, e := range list.Named {
			if e.Perm > 7 {
				t.Errorf("got %+v", e)
			}
		}
	})
}
