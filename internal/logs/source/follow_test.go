package source

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/metalward/metalward/internal/logs"
)

// writer is a program that logs, with rotation by somebody else.
type writer struct {
	t    *testing.T
	path string
	n    int
	want []string
	f    *os.File
	gone int
}

func (w *writer) open() {
	f, err := os.OpenFile(w.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	w.f = f
}

func (w *writer) line() {
	w.n++
	s := fmt.Sprintf("line %d of the log", w.n)
	w.want = append(w.want, s)
	if _, err := w.f.WriteString(s + "\n"); err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) old() string {
	w.gone++
	return fmt.Sprintf("%s.%d", w.path, w.gone)
}

// TestFollow: whatever rotation and restarts do, each line is handed on once and in order.
func TestFollow(t *testing.T) {
	for seed := range uint64(30) {
		dir := t.TempDir()
		w := &writer{t: t, path: filepath.Join(dir, "a.log")}
		w.open()
		var got []string
		f := NewFollower([]string{filepath.Join(dir, "*.log")}, []Position{})
		poll := func() { f.Poll(func(_, line string) { got = append(got, line) }) }
		roll := rand.New(rand.NewPCG(seed, 0))
		var done []string
		for range 200 {
			switch roll.IntN(10) {
			case 0, 1, 2, 3, 4:
				w.line()
				done = append(done, "line")
			case 5, 6:
				poll()
				done = append(done, "poll")
			case 7: // renamed; the writer goes on writing to the old one for a while
				if w.n == 0 {
					continue
				}
				poll()
				if err := os.Rename(w.path, w.old()); err != nil {
					t.Fatal(err)
				}
				if roll.IntN(2) == 0 {
					w.line()
					poll()
				}
				w.f.Close()
				w.open()
				w.line()
				poll()
				done = append(done, "rename")
			case 8: // the program stops, and what it missed is renamed or compressed; an empty log would not be recognised
				w.line()
				poll()
				saved := f.Positions()
				f.Close()
				if roll.IntN(2) == 0 && w.n > 0 {
					w.line()
					w.f.Close()
					old := w.old()
					if err := os.Rename(w.path, old); err != nil {
						t.Fatal(err)
					}
					if roll.IntN(2) == 0 {
						squeeze(t, old)
					}
					w.open()
					w.line()
					done = append(done, "away and rotated")
				} else {
					w.line()
					done = append(done, "away")
				}
				f = NewFollower([]string{filepath.Join(dir, "*.log")}, saved)
				poll()
			case 9: // copied and cut
				if w.n == 0 {
					continue
				}
				poll()
				data, err := os.ReadFile(w.path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(w.old(), data, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := w.f.Truncate(0); err != nil {
					t.Fatal(err)
				}
				poll()
				done = append(done, "cut")
			}
		}
		poll()
		poll()
		f.Close()
		w.f.Close()
		if !reflect.DeepEqual(got, w.want) {
			for i := range w.want {
				if i >= len(got) || got[i] != w.want[i] {
					t.Fatalf("seed %d: %d of %d lines; number %d is missing or twice; after %v; errors %v", seed, len(got), len(w.want), i+1, done, f.Errors)
				}
			}
			t.Fatalf("seed %d: %d of %d lines", seed, len(got), len(w.want))
		}
	}
}

func squeeze(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	g := gzip.NewWriter(&b)
	if _, err := g.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".gz", b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestFollowBegins: a file that is there when nothing is known of it is read from its end, one that comes later from its beginning; half a line waits.
func TestFollowBegins(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	put("a.log", "old\n")
	var got []string
	f := NewFollower([]string{filepath.Join(dir, "*.log")}, nil)
	defer f.Close()
	poll := func() { f.Poll(func(_, line string) { got = append(got, line) }) }
	poll()
	put("a.log", "new\nha")
	put("b.log", "later\n")
	poll()
	put("a.log", "lf\n"+string(bytes.Repeat([]byte("x"), 3*logs.MaxLine))+"\nend\n")
	poll()
	if len(got) != 5 || got[0] != "new" || got[1] != "later" || got[2] != "half" || len(got[3]) != logs.MaxLine+1 || got[4] != "end" {
		t.Errorf("%d lines: %.60q", len(got), got)
	}
}

// TestFollowLong: the rest of a line that is too long is never a line, though the follower starts anew in the middle of it.
func TestFollowLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.log")
	put := func(text string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	each := func(_, line string) { got = append(got, line[:min(len(line), 8)]) }
	f := NewFollower([]string{path}, []Position{})
	put("whole\n" + string(bytes.Repeat([]byte("x"), 2*logs.MaxLine)))
	f.Poll(each)
	put("y")
	f.Poll(each)
	saved := f.Positions()
	f.Close()
	put("forged\nnext\n")
	f = NewFollower([]string{path}, saved)
	f.Poll(each)
	put("last\n")
	f.Poll(each)
	f.Close()
	if want := []string{"whole", "xxxxxxxx", "xxxxxxxx", "next", "last"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzLines: lines come out whole and once, whatever the reader gives at a time.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), 2)
	f.Fuzz(func(t *testing.T, data []byte, step int) {
		var got [][]byte
		err := Lines(&stutter{data, 1 + abs(step)%7}, func(line string) error { got = append(got, []byte(line)); return nil })
		if err != nil {
			t.Fatal(err)
		}
		text := bytes.TrimSuffix(data, []byte("\n"))
		want := bytes.Split(text, []byte("\n"))
		if len(data) == 0 {
			want = nil
		}
		if len(got) != len(want) {
			t.Fatalf("%d lines, want %d", len(got), len(want))
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("line %d: %q", i, got[i])
			}
		}
	})
}

func abs(n int) int {
	if n < 0 {
		return -(n + 1)
	}
	return n
}

type stutter struct {
	data []byte
	step int
}

func (s *stutter) Read(b []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), s.step)], s.data)
	s.data = s.data[n:]
	return n, nil
}

// FuzzRecords: no stream panics or runs away, the journal's export among them.
func FuzzRecords(f *testing.F) {
	f.Add([]byte("__CURSOR=a\nMESSAGE\n\x03\x00\x00\x00\x00\x00\x00\x00a\nb\n\n"))
	f.Add([]byte("__CURSOR=a\nMESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		r, err := Decompress(bytes.NewReader(data))
		if err != nil {
			return
		}
		n := 0
		_ = Records(io.LimitReader(r, 1<<20), logs.NewParser(nil, 2026), func(*logs.Record, string) error { n++; return nil })
	})
}
