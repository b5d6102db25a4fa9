package source

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Sight is what became of looking for the logs of a pattern.
type Sight struct {
	Pattern string
	Read    int // files that can be read
	Denied  int // files, or folders on the way to them, that may not be
}

// Look says which logs a Follower of these patterns can read.
func Look(patterns []string) (list []Sight) {
	for _, pattern := range patterns {
		s := Sight{Pattern: pattern}
		paths, err := filepath.Glob(pattern)
		for _, path := range paths {
			if rotated(path) {
				continue
			}
			file, _, err := openLog(path)
			switch {
			case err == nil:
				file.Close()
				s.Read++
			case errors.Is(err, fs.ErrPermission):
				s.Denied++
			}
		}
		if err == nil && len(paths) == 0 && closed(filepath.Dir(pattern)) { // Glob says nothing of folders that it may not look into
			s.Denied++
		}
		list = append(list, s)
	}
	return list
}

// closed says whether this process may not list a folder, or one above it.
func closed(dir string) bool {
	for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if strings.ContainsAny(dir, "*?[") {
			continue
		}
		f, err := os.Open(dir)
		if err == nil {
			f.Close()
			return false
		}
		if errors.Is(err, fs.ErrPermission) {
			return true
		}
	}
	return false
}

// journals are where the system's journal lies (systemd-journald.service(8), section FILES).
var journals = []string{"/var/log/journal/*/system.journal", "/run/log/journal/*/system.journal"}

// Readable says whether there is a journal of the system, and whether this process may read it as a whole, and not only what its own account wrote: whether it
// can open the file (systemd-journald.service(8), section ACCESS CONTROL).
func (j *Journal) Readable() (there, readable bool) {
	if len(j.Options) > 0 {
		return true, true
	}
	for _, s := range Look(journals) {
		there, readable = there || s.Read+s.Denied > 0, readable || s.Read > 0
	}
	return there, readable
}
