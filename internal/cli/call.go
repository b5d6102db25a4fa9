package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/metalward/metalward/internal/maasapi"
)

// call carries out PROFILE RESOURCE ACTION, or shows the help of as much of it as is there.
func (a *app) call(ctx context.Context, name string, args []string) error {
	help := wantsHelp(args)
	var words []string // without options, to find the command even if -h stands before it
	for _, w := range args {
		if w != "-h" && w != "--help" {
			words = append(words, w)
		}
	}
	p, err := a.load(name)
	if err != nil {
		return err
	}
	if len(words) == 0 {
		a.profileHelp(p.Name, help)
		if help {
			return nil
		}
		return usage(p.Name, "Give a resource.")
	}
	res := findResource(words[0])
	if res == nil {
		return usage(p.Name, "There is no resource of this name.")
	}
	path := joinWords(p.Name, res.name)
	if len(words) == 1 {
		a.resourceHelp(path, res, help)
		if help {
			return nil
		}
		return usage(path, "Give an action.")
	}
	act := res.find(words[1])
	if act == nil {
		return usage(path, "%s has no action of this name.", res.name)
	}
	path = joinWords(path, act.name)
	if help {
		a.actionHelp(path, act)
		return nil
	}
	parsed, err := parseArguments(words[2:], path)
	if err != nil {
		return err
	}
	o := act.row(len(parsed.path))
	if o == nil {
		return usage(path, "This action takes: %s.", pathUsage(act))
	}
	return a.perform(ctx, p, o, parsed, path)
}

func (a *app) perform(ctx context.Context, p profile, o *maasapi.Operation, args arguments, help string) error {
	if args.wait && !waitable(o) {
		return usage(help, "There is nothing to wait for: --wait is for commission, deploy and release.")
	}
	if args.timeout > 0 && !args.wait {
		return usage(help, "--timeout is for --wait.")
	}
	trust, err := trustPEM(p.CA)
	if err != nil {
		return fmt.Errorf("cannot use profile %s: %w", p.Name, err)
	}
	c, err := a.client(p.URL, p.Key, trust)
	if err != nil {
		return err
	}
	if o.ID == "images.create" {
		if content, rest := takeContent(args.fields); content != nil {
			return a.upload(ctx, c, o, *content, rest, help)
		}
	}
	form, secrets, err := a.form(o, args.fields, help)
	if err != nil {
		return err
	}
	resp, err := c.form(ctx, o, fillPath(o, args.path), form)
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", strings.ReplaceAll(o.Name(), "_", " "), resourceName(o.Handler), redact(err, secrets))
	}
	if args.wait {
		_ = resp.Body.Close()
		return a.wait(ctx, c, o, args)
	}
	return a.show(resp)
}

// fillPath puts the arguments into the row's path.
func fillPath(o *maasapi.Operation, values []string) string {
	path := o.Path
	for i, name := range o.PathParams() {
		path = strings.Replace(path, "{"+name+"}", url.PathEscape(values[i]), 1)
	}
	return maasapi.Root + path
}

// show writes an answer to stdout: JSON indented, other text as it is, and anything else only into a file.
func (a *app) show(resp *http.Response) error {
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusNoContent {
		return nil
	}
	mime, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	switch {
	case mime == "application/json":
		return writeJSON(a.stdout, resp.Body, a.StdoutTerminal)
	case strings.HasPrefix(mime, "text/"):
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Errorf("cannot read the answer: %w", err)
		}
		text := string(bytes.TrimRight(body, "\n")) + "\n"
		if a.StdoutTerminal {
			text = clean(text)
		}
		_, err = io.WriteString(a.stdout, text)
		return err
	case a.StdoutTerminal:
		return errors.New("the answer is not text: send it into a file with > FILE")
	}
	_, err := io.Copy(a.stdout, resp.Body)
	return err
}
