package dhcp

import (
	"context"
	"encoding/binary"
	"net"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

const (
	// advertiseEvery is the pause between unasked advertisements. Source: RFC 4861 section 6.2.1, within
	// MinRtrAdvInterval and MaxRtrAdvInterval of an ordinary router.
	advertiseEvery = 5 * time.Minute
	// advertiseGap is the least time between two, however many machines solicit: one answer serves them all.
	advertiseGap = 100 * time.Millisecond
	// routerHopLimit is what neighbour discovery packets must carry to be believed: RFC 4861 section 6.1.
	routerHopLimit = 255
)

// advertisement is a Router Advertisement that says: there is no router, no prefix and no DHCPv6 here. A
// machine that only waits to hear whether there is IPv6 goes on at once. Source: RFC 4861 section 4.2.
func advertisement() []byte {
	body := make([]byte, 12)
	body[0] = 0 // current hop limit: unspecified
	body[1] = 0 // neither managed (M) nor other (O) configuration
	// Router lifetime 0: do not use the sender as a router. Reachable and retransmission time: unspecified.
	binary.BigEndian.PutUint16(body[2:], 0)
	m := icmp.Message{Type: ipv6.ICMPTypeRouterAdvertisement, Body: &icmp.RawBody{Data: body}}
	b, _ := m.Marshal(nil) // the kernel fills in the checksum of ICMPv6
	return b
}

// advertise answers router solicitations on an interface until ctx ends. IPv6 may be off; then there is nothing
// to do.
func (s *Server) advertise(ctx context.Context, ifi *net.Interface) {
	pc, err := net.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		s.log.DebugContext(ctx, "no router advertisements", "interface", ifi.Name, "error", err)
		return
	}
	defer pc.Close()
	stop := context.AfterFunc(ctx, func() { _ = pc.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	c := ipv6.NewPacketConn(pc)
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	allRouters, allNodes := &net.IPAddr{IP: net.ParseIP("ff02::2")}, &net.IPAddr{IP: net.ParseIP("ff02::1"), Zone: ifi.Name}
	for _, err := range []error{
		c.SetICMPFilter(&filter), c.JoinGroup(ifi, allRouters), c.SetControlMessage(ipv6.FlagInterface|ipv6.FlagHopLimit, true),
		c.SetMulticastInterface(ifi), c.SetMulticastHopLimit(routerHopLimit), c.SetMulticastLoopback(false),
	} {
		if err != nil {
			s.log.DebugContext(ctx, "no router advertisements", "interface", ifi.Name, "error", err)
			return
		}
	}
	packet, buf := advertisement(), make([]byte, maxPacket)
	next := time.Now()
	var last time.Time
	for ctx.Err() == nil {
		_ = pc.SetReadDeadline(next)
		if ctx.Err() != nil {
			return
		}
		n, cm, _, err := c.ReadFrom(buf)
		now := time.Now()
		solicited := err == nil && cm != nil && cm.IfIndex == ifi.Index && cm.HopLimit == routerHopLimit && n >= 8
		switch {
		case solicited:
			// A later solicitation must not postpone the answer to an earlier one.
			if at := last.Add(advertiseGap); at.Before(next) {
				next = at
			}
		case err != nil && now.Before(next): // not the deadline: the interface may be down
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
		if !now.Before(next) {
			_, _ = c.WriteTo(packet, &ipv6.ControlMessage{HopLimit: routerHopLimit, IfIndex: ifi.Index}, allNodes)
			last, next = now, now.Add(advertiseEvery)
		}
	}
}
