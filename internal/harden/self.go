package harden

import (
	"context"
	"fmt"
	"os/user"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/guard/catalog"
	"github.com/metalward/metalward/internal/host"
)

// Self is a controller that checks its own host.
type Self struct {
	StateDir string     // its own
	Role     guard.Role // AnyRole where region and rack are one process
	Version  string
	Now      func() time.Time
	Root     string // of the host's files; "" for "/"
	// People is what the region itself knows of its users; nil where this is none.
	People func(context.Context) (guard.Database, error)

	busy chan struct{} // holds a token while a check runs
}

// NewSelf makes one.
func NewSelf(stateDir string, role guard.Role, version string) *Self {
	return &Self{StateDir: stateDir, Role: role, Version: version, Now: time.Now, Root: "/", busy: make(chan struct{}, 1)}
}

// SelfTime is how long a check of a controller's own host may take. On a host with 500 listening sockets and 5,000 rules it takes two seconds.
const SelfTime = 2 * time.Minute

// Check looks at the host as who runs the controller, at the lowest priority, and makes no connection to another host. It never panics, and it
// returns when its time is over or the context ends, even if a file system does not answer: that check goes on by itself, and until it ends
// the next says so.
func (s *Self) Check(ctx context.Context) guard.HostReport {
	ctx, cancel := context.WithTimeout(ctx, SelfTime)
	defer cancel()
	began := s.Now()
	r := guard.HostReport{At: began.UTC().Truncate(time.Second), Version: guard.Show(s.Version), Account: account(), Findings: []guard.HostFinding{}}
	select {
	case s.busy <- struct{}{}:
	default:
		r.Problem = "The check before has not ended yet: something on the host does not answer, such as a file system."
		return r
	}
	done := make(chan guard.HostReport, 1)
	go func(out guard.HostReport) { // ends with the check, and shares nothing with who has stopped waiting for it
		defer func() { <-s.busy }()
		runtime.LockOSThread() // and not unlocked: the thread, which has the low priority, ends with the goroutine
		_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), 19)
		s.look(ctx, &out)
		done <- out
	}(r)
	select {
	case r = <-done:
		r.Took = s.Now().Sub(began)
	case <-ctx.Done():
		r.Problem = "The check was ended after " + s.Now().Sub(began).Round(time.Second).String() + ", for the host did not answer."
	}
	r.Bound()
	return r
}

// account is whom this process runs as.
func account() string {
	uid := strconv.Itoa(unix.Geteuid())
	if u, err := user.LookupId(uid); err == nil {
		return guard.Show(u.Username)
	}
	return uid
}

func (s *Self) look(ctx context.Context, r *guard.HostReport) {
	defer func() {
		if p := recover(); p != nil {
			r.Problem = "The check failed by a mistake in the program: " + guard.Show(fmt.Sprint(p)) + "."
		}
	}()
	facts, err := host.Open(s.Root)
	if err != nil {
		r.Problem = "The host's files cannot be looked at: " + guard.Show(err.Error()) + "."
		return
	}
	defer func() { _ = facts.Close() }()
	facts.At(r.At)
	facts.State(s.StateDir, r.Account)
	if s.People != nil {
		d, err := s.People(ctx)
		facts.Told(guard.Metalward, d, err)
	}
	for _, c := range catalog.Checks() {
		if !concerns(c, s.Role) {
			continue
		}
		for _, f := range judge(ctx, c, facts, guard.Metalward) {
			r.Add(f)
		}
	}
}

// concerns reports whether a check is for a profile.
func concerns(c *guard.Check, profile guard.Role) bool {
	return profile == guard.AnyRole || c.Role == guard.AnyRole || c.Role == profile
}

// judge runs a check. One that fails by a mistake of its own, or whose time has not come before the context ended, could not check.
func judge(ctx context.Context, c *guard.Check, h guard.Host, p guard.Product) (list []guard.Finding) {
	if c.Versions[p] == "" {
		return nil
	}
	blind := func(format string, args ...any) []guard.Finding {
		return []guard.Finding{{Check: c, Product: p, Observation: guard.Blind("", fmt.Errorf(format, args...))}}
	}
	if ctx.Err() != nil {
		return blind("the time for all checks was over before")
	}
	defer func() {
		if x := recover(); x != nil {
			list = blind("the check failed by a mistake in the program: %v", x)
		}
	}()
	return c.Run(h, p)
}
