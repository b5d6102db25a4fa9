package regiontest

import (
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/pki"
	"github.com/metalward/metalward/internal/region/machines"
	"github.com/metalward/metalward/internal/wire"
)

// Machine is a machine on a rack's VLAN: it asks what to boot, and its agent claims and reports.
type Machine struct {
	Core *Core
	Rack *Rack
	MAC  metal.MAC
	IP   netip.Addr

	Token string       // of the last boot decision
	Ref   wire.BootRef // of the last claim
}

// CSR is a signing request of a fresh key.
func CSR(t testing.TB) []byte {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// Boot asks the region what to boot.
func (m *Machine) Boot(t testing.TB) metal.BootDecision {
	t.Helper()
	d, err := m.Core.Machines.BootDecision(m.Rack.Ctx(), wire.BootRequest{MAC: m.MAC, IP: m.IP})
	if err != nil {
		t.Fatal(err)
	}
	m.Token = d.Token
	return d
}

// ClaimRequest spends the last token as this machine would.
func (m *Machine) ClaimRequest(t testing.TB) wire.ClaimRequest {
	t.Helper()
	return wire.ClaimRequest{Token: m.Token, MAC: m.MAC, IP: m.IP, LeaseMAC: m.MAC, CSR: CSR(t)}
}

// Claim spends the last token and keeps the certificate's reference.
func (m *Machine) Claim(t testing.TB) wire.ClaimResponse {
	t.Helper()
	resp, err := m.Core.Machines.Claim(m.Rack.Ctx(), m.ClaimRequest(t))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := pki.ParseCerts(resp.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	m.Ref = wire.BootRef{BootID: resp.BootID, CertHash: pki.Fingerprint(certs[0].Raw)}
	return resp
}

// Start boots and claims.
func (m *Machine) Start(t testing.TB) wire.ClaimResponse {
	t.Helper()
	if d := m.Boot(t); d.Kind != metal.BootEphemeral {
		t.Fatalf("got boot decision %+v, want ephemeral", d)
	}
	return m.Claim(t)
}

// Inventory is what the agent finds: one interface and one disk.
func (m *Machine) Inventory() metal.Inventory {
	return metal.Inventory{Architecture: "amd64", HardwareUUID: "uuid-" + string(m.MAC), CPUModel: "test", CPUCount: 4, MemoryMiB: 8192,
		Interfaces: []metal.InventoryInterface{{Name: "eth0", MAC: string(m.MAC), Driver: "virtio_net", LinkUp: true, MTU: 1500}},
		Disks:      []metal.InventoryDisk{{Name: "sda", Model: "QEMU", Serial: "disk-" + string(m.MAC), SizeBytes: 10 << 30, BlockSize: 512}}}
}

// Pass reports every script of a commissioning as passed.
func (m *Machine) Pass(t testing.TB) {
	t.Helper()
	for _, s := range metal.CommissioningScripts {
		m.Script(t, s.Name, metal.ScriptPassed, 0)
	}
}

// Script reports a script's end.
func (m *Machine) Script(t testing.TB, name string, status metal.ScriptStatus, exit int) {
	t.Helper()
	err := m.Core.Machines.Output(m.Rack.Ctx(), wire.OutputRequest{BootRef: m.Ref, Script: name, Stream: "stdout", Data: []byte("output of " + name), Status: status, ExitCode: exit})
	if err != nil {
		t.Fatal(err)
	}
}

// Done reports the end of the task.
func (m *Machine) Done(t testing.TB, failure string) {
	t.Helper()
	if err := m.Core.Machines.Done(m.Rack.Ctx(), wire.DoneRequest{BootRef: m.Ref, OK: failure == "", Error: failure}); err != nil {
		t.Fatal(err)
	}
}

// Found reports the inventory.
func (m *Machine) Found(t testing.TB) {
	t.Helper()
	if err := m.Core.Machines.Found(m.Rack.Ctx(), m.Ref, m.Inventory()); err != nil {
		t.Fatal(err)
	}
}

// BMCPassword is the power password of machines that Add makes.
const BMCPassword = "canary-bmc-password"

// Add creates the machine's record, with an IPMI BMC at 10.9.0 and the last byte of its MAC, as New.
func (m *Machine) Add(t testing.TB, hostname string) metal.Machine {
	t.Helper()
	arch, kind := "amd64", "ipmi"
	mac, err := net.ParseMAC(string(m.MAC))
	if err != nil {
		t.Fatal(err)
	}
	row, err := m.Core.Machines.Create(m.Core.Admin(t), machines.NewMachine{Hostname: &hostname, Architecture: &arch, MACs: []string{string(m.MAC)}, PowerType: &kind,
		PowerParameters: metal.PowerParameters{"power_address": "10.9.0." + strconv.Itoa(int(mac[5])), "power_user": "admin", "power_pass": BMCPassword}})
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// Ready creates the machine's record and commissions it.
func (m *Machine) Ready(t testing.TB, hostname string) metal.Machine {
	t.Helper()
	row := m.Add(t, hostname)
	if _, err := m.Core.Machines.Commission(m.Core.Admin(t), row.SystemID, ""); err != nil {
		t.Fatal(err)
	}
	m.Start(t)
	m.Found(t)
	m.Pass(t)
	m.Done(t, "")
	row = m.Core.Row(t, row.SystemID)
	if row.Status != metal.Ready {
		t.Fatalf("got %s (%s), want Ready", row.Status, row.ErrorText)
	}
	return row
}
