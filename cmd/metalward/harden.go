package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/harden"
	"github.com/metalward/metalward/internal/secret"
)

const hardenUsage = `usage: metalward harden COMMAND …

  check                 look at this host, or a copy of one's files, and say what to harden; nothing is changed
  plan                  what check found as fixes, each with its risk and how to undo it; nothing is changed
  learn FILE            write down what this host has, a good one, for check --against
  list                  the checks
  explain ID            what a check looks for, why, and what to do
  baseline write FILE   note what the host has, so that later only what is new counts
  baseline diff FILE    what is new since, and what is gone

Options of check, plan, baseline and, but for what picks checks, learn:
  --root DIR            the folder with the host's files (default /)
  --state DIR           where Metalward keeps its state on the host (default /var/lib/metalward)
  --account NAME        whom Metalward runs as there, and who so may own its state (default metalward)
  --profile ROLE        region, rack or both (default both): whose checks
  --only NAME           ids or groups of checks, separated by commas; may be repeated
  --connect             on a rack: try to connect to each port of its regions; without it no connection is made
  --database            on a region of MAAS: read its database, as regiond.conf says, in transactions that may only read
  --api URL             on a region: ask its API, of MAAS or Metalward, who its users are; with --credentials
  --credentials FILE    a file of mode 0600 with the API key for it, consumer:token:secret; a key that may only read will do
  --cacert FILE         the authorities (PEM) that the API's certificate is to come from, instead of the system's
  --bmc ADDRESS         ask this BMC how it lets in, without a login and without trying a password; may be repeated
  --osv FILE            look for installed packages with flaws that a file in OSV's format (JSON) knows; may be repeated
  --oval FILE           likewise for a file in OVAL's format (XML), as Debian and Ubuntu publish it, unpacked
  --waivers FILE        findings that somebody answers for until a day; they are shown, and do not count
  --output FILE         write there (mode 0600, all or nothing) instead of to standard output, which - stands for
Of check besides:
  --fail-on SEVERITY    low, medium, high or critical (default low): what is less does not count
  --format FORMAT       csv, html, json, junit, sarif or text (default text)
  --baseline FILE       only what is not in it counts
  --against FILE        compare with what learn wrote: what is new or gone is a finding
  --host ssh://[USER@]HOST[:PORT]   check that host instead, by ssh; may be repeated. This program is copied there and taken away again
  --sudo                on hosts: run it by sudo, which may not ask for a password
  --ssh-config FILE     on hosts: the configuration of ssh
Of plan besides:
  --format FORMAT       ansible (a playbook), json, script (for bash) or text (default text)

Exit codes of check and baseline diff:
  0  clean: nothing that counts
  1  findings that count
  2  could not run, or could not check something that would count and found nothing else; a host that could not be checked at all
The other commands exit with 0, or with 2 when they could not run.`

// exitCode is how a command ends that has said all there is to say.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// hardenCommand runs what changes nothing on the host: any error is exit code 2.
func hardenCommand(ctx context.Context, args []string) error {
	err := hardenWords(ctx, args)
	var code exitCode
	switch {
	case err == nil, errors.As(err, &code), errors.Is(err, flag.ErrHelp):
		return err
	}
	fmt.Fprintln(os.Stderr, "metalward:", guardLines(err.Error()))
	return exitCode(2)
}

// guardLines shows an error's lines, which may name files that are called anything.
func guardLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = guard.Show(lines[i])
	}
	return strings.Join(lines, "\n")
}

func hardenWords(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fault.New(fault.Invalid, "%s", hardenUsage)
	}
	switch word, rest := args[0], args[1:]; word {
	case "-h", "--help", "help":
		fmt.Println(hardenUsage)
		return nil
	case "check":
		return hardenCheck(ctx, rest)
	case "plan":
		return hardenPlan(rest)
	case "learn":
		return hardenLearn(rest)
	case "list":
		return hardenList(rest)
	case "explain":
		return hardenExplain(rest)
	case "baseline":
		if len(rest) >= 2 && (rest[0] == "write" || rest[0] == "diff") {
			return hardenBaseline(rest[0], rest[1], rest[2:])
		}
		return fault.New(fault.Invalid, "baseline: Say write or diff, and the file, and then the options.")
	default:
		return fault.New(fault.Invalid, "There is no command %s of harden. See: metalward harden --help", guard.Quote(word))
	}
}

// hardenFlags are the options that commands share, and what they come to.
type hardenFlags struct {
	*flag.FlagSet
	options                                           harden.Options
	profile, failOn, waivers, output, format, compare string
	only                                              []string
	api                                               regionAPI
}

func newHardenFlags(name string) *hardenFlags {
	h := &hardenFlags{FlagSet: flag.NewFlagSet("harden "+name, flag.ContinueOnError), failOn: "low"}
	h.SetOutput(io.Discard)
	h.StringVar(&h.options.Root, "root", "/", "")
	h.StringVar(&h.options.State, "state", "", "")
	h.StringVar(&h.options.Account, "account", "", "")
	h.BoolVar(&h.options.Connect, "connect", false, "")
	h.BoolVar(&h.options.Database, "database", false, "")
	h.StringVar(&h.api.url, "api", "", "")
	h.StringVar(&h.api.credentials, "credentials", "", "")
	h.StringVar(&h.api.authorities, "cacert", "", "")
	h.Func("bmc", "", func(s string) error { h.options.BMCs = append(h.options.BMCs, s); return nil })
	h.Func("osv", "", func(s string) error { h.options.OSV = append(h.options.OSV, s); return nil })
	h.Func("oval", "", func(s string) error { h.options.OVAL = append(h.options.OVAL, s); return nil })
	h.StringVar(&h.profile, "profile", "both", "")
	h.StringVar(&h.waivers, "waivers", "", "")
	h.StringVar(&h.output, "output", "", "")
	h.Func("only", "", func(s string) error {
		h.only = append(h.only, strings.Split(s, ",")...)
		return nil
	})
	return h
}

// parse reads the options. Kinds: Invalid.
func (h *hardenFlags) parse(args []string) error {
	err := h.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Println(hardenUsage)
		return err
	}
	if err != nil {
		return fault.New(fault.Invalid, "%s. See: metalward harden --help", guard.Show(err.Error()))
	}
	if h.NArg() > 0 {
		return fault.New(fault.Invalid, "%s is no option. See: metalward harden --help", guard.Quote(h.Arg(0)))
	}
	if h.options.API, err = h.api.access(h.options.Database); err != nil {
		return err
	}
	roles := map[string]guard.Role{"region": guard.Region, "rack": guard.Rack, "both": guard.AnyRole}
	if h.options.State != "" {
		state, err := filepath.Abs(h.options.State)
		if err != nil {
			return fault.New(fault.Invalid, "state: %s.", guard.Show(err.Error()))
		}
		h.options.State = state
	}
	role, ok := roles[h.profile]
	if !ok {
		return fault.New(fault.Invalid, "profile: %s is none of region, rack, both.", guard.Quote(h.profile))
	}
	severity, ok := guard.ParseSeverity(h.failOn)
	if !ok {
		return fault.New(fault.Invalid, "fail-on: %s is none of low, medium, high, critical.", guard.Quote(h.failOn))
	}
	h.options.Profile, h.options.FailOn, h.options.Only, h.options.Version, h.options.Now = role, severity, h.only, version, time.Now()
	return nil
}

// run checks the host, with waivers and baseline if they are named. Kinds: those of harden.Run; Invalid for files that cannot be used.
func (h *hardenFlags) run() (r *harden.Report, gone []harden.Known, err error) {
	var base *harden.Baseline
	waivers, err := h.waived() // read first: a mistake in them is not to cost a run
	if err != nil {
		return nil, nil, err
	}
	if h.compare != "" {
		text, err := readNamed("baseline", h.compare)
		if err != nil {
			return nil, nil, err
		}
		if base, err = harden.ReadBaseline(text); err != nil {
			return nil, nil, err
		}
	}
	wipe := h.progress("checks")
	r, err = harden.Run(h.options)
	if wipe(); err != nil {
		return nil, nil, err
	}
	r.Waive(waivers)
	if base != nil {
		gone = r.Compare(base)
	}
	return r, gone, nil
}

// progress has how far it is shown on a terminal, in a line that goes away with the function that is returned. None is shown where errors do
// not go to a terminal, and with --output -, which says that a program reads along.
func (h *hardenFlags) progress(what string) (wipe func()) {
	if h.output == "-" || !isTerminal(os.Stderr) {
		return func() {}
	}
	h.options.Progress = func(done, of int) { fmt.Fprintf(os.Stderr, "\r\x1b[Kchecking: %d of %d %s", done, of, what) }
	return func() { fmt.Fprint(os.Stderr, "\r\x1b[K") } // ECMA-48: erase in line
}

// waived reads the waivers, if they are named. Kinds: Invalid.
func (h *hardenFlags) waived() ([]harden.Waiver, error) {
	if h.waivers == "" {
		return nil, nil
	}
	text, err := readNamed("waivers", h.waivers)
	if err != nil {
		return nil, err
	}
	return harden.Waivers(text)
}

// readNamed reads a file that somebody named. Kinds: Invalid.
func readNamed(field, path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s: %s.", field, guard.Show(err.Error()))
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, harden.MaxFile+1))
	if err != nil {
		return nil, fault.New(fault.Invalid, "%s: %s.", field, guard.Show(err.Error()))
	}
	return text, nil
}

// write writes what a command has to say.
func (h *hardenFlags) write(do func(w io.Writer) error) error {
	if h.output == "" || h.output == "-" {
		return do(os.Stdout)
	}
	var b bytes.Buffer
	if err := do(&b); err != nil {
		return err
	}
	if err := secret.WriteFile(h.output, b.Bytes()); err != nil {
		return fmt.Errorf("cannot write the output: %w", err)
	}
	return nil
}

func hardenCheck(ctx context.Context, args []string) error {
	h := newHardenFlags("check")
	h.StringVar(&h.failOn, "fail-on", "low", "")
	h.StringVar(&h.format, "format", "text", "")
	h.StringVar(&h.compare, "baseline", "", "")
	against := h.String("against", "", "")
	far := &farHosts{}
	far.flags(h)
	if err := h.parse(args); err != nil {
		return err
	}
	if !slices.Contains(harden.Formats(), h.format) {
		return fault.New(fault.Invalid, "format: %s is none of %s.", guard.Quote(h.format), strings.Join(harden.Formats(), ", "))
	}
	if *against != "" {
		text, err := readNamed("against", *against)
		if err != nil {
			return err
		}
		if h.options.Against, err = harden.ReadLearned(text); err != nil {
			return err
		}
	}
	colour := h.output == "" && isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == "" // https://no-color.org
	if far.used() {
		return far.check(ctx, h, colour)
	}
	r, _, err := h.run()
	if err != nil {
		return err
	}
	if err := h.write(func(w io.Writer) error { return harden.Write(w, r, h.format, colour) }); err != nil {
		return err
	}
	return ended(r)
}

// ended is nil for exit code 0.
func ended(r interface{ Code() int }) error {
	if code := r.Code(); code != 0 {
		return exitCode(code)
	}
	return nil
}

func hardenPlan(args []string) error {
	h := newHardenFlags("plan")
	h.StringVar(&h.format, "format", "text", "")
	if err := h.parse(args); err != nil {
		return err
	}
	if !slices.Contains(harden.PlanFormats, h.format) {
		return fault.New(fault.Invalid, "format: %s is none of %s.", guard.Quote(h.format), strings.Join(harden.PlanFormats, ", "))
	}
	r, _, err := h.run()
	if err != nil {
		return err
	}
	return h.write(func(w io.Writer) error { return harden.WritePlan(w, r, h.format) })
}

func hardenBaseline(word, file string, args []string) error {
	h := newHardenFlags("baseline " + word)
	if word == "diff" {
		h.StringVar(&h.failOn, "fail-on", "low", "")
		h.compare = file
	}
	if err := h.parse(args); err != nil {
		return err
	}
	if word == "write" && h.output != "" {
		return fault.New(fault.Invalid, "output: The baseline goes into the file that follows the word write.")
	}
	r, gone, err := h.run()
	if err != nil {
		return err
	}
	if word == "write" {
		text, err := r.Baseline()
		if err != nil {
			return err
		}
		if err := secret.WriteFile(file, text); err != nil {
			return fmt.Errorf("cannot write the baseline: %w", err)
		}
		return nil
	}
	if err := h.write(func(w io.Writer) error { return harden.WriteDiff(w, r, gone) }); err != nil {
		return err
	}
	return ended(r)
}

func hardenList(args []string) error {
	if len(args) > 0 {
		return fault.New(fault.Invalid, "list: It takes no options.")
	}
	checks, err := harden.Select(nil)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, c := range checks {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", c.ID, c.Severity, c.Title) // Flush tells
	}
	return w.Flush()
}

func hardenExplain(args []string) error {
	if len(args) != 1 {
		return fault.New(fault.Invalid, "explain: Name one check. See: metalward harden list")
	}
	checks, err := harden.Select(args)
	if err != nil {
		return err
	}
	if len(checks) != 1 || checks[0].ID != args[0] {
		return fault.New(fault.Invalid, "explain: %s is a group. Name one check. See: metalward harden list", guard.Quote(args[0]))
	}
	return harden.Explain(os.Stdout, checks[0])
}
