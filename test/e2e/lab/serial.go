//go:build linux

package lab

import (
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// escapes matches terminal control sequences, and the NUL and CR bytes that
// firmware sprinkles between characters.
var escapes = regexp.MustCompile("\x1b\\[[0-9;?=]*[ -/]*[@-~]|\x1b[()][A-Za-z0-9]|\x1b[=>78cDEHM]|[\x00\r]")

// serialLog is a console log file that QEMU appends to.
type serialLog struct {
	path string

	mu   sync.Mutex
	from int64
}

// mark moves the start of searches to the present end.
func (l *serialLog) mark() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from = l.size()
}

func (l *serialLog) size() int64 {
	info, err := os.Stat(l.path)
	if err != nil {
		return 0 // never powered on
	}
	return info.Size()
}

func (l *serialLog) text() string {
	l.mu.Lock()
	from := l.from
	l.mu.Unlock()
	f, err := os.Open(l.path)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.NewSectionReader(f, from, 64<<20))
	return escapes.ReplaceAllString(string(b), "")
}

func (l *serialLog) wait(ctx context.Context, text string) error {
	seen := int64(-1)
	for {
		if size := l.size(); size != seen {
			seen = size
			if strings.Contains(l.text(), text) {
				return nil
			}
		}
		if err := sleep(ctx, 2*pollInterval); err != nil {
			return fmt.Errorf("cannot find %q on the serial console: %w: %s", text, err, tail([]byte(l.text())))
		}
	}
}

// WaitSerialAny waits for the first of several texts and returns which it was:
// the outcome hoped for and the failures worth an early end.
func (m *Machine) WaitSerialAny(ctx context.Context, texts ...string) (string, error) {
	for {
		now := m.Serial()
		for _, t := range texts {
			if strings.Contains(now, t) {
				return t, nil
			}
		}
		if err := sleep(ctx, 4*pollInterval); err != nil {
			return "", fmt.Errorf("%s: cannot find any of %q on the serial console: %w: %s", m.config.Name, texts, err, tail([]byte(now)))
		}
	}
}

// SerialLine waits for a line with the prefix and returns its rest. The line
// must have ended, so that nothing is cut off.
func (m *Machine) SerialLine(ctx context.Context, prefix string) (string, error) {
	if err := m.WaitSerial(ctx, prefix); err != nil {
		return "", err
	}
	deadline := time.Now().Add(5 * time.Second)
	for {
		_, rest, _ := strings.Cut(m.Serial(), prefix)
		if line, _, ended := strings.Cut(rest, "\n"); ended || time.Now().After(deadline) {
			return strings.TrimSpace(line), nil
		}
		if err := sleep(ctx, pollInterval); err != nil {
			return "", err
		}
	}
}
