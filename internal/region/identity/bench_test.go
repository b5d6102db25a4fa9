package identity_test

import "testing"

// BenchmarkAlive is what an open stream costs each second.
func BenchmarkAlive(b *testing.B) {
	c, _ := newCore(b)
	create(b, c, "alice")
	cookie, err := login(c, "192.0.2.1", "alice", password)
	if err != nil {
		b.Fatal(err)
	}
	ctx := from("192.0.2.1")
	for b.Loop() {
		if _, err := c.Identity.Alive(ctx, cookie); err != nil {
			b.Fatal(err)
		}
	}
}
