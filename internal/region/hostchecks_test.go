package region

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack"
	"github.com/metalward/metalward/internal/region/hostchecks"
)

// finds is a check of a host that finds one thing.
func finds(check string, s guard.Severity) func(context.Context) guard.HostReport {
	return func(context.Context) guard.HostReport {
		return guard.HostReport{At: time.Now(), Version: "test", Account: "metalward", Findings: []guard.HostFinding{{Check: check, Title: "Title", State: guard.Fail, Severity: s, Evidence: []string{"seen"}, Fix: []string{"fix it"}}}}
	}
}

// Region and rack check their hosts when somebody wants it, the rack over its session; administrators hear of what is high.
func TestHostChecksThroughRack(t *testing.T) {
	r := runRegion(t, t.TempDir(), time.Now, func(o *Options) { o.CheckHost = finds("files-region", guard.Medium) })
	dir := filepath.Join(t.TempDir(), "rack")
	id, err := rack.Enrol(t.Context(), dir, r.BaseURL, r.mintFor(t, "rack0"))
	if err != nil {
		t.Fatal(err)
	}
	defer startRack(t, dir, time.Now, func(o *rack.Options) { o.CheckHost = finds("files-rack", guard.High) })()
	waitFor(t, "the rack to connect", func() bool { return len(r.Controllers.Connected()) == 1 })
	admin := authz.With(context.Background(), authz.Principal{Kind: authz.User, Name: "admin", UserID: 1, Rights: authz.Everything()})
	for _, who := range []string{r.ID, id} {
		if err := r.Hosts.Again(admin, who); err != nil {
			t.Fatal(err)
		}
	}
	for who, want := range map[string]string{r.ID: "files-region", id: "files-rack"} {
		var s hostchecks.Standing
		waitFor(t, "the report of "+who, func() bool {
			var err error
			if s, err = r.Hosts.Get(admin, who); err != nil {
				t.Fatal(err)
			}
			return !s.At.IsZero()
		})
		if len(s.Findings) != 1 || s.Findings[0].Check != want || s.Wanted {
			t.Errorf("got %+v, want the finding of %s", s, want)
		}
	}
	waitFor(t, "administrators to hear of it", func() bool {
		list, err := r.Notify.Mine(admin)
		return err == nil && len(list) == 1 && strings.Contains(list[0].Text(), "On the host of controller rack0")
	})
}

// The API: hosts, a report with its waivers, one event for each waiver and each wish for a check, and nothing for who may not see settings.
func TestHostChecksByAPI(t *testing.T) {
	s := newSurface(t)
	system := authz.AsSystem(context.Background(), "test")
	list, err := s.r.Controllers.List(system)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	at := "/host-checks/" + list[0].SystemID + "/"
	once := func(method, path string, fields ...string) map[string]any {
		t.Helper()
		before := s.events()
		o := s.must("admin", method, path, fields...)
		if n := s.events() - before; n != 1 {
			t.Errorf("%s %s: got %d audit events, want 1", method, path, n)
		}
		return o
	}
	if o := s.must("admin", "GET", at); o["checked"] != "" || len(o["findings"].([]any)) != 0 {
		t.Errorf("before the first check: got %v", o)
	}
	if o := once("POST", at+"?op=run"); o["pending"] != true {
		t.Errorf("got %v, want that a check is on its way", o)
	}
	if res := s.call("admin", "POST", at+"?op=run"); res.Code != 429 || res.Header().Get("Retry-After") == "" {
		t.Errorf("at once again: got %d %v", res.Code, res.Header())
	}
	const rackID = "rackrackrackrack"
	if err := s.r.Controllers.RegisterRegion(system, metal.Controller{SystemID: rackID, Hostname: "rack0", Type: metal.NodeRackController}); err != nil {
		t.Fatal(err)
	}
	report := finds("files-x", guard.Medium)(t.Context())
	if err := s.r.Hosts.Report(authz.With(context.Background(), authz.Principal{Kind: authz.Rack, Name: rackID}), rackID, report); err != nil {
		t.Fatal(err)
	}
	at = "/host-checks/" + rackID + "/"
	until := time.Now().UTC().AddDate(0, 1, 0).Format(time.DateOnly)
	w := once("POST", "/host-check-waivers/", "check", "files-x", "controller", rackID, "owner", "Carol", "reason", "known", "until", until)
	if w["until"] != until || w["up_to_severity"] != "medium" || w["ended"] != false || w["created_by"] != "admin" {
		t.Errorf("got the waiver %v", w)
	}
	o := s.must("admin", "GET", at)
	f := o["findings"].([]any)[0].(map[string]any)
	if o["score"] != 100.0 || o["waived"] != 1.0 || f["severity"] != "medium" || f["waiver"].(map[string]any)["owner"] != "Carol" || f["fix"].([]any)[0] != "fix it" {
		t.Errorf("got %v", o)
	}
	once("DELETE", "/host-check-waivers/"+fmt.Sprint(w["id"])+"/")
	if o := s.must("admin", "GET", at); o["score"] != 92.0 || o["score_arithmetic"] != "92 of 100 = 100 - 1 medium × 8" {
		t.Errorf("without the waiver: got %v", o)
	}
	var all []map[string]any
	if res := s.call("admin", "GET", "/host-checks/"); json.Unmarshal(res.Body.Bytes(), &all) != nil || len(all) != 2 {
		t.Errorf("got %d %s", res.Code, res.Body)
	}
	for _, call := range [][]string{{"GET", "/host-checks/"}, {"GET", at}, {"POST", at + "?op=run"}, {"GET", "/host-check-waivers/"}, {"POST", "/host-check-waivers/"}, {"DELETE", "/host-check-waivers/1/"}} {
		if res := s.call("alice", call[0], call[1], "check", "files-x", "owner", "a", "reason", "b", "until", until); res.Code != 403 {
			t.Errorf("alice, %s %s: got %d, want 403", call[0], call[1], res.Code)
		}
	}
}
