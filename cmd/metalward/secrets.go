package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region"
)

const secretsUsage = `usage: metalward secrets COMMAND …

  list                                     the secrets' names, ages and where they are kept; never what they are
  rotate keys [--retire]                   what seals the secrets in the database: each is sealed anew
  rotate root [--finish]                   the root key, root.key in the state folder, which wraps those keys
  rotate shared-secret [--refuse-tokens]   what enrolment tokens of racks are minted with
  rotate bmc --machine ID… | --pool NAME… | --all [--take-over]
                                           the accounts by which machines' BMCs are spoken to
  rotate database [--finish]               the password by which the region logs in to PostgreSQL
  root status | export | import | seal-tpm | unseal
                                           where the root key is, and moving it`

// secretsCommands are the sub-commands, by the words that name them.
var secretsCommands = map[string]func(ctx context.Context, args []string) error{
	"rotate shared-secret": rotateShared,
	"rotate bmc":           rotateBMC,
	"rotate database":      rotateDatabase,
	"rotate keys":          rotateKeys,
	"rotate root":          rotateRoot,
}

// secrets rotates and moves what the instance keeps secret.
func secrets(ctx context.Context, args []string) error {
	if len(args) >= 1 && args[0] == "root" {
		return secretsRoot(ctx, args[1:])
	}
	if len(args) >= 2 {
		if run := secretsCommands[args[0]+" "+args[1]]; run != nil {
			return run(ctx, args[2:])
		}
	}
	if len(args) >= 1 && args[0] == "list" {
		return listSecrets(ctx, args[1:])
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
	var refuse *bool
	return onHost(ctx, "secrets rotate shared-secret", args, func(fs *flag.FlagSet) {
		refuse = fs.Bool("refuse-tokens", false, "refuse tokens that are out already; by default they work until they expire, 15 minutes at most")
	}, func(r *region.Region, _ config.Region) error {
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
	})
}

func listSecrets(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward secrets list", flag.ContinueOnError)
	var c config.Region
	stateFlags(fs, &c)
	if err := fs.Parse(args); err != nil {
		return err
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "NAME\tKEPT IN\tKEY\tFIRST MADE\tLAST SET\tSTATE")
	after, now := "", time.Now()
	for {
		l, err := r.Secrets.List(authz.AsSystem(ctx, "secrets"), after, 1000)
		if err != nil {
			return err
		}
		for _, k := range l.Secrets {
			key, state := strconv.FormatUint(uint64(k.Key), 10), "as it should be"
			if k.Where != "database" {
				key = "-"
			}
			if !k.Current {
				state = "to be moved"
			}
			fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\n", k.Name, k.Where, key, ago(now, k.Made), ago(now, k.Set), state)
			after = k.Name
		}
		if !l.More {
			if err := out.Flush(); err != nil {
				return err
			}
			fmt.Printf("Key in use: %d; older keys: %d; wrapped by %s.\n", l.Keys.Newest, l.Keys.Old, l.Keys.Root)
			return nil
		}
	}
}

// ago is how long something is past, as people say it.
func ago(now, then time.Time) string {
	switch d := now.Sub(then); {
	case d < time.Minute:
		return "just now"
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", d/time.Hour)
	default:
		return fmt.Sprintf("%d days ago", d/(24*time.Hour))
	}
}

func rotateKeys(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward secrets rotate keys", flag.ContinueOnError)
	var c config.Region
	stateFlags(fs, &c)
	retire := fs.Bool("retire", false, "drop the older keys at once, and with them logins by Candid; by default they go after two days")
	if err := fs.Parse(args); err != nil {
		return err
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := r.Secrets.RotateKeys(authz.AsSystem(ctx, "secrets"), *retire, func(done, of int) {
		if done%100 == 0 || done == of {
			fmt.Fprintf(os.Stderr, "%d of %d\n", done, of)
		}
	})
	if err != nil {
		return fmt.Errorf("%d secrets are sealed with the new key; the region goes on with the others by itself: %w", n, err)
	}
	fmt.Printf("A new key seals the secrets from now on; %d were sealed anew.\n", n)
	return nil
}

func rotateRoot(ctx context.Context, args []string) error {
	var finish *bool
	return onHost(ctx, "secrets rotate root", args, func(fs *flag.FlagSet) {
		finish = fs.Bool("finish", false, "every region has the new root.key: drop the old one")
	}, func(r *region.Region, _ config.Region) error {
		done, err := r.RotateRoot(ctx, *finish)
		if err != nil {
			return err
		}
		if done {
			fmt.Println("A new root key wraps the keys; the old one opens nothing here any more. Backups that were encrypted with it need it still: keep it with them.")
			return nil
		}
		fmt.Println("A new root key wraps the keys, beside the old one, because other regions may start with that: copy root.key of this state folder to\neach of them, then run: metalward secrets rotate root --finish")
		return nil
	})
}
