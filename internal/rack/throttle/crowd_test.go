package throttle_test

import (
	"testing"
	"time"

	"github.com/metalward/metalward/internal/rack/throttle"
)

func TestCrowd(t *testing.T) {
	c := throttle.NewCrowd[string, int](3, time.Minute, time.Hour, 2)
	now := time.Unix(1000, 0)
	for i, step := range []struct {
		wait  time.Duration
		key   string
		value int
		want  bool
	}{
		{0, "a", 1, false}, {0, "a", 1, false}, {0, "a", 2, false}, {0, "b", 3, false}, {0, "a", 3, true}, // the third different one
		{0, "a", 4, false}, {0, "a", 5, false}, {0, "a", 6, false}, // told already
		{0, "c", 1, false}, {0, "c", 2, false}, {0, "c", 3, false}, // no room for a third key
		{time.Minute, "c", 1, false}, {0, "c", 2, false}, {0, "c", 3, true}, // b is forgotten, a is not
		{time.Hour, "a", 1, false}, {0, "a", 2, false}, {59 * time.Second, "a", 3, true},
		{2 * time.Hour, "b", 1, false}, {30 * time.Second, "b", 2, false}, {30 * time.Second, "b", 3, false}, // over a minute
	} {
		now = now.Add(step.wait)
		if got := c.Note(step.key, step.value, now); got != step.want {
			t.Errorf("step %d: got %v", i, got)
		}
	}
}
