package web

import (
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxyHeaderTime is how long a trusted proxy has for its header.
const proxyHeaderTime = 5 * time.Second

// Proxied takes the address of the client from the PROXY protocol, version 1 or 2, on connections that come from
// trusted proxies; these must speak it. What others send first is no header to us, so nobody else can make up an
// address. Source: HAProxy, The PROXY protocol.
func Proxied(l net.Listener, trusted []netip.Prefix) net.Listener {
	return &proxyproto.Listener{Listener: l, ReadHeaderTimeout: proxyHeaderTime, ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		peer, ok := o.Upstream.(*net.TCPAddr)
		if !ok {
			return proxyproto.SKIP, nil
		}
		for _, p := range trusted {
			if p.Contains(peer.AddrPort().Addr().Unmap()) {
				return proxyproto.REQUIRE, nil
			}
		}
		return proxyproto.SKIP, nil
	}}
}
