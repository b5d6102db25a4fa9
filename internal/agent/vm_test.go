package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

// vm boots the ephemeral system in an emulated machine, without firmware, against the fake rack. QEMU's own
// DHCP server shows the host's loopback as 10.0.2.2, so neither root nor a network namespace is needed.
//
//	METALWARD_VM_BOOT   directory made by deploy/ephemeral/build.sh; without it the tests are skipped
//	METALWARD_VM_IMAGE  image.zst to deploy, made by test/e2e/images/build.sh
func vm(t *testing.T, rack *fakeRack, flags ...string) string {
	t.Helper()
	return vmLine(t, rack, func(line string) string { return line }, flags...)
}

// vmLine is vm with a kernel command line that was tampered with.
func vmLine(t *testing.T, rack *fakeRack, tamper func(line string) string, flags ...string) string {
	t.Helper()
	boot := os.Getenv("METALWARD_VM_BOOT")
	if boot == "" {
		t.Skip("boots emulated machines for minutes, and make e2e does so too: set METALWARD_VM_BOOT to the folder of make ephemeral to run it alone")
	}
	address := net.IPv4(10, 0, 2, 2)
	rack.ca = newAuthority(t, time.Now().Add(-time.Hour), func(c *x509.Certificate) {
		c.PermittedIPRanges = []*net.IPNet{{IP: address.To4(), Mask: net.CIDRMask(24, 32)}}
	})
	rack.TLS.Certificates = []tls.Certificate{rack.ca.server(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{address} })}
	rack.TLS.ClientCAs.AddCert(rack.ca.cert)
	rack.StartTLS()
	u, err := url.Parse(rack.URL)
	if err != nil {
		t.Fatal(err)
	}
	line := fmt.Sprintf("console=ttyS0 no_timer_check loglevel=4 %s=https://%s:%s %s=%x %s=%s %s=01-%s", wire.ArgRack, address, u.Port(),
		wire.ArgCA, rack.args().CA, wire.ArgToken, testToken, wire.ArgBootMAC, strings.ReplaceAll(testMAC.String(), ":", "-"))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", append([]string{"-nodefaults", "-display", "none", "-serial", "stdio",
		"-m", "512", "-smp", "1", "-accel", "tcg", "-cpu", "max,la57=off", "-no-reboot", "-device", "virtio-rng-pci",
		"-uuid", "8d3c2f5e-0000-4000-8000-000000000001", "-smbios", "type=1,manufacturer=Metalward,product=LabVM,serial=SN1",
		"-rtc", "base=2001-01-01", // the clock must come from the rack
		"-kernel", filepath.Join(boot, "vmlinuz"), "-initrd", filepath.Join(boot, "initrd.zst"), "-append", tamper(line),
		"-netdev", "user,id=n0,restrict=off"}, flags...)...)
	return power(t, cmd, "")
}

// power switches the machine on until it ends by itself, or until its console shows a text.
func power(t *testing.T, cmd *exec.Cmd, until string) string {
	t.Helper()
	console := &watcher{until: until, found: func() { _ = cmd.Process.Kill() }}
	cmd.Stdout, cmd.Stderr = console, console
	start := time.Now()
	err := cmd.Run()
	t.Logf("machine was on for %v\n%s", time.Since(start).Round(100*time.Millisecond), stages(console.b.String()))
	if err != nil && (until == "" || !strings.Contains(console.b.String(), until)) {
		t.Fatalf("the machine did not come to its end: %v\n%s", err, console.b.String())
	}
	return console.b.String()
}

// watcher keeps what is written and calls found at a text.
type watcher struct {
	b     bytes.Buffer
	until string
	found func()
}

func (w *watcher) Write(p []byte) (int, error) {
	w.b.Write(p)
	if w.until != "" && bytes.Contains(w.b.Bytes(), []byte(w.until)) {
		w.found()
		w.until = ""
	}
	return len(p), nil
}

// OpenIPMI's simulator is the BMC, and the machine reads its address in-band.
func TestVMBMC(t *testing.T) {
	if _, err := exec.LookPath("ipmi_sim"); err != nil {
		t.Skip("ipmi_sim (Debian package openipmi) is not installed")
	}
	rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeEnlist, Then: wire.ThenPowerOff})
	dir := t.TempDir()
	port := func() int {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		return l.Addr().(*net.TCPAddr).Port
	}
	console := port()
	writeTree(t, dir, map[string]string{
		// Prints NAME:VALUE for each name after "get"; the simulator asks for all that it knows.
		"lan": `#!/bin/sh
for name in "$@"; do case $name in
ip_addr) echo ip_addr:10.78.0.11;;
ip_addr_src) echo ip_addr_src:static;;
mac_addr|*_mac_addr) echo $name:52:54:00:00:00:99;;
subnet_mask|*_ip_addr) echo $name:255.255.255.0;;
esac; done
`,
		"lan.conf": fmt.Sprintf("name \"bmc\"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 %d\npriv_limit admin\nguid a123456789abcdefa123456789abcdef\n"+
			"lan_config_program \"%s/lan 1\"\nendlan\nserial 15 127.0.0.1 %d codec VM\n", port(), dir, console),
		"sim.emu":    "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nsel_enable 0x20 1000 0x0a\nmc_enable 0x20\n",
		"state/keep": "",
	})
	if err := os.Chmod(filepath.Join(dir, "lan"), 0o700); err != nil {
		t.Fatal(err)
	}
	bmc := exec.CommandContext(t.Context(), "ipmi_sim", "-c", dir+"/lan.conf", "-f", dir+"/sim.emu", "-s", dir+"/state", "-n")
	if err := bmc.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bmc.Process.Kill(); _ = bmc.Wait() }()
	vm(t, rack, "-machine", "pc", "-device", virtioNIC, "-chardev", fmt.Sprintf("socket,id=ipmi0,host=127.0.0.1,port=%d,reconnect=2", console),
		"-device", "ipmi-bmc-extern,chardev=ipmi0,id=bmc0", "-device", "isa-ipmi-kcs,bmc=bmc0")
	want := metal.InventoryBMC{PowerType: "ipmi", Address: "10.78.0.11", MAC: "52:54:00:00:00:99"}
	if len(rack.found) != 1 || rack.found[0].BMC == nil || *rack.found[0].BMC != want {
		t.Errorf("got %+v, want BMC %+v", rack.found, want)
	}
}

// A machine that cannot start its work is off within a minute, and says why.
func TestVMFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		tamper func(rack *fakeRack, line string) string
		want   string
	}{
		"no arguments": {func(_ *fakeRack, line string) string { return strings.ReplaceAll(line, "metalward.", "x.") }, "METALWARD failed cannot use the kernel command line"},
		"another CA": {func(_ *fakeRack, line string) string {
			return strings.Replace(line, wire.ArgCA+"=", wire.ArgCA+"=0000", 1)
		}, "METALWARD failed cannot use metalward.ca"},
		"spent token": {func(_ *fakeRack, line string) string { return strings.Replace(line, testToken, "x"+testToken, 1) }, "the rack refused with 403: no such boot"},
		"no such card": {func(_ *fakeRack, line string) string {
			return strings.Replace(line, "01-52-54-00-00-00-01", "01-52-54-00-00-00-02", 1)
		}, "METALWARD failed cannot find the interface"},
	} {
		t.Run(name, func(t *testing.T) {
			rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeEnlist})
			out := vmLine(t, rack, func(line string) string { return tc.tamper(rack, line) }, "-machine", "pc", "-device", virtioNIC)
			if !strings.Contains(out, tc.want) || !strings.Contains(out, "METALWARD off poweroff") {
				t.Errorf("want %q and a power off, got\n%s", tc.want, out)
			}
		})
	}
}

// stages keeps the agent's own lines of a console.
func stages(console string) string {
	var b strings.Builder
	for line := range strings.Lines(console) {
		if strings.Contains(line, "METALWARD") || strings.Contains(line, "TINYINIT") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func disk(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, bytes.Repeat([]byte("old data "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

const virtioNIC = "virtio-net-pci,netdev=n0,mac=" + string(testMAC)

func TestVMCommission(t *testing.T) {
	for name, hardware := range map[string][]string{
		"virtio": {"-machine", "pc", "-device", virtioNIC, "-device", "virtio-blk-pci,drive=d,serial=DISK1"},
		"e1000e-nvme-ahci-ipmi": {"-machine", "q35", "-device", "e1000e,netdev=n0,mac=" + testMAC.String(), "-device", "nvme,serial=DISK1,drive=d",
			"-device", "ide-hd,serial=SATA1,drive=e", "-device", "ipmi-bmc-sim,id=bmc0", "-device", "isa-ipmi-kcs,bmc=bmc0"},
		"virtio-scsi": {"-machine", "q35", "-device", virtioNIC, "-device", "virtio-scsi-pci", "-device", "scsi-hd,serial=DISK1,drive=d"},
	} {
		t.Run(name, func(t *testing.T) {
			rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeCommission, Then: wire.ThenPowerOff, Scripts: metal.CommissioningScripts})
			flags := append(hardware, "-drive", "file="+disk(t, 64*mib)+",if=none,id=d,format=raw")
			if strings.Contains(name, "ahci") {
				flags = append(flags, "-drive", "file="+disk(t, 32*mib)+",if=none,id=e,format=raw")
			}
			vm(t, rack, flags...)
			for _, s := range metal.CommissioningScripts {
				t.Logf("%s: %v\n%s%s", s.Name, rack.ends[s.Name].Status, rack.streams[s.Name+"/stdout"], rack.streams[s.Name+"/stderr"])
				if rack.ends[s.Name].Status != metal.ScriptPassed {
					t.Errorf("%s: got %v, want Passed", s.Name, rack.ends[s.Name].Status)
				}
			}
			if len(rack.done) != 1 || !rack.done[0].OK || len(rack.found) != 1 {
				t.Fatalf("got done %+v and %d inventories", rack.done, len(rack.found))
			}
			v := rack.found[0]
			i, err := findDisk(v.Disks, "DISK1", "")
			if err != nil || i.SizeBytes != 64*mib {
				t.Errorf("got disks %+v, %v", v.Disks, err)
			}
			if len(v.Interfaces) != 1 || !v.Interfaces[0].LinkUp || v.DMI.SystemSerial != "SN1" || v.HardwareUUID == "" {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func TestVMDeploy(t *testing.T) {
	image := os.Getenv("METALWARD_VM_IMAGE")
	if image == "" {
		t.Skip("needs an image to deploy: set METALWARD_VM_IMAGE to what test/e2e/images/build.sh tiny made")
	}
	packed, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	code, vars := "/usr/share/OVMF/OVMF_CODE_4M.fd", filepath.Join(t.TempDir(), "vars.fd")
	firmware, err := os.ReadFile("/usr/share/OVMF/OVMF_VARS_4M.fd")
	if err != nil {
		t.Skip("no UEFI firmware (Debian package ovmf)")
	}
	if err := os.WriteFile(vars, firmware, 0o600); err != nil {
		t.Fatal(err)
	}
	rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeDeploy, Then: wire.ThenReboot, Deploy: &wire.DeployTask{
		ImageSHA256: digestOf(packed), ImageSize: int64(len(packed)), Compression: "zstd", DiskSerial: "DISK1"}})
	rack.image = packed
	rack.seed = wire.SeedResponse{MetaData: []byte("instance-id: vm1\nlocal-hostname: vm1\n"), UserData: []byte("#cloud-config\n"), VendorData: []byte("#cloud-config\n")}
	target := disk(t, 1<<30)
	hardware := []string{"-machine", "q35", "-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + code,
		"-drive", "if=pflash,format=raw,unit=1,file=" + vars, "-device", virtioNIC, "-device", "nvme,drive=d,serial=DISK1",
		"-drive", "file=" + target + ",if=none,id=d,format=raw,cache=unsafe,discard=unmap"}
	out := vm(t, rack, hardware...)
	if len(rack.done) != 1 || !rack.done[0].OK {
		t.Fatalf("got done %+v\n%s", rack.done, out)
	}
	if !strings.Contains(out, "METALWARD efi boot entry") {
		t.Error("no boot entry was made")
	}

	// The firmware starts what was installed, and that finds its seed. "TINYINIT" is the tiny image's own prefix.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	disk := exec.CommandContext(ctx, "qemu-system-x86_64", append([]string{"-nodefaults", "-display", "none", "-serial", "stdio", "-m", "1024",
		"-accel", "tcg", "-cpu", "max,la57=off", "-no-reboot", "-netdev", "user,id=n0,restrict=on",
		"-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=no"}, hardware...)...)
	if out := power(t, disk, "TINYINIT HOSTNAME vm1"); strings.Contains(out, "PXE") {
		t.Error("the firmware tried the network before our entry")
	}

	// The same machine, a day later.
	rack = newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeErase, Then: wire.ThenPowerOff, Erase: &wire.EraseTask{}})
	vm(t, rack, hardware...)
	if len(rack.done) != 1 || !rack.done[0].OK {
		t.Fatalf("got done %+v", rack.done)
	}
	data, err := os.ReadFile(target)
	if err != nil || len(bytes.Trim(data, "\x00")) > 0 {
		t.Errorf("the disk is not empty: %v", err)
	}
}
