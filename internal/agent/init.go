package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/wire"
)

// Exit codes of the agent to process 1. A Go panic is 2, a signal none of these: both power off.
const (
	exitPowerOff = 0
	exitReboot   = 3
)

// childMark tells a child of process 1 from somebody who runs the program on a working system, where it must
// not touch anything.
const childMark = "METALWARD_AGENT_CHILD=1"

// silence is how long the agent may give no sign of life before process 1 ends it. The longest single step is
// one ioctl that discards or zeroes a piece of a slow disk.
const silence = 20 * time.Minute

// syncTimeout bounds writing back at the end: a dying disk must not keep the machine on.
const syncTimeout = 2 * time.Minute

// mounts are the kernel's file systems, in this order.
var mounts = []struct{ kind, dir, options string }{
	{"devtmpfs", "/dev", "mode=0755"},
	{"proc", "/proc", ""},
	{"sysfs", "/sys", ""},
	{"tmpfs", "/run", "mode=0700,size=64m"},
	{"tmpfs", "/tmp", "mode=0700,size=256m"},
	{"securityfs", "/sys/kernel/security", ""},
}

// Init is process 1. It prepares the system, starts the agent as a child and ends the machine when the agent
// ended, failed or fell silent. It does not return.
func Init() {
	console := NewConsole(os.Stdout)
	console.Stage("init", "ephemeral system starts")
	for _, m := range mounts {
		_ = os.MkdirAll(m.dir, 0o755)
		flags := uintptr(unix.MS_NOSUID | unix.MS_NOEXEC)
		if m.kind == "devtmpfs" || m.dir == "/tmp" { // scripts are run from /tmp
			flags = unix.MS_NOSUID
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, flags, m.options); err != nil && !errors.Is(err, unix.EBUSY) {
			console.Stage("init", "cannot mount %s: %v", m.dir, err)
		}
	}
	// If process 1 itself should fail, the kernel restarts the machine instead of standing still.
	_ = os.WriteFile("/proc/sys/kernel/panic", []byte("30\n"), 0)
	if out, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0); err == nil {
		console.w = out
	}
	loadModules(console)
	if _, err := os.Stat("/sys/firmware/efi/efivars"); err == nil {
		if err := unix.Mount("efivarfs", efivarsDir, "efivarfs", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			console.Stage("init", "cannot mount efivarfs: %v", err)
		}
	}
	endMachine(console, supervise(console))
}

func loadModules(console *Console) {
	var name unix.Utsname
	_ = unix.Uname(&name)
	mods, err := openModules("/", unix.ByteSliceToString(name.Release[:]))
	if err != nil {
		console.Stage("modules", "%v", err)
		return
	}
	mods.problem = func(module string, err error) { console.Stage("modules", "cannot load %s: %v", module, err) }
	n := mods.loadForDevices()
	before := len(mods.tried)
	for _, m := range alwaysModules {
		mods.load(m)
	}
	console.Stage("modules", "%d for devices, %d for file systems and IPMI", n, len(mods.tried)-before)
	// Disk controllers look for their disks in the background; a new SCSI disk asks for sd_mod.
	time.Sleep(200 * time.Millisecond)
	if late := mods.loadForDevices(); late > 0 {
		console.Stage("modules", "%d more", late)
	}
}

// supervise runs the agent to its end and returns what to do with the machine. As process 1 it is also the
// parent of every orphan and reaps them.
func supervise(console *Console) wire.EndAction {
	r, w, err := os.Pipe()
	if err != nil {
		console.Stage("init", "cannot make a pipe: %v", err)
		return wire.ThenPowerOff
	}
	child, err := os.StartProcess("/proc/self/exe", []string{"metalward-agent"}, &os.ProcAttr{
		Env: []string{childMark, "PATH=/bin", "HOME=/tmp"}, Files: []*os.File{nil, os.Stdout, os.Stderr, w},
	})
	if err != nil {
		console.Stage("init", "cannot start the agent: %v", err)
		return wire.ThenPowerOff
	}
	_ = w.Close()
	beats := make(chan struct{}, 1)
	go func() { // ends when the child and so the other end of the pipe is gone
		buf := make([]byte, 4096)
		for {
			if n, err := r.Read(buf); n == 0 || err != nil {
				return
			}
			select {
			case beats <- struct{}{}:
			default:
			}
		}
	}()
	ended := make(chan unix.WaitStatus, 1)
	go func() { // ends with the child
		for {
			var status unix.WaitStatus
			pid, err := unix.Wait4(-1, &status, 0, nil)
			if pid == child.Pid {
				ended <- status
				return
			}
			if err != nil && !errors.Is(err, unix.EINTR) {
				time.Sleep(time.Second)
			}
		}
	}()
	for {
		select {
		case status := <-ended:
			if status.Exited() && status.ExitStatus() == exitReboot {
				return wire.ThenReboot
			}
			if !status.Exited() || status.ExitStatus() != exitPowerOff {
				console.Stage("failed", "the agent ended with exit status %d, signal %d", status.ExitStatus(), status.Signal())
			}
			return wire.ThenPowerOff
		case <-beats:
		case <-time.After(silence):
			console.Stage("failed", "the agent gave no sign of life for %v", silence)
			return wire.ThenPowerOff
		}
	}
}

// endMachine ends everything, writes back what is in memory and powers off or reboots. It does not return.
func endMachine(console *Console, then wire.EndAction) {
	_ = unix.Kill(-1, unix.SIGKILL)
	_ = unix.Unmount(mountPoint, unix.MNT_DETACH)
	synced := make(chan struct{})
	go func() { unix.Sync(); close(synced) }()
	select {
	case <-synced:
	case <-time.After(syncTimeout):
		console.Stage("failed", "cannot write everything back within %v", syncTimeout)
	}
	console.Stage("off", "%s", then)
	time.Sleep(100 * time.Millisecond) // serial ports are slow
	// Whatever fails falls through to the next harder way.
	if then != wire.ThenReboot {
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
		time.Sleep(30 * time.Second)
	}
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	time.Sleep(30 * time.Second)
	_ = os.WriteFile("/proc/sysrq-trigger", []byte("b"), 0)
	os.Exit(1) // a kernel panic, which panic=30 turns into a restart
}

// Work is the agent itself, a child of process 1. It returns the exit code that says what to do next.
func Work() int {
	console := NewConsole(os.Stdout)
	if os.Getenv("METALWARD_AGENT_CHILD") == "" {
		fmt.Fprintln(os.Stderr, "metalward-agent: cannot run here: it is process 1 of the ephemeral system")
		return 1
	}
	if out, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0); err == nil {
		console.w = out
	}
	unix.CloseOnExec(3)
	console.pulse = os.NewFile(3, "pulse")
	// A quarter of a small machine: decoders are bounded well below this.
	debug.SetMemoryLimit(256 << 20)
	then, err := work(context.Background(), console)
	if err != nil {
		console.Stage("failed", "%v", err)
	}
	if then == wire.ThenReboot {
		return exitReboot
	}
	return exitPowerOff
}

func work(ctx context.Context, console *Console) (wire.EndAction, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return wire.ThenPowerOff, fmt.Errorf("cannot read the kernel command line: %w", err)
	}
	args, err := ParseCommandLine(strings.TrimSpace(string(line)))
	if err != nil {
		return wire.ThenPowerOff, err
	}
	if err := connectNetwork(ctx, console, "/", args.MAC); err != nil {
		return wire.ThenPowerOff, err
	}
	then, _ := Run(ctx, Config{Args: args, Root: "/", Host: &Machine{console: console}, Console: console})
	return then, nil // Run told the error to the console and the rack
}
