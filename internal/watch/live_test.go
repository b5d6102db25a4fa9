package watch

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/logs/source"
)

func liveOptions(t *testing.T, dir string, tell func(Alert, detect.Change)) LiveOptions {
	t.Helper()
	return LiveOptions{Options: Options{Units: units.Every, Zone: time.UTC, Now: time.Now, Least: detect.Info}, Patterns: []string{filepath.Join(dir, "*.log")},
		State: filepath.Join(dir, "state"), Tell: tell, Trouble: func(err error) { t.Error(err) },
		Save: func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// TestLive: lines become alerts while the program runs.
func TestLive(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "auth.log")
	appendTo(t, log, failures(time.Now().UTC().Add(-time.Hour), 20)) // what was there before is not told
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan Alert, 100)
	done := make(chan error)
	o := liveOptions(t, dir, func(a Alert, c detect.Change) {
		if c != detect.Again {
			told <- a
		}
	})
	l, err := start(o)
	if err != nil {
		t.Fatal(err)
	}
	l.follow.Poll(l.take)
	go func() { l.follow.Follow(ctx, pollEvery, l.take, l.due); done <- l.save() }()
	appendTo(t, log, failures(time.Now().UTC(), 4))
	for a := range told {
		if a.Unit == "ssh_bruteforce" && a.Severity == detect.Info {
			break
		}
	}
	appendTo(t, log, failures(time.Now().UTC().Add(4*time.Minute), 1))
	for a := range told {
		if a.Unit == "ssh_bruteforce" && a.Severity == detect.Medium {
			if a.Count != 5 {
				t.Errorf("counts %d", a.Count)
			}
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestLiveRestarts: an attack is found though the program is started anew after every few lines, with rotation in between.
func TestLiveRestarts(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "auth.log")
	var found []string
	run := func() {
		l, err := start(liveOptions(t, dir, func(a Alert, _ detect.Change) {
			found = append(found, fmt.Sprint(a.Unit, " ", a.Severity, " ", a.Count))
		}))
		if err != nil {
			t.Fatal(err)
		}
		l.follow.Poll(l.take)
		if err := l.save(); err != nil {
			t.Fatal(err)
		}
		l.follow.Close()
	}
	appendTo(t, log, "\n")
	run()
	now := time.Now().UTC()
	for i := range 5 {
		appendTo(t, log, failures(now.Add(time.Duration(i)*time.Minute), 1))
		if i == 2 {
			if err := os.Rename(log, log+".1"); err != nil {
				t.Fatal(err)
			}
			appendTo(t, log, "\n")
		}
		run()
	}
	if !slices.Contains(found, "ssh_bruteforce medium 5") {
		t.Errorf("got %v", found)
	}
	// State that cannot be used is said, with what to do.
	if err := os.WriteFile(filepath.Join(dir, "state"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := start(liveOptions(t, dir, nil)); err == nil || !strings.Contains(err.Error(), "Move it away") {
		t.Errorf("got %v", err)
	}
}

// TestLiveDoubles: a packet that two logs have counts once.
func TestLiveDoubles(t *testing.T) {
	dir := t.TempDir()
	counts := make(map[string]int64)
	l, err := start(liveOptions(t, dir, func(a Alert, _ detect.Change) { counts[a.Unit] = a.Count }))
	if err != nil {
		t.Fatal(err)
	}
	defer l.follow.Close()
	l.follow.Poll(l.take)
	for i := range 10 {
		line := fmt.Sprintf("Nov  7 06:%02d:00 host kernel: [UFW BLOCK] IN=eth0 OUT= SRC=198.51.100.7 DST=203.0.113.5 LEN=44 ID=%d PROTO=TCP SPT=%d DPT=8443 SYN \n", i, i, 40000+i)
		appendTo(t, filepath.Join(dir, "ufw.log"), line)
		appendTo(t, filepath.Join(dir, "kern.log"), line)
	}
	l.follow.Poll(l.take)
	if counts["fw_repeat"] != 10 {
		t.Errorf("got %v", counts)
	}
}

// TestLiveJournal: the journal's entries count, and after a restart those behind the last one.
func TestLiveJournal(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "journalctl") // speaks as the real one does, which package source holds it against
	var entries strings.Builder
	for i := range 5 {
		fmt.Fprintf(&entries, "__CURSOR=s=%d\n__REALTIME_TIMESTAMP=%d\n_COMM=sshd\n_PID=%d\nMESSAGE=Failed password for root from 198.51.100.7 port 4 ssh2\n\n", i, time.Now().UnixMicro()+int64(i), i+1)
	}
	script := "#!/bin/sh\necho \"$@\" >>'" + dir + "/args'\ncat <<'END'\n" + entries.String() + "END\nexec sleep 1000\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o := liveOptions(t, dir, func(a Alert, _ detect.Change) {
		if a.Unit == "ssh_bruteforce" && a.Severity == detect.Medium {
			if a.Count != 5 || a.Lines[0].From != "journal" {
				t.Errorf("got %+v", a)
			}
			cancel()
		}
	})
	o.Journal, o.FollowJournal = &source.Journal{Program: program}, true
	if err := Live(ctx, o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	o.Tell = func(Alert, detect.Change) {}
	o.Ready = func() { time.AfterFunc(time.Second, cancel) }
	if err := Live(ctx, o); err != nil {
		t.Fatal(err)
	}
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil || !strings.Contains(string(args), "--after-cursor=s=4") {
		t.Errorf("%s %v", args, err)
	}
}
