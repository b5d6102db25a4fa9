package maasdb

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/guard"
	"github.com/metalward/metalward/internal/region/regiontest"
	"github.com/metalward/metalward/internal/secret"
)

func TestMain(m *testing.M) { regiontest.Main(m) }

// tables are MAAS's as far as they are asked: the columns of its src/maasserver/testing/initial.maas_test.sql, value being JSON and
// maasserver_secret being there since 3.3.
const tables = `
CREATE TABLE auth_user (id serial PRIMARY KEY, password varchar(128) NOT NULL, last_login timestamptz, is_superuser boolean NOT NULL, username varchar(150) NOT NULL,
	first_name varchar(150) NOT NULL, last_name varchar(150) NOT NULL, email varchar(254) NOT NULL, is_staff boolean NOT NULL, is_active boolean NOT NULL, date_joined timestamptz NOT NULL);
CREATE TABLE maasserver_userprofile (id serial PRIMARY KEY, user_id integer NOT NULL, completed_intro boolean NOT NULL, auth_last_check timestamptz, is_local boolean NOT NULL);
CREATE TABLE piston3_consumer (id serial PRIMARY KEY, name varchar(255) NOT NULL, description text NOT NULL, key varchar(18) NOT NULL, secret varchar(32) NOT NULL, status varchar(16) NOT NULL, user_id integer);
CREATE TABLE piston3_token (id serial PRIMARY KEY, key varchar(18) NOT NULL, secret varchar(32) NOT NULL, verifier varchar(10) NOT NULL, token_type integer NOT NULL, "timestamp" integer NOT NULL,
	is_approved boolean NOT NULL, callback varchar(255), callback_confirmed boolean NOT NULL, consumer_id integer NOT NULL, user_id integer);
CREATE TABLE maasserver_eventtype (id serial PRIMARY KEY, created timestamptz NOT NULL, updated timestamptz NOT NULL, name varchar(255) NOT NULL, description varchar(255) NOT NULL, level integer NOT NULL);
CREATE TABLE maasserver_event (id serial PRIMARY KEY, created timestamptz NOT NULL, updated timestamptz NOT NULL, action text NOT NULL, description text NOT NULL, node_id integer, type_id integer NOT NULL,
	node_hostname varchar(255) NOT NULL, username varchar(150) NOT NULL, ip_address inet, user_agent text NOT NULL, endpoint integer NOT NULL, node_system_id varchar(41), user_id integer);
`

const since33 = `
CREATE TABLE maasserver_config (id serial PRIMARY KEY, name varchar(255) NOT NULL, value jsonb);
CREATE TABLE maasserver_secret (path text PRIMARY KEY, created timestamptz NOT NULL, updated timestamptz NOT NULL, value jsonb NOT NULL);
CREATE TABLE maasserver_vaultsecret (path text PRIMARY KEY, deleted boolean NOT NULL);
`

const before33 = `CREATE TABLE maasserver_config (id serial PRIMARY KEY, name varchar(255) NOT NULL, value text);`

const canary = "0123456789abcdef-canary"

const rows = `
INSERT INTO auth_user (password, last_login, is_superuser, username, first_name, last_name, email, is_staff, is_active, date_joined) VALUES
	('pbkdf2_sha256$260000$salt$` + canary + `', '2026-11-01', true, 'carol', '', '', '', false, true, '2025-01-01'),
	('md5$salt$` + canary + `', NULL, false, 'old', '', '', '', false, true, '2020-01-01'),
	('!` + canary + `', NULL, false, 'ext', '', '', '', false, true, '2026-01-01'),
	('', NULL, true, 'MAAS', '', '', '', false, true, '2020-01-01');
INSERT INTO maasserver_userprofile (user_id, completed_intro, is_local) SELECT id, true, username <> 'ext' FROM auth_user WHERE username <> 'MAAS';
INSERT INTO piston3_token (key, secret, verifier, token_type, "timestamp", is_approved, callback_confirmed, consumer_id, user_id)
	SELECT 'k', '` + canary + `', '', 2, 1700000000 + id, true, false, 1, id FROM auth_user WHERE username IN ('carol', 'MAAS') UNION ALL SELECT 'l', '', '', 2, 1800000000, true, false, 1, id FROM auth_user WHERE username = 'carol';
INSERT INTO maasserver_eventtype (created, updated, name, description, level) VALUES (now(), now(), 'SETTINGS', '', 0), (now(), now(), 'NODE_POWERED_ON', '', 20);
INSERT INTO maasserver_event (created, updated, action, description, type_id, node_hostname, username, user_agent, endpoint) VALUES
	(now(), now(), '', '', 1, '', 'carol', '', 0), (now(), now(), '', '', 1, '', 'carol', '', 0), (now(), now(), '', '', 1, '', 'carol', '', 1), (now(), now(), '', '', 1, '', 'carol', '', 2),
	(now() - interval '100 days', now(), '', '', 1, '', 'carol', '', 2), (now(), now(), '', '', 2, '', 'carol', '', 0), (now(), now(), '', '', 1, '', 'old', '', 0), (now(), now(), '', '', 1, '', 'MAAS', '', 0);
`

// database makes one and says how it is reached, as a role of its own that is no superuser unless super is asked for.
func database(t *testing.T, super bool, statements ...string) Access {
	t.Helper()
	u, err := url.Parse(regiontest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("pgx", u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	name := "maas_" + strings.TrimPrefix(u.Path, "/mw_")
	right := "NOSUPERUSER"
	if super {
		right = "SUPERUSER"
	}
	statements = append(statements, "CREATE ROLE "+name+" LOGIN "+right+" PASSWORD '"+canary+"'", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+name)
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%v: %s", err, s)
		}
	}
	t.Cleanup(func() {
		db, err := sql.Open("pgx", u.String())
		if err != nil {
			return
		}
		defer func() { _ = db.Close() }()
		_, _ = db.Exec("DROP OWNED BY " + name)
		if _, err := db.Exec("DROP ROLE " + name); err != nil {
			t.Error(err)
		}
	})
	host, port := u.Query().Get("host"), u.Query().Get("port")
	if host == "" {
		host, port = u.Hostname(), u.Port()
	}
	return Access{Host: host, Port: port, Name: strings.TrimPrefix(u.Path, "/"), User: name, Password: secret.FromString(canary)}
}

func read(t *testing.T, a Access) guard.Database {
	t.Helper()
	d, err := Read(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%+v", d); strings.Contains(text, "canary") {
		t.Errorf("a secret left the database: %s", text)
	}
	return d
}

func TestRead(t *testing.T) {
	d := read(t, database(t, false, tables, since33, rows,
		`INSERT INTO maasserver_config (name, value) VALUES ('session_length', '1209600'), ('vault_enabled', 'false'), ('http_proxy', '"`+canary+`"')`,
		`INSERT INTO maasserver_secret VALUES ('global/rpc-shared', '2024-01-01', '2024-02-01', '{"secret": "`+canary+`"}'), ('global/external-auth', now(), now(), '{"url": "https://candid", "key": "`+canary+`", "admin-group": "admins", "rbac-url": ""}')`))
	if d.Server.Err != nil || d.Server.Value < 10 || d.Encrypted.Err != nil || d.Encrypted.Value {
		t.Errorf("got the server %+v, encrypted %+v", d.Server, d.Encrypted)
	}
	if d.People.Err != nil || len(d.People.Value) != 3 {
		t.Fatalf("got %+v", d.People)
	}
	carol, ext, old := d.People.Value[0], d.People.Value[1], d.People.Value[2]
	if carol.Name != "carol" || !carol.Admin || !carol.Active || !carol.Local || carol.LastLogin.Format(time.DateOnly) != "2026-11-01" || carol.Hash != "pbkdf2_sha256" || carol.Iterations != 260000 ||
		carol.Keys != 2 || carol.OldestKey.Unix() < 1700000000 || carol.OldestKey.Unix() > 1700000010 {
		t.Errorf("got %+v", carol)
	}
	if ext.Local || ext.Hash != "" || ext.Keys != 0 || !ext.OldestKey.IsZero() || old.Hash != "other" || !old.LastLogin.IsZero() {
		t.Errorf("got %+v and %+v", ext, old)
	}
	if s := d.Settings; s.Err != nil || s.Value["session_length"] != "1209600" || s.Value["vault_enabled"] != "false" || len(s.Value) != 2 {
		t.Errorf("got %+v", s)
	}
	if s := d.Secrets; s.Err != nil || len(s.Value) != 2 || s.Value[1].Path != "global/rpc-shared" || s.Value[1].Changed.UTC().Format(time.DateOnly) != "2024-02-01" {
		t.Errorf("got %+v", s)
	}
	if e := d.External; e.Err != nil || e.Value != (guard.ExternalAuth{URL: "https://candid", AdminGroup: "admins"}) {
		t.Errorf("got %+v", e)
	}
	if a := d.Audit; a.Err != nil || len(a.Value) != 2 || a.Value[0].Way != "API" || a.Value[0].N != 2 || a.Value[1].Way != "CLI" || a.Value[1].N != 1 || a.Value[0].Name != "carol" {
		t.Errorf("got %+v", a)
	}
	if i := slices.IndexFunc(d.Roles.Value, func(r guard.DatabaseRole) bool { return r.Own }); d.Roles.Err != nil || i < 0 || d.Roles.Value[i].Super || !d.Roles.Value[i].Login || d.Roles.Value[i].Hash != "" {
		t.Errorf("got %+v", d.Roles)
	}
}

// A superuser is told how passwords are kept; before MAAS 3.3 secrets were settings.
func TestReadOld(t *testing.T) {
	d := read(t, database(t, true, tables, before33, rows, `INSERT INTO maasserver_config (name, value) VALUES ('rpc_shared_secret', '"`+canary+`"'), ('omapi_key', '""'), ('external_auth_url', '"https://candid"'), ('rbac_url', '""')`))
	if s := d.Secrets; s.Err != nil || len(s.Value) != 1 || s.Value[0].Path != "setting rpc_shared_secret" {
		t.Errorf("got %+v", s)
	}
	if e := d.External; e.Err != nil || e.Value.URL != "https://candid" || e.Value.RBAC != "" {
		t.Errorf("got %+v", e)
	}
	if i := slices.IndexFunc(d.Roles.Value, func(r guard.DatabaseRole) bool { return r.Own }); i < 0 || !d.Roles.Value[i].Super || d.Roles.Value[i].Hash != "SCRAM-SHA-256" {
		t.Errorf("got %+v", d.Roles)
	}
}

// What is not there, or may not be read, is said of each part.
func TestReadPartly(t *testing.T) {
	d := read(t, database(t, false, `CREATE TABLE maasserver_config (name text, value jsonb)`))
	if d.People.Err == nil || !strings.Contains(d.People.Err.Error(), "42P01") || d.Settings.Err != nil || d.Audit.Err == nil {
		t.Errorf("got %+v", d)
	}
}

// Nothing is written: the server itself refuses.
func TestReadOnly(t *testing.T) {
	a := database(t, true, tables)
	port := uint16(5432)
	_, _ = fmt.Sscan(a.Port, &port)
	conn, err := connect(context.Background(), a, port)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(context.Background(), "CREATE TABLE x (y int)"); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("got %v, want a refusal", err)
	}
	r := reader{context.Background(), conn}
	if err := r.rows("SELECT pg_sleep(6)", nil, nil); err == nil || !strings.Contains(err.Error(), "57014") {
		t.Errorf("got %v, want an end after %s", err, statement)
	}
}

// plain is the port of a server that has no TLS, and says so: the message SSLRequest is answered by N.
func plain(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends when the test closes l
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.ReadFull(c, make([]byte, 8))
			_, _ = c.Write([]byte("N"))
			rest, _ := io.ReadAll(c)
			if len(rest) > 0 {
				t.Error("something was sent in clear")
			}
			_ = c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestRefused(t *testing.T) {
	good := database(t, false)
	for name, c := range map[string]struct {
		change func(*Access)
		says   string
	}{
		"no database":      {func(a *Access) { a.Name = "" }, "names no database"},
		"no port":          {func(a *Access) { a.Port = "x" }, "a port that is none"},
		"another name":     {func(a *Access) { a.Name = "nothing" }, "the database says"},
		"another user":     {func(a *Access) { a.User = "it's \\ nobody" }, "the database says"},
		"nothing listens":  {func(a *Access) { a.Host, a.Port = "127.0.0.1", "1" }, "cannot be reached"},
		"no such mode":     {func(a *Access) { a.SSLMode = "perhaps" }, "libpq does not know"},
		"TLS is asked for": {func(a *Access) { a.Host, a.Port, a.SSLMode = "127.0.0.1", plain(t), "verify-full" }, "the connection ended"},
		"no such socket":   {func(a *Access) { a.Host = "/nowhere" }, "cannot be reached"},
	} {
		a := good
		c.change(&a)
		if _, err := Read(context.Background(), a); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
}
