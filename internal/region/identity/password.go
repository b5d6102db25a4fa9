package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// Argon2id parameters of new hashes. Source: OWASP Password Storage Cheat Sheet (m=19 MiB, t=2, p=1).
const (
	argonMemoryKiB = 19 * 1024
	argonTime      = 2
	argonThreads   = 1
	// maxHashes bounds the hashes computed at once: each takes 19 MiB.
	maxHashes = 4
	// maxWaiting bounds those who wait for their turn: some seconds' worth.
	maxWaiting = 200
)

type hasher struct {
	slots   chan struct{}
	waiting atomic.Int32
}

func newHasher() *hasher { return &hasher{slots: make(chan struct{}, maxHashes)} }

// enter takes a slot, waiting for one. Kinds: Unavailable with RetryAfter when too many wait.
func (h *hasher) enter(ctx context.Context) error {
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > maxWaiting {
		return &fault.Error{Kind: fault.Unavailable, Message: "Too many people log in at once; try again in a moment.", RetryAfter: 5 * time.Second}
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hash returns an encoded Argon2id hash in the PHC string format.
func (h *hasher) hash(ctx context.Context, password secret.Value) (string, error) {
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer h.leave()
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	key := argon2.IDKey(password.Reveal(), salt, argonTime, argonMemoryKiB, argonThreads, 32)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemoryKiB, argonTime, argonThreads, b64.EncodeToString(salt), b64.EncodeToString(key)), nil
}

// dummy is the hash compared for users who do not exist, so that they take as long as those who do.
const dummy = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// leave gives back the slot that enter took.
func (h *hasher) leave() { <-h.slots }

// current reports whether a hash has the parameters of new ones.
func current(encoded string) bool {
	return strings.HasPrefix(encoded, fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$", argon2.Version, argonMemoryKiB, argonTime, argonThreads))
}

// check reports whether the password has the hash. The caller holds a slot.
func (h *hasher) check(encoded string, password secret.Value) bool {
	var version int
	var memory, time uint32
	var threads uint8
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &time, &threads); err != nil ||
		version != argon2.Version || memory > 1<<20 || time == 0 || time > 64 || threads == 0 {
		return false
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		return false
	}
	want, err := base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || len(want) == 0 {
		return false
	}
	got := argon2.IDKey(password.Reveal(), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}
