package host

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// chronies are chrony's configurations: Debian's, which MAAS's packages have include theirs. Sources: chrony.conf(5) of Debian;
// src/provisioningserver/ntp/config.py.
var chronies = map[guard.Product][]string{guard.MAASDeb: {"/etc/chrony/chrony.conf"}, guard.Metalward: {"/etc/chrony/chrony.conf"}, guard.MAASSnap: {"/etc/chrony/chrony.conf"}}

// NTP implements guard.Host.
func (f *Facts) NTP(p guard.Product) (list []guard.NTP, err error) {
	for _, at := range chronies[p] {
		there, bad := f.there(at)
		if bad != nil && err == nil {
			err = bad
		}
		if there {
			n := guard.NTP{Config: at}
			r := f.reader()
			r.chronyFile(&n, at, 0)
			n.Err = errors.Join(r.errs...)
			list = append(list, n)
		}
	}
	return list, err
}

// chronyFile reads a file. Source: chrony.conf(5): "!", ";", "#" and "%" begin comments, names are in any letters, include takes a pattern,
// confdir folders of files that end in .conf, of which the first folder's is taken where several have a name. Nothing may follow a directive.
func (r *reader) chronyFile(n *guard.NTP, file string, depth int) {
	if depth > maxIncludes || !r.take() {
		r.fail(file, 1, errTooMuch)
		return
	}
	text, err := r.facts.Read(file)
	if err != nil {
		r.fail(file, 1, err)
		return
	}
	for i, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.IndexByte("!;#%", words[0][0]) >= 0 {
			continue
		}
		if !r.take() {
			r.fail(file, i+1, errTooMuch)
			return
		}
		switch name := strings.ToLower(words[0]); name {
		case "allow", "deny":
			r.chronyRule(&n.Allow, file, i+1, name == "allow", words[1:])
		case "cmdallow", "cmddeny":
			r.chronyRule(&n.Commands, file, i+1, name == "cmdallow", words[1:])
		case "bindcmdaddress":
			if len(words) == 2 && !strings.HasPrefix(words[1], "/") {
				n.Bind = append(n.Bind, words[1])
			}
		case "include":
			if len(words) != 2 {
				r.fail(file, i+1, errors.New("an inclusion names one pattern"))
				continue
			}
			r.chronyFiles(n, file, i+1, words[1], depth)
		case "confdir":
			byName := map[string]string{}
			for _, dir := range words[1:] {
				found, err := r.facts.match(dir, "*.conf")
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					r.fail(file, i+1, err)
				}
				for _, at := range found {
					if _, taken := byName[path.Base(at)]; !taken { // the first folder's goes before
						byName[path.Base(at)] = at
					}
				}
			}
			var names []string
			for name := range byName {
				names = append(names, name)
			}
			slices.Sort(names)
			for _, name := range names {
				r.chronyFile(n, byName[name], depth+1)
			}
		}
	}
}

func (r *reader) chronyFiles(n *guard.NTP, file string, line int, pattern string, depth int) {
	found, err := []string{pattern}, error(nil)
	if strings.ContainsAny(pattern, "*?[") {
		found, err = r.matching(pattern)
	}
	if err != nil {
		r.fail(file, line, err)
	}
	for _, at := range found {
		r.chronyFile(n, at, depth+1)
	}
}

// chronyRule is a rule of who may ask. Source: chrony.conf(5), allow: a network, the beginning of an IPv4 address such as 1.2, an address,
// a name, or nothing for all; "all" before a network takes the narrower rules back.
func (r *reader) chronyRule(list *[]guard.NTPRule, file string, line int, allow bool, words []string) {
	rule := guard.NTPRule{File: file, Line: line, Allow: allow}
	all := len(words) > 0 && strings.EqualFold(words[0], "all")
	if all {
		words = words[1:]
	}
	if len(words) > 1 {
		r.fail(file, line, errors.New("a rule names one network"))
		return
	}
	if len(words) == 1 {
		p, err := chronyNetwork(words[0])
		if err != nil {
			rule.Name = words[0]
		}
		rule.From = p
	}
	if all {
		*list = slices.DeleteFunc(*list, func(o guard.NTPRule) bool {
			return !rule.From.IsValid() && rule.Name == "" || rule.From.IsValid() && o.From.IsValid() && rule.From.Bits() <= o.From.Bits() && rule.From.Contains(o.From.Addr())
		})
	}
	*list = append(*list, rule)
}

func chronyNetwork(s string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	begin, bits, wide := strings.Cut(s, "/")
	if parts := strings.Split(strings.TrimSuffix(begin, "."), "."); len(parts) < 4 && strings.Trim(begin, "0123456789.") == "" { // 10.1 is 10.1.0.0/16
		full := strings.Join(append(parts, "0", "0", "0", "0")[:4], ".")
		if !wide {
			bits = strconv.Itoa(8 * len(parts))
		}
		if p, err := netip.ParsePrefix(full + "/" + bits); err == nil {
			return p.Masked(), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("%.60q is no network", s)
}
