package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/vault"
	"github.com/metalward/metalward/internal/vault/vaulttest"
)

// TestConfigVault goes through the commands on a region's host, with a Vault in memory.
func TestConfigVault(t *testing.T) {
	fake := vaulttest.NewFake()
	server := vaulttest.Serve(t, fake)
	role := fake.SetRole(t, "region", vaulttest.SitePolicy("secret", "metalward").With(vaulttest.RotatePolicy("region")), time.Hour, time.Hour)
	dir, files := t.TempDir(), t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca, none := write("ca.pem", string(server.CA)), write("empty", "")
	// do runs a command with a standard input, and returns what it writes.
	do := func(stdin, want string, code int, args ...string) {
		t.Helper()
		in, err := os.Open(write("stdin", stdin))
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(files, "out"))
		if err != nil {
			t.Fatal(err)
		}
		wasIn, wasOut, wasErr := os.Stdin, os.Stdout, os.Stderr
		os.Stdin, os.Stdout, os.Stderr = in, out, out
		got := run(append([]string{"config-vault", args[0], "--state-dir", dir}, args[1:]...))
		os.Stdin, os.Stdout, os.Stderr = wasIn, wasOut, wasErr
		if _, err := out.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(out)
		if err != nil {
			t.Fatal(err)
		}
		for w := range strings.SplitSeq(want, "|") {
			if !strings.Contains(string(text), w) {
				t.Errorf("config-vault %s: got no %q in: %s", args[0], w, text)
			}
		}
		if got != code {
			t.Errorf("config-vault %s: got code %d, want %d: %s", args[0], got, code, text)
		}
	}
	wrap := func() string { return fake.Wrap(t, "region") }
	do("", "usage:", 2, "nothing")
	do("", "status: disabled", 0, "status")
	do("", "configure first", 1, "migrate", "--yes")
	do("", "wrapping token", 2, "configure", "--cacert", ca, "--token-file", none, server.URL, role, "metalward")
	do("", "https://", 2, "configure", "http://vault.example", role, wrap(), "metalward")
	do(wrap()+"\n", "until metalward config-vault migrate", 0, "configure", "--cacert", ca, server.URL, role, "-", "metalward")
	do("", "status: disabled|health: ok|secrets_in_vault: 0", 0, "status")
	do("n\n", "nothing was changed", 1, "migrate")
	do("", "were moved to Vault", 0, "migrate", "--yes")
	do("", "status: enabled|secrets_in_database: 0", 0, "status")
	do("", "Bring them back first", 1, "revoke", "--yes")
	do("", "new secret id", 0, "rotate")
	do("", "new secret id", 0, "rotate", "--token-file", write("token", wrap()))
	do("", "new secret id", 0, "rotate", wrap())
	if err := os.Remove(filepath.Join(dir, vault.SettingsFile)); err != nil { // as on the host of another region of the site
		t.Fatal(err)
	}
	do("", "not configured", 1, "status")
	do("", "until metalward", 0, "configure", "--cacert", ca, server.URL, role, wrap(), "metalward", "--mount", "secret")
	do("", "status: enabled", 0, "status")
	do("", "back to the database", 0, "rollback", "--yes")
	do("", "no Vault any more", 0, "revoke", "--yes")
	do("", "status: disabled", 0, "status")
	server.Close()
	do("", "status: disabled", 0, "status")
}
