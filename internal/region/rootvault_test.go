package region

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
	"github.com/metalward/metalward/internal/vault/vaulttest"
)

// TestRootInVault has Vault's transit engine encrypt the root key: without Vault's consent the region does not open, and what its disk
// has is worth nothing.
func TestRootInVault(t *testing.T) {
	fake := vaulttest.NewFake()
	server := vaulttest.Serve(t, fake)
	policy := vaulttest.SitePolicy("secret", "metalward").With(vaulttest.TransitPolicy("root")).With(vaulttest.RotatePolicy("region"))
	role := fake.SetRole(t, "region", policy, time.Hour, time.Hour)
	fake.MakeKey(t, "root")
	c := config.Region{StateDir: t.TempDir()}
	at := func(name string) string { return filepath.Join(c.StateDir, name) }
	r, err := opens(t, c)
	must(t, err)
	key, err := os.ReadFile(at(rootKeyFile))
	must(t, err)
	if err := r.SealRootVault(t.Context(), "transit", "root"); !fault.Is(err, fault.Conflict) {
		t.Errorf("without a Vault: got %v", err)
	}
	setup := secrets.Setup{Dir: c.StateDir, Now: time.Now}
	_, err = setup.Configure(t.Context(), secrets.VaultRequest{URL: server.URL, CA: server.CA, RoleID: role, Token: secret.FromString(fake.Wrap(t, "region")), Mount: "secret", Path: "metalward"})
	must(t, err)
	for name, kind := range map[string]fault.Kind{"none": fault.Forbidden, "a/b": fault.Invalid} {
		if err := r.SealRootVault(t.Context(), "transit", name); !fault.Is(err, kind) {
			t.Errorf("key %s: got %v, want kind %s", name, err, kind)
		}
	}
	has := func(name string, want bool) {
		t.Helper()
		if _, err := os.Stat(at(name)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
	has(rootKeyFile, true)
	must(t, r.SealRootVault(t.Context(), "transit", "root"))
	has(rootKeyFile, false)
	wrapped, err := os.ReadFile(at(vault.RootFile))
	must(t, err)
	if info, err := os.Stat(at(vault.RootFile)); err != nil || info.Mode().Perm() != 0o600 || strings.Contains(string(wrapped), strings.TrimSpace(string(key))) {
		t.Errorf("got mode %v, %v, or the key in it", info.Mode(), err)
	}
	r, err = opens(t, c)
	must(t, err)
	if s, err := r.RootStatus(); err != nil || s.Kind != RootInVault || s.Both {
		t.Errorf("got %+v, %v", s, err)
	}
	fake.MakeKey(t, "root") // rotated in Vault
	must(t, r.SealRootVault(t.Context(), "transit", "root"))
	if again, err := os.ReadFile(at(vault.RootFile)); err != nil || string(again) == string(wrapped) {
		t.Errorf("the key's new version encrypted nothing: %v", err)
	}
	if _, err := setup.Revoke(t.Context(), false); !fault.Is(err, fault.Conflict) {
		t.Errorf("revoke while the region needs Vault: got %v", err)
	}
	server.Spoil(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	if _, err := opens(t, c); !fault.Is(err, fault.Unavailable) {
		t.Errorf("with Vault away: got %v", err)
	}
	server.Spoil(nil)
	must(t, os.WriteFile(at(vault.RootFile), []byte(strings.Replace(string(wrapped), "vault:v1:", "vault:v1:AAAA", 1)), 0o600))
	if _, err := opens(t, c); !fault.Is(err, fault.Invalid) {
		t.Errorf("with another ciphertext: got %v", err)
	}
	must(t, os.WriteFile(at(vault.RootFile), wrapped, 0o600)) // under the key's first version, which Vault allows still
	must(t, os.WriteFile(at(rootKeyFile), key, 0o600))        // broken off before root.key went
	r, err = opens(t, c)
	must(t, err)
	if s, err := r.RootStatus(); err != nil || !s.Both || s.Kind != RootInFile {
		t.Errorf("with both: got %+v, %v", s, err)
	}
	// What the TPM sealed once, before the key was rotated perhaps, and what a crash left of root.key, must not outlive it.
	must(t, os.WriteFile(at(rootSealedFile), []byte("of long ago"), 0o600))
	must(t, os.WriteFile(at(rootKeyFile+".1700000000.tmp"), key, 0o600))
	must(t, r.SealRootVault(t.Context(), "transit", "root"))
	has(rootKeyFile, false)
	has(rootSealedFile, false)
	has(rootKeyFile+".1700000000.tmp", false)
	fake.SetRole(t, "region", vaulttest.SitePolicy("secret", "metalward"), time.Hour, time.Hour) // the consent is withdrawn
	if _, err := opens(t, c); !fault.Is(err, fault.Forbidden) {
		t.Errorf("without consent: got %v", err)
	}
	has(rootKeyFile, false)
	fake.SetRole(t, "region", policy, time.Hour, time.Hour)
	r, err = opens(t, c)
	must(t, err)
	must(t, r.UnsealRoot(t.Context()))
	has(rootKeyFile, true)
	has(vault.RootFile, false)
	if again, err := os.ReadFile(at(rootKeyFile)); err != nil || string(again) != string(key) {
		t.Errorf("got another root key back: %v", err)
	}
	if _, err := setup.Revoke(t.Context(), false); err != nil {
		t.Error(err)
	}
}
