package source

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/logs"
)

// realJournal makes a journal of entries with systemd's own program, or skips the test where it is not installed.
func realJournal(t *testing.T, entries string) *Journal {
	t.Helper()
	const remote = "/lib/systemd/systemd-journal-remote"
	if _, err := os.Stat(remote); err != nil {
		t.Skip("systemd-journal-remote is not installed: reading the journal is not held against a real one")
	}
	if _, err := exec.LookPath("journalctl"); err != nil {
		t.Skip("journalctl is not installed")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "system.journal")
	cmd := exec.Command(remote, "--output="+file, "-")
	cmd.Stdin = strings.NewReader(entries)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return &Journal{Options: []string{"--file=" + file}}
}

func entry(at int, fields ...string) string {
	return fmt.Sprintf("__CURSOR=c%d\n__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n_BOOT_ID=0123456789abcdef0123456789abcdef\n_MACHINE_ID=0123456789abcdef0123456789abcdef\n_HOSTNAME=host\n%s\n\n",
		at, 1_767_225_600_000_000+at*1_000_000, at*1_000_000, strings.Join(fields, "\n"))
}

// TestJournal reads a real journal: kernel, sshd and MAAS, not what nothing looks at, and not what claims to be sshd; then goes on behind a cursor.
func TestJournal(t *testing.T) {
	j := realJournal(t, entry(1, "_TRANSPORT=kernel", "SYSLOG_IDENTIFIER=kernel", "MESSAGE=[UFW BLOCK] IN=eth0 OUT= SRC=198.51.100.7 DST=203.0.113.5 LEN=44 PROTO=TCP SPT=1 DPT=2 SYN")+
		entry(2, "_TRANSPORT=syslog", "_COMM=sshd", "_PID=7", "SYSLOG_IDENTIFIER=sshd", "MESSAGE=Failed password for root from 198.51.100.7 port 4 ssh2")+
		entry(3, "_TRANSPORT=syslog", "_COMM=cron", "SYSLOG_IDENTIFIER=CRON", "MESSAGE=session opened")+
		entry(4, "_TRANSPORT=syslog", "_COMM=logger", "SYSLOG_IDENTIFIER=sshd", "MESSAGE=Failed password for root from 192.0.2.1 port 4 ssh2")+
		entry(5, "_TRANSPORT=stdout", "_COMM=maas", "SYSLOG_IDENTIFIER=maas-regiond", "MESSAGE=regiond: [info] 198.51.100.7 POST /MAAS/accounts/login/ HTTP/1.1 --> 400 BAD_REQUEST (referrer: -; agent: -)"))
	var got, cursors []string
	read := func(cursor string) {
		t.Helper()
		got = nil
		err := j.Read(t.Context(), cursor, false, logs.NewParser(time.UTC, 2026), func(cursor string, r *logs.Record, _ string) error {
			got = append(got, fmt.Sprintf("%v %v %v %d", r.Kind, r.Outcome, r.Source, r.Time/1_000_000-1_767_225_600))
			cursors = append(cursors, cursor)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	read("")
	want := []string{"firewall  198.51.100.7 1", "ssh failure 198.51.100.7 2", "maas failure 198.51.100.7 5"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q", got)
	}
	read(cursors[1])
	if len(got) != 1 || got[0] != want[2] {
		t.Errorf("behind the second: %q", got)
	}
	if err := j.Read(t.Context(), "--directory=/etc", false, nil, nil); err == nil {
		t.Error("a cursor that is none is taken")
	}
}

// TestJournalFollow: entries that come later are handed on, until the context ends. The program is a stand-in that speaks as journalctl does in TestJournal.
func TestJournalFollow(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "journalctl")
	script := "#!/bin/sh\necho \"$@\" >'" + dir + "/args'\nprintf '" + strings.ReplaceAll(entry(1, "_COMM=sshd", "_PID=7", "MESSAGE=Failed password for root from 198.51.100.7 port 4 ssh2"), "\n", `\n`) + "'\nexec sleep 1000\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := (&Journal{Program: program}).Read(ctx, "", true, logs.NewParser(time.UTC, 2026), func(string, *logs.Record, string) error {
		n++
		cancel()
		return nil
	})
	if err != nil || n != 1 {
		t.Errorf("%d entries, %v", n, err)
	}
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil || !strings.Contains(string(args), "--follow") || !strings.Contains(string(args), "--lines=0") {
		t.Errorf("%s %v", args, err)
	}
	// A journalctl that cannot is said.
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho 'No journal files were opened due to insufficient permissions.' >&2\nexit 1\n"), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	err = (&Journal{Program: program}).Read(t.Context(), "", true, logs.NewParser(time.UTC, 2026), func(string, *logs.Record, string) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "insufficient permissions") {
		t.Errorf("got %v", err)
	}
}
