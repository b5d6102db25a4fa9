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

var (
	errLogin = fault.New(fault.Unauthenticated, "Please enter a correct username and password.")
	errGone  = fault.New(fault.Unauthenticated, "Your session has ended. Log in again.")
)

// Entry is what a right password leads to: a session, or a step that waits for the second factor.
type Entry struct {
	Cookie secret.Value // of the session; empty when a second factor is wanted
	Step   secret.Value // of the login under way, else empty
}

// Login checks a password and starts a session, or asks for a second factor. Kinds: Unauthenticated for a wrong
// name or password, the same for both and in the same time; Exhausted with RetryAfter after too many failures; Unavailable when a
// directory cannot be asked; as SignOn for somebody from one.
func (s *Service) Login(ctx context.Context, name string, password secret.Value) (e Entry, err error) {
	u, err := s.checkPassword(ctx, name, password)
	if err != nil {
		return e, err
	}
	if u.by != nil {
		return s.enter(ctx, *u.by)
	}
	fresh, err := s.rehashed(ctx, u.Password, password)
	if err != nil {
		return e, err
	}
	err = s.gate.Do(asUser(ctx, u.User), authz.UserLogin, func(c *gate.Call) error {
		if err := c.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		now, err := c.Tx().User(u.ID)
		if err != nil || now.Disabled || now.Password != u.Password { // changed since it was compared
			return errLogin
		}
		if fresh != "" {
			now.Password = fresh
			if err := c.Tx().PutUser(now); err != nil {
				return err
			}
		}
		step, wanted, err := s.beginStep(c, now.User)
		if err != nil || wanted {
			c.Note("change", "second factor outstanding")
			e = Entry{Step: step}
			return err
		}
		e = Entry{Cookie: secret.Random(32)}
		return s.addSession(ctx, c, now.User, e.Cookie, "")
	})
	return e, err
}

// addSession starts a session of a user who entered a password; it ends with the directory that keeps it.
func (s *Service) addSession(ctx context.Context, c *gate.Call, u metal.User, cookie secret.Value, factor string) error {
	id, _, err := kept(&c.Tx().View, u)
	if err != nil {
		return err
	}
	return s.addSessionBy(ctx, c, u, cookie, factor, metal.ExternalLogin{ProviderID: id.ProviderID})
}

// addSessionBy starts a session of a user that began at an identity provider.
func (s *Service) addSessionBy(ctx context.Context, c *gate.Call, u metal.User, cookie secret.Value, factor string, by metal.ExternalLogin) error {
	length, err := c.Tx().SettingInt("session_length")
	if err != nil {
		return err
	}
	return c.Tx().AddSession(u, metal.Session{Hash: cookie.Hash(), UserID: u.ID, Epoch: u.Epoch, Address: authz.OriginFrom(ctx).Source, Agent: authz.OriginFrom(ctx).UserAgent,
		Factor: factor, ProviderID: by.ProviderID, ProviderSession: by.Session, Created: c.Now(), LastSeen: c.Now(), Expires: c.Now().Add(time.Duration(length) * time.Second)})
}

// Logout ends the session of a cookie.
func (s *Service) Logout(ctx context.Context, cookie secret.Value) error {
	return s.gate.Do(ctx, authz.UserLogout, func(c *gate.Call) error {
		u, err := c.Tx().User(c.Principal().UserID)
		if err != nil {
			return err
		}
		if err := c.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		return c.Tx().DeleteSession(u.User, cookie.Hash())
	})
}

// Session returns the principal of a session cookie and notes that it was used. Kinds: Unauthenticated when it is
// unknown, ended, idle too long, or of a user whose rights changed since.
func (s *Service) Session(ctx context.Context, cookie secret.Value) (authz.Principal, error) {
	p, sess, idle, err := s.session(ctx, cookie)
	if err != nil {
		return authz.Principal{}, err
	}
	// A write a minute is enough to know who is idle; of a short idle time, one in an eighth of it.
	if s.now().Sub(sess.LastSeen) > min(time.Minute, idle/8) {
		err = s.gate.Observe(authz.AsSystem(ctx, "sessions"), gate.SeenSession, func(tx *store.Tx, now time.Time) error { return tx.SeeSession(sess.Hash, now) })
	}
	return p, err
}

// Alive is Session for what goes on by itself, such as a stream of changes: it keeps no session from ending.
func (s *Service) Alive(ctx context.Context, cookie secret.Value) (authz.Principal, error) {
	p, _, _, err := s.session(ctx, cookie)
	return p, err
}

func (s *Service) session(ctx context.Context, cookie secret.Value) (p authz.Principal, sess metal.Session, idle time.Duration, err error) {
	var due *metal.ExternalIdentity
	var old *metal.User
	p, sess, idle, due, old, err = s.readSession(ctx, cookie)
	if err == nil && due != nil {
		if err = s.recheck(ctx, *due); err == nil {
			p, sess, idle, _, old, err = s.readSession(ctx, cookie) // with what the provider says now
		}
	}
	if err == nil && old != nil {
		err = s.upToDate(ctx, old, func() (*metal.User, error) {
			p, sess, idle, _, old, err = s.readSession(ctx, cookie)
			return old, err
		})
		if fault.Is(err, fault.Forbidden) {
			err = errGone
		}
	}
	return p, sess, idle, err
}

// readSession reads a session, and whether a provider has to be asked about its user, or an RBAC service what he may do.
func (s *Service) readSession(ctx context.Context, cookie secret.Value) (p authz.Principal, sess metal.Session, idle time.Duration, due *metal.ExternalIdentity, old *metal.User, err error) {
	hash := cookie.Hash()
	err = s.gate.View(authz.AsSystem(ctx, "sessions"), authz.UserView, func(v *gate.Viewing) error {
		if sess, err = v.Session(hash); err != nil {
			return errGone
		}
		u, err := v.User(sess.UserID)
		if err != nil || u.Disabled {
			return errGone
		}
		if idle, err = sessionIdle(v.View); err != nil {
			return err
		}
		if !live(sess, u.User, idle, s.now()) {
			return errGone
		}
		if sess.ProviderID != 0 {
			if p, err := v.Provider(sess.ProviderID); err != nil || !p.Enabled {
				return errGone
			}
		}
		if sess.Factor == "" { // of a time when the role did not demand one yet, or the user had another
			if must, err := demanded(v.View, u.User); err != nil || must {
				return errors2(err, errGone)
			}
		}
		if due, err = s.due(v.View, u.User); err != nil {
			return err
		}
		if old, err = s.outdated(v.View, u.User); err != nil {
			return err
		}
		p, err = Principal(v.View, u.User)
		return err
	})
	return p, sess, idle, due, old, err
}

func sessionIdle(v *store.View) (time.Duration, error) {
	n, err := v.SettingInt("metalward_session_idle")
	return time.Duration(n) * time.Second, err
}

// live reports whether a user's session goes on.
func live(sess metal.Session, u metal.User, idle time.Duration, now time.Time) bool {
	return u.Epoch == sess.Epoch && !now.After(sess.Expires) && now.Sub(sess.LastSeen) <= idle
}

// Sessions lists the calling user's sessions, the last used first.
func (s *Service) Sessions(ctx context.Context) (list []metal.Session, err error) {
	err = s.gate.View(ctx, authz.KeyView, func(v *gate.Viewing) error {
		u, err := v.User(v.Principal().UserID)
		if err != nil {
			return err
		}
		list, err = s.liveSessions(v.View, u.User)
		return err
	})
	return list, err
}

func (s *Service) liveSessions(v *store.View, u metal.User) (list []metal.Session, err error) {
	idle, err := sessionIdle(v)
	if err != nil {
		return nil, err
	}
	all, err := v.Sessions(u.ID)
	for _, x := range all {
		if live(x, u, idle, s.now()) {
			list = append(list, x)
		}
	}
	return list, err
}

// EndSession ends one of the calling user's sessions, by its ID. Kinds: NotFound.
func (s *Service) EndSession(ctx context.Context, id string) error {
	return s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		c.Note("change", "session ended")
		list, err := c.Tx().Sessions(u.ID)
		if err != nil {
			return err
		}
		for _, x := range list {
			if x.ID() == id {
				return c.Tx().DeleteSession(u, x.Hash)
			}
		}
		return fault.New(fault.NotFound, "There is no such session; it may have ended by itself.")
	})
}

// EndOtherSessions ends all sessions of the calling user but that of a cookie; an empty one ends all.
func (s *Service) EndOtherSessions(ctx context.Context, cookie secret.Value) error {
	return s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		c.Note("change", "other sessions ended")
		return c.Tx().DeleteSessions(u, cookie.Hash(), c.Now())
	})
}
