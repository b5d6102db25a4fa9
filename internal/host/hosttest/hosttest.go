// Package hosttest makes hosts of data, for samples of checks: who runs a test can neither give files away nor be kept from them.
package hosttest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/host"
)

// Accounts are the users and groups of a sample that brings no /etc/passwd and /etc/group of its own. bob and alice are people; alice is
// in the group staff alone.
const (
	Passwd = "root:x:0:0:root:/root:/bin/bash\nmaas:x:115:121::/var/lib/maas:/usr/sbin/nologin\nsnap_daemon:x:584788:584788::/nonexistent:/usr/bin/false\n" +
		"metalward:x:130:130::/var/lib/metalward:/usr/sbin/nologin\nbind:x:113:118::/var/cache/bind:/usr/sbin/nologin\ndhcpd:x:112:117::/run:/usr/sbin/nologin\npostgres:x:114:119::/var/lib/postgresql:/bin/bash\n" +
		"bob:x:1000:1000::/home/bob:/bin/bash\nalice:x:1001:1001::/home/alice:/bin/bash\n"
	Group = "root:x:0:\nmaas:x:121:\nsnap_daemon:x:584788:\nmetalward:x:130:\nbind:x:118:\ndhcpd:x:117:\npostgres:x:119:\nstaff:x:50:alice\nbob:x:1000:\nalice:x:1001:\n"
)

// Memory is such a host. It is a host.Source.
type Memory map[string]*file

type file struct {
	guard.Entry
	uid, gid uint32
	acl      []guard.ACLEntry
	own      uint32 // what the access list gives to the file's own group
	names    map[string]bool
}

// New makes a host. A word that it does not understand is an error.
func New(tree []guard.Entry) (Memory, error) {
	m := Memory{}
	m.put("/", &file{Entry: guard.Entry{Folder: true, Mode: 0o755}})
	ids := map[string]uint32{}
	for kind, text := range map[string]string{"u": Passwd, "g": Group} {
		for line := range strings.Lines(text) {
			w := strings.Split(line, ":")
			id, _ := strconv.ParseUint(strings.TrimSpace(w[2]), 10, 32)
			ids[kind+w[0]] = uint32(id)
		}
	}
	id := func(kind, name string) (uint32, error) {
		if n, ok := ids[kind+name]; ok {
			return n, nil
		}
		n, err := strconv.ParseUint(name, 10, 32)
		return uint32(n), err
	}
	for _, e := range append([]guard.Entry{{Path: "/etc/passwd", Content: Passwd}, {Path: "/etc/group", Content: Group}}, tree...) {
		f := &file{Entry: e}
		user, group, ok := strings.Cut(e.Owner, ":")
		if e.Owner == "" {
			user, group, ok = "root", "root", true
		}
		var err1, err2 error
		f.uid, err1 = id("u", user)
		f.gid, err2 = id("g", group)
		if err := errors.Join(err1, err2); err != nil || !ok || !path.IsAbs(e.Path) || path.Clean(e.Path) != e.Path {
			return nil, fmt.Errorf("%s: the owner %q or the path is none: %w", e.Path, e.Owner, err)
		}
		if e.Mode == 0 {
			f.Mode = 0o644
			if e.Folder {
				f.Mode = 0o755
			}
		}
		f.own = f.Mode >> 3 & 7
		for word := range strings.FieldsSeq(e.ACL) {
			w := strings.Split(word, ":")
			if len(w) != 3 || len(w[2]) != 3 || w[0] != "user" && w[0] != "group" {
				return nil, fmt.Errorf("%s: %q is no entry of an access list", e.Path, word)
			}
			a := guard.ACLEntry{Group: w[0] == "group"}
			for i, bit := range []uint32{4, 2, 1} {
				if w[2][i] != '-' {
					a.Perm |= bit
				}
			}
			if w[0] == "group" && w[1] == "" {
				f.own = a.Perm
				continue
			}
			var err error
			if a.ID, err = id(w[0][:1], w[1]); err != nil {
				return nil, err
			}
			f.acl = append(f.acl, a)
		}
		m.put(e.Path, f)
	}
	return m, nil
}

func (m Memory) put(at string, f *file) {
	if old := m[at]; old != nil {
		f.names = old.names
	}
	if f.Folder && f.names == nil {
		f.names = map[string]bool{}
	}
	m[at] = f
	for at != "/" {
		dir := path.Dir(at)
		if m[dir] == nil {
			m[dir] = &file{Entry: guard.Entry{Folder: true, Mode: 0o755}, names: map[string]bool{}}
		}
		m[dir].names[path.Base(at)] = true
		at = dir
	}
}

func (m Memory) at(p string) (*file, error) {
	for dir := path.Dir(p); dir != "/"; dir = path.Dir(dir) {
		if f := m[dir]; f != nil && f.Hidden {
			return nil, &fs.PathError{Op: "look at", Path: p, Err: fs.ErrPermission}
		}
	}
	if f := m[p]; f != nil {
		return f, nil
	}
	return nil, &fs.PathError{Op: "look at", Path: p, Err: fs.ErrNotExist}
}

// Lstat implements host.Source, as the others do.
func (m Memory) Lstat(p string) (host.Node, error) {
	f, err := m.at(p)
	if err != nil {
		return host.Node{}, err
	}
	n := host.Node{Mode: f.Mode, UID: f.uid, GID: f.gid, Changed: guard.SampleTime.AddDate(0, 0, -f.Days), Size: int64(len(f.Content))}
	switch {
	case f.Folder || f.names != nil:
		n.Kind = fs.ModeDir
	case f.Link != "":
		n.Kind, n.Mode = fs.ModeSymlink, 0o777
	case f.Socket:
		n.Kind = fs.ModeSocket
	}
	return n, nil
}

func (m Memory) Readlink(p string) (string, error) {
	f, err := m.at(p)
	if err != nil {
		return "", err
	}
	return f.Link, nil
}

func (m Memory) List(p string) ([]string, error) {
	f, err := m.at(p)
	if err == nil && f.Hidden {
		err = &fs.PathError{Op: "list", Path: p, Err: fs.ErrPermission}
	}
	if err != nil {
		return nil, err
	}
	return slices.Collect(maps.Keys(f.names)), nil
}

func (m Memory) Read(p string, limit int64) ([]byte, error) {
	f, err := m.at(p)
	if err == nil && f.Hidden {
		err = &fs.PathError{Op: "read", Path: p, Err: fs.ErrPermission}
	}
	if err == nil && int64(len(f.Content)) > limit {
		err = &fs.PathError{Op: "read", Path: p, Err: fmt.Errorf("it is larger than %d bytes", limit)}
	}
	if err != nil {
		return nil, err
	}
	return []byte(f.Content), nil
}

func (m Memory) ACL(p string) (host.ACL, error) {
	f, err := m.at(p)
	if err != nil {
		return host.ACL{}, err
	}
	return host.ACL{Has: f.Entry.ACL != "", Group: f.own, Named: f.acl}, nil
}

// Write writes the sample below a folder of this host, owners and access lists left out but for owners where chown is not nil.
func Write(root string, tree []guard.Entry, chown func(path string, uid, gid int) error) error {
	m, err := New(tree)
	if err != nil {
		return err
	}
	for _, p := range slices.Sorted(maps.Keys(m)) {
		f, at := m[p], path.Join(root, p)
		switch {
		case f.names != nil:
			err = os.MkdirAll(at, 0o755)
		case f.Link != "":
			err = os.Symlink(f.Link, at)
		case f.Socket:
			err = unix.Mknod(at, unix.S_IFSOCK|0o600, 0)
		default:
			err = os.WriteFile(at, []byte(f.Content), 0o600)
		}
		if err == nil && chown != nil {
			err = chown(at, int(f.uid), int(f.gid))
		}
		if err != nil {
			return err
		}
	}
	for _, p := range slices.Backward(slices.Sorted(maps.Keys(m))) { // the deepest first: a folder may shut us out
		if f := m[p]; f.Link == "" {
			if err := unix.Chmod(path.Join(root, p), f.Mode); err != nil {
				return err
			}
		}
	}
	return nil
}
