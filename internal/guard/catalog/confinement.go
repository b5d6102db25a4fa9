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
	ipSysctl     = guard.Reference{Title: "Linux kernel documentation, IP Sysctl", URL: "https://docs.kernel.org/networking/ip-sysctl.html"}
	fsSysctl     = guard.Reference{Title: "Linux kernel documentation, Documentation for /proc/sys/fs", URL: "https://docs.kernel.org/admin-guide/sysctl/fs.html"}
	yamaManual   = guard.Reference{Title: "Linux kernel documentation, Yama", URL: "https://docs.kernel.org/admin-guide/LSM/Yama.html"}
	snapManual   = guard.Reference{Title: "Snapcraft documentation, Snap confinement", URL: "https://snapcraft.io/docs/snap-confinement"}
	armorManual  = guard.Reference{Title: "Linux kernel documentation, AppArmor", URL: "https://docs.kernel.org/admin-guide/LSM/apparmor.html"}
	upgradesWiki = guard.Reference{Title: "Debian Wiki, UnattendedUpgrades", URL: "https://wiki.debian.org/UnattendedUpgrades"}
	installMAAS  = guard.Reference{Title: "MAAS documentation, How to install MAAS", URL: "https://canonical.com/maas/docs/latest/how-to-guides/get-started/install-maas/"}
)

// kernel is a setting of the kernel: which values are right.
type kernel struct {
	key   string
	good  []string
	write string // one of good
}

// sysctls judges settings, as they are and as they will be after a start. One that this kernel does not have is left out.
func sysctls(list []kernel, severity guard.Severity, why string) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, _ guard.Product) (seen []guard.Observation) {
		for _, k := range list {
			s, err := h.Sysctl(k.key)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				seen = append(seen, guard.Blind(k.key, err))
				continue
			}
			fix := fmt.Sprintf("echo '%s = %s' > /etc/sysctl.d/99-metalward-%s.conf && sysctl -w %s=%s", k.key, k.write, strings.ReplaceAll(k.key, ".", "-"), k.key, k.write)
			undo := fmt.Sprintf("rm /etc/sysctl.d/99-metalward-%s.conf", strings.ReplaceAll(k.key, ".", "-"))
			if s.Now != "" {
				undo += fmt.Sprintf(" && sysctl -w %s=%s", k.key, guard.Quote(s.Now))
			}
			switch {
			case s.Now != "" && !slices.Contains(k.good, s.Now):
				seen = append(seen, failed(severity, k.key, fix, undo, "It is %s, and is to be %s: %s", s.Now, strings.Join(k.good, " or "), why))
			case s.Next != "" && !slices.Contains(k.good, s.Next):
				seen = append(seen, failed(severity, k.key, fix, undo, "It will be %s after the next start, by %s, line %d, and is to be %s: %s", s.Next, s.File, s.Line, strings.Join(k.good, " or "), why))
			case s.Now != "":
				seen = append(seen, passed(k.key, "It is %s.", s.Now))
			default:
				seen = append(seen, passed(k.key, "It is configured as %s, by %s.", s.Next, s.File))
			}
		}
		return seen
	}
}

// both are a setting for all interfaces and for those to come, of IPv4 or both.
func both(name, value string, versions ...string) (list []kernel) {
	for _, v := range versions {
		for _, of := range []string{"all", "default"} {
			list = append(list, kernel{"net." + v + ".conf." + of + "." + name, []string{value}, value})
		}
	}
	return list
}

// reverse is the check of where packets come from: the kernel takes the larger value of all and the interface.
func reverse(h guard.Host, _ guard.Product) []guard.Observation {
	const all, usual = "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter"
	a, err := h.Sysctl(all)
	if err != nil {
		return beside(all, err)
	}
	d, err := h.Sysctl(usual)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return []guard.Observation{guard.Blind(usual, err)}
	}
	weak := func(a, d string) bool { return (a == "0" || a == "") && (d == "0" || d == "") }
	now, next := a.Now != "" && weak(a.Now, d.Now), (a.Next != "" || d.Next != "") && weak(a.Next, d.Next)
	open, err := withoutReverse(h)
	if err != nil {
		return []guard.Observation{guard.Blind("net.ipv4.conf.*.rp_filter", err)}
	}
	if len(open) > 0 && !now && a.Now == "0" { // what is there may have a value of its own
		o := failed(guard.Medium, strings.Join(open, ", "), "echo '"+all+" = 2' > /etc/sysctl.d/99-metalward-rp-filter.conf && sysctl -w "+all+"=2", "rm /etc/sysctl.d/99-metalward-rp-filter.conf && sysctl -w "+all+"=0",
			"%s is 0, and so it is at %s, whatever %s is: a packet with another network's address as its sender is taken there.", all, fewOf(open), usual)
		return []guard.Observation{o}
	}
	if !now && !next {
		return []guard.Observation{passed(all, "Packets whose sender could not be answered are dropped: %s is %q, %s is %q.", all, a.Now+a.Next, usual, d.Now+d.Next)}
	}
	undo := "rm /etc/sysctl.d/99-metalward-rp-filter.conf"
	if a.Now != "" {
		undo += " && sysctl -w " + all + "=" + guard.Quote(a.Now)
	}
	return []guard.Observation{failed(guard.Medium, all, "echo '"+all+" = 2' > /etc/sysctl.d/99-metalward-rp-filter.conf && sysctl -w "+all+"=2", undo,
		"%s and %s are 0: a packet with another network's address as its sender is taken, a machine's on the deployment network that says it comes from the management network, for example.", all, usual)}
}

// withoutReverse are the interfaces that are there whose own setting is 0, but for the loopback.
func withoutReverse(h guard.Host) (names []string, err error) {
	found, err := h.Glob("/proc/sys/net/ipv4/conf/*/rp_filter")
	for _, at := range found {
		name := path.Base(path.Dir(at))
		if name == "all" || name == "default" || name == "lo" {
			continue
		}
		text, bad := h.Read(at)
		if bad != nil && !errors.Is(bad, fs.ErrNotExist) {
			err = bad
		}
		if strings.TrimSpace(string(text)) == "0" {
			names = append(names, name)
		}
	}
	return names, err
}

func snapConfined(h guard.Host, _ guard.Product) []guard.Observation {
	const at = "/snap/maas/current/meta/snap.yaml"
	text, err := h.Read(at)
	if err != nil {
		return beside(at, err)
	}
	for line := range strings.Lines(string(text)) {
		value, ok := strings.CutPrefix(line, "confinement:")
		if !ok {
			continue
		}
		if value = strings.Trim(strings.TrimSpace(value), `'"`); value == "strict" {
			return []guard.Observation{passed(at, "The snap is built with strict confinement.")}
		}
		return []guard.Observation{failed(guard.High, at, "snap refresh maas --channel=stable", "snap revert maas", "The snap is built with the confinement %q: it is not kept from the rest of the host.", value)}
	}
	return []guard.Observation{guard.Blind(at, errors.New("it does not say how the snap is confined"))}
}

func appArmor(h guard.Host, _ guard.Product) []guard.Observation {
	const at, selinux = "/sys/module/apparmor/parameters/enabled", "/sys/fs/selinux/enforce"
	text, err := h.Read(at)
	if err == nil && strings.TrimSpace(string(text)) == "Y" {
		return []guard.Observation{passed(at, "AppArmor is on.")}
	}
	if enforce, err := h.Read(selinux); err == nil && strings.TrimSpace(string(enforce)) == "1" {
		return []guard.Observation{passed(selinux, "SELinux enforces.")}
	}
	if _, own := h.File("/proc/sys/kernel/ostype"); own != nil && errors.Is(err, fs.ErrNotExist) {
		return nil // a copy of files says nothing about a kernel
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return []guard.Observation{guard.Blind(at, err)}
	}
	return []guard.Observation{failed(guard.Medium, at, "# In /etc/default/grub add to GRUB_CMDLINE_LINUX: apparmor=1 security=apparmor; then update-grub, and start the host anew.",
		"# Take the words out again, update-grub, and start the host anew.", "Neither AppArmor nor SELinux is on: what keeps services, and snaps, to their own files is missing.")}
}

func upgrades(h guard.Host, _ guard.Product) []guard.Observation {
	const at, setting = "/etc/apt/apt.conf.d", "APT::Periodic::Unattended-Upgrade"
	if _, err := h.File("/var/lib/dpkg/status"); err != nil {
		return beside("/var/lib/dpkg/status", err)
	}
	name, _, err := h.Package("unattended-upgrades")
	if err != nil {
		return []guard.Observation{guard.Blind("/var/lib/dpkg/status", err)}
	}
	const fix, undo = "apt-get install unattended-upgrades && dpkg-reconfigure -plow unattended-upgrades", "apt-get remove unattended-upgrades"
	if name == "" {
		return []guard.Observation{failed(guard.Medium, at, fix, undo, "The package unattended-upgrades is not installed: security updates wait until somebody thinks of them.")}
	}
	all, err := h.Apt()
	if err != nil {
		return []guard.Observation{guard.Blind(at, err)}
	}
	const lists = "APT::Periodic::Update-Package-Lists"
	if v := all[strings.ToLower(lists)].Value; v == "0" || v == "" {
		return []guard.Observation{failed(guard.Medium, at, "printf '%s \"1\";\\n' "+lists+" "+setting+" > /etc/apt/apt.conf.d/99-metalward-upgrades", "rm /etc/apt/apt.conf.d/99-metalward-upgrades",
			"%s is %q: which updates there are is not asked for, so that none is installed.", lists, v)}
	}
	s, ok := all[strings.ToLower(setting)]
	if !ok || s.Value == "0" || s.Value == "" {
		return []guard.Observation{failed(guard.Medium, at, "echo '"+setting+" \"1\";' > /etc/apt/apt.conf.d/99-metalward-upgrades", "rm /etc/apt/apt.conf.d/99-metalward-upgrades",
			"%s is %q: security updates are not installed by themselves.", setting, s.Value)}
	}
	return []guard.Observation{passed(s.File, "%s is %q.", setting, s.Value)}
}

func timeSync(h guard.Host, p guard.Product) []guard.Observation {
	if p == guard.MAASSnap {
		return []guard.Observation{passed("/snap/maas", "The snap brings its own chrony.")}
	}
	if _, err := h.File("/var/lib/dpkg/status"); err != nil {
		return beside("/var/lib/dpkg/status", err)
	}
	name, version, err := h.Package("chrony", "ntpsec", "systemd-timesyncd", "openntpd", "ntp")
	if err != nil {
		return []guard.Observation{guard.Blind("/var/lib/dpkg/status", err)}
	}
	if name == "" {
		return []guard.Observation{failed(guard.Medium, "/var/lib/dpkg/status", "apt-get install chrony", "apt-get remove chrony",
			"No package that sets the clock is installed: certificates, tokens, and the order of what logs say, depend on it.")}
	}
	const units = "/etc/systemd/system"
	if _, err := h.File(units); err != nil {
		return []guard.Observation{guard.Blind(units, fmt.Errorf("whether %s is started with the host: %w", name, err))}
	}
	switch list, err := started(h); {
	case err != nil:
		return []guard.Observation{guard.Blind(units, err)}
	case slices.Contains(list, name+".service"):
		return []guard.Observation{passed("/var/lib/dpkg/status", "%s %s sets the clock, and starts with the host.", name, version)}
	}
	return []guard.Observation{failed(guard.Medium, units, "systemctl enable --now "+name, "systemctl disable --now "+name, "%s is installed, but not started with the host.", name)}
}

// starting is a service that starts with the host.
func starting(name string) guard.Entry {
	return guard.Entry{Path: "/etc/systemd/system/multi-user.target.wants/" + name + ".service"}
}

func treeOf(name string, want guard.State, entries ...guard.Entry) guard.Sample {
	return guard.Sample{Name: name, Want: want, Tree: entries}
}

func sysctlHost(name string, want guard.State, settings ...string) guard.Sample {
	s := guard.Sample{Name: name, Want: want, Tree: []guard.Entry{{Path: "/proc/sys/kernel/ostype", Content: "Linux\n"}}}
	for _, line := range settings {
		key, value, _ := strings.Cut(line, "=")
		s.Tree = append(s.Tree, guard.Entry{Path: "/proc/sys/" + strings.ReplaceAll(key, ".", "/"), Content: value + "\n"})
	}
	return s
}

func configured(name string, want guard.State, text string) guard.Sample {
	return treeOf(name, want, guard.Entry{Path: "/etc/sysctl.d/50.conf", Content: text})
}

// confinement is the group of checks of what keeps services apart and the host up to date.
func confinement() []*guard.Check {
	none := guard.Sample{Name: "nothing of the kind", Want: guard.NotApplicable}
	status := func(names ...string) guard.Entry {
		e := guard.Entry{Path: "/var/lib/dpkg/status"}
		for _, n := range names {
			e.Content += "Package: " + n + "\nStatus: install ok installed\nVersion: 1.0-1\n\n"
		}
		return e
	}
	const snapYAML = "/snap/maas/current/meta/snap.yaml"
	list := []*guard.Check{
		{ID: "confinement-reverse-path", Title: "Packets with a false sender are dropped", Severity: guard.Medium,
			Why:        "A rack stands between networks: machines must not pass for the management network, nor it for them.",
			References: []guard.Reference{ipSysctl, guide}, Judge: reverse,
			Risk: "The value 2 asks only that some interface leads back to the sender; 1 breaks hosts that are reached by one interface and answer by another.",
			Samples: onEach(none, sysctlHost("off", guard.Fail, "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"), sysctlHost("loose", guard.Pass, "net.ipv4.conf.all.rp_filter=2", "net.ipv4.conf.default.rp_filter=0"),
				sysctlHost("strict by default", guard.Pass, "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=1"), sysctlHost("strict by default, but for an interface", guard.Fail, "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=1", "net.ipv4.conf.lo.rp_filter=0", "net.ipv4.conf.eth0.rp_filter=0"),
				sysctlHost("off at an interface, and strict for all", guard.Pass, "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.default.rp_filter=1", "net.ipv4.conf.eth0.rp_filter=0"), configured("a copy of files", guard.Fail, "net.ipv4.conf.all.rp_filter = 0\n"),
				configured("a copy of files, with *", guard.Pass, "net.ipv4.conf.*.rp_filter = 2\n"))},
		{ID: "confinement-source-route", Title: "Senders do not choose the way of packets", Severity: guard.Medium,
			Why:        "With source routing a packet goes around a firewall. The guide has its readers look for such packets in the log.",
			References: []guard.Reference{ipSysctl, guide}, Risk: "None that is known: nothing needs source routing.",
			Judge: sysctls(both("accept_source_route", "0", "ipv4", "ipv6"), guard.Medium, "packets may bring their own route."),
			Samples: onEach(none, sysctlHost("on", guard.Fail, "net.ipv4.conf.all.accept_source_route=1"), sysctlHost("off", guard.Pass, "net.ipv4.conf.all.accept_source_route=0", "net.ipv6.conf.all.accept_source_route=0"),
				configured("on after the next start", guard.Fail, "net/ipv4/conf/all/accept_source_route=1\n"))},
		{ID: "confinement-redirects", Title: "Strangers do not change the routes", Severity: guard.Medium,
			Why:        "An ICMP redirect of a machine sends the controller's packets through that machine.",
			References: []guard.Reference{ipSysctl}, Risk: "Where routers really send redirects, packets take the longer way.",
			Judge:   sysctls(slices.Concat(both("accept_redirects", "0", "ipv4", "ipv6"), both("send_redirects", "0", "ipv4")), guard.Medium, "routes are changed by ICMP."),
			Samples: onEach(none, sysctlHost("on", guard.Fail, "net.ipv4.conf.all.accept_redirects=1"), sysctlHost("off", guard.Pass, "net.ipv4.conf.all.accept_redirects=0", "net.ipv4.conf.all.send_redirects=0"))},
		{ID: "confinement-martians", Title: "Impossible packets are logged", Severity: guard.Low,
			Why:        "What comes with a sender that cannot be is a broken network or an attack; the log is where one sees it.",
			References: []guard.Reference{ipSysctl, guide}, Risk: "More lines in the kernel's log, which it limits by itself.",
			Judge:   sysctls(both("log_martians", "1", "ipv4"), guard.Low, "nobody hears of packets with an impossible sender."),
			Samples: onEach(none, sysctlHost("off", guard.Fail, "net.ipv4.conf.all.log_martians=0"), sysctlHost("on", guard.Pass, "net.ipv4.conf.all.log_martians=1"))},
		{ID: "confinement-links", Title: "Links in shared folders lead nobody astray", Severity: guard.Medium,
			Why:        "Without it whoever may write to /tmp makes a service write to a file of his choice.",
			References: []guard.Reference{fsSysctl}, Risk: "None that is known: distributions have had it on for years.",
			Judge: sysctls([]kernel{{"fs.protected_symlinks", []string{"1"}, "1"}, {"fs.protected_hardlinks", []string{"1"}, "1"}, {"fs.suid_dumpable", []string{"0", "2"}, "0"}}, guard.Medium,
				"a link in a shared folder, or the core of a program, can give away or overwrite what is another's."),
			Samples: onEach(none, sysctlHost("off", guard.Fail, "fs.protected_symlinks=0"), sysctlHost("on", guard.Pass, "fs.protected_symlinks=1", "fs.protected_hardlinks=1", "fs.suid_dumpable=2"))},
		{ID: "confinement-ptrace", Title: "Processes do not read each other's memory", Severity: guard.Low,
			Why:        "With it a program that was taken over reads the keys out of the others of the same account.",
			References: []guard.Reference{yamaManual}, Risk: "Debuggers attach to their own children alone.",
			Judge:   sysctls([]kernel{{"kernel.yama.ptrace_scope", []string{"1", "2", "3"}, "1"}}, guard.Low, "any process may look into others of its account."),
			Samples: onEach(none, sysctlHost("off", guard.Fail, "kernel.yama.ptrace_scope=0"), sysctlHost("on", guard.Pass, "kernel.yama.ptrace_scope=1"))},
		{ID: "confinement-snap", Title: "The snap is confined", Severity: guard.High, Versions: map[guard.Product]string{guard.MAASSnap: since27},
			Why:        "The guide counts on the snap's sandbox. One sandbox holds region, rack, DNS, DHCP and proxy together, so it keeps them from the host, not from each other.",
			References: []guard.Reference{guide, snapManual}, Risk: "Another revision of MAAS may change the database, which does not go back by itself: take a backup first.", Judge: snapConfined,
			Samples: []guard.Sample{{Name: "strict", Product: guard.MAASSnap, Want: guard.Pass, Tree: []guard.Entry{{Path: snapYAML, Content: "name: maas\nconfinement: strict\n"}}},
				{Name: "devmode", Product: guard.MAASSnap, Want: guard.Fail, Tree: []guard.Entry{{Path: snapYAML, Content: "name: maas\nconfinement: devmode\n"}}},
				{Name: "not said", Product: guard.MAASSnap, Want: guard.Unchecked, Tree: []guard.Entry{{Path: snapYAML, Content: "name: maas\n"}}}}},
		{ID: "confinement-mac", Title: "AppArmor or SELinux is on", Severity: guard.Medium,
			Why:        "Snaps and many services are kept to their own files by it alone.",
			References: []guard.Reference{armorManual, snapManual}, Risk: "Services with a profile that does not fit fail: look for DENIED in the kernel's log.", Judge: appArmor,
			Samples: onEach(none, sysctlHost("neither", guard.Fail), treeOf("AppArmor", guard.Pass, guard.Entry{Path: "/sys/module/apparmor/parameters/enabled", Content: "Y\n"}),
				treeOf("off", guard.Fail, guard.Entry{Path: "/sys/module/apparmor/parameters/enabled", Content: "N\n"}), treeOf("SELinux", guard.Pass, guard.Entry{Path: "/sys/fs/selinux/enforce", Content: "1"}))},
		{ID: "confinement-upgrades", Title: "Security updates are installed by themselves", Severity: guard.Medium,
			Why:        "Most intruders use flaws for which an update has been there for weeks.",
			References: []guard.Reference{upgradesWiki}, Risk: "A service may be restarted at night: keep out with Unattended-Upgrade::Package-Blacklist what must not.", Judge: upgrades,
			Samples: onEach(none, treeOf("not installed", guard.Fail, status("bash")), treeOf("not turned on", guard.Fail, status("unattended-upgrades")),
				treeOf("on", guard.Pass, status("unattended-upgrades"), guard.Entry{Path: "/etc/apt/apt.conf.d/20auto-upgrades", Content: "APT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n"}),
				treeOf("on, and never asks which there are", guard.Fail, status("unattended-upgrades"), guard.Entry{Path: "/etc/apt/apt.conf.d/20auto-upgrades", Content: "APT::Periodic::Unattended-Upgrade \"1\";\n"}),
				treeOf("turned off later", guard.Fail, status("unattended-upgrades"), guard.Entry{Path: "/etc/apt/apt.conf.d/20auto-upgrades", Content: "APT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n"},
					guard.Entry{Path: "/etc/apt/apt.conf.d/99x", Content: "APT { Periodic { Unattended-Upgrade \"0\"; }; };\n"}),
				treeOf("half a configuration", guard.Unchecked, status("unattended-upgrades"), guard.Entry{Path: "/etc/apt/apt.conf.d/20x", Content: "APT::Periodic::Unattended-Upgrade \"1"}))},
		{ID: "confinement-time", Title: "The clock is set", Severity: guard.Medium, Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.Metalward: anyOurs},
			Why:        "Certificates and tokens end by the clock, and logs of several hosts are put side by side by it.",
			References: []guard.Reference{installMAAS, ours}, Risk: "MAAS brings chrony and does not get along with systemd-timesyncd beside it.", Judge: timeSync,
			Samples: slices.DeleteFunc(onEach(none, treeOf("nothing", guard.Fail, status("bash")), treeOf("chrony", guard.Pass, status("bash", "chrony"), starting("chrony")), treeOf("chrony that was disabled", guard.Fail, status("bash", "chrony"), starting("ssh")),
				treeOf("another's start", guard.Fail, status("bash", "chrony"), guard.Entry{Path: "/etc/systemd/system/chrony.service.d/x"}), treeOf("no systemd", guard.Unchecked, status("bash", "chrony"))), func(s guard.Sample) bool { return s.Product == guard.MAASSnap })},
	}
	for _, c := range list {
		if c.Group = "confinement"; c.Versions == nil {
			c.Versions = everyProduct()
		}
		c.Fix = "Run the commands of the finding: they change the running system and what the next start does."
		c.Undo = "The commands of the finding's undo put back what was."
	}
	return list
}
