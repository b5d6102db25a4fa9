package logs

import "strings"

// blockWords make a prefix mean that the packet was refused (reference of detections, 2.1).
var blockWords = []string{"BLOCK", "DROP", "DENY", "DENIED", "REJECT", "BLOCKED", "DROPPED", "REJECTED"}

// passWords make it mean that the packet went through, or was only looked at.
var passWords = []string{"ALLOW", "ACCEPT", "ACC", "AUDIT", "PERMIT"}

// kernel reads lines of the kernel: packets that netfilter logged (ufw, iptables, nftables, firewalld, Proxmox), martians. Fields are read by name,
// since which there are and in what order varies; the first of a name counts, and those of a packet that an ICMP error quotes do not.
func (p *Parser) kernel(r *Record) {
	s := r.Message
	if strings.HasPrefix(s, "[") { // seconds since boot
		if end := strings.IndexByte(s, ']'); end > 0 && end < 24 {
			if inner := strings.TrimLeft(s[1:end], " "); inner != "" && inner[0] >= '0' && inner[0] <= '9' {
				s = strings.TrimLeft(s[end+1:], " ")
			}
		}
	}
	if i := packetStart(s); i >= 0 {
		p.packet(s, i, r)
		return
	}
	if p.martian(s, r) || p.prose(s, r) {
		return
	}
	r.Kind = Other
}

// packetStart is where a packet's fields begin, behind the rule's prefix, or -1: at the "IN=" right before "OUT=", since a prefix may have one of its own
// ("CHAIN=INPUT "); some filters write no "OUT=".
func packetStart(s string) int {
	i := strings.Index(s, "IN=")
	if i < 0 || !strings.Contains(s[i:], " SRC=") {
		return -1
	}
	if out := strings.Index(s[i:], " OUT="); out > 0 {
		i += strings.LastIndex(s[i:i+out], "IN=")
	}
	return i
}

// packetLine says whether a message whose writer is not known to log packets is one all the same: a short prefix, and the fields as netfilter orders them (nf_log_syslog.c
// of Linux). Anything less is what a client brought into some program's message.
func packetLine(s string) bool {
	const longestPrefix = 64
	i := packetStart(s)
	if i < 0 || i > longestPrefix || strings.IndexByte(s[:i], '"') >= 0 {
		return false
	}
	for rest := s[i:]; ; {
		word, more, _ := strings.Cut(rest, " ")
		if strings.HasPrefix(word, "SRC=") {
			return strings.HasPrefix(more, "DST=")
		}
		if strings.IndexByte(word, '=') < 1 {
			return false
		}
		rest = more
	}
}

func (p *Parser) packet(s string, at int, r *Record) {
	r.Kind = Firewall
	r.Prefix = strings.TrimRight(s[:at], " ")
	p.verdict(r)
	body := s[at:]
	if end := strings.IndexByte(body, '['); end >= 0 && strings.Contains(body[end:], "SRC=") {
		body, r.Inner = body[:end], true
	}
	const (
		in = 1 << iota
		out
		src
		dst
		length
		id
		proto
		spt
		dpt
		kind
	)
	seen := 0
	first := func(bit int) bool {
		was := seen&bit == 0
		seen |= bit
		return was
	}
	for body != "" {
		var word string
		if sp := strings.IndexByte(body, ' '); sp >= 0 {
			word, body = body[:sp], body[sp+1:]
		} else {
			word, body = body, ""
		}
		eq := strings.IndexByte(word, '=')
		if eq < 0 {
			switch word {
			case "FIN":
				r.TCP |= FlagFIN
			case "SYN":
				r.TCP |= FlagSYN
			case "RST":
				r.TCP |= FlagRST
			case "PSH":
				r.TCP |= FlagPSH
			case "ACK":
				r.TCP |= FlagACK
			case "URG":
				r.TCP |= FlagURG
			}
			continue
		}
		v := word[eq+1:]
		switch word[:eq] {
		case "IN":
			if first(in) {
				r.In = v
			}
		case "OUT":
			if first(out) {
				r.Out = v
			}
		case "SRC":
			if first(src) {
				r.blame(v)
			}
		case "DST":
			if first(dst) {
				r.Dest, _ = address(v)
			}
		case "LEN":
			if n, ok := number(v); ok && first(length) {
				r.Length = uint32(n)
			}
		case "ID":
			if n, ok := number(v); ok && first(id) {
				r.ID = uint32(n)
			}
		case "PROTO":
			if first(proto) {
				r.Proto = protocol(v)
			}
		case "SPT":
			if n, ok := number(v); ok && n < 65536 && first(spt) {
				r.Sport = uint16(n)
			}
		case "DPT":
			if n, ok := number(v); ok && n < 65536 && first(dpt) {
				r.Dport = uint16(n)
			}
		case "TYPE":
			if n, ok := number(v); ok && n < 256 && first(kind) {
				r.Type = uint8(n)
			}
		}
	}
	r.Malformed = !r.Source.IsValid()
}

func protocol(s string) uint8 {
	switch s {
	case "TCP":
		return TCP
	case "UDP":
		return UDP
	case "ICMP":
		return ICMP
	case "ICMPv6":
		return ICMPv6
	case "SCTP":
		return SCTP
	}
	if n, ok := number(s); ok && n < 256 {
		return uint8(n)
	}
	return 0
}

// verdict decides by the rule's prefix whether the packet was refused. Without a word that says so it counts as refused, and the record tells.
func (p *Parser) verdict(r *Record) {
	r.Blocked, r.Guessed = false, false
	for rest := r.Prefix; rest != ""; {
		i := 0
		for i < len(rest) && letter(rest[i]) {
			i++
		}
		if i == 0 {
			rest = rest[1:]
			continue
		}
		word := rest[:i]
		rest = rest[i:]
		for _, w := range passWords {
			if strings.EqualFold(word, w) {
				return
			}
		}
		for _, w := range blockWords {
			if strings.EqualFold(word, w) {
				r.Blocked = true
				return
			}
		}
	}
	r.Blocked, r.Guessed = true, true
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// martian reads "IPv4: martian source DST from SRC, on dev eth0": the kernel prints the destination first.
func (p *Parser) martian(s string, r *Record) bool {
	_, rest, ok := strings.Cut(s, "martian source ")
	if !ok {
		return false
	}
	dst, rest, ok := strings.Cut(rest, " from ")
	if !ok {
		return false
	}
	src, dev, ok := strings.Cut(rest, ", on dev ")
	if !ok {
		return false
	}
	r.Kind = Martian
	r.Dest, _ = address(dst)
	r.blame(src)
	r.In = strings.TrimSpace(dev)
	return true
}

// prose reads the home routers' sentence that the hardening guide prints: "blocked incoming tcp connection request from A:P to B:Q".
func (p *Parser) prose(s string, r *Record) bool {
	i := indexFold(s, "blocked ")
	if i < 0 || i > 32 {
		return false
	}
	rest := s[i+len("blocked "):]
	outgoing := indexFold(rest, "outgoing ") == 0
	_, from, ok := strings.Cut(rest, " from ")
	if !ok {
		return false
	}
	src, to, ok := strings.Cut(from, " to ")
	if !ok {
		return false
	}
	r.Kind, r.Blocked = Firewall, true
	head := rest[:len(rest)-len(from)]
	switch {
	case indexFold(head, "tcp") >= 0:
		r.Proto, r.TCP = TCP, FlagSYN
		if indexFold(head, "fin ") >= 0 || indexFold(head, "(fin") >= 0 {
			r.TCP = FlagFIN
		}
	case indexFold(head, "udp") >= 0:
		r.Proto = UDP
	case indexFold(head, "icmp") >= 0:
		r.Proto = ICMP
	}
	end := 0
	for end < len(to) && to[end] != ' ' && to[end] != ',' {
		end++
	}
	host, port := split(strings.TrimSpace(src))
	r.blame(host)
	r.Sport = port
	host, port = split(strings.TrimRight(to[:end], "."))
	r.Dest, _ = address(host)
	r.Dport = port
	if outgoing {
		r.Out = "?"
	} else {
		r.In = "?"
	}
	r.Malformed = !r.Source.IsValid()
	return true
}

// split cuts "address:port"; the port is behind the last colon. An IPv6 address without brackets and port stays whole.
func split(s string) (string, uint16) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.Count(s, ":") > 1 && s[0] != '[' && !strings.Contains(s, "::ffff:") && strings.Count(s, ":") < 8 {
		return s, 0
	}
	n, ok := number(s[i+1:])
	if !ok || n > 65535 {
		return s, 0
	}
	return s[:i], uint16(n)
}

// indexFold finds an ASCII word of any case, in linear time.
func indexFold(s, word string) int {
	for i := 0; i+len(word) <= len(s); i++ {
		if s[i]|0x20 == word[0]|0x20 && strings.EqualFold(s[i:i+len(word)], word) {
			return i
		}
	}
	return -1
}
