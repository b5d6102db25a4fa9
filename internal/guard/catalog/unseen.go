package catalog

import (
	"fmt"
	"slices"
)

// Unseen is what checks were only ever tried on files for, since no host with it was at hand: what their readers make of the real thing is as
// right as the manuals and sources that they name.
type Unseen struct {
	What   string // that was missing
	Why    string // how the checks were tried instead
	Checks []string
}

// NeverLive lists the checks that no running host has confirmed, by what was missing. A check that is seen live is taken out here.
var NeverLive = []Unseen{
	{"a running MAAS", "Paths, modes and accounts are those of its documentation and source.", []string{"files-region-config", "files-rack-config", "files-shared-secret", "files-certificate-keys", "files-agent-config", "files-identity",
		"files-dhcp-key", "files-rndc-key", "files-workflow-config", "files-cli-profiles", "files-authorizer", "availability-dhcp", "transport-cli"}},
	{"snapd", "Samples have the files that snapd's documentation and source name.", []string{"confinement-snap", "confinement-plugs", "confinement-held", "files-backups"}},
	{"AppArmor and SELinux", "Samples have the kernel's files.", []string{"confinement-mac"}},
	{"LUKS", "Samples have the files of /sys and /proc that the kernel's documentation names.", []string{"postgres-disk"}},
	{"systemd as the first process", "Files of units and journald are read; no unit ran under systemd.", []string{"logging-kept", "secrets-logs", "secrets-units", "confinement-processes", "confinement-sandbox", "drift-services"}},
	{"a host that logs are sent to", "Configurations are read, by the documentation of rsyslog and systemd; nothing was sent.", []string{"logging-shipped", "logging-sent"}},
	{"certbot with an authority", "Scripts are read; none was run by certbot.", []string{"transport-renewal"}},
	{"a login by su", "Files of PAM are read, by its manual; nobody became anybody.", []string{"accounts-su"}},
	{"a standby of PostgreSQL", "The settings are read by a reader that was held against PostgreSQL; no standby followed.", []string{"availability-replica"}},
}

// WhyUnseen says of a check what it was never tried on; "" for one that was seen live.
func WhyUnseen(id string) string {
	for _, u := range NeverLive {
		if slices.Contains(u.Checks, id) {
			return fmt.Sprintf("Never seen live, for want of %s. %s", u.What, u.Why)
		}
	}
	return ""
}
