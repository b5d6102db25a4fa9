package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/logs"
	"github.com/metalward/metalward/internal/secret"
)

// A webhook gets the objects that live writes; what goes wrong is said without the address.
func TestWebhook(t *testing.T) {
	var got struct {
		Change, Unit string
		Count        int
	}
	answer := 204
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(data, &got); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("got %s, %v", data, err)
		}
		if answer == 302 {
			w.Header().Set("Location", "http://elsewhere.test/")
		}
		w.WriteHeader(answer)
	}))
	hook, err := Webhook(secret.FromString(srv.URL + "/hook/s3cret\n"))
	if err != nil {
		t.Fatal(err)
	}
	a := seen(found("198.51.100.7", detect.High, 7, deskTime))[0]
	if err := hook.Send(t.Context(), a, detect.Opened); err != nil || got.Change != "opened" || got.Unit != "ssh_bruteforce" || got.Count != 7 {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, answer = range []int{302, 404, 500} {
		if err := hook.Send(t.Context(), a, detect.Opened); err == nil || !strings.Contains(err.Error(), fmt.Sprint(answer)) {
			t.Errorf("%d: got %v", answer, err)
		}
	}
	srv.Close()
	if err := hook.Send(t.Context(), a, detect.Opened); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("away: got %v", err)
	}
	for _, bad := range []string{"", "x", "ftp://h/", "http://chat.test/hook", "http://10.0.0.1/", "https://"} {
		if _, err := Webhook(secret.FromString(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// Mail goes to the host's own program with the address in the head, where a title cannot add lines, and not in its arguments.
func TestMail(t *testing.T) {
	at := filepath.Join(t.TempDir(), "mail")
	program := filepath.Join(t.TempDir(), "sendmail")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$@\" >"+at+"\ncat >>"+at+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	to, err := Mail(program, "ops@example.org")
	if err != nil {
		t.Fatal(err)
	}
	a := seen(found("198.51.100.7", detect.High, 7, deskTime))[0]
	a.Title = "x\nBcc: eve@example.org"
	if err := to.Send(t.Context(), a, detect.Opened); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(at)
	head, body, _ := strings.Cut(string(text), "\n\n")
	if !strings.HasPrefix(head, "-t -oi\nTo: ops@example.org\nSubject: [metalward] high: x") || strings.Contains(head, "\nBcc") || !strings.Contains(body, "What to do:") {
		t.Errorf("got %q", text)
	}
	if to, _ = Mail(filepath.Join(t.TempDir(), "none"), "root"); to.Send(t.Context(), a, detect.Opened) == nil {
		t.Error("no program sends mail")
	}
	for _, bad := range []string{"", "-x", "a@", "@b", "a b", "a@b\nBcc: c@d", "a@b,c@d", "<a@b>", strings.Repeat("a", 300)} {
		if _, err := Mail(program, bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// What is told to syslog counts for no detection when it is read there again, whatever an attacker's name was.
func TestSyslogLine(t *testing.T) {
	a := seen(found("198.51.100.7", detect.High, 7, deskTime))[0]
	a.User, a.Lines = "x sshd[1]: Failed password for root from 203.0.113.9 port 1 ssh2", nil
	line := "Nov  7 06:00:00 h metalward-watch[1]: " + syslogLine(a, detect.Opened)
	g, err := detect.New(units.Every, detect.Site{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		var r logs.Record
		logs.NewParser(time.UTC, 2026).Parse(line, &r)
		g.Take(&r, detect.Line{Text: line})
	}
	if len(g.Alerts) != 0 || !strings.Contains(line, `source="198.51.100.7"`) || strings.Contains(line, "Failed") {
		t.Errorf("%d alerts of %q", len(g.Alerts), line)
	}
}

// A route that fails is tried again and then given up; one that hangs holds nobody up, and what it misses is said.
func TestRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		tries := 0
		var arrived atomic.Int64
		r := Routes{Trouble: func(err error) { said = append(said, err.Error()) }}
		r.Start([]Route{
			{"broken", func(context.Context, Alert, detect.Change) error { tries++; return errors.New("no\x1b") }},
			{"good", func(context.Context, Alert, detect.Change) error { arrived.Add(1); return nil }},
		})
		r.Tell(Alert{}, detect.Opened)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if tries != 4 || arrived.Load() != 1 || len(said) != 1 || !strings.HasPrefix(said[0], "broken: ") || strings.Contains(said[0], "\x1b") {
			t.Errorf("%d tries, %d arrived, said %q", tries, arrived.Load(), said)
		}
		said = nil
		hung := Routes{Trouble: r.Trouble}
		hung.Start([]Route{{"hangs", func(ctx context.Context, _ Alert, _ detect.Change) error { <-ctx.Done(); return ctx.Err() }}})
		for range maxWaiting + 10 {
			hung.Tell(Alert{}, detect.Opened)
		}
		if len(said) < 9 {
			t.Errorf("said %q", said)
		}
		r.Finish()
		said = nil
		before := time.Now()
		hung.Finish()
		if took := time.Since(before); took != sendTime || len(said) < maxWaiting {
			t.Errorf("the end took %v, and %d alerts that were not sent were said", took, len(said))
		}
	})
}

// TestRoutesFinish sends what waits when a watch ends: after a restart nobody would tell of it.
func TestRoutesFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Routes
		arrived := 0
		r.Start([]Route{{"slow", func(context.Context, Alert, detect.Change) error { time.Sleep(time.Second); arrived++; return nil }}})
		for range 5 {
			r.Tell(Alert{}, detect.Opened)
		}
		r.Finish()
		if arrived != 5 {
			t.Errorf("%d of 5 alerts arrived", arrived)
		}
	})
}

func TestMetrics(t *testing.T) {
	var l DeskList
	l.See(seen(found("198.51.100.7", detect.High, 7, deskTime), found("198.51.100.8", detect.High, 7, deskTime), found("198.51.100.9", detect.Low, 7, deskTime)))
	l.Alerts[2].State = DeskResolved
	var b strings.Builder
	if err := WriteMetrics(&b, &l, deskTime); err != nil || !strings.HasSuffix(b.String(), "gauge\nmetalward_watch_alerts_open{unit=\"ssh_bruteforce\",severity=\"high\"} 2\n") {
		t.Errorf("got %q, %v", b.String(), err)
	}
}
