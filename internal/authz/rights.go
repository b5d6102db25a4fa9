package authz

import (
	"maps"
	"slices"
)

// AllPools in place of a pool's id means all of them, and the instance.
const AllPools int64 = -1

// Grant gives permissions on a pool, or on all.
type Grant struct {
	Permissions Set
	Pool        int64 // or AllPools
}

// Rights are what a person may do, all his grants taken together. nil is no rights. Never changed once made.
type Rights struct {
	everywhere Set // on every pool, and on the instance
	pools      map[int64]Set
}

// NewRights adds grants up.
func NewRights(grants ...Grant) *Rights {
	r := &Rights{pools: map[int64]Set{}}
	for _, g := range grants {
		if g.Pool == AllPools {
			r.everywhere |= g.Permissions
			continue
		}
		r.everywhere |= g.Permissions & withAny
		r.pools[g.Pool] |= g.Permissions & ofPool
	}
	return r
}

// Everything is an administrator's rights.
func Everything() *Rights { return NewRights(Grant{all, AllPools}) }

// Administrator reports whether the rights are everything.
func (r *Rights) Administrator() bool { return r != nil && r.everywhere == all }

// Has reports whether a permission is held on the instance, and on all pools.
func (r *Rights) Has(p Permission) bool { return r != nil && r.everywhere.Has(p) }

// In reports whether a permission is held on a pool.
func (r *Rights) In(pool int64, p Permission) bool {
	return r != nil && (r.everywhere.Has(p) || r.pools[pool].Has(p))
}

// On is the set of permissions held on a pool; of AllPools, those on all pools and the instance.
func (r *Rights) On(pool int64) Set {
	if r == nil {
		return 0
	}
	if pool == AllPools {
		return r.everywhere
	}
	return r.everywhere&ofPool | r.pools[pool]
}

// Anywhere reports whether a permission is held on some pool or on all.
func (r *Rights) Anywhere(p Permission) bool { return !r.Pools(p).None() }

// Covers reports whether the rights include a grant: one may give only what one holds.
func (r *Rights) Covers(g Grant) bool {
	if r == nil {
		return false
	}
	if g.Pool == AllPools {
		return r.everywhere.Covers(g.Permissions)
	}
	return r.On(g.Pool).Covers(g.Permissions&ofPool) && r.everywhere.Covers(g.Permissions&withAny)
}

// CoversAll reports whether the rights include all of another's: else one could take his place to gain more.
func (r *Rights) CoversAll(other *Rights) bool {
	if other == nil {
		return true
	}
	if !r.Covers(Grant{other.everywhere, AllPools}) {
		return false
	}
	for pool, s := range other.pools {
		if !r.Covers(Grant{s, pool}) {
			return false
		}
	}
	return true
}

// viewOnly keeps what changes nothing.
func (r *Rights) viewOnly() *Rights {
	if r == nil {
		return nil
	}
	v := &Rights{everywhere: r.everywhere & viewing, pools: map[int64]Set{}}
	for pool, s := range r.pools {
		v.pools[pool] = s & viewing
	}
	return v
}

// onPools keeps what is held on these pools, and what one has to see to work there.
func (r *Rights) onPools(ids []int64) *Rights {
	if r == nil {
		return nil
	}
	v := &Rights{everywhere: r.everywhere & withAny, pools: map[int64]Set{}}
	for _, id := range ids {
		v.pools[id] = r.On(id)
	}
	return v
}

// PoolSet is some pools, or all.
type PoolSet struct {
	All bool
	IDs []int64 // ascending
}

// None reports whether the set is empty.
func (s PoolSet) None() bool { return !s.All && len(s.IDs) == 0 }

// Has reports whether a pool is in the set.
func (s PoolSet) Has(pool int64) bool {
	if s.All {
		return true
	}
	_, ok := slices.BinarySearch(s.IDs, pool)
	return ok
}

// without is the set but for the pools of another. A set of all pools stays whole unless the other is all.
func (s PoolSet) without(t PoolSet) PoolSet {
	if t.All {
		return PoolSet{}
	}
	if s.All || len(t.IDs) == 0 {
		return s
	}
	return PoolSet{IDs: slices.DeleteFunc(slices.Clone(s.IDs), t.Has)}
}

// Equal reports whether two sets hold the same pools.
func (s PoolSet) Equal(t PoolSet) bool { return s.All == t.All && slices.Equal(s.IDs, t.IDs) }

// Pools are those on which a permission is held.
func (r *Rights) Pools(p Permission) PoolSet {
	if r == nil {
		return PoolSet{}
	}
	if r.everywhere.Has(p) {
		return PoolSet{All: true}
	}
	var ids []int64
	for _, id := range slices.Sorted(maps.Keys(r.pools)) {
		if r.pools[id].Has(p) {
			ids = append(ids, id)
		}
	}
	return PoolSet{IDs: ids}
}
