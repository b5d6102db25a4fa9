//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"
)

// startNetwork brings up the first Ethernet card, by the seed's configuration
// or by DHCP.
func startNetwork(ctx context.Context, config *networkConfig) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	if lo, err := netlink.LinkByName("lo"); err == nil {
		netlink.LinkSetUp(lo)
	}
	link, err := firstCard(ctx)
	if err != nil {
		return err
	}
	if e := config.forMAC(link.Attrs().HardwareAddr.String()); e != nil && !e.DHCP4 && len(e.Addresses) > 0 {
		return useFixed(link, e)
	}
	return useDHCP(ctx, link)
}

// firstCard waits for a card with carrier: frames sent before that are lost.
func firstCard(ctx context.Context) (netlink.Link, error) {
	for {
		links, err := netlink.LinkList()
		if err != nil {
			return nil, fmt.Errorf("cannot list network cards: %w", err)
		}
		for _, l := range links {
			a := l.Attrs()
			if a.Flags&net.FlagLoopback != 0 || len(a.HardwareAddr) != 6 {
				continue
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return nil, fmt.Errorf("cannot bring up %s: %w", a.Name, err)
			}
			if b, _ := os.ReadFile("/sys/class/net/" + a.Name + "/carrier"); len(b) > 0 && b[0] == '1' {
				return l, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("cannot find a network card with carrier")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func useDHCP(ctx context.Context, link netlink.Link) error {
	c, err := nclient4.New(link.Attrs().Name, nclient4.WithTimeout(3*time.Second), nclient4.WithRetry(8))
	if err != nil {
		return fmt.Errorf("cannot start DHCP: %w", err)
	}
	defer c.Close()
	lease, err := c.Request(ctx)
	if err != nil {
		return fmt.Errorf("cannot get a lease: %w", err)
	}
	ack := lease.ACK
	address := net.IPNet{IP: ack.YourIPAddr, Mask: ack.SubnetMask()}
	gateway := ""
	if r := ack.Router(); len(r) > 0 {
		gateway = r[0].String()
	}
	var dns []string
	for _, s := range ack.DNS() {
		dns = append(dns, s.String())
	}
	return configure(link, "dhcp", []string{address.String()}, gateway, dns)
}

func useFixed(link netlink.Link, e *ethernet) error {
	gateway := e.Gateway4
	for _, r := range e.Routes {
		if r.To == "default" || r.To == "0.0.0.0/0" {
			gateway = r.Via
		}
	}
	return configure(link, "fixed", e.Addresses, gateway, e.Nameservers.Addresses)
}

func configure(link netlink.Link, how string, addresses []string, gateway string, dns []string) error {
	for _, a := range addresses {
		parsed, err := netlink.ParseAddr(a)
		if err != nil {
			return fmt.Errorf("cannot use address %q: %w", a, err)
		}
		if err := netlink.AddrReplace(link, parsed); err != nil {
			return fmt.Errorf("cannot set address %s: %w", a, err)
		}
	}
	if gateway != "" {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Gw: net.ParseIP(gateway)}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("cannot set gateway %s: %w", gateway, err)
		}
	}
	var conf strings.Builder
	for _, s := range dns {
		fmt.Fprintf(&conf, "nameserver %s\n", s)
	}
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return fmt.Errorf("cannot make /etc: %w", err)
	}
	if err := os.WriteFile("/etc/resolv.conf", []byte(conf.String()), 0o644); err != nil {
		return fmt.Errorf("cannot write resolv.conf: %w", err)
	}
	say("NETWORK %s %s", how, strings.Join(addresses, ","))
	return nil
}
