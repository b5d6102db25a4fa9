package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"

	"github.com/metalward/metalward/internal/metal"
)

// Bounds of coming up on the network. Switch ports with spanning tree take 30 to 50 s to forward.
const (
	linkTimeout    = 30 * time.Second
	carrierTimeout = 90 * time.Second
	leaseTimeout   = 2 * time.Minute
	renewRetry     = 30 * time.Second // between tries to renew a lease
	minMTU         = 576              // RFC 791, what every host must take
	maxMTU         = 65535            // of an IPv4 packet
)

// connectNetwork configures the interface that the firmware booted from by DHCPv4 and keeps its lease until
// ctx ends. The other physical interfaces are brought up, without address, so that their link shows.
func connectNetwork(ctx context.Context, console *Console, root string, mac metal.MAC) error {
	if lo, err := netlink.LinkByName("lo"); err == nil {
		_ = netlink.LinkSetUp(lo)
	}
	link, err := findLink(ctx, mac)
	if err != nil {
		return err
	}
	name := link.Attrs().Name
	for _, n := range interfaces(tree(root)) {
		if other, err := netlink.LinkByName(n.Name); err == nil && n.Name != name {
			_ = netlink.LinkSetUp(other)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("cannot bring up %s: %w", name, err)
	}
	if !wait(ctx, carrierTimeout, func() bool { return tree(root).text("sys/class/net", name, "carrier") == "1" }) {
		return fmt.Errorf("cannot use %s (%s): no link within %v; check cable and switch port", name, mac, carrierTimeout)
	}
	console.Stage("link", "%s %s", name, mac)
	lease, err := getLease(ctx, name)
	if err != nil {
		return fmt.Errorf("cannot get an address on %s (%s): %w", name, mac, err)
	}
	if err := applyLease(link, lease.ACK); err != nil {
		return fmt.Errorf("cannot configure %s: %w", name, err)
	}
	console.Stage("network", "%s %s gateway %v server %v", name, lease.ACK.YourIPAddr, lease.ACK.Router(), lease.ACK.ServerIdentifier())
	go keepLease(ctx, console, lease, renewOn(name))
	return nil
}

// wait polls until ready or the time is up.
func wait(ctx context.Context, limit time.Duration, ready func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !ready() {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(50 * time.Millisecond):
		}
	}
	return true
}

func findLink(ctx context.Context, mac metal.MAC) (netlink.Link, error) {
	var found netlink.Link
	if wait(ctx, linkTimeout, func() bool {
		links, _ := netlink.LinkList()
		for _, l := range links {
			if l.Attrs().HardwareAddr.String() == mac.String() {
				found = l
				return true
			}
		}
		return false
	}) {
		return found, nil
	}
	return nil, fmt.Errorf("cannot find the interface with address %s: is its driver in the ephemeral system?", mac)
}

// getLease asks until there is a lease. The client is new for each round, because a broken raw socket stays so.
func getLease(ctx context.Context, name string) (*nclient4.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTimeout)
	defer cancel()
	var last error
	for ctx.Err() == nil {
		client, err := nclient4.New(name, nclient4.WithTimeout(2*time.Second), nclient4.WithRetry(4))
		if err == nil {
			var lease *nclient4.Lease
			lease, err = client.Request(ctx, dhcpv4.WithRequestedOptions(dhcpv4.OptionInterfaceMTU, dhcpv4.OptionClasslessStaticRoute))
			_ = client.Close()
			if err == nil {
				return lease, nil
			}
		}
		last = err
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil, errors.Join(fmt.Errorf("no DHCP lease within %v", leaseTimeout), last)
}

// applyLease sets address, routes and MTU.
func applyLease(link netlink.Link, ack *dhcpv4.DHCPv4) error {
	mask := ack.SubnetMask()
	if ack.YourIPAddr.To4() == nil || ack.YourIPAddr.IsUnspecified() || len(mask) != net.IPv4len {
		return errors.New("the lease has no usable address or netmask")
	}
	if data := ack.Options.Get(dhcpv4.OptionInterfaceMTU); len(data) == 2 {
		mtu := int(data[0])<<8 | int(data[1])
		if mtu >= minMTU && mtu <= maxMTU {
			if err := netlink.LinkSetMTU(link, mtu); err != nil {
				return fmt.Errorf("cannot set MTU %d: %w", mtu, err)
			}
		}
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: ack.YourIPAddr.To4(), Mask: mask}}
	if err := netlink.AddrReplace(link, address); err != nil {
		return fmt.Errorf("cannot set address %v: %w", address, err)
	}
	// RFC 3442: with classless routes, the router option is ignored.
	routes := []netlink.Route{}
	for _, r := range ack.ClasslessStaticRoute() {
		routes = append(routes, netlink.Route{LinkIndex: link.Attrs().Index, Dst: r.Dest, Gw: r.Router})
	}
	if len(routes) == 0 && len(ack.Router()) > 0 {
		routes = append(routes, netlink.Route{LinkIndex: link.Attrs().Index, Gw: ack.Router()[0]})
	}
	for _, r := range routes {
		if r.Gw.IsUnspecified() {
			r.Gw, r.Scope = nil, netlink.SCOPE_LINK
		}
		if err := netlink.RouteReplace(&r); err != nil {
			return fmt.Errorf("cannot set route %v: %w", r, err)
		}
	}
	return nil
}

// keepLease renews at half of the lease time, until ctx ends. If that fails for good we keep the address:
// an interrupted installation helps nobody, and the server sees the address in use.
func keepLease(ctx context.Context, console *Console, lease *nclient4.Lease, renew func(context.Context, *nclient4.Lease) (*nclient4.Lease, error)) {
	wait := renewAfter(lease)
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		renewed, err := renew(ctx, lease)
		switch {
		case err == nil:
			lease = renewed
			wait = renewAfter(lease)
		case ctx.Err() == nil:
			// The other half of the lease is there to try again in: the server may just be restarting.
			wait = min(wait, renewRetry)
			console.Stage("network", "cannot renew the lease, trying again in %v: %v", wait, err)
		}
	}
}

func renewAfter(lease *nclient4.Lease) time.Duration {
	return max(lease.ACK.IPAddressLeaseTime(10*time.Minute)/2, 10*time.Second)
}

// renewOn asks on an interface. The client is new each time, because a broken raw socket stays so.
func renewOn(name string) func(context.Context, *nclient4.Lease) (*nclient4.Lease, error) {
	return func(ctx context.Context, lease *nclient4.Lease) (*nclient4.Lease, error) {
		client, err := nclient4.New(name, nclient4.WithTimeout(5*time.Second), nclient4.WithRetry(3))
		if err != nil {
			return nil, err
		}
		defer func() { _ = client.Close() }()
		return client.Renew(ctx, lease)
	}
}
