//go:build linux

package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Where Debian and Ubuntu put the firmware.
const ovmf = "/usr/share/OVMF/"

// qemuStartLimit bounds the time from starting QEMU to its monitor's greeting.
const qemuStartLimit = 30 * time.Second

// InBandPort is where a BMC talks to its machine.
const InBandPort = "9205"

func firmwareVars(f Firmware) string {
	if f == SecureBoot {
		return ovmf + "OVMF_VARS_4M.ms.fd"
	}
	return ovmf + "OVMF_VARS_4M.fd"
}

// qemuArgs is the whole command line for one boot.
func (m *Machine) qemuArgs(boot Boot, monitor string) []string {
	c := &m.config
	args := []string{
		"qemu-system-x86_64", "-name", c.Name, "-nodefaults", "-no-user-config", "-display", "none",
		"-m", strconv.Itoa(c.MemoryMiB), "-smp", strconv.Itoa(c.CPUs),
		"-uuid", c.UUID,
		"-smbios", "type=1,manufacturer=Metalward,product=LabVM,serial=" + c.Serial,
		"-smbios", "type=2,manufacturer=Metalward,product=LabBoard,serial=BB-" + c.Name,
		"-smbios", "type=3,manufacturer=Metalward,serial=CH-" + c.Name + ",asset=AT-" + c.Name,
		// QEMU appends, so that the log spans power cycles.
		"-chardev", "file,id=serial0,append=on,path=" + m.serial.path, "-serial", "chardev:serial0",
		"-qmp", "unix:" + monitor + ",server=on,wait=off",
		// A guest's reboot ends QEMU; follow then starts it again. So the boot
		// device is chosen anew, as firmware does after each reset.
		"-no-reboot",
		"-device", "virtio-rng-pci",
	}
	args = append(args, accelArgs()...)

	uefi := c.Firmware != BIOS
	switch c.Firmware {
	case BIOS:
		// graphics=off sends SeaBIOS and iPXE to the serial port.
		args = append(args, "-machine", "pc,graphics=off")
	case SecureBoot:
		args = append(args, "-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on",
			"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+ovmf+"OVMF_CODE_4M.ms.fd")
	default:
		args = append(args, "-machine", "q35",
			"-drive", "if=pflash,format=raw,unit=0,readonly=on,file="+ovmf+"OVMF_CODE_4M.fd")
	}
	if uefi {
		args = append(args, "-drive", "if=pflash,format=raw,unit=1,file="+m.vars,
			// Without it a failing IPv6 attempt costs 75 s before the next entry.
			"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=no")
	}

	nicIndex, diskIndex := bootIndexes(boot, uefi, c.KeepBootOrder, len(m.disks))
	nic := c.NIC + ",netdev=net0,mac=" + c.MAC + nicIndex
	if c.NativePXE && uefi {
		nic += ",romfile="
	}
	args = append(args, "-netdev", "tap,id=net0,script=no,downscript=no,ifname="+m.tap, "-device", nic)

	for i, d := range c.Disks {
		id := fmt.Sprintf("disk%d", i)
		args = append(args, "-drive", "if=none,format=raw,cache=unsafe,discard=unmap,id="+id+",file="+m.disks[i])
		args = append(args, diskDevice(d, i, id, diskIndex(i))...)
	}
	if m.bmc != nil {
		args = append(args,
			"-chardev", "socket,id=bmc,reconnect=2,host="+m.bmc.addr+",port="+InBandPort,
			"-device", "ipmi-bmc-extern,chardev=bmc,id=bmc0", "-device", "isa-ipmi-kcs,bmc=bmc0")
	}
	return append(args, c.ExtraArgs...)
}

func diskDevice(d Disk, i int, id, index string) []string {
	switch d.Bus {
	case "nvme":
		return []string{"-device", "nvme,drive=" + id + ",serial=" + d.Serial + index}
	case "sata":
		return []string{"-device", "ide-hd,drive=" + id + ",serial=" + d.Serial + index}
	case "scsi":
		bus := fmt.Sprintf("scsi%d", i)
		return []string{"-device", "virtio-scsi-pci,id=" + bus,
			"-device", "scsi-hd,bus=" + bus + ".0,drive=" + id + ",serial=" + d.Serial + index}
	default:
		return []string{"-device", "virtio-blk-pci,drive=" + id + ",serial=" + d.Serial + index}
	}
}

// bootIndexes turns the boot choice into QEMU's bootindex properties.
func bootIndexes(boot Boot, uefi, keep bool, disks int) (nic string, disk func(int) string) {
	none := func(int) string { return "" }
	if boot == BootDefault && uefi && keep {
		return "", none
	}
	networkFirst := boot == BootPXE || (boot == BootDefault && !uefi)
	if networkFirst {
		return ",bootindex=1", func(i int) string { return fmt.Sprintf(",bootindex=%d", i+2) }
	}
	return fmt.Sprintf(",bootindex=%d", disks+1), func(i int) string { return fmt.Sprintf(",bootindex=%d", i+1) }
}

// qemu is one run of QEMU, from power to no power or to the guest's reboot.
type qemu struct {
	process  *Process
	monitor  net.Conn
	rebooted bool          // the guest asked for a reset; read after events
	events   chan struct{} // closed when the monitor's stream has ended
}

// startQEMU starts QEMU in the rack's namespace and waits for its monitor.
func (m *Machine) startQEMU(ctx context.Context, boot Boot) (*qemu, error) {
	ctx, cancel := context.WithTimeout(ctx, qemuStartLimit)
	defer cancel()
	socket := filepath.Join(m.net.run, m.config.Name+".qmp")
	argv := append([]string{"ip", "netns", "exec", m.net.Namespace(Rack)}, m.qemuArgs(boot, socket)...)
	p, err := startProcess(m.config.Name, m.path("qemu.log"), nil, argv...)
	if err != nil {
		return nil, err
	}
	q := &qemu{process: p, events: make(chan struct{})}
	// A socket file of the previous run refuses connections until QEMU has
	// replaced it, so dialling again covers both cases.
	for {
		q.monitor, err = new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			break
		}
		select {
		case <-p.Done():
			return nil, errors.Join(errors.New("QEMU has ended"), p.WaitLog(ctx, "never printed"))
		default:
		}
		if sleep(ctx, pollInterval/5) != nil {
			return nil, errors.Join(fmt.Errorf("cannot reach QEMU's monitor: %w", err), p.Kill())
		}
	}
	if err := q.execute("qmp_capabilities"); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	go q.readEvents()
	return q, nil
}

// execute sends a command without arguments. The answer is not awaited: what
// matters shows as an event or in the guest.
func (q *qemu) execute(command string) error {
	q.monitor.SetWriteDeadline(time.Now().Add(5 * time.Second))
	if _, err := fmt.Fprintf(q.monitor, `{"execute":%q}`+"\n", command); err != nil {
		return fmt.Errorf("cannot send %s to QEMU: %w", command, err)
	}
	return nil
}

func (q *qemu) readEvents() {
	defer close(q.events)
	defer q.monitor.Close()
	for s := bufio.NewScanner(q.monitor); s.Scan(); {
		var e struct {
			Event string `json:"event"`
			Data  struct {
				Reason string `json:"reason"`
			} `json:"data"`
		}
		if json.Unmarshal(s.Bytes(), &e) == nil && e.Event == "SHUTDOWN" {
			q.rebooted = strings.Contains(e.Data.Reason, "reset")
		}
	}
}

// wait returns when QEMU has ended, and whether the guest rebooted.
func (q *qemu) wait() bool {
	<-q.process.Done()
	<-q.events // ends with the process's end of the socket
	return q.rebooted
}
