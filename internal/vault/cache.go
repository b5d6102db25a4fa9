package vault

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/secret"
)

// Bounds of the cache.
const (
	maxCached      = 1 << 16  // entries: some for each of ten thousand machines
	maxCachedBytes = 64 << 20 // of ciphertext
)

// cache keeps what was read from Vault, encrypted under a key that this process made and that is nowhere else: a core dump of
// one page, or a page that was swapped out, shows no secret without the page that has the key. Safe for concurrent use.
type cache struct {
	aead cipher.AEAD

	mu      sync.Mutex // guards what follows
	entries map[[sha256.Size]byte]cached
	bytes   int
}

type cached struct {
	sealed []byte // nonce and ciphertext
	since  time.Time
}

func newCache() *cache {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	aead, err := newAEAD(key)
	if err != nil {
		panic("cannot make a cipher: " + err.Error()) // the length is a constant
	}
	return &cache{aead: aead, entries: map[[sha256.Size]byte]cached{}}
}

// cacheName is of a pointer for a ref: one that was moved to another ref finds nothing.
func cacheName(ref secret.Ref, head []byte) [sha256.Size]byte {
	return sha256.Sum256(append(bound(ref, head), head...))
}

func (c *cache) put(name [sha256.Size]byte, v secret.Value, now time.Time) {
	nonce := make([]byte, c.aead.NonceSize())
	_, _ = rand.Read(nonce)
	e := cached{c.aead.Seal(nonce, nonce, v.Reveal(), name[:]), now}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(name)
	for other := range c.entries { // whichever the map gives: any of them can be read again
		if len(c.entries) < maxCached && c.bytes+len(e.sealed) <= maxCachedBytes {
			break
		}
		c.remove(other)
	}
	if c.bytes+len(e.sealed) <= maxCachedBytes {
		c.entries[name] = e
		c.bytes += len(e.sealed)
	}
}

func (c *cache) get(name [sha256.Size]byte) (secret.Value, time.Time, bool) {
	c.mu.Lock()
	e, ok := c.entries[name]
	c.mu.Unlock()
	if !ok {
		return secret.Value{}, time.Time{}, false
	}
	n := c.aead.NonceSize()
	plain, err := c.aead.Open(nil, e.sealed[:n], e.sealed[n:], name[:])
	if err != nil {
		return secret.Value{}, time.Time{}, false
	}
	return secret.NewValue(plain), e.since, true
}

func (c *cache) drop(name [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(name)
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	c.bytes = 0
}

// sweep removes what is too old to be used.
func (c *cache) sweep(before time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, e := range c.entries {
		if e.since.Before(before) {
			c.remove(name)
		}
	}
}

// remove takes an entry away; the caller holds mu.
func (c *cache) remove(name [sha256.Size]byte) {
	c.bytes -= len(c.entries[name].sealed)
	delete(c.entries, name)
}

func (c *cache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}
