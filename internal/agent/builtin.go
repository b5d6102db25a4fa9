package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"
)

// builtins are the programs behind the names in metal.CommissioningScripts: the ephemeral system has no shell.
// They write what a person wants to read; the controller takes its facts from the inventory.
var builtins = map[string]func(ctx context.Context, r *run, o outputs) error{
	"00-metalward-inventory": inventoryScript,
	"20-metalward-network":   networkScript,
	"30-metalward-disks":     disksScript,
	"40-metalward-bmc":       bmcScript,
}

func inventoryScript(ctx context.Context, r *run, o outputs) error {
	text, err := json.MarshalIndent(r.inventory(ctx), "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode the inventory: %w", err)
	}
	_, err = fmt.Fprintf(o.out, "%s\n", text)
	return err
}

// networkScript passes when the interface that the machine boots from has link: others may well be unused.
func networkScript(_ context.Context, r *run, o outputs) error {
	boot := false
	for _, n := range interfaces(tree(r.Root)) {
		link := "no link"
		if n.LinkUp {
			link = fmt.Sprintf("link up, %d Mbit/s", n.LinkSpeedMbps)
		}
		mark := ""
		if n.MAC == r.Args.MAC.String() {
			mark, boot = "  (boot interface)", n.LinkUp
		}
		_, _ = fmt.Fprintf(o.out, "%-12s %s  %-12s %s, MTU %d%s\n", n.Name, n.MAC, n.Driver, link, n.MTU, mark)
		if i, err := net.InterfaceByName(n.Name); err == nil && r.Root == "/" {
			addrs, _ := i.Addrs()
			for _, a := range addrs {
				_, _ = fmt.Fprintf(o.out, "%-12s   %s\n", "", a)
			}
		}
	}
	if !boot {
		return fmt.Errorf("the boot interface %s is not there or has no link", r.Args.MAC)
	}
	return nil
}

// disksScript reads the first and last MiB of each disk: a disk that fails there fails an installation.
func disksScript(ctx context.Context, r *run, o outputs) error {
	found := disks(tree(r.Root))
	if len(found) == 0 {
		_, _ = fmt.Fprintln(o.out, "no disks")
		return nil
	}
	var failed []error
	for _, d := range found {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		start := time.Now()
		if err := r.readEnds(d.Name); err != nil {
			failed = append(failed, fmt.Errorf("%s (serial %q): %w", d.Name, d.Serial, err))
			continue
		}
		_, _ = fmt.Fprintf(o.out, "%-12s %10d MiB  %s serial %s: first and last MiB read in %v\n", d.Name, d.SizeBytes>>20, d.Model, d.Serial,
			time.Since(start).Round(time.Millisecond))
	}
	return errors.Join(failed...)
}

func (r *run) readEnds(name string) error {
	disk, err := r.Host.OpenDisk(name)
	if err != nil {
		return err
	}
	defer func() { _ = disk.Close() }()
	if err := disk.flush(); err != nil {
		return err
	}
	for _, e := range disk.ends() {
		if _, err := disk.f.ReadAt(make([]byte, e[1]), e[0]); err != nil {
			return fmt.Errorf("cannot read at %d: %w", e[0], err)
		}
	}
	return nil
}

func bmcScript(ctx context.Context, r *run, o outputs) error {
	bmc := r.Host.BMC(ctx)
	if bmc == nil {
		_, _ = fmt.Fprintln(o.out, "no BMC answers in-band")
		return nil
	}
	_, err := fmt.Fprintf(o.out, "%s at %s, MAC %s\n", bmc.PowerType, bmc.Address, bmc.MAC)
	return err
}
