package store_test

import (
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// TestVerifierInLog: the log of a server that logs every statement has the verifier and never the password. That the server takes
// the verifier for the password is proved by logging in, in package region.
func TestVerifierInLog(t *testing.T) {
	p := regiontest.NewOwnPostgres(t, "-c", "log_statement=all", "-c", "log_min_messages=info")
	r, w, err := store.Open(t.Context(), p.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(); _ = w.Close() }()
	v, err := store.Verifier(secret.FromString("canary-password-of-a-role"), []byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SetPassword(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	log := p.Log()
	if !strings.Contains(log, "SCRAM-SHA-256$4096:") || strings.Contains(log, "canary-password") {
		t.Errorf("the log has the password, or no verifier:\n%.600s", log)
	}
	for _, bad := range []string{"", "x", v + "'", "'; DROP ROLE x; --", strings.Replace(v, "$", "", 1)} {
		if err := w.SetPassword(t.Context(), bad); !fault.Is(err, fault.Internal) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestPasswordOfAFile(t *testing.T) {
	r, w, err := store.Open(t.Context(), regiontest.SQLite(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close(); _ = w.Close() }()
	if err := w.SetPassword(t.Context(), "SCRAM-SHA-256$4096:x"); !fault.Is(err, fault.Conflict) {
		t.Errorf("got %v", err)
	}
}
