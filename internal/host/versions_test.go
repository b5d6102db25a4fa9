package host

import (
	"os/exec"
	"strings"
	"testing"
)

// What os-release says is what a shell makes of it, for which it is written.
func TestRelease(t *testing.T) {
	for _, text := range []string{"ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", "PRETTY_NAME='Ubuntu 24.04'\nID=ubuntu\nVERSION_ID='24.04'\n",
		"# ID=no\nID=debian\nID=ubuntu\n\nVERSION_ID=\n", "PRETTY_NAME=\"a \\\"b\\\" \\$c \\\\ \\` d\"\nID=x\n", "ID=arch"} {
		got := parseRelease(text)
		out, err := exec.Command("sh", "-c", text+"\nprintf '%s|%s|%s' \"$ID\" \"$VERSION_ID\" \"$PRETTY_NAME\"").Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := string(out); got.ID+"|"+got.Version+"|"+got.Name != want {
			t.Errorf("%q: got %+v, a shell has %q", text, got, want)
		}
	}
}

// What is installed is what dpkg-query says of the same file.
func TestInstalled(t *testing.T) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("dpkg-query is not here")
	}
	out, err := exec.Command("dpkg-query", "-Wf", "${db:Status-Status} ${Package} ${Version} ${source:Package} ${source:Version}\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	list, err := f.installed()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, p := range list {
		got[strings.Join([]string{p.Name, p.Version, p.Source, p.SourceVersion}, " ")] = true
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		want, ok := strings.CutPrefix(strings.TrimSpace(line), "installed ")
		if !ok {
			continue
		}
		if n++; !got[want] {
			t.Errorf("%s is not among those that were found", want)
		}
	}
	if n < 50 || n != len(list) {
		t.Errorf("found %d packages, dpkg has %d", len(list), n)
	}
}

func FuzzRelease(f *testing.F) {
	f.Add("ID=debian\nVERSION_ID=\"12\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		if r := parseRelease(text); len(r.ID) > 200 || len(r.Version) > 200 || len(r.Name) > 200 {
			t.Errorf("got %+v", r)
		}
	})
}
