package host_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/host/hosttest"
)

func entries(files map[string]string) (list []guard.Entry) {
	for at, text := range files {
		list = append(list, guard.Entry{Path: at, Content: text})
	}
	return list
}

func of(t testing.TB, files map[string]string) *host.Facts {
	t.Helper()
	m, err := hosttest.New(entries(files))
	if err != nil {
		t.Fatal(err)
	}
	return host.New(m)
}

func dns(t testing.TB, files map[string]string) guard.DNS {
	t.Helper()
	list, err := of(t, files).DNS(guard.MAASDeb)
	if err != nil || len(list) != 1 {
		t.Fatalf("got %+v, %v", list, err)
	}
	return list[0]
}

// maasDNS are BIND's files as MAAS's packages and templates write them (named.conf.template, named.conf.options.inside.maas.template).
var maasDNS = map[string]string{
	"/etc/bind/named.conf":                          "// comment\ninclude \"/etc/bind/named.conf.options\";\ninclude \"/etc/bind/maas/named.conf.maas\";\n",
	"/etc/bind/named.conf.options":                  "options {\n\tdirectory \"/tmp\"; # why\n\tinclude \"/etc/bind/maas/named.conf.options.inside.maas\";\n};\n",
	"/etc/bind/maas/named.conf.options.inside.maas": "forwarders {\n    192.0.2.1;\n};\ndnssec-validation auto;\nempty-zones-enable no;\nallow-query { any; };\nallow-recursion { trusted; };\nallow-query-cache { trusted; };\n",
	"/etc/bind/maas/named.conf.maas": "zone \"maas\" {\n    type master;\n    forwarders { };\n    file \"/tmp/zone.maas\";\n    allow-update {\n        none;\n    };\n};\nzone \"x\" { type forward; forward only; forwarders { 192.0.2.2 port 53; }; };\n" +
		"acl \"trusted\" {\n    10.0.0.0/8;\n    localnets;\n    localhost;\n};\n",
}

func TestDNS(t *testing.T) {
	d := dns(t, maasDNS)
	if d.Err != nil || len(d.Scopes) != 1 || len(d.Zones) != 1 || d.Zones[0].Name != "maas" || d.Zones[0].Transfer != nil || d.Scopes[0].Validation != "auto" {
		t.Errorf("got %+v", d)
	}
	for list, want := range map[string]bool{"any": true, "none": false, "trusted": false, "!10.0.0.0/8 any": true, "!none": true, "0.0.0.0/0": true, "::/0": true, "!0.0.0.0/0 ::/0": true, "localhost 10.1.2.3": false, "key x": false,
		"open": true, "!trusted any": true, "closed any": true} {
		d.ACLs["open"], d.ACLs["closed"] = []string{"trusted", "any"}, []string{"!any"}
		words := strings.Fields(strings.ReplaceAll(list, "key ", "key_"))
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "key_", "key ")
		}
		if got, err := d.Stranger(words); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", list, got, err, want)
		}
	}
	d.ACLs["loop"] = []string{"loop"}
	for _, list := range [][]string{{"unknown"}, {"loop"}, {"(a list within the list)"}, {"!any", "any"}, {"any", "!open"}} {
		if got, err := d.Stranger(list); err == nil {
			t.Errorf("%s: got %v", list, got)
		}
	}
	for name, text := range map[string]string{"no end": "options { recursion no;", "a brace too many": "options { };\n};", "an open quote": "options { directory \"x; };", "an open comment": "/* x", "no semicolon": "options { recursion no }",
		"a loop": "include \"/etc/bind/named.conf\";", "a file that is absent": "include \"/etc/none\";", "a relative file": "include \"x\";"} {
		if d := dns(t, map[string]string{"/etc/bind/named.conf": text}); d.Err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// normal writes addresses as BIND prints them, and leaves out where things stand.
func normal(d guard.DNS) guard.DNS {
	fix := func(list []string) {
		for i, w := range list {
			name, not := strings.CutPrefix(w, "!")
			if a, err := netip.ParseAddr(name); err == nil {
				name = netip.PrefixFrom(a, a.BitLen()).String()
			}
			if not {
				name = "!" + name
			}
			list[i] = name
		}
	}
	for _, list := range d.ACLs {
		fix(list)
	}
	for i := range d.Scopes {
		fix(d.Scopes[i].Query)
		fix(d.Scopes[i].QueryCache)
		fix(d.Scopes[i].Recurse)
	}
	for i := range d.Zones {
		fix(d.Zones[i].Transfer)
		d.Zones[i].File, d.Zones[i].Line = "", 0
	}
	slices.SortFunc(d.Zones, func(a, b guard.DNSZone) int { return strings.Compare(a.Name, b.Name) })
	return d
}

// TestNamedCheckconf holds what is read against what BIND's own parser makes of the same files.
func TestNamedCheckconf(t *testing.T) {
	program, err := exec.LookPath("named-checkconf")
	if err != nil {
		t.Skip("named-checkconf (Debian's bind9-utils) is not here")
	}
	texts := []map[string]string{maasDNS}
	for _, text := range []string{
		"options { directory \"/tmp\"; allow-transfer { 10.0.0.1; key k; !192.0.2.0/24; }; recursion no; };\nkey k { algorithm hmac-sha256; secret \"aaaa\"; };\nzone a { type primary; file \"x\"; allow-transfer{none;}; };\n",
		"acl t { localnets; ! 10.0.0.1; { 1.2.3.4; 5.6.7.8; }; };\nview one { match-clients { t; }; recursion yes; allow-recursion { any; }; zone \"a.b\" IN { type master; file \"x\"; }; };\nview \"two\" { allow-transfer { t; }; zone c { type secondary; masters { 10.0.0.9; }; file \"y\"; }; };\noptions { directory \"/tmp\"; allow-query-cache { t; }; dnssec-validation no; };\n",
		"// a\n# b\n/* c\n d */ options{directory\"/tmp\";allow-query{any;};};zone\"q\"{type hint;file\"x\";};zone z{type mirror;file\"z\";masters{10.0.0.1;};};",
		"options { directory \"/tmp\"; allow-transfer port 53 { any; }; };\ncontrols { inet 127.0.0.1 port 953 allow { localhost; } keys { k; }; };\nkey k { algorithm hmac-sha256; secret \"aaaa\"; };\nlogging { channel x { syslog daemon; severity info; }; category queries { x; }; };\n",
	} {
		texts = append(texts, map[string]string{"/etc/bind/named.conf": text})
	}
	for _, files := range texts {
		dir := t.TempDir()
		for at, text := range files {
			to := filepath.Join(dir, at)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, []byte(strings.ReplaceAll(text, "/etc/bind", dir+"/etc/bind")), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.Command(program, "-p", filepath.Join(dir, "/etc/bind/named.conf")).CombinedOutput()
		if err != nil {
			t.Errorf("BIND refuses %q: %s", files["/etc/bind/named.conf"], out)
			continue
		}
		got, want := normal(dns(t, files)), normal(dns(t, map[string]string{"/etc/bind/named.conf": string(out)}))
		if got.Err != nil || want.Err != nil {
			t.Errorf("%v, of BIND's own: %v", got.Err, want.Err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%q (- BIND's, + ours):\n%s", files["/etc/bind/named.conf"], d)
		}
	}
}

func FuzzDNS(f *testing.F) {
	f.Add(maasDNS["/etc/bind/maas/named.conf.maas"])
	f.Add("options { allow-transfer { !{ a; }; }; };")
	f.Fuzz(func(t *testing.T, text string) {
		for _, z := range dns(t, map[string]string{"/etc/bind/named.conf": text}).Zones {
			if z.Line < 1 {
				t.Errorf("got %+v", z)
			}
		}
	})
}

func proxy(t testing.TB, text string, more ...guard.Entry) guard.Proxy {
	t.Helper()
	m, err := hosttest.New(append(more, guard.Entry{Path: "/var/lib/maas/maas-proxy.conf", Content: text}))
	if err != nil {
		t.Fatal(err)
	}
	list, err := host.New(m).Proxies(guard.MAASDeb)
	if err != nil || len(list) != 1 {
		t.Fatalf("got %+v, %v", list, err)
	}
	return list[0]
}

// maasProxy is Squid's file as MAAS's maas-proxy.conf.template writes it.
const maasProxy = "acl localnet src 127.0.0.0/8\nacl localnet src 10.0.0.0/8\nacl SSL_ports port 443\nacl Safe_ports port 80          # http\nacl Safe_ports port 1025-65535  # unregistered ports\nacl CONNECT method CONNECT\n" +
	"http_access deny !Safe_ports\nhttp_access deny CONNECT !SSL_ports\nhttp_access allow localnet\nhttp_access allow localhost\nhttp_access deny all\nhttp_port 3128\n"

func TestProxy(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		open int
	}{
		"MAAS's own":              {maasProxy, -1},
		"for everybody":           {strings.Replace(maasProxy, "10.0.0.0/8", "0.0.0.0/0", 1), 2},
		"for all of IPv6":         {strings.Replace(maasProxy, "10.0.0.0/8", "::/0", 1), 2},
		"all by name":             {"http_access allow all\n", 0},
		"after it was forbidden":  {"http_access deny all\nhttp_access allow all\n", -1},
		"with a login":            {"acl people proxy_auth REQUIRED\nhttp_access allow people\nhttp_access deny all\n", -1},
		"by what is asked alone":  {"acl CONNECT method CONNECT\nhttp_access allow CONNECT\nhttp_access deny all\n", 0},
		"the opposite":            {"acl n src 10.0.0.0/8\nhttp_access allow !n\nhttp_access deny all\n", 0},
		"the last forbids little": {"acl bad dstdomain .example.com\nhttp_access deny bad\n", 1},
		"the last allows little":  {"acl n src 10.0.0.0/8\nhttp_access allow n\n", -1},
		"no rules":                {"http_port 3128\n", -1},
		"joined lines":            {"acl n src 10.0.0.0/8\nhttp_access allow \\\nn\nhttp_access deny all\n", -1},
	} {
		p := proxy(t, c.text)
		if got, err := p.Open(); p.Err != nil || err != nil || got != c.open {
			t.Errorf("%s: got %d, %v, %v, want %d", name, got, err, p.Err, c.open)
		}
	}
	for name, text := range map[string]string{"no such list": "http_access allow x\n", "no address": "acl n src example.com\nhttp_access allow n\n"} {
		if got, err := proxy(t, text).Open(); err == nil {
			t.Errorf("%s: got %d", name, got)
		}
	}
	for name, text := range map[string]string{"a list elsewhere": "acl n src \"/etc/x\"\n", "a condition": "if 1\nhttp_access allow all\nendif\n", "neither": "http_access perhaps all\n", "half a list": "acl n\n",
		"a loop": "include /var/lib/maas/maas-proxy.conf\n", "no end": "acl n src 10.0.0.0/8 \\"} {
		if proxy(t, text).Err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if p := proxy(t, strings.Repeat("x\\\n", 70_000)); p.Err == nil {
		t.Error("a line of 70,000: no error")
	}
	if p := proxy(t, "include /etc/squid/*.conf\n", guard.Entry{Path: "/etc/squid/a.conf", Content: "http_access allow all\n"}); p.Err != nil || len(p.Rules) != 1 {
		t.Errorf("got %+v", p)
	}
}

// TestSquid holds which lines count against what Squid itself says that it processes.
func TestSquid(t *testing.T) {
	program, err := exec.LookPath("squid")
	if err != nil {
		program = "/usr/sbin/squid"
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("squid is not here")
	}
	processing := regexp.MustCompile(`Processing: ((?:acl|http_access) .*)`)
	for _, text := range []string{maasProxy, "  acl a src 10.0.0.0/8\n\tacl a src 11.0.0.0/8\n# acl no src 1.2.3.4\n#x\\\nhttp_access allow a\nhttp_access allow a \\\n  localhost\nhttp_access deny all\nhttp_port 3128\n",
		"acl a port 80 443 # why\r\nhttp_access deny !a\nhttp_access deny all\n\nhttp_port 3128\n"} {
		at := filepath.Join(t.TempDir(), "squid.conf")
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(program, "-k", "parse", "-f", at).CombinedOutput()
		if err != nil {
			t.Errorf("Squid refuses %q: %s", text, out)
			continue
		}
		var want, got []string
		for _, m := range processing.FindAllStringSubmatch(string(out), -1) {
			line, _, _ := strings.Cut(m[1], "#")
			want = append(want, strings.Join(strings.Fields(line), " "))
		}
		p := proxy(t, text)
		for name, lists := range p.ACLs {
			for _, l := range lists {
				got = append(got, strings.Join(append([]string{"acl", name, l.Kind}, l.Values...), " "))
			}
		}
		for _, r := range p.Rules {
			got = append(got, strings.Join(append([]string{"http_access", map[bool]string{true: "allow", false: "deny"}[r.Allow]}, r.ACLs...), " "))
		}
		slices.Sort(want)
		slices.Sort(got)
		if d := cmp.Diff(want, got); p.Err != nil || d != "" {
			t.Errorf("%q: %v (- Squid's, + ours):\n%s", text, p.Err, d)
		}
	}
}

func FuzzProxy(f *testing.F) {
	f.Add(maasProxy)
	f.Fuzz(func(t *testing.T, text string) {
		p := proxy(t, text)
		if rule, err := p.Open(); rule < -1 || rule > len(p.Rules) || err != nil && rule != -1 {
			t.Errorf("got %d of %d, %v", rule, len(p.Rules), err)
		}
	})
}

func ntp(t testing.TB, files map[string]string) guard.NTP {
	t.Helper()
	list, err := of(t, files).NTP(guard.MAASDeb)
	if err != nil || len(list) != 1 {
		t.Fatalf("got %+v, %v", list, err)
	}
	return list[0]
}

func TestNTP(t *testing.T) {
	const at = "/etc/chrony/chrony.conf"
	for name, c := range map[string]struct {
		text string
		open bool
	}{
		"nobody":                      {"server 192.0.2.1\n", false},
		"MAAS's own":                  {"include /etc/chrony/maas.conf\n", true},
		"a network":                   {"allow 10.0.0.0/8\n", false},
		"all of IPv4":                 {"allow 0/0\n", true},
		"all of IPv6":                 {"allow ::/0\n", true},
		"all, and then nobody":        {"allow\ndeny all\n", false},
		"a network of fewer numbers":  {"allow 10\n", false},
		"forbidden and allowed again": {"deny all\nallow\n", true},
		"a host":                      {"allow time.example\n", false},
		"in a folder":                 {"confdir /etc/chrony/conf.d /etc/chrony/other.d\n", true},
	} {
		n := ntp(t, map[string]string{at: c.text, "/etc/chrony/maas.conf": "# MAAS NTP configuration.\nhwtimestamp *\nlocal stratum 8 orphan\nallow\n",
			"/etc/chrony/conf.d/a.conf": "Allow\n", "/etc/chrony/other.d/a.conf": "deny all\n", "/etc/chrony/conf.d/b.txt": "deny all\n"})
		if _, open := guard.Anybody(n.Allow); n.Err != nil || open != c.open {
			t.Errorf("%s: got %v, %+v, want %v", name, open, n, c.open)
		}
	}
	n := ntp(t, map[string]string{at: "cmdallow 10.1\ncmddeny 10.1.2.3\nbindcmdaddress 0.0.0.0\nbindcmdaddress /run/x\n! allow\n; allow\n# allow\n% allow\n"})
	if n.Err != nil || len(n.Allow) != 0 || len(n.Commands) != 2 || n.Commands[0].From != netip.MustParsePrefix("10.1.0.0/16") || !slices.Equal(n.Bind, []string{"0.0.0.0"}) {
		t.Errorf("got %+v", n)
	}
	for name, text := range map[string]string{"two networks": "allow 10.0.0.0/8 11.0.0.0/8\n", "a loop": "include " + at + "\n", "a file that is absent": "include /etc/none\n", "an empty inclusion": "include\n"} {
		if ntp(t, map[string]string{at: text}).Err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestChronyd holds the order of included files, and what is a directive, against what chronyd prints of the same files.
func TestChronyd(t *testing.T) {
	program := "/usr/sbin/chronyd"
	if _, err := os.Stat(program); err != nil {
		t.Skip("chronyd (Debian's chrony) is not here")
	}
	dir := t.TempDir()
	files := map[string]string{"/etc/chrony/chrony.conf": "allow 10.1\n! allow 10.2\n  Allow 10.3.4\nconfdir D/a D/b\ninclude D/inc*.conf\nallow all 10.9.0.0/16\ndeny 10.4\n",
		"D/a/1.conf": "allow 10.5\n", "D/b/1.conf": "allow 10.6\n", "D/b/0.conf": "allow 10.7\n", "D/inc2.conf": "deny 10.8\n", "D/inc1.conf": "allow 2001:db8::/32\n"}
	here := map[string]string{}
	for at, text := range files {
		at, text = strings.ReplaceAll(at, "D/", dir+"/"), strings.ReplaceAll(text, "D/", dir+"/")
		here[at] = text
		to := at
		if strings.HasPrefix(at, "/etc") {
			to = filepath.Join(dir, "chrony.conf")
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(program, "-p", "-f", filepath.Join(dir, "chrony.conf")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := ntp(t, map[string]string{"/etc/chrony/chrony.conf": string(out)})
	got := ntp(t, here)
	told := func(n guard.NTP) (list []string) {
		for _, r := range n.Allow {
			list = append(list, fmt.Sprint(r.Allow, r.From, r.Name))
		}
		return list
	}
	if d := cmp.Diff(told(want), told(got)); d != "" || got.Err != nil || want.Err != nil || len(got.Allow) != 8 {
		t.Errorf("%v, %v, %d rules (- chronyd's, + ours):\n%s\n%s", got.Err, want.Err, len(got.Allow), d, out)
	}
}

func FuzzNTP(f *testing.F) {
	f.Add("allow 10.1\ncmdallow all\nbindcmdaddress 0.0.0.0\n")
	f.Fuzz(func(t *testing.T, text string) {
		n := ntp(t, map[string]string{"/etc/chrony/chrony.conf": text})
		if r, open := guard.Anybody(n.Allow); open && r.Line < 1 {
			t.Errorf("got %+v", n)
		}
	})
}
