package host

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// unitFolders are where units of the system are, the first that has one counting. Those of generators and of systemctl set-property are left out.
// Source: systemd.unit(5), "Unit file load path".
var unitFolders = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}

// Units implements guard.Host. Templates are left out: their instances are not files. A link to /dev/null takes a unit or a drop-in away.
func (f *Facts) Units(prefixes ...string) (list []guard.Unit, err error) {
	names := map[string]bool{}
	for _, dir := range unitFolders {
		for _, prefix := range prefixes {
			found, err := f.match(dir, prefix+"*.service")
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			for _, at := range found {
				if !strings.Contains(path.Base(at), "@") {
					names[path.Base(at)] = true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		u, err := f.unit(name)
		if err != nil {
			return list, err
		}
		list = append(list, u)
	}
	return list, nil
}

func (f *Facts) unit(name string) (guard.Unit, error) {
	u := guard.Unit{Name: name, Service: map[string][]string{}}
	for _, dir := range unitFolders {
		at := path.Join(dir, name)
		if _, err := f.File(at); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return u, err
		}
		text, none, err := f.unitText(at)
		if err != nil {
			return u, err
		}
		u.File, u.Masked = at, none
		if err := parseUnitFile(text, u.Service); err != nil {
			return u, fmt.Errorf("%s: %w", at, err)
		}
		break
	}
	// Of drop-ins of one name the folder counts that is nearest to the unit's name, and of those the first of unitFolders.
	chosen := map[string]string{}
	for _, folder := range dropInFolders(name) {
		for _, dir := range unitFolders {
			found, err := f.match(path.Join(dir, folder), "*.conf")
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return u, err
			}
			for _, at := range found {
				if chosen[path.Base(at)] == "" {
					chosen[path.Base(at)] = at
				}
			}
		}
	}
	for _, file := range slices.Sorted(maps.Keys(chosen)) {
		text, none, err := f.unitText(chosen[file])
		if err != nil {
			return u, err
		}
		if none {
			continue
		}
		if err := parseUnitFile(text, u.Service); err != nil {
			return u, fmt.Errorf("%s: %w", chosen[file], err)
		}
		u.DropIns = append(u.DropIns, chosen[file])
	}
	return u, nil
}

// unitText reads a file of a unit; none where it is empty or leads to /dev/null.
func (f *Facts) unitText(at string) (text []byte, none bool, err error) {
	about, err := f.File(at)
	if err == nil && about.Real == "/dev/null" {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	text, err = f.Read(at)
	return text, err == nil && len(text) == 0, err
}

// dropInFolders are those of a unit, the nearest first: maas-regiond.service.d, maas-.service.d, service.d. Source: systemd.unit(5).
func dropInFolders(name string) []string {
	stem := strings.TrimSuffix(name, ".service")
	list := []string{name + ".d"}
	for i := len(stem) - 2; i >= 0; i-- {
		if stem[i] == '-' {
			list = append(list, stem[:i+1]+".service.d")
		}
	}
	return append(list, "service.d")
}

// merged are the lists whose assignments add up. Others that are read here are replaced by the next assignment, and unset by an empty one.
const merged = "CapabilityBoundingSet"

// parseUnitFile adds the assignments of [Service] to those that are there. What is neither a section, an assignment, a comment nor empty is an error, as is a
// file that ends within a line. Source: systemd.syntax(7).
func parseUnitFile(text []byte, into map[string][]string) error {
	section, line, more := "", "", false
	for raw := range strings.SplitSeq(string(text), "\n") {
		part := strings.TrimLeft(strings.TrimSuffix(raw, "\r"), " \t")
		if strings.HasPrefix(part, "#") || strings.HasPrefix(part, ";") {
			continue // also between a line and what it goes on with
		}
		if line += part; strings.HasSuffix(line, `\`) {
			line, more = strings.TrimSuffix(line, `\`)+" ", true
			continue
		}
		full := strings.TrimSpace(line)
		line, more = "", false
		key, value, ok := strings.Cut(full, "=")
		switch {
		case full == "":
		case strings.HasPrefix(full, "[") && strings.HasSuffix(full, "]"):
			section = full[1 : len(full)-1]
		case !ok || section == "":
			return fmt.Errorf("the line %.40q is no assignment in a section", full)
		case section == "Service":
			key, value = strings.TrimSpace(key), strings.TrimSpace(value)
			if key == merged && value != "" && value != "~" {
				into[key] = append(into[key], value)
			} else {
				into[key] = []string{value}
			}
		}
	}
	if more {
		return errors.New("it ends within a line")
	}
	return nil
}
