package waf

import (
	"bufio"
	"hash/maphash"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// The cheap question before the rules: could any of them match at all? A text is harmless if it holds nothing but letters, digits and a few
// signs, and none of the words that the rules look for without any other sign. Everything that attacks need to leave their place, such as a
// quote, bracket, blank, percent or backslash, is not among them. TestHarmless holds this against the rules themselves.

// harmlessByte marks the bytes of harmless texts.
var harmlessByte = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:,/@") {
		t[c] = true
	}
	return t
}()

// lists are the rules' own lists of words, and more are what their patterns match made of harmless bytes alone; lower case.
var lists = []string{"lfi-os-files", "restricted-files", "ai-critical-artifacts", "windows-powershell-commands", "unix-shell", "php-variables", "ssrf", "ssrf-no-scheme", "java-classes"}

var more = []string{"..", "--", "//", ":/", "@.", "@@", // steps, comments, schemes
	"1.e", "information_schema", "northwind", "tempdb", "msdb", "msys", "mysql.db", "pg_catalog", "pg_toast", "schema_name", "sqlite_", "sysaux", "sys.database", // tables of databases
	"::bigint", "::bool", "::int", "::numeric", "::oid", "::real", "::smallint", "::text", // casts
	"busybox", "command,", "env,", "eval,", "watch,", "trace", "nohup", "time,", "timeout", // commands that start others
	"script:", "data:", "formaction", "xhtml", "xmlns", "xlink", "@import", "@charset", "-moz-binding", ".innerhtml", ".parentnode", "document.", "window.location", "_js_function", // of pages
	"http/", "__proto__", "constructor."}

// words finds any of many words in a text, by their first three bytes.
type words map[[3]byte][]string

func readWords(rules fs.FS) (words, error) {
	w := words{}
	for _, name := range lists {
		f, err := rules.Open("@owasp_crs/" + name + ".data")
		if err != nil {
			return nil, err
		}
		s := bufio.NewScanner(f)
		for s.Scan() {
			w.add(s.Text())
		}
		err = s.Err()
		_ = f.Close() // embedded
		if err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w words) add(text string) {
	if text = strings.ToLower(strings.TrimSpace(text)); text == "" || text[0] == '#' {
		return
	}
	if len(text) < 3 {
		panic("a word of the rules has fewer than three bytes: " + text)
	}
	key := [3]byte([]byte(text))
	w[key] = append(w[key], text)
}

// harmless reports whether no rule can match a text, which is a value or a name.
func (w words) harmless(s string) bool {
	for i := range len(s) {
		if !harmlessByte[s[i]] {
			return false
		}
	}
	low := strings.ToLower(s)
	for _, word := range more {
		if strings.Contains(low, word) {
			return false
		}
	}
	for i := 0; i+3 <= len(low); i++ {
		for _, word := range w[[3]byte([]byte(low[i:i+3]))] {
			if strings.HasPrefix(low[i:], word) {
				return false
			}
		}
	}
	return true
}

func (w words) harmlessForm(form url.Values) bool {
	for name, values := range form {
		if !w.harmless(name) || slices.ContainsFunc(values, func(v string) bool { return !w.harmless(v) }) {
			return false
		}
	}
	return true
}

func (w words) harmlessURL(u *url.URL) bool {
	if u.RawPath != "" || !w.harmless(u.Path) || !plainEnding(u.Path) {
		return false
	}
	query, err := url.ParseQuery(u.RawQuery)
	return err == nil && w.harmlessForm(query)
}

// plainEnding reports whether a path ends without the extension of a file, or with one of the pages' own. The rules refuse a list of others.
func plainEnding(path string) bool {
	switch ext := path[strings.LastIndexByte(path, '/')+1:]; ext[strings.LastIndexByte(ext, '.')+1:] {
	case ext, "css", "js", "svg":
		return true
	}
	return false
}

// rest returns what the rules are to be shown of a form: what is not harmless. Kinds: ErrTooMuch.
func (w words) rest(form url.Values) (url.Values, error) {
	out, n, text := url.Values{}, 0, 0
	for _, name := range slices.Sorted(maps.Keys(form)) {
		for _, value := range form[name] {
			if w.harmless(name) && w.harmless(value) {
				continue
			}
			if n, text = n+1, text+len(name)+len(value); n > maxValues || text > maxText {
				return nil, ErrTooMuch
			}
			out.Add(name, value)
		}
	}
	return out, nil
}

// restURL does so for a query of many values; shorter ones are shown as they came, because some rules look at how they were written.
func (w words) restURL(u *url.URL) (*url.URL, error) {
	if strings.Count(u.RawQuery, "&") < maxValues && len(u.RawQuery) < maxText {
		return u, nil
	}
	query, _ := url.ParseQuery(u.RawQuery) // what cannot be read, no handler sees
	query, err := w.rest(query)
	if err != nil {
		return nil, err
	}
	short := *u
	short.RawQuery = query.Encode()
	return &short, nil
}

// maxHeads bounds how many heads are remembered; then it begins anew.
const maxHeads = 1024

// heads remembers which headers the rules found nothing in: a client sends the same ones each time. A score of several rules adds up only
// where a header matched one.
type heads struct {
	mu    sync.Mutex
	clean map[uint64]bool // guarded by mu
}

var seed = maphash.MakeSeed()

// strict are headers that rules want to have a certain form: harmless texts in them can match, too. Source: the rule set's REQUEST_HEADERS:… with a
// negated pattern, a number, or a list of programs.
var strict = map[string]bool{"Accept": true, "Accept-Encoding": true, "Content-Encoding": true, "Content-Type": true, "Range": true, "Request-Range": true, "Transfer-Encoding": true, "User-Agent": true,
	"X-Filename": true, "X-File-Name": true, "X_filename": true, "X.filename": true}

// head is a number for what the rules see of a request besides its URL and form. Of harmless texts in headers that are not strict the name counts alone: addresses
// of clients behind a proxy, and dates, differ each time; so do the boundaries of multipart bodies.
func (w words) head(q Request) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	part := func(s string) { _, _ = h.WriteString(s); _ = h.WriteByte(0) } // they never fail
	part(q.Method)
	part(q.Proto)
	part(q.Host)
	for _, name := range slices.Sorted(maps.Keys(q.Header)) {
		if !credentials[name] {
			part(name)
			for _, v := range q.Header[name] {
				if kind, boundary, ok := strings.Cut(v, "boundary="); ok && name == "Content-Type" && len(boundary) <= 72 && (w.harmless(strings.Trim(boundary, `"`)) || strings.Trim(boundary, `"=0123456789`) == "") {
					v = kind // the latter are Python's
				}
				if strict[name] || !w.harmless(v) {
					part(v)
				}
			}
			part("")
		}
	}
	return h.Sum64()
}

func (h *heads) known(n uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clean[n]
}

func (h *heads) add(n uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.clean) >= maxHeads {
		clear(h.clean)
	}
	h.clean[n] = true
}
