//go:build linux

// Tinyinit is the init of the tiny test image: a stand-in for an installed
// operating system that boots in seconds instead of a minute.
//
// It does the part of cloud-init that an end-to-end test can observe: it reads
// the NoCloud seed which the installer left on the root partition, reports
// what it found on the serial console, one "TINYINIT ..." line per stage, and
// phones home once per instance. It then idles until its BMC cuts the power;
// only the word tinyinit.reboot on the kernel command line makes it reboot, as
// an installer does at its end.
//
// Everything lives in the initramfs; the root partition is data, mounted at
// /sysroot. Without such a partition (a network boot, say) tinyinit only
// announces itself and the network, which lets lab tests use it as a payload.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// sysroot is where the root partition is mounted.
const sysroot = "/sysroot"

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "tinyinit: cannot run: it must be process 1 of a machine")
		os.Exit(1)
	}
	if err := mountKernelFilesystems(); err != nil {
		say("ERROR %v", err)
	}
	console()
	say("START uptime=%s", uptime())
	if err := run(context.Background()); err != nil {
		say("ERROR %v", err)
	}
	if hasArgument("tinyinit.reboot") {
		say("REBOOT")
		if err := syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART); err != nil {
			say("ERROR cannot reboot: %v", err)
		}
	}
	say("IDLE")
	// Process 1 must never return: the kernel would panic. It must not block
	// on nothing either, or the runtime reports a deadlock and exits.
	for {
		time.Sleep(time.Hour)
	}
}

// run does the work of one boot. It returns early when a later stage has
// nothing to stand on.
func run(ctx context.Context) error {
	n, err := loadModules(uname())
	say("MODULES %d", n)
	if err != nil {
		say("ERROR %v", err)
	}
	if name, err := os.ReadFile("/sys/class/ipmi/ipmi0/device/modalias"); err == nil {
		say("IPMI %s", strings.TrimSpace(string(name)))
	}

	part, err := waitForRoot(ctx, 5*time.Second)
	if err != nil {
		say("NOROOT %v", err)
		return startNetwork(ctx, nil)
	}
	if err := os.MkdirAll(sysroot, 0o755); err != nil {
		return fmt.Errorf("cannot make the mount point: %w", err)
	}
	if err := syscall.Mount("/dev/"+part, sysroot, "ext4", 0, ""); err != nil {
		return fmt.Errorf("cannot mount /dev/%s: %w", part, err)
	}
	say("ROOT %s", part)

	state := filepath.Join(sysroot, "var/lib/tinyinit")
	boots, err := countBoot(state)
	if err != nil {
		return err
	}
	say("BOOT %d", boots)

	seed, err := readSeed(sysroot)
	if err != nil {
		// As with cloud-init, a machine without a seed still comes up.
		say("NOSEED %v", err)
		return startNetwork(ctx, nil)
	}
	say("INSTANCE %s", seed.Meta.InstanceID)
	say("HOSTNAME %s", seed.Meta.Hostname)
	say("USERDATA %s", seed.UserDataSum)

	if err := startNetwork(ctx, seed.Network); err != nil {
		return err
	}
	first, err := firstBootOf(state, seed.Meta.InstanceID)
	if err != nil {
		return err
	}
	if !first || seed.PhoneHome == nil {
		return nil
	}
	status, err := phoneHome(ctx, sysroot, seed)
	if err != nil {
		say("PHONED FAILED %v", err)
	} else {
		say("PHONED %d", status)
	}
	// Once per instance whatever came of it, as cloud-init does.
	return markInstance(state, seed.Meta.InstanceID)
}

// say prints one line for the test that reads the serial console.
func say(format string, args ...any) {
	line := strings.ReplaceAll(fmt.Sprintf(format, args...), "\n", " ")
	// The leading newline keeps the prefix at the start of a line even when
	// the kernel was in the middle of one.
	fmt.Fprintf(os.Stdout, "\nTINYINIT %s\n", line)
}

// console points standard output at the console of the command line. The
// kernel opens it before /init, but only when /dev/console exists by then.
func console() {
	f, err := os.OpenFile("/dev/console", os.O_RDWR, 0)
	if err != nil {
		return
	}
	os.Stdout, os.Stderr = f, f
}

func mountKernelFilesystems() error {
	for _, m := range []struct{ fstype, dir string }{
		{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/run"}, {"tmpfs", "/tmp"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return fmt.Errorf("cannot make %s: %w", m.dir, err)
		}
		if err := syscall.Mount(m.fstype, m.dir, m.fstype, 0, ""); err != nil {
			return fmt.Errorf("cannot mount %s: %w", m.dir, err)
		}
	}
	return nil
}

// hasArgument reports whether a word is on the kernel command line.
func hasArgument(word string) bool {
	b, err := os.ReadFile("/proc/cmdline")
	return err == nil && slices.Contains(strings.Fields(string(b)), word)
}

func uname() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return runtime.GOOS
	}
	return strings.TrimSpace(string(b))
}

func uptime() string {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return "?"
	}
	f, _, _ := strings.Cut(string(b), " ")
	return f
}
