package region

import (
	"sync"

	"github.com/metalward/metalward/internal/authz"
)

// hub tells live pages which objects changed. A subscriber that does not keep up misses notices rather than
// holding anybody up; pages ask for the current state anyway.
type hub struct {
	mu   sync.Mutex
	subs map[chan []authz.Target]struct{} // guarded by mu
}

func newHub() *hub { return &hub{subs: map[chan []authz.Target]struct{}{}} }

const hubBuffer = 64

func (h *hub) subscribe() (<-chan []authz.Target, func()) {
	ch := make(chan []authz.Target, hubBuffer)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs[ch] = struct{}{}
	return ch, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subs, ch)
	}
}

func (h *hub) send(touched []authz.Target) {
	if len(touched) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch := range h.subs {
		select {
		case ch <- touched:
		default:
		}
	}
}
