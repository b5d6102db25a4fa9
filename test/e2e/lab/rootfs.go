//go:build linux

package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
)

// RootFS gives access to the ext4 file system in the last partition of a disk
// image, by debugfs: no mount, no loop device. The machine must be off. What it
// had only in its journal when the power was cut is replayed first, as the next
// mount would.
type RootFS struct {
	disk   string
	device string // in the form that debugfs understands
}

// OpenRootFS finds the last partition of a GPT disk image.
func OpenRootFS(disk string) (*RootFS, error) {
	f, err := os.Open(disk)
	if err != nil {
		return nil, fmt.Errorf("cannot open the disk: %w", err)
	}
	defer f.Close()
	const sector = 512
	head := make([]byte, sector)
	if _, err := f.ReadAt(head, sector); err != nil {
		return nil, fmt.Errorf("cannot read the partition table: %w", err)
	}
	if string(head[:8]) != "EFI PART" {
		return nil, errors.New("cannot read the partition table: it is not a GPT")
	}
	table := int64(binary.LittleEndian.Uint64(head[72:])) * sector
	count, size := binary.LittleEndian.Uint32(head[80:]), binary.LittleEndian.Uint32(head[84:])
	if count > 1024 || size < 128 || size > 4096 {
		return nil, errors.New("cannot read the partition table: its sizes make no sense")
	}
	entries := make([]byte, count*size)
	if _, err := f.ReadAt(entries, table); err != nil {
		return nil, fmt.Errorf("cannot read the partition table: %w", err)
	}
	var start uint64
	for ; len(entries) > 0; entries = entries[size:] {
		if [16]byte(entries[:16]) != [16]byte{} {
			start = max(start, binary.LittleEndian.Uint64(entries[32:]))
		}
	}
	if start == 0 {
		return nil, errors.New("cannot find a partition")
	}
	return &RootFS{disk, fmt.Sprintf("%s?offset=%d", disk, start*sector)}, nil
}

// replay brings the journal into the file system. debugfs does it right, then
// reopens the disk without the offset and complains of a bad magic number, which
// does not count as a failure.
func (r *RootFS) replay(ctx context.Context) error {
	_, err := output(ctx, "debugfs", "-w", "-R", "journal_run", r.device)
	return err
}

// Read returns the content of a file.
func (r *RootFS) Read(ctx context.Context, name string) ([]byte, error) {
	out, err := os.CreateTemp("", "rootfs")
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	defer os.Remove(out.Name())
	out.Close()
	if err := os.Remove(out.Name()); err != nil { // so that its absence tells
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	if err := r.replay(ctx); err != nil {
		return nil, err
	}
	said, err := output(ctx, "debugfs", "-R", fmt.Sprintf("dump %q %q", name, out.Name()), r.device)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(out.Name())
	if err != nil || strings.Contains(said, "File not found") {
		return nil, fmt.Errorf("cannot read %s from the disk: %w", name, os.ErrNotExist)
	}
	return b, nil
}

// Stat returns what debugfs knows about a file: owner, mode, size.
func (r *RootFS) Stat(ctx context.Context, name string) (string, error) {
	if err := r.replay(ctx); err != nil {
		return "", err
	}
	said, err := output(ctx, "debugfs", "-R", fmt.Sprintf("stat %q", name), r.device)
	if err == nil && strings.Contains(said, "File not found") {
		err = fmt.Errorf("cannot find %s on the disk: %w", name, os.ErrNotExist)
	}
	return said, err
}

// Write creates or replaces a file and makes its directories, owned by root.
func (r *RootFS) Write(ctx context.Context, name string, content []byte, mode os.FileMode) error {
	in, err := os.CreateTemp("", "rootfs")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	defer os.Remove(in.Name())
	_, err = in.Write(content)
	if err := errors.Join(err, in.Close()); err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	// What exists already makes debugfs complain and go on.
	var commands []string
	dir := ""
	for part := range strings.SplitSeq(strings.Trim(path.Dir(name), "/"), "/") {
		dir += "/" + part
		commands = append(commands, "mkdir "+dir)
	}
	commands = append(commands, "rm "+name, "write "+in.Name()+" "+name,
		fmt.Sprintf("set_inode_field %s mode 0%o", name, 0o100000|mode.Perm()),
		"set_inode_field "+name+" uid 0", "set_inode_field "+name+" gid 0")
	script := in.Name() + ".debugfs"
	defer os.Remove(script)
	if err := os.WriteFile(script, []byte(strings.Join(commands, "\n")+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot write %s: %w", name, err)
	}
	if err := r.replay(ctx); err != nil {
		return err
	}
	if _, err := output(ctx, "debugfs", "-w", "-f", script, r.device); err != nil {
		return err
	}
	got, err := r.Read(ctx, name)
	if err != nil {
		return err
	}
	if string(got) != string(content) {
		return fmt.Errorf("cannot write %s: it reads back differently", name)
	}
	return nil
}
