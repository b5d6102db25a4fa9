package dhcp

import (
	"time"
)

// leaseState is what an address is held for.
type leaseState byte

const (
	offered  leaseState = 'o' // until the client decides; never on disk
	bound    leaseState = 'b'
	declined leaseState = 'd' // somebody else uses the address: quarantined
	released leaseState = 'r' // given back, remembered so that the client gets it again
)

// lease is one address. An expired one stays in the tables until somebody needs the address, so that a machine
// which comes back after a year finds its address if it is free.
type lease struct {
	ip       ip4
	mac      mac
	vlan     int64
	expires  int64 // Unix seconds
	state    leaseState
	hostname string
}

// held reports whether the address may not be given to anybody else.
func (l *lease) held(now int64) bool { return l.expires > now && l.state != released }

type owner struct {
	mac  mac
	vlan int64
}

// maxLeases bounds the tables, whatever the ranges say: about 40 MB.
const maxLeases = 1 << 18

// leases are the tables. Not safe for concurrent use; Server guards them.
//
// Invariant: every lease in byOwner is in byIP under its address. An owner may hold a second address, in byIP
// alone: the one it had until it takes the other that it was offered. A declined address is in byIP only.
type leases struct {
	byIP    map[ip4]*lease
	byOwner map[owner]*lease
	cursor  map[ip4]ip4   // first address of a range → where the search goes on
	full    map[ip4]int64 // first address of a range → no free address before this time
}

func newLeases() *leases {
	return &leases{byIP: map[ip4]*lease{}, byOwner: map[owner]*lease{}, cursor: map[ip4]ip4{}, full: map[ip4]int64{}}
}

// put makes the lease the only one of its address and the current one of its owner. An owner's earlier address
// comes free when it is bound to another, not when it is merely offered one: anybody can ask in its name.
func (t *leases) put(l lease) *lease {
	if old := t.byIP[l.ip]; old != nil && old.mac == l.mac && old.vlan == l.vlan && t.byOwner[owner{l.mac, l.vlan}] == old && l.state != declined {
		*old = l
		return old
	}
	t.drop(t.byIP[l.ip])
	e := &l
	t.byIP[l.ip] = e
	if l.state != declined {
		key := owner{l.mac, l.vlan}
		if old := t.byOwner[key]; old != nil && (l.state != offered || old.state == offered) {
			delete(t.byIP, old.ip)
			t.freed()
		}
		t.byOwner[key] = e
	}
	return e
}

func (t *leases) drop(l *lease) {
	if l == nil {
		return
	}
	delete(t.byIP, l.ip)
	if key := (owner{l.mac, l.vlan}); t.byOwner[key] == l {
		delete(t.byOwner, key)
	}
	t.freed()
}

// freed forgets which ranges are full: an address became free.
func (t *leases) freed() {
	if len(t.full) > 0 {
		clear(t.full)
	}
}

// available reports whether the owner could have the address now.
func (t *leases) available(x *index, a ip4, o owner, now int64) bool {
	if m, ok := x.reserved[a]; ok && m != o.mac {
		return false
	}
	l := t.byIP[a]
	return l == nil || !l.held(now) || (l.state != declined && l.mac == o.mac && l.vlan == o.vlan)
}

// find returns a free dynamic address of the subnet, or 0. The search goes round the range, so an address that
// somebody had rests as long as possible. A range found full is not searched again before one of its leases can
// have ended: a flood of DISCOVERs into a full range costs one lookup each.
func (t *leases) find(x *index, s *subnet, o owner, now int64) ip4 {
	for _, r := range s.ranges {
		if now < t.full[r.first] {
			continue
		}
		at := t.cursor[r.first]
		if at < r.first || at > r.last {
			at = r.first
		}
		next := now + int64(offerHold/time.Second)
		for range min(int64(r.last-r.first)+1, maxLeases+1) {
			a := at
			if at++; at > r.last {
				at = r.first
			}
			if !s.usable(a) {
				continue
			}
			if m, ok := x.reserved[a]; ok && m != o.mac {
				continue
			}
			l := t.byIP[a]
			if (l == nil && len(t.byIP) < maxLeases) || (l != nil && !l.held(now)) {
				t.cursor[r.first] = at
				return a
			}
			if l != nil {
				next = min(next, l.expires)
			}
		}
		t.full[r.first] = max(next, now+1)
	}
	return 0
}
