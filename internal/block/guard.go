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
	waiting []Evidence // guarded by mu

	// What follows is Run's.
	behind   bool // the kernel is not known to have the list
	asked    map[source]time.Time
	failed   string // what went wrong last, and when that was told
	failedAt time.Time
}

// source is what is decided about.
type source struct {
	whom netip.Prefix
	unit string
}

// Times of a guard's work.
const (
	reassert   = time.Second      // how often the kernel is asked whether it still has the table, and what went wrong is tried again
	againAfter = 10 * time.Second // until the same source is decided about again
	failAgain  = time.Minute      // until the same failure is told again
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
	g.asked = make(map[source]time.Time)
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
	now := g.File.Now()
	early := now.Sub(*checked) < reassert && !now.Before(*checked)
	if early && g.behind {
		return
	}
	waiting := g.next(now)
	if early && len(waiting) == 0 {
		return
	}
	*checked = now
	var needed []netip.Prefix
	if len(waiting) > 0 {
		needed = g.Needed()
	}
	type decision struct {
		block *Block
		why   string
	}
	var decided []decision
	changed := false
	l, err := g.File.Change(func(l *List) (entries []Entry, _ error) {
		for _, b := range l.Expire(now) {
			entries = append(entries, About("ended", "watch", b))
		}
		for _, e := range waiting {
			b, why := l.Decide(e, g.Policy, needed, now)
			if b != nil {
				entries = append(entries, About("blocked", "watch", *b))
			}
			decided = append(decided, decision{b, why})
		}
		changed = len(entries) > 0
		return entries, nil
	})
	if err != nil { // nobody is blocked who is not in the list on disk
		g.back(waiting)
		g.fail(err, now)
		return
	}
	for i, e := range waiting {
		g.Tell(e, decided[i].block, decided[i].why)
	}
	if err := g.NFT.Follow(ctx, l, changed || g.behind, now); err != nil {
		g.fail(err, now)
		return
	}
	g.behind, g.failed = false, ""
}

// next is what is to be decided about: what waits, each source and unit once in a while.
func (g *Guard) next(now time.Time) (list []Evidence) {
	g.mu.Lock()
	waiting := g.waiting
	g.waiting = nil
	g.mu.Unlock()
	for k, when := range g.asked {
		if now.Sub(when) >= againAfter {
			delete(g.asked, k)
		}
	}
	for _, e := range waiting {
		if whom, ok := Whom(e.Source); ok {
			if _, just := g.asked[source{whom, e.Unit}]; just {
				continue
			}
			g.asked[source{whom, e.Unit}] = now
		}
		list = append(list, e)
	}
	return list
}

// back has what could not be decided about wait again.
func (g *Guard) back(list []Evidence) {
	for _, e := range list {
		if whom, ok := Whom(e.Source); ok {
			delete(g.asked, source{whom, e.Unit})
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(list, g.waiting...)
	g.waiting = g.waiting[:min(len(g.waiting), maxWaiting)]
}

// fail tells what went wrong, the same now and then only.
func (g *Guard) fail(err error, now time.Time) {
	g.behind = true
	if text := err.Error(); text != g.failed || now.Sub(g.failedAt) >= failAgain {
		g.failed, g.failedAt = text, now
		g.Fail(err)
	}
}
