package catalog

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the SQLite that the reader and the samples are held against

	"github.com/metalward/metalward/internal/guard"
)

// What is read of profiles is what SQLite wrote, whatever size they and the pages have, and SQLite reads the samples.
func TestProfiles(t *testing.T) {
	open := func(file string) *sql.DB {
		t.Helper()
		db, err := sql.Open("sqlite", file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	for _, pageSize := range []int{512, 1024, 4096, 65536} {
		file := filepath.Join(t.TempDir(), "profiles.db")
		db := open(file)
		do := func(query string, args ...any) {
			t.Helper()
			if _, err := db.Exec(query, args...); err != nil {
				t.Fatal(err)
			}
		}
		do(fmt.Sprintf("PRAGMA page_size = %d", pageSize))
		do("CREATE TABLE IF NOT EXISTS profiles (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, data BLOB)") // src/maascli/config.py
		do("BEGIN")
		want := map[string]string{}
		add := func(size int) {
			name, address := fmt.Sprintf("p%d", size), fmt.Sprintf("https://h%d/", size)
			text, err := json.Marshal(map[string]any{"credentials": []string{"a", "b", "c"}, "description": strings.Repeat("v", size), "url": address})
			if err != nil {
				t.Fatal(err)
			}
			do("INSERT OR REPLACE INTO profiles (name, data) VALUES (?, ?)", name, string(text))
			want[name] = address
		}
		for i := range 100 {
			add(i * i)
		}
		for size := pageSize - 140; size < pageSize+20; size++ { // about where values leave the page
			add(size)
		}
		add(700_000)
		do("DELETE FROM profiles WHERE name = 'p81'")
		do("COMMIT")
		delete(want, "p81")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := sampled(t, []guard.Entry{{Path: "/x", Content: string(content)}}).Profiles("/x")
		if err != nil || len(got) != len(want) {
			t.Fatalf("pages of %d: got %d profiles, %v; want %d", pageSize, len(got), err, len(want))
		}
		for _, p := range got {
			if want[p.Name] != p.URL {
				t.Errorf("pages of %d, %s: got %q, want %q", pageSize, p.Name, p.URL, want[p.Name])
			}
		}
	}
	file := filepath.Join(t.TempDir(), "sample.db")
	if err := os.WriteFile(file, []byte(profileFile("admin", "https://maas.example:5443/MAAS/api/2.0/")), 0o600); err != nil {
		t.Fatal(err)
	}
	var name, data, sound string
	if err := open(file).QueryRow("SELECT name, data FROM profiles").Scan(&name, &data); err != nil || name != "admin" || !strings.Contains(data, "https://maas.example:5443/") {
		t.Errorf("SQLite reads of the sample: %q, %q, %v", name, data, err)
	}
	if err := open(file).QueryRow("PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
		t.Errorf("SQLite says of the sample: %q, %v", sound, err)
	}
}
