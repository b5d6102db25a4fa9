//go:build linux && e2e

package lab_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/test/e2e/lab"
)

// artefacts builds what the tests boot, or takes it from METALWARD_LAB_CACHE.
// The payload of network boots is tinyinit too: it announces itself and idles.
func artefacts(t *testing.T, ctx context.Context) (boot, tiny string) {
	t.Helper()
	cache := os.Getenv("METALWARD_LAB_CACHE")
	if cache == "" {
		cache = filepath.Join(os.TempDir(), "metalward-lab-cache")
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	agent := filepath.Join(cache, "tinyinit")
	run := func(env []string, argv ...string) {
		t.Helper()
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cannot run %v: %v\n%s", argv, err, out)
		}
	}
	run([]string{"CGO_ENABLED=0"}, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", agent, "./test/e2e/tinyinit")
	boot = filepath.Join(cache, "boot")
	run([]string{"AGENT_BIN=" + agent, "ZSTD_LEVEL=3"}, "deploy/ephemeral/build.sh", boot)
	tiny = filepath.Join(cache, "tiny.raw")
	run(nil, "test/e2e/images/build.sh", "tiny", tiny)
	return boot, tiny
}

// newNetwork makes a network whose files survive a failed test.
func newNetwork(t *testing.T, ctx context.Context) *lab.Network {
	t.Helper()
	if why := lab.Missing(); why != "" {
		t.Skip(why)
	}
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	n, err := lab.NewNetwork(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("closing the network: %v", err)
		}
		if t.Failed() {
			t.Logf("logs are in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	return n
}

const bootScript = `#!ipxe
kernel http://%s/vmlinuz initrd=initrd.zst no_timer_check console=ttyS0,115200 lab.secret=swordfish-77
initrd http://%s/initrd.zst
boot
`

// serveBoot stands in for the product: dnsmasq gives addresses and the address
// of a script, the script loads the kernel and the initrd over HTTP.
func serveBoot(t *testing.T, ctx context.Context, n *lab.Network, boot string) {
	t.Helper()
	l, err := n.Listen(ctx, lab.Rack, "tcp", lab.BootAddr+":80")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /boot.ipxe", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, bootScript, lab.BootAddr, lab.BootAddr)
	})
	mux.Handle("GET /", http.FileServer(http.Dir(boot)))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })

	conf := filepath.Join(n.Dir(), "dnsmasq.conf")
	// The router advertisement is for iPXE, which waits 13 s for one.
	err = os.WriteFile(conf, []byte(`port=0
interface=br0
bind-interfaces
no-ping
log-dhcp
enable-tftp
tftp-root=`+boot+`
dhcp-leasefile=`+n.Dir()+`/leases
dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0,10m
enable-ra
dhcp-range=fd77:77::,ra-only,64
dhcp-match=set:ipxe,option:user-class,iPXE
dhcp-match=set:bios,option:client-arch,0
dhcp-match=set:efi64,option:client-arch,7
dhcp-boot=tag:ipxe,http://`+lab.BootAddr+`/boot.ipxe
dhcp-boot=tag:!ipxe,tag:bios,undionly.kpxe
dhcp-boot=tag:!ipxe,tag:efi64,snponly.efi
`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Start(lab.Rack, "dnsmasq", nil, "dnsmasq", "--keep-in-foreground", "--user=root", "--log-facility=-", "--conf-file="+conf); err != nil {
		t.Fatal(err)
	}
}

// ipmi runs ipmitool and wants its output to contain something.
func ipmi(t *testing.T, ctx context.Context, m *lab.Machine, cipher int, want string, args ...string) {
	t.Helper()
	out, err := m.BMC().Ipmitool(ctx, cipher, args...)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, want) {
		t.Fatalf("ipmitool %v printed %q, want %q in it", args, out, want)
	}
}

// within waits for a line on the console and logs how long it took.
func within(t *testing.T, ctx context.Context, m *lab.Machine, limit time.Duration, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	start := time.Now()
	if err := m.WaitSerial(ctx, text); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %q after %.1f s", m.Name(), text, time.Since(start).Seconds())
}

func newMachine(t *testing.T, ctx context.Context, n *lab.Network, c lab.MachineConfig) *lab.Machine {
	t.Helper()
	m, err := n.NewMachine(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestMachine boots one machine over the network and then from its disk, with
// all power control through its BMC, and finds a secret on the wire.
func TestMachine(t *testing.T) {
	for _, test := range []struct {
		name    string
		machine lab.MachineConfig
	}{
		{"bios", lab.MachineConfig{Firmware: lab.BIOS}},
		{"uefi", lab.MachineConfig{Firmware: lab.UEFI}},
		{"uefi native PXE", lab.MachineConfig{Firmware: lab.UEFI, NativePXE: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			n := newNetwork(t, ctx)
			boot, tiny := artefacts(t, ctx)
			serveBoot(t, ctx, n, boot)
			c := test.machine
			c.Name, c.BMC = "m1", &lab.BMCConfig{User: "ops", Password: "correct-horse"}
			c.Disks = []lab.Disk{{Image: tiny, Size: 1 << 30}}
			m := newMachine(t, ctx, n, c)
			capture, err := n.Capture(ctx, lab.Rack, lab.BootIface, "boot")
			if err != nil {
				t.Fatal(err)
			}

			ipmi(t, ctx, m, 3, "off", "power", "status")
			ipmi(t, ctx, m, 3, "", "chassis", "bootdev", "pxe")
			ipmi(t, ctx, m, 3, "Force PXE", "chassis", "bootparam", "get", "5")
			ipmi(t, ctx, m, 3, "", "power", "on")
			within(t, ctx, m, 3*time.Minute, "TINYINIT START")
			within(t, ctx, m, time.Minute, "TINYINIT IDLE")
			ipmi(t, ctx, m, 3, "on", "power", "status")
			if !strings.Contains(m.Serial(), "TINYINIT IPMI") {
				t.Error("the guest did not find its BMC in-band")
			}
			if err := capture.Stop(ctx); err != nil {
				t.Fatal(err)
			}
			found, err := capture.Search([]byte("swordfish-77"), []byte("nobody ever sends this"))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) == 0 || found[0].Needle != 0 {
				t.Errorf("the search of the capture found %v", found)
			}

			// A reset through the BMC; the boot device was for one boot only.
			// A UEFI machine now starts from its disk, a BIOS machine would
			// still ask the network first, so take the network away from it.
			ipmi(t, ctx, m, 3, "", "power", "off")
			ipmi(t, ctx, m, 3, "off", "power", "status")
			m.SetBoot(lab.BootDisk)
			ipmi(t, ctx, m, 3, "", "power", "on")
			within(t, ctx, m, 3*time.Minute, "TINYINIT NETWORK")
			if rootAt, err := m.SerialLine(ctx, "TINYINIT ROOT "); err != nil || rootAt != "vda3" {
				t.Errorf("root is %q (%v), want vda3", rootAt, err)
			}
			if first, second := m.BMC().Freeze(), ctx; first != nil {
				t.Fatal(first, second)
			}
			short, stop := context.WithTimeout(ctx, 5*time.Second)
			if out, err := m.BMC().Ipmitool(short, 3, "power", "status"); err == nil {
				t.Errorf("a frozen BMC answered %q", out)
			}
			stop()
			if err := m.BMC().Thaw(); err != nil {
				t.Fatal(err)
			}
			m.SetBoot(lab.BootDisk)
			ipmi(t, ctx, m, 3, "", "power", "reset")
			within(t, ctx, m, 3*time.Minute, "TINYINIT BOOT")
			t.Logf("serial: %d starts", m.Starts())
		})
	}
}

// TestCipherSuites says which RMCP+ cipher suites the simulated BMC speaks.
func TestCipherSuites(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	n := newNetwork(t, ctx)
	m := newMachine(t, ctx, n, lab.MachineConfig{Name: "m1", BMC: &lab.BMCConfig{}})
	ipmi(t, ctx, m, 3, "off", "power", "status")
	if out, err := m.BMC().Ipmitool(ctx, 17, "power", "status"); err != nil {
		t.Logf("cipher suite 17 is not offered: %v", err)
	} else {
		t.Logf("cipher suite 17: %s", out)
	}
}
