package metal

import (
	"crypto/rand"
	"encoding/base32"
	"net"
	"regexp"
	"strings"

	"github.com/metalward/metalward/internal/fault"
)

// MAC is a 48-bit hardware address in lower case with colons, such as "52:54:00:00:00:01".
type MAC string

// String returns the address.
func (m MAC) String() string { return string(m) }

// ParseMAC reads a 48-bit hardware address in any of the usual notations. Kinds: Invalid without a field;
// the caller knows its name. Multicast and all-zero addresses are refused: no interface has one.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(strings.TrimSpace(s))
	if err != nil || len(hw) != 6 {
		return "", fault.New(fault.Invalid, "%q is not a valid MAC address; write it as 52:54:00:12:34:56.", clip(s))
	}
	if hw[0]&1 == 1 || hw.String() == "00:00:00:00:00:00" {
		return "", fault.New(fault.Invalid, "%q cannot be the address of an interface.", clip(s))
	}
	return MAC(hw.String()), nil
}

// clip bounds how much of a bad value an error message repeats.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

var hostnameRE = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)

// ValidHostname reports whether s is a host name by RFC 1123 section 2.1, at most 253 bytes.
func ValidHostname(s string) bool { return len(s) <= 253 && hostnameRE.MatchString(s) }

var nameRE = regexp.MustCompile(`^[\pL\pN]([\pL\pN ._-]{0,254}[\pL\pN])?$`)

// ValidName reports whether s can name a pool, zone, fabric or subnet.
func ValidName(s string) bool { return nameRE.MatchString(s) }

var idEncoding = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)

// NewSystemID returns a random system id of 16 characters and 80 random bits: it cannot be guessed, though
// nothing relies on that (security requirement 24).
func NewSystemID() string {
	b := make([]byte, 10)
	_, _ = rand.Read(b)
	return idEncoding.EncodeToString(b)
}

// ValidSystemID reports whether s has the form of a system id.
func ValidSystemID(s string) bool {
	if len(s) != 16 {
		return false
	}
	_, err := idEncoding.DecodeString(s)
	return err == nil
}
