package rack

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/wire"
)

// The host is checked after the start, daily, and when the region asks; a region that is away gets the report when it is back, made anew if that
// took long.
func TestHostLoop(t *testing.T) {
	dir := enrolled(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRack(t, dir)
		var mu sync.Mutex // guards the rest
		checks, sent := 0, 0
		var answer error
		answers := func(err error) { mu.Lock(); defer mu.Unlock(); answer = err }
		r.CheckHost = func(context.Context) guard.HostReport {
			mu.Lock()
			defer mu.Unlock()
			checks++
			return guard.HostReport{}
		}
		send := func(context.Context, guard.HostReport) error {
			mu.Lock()
			defer mu.Unlock()
			if answer == nil {
				sent++
			}
			return answer
		}
		ctx, cancel := context.WithCancel(t.Context())
		go r.hostLoop(ctx, send)
		step := func(name string, d time.Duration, wantChecks, wantSent int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if checks != wantChecks || sent != wantSent {
				t.Errorf("%s: got %d checks, %d sent, want %d, %d", name, checks, sent, wantChecks, wantSent)
			}
		}
		step("at the start", hostSettle-time.Second, 0, 0)
		step("seconds after", 2*time.Second, 1, 1)
		step("within the day", 23*time.Hour, 1, 1)
		step("a day after", 2*time.Hour, 2, 2)
		if _, err := r.handlers()[wire.CheckHost.Name](ctx, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		step("asked", time.Second, 3, 3)
		answers(fault.New(fault.Unavailable, "away"))
		step("the region is away", 24*time.Hour+10*time.Minute, 4, 3)
		answers(nil)
		step("it is back", hostResend, 4, 4)
		answers(fault.New(fault.Unavailable, "away"))
		step("away for long", 24*time.Hour+2*time.Hour, 6, 4)
		answers(nil)
		step("back", 2*hostAgain, 6, 5)
		answers(fault.New(fault.Invalid, "no"))
		step("refused", 24*time.Hour, 7, 5)
		cancel()
		synctest.Wait()
	})
}
