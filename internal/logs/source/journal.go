package source

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"github.com/metalward/metalward/internal/logs"
)

// Journal reads the host's journal by journalctl, which is the way to read it that does not need systemd's library (systemd, JOURNAL_FILE_FORMAT).
type Journal struct {
	Program string   // journalctl by default
	Options []string // before all others, such as --directory; for tests
}

// wanted are the entries that anything looks at. In journalctl's language "+" is or, between different fields without it is and. Names that begin with "_" are
// the journal's own; what MAAS and web servers call themselves anybody may claim, and it is read as theirs as it would be in a file.
var wanted = []string{
	"_TRANSPORT=kernel", "+", "_COMM=sshd", "_COMM=sshd-session", "_COMM=sshd-auth", "+", "_COMM=systemd-journal", "+",
	"SYSLOG_IDENTIFIER=maas-regiond", "SYSLOG_IDENTIFIER=maas-rackd", "SYSLOG_IDENTIFIER=maas-apiserver", "SYSLOG_IDENTIFIER=maas-http", "SYSLOG_IDENTIFIER=regiond",
	"SYSLOG_IDENTIFIER=metalward", "SYSLOG_IDENTIFIER=nginx", "SYSLOG_IDENTIFIER=haproxy", "SYSLOG_IDENTIFIER=apache2", "SYSLOG_IDENTIFIER=httpd",
}

// JournalName is what evidence from the journal calls its source.
const JournalName = "journal"

// Here says whether this host has a journal that can be read.
func (j *Journal) Here() bool {
	if _, err := exec.LookPath(j.program()); err != nil {
		return false
	}
	for _, dir := range []string{"/var/log/journal", "/run/log/journal"} {
		if _, err := os.Stat(dir); err == nil {
			return true
		}
	}
	return len(j.Options) > 0
}

func (j *Journal) program() string {
	if j.Program != "" {
		return j.Program
	}
	return "journalctl"
}

// Read hands on the journal's entries, from its beginning or from behind a cursor, and with follow goes on until the context ends. Each is called with the
// cursor of the entry. A cursor that the journal does not know any more begins anew at what it has.
func (j *Journal) Read(ctx context.Context, cursor string, follow bool, p *logs.Parser, each func(cursor string, r *logs.Record, line string) error) error {
	args := append(append([]string{}, j.Options...), "--output=export", "--quiet", "--no-pager")
	switch {
	case cursor != "" && strings.Trim(cursor, "abcdefghijklmnopqrstuvwxyz0123456789=;") == "": // s=…;i=…;b=…;m=…;t=…;x=…
		args = append(args, "--after-cursor="+cursor)
	case cursor != "":
		return errors.New("the journal's cursor is not what journalctl writes")
	case follow:
		args = append(args, "--lines=0")
	}
	if follow {
		args = append(args, "--follow", "--no-tail")
		if cursor == "" {
			args[len(args)-1] = "--lines=0"
		}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, j.program(), append(args, wanted...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var complaint tail
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = export(bufio.NewReaderSize(out, 64<<10), p, false, each)
	if err != nil {
		stop()
	}
	_, _ = io.Copy(io.Discard, out)
	if e := cmd.Wait(); err == nil && e != nil && ctx.Err() == nil {
		err = fmt.Errorf("journalctl: %w: %s", e, strings.TrimSpace(string(complaint)))
	}
	return err
}

// tail keeps the beginning of what a program complains about.
type tail []byte

func (t *tail) Write(b []byte) (int, error) {
	const most = 500
	*t = append(*t, b[:min(len(b), most-min(len(*t), most))]...)
	return len(b), nil
}
