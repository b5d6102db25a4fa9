package syslog

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// errFrame says that what came is no syslog: the connection ends.
var errFrame = errors.New("this is no syslog")

// frames reads the messages of a connection (RFC 6587, section 3.4): each counted in octets, "11 <34>1 …", or ended by a line feed. Which it is the first
// character of each message says, so a sender may change its mind.
type frames struct {
	r *bufio.Reader
}

func newFrames(r io.Reader) *frames { return &frames{bufio.NewReaderSize(r, 16<<10)} }

// next is the next message, at most MaxLine bytes of it: what is longer is cut. A message of more than maxFrame bytes, and a count that is none, are errFrame.
func (f *frames) next() (string, error) {
	for {
		c, err := f.r.ReadByte()
		if err != nil {
			return "", err
		}
		switch {
		case c == '\n' || c == '\r' || c == 0: // some senders end counted messages so, too
			continue
		case c >= '1' && c <= '9':
			return f.counted(int(c - '0'))
		}
		if err := f.r.UnreadByte(); err != nil {
			return "", err
		}
		return f.line()
	}
}

func (f *frames) counted(n int) (string, error) {
	for {
		c, err := f.r.ReadByte()
		switch {
		case err != nil:
			return "", err
		case c == ' ':
			b := make([]byte, min(n, MaxLine))
			if _, err := io.ReadFull(f.r, b); err != nil {
				return "", err
			}
			if _, err := io.CopyN(io.Discard, f.r, int64(n-len(b))); err != nil {
				return "", err
			}
			return clean(b), nil
		case c < '0' || c > '9':
			return "", errFrame
		}
		if n = n*10 + int(c-'0'); n > maxFrame {
			return "", errFrame
		}
	}
}

func (f *frames) line() (string, error) {
	var b []byte
	for read := 0; ; {
		part, err := f.r.ReadSlice('\n')
		if read += len(part); read > maxFrame {
			return "", errFrame
		}
		b = append(b, part[:min(len(part), MaxLine-len(b))]...)
		switch {
		case err == nil, err == io.EOF && read > 0: // the last one may have no end
			return clean(b), nil
		case err != bufio.ErrBufferFull:
			return "", err
		}
	}
}

// clean is a message as one line: what ends lines within it becomes a blank, so that it cannot pass for several.
func clean(b []byte) string {
	s := string(bytes.TrimRight(b, "\r\n\x00"))
	if strings.ContainsAny(s, "\r\n") {
		s = strings.NewReplacer("\r", " ", "\n", " ").Replace(s)
	}
	return s
}
