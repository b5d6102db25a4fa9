package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

var (
	maasLogs    = guard.Reference{Title: "MAAS documentation, How to use logging", URL: "https://canonical.com/maas/docs/how-to-use-logging"}
	journaldMan = guard.Reference{Title: "journald.conf(5)", URL: "https://www.freedesktop.org/software/systemd/man/latest/journald.conf.html"}
	rotateMan   = guard.Reference{Title: "logrotate(8)", URL: "https://man7.org/linux/man-pages/man8/logrotate.8.html"}
	rsyslogMan  = guard.Reference{Title: "rsyslog documentation, Actions: remote machine", URL: "https://www.rsyslog.com/doc/configuration/actions.html"}
	uploadMan   = guard.Reference{Title: "systemd-journal-upload(8)", URL: "https://www.freedesktop.org/software/systemd/man/latest/systemd-journal-upload.service.html"}
)

// kinds of logs that the guide names, and where they are. Source: the guide; rsyslog's and the web servers' packages of Debian.
var logPlaces = []struct {
	kind  string
	paths []string
}{
	{"firewall", []string{"/var/log/ufw.log", "/var/log/kern.log", "/var/log/firewalld"}},
	{"web server", []string{"/var/log/nginx/*.log", "/var/log/apache2/*.log", "/var/log/haproxy.log", deb + "http/*.log", "/var/snap/maas/common/log/http/*.log", "/var/log/maas/http/*.log"}},
	{"MAAS", []string{"/var/log/maas/*.log", "/var/snap/maas/common/log/*.log"}},
	{"system", []string{"/var/log/auth.log", "/var/log/syslog"}},
}

// journal tells whether the journal outlives a start. Source: journald.conf(5): "auto" keeps it where the folder is.
func journal(h guard.Host) (kept bool, why string, err error) {
	storage, from := "auto", "by default"
	files, err := h.Glob("/etc/systemd/journald.conf.d/*.conf")
	if err != nil {
		return false, "", err
	}
	for _, file := range append([]string{"/etc/systemd/journald.conf"}, files...) {
		text, err := h.Read(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, "", err
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), "Storage="); ok {
				storage, from = strings.ToLower(strings.TrimSpace(value)), "by "+file
			}
		}
	}
	f, err := h.File("/var/log/journal")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, "", err
	}
	folder := err == nil && f.Kind.IsDir()
	why = fmt.Sprintf("Storage=%s %s, and /var/log/journal is %s", storage, from, map[bool]string{true: "there", false: "not there"}[folder])
	return storage == "persistent" || storage == "auto" && folder, why, nil
}

// logsKept judges whether each kind of log that the guide has its readers look at is kept somewhere.
func logsKept(h guard.Host, p guard.Product) (list []guard.Observation) {
	if _, err := h.File("/var/log"); err != nil {
		return beside("/var/log", err)
	}
	kept, why, err := journal(h)
	if err != nil {
		return []guard.Observation{guard.Blind("/etc/systemd/journald.conf", err)}
	}
	for _, place := range logPlaces {
		if place.kind == "MAAS" && p == guard.Metalward {
			continue // it logs to the journal
		}
		var found []string
		var bad error
		for _, pattern := range place.paths {
			more, err := h.Glob(pattern)
			found = append(found, more...)
			if bad == nil {
				bad = err
			}
		}
		switch {
		case len(found) > 0:
			list = append(list, passed(place.kind, "In %s.", strings.Join(found[:min(3, len(found))], ", ")))
		case kept:
			list = append(list, passed(place.kind, "In the journal, which is kept: %s.", why))
		case bad != nil:
			list = append(list, guard.Blind(place.kind, bad))
		default:
			list = append(list, failed(guard.Medium, place.kind, "mkdir -p /etc/systemd/journald.conf.d && printf '[Journal]\\nStorage=persistent\\n' > /etc/systemd/journald.conf.d/metalward.conf && systemctl restart systemd-journald",
				"rm /etc/systemd/journald.conf.d/metalward.conf && systemctl restart systemd-journald",
				"What the %s logs is in none of the usual files, and the journal is gone with the next start: %s.", place.kind, why))
		}
	}
	return list
}

// logFiles are the files of logs that not everybody is to read: who has read them knows addresses, names and failed passwords.
var logFiles = byProduct{
	guard.MAASDeb:   {{paths: []string{"/var/log/maas/*.log"}, mode: 0o640, owners: []string{"maas", "syslog"}, groups: []string{"adm", "maas", "syslog"}, read: guard.Low, write: guard.Medium}},
	guard.MAASSnap:  {{paths: []string{"/var/snap/maas/common/log/*.log"}, mode: 0o640, owners: asSnap, groups: append([]string{"adm"}, asSnap...), read: guard.Low, write: guard.Medium}},
	guard.Metalward: {},
}

// systemLogs are every host's.
var systemLogs = place{paths: []string{"/var/log/auth.log", "/var/log/syslog", "/var/log/kern.log", "/var/log/ufw.log", "/var/log/haproxy.log", "/var/log/nginx/*.log", "/var/log/apache2/*.log"}, mode: 0o640,
	owners: []string{"syslog", "www-data", "nginx"}, groups: []string{"adm", "syslog", "www-data"}, read: guard.Low, write: guard.Medium}

// rotated judges whether what grows is rotated, and kept for long enough to look back.
func rotated(h guard.Host, p guard.Product) (list []guard.Observation) {
	const least = 14 // days; chosen: an attack is seldom noticed on the day
	rules, err := h.Rotations()
	if err != nil {
		list = append(list, guard.Blind("/etc/logrotate.d", err))
	}
	for _, place := range append(slices.Clone(logFiles[p]), systemLogs) {
		for _, pattern := range place.paths {
			found, bad := h.Glob(pattern)
			if bad != nil {
				list = append(list, guard.Blind(pattern, bad))
			}
			for _, file := range found {
				i := slices.IndexFunc(rules, func(r guard.Rotation) bool {
					return slices.ContainsFunc(r.Patterns, func(pattern string) bool { ok, err := path.Match(pattern, file); return err == nil && ok })
				})
				switch {
				case i < 0 && err != nil: // the rule may be in what was not read
				case i < 0:
					name := "/etc/logrotate.d/metalward-" + strings.ReplaceAll(strings.Trim(file, "/"), "/", "-")
					list = append(list, failed(guard.Low, file, "printf '%s {\\n\\tweekly\\n\\trotate 8\\n\\tcompress\\n\\tmissingok\\n\\tcopytruncate\\n}\\n' "+guard.Quote(file)+" > "+guard.Quote(name), "rm "+guard.Quote(name),
						"No rule of logrotate is for it: it grows until the disk is full."))
				case rules[i].Days > 0 && rules[i].Days < least:
					r := rules[i]
					list = append(list, failed(guard.Low, file, fmt.Sprintf("# In %s, line %d: rotate it such that %d days are kept, as with weekly and rotate 8.", guard.Show(r.File), r.Line, least), fmt.Sprintf("# In %s, put back what line %d's rule said.", guard.Show(r.File), r.Line),
						"It is kept for %d days, by %s, line %d: an attack is seldom noticed so soon.", r.Days, r.File, r.Line))
				default:
					list = append(list, passed(file, "It is rotated by %s, line %d.", rules[i].File, rules[i].Line))
				}
			}
		}
	}
	return list
}

func shipped(h guard.Host, _ guard.Product) []guard.Observation {
	if _, err := h.File("/var/log"); err != nil {
		return beside("/var/log", err)
	}
	all, err := rsyslogSends(h)
	if err != nil {
		return []guard.Observation{guard.Blind("/etc/rsyslog.d", err)}
	}
	var blind []guard.Observation
	for _, s := range all {
		switch host, _, _ := strings.Cut(s.to, ":"); {
		case s.strange != "":
			blind = append(blind, guard.Blind(s.file, errors.New(s.strange)))
		case !onThisHost(host):
			return []guard.Observation{passed(s.file, "It sends logs to another host.")}
		}
	}
	to, err := journalSends(h)
	if err != nil {
		return []guard.Observation{guard.Blind(journalUpload, err)}
	}
	if u, err := url.Parse(to); to != "" && (err != nil || !onThisHost(cmp.Or(u.Hostname(), to))) {
		return []guard.Observation{passed(journalUpload, "It sends the journal to another host.")}
	}
	if len(blind) > 0 {
		return blind
	}
	name, version, err := h.Package("filebeat", "fluent-bit", "vector", "promtail", "td-agent", "wazuh-agent", "splunkforwarder", "telegraf", "grafana-agent", "alloy")
	if err != nil {
		return []guard.Observation{guard.Blind("/var/lib/dpkg/status", err)}
	}
	if name != "" {
		return []guard.Observation{{State: guard.Unchecked, Subject: name, Evidence: []string{guard.Show(fmt.Sprintf("%s %s is installed, which may send logs elsewhere; what it is told to do is not read.", name, version))}}}
	}
	return []guard.Observation{failed(guard.Low, "/etc/rsyslog.d", "# Send them by TLS: in /etc/rsyslog.d/metalward.conf an action(type=\"omfwd\" protocol=\"tcp\" StreamDriver=\"gtls\" StreamDriverMode=\"1\" StreamDriverAuthMode=\"x509/name\" target=\"LOGHOST\" port=\"6514\"), then systemctl restart rsyslog",
		"rm /etc/rsyslog.d/metalward.conf && systemctl restart rsyslog", "Neither rsyslog nor systemd-journal-upload sends logs to another host: who takes this one over decides what they say.")}
}

// logging is the group of checks of logs.
func logging() []*guard.Check {
	none := guard.Sample{Name: "nothing of the kind", Want: guard.NotApplicable}
	folder := guard.Entry{Path: "/var/log", Folder: true}
	usual := guard.Entry{Path: "/etc/logrotate.d/usual", Content: "/var/log/*.log /var/log/syslog /var/log/maas/*.log /var/snap/maas/common/log/*.log {\nweekly\nrotate 5\n}\n"}
	auth := guard.Entry{Path: "/var/log/auth.log", Owner: "root:adm", Mode: 0o640, Content: "x"}
	withGroup := guard.Entry{Path: "/etc/group", Content: "root:x:0:\nadm:x:4:\nmaas:x:121:\nsnap_daemon:x:584788:\n"}
	auth.Owner = "root:4"
	modes := func(h guard.Host, p guard.Product) []guard.Observation {
		return inPlaces(byProduct{p: append(slices.Clone(logFiles[p]), systemLogs)})(h, p)
	}
	open := auth
	open.Mode = 0o666
	list := []*guard.Check{
		{ID: "logging-kept", Title: "The four kinds of logs are kept", Severity: guard.Medium,
			Why:        "The guide has its readers look for attacks in the logs of firewall, web server, MAAS and system: what is not kept tells nothing.",
			References: []guard.Reference{guide, maasLogs, journaldMan}, Judge: logsKept, Risk: "The journal takes up to a tenth of the file system, 4 GiB at most.",
			Samples: onEach(none, treeOf("none", guard.Fail, folder), treeOf("a journal that is kept", guard.Pass, guard.Entry{Path: "/var/log/journal", Folder: true}),
				treeOf("a journal that is not, by configuration", guard.Fail, guard.Entry{Path: "/var/log/journal", Folder: true}, guard.Entry{Path: "/etc/systemd/journald.conf", Content: "[Journal]\nStorage=volatile\n"}),
				treeOf("a journal that is, by configuration", guard.Pass, folder, guard.Entry{Path: "/etc/systemd/journald.conf.d/a.conf", Content: "[Journal]\nStorage=persistent\n"}))},
		{ID: "logging-modes", Title: "Not everybody reads or changes logs", Severity: guard.Medium,
			Why:        "Logs name addresses, users and, at times, passwords that were typed in the wrong field; who may write to one takes his traces out.",
			References: []guard.Reference{guide, inode}, Judge: modes, Risk: "A program that reads logs as another account no longer may: put that account into the file's group.",
			Samples: onEach(none, treeOf("closed", guard.Pass, withGroup, auth), treeOf("open", guard.Fail, withGroup, open))},
		{ID: "logging-rotation", Title: "Logs are rotated, and kept for two weeks", Severity: guard.Low,
			Why:        "A log without end fills the disk, and a full disk stops a controller; one of a few days is gone before anybody looks.",
			References: []guard.Reference{rotateMan, guide}, Judge: rotated, Risk: "copytruncate may lose the lines of a moment: a program that opens its log anew on a signal is better told so.",
			Samples: onEach(none, treeOf("rotated", guard.Pass, auth, usual), treeOf("not", guard.Fail, auth), treeOf("too short", guard.Fail, auth, guard.Entry{Path: "/etc/logrotate.d/x", Content: "/var/log/auth.log {\ndaily\nrotate 3\n}\n"}),
				treeOf("rules that may not be read", guard.Unchecked, auth, guard.Entry{Path: "/etc/logrotate.d/x", Hidden: true}))},
		{ID: "logging-shipped", Title: "Logs are sent to another host", Severity: guard.Low,
			Why:        "Who takes a host over changes its logs first.",
			References: []guard.Reference{rsyslogMan, uploadMan}, Judge: shipped, Risk: "Whoever reads on the way reads the logs: send them by TLS.",
			Samples: onEach(none, treeOf("not", guard.Fail, folder), treeOf("in the old form", guard.Pass, folder, guard.Entry{Path: "/etc/rsyslog.d/x.conf", Content: "*.* @@loghost:514\n"}),
				treeOf("in the new form", guard.Pass, folder, guard.Entry{Path: "/etc/rsyslog.conf", Content: "action(type=\"omfwd\" target=\"loghost\")\n"}), treeOf("as a comment", guard.Fail, folder, guard.Entry{Path: "/etc/rsyslog.conf", Content: "# *.* @@loghost\n"}),
				treeOf("the journal", guard.Pass, folder, guard.Entry{Path: "/etc/systemd/journal-upload.conf", Content: "[Upload]\nURL=https://loghost\n"}),
				treeOf("to this host alone", guard.Fail, folder, guard.Entry{Path: "/etc/rsyslog.d/x.conf", Content: "*.* @127.0.0.1:5140\n"}), treeOf("a template", guard.Fail, folder, guard.Entry{Path: "/etc/rsyslog.d/x.conf", Content: "template(name=\"x\" type=\"string\" string=\"%app-name% @cee:%$!%\")\n"}),
				treeOf("by what is not read", guard.Unchecked, folder, guard.Entry{Path: "/etc/rsyslog.conf", Content: "$IncludeConfig /srv/*.conf\n"}), treeOf("the journal, to this host", guard.Fail, folder, guard.Entry{Path: "/etc/systemd/journal-upload.conf", Content: "[Upload]\nURL=http://127.0.0.1:19532\n"}),
				treeOf("an agent", guard.Unchecked, folder, guard.Entry{Path: "/var/lib/dpkg/status", Content: "Package: filebeat\nStatus: install ok installed\nVersion: 8\n"}))},
	}
	for _, c := range list {
		c.Group, c.Versions = "logging", everyProduct()
		c.Fix = "Run the commands of the finding."
		c.Undo = "The commands of the finding's undo put back what was."
	}
	return list
}
