// Package store is the only SQL. It keeps every noun in SQLite (embedded, the default) or PostgreSQL, behind
// one set of methods that both engines run.
//
// Open returns a Reader and a Writer. Writing is a capability: the composition root gives the Writer to the
// gate and to nobody else. A write transaction records every object that it touches, before and after, and
// the gate refuses to commit what was not authorized.
//
// Statements are written with "?"; for PostgreSQL they are rewritten to $n. Times are UTC microseconds.
package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/metalward/metalward/internal/authz"
	"github.com/metalward/metalward/internal/fault"
)

type dialect int

const (
	sqliteDialect dialect = iota
	pgDialect
)

// Reader runs read transactions. Safe for concurrent use.
type Reader struct {
	db     *sql.DB
	d      dialect
	server *peer // of PostgreSQL
	here   bool  // PostgreSQL is reached by this host's loopback or a socket
}

// Writer runs write transactions. Safe for concurrent use: SQLite has one writer at a time, and those who wait for
// it share commits (batch.go); PostgreSQL runs them serializable and repeats those that collide.
type Writer struct {
	db    *sql.DB
	d     dialect
	queue *writer // SQLite's

	// rehearse has each call run twice; see Database.
	rehearse bool

	// crowd lets PostgreSQL's transactions run at once, but one alone that has collided: a region's own calls cannot keep
	// each other from ever getting done. Calls do not nest.
	crowd sync.RWMutex
}

// Open opens the database that dsn names: a postgres:// URL, or a path of an SQLite file, and brings its
// schema up to date. The SQLite file is made with mode 0600 by the state folder's 0700 and the process's umask.
// Kinds: Invalid on "database" for a URL that will not do.
func Open(ctx context.Context, dsn string) (*Reader, *Writer, error) {
	return OpenWith(ctx, Database{DSN: dsn})
}

// Database says which database to open.
type Database struct {
	DSN string
	// WeakTLS lets a PostgreSQL on another host be spoken to without verifying it.
	WeakTLS bool
	// File is the file that the DSN is the first line of, if it is: its password of the moment is used for each connection, and that
	// of the file beside it with NextSuffix.
	File string
	// Rehearse runs what each write transaction does, undoes it, and runs it again: for tests, which so prove of every call that it
	// may run several times, as PostgreSQL has it do after a collision.
	Rehearse bool
}

// NextSuffix is that of the file with a database's next password, while it is being replaced.
const NextSuffix = ".next"

// OpenWith is Open with options.
func OpenWith(ctx context.Context, o Database) (*Reader, *Writer, error) {
	var read, write *sql.DB
	var server *peer
	d, err := sqliteDialect, error(nil)
	if IsPostgres(o.DSN) {
		d = pgDialect
		read, write, server, err = openPostgres(o)
	} else {
		read, write, err = openSQLite(o.DSN)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open database: %w", err)
	}
	if err := migrate(ctx, write, d); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot migrate database: %w", err), read.Close(), write.Close())
	}
	return &Reader{read, d, server, d == pgDialect && onThisHost(o.DSN)}, &Writer{db: write, d: d, queue: &writer{}, rehearse: o.Rehearse}, nil
}

// openSQLite opens one connection for writing and a pool for reading. WAL lets readers go on while one
// writes; synchronous=FULL makes a commit survive a power cut.
func openSQLite(path string) (read, write *sql.DB, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, err
	}
	const pragmas = "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=busy_timeout(10000)&_pragma=cache_size(-16000)"
	base := "file:" + (&url.URL{Path: abs}).EscapedPath() + "?" + pragmas
	// What a savepoint needs to be undone is kept in memory: it is small, and a file would be written for each call. What is deleted is
	// overwritten where that costs no write of its own: rows, but not the pages of large values. Source: SQLite, PRAGMA secure_delete.
	if write, err = openKeeping(base + "&_txlock=immediate&_pragma=temp_store(MEMORY)&_pragma=secure_delete(FAST)"); err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	if err := write.Ping(); err != nil { // makes the file, so that readers find it
		return nil, nil, err
	}
	if read, err = openKeeping(base + "&_pragma=query_only(1)"); err != nil {
		return nil, nil, err
	}
	read.SetMaxOpenConns(8)
	read.SetMaxIdleConns(8)
	return read, write, nil
}

func openKeeping(dsn string) (*sql.DB, error) {
	c, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(keeping{c}), nil
}

// Engine is the name of the database's engine: "sqlite" or "postgres".
func (r *Reader) Engine() string {
	if r.d == pgDialect {
		return "postgres"
	}
	return "sqlite"
}

// Close closes the database.
func (r *Reader) Close() error { return r.db.Close() }

// Close closes the database.
func (w *Writer) Close() error { return w.db.Close() }

// View runs fn in a read transaction: everything it reads is of one moment.
func (r *Reader) View(ctx context.Context, fn func(*View) error) error {
	opts := &sql.TxOptions{ReadOnly: true}
	if r.d == pgDialect {
		opts.Isolation = sql.LevelRepeatableRead
	}
	tx, err := r.db.BeginTx(ctx, opts)
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = tx.Rollback() }()
	v := &View{ctx: ctx, run: ctx, tx: tx, d: r.d}
	if err := fn(v); err == nil || !gone(v.lost) {
		return err
	}
	return unavailable(v.lost)
}

// How a transaction that collided is run again: at once, while this region's other calls wait; and if it collides even
// so, with another region's, after a time that is random and grows, so that the two do not meet again.
const (
	retries   = 12
	retryWait = 4 * time.Millisecond // on average after the second collision; then so much longer each time
)

// Do runs fn in a write transaction and commits if both fn and check agree. fn may run several times, so it has
// no side effects but through the Tx; check sees what was touched. Kinds, besides those of fn and check:
// Unavailable when it collided with others too often.
func (w *Writer) Do(ctx context.Context, fn func(*Tx) error, check func(*Tx) error) error {
	for attempt := 0; ; attempt++ {
		var err error
		if w.d == sqliteDialect {
			err = w.together(ctx, fn, check)
		} else {
			err = w.alone(ctx, attempt > 0, fn, check)
		}
		if err == nil || !collided(err) {
			return err
		}
		if attempt == retries {
			return unavailable(err)
		}
		if attempt == 0 && w.d == pgDialect {
			continue
		}
		wait := time.Duration(attempt+1) * retryWait
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// alone runs fn and check in a transaction of its own, and apart from the region's others if it is shy.
func (w *Writer) alone(ctx context.Context, shy bool, fn, check func(*Tx) error) error {
	if shy {
		w.crowd.Lock()
		defer w.crowd.Unlock()
	} else {
		w.crowd.RLock()
		defer w.crowd.RUnlock()
	}
	begin := func() (*Tx, error) {
		sqlTx, err := w.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
		return &Tx{View: View{ctx: ctx, run: ctx, tx: sqlTx, d: w.d}}, err
	}
	tx, err := begin()
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = tx.tx.Rollback() }()
	err = attempt(tx, fn, check)
	if w.rehearse && tx.lost == nil {
		first, was := tx, err
		if err := first.tx.Rollback(); err != nil {
			return unavailable(err)
		}
		again, err2 := begin()
		if err2 != nil {
			return unavailable(err2)
		}
		tx, err = again, same(first, again, was, attempt(again, fn, check))
	}
	if tx.lost != nil { // whatever fn made of it
		err = tx.lost
	} else if err == nil {
		if err = tx.tx.Commit(); err != nil {
			err = fmt.Errorf("cannot commit: %w", err)
		}
	}
	if gone(err) {
		err = unavailable(err)
	}
	return err
}

func attempt(tx *Tx, fn, check func(*Tx) error) error {
	if err := fn(tx); err != nil {
		return err
	}
	return check(tx)
}

// same holds a call's second run against its first and returns how the second ended, or that the two differ.
func same(first, again *Tx, was, is error) error {
	if again.lost != nil || (was == nil) == (is == nil) && len(first.touches) == len(again.touches) {
		return is
	}
	return fmt.Errorf("a call that was run again did something else: at first it ended with %v and touched %d objects, then with %v and %d", was, len(first.touches), is, len(again.touches))
}

// View is a read transaction. Its methods are spread over this package, one file per noun.
type View struct {
	ctx context.Context // of the caller
	run context.Context // of statements. In a shared transaction it has no end: SQLite undoes a whole transaction when a change is interrupted
	tx  *sql.Tx
	d   dialect
	// lost is the first error of a statement after which the transaction cannot go on. Code above may turn it into
	// an error of its own, such as "no such VLAN"; Do repeats what collided all the same. No statement runs after
	// it: SQLite may have ended the transaction, and what follows would be kept without it.
	lost error
}

// note keeps an error that ends the transaction.
func (v *View) note(err error) error {
	if err != nil && v.lost == nil && (collided(err) || undone(err) || gone(err)) {
		v.lost = err
	}
	return err
}

// undone reports whether SQLite may have rolled the transaction back by itself with this error.
// Source: https://www.sqlite.org/lang_transaction.html, "Response To Errors Within A Transaction".
func undone(err error) bool {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return false
	}
	switch lite.Code() & 0xff {
	case lib.SQLITE_FULL, lib.SQLITE_IOERR, lib.SQLITE_NOMEM, lib.SQLITE_BUSY, lib.SQLITE_INTERRUPT:
		return true
	}
	return false
}

// gone reports whether an error means that PostgreSQL is not there, or that the connection to it broke: whoever asked may ask again
// in a moment. Source: PostgreSQL's documentation, "PostgreSQL Error Codes", class 08 and 57P01 to 57P03.
func gone(err error) bool {
	var pg *pgconn.PgError
	var network net.Error
	switch {
	case err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.As(err, &pg):
		return strings.HasPrefix(pg.Code, "08") || pg.Code == "57P01" || pg.Code == "57P02" || pg.Code == "57P03"
	}
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) || pgconn.SafeToRetry(err)
}

// ready refuses a statement that must not run: of a caller who left, of a lost transaction, or with hostile text.
func (v *View) ready(args []any) error {
	if v.lost != nil {
		return v.lost
	}
	if err := v.ctx.Err(); err != nil {
		return err
	}
	return text(args)
}

// Tx is a write transaction: all that a View reads, and the methods that change.
type Tx struct {
	View
	touches []Touch
	// known has the machines that were touched as they are now, by system id, and whether their revision was counted
	// up already: a transaction that changes several things of a machine does both once.
	known map[string]bool
}

// Touch is one object that a transaction changed, as it was before or as it is after.
type Touch struct {
	authz.Target
	Created bool // the object did not exist before
}

// Touches lists what the transaction changed so far.
func (t *Tx) Touches() []Touch { return t.touches }

func (t *Tx) touch(x authz.Target, created bool) {
	t.touches = append(t.touches, Touch{x, created})
}

// text refuses what PostgreSQL cannot store as text, on both engines alike. Kinds: Invalid.
func text(args []any) error {
	for _, a := range args {
		if s, ok := a.(string); ok && (strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s)) {
			return fault.New(fault.Invalid, "Text must be valid UTF-8 without NUL characters.")
		}
	}
	return nil
}

func (v *View) query(q string, args ...any) (*sql.Rows, error) {
	if err := v.ready(args); err != nil {
		return nil, err
	}
	rows, err := v.tx.QueryContext(v.run, rebind(v.d, q), args...)
	return rows, v.note(err)
}

// row is a query of one row; its error comes from Scan.
func (v *View) row(q string, args ...any) oneRow {
	if err := v.ready(args); err != nil {
		return oneRow{err: err}
	}
	return oneRow{v: v, row: v.tx.QueryRowContext(v.run, rebind(v.d, q), args...)}
}

type oneRow struct {
	v   *View
	row *sql.Row
	err error
}

// Scan reads the row's columns; sql.ErrNoRows when there is none.
func (r oneRow) Scan(into ...any) error {
	if r.err != nil {
		return r.err
	}
	return r.v.note(r.row.Scan(into...))
}

func (t *Tx) exec(q string, args ...any) (int64, error) {
	if err := t.ready(args); err != nil {
		return 0, err
	}
	res, err := t.tx.ExecContext(t.run, rebind(t.d, q), args...)
	if err != nil {
		return 0, classify(t.note(err))
	}
	n, err := res.RowsAffected()
	return n, err
}

// insert runs an INSERT … RETURNING id.
func (t *Tx) insert(q string, args ...any) (int64, error) {
	var id int64
	err := t.row(q+" RETURNING id", args...).Scan(&id)
	return id, classify(err)
}

// all scans every row of a query with scan.
func all[T any](v *View, scan func(func(...any) error) (T, error), q string, args ...any) ([]T, error) {
	rows, err := v.query(q, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []T
	for rows.Next() {
		x, err := scan(rows.Scan)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, v.note(rows.Err())
}

// one scans the single row of a query; an absent row is the NotFound of its noun.
func one[T any](v *View, noun authz.Noun, scan func(func(...any) error) (T, error), q string, args ...any) (T, error) {
	x, err := scan(v.row(q, args...).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return x, authz.NotFound(noun)
	}
	return x, err
}

var sqliteScans = strings.NewReplacer(" NOT INDEXED", "", " INDEXED BY machines_by_name", "", " INDEXED BY machines_pool", "")

// rebind writes a statement for an engine: "?" as $1, $2 … for PostgreSQL; SQLite keeps "?", as with $n its binding is
// quadratic. ILIKE is SQLite's LIKE, and only SQLite can be told which index to use.
func rebind(d dialect, q string) string {
	if d == sqliteDialect {
		return strings.ReplaceAll(q, " ILIKE ", " LIKE ")
	}
	q = sqliteScans.Replace(q)
	if !strings.Contains(q, "?") {
		return q
	}
	var b strings.Builder
	b.Grow(len(q) + 16)
	n := 0
	for {
		i := strings.IndexByte(q, '?')
		if i < 0 {
			b.WriteString(q)
			return b.String()
		}
		n++
		b.WriteString(q[:i])
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
		q = q[i+1:]
	}
}

// marks returns "?,?,?" for n values.
func marks(n int) string {
	return strings.TrimSuffix(strings.Repeat("?,", n), ",")
}

// collided reports whether a transaction is worth another try.
func collided(err error) bool {
	if errors.Is(err, errLost) {
		return true
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "40001" || pg.Code == "40P01"
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && lite.Code()&0xff == lib.SQLITE_BUSY
}

// ErrTaken is wrapped by the error of a write that would break a uniqueness rule. Callers that know the field
// check first; this is the last line against a race.
var ErrTaken = fault.New(fault.Conflict, "Another object has this name, address or key already.")

func classify(err error) error {
	var pg *pgconn.PgError
	var lite *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &pg) && pg.Code == "23505",
		errors.As(err, &lite) && (lite.Code() == lib.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == lib.SQLITE_CONSTRAINT_PRIMARYKEY):
		return fmt.Errorf("%w (%v)", ErrTaken, err)
	case errors.As(err, &pg) && pg.Code == "23503", errors.As(err, &lite) && lite.Code() == lib.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w (%v)", fault.New(fault.Conflict, "The object is in use by another one."), err)
	}
	return err
}

func unavailable(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", fault.New(fault.Unavailable, "The database does not answer."), err)
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

func bit(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
