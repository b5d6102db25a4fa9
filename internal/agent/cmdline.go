package agent

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/secret"
	"github.com/metalward/metalward/internal/wire"
)

// maxCommandLine is above COMMAND_LINE_SIZE of every architecture (amd64: 2048).
const maxCommandLine = 4096

// Arguments is what the kernel command line says: all that the agent believes from the start.
type Arguments struct {
	Rack  netip.AddrPort    // of the rack's HTTPS
	CA    [sha256.Size]byte // of the rack's metadata CA certificate, DER
	Token secret.Value      // spent by the first request
	MAC   metal.MAC         // of the interface that the firmware booted from
}

var tokenRE = regexp.MustCompile(`^[A-Za-z0-9_-]{16,256}$`)

// ParseCommandLine reads the agent's arguments. Each must be there exactly once: of two, one is not ours.
// Everything else on the line is the kernel's business.
func ParseCommandLine(line string) (Arguments, error) {
	var a Arguments
	if len(line) > maxCommandLine {
		return a, fmt.Errorf("cannot use a kernel command line of %d bytes, the limit is %d", len(line), maxCommandLine)
	}
	values := map[string]string{}
	for _, word := range strings.Fields(line) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case wire.ArgRack, wire.ArgCA, wire.ArgToken, wire.ArgBootMAC:
		default:
			continue
		}
		if _, double := values[name]; double {
			return a, fmt.Errorf("cannot use the kernel command line: %s is there twice", name)
		}
		values[name] = value
	}
	var missing []string
	for _, name := range []string{wire.ArgRack, wire.ArgCA, wire.ArgToken, wire.ArgBootMAC} {
		if values[name] == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return a, fmt.Errorf("cannot use the kernel command line: %s missing; was the machine booted by a Metalward rack?", strings.Join(missing, ", "))
	}
	var err error
	if a.Rack, err = parseRack(values[wire.ArgRack]); err != nil {
		return a, fmt.Errorf("cannot use %s: %w", wire.ArgRack, err)
	}
	sum, err := hex.DecodeString(values[wire.ArgCA])
	if err != nil || len(sum) != len(a.CA) {
		return a, fmt.Errorf("cannot use %s: want 64 hexadecimal digits", wire.ArgCA)
	}
	copy(a.CA[:], sum)
	if !tokenRE.MatchString(values[wire.ArgToken]) {
		return a, fmt.Errorf("cannot use %s: want 16 to 256 letters, digits, '-' or '_'", wire.ArgToken)
	}
	a.Token = secret.FromString(values[wire.ArgToken])
	// PXELINUX puts the ARP hardware type in front, 01 for Ethernet.
	hw, ok := strings.CutPrefix(values[wire.ArgBootMAC], "01-")
	if !ok {
		return a, fmt.Errorf("cannot use %s: want 01- and the address, such as 01-52-54-00-00-00-01", wire.ArgBootMAC)
	}
	if a.MAC, err = metal.ParseMAC(hw); err != nil {
		return a, fmt.Errorf("cannot use %s: %w", wire.ArgBootMAC, err)
	}
	return a, nil
}

// parseRack wants https://ADDRESS:PORT. Names are refused: there is no resolver that could be believed.
func parseRack(s string) (netip.AddrPort, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return netip.AddrPort{}, errors.New("want a URL such as https://10.0.0.2:5246")
	}
	at, err := netip.ParseAddrPort(u.Host)
	if err != nil || at.Port() == 0 || at.Addr().IsUnspecified() || at.Addr().Zone() != "" {
		return netip.AddrPort{}, errors.New("want the rack as IP address and port, such as https://10.0.0.2:5246")
	}
	return at, nil
}
