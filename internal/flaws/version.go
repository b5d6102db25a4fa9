package flaws

import (
	"errors"
	"strings"
)

// Compare orders two versions as dpkg does: negative where a is earlier, 0 where neither is. Source: deb-version(7). Errors: a word that is
// no version.
func Compare(a, b string) (int, error) {
	x, err := parseVersion(a)
	if err != nil {
		return 0, err
	}
	y, err := parseVersion(b)
	if err != nil {
		return 0, err
	}
	if d := compareNumbers(x.epoch, y.epoch); d != 0 {
		return d, nil
	}
	if d := comparePart(x.upstream, y.upstream); d != 0 {
		return d, nil
	}
	return comparePart(x.revision, y.revision), nil
}

type version struct{ epoch, upstream, revision string }

var errVersion = errors.New("it is no version of a package")

// parseVersion refuses what dpkg does: no upstream version or one that does not begin with a digit, an epoch that is no small number,
// characters that are none of a version's.
func parseVersion(s string) (v version, err error) {
	if len(s) > maxWord {
		return v, errVersion
	}
	if epoch, rest, ok := strings.Cut(s, ":"); ok {
		if epoch == "" || strings.Trim(epoch, digits) != "" || len(strings.TrimLeft(epoch, "0")) > 9 {
			return v, errVersion
		}
		v.epoch, s = epoch, rest
	}
	v.upstream = s
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		if v.upstream, v.revision = s[:i], s[i+1:]; v.revision == "" {
			return v, errVersion
		}
	}
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	if v.upstream == "" || v.upstream[0] < '0' || v.upstream[0] > '9' || strings.Trim(v.upstream, letters+digits+".+-:~") != "" ||
		strings.Trim(v.revision, letters+digits+".+~") != "" {
		return v, errVersion
	}
	return v, nil
}

const digits = "0123456789"

// comparePart compares words and numbers by turns.
func comparePart(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !digit(a[0]) || b != "" && !digit(b[0]) {
			if d := order(a) - order(b); d != 0 {
				return d
			}
			a, b = a[1:], b[1:] // neither is at its end: there the order is 0, and of what is no digit it is not
		}
		var x, y string
		x, a = number(a)
		y, b = number(b)
		if d := compareNumbers(x, y); d != 0 {
			return d
		}
	}
	return 0
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

// order of a word's first character: a tilde is before the end of the word, letters are before all others.
func order(s string) int {
	switch {
	case s == "" || digit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z':
		return int(s[0])
	}
	return int(s[0]) + 256
}

func number(s string) (n, rest string) {
	i := 0
	for i < len(s) && digit(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

// compareNumbers compares numbers of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}
