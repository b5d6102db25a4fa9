package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/wire"
)

// lastWords bounds how long a failed task tries to tell the rack.
const lastWords = 30 * time.Second

// Config is what a run needs from outside.
type Config struct {
	Args    Arguments
	Root    string // where sys, proc and dev are: "/" on a machine
	Host    Host
	Console *Console
}

// Host is what the agent changes about the machine it runs on. Machine is the real one; tests have another.
type Host interface {
	// SetClock sets the system clock.
	SetClock(now time.Time) error
	// SetRTC sets the battery-backed clock, which the deployed system starts with.
	SetRTC(now time.Time) error
	// OpenDisk opens a whole disk by kernel name, for nobody else.
	OpenDisk(name string) (*Disk, error)
	// MountRoot finds and mounts the root file system on a freshly written disk, which must be closed.
	MountRoot(ctx context.Context, disk string) (dir string, unmount func() error, err error)
	// SetBootEntry makes UEFI firmware start from the partition; nil removes what an earlier call made.
	// It returns false where there is no UEFI.
	SetBootEntry(esp *Partition) (bool, error)
	// BMC asks the BMC over the in-band interface; nil if there is none.
	BMC(ctx context.Context) *metal.InventoryBMC
}

// run is one boot with a certificate and a task.
type run struct {
	Config
	client *client
	task   wire.TaskResponse
	target string // disk that a deployment wrote to
}

// Run claims the boot, carries out its task and reports. It always returns what to do with the machine now,
// together with the error that was reported, if any.
func Run(ctx context.Context, c Config) (wire.EndAction, error) {
	r := &run{Config: c, client: newClient(c.Args, c.Console)}
	return r.run(ctx)
}

func (r *run) run(ctx context.Context) (wire.EndAction, error) {
	if err := r.begin(ctx); err != nil {
		r.Console.Stage("failed", "%v", err)
		if r.client.now != nil { // there is a certificate to report with
			r.report(ctx, err)
		}
		return wire.ThenPowerOff, err
	}
	err := r.perform(ctx)
	if err != nil {
		r.Console.Stage("failed", "%s: %v", r.task.Purpose, err)
	}
	if sent := r.report(ctx, err); err == nil && sent != nil {
		err = sent
		// The rack does not answer: the work is done all the same. It refuses: the boot was contested at the
		// last moment, and what was installed may be known to somebody else.
		if isFinal(sent) && r.target != "" {
			r.spoil(r.target)
			r.forgetBootEntry()
		}
	}
	then := r.task.Then
	if then != wire.ThenReboot {
		then = wire.ThenPowerOff
	}
	r.Console.Stage("end", "%s", then)
	return then, err
}

// begin gets the certificate, the time and the task.
func (r *run) begin(ctx context.Context) error {
	r.Console.Stage("claim", "rack %s, interface %s", r.Args.Rack, r.Args.MAC)
	claim, err := r.client.claim(ctx)
	if err != nil {
		return err
	}
	if err := r.Host.SetClock(claim.Now); err != nil {
		r.Console.Stage("clock", "cannot set the clock, going on: %v", err)
	}
	r.Console.Stage("claimed", "boot %s to %s, time %s", claim.BootID, claim.Purpose, claim.Now.UTC().Format(time.RFC3339))
	if err := r.client.call(ctx, http.MethodGet, wire.TaskPath, nil, &r.task); err != nil {
		return fmt.Errorf("cannot fetch the task: %w", err)
	}
	if r.task.Purpose != claim.Purpose {
		return fmt.Errorf("cannot accept a task to %q in a boot to %q", r.task.Purpose, claim.Purpose)
	}
	r.Console.Stage("task", "%s %s %s", r.task.Purpose, r.task.SystemID, r.task.Hostname)
	return nil
}

func (r *run) perform(ctx context.Context) error {
	switch r.task.Purpose {
	case metal.PurposeEnlist:
		return r.enlist(ctx)
	case metal.PurposeCommission:
		return r.commission(ctx)
	case metal.PurposeDeploy:
		if r.task.Deploy == nil {
			return errors.New("cannot deploy: the task names no image")
		}
		return r.deploy(ctx, *r.task.Deploy)
	case metal.PurposeErase:
		if r.task.Erase == nil {
			return errors.New("cannot erase: the task names no disks")
		}
		return r.erase(ctx, *r.task.Erase)
	}
	return fmt.Errorf("cannot carry out a task to %q: this agent does not know it", r.task.Purpose)
}

// enlist reports the hardware.
func (r *run) enlist(ctx context.Context) error {
	v := r.inventory(ctx)
	if err := r.client.call(ctx, http.MethodPost, wire.FoundPath, wire.FoundRequest{Inventory: v}, nil); err != nil {
		return fmt.Errorf("cannot report the inventory: %w", err)
	}
	r.Console.Stage("inventory", "reported: %d CPUs, %d MiB, %d interfaces, %d disks", v.CPUCount, v.MemoryMiB, len(v.Interfaces), len(v.Disks))
	return nil
}

// commission reports the hardware and runs the scripts. A failed script is a result, not a failed task.
func (r *run) commission(ctx context.Context) error {
	if err := r.enlist(ctx); err != nil {
		return err
	}
	r.forgetBootEntry()
	for i, s := range r.task.Scripts {
		r.progress(ctx, "running "+s.Name, 100*i/len(r.task.Scripts))
		if err := r.script(ctx, s); err != nil {
			return fmt.Errorf("cannot report the output of %s: %w", s.Name, err)
		}
	}
	return nil
}

// inventory reads the hardware, bounded as the controller will bound it.
func (r *run) inventory(ctx context.Context) metal.Inventory {
	v := ReadInventory(r.Root)
	v.BMC = r.Host.BMC(ctx)
	if len(v.Interfaces) > metal.MaxInventoryInterfaces {
		v.Interfaces = v.Interfaces[:metal.MaxInventoryInterfaces]
	}
	if len(v.Disks) > metal.MaxInventoryDisks {
		v.Disks = v.Disks[:metal.MaxInventoryDisks]
	}
	return v
}

// forgetBootEntry removes the UEFI boot entry of an earlier deployment: the disk is not a system any more, and
// firmware that tries it first never asks the network.
func (r *run) forgetBootEntry() {
	if _, err := r.Host.SetBootEntry(nil); err != nil {
		r.Console.Stage("efi", "cannot remove the boot entry, going on: %v", err)
	}
}

// progress tells people what happens. It is a courtesy: it is not tried twice, and its failure is not one of
// the task. A refusal will be met again by the next call that matters. It returns whether the rack heard it.
func (r *run) progress(ctx context.Context, stage string, percent int) bool {
	if percent < 0 {
		r.Console.Stage("progress", "%s", stage)
	} else {
		r.Console.Stage("progress", "%s %d%%", stage, percent)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := r.client.once(ctx, http.MethodPost, wire.ProgressPath, wire.ProgressRequest{Stage: stage, Percent: percent}, nil); err != nil {
		r.Console.Stage("progress", "cannot report: %v", err)
		return false
	}
	return true
}

// report ends the task at the rack. A task that worked is reported with patience, a failed one with less:
// the region notices a silent machine by itself.
func (r *run) report(ctx context.Context, failure error) error {
	done := wire.DoneRequest{OK: failure == nil}
	if failure != nil {
		done.Error = metal.Printable(failure.Error(), 1000)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
	}
	if err := r.client.call(ctx, http.MethodPost, wire.DonePath, done, nil); err != nil {
		err = fmt.Errorf("cannot report the end of the task: %w", err)
		r.Console.Stage("failed", "%v", err)
		return err
	}
	r.Console.Stage("done", "ok=%v", failure == nil)
	return nil
}
