package identity

import (
	"sync"
	"time"
)

// Failed logins slow their account and source down: after freeFailures the wait doubles from a second up to
// maxWait. It is counted per account and source, so a stranger cannot lock somebody else out.
const (
	freeFailures = 5
	maxWait      = 5 * time.Minute
	maxThrottled = 20000 // pairs remembered; the oldest go first
)

type throttle struct {
	mu   sync.Mutex
	seen map[string]*failures // guarded by mu
}

type failures struct {
	n    int
	last time.Time
}

func (t *throttle) wait(name, source string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.seen[name+"\x00"+source]
	if f == nil || f.n < freeFailures {
		return 0
	}
	pause := maxWait
	if shift := f.n - freeFailures; shift < 9 {
		pause = min(time.Second<<shift, maxWait)
	}
	return max(0, f.last.Add(pause).Sub(now))
}

func (t *throttle) failed(name, source string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = map[string]*failures{}
	}
	key := name + "\x00" + source
	if len(t.seen) >= maxThrottled && t.seen[key] == nil {
		for k, f := range t.seen {
			if now.Sub(f.last) > maxWait {
				delete(t.seen, k)
			}
		}
		if len(t.seen) >= maxThrottled { // under attack from everywhere: forget rather than grow
			clear(t.seen)
		}
	}
	f := t.seen[key]
	if f == nil {
		f = &failures{}
		t.seen[key] = f
	}
	f.n++
	f.last = now
}

func (t *throttle) passed(name, source string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.seen, name+"\x00"+source)
}
