package region

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/secret"
)

// Failed logins at a region become an alert by themselves, which the API shows and works off: one event for each act, and nothing for who may not read
// the trail.
func TestAlertsByAPI(t *testing.T) {
	s := newSurface(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.r.Alerts.Run(ctx) }()
	defer func() { cancel(); <-done }()
	stranger := authz.WithOrigin(context.Background(), authz.Origin{Source: "198.51.100.7"})
	for range 5 {
		if _, err := s.r.Identity.Login(stranger, "<b>root</b>", secret.FromString("wrong password")); err == nil {
			t.Fatal("got in")
		}
	}
	list := func(query string) (all []map[string]any) {
		t.Helper()
		if res := s.call("admin", "GET", "/alerts/"+query); res.Code != 200 || json.Unmarshal(res.Body.Bytes(), &all) != nil {
			t.Fatalf("got %d %s", res.Code, res.Body)
		}
		return all
	}
	var found []map[string]any
	waitFor(t, "the alert", func() bool {
		found = list("?unit=maas_login_bruteforce&severity=medium&state=open")
		return len(found) == 1
	})
	a := found[0]
	if a["client"] != "198.51.100.7" || a["count"] != 5.0 || a["user"] != "<b>root</b>" || a["silenced"] != false || a["do"] == "" || len(a["lines"].([]any)) == 0 {
		t.Errorf("got %v", a)
	}
	if got := list("?limit=1&before=" + fmt.Sprint(a["id"])); len(got) > 1 {
		t.Errorf("got %d of a page of one", len(got))
	}
	if got := list("?severity=high"); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	acts := func() int { // what the region itself does meanwhile, such as to tell administrators, does not count
		t.Helper()
		var all []any
		if res := s.call("admin", "GET", "/trail/?limit=1000&action=alert.edit"); json.Unmarshal(res.Body.Bytes(), &all) != nil {
			t.Fatalf("got %d %s", res.Code, res.Body)
		}
		return len(all)
	}
	at := "/alerts/" + fmt.Sprint(a["id"]) + "/"
	until := time.Now().UTC().AddDate(0, 1, 0).Format(time.DateOnly)
	for _, step := range []struct {
		op     string
		fields []string
		field  string
		want   any
	}{
		{"acknowledge", nil, "state", "acknowledged"},
		{"silence", []string{"reason", "a test", "until", until}, "silenced", true},
		{"unsilence", nil, "silenced", false},
		{"resolve", []string{"reason", "done"}, "acted_reason", "done"},
	} {
		before := acts()
		if o := s.must("admin", "POST", at+"?op="+step.op, step.fields...); o[step.field] != step.want {
			t.Errorf("%s: got %v, want %s %v", step.op, o, step.field, step.want)
		}
		if n := acts() - before; n != 1 {
			t.Errorf("%s: got %d audit events, want 1", step.op, n)
		}
	}
	if o := s.must("admin", "GET", at); o["state"] != "resolved" || o["acted_by"] != "admin" {
		t.Errorf("got %v", o)
	}
	var units []map[string]any
	if res := s.call("admin", "GET", "/alert-units/"); json.Unmarshal(res.Body.Bytes(), &units) != nil || len(units) < 5 {
		t.Errorf("got %d %s", res.Code, res.Body)
	}
	// Other thresholds: what they would have found is told before they are saved, and nothing changes by asking.
	const unit = "/alert-units/maas_login_bruteforce/"
	if o := s.must("admin", "GET", unit); o["off"] != false || o["changed_by"] != "" || o["thresholds"] != o["shipped_thresholds"] {
		t.Errorf("got %v", o)
	}
	before := acts()
	if o := s.must("admin", "GET", unit+"?op=preview&thresholds=6+within+1h:+high"); o["alerts_now"] != 1.0 || o["alerts_then"] != 0.0 || len(o["gone"].([]any)) != 1 || o["all"] != true || o["events"].(float64) < 5 {
		t.Errorf("six: got %v", o)
	}
	o := s.must("admin", "GET", unit+"?op=preview&thresholds=2+within+1h:+high")
	if found, ok := o["new"].([]any); !ok || len(found) != 1 || found[0].(map[string]any)["severity"] != "high" || found[0].(map[string]any)["count"] != 5.0 {
		t.Errorf("two: got %v", o)
	}
	if o := s.must("admin", "GET", unit+"?op=preview&off=true"); o["alerts_then"] != 0.0 {
		t.Errorf("off: got %v", o)
	}
	if n := acts() - before; n != 0 {
		t.Errorf("looking left %d events", n)
	}
	if o := s.must("admin", "PUT", unit, "thresholds", "2 within 1h: high"); o["thresholds"] != "2 within 1h: high" || o["changed_by"] != "admin" {
		t.Errorf("got %v", o)
	}
	if o := s.must("admin", "GET", unit+"?op=preview&thresholds=2+within+1h:+high"); o["alerts_now"] != o["alerts_then"] || len(o["new"].([]any))+len(o["gone"].([]any)) != 0 {
		t.Errorf("what is saved: got %v", o)
	}
	for query, want := range map[string]int{"maas_login_bruteforce/?op=preview&thresholds=x": 400, "maas_login_bruteforce/?op=preview&off=x": 400, "no_such/": 404, "no_such/?op=preview": 404} {
		if res := s.call("admin", "GET", "/alert-units/"+query); res.Code != want {
			t.Errorf("%s: got %d %s, want %d", query, res.Code, res.Body, want)
		}
	}
	var hours []map[string]any
	if res := s.call("admin", "GET", "/alerts/?op=hours"); json.Unmarshal(res.Body.Bytes(), &hours) != nil || len(hours) == 0 || hours[0]["events"].(float64) < 1 {
		t.Errorf("got %d %s", res.Code, res.Body)
	}
	for path, field := range map[string]string{"?state=x": "state", "?severity=x": "severity", "?limit=1001": "limit"} {
		if res := s.call("admin", "GET", "/alerts/"+path); res.Code != 400 || !strings.Contains(res.Body.String(), field) {
			t.Errorf("%s: got %d %s", path, res.Code, res.Body)
		}
	}
	if res := s.call("admin", "POST", at+"?op=silence", "reason", "x", "until", "2999-01-01"); res.Code != 400 || !strings.Contains(res.Body.String(), "90 days") {
		t.Errorf("for ever: got %d %s", res.Code, res.Body)
	}
	for _, call := range [][]string{{"GET", "/alerts/"}, {"GET", at}, {"POST", at + "?op=resolve"}, {"POST", at + "?op=silence"}, {"GET", "/alert-units/"}, {"GET", unit}, {"GET", unit + "?op=preview"}, {"PUT", unit}, {"GET", "/alerts/?op=hours"}} {
		if res := s.call("alice", call[0], call[1], "reason", "b", "until", until); res.Code != 403 {
			t.Errorf("alice, %s %s: got %d, want 403", call[0], call[1], res.Code)
		}
	}
}
