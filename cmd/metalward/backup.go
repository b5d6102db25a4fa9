package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region"
	"github.com/metalward/metalward/internal/secret"
)

// backupRegion writes all that a region is into one encrypted file. The region may run meanwhile.
func backupRegion(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward backup", flag.ContinueOnError)
	var c config.Region
	stateFlags(fs, &c)
	to := fs.String("to", "", "file to write; it must not be there")
	recipient := fs.String("recipient", "", "age recipient, age1…, that it is encrypted for, root key included; else it is encrypted with the root key, which you keep elsewhere")
	images := fs.Bool("images", false, "with the images")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *to == "" || fs.NArg() > 0 {
		return fault.New(fault.Invalid, "usage: metalward backup --to FILE [--recipient age1…] [--images] [--state-dir DIR]")
	}
	if _, err := os.Stat(*to); err == nil {
		return fault.Field("to", "%s is there already.", *to)
	}
	r, err := offline(ctx, c)
	if err != nil {
		return err
	}
	defer r.Close()
	part, err := os.CreateTemp(filepath.Dir(*to), ".metalward-backup-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(part.Name()) }()
	if err := errors.Join(r.Backup(ctx, part, version, *recipient, *images), part.Sync(), part.Close()); err != nil {
		return err
	}
	if err := os.Link(part.Name(), *to); err != nil { // unlike a rename it replaces nothing
		return err
	}
	info, err := os.Stat(*to)
	if err != nil {
		return err
	}
	fmt.Printf("Wrote %s, %d bytes.\n", *to, info.Size())
	if *recipient == "" {
		fmt.Printf("It opens with the root key only, which is not in it: keep a copy of %s elsewhere.\n", filepath.Join(c.StateDir, "root.key"))
	}
	return nil
}

// restoreRegion makes a region of a backup.
func restoreRegion(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward restore", flag.ContinueOnError)
	var c config.Region
	fs.StringVar(&c.StateDir, "state-dir", defaultStateDir(), "state folder for the region, without one")
	from := fs.String("from", "", "the backup")
	rootKey := fs.String("root-key", "", "file of the region's root key")
	identity := fs.String("identity", "", "file of the age identity, for a backup that was encrypted for its recipient")
	uri := fs.String("database-uri", "", "postgres:// URL of an empty database; else SQLite in the state folder")
	passwordFile := fs.String("password-file", "", "file of the database's password; - for standard input")
	fs.BoolVar(&c.DatabaseWeakTLS, "database-weak-tls", false, "speak to a PostgreSQL on another host without verifying who it is")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *from == "" || fs.NArg() > 0 || (*rootKey == "") == (*identity == "") {
		return fault.New(fault.Invalid, "usage: metalward restore --from FILE (--root-key FILE | --identity FILE) [--database-uri URL] [--state-dir DIR]")
	}
	var id secret.Value
	if *identity != "" {
		data, err := readBounded(*identity)
		if err != nil {
			return err
		}
		id = secret.NewValue(data)
	}
	var err error
	if *uri != "" {
		if c.Database, err = databaseURL(*uri, *passwordFile); err != nil {
			return err
		}
	}
	in, err := os.Open(*from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	if err := region.Restore(ctx, in, c, id, *rootKey, progress); err != nil {
		return err
	}
	if c.Database != "" {
		if _, err := shareDatabaseFile(c.StateDir); err != nil {
			return err
		}
	}
	fmt.Printf("The region is restored; start it with --state-dir %s. Racks whose certificates are newer than the backup have to be enrolled again.\n", c.StateDir)
	return nil
}

// migrateStore moves a region's database to PostgreSQL.
func migrateStore(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward migrate-store", flag.ContinueOnError)
	var c config.Region
	fs.StringVar(&c.StateDir, "state-dir", defaultStateDir(), "the region's state folder")
	to := fs.String("to", "", "postgres:// URL of an empty database")
	passwordFile := fs.String("password-file", "", "file of the database's password; - for standard input")
	fs.BoolVar(&c.DatabaseWeakTLS, "database-weak-tls", false, "speak to a PostgreSQL on another host without verifying who it is")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *to == "" || fs.NArg() > 0 {
		return fault.New(fault.Invalid, "usage: metalward migrate-store --to postgres://… [--password-file FILE] [--state-dir DIR]")
	}
	var err error
	if c.Database, err = databaseURL(*to, *passwordFile); err != nil {
		return err
	}
	if err := region.MigrateStore(ctx, c, progress); err != nil {
		return err
	}
	if _, err := shareDatabaseFile(c.StateDir); err != nil {
		return err
	}
	fmt.Println("Every row was moved and compared. The region uses the new database from its next start; the old file is metalward.db.moved.")
	return nil
}

func progress(table string, rows int64) {
	if rows > 0 {
		fmt.Fprintf(os.Stderr, "%-28s %d\n", table, rows)
	}
}
