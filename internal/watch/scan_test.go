package watch

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/metalward/metalward/internal/detect"
)

func put(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, data, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

func units4(r *Report) []string {
	var ids []string
	for _, a := range r.Alerts {
		ids = append(ids, fmt.Sprintf("%s %s %v", a.Unit, a.Source, a.Severity))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// failures are refused passwords, a minute apart, from a time on.
func failures(from time.Time, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%s host sshd[%d]: Failed password for root from 198.51.100.7 port 4 ssh2\n", from.Add(time.Duration(i)*time.Minute).Format(time.Stamp), i+1)
	}
	return b.String()
}

// TestRotated reads an attack that runs through files of all rotations and compressions, in the order in which they were written, over New Year.
func TestRotated(t *testing.T) {
	dir := t.TempDir()
	start := time.Date(2025, 12, 31, 23, 30, 0, 0, time.UTC)
	pieces := []string{failures(start, 2), failures(start.Add(2*time.Minute), 2), failures(start.Add(4*time.Minute), 2), failures(start.Add(31*time.Minute), 5)}
	var gz, zs, xs bytes.Buffer
	g := gzip.NewWriter(&gz)
	z, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	x, err := xz.NewWriter(&xs)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range []interface {
		Write([]byte) (int, error)
		Close() error
	}{g, z, x} {
		if _, err := w.Write([]byte(pieces[i])); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	files := []string{put(t, dir, "auth.log.3.gz", gz.Bytes()), put(t, dir, "auth.log.2.zst", zs.Bytes()), put(t, dir, "auth.log-20260101.xz", xs.Bytes()), put(t, dir, "auth.log", []byte(pieces[3]))}
	for i, f := range files {
		at := start.Add(time.Duration(i*10+10) * time.Minute)
		if i == 3 {
			at = start.Add(time.Hour)
		}
		if err := os.Chtimes(f, at, at); err != nil {
			t.Fatal(err)
		}
	}
	want := scan(t, Options{}, files[0], files[1], files[2], files[3])
	if len(want.Alerts) != 2 || want.Alerts[0].Count != 11 || want.Alerts[1].Count != 11 {
		t.Fatalf("%+v", want.Alerts)
	}
	if y := want.Alerts[0].First.Year(); y != 2025 || want.Alerts[0].Last.Year() != 2026 {
		t.Errorf("%v to %v", want.Alerts[0].First, want.Alerts[0].Last)
	}
	for _, order := range [][]string{{files[3], files[0], files[2], files[1]}, {dir}} {
		if got := scan(t, Options{}, order...); !slices.EqualFunc(got.Alerts, want.Alerts, func(a, b Alert) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			t.Errorf("in another order: %+v", got.Alerts)
		}
	}
}

// TestGuide: the samples that the hardening guide prints, also wrapped and without a client, are found.
func TestGuide(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		want  string
	}{
		"adjacent ports from one source port": {[]string{
			"blocked incoming tcp connection request from 96.39.208.43:8240 to 128.17.92.85:6002",
			"blocked incoming tcp connection request from 96.39.208.43:8240 to 128.17.92.85:6003",
			"blocked incoming tcp connection request from 96.39.208.43:8240 to 128.17.92.85:6004"}, "fw_portscan"},
		"a port of a known tool": {[]string{"blocked incoming tcp connection request from 96.39.208.43:49343 to 64.242.119.18:31337"}, "fw_hacker_port"},
		"neighbouring networks on one port": {[]string{
			"blocked incoming tcp connection request from 96.39.208.43:49343 to 64.242.119.18:31337",
			"blocked incoming tcp connection request from 96.39.209.43:49343 to 64.242.119.18:31337",
			"blocked incoming tcp connection request from 96.39.210.43:49343 to 64.242.119.18:31337",
			"blocked incoming tcp connection request from 96.39.211.43:49343 to 64.242.119.18:31337",
			"blocked incoming tcp connection request from 96.39.212.43:49343 to 64.242.119.18:31337"}, "fw_hacker_port"},
		"the outgoing FIN":           {[]string{"blocked outgoing tcp packet from 192.168.23.100:5240 to 96.38.231.18:443 as FIN:ACK received, but there is no active connection."}, "fw_outbound_blocked"},
		"the web shell":              {[]string{`96.39.208.43 - - [31/Mar/2020:21:18:08 +0000] "GET /b374k.php HTTP/1.1" 404 1 "-" "-"`}, "web_shell"},
		"a wrong password":           {[]string{"2020-03-31 21:18:08 regiond: [info] 10.132.172.1 POST /MAAS/accounts/login/ HTTP/1.1 --> 400 BAD_REQUEST (referrer: http://10.132.172.231:5240/MAAS/r/; agent: Mozilla/5.0)"}, "maas_login_bruteforce"},
		"an empty one, as it has it": {[]string{"2020-03-31 21:18:45 regiond: [info] 10.132.172.1 POST /MAAS/accounts/login/ HTTP/1.1 --> 204 NO_CONTENT (referrer: http://10.132.172.231:5240/MAAS/r/; agent: Mozilla/5.0)"}, "maas_login_blank"},
		"four failures at sshd":      {strings.Split(strings.TrimSpace(failures(time.Date(2020, 3, 31, 0, 0, 0, 0, time.UTC), 4)), "\n"), "ssh_bruteforce"},
	} {
		t.Run(name, func(t *testing.T) {
			path := put(t, t.TempDir(), "log", []byte(strings.Join(c.lines, "\n")+"\n"))
			r := scan(t, Options{On: []string{"maas_login_blank"}}, path)
			if !slices.ContainsFunc(r.Alerts, func(a Alert) bool { return a.Unit == c.want }) {
				t.Errorf("got %v", units4(r))
			}
			if r.Unknown > 0 || r.Malformed > 0 {
				t.Errorf("%d unknown, %d malformed", r.Unknown, r.Malformed)
			}
		})
	}
	// An ordinary read of the login page, without the client that newer editions leave out, is nothing.
	path := put(t, t.TempDir(), "log", []byte("2020-03-31 21:17:56 regiond: [info] 10.132.172.1 GET /MAAS/accounts/login/ HTTP/1.1 --> 200 OK\n2020-03-31 21:17:56 regiond: [info] GET /MAAS/accounts/login/ HTTP/1.1 --> 200 OK\n"))
	if r := scan(t, Options{}, path); len(r.Alerts) != 0 || r.Kinds["maas"] != 2 {
		t.Errorf("%v %v", units4(r), r.Kinds)
	}
}

// TestDoubles: packets that two logs have count once.
func TestDoubles(t *testing.T) {
	var b strings.Builder
	for i := range 10 {
		fmt.Fprintf(&b, "Nov  7 06:%02d:00 host kernel: [UFW BLOCK] IN=eth0 OUT= SRC=198.51.100.7 DST=203.0.113.5 LEN=44 ID=%d PROTO=TCP SPT=%d DPT=8443 SYN \n", i, i, 40000+i)
	}
	dir := t.TempDir()
	put(t, dir, "ufw.log", []byte(b.String()))
	put(t, dir, "kern.log", []byte(b.String()))
	r := scan(t, Options{}, dir)
	for _, a := range r.Alerts {
		if a.Count > 10 {
			t.Errorf("%s: %d", a.Unit, a.Count)
		}
	}
	if len(r.Alerts) == 0 {
		t.Error("nothing is found")
	}
}

// TestSafe: what an attacker writes into a log reaches no terminal, page or program as anything but text.
func TestSafe(t *testing.T) {
	evil := "Nov  7 06:13:45 host nginx: 198.51.100.7 - - [07/Nov/2026:06:13:45 +0000] \"GET /b374k.php?\x1b[2J<script>alert(1)</script>&x=\u202e\xff HTTP/1.1\" 200 1 \"-\" \"=cmd|' /C calc'!A0\"\n" +
		"\x1b[31mwhat is this\x00\n"
	path := put(t, t.TempDir(), "log\x1b[0m", []byte(evil))
	r := scan(t, Options{}, path)
	if len(r.Alerts) == 0 {
		t.Fatal("nothing is found")
	}
	for _, format := range Formats() {
		var b bytes.Buffer
		if err := Write(&b, r, format, false); err != nil {
			t.Fatal(err)
		}
		out := b.String()
		if strings.ContainsAny(out, "\x1b\x00\u202e") || strings.Contains(out, "\xff") {
			t.Errorf("%s has bytes that do things", format)
		}
		if format == "html" && strings.Contains(out, "<script>") {
			t.Error("the page has a script")
		}
		if format != "text" && format != "html" && !json.Valid(b.Bytes()) {
			t.Errorf("%s is no JSON", format)
		}
	}
}

// TestMask: names of users, which are passwords in the wrong field often enough, are not shown when that is asked for.
func TestMask(t *testing.T) {
	var b strings.Builder
	for i := range 12 {
		fmt.Fprintf(&b, "Nov  7 06:13:%02d host sshd[%d]: Failed password for invalid user hunter2 from 198.51.100.%d port 4 ssh2\n", i, i+1, i)
	}
	path := put(t, t.TempDir(), "log", []byte(b.String()))
	for mask, want := range map[bool]bool{false: true, true: false} {
		var out bytes.Buffer
		if err := writeJSON(&out, scan(t, Options{Mask: mask}, path)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(out.String(), "hunter2"); got != want {
			t.Errorf("masked %v: shown %v", mask, got)
		}
	}
	// One source that tries many names: each line has another one, and a line that cannot be told apart is not shown.
	b.Reset()
	for i := range 12 {
		fmt.Fprintf(&b, "Nov  7 06:13:%02d host sshd[%d]: Failed password for invalid user hunter%d from 198.51.100.7 port 4 ssh2\n", i, i+1, i)
	}
	long := strings.Repeat("hunter", 2*detect.MaxEvidenceLine/6)
	fmt.Fprintf(&b, "Nov  7 06:13:13 host sshd[99]: Failed password for invalid user %s from 198.51.100.7 port 4 ssh2\n", long)
	fmt.Fprint(&b, "Nov  7 06:13:14 host cron[7]: hunter knows what this is\n")
	path = put(t, t.TempDir(), "log", []byte(b.String()))
	for mask, want := range map[bool]bool{false: true, true: false} {
		var out bytes.Buffer
		if err := writeJSON(&out, scan(t, Options{Mask: mask}, path)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(out.String(), "hunter"); got != want {
			t.Errorf("many names, masked %v: shown %v", mask, got)
		}
	}
}

// TestUnreadable: what cannot be read, or is no log, is told and stops nothing.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "a.gz", append([]byte{0x1f, 0x8b}, bytes.Repeat([]byte{0xff}, 100)...))
	put(t, dir, "b", bytes.Repeat([]byte{0}, 5<<20)) // one line of five megabytes
	put(t, dir, "c", []byte(failures(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), 5)))
	if err := os.Symlink(dir, filepath.Join(dir, "loop")); err != nil {
		t.Fatal(err)
	}
	r := scan(t, Options{}, dir)
	if len(r.Alerts) != 1 || len(r.Sources) != 3 {
		t.Errorf("%v of %d sources", units4(r), len(r.Sources))
	}
	failed := 0
	for _, s := range r.Sources {
		if s.Error != "" {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d could not be read", failed)
	}
	if _, err := Scan(t.Context(), []string{filepath.Join(dir, "none")}, Options{Zone: time.UTC, Now: time.Now}); err == nil {
		t.Error("a path that is not there is no error")
	}
}

// TestSince leaves out what is older and newer than asked for.
func TestSince(t *testing.T) {
	start := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	path := put(t, t.TempDir(), "log", []byte(failures(start, 10)))
	if err := os.Chtimes(path, start, start.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    Options
		want int64
	}{
		"all":   {Options{}, 10},
		"since": {Options{Since: start.Add(4 * time.Minute)}, 6},
		"both":  {Options{Since: start.Add(2 * time.Minute), Until: start.Add(8 * time.Minute)}, 6},
		"none":  {Options{Since: start.Add(time.Hour)}, 0},
	} {
		var n int64
		for _, a := range scan(t, c.o, path).Alerts {
			if a.Unit == "ssh_bruteforce" {
				n = a.Count
			}
		}
		if n != c.want {
			t.Errorf("%s: %d, want %d", name, n, c.want)
		}
	}
}

// TestStdin reads compressed standard input and journalctl's export.
func TestStdin(t *testing.T) {
	var gz bytes.Buffer
	g := gzip.NewWriter(&gz)
	for i := range 5 {
		fmt.Fprintf(g, "__CURSOR=s=%d\n__REALTIME_TIMESTAMP=%d\n_COMM=sshd\n_PID=%d\nMESSAGE\n", i, 1_767_225_600_000_000+int64(i)*1_000_000, i+1)
		text := "Failed password for root from 198.51.100.7 port 4 ssh2"
		g.Write([]byte{byte(len(text)), 0, 0, 0, 0, 0, 0, 0})
		fmt.Fprintf(g, "%s\n\n", text)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	r := scan(t, Options{Stdin: &gz}, "-")
	if len(r.Alerts) != 1 || r.Alerts[0].Unit != "ssh_bruteforce" || r.Alerts[0].Severity != detect.Medium {
		t.Errorf("%+v", r)
	}
}
