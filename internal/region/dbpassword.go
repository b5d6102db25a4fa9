package region

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/metal"
	"github.com/metalward/metalward/internal/region/gate"
	"github.com/metalward/metalward/internal/region/store"
	"github.com/metalward/metalward/internal/secret"
)

// DatabaseNext is what the file with the database's next password has after its name, while the password is being replaced.
const DatabaseNext = store.NextSuffix

// databaseFile is the file that says where the database is, in lines: the URL, and perhaps weak-tls.
type databaseFile struct {
	path string
	url  *url.URL
	rest string // after the URL
	weak bool
}

func readDatabaseFile(path string) (d databaseFile, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return d, err
	}
	line, rest, _ := strings.Cut(string(text), "\n")
	if d.url, err = url.Parse(strings.TrimSpace(line)); err != nil { // what it says may hold a password
		return d, fmt.Errorf("cannot use %s: its first line is no postgres:// URL", path)
	}
	d.path, d.rest, d.weak = path, rest, strings.TrimSpace(rest) == "weak-tls"
	return d, nil
}

func (d databaseFile) password() (string, bool) { return d.url.User.Password() }

func (d databaseFile) with(password string) databaseFile {
	u := *d.url
	u.User = url.UserPassword(u.User.Username(), password)
	d.url = &u
	return d
}

func (d databaseFile) database() store.Database {
	return store.Database{DSN: d.url.String(), WeakTLS: d.weak}
}

// writeAs writes the file at a path, for whom it was readable before.
func (d databaseFile) writeAs(path string) error {
	info, err := os.Stat(d.path)
	if err != nil {
		return err
	}
	if err := secret.WriteFile(path, []byte(d.url.String()+"\n"+d.rest)); err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
		if err := os.Chown(path, int(s.Uid), int(s.Gid)); err != nil {
			return err
		}
	}
	return os.Chmod(path, info.Mode().Perm()&0o640)
}

// RotateDatabase replaces the password of the PostgreSQL role that the region logs in as. The next password is in a file beside the
// one in use before the server hears of it, and every connection tries both: broken off anywhere, the region works, and running this
// again goes on with the same password. The server gets a SCRAM verifier, so its log never has the password. Where there are other
// regions the first run only writes the file, for them to have it too; finish says that those of the same role do. done is false then.
// Kinds: Conflict.
func (r *Region) RotateDatabase(ctx context.Context, finish bool) (done bool, err error) {
	ctx = authz.AsSystem(ctx, "host")
	if r.database.File == "" {
		return false, fault.New(fault.Conflict, "The region keeps no password of a database: it is SQLite, or was named by --database.")
	}
	file, err := readDatabaseFile(r.database.File)
	if err != nil {
		return false, err
	}
	if p, ok := file.password(); !ok || p == "" {
		return false, fault.New(fault.Conflict, "%s has no password: the region logs in by a certificate, a socket or PGPASSFILE. Change it there.", file.path)
	}
	if err := store.Reach(ctx, file.with(secret.Random(24).RevealString()).database()); !fault.Is(err, fault.Unauthenticated) {
		if err == nil {
			err = fault.New(fault.Conflict, "The server lets this role in whatever its password is (pg_hba.conf): there is nothing to rotate.")
		}
		return false, err
	}
	next, err := readDatabaseFile(file.path + store.NextSuffix)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		next = file.with(secret.Random(24).RevealString())
		if err := next.writeAs(file.path + store.NextSuffix); err != nil {
			return false, err
		}
	case err != nil:
		return false, err
	}
	regions, err := r.countRegions(ctx)
	if err != nil {
		return false, err
	}
	if regions > 1 && !finish {
		return false, nil
	}
	err = store.Reach(ctx, next.database())
	if fault.Is(err, fault.Unauthenticated) { // else an earlier run has come that far
		err = r.setDatabasePassword(ctx, file, next)
	}
	if err != nil {
		return false, err
	}
	return true, secret.Replace(file.path+store.NextSuffix, file.path)
}

func (r *Region) countRegions(ctx context.Context) (n int, err error) {
	err = r.Gate.View(ctx, authz.ControllerView, func(v *gate.Viewing) error {
		list, err := v.Controllers()
		for _, c := range list {
			if c.Type == metal.NodeRegionController && !c.Revoked {
				n++
			}
		}
		return err
	})
	return n, err
}

// setDatabasePassword sets the next password, and the one of before again if the server does not let the next one in.
func (r *Region) setDatabasePassword(ctx context.Context, file, next databaseFile) error {
	set := func(d databaseFile) error {
		p, _ := d.password()
		salt := make([]byte, 16)
		_, _ = rand.Read(salt)
		verifier, err := store.Verifier(secret.FromString(p), salt)
		if err != nil {
			return err
		}
		return r.writer.SetPassword(ctx, verifier)
	}
	err := r.Gate.Do(ctx, authz.SecretsEdit, func(c *gate.Call) error {
		c.Note("change", "database password replaced")
		return c.Require(siteTarget)
	})
	if err != nil {
		return err
	}
	if err := set(next); err != nil {
		return err
	}
	if err := store.Reach(ctx, next.database()); err != nil {
		return errors.Join(fault.New(fault.Unavailable, "The server took the new password but does not let it in: the one of before is set again."), err, set(file))
	}
	return nil
}
