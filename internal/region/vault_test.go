package region

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
	"github.com/metalward/metalward/internal/vault/vaulttest"
)

// TestVault gives a region that runs a Vault, moves its secrets there, and takes Vault away: the API, the health and the administrators
// are told, writes are refused with what to do about it, and reads go on.
func TestVault(t *testing.T) {
	regiontest.Slow(t)
	c := &clock{}
	s := newSurfaceWith(t, func(o *Options) { o.Now = c.now })
	s.now = c.now
	fake := vaulttest.NewFake()
	fake.Now = c.now
	server := vaulttest.Serve(t, fake)
	role := fake.SetRole(t, "region", vaulttest.SitePolicy("secret", "metalward"), 48*time.Hour, 48*time.Hour)
	s.running()
	read := func() map[string]any { t.Helper(); return s.must("admin", "GET", "/vault/") }
	if o := read(); o["status"] != "disabled" || o["secrets_in_vault"] != 0.0 {
		t.Errorf("got %v", o)
	}
	ctx := authz.AsSystem(t.Context(), "test")
	_, err := secrets.Setup{Dir: s.dir, Now: c.now}.Configure(ctx, secrets.VaultRequest{URL: server.URL, CA: server.CA, RoleID: role, Token: secret.FromString(fake.Wrap(t, "region")), Mount: "secret", Path: "metalward"})
	must(t, err)
	region := func() map[string]any {
		t.Helper()
		return read()["regions"].([]any)[0].(map[string]any)
	}
	eventually(t, "the region that runs notices its Vault", func() bool { return region()["configured"] == true })
	_, err = s.r.Secrets.Migrate(ctx, nil)
	must(t, err)
	machine := []string{"architecture", "amd64", "mac_addresses", "52:54:00:00:00:01", "power_type", "ipmi", "power_parameters_power_address", "10.0.0.1", "power_parameters_power_pass", "canary-bmc"}
	id := s.must("admin", "POST", "/machines/", machine...)["system_id"].(string)
	if o := read(); o["status"] != "enabled" || o["secrets_in_database"] != 0.0 || o["secrets_in_vault"].(float64) < 5 {
		t.Errorf("migrated: got %v", o)
	}
	if got := s.knows("the Vault server"); got == "" || got == "expired" {
		t.Errorf("Vault's certificate is %q among those that the site depends on", got)
	}
	if rec := s.call("alice", "GET", "/vault/"); rec.Code != http.StatusForbidden {
		t.Errorf("somebody without rights: got %d", rec.Code)
	}

	server.Spoil(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	must(t, s.r.Secrets.Check(ctx))
	c.ahead.Add(int64(10 * time.Second))
	check := func() (state, text string) {
		t.Helper()
		for _, x := range s.must("admin", "GET", "/health/")["checks"].([]any) {
			if m := x.(map[string]any); m["name"] == "vault" {
				return m["state"].(string), m["text"].(string)
			}
		}
		return "", ""
	}
	if state, text := check(); state != "bad" || !strings.Contains(text, "away since") {
		t.Errorf("away: got %s %q", state, text)
	}
	if r := region(); r["health"] != string(vault.KeeperAway) || r["message"] == "" {
		t.Errorf("away: got %v", r)
	}
	told := func() bool {
		return strings.Contains(s.call("admin", "GET", "/notifications/").Body.String(), "Vault is not there")
	}
	if !told() {
		t.Error("administrators are not told")
	}
	rec := s.call("admin", "PUT", "/machines/"+id+"/", "power_parameters_power_pass", "canary-other")
	if rec.Code != http.StatusServiceUnavailable || !strings.Contains(rec.Body.String(), "nothing was changed") || rec.Header().Get("Retry-After") == "" {
		t.Errorf("a write: got %d %s, retry after %q", rec.Code, rec.Body, rec.Header().Get("Retry-After"))
	}
	s.must("admin", "GET", "/machines/"+id+"/", "op", "power_parameters")
	s.must("admin", "PUT", "/machines/"+id+"/", "description", "without a secret")

	server.Spoil(nil)
	must(t, s.r.Secrets.Check(ctx))
	c.ahead.Add(int64(10 * time.Second))
	if state, text := check(); state != "ok" || told() {
		t.Errorf("back: got %s %q, told still: %v", state, text, told())
	}
	s.must("admin", "PUT", "/machines/"+id+"/", "power_parameters_power_pass", "canary-other")
	_, err = s.r.Secrets.Rollback(ctx, nil)
	must(t, err)
	if o := read(); o["status"] != "disabled" || o["secrets_in_vault"] != 0.0 {
		t.Errorf("rolled back: got %v", o)
	}
}
