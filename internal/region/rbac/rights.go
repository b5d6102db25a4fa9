package rbac

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	protocol "github.com/metalward/metalward/internal/rbac"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
)

// question is one that is under way for a user; whoever needs its answer waits for it.
type question struct {
	done chan struct{} // closed when err is set
	err  error
}

// Freshen makes a user's grants what his service says now. It is called when they are too old to act by, and requests of
// one user share a question. Kinds: Unavailable when the service cannot be asked: then he does not act; Forbidden when it
// gives him no rights at all: then his sessions have ended.
func (s *Service) Freshen(ctx context.Context, u metal.User) error {
	s.mu.Lock()
	q := s.asking[u.ID]
	if q == nil {
		q = &question{done: make(chan struct{})}
		s.asking[u.ID] = q
		go s.freshen(context.WithoutCancel(ctx), u, q) // ends with the question's time
	}
	s.mu.Unlock()
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return fmt.Errorf("cannot wait for rights: %w", ctx.Err())
	}
}

// freshen answers a question. Whoever asked may have gone.
func (s *Service) freshen(ctx context.Context, u metal.User, q *question) {
	ctx, cancel := context.WithTimeout(authz.AsSystem(ctx, "rbac"), protocol.Timeout)
	defer cancel()
	err := s.refresh(ctx, u)
	if err != nil && !fault.Is(err, fault.Forbidden) && !errors.Is(err, errUntold) {
		s.Log.WarnContext(ctx, "cannot refresh a user's rights", "user", u.Name, "error", err)
		err = fmt.Errorf("%w (%w)", &fault.Error{Kind: fault.Unavailable, Message: "What you may do here is decided by an RBAC service, which cannot be asked now. Try again in a moment.",
			RetryAfter: metal.RightsAge}, err)
	}
	s.mu.Lock()
	delete(s.asking, u.ID)
	s.mu.Unlock()
	q.err = err
	close(q.done)
}

// errUntold is that a service says what people may do on pools which we have not told it of, and which may be another site's.
var errUntold = &fault.Error{Kind: fault.Unavailable, Message: "The RBAC service that decides what you may do has not been told of this site's pools yet. Try again in a moment.", RetryAfter: metal.RightsAge}

// told demands that a service has been told of the pools.
func (s *Service) told(ctx context.Context, providerID int64) error {
	return s.Gate.View(authz.AsSystem(ctx, "rbac"), authz.ProviderView, func(v *gate.Viewing) error {
		st, err := v.RBACSync(providerID)
		if err == nil && st.Synced.IsZero() {
			err = errUntold
		}
		return err
	})
}

var errInactive = fault.New(fault.Forbidden, "The RBAC service that decides what you may do gives you no rights here.")

func (s *Service) refresh(ctx context.Context, u metal.User) error {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return fmt.Errorf("cannot ask: too many questions are under way: %w", ctx.Err())
	}
	asked := s.Now().UTC().Truncate(time.Microsecond)
	p, c, err := s.usable(ctx, u.RightsFrom)
	if err != nil {
		return err
	}
	if err := s.told(ctx, p.ID); err != nil {
		return err
	}
	username, err := s.subject(ctx, u)
	if err != nil {
		return err
	}
	a, err := ask(ctx, c, username)
	if err != nil {
		return err
	}
	return s.take(ctx, u, p, a, asked)
}

// subject is a user's name at the service that decides about him.
func (s *Service) subject(ctx context.Context, u metal.User) (name string, err error) {
	err = s.Gate.View(ctx, authz.UserView, func(v *gate.Viewing) error {
		list, err := v.ExternalIdentities(u.ID)
		for _, i := range list {
			if i.ProviderID == u.RightsFrom {
				name = i.Subject
			}
		}
		if err == nil && name == "" {
			err = fault.New(fault.Forbidden, "Your account has no identity at the RBAC service that decides what you may do.")
		}
		return err
	})
	return name, err
}

// take makes a user's grants what an answer says.
func (s *Service) take(ctx context.Context, u metal.User, p metal.Provider, a answer, asked time.Time) error {
	var d difference
	err := s.Gate.View(ctx, authz.UserView, func(v *gate.Viewing) (err error) {
		d, err = compare(v.View, u, p, a)
		return err
	})
	switch {
	case err != nil:
		return err
	case d.active && len(d.add)+len(d.drop) == 0:
		return s.Gate.Observe(ctx, gate.SeenRights, func(tx *store.Tx, now time.Time) error {
			if newer, err := superseded(tx, u, p, asked, now); err != nil || newer {
				return err
			}
			return tx.PutRightsAsked(u.ID, asked)
		})
	}
	if d.unknown > 0 {
		s.Log.InfoContext(ctx, "the RBAC service names pools that are not here", "user", u.Name, "service", p.Name, "count", d.unknown)
	}
	err = s.Gate.Do(ctx, authz.UserRights, func(c *gate.Call) error {
		if err := c.Require(store.UserTarget(u)); err != nil {
			return err
		}
		c.Note("username", u.Name)
		c.Note("service", p.Name)
		if newer, err := superseded(c.Tx(), u, p, asked, c.Now()); err != nil || newer {
			return err
		}
		if d, err = compare(&c.Tx().View, u, p, a); err != nil {
			return err
		}
		d.note(c)
		for _, g := range d.drop {
			if err := c.Tx().DeleteGrant(g); err != nil {
				return err
			}
		}
		for _, g := range d.add {
			if err := c.Tx().AddGrant(&g); err != nil {
				return err
			}
		}
		if d.active {
			return c.Tx().PutRightsAsked(u.ID, asked)
		}
		// Nobody acts by an answer without rights: it is not kept, and the next request asks again.
		c.Note("change", "no rights any more: sessions ended")
		if err := c.Tx().PutRightsAsked(u.ID, time.Time{}); err != nil {
			return err
		}
		return c.Tx().DeleteProviderSessions(u, p.ID, "")
	})
	if err == nil && !d.active {
		err = errInactive
	}
	return err
}

// superseded reports whether the answer to a later question was taken already, perhaps by another region. One from the
// future is of a clock that was set back, and counts for nothing. It is an error when the service that was asked does not
// decide about the user any more. Kinds: Unavailable, NotFound.
func superseded(tx *store.Tx, u metal.User, p metal.Provider, asked, now time.Time) (bool, error) {
	is, err := tx.Provider(p.ID)
	if err != nil {
		return false, err
	}
	row, err := tx.User(u.ID)
	if err != nil {
		return false, err
	}
	if row.RightsFrom != p.ID || !unchanged(is, p) {
		return false, fault.New(fault.Unavailable, "The RBAC service %s was changed while it was asked.", p.Name)
	}
	last, err := tx.RightsAsked(u.ID)
	return last.After(asked) && !last.After(now), err
}

// difference is what has to change for a user's grants to be what an answer says.
type difference struct {
	add, drop []store.GrantRow
	kept      int
	unknown   int  // resources that are not here
	active    bool // he may be here at all
}

// compare compares a user's grants with an answer. Pools that are not here are none.
func compare(v *store.View, u metal.User, p metal.Provider, a answer) (d difference, err error) {
	pools, err := v.Pools()
	if err != nil {
		return d, err
	}
	names := map[string]metal.ResourcePool{}
	for _, pool := range pools {
		names[strconv.FormatInt(pool.ID, 10)] = pool
	}
	type key struct {
		role string
		pool int64
	}
	want := map[key]store.GrantRow{}
	put := func(perm authz.RBACPermission, pool metal.ResourcePool) {
		want[key{perm.Role(), pool.ID}] = store.GrantRow{UserID: u.ID, User: u.Name, Role: perm.Role(), Pool: pool.ID, PoolName: pool.Name, Source: p.ID}
		d.active = d.active || perm != authz.RBACEdit
	}
	everywhere := metal.ResourcePool{ID: authz.AllPools}
	if a.admin() {
		put(authz.RBACAdmin, everywhere)
	}
	for _, perm := range authz.RBACPoolPermissions {
		if a[perm].All {
			put(perm, everywhere)
			continue
		}
		for _, id := range a[perm].IDs {
			if pool, ok := names[id]; ok {
				put(perm, pool)
			} else {
				d.unknown++
			}
		}
	}
	if !d.active {
		clear(want)
	}
	have, err := v.Grants(store.GrantQuery{UserID: u.ID})
	for _, g := range have {
		switch _, ok := want[key{g.Role, g.Pool}]; {
		case g.UserID != u.ID || g.Source != p.ID:
		case ok:
			d.kept++
			delete(want, key{g.Role, g.Pool})
		default:
			d.drop = append(d.drop, g)
		}
	}
	for _, g := range want {
		d.add = append(d.add, g)
	}
	slices.SortFunc(d.add, func(a, b store.GrantRow) int { return strings.Compare(describe(a), describe(b)) })
	return d, err
}

// maxNoted bounds the grants that one audit event lists, in each direction.
const maxNoted = 20

func (d difference) note(c *gate.Call) {
	for what, list := range map[string][]store.GrantRow{"given": d.add, "taken": d.drop} {
		var texts []string
		for i, g := range list {
			if i == maxNoted {
				texts = append(texts, "…")
				break
			}
			texts = append(texts, describe(g))
		}
		if len(texts) > 0 {
			c.Note(what, strings.Join(texts, ", "))
		}
	}
	c.Note("kept", strconv.Itoa(d.kept))
}

func describe(g store.GrantRow) string {
	if g.Pool == authz.AllPools {
		return g.Role + " on all pools"
	}
	return g.Role + " on pool " + g.PoolName
}
