package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/metalward/metalward/internal/guard"
)

// Limits of what is looked at: what is larger is called unknown, not guessed at.
const (
	maxConfig = 1 << 20  // bytes of a configuration file
	maxStatus = 64 << 20 // bytes of dpkg's list of packages: some megabytes on a full desktop
	maxLinks  = 40       // symbolic links on a path, as the kernel's (path_resolution(7))
	maxSteps  = 4096     // names on a path, those of the links included
	maxFound  = 5_000    // paths of a pattern
	maxListed = 200_000  // names that are remembered
)

// Facts answers what checks ask of a host (guard.Host), and which products are installed there. What it has seen of accounts
// and folders it remembers. It is for one goroutine.
type Facts struct {
	src      Source
	folders  map[string]Node     // those that were looked at: thousands of paths lead through the same few
	lists    map[string][]string // what folders have, likewise, while that are few names
	listed   int
	accounts *guard.Accounts
	network  network
	dpkg     *string // dpkg's list of packages
	now      time.Time
	fronts   map[guard.Product]guard.Fronts
	flaws    []guard.FlawFile
	stateDir string // of Metalward; "" for the usual one
	account  string // that its daemon runs as
	database map[guard.Product]guard.Known[guard.Database]
	bmcs     []guard.BMC
	learned  *guard.Learned
}

// Open looks at a tree of this host: "/", or a folder with a copy of another host's files. Symbolic links are followed as that host
// would, and never out of it.
func Open(root string) (*Facts, error) {
	d, err := openDisk(root)
	if err != nil {
		return nil, err
	}
	return &Facts{src: d}, nil
}

// New is for files that are elsewhere.
func New(src Source) *Facts { return &Facts{src: src} }

// At says when the host is looked at.
func (f *Facts) At(now time.Time) { f.now = now }

// Against says what the host is to be compared with.
func (f *Facts) Against(l *guard.Learned) { f.learned = l }

// Learned implements guard.Host.
func (f *Facts) Learned() *guard.Learned {
	if s, ok := f.src.(interface{ Learned() *guard.Learned }); ok {
		return s.Learned()
	}
	return f.learned
}

// Now implements guard.Host.
func (f *Facts) Now() time.Time {
	if s, ok := f.src.(interface{ Now() time.Time }); ok {
		return s.Now()
	}
	return f.now
}

// Close lets go of the tree.
func (f *Facts) Close() error {
	if d, ok := f.src.(*disk); ok {
		return d.close()
	}
	return nil
}

func describe(at string, n Node) guard.File {
	return guard.File{Path: at, Real: at, Kind: n.Kind, Mode: n.Mode, Group: n.Mode >> 3 & 7, UID: n.UID, GID: n.GID, Changed: n.Changed, Size: n.Size}
}

func names(p string) []string {
	return slices.DeleteFunc(strings.Split(p, "/"), func(s string) bool { return s == "" || s == "." })
}

// File implements guard.Host.
func (f *Facts) File(p string) (guard.File, error) {
	p = f.elsewhere(p, false)
	found, err := f.follow(p)
	if err != nil {
		return guard.File{}, err
	}
	found.Path = p
	list, err := f.src.ACL(found.Real)
	if found.ACL, found.ACLErr = list.Named, err; list.Has {
		found.Group = list.Group
	}
	return found, nil
}

// lstat asks once about each folder.
func (f *Facts) lstat(p string) (Node, error) {
	if n, ok := f.folders[p]; ok {
		return n, nil
	}
	n, err := f.src.Lstat(p)
	if err == nil && n.Kind.IsDir() {
		if f.folders == nil {
			f.folders = map[string]Node{}
		}
		f.folders[p] = n
	}
	return n, err
}

// follow walks a path from the root down, as the kernel would in a chroot: a link that is absolute begins at the root again, and ".."
// of the root is the root.
func (f *Facts) follow(p string) (guard.File, error) {
	top, err := f.lstat("/")
	if err != nil {
		return guard.File{}, err
	}
	here := describe("/", top)
	var through []guard.File
	links, rest := 0, names(p)
	for steps := 0; len(rest) > 0; steps++ {
		if steps > maxSteps || len(rest) > maxSteps {
			return guard.File{}, &fs.PathError{Op: "look at", Path: p, Err: errors.New("the path is too long")}
		}
		if !here.Kind.IsDir() {
			return guard.File{}, &fs.PathError{Op: "look at", Path: p, Err: fs.ErrNotExist}
		}
		if !slices.ContainsFunc(through, func(o guard.File) bool { return o.Path == here.Path }) {
			through = append(through, here)
		}
		at := path.Join(here.Path, rest[0])
		rest = rest[1:]
		n, err := f.lstat(at)
		if err != nil {
			return guard.File{}, err
		}
		if n.Kind&fs.ModeSymlink == 0 {
			here = describe(at, n)
			continue
		}
		if links++; links > maxLinks {
			return guard.File{}, &fs.PathError{Op: "look at", Path: p, Err: errors.New("too many symbolic links, or a loop of them")}
		}
		target, err := f.src.Readlink(at)
		if err != nil {
			return guard.File{}, err
		}
		rest = append(names(target), rest...)
		if strings.HasPrefix(target, "/") {
			here = describe("/", top)
		}
	}
	here.Folders = through
	return here, nil
}

// Glob implements guard.Host.
func (f *Facts) Glob(pattern string) ([]string, error) {
	pattern = f.elsewhere(pattern, true)
	found, bad := []string{"/"}, error(nil)
	for _, name := range names(pattern) {
		var next []string
		for _, dir := range found {
			if !strings.ContainsAny(name, `*?[\`) {
				next = append(next, path.Join(dir, name))
				continue
			}
			list, err := f.match(dir, name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) && bad == nil {
				bad = err
			}
			if next = append(next, list...); len(next) > maxFound {
				return nil, fmt.Errorf("%s: more than %d paths match", pattern, maxFound)
			}
		}
		found = next
	}
	var there []string
	for _, p := range found {
		switch _, err := f.follow(p); {
		case err == nil:
			there = append(there, p)
		case errors.Is(err, fs.ErrNotExist):
			// A link that leads nowhere is nothing, too.
		case strings.ContainsAny(pattern, `*?[\`):
			there = append(there, p) // it is listed: whoever asks for it hears why it is not known
		case bad == nil:
			bad = err
		}
	}
	return there, bad
}

// match lists what is in a folder and matches.
func (f *Facts) match(dir, pattern string) ([]string, error) {
	at, err := f.follow(dir)
	if err != nil || !at.Kind.IsDir() {
		return nil, err
	}
	list, known := f.lists[at.Path]
	if !known {
		if list, err = f.src.List(at.Path); err != nil {
			return nil, err
		}
		slices.Sort(list)
		if f.listed += len(list); f.listed <= maxListed {
			if f.lists == nil {
				f.lists = map[string][]string{}
			}
			f.lists[at.Path] = list
		}
	}
	var found []string
	for _, name := range list {
		switch ok, err := path.Match(pattern, name); {
		case err != nil:
			return nil, err
		case ok && name[0] == '.' && pattern[0] != '.':
			// As shells have it.
		case ok:
			found = append(found, path.Join(dir, name))
		}
	}
	return found, nil
}

// Read implements guard.Host.
func (f *Facts) Read(p string) ([]byte, error) { return f.read(p, maxConfig) }

func (f *Facts) read(p string, limit int64) ([]byte, error) {
	p = f.elsewhere(p, false)
	at, err := f.follow(p)
	if err != nil {
		return nil, err
	}
	if at.Kind != 0 {
		return nil, &fs.PathError{Op: "read", Path: p, Err: errors.New("it is no regular file")}
	}
	return f.src.Read(at.Path, limit)
}
