// Package ipmi is the power driver for BMCs that speak IPMI 2.0 over the network (RMCP+, "lanplus").
//
// It is written on the standard library's cryptography rather than on a client library, because it must not
// trust the network between rack and BMC: session.go drops every answer that the session's keys do not
// authenticate, refuses a BMC that negotiates weaker algorithms than offered, and knows the BMC key K_g.
// IPMI 1.5 sessions, cipher suite 0 and unauthenticated sessions do not exist here.
//
// What RMCP+ itself cannot give: whoever can talk to a BMC and knows a user's name gets an HMAC of the password
// to guess at offline (CVE-2013-4786). Long random BMC passwords are the answer.
package ipmi

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/rack/power"
)

const (
	defaultPort = 623
	// settleTime is how long a machine may take to show the state it was commanded into; hard off takes some
	// BMCs several seconds. pollInterval is how often it is asked meanwhile.
	settleTime   = 20 * time.Second
	pollInterval = 500 * time.Millisecond
	// closeTime bounds the polite end of a session. BMCs have few sessions, so it is worth an effort.
	closeTime = time.Second
)

// Network functions and commands. Source: IPMI 2.0 appendix G.
const (
	netFnChassis         = 0x00
	cmdChassisStatus     = 0x01
	cmdChassisControl    = 0x02
	cmdSetBootOptions    = 0x08
	netFnApp             = 0x06
	cmdSetPrivilege      = 0x3b
	cmdCloseSession      = 0x3c
	controlOff           = 0x00
	controlOn            = 0x01
	controlCycle         = 0x02
	bootFlags            = 0x05 // boot option parameter selector, table 28-14
	bootFlagsValid       = 0x80
	bootFlagsEFI         = 0x20
	bootDeviceNetwork    = 0x01 << 2
	bootDeviceDisk       = 0x02 << 2
	ccInsufficientRights = 0xd4
	ccNotNow             = 0xd5
)

// code is an IPMI completion code other than 0.
type code byte

func (c code) Error() string { return fmt.Sprintf("completion code %#02x", byte(c)) }

// Driver speaks IPMI. It keeps no state and is safe for concurrent use.
type Driver struct{ settle time.Duration }

// New makes the driver.
func New() *Driver { return &Driver{settle: settleTime} }

// Name returns "ipmi".
func (d *Driver) Name() string { return "ipmi" }

// Do carries out a request in a session of its own: see power.Driver. Off is a hard off.
func (d *Driver) Do(ctx context.Context, req power.Request) (metal.PowerState, error) {
	state, err := d.do(ctx, req)
	var c code
	switch {
	case err == nil:
		return state, nil
	case errors.As(err, &c) && c == ccInsufficientRights:
		return metal.PowerError, fault.New(fault.Forbidden, "The BMC refuses the command at this privilege: set privilege_level to OPERATOR or ADMIN.")
	case errors.As(err, &c):
		return metal.PowerError, fault.New(fault.Unavailable, "The BMC refused the command with IPMI completion code %#02x.", byte(c))
	}
	return metal.PowerError, err
}

func (d *Driver) do(ctx context.Context, req power.Request) (metal.PowerState, error) {
	switch req.Action {
	case metal.ActionOn, metal.ActionOff, metal.ActionCycle, metal.ActionQuery:
	default:
		return "", fault.New(fault.Invalid, "%q is not a power action.", req.Action)
	}
	set, err := readSettings(req.Parameters)
	if err != nil {
		return "", err
	}
	s, err := connect(ctx, set)
	if err != nil {
		return "", err
	}
	defer s.close()
	// A session starts as User, which is enough to ask.
	if req.Action != metal.ActionQuery {
		if _, err := s.command(ctx, netFnApp, cmdSetPrivilege, set.privilege); err != nil {
			if _, refused := errors.AsType[code](err); refused {
				return "", errPrivilege
			}
			return "", err
		}
	}
	on, err := s.isOn(ctx)
	if err != nil {
		return "", err
	}
	want := true
	switch req.Action {
	case metal.ActionQuery:
		return stateOf(on), nil
	case metal.ActionOff:
		want = false
		if !on {
			return metal.PowerOff, nil
		}
		_, err = s.command(ctx, netFnChassis, cmdChassisControl, controlOff)
	case metal.ActionOn:
		if on {
			return metal.PowerOn, nil // it is not going to start, so there is nothing to set a boot device for
		}
		err = s.start(ctx, controlOn, req.Boot, set.efi(req.UEFI))
	case metal.ActionCycle:
		control := byte(controlCycle)
		if !on {
			control = controlOn // a cycle of a machine that is off may be refused: IPMI 2.0 table 28-4
		}
		err = s.start(ctx, control, req.Boot, set.efi(req.UEFI))
	}
	if err != nil && !errors.Is(err, code(ccNotNow)) {
		return "", err
	}
	return d.await(ctx, s, want)
}

// await polls until the machine shows the state. "Not in present state" ends here too: it may have got there by
// itself.
func (d *Driver) await(ctx context.Context, s *session, want bool) (metal.PowerState, error) {
	deadline := time.Now().Add(d.settle)
	for {
		on, err := s.isOn(ctx)
		if err == nil && on == want {
			return stateOf(on), nil
		}
		if _, refused := errors.AsType[code](err); err != nil && !refused { // busy BMCs refuse for a moment
			return "", err
		}
		if time.Now().After(deadline) {
			return "", fault.New(fault.Unavailable, "The BMC accepted the command, but the machine is not %s after %v.", stateOf(want), d.settle)
		}
		select {
		case <-ctx.Done():
			return "", errors.Join(fault.New(fault.Unavailable, "The machine is not %s yet.", stateOf(want)), ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}

func stateOf(on bool) metal.PowerState {
	if on {
		return metal.PowerOn
	}
	return metal.PowerOff
}

// isOn asks for the chassis status. Source: IPMI 2.0 table 28-3.
func (s *session) isOn(ctx context.Context) (bool, error) {
	data, err := s.command(ctx, netFnChassis, cmdChassisStatus)
	if err != nil {
		return false, err
	}
	if len(data) < 1 {
		return false, fault.New(fault.Unavailable, "The BMC's chassis status is empty.")
	}
	return data[0]&1 == 1, nil
}

// start sets where the next start boots from and causes it. The flags go just before the command because a BMC
// forgets them after 60 seconds (IPMI 2.0 section 28.12, parameter 3).
func (s *session) start(ctx context.Context, control byte, boot metal.BootDevice, efi bool) error {
	if boot != metal.BootKeep {
		flags := byte(bootFlagsValid) // valid for the next boot only: the persistent bit (40h) stays clear
		if efi {
			flags |= bootFlagsEFI
		}
		device := byte(bootDeviceNetwork)
		if boot == metal.BootDisk {
			device = bootDeviceDisk
		}
		if _, err := s.command(ctx, netFnChassis, cmdSetBootOptions, bootFlags, flags, device, 0, 0, 0); err != nil {
			return err
		}
	}
	_, err := s.command(ctx, netFnChassis, cmdChassisControl, control)
	return err
}

// close ends the session at the BMC; the command's own context may have ended already.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	var id [4]byte
	for i := range id {
		id[i] = byte(s.peer >> (8 * i))
	}
	_, _ = s.command(ctx, netFnApp, cmdCloseSession, id[:]...) // it times out at the BMC otherwise
	_ = s.conn.Close()
}

// connect opens a session with the strongest suite that the settings allow.
func connect(ctx context.Context, set settings) (*session, error) {
	for i, su := range set.suites {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "udp", set.address)
		if err != nil {
			return nil, unreachable(err)
		}
		s, err := open(ctx, conn, su, set.credentials)
		if err == nil {
			return s, nil
		}
		_ = conn.Close()
		if !errors.Is(err, errNoSuite) {
			return nil, err
		}
		if i == len(set.suites)-1 {
			hint := "set cipher_suite_id to 3 if the BMC cannot be updated"
			if su.id == suite3.id {
				hint = "set cipher_suite_id to 17, or turn on cipher suite 3 or 17 on the BMC"
			}
			return nil, fault.New(fault.Invalid, "The BMC does not support cipher suite %d: %s.", su.id, hint)
		}
	}
	return nil, fault.New(fault.Internal, "No cipher suite to try.")
}

// settings are the parameters, read and checked.
type settings struct {
	address string
	suites  []suite // in the order to try
	boot    string
	credentials
}

func (s settings) efi(machine bool) bool {
	switch s.boot {
	case "efi":
		return true
	case "legacy":
		return false
	}
	return machine
}

// readSettings checks the parameters again: the rack does not rely on the region for it. Kinds: Invalid.
func readSettings(p power.Parameters) (settings, error) {
	bad := fault.Fields{}
	s := settings{boot: p.Get("power_boot_type")}
	s.user, s.password = p.Get("power_user"), p.Get("power_pass")
	var err error
	if s.address, err = hostPort(p.Get("power_address")); err != nil {
		bad.AddErr("power_address", err)
	}
	if len(s.user) > maxUser {
		bad.Add("power_user", "IPMI allows at most %d bytes.", maxUser)
	}
	if len(s.password) > maxPassword {
		bad.Add("power_pass", "IPMI allows at most %d bytes.", maxPassword)
	}
	switch id := p.Get("cipher_suite_id"); id {
	case "17":
		s.suites = []suite{suite17}
	case "3":
		s.suites = []suite{suite3}
	case "", "auto":
		s.suites = []suite{suite17, suite3}
	default:
		bad.Add("cipher_suite_id", "Only 17 and 3 are supported.")
	}
	switch level := p.Get("privilege_level"); level {
	case "USER":
		s.privilege = 2
	case "", "OPERATOR":
		s.privilege = 3
	case "ADMIN":
		s.privilege = 4
	default:
		bad.Add("privilege_level", "Choose USER, OPERATOR or ADMIN.")
	}
	if kg := p.Get("k_g"); kg != "" {
		s.kg = []byte(kg)
		if digits, isHex := strings.CutPrefix(kg, "0x"); isHex { // as FreeIPMI writes it
			if s.kg, err = hex.DecodeString(digits); err != nil {
				bad.Add("k_g", "After 0x only pairs of hexadecimal digits are allowed.")
			}
		}
		if len(s.kg) > maxKg {
			bad.Add("k_g", "IPMI allows at most %d bytes.", maxKg)
		}
	}
	return s, bad.Err()
}

// hostPort adds the default port to an address that has none.
func hostPort(a string) (string, error) {
	a = strings.TrimSpace(a)
	if ip, err := netip.ParseAddr(strings.Trim(a, "[]")); err == nil {
		return net.JoinHostPort(ip.String(), strconv.Itoa(defaultPort)), nil
	}
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		host, port = a, strconv.Itoa(defaultPort)
	}
	n, perr := strconv.ParseUint(port, 10, 16)
	if _, err := netip.ParseAddr(host); (err != nil && !metal.ValidHostname(host)) || perr != nil || n == 0 {
		return "", fault.New(fault.Invalid, "Not an IP address or host name, with an optional :port.")
	}
	return net.JoinHostPort(host, port), nil
}
