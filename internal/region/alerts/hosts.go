package alerts

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// Limits of what controllers report.
const (
	MaxReported   = 2000            // alerts that are kept of one controller's host, and of the machines that send it their logs
	reportApart   = time.Second     // between two reports of a rack
	maxClockAhead = 5 * time.Minute // a rack's clock decides nothing: what is later than that is now
	maxEvents     = 1 << 32         // of an alert: sums over all that racks may say in an hour have to be numbers still
)

// reports is what controllers' reports need.
type reports struct {
	own  detect.Backlog // of the region's own host
	mu   sync.Mutex
	last map[string]time.Time // by rack, its last report; guarded by mu. As many as there are racks
	new  bool                 // a rack reported: guarded by mu
}

// Report takes what a rack found in logs. It speaks about itself alone: what it reports is kept under its id. Kinds: Invalid for what no rack of ours sends,
// Exhausted within a second of the report before.
func (s *Service) Report(ctx context.Context, rackID string, r detect.HostReport) error {
	if err := r.Err(); err != nil {
		return fault.New(fault.Invalid, "report: %s.", metal.Printable(err.Error(), 200))
	}
	now := s.Now()
	s.reports.mu.Lock()
	wait := s.reports.last[rackID].Add(reportApart).Sub(now)
	early := wait > 0 && wait <= reportApart
	if !early {
		if s.reports.last == nil {
			s.reports.last = map[string]time.Time{}
		}
		s.reports.last[rackID] = now
	}
	s.reports.mu.Unlock()
	if early {
		return &fault.Error{Kind: fault.Exhausted, Message: "The report before came a moment ago.", RetryAfter: wait}
	}
	if err := s.put(ctx, gate.SeenHostAlerts, rackID, r); err != nil {
		return err
	}
	s.reports.mu.Lock()
	defer s.reports.mu.Unlock()
	s.reports.new = s.reports.new || len(r.Alerts) > 0
	return nil
}

// put stores a report.
func (s *Service) put(ctx context.Context, kind gate.Observation, id string, r detect.HostReport) error {
	unknown := 0
	err := s.Gate.Observe(ctx, kind, func(tx *store.Tx, now time.Time) error {
		unknown = 0
		var senders []netip.Addr
		for i := range r.Alerts {
			if a := r.Alerts[i].Sender; a.IsValid() && !slices.Contains(senders, a) {
				senders = append(senders, a)
			}
		}
		machines, err := tx.MachinesAt(id, senders, now)
		if err != nil {
			return err
		}
		for i := range r.Alerts {
			a, ok := reported(id, &r.Alerts[i], now)
			if !ok {
				unknown++
				continue
			}
			a.Machine = machines[r.Alerts[i].Sender]
			if err := tx.SeeAlert(a); err != nil {
				return err
			}
		}
		if r.Logs != nil {
			if err := tx.SeeHostLogs(id, r.Logs, now); err != nil {
				return err
			}
		}
		if err := tx.SettleReported(id, store.FromLogs, MaxReported); err != nil {
			return err
		}
		return tx.SettleReported(id, store.FromSyslog, MaxReported)
	})
	if unknown > 0 && err == nil {
		s.Log.WarnContext(ctx, "a controller reports alerts of detections that this region does not know; they are left out", "controller", id, "alerts", unknown)
	}
	if err == nil && s.Follow != nil {
		s.pass(id, r.Alerts)
	}
	return err
}

// pass has the follower hear of what goes on now on a controller's host. What was told late, since the region was away, is over; what machines sent by syslog proves
// nobody's address.
func (s *Service) pass(id string, list []detect.HostAlert) {
	now := s.Now()
	for i := range list {
		x := &list[i]
		if a, ok := reported(id, x, now); ok && !x.Sender.IsValid() && now.Sub(a.Last) < goesOn {
			s.Follow.Found(&detect.Alert{Unit: a.Unit, Title: Unit(a.Unit).Title, Severity: a.Severity, Proves: a.Proves, Known: x.Known, Client: x.Client})
		}
	}
}

// goesOn is for how long after its last event an attack may be one that goes on.
const goesOn = 10 * time.Minute

// reported is an alert as it is kept; false where the region does not know the detection. Whether the evidence proves its source is the region's to say: of what
// came by syslog it never does.
func reported(id string, x *detect.HostAlert, now time.Time) (store.Alert, bool) {
	u := Unit(x.Unit)
	if len(u.Rungs) == 0 {
		return store.Alert{}, false
	}
	a := store.Alert{Region: id, Origin: store.FromLogs, Unit: u.ID, Severity: min(x.Severity, u.Worst()), Proves: u.Proves, Key: x.Key, User: x.User, Host: x.Host,
		First: x.First.UTC().Truncate(time.Microsecond), Last: x.Last.UTC().Truncate(time.Microsecond), Count: min(x.Count, maxEvents), Lines: x.Lines}
	if a.Last.After(now.Add(maxClockAhead)) {
		a.Last = now
		if a.First.After(now) {
			a.Last = a.First // which names the alert, and so stays
		}
	}
	if x.Client.IsValid() {
		a.Client = x.Client.String()
	}
	if x.Sender.IsValid() {
		a.Origin, a.Proves, a.Host = store.FromSyslog, false, x.Sender.String()
	}
	return a, true
}

// watchHost has the region's own host watched until the context ends.
func (s *Service) watchHost(ctx context.Context) {
	if s.Watch != nil {
		s.Watch(ctx, func(r detect.HostReport) { s.reports.own.Put("host", r) })
	}
}

// writeReports stores what was found on the region's own host, and says whether that, or a rack, brought alerts.
func (s *Service) writeReports(ctx context.Context) bool {
	s.reports.mu.Lock()
	found := s.reports.new
	s.reports.new = false
	s.reports.mu.Unlock()
	for {
		r, lost, ok := s.reports.own.Take()
		if !ok {
			return found
		}
		if lost > 0 {
			s.Log.WarnContext(ctx, "this host's logs show more than can be kept", "alerts_left_out", lost)
		}
		if err := s.put(ctx, gate.SeenAlerts, s.Region, r); err != nil {
			s.Log.ErrorContext(ctx, "cannot store what this host's logs show", "error", err)
			s.reports.own.Return(r)
			return found // tried again
		}
		found = found || len(r.Alerts) > 0
	}
}

// Logs lists which logs the controllers read, as each told last.
func (s *Service) Logs(ctx context.Context) (list []store.HostLogs, err error) {
	err = s.Gate.View(ctx, authz.AlertView, func(v *gate.Viewing) (err error) { list, err = v.HostLogs(); return err })
	return list, err
}
