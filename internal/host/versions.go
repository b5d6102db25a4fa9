package host

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/metalward/metalward/internal/flaws"
	"github.com/metalward/metalward/internal/guard"
)

// Release implements guard.Host. Source: os-release(5): the one in /etc is used, else that in /usr/lib.
func (f *Facts) Release() (guard.Release, error) {
	text, err := f.Read("/etc/os-release")
	if err != nil {
		if text, err = f.Read("/usr/lib/os-release"); err != nil {
			return guard.Release{}, err
		}
	}
	r := parseRelease(string(text))
	if r.ID == "" {
		return r, errors.New("/etc/os-release does not say what the system is")
	}
	return r, nil
}

// parseRelease reads assignments as a shell would take them, without its variables. Source: os-release(5).
func parseRelease(text string) (r guard.Release) {
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			continue
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			if quote := value[0]; quote == '"' {
				value = strings.NewReplacer(`\"`, `"`, `\$`, `$`, `\\`, `\`, "\\`", "`").Replace(value[1 : n-1])
			} else {
				value = value[1 : n-1]
			}
		}
		const most = 200 // bytes of a value that is shown
		if len(value) > most {
			continue
		}
		switch name {
		case "ID":
			r.ID = value
		case "VERSION_ID":
			r.Version = value
		case "PRETTY_NAME":
			r.Name = value
		}
	}
	return r
}

// maxPackages is how many packages are looked at: some thousands on a full desktop.
const maxPackages = 100_000

// installed lists dpkg's packages. Source: deb-control(5), dpkg(1) for the status, deb-src-control(5) for Source: its version, in
// parentheses, is given where it differs from the package's.
func (f *Facts) installed() (list []flaws.Package, err error) {
	if _, _, err := f.Package(); err != nil { // reads the list once
		return nil, err
	}
	for paragraph := range strings.SplitSeq(*f.dpkg, "\n\n") {
		var p flaws.Package
		there := false
		for line := range strings.SplitSeq(paragraph, "\n") {
			name, value, ok := strings.Cut(line, ": ")
			if !ok {
				continue
			}
			switch name {
			case "Package":
				p.Name = value
			case "Status":
				there = strings.HasSuffix(value, " installed")
			case "Version":
				p.Version = version(value)
			case "Source":
				p.Source, p.SourceVersion, _ = strings.Cut(value, " ")
				p.SourceVersion = version(strings.Trim(p.SourceVersion, "()"))
			}
		}
		if !there || p.Name == "" || p.Version == "" || guard.Show(p.Name) != p.Name {
			continue
		}
		if p.Source == "" {
			p.Source = p.Name
		}
		if p.SourceVersion == "" {
			p.SourceVersion = p.Version
		}
		if list = append(list, p); len(list) > maxPackages {
			return nil, fmt.Errorf("there are more than %d packages", maxPackages)
		}
	}
	return list, nil
}

// Know takes in a file of known flaws: "osv" or "oval", by its format. Errors tell what is wrong with the file, or why the host's packages
// are not known.
func (f *Facts) Know(format, path string, r io.Reader) error {
	release, err := f.Release()
	if err != nil {
		return fmt.Errorf("cannot tell which of its records are for this host: %w", err)
	}
	packages, err := f.installed()
	if err != nil {
		return fmt.Errorf("cannot tell which packages are installed: %w", err)
	}
	read := flaws.OSV
	if format == "oval" {
		read = flaws.OVAL
	}
	result, err := read(r, flaws.System{ID: release.ID, Version: release.Version, Packages: packages})
	if err != nil {
		return err
	}
	f.flaws = append(f.flaws, guard.FlawFile{Path: path, Result: *result})
	return nil
}

// Flaws implements guard.Host.
func (f *Facts) Flaws() ([]guard.FlawFile, error) {
	if s, ok := f.src.(interface {
		Flaws() ([]guard.FlawFile, error)
	}); ok {
		return s.Flaws()
	}
	if f.flaws == nil {
		return nil, guard.ErrNoFiles
	}
	return f.flaws, nil
}
