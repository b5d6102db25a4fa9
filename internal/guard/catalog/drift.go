package catalog

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/firewall"
	"github.com/metalward/metalward/internal/guard"
)

// clientPorts is where UDP's ports of programs that only ask begin: they are others each time. Source: Linux kernel documentation, IP Sysctl,
// ip_local_port_range.
const clientPorts = 32768

// listening is a listener as it is the same after a start, and on a host that is like it.
func listening(l guard.Listener) string {
	at := l.Address.Addr().String()
	switch a := l.Address.Addr(); {
	case a.IsUnspecified():
		at = "any"
	case a.IsLoopback():
		at = "loopback"
	}
	by := l.Process
	if by == "" {
		by = "a process that is not known"
	}
	return fmt.Sprintf("%s %s port %d: %s", l.Protocol, at, l.Address.Port(), by)
}

// Trait is what a host has of a trait, printable, in order and without repetitions.
func Trait(h guard.Host, p guard.Product, t guard.Trait) (list []string, err error) {
	switch t {
	case guard.TraitListeners, guard.TraitOpenings:
		list, err = sockets(h, p, t == guard.TraitOpenings)
	case guard.TraitAccounts, guard.TraitGroups:
		list, err = peopleAs(h, t == guard.TraitGroups)
	case guard.TraitSudo:
		list, err = sudoAs(h)
	case guard.TraitServices:
		list, err = started(h)
	}
	for i := range list {
		list[i] = guard.Show(list[i])
	}
	slices.Sort(list)
	return slices.Compact(list), err
}

func sockets(h guard.Host, p guard.Product, open bool) (list []string, err error) {
	n, err := h.Network()
	if err != nil {
		return nil, err
	}
	v, _ := look(h, p)
	if open && n.Rules == nil {
		return nil, v.errNoRules()
	}
	for _, l := range n.Listeners {
		if l.Protocol == "udp" && l.Address.Port() >= clientPorts {
			continue
		}
		if !open {
			list = append(list, listening(l))
			continue
		}
		switch v.strange(l).verdict {
		case firewall.Accepted:
			list = append(list, listening(l))
		case firewall.CannotTell:
			return nil, fmt.Errorf("whether strangers reach %s is not known", listening(l))
		}
	}
	return list, nil
}

func peopleAs(h guard.Host, groups bool) (list []string, err error) {
	a, err := h.Accounts()
	if err != nil {
		return nil, err
	}
	if !groups {
		for _, u := range a.Users {
			list = append(list, fmt.Sprintf("%s, number %d, shell %s", u.Name, u.UID, u.Shell))
		}
		return list, nil
	}
	for _, g := range a.Groups {
		for _, name := range g.Members {
			list = append(list, g.Name+": "+name)
		}
		for _, u := range a.Users {
			if u.GID == g.GID && u.Name != g.Name {
				list = append(list, g.Name+": "+u.Name)
			}
		}
	}
	return list, nil
}

func sudoAs(h guard.Host) (list []string, err error) {
	s, err := h.Sudo()
	if err == nil {
		err = s.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no sudo
	}
	for _, r := range s.Rules {
		asked := ""
		if r.NoPasswd {
			asked = ", no password asked"
		}
		list = append(list, fmt.Sprintf("%s as %s: %s%s", strings.Join(r.Who, " "), strings.Join(r.RunAs, " "), strings.Join(r.Commands, ", "), asked))
	}
	return list, err
}

// started are the units that something wants at the start. Source: systemd.unit(5): systemctl enable makes the links.
func started(h guard.Host) (list []string, err error) {
	for _, end := range []string{"wants", "requires"} {
		found, err := h.Glob("/etc/systemd/system/*." + end + "/*")
		if err != nil {
			return nil, err
		}
		for _, at := range found {
			list = append(list, path.Base(at))
		}
	}
	return list, nil
}

// most is how many differences are told one by one.
const most = 50

// besides are the items of a list, which may be long, that another does not have.
func besides(list, other []string) (more []string) {
	has := make(map[string]bool, len(other))
	for _, item := range other {
		has[item] = true
	}
	for _, item := range list {
		if !has[item] {
			more = append(more, item)
		}
	}
	return more
}

// drifted compares a trait with what was learned.
func drifted(t guard.Trait) func(guard.Host, guard.Product) []guard.Observation {
	return func(h guard.Host, p guard.Product) (list []guard.Observation) {
		good := h.Learned()
		if good == nil {
			return nil
		}
		was, known := good.Traits[t]
		if !known {
			return []guard.Observation{guard.Blind(string(t), errors.New("the file that the host is compared with does not have it: it was not known when that was written"))}
		}
		now, err := Trait(h, p, t)
		if err != nil {
			return []guard.Observation{guard.Blind(string(t), err)}
		}
		say := func(s guard.Severity, item, text string) {
			switch {
			case len(list) < most:
				list = append(list, failed(s, item, "# Find out who changed it, and take it back; or, if it is to be so: metalward harden learn, to write the file anew.", "# Make the change again.", "%s", text))
			case len(list) == most:
				list = append(list, failed(s, string(t), "# See the others first.", "# Nothing is to be taken back.", "There are more differences than %d.", most))
			}
		}
		for _, item := range besides(now, was) {
			say(guard.Medium, item, "It is new: the host that was learned from did not have it.")
		}
		for _, item := range besides(was, now) {
			say(guard.Low, item, "It is gone: the host that was learned from had it.")
		}
		if len(list) == 0 {
			list = append(list, passed(string(t), "All %d are as they were on %s.", len(now), good.Time.UTC().Format("2006-01-02")))
		}
		return list
	}
}

// drift is the group of checks that compare a host with what was learned of a good one.
func drift() []*guard.Check {
	sample := func(name string, want guard.State, t guard.Trait, was []string, n guard.Network, tree ...guard.Entry) guard.Sample {
		s := guard.Sample{Name: name, Want: want, Tree: tree, Network: n, Learned: &guard.Learned{Format: 1, Time: guard.SampleTime, Traits: map[guard.Trait][]string{}}}
		if was != nil {
			s.Learned.Traits[t] = was
		}
		return s
	}
	one := func(t guard.Trait, title, why string, same []string, n guard.Network, hidden string, tree ...guard.Entry) *guard.Check {
		samples := []guard.Sample{{Name: "nothing was learned", Want: guard.NotApplicable, Tree: tree, Network: n}, sample("as it was", guard.Pass, t, same, n, tree...), sample("something is new", guard.Fail, t, append([]string{}, same[1:]...), n, tree...),
			sample("something is gone", guard.Fail, t, append([]string{"zzz"}, same...), n, tree...), sample("it was not known then", guard.Unchecked, t, nil, n, tree...)}
		if hidden != "" {
			samples = append(samples, sample("it is not known now", guard.Unchecked, t, same, n, guard.Entry{Path: hidden, Folder: strings.HasSuffix(hidden, ".wants"), Hidden: true}))
		}
		return &guard.Check{ID: "drift-" + string(t), Group: "drift", Title: title, Why: why, Severity: guard.Medium, Versions: everyProduct(), Judge: drifted(t), Samples: onEach(samples...),
			Fix: "Find out who changed it, and take it back; or learn anew.", Risk: "What is taken back may have been wanted: ask first.", Undo: "Make the change again.", References: []guard.Reference{ours}}
	}
	ports := on(walls("", ""), "tcp 0.0.0.0:22 sshd", "tcp 127.0.0.1:5432 postgres")
	return []*guard.Check{
		one(guard.TraitListeners, "What listens is what listened on the good host", "A program that nobody has put there listens, or one that has to be there does not.", []string{"tcp any port 22: sshd", "tcp loopback port 5432: postgres"}, ports, ""),
		one(guard.TraitOpenings, "Strangers reach what they reached on the good host", "A rule of the firewall was changed, or a program listens that was not there.", []string{"tcp any port 22: sshd"}, ports, ""),
		one(guard.TraitAccounts, "Accounts are those of the good host", "An account that nobody has asked for is how an intruder comes back.", []string{"bob, number 1000, shell /bin/sh", "root, number 0, shell /bin/bash"}, guard.Network{}, "/etc/passwd",
			guard.Entry{Path: "/etc/passwd", Content: "root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/home/bob:/bin/sh\n"}),
		one(guard.TraitGroups, "Groups have the members that they had on the good host", "A group is how somebody reads secrets, or becomes root, without a trace in his own account.", []string{"maas: bob"}, guard.Network{}, "/etc/group",
			guard.Entry{Path: "/etc/passwd", Content: "root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/home/bob:/bin/sh\n"}, guard.Entry{Path: "/etc/group", Content: "root:x:0:\nmaas:x:121:bob\nbob:x:1000:\n"}),
		one(guard.TraitSudo, "sudo lets those do what it let on the good host", "A rule of sudo is how somebody becomes root again.", []string{"root as ALL: ALL"}, guard.Network{}, "/etc/sudoers", guard.Entry{Path: "/etc/sudoers", Content: "root ALL=(ALL) ALL\n"}),
		one(guard.TraitServices, "What is started is what was started on the good host", "A service that nobody has enabled is how a program of an intruder comes back.", []string{"ssh.service"}, guard.Network{}, "/etc/systemd/system/multi-user.target.wants",
			guard.Entry{Path: "/etc/systemd/system/multi-user.target.wants/ssh.service", Content: "[Service]\n"}),
	}
}
