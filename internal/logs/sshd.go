package logs

import (
	"net/netip"
	"strconv"
	"strings"
)

// Messages of OpenSSH's server: its source, and section 5 of the reference of detections. User names are the attacker's text: they may hold blanks,
// "from" and addresses. Whom to blame is read from the end of the message, where sshd writes; where two readings are possible, nobody is blamed.
func (p *Parser) sshd(r *Record) {
	r.Kind = SSH
	s := strings.TrimRight(r.Message, " ")
	if strings.HasPrefix(s, "[ID ") { // Solaris
		if _, rest, ok := strings.Cut(s, "] "); ok {
			s = rest
		}
	}
	if rest, ok := strings.CutPrefix(s, "kernel:"); ok { // some loggers put the ring buffer's stamp into every line
		if i := strings.Index(rest, "]"); i > 0 && i < 24 {
			s = strings.TrimLeft(rest[i+1:], ": ")
		}
	}
	s, pre := strings.CutSuffix(s, " [preauth]")
	s = strings.TrimPrefix(strings.TrimPrefix(s, "error: "), "fatal: ")
	p.said(s, pre, r)
	if r.Cut { // whom to blame stands at the end, which is gone
		r.Source, r.SourceName = netip.Addr{}, ""
		return
	}
	p.ssh.join(r, s, pre)
}

// said reads one message without regard to others.
func (p *Parser) said(s string, pre bool, r *Record) {
	switch head, _, _ := strings.Cut(s, " "); head {
	case "Failed":
		p.failed(s, r)
	case "Accepted":
		if _, rest, ok := strings.Cut(s, " for "); ok {
			if user, ok := fromSSH(rest, r); ok {
				r.User, r.Outcome = user, Success
			}
		}
	case "Invalid", "Illegal":
		if rest, ok := cutAfter(s, "user "); ok && strings.HasPrefix(s[len(head):], " user ") {
			r.User, r.Outcome = fromEnd(rest, r), Failure
		}
	case "User":
		p.notAllowed(s, r)
	case "ROOT":
		if who, ok := strings.CutPrefix(s, "ROOT LOGIN REFUSED FROM "); ok {
			who, _, _ = strings.Cut(who, " ")
			r.blame(who)
			r.User, r.Outcome = "root", Failure
		}
	case "refused":
		if open := strings.LastIndex(s, " ("); open > 0 && strings.HasSuffix(s, ")") && strings.HasPrefix(s, "refused connect from ") {
			r.blame(s[open+2 : len(s)-1])
			r.Outcome, r.Event = Failure, "refused"
		}
	case "PAM:":
		p.pam(strings.TrimPrefix(s, "PAM:"), r)
	case "maximum":
		if rest, ok := strings.CutPrefix(s, "maximum authentication attempts exceeded for "); ok {
			if user, ok := fromSSH(rest, r); ok {
				r.User, r.Outcome = strings.TrimPrefix(user, "invalid user "), Failure
			}
		}
	case "Disconnecting", "Disconnecting:":
		p.disconnecting(s, r)
	case "Connection", "Disconnected":
		p.closed(s, pre, r)
	case "Received":
		if rest, ok := strings.CutPrefix(s, "Received disconnect from "); ok {
			n, port := place(rest)
			reason := strings.TrimPrefix(rest[n:], ":")
			blamePlace(strings.TrimSuffix(rest[:n], ":"), r)
			if !port && !strings.HasSuffix(rest[:n], ":") {
				reason = ""
			}
			r.Outcome = Noise
			if reason = strings.TrimLeft(reason, " "); strings.HasPrefix(reason, "3: ") && strings.HasSuffix(reason, "Auth fail") {
				r.Outcome = Failure
			} else if strings.HasPrefix(reason, "14: No ") {
				r.Outcome = Probe
			}
		}
	case "Did", "Bad":
		if strings.HasPrefix(s, "Did not receive identification string from ") || strings.HasPrefix(s, "Bad protocol version identification ") {
			fromEnd(s, r)
			r.Outcome = Probe
		}
	case "banner", "ssh_dispatch_run_fatal:":
		if _, rest, ok := strings.Cut(s, "Connection from "); ok {
			if n, port := place(rest); port { // else a user's name stands there first; joined below
				blamePlace(rest[:n], r)
			}
			r.Outcome = Probe
			if head != "banner" {
				r.Event = "timeout"
			}
		}
	case "kex_exchange_identification:", "Read", "no":
		r.Outcome = Probe // of no address; joined below
		if head == "no" && !strings.HasPrefix(s, "no matching ") {
			r.Outcome = Noise
		}
	case "Unable":
		r.Outcome = Probe
		if rest, ok := strings.CutPrefix(s, "Unable to negotiate with "); ok {
			who, rest, _ := strings.Cut(rest, " ")
			r.blame(strings.TrimSuffix(who, ":"))
			if rest, ok := strings.CutPrefix(rest, "port "); ok {
				if n, ok := number(rest[:digits(rest)]); ok && n < 65536 {
					r.Sport = uint16(n)
				}
			}
		}
	case "Timeout":
		if rest, ok := strings.CutPrefix(s, "Timeout before authentication for "); ok {
			r.Outcome, r.Event = Probe, "timeout"
			rest = strings.TrimPrefix(rest, "connection from ")
			who, _, _ := strings.Cut(rest, " ")
			r.blame(who)
		}
	case "Magic":
		fromEnd(s, r)
		r.Outcome = Probe
	case "drop": // drop connection #0 from [IP]:N on [IP2]:22 penalty: failed authentication
		if _, rest, ok := strings.Cut(s, " from ["); ok {
			who, rest, _ := strings.Cut(rest, "]:")
			r.blame(who)
			if n, ok := number(rest[:digits(rest)]); ok && n < 65536 {
				r.Sport = uint16(n)
			}
			r.Outcome = Probe
		}
	case "srclimit_penalise:":
		// "ipv4: new A/32 deferred penalty of …" of 9.8, "A/32: activating ipv4 penalty of …" later. A mask that is shorter is of a network, which nobody is.
		r.Outcome = Noise
		rest := strings.TrimPrefix(s, "srclimit_penalise: ")
		for _, head := range []string{"ipv4: new ", "ipv6: new "} {
			rest = strings.TrimPrefix(rest, head)
		}
		who, _, _ := strings.Cut(rest, " ")
		who, bits, _ := strings.Cut(strings.TrimSuffix(who, ":"), "/")
		if a, ok := address(who); ok && bits == strconv.Itoa(a.BitLen()) {
			r.blame(who)
			r.Outcome = Probe
		}
	case "input_userauth_request:":
		r.Outcome = Same
		if u, ok := strings.CutPrefix(s, "input_userauth_request: invalid user "); ok {
			r.User = u
		}
	default:
		switch {
		case strings.HasPrefix(s, "pam_"):
			p.pamModule(s, r)
		case strings.HasPrefix(s, "authentication failure; ") || strings.HasPrefix(s, "check pass"):
			p.pamModule("pam_unix: "+s, r)
		default:
			r.Outcome = Noise
		}
	}
	if r.Outcome == NoOutcome {
		r.Outcome = Noise
	}
}

// failed reads "Failed METHOD for [invalid user ]NAME from A port N ssh2[: KEY]".
func (p *Parser) failed(s string, r *Record) {
	method, rest, ok := strings.Cut(strings.TrimPrefix(s, "Failed "), " for ")
	if !ok {
		return
	}
	invalid := false
	for _, word := range []string{"invalid user ", "illegal user "} {
		if cut, ok := strings.CutPrefix(rest, word); ok {
			rest, invalid = cut, true
		}
	}
	user, ok := fromSSH(rest, r)
	if !ok {
		if strings.Contains(rest, " from ") && r.SourceName == "" { // two readings: a failure, and nobody to blame
			r.Outcome = Failure
		}
		return
	}
	r.User, r.Outcome = user, Failure
	if method == "publickey" && !invalid {
		r.Outcome = Noise // a client offers each of its keys in turn
	}
}

// fromSSH reads "NAME from A port N ssh2", behind which ": …" may follow. More than one such place is an attack on readers of logs.
func fromSSH(s string, r *Record) (user string, ok bool) {
	at, end := -1, 0
	ported := false
	for from := 0; ; {
		i := strings.Index(s[from:], " from ")
		if i < 0 {
			break
		}
		i += from
		from = i + 1
		n, port := place(s[i+6:])
		if n == 0 {
			continue
		}
		after := s[i+6+n:]
		if v, cut := strings.CutPrefix(after, " ssh"); cut && port {
			after = strings.TrimLeft(v, "12")
		}
		if after != "" && after[0] != ':' {
			continue
		}
		if at >= 0 && port && ported {
			return "", false
		}
		if at >= 0 && ported { // "… ssh1: ruser x from 1.2.3.4": the form with a port is sshd's
			continue
		}
		at, end, ported = i, i+6+n, port
	}
	if at < 0 {
		// "Failed password for root" of a name without user: " for  from"? The name may be empty.
		if strings.HasPrefix(s, "from ") {
			return fromSSH(" "+s, r)
		}
		return "", false
	}
	blamePlace(s[at+6:end], r)
	return s[:at], true
}

// place reads "A" or "A port N" and says how long it is: A is a word.
func place(s string) (n int, port bool) {
	n = strings.IndexByte(s, ' ')
	if n < 0 {
		return len(strings.TrimSuffix(s, ":")), false
	}
	if n == 0 {
		return 0, false
	}
	rest, ok := strings.CutPrefix(s[n:], " port ")
	if d := digits(rest); ok && d > 0 {
		return n + len(" port ") + d, true
	}
	return n, false
}

func blamePlace(s string, r *Record) {
	who, port, _ := strings.Cut(s, " port ")
	r.blame(who)
	if n, ok := number(port); ok && n < 65536 {
		r.Sport = uint16(n)
	}
}

// fromEnd reads "NAME from A[ port N]" whose last " from " counts.
func fromEnd(s string, r *Record) (user string) {
	i := strings.LastIndex(s, " from ")
	if i < 0 {
		if who, ok := strings.CutPrefix(s, "from "); ok {
			blamePlace(who, r)
			return ""
		}
		return s
	}
	blamePlace(s[i+6:], r)
	return s[:i]
}

func cutAfter(s, word string) (string, bool) {
	_, rest, ok := strings.Cut(s, word)
	return rest, ok
}

// notAllowed reads "User NAME from A not allowed because …"; of a locked account it says no address.
func (p *Parser) notAllowed(s string, r *Record) {
	i := strings.LastIndex(s, " not allowed because ")
	if i < 0 {
		return
	}
	who := strings.TrimPrefix(s[:i], "User ")
	if at := strings.LastIndex(who, " from "); at >= 0 {
		r.blame(who[at+6:])
		r.User, r.Outcome = who[:at], Failure
		return
	}
	r.User, r.Outcome = who, Same
	r.Event = "pending"
}

// pam reads sshd's own "PAM: Authentication failure for NAME from A[ via B]".
func (p *Parser) pam(s string, r *Record) {
	s = strings.TrimLeft(s, " ")
	if indexFold(s, "authentication failure") != 0 && indexFold(s, "authentication error") != 0 && !strings.HasPrefix(s, "User not known") &&
		indexFold(s, "user account has expired") != 0 && indexFold(s, "permission denied") != 0 {
		return
	}
	_, rest, ok := strings.Cut(s, " for ")
	if !ok {
		return
	}
	if i := strings.LastIndex(rest, " via "); i > 0 && strings.Count(rest[i+5:], " ") == 0 {
		rest = rest[:i]
	}
	r.User, r.Outcome = fromEnd(rest, r), Failure
	r.User = strings.TrimPrefix(strings.TrimPrefix(r.User, "illegal user "), "invalid user ")
}

// pamModule reads "pam_unix(sshd:auth): authentication failure; … ruser=R rhost=A  user=NAME". Both names, before and behind the address, may be the client's; sshd
// leaves the first one empty.
func (p *Parser) pamModule(s string, r *Record) {
	r.Outcome = Noise
	_, s, ok := strings.Cut(s, ": ")
	if !ok {
		return
	}
	switch {
	case strings.HasPrefix(s, "check pass; user unknown"):
		r.Outcome = Same
	case strings.HasPrefix(s, "authentication failure; "):
		i, first := strings.LastIndex(s, " rhost="), strings.Index(s, " rhost=")
		if i < 0 {
			return
		}
		r.Outcome = Same
		if strings.Contains(s[first:i], " user=") {
			if !strings.HasSuffix(s[:first], " ruser=") { // two readings
				return
			}
			i = first
		}
		who, rest, _ := strings.Cut(s[i+7:], " ")
		if u, ok := strings.CutPrefix(strings.TrimLeft(rest, " "), "user="); ok {
			r.User = u
		}
		if who != "" {
			r.blame(who)
			r.Event = "pending"
		}
	}
}

// disconnecting reads "Disconnecting [invalid|authenticating] user NAME A port N: REASON" and the form without an address.
func (p *Parser) disconnecting(s string, r *Record) {
	if rest, ok := strings.CutPrefix(s, "Disconnecting: Too many authentication failures"); ok {
		r.User = strings.TrimPrefix(rest, " for ")
		r.Outcome, r.Event = Same, "toomany"
		return
	}
	rest, ok := cutUser(s)
	if !ok {
		r.Outcome = Noise
		return
	}
	// Both names, before and behind the address, are the client's.
	found := -1
	for from := 0; ; {
		i := strings.Index(rest[from:], " port ")
		if i < 0 {
			break
		}
		i += from
		from = i + 1
		d := digits(rest[i+6:])
		if d == 0 || !strings.HasPrefix(rest[i+6+d:], ": ") {
			continue
		}
		if found >= 0 {
			r.Outcome = Same
			return
		}
		found = i
	}
	if found < 0 {
		r.Outcome = Noise
		return
	}
	who := rest[:found]
	if sp := strings.LastIndexByte(who, ' '); sp >= 0 {
		r.User = who[:sp]
		who = who[sp+1:]
	}
	r.blame(who)
	d := digits(rest[found+6:])
	if n, ok := number(rest[found+6 : found+6+d]); ok && n < 65536 {
		r.Sport = uint16(n)
	}
	r.Outcome = Same
	if reason := rest[found+6+d:]; strings.HasPrefix(reason, ": Change of username or service not allowed") {
		r.Outcome = Failure
	}
}

func cutUser(s string) (string, bool) {
	_, rest, ok := strings.Cut(s, " ")
	if !ok {
		return "", false
	}
	kind, rest, ok := strings.Cut(rest, " user ")
	return rest, ok && strings.IndexByte(kind, ' ') < 0
}

// closed reads "Connection closed by [invalid|authenticating] user NAME A port N", "Connection reset by …", "Disconnected from …", "Connection from …".
func (p *Parser) closed(s string, pre bool, r *Record) {
	r.Outcome = Noise
	if rest, ok := strings.CutPrefix(s, "Connection from "); ok {
		n, _ := place(rest)
		blamePlace(rest[:n], r)
		r.Event = "from"
		return
	}
	var rest string
	for _, head := range []string{"Connection closed by ", "Connection reset by ", "Disconnected from "} {
		if cut, ok := strings.CutPrefix(s, head); ok {
			rest = cut
		}
	}
	if rest == "" {
		return
	}
	r.Event = "closed"
	who := rest
	if i := strings.LastIndex(rest, " port "); i > 0 && digits(rest[i+6:]) == len(rest)-i-6 {
		if n, ok := number(rest[i+6:]); ok && n < 65536 {
			r.Sport = uint16(n)
		}
		who = rest[:i]
	}
	if sp := strings.LastIndexByte(who, ' '); sp >= 0 {
		name := who[:sp]
		r.blame(who[sp+1:])
		switch {
		case strings.HasPrefix(name, "authenticating user "):
			r.User = name[len("authenticating user "):]
			if pre {
				r.Outcome = Failure // on a host that takes keys only, all that an attack leaves
			}
		case strings.HasPrefix(name, "invalid user "):
			r.User, r.Outcome = name[len("invalid user "):], Same
		case strings.HasPrefix(name, "user "):
			r.User = name[len("user "):]
		case name == "authenticating user" || name == "invalid user":
			r.Outcome = Same
		}
		return
	}
	r.blame(who)
}
