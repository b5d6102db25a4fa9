package main

import (
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/maaspeople"
	"github.com/metalward/metalward/internal/secret"
)

// regionAPI are the options of asking a region's API.
type regionAPI struct{ url, credentials, authorities string }

// maxCredentials is the size in bytes of the largest file that may hold a key.
const maxCredentials = 4 << 10

// access reads the files that are named; nil where no API is. Kinds: Invalid.
func (r regionAPI) access(database bool) (*maaspeople.Access, error) {
	switch {
	case r == regionAPI{}:
		return nil, nil
	case r.url == "":
		return nil, fault.New(fault.Invalid, "api: --credentials and --cacert are for an API: name it with --api https://HOST[:PORT].")
	case r.credentials == "":
		return nil, fault.New(fault.Invalid, "credentials: Name a file with an API key: --credentials FILE.")
	case database:
		return nil, fault.New(fault.Invalid, "api: The database tells all that the API does: leave out --api or --database.")
	}
	key, err := readKey(r.credentials)
	if err != nil {
		return nil, fault.New(fault.Invalid, "credentials: %s.", guard.Show(err.Error()))
	}
	var authorities []byte
	if r.authorities != "" {
		if authorities, err = readNamed("cacert", r.authorities); err != nil {
			return nil, err
		}
		if len(authorities) == 0 {
			return nil, fault.New(fault.Invalid, "cacert: The file is empty.")
		}
	}
	a, err := maaspeople.NewAccess(r.url, key, string(authorities))
	if err != nil {
		return nil, fault.New(fault.Invalid, "api: %s.", guard.Show(err.Error()))
	}
	return &a, nil
}

// readKey reads a file that nobody but its owner may read.
func readKey(path string) (v secret.Value, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is refused below, and not waited for
	if err != nil {
		return v, err
	}
	defer func() { _ = f.Close() }()
	about, err := f.Stat()
	if err != nil {
		return v, err
	}
	if !about.Mode().IsRegular() || about.Mode().Perm()&0o077 != 0 {
		return v, fmt.Errorf("%s is to be a file of mode 0600, and is %s: others could read the key", path, about.Mode())
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCredentials+1))
	if err != nil {
		return v, err
	}
	if len(text) > maxCredentials {
		return v, fmt.Errorf("%s has more than %d bytes, and is to have an API key alone", path, maxCredentials)
	}
	return secret.FromString(string(text)), nil
}
