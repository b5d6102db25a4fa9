package host

import (
	"cmp"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// Installed is a product that is on a host.
type Installed struct {
	Product guard.Product `json:"product"`
	Version string        `json:"version"` // "unknown" where nothing says so
	Why     string        `json:"why"`     // what it was told by
}

// packages are those of a MAAS controller, unlike of its command line alone.
var packages = []string{"maas-region-api", "maas-region-controller", "maas-rack-controller"}

const unknown = "unknown"

// Products tells which products are installed. The error says what could not be looked at; what was found otherwise comes with it.
//
// Sources: snapd keeps a snap's data in /var/snap/NAME and its description in /snap/NAME/current/meta/snap.yaml; dpkg(1) keeps
// /var/lib/dpkg/status; the places of MAAS's files are those of MAAS's packages and snap.
func (f *Facts) Products() ([]Installed, error) {
	var list []Installed
	var errs []error
	there := func(path string) bool {
		_, err := f.follow(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return err == nil
	}
	if why := "/var/snap/maas"; there(why) {
		yaml, _ := f.Read("/snap/maas/current/meta/snap.yaml") // without it the version is unknown
		list = append(list, Installed{guard.MAASSnap, snapVersion(string(yaml)), why})
	}
	name, version, err := f.Package(packages...)
	if err != nil {
		errs = append(errs, err)
	}
	if name != "" {
		list = append(list, Installed{guard.MAASDeb, version, "package " + name})
	} else {
		for _, why := range []string{"/etc/maas/regiond.conf", "/etc/maas/rackd.conf"} {
			if there(why) {
				list = append(list, Installed{guard.MAASDeb, unknown, why})
				break
			}
		}
	}
	if there(f.state()) {
		list = append(list, Installed{guard.Metalward, f.marked(), f.state()})
	}
	return list, errors.Join(errs...)
}

// usualState is where Metalward keeps its state unless somebody chose another folder, and how checks write that folder.
const usualState = "/var/lib/metalward"

// State says in which folder Metalward keeps its state on the host. Checks go on writing /var/lib/metalward; what they are told has the
// folder's own name. account is whom its daemon is known to run as, who may then own the state as "metalward" may; "" where that is not known.
func (f *Facts) State(dir, account string) { f.stateDir, f.account = path.Clean("/"+dir), account }

func (f *Facts) state() string { return cmp.Or(f.stateDir, usualState) }

// elsewhere is a path, or a pattern if so, as the host has it: what is below the usual folder is below the one that State named.
func (f *Facts) elsewhere(p string, pattern bool) string {
	rest, ok := strings.CutPrefix(p, usualState)
	if !ok || rest != "" && rest[0] != '/' || f.state() == usualState {
		return p
	}
	if pattern {
		return literal.Replace(f.state()) + rest
	}
	return f.state() + rest
}

// literal makes a name a pattern that matches it alone.
var literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// marked is that version; a rack beside a region has a folder of its own in the region's.
func (f *Facts) marked() string {
	for _, at := range []string{"", "rack"} {
		text, err := f.read(path.Join(f.state(), at, guard.VersionFile), maxMarker)
		if v := version(strings.TrimSpace(string(text))); err == nil && v != "" {
			return v
		}
	}
	return unknown
}

const maxMarker = 256 // bytes of the version

// Package implements guard.Host.
func (f *Facts) Package(names ...string) (name, version string, err error) {
	if f.dpkg == nil {
		status, err := f.read("/var/lib/dpkg/status", maxStatus)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", "", err
		}
		text := string(status)
		f.dpkg = &text
	}
	name, version = dpkgVersion(*f.dpkg, names)
	return name, version, nil
}

// snapVersion is the version in a snap's description. Source: snapcraft's documentation of snap.yaml; the value is a plain or quoted word.
func snapVersion(yaml string) string {
	for line := range strings.Lines(yaml) {
		if value, ok := strings.CutPrefix(line, "version:"); ok {
			if v := version(strings.Trim(strings.TrimSpace(value), `'"`)); v != "" {
				return v
			}
		}
	}
	return unknown
}

// dpkgVersion is the first of the named packages that is installed. Source: deb-control(5), dpkg(1) for the status.
func dpkgVersion(status string, wanted []string) (name, v string) {
	for paragraph := range strings.SplitSeq(status, "\n\n") {
		rest, ok := strings.CutPrefix(strings.TrimLeft(paragraph, "\n"), "Package: ")
		if !ok {
			continue
		}
		pkg, rest, _ := strings.Cut(rest, "\n")
		if !slices.Contains(wanted, pkg) {
			continue
		}
		installed, v := false, unknown
		for line := range strings.SplitSeq(rest, "\n") {
			if state, ok := strings.CutPrefix(line, "Status: "); ok {
				installed = strings.HasSuffix(state, " installed")
			}
			if value, ok := strings.CutPrefix(line, "Version: "); ok && version(value) != "" {
				v = value
			}
		}
		if installed {
			return pkg, v
		}
	}
	return "", ""
}

// version is a word that may be a version, else nothing. Source: deb-version(7) has the widest alphabet.
func version(s string) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-~:"
	if len(s) > 100 || strings.Trim(s, alphabet) != "" {
		return ""
	}
	return s
}
