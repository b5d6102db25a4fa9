package alerts

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// Limits of what people say about alerts.
const (
	maxReason = 1000 // bytes
	// MaxSilence is for how long somebody may have an alert be silent at a time.
	MaxSilence = 90 * 24 * time.Hour
)

// List lists alerts.
func (s *Service) List(ctx context.Context, q store.AlertQuery) (list []store.Alert, err error) {
	err = s.Gate.View(ctx, authz.AlertView, func(v *gate.Viewing) (err error) { list, err = v.Alerts(q); return err })
	return list, err
}

// Get returns an alert. Kinds: NotFound.
func (s *Service) Get(ctx context.Context, id int64) (a store.Alert, err error) {
	err = s.Gate.View(ctx, authz.AlertView, func(v *gate.Viewing) (err error) { a, err = v.Alert(id); return err })
	return a, err
}

// Sources lists the clients of alerts that are not resolved, the worst first.
func (s *Service) Sources(ctx context.Context, limit int) (list []store.AlertSource, err error) {
	err = s.Gate.View(ctx, authz.AlertView, func(v *gate.Viewing) (err error) { list, err = v.AlertSources(limit); return err })
	return list, err
}

// Hours lists the events of alerts of the last week by detection and hour.
func (s *Service) Hours(ctx context.Context) (list []store.AlertHour, err error) {
	err = s.Gate.View(ctx, authz.AlertView, func(v *gate.Viewing) (err error) {
		list, err = v.AlertHours(v.Now().Add(-store.AlertHours))
		return err
	})
	return list, err
}

// Unit is a detection by its id, one that controllers run on logs, too; the zero one where there is none any more.
func Unit(id string) detect.Unit {
	for _, u := range units.Every {
		if u.ID == id {
			return u
		}
	}
	return detect.Unit{ID: id, Title: id}
}

// Silenced reports whether nobody is told of an alert now.
func Silenced(a store.Alert, now time.Time) bool { return now.Before(a.SilentUntil) }

// Acknowledge says that somebody looks after an open alert. Kinds: NotFound, Invalid, Conflict when it is not open.
func (s *Service) Acknowledge(ctx context.Context, id int64, why string) (store.Alert, error) {
	return s.change(ctx, id, "acknowledged", func(c *gate.Call, a *store.Alert) error {
		if a.State != store.AlertOpen {
			return fault.New(fault.Conflict, "This alert is %s already.", a.State)
		}
		return act(c, a, store.AlertAcknowledged, why)
	})
}

// Resolve says that an alert is dealt with. More of the same opens it again. Kinds: NotFound, Invalid, Conflict when it is resolved.
func (s *Service) Resolve(ctx context.Context, id int64, why string) (store.Alert, error) {
	return s.change(ctx, id, "resolved", func(c *gate.Call, a *store.Alert) error {
		if a.State == store.AlertResolved {
			return fault.New(fault.Conflict, "This alert is resolved already.")
		}
		return act(c, a, store.AlertResolved, why)
	})
}

// Silence has nobody told of an alert, and of later ones of the same detection and key, until a moment (RFC 3339) or the end of a day in UTC such as
// 2027-01-31. Kinds: NotFound; Invalid without a reason, or for more than MaxSilence.
func (s *Service) Silence(ctx context.Context, id int64, why, until string) (store.Alert, error) {
	return s.change(ctx, id, "silenced", func(c *gate.Call, a *store.Alert) error {
		bad := fault.Fields{}
		why, problem := reason(why)
		if why == "" && problem == "" {
			problem = "Say why nobody has to be told."
		}
		if problem != "" {
			bad.Add("reason", "%s", problem)
		}
		end, err := time.Parse(time.RFC3339, until)
		if err != nil {
			if end, err = time.Parse(time.DateOnly, until); err == nil {
				end = end.AddDate(0, 0, 1)
			}
		}
		switch {
		case err != nil:
			bad.Add("until", "Give a day such as 2027-01-31, or a moment such as 2027-01-31T18:00:00Z.")
		case !end.After(c.Now()):
			bad.Add("until", "This is over already.")
		case end.Sub(c.Now()) > MaxSilence:
			bad.Add("until", "At most %d days from now.", MaxSilence/(24*time.Hour))
		}
		if err := bad.Err(); err != nil {
			return err
		}
		a.SilentUntil, a.SilentWhy, a.SilentBy = end.UTC().Truncate(time.Microsecond), why, c.Principal().Name
		c.Note("reason", why)
		c.Note("until", a.SilentUntil.Format(time.RFC3339))
		return nil
	})
}

// Unsilence ends a silence at once. Kinds: NotFound, Conflict where there is none.
func (s *Service) Unsilence(ctx context.Context, id int64) (store.Alert, error) {
	return s.change(ctx, id, "silence ended", func(c *gate.Call, a *store.Alert) error {
		if !Silenced(*a, c.Now()) {
			return fault.New(fault.Conflict, "This alert is not silenced.")
		}
		a.SilentUntil, a.SilentWhy, a.SilentBy = time.Time{}, "", ""
		return nil
	})
}

// change has somebody do something about an alert: one event of the trail.
func (s *Service) change(ctx context.Context, id int64, what string, fn func(*gate.Call, *store.Alert) error) (a store.Alert, err error) {
	err = s.Gate.Do(ctx, authz.AlertEdit, func(c *gate.Call) error {
		if err := c.Require(store.AlertTarget(id)); err != nil {
			return err
		}
		if a, err = c.Tx().Alert(id); err != nil {
			return err
		}
		c.Note("change", what)
		c.Note("detection", a.Unit)
		if err := fn(c, &a); err != nil {
			return err
		}
		return c.Tx().PutAlert(a)
	})
	return a, err
}

func act(c *gate.Call, a *store.Alert, state store.AlertState, why string) error {
	why, problem := reason(why)
	if problem != "" {
		return fault.Field("reason", "%s", problem)
	}
	a.State, a.Acted, a.ActedBy, a.ActedWhy = state, c.Now(), c.Principal().Name, why
	if why != "" {
		c.Note("reason", why)
	}
	return nil
}

// reason is what somebody wrote, or what is wrong with it.
func reason(text string) (string, string) {
	text = strings.TrimSpace(text)
	if len(text) > maxReason || guard.Show(text) != text {
		return "", fmt.Sprintf("Use at most %d printable characters, in one line.", maxReason)
	}
	return text, ""
}
