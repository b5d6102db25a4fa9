package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/secret"
)

// profile is a login: where an instance is, whom it is to trust, and as whom to call it.
type profile struct {
	Name string
	URL  string // with scheme and host, without /MAAS
	Key  secret.Value
	CA   string // PEM of the only authority to trust; empty for those of the system
}

// stored is a profile's form on disk, the one place where the key is written in clear.
type stored struct {
	URL string `json:"url"`
	Key string `json:"key"`
	CA  string `json:"ca,omitempty"`
}

const suffix = ".json"

// checkName refuses names that are commands, or no file names. Kinds: usage.
func (a *app) checkName(name string) error {
	ok := name != "" && len(name) <= 64 && name[0] != '-' && name[0] != '.'
	for _, c := range name {
		ok = ok && (c == '-' || c == '_' || c == '.' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z')
	}
	if !ok {
		return usage("login", "A profile's name has 1 to 64 letters, digits, '-', '_' and '.', and starts with none of '-' and '.'.")
	}
	if slices.Contains(append([]string{"login", "logout", "list", "help"}, a.Reserved...), name) {
		return usage("login", "%s is a command and cannot be a profile's name.", name)
	}
	return nil
}

func (a *app) file(name string) string { return filepath.Join(a.Dir, name+suffix) }

// save writes a profile. The file is made with its final mode, so that it is at no moment readable by others.
func (a *app) save(p profile) error {
	b, err := json.MarshalIndent(stored{p.URL, p.Key.RevealString(), p.CA}, "", "    ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(a.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot save profile: %w", err)
	}
	tmp, err := os.CreateTemp(a.Dir, ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("cannot save profile: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(append(b, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), a.file(p.Name))
	}
	if err != nil {
		return fmt.Errorf("cannot save profile: %w", err)
	}
	return nil
}

// load reads a profile. It refuses a file that others may read: the key in it must count as known to them.
func (a *app) load(name string) (profile, error) {
	if err := a.checkName(name); err != nil {
		return profile{}, usage("", "There is no command or profile of this name.")
	}
	f, err := os.Open(a.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return profile{}, usage("", "There is no command or profile %s. Make a profile with: %s login %s URL", name, a.Program, name)
	}
	if err != nil {
		return profile{}, fmt.Errorf("cannot read profile: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return profile{}, fmt.Errorf("cannot read profile: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return profile{}, fmt.Errorf("cannot use profile %s: other users have access to %s (mode %04o). Replace its API key, then run: chmod 600 %s",
			name, f.Name(), info.Mode().Perm(), f.Name())
	}
	var s stored
	if err := json.NewDecoder(f).Decode(&s); err != nil {
		return profile{}, fmt.Errorf("cannot read profile %s: it is damaged; log in again", name)
	}
	return profile{name, s.URL, secret.FromString(s.Key), s.CA}, nil
}

// names lists the profiles in alphabetical order.
func (a *app) names() ([]string, error) {
	entries, err := os.ReadDir(a.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list profiles: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && a.checkName(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}
