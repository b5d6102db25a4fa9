package metal

import (
	"net/netip"
	"time"

	"github.com/metalward/metalward/internal/fault"
)

// Fabric is a set of VLANs that may reach each other.
type Fabric struct {
	ID        int64
	Name      string
	ClassType string
}

// VLAN is a layer-2 network of a fabric. DHCP is served on it only when an operator turned it on.
type VLAN struct {
	ID          int64
	FabricID    int64
	VID         int // 0 (untagged) to 4094
	Name        string
	MTU         int // bytes
	DHCPOn      bool
	PrimaryRack string // system id of the rack that serves it; empty when none
}

// Validate checks ranges. Kinds: Invalid.
func (v *VLAN) Validate() error {
	bad := fault.Fields{}
	if v.VID < 0 || v.VID > 4094 {
		bad.Add("vid", "VID must be between 0 and 4094.")
	}
	if v.MTU < 552 || v.MTU > 65535 {
		bad.Add("mtu", "MTU must be between 552 and 65535.")
	}
	if v.DHCPOn && v.PrimaryRack == "" {
		bad.Add("dhcp_on", "dhcp can only be turned on when a primary rack controller is set.")
	}
	return bad.Err()
}

// Subnet is an IP network on a VLAN.
type Subnet struct {
	ID          int64
	VLANID      int64
	Name        string
	Description string
	CIDR        netip.Prefix
	Gateway     netip.Addr // invalid when none
	DNSServers  []netip.Addr
	Managed     bool
}

// Validate checks the subnet by itself. Kinds: Invalid.
func (s *Subnet) Validate() error {
	bad := fault.Fields{}
	if !s.CIDR.IsValid() {
		bad.Add("cidr", "Enter a network in CIDR notation, such as 10.0.0.0/24.")
	} else if s.CIDR.Masked() != s.CIDR {
		bad.Add("cidr", "%s has host bits set; the network is %s.", s.CIDR, s.CIDR.Masked())
	} else if s.Gateway.IsValid() && !s.CIDR.Contains(s.Gateway) {
		bad.Add("gateway_ip", "Gateway %s is not inside %s.", s.Gateway, s.CIDR)
	}
	return bad.Err()
}

// RangeType is what an IP range is for. Source: MAAS API 2.0, IPRange type.
type RangeType string

// The range types. A dynamic range is what DHCP hands out to machines that boot.
const (
	RangeDynamic  RangeType = "dynamic"
	RangeReserved RangeType = "reserved"
)

// IPRange is a run of addresses of a subnet.
type IPRange struct {
	ID       int64
	SubnetID int64
	Type     RangeType
	Start    netip.Addr
	End      netip.Addr // inclusive
	Comment  string
	User     string
}

// Validate checks the range against its subnet and the ranges that exist there. Kinds: Invalid.
func (r *IPRange) Validate(s Subnet, others []IPRange) error {
	bad := fault.Fields{}
	if r.Type != RangeDynamic && r.Type != RangeReserved {
		bad.Add("type", "'%s' is not one of dynamic, reserved.", clip(string(r.Type)))
	}
	switch {
	case !r.Start.IsValid():
		bad.Add("start_ip", "Enter a valid IP address.")
	case !s.CIDR.Contains(r.Start):
		bad.Add("start_ip", "%s is not inside %s.", r.Start, s.CIDR)
	}
	switch {
	case !r.End.IsValid():
		bad.Add("end_ip", "Enter a valid IP address.")
	case !s.CIDR.Contains(r.End):
		bad.Add("end_ip", "%s is not inside %s.", r.End, s.CIDR)
	case r.Start.IsValid() && r.End.Less(r.Start):
		bad.Add("end_ip", "The end of the range comes before its start.")
	}
	if len(bad) == 0 {
		if r.Contains(s.Gateway) && r.Type == RangeDynamic {
			bad.Add("start_ip", "The range contains the gateway %s.", s.Gateway)
		}
		for _, o := range others {
			if o.ID != r.ID && !r.End.Less(o.Start) && !o.End.Less(r.Start) {
				bad.Add("__all__", "The range overlaps the %s range %s-%s.", o.Type, o.Start, o.End)
			}
		}
	}
	return bad.Err()
}

// Contains reports whether the range holds an address.
func (r *IPRange) Contains(a netip.Addr) bool {
	return a.IsValid() && a.Compare(r.Start) >= 0 && a.Compare(r.End) <= 0
}

// Size is the number of addresses in an IPv4 range.
func (r *IPRange) Size() int {
	a, b := r.Start.As4(), r.End.As4()
	n := func(x [4]byte) int { return int(x[0])<<24 | int(x[1])<<16 | int(x[2])<<8 | int(x[3]) }
	return n(b) - n(a) + 1
}

// Lease is an address that a rack's DHCP server handed out.
type Lease struct {
	MAC      MAC
	IP       netip.Addr
	Hostname string // as the client said; untrusted
	Expires  time.Time
}

// Interface is a machine's network interface.
type Interface struct {
	ID       int64
	SystemID string
	Name     string
	MAC      MAC
	VLANID   int64 // 0 when unknown
	Boot     bool  // the interface the machine boots from
	IP       netip.Addr
	SubnetID int64 // subnet of IP; 0 when none
	Enabled  bool

	Driver, Vendor, Product, FirmwareVersion string
	LinkUp                                   bool
	SpeedMbps                                int // of the interface; 0 when unknown
	LinkSpeedMbps                            int // as negotiated; 0 without link
	MTU                                      int
	NUMANode                                 int
}

// BlockDevice is a machine's physical disk.
type BlockDevice struct {
	ID              int64
	SystemID        string
	Name            string
	Model, Serial   string
	IDPath          string
	FirmwareVersion string
	SizeBytes       int64
	BlockSize       int // bytes
	Rotational      bool
	NUMANode        int
	Tags            []string
}
