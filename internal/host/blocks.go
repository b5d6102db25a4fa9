package host

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Limits of a web server's configuration.
const (
	maxBlocks     = 20_000   // directives
	maxBlockDepth = 32       // blocks and inclusions within each other
	maxJoined     = 64 << 10 // bytes of a line that is made of several
)

// block is a directive with what is in it.
type block struct {
	name string // in small letters for Apache, whose names are so
	args []string
	body []block // nil for one without
	raw  string  // the line as written, of HAProxy's alone
	file string
	line int
}

var errTooMuch = fmt.Errorf("more than %d directives, or %d of them within each other", maxBlocks, maxBlockDepth)

var errJoined = fmt.Errorf("a line that is joined of several is longer than %d bytes", maxJoined)

// reader reads the files of one server.
type reader struct {
	facts *Facts
	left  int
	errs  []error
}

func (f *Facts) reader() *reader { return &reader{facts: f, left: maxBlocks} }

// take counts a directive.
func (r *reader) take() bool { r.left--; return r.left >= 0 }

func (r *reader) fail(file string, line int, err error) {
	if len(r.errs) < maxRules {
		r.errs = append(r.errs, fmt.Errorf("%s, line %d: %w", file, line, err))
	}
}

// matching are the files of a pattern, and whether that names one file.
func (r *reader) matching(pattern string) ([]string, error) {
	found, err := r.facts.Glob(pattern)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return found, err
	}
	return found, nil
}

// last is the last directive of a name, as that usually decides.
func last(list []block, name string) (block, bool) {
	for _, b := range slices.Backward(list) {
		if b.name == name {
			return b, true
		}
	}
	return block{}, false
}

// arg is an argument, "" where there is none.
func (b block) arg(i int) string {
	if i >= 0 && i < len(b.args) {
		return b.args[i]
	}
	return ""
}
