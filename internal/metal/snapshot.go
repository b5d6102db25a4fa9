package metal

import "net/netip"

// RackSnapshot is all that a rack needs to serve its VLANs while the region is away. The region sends a
// whole new one whenever something in it changed; the rack keeps the last on disk.
type RackSnapshot struct {
	Version int64          `json:"version"`
	VLANs   []SnapshotVLAN `json:"vlans"` // those this rack serves with DHCP turned on; no others
	// Machines lists what is known of machines by MAC address: enough to answer a boot from disk and to give
	// a machine the same address each time.
	Machines []SnapshotMachine `json:"machines"`
	// MachineCA is the PEM of the authority that signs boot certificates, for the agent's connections.
	MachineCA string `json:"machine_ca"`
}

// SnapshotVLAN is a VLAN to serve.
type SnapshotVLAN struct {
	ID        int64            `json:"id"`
	Interface string           `json:"interface"` // the rack's interface on it
	MTU       int              `json:"mtu"`
	Subnets   []SnapshotSubnet `json:"subnets"`
}

// SnapshotSubnet is an IPv4 subnet to serve.
type SnapshotSubnet struct {
	ID      int64        `json:"id"`
	CIDR    netip.Prefix `json:"cidr"`
	RackIP  netip.Addr   `json:"rack_ip"` // the rack's own address in it: next server, and where boot files are
	Gateway netip.Addr   `json:"gateway"` // may be invalid
	DNS     []netip.Addr `json:"dns"`
	Dynamic []AddrRange  `json:"dynamic"`
}

// AddrRange is an inclusive run of addresses.
type AddrRange struct {
	Start netip.Addr `json:"start"`
	End   netip.Addr `json:"end"`
}

// SnapshotMachine is a known machine's interface.
type SnapshotMachine struct {
	MAC       MAC        `json:"mac"`
	IP        netip.Addr `json:"ip"` // reserved address; invalid when it takes one from a dynamic range
	Hostname  string     `json:"hostname"`
	LocalBoot bool       `json:"local_boot"` // it boots from its disk, whoever asks
}
