package identity

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/throttle"
	"github.com/metalward/metalward/internal/secret"
)

// People whose passwords a directory keeps. A name of this site's own is asked here only; any other is asked there. What
// the directory says is believed for a while, and then asked again while sessions and keys are in use.

// How long what a provider said of somebody is believed.
const (
	// RecheckAfter is when it is asked again.
	RecheckAfter = time.Hour
	// RecheckGrace is how much longer sessions and keys go on while a directory cannot be asked; after that they wait for
	// it. Those of Candid's people wait at once: it says no more than their groups, and a macaroon would wait, too.
	RecheckGrace = 4 * time.Hour
	// recheckPause is the time between two questions while there is no answer.
	recheckPause = time.Minute
)

// Binds is the policy for passwords that go to a directory, counted for the account as a whole: so many wrong ones go there,
// from however many networks, before the directory itself may lock the account. One more follows in each Forgive.
var Binds = throttle.Policy{
	Subject: throttle.Limits{Free: 4, First: 15 * time.Minute, Most: 15 * time.Minute, Forgive: 15 * time.Minute, Keys: 50_000},
	Address: throttle.Limits{Free: 1 << 30, First: time.Second, Most: time.Second, Forgive: 15 * time.Minute, Keys: 1}, // there is no address
	Block:   throttle.Limits{Free: 1 << 30, First: time.Second, Most: time.Second, Forgive: 15 * time.Minute, Keys: 1},
}

// Providers are asked about people whom they vouch for.
type Providers interface {
	// KeepPasswords reports whether there is one that takes passwords.
	KeepPasswords(ctx context.Context) (bool, error)
	// CheckPassword returns whose a name and password are; false when nobody's. Kinds: Unavailable.
	CheckPassword(ctx context.Context, name string, password secret.Value) (metal.ExternalLogin, bool, error)
	// ConfirmPassword is CheckPassword for somebody who is known. Kinds: Unavailable, NotFound.
	ConfirmPassword(ctx context.Context, id metal.ExternalIdentity, password secret.Value) (bool, error)
	// Recheck asks about somebody who is known; false when he is gone. Kinds: Unavailable, NotFound.
	Recheck(ctx context.Context, id metal.ExternalIdentity) (metal.ExternalLogin, bool, error)
}

// askProviders compares a password where it is kept elsewhere. A local name that failed is not asked for, but somebody whom
// nobody knows is, in the same time: the answer does not tell which names are local. The question goes on when the caller
// goes away: it counts.
func (s *Service) askProviders(ctx context.Context, name string, local bool, password secret.Value) (l metal.ExternalLogin, ok bool, err error) {
	if s.providers == nil || password.Empty() {
		return l, false, nil
	}
	if any, err := s.providers.KeepPasswords(ctx); err != nil || !any {
		return l, false, err
	}
	bind, wait := s.binds.Take(account(name), "", s.now())
	if wait > 0 {
		return l, false, tooMany(wait)
	}
	if local {
		name = "nobody-" + secret.Random(12).RevealString()
	}
	l, ok, err = s.providers.CheckPassword(context.WithoutCancel(ctx), name, password)
	s.endBind(bind, ok && !local, err)
	return l, ok && !local, err
}

// account is what names that a directory takes for the same have in common, to count guesses by: directories ignore case,
// blanks and the form of a character, some accents and punctuation, too. Source: RFC 4518 section 2; MS-UCODEREF.
func account(name string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, norm.NFKD.String(name))
}

func (s *Service) endBind(bind *throttle.Attempt, ok bool, err error) {
	switch {
	case err != nil:
		bind.Drop()
	case ok:
		bind.Passed(s.now())
	default:
		bind.Failed(s.now())
	}
}

// enter starts a session of somebody whose password a directory found right, or asks for a second factor. Kinds: as SignOn.
func (s *Service) enter(ctx context.Context, l metal.ExternalLogin) (e Entry, err error) {
	err = s.arrive(ctx, l, func(ctx context.Context, c *gate.Call, u metal.User) error {
		step, wanted, err := s.beginStep(c, u)
		if err != nil || wanted {
			c.Note("change", "second factor outstanding")
			e = Entry{Step: step}
			return err
		}
		e = Entry{Cookie: secret.Random(32)}
		return s.addSession(ctx, c, u, e.Cookie, "")
	})
	return e, err
}

// kept returns the identity by which a user without a password here logs in with one that a directory keeps; false for
// everybody else. Of several the one last used is meant.
func kept(v *store.View, u metal.User) (id metal.ExternalIdentity, ok bool, err error) {
	if !u.External {
		return id, false, nil
	}
	list, err := v.ExternalIdentities(u.ID)
	for _, x := range list {
		t, known := metal.ProviderTypeOf(x.Kind)
		if known && t.Rechecks && x.Enabled && (!ok || x.LastUsed.After(id.LastUsed)) {
			id, ok = x, true
		}
	}
	return id, ok, err
}

// confirmKept checks the password of a user that a directory keeps. Kinds: Unauthenticated, Exhausted with RetryAfter,
// Unavailable.
func (s *Service) confirmKept(ctx context.Context, name string, id metal.ExternalIdentity, password secret.Value) error {
	if s.providers == nil || password.Empty() || id.Kind.Macaroons() { // Candid's people have no password
		return errLogin
	}
	attempt, wait := s.guesses.Take(name, authz.OriginFrom(ctx).Source, s.now())
	if wait > 0 {
		return tooMany(wait)
	}
	bind, wait := s.binds.Take(account(name), "", s.now())
	if wait > 0 {
		attempt.Drop()
		return tooMany(wait)
	}
	ok, err := s.providers.ConfirmPassword(context.WithoutCancel(ctx), id, password)
	s.endBind(bind, ok, err)
	s.endBind(attempt, ok, err)
	if err == nil && !ok {
		err = s.gate.Do(ctx, authz.UserLogin, func(c *gate.Call) error {
			c.Note("username", name)
			return errLogin
		})
	}
	return err
}

// due returns the identity that has to be asked about before its user goes on; nil if none has to. Kinds: Unauthenticated
// when the provider did not know him any more.
func (s *Service) due(v *store.View, u metal.User) (*metal.ExternalIdentity, error) {
	id, ok, err := kept(v, u)
	switch {
	case err != nil || !ok || s.providers == nil:
		return nil, err
	case id.Gone:
		return nil, errGone
	case s.now().Sub(id.Checked) <= RecheckAfter:
		return nil, nil
	}
	return &id, nil
}

// asking is a question about somebody, under way or answered.
type asking struct {
	since time.Time     // what was known of him then: whoever knows no more has his answer here
	done  chan struct{} // closed when err is set
	err   error
	at    time.Time // when it was answered
}

// serves reports whether the question is that of somebody who knows as much, and its answer still good.
func (a *asking) serves(checked, now time.Time) bool {
	if a.at.IsZero() {
		return true
	}
	return a.since.Equal(checked) && (a.err == nil || now.Sub(a.at) < recheckPause)
}

// recheck asks about somebody, once for all who wait for it, and takes over what the provider says. It is no error that the
// provider cannot be asked, until RecheckGrace is over. Kinds: Unauthenticated when he is gone, Unavailable.
func (s *Service) recheck(ctx context.Context, id metal.ExternalIdentity) error {
	key := id.Issuer + "\n" + id.Subject
	s.mu.Lock()
	a := s.asked[key]
	if a == nil || !a.serves(id.Checked, s.now()) {
		a = &asking{since: id.Checked, done: make(chan struct{})}
		if len(s.asked) >= maxKnown {
			clear(s.asked)
		}
		s.asked[key] = a
		s.mu.Unlock()
		s.answer(context.WithoutCancel(ctx), a, id)
	} else {
		s.mu.Unlock()
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if fault.Is(a.err, fault.Unavailable) {
		if !id.Kind.Macaroons() && s.now().Sub(id.Checked) <= RecheckAfter+RecheckGrace {
			return nil
		}
		return fault.New(fault.Unavailable, "The identity provider %s has not answered for too long to let you go on. Try again in a moment, or ask an administrator.", id.Provider)
	}
	return a.err
}

// answer asks, and answers a question whatever happens: who waits for one would else wait for ever.
func (s *Service) answer(ctx context.Context, a *asking, id metal.ExternalIdentity) {
	err := error(errUnanswered)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		a.err, a.at = err, s.now()
		close(a.done)
	}()
	err = s.askAbout(ctx, id)
}

var errUnanswered = fault.New(fault.Unavailable, "The identity provider's answer cannot be read.")

// askAbout asks a provider about somebody and takes over what it says: who is gone loses his sessions, and his keys do not
// work until he logs in again.
func (s *Service) askAbout(ctx context.Context, id metal.ExternalIdentity) error {
	l, ok, err := s.providers.Recheck(ctx, id)
	switch {
	case fault.Is(err, fault.NotFound): // disabled a moment ago
		return errGone
	case err != nil:
		return fmt.Errorf("cannot ask %s about a user: %w", id.Provider, err)
	case ok:
		return s.arrive(ctx, l, func(_ context.Context, c *gate.Call, _ metal.User) error {
			c.Note("change", "asked again")
			return nil
		})
	}
	var u store.UserRow
	err = s.gate.View(authz.AsSystem(ctx, "login"), authz.UserView, func(v *gate.Viewing) (err error) {
		u, err = v.User(id.UserID)
		return err
	})
	if err != nil {
		return err
	}
	err = s.gate.Do(asUser(ctx, u.User), authz.UserLogout, func(c *gate.Call) error {
		if err := c.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		c.Note("change", "not known at the identity provider any more")
		c.Note("provider", id.Provider)
		now, err := c.Tx().ExternalIdentity(id.Issuer, id.Subject)
		if err != nil {
			return err
		}
		now.Checked, now.Gone = c.Now(), true
		if err := c.Tx().PutIdentity(u.User, now); err != nil {
			return err
		}
		return c.Tx().DeleteSessions(u.User, "", c.Now())
	})
	return errors2(err, errGone)
}
