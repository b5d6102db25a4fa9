package guard

import "github.com/metalward/metalward/internal/flaws"

// Versions is the part of Host that tells what is installed, and what is known of it.
type Versions interface {
	// Release is the operating system.
	Release() (Release, error)
	// Flaws are what files that somebody named say of the host's packages. Errors: ErrNoFiles where none was named.
	Flaws() ([]FlawFile, error)
}

// Release is an operating system as os-release(5) describes it.
type Release struct {
	ID      string // such as debian or ubuntu
	Version string // such as 12 or 24.04; "" where it has none, as Debian's testing
	Name    string // for people
}

// FlawFile is what a file of known flaws says of a host.
type FlawFile struct {
	Path string
	flaws.Result
}
