package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	kept "github.com/metalward/metalward/internal/region/secrets"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/vault"
)

const vaultUsage = `usage: metalward config-vault configure [--mount MOUNT] [--cacert FILE] [--namespace NAME] [--yes] URL ROLE_ID WRAPPED_TOKEN SECRETS_PATH
       metalward config-vault migrate | rollback [--yes]
       metalward config-vault rotate [WRAPPED_TOKEN]
       metalward config-vault revoke [--force] [--yes]
       metalward config-vault status
each with [--state-dir DIR]

WRAPPED_TOKEN is best given as -, for the first line of the standard input, or as --token-file FILE instead: others on this host may
see arguments. Each region has a Vault configured on its own host; then one of them migrates.`

// configVault says where the site keeps its secrets, as `maas config-vault` does.
func configVault(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fault.New(fault.Invalid, "%s", vaultUsage)
	}
	fs := flag.NewFlagSet("metalward config-vault", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprintln(fs.Output(), vaultUsage) }
	var c config.Region
	stateFlags(fs, &c)
	var q kept.VaultRequest
	fs.StringVar(&q.Mount, "mount", "secret", "the mount of a KV engine of version 2")
	fs.StringVar(&q.Namespace, "namespace", "", "the namespace, of Vault Enterprise or OpenBao")
	cacert := fs.String("cacert", "", "file of the authority that signed Vault's certificate, if this host does not know it anyway")
	tokenFile := fs.String("token-file", "", "file of the wrapping token")
	force := fs.Bool("force", false, "revoke even if Vault does not answer")
	yes := fs.Bool("yes", false, "do not ask")
	rest, err := flagsAnywhere(fs, args[1:])
	if err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	token, rest, err := wrappedToken(args[0], rest, *tokenFile, in)
	if err != nil {
		return err
	}
	if want, ok := map[string]int{"configure": 3, "migrate": 0, "rollback": 0, "rotate": 0, "revoke": 0, "status": 0}[args[0]]; !ok || len(rest) != want {
		return fault.New(fault.Invalid, "%s", vaultUsage)
	}
	if _, err := os.Stat(c.StateDir); err != nil {
		return fault.Field("state-dir", "There is no state folder at %s; name the one that the region runs with.", c.StateDir)
	}
	set := kept.Setup{Dir: c.StateDir, Now: time.Now}
	switch args[0] {
	case "configure":
		q.URL, q.RoleID, q.Path, q.Token = rest[0], rest[1], rest[2], token
		if *cacert != "" {
			if q.CA, err = readBounded(*cacert); err != nil {
				return fault.Field("cacert", "%v", err)
			}
		}
		done, err := set.Configure(ctx, q)
		return vaultDone(ctx, c, "This region can keep secrets in Vault. They stay in the database until metalward config-vault migrate.", done, err)
	case "rotate":
		done, err := set.Rotate(ctx, token)
		return vaultDone(ctx, c, "This region has a new secret id.", done, err)
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	ctx = authz.AsSystem(ctx, "config-vault")
	progress := func(done, of int) {
		if done == of || done%100 == 0 {
			fmt.Printf("%d of %d\n", done, of)
		}
	}
	switch args[0] {
	case "migrate":
		if err := sure(in, *yes, "The site's secrets will leave the database for Vault; without Vault no region starts then. Go on?"); err != nil {
			return err
		}
		n, err := r.Secrets.Migrate(ctx, progress)
		return movedSecrets(n, "to Vault", "migrate", err)
	case "rollback":
		if err := sure(in, *yes, "The site's secrets will come back into the database, sealed under its keys. Go on?"); err != nil {
			return err
		}
		n, err := r.Secrets.Rollback(ctx, progress)
		return movedSecrets(n, "back to the database", "rollback", err)
	case "revoke":
		if err := r.Secrets.Revocable(ctx); err != nil {
			return err
		}
		if err := sure(in, *yes, "This region will not be able to use Vault any more. Go on?"); err != nil {
			return err
		}
		left, err := set.Revoke(ctx, *force)
		if err != nil {
			return err
		}
		fmt.Println("This region has no Vault any more.")
		for _, accessor := range left {
			fmt.Printf("It may not destroy a secret id itself, or that is destroyed already; in Vault: vault write auth/approle/role/NAME/secret-id-accessor/destroy secret_id_accessor=%s\n", accessor)
		}
		return r.Secrets.Follow(ctx)
	}
	_ = r.Secrets.Check(ctx) // what it finds out is shown
	st, err := r.Secrets.VaultStatus(ctx)
	if err != nil {
		return err
	}
	printVault(os.Stdout, st)
	return nil
}

// wrappedToken takes the wrapping token out of the arguments, or reads it.
func wrappedToken(command string, rest []string, file string, in *bufio.Reader) (token secret.Value, others []string, err error) {
	at := map[string]int{"configure": 2, "rotate": 0}
	i, takes := at[command]
	if !takes {
		return token, rest, nil
	}
	if file != "" {
		text, err := readBounded(file)
		if err != nil {
			return token, rest, fault.Field("token-file", "%v", err)
		}
		return secret.FromString(strings.TrimSpace(string(text))), rest, nil
	}
	if len(rest) <= i || command == "configure" && len(rest) != 4 {
		return token, rest, nil
	}
	text := rest[i]
	if text == "-" {
		line, err := in.ReadString('\n')
		if err != nil && line == "" {
			return token, rest, fault.Field("wrapped_token", "There is none on the standard input.")
		}
		text = strings.TrimSpace(line)
	}
	return secret.FromString(text), append(append([]string(nil), rest[:i]...), rest[i+1:]...), nil
}

// vaultDone tells what was done with the settings, and has the site know.
func vaultDone(ctx context.Context, c config.Region, text string, s vault.Settings, err error) error {
	if err != nil {
		return err
	}
	fmt.Println(text)
	if len(s.Retired) > 0 {
		fmt.Printf("The role may not destroy the secret ids that it does not use any more. In Vault, for each: vault write auth/approle/role/%s/secret-id-accessor/destroy secret_id_accessor=…\n", s.RoleName)
		for _, a := range s.Retired {
			fmt.Println(" ", a)
		}
	}
	r, err := offline(ctx, c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "metalward: the settings are written; the site will know when the region starts:", err)
		return nil
	}
	r.Close()
	return nil
}

func movedSecrets(n int, where, command string, err error) error {
	if err != nil {
		return fmt.Errorf("%d secrets were moved, then: %w; nothing is lost, run metalward config-vault %s again", n, err, command)
	}
	fmt.Printf("%d secrets were moved %s.\n", n, where)
	return nil
}

// printVault begins as MAAS's status does, for scripts.
func printVault(w io.Writer, st kept.VaultStatus) {
	state := "disabled"
	if st.Backend == kept.InVault {
		state = "enabled"
	}
	fmt.Fprintf(w, "status: %s\n", state)
	if len(st.Unconfigured) > 0 {
		fmt.Fprintln(w, "unconfigured_regions:")
		for _, name := range st.Unconfigured {
			fmt.Fprintf(w, "- %s\n", name)
		}
	}
	fmt.Fprintf(w, "secrets_in_vault: %d\nsecrets_in_database: %d\n", st.InVault, st.InDatabase)
	if st.Place != "" {
		fmt.Fprintf(w, "place: %q\nhealth: %s\nhealth_since: %s\n", st.Place, st.Here.State, st.Here.Since.UTC().Format(time.RFC3339))
		if st.Here.Message != "" {
			fmt.Fprintf(w, "health_message: %q\n", st.Here.Message)
		}
		fmt.Fprintf(w, "secret_id_since: %s\nsecret_ids_to_destroy: %d\n", st.Secret.Since.UTC().Format(time.RFC3339), st.Secret.Retired)
		if st.Secret.Pending {
			fmt.Fprintln(w, "rotation: unfinished")
		}
	}
	for i, r := range st.Regions {
		if i == 0 {
			fmt.Fprintln(w, "regions:")
		}
		fmt.Fprintf(w, "- region: %s\n  configured: %v\n", r.Hostname, r.Configured)
		if r.Configured {
			fmt.Fprintf(w, "  health: %s\n  health_since: %s\n  seen: %s\n", r.State, r.Since.UTC().Format(time.RFC3339), r.Seen.UTC().Format(time.RFC3339))
		}
	}
}
