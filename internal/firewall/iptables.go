package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// hooks of iptables' built-in chains, and at which priority a table's chains are met there. Source: linux/netfilter_ipv4.h.
var (
	hooks      = map[string]string{"PREROUTING": "prerouting", "INPUT": "input"}
	priorities = map[string]int{"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
)

// targets of iptables that do not end a packet's way, or say how they do.
var (
	goesOn  = []string{"LOG", "NFLOG", "ULOG", "AUDIT", "TCPMSS", "CLASSIFY", "DSCP", "TOS", "TTL", "HL", "SET", "TRACE", "CHECKSUM", "ECN", "SECMARK", "CONNSECMARK", "IDLETIMER", "LED", "RATEEST", "TEE", "MASQUERADE", "SNAT", "NETMAP", "ACCOUNT", "SYSRQ"}
	decides = map[string]Kind{"ACCEPT": Accept, "DROP": Drop, "REJECT": Drop, "RETURN": Return, "DNAT": Elsewhere, "REDIRECT": Elsewhere}
)

// tables is what one reading makes.
type tables struct {
	family string // ip, ip6
	rules  *Ruleset
	count  int
}

// ParseIPTables reads what iptables-save or, with v6, ip6tables-save prints. A chain's name is as nft's: family, table, name.
func ParseIPTables(text []byte, v6 bool) (*Ruleset, error) {
	if len(text) > MaxOutput {
		return nil, fmt.Errorf("the list of rules has more than %d bytes", MaxOutput)
	}
	t := &tables{family: "ip", rules: &Ruleset{Chains: map[string]*Chain{}}}
	if v6 {
		t.family = "ip6"
	}
	table := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		var err error
		switch {
		case line == "" || line[0] == '#' || line == "COMMIT":
		case line[0] == '*':
			table = line[1:]
		case table == "":
			err = errors.New("a line is in no table")
		case line[0] == ':':
			t.chain(table, line[1:])
		case line[0] == '-' || line[0] == '[': // counters may come first
			err = t.rule(table, line)
		default:
			err = errors.New("a line is none of iptables-save's")
		}
		if err != nil {
			return nil, fmt.Errorf("iptables' list of rules: %w", err)
		}
	}
	return t.rules, nil
}

func (t *tables) chain(table, line string) {
	w := append(strings.Fields(line), "", "")
	name := t.family + " " + table + " " + w[0]
	c := &Chain{Name: name, Family: t.family, Nat: table == "nat", Priority: priorities[table], Policy: Accept}
	if w[1] != "-" {
		c.Hook = hooks[w[0]]
	}
	if table == "nat" && c.Hook == "input" {
		c.Priority = 100
	}
	if w[1] == "DROP" {
		c.Policy = Drop
	}
	t.rules.Chains[name] = c
}

// split takes a line apart as iptables-save has quoted it: "…" with \ before " and \.
func split(line string) (words []string, err error) {
	var b strings.Builder
	quoted, in := false, false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			quoted, in = !quoted, true
		case c == '\\' && quoted && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		case (c == ' ' || c == '\t') && !quoted:
			if in {
				words = append(words, b.String())
			}
			b.Reset()
			in = false
		default:
			b.WriteByte(c)
			in = true
		}
	}
	if quoted {
		return nil, errors.New("a quotation does not end")
	}
	if in {
		words = append(words, b.String())
	}
	return words, nil
}

func (t *tables) rule(table, line string) error {
	w, err := split(line)
	if err != nil {
		return err
	}
	if len(w) > 0 && strings.HasPrefix(w[0], "[") {
		w = w[1:]
	}
	if len(w) < 2 || w[0] != "-A" {
		return errors.New("a rule does not begin with -A")
	}
	c := t.rules.Chains[t.family+" "+table+" "+w[1]]
	if c == nil {
		return fmt.Errorf("a rule is in the chain %q, which is not there", w[1])
	}
	if t.count++; t.count > maxRules {
		return fmt.Errorf("there are more than %d rules", maxRules)
	}
	r := Rule{Number: len(c.Rules) + 1, Text: line}
	t.words(&r, table, w[2:])
	c.Rules = append(c.Rules, r)
	return nil
}

// words reads a rule's matches and its target. A word that it does not know makes the match that it belongs to one that may be true or
// not; one of a target is part of how it does what it does.
func (t *tables) words(r *Rule, table string, w []string) {
	not, module := false, ""
	add := func(m Match) {
		m.Not = m.Not != not
		r.Matches = append(r.Matches, m)
	}
	for i := 0; i < len(w); i++ {
		next := func() string {
			if i+1 < len(w) {
				i++
				return w[i]
			}
			return ""
		}
		switch word := w[i]; word {
		case "!":
			not = true
			continue
		case "-m":
			module = next()
			if !slices.Contains(modules, module) {
				add(opaque("-m " + module))
			}
		case "-p":
			p := next()
			n, ok := transports[p]
			if x, err := strconv.ParseUint(p, 10, 8); err == nil {
				n, ok = x, true
			}
			switch {
			case p == "all" || ok && n == 0:
			case ok:
				add(is(Protocol, n))
			default:
				add(opaque("-p " + p))
			}
		case "-s":
			add(addresses(Source, next()))
		case "-d":
			add(addresses(Destination, next()))
		case "-i":
			name := next()
			if head, wild := strings.CutSuffix(name, "+"); wild {
				add(Match{Fields: []Field{Device}, Set: newSet([]Range{begins(head)})})
			} else {
				add(Match{Fields: []Field{Device}, Set: newSet([]Range{one(Name(name))})})
			}
		case "-f":
			add(never)
		case "-j", "-g":
			t.target(r, table, word, next(), w[i+1:])
			return
		default:
			if !t.option(add, &not, module, word, next) {
				add(opaque("-m " + module + " " + word))
				for i+1 < len(w) && !strings.HasPrefix(w[i+1], "-") && w[i+1] != "!" {
					i++
				}
			}
		}
		not = false
	}
}

// modules are those whose options are understood, or do not matter. The others are not.
var modules = []string{"tcp", "udp", "udplite", "multiport", "state", "conntrack", "comment", "addrtype", "limit", "hashlimit", "recent", "connlimit", "mark", "icmp", "icmp6", "iprange", "pkttype", "rt", "frag", "hbh", "dst", "ipv6header", "rpfilter"}

// option adds what a module's option means. It reports whether it knows it.
func (t *tables) option(add func(Match), not *bool, module, word string, next func() string) bool {
	switch module + " " + word {
	case "tcp --dport", "udp --dport", "multiport --dports":
		add(ports(Port, next()))
	case "tcp --sport", "udp --sport", "multiport --sports":
		add(ports(SourcePort, next()))
	case "tcp --tcp-flags":
		mask, ok1 := tcpFlags(next())
		comp, ok2 := tcpFlags(next())
		m := is(Flags, comp)
		if m.Mask = mask; !ok1 || !ok2 || mask == 0 {
			m = opaque(word)
		}
		add(m)
	case "tcp --syn":
		m := is(Flags, flags["syn"])
		m.Mask = flags["syn"] | flags["ack"] | flags["rst"] | flags["fin"]
		add(m)
	case "state --state", "conntrack --ctstate":
		m := Match{Fields: []Field{State}, Set: newSet(nil)}
		var list []Range
		for s := range strings.SplitSeq(next(), ",") {
			switch n, ok := states[strings.ToLower(s)]; {
			case ok:
				list = append(list, one(Number(n)))
			case s == "SNAT":
			default: // DNAT: it would have been sent elsewhere, which is said there
			}
		}
		m.Set = newSet(list)
		add(m)
	case "conntrack --ctstatus":
		if next() == "NONE" {
			return false
		}
		add(hasStatus(false))
	case "comment --comment":
		next()
	case "addrtype --dst-type", "addrtype --src-type":
		f := map[string]Field{"--dst-type": Local, "--src-type": Remote}[word]
		var list []any
		for s := range strings.SplitSeq(strings.ToLower(next()), ",") {
			list = append(list, s)
		}
		r, ok := ranges(f, list)
		m := Match{Fields: []Field{f}, Set: newSet(r)}
		m.Set.vague = !ok
		add(m)
	case "addrtype --limit-iface-in":
	case "limit --limit", "limit --limit-burst", "hashlimit --hashlimit-upto", "hashlimit --hashlimit-burst", "hashlimit --hashlimit-mode", "hashlimit --hashlimit-name",
		"hashlimit --hashlimit-srcmask", "hashlimit --hashlimit-dstmask", "hashlimit --hashlimit-htable-size", "hashlimit --hashlimit-htable-max", "hashlimit --hashlimit-htable-expire",
		"hashlimit --hashlimit-htable-gcinterval", "recent --seconds", "recent --hitcount", "recent --name", "recent --mask", "connlimit --connlimit-mask", "connlimit --connlimit-upto":
		if *not && strings.HasPrefix(word, "--hashlimit") || *not && word == "--connlimit-upto" {
			return false // "not within a limit" is what older versions have for "above"
		}
		next()
	case "recent --set", "recent --rsource", "recent --rdest", "recent --rttl", "recent --reap", "connlimit --connlimit-saddr", "connlimit --connlimit-daddr":
		if word == "--set" && *not {
			add(never)
		}
	case "hashlimit --hashlimit-above", "connlimit --connlimit-above":
		next()
		add(never)
	case "recent --update", "recent --rcheck", "recent --remove":
		add(never)
	case "mark --mark":
		value, mask, masked := strings.Cut(next(), "/")
		n, err1 := strconv.ParseUint(value, 0, 32)
		m := is(Mark, n)
		var err2 error
		if masked {
			m.Mask, err2 = strconv.ParseUint(mask, 0, 32)
		}
		if err1 != nil || err2 != nil || masked && m.Mask == 0 {
			m = opaque(word)
		}
		add(m)
	case "icmp --icmp-type", "icmp6 --icmpv6-type":
		next() // a packet of TCP or UDP has been told by -p
		add(opaque(word))
	case "iprange --src-range", "iprange --dst-range":
		f := map[string]Field{"--src-range": Source, "--dst-range": Destination}[word]
		lo, hi, _ := strings.Cut(next(), "-")
		a, err1 := netip.ParseAddr(lo)
		b, err2 := netip.ParseAddr(hi)
		if err1 != nil || err2 != nil {
			add(opaque(word))
		} else {
			add(Match{Fields: []Field{f}, Set: newSet([]Range{{Address(a), Address(b)}})})
		}
	case "pkttype --pkt-type":
		r, ok := ranges(Cast, strings.ToLower(next()))
		m := Match{Fields: []Field{Cast}, Set: newSet(r)}
		m.Set.vague = !ok
		add(m)
	case "rt --rt-type", "rt --rt-segsleft", "rt --rt-len", "frag --fragid", "hbh --hbh-len", "dst --dst-len", "ipv6header --header":
		next()
		*not = false // without the header it is false, however it is put
		add(never)
	case "rpfilter --loose", "rpfilter --validmark", "rpfilter --accept-local":
	case "rpfilter --invert":
		add(never)
	default:
		return false
	}
	return true
}

func addresses(f Field, s string) Match {
	var r []Range
	for a := range strings.SplitSeq(s, ",") {
		host, mask, masked := strings.Cut(a, "/")
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return opaque("the address " + a)
		}
		n := addr.BitLen()
		if masked {
			if n, err = strconv.Atoi(mask); err != nil {
				m, err := netip.ParseAddr(mask)
				if n = contiguous(m); err != nil || n < 0 || m.BitLen() != addr.BitLen() {
					return opaque("the mask " + mask)
				}
			}
		}
		p, err := addr.Prefix(n)
		if err != nil {
			return opaque("the address " + a)
		}
		r = append(r, prefix(p))
	}
	return Match{Fields: []Field{f}, Set: newSet(r)}
}

// contiguous is how many bits a mask begins with, or -1 if others come after a 0.
func contiguous(mask netip.Addr) int {
	n, ended := 0, false
	for _, b := range mask.AsSlice() {
		for i := 7; i >= 0; i-- {
			set := b>>i&1 == 1
			if set && ended {
				return -1
			}
			if set {
				n++
			} else {
				ended = true
			}
		}
	}
	return n
}

// ports reads a list of ports and of ranges, "1,2:5"; a range may lack an end.
func ports(f Field, s string) Match {
	var r []Range
	for p := range strings.SplitSeq(s, ",") {
		lo, hi, ranged := strings.Cut(p, ":")
		if !ranged {
			hi = lo
		}
		if ranged && lo == "" {
			lo = "0"
		}
		if ranged && hi == "" {
			hi = "65535"
		}
		a, err1 := strconv.ParseUint(lo, 10, 16)
		b, err2 := strconv.ParseUint(hi, 10, 16)
		if err1 != nil || err2 != nil {
			return opaque("the port " + p)
		}
		r = append(r, Range{Number(a), Number(b)})
	}
	return Match{Fields: []Field{f}, Set: newSet(r)}
}

func tcpFlags(s string) (n uint64, ok bool) {
	for f := range strings.SplitSeq(strings.ToLower(s), ",") {
		switch bit, known := flags[f]; {
		case f == "none":
		case f == "all":
			n |= 63
		case known:
			n |= bit
		default:
			return 0, false
		}
	}
	return n, true
}

// target reads what becomes of the packet.
func (t *tables) target(r *Rule, table, how, name string, options []string) {
	chain := t.family + " " + table + " " + name
	kind, decided := decides[name]
	switch {
	case t.rules.Chains[chain] != nil:
		r.Action = Action{map[string]Kind{"-j": Jump, "-g": Goto}[how], chain}
	case decided:
		r.Action = Action{Kind: kind}
	case name == "MARK" || name == "CONNMARK":
		r.Marks = true
	case name == "NOTRACK" || name == "CT" && slices.Contains(options, "--notrack"):
		r.Untrack = true
	case name == "CT":
	case slices.Contains(goesOn, name):
		r.Logs = name == "LOG" || name == "NFLOG" || name == "ULOG"
	default:
		r.Action = Action{Kind: Unclear}
	}
}
