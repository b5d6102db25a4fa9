package gate

import (
	"strconv"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/metal"
)

// Strangers cannot fill the disk: of what somebody is refused at one source, and of each kind of security event, this many events an hour are
// rows of their own; the rest of the hour is one row with a count.
const (
	noiseRows    = 10
	noiseWindow  = time.Hour
	noiseSources = 10000 // sources counted apart; beyond, all share one counter
)

type noise struct {
	mu      sync.Mutex
	sources map[string]*noisy // guarded by mu
}

type noisy struct {
	since      time.Time
	seen       int
	suppressed metal.AuditEvent // the last one not written
}

func newNoise() *noise { return &noise{sources: map[string]*noisy{}} }

// filter decides whether an event of somebody at a source is written. At the end of an hour the suppressed ones
// come back from due as one.
func (n *noise) filter(e metal.AuditEvent) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := e.Source + " " + e.Principal + " " + e.Detail["event"] // a crowd of one kind hides no other
	s := n.sources[key]
	if s == nil {
		if len(n.sources) >= noiseSources {
			key = ""
			s = n.sources[key]
		}
		if s == nil {
			s = &noisy{since: e.Time}
			n.sources[key] = s
		}
	}
	s.seen++
	if s.seen <= noiseRows {
		return true
	}
	s.suppressed = e
	return false
}

// due returns one summary for every source whose hour has passed, or for all at the end, and forgets the source.
func (n *noise) due(now time.Time, end bool) []metal.AuditEvent {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []metal.AuditEvent
	for key, s := range n.sources {
		if now.Sub(s.since) < noiseWindow && !end {
			continue
		}
		if extra := s.seen - noiseRows; extra > 0 {
			e := s.suppressed
			if key == "" {
				e.Source, e.Principal = "", ""
			}
			detail := map[string]string{"count": strconv.Itoa(extra), "last_error": e.Detail["error"]}
			if kind := e.Detail["event"]; kind != "" {
				detail["event"] = kind
			}
			e.Detail = detail
			out = append(out, e)
		}
		delete(n.sources, key)
	}
	return out
}
