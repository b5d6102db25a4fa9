package source

import (
	"os"
	"path/filepath"
	"slices"
)

// usual is where logs lie (reference of detections, 4.1; the hardening guide's section of logging).
var usual = []string{
	"/var/log/ufw.log*", "/var/log/kern.log*", "/var/log/auth.log*", "/var/log/secure*", "/var/log/syslog*", "/var/log/messages*",
	"/var/log/httpd", "/var/log/apache", "/var/log/apache2", "/var/log/nginx", "/var/log/haproxy.log*",
	"/var/log/maas", "/var/snap/maas/common/log", "/var/log/metalward",
}

// UsualPatterns are patterns of the logs that are followed where none are named.
func UsualPatterns() []string {
	return append([]string{
		"/var/log/ufw.log", "/var/log/kern.log", "/var/log/auth.log", "/var/log/secure", "/var/log/syslog", "/var/log/messages",
		"/var/log/httpd/*log", "/var/log/apache/*log", "/var/log/apache2/*log", "/var/log/nginx/*log", "/var/log/haproxy.log",
		"/var/log/maas/*.log", "/var/log/maas/http/*.log", "/var/snap/maas/common/log/*.log", "/var/snap/maas/common/log/http/*.log", "/var/log/metalward/*.log",
	}, elsewhere()...)
}

// elsewhere are the logs that nginx was told to write to other places than the usual one.
func elsewhere() (found []string) {
	for _, p := range nginxLogs("/") {
		if filepath.Dir(p) != "/var/log/nginx" {
			found = append(found, p)
		}
	}
	return found
}

// Usual are the logs of this host that are where logs usually lie.
func Usual() []string {
	var found []string
	for _, pattern := range append(slices.Clone(usual), elsewhere()...) {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			continue
		}
		for _, p := range paths {
			if info, err := os.Stat(p); err == nil && (info.IsDir() || info.Mode().IsRegular()) {
				found = append(found, p)
			}
		}
	}
	return found
}

// OfSystem says whether a file is one that syslog writes sshd's or the kernel's lines to: the journal has the same ones then.
func OfSystem(path string) bool {
	switch stem(path) {
	case "/var/log/auth.log", "/var/log/secure", "/var/log/kern.log", "/var/log/syslog", "/var/log/messages":
		return true
	}
	return false
}
