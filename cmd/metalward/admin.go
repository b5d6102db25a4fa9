package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region"
	"github.com/metalward/metalward/internal/region/audit"
	"github.com/metalward/metalward/internal/region/identity"
	"github.com/metalward/metalward/internal/secret"
)

// offline opens a region's services on its host, beside a running region or without one.
func offline(ctx context.Context, c config.Region) (*region.Region, error) {
	if _, err := os.Stat(c.StateDir); err != nil {
		return nil, fault.Field("state-dir", "There is no state folder at %s; name the one that the region runs with.", c.StateDir)
	}
	if _, err := databaseURL(c.Database, ""); err != nil {
		return nil, err
	}
	return region.New(ctx, region.Options{Config: c, Version: version, Log: logger(false), Offline: true})
}

func stateFlags(fs *flag.FlagSet, c *config.Region) {
	fs.StringVar(&c.StateDir, "state-dir", defaultStateDir(), "the region's state folder")
	fs.StringVar(&c.Database, "database", "", "postgres:// URL without a password; by default what `metalward init region` wrote down")
	rootFlags(fs, c)
}

func createAdmin(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward createadmin", flag.ContinueOnError)
	var c config.Region
	stateFlags(fs, &c)
	name := fs.String("username", "", "name to log in with")
	email := fs.String("email", "", "e-mail address")
	fs.StringVar(&c.BreachedPasswords, "breached-passwords", "", "file of SHA-1 hashes, sorted, of passwords that nobody may choose")
	if err := fs.Parse(args); err != nil {
		return err
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	in := bufio.NewReader(os.Stdin)
	if *name == "" {
		if *name, err = ask(in, "User name: "); err != nil {
			return err
		}
	}
	password, err := askPassword(ctx, in)
	if err != nil {
		return err
	}
	u, err := r.Identity.CreateUser(authz.AsSystem(ctx, "createadmin"), identity.NewUser{Name: *name, Email: *email, Password: password, Admin: true})
	if err != nil {
		return err
	}
	fmt.Println("Created administrator", u.Name)
	return nil
}

func ask(in *bufio.Reader, prompt string) (string, error) {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		fmt.Fprint(os.Stderr, prompt)
	}
	line, err := in.ReadString('\n')
	if err != nil && line == "" {
		return "", fault.New(fault.Invalid, "Nothing was entered.")
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// opens is what opens an encrypted file: the age identity in a file if one is named, else a passphrase, which a terminal does not show.
func opens(ctx context.Context, in *bufio.Reader, identity string) (id, passphrase secret.Value, err error) {
	if identity != "" {
		data, err := readBounded(identity)
		if err != nil {
			return id, passphrase, fault.Field("identity", "%v", err)
		}
		return secret.NewValue(data), passphrase, nil
	}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		b, err := readHidden(ctx, "Passphrase of the file: ")
		return id, secret.NewValue(b), err
	}
	line, err := ask(in, "")
	return id, secret.FromString(line), err
}

// onHost parses a command's flags, those of the region's state among them, and opens the region for it.
func onHost(ctx context.Context, name string, args []string, more func(*flag.FlagSet), fn func(*region.Region, config.Region) error) error {
	fs := flag.NewFlagSet("metalward "+name, flag.ContinueOnError)
	var c config.Region
	stateFlags(fs, &c)
	more(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	return fn(r, c)
}

// askPassword prompts twice on a terminal, and takes one line from anything else.
func askPassword(ctx context.Context, in *bufio.Reader) (secret.Value, error) {
	fd := int(os.Stdin.Fd())
	if !term.IsTerminal(fd) {
		line, err := ask(in, "")
		return secret.FromString(line), err
	}
	var got [2][]byte
	for i, prompt := range []string{"Password: ", "Password again: "} {
		b, err := readHidden(ctx, prompt)
		if err != nil {
			return secret.Value{}, err
		}
		got[i] = b
	}
	if string(got[0]) != string(got[1]) {
		return secret.Value{}, fault.Field("password", "The two entries differ.")
	}
	return secret.NewValue(got[0]), nil
}

// readHidden asks on a terminal without showing what is typed. Ctrl-C ends the program with the terminal as it
// was: reading a password cannot be interrupted otherwise.
func readHidden(ctx context.Context, prompt string) ([]byte, error) {
	fd := int(os.Stdin.Fd())
	state, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = term.Restore(fd, state)
		fmt.Fprintln(os.Stderr)
		os.Exit(130)
	})
	defer stop()
	fmt.Fprint(os.Stderr, prompt)
	b, err := term.ReadPassword(fd)
	fmt.Fprintln(os.Stderr)
	return b, err
}

// apiKey prints a new key: for scripts on the region's host, as `maas apikey --generate`.
func apiKey(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward apikey", flag.ContinueOnError)
	var c config.Region
	stateFlags(fs, &c)
	name := fs.String("username", "", "whose key")
	label := fs.String("name", "made on the controller", "the key's name")
	if err := fs.Parse(args); err != nil {
		return err
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	k, err := r.Identity.KeyFor(authz.AsSystem(ctx, "apikey"), *name, *label)
	if err != nil {
		return err
	}
	fmt.Println(k.Text().RevealString())
	return nil
}

const trailUsage = "usage: metalward trail verify [--state-dir DIR] | trail verify --export FILE --key HEX | trail key [--state-dir DIR]"

// trail verifies the trail on the region's host, or an export of it anywhere, with the key that `trail key` prints.
func trail(ctx context.Context, args []string) error {
	if len(args) == 0 || args[0] != "verify" && args[0] != "key" {
		return fault.New(fault.Invalid, trailUsage)
	}
	fs := flag.NewFlagSet("metalward trail "+args[0], flag.ContinueOnError)
	var c config.Region
	stateFlags(fs, &c)
	export, key := "", ""
	if args[0] == "verify" {
		fs.StringVar(&export, "export", "", "file that an export wrote; - for standard input")
		fs.StringVar(&key, "key", "", "the instance's public key, as trail key prints it; for --export")
	}
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	if export != "" {
		return verifyExport(export, key)
	}
	if args[0] == "key" {
		public, err := region.TrailKey(c.StateDir)
		if err != nil {
			return err
		}
		fmt.Println(hex.EncodeToString(public))
		return nil
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := r.VerifyTrail(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("The trail is intact: %d sealed events.\n", n)
	return nil
}

func verifyExport(name, key string) error {
	public, err := hex.DecodeString(strings.TrimSpace(key))
	if err != nil || len(public) != ed25519.PublicKeySize {
		return fault.Field("key", "Give the public key that `metalward trail key` prints on the region's host.")
	}
	from := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	n, err := audit.VerifyExport(from, public)
	if err != nil {
		return err
	}
	fmt.Printf("The export is intact: %d events.\n", n)
	return nil
}

// readSecretFile reads a secret from a file, or from standard input for "-".
func readSecretFile(name string, limit int64) (secret.Value, error) {
	var from io.Reader = os.Stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return secret.Value{}, err
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	b, err := io.ReadAll(io.LimitReader(from, limit))
	if err != nil {
		return secret.Value{}, err
	}
	return secret.FromString(strings.TrimSpace(string(b))), nil
}
