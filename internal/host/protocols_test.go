package host_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
)

// TestProtocols has real servers answer: what their configuration is read to say is what they do, the usual values of their versions included.
// OpenSSL is told to leave the choice to them.
func TestProtocols(t *testing.T) {
	dir := t.TempDir()
	pemPair(t, dir)
	f, err := host.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	nginx := func(lines string) string {
		return "daemon off; master_process off; pid DIR/pid; error_log stderr; events {} http { access_log off; client_body_temp_path DIR/1; proxy_temp_path DIR/2; fastcgi_temp_path DIR/3; uwsgi_temp_path DIR/4; scgi_temp_path DIR/5;" +
			" server { listen PORT ssl; ssl_certificate DIR/cert.pem; ssl_certificate_key DIR/key.pem; ssl_ciphers ALL:@SECLEVEL=0; " + lines + " return 204; } }"
	}
	haproxy := func(global, bind string) string {
		return "global\n ssl-default-bind-ciphers ALL:@SECLEVEL=0\n" + global + "\ndefaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nlisten a\n bind PORT ssl crt DIR/both.pem " + bind + "\n http-request return status 204\n"
	}
	for _, c := range []struct{ name, program, at, text, version, old string }{
		{"nginx 1.22 as it is", "/usr/sbin/nginx", nginxAt, nginx(""), "TLS 1.2", "TLS 1.1"},
		{"nginx, set", "/usr/sbin/nginx", nginxAt, nginx("ssl_protocols TLSv1.2 TLSv1.3;"), "TLS 1.3", ""},
		{"HAProxy 2.6 as it is", "/usr/sbin/haproxy", haproxyAt, haproxy("", ""), "TLS 1.3", ""},
		{"HAProxy, set in global", "/usr/sbin/haproxy", haproxyAt, haproxy(" ssl-default-bind-options ssl-min-ver TLSv1.0", ""), "TLS 1.3", "TLS 1.1"},
		{"HAProxy, set otherwise in the line", "/usr/sbin/haproxy", haproxyAt, haproxy(" ssl-default-bind-options ssl-min-ver TLSv1.0", "ssl-min-ver TLSv1.2"), "TLS 1.3", ""},
		{"HAProxy without SSLv3", "/usr/sbin/haproxy", haproxyAt, haproxy(" ssl-default-bind-options no-sslv3", ""), "TLS 1.3", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			version, err := exec.Command(c.program, "-v").CombinedOutput()
			if err != nil {
				t.Skip("the program is not here to answer: " + c.program)
			}
			if strings.Contains(c.name, "1.22") && !strings.Contains(string(version), "/1.22") || strings.Contains(c.name, "2.6") && !strings.Contains(string(version), " 2.6") {
				t.Skipf("another version's usual protocols: %s", version)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := l.Addr().String()
			_ = l.Close()
			text := strings.NewReplacer("DIR", dir, "PORT", address).Replace(c.text)
			file := dir + "/config"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			args := map[string][]string{"/usr/sbin/nginx": {"-p", dir, "-c", file}, "/usr/sbin/haproxy": {"-db", "-f", file}}[c.program]
			ctx, stop := context.WithCancel(context.Background())
			server := exec.CommandContext(ctx, c.program, args...)
			var said strings.Builder
			server.Stdout, server.Stderr = &said, &said
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { stop(); _ = server.Wait() }()
			up := false
			for range 3000 {
				if conn, err := net.Dial("tcp", address); err == nil {
					_ = conn.Close()
					up = true
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			if !up {
				stop()
				_ = server.Wait()
				t.Fatalf("%s does not come up: %s", c.program, said.String())
			}
			got, err := f.Handshake(netip.MustParseAddrPort(address))
			if err != nil || got.Version != c.version || got.Old != c.old || got.Plain {
				t.Errorf("got %+v, %v; want %q and %q", got, err, c.version, c.old)
			}
			read := fronts(t, c.at, text)
			if len(read.List) != 1 || read.Err != nil {
				t.Fatalf("got %+v", read)
			}
			if weak := len(read.List[0].Weak()) > 0; read.List[0].Protocols != nil && weak != (c.old != "") {
				t.Errorf("the configuration is read as %q", read.List[0].Protocols)
			}
			if pair := read.List[0].Pairs; len(pair) == 1 {
				cert, err := f.Certificate(guard.Pair{Certificate: pair[0].Certificate, Key: pair[0].Key})
				if err != nil || cert.Sum != got.Sum || cert.Match != nil {
					t.Errorf("the certificate is read as %+v, %v; shown is %s", cert, err, got.Sum)
				}
			}
		})
	}
}
