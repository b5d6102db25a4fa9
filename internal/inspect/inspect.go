// Package inspect tells attacks in what a request carries: its target, referrer and agent. Values are decoded as servers decode them, then held
// against tables of strong signs and against a tokenizer of SQL and HTML (libinjection). What is plainly harmless — letters, digits and the
// punctuation of paths — is told by one look at each byte, so that ordinary traffic costs next to nothing, and the work on one request is bounded, so
// that an attacker does not set our speed. Bodies are not in access logs and are not seen.
//
// The definitions are those of the reference of detections, section 3.3.
package inspect

import (
	"bytes"
	"strings"

	libinjection "github.com/corazawaf/libinjection-go"
)

// Bounds of what is looked at in one request.
const (
	MaxTarget = 8 << 10 // bytes of a target
	MaxValue  = 2 << 10 // bytes of a decoded value that are looked at together
	MaxValues = 32      // values of one request that are not plainly harmless
	maxDecode = 3       // times that percent signs are decoded
	overlap   = 512     // bytes that two pieces of a long value have in common
)

// Attack is a set of kinds of attack.
type Attack uint16

// The kinds.
const (
	SQLi       Attack = 1 << iota // SQL injection
	XSS                           // script in a page
	Traversal                     // a path out of the served folder
	Shell                         // a web shell's name, or a script with a command
	Command                       // a command of a shell
	PHP                           // code or wrappers of PHP
	RemoteFile                    // a file to be included from elsewhere
	Exploit                       // a known flaw's request: JNDI lookups, class loaders, …
	Known                         // a path that only those who look for flaws ask for
	Agent                         // a scanner that names itself
	OpenProxy                     // a request to be passed on to another server
	Malformed                     // no HTTP at all
)

var attackNames = []string{"sqli", "xss", "traversal", "shell", "command", "php", "remote_file", "exploit", "known", "agent", "open_proxy", "malformed"}

// String lists the kinds' names, with blanks between.
func (a Attack) String() string {
	var names []string
	for i, n := range attackNames {
		if a&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, " ")
}

// Named gives the kind of a name.
func Named(name string) (Attack, bool) {
	for i, n := range attackNames {
		if n == name {
			return 1 << i, true
		}
	}
	return 0, false
}

// An Inspector holds the memory that inspections share. It is used by one goroutine.
type Inspector struct {
	a, b []byte
}

// Request looks at one request. Method may be empty, of what was no HTTP.
func (in *Inspector) Request(method, target, referrer, agent string) Attack {
	var found Attack
	if method == "" {
		if target != "" {
			found |= Malformed
		}
		return found
	}
	if len(target) > MaxTarget {
		target = target[:MaxTarget]
	}
	if method == "CONNECT" || strings.HasPrefix(target, "http://") || strings.HasPrefix(target, "https://") {
		found |= OpenProxy
	}
	path, query, _ := strings.Cut(target, "?")
	found |= in.path(path)
	if query != "" {
		if n, ok := strings.CutPrefix(query, "author="); ok && len(n) < 8 && n != "" && strings.Trim(n, "0123456789") == "" { // names of WordPress's users
			found |= Known
		}
		found |= in.query(query)
		if found&Command != 0 && script(path) {
			found |= Shell
		}
	}
	if agent != "" {
		found |= in.agent(agent)
	}
	if referrer != "" && !plainURL(referrer) {
		found |= in.header(referrer)
	}
	return found
}

// query looks at each name and value.
func (in *Inspector) query(q string) Attack {
	if plainQuery(q) {
		return 0
	}
	var found Attack
	for n := 0; n < MaxValues && q != ""; {
		var pair string
		pair, q = cutAny(q)
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			name, value = "", pair
		}
		if value != "" && !plainValue(value) {
			n++
			found |= in.value(in.decode(value, true))
		}
		if len(name) > 2 {
			if !plainValue(name) {
				n++
			}
			found |= in.name(name)
		}
		if ok && commandName(name) && value != "" {
			found |= commandValue(value)
		}
	}
	return found
}

func cutAny(q string) (string, string) {
	if i := strings.IndexByte(q, '&'); i >= 0 {
		return q[:i], q[i+1:]
	}
	return q, ""
}

// value looks at one decoded value, piece by piece where it is long: an attack may stand behind any amount of text.
func (in *Inspector) value(v string) Attack {
	var found Attack
	for len(v) > MaxValue {
		found |= in.piece(v[:MaxValue])
		v = v[MaxValue-overlap:]
	}
	return found | in.piece(v)
}

func (in *Inspector) piece(v string) Attack {
	m := look(v)
	if m == 0 {
		return 0
	}
	var found Attack
	low := in.lower(v)
	if m&(quote|paren|blank|comment|semicolon|equals|keyword) != 0 && injected(low, m) {
		found |= SQLi
	} else if m&(quote|paren|comment|semicolon|equals|blank) != 0 && m&(keyword|quote|comment|semicolon) != 0 {
		if is, print := libinjection.IsSQLi(v); is && strong(print, low) {
			found |= SQLi
		}
	}
	if m&(angle|quote|colon) != 0 && (m&angle != 0 || strings.Contains(low, "on") || strings.Contains(low, "script")) && scripted(low, v, m) {
		found |= XSS
	}
	found |= signs(low, m)
	return found
}

// name looks at a parameter's name: attacks are put there as well.
func (in *Inspector) name(name string) Attack {
	if plainValue(name) {
		if strings.HasPrefix(name, "class.module.") { // CVE-2022-22965
			return Exploit
		}
		return 0
	}
	v := in.decode(name, true)
	if strings.HasPrefix(v, "class.module.") {
		return Exploit
	}
	return in.value(v)
}

func (in *Inspector) path(p string) Attack {
	var found Attack
	decoded := p
	if strings.IndexByte(p, '%') >= 0 || strings.IndexByte(p, '\\') >= 0 {
		decoded = in.decode(p, false)
	}
	if strings.Contains(decoded, "..") {
		if leaves(decoded) {
			found |= Traversal
		}
	}
	low := decoded
	if upper(decoded) {
		low = in.lower(decoded)
	}
	found |= knownPath(low)
	if i := strings.LastIndexByte(decoded, '/'); i >= 0 && i+1 < len(decoded) {
		if name := decoded[i+1:]; shellName(name) || leftName(name, i == 0) {
			found |= Shell
		}
	} else if shellName(decoded) {
		found |= Shell
	}
	if !plainPath(decoded) {
		m := look(decoded)
		found |= signs(low, m)
		if m&(quote|paren|semicolon|comment) != 0 {
			// A path is prose more often than SQL: only strong signs count.
			if injected(low, m) {
				found |= SQLi
			}
			if m&angle != 0 && scripted(low, decoded, m) {
				found |= XSS
			}
		}
	}
	return found
}

// header looks at a referrer, whose own query may carry what a scanner puts everywhere.
func (in *Inspector) header(s string) Attack {
	if len(s) > MaxValue {
		s = s[:MaxValue]
	}
	v := in.decode(s, true)
	m := look(v)
	low := in.lower(v)
	found := signs(low, m) & (Exploit | Command | PHP)
	if m&angle != 0 && scripted(low, v, m) {
		found |= XSS
	}
	if m&(quote|paren) != 0 && injected(low, m) {
		found |= SQLi
	}
	return found
}

func (in *Inspector) agent(s string) Attack {
	if len(s) > MaxValue {
		s = s[:MaxValue]
	}
	if strings.HasPrefix(s, "Mozilla/5.0 (") && strings.Contains(s, "Gecko") && plainAgent(s) { // a browser; scanners call themselves "Mozilla/5.0 (compatible; …"
		return 0
	}
	low := in.lower(s)
	var found Attack
	scannerTable.each(low, func(int, int) bool {
		found |= Agent
		return false
	})
	m := look(low)
	if m&(quote|angle|dollar) != 0 {
		found |= in.header(s)
	}
	return found
}

// decode undoes percent signs up to three times while that changes something, "%uXXXX" too; "+" is a blank in a query. NULs go.
func (in *Inspector) decode(s string, query bool) string {
	if len(s) > MaxTarget {
		s = s[:MaxTarget]
	}
	in.a = append(in.a[:0], s...)
	if query {
		for i, c := range in.a {
			if c == '+' {
				in.a[i] = ' '
			}
		}
	}
	for range maxDecode {
		if !in.pass() {
			break
		}
	}
	return string(in.a)
}

// pass decodes once, from a into b and back. It says whether another pass can find anything: whether a percent sign came out of this one.
func (in *Inspector) pass() bool {
	a, b := in.a, in.b[:0]
	changed := false
	for i := 0; i < len(a); {
		j := i
		for j < len(a) && !special[a[j]] {
			j++
		}
		b = append(b, a[i:j]...)
		if i = j; i == len(a) {
			break
		}
		c := a[i]
		switch {
		case c == '%' && i+2 < len(a) && hex(a[i+1]) && hex(a[i+2]):
			c = unhex(a[i+1])<<4 | unhex(a[i+2])
			i += 2
			changed = true
		case c == '%' && i+5 < len(a) && a[i+1]|0x20 == 'u' && hex(a[i+2]) && hex(a[i+3]) && hex(a[i+4]) && hex(a[i+5]):
			n := uint(unhex(a[i+2]))<<12 | uint(unhex(a[i+3]))<<8 | uint(unhex(a[i+4]))<<4 | uint(unhex(a[i+5]))
			if n >= 0xff01 && n <= 0xff5e { // full-width forms, as servers fold them
				n -= 0xfee0
			}
			c = byte(n)
			if n > 0xff {
				c = '?'
			}
			i += 5
			changed = true
		case c == '\\' && i+3 < len(a) && a[i+1] == 'x' && hex(a[i+2]) && hex(a[i+3]): // nginx's escape in the log
			c = unhex(a[i+2])<<4 | unhex(a[i+3])
			i += 3
			changed = true
		}
		i++
		if c != 0 {
			b = append(b, c)
		}
	}
	in.a, in.b = b, a
	// "%2%35" becomes "%25": a sign that was there may only now have its digits.
	return changed && bytes.IndexByte(b, '%') >= 0
}

// special are the bytes at which decoding has something to do.
var special = [256]bool{0: true, '%': true, '\\': true}

func (in *Inspector) lower(s string) string {
	if !upper(s) {
		return s
	}
	in.b = in.b[:0]
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		in.b = append(in.b, c)
	}
	return string(in.b)
}

func upper(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= 'A' && s[i] <= 'Z' {
			return true
		}
	}
	return false
}

func hex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
