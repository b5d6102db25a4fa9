// Package hostchecks knows how the controllers' own hosts stand: what the checks that each controller runs found, how that went on, what
// somebody answers for, and which findings administrators have to hear of. The checks themselves are elsewhere: a region is handed a
// function that runs them, a rack sends what its own found.
//
// Start at Run and Report, by which reports come in, and Get, which joins one with the waivers.
package hostchecks

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

// When hosts are checked.
const (
	Settle    = 10 * time.Second // after the start, which the check is not to delay
	Every     = 24 * time.Hour
	again     = time.Hour        // after a check that could not be made
	lookEvery = 10 * time.Second // whether somebody wants a check: a short read
	tellEvery = time.Hour        // waivers end by themselves
	// Apart is how long after a check the same host is not checked again, and a report not taken.
	Apart = time.Minute
	// Stale is how old a report is that says nothing about today.
	Stale = 2 * Every
)

// Racks are the connected ones.
type Racks interface {
	Connected() []string
	Call(ctx context.Context, rackID string, m wire.Message, req, resp any) error
}

// Teller has administrators told.
type Teller interface {
	Keep(ctx context.Context, n metal.Notification, again bool) error
	Drop(ctx context.Context, ident string) error
}

// Config is what the service is made of.
type Config struct {
	Gate   *gate.Gate
	Now    func() time.Time
	Log    *slog.Logger
	Region string // system id of this one
	// Check looks at this region's host. It does not panic and comes back when its time is over. nil: nobody looks.
	Check func(context.Context) guard.HostReport
	Racks Racks
	Tell  Teller
}

// Service knows how the hosts stand. Safe for concurrent use.
type Service struct {
	Config
	telling sync.Mutex // one at a time compares what is so with what was told
}

// New makes the service.
func New(c Config) *Service { return &Service{Config: c} }

// Finding is one of a report, with the waiver that covers it now.
type Finding struct {
	guard.HostFinding
	Waiver *store.HostWaiver
}

// Standing is how a controller's host stands.
type Standing struct {
	Controller metal.Controller
	At         time.Time // of the report; zero where there is none yet
	Stale      bool      // it is older than Stale
	Wanted     bool      // another check is on its way
	Report     guard.HostReport
	Score      guard.Score // without what is waived
	Findings   []Finding   // the worst first, waived ones after
	Points     []store.HostPoint
}

// Count is how many findings of a severity fail and are not waived.
func (s Standing) Count(severity string) (n int) {
	for _, f := range s.Findings {
		if f.State == guard.Fail && f.Waiver == nil && f.Severity.String() == severity {
			n++
		}
	}
	return n
}

// Waived is how many findings are.
func (s Standing) Waived() (n int) {
	for _, f := range s.Findings {
		if f.Waiver != nil {
			n++
		}
	}
	return n
}

// covering is the waiver that covers a finding at a time, or nil.
func covering(waivers []store.HostWaiver, controller string, f guard.HostFinding, now time.Time) *store.HostWaiver {
	for i, w := range waivers {
		if w.Check == f.Check && (w.Controller == "" || w.Controller == controller) && f.Severity <= w.Severity && now.Before(w.Until) {
			return &waivers[i]
		}
	}
	return nil
}

func standing(ctl metal.Controller, h store.HostCheck, waivers []store.HostWaiver, points []store.HostPoint, now time.Time) Standing {
	s := Standing{Controller: ctl, At: h.At, Report: h.Report, Points: points, Stale: now.Sub(h.At) > Stale, Wanted: h.Wanted.After(h.At)}
	for _, f := range h.Report.Findings {
		s.Findings = append(s.Findings, Finding{f, covering(waivers, ctl.SystemID, f, now)})
	}
	slices.SortStableFunc(s.Findings, func(a, b Finding) int { return rank(a) - rank(b) })
	s.Score = h.Report.Score(func(f guard.HostFinding) bool { return covering(waivers, ctl.SystemID, f, now) != nil })
	return s
}

func rank(f Finding) int {
	if f.Waiver != nil {
		return 1
	}
	return 0
}

// List is how the hosts of all controllers stand, by their names.
func (s *Service) List(ctx context.Context) (list []Standing, err error) {
	err = s.Gate.View(ctx, authz.HostCheckView, func(v *gate.Viewing) error {
		list = nil
		controllers, err := v.Controllers()
		if err != nil {
			return err
		}
		checks, err := v.HostChecks()
		if err != nil {
			return err
		}
		waivers, err := v.HostWaivers()
		if err != nil {
			return err
		}
		of := map[string]store.HostCheck{}
		for _, h := range checks {
			of[h.Controller] = h
		}
		courses, err := v.HostCourses()
		if err != nil {
			return err
		}
		for _, ctl := range controllers {
			list = append(list, standing(ctl, of[ctl.SystemID], waivers, courses[ctl.SystemID], v.Now()))
		}
		slices.SortFunc(list, func(a, b Standing) int {
			return cmp.Or(strings.Compare(a.Controller.Hostname, b.Controller.Hostname), strings.Compare(a.Controller.SystemID, b.Controller.SystemID))
		})
		return nil
	})
	return list, err
}

// Get is how a controller's host stands. Kinds: NotFound.
func (s *Service) Get(ctx context.Context, id string) (st Standing, err error) {
	err = s.Gate.View(ctx, authz.HostCheckView, func(v *gate.Viewing) (err error) {
		st, err = get(v.View, id, v.Now())
		return err
	})
	return st, err
}

func get(v *store.View, id string, now time.Time) (st Standing, err error) {
	ctl, err := v.Controller(id)
	if err != nil || ctl.Revoked {
		return st, orElse(err, authz.NotFound(authz.NounController))
	}
	h, err := v.HostCheck(id)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return st, err
	}
	waivers, err := v.HostWaivers()
	if err != nil {
		return st, err
	}
	points, err := v.HostPoints(id)
	return standing(ctl, h, waivers, points, now), err
}

func orElse(err, or error) error {
	if err != nil {
		return err
	}
	return or
}

// Again has a controller's host checked again, as soon as the controller is there. Kinds: NotFound; Exhausted within a minute of a check, or of
// being asked before.
func (s *Service) Again(ctx context.Context, id string) error {
	return s.Gate.Do(ctx, authz.HostCheckRun, func(c *gate.Call) error {
		if err := c.Require(store.ControllerTarget(id)); err != nil {
			return err
		}
		ctl, err := c.Tx().Controller(id)
		if err != nil || ctl.Revoked {
			return orElse(err, authz.NotFound(authz.NounController))
		}
		h, err := c.Tx().HostCheck(id)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		last := h.At
		if h.Wanted.After(last) {
			last = h.Wanted
		}
		if wait := last.Add(Apart).Sub(c.Now()); wait > 0 && wait <= Apart {
			return &fault.Error{Kind: fault.Exhausted, Message: "This host was checked a moment ago, or is about to be.", RetryAfter: wait}
		}
		return c.Tx().WantHostCheck(id, c.Now())
	})
}

// Report takes what a rack's checks found. Kinds: Invalid for what no rack of ours sends, Exhausted within a minute of the report before.
func (s *Service) Report(ctx context.Context, rackID string, r guard.HostReport) error {
	if err := r.Err(); err != nil {
		return fault.New(fault.Invalid, "report: %s.", metal.Printable(err.Error(), 200))
	}
	if err := s.put(ctx, gate.SeenHost, rackID, r); err != nil {
		return err
	}
	s.tell(ctx, rackID)
	return nil
}

// put stores a report. Its time is this region's: a rack's clock decides nothing. Of a check that came to nothing the findings of the one before
// stay, and the day has no point by it.
func (s *Service) put(ctx context.Context, kind gate.Observation, id string, r guard.HostReport) error {
	r.Bound()
	return s.Gate.Observe(ctx, kind, func(tx *store.Tx, now time.Time) error {
		h, err := tx.HostCheck(id)
		switch {
		case err == nil && !now.Before(h.At) && now.Sub(h.At) < Apart && kind == gate.SeenHost: // before it is a clock that was set back
			return &fault.Error{Kind: fault.Exhausted, Message: "The report before came a moment ago.", RetryAfter: h.At.Add(Apart).Sub(now)}
		case err != nil && !fault.Is(err, fault.NotFound):
			return err
		}
		r.At = now
		if r.Problem != "" {
			r.Findings, r.Passed, r.Cut = h.Report.Findings, h.Report.Passed, h.Report.Cut
			return tx.PutHostCheck(id, r, nil, now)
		}
		waivers, err := tx.HostWaivers()
		if err != nil {
			return err
		}
		p := point(standing(metal.Controller{SystemID: id}, store.HostCheck{At: now, Report: r}, waivers, nil, now))
		return tx.PutHostCheck(id, r, &p, now)
	})
}

// point is a standing as numbers.
func point(s Standing) store.HostPoint {
	p := store.HostPoint{Score: s.Score.Value, Unchecked: s.Score.Unchecked}
	for _, t := range s.Score.Terms {
		*map[guard.Severity]*int{guard.Critical: &p.Critical, guard.High: &p.High, guard.Medium: &p.Medium, guard.Low: &p.Low}[t.Severity] = t.Checks
	}
	return p
}

// Run checks this region's host, asks racks for which somebody wants that, and tells administrators, until the context ends.
func (s *Service) Run(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "host checks")
	due, tell := s.Now().Add(Settle), s.Now().Add(tellEvery)
	var tried time.Time // the last wish for a check of this host that was tried to be fulfilled
	asked := map[string]time.Time{}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		wanted := s.wanted(ctx)
		wish := wanted[s.Region]
		if now := s.Now(); s.Check != nil && (!now.Before(due) || !wish.IsZero() && !wish.Equal(tried)) {
			tried, due = wish, now.Add(s.own(ctx))
		}
		s.ask(ctx, wanted, asked)
		if now := s.Now(); !now.Before(tell) {
			tell = now.Add(tellEvery)
			s.tellAll(ctx)
		}
	}
}

func (s *Service) wanted(ctx context.Context) (list map[string]time.Time) {
	err := s.Gate.View(ctx, authz.HostCheckView, func(v *gate.Viewing) (err error) {
		list, err = v.HostChecksWanted()
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.Log.WarnContext(ctx, "cannot read which hosts to check again", "error", err)
	}
	return list
}

// own checks this region's host, and returns in how long it is to be checked again.
func (s *Service) own(ctx context.Context) time.Duration {
	r := s.Check(ctx)
	if ctx.Err() != nil {
		return 0
	}
	if err := s.put(ctx, gate.SeenOwnHost, s.Region, r); err != nil {
		s.Log.ErrorContext(ctx, "cannot keep what the check of this host found", "error", err)
		return again
	}
	s.tell(ctx, s.Region)
	if r.Problem != "" {
		s.Log.WarnContext(ctx, "this host could not be checked", "error", r.Problem)
		return again
	}
	return Every
}

// ask tells connected racks that somebody wants them checked, once for each time.
func (s *Service) ask(ctx context.Context, wanted, asked map[string]time.Time) {
	for id := range asked {
		if wanted[id].IsZero() {
			delete(asked, id)
		}
	}
	for _, id := range s.Racks.Connected() {
		if at := wanted[id]; at.IsZero() || asked[id].Equal(at) {
			continue
		}
		if err := s.Racks.Call(ctx, id, wire.CheckHost, struct{}{}, nil); err != nil {
			s.Log.WarnContext(ctx, "cannot ask a rack to check its host", "rack", id, "error", err)
			if fault.Is(err, fault.Unavailable) {
				continue // it comes back
			}
		}
		asked[id] = wanted[id]
	}
}
