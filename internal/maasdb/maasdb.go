// Package maasdb reads from MAAS's own database what checks of a host judge (guard.Database): who its users are, when they came last, how
// their passwords are kept, which secrets stand there in clear. It changes nothing: each statement is in a transaction of its own that may
// only read, with a limit of time. No secret leaves the database: hashes, keys and values are reduced there to what is asked.
//
// Sources: MAAS's source, src/maasserver/testing/initial.maas_test.sql (tables up to 3.1), src/maasservicelayer/db/tables.py (later),
// src/maascommon/enums/events.py, src/maasserver/models/config.py.
package maasdb

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/secret"
)

// Limits.
const (
	patience     = 20 * time.Second // of all together
	statement    = 5 * time.Second
	maxRows      = 10_000
	maxText      = 300 // bytes of a text that is kept
	auditDays    = 90
	settingsSize = 1 << 10 // bytes of a setting
)

// Access is how regiond.conf says that the database is reached.
type Access struct {
	Host     string // a name, an address, or the folder of a socket; "" for localhost
	Port     string // "" for 5432
	Name     string
	User     string
	Password secret.Value
	SSLMode  string // of libpq; "" for prefer
}

// modes are libpq's. Source: PostgreSQL's documentation, "Database Connection Control Functions": sslmode.
var modes = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}

// Read asks the database. What it cannot find out it says of each part; the error is that it could not get in at all.
func Read(ctx context.Context, a Access) (d guard.Database, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if a.Host == "" {
		a.Host = "localhost" // MAAS's default: src/maasserver/config.py
	}
	if a.Port == "" {
		a.Port = "5432"
	}
	port, err := strconv.ParseUint(a.Port, 10, 16)
	if err != nil || a.Name == "" || a.User == "" {
		return d, errors.New("regiond.conf names no database, no user, or a port that is none")
	}
	if a.SSLMode == "" {
		a.SSLMode = "prefer"
	}
	if !slices.Contains(modes, a.SSLMode) {
		return d, fmt.Errorf("database_sslmode is %.40q, which libpq does not know", a.SSLMode)
	}
	d.SSLMode = a.SSLMode
	d.Where = fmt.Sprintf("%s at %s, port %d", a.Name, a.Host, port)
	conn, err := connect(ctx, a, uint16(port))
	if err != nil {
		return d, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	r := reader{ctx, conn}
	d.Server.Value, d.Server.Err = r.server()
	d.Encrypted.Value, d.Encrypted.Err = r.encrypted()
	d.People.Value, d.People.Err = r.people()
	d.Settings.Value, d.Settings.Err = r.settings()
	d.Secrets.Value, d.Secrets.Err = r.secrets()
	d.External.Value, d.External.Err = r.external(d.Settings)
	d.Audit.Value, d.Audit.Err = r.audit()
	d.Roles.Value, d.Roles.Err = r.roles()
	return d, nil
}

// connect is as MAAS's own connection: as database_sslmode has it since MAAS 3.7.4, else TLS if the server has it, since MAAS says nothing
// of it and libpq then prefers it. A certificate is held against the system's authorities: where MAAS has another, it cannot get in. Source:
// src/maasserver/djangosettings/settings.py; MAAS's documentation of security hardening.
func connect(ctx context.Context, a Access, port uint16) (*pgx.Conn, error) {
	word := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d dbname=%s user=%s password=x sslmode=%s", word(a.Host), port, word(a.Name), word(a.User), a.SSLMode))
	if err != nil {
		return nil, errors.New("what regiond.conf says of the database is no address of one") // the library's error may quote it
	}
	cfg.Password = a.Password.RevealString()
	cfg.RuntimeParams = map[string]string{"application_name": "metalward harden", "default_transaction_read_only": "on", "search_path": "public",
		"statement_timeout": strconv.FormatInt(statement.Milliseconds(), 10), "lock_timeout": "1000"}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, refused(err)
	}
	return conn, nil
}

// refused is why a connection or a statement failed, without what the statement or the configuration held.
func refused(err error) error {
	var pg *pgconn.PgError
	var dial *net.OpError
	switch {
	case errors.As(err, &pg):
		return fmt.Errorf("the database says: %.200s (SQLSTATE %s)", pg.Message, pg.Code)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the database did not answer within %s", patience)
	case errors.As(err, &dial):
		return fmt.Errorf("the database cannot be reached: %w", dial.Err)
	}
	return errors.New("the database did not answer as PostgreSQL does, or the connection ended")
}

type reader struct {
	ctx  context.Context
	conn *pgx.Conn
}

var errMany = fmt.Errorf("there are more than %d rows", maxRows)

// rows runs a statement that only reads.
func (r reader) rows(sql string, args []any, each func(pgx.Rows) error) (err error) {
	tx, err := r.conn.BeginTx(r.ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return refused(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(r.ctx)) }()
	rows, err := tx.Query(r.ctx, sql, args...)
	if err != nil {
		return refused(err)
	}
	defer rows.Close()
	for n := 0; rows.Next(); n++ {
		if n >= maxRows {
			return errMany
		}
		if err := each(rows); err != nil {
			return fmt.Errorf("a row is not of the form that is known: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return refused(err)
	}
	return nil
}

func (r reader) server() (major int, err error) {
	err = r.rows("SELECT current_setting('server_version_num')::int", nil, func(rows pgx.Rows) error { return rows.Scan(&major) })
	return major / 10000, err // since version 10: PostgreSQL's documentation, server_version_num
}

func (r reader) encrypted() (on bool, err error) {
	err = r.rows("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", nil, func(rows pgx.Rows) error { return rows.Scan(&on) })
	return on, err
}

// people are who has a profile: MAAS's own users have none. Of the password's column leave the database only the algorithm and its
// iterations, and these only where it has the form that Django writes: algorithm$iterations$salt$hash. Source: Django's documentation,
// "Password management in Django"; src/maasserver/models/userprofile.py. A key's timestamp is in seconds.
func (r reader) people() (list []guard.Person, err error) {
	const sql = `SELECT left(u.username, 300), u.is_superuser, u.is_active, p.is_local, u.last_login, u.date_joined,
		CASE WHEN u.password ~ '^[a-z0-9_]{1,40}\$[0-9]{1,9}\$' THEN split_part(u.password, '$', 1) WHEN u.password = '' OR u.password LIKE '!%' THEN '' ELSE 'other' END,
		CASE WHEN u.password ~ '^[a-z0-9_]{1,40}\$[0-9]{1,9}\$' THEN split_part(u.password, '$', 2)::int ELSE 0 END,
		(SELECT count(*) FROM public.piston3_token k WHERE k.user_id = u.id)::int, (SELECT min(k."timestamp")::bigint FROM public.piston3_token k WHERE k.user_id = u.id)
		FROM public.auth_user u JOIN public.maasserver_userprofile p ON p.user_id = u.id ORDER BY u.username`
	err = r.rows(sql, nil, func(rows pgx.Rows) error {
		var p guard.Person
		var login *time.Time
		var key *int64
		if err := rows.Scan(&p.Name, &p.Admin, &p.Active, &p.Local, &login, &p.Joined, &p.Hash, &p.Iterations, &p.Keys, &key); err != nil {
			return err
		}
		if login != nil {
			p.LastLogin = *login
		}
		if key != nil {
			p.OldestKey = time.Unix(*key, 0).UTC()
		}
		list = append(list, p)
		return nil
	})
	return list, err
}

// asked are the settings that checks ask for. None is a secret.
var asked = []string{"session_length", "vault_enabled", "external_auth_url", "external_auth_admin_group", "rbac_url", "hardening_enabled"}

func (r reader) settings() (map[string]string, error) {
	values := map[string]string{}
	err := r.rows("SELECT name, coalesce(left(value::text, $2), '') FROM public.maasserver_config WHERE name = ANY($1)", []any{asked, settingsSize}, func(rows pgx.Rows) error {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return err
		}
		values[name] = strings.Trim(value, `"`) // of JSON, which these are plain values of
		return nil
	})
	return values, err
}

// oldSecrets are settings that were secrets in maasserver_config before MAAS 3.3 had a table for them. Source: older versions of
// src/maasserver/models/config.py. Their values stay where they are.
var oldSecrets = []string{"rpc_shared_secret", "omapi_key", "external_auth_key", "macaroon_private_key", "vcenter_password", "maas_auto_ipmi_k_g_bmc_key"}

func (r reader) secrets() (list []guard.StoredSecret, err error) {
	err = r.rows("SELECT left(name, 300) FROM public.maasserver_config WHERE name = ANY($1) AND coalesce(value::text, '') NOT IN ('', '\"\"', 'null')", []any{oldSecrets}, func(rows pgx.Rows) error {
		var s guard.StoredSecret
		if err := rows.Scan(&s.Path); err != nil {
			return err
		}
		s.Path = "setting " + s.Path
		list = append(list, s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	there := false
	if err := r.rows("SELECT to_regclass('public.maasserver_secret') IS NOT NULL", nil, func(rows pgx.Rows) error { return rows.Scan(&there) }); err != nil || !there {
		return list, err // MAAS before 3.3
	}
	err = r.rows("SELECT left(path, $1), updated FROM public.maasserver_secret ORDER BY path", []any{maxText}, func(rows pgx.Rows) error {
		var s guard.StoredSecret
		if err := rows.Scan(&s.Path, &s.Changed); err != nil {
			return err
		}
		list = append(list, s)
		return nil
	})
	return list, err
}

// external is in settings before MAAS 3.3, later in a secret, whose key stays where it is.
func (r reader) external(settings guard.Known[map[string]string]) (e guard.ExternalAuth, err error) {
	if settings.Err != nil {
		return e, settings.Err
	}
	e = guard.ExternalAuth{URL: settings.Value["external_auth_url"], AdminGroup: settings.Value["external_auth_admin_group"], RBAC: settings.Value["rbac_url"]}
	there := false
	if err := r.rows("SELECT to_regclass('public.maasserver_secret') IS NOT NULL", nil, func(rows pgx.Rows) error { return rows.Scan(&there) }); err != nil || !there {
		return e, err
	}
	err = r.rows(`SELECT coalesce(left(value->>'url', $1), ''), coalesce(left(value->>'admin-group', $1), ''), coalesce(left(value->>'rbac-url', $1), '')
		FROM public.maasserver_secret WHERE path = 'global/external-auth'`, []any{maxText}, func(rows pgx.Rows) error { return rows.Scan(&e.URL, &e.AdminGroup, &e.RBAC) })
	return e, err
}

// ways are what an event came by. Source: src/maascommon/enums/events.py.
var ways = map[int]string{0: "API", 2: "CLI"}

// audit counts what administrators did by other ways than the pages. The level of audit events is 0: src/provisioningserver/events.py.
func (r reader) audit() (list []guard.Audited, err error) {
	const sql = `SELECT left(e.username, 300), e.endpoint, count(*)::int, max(e.created) FROM public.maasserver_event e JOIN public.maasserver_eventtype t ON t.id = e.type_id
		JOIN public.auth_user u ON u.username = e.username AND u.is_superuser JOIN public.maasserver_userprofile p ON p.user_id = u.id
		WHERE t.level = 0 AND e.endpoint IN (0, 2) AND e.created > now() - make_interval(days => $1) GROUP BY 1, 2 ORDER BY 1, 2`
	err = r.rows(sql, []any{auditDays}, func(rows pgx.Rows) error {
		a := guard.Audited{Days: auditDays}
		way := 0
		if err := rows.Scan(&a.Name, &way, &a.N, &a.Last); err != nil {
			return err
		}
		a.Way = ways[way]
		list = append(list, a)
		return nil
	})
	return list, err
}

// roles are PostgreSQL's; how their passwords are kept only superusers may know. Of a password leaves the database only its kind. Source:
// PostgreSQL's documentation, pg_authid.
func (r reader) roles() (list []guard.DatabaseRole, err error) {
	hash, from := "''", "pg_roles"
	allowed := false
	if err := r.rows("SELECT has_column_privilege('pg_catalog.pg_authid', 'rolpassword', 'SELECT')", nil, func(rows pgx.Rows) error { return rows.Scan(&allowed) }); err != nil {
		return nil, err
	}
	if allowed {
		hash, from = "CASE WHEN rolpassword IS NULL THEN 'none' WHEN rolpassword LIKE 'SCRAM-SHA-256$%' THEN 'SCRAM-SHA-256' WHEN rolpassword LIKE 'md5%' THEN 'md5' ELSE 'other' END", "pg_authid"
	}
	err = r.rows("SELECT rolname::text, rolsuper, rolcanlogin, rolname = current_user, "+hash+" FROM pg_catalog."+from+" ORDER BY rolname", nil, func(rows pgx.Rows) error {
		var role guard.DatabaseRole
		if err := rows.Scan(&role.Name, &role.Super, &role.Login, &role.Own, &role.Hash); err != nil {
			return err
		}
		list = append(list, role)
		return nil
	})
	return list, err
}
