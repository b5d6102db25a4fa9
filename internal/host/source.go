package host

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/metalward/metalward/internal/guard"
)

// Source is where files are. Paths are absolute and clean, and none of their names but the last is a symbolic link: Facts has followed
// those before. Errors are those of the system: fs.ErrNotExist, fs.ErrPermission, others.
type Source interface {
	Lstat(path string) (Node, error)
	Readlink(path string) (string, error)
	// List names what is in a folder, in no order. More than maxNames is an error.
	List(path string) ([]string, error)
	// Read returns a regular file's content. More than limit bytes is an error.
	Read(path string, limit int64) ([]byte, error)
	ACL(path string) (ACL, error)
}

// ACL is a file's access list, as far as its mask lets it.
type ACL struct {
	Has   bool   // whether there is one
	Group uint32 // what the file's own group may do
	Named []guard.ACLEntry
}

// Node is what is at a path.
type Node struct {
	Kind fs.FileMode // the type bits
	Mode uint32      // as chmod(2) has it, at most 0o7777
	UID  uint32
	GID  uint32

	Changed time.Time // its content
	Size    int64     // bytes of it, of a regular file
}

// maxNames is how many names a folder may have: those that matter have a few dozen, a home or a spool some thousands.
const maxNames = 20_000

// disk is a folder of this host. Each name of a path is opened from the folder that the one before is, never following a link, so that
// nobody who changes the tree meanwhile can lead out of it; and with O_PATH, which opens no device, waits for no FIFO, and needs no right
// to read a folder that may be passed through. Source: open(2), path_resolution(7).
type disk struct {
	root int
	most int // names of a folder
}

func openDisk(root string) (*disk, error) {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: root, Err: err}
	}
	return &disk{fd, maxNames}, nil
}

func (d *disk) close() error { return unix.Close(d.root) }

// at calls a function with what is at a path, opened with O_PATH.
func (d *disk) at(path string, do func(fd int) error) error {
	fd, err := unix.Openat(d.root, ".", unix.O_PATH|unix.O_CLOEXEC, 0)
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if err != nil || name == "" {
			break
		}
		var next int
		next, err = unix.Openat(fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		_ = unix.Close(fd)
		fd = next
	}
	if err == nil {
		err = do(fd)
		_ = unix.Close(fd)
	}
	if errors.Is(err, unix.ENOTDIR) {
		err = unix.ENOENT
	}
	if err != nil {
		return &fs.PathError{Op: "look at", Path: path, Err: err}
	}
	return nil
}

// self is a name of an open file. Source: proc(5).
func self(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

var kinds = map[uint32]fs.FileMode{unix.S_IFREG: 0, unix.S_IFDIR: fs.ModeDir, unix.S_IFLNK: fs.ModeSymlink, unix.S_IFIFO: fs.ModeNamedPipe,
	unix.S_IFSOCK: fs.ModeSocket, unix.S_IFBLK: fs.ModeDevice, unix.S_IFCHR: fs.ModeDevice | fs.ModeCharDevice}

func (d *disk) Lstat(path string) (n Node, err error) {
	err = d.at(path, func(fd int) error {
		n, err = node(fd)
		return err
	})
	return n, err
}

func node(fd int) (Node, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Node{}, err
	}
	kind, ok := kinds[st.Mode&unix.S_IFMT]
	if !ok {
		kind = fs.ModeIrregular
	}
	n := Node{Kind: kind, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Changed: time.Unix(st.Mtim.Unix()).UTC()}
	if kind == 0 {
		n.Size = st.Size
	}
	return n, nil
}

func (d *disk) Readlink(path string) (target string, err error) {
	err = d.at(path, func(fd int) error {
		b := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, "", b)
		target = string(b[:max(n, 0)])
		return err
	})
	return target, err
}

func (d *disk) List(path string) (names []string, err error) {
	err = d.at(path, func(fd int) error {
		dir, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(dir), path)
		defer func() { _ = f.Close() }()
		names, err = f.Readdirnames(d.most + 1)
		if len(names) > d.most {
			names = nil
			return fmt.Errorf("it has more than %d names", d.most)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	return names, err
}

func (d *disk) Read(path string, limit int64) (content []byte, err error) {
	err = d.at(path, func(fd int) error {
		n, err := node(fd)
		if err != nil {
			return err
		}
		if n.Kind != 0 {
			return errors.New("it is no regular file")
		}
		f, err := os.OpenFile(self(fd), os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return errors.Unwrap(err) // the name in /proc says nothing to anybody
		}
		defer func() { _ = f.Close() }()
		content, err = io.ReadAll(io.LimitReader(f, limit+1))
		if int64(len(content)) > limit {
			content = nil
			return fmt.Errorf("it is larger than %d bytes", limit)
		}
		return err
	})
	return content, err
}

// maxACL is the size in bytes of the longest list that is read: 8,000 entries.
const maxACL = 64 << 10

func (d *disk) ACL(path string) (list ACL, err error) {
	err = d.at(path, func(fd int) error {
		b := make([]byte, maxACL)
		n, err := unix.Getxattr(self(fd), "system.posix_acl_access", b)
		switch {
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.EOPNOTSUPP):
			return nil // there is none, or the file system has none
		case err != nil:
			return err
		}
		list, err = parseACL(b[:n])
		return err
	})
	return list, err
}

// parseACL reads an access list. Source: the kernel's include/uapi/linux/posix_acl_xattr.h and posix_acl.h; acl(5) for the mask.
func parseACL(b []byte) (ACL, error) {
	const version, user, ownGroup, group, mask = 2, 0x02, 0x04, 0x08, 0x10
	if len(b) < 4 || len(b)%8 != 4 || binary.LittleEndian.Uint32(b) != version {
		return ACL{}, errors.New("its access list is of a form that is not known")
	}
	allowed, list := uint32(7), ACL{Has: true}
	for e := range slices.Chunk(b[4:], 8) {
		tag, perm, id := binary.LittleEndian.Uint16(e), uint32(binary.LittleEndian.Uint16(e[2:])), binary.LittleEndian.Uint32(e[4:])
		switch tag {
		case user, group:
			list.Named = append(list.Named, guard.ACLEntry{Group: tag == group, ID: id, Perm: perm})
		case ownGroup:
			list.Group = perm
		case mask:
			allowed = perm & 7
		}
	}
	list.Group &= allowed
	for i := range list.Named {
		list.Named[i].Perm &= allowed
	}
	return list, nil
}
