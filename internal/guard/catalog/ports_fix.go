package catalog

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// manager is what keeps a host's rules: a fix that it does not know of would be gone with its next change.
type manager string

const (
	ufw       manager = "ufw"
	firewalld manager = "firewalld"
	plain     manager = "nftables"
)

// keeper tells it by the chains that each makes. Sources: ufw-framework(8); firewalld's documentation of its nftables backend.
func (v *view) keeper() manager {
	for name := range v.Rules.Chains {
		switch {
		case strings.Contains(name, " ufw-user-input"), strings.Contains(name, " ufw6-user-input"):
			return ufw
		case strings.HasPrefix(name, "inet firewalld "), strings.HasPrefix(name, "ip firewalld "):
			return firewalld
		}
	}
	return plain
}

// zone is the zone of firewalld that a device's packets are judged by, as the rules' names have it; "" for the default one.
func zone(why []string) string {
	for _, s := range why {
		if _, rest, ok := strings.Cut(s, "firewalld filter_IN_"); ok {
			z, _, _ := strings.Cut(rest, ",")
			for _, end := range []string{"_allow", "_post", "_deny", "_log", "_pre"} {
				z = strings.TrimSuffix(z, end)
			}
			if guard.Quote(z) == z {
				return "--zone=" + z + " "
			}
		}
	}
	return ""
}

// home are the networks whose hosts are no strangers: private ones (RFC 1918, RFC 4193), the link's, and those that this host is in.
func (v *view) home(v6 bool) []string {
	list := map[bool][]string{false: {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}, true: {"fc00::/7", "fe80::/10"}}[v6]
	list = slices.Clone(list)
	for _, i := range v.Interfaces {
		for _, p := range i.Prefixes {
			p = netip.PrefixFrom(p.Addr().WithZone(""), p.Bits()).Masked()
			inside := slices.ContainsFunc(list, func(s string) bool { return netip.MustParsePrefix(s).Overlaps(p) })
			if p.Addr().Is6() == v6 && !p.Addr().IsLoopback() && !inside {
				list = append(list, p.String())
			}
		}
	}
	return list
}

// gone removes a table, whether it is there or not: other findings may have the same fix.
func gone(table string) string { return "add table inet " + table + "; delete table inet " + table }

// devices are those of some ways.
func devices(list []way) (names []string) {
	for _, w := range list {
		if !slices.Contains(names, w.Name) {
			names = append(names, w.Name)
		}
	}
	return names
}

// steps are commands with what takes each back.
type steps struct{ fix, undo []string }

func (s *steps) add(fix, undo string) { s.fix, s.undo = append(s.fix, fix), append(s.undo, undo) }

func (s *steps) say(text string) { s.add("# "+text, "# (Nothing to take back.)") }

// narrow lets only the host's own and private networks reach a port; nothing else changes, so that SSH and what machines need stay open.
func (v *view) narrow(protocol string, port uint16, from who, at seen) (s steps) {
	s.say(fmt.Sprintf("This is about %s port %d alone: SSH and what machines need stay as they are.", protocol, port))
	s.say("Private networks and those that this host is in are let in; write those of " + whoWords[from] + " in their place, if you know them.")
	switch v.keeper() {
	case ufw:
		// A rule for the device: ufw takes one without for the same as a rule that allows the port, and skips it.
		for _, dev := range devices(at.open) {
			rule := fmt.Sprintf("deny in on %s proto %s to any port %d", guard.Quote(dev), protocol, port)
			s.add("ufw prepend "+rule, "ufw delete "+rule)
		}
		for _, v6 := range []bool{false, true} {
			for _, n := range v.home(v6) {
				rule := fmt.Sprintf("allow in proto %s from %s to any port %d", protocol, n, port)
				s.add("ufw prepend "+rule, "ufw delete "+rule)
			}
		}
	case firewalld:
		z := zone(at.evidence)
		rich := func(rule string) {
			s.add(fmt.Sprintf("firewall-cmd %s--add-rich-rule='%s'", z, rule), fmt.Sprintf("firewall-cmd %s--remove-rich-rule='%s'", z, rule))
		}
		for _, v6 := range []bool{false, true} {
			family := map[bool]string{false: "ipv4", true: "ipv6"}[v6]
			for _, n := range v.home(v6) {
				rich(fmt.Sprintf(`rule priority="-101" family="%s" source address="%s" port port="%d" protocol="%s" accept`, family, n, port, protocol))
			}
		}
		rich(fmt.Sprintf(`rule priority="-100" port port="%d" protocol="%s" drop`, port, protocol))
		s.say("When it is right, keep it: firewall-cmd --runtime-to-permanent")
	default:
		table := fmt.Sprintf("metalward_%s_%d", protocol, port)
		rule := func(family string, v6 bool) string {
			return fmt.Sprintf(`add rule inet %s input iifname != "lo" ct state new %s saddr != { %s } %s dport %d counter drop`, table, family, strings.Join(v.home(v6), ", "), protocol, port)
		}
		s.add(fmt.Sprintf("nft '%s; add table inet %s; add chain inet %s input { type filter hook input priority -10; policy accept; }; %s; %s'", gone(table), table, table,
			rule("ip", false), rule("ip6", true)), "nft '"+gone(table)+"'")
		s.say("It is gone with the next start. When it is right, add what `nft list table inet " + table + "` prints to /etc/nftables.conf.")
	}
	return s
}

// shut closes a host but for SSH, and for what the table has of what listens now. It cannot cut anybody off for long: the rules go away by
// themselves unless that is stopped.
func (v *view) shut() (s steps) {
	type hole struct {
		protocol string
		ports    string
	}
	holes, others := []hole{{"tcp", "22"}, {"udp", "67-68"}, {"udp", "546-547"}}, []string{}
	for _, l := range v.Listeners {
		if len(v.ways(l)) == 0 {
			continue
		}
		r, known := v.row(l)
		h := hole{l.Protocol, fmt.Sprint(l.Address.Port())}
		switch {
		case known && r.from != itself && r.from != monitors && r.low != 67 && r.low != 546 && !slices.Contains(holes, h):
			holes = append(holes, h)
		case !known:
			others = append(others, name(l))
		}
	}
	words := func(join string) (list []string) {
		for _, protocol := range []string{"tcp", "udp"} {
			var ports []string
			for _, h := range holes {
				if h.protocol == protocol {
					ports = append(ports, h.ports)
				}
			}
			list = append(list, fmt.Sprintf(join, protocol, strings.Join(ports, ", ")))
		}
		return list
	}
	s.say("SSH stays open, whatever port sshd listens at, and so do DHCP, TFTP, DNS, NTP, metadata and what else machines and controllers need of what listens now.")
	const few = 8
	if n := len(others); n > few {
		others = append(others[:few], fmt.Sprintf("and %d more", n-few))
	}
	if len(others) > 0 {
		s.say("What the table of ports does not name is closed: " + strings.Join(others, ", ") + ". Open first what you need of it.")
	}
	switch v.keeper() {
	case ufw:
		for _, h := range holes {
			rule := fmt.Sprintf("allow %s/%s", strings.ReplaceAll(h.ports, "-", ":"), h.protocol)
			s.add("ufw "+rule, "ufw delete "+rule)
		}
		s.add("ufw default deny incoming", "ufw default allow incoming")
	case firewalld:
		// What is permanent is loaded at the end, of the undo, too, which goes backwards.
		s.add("# firewalld's default target refuses what no rule allows. Other zones whose target accepts: firewall-cmd --list-all-zones", "firewall-cmd --reload")
		for _, h := range holes {
			s.add(fmt.Sprintf("firewall-cmd --permanent --add-port=%s/%s", h.ports, h.protocol), fmt.Sprintf("firewall-cmd --permanent --remove-port=%s/%s", h.ports, h.protocol))
		}
		s.add("firewall-cmd --permanent --set-target=default", "firewall-cmd --permanent --set-target=ACCEPT")
		s.add("firewall-cmd --reload", "# (It is loaded again at the end.)")
	default:
		const table = "metalward_guard"
		const timer = "metalward-guard-undo"
		s.add("systemd-run --unit="+timer+" --on-active=5min "+"/usr/sbin/nft delete table inet "+table, "systemctl stop "+timer+".timer")
		rules := []string{gone(table), "add table inet " + table, "add chain inet " + table + " input { type filter hook input priority 10; policy drop; }"}
		for _, r := range append([]string{"ct state established,related accept", `iifname "lo" accept`, "meta l4proto { icmp, ipv6-icmp } accept"}, words("%s dport { %s } accept")...) {
			rules = append(rules, "add rule inet "+table+" input "+r)
		}
		rules = append(rules, "add rule inet "+table+` input limit rate 3/minute log prefix "metalward_guard: "`)
		s.add("nft '"+strings.Join(rules, "; ")+"'", "nft '"+gone(table)+"'")
		s.say("The rules go away after five minutes. Log in anew and boot a machine; then stop that: systemctl stop " + timer + ".timer")
		s.say("They are gone with the next start, too. When they are right, add what `nft list table inet " + table + "` prints to /etc/nftables.conf.")
	}
	return s
}
