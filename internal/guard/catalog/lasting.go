package catalog

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/guard"
)

var (
	backupGuide = guard.Reference{Title: "MAAS documentation, How to back up MAAS", URL: "https://canonical.com/maas/docs/how-to-back-up-maas"}
	haGuide     = guard.Reference{Title: "MAAS documentation, How to enable high availability", URL: "https://maas.io/docs/how-to-enable-high-availability"}
	dhcpdManual = guard.Reference{Title: "dhcpd.conf(5), DHCP failover", URL: "https://kb.isc.org/docs/isc-dhcp-44-manual-pages-dhcpdconf"}
	dhcpSource  = guard.Reference{Title: "MAAS, source code: the template of dhcpd.conf", URL: "https://github.com/canonical/maas/blob/master/src/provisioningserver/templates/dhcp/dhcpd.conf.template"}
	pgStandby   = guard.Reference{Title: "PostgreSQL documentation, Log-Shipping Standby Servers", URL: "https://www.postgresql.org/docs/current/warm-standby.html"}
)

// tooOld is how old the newest backup may be: a week's and a day's delay. Chosen.
const tooOld = 8 * 24 * time.Hour

// backedUp judges the newest backup in the places where people keep them. A host without the database has none to make.
func backedUp(h guard.Host, p guard.Product) []guard.Observation {
	ours := map[guard.Product]string{guard.Metalward: ourState + "root.key"}[p]
	if ours == "" {
		ours = regiond[p]
	}
	if _, err := h.File(ours); err != nil {
		return beside(ours, err)
	}
	var newest, empty guard.File
	var list []guard.Observation
	for _, place := range backups[p] {
		found, blind := place.at(h)
		list = append(list, blind...)
		for _, l := range found {
			f, err := h.File(l.path)
			if err != nil {
				list = append(list, guard.Blind(l.path, err))
				continue
			}
			latest := &newest
			if f.Size == 0 { // what a command leaves that could not write any
				latest = &empty
			}
			if f.Kind == 0 && f.Changed.After(latest.Changed) {
				*latest = f
			}
		}
	}
	fix := "# Write one now, and see to it that one is written each day: pg_dump of MAAS's database and copies of its configuration, to another host."
	if p == guard.Metalward {
		fix = "# Write one now, and see to it that one is written each day: metalward backup, to another host."
	}
	const undo = "# Nothing is to be taken back of a backup."
	switch age := h.Now().Sub(newest.Changed); {
	case age < -24*time.Hour: // more than clocks and zones of time differ by
		return []guard.Observation{guard.Blind(newest.Path, errors.New("by the time of its last change it is of a day to come, so that nothing tells how old the backups are"))}
	case newest.Path != "" && age <= tooOld:
		return []guard.Observation{passed(newest.Path, "The newest backup is of %s.", newest.Changed.Format(time.DateOnly))}
	case len(list) > 0:
		return list // a newer one may be where one may not look
	case empty.Changed.After(newest.Changed):
		return []guard.Observation{failed(guard.Medium, empty.Path, fix, undo, "The newest backup, of %s, is empty.", empty.Changed.Format(time.DateOnly))}
	case newest.Path != "":
		return []guard.Observation{failed(guard.Medium, newest.Path, fix, undo, "The newest backup is of %s, %d days ago.", newest.Changed.Format(time.DateOnly), int(age/(24*time.Hour)))}
	}
	return []guard.Observation{failed(guard.Low, ours, fix, undo, "No backup is in the places where this program looks. If they are made elsewhere, on another host above all, waive this.")}
}

var (
	dhcpComment  = regexp.MustCompile(`#[^\n]*`)
	dhcpFailover = regexp.MustCompile(`^failover\s+peer\s+"([^"]*)"$`)
)

// dhcpPair judges whether each pool of MAAS's DHCP server has a second server. Source: MAAS's template of dhcpd.conf; dhcpd.conf(5).
func dhcpPair(h guard.Host, p guard.Product) []guard.Observation {
	at := map[guard.Product]string{guard.MAASDeb: deb, guard.MAASSnap: snapState}[p] + "dhcpd.conf"
	raw, err := h.Read(at)
	if err != nil {
		return beside(at, err)
	}
	text := dhcpComment.ReplaceAllString(string(raw), "")
	var inside []string // the blocks that one is in
	peers, alone, pools := map[string]bool{}, []string{}, 0
	peer, ranges := "", []string(nil) // of the pool
	for text != "" {
		i := strings.IndexAny(text, ";{}")
		if i < 0 {
			break
		}
		words, mark := strings.Join(strings.Fields(text[:i]), " "), text[i]
		text = text[i+1:]
		switch {
		case mark == '{':
			if m := dhcpFailover.FindStringSubmatch(words); m != nil {
				peers[m[1]] = true
			}
			if inside = append(inside, words); words == "pool" {
				peer, ranges = "", nil
			}
		case mark == '}' && len(inside) == 0:
			return []guard.Observation{guard.Blind(at, fmt.Errorf("a brace is closed that was not opened"))}
		case mark == '}':
			if inside[len(inside)-1] == "pool" && len(ranges) > 0 {
				if pools++; peer == "" || !peers[peer] {
					alone = append(alone, ranges...)
				}
			}
			inside = inside[:len(inside)-1]
		case strings.HasPrefix(words, "range ") && slices.Contains(inside, "pool"):
			ranges = append(ranges, strings.TrimPrefix(words, "range "))
		case strings.HasPrefix(words, "range "):
			pools, alone = pools+1, append(alone, strings.TrimPrefix(words, "range "))
		default:
			if m := dhcpFailover.FindStringSubmatch(words); m != nil && slices.Contains(inside, "pool") {
				peer = m[1]
			}
		}
	}
	switch {
	case len(inside) > 0:
		return []guard.Observation{guard.Blind(at, fmt.Errorf("a block is not closed"))}
	case pools == 0:
		return nil
	case len(alone) == 0:
		return []guard.Observation{passed(at, "Each of %d pools has a second server.", pools)}
	}
	return []guard.Observation{failed(0, at, "# In MAAS, name a second rack for the VLAN: maas PROFILE vlan update FABRIC VID secondary_rack=SYSTEM_ID.", "# In MAAS, take the second rack of the VLAN out again.",
		"This rack alone gives addresses from: %s. While it is away no machine there starts by the network.", few(alone))}
}

// replicated judges whether the database is on another host, too, as far as files show. What is usual is that of PostgreSQL 10 and later.
// Source: PostgreSQL's documentation, "Replication", and the notes of release 10; its postgresql.conf.sample.
func replicated(h guard.Host, p guard.Postgres) []guard.Observation {
	if p.Data == "" {
		return []guard.Observation{guard.Blind(p.Config, fmt.Errorf("where its data is is not said"))}
	}
	if _, err := h.File(path.Join(p.Data, "standby.signal")); err == nil {
		return []guard.Observation{passed(p.Config, "It is itself a copy of another server, which %s names.", path.Join(p.Data, "standby.signal"))}
	}
	slots, err := h.Glob(path.Join(literal(p.Data), "pg_replslot", "*"))
	if len(slots) > 0 {
		return []guard.Observation{guard.Blind(p.Config, fmt.Errorf("a copy has a place of its own, %s; whether it still follows is not in files: look at pg_stat_replication", few(slots)))}
	}
	var rules []string
	for _, r := range p.Rules {
		if r.Reach() >= guard.ByNetwork && r.Method != "reject" && slices.ContainsFunc(r.Databases, func(n guard.HBAName) bool { return n.Name == "replication" && !n.Quoted }) {
			rules = append(rules, ruleAt(r))
		}
	}
	level, senders := p.Setting("wal_level", "replica"), p.Setting("max_wal_senders", "10")
	why := ""
	switch {
	case p.Version > 0 && p.Version < 10 && (p.Settings["wal_level"].Value == "" || p.Settings["max_wal_senders"].Value == ""):
		return []guard.Observation{guard.Blind(p.Config, fmt.Errorf("what PostgreSQL %d does where wal_level and max_wal_senders are not set is not known here", p.Version))}
	case level == "minimal":
		why = "wal_level is minimal, with which no copy can follow"
	case senders == "0":
		why = "max_wal_senders is 0, so no copy can follow"
	case len(rules) == 0 && p.Err != nil:
		return nil // one may be in what was not read, and that is said
	case len(rules) == 0:
		why = "no rule of pg_hba.conf lets another host follow it"
	case err != nil:
		return []guard.Observation{guard.Blind(path.Join(p.Data, "pg_replslot"), err)}
	default:
		return []guard.Observation{guard.Blind(p.Config, fmt.Errorf("another host may follow it, by %s; whether one does is not in files", strings.Join(rules, ", ")))}
	}
	return []guard.Observation{failed(0, p.Config, "# Set a second server up as a standby with pg_basebackup, and give it a rule hostssl replication in pg_hba.conf.",
		"# Stop the standby, take the rule out again, and drop its slot.", "The database is on this host alone: %s. When its disk breaks, what was since the last backup is gone.", why)}
}

// lasting are the checks of what remains when a host is lost.
func lasting() []*guard.Check {
	none := guard.Sample{Name: "nothing of the kind", Want: guard.NotApplicable}
	maas := map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27}
	backup := func(name string, want guard.State, days int, change func(*guard.Entry)) (list []guard.Sample) {
		for product, at := range map[guard.Product][2]string{guard.MAASDeb: {regiond[guard.MAASDeb], "/var/backups/maas.sql.gz"}, guard.MAASSnap: {regiond[guard.MAASSnap], "/srv/backups/x-maas.dump"}, guard.Metalward: {ourState + "root.key", "/srv/backup/metalward-1.age"}} {
			s := guard.Sample{Name: name, Product: product, Want: want, Tree: []guard.Entry{{Path: at[0], Mode: 0o600}}}
			if e := (guard.Entry{Path: at[1], Days: days, Mode: 0o600, Content: "a backup"}); change != nil {
				change(&e)
				s.Tree = append(s.Tree, e)
			}
			list = append(list, s)
		}
		return list
	}
	as := func(*guard.Entry) {}
	dhcp := func(name string, want guard.State, text string) []guard.Sample {
		return []guard.Sample{{Name: name, Product: guard.MAASDeb, Want: want, Tree: []guard.Entry{{Path: deb + "dhcpd.conf", Content: text}}}, {Name: name, Product: guard.MAASSnap, Want: want, Tree: []guard.Entry{{Path: snapState + "dhcpd.conf", Content: text}}}}
	}
	const peer = "failover peer \"a\" {\n primary;\n address 10.0.0.1;\n peer address 10.0.0.2;\n mclt 3600;\n split 255;\n}\n"
	pool := func(words string) string {
		return "shared-network x {\n subnet 10.0.0.0 netmask 255.255.255.0 {\n pool {\n " + words + "\n range 10.0.0.100 10.0.0.200;\n }\n }\n}\n"
	}
	const pg = "/var/lib/postgresql/15/main/"
	follows := someHBA + "hostssl replication copy 10.0.0.3/32 scram-sha-256\n"
	list := []*guard.Check{
		{ID: "availability-backups", Title: "There is a backup, and it is new", Severity: guard.Medium, Versions: everyProduct(), Role: guard.Region,
			Why: "Without one a broken disk takes all that is known of the machines, their BMCs' passwords included.",
			Fix: "Write backups each day, to another host, and read one back from time to time.", Risk: "A backup has all secrets in it: keep it as closed as the database.", Undo: "Nothing is to be taken back of a backup.",
			References: []guard.Reference{backupGuide, ours}, Judge: backedUp,
			Samples: slices.Concat(onEach(none), backup("of yesterday", guard.Pass, 1, as), backup("of last month", guard.Fail, 30, as), backup("none", guard.Fail, 0, nil), backup("an empty one of yesterday", guard.Fail, 1, func(e *guard.Entry) { e.Content = "" }), backup("of next month", guard.Unchecked, -30, as), backup("in a folder that may not be looked at", guard.Unchecked, 1, func(e *guard.Entry) {
				*e = guard.Entry{Path: path.Dir(e.Path), Folder: true, Mode: 0o700, Hidden: true}
			}))},
		{ID: "availability-dhcp", Title: "A second rack gives addresses, too", Severity: guard.Low, Versions: maas, Role: guard.Rack,
			Why: "While the one rack is away no machine of the network starts by it, and none gets an address.",
			Fix: "Give the VLAN a second rack.", Risk: "Both racks have to reach each other at the ports of failover.", Undo: "Take the second rack of the VLAN out again.",
			References: []guard.Reference{haGuide, dhcpSource, dhcpdManual}, Judge: dhcpPair,
			Samples: slices.Concat(ofMAAS(none), dhcp("with a second", guard.Pass, peer+pool(`failover peer "a";`)), dhcp("alone", guard.Fail, pool("")), dhcp("a peer that there is not", guard.Fail, pool(`failover peer "a";`)), dhcp("a comment", guard.Fail, peer+pool(`# failover peer "a";`)),
				dhcp("no pool", guard.Fail, "subnet 10.0.0.0 netmask 255.255.255.0 { range 10.0.0.1 10.0.0.9; }"), dhcp("no network", guard.NotApplicable, "option arch code 93 = unsigned integer 16;"), dhcp("half a file", guard.Unchecked, "subnet 10.0.0.0 netmask 255.255.255.0 {"))},
		{ID: "availability-replica", Title: "The database is on another host, too", Severity: guard.Low, Versions: everyProduct(), Role: guard.Region,
			Why: "A backup is of yesterday; a standby has what was a second ago, and takes over when the host is lost.",
			Fix: "Set a standby up.", Risk: "A slot that its standby has left keeps the log until the disk is full: drop it, or set max_slot_wal_keep_size.", Undo: "Stop the standby, take its rule out again, and drop its slot.",
			References: []guard.Reference{pgStandby, haGuide}, Judge: servers(replicated),
			Samples: onEach(none, pgHost("alone", guard.Fail, "", someHBA), pgHost("a rule", guard.Unchecked, "", follows), pgHost("a rule, and a level too low", guard.Fail, "wal_level = minimal\n", follows), pgHost("no senders", guard.Fail, "max_wal_senders = 0\n", follows),
				pgHost("a slot", guard.Unchecked, "", someHBA, guard.Entry{Path: pg + "pg_replslot/copy/state", Owner: "postgres:postgres"}), pgHost("a standby", guard.Pass, "", someHBA, guard.Entry{Path: pg + "standby.signal", Owner: "postgres:postgres"}),
				pgHost("a user of the name", guard.Fail, "", someHBA+"hostssl \"replication\" copy 10.0.0.3/32 scram-sha-256\n"), half("rules that may not be read", "/etc/postgresql/15/main/pg_hba.conf"))},
	}
	for _, c := range list {
		c.Group = "availability"
	}
	return list
}

// ofMAAS are samples of MAAS's products.
func ofMAAS(list ...guard.Sample) []guard.Sample {
	return slices.DeleteFunc(onEach(list...), func(s guard.Sample) bool { return s.Product == guard.Metalward })
}
