package store

import (
	"context"
	"database/sql/driver"
	"strings"
)

// Parsing a statement's text costs SQLite more than running it. So each connection keeps the statements that it
// prepared, by their text: those of changes are a few dozen, and lists differ in their filters only. PostgreSQL's
// driver does the same by itself.
const (
	maxKept     = 128     // statements of a connection
	maxKeptText = 4 << 10 // bytes; a longer text is one of a kind, such as a list of ids
)

// keepers are the beginnings of statements worth keeping. What changes the schema runs once.
var keepers = []string{"SELECT ", "INSERT ", "UPDATE ", "DELETE ", "SAVEPOINT ", "RELEASE ", "ROLLBACK TO "}

// keeping is a connector whose connections keep statements.
type keeping struct{ driver.Connector }

// Connect opens a connection.
func (k keeping) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := k.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &keepingConn{sqliteConn: c.(sqliteConn), kept: map[string]*statement{}}, nil
}

// sqliteConn is what the driver's connections are able to do besides driver.Conn.
type sqliteConn interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ConnBeginTx
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// keepingConn is used by one goroutine at a time, its rows included, as database/sql promises.
type keepingConn struct {
	sqliteConn
	kept map[string]*statement
	uses int64 // counts, for the age of statements
}

type statement struct {
	driver.Stmt
	busy bool  // its rows are being read: SQLite's statement is its cursor, too
	used int64 // the connection's count when it was last used
}

// ExecContext runs a statement without rows.
func (c *keepingConn) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	s := c.statement(ctx, q)
	if s == nil {
		return c.sqliteConn.ExecContext(ctx, q, args)
	}
	return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

// QueryContext runs a statement with rows.
func (c *keepingConn) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	s := c.statement(ctx, q)
	if s == nil {
		return c.sqliteConn.QueryContext(ctx, q, args)
	}
	rows, err := s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	s.busy = true
	return &keptRows{rows, s}, nil
}

// statement returns the statement of a text, prepared; nil if it is not to be kept, is busy, or cannot be prepared,
// which the driver then reports better.
func (c *keepingConn) statement(ctx context.Context, q string) *statement {
	c.uses++
	if s := c.kept[q]; s != nil {
		if s.busy {
			return nil
		}
		s.used = c.uses
		return s
	}
	if len(q) > maxKeptText || !keep(q) {
		return nil
	}
	prepared, err := c.PrepareContext(ctx, q)
	if err != nil {
		return nil
	}
	if len(c.kept) >= maxKept && !c.drop() {
		_ = prepared.Close() // nothing was run
		return nil
	}
	s := &statement{Stmt: prepared, used: c.uses}
	c.kept[strings.Clone(q)] = s
	return s
}

func keep(q string) bool {
	for _, k := range keepers {
		if strings.HasPrefix(q, k) {
			return true
		}
	}
	return false
}

// drop closes the statement that was not used for longest; false when all are busy.
func (c *keepingConn) drop() bool {
	oldest, found := "", false
	for q, s := range c.kept {
		if !s.busy && (!found || s.used < c.kept[oldest].used) {
			oldest, found = q, true
		}
	}
	if found {
		_ = c.kept[oldest].Close() // an error of its last run, which was reported then
		delete(c.kept, oldest)
	}
	return found
}

// Close closes the connection with its statements.
func (c *keepingConn) Close() error {
	for _, s := range c.kept {
		_ = s.Stmt.Close() // see drop
	}
	clear(c.kept)
	return c.sqliteConn.Close()
}

// keptRows gives the statement back when it is closed.
type keptRows struct {
	driver.Rows
	s *statement
}

// Close ends the reading.
func (r *keptRows) Close() error {
	r.s.busy = false
	return r.Rows.Close()
}
