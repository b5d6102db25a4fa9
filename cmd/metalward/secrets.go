package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
)

const secretsUsage = `usage: metalward secrets COMMAND …

  rotate shared-secret [--refuse-tokens]   what enrolment tokens of racks are minted with`

// secretsCommands are the sub-commands, by the words that name them.
var secretsCommands = map[string]func(ctx context.Context, args []string) error{
	"rotate shared-secret": rotateShared,
}

// secrets rotates and moves what the instance keeps secret.
func secrets(ctx context.Context, args []string) error {
	if len(args) >= 2 {
		if run := secretsCommands[args[0]+" "+args[1]]; run != nil {
			return run(ctx, args[2:])
		}
	}
	for _, a := range args {
		if a == "-h" || a == "--help" {
			fmt.Println(secretsUsage)
			return nil
		}
	}
	return fault.New(fault.Invalid, "%s", secretsUsage)
}

func rotateShared(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward secrets rotate shared-secret", flag.ContinueOnError)
	var c config.Region
	stateFlags(fs, &c)
	refuse := fs.Bool("refuse-tokens", false, "refuse tokens that are out already; by default they work until they expire, 15 minutes at most")
	if err := fs.Parse(args); err != nil {
		return err
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	x, err := r.RotateShared(authz.AsSystem(ctx, "secrets"), *refuse)
	if err != nil {
		return err
	}
	fmt.Println("The shared secret was replaced, on all regions. Racks that have joined are not concerned.")
	if x.PreviousEnds.IsZero() {
		fmt.Println("Tokens that were made before are refused: make new ones.")
	} else {
		fmt.Printf("Tokens that were made before work until they expire, %s at the latest.\n", x.PreviousEnds.Local().Format(time.TimeOnly))
	}
	return nil
}
