package catalog

import (
	"path"

	"github.com/metalward/metalward/internal/guard"
)

// Where the products keep their files. Sources: for MAAS its documentation and source (provisioningserver/path.py, the snap's environment in
// snap/local, the configuration of DNS, DHCP and Temporal); for Metalward the constants of internal/region and internal/rack.
const (
	deb       = "/var/lib/maas/"
	snapData  = "/var/snap/maas/current/"
	snapState = "/var/snap/maas/common/maas/"
	ourState  = "/var/lib/metalward/"
)

// The accounts that services run as.
var (
	asMAAS = []string{"maas"}
	asSnap = []string{"snap_daemon"}
	asOurs = []string{"metalward"}
)

// under joins a folder with names.
func under(dir string, names ...string) []string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = dir + n
	}
	return list
}

type byProduct = map[guard.Product][]place

var regionConfig = byProduct{
	guard.MAASDeb:  {{paths: under("/etc/maas/", "regiond.conf"), mode: 0o640, groups: asMAAS, read: guard.Critical, write: guard.Critical}},
	guard.MAASSnap: {{paths: under(snapData, "regiond.conf"), mode: 0o640, groups: asSnap, read: guard.Critical, write: guard.Critical}},
}

var rackConfig = byProduct{
	guard.MAASDeb:  {{paths: under("/etc/maas/", "rackd.conf"), mode: 0o640, groups: asMAAS, read: guard.Low, write: guard.High}},
	guard.MAASSnap: {{paths: under(snapData, "rackd.conf"), mode: 0o640, groups: asSnap, read: guard.Low, write: guard.High}},
}

const secretNote = "MAAS itself may write it wider again: the running service with mode 0640, and maas init --secret with what the umask leaves. Check it daily."

var sharedSecret = byProduct{
	guard.MAASDeb:   {{paths: under(deb, "secret"), mode: 0o600, owners: asMAAS, groups: asMAAS, read: guard.High, write: guard.High, note: secretNote}},
	guard.MAASSnap:  {{paths: under(snapState, "secret"), mode: 0o600, groups: asSnap, read: guard.High, write: guard.High, note: secretNote}},
	guard.Metalward: {{paths: under(ourState, "shared-secret"), mode: 0o600, owners: asOurs, read: guard.High, write: guard.High}},
}

var certificateKeys = byProduct{
	guard.MAASDeb: {{paths: under(deb, "certificates/*.key", "http/certs/*-key.pem"), mode: 0o600, owners: asMAAS, read: guard.High, write: guard.High},
		{paths: under(deb, "certificates/*.pem", "certificates/*.crt", "http/certs/regiond-proxy.pem"), mode: 0o644, owners: asMAAS, write: guard.High}},
	guard.MAASSnap: {{paths: under(snapData, "certificates/*.key", "http/certs/*-key.pem"), mode: 0o600, owners: asSnap, read: guard.High, write: guard.High},
		{paths: under(snapData, "certificates/*.pem", "certificates/*.crt", "http/certs/regiond-proxy.pem"), mode: 0o644, owners: asSnap, write: guard.High}},
	guard.Metalward: {{paths: under(ourState, "rack-identity.json", "rack/rack-identity.json"), mode: 0o600, owners: asOurs, read: guard.High, write: guard.High},
		{paths: under(ourState, "ca.pem"), mode: 0o644, owners: asOurs, write: guard.High}},
}

var agentConfig = byProduct{
	guard.MAASDeb:  {{paths: under("/etc/maas/", "agent.yaml"), mode: 0o640, groups: asMAAS, read: guard.Low, write: guard.High}},
	guard.MAASSnap: {{paths: under("/var/snap/maas/common/etc/maas/", "agent.yaml"), mode: 0o640, groups: asSnap, read: guard.Low, write: guard.High}},
}

var identities = byProduct{
	guard.MAASDeb: {{paths: under(deb, "maas_id", "maas_uuid", "agent_uuid"), mode: 0o640, owners: asMAAS, groups: asMAAS, read: guard.Low, write: guard.Medium}},
	guard.MAASSnap: {{paths: under(snapState, "maas_id", "maas_uuid", "agent_uuid"), mode: 0o640, owners: asSnap, groups: asSnap, read: guard.Low,
		write: guard.Medium}},
	guard.Metalward: {{paths: under(ourState, "region-id", "trail.pub"), mode: 0o644, owners: asOurs, write: guard.Medium}},
}

const rewritten = "MAAS writes it anew when the configuration changes, and may choose the old mode again. Check it daily."

var dhcpKeys = byProduct{
	guard.MAASDeb: {{paths: under(deb, "dhcpd.conf", "dhcpd6.conf"), mode: 0o640, owners: asMAAS, groups: []string{"dhcpd", "maas"},
		read: guard.Medium, write: guard.High, note: rewritten}},
	guard.MAASSnap: {{paths: under(snapState, "dhcpd.conf", "dhcpd6.conf"), mode: 0o640, owners: asSnap, groups: asSnap,
		read: guard.Medium, write: guard.High, note: rewritten}},
}

var dnsKeys = byProduct{
	guard.MAASDeb: {{paths: under("/etc/bind/maas/", "rndc.conf.maas", "named.conf.rndc.maas", "keys.conf.maas"), mode: 0o640, owners: asMAAS,
		groups: []string{"bind", "maas"}, read: guard.Medium, write: guard.High, note: rewritten}},
	guard.MAASSnap: {{paths: under(snapData+"bind/", "rndc.conf.maas", "named.conf.rndc.maas", "keys.conf.maas"), mode: 0o640, owners: asSnap,
		groups: asSnap, read: guard.Medium, write: guard.High, note: rewritten}},
}

var workflowConfig = byProduct{
	guard.MAASDeb: {{paths: under(deb, "temporal/production.yaml"), mode: 0o600, owners: asMAAS, read: guard.Critical, write: guard.Critical}},
	guard.MAASSnap: {{paths: []string{snapState + "temporal/production.yaml", snapData + "temporal/production.yaml"}, mode: 0o600, owners: asSnap,
		read: guard.Critical, write: guard.Critical}},
}

var profiles = byProduct{
	guard.MAASDeb:   {{paths: []string{".maascli.db"}, mode: 0o600, read: guard.High, write: guard.High}},
	guard.MAASSnap:  {{paths: []string{".maascli.db"}, mode: 0o600, read: guard.High, write: guard.High}},
	guard.Metalward: {{paths: []string{".config/metalward/*.json"}, mode: 0o600, read: guard.High, write: guard.High}},
}

var rootKey = byProduct{
	guard.Metalward: {{paths: under(ourState, "root.key", "root.key.next"), mode: 0o600, owners: asOurs, read: guard.Critical, write: guard.Critical},
		{paths: under(ourState, "root.key.tpm", "root.key.vault"), mode: 0o600, owners: asOurs, read: guard.Low, write: guard.High}},
}

var vaultSettings = byProduct{
	guard.Metalward: {{paths: under(ourState, "vault.json"), mode: 0o600, owners: asOurs, read: guard.High, write: guard.High}},
}

var database = byProduct{
	guard.Metalward: {{paths: under(ourState, "database", "database.next"), mode: 0o640, owners: asOurs, groups: asOurs, read: guard.Critical, write: guard.Critical},
		{paths: under(ourState, "metalward.db", "metalward.db-wal", "metalward.db-shm", "metalward.db.moved"), mode: 0o600, owners: asOurs, read: guard.High, write: guard.Critical},
		{paths: under(ourState, "rack/snapshot.json"), mode: 0o600, owners: asOurs, read: guard.Medium, write: guard.High}},
}

// authorizer is the socket of OpenFGA, which decides what MAAS's users may do and asks nobody who connects who he is. It is made with
// what the umask leaves, which lets the owner alone connect unless somebody changed it.
var authorizer = byProduct{
	guard.MAASDeb:  {{paths: under(deb, "openfga-http.sock"), socket: true, mode: 0o775, owners: asMAAS, groups: asMAAS, write: guard.Critical}},
	guard.MAASSnap: {{paths: under(snapData, "openfga-http.sock"), socket: true, mode: 0o775, owners: asSnap, groups: asSnap, write: guard.Critical}},
}

// Backups are known by their names, in the folders where people keep them. Sources: for the snap's, snapd's Filename
// (overlord/snapshotstate/backend), which has the set, the snap, its version and revision; the others are custom.
var (
	backupFolders = []string{"/var/backups/", "/srv/backup/", "/srv/backups/", "/backup/", "/backups/", ""} // "" for homes
	backupEnds    = []string{".sql", ".sql.gz", ".dump", ".tar", ".tar.gz", ".tgz", ".zip"}
)

func backupsOf(name string, ends []string, p place) place {
	p.mode, p.copies = 0o640, true
	for _, dir := range backupFolders {
		for _, end := range ends {
			p.paths = append(p.paths, dir+"*"+name+"*"+end)
		}
	}
	return p
}

var backups = byProduct{
	guard.MAASDeb: {backupsOf("maas", backupEnds, place{owners: []string{"postgres"}, read: guard.Critical, write: guard.High})},
	guard.MAASSnap: {{paths: []string{"/var/lib/snapd/snapshots/[0-9]*_maas_*.zip"}, mode: 0o600, copies: true, read: guard.Critical, write: guard.Critical},
		backupsOf("maas", backupEnds, place{owners: []string{"postgres"}, read: guard.Critical, write: guard.High})},
	guard.Metalward: {backupsOf("metalward", []string{".age"}, place{owners: asOurs, read: guard.Low, write: guard.High})}, // encrypted
}

// secrets are all places above, by product.
var secrets = func() byProduct {
	all := byProduct{}
	for _, one := range []byProduct{regionConfig, rackConfig, sharedSecret, certificateKeys, agentConfig, identities, dhcpKeys, dnsKeys, workflowConfig, profiles, rootKey,
		vaultSettings, database, authorizer} {
		for product, list := range one {
			all[product] = append(all[product], list...)
		}
	}
	return all
}()

// copySuffixes are what copies of a file are called. Sources: emacs' "~", vim's ".swp" (swap-file), nano's ".save", dpkg(1)'s ".dpkg-old",
// ".dpkg-dist", ".dpkg-new" and ".dpkg-tmp"; ".bak", ".old" and ".orig" are custom.
var copySuffixes = []string{"~", ".bak", ".old", ".orig", ".save", ".swp", ".dpkg-old", ".dpkg-dist", ".dpkg-new", ".dpkg-tmp"}

// copies are the places of copies of what may be read by few.
func copies(places byProduct) byProduct {
	all := byProduct{}
	for product, list := range places {
		for _, p := range list {
			if p.read == 0 {
				continue
			}
			c := p
			c.copies, c.paths, c.note = true, nil, "Remove it if nobody needs it: a copy is forgotten when the original is changed."
			for _, at := range p.paths {
				dir, name := path.Split(at)
				for _, suffix := range copySuffixes {
					c.paths = append(c.paths, at+suffix)
				}
				c.paths = append(c.paths, dir+"."+name+".swp")
			}
			all[product] = append(all[product], c)
		}
	}
	for _, name := range []string{"regiond.conf", "rackd.conf", "certificates/*.key", "http/certs/*-key.pem", "bind/*.maas"} { // snapd keeps earlier revisions' data
		all[guard.MAASSnap] = append(all[guard.MAASSnap], place{paths: []string{"/var/snap/maas/[0-9]*/" + name}, besides: "/var/snap/maas/current", copies: true,
			mode: 0o640, owners: asSnap, groups: asSnap, read: guard.Critical, write: guard.Low, note: "It is of an earlier revision of the snap: snap remove maas --revision=NUMBER takes it away."})
	}
	return all
}

const (
	narrowed = "Give the file to its owner and group and take from its mode what is not theirs, as the commands of the finding do; take out of the group who does not run the controller."
	widened  = "The commands of the finding's undo put back owner, group, mode, access list and group membership as they were seen."
	needed   = "A program that read the file by the right taken away stops reading it: restart the controller afterwards and see that its services come up."
	closed   = "Whatever the mode, who has read it keeps what it said: change the secret if it was open for long."
)

// files is the group of checks of files: who may read and change what the products keep secret.
func files() []*guard.Check {
	list := []*guard.Check{
		{ID: "files-region-config", Role: guard.Region, Title: "Only root and MAAS read regiond.conf", Severity: guard.Critical,
			Why: "It holds the database's password and, with Vault, role and secret id in clear: who reads it has all that MAAS knows, " +
				"and who changes it chooses the database that MAAS believes. " + closed,
			Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27}, References: []guard.Reference{guideFiles, source},
			Judge: inPlaces(regionConfig), Samples: samples(regionConfig)},
		{ID: "files-rack-config", Role: guard.Rack, Title: "Only root changes rackd.conf", Severity: guard.High,
			Why:      "It says which region the rack obeys: who changes it has the rack, and with it power and boot of the machines behind it.",
			Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27}, References: []guard.Reference{guideFiles, source},
			Judge: inPlaces(rackConfig), Samples: samples(rackConfig)},
		{ID: "files-shared-secret", Title: "Nobody else reads the secret that racks join with", Severity: guard.High,
			Why:        "Who has it can join as a rack controller; a MAAS region hands the power parameters of BMCs to such a one. " + closed,
			Versions:   map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27, guard.Metalward: anyOurs},
			References: []guard.Reference{about, source, ours}, Judge: inPlaces(sharedSecret), Samples: samples(sharedSecret)},
		{ID: "files-certificate-keys", Title: "Nobody else reads keys of certificates", Severity: guard.High,
			Why: "MAAS has one key pair for all controllers, which opens the internal API and the workflow engine, and one for its pages; " +
				"Metalward's rack has a key of its own. Who reads one passes for a controller. " + closed,
			Versions:   map[guard.Product]string{guard.MAASDeb: "pages: 3.2 to 3.8; cluster: 3.5 to 3.8", guard.MAASSnap: "pages: 3.2 to 3.8; cluster: 3.5 to 3.8", guard.Metalward: anyOurs},
			References: []guard.Reference{source, ours}, Judge: inPlaces(certificateKeys), Samples: samples(certificateKeys)},
		{ID: "files-agent-config", Role: guard.Rack, Title: "Only root changes the agent's configuration", Severity: guard.High,
			Why:      "It says which controllers the rack's agent obeys.",
			Versions: map[guard.Product]string{guard.MAASDeb: unknown, guard.MAASSnap: unknown}, References: []guard.Reference{source},
			Judge: inPlaces(agentConfig), Samples: samples(agentConfig)},
		{ID: "files-identity", Title: "Nobody else changes who the controller is", Severity: guard.Medium,
			Why:      "A controller that takes another's id stands in its place; the key that an audit trail is verified with must not be exchanged.",
			Versions: map[guard.Product]string{guard.MAASDeb: unknown, guard.MAASSnap: unknown, guard.Metalward: anyOurs}, References: []guard.Reference{source, ours},
			Judge: inPlaces(identities), Samples: samples(identities)},
		{ID: "files-dhcp-key", Role: guard.Rack, Title: "Nobody else reads the key of the DHCP server's control port", Severity: guard.High,
			Why: "The configuration holds the OMAPI key: who has it can change leases and host entries of the running server, and so " +
				"answer a machine's boot. Who changes the file decides what every machine boots.",
			Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27}, References: []guard.Reference{source},
			Judge: inPlaces(dhcpKeys), Samples: samples(dhcpKeys)},
		{ID: "files-rndc-key", Title: "Nobody else reads the keys of the name server", Severity: guard.High,
			Why:      "The rndc key steers the name server and the update key changes its zones: who has one can send machines and people elsewhere.",
			Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27}, References: []guard.Reference{source},
			Judge: inPlaces(dnsKeys), Samples: samples(dnsKeys)},
		{ID: "files-workflow-config", Role: guard.Region, Title: "Nobody else reads the workflow engine's configuration", Severity: guard.Critical,
			Why:      "Temporal's production.yaml holds the database's password in clear, even where regiond.conf has it in Vault. " + closed,
			Versions: map[guard.Product]string{guard.MAASDeb: "3.5 to 3.8", guard.MAASSnap: "3.5 to 3.8"}, References: []guard.Reference{source},
			Judge: inPlaces(workflowConfig), Samples: samples(workflowConfig)},
		{ID: "files-cli-profiles", Title: "Nobody else reads the command line's profiles", Severity: guard.High,
			Why:      "A profile holds an API key, which does all that its user may do. " + closed,
			Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27, guard.Metalward: anyOurs}, References: []guard.Reference{source, ours},
			Judge: inPlaces(profiles), Samples: samples(profiles)},
		{ID: "files-root-key", Role: guard.Region, Title: "Nobody else reads the root key", Severity: guard.Critical,
			Why:      "It opens all that Metalward has sealed: power parameters, certificate keys, credentials. " + closed,
			Versions: map[guard.Product]string{guard.Metalward: anyOurs}, References: []guard.Reference{ours},
			Judge: inPlaces(rootKey), Samples: samples(rootKey)},
		{ID: "files-vault-settings", Role: guard.Region, Title: "Nobody else reads what Metalward logs in to Vault with", Severity: guard.High,
			Why:      "The secret id in vault.json reads the site's secrets at the Vault server. MAAS keeps its own in regiond.conf. " + closed,
			Versions: map[guard.Product]string{guard.Metalward: anyOurs}, References: []guard.Reference{ours},
			Judge: inPlaces(vaultSettings), Samples: samples(vaultSettings)},
		{ID: "files-database", Title: "Nobody else reads the database or its credentials", Severity: guard.Critical,
			Why:      "Past the program, the database has no rights: who writes to it is an administrator. Its secrets are sealed, its hashes of passwords can be guessed at. " + closed,
			Versions: map[guard.Product]string{guard.Metalward: anyOurs}, References: []guard.Reference{ours},
			Judge: inPlaces(database), Samples: samples(database)},
		{ID: "files-authorizer", Role: guard.Region, Title: "Nobody else connects to the authorization service", Severity: guard.Critical,
			Why:      "OpenFGA decides what MAAS's users may do, and its socket asks nobody for a password: who may connect gives himself every right.",
			Versions: map[guard.Product]string{guard.MAASDeb: unknown, guard.MAASSnap: unknown}, References: []guard.Reference{source},
			Judge: inPlaces(authorizer), Samples: samples(authorizer)},
		{ID: "files-backups", Role: guard.Region, Title: "Nobody else reads or changes backups", Severity: guard.Critical,
			Why: "A dump or an archive of MAAS holds what the database and regiond.conf hold; Metalward's are encrypted, but who exchanges one chooses what is restored. " +
				"What is looked at are files that are called so, in homes, below /var/backups and the like, and snapd's snapshots; a backup elsewhere is not seen. " + closed,
			Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27, guard.Metalward: anyOurs}, References: []guard.Reference{snapd, source, ours},
			Judge: inPlaces(backups), Samples: samples(backups)},
		{ID: "files-copies", Title: "Copies of secret files are as closed as the files", Severity: guard.Critical,
			Why:      "Editors, package managers and people leave copies beside a file, often with the mode that their umask gives: they say what the original says. " + closed,
			Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27, guard.Metalward: anyOurs}, References: []guard.Reference{guideFiles, inode},
			Judge: inPlaces(copies(secrets)), Samples: samples(copies(secrets))},
		{ID: "files-folders", Title: "Nobody else writes to the folders above", Severity: guard.Critical,
			Why:      "Who may write to a folder can put another file in the place of what is in it, whatever that file's own mode.",
			Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27, guard.Metalward: anyOurs}, References: []guard.Reference{inode, guideFiles},
			Judge: above(secrets), Samples: folderSamples},
	}
	for _, c := range list {
		c.Group, c.Fix, c.Risk, c.Undo = "files", narrowed, needed, widened
	}
	return list
}
