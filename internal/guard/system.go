package guard

// Sysctl is a setting of the kernel.
type Sysctl struct {
	Key   string // such as net.ipv4.conf.all.rp_filter
	Now   string // what it is; "" where that is not known, as of a copy of a host's files
	Next  string // what it will be after a start, as configured; "" where nothing sets it
	File  string // where Next is from
	Line  int
	Clash bool // both are known, and differ
}

// AptSetting is a setting of APT, by its name in small letters, such as apt::periodic::unattended-upgrade.
type AptSetting struct {
	Value string
	File  string
}

// Rotation is a rule by which logs are rotated.
type Rotation struct {
	Patterns []string // paths, with wildcards
	Days     int      // for how many days logs are kept at least; 0 where that depends on their size, or is for ever
	File     string
	Line     int
}

// Storage is what a folder is kept on.
type Storage struct {
	Encrypted bool     // every device below encrypts, as far as the host's kernel sees it
	Known     bool     // else Encrypted says nothing
	Why       string   // in words
	Stack     []string // from the file system down
}
