package main

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/region"
)

// rotateBMC begins rotations, which the region that runs carries out.
func rotateBMC(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward secrets rotate bmc", flag.ContinueOnError)
	var c config.Region
	stateFlags(fs, &c)
	var what region.BMCSelection
	fs.Var((*list)(&what.Machines), "machine", "system id of a machine; may be repeated")
	fs.Var((*list)(&what.Pools), "pool", "name of a resource pool; may be repeated")
	fs.BoolVar(&what.All, "all", false, "all machines")
	fs.BoolVar(&what.TakeOver, "take-over", false, "also accounts that a person gave, which are shut out in the end")
	if err := fs.Parse(args); err != nil {
		return err
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	done, err := r.RotateBMCs(authz.AsSystem(ctx, "secrets"), what)
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(done.Skipped)) {
		fmt.Printf("%s  skipped: %s\n", id, done.Skipped[id])
	}
	for _, id := range done.Begun {
		fmt.Printf("%s  begun\n", id)
	}
	fmt.Printf("%d begun, %d skipped. The region carries them out while it runs, a few at a time; machines' events tell how they end.\n", len(done.Begun), len(done.Skipped))
	return nil
}

func rotateDatabase(ctx context.Context, args []string) error {
	var finish *bool
	return onHost(ctx, "secrets rotate database", args, func(fs *flag.FlagSet) {
		finish = fs.Bool("finish", false, "every region that logs in as the same role has the next password")
	}, func(r *region.Region, c config.Region) error {
		done, err := r.RotateDatabase(ctx, *finish)
		if err != nil {
			return err
		}
		path := filepath.Join(c.StateDir, config.DatabaseFile)
		if done {
			fmt.Printf("The role has a new password, which is in %s. The region uses it for every new connection, and for all within the hour.\n", path)
			return nil
		}
		fmt.Printf("The next password is in %s%s, and is not set yet, because there are other regions. Those that log in as the same role need the\nfile in their state folder, too, under the same name; then run: metalward secrets rotate database --finish\nand afterwards, on each of them: mv %s %s\n", path, region.DatabaseNext, config.DatabaseFile+region.DatabaseNext, config.DatabaseFile)
		return nil
	})
}
