package catalog

import (
	"cmp"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/guard"
)

const (
	nginxAt   = "/etc/nginx/nginx.conf"
	haproxyAt = "/etc/haproxy/haproxy.cfg"
	apacheAt  = "/etc/apache2/apache2.conf"
	pemAt     = "/etc/ssl/private/maas.pem"
	packageAt = "/var/lib/dpkg/status"
)

// frontsOf makes a sample of each product; PORT stands for that of its pages.
func frontsOf(products []guard.Product, name string, want guard.State, at, config string, more ...guard.Entry) (list []guard.Sample) {
	for _, p := range products {
		port := portPlain
		if p == guard.Metalward {
			port = portHTTPS
		}
		tree := append([]guard.Entry{{Path: at, Content: strings.ReplaceAll(config, "PORT", strconv.Itoa(port))}}, more...)
		list = append(list, guard.Sample{Name: name, Product: p, Want: want, Tree: tree})
	}
	return list
}

// nginxServer is a server of nginx with TLS that passes requests on.
func nginxServer(lines, location string) string {
	return "events {}\nhttp {\nserver {\nlisten 443 ssl;\nssl_certificate " + pemAt + ";\nssl_certificate_key " + pemAt + ";\n" + lines + "\nlocation / {\nproxy_pass http://127.0.0.1:PORT;\n" + location + "\n}\n}\n}\n"
}

// balancer is HAProxy's configuration as the guide has it, with more lines for global and for the frontend.
func balancerConfig(global, frontend string) string {
	return "global\n log /dev/log local0\n" + global + "\ndefaults\n mode http\n log global\n option httplog\nfrontend maas\n bind *:443 ssl crt " + pemAt + "\n" + frontend +
		"\n default_backend regions\nbackend regions\n balance source\n server a 10.0.0.1:PORT check\n server b 10.0.0.2:PORT check\n"
}

func packaged(name, version string) guard.Entry {
	return guard.Entry{Path: packageAt, Content: "Package: " + name + "\nStatus: install ok installed\nVersion: " + version + "\n"}
}

// shown gives samples a certificate.
func shown(list []guard.Sample, c guard.Certificate) []guard.Sample {
	for i := range list {
		list[i].Certificates = map[string]guard.Certificate{pemAt: c}
	}
	return list
}

// goodCertificate is one that nothing is wrong with.
func goodCertificate(change func(*guard.Certificate)) guard.Certificate {
	c := guard.Certificate{Subject: "CN=maas.example", Names: []string{"maas.example"}, From: guard.SampleTime.AddDate(0, -1, 0), To: guard.SampleTime.AddDate(0, 2, 0), Key: "ECDSA", Bits: 256,
		Signature: "ECDSA-SHA256", Sum: "aa"}
	change(&c)
	return c
}

// dhParameters is a PEM file of parameters of a size. Their number is no prime: it is only measured.
func dhParameters(bits uint) string {
	number := new(big.Int).SetBit(big.NewInt(1), int(bits)-1, 1)
	der, _ := asn1.Marshal(struct{ P, G *big.Int }{number, big.NewInt(2)}) // of two numbers it cannot fail
	return string(pem.EncodeToMemory(&pem.Block{Type: "DH PARAMETERS", Bytes: der}))
}

// native makes samples of MAAS with and without TLS of its own.
func native(name string, want guard.State, tls bool, more ...guard.Entry) (list []guard.Sample) {
	for p, dirs := range map[guard.Product][2]string{guard.MAASDeb: {"/etc/maas/", deb}, guard.MAASSnap: {snapData, snapData}} {
		text := "upstream regiond-webapp {\n server unix:/run/maas-regiond-webapp.sock;\n}\nproxy_set_header X-Forwarded-Proto $scheme;\nserver {\n listen [::]:5240;\n listen 5240;\n location /MAAS/ { proxy_pass http://regiond-webapp; }\n}\n"
		if tls {
			text += "server {\n listen [::]:5443 ssl http2;\n listen 5443 ssl http2;\n ssl_certificate " + pemAt + ";\n ssl_certificate_key " + pemAt + ";\n ssl_protocols TLSv1.2 TLSv1.3;\n" +
				" add_header Strict-Transport-Security \"max-age=63072000; includeSubdomains\" always;\n location / { proxy_pass http://regiond-webapp; }\n}\n"
		}
		list = append(list, guard.Sample{Name: name, Product: p, Want: want,
			Tree: append([]guard.Entry{{Path: dirs[0] + "regiond.conf", Mode: 0o640, Owner: "root:maas"}, {Path: dirs[1] + "http/regiond.nginx.conf", Content: text}}, more...)})
	}
	return list
}

func answering(products []guard.Product, name string, want guard.State, answers guard.Handshake) (list []guard.Sample) {
	for _, s := range shown(frontsOf(products, name, want, nginxAt, nginxServer("", "")), goodCertificate(func(*guard.Certificate) {})) {
		port, listener := 443, "tcp 0.0.0.0:443 nginx"
		if s.Product == guard.Metalward {
			port, listener = portHTTPS, "tcp 0.0.0.0:5443 metalward"
			s.Tree = nil
		}
		s.Network, s.Handshakes = on(walls("", ""), listener), map[int]guard.Handshake{port: answers}
		list = append(list, s)
	}
	return list
}

// transport is the group of checks of what encrypts connections.
func transport() []*guard.Check {
	maas := map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27}
	good := func(*guard.Certificate) {}
	certified := func(name string, want guard.State, change func(*guard.Certificate)) []guard.Sample {
		return shown(frontsOf(allThree, name, want, nginxAt, nginxServer("", "")), goodCertificate(change))
	}
	none := onEach(guard.Sample{Name: "no web server", Want: guard.NotApplicable})
	foreign := frontsOf(allThree, "a server of something else", guard.NotApplicable, nginxAt, "http { server { listen 443 ssl; ssl_protocols SSLv3; location / { proxy_pass http://127.0.0.1:9999; } } }")
	broken := frontsOf(allThree, "half a configuration", guard.Unchecked, nginxAt, "http { server {")
	haproxyPackage, hsts := packaged("haproxy", "2.6.12-1"), `add_header Strict-Transport-Security "max-age=63072000" always;`
	rpc := func(name string, want guard.State, rules string, tunnels guard.Tunnels, listeners ...string) []guard.Sample {
		list := networks(bothMAAS, name, want, on(walls(rules, rules), listeners...))
		for i := range list {
			list[i].Network.Interfaces = append(list[i].Network.Interfaces, guard.Interface{Name: "wg-maas", Prefixes: on(nil).Interfaces[0].Prefixes[:0]})
			list[i].Tunnels = tunnels
		}
		return list
	}
	list := []*guard.Check{
		{ID: "transport-tls", Role: guard.Region, Title: "Pages and API are behind TLS", Severity: guard.High, Versions: maas,
			Why:        "Without it passwords, sessions and API keys cross the network in plain text. MAAS has TLS of its own since 3.2; from 2.7 to 3.1 a web server or balancer in front is the only way. Metalward serves nothing else.",
			References: []guard.Reference{guide, source}, Judge: withTLS,
			Risk:    "Clients and scripts that name http://…:5240 are sent on, or have to be told the new address and the authority. Racks and machines go on with 5240.",
			Samples: together(native("of MAAS itself", guard.Pass, true), native("none", guard.Fail, false), native("HAProxy in front", guard.Pass, false, guard.Entry{Path: haproxyAt, Content: strings.ReplaceAll(balancerConfig("", ""), "PORT", "5240")}), native("an unreadable front", guard.Unchecked, false, guard.Entry{Path: nginxAt, Hidden: true}))},
		{ID: "transport-plain", Title: "What comes to a front in plain text is sent on to https", Severity: guard.High, Versions: everyProduct(),
			Why:        "A front that also takes requests in plain text leaves it to each user whether his password is protected. MAAS's own 5240, which machines need, is among the ports.",
			References: []guard.Reference{guide, tlsGuide}, Judge: onFronts(func(f guard.Front) bool {
				return !f.TLS && f.Program != "maas" && !(f.Raw && !f.LeadsTo([]int{portPlain}, ""))
			}, sendOn),
			Samples: together(none, frontsOf(allThree, "nginx passes it on", guard.Fail, nginxAt, "http { server { listen 80; location / { proxy_pass http://127.0.0.1:PORT; } } }"),
				frontsOf(allThree, "HAProxy passes it on", guard.Fail, haproxyAt, balancerConfig("", " bind *:80")),
				frontsOf(allThree, "HAProxy sends it on", guard.Pass, haproxyAt, balancerConfig("", " bind *:80\n http-request redirect scheme https unless { ssl_fc }")),
				frontsOf(allThree, "HAProxy sends some of it on", guard.Fail, haproxyAt, balancerConfig("", " bind *:80\n http-request redirect scheme https if { path /x }")),
				frontsOf(allThree, "Apache passes it on", guard.Fail, apacheAt, "<VirtualHost *:80>\nProxyPass / http://localhost:PORT/\n</VirtualHost>\n"), broken)},
		{ID: "transport-protocols", Title: "TLS is 1.2 or later", Severity: guard.High, Versions: everyProduct(),
			Why:        "TLS before 1.2 has hashes and ciphers that are broken, and RFC 8996 forbids it.",
			References: []guard.Reference{{Title: "RFC 8996: Deprecating TLS 1.0 and TLS 1.1", URL: "https://www.rfc-editor.org/rfc/rfc8996"}, nginxTLS, haproxyManual, apacheTLS, guide}, Judge: onFronts(hasTLS, protocolsOf),
			Samples: together(none, foreign, broken, native("MAAS", guard.Pass, true), frontsOf(allThree, "as Debian's nginx has it", guard.Fail, nginxAt, "http { ssl_protocols TLSv1 TLSv1.1 TLSv1.2 TLSv1.3; server { listen 443 ssl; location / { proxy_pass http://localhost:PORT; } } }"),
				frontsOf(allThree, "nginx, set in the server", guard.Pass, nginxAt, nginxServer("ssl_protocols TLSv1.2 TLSv1.3;", "")), frontsOf(allThree, "nginx of 2022, nothing set", guard.Fail, nginxAt, nginxServer("", ""), packaged("nginx", "1.22.1-9")),
				frontsOf(allThree, "nginx of today, nothing set", guard.Pass, nginxAt, nginxServer("", ""), packaged("nginx", "1.28.0-1")), frontsOf(allThree, "nginx of a version that is not known", guard.Unchecked, nginxAt, nginxServer("", "")),
				frontsOf(allThree, "HAProxy, nothing set", guard.Pass, haproxyAt, balancerConfig("", ""), haproxyPackage), frontsOf(allThree, "an old HAProxy, nothing set", guard.Fail, haproxyAt, balancerConfig("", ""), packaged("haproxy", "1.8.8-1")),
				frontsOf(allThree, "HAProxy from TLS 1.0", guard.Fail, haproxyAt, balancerConfig("ssl-default-bind-options ssl-min-ver TLSv1.0", ""), haproxyPackage),
				frontsOf(allThree, "Apache, as Debian has it", guard.Fail, apacheAt, "SSLProtocol all -SSLv3\n<VirtualHost *:443>\nSSLEngine on\nProxyPass / http://localhost:PORT/\n</VirtualHost>\n"),
				frontsOf(allThree, "Apache, set", guard.Pass, apacheAt, "<VirtualHost *:443>\nSSLEngine on\nSSLProtocol all -SSLv3 -TLSv1 -TLSv1.1\nProxyPass / http://localhost:PORT/\n</VirtualHost>\n"))},
		{ID: "transport-ciphers", Title: "Ciphers are sound", Severity: guard.High, Versions: everyProduct(),
			Why:        "RC4, 3DES, NULL and EXPORT are broken; those with CBC have been attacked time and again. MAAS took CBC out of its own list.",
			References: []guard.Reference{tlsGuide, {Title: "Launchpad bug 1995070 of MAAS", URL: "https://bugs.launchpad.net/maas/+bug/1995070"}, nginxTLS, haproxyManual, apacheTLS}, Judge: onFronts(hasTLS, ciphersOf),
			Samples: together(none, foreign, broken, frontsOf(allThree, "nothing set", guard.Fail, nginxAt, nginxServer("", "")), frontsOf(allThree, "sound", guard.Pass, nginxAt, nginxServer("ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL;", "")),
				frontsOf(allThree, "RC4", guard.Fail, nginxAt, nginxServer("ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256:RC4-SHA;", "")), frontsOf(allThree, "TLS 1.3 alone", guard.Pass, nginxAt, nginxServer("ssl_protocols TLSv1.3;", "")),
				frontsOf(allThree, "HAProxy, sound", guard.Pass, haproxyAt, balancerConfig("ssl-default-bind-ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-CHACHA20-POLY1305", "")),
				frontsOf(allThree, "Apache, with CBC", guard.Fail, apacheAt, "<VirtualHost *:443>\nSSLEngine on\nSSLCipherSuite HIGH:!aNULL\nProxyPass / http://localhost:PORT/\n</VirtualHost>\n"))},
		{ID: "transport-certificate", Title: "The certificate is sound", Severity: guard.High, Versions: everyProduct(),
			Why:        "A certificate that browsers and programs refuse teaches people to click warnings away, and scripts not to look. MAAS's config-tls checks neither names, nor chain, nor end.",
			References: []guard.Reference{tlsGuide, guide}, Judge: eachPair(soundCertificate),
			Samples: together(none, certified("sound", guard.Pass, good), certified("RSA of 1024 bits", guard.Fail, func(c *guard.Certificate) { c.Key, c.Bits = "RSA", 1024 }), certified("no names", guard.Fail, func(c *guard.Certificate) { c.Names = nil }),
				certified("SHA-1", guard.Fail, func(c *guard.Certificate) { c.Signature = "SHA1-RSA" }), certified("no chain", guard.Fail, func(c *guard.Certificate) { c.Chain = errHidden }),
				certified("another's key", guard.Fail, func(c *guard.Certificate) { c.Match = guard.ErrNoMatch }), certified("a key that may not be read", guard.Unchecked, func(c *guard.Certificate) { c.Match = errHidden }),
				frontsOf(allThree, "no such file", guard.Unchecked, nginxAt, nginxServer("", "")))},
		{ID: "transport-expiry", Title: "The certificate does not end soon", Severity: guard.High, Versions: everyProduct(),
			Why:        "When it ends, programs stop and people click on. MAAS tells nobody before unless its notice is switched on.",
			References: []guard.Reference{guide, about}, Judge: eachPair(expiry),
			Samples: together(none, certified("two months", guard.Pass, good), certified("tomorrow", guard.Fail, func(c *guard.Certificate) { c.To = guard.SampleTime.Add(24 * time.Hour) }),
				certified("yesterday", guard.Fail, func(c *guard.Certificate) { c.To = guard.SampleTime.Add(-24 * time.Hour) }), certified("not yet", guard.Fail, func(c *guard.Certificate) { c.From = guard.SampleTime.Add(time.Hour) }))},
		{ID: "transport-dh", Title: "Parameters of Diffie-Hellman have 2048 bits", Severity: guard.Medium, Versions: everyProduct(),
			Why:        "For 1024 bits and a shared prime, who can pay for it computes once and then reads all connections. The guide has HAProxy's set to 2048.",
			References: []guard.Reference{guide, tlsGuide, haproxyManual}, Judge: onFronts(hasTLS, parameters),
			Samples: together(none, frontsOf(allThree, "as the guide has it", guard.Pass, haproxyAt, balancerConfig("tune.ssl.default-dh-param 2048", "")), frontsOf(allThree, "1024", guard.Fail, haproxyAt, balancerConfig("tune.ssl.default-dh-param 1024", "")),
				frontsOf(allThree, "nginx, 1024", guard.Fail, nginxAt, nginxServer("ssl_dhparam /etc/nginx/dh.pem;", ""), guard.Entry{Path: "/etc/nginx/dh.pem", Content: dhParameters(1024)}),
				frontsOf(allThree, "nginx, 2048", guard.Pass, nginxAt, nginxServer("ssl_dhparam dh.pem;", ""), guard.Entry{Path: "/etc/nginx/dh.pem", Content: dhParameters(2048)}), frontsOf(allThree, "nginx, a file that is absent", guard.Unchecked, nginxAt, nginxServer("ssl_dhparam dh.pem;", "")))},
		{ID: "transport-hsts", Title: "Browsers are told to come back with https alone", Severity: guard.Low, Versions: everyProduct(),
			Why:        "Without Strict-Transport-Security the first request of each visit may be in plain text, and whoever is on the way keeps it so. In nginx a header of a location takes away those of the server.",
			References: []guard.Reference{hstsRFC, guide}, Judge: onFronts(func(f guard.Front) bool { return f.TLS && !f.Raw }, strict), Risk: "For as long as it says, browsers refuse the name without https: begin with a short time.",
			Samples: together(none, broken, native("MAAS", guard.Pass, true), frontsOf(allThree, "none", guard.Fail, nginxAt, nginxServer("", "")), frontsOf(allThree, "of the server", guard.Pass, nginxAt, nginxServer(hsts, "")),
				frontsOf(allThree, "of the server, taken away by the location's", guard.Fail, nginxAt, nginxServer(hsts, "add_header X-Frame-Options DENY;")), frontsOf(allThree, "of no time", guard.Fail, nginxAt, nginxServer(`add_header Strict-Transport-Security "max-age=0";`, "")),
				frontsOf(allThree, "HAProxy's", guard.Pass, haproxyAt, balancerConfig("", " http-response set-header Strict-Transport-Security max-age=63072000")),
				frontsOf(allThree, "Apache's", guard.Pass, apacheAt, "Header always set Strict-Transport-Security \"max-age=63072000\"\n<VirtualHost *:443>\nSSLEngine on\nProxyPass / http://localhost:PORT/\n</VirtualHost>\n"))},
		{ID: "transport-keys", Title: "The front's key is root's alone", Severity: guard.High, Versions: everyProduct(),
			Why:        "Who reads it is the site to everybody, and reads what was recorded with older ciphers. The guide keeps it in /etc/ssl/private.",
			References: []guard.Reference{guide, inode}, Judge: pemKeys,
			Samples: together(none, frontsOf(allThree, "root's alone", guard.Pass, nginxAt, nginxServer("", ""), guard.Entry{Path: pemAt, Mode: 0o600}), frontsOf(allThree, "of ssl-cert", guard.Pass, nginxAt, nginxServer("", ""), guard.Entry{Path: pemAt, Mode: 0o640, Owner: "root:108"}, guard.Entry{Path: "/etc/group", Content: "root:x:0:\nssl-cert:x:108:\n"}),
				frontsOf(allThree, "everybody's", guard.Fail, haproxyAt, balancerConfig("", ""), guard.Entry{Path: pemAt, Mode: 0o644}), frontsOf(allThree, "its folder may not be looked at", guard.Unchecked, nginxAt, nginxServer("", ""), guard.Entry{Path: "/etc/ssl/private", Folder: true, Mode: 0o700, Hidden: true}))},
		{ID: "transport-forwarded", Title: "The front says whether a connection is secure", Severity: guard.Medium, Versions: maas,
			Why:        "MAAS believes the header X-Forwarded-Proto. Unless the front sets it, MAAS makes links with http, and clients say what they like. The guide sets it with reqadd, which HAProxy gave up with 2.1.",
			References: []guard.Reference{guide, haproxyManual, source}, Judge: onFronts(func(f guard.Front) bool { return f.TLS && !f.Raw }, saysSecure),
			Samples: together(native("MAAS", guard.Pass, true), frontsOf(bothMAAS, "nothing", guard.Fail, nginxAt, nginxServer("", "")), frontsOf(bothMAAS, "set", guard.Pass, nginxAt, nginxServer("", "include proxy_params;"), guard.Entry{Path: "/etc/nginx/proxy_params", Content: "proxy_set_header X-Forwarded-Proto $scheme;\n"}),
				frontsOf(bothMAAS, "HAProxy sets it", guard.Pass, haproxyAt, balancerConfig("", " http-request set-header X-Forwarded-Proto https if { ssl_fc }")), frontsOf(bothMAAS, "HAProxy adds it", guard.Fail, haproxyAt, balancerConfig("", " http-request add-header X-Forwarded-Proto https")),
				frontsOf(bothMAAS, "Apache sets it", guard.Pass, apacheAt, "<VirtualHost *:443>\nSSLEngine on\nRequestHeader set X-Forwarded-Proto https\nProxyPass / http://localhost:PORT/\n</VirtualHost>\n"))},
		{ID: "transport-live", Title: "Ports answer as their configuration says", Severity: guard.Medium, Versions: everyProduct(),
			Why:        "A server that was not restarted runs with an older configuration and an older certificate. Each port with TLS is asked from the host itself: with TLS, with TLS before 1.2, and without.",
			References: []guard.Reference{tlsGuide, guide, ours}, Judge: live,
			Samples: together(none, answering(allThree, "as it should", guard.Pass, guard.Handshake{Version: "TLS 1.3", Sum: "aa"}), answering(allThree, "TLS 1.0, too", guard.Fail, guard.Handshake{Version: "TLS 1.2", Old: "TLS 1.0", Sum: "aa"}),
				answering(allThree, "without TLS, too", guard.Fail, guard.Handshake{Version: "TLS 1.3", Plain: true, Sum: "aa"}), answering(allThree, "not with TLS", guard.Fail, guard.Handshake{}), answering(bothMAAS, "an older certificate", guard.Fail, guard.Handshake{Version: "TLS 1.3", Sum: "bb"}))},
		{ID: "transport-rpc", Title: "Calls between regions and racks are in a tunnel", Severity: guard.High, Versions: maas, Role: guard.Region,
			Why:        "They are in plain text in every version of MAAS, BMCs' passwords among them: who is on the way reads them and makes calls of his own. A tunnel is the only protection. Metalward's are in mutual TLS.",
			References: []guard.Reference{source, guide, wireguard}, Judge: tunnelled, Risk: "While one end is in the tunnel and the other is not, the rack is away: do it rack by rack.",
			Fix: "Put regions and racks into a tunnel of WireGuard or IPsec, and let 5250 to 5270 in by it alone.", Undo: "Stop the tunnel, and name the old address in maas_url.",
			Samples: together(networks(bothMAAS, "no region", guard.NotApplicable, on(walls("", ""), "tcp 0.0.0.0:22 sshd")), rpc("open", guard.Fail, allowAll, guard.Tunnels{}, "tcp 0.0.0.0:5250 regiond"),
				rpc("from the private networks", guard.Fail, with(refused, fromInside), guard.Tunnels{WireGuard: []string{"wg-maas"}}, "tcp 0.0.0.0:5250 regiond"), rpc("by the tunnel alone", guard.Pass, with(refused, "-A INPUT -i wg-maas -j ACCEPT"), guard.Tunnels{WireGuard: []string{"wg-maas"}}, "tcp 0.0.0.0:5250 regiond"),
				rpc("IPsec", guard.Unchecked, allowAll, guard.Tunnels{IPsec: true}, "tcp 0.0.0.0:5250 regiond"), rpc("on this host alone", guard.Pass, allowAll, guard.Tunnels{}, "tcp 127.0.0.1:5250 regiond"))},
	}
	for _, c := range list {
		c.Group = "transport"
		c.Fix = cmp.Or(c.Fix, "Change the line or the file that the finding names, have the program look for mistakes, and only then take the new configuration.")
		c.Undo = cmp.Or(c.Undo, "Put the line or the file back as it was, and have the program take it.")
		c.Risk = cmp.Or(c.Risk, "Clients that are too old for what remains are kept out, and a mistake in the file keeps the front from starting: the commands look for mistakes first.")
	}
	return list
}
