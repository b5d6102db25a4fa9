//go:build linux

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// BMCConfig is the account that a BMC is delivered with.
type BMCConfig struct {
	User     string // default admin
	Password string // default secret; at most 20 bytes
}

// BMC is a management controller: OpenIPMI's simulator, a real RMCP+ server,
// on an address of its own and the standard port 623. It keeps no power state;
// it asks the machine for everything through the chassis helper.
//
// What the simulator cannot do: a boot device disk reads back as default, and
// the persistent and EFI boot flags are lost.
type BMC struct {
	machine  *Machine
	user     string
	password string
	addr     string
	args     []string
	process  *Process
	control  net.Listener
}

// newBMC starts the BMC of m.
func (n *Network) newBMC(ctx context.Context, m *Machine, c BMCConfig) (*BMC, error) {
	helper, err := n.chassisHelper(ctx)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.bmcCount++
	number := n.bmcCount
	n.mu.Unlock()
	b := &BMC{machine: m, user: c.User, password: c.Password, addr: fmt.Sprintf("10.78.0.%d", 10+number)}
	if b.user == "" {
		b.user = "admin"
	}
	if b.password == "" {
		b.password = "secret"
	}
	if _, err := output(ctx, "ip", "-n", n.Namespace(BMCs), "addr", "add", b.addr+"/24", "dev", BMCIface); err != nil {
		return nil, err
	}

	socket := filepath.Join(n.run, m.config.Name+".chassis")
	b.control, err = net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for the chassis helper: %w", err)
	}
	go b.serveChassis()

	state := m.path("bmc-state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the BMC's state directory: %w", err)
	}
	lan, emu := m.path("bmc-lan.conf"), m.path("bmc.emu")
	if err := errors.Join(
		os.WriteFile(lan, []byte(b.lanConfig(helper+" "+socket)), 0o600),
		os.WriteFile(emu, []byte(emuConfig), 0o600),
	); err != nil {
		return nil, fmt.Errorf("cannot write the BMC's configuration: %w", err)
	}
	b.args = []string{"ipmi_sim", "-c", lan, "-f", emu, "-s", state, "-n"}
	return b, b.start(ctx)
}

// lanConfig is the simulator's configuration. Cipher suites are not in it: the
// simulator decides.
func (b *BMC) lanConfig(chassis string) string {
	var auths strings.Builder
	for _, level := range []string{"callback", "user", "operator", "admin"} {
		fmt.Fprintf(&auths, "    allowed_auths_%s none md2 md5 straight\n", level)
	}
	guid := strings.ReplaceAll(b.machine.config.UUID, "-", "")
	return fmt.Sprintf(`name %q
set_working_mc 0x20
  startlan 1
    addr %s 623
    priv_limit admin
%s    guid %s
  endlan
  chassis_control %q
  serial 15 %s %s codec VM
  user 1 false "" "" user 10 none md2 md5 straight
  user 2 true %q %q admin 10 none md2 md5 straight
`, b.machine.config.Name, b.addr, auths.String(), guid, chassis, b.addr, InBandPort, b.user, b.password)
}

// emuConfig makes one management controller with an event log.
const emuConfig = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
sel_enable 0x20 1000 0x0a
mc_enable 0x20
`

// start runs the simulator and waits until it answers.
func (b *BMC) start(ctx context.Context) error {
	p, err := b.machine.net.Start(BMCs, b.machine.config.Name+"-bmc", nil, b.args...)
	if err != nil {
		return err
	}
	b.process = p
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		_, err := b.Ipmitool(ctx, 3, "power", "status")
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("cannot reach the BMC: %w", err)
		}
	}
}

// Addr is the BMC's address; the port is 623.
func (b *BMC) Addr() string { return b.addr }

// User is the account's name.
func (b *BMC) User() string { return b.user }

// Password is the account's password.
func (b *BMC) Password() string { return b.password }

// Freeze makes the BMC deaf: packets reach it and are never answered.
func (b *BMC) Freeze() error { return b.process.Signal(syscall.SIGSTOP) }

// Thaw ends a Freeze.
func (b *BMC) Thaw() error { return b.process.Signal(syscall.SIGCONT) }

// Restart ends the BMC and starts it again, as after its own reset. The
// machine's power is not touched; users changed over IPMI stay changed.
func (b *BMC) Restart(ctx context.Context) error {
	if err := b.process.Stop(ctx); err != nil {
		return err
	}
	return b.start(ctx)
}

// Ipmitool runs ipmitool from the rack's namespace with the given RMCP+ cipher
// suite and returns what it printed.
func (b *BMC) Ipmitool(ctx context.Context, cipher int, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := b.machine.net.Command(ctx, Rack, append([]string{
		"ipmitool", "-I", "lanplus", "-C", strconv.Itoa(cipher), "-N", "2", "-R", "2",
		"-H", b.addr, "-U", b.user, "-E"}, args...)...)
	// Not on the command line, where every process could read it.
	cmd.Env = append(os.Environ(), "IPMI_PASSWORD="+b.password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("cannot run ipmitool %s: %w: %s", strings.Join(args, " "), errors.Join(err, context.Cause(ctx)), tail(out))
	}
	return strings.TrimSpace(string(out)), nil
}

// chassisHelper builds the helper program once per network.
func (n *Network) chassisHelper(ctx context.Context) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.chassis != "" {
		return n.chassis, nil
	}
	file := filepath.Join(n.run, "chassis")
	if _, err := output(ctx, "go", "build", "-o", file, "github.com/metalward/metalward/test/e2e/lab/chassis"); err != nil {
		return "", err
	}
	n.chassis = file
	return file, nil
}

// serveChassis answers the chassis helper, one request per connection.
func (b *BMC) serveChassis() {
	for {
		conn, err := b.control.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			// As long as the helper waits; see its own limit.
			conn.SetDeadline(time.Now().Add(60 * time.Second))
			line, err := bufio.NewReader(io.LimitReader(conn, 1024)).ReadString('\n')
			if err != nil {
				return
			}
			if answer, err := b.machine.chassis(strings.Fields(line)); err != nil {
				fmt.Fprintf(conn, "error %v\n", err)
			} else {
				fmt.Fprintf(conn, "ok %s\n", answer)
			}
		}()
	}
}

func (b *BMC) close() { b.control.Close() }

// chassis carries out the simulator's words: "get NAME..." and
// "set NAME VALUE ...". The answer to get is a list of NAME:VALUE.
func (m *Machine) chassis(words []string) (string, error) {
	if len(words) < 2 {
		return "", errors.New("cannot understand an empty request")
	}
	switch words[0] {
	case "get":
		var answer []string
		for _, name := range words[1:] {
			switch name {
			case "power":
				answer = append(answer, fmt.Sprintf("power:%d", btoi(m.IsOn())))
			case "boot":
				// The simulator knows no name for disk.
				value := "default"
				if m.NextBoot() == BootPXE {
					value = "pxe"
				}
				answer = append(answer, "boot:"+value)
			}
		}
		return strings.Join(answer, " "), nil
	case "set":
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
		defer cancel()
		for i := 1; i+1 < len(words); i += 2 {
			if err := m.chassisSet(ctx, words[i], words[i+1]); err != nil {
				return "", err
			}
		}
		return "", nil
	}
	return "", fmt.Errorf("cannot understand request %q", words[0])
}

func (m *Machine) chassisSet(ctx context.Context, name, value string) error {
	switch name {
	case "power":
		if value == "1" {
			return m.PowerOn(ctx)
		}
		return m.PowerOff()
	case "reset":
		return m.Reset(ctx)
	case "shutdown":
		return m.PressPowerButton()
	case "boot":
		if value == "pxe" {
			m.SetBoot(BootPXE)
		} else {
			m.SetBoot(BootDefault)
		}
		return nil
	}
	return nil // identify and other lights
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
