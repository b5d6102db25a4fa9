package region

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/host"
	"github.com/metalward/metalward/internal/region/store"
)

// zfsTime bounds what the program zfs may take.
const zfsTime = 5 * time.Second

// Disks tells of what the region keeps on disks whether these are encrypted: the state folder, and the folder of a PostgreSQL on this host.
func (r *Region) Disks(ctx context.Context) []host.Disk {
	here := host.Tree{Root: "/", ZFS: func(dataset string) (string, error) {
		if !host.Dataset.MatchString(dataset) {
			return "", errors.New("not a dataset's name")
		}
		ctx, cancel := context.WithTimeout(ctx, zfsTime)
		defer cancel()
		out, err := exec.CommandContext(ctx, "/usr/sbin/zfs", "get", "-H", "-o", "value", "encryption", dataset).Output()
		return strings.TrimSpace(string(out)), err
	}}
	list := []host.Disk{named("state folder", here.Disk(r.dir))}
	folder, err := r.reader.DataDirectory(ctx)
	switch {
	case errors.Is(err, store.ErrElsewhere):
		list = append(list, host.Disk{What: "database", Verdict: host.Unknown, Why: "It is on another host: look there."})
	case err != nil:
		list = append(list, host.Disk{What: "database", Verdict: host.Unknown, Why: "The database does not say where its data is: grant pg_read_all_settings to its user, or look at its host."})
	case folder != "":
		list = append(list, named("database", here.Disk(folder)))
		if log := named("database's log of changes", here.Disk(filepath.Join(folder, "pg_wal"))); len(log.Stack) > 0 {
			list = append(list, log)
		}
	}
	return list
}

func named(what string, d host.Disk) host.Disk {
	d.What = what
	return d
}
