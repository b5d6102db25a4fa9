package units

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Lines of logs for samples. Addresses are those kept for documentation (RFC 5737, RFC 3849).

func itoa(n int) string { return strconv.Itoa(n) }

// start is when samples begin.
var start = time.Date(2026, 11, 7, 6, 0, 0, 0, time.UTC)

// bsd is a stamp so many seconds after the start.
func bsd(at int) string { return start.Add(time.Duration(at) * time.Second).Format("Jan _2 15:04:05") }

// packet is a line of the packet filter.
type packet struct {
	at                      int // seconds
	prefix, src, dst, proto string
	sport, dport            int
	flags                   string
	out                     bool
}

func packets(n int, each func(i int) packet) []string {
	var lines []string
	for i := range n {
		lines = append(lines, each(i).String())
	}
	return lines
}

func (p packet) String() string {
	or := func(s, d string) string {
		if s == "" {
			return d
		}
		return s
	}
	in, out := "IN=eth0 OUT=", ""
	if p.out {
		in, out = "IN=", "OUT=eth0"
		in += " " + out
	}
	sport := p.sport
	if sport == 0 {
		sport = 51000 + p.at%10000
	}
	proto := or(p.proto, "TCP")
	tail := " WINDOW=1024 RES=0x00 " + or(p.flags, "SYN") + " URGP=0 "
	if proto == "UDP" {
		tail = " LEN=24 "
	}
	return fmt.Sprintf("%s host kernel: [ 7898.809280] %s %s MAC=52:54:00:aa:bb:cc:fe:54:00:dd:ee:ff:08:00 SRC=%s DST=%s LEN=44 TOS=0x00 PREC=0x00 TTL=240 ID=%d PROTO=%s SPT=%d DPT=%d%s",
		bsd(p.at), or(p.prefix, "[UFW BLOCK]"), in, or(p.src, "198.51.100.7"), or(p.dst, "203.0.113.5"), 1+p.at%65000, proto, sport, p.dport, tail)
}

// request is a line of an access log.
type request struct {
	at                                  int
	client, user, method, target, agent string
	status                              int
	forwarded                           string
}

func requests(n int, each func(i int) request) []string {
	var lines []string
	for i := range n {
		lines = append(lines, each(i).String())
	}
	return lines
}

func (q request) String() string {
	if q.client == "" {
		q.client = "198.51.100.7"
	}
	if q.user == "" {
		q.user = "-"
	}
	if q.method == "" {
		q.method = "GET"
	}
	if q.agent == "" {
		q.agent = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	}
	if q.status == 0 {
		q.status = 200
	}
	line := fmt.Sprintf(`%s - %s [%s] "%s %s HTTP/1.1" %d 512 "-" "%s"`, q.client, q.user, start.Add(time.Duration(q.at)*time.Second).Format("02/Jan/2006:15:04:05 -0700"),
		q.method, q.target, q.status, q.agent)
	if q.forwarded != "" {
		line += ` "` + q.forwarded + `"`
	}
	return line
}

// sshd is a line of sshd.
func sshd(at, pid int, message string) string {
	return fmt.Sprintf("%s host sshd[%d]: %s", bsd(at), pid, message)
}

func sshds(n int, each func(i int) string) []string {
	var lines []string
	for i := range n {
		lines = append(lines, each(i))
	}
	return lines
}

// failed is a refused password so many seconds after the start, of a process of its own.
func failed(at int, user, from string) string {
	return sshd(at, 1000+at%30000, "Failed password for "+user+" from "+from+" port 40022 ssh2")
}

func accepted(at int, user, from string) string {
	return sshd(at, 1000+at%30000, "Accepted password for "+user+" from "+from+" port 40022 ssh2")
}

// regiond is an access line of MAAS's region controller.
func regiond(at int, client, request string, code string) string {
	return start.Add(time.Duration(at)*time.Second).Format("2006-01-02 15:04:05") + " regiond: [info] " + client + " " + request + " HTTP/1.1 --> " + code +
		" (referrer: http://maas.example:5240/MAAS/r/; agent: Mozilla/5.0)"
}

// security is one security event of MAAS 3.8 or of Metalward.
func security(at int, fields ...string) string {
	return `{"type":"security","timestamp":"` + start.Add(time.Duration(at)*time.Second).Format("2006-01-02T15:04:05.000000Z") + `",` + strings.Join(fields, ",") + `}`
}

func several(n int, each func(i int) string) []string { return sshds(n, each) }

const second = time.Second

// raw is a line of an access log whose request is no HTTP.
func raw(at int, text string) string {
	return fmt.Sprintf(`198.51.100.7 - - [%s] "%s" 400 157 "-" "-"`, start.Add(time.Duration(at)*time.Second).Format("02/Jan/2006:15:04:05 -0700"), text)
}

// nginxError is a line of nginx's error log.
func nginxError(at int, text string) string {
	return start.Add(time.Duration(at)*time.Second).Format("2006/01/02 15:04:05") + ` [error] 2035#2035: *9134 ` + text +
		`, client: 198.51.100.7, server: maas.example, request: "GET / HTTP/1.1", host: "maas.example"`
}
