package host

import (
	"errors"
	"path"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// squids are the configurations with which MAAS starts Squid, and Debian's own. Sources: src/provisioningserver/proxy/config.py
// (MAAS_PROXY_CONFIG_DIR, /var/lib/maas, in the snap proxy below its data); Debian's package squid.
var squids = map[guard.Product][]string{guard.MAASDeb: {"/var/lib/maas/maas-proxy.conf"}, guard.MAASSnap: {"/var/snap/maas/current/proxy/maas-proxy.conf"}, guard.Metalward: {"/etc/squid/squid.conf"}}

// Proxies implements guard.Host.
func (f *Facts) Proxies(p guard.Product) (list []guard.Proxy, err error) {
	for _, at := range squids[p] {
		there, bad := f.there(at)
		if bad != nil && err == nil {
			err = bad
		}
		if there {
			q := guard.Proxy{Config: at, ACLs: map[string][]guard.ProxyACL{}}
			r := f.reader()
			r.squidFile(&q, at, 0)
			q.Err = errors.Join(r.errs...)
			list = append(list, q)
		}
	}
	return list, err
}

// squidFile reads a file. Source: Squid's squid.conf.documented: a line is a directive; "#" begins a comment line; a backslash at the end
// joins the next line; include lists files and patterns; conditions begin with if.
func (r *reader) squidFile(q *guard.Proxy, file string, depth int) {
	const deepest = 16 // Squid's own limit
	if depth > deepest || !r.take() {
		r.fail(file, 1, errTooMuch)
		return
	}
	text, err := r.facts.Read(file)
	if err != nil {
		r.fail(file, 1, err)
		return
	}
	joined := ""
	for i, line := range strings.Split(string(text), "\n") {
		line = joined + strings.TrimRight(line, "\r")
		if strings.HasSuffix(line, `\`) && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			if joined = strings.TrimSuffix(line, `\`) + " "; len(joined) > maxJoined {
				r.fail(file, i+1, errJoined)
				return
			}
			continue
		}
		joined = ""
		words := strings.Fields(line)
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if !r.take() {
			r.fail(file, i+1, errTooMuch)
			return
		}
		for j, w := range words {
			if w[0] == '#' {
				words = words[:j]
				break
			}
		}
		switch name, args := words[0], words[1:]; name {
		case "acl":
			if len(args) < 2 {
				r.fail(file, i+1, errors.New("a list has a name and a kind"))
				continue
			}
			acl := guard.ProxyACL{Kind: args[1]}
			for _, v := range args[2:] {
				if strings.ContainsAny(v, `"'`) {
					r.fail(file, i+1, errors.New("a list in another file, or in quotes, is not understood"))
					break
				}
				acl.Values = append(acl.Values, v)
			}
			q.ACLs[args[0]] = append(q.ACLs[args[0]], acl)
		case "http_access":
			if len(args) < 1 || args[0] != "allow" && args[0] != "deny" {
				r.fail(file, i+1, errors.New("a rule says allow or deny"))
				continue
			}
			q.Rules = append(q.Rules, guard.ProxyRule{Line: i + 1, Allow: args[0] == "allow", ACLs: args[1:]})
		case "include":
			for _, pattern := range args {
				found, err := []string{pattern}, error(nil)
				switch {
				case !path.IsAbs(pattern) || strings.ContainsAny(pattern, `"'`):
					err, found = errors.New("an inclusion that is no absolute path is not understood"), nil
				case strings.ContainsAny(pattern, "*?["):
					found, err = r.matching(pattern)
				}
				if err != nil {
					r.fail(file, i+1, err)
				}
				for _, at := range found {
					r.squidFile(q, at, depth+1)
				}
			}
		case "if", "else", "endif", "configuration_includes_quoted_values":
			r.fail(file, i+1, errors.New("conditions and quoted values are not understood"))
		}
	}
	if joined != "" {
		r.fail(file, 1, errors.New("its last line is not ended"))
	}
}
