package catalog

import (
	"maps"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host/hosttest"
)

func worst(list []guard.Finding) guard.State {
	for _, state := range guard.States {
		if slices.ContainsFunc(list, func(f guard.Finding) bool { return f.State == state }) {
			return state
		}
	}
	return ""
}

func sampled(t *testing.T, tree []guard.Entry) guard.Host {
	t.Helper()
	return sampleHost(t, guard.Sample{Tree: tree})
}

func sampleHost(t *testing.T, s guard.Sample) guard.Host {
	t.Helper()
	h, err := hosttest.Of(s)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Each check is described, and says of its samples what they must end in.
func TestSamples(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		if err := c.Problem(); err != nil {
			t.Error(err)
		}
		if seen[c.ID] {
			t.Errorf("there are two checks %s", c.ID)
		}
		seen[c.ID] = true
		for _, s := range c.Samples {
			list := c.Run(sampleHost(t, s), s.Product)
			if got := worst(list); got != s.Want {
				t.Errorf("%s, %s, %s: got %q, want %q: %+v", c.ID, s.Product, s.Name, got, s.Want, list)
			}
			for _, f := range list {
				proper(t, f)
			}
		}
		for _, p := range guard.Products {
			if got := worst(c.Run(sampled(t, nil), p)); got == guard.Fail || got == guard.Unchecked {
				t.Errorf("%s on a host without any of its files: got %q", c.ID, got)
			}
		}
	}
}

// proper refuses a finding that leaves its reader without the value, the fix or the way back, or whose text a terminal would obey.
func proper(t *testing.T, f guard.Finding) {
	t.Helper()
	if len(f.Evidence) == 0 || f.State == guard.Fail && (len(f.Observation.Fix) == 0 || len(f.Observation.Fix) != len(f.Observation.Undo)) {
		t.Errorf("%s of %s: evidence, fix or undo is missing: %+v", f.ID, f.Subject, f.Observation)
	}
	if f.Worst() > f.Check.Severity {
		t.Errorf("%s of %s is %s, and the check says %s at most", f.ID, f.Subject, f.Worst(), f.Check.Severity)
	}
	for _, text := range slices.Concat(f.Evidence, f.Observation.Fix, f.Observation.Undo) {
		if guard.Show(text) != text || strings.TrimSpace(text) == "" {
			t.Errorf("%s of %s: %q cannot be printed", f.ID, f.Subject, text)
		}
	}
}

// What a plan's script is made of is what a shell can read: commands, or sentences behind "#".
func TestShellLines(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		for _, s := range c.Samples {
			for _, f := range c.Run(sampleHost(t, s), s.Product) {
				for _, line := range slices.Concat(f.Observation.Fix, f.Observation.Undo) {
					seen[line] = true
				}
			}
		}
	}
	script := exec.Command("bash", "-n")
	script.Stdin = strings.NewReader(strings.Join(slices.Sorted(maps.Keys(seen)), "\n"))
	if out, err := script.CombinedOutput(); err != nil || len(seen) < 100 {
		t.Errorf("%d lines: %v: %s", len(seen), err, out)
	}
	for line := range seen { // a sentence is a command that there is none of
		word, _, _ := strings.Cut(line, " ")
		if word != "#" && strings.ContainsAny(word[:1], "ABCDEFGHIJKLMNOPQRSTUVWXYZ") && !strings.Contains(word, "=") {
			t.Errorf("a shell takes %q for a command", line)
		}
	}
}

// The guide's own words, and what the product's documentation says, beside what the tables make of them.
func TestWords(t *testing.T) {
	group := func(line string) guard.Entry {
		return guard.Entry{Path: "/etc/group", Content: "root:x:0:\n" + line + "\nstaff:x:50:alice\n"}
	}
	for _, c := range []struct {
		name, id string
		product  guard.Product
		tree     []guard.Entry
		state    guard.State
		severity guard.Severity
		says     string
		fix      []string
	}{
		{"640 root:maas, as the guide shows", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "root:maas"}}, guard.Pass, 0, "Mode 0640", nil},
		{"readable by all", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o644, Owner: "root:maas"}}, guard.Fail, guard.Critical,
			"Everybody with an account on the host may read it.", []string{"chmod 0640 /etc/maas/regiond.conf"}},
		{"readable by all, and MAAS reads it so", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf"}}, guard.Fail, guard.Critical,
			"The service reads it as everybody does", []string{"chgrp maas /etc/maas/regiond.conf", "chmod 0640 /etc/maas/regiond.conf"}},
		{"the secret, root's and readable by all", "files-shared-secret", guard.MAASDeb, []guard.Entry{{Path: "/var/lib/maas/secret"}}, guard.Fail, guard.High,
			"The service reads it as everybody does", []string{"chown 115 /var/lib/maas/secret", "chmod 0600 /var/lib/maas/secret"}},
		{"a copy, which no service reads", "files-copies", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf.bak"}}, guard.Fail, guard.Critical,
			"Everybody", []string{"chmod 0640 /etc/maas/regiond.conf.bak"}},
		{"not MAAS's group", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "root:staff"}}, guard.Fail, guard.Critical,
			"The group staff (50) may read it; in it: alice.", []string{"chgrp maas /etc/maas/regiond.conf"}},
		{"somebody is in MAAS's group", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "root:maas"}, group("maas:x:121:bob")},
			guard.Fail, guard.Critical, "bob is in the group maas (121), and so may read it.", []string{"gpasswd -d bob maas"}},
		{"somebody of a directory is in the group", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "root:maas"},
			group("maas:x:121:ldap-carol")}, guard.Fail, guard.Critical, "ldap-carol is in the group", []string{"gpasswd -d ldap-carol maas"}},
		{"who is in the group is not known", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "root:maas"},
			{Path: "/etc/group", Hidden: true}}, guard.Unchecked, 0, "Who is in the group 121 (which the host has no name for) could not be found out", nil},
		{"a copy without accounts", "files-shared-secret", guard.MAASDeb, []guard.Entry{{Path: "/var/lib/maas/secret", Mode: 0o600, Owner: "maas:maas"}, {Path: "/etc/passwd"}}, guard.Unchecked, 0,
			"Who its owner 115 (which the host has no name for) is could not be found out", nil},
		{"a copy without accounts, open to all", "files-shared-secret", guard.MAASDeb, []guard.Entry{{Path: "/var/lib/maas/secret", Mode: 0o604, Owner: "maas:maas"}, {Path: "/etc/passwd"}}, guard.Fail,
			guard.High, "Everybody", nil},
		{"nobody's number", "files-shared-secret", guard.MAASDeb, []guard.Entry{{Path: "/var/lib/maas/secret", Mode: 0o600, Owner: "4711:maas"}}, guard.Fail, guard.High,
			"Its owner is 4711 (which the host has no name for)", nil},
		{"MAAS itself owns it", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "maas:maas"}}, guard.Fail, guard.Low,
			"Its owner is maas (115)", []string{"chown root /etc/maas/regiond.conf"}},
		{"a folder keeps others out", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas", Folder: true, Mode: 0o750}, {Path: "/etc/maas/regiond.conf", Mode: 0o644, Owner: "root:maas"}},
			guard.Fail, guard.Low, "did the folder /etc/maas (mode 0750) not keep others out", nil},
		{"the folder that keeps others out has a group", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas", Folder: true, Mode: 0o750, Owner: "root:staff"},
			{Path: "/etc/maas/regiond.conf", Mode: 0o644, Owner: "root:maas"}}, guard.Fail, guard.Critical, "Whom the folder /etc/maas (mode 0750) lets through may read it: alice.", nil},
		{"and an access list", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas", Folder: true, Mode: 0o710, ACL: "user:bob:--x group::---"},
			{Path: "/etc/maas/regiond.conf", Mode: 0o644, Owner: "root:maas"}}, guard.Fail, guard.Critical, "lets through may read it: bob.", nil},
		{"a folder within a narrower one", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas", Folder: true, Mode: 0o750, Owner: "root:staff"}, {Path: "/etc", Folder: true, Mode: 0o700},
			{Path: "/etc/maas/regiond.conf", Mode: 0o644, Owner: "root:maas"}}, guard.Fail, guard.Low, "did the folder /etc (mode 0700) not keep others out", nil},
		{"the access list lets bob read", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "root:maas", ACL: "user:bob:r--"}}, guard.Fail, guard.Critical,
			"The user bob (1000) may read it by the access list.", []string{"setfacl -n -x u:1000 /etc/maas/regiond.conf"}},
		{"the access list gives bob nothing", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "root:maas", ACL: "user:bob:---"}}, guard.Pass, 0, "", nil},
		{"the access list keeps a group out that the mode seems to let in", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640,
			Owner: "root:staff", ACL: "user:maas:r-- group::---"}}, guard.Pass, 0, "", nil},
		{"a set-user-ID bit", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o4640, Owner: "root:maas"}}, guard.Fail, guard.Medium,
			"set-user-ID", []string{"chmod 0640 /etc/maas/regiond.conf"}},
		{"the snap has no group maas", "files-region-config", guard.MAASSnap, []guard.Entry{{Path: "/var/snap/maas/current/regiond.conf", Mode: 0o640}}, guard.Pass, 0, "owner root (0)", nil},
		{"the secret as MAAS writes it", "files-shared-secret", guard.MAASDeb, []guard.Entry{{Path: "/var/lib/maas/secret", Mode: 0o640, Owner: "maas:maas"}}, guard.Fail, guard.Low,
			"MAAS itself may write it wider again", []string{"chmod 0600 /var/lib/maas/secret"}},
		{"the secret as maas init leaves it", "files-shared-secret", guard.MAASSnap, []guard.Entry{{Path: "/var/snap/maas/common/maas/secret"}}, guard.Fail, guard.High,
			"Everybody", []string{"chmod 0600 /var/snap/maas/common/maas/secret"}},
		{"the secret is a named folder", "files-shared-secret", guard.MAASSnap, []guard.Entry{{Path: "/var/snap/maas/common/maas/secret", Folder: true}}, guard.Unchecked, 0, "It is a folder, and was to be a regular file", nil},
		{"a copy by an editor", "files-copies", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf~", Owner: "root:maas"}}, guard.Fail, guard.Critical, "Everybody",
			[]string{"chmod 0640 '/etc/maas/regiond.conf~'"}},
		{"bob's own profile", "files-cli-profiles", guard.MAASDeb, []guard.Entry{{Path: "/home/bob/.maascli.db", Mode: 0o600, Owner: "bob:bob"}}, guard.Pass, 0, "", nil},
		{"alice owns bob's profile", "files-cli-profiles", guard.MAASDeb, []guard.Entry{{Path: "/home/bob/.maascli.db", Mode: 0o600, Owner: "alice:bob"}}, guard.Fail, guard.High,
			"Its owner is alice (1001)", []string{"chown bob /home/bob/.maascli.db"}},
		{"the secret, root's, that MAAS reads by its group", "files-shared-secret", guard.MAASDeb, []guard.Entry{{Path: "/var/lib/maas/secret", Mode: 0o640, Owner: "root:maas"}}, guard.Fail, guard.Low,
			"The service reads it by its group; its owner is to be maas.", []string{"chown 115 /var/lib/maas/secret", "chmod 0600 /var/lib/maas/secret"}},
		{"bob owns MAAS's secret", "files-shared-secret", guard.MAASDeb, []guard.Entry{{Path: "/var/lib/maas/secret", Mode: 0o600, Owner: "bob:maas"}}, guard.Fail, guard.High,
			"Its owner is bob (1000)", []string{"chown maas /var/lib/maas/secret"}},
		{"bob owns regiond.conf, which is root's", "files-region-config", guard.MAASDeb, []guard.Entry{{Path: "/etc/maas/regiond.conf", Mode: 0o640, Owner: "bob:maas"}}, guard.Fail, guard.Critical,
			"Its owner is bob (1000)", []string{"chown root /etc/maas/regiond.conf"}},

		{"the database's URL, shared with metalward's group", "files-database", guard.Metalward, []guard.Entry{{Path: "/var/lib/metalward/database", Mode: 0o640, Owner: "root:metalward"}},
			guard.Pass, 0, "", nil},
		{"MAAS's socket as the umask leaves it", "files-authorizer", guard.MAASDeb, []guard.Entry{{Path: "/var/lib/maas/openfga-http.sock", Socket: true, Mode: 0o755, Owner: "maas:maas"}}, guard.Pass, 0, "", nil},
		{"MAAS's socket for all", "files-authorizer", guard.MAASDeb, []guard.Entry{{Path: "/var/lib/maas/openfga-http.sock", Socket: true, Mode: 0o777, Owner: "maas:maas"}}, guard.Fail, guard.Critical,
			"Everybody with an account on the host may connect to it", []string{"chmod 0775 /var/lib/maas/openfga-http.sock"}},
		{"a file in the socket's place", "files-authorizer", guard.MAASDeb, []guard.Entry{{Path: "/var/lib/maas/openfga-http.sock"}}, guard.Unchecked, 0, "It is a regular file, and was to be a socket", nil},
		{"a dump by postgres", "files-backups", guard.MAASDeb, []guard.Entry{{Path: "/var/backups/dump-maasdb-2026.sql.gz", Mode: 0o600, Owner: "postgres:postgres"}}, guard.Pass, 0, "", nil},
		{"a dump in a home", "files-backups", guard.MAASDeb, []guard.Entry{{Path: "/home/bob/maas.dump", Owner: "bob:bob"}}, guard.Fail, guard.Critical, "Everybody", []string{"chmod 0640 /home/bob/maas.dump"}},
		{"a snapshot of snapd", "files-backups", guard.MAASSnap, []guard.Entry{{Path: "/var/lib/snapd/snapshots/3_maas_3.5.2_41649.zip", Mode: 0o644}}, guard.Fail, guard.Critical, "Everybody", nil},
		{"the revision before", "files-copies", guard.MAASSnap, []guard.Entry{{Path: "/var/snap/maas/current", Link: "2"}, {Path: "/var/snap/maas/1/regiond.conf"}, {Path: "/var/snap/maas/2/regiond.conf"}},
			guard.Fail, guard.Critical, "an earlier revision", []string{"chmod 0640 /var/snap/maas/1/regiond.conf"}},
		{"the root key for a group", "files-root-key", guard.Metalward, []guard.Entry{{Path: "/var/lib/metalward/root.key", Mode: 0o640, Owner: "root:staff"}}, guard.Fail, guard.Critical,
			"The group staff", nil},
	} {
		i := slices.IndexFunc(Checks(), func(k *guard.Check) bool { return k.ID == c.id })
		list := Checks()[i].Run(sampled(t, c.tree), c.product)
		if len(list) != 1 {
			t.Fatalf("%s: got %d findings, want 1: %+v", c.name, len(list), list)
		}
		f := list[0]
		proper(t, f)
		if f.State != c.state || c.state == guard.Fail && f.Worst() != c.severity {
			t.Errorf("%s: got %s %s, want %s %s: %q", c.name, f.State, f.Worst(), c.state, c.severity, f.Evidence)
		}
		if !strings.Contains(strings.Join(f.Evidence, "\n"), c.says) {
			t.Errorf("%s: got %q, want %q in it", c.name, f.Evidence, c.says)
		}
		if c.fix != nil && !slices.Equal(f.Observation.Fix, c.fix) {
			t.Errorf("%s: got the fix %q, want %q", c.name, f.Observation.Fix, c.fix)
		}
	}
}

// A name that a terminal or a shell would obey is neither printed nor run.
func TestHostileNames(t *testing.T) {
	const name = "/var/lib/maas/certificates/\x1b]0;x\a$(id)'\xff\u202e.key"
	list := inPlaces(certificateKeys)(sampled(t, []guard.Entry{{Path: name, Mode: 0o666}}), guard.MAASDeb)
	if len(list) != 1 || list[0].State != guard.Fail || list[0].Subject != name {
		t.Fatalf("got %+v, want one failure of the file", list)
	}
	want := `chmod 0600 $'/var/lib/maas/certificates/\033]0;x\007$(id)\'\377\342\200\256.key'`
	if !slices.Contains(list[0].Fix, want) {
		t.Errorf("got the fix %q, want %s in it", list[0].Fix, want)
	}
	proper(t, guard.Finding{Check: &guard.Check{Severity: guard.Critical}, Observation: list[0]})
}

// Problem refuses what is not whole.
func TestIncomplete(t *testing.T) {
	for name, spoil := range map[string]func(*guard.Check){
		"no title":           func(c *guard.Check) { c.Title = "" },
		"no why":             func(c *guard.Check) { c.Why = "" },
		"no fix":             func(c *guard.Check) { c.Fix = "" },
		"no risk":            func(c *guard.Check) { c.Risk = "" },
		"no undo":            func(c *guard.Check) { c.Undo = "" },
		"no reference":       func(c *guard.Check) { c.References = nil },
		"no product":         func(c *guard.Check) { c.Versions = nil },
		"no severity":        func(c *guard.Check) { c.Severity = 0 },
		"no judge":           func(c *guard.Check) { c.Judge = nil },
		"another group's id": func(c *guard.Check) { c.ID = "ports-x" },
		"no failing sample of the snap": func(c *guard.Check) {
			c.Samples = slices.DeleteFunc(slices.Clone(c.Samples), func(s guard.Sample) bool { return s.Product == guard.MAASSnap && s.Want == guard.Fail })
		},
		"no passing sample of the packages": func(c *guard.Check) {
			c.Samples = slices.DeleteFunc(slices.Clone(c.Samples), func(s guard.Sample) bool { return s.Product == guard.MAASDeb && s.Want == guard.Pass })
		},
	} {
		c := *Checks()[0]
		if err := c.Problem(); err != nil {
			t.Fatal(err)
		}
		if spoil(&c); c.Problem() == nil {
			t.Errorf("%s: got no problem, want one", name)
		}
	}
}
