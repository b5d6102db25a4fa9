package hostchecks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// maxNamed is how many findings a notification names.
const maxNamed = 3

// ident is under what administrators are told of a controller's host.
func ident(controller string) string { return "host-check:" + controller }

// tell has administrators told of what is high or critical on a controller's host, for as long as it is so. Who dismissed that hears of it
// again when there is something new.
func (s *Service) tell(ctx context.Context, id string) {
	ctx = authz.AsSystem(ctx, "host checks")
	s.telling.Lock()
	defer s.telling.Unlock()
	if err := s.told(ctx, id); err != nil && ctx.Err() == nil {
		s.Log.ErrorContext(ctx, "cannot tell administrators what a host's checks found", "controller", id, "error", err)
	}
}

// tellAll does so for all controllers.
func (s *Service) tellAll(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "host checks")
	var ids []string
	err := s.Gate.View(ctx, authz.HostCheckView, func(v *gate.Viewing) (err error) {
		ids, err = v.ControllerIDs()
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.Log.ErrorContext(ctx, "cannot tell administrators what hosts' checks found", "error", err)
	}
	for _, id := range ids {
		s.tell(ctx, id)
	}
}

func (s *Service) told(ctx context.Context, id string) error {
	var st Standing
	var before []string
	err := s.Gate.View(ctx, authz.HostCheckView, func(v *gate.Viewing) error {
		h, err := v.HostCheck(id)
		if err != nil {
			return err
		}
		before = h.Told
		st, err = get(v.View, id, v.Now())
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return s.Tell.Drop(ctx, ident(id)) // it was removed, or never checked
	}
	if err != nil || st.Report.Problem != "" { // what was so is taken to be so still
		return err
	}
	var now, checks, titles []string
	worst := guard.High
	for _, f := range st.Findings {
		// What was told of and could not be checked this time is not mended.
		key := f.Check + " " + f.Subject
		open := f.State == guard.Fail || slices.Contains(before, key)
		if !open || f.Severity < guard.High || f.Waiver != nil {
			continue
		}
		now, worst = append(now, key), max(worst, f.Severity)
		if !slices.Contains(checks, f.Check) {
			checks, titles = append(checks, f.Check), append(titles, f.Title)
		}
	}
	slices.Sort(now)
	if slices.Equal(now, before) {
		return nil
	}
	fresh := slices.ContainsFunc(checks, func(c string) bool {
		return !slices.ContainsFunc(before, func(b string) bool { return strings.HasPrefix(b, c+" ") })
	})
	if len(now) == 0 {
		err = s.Tell.Drop(ctx, ident(id))
	} else {
		err = s.Tell.Keep(ctx, notification(st.Controller, titles, worst), fresh)
	}
	if err != nil {
		return err
	}
	return s.Gate.Observe(ctx, gate.SeenOwnHost, func(tx *store.Tx, _ time.Time) error { return tx.SeeHostTold(id, now) })
}

func notification(ctl metal.Controller, titles []string, worst guard.Severity) metal.Notification {
	text := "“" + strings.Join(titles[:min(len(titles), maxNamed)], "”, “") + "”"
	if more := len(titles) - maxNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	n := metal.Notification{Ident: ident(ctl.SystemID), Admins: true, Dismissable: true, Category: "warning",
		Message: "On the host of controller {host} this is not so, and matters: {checks}. See Settings, Security.", Context: map[string]string{"host": ctl.Hostname, "checks": text}}
	if worst == guard.Critical {
		n.Category = "error"
	}
	return n
}
