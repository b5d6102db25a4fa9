package guard

import (
	"io/fs"
	"net/netip"
	"time"
)

// Host is what checks may ask of a host. Paths are absolute, as the host itself would write them; /var/lib/metalward stands for the folder
// where Metalward keeps its state there. Errors are fs.ErrNotExist where there is nothing; any other means that it could not be found out.
type Host interface {
	Versions
	Services
	// Processes are those of the running host that belong to units whose names begin with one of the words.
	Processes(units ...string) ([]Process, error)
	// Units are services of systemd's whose names begin with one of the words, as their files have them.
	Units(prefixes ...string) ([]Unit, error)
	// SnapState is what snapd knows of a snap.
	SnapState(snap string) (SnapState, error)
	// Learned is what the host is to be compared with; nil for nothing.
	Learned() *Learned
	// BMCs are those that somebody named.
	BMCs() []BMC
	// Database is what the database of MAAS says, of the product of it. or its API, or that of Metalward. Errors: ErrNoDatabase, ErrNoAPI.
	Database(p Product) (Database, error)
	// Postgres are the PostgreSQL servers whose configuration is on the host.
	Postgres() ([]Postgres, error)
	// SSH is the configuration of the SSH server, Sudo that of sudo.
	SSH() (SSH, error)
	Sudo() (Sudo, error)
	// Passwords tells how the passwords of accounts are kept.
	Passwords() ([]Password, error)
	// Package is the first of Debian's packages that is installed, and its version; "" where none is.
	Package(names ...string) (name, version string, err error)
	// Sysctl is a setting of the kernel, Apt those of APT by their names in small letters, Rotations how logs are rotated.
	Sysctl(key string) (Sysctl, error)
	Apt() (map[string]AptSetting, error)
	Rotations() ([]Rotation, error)
	// Storage is what a folder of the running host is kept on.
	Storage(path string) (Storage, error)
	// MAASConfig is what a regiond.conf says.
	MAASConfig(path string) (MAASConfig, error)
	// Profiles are those of a file of the maas command.
	Profiles(path string) ([]Profile, error)
	// Leaks finds secrets in a file of commands, or of a process's command or environment.
	Leaks(path string) ([]Leak, error)
	// LogLeaks is Leaks for a log, or for the Journal of the running host, of which it tells entries instead of lines.
	LogLeaks(path string) ([]Leak, error)
	// Now is the time that the host is looked at.
	Now() time.Time
	// Fronts are the addresses at which web servers and balancers take connections, those of MAAS's own for its product.
	Fronts(p Product) Fronts
	// Certificate describes the first certificate of a file, and whether a key is its key.
	Certificate(p Pair) (Certificate, error)
	// DHBits is the size of the parameters of Diffie-Hellman in a file.
	DHBits(file string) (int, error)
	// Handshake tries what a port of the host itself answers. Errors: ErrNotAsked where this is not the running host.
	Handshake(address netip.AddrPort) (Handshake, error)
	// Tunnels are WireGuard's devices and whether IPsec is in use.
	Tunnels() (Tunnels, error)
	// File describes what is at a path, behind symbolic links.
	File(path string) (File, error)
	// Glob lists the paths that match a pattern, in order. "*" and the like match within a name, as path.Match has it. The error tells of
	// the first folder that could not be looked through; what was found otherwise is returned with it.
	Glob(pattern string) ([]string, error)
	// Read returns a regular file's content. Larger files than Host allows are an error.
	Read(path string) ([]byte, error)
	// Accounts are the users and groups that the host itself knows, by /etc/passwd and /etc/group.
	Accounts() (Accounts, error)
	// Network is what listens, and what lets others reach it. It is known of the running host alone.
	Network() (Network, error)
	// Connect tries whether a TCP connection to "address:port" comes about, and closes it. Errors: ErrRefused, ErrNotAsked, others.
	Connect(address string) error
}

// Bits of File.Mode besides the nine permissions. Source: inode(7).
const (
	SetUID uint32 = 0o4000
	SetGID uint32 = 0o2000
	Sticky uint32 = 0o1000
)

// File is what is known of a file or folder.
type File struct {
	Path    string
	Real    string      // where it is behind symbolic links
	Kind    fs.FileMode // the type bits; 0 for a regular file
	Mode    uint32      // permissions and the bits above, at most 0o7777
	UID     uint32
	GID     uint32
	Changed time.Time  // when its content was last changed
	Size    int64      // bytes of a regular file's content
	Group   uint32     // what GID's group may do: as Mode says, unless an access list gives it less (acl(5): Mode has the mask then)
	ACL     []ACLEntry // named users and groups only
	ACLErr  error      // why the access list is not known
	Folders []File     // all that the path led through, links' targets included, from the root down; these have no Folders
}

// ACLEntry is what an access list gives to a named user or group, as far as its mask lets it.
type ACLEntry struct {
	Group bool
	ID    uint32
	Perm  uint32 // 4 read, 2 write, 1 execute
}

// Accounts are a host's users and groups.
type Accounts struct {
	Users  []User
	Groups []Group
	// Metalward is whom its daemon is known to run as, though not called so: who may own its state then. "" where that is not known.
	Metalward string
}

// User is a line of /etc/passwd.
type User struct {
	Name     string
	UID, GID uint32
	Home     string
	Shell    string
}

// Group is a line of /etc/group.
type Group struct {
	Name    string
	GID     uint32
	Members []string // as the line has them; who has it as his own group is not among them
}
