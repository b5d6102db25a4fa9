package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

func TestErase(t *testing.T) {
	const size = 9*mib + 512
	punch := func(d *Disk) func(off, n int64) error {
		return func(off, n int64) error {
			return unix.Fallocate(int(d.f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
		}
	}
	for name, tc := range map[string]struct {
		task  wire.EraseTask
		tweak func(*Disk)
		want  string
		sda   string // "old", "ends" or "zero"
		sdb   string
	}{
		"all, no discard":       {wire.EraseTask{}, nil, "", "zero", "zero"},
		"all, good discard":     {wire.EraseTask{}, func(d *Disk) { d.discard = punch(d) }, "", "zero", "zero"},
		"discard that does not": {wire.EraseTask{}, func(d *Disk) { d.discard = func(int64, int64) error { return nil } }, "", "zero", "zero"},
		"one that lies twice": {wire.EraseTask{}, func(d *Disk) {
			d.discard = func(int64, int64) error { return nil }
			d.zeroOut = d.discard
		}, "data is still there", "old", "old"},
		"quick":           {wire.EraseTask{Quick: true}, nil, "", "ends", "ends"},
		"one by serial":   {wire.EraseTask{Disks: []string{"SN-sdb"}}, nil, "", "old", "zero"},
		"one by name":     {wire.EraseTask{Disks: []string{"sda"}}, nil, "", "zero", "old"},
		"one not there":   {wire.EraseTask{Disks: []string{"sda", "sdx"}}, nil, `no disk with serial or name "sdx"`, "old", "old"},
		"cannot zero out": {wire.EraseTask{}, func(d *Disk) { d.zeroOut = func(int64, int64) error { return unix.EIO } }, "", "zero", "zero"},
	} {
		t.Run(name, func(t *testing.T) {
			rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeErase, Then: wire.ThenPowerOff, Erase: &tc.task})
			root, host := machineTree(t, map[string]int64{"sda": size, "sdb": size})
			host.tweak = tc.tweak
			_, err := runAgent(t, rack, root, host)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if len(rack.done) != 1 || rack.done[0].OK != (tc.want == "") {
				t.Errorf("got done %+v", rack.done)
			}
			for disk, want := range map[string]string{"sda": tc.sda, "sdb": tc.sdb} {
				data, err := os.ReadFile(filepath.Join(host.dir, disk))
				if err != nil || len(data) != size {
					t.Fatalf("got %d bytes, %v", len(data), err)
				}
				ends := allZero(data[:mib]) && allZero(data[size-mib:])
				zero := ends && len(bytes.Trim(data, "\x00")) == 0
				got := "old"
				if zero {
					got = "zero"
				} else if ends {
					got = "ends"
				}
				if got != want {
					t.Errorf("%s: got %s, want %s", disk, got, want)
				}
			}
		})
	}
}

func TestEraseWithoutDisks(t *testing.T) {
	rack := newFakeRack(t, wire.TaskResponse{Purpose: metal.PurposeErase, Erase: &wire.EraseTask{}})
	root, host := machineTree(t, nil)
	if _, err := runAgent(t, rack, root, host); err == nil || !strings.Contains(err.Error(), "no disk") {
		t.Errorf("got %v, want no disk", err)
	}
}
