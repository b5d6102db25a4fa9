package agent

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/metalward/metalward/internal/metal"
)

// Console is where a person, or a test, follows a boot: one line "METALWARD stage text" for each step. It is
// the ephemeral system's only log, because nothing there outlives the boot. Safe for concurrent use.
type Console struct {
	mu    sync.Mutex // guards both writers
	w     io.Writer
	pulse io.Writer // one byte for each sign of life, to process 1; may be nil
}

// NewConsole makes a console that writes to w.
func NewConsole(w io.Writer) *Console { return &Console{w: w} }

// Stage prints a line. The text may hold what a server or a device said: it is cut to printable characters.
func (c *Console) Stage(stage, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := metal.Printable(strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", "; "), 800)
	// One write, so that the kernel's own messages cannot split the line. It starts with a line feed because
	// firmware and kernel leave half lines behind.
	_, _ = io.WriteString(c.w, strings.TrimRight("\nMETALWARD "+stage+" "+text, " ")+"\n")
	c.beat()
}

// Alive tells process 1 that the work goes on.
func (c *Console) Alive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beat()
}

func (c *Console) beat() {
	if c.pulse != nil {
		_, _ = c.pulse.Write([]byte{'.'})
	}
}
