// Package throttle limits how often a source may do something, in bounded memory, and how many connections it may have.
//
// Each key has a bucket of tokens that refills over time. When there are more keys than the limit allows, those
// that are full again are forgotten, which changes nothing for them; if none is full, new keys are refused: a flood
// from many forged sources must not make room for itself.
package throttle

import (
	"sync"
	"time"
)

// Limiter limits by key. Safe for concurrent use.
type Limiter[K comparable] struct {
	every time.Duration // one token
	burst int
	max   int

	mu      sync.Mutex // guards buckets and swept
	buckets map[K]bucket
	swept   time.Time
}

type bucket struct {
	tokens float64
	at     time.Time
}

// New makes a limiter that allows one call a key per interval, after a burst of that many at once, and
// remembers at most max keys.
func New[K comparable](every time.Duration, burst, max int) *Limiter[K] {
	return &Limiter[K]{every: every, burst: burst, max: max, buckets: map[K]bucket{}}
}

// Allow reports whether the key may act now, and counts it if so.
func (l *Limiter[K]) Allow(key K, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.buckets[key]
	if !known {
		if len(l.buckets) >= l.max && !l.sweep(now) {
			return false
		}
		b = bucket{tokens: float64(l.burst), at: now}
	}
	b = l.refill(b, now)
	ok := b.tokens >= 1
	if ok {
		b.tokens--
	}
	l.buckets[key] = b
	return ok
}

func (l *Limiter[K]) refill(b bucket, now time.Time) bucket {
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(float64(l.burst), b.tokens+float64(d)/float64(l.every))
		b.at = now
	}
	return b
}

// sweep forgets full buckets and reports whether there is room now. It looks at all of them, so it does that
// at most once an interval. Needs mu.
func (l *Limiter[K]) sweep(now time.Time) bool {
	if now.Sub(l.swept) < l.every {
		return false
	}
	l.swept = now
	for k, b := range l.buckets {
		if l.refill(b, now).tokens >= float64(l.burst) {
			delete(l.buckets, k)
		}
	}
	return len(l.buckets) < l.max
}
