package agent

import (
	"cmp"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/metal"
)

// tree reads small files below a root: sysfs and procfs on a machine, a directory in tests. Whatever cannot
// be read is empty: an inventory lists what there is.
type tree string

// text returns the trimmed content of a file. One page is what sysfs gives at most.
func (t tree) text(path ...string) string {
	return strings.TrimSpace(string(t.bytes(64<<10, path...)))
}

func (t tree) bytes(limit int64, path ...string) []byte {
	f, err := os.Open(t.path(path...))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	data, _ := io.ReadAll(io.LimitReader(f, limit))
	return data
}

func (t tree) path(path ...string) string {
	return filepath.Join(append([]string{string(t)}, path...)...)
}

func (t tree) exists(path ...string) bool {
	_, err := os.Stat(t.path(path...))
	return err == nil
}

// number returns the integer in a file, or fallback.
func (t tree) number(fallback int64, path ...string) int64 {
	n, err := strconv.ParseInt(t.text(path...), 10, 64)
	if err != nil {
		return fallback
	}
	return n
}

// list returns the names in a directory, in order.
func (t tree) list(path ...string) []string {
	entries, _ := os.ReadDir(t.path(path...))
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// link returns the last element of what a symbolic link points to, which in sysfs names a driver.
func (t tree) link(path ...string) string {
	target, err := os.Readlink(t.path(path...))
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// ReadInventory lists the hardware from sysfs and procfs below root. The BMC is not among it: that takes a
// conversation with a device.
func ReadInventory(root string) metal.Inventory {
	t := tree(root)
	v := metal.Inventory{
		Architecture: runtime.GOARCH,
		HardwareUUID: strings.ToLower(t.text("sys/class/dmi/id/product_uuid")),
		UEFI:         t.exists("sys/firmware/efi"),
		MemoryMiB:    memoryMiB(t),
		TPM:          map[string]string{"1": "1.2", "2": "2.0"}[t.text("sys/class/tpm/tpm0/tpm_version_major")],
		DMI:          dmi(t),
		Interfaces:   interfaces(t),
		Disks:        disks(t),
	}
	v.CPUModel, v.CPUCount, v.CPUSpeedMHz = processors(t)
	v.DMI.CPUModel = v.CPUModel
	return v
}

func dmi(t tree) metal.HardwareInfo {
	id := func(name string) string { return t.text("sys/class/dmi/id", name) }
	return metal.HardwareInfo{
		SystemVendor: id("sys_vendor"), SystemProduct: id("product_name"), SystemFamily: id("product_family"),
		SystemVersion: id("product_version"), SystemSKU: id("product_sku"), SystemSerial: id("product_serial"),
		MainboardVendor: id("board_vendor"), MainboardProduct: id("board_name"), MainboardSerial: id("board_serial"),
		MainboardVersion: id("board_version"), MainboardFirmwareVendor: id("bios_vendor"),
		MainboardFirmwareDate: id("bios_date"), MainboardFirmwareVersion: id("bios_version"),
		ChassisVendor: id("chassis_vendor"), ChassisType: id("chassis_type"), ChassisSerial: id("chassis_serial"),
		ChassisVersion: id("chassis_version"),
	}
}

// processors returns model, number of threads and highest clock.
func processors(t tree) (model string, threads, mhz int) {
	// A big machine's cpuinfo is about 1.5 KiB for each of up to some thousand threads.
	for line := range strings.Lines(string(t.bytes(16<<20, "proc/cpuinfo"))) {
		key, value, _ := strings.Cut(line, ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch key {
		case "processor":
			threads++
		case "model name":
			model = cmp.Or(model, value)
		case "cpu MHz":
			now, _ := strconv.ParseFloat(value, 64)
			mhz = max(mhz, int(now))
		}
	}
	if khz := t.number(0, "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"); khz > 0 {
		mhz = int(khz / 1000)
	}
	return model, threads, mhz
}

// memoryMiB counts memory blocks, which is what is installed; MemTotal lacks what the kernel took for itself.
func memoryMiB(t tree) int64 {
	block, err := strconv.ParseInt(t.text("sys/devices/system/memory/block_size_bytes"), 16, 64)
	if err == nil && block > 0 {
		var blocks int64
		for _, name := range t.list("sys/devices/system/memory") {
			if _, err := strconv.Atoi(strings.TrimPrefix(name, "memory")); err == nil && strings.HasPrefix(name, "memory") {
				blocks++
			}
		}
		if blocks > 0 {
			return blocks * block >> 20
		}
	}
	for line := range strings.Lines(t.text("proc/meminfo")) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib >> 10
		}
	}
	return 0
}

// interfaces lists physical network interfaces: those with a device behind them.
func interfaces(t tree) []metal.InventoryInterface {
	var found []metal.InventoryInterface
	for _, name := range t.list("sys/class/net") {
		dir := "sys/class/net/" + name
		mac, err := metal.ParseMAC(t.text(dir, "address"))
		if err != nil || !t.exists(dir, "device") {
			continue
		}
		n := metal.InventoryInterface{
			Name: name, MAC: mac.String(), Driver: t.link(dir, "device/driver"),
			Vendor: t.text(dir, "device/vendor"), Product: t.text(dir, "device/device"),
			LinkUp: t.text(dir, "carrier") == "1", MTU: int(t.number(0, dir, "mtu")),
			NUMANode: node(t, dir, "device/numa_node"),
		}
		// -1 or 4294967295 is "unknown". What was negotiated is at least what the interface can do.
		if speed := t.number(0, dir, "speed"); n.LinkUp && speed > 0 && speed < 1<<24 {
			n.LinkSpeedMbps, n.SpeedMbps = int(speed), int(speed)
		}
		if t == "/" { // only the kernel that runs can be asked
			n.FirmwareVersion = firmwareVersion(name)
		}
		found = append(found, n)
	}
	return found
}

// firmwareVersion asks the driver, as "ethtool -i" does; empty if it does not know.
func firmwareVersion(name string) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(fd) }()
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, name)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(info.Fw_version[:])
}

// notDisks are block devices without a disk of their own behind them.
var notDisks = []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "drbd", "mtdblock"}

// disks lists physical disks that an operating system could be written to.
func disks(t tree) []metal.InventoryDisk {
	var found []metal.InventoryDisk
	for _, name := range t.list("sys/block") {
		dir := "sys/block/" + name
		virtual := slices.ContainsFunc(notDisks, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		// Sectors in sysfs are 512 bytes whatever the disk says of itself.
		size := t.number(0, dir, "size") * 512
		if virtual || size <= 0 || t.text(dir, "ro") == "1" || !t.exists(dir, "device") || t.text(dir, "removable") == "1" || t.text(dir, "hidden") == "1" {
			continue
		}
		model := t.text(dir, "device/model")
		if vendor := t.text(dir, "device/vendor"); vendor != "" && vendor != "ATA" && !strings.HasPrefix(vendor, "0x") {
			model = strings.TrimSpace(vendor + " " + model)
		}
		found = append(found, metal.InventoryDisk{
			Name: name, Model: model, SizeBytes: size,
			// As the region keeps it: it names the disk by it later.
			Serial:          metal.Printable(cmp.Or(t.text(dir, "serial"), t.text(dir, "device/serial"), pageSerial(t.bytes(256, dir, "device/vpd_pg80"))), metal.MaxInventoryText),
			FirmwareVersion: cmp.Or(t.text(dir, "device/firmware_rev"), t.text(dir, "device/rev")),
			BlockSize:       int(t.number(512, dir, "queue/logical_block_size")),
			Rotational:      t.text(dir, "queue/rotational") == "1",
			NUMANode:        node(t, dir, "device/numa_node", "device/device/numa_node"),
		})
	}
	return found
}

// pageSerial reads a unit serial number page. Source: SCSI SPC-4, vital product data page 80h.
func pageSerial(page []byte) string {
	if len(page) < 4 || page[1] != 0x80 {
		return ""
	}
	n := min(int(binary.BigEndian.Uint16(page[2:])), len(page)-4)
	return strings.Trim(string(page[4:4+n]), " \x00")
}

// node returns the NUMA node in the first file that has one; 0 where the kernel says -1, "no NUMA".
func node(t tree, dir string, files ...string) int {
	for _, f := range files {
		if n := t.number(-1, dir, f); n >= 0 {
			return int(n)
		}
	}
	return 0
}
