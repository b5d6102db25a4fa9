package store

import (
	"database/sql"
	"errors"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/secret"
)

// SecretBackend says where new secrets go, by the name of the back end and since when; empty: into the database, as ever.
func (v *View) SecretBackend() (backend string, since time.Time, err error) {
	var at int64
	err = v.row("SELECT backend, since FROM secret_backend WHERE name = 'site'").Scan(&backend, &at)
	if errors.Is(err, sql.ErrNoRows) {
		return "", time.Time{}, nil
	}
	return backend, fromMicros(at), err
}

// PutSecretBackend says where new secrets go from now on. Those that there are stay where they are.
func (t *Tx) PutSecretBackend(of authz.Target, backend string, now time.Time) error {
	t.touch(of, false)
	_, err := t.exec("INSERT INTO secret_backend (name, backend, since) VALUES ('site', ?, ?) ON CONFLICT (name) DO UPDATE SET backend = excluded.backend, since = excluded.since", backend, micros(now))
	return err
}

// CountSecrets counts the secrets that are elsewhere and those that are here, without notes.
func (v *View) CountSecrets() (elsewhere, here int, err error) {
	err = v.row("SELECT COUNT(*) FROM secrets WHERE substr(sealed, 1, 1) = ?", []byte{secret.RemoteFormat}).Scan(&elsewhere)
	if err == nil {
		err = v.row("SELECT COUNT(*) FROM secrets WHERE substr(sealed, 1, 1) <> ? AND ref NOT LIKE ?", []byte{secret.RemoteFormat}, NotePrefix+"%").Scan(&here)
	}
	return elsewhere, here, err
}

// VaultRegion is the Vault that a region has.
type VaultRegion struct {
	Region     string // system id
	Place      string
	Accessor   string // of its secret id
	Configured time.Time
	State      string
	Message    string
	Since      time.Time // of the state
	Seen       time.Time // when the region last said so
}

// VaultRegions lists the regions that have a Vault.
func (v *View) VaultRegions() (list []VaultRegion, err error) {
	rows, err := v.query("SELECT region, place, accessor, configured, state, message, since, seen FROM vault_regions ORDER BY region")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r VaultRegion
		var configured, since, seen int64
		if err := rows.Scan(&r.Region, &r.Place, &r.Accessor, &configured, &r.State, &r.Message, &since, &seen); err != nil {
			return nil, err
		}
		r.Configured, r.Since, r.Seen = fromMicros(configured), fromMicros(since), fromMicros(seen)
		list = append(list, r)
	}
	return list, rows.Err()
}

// PutVaultRegion stores which Vault a region has.
func (t *Tx) PutVaultRegion(of authz.Target, r VaultRegion) error {
	t.touch(of, false)
	_, err := t.exec(`INSERT INTO vault_regions (region, place, accessor, configured, state, message, since, seen) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (region) DO UPDATE SET place = excluded.place, accessor = excluded.accessor, configured = excluded.configured`,
		r.Region, r.Place, r.Accessor, micros(r.Configured), r.State, r.Message, micros(r.Since), micros(r.Seen))
	return err
}

// DropVaultRegion stores that a region has none any more.
func (t *Tx) DropVaultRegion(of authz.Target, region string) error {
	t.touch(of, false)
	_, err := t.exec("DELETE FROM vault_regions WHERE region = ?", region)
	return err
}

// SeeVault stores how a region's Vault is: an observation. It is no error if the region has none.
func (t *Tx) SeeVault(region, state, message string, since, seen time.Time) error {
	_, err := t.exec("UPDATE vault_regions SET state = ?, message = ?, since = ?, seen = ? WHERE region = ?", state, message, micros(since), micros(seen), region)
	return err
}
