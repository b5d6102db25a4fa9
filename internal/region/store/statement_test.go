package store

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestStatements runs statements again on a connection: nested in themselves, after their text changed meaning, and more
// of them than are kept.
func TestStatements(t *testing.T) {
	ctx := context.Background()
	db, err := openKeeping("file:" + filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	kept := func() (n, busy int) {
		_ = conn.Raw(func(c any) error {
			for _, s := range c.(*keepingConn).kept {
				n++
				if s.busy {
					busy++
				}
			}
			return nil
		})
		return n, busy
	}
	must := func(q string, args ...any) {
		t.Helper()
		if _, err := conn.ExecContext(ctx, q, args...); err != nil {
			t.Fatal(err)
		}
	}
	must("CREATE TABLE x (n INTEGER PRIMARY KEY, s TEXT)")
	for n := range 3 {
		must("INSERT INTO x (n, s) VALUES (?, ?)", n, fmt.Sprint("s", n))
	}
	if n, _ := kept(); n != 1 {
		t.Errorf("got %d statements, want the INSERT alone", n)
	}
	// The same query inside itself: each has its own cursor.
	const q = "SELECT n FROM x WHERE n >= ? ORDER BY n"
	var got []string
	outer, err := conn.QueryContext(ctx, q, 0)
	if err != nil {
		t.Fatal(err)
	}
	for outer.Next() {
		var a, b int
		if err := outer.Scan(&a); err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRowContext(ctx, q, 1).Scan(&b); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(a, b))
	}
	if _, busy := kept(); busy != 0 || outer.Err() != nil {
		t.Errorf("%d statements are busy, %v", busy, outer.Err())
	}
	if want := "0 1,1 1,2 1"; strings.Join(got, ",") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	// A broken rule leaves the statement good.
	if _, err := conn.ExecContext(ctx, "INSERT INTO x (n, s) VALUES (?, ?)", 1, "again"); err == nil {
		t.Error("a doubled key is taken")
	}
	must("INSERT INTO x (n, s) VALUES (?, ?)", 9, "nine")
	// A changed schema is noticed.
	const star = "SELECT * FROM x WHERE n = ?"
	var n, m int
	var s string
	if err := conn.QueryRowContext(ctx, star, 9).Scan(&n, &s); err != nil || s != "nine" {
		t.Errorf("got %d, %q, %v", n, s, err)
	}
	must("ALTER TABLE x ADD COLUMN m INTEGER NOT NULL DEFAULT 7")
	if err := conn.QueryRowContext(ctx, star, 9).Scan(&n, &s, &m); err != nil || m != 7 {
		t.Errorf("got %d, %q, %d, %v after a column was added", n, s, m, err)
	}
	if _, err := conn.ExecContext(ctx, "SELECT nonsense FROM nowhere"); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("got %v, want SQLite's words", err)
	}
	for i := range 3 * maxKept {
		must(fmt.Sprintf("UPDATE x SET s = ? WHERE n = %d", i), "u")
	}
	must("UPDATE x SET s = ? WHERE n = 1 /*"+strings.Repeat("x", maxKeptText)+"*/", "long")
	if n, _ := kept(); n != maxKept {
		t.Errorf("got %d statements, want %d", n, maxKept)
	}
}
