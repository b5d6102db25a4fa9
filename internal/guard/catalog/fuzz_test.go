package catalog_test

import (
	"testing"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/guard/catalog"
	"github.com/metalward/metalward/internal/host/hosttest"
)

// readHere are files that checks read themselves, and not by a reader of package host, which has targets of its own.
var readHere = map[string]string{
	"/etc/rsyslog.conf":                            "*.* action(type=\"omfwd\" target=\"10.0.0.1\" StreamDriver=\"gtls\")\n*.* @@10.0.0.1:6514\nif $msg contains 'x' then @h\n",
	"/etc/systemd/journal-upload.conf":             "[Upload]\nURL = https://h\n",
	"/etc/pam.d/su":                                "auth sufficient pam_rootok.so\nauth [success=2 default=ignore] pam_wheel.so group=adm\n@include common-auth\n",
	"/var/lib/maas/dhcpd.conf":                     "failover peer \"a\" { primary; }\nsubnet 10.0.0.0 netmask 255.0.0.0 { pool { failover peer \"a\"; range 10.0.0.1 10.0.0.9; } }\n",
	"/etc/letsencrypt/renewal-hooks/deploy/maas":   "#!/bin/sh\nmaas config-tls enable /k /c\n",
	"/var/lib/snapd/state.json":                    `{"data":{"snaps":{"maas":{"current":"1","channel":"3.6/stable"}},"conns":{}}}`,
	"/etc/ssh/sshd_config":                         "PermitRootLogin no\n",
	"/etc/maas/regiond.conf":                       "database_host: localhost\n",
	"/etc/postgresql/15/main/postgresql.conf":      "ssl = on\n",
	"/etc/bind/named.conf.options":                 "options { allow-transfer { none; }; };\n",
	"/var/lib/maas/maas-proxy.conf":                "http_access allow localnet\n",
	"/etc/systemd/system/maas-regiond.service.d/x": "[Service]\nNoNewPrivileges=yes\n",
}

// FuzzCatalog: whatever stands in a file, no check panics, and each says something that can be printed.
func FuzzCatalog(f *testing.F) {
	for at, text := range readHere {
		f.Add(at, text)
	}
	f.Fuzz(func(t *testing.T, at, text string) {
		if readHere[at] == "" || len(text) > 1<<16 {
			return
		}
		tree := []guard.Entry{{Path: "/etc/maas/rackd.conf"}, {Path: "/var/lib/dpkg/status", Content: "Package: maas-region-controller\nStatus: install ok installed\nVersion: 3.5.0\n"}, {Path: at, Content: text}}
		h, err := hosttest.Of(guard.Sample{Product: guard.MAASDeb, Tree: tree})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range catalog.Checks() {
			for _, finding := range c.Run(h, guard.MAASDeb) {
				for _, line := range finding.Evidence {
					if guard.Show(line) != line {
						t.Fatalf("%s: %q is not printable", c.ID, line)
					}
				}
			}
		}
	})
}
