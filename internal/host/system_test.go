package host_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/guard"
)

func TestSysctl(t *testing.T) {
	const key = "net.ipv4.conf.all.rp_filter"
	conf := func(path, text string) guard.Entry { return guard.Entry{Path: path, Content: text} }
	running := conf("/proc/sys/net/ipv4/conf/all/rp_filter", "2\n")
	for name, c := range map[string]struct {
		tree []guard.Entry
		want guard.Sysctl
	}{
		"running alone":                 {[]guard.Entry{running}, guard.Sysctl{Now: "2"}},
		"running, another configured":   {[]guard.Entry{running, conf("/etc/sysctl.d/a.conf", "# x\n\n "+key+" = 1 \n")}, guard.Sysctl{Now: "2", Next: "1", File: "/etc/sysctl.d/a.conf", Line: 3, Clash: true}},
		"the last by name":              {[]guard.Entry{conf("/usr/lib/sysctl.d/b.conf", key+"=1"), conf("/etc/sysctl.d/a.conf", key+"=0")}, guard.Sysctl{Next: "1", File: "/usr/lib/sysctl.d/b.conf", Line: 1}},
		"kept out by the same name":     {[]guard.Entry{conf("/usr/lib/sysctl.d/b.conf", key+"=1"), conf("/etc/sysctl.d/b.conf", "")}, guard.Sysctl{}},
		"sysctl.conf comes last":        {[]guard.Entry{conf("/etc/sysctl.conf", key+"=1"), conf("/etc/sysctl.d/b.conf", key+"=0")}, guard.Sysctl{Next: "1", File: "/etc/sysctl.conf", Line: 1}},
		"slashes, a dash and a pattern": {[]guard.Entry{conf("/etc/sysctl.d/b.conf", "-net/ipv4/conf/*/rp_filter=0")}, guard.Sysctl{Next: "0", File: "/etc/sysctl.d/b.conf", Line: 1}},
		"another's":                     {[]guard.Entry{conf("/etc/sysctl.d/b.conf", "net.ipv4.conf.eth0.rp_filter=0\nnonsense\n=1\n")}, guard.Sysctl{}},
	} {
		got, err := facts(t, c.tree...).Sysctl(key)
		c.want.Key = key
		if got != c.want || (c.want.Now+c.want.Next == "") != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// TestApt holds what is read against what APT says itself.
func TestApt(t *testing.T) {
	tool, err := exec.LookPath("apt-config")
	if err != nil {
		t.Skip("apt-config is not here, so nobody else reads the configuration")
	}
	for _, text := range []string{
		"X::A \"1\";\nX::B \"a b\"; // why\n# X::C \"1\";\n/* X::D \"1\";\n */ X::E \"\";\n",
		"X { A \"1\"; B { C \"2\"; }; D::E \"3\"; };\n",
		"X::A \"1\"; X::A \"2\";",
		"x::a \"1\";",
		"X::List { \"a\"; \"b\"; };\nX::A \"1\";",
		"X { A \"1\";",
		"X::A \"1",
	} {
		file := filepath.Join(t.TempDir(), "x.conf")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(tool, "dump")
		cmd.Env = append(os.Environ(), "APT_CONFIG="+file)
		out, bad := cmd.CombinedOutput()
		want := map[string]string{}
		for _, m := range regexp.MustCompile(`(?mi)^(x(?:::\w+)+) "(.*)";$`).FindAllStringSubmatch(string(out), -1) {
			want[strings.ToLower(m[1])] = m[2]
		}
		got, err := facts(t, guard.Entry{Path: "/etc/apt/apt.conf.d/x", Content: text}).Apt()
		if (err != nil) != (bad != nil) {
			t.Errorf("%q: got %v; APT says %v: %s", text, err, bad, out)
			continue
		}
		for name, value := range want {
			if got[name].Value != value {
				t.Errorf("%q: %s is %q, and APT says %q", text, name, got[name].Value, value)
			}
		}
		for name, s := range got {
			if _, ok := want[name]; !ok && s.Value != "" {
				t.Errorf("%q: %s is %q, and APT does not have it", text, name, s.Value)
			}
		}
	}
	got, err := facts(t, guard.Entry{Path: "/etc/apt/apt.conf.d/20a", Content: "A \"1\";"}, guard.Entry{Path: "/etc/apt/apt.conf.d/30b.conf", Content: "A \"2\";"},
		guard.Entry{Path: "/etc/apt/apt.conf.d/40c.bak", Content: "A \"3\";"}).Apt()
	if err != nil || got["a"] != (guard.AptSetting{Value: "2", File: "/etc/apt/apt.conf.d/30b.conf"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestRotations(t *testing.T) {
	list, err := facts(t, guard.Entry{Path: "/etc/logrotate.conf", Content: "weekly\nrotate 4\ncreate\ninclude /etc/logrotate.d\n"},
		guard.Entry{Path: "/etc/logrotate.d/a", Content: "/var/log/a.log /var/log/b*.log\n\"/var/log/c d\"\n{\n  daily\n  rotate 7\n  postrotate\n    kill }\n  endscript\n}\n/var/log/e { rotate 0\n}\n/var/log/f { }\n"},
		guard.Entry{Path: "/etc/logrotate.d/b", Content: "/var/log/g {\nmonthly\nrotate 12\nmaxage 90\n}\n/var/log/h {\nsize 10M\nrotate=3\n}\n"},
		guard.Entry{Path: "/etc/logrotate.d/c.dpkg-old", Content: "/var/log/i { }\n"}).Rotations()
	var got []string
	for _, r := range list {
		got = append(got, strings.Join(r.Patterns, "|")+" "+string(rune('0'+r.Days/10))+string(rune('0'+r.Days%10)))
	}
	if want := []string{"/var/log/a.log|/var/log/b*.log|/var/log/c d 07", "/var/log/e 01", "/var/log/f 28", "/var/log/g 90", "/var/log/h 00"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for name, text := range map[string]string{"an open rule": "/var/log/a {\n", "an open script": "/var/log/a {\npostrotate\n}\n"} {
		if _, err := facts(t, guard.Entry{Path: "/etc/logrotate.d/a", Content: text}).Rotations(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzSystem(f *testing.F) {
	f.Add("a.b = 1\n-c/d=2", "A { B \"1\"; };", "weekly\n/var/log/x {\nrotate 4\n}\n")
	f.Fuzz(func(t *testing.T, sysctl, apt, logrotate string) {
		h := facts(t, guard.Entry{Path: "/etc/sysctl.conf", Content: sysctl}, guard.Entry{Path: "/etc/apt/apt.conf", Content: apt}, guard.Entry{Path: "/etc/logrotate.conf", Content: logrotate})
		if _, err := h.Sysctl("a.b"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		_, _ = h.Apt() // an error is an answer
		list, _ := h.Rotations()
		for _, r := range list {
			if r.Days < 0 {
				t.Errorf("got %d days", r.Days)
			}
		}
	})
}
