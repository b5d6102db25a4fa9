package identity

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"

	"github.com/metalward/metalward/internal/secret"
)

// Dummy is the hash that an unknown user's password is compared with.
const Dummy = dummy

// HashWork is the part of a hash that says how much work it is.
func HashWork(encoded string) string {
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 {
		return ""
	}
	return strings.Join(parts[1:4], "$")
}

// HashWith hashes a password with other parameters than today's.
func HashWith(t testing.TB, password string, passes, memoryKiB uint32) string {
	t.Helper()
	salt := []byte("sixteen bytes!!!")
	key := argon2.IDKey([]byte(password), salt, passes, memoryKiB, 1, 32)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, memoryKiB, passes, b64.EncodeToString(salt), b64.EncodeToString(key))
}

// TOTPCode is the code of a time step.
func TOTPCode(key secret.Value, step int64) string { return totpCode(key, step) }
