package logs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// seeds are lines of each shape, made up, for the fuzzer and for TestHostile.
var seeds = []string{
	"Nov  7 06:13:45 host sshd[123]: Failed password for root from 203.0.113.9 port 42393 ssh2",
	"Nov  7 06:13:45 host sshd[123]: message repeated 5 times: [ Failed password for root from 203.0.113.9 port 42393 ssh2]",
	"2026-11-07T06:13:45.123456-07:00 host sshd-session[123]: Invalid user  from 203.0.113.9 port 4",
	"<38>1 2026-11-07T06:13:45Z host sshd 123 - [a b=\"c\\\"]\"] Accepted publickey for ann from 2001:db8::1 port 4 ssh2: RSA SHA256:x",
	"<38>Nov  7 06:13:45 host sshd[1]: Disconnecting invalid user x 203.0.113.9 port 4: Change of username or service not allowed: (x,y) -> (z,y) [preauth]",
	"[32198.726538] [UFW BLOCK] IN=eth0 OUT= MAC= SRC=198.51.100.7 DST=203.0.113.5 LEN=44 PROTO=TCP SPT=1 DPT=2 SYN URGP=0 ",
	"Nov  7 06:13:45 host kernel: IPv4: martian source 203.0.113.5 from 10.0.0.7, on dev eth0",
	"blocked incoming tcp connection request from 198.51.100.7:8240 to 203.0.113.5:6002",
	`203.0.113.9 - alice [07/Nov/2026:06:13:45 +0000] "GET /a?b=c HTTP/1.1" 200 2326 "https://ref/" "Mozilla/5.0" "198.51.100.4"`,
	`www.example.com:443 203.0.113.9 - - [07/Nov/2026:06:13:45 +0000] "\x16\x03" 400 0 "-" "-"`,
	`2026/11/07 06:13:45 [error] 2035#2035: *9134 user "a" was not found in "/f", client: 203.0.113.9, server: x, request: "GET / HTTP/1.1", host: "x"`,
	`[Sat Nov 07 06:13:45.913548 2026] [auth_basic:error] [pid 742:tid 1401] [client 203.0.113.9:50900] AH01617: user alice: authentication failure for "/"`,
	`Nov  7 06:13:45 lb haproxy[760]: ::ffff:203.0.113.9:58430 [07/Nov/2026:22:45:11.608] f~ b/s 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {a} {} "GET / HTTP/1.1"`,
	"2020-03-31 21:18:08 regiond: [info] 10.132.172.1 POST /MAAS/accounts/login/ HTTP/1.1 --> 400 BAD_REQUEST (referrer: -; agent: -)",
	`{"__REALTIME_TIMESTAMP":"1","_COMM":"sshd","SYSLOG_IDENTIFIER":"sshd","MESSAGE":[70,97,105,108]}`,
	`{"type":"security","message":"AUTHN_login_unsuccessful","user_id":"ann"}`,
	`{"event":"Start processing request","trace_id":"a","request_remote_ip":"203.0.113.9"}`,
}

// FuzzParse: no line panics, and what is read keeps to its bounds.
func FuzzParse(f *testing.F) {
	for _, s := range seeds {
		f.Add(s)
	}
	p := NewParser(time.UTC, 2026)
	f.Fuzz(func(t *testing.T, line string) {
		var r Record
		p.Parse(line, &r)
		if r.Count < 1 || r.Count > MaxRepeat {
			t.Fatalf("count %d", r.Count)
		}
		if r.Source.IsValid() && r.SourceName == "" || r.Source.Zone() != "" || r.Source.Is4In6() {
			t.Fatalf("source %v of %q", r.Source, r.SourceName)
		}
		if len(r.Message) > MaxLine {
			t.Fatalf("a message of %d bytes", len(r.Message))
		}
	})
}

// TestHostile: what attackers write into logs does not get somebody else blamed, and costs no more than its length.
func TestHostile(t *testing.T) {
	for name, c := range map[string]struct {
		line    string
		kind    Kind
		outcome Outcome
		source  string
		count   int
	}{
		"an address in a user's name": {line: "Nov  7 06:13:45 h sshd[1]: Invalid user x from 192.0.2.1 port 22 from 198.51.100.7 port 4000",
			kind: SSH, outcome: Failure, source: "198.51.100.7"},
		"a whole message in a user's name": {line: "Nov  7 06:13:45 h sshd[1]: Failed password for invalid user a from 192.0.2.1 port 1 ssh2 from 198.51.100.7 port 4 ssh2",
			kind: SSH, outcome: Failure, source: "198.51.100.7"},
		"two readings blame nobody": {line: "Nov  7 06:13:45 h sshd[1]: Failed publickey for invalid user a from 192.0.2.1 port 1 ssh2: RSA from 198.51.100.7 port 4 ssh2: RSA SHA256:x",
			kind: SSH, outcome: Failure},
		"a user's name in a disconnection": {line: "Nov  7 06:13:45 h sshd[1]: Disconnecting invalid user a 192.0.2.1 port 1: x 198.51.100.7 port 4: Too many authentication failures [preauth]",
			kind: SSH, outcome: Same},
		"rhost in a remote user's name": {line: "Nov  7 06:13:45 h sshd[1]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser=x rhost=192.0.2.1 rhost=198.51.100.7",
			kind: SSH, outcome: Same, source: "198.51.100.7"},
		"sshd's words in an agent": {line: `Nov  7 06:13:45 h nginx: 198.51.100.7 - - [07/Nov/2026:06:13:45 +0000] "GET / HTTP/1.1" 200 1 "-" "sshd[1]: Failed password for root from 192.0.2.1 port 1 ssh2"`,
			kind: Web, source: "198.51.100.7"},
		"a request with a status in it": {line: `198.51.100.7 - - [07/Nov/2026:06:13:45 +0000] "GET /\" 200 1 HTTP/1.1" 404 1 "-" "-"`, kind: Web, source: "198.51.100.7"},
		"an arrow in an agent": {line: "2026-11-07 06:13:45 regiond: [info] 198.51.100.7 GET /MAAS/ HTTP/1.1 --> 200 OK (referrer: -; agent: x POST /MAAS/accounts/login/ HTTP/1.1 --> 400 BAD_REQUEST)",
			kind: MAAS, source: "198.51.100.7"},
		"fields in an ICMP error's bracket": {line: "Nov  7 06:13:45 h kernel: [UFW BLOCK] IN=eth0 OUT= SRC=198.51.100.7 DST=203.0.113.5 LEN=96 PROTO=ICMP TYPE=3 CODE=3 [SRC=192.0.2.1 DST=198.51.100.7 PROTO=UDP SPT=1 DPT=2 ]",
			kind: Firewall, source: "198.51.100.7"},
		"repeated beyond belief": {line: "Nov  7 06:13:45 h sshd[1]: message repeated 999999999 times: [ Failed password for root from 198.51.100.7 port 4 ssh2]",
			kind: SSH, outcome: Failure, source: "198.51.100.7", count: MaxRepeat},
		"a host's name is not resolved":      {line: "Nov  7 06:13:45 h sshd[1]: Failed password for root from victim.example port 4 ssh2", kind: SSH, outcome: Failure},
		"octal is not read":                  {line: "Nov  7 06:13:45 h sshd[1]: Failed password for root from 192.030.0.6 port 4 ssh2", kind: SSH, outcome: Failure},
		"a journal entry that claims sshd":   {line: `{"__REALTIME_TIMESTAMP":"1","_COMM":"python3","SYSLOG_IDENTIFIER":"sshd","MESSAGE":"Failed password for root from 192.0.2.1 port 1 ssh2"}`, kind: Other},
		"a second line in a message":         {line: `{"__REALTIME_TIMESTAMP":"1","_COMM":"sshd","MESSAGE":"Received disconnect from 198.51.100.7 port 4:11: x\nFailed password for root from 192.0.2.1 port 1 ssh2"}`, kind: SSH, outcome: Noise, source: "198.51.100.7"},
		"the continuation of a traceback":    {line: "\tFailed password for root from 192.0.2.1 port 1 ssh2", kind: Other},
		"control bytes":                      {line: "Nov  7 06:13:45 h sshd[1]: Invalid user \x1b[31m\x00\xff from 198.51.100.7 port 4", kind: SSH, outcome: Failure, source: "198.51.100.7"},
		"an address of a link with its zone": {line: "Nov  7 06:13:45 h sshd[1]: Failed password for root from fe80::1%eth0 port 4 ssh2", kind: SSH, outcome: Failure, source: "fe80::1"},
		"ten megabytes": {line: "Nov  7 06:13:45 h sshd[1]: Invalid user " + strings.Repeat("a from 192.0.2.1 port 1 ", 400_000) + " from 198.51.100.7 port 4",
			kind: SSH, outcome: Failure},
	} {
		t.Run(name, func(t *testing.T) {
			p := NewParser(time.UTC, 2026)
			var r Record
			p.Parse(c.line, &r)
			got := ""
			if r.Source.IsValid() {
				got = r.Source.String()
			}
			if r.Cut != (len(c.line) > MaxLine) {
				t.Errorf("cut %v", r.Cut)
			}
			if r.Kind != c.kind || r.Outcome != c.outcome || got != c.source || r.Count != max(1, c.count) {
				t.Errorf("%v %v %q ×%d, want %v %v %q ×%d", r.Kind, r.Outcome, got, r.Count, c.kind, c.outcome, c.source, max(1, c.count))
			}
		})
	}
}

// TestJoin: a line without an address gets it from the same connection's earlier lines, and from nobody else's.
func TestJoin(t *testing.T) {
	const from, many = "Connection from 198.51.100.7 port 4 on 203.0.113.5 port 22", "Disconnecting: Too many authentication failures for root [preauth]"
	for name, c := range map[string]struct {
		first, second string
		want          string
	}{
		"the same process":             {"Nov  7 06:13:45 a sshd[7]: " + from, "Nov  7 06:13:55 a sshd[7]: " + many, "198.51.100.7"},
		"another process":              {"Nov  7 06:13:45 a sshd[7]: " + from, "Nov  7 06:13:55 a sshd[8]: " + many, ""},
		"another host's process":       {"Nov  7 06:13:45 a sshd[7]: " + from, "Nov  7 06:13:55 b sshd[7]: " + many, ""},
		"a process of the same number": {"Nov  7 06:13:45 a sshd[7]: " + from, "Nov  7 09:13:55 a sshd[7]: " + many, ""},
		"one that shares its place":    {"Nov  7 06:13:45 a sshd[7]: " + from, "Nov  7 06:13:55 a sshd[4103]: " + many, ""},
	} {
		p := NewParser(time.UTC, 2026)
		var r Record
		p.Parse(c.first, &r)
		p.Parse(c.second, &r)
		if r.SourceName != c.want {
			t.Errorf("%s: %q, want %q", name, r.SourceName, c.want)
		}
	}
}

// TestSeeds reads every real line that there is beside the project without panicking; the fuzzer starts from the made up ones.
func TestSeeds(t *testing.T) {
	p := NewParser(time.UTC, 2026)
	var r Record
	for _, s := range seeds {
		if p.Parse(s, &r); r.Kind == Unknown || r.Malformed {
			t.Errorf("%v: %q", r.Kind, s)
		}
	}
	paths, _ := filepath.Glob(filepath.Join(labelled, "*", "*.log"))
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(data), "\n") {
			for cut := 0; cut < len(line); cut += 1 + len(line)/7 {
				p.Parse(line[:cut], &r)
				p.Parse(line[cut:], &r)
			}
		}
	}
}
