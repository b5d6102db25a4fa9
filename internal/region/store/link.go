package store

import (
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

// Link is a one-use link. Only the hash of its secret is stored.
type Link struct {
	UserID  int64 // whose password it sets; 0 makes the first administrator
	Expires time.Time
}

// Link returns a link by the hash of its secret. Kinds: NotFound.
func (v *View) Link(hash string) (Link, error) {
	return one(v, authz.NounUser, func(scan func(...any) error) (l Link, err error) {
		var expires int64
		err = scan(&l.UserID, &expires)
		l.Expires = fromMicros(expires)
		return l, err
	}, "SELECT user_id, expires FROM links WHERE hash = ?", hash)
}

// PutLink replaces a user's links by one; an empty hash leaves none. The zero user is the first administrator.
func (t *Tx) PutLink(u metal.User, hash string, expires time.Time) error {
	target, made := UserTarget(u), false
	if u.ID == 0 {
		target, made = NewUserTarget, true
	}
	t.touch(target, made)
	if _, err := t.exec("DELETE FROM links WHERE user_id = ?", u.ID); err != nil || hash == "" {
		return err
	}
	_, err := t.exec("INSERT INTO links (hash, user_id, expires) VALUES (?, ?, ?)", hash, u.ID, micros(expires))
	return err
}
