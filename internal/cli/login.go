package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/secret"
)

// loginArguments are those of login.
type loginArguments struct {
	words                          []string
	caFile, caFingerprint, keyFile string
	agentFile                      string // of an agent at the instance's Candid server
	browser                        bool   // log in there as a person
	oidc                           bool   // log in at an OpenID provider
	provider                       string // its name; empty: the only one
}

func parseLogin(args []string) (l loginArguments, err error) {
	options := map[string]*string{"--ca-file": &l.caFile, "--ca-fingerprint": &l.caFingerprint, "--api-key-file": &l.keyFile, "--agent-file": &l.agentFile}
	for i := 0; i < len(args); i++ {
		name, value, assigned := strings.Cut(args[i], "=")
		target, known := options[name]
		switch {
		case args[i] == "--browser":
			l.browser = true
		case name == "--oidc":
			l.oidc, l.provider = true, value
		case known && !assigned:
			if i++; i == len(args) {
				return l, usage("login", "%s needs a value.", name)
			}
			*target = args[i]
		case known:
			*target = value
		case len(args[i]) > 1 && args[i][0] == '-':
			return l, usage("login", "Unknown option %s.", name)
		default:
			l.words = append(l.words, args[i])
		}
	}
	switch {
	case len(l.words) < 2 || len(l.words) > 3:
		return l, usage("login", "login takes the name of a profile and the URL of the instance.")
	case l.caFile != "" && l.caFingerprint != "":
		return l, usage("login", "Give --ca-file or --ca-fingerprint, not both.")
	case l.oidc && (len(l.words) == 3 || l.keyFile != "" || l.external()):
		return l, usage("login", "With --oidc there is no API key to give: the login makes one.")
	case len(l.words) == 3 && l.keyFile != "":
		return l, usage("login", "The API key is given twice.")
	case l.external() && (len(l.words) == 3 || l.keyFile != "" || l.browser && l.agentFile != ""):
		return l, usage("login", "Give an API key, --agent-file or --browser, one of them.")
	}
	return l, nil
}

// external says to log in where the instance's external authentication is.
func (l loginArguments) external() bool { return l.browser || l.agentFile != "" }

func (a *app) login(ctx context.Context, args []string) error {
	if wantsHelp(args) {
		a.loginHelp()
		return nil
	}
	l, err := parseLogin(args)
	if err != nil {
		return err
	}
	if err := a.checkName(l.words[0]); err != nil {
		return err
	}
	p := profile{Name: l.words[0]}
	var host string
	if p.URL, host, err = parseURL(l.words[1]); err != nil {
		return err
	}
	trust, err := a.trust(l, host, &p)
	if err != nil {
		return err
	}
	if l.external() {
		u, _ := url.Parse(p.URL) // it was parsed before
		p.Key, err = a.externalKey(ctx, l, p.URL, u.Host, trust)
	} else if l.oidc {
		p.Key, err = a.deviceKey(ctx, p.URL, trust, l.provider)
	} else {
		p.Key, err = a.loginKey(l)
	}
	if err != nil {
		return err
	}
	c, err := a.client(p.URL, p.Key, trust)
	if err != nil {
		return err
	}
	var me struct {
		Username string `json:"username"`
	}
	header, err := c.get(ctx, maasapi.Root+"/users/", url.Values{"op": {"whoami"}}, &me)
	var refused *apiError
	if errors.As(err, &refused) && refused.status == http.StatusUnauthorized {
		return errors.New("cannot log in: the instance does not know this API key")
	}
	if err != nil {
		return fmt.Errorf("cannot log in: %w", redact(err, []secret.Value{p.Key}))
	}
	if header.Get("X-MAAS-API-Hash") != maasapi.Hash() {
		a.note("The instance is of another version than this program: some commands may differ.")
	}
	if err := a.save(p); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.stdout, "You are now logged in to %s as %s, with the profile %s.\n", p.URL, cleanLine(me.Username), p.Name)
	return err
}

// trust decides which authority the instance's certificate must come from, and notes it in the profile.
func (a *app) trust(l loginArguments, host string, p *profile) (*tls.Config, error) {
	if l.caFingerprint != "" {
		sum, err := parseFingerprint(l.caFingerprint)
		if err != nil {
			return nil, err
		}
		return trustFingerprint(sum, host, func(pem string) { p.CA = pem }), nil
	}
	if l.caFile != "" {
		b, err := os.ReadFile(l.caFile)
		if err != nil {
			return nil, fmt.Errorf("cannot log in: %w", err)
		}
		p.CA = string(b)
	}
	trust, err := trustPEM(p.CA)
	if err != nil {
		return nil, fmt.Errorf("cannot log in: %w", err)
	}
	return trust, nil
}

// loginKey finds the API key: the argument, "-" or a file, else the person at the terminal is asked.
func (a *app) loginKey(l loginArguments) (secret.Value, error) {
	var text string
	var err error
	switch {
	case len(l.words) == 3 && l.words[2] != "-":
		text = l.words[2]
	case l.keyFile != "":
		text, err = a.readFile(l.keyFile)
	case len(l.words) == 3 || a.StdinTerminal && a.Prompt != nil:
		text, err = a.askFor("API key")
	default:
		return secret.Value{}, usage("login", "Give the API key: '-' reads it from standard input, --api-key-file F from a file.")
	}
	if err != nil {
		return secret.Value{}, fmt.Errorf("cannot read the API key: %w", err)
	}
	v := secret.FromString(strings.TrimSpace(text))
	if v.Empty() {
		return v, usage("login", "The API key is empty.")
	}
	return v, nil
}

// parseURL takes the instance's address with or without /MAAS/ and what follows. It returns scheme and host
// with whatever a proxy has before /MAAS, and the host alone. Plain HTTP would show the key to anyone between.
func parseURL(text string) (base, host string, err error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", "", usage("login", "The URL of an instance looks like https://HOST:5443/MAAS/.")
	case u.Scheme != "https":
		return "", "", usage("login", "The URL must start with https://, or the API key could be read on its way.")
	}
	path, _, _ := strings.Cut(u.Path+"/", "/MAAS/")
	return "https://" + u.Host + strings.TrimRight(path, "/"), u.Hostname(), nil
}

func (a *app) logout(args []string) error {
	if wantsHelp(args) {
		a.print("usage: %s logout PROFILE\n\nForget a profile and its API key on this computer. The key itself stays valid:\n"+
			"PROFILE account delete-authorisation-token ends it.\n", a.Program)
		return nil
	}
	if len(args) != 1 {
		return usage("logout", "logout takes the name of a profile.")
	}
	if err := a.checkName(args[0]); err != nil {
		return err
	}
	if err := os.Remove(a.file(args[0])); err != nil {
		return fmt.Errorf("cannot log out: there is no profile %s", args[0])
	}
	return nil
}

// list shows the profiles. Other than maas, it shows no key.
func (a *app) list(args []string) error {
	if wantsHelp(args) {
		a.print("usage: %s list\n\nList the profiles with their instances.\n", a.Program)
		return nil
	}
	if len(args) > 0 {
		return usage("list", "list takes no argument.")
	}
	names, err := a.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		p, err := a.load(name)
		if err != nil {
			a.complain("%s", err)
			continue
		}
		a.print("%s %s\n", p.Name, cleanLine(p.URL))
	}
	return nil
}

func (a *app) agent() string {
	if a.Version == "" {
		return "metalward"
	}
	return "metalward/" + a.Version
}

// note tells people something that is no error.
func (a *app) note(format string, args ...any) {
	_, _ = fmt.Fprintln(a.stderr, clean(fmt.Sprintf(format, args...)))
}

func (a *app) print(format string, args ...any) { _, _ = fmt.Fprintf(a.stdout, format, args...) }
