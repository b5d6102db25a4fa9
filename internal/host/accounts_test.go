package host_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/host/hosttest"
)

func facts(t testing.TB, tree ...guard.Entry) *host.Facts {
	t.Helper()
	m, err := hosttest.New(tree)
	if err != nil {
		t.Fatal(err)
	}
	return host.New(m)
}

// TestSSH holds what is read against what sshd says is in effect.
func TestSSH(t *testing.T) {
	sshd := "/usr/sbin/sshd"
	if _, err := os.Stat(sshd); err != nil {
		t.Skip("sshd is not here, so nobody else reads the configuration; install the package openssh-server")
	}
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil && os.Getuid() == 0 {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"the first counts":       "PasswordAuthentication no\nPasswordAuthentication yes\n",
		"no case, equals sign":   "permitrootlogin=no\nPERMITEMPTYPASSWORDS = yes\n",
		"quotes and a comment":   "PermitRootLogin \"no\" # never\nMaxAuthTries 3\n",
		"under a condition":      "PasswordAuthentication no\nMatch User bob\n PasswordAuthentication yes\n PermitRootLogin no\n",
		"a condition of all":     "PasswordAuthentication no\nMatch User bob\nMatch all\n PasswordAuthentication yes\n",
		"before what is set":     "Include " + dir + "/*.conf\nPasswordAuthentication yes\nPermitRootLogin yes\n",
		"behind what is set":     "PasswordAuthentication yes\nPermitRootLogin yes\nInclude " + dir + "/*.conf\n",
		"in a condition":         "Match User bob\nInclude " + dir + "/*.conf\nPermitRootLogin yes\n",
		"an inclusion of none":   "Include " + dir + "/none/*.conf\nPermitRootLogin yes\n",
		"an unclosed quote":      "PermitRootLogin \"no\n",
		"a keyword alone":        "PermitRootLogin\n",
		"blanks and no line end": "\t PermitRootLogin\t no\t\r\n  PasswordAuthentication no",
	} {
		more := "PermitRootLogin no\nMatch User alice\n PermitEmptyPasswords yes\n"
		config := filepath.Join(dir, "sshd_config")
		for path, content := range map[string]string{config: text, filepath.Join(dir, "a.conf"): more} {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out, bad := exec.Command(sshd, "-T", "-f", config, "-h", key).CombinedOutput()
		f := facts(t, guard.Entry{Path: "/etc/ssh/sshd_config", Content: text}, guard.Entry{Path: filepath.Join(dir, "a.conf"), Content: more})
		got, err := f.SSH()
		if err != nil || (got.Err != nil) != (bad != nil) {
			t.Errorf("%s: got %v, %v; sshd says %v: %s", name, got.Err, err, bad, out)
		}
		if bad != nil {
			continue
		}
		for _, keyword := range []string{"passwordauthentication", "permitrootlogin", "permitemptypasswords", "maxauthtries"} {
			want := ""
			for line := range strings.Lines(string(out)) {
				if value, ok := strings.CutPrefix(line, keyword+" "); ok {
					want = strings.TrimSpace(value)
				}
			}
			usual := map[string]string{"passwordauthentication": "yes", "permitrootlogin": "without-password", "permitemptypasswords": "no", "maxauthtries": "6"}[keyword]
			if l, set := got.Value(keyword); set {
				usual = l.Value
			}
			if usual != want {
				t.Errorf("%s: %s is %q, and sshd says %q", name, keyword, usual, want)
			}
		}
	}
	s, err := facts(t, guard.Entry{Path: "/etc/ssh/sshd_config", Content: "PermitRootLogin no\nMatch User bob\nPermitRootLogin yes\nMatch Address 10.0.0.0/8\nPermitRootLogin no\n"}).SSH()
	if list := s.Conditional("permitrootlogin"); err != nil || len(list) != 2 || list[0].Match != "User bob" || list[0].Line != 3 || list[1].Value != "no" {
		t.Errorf("got %+v, %v", list, err)
	}
	if _, err := facts(t).SSH(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a configuration: %v", err)
	}
}

// TestSudo holds what is read against what sudo's own tool makes of the file.
func TestSudo(t *testing.T) {
	tool, err := exec.LookPath("cvtsudoers")
	if err != nil {
		t.Skip("cvtsudoers is not here, so nobody else reads the configuration; install the package sudo")
	}
	for _, text := range []string{
		"root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL) NOPASSWD: ALL",
		"bob ALL=/bin/ls, /bin/cat",
		"bob,alice , %staff ALL = (maas : maas) NOPASSWD: /bin/ls, PASSWD: /bin/x -a, (root) /bin/y\t# why",
		"User_Alias A=a,b:B=c\nA , !B ALL=NOPASSWD:SETENV:ALL",
		"A ALL=C\nUser_Alias A = a\nCmnd_Alias C = /bin/x, D\nCmnd_Alias D = /bin/y",
		"Runas_Alias R = maas, root\nbob ALL=(R) ALL",
		"Defaults env_reset\nDefaults:bob !authenticate\nbob ALL=(ALL) \\\n ALL",
		"# bob ALL=ALL\n#1000 ALL=ALL\nbob ALL=(#0) ALL # all",
		"bob ALL=/bin/sh -c \"a\\, b\\=c\", /bin/z",
		"bob ALL=(:adm) /bin/x",
		"bob ALL=NOEXEC: /bin/x, NOPASSWD: /bin/y, /bin/z",
		"\"a b\" ALL=ALL",
		"bob ALL",
		"bob",
		"bob ALL=",
		"User_Alias A",
		"bob ALL=(root ALL",
	} {
		file := filepath.Join(t.TempDir(), "sudoers")
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, bad := exec.Command(tool, "-e", "-f", "json", file).Output()
		got, err := facts(t, guard.Entry{Path: "/etc/sudoers", Content: text}).Sudo()
		if err != nil || (got.Err != nil) != (bad != nil) {
			t.Errorf("%q: got %v, %v; sudo says %v", text, got.Err, err, bad)
			continue
		}
		if bad != nil {
			continue
		}
		if have, want := rulesOf(got), sudoSays(t, out); !slices.Equal(have, want) {
			t.Errorf("%q:\n got %q\nwant %q", text, have, want)
		}
	}
	cwd, err := facts(t, guard.Entry{Path: "/etc/sudoers", Content: "bob ALL=CWD=/tmp NOPASSWD: TIMEOUT=5 /bin/x"}).Sudo() // of which cvtsudoers writes no JSON
	if want := []string{"bob; root; not asked; /bin/x"}; err != nil || !slices.Equal(rulesOf(cwd), want) {
		t.Errorf("got %q, %v", rulesOf(cwd), err)
	}
	s, err := facts(t, guard.Entry{Path: "/etc/sudoers", Content: "@includedir /etc/sudoers.d\n#include more\n@include \"/etc/none\"\n"}, guard.Entry{Path: "/etc/sudoers.d/a", Content: "a ALL=ALL"},
		guard.Entry{Path: "/etc/sudoers.d/b.conf", Content: "b ALL=ALL"}, guard.Entry{Path: "/etc/sudoers.d/c~", Content: "c ALL=ALL"}, guard.Entry{Path: "/etc/more", Content: "d ALL=ALL"}).Sudo()
	if err != nil || len(s.Rules) != 2 || s.Rules[0].File != "/etc/sudoers.d/a" || s.Rules[1].Who[0] != "d" || s.Err == nil {
		t.Errorf("got %+v, %v", s, err)
	}
}

// rulesOf writes rules as sudoSays does.
func rulesOf(s guard.Sudo) (list []string) {
	for _, r := range s.Rules {
		asked := "asked"
		if r.NoPasswd {
			asked = "not asked"
		}
		list = append(list, strings.Join([]string{strings.ReplaceAll(strings.Join(r.Who, "|"), `"`, ""), strings.Join(r.RunAs, "|"), asked, strings.Join(r.Commands, "|")}, "; "))
	}
	return list
}

func sudoSays(t *testing.T, out []byte) (list []string) {
	t.Helper()
	type item map[string]any
	var all struct {
		Specs []struct {
			Users []item `json:"User_List"`
			Cmnds []struct {
				RunAs    []item `json:"runasusers"`
				Groups   []item `json:"runasgroups"`
				Options  []item
				Commands []item
			} `json:"Cmnd_Specs"`
		} `json:"User_Specs"`
	}
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	words := func(list []item) string {
		var words []string
		for _, i := range list {
			word := ""
			for key, v := range i {
				if text, ok := v.(string); ok {
					word = text
					if key == "usergroup" {
						word = "%" + text
					}
				} else if n, ok := v.(float64); ok && key == "userid" {
					word = "#" + strings.TrimSuffix(string(mustJSON(n)), ".0")
				}
			}
			if i["negated"] == true {
				word = "!" + word
			}
			words = append(words, word)
		}
		return strings.Join(words, "|")
	}
	for _, s := range all.Specs {
		for _, c := range s.Cmnds {
			runAs, asked := words(c.RunAs), "asked"
			if runAs == "" {
				if runAs = "root"; len(c.Groups) > 0 {
					runAs = "the user himself"
				}
			}
			for _, o := range c.Options {
				if o["authenticate"] == false {
					asked = "not asked"
				}
			}
			list = append(list, strings.Join([]string{words(s.Users), runAs, asked, words(c.Commands)}, "; "))
		}
	}
	return list
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

func TestPasswords(t *testing.T) {
	list, err := facts(t, guard.Entry{Path: "/etc/shadow", Content: "root:*:19000:0:99999:7:::\na:$y$j9T$x$y:20000::::::\nb:!$6$x$y:0::::::\nc::1::::::\nd:abcdefghijklm:::::::\ne:!::::::\nf:$1$x$y:::::::\ng:$9$what:::::::\nbad\n#x:y:1\n"}).Passwords()
	var got []string
	for _, p := range list {
		locked := ""
		if p.Locked {
			locked = " locked"
		}
		got = append(got, p.User+" "+string(p.Kind)+locked)
	}
	want := []string{"root no password works", "a yescrypt", "b SHA-512 locked", "c no password is asked for", "d DES", "e no password works", "f MD5", "g of a kind that is not known"}
	if err != nil || !slices.Equal(got, want) || !list[0].Changed.Equal(time.Date(2022, 1, 8, 0, 0, 0, 0, time.UTC)) || !list[2].Changed.IsZero() {
		t.Errorf("got %q, %v, %v", got, list[0].Changed, err)
	}
	if _, err := facts(t, guard.Entry{Path: "/etc/shadow", Hidden: true}).Passwords(); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v of what may not be read", err)
	}
}

func FuzzAccounts(f *testing.F) {
	f.Add("PermitRootLogin \"no\" #\nMatch User x\nInclude y\n", "a,b ALL=(c:d) NOPASSWD: e, f\nUser_Alias A=b\n", "a:$6$x:1:::::\n")
	f.Fuzz(func(t *testing.T, sshd, sudoers, shadow string) {
		h := facts(t, guard.Entry{Path: "/etc/ssh/sshd_config", Content: sshd}, guard.Entry{Path: "/etc/sudoers", Content: sudoers}, guard.Entry{Path: "/etc/shadow", Content: shadow})
		s, err1 := h.SSH()
		_, err2 := h.Sudo()
		_, err3 := h.Passwords()
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Error(err)
		}
		for _, l := range s.Lines {
			if _, set := s.Value(l.Keyword); !set && len(s.Conditional(l.Keyword)) == 0 {
				t.Errorf("%q is lost", l.Keyword)
			}
		}
	})
}
