package vault

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/secret/secrettest"
	client "github.com/metalward/metalward/internal/vault"
	"github.com/metalward/metalward/internal/vault/vaulttest"
)

// real is a Vault core, and the root token to administer it with.
type real struct {
	http.Handler
	core *vault.Core
	root string
	keys [][]byte
}

// plugins is a catalogue without plugins: the core looks there before it mounts anything, and panics on nil.
type plugins struct{}

func (plugins) Contains(string, consts.PluginType) bool { return false }
func (plugins) Get(string, consts.PluginType) (func() (any, error), bool) {
	return nil, false
}
func (plugins) Keys(consts.PluginType) []string { return nil }
func (plugins) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, true
}
func (plugins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

// newCore makes a Vault that is not initialized.
func newCore(t testing.TB) *real {
	t.Helper()
	log := hclog.NewNullLogger()
	disk, err := inmem.NewInmem(nil, log)
	if err != nil {
		t.Fatal(err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{Physical: disk, DisableMlock: true, Logger: log, BuiltinRegistry: plugins{},
		LogicalBackends: map[string]logical.Factory{"kv": kv.Factory}, CredentialBackends: map[string]logical.Factory{"approle": approle.Factory}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = core.Shutdown() })
	return &real{core: core, Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{}})}
}

func (r *real) init(t testing.TB) {
	t.Helper()
	res, err := r.core.Initialize(t.Context(), &vault.InitParams{BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}, RecoveryConfig: &vault.SealConfig{}})
	if err != nil {
		t.Fatal(err)
	}
	r.root, r.keys = res.RootToken, res.SecretShares
	r.Unseal(t)
	r.admin(t, "POST", "sys/mounts/secret", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}}, 0)
	r.admin(t, "POST", "sys/mounts/old", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}}, 0)
	r.admin(t, "POST", "sys/auth/approle", map[string]any{"type": "approle"}, 0)
	// The engine upgrades itself after it is mounted, and refuses meanwhile.
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if code, _ := r.ask("GET", "secret/config", nil, 0); code == http.StatusOK {
			return
		} else if time.Now().After(end) {
			t.Fatalf("the KV engine does not start: status %d", code)
		}
	}
}

func (r *real) ask(method, path string, in any, wrap time.Duration) (int, []byte) {
	body, _ := json.Marshal(in) // maps of texts
	req := httptest.NewRequest(method, "/v1/"+path, bytes.NewReader(body))
	req.Header.Set("X-Vault-Token", r.root)
	if wrap > 0 {
		req.Header.Set("X-Vault-Wrap-TTL", wrap.String())
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w.Code, w.Body.Bytes()
}

// said is what the administrator's requests answer.
type said struct {
	Data struct {
		RoleID string `json:"role_id"`
	}
	Wrap struct {
		Token string
	} `json:"wrap_info"`
}

func (r *real) admin(t testing.TB, method, path string, in any, wrap time.Duration) (out said) {
	t.Helper()
	code, body := r.ask(method, path, in, wrap)
	if code != http.StatusOK && code != http.StatusNoContent {
		t.Fatalf("%s %s: got %d %s", method, path, code, body)
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func (r *real) SetRole(t testing.TB, name string, p vaulttest.Policy, ttl, most time.Duration) string {
	t.Helper()
	r.admin(t, "POST", "sys/policies/acl/"+name, map[string]any{"policy": p.HCL()}, 0)
	r.admin(t, "POST", "auth/approle/role/"+name, map[string]any{"token_policies": name, "token_ttl": ttl.String(), "token_max_ttl": most.String()}, 0)
	return r.admin(t, "GET", "auth/approle/role/"+name+"/role-id", nil, 0).Data.RoleID
}

func (r *real) Wrap(t testing.TB, name string) string {
	t.Helper()
	return r.admin(t, "POST", "auth/approle/role/"+name+"/secret-id", map[string]any{}, time.Minute).Wrap.Token
}

func (r *real) WrapOther(t testing.TB) string {
	t.Helper()
	return r.admin(t, "POST", "sys/wrapping/wrap", map[string]any{"secret_id": "x"}, time.Minute).Wrap.Token
}

func (r *real) RevokeSecretID(t testing.TB, name, accessor string) {
	t.Helper()
	r.admin(t, "POST", "auth/approle/role/"+name+"/secret-id-accessor/destroy", map[string]any{"secret_id_accessor": accessor}, 0)
}

func (r *real) RevokeTokens(t testing.TB) {
	t.Helper()
	r.admin(t, "POST", "sys/leases/revoke-prefix/auth/approle/login", map[string]any{"sync": true}, 0)
}

func (r *real) Seal(t testing.TB) {
	t.Helper()
	if err := r.core.Seal(r.root); err != nil {
		t.Fatal(err)
	}
}

func (r *real) Unseal(t testing.TB) {
	t.Helper()
	for _, key := range r.keys {
		if _, err := r.core.Unseal(key); err != nil {
			t.Fatal(err)
		}
	}
	if r.core.Sealed() {
		t.Fatal("the core stays sealed")
	}
}

// TestReal runs the suite against a real Vault; internal/vault runs it against the one in memory.
func TestReal(t *testing.T) {
	r := newCore(t)
	vaulttest.Uninitialized(t, r)
	r.init(t)
	vaulttest.Suite(t, r)
}

// TestKeeper runs the suite of back ends of secrets over a real Vault, as internal/vault does over the one in memory.
func TestKeeper(t *testing.T) {
	r := newCore(t)
	r.init(t)
	v := vaulttest.Serve(t, r).Connect(t, nil)
	role := r.SetRole(t, "site", vaulttest.SitePolicy("secret", "site"), time.Hour, time.Hour)
	id, err := v.Unwrap(t.Context(), secret.FromString(r.Wrap(t, "site")))
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.NewClient(client.Role{ID: role, SecretID: id.Value, Mount: "secret", Prefix: "site"})
	if err != nil {
		t.Fatal(err)
	}
	var later time.Duration
	keeper := func(key byte) *client.Keeper {
		now := func() time.Time { return time.Now().Add(later) }
		k, err := client.NewKeeper(client.KeeperConfig{Client: c, Site: "site1", Key: bytes.Repeat([]byte{key}, 32), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := keeper(1)
	secrettest.Suite(t, k, keeper(2))
	kept, err := k.Seal(t.Context(), "a", secret.FromString("x"))
	if err != nil {
		t.Fatal(err)
	}
	name, _ := client.ID(kept)
	used := func() (map[string]bool, error) { return map[string]bool{name: true}, nil }
	if n, err := k.Collect(t.Context(), used); n != 0 || err != nil {
		t.Errorf("at first sight: got %d removed, %v", n, err)
	}
	later = client.Grace + time.Minute
	if n, err := k.Collect(t.Context(), used); n < 20 || err != nil {
		t.Errorf("a day after: got %d removed, %v", n, err)
	}
	left := 0
	for path, err := range c.List(t.Context(), "") {
		if err != nil || path != "site1/"+name {
			t.Errorf("%s is left, %v", path, err)
		}
		left++
	}
	if left != 1 {
		t.Errorf("%d are left, want 1", left)
	}
}

// TestVersion1 has a KV engine of version 1 refused, which would take any request and keep no versions.
func TestVersion1(t *testing.T) {
	r := newCore(t)
	r.init(t)
	vaulttest.WrongEngine(t, r, "old")
}

// TestDeletedVersion has what others did with Vault's own tools look as it is: a version that they deleted or destroyed is absent,
// and fields that they wrote may not be text.
func TestDeletedVersion(t *testing.T) {
	r := newCore(t)
	r.init(t)
	v := vaulttest.Serve(t, r).Connect(t, nil)
	role := r.SetRole(t, "site", vaulttest.SitePolicy("secret", "site"), time.Hour, time.Hour)
	id, err := v.Unwrap(t.Context(), secret.FromString(r.Wrap(t, "site")))
	if err != nil {
		t.Fatal(err)
	}
	c, err := v.NewClient(client.Role{ID: role, SecretID: id.Value, Mount: "secret", Prefix: "site"})
	if err != nil {
		t.Fatal(err)
	}
	for version := range 3 {
		if _, err := c.Put(t.Context(), "a", client.Fields{"secret": secret.FromString("x")}, version); err != nil {
			t.Fatal(err)
		}
	}
	r.admin(t, "DELETE", "secret/data/site/a", nil, 0)
	r.admin(t, "POST", "secret/destroy/site/a", map[string]any{"versions": []int{1}}, 0)
	for version, ok := range []bool{false, false, true, false} {
		if got, err := c.Get(t.Context(), "a", version); (err == nil) != ok || err != nil && !fault.Is(err, fault.NotFound) {
			t.Errorf("version %d: got %v, %v", version, got, err)
		}
	}
	if n, err := c.Put(t.Context(), "a", client.Fields{"secret": secret.FromString("x")}, 3); n != 4 {
		t.Errorf("after the last was deleted: got version %d, %v", n, err)
	}
	r.admin(t, "POST", "secret/data/site/a", map[string]any{"data": map[string]any{"secret": 7}}, 0)
	if got, err := c.Get(t.Context(), "a", 0); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a number: got %v, %v", got, err)
	}
}

// BenchmarkVault is that of test/bench over a real Vault's core, which keeps everything in memory.
func BenchmarkVault(b *testing.B) {
	r := newCore(b)
	r.init(b)
	vaulttest.Benchmark(b, r)
}
