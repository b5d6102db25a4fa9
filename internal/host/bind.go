package host

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// binds are BIND's configurations: Debian's, which MAAS's packages add to, and the snap's own. Source: bind9's README.Debian; MAAS's
// src/maasserver/management/commands for the snap: MAAS_DNS_CONFIG_DIR is bind below the snap's data.
var binds = map[guard.Product][]string{guard.MAASDeb: {"/etc/bind/named.conf"}, guard.Metalward: {"/etc/bind/named.conf"}, guard.MAASSnap: {"/var/snap/maas/current/bind/named.conf"}}

// DNS implements guard.Host.
func (f *Facts) DNS(p guard.Product) (list []guard.DNS, err error) {
	for _, at := range binds[p] {
		there, bad := f.there(at)
		if bad != nil && err == nil {
			err = bad
		}
		if there {
			list = append(list, f.bind(at))
		}
	}
	return list, err
}

func (f *Facts) bind(config string) guard.DNS {
	r := f.reader()
	d := guard.DNS{Config: config, ACLs: map[string][]string{}}
	all := r.bindFile(config, 0)
	options := bindMerged(all, "options")
	for _, b := range all {
		if b.name == "acl" {
			d.ACLs[b.arg(0)] = bindList(b.body)
		}
	}
	views := 0
	for _, b := range all {
		if b.name == "view" {
			views++
			d.Scopes = append(d.Scopes, bindScope(b.arg(0), b.body, options))
			d.Zones = append(d.Zones, bindZones(b.body, b.body, options)...)
		}
	}
	if views == 0 {
		d.Scopes = []guard.DNSScope{bindScope("", nil, options)}
	}
	d.Zones = append(d.Zones, bindZones(all, nil, options)...)
	d.Err = errors.Join(r.errs...)
	return d
}

// bindMerged is what is in all blocks of a name; there is to be one.
func bindMerged(list []block, name string) (body []block) {
	for _, b := range list {
		if b.name == name {
			body = append(body, b.body...)
		}
	}
	return body
}

// bindSet is a setting of the first level that has it.
func bindSet(name string, levels ...[]block) (block, bool) {
	for _, l := range levels {
		if b, ok := last(l, name); ok {
			return b, true
		}
	}
	return block{}, false
}

// bindWords is a list that a setting is; nil where nothing sets it.
func bindWords(name string, levels ...[]block) []string {
	if b, ok := bindSet(name, levels...); ok {
		return bindList(b.body)
	}
	return nil
}

func bindScope(view string, body, options []block) guard.DNSScope {
	s := guard.DNSScope{View: view, Query: bindWords("allow-query", body, options), QueryCache: bindWords("allow-query-cache", body, options), Recurse: bindWords("allow-recursion", body, options)}
	if b, ok := bindSet("recursion", body, options); ok {
		s.Recursion = strings.ToLower(b.arg(0))
	}
	if b, ok := bindSet("dnssec-validation", body, options); ok {
		s.Validation = strings.ToLower(b.arg(0))
	}
	return s
}

// bindZones are those that the server holds itself. Source: named.conf(5): type, once master and slave.
func bindZones(list, view, options []block) (zones []guard.DNSZone) {
	for _, b := range list {
		if b.name != "zone" {
			continue
		}
		kind, _ := last(b.body, "type")
		switch strings.ToLower(kind.arg(0)) {
		case "primary", "master", "secondary", "slave", "mirror":
			zones = append(zones, guard.DNSZone{Name: b.arg(0), File: b.file, Line: b.line, Transfer: bindWords("allow-transfer", b.body, view, options)})
		}
	}
	return zones
}

// bindList flattens a list of addresses: "!" goes to its word, a key is "key name", a list within is taken for its words. It is never nil.
func bindList(body []block) []string {
	words := []string{}
	for _, b := range body {
		name, args := b.name, b.args
		not := ""
		for name == "!" && len(args) > 0 {
			not, name, args = "!", args[0], args[1:]
		}
		switch {
		case strings.EqualFold(name, "key") && len(args) > 0:
			name = "key " + args[0]
		case name == "" && b.body != nil && not == "" && !slices.ContainsFunc(bindList(b.body), func(w string) bool { return w[0] == '!' }):
			words = append(words, bindList(b.body)...)
			continue
		case name == "" || b.body != nil:
			name = "(a list within the list)" // with an exception in it, which does not end the search: nobody understands it further on
		}
		words = append(words, not+name)
	}
	return words
}

// bindText is a file being taken apart. Source: BIND's reference manual, "Comment Syntax" and "Configuration File Grammar".
type bindText struct {
	*reader
	file, text string
	line       int
}

func (r *reader) bindFile(file string, depth int) []block {
	if depth > maxBlockDepth || !r.take() {
		r.fail(file, 1, errTooMuch)
		return nil
	}
	text, err := r.facts.Read(file)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = errors.New("it is included, and is not there")
		}
		r.fail(file, 1, err)
		return nil
	}
	t := &bindText{r, file, string(text), 1}
	return t.blocks(depth, false)
}

// token is a word, or one of ";{}", or "" for the end; quoted says that a word cannot be one of these.
func (t *bindText) token() (word string, quoted bool, err error) {
	for t.text != "" {
		switch {
		case strings.HasPrefix(t.text, "#"), strings.HasPrefix(t.text, "//"):
			n := strings.IndexByte(t.text, '\n')
			if n < 0 {
				n = len(t.text)
			}
			t.text = t.text[n:]
		case strings.HasPrefix(t.text, "/*"):
			n := strings.Index(t.text, "*/")
			if n < 0 {
				return "", false, errors.New("a comment is not ended")
			}
			t.line += strings.Count(t.text[:n], "\n")
			t.text = t.text[n+2:]
		case strings.IndexByte(" \t\r\n\f\v", t.text[0]) >= 0:
			if t.text[0] == '\n' {
				t.line++
			}
			t.text = t.text[1:]
		case strings.IndexByte(";{}!", t.text[0]) >= 0:
			word, t.text = t.text[:1], t.text[1:]
			return word, false, nil
		case t.text[0] == '"':
			var b strings.Builder
			for i := 1; i < len(t.text); i++ {
				switch c := t.text[i]; {
				case c == '\\' && i+1 < len(t.text):
					i++
					b.WriteByte(t.text[i])
				case c == '"':
					t.text = t.text[i+1:]
					return b.String(), true, nil
				case c == '\n':
					return "", false, errors.New("a quote is not ended")
				default:
					b.WriteByte(c)
				}
			}
			return "", false, errors.New("a quote is not ended")
		default:
			n := strings.IndexAny(t.text, " \t\r\n\f\v;{}\"!")
			if n < 0 {
				n = len(t.text)
			}
			for _, comment := range []string{"//", "/*"} { // a slash alone is a prefix's
				if i := strings.Index(t.text[:n], comment); i > 0 {
					n = i
				}
			}
			word, t.text = t.text[:n], t.text[n:]
			return word, true, nil
		}
	}
	return "", false, nil
}

// blocks reads statements up to the end of a block or of the file.
func (t *bindText) blocks(depth int, inside bool) (list []block) {
	stop := func(err error) []block {
		t.fail(t.file, t.line, err)
		t.text = ""
		return list
	}
	for {
		b := block{file: t.file}
		begun := false
		for ended := false; !ended; {
			word, isWord, err := t.token()
			if err != nil {
				return stop(err)
			}
			switch {
			case isWord || word == "!":
				if !begun {
					b.name, b.line = word, t.line
					if isWord && strings.ContainsAny(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && !inside {
						b.name = strings.ToLower(word)
					}
				} else {
					b.args = append(b.args, word)
				}
				begun = true
			case word == "{":
				if !t.take() || depth > maxBlockDepth {
					return stop(errTooMuch)
				}
				if !begun {
					b.line = t.line
				}
				begun = true
				body := t.blocks(depth+1, true)
				if b.body = append(b.body, body...); b.body == nil {
					b.body = []block{}
				}
			case word == ";":
				ended = true
			case !begun && (word == "" && !inside || word == "}" && inside):
				return list
			default:
				return stop(errors.New("a statement is not ended, or a brace is too many or missing"))
			}
		}
		if !begun {
			continue // two semicolons
		}
		if !t.take() {
			return stop(errTooMuch)
		}
		if strings.EqualFold(b.name, "include") && len(b.args) == 1 && b.body == nil {
			file := b.args[0]
			if !path.IsAbs(file) {
				t.fail(t.file, b.line, errors.New("an inclusion by a relative path depends on where BIND was started"))
				continue
			}
			list = append(list, t.bindFile(file, depth+1)...)
			continue
		}
		list = append(list, b)
	}
}
