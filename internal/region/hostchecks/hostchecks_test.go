package hostchecks_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/hostchecks"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/wire"
)

// world is a region with a rack.
type world struct {
	*regiontest.Core
	t     *testing.T
	clock *regiontest.Clock
	admin context.Context
	rack  string
}

func newWorld(t *testing.T) *world {
	clock := regiontest.NewClock()
	w := &world{Core: regiontest.New(t, clock.Now), t: t, clock: clock}
	w.admin = w.Admin(t)
	w.rack = w.AddRack(t, "rack", netip.MustParsePrefix("10.0.0.2/24")).ID
	return w
}

func fails(check string, s guard.Severity) guard.HostFinding {
	return guard.HostFinding{Check: check, Title: "Title of " + check, State: guard.Fail, Severity: s}
}

// report sends what the rack's host has, a day after the one before.
func (w *world) report(list ...guard.HostFinding) {
	w.t.Helper()
	w.clock.Advance(24 * time.Hour)
	ctx := authz.With(context.Background(), authz.Principal{Kind: authz.Rack, Name: w.rack})
	if err := w.Hosts.Report(ctx, w.rack, guard.HostReport{At: w.clock.Now(), Findings: list}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) get() hostchecks.Standing {
	w.t.Helper()
	s, err := w.Hosts.Get(w.admin, w.rack)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// told is what administrators are told and have not dismissed.
func (w *world) told() string {
	w.t.Helper()
	list, err := w.Notify.Mine(w.admin)
	if err != nil {
		w.t.Fatal(err)
	}
	var texts []string
	for _, n := range list {
		texts = append(texts, n.Category+": "+n.Text())
	}
	return strings.Join(texts, "\n")
}

func (w *world) waive(x hostchecks.Waiver) (int64, error) {
	v, err := w.Hosts.Waive(w.admin, x)
	return v.ID, err
}

// Day is so many days from now, as a form has it.
func (w *world) day(days int) string {
	return w.clock.Now().AddDate(0, 0, days).Format(time.DateOnly)
}

// A waiver takes what a check finds today out of the score, stays in sight, ends by itself, and covers nothing that is worse.
func TestWaiver(t *testing.T) {
	w := newWorld(t)
	w.report(fails("files-a", guard.Medium), fails("files-b", guard.Low))
	want := func(score, waived int) {
		t.Helper()
		if s := w.get(); s.Score.Value != score || s.Waived() != waived {
			t.Errorf("got the score %s and %d waived, want %d and %d", s.Score, s.Waived(), score, waived)
		}
	}
	want(90, 0)
	x := hostchecks.Waiver{Check: "files-a", Controller: w.rack, Owner: "Carol", Reason: "no other users", Until: w.day(1)}
	before := len(w.Trail(t))
	id, err := w.waive(x)
	if err != nil {
		t.Fatal(err)
	}
	if trail := w.Trail(t); len(trail) != before+1 || trail[before].Action != "host_check.waive" || trail[before].Detail["severity"] != "medium" {
		t.Errorf("got the events %+v, want one", trail[before:])
	}
	want(98, 1)
	if s := w.get(); s.Findings[0].Check != "files-b" || s.Findings[1].Waiver.Owner != "Carol" {
		t.Errorf("got %+v, want what is waived last, and by whom", s.Findings)
	}
	w.report(fails("files-a", guard.High), fails("files-b", guard.Low))
	want(78, 0) // it has become worse
	w.report(fails("files-a", guard.Low), fails("files-b", guard.Low))
	want(96, 0) // its last day was yesterday
	if list, err := w.Hosts.Waivers(w.admin); err != nil || len(list) != 1 || !hostchecks.Ended(list[0], w.clock.Now()) {
		t.Errorf("got the waivers %+v, %v, want one that has ended", list, err)
	}
	if err := w.Hosts.Unwaive(w.admin, id); err != nil {
		t.Fatal(err)
	}
	x.Controller, x.Until = "", w.day(365)
	if _, err := w.waive(x); err != nil {
		t.Fatal(err)
	}
	want(98, 1)
	if _, err := w.waive(x); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second one: got %v, want Conflict", err)
	}
}

// A waiver that says too little, too much, or is about nothing is refused.
func TestBadWaivers(t *testing.T) {
	w := newWorld(t)
	w.report(fails("files-a", guard.Medium))
	for field, change := range map[string]func(*hostchecks.Waiver){
		"check":           func(x *hostchecks.Waiver) { x.Check = "files-b" },
		"controller":      func(x *hostchecks.Waiver) { x.Controller = "nobody" },
		"owner":           func(x *hostchecks.Waiver) { x.Owner = " " },
		"owner (escape)":  func(x *hostchecks.Waiver) { x.Owner = "a\x1b[31m" },
		"reason":          func(x *hostchecks.Waiver) { x.Reason = "" },
		"reason (long)":   func(x *hostchecks.Waiver) { x.Reason = strings.Repeat("x", 1001) },
		"until":           func(x *hostchecks.Waiver) { x.Until = "soon" },
		"until (past)":    func(x *hostchecks.Waiver) { x.Until = w.day(-1) },
		"until (forever)": func(x *hostchecks.Waiver) { x.Until = w.day(366) },
	} {
		x := hostchecks.Waiver{Check: "files-a", Controller: w.rack, Owner: "Carol", Reason: "r", Until: w.day(30)}
		change(&x)
		_, err := w.waive(x)
		f, ok := fault.As(err)
		if name, _, _ := strings.Cut(field, " "); !ok || len(f.Fields[name]) != 1 {
			t.Errorf("%s: got %v, want a complaint about it", field, err)
		}
	}
	if _, err := w.Hosts.Waive(w.User(t, "bob", false), hostchecks.Waiver{}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a user: got %v, want Forbidden", err)
	}
	if err := w.Hosts.Unwaive(w.admin, 7); !fault.Is(err, fault.NotFound) {
		t.Errorf("one that there is not: got %v, want NotFound", err)
	}
}

// Administrators hear once of what is high or critical, again of what is new, and of nothing that is mended or waived.
func TestTold(t *testing.T) {
	w := newWorld(t)
	step := func(name, want string) {
		t.Helper()
		if got := w.told(); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	w.report(fails("files-a", guard.Medium))
	step("nothing that matters", "")
	w.report(fails("files-a", guard.High))
	const one = "warning: On the host of controller rack this is not so, and matters: “Title of files-a”. See Settings, Security."
	step("something high", one)
	list, err := w.Notify.Mine(w.admin)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Notify.Dismiss(w.admin, list[0].ID); err != nil {
		t.Fatal(err)
	}
	w.report(fails("files-a", guard.High))
	step("the same again", "")
	w.report(fails("files-a", guard.High), fails("files-b", guard.Critical), fails("files-b", guard.Critical))
	step("one more", "error: On the host of controller rack this is not so, and matters: “Title of files-b”, “Title of files-a”. See Settings, Security.")
	id, err := w.waive(hostchecks.Waiver{Check: "files-b", Owner: "o", Reason: "r", Until: w.day(10)})
	if err != nil {
		t.Fatal(err)
	}
	step("waived", one)
	if err := w.Hosts.Unwaive(w.admin, id); err != nil {
		t.Fatal(err)
	}
	dark := guard.HostFinding{Check: "files-a", Title: "Title of files-a", State: guard.Unchecked, Severity: guard.High}
	w.report(dark)
	step("one is mended, and nobody knows of the other", one)
	w.report()
	step("mended", "")
	w.report(dark)
	step("nobody knows, and it was not so before", "")
	other := dark
	other.Subject = "/another"
	w.report(fails("files-a", guard.High), other)
	step("open again, beside what nobody knows", one)
	w.report(other)
	step("mended, beside what nobody knows", "")
	var many []guard.HostFinding
	for i := range 5 {
		many = append(many, fails(fmt.Sprint("files-m", i), guard.High))
	}
	w.report(many...)
	if got := w.told(); !strings.Contains(got, "and 2 more") {
		t.Errorf("many: got %q", got)
	}
	if err := w.Controllers.Remove(w.admin, w.rack); err != nil {
		t.Fatal(err)
	}
	if list, err := w.Hosts.List(w.admin); err != nil || len(list) != 0 {
		t.Errorf("a removed rack: got %+v, %v", list, err)
	}
}

// A check that came to nothing takes nothing from sight, and is no full score.
func TestProblem(t *testing.T) {
	w := newWorld(t)
	w.report(fails("files-a", guard.High))
	told := w.told()
	w.clock.Advance(24 * time.Hour)
	ctx := authz.With(context.Background(), authz.Principal{Kind: authz.Rack, Name: w.rack})
	if err := w.Hosts.Report(ctx, w.rack, guard.HostReport{At: w.clock.Now(), Problem: "Nothing answers."}); err != nil {
		t.Fatal(err)
	}
	if s := w.get(); s.Report.Problem == "" || len(s.Findings) != 1 || s.Score.Value != 80 || s.Score.Unchecked != 1 || len(s.Points) != 1 {
		t.Errorf("got %+v, want the finding of before, and no point of the day", s)
	}
	if got := w.told(); got != told || told == "" {
		t.Errorf("got told %q, want %q still", got, told)
	}
}

// A check is asked for at most once a minute, by who may change controllers; a report is not taken more often.
func TestAgain(t *testing.T) {
	w := newWorld(t)
	if s := w.get(); !s.At.IsZero() || s.Wanted {
		t.Errorf("got %+v, want no report", s)
	}
	if err := w.Hosts.Again(w.admin, w.rack); err != nil {
		t.Fatal(err)
	}
	err := w.Hosts.Again(w.admin, w.rack)
	if f, ok := fault.As(err); !ok || f.Kind != fault.Exhausted || f.RetryAfter != hostchecks.Apart {
		t.Errorf("at once again: got %v, want Exhausted", err)
	}
	if !w.get().Wanted {
		t.Error("nobody knows that a check is wanted")
	}
	w.report()
	if s := w.get(); s.Wanted || s.Score.Value != 100 || len(s.Points) != 1 {
		t.Errorf("got %+v, want that it is done", s)
	}
	w.clock.Advance(hostchecks.Stale + time.Second)
	if !w.get().Stale {
		t.Error("an old report passes for today's")
	}
	for id, ctx := range map[string]context.Context{w.rack: w.User(t, "bob", false)} {
		if err := w.Hosts.Again(ctx, id); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a user: got %v, want Forbidden", err)
		}
		if _, err := w.Hosts.Get(ctx, id); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a user reads: got %v, want Forbidden", err)
		}
	}
	if err := w.Hosts.Again(w.admin, "nobody"); !fault.Is(err, fault.NotFound) {
		t.Errorf("none: got %v, want NotFound", err)
	}
}

// The clock of a region that was ahead, and was set right, keeps no report out.
func TestClockSetBack(t *testing.T) {
	w := newWorld(t)
	w.clock.Advance(400 * 24 * time.Hour)
	w.report(fails("files-a", guard.High))
	w.clock.Advance(-400 * 24 * time.Hour)
	if err := w.Hosts.Again(w.admin, w.rack); err != nil {
		t.Error(err)
	}
	w.report()
	if s := w.get(); !s.At.Equal(w.clock.Now()) || len(s.Findings) != 0 {
		t.Errorf("got %+v", s)
	}
}

// racks are connected ones that note who is asked.
type racks struct {
	mu    sync.Mutex
	list  []string // guarded by mu
	asked int      // guarded by mu
	err   error    // guarded by mu
}

func (r *racks) set(err error, list ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list, r.err = list, err
}

func (r *racks) Connected() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list
}

func (r *racks) Call(_ context.Context, _ string, m wire.Message, _, _ any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.Name == wire.CheckHost.Name {
		r.asked++
	}
	return r.err
}

// A region checks its host after the start, daily, and when somebody wants it; racks are asked once, when they are there. A check that
// could not be made is made again within the hour.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := regiontest.New(t, time.Now)
		admin := c.Admin(t)
		if err := c.Controllers.RegisterRegion(t.Context(), metal.Controller{SystemID: regiontest.RegionID, Hostname: "region", Type: metal.NodeRegionController}); err != nil {
			t.Fatal(err)
		}
		id := c.AddRack(t, "rack", netip.MustParsePrefix("10.0.0.2/24")).ID
		known := &racks{}
		var checks atomic.Int64
		var problem atomic.Value
		problem.Store("")
		hosts := hostchecks.New(hostchecks.Config{Gate: c.Gate, Now: time.Now, Log: regiontest.Silent, Region: regiontest.RegionID, Racks: known, Tell: c.Notify,
			Check: func(context.Context) guard.HostReport {
				checks.Add(1)
				return guard.HostReport{Problem: problem.Load().(string)}
			}})
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); hosts.Run(ctx) }()
		step := func(name string, d time.Duration, wantChecks int64, wantAsked int) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			known.mu.Lock()
			defer known.mu.Unlock()
			if checks.Load() != wantChecks || known.asked != wantAsked {
				t.Errorf("%s: got %d checks, asked %d times, want %d, %d", name, checks.Load(), known.asked, wantChecks, wantAsked)
			}
		}
		step("at the start", time.Second, 0, 0)
		step("soon after", hostchecks.Settle+10*time.Second, 1, 0)
		step("a day after", hostchecks.Every+time.Minute, 2, 0)
		for _, who := range []string{id, regiontest.RegionID} {
			if err := hosts.Again(admin, who); err != nil {
				t.Fatal(err)
			}
		}
		step("wanted, and the rack is away", 10*time.Second, 3, 0)
		known.set(fault.New(fault.Unavailable, "gone"), id)
		step("it breaks off", 10*time.Second, 3, 1)
		known.set(nil, id)
		step("it is back", hostchecks.Apart, 3, 2)
		problem.Store("dark")
		if err := hosts.Again(admin, regiontest.RegionID); err != nil {
			t.Fatal(err)
		}
		step("nothing could be checked", 10*time.Second, 4, 2)
		step("within the hour", time.Hour+10*time.Second, 5, 2)
		if s, err := hosts.Get(admin, regiontest.RegionID); err != nil || s.Report.Problem != "dark" || s.Wanted {
			t.Errorf("got %+v, %v", s, err)
		}
		problem.Store("")
		time.Sleep(hostchecks.Apart)
		c.SQL(t, "DROP TABLE host_check_points")
		if err := hosts.Again(admin, regiontest.RegionID); err != nil {
			t.Fatal(err)
		}
		step("what was found cannot be kept", 5*time.Minute, 6, 2)
		step("within the hour of that", time.Hour, 7, 2)
		cancel()
		<-done
	})
}
