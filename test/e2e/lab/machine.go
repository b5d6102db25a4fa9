//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Firmware is what a machine starts with.
type Firmware string

// The firmwares.
const (
	BIOS       Firmware = "bios"
	UEFI       Firmware = "uefi"
	SecureBoot Firmware = "secureboot" // UEFI with Microsoft's keys enrolled
)

// Boot is the boot device asked for through the BMC. As on real BMCs it
// counts for the next boot only and then returns to BootDefault.
type Boot string

// The boot devices. With BootDefault a BIOS machine tries the network first.
// A UEFI machine tries the disk first, unless KeepBootOrder leaves the choice
// to the order in its firmware variables.
const (
	BootDefault Boot = "default"
	BootPXE     Boot = "pxe"
	BootDisk    Boot = "disk"
)

// Disk is one disk of a machine, a raw file in the network's directory.
type Disk struct {
	Serial string // default NAME-dN
	Size   int64  // bytes; default 4 GiB, sparse
	Image  string // raw image to start from; the file grows to Size
	Bus    string // virtio (default), nvme, sata or scsi
}

// MachineConfig describes a machine. Zero values are usable.
type MachineConfig struct {
	Name          string   // required, unique in its network, a short host name
	Firmware      Firmware // default BIOS
	MAC           string   // default 52:54:00 and a number
	UUID          string   // default derived from the number
	Serial        string   // SMBIOS system serial, default SN-NAME
	MemoryMiB     int      // default 512; an installed Debian wants 1024
	CPUs          int      // default 1
	NIC           string   // QEMU model, default virtio-net-pci
	NativePXE     bool     // UEFI's own network boot instead of the card's iPXE
	KeepBootOrder bool     // UEFI: BootDefault follows the firmware variables
	Disks         []Disk   // default one of 4 GiB
	BMC           *BMCConfig
	ExtraArgs     []string // more QEMU arguments
}

// Machine is a server: its firmware variables, disks and BMC outlive its power.
type Machine struct {
	net    *Network
	config MachineConfig
	tap    string
	disks  []string
	vars   string // UEFI variables, "" for BIOS
	serial *serialLog
	bmc    *BMC

	mu     sync.Mutex
	boot   Boot
	qemu   *qemu // nil while off
	starts int   // counts launches, guest reboots included
	closed bool
}

// NewMachine makes a machine, powered off, with its tap on the machine network
// and, if configured, a running BMC.
func (n *Network) NewMachine(ctx context.Context, c MachineConfig) (*Machine, error) {
	if c.Name == "" {
		return nil, errors.New("cannot make a machine without a name")
	}
	n.mu.Lock()
	n.tapCount++
	number := n.tapCount
	n.mu.Unlock()

	m := &Machine{net: n, config: c, boot: BootDefault, tap: fmt.Sprintf("tap%d", number)}
	m.setDefaults(number)
	m.serial = &serialLog{path: m.path("serial.log")}
	if err := m.makeFiles(ctx); err != nil {
		return nil, fmt.Errorf("cannot make machine %s: %w", c.Name, err)
	}
	rack := n.Namespace(Rack)
	if _, err := output(ctx, "ip", "netns", "exec", rack, "ip", "tuntap", "add", m.tap, "mode", "tap"); err != nil {
		return nil, err
	}
	if _, err := output(ctx, "ip", "-n", rack, "link", "set", m.tap, "master", "br0", "up"); err != nil {
		return nil, err
	}
	if c.BMC != nil {
		bmc, err := n.newBMC(ctx, m, *c.BMC)
		if err != nil {
			return nil, fmt.Errorf("cannot start the BMC of %s: %w", c.Name, err)
		}
		m.bmc = bmc
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.machines = append(n.machines, m)
	return m, nil
}

func (m *Machine) setDefaults(number int) {
	c := &m.config
	if c.Firmware == "" {
		c.Firmware = BIOS
	}
	if c.MAC == "" {
		c.MAC = fmt.Sprintf("52:54:00:77:%02x:%02x", number>>8, number&0xff)
	}
	if c.UUID == "" {
		c.UUID = fmt.Sprintf("6d657461-6c77-4172-8400-0000%08x", number)
	}
	if c.Serial == "" {
		c.Serial = "SN-" + c.Name
	}
	if c.MemoryMiB == 0 {
		c.MemoryMiB = 512
	}
	if c.CPUs == 0 {
		c.CPUs = 1
	}
	if c.NIC == "" {
		c.NIC = "virtio-net-pci"
	}
	if len(c.Disks) == 0 {
		c.Disks = []Disk{{}}
	}
	c.Disks = append([]Disk(nil), c.Disks...)
	for i := range c.Disks {
		d := &c.Disks[i]
		if d.Serial == "" {
			d.Serial = fmt.Sprintf("%s-d%d", c.Name, i)
		}
		if d.Size == 0 {
			d.Size = 4 << 30
		}
		if d.Bus == "" {
			d.Bus = "virtio"
		}
	}
}

// makeFiles creates the disks and the firmware variables.
func (m *Machine) makeFiles(ctx context.Context) error {
	for i, d := range m.config.Disks {
		file := m.path(fmt.Sprintf("disk%d.raw", i))
		if d.Image != "" {
			if _, err := output(ctx, "cp", "--sparse=always", "--no-preserve=mode", d.Image, file); err != nil {
				return err
			}
		}
		f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil && info.Size() < d.Size {
			err = f.Truncate(d.Size)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		m.disks = append(m.disks, file)
	}
	if m.config.Firmware == BIOS {
		return nil
	}
	m.vars = m.path("vars.fd")
	template, err := os.ReadFile(firmwareVars(m.config.Firmware))
	if err != nil {
		return err
	}
	return os.WriteFile(m.vars, template, 0o644)
}

func (m *Machine) path(name string) string {
	return filepath.Join(m.net.dir, m.config.Name+"-"+name)
}

// Name is the machine's name.
func (m *Machine) Name() string { return m.config.Name }

// MAC is the address of its network card.
func (m *Machine) MAC() string { return m.config.MAC }

// UUID is its SMBIOS identity.
func (m *Machine) UUID() string { return m.config.UUID }

// BMC is its management controller, or nil.
func (m *Machine) BMC() *BMC { return m.bmc }

// DiskPath is the raw file behind a disk. Read it while the machine is off.
func (m *Machine) DiskPath(i int) string { return m.disks[i] }

// SetBoot chooses the device of the next boot, as the BMC would.
func (m *Machine) SetBoot(b Boot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boot = b
}

// NextBoot is the device that the next boot will use.
func (m *Machine) NextBoot() Boot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.boot
}

// IsOn reports whether the machine has power. A guest's own reboot does not
// switch it off, its own shutdown does.
func (m *Machine) IsOn() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.qemu != nil
}

// Starts counts boots, those by power and those by the guest's own reboot.
func (m *Machine) Starts() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.starts
}

// PowerOn starts the machine; it does nothing when it is on.
func (m *Machine) PowerOn(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.qemu != nil {
		return nil
	}
	m.serial.mark()
	return m.launch(ctx)
}

// PowerOff cuts the power; it does nothing when it is off.
func (m *Machine) PowerOff() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cut()
}

// Reset starts the machine anew, as its reset button does. A machine that is
// off stays off.
func (m *Machine) Reset(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.qemu == nil {
		return nil
	}
	if err := m.cut(); err != nil {
		return err
	}
	m.serial.mark()
	return m.launch(ctx)
}

// PressPowerButton asks the guest to shut down (ACPI).
func (m *Machine) PressPowerButton() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.qemu == nil {
		return nil
	}
	return m.qemu.execute("system_powerdown")
}

// WaitSerial waits until the serial console has shown text since the machine
// was last powered on, reset or marked. Escape sequences are ignored, and so is
// where lines begin, because firmware and kernel write over each other.
func (m *Machine) WaitSerial(ctx context.Context, text string) error {
	if err := m.serial.wait(ctx, text); err != nil {
		return fmt.Errorf("%s: %w", m.config.Name, err)
	}
	return nil
}

// MarkSerial makes WaitSerial and Serial ignore what was shown before.
func (m *Machine) MarkSerial() { m.serial.mark() }

// Serial returns what the console has shown since the mark, without escape
// sequences.
func (m *Machine) Serial() string { return m.serial.text() }

// SerialPath is the file with everything the console ever showed.
func (m *Machine) SerialPath() string { return m.serial.path }

// launch starts QEMU; mu is held.
func (m *Machine) launch(ctx context.Context) error {
	if m.closed {
		return fmt.Errorf("cannot power on %s: the network is closed", m.config.Name)
	}
	boot := m.boot
	m.boot = BootDefault
	m.starts++
	q, err := m.startQEMU(ctx, boot)
	if err != nil {
		return fmt.Errorf("cannot power on %s: %w", m.config.Name, err)
	}
	m.qemu = q
	go m.follow(q)
	return nil
}

// cut ends QEMU; mu is held.
func (m *Machine) cut() error {
	if m.qemu == nil {
		return nil
	}
	q := m.qemu
	m.qemu = nil
	return q.process.Kill()
}

// follow waits for the end of QEMU. When the guest rebooted, the machine starts
// again with the boot device that is asked for now; when it shut down, the
// machine is off.
func (m *Machine) follow(q *qemu) {
	rebooted := q.wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.qemu != q {
		return // powered off or reset by somebody
	}
	m.qemu = nil
	if !rebooted || m.closed {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), qemuStartLimit)
	defer cancel()
	if err := m.launch(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "lab: after a reboot:", err)
	}
}

// close powers the machine off for good.
func (m *Machine) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	m.cut()
	if m.bmc != nil {
		m.bmc.close()
	}
}
