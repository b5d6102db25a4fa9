package power

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

// Limits of the dispatcher.
const (
	// DefaultTimeout bounds a command whose request names no time; MaxTimeout bounds what it may name.
	DefaultTimeout = 45 * time.Second
	MaxTimeout     = 5 * time.Minute
	// firstBackoff is the pause after a BMC's first failed query; it doubles with each further one. It is
	// below the shortest useful polling interval, so one lost packet delays nothing.
	firstBackoff = 15 * time.Second
	maxBackoff   = 10 * time.Minute
	// maxTracked bounds how many BMCs are remembered as busy or failing.
	maxTracked = 20_000
)

// Set carries out power requests with the drivers it was given. Safe for concurrent use.
type Set struct {
	drivers map[string]Driver
	log     *slog.Logger
	now     func() time.Time

	mu   sync.Mutex
	bmcs map[string]*bmc // guarded by mu; holds only BMCs that are busy or failing
}

// bmc is what is remembered of one BMC. All fields but turn are guarded by Set.mu.
type bmc struct {
	turn     chan struct{} // holds a token while a command runs
	users    int           // commands that run or wait
	failures int           // queries failed in a row
	notUntil time.Time
	last     error
}

// NewSet makes a dispatcher over the drivers.
func NewSet(log *slog.Logger, drivers ...Driver) *Set {
	s := &Set{drivers: map[string]Driver{}, log: log, now: time.Now, bmcs: map[string]*bmc{}}
	for _, d := range drivers {
		s.drivers[d.Name()] = d
	}
	return s
}

// Do carries out a request with the driver of a power type. timeout 0 means DefaultTimeout. Kinds: Invalid for
// a power type without a driver, Exhausted when too many BMCs are busy, and those of Driver.Do; a query during
// back-off returns the failure that caused it, with RetryAfter.
func (s *Set) Do(ctx context.Context, powerType string, req Request, timeout time.Duration) (metal.PowerState, error) {
	d := s.drivers[powerType]
	if d == nil {
		return metal.PowerError, fault.New(fault.Invalid, "This rack has no driver for power type %q.", powerType)
	}
	state := metal.PowerError
	err := s.inTurn(ctx, powerType, req.Action, req.Parameters, timeout, func(ctx context.Context) error {
		return s.guarded(powerType, func() (err error) {
			if state, err = d.Do(ctx, req); err != nil {
				state = metal.PowerError
			}
			return err
		})
	})
	return state, err
}

// inTurn runs fn when no other command runs on the BMC that the parameters name, bounds its time, and learns from how it ended.
func (s *Set) inTurn(ctx context.Context, powerType string, action metal.PowerAction, p Parameters, timeout time.Duration, fn func(context.Context) error) error {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, min(timeout, MaxTimeout))
	defer cancel()

	address := strings.ToLower(strings.TrimSpace(p.Get("power_address")))
	if address == "" {
		return fn(ctx) // nothing to take turns at
	}
	key := powerType + " " + address
	b, err := s.enter(key, action)
	if err != nil {
		return err
	}
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		s.leave(key, b, action, false, nil)
		return fault.New(fault.Unavailable, "The BMC is still busy with an earlier command.")
	}
	err = fn(ctx)
	<-b.turn
	s.leave(key, b, action, true, err)
	if err != nil {
		s.log.WarnContext(ctx, "power command failed", "power_type", powerType, "bmc", address, "action", string(action), "error", err)
	}
	return err
}

// enter counts a command in, unless the BMC is in back-off and only asked how it is.
func (s *Set) enter(key string, action metal.PowerAction) (*bmc, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.bmcs[key]
	if b == nil {
		if len(s.bmcs) >= maxTracked && !s.forgetOne() {
			return nil, fault.New(fault.Exhausted, "This rack is busy with too many BMCs at once.")
		}
		b = &bmc{turn: make(chan struct{}, 1)}
		s.bmcs[key] = b
	}
	if wait := b.notUntil.Sub(s.now()); action == metal.ActionQuery && b.failures > 0 && wait > 0 {
		e := fault.New(fault.KindOf(b.last), "%s", fault.Message(b.last))
		e.RetryAfter = wait
		return nil, e
	}
	b.users++
	return b, nil
}

// leave counts a command out and, if it ran, learns from how it ended. A person's command is always tried, but
// says as much about the BMC as a query does.
func (s *Set) leave(key string, b *bmc, action metal.PowerAction, ran bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.users--
	switch {
	case !ran, errors.Is(err, context.Canceled): // the caller went away: the BMC is not to blame
	case err == nil:
		b.failures, b.last = 0, nil
	case action == metal.ActionQuery || fault.Is(err, fault.Unavailable):
		b.last = err
		b.notUntil = s.now().Add(min(firstBackoff<<min(b.failures, 10), maxBackoff))
		b.failures++
	}
	if b.users == 0 && b.failures == 0 {
		delete(s.bmcs, key)
	}
}

// forgetOne drops an idle BMC, whose back-off then starts anew. Which one does not matter. Needs mu.
func (s *Set) forgetOne() bool {
	for key, b := range s.bmcs {
		if b.users == 0 {
			delete(s.bmcs, key)
			return true
		}
	}
	return false
}

// guarded runs a driver's function and makes sure that what comes back has a kind and that a panic in a driver, which reads
// bytes from outside, ends one command and not the rack.
func (s *Set) guarded(name string, fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("power driver panicked", "power_type", name, "panic", p)
			err = fault.New(fault.Internal, "The %s driver failed; the rack's log has the details.", name)
		}
	}()
	err = fn()
	if _, ok := fault.As(err); err != nil && !ok && errors.Is(err, context.DeadlineExceeded) {
		err = errors.Join(fault.New(fault.Unavailable, "The BMC did not finish the command in time."), err)
	}
	return err
}
