package identity

import (
	"context"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// FirstLinkLife is how long the link to create the first administrator works.
const FirstLinkLife = 30 * time.Minute

// FirstLink makes the one-use secret of the link that creates the first administrator; false when there is
// one already. Any earlier link ends.
func (s *Service) FirstLink(ctx context.Context) (secret.Value, bool, error) {
	token, needed := secret.Random(24), false
	err := s.gate.Do(authz.AsSystem(ctx, "first-admin"), authz.UserEdit, func(c *gate.Call) error {
		if err := c.Require(store.NewUserTarget); err != nil {
			return err
		}
		n, err := c.Tx().CountAdministrators()
		if needed = n == 0; err != nil || !needed {
			return err
		}
		c.Note("change", "link to choose a password made")
		return c.Tx().PutLink(metal.User{}, token.Hash(), c.Now().Add(FirstLinkLife))
	})
	return token, needed, err
}

// NeedsFirstAdmin reports whether no administrator exists yet.
func (s *Service) NeedsFirstAdmin(ctx context.Context) (needed bool, err error) {
	err = s.gate.View(authz.AsSystem(ctx, "first-admin"), authz.UserView, func(v *gate.Viewing) error {
		n, err := v.CountAdministrators()
		needed = n == 0
		return err
	})
	return needed, err
}

var errFirst = fault.New(fault.Forbidden, "This link was used already or has expired. Run `metalward createadmin` on the controller, or restart it for a new link.")

// mayBeFirst refuses a link that makes no first administrator now.
func mayBeFirst(v *store.View, link secret.Value, now time.Time) error {
	admins, err := v.CountAdministrators()
	if err != nil {
		return err
	}
	l, err := v.Link(link.Hash())
	if fault.Is(err, fault.NotFound) || err == nil && (admins > 0 || l.UserID != 0 || now.After(l.Expires)) {
		return errFirst
	}
	return err
}

// CreateFirstAdmin spends the first-administrator link. Kinds: Forbidden for a link that is wrong, spent or expired,
// Invalid, Exhausted with RetryAfter.
func (s *Service) CreateFirstAdmin(ctx context.Context, link secret.Value, n NewUser) (metal.User, error) {
	n.Admin = true
	const subject = "first administrator's link"
	if err := s.mayTryToken(ctx, subject); err != nil {
		return metal.User{}, err
	}
	// Before the password is hashed: strangers get no such work done.
	err := s.gate.View(authz.AsSystem(ctx, "first-admin"), authz.UserView, func(v *gate.Viewing) error { return mayBeFirst(v.View, link, v.Now()) })
	if fault.Is(err, fault.Forbidden) {
		s.gate.Denied(ctx, authz.FirstAdmin, err)
		s.wrongToken(ctx, subject)
	}
	if err != nil {
		return metal.User{}, err
	}
	return s.addUser(ctx, authz.FirstAdmin, n, func(c *gate.Call) error {
		if err := mayBeFirst(&c.Tx().View, link, c.Now()); err != nil { // of two at once one is too late
			return err
		}
		return c.Tx().PutLink(metal.User{}, "", time.Time{})
	}, nil)
}

// LinkLife is how long a link to choose a password works.
const LinkLife = 30 * time.Minute

// Invite adds a user without a password, and makes the link by which he chooses one. Kinds: Invalid, Forbidden.
func (s *Service) Invite(ctx context.Context, n NewUser) (u metal.User, link secret.Value, err error) {
	n.Invited, link = true, secret.Random(24)
	u, err = s.addUser(ctx, authz.UserEdit, n, nil, func(c *gate.Call, u metal.User) error {
		c.Note("change", "invited")
		return c.Tx().PutLink(u, link.Hash(), c.Now().Add(LinkLife))
	})
	return u, link, err
}

// RecoveryLink makes a link by which a user chooses a new password, for one who lost the old one, or whose
// invitation expired. The password works on until then; any earlier link ends. Kinds: NotFound, Invalid.
func (s *Service) RecoveryLink(ctx context.Context, name string) (link secret.Value, err error) {
	link = secret.Random(24)
	err = s.onUser(ctx, name, func(c *gate.Call, u store.UserRow) error {
		if u.Disabled {
			return fault.New(fault.Invalid, "%s is deactivated; reactivate the account first.", name)
		}
		if err := ofProvider(c, u); err != nil {
			return err
		}
		c.Note("change", "link to choose a password made")
		return c.Tx().PutLink(u.User, link.Hash(), c.Now().Add(LinkLife))
	})
	return link, err
}

var errLink = fault.New(fault.Forbidden, "This link was used already or has expired. Ask an administrator for a new one.")

// LinkUser returns whose password a link sets, without spending it. Kinds: Forbidden; Exhausted with RetryAfter.
func (s *Service) LinkUser(ctx context.Context, link secret.Value) (u metal.User, err error) {
	const subject = "link to choose a password"
	if err := s.mayTryToken(ctx, subject); err != nil {
		return u, err
	}
	err = s.gate.View(authz.AsSystem(ctx, "links"), authz.UserView, func(v *gate.Viewing) (err error) {
		u, err = linkUser(v.View, link, v.Now())
		return err
	})
	if fault.Is(err, fault.Forbidden) {
		s.gate.Denied(ctx, authz.UserLogin, err)
		s.wrongToken(ctx, subject)
	}
	return u, err
}

func linkUser(v *store.View, link secret.Value, now time.Time) (u metal.User, err error) {
	l, err := v.Link(link.Hash())
	if fault.Is(err, fault.NotFound) || err == nil && (l.UserID == 0 || now.After(l.Expires)) {
		return u, errLink
	}
	if err != nil {
		return u, err
	}
	row, err := v.User(l.UserID)
	if fault.Is(err, fault.NotFound) || err == nil && row.Disabled {
		return u, errLink
	}
	return row.User, err
}

// SpendLink sets the password of a link's user. Sessions end; second factors stay. Kinds: Forbidden for a link that is
// wrong, spent or expired, Invalid, Exhausted with RetryAfter.
func (s *Service) SpendLink(ctx context.Context, link, password secret.Value) (metal.User, error) {
	u, err := s.LinkUser(ctx, link)
	if err != nil {
		return u, err
	}
	hash, err := s.newHash(ctx, "password", u.Name, u.Email, password)
	if err != nil {
		return u, err
	}
	return u, s.gate.Do(ctx, authz.UserLogin, func(c *gate.Call) error {
		if err := c.Require(store.UserTarget(u)); err != nil {
			return err
		}
		c.Note("username", u.Name)
		c.Note("change", "password by link")
		if _, err := linkUser(&c.Tx().View, link, c.Now()); err != nil { // of two at once one is too late
			return err
		}
		row, err := c.Tx().User(u.ID)
		if err != nil {
			return err
		}
		return putPassword(c, &row, hash)
	})
}
