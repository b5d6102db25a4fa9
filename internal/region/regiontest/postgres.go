package regiontest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // database/sql driver "pgx"

	"github.com/metalward/metalward/internal/metal"
)

// PGEnv names a server to use instead of a private one: a postgres:// URL of a user who may create databases.
const PGEnv = "METALWARD_TEST_PG"

// Engines runs a test once for each engine, handing it the DSN of an empty database.
func Engines(t *testing.T, fn func(t *testing.T, dsn string)) {
	t.Run("sqlite", func(t *testing.T) { fn(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { fn(t, Postgres(t)) })
}

// SQLite is the DSN of a database file of this test's own.
func SQLite(t *testing.T) string { return filepath.Join(t.TempDir(), "metalward.db") }

// server is the private PostgreSQL of this test process, started when first asked for.
var server struct {
	once sync.Once
	base string // URL without a database
	skip string // why there is none
	err  error
	stop func()
}

// Main runs a package's tests and stops the private server, if one was started. Packages that use Postgres
// call it from TestMain. What is to be done at the end besides is done then.
func Main(m *testing.M, end ...func()) {
	code := m.Run()
	for _, do := range end {
		do()
	}
	if server.stop != nil {
		server.stop()
	}
	os.Exit(code)
}

// Postgres is the DSN of an empty database on a real PostgreSQL, dropped at the end of the test. Without the
// server's programs the test is skipped.
func Postgres(t testing.TB) string {
	t.Helper()
	server.once.Do(func() {
		if server.base = os.Getenv(PGEnv); server.base == "" {
			var p *cluster
			if p, server.skip, server.err = startPostgres("5432", nil); p != nil {
				server.base, server.stop = p.base, p.remove
			}
		}
	})
	if server.err != nil {
		t.Fatal(server.err)
	}
	if server.skip != "" {
		t.Skip(server.skip)
	}
	name := "mw_" + metal.NewSystemID()
	admin(t, "CREATE DATABASE "+name)
	t.Cleanup(func() { admin(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	u, err := url.Parse(server.base)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// OwnPostgres is a PostgreSQL of one test's own, with more settings than usual, such as "-c", "log_statement=all".
type OwnPostgres struct {
	*cluster
	DSN string
	t   testing.TB
}

// NewOwnPostgres starts one.
func NewOwnPostgres(t testing.TB, args ...string) *OwnPostgres {
	t.Helper()
	p, skip, err := startPostgres("5432", nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	if skip != "" {
		t.Skip(skip)
	}
	t.Cleanup(p.remove)
	return &OwnPostgres{p, p.base, t}
}

// Log is what the server said.
func (p *OwnPostgres) Log() string { return p.log.String() }

// Library reports whether the server has a library to load, such as "pgaudit".
func Library(name string) bool {
	found, err := filepath.Glob("/usr/lib/postgresql/*/lib/" + name + ".so")
	return err == nil && len(found) > 0
}

// Crash ends the server.
func (p *OwnPostgres) Crash() { p.stop() }

// Start starts it again.
func (p *OwnPostgres) Start() {
	p.t.Helper()
	if err := p.start(); err != nil {
		p.t.Fatal(err)
	}
}

func admin(t testing.TB, stmt string) {
	t.Helper()
	db, err := sql.Open("pgx", server.base)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(context.Background(), stmt); err != nil {
		t.Fatalf("cannot %s: %v", stmt, err)
	}
}

// startPostgres makes a cluster in a folder of its own and serves it on a socket there. PostgreSQL refuses to
// run as root: then it runs as the user postgres, or nobody.
// The port names the socket; prepare, if there is one, writes files into the cluster, args are more settings. skip says why there is none.
func startPostgres(port string, prepare func(data string, own func(path string) error) error, args ...string) (p *cluster, skip string, err error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return nil, "", err
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		return nil, "no PostgreSQL server here (initdb not found below /usr/lib/postgresql or in PATH); install postgresql or set " + PGEnv, nil
	}
	slices.Sort(found)
	bin := filepath.Dir(found[len(found)-1])
	dir, err := os.MkdirTemp("", "mwpg") // short: a socket's path has at most 107 bytes
	if err != nil {
		return nil, "", err
	}
	remove := func() { _ = os.RemoveAll(dir) }
	attr := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	own := func(string) error { return nil }
	if os.Getuid() == 0 {
		uid, gid, err := unprivileged()
		if err != nil {
			remove()
			return nil, "", err
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			remove()
			return nil, "", err
		}
		own = func(path string) error { return os.Chown(path, uid, gid) }
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	data := filepath.Join(dir, "data")
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.SysProcAttr, cmd.Dir = attr, dir
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=" + dir}
		return cmd
	}
	if out, err := run("initdb", "--pgdata="+data, "--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C").CombinedOutput(); err != nil {
		remove()
		return nil, "", fmt.Errorf("cannot make a PostgreSQL cluster: %w\n%s", err, out)
	}
	if prepare != nil {
		if err := prepare(data, own); err != nil {
			remove()
			return nil, "", err
		}
	}
	p = &cluster{base: "postgres://postgres@/postgres?host=" + url.QueryEscape(dir) + "&port=" + port + "&sslmode=disable", Data: data, dir: dir}
	p.command = func() *exec.Cmd {
		return run("postgres", append([]string{"-D", data, "-k", dir, "-p", port, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=200", "-c", "log_min_messages=fatal"}, args...)...)
	}
	if err := p.start(); err != nil {
		remove()
		return nil, "", err
	}
	return p, "", nil
}

// cluster is a private PostgreSQL.
type cluster struct {
	Data    string // its folder
	base    string // URL without a database
	dir     string
	command func() *exec.Cmd
	cmd     *exec.Cmd
	ended   chan struct{}
	log     logText
}

// logText is what a server says. Safe for concurrent use.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

// Write adds to it.
func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// String is all of it.
func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start starts the server and waits until it answers.
func (p *cluster) start() error {
	cmd := p.command()
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	started, ended := make(chan error, 1), make(chan struct{})
	go func() { // ends with the server; the thread stays, because the parent's death is that of the thread
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("cannot start PostgreSQL: %w", err)
	}
	p.cmd, p.ended = cmd, ended
	var err error
	for range 300 {
		if err = ping(p.base); err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("PostgreSQL ended at once: %s", p.log.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
	p.stop()
	return fmt.Errorf("PostgreSQL does not answer: %w", err)
}

// stop ends the server as a crash would: it recovers at the next start.
func (p *cluster) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	<-p.ended
}

func (p *cluster) remove() {
	p.stop()
	_ = os.RemoveAll(p.dir)
}

func ping(base string) error {
	db, err := sql.Open("pgx", base)
	if err != nil {
		return err
	}
	return errors.Join(db.PingContext(context.Background()), db.Close())
}

func unprivileged() (uid, gid int, err error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, lookup := user.Lookup(name)
		if lookup != nil {
			err = lookup
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		return uid, gid, errors.Join(err1, err2)
	}
	return 0, 0, fmt.Errorf("cannot run PostgreSQL as root, and there is no other user: %w", errors.Join(err, fs.ErrNotExist))
}
