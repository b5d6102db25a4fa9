package guard

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Show makes a text from outside safe to print in one line: what is no printable character (control characters, terminal escapes,
// directions of writing, bytes that are no UTF-8) is written as \x1b or \u202e. Showing twice is showing once.
func Show(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1, r < utf8.RuneSelf && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !unicode.IsPrint(r) && r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

// Quote writes a word for a shell (bash, zsh, and sh of POSIX 2024: $'…') such that it stands for exactly these bytes and can be printed.
func Quote(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-:=@%+,"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	if Show(s) == s && !strings.Contains(s, "'") {
		return "'" + s + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\'' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03o`, c) // octal: a hexadecimal escape would take the digits after it along
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + "'"
}
