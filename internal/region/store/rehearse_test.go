package store_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
)

// TestRehearsal holds the rehearsal itself: what is done twice is there once, and a call that cannot be run again is found out.
func TestRehearsal(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		r, w, err := store.OpenWith(ctx, store.Database{DSN: dsn, Rehearse: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = r.Close(), w.Close() })
		do := func(fn func(*store.Tx) error) error { return w.Do(ctx, fn, func(*store.Tx) error { return nil }) }
		runs := 0
		if err := do(func(tx *store.Tx) error { runs++; return tx.AddPool(&metal.ResourcePool{Name: "once"}) }); err != nil || runs != 2 {
			t.Fatalf("ran %d times: %v", runs, err)
		}
		d := &db{t, r, w}
		if got := read(d, (*store.View).Pools); len(got) != 2 { // and the default one
			t.Errorf("got pools %+v", got)
		}
		runs = 0
		err = do(func(tx *store.Tx) error {
			if runs++; runs == 2 {
				return nil
			}
			return tx.AddPool(&metal.ResourcePool{Name: "counted outside"})
		})
		if err == nil || !strings.Contains(err.Error(), "did something else") {
			t.Errorf("got %v of a call that does something else the second time", err)
		}
		mine := fault.New(fault.Conflict, "mine")
		if err := do(func(tx *store.Tx) error { return errors.Join(tx.AddPool(&metal.ResourcePool{Name: "refused"}), mine) }); !fault.Is(err, fault.Conflict) {
			t.Errorf("got %v of a call that is refused each time", err)
		}
		if got := read(d, (*store.View).Pools); len(got) != 2 {
			t.Errorf("got pools %+v", got)
		}
	})
}
