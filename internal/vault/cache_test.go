package vault

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/secret"
)

// TestCache keeps its bounds and shows no secret.
func TestCache(t *testing.T) {
	c, start := newCache(), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	name := func(i int) [sha256.Size]byte { return sha256.Sum256(fmt.Append(nil, i)) }
	c.put(name(0), secret.FromString("canary"), start)
	for _, e := range c.entries {
		if bytes.Contains(e.sealed, []byte("canary")) {
			t.Error("the cache shows the secret")
		}
	}
	c.entries[name(1)] = c.entries[name(0)]
	if _, _, ok := c.get(name(1)); ok {
		t.Error("an entry opened under another name")
	}
	c.remove(name(1))
	c.bytes += len(c.entries[name(0)].sealed) // the copy was not counted
	big := secret.NewValue(make([]byte, 1<<20))
	for i := range 70 {
		c.put(name(i), big, start.Add(time.Duration(i)*time.Second))
		c.put(name(i), big, start.Add(time.Duration(i)*time.Second)) // replaced, not counted twice
	}
	if c.bytes > maxCachedBytes || c.len() < 60 || c.len() > 64 {
		t.Errorf("got %d entries of %d bytes", c.len(), c.bytes)
	}
	c.put(name(99), secret.NewValue(make([]byte, maxCachedBytes)), start)
	if _, _, ok := c.get(name(99)); ok || c.bytes > maxCachedBytes {
		t.Errorf("kept what is larger than the cache: %d bytes", c.bytes)
	}
	c.sweep(start.Add(time.Hour))
	if c.len() != 0 || c.bytes != 0 {
		t.Errorf("got %d entries of %d bytes after all were too old", c.len(), c.bytes)
	}
	for i := range maxCached + 100 {
		c.put(name(i), secret.Value{}, start)
	}
	if c.len() != maxCached {
		t.Errorf("got %d entries, want %d", c.len(), maxCached)
	}
}
