package store

import (
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

const sessionCols = "hash, user_id, epoch, address, agent, factor, created, last_seen, expires, provider_id, provider_session"

func scanSession(scan func(...any) error) (s metal.Session, err error) {
	var created, seen, expires int64
	err = scan(&s.Hash, &s.UserID, &s.Epoch, &s.Address, &s.Agent, &s.Factor, &created, &seen, &expires, &s.ProviderID, &s.ProviderSession)
	s.Created, s.LastSeen, s.Expires = fromMicros(created), fromMicros(seen), fromMicros(expires)
	return s, err
}

// Session returns a session by the hash of its cookie. Kinds: NotFound.
func (v *View) Session(hash string) (metal.Session, error) {
	return one(v, authz.NounUser, scanSession, "SELECT "+sessionCols+" FROM sessions WHERE hash = ?", hash)
}

// Sessions lists a user's sessions, the last used first; some may have ended.
func (v *View) Sessions(userID int64) ([]metal.Session, error) {
	return all(v, scanSession, "SELECT "+sessionCols+" FROM sessions WHERE user_id = ? ORDER BY last_seen DESC, hash", userID)
}

// maxSessions bounds the sessions of a user: another one ends the oldest.
const maxSessions = 100

// AddSession inserts a session and drops the ones that ended.
func (t *Tx) AddSession(u metal.User, s metal.Session) error {
	t.touch(UserTarget(u), false)
	if _, err := t.exec("DELETE FROM sessions WHERE expires < ?", micros(s.Created)); err != nil {
		return err
	}
	_, err := t.exec("DELETE FROM sessions WHERE user_id = ? AND hash NOT IN (SELECT hash FROM sessions WHERE user_id = ? ORDER BY last_seen DESC, hash LIMIT ?)",
		u.ID, u.ID, maxSessions-1)
	if err != nil {
		return err
	}
	_, err = t.exec("INSERT INTO sessions ("+sessionCols+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		s.Hash, s.UserID, s.Epoch, s.Address, s.Agent, s.Factor, micros(s.Created), micros(s.LastSeen), micros(s.Expires), s.ProviderID, s.ProviderSession)
	return err
}

// SeeSession notes a session's last request: an observation.
func (t *Tx) SeeSession(hash string, now time.Time) error {
	_, err := t.exec("UPDATE sessions SET last_seen = ? WHERE hash = ?", micros(now), hash)
	return err
}

// DeleteSession ends a session.
func (t *Tx) DeleteSession(u metal.User, hash string) error {
	t.touch(UserTarget(u), false)
	_, err := t.exec("DELETE FROM sessions WHERE hash = ? AND user_id = ?", hash, u.ID)
	return err
}

// MacaroonsAfter is when a user's sessions were last ended: macaroons that are older count for nothing.
func (v *View) MacaroonsAfter(userID int64) (time.Time, error) {
	var at int64
	err := v.row("SELECT macaroons_after FROM users WHERE id = ?", userID).Scan(&at)
	return fromMicros(at), err
}

// DeleteSessions ends all sessions of a user but one, by its hash; an empty hash ends all. Steps under way end, too, and
// macaroons that were made before now.
func (t *Tx) DeleteSessions(u metal.User, but string, now time.Time) error {
	t.touch(UserTarget(u), false)
	if _, err := t.exec("UPDATE users SET macaroons_after = ? WHERE id = ?", micros(now), u.ID); err != nil {
		return err
	}
	if _, err := t.exec("DELETE FROM steps WHERE user_id = ?", u.ID); err != nil {
		return err
	}
	_, err := t.exec("DELETE FROM sessions WHERE user_id = ? AND hash <> ?", u.ID, but)
	return err
}
