// Package identity knows people: users, passwords, second factors, sessions, API keys and SSH keys, and turns
// credentials into the principal that a call acts as.
//
// Secrets are kept only as hashes: Argon2id for what people choose, SHA-256 for what we made at random. The one that
// has to be known again, an authenticator app's, is sealed. Whatever is compared with a secret goes through guess.go,
// which counts failures.
//
// Start with session.go (a login), then factor.go (its second step) and apikey.go (a call's signature).
package identity

import (
	"context"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/passwords"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/region/throttle"
	"github.com/metalward/metalward/internal/secret"
)

// Service knows people. Safe for concurrent use.
type Service struct {
	gate    *gate.Gate
	now     func() time.Time
	keyring *secret.Safe
	checker passwords.Checker
	origin  string
	hash    *hasher
	nonces  nonces
	// guesses counts failures with what people choose or type, tokens those with what we made at random.
	guesses, tokens *throttle.Throttle
	codes           *throttle.Throttle // wrong codes of authenticator apps, by account
	binds           *throttle.Throttle // wrong passwords that went to a directory, by account
	providers       Providers
	rights          Rights

	mu    sync.Mutex
	known map[string]cached  // API keys by token, guarded by mu
	noted map[use]time.Time  // when the use of an API key was written last, by its id, guarded by mu
	asked map[string]*asking // questions to providers, by identity, guarded by mu
}

// Config is what the service is made of.
type Config struct {
	Gate *gate.Gate
	Now  func() time.Time
	Keys *secret.Safe // seals the secrets of second factors
	// Passwords judges new ones.
	Passwords passwords.Checker
	// Origin is the address of the pages, "https://host:port": passkeys belong to its host. Empty: there are none.
	Origin string
	// Providers are asked about people whom they vouch for. nil: there are none.
	Providers Providers
}

// New makes the service.
func New(c Config) *Service {
	return &Service{gate: c.Gate, now: c.Now, keyring: c.Keys, checker: c.Passwords, origin: c.Origin, hash: newHasher(),
		guesses: throttle.New(throttle.Guessing), tokens: throttle.New(throttle.Tokens), codes: throttle.New(Codes),
		binds: throttle.New(Binds), providers: c.Providers, asked: map[string]*asking{},
		known: map[string]cached{}, noted: map[use]time.Time{}}
}

// Changed is told which objects calls have changed: if rights may have, keys are looked up anew at once.
func (s *Service) Changed(touched []authz.Target) {
	for _, t := range touched {
		switch t.Noun {
		case authz.NounUser, authz.NounGroup, authz.NounRole, authz.NounPool, authz.NounProvider:
			s.mu.Lock()
			clear(s.known)
			s.mu.Unlock()
			return
		}
	}
}

// errors2 returns the first error that is not nil.
func errors2(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// asUser acts as a user with no rights but those over what is his own.
func asUser(ctx context.Context, u metal.User) context.Context {
	return authz.With(ctx, authz.Principal{Kind: authz.User, Name: u.Name, UserID: u.ID, Epoch: u.Epoch})
}

// Principal is a user with all his rights.
func Principal(v *store.View, u metal.User) (authz.Principal, error) {
	rights, err := v.Rights(u.ID)
	return authz.Principal{Kind: authz.User, Name: u.Name, UserID: u.ID, Rights: rights, Epoch: u.Epoch}, err
}

// own runs a change of the calling user's own things.
func (s *Service) own(ctx context.Context, action authz.Action, fn func(*gate.Call, metal.User) error) error {
	return s.gate.Do(ctx, action, func(c *gate.Call) error {
		u, err := c.Tx().User(c.Principal().UserID)
		if err != nil {
			return authz.Deny.Err(authz.Target{})
		}
		if err := c.Require(store.UserTarget(u.User)); err != nil {
			return err
		}
		return fn(c, u.User)
	})
}

// SSHKeys lists the calling user's SSH keys.
func (s *Service) SSHKeys(ctx context.Context) (keys []metal.SSHKey, err error) {
	err = s.gate.View(ctx, authz.KeyView, func(v *gate.Viewing) (err error) {
		keys, err = v.SSHKeys(v.Principal().UserID)
		return err
	})
	return keys, err
}

// AddSSHKey adds an SSH key for the calling user. Kinds: Invalid.
func (s *Service) AddSSHKey(ctx context.Context, text string) (k metal.SSHKey, err error) {
	if k.Key, err = metal.ParseSSHKey(text); err != nil {
		return k, err
	}
	err = s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		keys, err := c.Tx().SSHKeys(u.ID)
		if err != nil {
			return err
		}
		if len(keys) >= 100 {
			return fault.New(fault.Exhausted, "You have %d SSH keys; delete some first.", len(keys))
		}
		for _, old := range keys {
			if old.Key == k.Key {
				return fault.Field("key", "This key has already been added for this user.")
			}
		}
		k.UserID = u.ID
		return c.Tx().AddSSHKey(u, &k)
	})
	return k, err
}

// DeleteSSHKey deletes one of the calling user's SSH keys. Kinds: NotFound, also for another user's key.
func (s *Service) DeleteSSHKey(ctx context.Context, id int64) error {
	return s.own(ctx, authz.KeyEdit, func(c *gate.Call, u metal.User) error {
		ok, err := c.Tx().DeleteSSHKey(u, id)
		if err == nil && !ok {
			err = fault.New(fault.NotFound, "No SSHKey matches the given query.")
		}
		return err
	})
}
