package power

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

// driver is a fake whose answer is a function.
type driver func(context.Context, Request) (metal.PowerState, error)

func (driver) Name() string { return "fake" }

func (d driver) Do(ctx context.Context, r Request) (metal.PowerState, error) { return d(ctx, r) }

var quiet = slog.New(slog.DiscardHandler)

func request(a metal.PowerAction, address string) Request {
	return Request{Action: a, Parameters: NewParameters(metal.PowerParameters{"power_address": address, "power_pass": "hush"})}
}

func TestOneCommandPerBMC(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int32
		s := NewSet(quiet, driver(func(ctx context.Context, r Request) (metal.PowerState, error) {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return metal.PowerOn, nil
		}))
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := s.Do(t.Context(), "fake", request(metal.ActionOn, "10.0.0.9"), 0); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if most.Load() != 1 || len(s.bmcs) != 0 {
			t.Errorf("got %d commands at once and %d BMCs remembered; want 1 and 0", most.Load(), len(s.bmcs))
		}
	})
}

func TestBusyBMCTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSet(quiet, driver(func(ctx context.Context, r Request) (metal.PowerState, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}))
		go func() { _, _ = s.Do(t.Context(), "fake", request(metal.ActionOn, "b"), time.Minute) }()
		synctest.Wait()
		if _, err := s.Do(t.Context(), "fake", request(metal.ActionOn, "b"), time.Second); !fault.Is(err, fault.Unavailable) {
			t.Errorf("got %v; want Unavailable", err)
		}
		time.Sleep(2 * time.Minute)
	})
}

func TestQueryBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, broken := 0, true
		s := NewSet(quiet, driver(func(context.Context, Request) (metal.PowerState, error) {
			calls++
			if broken {
				return "", fault.New(fault.Unavailable, "The BMC is away.")
			}
			return metal.PowerOff, nil
		}))
		do := func(a metal.PowerAction) error {
			_, err := s.Do(t.Context(), "fake", request(a, "b"), 0)
			return err
		}
		start := time.Now()
		for time.Since(start) < time.Hour {
			err := do(metal.ActionQuery)
			if !fault.Is(err, fault.Unavailable) {
				t.Fatalf("got %v; want Unavailable", err)
			}
			time.Sleep(time.Second)
		}
		if calls < 8 || calls > 14 { // 15, 30 … 600 s apart
			t.Errorf("got %d queries in an hour", calls)
		}
		err := do(metal.ActionQuery)
		if f, _ := fault.As(err); f == nil || f.RetryAfter <= 0 {
			t.Errorf("got %v; want a RetryAfter", err)
		}
		before := calls
		_ = do(metal.ActionOn)
		if calls != before+1 {
			t.Error("a command must be tried during back-off")
		}
		broken = false
		if err := do(metal.ActionOn); err != nil {
			t.Fatal(err)
		}
		if err := do(metal.ActionQuery); err != nil || len(s.bmcs) != 0 {
			t.Errorf("after a success: got %v and %d BMCs remembered", err, len(s.bmcs))
		}
	})
}

func TestDriverTrouble(t *testing.T) {
	s := NewSet(quiet, driver(func(ctx context.Context, r Request) (metal.PowerState, error) {
		if r.Action == metal.ActionOff {
			panic("index out of range")
		}
		<-ctx.Done()
		return "", ctx.Err()
	}))
	if _, err := s.Do(t.Context(), "fake", request(metal.ActionOff, "b"), 0); !fault.Is(err, fault.Internal) {
		t.Errorf("panic: got %v", err)
	}
	if _, err := s.Do(t.Context(), "fake", request(metal.ActionOn, "b"), 10*time.Millisecond); !fault.Is(err, fault.Unavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("deadline: got %v", err)
	}
	if _, err := s.Do(t.Context(), "telepathy", request(metal.ActionOn, "b"), 0); !fault.Is(err, fault.Invalid) {
		t.Errorf("unknown driver: got %v", err)
	}
}

func TestParametersDoNotPrint(t *testing.T) {
	r := request(metal.ActionOn, "b")
	var out bytes.Buffer
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "request", r, "parameters", r.Parameters)
	_ = json.NewEncoder(&out).Encode(r)
	fmt.Fprintf(&out, "%v %+v %#v %s %q", r, r, r, r.Parameters, r.Parameters)
	if strings.Contains(out.String(), "hush") {
		t.Errorf("a secret was printed: %s", out.String())
	}
}
