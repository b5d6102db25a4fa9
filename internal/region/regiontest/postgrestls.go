package regiontest

import (
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/metalward/metalward/internal/pki"
)

// TLSPostgres is a private PostgreSQL that takes connections over TLS on the loopback, with SCRAM, and those of clients
// with a certificate.
type TLSPostgres struct {
	Port     string
	Admin    string // URL of the superuser, over the socket
	CA       *pki.CA
	CAFile   string
	Password string // of the user metalward; clientcert has a certificate
	dir      string
	t        testing.TB
}

// NewTLSPostgres starts one; its certificate is for names. Its folder is the test's.
func NewTLSPostgres(t testing.TB, plain bool, names ...string) *TLSPostgres {
	t.Helper()
	now := time.Now()
	ca, err := pki.NewCA("Database root", nil, now)
	if err != nil {
		t.Fatal(err)
	}
	p := &TLSPostgres{CA: ca, Password: "a database's password", dir: t.TempDir(), t: t}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.Port = strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	_ = l.Close()
	p.CAFile = p.File("ca.pem", ca.PEM())
	var ips []netip.Addr
	var dns []string
	for _, n := range names {
		if ip, err := netip.ParseAddr(n); err == nil {
			ips = append(ips, ip)
		} else {
			dns = append(dns, n)
		}
	}
	prepare := func(data string, own func(string) error) error {
		key, err := pki.NewKey()
		if err != nil {
			return err
		}
		chain, err := ca.Server(&key.PublicKey, "database", dns, ips, 24*time.Hour, now)
		if err != nil {
			return err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		for name, content := range map[string][]byte{"server.crt": chain, "server.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "root.crt": ca.PEM(),
			"pg_hba.conf": []byte("local all all trust\nhostssl all clientcert 127.0.0.1/32 cert\nhost all all 127.0.0.1/32 scram-sha-256\n")} {
			path := filepath.Join(data, name)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				return err
			}
			if err := own(path); err != nil {
				return err
			}
		}
		return nil
	}
	args := []string{"-c", "listen_addresses=127.0.0.1", "-c", "ssl_ca_file=root.crt"}
	if !plain {
		args = append(args, "-c", "ssl=on")
	}
	own, skip, err := startPostgres(p.Port, prepare, args...)
	if err != nil {
		t.Fatal(err)
	}
	if skip != "" {
		t.Skip(skip)
	}
	t.Cleanup(own.remove)
	p.Admin = own.base
	for _, stmt := range []string{"CREATE ROLE metalward LOGIN PASSWORD '" + strings.ReplaceAll(p.Password, "'", "''") + "'", "CREATE ROLE clientcert LOGIN", "CREATE DATABASE metalward OWNER metalward", "CREATE DATABASE clientcert OWNER clientcert"} {
		p.Exec(stmt)
	}
	return p
}

// Client makes a client certificate for a database user, that ended or ends after life, and returns its parameters for a URL.
func (p *TLSPostgres) Client(user string, life time.Duration) string {
	p.t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		p.t.Fatal(err)
	}
	chain, err := p.CA.Client(&key.PublicKey, "database", "/"+user, life, time.Now())
	if err != nil {
		p.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	return fmt.Sprintf("&sslcert=%s&sslkey=%s", p.File("client.crt", chain), p.File("client.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// File writes a private file of the test's.
func (p *TLSPostgres) File(name string, content []byte) string {
	p.t.Helper()
	f, err := os.CreateTemp(p.dir, "*-"+name)
	if err != nil {
		p.t.Fatal(err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err != nil {
		p.t.Fatal(err)
	}
	return f.Name()
}

// Exec runs a statement as the superuser.
func (p *TLSPostgres) Exec(stmt string) {
	p.t.Helper()
	db, err := sql.Open("pgx", p.Admin)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(p.t.Context(), stmt); err != nil {
		p.t.Fatalf("cannot %s: %v", stmt, err)
	}
}

// URL is the one of a user, at a host, with more parameters, such as "&sslmode=verify-full".
func (p *TLSPostgres) URL(user, password, host, params string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: net.JoinHostPort(host, p.Port), Path: "/" + user, RawQuery: strings.TrimPrefix(params, "&")}
	return u.String()
}
