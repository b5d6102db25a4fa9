package identity

import (
	"context"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// newHash judges a new password of a user and hashes it. Kinds: Invalid on the field.
func (s *Service) newHash(ctx context.Context, field, name, email string, password secret.Value) (string, error) {
	err := metal.ValidatePassword(password.RevealString())
	if err == nil {
		err = s.checker.Check(password.RevealString(), name, email)
	}
	if fault.Is(err, fault.Invalid) {
		return "", fault.Field(field, "%s", fault.Message(err))
	}
	if err != nil {
		return "", err
	}
	return s.hash.hash(ctx, password)
}

// rehashed returns a new hash of a password that was just found right, when the old one is of other parameters
// than new ones; else it is empty.
func (s *Service) rehashed(ctx context.Context, encoded string, password secret.Value) (string, error) {
	if current(encoded) {
		return "", nil
	}
	return s.hash.hash(ctx, password)
}

// putPassword stores a new password: all sessions of the user end, and with them what he was in the middle of.
func putPassword(c *gate.Call, u *store.UserRow, hash string) error {
	u.Password, u.External = hash, false
	u.Epoch++
	if err := c.Tx().PutUser(*u); err != nil {
		return err
	}
	if err := c.Tx().PutLink(u.User, "", c.Now()); err != nil {
		return err
	}
	return c.Tx().DeleteSessions(u.User, "", c.Now())
}

// SetPassword replaces another user's password and ends his sessions. Kinds: NotFound, Invalid.
func (s *Service) SetPassword(ctx context.Context, name string, password secret.Value) error {
	email := ""
	if u, err := s.User(ctx, name); err == nil {
		email = u.Email
	}
	hash, err := s.newHash(ctx, "password", name, email, password)
	if err != nil {
		return err
	}
	return s.onUser(ctx, name, func(c *gate.Call, u store.UserRow) error {
		if err := ofProvider(c, u); err != nil {
			return err
		}
		c.Note("change", "password set")
		return putPassword(c, &u, hash)
	})
}

// ChangePassword replaces the calling user's password, who has to know the old one: an unattended browser does not
// give the account away. All sessions end; that of the cookie goes on under the new cookie that is returned. An
// empty cookie, of a caller by API key, has none. Kinds: Invalid, Exhausted with RetryAfter.
func (s *Service) ChangePassword(ctx context.Context, old, password, cookie secret.Value) (fresh secret.Value, err error) {
	p := authz.From(ctx)
	if !authz.May(p, authz.KeyEdit) {
		return fresh, authz.Deny.Err(authz.Target{})
	}
	was, err := s.checkPassword(ctx, p.Name, old)
	if fault.Is(err, fault.Unauthenticated) {
		return fresh, fault.Field("old_password", "This is not your current password.")
	}
	if err == nil && was.ID == 0 {
		err = fault.Field("old_password", "A directory keeps your password; change it there.")
	}
	if err != nil {
		return fresh, err
	}
	if old.Equal(password) {
		return fresh, fault.Field("new_password", "This is your current password; choose another one.")
	}
	hash, err := s.newHash(ctx, "new_password", was.Name, was.Email, password)
	if err != nil {
		return fresh, err
	}
	err = s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		c.Note("change", "password changed")
		row, err := c.Tx().User(u.ID)
		if err != nil {
			return err
		}
		if row.Password != was.Password {
			return fault.New(fault.Conflict, "Your password was changed a moment ago. Log in again.")
		}
		sess, missing := c.Tx().Session(cookie.Hash())
		if err := putPassword(c, &row, hash); err != nil || missing != nil || sess.UserID != u.ID {
			return err
		}
		fresh = secret.Random(32)
		sess.Hash, sess.Epoch, sess.LastSeen = fresh.Hash(), row.Epoch, c.Now()
		return c.Tx().AddSession(u, sess) // as old as it was
	})
	return fresh, err
}
