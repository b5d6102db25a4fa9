package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/region/store"
)

var capabilities = []string{"networks-management", "static-ipaddresses", "ipv6-deployment-ubuntu", "devices-management", "storage-deployment-ubuntu",
	"network-deployment-ubuntu", "bridging-interface-ubuntu", "bridging-automatic-ubuntu", "authenticate-api"}

// MAASVersion is the version of MAAS whose API this is: clients compare it. Ours is the subversion.
const MAASVersion = "3.7.0"

// bind gives every row of the table its handler.
func (a *API) bind() map[string]handler {
	all := a.bindCore()
	maps.Copy(all, a.bindAccount())
	maps.Copy(all, a.bindUsers())
	maps.Copy(all, a.bindAccess())
	return all
}

func (a *API) bindCore() map[string]handler {
	return map[string]handler{
		"version.read": func(*request) (any, error) {
			return map[string]any{"version": MAASVersion, "subversion": "metalward-" + a.Version, "capabilities": capabilities}, nil
		},
		"maas.get_config": a.getConfig,
		"maas.set_config": a.setConfig,

		"machines.list":           a.listMachines,
		"machines.create":         a.createMachine,
		"machines.accept":         a.acceptMachines,
		"machines.accept_all":     a.acceptAll,
		"machines.allocate":       a.allocate,
		"machines.list_allocated": a.listAllocated,
		"machines.release":        a.releaseMachines,
		"machine.read":            func(r *request) (any, error) { return a.machine(r.ctx, r.path["system_id"]) },
		"machine.update":          a.updateMachine,
		"machine.delete":          func(r *request) (any, error) { return nil, a.Machines.Delete(r.ctx, r.path["system_id"]) },
		"machine.abort": a.onMachine(func(r *request, id string) (metal.Machine, error) {
			return a.Machines.Abort(r.ctx, id, r.form.Get("comment"))
		}),
		"machine.commission": a.onMachine(func(r *request, id string) (metal.Machine, error) {
			return a.Machines.Commission(r.ctx, id, r.form.Get("comment"))
		}),
		"machine.deploy": a.onMachine(func(r *request, id string) (metal.Machine, error) {
			return a.Machines.Deploy(r.ctx, id, machines.DeployRequest{Series: r.form.Get("distro_series"), UserData: r.form.Get("user_data"),
				AgentName: r.form.Get("agent_name"), Comment: r.form.Get("comment")})
		}),
		"machine.details": a.machineDetails,
		"machine.lock":    a.onMachine(func(r *request, id string) (metal.Machine, error) { return a.Machines.SetLock(r.ctx, id, true) }),
		"machine.unlock":  a.onMachine(func(r *request, id string) (metal.Machine, error) { return a.Machines.SetLock(r.ctx, id, false) }),
		"machine.power_off": a.onMachine(func(r *request, id string) (metal.Machine, error) {
			return a.Machines.Power(r.ctx, id, metal.ActionOff, "", r.form.Get("comment"))
		}),
		"machine.power_on": a.onMachine(func(r *request, id string) (metal.Machine, error) {
			return a.Machines.Power(r.ctx, id, metal.ActionOn, r.form.Get("user_data"), r.form.Get("comment"))
		}),
		"machine.power_parameters": func(r *request) (any, error) {
			p, _, err := a.Machines.PowerParameters(r.ctx, r.path["system_id"])
			if p == nil {
				p = metal.PowerParameters{}
			}
			return p, err
		},
		"machine.query_power_state": func(r *request) (any, error) {
			st, err := a.Machines.QueryPower(r.ctx, r.path["system_id"])
			return map[string]string{"state": string(st)}, err
		},
		"machine.release": a.onMachine(a.release),

		"events.query": a.events,
		"results.list": a.results,
		"result.read":  a.result,

		"pools.list": func(r *request) (any, error) {
			list, err := a.Machines.Pools(r.ctx)
			return each(list, poolJSON), err
		},
		"pools.create": a.createPool,
		"pool.read": func(r *request) (any, error) {
			p, err := a.pool(r)
			return poolJSON(p), err
		},
		"pool.update": a.updatePool,
		"pool.delete": a.deletePool,
		"zones.list": func(r *request) (any, error) {
			list := []namedJSON{}
			return &list, a.Gate.View(r.ctx, authz.ZoneView, func(v *gate.Viewing) error {
				zones, err := v.Zones()
				for _, z := range zones {
					list = append(list, zoneJSON(z))
				}
				return err
			})
		},
		"zones.create": a.createZone,
		"zone.read": func(r *request) (any, error) {
			z, err := a.zone(r)
			return zoneJSON(z), err
		},
		"zone.update": a.updateZone,
		"zone.delete": a.deleteZone,

		"sshkeys.list": func(r *request) (any, error) {
			keys, err := a.Identity.SSHKeys(r.ctx)
			return each(keys, sshKeyJSON), err
		},
		"sshkeys.create": func(r *request) (any, error) {
			k, err := a.Identity.AddSSHKey(r.ctx, r.form.Get("key"))
			return sshKeyJSON(k), err
		},
		"sshkey.read": a.readSSHKey,
		"sshkey.delete": func(r *request) (any, error) {
			id, err := strconv.ParseInt(r.path["id"], 10, 64)
			if err != nil {
				return nil, fault.New(fault.NotFound, "No SSHKey matches the given query.")
			}
			return nil, a.Identity.DeleteSSHKey(r.ctx, id)
		},

		"fabrics.list":   a.onModel(func(m model, _ *request) (any, error) { return each(m.Fabrics, m.fabric), nil }),
		"fabrics.create": a.createFabric,
		"fabric.read":    a.onModel(a.readFabric),
		"fabric.update":  a.updateFabric,
		"fabric.delete": func(r *request) (any, error) {
			id, err := a.fabricID(r, "id")
			if err != nil {
				return nil, err
			}
			return nil, a.Networks.DeleteFabric(r.ctx, id)
		},
		"vlans.list":    a.onModel(a.listVLANs),
		"vlans.create":  a.createVLAN,
		"vlan.read":     a.onModel(a.readVLAN),
		"vlan.update":   a.updateVLAN,
		"vlan.delete":   a.deleteVLAN,
		"vlanid.read":   a.onModel(a.readVLAN),
		"vlanid.update": a.updateVLAN,
		"vlanid.delete": a.deleteVLAN,

		"subnets.list":   a.onModel(func(m model, _ *request) (any, error) { return each(m.Subnets, m.subnet), nil }),
		"subnets.create": a.createSubnet,
		"subnet.read": a.onModel(func(m model, r *request) (any, error) {
			s, err := m.findSubnet(r.path["id"])
			return m.subnet(s), err
		}),
		"subnet.update": a.updateSubnet,
		"subnet.delete": func(r *request) (any, error) {
			s, err := a.subnetByPath(r)
			if err != nil {
				return nil, err
			}
			return nil, a.Networks.DeleteSubnet(r.ctx, s.ID)
		},
		"ipranges.list":   a.onModel(func(m model, _ *request) (any, error) { return each(m.Ranges, m.ipRange), nil }),
		"ipranges.create": a.createRange,
		"iprange.read":    a.onModel(a.readRange),
		"iprange.update":  a.updateRange,
		"iprange.delete": func(r *request) (any, error) {
			id, err := r.id("id", authz.NounSubnet)
			if err != nil {
				return nil, err
			}
			return nil, a.Networks.DeleteRange(r.ctx, id)
		},

		"images.list": func(r *request) (any, error) {
			list, err := a.Images.List(r.ctx)
			return each(list, func(b metal.BootResource) any { return imageJSON(b, false) }), err
		},
		"images.create": a.createImage,
		"image.read": func(r *request) (any, error) {
			id, err := r.id("id", authz.NounImage)
			if err != nil {
				return nil, err
			}
			b, err := a.Images.Get(r.ctx, id)
			return imageJSON(b, true), err
		},
		"image.delete": func(r *request) (any, error) {
			id, err := r.id("id", authz.NounImage)
			if err != nil {
				return nil, err
			}
			return nil, a.Images.Delete(r.ctx, id)
		},
		"image.upload": a.uploadImage,

		"racks.list": a.listControllers(func(t metal.NodeType) bool { return t == metal.NodeRackController || t == metal.NodeRegionAndRack }),
		"racks.describe_power_types": func(*request) (any, error) {
			return each(metal.PowerTypes, powerTypeJSON), nil
		},
		"rack.read":    a.readController,
		"rack.delete":  func(r *request) (any, error) { return nil, a.Controllers.Remove(r.ctx, r.path["system_id"]) },
		"regions.list": a.listControllers(func(t metal.NodeType) bool { return t == metal.NodeRegionController || t == metal.NodeRegionAndRack }),
		"region.read":  a.readController,
	}
}

// each renders a list; an empty one is [], never null.
func each[T, J any](list []T, render func(T) J) []J {
	out := make([]J, 0, len(list))
	for _, x := range list {
		out = append(out, render(x))
	}
	return out
}

// onMachine answers with the machine after a change.
func (a *API) onMachine(fn func(*request, string) (metal.Machine, error)) handler {
	return func(r *request) (any, error) {
		m, err := fn(r, r.path["system_id"])
		if err != nil {
			return nil, err
		}
		return a.rendered(r.ctx, m.SystemID)
	}
}

func (a *API) getConfig(r *request) (any, error) {
	var value any
	err := a.Gate.View(r.ctx, authz.SettingView, func(v *gate.Viewing) (err error) {
		value, err = v.SettingValue(r.form.Get("name"))
		return err
	})
	return value, err
}

func (a *API) setConfig(r *request) (any, error) {
	name := r.form.Get("name")
	return text{http.StatusOK, "OK"}, a.Gate.Do(r.ctx, authz.SettingEdit, func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounSetting, ID: name}); err != nil {
			return err
		}
		s, ok := metal.FindSetting(name)
		if !ok {
			return fault.Field("name", "%.64s is not a valid config setting.", name)
		}
		value, err := s.Parse(r.form.Get("value"))
		if err != nil {
			return err
		}
		c.Note("value", value)
		return c.Tx().PutSetting(name, value)
	})
}

// query reads the filters of a list of machines, or the constraints of an allocation. Kinds: Invalid.
func (a *API) query(r *request) (q store.MachineQuery, err error) {
	bad := fault.Fields{}
	q = store.MachineQuery{SystemIDs: append(r.list("id"), r.list("system_id")...), MACs: r.list("mac_address"), Zones: r.list("zone"), Pools: r.list("pool"),
		Owners: r.list("owner"), Arches: r.list("arch"), Tags: r.list("tags"), Power: r.list("power_state"), NotZones: r.list("not_in_zone"),
		NotPools: r.list("not_in_pool"), NotTags: r.list("not_tags"), NotSystemIDs: append(r.list("not_id"), r.list("not_system_id")...), NotOwners: r.list("not_owner"),
		NotStatuses: r.list("not_status")}
	for _, h := range append(r.list("hostname"), r.list("name")...) {
		q.Hostnames = append(q.Hostnames, strings.TrimSuffix(strings.ToLower(h), "."+metal.DefaultDomain))
	}
	for i, text := range q.MACs {
		mac, err := metal.ParseMAC(text)
		bad.AddErr("mac_address", err)
		q.MACs[i] = string(mac)
	}
	for _, s := range r.list("status") {
		st, ok := metal.ParseStatus(s)
		if !ok {
			bad.Add("status", "'%.32s' is not a valid status.", s)
		}
		q.Statuses = append(q.Statuses, st)
	}
	for _, d := range r.list("domain") {
		if d != metal.DefaultDomain && d != "0" {
			bad.Add("domain", "No such domain: '%.64s'.", d)
		}
	}
	for _, s := range q.NotStatuses {
		if _, ok := metal.ParseStatus(s); !ok {
			bad.Add("not_status", "'%.32s' is not a valid status.", s)
		}
	}
	n, err := r.number("cpu_count")
	if f, ok := fault.As(err); ok {
		maps.Copy(bad, f.Fields)
	}
	q.MinCPU = n
	n, err = r.number("mem")
	if f, ok := fault.As(err); ok {
		maps.Copy(bad, f.Fields)
	}
	q.MinMemory = int64(n)
	if err := bad.Err(); err != nil {
		return q, err
	}
	return q, a.checkNames(r, q)
}

// checkNames refuses zones and pools that do not exist: MAAS answers 400, not "no machine".
func (a *API) checkNames(r *request, q store.MachineQuery) error {
	if len(q.Zones)+len(q.Pools)+len(q.NotZones)+len(q.NotPools)+len(q.Arches) == 0 {
		return nil
	}
	bad := fault.Fields{}
	err := a.Gate.View(r.ctx, authz.PoolView, func(v *gate.Viewing) error {
		pools, err := v.PoolsIn(authz.Pools(v.Principal()))
		if err != nil {
			return err
		}
		zones, err := v.Zones()
		if err != nil {
			return err
		}
		unknown := func(field string, names []string, known func(string) bool) {
			for _, n := range names {
				if !known(n) {
					bad.Add(field, "No such %s: '%.64s'.", strings.TrimPrefix(field, "not_in_"), n)
				}
			}
		}
		isPool := func(n string) bool {
			return slices.ContainsFunc(pools, func(p metal.ResourcePool) bool { return p.Name == n })
		}
		isZone := func(n string) bool {
			return slices.ContainsFunc(zones, func(z metal.Zone) bool { return z.Name == n })
		}
		unknown("pool", q.Pools, isPool)
		unknown("not_in_pool", q.NotPools, isPool)
		unknown("zone", q.Zones, isZone)
		unknown("not_in_zone", q.NotZones, isZone)
		unknown("arch", q.Arches, func(n string) bool { return n == "amd64" || n == "amd64/generic" })
		return nil
	})
	if err != nil {
		return err
	}
	return bad.Err()
}

func (a *API) listMachines(r *request) (any, error) {
	q, err := a.query(r)
	if err != nil {
		return nil, err
	}
	if v := r.get("agent_name"); v != nil {
		q.AgentName = *v
	}
	return a.streamMachines(r.ctx, q)
}

func (a *API) listAllocated(r *request) (any, error) {
	return a.streamMachines(r.ctx, store.MachineQuery{SystemIDs: r.list("id"), Owners: []string{authz.From(r.ctx).Name}, Statuses: []metal.Status{metal.Allocated}})
}

// newMachine reads the fields of a create or update. Kinds: Invalid.
func newMachine(r *request) (n machines.NewMachine, err error) {
	n = machines.NewMachine{Hostname: r.get("hostname"), Description: r.get("description"), Architecture: r.get("architecture"), MACs: r.form["mac_addresses"],
		PowerType: r.get("power_type"), Pool: r.get("pool"), Zone: r.get("zone")}
	if n.Architecture != nil && !strings.Contains(*n.Architecture, "/") && r.form.Get("subarchitecture") != "" {
		full := *n.Architecture + "/" + r.form.Get("subarchitecture")
		n.Architecture = &full
	}
	if r.get("cpu_count") != nil {
		cpu, err := r.number("cpu_count")
		if err != nil {
			return n, err
		}
		n.CPUCount = &cpu
	}
	if r.get("memory") != nil {
		mem, err := r.number("memory")
		if err != nil {
			return n, err
		}
		mib := int64(mem)
		n.MemoryMiB = &mib
	}
	if text := r.form.Get("power_parameters"); text != "" {
		var doc map[string]any
		if json.Unmarshal([]byte(text), &doc) != nil {
			return n, fault.Field("power_parameters", "Send a JSON object.")
		}
		n.PowerParameters = metal.PowerParameters{}
		for k, v := range doc {
			switch v := v.(type) {
			case string:
				n.PowerParameters[k] = v
			case float64:
				n.PowerParameters[k] = strconv.FormatFloat(v, 'f', -1, 64)
			default:
				return n, fault.Field("power_parameters", "The value of %.32q is not a text or a number.", k)
			}
		}
	}
	for k, v := range r.form {
		if name, ok := strings.CutPrefix(k, "power_parameters_"); ok && name != "skip_check" && len(v) > 0 {
			if n.PowerParameters == nil {
				n.PowerParameters = metal.PowerParameters{}
			}
			n.PowerParameters[name] = v[0]
		}
	}
	return n, nil
}

func (a *API) createMachine(r *request) (any, error) {
	n, err := newMachine(r)
	if err != nil {
		return nil, err
	}
	n.Commission = true
	if v := r.get("commission"); v != nil {
		if n.Commission, err = metal.ParseBool(*v); err != nil {
			return nil, fault.Field("commission", "%s", fault.Message(err))
		}
	}
	if n.PowerType == nil || *n.PowerType == "" { // without a BMC there is nothing to commission it by
		n.Commission = false
	}
	m, err := a.Machines.Create(r.ctx, n)
	if err != nil {
		return nil, err
	}
	return a.rendered(r.ctx, m.SystemID)
}

func (a *API) updateMachine(r *request) (any, error) {
	n, err := newMachine(r)
	if err != nil {
		return nil, err
	}
	m, err := a.Machines.Update(r.ctx, r.path["system_id"], n)
	if err != nil {
		return nil, err
	}
	return a.rendered(r.ctx, m.SystemID)
}

func (a *API) acceptMachines(r *request) (any, error) {
	ids := r.list("machines")
	if err := a.Machines.MayAll(r.ctx, authz.MachineCommission, ids); err != nil {
		return nil, err
	}
	return a.accept(r, ids)
}

func (a *API) accept(r *request, ids []string) (any, error) {
	changed := []json.RawMessage{}
	for _, id := range ids {
		if _, err := a.Machines.Commission(r.ctx, id, ""); err != nil {
			return nil, err
		}
		raw, err := a.rendered(r.ctx, id)
		if err != nil {
			return nil, err
		}
		changed = append(changed, raw)
	}
	return changed, nil
}

func (a *API) acceptAll(r *request) (any, error) {
	list, _, err := a.Machines.List(r.ctx, store.MachineQuery{Statuses: []metal.Status{metal.New}})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, m := range list { // those that the caller may accept, of those that he sees
		if m.PowerType != "" && authz.Decide(authz.From(r.ctx), authz.MachineCommission, store.MachineTarget(m)) == authz.Allow {
			ids = append(ids, m.SystemID)
		}
	}
	return a.accept(r, ids)
}

func (a *API) allocate(r *request) (any, error) {
	q, err := a.query(r)
	if err != nil {
		return nil, err
	}
	dry, err := metal.ParseBool(r.form.Get("dry_run"))
	if err != nil {
		return nil, fault.Field("dry_run", "%s", fault.Message(err))
	}
	m, err := a.Machines.Allocate(r.ctx, q, r.form.Get("agent_name"), r.form.Get("comment"), dry, noneAvailable(r))
	if err != nil {
		return nil, err
	}
	raw, err := a.rendered(r.ctx, m.SystemID)
	if err != nil {
		return nil, err
	}
	// Juju fails without this key, and only this reply has it.
	return json.RawMessage(string(raw[:len(raw)-1]) + `,"constraints_by_type":{}}`), nil
}

// noneAvailable is MAAS's text for an allocation that finds nothing.
func noneAvailable(r *request) string {
	var used []string
	for name := range r.form {
		if name != "agent_name" && name != "comment" && name != "dry_run" && r.form.Get(name) != "" {
			used = append(used, name+"="+strings.Join(r.form[name], ","))
		}
	}
	slices.Sort(used)
	switch {
	case len(used) == 0:
		return "No machine available."
	case len(used) == 1 && strings.HasPrefix(used[0], "system_id="):
		return "No machine with system ID " + metal.Printable(r.form.Get("system_id"), 64) + " available."
	default:
		return "No available machine matches constraints: " + metal.Printable(strings.Join(used, " "), 400)
	}
}

func (a *API) release(r *request, id string) (metal.Machine, error) {
	req := machines.ReleaseRequest{Comment: r.form.Get("comment")}
	if v := r.get("erase"); v != nil {
		erase, err := metal.ParseBool(*v)
		if err != nil {
			return metal.Machine{}, fault.Field("erase", "%s", fault.Message(err))
		}
		req.Erase = &erase
	}
	quick, err := metal.ParseBool(r.form.Get("quick_erase"))
	if err != nil {
		return metal.Machine{}, fault.Field("quick_erase", "%s", fault.Message(err))
	}
	req.Quick = quick
	return a.Machines.Release(r.ctx, id, req)
}

func (a *API) releaseMachines(r *request) (any, error) {
	ids := r.list("machines")
	if err := a.Machines.MayAll(r.ctx, authz.MachineRelease, ids); err != nil {
		return nil, err
	}
	released := []string{}
	for _, id := range ids {
		if _, err := a.Machines.Release(r.ctx, id, machines.ReleaseRequest{Comment: r.form.Get("comment")}); err != nil {
			return nil, err
		}
		released = append(released, id)
	}
	return released, nil
}

// machineDetails answers with a BSON document of what commissioning found. Source: bsonspec.org, version 1.1:
// a document of binary elements.
func (a *API) machineDetails(r *request) (any, error) {
	d, err := a.Machines.Get(r.ctx, r.path["system_id"])
	if err != nil {
		return nil, err
	}
	inventory, err := marshal(map[string]any{"hardware": hardwareJSON(&d.Machine), "interfaces": each(d.Interfaces, nicPlain), "disks": each(d.Disks, blockJSON)})
	if err != nil {
		return nil, err
	}
	doc := []byte{}
	element := func(name string, data []byte) {
		doc = append(append(append(doc, 0x05), name...), 0)
		n := len(data)
		doc = append(doc, byte(n), byte(n>>8), byte(n>>16), byte(n>>24), 0)
		doc = append(doc, data...)
	}
	element("lshw", []byte{})
	element("lldp", []byte{})
	element("inventory", inventory)
	n := len(doc) + 5
	return blob{"application/bson", append(append([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}, doc...), 0)}, nil
}

func nicPlain(n metal.Interface) any {
	return map[string]any{"name": n.Name, "mac_address": string(n.MAC), "driver": n.Driver, "link_speed": n.LinkSpeedMbps, "link_connected": n.LinkUp}
}

func (a *API) results(r *request) (any, error) {
	output, err := metal.ParseBool(r.form.Get("include_output"))
	if err != nil {
		return nil, fault.Field("include_output", "%s", fault.Message(err))
	}
	sets, err := a.Machines.ScriptSets(r.ctx, r.path["system_id"], output)
	if err != nil {
		return nil, err
	}
	kinds := r.list("type")
	sets = slices.DeleteFunc(sets, func(s metal.ScriptSet) bool {
		return len(kinds) > 0 && !slices.Contains(kinds, strings.ToLower(s.Type.String())) && !slices.Contains(kinds, strconv.Itoa(int(s.Type)))
	})
	return each(filterResults(r, sets), func(s metal.ScriptSet) any { return scriptSetJSON(s, output) }), nil
}

func filterResults(r *request, sets []metal.ScriptSet) []metal.ScriptSet {
	names := r.list("filters")
	if len(names) == 0 {
		return sets
	}
	for i := range sets {
		sets[i].Results = slices.DeleteFunc(sets[i].Results, func(x metal.ScriptResult) bool { return !slices.Contains(names, x.Name) })
	}
	return sets
}

func (a *API) result(r *request) (any, error) {
	output, err := metal.ParseBool(r.form.Get("include_output"))
	if err != nil {
		return nil, fault.Field("include_output", "%s", fault.Message(err))
	}
	sets, err := a.Machines.ScriptSets(r.ctx, r.path["system_id"], output)
	if err != nil {
		return nil, err
	}
	for _, s := range filterResults(r, sets) {
		if r.path["id"] == strconv.FormatInt(s.ID, 10) || r.path["id"] == "current-"+strings.ToLower(s.Type.String()) {
			return scriptSetJSON(s, output), nil
		}
	}
	return nil, fault.New(fault.NotFound, "No ScriptSet matches the given query.")
}

// pool finds the pool of the path by id or name.
func (a *API) pool(r *request) (metal.ResourcePool, error) {
	return a.Machines.Pool(r.ctx, r.path["id"])
}

// named reads the name and description of a pool or zone.
func named(r *request, name, description *string) error {
	if v := r.get("name"); v != nil {
		*name = strings.TrimSpace(*v)
	}
	if v := r.get("description"); v != nil {
		*description = metal.Printable(*v, 4096)
	}
	return metal.ValidateNamed(*name)
}

func (a *API) createPool(r *request) (any, error) {
	p, err := a.Machines.CreatePool(r.ctx, strings.TrimSpace(r.form.Get("name")), r.form.Get("description"))
	return poolJSON(p), err
}

// onPool finds the pool of the path by id or name and runs a change of it.
func (a *API) onPool(r *request, fn func(id int64) (metal.ResourcePool, error)) (any, error) {
	p, err := a.pool(r)
	if err == nil {
		p, err = fn(p.ID)
	}
	return poolJSON(p), err
}

func (a *API) updatePool(r *request) (any, error) {
	return a.onPool(r, func(id int64) (metal.ResourcePool, error) {
		return a.Machines.UpdatePool(r.ctx, id, r.get("name"), r.get("description"))
	})
}

func (a *API) deletePool(r *request) (any, error) {
	_, err := a.onPool(r, func(id int64) (metal.ResourcePool, error) {
		return metal.ResourcePool{}, a.Machines.DeletePool(r.ctx, id)
	})
	return nil, err
}

func orElse(err, or error) error {
	if err != nil {
		return err
	}
	return or
}

func (a *API) zone(r *request) (z metal.Zone, err error) {
	err = a.Gate.View(r.ctx, authz.ZoneView, func(v *gate.Viewing) error {
		z, err = v.ZoneByName(r.path["name"])
		return err
	})
	return z, err
}

func (a *API) createZone(r *request) (any, error) {
	var z metal.Zone
	err := a.Gate.Do(r.ctx, authz.ZoneEdit, func(c *gate.Call) error {
		if err := c.Require(authz.Target{Noun: authz.NounZone}); err != nil {
			return err
		}
		if err := named(r, &z.Name, &z.Description); err != nil {
			return err
		}
		if _, err := c.Tx().ZoneByName(z.Name); err == nil {
			return fault.Field("name", "Physical zone with this Name already exists.")
		}
		c.Note("name", z.Name)
		return c.Tx().AddZone(&z)
	})
	return zoneJSON(z), err
}

func (a *API) onZone(r *request, fn func(*gate.Call, *metal.Zone) error) (z metal.Zone, err error) {
	err = a.Gate.Do(r.ctx, authz.ZoneEdit, func(c *gate.Call) error {
		if z, err = c.Tx().ZoneByName(r.path["name"]); err != nil {
			if denied := c.Require(authz.Target{Noun: authz.NounZone}); denied != nil {
				return denied
			}
			return err
		}
		if err := c.Require(store.ZoneTarget(z.ID)); err != nil {
			return err
		}
		c.Note("name", z.Name)
		return fn(c, &z)
	})
	return z, err
}

func (a *API) updateZone(r *request) (any, error) {
	z, err := a.onZone(r, func(c *gate.Call, z *metal.Zone) error {
		if err := named(r, &z.Name, &z.Description); err != nil {
			return err
		}
		if o, err := c.Tx().ZoneByName(z.Name); err == nil && o.ID != z.ID {
			return fault.Field("name", "Physical zone with this Name already exists.")
		}
		return c.Tx().PutZone(*z)
	})
	return zoneJSON(z), err
}

func (a *API) deleteZone(r *request) (any, error) {
	_, err := a.onZone(r, func(c *gate.Call, z *metal.Zone) error {
		if z.ID == metal.DefaultZoneID {
			return fault.New(fault.Invalid, "This zone is the default zone, it cannot be deleted.")
		}
		return c.Tx().DeleteZone(z.ID)
	})
	return nil, err
}

func (a *API) readSSHKey(r *request) (any, error) {
	keys, err := a.Identity.SSHKeys(r.ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if strconv.FormatInt(k.ID, 10) == r.path["id"] {
			return sshKeyJSON(k), nil
		}
	}
	return nil, fault.New(fault.NotFound, "No SSHKey matches the given query.")
}

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

func (a *API) createImage(r *request) (any, error) {
	size, err := strconv.ParseInt(r.form.Get("size"), 10, 64)
	if err != nil {
		return nil, fault.Field("size", "Enter the size of the file in bytes.")
	}
	kind := r.form.Get("filetype")
	if kind == "" {
		kind = "tgz" // MAAS's default, which says clearly what is not supported
	}
	b, err := a.Images.Announce(r.ctx, metal.BootResource{Name: r.form.Get("name"), Title: metal.Printable(r.form.Get("title"), 255), Architecture: r.form.Get("architecture"),
		FileType: kind, SHA256: r.form.Get("sha256"), SizeBytes: size})
	return imageJSON(b, true), err
}

func (a *API) uploadImage(r *request) (any, error) {
	id, err := r.id("resource_id", authz.NounImage)
	if err != nil {
		return nil, err
	}
	if r.path["id"] != r.path["resource_id"] {
		return nil, authz.NotFound(authz.NounImage)
	}
	if _, err := a.Images.Append(r.ctx, id, r.http.Body, r.http.ContentLength); err != nil {
		return nil, err
	}
	return text{http.StatusOK, "OK"}, nil
}

func (a *API) listControllers(want func(metal.NodeType) bool) handler {
	return func(r *request) (any, error) {
		list, err := a.Controllers.List(r.ctx)
		list = slices.DeleteFunc(list, func(c metal.Controller) bool { return !want(c.Type) })
		return each(list, func(c metal.Controller) any { return controllerJSON(c, a.Now()) }), err
	}
}

func (a *API) readController(r *request) (any, error) {
	c, err := a.Controllers.Get(r.ctx, r.path["system_id"])
	if err != nil {
		return nil, err
	}
	return controllerJSON(c, a.Now()), nil
}

// events answers with a page of events, newest first.
func (a *API) events(r *request) (any, error) {
	q := store.EventQuery{Level: metal.LevelInfo, Limit: 100}
	var err error
	mq := store.MachineQuery{SystemIDs: r.list("id"), Hostnames: r.list("hostname"), MACs: r.list("mac_address"), Zones: r.list("zone"), Pools: r.list("pool"),
		Owners: r.list("owner"), AgentName: r.form.Get("agent_name")}
	q.Machines = mq
	if text := r.form.Get("level"); text != "" {
		levels := map[string]metal.Level{"AUDIT": metal.LevelError + 1, "DEBUG": metal.LevelDebug, "INFO": metal.LevelInfo, "WARNING": metal.LevelWarning, "ERROR": metal.LevelError, "CRITICAL": 50}
		level, ok := levels[strings.ToUpper(text)]
		if !ok {
			return nil, fault.Field("level", "Unrecognised log level: %.32s.", text)
		}
		q.Level = level
	}
	if r.form.Get("limit") != "" {
		if q.Limit, err = r.number("limit"); err != nil || q.Limit < 1 || q.Limit > 1000 {
			return nil, fault.Field("limit", "Requested number of events must be between 1 and 1000.")
		}
	}
	before, err := r.number("before")
	if err != nil {
		return nil, err
	}
	after, err := r.number("after")
	if err != nil {
		return nil, err
	}
	if before != 0 && after != 0 {
		return nil, fault.New(fault.Invalid, "There is undetermined behaviour when both `after` and `before` are specified.")
	}
	q.Before, q.After = int64(before), int64(after)
	list, names, err := a.Machines.Events(r.ctx, q)
	if err != nil {
		return nil, err
	}
	events := each(list, func(e metal.Event) any {
		return map[string]any{"username": e.Username, "node": e.SystemID, "hostname": names[e.SystemID], "id": e.ID, "level": e.Level.String(),
			"created": e.Created.UTC().Format("Mon, 02 Jan. 2006 15:04:05"), "type": e.Type, "description": e.Description}
	})
	page := func(key string, id int64) string {
		form := maps.Clone(r.form)
		delete(form, "before")
		delete(form, "after")
		form.Set("op", "query")
		form.Set(key, strconv.FormatInt(id, 10))
		return uri("/events/?%s", form.Encode())
	}
	next, prev := page("after", q.After), page("before", max(q.Before, 1))
	if len(list) > 0 {
		next, prev = page("after", list[0].ID), page("before", list[len(list)-1].ID)
	}
	return map[string]any{"count": len(events), "events": events, "next_uri": next, "prev_uri": prev}, nil
}
