//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// alias maps a device pattern to the module that drives such devices.
type alias struct{ pattern, module string }

// loadModules inserts the modules the present devices ask for, as udev would.
// It looks several times, because a bus driver exposes new devices.
func loadModules(release string) (int, error) {
	dir := filepath.Join("/lib/modules", release)
	aliases, err := readAliases(filepath.Join(dir, "modules.alias"))
	if err != nil {
		return 0, err
	}
	deps, err := readDeps(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return 0, err
	}
	loaded := map[string]bool{}
	var failed []error
	for round := 0; round < 4; round++ {
		before := len(loaded)
		for _, device := range deviceAliases() {
			for _, a := range aliases {
				if ok, _ := path.Match(a.pattern, device); !ok {
					continue
				}
				if err := insert(dir, a.module, deps, loaded); err != nil {
					failed = append(failed, err)
				}
			}
		}
		if len(loaded) == before {
			break
		}
	}
	// Needed without a device that names them.
	for _, name := range []string{"ext4", "ipmi_devintf"} {
		if err := insert(dir, name, deps, loaded); err != nil {
			failed = append(failed, err)
		}
	}
	return len(loaded), errors.Join(failed...)
}

func readAliases(file string) ([]alias, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read module aliases: %w", err)
	}
	defer f.Close()
	var out []alias
	for s := bufio.NewScanner(f); s.Scan(); {
		field := strings.Fields(s.Text())
		if len(field) == 3 && field[0] == "alias" {
			out = append(out, alias{field[1], field[2]})
		}
	}
	return out, nil
}

// readDeps maps a module name to its file and, after it, its dependencies.
func readDeps(file string) (map[string][]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read module dependencies: %w", err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		files := strings.Fields(strings.Replace(line, ":", " ", 1))
		if len(files) > 0 {
			out[moduleName(files[0])] = files
		}
	}
	return out, nil
}

func moduleName(file string) string {
	return strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
}

// insert loads a module after its dependencies. A module that is compiled in
// has no file and needs nothing.
func insert(dir, name string, deps map[string][]string, loaded map[string]bool) error {
	files := deps[strings.ReplaceAll(name, "-", "_")]
	for i := len(files) - 1; i >= 0; i-- {
		if loaded[files[i]] {
			continue
		}
		loaded[files[i]] = true
		f, err := os.Open(filepath.Join(dir, files[i]))
		if err != nil {
			return fmt.Errorf("cannot open module: %w", err)
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		// A driver may find no device it likes; that is no error here.
		if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("cannot load module %s: %w", files[i], err)
		}
	}
	return nil
}

func deviceAliases() []string {
	var out []string
	filepath.WalkDir("/sys/devices", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "modalias" {
			if b, err := os.ReadFile(p); err == nil && len(b) > 1 {
				out = append(out, strings.TrimSpace(string(b)))
			}
		}
		return nil // devices come and go while we walk
	})
	return out
}
