package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/firewall"
	"github.com/metalward/metalward/internal/guard"
)

// Live is a Source of a host that runs: what listens there and which rules hold is known of such a one alone.
type Live interface {
	Source
	// Running says whether it is one.
	Running() bool
	// Run returns what a program, by its absolute path, prints. It changes nothing, takes at most maxRun, and prints at most
	// firewall.MaxOutput bytes; more is an error.
	Run(program string, args ...string) ([]byte, error)
	Interfaces() ([]guard.Interface, error)
}

// maxRun is how long a program may take: 5,000 rules are listed within a second.
const maxRun = 20 * time.Second

// network is what Facts remembers of it.
type network struct {
	found   *guard.Network
	err     error
	connect time.Duration // how long a connection may take; 0 if none is to be tried
}

// Connecting lets checks try connections, each for at most so long. Without it, none is made.
func (f *Facts) Connecting(patience time.Duration) { f.network.connect = patience }

// Connect implements guard.Host.
func (f *Facts) Connect(address string) error {
	if c, ok := f.src.(interface{ Connect(string) error }); ok {
		return c.Connect(address)
	}
	if live, ok := f.src.(Live); f.network.connect == 0 || !ok || !live.Running() {
		return guard.ErrNotAsked
	}
	c, err := net.DialTimeout("tcp", address, f.network.connect)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return guard.ErrRefused
	}
	if err != nil {
		return err
	}
	return c.Close()
}

// errCopy is said of a tree that is not the running host.
var errCopy = errors.New("what listens, and which rules a firewall has, is known of a running host alone: this is a copy of its files, or not this host")

// Network implements guard.Host.
func (f *Facts) Network() (guard.Network, error) {
	if n, ok := f.src.(interface{ Network() (guard.Network, error) }); ok {
		return n.Network()
	}
	live, ok := f.src.(Live)
	if !ok || !live.Running() {
		return guard.Network{}, errCopy
	}
	if f.network.found == nil && f.network.err == nil {
		n, err := f.look(live)
		f.network.found, f.network.err = &n, err
	}
	return *f.network.found, f.network.err
}

func (f *Facts) look(live Live) (n guard.Network, err error) {
	if n.Listeners, err = f.listeners(); err != nil {
		return n, err
	}
	if n.Interfaces, err = live.Interfaces(); err != nil {
		return n, err
	}
	n.Rules, n.RulesErr = f.rules(live)
	return n, nil
}

// rules reads the rules of nftables, and of iptables as far as nft does not show them.
func (f *Facts) rules(live Live) (*firewall.Ruleset, error) {
	all, partial, err := f.nftables(live)
	if err != nil {
		return nil, err
	}
	for _, family := range []string{"ip", "ip6"} {
		var shown []string
		for _, t := range partial {
			if strings.HasPrefix(t, family+" ") {
				shown = append(shown, t)
			}
		}
		if len(shown) > 0 {
			saved, err := f.saved(live, family, "nft")
			if err != nil {
				continue // what nft does not show in full cannot be told
			}
			for _, t := range shown {
				all = firewall.Join(all, saved.Table(t))
			}
		}
		legacy, err := f.legacy(live, family)
		if err != nil {
			return nil, err
		}
		all = firewall.Join(all, legacy)
	}
	return all, nil
}

// nftables reads its rules, and names the tables that it does not show in full.
func (f *Facts) nftables(live Live) (all *firewall.Ruleset, partial []string, err error) {
	nft, err := f.program("nft")
	if err != nil {
		all, err = f.without(live)
		return all, nil, err
	}
	text, err := live.Run(nft, "-j", "list", "ruleset")
	if err != nil {
		return nil, nil, fmt.Errorf("the rules of nftables are not known: %w", err)
	}
	people, _ := live.Run(nft, "-a", "list", "ruleset") // without it, rules have numbers only
	return firewall.ParseNFT(text, people)
}

// legacy reads the rules of the older kind of iptables. It asks only where there are some: iptables-legacy-save would load modules.
// Source: iptables-legacy's own list, /proc/net/ip_tables_names.
func (f *Facts) legacy(live Live, family string) (*firewall.Ruleset, error) {
	names, err := f.Read(proc + map[string]string{"ip": "ip_tables_names", "ip6": "ip6_tables_names"}[family])
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(strings.TrimSpace(string(names))) == 0:
		return nil, nil //nolint:nilnil // there are none
	case err != nil:
		return nil, fmt.Errorf("the rules of iptables are not known: %w", err)
	}
	rs, err := f.saved(live, family, "legacy")
	if err != nil {
		return nil, err
	}
	return rs.Renamed("legacy"), nil
}

// saved is what iptables-save of a kind prints: "nft" or "legacy". Its first line says which it is.
func (f *Facts) saved(live Live, family, kind string) (*firewall.Ruleset, error) {
	tool := map[string]string{"ip": "iptables", "ip6": "ip6tables"}[family]
	var errs []error
	for _, name := range []string{tool + "-" + kind + "-save", tool + "-save"} {
		program, err := f.program(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		text, err := live.Run(program)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if strings.Contains(string(text), "(nf_tables)") == (kind == "nft") {
			return firewall.ParseIPTables(text, family == "ip6")
		}
		errs = append(errs, fmt.Errorf("%s is of the other kind of iptables", name))
	}
	return nil, fmt.Errorf("the rules of iptables (%s) are not known: %w", kind, errors.Join(errs...))
}

// program is where a program of the system is: never looked for in PATH.
func (f *Facts) program(name string) (string, error) {
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"} {
		if _, err := f.follow(dir + name); err == nil {
			return dir + name, nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

// Running implements Live: the tree is this host's if its root is this process's.
func (d *disk) Running() bool {
	var ours, its unix.Stat_t
	return unix.Fstat(d.root, &its) == nil && unix.Stat("/", &ours) == nil && its.Dev == ours.Dev && its.Ino == ours.Ino
}

// bounded keeps a program's output up to a limit, and says when there was more.
type bounded struct {
	b     []byte
	limit int
}

func (w *bounded) Write(p []byte) (int, error) {
	if len(w.b)+len(p) > w.limit {
		return 0, fmt.Errorf("it prints more than %d bytes", w.limit)
	}
	w.b = append(w.b, p...)
	return len(p), nil
}

// Run implements Live.
func (d *disk) Run(program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), maxRun)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // one of our own list, by absolute path
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Dir = "/"
	cmd.WaitDelay = time.Second
	out, errs := &bounded{limit: firewall.MaxOutput}, &bounded{limit: 1 << 10}
	cmd.Stdout, cmd.Stderr = out, lenient{errs}
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s took more than %s", program, maxRun)
	case err != nil:
		return nil, fmt.Errorf("%s: %w: %s", program, err, strings.TrimSpace(string(errs.b)))
	}
	return out.b, nil
}

// lenient drops what is too much.
type lenient struct{ *bounded }

func (w lenient) Write(p []byte) (int, error) {
	_, _ = w.bounded.Write(p[:min(len(p), w.limit-len(w.b))])
	return len(p), nil
}

// Interfaces implements Live. The loopback device is not among them, nor those that are down.
func (d *disk) Interfaces() (list []guard.Interface, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			return nil, os.NewSyscallError("address", err)
		}
		one := guard.Interface{Name: i.Name}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				one.Prefixes = append(one.Prefixes, p)
			}
		}
		list = append(list, one)
	}
	return list, nil
}
