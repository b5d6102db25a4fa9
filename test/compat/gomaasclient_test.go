package compat

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/canonical/gomaasclient/client"
	"github.com/canonical/gomaasclient/entity"
)

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl compat@example.com"

func maasClient(t *testing.T) *client.Client {
	t.Helper()
	c, err := client.GetTLSClient(site.url, site.key, "2.0", site.tls.Clone())
	ok(t, "client", err)
	return c
}

func TestVersionAndSettings(t *testing.T) {
	c := maasClient(t)
	v, err := c.Version.Get()
	ok(t, "version", err)
	if v.Version == "" || len(v.Capabilities) == 0 {
		t.Errorf("got version %+v", v)
	}
	ok(t, "set_config", c.MAASServer.Post("maas_name", "compat"))
	value, err := c.MAASServer.Get("maas_name")
	ok(t, "get_config", err)
	same(t, "maas_name", string(value), `"compat"`)
	fails(t, "unknown setting", c.MAASServer.Post("no_such_setting", "x"), http.StatusBadRequest)
}

func TestTokens(t *testing.T) {
	c := maasClient(t)
	token, err := c.Account.CreateAuthorisationToken("robot")
	ok(t, "create token", err)
	same(t, "name", token.Name, "robot")
	other, err := client.GetTLSClient(site.url, token.ConsumerKey+":"+token.TokenKey+":"+token.TokenSecret, "2.0", site.tls.Clone())
	ok(t, "client of the new token", err)
	_, err = other.Users.Get()
	ok(t, "call with the new token", err)
	ok(t, "rename token", c.Account.UpdateTokenName("android", token.TokenKey))
	list, err := c.Account.ListAuthorisationTokens()
	ok(t, "list tokens", err)
	renamed := false
	for _, item := range list {
		renamed = renamed || item.Name == "android" && strings.Contains(item.Token, token.TokenKey)
		if strings.Contains(item.Token, token.TokenSecret) {
			t.Error("the list shows a secret")
		}
	}
	same(t, "renamed", renamed, true)
	ok(t, "delete token", c.Account.DeleteAuthorisationToken(token.TokenKey))
	_, err = other.Users.Get()
	fails(t, "call with the deleted token", err, http.StatusUnauthorized)
}

func TestUsers(t *testing.T) {
	c := maasClient(t)
	u, err := c.Users.Create(&entity.UserParams{UserName: "carol", Password: "a long enough password", Email: "carol@example.com"})
	ok(t, "create user", err)
	same(t, "superuser", u.IsSuperUser, false)
	same(t, "local", u.IsLocal, true)
	_, err = c.Users.Create(&entity.UserParams{UserName: "carol", Password: "a long enough password", Email: "other@example.com"})
	fails(t, "create user twice", err, http.StatusBadRequest)
	u, err = c.User.Get("carol")
	ok(t, "read user", err)
	same(t, "email", u.Email, "carol@example.com")
	ok(t, "delete user", c.User.Delete("carol"))
	_, err = c.User.Get("carol")
	fails(t, "read deleted user", err, http.StatusNotFound)
}

func TestZonesAndPools(t *testing.T) {
	c := maasClient(t)
	z, err := c.Zones.Create(&entity.ZoneParams{Name: "north", Description: "first"})
	ok(t, "create zone", err)
	same(t, "zone URI", z.ResourceURI, "/MAAS/api/2.0/zones/north/")
	z, err = c.Zone.Update("north", &entity.ZoneParams{Name: "south"})
	ok(t, "update zone", err)
	same(t, "name", z.Name, "south")
	same(t, "description kept", z.Description, "first")
	ok(t, "delete zone", c.Zone.Delete("south"))
	_, err = c.Zone.Get("south")
	fails(t, "read deleted zone", err, http.StatusNotFound)

	p, err := c.ResourcePools.Create(&entity.ResourcePoolParams{Name: "gold"})
	ok(t, "create pool", err)
	p, err = c.ResourcePool.Update(p.ID, &entity.ResourcePoolParams{Name: "gold", Description: "shiny"})
	ok(t, "update pool", err)
	same(t, "description", p.Description, "shiny")
	byName, err := c.ResourcePool.GetByName("gold")
	ok(t, "read pool by name", err)
	same(t, "id", byName.ID, p.ID)
	pools, err := c.ResourcePools.Get()
	ok(t, "list pools", err)
	same(t, "pools", len(pools), 2)
	ok(t, "delete pool", c.ResourcePool.Delete(p.ID))
	_, err = c.ResourcePool.Get(p.ID)
	fails(t, "read deleted pool", err, http.StatusNotFound)
}

func TestNetworks(t *testing.T) {
	c := maasClient(t)
	f, err := c.Fabrics.Create(&entity.FabricParams{Name: "lab"})
	ok(t, "create fabric", err)
	same(t, "VLANs of a new fabric", len(f.VLANs), 1)
	f, err = c.Fabric.Update(f.ID, &entity.FabricParams{Name: "lab2"})
	ok(t, "update fabric", err)
	same(t, "name", f.Name, "lab2")
	v, err := c.VLANs.Create(f.ID, &entity.VLANParams{VID: 42, Name: "blue", MTU: 9000})
	ok(t, "create VLAN", err)
	same(t, "MTU", v.MTU, 9000)
	v, err = c.VLAN.Update(f.ID, 42, &entity.VLANParams{VID: 43, Name: "green", MTU: 1500})
	ok(t, "update VLAN", err)
	same(t, "VID", v.VID, 43)
	v, err = c.VLAN.Get(f.ID, 43)
	ok(t, "read VLAN", err)
	same(t, "name", v.Name, "green")

	s, err := c.Subnets.Create(&entity.SubnetParams{CIDR: "10.77.0.0/24", VLAN: strconv.Itoa(v.ID), GatewayIP: "10.77.0.1", DNSServers: []string{"10.77.0.2", "10.77.0.3"},
		RDNSMode: 2, AllowDNS: true, AllowProxy: true, Managed: true})
	ok(t, "create subnet", err)
	same(t, "DNS servers", len(s.DNSServers), 2)
	same(t, "VLAN", s.VLAN.ID, v.ID)
	s, err = c.Subnet.Update(s.ID, &entity.SubnetParams{CIDR: "10.77.0.0/24", Name: "lab net", RDNSMode: 2, AllowDNS: true, AllowProxy: true, Managed: true})
	ok(t, "update subnet", err)
	same(t, "name", s.Name, "lab net")
	_, err = c.Subnets.Create(&entity.SubnetParams{CIDR: "10.77.0.128/25", Managed: true})
	fails(t, "overlapping subnet", err, http.StatusBadRequest)

	r, err := c.IPRanges.Create(&entity.IPRangeParams{Type: "dynamic", Subnet: strconv.Itoa(s.ID), StartIP: "10.77.0.100", EndIP: "10.77.0.120", Comment: "boot"})
	ok(t, "create range", err)
	same(t, "subnet", r.Subnet.ID, s.ID)
	r, err = c.IPRange.Update(r.ID, &entity.IPRangeParams{Type: "dynamic", Subnet: strconv.Itoa(s.ID), StartIP: "10.77.0.100", EndIP: "10.77.0.130"})
	ok(t, "update range", err)
	same(t, "end", r.EndIP.String(), "10.77.0.130")
	ok(t, "delete range", c.IPRange.Delete(r.ID))
	ok(t, "delete subnet", c.Subnet.Delete(s.ID))
	ok(t, "delete VLAN", c.VLAN.Delete(f.ID, 43))
	ok(t, "delete fabric", c.Fabric.Delete(f.ID))
	_, err = c.Fabric.Get(f.ID)
	fails(t, "read deleted fabric", err, http.StatusNotFound)
}

func TestSSHKeys(t *testing.T) {
	c := maasClient(t)
	k, err := c.SSHKeys.Create(publicKey)
	ok(t, "create key", err)
	keys, err := c.SSHKeys.Get()
	ok(t, "list keys", err)
	same(t, "keys", len(keys), 1)
	k, err = c.SSHKey.Get(k.ID)
	ok(t, "read key", err)
	same(t, "key", k.Key, publicKey)
	_, err = c.SSHKeys.Create("not a key")
	fails(t, "create nonsense", err, http.StatusBadRequest)
	ok(t, "delete key", c.SSHKey.Delete(k.ID))
}

func TestMachines(t *testing.T) {
	c := maasClient(t)
	// MAC addresses and architecture as the Terraform provider sends them.
	m, err := c.Machines.Create(&entity.MachineParams{Hostname: "alpha", Architecture: "amd64/generic", MACAddresses: []string{"52:54:00:00:01:01"}, PowerType: "manual",
		Description: "first", Commission: true}, map[string]any{})
	ok(t, "create machine", err)
	same(t, "status of a new machine", m.StatusName, "Commissioning")
	same(t, "interfaces", len(m.InterfaceSet), 1)

	m, err = c.Machine.Abort(m.SystemID, "changed my mind")
	ok(t, "abort", err)
	same(t, "status after abort", m.StatusName, "New")
	// The same full form goes to PUT as to POST.
	m, err = c.Machine.Update(m.SystemID, &entity.MachineParams{Hostname: "beta", Architecture: "amd64/generic", MACAddresses: []string{"52:54:00:00:01:01"}, PowerType: "ipmi",
		Domain: "maas", Pool: "default", Zone: "default", Description: "second"},
		map[string]any{"power_parameters_power_address": "192.0.2.9", "power_parameters_power_user": "root", "power_parameters_power_pass": "very secret"})
	ok(t, "update machine", err)
	same(t, "host name", m.Hostname, "beta")
	same(t, "power type", m.PowerType, "ipmi")
	power, err := c.Machine.GetPowerParameters(m.SystemID)
	ok(t, "power parameters", err)
	same(t, "power address", power["power_address"], any("192.0.2.9"))
	if text, _ := json.Marshal(power); strings.Contains(string(text), "very secret") {
		t.Errorf("the power parameters show a secret: %s", text)
	}
	_, err = c.Machine.Update(m.SystemID, &entity.MachineParams{PowerType: "no-such"}, map[string]any{})
	fails(t, "unknown power type", err, http.StatusBadRequest)

	_, err = c.Machines.Create(&entity.MachineParams{Hostname: "twin", Architecture: "amd64/generic", MACAddresses: []string{"52:54:00:00:01:01"}, PowerType: "manual"}, map[string]any{})
	fails(t, "MAC address taken", err, http.StatusBadRequest)

	list, err := c.Machines.Get(&entity.MachinesParams{Hostname: []string{"beta"}})
	ok(t, "list by host name", err)
	same(t, "machines named beta", len(list), 1)
	list, err = c.Machines.Get(&entity.MachinesParams{MACAddress: []string{"52:54:00:00:01:01"}})
	ok(t, "list by MAC address", err)
	same(t, "machines with this MAC", len(list), 1)
	list, err = c.Machines.Get(&entity.MachinesParams{})
	ok(t, "list", err)
	same(t, "machines", len(list), 1)

	_, err = c.Machines.Allocate(&entity.MachineAllocateParams{})
	fails(t, "allocate when nothing is Ready", err, http.StatusConflict)
	_, err = c.Machines.Allocate(&entity.MachineAllocateParams{Zone: "nowhere"})
	fails(t, "allocate in an unknown zone", err, http.StatusBadRequest)
	_, err = c.Machines.Allocate(&entity.MachineAllocateParams{VMHost: "pod"})
	fails(t, "allocate by a constraint of VM hosts", err, http.StatusBadRequest)
	allocated, err := c.Machines.ListAllocated()
	ok(t, "list allocated", err)
	same(t, "allocated machines", len(allocated), 0)
	_, err = c.Machine.Deploy(m.SystemID, &entity.MachineDeployParams{})
	fails(t, "deploy a New machine", err, http.StatusConflict)
	_, err = c.Machine.Release(m.SystemID, &entity.MachineReleaseParams{Comment: "done"})
	fails(t, "release a New machine", err, http.StatusConflict)
	_, err = c.Machine.Lock(m.SystemID, "")
	fails(t, "lock a New machine", err, http.StatusConflict)

	events, err := c.Events.Get(&entity.EventParams{ID: m.SystemID, Limit: "5"})
	ok(t, "events", err)
	if events.Count == 0 || events.Events[0].Node != m.SystemID || events.NextURI == "" {
		t.Errorf("events: got %+v", events)
	}
	ok(t, "delete machine", c.Machine.Delete(m.SystemID))
	_, err = c.Machine.Get(m.SystemID)
	fails(t, "read deleted machine", err, http.StatusNotFound)
	if err == nil || !strings.Contains(err.Error(), "404 Not Found") {
		t.Errorf("a deleted machine: got %v; the Terraform provider looks for '404 Not Found'", err)
	}
}

// The power_parameters of creation as one JSON text, as the Terraform provider sends them.
func TestPowerParametersAsJSON(t *testing.T) {
	c := maasClient(t)
	text := `{"power_address":"192.0.2.10","power_user":"root","power_pass":"very secret"}`
	var made entity.Machine
	err := apiClient(t).GetSubObject("machines").Post("", map[string][]string{"hostname": {"json"}, "architecture": {"amd64/generic"}, "mac_addresses": {"52:54:00:00:01:02"},
		"power_type": {"ipmi"}, "power_parameters": {text}, "commission": {"false"}}, func(b []byte) error { return json.Unmarshal(b, &made) })
	ok(t, "create", err)
	power, err := c.Machine.GetPowerParameters(made.SystemID)
	ok(t, "power parameters", err)
	same(t, "power address", power["power_address"], any("192.0.2.10"))
	ok(t, "delete", c.Machine.Delete(made.SystemID))
}

func TestControllers(t *testing.T) {
	c := maasClient(t)
	racks, err := c.RackControllers.Get(&entity.RackControllersGetParams{})
	ok(t, "list racks", err)
	same(t, "racks", len(racks), 0) // the region runs alone
	types, err := c.RackControllers.DescribePowerTypes()
	ok(t, "describe power types", err)
	found := false
	for _, p := range types {
		found = found || p.Name == "ipmi" && len(p.Fields) > 0
	}
	same(t, "ipmi is described", found, true)
}

func TestBootResourcesList(t *testing.T) {
	list, err := maasClient(t).BootResources.Get(&entity.BootResourcesReadParams{})
	ok(t, "list", err)
	for _, b := range list {
		if b.ResourceURI == "" {
			t.Errorf("got %+v", b)
		}
	}
}

// apiClient is what gomaasclient's resources are made of, for calls that it has no method for.
func apiClient(t *testing.T) client.APIClient {
	t.Helper()
	return maasClient(t).Machines.(*client.Machines).APIClient
}

func TestMachineExtras(t *testing.T) {
	c := maasClient(t)
	m, err := c.Machines.Create(&entity.MachineParams{Hostname: "extra", Architecture: "amd64", MACAddresses: []string{"52:54:00:00:01:11", "52:54:00:00:01:12"}, PowerType: "manual"}, nil)
	ok(t, "create machine", err)
	same(t, "interfaces", len(m.InterfaceSet), 2)
	m, err = c.Machine.Abort(m.SystemID, "")
	ok(t, "abort", err)
	state, err := c.Machine.GetPowerState(m.SystemID)
	ok(t, "power state of a manual machine", err)
	same(t, "power state", state.State, "unknown")
	_, err = c.Machine.Details(m.SystemID) // BSON
	ok(t, "details", err)
	m, err = c.Machine.Update(m.SystemID, &entity.MachineParams{Description: "kept", CPUCount: 8, Memory: 4096}, nil)
	ok(t, "update", err)
	same(t, "memory", m.Memory, 4096)
	m, err = c.Machine.Update(m.SystemID, &entity.MachineParams{Hostname: "extra2"}, nil)
	ok(t, "update of the name alone", err)
	same(t, "description", m.Description, "kept")
	for name, params := range map[string]*entity.MachinesParams{
		"zone": {Zone: []string{"default"}, Hostname: []string{"extra2"}}, "pool": {Pool: []string{"default"}, Hostname: []string{"extra2"}}, "id": {ID: []string{m.SystemID}},
		"domain": {Domain: []string{"maas"}, ID: []string{m.SystemID}},
	} {
		list, err := c.Machines.Get(params)
		ok(t, "list by "+name, err)
		same(t, "machines by "+name, len(list), 1)
	}
	_, err = c.Machines.Get(&entity.MachinesParams{Zone: []string{"nowhere"}})
	fails(t, "list of an unknown zone", err, 400)
	if list, err := c.Machines.Get(&entity.MachinesParams{Domain: []string{"elsewhere"}}); err == nil && len(list) > 0 {
		t.Errorf("list of another domain: got %d machines: the filter has no effect", len(list))
	}
	if list, err := c.Machines.Get(&entity.MachinesParams{AgentName: []string{"nobody"}}); err == nil && len(list) > 0 {
		t.Errorf("list of another agent: got %d machines: the filter has no effect", len(list))
	}
	fails(t, "release of an unknown machine", c.Machines.Release([]string{"nosuch"}, ""), 400)
	ok(t, "accept all", c.Machines.AcceptAll())
	m, err = c.Machine.Get(m.SystemID)
	ok(t, "read", err)
	same(t, "status after accept_all", m.StatusName, "Commissioning")
	_, err = c.Machine.Commission(m.SystemID, &entity.MachineCommissionParams{SkipBMCConfig: 1})
	if err == nil {
		t.Error("a machine that is commissioned already was commissioned again")
	}
	ok(t, "delete", c.Machine.Delete(m.SystemID))
	fails(t, "delete again", c.Machine.Delete(m.SystemID), 404)
}
