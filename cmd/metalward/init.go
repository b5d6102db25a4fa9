package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/metalward/metalward/internal/config"
	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/region"
)

const initUsage = `usage: metalward init region --database-uri postgres://USER@HOST/NAME [flags]

sslmode is verify-full for a host that is not this one. The rest of the URL is PostgreSQL's: sslrootcert=FILE for an
authority of your own, sslcert=FILE and sslkey=FILE for a client certificate, channel_binding=require, host=/run/postgresql
for a socket. The password comes from --password-file, from standard input with -, or from PGPASSFILE; never from an argument.`

// initRegion writes down which database a region has, after it was reached.
func initRegion(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("metalward init", flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprintln(fs.Output(), initUsage); fs.PrintDefaults() }
	var c config.Region
	fs.StringVar(&c.StateDir, "state-dir", defaultStateDir(), "the region's state folder")
	uri := fs.String("database-uri", "", "the database's postgres:// URL")
	passwordFile := fs.String("password-file", "", "file of the database's password; - for standard input")
	fs.BoolVar(&c.DatabaseWeakTLS, "database-weak-tls", false, "speak to a PostgreSQL on another host without verifying who it is")
	rest, err := flagsAnywhere(fs, args)
	if err != nil {
		return err
	}
	if len(rest) != 1 || rest[0] != "region" || *uri == "" {
		return fault.New(fault.Invalid, "%s", initUsage)
	}
	if c.Database, err = databaseURL(*uri, *passwordFile); err != nil {
		return err
	}
	if err := region.Init(ctx, c); err != nil {
		return err
	}
	path, err := shareDatabaseFile(c.StateDir)
	if err != nil {
		return err
	}
	fmt.Printf("The database answers and is up to date. %s says where it is; start the region with --state-dir %s.\n", path, c.StateDir)
	return nil
}

// databaseURL adds the password to a URL. One in the URL itself is refused: everybody on the host sees arguments.
func databaseURL(uri, passwordFile string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", fault.Field("database", "This is not a postgres:// URL.")
	}
	if _, has := u.User.Password(); has || u.Query().Has("password") {
		return "", fault.Field("database", "Everybody on this host can see arguments: leave the password out. `metalward init region` takes it by --password-file FILE, or - for standard input; PGPASSFILE works, too.")
	}
	if passwordFile == "" {
		return uri, nil
	}
	var line string
	if passwordFile == "-" {
		line, err = ask(bufio.NewReader(os.Stdin), "Password of the database: ")
	} else {
		var data []byte
		data, err = readBounded(passwordFile)
		line = firstLine(string(data))
	}
	if err != nil {
		return "", fault.Field("password-file", "%v", err)
	}
	u.User = url.UserPassword(u.User.Username(), line)
	return u.String(), nil
}

func firstLine(s string) string {
	for i, c := range s {
		if c == '\n' || c == '\r' {
			return s[:i]
		}
	}
	return s
}

// shareDatabaseFile lets the group metalward read which database a region has, where there is such a group: for services
// that are not root's.
func shareDatabaseFile(stateDir string) (path string, err error) {
	path = filepath.Join(stateDir, config.DatabaseFile)
	g, err := user.LookupGroup("metalward")
	if err != nil || os.Geteuid() != 0 {
		return path, nil //nolint:nilerr // there is none
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return path, err
	}
	if err := os.Chown(path, 0, gid); err != nil {
		return path, err
	}
	return path, os.Chmod(path, 0o640)
}
