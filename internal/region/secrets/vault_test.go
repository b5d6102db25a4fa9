package secrets_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/providers"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
	"github.com/metalward/metalward/internal/vault/vaulttest"
)

// TestMain stops the database server that tests of this package share.
func TestMain(m *testing.M) {
	regiontest.Main(m)
}

// vaulted is a region beside a Vault in memory, which others may do things to.
type vaulted struct {
	t     *testing.T
	core  *regiontest.Core
	fake  *vaulttest.Fake
	site  *vaulttest.Site
	clock *regiontest.Clock
	role  string
	ctx   context.Context
}

const roleName = "region1"

func newVaulted(t *testing.T, dsn string, n int) *vaulted {
	t.Helper()
	clock := regiontest.NewClock()
	fake := vaulttest.NewFake()
	fake.Now = clock.Now
	v := &vaulted{t: t, fake: fake, site: vaulttest.Serve(t, fake), clock: clock, ctx: authz.AsSystem(t.Context(), "test")}
	v.role = fake.SetRole(t, roleName, vaulttest.SitePolicy("secret", "metalward").With(vaulttest.RotatePolicy(roleName)), 24*time.Hour, 24*time.Hour)
	dir := t.TempDir()
	if dsn == "" {
		dsn = filepath.Join(dir, "metalward.db")
	}
	v.core = regiontest.Open(t, dir, dsn, clock.Now)
	for i := range n {
		v.set(fmt.Sprintf("x/%d", i), fmt.Sprintf("canary value %d", i))
	}
	v.set("x/large", strings.Repeat("canary large ", 20000))
	return v
}

func (v *vaulted) setup() secrets.Setup {
	return secrets.Setup{Dir: v.core.Dir, Now: v.clock.Now}
}

func (v *vaulted) request() secrets.VaultRequest {
	return secrets.VaultRequest{URL: v.site.URL, CA: v.site.CA, RoleID: v.role, Token: secret.FromString(v.fake.Wrap(v.t, roleName)), Mount: "secret", Path: "metalward"}
}

// configure gives the region its Vault.
func (v *vaulted) configure() {
	v.t.Helper()
	if _, err := v.setup().Configure(v.ctx, v.request()); err != nil {
		v.t.Fatal(err)
	}
	v.follow()
}

func (v *vaulted) follow() {
	v.t.Helper()
	if err := v.core.Secrets.Follow(v.ctx); err != nil {
		v.t.Fatal(err)
	}
}

func (v *vaulted) put(name, value string) error {
	return v.core.Gate.Do(v.ctx, authz.SiteKeys, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		sealed, err := v.core.Keys.Seal(secret.Ref(name), secret.FromString(value))
		if err != nil {
			return err
		}
		return c.Tx().PutSecret(target, secret.Ref(name), sealed, c.Now())
	})
}

func (v *vaulted) set(name, value string) {
	v.t.Helper()
	if err := v.put(name, value); err != nil {
		v.t.Fatal(err)
	}
}

// values opens all that the database names.
func values(t *testing.T, core *regiontest.Core) map[string]string {
	t.Helper()
	got := map[string]string{}
	var rows []store.SealedSecret
	core.View(t, func(v *store.View) (err error) { rows, err = v.Secrets("", 1000); return err })
	for _, row := range rows {
		value, err := core.Keys.OpenNow(t.Context(), row.Ref, row.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		got[string(row.Ref)] = value.RevealString()
	}
	return got
}

func (v *vaulted) same(when string, want map[string]string) {
	v.t.Helper()
	got := values(v.t, v.core)
	for name, value := range want {
		if got[name] != value {
			v.t.Errorf("%s: %s is not what it was", when, name)
		}
	}
	if len(got) != len(want) {
		v.t.Errorf("%s: got %d secrets, want %d", when, len(got), len(want))
	}
}

func (v *vaulted) status() secrets.VaultStatus {
	v.t.Helper()
	st, err := v.core.Secrets.VaultStatus(v.core.Admin(v.t))
	if err != nil {
		v.t.Fatal(err)
	}
	return st
}

// TestVault takes a site to Vault and back, on both engines.
func TestVault(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		v := newVaulted(t, dsn, 5)
		s := v.core.Secrets
		want := values(t, v.core)
		if _, err := s.Migrate(v.ctx, nil); !fault.Is(err, fault.Conflict) {
			t.Errorf("without a Vault: got %v", err)
		}
		v.configure()
		if st := v.status(); st.Backend != secrets.InDatabase || st.InVault != 0 || st.InDatabase != len(want) || st.Place == "" {
			t.Errorf("configured: got %+v", st)
		}
		n, err := s.Migrate(v.ctx, nil)
		if err != nil || n != len(want) {
			t.Fatalf("moved %d of %d, %v", n, len(want), err)
		}
		if st := v.status(); st.Backend != secrets.InVault || st.InVault != len(want) || st.InDatabase != 0 {
			t.Errorf("migrated: got %+v", st)
		}
		if len(v.fake.Entries()) != len(want) {
			t.Errorf("got %d entries in Vault, want %d", len(v.fake.Entries()), len(want))
		}
		v.same("in Vault", want)
		v.set("x/1", "newer")
		want["x/1"] = "newer"
		if st := v.status(); st.InDatabase != 0 {
			t.Errorf("a new value went into the database: %+v", st)
		}
		again := regiontest.Open(t, v.core.Dir, v.core.DSN, v.clock.Now) // as a region that starts
		if got := values(t, again); !maps.Equal(got, want) {
			t.Errorf("after a start got %d secrets, want %d", len(got), len(want))
		}
		if err := s.Revocable(v.ctx); !fault.Is(err, fault.Conflict) {
			t.Errorf("revocable: got %v", err)
		}
		if n, err := s.Rollback(v.ctx, nil); err != nil || n != len(want) {
			t.Fatalf("moved %d of %d back, %v", n, len(want), err)
		}
		v.same("back", want)
		if st := v.status(); st.Backend != secrets.InDatabase || st.InVault != 0 || st.InDatabase != len(want) {
			t.Errorf("back: got %+v", st)
		}
		v.clock.Advance(vault.Grace)
		if n, err := s.Collect(v.ctx); n != 0 || err != nil {
			t.Errorf("collected %d that a backup of today refers to, %v", n, err)
		}
		v.clock.Advance(vault.Grace)
		if n, err := s.Collect(v.ctx); n != len(want)+1 || err != nil || len(v.fake.Entries()) != 0 { // with the value that was replaced
			t.Errorf("collected %d, %v; %v are left", n, err, v.fake.Entries())
		}
		if err := s.Revocable(v.ctx); err != nil {
			t.Fatal(err)
		}
		if left, err := v.setup().Revoke(v.ctx, false); err != nil || len(left) != 0 || len(v.fake.Accessors(roleName)) != 0 {
			t.Errorf("got %v, %v; Vault has %v", left, err, v.fake.Accessors(roleName))
		}
		v.follow()
		if st := v.status(); st.Place != "" {
			t.Errorf("revoked: got %+v", st)
		}
		v.same("without Vault", want)
		var changes []string
		for _, e := range v.core.Trail(t) {
			if e.Action == string(authz.SecretsEdit) {
				changes = append(changes, e.Outcome+" "+e.Detail["change"]+e.Detail["backend"])
			}
			if strings.Contains(fmt.Sprint(e), "canary") {
				t.Errorf("a secret is in the trail: %v", e)
			}
		}
		for _, want := range []string{"success Vault configured", "success vault", "success database", "success Vault revoked"} {
			if !slices.Contains(changes, want) {
				t.Errorf("the trail lacks %q: %v", want, changes)
			}
		}
	})
}

// TestVaultOtherRegions: a site moves when each of its regions has the same place of Vault.
func TestVaultOtherRegions(t *testing.T) {
	v := newVaulted(t, "", 5)
	v.configure()
	other := metal.Controller{SystemID: "otherotherother2", Hostname: "other", Type: metal.NodeRegionController, Created: v.clock.Now(), LastSeen: v.clock.Now()}
	err := v.core.Gate.Do(v.ctx, authz.RackEnrol, func(c *gate.Call) error {
		return errors.Join(c.Require(store.ControllerTarget(other.SystemID)), c.Tx().AddController(other))
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.core.Secrets.Migrate(v.ctx, nil); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), "other") {
		t.Errorf("one without: got %v", err)
	}
	if st := v.status(); len(st.Unconfigured) != 1 || st.Unconfigured[0] != "other" {
		t.Errorf("got %v", st.Unconfigured)
	}
	put := func(place string) {
		err := v.core.Gate.Do(v.ctx, authz.SecretsEdit, func(c *gate.Call) error {
			return errors.Join(c.Require(target), c.Tx().PutVaultRegion(target, store.VaultRegion{Region: other.SystemID, Place: place}))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("https://elsewhere")
	if _, err := v.core.Secrets.Migrate(v.ctx, nil); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.Message(err), "elsewhere") {
		t.Errorf("another place: got %v", err)
	}
	if st := v.status(); st.Backend != secrets.InDatabase || st.InVault != 0 {
		t.Errorf("refused, and then: got %+v", st)
	}
	put(v.status().Place)
	if _, err := v.core.Secrets.Migrate(v.ctx, nil); err != nil {
		t.Error(err)
	}
	if _, err := v.core.Secrets.VaultStatus(v.core.User(t, "alice", false)); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a user without rights: got %v", err)
	}
}

// TestVaultTwoRegions has two regions on one database, one of which has not heard of the migration yet: what it writes stays in the
// database, opens in both, and goes to Vault when the walk comes again.
func TestVaultTwoRegions(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		v := newVaulted(t, dsn, 2)
		v.configure()
		dir := t.TempDir()
		for _, name := range []string{"root.key", "shared-secret"} {
			data, err := os.ReadFile(filepath.Join(v.core.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		other := *v
		other.core = regiontest.Open(t, dir, v.core.DSN, v.clock.Now)
		other.configure()
		if _, err := v.core.Secrets.Migrate(v.ctx, nil); err != nil {
			t.Fatal(err)
		}
		other.set("x/late", "late")
		want := values(t, v.core)
		if st := v.status(); st.InDatabase != 1 || want["x/late"] != "late" {
			t.Errorf("got %+v", st)
		}
		other.same("in the other region", want)
		other.follow()
		other.set("x/later", "later")
		if moved, err := other.core.Secrets.Reseal(v.ctx, nil); err != nil || moved != 1 {
			t.Errorf("moved %d, %v", moved, err)
		}
		want["x/later"] = "later"
		v.same("in the first region", want)
		if st := v.status(); st.InDatabase != 0 {
			t.Errorf("got %+v", st)
		}
		if _, err := other.core.Secrets.Rollback(v.ctx, nil); err != nil {
			t.Error(err)
		}
		v.same("rolled back by the other", want)
	})
}

// TestVaultConfigure refuses what would not work, and spends no token on it.
func TestVaultConfigure(t *testing.T) {
	v := newVaulted(t, "", 5)
	path := filepath.Join(v.core.Dir, vault.SettingsFile)
	good := v.request()
	for what, change := range map[string]func(*secrets.VaultRequest){
		"plain http": func(q *secrets.VaultRequest) { q.URL = "http://vault.example" }, "a path": func(q *secrets.VaultRequest) { q.Path = "../x" },
		"a CA": func(q *secrets.VaultRequest) { q.CA = []byte("none") }, "a role": func(q *secrets.VaultRequest) { q.RoleID = "" }, "no token": func(q *secrets.VaultRequest) { q.Token = secret.Value{} },
	} {
		q := good
		change(&q)
		if _, err := v.setup().Configure(v.ctx, q); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: got %v, want invalid", what, err)
		}
	}
	if v.site.Count("unwrap") != 0 {
		t.Error("a token was spent on what is wrong otherwise")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("there are settings")
	}
	poor := good
	poor.Path = "elsewhere" // which the policy does not allow
	if _, err := v.setup().Configure(v.ctx, poor); !fault.Is(err, fault.Forbidden) {
		t.Errorf("without rights: got %v", err)
	}
	if got, ok, err := vault.LoadSettings(path); err != nil || !ok || !got.Current.SecretID.Empty() || got.Next.SecretID.Empty() {
		t.Errorf("what was unwrapped is not written down: %v, %v", ok, err)
	}
	v.follow()
	if st := v.status(); st.Place != "" {
		t.Errorf("it is in use all the same: %+v", st)
	}
	v.fake.SetRole(t, roleName, vaulttest.SitePolicy("secret", "elsewhere"), time.Hour, time.Hour)
	poor.Token = secret.Value{} // goes on with what was unwrapped
	set, err := v.setup().Configure(v.ctx, poor)
	if err != nil || set.Current.SecretID.Empty() || v.site.Count("unwrap") != 1 {
		t.Errorf("with the right: got %v after %d tokens", err, v.site.Count("unwrap"))
	}
	moved := v.request()
	if _, err := v.setup().Configure(v.ctx, moved); !fault.Is(err, fault.Conflict) {
		t.Errorf("another place while there is one: got %v", err)
	}
	stolen := v.request()
	server := v.site.Connect(t, nil)
	if _, err := server.Unwrap(v.ctx, stolen.Token); err != nil {
		t.Fatal(err)
	}
	stolen.Path = "elsewhere"
	if _, err := v.setup().Configure(v.ctx, stolen); !errors.Is(err, vault.ErrUsed) {
		t.Errorf("a token that somebody used: got %v, want ErrUsed", err)
	}
}

// TestVaultRotate replaces the secret id in the three ways there are; the region notices and nothing is read meanwhile by the old one.
func TestVaultRotate(t *testing.T) {
	v := newVaulted(t, "", 5)
	v.configure()
	if _, err := v.core.Secrets.Migrate(v.ctx, nil); err != nil {
		t.Fatal(err)
	}
	want := values(t, v.core)
	was := v.fake.Accessors(roleName)
	for name, token := range map[string]secret.Value{"by itself": {}, "wrapped": secret.FromString(v.fake.Wrap(t, roleName))} {
		v.clock.Advance(time.Hour)
		set, err := v.setup().Rotate(v.ctx, token)
		if err != nil || len(set.Retired) != 0 {
			t.Fatalf("%s: got %v, %v", name, set.Retired, err)
		}
		v.follow()
		v.fake.RevokeTokens(t)
		v.clock.Advance(vault.Fresh)
		v.same(name, want)
		if again, err := v.setup().Rotate(v.ctx, token); !token.Empty() && (err != nil || again.Current.Accessor != set.Current.Accessor) {
			t.Errorf("%s: again got %v", name, err)
		}
	}
	now := v.fake.Accessors(roleName)
	if len(now) != 2 && len(now) != 1 || slices.Contains(now, was[0]) {
		t.Errorf("got %d secret ids, and the first among them: %v", len(now), slices.Contains(now, was[0]))
	}
	v.fake.SetRole(t, roleName, vaulttest.SitePolicy("secret", "metalward"), time.Hour, time.Hour)
	v.clock.Advance(time.Hour)
	if _, err := v.setup().Rotate(v.ctx, secret.Value{}); !fault.Is(err, fault.Forbidden) || !strings.Contains(fault.Message(err), roleName) {
		t.Errorf("without the right: got %v", err)
	}
	set, err := v.setup().Rotate(v.ctx, secret.FromString(v.fake.Wrap(t, roleName)))
	if err != nil || len(set.Retired) != 1 {
		t.Errorf("a wrapped one without the right to destroy: got %v, %v", set.Retired, err)
	}
	v.follow()
	if st := v.status(); st.Secret.Retired != 1 {
		t.Errorf("got %+v", st.Secret)
	}
}

// TestNoRequestInTransaction has Vault look at each request whether a transaction is open. SQLite has one writer: a write of Vault's own
// would wait for it. PostgreSQL lists its sessions: none may be idle within a transaction, of reading neither.
func TestNoRequestInTransaction(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		v := newVaulted(t, dsn, 5)
		var asked, stuck atomic.Int64
		var sessions *sql.DB
		if store.IsPostgres(dsn) {
			var err error
			if sessions, err = sql.Open("pgx", dsn); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = sessions.Close() })
		}
		v.site.Spoil(func(http.ResponseWriter, *http.Request) bool {
			asked.Add(1)
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			err := v.core.Writer.Do(ctx, func(tx *store.Tx) error {
				return tx.PutNote(store.NotePrefix+"probe", []byte{1}, v.clock.Now())
			}, func(*store.Tx) error { return nil })
			if err == nil && sessions != nil {
				var idle int
				if err = sessions.QueryRowContext(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'").Scan(&idle); idle > 0 {
					err = errors.New("a transaction is open")
				}
			}
			if err != nil {
				stuck.Add(1)
			}
			return false
		})
		v.configure()
		if _, err := v.core.Secrets.Migrate(v.ctx, nil); err != nil {
			t.Fatal(err)
		}
		admin := v.core.Admin(t)
		v.clock.Advance(vault.Bridge)
		machine := &regiontest.Machine{Core: v.core, MAC: "52:54:00:00:00:01"}
		row := machine.Add(t, "one")
		v.clock.Advance(vault.Bridge)
		if _, _, err := v.core.Machines.PowerParameters(admin, row.SystemID); err != nil {
			t.Error(err)
		}
		// PostgreSQL gives out another id for a row each time that it is tried; the secret is named after it.
		name, hidden := "Corp", secret.FromString("canary client secret")
		people := providers.New(providers.Config{Gate: v.core.Gate, Now: v.clock.Now, Keys: v.core.Keys})
		p, err := people.Create(admin, metal.ProviderOIDC, providers.Edit{Name: &name, Fields: map[string]string{"issuer_url": "https://id.example", "client_id": "metalward", "redirect_uri": "https://region.example/cb"}, Secret: &hidden})
		if err != nil {
			t.Error(err)
		}
		var has bool
		v.core.View(t, func(view *store.View) (err error) {
			_, has, err = view.Secret(secret.Ref(fmt.Sprintf("provider/%d/client_secret", p.ID)))
			return err
		})
		if !has {
			t.Errorf("the secret of provider %d is not kept", p.ID)
		}
		if _, err := v.setup().Rotate(v.ctx, secret.Value{}); err != nil {
			t.Error(err)
		}
		if err := errors.Join(v.core.Secrets.Follow(v.ctx), v.core.Secrets.Check(v.ctx), v.core.Secrets.Warm(v.ctx)); err != nil {
			t.Error(err)
		}
		for range 2 {
			if _, err := v.core.Secrets.Collect(v.ctx); err != nil {
				t.Error(err)
			}
			v.clock.Advance(vault.Grace)
		}
		if _, err := v.core.Secrets.Rollback(v.ctx, nil); err != nil {
			t.Error(err)
		}
		if asked.Load() < 50 || stuck.Load() != 0 {
			t.Errorf("%d of %d requests came while a transaction was open", stuck.Load(), asked.Load())
		}
	})
}

// TestRunVaultSlow: reading secrets into memory, which takes minutes where there are many, keeps the region from nothing else.
func TestRunVaultSlow(t *testing.T) {
	v := newVaulted(t, "", 1)
	v.configure()
	if _, err := v.core.Secrets.Migrate(v.ctx, nil); err != nil {
		t.Fatal(err)
	}
	v.clock.Advance(vault.Bridge)
	asked, followed, gaveUp := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var once, end sync.Once
	v.site.Spoil(func(_ http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/data/") || strings.HasSuffix(r.URL.Path, "/check") {
			return false
		}
		once.Do(func() { close(asked) })
		select {
		case <-followed:
		case <-r.Context().Done():
			end.Do(func() { close(gaveUp) })
		}
		return false
	})
	ctx, cancel := context.WithCancel(v.ctx)
	done := make(chan struct{})
	go func() { defer close(done); v.core.Secrets.RunVault(ctx) }()
	defer func() { cancel(); <-done }()
	<-asked
	if err := os.Remove(filepath.Join(v.core.Dir, vault.SettingsFile)); err != nil {
		t.Fatal(err)
	}
	for v.core.Secrets.Link.Keeper() != nil {
		select {
		case <-gaveUp:
			t.Fatal("the settings were not looked at before the request had ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
	close(followed)
}

// TestVaultDump looks for secrets in what the disk has of the region, but for the root key: there are none, and with the root key
// alone nothing opens either.
func TestVaultDump(t *testing.T) {
	v := newVaulted(t, "", 5)
	v.configure()
	if _, err := v.core.Secrets.Migrate(v.ctx, nil); err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	if _, err := v.core.Reader.Dump(v.ctx, &dump); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(dump.String(), "canary") || dump.Len() < 1000 {
		t.Errorf("the dump of %d bytes shows a secret", dump.Len())
	}
	var rows []store.SealedSecret
	v.core.View(t, func(view *store.View) (err error) { rows, err = view.Secrets("", 1000); return err })
	for _, row := range rows {
		if _, err := v.core.Keys.Keyring().Open(row.Ref, row.Sealed); err == nil {
			t.Errorf("%s opens without Vault", row.Ref)
		}
	}
}

// setupOnly is a state folder beside a Vault, without a region.
type setupOnly struct {
	dir   string
	fake  *vaulttest.Fake
	site  *vaulttest.Site
	clock *regiontest.Clock
	role  string
	t     *testing.T
}

func newSetup(t *testing.T) *setupOnly {
	t.Helper()
	v := &setupOnly{dir: t.TempDir(), fake: vaulttest.NewFake(), clock: regiontest.NewClock(), t: t}
	v.fake.Now = v.clock.Now
	v.site = vaulttest.Serve(t, v.fake)
	v.role = v.fake.SetRole(t, roleName, vaulttest.SitePolicy("secret", "metalward").With(vaulttest.RotatePolicy(roleName)), 24*time.Hour, 24*time.Hour)
	return v
}

func (v *setupOnly) setup() secrets.Setup { return secrets.Setup{Dir: v.dir, Now: v.clock.Now} }

// request asks for a Vault by a wrapping token, or by a new one.
func (v *setupOnly) request(token string) secrets.VaultRequest {
	if token == "" {
		token = v.fake.Wrap(v.t, roleName)
	}
	return secrets.VaultRequest{URL: v.site.URL, CA: v.site.CA, RoleID: v.role, Token: secret.FromString(token), Mount: "secret", Path: "metalward"}
}
