package alerts_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/store"
)

func hostAlert(at time.Time, count int64) detect.HostAlert {
	return detect.HostAlert{Unit: "ssh_bruteforce", Severity: detect.Medium, Key: []detect.KeyValue{{Field: "source", Value: "198.51.100.7"}}, Client: netip.MustParseAddr("198.51.100.7"), Host: "rack",
		First: at, Last: at, Count: count, Lines: []detect.Line{{From: "/var/log/auth.log", Number: 7, Text: "Failed password"}}}
}

// What a rack finds is an alert beside the region's own: once, however often it is told, told to administrators, and worked off. The rack speaks of itself
// alone, and whether the evidence proves its source is the region's to say.
func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		ctx := authz.With(context.Background(), authz.Principal{Kind: authz.Rack, Name: "rack1"})
		now := time.Now().UTC().Truncate(time.Microsecond)
		report := func(name string, want fault.Kind, list ...detect.HostAlert) {
			t.Helper()
			time.Sleep(2 * time.Second)
			if err := w.s.Report(ctx, "rack1", detect.HostReport{Alerts: list}); (err != nil) != (want != fine) || err != nil && !fault.Is(err, want) {
				t.Errorf("%s: got %v, want %q", name, err, want)
			}
		}
		a := hostAlert(now, 5)
		report("first", fine, a)
		if err := w.s.Report(ctx, "rack1", detect.HostReport{}); !fault.Is(err, fault.Exhausted) {
			t.Errorf("at once again: got %v", err)
		}
		a.Count, a.Last = 500, now.Add(time.Minute)
		report("it goes on", fine, a)
		got := w.found("ssh_bruteforce")
		if got.Region != "rack1" || got.Count != 500 || got.Origin != store.FromLogs || !got.Proves || got.Lines[0].From != "/var/log/auth.log" {
			t.Errorf("got %+v", got)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if list, err := w.Notify.Mine(w.admin); err != nil || len(list) != 1 || !strings.Contains(list[0].Text(), "an open alert") {
			t.Errorf("administrators hear %+v, %v", list, err)
		}
		if _, err := w.s.Acknowledge(w.admin, got.ID, ""); err != nil {
			t.Error(err)
		}
		bad := a
		bad.User = "\x1b[2J"
		report("a terminal's", fault.Invalid, bad)
		unknown := a
		unknown.Unit = "xx_unknown"
		sender := a
		sender.Sender, sender.Severity = netip.MustParseAddr("10.0.0.9"), detect.High // more than the unit has
		sender.First = now.Add(time.Second)
		report("a machine's word, and a detection that nobody knows", fine, sender, unknown)
		list, err := w.s.List(w.admin, store.AlertQuery{Unit: "ssh_bruteforce", Limit: 10})
		if err != nil || len(list) != 2 || list[0].Proves || list[0].Origin != store.FromSyslog || list[0].Host != "10.0.0.9" {
			t.Errorf("got %+v, %v", list, err)
		}
		if list, err := w.s.List(w.admin, store.AlertQuery{Unit: "xx_unknown", Limit: 10}); err != nil || len(list) != 0 {
			t.Errorf("got %+v, %v", list, err)
		}
		if err := w.s.Report(w.admin, "rack1", detect.HostReport{Alerts: []detect.HostAlert{a}}); err == nil {
			t.Error("a person reported in a rack's name")
		}
	})
}

// A rack's clock that is ahead does not make an alert another one each time.
func TestReportClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		ctx := authz.With(context.Background(), authz.Principal{Kind: authz.Rack, Name: "rack1"})
		ahead := time.Now().Add(time.Hour).UTC()
		for i := range 3 {
			time.Sleep(2 * time.Second)
			if err := w.s.Report(ctx, "rack1", detect.HostReport{Alerts: []detect.HostAlert{hostAlert(ahead, int64(i+5))}}); err != nil {
				t.Fatal(err)
			}
		}
		if a := w.found("ssh_bruteforce"); a.Count != 7 {
			t.Errorf("got %+v", a)
		}
	})
}

// What racks say of numbers cannot make sums overflow, which would keep others' alerts from being stored.
func TestReportCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		ctx := authz.With(context.Background(), authz.Principal{Kind: authz.Rack, Name: "rack1"})
		if err := w.s.Report(ctx, "rack1", detect.HostReport{Alerts: []detect.HostAlert{hostAlert(time.Now().UTC(), 1<<40)}}); err != nil {
			t.Fatal(err)
		}
		if a := w.found("ssh_bruteforce"); a.Count != 1<<32 {
			t.Errorf("got %d", a.Count)
		}
	})
}

// heard is a follower that keeps what it was told.
type heard []detect.Alert

func (h *heard) Found(a *detect.Alert) { *h = append(*h, *a) }

// Who follows hears of what goes on now on a host, with what the controller knows of its source: not of what is over, of unknown detections, or of what came by syslog.
func TestHostsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.stop()
		var h heard
		w.s.Follow = &h
		now := time.Now().UTC()
		a := hostAlert(now.Add(-time.Minute), 9)
		a.Last, a.Known, a.Client = now, true, netip.MustParseAddr("198.51.100.7")
		over, unknown, sent := a, a, a
		over.First, over.Last = now.Add(-time.Hour), now.Add(-time.Hour+time.Minute)
		unknown.Unit = "ssh_nothing"
		sent.Sender = netip.MustParseAddr("10.0.0.9")
		ctx := authz.With(context.Background(), authz.Principal{Kind: authz.Rack, Name: "rack1"})
		if err := w.s.Report(ctx, "rack1", detect.HostReport{Alerts: []detect.HostAlert{over, unknown, sent, a}}); err != nil {
			t.Fatal(err)
		}
		if len(h) != 1 || !h[0].Known || !h[0].Proves || h[0].Client != a.Client || h[0].Unit != a.Unit || h[0].Severity != a.Severity {
			t.Errorf("got %+v", h)
		}
	})
}
