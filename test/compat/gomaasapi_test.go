package compat

import (
	"strings"
	"testing"

	"github.com/canonical/gomaasclient/entity"
	"github.com/juju/gomaasapi/v2"
)

func controller(t *testing.T) gomaasapi.Controller {
	t.Helper()
	c, err := gomaasapi.NewController(gomaasapi.ControllerArgs{BaseURL: site.url, APIKey: site.key, HTTPClient: httpClient()})
	ok(t, "controller", err)
	return c
}

func TestJujuLogin(t *testing.T) {
	c := controller(t)
	if !c.Capabilities().Contains(gomaasapi.NetworkDeploymentUbuntu) {
		t.Errorf("got capabilities %v, Juju needs %s", c.Capabilities(), gomaasapi.NetworkDeploymentUbuntu)
	}
	parts := strings.Split(site.key, ":")
	_, err := gomaasapi.NewController(gomaasapi.ControllerArgs{BaseURL: site.url, APIKey: parts[0] + ":" + parts[1] + ":wrong", HTTPClient: httpClient()})
	if !gomaasapi.IsPermissionError(err) {
		t.Errorf("a wrong key: got %v, want a permission error", err)
	}
	_, err = gomaasapi.NewController(gomaasapi.ControllerArgs{BaseURL: site.url + "/api/1.0/", APIKey: site.key, HTTPClient: httpClient()})
	if !gomaasapi.IsUnsupportedVersionError(err) {
		t.Errorf("API 1.0: got %v, want an unsupported version", err)
	}
}

func TestJujuNetworks(t *testing.T) {
	c := controller(t)
	zones, err := c.Zones()
	ok(t, "zones", err)
	same(t, "zones", len(zones), 1)
	same(t, "zone", zones[0].Name(), "default")
	other := maasClient(t)
	f, err := other.Fabrics.Create(&entity.FabricParams{Name: "juju"})
	ok(t, "create fabric", err)
	fabrics, err := c.Fabrics()
	ok(t, "fabrics", err)
	found := false
	for _, have := range fabrics {
		found = found || have.ID() == f.ID && len(have.VLANs()) == 1 && have.VLANs()[0].VID() == 0
	}
	same(t, "the fabric is listed with its VLAN", found, true)
	ok(t, "delete fabric", other.Fabric.Delete(f.ID))
	_, err = c.BootResources()
	ok(t, "boot resources", err)
}

func TestJujuMachines(t *testing.T) {
	c, other := controller(t), maasClient(t)
	m, err := other.Machines.Create(&entity.MachineParams{Hostname: "juju", Architecture: "amd64/generic", MACAddresses: []string{"52:54:00:00:02:01"}, PowerType: "manual"}, nil)
	ok(t, "create machine", err)
	list, err := c.Machines(gomaasapi.MachinesArgs{SystemIDs: []string{m.SystemID}})
	ok(t, "machines", err)
	same(t, "machines", len(list), 1)
	have := list[0]
	same(t, "host name", have.Hostname(), "juju")
	same(t, "status", have.StatusName(), "Commissioning")
	same(t, "zone", have.Zone().Name(), "default")
	same(t, "pool", have.Pool().Name(), "default")
	same(t, "MAC address", have.InterfaceSet()[0].MACAddress(), "52:54:00:00:02:01")
	list, err = c.Machines(gomaasapi.MachinesArgs{Hostnames: []string{"nobody"}})
	ok(t, "machines of a name that is not there", err)
	same(t, "machines", len(list), 0)

	_, _, err = c.AllocateMachine(gomaasapi.AllocateMachineArgs{Architecture: "amd64", MinMemory: 1})
	if !gomaasapi.IsNoMatchError(err) {
		t.Errorf("allocate: got %v, want no match", err)
	}
	_, _, err = c.AllocateMachine(gomaasapi.AllocateMachineArgs{Zone: "nowhere"})
	if err == nil || gomaasapi.IsNoMatchError(err) {
		t.Errorf("allocate in an unknown zone: got %v, want a bad request", err)
	}
	err = c.ReleaseMachines(gomaasapi.ReleaseMachinesArgs{SystemIDs: []string{m.SystemID}})
	if !gomaasapi.IsCannotCompleteError(err) {
		t.Errorf("release: got %v, want that it cannot be completed", err)
	}
	err = c.ReleaseMachines(gomaasapi.ReleaseMachinesArgs{SystemIDs: []string{"nosuch"}})
	if !gomaasapi.IsBadRequestError(err) {
		t.Errorf("release of an unknown machine: got %v, want a bad request", err)
	}
	ok(t, "delete machine", other.Machine.Delete(m.SystemID))
}

// Juju's constraints on storage must be understood, or refused by name: never ignored.
func TestJujuConstraints(t *testing.T) {
	_, _, err := controller(t).AllocateMachine(gomaasapi.AllocateMachineArgs{Storage: []gomaasapi.StorageSpec{{Label: "root", Size: 8}}})
	if !gomaasapi.IsNoMatchError(err) && (err == nil || !strings.Contains(err.Error(), `"storage"`)) {
		t.Errorf("allocate with storage: got %v, want no match, or a refusal that names the constraint", err)
	}
}
