package host

import (
	"errors"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// haproxyConfig is HAProxy's file, and haproxyMore the folder of more where the service's environment names it. Source: haproxy.service
// and /etc/default/haproxy of Debian's package.
const (
	haproxyConfig  = "/etc/haproxy/haproxy.cfg"
	haproxyMore    = "/etc/haproxy/conf.d"
	haproxyDefault = "/etc/default/haproxy"
)

// section is a section of HAProxy's configuration with its lines, which are words.
type section struct {
	kind, name, from string
	file             string
	line             int
	lines            []block // the first word is the name
	defaults         *section
}

// haproxySections are the words that begin a section. Source: HAProxy's configuration manual, sections 3 and 4, and "cache", "program" and
// others of its later chapters.
var haproxySections = []string{"global", "defaults", "frontend", "backend", "listen", "resolvers", "peers", "mailers", "userlist", "cache", "program", "ring", "http-errors",
	"fcgi-app", "log-forward", "crt-store", "traces", "acme", "log-profile"}

// haproxyWords takes a line apart. Source: HAProxy's configuration manual, "Quoting and escaping".
func haproxyWords(line string) (words []string, err error) {
	var b strings.Builder
	inside, quote := false, byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quote == '\'' && c != quote:
			b.WriteByte(c)
		case c == '\\' && i+1 < len(line):
			i++
			inside = true
			switch e := line[i]; {
			case e == 'n' || e == 'r' || e == 't':
				b.WriteByte(map[byte]byte{'n': '\n', 'r': '\r', 't': '\t'}[e])
			case e == 'x':
				if i+2 >= len(line) {
					return nil, errors.New("an escape has no two digits")
				}
				v, bad := strconv.ParseUint(line[i+1:i+3], 16, 8)
				if bad != nil || v == 0 {
					return nil, errors.New("an escape has no two digits, or stands for nothing")
				}
				b.WriteByte(byte(v))
				i += 2
			case strings.IndexByte(" #\\'\"\t", e) >= 0 || e == '$' && quote != 0:
				b.WriteByte(e)
			default:
				b.WriteByte('\\')
				b.WriteByte(e)
			}
		case c == '"' || c == '\'':
			inside = true
			switch quote {
			case 0:
				quote = c
			case c:
				quote = 0
			default:
				b.WriteByte(c)
			}
		case quote == 0 && (c == ' ' || c == '\t' || c == '\r'):
			if inside {
				words = append(words, b.String())
				b.Reset()
			}
			inside = false
		case quote == 0 && c == '#':
			if inside {
				words = append(words, b.String())
			}
			return words, nil
		default:
			inside = true
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return nil, errors.New("a quote is not closed")
	}
	if inside {
		words = append(words, b.String())
	}
	return words, nil
}

// haproxyRead reads the sections of files, in their order.
func (r *reader) haproxyRead(files []string) (list []*section) {
	var unnamed *section
	named := map[string]*section{}
	for _, file := range files {
		text, err := r.facts.Read(file)
		if err != nil {
			r.fail(file, 0, err)
			continue
		}
		var here *section // a file begins anew
		for i, line := range strings.Split(string(text), "\n") {
			words, err := haproxyWords(line)
			if err == nil && len(words) > 0 && strings.HasPrefix(words[0], ".") {
				err = errors.New("what stands under a condition is not understood here")
			}
			if err != nil {
				r.fail(file, i+1, err)
			}
			if err != nil || len(words) == 0 {
				continue
			}
			if !r.take() {
				r.fail(file, i+1, errTooMuch)
				return list
			}
			if !slices.Contains(haproxySections, words[0]) {
				if here == nil {
					r.fail(file, i+1, errors.New("it stands before the first section"))
					return list
				}
				if (words[0] == "no" || words[0] == "default") && len(words) > 1 { // what it is about comes first
					words = append([]string{words[1], words[0]}, words[2:]...)
				}
				here.lines = append(here.lines, block{name: words[0], args: words[1:], raw: strings.TrimSpace(line), file: file, line: i + 1})
				continue
			}
			here = &section{kind: words[0], file: file, line: i + 1, defaults: unnamed}
			if len(words) > 1 && words[1] != "from" {
				here.name = words[1]
			}
			if at := slices.Index(words, "from"); at > 0 && at+1 < len(words) {
				if here.defaults = named[words[at+1]]; here.defaults == nil {
					r.fail(file, i+1, errors.New("there are no such defaults before"))
				}
			} else if here.kind == "defaults" {
				here.defaults = nil
			}
			if here.kind == "defaults" {
				unnamed = here
				if here.name != "" {
					named[here.name] = here
				}
			}
			list = append(list, here)
		}
	}
	return list
}

// all are the lines of a name, those of its defaults first.
func (s *section) all(name string) (list []block) {
	if s.defaults != nil && slices.Contains([]string{"frontend", "backend", "listen", "defaults"}, s.kind) {
		list = s.defaults.all(name)
	}
	for _, b := range s.lines {
		if b.name == name {
			list = append(list, b)
		}
	}
	return list
}

func (s *section) one(name string) (b block) {
	b, _ = last(s.all(name), name)
	return b
}

// option reports whether an option is on.
func (s *section) option(name string) (on bool) {
	for _, b := range s.all("option") {
		switch {
		case b.arg(0) == name:
			on = true
		case b.arg(1) == name: // behind "no"
			on = false
		}
	}
	return on
}

// logs reports whether what a section does is logged.
func (s *section) logs() (on bool) {
	for _, b := range s.all("log") {
		on = b.arg(0) != "no"
	}
	return on
}

// header reports whether rules of a kind set a header, always or when the connection has TLS, and to what.
func (s *section) header(rules, name string) (value string, set bool) {
	for _, b := range s.all(rules) {
		if (b.arg(0) == "set-header" || b.arg(0) == "add-header" && rules == "http-response") && strings.EqualFold(b.arg(1), name) && (len(b.args) == 3 || always(b.args[3:], true)) {
			value, set = b.arg(2), true
		}
	}
	return value, set
}

// always reports whether a condition holds for all connections with TLS, or without.
func always(condition []string, tls bool) bool {
	text := strings.Join(condition, " ")
	if tls {
		return text == "" || text == "if { ssl_fc }" || text == "unless !{ ssl_fc }"
	}
	return text == "" || text == "if !{ ssl_fc }" || text == "unless { ssl_fc }" || text == "if ! { ssl_fc }"
}

// toHTTPS reports whether what comes without TLS is sent on to https.
func (s *section) toHTTPS() bool {
	for _, b := range append(s.all("http-request"), s.all("redirect")...) {
		words := b.args
		if b.name == "http-request" {
			if b.arg(0) != "redirect" {
				continue
			}
			words = words[1:]
		}
		at := slices.IndexFunc(words, func(w string) bool { return w == "if" || w == "unless" })
		if at < 0 {
			at = len(words)
		}
		if len(words) > 1 && (words[0] == "scheme" && words[1] == "https" || (words[0] == "location" || words[0] == "prefix") && strings.HasPrefix(words[1], "https://")) && always(words[at:], false) {
			return true
		}
	}
	return false
}

// haproxyOld are words that version 2.1 took out. Source: HAProxy 2.1's configuration manual and its announcement.
var haproxyOld = []string{"reqadd", "reqallow", "reqdel", "reqdeny", "reqiallow", "reqidel", "reqideny", "reqipass", "reqirep", "reqitarpit", "reqpass", "reqrep", "reqtarpit",
	"rspadd", "rspdel", "rspdeny", "rspidel", "rspideny", "rspirep", "rsprep"}

// haproxy are the fronts of HAProxy.
func (f *Facts) haproxy() (out guard.Fronts) {
	there, err := f.there(haproxyConfig)
	if out.Err = err; !there {
		return out
	}
	r := f.reader()
	files := []string{haproxyConfig}
	env, _ := f.Read(haproxyDefault) // Debian's service works without it
	for line := range strings.Lines(string(env)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") && strings.Contains(line, haproxyMore) {
			more, err := f.match(haproxyMore, "*.cfg")
			files = append(files, more...)
			if err != nil {
				r.fail(haproxyDefault, 0, err)
			}
		} else if value, ok := strings.CutPrefix(line, "CONFIG="); ok && strings.Trim(value, `"'`) != haproxyConfig {
			r.fail(haproxyDefault, 0, errors.New("it names another configuration"))
		}
	}
	_, version, _ := f.Package("haproxy")
	h := &haproxy{reader: r, version: version, global: &section{}, backends: map[string]*section{}}
	sections := r.haproxyRead(files)
	for _, s := range sections {
		switch s.kind {
		case "global":
			h.global.lines = append(h.global.lines, s.lines...)
		case "backend", "listen":
			h.backends[s.name] = s
		}
	}
	for _, s := range sections {
		for _, b := range s.lines {
			if slices.Contains(haproxyOld, b.name) {
				out.Old = append(out.Old, guard.OldLine{File: b.file, Line: b.line, Text: b.raw})
			}
		}
		if s.kind == "frontend" || s.kind == "listen" || s.kind == "backend" {
			out.Pages = append(out.Pages, s.pages()...)
		}
		if s.kind == "frontend" || s.kind == "listen" {
			out.List = append(out.List, h.fronts(s)...)
		}
	}
	out.Err = errors.Join(r.errs...)
	return out
}

// pages are the pages of statistics of a section. What its defaults say of them counts only where it says nothing itself.
func (s *section) pages() (list []guard.StatsPage) {
	for _, b := range s.lines {
		if b.name == "http-request" && b.arg(0) == "use-service" && b.arg(1) == "prometheus-exporter" {
			list = append(list, guard.StatsPage{File: b.file, Line: b.line})
		}
	}
	var first block
	login, found := false, false
	for _, b := range s.all("stats") {
		switch b.arg(0) {
		case "enable", "uri", "auth", "admin", "realm", "scope":
			if !found {
				first, found = b, true
			}
			login = login || b.arg(0) == "auth"
		case "http-request":
			login = login || b.arg(1) == "auth" || b.arg(1) == "deny"
		}
	}
	if found {
		list = append(list, guard.StatsPage{File: first.file, Line: first.line, Login: login})
	}
	return list
}

type haproxy struct {
	*reader
	version  string
	global   *section
	backends map[string]*section
}

func (h *haproxy) fronts(s *section) (list []guard.Front) {
	front := guard.Front{Program: "haproxy", Version: h.version, File: s.file, Line: s.line, Raw: s.one("mode").arg(0) != "http", Logged: s.logs(),
		Ciphers: h.global.one("ssl-default-bind-ciphers").arg(0), DHFile: h.global.one("ssl-dh-param-file").arg(0)}
	front.Limit, _ = strconv.Atoi(h.global.one("maxconn").arg(0)) // HAProxy itself takes numbers alone
	front.Timeout, front.Close = s.timeout("client"), s.closes()
	front.DHBits, _ = strconv.Atoi(h.global.one("tune.ssl.default-dh-param").arg(0))
	behind := []*section{}
	if s.kind == "listen" {
		behind = append(behind, s)
	}
	for _, b := range append(s.all("use_backend"), s.all("default_backend")...) {
		next := h.backends[b.arg(0)]
		if next == nil {
			front.Unsure = append(front.Unsure, "Where requests go is chosen by what is in them: "+b.arg(0))
		} else if !slices.Contains(behind, next) {
			behind = append(behind, next)
		}
	}
	front.HSTS, _ = s.header("http-response", "Strict-Transport-Security")
	_, front.Proto = s.header("http-request", "X-Forwarded-Proto")
	front.For = s.option("forwardfor")
	proto, sender := len(behind) > 0, len(behind) > 0
	for _, b := range behind {
		front.Behind = append(front.Behind, haproxyBackend(b))
		front.Servers = append(front.Servers, haproxyServers(b)...)
		if value, set := b.header("http-response", "Strict-Transport-Security"); set && len(behind) == 1 {
			front.HSTS = value
		}
		_, set := b.header("http-request", "X-Forwarded-Proto")
		proto, sender = proto && set, sender && b.option("forwardfor")
	}
	front.Proto, front.For = front.Proto || proto, front.For || sender
	away := s.toHTTPS()
	for _, b := range s.lines {
		if b.name != "bind" {
			continue
		}
		one := front
		one.Line = b.line
		h.bind(&one, b.args[min(1, len(b.args)):])
		one.ToHTTPS = away && !one.TLS
		for address := range strings.SplitSeq(b.arg(0), ",") {
			at := one
			at.Address, at.Port = haproxyListen(address)
			at.Servers = haproxyPorts(front.Servers, at.Port)
			list = append(list, at)
		}
	}
	return list
}

// bind reads the parameters of a bind line, behind those that are usual.
func (h *haproxy) bind(front *guard.Front, params []string) {
	words := params
	if o := h.global.one("ssl-default-bind-options"); o.args != nil {
		words = append(slices.Clone(o.args), params...)
	}
	arg := func(i int) string { return block{args: words}.arg(i + 1) }
	// Words that take protocols away count only where nothing says which they are from. Source: ssl_sock.c of HAProxy, which warns of that.
	if front.Protocols == nil && slices.Contains(words, "no-tlsv10") && slices.Contains(words, "no-tlsv11") && slices.Contains(words, "no-sslv3") {
		front.Protocols = slices.DeleteFunc(haproxySince("TLSv1.2"), func(v string) bool {
			return slices.Contains(words, "no-"+strings.ToLower(strings.ReplaceAll(v, ".", "")))
		})
	}
	base := h.global.one("crt-base").arg(0)
	for i, w := range words {
		switch w {
		case "ssl":
			front.TLS = true
		case "ciphers":
			front.Ciphers = arg(i)
		case "ssl-min-ver":
			front.Protocols = haproxySince(arg(i))
		case "force-sslv3", "force-tlsv10", "force-tlsv11", "force-tlsv12", "force-tlsv13":
			front.Protocols = haproxyForced[w]
		case "crt":
			h.certificates(front, inFolder(base, arg(i)))
		case "crt-list":
			text, err := h.facts.Read(inFolder(base, arg(i)))
			if err != nil {
				h.fail(front.File, front.Line, err)
			}
			for line := range strings.Lines(string(text)) {
				if w := strings.Fields(line); len(w) > 0 && w[0][0] != '#' {
					h.certificates(front, inFolder(base, w[0]))
				}
			}
		}
	}
}

func inFolder(folder, name string) string {
	if name == "" || path.IsAbs(name) {
		return name
	}
	return path.Join("/", folder, name)
}

var haproxyVersions = []string{"SSLv3", "TLSv1.0", "TLSv1.1", "TLSv1.2", "TLSv1.3"}

var haproxyForced = map[string][]string{"force-sslv3": {"SSLv3"}, "force-tlsv10": {"TLSv1"}, "force-tlsv11": {"TLSv1.1"}, "force-tlsv12": {"TLSv1.2"}, "force-tlsv13": {"TLSv1.3"}}

// haproxySince are the protocols from one up, by the names that other programs have for them.
func haproxySince(low string) (list []string) {
	for _, v := range haproxyVersions[max(slices.Index(haproxyVersions, low), 0):] {
		list = append(list, strings.TrimSuffix(v, ".0"))
	}
	return list
}

// certificates are those of a file, or of all files of a folder but some. Source: HAProxy's configuration manual, "crt".
func (h *haproxy) certificates(front *guard.Front, at string) {
	f, err := h.facts.File(at) // who asks for the certificate hears why it is not there
	files := []string{at}
	if err == nil && f.Kind.IsDir() {
		if files, err = h.facts.match(at, "*"); err != nil {
			h.fail(front.File, front.Line, err)
		}
	}
	for _, file := range files {
		if slices.Contains([]string{".key", ".issuer", ".ocsp", ".sctl"}, path.Ext(file)) && f.Kind.IsDir() {
			continue
		}
		pair := guard.Pair{Certificate: file, Key: file}
		if _, err := h.facts.File(file + ".key"); err == nil {
			pair.Key = file + ".key"
		}
		front.Pairs = append(front.Pairs, pair)
	}
}

// haproxyListen is where an address listens. Source: HAProxy's configuration manual, "bind".
func haproxyListen(s string) (string, int) {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "ipv4@"), "ipv6@")
	at := strings.LastIndexByte(s, ':')
	if at < 0 || strings.HasPrefix(s, "/") || strings.Contains(s, "@") {
		return s, 0
	}
	port, err := strconv.Atoi(s[at+1:])
	if err != nil {
		port = 0 // a range, or a variable
	}
	if at == 0 {
		s = "*" + s
	}
	return s, port
}

// haproxyServers are the servers of a section.
func haproxyServers(s *section) (list []guard.Upstream) {
	check := false
	for _, b := range s.all("default-server") {
		check = haproxyFlag(b.args, "check", check)
	}
	for _, b := range s.lines {
		if b.name != "server" && b.name != "server-template" || len(b.args) < 2 {
			continue
		}
		at := 1
		if b.name == "server-template" {
			at = 2
		}
		address, _ := haproxyListen(b.arg(at))
		list = append(list, guard.Upstream{Name: b.arg(0), Address: address, Check: haproxyFlag(b.args, "check", check), File: b.file, Line: b.line})
	}
	return list
}

// haproxyPorts gives servers without a port that of the client's connection, which they have; "+" and "-" are so much beside it. Source: HAProxy's configuration
// manual, "server".
func haproxyPorts(list []guard.Upstream, client int) []guard.Upstream {
	list = slices.Clone(list)
	for i := range list {
		u := &list[i]
		host, port, err := net.SplitHostPort(u.Address)
		n, bad := strconv.Atoi(port)
		switch {
		case client == 0 || strings.ContainsAny(u.Address, "/@"): // a socket
		case err != nil:
			u.Address = net.JoinHostPort(strings.Trim(u.Address, "[]"), strconv.Itoa(client))
		case port == "" || bad == nil && strings.ContainsAny(port[:1], "+-"):
			u.Address = net.JoinHostPort(host, strconv.Itoa(client+n))
		}
	}
	return list
}

func haproxyFlag(args []string, name string, usual bool) bool {
	for _, a := range args {
		switch a {
		case name:
			usual = true
		case "no-" + name:
			usual = false
		}
	}
	return usual
}
