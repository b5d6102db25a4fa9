package region

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"syscall"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region/backup"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// lockState takes a state folder for a region that runs, or for a command that none must run beside. Kinds: Conflict.
func lockState(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "running"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = fault.New(fault.Conflict, "A region runs with the state folder %s; stop it first.", dir)
		}
		return nil, err
	}
	return f, nil
}

// Backup writes all that the region is, encrypted with its root key, which is not in it, or for an age recipient.
// Kinds: Invalid on "recipient".
func (r *Region) Backup(ctx context.Context, out io.Writer, version, recipient string, images bool) error {
	key, _, err := r.root.read()
	if err != nil {
		return err
	}
	keys, err := secret.NewKeyring(key)
	if err != nil {
		return err
	}
	return backup.Write(ctx, out, backup.Source{StateDir: r.dir, Reader: r.reader, Version: version, Images: images, RootKey: rootText(key)}, backup.Key{Root: keys, Recipient: recipient})
}

// Restore makes a region of a backup, in a state folder without one. c.Database says where its database goes; SQLite if it
// is empty. identity opens what was encrypted for an age recipient; without it rootKey is the file of the root key. Kinds:
// Invalid, Conflict.
func Restore(ctx context.Context, in io.Reader, c config.Region, identity secret.Value, rootKey string, progress func(table string, rows int64)) error {
	if err := c.Check(); err != nil {
		return err
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return err
	}
	lock, err := lockState(c.StateDir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	for _, name := range []string{"metalward.db", config.DatabaseFile} {
		if _, err := os.Stat(filepath.Join(c.StateDir, name)); err == nil {
			return fault.New(fault.Conflict, "There is a region in %s already; restore into another folder.", c.StateDir)
		}
	}
	k := backup.Key{Identity: identity}
	if identity.Empty() {
		if _, err := os.Stat(rootKey); err != nil { // opening would make one
			return fault.Field("root-key", "The backup was encrypted with the region's root key: name the file that holds it. %v.", err)
		}
		if k.Root, err = secret.OpenKeyring(rootKey); err != nil {
			return err
		}
	}
	made := filepath.Join(c.StateDir, "metalward.db")
	open := func() (*store.Writer, error) {
		db := store.Database{DSN: c.Database, WeakTLS: c.DatabaseWeakTLS}
		if db.DSN == "" {
			db.DSN = made
		}
		r, w, err := store.OpenWith(ctx, db)
		if err != nil {
			return nil, err
		}
		return w, r.Close()
	}
	if err := backup.Read(ctx, in, backup.Restored{StateDir: c.StateDir, Open: open, Progress: progress}, k); err != nil {
		for _, suffix := range []string{"", "-wal", "-shm"} { // made above: a second try begins anew
			_ = os.Remove(made + suffix)
		}
		return err
	}
	if k.Root != nil {
		key, err := os.ReadFile(rootKey)
		if err != nil {
			return err
		}
		if err := secret.WriteFile(filepath.Join(c.StateDir, rootKeyFile), key); err != nil {
			return err
		}
	}
	return writeDatabaseFile(c)
}

// writeDatabaseFile notes in the state folder where a region's PostgreSQL is.
func writeDatabaseFile(c config.Region) error {
	if c.Database == "" {
		return nil
	}
	text := c.Database + "\n"
	if c.DatabaseWeakTLS {
		text += "weak-tls\n"
	}
	return secret.WriteFile(filepath.Join(c.StateDir, config.DatabaseFile), []byte(text))
}

// Init reaches a region's PostgreSQL, brings its schema up to date, and notes in the state folder where it is. Kinds:
// Conflict when the folder has a database of its own already; Invalid on "database".
func Init(ctx context.Context, c config.Region) error {
	if err := c.Check(); err != nil {
		return err
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(c.StateDir, "metalward.db")); err == nil {
		return fault.New(fault.Conflict, "The region has a database in %s: move it with metalward migrate-store.", c.StateDir)
	}
	r, w, err := store.OpenWith(ctx, store.Database{DSN: c.Database, WeakTLS: c.DatabaseWeakTLS})
	if err != nil {
		return err
	}
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		return err
	}
	return writeDatabaseFile(c)
}

// copyStore fills a database with what another holds, and returns the digests of that.
func copyStore(ctx context.Context, from *store.Reader, into *store.Writer, progress func(table string, rows int64)) (was map[string]store.Digest, err error) {
	pr, pw := io.Pipe()
	wrote := make(chan error, 1)
	go func() {
		var err error
		was, err = from.Dump(ctx, pw)
		_ = pw.CloseWithError(err)
		wrote <- err
	}()
	err = into.Load(ctx, pr, progress)
	if fault.Is(err, fault.Conflict) {
		_, _ = io.Copy(io.Discard, pr)
	}
	_ = pr.CloseWithError(err)
	if failed := <-wrote; err == nil {
		err = failed
	}
	return was, err
}

// MigrateStore moves the database of a region that does not run into an empty PostgreSQL, the one that c names, compares every row, and has the
// region use it from then on. The old file stays, under another name. If it breaks off, the old one
// stays in use, and it is begun again. Kinds: Conflict when the region runs, has no database of its own, or the new one is in use.
func MigrateStore(ctx context.Context, c config.Region, progress func(table string, rows int64)) error {
	if err := c.Check(); err != nil {
		return err
	}
	lock, err := lockState(c.StateDir)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	file := filepath.Join(c.StateDir, "metalward.db")
	if _, err := os.Stat(file); err != nil {
		return fault.New(fault.Conflict, "There is no database in %s that could be moved.", c.StateDir)
	}
	from, old, err := store.Open(ctx, file)
	if err != nil {
		return err
	}
	defer func() { _ = errors.Join(from.Close(), old.Close()) }()
	fresh, into, err := store.OpenWith(ctx, store.Database{DSN: c.Database, WeakTLS: c.DatabaseWeakTLS})
	if err != nil {
		return err
	}
	defer func() { _ = errors.Join(fresh.Close(), into.Close()) }()
	was, err := copyStore(ctx, from, into, progress)
	if err != nil && !fault.Is(err, fault.Conflict) {
		return err
	}
	inUse := err // by what an earlier try has moved, perhaps
	now, err := fresh.Dump(ctx, io.Discard)
	if err != nil {
		return err
	}
	if inUse != nil && !maps.Equal(was, now) {
		return inUse
	}
	if !maps.Equal(was, now) {
		return fmt.Errorf("cannot use the new database: what it holds differs from the old one, which stays in use")
	}
	if err := writeDatabaseFile(c); err != nil {
		return err
	}
	if err := errors.Join(from.Close(), old.Close()); err != nil {
		return err
	}
	return os.Rename(file, file+".moved")
}
