package host

import (
	"errors"
	"net"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// apacheConfig is Apache's file as Debian has it; names are relative to its folder.
const apacheConfig = "/etc/apache2/apache2.conf"

// apacheBuiltIn are the modules that are part of Debian's program. Source: apache2 -l of Debian's package.
var apacheBuiltIn = []string{"core", "so_module", "watchdog_module", "http_module", "log_config_module", "logio_module", "version_module", "unixd_module"}

// apacheText reads Apache's files. Source: Apache's documentation, "Configuration Files" and "Configuration Sections".
type apacheText struct {
	*reader
	modules []string
}

// apacheLine is a line of a file, those that a backslash joins being one.
type apacheLine struct {
	words  []string
	file   string
	number int
}

// lines reads a file with what it includes.
func (t *apacheText) lines(file string, depth int) (list []apacheLine) {
	text, err := t.facts.Read(file)
	if err != nil {
		t.fail(file, 0, err)
		return nil
	}
	raw := strings.Split(string(text), "\n")
	for i := 0; i < len(raw); i++ {
		number, line := i+1, strings.TrimSuffix(raw[i], "\r")
		for strings.HasSuffix(line, `\`) && i+1 < len(raw) {
			i++
			if line = strings.TrimSuffix(line, `\`) + strings.TrimSuffix(raw[i], "\r"); len(line) > maxJoined {
				t.fail(file, number, errJoined)
				return list
			}
		}
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if !t.take() || depth > maxBlockDepth {
			t.fail(file, number, errTooMuch)
			return list
		}
		words := apacheWords(line)
		list = append(list, apacheLine{words, file, number})
	}
	return list
}

// apacheWords takes a line apart: words between blanks, in double or single quotes with a backslash before a quote within. Source:
// ap_getword_conf in Apache's server/util.c.
func apacheWords(line string) (words []string) {
	if strings.HasPrefix(line, "<") {
		line = strings.TrimSuffix(line, ">")
	}
	for {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			return words
		}
		if q := line[0]; q == '"' || q == '\'' {
			var b strings.Builder
			i := 1
			for ; i < len(line) && line[i] != q; i++ {
				if line[i] == '\\' && i+1 < len(line) && (line[i+1] == '\\' || line[i+1] == q) {
					i++
				}
				b.WriteByte(line[i])
			}
			words, line = append(words, b.String()), line[min(i+1, len(line)):]
			continue
		}
		n := strings.IndexAny(line, " \t")
		if n < 0 {
			n = len(line)
		}
		words, line = append(words, line[:n]), line[n:]
	}
}

// read makes the blocks of a file: sections of conditions that hold are in the place where they stand, others are left out.
func (t *apacheText) read(file string, depth int) []block {
	rest := t.lines(file, depth)
	list, rest := t.blocks(rest, "", depth)
	if len(rest) > 0 {
		t.fail(rest[0].file, rest[0].number, errors.New("a section ends that has not begun"))
	}
	return list
}

func (t *apacheText) blocks(lines []apacheLine, until string, depth int) (list []block, rest []apacheLine) {
	for len(lines) > 0 {
		l := lines[0]
		lines = lines[1:]
		name := strings.ToLower(l.words[0])
		b := block{name: name, args: l.words[1:], file: l.file, line: l.number}
		if strings.HasPrefix(name, "</") {
			if strings.TrimPrefix(name, "</") == until {
				return list, lines
			}
			return list, append([]apacheLine{l}, lines...)
		}
		if kind, ok := strings.CutPrefix(name, "<"); ok {
			b.name = kind
			held, known := t.holds(kind, b.arg(0))
			loaded := len(t.modules)
			if depth > maxBlockDepth {
				t.fail(l.file, l.number, errTooMuch)
				return list, nil
			}
			skip := (kind == "ifmodule" || kind == "ifdefine" || kind == "ifversion" || kind == "iffile") && !held
			var end []apacheLine
			if skip {
				end = apacheSkip(lines, kind)
			} else {
				b.body, end = t.blocks(lines, kind, depth+1)
			}
			if end == nil {
				t.fail(l.file, l.number, errors.New("a section is not ended"))
				return list, nil
			}
			lines = end
			switch {
			case !known:
				t.fail(l.file, l.number, errors.New("whether this condition holds cannot be told"))
			case skip:
				t.modules = t.modules[:loaded]
			case held:
				list = append(list, b.body...)
			default:
				list = append(list, b)
			}
			continue
		}
		switch name {
		case "loadmodule":
			t.modules = append(t.modules, b.arg(0))
		case "define", "undefine", "use":
			t.fail(l.file, l.number, errors.New("what a definition or macro changes cannot be told"))
		case "include", "includeoptional":
			pattern := inFolder(path.Dir(apacheConfig), b.arg(0))
			files, err := t.matching(pattern)
			if err == nil && len(files) == 0 && name == "include" {
				err = errors.New("no file is included")
			}
			if err != nil {
				t.fail(l.file, l.number, err)
			}
			for _, at := range files {
				if f, err := t.facts.File(at); err == nil && f.Kind.IsDir() {
					more, err := t.facts.match(at, "*")
					if err != nil {
						t.fail(l.file, l.number, err)
					}
					for _, m := range more {
						list = append(list, t.read(m, depth+1)...)
					}
					continue
				}
				list = append(list, t.read(at, depth+1)...)
			}
		default:
			list = append(list, b)
		}
	}
	if until != "" {
		return list, nil
	}
	return list, []apacheLine{}
}

// apacheSkip is what follows a section that is left out, nil if it does not end.
func apacheSkip(lines []apacheLine, kind string) []apacheLine {
	open := 1
	for i, l := range lines {
		switch strings.ToLower(l.words[0]) {
		case "<" + kind:
			open++
		case "</" + kind:
			if open--; open == 0 {
				if i+1 == len(lines) {
					return []apacheLine{}
				}
				return lines[i+1:]
			}
		}
	}
	return nil
}

// holds tells whether a condition does.
func (t *apacheText) holds(kind, what string) (held, known bool) {
	switch kind {
	case "ifmodule":
		name, not := strings.CutPrefix(what, "!")
		if file, ok := strings.CutSuffix(name, ".c"); ok {
			name = strings.TrimPrefix(file, "mod_") + "_module"
		}
		return slices.Contains(t.modules, name) != not, true
	case "ifdefine": // nothing is defined, as Debian starts it
		return strings.HasPrefix(what, "!"), true
	case "ifversion", "iffile":
		return false, false
	}
	return false, true
}

// apache are the fronts of Apache's virtual hosts. What its main server does where no virtual host takes a connection is not looked at.
func (f *Facts) apache() ([]guard.Front, error) {
	if there, err := f.there(apacheConfig); !there {
		return nil, err
	}
	t := &apacheText{reader: f.reader(), modules: slices.Clone(apacheBuiltIn)}
	main := t.read(apacheConfig, 0)
	_, version, _ := f.Package("apache2", "apache2-bin")
	var list []guard.Front
	for _, b := range main {
		if b.name != "virtualhost" {
			continue
		}
		front := guard.Front{Program: "apache2", Version: version, File: b.file, Line: b.line, Logged: true}
		t.host(&front, scope{main, b.body})
		for _, address := range b.args {
			one := front
			one.Address, one.Port = haproxyListen(address)
			if strings.Contains(address, "${") {
				one.Unsure = append(one.Unsure, "The address is a variable: "+address)
			}
			list = append(list, one)
		}
	}
	return list, errors.Join(t.errs...)
}

// lastOf is the last value of a directive in the nearest scope that has it.
func (s scope) lastOf(name string) string {
	if list := s.all(name); list != nil {
		return list[len(list)-1].arg(0)
	}
	return ""
}

// host reads a virtual host. Source: Apache's documentation of mod_ssl, mod_proxy, mod_headers, mod_alias and mod_rewrite.
func (t *apacheText) host(front *guard.Front, s scope) {
	front.TLS = strings.EqualFold(s.lastOf("sslengine"), "on")
	if p := s.all("sslprotocol"); p != nil {
		front.Protocols = apacheProtocols(p[len(p)-1].args)
	}
	if c := s.all("sslciphersuite"); c != nil {
		b := c[len(c)-1]
		if front.Ciphers = b.arg(len(b.args) - 1); len(b.args) == 2 && b.arg(0) == "TLSv1.3" {
			front.Ciphers = ""
		}
	}
	certificates, keys := s.all("sslcertificatefile"), s.all("sslcertificatekeyfile")
	for i, c := range certificates {
		pair := guard.Pair{Certificate: inFolder(path.Dir(apacheConfig), c.arg(0))}
		pair.Key = pair.Certificate
		if i < len(keys) {
			pair.Key = inFolder(path.Dir(apacheConfig), keys[i].arg(0))
		}
		if strings.Contains(pair.Certificate+pair.Key, "${") {
			front.Unsure = append(front.Unsure, "The certificate is named by a variable: "+c.arg(0))
			continue
		}
		front.Pairs = append(front.Pairs, pair)
	}
	inner := scope{s[len(s)-1]}
	for _, level := range s { // headers of the main server are added to
		for _, h := range level {
			at := 0
			if h.name != "header" && h.name != "requestheader" {
				continue
			}
			if h.arg(0) == "always" || h.arg(0) == "onsuccess" {
				at = 1
			}
			action, name, value := strings.ToLower(h.arg(at)), strings.ToLower(strings.TrimSuffix(h.arg(at+1), ":")), h.arg(at+2)
			if len(h.args) > at+3 && !strings.HasPrefix(h.arg(at+3), "expr=") { // under a condition of the environment
				continue
			}
			set := slices.Contains([]string{"set", "add", "append", "merge", "setifempty"}, action)
			switch {
			case h.name == "header" && name == "strict-transport-security":
				if front.HSTS = value; !set {
					front.HSTS = ""
				}
			case h.name == "requestheader" && name == "x-forwarded-proto":
				front.Proto = action == "set"
			}
		}
	}
	rewrites := strings.EqualFold(s.lastOf("rewriteengine"), "on") // without it rules do nothing; Source: mod_rewrite, as the program itself does it
	front.ToHTTPS = apacheToHTTPS(inner[0], rewrites)
	// mod_proxy sets X-Forwarded-For by itself, unless it is told not to.
	front.For = !strings.EqualFold(s.lastOf("proxyaddheaders"), "off")
	var walk func([]block)
	walk = func(level []block) {
		for _, b := range level {
			target := ""
			switch b.name {
			case "location", "locationmatch", "if":
				walk(b.body)
				continue
			case "proxypass", "proxypassmatch":
				for _, w := range b.args {
					if strings.Contains(w, "://") {
						target = w
					}
				}
			case "rewriterule":
				if flags := b.arg(2); rewrites && strings.Contains(b.arg(1), "://") && slices.Contains(strings.Split(strings.ToUpper(strings.Trim(flags, "[]")), ","), "P") {
					target = b.arg(1)
				}
			}
			if target == "" {
				continue
			}
			u, err := url.Parse(target)
			if err != nil || strings.ContainsAny(target, "$%") && u.Host == "" || u.Scheme == "balancer" || u.Scheme == "unix" {
				front.Unsure = append(front.Unsure, "Where requests go cannot be told: "+target)
				continue
			}
			address := u.Host
			if u.Port() == "" {
				address = net.JoinHostPort(u.Hostname(), map[string]string{"https": "443", "wss": "443"}[u.Scheme])
				if strings.HasSuffix(address, ":") {
					address += "80"
				}
			}
			front.Servers = append(front.Servers, guard.Upstream{Name: address, Address: address, File: b.file, Line: b.line})
		}
	}
	walk(inner[0])
	if front.ToHTTPS {
		front.Servers = nil
	}
}

// apacheToHTTPS reports whether a host sends all requests to https. Its rules to rewrite are in effect or not.
func apacheToHTTPS(level []block, rewrites bool) bool {
	conditions := []block{}
	for _, b := range level {
		to := b.arg(len(b.args) - 1)
		switch b.name {
		case "redirect", "redirectpermanent", "redirectmatch":
			if len(b.args) > 1 && strings.HasPrefix(to, "https://") && slices.Contains([]string{"/", "^/(.*)$", "^(.*)$", ".*", "^/(.*)", "(.*)"}, b.args[len(b.args)-2]) {
				return true
			}
		case "rewritecond":
			conditions = append(conditions, b)
		case "rewriterule":
			every := slices.Contains([]string{"^", "^/?(.*)", "^(.*)$", "^/(.*)$", "^/?(.*)$", "(.*)", ".*", "^.*$"}, b.arg(0))
			off := !slices.ContainsFunc(conditions, func(c block) bool {
				return c.arg(0) != "%{HTTPS}" || !slices.ContainsFunc([]string{"off", "!=on", "!on", "=off"}, func(w string) bool { return strings.EqualFold(w, c.arg(1)) })
			})
			if rewrites && every && off && strings.HasPrefix(b.arg(1), "https://") {
				return true
			}
			conditions = nil
		}
	}
	return false
}

var apacheVersions = []string{"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"}

// apacheProtocols are the protocols of SSLProtocol. Source: Apache's documentation of mod_ssl; "all" has no SSLv3 with today's OpenSSL.
func apacheProtocols(words []string) []string {
	on := map[string]bool{}
	for _, w := range words {
		name, sign := strings.TrimLeft(w, "+-"), w[:len(w)-len(strings.TrimLeft(w, "+-"))]
		if sign == "" {
			clear(on)
		}
		for _, v := range append([]string{"SSLv3"}, apacheVersions...) {
			if strings.EqualFold(name, v) || strings.EqualFold(name, "all") && v != "SSLv3" {
				on[v] = sign != "-"
			}
		}
	}
	list := []string{}
	for _, v := range append([]string{"SSLv3"}, apacheVersions...) {
		if on[v] {
			list = append(list, v)
		}
	}
	return list
}
