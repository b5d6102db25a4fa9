package store

import (
	"encoding/json"
	"time"

	"github.com/metalward/metalward/internal/metal"
)

const bmcCols = "system_id, managed, state, revision, attempts, not_until, deadline, problem, rotated, keep_until, wanted"

func scanBMC(scan func(...any) error) (a metal.BMCAccount, err error) {
	var managed, until, deadline, rotated, keep, wanted int64
	err = scan(&a.SystemID, &managed, &a.State, &a.Revision, &a.Attempts, &until, &deadline, &a.Problem, &rotated, &keep, &wanted)
	a.Wanted = wanted != 0
	a.Managed, a.NotUntil, a.Deadline, a.Rotated, a.KeepUntil = managed != 0, fromMicros(until), fromMicros(deadline), fromMicros(rotated), fromMicros(keep)
	return a, err
}

// BMCAccount returns what is known of the account of a machine's BMC; one that was never rotated has only its id.
func (v *View) BMCAccount(systemID string) (metal.BMCAccount, error) {
	a, found, err := first(all(v, scanBMC, "SELECT "+bmcCols+" FROM bmc_accounts WHERE system_id = ?", systemID))
	if !found {
		a.SystemID = systemID
	}
	return a, err
}

// SharesBMC reports whether another machine has a BMC of this type at this address.
func (v *View) SharesBMC(systemID, powerType, address string) (bool, error) {
	b, err := json.Marshal(address)
	if err != nil {
		return false, err
	}
	var n int
	err = v.row("SELECT COUNT(*) FROM machines WHERE system_id <> ? AND power_type = ? AND power_plain ILIKE ? ESCAPE '\\'", systemID, powerType, `%"power_address":`+like(string(b))+"%").Scan(&n)
	return n > 0, err
}

// DueRotations lists rotations that have a step to be carried out, those that have waited longest first.
func (v *View) DueRotations(now time.Time, limit int) ([]metal.BMCAccount, error) {
	return all(v, scanBMC, "SELECT "+bmcCols+" FROM bmc_accounts WHERE state IN ('setting', 'retiring') AND not_until <= ? ORDER BY not_until LIMIT ?", micros(now), limit)
}

// AgedBMCAccounts lists accounts that a rotation made before a moment, or that are wanted to be rotated, and that have no rotation
// under way or put off.
func (v *View) AgedBMCAccounts(rotated, now time.Time, limit int) ([]metal.BMCAccount, error) {
	return all(v, scanBMC, "SELECT "+bmcCols+" FROM bmc_accounts WHERE state = '' AND not_until <= ? AND managed = 1 AND (rotated < ? OR wanted = 1) ORDER BY rotated LIMIT ?", micros(now), micros(rotated), limit)
}

// KeptTooLong lists the accounts whose earlier credentials have been kept long enough.
func (v *View) KeptTooLong(now time.Time, limit int) ([]metal.BMCAccount, error) {
	return all(v, scanBMC, "SELECT "+bmcCols+" FROM bmc_accounts WHERE keep_until > 0 AND keep_until <= ? AND state = '' ORDER BY keep_until LIMIT ?", micros(now), limit)
}

// PutBMCAccount stores what is known of the account of a machine's BMC, and counts its revision up.
func (t *Tx) PutBMCAccount(a *metal.BMCAccount) error {
	if err := t.touchMachine(a.SystemID); err != nil {
		return err
	}
	a.Revision++
	_, err := t.exec(`INSERT INTO bmc_accounts (`+bmcCols+`) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (system_id) DO UPDATE SET managed = excluded.managed,
		state = excluded.state, revision = excluded.revision, attempts = excluded.attempts, not_until = excluded.not_until, deadline = excluded.deadline,
		problem = excluded.problem, rotated = excluded.rotated, keep_until = excluded.keep_until, wanted = excluded.wanted`,
		a.SystemID, bit(a.Managed), string(a.State), a.Revision, a.Attempts, micros(a.NotUntil), micros(a.Deadline), a.Problem, micros(a.Rotated), micros(a.KeepUntil), bit(a.Wanted))
	return err
}
