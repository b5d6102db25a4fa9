package host_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/host/hosttest"
)

// fronts reads a host whose one configuration is at a path.
func fronts(t testing.TB, at, config string, more ...guard.Entry) guard.Fronts {
	t.Helper()
	return facts(t, append(more, guard.Entry{Path: at, Content: config})...).Fronts(guard.MAASDeb)
}

const nginxAt, haproxyAt, apacheAt = "/etc/nginx/nginx.conf", "/etc/haproxy/haproxy.cfg", "/etc/apache2/apache2.conf"

// say writes what matters of fronts in a line each.
func say(list []guard.Front) (lines []string) {
	for _, f := range list {
		s := fmt.Sprintf("%s tls=%v", f.Address, f.TLS)
		if f.Protocols != nil {
			s += " protocols=" + strings.Join(f.Protocols, ",")
		}
		for _, p := range f.Pairs {
			s += " pair=" + p.Certificate + "," + p.Key
		}
		if f.HSTS != "" {
			s += " hsts=" + f.HSTS
		}
		for word, is := range map[string]bool{" away": f.ToHTTPS} {
			if is {
				s += word
			}
		}
		if f.Proto {
			s += " proto"
		}
		for _, u := range f.Servers {
			s += " to=" + u.Address
			if u.Check {
				s += "+"
			}
		}
		lines = append(lines, s)
	}
	return lines
}

// differ compares what is read, and that it is read without an error.
func differ(t *testing.T, name string, got guard.Fronts, want ...string) {
	t.Helper()
	if have := say(got.List); got.Err != nil || !slices.Equal(have, want) {
		t.Errorf("%s:\n got %q, %v\nwant %q", name, have, got.Err, want)
	}
}

// nginxTexts are configurations that nginx takes, and that it does not. DIR stands for a folder with a.conf, b.conf, cert.pem and key.pem.
var nginxTexts = map[string]string{
	"plain":              "events {} http { server { listen 80; location / { proxy_pass http://127.0.0.1:5240; } } }",
	"quotes":             "events {} http { server { listen '8080'; add_header X \"a;{b\" always; return 301 'https://x\\'y'; } }",
	"comment":            "events {} # { \nhttp { server { listen 80; # }\n } }",
	"include":            "events {} http { include DIR/*.conf; }",
	"include of nothing": "events {} http { include DIR/*.none; }",
	"absent include":     "events {} http { include DIR/none; }",
	"variable":           "events {} http { server { return 301 https://${host}$request_uri; } }",
	"open":               "events {} http { server { ",
	"closed twice":       "events {} http { } }",
	"no semicolon":       "events {} http { server { listen 80 } }",
	"open quote":         "events {} http { server { listen \"80; } }",
	"glued quote":        "events {} http { server { return 301 \"a\"b; } }",
	"lone semicolon":     "events {} http { ; }",
	"escapes":            "events {} http { server { add_header X a\\;b; add_header Y \"a\\\"b\"; } }",
	"tls":                "events {} http { ssl_protocols TLSv1.2; server { listen [::1]:443 ssl; ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem; } }",
}

// TestNginx holds what is read against nginx: what it takes, and the directives that it dumps.
func TestNginx(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		if nginx = "/usr/sbin/nginx"; exec.Command(nginx, "-v").Run() != nil {
			t.Skip("nginx is not here, so nobody else reads the configuration; install the package nginx")
		}
	}
	dir := t.TempDir()
	tree := []guard.Entry{{Path: dir + "/a.conf", Content: "server { listen 81; }\n"}, {Path: dir + "/b.conf", Content: "server { listen 82; include " + dir + "/c; }\n"}, {Path: dir + "/c", Content: "return 301 https://c;\n"}}
	for _, e := range tree {
		if err := os.WriteFile(e.Path, []byte(e.Content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pemPair(t, dir)
	for name, text := range nginxTexts {
		text = strings.ReplaceAll(text, "DIR", dir)
		file := filepath.Join(dir, "nginx")
		if err := os.WriteFile(file, []byte("pid "+dir+"/pid; error_log stderr;"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, bad := exec.Command(nginx, "-t", "-p", dir, "-c", file).CombinedOutput()
		got := fronts(t, nginxAt, text, tree...)
		if (got.Err != nil) != (bad != nil) {
			t.Errorf("%s: got %v; nginx says %v: %s", name, got.Err, bad, out)
		}
	}
}

func TestNginxEffect(t *testing.T) {
	differ(t, "inherited", fronts(t, nginxAt, `http { ssl_protocols TLSv1.2; add_header Strict-Transport-Security max-age=1; proxy_set_header X-Forwarded-Proto $scheme;
		upstream u { server 10.0.0.1; server 10.0.0.2:5240; }
		server { listen 443 ssl; listen [::]:443 ssl; ssl_certificate a.pem; ssl_certificate_key /k.pem; location / { proxy_pass http://u/; } }
		server { ssl_protocols TLSv1.3; listen 1.2.3.4:444 ssl; location / { add_header A b; proxy_set_header Host x; proxy_pass http://u; } }
		server { return 301 https://x; location / { proxy_pass http://u; } } }`),
		"*:443 tls=true protocols=TLSv1.2 pair=/etc/nginx/a.pem,/k.pem hsts=max-age=1 proto to=10.0.0.1:80 to=10.0.0.2:5240",
		"[::]:443 tls=true protocols=TLSv1.2 pair=/etc/nginx/a.pem,/k.pem hsts=max-age=1 proto to=10.0.0.1:80 to=10.0.0.2:5240",
		"1.2.3.4:444 tls=true protocols=TLSv1.3 to=10.0.0.1:80 to=10.0.0.2:5240",
		"*:80 tls=false protocols=TLSv1.2 hsts=max-age=1 away proto")
	differ(t, "some of it", fronts(t, nginxAt, `http { server { listen 80; location /a { proxy_pass http://h:1; } location / { return 301 https://x; } }
		server { listen 81; if ($host = x) { return 301 https://x; } location / { proxy_pass http://unix:/run/s:/x; } } }`),
		"*:80 tls=false to=h:1", "*:81 tls=false to=unix:/run/s")
	differ(t, "the one page alone", fronts(t, nginxAt, "http { server { listen 80; location = / { return 301 https://x; } } server { listen 81; location ^~ / { return 301 https://x; } } }"), "*:80 tls=false proto", "*:81 tls=false away proto")
	differ(t, "one place twice, the other not at all", fronts(t, nginxAt, `http { server { listen 443 ssl; location /a { proxy_pass http://h:1; add_header Strict-Transport-Security max-age=1; add_header Strict-Transport-Security max-age=1;
		proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header x-forwarded-proto https; } location / { proxy_pass http://h:1; } } }`), "*:443 tls=true to=h:1 to=h:1")
	if f := fronts(t, nginxAt, "http { server { location / { proxy_pass http://$where; } } }").List; len(f) != 1 || len(f[0].Unsure) != 1 {
		t.Errorf("a variable: got %+v", f)
	}
	loop := fronts(t, nginxAt, "http { include nginx.conf; }")
	if loop.Err == nil {
		t.Error("a file that includes itself: no error")
	}
}

// TestHAProxy holds which lines are read against which HAProxy takes.
func TestHAProxy(t *testing.T) {
	haproxy := "/usr/sbin/haproxy"
	if exec.Command(haproxy, "-v").Run() != nil {
		t.Skip("HAProxy is not here, so nobody else reads the configuration; install the package haproxy")
	}
	dir := t.TempDir()
	pemPair(t, dir)
	const head = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n"
	for name, text := range map[string]string{
		"plain":           head + "listen a\n bind :1\n server s 127.0.0.1:2 check\n",
		"quotes":          head + "frontend a\n bind :1\n http-request set-header X \"a b\"'c d' # e\n",
		"escapes":         head + "frontend a\n bind :1\n http-request set-header X a\\ b\\#c\\x41\n",
		"open quote":      head + "frontend a\n bind :1\n http-request set-header X \"a\n",
		"half an escape":  head + "frontend a\n bind :1\n http-request set-header X a\\x4\n",
		"no section":      " bind :1\n",
		"named defaults":  head + "defaults d\n mode tcp\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nfrontend a from d\n bind :1\n",
		"absent defaults": head + "frontend a from d\n bind :1\n",
		"tls":             head + "frontend a\n bind :1,:2 ssl crt " + dir + "/both.pem ssl-min-ver TLSv1.2\n",
	} {
		file := filepath.Join(dir, "haproxy.cfg")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, bad := exec.Command(haproxy, "-c", "-f", file).CombinedOutput()
		if got := fronts(t, haproxyAt, text); (got.Err != nil) != (bad != nil) {
			t.Errorf("%s: got %v; HAProxy says %v: %s", name, got.Err, bad, out)
		}
	}
}

func TestHAProxyEffect(t *testing.T) {
	got := fronts(t, haproxyAt, `global
 ssl-default-bind-options ssl-min-ver TLSv1.1
 crt-base /etc/ssl
defaults
 mode http
 log global
 default-server check
frontend f
 bind *:443,[::]:444 ssl crt a.pem ssl-min-ver TLSv1.2
 bind :80
 bind 127.0.0.1:81 ssl crt-list list
 http-request redirect scheme https code 301 if !{ ssl_fc }
 http-response set-header Strict-Transport-Security max-age=9
 use_backend b if { path /x }
 default_backend b
backend b
 http-request set-header x-forwarded-proto https if { ssl_fc }
 server s1 10.0.0.1:5240
 server s2 h:5240 no-check
 reqadd X
listen stats
 no log
 bind :9090
 stats enable
`, guard.Entry{Path: "/etc/ssl/list", Content: "# x\none.pem [ssl-min-ver TLSv1.2] name\n"})
	const to = " proto to=10.0.0.1:5240+ to=h:5240"
	differ(t, "all of it", got, "*:443 tls=true protocols=TLSv1.2,TLSv1.3 pair=/etc/ssl/a.pem,/etc/ssl/a.pem hsts=max-age=9"+to,
		"[::]:444 tls=true protocols=TLSv1.2,TLSv1.3 pair=/etc/ssl/a.pem,/etc/ssl/a.pem hsts=max-age=9"+to, "*:80 tls=false protocols=TLSv1.1,TLSv1.2,TLSv1.3 hsts=max-age=9 away"+to,
		"127.0.0.1:81 tls=true protocols=TLSv1.1,TLSv1.2,TLSv1.3 pair=/etc/ssl/one.pem,/etc/ssl/one.pem hsts=max-age=9"+to, "*:9090 tls=false protocols=TLSv1.1,TLSv1.2,TLSv1.3")
	if len(got.Pages) != 1 || got.Pages[0].Login || len(got.Old) != 1 || got.Old[0].Line != 20 || !got.List[0].Logged || got.List[4].Logged {
		t.Errorf("got %+v", got)
	}
	differ(t, "the client's port", fronts(t, haproxyAt, "listen a\n bind :5240,:5443\n server a 10.0.0.1\n server b h:\n server c 10.0.0.2:+1000 check\n server d [fd00::1]\n server e /run/s\n server f h:80\n server g h:-240\n"),
		"*:5240 tls=false to=10.0.0.1:5240 to=h:5240 to=10.0.0.2:6240+ to=[fd00::1]:5240 to=/run/s to=h:80 to=h:5000",
		"*:5443 tls=false to=10.0.0.1:5443 to=h:5443 to=10.0.0.2:6443+ to=[fd00::1]:5443 to=/run/s to=h:80 to=h:5203")
	differ(t, "protocols taken away", fronts(t, haproxyAt, `global
 ssl-default-bind-options no-sslv3 no-tlsv10
listen a
 bind :1 ssl crt a.pem no-tlsv11
 bind :2 ssl crt a.pem
 bind :3 ssl crt a.pem no-tlsv11 no-tlsv13
 bind :4 ssl crt a.pem no-tlsv11 ssl-min-ver TLSv1.1
`), "*:1 tls=true protocols=TLSv1.2,TLSv1.3 pair=/a.pem,/a.pem", "*:2 tls=true pair=/a.pem,/a.pem", "*:3 tls=true protocols=TLSv1.2 pair=/a.pem,/a.pem",
		"*:4 tls=true protocols=TLSv1.1,TLSv1.2,TLSv1.3 pair=/a.pem,/a.pem")
	if bad := fronts(t, haproxyAt, ".if defined(X)\nlisten a\n.endif\n"); bad.Err == nil {
		t.Error("a condition: no error")
	}
}

// TestApache holds which directives are in effect against what Apache dumps, and which files it takes.
func TestApache(t *testing.T) {
	apache := "/usr/sbin/apache2"
	if exec.Command(apache, "-v").Run() != nil {
		t.Skip("Apache is not here, so nobody else reads the configuration; install the package apache2-bin")
	}
	dir := t.TempDir()
	for _, name := range []string{"/sites", "/logs"} {
		if err := os.Mkdir(dir+name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	pemPair(t, dir)
	tree := []guard.Entry{{Path: dir + "/sites/a.conf", Content: "Listen 81\n<VirtualHost *:81>\nServerName a\n</VirtualHost>\n"}, {Path: dir + "/sites/b.conf", Content: "Listen 82\n"}}
	for _, e := range tree {
		if err := os.WriteFile(e.Path, []byte(e.Content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	head := "ServerName x\nLoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\nLoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n" +
		"LoadModule info_module /usr/lib/apache2/modules/mod_info.so\n" // which dumps it
	for name, text := range map[string]string{
		"plain":             "<VirtualHost *:80>\nServerName \"a b\"\n</VirtualHost>\n",
		"folder":            "IncludeOptional DIR/sites\n",
		"pattern":           "Include DIR/sites/*.conf\n",
		"nothing, optional": "IncludeOptional DIR/none/*.conf\n",
		"nothing":           "Include DIR/none\n",
		"conditions":        "<IfModule mod_ssl.c>\nNonsense\n</IfModule>\n<IfModule !mod_ssl.c>\nListen 83\n</IfModule>\n<IfModule mpm_event_module>\nListen 84\n</IfModule>\n<IfDefine X>\nNonsense\n</IfDefine>\n",
		"continued":         "Listen \\\n 85\n",
		"not ended":         "<VirtualHost *:80>\nServerName a\n",
		"ended twice":       "<VirtualHost *:80>\n</VirtualHost>\n</VirtualHost>\n",
		"ended by another":  "<VirtualHost *:80>\n<Location />\n</VirtualHost>\n</Location>\n",
	} {
		text = head + strings.ReplaceAll(text, "DIR", dir)
		file := filepath.Join(dir, "apache")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		run := exec.Command(apache, "-t", "-D", "DUMP_CONFIG", "-f", file, "-d", dir)
		var errs bytes.Buffer
		run.Stderr = &errs
		out, bad := run.Output()
		got := fronts(t, apacheAt, text, tree...)
		if (got.Err != nil) != (bad != nil) {
			t.Errorf("%s: got %v; Apache says %v: %s", name, got.Err, bad, errs.Bytes())
		}
		hosts := strings.Count(string(out), "<VirtualHost")
		if bad == nil && hosts != len(got.List) {
			t.Errorf("%s: got %d hosts, Apache has %d: %s", name, len(got.List), hosts, out)
		}
	}
}

func TestApacheEffect(t *testing.T) {
	differ(t, "all of it", fronts(t, apacheAt, `LoadModule ssl_module x.so
<IfModule mod_ssl.c>
SSLProtocol all -SSLv3
Header always set Strict-Transport-Security "max-age=7"
</IfModule>
<IfModule mod_none.c>
SSLProtocol SSLv3
</IfModule>
<VirtualHost *:443 [::]:443>
 SSLEngine On
 SSLCertificateFile /c.pem
 SSLCertificateKeyFile ssl/k.pem
 RequestHeader set X-Forwarded-Proto "https"
 ProxyPass / http://localhost:5240/
 <Location /ws>
  ProxyPass ws://localhost:5241/
 </Location>
</VirtualHost>
<VirtualHost *:444>
 RewriteEngine on
 sslengine on
 SSLProtocol -all +TLSv1.3
 Header unset Strict-Transport-Security
 RewriteRule /(.*) ws://h/x [P,L]
</VirtualHost>
<VirtualHost *:80>
 Redirect permanent / https://x/
 ProxyPass / http://h/
</VirtualHost>
<VirtualHost *:81>
 rewriteengine On
 RewriteCond %{HTTPS} !=on
 RewriteRule ^ https://%{HTTP_HOST}%{REQUEST_URI} [R=301,L]
</VirtualHost>
<VirtualHost *:82>
 RewriteRule ^ https://%{HTTP_HOST}%{REQUEST_URI} [R=301,L]
 RewriteRule /(.*) ws://h/x [P,L]
</VirtualHost>
`),
		"*:443 tls=true protocols=TLSv1,TLSv1.1,TLSv1.2,TLSv1.3 pair=/c.pem,/etc/apache2/ssl/k.pem hsts=max-age=7 proto to=localhost:5240 to=localhost:5241",
		"[::]:443 tls=true protocols=TLSv1,TLSv1.1,TLSv1.2,TLSv1.3 pair=/c.pem,/etc/apache2/ssl/k.pem hsts=max-age=7 proto to=localhost:5240 to=localhost:5241",
		"*:444 tls=true protocols=TLSv1.3 to=h:80", "*:80 tls=false protocols=TLSv1,TLSv1.1,TLSv1.2,TLSv1.3 hsts=max-age=7 away", "*:81 tls=false protocols=TLSv1,TLSv1.1,TLSv1.2,TLSv1.3 hsts=max-age=7 away",
		"*:82 tls=false protocols=TLSv1,TLSv1.1,TLSv1.2,TLSv1.3 hsts=max-age=7")
	differ(t, "rewriting turned on for all", fronts(t, apacheAt, "RewriteEngine on\n<VirtualHost *:80>\nRewriteRule ^ https://x/ [R]\n</VirtualHost>\n<VirtualHost *:81>\nRewriteEngine off\nRewriteRule ^ https://x/ [R]\n</VirtualHost>\n"),
		"*:80 tls=false away", "*:81 tls=false")
	for _, bad := range []string{strings.Repeat("x\\\n", 70_000), "Define X y\n", "<IfVersion >= 2.4>\n</IfVersion>\n", "Include apache2.conf\n"} {
		if got := fronts(t, apacheAt, bad); got.Err == nil {
			t.Errorf("%.40q: no error", bad)
		}
	}
}

// A file of MAAS's own is read as a part of its nginx's http block.
func TestMAASNginx(t *testing.T) {
	got := facts(t, guard.Entry{Path: "/var/lib/maas/http/regiond.nginx.conf", Content: "upstream regiond-webapp {\n server unix:/a.sock;\n}\nserver {\n listen 5443 ssl http2;\n location / { proxy_pass http://regiond-webapp; }\n}\n"})
	differ(t, "packages", got.Fronts(guard.MAASDeb), "*:5443 tls=true to=unix:/a.sock")
	differ(t, "not the snap", got.Fronts(guard.MAASSnap))
	if hidden := fronts(t, nginxAt, "", guard.Entry{Path: "/etc/haproxy", Folder: true, Hidden: true}); !errors.Is(hidden.Err, os.ErrPermission) && hidden.Err == nil {
		t.Errorf("a folder that may not be looked at: %v", hidden.Err)
	}
}

func FuzzFronts(f *testing.F) {
	f.Add("http { server { listen; return; rewrite; location { proxy_pass; } } }", "listen\n bind\n server\n stats\n log\n option\nfrontend\n use_backend\n http-request\n redirect\n", "<VirtualHost>\nRedirect\nHeader\nSSLProtocol\nProxyPass\nRewriteRule\nSSLCipherSuite\n</VirtualHost>\n<\n<>\n</>\n\"\n")
	for _, text := range nginxTexts {
		f.Add(text, "global\ndefaults\n mode http\nlisten a\n bind :1 ssl crt x\n server s \"a b\":2\\x41\n", "<VirtualHost *:1>\nProxyPass / http://x/\n</VirtualHost>\n")
	}
	f.Fuzz(func(t *testing.T, nginx, haproxy, apache string) {
		h := facts(t, guard.Entry{Path: nginxAt, Content: nginx}, guard.Entry{Path: haproxyAt, Content: haproxy}, guard.Entry{Path: apacheAt, Content: apache})
		for _, front := range h.Fronts(guard.Metalward).List {
			if front.Port < 0 || front.Line < 1 || front.File == "" {
				t.Errorf("got %+v", front)
			}
			_ = front.Weak()
			for _, u := range front.Servers {
				_ = u.Port()
			}
		}
	})
}

var _ guard.Host = (*host.Facts)(nil)

// running is a host of data that is said to run.
type running struct{ hosttest.Memory }

func (running) Running() bool                          { return true }
func (running) Run(string, ...string) ([]byte, error)  { return nil, os.ErrNotExist }
func (running) Interfaces() ([]guard.Interface, error) { return nil, nil }

func TestTunnels(t *testing.T) {
	m, err := hosttest.New([]guard.Entry{{Path: "/sys/devices/virtual/net/wg0/uevent", Content: "DEVTYPE=wireguard\nINTERFACE=wg0\n"}, {Path: "/sys/class/net/wg0", Link: "../../devices/virtual/net/wg0"},
		{Path: "/sys/class/net/eth0/uevent", Content: "INTERFACE=eth0\n"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := host.New(running{m}).Tunnels(); err != nil || !slices.Equal(got.WireGuard, []string{"wg0"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := host.New(m).Tunnels(); err == nil {
		t.Error("of a copy: no error")
	}
}
