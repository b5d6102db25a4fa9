package api

import (
	"maps"
	"strconv"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/machines"
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
	maps.Copy(all, a.bindTrail())
	maps.Copy(all, a.bindNotifications())
	maps.Copy(all, a.bindProviders())
	maps.Copy(all, a.bindTLS())
	all["health.read"] = a.health
	maps.Copy(all, a.bindSecrets())
	maps.Copy(all, a.bindHostChecks())
	maps.Copy(all, a.bindAlerts())
	maps.Copy(all, a.bindBlocks())
	maps.Copy(all, a.bindSources())
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
		"machine.release":              a.onMachine(a.release),
		"machine.bmc_account":          a.readBMC,
		"machine.rotate_bmc":           a.rotateBMC,
		"machine.show_bmc_credentials": a.showBMC,
		"machines.rotate_bmc":          a.rotateBMCs,

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
		"racks.generate_token":       a.mintToken,
		"racks.show_shared_secret":   a.sharedSecret,
		"racks.rotate_shared_secret": a.rotateShared,
		"rack.read":                  a.readController,
		"rack.delete":                func(r *request) (any, error) { return nil, a.Controllers.Remove(r.ctx, r.path["system_id"]) },
		"regions.list":               a.listControllers(func(t metal.NodeType) bool { return t == metal.NodeRegionController || t == metal.NodeRegionAndRack }),
		"region.read":                a.readController,
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

func orElse(err, or error) error {
	if err != nil {
		return err
	}
	return or
}
