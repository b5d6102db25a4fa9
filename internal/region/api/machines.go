package api

import (
	"encoding/json"
	"maps"
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
