package hostchecks

import (
	"context"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// Limits of waivers.
const (
	MaxWaivers = 500
	maxOwner   = 120  // bytes
	maxReason  = 1000 // bytes
	// MaxWaived is for how long somebody may answer for a finding at a time.
	MaxWaived = 366 * 24 * time.Hour
)

// Waiver is what somebody who answers for a finding has to say.
type Waiver struct {
	Check      string
	Controller string // system id; "" for all
	Owner      string
	Reason     string
	Until      string // the last day, UTC, such as 2027-01-31
}

// Waivers lists the waivers, those that have ended, too: these stay until somebody deletes them.
func (s *Service) Waivers(ctx context.Context) (list []store.HostWaiver, err error) {
	err = s.Gate.View(ctx, authz.HostCheckView, func(v *gate.Viewing) (err error) {
		list, err = v.HostWaivers()
		return err
	})
	return list, err
}

// Ended reports whether a waiver covers nothing any more.
func Ended(w store.HostWaiver, now time.Time) bool { return !now.Before(w.Until) }

// Waive has somebody answer for what a check finds today, until a day. What the same check finds later and is worse is not covered. Kinds:
// Invalid, Conflict where there is such a waiver already, Exhausted.
func (s *Service) Waive(ctx context.Context, x Waiver) (w store.HostWaiver, err error) {
	err = s.Gate.Do(ctx, authz.HostCheckWaive, func(c *gate.Call) error {
		if err := c.Require(store.HostWaiverTarget(0)); err != nil {
			return err
		}
		if w, err = x.parse(c.Now()); err != nil {
			return err
		}
		if w.Severity, err = worstNow(&c.Tx().View, x); err != nil {
			return err
		}
		all, err := c.Tx().HostWaivers()
		if err != nil {
			return err
		}
		if len(all) >= MaxWaivers {
			return fault.New(fault.Exhausted, "There are %d waivers; delete some that have ended.", len(all))
		}
		for _, o := range all {
			if o.Check == w.Check && o.Controller == w.Controller {
				return fault.New(fault.Conflict, "There is a waiver of this check already, by %s. Delete it first.", o.Owner)
			}
		}
		w.Created, w.CreatedBy = c.Now(), c.Principal().Name
		c.Note("check", w.Check)
		c.Note("controller", orAll(w.Controller))
		c.Note("owner", w.Owner)
		c.Note("reason", w.Reason)
		c.Note("until", x.Until)
		c.Note("severity", w.Severity.String())
		return c.Tx().AddHostWaiver(&w)
	})
	if err == nil {
		s.tellAll(ctx)
	}
	return w, err
}

func orAll(controller string) string {
	if controller == "" {
		return "all"
	}
	return controller
}

func (x Waiver) parse(now time.Time) (w store.HostWaiver, err error) {
	bad := fault.Fields{}
	w = store.HostWaiver{Check: x.Check, Controller: x.Controller, Owner: strings.TrimSpace(x.Owner), Reason: strings.TrimSpace(x.Reason)}
	for field, text := range map[string]struct {
		text string
		most int
	}{"owner": {w.Owner, maxOwner}, "reason": {w.Reason, maxReason}} {
		switch {
		case text.text == "":
			bad.Add(field, "%s", map[string]string{"owner": "Say who answers for it.", "reason": "Say why it may stay as it is."}[field])
		case len(text.text) > text.most || guard.Show(text.text) != text.text:
			bad.Add(field, "Use at most %d printable characters.", text.most)
		}
	}
	day, err := time.Parse(time.DateOnly, x.Until)
	w.Until = day.Add(24 * time.Hour)
	switch {
	case err != nil:
		bad.Add("until", "Enter the last day, such as 2027-01-31.")
	case !now.Before(w.Until):
		bad.Add("until", "This day is over.")
	case w.Until.Sub(now) > MaxWaived:
		bad.Add("until", "Enter a day within a year: what is waived is to be looked at again.")
	}
	return w, bad.Err()
}

// worstNow is the worst that a check finds now where a waiver is to hold. Kinds: Invalid, NotFound.
func worstNow(v *store.View, x Waiver) (worst guard.Severity, err error) {
	checks, err := v.HostChecks()
	if err != nil {
		return 0, err
	}
	if x.Controller != "" {
		if ctl, err := v.Controller(x.Controller); err != nil || ctl.Revoked {
			return 0, fault.Field("controller", "There is no controller of this system id.")
		}
	}
	for _, h := range checks {
		if x.Controller != "" && x.Controller != h.Controller {
			continue
		}
		for _, f := range h.Report.Findings {
			if f.Check == x.Check {
				worst = max(worst, f.Severity)
			}
		}
	}
	if worst == 0 {
		return 0, fault.Field("check", "No check of this id finds anything there now: there is nothing to waive.")
	}
	return worst, nil
}

// Unwaive deletes a waiver: what it covers counts again at once. Kinds: NotFound.
func (s *Service) Unwaive(ctx context.Context, id int64) error {
	err := s.Gate.Do(ctx, authz.HostCheckWaive, func(c *gate.Call) error {
		if err := c.Require(store.HostWaiverTarget(id)); err != nil {
			return err
		}
		w, err := c.Tx().HostWaiver(id)
		if err != nil {
			return err
		}
		c.Note("check", w.Check)
		c.Note("controller", orAll(w.Controller))
		c.Note("owner", w.Owner)
		return c.Tx().DeleteHostWaiver(id)
	})
	if err == nil {
		s.tellAll(ctx)
	}
	return err
}
