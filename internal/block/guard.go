package block

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// A Guard blocks whom alerts name, has the packet filter follow, and lets go again.
type Guard struct {
	File   *File
	NFT    *NFT
	Policy Policy
	Needed func() []netip.Prefix
	Tell   func(e Evidence, b *Block, why string) // what was decided
	Fail   func(error)                            // what went wrong and is tried again

	mu      sync.Mutex
	waiting []Evidence
	behind  bool // the kernel is not known to have the list
	asked   map[netip.Prefix]time.Time
}

// Times of a guard's work.
const (
	reassert   = time.Second      // how often the kernel is asked whether it still has the table
	againAfter = 10 * time.Second // until the same source is decided about again
	maxWaiting = 10_000
)

// Take notes an alert; Run decides about it. What is a trifle today may be grave in a moment and is not decided about before.
func (g *Guard) Take(e Evidence) {
	if !e.Grave {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) < maxWaiting {
		g.waiting = append(g.waiting, e)
	}
}

// Run works until the context ends. Blocks stay in the kernel then, until their time is over.
func (g *Guard) Run(ctx context.Context) {
	g.behind = true
	g.asked = make(map[netip.Prefix]time.Time)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var checked time.Time
	for {
		g.step(ctx, &checked)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (g *Guard) step(ctx context.Context, checked *time.Time) {
	g.mu.Lock()
	waiting := g.waiting
	g.waiting = nil
	g.mu.Unlock()
	now := g.File.Now()
	if len(waiting) == 0 && !g.behind && now.Sub(*checked) < reassert {
		return
	}
	var needed []netip.Prefix
	if len(waiting) > 0 {
		needed = g.Needed()
	}
	for k, when := range g.asked {
		if now.Sub(when) >= againAfter {
			delete(g.asked, k)
		}
	}
	changed := false
	l, err := g.File.Change(func(l *List) (entries []Entry, _ error) {
		for _, b := range l.Expire(now) {
			entries = append(entries, About("ended", "watch", b))
		}
		for _, e := range waiting {
			if whom, ok := Whom(e.Source); ok {
				if _, just := g.asked[whom]; just {
					continue
				}
				g.asked[whom] = now
			}
			b, why := l.Decide(e, g.Policy, needed, now)
			if b != nil {
				entries = append(entries, About("blocked", "watch", *b))
			}
			g.Tell(e, b, why)
		}
		changed = len(entries) > 0
		return entries, nil
	})
	if err != nil {
		g.Fail(err)
		g.behind = true
		return
	}
	*checked = now
	if err := g.NFT.Follow(ctx, l, changed || g.behind, now); err != nil {
		g.Fail(err)
		g.behind = true
		return
	}
	g.behind = false
}
