package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Ref names a stored secret, for example "machine/abc123/power". The name is bound into the ciphertext, so a
// sealed value moved to another row does not open.
type Ref string

const (
	keyBytes    = 32
	sealVersion = 1
)

// Keyring seals secrets with AES-256-GCM under a root key that lives in a file of mode 0600 outside the
// database. Every value gets a data key of its own, derived with HKDF-SHA256 from the root key, a random salt
// and its Ref, so no two values share a key and nonces cannot repeat under one.
// Safe for concurrent use.
type Keyring struct{ root []byte }

// OpenKeyring reads the root key from path, or creates it. A file that others may read is refused.
func OpenKeyring(path string) (*Keyring, error) {
	key, err := LoadOrCreateKey(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open root key: %w", err)
	}
	return &Keyring{root: key}, nil
}

// NewKeyring makes a keyring from a root key of 32 bytes.
func NewKeyring(root []byte) (*Keyring, error) {
	if len(root) != keyBytes {
		return nil, fmt.Errorf("cannot use a root key of %d bytes, want %d", len(root), keyBytes)
	}
	return &Keyring{root: append([]byte(nil), root...)}, nil
}

// Seal encrypts a value for its Ref. Layout: version (1 byte), salt (32), GCM nonce (12), ciphertext and tag.
func (k *Keyring) Seal(ref Ref, v Value) ([]byte, error) {
	salt := make([]byte, 32)
	_, _ = rand.Read(salt)
	aead, err := k.aead(ref, salt)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	out := append([]byte{sealVersion}, salt...)
	out = append(out, nonce...)
	return aead.Seal(out, nonce, v.Reveal(), []byte(ref)), nil
}

// Open decrypts what Seal made for the same Ref. It fails on any change of the bytes, the Ref or the root key.
func (k *Keyring) Open(ref Ref, sealed []byte) (Value, error) {
	if len(sealed) < 1+32+12 || sealed[0] != sealVersion {
		return Value{}, fmt.Errorf("cannot open secret %q: unknown format", ref)
	}
	salt, rest := sealed[1:33], sealed[33:]
	aead, err := k.aead(ref, salt)
	if err != nil {
		return Value{}, err
	}
	plain, err := aead.Open(nil, rest[:12], rest[12:], []byte(ref))
	if err != nil {
		return Value{}, fmt.Errorf("cannot open secret %q: wrong root key or damaged value", ref)
	}
	return own(plain), nil
}

func (k *Keyring) aead(ref Ref, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, k.root, salt, "metalward seal v1 "+string(ref), keyBytes)
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
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
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

// Derive returns 32 bytes that belong to the root key and a purpose: keys that need no storage of their own.
func (k *Keyring) Derive(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, k.root, nil, "metalward derive v1 "+purpose, keyBytes)
	if err != nil {
		panic("cannot derive a key: " + err.Error()) // lengths are constants
	}
	return key
}
