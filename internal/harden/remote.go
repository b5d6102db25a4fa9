package harden

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/guard/catalog"
)

// Limits of what another host may say and take.
const (
	maxAnswer  = 32 << 20 // bytes of a report
	maxTold    = 16 << 10 // bytes of what it says beside; the last
	maxAtOnce  = 8        // hosts
	maxHosts   = 1_000
	hostTime   = 10 * time.Minute // from the connection to the end
	sshConnect = 10               // seconds
)

// Remote says how other hosts are reached: by the system's ssh, so that its known hosts, agents, certificates and jumps are what the operator
// has set up. It never asks and never learns a new host key.
type Remote struct {
	SSH     string        // the program
	Config  string        // its configuration; "" for the usual one
	Program string        // this program's file, which is copied to the host
	Sudo    bool          // run there by sudo, which may not ask for a password
	Time    time.Duration // that a host may take; 0 for the usual
}

// Host is another host.
type Host struct {
	Name string // as shown: ssh://user@host:port
	user string
	host string
	port string
}

var (
	hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?$`) // of DNS, or of ssh's configuration
	userName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._@-]{0,62}[A-Za-z0-9_$])?$`)
	farRoot  = regexp.MustCompile(`^/[A-Za-z0-9._/@%+=:,-]*$`)
	someHash = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

// ParseHost reads ssh://[user@]host[:port]. Kinds: Invalid.
func ParseHost(text string) (Host, error) {
	bad := func(say string) (Host, error) {
		return Host{}, fault.New(fault.Invalid, "host: %s %s. Write ssh://[USER@]HOST[:PORT].", guard.Quote(guard.Show(text)), say)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return bad("is no address")
	case u.Scheme != "ssh":
		return bad("does not begin with ssh://")
	case u.Opaque != "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(text, "?#"):
		return bad("has something behind the host")
	}
	h := Host{host: u.Hostname(), port: u.Port(), user: u.User.Username()}
	if _, has := u.User.Password(); has {
		return bad("has a password in it, which ssh does not take")
	}
	if ip, err := netip.ParseAddr(h.host); (err != nil || ip.Zone() != "") && !hostName.MatchString(h.host) {
		return bad("names no host")
	}
	if u.User != nil && !userName.MatchString(h.user) {
		return bad("names no user")
	}
	if strings.HasSuffix(u.Host, ":") || h.port != "" && !regexp.MustCompile(`^[1-9][0-9]{0,4}$`).MatchString(h.port) {
		return bad("has no port behind the colon")
	}
	h.Name = (&url.URL{Scheme: "ssh", User: u.User, Host: u.Host}).String()
	return h, nil
}

// Fleet is what came out of several hosts. Its JSON form is docs/reference/harden-hosts.schema.json.
type Fleet struct {
	Format int          `json:"format"` // of the file: 1
	Hosts  []HostReport `json:"hosts"`  // in the order in which they were named
}

// HostReport is what came out of one: a report, or why there is none.
type HostReport struct {
	Host   string  `json:"host"`
	Error  string  `json:"error,omitempty"`
	Report *Report `json:"report,omitempty"`
}

// RunHosts checks hosts, some at once. A host that could not be checked has an error and is no reason to leave out others. Kinds: Invalid for what
// there is none of.
func RunHosts(ctx context.Context, o Options, r Remote, hosts []Host) (*Fleet, error) {
	if _, err := Select(o.Only); err != nil {
		return nil, err
	}
	if err := o.named(); err != nil {
		return nil, err
	}
	if !farRoot.MatchString(o.Root) || o.State != "" && !farRoot.MatchString(o.State) {
		return nil, fault.New(fault.Invalid, "root, state: Of other hosts, name a folder from / on, of letters, digits and %s.", ". _ / @ % + = : , -")
	}
	if len(hosts) > maxHosts {
		return nil, fault.New(fault.Invalid, "host: These are %d, and %d at most may be checked at once.", len(hosts), maxHosts)
	}
	for i, h := range hosts {
		if slices.ContainsFunc(hosts[:i], func(other Host) bool { return other.Name == h.Name }) {
			return nil, fault.New(fault.Invalid, "host: %s is named twice.", h.Name)
		}
	}
	f := &Fleet{Format: 1, Hosts: make([]HostReport, len(hosts))}
	var wait sync.WaitGroup // each of its goroutines ends with its host, which hostTime bounds
	free := make(chan struct{}, maxAtOnce)
	var telling sync.Mutex // guards done, and one call of Progress at a time
	done := 0
	tell := func(more int) {
		telling.Lock()
		defer telling.Unlock()
		if done += more; o.Progress != nil {
			o.Progress(done, len(hosts))
		}
	}
	tell(0)
	for i, h := range hosts {
		wait.Go(func() {
			free <- struct{}{}
			defer func() { <-free }()
			f.Hosts[i].Host = h.Name
			report, err := r.check(ctx, o, h)
			if err != nil {
				f.Hosts[i].Error = guard.Show(err.Error())
			}
			f.Hosts[i].Report = report
			tell(1)
		})
	}
	wait.Wait()
	return f, nil
}

// Waive marks what is waived, on each host.
func (f *Fleet) Waive(list []Waiver) {
	for _, h := range f.Hosts {
		if h.Report != nil {
			h.Report.Waive(list)
		}
	}
}

// Code is the exit code: 2 if a host could not be checked, else as of one report that has all of them.
func (f *Fleet) Code() int {
	codes := map[int]bool{}
	for _, h := range f.Hosts {
		if h.Report == nil {
			return 2
		}
		codes[h.Report.Code()] = true
	}
	for _, code := range []int{1, 2} {
		if codes[code] {
			return code
		}
	}
	return 0
}

// Exit codes of what runs on the host, besides those of harden check.
const (
	otherSystem = 90 + iota
	noFolder
	noSudo
	cutShort
)

// machines are the kernel's names of what this program may be built for. Source: uname(1) of coreutils; GOARCH.
var machines = map[string]string{"amd64": "x86_64", "arm64": "aarch64", "ppc64le": "ppc64le", "riscv64": "riscv64", "s390x": "s390x"}

// script is what the host runs, by sh whatever the login shell is: no quote, no exclamation mark and no newline is in it. It takes the program
// on its standard input into a folder of its own, which is gone at the end.
func (r Remote) script(o Options, size int64) string {
	sudo := ""
	if r.Sudo {
		sudo = "sudo -n "
	}
	args := fmt.Sprintf("harden check --format json --root %s --profile %s --fail-on %s", o.Root, roleName(o.Profile), o.FailOn)
	if len(o.Only) > 0 {
		args += " --only " + strings.Join(o.Only, ",")
	}
	if o.State != "" {
		args += " --state " + o.State
	}
	if o.Account != "" {
		args += " --account " + o.Account
	}
	if o.Account != "" {
		args += " --account " + o.Account
	}
	if o.Connect {
		args += " --connect"
	}
	if o.Database {
		args += " --database"
	}
	lines := []string{
		"umask 077",
		fmt.Sprintf(`case "$(uname -s) $(uname -m)" in "Linux %s") ;; *) uname -s -m >&2; exit %d;; esac`, machines[runtime.GOARCH], otherSystem),
		`for p in "${XDG_RUNTIME_DIR:-/tmp}" /tmp /var/tmp "$HOME"; do d=$(mktemp -d "$p/metalward-XXXXXXXXXX" 2>/dev/null) || continue; trap "rm -rf \"\$d\"" EXIT; trap "exit 1" HUP INT TERM PIPE; ` +
			`echo "#/bin/sh" > "$d/try" && chmod 700 "$d/try" && "$d/try" 2>/dev/null && break; rm -rf "$d"; d=; done`,
		fmt.Sprintf(`test -n "$d" || exit %d`, noFolder),
		fmt.Sprintf(`test -z "%s" || sudo -n "$d/try" || exit %d`, sudo, noSudo),
		`cat > "$d/metalward"`,
		fmt.Sprintf(`test "$(wc -c < "$d/metalward")" -eq %d || exit %d`, size, cutShort),
		`chmod 700 "$d/metalward"`,
		sudo + `"$d/metalward" ` + args,
	}
	return strings.Join(lines, "; ")
}

// check checks one host.
func (r Remote) check(ctx context.Context, o Options, h Host) (*Report, error) {
	program, err := os.Open(r.Program)
	if err != nil {
		return nil, fmt.Errorf("cannot read this program to copy it: %w", err)
	}
	defer func() { _ = program.Close() }()
	about, err := program.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read this program to copy it: %w", err)
	}
	limit := r.Time
	if limit == 0 {
		limit = hostTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	args := []string{"-T", "-x", "-a", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ClearAllForwardings=yes", "-o", "EscapeChar=none", "-o", "RemoteCommand=none", "-o", "LogLevel=ERROR",
		"-o", fmt.Sprintf("ConnectTimeout=%d", sshConnect), "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"}
	if r.Config != "" {
		args = append([]string{"-F", r.Config}, args...)
	}
	if h.port != "" {
		args = append(args, "-p", h.port)
	}
	if h.user != "" {
		args = append(args, "-l", h.user)
	}
	cmd := exec.CommandContext(ctx, r.SSH, append(args, "--", h.host, "exec sh -c '"+r.script(o, about.Size())+"'")...) //nolint:gosec // what is in it was looked at
	answer, told := &bounded{most: maxAnswer, over: cancel}, &tail{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = program, answer, told, 5*time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("ssh cannot be started: %w", err)
	}
	_ = cmd.Wait() // ProcessState tells; what ssh leaves running for later connections may keep its outputs open
	code := cmd.ProcessState.ExitCode()
	switch {
	case answer.full:
		return nil, fmt.Errorf("its answer has more than %d bytes: what runs there is not this program", maxAnswer)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("it did not answer within %s: look whether the host is overloaded, or check less with --only", limit)
	case ctx.Err() != nil:
		return nil, errors.New("it was given up")
	case len(answer.kept) == 0 || code > 2 || code < 0:
		return nil, r.why(code, told.String())
	}
	return readAnswer(answer.kept, o)
}

// remedies are what to do about what ssh says. Source: OpenSSH's sshconnect.c, sshconnect2.c and readconf.c.
var remedies = []struct{ says, remedy string }{
	{"REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key is not the one that is known: find out why, at the host's console; it may be another host that answers. If the key was changed: ssh-keygen -R HOST, and connect once by hand"},
	{"host key is known for", "its host key is not known: connect once by hand, with ssh, and compare the key with the host's own"},
	{"Host key verification failed", "its host key is not known, or another: connect once by hand, with ssh, and compare the key with the host's own"},
	{"Permission denied", "it does not let this user in: give ssh a key or certificate that it takes; no password is asked for"},
	{"Could not resolve", "there is no such name: look at the name, and at ssh's configuration"},
	{"Connection refused", "nothing answers at that port: look whether its SSH server runs, and where"},
	{"Connection timed out", "it does not answer: look whether the host is up, and whether a firewall lets SSH through"},
	{"No route to host", "there is no way to it: look whether the host is up, and at the routes"},
	{"Network is unreachable", "there is no way to it: look at the routes"},
}

// why says why there is no report, by how ssh ended and what was said.
func (r Remote) why(code int, told string) error {
	last := guard.Show(lastLine(told))
	switch code {
	case otherSystem:
		return fmt.Errorf("it is %s, and this program is for Linux %s: run one that was built for it, on the host itself", last, machines[runtime.GOARCH])
	case noFolder:
		return errors.New("it has no folder that may be written and whose files may be executed ($XDG_RUNTIME_DIR, /tmp, /var/tmp, the home): mount one without noexec, or run this program on the host itself")
	case noSudo:
		return fmt.Errorf("sudo does not let this user run it without a password: allow that in sudoers, log in as another user, or leave --sudo out (%s)", last)
	case cutShort:
		return errors.New("the program did not arrive whole: look whether the disk is full there")
	case 255: // ssh's own
		for _, one := range remedies {
			if strings.Contains(told, one.says) {
				return fmt.Errorf("%s (%s)", one.remedy, last)
			}
		}
		return fmt.Errorf("ssh could not connect: %s", last)
	}
	if last == "" {
		return fmt.Errorf("what ran there said nothing, and ended with %d", code)
	}
	return fmt.Errorf("it could not be checked (%d): %s", code, strings.TrimPrefix(last, "metalward: "))
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// bounded keeps what is written to it, and says when that is too much.
type bounded struct {
	kept []byte
	most int
	full bool
	over func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.full = b.full || len(b.kept)+len(p) > b.most; b.full {
		b.over()
		return len(p), nil
	}
	b.kept = append(b.kept, p...)
	return len(p), nil
}

// tail keeps the last of what is written to it.
type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if len(t.kept) > maxTold {
		t.kept = append([]byte(nil), t.kept[len(t.kept)-maxTold:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.kept) }

// readAnswer reads a report that another host has made. The host may be an attacker's: what does not have the form of a report of this very
// program, about what was asked, is none; descriptions are this program's own; and what it amounts to is worked out anew.
func readAnswer(text []byte, o Options) (*Report, error) {
	bad := func(format string, args ...any) (*Report, error) {
		return nil, fmt.Errorf("its answer is no report of this program: %s", guard.Show(fmt.Sprintf(format, args...)))
	}
	r, any := &Report{}, any(nil)
	if err := decode(text, r); err != nil {
		return bad("%v", err)
	}
	if err := json.Unmarshal(text, &any); err != nil {
		return bad("%v", err)
	}
	if !printable(any) {
		return bad("it has characters in it that a terminal may obey")
	}
	switch {
	case r.Format != 1 || r.Tool != Tool{"metalward", o.Version}:
		return bad("it is of the format %d, by %s %s", r.Format, r.Tool.Name, r.Tool.Version)
	case r.Profile != roleName(o.Profile) || r.FailOn != o.FailOn || r.Root != guard.Show(o.Root):
		return bad("it is about something else")
	case r.Time.IsZero() || len(r.Findings) == 0 || len(r.Products) == 0:
		return bad("it is empty")
	}
	all := catalog.Checks()
	by := func(id string) *guard.Check {
		if i := slices.IndexFunc(all, func(c *guard.Check) bool { return c.ID == id }); i >= 0 {
			return all[i]
		}
		return nil
	}
	r.checks = map[string]*guard.Check{}
	for i, c := range r.Checks {
		own := by(c.ID)
		if own == nil || r.checks[c.ID] != nil {
			return bad("it has a check %s", c.ID)
		}
		r.Checks[i], r.checks[c.ID] = Describe(own), own
	}
	for _, p := range r.Products {
		if !slices.Contains(guard.Products, p.Product) {
			return bad("it has a product %s", p.Product)
		}
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		c := r.checks[f.Check]
		switch {
		case c == nil || c.Versions[f.Product] == "":
			return bad("it has a finding of the check %s and the product %s", f.Check, f.Product)
		case !slices.Contains(guard.States, f.State) || f.Severity < guard.Low || f.Severity > c.Severity:
			return bad("a finding of %s is %s and %q", f.Check, f.Severity, f.State)
		case !someHash.MatchString(f.ID) || f.Known || f.Waiver != nil || len(f.Fix) != len(f.Undo) && f.State == guard.Fail:
			return bad("a finding of %s is not as this program writes it", f.Check)
		}
		f.Title = c.Title
		f.fromCatalog = guard.Finding{Check: c, Product: f.Product, Observation: guard.Observation{State: f.State, Severity: f.Severity, Subject: f.Subject, Evidence: f.Evidence, Fix: f.Fix, Undo: f.Undo}}
	}
	r.order()
	r.settle()
	return r, nil
}

// decode reads one JSON value that has nothing unknown in it and nothing after it.
func decode(text []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the value")
	}
	return nil
}

// printable reports whether all texts of a JSON value can be printed.
func printable(v any) bool {
	switch v := v.(type) {
	case string:
		return guard.Show(v) == v
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return !printable(e) })
	case map[string]any:
		for key, e := range v {
			if !printable(key) || !printable(e) {
				return false
			}
		}
	}
	return true
}
