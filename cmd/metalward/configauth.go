package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/macaroons"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region"
	"github.com/metalward/metalward/internal/region/providers"
)

const configAuthUsage = `usage: metalward configauth [--candid-agent-file FILE] [--candid-domain DOMAIN] [--candid-admin-group GROUP]
                            [--rbac-url URL] [--rbac-service-name NAME] [--json] [--state-dir DIR]

Set the external authentication, as maas configauth does; a value of none clears it. What is not given is asked for at a
terminal, and else stays as it is. Everybody is logged out.

Other than with MAAS, nobody becomes an administrator without a group of administrators, accounts of this site can still
log in, and --json never prints the agent's key.
`

// none clears what a flag sets.
const none = "none"

// authFlags are the flags of configauth, as given.
type authFlags struct{ agentFile, domain, admins, rbacURL, rbacName string }

// configAuth sets the external authentication, on the region's host.
func configAuth(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward configauth", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(os.Stderr, configAuthUsage) }
	var c config.Region
	var f authFlags
	stateFlags(fs, &c)
	egressFlags(fs, &c)
	fs.StringVar(&f.agentFile, "candid-agent-file", "", "")
	fs.StringVar(&f.domain, "candid-domain", "", "")
	fs.StringVar(&f.admins, "candid-admin-group", "", "")
	fs.StringVar(&f.rbacURL, "rbac-url", "", "")
	fs.StringVar(&f.rbacName, "rbac-service-name", "", "")
	asJSON := fs.Bool("json", false, "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fault.New(fault.Invalid, "configauth takes no argument %.40q.", fs.Arg(0))
	}
	given := map[string]bool{}
	fs.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	changes := given["candid-agent-file"] || given["candid-domain"] || given["candid-admin-group"] || given["rbac-url"] || given["rbac-service-name"]
	if !changes && !*asJSON {
		if err := f.ask(); err != nil {
			return err
		}
		changes = true
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	ctx = authz.AsSystem(ctx, "configauth")
	if changes {
		if err := f.apply(ctx, r, given); err != nil {
			return err
		}
		if err := endAllSessions(ctx, r); err != nil {
			return err
		}
	}
	if *asJSON {
		return printAuth(ctx, r)
	}
	p, ok, err := r.Providers.External(ctx)
	switch {
	case err != nil:
		return err
	case !ok:
		fmt.Println("There is no external authentication. Everybody is logged out.")
	case p.Kind == metal.ProviderCandid && providers.AdminValue(p) == "":
		fmt.Printf("People log in by %s. Nobody of them is an administrator: name a group of Candid's with --candid-admin-group, or map groups on the\npage of the provider. Everybody is logged out.\n", p.Issuer)
	default:
		fmt.Printf("People log in by %s. Everybody is logged out.\n", p.Issuer)
	}
	return nil
}

// ask asks for what maas configauth asks for.
func (f *authFlags) ask() (err error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return fault.New(fault.Invalid, "%s", configAuthUsage)
	}
	in := bufio.NewReader(os.Stdin)
	for _, q := range []struct {
		prompt string
		into   *string
	}{
		{"URL of the RBAC service (leave blank if not using the service): ", &f.rbacURL},
		{"Name of this site in the RBAC service: ", &f.rbacName},
		{"Path of the Candid authentication agent file (leave blank if not using the service): ", &f.agentFile},
		{"Domain of Candid's whose people may log in (leave blank for all): ", &f.domain},
		{"Group of Candid's whose members are administrators (leave blank for none): ", &f.admins},
	} {
		switch {
		case q.into == &f.rbacName && f.rbacURL == "", f.rbacURL != "" && q.into != &f.rbacURL && q.into != &f.rbacName:
			continue
		case q.into != &f.agentFile && f.agentFile == "" && (q.into == &f.domain || q.into == &f.admins):
			continue
		}
		if *q.into, err = ask(in, q.prompt); err != nil {
			return err
		}
	}
	if f.rbacURL == "" {
		f.rbacURL = none
	}
	if f.agentFile == "" {
		f.agentFile = none
	}
	return nil
}

// apply makes the external authentication what the flags say.
func (f authFlags) apply(ctx context.Context, r *region.Region, given map[string]bool) error {
	if f.rbacURL != "" && f.rbacURL != none {
		if f.agentFile != "" && f.agentFile != none {
			return fault.New(fault.Invalid, "Give --rbac-url or --candid-agent-file: an RBAC service has a Candid of its own.")
		}
		return applyRBAC(ctx, r, f.rbacURL, f.rbacName)
	}
	if f.rbacURL == none {
		if err := r.Providers.ClearExternal(ctx, metal.ProviderRBAC); err != nil {
			return err
		}
	}
	if f.agentFile == none {
		return r.Providers.ClearExternal(ctx, metal.ProviderCandid)
	}
	clear := func(s string) string {
		if s == none {
			return ""
		}
		return s
	}
	if f.agentFile != "" {
		text, err := readSecretFile(f.agentFile, macaroons.MaxAgentFile+1)
		if err != nil {
			return fmt.Errorf("cannot read the agent file: %w", err)
		}
		a, err := macaroons.ParseAgentFile(text.Reveal())
		if err != nil {
			return err
		}
		_, err = r.Providers.SetExternal(ctx, providers.CandidExternal(a, clear(f.domain), clear(f.admins)))
		return err
	}
	if !given["candid-domain"] && !given["candid-admin-group"] {
		return nil
	}
	p, ok, err := r.Providers.External(ctx)
	if err != nil {
		return err
	}
	if !ok || p.Kind != metal.ProviderCandid {
		return fault.Field("candid-agent-file", "There is no Candid server yet: give its agent file, too.")
	}
	return r.Providers.ChangeCandid(ctx, p, func(domain, admins *string) {
		if given["candid-domain"] {
			*domain = clear(f.domain)
		}
		if given["candid-admin-group"] {
			*admins = clear(f.admins)
		}
	})
}

// endAllSessions logs everybody out.
func endAllSessions(ctx context.Context, r *region.Region) error {
	list, err := r.Identity.Users(ctx)
	if err != nil {
		return err
	}
	for _, u := range list {
		if err := r.Identity.EndSessions(ctx, u.Name); err != nil {
			return err
		}
	}
	return nil
}

// printAuth prints the external authentication in MAAS's words, but for the agent's private key.
func printAuth(ctx context.Context, r *region.Region) error {
	p, ok, err := r.Providers.External(ctx)
	if err != nil {
		return err
	}
	out := map[string]string{"external_auth_url": "", "external_auth_domain": "", "external_auth_user": "", "external_auth_key": "", "external_auth_admin_group": "", "rbac_url": ""}
	if ok {
		out["external_auth_url"], out["external_auth_user"], out["external_auth_domain"] = strings.TrimSuffix(p.Issuer, "/"), p.Options["agent_username"], p.Options["domain"]
		out["external_auth_admin_group"], out["external_auth_key"] = providers.AdminValue(p), "set"
		if p.Kind == metal.ProviderRBAC {
			out["rbac_url"], out["external_auth_url"] = strings.TrimSuffix(p.Issuer, "/"), strings.TrimSuffix(p.Issuer, "/")+"/auth"
		}
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(out)
}
