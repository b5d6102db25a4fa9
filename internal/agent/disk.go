package agent

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/metal"
)

const (
	mib = 1 << 20
	// chunk is what is read or written at once: large enough for any disk, small for any memory.
	chunk = 4 * mib
	// pieceBytes is how much is discarded or zeroed by one call, so that there are signs of life between them.
	pieceBytes = 256 * mib
	// flushEvery bounds dirty pages: without it a slow disk is hidden by memory until the very end.
	flushEvery = 256 * mib
	// sampleBlocks blocks of sampleBytes are read back after a discard. Data on a thousandth of the disk that
	// survived is missed once in sixty erasures, on a hundredth never.
	sampleBlocks = 4096
	sampleBytes  = 4096
)

var zeros = make([]byte, chunk)

// Disk is a whole disk open for writing, or a regular file that stands for one. Not safe for concurrent use.
type Disk struct {
	f     *os.File
	size  int64
	block int64 // logical block size
	// discard and zeroOut are what the device can do by itself; an error means that it cannot.
	discard, zeroOut func(off, n int64) error
	flush            func() error // forgets what is cached, so that reads come from the device
	reread           func() error // makes the kernel look for partitions
}

// errNoOffload is returned where a device has no command of its own.
var errNoOffload = errors.New("not supported")

// OpenDisk opens a block device for exclusive use, or a regular file for tests.
func OpenDisk(path string) (*Disk, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open disk: %w", err)
	}
	d, err := newDisk(f)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot use disk %s: %w", path, err)
	}
	return d, nil
}

func newDisk(f *os.File) (*Disk, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	unsupported := func(int64, int64) error { return errNoOffload }
	d := &Disk{f: f, size: info.Size(), block: 512, discard: unsupported, zeroOut: unsupported,
		flush: func() error { return nil }, reread: func() error { return nil }}
	if info.Mode()&os.ModeDevice == 0 {
		return d, nil
	}
	fd := f.Fd()
	var size uint64
	if err := ioctl(fd, unix.BLKGETSIZE64, unsafe.Pointer(&size)); err != nil {
		return nil, fmt.Errorf("cannot read its size: %w", err)
	}
	block, err := unix.IoctlGetInt(int(fd), unix.BLKSSZGET)
	if err != nil {
		return nil, fmt.Errorf("cannot read its block size: %w", err)
	}
	d.size, d.block = int64(size), int64(block)
	ranged := func(request uintptr) func(off, n int64) error {
		return func(off, n int64) error {
			span := [2]uint64{uint64(off), uint64(n)}
			return ioctl(fd, request, unsafe.Pointer(&span))
		}
	}
	d.discard, d.zeroOut = ranged(unix.BLKDISCARD), ranged(unix.BLKZEROOUT)
	d.flush = func() error { return ioctl(fd, unix.BLKFLSBUF, nil) }
	d.reread = func() error { return ioctl(fd, unix.BLKRRPART, nil) }
	return d, nil
}

func ioctl(fd, request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg))
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}

// Close closes the disk; it does not write back.
func (d *Disk) Close() error { return d.f.Close() }

// Sync writes back everything and forgets what was cached.
func (d *Disk) Sync() error {
	if err := d.f.Sync(); err != nil {
		return fmt.Errorf("cannot write back: %w", err)
	}
	_ = unix.Fadvise(int(d.f.Fd()), 0, 0, unix.FADV_DONTNEED)
	return nil
}

// Discard tells the device that nothing on it is needed. It does not promise what is read afterwards.
func (d *Disk) Discard(tick func(done int64)) error {
	return d.pieces(0, d.size, 64*pieceBytes, tick, d.discard)
}

// Zero makes a range read as zeros, by the device's own command where it has one: the kernel guarantees the
// result of BLKZEROOUT, unlike that of a discard.
func (d *Disk) Zero(off, n int64, tick func(done int64)) error {
	return d.pieces(off, n, pieceBytes, tick, func(off, n int64) error {
		if off%d.block == 0 && n%d.block == 0 && d.zeroOut(off, n) == nil {
			return nil
		}
		for n > 0 {
			part := min(n, chunk)
			if _, err := d.f.WriteAt(zeros[:part], off); err != nil {
				return fmt.Errorf("cannot write zeros: %w", err)
			}
			off, n = off+part, n-part
		}
		return nil
	})
}

func (d *Disk) pieces(off, n, size int64, tick func(int64), do func(off, n int64) error) error {
	for done := int64(0); done < n; {
		part := min(n-done, size)
		if err := do(off+done, part); err != nil {
			return err
		}
		done += part
		if tick != nil {
			tick(done)
		}
	}
	return nil
}

// ends are the first and the last MiB: partition tables, boot loaders, RAID and file system signatures.
func (d *Disk) ends() [2][2]int64 {
	n := min(mib, d.size)
	return [2][2]int64{{0, n}, {d.size - n, n}}
}

// ZeroEnds makes the disk look unused to firmware and operating systems.
func (d *Disk) ZeroEnds() error {
	for _, e := range d.ends() {
		if err := d.Zero(e[0], e[1], nil); err != nil {
			return err
		}
	}
	return d.Sync()
}

// firstNonZero reads ranges of the device and returns where something other than zero is, or -1.
func (d *Disk) firstNonZero(ranges [][2]int64, tick func(int64)) (int64, error) {
	if err := d.flush(); err != nil {
		return 0, fmt.Errorf("cannot drop cached blocks: %w", err)
	}
	_ = unix.Fadvise(int(d.f.Fd()), 0, 0, unix.FADV_RANDOM) // reading ahead is wasted on samples
	buf := make([]byte, mib)
	for _, r := range ranges {
		for off, end := r[0], r[0]+r[1]; off < end; {
			part := buf[:min(end-off, mib)]
			if _, err := d.f.ReadAt(part, off); err != nil {
				return 0, fmt.Errorf("cannot read back at %d: %w", off, err)
			}
			if !allZero(part) {
				return off, nil
			}
			off += int64(len(part))
			tick(off)
		}
	}
	return -1, nil
}

// sample returns the ends of the disk and blocks spread over it, one at a random place in each equal part, so
// that no layout can be lucky.
func (d *Disk) sample() [][2]int64 {
	ends := d.ends()
	ranges := ends[:]
	stride := d.size / sampleBlocks
	if stride <= 2*sampleBytes {
		return [][2]int64{{0, d.size}}
	}
	random := make([]byte, 8*sampleBlocks)
	_, _ = rand.Read(random)
	for i := range int64(sampleBlocks) {
		within := int64(binary.LittleEndian.Uint64(random[8*i:])>>1) % (stride - sampleBytes)
		ranges = append(ranges, [2]int64{(i*stride + within) &^ 511, sampleBytes})
	}
	return ranges
}

func allZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

// errTooSmall is why an image does not fit.
type errTooSmall struct{ disk, at int64 }

func (e errTooSmall) Error() string {
	return fmt.Sprintf("disk too small: it has %d bytes and the image needs more than %d", e.disk, e.at)
}

// WriteImage copies an unpacked image to the start of the disk, all but its first MiB: without that nothing starts
// from the disk, whatever happens until WriteHead writes it. It returns it, and the size of the image. Blocks of zeros
// are not written but zeroed, which costs most devices nothing.
func (d *Disk) WriteImage(src io.Reader, tick func()) (head []byte, size int64, err error) {
	buf := make([]byte, chunk)
	var off, zeroFrom, flushed int64 // zeros from zeroFrom to off are not on the disk yet
	flushZeros := func() error {
		err := d.Zero(zeroFrom, off-zeroFrom, func(int64) { tick() })
		zeroFrom = off
		return err
	}
	for {
		n, err := io.ReadFull(src, buf)
		if n > 0 {
			part := buf[:n]
			if off+int64(n) > d.size {
				return nil, off, errTooSmall{d.size, d.size}
			}
			if off == 0 {
				head = bytes.Clone(part[:min(n, mib)])
				clear(part[:len(head)])
			}
			if allZero(part) {
				off += int64(n)
			} else {
				if err := flushZeros(); err != nil {
					return nil, off, err
				}
				if _, err := d.f.WriteAt(part, off); err != nil {
					return nil, off, fmt.Errorf("cannot write at %d: %w", off, err)
				}
				off += int64(n)
				zeroFrom = off
			}
			if off-flushed >= flushEvery {
				if err := d.f.Sync(); err != nil {
					return nil, off, fmt.Errorf("cannot write back: %w", err)
				}
				_ = unix.Fadvise(int(d.f.Fd()), flushed, off-flushed, unix.FADV_DONTNEED)
				flushed = off
			}
			tick()
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return head, off, flushZeros()
		case err != nil:
			return nil, off, err
		}
	}
}

// WriteHead writes what WriteImage left out, once all else is on the disk.
func (d *Disk) WriteHead(head []byte) error {
	if _, err := d.f.WriteAt(head, 0); err != nil {
		return fmt.Errorf("cannot write the start of the image: %w", err)
	}
	return d.Sync()
}

// findDisk chooses a disk by serial, or by name if there is no serial. A disk with another serial is never
// taken for the missing one: it may hold somebody's data.
func findDisk(disks []metal.InventoryDisk, serial, name string) (metal.InventoryDisk, error) {
	var found []metal.InventoryDisk
	for _, d := range disks {
		if serial != "" && d.Serial == serial || serial == "" && name != "" && d.Name == name {
			found = append(found, d)
		}
	}
	// Two paths to one disk, or a vendor who gives all disks the same serial: the name must decide.
	if len(found) > 1 {
		for _, d := range found {
			if d.Name == name {
				return d, nil
			}
		}
		return metal.InventoryDisk{}, fmt.Errorf("no single disk: %d disks have serial %s and none of them is %q", len(found), serial, name)
	}
	if len(found) == 0 {
		var have []string
		for _, d := range disks {
			have = append(have, fmt.Sprintf("%s (serial %q)", d.Name, d.Serial))
		}
		return metal.InventoryDisk{}, fmt.Errorf("no disk with serial %q or name %q; found: %v", serial, name, have)
	}
	return found[0], nil
}
