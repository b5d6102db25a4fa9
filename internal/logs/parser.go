package logs

import (
	"net/netip"
	"strings"
	"time"
)

// A Parser reads the lines of one source in their order. It remembers what lines of a source share: the year of stamps without one, and which
// connection an sshd line without an address belongs to. It is used by one goroutine.
type Parser struct {
	zone *time.Location

	years  struct{ now, month int }
	offset struct{ from, until, east int64 }
	ssh    joins
	trace  traces
	order  order

	// Sent says, when its From is set, who sent the lines over a network, and when they came. Then records are of that host and time, whatever the line says of
	// both: a host may say nothing in another's name.
	Sent Sent
}

// NewParser begins a source. Stamps without a zone are in zone, those without a year are of the given year.
func NewParser(zone *time.Location, year int) *Parser {
	p := &Parser{zone: zone}
	p.years.now = year
	return p
}

// Sent is a line that came over a network: by whom and when, as this host saw it.
type Sent struct {
	From netip.Addr
	At   time.Time
	Text string
}

// stamp makes a record its sender's.
func (s *Sent) stamp(r *Record) {
	if s.From.IsValid() {
		r.Host, r.Time = s.From.String(), s.At.UnixMicro()
	}
}

// SetYear says when the next stamp without a year is, so that it is of that year where the stamps are.
func (p *Parser) SetYear(at time.Time) {
	if p.zone == nil {
		at = at.UTC()
	} else {
		at = at.In(p.zone)
	}
	p.years.now, p.years.month = at.Year(), 0
}

// Parse reads one line, without its newline, into r. The strings of r are pieces of line.
func (p *Parser) Parse(line string, r *Record) {
	r.reset()
	if len(line) > MaxLine {
		line, r.Cut = line[:MaxLine], true
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" || line[0] == '\t' || line[0] == ' ' { // the continuation of a traceback or of a record over several lines
		r.Kind = Other
		r.Message = line
		return
	}
	p.envelope(line, r)
	p.Sent.stamp(r)
}

// dispatch reads the message of a line whose program is known. The program decides: text that an attacker brought into another program's line is
// never read as sshd's or the kernel's.
func (p *Parser) dispatch(r *Record) {
	p.Sent.stamp(r)
	if n, inner, ok := repeated(r.Message); ok {
		r.Count, r.Message = n, inner
	}
	name := r.Program
	if i := strings.IndexByte(name, '('); i > 0 { // sshd(pam_unix)
		name = name[:i]
	}
	switch name {
	case "sshd", "sshd-session", "sshd-auth":
		p.sshd(r)
	case "kernel", "ufw", "ulogd":
		p.kernel(r)
	case "nginx", "httpd", "apache", "apache2", "maas-http", "maas_nginx", "traefik", "caddy":
		if !p.access(r.Message, r) && !p.webError(r.Message, r) {
			r.Kind, r.Malformed = WebError, true
		}
	case "haproxy":
		p.haproxy(r.Message, r)
	case "regiond", "maas-regiond", "maas.regiond", "rackd", "maas-rackd", "maas-apiserver", "apiserver", "metalward":
		p.maas(r)
	case "systemd-journald", "journald":
		p.gap(r)
	case "rsyslogd":
		p.gap(r)
	default:
		r.Kind = Other
		if packetLine(r.Message) { // a device's own name, or the rule's: "DROP: IN=…"
			p.kernel(r)
			if r.Kind == Firewall && r.Prefix == "" {
				r.Prefix = r.Program
				p.verdict(r)
			}
		}
	}
}

// repeated unfolds rsyslog's "message repeated 5 times: [ … ]".
func repeated(s string) (int, string, bool) {
	const head = "message repeated "
	if !strings.HasPrefix(s, head) {
		return 0, "", false
	}
	s = s[len(head):]
	n, i := 0, 0
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		if n = n*10 + int(s[i]-'0'); n > MaxRepeat {
			n = MaxRepeat
		}
	}
	rest, ok := strings.CutPrefix(s[i:], " times: [")
	if !ok || n < 1 {
		return 0, "", false
	}
	return n, strings.TrimSuffix(strings.TrimPrefix(rest, " "), "]"), true
}

// gap recognises that lines are missing.
func (p *Parser) gap(r *Record) {
	r.Kind = Other
	if strings.HasPrefix(r.Message, "Suppressed ") || strings.Contains(r.Message, "messages lost due to rate-limiting") ||
		strings.HasPrefix(r.Message, "Missed ") {
		r.Kind = Gap
	}
}

// address reads an address as logs write it: IPv4 mapped into IPv6 as IPv4, without a zone index, in brackets or not. Octal-looking text is refused.
func address(s string) (netip.Addr, bool) {
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		s = s[1 : len(s)-1]
	}
	if len(s) < 2 || len(s) > 64 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, false
	}
	return a.Unmap().WithZone(""), true
}

// blame sets who is the other end.
func (r *Record) blame(s string) {
	r.SourceName = s
	if a, ok := address(s); ok {
		r.Source = a
	}
}

// number reads a decimal number of at most ten digits; what is more, or is none, gives false.
func number(s string) (uint64, bool) {
	if s == "" || len(s) > 10 {
		return 0, false
	}
	var n uint64
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	return n, true
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
