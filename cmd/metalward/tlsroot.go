package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

const tlsRootUsage = `usage: metalward config-tls root COMMAND … [--state-dir DIR]

  status                                 whether the root's key is in the instance
  export --to FILE [--recipient age1…]   write it, encrypted for an age recipient, else with a passphrase
  remove --from FILE [--identity FILE]   take it out of the instance, once FILE has been opened
  import --from FILE [--identity FILE]   bring it back
  renew                                  make a new issuer below it, which the regions use from their next start

The root's key signs nothing but an issuer, which signs the regions' certificates for some years. Racks and clients know the root.`

// tlsRoot takes the root's key out of an instance and brings it back.
func tlsRoot(ctx context.Context, args []string) error {
	names := map[string]bool{"status": true, "export": true, "remove": true, "import": true, "renew": true}
	if len(args) == 0 || !names[args[0]] {
		return fault.New(fault.Invalid, "%s", tlsRootUsage)
	}
	fs := flag.NewFlagSet("metalward config-tls root "+args[0], flag.ContinueOnError)
	var c config.Region
	stateFlags(fs, &c)
	to := fs.String("to", "", "file to write; it must not be there")
	recipient := fs.String("recipient", "", "age recipient, age1…; else a passphrase is asked for, or read from standard input")
	from := fs.String("from", "", "the file that export wrote")
	identity := fs.String("identity", "", "file of the age identity, if it was encrypted for its recipient")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	ctx = authz.AsSystem(ctx, "config-tls")
	in := bufio.NewReader(os.Stdin)
	switch args[0] {
	case "export":
		if *to == "" || exists(*to) {
			return fault.Field("to", "Name a file that is not there yet.")
		}
		var passphrase secret.Value
		if *recipient == "" {
			if passphrase, err = askPassword(ctx, in); err != nil {
				return err
			}
		}
		f, err := os.OpenFile(*to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(r.ExportTLSRoot(ctx, f, *recipient, passphrase), f.Sync(), f.Close()); err != nil {
			return errors.Join(err, os.Remove(*to))
		}
		fmt.Printf("Wrote %s. Take the key out of the instance with: metalward config-tls root remove --from %s\n", *to, *to)
	case "remove", "import":
		f, err := os.Open(*from)
		if err != nil {
			return fault.Field("from", "Name the file that export wrote: %v.", err)
		}
		defer func() { _ = f.Close() }()
		id, passphrase, err := opens(ctx, in, *identity)
		if err != nil {
			return err
		}
		change := r.ImportTLSRoot
		if args[0] == "remove" {
			change = r.RemoveTLSRoot
		}
		if err := change(ctx, f, id, passphrase); err != nil {
			return err
		}
	case "renew":
		until, err := r.RenewTLSIssuer(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("The new issuer is good until %s. Restart each region to use it.\n", until.Format(time.DateOnly))
	}
	here, err := r.HasTLSRoot(ctx)
	if err != nil {
		return err
	}
	where := "is in this instance"
	if !here {
		where = "is not in this instance"
	}
	fmt.Printf("The root's key %s. SHA-256 of the root: %s\n", where, r.Fingerprint)
	return nil
}
