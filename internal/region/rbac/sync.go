package rbac

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	protocol "github.com/metalward/metalward/internal/rbac"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// Times of telling a service.
const (
	pollEvery  = 2 * time.Second // for what other regions changed
	leaseLife  = 90 * time.Second
	leaseLeast = 60 * time.Second // two pushes and what they write fit in it
	firstRetry = 10 * time.Second // as in MAAS; then twice as long each time
	lastRetry  = 5 * time.Minute
	maxQueued  = 1000 // changes; more are told as everything anew
)

// Run tells the services of pools until the context ends.
func (s *Service) Run(ctx context.Context) {
	ctx = authz.AsSystem(ctx, "rbac")
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if err := s.Sync(ctx); err != nil && ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "cannot tell RBAC services of pools", "error", err)
		}
		select {
		case <-ctx.Done():
			s.resign(context.WithoutCancel(ctx))
			return
		case <-tick.C:
		case <-s.wake:
		}
	}
}

// Sync tells each enabled service what it has to be told now, if this region leads. That a service fails is noted where
// people see it and no error.
func (s *Service) Sync(ctx context.Context) error {
	ctx = authz.AsSystem(ctx, "rbac")
	var ids []int64
	err := s.Gate.View(ctx, authz.ProviderView, func(v *gate.Viewing) error {
		list, err := v.Providers()
		for _, p := range list {
			if p.Kind == metal.ProviderRBAC && p.Enabled {
				ids = append(ids, p.ID)
			}
		}
		return err
	})
	for _, id := range ids {
		err = errors.Join(err, s.syncOne(ctx, id))
	}
	return err
}

// task is what a service has to be told.
type task struct {
	state   store.RBACSync
	changes []store.RBACChange
	pools   []metal.ResourcePool
}

func (s *Service) syncOne(ctx context.Context, id int64) error {
	leads, err := s.lead(ctx, id)
	if err != nil || !leads {
		return err
	}
	var t task
	err = s.Gate.View(ctx, authz.ProviderView, func(v *gate.Viewing) error {
		if t.state, err = v.RBACSync(id); err != nil {
			return err
		}
		if t.changes, err = v.RBACChanges(id, maxQueued+1); err != nil {
			return err
		}
		t.pools, err = v.Pools()
		return err
	})
	if err != nil || s.Now().Before(t.state.RetryAt) {
		return err
	}
	greeted := s.hasGreeted(id)
	if greeted && t.state.SyncID != "" && len(t.changes) == 0 {
		return nil
	}
	p, c, err := s.usable(ctx, id)
	if fault.Is(err, fault.NotFound) { // disabled a moment ago
		return nil
	}
	syncID := ""
	if err == nil && t.state.Synced.IsZero() {
		err = t.meet(ctx, c)
	}
	if err == nil {
		syncID, err = t.tell(ctx, c, greeted)
	}
	return s.conclude(ctx, p, t, syncID, err)
}

// lead reports whether this region tells a service, taking that over from one that has gone.
func (s *Service) lead(ctx context.Context, id int64) (leads bool, err error) {
	var st store.RBACSync
	err = s.Gate.View(ctx, authz.ProviderView, func(v *gate.Viewing) (err error) { st, err = v.RBACSync(id); return err })
	now := s.Now()
	mine := st.Leader == s.Region
	if err != nil || !mine && st.Lease.After(now) {
		s.setGreeted(id, false)
		return false, err
	}
	if mine && st.Lease.After(now.Add(leaseLeast)) {
		return true, nil
	}
	err = s.Gate.Observe(ctx, gate.SeenSync, func(tx *store.Tx, now time.Time) error {
		st, err := tx.RBACSync(id)
		if err != nil {
			return err
		}
		if leads = st.Leader == s.Region || !st.Lease.After(now); !leads {
			return nil
		}
		if st.Leader != s.Region || !st.Lease.After(now) {
			mine = false
		}
		st.Leader, st.Lease = s.Region, now.Add(leaseLife)
		return tx.PutRBACSync(id, st)
	})
	if !mine {
		s.setGreeted(id, false)
	}
	return leads && err == nil, err
}

// resign lets another region take over at once.
func (s *Service) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s.mu.Lock()
	ids := maps.Clone(s.greeted)
	s.mu.Unlock()
	for id := range ids {
		err := s.Gate.Observe(ctx, gate.SeenSync, func(tx *store.Tx, now time.Time) error {
			st, err := tx.RBACSync(id)
			if err != nil || st.Leader != s.Region {
				return err
			}
			st.Lease = now
			return tx.PutRBACSync(id, st)
		})
		if err != nil {
			s.Log.WarnContext(ctx, "cannot resign from telling an RBAC service", "error", err)
		}
	}
}

func (s *Service) hasGreeted(id int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.greeted[id]
}

func (s *Service) setGreeted(id int64, greeted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if greeted {
		s.greeted[id] = true
	} else {
		delete(s.greeted, id)
	}
}

// everything is all pools, which replace what a service knows.
func (t task) everything() (ch protocol.Change) {
	for _, p := range t.pools {
		ch.Updates = append(ch.Updates, protocol.Resource{ID: strconv.FormatInt(p.ID, 10), Name: p.Name})
	}
	return ch
}

// net is what the changes amount to. Pools and changes are of one moment, so the name of a pool that was changed several
// times is its last; one that came and went is not mentioned.
func (t task) net() protocol.Change {
	ch := protocol.Change{Since: t.state.SyncID}
	names := map[int64]string{}
	for _, p := range t.pools {
		names[p.ID] = p.Name
	}
	seen := map[int64]bool{}
	for _, c := range t.changes {
		if seen[c.PoolID] {
			continue
		}
		seen[c.PoolID] = true
		id := strconv.FormatInt(c.PoolID, 10)
		if name, ok := names[c.PoolID]; ok {
			ch.Updates = append(ch.Updates, protocol.Resource{ID: id, Name: name})
		} else if c.Action != store.RBACAdd { // the first of this pool: the service knew it
			ch.Removals = append(ch.Removals, id)
		}
	}
	return ch
}

// meet looks at what a service knows that was never told anything by us: perhaps another site's pools, with rights on them.
// Rights are on ids, so one that stands for another pool here would let people where they do not belong. Kinds: Conflict.
func (t task) meet(ctx context.Context, c *protocol.Client) error {
	list, err := c.Resources(ctx, protocol.TypePool)
	if err != nil {
		return err
	}
	names := map[string]string{}
	for _, p := range t.pools {
		names[strconv.FormatInt(p.ID, 10)] = p.Name
	}
	for _, r := range list {
		if name, ok := names[r.ID]; ok && name != r.Name {
			return fault.New(fault.Conflict, "The RBAC service knows the pool %s as %q, which is %q here: rights given there would be on another pool. "+
				"Register this site under a name of its own, or rename the pool here.", r.ID, metal.Printable(r.Name, 100), name)
		}
	}
	return nil
}

// tell tells a service, and returns what it calls its state then. A region that has just begun to lead tells it even
// nothing: a service that has another state than we think says so.
func (t task) tell(ctx context.Context, c *protocol.Client, greeted bool) (syncID string, err error) {
	if t.state.SyncID == "" || len(t.changes) > maxQueued {
		return c.Push(ctx, protocol.TypePool, t.everything())
	}
	net := t.net()
	if greeted && len(net.Updates)+len(net.Removals) == 0 {
		return t.state.SyncID, nil
	}
	syncID, err = c.Push(ctx, protocol.TypePool, net)
	if errors.Is(err, protocol.ErrStale) {
		return c.Push(ctx, protocol.TypePool, t.everything())
	}
	return syncID, err
}

// conclude notes that a service was told, or why not.
func (s *Service) conclude(ctx context.Context, p metal.Provider, t task, syncID string, failed error) error {
	told := false
	err := s.Gate.Observe(ctx, gate.SeenSync, func(tx *store.Tx, now time.Time) error {
		st, err := tx.RBACSync(p.ID)
		if err != nil {
			return err
		}
		is, err := tx.Provider(p.ID)
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
		// Another region leads, or the service was configured anew meanwhile: it is for the next turn.
		told = false
		if st.Leader != s.Region || st.SyncID != t.state.SyncID || err != nil || !unchanged(is, p) {
			return nil
		}
		if failed != nil {
			st.Failures++
			st.Error, st.RetryAt = fault.Message(failed), now.Add(backOff(st.Failures))
			return tx.PutRBACSync(p.ID, st)
		}
		told = true
		st.SyncID, st.Synced, st.Pools, st.Failures, st.Error, st.RetryAt = syncID, now, int64(len(t.pools)), 0, "", time.Time{}
		if err := tx.PutRBACSync(p.ID, st); err != nil {
			return err
		}
		return tx.DropRBACChanges(t.changes)
	})
	switch {
	case err != nil:
		return err
	case failed != nil:
		s.Log.WarnContext(ctx, "cannot tell an RBAC service of pools", "service", p.Name, "error", failed)
	case told:
		s.setGreeted(p.ID, true)
		s.Log.InfoContext(ctx, "told an RBAC service of pools", "service", p.Name, "pools", len(t.pools), "changes", len(t.changes))
	}
	return nil
}

// unchanged reports whether a service is still the enabled one that was asked.
func unchanged(is, asked metal.Provider) bool {
	return is.Enabled && is.Issuer == asked.Issuer && maps.Equal(is.Options, asked.Options)
}

// backOff is how long to wait after so many failures in a row, at least one.
func backOff(failures int64) time.Duration {
	return min(firstRetry<<min(failures-1, 10), lastRetry)
}
