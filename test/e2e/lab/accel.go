//go:build linux

package lab

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"time"
)

// tcgArgs: la57 is off because five-level paging makes emulation slower.
var tcgArgs = []string{"-accel", "tcg", "-cpu", "max,la57=off"}

var kvmArgs = []string{"-accel", "kvm", "-cpu", "host"}

// accelArgs chooses once per process. /dev/kvm alone proves nothing: where it is
// a software implementation, firmware and kernels run far slower than under TCG.
var accelArgs = sync.OnceValue(func() []string {
	switch os.Getenv("METALWARD_LAB_ACCEL") {
	case "tcg":
		return tcgArgs
	case "kvm":
		return kvmArgs
	}
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !regexp.MustCompile(`(?m)^flags.*\b(vmx|svm)\b`).Match(cpu) || !kvmBoots() {
		return tcgArgs
	}
	return kvmArgs
})

// kvmBoots runs the BIOS to its end, which takes a second with working KVM.
func kvmBoots() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	args := append([]string{"-nodefaults", "-display", "none", "-machine", "pc,graphics=off",
		"-m", "64", "-serial", "stdio", "-boot", "reboot-timeout=0", "-no-reboot"}, kvmArgs...)
	out, _ := exec.CommandContext(ctx, "qemu-system-x86_64", args...).Output()
	return bytes.Contains(out, []byte("No bootable device"))
}
