// Package backup writes all that a region is into one encrypted file, and makes a region of such a file again.
//
// The file is an age stream (https://age-encryption.org/v1) around a compressed tar archive: the database as of one
// moment, in a form that both engines read, the files of the state folder, and the images if wanted. It is encrypted with
// the region's root key, which is not in it then and has to be kept elsewhere, or for somebody who holds an age identity.
package backup

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// The parts of an archive.
const (
	manifestName = "manifest.json"
	databaseName = "database.jsonl"
	stateFolder  = "state/"
	imageFolder  = "images/"
	rootKey      = "root.key"
)

// maxStateFile bounds the files of the state folder but images.
const maxStateFile = 1 << 20

// format is that of the archive.
const format = "metalward backup 1"

// stateFiles are the files that make a region itself, besides its database. ca.pem and others follow from them.
var stateFiles = []string{"region-id", "shared-secret"}

type manifest struct {
	Format  string    `json:"format"`
	Version string    `json:"version"` // of the program
	Created time.Time `json:"created"`
	Images  bool      `json:"images"`
}

// Source is what is backed up.
type Source struct {
	StateDir string
	Reader   *store.Reader
	Version  string
	Images   bool
	RootKey  secret.Value // as its file has it; written only for a recipient
}

// Key is what a backup is encrypted with: the root key, or an age recipient, "age1…".
type Key struct {
	Root      *secret.Keyring
	Recipient string
	// Identity opens what was encrypted for a recipient: an age identity, "AGE-SECRET-KEY-1…".
	Identity secret.Value
}

// scryptWork is age's work factor for the root key, which nobody can guess whatever a guess costs.
const scryptWork = 10

func (k Key) recipient() (age.Recipient, error) {
	if k.Recipient == "" {
		r, err := age.NewScryptRecipient(base64.StdEncoding.EncodeToString(k.Root.Derive("backup")))
		if err == nil {
			r.SetWorkFactor(scryptWork)
		}
		return r, err
	}
	r, err := age.ParseX25519Recipient(k.Recipient)
	if err != nil {
		return nil, fault.Field("recipient", "This is no age recipient: it begins with age1.")
	}
	return r, nil
}

func (k Key) identity() (age.Identity, error) {
	if k.Identity.Empty() {
		return age.NewScryptIdentity(base64.StdEncoding.EncodeToString(k.Root.Derive("backup")))
	}
	for line := range strings.Lines(k.Identity.RevealString()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "AGE-SECRET-KEY-1") {
			if id, err := age.ParseX25519Identity(line); err == nil {
				return id, nil
			}
		}
	}
	return nil, fault.Field("identity", "There is no age identity, which begins with AGE-SECRET-KEY-1, in the file.")
}

// Write writes a backup. It may be done while the region runs: the database is as of one moment.
func Write(ctx context.Context, out io.Writer, s Source, k Key) error {
	to, err := k.recipient()
	if err != nil {
		return err
	}
	// Tar wants to know how long a file is: the dump is written here first, encrypted by nothing but the folder's mode.
	dump, err := os.CreateTemp(s.StateDir, ".backup-*")
	if err != nil {
		return fmt.Errorf("cannot write a backup: %w", err)
	}
	defer func() { _ = dump.Close() }()
	if err := os.Remove(dump.Name()); err != nil { // nobody else finds it, and nothing is left of it
		return err
	}
	if _, err := s.Reader.Dump(ctx, dump); err != nil {
		return err
	}
	sealed, err := age.Encrypt(out, to)
	if err != nil {
		return err
	}
	zipped := gzip.NewWriter(sealed)
	a := &archive{tar.NewWriter(zipped)}
	head, err := json.Marshal(manifest{format, s.Version, time.Now().UTC().Truncate(time.Second), s.Images})
	if err != nil {
		return err
	}
	if err := a.add(manifestName, int64(len(head)), strings.NewReader(string(head))); err != nil {
		return err
	}
	if err := a.addFile(databaseName, dump); err != nil {
		return err
	}
	if k.Recipient != "" { // wherever the region has it from
		text := s.RootKey.RevealString()
		if err := a.add(stateFolder+rootKey, int64(len(text)), strings.NewReader(text)); err != nil {
			return err
		}
	}
	for _, n := range stateFiles {
		if err := a.addPath(stateFolder+n, filepath.Join(s.StateDir, n)); err != nil {
			return err
		}
	}
	if s.Images {
		if err := a.addFolder(ctx, imageFolder, filepath.Join(s.StateDir, "images")); err != nil {
			return err
		}
	}
	return errors.Join(a.w.Close(), zipped.Close(), sealed.Close())
}

type archive struct{ w *tar.Writer }

func (a *archive) add(name string, size int64, r io.Reader) error {
	if err := a.w.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o600, Format: tar.FormatPAX}); err != nil {
		return err
	}
	_, err := io.CopyN(a.w, r, size)
	return err
}

func (a *archive) addFile(name string, f *os.File) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	return a.add(name, size, f)
}

func (a *archive) addPath(name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot back up: %w", err)
	}
	defer func() { _ = f.Close() }()
	return a.addFile(name, f)
}

// addFolder adds the images. One that is deleted meanwhile is left out.
func (a *archive) addFolder(ctx context.Context, name, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil || d.IsDir() || !d.Type().IsRegular():
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if err = a.addPath(name+filepath.ToSlash(rel), path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// Restored is where a backup goes: an empty state folder, and the database that opens by it once its files are there.
type Restored struct {
	StateDir string
	Open     func() (*store.Writer, error)
	Progress func(table string, rows int64)
}

var errDamaged = fault.New(fault.Invalid, "The backup is damaged or was cut off.")

// Read makes a region of a backup. Nothing of a backup that is damaged is left but files in the state folder, which a
// second try overwrites. Kinds: Invalid for a backup that is damaged or was encrypted for somebody else, Conflict when the
// database is in use.
func Read(ctx context.Context, in io.Reader, to Restored, k Key) error {
	id, err := k.identity()
	if err != nil {
		return err
	}
	opened, err := age.Decrypt(in, id)
	if err != nil {
		if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
			return fault.New(fault.Invalid, "The backup was encrypted with another key.")
		}
		return errDamaged
	}
	zipped, err := gzip.NewReader(opened)
	if err != nil {
		return errDamaged
	}
	root, err := os.OpenRoot(to.StateDir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	tr := tar.NewReader(zipped)
	dumped, err := os.CreateTemp(to.StateDir, ".restore-*")
	if err != nil {
		return err
	}
	defer func() { _ = dumped.Close() }()
	if err := os.Remove(dumped.Name()); err != nil {
		return err
	}
	for n := 0; ; n++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) && n > 1 {
			break
		}
		if err != nil || ctx.Err() != nil {
			return errors.Join(ctx.Err(), errDamaged)
		}
		if err := take(root, h, tr, n, dumped); err != nil {
			return err
		}
	}
	if _, err := io.Copy(io.Discard, zipped); err != nil { // its checksum
		return errDamaged
	}
	if _, err := dumped.Seek(0, io.SeekStart); err != nil {
		return err
	}
	w, err := to.Open()
	if err != nil {
		return err
	}
	return errors.Join(w.Load(ctx, dumped, to.Progress), w.Close())
}

// take puts one part of an archive to its place. What it does not know it refuses.
func take(root *os.Root, h *tar.Header, r io.Reader, n int, dump io.Writer) error {
	state, isState := strings.CutPrefix(h.Name, stateFolder)
	image, isImage := strings.CutPrefix(h.Name, imageFolder)
	switch {
	case h.Typeflag != tar.TypeReg || (n == 0) != (h.Name == manifestName) || (n == 1) != (h.Name == databaseName):
		return errDamaged
	case n == 0:
		var m manifest
		if err := json.NewDecoder(io.LimitReader(r, maxStateFile)).Decode(&m); err != nil || m.Format != format {
			return fault.New(fault.Invalid, "This is no backup that this version can read.")
		}
		return nil
	case n == 1:
		_, err := io.Copy(dump, r)
		return damaged(err)
	case isState && (slices.Contains(stateFiles, state) || state == rootKey) && h.Size <= maxStateFile:
		return put(root, state, r)
	case isImage && filepath.IsLocal(filepath.FromSlash(image)):
		path := filepath.Join("images", filepath.FromSlash(image))
		if err := root.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		return put(root, path, r)
	}
	return errDamaged
}

func put(root *os.Root, path string, r io.Reader) error {
	f, err := root.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(damaged(err), f.Sync(), f.Close())
}

// damaged is why an archive could not be read; what the disk says is something else.
func damaged(err error) error {
	if _, disk := errors.AsType[*fs.PathError](err); err == nil || disk {
		return err
	}
	return errDamaged
}
