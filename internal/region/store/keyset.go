package store

import (
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/secret"
)

// Keyset is the instance's keyset, wrapped by a root.
type Keyset struct {
	Root    string // names the root
	Wrapped []byte
	Oldest  uint32 // the number of its oldest key
	Made    time.Time
}

// Keysets returns the wrappings of the keyset: one, two while the root key is rotated, none in a new database.
func (v *View) Keysets() (list []Keyset, err error) {
	rows, err := v.query("SELECT root, wrapped, oldest, made FROM keysets ORDER BY made, root")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var k Keyset
		var made int64
		if err := rows.Scan(&k.Root, &k.Wrapped, &k.Oldest, &made); err != nil {
			return nil, err
		}
		k.Made = fromMicros(made)
		list = append(list, k)
	}
	return list, rows.Err()
}

// AddFirstKeyset stores the keyset of a new database; one that has a keyset keeps it. It comes before there is anything to audit.
func (t *Tx) AddFirstKeyset(k Keyset) error {
	_, err := t.exec("INSERT INTO keysets (root, wrapped, oldest, made) SELECT ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM keysets)", k.Root, k.Wrapped, int64(k.Oldest), micros(k.Made))
	return err
}

// PutKeyset stores the keyset as a root wraps it.
func (t *Tx) PutKeyset(of authz.Target, k Keyset) error {
	t.touch(of, false)
	_, err := t.exec("INSERT INTO keysets (root, wrapped, oldest, made) VALUES (?, ?, ?, ?) ON CONFLICT (root) DO UPDATE SET wrapped = excluded.wrapped, oldest = excluded.oldest, made = excluded.made", k.Root, k.Wrapped, int64(k.Oldest), micros(k.Made))
	return err
}

// DropKeyset removes the wrapping of a root.
func (t *Tx) DropKeyset(of authz.Target, root string) error {
	t.touch(of, false)
	_, err := t.exec("DELETE FROM keysets WHERE root = ?", root)
	return err
}

// SealedSecret is a row of the secrets.
type SealedSecret struct {
	Ref              secret.Ref
	Sealed           []byte
	Created, Updated time.Time
}

// Secrets returns up to limit secrets whose refs follow one, in the order of their refs.
func (v *View) Secrets(after secret.Ref, limit int) (list []SealedSecret, err error) {
	rows, err := v.query("SELECT ref, sealed, created, updated FROM secrets WHERE ref > ? ORDER BY ref LIMIT ?", string(after), limit)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var s SealedSecret
		var created, updated int64
		if err := rows.Scan(&s.Ref, &s.Sealed, &created, &updated); err != nil {
			return nil, err
		}
		s.Created, s.Updated = fromMicros(created), fromMicros(updated)
		list = append(list, s)
	}
	return list, rows.Err()
}

// alive refuses what is sealed with a key that was retired meanwhile, with secret.ErrOutdated.
func (t *Tx) alive(sealed []byte) error {
	key, remote := secret.Where(sealed)
	if remote {
		return nil
	}
	var oldest uint32
	if err := t.row("SELECT COALESCE(MAX(oldest), 0) FROM keysets").Scan(&oldest); err != nil {
		return err
	}
	if key < oldest {
		return secret.ErrOutdated
	}
	return nil
}

// ResealSecret replaces how a secret is sealed; what it is, and when it was set, stays. False when it is not sealed as it was any more.
func (t *Tx) ResealSecret(of authz.Target, ref secret.Ref, was, sealed []byte) (bool, error) {
	t.touch(of, false)
	if err := t.alive(sealed); err != nil {
		return false, err
	}
	n, err := t.exec("UPDATE secrets SET sealed = ? WHERE ref = ? AND sealed = ?", sealed, string(ref), was)
	return n > 0, err
}
