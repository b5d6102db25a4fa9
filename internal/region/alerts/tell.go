package alerts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// Teller has administrators told.
type Teller interface {
	Keep(ctx context.Context, n metal.Notification, again bool) error
	Drop(ctx context.Context, ident string) error
}

const (
	tellFrom  = detect.Medium // what is less waits for who looks
	tellApart = time.Hour     // between two words about one detection: many attackers are no storm of mails
)

// tell has administrators told of open alerts that are not silenced: one notification for each detection, in which the number changes in place. A new
// alert of it is told again at most once an hour; an alert that goes on is not.
func (s *Service) tell(ctx context.Context) {
	if err := s.told(ctx); err != nil {
		s.Log.ErrorContext(ctx, "cannot tell administrators of alerts", "error", err)
	}
}

func (s *Service) told(ctx context.Context) error {
	sums, err := s.Open(ctx)
	if err != nil {
		return err
	}
	open := map[string]store.AlertSum{}
	for _, x := range sums {
		if x.Severity < tellFrom {
			continue
		}
		o := open[x.Unit]
		open[x.Unit] = store.AlertSum{Unit: x.Unit, Severity: max(o.Severity, x.Severity), Alerts: o.Alerts + x.Alerts, Untold: o.Untold + x.Untold}
	}
	var errs []error
	for _, u := range units.Every { // one that cannot be told keeps no other from being told
		if err := s.tellOf(ctx, u, open[u.ID]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", u.ID, err))
		}
	}
	return errors.Join(errs...)
}

// tellOf has administrators told of the alerts of one detection.
func (s *Service) tellOf(ctx context.Context, u detect.Unit, x store.AlertSum) error {
	now := s.Now()
	fresh := x.Untold > 0 && now.Sub(s.said[u.ID]) >= tellApart
	if x.Alerts == 0 || fresh { // a new one is told anew, even in the same words
		if err := s.Tell.Drop(ctx, tellIdent(u.ID)); err != nil {
			return err
		}
	}
	if x.Alerts > 0 {
		if err := s.Tell.Keep(ctx, notification(u, x), fresh); err != nil {
			return err
		}
	}
	if !fresh {
		return nil
	}
	s.said[u.ID] = now
	return s.Gate.Observe(ctx, gate.SeenAlerts, func(tx *store.Tx, now time.Time) error { return tx.SeeAlertsTold(u.ID, tellFrom, now) })
}

func tellIdent(unit string) string { return "alerts:" + unit }

func notification(u detect.Unit, x store.AlertSum) metal.Notification {
	n := metal.Notification{Ident: tellIdent(u.ID), Admins: true, Dismissable: true, Category: "warning",
		Message: "{title}: {alerts}. See Alerts.", Context: map[string]string{"title": u.Title, "alerts": fmt.Sprintf("%d open alerts", x.Alerts)}}
	if x.Alerts == 1 {
		n.Context["alerts"] = "an open alert"
	}
	if x.Severity >= detect.High {
		n.Category = "error"
	}
	return n
}

// Open counts the open alerts that are not silenced, by detection and severity.
func (s *Service) Open(ctx context.Context) (list []store.AlertSum, err error) {
	err = s.Gate.View(ctx, authz.AlertView, func(v *gate.Viewing) (err error) { list, err = v.AlertSums(v.Now()); return err })
	return list, err
}
