package store

import (
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

const factorCols = "id, user_id, kind, name, credential, data, last_step, created, last_used"

func scanFactor(scan func(...any) error) (f metal.Factor, err error) {
	var created, used int64
	err = scan(&f.ID, &f.UserID, &f.Kind, &f.Name, &f.Credential, &f.Data, &f.LastStep, &created, &used)
	f.Created, f.LastUsed = fromMicros(created), fromMicros(used)
	return f, err
}

// Factors lists a user's second factors in order of their making.
func (v *View) Factors(userID int64) ([]metal.Factor, error) {
	return all(v, scanFactor, "SELECT "+factorCols+" FROM factors WHERE user_id = ? ORDER BY id", userID)
}

// AddFactor inserts a factor of a user and sets its ID. Kinds: Conflict when it is known already.
func (t *Tx) AddFactor(u metal.User, f *metal.Factor) (err error) {
	t.touch(UserTarget(u), false)
	f.UserID = u.ID
	f.ID, err = t.insert("INSERT INTO factors (user_id, kind, name, credential, data, last_step, created, last_used) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		u.ID, f.Kind, f.Name, f.Credential, f.Data, f.LastStep, micros(f.Created), micros(f.LastUsed))
	return err
}

// UseFactor notes a factor's use.
func (t *Tx) UseFactor(u metal.User, f metal.Factor) error {
	t.touch(UserTarget(u), false)
	_, err := t.exec("UPDATE factors SET data = ?, last_step = ?, last_used = ? WHERE id = ? AND user_id = ?", f.Data, f.LastStep, micros(f.LastUsed), f.ID, u.ID)
	return err
}

// DeleteFactor deletes a user's factor; false when he has none of this id.
func (t *Tx) DeleteFactor(u metal.User, id int64) (bool, error) {
	t.touch(UserTarget(u), false)
	n, err := t.exec("DELETE FROM factors WHERE id = ? AND user_id = ?", id, u.ID)
	return n > 0, err
}

// CountRecoveryCodes counts the codes that a user has left.
func (v *View) CountRecoveryCodes(userID int64) (n int, err error) {
	err = v.row("SELECT COUNT(*) FROM recovery_codes WHERE user_id = ?", userID).Scan(&n)
	return n, err
}

// PutRecoveryCodes replaces a user's codes, given as hashes.
func (t *Tx) PutRecoveryCodes(u metal.User, hashes []string) error {
	t.touch(UserTarget(u), false)
	if _, err := t.exec("DELETE FROM recovery_codes WHERE user_id = ?", u.ID); err != nil {
		return err
	}
	for _, h := range hashes {
		if _, err := t.exec("INSERT INTO recovery_codes (user_id, hash) VALUES (?, ?)", u.ID, h); err != nil {
			return err
		}
	}
	return nil
}

// SpendRecoveryCode uses up a code; false when the user has none of this hash.
func (t *Tx) SpendRecoveryCode(u metal.User, hash string) (bool, error) {
	t.touch(UserTarget(u), false)
	n, err := t.exec("DELETE FROM recovery_codes WHERE user_id = ? AND hash = ?", u.ID, hash)
	return n > 0, err
}

// Step is what is kept of a user's login or set-up between two requests.
type Step struct {
	Hash    string // of the secret that the browser holds
	UserID  int64
	Epoch   int64
	Kind    string
	Data    string
	Expires time.Time
}

// Step returns a step of a kind by the hash of its secret. Kinds: NotFound.
func (v *View) Step(kind, hash string) (Step, error) {
	return one(v, authz.NounUser, func(scan func(...any) error) (s Step, err error) {
		var expires int64
		err = scan(&s.Hash, &s.UserID, &s.Epoch, &s.Kind, &s.Data, &expires)
		s.Expires = fromMicros(expires)
		return s, err
	}, "SELECT hash, user_id, epoch, kind, data, expires FROM steps WHERE hash = ? AND kind = ?", hash, kind)
}

// maxSteps bounds the steps of a user that are under way: another one drops those that end first.
const maxSteps = 20

// PutStep inserts or replaces a step, and drops what has ended.
func (t *Tx) PutStep(u metal.User, s Step, now time.Time) error {
	t.touch(UserTarget(u), false)
	if _, err := t.exec("DELETE FROM steps WHERE expires < ? OR hash = ?", micros(now), s.Hash); err != nil {
		return err
	}
	_, err := t.exec("DELETE FROM steps WHERE user_id = ? AND hash NOT IN (SELECT hash FROM steps WHERE user_id = ? ORDER BY expires DESC, hash LIMIT ?)",
		u.ID, u.ID, maxSteps-1)
	if err != nil {
		return err
	}
	_, err = t.exec("INSERT INTO steps (hash, user_id, epoch, kind, data, expires) VALUES (?, ?, ?, ?, ?, ?)", s.Hash, u.ID, s.Epoch, s.Kind, s.Data, micros(s.Expires))
	return err
}

// DeleteStep ends a step; false when it was ended already.
func (t *Tx) DeleteStep(u metal.User, hash string) (bool, error) {
	t.touch(UserTarget(u), false)
	n, err := t.exec("DELETE FROM steps WHERE hash = ? AND user_id = ?", hash, u.ID)
	return n > 0, err
}
