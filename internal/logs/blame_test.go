package logs

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

// blamed is one line, or several of which the last counts, and whom it blames; "" is nobody.
type blamed struct {
	lines   []string
	kind    Kind
	outcome Outcome
	source  string
}

func holdBlame(t *testing.T, cases map[string]blamed) {
	t.Helper()
	for name, c := range cases {
		p := NewParser(time.UTC, 2026)
		var r Record
		for _, line := range c.lines {
			p.Parse(line, &r)
		}
		got := ""
		if r.Source.IsValid() {
			got = r.Source.String()
		}
		if r.Kind != c.kind || r.Outcome != c.outcome || got != c.source {
			t.Errorf("%s: %v %v %q, want %v %v %q", name, r.Kind, r.Outcome, got, c.kind, c.outcome, c.source)
		}
	}
}

// TestNginxErrorBlame: what a client sent stands before nginx's own word of who it was, and behind it. Where two readings are possible nobody is blamed.
func TestNginxErrorBlame(t *testing.T) {
	const head, real = `2026/11/07 06:13:45 [error] 5#5: *1 `, `, client: 198.51.100.7, server: x, request: "GET / HTTP/1.1", host: "x"`
	const noUser = `user "a" was not found in "/f"`
	holdBlame(t, map[string]blamed{
		"plain":                                     {[]string{head + noUser + real}, WebError, Failure, "198.51.100.7"},
		"forged in a referrer":                      {[]string{head + noUser + real + `, referrer: "http://x/, client: 192.0.2.1, server: x, request: "GET / HTTP/1.1""`}, WebError, Noise, ""},
		"forged in a path":                          {[]string{head + `open() "/x` + strings.Replace(real, "198.51.100.7", "192.0.2.1", 1) + `" failed (2: No such file or directory)` + real}, WebError, Noise, ""},
		"a socket's client, and a forged one":       {[]string{head + noUser + `, client: unix:, server: x, request: "GET /, client: 192.0.2.1, server: x HTTP/1.1"`}, WebError, Noise, ""},
		"nginx cut its own word away":               {[]string{(head + `open() "/, client: 192.0.2.1, server: x` + strings.Repeat("a", 3000))[:2047]}, WebError, Noise, ""},
		"the same behind large numbers":             {[]string{("2026/11/07 06:13:45 [notice] 4194303#140122922129152: *1 " + `open() "/, client: 192.0.2.1, server: x` + strings.Repeat("a", 3000))[:2047]}, WebError, Noise, ""},
		"client without a server behind it is text": {[]string{head + `open() "/, client: 192.0.2.1" failed (2: No such file or directory)` + real}, WebError, NoOutcome, "198.51.100.7"},
		"a request that looks like an error":        {[]string{`Nov  7 06:13:45 h nginx: {"agent":"user "a" was not found in "/f", client: 192.0.2.1, server: x"}`}, WebError, NoOutcome, ""},
		"without nginx's stamp":                     {[]string{"Nov  7 06:13:45 h nginx: " + head[len("2026/11/07 06:13:45 "):] + noUser + real}, WebError, Failure, "198.51.100.7"},
		"with nginx's own header of syslog":         {[]string{"Nov  7 06:13:45 h nginx: h nginx: " + head + noUser + real}, WebError, Failure, "198.51.100.7"},
	})
}

// TestAccessBlame: names of users and of virtual hosts are a client's text.
func TestAccessBlame(t *testing.T) {
	const tail = ` [07/Nov/2026:06:13:45 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`
	holdBlame(t, map[string]blamed{
		"brackets in a user's name":              {[]string{"198.51.100.7 - " + strings.Repeat(" [", 40) + tail}, Web, NoOutcome, "198.51.100.7"},
		"a stamp in a user's name":               {[]string{"198.51.100.7 - x [07/Nov/2026:06:13:45 +0000]" + tail}, Web, NoOutcome, "198.51.100.7"},
		"a stamp and a quote that was escaped":   {[]string{`198.51.100.7 - x [07/Nov/2026:06:13:45 +0000] \"GET / HTTP/1.1\" 200 1` + tail}, Web, NoOutcome, "198.51.100.7"},
		"a virtual host":                         {[]string{"www.example.com 198.51.100.7 - -" + tail}, Web, NoOutcome, "198.51.100.7"},
		"a virtual host that is an address":      {[]string{"192.0.2.1 198.51.100.7 - -" + tail}, Web, NoOutcome, ""},
		"the same, behind one that is a name":    {[]string{"www.example.com 198.51.100.9 - -" + tail, "192.0.2.1 198.51.100.7 - -" + tail}, Web, NoOutcome, "198.51.100.7"},
		"a host's name behind the address":       {[]string{"198.51.100.7 www.example.com - -" + tail}, Web, NoOutcome, "198.51.100.7"},
		"a host's address behind the address":    {[]string{"198.51.100.9 www.example.com - -" + tail, "198.51.100.7 192.0.2.1 - -" + tail}, Web, NoOutcome, "198.51.100.7"},
		"one that says - before":                 {[]string{"- 198.51.100.9 - -" + tail, "192.0.2.1 198.51.100.7 - -" + tail}, Web, NoOutcome, "198.51.100.7"},
		"a socket's client and a host's address": {[]string{"unix: 192.0.2.1 - -" + tail}, Web, NoOutcome, ""},
	})
}

// A line of an access log that cannot be read leaves nothing of it in the record.
func TestAccessLeavesNothing(t *testing.T) {
	var r Record
	NewParser(time.UTC, 2026).Parse(`Nov  7 06:13:45 h nginx: 198.51.100.7 - root [07/Nov/2026:06:13:45 +0000] "GET /`, &r)
	if r.User != "" || r.Vhost != "" || !r.Malformed {
		t.Errorf("%+v", r)
	}
}

// TestPacketBlame: a packet is what netfilter writes, and not what somebody had a program write.
func TestPacketBlame(t *testing.T) {
	const packet = "IN=eth0 OUT= MAC= SRC=192.0.2.1 DST=203.0.113.5 LEN=44 PROTO=TCP SPT=1 DPT=2 SYN"
	none := func(line string) blamed { return blamed{[]string{line}, Other, NoOutcome, ""} }
	holdBlame(t, map[string]blamed{
		"in a program's message":         none("Nov  7 06:13:45 h app[1]: login of " + strings.Repeat("x", 64) + packet + " refused"),
		"quoted by a program":            none(`Nov  7 06:13:45 h app[1]: agent "` + packet + `"`),
		"words between the fields":       none("Nov  7 06:13:45 h app[1]: IN=eth0 OUT= and then SRC=192.0.2.1 DST=203.0.113.5"),
		"no destination":                 none("Nov  7 06:13:45 h app[1]: IN=eth0 SRC=192.0.2.1"),
		"in a message without a program": none("Nov  7 06:13:45 h bad agent \"" + packet + "\""),
		"behind a router's word":         {[]string{"blocked for " + strings.Repeat("x", 64) + packet}, Unknown, NoOutcome, ""},
		"in a log of no known shape":     {[]string{"198.51.100.7 | GET /?" + strings.Repeat("x", 64) + packet}, Unknown, NoOutcome, ""},
		"of a device":                    {[]string{"Nov  7 06:13:45 h fw1: DROP " + packet}, Firewall, NoOutcome, "192.0.2.1"},
		"of no program":                  {[]string{"Nov  7 06:13:45 h [UFW BLOCK] " + packet}, Firewall, NoOutcome, "192.0.2.1"},
		"of Proxmox": {[]string{"0 3 PVEFW-HOST-IN 07/Nov/2026:13:09:14 +0200 policy DROP: IN=vmbr0 MAC=52:54:00:aa:bb:cc:fe:54:00:dd:ee:ff:08:00 SRC=192.0.2.1 DST=203.0.113.5 LEN=40 PROTO=TCP SPT=1 DPT=2 SYN"},
			Firewall, NoOutcome, "192.0.2.1"},
	})
}

// TestVerdict: whether a packet was refused is in the rule's prefix, also where that looks like the name of a program.
func TestVerdict(t *testing.T) {
	const packet = "IN=eth0 OUT= MAC= SRC=192.0.2.1 DST=203.0.113.5 LEN=44 PROTO=TCP SPT=1 DPT=2 SYN"
	for prefix, want := range map[string]struct{ blocked, guessed bool }{
		"[ACCEPT] ": {}, "ACCEPT: ": {}, "Nov  7 06:13:45 h ACCEPT: ": {}, "Nov  7 06:13:45 h kernel: [UFW ALLOW] ": {},
		"DROP: ": {blocked: true}, "Nov  7 06:13:45 h DROP: ": {blocked: true}, "Nov  7 06:13:45 h kernel: DROP": {blocked: true},
		"Nov  7 06:13:45 h kernel: CHAIN=INPUT DROP ": {blocked: true}, "Nov  7 06:13:45 h kernel: ": {true, true}, "": {true, true},
	} {
		var r Record
		NewParser(time.UTC, 2026).Parse(prefix+packet, &r)
		if r.Kind != Firewall || r.Blocked != want.blocked || r.Guessed != want.guessed || r.In != "eth0" {
			t.Errorf("%q: %v, blocked %v, guessed %v, in %q", prefix, r.Kind, r.Blocked, r.Guessed, r.In)
		}
	}
}

// TestSSHBlame: sshd's and PAM's lines that name an address in ways of their own.
func TestSSHBlame(t *testing.T) {
	const pam = "Nov  7 06:13:45 h sshd[1]: pam_sss(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh "
	long := "Nov  7 06:13:45 h sshd[1]: Invalid user " + strings.Repeat("a from 192.0.2.1 port 1 ", 4000)
	holdBlame(t, map[string]blamed{
		"rhost in a user's name":          {[]string{pam + "ruser= rhost=198.51.100.7 user=x rhost=192.0.2.1"}, SSH, Same, "198.51.100.7"},
		"rhost and user in a remote user": {[]string{pam + "ruser=x rhost=192.0.2.1 user=y rhost=198.51.100.7"}, SSH, Same, ""},
		"a penalty of 9.8":                {[]string{"Nov  7 06:13:45 h sshd[1]: srclimit_penalise: ipv4: new 198.51.100.7/32 deferred penalty of 5 seconds for penalty: failed authentication"}, SSH, Probe, "198.51.100.7"},
		"a later penalty":                 {[]string{"Nov  7 06:13:45 h sshd[1]: srclimit_penalise: 198.51.100.7/32: activating ipv4 penalty of 15.76 seconds for penalty: failed authentication"}, SSH, Probe, "198.51.100.7"},
		"a penalty of IPv6":               {[]string{"Nov  7 06:13:45 h sshd[1]: srclimit_penalise: ipv6: new 2001:db8::7/128 active penalty of 20 seconds for penalty: x"}, SSH, Probe, "2001:db8::7"},
		"a penalty of a network":          {[]string{"Nov  7 06:13:45 h sshd[1]: srclimit_penalise: ipv4: new 198.51.100.0/24 active penalty of 20 seconds for penalty: x"}, SSH, Noise, ""},
		"a full table":                    {[]string{"Nov  7 06:13:45 h sshd[1]: srclimit_penalise: ipv4 penalty table full, cannot penalise 198.51.100.7/32 for x"}, SSH, Noise, ""},
		"a broken transport":              {[]string{"Nov  7 06:13:45 h sshd[1]: ssh_dispatch_run_fatal: Connection from 198.51.100.7 port 4: message authentication code incorrect"}, SSH, Probe, "198.51.100.7"},
		"of somebody who is logging in": {[]string{"Nov  7 06:13:45 h sshd[1]: Invalid user 192.0.2.1 port 1 from 198.51.100.7 port 4",
			"Nov  7 06:13:46 h sshd[1]: ssh_dispatch_run_fatal: Connection from invalid user 192.0.2.1 port 1 198.51.100.7 port 4: incorrect signature [preauth]"}, SSH, Probe, "198.51.100.7"},
		"a cut line is nobody's, later, too": {[]string{long, "Nov  7 06:13:46 h sshd[1]: Disconnecting: Too many authentication failures [preauth]"}, SSH, Same, ""},
	})
}

// What the journal hands on is cut as a line of a file is.
func TestEntryCut(t *testing.T) {
	fields := map[string]string{"_COMM": "sshd", "_PID": "7", "__REALTIME_TIMESTAMP": "1", "MESSAGE": "Invalid user " + strings.Repeat("a from 192.0.2.1 port 1 ", 4000)}
	var r Record
	NewParser(time.UTC, 2026).Entry(func(name string) string { return fields[name] }, &r)
	if !r.Cut || r.Source.IsValid() || r.SourceName != "" {
		t.Errorf("cut %v, blames %q", r.Cut, r.SourceName)
	}
}

// TestApacheBlame: addresses as Apache's error log writes them.
func TestApacheBlame(t *testing.T) {
	line := func(client string) []string {
		return []string{"[Sat Nov 07 06:13:45.913548 2026] [auth_basic:error] [pid 742:tid 1401] [client " + client + `] AH01617: user alice: authentication failure for "/"`}
	}
	holdBlame(t, map[string]blamed{
		"with a port":            {line("198.51.100.7:50900"), WebError, Failure, "198.51.100.7"},
		"without":                {line("198.51.100.7"), WebError, Failure, "198.51.100.7"},
		"IPv6":                   {line("[2001:db8::7]:50900"), WebError, Failure, "2001:db8::7"},
		"IPv6 without a port":    {line("2001:db8::7"), WebError, Failure, "2001:db8::7"},
		"a bracket in a message": {[]string{"[Sat Nov 07 06:13:45 2026] [error] user [client 192.0.2.1] not found: /"}, WebError, Failure, ""},
	})
}

// TestAttempts: lines of one process that are two seconds apart at most are one attempt, and no more than that.
func TestAttempts(t *testing.T) {
	p := NewParser(time.UTC, 2026)
	var r Record
	counted := 0
	for _, at := range []string{"45.0", "46.5", "48.0", "49.5", "51.0", "52.5"} {
		p.Parse("2026-11-07T06:13:"+at+"+00:00 h sshd[7]: Failed password for root from 198.51.100.7 port 4 ssh2", &r)
		if r.Outcome == Failure && !r.Again {
			counted++
		}
	}
	if counted != 3 {
		t.Errorf("six guesses in 7.5 seconds count %d times, want 3", counted)
	}
}

// TestMemory: what a parser keeps of names that clients choose is bounded, and what was cut is known again.
func TestMemory(t *testing.T) {
	p := NewParser(time.UTC, 2026)
	var r Record
	long := strings.Repeat("x", 30<<10)
	failed := "Nov  7 06:13:45 h sshd[7]: Failed password for " + long + " from 198.51.100.7 port 4 ssh2"
	p.Parse(failed, &r)
	if p.Parse(failed, &r); !r.Again {
		t.Error("the same attempt of a long name counts twice")
	}
	p.Parse("2026-11-07T06:13:45Z "+long+" sshd[8]: Failed password for root from 198.51.100.7 port 4 ssh2", &r)
	p.Parse(`{"event":"Start processing request","trace_id":"a","request_remote_ip":"198.51.100.7","request_method":"POST","request_path":"/MAAS/a/v3/auth/login?`+long+`","useragent":"`+long+`"}`, &r)
	p.Parse(`{"event":"Start processing request","trace_id":"`+long+`","request_remote_ip":"198.51.100.7"}`, &r)
	s := p.Save()
	if len(s.Connections) != 2 || len(s.Traces) != 1 {
		t.Fatalf("%d connections, %d requests", len(s.Connections), len(s.Traces))
	}
	kept := 0
	for _, c := range s.Connections {
		kept += len(c.Host) + len(c.User) + len(c.Name)
	}
	for _, q := range s.Traces {
		kept += len(q.Path) + len(q.Agent)
	}
	if kept > 8<<10 {
		t.Errorf("%d bytes are kept", kept)
	}
	p.Parse(`{"event":"End processing request","trace_id":"a","status_code":401}`, &r)
	if r.Outcome != Failure || r.SourceName != "198.51.100.7" {
		t.Errorf("%v of %q", r.Outcome, r.SourceName)
	}
}

// TestPath: one page has one path, however its name is written.
func TestPath(t *testing.T) {
	for target, want := range map[string]string{
		"/a/b?c=/../d": "/a/b", "/MAAS/accounts/%6cogin/": "/MAAS/accounts/login/", "/a//b/./c": "/a/b/c", "/a/../b/": "/b/", "/../..": "/", "/%": "/%", "/%4": "/%4", "/%zz%41": "/%zzA",
		"": "", "*": "*", "/.well-known/x": "/.well-known/x", "//": "/", "/x%2f%2e%2e/y": "/y", "http://a/b": "http://a/b", "/a%252e": "/a%2e",
	} {
		if got := Path(target); got != want {
			t.Errorf("%q: %q, want %q", target, got, want)
		}
	}
}

// TestMAASLogin: refused logins are seen whatever way the page's name, or a field that is of no use, is written.
func TestMAASLogin(t *testing.T) {
	holdBlame(t, map[string]blamed{
		"a letter as a number": {[]string{"2026-11-07 06:13:45 regiond: [info] 198.51.100.7 POST /MAAS/accounts/%6cogin/ HTTP/1.1 --> 400 BAD_REQUEST (referrer: -; agent: -)"}, MAAS, Failure, "198.51.100.7"},
		"a user as a number":   {[]string{`{"type":"security","message":"AUTHN_login_unsuccessful","user_id":7,"request_remote_ip":"198.51.100.7"}`}, MAAS, Failure, "198.51.100.7"},
		"a field that occurs twice": {[]string{`{"__REALTIME_TIMESTAMP":"1","_COMM":"sshd","SYSLOG_IDENTIFIER":["sshd","sshd"],"MESSAGE":"Failed password for root from 198.51.100.7 port 4 ssh2"}`},
			SSH, Failure, "198.51.100.7"},
	})
}

// TestHAProxyAddress: HAProxy writes the whole address of requests that come by HTTP/2; who asks for another server's page by HTTP/1 is shown as he asked.
func TestHAProxyAddress(t *testing.T) {
	for request, want := range map[string]string{
		"POST https://maas.example/MAAS/accounts/login/ HTTP/2.0": "maas.example /MAAS/accounts/login/", "GET http://a.example/ HTTP/1.1": " http://a.example/", "GET /x HTTP/2.0": " /x",
		"GET https://a.example HTTP/2.0": " https://a.example", "GET http://a.example/": " http://a.example/",
	} {
		var r Record
		NewParser(time.UTC, 2026).Parse(`Nov  7 06:13:45 lb haproxy[760]: 198.51.100.7:58430 [07/Nov/2026:22:45:11.608] f~ b/s 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 "`+request+`"`, &r)
		if got := r.Vhost + " " + r.Target; got != want {
			t.Errorf("%s: %q, want %q", request, got, want)
		}
	}
}

// A parser that goes on after a restart knows which place of a log is the client's.
func TestOrderSaved(t *testing.T) {
	const tail = ` - - [07/Nov/2026:06:13:45 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`
	p, next := NewParser(time.UTC, 2026), NewParser(time.UTC, 2026)
	var r Record
	p.Parse("www.example.com 198.51.100.9"+tail, &r)
	if err := next.Load(p.Save()); err != nil {
		t.Fatal(err)
	}
	if next.Parse("192.0.2.1 198.51.100.7"+tail, &r); r.SourceName != "198.51.100.7" {
		t.Errorf("blames %q", r.SourceName)
	}
	if err := next.Load(Snapshot{Order: 3}); err == nil {
		t.Error("an order that there is none of is loaded")
	}
}

// What one host says by syslog decides nothing about what another one says.
func TestOrderSent(t *testing.T) {
	const tail = ` - - [07/Nov/2026:06:13:45 +0000] "GET / HTTP/1.1" 200 1 "-" "-"`
	p := NewParser(time.UTC, 2026)
	for i, c := range []struct{ line, want string }{{"www.example.com 198.51.100.9" + tail, "198.51.100.9"}, {"198.51.100.7 192.0.2.1" + tail, ""}, {"198.51.100.7 www.example.com" + tail, "198.51.100.7"}} {
		var r Record
		p.Sent = Sent{From: netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), At: time.Unix(1_800_000_000, 0)}
		if p.Parse("Nov  7 06:13:45 h nginx: "+c.line, &r); r.SourceName != c.want {
			t.Errorf("%s: blames %q, want %q", c.line, r.SourceName, c.want)
		}
	}
}

// TestAttemptBrokenOff: a client that goes away while PAM lets it wait made one attempt.
func TestAttemptBrokenOff(t *testing.T) {
	p := NewParser(time.UTC, 2026)
	var r Record
	counted := 0
	for _, line := range []string{"45 h sshd[7]: Invalid user x from 198.51.100.7 port 4", "45 h sshd[7]: pam_unix(sshd:auth): check pass; user unknown",
		"45 h sshd[7]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=198.51.100.7 ", "46 h sshd[7]: Connection closed by invalid user x 198.51.100.7 port 4 [preauth]"} {
		p.Parse("Nov  7 06:13:"+line, &r)
		if r.Outcome == Failure && !r.Again {
			counted++
		}
	}
	if counted != 1 {
		t.Errorf("one attempt counts %d times", counted)
	}
}
