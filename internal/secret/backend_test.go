package secret_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/secret/secrettest"
)

// now is a safe as a back end.
type now struct{ *secret.Safe }

func (s now) Seal(ctx context.Context, ref secret.Ref, v secret.Value) ([]byte, error) {
	return s.SealNow(ctx, ref, v)
}

func (s now) Open(ctx context.Context, ref secret.Ref, sealed []byte) (secret.Value, error) {
	return s.OpenNow(ctx, ref, sealed)
}

// TestConformance runs the suite of back ends over the keyring, of an instance that began before there were keysets and of one that
// did not. internal/vault runs it over Vault.
func TestConformance(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	safe := func(s secret.Keyset) secret.Backend {
		return now{secret.NewSafe(s.Keyring(), func() time.Time { return start }, nil)}
	}
	for name, set := range map[string][2]secret.Keyset{
		"first":    {secret.FirstKeyset(bytes.Repeat([]byte{1}, 32)), secret.FirstKeyset(bytes.Repeat([]byte{2}, 32))},
		"numbered": {secret.NewKeyset(start), secret.NewKeyset(start)},
	} {
		t.Run(name, func(t *testing.T) { secrettest.Suite(t, safe(set[0]), safe(set[1])) })
	}
}
