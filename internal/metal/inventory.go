package metal

import (
	"strings"

	"github.com/metalward/metalward/internal/fault"
)

// Inventory is what the agent found in a machine. It comes from a machine that may lie: Clean bounds it.
type Inventory struct {
	Architecture string               `json:"architecture"` // "amd64"
	HardwareUUID string               `json:"hardware_uuid"`
	UEFI         bool                 `json:"uefi"`
	CPUModel     string               `json:"cpu_model"`
	CPUCount     int                  `json:"cpu_count"` // threads
	CPUSpeedMHz  int                  `json:"cpu_speed_mhz"`
	MemoryMiB    int64                `json:"memory_mib"`
	TPM          string               `json:"tpm"` // "2.0", "1.2" or empty
	DMI          HardwareInfo         `json:"dmi"`
	Interfaces   []InventoryInterface `json:"interfaces"`
	Disks        []InventoryDisk      `json:"disks"`
	BMC          *InventoryBMC        `json:"bmc,omitempty"`
}

// InventoryInterface is a physical network interface.
type InventoryInterface struct {
	Name            string `json:"name"`
	MAC             string `json:"mac"`
	Driver          string `json:"driver"`
	Vendor          string `json:"vendor"`
	Product         string `json:"product"`
	FirmwareVersion string `json:"firmware_version"`
	LinkUp          bool   `json:"link_up"`
	SpeedMbps       int    `json:"speed_mbps"`      // what it can do; 0 unknown
	LinkSpeedMbps   int    `json:"link_speed_mbps"` // as negotiated
	MTU             int    `json:"mtu"`
	NUMANode        int    `json:"numa_node"`
}

// InventoryDisk is a physical disk.
type InventoryDisk struct {
	Name            string `json:"name"`
	Model           string `json:"model"`
	Serial          string `json:"serial"`
	IDPath          string `json:"id_path"` // below /dev/disk, or empty
	FirmwareVersion string `json:"firmware_version"`
	SizeBytes       int64  `json:"size_bytes"`
	BlockSize       int    `json:"block_size"`
	Rotational      bool   `json:"rotational"`
	NUMANode        int    `json:"numa_node"`
}

// InventoryBMC is what the in-band interface says of the BMC: never credentials.
type InventoryBMC struct {
	PowerType string `json:"power_type"` // "ipmi"
	Address   string `json:"address"`
	MAC       string `json:"mac"`
}

// Limits of an inventory.
const (
	MaxInventoryInterfaces = 64
	MaxInventoryDisks      = 512
	MaxInventoryText       = 256
)

// Clean checks an inventory and cuts its texts to printable characters. Kinds: Invalid.
func (v *Inventory) Clean() error {
	bad := fault.Fields{}
	if _, err := ParseArchitecture(v.Architecture, ""); err != nil {
		bad.Add("architecture", "'%s' is not supported.", clip(v.Architecture))
	}
	if v.CPUCount < 0 || v.CPUCount > 1<<16 || v.CPUSpeedMHz < 0 || v.MemoryMiB < 0 || v.MemoryMiB > 1<<30 {
		bad.Add("cpu_count", "CPU or memory figures are out of range.")
	}
	if len(v.Interfaces) > MaxInventoryInterfaces {
		bad.Add("interfaces", "More than %d interfaces.", MaxInventoryInterfaces)
	}
	if len(v.Disks) > MaxInventoryDisks {
		bad.Add("disks", "More than %d disks.", MaxInventoryDisks)
	}
	if err := bad.Err(); err != nil {
		return err
	}
	for _, s := range []*string{&v.HardwareUUID, &v.CPUModel, &v.TPM, &v.DMI.SystemVendor, &v.DMI.SystemProduct, &v.DMI.SystemFamily,
		&v.DMI.SystemVersion, &v.DMI.SystemSKU, &v.DMI.SystemSerial, &v.DMI.CPUModel, &v.DMI.MainboardVendor, &v.DMI.MainboardProduct,
		&v.DMI.MainboardSerial, &v.DMI.MainboardVersion, &v.DMI.MainboardFirmwareVendor, &v.DMI.MainboardFirmwareDate,
		&v.DMI.MainboardFirmwareVersion, &v.DMI.ChassisVendor, &v.DMI.ChassisType, &v.DMI.ChassisSerial, &v.DMI.ChassisVersion} {
		*s = Printable(*s, MaxInventoryText)
	}
	v.HardwareUUID = strings.ToLower(v.HardwareUUID)
	for i := range v.Interfaces {
		n := &v.Interfaces[i]
		mac, err := ParseMAC(n.MAC)
		if err != nil {
			bad.AddErr("interfaces", err)
			continue
		}
		n.MAC = mac.String()
		for _, s := range []*string{&n.Name, &n.Driver, &n.Vendor, &n.Product, &n.FirmwareVersion} {
			*s = Printable(*s, MaxInventoryText)
		}
	}
	for i := range v.Disks {
		d := &v.Disks[i]
		for _, s := range []*string{&d.Name, &d.Model, &d.Serial, &d.IDPath, &d.FirmwareVersion} {
			*s = Printable(*s, MaxInventoryText)
		}
		if d.SizeBytes < 0 || d.Name == "" {
			bad.Add("disks", "A disk without a name or with a negative size.")
		}
	}
	if v.BMC != nil {
		v.BMC.Address, v.BMC.MAC = Printable(v.BMC.Address, 64), Printable(v.BMC.MAC, 32)
		if v.BMC.PowerType != "ipmi" || !validHost(v.BMC.Address) {
			v.BMC = nil
		}
	}
	return bad.Err()
}

// Printable drops control characters and invalid UTF-8 and cuts the text to max bytes: what comes from a
// machine may end up on a terminal.
func Printable(s string, max int) string {
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return -1
		}
		return r
	}, s)
	if len(s) > max {
		s = strings.ToValidUTF8(s[:max], "")
	}
	return strings.TrimSpace(s)
}
