package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

var errTruncated = errors.New("the answer broke off")

// writeJSON indents a JSON text by four spaces while it streams: a list of machines may be larger than memory
// allows. It trusts the text to be JSON, and notices only one that ends too early. For a terminal, characters
// that a terminal would obey are written as escapes, which keeps the text the same JSON.
func writeJSON(w io.Writer, r io.Reader, terminal bool) error {
	in := bufio.NewReaderSize(r, 64<<10)
	p := &printer{w: bufio.NewWriterSize(w, 64<<10), terminal: terminal}
	for {
		c, err := in.ReadByte()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("cannot read the answer: %w", err)
		}
		if c >= 0x80 && p.inString && terminal {
			_ = in.UnreadByte()
			c, _, _ := in.ReadRune() // buffered: it was read a moment ago
			p.rune(c)
			continue
		}
		p.byte(c)
	}
	if p.depth > 0 || p.inString {
		_ = p.w.Flush()
		return errTruncated
	}
	_ = p.w.WriteByte('\n')
	return p.w.Flush()
}

// printer is the state of writeJSON. Errors of w are kept by it until Flush.
type printer struct {
	w        *bufio.Writer
	terminal bool
	depth    int
	opened   bool // the last token opened a list or an object, which may turn out empty
	inString bool
	escaped  bool // the last character in the string was a backslash
}

func (p *printer) rune(r rune) {
	p.escaped = false
	switch {
	case shown(r):
		_, _ = p.w.WriteRune(r)
	case r > 0xffff:
		r -= 0x10000
		_, _ = fmt.Fprintf(p.w, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
	default:
		_, _ = fmt.Fprintf(p.w, `\u%04x`, r)
	}
}

func (p *printer) byte(c byte) {
	if p.inString {
		switch {
		case p.terminal && (c < 0x20 || c == 0x7f):
			p.rune(rune(c))
			return
		case p.escaped:
			p.escaped = false
		case c == '\\':
			p.escaped = true
		case c == '"':
			p.inString = false
		}
		_ = p.w.WriteByte(c)
		return
	}
	if c == ' ' || c == '\t' || c == '\r' || c == '\n' {
		return
	}
	if p.terminal && (c < 0x20 || c >= 0x7f) {
		c = '?' // not JSON
	}
	closing := c == '}' || c == ']'
	if closing && p.depth > 0 {
		p.depth--
	}
	if p.opened != closing { // an empty list stays on its line
		p.line()
	}
	p.opened = c == '{' || c == '['
	_ = p.w.WriteByte(c)
	switch c {
	case '{', '[':
		p.depth++
	case ',':
		p.line()
	case ':':
		_ = p.w.WriteByte(' ')
	case '"':
		p.inString = true
	}
}

func (p *printer) line() {
	_ = p.w.WriteByte('\n')
	for range p.depth {
		_, _ = p.w.WriteString("    ")
	}
}

func (a *app) showRaw(raw []byte) error {
	return writeJSON(a.stdout, bytes.NewReader(raw), a.StdoutTerminal)
}
