package host

import (
	"os"
	"testing"
)

// FuzzSQLite: whatever a file has, reading it ends, and soon. That what is read is what SQLite wrote is tested in guard/catalog: SQLite in this
// program would slow down each of this package's fuzz targets.
func FuzzSQLite(f *testing.F) {
	whole, err := os.ReadFile("testdata/profiles.db")
	if err != nil {
		f.Fatal(err)
	}
	if rows, err := sqliteTable(whole, "profiles"); err != nil || len(rows) != 13 {
		f.Fatalf("got %d rows, %v; want 13", len(rows), err)
	}
	f.Add(whole)
	f.Add(whole[:100])
	f.Fuzz(func(t *testing.T, data []byte) {
		rows, _ := sqliteTable(data, "profiles")
		if len(rows) > maxRows {
			t.Errorf("got %d rows", len(rows))
		}
	})
}
