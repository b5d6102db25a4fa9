// Package throttle slows down guessing: of passwords, codes, links, tokens and keys.
//
// Failures are counted three times: for the subject (an account, a token) from one network, for the address,
// and for the block of addresses around it. Each count has some free failures; after them a wait grows from
// one failure to the next, and an attempt before its end is refused without being looked at. So:
//
//   - guessing at one account ends at its own count, and spraying over many at the address's or the block's;
//   - an attacker stops nobody who comes from another network: nothing is counted for an account as a whole;
//   - a success forgives what the same subject failed from the same network, in all three counts: the typing
//     errors of an office behind one address do not add up. It forgives nothing of what others failed, so an
//     attacker cannot clear his way with an account of his own.
//
// The package is pure: the time comes with each call. Memory is bounded; see Limits.Keys.
package throttle

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// Limits of one count.
type Limits struct {
	Free    int           // failures without a wait
	First   time.Duration // the wait after the first failure beyond; it doubles with each further one
	Most    time.Duration // the longest wait
	Forgive time.Duration // one failure is forgotten in this time
	// Keys bounds how many are remembered. When a new one needs room, the least of a few is forgotten: who
	// failed most is remembered longest.
	Keys int
}

// Policy is what the three counts allow. Forgive must not be longer for Subject than for Address, nor for
// Address than for Block: a success could then forgive more than its own failures.
type Policy struct {
	Subject Limits // one subject from one address
	Address Limits // an IPv4 address, or the /64 of an IPv6 address: what one host has
	Block   Limits // the /24 or /48 around it: what one customer of a provider has
}

// Guessing is the policy for what people choose or type. An attacker with one address gets through 5 guesses at
// one account at once and 96 more a day; 30 and 96 at all accounts together. Source: NIST SP 800-63B section
// 5.2.2 asks for at most 100 failures in a row.
var Guessing = Policy{
	Subject: Limits{Free: 5, First: time.Second, Most: 15 * time.Minute, Forgive: 15 * time.Minute, Keys: 50_000},
	Address: Limits{Free: 30, First: time.Second, Most: 15 * time.Minute, Forgive: 15 * time.Minute, Keys: 50_000},
	Block:   Limits{Free: 100, First: time.Second, Most: 15 * time.Minute, Forgive: 15 * time.Minute, Keys: 50_000},
}

// Tokens is the policy for random tokens, which nobody guesses: it bounds the work and the noise of programs
// that go on with one that was deleted, and lets the others behind their address go on.
var Tokens = Policy{
	Subject: Limits{Free: 5, First: time.Second, Most: 5 * time.Minute, Forgive: time.Minute, Keys: 50_000},
	Address: Limits{Free: 100, First: time.Second, Most: time.Minute, Forgive: time.Minute, Keys: 50_000},
	Block:   Limits{Free: 1000, First: time.Second, Most: time.Minute, Forgive: time.Minute, Keys: 50_000},
}

// The networks that count as one source.
const (
	addressBits4, addressBits6 = 32, 64
	blockBits4, blockBits6     = 24, 48
)

// Throttle counts failures. Safe for concurrent use.
type Throttle struct {
	seed maphash.Seed

	mu       sync.Mutex
	subjects counts[subject]      // guarded by mu
	address  counts[netip.Prefix] // guarded by mu
	blocks   counts[netip.Prefix] // guarded by mu
}

// subject is an account from a network. The name is hashed, with a seed that nobody knows: it may be long, and
// nobody finds two that collide.
type subject struct {
	name uint64
	from netip.Prefix
}

// New makes a throttle.
func New(p Policy) *Throttle {
	return &Throttle{seed: maphash.MakeSeed(), subjects: counts[subject]{limits: p.Subject, of: map[subject]*count{}},
		address: counts[netip.Prefix]{limits: p.Address, of: map[netip.Prefix]*count{}}, blocks: counts[netip.Prefix]{limits: p.Block, of: map[netip.Prefix]*count{}}}
}

// networks are the two that a source counts for. Sources that are no addresses share one of their own.
func networks(source string) (address, block netip.Prefix) {
	a, err := netip.ParseAddr(source)
	if err != nil {
		return address, block
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		address, _ = a.Prefix(addressBits4) // the widths fit
		block, _ = a.Prefix(blockBits4)
		return address, block
	}
	address, _ = a.Prefix(addressBits6)
	block, _ = a.Prefix(blockBits6)
	return address, block
}

// Network is the block around a source that is told apart from others; the zero one for what is no address.
func Network(source string) netip.Prefix {
	_, block := networks(source)
	return block
}

// Wait returns how long an attempt has to wait; zero when it may be made now.
func (t *Throttle) Wait(name, source string, now time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wait(name, source, now)
}

func (t *Throttle) wait(name, source string, now time.Time) time.Duration {
	address, block := networks(source)
	return max(t.subjects.wait(subject{maphash.String(t.seed, name), address}, now), t.address.wait(address, now), t.blocks.wait(block, now))
}

// Attempt is one that is under way: it must be ended by Failed, Passed or Drop.
type Attempt struct {
	t                       *Throttle
	subject, address, block *count
	key                     subject
}

// Take begins an attempt, or returns how long it has to wait. Attempts that are under way count: of guesses
// made at the same moment no more are let through than of guesses made one after the other.
func (t *Throttle) Take(name, source string, now time.Time) (*Attempt, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if wait := t.wait(name, source, now); wait > 0 {
		return nil, wait
	}
	address, block := networks(source)
	a := &Attempt{t: t, key: subject{maphash.String(t.seed, name), address}}
	a.subject, a.address, a.block = t.subjects.get(a.key, now), t.address.get(address, now), t.blocks.get(block, now)
	for _, c := range a.counts() {
		c.pending++
	}
	return a, 0
}

func (a *Attempt) counts() [3]*count { return [3]*count{a.subject, a.address, a.block} }

// Failed ends the attempt and counts it. It reports whether the subject has to wait from now on and did not
// before: worth an event.
func (a *Attempt) Failed(now time.Time) (first bool) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	limits := [3]Limits{a.t.subjects.limits, a.t.address.limits, a.t.blocks.limits}
	for i, c := range a.counts() {
		c.pending--
		c.settle(limits[i], now)
		c.failures++
		c.last = now
		first = first || c.failures == limits[i].Free
	}
	return first
}

// Passed ends the attempt and forgives the subject's failures from this network.
func (a *Attempt) Passed(now time.Time) {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	a.subject.settle(a.t.subjects.limits, now)
	own := a.subject.failures
	for i, c := range a.counts() {
		c.pending--
		c.settle([3]Limits{a.t.subjects.limits, a.t.address.limits, a.t.blocks.limits}[i], now)
		c.failures = max(0, c.failures-own)
	}
	if a.subject.pending == 0 {
		delete(a.t.subjects.of, a.key)
	}
}

// Drop ends an attempt that was not made after all.
func (a *Attempt) Drop() {
	a.t.mu.Lock()
	defer a.t.mu.Unlock()
	for _, c := range a.counts() {
		c.pending--
	}
}

// Fail counts a failure at once, for what is compared in no time.
func (t *Throttle) Fail(name, source string, now time.Time) (first bool) {
	a, _ := t.Take(name, source, now)
	return a != nil && a.Failed(now)
}

// count is what one key failed.
type count struct {
	failures int
	pending  int       // attempts under way
	last     time.Time // of the last failure
	settled  time.Time // up to when failures were forgiven
}

// settle forgives what time has forgiven.
func (c *count) settle(l Limits, now time.Time) {
	if n := now.Sub(c.settled) / l.Forgive; n > 0 {
		c.failures = max(0, c.failures-int(min(n, time.Duration(c.failures))))
		c.settled = c.settled.Add(n * l.Forgive)
	}
	if c.failures == 0 {
		c.settled = now
	}
}

type counts[K comparable] struct {
	limits Limits
	of     map[K]*count
}

func (s *counts[K]) wait(key K, now time.Time) time.Duration {
	c := s.of[key]
	if c == nil {
		return 0
	}
	c.settle(s.limits, now)
	if c.failures+c.pending < s.limits.Free {
		return 0
	}
	if c.pending > 0 { // one at a time from here on
		return s.limits.First
	}
	pause := s.limits.Most
	if shift := c.failures - s.limits.Free; shift < 30 {
		pause = min(s.limits.First<<shift, s.limits.Most)
	}
	return min(max(0, c.last.Add(pause).Sub(now)), pause) // a clock that steps back locks nobody out for longer
}

// evictAmong is how many keys are looked at to find one to forget.
const evictAmong = 8

// get returns the count of a key, making room for a new one.
func (s *counts[K]) get(key K, now time.Time) *count {
	if c := s.of[key]; c != nil {
		return c
	}
	if len(s.of) >= s.limits.Keys {
		var least *K
		n := 0
		for k, c := range s.of { // in random order
			c.settle(s.limits, now)
			if c.pending == 0 && (least == nil || c.failures < s.of[*least].failures) {
				least = &k
			}
			if n++; n >= evictAmong && least != nil {
				break
			}
		}
		if least != nil {
			delete(s.of, *least)
		}
	}
	c := &count{settled: now}
	s.of[key] = c
	return c
}

// Len is how many keys are remembered.
func (t *Throttle) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.subjects.of) + len(t.address.of) + len(t.blocks.of)
}
