// Package catalog lists what is checked on a host that runs MAAS or Metalward. Each group of checks has a file; a check is a literal, with
// samples of hosts that must fail and that must pass, which the tests judge.
//
// Facts about MAAS (paths, modes, who runs as whom) are those of its public source and documentation, named beside them. To add a check,
// add it to its group's list; the test says what is missing.
package catalog

import (
	"slices"
	"sync"

	"github.com/metalward/metalward/internal/guard"
)

// Checks are all of them, by group. They are made once, and are nobody's to change.
func Checks() []*guard.Check { return slices.Clone(checks()) }

// checks has a group a line, so that two new ones do not meet.
var checks = sync.OnceValue(func() []*guard.Check {
	return slices.Concat(
		files(),
		ports(),
		postgres(),
		accounts(),
		confinement(), confinementRunning(), sandboxes(),
		logging(), loggingSent(), secretsGroup(),
		transport(),
		balancer(),
		clients(),
		lasting(),
		rootward(),
		drift(),
		versions(),
		users(),
		bmcGroup(),
		machineServices(),
	)
})

// references that several checks name.
var (
	guideFiles = guard.Reference{Title: "MAAS documentation, MAAS security: conf file permissions, shared secrets", URL: "https://old-docs.maas.io/2.5/en/manage-maas-security"}
	guide      = guard.Reference{Title: "MAAS documentation, How to enhance MAAS security", URL: "https://maas.io/docs/how-to-enhance-maas-security"}
	about      = guard.Reference{Title: "MAAS documentation, About MAAS security", URL: "https://maas.io/docs/about-maas-security"}
	source     = guard.Reference{Title: "MAAS, source code", URL: "https://github.com/canonical/maas"}
	snapd      = guard.Reference{Title: "Snap documentation, Data locations", URL: "https://snapcraft.io/docs/data-locations"}
	inode      = guard.Reference{Title: "inode(7): the mode of a file", URL: "https://man7.org/linux/man-pages/man7/inode.7.html"}
	ours       = guard.Reference{Title: "Metalward, SECURITY.md", URL: "https://github.com/metalward/metalward/blob/main/SECURITY.md"}
)

// Versions of MAAS that a check is for: those that the guide and this catalogue are about, or unknown since when.
const (
	since27 = "2.7 to 3.8"
	unknown = "unknown"
	anyOurs = "all"
)
