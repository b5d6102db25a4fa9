package watch

import (
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/logs"
)

// hear has lines looked at, a second apart, and returns what was told: by sender and unit.
func hear(t *testing.T, state string, lines ...logs.Sent) map[string]detect.HostAlert {
	t.Helper()
	found := map[string]detect.HostAlert{}
	reports := 0
	in := make(chan logs.Sent, len(lines))
	done := make(chan struct{})
	go func() {
		defer close(done)
		Hear(t.Context(), HearOptions{Units: HostUnits(units.Every), State: state, Now: time.Now, Log: slog.New(slog.DiscardHandler),
			Save: func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }}, in, func(r detect.HostReport) {
			reports++
			for _, a := range r.Alerts {
				found[a.Sender.String()+" "+a.Unit] = a
			}
			for len(r.Alerts) > 0 {
				part := detect.HostReport{Alerts: r.Alerts[:min(len(r.Alerts), detect.MaxReported)]}
				if err := part.Err(); err != nil {
					t.Errorf("the region would refuse it: %v", err)
				}
				r.Alerts = r.Alerts[len(part.Alerts):]
			}
		})
	}()
	for i := range lines {
		lines[i].At = time.Now()
		in <- lines[i]
		time.Sleep(time.Second)
	}
	close(in)
	<-done
	if reports > 5+len(lines)/5 {
		t.Errorf("got %d reports of %d lines", reports, len(lines))
	}
	return found
}

func guess(sender, from string, i int) logs.Sent {
	return logs.Sent{From: netip.MustParseAddr(sender), Text: fmt.Sprintf("<38>1 2001-01-01T00:00:00Z rack sshd %d - - Failed password for root from %s port 22 ssh2", 1000+i, from)}
}

// What machines say counts for each apart and from when it came, whatever host and time a line claims; it goes on over a restart; and text that is no text does not hurt.
func TestHear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := filepath.Join(t.TempDir(), "state")
		var lines []logs.Sent
		for i := range 4 { // as if the rack itself, or the other machine, were attacked
			lines = append(lines, guess("10.0.0.1", "198.51.100.7", i), guess("10.0.0.2", "198.51.100.7", i))
		}
		for _, text := range []string{"", "\x00", "\xff\xfe", "<", "<0>", "<999999>1", "<34>1 - - - - [a b=\"", strings.Repeat("(", logs.MaxLine), "{\"a\":", "<38>sshd[1]: Failed password for \x1b[2J from 198.51.100.7 port 4 ssh2"} {
			lines = append(lines, logs.Sent{From: netip.MustParseAddr("10.0.0.3"), Text: text})
		}
		found := hear(t, state, lines...)
		for key, a := range found {
			if a.Severity > detect.Info {
				t.Errorf("%s: four of each machine add up: %+v", key, a)
			}
		}
		found = hear(t, state, guess("10.0.0.1", "198.51.100.7", 9))
		a := found["10.0.0.1 ssh_bruteforce"]
		if a.Severity != detect.Medium || a.Count != 5 || a.Client.String() != "198.51.100.7" || a.Host != "10.0.0.1" || a.Lines[0].From != "syslog 10.0.0.1" || a.First.Year() == 2001 {
			t.Errorf("got %+v", a)
		}
		if b := found["10.0.0.2 ssh_bruteforce"]; b.Severity > detect.Info {
			t.Errorf("got %+v of the other machine", b)
		}
	})
}

// A machine that invents a thousand attacks has a hundred told, and hides no other's.
func TestHearInvents(t *testing.T) {
	l := listener{o: HearOptions{Units: HostUnits(units.Every), Now: time.Now, Log: slog.New(slog.DiscardHandler)}, parser: logs.NewParser(time.UTC, 2026)}
	if err := l.begin(); err != nil {
		t.Fatal(err)
	}
	told := map[string]int{}
	l.tell = func(r detect.HostReport) {
		for _, a := range r.Alerts {
			told[a.Sender.String()]++
		}
	}
	now := time.Now()
	for n := range 1000 {
		for i := range 6 {
			s := guess("10.0.0.1", fmt.Sprintf("10.%d.%d.9", n/250, n%250), n*10+i)
			s.At = now.Add(time.Duration(n) * time.Second)
			l.take(s)
		}
		if n%100 == 0 {
			l.found(true)
		}
	}
	for i := range 6 {
		s := guess("10.0.0.2", "198.51.100.7", 60000+i)
		s.At = now
		l.take(s)
	}
	l.found(true)
	if told["10.0.0.1"] > 4*maxOfSender || told["10.0.0.2"] == 0 {
		t.Errorf("got %v", told)
	}
}
