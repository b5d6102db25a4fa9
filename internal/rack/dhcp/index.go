package dhcp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

// index is a snapshot arranged for lookup. It never changes once it is built.
type index struct {
	vlans    []*vlan
	byIface  map[string]*vlan
	reserved map[ip4]mac
	machines map[mac]machine
}

type machine struct {
	ip       ip4 // 0 without a reservation
	hostname string
}

type vlan struct {
	id      int64
	iface   string
	mtu     uint16
	subnets []*subnet
}

type subnet struct {
	vlan    *vlan
	cidr    netip.Prefix
	mask    ip4
	base    ip4
	rack    ip4
	rackIP  string // rack as text
	gateway ip4
	dns     []byte // option 6, ready
	ranges  []addrRange
}

type addrRange struct{ first, last ip4 }

func (s *subnet) contains(a ip4) bool { return a&s.mask == s.base }

// usable reports whether a host may have the address: not the network, its broadcast, the rack or the gateway.
func (s *subnet) usable(a ip4) bool {
	if !s.contains(a) || a == s.rack || a == s.gateway {
		return false
	}
	return s.cidr.Bits() >= 31 || (a != s.base && a != s.base|^s.mask)
}

func (s *subnet) dynamic(a ip4) bool {
	for _, r := range s.ranges {
		if a >= r.first && a <= r.last {
			return true
		}
	}
	return false
}

// maxDNS is how many name servers are handed out; clients use three at most (resolv.conf(5)).
const maxDNS = 4

// newIndex checks a snapshot and arranges it. Kinds: Invalid; a bad snapshot is refused whole, and the old one
// stays in use.
func newIndex(s metal.RackSnapshot) (*index, error) {
	x := &index{byIface: map[string]*vlan{}, reserved: make(map[ip4]mac, len(s.Machines)), machines: make(map[mac]machine, len(s.Machines))}
	for _, sv := range s.VLANs {
		if sv.Interface == "" || x.byIface[sv.Interface] != nil {
			return nil, fault.New(fault.Invalid, "VLAN %d has no interface of its own.", sv.ID)
		}
		v := &vlan{id: sv.ID, iface: sv.Interface}
		if sv.MTU >= 576 && sv.MTU <= 65535 {
			v.mtu = uint16(sv.MTU)
		}
		for _, ss := range sv.Subnets {
			if !ss.CIDR.IsValid() || !ss.CIDR.Addr().Is4() || !ss.RackIP.Is4() || !ss.CIDR.Contains(ss.RackIP) {
				return nil, fault.New(fault.Invalid, "Subnet %d has no IPv4 network with an address of this rack.", ss.ID)
			}
			n := &subnet{
				vlan: v, cidr: ss.CIDR.Masked(), mask: ^ip4(0) << (32 - ss.CIDR.Bits()), rack: toIP4(ss.RackIP),
				rackIP: ss.RackIP.String(), gateway: toIP4(ss.Gateway),
			}
			n.base = toIP4(n.cidr.Addr())
			for _, d := range ss.DNS {
				if a := toIP4(d); a != 0 && len(n.dns) < 4*maxDNS {
					n.dns = binary.BigEndian.AppendUint32(n.dns, uint32(a))
				}
			}
			for _, r := range ss.Dynamic {
				first, last := toIP4(r.Start), toIP4(r.End)
				if first == 0 || last < first || !n.contains(first) || !n.contains(last) {
					return nil, fault.New(fault.Invalid, "Subnet %s: the dynamic range %s-%s is not inside it.", ss.CIDR, r.Start, r.End)
				}
				n.ranges = append(n.ranges, addrRange{first, last})
			}
			v.subnets = append(v.subnets, n)
		}
		x.vlans = append(x.vlans, v)
		x.byIface[v.iface] = v
	}
	for _, m := range s.Machines {
		hw, err := parseMAC(m.MAC)
		if err != nil {
			return nil, err
		}
		e := machine{ip: toIP4(m.IP)}
		if metal.ValidHostname(m.Hostname) && len(m.Hostname) <= 255 {
			e.hostname = m.Hostname
		}
		x.machines[hw] = e
		if e.ip != 0 {
			x.reserved[e.ip] = hw
		}
	}
	return x, nil
}

// subnetOf returns the subnet that holds an address, as a relay's; nil if none.
func (x *index) subnetOf(a ip4) *subnet {
	for _, v := range x.vlans {
		if i := slices.IndexFunc(v.subnets, func(s *subnet) bool { return s.contains(a) }); i >= 0 {
			return v.subnets[i]
		}
	}
	return nil
}

// ours reports whether an address is this rack's on any served subnet.
func (x *index) ours(a ip4) bool {
	s := x.subnetOf(a)
	return s != nil && s.rack == a
}

func parseMAC(m metal.MAC) (mac, error) { return parseMACText(string(m)) }

func parseMACText(m string) (mac, error) {
	p, err := metal.ParseMAC(m)
	if err != nil {
		return 0, err
	}
	var n mac
	for i := 0; i < len(p); i += 3 {
		b, _ := strconv.ParseUint(string(p[i:i+2]), 16, 8)
		n = n<<8 | mac(b)
	}
	return n, nil
}

const hexDigits = "0123456789abcdef"

// MAC returns the address in metal's notation.
func (m mac) MAC() metal.MAC {
	b := make([]byte, 0, 17)
	for shift := 40; shift >= 0; shift -= 8 {
		if len(b) > 0 {
			b = append(b, ':')
		}
		b = append(b, hexDigits[m>>(shift+4)&15], hexDigits[m>>shift&15])
	}
	return metal.MAC(b)
}
