package source

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/logs"
)

// TestTruncated: an archive that ends too early gives the lines that it has, and says so.
func TestTruncated(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for range 50 {
		if _, err := z.Write([]byte("a line\n")); err != nil {
			t.Fatal(err)
		}
		if err := z.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Decompress(bytes.NewReader(b.Bytes()[:b.Len()/2]))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = Lines(r, func(string) error { n++; return nil })
	if !errors.Is(err, io.ErrUnexpectedEOF) || n < 10 || n >= 50 {
		t.Errorf("%d lines, %v", n, err)
	}
}

// TestNewYearsEve: a file whose first line is of another year where its stamps are than in UTC is of that year.
func TestNewYearsEve(t *testing.T) {
	for _, zone := range []*time.Location{time.FixedZone("east", 10*3600), time.UTC, time.FixedZone("west", -10*3600)} {
		for _, stamp := range []string{"Jan  1 05:00:00", "Dec 31 20:00:00"} {
			path := filepath.Join(t.TempDir(), "auth.log")
			if err := os.WriteFile(path, []byte(stamp+" h sshd[1]: Failed password for root from 198.51.100.7 port 4 ssh2\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			at, err := time.ParseInLocation("2006 Jan _2 15:04:05", "2026 "+stamp, zone)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(path, at.Add(time.Minute), at.Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			files, err := Find([]string{path}, zone)
			if err != nil {
				t.Fatal(err)
			}
			err = files[0].Read(logs.NewParser(zone, 1999), nil, func(r *logs.Record, _ string) error {
				if r.Time != at.UnixMicro() {
					t.Errorf("%s in %v is %v", stamp, zone, time.UnixMicro(r.Time).In(zone))
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestExport: an entry is its own fields, however many others somebody put into it, and half an entry of a journalctl that was stopped is none.
func TestExport(t *testing.T) {
	failed := entry(1, strings.Repeat("FIELD=x\nOTHER_1=y\n", 400)+"_COMM=sshd", "_PID=7", "MESSAGE=Failed password for root from 198.51.100.7 port 4 ssh2")
	var fields strings.Builder
	for i := range 400 { // of names that differ
		fields.WriteString("F" + strings.Repeat("X", i) + "=x\n")
	}
	read := func(text string) (list []string) {
		program := filepath.Join(t.TempDir(), "journalctl")
		if err := os.WriteFile(program+".txt", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(program, []byte("#!/bin/sh\nexec cat '"+program+".txt'\n"), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		err := (&Journal{Program: program}).Read(t.Context(), "", false, logs.NewParser(time.UTC, 2026), func(cursor string, r *logs.Record, _ string) error {
			list = append(list, cursor+" "+r.Kind.String()+" "+r.SourceName)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if got := read(failed + strings.Replace(failed, "__MONO", fields.String()+"__MONO", 1)); len(got) != 2 || got[0] != "c1 ssh 198.51.100.7" || got[1] != got[0] {
		t.Errorf("got %q", got)
	}
	if got := read(failed + failed[:strings.Index(failed, "MESSAGE=")+20]); len(got) != 1 {
		t.Errorf("with half an entry: %q", got)
	}
}

// TestFolderDenied: what is in a folder that may not be looked into is not passed over without a word.
func TestFolderDenied(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, err := range []error{os.Chmod(dir, 0o755), os.Mkdir("closed", 0o700), os.WriteFile("closed/log", []byte("a line\n"), 0o600), os.Chmod("closed", 0)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "closed"), 0o700) })
	done := make(chan struct{})
	go func() { // on a thread of its own, which ends with it: root looks into any folder, and this one is nobody for a while
		defer close(done)
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			if err := unix.Setfsuid(65534); err != nil {
				t.Error(err)
				return
			}
		}
		files, err := Find([]string{"."}, time.UTC)
		if err != nil || len(files) != 1 || files[0].Path != "closed" {
			t.Errorf("got %+v, %v", files, err)
			return
		}
		if err := files[0].Read(logs.NewParser(time.UTC, 2026), func(int64) {}, func(*logs.Record, string) error { return nil }); !errors.Is(err, os.ErrPermission) {
			t.Errorf("got %v", err)
		}
	}()
	<-done
}
