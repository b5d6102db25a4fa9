// Package alerts finds attacks in the region's own security events while they happen: what the security log sends goes through the detections that are
// about MAAS and Metalward, too, and what they find is kept, told and worked off here. Each region counts the events of its own.
//
// Start at Told, by which events come in, Run, which counts them, and Acknowledge, Resolve and Silence, which people do.
package alerts

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/logs"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/seclog"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// Limits and times.
const (
	MaxAlerts   = 10_000          // that are kept; see store.SettleAlerts for which go
	maxQueue    = 8192            // events that wait to be counted; more are left out and counted
	maxText     = 256             // bytes of a name or key
	writeBatch  = 200             // alerts in a transaction
	look        = time.Second     // after which a new alert is stored, at most
	writeEvery  = 5 * time.Second // how often that one goes on is
	settleEvery = time.Minute
	quiet       = 24 * time.Hour       // after which an alert of severity info resolves itself
	crowd       = detect.MaxAlerts / 2 // of the engine: beyond, it forgets the quiet ones, so that many strangers do not blind it
	stateFormat = 1
	// disorder is how far the times of concurrent calls lie apart at most. More is a clock that was set back.
	disorder = time.Minute
)

// keep is how long an alert may be quiet until the engine forgets it; where there is a crowd, the next shorter time counts.
var keep = []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute}

// Follower is told of an alert that is new or worse, and now and then while it goes on (detect.Again): who was let in again may go on. It must not block, and keeps
// nothing of the alert.
type Follower interface {
	Found(a *detect.Alert)
}

// Config is what the service is made of.
type Config struct {
	Gate   *gate.Gate
	Now    func() time.Time
	Log    *slog.Logger
	Region string // system id of this one
	Host   string // its name, as the security log has it
	Tell   Teller
	Follow Follower // nil: nobody
	State  string   // a file for what was counted, so that a restart is no gap; "" for none
	// Watch follows the logs of the region's own host until its context ends and tells what it reads and finds; nil: nobody does.
	Watch func(ctx context.Context, tell func(detect.HostReport))
	// Scan reads the current logs of the region's own host from a time on, and says what units find; nil: nobody does.
	Scan func(ctx context.Context, units []detect.Unit, since time.Time) (detect.Scan, error)
	// Tuning is told the site's thresholds, for those who count in logs.
	Tuning *detect.Tuning
}

// Service finds attacks and keeps alerts. Told is safe for concurrent use, and so is what people call.
type Service struct {
	Config
	queue   chan seclog.Event
	dropped atomic.Int64  // events for which there was no room
	other   chan struct{} // thresholds changed
	reports reports
	// previewing is held by the one preview that may run: it takes as much memory as the engine.
	previewing sync.Mutex

	// What follows is Run's.
	engine  *detect.Engine
	changes []detect.Threshold   // of the site, by which the engine counts
	written map[string]mark      // by the engine's alerts, what of them is stored
	newest  int64                // the time of the last event: clocks of concurrent calls are put in order, so that an alert's beginning stays
	said    map[string]time.Time // by detection, when administrators were told of a new alert
	news    bool                 // an alert is new or worse
	dirty   bool                 // the engine took something since alerts were stored
	changed bool                 // likewise, since the state was saved
}

// mark is how an alert was when it was stored.
type mark struct {
	count    int64
	severity detect.Severity
}

// Units are the detections that look at security events. Those of requests are left out: of requests, security events are only a few.
func Units() (list []detect.Unit) {
	for _, u := range units.Every {
		if ofEvents(&u) && !u.Off {
			list = append(list, u)
		}
	}
	return list
}

// All are the detections that find something in security events or in the logs of controllers' hosts.
func All() []detect.Unit {
	return slices.DeleteFunc(slices.Clone(units.Every), func(u detect.Unit) bool { return u.Off })
}

func ofEvents(u *detect.Unit) bool {
	return u.LooksAt(logs.MAAS) && (strings.HasPrefix(u.ID, "maas_") || strings.HasPrefix(u.ID, "mw_"))
}

// New makes the service.
func New(c Config) (*Service, error) {
	s := &Service{Config: c, queue: make(chan seclog.Event, maxQueue), other: make(chan struct{}, 1), written: map[string]mark{}, said: map[string]time.Time{}}
	if err := s.begin(Units()); err != nil {
		return nil, err
	}
	if err := s.load(); err != nil {
		c.Log.Warn("what the detections counted before is lost; they begin anew", "error", err)
		if err := s.begin(Units()); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// begin makes an engine that counted nothing yet. Its seed is chance, so that nobody chooses keys that push others out.
func (s *Service) begin(units []detect.Unit) error {
	var seed [8]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return err
	}
	g, err := detect.New(units, detect.Site{}, nil, func(a *detect.Alert, c detect.Change) {
		s.news = s.news || c != detect.Again
		if s.Follow != nil {
			s.Follow.Found(a)
		}
	})
	if err != nil {
		return err
	}
	g.Seed(binary.LittleEndian.Uint64(seed[:]))
	s.engine = g
	return nil
}

// ident tells the engine's alerts apart.
func ident(a *detect.Alert) string {
	var b strings.Builder
	b.WriteString(a.Unit)
	for _, k := range a.Key {
		fmt.Fprintf(&b, " %q", k.Value)
	}
	return b.String() + " " + strconv.FormatInt(a.First, 10)
}

// Told takes an event of the trail. It never blocks: without room the event is left out and counted, and the trail has it.
func (s *Service) Told(p authz.Principal, o authz.Origin, e metal.AuditEvent) {
	if _, sum := e.Detail["last_error"]; sum { // of what was Heard
		return
	}
	s.Heard(p, o, e)
}

// Heard takes an event of strangers that the trail only counts.
func (s *Service) Heard(p authz.Principal, o authz.Origin, e metal.AuditEvent) {
	ev, ok := seclog.Make(p, o, e, s.Host)
	if !ok {
		return
	}
	select {
	case s.queue <- ev:
	default:
		s.dropped.Add(1)
	}
}

// Run counts events and stores what is found until the context ends, and then what is left.
func (s *Service) Run(ctx context.Context) {
	work := authz.AsSystem(context.WithoutCancel(ctx), "alerts")
	tick := time.NewTicker(look)
	defer tick.Stop()
	var wrote, settled time.Time
	lost, over := int64(0), s.over()
	s.follow(work)
	watching := make(chan struct{})
	go func() { defer close(watching); s.watchHost(ctx) }()
	for {
		select {
		case <-s.other:
			s.follow(work)
			continue
		case e := <-s.queue:
			s.take(e)
			continue
		case <-tick.C:
		case <-ctx.Done():
			s.drain()
			s.write(work)
			<-watching
			s.writeReports(work)
			s.save(work)
			return
		}
		now := s.Now()
		if s.news || s.dirty && now.Sub(wrote) >= writeEvery {
			wrote = now
			s.write(work)
			s.tell(work)
		}
		if s.writeReports(work) {
			s.tell(work)
		}
		if n := s.dropped.Load(); n != lost {
			s.Log.WarnContext(ctx, "security events came faster than they could be looked at", "left_out", n-lost)
			lost = n
		}
		if n := s.over(); n != over {
			s.Log.WarnContext(ctx, "more attacks go on than there is room for alerts", "left_out", n-over)
			over = n
		}
		if now.Sub(settled) >= settleEvery || len(s.engine.Alerts) > crowd {
			settled = now
			s.follow(work) // another region may have changed thresholds
			s.settle(work)
			s.tell(work) // silences end by themselves
			s.save(work)
		}
	}
}

// over is how many findings the engine had no room for.
func (s *Service) over() (n int64) {
	for _, x := range s.engine.Over {
		n += x
	}
	return n
}

// drain counts what still waits.
func (s *Service) drain() {
	for {
		select {
		case e := <-s.queue:
			s.take(e)
		default:
			return
		}
	}
}

// take counts an event.
func (s *Service) take(e seclog.Event) {
	line, err := json.Marshal(e)
	if err != nil {
		panic("cannot encode a security event: " + err.Error()) // texts and a map of texts
	}
	r := record(e)
	// A clock that was ahead for a while must not make one moment of all events until then: they would be a storm.
	if r.Time < s.newest && s.newest-r.Time <= disorder.Microseconds() {
		r.Time = s.newest
	}
	s.newest, s.dirty, s.changed = r.Time, true, true
	s.engine.Take(&r, detect.Line{From: "security events", Text: string(line)})
}

// outcomes are MAAS's names of events that say how a login ended, as package logs reads them from the log.
var outcomes = map[string]logs.Outcome{"AUTHN_login_unsuccessful": logs.Failure, "AUTHN_login_successful": logs.Success, "AUTHN_authentication_failed": logs.Probe}

// record is a security event as detections see one, without the way through text: the name that a stranger gave at a login is known here.
func record(e seclog.Event) logs.Record {
	r := logs.Record{Kind: logs.MAAS, Count: 1, Program: "metalward", Host: e.Hostname, User: e.UserID, SourceName: e.RemoteIP, Agent: e.UserAgent, Prefix: e.Action, Trace: e.TraceID}
	if strings.HasPrefix(e.Principal, string(authz.Rack)+":") {
		r.Host = e.Principal
	}
	r.Event, _, _ = strings.Cut(e.Message, ":")
	r.Outcome = outcomes[r.Event]
	if t, err := time.Parse(time.RFC3339Nano, e.Datetime); err == nil {
		r.Time = t.UnixMicro()
	}
	if r.User == "" {
		r.User = e.Detail["username"]
	}
	if a, err := netip.ParseAddr(e.RemoteIP); err == nil {
		r.Source = a.Unmap().WithZone("")
	}
	// The trail folds what a stranger is refused beyond some events an hour into one with a count.
	if n, err := strconv.Atoi(e.Detail["count"]); err == nil && n > 1 && e.Detail["last_error"]+e.Detail["event"] != "" {
		r.Count = min(n, logs.MaxRepeat)
	}
	return r
}

// write stores what changed since it was stored.
func (s *Service) write(ctx context.Context) {
	for next := 0; ; {
		var list []store.Alert
		marks := map[string]mark{}
		for ; next < len(s.engine.Alerts) && len(list) < writeBatch; next++ {
			a := &s.engine.Alerts[next]
			id, now := ident(a), mark{a.Count, a.Severity}
			if s.written[id] == now {
				continue
			}
			list, marks[id] = append(list, s.stored(a)), now
		}
		if len(list) == 0 {
			s.news, s.dirty = false, false
			return
		}
		if err := s.Gate.Observe(ctx, gate.SeenAlerts, func(tx *store.Tx, _ time.Time) error {
			for _, a := range list {
				if err := tx.SeeAlert(a); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			s.Log.ErrorContext(ctx, "cannot store alerts", "error", err, "alerts", len(list))
			return // tried again
		}
		for id, m := range marks {
			s.written[id] = m
		}
	}
}

// printable is a text from outside, safe to print and bounded.
func printable(text string) string {
	text = guard.Show(text)
	return strings.ToValidUTF8(text[:min(len(text), maxText)], "")
}

// stored is an alert as it is kept: what came from outside is safe to print.
func (s *Service) stored(a *detect.Alert) store.Alert {
	r := store.Alert{Region: s.Region, Unit: a.Unit, Severity: a.Severity, Proves: a.Proves, User: printable(a.User), Host: printable(a.Host), First: time.UnixMicro(a.First).UTC(),
		Last: time.UnixMicro(a.Last).UTC(), Count: a.Count}
	if a.Client.IsValid() {
		r.Client = a.Client.String()
	}
	for _, k := range a.Key {
		r.Key = append(r.Key, detect.KeyValue{Field: k.Field, Value: printable(k.Value)})
	}
	for _, l := range a.Lines {
		r.Lines = append(r.Lines, detect.Line{From: l.From, Text: guard.Show(l.Text)})
	}
	return r
}

// settle keeps the engine and the store bounded.
func (s *Service) settle(ctx context.Context) {
	now := s.Now()
	for i, quiet := range keep {
		if i == 0 || len(s.engine.Alerts) > crowd {
			s.engine.Forget(now.Add(-quiet))
		}
	}
	known := map[string]mark{}
	for i := range s.engine.Alerts {
		id := ident(&s.engine.Alerts[i])
		known[id] = s.written[id]
	}
	s.written = known
	if err := s.Gate.Observe(ctx, gate.SeenAlerts, func(tx *store.Tx, now time.Time) error {
		return tx.SettleAlerts(now.Add(-quiet), now, MaxAlerts)
	}); err != nil {
		s.Log.ErrorContext(ctx, "cannot settle alerts", "error", err)
	}
}

// saved is what is kept on disk.
type saved struct {
	Format    int
	Newest    int64
	Engine    *detect.Snapshot
	Unwritten []string // alerts, as ident has them, that could not be stored yet as they are
}

func (s *Service) load() error {
	if s.State == "" {
		return nil
	}
	data, err := os.ReadFile(s.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var x saved
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&x); err != nil {
		return err
	}
	if x.Format != stateFormat || x.Engine == nil {
		return fmt.Errorf("format %d, this program writes %d", x.Format, stateFormat)
	}
	if err := s.engine.Load(x.Engine); err != nil {
		return err
	}
	s.newest = x.Newest
	for i := range s.engine.Alerts {
		a := &s.engine.Alerts[i]
		s.written[ident(a)] = mark{a.Count, a.Severity}
	}
	for _, id := range x.Unwritten {
		delete(s.written, id)
	}
	s.dirty = len(x.Unwritten) > 0
	return nil
}

// save writes what was counted, all or nothing, if there is anything new.
func (s *Service) save(ctx context.Context) {
	if s.State == "" || !s.changed {
		return
	}
	x := saved{Format: stateFormat, Newest: s.newest, Engine: s.engine.Save()}
	for i := range s.engine.Alerts {
		a := &s.engine.Alerts[i]
		if id := ident(a); s.written[id] != (mark{a.Count, a.Severity}) {
			x.Unwritten = append(x.Unwritten, id)
		}
	}
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(x)
	if err == nil {
		err = secret.WriteFile(s.State, b.Bytes()) // names and addresses: nobody else's business
	}
	if err != nil {
		s.Log.ErrorContext(ctx, "cannot save what the detections counted", "error", err)
		return
	}
	s.changed = false
}
