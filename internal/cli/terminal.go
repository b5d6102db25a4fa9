package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// clean takes out of a text what a terminal would obey rather than show: control characters and the invisible
// ones that turn the direction of writing. Line ends stay.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !shown(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// cleanLine is clean for a text that must stay on its line.
func cleanLine(s string) string {
	return strings.Join(strings.Fields(clean(s)), " ")
}

func shown(r rune) bool { return !unicode.Is(unicode.Cc, r) && !unicode.Is(unicode.Cf, r) }

// status is a line that changes in place on a terminal, and a new line for each change elsewhere.
type status struct {
	w        io.Writer
	terminal bool
	last     string
}

// show replaces the line.
func (s *status) show(text string) {
	if text = cleanLine(text); text == s.last {
		return
	}
	s.last = text
	if s.terminal {
		_, _ = fmt.Fprintf(s.w, "\r\x1b[K%s", short(text, 100))
		return
	}
	_, _ = fmt.Fprintln(s.w, text)
}

// end leaves the line as it is and goes below it.
func (s *status) end() {
	if s.terminal && s.last != "" {
		_, _ = fmt.Fprintln(s.w)
	}
}

// short keeps a line from wrapping, after which it could not be replaced.
func short(s string, runes int) string {
	if r := []rune(s); len(r) > runes {
		return string(r[:runes-1]) + "…"
	}
	return s
}

// bar draws how far something is.
func bar(done, total int64) string {
	const width = 30
	if total <= 0 {
		total = 1
	}
	filled := int(done * width / total)
	return fmt.Sprintf("[%s%s] %3d%%", strings.Repeat("#", filled), strings.Repeat(".", width-filled), done*100/total)
}
