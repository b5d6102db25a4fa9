package throttle_test

import (
	"testing"
	"time"

	"github.com/metalward/metalward/internal/rack/throttle"
)

func TestAllow(t *testing.T) {
	l := throttle.New[string](time.Second, 3, 2)
	now := time.Unix(1000, 0)
	count := func(key string, tries int) (n int) {
		for range tries {
			if l.Allow(key, now) {
				n++
			}
		}
		return n
	}
	if n := count("a", 10); n != 3 {
		t.Errorf("burst: got %d, want 3", n)
	}
	now = now.Add(2500 * time.Millisecond)
	if n := count("a", 10); n != 2 {
		t.Errorf("after 2.5 s: got %d, want 2", n)
	}
	if count("b", 1) != 1 || count("c", 1) != 0 {
		t.Error("a third key must be refused while neither of two is full again")
	}
	now = now.Add(10 * time.Second)
	if count("c", 1) != 1 {
		t.Error("a full bucket was not forgotten for a new key")
	}
	now = now.Add(-time.Hour) // a clock that steps back must not lock anybody out or let anybody in
	if n := count("c", 10); n != 2 {
		t.Errorf("after a step back: got %d, want 2", n)
	}
}
