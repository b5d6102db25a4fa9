package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

var (
	maasVault = guard.Reference{Title: "MAAS documentation, How to enhance MAAS security: integrate with Vault", URL: "https://canonical.com/maas/docs/how-to-enhance-maas-security"}
	maasCLI   = guard.Reference{Title: "MAAS documentation, CLI reference: init", URL: "https://canonical.com/maas/docs/3.7/reference/cli-reference/init/"}
	pgEnv     = guard.Reference{Title: "PostgreSQL documentation, Environment Variables", URL: "https://www.postgresql.org/docs/current/libpq-envars.html"}
	bashMan   = guard.Reference{Title: "Bash manual, Bash History Facilities: HISTCONTROL", URL: "https://www.gnu.org/software/bash/manual/html_node/Bash-History-Facilities.html"}
	procMan   = guard.Reference{Title: "proc(5): cmdline, environ", URL: "https://man7.org/linux/man-pages/man5/proc.5.html"}
	unitMan   = guard.Reference{Title: "systemd documentation, Credentials", URL: "https://systemd.io/CREDENTIALS/"}
)

// told lists leaks by what they are, with their lines.
func told(leaks []guard.Leak) (list []string) {
	var order []string
	lines := map[string][]string{}
	for _, l := range leaks {
		if lines[l.What] == nil {
			order = append(order, l.What)
		}
		lines[l.What] = append(lines[l.What], strconv.Itoa(l.Line))
	}
	for _, what := range order {
		list = append(list, fmt.Sprintf("Line %s: %s.", strings.Join(lines[what], ", "), what))
	}
	return list
}

// histories are where shells and psql keep what was typed. Sources: bash(1), zshparam(1), fish's history(1), psql(1).
var histories = []string{".bash_history", ".zsh_history", ".histfile", ".sh_history", ".local/share/fish/fish_history", ".psql_history"}

func inHistories(h guard.Host, _ guard.Product) (list []guard.Observation) {
	found, blind := place{paths: histories}.at(h)
	list, seen := blind, map[string]bool{}
	for _, l := range found {
		if seen[l.path] {
			continue // a home that two accounts have
		}
		seen[l.path] = true
		leaks, err := h.Leaks(l.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			list = append(list, guard.Blind(l.path, err))
		case len(leaks) == 0:
			list = append(list, passed(l.path, "Nothing in it looks like a secret."))
		default:
			var numbers []string
			for _, k := range leaks {
				if n := strconv.Itoa(k.Line) + "d"; !slices.Contains(numbers, n) {
					numbers = append(numbers, n)
				}
			}
			o := failed(guard.High, l.path, "sed -i "+guard.Quote(strings.Join(numbers, ";"))+" "+guard.Quote(l.path)+" # with no shell of that account running; then set what stood there anew",
				"# Nothing brings the lines back, and nobody needs them.", "x")
			o.Evidence = told(leaks)
			list = append(list, o)
		}
	}
	return list
}

// processes judges what is to be read of each process; what may not be read is said once.
func processes(file string, severity guard.Severity, who string) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, _ guard.Product) (list []guard.Observation) {
		found, err := h.Glob("/proc/[0-9]*/" + file)
		if err != nil {
			list = append(list, guard.Blind("/proc", err))
		}
		hidden, why := 0, error(nil)
		for _, at := range found {
			leaks, err := h.Leaks(at)
			if errors.Is(err, fs.ErrNotExist) {
				continue // it ended
			}
			if err != nil {
				if command, ok := h.Read(path.Join(path.Dir(at), "cmdline")); ok != nil || len(command) > 0 { // else a thread of the kernel's
					hidden, why = hidden+1, err
				}
				continue
			}
			if len(leaks) == 0 {
				continue
			}
			name, _ := h.Read(path.Join(path.Dir(at), "comm")) // without it the number has to do
			o := failed(severity, at, fmt.Sprintf("# Give it to %s in a file of mode 0600, by its standard input, or as a systemd credential; start it anew, and set the secret anew.", guard.Show(strings.TrimSpace(string(name)))),
				"# Start it as it was.", "Process %s, %s, has %s, which %s.", path.Base(path.Dir(at)), strings.TrimSpace(string(name)), leaks[0].What, who)
			list = append(list, o)
		}
		if hidden > 0 {
			list = append(list, guard.Blind("/proc/*/"+file, fmt.Errorf("those of %d processes could not be read, the last because of: %w", hidden, why)))
		}
		if len(list) == 0 && len(found) > 0 {
			list = append(list, passed("/proc/*/"+file, "Nothing in those of %d processes looks like a secret.", len(found)))
		}
		return list
	}
}

// leakyLogs are logs that commands and their arguments come into: sudo writes them down, PostgreSQL those that fail, MAAS its own errors.
var leakyLogs = []string{"/var/log/auth.log", "/var/log/auth.log.1", "/var/log/secure", "/var/log/syslog", "/var/log/syslog.1", "/var/log/messages", "/var/log/user.log", "/var/log/maas/*.log",
	"/var/snap/maas/common/log/*.log", "/var/log/postgresql/*.log", "/var/log/metalward/*.log", "/var/log/cloud-init-output.log"}

func inLogs(h guard.Host, _ guard.Product) (list []guard.Observation) {
	clean := 0
	look := func(at, fix string) {
		leaks, err := h.LogLeaks(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			list = append(list, guard.Blind(at, err))
		case len(leaks) == 0:
			clean++
		default:
			severity := guard.Medium
			if f, err := h.File(at); at != guard.Journal && err == nil && f.Mode&0o004 != 0 {
				severity = guard.High
			}
			o := failed(severity, at, fix, "# What is gone from a log is gone; nobody needs the secret that stood there.", "x")
			o.Evidence = told(leaks)
			list = append(list, o)
		}
	}
	for _, pattern := range leakyLogs {
		found, err := h.Glob(pattern)
		if err != nil {
			list = append(list, guard.Blind(pattern, err))
		}
		for _, at := range found {
			if f, err := h.File(at); err == nil && f.Kind != 0 {
				continue
			}
			look(at, "# Set each secret that stands there anew; "+guard.Show(at)+" loses the old one when it is rotated. Give programs their secrets by a file or their standard input.")
		}
	}
	look(guard.Journal, "# Set each secret that stands there anew; journalctl --vacuum-time=1d shortens how long the old one is kept. Give programs their secrets by a file or their standard input.")
	if len(list) == 0 && clean > 0 {
		list = append(list, passed("/var/log", "Nothing in %d logs looks like a secret.", clean))
	}
	return list
}

// unitFiles are where services get their commands and environment from, for everybody to read.
var unitFiles = []string{"/etc/systemd/system/*.service", "/etc/systemd/system/*.service.d/*.conf", "/lib/systemd/system/maas*.service", "/etc/default/*", "/etc/environment", "/etc/cron.d/*", "/etc/crontab", "/etc/profile.d/*"}

func inUnits(h guard.Host, _ guard.Product) (list []guard.Observation) {
	for _, pattern := range unitFiles {
		found, err := h.Glob(pattern)
		if err != nil {
			list = append(list, guard.Blind(pattern, err))
		}
		for _, at := range found {
			f, err := h.File(at)
			if err == nil && f.Kind != 0 {
				continue
			}
			leaks, err := h.Leaks(at)
			if err != nil {
				list = append(list, guard.Blind(at, err))
				continue
			}
			if len(leaks) == 0 {
				continue
			}
			severity, open := guard.High, "and everybody may read the file"
			if f.Mode&0o004 == 0 {
				severity, open = guard.Low, fmt.Sprintf("and whoever is asked by systemctl show may tell it, though the file's mode is %04o", f.Mode)
			}
			o := failed(severity, at, "# Take it out of "+guard.Show(at)+": give the service a file of mode 0600 or LoadCredential=, then set the secret anew.", "# Put the lines back.", "x")
			o.Evidence = append(told(leaks), "They are handed to processes, "+open+".")
			list = append(list, o)
		}
	}
	if len(list) == 0 {
		if _, err := h.File("/etc/systemd/system"); err == nil {
			list = append(list, passed("/etc/systemd/system", "Nothing in services' files looks like a secret."))
		}
	}
	return list
}

// regiond are the paths of regiond.conf.
var regiond = map[guard.Product]string{guard.MAASDeb: "/etc/maas/regiond.conf", guard.MAASSnap: snapData + "regiond.conf"}

// maasConfig judges regiond.conf.
func maasConfig(judge func(guard.MAASConfig) []guard.Observation) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, p guard.Product) []guard.Observation {
		c, err := h.MAASConfig(regiond[p])
		if err != nil {
			return beside(regiond[p], err)
		}
		return judge(c)
	}
}

func vaultInUse(c guard.MAASConfig) []guard.Observation {
	if c.Values["vault_url"] != "" && c.Values["vault_approle_id"] != "" && c.Values["vault_secret_id"] != "" {
		return []guard.Observation{passed(c.File, "Vault is configured: %s.", c.Values["vault_url"])}
	}
	return []guard.Observation{failed(guard.Medium, c.File, "# maas config-vault configure URL ROLE_ID WRAPPED_TOKEN PATH on each region, then maas config-vault migrate; in MAAS before 3.3: upgrade first.",
		"# MAAS has no way back from Vault: take a backup of the database before migrate.", "No Vault is configured: MAAS keeps BMC passwords, the shared secret and the key of its certificate in clear in its database.")}
}

func vaultByTLS(c guard.MAASConfig) []guard.Observation {
	url := strings.ToLower(c.Values["vault_url"])
	switch {
	case url == "":
		return nil
	case strings.HasPrefix(url, "https://"):
		return []guard.Observation{passed(c.File, "vault_url is %s.", c.Values["vault_url"])}
	}
	return []guard.Observation{failed(guard.High, c.File, "# Give Vault a certificate, and run maas config-vault configure with its https URL.", fmt.Sprintf("# Set vault_url to %s again.", guard.Show(c.Values["vault_url"])),
		"vault_url is %s: token and secrets go in clear.", c.Values["vault_url"])}
}

func passwordLeft(c guard.MAASConfig) []guard.Observation {
	switch {
	case c.Values["database_pass"] == "":
		return []guard.Observation{passed(c.File, "It holds no password of a database.")}
	case c.Values["vault_url"] != "":
		return []guard.Observation{failed(guard.Medium, c.File, "# Once maas config-vault status says enabled: take database_pass out of "+guard.Show(c.File)+", and set it anew in PostgreSQL and Vault.", "# Put database_pass back.",
			"Vault is configured, and the database's password is in this file still.")}
	}
	return []guard.Observation{failed(guard.Low, c.File, "# Move it to Vault, or use peer authentication by the socket for a database on this host.", "# Put database_pass back.",
		"It holds the database's password in clear.")}
}

// secretsGroup is the group of checks of where secrets are.
func secretsGroup() []*guard.Check {
	none := guard.Sample{Name: "nothing of the kind", Want: guard.NotApplicable}
	maas := map[guard.Product]string{guard.MAASDeb: "3.3 to 3.8", guard.MAASSnap: "3.3 to 3.8"}
	conf := func(name string, want guard.State, text string) []guard.Sample {
		var list []guard.Sample
		for _, p := range []guard.Product{guard.MAASDeb, guard.MAASSnap} {
			list = append(list, guard.Sample{Name: name, Product: p, Want: want, Tree: []guard.Entry{{Path: regiond[p], Mode: 0o640, Content: text}}})
		}
		return list
	}
	file := func(name string, want guard.State, at, text string) guard.Sample {
		return treeOf(name, want, guard.Entry{Path: at, Content: text})
	}
	const vault = "vault_url: https://vault:8200\nvault_approle_id: a\nvault_secret_id: b\n"
	const leak = "psql postgres://maas:hunter2@db/maas\n"
	proc := func(name string, want guard.State, file, text string) guard.Sample {
		return treeOf(name, want, guard.Entry{Path: "/proc/12/comm", Content: "x\n"}, guard.Entry{Path: "/proc/12/" + file, Content: text})
	}
	list := []*guard.Check{
		{ID: "secrets-history", Title: "No secret is in a shell's history", Severity: guard.High, Versions: everyProduct(),
			Why:        "maas init and maas login take secrets as arguments, and shells keep those for years, in homes that backups copy.",
			Fix:        "Take the lines out while no shell of the account runs, give the programs their secrets by a file or their standard input, and set each secret that stood there anew.",
			Risk:       "A shell that still runs writes its own memory of the lines back when it ends.",
			Undo:       "The lines are gone; nobody needs them.",
			References: []guard.Reference{maasCLI, bashMan, guide}, Judge: inHistories,
			Samples: onEach(none, file("nothing of note", guard.Pass, "/root/.bash_history", "ls\n"), file("a database's URL", guard.Fail, "/home/bob/.bash_history", leak),
				file("of psql", guard.Fail, "/root/.psql_history", "alter role maas password 'x';\n"), treeOf("one that may not be read", guard.Unchecked, guard.Entry{Path: "/home/bob/.bash_history", Hidden: true}))},
		{ID: "secrets-processes", Title: "No secret is on a command line", Severity: guard.High, Versions: everyProduct(),
			Why:        "Whoever has an account on the host reads every process's arguments.",
			Fix:        "Give the program its secret in a file that only it reads, by its standard input, or as a systemd credential.",
			Risk:       "The program starts anew.",
			Undo:       "Start the program as it was.",
			References: []guard.Reference{procMan, maasCLI}, Judge: processes("cmdline", guard.High, "everybody with an account on the host may read"),
			Samples: onEach(none, proc("nothing of note", guard.Pass, "cmdline", "ls\x00-l\x00"), proc("a secret", guard.Fail, "cmdline", "maas\x00init\x00rack\x00--secret\x00"+strings.Repeat("0", 32)+"\x00"),
				treeOf("one that may not be read", guard.Unchecked, guard.Entry{Path: "/proc/12/cmdline", Hidden: true}))},
		{ID: "secrets-environment", Title: "No secret is in a process's environment", Severity: guard.Medium, Versions: everyProduct(),
			Why:        "Every child inherits it, programs print it when they fail, and it is read by every process of the same account.",
			Fix:        "Give the program its secret in a file that only it reads, or as a systemd credential.",
			Risk:       "The program starts anew.",
			Undo:       "Start the program as it was.",
			References: []guard.Reference{procMan, pgEnv, unitMan}, Judge: processes("environ", guard.Medium, "its children and its account's other processes have, too"),
			Samples: onEach(none, proc("nothing of note", guard.Pass, "environ", "PATH=/bin\x00"), proc("a password", guard.Fail, "environ", "PATH=/bin\x00PGPASSWORD=x\x00"),
				treeOf("one that may not be read", guard.Unchecked, guard.Entry{Path: "/proc/12/environ", Hidden: true}))},
		{ID: "secrets-units", Title: "No secret is in services' files", Severity: guard.High, Versions: everyProduct(),
			Why:        "Units, defaults and crontabs are there for everybody to read, and systemctl show tells their environment to all.",
			Fix:        "Move the secret into a file of mode 0600 or LoadCredential=, and set it anew.",
			Risk:       "The service does not start if it does not find its secret: try it before the next start of the host.",
			Undo:       "Put the lines back.",
			References: []guard.Reference{unitMan, pgEnv}, Judge: inUnits,
			Samples: onEach(none, file("nothing of note", guard.Pass, "/etc/systemd/system/x.service", "[Service]\nExecStart=/bin/true\n"), file("a password", guard.Fail, "/etc/systemd/system/x.service", "[Service]\nEnvironment=PGPASSWORD=x\n"),
				treeOf("in a closed file", guard.Fail, guard.Entry{Path: "/etc/default/x", Mode: 0o600, Content: "VAULT_TOKEN=hvs.x\n"}), treeOf("one that may not be read", guard.Unchecked, guard.Entry{Path: "/etc/default/x", Hidden: true}))},
		{ID: "secrets-logs", Title: "No secret is in the logs or the journal", Severity: guard.High, Versions: everyProduct(),
			Why:        "sudo writes each command down with its arguments, and PostgreSQL each statement that fails: logs are read by more people than secrets, and are sent elsewhere.",
			Fix:        "Set each secret that stood there anew, and give programs their secrets by a file or their standard input.",
			Risk:       "Whoever uses the old secret has to be given the new one.",
			Undo:       "Nothing brings an old secret back, and nobody needs it.",
			References: []guard.Reference{maasCLI, pgEnv, guide}, Judge: inLogs,
			Samples: onEach(none, file("nothing of note", guard.Pass, "/var/log/auth.log", "Nov  7 06:13:45 host sudo: ann : COMMAND=/usr/bin/apt update\n"),
				file("a command of sudo's", guard.Fail, "/var/log/auth.log", "Nov  7 06:13:45 host sudo: ann : COMMAND=/usr/bin/maas login admin http://h/MAAS "+strings.Repeat("a", 18)+":"+strings.Repeat("b", 18)+":"+strings.Repeat("c", 32)+"\n"),
				file("a statement that failed", guard.Fail, "/var/log/postgresql/postgresql-15-main.log", "ERROR: x\nSTATEMENT: alter role maas password 'x';\n"),
				treeOf("one that may not be read", guard.Unchecked, guard.Entry{Path: "/var/log/auth.log", Hidden: true}),
				treeOf("a copy's journal", guard.Unchecked, guard.Entry{Path: "/var/log/journal", Folder: true}))},
		{ID: "secrets-vault", Title: "MAAS keeps its secrets in Vault", Severity: guard.Medium, Versions: maas,
			Why: "The guide asks for it: otherwise whoever reads the database, or a copy of it, has the BMCs of all machines.",
			Fix: "Configure Vault on each region with a role of its own, and migrate.", Risk: "MAAS does not work while Vault does not: run Vault in a cluster.",
			Undo: "MAAS has no way back: take a backup before.", References: []guard.Reference{guide, maasVault}, Judge: maasConfig(vaultInUse),
			Samples: slices.Concat(conf("with Vault", guard.Pass, vault), conf("without", guard.Fail, "database_host: localhost\n"), conf("half", guard.Fail, "vault_url: https://vault:8200\n"), conf("no YAML", guard.Unchecked, "- a\n"))},
		{ID: "secrets-vault-tls", Title: "MAAS talks to Vault by TLS", Severity: guard.High, Versions: maas,
			Why: "Otherwise every secret goes over the network in clear each time it is read, and the token that reads all of them.",
			Fix: "Give Vault a certificate, and configure its https URL.", Risk: "MAAS has to trust the certificate's authority, which it takes from the system.",
			Undo: "Configure the old URL again.", References: []guard.Reference{maasVault}, Judge: maasConfig(vaultByTLS),
			Samples: slices.Concat(conf("https", guard.Pass, vault), conf("http", guard.Fail, strings.Replace(vault, "https", "http", 1)), conf("no YAML", guard.Unchecked, "- a\n"))},
		{ID: "secrets-database-password", Title: "regiond.conf does not hold the database's password", Severity: guard.Medium, Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.MAASSnap: since27},
			Why: "It is in clear there, and backups and copies of the file have it, too. With Vault it need not be there at all.",
			Fix: "Move it to Vault, or let PostgreSQL know a region on its own host by the socket.", Risk: "MAAS does not start if it finds no password where it looks.",
			Undo: "Put the line back.", References: []guard.Reference{guide, maasVault}, Judge: maasConfig(passwordLeft),
			Samples: slices.Concat(conf("in Vault", guard.Pass, vault), conf("in clear", guard.Fail, "database_pass: x\n"), conf("in clear beside Vault", guard.Fail, vault+"database_pass: x\n"), conf("no YAML", guard.Unchecked, "- a\n"))},
	}
	for _, c := range list {
		c.Group = "secrets"
	}
	return list
}
