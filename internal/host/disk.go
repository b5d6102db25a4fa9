// Package host finds out facts of a host, or of a tree that looks like one, and changes nothing. What it cannot see it calls unknown.
package host

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is a host's files: Root is "/" for this host, or a folder with a copy of another's /proc/self/mountinfo and /sys.
type Tree struct {
	Root string
	// ZFS returns a dataset's property "encryption"; nil: it is not asked for.
	ZFS func(dataset string) (string, error)
	// Attributes reports whether the file system says that a folder is encrypted (fscrypt); nil asks the kernel.
	Attributes func(path string) bool
}

// Verdict is what is known of an encryption.
type Verdict string

// The verdicts. Yes means that every device below encrypts; No that one does not, as far as the kernel of this host can see: a disk
// that encrypts by itself, or a hypervisor, is not seen.
const (
	Yes     Verdict = "yes"
	No      Verdict = "no"
	Unknown Verdict = "unknown"
)

// Disk is what a folder is kept on.
type Disk struct {
	What    string // is kept there; for the caller to say
	Path    string
	Verdict Verdict
	Why     string   // in words
	Stack   []string // from the file system down, such as "ext4 on /", "dm-0 (LUKS2)", "sda2 (partition)"
}

// Limits of a stack: more is not a host's.
const (
	maxDepth  = 16
	maxLayers = 64
	maxMounts = 1 << 20 // bytes of mountinfo
)

// Disk follows what a folder is kept on down to the devices. Source: proc(5), /proc/pid/mountinfo; the kernel's
// Documentation/ABI/stable/sysfs-block and sysfs-block-dm; cryptsetup's names of dm devices, "CRYPT-TYPE-…".
func (t Tree) Disk(path string) Disk {
	d := Disk{Path: path, Verdict: Unknown}
	w := &walk{tree: t, disk: &d}
	found, err := w.folder(path, 0)
	switch {
	case err != nil:
		d.Why = "It cannot be found out: " + err.Error() + "."
	default:
		d.Verdict = found
		if d.Why == "" {
			d.Why = map[Verdict]string{Yes: "All that is below is encrypted.", No: "A device below is not encrypted by this host. A disk that encrypts by itself is not seen from here.", Unknown: "This host cannot see it."}[found]
		}
	}
	return d
}

type walk struct {
	tree Tree
	disk *Disk
}

func (w *walk) layer(format string, args ...any) error {
	if len(w.disk.Stack) >= maxLayers {
		return errors.New("there are too many layers")
	}
	w.disk.Stack = append(w.disk.Stack, fmt.Sprintf(format, args...))
	return nil
}

// worst joins the verdicts of parts that all have to be encrypted.
func worst(a, b Verdict) Verdict {
	order := []Verdict{Yes, Unknown, No}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

type mount struct{ dev, at, kind, source, super string }

func (w *walk) folder(path string, depth int) (Verdict, error) {
	if depth > maxDepth {
		return Unknown, errors.New("it is kept within itself")
	}
	real, err := w.tree.resolve(path)
	if err != nil {
		return Unknown, err
	}
	m, err := w.tree.mountOf(real)
	if err != nil {
		return Unknown, err
	}
	if err := w.layer("%s on %s", m.kind, m.at); err != nil {
		return Unknown, err
	}
	ask := w.tree.Attributes
	if ask == nil {
		ask = encrypted
	}
	if ask(w.tree.path(real)) {
		return Yes, w.layer("the folder itself is encrypted (fscrypt)")
	}
	option := func(name string) string {
		for o := range strings.SplitSeq(m.super, ",") {
			if value, ok := strings.CutPrefix(o, name+"="); ok {
				return value
			}
		}
		return ""
	}
	switch m.kind {
	case "zfs":
		return w.zfs(m.source)
	case "ecryptfs":
		return Yes, nil
	case "overlay":
		if upper := option("upperdir"); upper != "" {
			return w.folder(upper, depth+1)
		}
		return Unknown, nil
	case "tmpfs", "ramfs":
		w.disk.Why = "It is kept in memory, and may be swapped out."
		return Unknown, nil
	case "btrfs":
		return w.btrfs(m.source, depth)
	}
	if strings.HasPrefix(m.dev, "0:") {
		w.disk.Why = "It is no file system on a disk of this host: ask whoever keeps it."
		return Unknown, nil
	}
	dir, err := filepath.EvalSymlinks(w.tree.path("/sys/dev/block/" + m.dev))
	if err != nil {
		return Unknown, fmt.Errorf("device %s is not in /sys", m.dev)
	}
	return w.device(dir, depth+1)
}

func (w *walk) zfs(dataset string) (Verdict, error) {
	if w.tree.ZFS == nil {
		w.disk.Why = "Look with: zfs get encryption " + dataset
		return Unknown, nil
	}
	switch value, err := w.tree.ZFS(dataset); {
	case err != nil || value == "":
		w.disk.Why = "Look with: zfs get encryption " + dataset
		return Unknown, nil
	case value == "off":
		return No, w.layer("dataset %s (encryption off)", dataset)
	default:
		return Yes, w.layer("dataset %s (%s)", dataset, value)
	}
}

// btrfs has an anonymous device number: its devices are those of the one that was mounted.
func (w *walk) btrfs(source string, depth int) (Verdict, error) {
	real, err := w.tree.resolve(source)
	if err != nil {
		return Unknown, err
	}
	name := filepath.Base(real)
	members, err := filepath.Glob(w.tree.path("/sys/fs/btrfs/*/devices/" + name))
	if err != nil || len(members) != 1 {
		return Unknown, fmt.Errorf("%s is not in /sys/fs/btrfs", name)
	}
	devices, err := os.ReadDir(filepath.Dir(members[0]))
	if err != nil {
		return Unknown, err
	}
	found := Yes
	for _, d := range devices {
		dir, err := filepath.EvalSymlinks(w.tree.path("/sys/class/block/" + d.Name()))
		if err != nil {
			return Unknown, err
		}
		one, err := w.device(dir, depth+1)
		if err != nil {
			return Unknown, err
		}
		found = worst(found, one)
	}
	return found, nil
}

// crypts are the types of dm-crypt in cryptsetup's names; VERITY and INTEGRITY, which are named alike, hide nothing.
var crypts = []string{"LUKS1", "LUKS2", "PLAIN", "TCRYPT", "BITLK", "LOOPAES", "FVAULT2"}

// device follows a block device, by its folder in /sys.
func (w *walk) device(dir string, depth int) (Verdict, error) {
	if depth > maxDepth {
		return Unknown, errors.New("its devices are too deep")
	}
	name, kind := filepath.Base(dir), ""
	uuid := text(dir, "dm/uuid")
	if rest, ok := strings.CutPrefix(uuid, "CRYPT-"); ok {
		kind, _, _ = strings.Cut(rest, "-")
		if slices.Contains(crypts, kind) {
			return Yes, w.layer("%s (%s, %s)", name, text(dir, "dm/name"), kind)
		}
	}
	switch level := text(dir, "md/level"); {
	case strings.HasPrefix(uuid, "LVM-"):
		kind = "LVM"
	case uuid != "" && kind == "":
		kind = "device mapper"
	case level != "":
		kind = level
	case text(dir, "partition") != "":
		if err := w.layer("%s (partition)", name); err != nil {
			return Unknown, err
		}
		return w.device(filepath.Dir(dir), depth+1)
	}
	if backing := text(dir, "loop/backing_file"); backing != "" {
		if err := w.layer("%s (loop of %s)", name, backing); err != nil {
			return Unknown, err
		}
		return w.folder(filepath.Dir(backing), depth+1)
	}
	below, err := os.ReadDir(filepath.Join(dir, "slaves"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Unknown, err
	}
	if len(below) == 0 {
		if kind != "" {
			return Unknown, w.layer("%s (%s, of nothing that is seen)", name, kind)
		}
		if strings.HasPrefix(name, "zram") || strings.HasPrefix(name, "ram") {
			w.disk.Why = "It is kept in memory, and may be written back to a disk."
			return Unknown, w.layer("%s (memory)", name)
		}
		return No, w.layer("%s (disk)", name)
	}
	if err := w.layer("%s (%s)", name, kind); err != nil {
		return Unknown, err
	}
	found := Yes
	for _, b := range below {
		next, err := filepath.EvalSymlinks(filepath.Join(dir, "slaves", b.Name()))
		if err != nil {
			return Unknown, err
		}
		one, err := w.device(next, depth+1)
		if err != nil {
			return Unknown, err
		}
		found = worst(found, one)
	}
	return found, nil
}

// text is a small file's content without the line's end; empty if there is none.
func text(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// path is where a path of the host is found.
func (t Tree) path(p string) string { return filepath.Join(t.Root, p) }

// resolve follows the links in a path as far as they may be read: what is behind a folder that we may not enter is taken as it is
// named. A path that is not there is an error.
func (t Tree) resolve(path string) (string, error) {
	path = filepath.Clean("/" + path)
	rest := ""
	for p := path; ; p = filepath.Dir(p) {
		real, err := filepath.EvalSymlinks(t.path(p))
		if err == nil {
			root, err := filepath.EvalSymlinks(t.path("/"))
			if err != nil {
				return "", err
			}
			in, err := filepath.Rel(root, real)
			if err != nil || in == ".." || strings.HasPrefix(in, "../") {
				return "", fmt.Errorf("%s leads out of the tree", path)
			}
			return filepath.Join("/", in, rest), nil
		}
		if !errors.Is(err, fs.ErrPermission) || p == "/" {
			return "", fmt.Errorf("%s is not on this host", path)
		}
		rest = filepath.Join(filepath.Base(p), rest)
	}
}

// mountOf is the mount that a path is in: the last of those whose point is the longest beginning of it.
func (t Tree) mountOf(path string) (best mount, err error) {
	f, err := os.Open(t.path("/proc/self/mountinfo"))
	if err != nil {
		return best, errors.New("the mounts cannot be read")
	}
	defer func() { _ = f.Close() }()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, maxMounts)
	for sc.Scan() {
		before, after, ok := strings.Cut(sc.Text(), " - ")
		a, b := strings.Fields(before), strings.Fields(after)
		if !ok || len(a) < 6 || len(b) < 3 {
			continue
		}
		at := unescape(a[4])
		if in := at == "/" || path == at || strings.HasPrefix(path, at+"/"); in && len(at) >= len(best.at) {
			best = mount{a[2], at, b[0], unescape(b[1]), b[2]}
		}
	}
	if err := sc.Err(); err != nil || best.at == "" {
		return best, errors.New("no mount has it")
	}
	return best, nil
}

// unescape turns \040 and the like of mountinfo into what they stand for.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// encrypted asks the kernel whether a folder is encrypted by its file system. Source: statx(2), STATX_ATTR_ENCRYPTED.
func encrypted(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, 0, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_ENCRYPTED != 0
}
