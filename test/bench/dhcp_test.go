package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/dhcp"
)

const (
	// dhcpServerEnv names the folder of the copy of this binary that serves DHCP.
	dhcpServerEnv = "METALWARD_BENCH_DHCP"
	// dhcpProfileEnv names a file for a CPU profile of our server.
	dhcpProfileEnv = "METALWARD_BENCH_DHCP_PROFILE"
	dhcpPool       = 16000 // clients of the dynamic pool
	lateAnswers    = 200 * time.Millisecond
)

// serveDHCP is our DHCP server alone, with the snapshot in a folder, until it is told to end.
func serveDHCP(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	text, err := os.ReadFile(filepath.Join(dir, "snapshot.json"))
	if err != nil {
		return err
	}
	var snapshot metal.RackSnapshot
	if err := json.Unmarshal(text, &snapshot); err != nil {
		return err
	}
	if path := os.Getenv(dhcpProfileEnv); path != "" {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	s, err := dhcp.New(dhcp.Config{Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), LeaseFile: filepath.Join(dir, "leases")})
	if err != nil {
		return err
	}
	if err := s.SetSnapshot(snapshot); err != nil {
		return err
	}
	err = s.Run(ctx)
	fmt.Fprintf(os.Stderr, "%+v\n", s.Stats())
	return err
}

// cable is two network namespaces joined by a pair of virtual Ethernet devices: srv0 is 10.1.0.1 in one, cl0
// 10.1.0.2 in the other. perfdhcp needs its own, since both ends use port 67.
type cable struct {
	server, client string // namespaces
	macs           string // file of clients' hardware addresses
}

func newCable(b *testing.B) *cable {
	b.Helper()
	if os.Getuid() != 0 {
		b.Skip("needs root for network namespaces")
	}
	for _, name := range []string{"ip", "perfdhcp", "dhcpd"} {
		if _, err := exec.LookPath(name); err != nil {
			b.Skipf("%s is not installed (packages iproute2, kea-admin, isc-dhcp-server)", name)
		}
	}
	c := &cable{server: fmt.Sprintf("mwbs%d", os.Getpid()), client: fmt.Sprintf("mwbc%d", os.Getpid())}
	ip := func(args ...string) {
		b.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			b.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	b.Cleanup(func() {
		for _, ns := range []string{c.server, c.client} {
			_ = exec.Command("ip", "netns", "del", ns).Run() // it may not have come into being
		}
	})
	ip("netns", "add", c.server)
	ip("netns", "add", c.client)
	ip("-n", c.server, "link", "add", "srv0", "type", "veth", "peer", "name", "cl0", "netns", c.client)
	ip("-n", c.server, "addr", "add", "10.1.0.1/16", "dev", "srv0")
	ip("-n", c.client, "addr", "add", "10.1.0.2/16", "dev", "cl0")
	ip("-n", c.server, "link", "set", "srv0", "up")
	ip("-n", c.client, "link", "set", "cl0", "up")
	return c
}

// dhcpPeer is a server under test.
type dhcpPeer struct {
	name  string
	start func(dir string) *exec.Cmd // the command, in the server's namespace
	dir   string
	rate  float64   // where it was seen to saturate, exchanges per second
	got   []float64 // best of each round
	hwm   int64     // KiB
	rss   int64
}

// setup writes the same network and reservations for both servers. Clients are perfdhcp's: the hardware
// addresses in c.macs.
func (c *cable) setup(b *testing.B, reservations int) (ours, theirs *dhcpPeer) {
	b.Helper()
	write := func(path string, text []byte) {
		b.Helper()
		if err := os.WriteFile(path, text, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	addr := netip.MustParseAddr
	sub := metal.SnapshotSubnet{ID: 1, CIDR: mustPrefix("10.1.0.0/16"), RackIP: addr("10.1.0.1"), Gateway: addr("10.1.0.3"), DNS: []netip.Addr{addr("10.1.0.1")}}
	snapshot := metal.RackSnapshot{Version: 1}
	conf := &strings.Builder{}
	fmt.Fprintf(conf, "authoritative;\nping-check off;\nddns-update-style none;\ndefault-lease-time 3600;\nmax-lease-time 3600;\n"+
		// One fsync for up to 28 answers, what dhcpd.conf(5) suggests; without it one for each: 300 exchanges/s here.
		"delayed-ack 28;\nmax-ack-delay 2500;\n"+
		"subnet 10.1.0.0 netmask 255.255.0.0 {\noption routers 10.1.0.3;\noption domain-name-servers 10.1.0.1;\n")
	if reservations == 0 {
		sub.Dynamic = []metal.AddrRange{{Start: addr("10.1.8.0"), End: addr("10.1.255.200")}}
		conf.WriteString("range 10.1.8.0 10.1.255.200;\n")
	}
	conf.WriteString("}\n")
	c.macs = filepath.Join(b.TempDir(), "macs")
	macs := &strings.Builder{}
	for i := range dhcpPool {
		if reservations > 0 && i == reservations {
			break
		}
		mac := fmt.Sprintf("52:54:00:00:%02x:%02x", byte(i>>8), byte(i))
		fmt.Fprintln(macs, mac)
		if reservations == 0 {
			continue
		}
		ip := netip.AddrFrom4([4]byte{10, 1, byte(8 + i>>8), byte(i)})
		snapshot.Machines = append(snapshot.Machines, metal.SnapshotMachine{MAC: metal.MAC(mac), IP: ip, Hostname: fmt.Sprintf("node%05d", i)})
		fmt.Fprintf(conf, "host node%05d { hardware ethernet %s; fixed-address %s; option host-name \"node%05d\"; }\n", i, mac, ip, i)
	}
	snapshot.VLANs = []metal.SnapshotVLAN{{ID: 1, Interface: "srv0", MTU: 1500, Subnets: []metal.SnapshotSubnet{sub}}}
	write(c.macs, []byte(macs.String()))
	text, err := json.Marshal(snapshot)
	if err != nil {
		b.Fatal(err)
	}
	ours = &dhcpPeer{name: "ours", dir: b.TempDir(), start: func(dir string) *exec.Cmd {
		cmd := exec.Command("ip", "netns", "exec", c.server, os.Args[0])
		cmd.Env = append(os.Environ(), dhcpServerEnv+"="+dir)
		return cmd
	}}
	write(filepath.Join(ours.dir, "snapshot.json"), text)
	theirs = &dhcpPeer{name: "dhcpd", dir: b.TempDir(), start: func(dir string) *exec.Cmd {
		return exec.Command("ip", "netns", "exec", c.server, "dhcpd", "-4", "-f", "-q", "-user", "root", "-group", "root", "--no-pid", "-cf", filepath.Join(dir, "dhcpd.conf"), "-lf", filepath.Join(dir, "leases"), "srv0")
	}}
	write(filepath.Join(theirs.dir, "dhcpd.conf"), []byte(conf.String()))
	write(filepath.Join(theirs.dir, "leases"), nil)
	return ours, theirs
}

// with runs fn while the server answers.
func (c *cable) with(b *testing.B, p *dhcpPeer, fn func()) {
	b.Helper()
	cmd := p.start(p.dir)
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr, cmd.Stdout = log, log
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // dhcpd ends by the signal
	}()
	for try := 0; ; try++ {
		if c.perfdhcp(b, 100, 0.3, 1) > 50 {
			break
		}
		if try == 20 {
			text, _ := os.ReadFile(log.Name())
			b.Fatalf("%s does not answer: %s", p.name, text)
		}
	}
	fn()
	// `ip netns exec` executes the server in its own place, so the process is the server's.
	p.hwm, p.rss = max(p.hwm, procKiB(cmd.Process.Pid, "VmHWM")), procKiB(cmd.Process.Pid, "VmRSS")
}

var (
	perfReceived = regexp.MustCompile(`received packets: (\d+)`)
	perfRate     = regexp.MustCompile(`Rate: ([0-9.e+]+) 4-way`)
)

// perfdhcp starts exchanges at a rate for some seconds and returns how many were completed in a second.
func (c *cable) perfdhcp(b *testing.B, rate, seconds float64, seed int) float64 {
	b.Helper()
	// -W: answers still under way after the last request count. perfdhcp exits with 3 if some were lost.
	cmd := exec.Command("ip", "netns", "exec", c.client, "perfdhcp", "-4", "-l", "cl0", "-r", strconv.Itoa(int(rate)), "-n", strconv.Itoa(int(rate*seconds)),
		"-M", c.macs, "-s", strconv.Itoa(seed), "-W", strconv.FormatInt(lateAnswers.Microseconds(), 10), "-d", "2", "-p", strconv.Itoa(int(seconds)+5), "10.1.0.1")
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); err != nil && code != 3 {
		b.Fatalf("perfdhcp: %v: %s", err, out)
	}
	m := perfReceived.FindAllStringSubmatch(string(out), -1)
	r := perfRate.FindStringSubmatch(string(out))
	if len(m) != 2 || r == nil {
		b.Fatalf("perfdhcp printed what is not understood: %s", out)
	}
	if os.Getenv("METALWARD_BENCH_VERBOSE") != "" {
		b.Logf("rate %.0f: %s", rate, out)
	}
	done, _ := strconv.ParseFloat(m[1][1], 64)
	got, _ := strconv.ParseFloat(r[1], 64)
	if elapsed := done/got - lateAnswers.Seconds(); elapsed > 0 { // perfdhcp counts the wait at the end as well
		return done / elapsed
	}
	return 0
}

var dhcpKnees = map[string]float64{} // scenario and server → rate of saturation, from an earlier run of the benchmark

// BenchmarkDHCP compares our server with ISC dhcpd: whole exchanges (DISCOVER, OFFER, REQUEST, ACK) a second, by
// perfdhcp as a relay. First each is driven at rising rates until it completes no more; then each round drives
// both around that rate, one after the other, and keeps the best.
func BenchmarkDHCP(b *testing.B) {
	for _, reservations := range []int{0, 1000, 10000} {
		name := fmt.Sprintf("reservations=%d", reservations)
		if reservations == 0 {
			name = "dynamic"
		}
		b.Run(name, func(b *testing.B) {
			c := newCable(b)
			ours, theirs := c.setup(b, reservations)
			peers := []*dhcpPeer{ours, theirs}
			for _, p := range peers {
				if p.rate = dhcpKnees[name+p.name]; p.rate == 0 {
					c.with(b, p, func() {
						best := 0.0
						for rate := 250.0; rate < 60000; rate *= 1.5 {
							got := c.perfdhcp(b, rate, 1, int(rate))
							if best = max(best, got); got < 0.6*rate {
								break
							}
						}
						p.rate = best
					})
					dhcpKnees[name+p.name] = p.rate
				}
			}
			b.ResetTimer()
			for round := range b.N {
				for k := range peers {
					p := peers[(round+k)%2]
					c.with(b, p, func() {
						best := 0.0
						for i, factor := range []float64{0.8, 1, 1.25, 1.6} {
							best = max(best, c.perfdhcp(b, p.rate*factor, 1.2, 10*round+i))
						}
						p.got, p.rate = append(p.got, best), best
					})
				}
			}
			b.StopTimer()
			var ratios []float64
			for i := range ours.got {
				ratios = append(ratios, ours.got[i]/theirs.got[i])
			}
			b.Logf("ours %.0f, dhcpd %.0f exchanges/s by round", ours.got, theirs.got)
			b.ReportMetric(median(ratios), "x_dhcpd")
			b.ReportMetric(median(ours.got), "dora/s")
			b.ReportMetric(median(theirs.got), "dhcpd_dora/s")
			b.ReportMetric(float64(ours.hwm)/1024, "MiB")
			b.ReportMetric(float64(theirs.hwm)/1024, "dhcpd_MiB")
			reportLoad(b)
		})
	}
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
