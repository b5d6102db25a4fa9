package store

import (
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// Secret returns a sealed secret; false when there is none of this name.
func (v *View) Secret(ref secret.Ref) ([]byte, bool, error) {
	var sealed []byte
	err := v.row("SELECT sealed FROM secrets WHERE ref = ?", string(ref)).Scan(&sealed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return sealed, err == nil, err
}

// PutSecret stores a sealed secret that belongs to an object.
func (t *Tx) PutSecret(of authz.Target, ref secret.Ref, sealed []byte, now time.Time) error {
	t.touch(of, false)
	if err := t.alive(sealed); err != nil {
		return err
	}
	_, err := t.exec(`INSERT INTO secrets (ref, sealed, created, updated) VALUES (?, ?, ?, ?)
		ON CONFLICT (ref) DO UPDATE SET sealed = excluded.sealed, updated = excluded.updated`, string(ref), sealed, micros(now), micros(now))
	return err
}

// DeleteSecret removes a secret of an object.
func (t *Tx) DeleteSecret(of authz.Target, ref secret.Ref) error {
	t.touch(of, false)
	_, err := t.exec("DELETE FROM secrets WHERE ref = ?", string(ref))
	return err
}

// Setting returns a site setting's JSON value; false when it has its default.
func (v *View) Setting(name string) (string, bool, error) {
	var s string
	err := v.row("SELECT value FROM settings WHERE name = ?", name).Scan(&s)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return s, err == nil, err
}

// PutSetting stores a site setting's JSON value. Kinds: Invalid on "value" for a role that is not there: a second
// factor that a misspelt role demands would be demanded of nobody.
func (t *Tx) PutSetting(name, value string) error {
	if name == "mfa_required_roles" {
		if err := t.knownRoles(value); err != nil {
			return err
		}
	}
	t.touch(authz.Target{Noun: authz.NounSetting, ID: name}, false)
	_, err := t.exec("INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
	return err
}

// knownRoles checks a JSON text of role names, separated by commas.
func (v *View) knownRoles(value string) error {
	var names string
	if err := json.Unmarshal([]byte(value), &names); err != nil || names == "" {
		return err
	}
	roles, err := v.Roles()
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(names, ",") {
		name = strings.TrimSpace(name)
		if !slices.ContainsFunc(roles, func(r authz.Role) bool { return strings.EqualFold(r.Name, name) }) {
			return fault.Field("value", "There is no role %.64q.", name)
		}
	}
	return nil
}

// NotePrefix begins the refs of notes: what regions tell each other, sealed but decided by nobody.
const NotePrefix = "note/"

// PutNote stores a note: an observation. Kinds: Internal for the ref of a secret, which belongs to an object.
func (t *Tx) PutNote(ref secret.Ref, sealed []byte, now time.Time) error {
	if !strings.HasPrefix(string(ref), NotePrefix) {
		return fault.New(fault.Internal, "A secret is no note.")
	}
	if err := t.alive(sealed); err != nil {
		return err
	}
	_, err := t.exec(`INSERT INTO secrets (ref, sealed, created, updated) VALUES (?, ?, ?, ?)
		ON CONFLICT (ref) DO UPDATE SET sealed = excluded.sealed, updated = excluded.updated`, string(ref), sealed, micros(now), micros(now))
	return err
}

// DropNote removes a note: an observation. It is no error if there is none. Kinds: as PutNote.
func (t *Tx) DropNote(ref secret.Ref) error {
	if !strings.HasPrefix(string(ref), NotePrefix) {
		return fault.New(fault.Internal, "A secret is no note.")
	}
	_, err := t.exec("DELETE FROM secrets WHERE ref = ?", string(ref))
	return err
}
