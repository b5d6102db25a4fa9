package alerts

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/seclog"
	"github.com/metalward/metalward/internal/region/store"
)

// Bounds of a preview.
const (
	previewFor   = 7 * 24 * time.Hour
	previewMost  = 50_000 // events of the trail, the latest
	previewPage  = 2_000
	previewShown = 20 // alerts of each kind
	scanFor      = 24 * time.Hour
	scanTime     = 20 * time.Second // for reading a host's logs twice
)

// Detection is a unit as it runs at this site.
type Detection struct {
	detect.Unit                 // with the site's thresholds
	Shipped     []detect.Rung   // those that it came with
	ShippedOff  bool            // it came turned off
	Events      bool            // it looks at the site's own security events; else at controllers' logs
	Changed     store.Threshold // what the site changed; of no unit when it changed nothing
}

// Text is the thresholds as people write them.
func (d Detection) Text() string { return rungText(d.Rungs) }

// LooksIn says in what the detection looks.
func (d Detection) LooksIn() string {
	if d.Events {
		return "security events"
	}
	return "logs"
}

// ShippedText is the thresholds that the detection came with.
func (d Detection) ShippedText() string { return rungText(d.Shipped) }

func rungText(rungs []detect.Rung) string {
	lines := make([]string, len(rungs))
	for i, r := range rungs {
		lines[i] = r.Text()
	}
	return strings.Join(lines, "\n")
}

// detections are all units with what a site changed. Changes of units that are gone are left out.
func detections(changes []store.Threshold) []Detection {
	tuned := detect.Tuned(units.Every, thresholds(changes))
	list := make([]Detection, len(tuned))
	for i, u := range tuned {
		came := units.Every[i]
		list[i] = Detection{Unit: u, Shipped: came.Rungs, ShippedOff: came.Off, Events: ofEvents(&came)}
		if at := slices.IndexFunc(changes, func(x store.Threshold) bool { return x.Unit == u.ID }); at >= 0 {
			list[i].Changed = changes[at]
		}
	}
	return list
}

// thresholds are changes as those who count take them.
func thresholds(changes []store.Threshold) []detect.Threshold {
	list := make([]detect.Threshold, len(changes))
	for i, c := range changes {
		list[i] = c.Threshold
	}
	return list
}

// running are the units of detections that look at security events, as the engine takes them.
func running(list []Detection) (all []detect.Unit) {
	for _, d := range list {
		if d.Events {
			all = append(all, d.Unit)
		}
	}
	return all
}

// Detections lists the units that run, with the site's thresholds.
func (s *Service) Detections(ctx context.Context) (list []Detection, err error) {
	err = s.Gate.View(ctx, authz.AlertView, func(v *gate.Viewing) error {
		changes, err := v.Thresholds()
		list = detections(changes)
		return err
	})
	return list, err
}

// Detection is a unit that runs, with the site's thresholds. Kinds: NotFound.
func (s *Service) Detection(ctx context.Context, id string) (Detection, error) {
	list, err := s.Detections(ctx)
	if err != nil {
		return Detection{}, err
	}
	return find(list, id)
}

func find(list []Detection, id string) (Detection, error) {
	if i := slices.IndexFunc(list, func(d Detection) bool { return d.ID == id }); i >= 0 {
		return list[i], nil
	}
	return Detection{}, fault.New(fault.NotFound, "There is no detection %.64q here.", metal.Printable(id, 64))
}

// changed reads what somebody wants of a detection: thresholds as Detection.Text writes them, "" for those that it came with. Kinds: Invalid, NotFound.
func changed(list []Detection, id, text string, off bool) (Detection, error) {
	d, err := find(list, id)
	if err != nil {
		return d, err
	}
	d.Off, d.Rungs, d.Changed = off, d.Shipped, store.Threshold{Threshold: detect.Threshold{Unit: id, Off: off}}
	if strings.TrimSpace(text) == "" {
		return d, nil
	}
	rungs, err := detect.ParseRungs(text)
	if err != nil {
		return d, fault.Field("thresholds", "%s.", err)
	}
	u := d.Unit
	u.Rungs = rungs
	if why := u.Problem(); why != "" {
		return d, fault.Field("thresholds", "%s.", why)
	}
	if !slices.Equal(rungs, d.Shipped) {
		d.Rungs, d.Changed.Rungs = rungs, rungs
	}
	return d, nil
}

// SetThresholds changes when a detection fires, or turns it off; what is counted goes on. Without a difference to how it came, nothing is kept. Kinds: Invalid,
// NotFound.
func (s *Service) SetThresholds(ctx context.Context, id, thresholds string, off bool) (d Detection, err error) {
	err = s.Gate.Do(ctx, authz.AlertThreshold, func(c *gate.Call) error {
		if err := c.Require(store.ThresholdTarget(metal.Printable(id, 64))); err != nil {
			return err
		}
		changes, err := c.Tx().Thresholds()
		if err != nil {
			return err
		}
		if d, err = changed(detections(changes), id, thresholds, off); err != nil {
			return err
		}
		c.Note("thresholds", strings.ReplaceAll(d.Text(), "\n", "; "))
		if d.Off {
			c.Note("off", "true")
		}
		if d.Off == d.ShippedOff && len(d.Changed.Rungs) == 0 {
			d.Changed = store.Threshold{}
			return c.Tx().DeleteThreshold(id)
		}
		d.Changed.Changed, d.Changed.ChangedBy = c.Now(), c.Principal().Name
		return c.Tx().PutThreshold(d.Changed)
	})
	if err == nil {
		select {
		case s.other <- struct{}{}:
		default:
		}
	}
	return d, err
}

// follow has the engine count by the site's thresholds, if they changed. What is counted goes on.
func (s *Service) follow(ctx context.Context) {
	var changes []store.Threshold
	if err := s.Gate.View(ctx, authz.AlertView, func(v *gate.Viewing) (err error) { changes, err = v.Thresholds(); return err }); err != nil {
		s.Log.ErrorContext(ctx, "cannot read the detections' thresholds", "error", err)
		return
	}
	next := thresholds(changes)
	if slices.EqualFunc(next, s.changes, detect.Threshold.Equal) {
		return
	}
	s.Tuning.Set(next)
	s.changes = next
	g, err := s.engine.Retune(running(detections(changes)), nil)
	if err != nil {
		s.Log.ErrorContext(ctx, "cannot use the detections' thresholds", "error", err)
		return
	}
	s.engine = g
}

// Preview is what other thresholds would have found.
type Preview struct {
	From      time.Time // of the first event that was looked at
	Events    int       // security events of the site, or lines of logs, that were looked at
	All       bool      // false when there are more than could be looked at: the latest were
	Now, Then int       // alerts of the detection with the thresholds of now, and with the others
	New, Gone []Previewed
}

// Previewed is an alert that only one of two thresholds gives.
type Previewed struct {
	Key         []detect.KeyValue
	Severity    detect.Severity
	First, Last time.Time
	Count       int64
}

// Preview counts what is known of the past twice, as the site has it now and with other thresholds of one detection: the security events that the trail has of the last
// week or, for a detection that looks at logs, the current logs of this region's host of the last day. Nothing is stored. Kinds: Invalid, NotFound; Exhausted
// while another preview runs; Conflict where this region's host is not watched.
func (s *Service) Preview(ctx context.Context, id, thresholds string, off bool) (p Preview, err error) {
	now, err := s.Detections(ctx)
	if err != nil {
		return p, err
	}
	d, err := changed(now, id, thresholds, off)
	if err != nil {
		return p, err
	}
	if !s.previewing.TryLock() {
		return p, fault.New(fault.Exhausted, "Another preview is running. Try again in a moment.")
	}
	defer s.previewing.Unlock()
	then := slices.Clone(now)
	then[slices.IndexFunc(then, func(x Detection) bool { return x.ID == id })] = d
	if !d.Events {
		return p, s.previewLogs(ctx, &p, id, [2][]Detection{now, then})
	}
	engines := [2]*detect.Engine{}
	for i, list := range [][]Detection{now, then} {
		if engines[i], err = detect.New(running(list), detect.Site{}, nil, nil); err != nil {
			return p, err
		}
	}
	if err := s.recent(ctx, &p, func(e seclog.Event) {
		r := record(e)
		for _, g := range engines {
			again := r
			g.Take(&again, detect.Line{})
		}
	}); err != nil {
		return p, err
	}
	found := [2]map[string]Previewed{{}, {}}
	for i, g := range engines {
		for _, a := range g.Alerts {
			if a.Unit == id {
				report := a.Report(printable)
				found[i][about(a.Key)+a.Severity.String()] = previewed(report)
			}
		}
	}
	p.compare(found)
	return p, nil
}

// previewLogs counts the logs of this region's host.
func (s *Service) previewLogs(ctx context.Context, p *Preview, id string, lists [2][]Detection) error {
	if s.Scan == nil {
		return fault.New(fault.Conflict, "This region does not read its host's logs (watch: off), so that there is nothing to look at.")
	}
	ctx, cancel := context.WithTimeout(ctx, scanTime)
	defer cancel()
	p.All, p.From = true, s.Now().Add(-scanFor)
	found := [2]map[string]Previewed{{}, {}}
	for i, list := range lists {
		var all []detect.Unit
		for _, d := range list {
			if !strings.HasPrefix(d.ID, "mw_") {
				all = append(all, d.Unit)
			}
		}
		scan, err := s.Scan(ctx, all, p.From)
		if ctx.Err() != nil {
			return fault.New(fault.Exhausted, "The logs of a day are more than can be looked at within %v. Use metalward watch replay on the host.", scanTime)
		}
		if err != nil {
			return err
		}
		p.Events = int(min(scan.Lines, math.MaxInt32))
		for _, a := range scan.Alerts {
			if a.Unit == id {
				found[i][about(a.Key)+a.Severity.String()] = previewed(a)
			}
		}
	}
	p.compare(found)
	return nil
}

func previewed(a detect.HostAlert) Previewed {
	return Previewed{Key: a.Key, Severity: a.Severity, First: a.First, Last: a.Last, Count: a.Count}
}

// compare says what only one of two thresholds gives.
func (p *Preview) compare(found [2]map[string]Previewed) {
	p.Now, p.Then = len(found[0]), len(found[1])
	p.New, p.Gone = only(found[1], found[0]), only(found[0], found[1])
}

// about is an alert's key as one text.
func about(key []detect.KeyValue) string {
	var b strings.Builder
	for _, k := range key {
		b.WriteString(k.Value)
		b.WriteByte(0)
	}
	return b.String()
}

// only lists what one has and the other does not, the worst and latest first.
func only(these, others map[string]Previewed) (list []Previewed) {
	for k, x := range these {
		if _, both := others[k]; !both {
			list = append(list, x)
		}
	}
	slices.SortFunc(list, func(a, b Previewed) int {
		if a.Severity != b.Severity {
			return int(b.Severity) - int(a.Severity)
		}
		if c := b.Last.Compare(a.Last); c != 0 {
			return c
		}
		return strings.Compare(about(a.Key), about(b.Key))
	})
	return list[:min(len(list), previewShown)]
}

// recent gives the security events of the last week that the trail has, in their order.
func (s *Service) recent(ctx context.Context, p *Preview, each func(seclog.Event)) error {
	var events []seclog.Event
	before, p0 := int64(0), s.Now().Add(-previewFor)
	rows := 0
	for p.All = true; ; {
		var page []store.AuditRow
		err := s.Gate.View(ctx, authz.AlertView, func(v *gate.Viewing) (err error) {
			page, err = v.AuditEvents(store.AuditQuery{Before: before, From: p0, Limit: previewPage})
			return err
		})
		if err != nil {
			return err
		}
		for _, row := range page {
			if e, ok := seclog.Make(principal(row.Principal), authz.Origin{Source: row.Source}, row.AuditEvent, s.Host); ok {
				events = append(events, e)
			}
			before = row.ID
		}
		if rows += len(page); len(page) < previewPage {
			break
		}
		if rows >= previewMost {
			p.All = false
			break
		}
	}
	slices.Reverse(events)
	p.Events = len(events)
	if len(events) > 0 {
		p.From, _ = time.Parse(time.RFC3339Nano, events[0].Datetime)
	}
	for _, e := range events {
		each(e)
	}
	return nil
}

// principal is who did what the trail has, as far as it says: "user:ann".
func principal(text string) authz.Principal {
	kind, name, _ := strings.Cut(text, ":")
	for _, k := range []authz.Kind{authz.User, authz.Rack} { // by a rack's word somebody else did it
		if kind == string(k) {
			return authz.Principal{Kind: k, Name: name}
		}
	}
	return authz.Principal{Kind: authz.System, Name: name}
}

// Thresholds are what the site has other than detections came with, for a rack that counts in logs.
func (s *Service) Thresholds(ctx context.Context) (list []detect.Threshold, err error) {
	err = s.Gate.View(authz.AsSystem(ctx, "alerts"), authz.AlertView, func(v *gate.Viewing) error {
		changes, err := v.Thresholds()
		list = thresholds(changes)
		return err
	})
	return list, err
}
