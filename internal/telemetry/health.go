package telemetry

import (
	"context"
	"sync"
	"time"
)

// State is how something that a controller depends on stands. Worse is greater.
type State int

// The states.
const (
	Good State = iota
	Warning
	Bad
)

// String is the state as it is shown.
func (s State) String() string {
	return [...]string{"ok", "warning", "bad"}[min(max(s, Good), Bad)]
}

// Check is what was found out about one thing.
type Check struct {
	Name  string // such as "database"
	State State
	Text  string // what is wrong and what to do, safe to show; empty while it is good
}

// Health asks how what a controller depends on stands. Nothing that anybody dismissed changes what it says. Safe for concurrent use.
type Health struct {
	now    func() time.Time
	mu     sync.Mutex
	checks []*check // guarded by mu
}

type check struct {
	name string
	ask  func(context.Context) (State, string)

	mu   sync.Mutex
	last Check     // guarded by mu
	at   time.Time // guarded by mu
}

// Whoever asks gets an answer that is at most so old: asking costs no more when many do.
const (
	healthAge  = 2 * time.Second
	healthTime = 5 * time.Second
)

// NewHealth makes one without checks.
func NewHealth(now func() time.Time) *Health { return &Health{now: now} }

// Add adds a check, such as of "vault". ask must heed its context and return what is safe to show.
func (h *Health) Add(name string, ask func(context.Context) (State, string)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, &check{name: name, ask: ask})
}

// Checks asks all, in the order in which they were added.
func (h *Health) Checks(ctx context.Context) (list []Check) {
	h.mu.Lock()
	checks := h.checks
	h.mu.Unlock()
	for _, c := range checks {
		list = append(list, h.check(ctx, c))
	}
	return list
}

// Check asks one; false if there is none of the name.
func (h *Health) Check(ctx context.Context, name string) (Check, bool) {
	h.mu.Lock()
	checks := h.checks
	h.mu.Unlock()
	for _, c := range checks {
		if c.name == name {
			return h.check(ctx, c), true
		}
	}
	return Check{}, false
}

func (h *Health) check(ctx context.Context, c *check) Check {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := h.now(); c.at.IsZero() || now.Sub(c.at) > healthAge || now.Before(c.at) { // or the clock went back
		// Nobody's departure may be what all others hear of.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), healthTime)
		defer cancel()
		state, text := c.ask(ctx)
		c.last, c.at = Check{c.name, state, text}, h.now() // since when it is known: those who waited meanwhile need not ask
	}
	return c.last
}

// Worst is the worst state of some checks.
func Worst(list []Check) (worst State) {
	for _, c := range list {
		worst = max(worst, c.State)
	}
	return worst
}

// Gauge adds the checks to a set of metrics: 0 for good, 1 for a warning, 2 for bad.
func (h *Health) Gauge(m *Metrics) {
	m.Gauge("metalward_health", "How what this controller depends on stands: 0 good, 1 warning, 2 bad.", []string{"check"}, func(ctx context.Context, set func(float64, ...string)) error {
		for _, c := range h.Checks(ctx) {
			set(float64(c.State), c.Name)
		}
		return nil
	})
}
