package block

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"
)

// Tables of nftables that belong to this package alone: each program that blocks on a host has one of its own, so that none takes away what another made.
const (
	Table       = "metalward_blocks" // of `metalward watch`
	TableRegion = "metalward_region_blocks"
	TableRack   = "metalward_rack_blocks"
)

// NFT has the kernel's packet filter follow a list. It has a table of its own, whose chain comes before connection tracking and before the rules of ufw,
// firewalld or anybody else: established connections end too, and what others accept changes nothing. Elements have their time in the kernel, so that a block
// ends even if nobody is there to end it.
type NFT struct {
	Table string // "" is Table
	// Run runs nft with an input; it is for tests. Nil is the system's.
	Run func(ctx context.Context, input string, args ...string) (string, error)
}

// limit is how long one call of nft may take.
const limit = 10 * time.Second

// Apply makes the kernel's sets the list's, in one transaction, whatever was there before. With nobody blocked the table goes.
func (n *NFT) Apply(ctx context.Context, l *List, now time.Time) error {
	_, err := n.run(ctx, script(n.table(), l, now), "-f", "-")
	if err != nil {
		return fmt.Errorf("nft: %w", err)
	}
	return nil
}

// Follow makes the kernel's sets the list's if the list changed or somebody took the table away.
func (n *NFT) Follow(ctx context.Context, l *List, changed bool, now time.Time) error {
	if !changed && (len(l.Blocks) == 0 || l.Off || n.Holds(ctx)) {
		return nil
	}
	return n.Apply(ctx, l, now)
}

func (n *NFT) table() string { return cmp.Or(n.Table, Table) }

// Holds says whether the kernel still has the table: a flush of all rules by others takes it away. It is asked each second, so without the sets' tens of
// thousands of addresses.
func (n *NFT) Holds(ctx context.Context) bool {
	out, err := n.run(ctx, "", "--terse", "list", "table", "inet", n.table())
	return err == nil && strings.Contains(out, "@v4") && strings.Contains(out, "@v6") && strings.Contains(out, "hook prerouting")
}

func script(table string, l *List, now time.Time) string {
	var b strings.Builder
	// Deleting a table that is not there is an error; adding one that is there is none.
	fmt.Fprintf(&b, "add table inet %s\ndelete table inet %[1]s\n", table)
	var v4, v6 []string
	if !l.Off {
		for _, block := range l.Blocks {
			left := block.Until.Sub(now)
			if left <= 0 || block.Prefix.Bits() == 0 {
				continue
			}
			text := block.Prefix.String()
			if block.Prefix.Addr().Is4() {
				text = block.Prefix.Addr().String()
			}
			e := fmt.Sprintf("%s timeout %ds", text, max(1, int(left/time.Second)))
			if block.Prefix.Addr().Is4() {
				v4 = append(v4, e)
			} else {
				v6 = append(v6, e)
			}
		}
	}
	if len(v4)+len(v6) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "table inet %s {\n set v4 { type ipv4_addr; flags timeout; size %d;", table, HardMost)
	elements(&b, v4)
	fmt.Fprintf(&b, " }\n set v6 { type ipv6_addr; flags interval, timeout; size %d;", HardMost)
	elements(&b, v6)
	// -310 is before connection tracking (-200) and raw (-300): netfilter's hook priorities, linux/netfilter_ipv4.h.
	b.WriteString(" }\n chain arriving {\n  type filter hook prerouting priority -310; policy accept;\n  ip saddr @v4 counter drop\n  ip6 saddr @v6 counter drop\n }\n}\n")
	return b.String()
}

func elements(b *strings.Builder, list []string) {
	if len(list) > 0 {
		fmt.Fprintf(b, " elements = { %s };", strings.Join(list, ", "))
	}
}

func (n *NFT) run(ctx context.Context, input string, args ...string) (string, error) {
	ctx, stop := context.WithTimeout(ctx, limit)
	defer stop()
	if n.Run != nil {
		return n.Run(ctx, input, args...)
	}
	path, err := exec.LookPath("nft")
	if err != nil {
		path = "/usr/sbin/nft"
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %.500s", err, out)
	}
	return string(out), nil
}

// Prefixes makes networks of addresses.
func Prefixes(addrs []netip.Addr) []netip.Prefix {
	var all []netip.Prefix
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		if p, err := a.Prefix(a.BitLen()); err == nil {
			all = append(all, p)
		}
	}
	return all
}
