package catalog

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/firewall"
	"github.com/metalward/metalward/internal/guard"
)

var (
	tlsGuide      = guard.Reference{Title: "RFC 9325: Recommendations for Secure Use of TLS and DTLS", URL: "https://www.rfc-editor.org/rfc/rfc9325"}
	hstsRFC       = guard.Reference{Title: "RFC 6797: HTTP Strict Transport Security", URL: "https://www.rfc-editor.org/rfc/rfc6797"}
	haproxyManual = guard.Reference{Title: "HAProxy, Configuration Manual", URL: "https://docs.haproxy.org/2.6/configuration.html"}
	nginxTLS      = guard.Reference{Title: "nginx documentation, ngx_http_ssl_module", URL: "https://nginx.org/en/docs/http/ngx_http_ssl_module.html"}
	apacheTLS     = guard.Reference{Title: "Apache documentation, mod_ssl", URL: "https://httpd.apache.org/docs/2.4/mod/mod_ssl.html"}
	wireguard     = guard.Reference{Title: "WireGuard, Quick Start", URL: "https://www.wireguard.com/quickstart/"}
)

// behindFronts are the ports of the products' pages, and a word of MAAS's sockets. Sources: MAAS's documentation; this repository's
// internal/config.
func behindFronts(p guard.Product) (ports []int, socket string) {
	if p == guard.Metalward {
		return []int{portHTTPS}, ""
	}
	return []int{portPlain, portHTTPS}, "maas"
}

// taking is what has a program take a changed configuration, once it has found no mistake in it.
var taking = map[string]string{"nginx": "nginx -t && systemctl reload nginx", "haproxy": "haproxy -c -f /etc/haproxy/haproxy.cfg && systemctl reload haproxy",
	"apache2": "apache2ctl configtest && systemctl reload apache2"}

func frontName(f guard.Front) string {
	return fmt.Sprintf("%s:%d %s", f.File, f.Line, f.Address)
}

// edit says what to write where. MAAS writes its own file: there, a newer MAAS writes it better.
func edit(f guard.Front, write map[string]string) (fix, undo string) {
	if f.Program == "maas" {
		return "# MAAS writes " + guard.Show(f.File) + " itself: update MAAS, whose later versions write it better.", "# Go back to the version before, from the backup that was made before the update."
	}
	at := fmt.Sprintf("%s, line %d", guard.Show(f.File), f.Line)
	return "# In " + at + ": " + write[f.Program] + " Then: " + taking[f.Program], "# In " + at + ": put back what was there. Then: " + taking[f.Program]
}

// onFronts judges those fronts that lead to the product and are wanted. What could not be read is said beside what could.
func onFronts(want func(guard.Front) bool, judge func(guard.Host, guard.Front) []guard.Observation) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, p guard.Product) (list []guard.Observation) {
		all := h.Fronts(p)
		ports, socket := behindFronts(p)
		for _, f := range all.List {
			if f.Program == "maas" || f.LeadsTo(ports, socket) {
				if want(f) {
					list = append(list, judge(h, f)...)
				}
			} else if len(f.Unsure) > 0 && want(f) {
				list = append(list, guard.Blind(frontName(f), errors.New(strings.Join(f.Unsure, "; "))))
			}
		}
		if all.Err != nil {
			list = append(list, guard.Blind("web servers and balancers", all.Err))
		}
		return same(list)
	}
}

func hasTLS(f guard.Front) bool { return f.TLS }

// isNative reports whether a front is MAAS's own, with TLS.
func isNative(f guard.Front) bool { return f.Program == "maas" && f.TLS }

// withTLS judges whether pages and API of MAAS are behind TLS at all.
func withTLS(h guard.Host, p guard.Product) []guard.Observation {
	conf := regionConfig[p][0].paths[0]
	if _, err := h.File(conf); err != nil {
		return beside(conf, err)
	}
	all := h.Fronts(p)
	ports, socket := behindFronts(p)
	for _, f := range all.List {
		if isNative(f) || f.TLS && f.LeadsTo(ports, socket) || f.Raw && f.LeadsTo([]int{portHTTPS}, "") {
			return []guard.Observation{passed(frontName(f), "%s takes TLS for the pages and the API.", f.Program)}
		}
	}
	if all.Err != nil {
		return []guard.Observation{guard.Blind("web servers and balancers", all.Err)}
	}
	command := "maas config-tls enable KEY CERT"
	return []guard.Observation{{State: guard.Fail, Subject: conf,
		Evidence: []string{"Neither MAAS itself nor a web server or balancer on this host takes TLS for the pages and the API: passwords, sessions and API keys cross the network in plain text.",
			"What ends TLS on another host cannot be seen from here: waive this there, and see that 5240 is closed to all but it, racks and machines."},
		Fix: []string{command + " --cacert CHAIN # KEY, CERT and CHAIN being PEM files that MAAS may read; of MAAS 3.2 or later",
			"# MAAS 2.7 to 3.1 has no TLS of its own: update it, or put HAProxy or nginx in front, and close 5240 to all but racks and machines."},
		Undo: []string{"maas config-tls disable", "# Take the front away again, and open 5240."}}}
}

func sendOn(h guard.Host, f guard.Front) []guard.Observation {
	if f.ToHTTPS {
		return []guard.Observation{passed(frontName(f), "What comes in plain text is sent on to https.")}
	}
	fix, undo := edit(f, map[string]string{"nginx": "give the server no proxy_pass, and write: return 301 https://$host$request_uri;",
		"haproxy": "write in the same section: http-request redirect scheme https code 301 unless { ssl_fc }", "apache2": "write in the virtual host, in the place of ProxyPass: Redirect permanent / https://NAME/"})
	return []guard.Observation{failed(0, frontName(f), fix, undo, "%s takes requests in plain text and passes them on to %s.", f.Program, serversOf(f))}
}

// serversOf names the servers behind a front.
func serversOf(f guard.Front) string {
	var names []string
	for _, s := range f.Servers {
		if !slices.Contains(names, s.Address) {
			names = append(names, s.Address)
		}
	}
	return strings.Join(names, ", ")
}

// since reports whether a package's version is at least another. Only the first three numbers are looked at.
func since(version string, least ...int) bool {
	if _, rest, ok := strings.Cut(version, ":"); ok {
		version = rest
	}
	for _, want := range least {
		n := 0
		for version != "" && version[0] >= '0' && version[0] <= '9' && n < 1<<20 {
			n, version = n*10+int(version[0]-'0'), version[1:]
		}
		if n != want {
			return n > want
		}
		version = strings.TrimPrefix(version, ".")
	}
	return true
}

// usualProtocols are those where nothing sets them. Sources: nginx's documentation and its changes with 1.27.3; HAProxy's configuration
// manual, ssl-min-ver, and its changes with 2.2; Apache's documentation of SSLProtocol.
func usualProtocols(f guard.Front) (list []string, known bool) {
	old, today := []string{"TLSv1", "TLSv1.1", "TLSv1.2"}, []string{"TLSv1.2", "TLSv1.3"}
	switch {
	case f.Program == "apache2":
		return old, true
	case f.Version == "":
		return nil, false
	case f.Program == "nginx" && since(f.Version, 1, 27, 3), f.Program == "haproxy" && since(f.Version, 2, 2):
		return today, true
	}
	return old, true
}

func protocolsOf(_ guard.Host, f guard.Front) []guard.Observation {
	how := "as it sets them"
	if f.Protocols == nil {
		usual, known := usualProtocols(f)
		if !known {
			return []guard.Observation{guard.Blind(frontName(f), fmt.Errorf("no protocols are set, and the usual ones are those of a version of %s that is not known", f.Program))}
		}
		f.Protocols, how = usual, "as nothing sets them"
	}
	weak := f.Weak()
	if len(weak) == 0 {
		return []guard.Observation{passed(frontName(f), "Its protocols are %s, %s.", strings.Join(f.Protocols, ", "), how)}
	}
	severity := guard.Medium
	if slices.Contains(weak, "SSLv3") {
		severity = guard.High
	}
	fix, undo := edit(f, map[string]string{"nginx": "write in the server, and in http: ssl_protocols TLSv1.2 TLSv1.3;", "haproxy": "write at the end of the bind line, or in global: ssl-default-bind-options ssl-min-ver TLSv1.2",
		"apache2": "write in the virtual host: SSLProtocol -all +TLSv1.2 +TLSv1.3"})
	o := failed(severity, frontName(f), fix, undo, "Its protocols are %s, %s: %s is older than TLS 1.2.", strings.Join(f.Protocols, ", "), how, strings.Join(weak, ", "))
	o.Evidence = append(o.Evidence, "The library may refuse them all the same (OpenSSL 3 does at its usual security level): transport-live says what is answered.")
	return []guard.Observation{o}
}

func ciphersOf(_ guard.Host, f guard.Front) []guard.Observation {
	list, how := f.Ciphers, "as it sets them"
	if list == "" {
		list, how = map[string]string{"nginx": "HIGH:!aNULL:!MD5"}[f.Program], "as nothing sets them"
		if list == "" {
			list = "DEFAULT"
		}
	}
	if f.Protocols != nil && !slices.ContainsFunc(f.Protocols, func(p string) bool { return p != "TLSv1.3" }) {
		return []guard.Observation{passed(frontName(f), "TLS 1.3 alone has no weak ciphers.")}
	}
	broken, cbc, unknown := weakCiphers(list)
	const good = "ECDHE+AESGCM:ECDHE+CHACHA20"
	fix, undo := edit(f, map[string]string{"nginx": "write: ssl_ciphers " + good + ";", "haproxy": "write in global: ssl-default-bind-ciphers " + good, "apache2": "write: SSLCipherSuite " + good})
	switch {
	case len(broken) > 0:
		return []guard.Observation{failed(guard.High, frontName(f), fix, undo, "Its ciphers are %s, %s, and let in broken ones: %s.", list, how, strings.Join(broken, ", "))}
	case len(unknown) > 0:
		return []guard.Observation{guard.Blind(frontName(f), fmt.Errorf("what %s stands for is not known here", strings.Join(unknown, ", ")))}
	case len(cbc) > 0:
		return []guard.Observation{failed(guard.Low, frontName(f), fix, undo, "Its ciphers are %s, %s, and let in those with CBC: %s.", list, how, strings.Join(cbc, ", "))}
	}
	return []guard.Observation{passed(frontName(f), "Its ciphers are %s, %s: none has CBC, RC4, 3DES, NULL or EXPORT.", list, how)}
}

// eachPair judges the certificates of fronts with TLS.
func eachPair(judge func(guard.Host, guard.Front, guard.Pair, guard.Certificate) guard.Observation) func(guard.Host, guard.Product) []guard.Observation {
	return onFronts(hasTLS, func(h guard.Host, f guard.Front) (list []guard.Observation) {
		for _, p := range f.Pairs {
			c, err := h.Certificate(p)
			if err != nil {
				list = append(list, guard.Blind(p.Certificate, err))
				continue
			}
			list = append(list, judge(h, f, p, c))
		}
		return list
	})
}

// soon is how long before its end a certificate is to be renewed: what MAAS proposes for its notice (tls_cert_expiration_notification_interval).
const soon = 30 * 24 * time.Hour

func renew(f guard.Front, p guard.Pair) (fix, undo string) {
	if f.Program == "maas" {
		return "maas config-tls enable KEY CERT --cacert CHAIN # with a new certificate", "maas config-tls enable OLDKEY OLDCERT --cacert OLDCHAIN"
	}
	return "# Put a new certificate, its chain behind it, into " + guard.Quote(p.Certificate) + ". Then: " + taking[f.Program], "# Put the old file back. Then: " + taking[f.Program]
}

func expiry(h guard.Host, f guard.Front, p guard.Pair, c guard.Certificate) guard.Observation {
	left := c.To.Sub(h.Now())
	until := c.To.UTC().Format("2006-01-02 15:04 MST")
	fix, undo := renew(f, p)
	switch {
	case left <= 0:
		return failed(guard.High, p.Certificate, fix, undo, "It ended at %s: people learn to click the warning away, and programs stop.", until)
	case left < soon:
		return failed(guard.Medium, p.Certificate, fix, undo, "It ends at %s, in %d days.", until, int(left/(24*time.Hour)))
	case c.From.After(h.Now()):
		return failed(guard.Medium, p.Certificate, fix, undo, "It holds from %s on only.", c.From.UTC().Format("2006-01-02 15:04 MST"))
	}
	return passed(p.Certificate, "It ends at %s.", until)
}

func soundCertificate(_ guard.Host, f guard.Front, p guard.Pair, c guard.Certificate) guard.Observation {
	r := &report{Observation: guard.Observation{Subject: p.Certificate, Evidence: []string{guard.Show(fmt.Sprintf("%s, %s of %d bits, signed by %s.", c.Subject, c.Key, c.Bits, c.Signature))}}}
	fix, undo := renew(f, p)
	say := func(s guard.Severity, format string, args ...any) {
		r.fail(s, []string{fix}, []string{undo}, "%s", guard.Show(fmt.Sprintf(format, args...)))
	}
	if c.Key == "RSA" && c.Bits < 2048 || c.Key == "ECDSA" && c.Bits < 256 || c.Key == "DSA" {
		say(guard.High, "The key is too weak: RSA is to have 2048 bits, ECDSA 256.")
	}
	if s := c.Signature; !c.Own && (strings.Contains(s, "SHA1") || strings.Contains(s, "MD5") || strings.Contains(s, "MD2")) {
		say(guard.Medium, "The signature is by a broken hash, which browsers refuse.")
	}
	if len(c.Names) == 0 {
		say(guard.Medium, "It names no host or address in its subject alternative names: browsers and programs of today refuse it.")
	}
	if c.Chain != nil {
		say(guard.Low, "It leads to no authority: %v. Put the chain behind it in the file.", c.Chain)
	}
	if errors.Is(c.Match, guard.ErrNoMatch) {
		say(guard.Medium, "The key in %s is another certificate's: after its next start the server does not come up.", p.Key)
	} else if c.Match != nil {
		r.blind = append(r.blind, "Whether "+guard.Show(p.Key)+" is its key could not be found out: "+guard.Show(c.Match.Error())+".")
	}
	return r.done()
}

func parameters(h guard.Host, f guard.Front) []guard.Observation {
	bits, from := f.DHBits, frontName(f)
	if f.DHFile != "" {
		n, err := h.DHBits(f.DHFile)
		if err != nil {
			return []guard.Observation{guard.Blind(f.DHFile, err)}
		}
		bits, from = n, f.DHFile
	}
	for _, p := range f.Pairs {
		if c, err := h.Certificate(p); err == nil && c.DHBits > 0 {
			bits, from = c.DHBits, p.Certificate
		}
	}
	switch {
	case bits == 0:
		return nil // the program has none, or its own of a size that fits the key
	case bits >= 2048:
		return []guard.Observation{passed(from, "Parameters of Diffie-Hellman have %d bits.", bits)}
	}
	fix, undo := edit(f, map[string]string{"nginx": "take ssl_dhparam out, or name a file of openssl dhparam 2048.", "haproxy": "write in global: tune.ssl.default-dh-param 2048, and take smaller parameters out of the files.",
		"apache2": "take the parameters out of the certificate's file: Apache has its own that fit the key."})
	return []guard.Observation{failed(0, from, fix, undo, "Parameters of Diffie-Hellman have %d bits; those below 2048 can be precomputed against.", bits)}
}

func strict(_ guard.Host, f guard.Front) []guard.Observation {
	value := strings.ToLower(f.HSTS)
	if at := strings.Index(value, "max-age="); at >= 0 && strings.Trim(strings.TrimLeft(value[at+len("max-age="):], `"`), "0") != "" && value[at+len("max-age="):][:1] != ";" {
		return []guard.Observation{passed(frontName(f), "Strict-Transport-Security: %s", f.HSTS)}
	}
	const year = `"max-age=31536000"`
	fix, undo := edit(f, map[string]string{"nginx": "write where proxy_pass is: add_header Strict-Transport-Security " + year + " always;", "haproxy": "write: http-response set-header Strict-Transport-Security " + year,
		"apache2": "with mod_headers, write: Header always set Strict-Transport-Security " + year})
	return []guard.Observation{failed(0, frontName(f), fix, undo, "No header Strict-Transport-Security is sent with all answers (it is %q): who types a name without https begins in plain text each time.", f.HSTS)}
}

func saysSecure(_ guard.Host, f guard.Front) []guard.Observation {
	if f.Proto {
		return []guard.Observation{passed(frontName(f), "X-Forwarded-Proto is set, whatever the client says.")}
	}
	fix, undo := edit(f, map[string]string{"nginx": "write where proxy_pass is: proxy_set_header X-Forwarded-Proto $scheme;", "haproxy": "write: http-request set-header X-Forwarded-Proto https",
		"apache2": "with mod_headers, write: RequestHeader set X-Forwarded-Proto https"})
	return []guard.Observation{failed(0, frontName(f), fix, undo, "X-Forwarded-Proto is not set, or added to what the client says: MAAS takes it for the truth whether a connection is secure.")}
}

// pemKeys judges who may read the keys of fronts. MAAS's own and Metalward's are among the files.
func pemKeys(h guard.Host, p guard.Product) (list []guard.Observation) {
	who := peopleOf(h)
	return onFronts(hasTLS, func(h guard.Host, f guard.Front) (list []guard.Observation) {
		if f.Program == "maas" {
			return nil
		}
		for _, pair := range f.Pairs {
			if pair.Key != "" {
				l := located{place{mode: 0o640, groups: []string{"ssl-cert", "haproxy"}, read: guard.High, write: guard.High}, pair.Key}
				list = append(list, l.judge(h, who)...)
			}
		}
		return list
	})(h, p)
}

func pages(h guard.Host, p guard.Product) (list []guard.Observation) {
	all := h.Fronts(p)
	for _, s := range all.Pages {
		at := fmt.Sprintf("%s:%d", s.File, s.Line)
		if s.Login {
			list = append(list, passed(at, "The page of statistics asks for a login."))
			continue
		}
		list = append(list, failed(0, at, fmt.Sprintf("# In %s, by line %d: write stats auth NAME:PASSWORD, or http-request deny unless { src 127.0.0.0/8 }, or take the page out. Then: %s", guard.Show(s.File), s.Line, taking["haproxy"]),
			fmt.Sprintf("# In %s, by line %d: put back what was there. Then: %s", guard.Show(s.File), s.Line, taking["haproxy"]),
			"The page of statistics or of metrics asks for no login: who reaches it learns the servers' names, addresses and state."))
	}
	if all.Err != nil {
		list = append(list, guard.Blind("web servers and balancers", all.Err))
	}
	return list
}

func oldLines(h guard.Host, p guard.Product) (list []guard.Observation) {
	all := h.Fronts(p)
	for _, l := range all.Old {
		at := fmt.Sprintf("%s:%d", l.File, l.Line)
		list = append(list, failed(0, at, fmt.Sprintf("# In %s, line %d: write in its place http-request set-header, del-header or deny; for reqadd X-Forwarded-Proto: http-request set-header X-Forwarded-Proto https. Then: %s",
			guard.Show(l.File), l.Line, taking["haproxy"]), fmt.Sprintf("# In %s, line %d: put back: %s", guard.Show(l.File), l.Line, guard.Show(l.Text)),
			"%s: HAProxy knows this no more since 2.1, and does not start with it after an update. MAAS's guide shows it.", l.Text))
	}
	if all.Err == nil && len(list) == 0 && slices.ContainsFunc(all.List, func(f guard.Front) bool { return f.Program == "haproxy" }) {
		list = append(list, passed("/etc/haproxy/haproxy.cfg", "No line is one that HAProxy has given up."))
	}
	return list
}

// live asks what the ports with TLS answer.
func live(h guard.Host, p guard.Product) (list []guard.Observation) {
	n, err := h.Network()
	if err != nil {
		return []guard.Observation{guard.Blind("network", err)}
	}
	pairs := map[int][]guard.Pair{}
	if p == guard.Metalward {
		pairs[portHTTPS] = nil
	}
	onFronts(hasTLS, func(_ guard.Host, f guard.Front) []guard.Observation {
		pairs[f.Port] = append(pairs[f.Port], f.Pairs...)
		return nil
	})(h, p)
	for _, l := range n.Listeners {
		of, wanted := pairs[int(l.Address.Port())]
		if l.Protocol != "tcp" || !wanted {
			continue
		}
		said, err := h.Handshake(l.Address)
		if err != nil {
			list = append(list, guard.Blind(name(l), err))
			continue
		}
		r := &report{Observation: guard.Observation{Subject: name(l), Evidence: []string{fmt.Sprintf("It answers with %q.", said.Version)}}}
		again := []string{"# See transport-protocols and transport-certificate for the lines, and restart the server: it may run with an older configuration."}
		undo := []string{"# Nothing is to be taken back of a restart."}
		if said.Version == "" && said.Old == "" {
			r.fail(guard.Medium, again, undo, "It does not answer with TLS, though its configuration says so.")
		}
		if said.Old != "" {
			r.fail(guard.Medium, again, undo, "It takes %s, too.", said.Old)
		}
		if said.Plain {
			r.fail(guard.Medium, again, undo, "It answers a request without TLS as well.")
		}
		r.compare(h, of, said.Sum, again, undo)
		list = append(list, r.done())
	}
	return same(list)
}

// compare sees whether a certificate that is shown is one of the files'.
func (r *report) compare(h guard.Host, pairs []guard.Pair, sum string, fix, undo []string) {
	if sum == "" || len(pairs) == 0 {
		return
	}
	for _, p := range pairs {
		c, err := h.Certificate(p)
		if err != nil {
			r.blind = append(r.blind, guard.Show(p.Certificate)+" could not be read: "+guard.Show(err.Error())+".")
			return
		}
		if c.Sum == sum {
			r.Evidence = append(r.Evidence, "The certificate is that of "+guard.Show(p.Certificate)+".")
			return
		}
	}
	r.fail(guard.Low, fix, undo, "It shows a certificate that none of its files has: the one that was there when it started.")
}

// rpcPorts are those of the calls between regions and racks. Source: MAAS's documentation; its code takes the first free of 5250 to 5259.
const rpcFirst, rpcLast = 5250, 5270

// tunnelled judges whether the calls between regions and racks can come by another way than a tunnel.
func tunnelled(h guard.Host, p guard.Product) []guard.Observation {
	v, blind := look(h, p)
	if v == nil {
		return blind
	}
	isRPC := func(l guard.Listener) bool {
		return l.Protocol == "tcp" && l.Address.Port() >= rpcFirst && l.Address.Port() <= rpcLast
	}
	if !slices.ContainsFunc(v.Listeners, isRPC) {
		return nil
	}
	t, err := h.Tunnels()
	if err != nil {
		return []guard.Observation{guard.Blind("tunnels", err)}
	}
	var list []guard.Observation
	for _, l := range v.Listeners {
		if isRPC(l) {
			list = append(list, v.inTunnel(l, t))
		}
	}
	return same(list)
}

func (v *view) inTunnel(l guard.Listener, t guard.Tunnels) guard.Observation {
	var open []way
	for _, w := range v.ways(l) {
		if slices.Contains(t.WireGuard, w.Name) {
			continue
		}
		if v.Rules == nil {
			if len(t.WireGuard) == 0 && !t.IPsec && t.IPsecErr == nil {
				open = append(open, w)
				continue
			}
			return guard.Blind(name(l), v.errNoRules())
		}
		switch v.judge(l, w, netip.Addr{}).Verdict {
		case firewall.Dropped:
		default:
			open = append(open, w)
		}
	}
	switch {
	case len(open) == 0:
		return passed(name(l), "Other hosts reach it by WireGuard alone, or not at all.")
	case t.IPsec:
		return guard.Blind(name(l), errors.New("IPsec is in use, and which connections it is for is not looked at here: see ip xfrm policy"))
	case t.IPsecErr != nil && len(t.WireGuard) == 0:
		return guard.Blind(name(l), fmt.Errorf("whether IPsec is in use is not known: %w", t.IPsecErr))
	}
	o := guard.Observation{State: guard.Fail, Subject: name(l), Evidence: []string{fmt.Sprintf("Calls between regions and racks, BMCs' passwords among them, come in plain text by %s.", open[0])}}
	for i, line := range wireguardPair(open[0].addr) {
		o.Fix = append(o.Fix, line)
		o.Undo = append(o.Undo, fmt.Sprintf("# Step %d of the fix: take out again what it wrote, once maas_url names the old address.", i+1))
	}
	o.Undo[0] = "systemctl disable --now wg-quick@wg-maas"
	return o
}

// wireguardPair are the files of a tunnel of a region and a rack. No key is ever made here: each host makes its own, and shows the public one.
func wireguardPair(region netip.Addr) []string {
	return []string{
		"apt-get install wireguard-tools && (umask 077; wg genkey >/etc/wireguard/maas.key) && wg pubkey </etc/wireguard/maas.key # on the region and on each rack; it prints PUBLIC",
		"# On the region, /etc/wireguard/wg-maas.conf, mode 0600: [Interface] / Address = 10.99.0.1/24 / ListenPort = 51820 / PostUp = wg set %i private-key /etc/wireguard/maas.key",
		"# and for each rack: [Peer] / PublicKey = PUBLIC-OF-RACK / AllowedIPs = 10.99.0.2/32",
		"# On the rack, /etc/wireguard/wg-maas.conf, mode 0600: [Interface] / Address = 10.99.0.2/24 / PostUp = wg set %i private-key /etc/wireguard/maas.key",
		"# and for the region: [Peer] / PublicKey = PUBLIC-OF-REGION / Endpoint = " + netip.AddrPortFrom(region, 51820).String() + " / AllowedIPs = 10.99.0.1/32 / PersistentKeepalive = 25",
		"systemctl enable --now wg-quick@wg-maas # on both; let udp 51820 in on the region",
		"# On the rack, name http://10.99.0.1:5240/MAAS in rackd.conf and restart it; then close 5240's and 5250's to all but wg-maas and the machines' networks.",
	}
}
