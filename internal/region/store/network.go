package store

import (
	"encoding/json"
	"net/netip"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/metal"
)

// Targets of the network nouns.
func fabricTarget(id int64) authz.Target {
	return authz.Target{Noun: authz.NounFabric, ID: authz.ID(id)}
}
func vlanTarget(id int64) authz.Target { return authz.Target{Noun: authz.NounVLAN, ID: authz.ID(id)} }
func subnetTarget(id int64) authz.Target {
	return authz.Target{Noun: authz.NounSubnet, ID: authz.ID(id)}
}

// FabricTarget is a fabric as the object of an action.
func FabricTarget(id int64) authz.Target { return fabricTarget(id) }

// VLANTarget is a VLAN as the object of an action.
func VLANTarget(id int64) authz.Target { return vlanTarget(id) }

// SubnetTarget is a subnet, with its ranges, as the object of an action.
func SubnetTarget(id int64) authz.Target { return subnetTarget(id) }

func scanFabric(scan func(...any) error) (f metal.Fabric, err error) {
	err = scan(&f.ID, &f.Name, &f.ClassType)
	return f, err
}

// Fabrics lists all fabrics.
func (v *View) Fabrics() ([]metal.Fabric, error) {
	return all(v, scanFabric, "SELECT id, name, class_type FROM fabrics ORDER BY id")
}

// Fabric returns a fabric. Kinds: NotFound.
func (v *View) Fabric(id int64) (metal.Fabric, error) {
	return one(v, authz.NounFabric, scanFabric, "SELECT id, name, class_type FROM fabrics WHERE id = ?", id)
}

// AddFabric inserts a fabric and sets its ID; an empty name becomes "fabric-ID", as in MAAS.
func (t *Tx) AddFabric(f *metal.Fabric) (err error) {
	placeholder := f.Name
	if placeholder == "" {
		placeholder = metal.NewSystemID()
	}
	if f.ID, err = t.insert("INSERT INTO fabrics (name, class_type) VALUES (?, ?)", placeholder, f.ClassType); err != nil {
		return err
	}
	t.touch(fabricTarget(f.ID), true)
	if f.Name == "" {
		f.Name = "fabric-" + authz.ID(f.ID)
		_, err = t.exec("UPDATE fabrics SET name = ? WHERE id = ?", f.Name, f.ID)
	}
	return err
}

// PutFabric updates a fabric.
func (t *Tx) PutFabric(f metal.Fabric) error {
	t.touch(fabricTarget(f.ID), false)
	_, err := t.exec("UPDATE fabrics SET name = ?, class_type = ? WHERE id = ?", f.Name, f.ClassType, f.ID)
	return err
}

// DeleteFabric deletes a fabric without VLANs. Kinds: Conflict.
func (t *Tx) DeleteFabric(id int64) error {
	t.touch(fabricTarget(id), false)
	_, err := t.exec("DELETE FROM fabrics WHERE id = ?", id)
	return err
}

const vlanCols = "id, fabric_id, vid, name, mtu, dhcp_on, primary_rack"

func scanVLAN(scan func(...any) error) (v metal.VLAN, err error) {
	err = scan(&v.ID, &v.FabricID, &v.VID, &v.Name, &v.MTU, &v.DHCPOn, &v.PrimaryRack)
	return v, err
}

// VLANs lists all VLANs.
func (v *View) VLANs() ([]metal.VLAN, error) {
	return all(v, scanVLAN, "SELECT "+vlanCols+" FROM vlans ORDER BY fabric_id, vid")
}

// VLAN returns a VLAN. Kinds: NotFound.
func (v *View) VLAN(id int64) (metal.VLAN, error) {
	return one(v, authz.NounVLAN, scanVLAN, "SELECT "+vlanCols+" FROM vlans WHERE id = ?", id)
}

// AddVLAN inserts a VLAN and sets its ID. Kinds: Conflict when the fabric has this VID.
func (t *Tx) AddVLAN(v *metal.VLAN) (err error) {
	v.ID, err = t.insert("INSERT INTO vlans (fabric_id, vid, name, mtu, dhcp_on, primary_rack) VALUES (?, ?, ?, ?, ?, ?)",
		v.FabricID, v.VID, v.Name, v.MTU, bit(v.DHCPOn), v.PrimaryRack)
	t.touch(vlanTarget(v.ID), true)
	return err
}

// PutVLAN updates a VLAN.
func (t *Tx) PutVLAN(v metal.VLAN) error {
	t.touch(vlanTarget(v.ID), false)
	_, err := t.exec("UPDATE vlans SET fabric_id = ?, vid = ?, name = ?, mtu = ?, dhcp_on = ?, primary_rack = ? WHERE id = ?",
		v.FabricID, v.VID, v.Name, v.MTU, bit(v.DHCPOn), v.PrimaryRack, v.ID)
	return err
}

// DeleteVLAN deletes a VLAN without subnets. Kinds: Conflict.
func (t *Tx) DeleteVLAN(id int64) error {
	t.touch(vlanTarget(id), false)
	_, err := t.exec("DELETE FROM vlans WHERE id = ?", id)
	return err
}

const subnetCols = "id, vlan_id, name, description, cidr, gateway, dns_servers, managed"

func scanSubnet(scan func(...any) error) (s metal.Subnet, err error) {
	var cidr, gateway, dns string
	if err = scan(&s.ID, &s.VLANID, &s.Name, &s.Description, &cidr, &gateway, &dns, &s.Managed); err != nil {
		return s, err
	}
	if s.CIDR, err = netip.ParsePrefix(cidr); err != nil {
		return s, err
	}
	s.Gateway = addr(gateway)
	return s, json.Unmarshal([]byte(dns), &s.DNSServers)
}

// addr reads a stored address; empty or damaged text is no address.
func addr(s string) netip.Addr {
	a, _ := netip.ParseAddr(s)
	return a
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Subnets lists all subnets.
func (v *View) Subnets() ([]metal.Subnet, error) {
	return all(v, scanSubnet, "SELECT "+subnetCols+" FROM subnets ORDER BY id")
}

// Subnet returns a subnet. Kinds: NotFound.
func (v *View) Subnet(id int64) (metal.Subnet, error) {
	return one(v, authz.NounSubnet, scanSubnet, "SELECT "+subnetCols+" FROM subnets WHERE id = ?", id)
}

func subnetArgs(s metal.Subnet) []any {
	dns := s.DNSServers
	if dns == nil {
		dns = []netip.Addr{}
	}
	return []any{s.VLANID, s.Name, s.Description, s.CIDR.String(), addrText(s.Gateway), toJSON(dns), bit(s.Managed)}
}

// AddSubnet inserts a subnet and sets its ID. Kinds: Conflict when the network exists.
func (t *Tx) AddSubnet(s *metal.Subnet) (err error) {
	s.ID, err = t.insert("INSERT INTO subnets (vlan_id, name, description, cidr, gateway, dns_servers, managed) VALUES (?, ?, ?, ?, ?, ?, ?)", subnetArgs(*s)...)
	t.touch(subnetTarget(s.ID), true)
	return err
}

// PutSubnet updates a subnet.
func (t *Tx) PutSubnet(s metal.Subnet) error {
	t.touch(subnetTarget(s.ID), false)
	_, err := t.exec("UPDATE subnets SET vlan_id = ?, name = ?, description = ?, cidr = ?, gateway = ?, dns_servers = ?, managed = ? WHERE id = ?",
		append(subnetArgs(s), s.ID)...)
	return err
}

// DeleteSubnet deletes a subnet with its ranges.
func (t *Tx) DeleteSubnet(id int64) error {
	t.touch(subnetTarget(id), false)
	_, err := t.exec("DELETE FROM subnets WHERE id = ?", id)
	return err
}

const rangeCols = "id, subnet_id, type, start_ip, end_ip, comment, username"

func scanRange(scan func(...any) error) (r metal.IPRange, err error) {
	var start, end string
	err = scan(&r.ID, &r.SubnetID, &r.Type, &start, &end, &r.Comment, &r.User)
	r.Start, r.End = addr(start), addr(end)
	return r, err
}

// IPRanges lists all ranges, or those of one subnet if id is not 0.
func (v *View) IPRanges(subnetID int64) ([]metal.IPRange, error) {
	if subnetID == 0 {
		return all(v, scanRange, "SELECT "+rangeCols+" FROM ip_ranges ORDER BY id")
	}
	return all(v, scanRange, "SELECT "+rangeCols+" FROM ip_ranges WHERE subnet_id = ? ORDER BY id", subnetID)
}

// IPRange returns a range. Kinds: NotFound.
func (v *View) IPRange(id int64) (metal.IPRange, error) {
	return one(v, authz.NounSubnet, scanRange, "SELECT "+rangeCols+" FROM ip_ranges WHERE id = ?", id)
}

// AddIPRange inserts a range and sets its ID.
func (t *Tx) AddIPRange(r *metal.IPRange) (err error) {
	t.touch(subnetTarget(r.SubnetID), false)
	r.ID, err = t.insert("INSERT INTO ip_ranges (subnet_id, type, start_ip, end_ip, comment, username) VALUES (?, ?, ?, ?, ?, ?)",
		r.SubnetID, string(r.Type), addrText(r.Start), addrText(r.End), r.Comment, r.User)
	return err
}

// PutIPRange updates a range, which stays in its subnet.
func (t *Tx) PutIPRange(r metal.IPRange) error {
	t.touch(subnetTarget(r.SubnetID), false)
	_, err := t.exec("UPDATE ip_ranges SET type = ?, start_ip = ?, end_ip = ?, comment = ? WHERE id = ? AND subnet_id = ?",
		string(r.Type), addrText(r.Start), addrText(r.End), r.Comment, r.ID, r.SubnetID)
	return err
}

// DeleteIPRange deletes a range.
func (t *Tx) DeleteIPRange(r metal.IPRange) error {
	t.touch(subnetTarget(r.SubnetID), false)
	_, err := t.exec("DELETE FROM ip_ranges WHERE id = ?", r.ID)
	return err
}

// PutLeases records what a rack's DHCP server handed out: an observation.
func (t *Tx) PutLeases(rackID string, leases []metal.Lease) error {
	for _, l := range leases {
		_, err := t.exec(`INSERT INTO leases (ip, mac, hostname, expires, rack_id) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (ip) DO UPDATE SET mac = excluded.mac, hostname = excluded.hostname, expires = excluded.expires, rack_id = excluded.rack_id`,
			addrText(l.IP), string(l.MAC), metal.Printable(l.Hostname, 253), micros(l.Expires), rackID)
		if err != nil {
			return err
		}
	}
	return nil
}

// Leases lists the leases of a rack that have not expired; all racks' if rackID is empty.
func (v *View) Leases(rackID string, now time.Time) ([]metal.Lease, error) {
	return all(v, func(scan func(...any) error) (l metal.Lease, err error) {
		var ip string
		var expires int64
		err = scan(&ip, &l.MAC, &l.Hostname, &expires)
		l.IP, l.Expires = addr(ip), fromMicros(expires)
		return l, err
	}, "SELECT ip, mac, hostname, expires FROM leases WHERE expires > ? AND (rack_id = ? OR ? = '') ORDER BY ip", micros(now), rackID, rackID)
}

func toJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic("cannot encode " + err.Error()) // only our own types come here
	}
	return string(b)
}
