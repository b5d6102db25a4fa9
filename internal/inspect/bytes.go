package inspect

import "strings"

// mark is what the bytes of a value say at one look.
type mark uint16

const (
	quote mark = 1 << iota
	paren
	blank
	comment // -- # /*
	semicolon
	equals // = < > | & !
	keyword
	angle
	colon
	dollar
	slash
)

// class gives each byte's part of a value's marks.
var class = func() (t [256]mark) {
	for _, c := range "'\"`\\" {
		t[c] = quote
	}
	t['('], t[')'] = paren, paren
	t[' '], t['\t'], t['\n'], t['\r'] = blank, blank, blank, blank
	t['#'] = comment
	t[';'] = semicolon
	t['='], t['|'], t['!'], t['^'], t['~'], t['@'] = equals, equals, equals, equals, equals, equals
	t['<'], t['>'] = angle|equals, angle|equals
	t[':'] = colon
	t['$'], t['{'] = dollar, dollar
	t['/'] = slash
	return t
}()

// look marks a decoded value. Zero means harmless: letters, digits and punctuation of no meaning.
func look(v string) mark {
	var m mark
	for i := 0; i < len(v); i++ {
		m |= class[v[i]]
		if v[i] == '-' && i+1 < len(v) && v[i+1] == '-' || v[i] == '/' && i+1 < len(v) && v[i+1] == '*' {
			m |= comment
		}
	}
	if m == 0 || m == blank || m&(blank|quote|paren|comment|semicolon|equals) == 0 {
		if m&blank != 0 && sqlWord(v) {
			m |= keyword
		}
		return m
	}
	if sqlWord(v) {
		m |= keyword
	}
	return m
}

const (
	plain   = 1 << iota // letters, digits, - _ . ~ ,
	inQuery             // what separates values of a query
	inPath
	inAgent
	inURL
)

var plainness = func() (t [256]uint8) {
	for c := 0; c < 256; c++ {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			t[c] = plain | inQuery | inPath | inAgent | inURL
		}
	}
	for _, c := range "-_.~," {
		t[c] = plain | inQuery | inPath | inAgent | inURL
	}
	for _, c := range "=&" {
		t[c] |= inQuery | inURL
	}
	for _, c := range "/:@" {
		t[c] |= inURL
	}
	t['?'] |= inURL
	t['/'] |= inPath
	t['+'] |= inPath
	for _, c := range " ;:/+()!@" {
		t[c] |= inAgent
	}
	return t
}()

func all(s string, what uint8) bool {
	for i := 0; i < len(s); i++ {
		if plainness[s[i]]&what == 0 {
			return false
		}
	}
	return true
}

func plainQuery(s string) bool {
	dashes := false
	for i := 0; i < len(s); i++ {
		if plainness[s[i]]&inQuery == 0 {
			return false
		}
		if s[i] == '-' && i+1 < len(s) && s[i+1] == '-' {
			dashes = true
		}
	}
	return !dashes && !commandQuery(s) && !strings.Contains(s, "class.module.")
}
func plainValue(s string) bool { return all(s, plain) && !dashed(s) }
func plainPath(s string) bool  { return all(s, inPath) }
func plainAgent(s string) bool { return all(s, inAgent) }
func plainURL(s string) bool   { return all(s, inURL) }

// dashed says whether an SQL comment begins here, as it does without any other sign in "1--".
func dashed(s string) bool {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '-' && s[i+1] == '-' {
			return true
		}
	}
	return false
}
