//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// waitForRoot finds the partition holding the ext4 file system labelled root.
// The kernel scans partitions after the driver is in, so it looks repeatedly.
func waitForRoot(ctx context.Context, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		entries, _ := filepath.Glob("/sys/class/block/*/partition")
		for _, e := range entries {
			name := filepath.Base(filepath.Dir(e))
			if extLabel("/dev/"+name) == "root" {
				return name, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", errors.New("cannot find an ext4 partition labelled root")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// extLabel returns the label of an ext2/3/4 file system, or "".
func extLabel(dev string) string {
	f, err := os.Open(dev)
	if err != nil {
		return ""
	}
	defer f.Close()
	super := make([]byte, 0x88) // super block: magic at 0x38, label at 0x78
	if _, err := f.ReadAt(super, 1024); err != nil || super[0x38] != 0x53 || super[0x39] != 0xef {
		return ""
	}
	label, _, _ := strings.Cut(string(super[0x78:0x88]), "\x00")
	return label
}

// countBoot adds one to the boot counter on disk and returns it. It is synced
// before it is reported, because tests cut the power right after the report.
func countBoot(state string) (int, error) {
	file := filepath.Join(state, "boots")
	n := 0
	if b, err := os.ReadFile(file); err == nil {
		if n, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
			return 0, fmt.Errorf("cannot read the boot counter: %w", err)
		}
	}
	n++
	return n, writeSynced(file, strconv.Itoa(n)+"\n")
}

// firstBootOf reports whether this instance-id has not been marked yet.
func firstBootOf(state, id string) (bool, error) {
	b, err := os.ReadFile(filepath.Join(state, "instance"))
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read the instance mark: %w", err)
	}
	return strings.TrimSpace(string(b)) != id, nil
}

func markInstance(state, id string) error {
	return writeSynced(filepath.Join(state, "instance"), id+"\n")
}

// writeSynced replaces a file so that it survives a power cut.
func writeSynced(file, content string) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("cannot make %s: %w", dir, err)
	}
	f, err := os.Create(file + ".new")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", file, err)
	}
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", file, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	defer d.Close()
	return d.Sync()
}
