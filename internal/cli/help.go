package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/metalward/metalward/internal/maasapi"
)

// overview explains the commands of this package.
func (a *app) overview(w io.Writer) {
	_, _ = fmt.Fprintf(w, `usage: %[1]s login [--ca-file F | --ca-fingerprint HEX] [--api-key-file F | --agent-file F | --browser | --oidc[=NAME]] PROFILE URL [-]
       %[1]s logout PROFILE
       %[1]s list
       %[1]s PROFILE RESOURCE ACTION [ARGUMENT...] [NAME=VALUE | NAME@=FILE ...]

Every level has --help: %[1]s PROFILE --help lists the resources, %[1]s PROFILE machines --help
the actions, %[1]s PROFILE machines allocate --help the parameters.

Answers go to standard output as JSON. Exit codes: 0 done, 1 refused or failed, 2 wrong command line.
`, a.Program)
}

func (a *app) loginHelp() {
	a.print(`usage: %[1]s login [--ca-file F | --ca-fingerprint HEX] [--api-key-file F | --agent-file F | --browser | --oidc[=NAME]] PROFILE URL [-]

Save the instance at URL, such as https://HOST:5443/MAAS/, and an API key under the name PROFILE.

  -                     read the API key from standard input; without it a terminal asks for the key
  --api-key-file F      read the API key from a file
  --agent-file F        make an API key as an agent at the instance's Candid server, of this file
  --browser             make an API key by logging in with a browser at its Candid server or RBAC service
  --oidc[=NAME]         log in at the identity provider NAME, or the only one, in a browser; the key that comes of it
                        ends after some weeks
  --ca-file F           trust only the authorities in this PEM file
  --ca-fingerprint HEX  trust only the authority with this SHA-256, which the instance prints when it starts

Without a --ca option, the authorities of this computer are trusted.
`, a.Program)
}

// level chooses where help goes: to stdout if it was asked for.
func (a *app) level(asked bool) io.Writer {
	if asked {
		return a.stdout
	}
	return a.stderr
}

func (a *app) profileHelp(name string, asked bool) {
	w := a.level(asked)
	_, _ = fmt.Fprintf(w, "usage: %s %s RESOURCE ACTION ...\n\nResources:\n", a.Program, name)
	for _, r := range resources() {
		_, _ = fmt.Fprintf(w, "  %-22s  %s\n", r.name, maasapi.HandlerInfo[r.handler])
	}
}

func (a *app) resourceHelp(path string, r *resource, asked bool) {
	w := a.level(asked)
	_, _ = fmt.Fprintf(w, "usage: %s %s ACTION ...\n\n%s\n\nActions:\n", a.Program, path, maasapi.HandlerInfo[r.handler])
	for _, act := range r.actions {
		_, _ = fmt.Fprintf(w, "  %-26s  %s\n", act.name, act.rows[0].Doc)
	}
}

func (a *app) actionHelp(path string, act *action) {
	o := act.rows[0]
	options := ""
	if waitable(o) {
		options = "[--wait [--timeout DURATION]]"
	}
	for i, row := range act.rows {
		head := "usage:"
		if i > 0 {
			head = "   or:"
		}
		parameters := ""
		if len(row.Params)+len(row.Compat)+len(row.Prefix) > 0 {
			parameters = "[NAME=VALUE | NAME@=FILE ...]"
		}
		a.print("%s\n", joinWords(head, a.Program, path, strings.Join(upper(row.PathParams()), " "), options, parameters))
	}
	a.print("\n%s\n", o.Doc)
	a.parameterHelp(o)
	if o.Returns != "" {
		a.print("\nReturns %s.\n", o.Returns)
	}
}

func (a *app) parameterHelp(o *maasapi.Operation) {
	if len(o.Params)+len(o.Prefix) > 0 {
		a.print("\nParameters:\n")
	}
	if o.ID == "images.create" {
		a.print("  %-22s  The image's file, as content@=FILE: sha256 and size are found out, and the file is uploaded.\n", "content")
	}
	for _, p := range o.Params {
		doc := p.Doc
		if p.Required {
			doc = "Required. " + doc
		}
		if p.Secret {
			doc += " '-' asks for it, or reads standard input."
		}
		a.print("  %-22s  %s\n", p.Name, doc)
	}
	for _, p := range o.Prefix {
		a.print("  %-22s  One parameter of this family; '-' asks for a secret one, or reads standard input.\n", p+"NAME")
	}
	if len(o.Compat) > 0 {
		a.print("\nAccepted for compatibility, without effect: %s.\n", strings.Join(o.Compat, ", "))
	}
	if waitable(o) {
		a.print("\n--wait shows the progress until it is over; the exit code is 1 if it failed. --timeout limits it, such as 30m.\n")
	}
}

func upper(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToUpper(n)
	}
	return out
}

// pathUsage names the arguments of an action.
func pathUsage(act *action) string {
	var forms []string
	for _, o := range act.rows {
		if names := upper(o.PathParams()); len(names) > 0 {
			forms = append(forms, strings.Join(names, " "))
		} else {
			forms = append(forms, "no argument, only NAME=VALUE")
		}
	}
	return strings.Join(forms, ", or ")
}
