package logs

import "strings"

// envelope strips what syslog, journald and viewers put around a message, and has the message read.
func (p *Parser) envelope(line string, r *Record) {
	switch c := line[0]; {
	case c == '<':
		p.rfc(line, r)
	case c == '{':
		p.json(line, r)
	case c == '[':
		p.bracket(line, r)
	case c >= '0' && c <= '9':
		p.dated(line, r)
	case c >= 'A' && c <= 'Z':
		if t, n := p.bsd(line); n > 0 && n < len(line) && line[n] == ' ' {
			r.Time = t
			p.hosted(line[n+1:], r)
			return
		}
		p.bare(line, r)
	default:
		p.bare(line, r)
	}
}

// dated reads lines that begin with a digit: ISO syslog, MAAS's own stamps, error logs of nginx, access logs.
func (p *Parser) dated(line string, r *Record) {
	if t, n := p.iso(line); n > 0 {
		r.Time = t
		rest := line[n:]
		// "2026-11-07 06:13:45 regiond: [info] …" of MAAS; the program comes right after.
		if line[10] == ' ' {
			r.Program, r.Message = cutProgram(strings.TrimLeft(rest, " "), r)
			if r.Program == "regiond" || r.Program == "rackd" {
				p.dispatch(r)
				return
			}
			r.Kind = Other
			return
		}
		p.hosted(strings.TrimLeft(rest, " "), r)
		return
	}
	if len(line) > 20 && line[4] == '/' && line[7] == '/' && line[10] == ' ' {
		if p.webError(line, r) {
			return
		}
	}
	if p.access(line, r) || p.haproxy(line, r) {
		return
	}
	p.bare(line, r)
}

// hosted reads "host prog[123]: MSG", "prog[123]: MSG" and "[regiond] 2026-… regiond: …" behind a stamp.
func (p *Parser) hosted(s string, r *Record) {
	if strings.HasPrefix(s, "[regiond] ") || strings.HasPrefix(s, "[rackd] ") {
		inner := s[strings.IndexByte(s, ' ')+1:]
		if t, n := p.iso(inner); n > 0 {
			r.Time = t
			inner = strings.TrimLeft(inner[n:], " ")
		}
		r.Program, r.Message = cutProgram(inner, r)
		p.dispatch(r)
		return
	}
	// The host's name has no colon or bracket at its end; the program's has one of them.
	s = strings.TrimLeft(s, " ")
	sp := strings.IndexByte(s, ' ')
	if sp < 1 {
		r.Kind, r.Message = Unknown, s
		return
	}
	first := s[:sp]
	if !strings.HasSuffix(first, ":") && !(first[0] == '[' && first[len(first)-1] == ']') {
		rest := strings.TrimLeft(s[sp+1:], " ")
		if prog, msg := cutProgram(rest, r); prog != "" {
			r.Host, r.Program, r.Message = first, prog, msg
			p.dispatch(r)
			return
		}
		// No program: a packet that a device sent, "host [UFW BLOCK] IN=…".
		r.Host, r.Message = first, rest
		if packetLine(rest) {
			p.kernel(r)
			return
		}
		if strings.HasPrefix(rest, "blocked ") && p.prose(rest, r) || p.access(rest, r) {
			return
		}
		r.Kind = Other
		return
	}
	prog, msg := cutProgram(s, r)
	if prog == "" {
		r.Kind, r.Message = Unknown, s
		return
	}
	r.Program, r.Message = prog, msg
	p.dispatch(r)
}

// cutProgram splits "prog[123]: MSG", "prog: MSG", "[prog]: MSG" and "[prog] MSG". Names of programs are short and have no blanks: what does not look
// like one gives none.
func cutProgram(s string, r *Record) (prog, msg string) {
	const longest = 64
	if s == "" {
		return "", ""
	}
	if s[0] == '[' {
		end := strings.IndexByte(s[:min(len(s), longest)], ']')
		if end < 2 || strings.IndexByte(s[:end], ' ') >= 0 {
			return "", ""
		}
		rest := strings.TrimPrefix(s[end+1:], ":")
		return s[1:end], strings.TrimLeft(rest, " ")
	}
	for i := 0; i < len(s) && i < longest; i++ {
		switch s[i] {
		case ' ', '=', '"':
			return "", ""
		case ':':
			if i == 0 || i+1 < len(s) && s[i+1] != ' ' {
				continue // "service:unit" or an address
			}
			return s[:i], strings.TrimLeft(s[i+1:], " ")
		case '[':
			d := digits(s[i+1:])
			end := i + 1 + d
			if i == 0 || d == 0 || end >= len(s) || s[end] != ']' {
				return "", ""
			}
			if n, ok := number(s[i+1 : end]); ok {
				r.PID = uint32(n)
			}
			rest, ok := strings.CutPrefix(s[end+1:], ":")
			if !ok {
				return "", ""
			}
			return s[:i], strings.TrimLeft(rest, " ")
		}
	}
	return "", ""
}

// rfc reads "<38>1 2026-… host prog 123 - [sd] MSG" of RFC 5424 and "<38>Nov  7 …" of RFC 3164.
func (p *Parser) rfc(line string, r *Record) {
	end := strings.IndexByte(line[:min(len(line), 6)], '>')
	if end < 2 || digits(line[1:end]) != end-1 {
		r.Kind, r.Message = Unknown, line
		return
	}
	rest := line[end+1:]
	if !strings.HasPrefix(rest, "1 ") {
		if rest == "" || rest[0] == '<' {
			r.Kind, r.Message = Unknown, line
			return
		}
		p.envelope(rest, r)
		return
	}
	rest = rest[2:]
	var field [5]string // stamp, host, program, pid, message id
	for i := range field {
		sp := strings.IndexByte(rest, ' ')
		if sp < 0 {
			r.Kind, r.Message = Unknown, line
			return
		}
		field[i], rest = rest[:sp], rest[sp+1:]
	}
	r.Time, _ = p.iso(field[0])
	if field[1] != "-" {
		r.Host = field[1]
	}
	r.Program = field[2]
	if n, ok := number(field[3]); ok {
		r.PID = uint32(n)
	}
	r.Message = strings.TrimPrefix(strings.TrimLeft(structured(rest), " "), "\ufeff")
	p.dispatch(r)
}

// structured skips the structured data of RFC 5424: "-" or elements in brackets, in whose quoted values a backslash escapes.
func structured(s string) string {
	if strings.HasPrefix(s, "-") {
		return s[1:]
	}
	for strings.HasPrefix(s, "[") {
		quoted, i := false, 1
		for ; i < len(s); i++ {
			c := s[i]
			if quoted && c == '\\' {
				i++
			} else if c == '"' {
				quoted = !quoted
			} else if c == ']' && !quoted {
				break
			}
		}
		if i >= len(s) {
			return ""
		}
		s = s[i+1:]
	}
	return s
}

// bracket reads lines that begin with a bracket: the kernel's ring buffer, error logs of Apache, "[sshd]: …".
func (p *Parser) bracket(line string, r *Record) {
	end := strings.IndexByte(line, ']')
	if end < 0 {
		r.Kind, r.Message = Unknown, line
		return
	}
	if inner := strings.TrimLeft(line[1:end], " "); inner != "" && inner[0] >= '0' && inner[0] <= '9' && strings.IndexByte(inner, '.') > 0 &&
		digits(inner) == strings.IndexByte(inner, '.') && end+2 <= len(line) {
		r.Program, r.Message = "kernel", strings.TrimLeft(line[end+1:], " ") // no wall clock: Time stays 0
		p.dispatch(r)
		return
	}
	if p.webError(line, r) || p.access(line, r) {
		return
	}
	p.bare(line, r)
}

// bare reads lines without a stamp: "host sshd[12]: …" as journalctl's cat writes, packets, requests behind a virtual host's name.
func (p *Parser) bare(line string, r *Record) {
	if prog, msg := cutProgram(line, r); prog != "" {
		r.Program, r.Message = prog, msg
		p.dispatch(r)
		if r.Kind != Other {
			return
		}
	}
	if sp := strings.IndexByte(line, ' '); sp > 0 && r.Program == "" {
		if prog, msg := cutProgram(line[sp+1:], r); prog != "" && strings.IndexByte(line[:sp], '"') < 0 {
			r.Host, r.Program, r.Message = line[:sp], prog, msg
			p.dispatch(r)
			if r.Kind != Other {
				return
			}
		}
	}
	if packetLine(line) {
		r.Message = line
		p.kernel(r)
		return
	}
	if strings.HasPrefix(line, "blocked ") && p.prose(line, r) {
		r.Message = line
		return
	}
	if p.access(line, r) {
		return
	}
	if r.Program == "" {
		r.Kind, r.Message = Unknown, line
	}
}
