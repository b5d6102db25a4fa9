package store

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
)

// TestDeletedIsErased looks for what was deleted in the bytes of the SQLite file: a keyset's wrapping under an old root key, for one, is worth
// something to who has that key.
func TestDeletedIsErased(t *testing.T) {
	path := filepath.Join(t.TempDir(), "metalward.db")
	r, w, err := Open(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	site := authz.Target{Noun: authz.NounSite, ID: "site"}
	do := func(fn func(tx *Tx) error) {
		t.Helper()
		if err := w.Do(t.Context(), fn, func(*Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	old := bytes.Repeat([]byte("wrapped by the old root "), 20)
	has := func() bool {
		t.Helper()
		if _, err := w.db.ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(file, old[:48])
	}
	do(func(tx *Tx) error { return tx.PutKeyset(site, Keyset{Root: "old", Wrapped: old, Made: time.Now()}) })
	if !has() {
		t.Fatal("what is there is not found")
	}
	do(func(tx *Tx) error {
		return tx.PutKeyset(site, Keyset{Root: "new", Wrapped: []byte("x"), Made: time.Now()})
	})
	do(func(tx *Tx) error { return tx.DropKeyset(site, "old") })
	if has() {
		t.Error("what was deleted is in the file still")
	}
}
