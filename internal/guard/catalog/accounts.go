package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

var (
	sshdConfig   = guard.Reference{Title: "sshd_config(5)", URL: "https://man.openbsd.org/sshd_config"}
	cryptManual  = guard.Reference{Title: "crypt(5)", URL: "https://manpages.debian.org/bookworm/libcrypt-dev/crypt.5.en.html"}
	shadowManual = guard.Reference{Title: "shadow(5)", URL: "https://man7.org/linux/man-pages/man5/shadow.5.html"}
	passwdManual = guard.Reference{Title: "passwd(5)", URL: "https://man7.org/linux/man-pages/man5/passwd.5.html"}
	sudoManual   = guard.Reference{Title: "sudoers(5)", URL: "https://www.sudo.ws/docs/man/sudoers.man/"}
	dockerGroup  = guard.Reference{Title: "Docker documentation, Post-installation steps: the docker group", URL: "https://docs.docker.com/engine/install/linux-postinstall/"}
	lxdGroup     = guard.Reference{Title: "LXD documentation, About security: access to the LXD daemon", URL: "https://documentation.ubuntu.com/lxd/en/latest/explanation/security/"}
	debianGroups = guard.Reference{Title: "Debian Wiki, System Groups", URL: "https://wiki.debian.org/SystemGroups"}
)

// beside is for checks of what a host may or may not have: without it they do not apply.
func beside(subject string, err error) []guard.Observation {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return []guard.Observation{guard.Blind(subject, err)}
}

// sshd judges a setting of the SSH server: what is usual where nothing sets it, which values are wrong, and what to write.
func sshd(keyword, usual string, bad []string, write string, severity guard.Severity, why string) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, _ guard.Product) (list []guard.Observation) {
		s, err := h.SSH()
		if err != nil {
			return beside("/etc/ssh/sshd_config", err)
		}
		if s.Err != nil { // what was not read may come first
			return []guard.Observation{guard.Blind(s.Config, s.Err)}
		}
		wrong := func(value string) bool { return slices.Contains(bad, strings.ToLower(value)) }
		told := func(l guard.SSHLine, how string) guard.Observation {
			return failed(severity, fmt.Sprintf("%s:%d", l.File, l.Line), fmt.Sprintf("# In %s, line %d, write: %s %s Then: sshd -t && systemctl reload ssh. Keep this session until another has logged in.", guard.Show(l.File), l.Line, write, how),
				fmt.Sprintf("# In %s, line %d, put back: %s %s", guard.Show(l.File), l.Line, guard.Show(l.Keyword), guard.Show(l.Value)), "%s %s%s: %s", l.Keyword, l.Value, condition(l), why)
		}
		switch l, set := s.Value(strings.ToLower(keyword)); {
		case set && wrong(l.Value):
			list = append(list, told(l, ""))
		case !set && wrong(usual):
			list = append(list, failed(severity, s.Config, "# At the top of "+s.Config+", write: "+write+" Then: sshd -t && systemctl reload ssh. Keep this session until another has logged in.", "# Take the line out again.",
				"%s is not set, and %s where it is not: %s", keyword, usual, why))
		case set:
			list = append(list, passed(s.Config, "%s is %s.", keyword, l.Value))
		default:
			list = append(list, passed(s.Config, "%s is not set, and %s where it is not.", keyword, usual))
		}
		for _, l := range s.Conditional(strings.ToLower(keyword)) {
			if wrong(l.Value) {
				list = append(list, told(l, "under its condition."))
			}
		}
		return list
	}
}

func condition(l guard.SSHLine) string {
	if l.Match == "" {
		return ""
	}
	return ", for " + l.Match
}

// accountsOf finds the accounts of a host, with how their passwords are kept.
func accountsOf(h guard.Host, judge func(guard.User, guard.Password) (guard.Observation, bool), all string) []guard.Observation {
	accounts, err := h.Accounts()
	if err != nil {
		return []guard.Observation{guard.Blind("/etc/passwd", err)}
	}
	kept, err := h.Passwords()
	if err != nil {
		return beside("/etc/shadow", err)
	}
	var list []guard.Observation
	for _, p := range kept {
		i := slices.IndexFunc(accounts.Users, func(u guard.User) bool { return u.Name == p.User })
		if i < 0 {
			continue // nobody's
		}
		if o, is := judge(accounts.Users[i], p); is {
			list = append(list, o)
		}
	}
	if len(list) == 0 {
		list = append(list, passed("/etc/shadow", all, len(kept)))
	}
	return list
}

func lock(user string) (fix, undo string) {
	return "passwd -l " + guard.Quote(user) + " # and set another, or use keys", "passwd -u " + guard.Quote(user)
}

func emptyPasswords(h guard.Host, _ guard.Product) []guard.Observation {
	return accountsOf(h, func(u guard.User, p guard.Password) (guard.Observation, bool) {
		fix, undo := lock(u.Name)
		return failed(guard.Critical, u.Name, fix, undo, "The account %s, UID %d, has an empty password: who names it is in.", u.Name, u.UID), p.Kind == guard.EmptyPassword
	}, "None of %d accounts has an empty password.")
}

func weakHashes(h guard.Host, _ guard.Product) []guard.Observation {
	return accountsOf(h, func(u guard.User, p guard.Password) (guard.Observation, bool) {
		switch p.Kind {
		case guard.HashDES, guard.HashMD5, guard.HashSHA1:
			return failed(guard.Medium, u.Name, "passwd "+guard.Quote(u.Name)+" # set it anew: it is then kept as /etc/login.defs and PAM say",
				"# The old hash is in /etc/shadow-, until the next change.", "The password of %s is kept as %s, which is quickly guessed at.", u.Name, p.Kind), true
		case guard.HashUnknown:
			return guard.Blind(u.Name, errors.New("its password is kept in a way that is not known here")), true
		}
		return guard.Observation{}, false
	}, "None of the passwords of %d accounts is kept as DES, MD5 or SHA-1.")
}

func zeroes(h guard.Host, _ guard.Product) (list []guard.Observation) {
	accounts, err := h.Accounts()
	if err != nil {
		return []guard.Observation{guard.Blind("/etc/passwd", err)}
	}
	for _, u := range accounts.Users {
		if u.UID == 0 && u.Name != "root" {
			list = append(list, failed(guard.Critical, u.Name, "usermod -u UID -- "+guard.Quote(u.Name)+" # UID being a free one; see first what belongs to it",
				"usermod -o -u 0 -- "+guard.Quote(u.Name), "The account %s has UID 0: it is root by another name.", u.Name))
		}
	}
	if len(list) == 0 && len(accounts.Users) > 0 {
		list = append(list, passed("/etc/passwd", "root alone has UID 0, of %d accounts.", len(accounts.Users)))
	}
	return list
}

// serviceAccounts are those that the products' services run as.
var serviceAccounts = map[guard.Product][]string{guard.MAASDeb: {"maas"}, guard.MAASSnap: {"snap_daemon"}, guard.Metalward: {"metalward"}}

func services(h guard.Host, p guard.Product) []guard.Observation {
	var seen []guard.Observation
	list := accountsOf(h, func(u guard.User, kept guard.Password) (guard.Observation, bool) {
		if !slices.Contains(serviceAccounts[p], u.Name) {
			return guard.Observation{}, false
		}
		if kept.Kind == guard.NoPassword || kept.Locked {
			seen = append(seen, passed(u.Name, "No password works for the account %s.", u.Name))
			return guard.Observation{}, false
		}
		fix, undo := lock(u.Name)
		return failed(guard.Medium, u.Name, fix, undo, "The account %s, which the services run as, has a password (%s).", u.Name, kept.Kind), true
	}, "%d accounts.")
	if len(list) == 1 && list[0].State == guard.Pass {
		return seen // without the account there is nothing to say
	}
	return list
}

// asRoot are groups whose members are as good as root, and why.
var asRoot = map[string]string{
	"docker": "they start containers that see the whole disk",
	"lxd":    "they start containers that see the whole disk",
	"disk":   "they read and write the disks themselves",
	"shadow": "they read how passwords are kept",
}

func groupsLikeRoot(h guard.Host, _ guard.Product) (list []guard.Observation) {
	who := peopleOf(h)
	if who.err != nil {
		return []guard.Observation{guard.Blind("/etc/group", who.err)}
	}
	groups := 0
	for gid, name := range who.groups {
		why, is := asRoot[name]
		if !is {
			continue
		}
		groups++
		for _, u := range who.in[gid] {
			if u.UID == 0 {
				continue
			}
			fix, undo := leave(u, gid, name)
			list = append(list, failed(guard.Medium, u.Name, fix[0], undo[0], "%s is in the group %s, whose members are as good as root: %s.", u.Name, name, why))
		}
	}
	slices.SortFunc(list, func(a, b guard.Observation) int { return strings.Compare(a.Evidence[0], b.Evidence[0]) })
	if len(list) == 0 && groups > 0 {
		list = append(list, passed("/etc/group", "Nobody but root is in one of the %d groups here that are as good as root.", groups))
	}
	return list
}

func sudoers(h guard.Host, p guard.Product) (list []guard.Observation) {
	s, err := h.Sudo()
	if err != nil {
		return beside("/etc/sudoers", err)
	}
	become := append([]string{"root", "ALL", "#0"}, serviceAccounts[p]...)
	for _, r := range s.Rules {
		others := slices.DeleteFunc(slices.Clone(r.Who), func(w string) bool { return w == "root" || w == "#0" || strings.HasPrefix(w, "!") })
		if !r.NoPasswd || len(others) == 0 || !slices.ContainsFunc(r.RunAs, func(u string) bool { return slices.Contains(become, u) }) {
			continue
		}
		severity, what := guard.Medium, "every command"
		if !slices.Contains(r.Commands, "ALL") {
			severity, what = guard.Low, strings.Join(r.Commands, ", ")
			if !slices.ContainsFunc(r.Commands, isShell) {
				continue // a command of its own is what sudo is for
			}
		}
		list = append(list, failed(severity, fmt.Sprintf("%s:%d", r.File, r.Line), fmt.Sprintf("# With visudo -f %s, line %d: take NOPASSWD out, once each of them has a password, or name the commands that are needed.", guard.Quote(r.File), r.Line),
			fmt.Sprintf("# With visudo -f %s, line %d: put NOPASSWD back.", guard.Quote(r.File), r.Line),
			"%s may run %s as %s and is not asked for a password: who has taken over such a session has the controller.", strings.Join(others, ", "), what, strings.Join(r.RunAs, ", ")))
	}
	if s.Err != nil {
		return append(list, guard.Blind(s.Config, s.Err))
	}
	if len(list) == 0 {
		list = append(list, passed(s.Config, "Nobody becomes root or the services' account without a password, by %d rules.", len(s.Rules)))
	}
	return list
}

// isShell reports whether a command runs any other.
func isShell(command string) bool {
	program, _, _ := strings.Cut(strings.TrimLeft(command, "!"), " ")
	return slices.Contains([]string{"sh", "bash", "dash", "zsh", "su", "env", "python3", "perl", "vi", "vim", "less", "tee", "cp", "mv", "chmod", "chown", "find", "awk"}, path.Base(program))
}

func sshHost(name string, want guard.State, config string, more ...guard.Entry) guard.Sample {
	return guard.Sample{Name: name, Want: want, Tree: append([]guard.Entry{{Path: "/etc/ssh/sshd_config", Content: config}}, more...)}
}

func shadowHost(name string, want guard.State, shadow string, more ...guard.Entry) guard.Sample {
	return guard.Sample{Name: name, Want: want, Tree: append([]guard.Entry{{Path: "/etc/shadow", Owner: "root:42", Mode: 0o640, Content: shadow}}, more...)}
}

func sudoHost(name string, want guard.State, sudoers string, more ...guard.Entry) guard.Sample {
	return guard.Sample{Name: name, Want: want, Tree: append([]guard.Entry{{Path: "/etc/sudoers", Mode: 0o440, Content: sudoers}}, more...)}
}

// accounts is the group of checks of SSH and of the host's own accounts.
func accounts() []*guard.Check {
	none := guard.Sample{Name: "nothing of the kind", Want: guard.NotApplicable}
	closedConfig := sshHost("a configuration that may not be read", guard.Unchecked, "", guard.Entry{Path: "/etc/ssh/sshd_config", Hidden: true})
	hidden := shadowHost("what may not be read", guard.Unchecked, "", guard.Entry{Path: "/etc/shadow", Hidden: true})
	drop := func(text string) guard.Entry {
		return guard.Entry{Path: "/etc/ssh/sshd_config.d/50-cloud-init.conf", Content: text}
	}
	const debian = "Include /etc/ssh/sshd_config.d/*.conf\nKbdInteractiveAuthentication no\nUsePAM yes\nX11Forwarding yes\n"
	const goodShadow = "root:*:19000:0:99999:7:::\nmaas:!:19000::::::\nsnap_daemon:!:19000::::::\nmetalward:!:19000::::::\nbob:$y$j9T$x$y:20000:0:99999:7:::\n"
	list := []*guard.Check{
		{ID: "accounts-ssh-passwords", Title: "SSH lets nobody in with a password", Severity: guard.Medium,
			Why:        "A controller's SSH is found by every scanner, and a password can be guessed, reused and phished; a key cannot.",
			References: []guard.Reference{sshdConfig, guide},
			Judge: sshd("PasswordAuthentication", "yes", []string{"yes"}, "PasswordAuthentication no", guard.Medium,
				"passwords can be tried. Put the keys of all who need it in place first."),
			Samples: onEach(none, closedConfig, sshHost("as Debian has it", guard.Fail, debian), sshHost("off", guard.Pass, "PasswordAuthentication no\n"), sshHost("off first, then on", guard.Pass, "PasswordAuthentication no\nPasswordAuthentication yes\n"),
				sshHost("on in an included file that comes first", guard.Fail, "Include /etc/ssh/sshd_config.d/*.conf\nPasswordAuthentication no\n", drop("PasswordAuthentication yes\n")),
				sshHost("on for one", guard.Fail, "PasswordAuthentication no\nMatch User bob\nPasswordAuthentication yes\n"), sshHost("half a line", guard.Unchecked, "PasswordAuthentication no\nPort \"2\n"))},
		{ID: "accounts-ssh-dialogue", Title: "SSH asks nobody for a password by dialogue", Severity: guard.Medium,
			Why:        "With PAM a dialogue asks for the same passwords that PasswordAuthentication no means to keep out.",
			References: []guard.Reference{sshdConfig},
			Judge: sshd("KbdInteractiveAuthentication", "yes", []string{"yes"}, "KbdInteractiveAuthentication no", guard.Medium,
				"PAM may ask for a password. Leave it on only for a second factor, with AuthenticationMethods."),
			Samples: onEach(none, closedConfig, sshHost("as Debian has it", guard.Pass, debian), sshHost("not set", guard.Fail, "UsePAM yes\n"), sshHost("on", guard.Fail, "KbdInteractiveAuthentication yes\n"))},
		{ID: "accounts-ssh-root", Title: "SSH lets nobody in as root with a password", Severity: guard.High,
			Why:        "Everybody knows the name of the account, it has all rights, and the log does not say who it was.",
			References: []guard.Reference{sshdConfig, guide},
			Judge:      sshd("PermitRootLogin", "prohibit-password", []string{"yes"}, "PermitRootLogin no", guard.High, "root may log in with a password."),
			Samples: onEach(none, closedConfig, sshHost("as Debian has it", guard.Pass, debian), sshHost("on", guard.Fail, "PermitRootLogin yes\n"), sshHost("keys alone", guard.Pass, "PermitRootLogin without-password\n"),
				sshHost("on from a network", guard.Fail, "PermitRootLogin no\nMatch Address 10.0.0.0/8\nPermitRootLogin yes\n"))},
		{ID: "accounts-ssh-empty", Title: "SSH accepts no empty password", Severity: guard.Critical,
			Why:        "Who names an account without a password is in.",
			References: []guard.Reference{sshdConfig},
			Judge:      sshd("PermitEmptyPasswords", "no", []string{"yes"}, "PermitEmptyPasswords no", guard.Critical, "accounts without a password are open."),
			Samples:    onEach(none, closedConfig, sshHost("as Debian has it", guard.Pass, debian), sshHost("on", guard.Fail, "PermitEmptyPasswords yes\n"))},
		{ID: "accounts-empty", Title: "No account has an empty password", Severity: guard.Critical,
			Why:        "Who names it is in, at the console at least, and whoever has any account becomes it with su.",
			References: []guard.Reference{shadowManual}, Judge: emptyPasswords,
			Samples: onEach(none, hidden, shadowHost("closed", guard.Pass, goodShadow), shadowHost("open", guard.Fail, goodShadow+"alice::19000::::::\n"))},
		{ID: "accounts-hashes", Title: "Passwords are kept with a slow hash", Severity: guard.Medium,
			Why:        "Who gets a copy of /etc/shadow, from a backup for example, tries thousands of millions of passwords a second against the old kinds.",
			References: []guard.Reference{cryptManual, guide}, Judge: weakHashes,
			Samples: onEach(none, hidden, shadowHost("as Debian has it", guard.Pass, goodShadow), shadowHost("MD5", guard.Fail, goodShadow+"alice:$1$x$y:1::::::\n"), shadowHost("DES", guard.Fail, goodShadow+"alice:abcdefghijklm:1::::::\n"),
				shadowHost("of a kind that is not known", guard.Unchecked, goodShadow+"alice:$9$x$y:1::::::\n"))},
		{ID: "accounts-root", Title: "root alone is root", Severity: guard.Critical,
			Why:        "A second account with UID 0 is overlooked when root is locked down, and is what intruders leave.",
			References: []guard.Reference{passwdManual}, Judge: zeroes,
			Samples: onEach(guard.Sample{Name: "as Debian has it", Want: guard.Pass, Tree: []guard.Entry{{Path: "/etc/passwd", Content: "root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/home/bob:/bin/bash\n"}}},
				guard.Sample{Name: "another", Want: guard.Fail, Tree: []guard.Entry{{Path: "/etc/passwd", Content: "root:x:0:0:root:/root:/bin/bash\ntoor:x:0:0::/root:/bin/sh\n"}}},
				guard.Sample{Name: "what may not be read", Want: guard.Unchecked, Tree: []guard.Entry{{Path: "/etc/passwd", Hidden: true}}})},
		{ID: "accounts-service", Title: "Nobody logs in as the services", Severity: guard.Medium,
			Why:        "The guide has the password of the account maas shared with administrators alone; none at all is safer, and nothing needs it.",
			References: []guard.Reference{guide, ours}, Judge: services,
			Samples: onEach(none, hidden, shadowHost("closed", guard.Pass, goodShadow), shadowHost("with a password", guard.Fail, "maas:$6$x$y:1::::::\nsnap_daemon:$6$x$y:1::::::\nmetalward:$6$x$y:1::::::\n"),
				shadowHost("locked", guard.Pass, "maas:!$6$x$y:1::::::\nsnap_daemon:!$6$x$y:1::::::\nmetalward:!$6$x$y:1::::::\n"))},
		{ID: "accounts-groups", Title: "Nobody is as good as root by a group", Severity: guard.Medium,
			Why:        "Such groups give all that sudo gives, with no password asked for and nothing in a log.",
			References: []guard.Reference{dockerGroup, lxdGroup, debianGroups}, Judge: groupsLikeRoot,
			Samples: onEach(none, guard.Sample{Name: "nobody", Want: guard.Pass, Tree: []guard.Entry{{Path: "/etc/group", Content: "root:x:0:\nlxd:x:110:\ndisk:x:6:root\n"}}},
				guard.Sample{Name: "bob", Want: guard.Fail, Tree: []guard.Entry{{Path: "/etc/group", Content: "root:x:0:\nlxd:x:110:bob\n"}}},
				guard.Sample{Name: "bob, as his own group", Want: guard.Fail, Tree: []guard.Entry{{Path: "/etc/group", Content: "root:x:0:\ndocker:x:1000:\n"}}})},
		{ID: "accounts-sudo", Title: "Nobody becomes root without a password", Severity: guard.Medium,
			Why:        "A forgotten session, or a program that runs as such a person, then has the controller. The guide has root's and maas's passwords shared with administrators alone.",
			References: []guard.Reference{sudoManual, guide}, Judge: sudoers,
			Samples: onEach(none, sudoHost("as Debian has it", guard.Pass, "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n"),
				sudoHost("as cloud-init has it", guard.Fail, "@includedir /etc/sudoers.d\n", guard.Entry{Path: "/etc/sudoers.d/90-cloud-init-users", Content: "ubuntu ALL=(ALL) NOPASSWD:ALL\n"}),
				sudoHost("one command", guard.Pass, "bob ALL=(root) NOPASSWD: /usr/sbin/reboot\n"), sudoHost("a shell", guard.Fail, "bob ALL=(root) NOPASSWD: /bin/sh\n"),
				sudoHost("root himself", guard.Pass, "root ALL=(ALL) NOPASSWD: ALL\n"), sudoHost("half a rule", guard.Unchecked, "bob ALL\n"), sudoHost("what may not be read", guard.Unchecked, "", guard.Entry{Path: "/etc/sudoers", Hidden: true}))},
	}
	for _, c := range list {
		c.Group, c.Versions = "accounts", everyProduct()
		c.Fix = "Change the line or the account that the finding names, and log in anew beside the present session before that is closed."
		c.Undo = "The finding's undo has the line or the account as it was."
		c.Risk = "Who logs in in the way that is closed is kept out: see that the keys, and the passwords for sudo, of all who need them work first."
	}
	return list
}
