package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// memory is a disk in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p, m[off:]), nil
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, io.ErrShortWrite
	}
	return copy(m[off:], p), nil
}

var typeLinux = [16]byte{0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4}

// gptImage makes a disk with a table as partitioning tools would: protective MBR, primary, backup at the end.
func gptImage(t testing.TB, size, block int64, parts ...Partition) memory {
	t.Helper()
	disk := make(memory, size)
	end := uint64(size/block) - 1
	disk[510], disk[511], disk[446+4] = 0x55, 0xaa, 0xee
	binary.LittleEndian.PutUint32(disk[446+8:], 1)
	binary.LittleEndian.PutUint32(disk[446+12:], uint32(end))
	g := &gpt{block: block, header: make([]byte, gptHeaderBytes), entries: make([]byte, 128*128), size: 128}
	le := binary.LittleEndian
	for i, p := range parts {
		e := g.entries[i*128:]
		copy(e, p.Type[:])
		copy(e[16:], bytes.Repeat([]byte{byte(i + 1)}, 16))
		le.PutUint64(e[32:], p.First)
		le.PutUint64(e[40:], p.Last)
	}
	copy(g.header, gptSignature)
	le.PutUint32(g.header[8:], 0x10000)
	le.PutUint32(g.header[offHeaderSize:], gptHeaderBytes)
	tableBlocks := uint64(128*128) / uint64(block)
	g.put64(offFirst, 2+tableBlocks)
	g.put64(offLast, end-tableBlocks-1)
	copy(g.header[56:72], "disk-guid-123456")
	le.PutUint32(g.header[offCount:], 128)
	le.PutUint32(g.header[offEntrySize:], 128)
	le.PutUint32(g.header[offEntriesCRC:], crc32.ChecksumIEEE(g.entries))
	if err := g.write(disk, end, 1, end-tableBlocks); err != nil {
		t.Fatal(err)
	}
	if err := g.write(disk, 1, end, 2); err != nil {
		t.Fatal(err)
	}
	return disk
}

// usual is a BIOS-boot partition, an ESP and a root, in blocks of 512 bytes, for images of 8 MiB and more.
func usual(size int64) []Partition {
	return []Partition{
		{Type: typeBIOS, First: 2048, Last: 4095},
		{Type: typeESP, First: 4096, Last: 6143},
		{Type: typeLinux, First: 6144, Last: uint64(size/512) - 34},
	}
}

func TestFill(t *testing.T) {
	const small, big = 8 * mib, 64*mib + 512*7
	rootLast := usual(small)
	slices.Reverse(rootLast) // numbers need not follow the order on disk
	for name, tc := range map[string]struct {
		block int64
		size  int64
		parts []Partition
		last  int
		grow  bool
		want  string
	}{
		"usual":             {512, big, usual(small), 3, true, ""},
		"root first":        {512, big, rootLast, 1, true, ""},
		"same size":         {512, small, usual(small), 3, false, ""},
		"only firmware":     {512, big, usual(small)[:2], 2, false, ""},
		"4096-byte blocks":  {4096, 64 * mib, []Partition{{Type: typeLinux, First: 256, Last: 1500}}, 1, true, ""},
		"empty":             {512, big, nil, 0, false, "empty"},
		"no room for table": {512, small - 512*20, usual(small), 3, false, "disk too small"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := make(memory, tc.size)
			image := gptImage(t, small, tc.block, tc.parts...)
			copy(disk, image)
			table, err := readGPT(disk, tc.size, tc.block)
			if name == "no room for table" {
				table, err = readGPT(image, small, tc.block) // such an image does not even fit
			}
			if err != nil {
				t.Fatal(err)
			}
			before := table.partitions()
			last, err := table.fill(disk, tc.size)
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("got %v, want %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			after, err := readGPT(disk, tc.size, tc.block)
			if err != nil {
				t.Fatalf("cannot read the table back: %v", err)
			}
			if last.Number != tc.last {
				t.Errorf("got partition %d, want %d", last.Number, tc.last)
			}
			end := uint64(tc.size/tc.block) - 1
			for i, p := range after.partitions() {
				was := before[i]
				if p.Number == tc.last && tc.grow {
					if p.Last <= was.Last || p.Last > after.u64(offLast) || end-p.Last > uint64(2*mib/tc.block) {
						t.Errorf("got last block %d, was %d, disk ends at %d", p.Last, was.Last, end)
					}
					was.Last = p.Last
				}
				if p != was {
					t.Errorf("got %+v, want %+v", p, was)
				}
			}
			if after.u64(offAlternate) != end || after.u64(offLast) != end-128*128/uint64(tc.block)-1 {
				t.Errorf("got backup at %d, usable to %d; disk ends at %d", after.u64(offAlternate), after.u64(offLast), end)
			}
			backup := disk[int64(end)*tc.block:]
			if string(backup[:8]) != gptSignature {
				t.Error("no backup header in the last block")
			}
			if tc.size > small && bytes.Contains(disk[small-tc.block:small], []byte(gptSignature)) {
				t.Error("the old backup header is still there")
			}
			if got := binary.LittleEndian.Uint32(disk[446+12:]); uint64(got) != end {
				t.Errorf("got protective MBR of %d blocks, want %d", got, end)
			}
			if tool, err := exec.LookPath("sfdisk"); err == nil && tc.block == 512 {
				path := filepath.Join(t.TempDir(), "disk")
				if err := os.WriteFile(path, disk, 0o600); err != nil {
					t.Fatal(err)
				}
				if out, err := exec.Command(tool, "--verify", path).CombinedOutput(); err != nil || !strings.Contains(string(out), "No errors detected") {
					t.Errorf("sfdisk --verify: %v\n%s", err, out)
				}
			}
		})
	}
}

func TestReadGPTRefuses(t *testing.T) {
	fix := func(disk memory) { // makes the checksum right again
		g := &gpt{block: 512, header: disk[512 : 512+gptHeaderBytes]}
		binary.LittleEndian.PutUint32(g.header[offHeaderCRC:], g.headerCRC())
	}
	for name, change := range map[string]func(memory){
		"header bit":     func(d memory) { d[512+60] ^= 1 },
		"entries bit":    func(d memory) { d[1024+1] ^= 1 },
		"header size":    func(d memory) { d[512+offHeaderSize] = 8; fix(d) },
		"entry count":    func(d memory) { binary.LittleEndian.PutUint32(d[512+offCount:], 1<<31); fix(d) },
		"entry size":     func(d memory) { binary.LittleEndian.PutUint32(d[512+offEntrySize:], 1<<30); fix(d) },
		"entries beyond": func(d memory) { binary.LittleEndian.PutUint64(d[512+offEntries:], 1<<62); fix(d) },
	} {
		disk := gptImage(t, 8*mib, 512, usual(8*mib)...)
		change(disk)
		if _, err := readGPT(disk, 8*mib, 512); err == nil || errors.Is(err, errNoGPT) {
			t.Errorf("%s: got %v, want an error about the table", name, err)
		}
	}
	mbr := make(memory, 8*mib)
	mbr[510], mbr[511] = 0x55, 0xaa
	if _, err := readGPT(mbr, 8*mib, 512); !errors.Is(err, errNoGPT) {
		t.Errorf("MBR: got %v, want errNoGPT", err)
	}
	for image, disk := range map[int64]int64{512: 4096, 4096: 512} {
		_, err := readGPT(gptImage(t, 8*mib, image), 8*mib, disk)
		if want := fmt.Sprintf("made for disks with blocks of %d bytes, and this disk has blocks of %d", image, disk); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func FuzzGPT(f *testing.F) {
	image := gptImage(f, mib, 512, Partition{Type: typeESP, First: 64, Last: 127}, Partition{Type: typeLinux, First: 128, Last: 1900})
	f.Add([]byte(image[:4096]), int64(mib+512))
	f.Fuzz(func(t *testing.T, head []byte, size int64) {
		if size < 4096 || size > 2*mib {
			return
		}
		disk := make(memory, size)
		copy(disk, head)
		if len(disk) > 1024 { // let the fuzzer past the checksums
			g := &gpt{block: 512, header: disk[512 : 512+gptHeaderBytes]}
			if string(g.header[:8]) == gptSignature {
				if n := int64(g.u32(offCount)) * int64(g.u32(offEntrySize)); n > 0 && n < size-1024 && g.u64(offEntries) == 2 {
					binary.LittleEndian.PutUint32(g.header[offEntriesCRC:], crc32.ChecksumIEEE(disk[1024:1024+n]))
				}
				binary.LittleEndian.PutUint32(g.header[offHeaderCRC:], g.headerCRC())
			}
		}
		g, err := readGPT(disk, size, 512)
		if err != nil {
			return
		}
		if _, err := g.fill(disk, size); err == nil {
			if _, err := readGPT(disk, size, 512); err != nil {
				t.Errorf("the table that was written cannot be read: %v", err)
			}
		}
	})
}
