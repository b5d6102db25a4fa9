package passwords

import (
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/fault"
)

func TestCheck(t *testing.T) {
	for password, want := range map[string]bool{
		"correct horse battery": true, "correcthorsebatterystaple": true, "quite another long one": true, "kX9#mQ2vLp7!": true, "tr0ub4dor&3xx": true,
		"swordfish lamp violin": true, "Spring rain on 7 hills": true, "wächterhäuschen am fluß": true, "漢字漢字仮名交じり文の合言葉": true,
		"password1234": false, "Password2024!": false, "aaaaaaaaaaaa": false, "qwertyuiopas": false, "123456789012": false, "iloveyouiloveyou": false,
		"P@ssw0rdP@ssw0rd": false, "abcdefghijkl": false, "letmein12345": false, "administrator": false, "passwordpassword": false, "zyxwvutsrqponm": false,
		"111111222222": false, "michaelmichael": false, "Admin1234567": false, strings.Repeat("secret", 100): false, strings.Repeat("a", 1024): false,
	} {
		err := Checker{}.Check(password)
		if want && err != nil || !want && !fault.Is(err, fault.Invalid) {
			t.Errorf("%.30q (%.1f bits): got %v, want it accepted: %v", password, bits(password, nil), err, want)
		}
	}
}

func TestOwnName(t *testing.T) {
	own := []string{"grunewald", "m.grunewald@metalworks.example"}
	for password, want := range map[string]bool{
		"Grunewald2027": false, "grunewaldgrunewald": false, "m.grunewald@metalworks.example": false, "metalworks-grunewald": false, "1grunewald1!": false,
		"grunewald has seven violins": true, "seven violins, one lamp": true,
	} {
		if err := (Checker{}).Check(password, own...); (err == nil) != want {
			t.Errorf("%q: got %v, want it accepted: %v", password, err, want)
		}
	}
}

// list writes a file of the hashes of words as Have I Been Pwned does.
func list(t testing.TB, end string, words ...string) string {
	t.Helper()
	var lines []string
	for i, w := range words {
		lines = append(lines, fmt.Sprintf("%X:%d", sha1.Sum([]byte(w)), i*i*i))
	}
	slices.Sort(lines)
	path := filepath.Join(t.TempDir(), "breached")
	if err := os.WriteFile(path, []byte(strings.Join(lines, end)+end), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBreached(t *testing.T) {
	var words []string
	for i := range 200 {
		words = append(words, fmt.Sprint("a breached one no ", i))
	}
	for name, end := range map[string]string{"unix": "\n", "windows": "\r\n"} {
		path := list(t, end, words...)
		if err := CheckFile(path); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := Checker{Breached: path}
		for _, w := range words {
			if err := c.Check(w); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "breached") {
				t.Fatalf("%s: %q: got %v, want it refused", name, w, err)
			}
		}
		for i := range 200 {
			if err := c.Check(fmt.Sprint("a fresh phrase no ", i)); err != nil {
				t.Fatalf("%s: a password that is not in the file: %v", name, err)
			}
		}
	}
	if err := (Checker{Breached: "/nonexistent"}).Check("correct horse battery"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("without its file: got %v, want Unavailable", err)
	}
}

func TestCheckFile(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "f")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	hash := func(c string) string { return strings.Repeat(c, hashLength) }
	for name, path := range map[string]string{"absent": "/nonexistent", "folder": t.TempDir(), "empty": write(""), "words": write("password\n123456\n"),
		"unsorted": write(hash("F") + ":1\n" + hash("A") + ":2\n" + hash("0") + ":3\n"), "one line": write(strings.Repeat("x", 1000))} {
		if err := CheckFile(path); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if err := CheckFile(write(hash("a") + "\n")); err != nil { // lower case, one line, no count
		t.Error(err)
	}
}

// FuzzCheck looks for texts that make it fail or take long.
func FuzzCheck(f *testing.F) {
	f.Add("password", "alice")
	f.Add("İİİİİİİİİİİİ\xff\x00", "ß@ẞ")
	f.Fuzz(func(t *testing.T, password, own string) {
		_ = Checker{}.Check(password, own)
		if b := bits(password, parts([]string{own})); b < 0 {
			t.Errorf("got %f bits", b)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	_ = ranks()
	for name, p := range map[string]string{"short": "correct horse battery", "longest": strings.Repeat("Ab1@x", 205)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_ = Checker{}.Check(p, "alice")
			}
		})
	}
}
