package api

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
)

// onModel answers from the network model.
func (a *API) onModel(fn func(model, *request) (any, error)) handler {
	return func(r *request) (any, error) {
		m, err := a.Networks.Model(r.ctx)
		if err != nil {
			return nil, err
		}
		return fn(model{m}, r)
	}
}

func (a *API) loadModel(ctx context.Context) (model, error) {
	m, err := a.Networks.Model(ctx)
	return model{m}, err
}

// fabricID finds a fabric of the path by id or name. Kinds: NotFound.
func (a *API) fabricID(r *request, param string) (int64, error) {
	m, err := a.loadModel(r.ctx)
	if err != nil {
		return 0, err
	}
	f, err := m.findFabric(r.path[param])
	return f.ID, err
}

func (m model) findFabric(key string) (metal.Fabric, error) {
	for _, f := range m.Fabrics {
		if f.Name == key || strconv.FormatInt(f.ID, 10) == key {
			return f, nil
		}
	}
	return metal.Fabric{}, authz.NotFound(authz.NounFabric)
}

// findSubnet finds a subnet by id, name or CIDR, with or without "cidr:" and the like in front.
func (m model) findSubnet(key string) (metal.Subnet, error) {
	for _, prefix := range []string{"cidr:", "id:", "name:"} {
		key = strings.TrimPrefix(key, prefix)
	}
	for _, s := range m.Subnets {
		if s.Name == key || strconv.FormatInt(s.ID, 10) == key || s.CIDR.String() == key {
			return s, nil
		}
	}
	return metal.Subnet{}, authz.NotFound(authz.NounSubnet)
}

// findVLAN finds the VLAN of the path, by fabric and VID or by id.
func (m model) findVLAN(r *request) (metal.VLAN, error) {
	for _, v := range m.VLANs {
		if key, ok := r.path["vlan_id"]; ok {
			if strconv.FormatInt(v.ID, 10) == key {
				return v, nil
			}
			continue
		}
		f, err := m.findFabric(r.path["fabric_id"])
		if err != nil {
			return metal.VLAN{}, err
		}
		if v.FabricID == f.ID && strconv.Itoa(v.VID) == r.path["vid"] {
			return v, nil
		}
	}
	return metal.VLAN{}, authz.NotFound(authz.NounVLAN)
}

func (a *API) createFabric(r *request) (any, error) {
	f, err := a.Networks.CreateFabric(r.ctx, metal.Fabric{Name: r.form.Get("name"), ClassType: r.form.Get("class_type")})
	if err != nil {
		return nil, err
	}
	m, err := a.loadModel(r.ctx)
	return m.fabric(f), err
}

func (a *API) readFabric(m model, r *request) (any, error) {
	f, err := m.findFabric(r.path["id"])
	return m.fabric(f), err
}

func (a *API) updateFabric(r *request) (any, error) {
	id, err := a.fabricID(r, "id")
	if err != nil {
		return nil, err
	}
	f, err := a.Networks.UpdateFabric(r.ctx, id, func(f *metal.Fabric) {
		if v := r.get("name"); v != nil && *v != "" {
			f.Name = *v
		}
		if v := r.get("class_type"); v != nil {
			f.ClassType = *v
		}
	})
	if err != nil {
		return nil, err
	}
	m, err := a.loadModel(r.ctx)
	return m.fabric(f), err
}

func (a *API) listVLANs(m model, r *request) (any, error) {
	f, err := m.findFabric(r.path["fabric_id"])
	return m.fabric(f).VLANs, err
}

func (a *API) readVLAN(m model, r *request) (any, error) {
	v, err := m.findVLAN(r)
	return m.vlan(v), err
}

// vlanChange reads the fields of a VLAN. Kinds: Invalid.
func vlanChange(r *request) (func(*metal.VLAN), error) {
	vid, err := r.number("vid")
	if err != nil {
		return nil, err
	}
	mtu, err := r.number("mtu")
	if err != nil {
		return nil, err
	}
	on, err := metal.ParseBool(r.form.Get("dhcp_on"))
	if err != nil {
		return nil, fault.Field("dhcp_on", "%s", fault.Message(err))
	}
	return func(v *metal.VLAN) {
		if r.form.Get("vid") != "" {
			v.VID = vid
		}
		if mtu != 0 {
			v.MTU = mtu
		}
		if x := r.get("name"); x != nil {
			v.Name = metal.Printable(*x, 255)
		}
		if r.get("dhcp_on") != nil {
			v.DHCPOn = on
		}
		if x := r.get("primary_rack"); x != nil {
			v.PrimaryRack = *x
		}
	}, nil
}

func (a *API) createVLAN(r *request) (any, error) {
	change, err := vlanChange(r)
	if err != nil {
		return nil, err
	}
	id, err := a.fabricID(r, "fabric_id")
	if err != nil {
		return nil, err
	}
	v := metal.VLAN{FabricID: id, MTU: 1500}
	change(&v)
	if v, err = a.Networks.CreateVLAN(r.ctx, v); err != nil {
		return nil, err
	}
	m, err := a.loadModel(r.ctx)
	return m.vlan(v), err
}

func (a *API) updateVLAN(r *request) (any, error) {
	change, err := vlanChange(r)
	if err != nil {
		return nil, err
	}
	m, err := a.loadModel(r.ctx)
	if err != nil {
		return nil, err
	}
	v, err := m.findVLAN(r)
	if err != nil {
		return nil, err
	}
	if v, err = a.Networks.UpdateVLAN(r.ctx, v.ID, change); err != nil {
		return nil, err
	}
	m, err = a.loadModel(r.ctx)
	return m.vlan(v), err
}

func (a *API) deleteVLAN(r *request) (any, error) {
	m, err := a.loadModel(r.ctx)
	if err != nil {
		return nil, err
	}
	v, err := m.findVLAN(r)
	if err != nil {
		return nil, err
	}
	return nil, a.Networks.DeleteVLAN(r.ctx, v.ID)
}

// subnetChange reads the fields of a subnet. Kinds: Invalid.
func (a *API) subnetChange(r *request) (func(*metal.Subnet), error) {
	bad := fault.Fields{}
	var cidr netip.Prefix
	var gateway netip.Addr
	var dns []netip.Addr
	var vlan int64
	var err error
	if text := r.form.Get("cidr"); text != "" {
		if cidr, err = netip.ParsePrefix(text); err != nil {
			bad.Add("cidr", "'%.64s' is not a network in CIDR notation, such as 10.0.0.0/24.", text)
		}
	}
	if text := r.form.Get("gateway_ip"); text != "" {
		if gateway, err = netip.ParseAddr(text); err != nil {
			bad.Add("gateway_ip", "'%.64s' is not an IP address.", text)
		}
	}
	for _, text := range r.list("dns_servers") {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			bad.Add("dns_servers", "'%.64s' is not an IP address.", text)
		}
		dns = append(dns, ip)
	}
	if text := r.form.Get("vlan"); text != "" {
		if vlan, err = strconv.ParseInt(strings.TrimPrefix(text, "id:"), 10, 64); err != nil {
			bad.Add("vlan", "Enter the id of a VLAN.")
		}
	}
	managed := true
	if v := r.get("managed"); v != nil {
		if managed, err = metal.ParseBool(*v); err != nil {
			bad.AddErr("managed", err)
		}
	}
	return func(s *metal.Subnet) {
		if cidr.IsValid() {
			s.CIDR = cidr
		}
		if v := r.get("name"); v != nil && *v != "" {
			s.Name = *v
		}
		if v := r.get("description"); v != nil {
			s.Description = metal.Printable(*v, 4096)
		}
		if r.get("gateway_ip") != nil {
			s.Gateway = gateway
		}
		if r.get("dns_servers") != nil {
			s.DNSServers = dns
		}
		if vlan != 0 {
			s.VLANID = vlan
		}
		if r.get("managed") != nil {
			s.Managed = managed
		}
	}, bad.Err()
}

func (a *API) createSubnet(r *request) (any, error) {
	change, err := a.subnetChange(r)
	if err != nil {
		return nil, err
	}
	s := metal.Subnet{Managed: true}
	change(&s)
	if s, err = a.Networks.CreateSubnet(r.ctx, s); err != nil {
		return nil, err
	}
	m, err := a.loadModel(r.ctx)
	return m.subnet(s), err
}

func (a *API) subnetByPath(r *request) (metal.Subnet, error) {
	m, err := a.loadModel(r.ctx)
	if err != nil {
		return metal.Subnet{}, err
	}
	return m.findSubnet(r.path["id"])
}

func (a *API) updateSubnet(r *request) (any, error) {
	change, err := a.subnetChange(r)
	if err != nil {
		return nil, err
	}
	s, err := a.subnetByPath(r)
	if err != nil {
		return nil, err
	}
	if s, err = a.Networks.UpdateSubnet(r.ctx, s.ID, change); err != nil {
		return nil, err
	}
	m, err := a.loadModel(r.ctx)
	return m.subnet(s), err
}

// rangeChange reads the fields of a range. Kinds: Invalid.
func rangeChange(r *request) (func(*metal.IPRange), error) {
	bad := fault.Fields{}
	address := func(name string) (ip netip.Addr) {
		if text := r.form.Get(name); text != "" {
			var err error
			if ip, err = netip.ParseAddr(text); err != nil {
				bad.Add(name, "'%.64s' is not an IP address.", text)
			}
		}
		return ip
	}
	start, end := address("start_ip"), address("end_ip")
	return func(x *metal.IPRange) {
		if start.IsValid() {
			x.Start = start
		}
		if end.IsValid() {
			x.End = end
		}
		if v := r.get("type"); v != nil {
			x.Type = metal.RangeType(*v)
		}
		if v := r.get("comment"); v != nil {
			x.Comment = metal.Printable(*v, 255)
		}
	}, bad.Err()
}

func (a *API) createRange(r *request) (any, error) {
	change, err := rangeChange(r)
	if err != nil {
		return nil, err
	}
	m, err := a.loadModel(r.ctx)
	if err != nil {
		return nil, err
	}
	var x metal.IPRange
	change(&x)
	if key := r.form.Get("subnet"); key != "" {
		s, err := m.findSubnet(key)
		if err != nil {
			return nil, fault.Field("subnet", "No such subnet: '%.64s'.", key)
		}
		x.SubnetID = s.ID
	} else {
		i := slices.IndexFunc(m.Subnets, func(s metal.Subnet) bool { return s.CIDR.Contains(x.Start) })
		if i < 0 {
			return nil, fault.Field("subnet", "No subnet contains %s; create it first.", x.Start)
		}
		x.SubnetID = m.Subnets[i].ID
	}
	if x, err = a.Networks.CreateRange(r.ctx, x); err != nil {
		return nil, err
	}
	return m.ipRange(x), nil
}

func (a *API) readRange(m model, r *request) (any, error) {
	for _, x := range m.Ranges {
		if strconv.FormatInt(x.ID, 10) == r.path["id"] {
			return m.ipRange(x), nil
		}
	}
	return nil, fault.New(fault.NotFound, "No IPRange matches the given query.")
}

func (a *API) updateRange(r *request) (any, error) {
	change, err := rangeChange(r)
	if err != nil {
		return nil, err
	}
	id, err := r.id("id", authz.NounSubnet)
	if err != nil {
		return nil, err
	}
	x, err := a.Networks.UpdateRange(r.ctx, id, change)
	if err != nil {
		return nil, err
	}
	m, err := a.loadModel(r.ctx)
	return m.ipRange(x), err
}
