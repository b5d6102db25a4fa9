package blocks

import (
	"context"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/wire"
)

// Times of telling racks.
const (
	tellTime  = 20 * time.Second // for a rack's answer
	askRackIn = time.Minute      // after which a rack is asked how it stands
)

// Joined forgets what a rack has: it is told the list anew.
func (s *Service) Joined(rackID string) {
	s.mu.Lock()
	delete(s.sent, rackID)
	delete(s.reports, rackID)
	s.mu.Unlock()
	s.poke()
}

// spread tells each connected rack the list, if it has another, and asks it now and then how it stands; each by itself, so that a slow one keeps nobody waiting.
func (s *Service) spread(ctx context.Context, wg *sync.WaitGroup) {
	c := s.current.Load()
	if c == nil {
		return
	}
	now := s.Now()
	for _, id := range s.Racks.Connected() {
		s.mu.Lock()
		has, known := s.sent[id]
		due := !known || has != c.version || now.Sub(s.reports[id]) >= askRackIn
		if due = due && !s.busy[id]; due {
			s.busy[id], s.reports[id] = true, now
		}
		s.mu.Unlock()
		if !due {
			continue
		}
		wg.Go(func() {
			err := s.tell(ctx, id, c, known && has == c.version)
			s.mu.Lock()
			delete(s.busy, id)
			if err == nil {
				s.sent[id] = c.version
			}
			s.mu.Unlock()
			if err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "cannot tell a rack who is blocked", "rack", id, "error", err)
			}
		})
	}
}

// tell brings a rack up to date and stores what it says. One that should have the list is asked first.
func (s *Service) tell(ctx context.Context, id string, c *current, has bool) error {
	ctx, cancel := context.WithTimeout(authz.AsSystem(ctx, "blocks"), tellTime)
	defer cancel()
	req, resp := wire.BlocksRequest{Version: c.version, Blocks: []wire.Blocked{}}, wire.BlocksResponse{}
	if has {
		if err := s.Racks.Call(ctx, id, wire.Blocks, req, &resp); err != nil {
			return err
		}
	}
	if resp.Version != c.version {
		req.All = true
		if !c.list.Off {
			for _, b := range c.list.Blocks {
				req.Blocks = append(req.Blocks, wire.Blocked{Prefix: b.Prefix, Until: b.Until})
			}
		}
		resp = wire.BlocksResponse{}
		if err := s.Racks.Call(ctx, id, wire.Blocks, req, &resp); err != nil {
			if !fault.Is(err, fault.Unavailable) { // it is there and cannot
				s.try(ctx, "cannot keep what a rack said of blocks", func(ctx context.Context) error {
					return s.see(ctx, store.BlockReport{Controller: id, Problem: "It did not take the list: " + printable(fault.Message(err))})
				})
			}
			return err
		}
	}
	r := store.BlockReport{Controller: id, Version: resp.Version, How: printable(resp.How), Applied: resp.Applied, Problem: printable(resp.Problem)}
	for _, x := range resp.Refused[:min(len(resp.Refused), wire.MaxRefused)] {
		r.Refused = append(r.Refused, store.BlockRefusal{Prefix: x.Prefix, Why: printable(x.Why)})
	}
	return s.see(ctx, r)
}
