package ui

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/networks"
)

// fabricView is a fabric with what is on it.
type fabricView struct {
	metal.Fabric
	VLANs []vlanView
}

type vlanView struct {
	metal.VLAN
	Fabric  string
	Rack    string // host name of the primary rack
	Subnets []subnetView
}

type subnetView struct {
	metal.Subnet
	VLAN     string
	Ranges   []metal.IPRange
	Dynamic  int // addresses that DHCP may hand out
	Reserved int
}

// network arranges the model as people think of it.
func (q *request) network() ([]fabricView, error) {
	m, err := q.ui.Networks.Model(q.http.Context())
	if err != nil {
		return nil, err
	}
	racks, err := q.racks()
	return arrange(m, racks), err
}

func arrange(m networks.Model, racks []metal.Controller) (out []fabricView) {
	for _, f := range m.Fabrics {
		fv := fabricView{Fabric: f}
		for _, v := range m.VLANs {
			if v.FabricID != f.ID {
				continue
			}
			vv := vlanView{VLAN: v, Fabric: f.Name}
			if i := slices.IndexFunc(racks, func(c metal.Controller) bool { return c.SystemID == v.PrimaryRack }); i >= 0 {
				vv.Rack = racks[i].Hostname
			}
			for _, s := range m.Subnets {
				if s.VLANID != v.ID {
					continue
				}
				sv := subnetView{Subnet: s, VLAN: f.Name + " / " + v.Name}
				for _, r := range m.Ranges {
					if r.SubnetID != s.ID {
						continue
					}
					sv.Ranges = append(sv.Ranges, r)
					switch {
					case !r.Start.Is4() || !r.End.Is4():
					case r.Type == metal.RangeDynamic:
						sv.Dynamic += r.Size()
					default:
						sv.Reserved += r.Size()
					}
				}
				vv.Subnets = append(vv.Subnets, sv)
			}
			fv.VLANs = append(fv.VLANs, vv)
		}
		out = append(out, fv)
	}
	return out
}

func (q *request) subnets() error {
	fabrics, err := q.network()
	if err != nil {
		return err
	}
	return q.show("subnets", "Subnets", fabrics)
}

// pathID is a number of the address; 0, which nothing has, when it is none.
func (q *request) pathID(name string) int64 {
	n, _ := strconv.ParseInt(q.http.PathValue(name), 10, 64)
	return n
}

func (q *request) theSubnet() (s subnetView, err error) {
	fabrics, err := q.network()
	if err != nil {
		return s, err
	}
	for _, f := range fabrics {
		for _, v := range f.VLANs {
			for _, s := range v.Subnets {
				if s.ID == q.pathID("id") {
					return s, nil
				}
			}
		}
	}
	return s, authz.NotFound(authz.NounSubnet)
}

func (q *request) subnet() error {
	s, err := q.theSubnet()
	if err != nil {
		return err
	}
	return q.show("subnet", "Subnet "+s.Name, s)
}

// subnetDone ends a change of a subnet or its ranges.
func (q *request) subnetDone(err error, notice string) error {
	if err == nil {
		return q.redirect("/subnets/"+q.http.PathValue("id"), notice)
	}
	s, missing := q.theSubnet()
	if missing != nil {
		return missing
	}
	return q.again(err, "subnet", "Subnet "+s.Name, s)
}

// addresses reads addresses separated by commas or blanks.
func addresses(field, text string, bad fault.Fields) (list []netip.Addr) {
	for _, one := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' }) {
		a, err := netip.ParseAddr(one)
		if err != nil {
			bad.Add(field, "%.64q is not an IP address.", one)
			continue
		}
		list = append(list, a)
	}
	return list
}

// address reads one address, which may be left out.
func address(field, text string, bad fault.Fields) netip.Addr {
	list := addresses(field, text, bad)
	switch len(list) {
	case 0:
		return netip.Addr{}
	case 1:
		return list[0]
	}
	bad.Add(field, "Enter one address.")
	return netip.Addr{}
}

func (q *request) saveSubnet() error {
	bad := fault.Fields{}
	gateway, dns := address("gateway_ip", q.get("gateway_ip"), bad), addresses("dns_servers", q.get("dns_servers"), bad)
	err := bad.Err()
	if err == nil {
		_, err = q.ui.Networks.UpdateSubnet(q.http.Context(), q.pathID("id"), func(s *metal.Subnet) {
			s.Name, s.Description = q.get("name"), metal.Printable(q.get("description"), 1024)
			s.Gateway, s.DNSServers = gateway, dns
		})
	}
	return q.subnetDone(err, "saved")
}

func (q *request) createRange() error {
	bad := fault.Fields{}
	r := metal.IPRange{SubnetID: q.pathID("id"), Type: metal.RangeType(q.get("type")), Comment: metal.Printable(q.get("comment"), 255),
		Start: address("start_ip", q.get("start_ip"), bad), End: address("end_ip", q.get("end_ip"), bad)}
	err := bad.Err()
	if err == nil {
		_, err = q.ui.Networks.CreateRange(q.http.Context(), r)
	}
	return q.subnetDone(err, "added")
}

func (q *request) deleteRange() error {
	return q.subnetDone(q.ui.Networks.DeleteRange(q.http.Context(), q.pathID("range")), "deleted")
}

func (q *request) newSubnet() error {
	fabrics, err := q.network()
	if err != nil {
		return err
	}
	return q.show("subnet_new", "Add subnet", fabrics)
}

func (q *request) createSubnet() error {
	bad := fault.Fields{}
	s := metal.Subnet{Name: q.get("name"), Managed: true, Gateway: address("gateway_ip", q.get("gateway_ip"), bad), DNSServers: addresses("dns_servers", q.get("dns_servers"), bad)}
	s.VLANID, _ = strconv.ParseInt(q.get("vlan"), 10, 64)
	s.CIDR, _ = netip.ParsePrefix(q.get("cidr")) // an invalid one is complained about by its own rules
	err := bad.Err()
	if err == nil {
		if s, err = q.ui.Networks.CreateSubnet(q.http.Context(), s); err == nil {
			return q.redirect("/subnets/"+authz.ID(s.ID), "added")
		}
	}
	fabrics, missing := q.network()
	if missing != nil {
		return missing
	}
	return q.again(err, "subnet_new", "Add subnet", fabrics)
}

func (q *request) deleteSubnetForm() error {
	s, err := q.theSubnet()
	if err != nil {
		return err
	}
	return q.show("subnet_delete", "Delete subnet "+s.Name, s)
}

func (q *request) deleteSubnet() error {
	if err := q.ui.Networks.DeleteSubnet(q.http.Context(), q.pathID("id")); err != nil {
		return q.subnetDone(err, "")
	}
	return q.redirect("/subnets", "deleted")
}

// vlanData is a VLAN with the racks that could serve it.
type vlanData struct {
	vlanView
	Racks []metal.Controller
}

func (q *request) vlanData() (d vlanData, err error) {
	fabrics, err := q.network()
	if err != nil {
		return d, err
	}
	if d.Racks, err = q.racks(); err != nil {
		return d, err
	}
	for _, f := range fabrics {
		for _, v := range f.VLANs {
			if v.ID == q.pathID("id") {
				d.vlanView = v
				return d, nil
			}
		}
	}
	return d, authz.NotFound(authz.NounVLAN)
}

// racks lists the controllers that can serve a VLAN; none to who may not see controllers.
func (q *request) racks() ([]metal.Controller, error) {
	if !authz.May(q.who, authz.ControllerView) {
		return nil, nil
	}
	list, err := q.ui.Controllers.List(q.http.Context())
	return slices.DeleteFunc(list, func(c metal.Controller) bool { return c.Type == metal.NodeRegionController }), err
}

func (q *request) vlan() error {
	d, err := q.vlanData()
	if err != nil {
		return err
	}
	return q.show("vlan", "VLAN "+d.Name, d)
}

func (q *request) saveVLAN() error {
	mtu, _ := strconv.Atoi(q.get("mtu"))
	_, err := q.ui.Networks.UpdateVLAN(q.http.Context(), q.pathID("id"), func(v *metal.VLAN) {
		v.Name, v.MTU = metal.Printable(q.get("name"), 255), mtu
		v.DHCPOn, v.PrimaryRack = q.form.Has("dhcp_on"), q.get("primary_rack")
	})
	if err == nil {
		return q.redirect("/vlans/"+q.http.PathValue("id"), "saved")
	}
	d, missing := q.vlanData()
	if missing != nil {
		return missing
	}
	return q.again(err, "vlan", "VLAN "+d.Name, d)
}
