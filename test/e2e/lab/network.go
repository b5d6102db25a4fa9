//go:build linux

package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Node names a namespace of a network.
type Node string

// The namespaces of every network.
const (
	Region Node = "region" // the region controller's host
	Rack   Node = "rack"   // the rack controller's host; machines are attached here
	BMCs   Node = "bmc"    // all BMCs
)

// Addresses, the same in every network.
const (
	RegionAddr  = "10.76.0.1"    // the region, on the control network
	RackAddr    = "10.76.0.2"    // the rack, on the control network
	BootAddr    = "10.77.0.1"    // the rack, on the machine network, 10.77.0.0/24
	BootAddr6   = "fd77:77::1"   // the same in IPv6, fd77:77::/64
	BootNet     = "10.77.0.0/24" // the machine network
	RackBMCAddr = "10.78.0.1"    // the rack, on the BMC network
	BMCNet      = "10.78.0.0/24" // the BMC network
)

// Interfaces, for captures and for configuration of the controllers.
const (
	ControlIface = "control0" // in Region and in Rack
	BootIface    = "br0"      // in Rack
	BMCIface     = "bmc0"     // in Rack and in BMCs
)

// lockDir holds one locked file per live network. The lock dies with its
// process, so an unlocked file names leftovers.
const lockDir = "/run/metalward-lab"

// Network is a set of namespaces and everything that runs in them.
type Network struct {
	prefix string
	dir    string
	run    string // sockets; short, because a socket's path is limited to 107 bytes
	lock   *os.File

	mu        sync.Mutex
	closed    bool
	processes []*Process
	machines  []*Machine
	bmcCount  int
	tapCount  int
	chassis   string // path of the chassis helper, once built
	signals   chan os.Signal
}

// NewNetwork makes the namespaces and the links between them. Logs and disks
// go to dir, which must exist. It first removes what killed runs left behind.
func NewNetwork(ctx context.Context, dir string) (*Network, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot use the lab directory: %w", err)
	}
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	n := &Network{dir: abs, signals: make(chan os.Signal, 1)}
	if err := n.claimPrefix(); err != nil {
		return nil, err
	}
	signal.Notify(n.signals, os.Interrupt, syscall.SIGTERM)
	go n.closeOnSignal()
	n.run = runDir(n.prefix)
	if err := os.Mkdir(n.run, 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make the lab's socket directory: %w", err), n.Close())
	}
	if err := n.build(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// claimPrefix picks an unused prefix and holds a lock on its file.
func (n *Network) claimPrefix() error {
	if err := os.MkdirAll(lockDir, 0o755); err != nil {
		return fmt.Errorf("cannot make the lab's lock directory: %w", err)
	}
	for range 10 {
		b := make([]byte, 2)
		rand.Read(b)
		n.prefix = "mw" + hex.EncodeToString(b)
		f, err := os.OpenFile(filepath.Join(lockDir, n.prefix), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o644)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot claim a lab prefix: %w", err)
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			f.Close() // a sweep saw the file first; leave it to it
			continue
		}
		n.lock = f
		return nil
	}
	return errors.New("cannot claim a lab prefix: all tried are taken")
}

func (n *Network) build(ctx context.Context) error {
	region, rack, bmcs := n.Namespace(Region), n.Namespace(Rack), n.Namespace(BMCs)
	for _, line := range []string{
		"netns add " + region,
		"netns add " + rack,
		"netns add " + bmcs,
		"-n " + region + " link set lo up",
		"-n " + rack + " link set lo up",
		"-n " + bmcs + " link set lo up",

		// Both ends are created inside their namespaces, so that no name of
		// the host is used even for a moment.
		"-n " + region + " link add control0 type veth peer name control0 netns " + rack,
		"-n " + region + " addr add " + RegionAddr + "/24 dev control0",
		"-n " + rack + " addr add " + RackAddr + "/24 dev control0",
		"-n " + region + " link set control0 up",
		"-n " + rack + " link set control0 up",

		"-n " + rack + " link add bmc0 type veth peer name bmc0 netns " + bmcs,
		"-n " + rack + " addr add " + RackBMCAddr + "/24 dev bmc0",
		"-n " + rack + " link set bmc0 up",
		"-n " + bmcs + " link set bmc0 up",

		"-n " + rack + " link add br0 type bridge stp_state 0 forward_delay 0",
		"-n " + rack + " addr add " + BootAddr + "/24 dev br0",
		"-n " + rack + " -6 addr add " + BootAddr6 + "/64 dev br0 nodad",
		"-n " + rack + " link set br0 up",
	} {
		if _, err := output(ctx, append([]string{"ip"}, strings.Fields(line)...)...); err != nil {
			return err
		}
	}
	return nil
}

// Namespace is the name that ip netns knows the node by.
func (n *Network) Namespace(node Node) string { return n.prefix + "-" + string(node) }

// Dir is the directory with the logs and disks.
func (n *Network) Dir() string { return n.dir }

// Command prepares a command that runs in the node's namespace.
func (n *Network) Command(ctx context.Context, node Node, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.Namespace(node)}, argv...)...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Start runs a program in the node's namespace until it is stopped or the
// network is closed. env is added to this process's environment. The output is
// appended to Dir()/NAME.log.
func (n *Network) Start(node Node, name string, env []string, argv ...string) (*Process, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, fmt.Errorf("cannot start %s: the network is closed", name)
	}
	argv = append([]string{"ip", "netns", "exec", n.Namespace(node)}, argv...)
	p, err := startProcess(name, filepath.Join(n.dir, name+".log"), env, argv...)
	if err != nil {
		return nil, err
	}
	n.processes = append(n.processes, p)
	return p, nil
}

// Close ends all processes and machines and deletes the namespaces. Files stay.
// It may be called more than once.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	processes, machines := n.processes, n.machines
	n.mu.Unlock()
	signal.Stop(n.signals)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	for _, m := range machines {
		m.close()
	}
	// The last started goes first: clients before their servers.
	for i := len(processes) - 1; i >= 0; i-- {
		errs = append(errs, processes[i].Stop(ctx))
	}
	errs = append(errs, removeLeftovers(ctx, n.prefix))
	if n.lock != nil {
		errs = append(errs, os.Remove(n.lock.Name()), n.lock.Close())
	}
	return errors.Join(errs...)
}

// closeOnSignal cleans up and lets the signal take its usual effect. With
// several networks open, each does so and the last one ends the process.
func (n *Network) closeOnSignal() {
	s, ok := <-n.signals
	if !ok {
		return
	}
	if err := n.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	syscall.Kill(os.Getpid(), s.(syscall.Signal))
}

func runDir(prefix string) string { return filepath.Join(lockDir, prefix+".d") }

// removeLeftovers kills what still runs in the namespaces of a prefix and
// deletes them and the sockets. Missing namespaces are fine.
func removeLeftovers(ctx context.Context, prefix string) error {
	var errs []error
	for _, node := range []Node{Region, Rack, BMCs} {
		ns := prefix + "-" + string(node)
		if _, err := os.Stat("/run/netns/" + ns); err != nil {
			continue
		}
		// Only processes inside our own namespace are listed; this test
		// process has threads there for moments only, and stays out of it.
		pids, err := output(ctx, "ip", "netns", "pids", ns)
		errs = append(errs, err)
		for field := range strings.FieldsSeq(pids) {
			var pid int
			if _, err := fmt.Sscan(field, &pid); err == nil && pid > 1 && pid != os.Getpid() {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		_, err = output(ctx, "ip", "netns", "delete", ns)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, os.RemoveAll(runDir(prefix)))...)
}

// sweep removes networks whose process is gone.
func sweep(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(lockDir, "mw????"))
	if err != nil {
		return fmt.Errorf("cannot list lab networks: %w", err)
	}
	var errs []error
	for _, file := range files {
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		if err != nil {
			continue // removed meanwhile
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			err := removeLeftovers(ctx, filepath.Base(file))
			if err == nil {
				err = os.Remove(file)
			}
			errs = append(errs, err)
		}
		f.Close()
	}
	return errors.Join(errs...)
}
