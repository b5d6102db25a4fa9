package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

// progressEvery bounds how often the rack hears of a long step.
const progressEvery = 5 * time.Second

// silentFor is how long progress is not reported after that failed.
const silentFor = time.Minute

// meter reports a long step in percent, not more often than people read, and keeps process 1 calm.
type meter struct {
	r     *run
	ctx   context.Context
	stage string
	total int64
	last  time.Time
}

func (r *run) meter(ctx context.Context, stage string, total int64) *meter {
	r.progress(ctx, stage, 0)
	return &meter{r: r, ctx: ctx, stage: stage, total: max(total, 1), last: time.Now()}
}

func (m *meter) at(done int64) {
	m.r.Console.Alive()
	if time.Since(m.last) < progressEvery {
		return
	}
	m.last = time.Now()
	if !m.r.progress(m.ctx, m.stage, int(min(100, 100*(float64(done)/float64(m.total))))) {
		m.last = time.Now().Add(silentFor) // a rack that is away must not slow down the work
	}
}

// erase makes the disks named in the task, or all, unreadable. It goes on after a disk that fails, so that as
// much as possible is gone, and then fails as a whole.
func (r *run) erase(ctx context.Context, task wire.EraseTask) error {
	disks := disks(tree(r.Root))
	if len(task.Disks) > 0 {
		var named []metal.InventoryDisk
		for _, want := range task.Disks {
			i := slices.IndexFunc(disks, func(d metal.InventoryDisk) bool { return d.Serial == want || d.Name == want })
			if i < 0 {
				return fmt.Errorf("cannot erase: no disk with serial or name %q", want)
			}
			named = append(named, disks[i])
		}
		disks = named
	}
	if len(disks) == 0 {
		return errors.New("cannot erase: no disk found")
	}
	r.forgetBootEntry()
	var failed []error
	for _, d := range disks {
		if err := r.eraseDisk(ctx, d, task.Quick); err != nil {
			err = fmt.Errorf("cannot erase disk %s (serial %q): %w", d.Name, d.Serial, err)
			r.Console.Stage("erase", "%v", err)
			failed = append(failed, err)
			continue
		}
		r.Console.Stage("erase", "disk %s (serial %q) is erased and verified", d.Name, d.Serial)
	}
	return errors.Join(failed...)
}

func (r *run) eraseDisk(ctx context.Context, which metal.InventoryDisk, quick bool) error {
	disk, err := r.Host.OpenDisk(which.Name)
	if err != nil {
		return err
	}
	defer func() { _ = disk.Close() }()
	// The ends first: whatever happens later, nothing starts from this disk any more.
	if err := disk.ZeroEnds(); err != nil {
		return err
	}
	if quick {
		ends := disk.ends()
		return r.verifyErased(ctx, disk, which.Name, ends[:])
	}
	stage := r.meter(ctx, "discarding "+which.Name, disk.size)
	err = disk.Discard(stage.at)
	if err == nil {
		if err = r.verifyErased(ctx, disk, which.Name, disk.sample()); err == nil {
			return nil
		}
	}
	r.Console.Stage("erase", "%s: a discard is not enough (%v), writing zeros", which.Name, err)
	stage = r.meter(ctx, "zeroing "+which.Name, disk.size)
	if err := disk.Zero(0, disk.size, func(done int64) {
		stage.at(done)
		if ctx.Err() == nil {
			_ = disk.f.Sync() // bounds dirty pages, and makes the percentage honest
		}
	}); err != nil {
		return err
	}
	if err := disk.Sync(); err != nil {
		return err
	}
	return r.verifyErased(ctx, disk, which.Name, disk.sample())
}

func (r *run) verifyErased(ctx context.Context, disk *Disk, name string, ranges [][2]int64) error {
	if err := disk.Sync(); err != nil {
		return err
	}
	stage := r.meter(ctx, "verifying "+name, disk.size)
	at, err := disk.firstNonZero(ranges, stage.at)
	if err != nil {
		return err
	}
	if at >= 0 {
		return fmt.Errorf("data is still there, near byte %d", at)
	}
	return nil
}
