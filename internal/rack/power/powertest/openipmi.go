package powertest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/metal"
)

// OpenIPMI starts OpenIPMI's simulator, C code that knows nothing of Go, and waits until ask gets an answer. It returns how the
// simulator is reached, and the folder that the machine's power and boot device are in.
func OpenIPMI(t *testing.T, ask func(context.Context, metal.PowerParameters) error) (good metal.PowerParameters, dir string) {
	t.Helper()
	program, err := exec.LookPath("ipmi_sim")
	if err != nil {
		t.Skip("ipmi_sim (Debian package openipmi) is not installed")
	}
	dir = t.TempDir()
	// The chassis program is all of the machine: two files hold its power and boot device.
	chassis := filepath.Join(dir, "chassis.sh")
	write := func(name, text string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("power", "0", 0o600)
	write("boot", "none", 0o600)
	write("chassis.sh", `#!/bin/sh
cd "`+dir+`" || exit 1
shift
if [ "$1" = get ]; then
  shift
  for what in "$@"; do echo "$what:$(cat "$what")"; done
elif [ "$1" = set ]; then
  case "$2" in power|boot) echo "$3" > "$2.new" && mv "$2.new" "$2" ;; shutdown) echo 0 > power ;; esac
fi
`, 0o700)
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(free.LocalAddr().(*net.UDPAddr).Port)
	_ = free.Close()
	auths := ""
	for _, level := range []string{"callback", "user", "operator", "admin"} {
		auths += "    allowed_auths_" + level + " none md2 md5 straight\n"
	}
	write("lan.conf", `name "test"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 `+port+`
    priv_limit admin
`+auths+`    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "`+chassis+` 0x20"
  user 1 true "" "test" user 10 none md2 md5 straight
  user 2 true "admin" "secret" admin 10 none md2 md5 straight
`, 0o600)
	write("sim.emu", `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
`, 0o600)
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", filepath.Join(dir, "lan.conf"), "-f", filepath.Join(dir, "sim.emu"), "-s", filepath.Join(dir, "state"), "-n")
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })

	// Debian 12's ipmi_sim knows suite 3 but not 17, which also exercises the fall-back against C code.
	good = metal.PowerParameters{"power_address": "127.0.0.1:" + port, "power_user": "admin", "power_pass": "secret", "cipher_suite_id": "auto", "privilege_level": "ADMIN"}
	for range 50 { // until it listens
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		err = ask(ctx, good)
		cancel()
		if err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("ipmi_sim does not answer: %v", err)
	}
	return good, dir
}
