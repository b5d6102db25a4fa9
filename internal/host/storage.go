package host

import (
	"errors"
	"regexp"
	"strings"

	"github.com/metalward/metalward/internal/guard"
)

// Dataset matches names of ZFS datasets. Source: zfs(8), "ZFS File System Hierarchy".
var Dataset = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:/ -]{0,254}$`)

// Storage implements guard.Host.
func (f *Facts) Storage(path string) (guard.Storage, error) {
	if s, ok := f.src.(interface {
		Storage(string) (guard.Storage, error)
	}); ok {
		return s.Storage(path)
	}
	live, ok := f.src.(Live)
	if !ok || !live.Running() {
		return guard.Storage{}, errors.New("what a folder is kept on is known of a running host alone: this is a copy of its files, or not this host")
	}
	d := Tree{Root: "/", ZFS: func(dataset string) (string, error) {
		if !Dataset.MatchString(dataset) {
			return "", errors.New("not a dataset's name")
		}
		out, err := live.Run("/usr/sbin/zfs", "get", "-H", "-o", "value", "encryption", dataset)
		return strings.TrimSpace(string(out)), err
	}}.Disk(path)
	return guard.Storage{Encrypted: d.Verdict == Yes, Known: d.Verdict != Unknown, Why: d.Why, Stack: d.Stack}, nil
}
