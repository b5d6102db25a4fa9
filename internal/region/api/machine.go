package api

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/metal"
)

// machineParts is a machine with what its JSON form shows.
type machineParts struct {
	m     *metal.Machine
	nics  []metal.Interface
	disks []metal.BlockDevice
	sets  []metal.ScriptSet
	event metal.Event
}

type linkJSON struct {
	ID     int64           `json:"id"`
	Mode   string          `json:"mode"`
	IP     string          `json:"ip_address,omitempty"`
	Subnet json.RawMessage `json:"subnet,omitempty"`
}

type interfaceJSON struct {
	SystemID   string          `json:"system_id"`
	ID         int64           `json:"id"`
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	MAC        string          `json:"mac_address"`
	VLAN       json.RawMessage `json:"vlan"`
	Parents    []string        `json:"parents"`
	Children   []string        `json:"children"`
	Tags       []string        `json:"tags"`
	Enabled    bool            `json:"enabled"`
	Links      []linkJSON      `json:"links"`
	Params     string          `json:"params"`
	Discovered []any           `json:"discovered"`
	MTU        int             `json:"effective_mtu"`
	Vendor     any             `json:"vendor"`
	Product    any             `json:"product"`
	Firmware   any             `json:"firmware_version"`
	LinkUp     bool            `json:"link_connected"`
	Speed      int             `json:"interface_speed"`
	LinkSpeed  int             `json:"link_speed"`
	NUMANode   int             `json:"numa_node"`
	SRIOV      int             `json:"sriov_max_vf"`
	URI        string          `json:"resource_uri"`
}

func nicJSON(n metal.Interface) interfaceJSON {
	j := interfaceJSON{SystemID: n.SystemID, ID: n.ID, Name: n.Name, Type: "physical", MAC: string(n.MAC), VLAN: json.RawMessage("null"), Parents: []string{},
		Children: []string{}, Tags: []string{}, Enabled: n.Enabled, Links: []linkJSON{}, MTU: n.MTU, Vendor: orNull(n.Vendor), Product: orNull(n.Product),
		Firmware: orNull(n.FirmwareVersion), LinkUp: n.LinkUp, Speed: n.SpeedMbps, LinkSpeed: n.LinkSpeedMbps, NUMANode: n.NUMANode,
		URI: uri("/nodes/%s/interfaces/%d/", n.SystemID, n.ID)}
	if n.VLANID != 0 {
		j.VLAN = slot('V', n.VLANID)
	}
	if n.SubnetID != 0 {
		l := linkJSON{ID: n.ID, Mode: "auto", Subnet: slot('S', n.SubnetID)}
		if n.IP.IsValid() {
			l.IP = n.IP.String()
		}
		j.Links = append(j.Links, l)
	}
	return j
}

type diskJSON struct {
	SystemID   string          `json:"system_id"`
	ID         int64           `json:"id"`
	Name       string          `json:"name"`
	UUID       *string         `json:"uuid"`
	Type       string          `json:"type"`
	Path       string          `json:"path"`
	Model      any             `json:"model"`
	Serial     any             `json:"serial"`
	IDPath     any             `json:"id_path"`
	Size       int64           `json:"size"`
	BlockSize  int             `json:"block_size"`
	Available  int64           `json:"available_size"`
	Used       int64           `json:"used_size"`
	UsedFor    string          `json:"used_for"`
	Tags       []string        `json:"tags"`
	Filesystem *string         `json:"filesystem"`
	TableType  *string         `json:"partition_table_type"`
	Partitions []any           `json:"partitions"`
	Firmware   any             `json:"firmware_version"`
	Pool       *string         `json:"storage_pool"`
	NUMANode   json.RawMessage `json:"numa_node"`
	URI        string          `json:"resource_uri"`
}

func blockJSON(d metal.BlockDevice) diskJSON {
	tags := d.Tags
	if tags == nil {
		tags = []string{}
	}
	return diskJSON{SystemID: d.SystemID, ID: d.ID, Name: d.Name, Type: "physical", Path: "/dev/disk/by-dname/" + d.Name, Model: orNull(d.Model), Serial: orNull(d.Serial),
		IDPath: orNull(d.IDPath), Size: d.SizeBytes, BlockSize: d.BlockSize, Available: d.SizeBytes, UsedFor: "Unused", Tags: tags, Partitions: []any{},
		Firmware: orNull(d.FirmwareVersion), NUMANode: json.RawMessage(strconv.Itoa(d.NUMANode)), URI: uri("/nodes/%s/blockdevices/%d/", d.SystemID, d.ID)}
}

func hardwareJSON(m *metal.Machine) map[string]string {
	h := m.Hardware
	info := map[string]string{"system_vendor": h.SystemVendor, "system_product": h.SystemProduct, "system_family": h.SystemFamily, "system_version": h.SystemVersion,
		"system_sku": h.SystemSKU, "system_serial": h.SystemSerial, "cpu_model": h.CPUModel, "mainboard_vendor": h.MainboardVendor,
		"mainboard_product": h.MainboardProduct, "mainboard_serial": h.MainboardSerial, "mainboard_version": h.MainboardVersion,
		"mainboard_firmware_vendor": h.MainboardFirmwareVendor, "mainboard_firmware_date": h.MainboardFirmwareDate,
		"mainboard_firmware_version": h.MainboardFirmwareVersion, "chassis_vendor": h.ChassisVendor, "chassis_type": h.ChassisType,
		"chassis_serial": h.ChassisSerial, "chassis_version": h.ChassisVersion}
	for k, v := range info {
		if v == "" {
			info[k] = "Unknown"
		}
	}
	return info
}

// machineJSON is MAAS's machine. Fields in alphabetical groups would read worse than in MAAS's order.
type machineJSON struct {
	SystemID            string            `json:"system_id"`
	Hostname            string            `json:"hostname"`
	FQDN                string            `json:"fqdn"`
	Description         string            `json:"description"`
	HardwareUUID        any               `json:"hardware_uuid"`
	Domain              any               `json:"domain"`
	Owner               any               `json:"owner"`
	OwnerData           map[string]string `json:"owner_data"`
	Annotations         map[string]string `json:"workload_annotations"`
	Locked              bool              `json:"locked"`
	Netboot             bool              `json:"netboot"`
	EphemeralDeploy     bool              `json:"ephemeral_deploy"`
	HWSync              bool              `json:"enable_hw_sync"`
	CrashDump           bool              `json:"enable_kernel_crash_dump"`
	IsDPU               bool              `json:"is_dpu"`
	DisableIPv4         bool              `json:"disable_ipv4"`
	Architecture        any               `json:"architecture"`
	MinHWEKernel        any               `json:"min_hwe_kernel"`
	HWEKernel           any               `json:"hwe_kernel"`
	BIOSBootMethod      any               `json:"bios_boot_method"`
	CPUCount            int               `json:"cpu_count"`
	CPUSpeed            int               `json:"cpu_speed"`
	Memory              int64             `json:"memory"`
	SwapSize            *int64            `json:"swap_size"`
	Storage             float64           `json:"storage"`
	Status              int               `json:"status"`
	StatusName          string            `json:"status_name"`
	StatusMessage       any               `json:"status_message"`
	StatusAction        any               `json:"status_action"`
	ErrorDescription    string            `json:"error_description"`
	OSystem             string            `json:"osystem"`
	DistroSeries        string            `json:"distro_series"`
	PowerType           string            `json:"power_type"`
	PowerState          json.RawMessage   `json:"power_state"`
	TagNames            []string          `json:"tag_names"`
	AddressTTL          *int              `json:"address_ttl"`
	IPAddresses         []string          `json:"ip_addresses"`
	BootInterface       *interfaceJSON    `json:"boot_interface"`
	InterfaceSet        []interfaceJSON   `json:"interface_set"`
	Zone                json.RawMessage   `json:"zone"`
	Pool                json.RawMessage   `json:"pool"`
	BootDisk            *diskJSON         `json:"boot_disk"`
	BlockDevices        []diskJSON        `json:"blockdevice_set"`
	PhysicalDevices     []diskJSON        `json:"physicalblockdevice_set"`
	VirtualDevices      []diskJSON        `json:"virtualblockdevice_set"`
	VolumeGroups        []any             `json:"volume_groups"`
	RAIDs               []any             `json:"raids"`
	Bcaches             []any             `json:"bcaches"`
	CacheSets           []any             `json:"cache_sets"`
	SpecialFS           []any             `json:"special_filesystems"`
	Gateways            any               `json:"default_gateways"`
	Parent              *string           `json:"parent"`
	NodeType            int               `json:"node_type"`
	NodeTypeName        string            `json:"node_type_name"`
	CommissioningResult *int64            `json:"current_commissioning_result_id"`
	TestingResult       *int64            `json:"current_testing_result_id"`
	InstallationResult  *int64            `json:"current_installation_result_id"`
	CommissioningStatus int               `json:"commissioning_status"`
	CommissioningName   string            `json:"commissioning_status_name"`
	TestingStatus       int               `json:"testing_status"`
	TestingName         string            `json:"testing_status_name"`
	CPUTest             int               `json:"cpu_test_status"`
	CPUTestName         string            `json:"cpu_test_status_name"`
	MemoryTest          int               `json:"memory_test_status"`
	MemoryTestName      string            `json:"memory_test_status_name"`
	NetworkTest         int               `json:"network_test_status"`
	NetworkTestName     string            `json:"network_test_status_name"`
	StorageTest         int               `json:"storage_test_status"`
	StorageTestName     string            `json:"storage_test_status_name"`
	InterfaceTest       int               `json:"interface_test_status"`
	InterfaceTestName   string            `json:"interface_test_status_name"`
	OtherTest           int               `json:"other_test_status"`
	OtherTestName       string            `json:"other_test_status_name"`
	HardwareInfo        map[string]string `json:"hardware_info"`
	NUMANodes           []any             `json:"numanode_set"`
	LastSync            *string           `json:"last_sync"`
	NextSync            *string           `json:"next_sync"`
	SyncInterval        *int              `json:"sync_interval"`
	URI                 string            `json:"resource_uri"`
}

type gatewayJSON struct {
	IP   *string `json:"gateway_ip"`
	Link *int64  `json:"link_id"`
}

func (p *machineParts) json() *machineJSON {
	m := p.m
	data := m.OwnerData
	if data == nil {
		data = map[string]string{}
	}
	tags := m.Tags
	if tags == nil {
		tags = []string{}
	}
	none, unknown := int(metal.ScriptNone), metal.ScriptNone.String()
	j := &machineJSON{SystemID: m.SystemID, Hostname: m.Hostname, FQDN: m.FQDN(), Description: m.Description, HardwareUUID: orNull(m.HardwareUUID), Domain: domainJSON(),
		Owner: orNull(m.Owner), OwnerData: data, Annotations: data, Locked: m.Locked, Netboot: m.Status != metal.Deployed, Architecture: orNull(m.Architecture),
		CPUCount: m.CPUCount, CPUSpeed: m.CPUSpeedMHz, Memory: m.MemoryMiB, Status: int(m.Status), StatusName: m.Status.String(), ErrorDescription: m.ErrorText,
		OSystem: m.OSystem, DistroSeries: m.DistroSeries, PowerType: m.PowerType, PowerState: slot('W', 0), TagNames: tags, IPAddresses: []string{},
		InterfaceSet: []interfaceJSON{}, Zone: slot('Z', m.ZoneID), Pool: slot('P', m.PoolID), BlockDevices: []diskJSON{}, VirtualDevices: []diskJSON{},
		VolumeGroups: []any{}, RAIDs: []any{}, Bcaches: []any{}, CacheSets: []any{}, SpecialFS: []any{},
		Gateways: map[string]gatewayJSON{"ipv4": {}, "ipv6": {}}, NodeType: int(metal.NodeMachine), NodeTypeName: metal.NodeMachine.String(),
		CommissioningStatus: none, CommissioningName: unknown, TestingStatus: none, TestingName: unknown, CPUTest: none, CPUTestName: unknown, MemoryTest: none,
		MemoryTestName: unknown, NetworkTest: none, NetworkTestName: unknown, StorageTest: none, StorageTestName: unknown, InterfaceTest: none,
		InterfaceTestName: unknown, OtherTest: none, OtherTestName: unknown, HardwareInfo: hardwareJSON(m), NUMANodes: []any{}, URI: uri("/machines/%s/", m.SystemID)}
	if m.PowerType != "" || m.Status != metal.New {
		method := "pxe"
		if m.FirmwareUEFI {
			method = "uefi"
		}
		j.BIOSBootMethod = method
	}
	for _, n := range p.nics {
		nic := nicJSON(n)
		j.InterfaceSet = append(j.InterfaceSet, nic)
		if n.Boot {
			j.BootInterface = &nic
		}
		if n.IP.IsValid() {
			j.IPAddresses = append(j.IPAddresses, n.IP.String())
		}
	}
	for _, d := range p.disks {
		disk := blockJSON(d)
		j.BlockDevices = append(j.BlockDevices, disk)
		j.Storage += float64(d.SizeBytes) / 1e6
		if d.ID == m.BootDiskID {
			j.BootDisk = &disk
		}
	}
	j.PhysicalDevices = j.BlockDevices
	for _, s := range p.sets {
		switch s.Type {
		case metal.ResultCommissioning:
			id := s.ID
			j.CommissioningResult = &id
			j.CommissioningStatus, j.CommissioningName = int(s.Status()), s.Status().String()
		}
	}
	if e := p.event; e.ID != 0 {
		j.StatusAction = e.Type
		j.StatusMessage = strings.TrimSuffix(e.Type+" - "+e.Description, " - ")
	}
	return j
}
