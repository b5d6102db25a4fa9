package site

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// SharedFile is where each region keeps a copy of the shared secret in its state folder, mode 0600.
const SharedFile = "shared-secret"

const (
	sharedRef   secret.Ref = "site/shared-secret"
	sharedBytes            = 32
	// followEvery is how soon a region's file follows a rotation on another region. Nothing waits for the file:
	// tokens are minted and verified with what the store says in that very transaction.
	followEvery = 30 * time.Second
)

// Shared is the instance's shared secret: it mints enrolment tokens and does nothing else. It is sealed in the store,
// where all regions find the same one, and each region has a copy in a file.
type Shared struct {
	Current secret.Value // 32 bytes
	Rotated time.Time    // zero if it never was
	// Previous verifies tokens that were minted before, until PreviousEnds; empty when they are refused.
	Previous     secret.Value
	PreviousEnds time.Time
}

// Verifies lists the secrets that a token may have been minted with.
func (s Shared) Verifies(now time.Time) [][]byte {
	keys := [][]byte{s.Current.Reveal()}
	if !s.Previous.Empty() && now.Before(s.PreviousEnds) {
		keys = append(keys, s.Previous.Reveal())
	}
	return keys
}

// Text is the secret as its file and administrators have it: base64.
func (s Shared) Text() secret.Value {
	return secret.FromString(base64.StdEncoding.EncodeToString(s.Current.Reveal()))
}

// storedShared is the sealed form.
type storedShared struct {
	Current      []byte    `json:"current"`
	Rotated      time.Time `json:"rotated,omitzero"`
	Previous     []byte    `json:"previous,omitempty"`
	PreviousEnds time.Time `json:"previous_ends,omitzero"`
}

func (s *Site) sealShared(x Shared) ([]byte, error) {
	b, err := json.Marshal(storedShared{x.Current.Reveal(), x.Rotated, x.Previous.Reveal(), x.PreviousEnds})
	if err != nil {
		return nil, err
	}
	return s.keys.Seal(sharedRef, secret.NewValue(b))
}

// Shared reads the shared secret in a call's own transaction, so that no region uses one that another has rotated.
func (s *Site) Shared(v *store.View) (x Shared, err error) {
	sealed, found, err := v.Secret(sharedRef)
	if err != nil {
		return x, err
	}
	if !found {
		return x, fault.New(fault.Internal, "The instance has no shared secret.")
	}
	plain, err := s.keys.Open(sharedRef, sealed)
	if err != nil {
		return x, err
	}
	var st storedShared
	if err := json.Unmarshal(plain.Reveal(), &st); err != nil {
		return x, err
	}
	return Shared{secret.NewValue(st.Current), st.Rotated, secret.NewValue(st.Previous), st.PreviousEnds}, nil
}

// LoadShared makes the shared secret at first start, of the state folder's file if there is one, and writes the file
// where it differs. A file that others may read is refused.
func (s *Site) LoadShared(ctx context.Context, stateDir string) error {
	path := filepath.Join(stateDir, SharedFile)
	if _, err := os.Stat(path); err == nil { // refuses the mode before it reads
		if _, err := secret.LoadOrCreateKey(path); err != nil {
			return err
		}
	}
	_, err := s.secretOr(authz.AsSystem(ctx, "site"), sharedRef, func() (secret.Value, error) {
		key, err := secret.LoadOrCreateKey(path)
		if err != nil {
			return secret.Value{}, err
		}
		b, err := json.Marshal(storedShared{Current: key})
		return secret.NewValue(b), err
	})
	if err != nil {
		return err
	}
	return s.WriteShared(ctx, stateDir)
}

// WriteShared brings the state folder's file up to date. It writes only where something differs.
func (s *Site) WriteShared(ctx context.Context, stateDir string) error {
	var x Shared
	err := s.gate.View(authz.AsSystem(ctx, "site"), authz.PublicView, func(v *gate.Viewing) (err error) {
		x, err = s.Shared(v.View)
		return err
	})
	if err != nil {
		return err
	}
	path, want := filepath.Join(stateDir, SharedFile), append(x.Text().Reveal(), '\n')
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o077 == 0 {
		if is, err := os.ReadFile(path); err == nil && bytes.Equal(is, want) {
			return nil
		}
	}
	return secret.WriteFile(path, want)
}

// FollowShared keeps the file up to date with rotations on other regions until the context ends.
func (s *Site) FollowShared(ctx context.Context, stateDir string, log *slog.Logger) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.WriteShared(ctx, stateDir); err != nil && ctx.Err() == nil {
			log.ErrorContext(ctx, "cannot write the shared secret's file", "error", err)
		}
	}
}

// RotateShared replaces the shared secret. Tokens minted with the one before work for overlap, which their life bounds
// anyway; with 0 they are refused from now on. Racks that have joined are not concerned: they have certificates.
// Of two rotations within an overlap, the tokens of before the first are refused. Kinds: Forbidden.
func (s *Site) RotateShared(ctx context.Context, now time.Time, overlap time.Duration) (x Shared, err error) {
	fresh := secret.NewValue(randomKey()) // what is sealed has to be the same whenever the transaction is run again
	err = s.gate.Do(ctx, authz.SharedSecretRotate, func(c *gate.Call) error {
		if err := c.Require(target); err != nil {
			return err
		}
		old, err := s.Shared(&c.Tx().View)
		if err != nil {
			return err
		}
		x = Shared{Current: fresh, Rotated: now.UTC()}
		c.Note("old_tokens", "refused")
		if overlap > 0 {
			x.Previous, x.PreviousEnds = old.Current, now.UTC().Add(overlap)
			c.Note("old_tokens", "until "+x.PreviousEnds.Format(time.RFC3339))
		}
		sealed, err := s.sealShared(x)
		if err != nil {
			return err
		}
		return c.Tx().PutSecret(target, sharedRef, sealed, c.Now())
	})
	return x, err
}

// RevealShared shows the shared secret to an administrator and leaves an event. Kinds: Forbidden.
func (s *Site) RevealShared(ctx context.Context) (x Shared, err error) {
	err = s.gate.Reveal(ctx, authz.SharedSecretReveal, target, nil, func(v *gate.Viewing) error {
		x, err = s.Shared(v.View)
		return err
	})
	return x, err
}

func randomKey() []byte {
	key := make([]byte, sharedBytes)
	_, _ = rand.Read(key)
	return key
}
