package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Layout of a GUID partition table. Source: UEFI specification 2.10, section 5.3.
const (
	gptSignature   = "EFI PART"
	gptHeaderBytes = 92
	maxGPTEntries  = 1024 // the usual number is 128
	maxGPTEntry    = 4096 // the usual size is 128
)

// Type GUIDs in the mixed-endian form they have on disk.
var (
	typeESP  = [16]byte{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}
	typeBIOS = [16]byte{0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e, 0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49}
)

// errNoGPT says that a disk has no GUID partition table: MBR, or none.
var errNoGPT = errors.New("no GUID partition table")

// Partition is an entry of a GUID partition table.
type Partition struct {
	Number      int // from 1
	Type, GUID  [16]byte
	First, Last uint64 // logical blocks, both inside
}

// storage is what the table is read from and written to.
type storage interface {
	io.ReaderAt
	io.WriterAt
}

// gpt is a GUID partition table in memory.
type gpt struct {
	block   int64
	header  []byte // of headerBytes
	entries []byte
	size    int // of an entry
}

func (g *gpt) u32(off int) uint32 { return binary.LittleEndian.Uint32(g.header[off:]) }
func (g *gpt) u64(off int) uint64 { return binary.LittleEndian.Uint64(g.header[off:]) }
func (g *gpt) put64(off int, v uint64) {
	binary.LittleEndian.PutUint64(g.header[off:], v)
}

// Offsets in the header.
const (
	offHeaderSize = 12
	offHeaderCRC  = 16
	offMyLBA      = 24
	offAlternate  = 32
	offFirst      = 40
	offLast       = 48
	offEntries    = 72
	offCount      = 80
	offEntrySize  = 84
	offEntriesCRC = 88
)

// readGPT reads and checks the primary table of a disk of the given size.
func readGPT(r io.ReaderAt, size, block int64) (*gpt, error) {
	if block < 512 || block > 64<<10 || size < 8*block {
		return nil, errNoGPT
	}
	sector := make([]byte, block)
	if _, err := r.ReadAt(sector, block); err != nil {
		return nil, fmt.Errorf("cannot read the partition table: %w", err)
	}
	if string(sector[:8]) != gptSignature {
		for _, other := range []int64{512, 4096} {
			start := make([]byte, len(gptSignature))
			if _, err := r.ReadAt(start, other); err == nil && other != block && string(start) == gptSignature {
				return nil, fmt.Errorf("cannot use the image: it is made for disks with blocks of %d bytes, and this disk has blocks of %d", other, block)
			}
		}
		return nil, errNoGPT
	}
	n := binary.LittleEndian.Uint32(sector[offHeaderSize:])
	if n < gptHeaderBytes || int64(n) > block {
		return nil, fmt.Errorf("cannot use a partition table with a header of %d bytes", n)
	}
	g := &gpt{block: block, header: sector[:n]}
	if g.headerCRC() != g.u32(offHeaderCRC) {
		return nil, errors.New("cannot use the partition table: wrong checksum of the header")
	}
	count, each := g.u32(offCount), g.u32(offEntrySize)
	if count == 0 || count > maxGPTEntries || each < 128 || each > maxGPTEntry || each&(each-1) != 0 {
		return nil, fmt.Errorf("cannot use a partition table of %d entries of %d bytes", count, each)
	}
	blocks := uint64(size / block)
	start, length := g.u64(offEntries), uint64(count)*uint64(each)
	if g.u64(offMyLBA) != 1 || start < 2 || start > blocks || length > (blocks-start)*uint64(block) {
		return nil, errors.New("cannot use the partition table: it lies outside the disk")
	}
	g.size, g.entries = int(each), make([]byte, length)
	if _, err := r.ReadAt(g.entries, int64(start)*block); err != nil {
		return nil, fmt.Errorf("cannot read the partition entries: %w", err)
	}
	if crc32.ChecksumIEEE(g.entries) != g.u32(offEntriesCRC) {
		return nil, errors.New("cannot use the partition table: wrong checksum of the entries")
	}
	for _, p := range g.partitions() {
		if p.First > p.Last || p.Last >= blocks {
			return nil, fmt.Errorf("cannot use the partition table: partition %d lies outside the disk", p.Number)
		}
	}
	return g, nil
}

// headerCRC is the checksum with its own field taken as zero.
func (g *gpt) headerCRC() uint32 {
	h := bytes.Clone(g.header)
	clear(h[offHeaderCRC : offHeaderCRC+4])
	return crc32.ChecksumIEEE(h)
}

// partitions lists the entries in use.
func (g *gpt) partitions() []Partition {
	var found []Partition
	for i := 0; i+g.size <= len(g.entries); i += g.size {
		e := g.entries[i : i+g.size]
		p := Partition{Number: i/g.size + 1, First: binary.LittleEndian.Uint64(e[32:]), Last: binary.LittleEndian.Uint64(e[40:])}
		copy(p.Type[:], e[:16])
		copy(p.GUID[:], e[16:32])
		if p.Type != [16]byte{} {
			found = append(found, p)
		}
	}
	return found
}

// esp returns the EFI system partition, or nil.
func (g *gpt) esp() *Partition {
	for _, p := range g.partitions() {
		if p.Type == typeESP {
			return &p
		}
	}
	return nil
}

// fill moves the backup table to the end of a disk that is larger than the image was, and grows the partition
// that lies last. It returns that partition; its size is unchanged if it is one for firmware.
func (g *gpt) fill(disk storage, size int64) (Partition, error) {
	parts := g.partitions()
	if len(parts) == 0 {
		return Partition{}, errors.New("the partition table is empty")
	}
	last := parts[0]
	for _, p := range parts {
		if p.Last > last.Last {
			last = p
		}
	}
	end := uint64(size/g.block) - 1
	tableBlocks := (uint64(len(g.entries)) + uint64(g.block) - 1) / uint64(g.block)
	usable := end - tableBlocks - 1
	if end <= tableBlocks+1 || usable < last.Last {
		return last, fmt.Errorf("disk too small: partition %d ends where the backup table must be", last.Number)
	}
	old := g.u64(offAlternate)
	if last.Type != typeESP && last.Type != typeBIOS {
		// A whole MiB, which suits every disk; never less than it was.
		align := uint64(mib / g.block)
		if blocks := (usable + 1) / align * align; blocks > last.Last {
			last.Last = blocks - 1
		}
		binary.LittleEndian.PutUint64(g.entries[(last.Number-1)*g.size+40:], last.Last)
	}
	g.put64(offLast, usable)
	binary.LittleEndian.PutUint32(g.header[offEntriesCRC:], crc32.ChecksumIEEE(g.entries))
	// The backup first: if power fails between the two, one of them is good.
	primary := g.u64(offEntries)
	if err := g.write(disk, end, 1, end-tableBlocks); err != nil {
		return last, err
	}
	if err := g.write(disk, 1, end, primary); err != nil {
		return last, err
	}
	if err := g.dropOldBackup(disk, old, end); err != nil {
		return last, err
	}
	return last, g.stretchProtectiveMBR(disk, end)
}

// write puts header and entries at their places.
func (g *gpt) write(disk io.WriterAt, my, alternate, entries uint64) error {
	g.put64(offMyLBA, my)
	g.put64(offAlternate, alternate)
	g.put64(offEntries, entries)
	binary.LittleEndian.PutUint32(g.header[offHeaderCRC:], g.headerCRC())
	sector := make([]byte, g.block)
	copy(sector, g.header)
	if _, err := disk.WriteAt(g.entries, int64(entries)*g.block); err != nil {
		return fmt.Errorf("cannot write the partition entries: %w", err)
	}
	if _, err := disk.WriteAt(sector, int64(my)*g.block); err != nil {
		return fmt.Errorf("cannot write the partition table: %w", err)
	}
	return nil
}

// dropOldBackup removes the image's own backup header, which now lies inside the grown partition where
// recovery tools would find and believe it.
func (g *gpt) dropOldBackup(disk storage, old, end uint64) error {
	if old <= 1 || old >= end {
		return nil
	}
	sector := make([]byte, g.block)
	if _, err := disk.ReadAt(sector, int64(old)*g.block); err != nil || string(sector[:8]) != gptSignature {
		return err
	}
	_, err := disk.WriteAt(zeros[:g.block], int64(old)*g.block)
	return err
}

// stretchProtectiveMBR makes the one partition of the protective MBR cover the disk, if there is one.
func (g *gpt) stretchProtectiveMBR(disk storage, end uint64) error {
	sector := make([]byte, g.block)
	if _, err := disk.ReadAt(sector, 0); err != nil {
		return fmt.Errorf("cannot read the protective MBR: %w", err)
	}
	entry := sector[446:462]
	if sector[510] != 0x55 || sector[511] != 0xaa || entry[4] != 0xee {
		return nil
	}
	binary.LittleEndian.PutUint32(entry[12:], uint32(min(end, 0xffffffff)))
	_, err := disk.WriteAt(sector, 0)
	return err
}
