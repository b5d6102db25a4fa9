package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/metalward/metalward/internal/fault"
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

// openPostgres opens a pool for reading and one for writing. What a transaction reads by walking a whole table collides
// with every write to it, and of a small table PostgreSQL likes to read the whole: writers are told to use indexes.
// Source: PostgreSQL's documentation, "Serializable Isolation Level", on sequential scans.
func openPostgres(dsn string, weak bool) (read, write *sql.DB, server *peer, err error) {
	cfg, err := postgresConfig(dsn, weak)
	if err != nil {
		return nil, nil, nil, err
	}
	server = &peer{}
	server.watch(cfg.TLSConfig)
	for _, f := range cfg.Fallbacks {
		server.watch(f.TLSConfig)
	}
	read = stdlib.OpenDB(*cfg)
	read.SetMaxOpenConns(16)
	read.SetMaxIdleConns(16)
	cfg = cfg.Copy()
	cfg.RuntimeParams["enable_seqscan"] = "off"
	cfg.RuntimeParams["jit"] = "off" // it takes a scan that cannot be avoided for work worth compiling
	write = stdlib.OpenDB(*cfg)
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
