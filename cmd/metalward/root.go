package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/tpm"
)

// rootFlags bind where the root key is, if not in the state folder. systemd says so in the environment.
func rootFlags(fs *flag.FlagSet, c *config.Region) {
	fs.StringVar(&c.TPM, "tpm", "", "the TPM's device, or unix:PATH for one in software, where it has sealed the root key (default "+tpm.DefaultDevice+")")
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		if path := filepath.Join(dir, "root.key"); exists(path) {
			c.RootCredential = path
		}
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

const rootUsage = `usage: metalward secrets root COMMAND …

  status                                    where the root key is
  export --to FILE [--recipient age1…]      a recovery file: encrypted for an age recipient, else with a passphrase
  import --from FILE [--identity FILE]      put the root key of a recovery file into the state folder
  seal-tpm [--pcrs 7] [--recovered]         have the TPM seal it, and remove root.key
  seal-vault [--mount transit] --recovered KEY   have Vault's transit engine encrypt it under KEY, and remove root.key
  unseal                                    put it into root.key again`

// secretsRoot moves the root key.
func secretsRoot(ctx context.Context, args []string) error {
	run := map[string]func(context.Context, []string) error{"status": rootStatus, "export": exportRoot, "import": importRoot, "seal-tpm": sealRoot, "seal-vault": sealRootVault, "unseal": unsealRoot}
	if len(args) == 0 || run[args[0]] == nil {
		return fault.New(fault.Invalid, "%s", rootUsage)
	}
	return run[args[0]](ctx, args[1:])
}

// onRoot is onHost for what is done about the root key.
func onRoot(ctx context.Context, name string, args []string, more func(*flag.FlagSet), fn func(*region.Region, config.Region) error) error {
	return onHost(ctx, "secrets root "+name, args, more, fn)
}

func rootStatus(ctx context.Context, args []string) error {
	return onRoot(ctx, "status", args, func(*flag.FlagSet) {}, func(r *region.Region, c config.Region) error {
		s, err := r.RootStatus()
		if err != nil {
			return err
		}
		fmt.Printf("The root key is in: %s\nIts id:             %s\n", s.Kind, s.ID)
		if s.Kind == region.RootInTPM {
			fmt.Printf("Bound to PCRs:      %s\n", pcrText(s.PCRs))
		}
		if s.Both {
			fmt.Printf("Besides, %s is there: moving the key was broken off. Run seal-tpm or unseal again.\n", filepath.Join(c.StateDir, "root.key"))
		}
		return nil
	})
}

func pcrText(pcrs []uint) string {
	if len(pcrs) == 0 {
		return "none"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(pcrs), " ", ", "), "[]")
}

func parsePCRs(text string) (pcrs []uint, err error) {
	for part := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == ',' || c == '+' || c == ' ' }) {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return nil, fault.Field("pcrs", "Name numbers, separated by commas, such as 7.")
		}
		pcrs = append(pcrs, uint(n))
	}
	return pcrs, nil
}

func sealRoot(ctx context.Context, args []string) error {
	var pcrs string
	var recovered bool
	return onRoot(ctx, "seal-tpm", args, func(fs *flag.FlagSet) {
		fs.StringVar(&pcrs, "pcrs", "", "PCRs of the SHA-256 bank that have to be as they are now, such as 7 for Secure Boot's keys; by default none")
		fs.BoolVar(&recovered, "recovered", false, "there is a recovery file of `metalward secrets root export`, kept elsewhere")
	}, func(r *region.Region, _ config.Region) error {
		if !recovered {
			return fault.Field("recovered", "A TPM that is cleared or breaks takes the root key, and with it every secret, along. Export it first (metalward secrets root export --to FILE), keep the file elsewhere, and say --recovered.")
		}
		list, err := parsePCRs(pcrs)
		if err != nil {
			return err
		}
		if err := r.SealRoot(ctx, list); err != nil {
			return err
		}
		fmt.Printf("The TPM has sealed the root key, and it was read back; root.key is gone. Bound to PCRs: %s.\n", pcrText(list))
		return nil
	})
}

func sealRootVault(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward secrets root seal-vault", flag.ContinueOnError)
	var c config.Region
	stateFlags(fs, &c)
	mount := fs.String("mount", "transit", "the mount of Vault's transit engine")
	recovered := fs.Bool("recovered", false, "there is a recovery file of `metalward secrets root export`, kept elsewhere")
	rest, err := flagsAnywhere(fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 {
		return fault.New(fault.Invalid, "%s", rootUsage)
	}
	if !*recovered {
		return fault.Field("recovered", "A key that is deleted in Vault takes the root key, and with it every secret, along. Export it first (metalward secrets root export --to FILE), keep the file elsewhere, and say --recovered.")
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := r.SealRootVault(ctx, *mount, rest[0]); err != nil {
		return err
	}
	fmt.Printf("Vault has encrypted the root key under %s/%s, and it was read back; root.key is gone.\n", *mount, rest[0])
	return nil
}

func unsealRoot(ctx context.Context, args []string) error {
	return onRoot(ctx, "unseal", args, func(*flag.FlagSet) {}, func(r *region.Region, c config.Region) error {
		if err := r.UnsealRoot(ctx); err != nil {
			return err
		}
		fmt.Printf("The root key is in %s again.\n", filepath.Join(c.StateDir, "root.key"))
		return nil
	})
}

func exportRoot(ctx context.Context, args []string) error {
	var to, recipient string
	return onRoot(ctx, "export", args, func(fs *flag.FlagSet) {
		fs.StringVar(&to, "to", "", "file to write; it must not be there")
		fs.StringVar(&recipient, "recipient", "", "age recipient, age1…; else a passphrase is asked for, or read from standard input")
	}, func(r *region.Region, _ config.Region) error {
		if to == "" || exists(to) {
			return fault.Field("to", "Name a file that is not there yet.")
		}
		var passphrase secret.Value
		if recipient == "" {
			var err error
			if passphrase, err = askPassword(ctx, bufio.NewReader(os.Stdin)); err != nil {
				return err
			}
		}
		f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		if err := errors.Join(r.ExportRoot(ctx, f, recipient, passphrase), f.Sync(), f.Close()); err != nil {
			return errors.Join(err, os.Remove(to))
		}
		fmt.Printf("Wrote %s. Keep it elsewhere, and try it: metalward secrets root import --from %s --state-dir EMPTY-FOLDER\n", to, to)
		return nil
	})
}

func importRoot(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward secrets root import", flag.ContinueOnError)
	dir := fs.String("state-dir", defaultStateDir(), "the region's state folder")
	from := fs.String("from", "", "the recovery file")
	identity := fs.String("identity", "", "file of the age identity, if it was encrypted for its recipient")
	if err := fs.Parse(args); err != nil {
		return err
	}
	f, err := os.Open(*from)
	if err != nil {
		return fault.Field("from", "Name the recovery file: %v.", err)
	}
	defer func() { _ = f.Close() }()
	id, passphrase, err := opens(ctx, bufio.NewReader(os.Stdin), *identity)
	if err != nil {
		return err
	}
	if err := region.ImportRoot(f, *dir, id, passphrase); err != nil {
		return err
	}
	fmt.Printf("The root key is in %s.\n", filepath.Join(*dir, "root.key"))
	return nil
}
