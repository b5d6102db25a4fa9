package store_test

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
)

// TestDump moves a database from one engine to the other and back: every row is there, ids go on where they were, and
// nothing comes of a dump that is damaged, or into a database that is in use.
func TestDump(t *testing.T) {
	dsns := map[string]func(*testing.T) string{"sqlite": regiontest.SQLite, "postgres": func(t *testing.T) string { return regiontest.Postgres(t) }}
	open := func(t *testing.T, engine string) (*store.Reader, *store.Writer) {
		t.Helper()
		r, w, err := store.Open(t.Context(), dsns[engine](t))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = r.Close(), w.Close() })
		return r, w
	}
	pool := func(t *testing.T, w *store.Writer, name string) (id int64) {
		t.Helper()
		err := w.Do(t.Context(), func(tx *store.Tx) error {
			p := metal.ResourcePool{Name: name}
			err := tx.AddPool(&p)
			id = p.ID
			return err
		}, func(*store.Tx) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for from, to := range map[string]string{"sqlite": "postgres", "postgres": "sqlite"} {
		t.Run(from+" to "+to, func(t *testing.T) {
			r, w := open(t, from)
			err := w.Do(t.Context(), func(tx *store.Tx) error {
				u := store.UserRow{User: metal.User{Name: "zoë", Email: "z@example.com", Created: t0}, Password: "x"}
				if err := tx.AddUser(&u); err != nil {
					return err
				}
				for i := range 300 {
					m := metal.Machine{SystemID: metal.NewSystemID(), Hostname: fmt.Sprintf("node%d", i), Description: "line\n\"quoted\" \u2028 <b>", ZoneID: metal.DefaultZoneID, Architecture: "amd64/generic", Created: t0, Updated: t0}
					if err := tx.AddMachine(&m); err != nil {
						return err
					}
				}
				return tx.PutSecret(authz.Target{Noun: authz.NounSite}, "x/1", []byte{0, 255, 1, '{'}, t0)
			}, func(*store.Tx) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			pool(t, w, "a")
			last := pool(t, w, "gone")
			if err := w.Do(t.Context(), func(tx *store.Tx) error { return tx.DeletePool(last) }, func(*store.Tx) error { return nil }); err != nil {
				t.Fatal(err)
			}
			var dump bytes.Buffer
			was, err := r.Dump(t.Context(), &dump)
			if err != nil {
				t.Fatal(err)
			}
			if was["machines"].Rows != 300 || was["secrets"].Rows != 1 || len(was) < 30 {
				t.Fatalf("got digests of %d tables: %v", len(was), was["machines"])
			}
			r2, w2 := open(t, to)
			text := dump.String()
			for name, bad := range map[string]string{"empty": "", "cut": text[:len(text)/2], "without its last line": text[:strings.LastIndexByte(text[:len(text)-1], '\n')+1], "a row short": strings.Replace(text, "\"node7\"", "\"node8\"", 1),
				"with something behind": text + "{}\n", "a column too few": strings.Replace(text, `"columns":["`, `"columns":["x","`, 1), "another version": strings.Replace(text, `"schema":`, `"schema":9`, 1), "no dump": "hello\n"} {
				if err := w2.Load(t.Context(), strings.NewReader(bad), nil); err == nil {
					t.Fatalf("%s: loaded", name)
				} else if name != "a row short" && !fault.Is(err, fault.Invalid) {
					t.Errorf("%s: got %v, want Invalid", name, err)
				}
			}
			tables := 0
			if err := w2.Load(t.Context(), strings.NewReader(text), func(string, int64) { tables++ }); err != nil {
				t.Fatal(err)
			}
			now, err := r2.Dump(t.Context(), &bytes.Buffer{})
			if err != nil || !maps.Equal(was, now) || tables != len(was) {
				t.Errorf("got other rows, %v, after %d tables: %v, want %v", err, tables, now, was)
			}
			if id := pool(t, w2, "next"); id != last+1 {
				t.Errorf("the next pool has id %d, want %d: the id of a deleted one is not given out again", id, last+1)
			}
			if err := w2.Load(t.Context(), strings.NewReader(text), nil); !fault.Is(err, fault.Conflict) {
				t.Errorf("loaded into a database in use: %v", err)
			}
		})
	}
}
