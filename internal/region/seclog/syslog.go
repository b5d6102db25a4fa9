package seclog

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// severities are syslog's numbers. Source: RFC 5424 section 6.2.1.
var severities = map[string]int{Info: 6, Warn: 4, Critical: 2}

const facilitySecurity = 13 // log audit. Source: RFC 5424 table 1

// syslog sends frames of RFC 5424 over TLS. Source: RFC 5425.
type syslog struct {
	address, host string
	tls           *tls.Config
	conn          net.Conn
}

// frame is an event as RFC 5425 frames it: its length, a blank, and the message of RFC 5424.
func frame(e Event, text []byte, host string, pid int) []byte {
	msg := fmt.Sprintf("<%d>1 %s %s metalward %d security - %s", facilitySecurity*8+severities[e.Level], e.Timestamp, printable(host), pid, text)
	return fmt.Appendf(nil, "%d %s", len(msg), msg)
}

// printable is a name as a header of RFC 5424 takes it.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), 255)]
}

func (s *syslog) write(ctx context.Context, e Event, text []byte) error {
	if s.conn == nil {
		dial, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := (&tls.Dialer{Config: s.tls}).DialContext(dial, "tcp", s.address)
		if err != nil {
			return err
		}
		s.conn = conn
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := s.conn.Write(frame(e, text, s.host, os.Getpid())); err != nil {
		s.close()
		return err
	}
	return nil
}

func (s *syslog) close() {
	if s.conn != nil {
		_ = s.conn.Close() // each frame was written as it came
		s.conn = nil
	}
}

// journalSocket is where the journal listens. Source: systemd, Native Journal Protocol.
const journalSocket = "/run/systemd/journal/socket"

// journal sends datagrams to the systemd journal.
type journal struct {
	path string
	conn *net.UnixConn
}

func (j *journal) open() error {
	if j.path == "" {
		j.path = journalSocket
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: j.path, Net: "unixgram"})
	j.conn = conn
	return err
}

// entry is an event in the journal's own protocol: a field a line, one with line ends with its length.
func entry(e Event, text []byte) []byte {
	b := fmt.Appendf(nil, "SYSLOG_IDENTIFIER=metalward\nPRIORITY=%d\nMETALWARD_TYPE=security\nMESSAGE\n", severities[e.Level])
	b = binary.LittleEndian.AppendUint64(b, uint64(len(text)))
	return append(append(b, text...), '\n')
}

func (j *journal) write(_ context.Context, e Event, text []byte) error {
	if j.conn == nil {
		if err := j.open(); err != nil {
			return err
		}
	}
	_ = j.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := j.conn.Write(entry(e, text)); err != nil {
		j.close()
		return err
	}
	return nil
}

func (j *journal) close() {
	if j.conn != nil {
		_ = j.conn.Close() // datagrams are gone once written
		j.conn = nil
	}
}
