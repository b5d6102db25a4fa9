package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/metalward/metalward/internal/cli"
	"github.com/metalward/metalward/internal/secret"
)

// runCLI is the API's command line.
func runCLI(ctx context.Context, args []string) int {
	dir, err := os.UserConfigDir()
	if err != nil {
		return exit(err)
	}
	env := cli.Env{Proxy: http.ProxyFromEnvironment, Dir: filepath.Join(dir, "metalward"), Version: version, StdinTerminal: isTerminal(os.Stdin), StdoutTerminal: isTerminal(os.Stdout),
		StderrTerminal: isTerminal(os.Stderr), Prompt: func(question string) (secret.Value, error) {
			b, err := readHidden(ctx, question)
			return secret.NewValue(b), err
		}}
	for _, c := range commands() {
		env.Reserved = append(env.Reserved, c.name)
	}
	return cli.Run(ctx, args, os.Stdin, os.Stdout, os.Stderr, env)
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
