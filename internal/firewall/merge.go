package firewall

import "strings"

// Join makes one ruleset of several: a chain of a later one takes the place of one of the same name.
func Join(list ...*Ruleset) *Ruleset {
	all := &Ruleset{Chains: map[string]*Chain{}}
	for _, rs := range list {
		if rs == nil {
			continue
		}
		for name, c := range rs.Chains {
			all.Chains[name] = c
		}
	}
	return all
}

// Table returns the chains of one table, such as "ip filter".
func (rs *Ruleset) Table(name string) *Ruleset {
	out := &Ruleset{Chains: map[string]*Chain{}}
	for key, c := range rs.Chains {
		if strings.HasPrefix(key, name+" ") {
			out.Chains[key] = c
		}
	}
	return out
}

// Renamed puts a word before every chain's family, for rules that are beside others of the same names: legacy iptables' beside nftables'.
func (rs *Ruleset) Renamed(word string) *Ruleset {
	out := &Ruleset{Chains: map[string]*Chain{}}
	for key, c := range rs.Chains {
		moved := *c // its glances, too, if there are some: they are of the same matches
		moved.Name = word + " " + c.Name
		moved.Rules = append([]Rule(nil), c.Rules...)
		for i := range moved.Rules {
			if t := &moved.Rules[i].Action.Target; *t != "" {
				*t = word + " " + *t
			}
		}
		out.Chains[word+" "+key] = &moved
	}
	return out
}
