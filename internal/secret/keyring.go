package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// Ref names a stored secret, for example "machine/abc123/power". The name is bound into the ciphertext, so a
// sealed value moved to another row does not open.
type Ref string

const keyBytes = 32

// The first byte of what is sealed says how to open it.
const (
	formatFirst  = 1 // under the keyset's first key: salt (32), GCM nonce (12), ciphertext and tag
	formatLocal  = 2 // under a numbered key: its number (4), then as above
	formatRemote = 3 // by a back end elsewhere
)

// Keyring seals secrets with AES-256-GCM under the newest key of a keyset. Every value gets a data key of its own, derived with
// HKDF-SHA256 from that key, a random salt and its Ref, so no two values share a key and nonces cannot repeat under one.
// Safe for concurrent use.
type Keyring struct{ set atomic.Pointer[Keyset] }

// OpenKeyring reads a root key from path, or creates it, and returns a keyring whose only key it is. A file that others may read is
// refused.
func OpenKeyring(path string) (*Keyring, error) {
	key, err := LoadOrCreateKey(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open root key: %w", err)
	}
	return NewKeyring(key)
}

// NewKeyring makes a keyring whose only key is a root key of 32 bytes.
func NewKeyring(root []byte) (*Keyring, error) {
	if len(root) != keyBytes {
		return nil, fmt.Errorf("cannot use a root key of %d bytes, want %d", len(root), keyBytes)
	}
	return FirstKeyset(root).Keyring(), nil
}

// Replace has the keyring use another keyset from now on.
func (k *Keyring) Replace(s Keyset) { k.set.Store(&s) }

// Keyset returns the keyset in use.
func (k *Keyring) Keyset() Keyset { return *k.set.Load() }

// Seal encrypts a value for its Ref under the newest key.
func (k *Keyring) Seal(ref Ref, v Value) ([]byte, error) {
	key := k.set.Load().newest()
	out := []byte{formatFirst}
	if key.ID != 0 {
		out = binary.BigEndian.AppendUint32([]byte{formatLocal}, key.ID)
	}
	salt, head := make([]byte, 32), len(out)
	_, _ = rand.Read(salt)
	aead, err := aeadOf(key.Key, ref, salt)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	out = append(append(out, salt...), nonce...)
	return aead.Seal(out, nonce, v.Reveal(), bound(ref, out[:head])), nil
}

// Open decrypts what Seal made for the same Ref. It fails on any change of the bytes, the Ref or the key, and with errUnknownKey when
// the keyset lacks the key.
func (k *Keyring) Open(ref Ref, sealed []byte) (Value, error) {
	id, head := uint32(0), 1
	switch {
	case len(sealed) > 1 && sealed[0] == formatFirst:
	case len(sealed) > 5 && sealed[0] == formatLocal:
		id, head = binary.BigEndian.Uint32(sealed[1:5]), 5
	default:
		return Value{}, fmt.Errorf("cannot open secret %q: unknown format", ref)
	}
	if len(sealed) < head+32+12 {
		return Value{}, fmt.Errorf("cannot open secret %q: unknown format", ref)
	}
	key, ok := k.set.Load().find(id)
	if !ok {
		return Value{}, fmt.Errorf("cannot open secret %q: %w", ref, errUnknownKey)
	}
	salt, rest := sealed[head:head+32], sealed[head+32:]
	aead, err := aeadOf(key.Key, ref, salt)
	if err != nil {
		return Value{}, err
	}
	plain, err := aead.Open(nil, rest[:12], rest[12:], bound(ref, sealed[:head]))
	if err != nil {
		return Value{}, fmt.Errorf("cannot open secret %q: wrong root key or damaged value", ref)
	}
	return own(plain), nil
}

var errUnknownKey = errors.New("its key is not in the keyset")

// bound is what a ciphertext is bound to: its name, and from the second format on its header.
func bound(ref Ref, head []byte) []byte {
	if head[0] == formatFirst {
		return []byte(ref)
	}
	return append(append([]byte(ref), 0), head...)
}

// Current reports whether the newest key sealed this, or a newer one, that another process has added.
func (k *Keyring) Current(sealed []byte) bool {
	key, remote := Where(sealed)
	return len(sealed) > 0 && !remote && key >= k.set.Load().newest().ID
}

func aeadOf(root []byte, ref Ref, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, root, salt, "metalward seal v1 "+string(ref), keyBytes)
	if err != nil {
		return nil, fmt.Errorf("cannot derive data key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("cannot make cipher: %w", err)
	}
	return cipher.NewGCM(block)
}

// LoadOrCreateKey reads a 32-byte key, base64 in a file of mode 0600, or creates it from the system's random
// source. The mode is set at creation whatever the umask; a file that group or others may read is refused.
func LoadOrCreateKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		key := make([]byte, keyBytes)
		_, _ = rand.Read(key)
		if err := WriteFile(path, []byte(base64.StdEncoding.EncodeToString(key)+"\n")); err != nil {
			return nil, err
		}
		return key, nil
	case err != nil:
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("cannot trust %s: mode is %04o, want 0600; run: chmod 600 %s", path, mode, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keyBytes {
		return nil, fmt.Errorf("cannot use %s: not a base64 key of %d bytes", path, keyBytes)
	}
	return key, nil
}

// WriteFile writes a secret file of mode 0600 so that a crash leaves the old content or the new, and no
// other user can read it at any moment.
func WriteFile(path string, data []byte) error {
	tmp := fmt.Sprintf("%s.%d.tmp", path, time.Now().UnixNano())
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp) }()
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return Replace(tmp, path)
}

// Replace moves a file in the place of another of its folder, for good once it returns.
func Replace(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Sync()
}

// Random returns a secret of n random bytes as unpadded base64url text.
func Random(n int) Value {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return FromString(base64.RawURLEncoding.EncodeToString(b))
}

// Derive returns 32 bytes that belong to the instance and a purpose: keys that need no storage of their own. They stay when keys are
// rotated.
func (k *Keyring) Derive(purpose string) []byte {
	return derive(k.set.Load().Base, "metalward derive v1 "+purpose)
}

// DeriveFresh does so for keys that change with each rotation: one result for each key of the keyset, the newest first.
func (k *Keyring) DeriveFresh(purpose string) [][]byte {
	s := k.set.Load()
	out := make([][]byte, 0, len(s.Keys))
	for i := range s.Keys {
		out = append(out, derive(s.Keys[len(s.Keys)-1-i].Key, "metalward derive v1 "+purpose))
	}
	return out
}

func derive(from []byte, purpose string) []byte {
	key, err := hkdf.Key(sha256.New, from, nil, purpose, keyBytes)
	if err != nil {
		panic("cannot derive a key: " + err.Error()) // lengths are constants
	}
	return key
}

// Where says under which key of the keyset something is sealed, or that a back end elsewhere has it.
func Where(sealed []byte) (key uint32, remote bool) {
	switch {
	case len(sealed) > 5 && sealed[0] == formatLocal:
		key = binary.BigEndian.Uint32(sealed[1:5])
	case len(sealed) > 0 && sealed[0] == formatRemote:
		remote = true
	}
	return key, remote
}
