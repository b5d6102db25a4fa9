package cli

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/maasapi"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/secret"
)

const maxFile = 3 << 20 // bytes of a file sent as a field: the instance takes forms of 4 MiB

// arguments are what follows RESOURCE ACTION.
type arguments struct {
	path    []string // values of the path parameters, in order
	fields  []field
	wait    bool
	timeout time.Duration // of the wait; 0 is none
}

// field is name=value, or name@=file.
type field struct {
	name, value string
	file        bool
}

// parseArguments takes the words apart. help names the command in complaints.
func parseArguments(words []string, help string) (args arguments, err error) {
	flags := true
	for i := 0; i < len(words); i++ {
		w := words[i]
		name, value, assigned := strings.Cut(w, "=")
		switch {
		case flags && w == "--":
			flags = false
		case flags && w == "--wait":
			args.wait = true
		case flags && name == "--timeout":
			if !assigned {
				if i++; i == len(words) {
					return args, usage(help, "--timeout needs a duration, such as 30m.")
				}
				value = words[i]
			}
			if args.timeout, err = time.ParseDuration(value); err != nil || args.timeout <= 0 {
				return args, usage(help, "--timeout takes a duration, such as 90s or 30m.")
			}
		case flags && len(w) > 1 && w[0] == '-':
			return args, usage(help, "Unknown option %s.", name)
		case assigned:
			bare, file := strings.CutSuffix(name, "@")
			if bare == "" {
				return args, usage(help, "A parameter is written name=value or name@=file.")
			}
			args.fields = append(args.fields, field{bare, value, file})
		case len(args.fields) > 0:
			// The word itself stays out of the message: it may be the rest of an unquoted secret.
			return args, usage(help, "What follows the parameter %s is not name=value. Quote values that contain blanks.", args.fields[len(args.fields)-1].name)
		case w == "":
			return args, usage(help, "An argument is empty.")
		default:
			args.path = append(args.path, w)
		}
	}
	return args, nil
}

// form holds the fields against the row, reads files and secrets, and returns the form with the secret values
// in it, so that they can be kept out of messages.
func (a *app) form(o *maasapi.Operation, fields []field, help string) (url.Values, []secret.Value, error) {
	form := url.Values{}
	var secrets []secret.Value
	for _, f := range fields {
		if !o.Accepts(f.name) {
			return nil, nil, usage(help, "%s is not a parameter of this action.", f.name)
		}
		hidden := isSecret(o, f.name)
		value := f.value
		var err error
		switch {
		case f.file:
			value, err = a.readFile(f.value)
		case hidden && value == "-":
			value, err = a.askFor(f.name)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read parameter %s: %w", f.name, err)
		}
		if hidden {
			secrets = append(secrets, secret.FromString(value))
		}
		form.Add(f.name, value)
	}
	for _, p := range o.Params {
		if p.Required && form.Get(p.Name) == "" {
			return nil, nil, usage(help, "The parameter %s is missing.", p.Name)
		}
	}
	return form, secrets, nil
}

// isSecret reports whether a parameter's value must not be shown.
func isSecret(o *maasapi.Operation, name string) bool {
	for _, p := range o.Params {
		if p.Name == name {
			return p.Secret
		}
	}
	bare, power := strings.CutPrefix(name, "power_parameters_")
	if !power {
		return false
	}
	for _, t := range metal.PowerTypes {
		for _, f := range t.Fields {
			if f.Name == bare && f.Secret {
				return true
			}
		}
	}
	return false
}

func (a *app) readFile(path string) (string, error) {
	r := a.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer func() { _ = f.Close() }()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxFile {
		return "", fmt.Errorf("the file is larger than %d bytes", maxFile)
	}
	return string(b), nil
}

// askFor reads a secret: from the person at the terminal, else from stdin to its end.
func (a *app) askFor(name string) (string, error) {
	if a.StdinTerminal && a.Prompt != nil {
		v, err := a.Prompt(name + ": ")
		return v.RevealString(), err
	}
	text, err := a.readFile("-")
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if err == nil && text == "" {
		err = errors.New("standard input is empty")
	}
	return text, err
}
