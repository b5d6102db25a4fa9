package store

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/metalward/metalward/internal/fault"
	"github.com/metalward/metalward/internal/secret"
)

// IsPostgres reports whether a database is named by the URL of a PostgreSQL server.
func IsPostgres(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

// postgresConfig reads a URL as libpq does: sslmode, sslrootcert, sslcert, sslkey, channel_binding, PGPASSFILE and the
// rest. Unlike libpq it takes verify-full where nothing is said, and refuses to speak to another host without having
// verified who that is, unless weak says that the network in between is safe. Kinds: Invalid on "database".
func postgresConfig(dsn string, weak bool) (*pgx.ConnConfig, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, fault.Field("database", "This is not a postgres:// URL.") // what it says may hold a password
	}
	q := u.Query()
	cfg, err := pgx.ParseConfig(dsn)
	if err == nil && !q.Has("sslmode") && os.Getenv("PGSSLMODE") == "" && !localOnly(cfg) {
		q.Set("sslmode", "verify-full")
		u.RawQuery = q.Encode()
		cfg, err = pgx.ParseConfig(u.String())
	}
	if err != nil {
		return nil, fault.Field("database", "The URL cannot be used: %s.", withoutPassword(err.Error(), u))
	}
	for _, to := range targets(cfg) {
		if !weak && !local(to.Host) && (to.TLSConfig == nil || to.TLSConfig.InsecureSkipVerify || to.TLSConfig.ServerName == "") {
			return nil, fault.Field("database", "With sslmode=%s anybody on the way to %s could pose as the database: use verify-full, with sslrootcert=FILE if its authority is your own. If nobody can be on the way, say --database-weak-tls.",
				orText(q.Get("sslmode"), os.Getenv("PGSSLMODE")), to.Host)
		}
	}
	return cfg, nil
}

func orText(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// withoutPassword makes a parser's message fit to show.
func withoutPassword(text string, u *url.URL) string {
	if p, ok := u.User.Password(); ok && p != "" {
		text = strings.ReplaceAll(text, p, "…")
	}
	return text
}

// targets are the hosts that a connection is tried to, one after the other.
func targets(cfg *pgx.ConnConfig) []*pgconn.FallbackConfig {
	return append([]*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port, TLSConfig: cfg.TLSConfig}}, cfg.Fallbacks...)
}

func localOnly(cfg *pgx.ConnConfig) bool {
	for _, to := range targets(cfg) {
		if !local(to.Host) {
			return false
		}
	}
	return true
}

// local reports whether a database's host is this one: a socket's folder, or the loopback.
func local(host string) bool {
	if strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// peer is the certificate that the database's server showed last.
type peer struct {
	atomic.Pointer[x509.Certificate]
}

func (p *peer) watch(c *tls.Config) {
	if c == nil {
		return
	}
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	before := c.VerifyConnection
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if before != nil {
			if err := before(s); err != nil {
				return err
			}
		}
		p.Store(s.PeerCertificates[0])
		return nil
	}
}

// connLife is how long a connection is used: after that much time all have logged in with the password of now.
const connLife = time.Hour

// dialer connects with the password that the database's file has now, and with that of NextSuffix's, so that a password can be
// replaced while the pool is in use.
type dialer struct {
	cfg  *pgx.ConnConfig
	file string // empty when the password is not in a file of ours
}

// Connect is part of driver.Connector.
func (d dialer) Connect(ctx context.Context) (driver.Conn, error) {
	cfgs := []*pgx.ConnConfig{d.cfg}
	if d.file != "" && d.cfg.Password != "" {
		for _, name := range []string{d.file + NextSuffix, d.file} {
			if password, ok := passwordIn(name); ok && password != cfgs[0].Password {
				cfg := d.cfg.Copy()
				cfg.Password = password
				cfgs = append([]*pgx.ConnConfig{cfg}, cfgs...)
			}
		}
	}
	var first error
	for _, cfg := range cfgs {
		conn, err := stdlib.GetConnector(*cfg).Connect(ctx)
		if err == nil || !refused(err) {
			return conn, err
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// Driver is part of driver.Connector.
func (d dialer) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// passwordIn reads the password of the URL in a file's first line.
func passwordIn(path string) (string, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", false
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	u, err := url.Parse(line)
	if err != nil || u.User == nil {
		return "", false
	}
	return u.User.Password()
}

// refused reports whether a server did not accept a password. Source: PostgreSQL's error codes, class 28.
func refused(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "28P01" || e.Code == "28000")
}

// Reach logs in to a PostgreSQL once, with the password of the URL alone. Kinds: Unauthenticated when that is refused; Invalid.
func Reach(ctx context.Context, o Database) error {
	cfg, err := postgresConfig(o.DSN, o.WeakTLS)
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil && refused(err) {
		return fault.New(fault.Unauthenticated, "The database does not accept the password.")
	}
	if err != nil {
		return unavailable(err)
	}
	return conn.Close(ctx)
}

// SetPassword has the role that is logged in have another password, given as its SCRAM verifier: what the server, and whoever reads
// its log, gets to see. Kinds: Conflict on SQLite, which has none.
func (w *Writer) SetPassword(ctx context.Context, verifier string) error {
	if w.d != pgDialect {
		return fault.New(fault.Conflict, "The database is a file, which has no password.")
	}
	if !verifierForm.MatchString(verifier) {
		return fault.New(fault.Internal, "This is no SCRAM verifier.")
	}
	// The statement takes no parameters; the form has nothing that ends the text.
	_, err := w.db.ExecContext(ctx, "ALTER ROLE CURRENT_USER PASSWORD '"+verifier+"'") // #nosec G202 -- see verifierForm
	if err != nil {
		return unavailable(err)
	}
	return nil
}

var verifierForm = regexp.MustCompile(`^SCRAM-SHA-256\$[0-9]{4,7}:[A-Za-z0-9+/=]{16,64}\$[A-Za-z0-9+/=]{44}:[A-Za-z0-9+/=]{44}$`)

const scramRounds = 4096 // PostgreSQL's own; more make guessing of poor passwords slower, and those here are random

// Verifier is a password's SCRAM verifier as PostgreSQL keeps it. The password is of ASCII. Sources: RFC 5802 section 3, RFC 7677;
// PostgreSQL's documentation, "pg_authid".
func Verifier(password secret.Value, salt []byte) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password.RevealString(), salt, scramRounds, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(key []byte, text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	stored := sha256.Sum256(mac(salted, "Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", scramRounds, b64(salt), b64(stored[:]), b64(mac(salted, "Server Key"))), nil
}

// openPostgres opens a pool for reading and one for writing. What a transaction reads by walking a whole table collides
// with every write to it, and of a small table PostgreSQL likes to read the whole: writers are told to use indexes.
// Source: PostgreSQL's documentation, "Serializable Isolation Level", on sequential scans.
func openPostgres(o Database) (read, write *sql.DB, server *peer, err error) {
	cfg, err := postgresConfig(o.DSN, o.WeakTLS)
	if err != nil {
		return nil, nil, nil, err
	}
	server = &peer{}
	server.watch(cfg.TLSConfig)
	for _, f := range cfg.Fallbacks {
		server.watch(f.TLSConfig)
	}
	read = sql.OpenDB(dialer{cfg, o.File})
	read.SetConnMaxLifetime(connLife)
	read.SetMaxOpenConns(16)
	read.SetMaxIdleConns(16)
	cfg = cfg.Copy()
	cfg.RuntimeParams["enable_seqscan"] = "off"
	cfg.RuntimeParams["jit"] = "off" // it takes a scan that cannot be avoided for work worth compiling
	write = sql.OpenDB(dialer{cfg, o.File})
	write.SetConnMaxLifetime(connLife)
	write.SetMaxOpenConns(16)
	write.SetMaxIdleConns(16)
	return read, write, server, nil
}

// ServerCertificate is the certificate that the database's server showed; nil without TLS.
func (r *Reader) ServerCertificate() *x509.Certificate {
	if r.server == nil {
		return nil
	}
	return r.server.Load()
}

// onThisHost reports whether a URL that was opened names servers of this host alone.
func onThisHost(dsn string) bool {
	cfg, err := pgx.ParseConfig(dsn)
	return err == nil && localOnly(cfg)
}

// Errors of DataDirectory, in words.
var (
	ErrElsewhere = errors.New("the database is on another host")
	ErrNotTold   = errors.New("the database does not say where it keeps its data; grant pg_read_all_settings to its user, or look at its host")
)

// DataDirectory is the folder of PostgreSQL's data on this host. For SQLite it is empty: that is the file that was opened.
func (r *Reader) DataDirectory(ctx context.Context) (path string, err error) {
	switch {
	case r.d != pgDialect:
		return "", nil
	case !r.here:
		return "", ErrElsewhere
	}
	if err := r.db.QueryRowContext(ctx, "SHOW data_directory").Scan(&path); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotTold, err)
	}
	return path, nil
}
