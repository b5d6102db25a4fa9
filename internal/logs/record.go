// Package logs turns lines of logs into records with named fields: what was said, by which program, about whom. It strips the wrapping that syslog,
// journald and log viewers put around a line, and understands the lines of packet filters, web servers, balancers, MAAS, Metalward and sshd. It is
// pure: no files, no clock, no network. Every line is an attacker's text: parsing is linear, bounded and never panics, and names of programs, which the
// attacker does not write, decide how the rest is read.
//
// The formats are those of the reference of detections (sections 1 to 5), and of the manuals that each file of this package names.
package logs

import "net/netip"

// Limits of what is read of one line. What is longer is cut, and the record says so.
const (
	MaxLine   = 64 << 10 // bytes of a line that are looked at
	MaxRepeat = 10_000   // events that one "message repeated N times" stands for at most: the number is text that anybody can write
)

// Kind says what a record is about.
type Kind uint8

// The kinds of records.
const (
	Unknown  Kind = iota // a line of no known shape: counted and shown
	Other                // a well-formed line that nothing here looks at
	Firewall             // a packet that a filter logged
	Martian              // the kernel's word about an impossible source
	Web                  // a request, of an access log
	WebError             // a line of a web server's error log
	MAAS                 // a request or security event of MAAS or Metalward
	SSH                  // a line of sshd
	Gap                  // a program says that it left lines out
)

var kindNames = [...]string{"unknown", "other", "firewall", "martian", "web", "weberror", "maas", "ssh", "gap"}

// String is the name that site units use.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Outcome says how a login, or a request that is one, ended.
type Outcome uint8

// The outcomes.
const (
	NoOutcome Outcome = iota
	Failure           // refused: one attempt
	Same              // says again what another line of the same attempt said, or will say
	Success           // let in
	Probe             // no login, but abuse of the service: counts apart
	Noise             // of no meaning by itself
)

var outcomeNames = [...]string{"", "failure", "same", "success", "probe", "noise"}

// String is the name that site units use.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return ""
}

// Flags of a TCP header, as bits.
const (
	FlagFIN uint8 = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
	FlagURG
)

// Protocols, by their IP numbers.
const (
	ICMP   = 1
	TCP    = 6
	UDP    = 17
	ICMPv6 = 58
	SCTP   = 132
)

// A Record is what one line says. Strings are pieces of the line: whoever keeps a record longer than the line clones them.
type Record struct {
	Kind      Kind
	Outcome   Outcome
	Again     bool // the same attempt as a line before, which counted: as sshd writes three lines for a password
	Malformed bool // the program is known and the line is not what it writes
	Cut       bool // the line was longer than MaxLine

	Time    int64  // microseconds since 1970, UTC; 0 when the line has none
	Count   int    // events the line stands for: 1, or more of "message repeated"
	Host    string // as the line says
	Program string // who wrote it, as the envelope says; empty when the format has no envelope
	PID     uint32
	Message string // without the envelope

	Source     netip.Addr // who is to blame: the other end; invalid when the line names none
	SourceName string     // the text that Source was read from, also when it is a host name or no address that can be read
	Dest       netip.Addr
	Sport      uint16
	Dport      uint16
	User       string

	// Of a packet.
	In, Out string // interfaces
	Prefix  string // what the rule writes first
	Blocked bool   // by the prefix, or for want of one
	Guessed bool   // Blocked without a word of the rule that says so
	Proto   uint8
	TCP     uint8 // flags
	Type    uint8 // ICMP
	Length  uint32
	ID      uint32
	Inner   bool // an ICMP error: it quotes a packet

	// Of a request.
	Method, Target, Protocol string
	Status                   int
	Size                     int64
	Referrer, Agent          string
	Forwarded                string // X-Forwarded-For, as the line says
	Vhost                    string
	Event                    string // of a security event: AUTHN_login_unsuccessful, …; of an error line: auth, limit, denied
	Trace                    string
}

// reset empties a record for the next line.
func (r *Record) reset() { *r = Record{Count: 1} }
