package identity

import (
	"context"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/throttle"
	"github.com/metalward/metalward/internal/secret"
)

// The ways in are guarded here: every comparison with a secret is counted, and who failed too often waits.
// Whether an account exists changes neither the answer nor the work.

// tooMany is the refusal of an attempt that has to wait.
func tooMany(wait time.Duration) error {
	return &fault.Error{Kind: fault.Exhausted, Message: "Too many failed logins; wait a moment and try again.", RetryAfter: wait}
}

// known is whose a password is: a user of this site, or somebody whom a directory vouches for.
type known struct {
	store.UserRow
	by *metal.ExternalLogin
}

// checkPassword finds a user by name and password, here or in a directory. A failure leaves its event in the trail.
// Kinds: Unauthenticated; Exhausted with RetryAfter; Unavailable when a directory cannot be asked.
func (s *Service) checkPassword(ctx context.Context, name string, password secret.Value) (u known, err error) {
	if wait := s.guesses.Wait(name, authz.OriginFrom(ctx).Source, s.now()); wait > 0 {
		return u, tooMany(wait)
	}
	encoded, local := dummy, false
	if len(password.Reveal()) <= metal.MaxPasswordLength && len(name) <= 150 {
		err = s.gate.View(authz.AsSystem(ctx, "login"), authz.UserView, func(v *gate.Viewing) error {
			if _, local, err = v.NameTaken(name); err != nil {
				return err
			}
			row, err := v.UserByName(name)
			if err == nil && !row.Disabled && row.Password != "" {
				u.UserRow, encoded = row, row.Password
			}
			if fault.Is(err, fault.NotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return u, err
		}
	} else {
		password = secret.Value{}
	}
	ok, attempt, err := s.tryPassword(ctx, name, encoded, password)
	if err != nil {
		return u, err
	}
	if ok = ok && u.ID != 0; !ok {
		var l metal.ExternalLogin
		if l, ok, err = s.askProviders(ctx, name, local, password); err != nil {
			attempt.Failed(s.now()) // a hash was compared, or it must look as if
			return known{}, err
		}
		if u = (known{}); ok {
			u.by = &l
		}
	}
	if ok {
		attempt.Passed(s.now())
	} else if attempt.Failed(s.now()) {
		s.alarm(ctx, name)
	}
	if !ok {
		return u, s.gate.Do(ctx, authz.UserLogin, func(c *gate.Call) error {
			c.Note("username", name)
			return errLogin
		})
	}
	return u, nil
}

// tryPassword compares a password; the caller ends the attempt. It asks the throttle when its turn to hash comes: of
// guesses made at once, no more are compared than of guesses made one after the other.
func (s *Service) tryPassword(ctx context.Context, name, encoded string, password secret.Value) (ok bool, attempt *throttle.Attempt, err error) {
	if err := s.hash.enter(ctx); err != nil {
		return false, nil, err
	}
	defer s.hash.leave()
	attempt, wait := s.guesses.Take(name, authz.OriginFrom(ctx).Source, s.now())
	if wait > 0 {
		return false, nil, tooMany(wait)
	}
	return s.hash.check(encoded, password), attempt, nil
}

// alarm records that somebody has to wait from now on. It is the system's own event: the bound on the noise of
// strangers must not swallow it, and each costs the attacker several failures. The name is OWASP's. Source: OWASP
// Logging Vocabulary.
func (s *Service) alarm(ctx context.Context, name string) {
	s.gate.Security(authz.AsSystem(ctx, "throttle"), "authn_login_fail_max", map[string]string{"username": metal.Printable(name, 150)})
}

// mayTryToken refuses a random token, or a link, that was wrong too often. Kinds: Exhausted with RetryAfter.
func (s *Service) mayTryToken(ctx context.Context, subject string) error {
	if wait := s.tokens.Wait(subject, authz.OriginFrom(ctx).Source, s.now()); wait > 0 {
		return &fault.Error{Kind: fault.Exhausted, Message: "Too many wrong keys or links came from here; wait a moment and try again.", RetryAfter: wait}
	}
	return nil
}

// wrongToken counts a wrong one.
func (s *Service) wrongToken(ctx context.Context, subject string) {
	if s.tokens.Fail(subject, authz.OriginFrom(ctx).Source, s.now()) {
		s.alarm(ctx, subject)
	}
}
