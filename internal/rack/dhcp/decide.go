package dhcp

import (
	"bytes"
	"strings"
	"time"
)

// Times.
const (
	// bootLease is for firmware and iPXE, which are done within minutes; leaseTime for operating systems.
	bootLease = 10 * time.Minute
	leaseTime = time.Hour
	// offerHold keeps an offered address for the client that has to answer; short, as strangers can make us
	// offer addresses.
	offerHold = 30 * time.Second
	// declineHold is how long an address that a client found in use is not given to anybody.
	declineHold = 10 * time.Minute
)

// Boot files, by name as the netboot server has them.
const (
	bootFileBIOS = "undionly.kpxe"
	bootFileUEFI = "snponly.efi"
	bootScript   = "boot.ipxe"
)

// destination is how a reply travels. Source: RFC 2131 section 4.1.
type destination byte

const (
	nowhere   destination = iota
	toRelay               // giaddr, port 67
	toClient              // ciaddr, port 68: it has the address and answers ARP
	toOffered             // yiaddr, port 68, at the client's hardware address: it cannot answer ARP yet
	toAll                 // 255.255.255.255, port 68
)

// event is something that a decision wants counted or told.
type event byte

const (
	nothing event = iota
	exhausted
	conflict // a client declined an address
	rogue    // a client speaks of another server
)

// verdict is the outcome of a packet.
type verdict struct {
	to    destination
	kind  byte
	reply []byte // in the builder's buffer; nil when there is nothing to say
	yi    ip4
	src   ip4 // the rack's address to send it from
	// lease is what must be on disk; an ACK waits for it.
	lease *lease
	event event
	other ip4 // rogue: the other server
}

// decider turns packets into verdicts. It touches the tables and nothing else, so that the same packets at the
// same times give the same verdicts.
type decider struct {
	x    *index
	t    *leases
	http string // port of the first-stage HTTP server
	w    builder
}

// stranger says whether a packet that came in on an interface is of no machine that the region knows, nor of a client that holds a lease.
func (d *decider) stranger(iface string, p *packet) bool {
	v := d.x.byIface[iface]
	if p.giaddr != 0 {
		if s := d.x.subnetOf(p.giaddr); s != nil {
			v = s.vlan
		}
	}
	if v == nil {
		return false
	}
	if _, known := d.x.machines[p.mac]; known {
		return false
	}
	l := d.t.byOwner[owner{p.mac, v.id}]
	return l == nil || l.state == offered
}

// decide answers a packet that came in on an interface.
func (d *decider) decide(now time.Time, iface string, p *packet) verdict {
	if p.op != bootRequest {
		return d.overheard(p)
	}
	v := d.x.byIface[iface]
	if v == nil {
		return verdict{}
	}
	var only *subnet // of the relay
	if p.giaddr != 0 {
		if only = d.x.subnetOf(p.giaddr); only == nil {
			return verdict{}
		}
		v = only.vlan
	}
	o, at := owner{p.mac, v.id}, now.Unix()
	switch p.kind {
	case discover:
		return d.discover(at, v, only, o, p)
	case request:
		return d.request(at, v, only, o, p)
	case decline:
		if l := d.t.byIP[p.requested]; l != nil && l.mac == o.mac && l.vlan == o.vlan && d.x.ours(p.serverID) {
			e := d.t.put(lease{ip: l.ip, mac: o.mac, vlan: o.vlan, state: declined, expires: at + seconds(declineHold)})
			return verdict{lease: e, event: conflict, yi: e.ip}
		}
	case release:
		if l := d.t.byIP[p.ciaddr]; l != nil && l.mac == o.mac && l.vlan == o.vlan && l.state == bound {
			l.state, l.expires = released, at
			d.t.freed()
			return verdict{lease: l}
		}
	case inform:
		if s := pick(v, only, p.ciaddr); s != nil {
			return d.answer(s, p, ack, 0, 0)
		}
	}
	return verdict{}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// pick returns the subnet that an address belongs to, among those the client may be in.
func pick(v *vlan, only *subnet, a ip4) *subnet {
	if only != nil {
		if only.contains(a) {
			return only
		}
		return nil
	}
	for _, s := range v.subnets {
		if s.contains(a) {
			return s
		}
	}
	return nil
}

// overheard looks at a server's packet: there should be no server but this rack.
func (d *decider) overheard(p *packet) verdict {
	if (p.kind == offer || p.kind == ack) && p.serverID != 0 && !d.x.ours(p.serverID) {
		return verdict{event: rogue, other: p.serverID}
	}
	return verdict{}
}

// discover offers an address: the reserved one, else the one the client had, else the one it wishes, else any.
func (d *decider) discover(now int64, v *vlan, only *subnet, o owner, p *packet) verdict {
	try := func(a ip4, mustBeDynamic bool) *subnet {
		s := pick(v, only, a)
		if a == 0 || s == nil || !s.usable(a) || (mustBeDynamic && !s.dynamic(a)) || !d.t.available(d.x, a, o, now) {
			return nil
		}
		return s
	}
	var had ip4
	if l := d.t.byOwner[o]; l != nil {
		had = l.ip
	}
	a := d.x.machines[o.mac].ip
	s := try(a, false)
	if s == nil {
		a = had
		s = try(a, true)
	}
	if s == nil {
		a = p.requested
		s = try(a, true)
	}
	if s == nil {
		for _, s = range v.subnets {
			if only != nil && s != only {
				continue
			}
			if a = d.t.find(d.x, s, o, now); a != 0 {
				break
			}
		}
		if a == 0 || s == nil {
			return verdict{event: exhausted}
		}
	}
	// A lease that is bound stays as it is on disk: the offer does not change it until the client asks.
	if l := d.t.byIP[a]; l == nil || l.mac != o.mac || l.vlan != o.vlan || l.state != bound || l.expires < now+seconds(offerHold) {
		d.t.put(lease{ip: a, mac: o.mac, vlan: o.vlan, state: offered, expires: now + seconds(offerHold)})
	}
	return d.answer(s, p, offer, a, lifetime(p))
}

// request grants or refuses an address. Source: RFC 2131 section 4.3.2.
func (d *decider) request(now int64, v *vlan, only *subnet, o owner, p *packet) verdict {
	a := p.requested
	if p.serverID != 0 && !d.x.ours(p.serverID) { // it took another server's offer
		if l := d.t.byOwner[o]; l != nil && l.state == offered {
			d.t.drop(l)
		}
		return verdict{event: rogue, other: p.serverID}
	}
	if a == 0 { // renewing or rebinding
		a = p.ciaddr
	}
	s := pick(v, only, a)
	if s == nil {
		// It comes from another network. Without any subnet here that could give it something better, silence.
		if len(v.subnets) == 0 {
			return verdict{}
		}
		if s = only; s == nil {
			s = v.subnets[0]
		}
		return d.refuse(s, p)
	}
	mine := d.x.machines[o.mac].ip == a
	l := d.t.byIP[a]
	known := l != nil && l.mac == o.mac && l.vlan == o.vlan && l.state != declined
	switch {
	case !s.usable(a), !mine && !s.dynamic(a), !d.t.available(d.x, a, o, now), l == nil && len(d.t.byIP) >= maxLeases:
		return d.refuse(s, p)
	case !known && p.serverID != 0:
		return d.refuse(s, p) // it accepts an offer that ended meanwhile
	}
	// An unknown client that asks for an address which is free gets it: this rack is the only server here, and
	// refusing would only make a machine that outlived the lease file change its address.
	life := lifetime(p)
	e := d.t.put(lease{ip: a, mac: o.mac, vlan: o.vlan, state: bound, expires: now + int64(life), hostname: cleanHostname(p.hostname)})
	r := d.answer(s, p, ack, a, life)
	r.lease = e
	return r
}

func (d *decider) refuse(s *subnet, p *packet) verdict {
	d.w.start(p, nak, 0, s.rack)
	d.w.text(optMessage, "address not available")
	r := verdict{kind: nak, to: toAll, src: s.rack, reply: d.w.finish(p)}
	if p.giaddr != 0 {
		r.to = toRelay
		r.reply[10] |= broadcastFlag >> 8 // the relay must broadcast it: RFC 2131 section 4.3.2
	}
	return r
}

// lifetime is how long the client may keep an address, in seconds.
func lifetime(p *packet) uint32 {
	if p.ipxe || p.arch != noArchitecture || bytes.HasPrefix(p.vendor, []byte("PXEClient")) {
		return uint32(bootLease / time.Second)
	}
	return uint32(leaseTime / time.Second)
}

// answer writes an OFFER or ACK. lifetime 0 means an answer to INFORM, without address and lease.
func (d *decider) answer(s *subnet, p *packet, kind byte, yi ip4, lifetime uint32) verdict {
	w := &d.w
	w.start(p, kind, yi, s.rack)
	if lifetime > 0 {
		w.seconds(optLeaseTime, lifetime)
		w.seconds(optRenewal, lifetime/2)
		w.seconds(optRebinding, lifetime/8*7)
	}
	w.address(optSubnetMask, s.mask)
	if s.gateway != 0 {
		w.address(optRouter, s.gateway)
	}
	if len(s.dns) > 0 {
		w.bytes(optDNS, s.dns)
	}
	if mtu := s.vlan.mtu; mtu != 0 {
		w.bytes(optMTU, []byte{byte(mtu >> 8), byte(mtu)})
	}
	if name, _, _ := strings.Cut(d.x.machines[p.mac].hostname, "."); name != "" {
		w.text(optHostname, name)
	}
	if p.clientID != nil {
		w.bytes(optClientID, p.clientID) // RFC 6842
	}
	if p.uuid != nil {
		w.bytes(optClientUUID, p.uuid) // PXE 2.1 section 2.2.3: some ROMs drop answers without it
	}
	d.boot(s, p)
	r := verdict{kind: kind, yi: yi, src: s.rack, reply: w.finish(p), to: toOffered}
	switch {
	case p.giaddr != 0:
		r.to = toRelay
	case p.ciaddr != 0 && (lifetime == 0 || p.ciaddr == yi): // else anybody could have us write to any address
		r.to = toClient
	case p.flags&broadcastFlag != 0:
		r.to = toAll
	}
	return r
}

// boot says what to load, by what asks: iPXE its script, firmware the iPXE that suits it, others nothing.
func (d *decider) boot(s *subnet, p *packet) {
	base := "http://" + s.rackIP + ":" + d.http + "/"
	switch {
	case p.ipxe:
		// 1 in option 175.176 saves the seconds that iPXE waits for ProxyDHCP offers.
		d.w.bytes(optIPXE, []byte{ipxeNoProxyDHCP, 1, 1})
		d.w.file(base + bootScript)
	case p.arch == archUEFIHTTP && bytes.HasPrefix(p.vendor, []byte(vendorHTTPClient)):
		d.w.text(optVendorClass, vendorHTTPClient) // without the echo firmware ignores the offer: UEFI 2.10 section 24.7.3.1
		d.w.file(base + bootFileUEFI)
	case p.arch == archBIOS:
		d.w.text(optTFTPServer, s.rackIP)
		d.w.file(bootFileBIOS)
	case p.arch == archUEFI, p.arch == archUEFIAlt:
		d.w.text(optTFTPServer, s.rackIP)
		d.w.file(bootFileUEFI)
	}
}

// cleanHostname keeps what a host name may contain; anything else makes it empty.
func cleanHostname(b []byte) string {
	for _, c := range b {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_') {
			return ""
		}
	}
	return string(b)
}
