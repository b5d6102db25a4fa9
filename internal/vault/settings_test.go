package vault_test

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
	"github.com/metalward/metalward/internal/vault/vaulttest"
)

// settings are such as config-vault writes.
func settings() vault.Settings {
	return vault.Settings{URL: "https://vault.example:8200", Namespace: "team", RoleID: "role-1", RoleName: "site", Mount: "secret", Path: "metalward",
		Current: vault.Credential{SecretID: secret.FromString("canary-sid"), Accessor: "acc-1", Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}, Retired: []string{"acc-0"}}
}

func TestSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), vault.SettingsFile)
	if _, ok, err := vault.LoadSettings(path); ok || err != nil {
		t.Errorf("without a file: got %v, %v", ok, err)
	}
	want := settings()
	want.CA = vaulttest.Serve(t, vaulttest.NewFake()).CA
	want.Next = vault.Credential{SecretID: secret.FromString("canary-next"), Accessor: "acc-2"}
	defer syscall.Umask(syscall.Umask(0))
	if err := want.Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v", info.Mode(), err)
	}
	got, ok, err := vault.LoadSettings(path)
	if err != nil || !ok || !got.Current.SecretID.Equal(want.Current.SecretID) || !got.Next.SecretID.Equal(want.Next.SecretID) {
		t.Fatalf("got %v, %v", ok, err)
	}
	got.Current.SecretID, got.Next.SecretID, want.Current.SecretID, want.Next.SecretID = secret.Value{}, secret.Value{}, secret.Value{}, secret.Value{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, _, err := vault.LoadSettings(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others read: got %v", err)
	}
}

func TestSettingsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), vault.SettingsFile)
	if err := settings().Save(path); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vault.ParseSettings(good); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(string) string{
		"nothing":        func(string) string { return "" },
		"another type":   func(string) string { return `["canary"]` },
		"a key unknown":  func(s string) string { return strings.Replace(s, `"url"`, `"canary": 1, "url"`, 1) },
		"more after it":  func(s string) string { return s + "{}" },
		"cut":            func(s string) string { return s[:len(s)/2] },
		"too large":      func(s string) string { return s + strings.Repeat(" ", 3<<20) },
		"plain http":     func(s string) string { return strings.Replace(s, "https://", "http://", 1) },
		"two lines":      func(s string) string { return strings.Replace(s, "canary-sid", `canary\nsid`, 1) },
		"no secret id":   func(s string) string { return strings.Replace(s, "canary-sid", "", 1) },
		"a path upwards": func(s string) string { return strings.Replace(s, `"metalward"`, `"../x"`, 1) },
		"no CA":          func(s string) string { return strings.Replace(s, `"role_id"`, `"ca": "canary", "role_id"`, 1) },
		"an accessor":    func(s string) string { return strings.Replace(s, "acc-0", `acc\u0007`, 1) },
		"a role name":    func(s string) string { return strings.Replace(s, `"role": "site"`, `"role": "a/b"`, 1) },
	} {
		text := change(string(good))
		if text == string(good) {
			t.Errorf("%s: nothing was changed", what)
		}
		_, err := vault.ParseSettings([]byte(text))
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want invalid", what, err)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v quotes the file", what, err)
		}
	}
}

// FuzzSettings takes any file apart; what it takes can be written and read again.
func FuzzSettings(f *testing.F) {
	path := filepath.Join(f.TempDir(), vault.SettingsFile)
	if err := settings().Save(path); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(good), "{}", "[]", `{"url":"https://a"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := vault.ParseSettings(data)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v, want invalid", err)
			}
			return
		}
		path := filepath.Join(t.TempDir(), "f")
		if err := s.Save(path); err != nil {
			t.Fatalf("took what it cannot write: %v", err)
		}
		again, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		back, err := vault.ParseSettings(again)
		if err != nil || !back.Current.SecretID.Equal(s.Current.SecretID) || back.Place() != s.Place() || !bytes.Equal(back.CA, s.CA) {
			t.Errorf("got another back: %v", err)
		}
	})
}
