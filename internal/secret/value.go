// Package secret is the only home of secrets: values that refuse to print, and the keyring that seals them
// before they reach a disk.
//
// Start with Value, then Keyring. The package does no I/O but reading and creating key files.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Value holds a secret. It prints as [redacted] under fmt, slog and encoding/json, and refuses to be decoded
// from JSON by accident: messages that must carry a secret say so with Reveal and NewValue.
// The zero Value is an empty secret.
type Value struct {
	// b is behind a function because fmt prints unexported fields of other structs without asking their methods,
	// and follows a pointer there under a wrong verb. Of a function it shows an address.
	b func() []byte
}

func own(b []byte) Value { return Value{b: func() []byte { return b }} }

// NewValue wraps a secret. The bytes are copied.
func NewValue(b []byte) Value { return own(append([]byte(nil), b...)) }

// FromString wraps a secret text.
func FromString(s string) Value { return own([]byte(s)) }

// Reveal returns the secret's bytes, which the caller must not keep or change.
func (v Value) Reveal() []byte {
	if v.b == nil {
		return nil
	}
	return v.b()
}

// RevealString returns the secret as text.
func (v Value) RevealString() string { return string(v.Reveal()) }

// Empty reports whether there is no secret.
func (v Value) Empty() bool { return len(v.Reveal()) == 0 }

// Equal compares in constant time.
func (v Value) Equal(o Value) bool { return subtle.ConstantTimeCompare(v.Reveal(), o.Reveal()) == 1 }

// Hash is the SHA-256 of the secret in hex: what is stored of a random credential that only has to be
// recognized again. Never use it for passwords, which people choose.
func (v Value) Hash() string {
	sum := sha256.Sum256(v.Reveal())
	return hex.EncodeToString(sum[:])
}

// String prints [redacted].
func (v Value) String() string { return redacted }

// GoString prints [redacted].
func (v Value) GoString() string { return redacted }

// Format prints [redacted] under every verb.
func (v Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue prints [redacted] under slog.
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON writes "[redacted]".
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText writes [redacted].
func (v Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalJSON refuses: a secret enters through NewValue, where a reader of the code can see it.
func (v *Value) UnmarshalJSON([]byte) error {
	return errors.New("cannot decode a secret from JSON implicitly")
}
