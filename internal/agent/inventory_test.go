package agent

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metalward/metalward/internal/metal"
)

func TestReadInventory(t *testing.T) {
	root, _ := machineTree(t, map[string]int64{"vda": 4 * mib})
	writeTree(t, root, map[string]string{
		"sys/firmware/efi/runtime":           "",
		"sys/block/nvme0n1/size":             "2048\n",
		"sys/block/nvme0n1/device/model":     "Fast  disk \n",
		"sys/block/nvme0n1/device/serial":    "NV1   \n",
		"sys/block/nvme0n1/device/numa_node": "1\n",
		"sys/block/nvme0n1/queue/rotational": "0\n",
		"sys/block/sda/size":                 "4096\n",
		"sys/block/sda/device/vendor":        "ATA     \n",
		"sys/block/sda/device/model":         "Spinner\n",
		"sys/block/sda/device/rev":           "1.0\n",
		"sys/block/sda/device/vpd_pg80":      "\x00\x80\x00\x09  WD-0001",
		"sys/block/sda/queue/rotational":     "1\n",
		"sys/block/sdb/size":                 "4096\n", // a USB stick
		"sys/block/sdb/removable":            "1\n",
		"sys/block/sdb/device/model":         "Stick\n",
		"sys/block/sdc/size":                 "0\n", // an empty reader
		"sys/block/sdc/device/model":         "Reader\n",
		"sys/block/dm-0/size":                "8\n",
		"sys/block/dm-0/device/model":        "x\n",
	})
	writeTree(t, root, map[string]string{"sys/block/sda/queue/logical_block_size": "4096\n"})
	want := metal.Inventory{
		Architecture: "amd64", HardwareUUID: "4c4c4544-0000-0000-0000-000000000001", UEFI: true, TPM: "2.0",
		CPUModel: "Test CPU", CPUCount: 2, CPUSpeedMHz: 2100, MemoryMiB: 2000,
		DMI: metal.HardwareInfo{SystemVendor: "Metalward", CPUModel: "Test CPU"},
		Interfaces: []metal.InventoryInterface{{Name: "eth0", MAC: testMAC.String(), Driver: "i40e", Vendor: "0x8086", Product: "0x1572",
			LinkUp: true, SpeedMbps: 10000, LinkSpeedMbps: 10000, MTU: 1500}},
		Disks: []metal.InventoryDisk{
			{Name: "nvme0n1", Model: "Fast  disk", Serial: "NV1", SizeBytes: mib, BlockSize: 512, NUMANode: 1},
			{Name: "sda", Model: "Spinner", Serial: "WD-0001", FirmwareVersion: "1.0", SizeBytes: 2 * mib, BlockSize: 4096, Rotational: true},
			{Name: "vda", Model: "Model of vda", Serial: "SN-vda", SizeBytes: 4 * mib, BlockSize: 512},
		},
	}
	if diff := cmp.Diff(want, ReadInventory(root)); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
}

func TestInventoryOfNothing(t *testing.T) {
	v := ReadInventory(t.TempDir())
	if err := v.Clean(); err != nil || len(v.Disks) != 0 || v.UEFI {
		t.Errorf("got %+v, %v", v, err)
	}
}

func TestInstalledMemory(t *testing.T) {
	root := t.TempDir()
	writeTree(t, root, map[string]string{
		"sys/devices/system/memory/block_size_bytes":  "8000000\n",
		"sys/devices/system/memory/memory0/online":    "1\n",
		"sys/devices/system/memory/memory1/online":    "1\n",
		"sys/devices/system/memory/memory32/online":   "1\n",
		"sys/devices/system/memory/memoryhotplug/foo": "",
	})
	if got := memoryMiB(tree(root)); got != 384 {
		t.Errorf("got %d MiB, want 384", got)
	}
}

func TestModules(t *testing.T) {
	root := t.TempDir()
	writeTree(t, root, map[string]string{
		"lib/modules/6.1/modules.dep": "kernel/virtio.ko:\nkernel/virtio_ring.ko: kernel/virtio.ko\n" +
			"kernel/virtio-pci.ko.xz: kernel/virtio_ring.ko kernel/virtio.ko\nkernel/virtio_net.ko: kernel/virtio.ko\nkernel/unused.ko:\n",
		"lib/modules/6.1/modules.alias": "# comment\nalias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\nalias virtio:d00000001v* virtio_net\nalias pci:v0000FFFFd* unused\n",
		"sys/devices/pci0/modalias":     "pci:v00001AF4d00001000sv00001AF4sd00000001bc02sc00i00\n",
	})
	m, err := openModules(root, "6.1")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	m.insert = func(path string) error {
		got = append(got, moduleName(path))
		if moduleName(path) == "virtio_pci" { // its probe makes a new device
			writeTree(t, root, map[string]string{"sys/devices/pci0/virtio0/modalias": "virtio:d00000001v00001AF4\n"})
		}
		return nil
	}
	if n := m.loadForDevices(); n != 4 {
		t.Errorf("got %d modules, want 4", n)
	}
	if diff := cmp.Diff([]string{"virtio", "virtio_ring", "virtio_pci", "virtio_net"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if _, err := openModules(root, "6.2"); err == nil {
		t.Error("got no error for another kernel")
	}
}

func TestBootEntry(t *testing.T) {
	dir := t.TempDir()
	vars := efiVars(dir)
	other := append([]byte{1, 0, 0, 0, 4, 0}, append(utf16Bytes("PXE"), 0x7f, 0xff, 4, 0)...)
	for name, value := range map[string][]byte{"Boot0000": other, "Boot0002": other, "BootOrder": {2, 0, 0, 0}} {
		if err := vars.set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	esp := &Partition{Number: 2, First: 2048, Last: 4095, GUID: [16]byte{1, 2, 3}}
	ordered := func(want ...uint16) {
		t.Helper()
		got, err := vars.order()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("order (-want +got):\n%s%v", diff, err)
		}
	}
	for range 2 { // the second time it is replaced, not doubled
		if err := vars.setBoot(esp); err != nil {
			t.Fatal(err)
		}
		ordered(1, 2, 0)
	}
	entry, err := vars.get("Boot0001")
	if err != nil || loadOptionLabel(entry) != bootLabel {
		t.Fatalf("got %q, %v", entry, err)
	}
	if got := int(entry[4]) | int(entry[5])<<8; got != 42+4+2*(len(bootPath)+1)+4 {
		t.Errorf("got a device path of %d bytes", got)
	}
	if err := vars.setBoot(nil); err != nil {
		t.Fatal(err)
	}
	ordered(2, 0)
	if tree(dir).exists("Boot0001-" + efiGlobal) {
		t.Error("the entry is still there")
	}
}

// An order that cannot be read is not replaced.
func TestUnreadableBootOrder(t *testing.T) {
	dir := t.TempDir()
	vars := efiVars(dir)
	if err := os.Mkdir(vars.path("BootOrder"), 0o700); err != nil { // reading a directory fails
		t.Fatal(err)
	}
	for _, esp := range []*Partition{{Number: 1}, nil} {
		if err := vars.setBoot(esp); err == nil || !strings.Contains(err.Error(), "cannot read BootOrder") {
			t.Errorf("got %v, want that the order cannot be read", err)
		}
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("got %v, want nothing written", list)
	}
}

// What has a serial number with control characters is found again by the one that the region keeps, and what cannot
// be written to is no disk.
func TestDisks(t *testing.T) {
	root := t.TempDir()
	writeTree(t, root, map[string]string{
		"sys/block/sda/size": "4096\n", "sys/block/sda/device/model": "M\n", "sys/block/sda/serial": " A\x001\x07 \n",
		"sys/block/mmcblk0boot0/size": "8192\n", "sys/block/mmcblk0boot0/ro": "1\n", "sys/block/mmcblk0boot0/device/model": "M\n",
	})
	v := ReadInventory(root)
	if err := v.Clean(); err != nil || len(v.Disks) != 1 {
		t.Fatalf("got %+v, %v, want one disk", v.Disks, err)
	}
	if d, err := findDisk(disks(tree(root)), v.Disks[0].Serial, "moved"); err != nil || d.Name != "sda" {
		t.Errorf("by serial %q: got %+v, %v", v.Disks[0].Serial, d, err)
	}
}
