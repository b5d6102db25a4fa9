//go:build linux && e2e

package lab_test

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/test/e2e/lab"
)

// artefacts builds what the tests boot, or takes it from METALWARD_LAB_CACHE.
// The payload of network boots is tinyinit too: it announces itself and idles. METALWARD_LAB_ZSTD is how hard its
// initrd is compressed, by default quickly.
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
	run([]string{"AGENT_BIN=" + agent, "ZSTD_LEVEL=" + cmp.Or(os.Getenv("METALWARD_LAB_ZSTD"), "3")}, "deploy/ephemeral/build.sh", boot)
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
		if t.Failed() || os.Getenv("METALWARD_LAB_KEEP") != "" {
			t.Logf("logs are in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	return n
}

const bootScript = `#!ipxe
kernel http://%s/vmlinuz initrd=initrd.zst no_timer_check console=ttyS0,115200 tinyinit.reboot lab.secret=swordfish-77
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
		reboot  lab.Boot
	}{
		{"bios", lab.MachineConfig{Firmware: lab.BIOS}, lab.BootDisk},
		{"uefi", lab.MachineConfig{Firmware: lab.UEFI}, lab.BootDefault},
		{"uefi native PXE", lab.MachineConfig{Firmware: lab.UEFI, NativePXE: true}, lab.BootDefault},
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
			powered := time.Now()
			within(t, ctx, m, time.Minute, "Configuring")
			within(t, ctx, m, 2*time.Minute, "boot.ipxe")
			within(t, ctx, m, 3*time.Minute, "Linux version")
			within(t, ctx, m, 3*time.Minute, "TINYINIT START")
			t.Logf("power-on to /init over the network: %.1f s", time.Since(powered).Seconds())
			m.SetBoot(test.reboot)
			within(t, ctx, m, time.Minute, "TINYINIT REBOOT")
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

			// The payload reboots by itself, as an installer does. The BMC's
			// boot device was for one boot only, so a UEFI machine now starts
			// from its disk; a BIOS machine would ask the network again.
			// Boot 1 was the payload's, which mounts the disk as well.
			within(t, ctx, m, 3*time.Minute, "TINYINIT BOOT 2")
			within(t, ctx, m, 3*time.Minute, "TINYINIT NETWORK")
			if rootAt, err := m.SerialLine(ctx, "TINYINIT ROOT "); err != nil || rootAt != "vda3" {
				t.Errorf("root is %q (%v), want vda3", rootAt, err)
			}
			ipmi(t, ctx, m, 3, "on", "power", "status")

			if err := m.BMC().Freeze(); err != nil {
				t.Fatal(err)
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
			within(t, ctx, m, 3*time.Minute, "TINYINIT BOOT 3")
			ipmi(t, ctx, m, 3, "", "power", "off")
			ipmi(t, ctx, m, 3, "off", "power", "status")
			if m.Starts() != 3 {
				t.Errorf("the machine started %d times, want 3", m.Starts())
			}
		})
	}
}

// TestTinyImage boots an installed disk: the stand-in for cloud-init reads the
// seed, phones home over TLS with the one certificate it was given, once.
func TestTinyImage(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	n := newNetwork(t, ctx)
	boot, tiny := artefacts(t, ctx)
	serveBoot(t, ctx, n, boot)

	calls := make(chan string, 10)
	l, err := n.Listen(ctx, lab.Rack, "tcp", lab.BootAddr+":5443")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		calls <- r.Method + " " + r.URL.Path + " " + r.PostForm.Encode()
	}))
	server.Listener.Close()
	server.Listener = l
	certificate, ca := selfSigned(t, lab.BootAddr)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	server.StartTLS()
	defer server.Close()

	m := newMachine(t, ctx, n, lab.MachineConfig{Name: "m1", Disks: []lab.Disk{{Image: tiny, Size: 1 << 30}}})
	root, err := lab.OpenRootFS(m.DiskPath(0))
	if err != nil {
		t.Fatal(err)
	}
	const user = "#cloud-config\nhostname: web1\n"
	for name, content := range map[string]string{
		"/var/lib/cloud/seed/nocloud/meta-data":      "instance-id: i-1\nlocal-hostname: web1\n",
		"/var/lib/cloud/seed/nocloud/user-data":      user,
		"/var/lib/cloud/seed/nocloud/network-config": "version: 2\nethernets:\n  e0:\n    match: {macaddress: \"" + m.MAC() + "\"}\n    addresses: [10.77.0.50/24]\n",
		"/var/lib/cloud/seed/nocloud/vendor-data": "#cloud-config\nphone_home: {url: \"https://" + lab.BootAddr +
			":5443/booted/1\", post: [instance_id, hostname], tries: 2}\n",
		"/etc/lab/ca.pem": string(ca),
		"/etc/systemd/system/cloud-final.service.d/50-ca.conf": "[Service]\nEnvironment=REQUESTS_CA_BUNDLE=/etc/lab/ca.pem\n",
	} {
		if err := root.Write(ctx, name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := root.Read(ctx, "/var/lib/cloud/seed/nocloud/user-data"); err != nil || string(got) != user {
		t.Fatalf("user-data reads back as %q (%v)", got, err)
	}

	m.SetBoot(lab.BootDisk)
	if err := m.PowerOn(ctx); err != nil {
		t.Fatal(err)
	}
	within(t, ctx, m, 2*time.Minute, "TINYINIT PHONED 200")
	within(t, ctx, m, time.Second, fmt.Sprintf("TINYINIT USERDATA %x", sha256.Sum256([]byte(user))))
	within(t, ctx, m, time.Second, "TINYINIT NETWORK fixed 10.77.0.50/24")
	if got, want := <-calls, "POST /booted/1 hostname=web1&instance_id=i-1"; got != want {
		t.Errorf("the machine called %q, want %q", got, want)
	}
	within(t, ctx, m, 10*time.Second, "TINYINIT IDLE")

	m.SetBoot(lab.BootDisk)
	if err := m.Reset(ctx); err != nil {
		t.Fatal(err)
	}
	within(t, ctx, m, 2*time.Minute, "TINYINIT IDLE")
	within(t, ctx, m, time.Second, "TINYINIT BOOT 2")
	if strings.Contains(m.Serial(), "PHONED") || len(calls) != 0 {
		t.Error("the machine phoned home on its second boot")
	}
	if err := m.PowerOff(); err != nil {
		t.Fatal(err)
	}
	if got, err := root.Read(ctx, "/var/lib/tinyinit/boots"); err != nil || strings.TrimSpace(string(got)) != "2" {
		t.Errorf("the boot counter on disk is %q (%v), want 2", got, err)
	}
}

func selfSigned(t *testing.T, ip string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lab"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.ParseIP(ip)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestDebianImage boots the image named by METALWARD_LAB_DEBIAN, which is too
// slow to build and to boot for every run.
func TestDebianImage(t *testing.T) {
	image := os.Getenv("METALWARD_LAB_DEBIAN")
	if image == "" {
		t.Skip("make e2e deploys Debian; to boot an image by hand, set METALWARD_LAB_DEBIAN to it")
	}
	for _, firmware := range []lab.Firmware{lab.BIOS, lab.SecureBoot} {
		t.Run(string(firmware), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
			defer cancel()
			n := newNetwork(t, ctx)
			boot, _ := artefacts(t, ctx)
			serveBoot(t, ctx, n, boot)
			m := newMachine(t, ctx, n, lab.MachineConfig{Name: "m1", Firmware: firmware, MemoryMiB: 1024,
				Disks: []lab.Disk{{Image: image, Size: 4 << 30}}})
			root, err := lab.OpenRootFS(m.DiskPath(0))
			if err != nil {
				t.Fatal(err)
			}
			for name, content := range map[string]string{
				"meta-data": "instance-id: i-1\nlocal-hostname: web1\n",
				"user-data": "#cloud-config\nruncmd: [\"echo SIZE $(df -m --output=size / | tail -1) STATUS $(cloud-init status) > /dev/ttyS0\"]\n",
			} {
				if err := root.Write(ctx, "/var/lib/cloud/seed/nocloud/"+name, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			m.SetBoot(lab.BootDisk)
			if err := m.PowerOn(ctx); err != nil {
				t.Fatal(err)
			}
			within(t, ctx, m, 2*time.Minute, "Linux version")
			within(t, ctx, m, 5*time.Minute, "web1 login:")
			line, err := m.SerialLine(ctx, "SIZE ")
			if err != nil {
				t.Fatal(err)
			}
			t.Log("runcmd:", line)
			within(t, ctx, m, 2*time.Minute, "finished at")
			if !strings.Contains(m.Serial(), "DataSourceNoCloud") {
				t.Error("cloud-init did not use the NoCloud seed")
			}
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
