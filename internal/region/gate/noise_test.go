package gate

import (
	"fmt"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/metal"
)

// TestNoiseBounded has very many sources: memory and rows stay bounded, and nothing goes uncounted.
func TestNoiseBounded(t *testing.T) {
	n, at := newNoise(), time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)
	const strangers, each = noiseSources + 5000, 12
	rows := 0
	for i := range strangers {
		for range each {
			if n.filter(metal.AuditEvent{Source: fmt.Sprint("s", i), Time: at, Detail: map[string]string{"error": "no"}}) {
				rows++
			}
		}
	}
	if len(n.sources) > noiseSources+1 {
		t.Errorf("got %d sources kept, want at most %d", len(n.sources), noiseSources+1)
	}
	if want := (noiseSources + 1) * noiseRows; rows != want {
		t.Errorf("got %d rows, want %d", rows, want)
	}
	if due := n.due(at.Add(noiseWindow-time.Second), false); len(due) != 0 {
		t.Errorf("got %d summaries before the hour is over", len(due))
	}
	counted := 0
	for _, e := range n.due(at.Add(noiseWindow), false) {
		var c int
		if _, err := fmt.Sscan(e.Detail["count"], &c); err != nil {
			t.Fatal(err)
		}
		counted += c
	}
	if counted+rows != strangers*each {
		t.Errorf("got %d events in rows and summaries, want all %d", counted+rows, strangers*each)
	}
	if len(n.sources) != 0 {
		t.Errorf("got %d sources kept after the hour", len(n.sources))
	}
}
