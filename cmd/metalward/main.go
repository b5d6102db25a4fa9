// Command metalward is the whole product but the agent: region controller, rack controller, and the command
// line for both and for the API.
//
// This package alone reads flags, the environment and exit codes. Each sub-command has a file.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/metalward/metalward/internal/fault"
)

// version is set by the linker.
var version = "dev"

type command struct {
	name, summary string
	run           func(ctx context.Context, args []string) error
}

// commands are the sub-commands; anything else is for the API's command line.
func commands() []command {
	return []command{
		{"up", "run a region and a rack controller on this host", up},
		{"region", "run a region controller", runRegion},
		{"rack", "run a rack controller, or enrol this host as one", runRack},
		{"init", "say which database a region has, before it first starts", initRegion},
		{"backup", "write all that a region is into one encrypted file", backupRegion},
		{"restore", "make a region of a backup", restoreRegion},
		{"migrate-store", "move a region's database to PostgreSQL", migrateStore},
		{"createadmin", "create an administrator, on the region's host", createAdmin},
		{"apikey", "make an API key for a user, on the region's host", apiKey},
		{"configauth", "set the external authentication, on the region's host", configAuth},
		{"config-tls", "say which certificate the pages and the API show, on the region's host", configTLS},
		{"config-vault", "keep the site's secrets in HashiCorp Vault or OpenBao, on the region's host", configVault},
		{"secrets", "rotate what the instance keeps secret, on the region's host", secrets},
		{"harden", "check this host's MAAS or Metalward against the hardening guide, and change nothing", hardenCommand},
		{"watch", "find attacks in logs of a MAAS or Metalward, and change nothing", watchCommand},
		{"trail", "verify the audit trail, on the region's host, or an export of it", trail},
		{"version", "print the version", func(context.Context, []string) error { fmt.Println(version); return nil }},
	}
}

func main() {
	syscall.Umask(0o077) // nothing that we make is for others unless it says so
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(args) == 0 || args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(os.Stdout)
		return 0
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return exit(c.run(ctx, args[1:]))
		}
	}
	return runCLI(ctx, args)
}

func usage(w io.Writer) {
	fmt.Fprint(w, "usage: metalward COMMAND …\n\nOn a controller's host:\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-14s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\nFor the API, from anywhere:\n  login        log in to a region with an API key\n  logout       forget a profile\n  list         list profiles\n  PROFILE …    call the API, such as: metalward admin machines read\n\nEach command has -h.\n")
}

// exit prints what a person can act on.
func exit(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		return 0
	}
	var code exitCode
	if errors.As(err, &code) {
		return int(code)
	}
	fmt.Fprintln(os.Stderr, "metalward:", err)
	if fault.Is(err, fault.Invalid) {
		return 2
	}
	return 1
}

// logger writes text to a terminal and JSON to anything else.
func logger(debug bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if debug {
		opts.Level = slog.LevelDebug
	}
	if info, err := os.Stderr.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		return slog.New(slog.NewTextHandler(os.Stderr, opts))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, opts))
}

// defaultStateDir is the system's place for root, the user's own for others.
func defaultStateDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/metalward"
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "metalward")
	}
	return "metalward-state"
}
