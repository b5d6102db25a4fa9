//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/test/e2e/lab"
)

// Secrets of the story: no capture may hold one of them outside TLS.
const (
	bmcPassword = "bmc-Secret-7fQ2x"
	userData    = "#cloud-config\nwrite_files:\n- path: /etc/motd\n  content: tenant-secret-Zk81v\n"
	userCanary  = "tenant-secret-Zk81v"
)

// TestStoryBIOS takes one BIOS machine from power-on to deployed and back, with every network captured.
// The full run installs Debian and logs in with the owner's key; the smoke test a tiny image. gomaasapi, which is
// Juju's client, allocates, deploys and releases.
func TestStoryBIOS(t *testing.T) {
	story(t, lab.BIOS, os.Getenv("METALWARD_E2E_SMOKE") == "", false, juju)
}

// TestStoryUEFI is the same story for UEFI firmware; gomaasclient, which is that of MAAS's Terraform provider,
// allocates, deploys and releases. The region's database is a PostgreSQL by TLS, and its secrets are in a Vault, on another host.
func TestStoryUEFI(t *testing.T) {
	if os.Getenv("METALWARD_E2E_SMOKE") != "" {
		t.Skip("the smoke test runs the BIOS machine alone")
	}
	story(t, lab.UEFI, false, true, maas)
}

func story(t *testing.T, firmware lab.Firmware, debian, away bool, by mover) {
	t.Parallel()
	// What has to be built does not count against the story's time.
	_, _, tiny := artefacts(t)
	compat := compatTests(t)
	series, image := "tiny", tiny
	if debian {
		series, image = "debian", debianImage(t, tiny)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Minute)
	defer cancel()
	s := start(ctx, t, true, away)
	size := int64(512 << 20)
	if debian {
		size = 4 << 30
	}
	m := s.newMachine(ctx, "vm1", firmware, size)

	began := time.Now()
	mark := func(what string) { t.Logf("%6.1f s  %s", time.Since(began).Seconds(), what) }

	// Enlist: an unknown machine boots and becomes New; its agent powers it off.
	m.SetBoot(lab.BootPXE)
	s.must(m.PowerOn(ctx))
	s.must(m.WaitSerial(ctx, "METALWARD"))
	mark("power-on to agent")
	id := s.waitNew(ctx, m.MAC())
	mark("enlisted")
	s.waitOff(ctx, m)

	// It goes into a pool. From here on an Operator of that pool does everything; nobody else could.
	s.people(ctx, id)
	s.upload(ctx, "custom/"+series, image+".zst", "ddzst")
	s.key = s.keys["oper"]

	// Commission through the BMC.
	s.api(ctx, "PUT", "/machines/"+id+"/", "hostname", "node1", "power_type", "ipmi", "power_parameters_power_address", m.BMC().Addr(),
		"power_parameters_power_user", m.BMC().User(), "power_parameters_power_pass", bmcPassword, "power_parameters_cipher_suite_id", "3")
	s.refused(ctx, id)
	s.api(ctx, "POST", "/machines/"+id+"/op-commission")
	machine := s.waitStatus(ctx, id, "Ready")
	mark("commissioned")
	if got := machine.num("cpu_count"); got < 1 {
		t.Errorf("got %v CPUs, want at least 1", got)
	}
	if got := len(machine.list("blockdevice_set")); got != 1 {
		t.Errorf("got %d disks, want 1", got)
	}
	if strings.Contains(string(s.api(ctx, "GET", "/machines/"+id+"/?op=power_parameters")), bmcPassword) {
		t.Error("the API reads back the BMC password")
	}

	// Deploy, and let the owner reboot twice: from disk, without a word to us.
	s.addSSHKey(ctx)
	s.move(ctx, compat, by.deploy, id, series)
	machine = s.object(ctx, "/machines/"+id+"/")
	mark("deployed")
	if debian {
		s.rebootDebian(ctx, m, machine)
	} else {
		s.rebootTiny(ctx, m)
	}
	if n := s.trail(ctx, "phone_home_refused"); n != 0 {
		t.Errorf("the deployed machine reported %d times too often", n)
	}
	mark("rebooted twice by its owner")

	// Release erases.
	s.move(ctx, compat, by.release, id, "")
	mark("released")
	s.waitOff(ctx, m)
	if at := firstData(t, m.DiskPath(0)); at >= 0 {
		t.Errorf("the released disk holds data in the MiB at byte %d", at)
	}
	mark("looked at the disk")

	s.searchCaptures(ctx)
	mark("searched the captures")
	out, err := s.metalward(ctx, lab.Region, "", "trail", "verify", "--state-dir", s.stateDir)
	s.must(err)
	t.Log(strings.TrimSpace(out))
}

// rebootTiny follows the tiny image's init through two resets.
func (s *site) rebootTiny(ctx context.Context, m *lab.Machine) {
	s.t.Helper()
	s.must(m.WaitSerial(ctx, "TINYINIT PHONED 200"))
	sum := sha256.Sum256([]byte(userData))
	s.must(m.WaitSerial(ctx, "TINYINIT USERDATA "+hex.EncodeToString(sum[:])))
	for boot := 2; boot <= 3; boot++ {
		m.MarkSerial()
		s.must(m.Reset(ctx))
		s.must(m.WaitSerial(ctx, fmt.Sprintf("TINYINIT BOOT %d", boot)))
		got, err := m.WaitSerialAny(ctx, "TINYINIT IDLE", "TINYINIT PHONE ")
		s.must(err)
		if got != "TINYINIT IDLE" {
			s.t.Errorf("boot %d contacted the rack again", boot)
		}
	}
}

// rebootDebian logs in with the owner's key and finds his user data, also after two resets.
func (s *site) rebootDebian(ctx context.Context, m *lab.Machine, machine object) {
	s.t.Helper()
	ip, _ := machine.list("ip_addresses")[0].(string)
	for boot := 1; boot <= 3; boot++ {
		if boot > 1 {
			m.MarkSerial()
			s.must(m.Reset(ctx))
			s.must(m.WaitSerial(ctx, "login:"))
		}
		// What the first boot wrote, sshd's keys above all, has to be on the disk before the reset: no file system promises it within half a minute.
		got := s.ssh(ctx, ip, "cat /etc/motd; hostname; cat /var/lib/cloud/data/instance-id; systemctl is-system-running --wait >/dev/null; cloud-init status; sync")
		for _, want := range []string{userCanary, "node1", "status: done"} {
			if !strings.Contains(got, want) {
				s.t.Errorf("boot %d: got %q over SSH, want %q in it", boot, got, want)
			}
		}
	}
}

// firstData returns where the first MiB with anything but zeroes begins; -1 for a disk of zeroes.
func firstData(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf, zero := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; at += int64(len(buf)) {
		n, err := io.ReadFull(f, buf)
		if !bytes.Equal(buf[:n], zero[:n]) {
			return at
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return -1
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
