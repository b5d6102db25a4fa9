package secret

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Backend keeps secrets. What Seal returns goes into the database's row of the secret: the secret itself, encrypted, or where it is.
// Both may talk to a server, so neither is called inside a transaction.
type Backend interface {
	Seal(ctx context.Context, ref Ref, v Value) ([]byte, error)
	Open(ctx context.Context, ref Ref, sealed []byte) (Value, error)
}

// Remote is a back end elsewhere, such as Vault's KV engine. What it seals begins with RemoteFormat.
type Remote interface {
	// Open may answer from memory, within a bound in time, while the server is away.
	Backend
	// Fetch opens as the server has it now; it never answers from memory.
	Fetch(ctx context.Context, ref Ref, sealed []byte) (Value, error)
	// Peek opens what was opened or sealed a short while ago, without asking anybody.
	Peek(ref Ref, sealed []byte) (Value, bool)
}

// RemoteFormat is the first byte of what a Remote seals.
const RemoteFormat byte = formatRemote

// Safe is where the services keep secrets: in the database under the keyring, or in a back end elsewhere.
//
// Seal and Open ask nobody, so they may be called inside a transaction. When they would have to, they fail with an error that Resolve
// knows: whoever runs the transaction, which is the gate, rolls it back, lets Resolve do what is needed, and runs it again. So no
// transaction ever waits for a network, and what is to be stored is in the back end before a row says so. What is sealed must
// therefore be the same when the transaction runs again: make random values outside.
// Safe for concurrent use.
type Safe struct {
	keys   *Keyring
	reload func(context.Context) (Keyset, error)

	mu     sync.Mutex
	remote Remote
	into   bool // whether new secrets go to the remote
	staged map[stageKey]staged
	now    func() time.Time
}

type stageKey struct {
	ref Ref
	sum [sha256.Size]byte
}

type staged struct {
	sealed []byte
	until  time.Time
}

const (
	stageLife = time.Minute // of a value that was written elsewhere and waits for its row
	maxStaged = 4096
)

// NewSafe makes a safe over a keyring. reload reads the keyset again when something was sealed with a key that this process does not
// know yet; nil when there is nobody else to add one.
func NewSafe(keys *Keyring, now func() time.Time, reload func(context.Context) (Keyset, error)) *Safe {
	return &Safe{keys: keys, reload: reload, now: now, staged: map[stageKey]staged{}}
}

// Use names the back end elsewhere, nil for none, and whether new secrets go there.
func (s *Safe) Use(r Remote, into bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remote, s.into = r, into && r != nil
	s.staged = map[stageKey]staged{}
}

// Keyring is the keyring that seals what stays in the database.
func (s *Safe) Keyring() *Keyring { return s.keys }

// Derive is Keyring.Derive.
func (s *Safe) Derive(purpose string) []byte { return s.keys.Derive(purpose) }

// DeriveFresh is Keyring.DeriveFresh.
func (s *Safe) DeriveFresh(purpose string) [][]byte { return s.keys.DeriveFresh(purpose) }

// SealLocal seals what lives for minutes, such as the state of a login, whatever back end the site uses.
func (s *Safe) SealLocal(ref Ref, v Value) ([]byte, error) { return s.keys.Seal(ref, v) }

// Seal seals for a row. It fails with an error for Resolve when the value has to be written elsewhere first.
func (s *Safe) Seal(ref Ref, v Value) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.into {
		return s.keys.Seal(ref, v)
	}
	key := stageKey{ref, sha256.Sum256(v.Reveal())}
	if st, ok := s.staged[key]; ok && s.now().Before(st.until) {
		return st.sealed, nil
	}
	return nil, &needed{func(ctx context.Context) error { return s.stage(ctx, key, v) }}
}

// Open opens what a row holds. It fails with an error for Resolve when somebody has to be asked for it.
func (s *Safe) Open(ref Ref, sealed []byte) (Value, error) {
	if len(sealed) > 0 && sealed[0] == formatRemote {
		r := s.elsewhere()
		if r == nil {
			return Value{}, fmt.Errorf("cannot open secret %q: it is in a back end that this region is not configured for", ref)
		}
		if v, ok := r.Peek(ref, sealed); ok {
			return v, nil
		}
		return Value{}, &needed{func(ctx context.Context) error {
			_, err := r.Open(ctx, ref, sealed)
			return err
		}}
	}
	v, err := s.keys.Open(ref, sealed)
	if errors.Is(err, errUnknownKey) && s.reload != nil {
		return v, &needed{func(ctx context.Context) error {
			if err := s.refresh(ctx); err != nil {
				return err
			}
			if _, err := s.keys.Open(ref, sealed); errors.Is(err, errUnknownKey) {
				return err
			}
			return nil
		}}
	}
	return v, err
}

// refresh reads the keyset again.
func (s *Safe) refresh(ctx context.Context) error {
	set, err := s.reload(ctx)
	if err == nil {
		s.keys.Replace(set)
	}
	return err
}

func (s *Safe) elsewhere() Remote {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remote
}

// SealNow seals outside a transaction.
func (s *Safe) SealNow(ctx context.Context, ref Ref, v Value) (sealed []byte, err error) {
	err = s.Settle(ctx, func() (err error) { sealed, err = s.Seal(ref, v); return err })
	return sealed, err
}

// OpenNow opens outside a transaction.
func (s *Safe) OpenNow(ctx context.Context, ref Ref, sealed []byte) (v Value, err error) {
	err = s.Settle(ctx, func() (err error) { v, err = s.Open(ref, sealed); return err })
	return v, err
}

// SealFresh seals outside a transaction, and never hands out what an earlier call wrote.
func (s *Safe) SealFresh(ctx context.Context, ref Ref, v Value) ([]byte, error) {
	s.mu.Lock()
	r, into := s.remote, s.into
	s.mu.Unlock()
	if into {
		return r.Seal(ctx, ref, v)
	}
	return s.keys.Seal(ref, v)
}

// OpenFresh opens outside a transaction, asking whoever has it, whatever is remembered.
func (s *Safe) OpenFresh(ctx context.Context, ref Ref, sealed []byte) (Value, error) {
	if _, remote := Where(sealed); remote {
		if r := s.elsewhere(); r != nil {
			return r.Fetch(ctx, ref, sealed)
		}
	}
	return s.OpenNow(ctx, ref, sealed)
}

// Current reports whether something is sealed as the site wants now: by its back end, under the newest key.
func (s *Safe) Current(sealed []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.into {
		return len(sealed) > 0 && sealed[0] == formatRemote
	}
	return s.keys.Current(sealed)
}

// stage writes a value elsewhere, so that the next Seal of it finds it done.
func (s *Safe) stage(ctx context.Context, key stageKey, v Value) error {
	s.mu.Lock()
	r := s.remote
	s.mu.Unlock()
	if r == nil {
		return nil // changed meanwhile: Seal knows better now
	}
	sealed, err := r.Seal(ctx, key.ref, v)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.remote != r {
		return nil
	}
	now := s.now()
	if len(s.staged) >= maxStaged {
		for k, st := range s.staged {
			if !now.Before(st.until) {
				delete(s.staged, k)
			}
		}
		if len(s.staged) >= maxStaged {
			s.staged = map[stageKey]staged{} // who waits stages again
		}
	}
	s.staged[key] = staged{sealed, now.Add(stageLife)}
	return nil
}

// ErrOutdated is what a transaction fails with that finds that this process knows an older keyset than the database has, such as when a row
// refuses what a retired key sealed: Settle reads the keyset again and tries once more.
var ErrOutdated = errors.New("cannot use the secrets: this process knows an older keyset than the database has")

// needed is what has to be done before the same can be tried again.
type needed struct{ do func(context.Context) error }

func (*needed) Error() string {
	return "cannot use a secret yet: it has to be fetched or written first"
}

// maxSettle bounds how often Settle tries: each try needs one secret more.
const maxSettle = 1024

// Settle runs fn, which may call Seal and Open and must be fit to run again, until it needs nothing more. Errors are those of fn, and of
// the back end.
func (s *Safe) Settle(ctx context.Context, fn func() error) error {
	outdated := false
	for range maxSettle {
		err := fn()
		var n *needed
		switch {
		case errors.As(err, &n):
			err = n.do(ctx)
		case errors.Is(err, ErrOutdated) && s.reload != nil && !outdated:
			outdated, err = true, s.refresh(ctx)
		default:
			return err
		}
		if err != nil {
			return err
		}
	}
	return errors.New("cannot settle: the same transaction needs another secret each time")
}
