package logs

import (
	"path"
	"strconv"
	"strings"
)

// access reads a line of an access log: common, combined, with X-Forwarded-For behind, with a virtual host in front (nginx's and Apache's manuals of
// log formats). The request ends at the first quote, not escaped, that a status follows, since attackers put quotes into it.
func (p *Parser) access(s string, r *Record) bool {
	if len(s) > 1 && s[0] == '"' && s[len(s)-1] == '"' { // wrapped in quotes, as some collections are
		s = s[1 : len(s)-1]
	}
	open, after, t := p.accessStamp(s)
	if open < 1 {
		return false
	}
	first, rest, _ := strings.Cut(s[:open], " ")
	if first == "" {
		return false
	}
	req, tail, ok := quotedRequest(s[after:])
	if !ok {
		return false
	}
	// A virtual host may stand in front of the address: "host[:port] 203.0.113.9 - - [", or behind it. Some servers write there what the client called them, which may be
	// an address, too. Then only lines of the same log that had a name in one of the places say which of the two is the client's.
	client := first
	if second, more, found := strings.Cut(rest, " "); found {
		_, one := address(first)
		_, two := address(second)
		order := p.order
		if order == orderUnknown && one != two && first != "unix:" && second != "-" {
			order = clientFirst
			if two {
				order = vhostFirst
			}
			if !p.Sent.From.IsValid() { // else the logs of many hosts are read here, and what one says goes for no other
				p.order = order
			}
		}
		switch {
		case two && order == vhostFirst:
			r.Vhost, client, rest = first, second, more
		case two && order == orderUnknown:
			client = ""
		}
	}
	if _, user, ok := strings.Cut(rest, " "); ok && user != "-" {
		r.User = user
	}
	r.Kind = Web
	if r.Message == "" {
		r.Message = s
	}
	r.Time = t
	r.blame(client)
	p.request(req, r)
	p.tail(tail, r)
	return true
}

// order is where the lines of an access log have the client's address, if another one may stand beside it.
type order uint8

const (
	orderUnknown order = iota
	clientFirst
	vhostFirst
)

// accessStamp finds " [STAMP] "" in a line: where it begins, where the request behind it does, and the time. A user's name, which a client chooses, may hold brackets and
// stamps, and no quote: the servers escape that.
func (p *Parser) accessStamp(s string) (open, request int, t int64) {
	const end = `] "`
	for from := 0; ; {
		i := strings.Index(s[from:], end)
		if i < 0 {
			return -1, 0, 0
		}
		i += from
		if open := from + strings.LastIndex(s[from:i], " ["); open >= from {
			if t, n := p.clf(s[open+2 : i]); n > 0 && open+2+n == i {
				return open, i + len(end), t
			}
		}
		from = i + len(end)
	}
}

// quotedRequest finds the end of the request: the first quote, not escaped, that a status follows. What comes behind is status and size.
func quotedRequest(s string) (req, tail string, ok bool) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\': // nginx writes a quote as \x22, Apache as \", so that none of a client's ends the request
			i++
		case '"':
			if rest := s[i+1:]; len(rest) >= 2 && rest[0] == ' ' && status(rest[1:]) {
				return s[:i], rest[1:], true
			}
		}
	}
	return "", "", false
}

// status says whether a status code stands here: three digits, or "-" and "-1" of what never was answered, and then a blank or the end.
func status(s string) bool {
	if len(s) >= 3 && digits(s[:3]) == 3 {
		return len(s) == 3 || s[3] == ' '
	}
	return strings.HasPrefix(s, "- ") || strings.HasPrefix(s, "-1 ")
}

// request splits "GET /a HTTP/1.1". Blanks within the target stay in it; one word, "-" or nothing are no request but are kept.
func (p *Parser) request(req string, r *Record) {
	sp := strings.IndexByte(req, ' ')
	if sp < 0 {
		if req != "-" {
			r.Target = req
		}
		return
	}
	method := req[:sp]
	for i := 0; i < len(method); i++ {
		if c := method[i]; (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			r.Target = req
			return
		}
	}
	r.Method = method
	rest := req[sp+1:]
	if end := strings.LastIndexByte(rest, ' '); end >= 0 && strings.HasPrefix(rest[end+1:], "HTTP/") {
		r.Protocol = rest[end+1:]
		rest = rest[:end]
	}
	r.Target = rest
}

// Path is the path of a target as servers understand it, so that nobody hides a page by writing its name another way: without the query, percent signs decoded once,
// without dot segments and empty ones.
func Path(target string) string {
	p, _, _ := strings.Cut(target, "?")
	if strings.IndexByte(p, '%') >= 0 {
		b := make([]byte, 0, len(p))
		for i := 0; i < len(p); i++ {
			c := p[i]
			if c == '%' && i+2 < len(p) {
				if n, err := strconv.ParseUint(p[i+1:i+3], 16, 8); err == nil {
					c = byte(n)
					i += 2
				}
			}
			b = append(b, c)
		}
		p = string(b)
	}
	if strings.HasPrefix(p, "/") && (strings.Contains(p, "//") || strings.Contains(p, "/.")) {
		folder := strings.HasSuffix(p, "/")
		if p = path.Clean(p); folder && p != "/" {
			p += "/"
		}
	}
	return p
}

// tail reads status, size, referrer, agent, X-Forwarded-For.
func (p *Parser) tail(s string, r *Record) {
	word, rest, _ := strings.Cut(s, " ")
	if n, ok := number(word); ok {
		r.Status = int(n)
	}
	word, rest, _ = strings.Cut(rest, " ")
	if n, ok := number(word); ok {
		r.Size = int64(n)
	}
	var part [3]string
	for i := range part {
		rest = strings.TrimLeft(rest, " ")
		if rest == "" || rest[0] != '"' {
			break
		}
		end := closing(rest[1:])
		if end < 0 {
			part[i] = rest[1:]
			break
		}
		part[i], rest = rest[1:1+end], rest[end+2:]
	}
	r.Referrer, r.Agent, r.Forwarded = dash(part[0]), dash(part[1]), dash(part[2])
}

// closing finds the quote that ends a value: one that a blank or the line's end follows and no backslash precedes.
func closing(s string) int {
	for from := 0; ; {
		i := strings.IndexByte(s[from:], '"')
		if i < 0 {
			break
		}
		i += from
		escapes := 0
		for escapes < i && s[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 && (i+1 == len(s) || s[i+1] == ' ') {
			return i
		}
		from = i + 1
	}
	return -1
}

func dash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// webError reads error logs of nginx and Apache 2.2 and 2.4. Only what says who was refused, limited or malformed is an event.
func (p *Parser) webError(s string, r *Record) bool {
	if host, rest, ok := strings.Cut(s, " nginx: "); ok && strings.IndexByte(host, ' ') < 0 { // nginx's own header of syslog, as the journal keeps it
		s = rest
	}
	switch {
	case len(s) > 20 && s[4] == '/' && s[7] == '/':
		return p.nginxError(s, r)
	case len(s) > 27 && s[0] == '[' && p.apacheError(s, r):
		return true
	}
	// Some wrappings take nginx's stamp away and leave "[error] 2035#2035: *9134 MSG". What does not begin so is no error of nginx's, whatever stands in it.
	if body, ok := nginxLevel(s); ok {
		r.Kind = WebError
		p.nginxBody(body, r)
		return true
	}
	return false
}

// nginxLevel takes "[error] 2035#2035: " off a line.
func nginxLevel(s string) (body string, ok bool) {
	level, rest, ok := strings.Cut(s, "] ")
	if !ok || len(level) > len("[notice") || len(level) < 2 || level[0] != '[' {
		return "", false
	}
	for i := 1; i < len(level); i++ {
		if level[i] < 'a' || level[i] > 'z' {
			return "", false
		}
	}
	pid := digits(rest)
	if pid == 0 || !strings.HasPrefix(rest[pid:], "#") {
		return "", false
	}
	return strings.CutPrefix(rest[pid+1+digits(rest[pid+1:]):], ": ")
}

func (p *Parser) nginxError(s string, r *Record) bool {
	y1, a := two(s)
	y2, b := two(s[2:])
	mo, c := two(s[5:])
	d, e := two(s[8:])
	h, mi, sec, ok := clock(s[11:])
	if !a || !b || !c || !e || !ok || mo < 1 || mo > 12 || d < 1 || d > 31 {
		return false
	}
	r.Kind = WebError
	r.Time = p.local(civil(y1*100+y2, mo, d, h, mi, sec, 0))
	r.Program = "nginx"
	rest := s[19:]
	r.Message = strings.TrimLeft(rest, " ")
	if body, ok := nginxLevel(r.Message); ok {
		rest = body
	}
	p.nginxBody(rest, r)
	return true
}

// nginxCut is how long the body of a line of nginx's error log may be and surely be whole. nginx cuts lines that are longer than 2,047 bytes (NGX_MAX_ERROR_STR of its
// source), stamp, level and process among them, and whom to blame may be in what is gone.
const nginxCut = 1900

// nginxClient finds ", client: A, server: " in a body and says where A and the server's name begin. What a client sent may stand before it, as the name of a file, and
// behind it, as request or referrer: where there are two such places, or the line was cut, both are -1 and nobody is to blame.
func nginxClient(s string) (client, server int) {
	const before, behind = ", client: ", ", server: "
	client, server = -1, -1
	if len(s) > nginxCut {
		return client, server
	}
	for from := 0; ; {
		i := strings.Index(s[from:], before)
		if i < 0 {
			return client, server
		}
		from += i + len(before)
		end := strings.IndexByte(s[from:], ',')
		if end < 0 || !strings.HasPrefix(s[from+end:], behind) {
			continue
		}
		if client >= 0 {
			return -1, -1
		}
		client, server = from, from+end+len(behind)
	}
}

// nginxBody reads "MSG, client: A, server: S, request: "…", host: "…"".
func (p *Parser) nginxBody(s string, r *Record) {
	client, server := nginxClient(s)
	if server >= 0 {
		rest := s[server:]
		r.Vhost, _, _ = strings.Cut(rest, ",")
		if _, q, ok := strings.Cut(rest, `request: "`); ok {
			if end := strings.LastIndex(q, ` HTTP/`); end >= 0 {
				if stop := strings.IndexByte(q[end:], '"'); stop > 0 {
					q = q[:end+stop]
				}
			} else {
				q, _, _ = strings.Cut(q, `"`)
			}
			p.request(q, r)
		}
	}
	if client < 0 || r.Cut {
		r.Outcome = Noise
		return
	}
	r.blame(s[client : server-len(", server: ")])
	msg := s[:client]
	switch {
	case strings.Contains(msg, "limiting requests") || strings.Contains(msg, "limiting connections"):
		r.Event = "limit"
	case strings.Contains(msg, "user \"") && (strings.Contains(msg, "was not found in") || strings.Contains(msg, "password mismatch")),
		strings.Contains(msg, "no user/password was provided for basic authentication"), strings.Contains(msg, "PAM: user "):
		r.Event, r.Outcome = "auth", Failure
		if strings.Contains(msg, "no user/password was provided") { // the first request of every browser
			r.Outcome = Noise
		}
		if _, u, ok := strings.Cut(msg, "user \""); ok {
			if end := strings.LastIndexByte(u, '"'); end >= 0 {
				if cut := strings.Index(u, `" was not found`); cut >= 0 {
					end = cut
				} else if cut := strings.Index(u, `": password mismatch`); cut >= 0 {
					end = cut
				}
				r.User = u[:end]
			}
		}
	case strings.Contains(msg, "access forbidden by rule"), strings.Contains(msg, "open() \"") && strings.Contains(msg, "failed (2: No such file"):
		r.Event = "denied"
	case strings.Contains(msg, "SSL_do_handshake() failed"), strings.Contains(msg, "client sent invalid"), strings.Contains(msg, "client sent plain HTTP"):
		r.Event = "malformed"
	}
}

func (p *Parser) apacheError(s string, r *Record) bool {
	// "[Sat Nov 07 06:13:45.913548 2026] ", which syslog's envelope may have taken away.
	rest := s
	if t, n := p.apacheStamp(s); n > 0 {
		r.Time = t
		rest = strings.TrimLeft(s[n:], " ")
	} else if !strings.Contains(s, "[client ") || !strings.Contains(s, "error]") {
		return false
	}
	r.Kind = WebError
	r.Program = "apache2"
	r.Message = rest
	// Groups in brackets follow; the client's is the first that begins with "client ": what comes later, a client may have written. An address of IPv6 with a port has
	// brackets of its own.
	for strings.HasPrefix(rest, "[") {
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			break
		}
		group := rest[1:end]
		rest = strings.TrimLeft(rest[end+1:], " ")
		if who, ok := strings.CutPrefix(group, "client "); ok {
			host, _ := split(who)
			if inner, ok := strings.CutPrefix(who, "["); ok {
				host = inner
				_, rest, _ = strings.Cut(rest, "] ")
			}
			r.blame(host)
			break
		}
	}
	if i := strings.Index(rest, ": "); i > 0 && strings.HasPrefix(rest, "AH0") {
		rest = rest[i+2:]
	}
	switch {
	case strings.HasPrefix(rest, "user ") && (strings.Contains(rest, " not found") || strings.Contains(rest, "authentication failure") ||
		strings.Contains(rest, "Password Mismatch") || strings.Contains(rest, "not allowed") || strings.Contains(rest, " in realm ")),
		strings.Contains(rest, "nonce mismatch"), strings.HasPrefix(rest, "authentication failure"), strings.HasPrefix(rest, "Digest: "),
		strings.HasPrefix(rest, "unknown algorithm"), strings.HasPrefix(rest, "invalid qop"), strings.HasPrefix(rest, "realm mismatch"),
		strings.HasPrefix(rest, "invalid nonce"):
		r.Event, r.Outcome = "auth", Failure
		if u, ok := strings.CutPrefix(rest, "user "); ok {
			for _, sep := range []string{": authentication failure", " not found", ": password mismatch", " in realm "} {
				if i := indexFold(u, sep); i >= 0 {
					u = u[:i]
					break
				}
			}
			r.User = strings.TrimSpace(u)
		}
	case strings.Contains(rest, "client denied by server configuration"), strings.Contains(rest, "File does not exist"),
		strings.Contains(rest, "script not found or unable to stat"), strings.HasPrefix(rest, "script '"):
		r.Event = "denied"
		if _, path, ok := strings.Cut(rest, ": "); ok {
			r.Target, _, _ = strings.Cut(path, ", referer: ")
		}
		if path, ok := strings.CutPrefix(rest, "script '"); ok {
			r.Target, _, _ = strings.Cut(path, "'")
		}
	case strings.Contains(rest, "request failed: "), strings.Contains(rest, "Invalid URI in request"), strings.Contains(rest, "Invalid method in request"),
		strings.Contains(rest, "URI too long"):
		r.Event = "malformed"
	}
	return true
}

// apacheStamp reads the first bracket of a line of Apache's error log and says where it ends.
func (p *Parser) apacheStamp(s string) (t int64, n int) {
	end := strings.IndexByte(s, ']')
	if end < 24 || end > 40 || s[4] != ' ' {
		return 0, 0
	}
	stamp := s[5:end]
	mo := month(stamp)
	if len(stamp) < 19 || mo == 0 {
		return 0, 0
	}
	d, a := two(stamp[4:])
	h, mi, sec, ok := clock(stamp[7:])
	if !a || !ok || d < 1 || d > 31 {
		return 0, 0
	}
	micro, f := fraction(stamp[15:])
	year, ok := number(strings.TrimSpace(stamp[15+f:]))
	if !ok || year > 9999 {
		return 0, 0
	}
	return p.local(civil(int(year), mo, d, h, mi, sec, micro)), end + 1
}

// haproxy reads HAProxy's HTTP log line (its manual, 8.2.3): client:port [stamp] frontend backend/server timers status bytes … "request".
func (p *Parser) haproxy(s string, r *Record) bool {
	open := strings.Index(s, " [")
	if open < 3 {
		return false
	}
	t, n := p.clf(s[open+2:])
	if n == 0 || open+2+n >= len(s) || s[open+2+n] != ']' {
		return false
	}
	colon := strings.LastIndexByte(s[:open], ':')
	if colon < 1 {
		return false
	}
	port, ok := number(s[colon+1 : open])
	if _, valid := address(s[:colon]); !valid || !ok || port > 65535 {
		return false
	}
	r.blame(s[:colon])
	r.Sport = uint16(port)
	r.Program = "haproxy"
	if r.Message == "" {
		r.Message = s
	}
	r.Time = t
	rest := strings.TrimLeft(s[open+2+n+1:], " ")
	r.Kind = Web
	if strings.Contains(rest, "SSL handshake failure") || strings.Contains(rest, "Connection closed during SSL handshake") {
		r.Event = "handshake"
		return true
	}
	quote := strings.IndexByte(rest, '"')
	if quote < 0 {
		r.Kind = Other // the TCP log: no request
		return true
	}
	// frontend backend/server timers status bytes
	head := rest[:quote]
	for i := 0; i < 3 && head != ""; i++ {
		_, head, _ = strings.Cut(head, " ")
	}
	word, head, _ := strings.Cut(head, " ")
	if c, ok := number(word); ok {
		r.Status = int(c)
	}
	word, _, _ = strings.Cut(head, " ")
	if c, ok := number(word); ok {
		r.Size = int64(c)
	}
	req := rest[quote+1:]
	if end := strings.LastIndexByte(req, '"'); end >= 0 {
		req = req[:end]
	}
	if req == "<BADREQ>" {
		r.Event = "malformed"
		return true
	}
	p.request(req, r)
	// Of HTTP/2 and later HAProxy logs the whole address, as those protocols have it; that is no request to be passed on.
	if strings.HasPrefix(r.Protocol, "HTTP/2") || strings.HasPrefix(r.Protocol, "HTTP/3") {
		if _, rest, ok := strings.Cut(r.Target, "://"); ok && strings.HasPrefix(r.Target, "http") {
			if slash := strings.IndexByte(rest, '/'); slash >= 0 {
				r.Vhost, r.Target = rest[:slash], rest[slash:]
			}
		}
	}
	return true
}
