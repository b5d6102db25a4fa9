package catalog

import (
	"fmt"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

var (
	capabilities = guard.Reference{Title: "capabilities(7)", URL: "https://man7.org/linux/man-pages/man7/capabilities.7.html"}
	fileAccess   = guard.Reference{Title: "GNU C Library manual, How your access to a file is decided", URL: "https://www.gnu.org/software/libc/manual/html_node/Access-Permission.html"}
	execManual   = guard.Reference{Title: "systemd.exec(5)", URL: "https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html"}
	snapUpdates  = guard.Reference{Title: "Snap documentation, Managing updates", URL: "https://snapcraft.io/docs/managing-updates"}
	snapPlugs    = guard.Reference{Title: "Snap documentation, Interface management", URL: "https://snapcraft.io/docs/interface-management"}
	snapdSource  = guard.Reference{Title: "snapd, source code", URL: "https://github.com/canonical/snapd"}
)

// rootLike are capabilities with which a process makes itself root, by their numbers. Source: capabilities(7); the kernel's
// include/uapi/linux/capability.h.
var rootLike = []struct {
	bit  uint
	name string
}{{0, "CAP_CHOWN"}, {1, "CAP_DAC_OVERRIDE"}, {2, "CAP_DAC_READ_SEARCH"}, {3, "CAP_FOWNER"}, {6, "CAP_SETGID"}, {7, "CAP_SETUID"}, {16, "CAP_SYS_MODULE"}, {17, "CAP_SYS_RAWIO"}, {19, "CAP_SYS_PTRACE"}, {21, "CAP_SYS_ADMIN"},
	{31, "CAP_SETFCAP"}}

// ourUnits are how names of the products' services begin. Source: MAAS's source code, debian/*.service. A unit of Metalward is
// taken to be called after it.
var ourUnits = map[guard.Product]string{guard.MAASDeb: "maas-", guard.Metalward: "metalward"}

// privileged judges as whom services run. It is not about the snap, all of whose services are root's within its sandbox.
func privileged(h guard.Host, p guard.Product) (list []guard.Observation) {
	all, err := h.Processes(ourUnits[p])
	if err != nil {
		list = append(list, guard.Blind("/proc", err))
	}
	for _, one := range all {
		at := fmt.Sprintf("%s of %s", one.Name, one.Unit)
		fix, undo := "# systemctl edit "+guard.Quote(one.Unit)+": User= of an account of its own, with CapabilityBoundingSet= and AmbientCapabilities= of what it needs; systemd-analyze security "+guard.Quote(one.Unit)+" shows what is left.",
			"# systemctl revert "+guard.Quote(one.Unit)+", which takes all such changes back, and start it anew."
		var strong []string
		for _, c := range rootLike {
			if one.Can>>c.bit&1 == 1 {
				strong = append(strong, c.name)
			}
		}
		switch {
		case one.UID == 0 && len(strong) > 0:
			list = append(list, failed(0, at, fix, undo, "It runs as root, with %s: who takes it over has the host.", strings.Join(strong, ", ")))
		case len(strong) > 0:
			list = append(list, failed(0, at, fix, undo, "It runs as the user %d, and has %s, with which it makes itself root.", one.UID, strings.Join(strong, ", ")))
		case one.UID == 0:
			list = append(list, failed(0, at, fix, undo, "It runs as root. It has none of the capabilities that make one of it, but root's files, those of accounts and timers among them, are its own."))
		case one.NoMore:
			list = append(list, passed(at, "It runs as the user %d, and can get no more rights.", one.UID))
		default:
			list = append(list, passed(at, "It runs as the user %d.", one.UID))
		}
	}
	return same(list)
}

// connected judges what somebody has let the snap use besides what snapd lets it by itself.
func connected(h guard.Host, _ guard.Product) (list []guard.Observation) {
	const at = "/var/lib/snapd/state.json"
	s, err := h.SnapState("maas")
	if err != nil {
		return beside(at, err)
	}
	for _, c := range s.Connections {
		if c.Auto {
			continue
		}
		list = append(list, failed(0, "maas:"+c.Plug, "snap disconnect "+guard.Quote("maas:"+c.Plug)+" "+guard.Quote(c.Slot), "snap connect "+guard.Quote("maas:"+c.Plug)+" "+guard.Quote(c.Slot),
			"Somebody has connected it with %s, by the interface %s: the sandbox is that much wider than snapd makes it.", c.Slot, c.Interface))
	}
	if len(list) == 0 {
		list = append(list, passed(at, "All %d connections of the snap are those that snapd makes by itself.", len(s.Connections)))
	}
	return list
}

// updated judges whether updates of the snap are kept back.
func updated(h guard.Host, _ guard.Product) (list []guard.Observation) {
	const at = "/var/lib/snapd/state.json"
	s, err := h.SnapState("maas")
	if err != nil {
		return beside(at, err)
	}
	for _, hold := range s.Holds {
		fix, undo := "snap refresh --unhold maas", "snap refresh --hold=forever maas"
		if strings.HasPrefix(hold.By, "refresh.hold") {
			fix, undo = "snap unset system refresh.hold", "# snap set system refresh.hold=, and the time that was there."
		}
		switch {
		case hold.Ever:
			list = append(list, failed(0, hold.By, fix, undo, "It keeps updates back for ever."))
		case hold.Until.After(h.Now()):
			list = append(list, failed(0, hold.By, fix, undo, "It keeps updates back until %s.", hold.Until.UTC().Format("2006-01-02")))
		}
	}
	if len(list) == 0 {
		list = append(list, passed(at, "Nobody keeps updates back."))
	}
	return list
}

// confinementRunning are the checks of services as they run, and of what snapd knows of the snap.
func confinementRunning() []*guard.Check {
	process := func(name string, want guard.State, uid, caps, unit string) (list []guard.Sample) {
		for p, prefix := range ourUnits {
			list = append(list, guard.Sample{Name: name, Product: p, Want: want, Tree: []guard.Entry{{Path: "/proc/77/status", Content: "Name:\tx\nUid:\t" + uid + "\t" + uid + "\t0\t0\nCapEff:\t" + caps + "\nNoNewPrivs:\t1\n"},
				{Path: "/proc/77/comm", Content: "x\n"}, {Path: "/proc/77/cgroup", Content: "0::/system.slice/" + strings.Replace(unit, "OURS", prefix, 1) + "\n"}}})
		}
		return list
	}
	snap := func(name string, want guard.State, state string) guard.Sample {
		return guard.Sample{Name: name, Product: guard.MAASSnap, Want: want, Tree: []guard.Entry{{Path: "/var/lib/snapd/state.json", Mode: 0o600, Content: `{"data": {` + state + `}, "changes": {}}`}}}
	}
	none := guard.Sample{Name: "no snapd", Product: guard.MAASSnap, Want: guard.NotApplicable}
	hidden := guard.Sample{Name: "what may not be read", Product: guard.MAASSnap, Want: guard.Unchecked, Tree: []guard.Entry{{Path: "/var/lib/snapd/state.json", Hidden: true}}}
	list := []*guard.Check{
		{ID: "confinement-processes", Title: "Services do not run with all rights", Severity: guard.Low, Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.Metalward: anyOurs},
			Why: "A flaw in a service that is root gives the host away; in one that is nobody much, what the service has.",
			Fix: "Give the service an account of its own, and what it needs of root's rights.", Risk: "A service that lacks a right fails, perhaps only when it needs it: try it on a host that may fail. What starts sudo cannot do so with NoNewPrivileges.",
			Undo: "systemctl revert takes the changes back.", References: []guard.Reference{capabilities, fileAccess, execManual}, Judge: privileged,
			Samples: together(process("root", guard.Fail, "0", "000001ffffffffff", "OURS-x.service"), process("a user", guard.Pass, "115", "0000000000000000", "OURS-x.service"), process("a user that binds low ports", guard.Pass, "115", "0000000000000400", "OURS-x.service"),
				process("a user as good as root", guard.Fail, "115", "0000000000200000", "OURS-x.service"), process("a user who may give files away", guard.Fail, "115", "0000000000000001", "OURS-x.service"), process("root with nothing", guard.Fail, "0", "0000000000000000", "OURS-x.service"), process("another's", guard.NotApplicable, "0", "000001ffffffffff", "ssh.service"),
				process("not as the kernel says it", guard.Unchecked, "x", "0", "OURS-x.service"))},
		{ID: "confinement-plugs", Title: "The snap is connected with nothing besides", Severity: guard.Low, Versions: map[guard.Product]string{guard.MAASSnap: since27},
			Why: "The guide counts on the sandbox. Each connection that somebody makes opens it: to the disks, to other users' files, to the whole system.",
			Fix: "Take the connection apart that nobody needs.", Risk: "What used it fails: see what it was made for.", Undo: "Connect it again.",
			References: []guard.Reference{guide, snapPlugs, snapdSource}, Judge: connected,
			Samples: []guard.Sample{none, hidden, snap("its own", guard.Pass, `"conns": {"maas:network :network": {"auto": true, "interface": "network"}, "lxd:home :home": {"interface": "home"}}`), snap("the whole system", guard.Fail, `"conns": {"maas:x :system-files": {"interface": "system-files"}}`),
				snap("taken apart", guard.Pass, `"conns": {"maas:x :home": {"interface": "home", "undesired": true}}`), snap("of another form", guard.Unchecked, `"conns": {"maas": {}}`), snap("no state", guard.Unchecked, `"conns": []`),
				{Name: "half a state", Product: guard.MAASSnap, Want: guard.Unchecked, Tree: []guard.Entry{{Path: "/var/lib/snapd/state.json", Content: `{"changes": {}}`}}}}},
		{ID: "confinement-held", Title: "Updates of the snap are not kept back", Severity: guard.Low, Versions: map[guard.Product]string{guard.MAASSnap: since27},
			Why: "Fixes of flaws come as updates of the snap. Several regions are updated together, so one may have reason to hold them: then somebody has to do it in time.",
			Fix: "Let updates come, or do them by a plan, and waive this.", Risk: "Regions and racks of different versions do not get along: update them together.", Undo: "Hold updates again.",
			References: []guard.Reference{snapUpdates, snapdSource}, Judge: updated,
			Samples: []guard.Sample{none, hidden, snap("not held", guard.Pass, `"conns": {}`), snap("held", guard.Fail, `"snaps-hold": {"maas": {"system": {"first-held": "2025-12-01T00:00:00Z", "hold-until": "2300-01-01T00:00:00Z", "level": 1}}}`), snap("a hold that is over", guard.Pass, `"snaps-hold": {"maas": {"system": {"hold-until": "2020-01-01T00:00:00Z"}}}`),
				snap("another snap's", guard.Pass, `"snaps-hold": {"lxd": {"system": {"hold-until": "2300-01-01T00:00:00Z"}}}`), snap("all held for ever", guard.Fail, `"config": {"core": {"refresh": {"hold": "forever"}}}`), snap("all held until", guard.Fail, `"config": {"core": {"refresh": {"hold": "2030-01-01T00:00:00Z"}}}`),
				snap("until some day", guard.Unchecked, `"config": {"core": {"refresh": {"hold": "soon"}}}`)}},
	}
	for _, c := range list {
		c.Group = "confinement"
	}
	return list
}
