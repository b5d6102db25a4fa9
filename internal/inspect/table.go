package inspect

import "strings"

// A table finds many texts in one pass: at each place it looks at the texts that begin with the two bytes that stand there.
type table struct {
	texts []string
	pairs [256]*[256][]uint16
	first [256]bool
}

// newTable makes a table of texts of at least two bytes.
func newTable(texts []string) *table {
	t := &table{texts: texts}
	for i, s := range texts {
		if t.pairs[s[0]] == nil {
			t.pairs[s[0]] = new([256][]uint16)
			t.first[s[0]] = true
		}
		p := t.pairs[s[0]]
		p[s[1]] = append(p[s[1]], uint16(i))
	}
	return t
}

// each calls f with the number and place of each text that stands in s, until f says no.
func (t *table) each(s string, f func(text, at int) bool) {
	for i := 0; i+1 < len(s); i++ {
		if !t.first[s[i]] {
			continue
		}
		for _, n := range t.pairs[s[i]][s[i+1]] {
			if strings.HasPrefix(s[i:], t.texts[n]) && !f(int(n), i) {
				return
			}
		}
	}
}
