package secret

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const canary = "canary-9f3b-hunter2"

// leaks are the ways a secret could show: as text, as a list of bytes, in hex or base64.
func leaks(t *testing.T, how, out string) {
	t.Helper()
	for _, form := range []string{canary, fmt.Sprint([]byte(canary)), fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), "Y2FuYXJ5", fmt.Sprintf("%#v", []byte(canary))} {
		if strings.Contains(out, form) || strings.Contains(out, strings.Trim(form, "[]")) {
			t.Errorf("%s shows the secret: %s", how, out)
			return
		}
	}
}

type holder struct {
	Shown  Value
	hidden Value
	Ptr    *Value
	List   []Value
	Map    map[string]Value
	Any    any
}

func TestNeverPrints(t *testing.T) {
	v := FromString(canary)
	h := holder{v, v, &v, []Value{v}, map[string]Value{"k": v}, v}
	things := map[string]any{"value": v, "pointer": &v, "struct": h, "pointer to struct": &h, "list": []Value{v}, "map": map[string]Value{"k": v}, "array": [1]Value{v},
		"unexported only": struct{ v Value }{v}, "list of structs": []holder{h}, "error": fmt.Errorf("cannot use %v: %w", v, errors.New("x"))}
	for name, x := range things {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o", "%c", "%U", "%T", "%t", "%e", "%y", "% x", "%10s", "%-10v", "%p"} {
			leaks(t, name+" "+verb, fmt.Sprintf(verb, x))
		}
		leaks(t, name+" Sprint", fmt.Sprint(x))
		leaks(t, name+" Sprintln", fmt.Sprintln(x))
		leaks(t, name+" Errorf", fmt.Errorf("%v", x).Error())
		for handler, make := range map[string]func(*bytes.Buffer) slog.Handler{
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(make(&b)).Info("m", "k", x, slog.Group("g", "k", x))
			leaks(t, name+" slog "+handler, b.String())
		}
		if b, err := json.Marshal(x); err == nil {
			leaks(t, name+" json", string(b))
		}
		if b, err := xml.Marshal(x); err == nil {
			leaks(t, name+" xml", string(b))
		}
	}
	if got := fmt.Sprintf("%v %s %#v %d", v, v, v, v); got != "[redacted] [redacted] [redacted] [redacted]" {
		t.Errorf("got %q", got)
	}
	if b, err := json.Marshal(map[Ref]Value{"a": v}); err != nil || string(b) != `{"a":"[redacted]"}` {
		t.Errorf("got %s, %v", b, err)
	}
}

func TestValue(t *testing.T) {
	raw := []byte(canary)
	v := NewValue(raw)
	raw[0] = 'X'
	if v.RevealString() != canary || string(v.Reveal()) != canary || v.Empty() {
		t.Errorf("got %q, want a copy of what was wrapped", v.Reveal())
	}
	var zero Value
	if !zero.Empty() || zero.RevealString() != "" || !zero.Equal(FromString("")) || zero.Equal(v) || !v.Equal(FromString(canary)) {
		t.Error("an empty value or a comparison is wrong")
	}
	if FromString("abc").Hash() != "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" { // FIPS 180-2, appendix B.1
		t.Error("Hash is not SHA-256 in hex")
	}
	for _, text := range []string{`"x"`, `{}`, `["x"]`} {
		if err := json.Unmarshal([]byte(text), &v); err == nil || v.RevealString() != canary {
			t.Errorf("decoded %s into a secret", text)
		}
	}
	seen := map[string]bool{}
	for range 1000 {
		s := Random(16).RevealString()
		if len(s) != 22 || seen[s] {
			t.Fatalf("got %q again or of length %d", s, len(s))
		}
		seen[s] = true
	}
}

func TestKeyring(t *testing.T) {
	k, err := NewKeyring(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	v := FromString(canary)
	sealed, err := k.Seal("machine/a/power", v)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte(canary)) {
		t.Fatal("the sealed form shows the secret")
	}
	if got, err := k.Open("machine/a/power", sealed); err != nil || !got.Equal(v) {
		t.Fatalf("got %v, want the secret", err)
	}
	again, err := k.Seal("machine/a/power", v)
	if err != nil || bytes.Equal(again, sealed) || bytes.Equal(again[1:33], sealed[1:33]) {
		t.Errorf("sealing twice gives the same bytes: %v", err)
	}
	for i := range sealed {
		for _, bit := range []byte{1, 0x80} {
			bad := bytes.Clone(sealed)
			bad[i] ^= bit
			if _, err := k.Open("machine/a/power", bad); err == nil {
				t.Errorf("opened with byte %d changed", i)
			}
		}
	}
	for n := range sealed {
		if _, err := k.Open("machine/a/power", sealed[:n]); err == nil {
			t.Errorf("opened when cut to %d bytes", n)
		}
	}
	for _, other := range []Ref{"machine/b/power", "machine/a/power ", "machine/a/powe", ""} {
		if _, err := k.Open(other, sealed); err == nil {
			t.Errorf("opened under the name %q", other)
		}
	}
	wrong, err := NewKeyring(bytes.Repeat([]byte{8}, 32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wrong.Open("machine/a/power", sealed); err == nil || strings.Contains(err.Error(), canary) {
		t.Errorf("got %v with another root key", err)
	}
	if empty, err := k.Seal("e", Value{}); err != nil {
		t.Error(err)
	} else if got, err := k.Open("e", empty); err != nil || !got.Empty() {
		t.Errorf("got %v of an empty secret", err)
	}
	if bytes.Equal(k.Derive("a"), k.Derive("b")) || bytes.Equal(k.Derive("a"), wrong.Derive("a")) || len(k.Derive("a")) != 32 {
		t.Error("derived keys do not differ by purpose and root")
	}
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := NewKeyring(make([]byte, n)); err == nil {
			t.Errorf("took a root key of %d bytes", n)
		}
	}
	root := bytes.Repeat([]byte{9}, 32)
	copied, err := NewKeyring(root)
	if err != nil {
		t.Fatal(err)
	}
	before := copied.Derive("a")
	root[0] = 0
	if !bytes.Equal(before, copied.Derive("a")) {
		t.Error("the keyring changes with the caller's bytes")
	}
}

// TestKeyFile makes key files under every umask; the mode is 0600 at every moment (security requirement 26).
func TestKeyFile(t *testing.T) {
	for _, mask := range []int{0, 0o022, 0o077, 0o777} {
		dir := t.TempDir()
		path := filepath.Join(dir, "root.key")
		old := syscall.Umask(mask)
		first, err := OpenKeyring(path)
		syscall.Umask(old)
		if mask == 0o777 {
			continue // nothing can be read back then, but by root
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("umask %03o: got mode %v, %v; want 0600", mask, info.Mode(), err)
		}
		second, err := OpenKeyring(path)
		if err != nil || !bytes.Equal(first.Derive("x"), second.Derive("x")) {
			t.Errorf("opening again gives another key: %v", err)
		}
		list, err := os.ReadDir(dir)
		if err != nil || len(list) != 1 {
			t.Errorf("got %v left in the folder, %v", list, err)
		}
	}
}

func TestKeyFileRefused(t *testing.T) {
	good := strings.Repeat("A", 43) + "="
	for name, c := range map[string]struct {
		mode os.FileMode
		text string
		ok   bool
	}{
		"as made": {0o600, good, true}, "read-only": {0o400, good + "\n", true},
		"group reads": {0o640, good, false}, "others read": {0o604, good, false}, "group writes": {0o620, good, false}, "world": {0o666, good, false}, "group runs": {0o610, good, false},
		"short": {0o600, "AAAA", false}, "no base64": {0o600, "!!", false}, "empty": {0o600, "", false}, "long": {0o600, good + good, false},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadOrCreateKey(path)
		if (err == nil) != c.ok {
			t.Errorf("%s: got %v, want accepted %v", name, err, c.ok)
		}
		if err != nil && c.mode&0o077 != 0 && !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("%s: %v does not say what to do", name, err)
		}
		if b, _ := os.ReadFile(path); string(b) != c.text {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if _, err := OpenKeyring(filepath.Join(t.TempDir(), "absent", "key")); err == nil {
		t.Error("got no error without a folder")
	}
}

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "new" || info.Mode().Perm() != 0o600 {
		t.Errorf("got %q of mode %v", b, info.Mode())
	}
}
