package syslog

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// read is every message of a connection, and how it ended.
func read(r io.Reader) (lines []string, err error) {
	f := newFrames(r)
	for {
		line, err := f.next()
		if err != nil {
			return lines, err
		}
		lines = append(lines, line)
	}
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", MaxLine+5000)
	for _, c := range []struct {
		name, text string
		want       []string
		err        error
	}{
		{"line feeds", "<34>1 a\n<34>b\r\n\n<34>c\n", []string{"<34>1 a", "<34>b", "<34>c"}, io.EOF},
		{"counted", "7 <34>1 a5 <34>b", []string{"<34>1 a", "<34>b"}, io.EOF},
		{"one after the other", "5 <34>a<34>b\n5 <34>c\n", []string{"<34>a", "<34>b", "<34>c"}, io.EOF},
		{"counted, of several lines", "9 <34>a\nb\r\n", []string{"<34>a b"}, io.EOF},
		{"the last without an end", "<34>a", []string{"<34>a"}, io.EOF},
		{"a zero byte ends", "<34>a\x00\n", []string{"<34>a"}, io.EOF},
		{"broken off", "50 <34>a", nil, io.ErrUnexpectedEOF},
		{"no count", "12x<34>a", nil, errFrame},
		{"a count of ten megabytes", "10000000 <34>a", nil, errFrame},
		{"a count without an end", strings.Repeat("9", 100), nil, errFrame},
		{"long and counted", fmt.Sprintf("%d %s<34>b\n", len(long), long), []string{long[:MaxLine], "<34>b"}, io.EOF},
		{"long", "<" + long + "\n<34>b\n", []string{"<" + long[:MaxLine-1], "<34>b"}, io.EOF},
		{"ten megabytes", strings.Repeat("y", 10<<20), nil, errFrame},
		{"no text", "<34>\xff\x00\x1b[2J\n", []string{"<34>\xff\x00\x1b[2J"}, io.EOF},
	} {
		for _, r := range []io.Reader{strings.NewReader(c.text), iotest.HalfReader(strings.NewReader(c.text))} {
			if got, err := read(r); !slices.Equal(got, c.want) || !errors.Is(err, c.err) {
				t.Errorf("%s: got %.80q, %v, want %.80q, %v", c.name, got, err, c.want, c.err)
			}
		}
	}
}

// Whatever comes, a message is one line of at most MaxLine bytes, and pieces make no difference.
func FuzzFrames(f *testing.F) {
	for _, s := range []string{"<34>1 a\n<34>b\n", "7 <34>1 a5 <34>b", "5 <34>a<34>b\n", "99999999 x", "0 x", "\n\r\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		whole, err := read(strings.NewReader(s))
		pieces, err2 := read(iotest.OneByteReader(strings.NewReader(s)))
		if !slices.Equal(whole, pieces) || (err == nil) != (err2 == nil) {
			t.Errorf("got %q, %v, and in pieces %q, %v", whole, err, pieces, err2)
		}
		for _, line := range whole {
			if len(line) > MaxLine || strings.ContainsAny(line, "\r\n") {
				t.Errorf("got %q", line)
			}
		}
	})
}
