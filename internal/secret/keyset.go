package secret

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Keyset is the keys of an instance. It lives in the database, wrapped by a Root, so that the root can be replaced without touching a
// single secret, and keys can be added while old ones open still.
type Keyset struct {
	// Base is what keys are derived from that must not change, such as that of the trail's checkpoints.
	Base []byte `json:"base"`
	// Keys seal, the last one from now on; there is at least one, and numbers ascend.
	Keys []Key `json:"keys"`
}

// Key is a key of a keyset.
type Key struct {
	ID   uint32    `json:"id"` // 0 for an instance's root key of the time before keysets
	Key  []byte    `json:"key"`
	Made time.Time `json:"made"`
}

// maxKeys bounds the keys of a keyset: each is retired once nothing is sealed with it any more.
const maxKeys = 16

// NewKeyset makes a keyset with one key.
func NewKeyset(now time.Time) Keyset {
	return Keyset{Base: randomKey(), Keys: []Key{{ID: 1, Key: randomKey(), Made: now.UTC()}}}
}

// FirstKeyset is the keyset of an instance that began before there were keysets: all was sealed by and derived from its root key.
func FirstKeyset(root []byte) Keyset {
	return Keyset{Base: bytes.Clone(root), Keys: []Key{{Key: bytes.Clone(root)}}}
}

// Keyring returns a keyring that uses the keyset.
func (s Keyset) Keyring() *Keyring {
	k := &Keyring{}
	k.Replace(s)
	return k
}

// Add returns the keyset with a new key that seals from now on.
func (s Keyset) Add(now time.Time) (Keyset, error) {
	if len(s.Keys) >= maxKeys {
		return s, fmt.Errorf("cannot add a key: the keyset has %d already", len(s.Keys))
	}
	s.Keys = append(append([]Key(nil), s.Keys...), Key{ID: s.newest().ID + 1, Key: randomKey(), Made: now.UTC()})
	return s, nil
}

// Only returns the keyset with its newest key alone.
func (s Keyset) Only() Keyset {
	s.Keys = []Key{s.newest()}
	return s
}

// Since returns the keyset without the keys that had been replaced by a moment.
func (s Keyset) Since(t time.Time) Keyset {
	for len(s.Keys) > 1 && !s.Keys[1].Made.After(t) {
		s.Keys = s.Keys[1:]
	}
	return s
}

func (s *Keyset) newest() Key { return s.Keys[len(s.Keys)-1] }

// Newest is the number of the key that seals, and when it was made; the zero time for the first.
func (s Keyset) Newest() (id uint32, made time.Time) { return s.newest().ID, s.newest().Made }

// Oldest is the number of the oldest key that opens still.
func (s Keyset) Oldest() uint32 { return s.Keys[0].ID }

func (s *Keyset) find(id uint32) (Key, bool) {
	for _, k := range s.Keys {
		if k.ID == id {
			return k, true
		}
	}
	return Key{}, false
}

// Wrap returns the keyset as a root keeps it.
func (s Keyset) Wrap(ctx context.Context, r Root) ([]byte, error) {
	plain, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return r.Wrap(ctx, plain)
}

// UnwrapKeyset reads what Wrap made.
func UnwrapKeyset(ctx context.Context, r Root, wrapped []byte) (s Keyset, err error) {
	plain, err := r.Unwrap(ctx, wrapped)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(plain, &s); err != nil {
		return s, errors.New("cannot read the keyset: it is damaged")
	}
	if len(s.Base) != keyBytes || len(s.Keys) == 0 || len(s.Keys) > maxKeys {
		return s, errors.New("cannot use the keyset: it is damaged")
	}
	for i, k := range s.Keys {
		if len(k.Key) != keyBytes || i > 0 && k.ID <= s.Keys[i-1].ID {
			return s, errors.New("cannot use the keyset: it is damaged")
		}
	}
	return s, nil
}

// Root wraps the keyset of an instance: a key in a file, of systemd's credentials, of the TPM, or Vault's transit engine.
type Root interface {
	// ID names the root in the database, so that its wrapping is found. It is no secret.
	ID() string
	Wrap(ctx context.Context, plain []byte) ([]byte, error)
	Unwrap(ctx context.Context, wrapped []byte) ([]byte, error)
}

// KeyRoot is a root that is a key of 32 bytes, wherever that comes from.
type KeyRoot struct{ key []byte }

// NewKeyRoot makes a root of a key of 32 bytes.
func NewKeyRoot(key []byte) (*KeyRoot, error) {
	if len(key) != keyBytes {
		return nil, fmt.Errorf("cannot use a root key of %d bytes, want %d", len(key), keyBytes)
	}
	return &KeyRoot{bytes.Clone(key)}, nil
}

// First is the keyset that the key was before there were keysets.
func (r *KeyRoot) First() Keyset { return FirstKeyset(r.key) }

// ID is part of Root.
func (r *KeyRoot) ID() string {
	return "key:" + hex.EncodeToString(derive(r.key, "metalward root id")[:8])
}

// Wrap is part of Root. Layout: GCM nonce (12), ciphertext and tag.
func (r *KeyRoot) Wrap(_ context.Context, plain []byte) ([]byte, error) {
	aead, err := r.aead()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	return aead.Seal(nonce, nonce, plain, []byte(r.ID())), nil
}

// Unwrap is part of Root.
func (r *KeyRoot) Unwrap(_ context.Context, wrapped []byte) ([]byte, error) {
	aead, err := r.aead()
	if err != nil {
		return nil, err
	}
	n := aead.NonceSize()
	if len(wrapped) < n {
		return nil, errors.New("cannot open the keyset: it is damaged")
	}
	plain, err := aead.Open(nil, wrapped[:n], wrapped[n:], []byte(r.ID()))
	if err != nil {
		return nil, errors.New("cannot open the keyset: wrong root key, or damaged")
	}
	return plain, nil
}

func (r *KeyRoot) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(derive(r.key, "metalward root wrap v1"))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func randomKey() []byte {
	b := make([]byte, keyBytes)
	_, _ = rand.Read(b)
	return b
}
