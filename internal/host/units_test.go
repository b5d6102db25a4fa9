package host

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseUnit(t *testing.T) {
	for _, c := range []struct {
		text string
		want string // of X, by |
		ok   bool
	}{
		{"[Service]\nX=1\nX = 2\n", "2", true}, {"[Service]\nX=1\nX=\n", "", true}, {"[Unit]\nX=1\n[Service]\nX=2\n[Install]\nX=3", "2", true},
		{"[Service]\nX=a \\\n# a comment\n  b\n", "a  b", true}, {"# c\n; d\n\n[Service]\r\nX=yes\r\n", "yes", true},
		{"X=1\n", "", false}, {"[Service]\nX\n", "", false}, {"[Service]\nX=1\\", "", false}, {"", "", true}, {"[Service]\nY=a=b", "", true},
	} {
		m := map[string][]string{}
		err := parseUnitFile([]byte(c.text), m)
		if got := strings.Join(m["X"], "|"); (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%q: got %q, %v, want %q, %v", c.text, got, err, c.want, c.ok)
		}
	}
	m := map[string][]string{}
	if err := parseUnitFile([]byte("[Service]\nCapabilityBoundingSet=CAP_KILL\nCapabilityBoundingSet=\nCapabilityBoundingSet=CAP_CHOWN\nCapabilityBoundingSet=~CAP_FOWNER\n"), m); err != nil || !slices.Equal(m[merged], []string{"", "CAP_CHOWN", "~CAP_FOWNER"}) {
		t.Errorf("got %q, %v", m[merged], err)
	}
	if got, want := dropInFolders("maas-region-x.service"), []string{"maas-region-x.service.d", "maas-region-.service.d", "maas-.service.d", "service.d"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// systemd-analyze takes what is parsed here for the same: its verdict of a service's exposure moves with each setting that a drop-in changes.
func TestUnitsAsSystemdHasThem(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("no systemd-analyze (Debian package systemd): samples of the checks hold what is parsed against the manual")
	}
	root := t.TempDir()
	write := func(at, text string) {
		at = filepath.Join(root, at)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("usr/lib/systemd/system/maas-x.service", "[Service]\nExecStart=/bin/true\nPrivateTmp=no\nUser=maas\nNoNewPrivileges=no\n")
	write("etc/systemd/system/maas-x.service.d/20-x.conf", "[Service]\nPrivateTmp=\\\n # no\n yes\n")
	write("usr/lib/systemd/system/maas-x.service.d/20-x.conf", "[Service]\nNoNewPrivileges=yes\n") // another of its name is nearer
	write("etc/systemd/system/maas-.service.d/30-y.conf", "[Service]\nProtectHome=yes\n")
	write("etc/systemd/system/service.d/10-z.conf", "[Service]\nProtectHome=no\nProtectSystem=strict\n")
	write("bin/true", "")
	_ = os.Chmod(filepath.Join(root, "bin/true"), 0o755)
	f, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	list, err := f.Units("maas-")
	if err != nil || len(list) != 1 {
		t.Fatalf("got %+v, %v", list, err)
	}
	want := map[string]string{"PrivateTmp": "yes", "User": "maas", "NoNewPrivileges": "no", "ProtectHome": "yes", "ProtectSystem": "strict"}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if got := list[0].Last(key); got != want[key] {
			t.Errorf("%s: got %q, want %q", key, got, want[key])
		}
	}
	out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "--json=short", "--root="+root, "maas-x.service").CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze: %v: %s", err, out)
	}
	for _, line := range strings.Split(string(out), "},{") {
		for key, set := range map[string]bool{`"PrivateTmp="`: true, `"NoNewPrivileges="`: false, `"ProtectHome="`: true, `"ProtectSystem="`: true} {
			if strings.Contains(line, key) && strings.Contains(line, `"set":true`) != set {
				t.Errorf("systemd says %s, want it set: %v", line, set)
			}
		}
	}
}

func FuzzUnit(f *testing.F) {
	f.Add([]byte("[Service]\nX=a \\\n# a comment\n  b\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m := map[string][]string{}
		if parseUnitFile(text, m) == nil {
			for _, list := range m {
				for _, v := range list {
					if strings.Contains(v, "\n") {
						t.Errorf("got %q", v)
					}
				}
			}
		}
	})
}
