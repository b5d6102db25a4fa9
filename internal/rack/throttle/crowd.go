package throttle

import (
	"sync"
	"time"
)

// Crowd tells when one key comes with many different values within a short time, in bounded memory. Safe for concurrent use.
type Crowd[K, V comparable] struct {
	most   int
	within time.Duration
	rest   time.Duration
	max    int

	mu   sync.Mutex // guards keys
	keys map[K]*crowd[V]
}

type crowd[V comparable] struct {
	since  time.Time
	told   time.Time
	values map[V]struct{} // at most so many as are told
}

// NewCrowd makes one that tells of most different values within a time, of the same key again after a rest at the earliest, and remembers at most max keys.
func NewCrowd[K, V comparable](most int, within, rest time.Duration, max int) *Crowd[K, V] {
	return &Crowd[K, V]{most: most, within: within, rest: rest, max: max, keys: map[K]*crowd[V]{}}
}

// Note counts a value and reports whether its key has come with too many. Beyond max keys new ones are not counted while the others are: a flood of keys must
// not make one forgotten.
func (c *Crowd[K, V]) Note(key K, v V, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.keys[key]
	if x == nil {
		if len(c.keys) >= c.max {
			for k, old := range c.keys {
				if now.Sub(old.since) >= c.within && now.Sub(old.told) >= c.rest {
					delete(c.keys, k)
				}
			}
			if len(c.keys) >= c.max {
				return false
			}
		}
		x = &crowd[V]{since: now, values: map[V]struct{}{}}
		c.keys[key] = x
	}
	if age := now.Sub(x.since); age >= c.within || age < 0 {
		x.since = now
		clear(x.values)
	}
	if !x.told.IsZero() && now.Sub(x.told) < c.rest && !now.Before(x.told) {
		return false
	}
	x.values[v] = struct{}{}
	if len(x.values) < c.most {
		return false
	}
	x.told = now
	clear(x.values)
	return true
}
