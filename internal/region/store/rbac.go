package store

import (
	"database/sql"
	"errors"
	"maps"
	"time"

	"github.com/metalward/metalward/internal/metal"
)

// RBACSync is how far an RBAC service's resources are brought in line with the pools here.
type RBACSync struct {
	SyncID   string    // what the service called the last state sent; empty sends everything anew
	Synced   time.Time // when that was; zero: never
	Pools    int64     // how many pools it had
	RetryAt  time.Time // not before then, after a failure
	Failures int64     // in a row
	Error    string    // of the last one, safe to show
	Leader   string    // the region that does it, until Lease ends
	Lease    time.Time
}

// RBACSync returns how far an RBAC service's resources are; the zero value when nothing was tried yet.
func (v *View) RBACSync(providerID int64) (s RBACSync, err error) {
	var synced, retry, lease int64
	err = v.row("SELECT sync_id, synced, pools, retry_at, failures, error, leader, lease FROM rbac_syncs WHERE provider_id = ?", providerID).
		Scan(&s.SyncID, &synced, &s.Pools, &retry, &s.Failures, &s.Error, &s.Leader, &lease)
	if errors.Is(err, sql.ErrNoRows) {
		return RBACSync{}, nil
	}
	s.Synced, s.RetryAt, s.Lease = fromMicros(synced), fromMicros(retry), fromMicros(lease)
	return s, err
}

// PutRBACSync stores how far a service's resources are. It is an observation and touches nothing.
func (t *Tx) PutRBACSync(providerID int64, s RBACSync) error {
	_, err := t.exec(`INSERT INTO rbac_syncs (provider_id, sync_id, synced, pools, retry_at, failures, error, leader, lease) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (provider_id) DO UPDATE SET sync_id = excluded.sync_id, synced = excluded.synced, pools = excluded.pools, retry_at = excluded.retry_at,
		failures = excluded.failures, error = excluded.error, leader = excluded.leader, lease = excluded.lease`,
		providerID, s.SyncID, micros(s.Synced), s.Pools, micros(s.RetryAt), s.Failures, s.Error, s.Leader, micros(s.Lease))
	return err
}

// resyncRBAC has everything sent to a provider's service anew, at once, if it is one of the kind rbac: it was configured
// anew, or missed changes while it was not enabled. To another service than before nothing was ever sent, and
// what that one said of people counts for nothing.
func (t *Tx) resyncRBAC(p metal.Provider) error {
	if p.Kind != metal.ProviderRBAC {
		return nil
	}
	was, err := t.Provider(p.ID)
	if err != nil {
		return err
	}
	same := was.Issuer == p.Issuer && maps.Equal(was.Options, p.Options)
	if !same {
		if _, err := t.exec("DELETE FROM rbac_answers WHERE user_id IN (SELECT id FROM users WHERE rights_from = ?)", p.ID); err != nil {
			return err
		}
	}
	_, err = t.exec("UPDATE rbac_syncs SET sync_id = '', retry_at = 0, failures = 0, error = '', synced = synced * ? WHERE provider_id = ?", bit(same), p.ID)
	return err
}

// The changes of pools that RBAC services are told.
const (
	RBACAdd    = "add"
	RBACUpdate = "update"
	RBACRemove = "remove"
)

// RBACChange is a change of a pool that a service has not been told.
type RBACChange struct {
	ID     int64
	Action string
	PoolID int64
}

// queuePool notes a change of a pool for each enabled RBAC service. It comes after the change itself: then changes of one
// pool are in their order, in whatever order their transactions began.
func (t *Tx) queuePool(action string, poolID int64) error {
	_, err := t.exec("INSERT INTO rbac_queue (provider_id, action, pool_id) SELECT id, ?, ? FROM providers WHERE kind = ? AND enabled = 1", action, poolID, string(metal.ProviderRBAC))
	return err
}

// RBACChanges lists the changes that a service has not been told, oldest first, at most limit.
func (v *View) RBACChanges(providerID int64, limit int) ([]RBACChange, error) {
	return all(v, func(scan func(...any) error) (c RBACChange, err error) {
		err = scan(&c.ID, &c.Action, &c.PoolID)
		return c, err
	}, "SELECT id, action, pool_id FROM rbac_queue WHERE provider_id = ? ORDER BY id LIMIT ?", providerID, limit)
}

// DropRBACChanges forgets changes that a service was told: these and no others, for one with a smaller id may have been
// committed since.
func (t *Tx) DropRBACChanges(list []RBACChange) error {
	const batch = 500
	for len(list) > 0 {
		n := min(batch, len(list))
		args := make([]any, n)
		for i, c := range list[:n] {
			args[i] = c.ID
		}
		if _, err := t.exec("DELETE FROM rbac_queue WHERE id IN ("+marks(n)+")", args...); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// RightsAsked returns when the question began whose answer a user's grants are; zero when none has been answered.
func (v *View) RightsAsked(userID int64) (time.Time, error) {
	var asked int64
	err := v.row("SELECT asked FROM rbac_answers WHERE user_id = ?", userID).Scan(&asked)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	return fromMicros(asked), err
}

// PutRightsAsked stores when the question began whose answer a user's grants are now. It is an observation: what changes
// the grants touches the user.
func (t *Tx) PutRightsAsked(userID int64, asked time.Time) error {
	_, err := t.exec("INSERT INTO rbac_answers (user_id, asked) VALUES (?, ?) ON CONFLICT (user_id) DO UPDATE SET asked = excluded.asked", userID, micros(asked))
	return err
}

// dropRBACRights takes away what a provider's service said of people: from now on people here decide.
func (t *Tx) dropRBACRights(providerID int64) error {
	if _, err := t.exec("DELETE FROM grants WHERE source = ?", providerID); err != nil {
		return err
	}
	_, err := t.exec("UPDATE users SET rights_from = 0 WHERE rights_from = ?", providerID)
	return err
}
