package vault

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/vault/vaulttest"
)

// TestCommands takes a site to a real Vault and back with the program itself, as an operator does: cmd/metalward has the same over the
// Vault in memory.
func TestCommands(t *testing.T) {
	dir, files := t.TempDir(), t.TempDir()
	program := filepath.Join(files, "metalward")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./cmd/metalward")
	build.Dir, build.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r := newCore(t)
	r.init(t)
	server := vaulttest.Serve(t, r)
	role := r.SetRole(t, "region1", vaulttest.SitePolicy("secret", "metalward").With(vaulttest.RotatePolicy("region1")), time.Hour, 2*time.Hour)
	ca := filepath.Join(files, "ca.pem")
	if err := os.WriteFile(ca, server.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	do := func(stdin, want string, ok bool, args ...string) {
		t.Helper()
		cmd := exec.Command(program, append([]string{"config-vault", args[0], "--state-dir", dir}, args[1:]...)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if (err == nil) != ok {
			t.Errorf("config-vault %s: got %v: %s", args[0], err, out)
		}
		for w := range strings.SplitSeq(want, "|") {
			if !strings.Contains(string(out), w) {
				t.Errorf("config-vault %s: got no %q in: %s", args[0], w, out)
			}
		}
	}
	wrapped := r.Wrap(t, "region1")
	do(wrapped, "They stay in the database", true, "configure", "--cacert", ca, server.URL, role, "-", "metalward")
	do(wrapped, "", true, "configure", "--cacert", ca, server.URL, role, "-", "metalward") // a script that is run again
	do("", "were moved to Vault", true, "migrate", "--yes")
	do("", "status: enabled|secrets_in_database: 0|health: ok", true, "status")
	do("", "new secret id", true, "rotate")
	do(r.Wrap(t, "region1"), "new secret id", true, "rotate", "-")
	do("", "status: enabled|health: ok|secret_ids_to_destroy: 0", true, "status")
	do(wrapped, "used before", false, "rotate", "-") // what was used two rotations ago
	r.Seal(t)
	do("", "Vault", false, "status") // nothing starts without Vault
	r.Unseal(t)
	do("", "Bring them back first", false, "revoke", "--yes")
	do("", "back to the database", true, "rollback", "--yes")
	do("", "status: disabled|secrets_in_vault: 0", true, "status")
	do("", "no Vault any more", true, "revoke", "--yes")
	do("", "status: disabled", true, "status")
	if code, body := r.ask("LIST", "auth/approle/role/region1/secret-id", nil, 0); code != 404 {
		t.Errorf("secret ids are left: %d %s", code, body)
	}
}
