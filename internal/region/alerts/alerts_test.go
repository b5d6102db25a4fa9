package alerts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/alerts"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/region/store"
)

// world is a region whose alerts run. It lives in a bubble of testing/synctest.
type world struct {
	*regiontest.Core
	t     *testing.T
	admin context.Context
	s     *alerts.Service
	stop  func()
}

func newWorld(t *testing.T) *world {
	w := &world{Core: regiontest.New(t, time.Now), t: t}
	w.admin = w.Admin(t)
	w.start()
	return w
}

// start runs the service, which goes on where the one before was.
func (w *world) start() {
	w.t.Helper()
	var err error
	if w.s, err = alerts.New(alerts.Config{Gate: w.Gate, Now: time.Now, Log: regiontest.Silent, Region: regiontest.RegionID, Host: "region", Tell: w.Notify, State: filepath.Join(w.Dir, "alerts.state")}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.s.Run(ctx) }()
	w.stop = func() { cancel(); <-done }
}

// fails has a client fail to log in so many times, a second apart.
func (w *world) fails(n int, source, user string) {
	for range n {
		w.s.Told(authz.Principal{Kind: authz.Anonymous}, authz.Origin{Source: source}, metal.AuditEvent{Region: regiontest.RegionID, Time: time.Now().UTC(), Principal: "anonymous",
			Action: string(authz.UserLogin), Outcome: metal.OutcomeDenied, Source: source, Detail: map[string]string{"username": user}})
		time.Sleep(time.Second)
	}
	time.Sleep(10 * time.Second)
	synctest.Wait()
}

// found is an alert of a unit; there has to be one.
func (w *world) found(unit string) store.Alert {
	w.t.Helper()
	list, err := w.s.List(w.admin, store.AlertQuery{Unit: unit, Limit: 10})
	if err != nil || len(list) != 1 {
		w.t.Fatalf("got %d alerts of %s, %v, want 1", len(list), unit, err)
	}
	return list[0]
}

const brute = "maas_login_bruteforce"

// fine is no kind of fault.
const fine fault.Kind = -1

// Failed logins are one alert, whose severity grows, with evidence that can be printed whatever name was tried; a restart is no gap.
func TestFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		w.fails(4, "198.51.100.7", "root\x1b[31m\u202e")
		if a := w.found(brute); a.Severity != detect.Info || a.Count != 4 {
			t.Errorf("four: got %+v", a)
		}
		w.stop()
		w.start()
		w.fails(1, "198.51.100.7", "root")
		a := w.found(brute)
		if a.Severity != detect.Medium || a.Count != 5 || a.Client != "198.51.100.7" || !a.Proves || a.State != store.AlertOpen || a.Region != regiontest.RegionID {
			t.Errorf("five, over a restart: got %+v", a)
		}
		text, err := json.Marshal(a)
		if err != nil || strings.ContainsAny(string(text), "\x1b\u202e") || len(a.Lines) == 0 || !strings.Contains(a.Lines[0].Text, "AUTHN_login_unsuccessful") {
			t.Errorf("got the evidence %s, %v", text, err)
		}
		// Somebody else's failures are another alert; a user's refusals are none of a login.
		w.fails(1, "198.51.100.8", "root")
		if list, err := w.s.List(w.admin, store.AlertQuery{Unit: brute, Limit: 10}); err != nil || len(list) != 2 {
			t.Errorf("got %d alerts, %v", len(list), err)
		}
	})
}

// Ten thousand failed logins are one alert and few writes, and what the trail folds into one event counts in full.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		e := metal.AuditEvent{Region: regiontest.RegionID, Principal: "anonymous", Action: string(authz.UserLogin), Outcome: metal.OutcomeDenied, Source: "198.51.100.7", Detail: map[string]string{"username": "root"}}
		for i := range 10_000 {
			e.Time = time.Now().UTC()
			w.s.Told(authz.Principal{Kind: authz.Anonymous}, authz.Origin{}, e)
			if i%1000 == 999 {
				synctest.Wait() // all that was told is counted, and no time has passed
			}
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if a := w.found(brute); a.Count != 10_000 || a.Severity != detect.High || len(a.Lines) > detect.MaxEvidence {
			t.Errorf("got %d events, %v, %d lines", a.Count, a.Severity, len(a.Lines))
		}
		for range 990 {
			w.s.Heard(authz.Principal{Kind: authz.Anonymous}, authz.Origin{}, e)
		}
		e.Detail = map[string]string{"count": "990", "last_error": "no"} // the sum of these
		w.s.Told(authz.Principal{Kind: authz.Anonymous}, authz.Origin{}, e)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if a := w.found(brute); a.Count != 10_990 {
			t.Errorf("with what was folded: got %d events", a.Count)
		}
	})
}

// A clock that was ahead for a while, and was set right, makes no storm of what comes later: who mistypes now and then is not blamed for guessing.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		w.s.Told(authz.Principal{Kind: authz.Anonymous}, authz.Origin{Source: "198.51.100.9"}, metal.AuditEvent{Region: regiontest.RegionID, Time: time.Now().AddDate(2, 0, 0).UTC(),
			Principal: "anonymous", Action: string(authz.UserLogin), Outcome: metal.OutcomeDenied, Source: "198.51.100.9", Detail: map[string]string{"username": "root"}})
		for range 6 {
			w.fails(1, "198.51.100.7", "ann")
			time.Sleep(20 * time.Minute)
		}
		list, err := w.s.List(w.admin, store.AlertQuery{Unit: brute, Limit: 10})
		if err != nil || len(list) != 2 || list[0].Client != "198.51.100.7" || list[0].Severity != detect.Info || list[0].Last.After(time.Now()) {
			t.Errorf("got %+v, %v", list, err)
		}
	})
}

// What could not be stored before a stop is stored after the start.
func TestNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		w.SQL(t, "ALTER TABLE alerts RENAME TO gone")
		w.fails(5, "198.51.100.7", "root")
		w.stop()
		w.SQL(t, "ALTER TABLE gone RENAME TO alerts")
		w.start()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if a := w.found(brute); a.Count != 5 || a.Severity != detect.Medium {
			t.Errorf("got %+v", a)
		}
	})
}

// More attacks than there is room for are said to be left out.
func TestNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.stop()
		w.SQL(t, "DROP TABLE alerts") // to store them all would take long
		var log bytes.Buffer
		w.s.Log = slog.New(slog.NewTextHandler(&log, nil))
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); w.s.Run(ctx) }()
		for i := range detect.MaxAlerts + 3 {
			from := fmt.Sprintf("10.0.%d.%d", i/256, i%256)
			w.s.Told(authz.Principal{Kind: authz.Anonymous}, authz.Origin{}, metal.AuditEvent{Region: regiontest.RegionID, Time: time.Now().UTC(), Principal: "anonymous",
				Action: string(authz.UserLogin), Outcome: metal.OutcomeDenied, Source: from, Detail: map[string]string{"username": "u" + from}})
			if i%1000 == 999 {
				synctest.Wait() // all that was told is counted, and no time has passed
			}
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		cancel()
		<-done
		if !strings.Contains(log.String(), "more attacks go on than there is room for alerts") {
			t.Errorf("it says %q", log.String())
		}
	})
}

// More than the queue holds does not block who tells.
func TestNeverBlocks(t *testing.T) {
	c := regiontest.New(t, time.Now)
	s, err := alerts.New(alerts.Config{Gate: c.Gate, Now: time.Now, Log: regiontest.Silent}) // nobody runs it
	if err != nil {
		t.Fatal(err)
	}
	for range 20_000 {
		s.Told(authz.Principal{Kind: authz.Anonymous}, authz.Origin{}, metal.AuditEvent{Action: string(authz.UserLogin), Outcome: metal.OutcomeDenied})
	}
}

// What people do: one event of the trail each, in the order that makes sense, and more of the same opens again what was resolved.
func TestPeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		w.fails(5, "198.51.100.7", "root")
		id := w.found(brute).ID
		do := func(name string, want fault.Kind, fn func() (store.Alert, error)) store.Alert {
			t.Helper()
			before := len(w.Trail(t))
			a, err := fn()
			if (err != nil) != (want != fine) || err != nil && !fault.Is(err, want) {
				t.Errorf("%s: got %v, want %q", name, err, want)
			}
			if trail := w.Trail(t); len(trail) != before+1 || trail[before].Action != "alert.edit" {
				t.Errorf("%s: got the events %+v, want one", name, trail[before:])
			}
			return a
		}
		in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
		ack := func() (store.Alert, error) { return w.s.Acknowledge(w.admin, id, "on it") }
		resolve := func() (store.Alert, error) { return w.s.Resolve(w.admin, id, "") }
		silence := func(why, until string) func() (store.Alert, error) {
			return func() (store.Alert, error) { return w.s.Silence(w.admin, id, why, until) }
		}
		if a := do("acknowledge", fine, ack); a.State != store.AlertAcknowledged || a.ActedBy != "root" || a.ActedWhy != "on it" {
			t.Errorf("got %+v", a)
		}
		do("again", fault.Conflict, ack)
		do("no reason", fault.Invalid, silence(" ", in(time.Hour)))
		do("a reason that a terminal obeys", fault.Invalid, silence("a\x1b[2J", in(time.Hour)))
		do("too long", fault.Invalid, silence("x", in(alerts.MaxSilence+time.Hour)))
		do("past", fault.Invalid, silence("x", in(-time.Hour)))
		do("no time", fault.Invalid, silence("x", "soon"))
		if a := do("silence", fine, silence("known", in(time.Hour))); !alerts.Silenced(a, time.Now()) || alerts.Silenced(a, time.Now().Add(time.Hour)) {
			t.Errorf("got %+v", a)
		}
		do("unsilence", fine, func() (store.Alert, error) { return w.s.Unsilence(w.admin, id) })
		do("twice", fault.Conflict, func() (store.Alert, error) { return w.s.Unsilence(w.admin, id) })
		do("a day", fine, silence("known", time.Now().UTC().AddDate(0, 0, 89).Format(time.DateOnly)))
		do("resolve", fine, resolve)
		do("again", fault.Conflict, resolve)
		time.Sleep(time.Second) // what came at the very moment is dealt with
		w.fails(1, "198.51.100.7", "root")
		if a := w.found(brute); a.State != store.AlertOpen || a.Count != 6 {
			t.Errorf("more of it: got %+v", a)
		}
		do("none", fault.NotFound, func() (store.Alert, error) { return w.s.Resolve(w.admin, 9999, "") })
		user := w.User(t, "bob", false)
		do("a user", fault.Forbidden, func() (store.Alert, error) { return w.s.Resolve(user, id, "") })
		if _, err := w.s.Get(user, id); !fault.Is(err, fault.Forbidden) {
			t.Errorf("a user reads: got %v", err)
		}
	})
}

// An alert of severity info that was quiet for a day resolves itself; others stay.
func TestSettles(t *testing.T) {
	regiontest.Slow(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		w.fails(1, "198.51.100.7", "root")
		w.fails(5, "198.51.100.8", "root")
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		list, err := w.s.List(w.admin, store.AlertQuery{Unit: brute, Limit: 10})
		if err != nil || len(list) != 2 || list[1].State != store.AlertResolved || list[0].State != store.AlertOpen {
			t.Errorf("got %+v, %v", list, err)
		}
		w.fails(1, "198.51.100.7", "root") // a day later it is another alert
		if list, err = w.s.List(w.admin, store.AlertQuery{Unit: brute, Limit: 10}); err != nil || len(list) != 3 {
			t.Errorf("got %d alerts, %v", len(list), err)
		}
	})
}

// Every unit that runs is about security events, and says what to do.
func TestUnits(t *testing.T) {
	var ids []string
	for _, u := range alerts.Units() {
		ids = append(ids, u.ID)
		if u.Do == "" || alerts.Unit(u.ID).Title != u.Title {
			t.Errorf("%s: %+v", u.ID, u)
		}
	}
	for _, want := range []string{brute, "maas_login_spray", "maas_authz_fail", "mw_enrolment_guessing", "mw_trail_broken"} {
		if !strings.Contains(fmt.Sprint(ids), want) {
			t.Errorf("%s is missing in %v", want, ids)
		}
	}
}

// Administrators hear once of an alert that matters, of another one of the same detection an hour later at the earliest, and of nothing that is silenced,
// acknowledged or resolved. A silence ends by itself.
func TestTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		heard := func(name, want string) {
			t.Helper()
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			list, err := w.Notify.Mine(w.admin)
			var texts []string
			for _, n := range list {
				texts = append(texts, n.Category+": "+n.Text())
			}
			if got := strings.Join(texts, "\n"); err != nil || got != want {
				t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
			}
		}
		dismiss := func() {
			t.Helper()
			list, err := w.Notify.Mine(w.admin)
			if err != nil || len(list) != 1 {
				t.Fatal(list, err)
			}
			if err := w.Notify.Dismiss(w.admin, list[0].ID); err != nil {
				t.Fatal(err)
			}
		}
		const one = "warning: One client guesses passwords of MAAS or Metalward: an open alert. See Alerts."
		w.fails(4, "198.51.100.7", "root")
		heard("info", "")
		w.fails(1, "198.51.100.7", "root")
		heard("medium", one)
		dismiss()
		w.fails(3, "198.51.100.7", "root")
		heard("it goes on", "")
		w.fails(5, "198.51.100.8", "root")
		heard("another, within the hour", "")
		time.Sleep(time.Hour)
		heard("the hour is over", strings.Replace(one, "an open alert", "2 open alerts", 1))
		list, err := w.s.List(w.admin, store.AlertQuery{Unit: brute, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.s.Resolve(w.admin, list[0].ID, ""); err != nil {
			t.Fatal(err)
		}
		heard("one is resolved", one)
		if _, err := w.s.Silence(w.admin, list[1].ID, "known", time.Now().Add(time.Hour).UTC().Format(time.RFC3339)); err != nil {
			t.Fatal(err)
		}
		heard("the other is silenced", "")
		time.Sleep(time.Hour)
		heard("the silence is over", one)
	})
}

// choosy does not take what is told under an ident.
type choosy struct {
	alerts.Teller
	not string
}

func (c choosy) Keep(ctx context.Context, n metal.Notification, again bool) error {
	if n.Ident == c.not {
		return errors.New("not that")
	}
	return c.Teller.Keep(ctx, n, again)
}

// A detection that cannot be told keeps no other from being told.
func TestToldAllTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		w.stop()
		w.s.Tell = choosy{w.Notify, "alerts:" + brute}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); w.s.Run(ctx) }()
		defer func() { cancel(); <-done }()
		w.fails(5, "198.51.100.7", "root")
		w.s.Told(authz.Principal{Kind: authz.System, Name: "trail"}, authz.Origin{}, metal.AuditEvent{Region: regiontest.RegionID, Time: time.Now().UTC(), Principal: "system:trail",
			Action: string(authz.SecurityEvent), Outcome: metal.OutcomeFailed, Detail: map[string]string{"event": "trail_broken"}})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if !w.found("mw_trail_broken").Told {
			t.Error("administrators did not hear of the other")
		}
		list, err := w.Notify.Mine(w.admin)
		if err != nil || len(list) != 1 || list[0].Ident != "alerts:mw_trail_broken" {
			t.Errorf("got %+v, %v", list, err)
		}
	})
}

// A site's thresholds count at once and after a restart, what was counted before goes on, and nothing is kept of what does not differ.
func TestThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		w.fails(2, "198.51.100.7", "root")
		set := func(text string, off bool) alerts.Detection {
			t.Helper()
			d, err := w.s.SetThresholds(w.admin, brute, text, off)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return d
		}
		if a := w.found(brute); a.Severity != detect.Info {
			t.Errorf("two: got %s", a.Severity)
		}
		if d := set("3 within 1m: high", false); d.Changed.ChangedBy != "root" || d.Text() != "3 within 1m: high" {
			t.Errorf("got %q, %+v", d.Text(), d.Changed)
		}
		w.fails(1, "198.51.100.7", "root")
		if a := w.found(brute); a.Severity != detect.High || a.Count != 3 {
			t.Errorf("the third: got %+v", a)
		}
		set("", true)
		w.fails(30, "198.51.100.8", "root")
		if list, _ := w.s.List(w.admin, store.AlertQuery{Unit: brute, Limit: 10}); len(list) != 1 {
			t.Errorf("off: got %v", list)
		}
		w.stop()
		w.start()
		w.fails(30, "198.51.100.8", "root")
		if list, _ := w.s.List(w.admin, store.AlertQuery{Unit: brute, Limit: 10}); len(list) != 1 {
			t.Errorf("off, after a restart: got %v", list)
		}
		if d := set("", false); d.Changed.ChangedBy != "" || d.Text() != d.ShippedText() {
			t.Errorf("as it came: got %q, %+v", d.Text(), d.Changed)
		}
		if d := set(w.detection(brute).ShippedText(), false); d.Changed.ChangedBy != "" {
			t.Errorf("the same in words: got %+v", d.Changed)
		}
		w.fails(5, "198.51.100.9", "root")
		if list, _ := w.s.List(w.admin, store.AlertQuery{Unit: brute, Limit: 10}); len(list) != 2 {
			t.Errorf("on again: got %v", list)
		}
		for _, bad := range []string{"x", "0 within 1m: low", "5 different within 1m: low" /* of which field? */} {
			if _, err := w.s.SetThresholds(w.admin, brute, bad, false); !fault.Is(err, fault.Invalid) {
				t.Errorf("%q: got %v", bad, err)
			}
			if _, err := w.s.Preview(w.admin, brute, bad, false); !fault.Is(err, fault.Invalid) {
				t.Errorf("preview of %q: got %v", bad, err)
			}
		}
		if _, err := w.s.SetThresholds(w.admin, "no_such", "", false); !fault.Is(err, fault.NotFound) {
			t.Errorf("got %v", err)
		}
		user := w.User(t, "bob", false)
		for _, x := range [][2]string{{brute, "3 within 1m: high"}, {brute, "x"}, {"no_such", ""}} { // who may not is told nothing else, and leaves a denial
			_, err := w.s.SetThresholds(user, x[0], x[1], false)
			if trail := w.Trail(t); !fault.Is(err, fault.Forbidden) || trail[len(trail)-1].Outcome != metal.OutcomeDenied {
				t.Errorf("a user, %q: got %v", x, err)
			}
		}
	})
}

// A preview blames who a rack saw, as the alerts do, and not the rack.
func TestPreviewOfRacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		for _, seen := range []string{"10.0.0.101", "10.0.0.102"} {
			w.Gate.Security(regiontest.RackCtx("rack1"), "claim_flood", map[string]string{"seen_at": seen})
		}
		p, err := w.s.Preview(w.admin, "mw_metadata_scraping", "5 within 1h: high", false)
		if err != nil || p.Now != 2 || p.Then != 0 || len(p.Gone) != 2 || p.Gone[0].Key[0].Value != "10.0.0.101" {
			t.Errorf("got %+v, %v", p, err)
		}
	})
}

func (w *world) detection(id string) alerts.Detection {
	w.t.Helper()
	d, err := w.s.Detection(w.admin, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// A trail that somebody changed is found by the region's own check, and is an alert.
func TestTrailBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer func() { w.stop() }()
		if _, err := w.Gate.Seal(context.Background()); err != nil {
			t.Fatal(err)
		}
		broken := func() (found []metal.AuditEvent) {
			t.Helper()
			ctx, cancel := context.WithCancel(context.Background())
			checked := make(chan struct{})
			go func() { defer close(checked); w.Gate.CheckTrail(ctx) }()
			time.Sleep(2 * time.Minute) // the first check is after the start
			cancel()
			<-checked
			for _, e := range w.Trail(t) {
				if e.Detail["event"] == "trail_broken" {
					found = append(found, e)
				}
			}
			return found
		}
		if got := broken(); len(got) != 0 {
			t.Fatalf("got %+v of a whole trail", got)
		}
		w.SQL(t, "DELETE FROM audit WHERE seq = 1")
		got := broken()
		if len(got) != 1 || got[0].Detail["row"] != "1" || got[0].Principal != "system:trail" {
			t.Fatalf("got %+v", got)
		}
		w.s.Told(authz.Principal{Kind: authz.System, Name: "trail"}, authz.Origin{}, got[0])
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if a := w.found("mw_trail_broken"); a.Severity != detect.High || a.Client != "" {
			t.Errorf("got %+v", a)
		}
	})
}
