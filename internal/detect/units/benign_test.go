package units

import (
	"fmt"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/detect"
	"github.com/metalward/metalward/internal/logs"
)

// benign are the cases that the reference of detections says must stay quiet, in the order of its tables; those that samples of a unit have are not repeated.
var benign = map[string][]string{
	"a printer that is looked for": several(30, func(i int) string {
		return kernel(i, "[UFW BLOCK] IN=eth0 OUT= SRC=10.0.0.9 DST=10.0.0.5 LEN=60 TTL=64 PROTO=UDP SPT=8610 DPT=861%d LEN=24 ", i%3)
	}),
	"SSDP answers of a television to ever new ports": several(40, func(i int) string {
		return kernel(i, "[UFW BLOCK] IN=eth0 OUT= SRC=10.0.0.9 DST=10.0.0.5 LEN=552 TTL=64 PROTO=UDP SPT=1900 DPT=%d LEN=532 ", 33000+i)
	}),
	"answers of name servers": several(40, func(i int) string {
		return kernel(i, "[UFW BLOCK] IN=eth0 OUT= SRC=203.0.113.53 DST=10.0.0.5 LEN=120 TTL=60 PROTO=UDP SPT=53 DPT=%d LEN=100 ", 33000+i)
	}),
	"multicast and LLMNR from inside": several(10, func(i int) string {
		return kernel(i, "[UFW BLOCK] IN= OUT=eth0 SRC=10.0.0.5 DST=%s LEN=60 TTL=1 PROTO=UDP SPT=5355 DPT=%d LEN=40 ", []string{"224.0.0.251", "224.0.0.252", "239.255.255.250"}[i%3], []int{5353, 5355, 1900}[i%3])
	}),
	"IGMP of a home router": several(20, func(i int) string {
		return kernel(i*60, "[UFW BLOCK] IN=eth0 OUT= SRC=192.168.1.1 DST=224.0.0.1 LEN=32 TTL=1 PROTO=2 ")
	}),
	"a private address on an interface nobody called an outside one": several(3, func(i int) string {
		return kernel(i, "[UFW BLOCK] IN=eth0 OUT= SRC=192.168.1.7 DST=192.168.1.5 LEN=60 TTL=64 PROTO=TCP SPT=5000 DPT=8080 SYN ")
	}),
	"long polls and calls of racks": requests(60, func(i int) request {
		return request{at: i / 30, client: "10.0.0.2", target: []string{"/MAAS/rpc/", "/MAAS/ws", "/MAAS/metadata/2012-03-01/meta-data/"}[i%3]}
	}),
	"fifty machines that boot at once": requests(500, func(i int) request {
		return request{at: i / 250, client: fmt.Sprint("10.0.1.", i%50+1), target: "/MAAS/metadata/curtin/2012-03-01/meta-data/instance-id"}
	}),
	"what browsers ask for by themselves": requests(40, func(i int) request {
		return request{at: i, target: []string{"/favicon.ico", "/apple-touch-icon.png", "/apple-touch-icon-precomposed.png", "/robots.txt", "/assets/index.js.map"}[i%5], status: 404}
	}),
	"a poll of who is logged in": requests(40, func(i int) request {
		return request{at: i, target: "/MAAS/accounts/login/"}
	}),
	"the first half of external logins": requests(10, func(i int) request {
		return request{at: i, target: "/MAAS/accounts/discharge-request/", status: 401}
	}),
	"prose with words of SQL": requests(8, func(i int) request {
		return request{at: i * 60, target: "/search?q=" + []string{"O%27Brien", "2+or+4+metal+buttons", "select+a+union+card", "drop+shipping", "image-select-large", "or+1+of+them", "union+square", "d%27or"}[i%8]}
	}),
	"scripts that applications have": requests(8, func(i int) request {
		return request{at: i * 60, target: "/app/" + []string{"console.php", "upload.php", "index.php", "config.php", "install.php", "update.php", "login.php", "editor.php"}[i%8]}
	}),
	"versions and ranges": requests(3, func(i int) request {
		return request{at: i, target: []string{"/compare/1..2", "/diff/a...b", "/release/v3.5..v3.6"}[i%3]}
	}),
	"a monitor of port 22": several(60, func(i int) string { return daemon(i*5, i, "Connection closed by 10.0.0.8 port %d [preauth]", 40000+i) }),
	"an agent with five keys": append(several(5, func(i int) string {
		return daemon(0, 7, "Failed publickey for ann from 10.0.0.8 port 4000 ssh2: RSA SHA256:%d", i)
	}), daemon(1, 7, "Accepted publickey for ann from 10.0.0.8 port 4000 ssh2: RSA SHA256:9")),
	"bad names of addresses": several(20, func(i int) string {
		return daemon(i, i, "reverse mapping checking getaddrinfo for h%d.example.net [203.0.113.9] failed - POSSIBLE BREAK-IN ATTEMPT!", i)
	}),
}

// kernel is a line of the packet filter as it stands.
func kernel(at int, format string, args ...any) string {
	return bsd(at) + " host kernel: " + fmt.Sprintf(format, args...)
}

// daemon is a line of sshd.
func daemon(at, pid int, format string, args ...any) string {
	return fmt.Sprintf("%s host sshd[%d]: ", bsd(at), 1000+pid) + fmt.Sprintf(format, args...)
}

// TestBenign: none of them is more than info, whatever units run.
func TestBenign(t *testing.T) {
	for name, lines := range benign {
		p := logs.NewParser(time.UTC, 2026)
		for _, line := range lines {
			var r logs.Record
			if p.Parse(line, &r); r.Kind == logs.Unknown || r.Malformed {
				t.Errorf("%s: %q is not understood", name, line)
			}
		}
		for _, a := range run(t, nil, lines) {
			if a.Severity > detect.Info {
				t.Errorf("%s: %s says %s (%d events), such as %s", name, a.Unit, a.Severity, a.Count, a.Lines[0].Text)
			}
		}
	}
}
