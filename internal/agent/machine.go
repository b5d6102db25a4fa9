package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/metal"
)

const (
	// mountPoint is where the root file system of an image is mounted.
	mountPoint = "/run/root"
	// partitionTimeout is how long the kernel may take to show partitions after it was told to look.
	partitionTimeout = 20 * time.Second
)

// Machine is the Host that really is one. It needs to be root.
type Machine struct{ console *Console }

var _ Host = (*Machine)(nil)

// SetClock sets the system clock.
func (*Machine) SetClock(now time.Time) error {
	tv := unix.NsecToTimeval(now.UnixNano())
	return unix.Settimeofday(&tv)
}

// SetRTC sets the battery-backed clock, in UTC.
func (*Machine) SetRTC(now time.Time) error {
	f, err := os.OpenFile("/dev/rtc0", os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	now = now.UTC()
	return unix.IoctlSetRTCTime(int(f.Fd()), &unix.RTCTime{
		Sec: int32(now.Second()), Min: int32(now.Minute()), Hour: int32(now.Hour()),
		Mday: int32(now.Day()), Mon: int32(now.Month()) - 1, Year: int32(now.Year()) - 1900,
	})
}

// OpenDisk opens a whole disk by kernel name.
func (*Machine) OpenDisk(name string) (*Disk, error) {
	if name == "" || strings.ContainsAny(name, "/.") {
		return nil, fmt.Errorf("cannot open disk %q: not a kernel name", name)
	}
	return OpenDisk("/dev/" + name)
}

// SetBootEntry makes UEFI firmware start from the partition, or removes our entry if esp is nil.
func (*Machine) SetBootEntry(esp *Partition) (bool, error) {
	vars := efiVars(efivarsDir)
	if _, err := vars.get("BootOrder"); errors.Is(err, fs.ErrNotExist) {
		// A machine without UEFI, or one whose firmware has no order yet.
		if entries, _ := os.ReadDir(efivarsDir); len(entries) == 0 {
			return false, nil
		}
	}
	return true, vars.setBoot(esp)
}

// BMC asks the BMC over the in-band interface.
func (m *Machine) BMC(ctx context.Context) *metal.InventoryBMC {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	bmc, err := readBMC(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.console.Stage("bmc", "cannot ask the BMC, going on: %v", err)
	}
	return bmc
}

// MountRoot mounts the partition that holds an operating system: the first with /etc/os-release, else the
// first with /var/lib.
func (m *Machine) MountRoot(ctx context.Context, disk string) (string, func() error, error) {
	t := tree("/")
	var parts []string
	list := func() []string {
		parts = nil
		for _, name := range t.list("sys/block", disk) {
			if t.exists("sys/block", disk, name, "partition") && t.exists("dev", name) {
				parts = append(parts, name)
			}
		}
		return parts
	}
	if !wait(ctx, partitionTimeout, func() bool { return len(list()) > 0 }) {
		return "", nil, fmt.Errorf("cannot find a partition on %s: is the image a whole disk?", disk)
	}
	// They appear one by one.
	wait(ctx, partitionTimeout, func() bool { before := len(parts); time.Sleep(300 * time.Millisecond); return len(list()) == before })
	if err := os.MkdirAll(mountPoint, 0o700); err != nil {
		return "", nil, err
	}
	for _, sign := range []string{"etc/os-release", "var/lib"} {
		for _, part := range parts {
			kind := fileSystem("/dev/" + part)
			if kind == "" {
				continue
			}
			// Nothing on the image is run, and none of its device files may be opened.
			if err := unix.Mount("/dev/"+part, mountPoint, kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOATIME, ""); err != nil {
				m.console.Stage("root", "cannot mount %s as %s: %v", part, kind, err)
				continue
			}
			if holds(mountPoint, sign) {
				m.console.Stage("root", "%s (%s)", part, kind)
				return mountPoint, unmountRoot, nil
			}
			if err := unix.Unmount(mountPoint, 0); err != nil {
				return "", nil, fmt.Errorf("cannot unmount %s: %w", part, err)
			}
		}
	}
	return "", nil, fmt.Errorf("cannot find the root file system among %v: want ext4 or xfs with /etc/os-release or /var/lib", parts)
}

func unmountRoot() error {
	unix.Sync()
	return unix.Unmount(mountPoint, 0)
}

// holds looks for a name without following links out of the image.
func holds(dir, name string) bool {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false
	}
	defer func() { _ = root.Close() }()
	_, err = root.Lstat(name)
	return err == nil
}

// fileSystem tells ext2/3/4 and XFS by their magic numbers; others are not mounted.
func fileSystem(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 2048)
	if _, err := f.ReadAt(head, 0); err != nil {
		return ""
	}
	switch {
	case head[1080] == 0x53 && head[1081] == 0xef:
		return "ext4"
	case string(head[:4]) == "XFSB":
		return "xfs"
	}
	return ""
}
