package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/metalward/metalward/internal/fault"
)

// A dump is all that a database holds, as of one moment, in a form that either engine reads: lines of JSON, first a
// head, then the tables in the order of what refers to what, each with its columns, its rows and the last id that it gave out.

const (
	dumpFormat  = "metalward dump 1"
	maxDumpLine = 64 << 20 // bytes of a row
)

type dumpHead struct {
	Format string `json:"format"`
	Schema int64  `json:"schema"`
	Tables int    `json:"tables"`
}

type dumpTable struct {
	Table   string   `json:"table"`
	Columns []string `json:"columns"`
	LastID  int64    `json:"last_id,omitempty"`
}

type dumpEnd struct {
	End  bool  `json:"end"`
	Rows int64 `json:"rows"`
}

// Digest is what a table holds, whatever the order of its rows: how many, and the sum of their hashes.
type Digest struct {
	Rows int64
	Sum  [sha256.Size]byte
}

func (d *Digest) add(row []byte) {
	h := sha256.Sum256(row)
	carry := 0
	for i := len(h) - 1; i >= 0; i-- {
		carry += int(d.Sum[i]) + int(h[i])
		d.Sum[i] = byte(carry)
		carry >>= 8
	}
	d.Rows++
}

// Dump writes a dump, and returns the digests of its tables.
func (r *Reader) Dump(ctx context.Context, w io.Writer) (map[string]Digest, error) {
	digests := map[string]Digest{}
	err := r.View(ctx, func(v *View) error {
		tables, err := v.tables()
		if err != nil {
			return err
		}
		schema, err := v.schema()
		if err != nil {
			return err
		}
		out := bufio.NewWriterSize(w, 1<<16)
		line := json.NewEncoder(out)
		line.SetEscapeHTML(false)
		if err := line.Encode(dumpHead{dumpFormat, schema, len(tables)}); err != nil {
			return err
		}
		for _, t := range tables {
			d, err := v.dumpTable(t, line, out)
			if err != nil {
				return fmt.Errorf("cannot read table %s: %w", t, err)
			}
			digests[t] = d
		}
		return out.Flush()
	})
	return digests, err
}

func (v *View) dumpTable(name string, line *json.Encoder, out io.Writer) (d Digest, err error) {
	last, err := v.lastID(name)
	if err != nil {
		return d, err
	}
	rows, err := v.query("SELECT * FROM " + name)
	if err != nil {
		return d, err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return d, err
	}
	order := make([]int, len(columns)) // engines keep columns in different orders
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(columns[a], columns[b]) })
	if err := line.Encode(dumpTable{name, slices.Sorted(slices.Values(columns)), last}); err != nil {
		return d, err
	}
	into, values := make([]any, len(columns)), make([]any, len(columns))
	for i, at := range order {
		into[at] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return d, err
		}
		row, err := encodeRow(values)
		if err != nil {
			return d, err
		}
		d.add(row)
		if _, err := out.Write(append(row, '\n')); err != nil {
			return d, err
		}
	}
	if err := rows.Err(); err != nil {
		return d, err
	}
	return d, line.Encode(dumpEnd{true, d.Rows})
}

// encodeRow writes values as a JSON list: texts and numbers as they are, bytes as {"b": base64}.
func encodeRow(values []any) ([]byte, error) {
	out := make([]any, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case nil, int64, string:
			out[i] = v
		case []byte:
			out[i] = map[string]string{"b": base64.StdEncoding.EncodeToString(v)}
		default:
			return nil, fmt.Errorf("cannot dump a value of type %T", v)
		}
	}
	return json.Marshal(out)
}

func decodeRow(row []byte, n int) ([]any, error) {
	d := json.NewDecoder(strings.NewReader(string(row)))
	d.UseNumber()
	var values []any
	if err := d.Decode(&values); err != nil || len(values) != n {
		return nil, errDump
	}
	for i, v := range values {
		switch v := v.(type) {
		case nil, string:
		case json.Number:
			x, err := v.Int64()
			if err != nil {
				return nil, errDump
			}
			values[i] = x
		case map[string]any:
			text, ok := v["b"].(string)
			b, err := base64.StdEncoding.DecodeString(text)
			if !ok || err != nil {
				return nil, errDump
			}
			values[i] = b
		default:
			return nil, errDump
		}
	}
	return values, nil
}

var errDump = fault.New(fault.Invalid, "The dump is damaged or was cut off.")

// Load fills an empty database from a dump of the same schema: all of it or nothing. Kinds: Invalid for a dump that is
// damaged, or of another version; Conflict when the database is in use already.
func (w *Writer) Load(ctx context.Context, r io.Reader, progress func(table string, rows int64)) error {
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = tx.Rollback() }()
	t := &Tx{View: View{ctx: ctx, run: ctx, tx: tx, d: w.d}}
	for _, used := range []string{"users", "secrets", "machines", "audit"} {
		var n int
		if err := t.row("SELECT COUNT(*) FROM " + used).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			return fault.New(fault.Conflict, "The database is in use already: there is something in its table %s.", used)
		}
	}
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 1<<16), maxDumpLine)
	next := func(into any) error {
		if !in.Scan() {
			return errors.Join(errDump, in.Err())
		}
		d := json.NewDecoder(strings.NewReader(in.Text()))
		d.DisallowUnknownFields()
		if d.Decode(into) != nil {
			return errDump
		}
		return nil
	}
	var head dumpHead
	if err := next(&head); err != nil {
		return err
	}
	schema, err := t.schema()
	if err != nil {
		return err
	}
	tables, err := t.tables()
	if err != nil {
		return err
	}
	if head.Format != dumpFormat || head.Schema != schema || head.Tables != len(tables) {
		return fault.New(fault.Invalid, "The dump is of version %d of the database, this program has %d: use the program that wrote it, and upgrade then.", head.Schema, schema)
	}
	for _, name := range slices.Backward(tables) { // what a new database begins with
		if _, err := t.exec("DELETE FROM " + name); err != nil {
			return err
		}
	}
	for _, name := range tables {
		var d dumpTable
		if err := next(&d); err != nil {
			return err
		}
		n, err := t.loadTable(name, d, in)
		if err != nil {
			return err
		}
		if progress != nil {
			progress(name, n)
		}
	}
	if in.Scan() {
		return errDump
	}
	return tx.Commit()
}

func (t *Tx) loadTable(name string, d dumpTable, in *bufio.Scanner) (n int64, err error) {
	have, err := t.columns(name)
	if err != nil {
		return 0, err
	}
	if d.Table != name || !slices.Equal(have, d.Columns) {
		return 0, errDump
	}
	insert := "INSERT INTO " + name + " (" + strings.Join(d.Columns, ", ") + ") VALUES (" + marks(len(d.Columns)) + ")"
	for in.Scan() {
		if text := in.Bytes(); len(text) > 0 && text[0] == '{' {
			var end dumpEnd
			if json.Unmarshal(text, &end) != nil || !end.End || end.Rows != n {
				return n, errDump
			}
			return n, t.setLastID(name, d.LastID)
		}
		values, err := decodeRow(in.Bytes(), len(d.Columns))
		if err != nil {
			return n, err
		}
		if _, err := t.exec(insert, values...); err != nil {
			return n, err
		}
		n++
	}
	return n, errors.Join(errDump, in.Err())
}

// schema is the number of the last migration.
func (v *View) schema() (n int64, err error) {
	err = v.row("SELECT MAX(version_id) FROM goose_db_version").Scan(&n)
	return n, err
}

func scanText(scan func(...any) error) (s string, err error) { err = scan(&s); return s, err }

// tables lists the tables, each after those that it refers to.
func (v *View) tables() (ordered []string, err error) {
	list, refers := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'goose_db_version' ORDER BY name",
		`SELECT DISTINCT "table" FROM pragma_foreign_key_list(?)`
	if v.d == pgDialect {
		list = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename <> 'goose_db_version' ORDER BY tablename"
		refers = "SELECT DISTINCT f.relname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class f ON f.oid = c.confrelid WHERE c.contype = 'f' AND t.relname = ? AND t.relnamespace = current_schema()::regnamespace"
	}
	names, err := all(v, scanText, list)
	if err != nil {
		return nil, err
	}
	to := map[string][]string{}
	for _, n := range names {
		if to[n], err = all(v, scanText, refers, n); err != nil {
			return nil, err
		}
	}
	for len(ordered) < len(names) {
		before := len(ordered)
		for _, n := range names {
			ready := !slices.ContainsFunc(to[n], func(o string) bool { return o != n && !slices.Contains(ordered, o) })
			if ready && !slices.Contains(ordered, n) {
				ordered = append(ordered, n)
			}
		}
		if len(ordered) == before {
			return nil, fmt.Errorf("cannot order the tables: some refer to each other in a circle")
		}
	}
	return ordered, nil
}

// columns lists a table's columns by name.
func (v *View) columns(table string) ([]string, error) {
	q := "SELECT name FROM pragma_table_info(?) ORDER BY name"
	if v.d == pgDialect {
		q = `SELECT attname FROM pg_attribute WHERE attrelid = (SELECT oid FROM pg_class WHERE relname = ? AND relnamespace = current_schema()::regnamespace)
			AND attnum > 0 AND NOT attisdropped`
	}
	list, err := all(v, scanText, q, table)
	slices.Sort(list) // not as the database's collation does
	return list, err
}

// lastID is the last id that a table gave out, also of a row that is gone: ids are not given out again. 0 for a table that
// gives out none.
func (v *View) lastID(table string) (n int64, err error) {
	if v.d == sqliteDialect {
		err = v.row("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = ?", table).Scan(&n)
		return n, err
	}
	seq, err := v.sequence(table)
	if err != nil || seq == "" {
		return 0, err
	}
	err = v.row("SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM " + seq).Scan(&n)
	return n, err
}

// sequence is the name of the sequence of a table's ids on PostgreSQL; empty when it has none.
func (v *View) sequence(table string) (string, error) {
	columns, err := v.columns(table)
	if err != nil || !slices.Contains(columns, "id") {
		return "", err
	}
	var seq sql.NullString
	err = v.row("SELECT pg_get_serial_sequence(?, 'id')", table).Scan(&seq)
	return seq.String, err
}

func (t *Tx) setLastID(table string, n int64) error {
	if t.d == sqliteDialect {
		if n == 0 {
			return nil
		}
		if _, err := t.exec("DELETE FROM sqlite_sequence WHERE name = ?", table); err != nil {
			return err
		}
		_, err := t.exec("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", table, n)
		return err
	}
	seq, err := t.sequence(table)
	if err != nil || seq == "" {
		return err
	}
	_, err = t.exec("SELECT setval(?, ?, ?)", seq, max(n, 1), n > 0)
	return err
}
