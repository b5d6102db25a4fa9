package audit_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/region/audit"
	"github.com/metalward/metalward/internal/region/regiontest"
)

// A trail that grows while it is checked is whole, and the check covers what was there at its beginning; a long one is read in pages.
func TestSteps(t *testing.T) {
	regiontest.Engines(t, func(t *testing.T, dsn string) {
		x := chained(t, dsn)
		if n, err := audit.VerifySteps(ctx, x.r, pub); err != nil || n != 12 {
			t.Errorf("got %d rows, %v; want 12", n, err)
		}
		x.must(x.append(1200))
		for n := -1; n != 0; {
			var err error
			if n, err = x.seal(); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		grow, stop := context.WithCancel(ctx)
		wg.Go(func() {
			for grow.Err() == nil {
				x.must(x.append(2))
				if _, err := x.seal(); err != nil {
					t.Error(err)
				}
			}
		})
		for range 5 {
			if n, err := audit.VerifySteps(ctx, x.r, pub); err != nil || n < 1212 {
				t.Errorf("while it grows: got %d rows, %v", n, err)
			}
		}
		stop()
		wg.Wait()
	})
}

// The trail is checked after the start and daily; a check that could not be made is made again in an hour.
func TestCheckLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []time.Duration
		answers := []error{nil, errors.New("no database"), &audit.Broken{Region: "r", Row: 7}, nil}
		ctx, cancel := context.WithCancel(t.Context())
		audit.CheckLoop(ctx, func(context.Context) (int64, error) { return 1, answers[len(at)] }, func(_ int64, err error) {
			if !errors.Is(err, answers[len(at)]) {
				t.Errorf("got %v", err)
			}
			if at = append(at, time.Since(begin)); len(at) == len(answers) {
				cancel()
			}
		})
		want := []time.Duration{time.Minute, 24*time.Hour + time.Minute, 25*time.Hour + time.Minute, 49*time.Hour + time.Minute}
		for i := range want {
			if i >= len(at) || at[i] != want[i] {
				t.Fatalf("got %v, want %v", at, want)
			}
		}
	})
}
