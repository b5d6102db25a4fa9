package rack

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

// shielded is a shield with a clock, of a rack that needs some addresses.
type shielded struct {
	shield
	clock time.Time
	wants []block.Need
	ran   []string // what nft was given
	nftOK error
}

func newShield(t *testing.T, dir string, nft bool) *shielded {
	t.Helper()
	s := &shielded{clock: time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC), wants: []block.Need{{Prefix: netip.MustParsePrefix("10.0.0.0/24"), What: "where this rack serves machines"}, {Prefix: netip.MustParsePrefix("203.0.113.1/32"), What: "a gateway"}}}
	now := func() time.Time { return s.clock }
	s.shield = shield{wall: &block.Wall{Now: now}, file: filepath.Join(dir, "blocks.json"), now: now, needs: func() []block.Need { return s.wants }, log: slog.New(slog.DiscardHandler)}
	if nft {
		s.nft = &block.NFT{Table: block.TableRack, Run: func(_ context.Context, input string, _ ...string) (string, error) {
			s.ran = append(s.ran, input)
			return "@v4 @v6 hook prerouting", s.nftOK
		}}
	}
	s.load()
	return s
}

func (s *shielded) blocks(address string) bool { return s.wall.Blocks(netip.MustParseAddr(address)) }

func (s *shielded) request(version int64, prefixes ...string) wire.BlocksRequest {
	r := wire.BlocksRequest{Version: version, All: true}
	for _, p := range prefixes {
		r.Blocks = append(r.Blocks, wire.Blocked{Prefix: netip.MustParsePrefix(p), Until: s.clock.Add(time.Hour)})
	}
	return r
}

// A rack shuts out whom the region says but not whom it needs itself, keeps the list over a restart without the region, and ends each block by itself.
func TestShield(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	s := newShield(t, dir, false)
	got, err := s.take(ctx, s.request(7, "198.51.100.7/32", "2001:db8:7::/64", "10.0.0.9/32", "203.0.113.1/32"))
	if err != nil || got.Version != 7 || got.Applied != 2 || got.How != wire.BlocksListeners || len(got.Refused) != 2 || !strings.Contains(got.Refused[0].Why, "serves machines") || !strings.Contains(got.Refused[1].Why, "a gateway") {
		t.Fatalf("got %+v, %v", got, err)
	}
	for address, want := range map[string]bool{"198.51.100.7": true, "2001:db8:7::9": true, "10.0.0.9": false, "203.0.113.1": false, "198.51.100.8": false} {
		if s.blocks(address) != want {
			t.Errorf("%s: want %v", address, want)
		}
	}
	if got, err := s.take(ctx, wire.BlocksRequest{Version: 8}); err != nil || got.Version != 7 || !s.blocks("198.51.100.7") {
		t.Errorf("asked about another version: got %+v, %v", got, err)
	}
	again := newShield(t, dir, false)
	if got, err := again.take(ctx, wire.BlocksRequest{}); err != nil || got.Version != 7 || !again.blocks("198.51.100.7") || again.blocks("10.0.0.9") {
		t.Errorf("after a restart: got %+v, %v", got, err)
	}
	// What the rack comes to need it lets in, and what it needs no more it shuts out.
	again.wants = []block.Need{{Prefix: netip.MustParsePrefix("198.51.100.7/32"), What: "the region's"}}
	again.again(ctx)
	if again.blocks("198.51.100.7") || !again.blocks("203.0.113.1") {
		t.Error("it does not follow what it needs")
	}
	again.clock = again.clock.Add(time.Hour)
	again.follow(ctx)
	if got, err := again.take(ctx, wire.BlocksRequest{}); err != nil || got.Applied != 0 || again.blocks("203.0.113.1") {
		t.Errorf("after the end: got %+v, %v", got, err)
	}
	if got, err := s.take(ctx, s.request(9)); err != nil || got.Applied != 0 || s.blocks("198.51.100.7") {
		t.Errorf("the panic switch: got %+v, %v", got, err)
	}
}

// Lists that no region of ours makes are refused whole, and the one before stays; nothing lasts for ever.
func TestShieldRefuses(t *testing.T) {
	ctx := context.Background()
	s := newShield(t, t.TempDir(), false)
	if _, err := s.take(ctx, s.request(1, "198.51.100.7/32")); err != nil {
		t.Fatal(err)
	}
	many := s.request(2)
	for i := range block.HardMost + 1 {
		many.Blocks = append(many.Blocks, wire.Blocked{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)}), 32), Until: s.clock.Add(time.Hour)})
	}
	for name, req := range map[string]wire.BlocksRequest{"everybody": s.request(2, "0.0.0.0/0"), "a network": s.request(2, "198.51.100.0/24"), "loopback": s.request(2, "127.0.0.1/32"), "too many": many,
		"an IPv6 address": s.request(2, "2001:db8::1/128"), "nothing": {Version: 2, All: true, Blocks: []wire.Blocked{{}}}} {
		if _, err := s.take(ctx, req); !fault.Is(err, fault.Invalid) || !s.blocks("198.51.100.7") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	req := s.request(3, "198.51.100.9/32")
	req.Blocks[0].Until = s.clock.AddDate(10, 0, 0)
	if _, err := s.take(ctx, req); err != nil {
		t.Fatal(err)
	}
	s.clock = s.clock.Add(block.HardLongest)
	if s.again(ctx); s.blocks("198.51.100.9") {
		t.Error("it lasts for ever")
	}
	restarted := newShield(t, filepath.Dir(s.file), false)
	restarted.clock = s.clock
	if restarted.again(ctx); restarted.blocks("198.51.100.9") {
		t.Error("it lasts for ever after a restart")
	}
	for name, text := range map[string]string{"half a file": `{"version": 1, "al`, "another's": `{"x": 1}`, "everybody": `{"version":1,"all":true,"blocks":[{"prefix":"0.0.0.0/0","until":"2999-01-01T00:00:00Z"}]}`} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "blocks.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if s := newShield(t, dir, false); s.list != nil {
			t.Errorf("%s on disk was used", name)
		}
	}
}

// Where the configuration has it, the packet filter follows; where it cannot, the listeners refuse all the same, the region is told, and it is tried again.
func TestShieldInThePacketFilter(t *testing.T) {
	ctx := context.Background()
	s := newShield(t, t.TempDir(), true)
	got, err := s.take(ctx, s.request(1, "198.51.100.7/32", "10.0.0.9/32"))
	if err != nil || got.How != wire.BlocksNFTables || got.Problem != "" || len(s.ran) != 1 || !strings.Contains(s.ran[0], block.TableRack) || !strings.Contains(s.ran[0], "198.51.100.7 timeout 3600s") || strings.Contains(s.ran[0], "10.0.0.9") {
		t.Fatalf("got %+v, %v, %q", got, err, s.ran)
	}
	s.again(ctx)
	if s.follow(ctx); len(s.ran) != 2 || s.ran[1] != "" { // a look whether the table is there
		t.Errorf("the same list was made anew: %q", s.ran)
	}
	s.nftOK = errors.New("Operation not permitted")
	if got, err := s.take(ctx, s.request(2, "198.51.100.8/32")); err != nil || !strings.Contains(got.Problem, "not permitted") || !s.blocks("198.51.100.8") {
		t.Errorf("got %+v, %v", got, err)
	}
	s.nftOK = nil
	s.follow(ctx)
	if got, err := s.take(ctx, wire.BlocksRequest{}); err != nil || got.Problem != "" || !strings.Contains(s.ran[len(s.ran)-1], "198.51.100.8") {
		t.Errorf("tried again: got %+v, %v", got, err)
	}
}

// What a rack needs is its host's, the region's and its machines'.
func TestBlockNeeds(t *testing.T) {
	r := newRack(t, enrolled(t))
	at := netip.MustParseAddr("192.0.2.1")
	r.regionAddr.Store(&at)
	r.snapshot.Store(&metal.RackSnapshot{VLANs: []metal.SnapshotVLAN{{Subnets: []metal.SnapshotSubnet{{CIDR: netip.MustParsePrefix("10.0.0.0/24"), Gateway: netip.MustParseAddr("192.0.2.2"), DNS: []netip.Addr{netip.MustParseAddr("192.0.2.3")}}}}},
		Machines: []metal.SnapshotMachine{{Hostname: "web3", IP: netip.MustParseAddr("192.0.2.4")}, {Hostname: "new"}}})
	spare := block.NewSpare(r.blockNeeds())
	for whom, why := range map[string]string{"192.0.2.1/32": "the region's", "10.0.0.77/32": "serves machines", "192.0.2.2/32": "a gateway of machines", "192.0.2.3/32": "a name server of machines", "192.0.2.4/32": "machine web3", "198.51.100.7/32": ""} {
		if got := spare.Why(netip.MustParsePrefix(whom)); !strings.Contains(got, why) || (why == "") != (got == "") {
			t.Errorf("%s: got %q, want %q", whom, got, why)
		}
	}
}

// FuzzBlocks: whatever comes by the wire or lies on the disk, no list shuts out networks, or for longer than a week, and nothing panics.
func FuzzBlocks(f *testing.F) {
	f.Add([]byte(`{"version":1,"all":true,"blocks":[{"prefix":"198.51.100.7/32","until":"2027-03-01T13:00:00Z"}]}`))
	f.Add([]byte(`{"version":1,"all":true,"blocks":[{"prefix":"::/0","until":"2999-03-01T13:00:00Z"},{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var req wire.BlocksRequest
		if json.Unmarshal(data, &req) != nil {
			return
		}
		s := shielded{clock: time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)}
		s.shield = shield{wall: &block.Wall{Now: func() time.Time { return s.clock }}, now: func() time.Time { return s.clock }, needs: func() []block.Need { return nil }, log: slog.New(slog.DiscardHandler)}
		if s.use(req) != nil {
			return
		}
		for _, b := range s.list.Blocks {
			if a := b.Prefix.Addr(); a.Is4() && b.Prefix.Bits() != 32 || a.Is6() && b.Prefix.Bits() != 64 || b.Until.After(s.clock.Add(block.HardLongest)) {
				t.Errorf("got %+v", b)
			}
		}
	})
}
