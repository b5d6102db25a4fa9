package region

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/region/audit"
)

// TestTrailByAPI reads, filters and exports the trail; the export proves itself with the instance's key, leaves an
// event, and is not for everybody.
func TestTrailByAPI(t *testing.T) {
	c := newCompany(t)
	c.must("admin", "POST", "/grants/", "user", "audit", "role", authz.Auditor, "all_pools", "true")
	c.call("user", "POST", "/zones/", "name", "west") // denied
	read := func(user, query string) (list []audit.Plain) {
		t.Helper()
		rec := c.call(user, "GET", "/trail/"+query)
		if err := json.Unmarshal(rec.Body.Bytes(), &list); err != nil || rec.Code != http.StatusOK {
			t.Fatalf("%s: got %d %.200s", query, rec.Code, rec.Body)
		}
		return list
	}
	if list := read("audit", "?principal=user&outcome=denied"); len(list) != 1 || list[0].Action != "zone.edit" {
		t.Errorf("got %+v, want the refused zone", list)
	}
	newest := read("audit", "?limit=2")
	if len(newest) != 2 || newest[0].ID < newest[1].ID {
		t.Fatalf("got %+v, want the newest two", newest)
	}
	if next := read("audit", "?limit=1&after="+authz.ID(newest[1].ID)); len(next) != 1 || next[0].ID != newest[0].ID {
		t.Errorf("after one comes the one next to it, got %+v", next)
	}
	for _, q := range []string{"?outcome=good", "?from=yesterday", "?limit=0", "?limit=5000", "?after=1&before=2", "?op=export&as=xml", "?op=export&principal=user"} {
		if rec := c.call("audit", "GET", "/trail/"+q); rec.Code != http.StatusBadRequest {
			t.Errorf("%s: got %d, want 400", q, rec.Code)
		}
	}
	if _, err := c.r.Gate.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	rec := c.call("audit", "GET", "/trail/?op=export")
	public, err := TrailKey(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := audit.VerifyExport(rec.Body, public); err != nil || n < 10 {
		t.Errorf("export: got %d, %v", n, err)
	}
	if list := read("admin", "?action=trail.export"); len(list) != 1 || list[0].Principal != "user:audit" || list[0].Outcome != "success" {
		t.Errorf("the export should have left an event, got %+v", list)
	}
	if text := c.call("audit", "GET", "/trail/?op=export&as=csv&action=zone").Body.String(); !strings.Contains(text, ",zone.edit,") || strings.Count(text, "\n") != 2 {
		t.Errorf("got %q", text)
	}
	for _, user := range []string{"user", "oper"} { // auditors and administrators only
		for _, q := range []string{"", "?op=export"} {
			if rec := c.call(user, "GET", "/trail/"+q); rec.Code != http.StatusForbidden {
				t.Errorf("%s as %s: got %d, want 403", q, user, rec.Code)
			}
		}
		if rec := c.call(user, "GET", "/events/?op=query&level=AUDIT"); rec.Code != http.StatusForbidden {
			t.Errorf("audit events as %s: got %d, want 403", user, rec.Code)
		}
	}

	// As events, for MAAS's clients.
	m := c.machine(c.lab, "", 4)
	c.must("oper", "PUT", "/machines/"+m.SystemID+"/", "description", "x")
	var page struct {
		Count  int
		Events []struct{ Username, Node, Level, Type, Description string }
		Prev   string `json:"prev_uri"`
	}
	rec = c.call("audit", "GET", "/events/?op=query&level=AUDIT&owner=oper&id="+m.SystemID)
	if err := json.Unmarshal(rec.Body.Bytes(), &page); err != nil || page.Count != 1 {
		t.Fatalf("got %d %.300s", rec.Code, rec.Body)
	}
	if e := page.Events[0]; e.Username != "oper" || e.Node != m.SystemID || e.Level != "AUDIT" || e.Type != "Node" || !strings.HasPrefix(e.Description, "machine.update ") {
		t.Errorf("got %+v", e)
	}
	if u, err := url.Parse(page.Prev); err != nil || u.Query().Get("level") != "AUDIT" || u.Query().Get("before") == "" {
		t.Errorf("got the older page at %s", page.Prev)
	}
	if rec := c.call("audit", "GET", "/events/?op=query&level=AUDIT&zone=default"); rec.Code != http.StatusBadRequest {
		t.Errorf("a filter that the trail has not: got %d", rec.Code)
	}
}

// TestPruneTheTrail keeps events for as long as the setting says.
func TestPruneTheTrail(t *testing.T) {
	s := newSurface(t)
	if err := s.r.Gate.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.r.Gate.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := s.events()
	s.must("admin", "POST", "/maas/?op=set_config", "name", "metalward_audit_retention_days", "value", "1")
	if err := s.r.Gate.Prune(t.Context()); err != nil { // nothing is a day old
		t.Fatal(err)
	}
	if n := s.events(); n != before+1 {
		t.Errorf("got %d events, want %d", n, before+1)
	}
}
