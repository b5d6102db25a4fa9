package store_test

import (
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// testVault keeps where secrets go, and which Vault each region has.
func testVault(d *db) {
	of := authz.Target{Noun: authz.NounSite, ID: "site"}
	type choice struct {
		Backend string
		Since   time.Time
	}
	chosen := func() choice {
		return read(d, func(v *store.View) (c choice, err error) { c.Backend, c.Since, err = v.SecretBackend(); return c, err })
	}
	d.same(chosen(), choice{})
	for i, backend := range []string{"vault", "database"} {
		at := t0.Add(time.Duration(i) * time.Minute)
		d.do(func(tx *store.Tx) error { return tx.PutSecretBackend(of, backend, at) })
		d.same(chosen(), choice{backend, at})
	}
	list := func() []store.VaultRegion {
		return read(d, func(v *store.View) ([]store.VaultRegion, error) { return v.VaultRegions() })
	}
	r := store.VaultRegion{Region: "r", Place: "https://v secret/p", Accessor: "a", Configured: t0, State: "unknown", Since: t0, Seen: t0}
	d.do(func(tx *store.Tx) error { return tx.PutVaultRegion(of, r) })
	d.same(list(), []store.VaultRegion{r})
	later := t0.Add(time.Hour)
	d.do(func(tx *store.Tx) error { return tx.SeeVault("r", "away", "why", later, later.Add(time.Minute)) })
	d.do(func(tx *store.Tx) error { return tx.SeeVault("none", "away", "why", later, later) })
	r.Accessor, r.Configured = "b", later
	d.do(func(tx *store.Tx) error { return tx.PutVaultRegion(of, r) }) // a rotation leaves the state alone
	r.State, r.Message, r.Since, r.Seen = "away", "why", later, later.Add(time.Minute)
	d.same(list(), []store.VaultRegion{r})
	d.do(func(tx *store.Tx) error { return tx.DropVaultRegion(of, "r") })
	d.same(list(), []store.VaultRegion(nil))

	for ref, sealed := range map[secret.Ref][]byte{"a": {1, 9}, "b": {2, 9}, "c": {secret.RemoteFormat, 9}} {
		d.do(func(tx *store.Tx) error { return tx.PutSecret(of, ref, sealed, t0) })
	}
	d.do(func(tx *store.Tx) error { return tx.PutNote(store.NotePrefix+"x", []byte{1}, t0) })
	d.view(func(v *store.View) error {
		elsewhere, here, err := v.CountSecrets()
		d.same([]int{elsewhere, here}, []int{1, 2})
		return err
	})
}
