package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/block"
	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/detect/units"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/logs/source"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/watch"
)

const watchUsage = `usage: metalward watch COMMAND …

  scan [PATH…]          read logs from their beginning and say what attacks are in them; files, folders, - for standard input,
                        or journal: for this host's journal. Without a path the logs of this host, where they usually lie, or its journal
  live [PATH…]          follow logs and tell of attacks as they come; patterns of files in quotes. The command without a word is this. On a
                        terminal it shows what is open, the worst first
  replay [PATH…]        what would be found, and who could be blocked, with the units of --units instead of those that are shipped
  blocks [lift ADDRESS | clear | off | on]
                        who is blocked on this host; ends one block, all, all and no more until "on"
  alerts [all | acknowledge ID | resolve ID | silence ID REASON | unsilence ID]
                        what live --alerts found on this host; somebody looks after it, has dealt with it, or nobody has to be told of it and of
                        later ones about the same (--for 24h, at most 2160h); the beginning of an ID is enough
  explain LINE          how a line is read, which units look at it and whether it counts; - reads it from standard input
  test UNIT FILE        what one unit finds in a file
  list                  the units
  show UNIT             what a unit finds, why, what it is based on and what to do then

Nothing is changed on this host, and no connection is made; but for live with --block, --alerts, --webhook and --mail, blocks and alerts.

Options of scan, live, replay and test:
  --units FILE          a site's own units, and other numbers for those that are shipped (YAML; see docs/howto/watch.md)
  --sigma FILE          a Sigma rule about web servers, proxies, firewalls or sshd; may be repeated
  --since TIME          leave out what is older: a date (2026-11-07), a date and time (2026-11-07T06:00:00Z) or how long ago (24h)
  --until TIME          leave out what is newer
  --zone NAME           time zone of stamps without one, such as Europe/Berlin (default: this host's)
  --only UNIT           ids of units, separated by commas; may be repeated
  --on UNIT             run a unit that is off by default; likewise
  --trust-proxy NET     believe X-Forwarded-For of balancers in this network; may be repeated
  --inside NET          a network of the site; may be repeated
  --outside INTERFACE   an interface that looks at the world: private sources on it are forged; may be repeated
  --ignore NET          say nothing about sources in this network; may be repeated
  --mask-users          do not show names of users
  --least SEVERITY      info, low, medium or high (default info): leave out what matters less
  --fail-on SEVERITY    (default medium) what makes the exit code 1
  --format FORMAT       html, json, sarif or text (default text)
  --output FILE         write there (mode 0600, all or nothing) instead of to standard output

Options of live besides:
  --state FILE          remember there over restarts how far logs were read and what was counted (mode 0600)
  --format FORMAT       json (an object a line) or text (default text)
  --plain               a line for each alert on a terminal, too
  --alerts FILE         keep alerts there (mode 0600), for people to work off; alerts takes it too (default there: /var/lib/metalward-watch/alerts.json)
  --syslog              tell alerts to this host's syslog
  --webhook FILE        post alerts as JSON to the address in this file (mode 0600)
  --mail ADDRESS        mail alerts by this host's mail program (--sendmail PROGRAM; default /usr/sbin/sendmail)
  --metrics FILE        count open alerts there for a collector of Prometheus
  --tell-from SEVERITY  (default medium) what goes to syslog, webhook and mail

  --block UNIT          block sources of this unit's alerts of medium and above with nftables, as root; those whose evidence proves
                        the source only. Without it, what would be blocked is told. May be repeated
  --never NET           a network that is never blocked, besides --inside, --trust-proxy, --ignore, this host's own addresses, gateways and name
                        servers, and from where people are logged in; may be repeated
  --blocks FILE         the list of who is blocked (default /var/lib/metalward-watch/blocks.json); blocks takes it too
  --block-for TIME      how long an address's first block lasts (default 10m); each further one lasts four times as long, up to --block-longest
  --block-longest TIME  (default 24h; at most 168h)

Exit codes of scan and test:
  0  nothing at or above --fail-on
  1  alerts at or above --fail-on
  2  could not run`

func watchCommand(ctx context.Context, args []string) error {
	err := watchWords(ctx, args)
	var code exitCode
	switch {
	case err == nil, errors.As(err, &code), errors.Is(err, flag.ErrHelp):
		return err
	}
	fmt.Fprintln(os.Stderr, "metalward:", guardLines(err.Error()))
	return exitCode(2)
}

func watchWords(ctx context.Context, args []string) error {
	command := "live"
	if len(args) > 0 && !strings.HasPrefix(args[0], "--") {
		command, args = args[0], args[1:]
	}
	switch command {
	case "live":
		return watchLive(ctx, args)
	case "blocks":
		return watchBlocks(ctx, args)
	case "alerts":
		return watchAlerts(args)
	case "replay":
		return watchReplay(ctx, args)
	case "scan", "test":
		return watchScan(ctx, command, args)
	case "explain":
		return watchExplain(args)
	case "list":
		watch.List(os.Stdout, units.Every)
		return nil
	case "show":
		if len(args) != 1 {
			return fault.New(fault.Invalid, "show: name one unit; metalward watch list has them.")
		}
		u, err := unitNamed(args[0])
		if err != nil {
			return err
		}
		watch.Describe(os.Stdout, u)
		return nil
	case "help", "-h", "--help":
		fmt.Println(watchUsage)
		return nil
	}
	return fault.New(fault.Invalid, "watch: there is no command %q.\n%s", command, watchUsage)
}

func unitNamed(id string) (*detect.Unit, error) {
	i := slices.IndexFunc(units.Every, func(u detect.Unit) bool { return u.ID == id })
	if i < 0 {
		return nil, fault.New(fault.NotFound, "unit: there is no %q; metalward watch list has them.", id)
	}
	return &units.Every[i], nil
}

// watchFlags are the options of scan, test and explain.
type watchFlags struct {
	*flag.FlagSet
	since, until, zone, least, failOn, format, output string
	units, state, blocks, alerts                      string
	webhook, mail, sendmail, metrics, tellFrom        string
	during                                            time.Duration
	block, never, sigma                               list
	blockFor, blockLongest                            time.Duration
	only, on, trust, inside, outside, ignore          list
	mask, plain, syslog                               bool
}

func newWatchFlags(name string) *watchFlags {
	f := &watchFlags{FlagSet: flag.NewFlagSet("watch "+name, flag.ContinueOnError)}
	f.SetOutput(io.Discard)
	for _, s := range []struct {
		name, value string
		put         *string
	}{{"since", "", &f.since}, {"until", "", &f.until}, {"zone", "", &f.zone}, {"least", "info", &f.least}, {"fail-on", "medium", &f.failOn},
		{"format", "text", &f.format}, {"output", "", &f.output}, {"units", "", &f.units}, {"state", "", &f.state}, {"blocks", "/var/lib/metalward-watch/blocks.json", &f.blocks},
		{"alerts", "", &f.alerts}, {"webhook", "", &f.webhook}, {"mail", "", &f.mail}, {"sendmail", "/usr/sbin/sendmail", &f.sendmail}, {"metrics", "", &f.metrics}, {"tell-from", "medium", &f.tellFrom}} {
		f.StringVar(s.put, s.name, s.value, "")
	}
	for name, put := range map[string]*list{"only": &f.only, "on": &f.on, "trust-proxy": &f.trust, "inside": &f.inside, "outside": &f.outside, "ignore": &f.ignore, "block": &f.block, "never": &f.never, "sigma": &f.sigma} {
		f.Var(put, name, "")
	}
	f.DurationVar(&f.blockFor, "block-for", block.DefaultFirst, "")
	f.DurationVar(&f.blockLongest, "block-longest", block.DefaultLongest, "")
	f.DurationVar(&f.during, "for", 24*time.Hour, "")
	f.BoolVar(&f.mask, "mask-users", false, "")
	f.BoolVar(&f.plain, "plain", false, "")
	f.BoolVar(&f.syslog, "syslog", false, "")
	return f
}

// options makes the flags options of a scan.
func (f *watchFlags) options(now time.Time) (watch.Options, detect.Severity, error) {
	o := watch.Options{Units: units.Every, On: f.on, Zone: time.Local, Mask: f.mask, Now: time.Now, Stdin: os.Stdin, Journal: &source.Journal{}}
	bad := func(name, text string) (watch.Options, detect.Severity, error) {
		return o, 0, fault.New(fault.Invalid, "--%s: %s", name, text)
	}
	var err error
	if f.units != "" {
		data, err := readBounded(f.units)
		if err != nil {
			return bad("units", err.Error())
		}
		if o.Units, err = watch.ReadUnits(data, units.Every); err != nil {
			return o, 0, err
		}
	}
	for _, path := range f.sigma {
		data, err := readBounded(path)
		if err != nil {
			return bad("sigma", err.Error())
		}
		u, err := watch.ReadSigma(data)
		if err != nil {
			return o, 0, fmt.Errorf("%s: %w", path, err)
		}
		if hasUnit(o.Units, u.ID) {
			return bad("sigma", fmt.Sprintf("%s: there is a unit %s already.", path, u.ID))
		}
		o.Units = append(slices.Clone(o.Units), *u)
	}
	if f.zone != "" {
		if o.Zone, err = time.LoadLocation(f.zone); err != nil {
			return bad("zone", "this host knows no time zone of this name; try Europe/Berlin or UTC.")
		}
	}
	if o.Since, err = moment(f.since, now, o.Zone); err != nil {
		return bad("since", err.Error())
	}
	if o.Until, err = moment(f.until, now, o.Zone); err != nil {
		return bad("until", err.Error())
	}
	var ok bool
	if o.Least, ok = detect.ParseSeverity(f.least); !ok {
		return bad("least", "info, low, medium or high.")
	}
	failOn, ok := detect.ParseSeverity(f.failOn)
	if !ok {
		return bad("fail-on", "info, low, medium or high.")
	}
	if !slices.Contains(watch.Formats(), f.format) {
		return bad("format", "one of "+strings.Join(watch.Formats(), ", ")+".")
	}
	f.only, f.on = commas(f.only), commas(f.on)
	for _, ids := range []list{f.only, f.on} {
		for _, id := range ids {
			if !hasUnit(o.Units, id) {
				return o, 0, fault.New(fault.NotFound, "unit: there is no %q; metalward watch list has them.", id)
			}
		}
	}
	if len(f.only) > 0 {
		o.Units = only(o.Units, f.only)
		o.On = append(o.On, f.only...)
	}
	ignored := []netip.Prefix{}
	for _, nets := range []struct {
		name string
		from list
		to   *[]netip.Prefix
	}{{"trust-proxy", f.trust, &o.Site.Proxies}, {"inside", f.inside, &o.Site.Inside}, {"ignore", f.ignore, &ignored}} {
		for _, s := range nets.from {
			n, err := network(s)
			if err != nil {
				return bad(nets.name, fmt.Sprintf("%q is no network; write 203.0.113.0/24 or an address.", s))
			}
			*nets.to = append(*nets.to, n)
		}
	}
	o.Site.Outside = f.outside
	o.Site.Ignore = map[string][]netip.Prefix{"": ignored}
	return o, failOn, nil
}

// commas takes apart words that commas separate.
func commas(words list) (all list) {
	for _, w := range words {
		all = append(all, strings.FieldsFunc(w, func(c rune) bool { return c == ',' })...)
	}
	return all
}

// only picks units, and those that they ask about.
func only(all []detect.Unit, ids []string) []detect.Unit {
	want := make(map[string]bool)
	for _, id := range ids {
		want[id] = true
	}
	for _, u := range all {
		if want[u.ID] {
			want[u.After], want[u.Unless] = true, true
		}
	}
	var picked []detect.Unit
	for _, u := range all {
		if want[u.ID] {
			picked = append(picked, u)
		}
	}
	return picked
}

func network(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return a.Prefix(a.BitLen())
	}
	n, err := netip.ParsePrefix(s)
	return n.Masked(), err
}

// moment reads a date, a date and time, or how long ago.
func moment(s string, now time.Time, zone *time.Location) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, zone); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time; write 2026-11-07, 2026-11-07T06:00:00Z or 24h", s)
}

func watchScan(ctx context.Context, command string, args []string) error {
	f := newWatchFlags(command)
	paths, err := words(f.FlagSet, args)
	if err != nil {
		return err
	}
	if command == "test" {
		if len(paths) != 2 {
			return fault.New(fault.Invalid, "test: a unit and a file.")
		}
		f.only, paths = list{paths[0]}, paths[1:]
	}
	o, failOn, err := f.options(time.Now())
	if err != nil {
		return err
	}
	if paths, err = scanned(command, paths); err != nil {
		return err
	}
	if isTerminal(os.Stderr) {
		o.Progress = bar(os.Stderr)
	}
	r, err := watch.Scan(ctx, paths, o)
	if o.Progress != nil {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	if err != nil {
		return err
	}
	r.Version = version
	if f.output != "" {
		var b bytes.Buffer
		if err = watch.Write(&b, r, f.format, false); err == nil {
			err = secret.WriteFile(f.output, b.Bytes())
		}
	} else {
		w := bufio.NewWriter(os.Stdout)
		if err = watch.Write(w, r, f.format, isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == ""); err == nil {
			err = w.Flush()
		}
	}
	if err != nil {
		return err
	}
	for _, s := range r.Sources {
		if s.Error != "" && f.format != "text" {
			fmt.Fprintf(os.Stderr, "metalward: %s: %s\n", s.Path, s.Error)
		}
	}
	if slices.ContainsFunc(r.Alerts, func(a watch.Alert) bool { return a.Severity >= failOn }) {
		return exitCode(1)
	}
	if !slices.ContainsFunc(r.Sources, func(s watch.Source) bool { return s.Error == "" }) {
		return exitCode(2)
	}
	return nil
}

// watchReplay scans twice, with the shipped units and with a site's.
func watchReplay(ctx context.Context, args []string) error {
	f := newWatchFlags("replay")
	paths, err := words(f.FlagSet, args)
	if err != nil {
		return err
	}
	if slices.Contains(paths, "-") {
		return fault.New(fault.Invalid, "replay: standard input can be read once only, and this reads twice; name a file.")
	}
	if f.units == "" {
		return fault.New(fault.Invalid, "replay: --units FILE has what is to be compared with the shipped units.")
	}
	o, failOn, err := f.options(time.Now())
	if err != nil {
		return err
	}
	if paths, err = scanned("replay", paths); err != nil {
		return err
	}
	shipped := o
	if shipped.Units = units.Every; len(f.only) > 0 {
		shipped.Units = only(units.Every, f.only)
		shipped.On = nil
	}
	before, err := watch.Scan(ctx, paths, shipped)
	if err != nil {
		return err
	}
	after, err := watch.Scan(ctx, paths, o)
	if err != nil {
		return err
	}
	return watch.WriteDifference(os.Stdout, watch.Compare(before, after), failOn)
}

// watchLive follows logs until it is stopped.
func watchLive(ctx context.Context, args []string) error {
	f := newWatchFlags("live")
	paths, err := words(f.FlagSet, args)
	if err != nil {
		return err
	}
	if f.format != "text" && f.format != "json" {
		return fault.New(fault.Invalid, "--format: json or text.")
	}
	o, _, err := f.options(time.Now())
	if err != nil {
		return err
	}
	journal := slices.Contains(paths, watch.JournalPath)
	if paths = slices.DeleteFunc(paths, func(p string) bool { return p == watch.JournalPath }); len(paths) == 0 && !journal {
		paths, journal = source.UsualPatterns(), slices.Contains(usual(), watch.JournalPath)
	}
	var say liveOutput
	if f.format == "text" && !f.plain && isTerminal(os.Stdout) {
		say.said = make(chan string, 16)
	}
	trouble := func(err error) { say.say("metalward: %s", err) }
	guard, err := f.guard(o, &say)
	if err != nil {
		return err
	}
	ways, tellFrom, err := f.routes()
	if err != nil {
		return err
	}
	desk, err := newLiveDesk(f.alerts, o, trouble)
	if err != nil {
		return err
	}
	outer := ctx
	ctx, stop := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	defer stop()
	routes := watch.Routes{Trouble: trouble}
	routes.Start(ways)
	defer routes.Finish()
	var full error // standard output went away
	out := bufio.NewWriter(os.Stdout)
	tell := func(a watch.Alert, c detect.Change) {
		if guard != nil {
			if e, ok := evidence(a); ok {
				guard.Take(e)
			}
		}
		if desk.quiet(a) {
			return
		}
		if a.Severity >= tellFrom {
			routes.Tell(a, c)
		}
		if say.said != nil {
			return // the screen shows it
		}
		if full = watch.WriteEvent(out, a, c, f.format, isTerminal(os.Stdout) && os.Getenv("NO_COLOR") == ""); full == nil {
			full = out.Flush()
		}
		if full != nil {
			stop()
		}
	}
	if guard != nil {
		working.Go(func() { guard.Run(ctx) })
	}
	if f.metrics != "" {
		working.Go(func() { desk.metrics(ctx, f.metrics) })
	}
	if say.said != nil {
		working.Go(func() {
			if err := desk.screen(ctx, say.said); err != nil {
				stop()
			}
		})
	}
	err = watch.Live(ctx, watch.LiveOptions{Options: o, Patterns: paths, FollowJournal: journal, State: f.state, Save: secret.WriteFile, Tell: tell,
		Found: func(list []detect.Alert) bool { return desk.found(list, outer.Err() != nil) },
		Ready: func() { say.say("Watching %s", strings.Join(paths, " ")) }, Trouble: trouble})
	return errors.Join(err, full)
}

// guard is who blocks, or nil when nothing is to be blocked.
func (f *watchFlags) guard(o watch.Options, say *liveOutput) (*block.Guard, error) {
	if len(f.block) == 0 {
		return nil, nil
	}
	for _, id := range f.block {
		i := slices.IndexFunc(o.Units, func(u detect.Unit) bool { return u.ID == id })
		switch {
		case i < 0:
			return nil, fault.New(fault.NotFound, "--block: there is no unit %q; metalward watch list has them.", id)
		case !o.Units[i].Proves:
			return nil, fault.New(fault.Invalid, "--block: the evidence of %s does not prove its source: forged packets would make this host block anybody.", id)
		}
	}
	if f.blockFor < time.Second || f.blockLongest < f.blockFor || f.blockLongest > block.HardLongest {
		return nil, fault.New(fault.Invalid, "--block-for, --block-longest: from a second to %v, the first not longer than the longest.", block.HardLongest)
	}
	never := append(slices.Concat(o.Site.Inside, o.Site.Proxies), o.Site.Ignore[""]...)
	for _, s := range f.never {
		n, err := network(s)
		if err != nil {
			return nil, fault.New(fault.Invalid, "--never: %q is no network; write 203.0.113.0/24 or an address.", s)
		}
		never = append(never, n)
	}
	return &block.Guard{File: f.file(), NFT: &block.NFT{}, Needed: block.Needed,
		Policy: block.Policy{Enforce: f.block, First: f.blockFor, Longest: f.blockLongest, Never: never},
		Tell: func(e block.Evidence, b *block.Block, why string) {
			switch {
			case b != nil:
				say.say("Blocked %s until %s: %s", b.Prefix, b.Until.Format(time.RFC3339), b.Reason)
			case slices.Contains(f.block, e.Unit) && why != "blocked already":
				say.say("Not blocked: %s, for %s", e.Source, why)
			}
		},
		Fail: func(err error) { say.say("metalward: %s", err) }}, nil
}

func (f *watchFlags) file() *block.File {
	return &block.File{Path: f.blocks, Now: time.Now, Save: secret.WriteFile}
}

// watchBlocks shows who is blocked, and ends blocks.
func watchBlocks(ctx context.Context, args []string) error {
	f := newWatchFlags("blocks")
	what, err := words(f.FlagSet, args)
	if err != nil {
		return err
	}
	file, who := f.file(), "uid "+strconv.Itoa(os.Getuid())
	if len(what) == 0 {
		l, err := file.Read()
		if err != nil {
			return err
		}
		now := time.Now()
		l.Expire(now)
		if l.Off {
			fmt.Println("Blocking is switched off.")
		}
		for _, b := range l.Blocks {
			fmt.Printf("%-40s %8s left  %s: %s\n", b.Prefix, b.Until.Sub(now).Round(time.Second), b.Unit, guardLines(b.Reason))
		}
		fmt.Printf("%d blocked\n", len(l.Blocks))
		return nil
	}
	change := func(l *block.List) (entries []block.Entry, err error) {
		var ended []block.Block
		verb := "lifted"
		switch {
		case what[0] == "lift" && len(what) == 2:
			n, err := network(what[1])
			if err != nil {
				return nil, fault.New(fault.Invalid, "lift: %q is no address or network.", what[1])
			}
			if ended, err = l.Lift(n); err != nil {
				return nil, err
			}
		case what[0] == "clear" && len(what) == 1:
			ended, verb = l.Clear(l.Off), "cleared"
			entries = append(entries, block.Entry{What: "cleared", By: who})
		case what[0] == "off" && len(what) == 1:
			ended, verb = l.Clear(true), "cleared"
			entries = append(entries, block.Entry{What: "switched off", By: who})
		case what[0] == "on" && len(what) == 1:
			l.Off = false
			entries = append(entries, block.Entry{What: "switched on", By: who})
		default:
			return nil, fault.New(fault.Invalid, "blocks: nothing, or lift ADDRESS, clear, off or on.")
		}
		for _, b := range ended {
			entries = append(entries, block.About(verb, who, b))
		}
		return entries, nil
	}
	l, err := file.Change(change)
	if err != nil {
		return err
	}
	if err := (&block.NFT{}).Apply(ctx, l, time.Now()); err != nil {
		return fmt.Errorf("the list is changed, the packet filter is not: %w", err)
	}
	fmt.Printf("%d blocked\n", len(l.Blocks))
	return nil
}

// scanned are the paths that a command was given, or this host's logs.
func scanned(command string, paths []string) ([]string, error) {
	if len(paths) == 0 {
		paths = usual()
	}
	if len(paths) == 0 {
		return nil, fault.New(fault.NotFound, "%s: there are no logs where they usually lie; name files or folders.", command)
	}
	return paths, nil
}

// usual are this host's logs: files, and the journal where sshd and the kernel have no files, so that nothing counts twice.
func usual() []string {
	paths := source.Usual()
	if journal := (&source.Journal{}); journal.Here() && !slices.ContainsFunc(paths, source.OfSystem) {
		paths = append(paths, watch.JournalPath)
	}
	return paths
}

// words parses flags that may stand between words.
func words(f *flag.FlagSet, args []string) ([]string, error) {
	var found []string
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				fmt.Println(watchUsage)
				return nil, err
			}
			return nil, fault.New(fault.Invalid, "%s\n%s", err, watchUsage)
		}
		if args = f.Args(); len(args) == 0 {
			return found, nil
		}
		found = append(found, args[0])
		args = args[1:]
	}
}

// bar shows how much was read, a few times a second.
func bar(w io.Writer) func(read, total int64) {
	var last time.Time
	return func(read, total int64) {
		if now := time.Now(); now.Sub(last) > 200*time.Millisecond && total > 0 {
			last = now
			done := min(int(30*read/total), 30)
			fmt.Fprintf(w, "\r\x1b[K[%s%s] %d of %d MB", strings.Repeat("#", done), strings.Repeat(".", 30-done), read/1e6, total/1e6)
		}
	}
}

func watchExplain(args []string) error {
	f := newWatchFlags("explain")
	lines, err := words(f.FlagSet, args)
	if err != nil {
		return err
	}
	if len(lines) != 1 {
		return fault.New(fault.Invalid, "explain: one line, in quotes, or - for standard input.")
	}
	o, _, err := f.options(time.Now())
	if err != nil {
		return err
	}
	line := lines[0]
	if line == "-" {
		const most = 1 << 20
		text, err := io.ReadAll(io.LimitReader(os.Stdin, most))
		if err != nil {
			return err
		}
		line, _, _ = strings.Cut(string(text), "\n")
	}
	return watch.Explain(os.Stdout, line, o)
}
