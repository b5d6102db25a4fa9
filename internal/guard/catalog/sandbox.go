package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

var (
	unitManual  = guard.Reference{Title: "systemd.unit(5): drop-ins", URL: "https://www.freedesktop.org/software/systemd/man/latest/systemd.unit.html"}
	maasPackage = guard.Reference{Title: "MAAS, source code: debian/maas-region-api.maas-regiond.service, debian/maas-rack-controller.maas-rackd.service", URL: "https://github.com/canonical/maas"}
)

// sandboxed are how names of the units begin that are judged. MAAS's other ones start programs of other people, with profiles of their own.
var sandboxed = map[guard.Product][]string{guard.MAASDeb: {"maas-regiond", "maas-rackd"}, guard.Metalward: {"metalward"}}

// fences are settings that keep a service from what it has no business with: what systemd takes for on, and what the fix writes. Those that only
// Metalward is asked for would break MAAS, whose controllers start helpers by sudo (MAAS's source code, debian/*sudoers: NOPASSWD lines of the
// account maas). ProtectSystem=yes leaves /etc writable, where MAAS writes BIND's configuration. Source: systemd.exec(5); systemd.syntax(7) for
// what is true.
var fences = []struct {
	key, write string
	on         []string
	ours       bool
}{
	{"ProtectSystem", "yes", []string{"full", "strict"}, false},
	{"ProtectHome", "yes", []string{"read-only", "tmpfs"}, false},
	{"PrivateTmp", "yes", []string{"disconnected"}, false},
	{"NoNewPrivileges", "yes", nil, true},
}

var truths, untruths = []string{"1", "yes", "true", "on"}, []string{"", "0", "no", "false", "off"}

func inSandbox(h guard.Host, p guard.Product) (list []guard.Observation) {
	units, err := h.Units(sandboxed[p]...)
	if err != nil {
		list = append(list, guard.Blind("units of systemd", err))
	}
	for _, u := range units {
		if !u.Masked && u.Last("Type") != "oneshot" { // what ends at once
			list = append(list, sandbox(u, p))
		}
	}
	return list
}

func sandbox(u guard.Unit, p guard.Product) guard.Observation {
	o := guard.Observation{Subject: u.Name, State: guard.Pass, Evidence: []string{"Read: " + guard.Show(strings.Join(append([]string{u.File}, u.DropIns...), ", ")) + "."}}
	var write, missing, unknown []string
	for _, w := range fences {
		value := u.Last(w.key)
		switch seen := w.key + "=" + value; {
		case slices.Contains(truths, value) || slices.Contains(w.on, value):
			o.Evidence = append(o.Evidence, guard.Show(seen)+".")
		case w.ours && p != guard.Metalward:
			o.Evidence = append(o.Evidence, guard.Show(seen)+", which is not asked for: MAAS starts helpers by sudo.")
		case slices.Contains(untruths, value):
			missing, write = append(missing, seen), append(write, w.key+"="+w.write)
		default:
			unknown = append(unknown, seen)
		}
	}
	bounds := strings.Join(u.Service["CapabilityBoundingSet"], " ")
	switch _, set := u.Service["CapabilityBoundingSet"]; {
	case set && bounds != "~":
		o.Evidence = append(o.Evidence, "CapabilityBoundingSet="+guard.Show(bounds)+".")
	case p == guard.Metalward:
		missing = append(missing, "CapabilityBoundingSet="+bounds)
		o.Fix, o.Undo = append(o.Fix, "# Set CapabilityBoundingSet= to what the service needs, such as CAP_NET_BIND_SERVICE for ports below 1024."), append(o.Undo, "# Take CapabilityBoundingSet= out.")
	default:
		o.Evidence = append(o.Evidence, "CapabilityBoundingSet="+bounds+", which is not asked for: MAAS starts helpers by sudo.")
	}
	user := u.Last("User")
	if (user == "" || user == "root" || user == "0") && !slices.Contains(truths, u.Last("DynamicUser")) {
		missing = append(missing, "User="+user+" (root)")
		o.Fix, o.Undo = append(o.Fix, "# Set User= of an account of its own, whose the state is then to be."), append(o.Undo, "# Take User= out, and give the state back.")
	} else {
		o.Evidence = append(o.Evidence, "User="+guard.Show(user)+".")
	}
	switch {
	case len(missing) > 0:
		o.State = guard.Fail
		o.Evidence = append(o.Evidence, "What is open, or not set: "+guard.Show(strings.Join(missing, ", "))+".")
	case len(unknown) > 0:
		o.State = guard.Unchecked
	}
	if len(unknown) > 0 {
		o.Evidence = append(o.Evidence, "What these values mean is not known: "+guard.Show(strings.Join(unknown, ", "))+".")
	}
	if len(write) > 0 {
		dir, file := "/etc/systemd/system/"+u.Name+".d", "zz-harden.conf"
		for slices.ContainsFunc(u.DropIns, func(at string) bool { return strings.HasSuffix(at, "/"+file) }) {
			file = "z" + file // what is there stays, and counts less
		}
		at, again := guard.Quote(dir+"/"+file), "# Restart "+guard.Show(u.Name)+" when it may stand still, and try what it does: power, DHCP, DNS, images."
		o.Fix = append(o.Fix, fmt.Sprintf("mkdir -p %s && printf '%%s\\n' '[Service]' %s > %s && systemctl daemon-reload", guard.Quote(dir), quoted(write), at), again)
		o.Undo = append([]string{"rm -f " + at + " && systemctl daemon-reload", again}, o.Undo...)
	}
	return o
}

func quoted(words []string) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = guard.Quote(w)
	}
	return strings.Join(list, " ")
}

// sandboxes is the check of units' settings.
func sandboxes() []*guard.Check {
	const whole = "ProtectSystem=full\nProtectHome=yes\nPrivateTmp=true\nNoNewPrivileges=1\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"
	one := func(name string, want guard.State, text string, more ...guard.Entry) (list []guard.Sample) {
		for p, unit := range map[guard.Product]string{guard.MAASDeb: "maas-rackd.service", guard.Metalward: "metalward-rack.service"} {
			s := guard.Sample{Name: name, Product: p, Want: want, Tree: []guard.Entry{{Path: "/lib/systemd/system/" + unit, Content: text}}}
			for _, e := range more {
				e.Path = strings.ReplaceAll(e.Path, "UNIT", unit)
				s.Tree = append(s.Tree, e)
			}
			list = append(list, s)
		}
		return list
	}
	const packaged = "[Unit]\nDescription=MAAS Rack Controller\n[Service]\nUser=maas\nGroup=maas\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nExecStart=/usr/sbin/rackd\n"
	dropIn := func(text string) guard.Entry {
		return guard.Entry{Path: "/etc/systemd/system/UNIT.d/zz-harden.conf", Content: "[Service]\n" + text}
	}
	own := func(name string, want guard.State, p guard.Product, unit, text string) guard.Sample {
		return guard.Sample{Name: name, Product: p, Want: want, Tree: []guard.Entry{{Path: "/lib/systemd/system/" + unit, Content: text}}}
	}
	return []*guard.Check{{ID: "confinement-sandbox", Group: "confinement", Title: "systemd keeps services from what they do not need", Severity: guard.Low, Versions: map[guard.Product]string{guard.MAASDeb: since27, guard.Metalward: anyOurs},
		Why:  "A flaw in a service reaches what its process reaches: programs of the host, people's homes, other services' temporary files. MAAS's packages set an account and no more.",
		Fix:  "A drop-in with the settings that are missing. systemd-analyze security UNIT shows all that there are.",
		Risk: "A service that needs what is shut fails, perhaps only when it needs it: a script of a rack below /home, say. Try it on a host that may fail; no NoNewPrivileges for MAAS, which starts helpers by sudo.",
		Undo: "Delete the drop-in, and start the service anew.", References: []guard.Reference{execManual, unitManual, maasPackage}, Judge: inSandbox,
		Samples: together(one("as packaged", guard.Fail, packaged), one("with a drop-in", guard.Pass, packaged, dropIn(whole)), one("a drop-in that takes one back", guard.Fail, packaged, dropIn(whole+"ProtectHome=\n")),
			one("as root", guard.Fail, "[Service]\n"+whole), one("a user of the moment", guard.Pass, "[Service]\nDynamicUser=yes\n"+whole), one("a word that is not known", guard.Unchecked, packaged, dropIn(whole+"ProtectSystem=perhaps\n")),
			one("for all units", guard.Pass, packaged, guard.Entry{Path: "/etc/systemd/system/service.d/x.conf", Content: "[Service]\n" + whole}),
			one("masked", guard.NotApplicable, packaged, guard.Entry{Path: "/etc/systemd/system/UNIT"}), one("not a unit's file", guard.Unchecked, "PrivateTmp=yes\n"), one("it may not be read", guard.Unchecked, packaged, guard.Entry{Path: "/lib/systemd/system/UNIT", Hidden: true}),
			[]guard.Sample{own("no unit", guard.NotApplicable, guard.MAASDeb, "ssh.service", "[Service]\n"), own("an old region, of workers", guard.NotApplicable, guard.MAASDeb, "maas-regiond.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n"),
				own("MAAS is not asked to do without sudo", guard.Pass, guard.MAASDeb, "maas-regiond.service", "[Service]\nUser=maas\nProtectSystem=yes\nProtectHome=yes\nPrivateTmp=yes\n"),
				own("Metalward is", guard.Fail, guard.Metalward, "metalward.service", "[Service]\nUser=metalward\nProtectSystem=yes\nProtectHome=yes\nPrivateTmp=yes\n")})}}
}
