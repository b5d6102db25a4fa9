package metal

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/fault"
)

// PowerState is what a BMC last said. Source: MAAS API 2.0, power_state.
type PowerState string

// The power states.
const (
	PowerOn      PowerState = "on"
	PowerOff     PowerState = "off"
	PowerUnknown PowerState = "unknown"
	PowerError   PowerState = "error"
)

// PowerAction is a command to a power driver.
type PowerAction string

// The power actions. Cycle turns a machine that is off on, so that "boot now" never fails on a dark machine.
const (
	ActionOn    PowerAction = "on"
	ActionOff   PowerAction = "off"
	ActionCycle PowerAction = "cycle"
	ActionQuery PowerAction = "query"
)

// BootDevice is where the next boot comes from.
type BootDevice string

// The boot devices. Keep leaves the firmware's own order.
const (
	BootKeep    BootDevice = ""
	BootNetwork BootDevice = "pxe"
	BootDisk    BootDevice = "disk"
)

// PowerParameters are a driver's settings by name, secret ones included: they exist in this form only on
// their way into the store, which seals them, and to the rack that uses them.
type PowerParameters map[string]string

// PowerField describes one parameter of a power type.
type PowerField struct {
	Name, Label string
	Type        string // string, mac_address, choice, password: MAAS's field_type
	Required    bool
	Secret      bool
	Default     string
	Choices     [][2]string // value, label
}

// PowerType describes a power driver's settings: validation, describe_power_types and forms derive from it.
type PowerType struct {
	Name, Description string
	Queryable         bool
	Rotates           bool // its BMCs' accounts can be rotated
	Fields            []PowerField
}

// PowerTypes lists the power types that Metalward has a driver for. Names and parameters are MAAS's.
var PowerTypes = []PowerType{
	{Name: "ipmi", Description: "IPMI", Queryable: true, Rotates: true, Fields: []PowerField{
		{Name: "power_address", Label: "IP address", Type: "string", Required: true},
		{Name: "power_user", Label: "Power user", Type: "string"},
		{Name: "power_pass", Label: "Power password", Type: "password", Secret: true},
		{Name: "k_g", Label: "K_g BMC key", Type: "password", Secret: true},
		{Name: "power_driver", Label: "Power driver", Type: "choice", Default: "LAN_2_0", Choices: [][2]string{{"LAN_2_0", "LAN_2_0 [IPMI 2.0]"}}},
		{Name: "power_boot_type", Label: "Power boot type", Type: "choice", Default: "auto",
			Choices: [][2]string{{"auto", "Automatic"}, {"legacy", "Legacy boot"}, {"efi", "EFI boot"}}},
		{Name: "cipher_suite_id", Label: "Cipher suite ID", Type: "choice", Default: "17",
			Choices: [][2]string{{"17", "17 - HMAC-SHA256::HMAC_SHA256_128::AES-CBC-128"}, {"3", "3 - HMAC-SHA1::HMAC-SHA1-96::AES-CBC-128"},
				{"auto", "Automatic: 17, or 3 where the BMC has no 17"}}},
		{Name: "privilege_level", Label: "Privilege level", Type: "choice", Default: "OPERATOR",
			Choices: [][2]string{{"OPERATOR", "Operator"}, {"ADMIN", "Administrator"}, {"USER", "User"}}},
		{Name: "mac_address", Label: "Power MAC", Type: "mac_address"},
	}},
	{Name: "manual", Description: "Manual"},
}

// FindPowerType returns the power type of a name.
func FindPowerType(name string) (PowerType, bool) {
	i := slices.IndexFunc(PowerTypes, func(t PowerType) bool { return t.Name == name })
	if i < 0 {
		return PowerType{}, false
	}
	return PowerTypes[i], true
}

// Validate checks parameters against the type and fills in defaults. Kinds: Invalid, with one field
// "power_parameters_NAME" per complaint. With partial set, absent required parameters are not complained
// about: a BMC found at enlistment is completed later.
func (t PowerType) Validate(p PowerParameters, partial bool) (PowerParameters, error) {
	bad, out := fault.Fields{}, PowerParameters{}
	for name := range p {
		if !slices.ContainsFunc(t.Fields, func(f PowerField) bool { return f.Name == name }) {
			bad.Add("power_parameters_"+name, "Power type %q has no such parameter.", t.Name)
		}
	}
	for _, f := range t.Fields {
		v, key := strings.TrimSpace(p[f.Name]), "power_parameters_"+f.Name
		if f.Secret {
			v = p[f.Name] // a password keeps its blanks
		}
		if v == "" {
			v = f.Default
		}
		switch {
		case v == "" && f.Required && !partial:
			bad.Add(key, "This field is required.")
		case v == "":
		case len(v) > 1024:
			bad.Add(key, "Longer than 1024 bytes.")
		case f.Type == "choice" && !slices.ContainsFunc(f.Choices, func(c [2]string) bool { return c[0] == v }):
			bad.Add(key, "%q is not one of the choices: %s.", v, choiceList(f.Choices))
		case f.Type == "mac_address":
			mac, err := ParseMAC(v)
			bad.AddErr(key, err)
			v = mac.String()
		}
		if v != "" {
			out[f.Name] = v
		}
	}
	if a := out["power_address"]; a != "" && t.Name == "ipmi" && !validHost(a) {
		bad.Add("power_parameters_power_address", "%q is not an IP address or host name, with an optional :port.", a)
	}
	return out, bad.Err()
}

// Secrets returns the names of the secret parameters.
func (t PowerType) Secrets() []string {
	var names []string
	for _, f := range t.Fields {
		if f.Secret {
			names = append(names, f.Name)
		}
	}
	return names
}

func choiceList(c [][2]string) string {
	var v []string
	for _, e := range c {
		v = append(v, e[0])
	}
	return strings.Join(v, ", ")
}

func validHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Port() != 0
	}
	host, _, _ := strings.Cut(s, ":")
	return ValidHostname(host)
}
