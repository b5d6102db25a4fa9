package region

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// outside is the DNS and a registry in memory; it counts who is asked.
type outside struct {
	mu    sync.Mutex
	asked []string // guarded by mu
}

func (o *outside) was(what string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = append(o.asked, what)
}

func (o *outside) LookupAddr(_ context.Context, addr string) ([]string, error) {
	o.was("name of " + addr)
	if addr != "8.8.4.4" {
		return nil, errors.New("none")
	}
	return []string{"host.provider.example."}, nil
}

func (o *outside) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("8.8.4.4")}, nil
}

func (o *outside) dial(_ context.Context, _, address string) (net.Conn, error) {
	o.was(address)
	here, there := net.Pipe()
	go func() { // ends when the client closes
		defer func() { _ = there.Close() }()
		_, _ = there.Read(make([]byte, 100))
		text := "refer: whois.ripe.net\n"
		if strings.HasPrefix(address, "whois.ripe.net") {
			text = "inetnum: 8.8.4.0 - 8.8.4.255\nnetname: <b>NET</b>\norg-name: Example\nabuse-mailbox: abuse@provider.example\n"
		}
		_, _ = io.WriteString(there, text)
	}()
	return here, nil
}

// TestSourcesByAPI asks who the source of an alert is: nobody outside is asked before, each question is one event, and the draft names nobody but the source.
func TestSourcesByAPI(t *testing.T) {
	s := newSurface(t)
	o := &outside{}
	s.r.Sources.DNS, s.r.Sources.Dial = o, o.dial
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.r.Alerts.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for _, from := range []string{"8.8.4.4", "203.0.113.9"} {
		stranger := authz.WithOrigin(context.Background(), authz.Origin{Source: from})
		for range 5 {
			if _, err := s.r.Identity.Login(stranger, "canary-name", secret.FromString("wrong password")); err == nil {
				t.Fatal("got in")
			}
		}
	}
	ids := map[string]string{}
	waitFor(t, "two alerts", func() bool {
		var all []map[string]any
		rec := s.call("admin", "GET", "/alerts/?unit=maas_login_bruteforce")
		if json.Unmarshal(rec.Body.Bytes(), &all) != nil {
			t.Fatalf("got %d %s", rec.Code, rec.Body)
		}
		for _, a := range all {
			ids[a["client"].(string)] = fmt.Sprint(a["id"])
		}
		return len(ids) == 2
	})
	list := func(query string) (all []map[string]any) {
		t.Helper()
		if rec := s.call("admin", "GET", "/alert-sources/"+query); rec.Code != 200 || json.Unmarshal(rec.Body.Bytes(), &all) != nil || len(all) != 2 {
			t.Fatalf("got %d %s", rec.Code, rec.Body)
		}
		return all
	}
	list("")
	page := func(method, target, body string) string {
		t.Helper()
		req := httptest.NewRequest(method, "https://localhost"+target, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		s.sign(req, "admin")
		rec := httptest.NewRecorder()
		s.handler.ServeHTTP(rec, req)
		return rec.Body.String()
	}
	if text := page("GET", "/alerts/"+ids["8.8.4.4"], ""); !strings.Contains(text, "Ask who it is") {
		t.Error("the page has no button")
	}
	if text := page("GET", "/alerts/"+ids["203.0.113.9"], ""); strings.Contains(text, "Ask who it is") {
		t.Error("the page has a button for an address that no registry knows")
	}
	if len(o.asked) > 0 {
		t.Fatalf("asked %v before anybody wanted it", o.asked)
	}
	for _, x := range list("?names=true") {
		if named := x["domain"] == "provider.example"; named != (x["address"] == "8.8.4.4") {
			t.Errorf("got %v", x)
		}
	}
	if text := page("GET", "/alerts/sources?names=1", ""); !strings.Contains(text, "host.provider.example") {
		t.Error("the page of sources has no names")
	}
	at := "/alerts/" + ids["8.8.4.4"] + "/?op=ask"
	asks := func() (n int) {
		t.Helper()
		if err := s.r.reader.View(t.Context(), func(v *store.View) error {
			rows, err := v.AuditEvents(store.AuditQuery{Limit: 1000})
			for _, e := range rows {
				if e.Action == string(authz.AlertAsk) && e.Detail["address"] == "8.8.4.4" {
					n++
				}
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	got := s.must("admin", "POST", at, "our_address", "192.0.2.1")
	report, _ := got["report"].(string)
	if got["network"] != "<b>NET</b>" || got["abuse"] != "abuse@provider.example" || got["registry"] != "whois.ripe.net" || !strings.Contains(report, "Target:   192.0.2.1") || strings.Contains(report, "canary") || !strings.Contains(report, " authn_login_fail") {
		t.Errorf("got %v", got)
	}
	if asks() != 1 {
		t.Errorf("got %d events, want 1", asks())
	}
	text := page("POST", "/alerts/"+ids["8.8.4.4"]+"/ask", url.Values{"our_address": {""}}.Encode())
	if !strings.Contains(text, "&lt;b&gt;NET") || strings.Contains(text, "<b>NET") || !strings.Contains(text, "abuse@provider.example") || strings.Contains(text, "Target:") {
		t.Errorf("got %s", text)
	}
	if asks() != 2 {
		t.Errorf("got %d events, want 2", asks())
	}
	before := len(o.asked)
	for _, c := range []struct {
		user, id, ours string
		code           int
	}{{"admin", ids["203.0.113.9"], "", 400}, {"admin", "999", "", 404}, {"admin", ids["8.8.4.4"], "no\naddress", 400}, {"alice", ids["8.8.4.4"], "", 403}} {
		if rec := s.call(c.user, "POST", "/alerts/"+c.id+"/?op=ask", "our_address", c.ours); rec.Code != c.code {
			t.Errorf("%+v: got %d %s", c, rec.Code, rec.Body)
		}
	}
	if len(o.asked) != before {
		t.Errorf("asked %v", o.asked[before:])
	}
}
