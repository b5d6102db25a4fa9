package host

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// nginxConfig is nginx's file as Debian builds it. Source: nginx -V of Debian's package.
const nginxConfig = "/etc/nginx/nginx.conf"

// nginxFile reads a file of nginx. Inclusions are in the place of their directive.
func (r *reader) nginxFile(file string, depth int) []block {
	text, err := r.facts.Read(file)
	if err != nil {
		r.fail(file, 0, err)
		return nil
	}
	t := &nginxText{reader: r, file: file, text: string(text), line: 1}
	list := t.blocks(depth, false)
	return list
}

// nginxText is a file being taken apart. Source: ngx_conf_read_token in nginx's src/core/ngx_conf_file.c.
type nginxText struct {
	*reader
	file, text string
	line       int
}

// token is a word, or ";", "{", "}" or "" for the end, which are no words.
func (t *nginxText) token() (word string, mark bool, err error) {
	for t.text != "" {
		switch c := t.text[0]; c {
		case '\n':
			t.line++
			t.text = t.text[1:]
		case ' ', '\t', '\r':
			t.text = t.text[1:]
		case '#':
			n := strings.IndexByte(t.text, '\n')
			if n < 0 {
				n = len(t.text)
			}
			t.text = t.text[n:]
		case ';', '{', '}':
			t.text = t.text[1:]
			return string(c), true, nil
		default:
			return t.word()
		}
	}
	return "", true, nil
}

func (t *nginxText) word() (string, bool, error) {
	var b strings.Builder
	quote := t.text[0]
	i := 1
	if quote != '"' && quote != '\'' {
		quote, i = 0, 0
	}
	for ; i < len(t.text); i++ {
		c := t.text[i]
		switch {
		case c == '\n':
			t.line++
		case c == '\\' && i+1 < len(t.text):
			i++
			switch e := t.text[i]; {
			case e == '"' || e == '\'' || e == '\\':
				b.WriteByte(e)
			case strings.IndexByte("trn", e) >= 0:
				b.WriteByte("\t\r\n"[strings.IndexByte("trn", e)])
			default:
				b.WriteByte('\\')
				b.WriteByte(e)
			}
			if t.text[i] == '\n' {
				t.line++
			}
			continue
		}
		if quote != 0 && c == quote {
			t.text = t.text[i+1:]
			if t.text != "" && strings.IndexByte(" \t\r\n;{)", t.text[0]) < 0 {
				return "", false, errors.New("there is something right behind a quote")
			}
			return b.String(), false, nil
		}
		if quote == 0 && c == '$' && strings.HasPrefix(t.text[i:], "${") { // a variable's brace is none
			b.WriteString("${")
			i++
			continue
		}
		if quote == 0 && strings.IndexByte(" \t\r\n;{", c) >= 0 {
			if c == '\n' {
				t.line--
			}
			t.text = t.text[i:]
			return b.String(), false, nil
		}
		b.WriteByte(c)
	}
	t.text = ""
	return "", false, errors.New("the file ends within a directive")
}

// blocks reads directives up to the end of a block or of the file.
func (t *nginxText) blocks(depth int, inside bool) (list []block) {
	stop := func(err error) []block {
		t.fail(t.file, t.line, err)
		t.text = ""
		return list
	}
	for {
		var b block
		for {
			word, mark, err := t.token()
			if err != nil {
				return stop(err)
			}
			if !mark {
				if b.name == "" {
					b.name, b.file, b.line = word, t.file, t.line
				} else {
					b.args = append(b.args, word)
				}
				continue
			}
			if b.name == "" && (word == "" && !inside || word == "}" && inside) {
				return list
			}
			if b.name == "" || word == "" || word == "}" {
				return stop(errors.New("a directive is not ended, or a brace is too many or missing"))
			}
			if !t.take() || depth > maxBlockDepth {
				return stop(errTooMuch)
			}
			if word == "{" && strings.HasSuffix(b.name, "_by_lua_block") {
				return stop(errors.New("code of Lua is not understood here"))
			}
			if word == "{" {
				if b.body = t.blocks(depth+1, true); b.body == nil {
					b.body = []block{}
				}
			}
			break
		}
		if b.name != "include" {
			list = append(list, b)
			continue
		}
		pattern := b.arg(0)
		if len(b.args) != 1 || b.body != nil {
			return stop(errors.New("an inclusion names one file or pattern"))
		}
		if !path.IsAbs(pattern) {
			pattern = path.Join(path.Dir(nginxConfig), pattern)
		}
		files, err := []string{pattern}, error(nil)
		if strings.ContainsAny(pattern, "*?[") {
			files, err = t.matching(pattern)
		}
		if err != nil {
			t.fail(b.file, b.line, err)
		}
		for _, file := range files {
			list = append(list, t.nginxFile(file, depth+1)...)
		}
	}
}

// scope is a block of nginx and those that it is in, the outermost first. A directive counts as in the nearest that has it.
type scope [][]block

func (s scope) all(name string) []block {
	for _, level := range slices.Backward(s) {
		var list []block
		for _, b := range level {
			if b.name == name {
				list = append(list, b)
			}
		}
		if list != nil {
			return list
		}
	}
	return nil
}

func (s scope) one(name string) string {
	if list := s.all(name); list != nil {
		return list[0].arg(0)
	}
	return ""
}

// header is the first value of a header that a directive sets.
func (s scope) header(directive, name string) (value string, set bool) {
	for _, b := range s.all(directive) {
		if strings.EqualFold(b.arg(0), name) && len(b.args) > 1 {
			return b.arg(1), true
		}
	}
	return "", false
}

func (s scope) in(b block) scope { return append(slices.Clone(s), b.body) }

// nginx are the fronts of nginx's http blocks.
func (f *Facts) nginx() ([]guard.Front, error) {
	if there, err := f.there(nginxConfig); !there {
		return nil, err
	}
	r := f.reader()
	top := r.nginxFile(nginxConfig, 0)
	_, version, _ := f.Package("nginx", "nginx-core", "nginx-light", "nginx-full", "nginx-extras")
	var list []guard.Front
	for _, b := range top {
		if b.name == "http" {
			list = append(list, fronts(scope{top, b.body}, "nginx", version)...)
		}
	}
	return list, errors.Join(r.errs...)
}

// maasNginx are those of a file that MAAS writes, which its nginx has in its http block. Source: MAAS's
// src/maasserver/regiondservices/http.py, and its template regiond.nginx.conf.
func (f *Facts) maasNginx(file string) ([]guard.Front, error) {
	if there, err := f.there(file); !there {
		return nil, err
	}
	r := f.reader()
	return fronts(scope{r.nginxFile(file, 0)}, "maas", ""), errors.Join(r.errs...)
}

func fronts(http scope, program, version string) (list []guard.Front) {
	upstreams := map[string][]guard.Upstream{}
	body := http[len(http)-1]
	for _, b := range body {
		if b.name != "upstream" {
			continue
		}
		for _, s := range b.body {
			if s.name == "server" {
				upstreams[b.arg(0)] = append(upstreams[b.arg(0)], guard.Upstream{Name: s.arg(0), Address: nginxAddress(s.arg(0), "80"), File: s.file, Line: s.line})
			}
		}
	}
	for _, b := range body {
		if b.name != "server" || b.body == nil {
			continue
		}
		here := http.in(b)
		front := guard.Front{Program: program, Version: version, File: b.file, Line: b.line, Ciphers: here.one("ssl_ciphers"), DHFile: nginxPath(here.one("ssl_dhparam")), Logged: here.one("access_log") != "off"}
		if p := here.all("ssl_protocols"); p != nil {
			front.Protocols = p[0].args
		}
		keys := here.all("ssl_certificate_key")
		for i, c := range here.all("ssl_certificate") {
			pair := guard.Pair{Certificate: nginxPath(c.arg(0))}
			if i < len(keys) {
				pair.Key = nginxPath(keys[i].arg(0))
			}
			if strings.ContainsAny(pair.Certificate+pair.Key, "$:") {
				front.Unsure = append(front.Unsure, "The certificate is chosen by a variable or an engine: "+c.arg(0))
				continue
			}
			front.Pairs = append(front.Pairs, pair)
		}
		serve(&front, here, upstreams)
		listens := here[len(here)-1:].all("listen")
		if listens == nil {
			listens = []block{{args: []string{"*:80"}, file: b.file, line: b.line}}
		}
		for _, l := range listens {
			one := front
			one.Address, one.Port = nginxListen(l.arg(0))
			one.TLS = slices.Contains(l.args, "ssl") || slices.Contains(l.args, "quic") || here.one("ssl") == "on"
			list = append(list, one)
		}
	}
	return list
}

// serve finds what becomes of the requests of a server: in it, and in each of its locations.
func serve(front *guard.Front, here scope, upstreams map[string][]guard.Upstream) {
	proxied, secured, told, sender := 0, 0, 0, 0
	var walk func(scope, bool)
	walk = func(s scope, condition bool) {
		level := s[len(s)-1]
		if nginxToHTTPS(level) && !condition {
			front.ToHTTPS = true
		}
		if target := s[len(s)-1:].one("proxy_pass"); target != "" {
			proxied++
			front.Servers = append(front.Servers, nginxTarget(target, upstreams, front)...)
			if value, set := s.header("add_header", "Strict-Transport-Security"); set {
				if secured++; front.HSTS == "" {
					front.HSTS = value
				}
			}
			if _, set := s.header("proxy_set_header", "X-Forwarded-Proto"); set {
				told++
			}
			if _, set := s.header("proxy_set_header", "X-Forwarded-For"); set {
				sender++
			}
		}
		for _, b := range level {
			if b.name == "location" || b.name == "if" || b.name == "limit_except" {
				walk(s.in(b), condition || b.name != "location" || b.arg(len(b.args)-1) != "/" || b.arg(0) == "=") // "= /" is the first page alone
			}
		}
	}
	walk(here, false)
	if secured < proxied {
		front.HSTS = ""
	}
	front.Proto, front.For = told >= proxied, sender >= proxied
	switch {
	case nginxToHTTPS(here[len(here)-1]): // that is done before a location is looked for
		front.Servers = nil
	case proxied > 0: // what passes requests on does not send all of them elsewhere
		front.ToHTTPS = false
	}
}

// nginxToHTTPS reports whether a level's own directives send every request that comes there to https.
func nginxToHTTPS(level []block) bool {
	return slices.ContainsFunc(level, func(b block) bool {
		switch b.name {
		case "return":
			return strings.HasPrefix(b.arg(len(b.args)-1), "https://")
		case "rewrite":
			return slices.Contains([]string{"^", "^/", "^(.*)$", "^(.*)", "^/(.*)$", "^/(.*)", ".*", "^.*$"}, b.arg(0)) && strings.HasPrefix(b.arg(1), "https://")
		}
		return false
	})
}

// nginxTarget are the servers of a proxy_pass.
func nginxTarget(target string, upstreams map[string][]guard.Upstream, front *guard.Front) []guard.Upstream {
	if rest, ok := strings.CutPrefix(target, "http://unix:"); ok {
		socket, _, _ := strings.Cut(rest, ":")
		return []guard.Upstream{{Name: target, Address: "unix:" + socket}}
	}
	u, err := url.Parse(target)
	if err != nil || strings.Contains(target, "$") {
		front.Unsure = append(front.Unsure, "Where requests go is chosen by a variable, or is no address: "+target)
		return nil
	}
	if list, ok := upstreams[u.Host]; ok {
		return list
	}
	return []guard.Upstream{{Name: u.Host, Address: nginxAddress(u.Host, map[string]string{"http": "80", "https": "443"}[u.Scheme])}}
}

// nginxAddress gives an address without a port the usual one.
func nginxAddress(s, port string) string {
	if strings.HasPrefix(s, "unix:") {
		return s
	}
	if _, _, err := net.SplitHostPort(s); err == nil {
		return s
	}
	return strings.TrimSuffix(s, ":") + ":" + port
}

// nginxListen is where a listen directive listens. Source: nginx's documentation of ngx_http_core_module.
func nginxListen(s string) (string, int) {
	if strings.HasPrefix(s, "unix:") {
		return s, 0
	}
	if n, err := strconv.Atoi(s); err == nil {
		return fmt.Sprintf("*:%d", n), n
	}
	s = nginxAddress(s, "80")
	_, port, _ := net.SplitHostPort(s)
	n, _ := strconv.Atoi(port)
	return s, n
}

// nginxPath is a file's path: names are relative to the folder of the configuration.
func nginxPath(s string) string {
	if s == "" || path.IsAbs(s) || strings.ContainsAny(s, "$:") {
		return s
	}
	return path.Join(path.Dir(nginxConfig), s)
}
