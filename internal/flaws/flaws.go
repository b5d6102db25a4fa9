// Package flaws tells which installed packages have flaws that a file knows of. It reads the two formats that distributions publish, OSV and
// OVAL, and orders versions as dpkg does. It is pure: it reads what it is given, and knows no network, no clock and no CVE of its own.
//
// What it does not understand of a file it counts, with a reason: a record that was not understood is never a record that does not apply.
//
// Start at OSV and OVAL.
package flaws

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Limits of a file. Ubuntu's OVAL of one release has some 100 MB, all of Debian's OSV as one array some 150 MB.
const (
	MaxFile     = 512 << 20 // bytes
	maxRecords  = 1_000_000 // records of OSV, elements of OVAL that are kept
	maxWord     = 300       // bytes of an id, a name or a version
	maxMatches  = 100_000   // of a file
	maxDepth    = 30        // criteria within criteria
	maxCriteria = 3_000_000 // looked at of a file
	maxReasons  = 20        // different reasons why records were not understood
)

// System is what flaws are looked for in.
type System struct {
	ID       string // of the distribution, as /etc/os-release has it: debian, ubuntu
	Version  string // such as 12 or 22.04
	Packages []Package
}

// Package is an installed package of dpkg's.
type Package struct {
	Name          string
	Version       string
	Source        string // what it was built from, often of the same name
	SourceVersion string
}

// Match is a flaw of an installed package.
type Match struct {
	ID        string   // such as CVE-2024-6107 or USN-6000-1
	Aliases   []string // CVEs, mostly
	Package   string   // the installed one
	Installed string   // its version, or its source's where Source is what the file names
	Source    bool
	Fixed     string // the version that has no such flaw; "" where the file knows none
}

// Result is what a file says of a system.
type Result struct {
	Format    string // OSV or OVAL
	Records   int    // in the file
	Elsewhere int    // that are for other distributions or releases
	Withdrawn int
	Matches   []Match
	NotClear  int            // records that might apply, and were not understood
	Why       map[string]int // the reasons, and how many records each is of
	known     map[seen]bool
}

// seen tells matches apart.
type seen struct{ id, pkg string }

// Reasons are the reasons in order.
func (r *Result) Reasons() []string { return slices.Sorted(maps.Keys(r.Why)) }

func (r *Result) notClear(format string, args ...any) {
	r.NotClear++
	if r.Why == nil {
		r.Why = map[string]int{}
	}
	why := fmt.Sprintf(format, args...)
	if _, known := r.Why[why]; !known && len(r.Why) >= maxReasons {
		why = "for other reasons"
	}
	r.Why[why]++
}

var errMatches = fmt.Errorf("it has more than %d flaws of this host's packages", maxMatches)

// add notes a match once.
func (r *Result) add(m Match) error {
	key := seen{m.ID, m.Package}
	if r.known[key] {
		return nil
	}
	if r.known == nil {
		r.known = map[seen]bool{}
	}
	if len(r.Matches) >= maxMatches {
		return errMatches
	}
	r.known[key] = true
	r.Matches = append(r.Matches, m)
	return nil
}

// distributions are those whose packages are dpkg's and whose files are read, by what OSV and OVAL call them.
var distributions = map[string]string{"Debian": "debian", "Debian GNU/Linux": "debian", "Ubuntu": "ubuntu"}

// ecosystem tells whether a record of an ecosystem is about a system. Source: the OSV schema, "Defined ecosystems": Debian, Debian:12,
// Ubuntu:22.04:LTS, Ubuntu:Pro:18.04:LTS.
func (s System) ecosystem(e string) (ours, understood bool) {
	name, release, _ := strings.Cut(e, ":")
	if distributions[name] != s.ID {
		return false, true
	}
	switch name {
	case "Debian":
		return release == "" || release == s.Version, true
	case "Ubuntu":
		release = strings.TrimSuffix(strings.TrimPrefix(release, "Pro:"), ":LTS")
		if strings.Contains(release, ":") { // Pro:FIPS-updates:… and the like: whether this host has that kind is not known
			return strings.HasSuffix(release, ":"+s.Version), false
		}
		return release == s.Version, true
	}
	return false, true
}

// platform tells whether a platform of OVAL is the system: Ubuntu 22.04 LTS, Debian GNU/Linux 12.
func (s System) platform(p string) bool {
	p = strings.TrimSuffix(strings.TrimSpace(p), " LTS")
	i := strings.LastIndexByte(p, ' ')
	return i > 0 && distributions[p[:i]] == s.ID && p[i+1:] == s.Version
}

// word refuses what is too long or could not be shown to be what it is.
func word(s string) bool {
	return s != "" && len(s) <= maxWord && strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// limited is a reader that says when there is more than a file may have.
type limited struct {
	r    io.Reader
	left int64
}

// ErrTooLarge means that a file is larger than MaxFile.
var ErrTooLarge = errors.New("it is larger than 512 MiB")

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, ErrTooLarge
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
