package detect

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/inspect"
	"github.com/metalward/metalward/internal/logs"
)

// Field names a part of an event. Units and site units use the same names.
type Field uint8

// The fields.
const (
	NoField   Field = iota
	Kind            // firewall, web, maas, ssh, …
	Outcome         // failure, success, probe
	Source          // who is to blame: the client's address; IPv6 by its /64
	Net             // the source's neighbourhood: /24, or /48 of IPv6
	Dest            // a packet's destination
	Port            // a packet's destination port
	Service         // protocol and port of a packet's destination
	Sport           // a packet's source port
	Host            // the machine that wrote the line
	User            //
	Method          //
	Path            // of a request, without its query, as servers understand it
	Target          // of a request
	Status          //
	Vhost           //
	Referrer        //
	Agent           //
	EventName       // of a security event or an error line
	Action          // of Metalward's events
	Inbound         // interface a packet came by
	Outbound        // interface a packet left by
	Program         //
	Message         //
	AttackIs        // kinds of attack in a request, see package inspect
	Flag            // what is derived: probe, flagscan, outbound, spoofed, required, tool, service, blocked, static, login, metadata, machine, …
)

var fieldNames = [...]string{"", "kind", "outcome", "source", "net", "dest", "port", "service", "sport", "host", "user", "method", "path", "target", "status", "vhost",
	"referrer", "agent", "event", "action", "in", "out", "program", "message", "attack", "flag"}

// String is the field's name.
func (f Field) String() string {
	if int(f) < len(fieldNames) {
		return fieldNames[f]
	}
	return ""
}

// FieldNamed is the field of a name.
func FieldNamed(name string) (Field, bool) {
	for i, n := range fieldNames {
		if i > 0 && n == name {
			return Field(i), true
		}
	}
	return NoField, false
}

// Flags are what is derived from a record and the site.
type Flags uint32

// The flags.
const (
	Blocked        Flags = 1 << iota // the packet was refused
	Allowed                          // the packet went through
	ProbePacket                      // begins a connection, or is a datagram, and no answer
	FlagScan                         // a TCP packet with flags that no connection has
	OutboundPacket                   // of this host or of inside, on its way out
	SpoofedSource                    // a source that cannot be where it came from
	Required                         // to a port that MAAS or Metalward needs
	Tool                             // to a port of a known tool, which no service here uses
	Attacked                         // to a port of a service that is often attacked
	Group                            // multicast or broadcast
	Static                           // a file: picture, style, script
	LoginPage                        // of a login form
	LoginTry                         // a login
	MachineCall                      // what machines and racks ask for in the ordinary course
	MAASLogin                        // a login endpoint of MAAS
	MissingPage                      // a request refused or not found
	InsideSource                     // from a network of the site
	ClientUnknown                    // behind a trusted proxy that did not say for whom
	Metadata                         // the metadata service
)

var flagNames = []string{"blocked", "allowed", "probe", "flagscan", "outbound", "spoofed", "required", "tool", "attacked", "group", "static", "login_page", "login_try",
	"machine_call", "maas_login", "missing", "inside", "client_unknown", "metadata"}

// FlagNamed is the flag of a name.
func FlagNamed(name string) (Flags, bool) {
	for i, n := range flagNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// An Event is a record with what is derived from it.
type Event struct {
	*logs.Record
	Client netip.Addr // the other end, beyond trusted proxies; invalid when it is not known
	Flags  Flags
	Attack inspect.Attack
	Path   string
}

// text gives a field's text; numbers are written out.
func (e *Event) text(f Field) string {
	switch f {
	case Kind:
		return e.Record.Kind.String()
	case Outcome:
		return e.Record.Outcome.String()
	case Source:
		switch {
		case e.Client.Is4():
			return e.Client.String()
		case e.Client.IsValid():
			return group(e.Client).String()
		}
		return e.SourceName
	case Net:
		return net(e.Client).String()
	case Dest:
		if e.Record.Dest.IsValid() {
			return e.Record.Dest.String()
		}
		return ""
	case Port:
		return strconv.Itoa(int(e.Dport))
	case Service:
		return protocolName(e.Proto) + "/" + strconv.Itoa(int(e.Dport))
	case Sport:
		return strconv.Itoa(int(e.Record.Sport))
	case Host:
		return e.Record.Host
	case User:
		return e.Record.User
	case Method:
		return e.Record.Method
	case Path:
		return e.Path
	case Target:
		return e.Record.Target
	case Status:
		return strconv.Itoa(e.Record.Status)
	case Vhost:
		return e.Record.Vhost
	case Referrer:
		return e.Record.Referrer
	case Agent:
		return e.Record.Agent
	case EventName:
		return e.Record.Event
	case Action:
		return e.Record.Prefix
	case Inbound:
		return e.In
	case Outbound:
		return e.Out
	case Program:
		return e.Record.Program
	case Message:
		return e.Record.Message
	case AttackIs:
		return e.Attack.String()
	case Flag:
		var names []string
		for i, n := range flagNames {
			if e.Flags&(1<<i) != 0 {
				names = append(names, n)
			}
		}
		return strings.Join(names, " ")
	}
	return ""
}

func protocolName(p uint8) string {
	switch p {
	case logs.TCP:
		return "tcp"
	case logs.UDP:
		return "udp"
	case logs.SCTP:
		return "sctp"
	case logs.ICMP, logs.ICMPv6:
		return "icmp"
	}
	return "proto " + strconv.Itoa(int(p))
}

// group is whom an address stands for: itself, or the /64 of IPv6, which is one customer's at least.
func group(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}

// net is an address's neighbourhood.
func net(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, _ := a.Prefix(bits)
	return p
}

// hash mixes a field into a key. Keys are told apart by 64 bits, with a seed that an attacker does not know.
func (e *Event) hash(f Field, h uint64) uint64 {
	switch f {
	case Kind:
		return mix(h, uint64(e.Record.Kind))
	case Source:
		if e.Client.IsValid() {
			return addr(h, e.Client, 64)
		}
		return str(h, e.SourceName)
	case Net:
		if e.Client.Is4() {
			b := e.Client.As4()
			return mix(h, uint64(b[0])<<16|uint64(b[1])<<8|uint64(b[2]))
		}
		return addr(h, e.Client, 48)
	case Dest:
		return addr(h, e.Record.Dest, 128)
	case Port:
		return mix(h, uint64(e.Dport))
	case Service:
		return mix(h, uint64(e.Proto)<<16|uint64(e.Dport))
	case Sport:
		return mix(h, uint64(e.Record.Sport))
	case Status:
		return mix(h, uint64(e.Record.Status))
	case AttackIs:
		return mix(h, uint64(e.Attack))
	case Flag:
		return mix(h, uint64(e.Flags))
	case Outcome:
		return mix(h, uint64(e.Record.Outcome))
	}
	return str(h, e.text(f))
}

func addr(h uint64, a netip.Addr, bits int) uint64 {
	if a.Is4() {
		b := a.As4()
		return mix(h, uint64(b[0])<<24|uint64(b[1])<<16|uint64(b[2])<<8|uint64(b[3])|1<<40)
	}
	b := a.As16()
	var hi, lo uint64
	for i := range 8 {
		hi = hi<<8 | uint64(b[i])
		lo = lo<<8 | uint64(b[i+8])
	}
	if bits < 64 {
		hi &^= 1<<(64-bits) - 1
	}
	h = mix(h, hi)
	if bits > 64 {
		h = mix(h, lo)
	}
	return h
}

// mix is one round of a multiplicative hash (the constants are those of splitmix64, S. Vigna).
func mix(h, v uint64) uint64 {
	h ^= v + 0x9e3779b97f4a7c15 + h<<6 + h>>2
	h *= 0xbf58476d1ce4e5b9
	return h ^ h>>31
}

func str(h uint64, s string) uint64 {
	for len(s) >= 8 {
		v := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		h = mix(h, v)
		s = s[8:]
	}
	v := uint64(len(s)) << 56
	for i := 0; i < len(s); i++ {
		v |= uint64(s[i]) << (8 * i)
	}
	return mix(h, v)
}
