package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"

	"github.com/metalward/metalward/internal/secret"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the instance refused, or what was waited for failed
	exitUsage  = 2 // the command line is wrong; nothing was sent
)

// Env is what the process knows and this package does not look up.
type Env struct {
	// Dir is the directory of the profiles; it is made when the first one is.
	Dir string
	// Program is the name that help shows; "metalward" if empty.
	Program string
	// Version goes into the User-Agent.
	Version string
	// Reserved are names that no profile may have, because they are commands of the program.
	Reserved []string
	// Whether the streams are terminals.
	StdinTerminal, StdoutTerminal, StderrTerminal bool
	// Prompt asks for a secret without showing what is typed. It is used only when stdin is a terminal.
	Prompt func(question string) (secret.Value, error)
	// Proxy finds the HTTP proxy for a call; nil means none.
	Proxy func(*http.Request) (*url.URL, error)
}

// app is one run of the command line.
type app struct {
	Env
	stdin          io.Reader
	stdout, stderr io.Writer
}

// usageError is a mistake on the command line.
type usageError struct {
	text string
	help string // arguments of the command that explains more
}

func (e *usageError) Error() string { return e.text }

func usage(help, format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...), help}
}

// Run carries out a command and returns the exit code: 0, 1 when it failed, 2 when it was not understood.
// args are without the program's name.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env Env) int {
	if env.Program == "" {
		env.Program = "metalward"
	}
	a := &app{env, stdin, stdout, stderr}
	err := a.run(ctx, args)
	var wrong *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &wrong):
		a.complain("%s\nSee: %s", wrong.text, joinWords(a.Program, wrong.help, "--help"))
		return exitUsage
	case errors.Is(err, context.Canceled):
		a.complain("interrupted")
		return exitFailed
	default:
		a.complain("%s", err)
		return exitFailed
	}
}

func (a *app) run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		a.overview(a.stderr)
		return usage("", "Give a command or the name of a profile.")
	}
	switch args[0] {
	case "-h", "--help", "help":
		a.overview(a.stdout)
		return nil
	case "login":
		return a.login(ctx, args[1:])
	case "logout":
		return a.logout(args[1:])
	case "list":
		return a.list(args[1:])
	}
	return a.call(ctx, args[0], args[1:])
}

// complain writes an error for people. Text from a server may be in it.
func (a *app) complain(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, "%s: %s\n", a.Program, clean(fmt.Sprintf(format, args...)))
}

// wantsHelp reports whether help is asked for.
func wantsHelp(args []string) bool {
	return slices.Contains(args, "-h") || slices.Contains(args, "--help")
}

func joinWords(words ...string) string {
	s := ""
	for _, w := range words {
		if w != "" && s != "" {
			s += " "
		}
		s += w
	}
	return s
}
