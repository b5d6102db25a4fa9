package host

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// sysctlFolders are where settings are configured; a file keeps those of the same name in later folders out. Source: sysctl.d(5), sysctl(8).
var sysctlFolders = []string{"/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d"}

// Sysctl implements guard.Host. A setting that this kernel does not have, and nothing configures, is fs.ErrNotExist.
func (f *Facts) Sysctl(key string) (guard.Sysctl, error) {
	s := guard.Sysctl{Key: key}
	now, err := f.Read("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	s.Now = strings.TrimSpace(string(now))
	files := map[string]string{} // by name
	for _, dir := range sysctlFolders {
		list, err := f.match(dir, "*.conf")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
		for _, at := range list {
			if _, ok := files[path.Base(at)]; !ok {
				files[path.Base(at)] = at
			}
		}
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = files[name]
	}
	for _, file := range append(names, "/etc/sysctl.conf") { // which sysctl(8) reads last, and Debian links into the folder
		text, err := f.Read(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return s, err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if pattern, value, ok := sysctlLine(line); ok && sysctlMatch(pattern, key) {
				s.Next, s.File, s.Line = value, file, i+1
			}
		}
	}
	if s.Now == "" && s.Next == "" {
		return s, fs.ErrNotExist
	}
	s.Clash = s.Now != "" && s.Next != "" && strings.Join(strings.Fields(s.Now), " ") != strings.Join(strings.Fields(s.Next), " ")
	return s, nil
}

// sysctlLine reads "key = value"; a dash before the key forgives its absence. Source: sysctl.d(5), sysctl.conf(5).
func sysctlLine(line string) (key, value string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' || line[0] == ';' {
		return "", "", false
	}
	key, value, ok = strings.Cut(line, "=")
	key = strings.TrimSpace(strings.TrimPrefix(key, "-"))
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '/' { // the first separator says what separates
		key = strings.NewReplacer("/", ".", ".", "/").Replace(key)
	}
	return key, strings.TrimSpace(value), ok && key != ""
}

// sysctlMatch reports whether a configured key, in which * stands for a name, is this one.
func sysctlMatch(pattern, key string) bool {
	ok, err := path.Match(strings.NewReplacer("/", "\x00", ".", "/").Replace(pattern), strings.NewReplacer("/", "\x00", ".", "/").Replace(key))
	return err == nil && ok
}
