package vault

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/metalward/metalward/internal/fault"
)

// checkPath reports whether Vault can keep something under a path, and give back the same name. It takes no unprintable
// characters and nothing with two dots; trailing blanks and empty names do not survive proxies. Kinds: Invalid on "path".
func checkPath(path string) error {
	ok := len(path) <= maxText && utf8.ValidString(path) && !strings.Contains(path, "..")
	for name := range strings.SplitSeq(path, "/") {
		ok = ok && name != "" && name != "." && strings.TrimSpace(name) == name && strings.IndexFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
	}
	if !ok {
		return fault.Field("path", "Use names of printable characters, divided by single slashes, at most %d bytes in all, without two dots in a row.", maxText)
	}
	return nil
}

// escape makes a path fit for an address.
func escape(path string) string {
	names := strings.Split(path, "/")
	for i := range names {
		names[i] = url.PathEscape(names[i])
	}
	return strings.Join(names, "/")
}

// printable is a short text of a server, without what a log or terminal would take for more than text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s[:min(len(s), 64)])
}
