package firewall

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Limits of what is read: more is an error.
const (
	MaxOutput = 64 << 20 // bytes of a tool's output: 5,000 rules are about 3 MB as JSON
	maxRules  = 200_000
	maxValues = 2_000_000 // in all sets
)

type object = map[string]any

// nft reads one list.
type nft struct {
	rules  *Ruleset
	asleep map[string]bool // tables that are dormant, by family and name
	sets   map[string]*Set // by family, table and name, and "." and the number of fields
	elems  map[string][]any
	maps   map[string][]any
	texts  map[string]string
	values int
	count  int
}

// ParseNFT reads what `nft -j list ruleset` prints and, if it is there, what `nft -a list ruleset` does: the JSON has no rule in the form
// that people write. Tables that xtables wrote and that nft does not show in full (an "xt" expression) are returned by name, such as
// "ip filter": iptables-save shows them.
func ParseNFT(text, people []byte) (*Ruleset, []string, error) {
	var list struct {
		Objects []map[string]json.RawMessage `json:"nftables"`
	}
	if len(text) > MaxOutput || len(people) > MaxOutput {
		return nil, nil, fmt.Errorf("the list of rules has more than %d bytes", MaxOutput)
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, nil, fmt.Errorf("nft's list of rules is no JSON: %w", err)
	}
	if list.Objects == nil {
		return nil, nil, errors.New("nft's list of rules has no nftables in it")
	}
	n := &nft{rules: &Ruleset{Chains: map[string]*Chain{}}, asleep: map[string]bool{}, sets: map[string]*Set{}, elems: map[string][]any{}, maps: map[string][]any{}, texts: texts(string(people))}
	var partial []string
	// Chains first, and sets: rules may come before what they use.
	for _, kind := range []string{"table", "chain", "set", "map", "element", "rule"} {
		for _, o := range list.Objects {
			raw, ok := o[kind]
			if !ok {
				continue
			}
			var v object
			if err := json.Unmarshal(raw, &v); err != nil {
				return nil, nil, fmt.Errorf("nft's list of rules: %s: %w", kind, err)
			}
			switch err := n.object(kind, v); {
			case errors.Is(err, errPartial):
				if t := str(v["family"]) + " " + str(v["table"]); !slices.Contains(partial, t) {
					partial = append(partial, t)
				}
			case err != nil:
				return nil, nil, err
			}
		}
	}
	return n.rules, partial, nil
}

var errPartial = errors.New("nft does not show it in full")

func str(v any) string {
	s, _ := v.(string)
	return s
}

func num(v any) int {
	f, _ := v.(float64)
	return int(f)
}

// list is a list, also one of a single thing.
func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{v}
}

func (n *nft) object(kind string, v object) error {
	table := str(v["family"]) + " " + str(v["table"])
	name := table + " " + str(v["name"])
	switch kind {
	case "table":
		for _, f := range list(v["flags"]) {
			if str(f) == "dormant" {
				n.asleep[str(v["family"])+" "+str(v["name"])] = true
			}
		}
	case "chain":
		c := &Chain{Name: name, Family: str(v["family"]), Nat: str(v["type"]) == "nat", Priority: num(v["prio"]), Policy: Accept}
		if !n.asleep[table] {
			c.Hook = str(v["hook"])
		}
		for _, d := range list(v["dev"]) {
			c.Devices = append(c.Devices, str(d))
		}
		if len(c.Devices) == 0 { // nft 1.0.6 leaves them out of its JSON
			c.Devices = strings.FieldsFunc(n.texts[name+" devices"], func(r rune) bool { return strings.ContainsRune(` ,"`, r) })
		}
		if str(v["policy"]) == "drop" {
			c.Policy = Drop
		}
		n.rules.Chains[name] = c
	case "set":
		n.elems[name] = list(v["elem"])
	case "map":
		n.maps[name] = list(v["elem"])
	case "element":
		// Newer versions may list a set's elements apart from it.
		if _, ok := n.elems[name]; ok {
			n.elems[name] = append(n.elems[name], list(v["elem"])...)
		} else {
			n.maps[name] = append(n.maps[name], list(v["elem"])...)
		}
	case "rule":
		chain := table + " " + str(v["chain"])
		c := n.rules.Chains[chain]
		if c == nil {
			return fmt.Errorf("nft's list of rules: a rule is in the chain %q, which is not there", chain)
		}
		if n.count++; n.count > maxRules {
			return fmt.Errorf("there are more than %d rules", maxRules)
		}
		r := Rule{Number: len(c.Rules) + 1, Handle: num(v["handle"])}
		r.Text = n.texts[chain+" "+strconv.Itoa(r.Handle)]
		partial := false
		for _, e := range list(v["expr"]) {
			o, _ := e.(object)
			if _, xt := o["xt"]; xt || len(o) == 0 {
				partial = true
			}
			if len(o) == 0 { // null is what nft has no words for
				r.Matches, r.Action = append(r.Matches, opaque("a part that nft does not show")), Action{Kind: Unclear}
			}
			n.statement(&r, table, o)
		}
		c.Rules = append(c.Rules, r)
		if n.values > maxValues {
			return fmt.Errorf("the rules' sets have more than %d elements", maxValues)
		}
		if partial {
			return errPartial
		}
	}
	return nil
}

// verdicts by their names in JSON.
var verdicts = map[string]Kind{"accept": Accept, "drop": Drop, "reject": Drop, "return": Return, "continue": Continue, "queue": Unclear, "dnat": Elsewhere, "redirect": Elsewhere,
	"tproxy": Unclear, "synproxy": Unclear, "fwd": Unclear}

// harmless are statements that neither match nor decide about a packet that comes in.
var harmless = []string{"counter", "masquerade", "snat", "dup", "ct helper", "ct timeout", "ct expectation", "ct secmark", "secmark", "last"}

func opaque(what string) Match {
	return Match{Fields: []Field{Opaque}, What: what + " is not understood"}
}

// statement adds what an expression of a rule means.
func (n *nft) statement(r *Rule, table string, o object) {
	for key, v := range o {
		body, _ := v.(object)
		kind, decides := verdicts[key]
		switch {
		case decides:
			r.Action = Action{Kind: kind}
		case key == "jump" || key == "goto":
			r.Action = Action{map[string]Kind{"jump": Jump, "goto": Goto}[key], table + " " + str(body["target"])}
		case key == "vmap":
			n.cases(r, table, body)
		case key == "match":
			r.Matches = append(r.Matches, n.match(table, body)...)
		case key == "log":
			r.Logs = true
		case key == "notrack":
			r.Untrack = true
		case key == "mangle":
			r.Marks = true
		case key == "limit", key == "ct count":
			// Nothing has been met of a limit yet: "over" it is false.
			if over, ok := body["inv"].(bool); ok && over {
				r.Matches = append(r.Matches, never)
			} else if len(body) == 0 { // one that is named is elsewhere
				r.Matches = append(r.Matches, opaque(key))
			}
		case key == "set" && body["elem"] != nil:
			// It puts something into a set, where that is within limits.
			for _, s := range list(body["stmt"]) {
				inner, _ := s.(object)
				n.statement(r, table, inner)
			}
		case slices.Contains(harmless, key):
		default:
			r.Matches = append(r.Matches, opaque(fmt.Sprintf("%q", key)))
			if key == "xt" {
				r.Action = Action{Kind: Unclear}
			}
		}
	}
}

// never is false.
var never = Match{Fields: []Field{Family}, Set: &Set{}}

func is(f Field, n ...uint64) Match {
	var list []Range
	for _, x := range n {
		list = append(list, one(Number(x)))
	}
	return Match{Fields: []Field{f}, Set: newSet(list)}
}

// transports are the protocols that a match may name. Source: IANA's protocol numbers.
var transports = map[string]uint64{"icmp": 1, "igmp": 2, "tcp": TCP, "udp": UDP, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58, "ipv6-icmp": 58, "comp": 108, "vrrp": 112, "sctp": 132, "udplite": 136}

// field tells which field an expression is, and what has to hold for a packet to have it.
func field(v any) (f Field, need []Match, what string) {
	o, _ := v.(object)
	for kind, b := range o {
		body, _ := b.(object)
		key := str(body["key"])
		switch kind {
		case "payload":
			f, need = payload(str(body["protocol"]), str(body["field"]))
			return f, need, fmt.Sprintf("%s %s", str(body["protocol"]), str(body["field"]))
		case "meta":
			return map[string]Field{"l4proto": Protocol, "nfproto": Family, "protocol": Family, "iifname": Device, "iif": Device, "mark": Mark, "pkttype": Cast}[key], nil, "meta " + key
		case "ct":
			return map[string]Field{"state": State, "status": Status}[key], nil, "ct " + key
		case "fib":
			return fib(body), nil, "fib " + str(body["result"])
		case "rt", "exthdr":
			return Opaque, nil, kind
		default:
			return Opaque, nil, fmt.Sprintf("%q", kind)
		}
	}
	return Opaque, nil, "a match"
}

func payload(protocol, name string) (Field, []Match) {
	switch protocol + " " + name {
	case "ip saddr", "ip daddr", "ip protocol":
		return map[string]Field{"saddr": Source, "daddr": Destination, "protocol": Protocol}[name], []Match{is(Family, family4)}
	case "ip6 saddr", "ip6 daddr", "ip6 nexthdr":
		return map[string]Field{"saddr": Source, "daddr": Destination, "nexthdr": Protocol}[name], []Match{is(Family, family6)}
	case "ether type":
		return Family, nil
	case "th sport", "th dport":
		return map[string]Field{"sport": SourcePort, "dport": Port}[name], nil
	case "tcp flags":
		return Flags, []Match{is(Protocol, TCP)}
	}
	p, ok := transports[protocol]
	if !ok {
		return Opaque, nil
	}
	if ports := map[string]Field{"sport": SourcePort, "dport": Port}; (p == TCP || p == UDP) && ports[name] != Opaque {
		return ports[name], []Match{is(Protocol, p)}
	}
	return Opaque, []Match{is(Protocol, p)}
}

// fib is what a lookup of a route tells. Source: nft(8), FIB expressions.
func fib(body object) Field {
	var by []string
	for _, f := range list(body["flags"]) {
		by = append(by, str(f))
	}
	switch result := str(body["result"]); {
	case result == "type" && slices.Contains(by, "daddr"):
		return Local
	case result == "type" && slices.Contains(by, "saddr"):
		return Remote
	}
	return Opaque
}

// match turns a comparison into matches that all have to be true.
func (n *nft) match(table string, body object) (all []Match) {
	left, right, op := body["left"], body["right"], str(body["op"])
	m := Match{Not: op == "!=" || op == "!"}
	if o, ok := left.(object); ok {
		if and, ok := o["&"].([]any); ok && len(and) == 2 {
			left = and[0]
			mask, ok := bits(and[1])
			if !ok || mask == 0 {
				return []Match{opaque("a mask")}
			}
			m.Mask = mask
		}
		if parts, ok := o["concat"].([]any); ok {
			return n.concat(table, m, parts, right)
		}
		// The route back to the source is by the device that the packet came in: that is what a Packet is.
		if f, ok := o["fib"].(object); ok && str(f["result"]) == "oif" {
			if exists, ok := right.(bool); ok && reversed(f) {
				if exists == m.Not {
					return []Match{never}
				}
				return nil
			}
		}
		if _, ok := o["rt"]; ok {
			return []Match{opaque("rt")}
		}
		if x, ok := o["exthdr"].(object); ok {
			return []Match{extension(x, right, m.Not)}
		}
	}
	f, need, what := field(left)
	m.Fields = []Field{f}
	m.What = what + " is not understood"
	if f == Opaque || m.Mask != 0 && (f == Source || f == Destination || f == Device) {
		return append(need, opaque(what))
	}
	if f == Status { // a new connection has none of them
		return append(need, hasStatus(m.Not))
	}
	switch op {
	case "==", "!=", "in", "", "!":
		m.Set = n.set(table, m.Fields, right)
		if _, set := right.(object); f == Flags && !set {
			// A list of flags is one number; "tcp flags syn,ack" asks for any of them.
			value, ok := bits(right)
			switch {
			case !ok:
				m.Set = &Set{vague: true}
			case op == "!": // none of them is set
				m.Mask, m.Not, m.Set = value, false, newSet([]Range{one(Number(0))})
			case op == "in":
				m.Mask, m.Not, m.Set = value, true, newSet([]Range{one(Number(0))})
			default:
				m.Set = newSet([]Range{one(Number(value))})
			}
		}
	case "<", ">", "<=", ">=":
		x, ok := ranges(f, right)
		if !ok || len(x) != 1 {
			return append(need, opaque(what))
		}
		below, above := Range{Value{}, x[0].Hi}, Range{x[0].Lo, Value{^uint64(0), ^uint64(0)}}
		switch op {
		case "<=":
			m.Set = newSet([]Range{below})
		case ">=":
			m.Set = newSet([]Range{above})
		case "<":
			m.Set, m.Not = newSet([]Range{above}), true
		default:
			m.Set, m.Not = newSet([]Range{below}), true
		}
	default:
		return append(need, opaque(what))
	}
	return append(need, m)
}

// hasStatus is true for a connection with any status.
func hasStatus(not bool) Match {
	return Match{Fields: []Field{Status}, Not: !not, Set: newSet([]Range{one(Number(0))}), What: "whether it is sent elsewhere is not known"}
}

// reversed reports whether a lookup is of the way back to the source.
func reversed(fib object) bool {
	by := list(fib["flags"])
	return slices.ContainsFunc(by, func(f any) bool { return str(f) == "saddr" }) && slices.ContainsFunc(by, func(f any) bool { return str(f) == "iif" })
}

// extension is a match of an extension header, which the packet has none of.
func extension(x object, right any, not bool) Match {
	if exists, ok := right.(bool); ok && exists == not {
		return Match{Fields: []Field{Family}, Set: newSet([]Range{{Hi: Number(family6)}})}
	}
	return never
}

// concat is a match of several fields together.
func (n *nft) concat(table string, m Match, parts []any, right any) (all []Match) {
	for _, p := range parts {
		f, need, what := field(p)
		if f == Opaque || m.Mask != 0 {
			return append(all, opaque(what))
		}
		m.Fields = append(m.Fields, f)
		all = append(all, need...)
	}
	m.Set = n.set(table, m.Fields, right)
	return append(all, m)
}

// set reads the right side of a comparison; what it does not understand makes the set vague.
func (n *nft) set(table string, f []Field, right any) *Set {
	if name, ok := right.(string); ok && strings.HasPrefix(name, "@") {
		key := table + " " + name[1:]
		cached := key + "." + fmt.Sprint(f)
		if s := n.sets[cached]; s != nil {
			return s
		}
		elems, ok := n.elems[key]
		s := n.elements(f, elems)
		s.vague = s.vague || !ok
		n.sets[cached] = s
		return s
	}
	if o, ok := right.(object); ok && o["set"] != nil {
		if name := str(o["set"]); strings.HasPrefix(name, "@") {
			return n.set(table, f, name)
		}
		right = o["set"]
	}
	if elems := list(right); len(elems) > 0 {
		return n.elements(f, elems)
	}
	return &Set{vague: true}
}

// elements makes a set of a list.
func (n *nft) elements(f []Field, elems []any) *Set {
	var flat []Range
	var tuples [][]Range
	vague := false
	n.values += len(elems)
	for _, e := range elems {
		if o, ok := e.(object); ok && o["elem"] != nil { // with a timeout, counter or comment
			body, _ := o["elem"].(object)
			e = body["val"]
		}
		if len(f) == 1 {
			r, ok := ranges(f[0], e)
			flat = append(flat, r...)
			vague = vague || !ok
			continue
		}
		o, _ := e.(object)
		parts, _ := o["concat"].([]any)
		tuple := make([]Range, 0, len(f))
		for i, p := range parts {
			if r, ok := ranges(f[min(i, len(f)-1)], p); ok && len(r) == 1 {
				tuple = append(tuple, r[0])
			}
		}
		if len(tuple) == len(f) && len(parts) == len(f) {
			tuples = append(tuples, tuple)
		} else {
			vague = true
		}
	}
	s := newSet(flat)
	s.tuples, s.vague = tuples, vague
	return s
}

// words are the names that the fields' values have.
var words = map[Field]map[string]uint64{Family: {"ipv4": family4, "ipv6": family6, "ip": family4, "ip6": family6}, Protocol: transports, State: states, Flags: flags, Local: kinds, Remote: kinds,
	Cast: {"host": 0, "unicast": 0, "broadcast": 1, "multicast": 2, "other": 3}}

// ranges are what one value of a field stands for. ok is false if it is not understood.
func ranges(f Field, v any) (r []Range, ok bool) {
	switch v := v.(type) {
	case float64:
		if v < 0 || v >= 1<<53 {
			return nil, false
		}
		n := uint64(v)
		if f == Family { // as in nfproto: NFPROTO_IPV4 is 2, NFPROTO_IPV6 is 10
			n = map[uint64]uint64{2: family4, 10: family6}[n]
		}
		if f == State || f == Source || f == Destination || f == Device {
			return nil, false
		}
		return []Range{one(Number(n))}, true
	case string:
		return word(f, v)
	case object:
		if p, ok := v["prefix"].(object); ok {
			a, err := netip.ParseAddr(str(p["addr"]))
			if err != nil || f != Source && f != Destination {
				return nil, false
			}
			net, err := a.Prefix(num(p["len"]))
			return []Range{prefix(net)}, err == nil
		}
		if p, ok := v["range"].([]any); ok && len(p) == 2 {
			lo, ok1 := ranges(f, p[0])
			hi, ok2 := ranges(f, p[1])
			if !ok1 || !ok2 || len(lo) != 1 || len(hi) != 1 {
				return nil, false
			}
			return []Range{{lo[0].Lo, hi[0].Hi}}, true
		}
	case []any: // of flags
		for _, e := range v {
			one, ok := ranges(f, e)
			if !ok {
				return nil, false
			}
			r = append(r, one...)
		}
		return r, len(r) > 0
	}
	return nil, false
}

func word(f Field, s string) ([]Range, bool) {
	switch f {
	case Source, Destination:
		if a, err := netip.ParseAddr(s); err == nil {
			return []Range{one(Address(a))}, true
		}
	case Device:
		if head, wild := strings.CutSuffix(s, "*"); wild {
			return []Range{begins(head)}, true
		}
		return []Range{one(Name(s))}, len(s) < 16
	default:
		n, ok := words[f][s]
		return []Range{one(Number(n))}, ok
	}
	return nil, false
}

// bits is a mask: a number, or flags of TCP by name.
func bits(v any) (mask uint64, ok bool) {
	for _, e := range list(v) {
		if o, isSet := e.(object); isSet && o["|"] != nil {
			e = o["|"]
		}
		switch e := e.(type) {
		case float64:
			mask |= uint64(e)
		case string:
			bit, known := flags[e]
			if !known {
				return 0, false
			}
			mask |= bit
		case []any:
			more, known := bits(e)
			if !known {
				return 0, false
			}
			mask |= more
		default:
			return 0, false
		}
	}
	return mask, true
}

// cases reads a verdict map.
func (n *nft) cases(r *Rule, table string, body object) {
	key, data := body["key"], body["data"]
	fields, need, what := []Field(nil), []Match(nil), ""
	parts := []any{key}
	if o, ok := key.(object); ok {
		if c, ok := o["concat"].([]any); ok {
			parts = c
		}
	}
	for _, p := range parts {
		f, more, w := field(p)
		fields, need, what = append(fields, f), append(need, more...), w
	}
	r.Matches = append(r.Matches, need...)
	var entries []any
	known := true
	if name := str(data); strings.HasPrefix(name, "@") {
		entries, known = n.maps[table+" "+name[1:]]
	} else if o, ok := data.(object); ok {
		entries = list(o["set"])
	}
	if slices.Contains(fields, Opaque) {
		fields, known = []Field{Opaque}, false
	}
	var others *Action
	for _, e := range entries {
		pair, _ := e.([]any)
		if len(pair) != 2 {
			known = false
			continue
		}
		var to Rule
		o, _ := pair[1].(object)
		n.statement(&to, table, o)
		if str(pair[0]) == "*" { // what nothing else matches
			others = &to.Action
			continue
		}
		r.Cases = append(r.Cases, Case{Match{Fields: fields, Set: n.elements(fields, []any{pair[0]}), What: what}, to.Action})
	}
	if others != nil {
		r.Cases = append(r.Cases, Case{Match{Fields: []Field{Family}, Set: &Set{ranges: []Range{{Hi: Number(family6)}}}}, *others})
	}
	if !known {
		r.Cases = append(r.Cases, Case{opaque("a map"), Action{Kind: Unclear}})
	}
}

// ingress finds the devices of a chain in what nft prints for people.
var ingress = regexp.MustCompile(`^type \S+ hook ingress devices? (?:= \{ ([^}]*) \}|("[^"]*"))`)

// texts finds the rules in what nft prints for people, by chain and handle, and chains' devices.
func texts(s string) map[string]string {
	found := map[string]string{}
	table, chain := "", ""
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if m := ingress.FindStringSubmatch(line); m != nil {
			found[table+" "+chain+" devices"] = m[1] + m[2]
		}
		head, handle, ok := strings.Cut(line, " # handle ")
		if !ok {
			continue
		}
		w := strings.Fields(strings.TrimSuffix(head, "{"))
		switch {
		case strings.HasSuffix(head, "{") && len(w) == 3 && w[0] == "table":
			table = w[1] + " " + w[2]
		case strings.HasSuffix(head, "{") && len(w) == 2:
			chain = w[1]
		default:
			found[table+" "+chain+" "+handle] = head
		}
	}
	return found
}
