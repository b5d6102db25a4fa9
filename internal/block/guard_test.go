package block

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"
)

// TestGuard: each detection is decided about by itself, what cannot be written is neither told as done nor forgotten, and one failure is told once, not ten
// times a second.
func TestGuard(t *testing.T) {
	now := start
	var broken error
	var told, failed []string
	file := testFile(t, &now)
	file.Save = func(path string, data []byte) error {
		if broken != nil {
			return broken
		}
		return os.WriteFile(path, data, 0o600)
	}
	nft := &NFT{Run: func(context.Context, string, ...string) (string, error) { return "@v4 @v6 hook prerouting", nil }}
	g := &Guard{File: file, NFT: nft, Policy: Policy{Enforce: []string{"ssh_bruteforce"}}, Needed: func() []netip.Prefix { return nil },
		Tell: func(e Evidence, b *Block, why string) {
			told = append(told, fmt.Sprint(e.Unit, " ", b != nil, " ", why))
		}, Fail: func(err error) { failed = append(failed, err.Error()) },
		asked: map[source]time.Time{}, behind: true}
	var checked time.Time
	step := func(after time.Duration) {
		now = now.Add(after)
		g.step(t.Context(), &checked)
	}
	observed := evidence("198.51.100.7")
	observed.Unit = "ssh_probe"
	g.Take(observed)
	broken = errors.New("no room")
	for _, e := range []Evidence{observed, evidence("198.51.100.7"), evidence("198.51.100.7")} {
		g.Take(e)
	}
	for range 20 {
		step(100 * time.Millisecond)
	}
	if len(told) != 0 || !slices.Equal(failed, []string{"no room"}) {
		t.Errorf("while nothing can be written: told %q, failed %q", told, failed)
	}
	broken = nil
	step(time.Second)
	if want := []string{"ssh_probe false observed only", "ssh_bruteforce true "}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	if l, err := file.Read(); err != nil || len(l.Blocks) != 1 {
		t.Errorf("got %+v, %v", l, err)
	}
	g.Take(evidence("198.51.100.7"))
	step(time.Second)
	if len(told) != 2 || len(failed) != 1 {
		t.Errorf("a moment later: told %q, failed %q", told, failed)
	}
}
