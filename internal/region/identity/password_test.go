package identity

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/metalward/metalward/internal/fault"
)

// TestHashesAreBounded lets so many hash at once, so many wait, and refuses the rest at once.
func TestHashesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher()
		var wg sync.WaitGroup
		var mu sync.Mutex
		entered, refused := 0, 0
		release := make(chan struct{})
		for range maxHashes + maxWaiting + 50 {
			wg.Go(func() {
				err := h.enter(context.Background())
				mu.Lock()
				if err == nil {
					entered++
				} else if fault.Is(err, fault.Unavailable) {
					refused++
				}
				mu.Unlock()
				if err == nil {
					<-release
					h.leave()
				}
			})
		}
		synctest.Wait()
		// One who is just taking his slot may still count as waiting.
		if entered != maxHashes || refused < 50 || refused > 50+maxHashes {
			t.Errorf("%d hash and %d were refused, want %d and 50", entered, refused, maxHashes)
		}
		close(release)
		wg.Wait()
		if entered+refused != maxHashes+maxWaiting+50 {
			t.Errorf("%d had their turn and %d were refused, want all to have one or the other", entered, refused)
		}
		ctx, cancel := context.WithCancel(context.Background())
		for range maxHashes {
			_ = h.enter(ctx)
		}
		cancel()
		if err := h.enter(ctx); err == nil {
			t.Error("one who left waits on")
		}
	})
}
