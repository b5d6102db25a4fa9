package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/certs"
	"github.com/metalward/metalward/internal/secret"
)

const tlsUsage = `usage: metalward config-tls enable [--cacert FILE] [--port PORT] [--yes] [--state-dir DIR] KEY CERT
       metalward config-tls acme --directory URL --agree-tos [--email ADDRESS] [--challenge http-01|tls-alpn-01|dns-01] [--dns-hook PROGRAM]
                 [--eab-kid ID --eab-key-file FILE] [--yes] [--state-dir DIR] [NAME...]
       metalward config-tls disable [--yes] [--state-dir DIR]
       metalward config-tls status | renew [--state-dir DIR]
       metalward config-tls root status | export | remove | import | renew …    the key of the site's own root

KEY and CERT are PEM files. A region that runs shows the new certificate within seconds and drops no connection. With acme it
gets one of an authority's directory and renews it by itself; status tells how far it is, renew has it try at once.`

// configTLS says which certificate the pages and the API show, as `maas config-tls` does.
func configTLS(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fault.New(fault.Invalid, "%s", tlsUsage)
	}
	if args[0] == "root" {
		return tlsRoot(ctx, args[1:])
	}
	fs := flag.NewFlagSet("metalward config-tls", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprintln(fs.Output(), tlsUsage) }
	var c config.Region
	stateFlags(fs, &c)
	cacert := fs.String("cacert", "", "the authority's certificate, if clients do not know it anyway")
	yes := fs.Bool("yes", false, "do not ask")
	port := fs.String("port", "", "the port of HTTPS, which the region is started with")
	fs.StringVar(port, "p", "", "as --port")
	var a certs.ACME
	fs.StringVar(&a.Directory, "directory", "", "the https:// address of the ACME directory")
	fs.StringVar(&a.Email, "email", "", "where the authority writes to")
	fs.StringVar(&a.Challenge, "challenge", certs.HTTP01, "how to prove the names: http-01, tls-alpn-01 or dns-01")
	fs.StringVar(&a.Hook, "dns-hook", "", "the program that sets the records of dns-01")
	fs.StringVar(&a.EABKid, "eab-kid", "", "the id of the key that the authority gave its customer")
	eab := fs.String("eab-key-file", "", "the file of that key")
	fs.BoolVar(&a.AgreeTOS, "agree-tos", false, "agree to the authority's terms of service")
	files, err := flagsAnywhere(fs, args[1:])
	if err != nil {
		return err
	}
	if want, ok := map[string]int{"enable": 2, "disable": 0, "status": 0, "renew": 0, "acme": -1}[args[0]]; !ok || len(files) != want && want >= 0 {
		return fault.New(fault.Invalid, "%s", tlsUsage)
	}
	var parts []certs.Part
	if args[0] == "enable" {
		for _, f := range [][2]string{{"key", files[0]}, {"cert", files[1]}, {"cacert", *cacert}} {
			if f[1] == "" {
				continue
			}
			data, err := readBounded(f[1])
			if err != nil {
				return fault.Field(f[0], "%v", err)
			}
			parts = append(parts, certs.Part{Name: f[0], Data: data})
		}
	}
	if a.Names = files; *eab != "" {
		data, err := readBounded(*eab)
		if err != nil {
			return fault.Field("eab-key-file", "%v", err)
		}
		a.EABKey = secret.FromString(strings.TrimSpace(string(data)))
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	if u, err := url.Parse(r.BaseURL); err == nil && *port != "" && u.Port() != *port {
		return fault.Field("port", "The region serves HTTPS on port %s; to change that, start it with --listen-https :%s.", u.Port(), *port)
	}
	ctx = authz.AsSystem(ctx, "config-tls")
	in := bufio.NewReader(os.Stdin)
	switch args[0] {
	case "enable":
		if err := sure(in, *yes, "The pages and the API will show this certificate to everybody. Go on?"); err != nil {
			return err
		}
		if _, err := r.Certs.Enable(ctx, parts...); err != nil {
			return err
		}
	case "acme":
		if err := sure(in, *yes, "The pages and the API will show a certificate of this directory to everybody. Go on?"); err != nil {
			return err
		}
		if _, err := r.Certs.SetACME(ctx, a); err != nil {
			return err
		}
	case "disable":
		fmt.Fprintln(os.Stderr, "ATTENTION: everybody who does not trust this site's own authority will be REFUSED from then on: browsers, MAAS clients, scripts.\nTLS itself stays on.")
		if err := sure(in, *yes, "Go back to a certificate of the site's own authority?"); err != nil {
			return err
		}
		if err := r.Certs.Disable(ctx); err != nil {
			return err
		}
	case "renew":
		if err := r.Certs.Renew(ctx); err != nil {
			return err
		}
	}
	st, err := r.Certs.Status(ctx)
	if err != nil {
		return err
	}
	printTLS(os.Stdout, st)
	return nil
}

// flagsAnywhere parses flags before, between and after the arguments, as MAAS's command line does.
func flagsAnywhere(fs *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		if fs.NArg() == 0 {
			return rest, nil
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
}

// maxFile bounds the files that commands on the host read.
const maxFile = 1 << 20

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return data, err
}

// sure asks on a terminal; anything else has to say --yes.
func sure(in *bufio.Reader, yes bool, question string) error {
	if yes {
		return nil
	}
	answer, err := ask(in, question+" (y/n) ")
	if err == nil && !strings.HasPrefix(strings.ToLower(answer), "y") {
		err = errors.New("nothing was changed")
	}
	return err
}

func printTLS(w io.Writer, st certs.Status) {
	if st.Given && st.ACME != nil {
		fmt.Fprintln(w, "The pages and the API show this certificate:")
	} else if st.Given {
		fmt.Fprintln(w, "The pages and the API show a certificate that was brought here:")
	} else {
		fmt.Fprintln(w, "The pages and the API show a certificate of the site's own authority, which renews itself. The authority:")
	}
	for i, c := range st.Chain {
		if i == 0 {
			fmt.Fprintf(w, "  subject      %s\n  for          %s\n  issuer       %s\n  ends         %s\n  key          %s\n  SHA-256      %s\n", c.Subject, strings.Join(c.Names, ", "), c.Issuer, c.NotAfter.UTC().Format(time.RFC3339), c.Key, c.Fingerprint)
			continue
		}
		fmt.Fprintf(w, "  then         %s, until %s\n", c.Subject, c.NotAfter.UTC().Format(time.RFC3339))
	}
	printACME(w, st.ACME)
	for _, text := range st.Warnings {
		fmt.Fprintln(w, "  warning     ", text)
	}
	for _, k := range st.Known {
		fmt.Fprintf(w, "%-10s %4d days  %s\n", k.State, k.Days, k.What)
	}
}

func printACME(w io.Writer, a *certs.ACMEStatus) {
	if a == nil {
		return
	}
	fmt.Fprintf(w, "  directory    %s\n  by           %s for %s\n", a.Directory, a.Challenge, strings.Join(a.Names, ", "))
	switch {
	case a.Error != "":
		fmt.Fprintf(w, "  failed       %s: %s\n  tries again  %s\n", a.At.UTC().Format(time.RFC3339), a.Error, a.RetryAt.UTC().Format(time.RFC3339))
	case a.Pending:
		fmt.Fprintln(w, "  renews       now: a region that runs gets the certificate, see status")
	default:
		fmt.Fprintf(w, "  renews       %s\n", a.RenewAt.UTC().Format(time.RFC3339))
	}
}
